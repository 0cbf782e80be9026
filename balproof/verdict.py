"""What was shown, and how: verdicts, in order of strength, with their evidence."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Method = Literal["sympy", "z3", "exact", "interval", "convex", "sampled", "coq"]
METHODS: tuple[Method, ...] = ("sympy", "z3", "exact", "interval", "convex", "sampled", "coq")


class Verdict(enum.IntEnum):
    """How far a statement was shown; the order is the strength.

    ``refuted`` a counterexample was checked · ``undecided`` nothing was shown · ``sampled`` floating point
    agreed on some instances · ``certified`` an instance was settled, exactly or with every rounding
    bounded · ``proved`` checked symbolic or SMT steps settle all instances · ``formal`` a proof
    assistant has checked it.

    >>> Verdict.certified < Verdict.proved, str(Verdict.sampled), Verdict["refuted"] < Verdict.undecided
    (True, 'sampled', True)
    """

    refuted = 0
    undecided = 1
    sampled = 2
    certified = 3
    proved = 4
    formal = 5

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Evidence:
    """One check that was run: by which method, on what, with what outcome, in how many seconds.

    ``data`` are its figures, as JSON data, where they are worth keeping.
    """

    method: Method
    what: str
    verdict: Verdict
    seconds: float = 0.0
    data: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "what": self.what,
            "verdict": str(self.verdict),
            "seconds": round(self.seconds, 4),
            **({} if self.data is None else {"data": dict(self.data)}),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Evidence:
        """What `as_json` wrote."""
        return Evidence(
            data["method"], data["what"], Verdict[data["verdict"]], data["seconds"], data.get("data")
        )


@dataclass(frozen=True)
class Check:
    """A decided property: whether it holds (None: not decided), how that was decided, and a witness.

    >>> Check(True, "sympy", Verdict.proved, "structural: sum of even powers").holds
    True
    """

    holds: bool | None
    method: Method
    verdict: Verdict
    why: str
    witness: str | None = None

    @property
    def on_a_range(self) -> bool:
        """Whether it was shown on a compact range only, which ``why`` names; ``holds`` is None then."""
        return self.holds is None and self.verdict >= Verdict.certified

    def as_json(self) -> dict[str, object]:
        return {
            "holds": self.holds,
            "on_a_range": self.on_a_range,
            "method": self.method,
            "verdict": str(self.verdict),
            "why": self.why,
            "witness": self.witness,
        }


def timed(method: Method, what: str, shown: Verdict, check: Callable[[], bool]) -> Evidence:
    """Run ``check`` and record it: ``shown`` when it returns True, ``refuted`` when it returns False.

    >>> timed("exact", "1 + 1 = 2", Verdict.certified, lambda: 1 + 1 == 2).verdict.name
    'certified'
    """
    start = time.perf_counter()
    outcome = check()
    return Evidence(method, what, shown if outcome else Verdict.refuted, time.perf_counter() - start)
