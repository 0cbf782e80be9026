"""A study: what is run for one seed, and the paired effects that decide whether a claim was reproduced.

Every seed gives one `Run`: both arms of a comparison start from the same weights and see the same data in the
same order, so that an effect is a mean of differences within seeds, with Student's 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from balproof.simulate.data import Data

Settings = Mapping[str, float]
"""What a study may be asked to do otherwise: whole numbers stay whole."""

CONFIDENCE = 0.95

Claimed = Literal["greater", "less", "equal", "identity"]
Verdict = Literal["reproduced", "not reproduced", "the opposite was seen", "no answer"]

POINTS = 200
"""Points of a series in the JSON answer; longer ones are thinned."""


@dataclass(frozen=True)
class Run:
    """One seed: the numbers that effects compare, and series for pictures (a name → its values)."""

    numbers: Mapping[str, float]
    series: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])

    def as_json(self) -> dict[str, object]:
        """Numbers that are not finite become null, and long series are thinned, ends kept."""
        return {
            "numbers": {k: _finite(v) for k, v in self.numbers.items()},
            "series": {k: [_finite(v) for v in thinned(values)] for k, values in self.series.items()},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Run:
        return Run(
            {k: math.nan if v is None else v for k, v in data["numbers"].items()},
            {k: [math.nan if v is None else v for v in values] for k, values in data["series"].items()},
        )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def thinned(values: Sequence[float], points: int = POINTS) -> list[float]:
    """At most ``points`` of the values, evenly spread, the first and the last among them.

    >>> thinned([0, 1, 2, 3, 4], 3)
    [0, 2, 4]
    """
    if len(values) <= points:
        return list(values)
    return [values[i] for i in np.linspace(0, len(values) - 1, points).round().astype(int)]


@dataclass(frozen=True)
class Effect:
    """What a claim says of two numbers of every run.

    ``claimed``: the difference of the treated number and the control is ``greater`` or ``less`` than
    ``margin`` on average; the two are ``equal`` on average up to ``margin``; or, an ``identity``, up to
    ``margin`` in every single run. Without ``control`` the treated number itself is looked at. With
    ``ratio`` the two (positive) numbers are divided and not subtracted, the mean is the geometric one,
    and ``margin`` is a factor (at first 1; above 1 for ``equal``).
    """

    name: str
    treated: str
    claimed: Claimed
    control: str | None = None
    unit: str = ""
    margin: float = 0.0
    ratio: bool = False

    def measure(self, runs: Sequence[Run]) -> Measured:
        """The mean over the runs in which both numbers are finite, its 95 % interval, and the verdict.

        For a ratio both have to be positive as well.

        >>> runs = [Run({"new": 3.0, "old": 1.0}), Run({"new": 4.0, "old": 1.0})]
        >>> found = Effect("gain", "new", "greater", "old").measure(runs)
        >>> found.mean, found.agree, found.verdict  # two seeds give a wide interval
        (2.5, 2, 'not reproduced')
        """
        alone = 1.0 if self.ratio else 0.0
        pairs = [(r.numbers[self.treated], r.numbers[self.control] if self.control else alone) for r in runs]
        usable = [p for p in pairs if all(math.isfinite(v) and (v > 0 or not self.ratio) for v in p)]
        kept = np.array(usable, float).reshape(-1, 2)
        values = np.log(kept[:, 0] / kept[:, 1]) if self.ratio else kept[:, 0] - kept[:, 1]
        margin = math.log(self.margin) if self.ratio and self.margin else self.margin
        if len(values) < 2:
            return Measured(
                self, None, None, None, None, len(values), len(runs) - len(values), 0, "no answer"
            )
        low, high = interval(values)
        agree = {
            "greater": values > margin,
            "less": values < margin,
            "equal": np.abs(values) <= margin,
            "identity": np.abs(values) <= margin,
        }[self.claimed]
        verdict = _verdict(self.claimed, low, high, margin, bool(agree.all()))
        found = [float(np.mean(values)), low, high, float(np.max(np.abs(values)))]
        mean, low, high, largest = (math.exp(v) for v in found) if self.ratio else found
        left_out = len(runs) - len(values)
        return Measured(self, mean, low, high, largest, len(values), left_out, int(agree.sum()), verdict)


def interval(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's interval for the mean of at least two numbers.

    >>> interval(np.array([1.0, 1.0]))
    (1.0, 1.0)
    """
    from scipy import stats  # half a second, and every list of claims would wait for it

    mean, error = float(np.mean(values)), float(stats.sem(values))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)


