"""The registry of claims: what a claim is, and what was found about it.

A claim is one function that returns its `Findings`; the decorator `claim` gives it its statement,
hypotheses and source. `balproof.theorems.CLAIMS` lists the functions. Statement and proof have separate
status: the printed claim has a verdict of its own, which may be ``refuted`` where the exact one is proved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from balproof.errors import RequestError
from balproof.verdict import Evidence, Verdict


@dataclass(frozen=True)
class Claim:
    """The statement of a claim.

    ``printed`` is what the paper says and ``exact`` what is true, with ``assumptions``. ``required`` is
    the verdict that the exact statement must reach (None: nothing is promised). Formulas in the
    texts stand between dollar signs, in LaTeX.
    """

    id: str
    title: str
    source: str
    printed: str
    exact: str
    assumptions: tuple[str, ...] = ()
    required: Verdict | None = None
    depends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Printed:
    """What became of the claim as the paper prints it, and why."""

    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Twin:
    """The exact claim with one hypothesis dropped. It must fail: ``witness`` shows how.

    ``verdict`` is that of the twin: ``refuted`` when the witness was checked.
    """

    dropped: str
    verdict: Verdict
    witness: str

    def as_json(self) -> dict[str, Any]:
        return {"dropped": self.dropped, "verdict": str(self.verdict), "witness": self.witness}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Twin:
        """What `as_json` wrote."""
        return Twin(data["dropped"], Verdict[data["verdict"]], data["witness"])


@dataclass(frozen=True)
class Findings:
    """What the function of a claim found."""

    printed: Printed
    evidence: tuple[Evidence, ...] = ()
    twins: tuple[Twin, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "printed": {"verdict": str(self.printed.verdict), "why": self.printed.why},
            "evidence": [e.as_json() for e in self.evidence],
            "twins": [t.as_json() for t in self.twins],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Findings:
        """What `as_json` wrote."""
        printed = Printed(Verdict[data["printed"]["verdict"]], data["printed"]["why"])
        evidence = tuple(map(Evidence.from_json, data["evidence"]))
        return Findings(printed, evidence, tuple(map(Twin.from_json, data["twins"])))


class ClaimFunction(Protocol):
    """A function that checks a claim and carries its statement."""

    @property
    def claim(self) -> Claim: ...

    @property
    def name(self) -> str: ...

    def __call__(self) -> Findings: ...


@dataclass(frozen=True, eq=False)
class _Checked:
    claim: Claim
    check: Callable[[], Findings] = field(repr=False)

    @property
    def name(self) -> str:
        """Of the function, in the module that `balproof.theorems.sources` says."""
        return self.check.__qualname__

    def __call__(self) -> Findings:
        return self.check()


def claim(statement: Claim) -> Callable[[Callable[[], Findings]], ClaimFunction]:
    """Decorate the function that checks a claim with the claim."""

    def attach(check: Callable[[], Findings]) -> ClaimFunction:
        return _Checked(statement, check)

    return attach


@dataclass(frozen=True)
class Record:
    """A claim together with what was found, ready for a report."""

    claim: Claim
    findings: Findings
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Of the exact statement: refuted if any check refuted it, otherwise the strongest evidence.

        >>> proved = Evidence("sympy", "identity", Verdict.proved)
        >>> failed = Evidence("sampled", "1,000 points", Verdict.refuted)
        >>> statement = Claim("X.y", "", "", "", "")
        >>> one = Record(statement, Findings(Printed(Verdict.proved, ""), (proved,)), 0.0)
        >>> two = Record(statement, Findings(Printed(Verdict.proved, ""), (proved, failed)), 0.0)
        >>> str(one.verdict), str(two.verdict)
        ('proved', 'refuted')
        """
        verdicts = [e.verdict for e in self.findings.evidence]
        if Verdict.refuted in verdicts:
            return Verdict.refuted
        return max(verdicts, default=Verdict.undecided)

    @property
    def ok(self) -> bool:
        """The exact statement reached its required verdict, and every twin failed as it must."""
        if self.claim.required is None:
            return True
        twins_fail = all(t.verdict is Verdict.refuted for t in self.findings.twins)
        return self.verdict >= self.claim.required and twins_fail

    def as_json(self) -> dict[str, object]:
        c, f = self.claim, self.findings
        return {
            "id": c.id,
            "title": c.title,
            "source": c.source,
            "printed": {"statement": c.printed, "verdict": str(f.printed.verdict), "why": f.printed.why},
            "exact": {
                "statement": c.exact,
                "verdict": str(self.verdict),
                "evidence": [e.as_json() for e in f.evidence],
                "assumptions": list(c.assumptions),
            },
            "twins": [t.as_json() for t in f.twins],
            "required": None if c.required is None else str(c.required),
            "depends": list(c.depends),
            "seconds": round(self.seconds, 3),
            "ok": self.ok,
        }


def select(claims: Sequence[ClaimFunction], ids: Iterable[str]) -> list[ClaimFunction]:
    """The claims with these ids, in the order of the registry; all of them for no ids.

    Raises RequestError for an id that the registry does not have.
    """
    wanted = list(ids)
    known = {c.claim.id for c in claims}
    for name in wanted:
        if name not in known:
            raise RequestError(f"no claim is called {name!r}", "see balproof verify --list")
    return [c for c in claims if not wanted or c.claim.id in wanted]


def run_claim(check: ClaimFunction) -> Record:
    """Check one claim. What is printed is held for no more than the exact statement was shown to be."""
    start = time.perf_counter()
    findings = check()
    record = Record(check.claim, findings, time.perf_counter() - start)
    shown = max(record.verdict, Verdict.undecided)
    if findings.printed.verdict <= shown:
        return record
    return replace(record, findings=replace(findings, printed=replace(findings.printed, verdict=shown)))
