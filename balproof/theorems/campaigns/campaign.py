"""What a campaign is, and how its outcomes become evidence."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from balproof.campaign import Result
from balproof.theorems.campaigns.family import Family, Instance
from balproof.verdict import Evidence, Verdict


@dataclass(frozen=True)
class Outcome:
    """One instance: the figure that was measured, and what it must not exceed.

    ``error`` is NaN where the instance settles nothing, for the reason in ``note``: a hypothesis of the claim
    is not met, or no certificate was found.
    """

    error: float
    bound: float
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the claim holds on the instance; None where that was not settled."""
        return None if np.isnan(self.error) else bool(self.error <= self.bound)


def outside(why: str) -> Outcome:
    """The instance settles nothing, and why."""
    return Outcome(float("nan"), 0.0, why)


Method = Literal["exact", "interval", "convex", "sampled"]


@dataclass(frozen=True)
class Campaign:
    """A check of a claim on the instances of a family.

    ``what`` says what is compared with what; ``shown`` is what a checked instance is worth: ``certified``
    where the check is exact or bounds every rounding, otherwise ``sampled``.
    """

    claim: str
    what: str
    method: Method
    shown: Literal[Verdict.sampled, Verdict.certified]
    family: Family
    check: Callable[[Instance], Outcome]

    def run(self, instance: Instance) -> Result:
        """The outcome of one instance, as JSON data; figures with three digits."""
        start = time.perf_counter()
        outcome = self.check(instance)
        error = None if outcome.holds is None else float(f"{outcome.error:.2e}")
        return {
            "holds": outcome.holds,
            "error": error if error is None or np.isfinite(error) else str(error),
            "bound": outcome.bound,
            **({"note": outcome.note} if outcome.note else {}),
            "seconds": round(time.perf_counter() - start, 4),
        }

    def evidence(self, results: Mapping[str, Mapping[str, Any]]) -> Evidence:
        """What the outcomes of these instances, by key, show together."""
        failed = [k for k, r in results.items() if r["holds"] is False]
        held = [k for k, r in results.items() if r["holds"]]
        text = f"campaign: {self.what}: {len(held)} of {len(held) + len(failed)} random instances hold"
        if len(held) + len(failed) < len(results):
            reasons = Counter(r["note"] for r in results.values() if r["holds"] is None)
            text += " (besides, " + "; ".join(f"{n}: {why}" for why, n in reasons.most_common()) + ")"
        if failed:
            worst = results[failed[0]]
            text += f"; {failed[0]} does not: {worst['error']} exceeds {worst['bound']:g}"
        elif held:
            worst = max(held, key=lambda k: results[k]["error"])
            if results[worst]["error"]:
                text += f", the largest error {results[worst]['error']:.1e} at {worst}"
        text += f"; {self.family.text}"
        verdict = Verdict.refuted if failed else self.shown if held else Verdict.undecided
        seconds = sum(float(r["seconds"]) for r in results.values())
        plain = {k: {n: v for n, v in r.items() if n != "seconds"} for k, r in results.items()}
        return Evidence(self.method, text, verdict, seconds, {"instances": plain})


def relative(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """The largest difference, over the largest entry; infinite for NaN or another shape.

    >>> relative([1.0, 4.0], [1.0, 3.0])
    0.25
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("inf")
    size = max(float(np.max(np.abs(x), initial=0.0)), float(np.max(np.abs(y), initial=0.0)))
    return float(np.max(np.abs(x - y), initial=0.0)) / (size or 1.0)