def _verdict(claimed: Claimed, low: float, high: float, margin: float, always: bool) -> Verdict:
    if claimed == "identity":
        return "reproduced" if always else "not reproduced"
    if claimed == "equal":
        if -margin <= low and high <= margin:
            return "reproduced"
        return "the opposite was seen" if low > margin or high < -margin else "not reproduced"
    if claimed == "less":
        low, high, margin = -high, -low, -margin
    if low > margin:
        return "reproduced"
    return "the opposite was seen" if high < min(margin, 0.0) else "not reproduced"


@dataclass(frozen=True)
class Measured:
    """An effect as it was seen: mean and interval (factors, where the effect is a ratio), and the verdict.

    ``largest`` is the difference (or factor) of the run where it is largest, whichever way it goes;
    ``agree`` of ``seeds`` runs agree with the claim one by one; ``left_out`` runs had a number that is not
    finite, or of which there is no ratio.
    """

    effect: Effect
    mean: float | None
    low: float | None
    high: float | None
    largest: float | None
    seeds: int
    left_out: int
    agree: int
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """The effect, what was measured, and the verdict.

        >>> Effect("loss", "a", "less", "b", ratio=True).measure([Run({"a": 1.0, "b": 2.0})] * 2).sentence
        'loss: ×0.5 (95 % interval ×0.5 to ×0.5), less than ×1 in 2 of 2 seeds: reproduced'
        """
        return f"{self.effect.name}: {self.said}"

    @property
    def said(self) -> str:
        """The sentence without the name of the effect."""
        e = self.effect
        if self.mean is None or self.low is None or self.high is None:
            return "no answer: fewer than two seeds gave finite numbers"
        unit = f" {e.unit}" if e.unit else ""

        def say(value: float) -> str:
            return f"{'×' if e.ratio else ''}{value:.3g}"

        if e.claimed == "identity" and self.largest is not None:
            seen = f"at most {say(self.largest)}{unit}"
        else:
            seen = f"{say(self.mean)}{unit} (95 % interval {say(self.low)} to {say(self.high)})"
        kind = "within" if e.claimed in ("equal", "identity") else f"{e.claimed} than"
        limit = f"{kind} {say(e.margin or float(e.ratio))}{unit}"
        text = f"{seen}, {limit} in {self.agree} of {self.seeds} seeds"
        left_out = f" ({self.left_out} left out, no finite number)" if self.left_out else ""
        return f"{text}{left_out}: {self.verdict}"

    def as_json(self) -> dict[str, object]:
        e = self.effect
        return {
            "name": e.name,
            "treated": e.treated,
            "control": e.control,
            "claimed": e.claimed,
            "margin": e.margin or None,
            "ratio": e.ratio,
            "unit": e.unit,
            "mean": self.mean,
            "interval": [self.low, self.high],
            "confidence": CONFIDENCE,
            "largest": self.largest,
            "seeds": self.seeds,
            "left_out": self.left_out,
            "agree": self.agree,
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Study:
    """A claim of a paper about training, and the experiment that puts it to the test.

    ``run`` is a module-level function of a seed, the data and the settings, with the same result for the same
    three; it may use PyTorch, which is imported inside. ``draw`` puts all runs into an empty figure of
    matplotlib. ``settings`` holds the defaults. A study with ``own_data`` makes its data; it is given none.
    """

    name: str
    title: str
    source: str
    claim: str
    effects: tuple[Effect, ...]
    run: Callable[[int, Data, Settings], Run]
    draw: Callable[[Any, Sequence[Run]], None]
    settings: Settings = field(default_factory=dict[str, float])
    seeds: int = 20
    own_data: bool = False


_NAMED = 4
"""So many effects that were not reproduced are named in the sentence; more are counted."""


def conclude(study: Study, runs: Sequence[Run]) -> tuple[tuple[Measured, ...], str]:
    """Every effect of a study over its runs, and one sentence on the claim as a whole."""
    found = tuple(e.measure(runs) for e in study.effects)
    missed = [m for m in found if m.verdict != "reproduced"]
    if not missed:
        return found, f"Reproduced on these data: {study.claim}"
    parts = "; ".join(f"{m.effect.name}: {m.verdict}" for m in missed)
    if len(missed) > _NAMED:
        opposite = sum(m.verdict == "the opposite was seen" for m in missed)
        parts = f"{len(found) - len(missed)} of {len(found)} effects reproduced, {opposite} the opposite"
    some = "Only in part reproduced" if len(missed) < len(found) else "Not reproduced"
    return found, f"{some} on these data ({parts}): {study.claim}"
