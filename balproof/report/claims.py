"""What reports say about claims: the records of ``verify``, with what is known of where they come from."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from balproof.verdict import Verdict

MEANINGS = (
    ("refuted", "a counterexample was checked"),
    ("undecided", "nothing was shown"),
    ("sampled", "floating point agreed on some instances"),
    ("certified", "instances were settled, exactly or with every rounding bounded"),
    ("proved", "all instances are settled, by checked symbolic steps or a solver's proof"),
    ("formal", "a proof assistant has checked it"),
)

MARKS = {"refuted": "✗", "undecided": "?", "sampled": "≈", "certified": "◆", "proved": "✓", "formal": "✓✓"}

GROUPS = (
    ("B", "A theory of synaptic neural balance"),
    ("S", "Synaptic balancing of recurrent networks"),
    ("R", "Related results"),
)


class Reported(Protocol):
    """What a report needs of a record: the fields of ``verify --json``."""

    def as_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Origin:
    """Where claims come from: by id, the file and the function that checks one; files of counterexamples.

    Paths are relative to ``root``, the address of the project's folder as seen from the report (None: they
    are named and not linked).
    """

    files: Mapping[str, str] = field(default_factory=dict[str, str])
    functions: Mapping[str, str] = field(default_factory=dict[str, str])
    counterexamples: Mapping[str, str] = field(default_factory=dict[str, str])
    root: str | None = None

    def link(self, path: str | None) -> str | None:
        return None if path is None or self.root is None else f"{self.root.rstrip('/')}/{path}"


def view(records: Sequence[Reported], origin: Origin) -> list[dict[str, Any]]:
    """The fields of each record; and anchor, paper, methods, uses, used_by, file, function, networks."""
    claims = [dict(r.as_json()) for r in records]
    anchors = {c["id"]: anchor("claim", c["id"]) for c in claims}
    for c in claims:
        name, file = c["id"], origin.files.get(c["id"])
        c["anchor"] = anchors[name]
        c["paper"] = name.partition(".")[0]
        c["methods"] = sorted({e["method"] for e in c["exact"]["evidence"]})
        c["uses"] = [{"id": other, "anchor": anchors.get(other)} for other in c["depends"]]
        c["used_by"] = [{"id": o["id"], "anchor": anchors[o["id"]]} for o in claims if name in o["depends"]]
        c["file"], c["href"] = file, origin.link(file)
        c["function"] = origin.functions.get(name)
        paths = named_files(c, origin.counterexamples)
        c["networks"] = [{"path": path, "href": origin.link(path)} for path in paths]
    return claims


def named_files(record: Mapping[str, Any], files: Mapping[str, str]) -> list[str]:
    """The paths of those files (by name) that the texts of a record name.

    >>> named_files({"why": "see nets/a.json"}, {"a.json": "x/a.json", "b.json": "x/b.json"})
    ['x/a.json']
    """
    words = re.findall(r"[\w-]+\.json\b", json.dumps(record, ensure_ascii=False, default=str))
    return [files[word] for word in dict.fromkeys(words) if word in files]


def groups(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The claims of each paper, without those papers that have none."""
    found = [
        {
            "letter": letter,
            "title": title,
            "anchor": f"group-{letter}",
            "claims": [c for c in claims if c["paper"] == letter],
        }
        for letter, title in GROUPS
    ]
    return [g for g in found if g["claims"]]


def counts(claims: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What was shown, in numbers."""
    required = [c for c in claims if c["required"]]
    exact = [Verdict[c["exact"]["verdict"]] for c in claims]
    printed = [Verdict[c["printed"]["verdict"]] for c in claims]
    return [
        ("claims", str(len(claims))),
        ("as required", f"{sum(c['ok'] for c in required)} of {len(required)}"),
        ("exact statements proved", str(sum(v >= Verdict.proved for v in exact))),
        ("certified on instances", str(sum(v is Verdict.certified for v in exact))),
        ("printed claims refuted", str(sum(v is Verdict.refuted for v in printed))),
        ("undecided", str(sum(v is Verdict.undecided for v in exact))),
    ]


def summary(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was shown, in sentences."""
    exact = [Verdict[c["exact"]["verdict"]] for c in claims]
    refuted = [c for c in claims if c["printed"]["verdict"] == "refuted"]
    twins = [t for c in claims for t in c["twins"]]
    failing = [c["id"] for c in claims if not c["ok"]]
    open_ = [c["id"] for c in claims if c["exact"]["verdict"] == "undecided"]
    networks = {n["path"] for c in claims for n in c["networks"]}
    proved, certified = sum(v >= Verdict.proved for v in exact), sum(v is Verdict.certified for v in exact)
    fail = sum(t["verdict"] == "refuted" for t in twins)
    files = f"; {len(networks)} of the networks are files that you can open" if networks else ""
    found = [f"{len(claims)} claims. {proved} exact statements are proved for all instances."]
    found.append(f"{certified} more are certified on the instances that are named.")
    found.append(f"{len(refuted)} claims fail as printed, each by a counterexample that was run{files}.")
    found.append(
        f"{fail} of {len(twins)} twins fail as they must: a twin is the exact statement less one hypothesis, "
        "which is needed, then."
    )
    found += [f"Not as required: {', '.join(failing)}."] if failing else []
    found += [f"Not decided: {', '.join(open_)}."] if open_ else []
    return found


_PACKAGES = (
    "balproof", "sympy", "numpy", "scipy", "python-flint", "z3-solver", "cvxpy", "clarabel", "networkx",
    "matplotlib",
)  # fmt: skip


def versions() -> list[tuple[str, str]]:
    """What the checks ran on: Python, this package and those that it computes with."""
    found = [(name, importlib.metadata.version(name)) for name in _PACKAGES]
    return [found[0], ("Python", platform.python_version()), *found[1:]]


def anchor(kind: str, name: str) -> str:
    """An id for HTML and LaTeX.

    >>> anchor("claim", "B.a b")
    'claim-B.a-b'
    """
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}"
