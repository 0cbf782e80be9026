"""Paired effects: intervals as SciPy's paired test has them, and what each verdict needs."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from balproof.simulate.study import Effect, Run, Study, conclude, interval, thinned

RNG = np.random.default_rng(3)
NEW, OLD = RNG.normal(2.0, 1.0, 20), RNG.normal(0.5, 1.0, 20)


def runs(new, old=None) -> list[Run]:
    old = np.zeros(len(new)) if old is None else old
    return [Run({"new": float(a), "old": float(b)}) for a, b in zip(new, old, strict=True)]


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    found = Effect("e", "new", "greater", "old").measure(runs(NEW, OLD))
    expected = stats.ttest_rel(NEW, OLD).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.mean == pytest.approx((NEW - OLD).mean())
    assert (found.seeds, found.agree, found.left_out) == (20, int((NEW > OLD).sum()), 0)
    assert found.verdict == "reproduced"


def test_ratios_are_of_the_logarithms() -> None:
    new, old = np.exp(NEW), np.exp(OLD)
    found = Effect("e", "new", "greater", "old", ratio=True).measure(runs(new, old))
    expected = stats.ttest_rel(NEW, OLD).confidence_interval(0.95)
    assert np.log([found.low, found.high]) == pytest.approx([expected.low, expected.high], rel=1e-9)
    assert found.mean == pytest.approx(stats.gmean(new / old))


@pytest.mark.parametrize(
    ("claimed", "margin", "values", "verdict"),
    [
        ("greater", 0.0, [1.0, 1.1, 0.9], "reproduced"),
        ("greater", 0.0, [-1.0, -1.1, -0.9], "the opposite was seen"),
        ("greater", 0.0, [1.0, -1.0, 0.2], "not reproduced"),
        ("greater", 2.0, [1.0, 1.1, 0.9], "not reproduced"),  # above 0, and not above what is claimed
        ("less", 0.0, [-1.0, -1.1, -0.9], "reproduced"),
        ("less", 0.0, [1.0, 1.1, 0.9], "the opposite was seen"),
        ("less", -2.0, [-1.0, -1.1, -0.9], "not reproduced"),
        ("less", 2.0, [1.0, 1.1, 0.9], "reproduced"),
        ("equal", 0.5, [0.1, -0.1, 0.05], "reproduced"),
        ("equal", 0.5, [3.0, -3.0, 0.1], "not reproduced"),  # equal on average, but who knows
        ("equal", 0.5, [1.0, 1.1, 0.9], "the opposite was seen"),
        ("identity", 0.5, [0.1, -0.1, 0.4], "reproduced"),
        ("identity", 0.5, [0.0] * 50 + [0.6], "not reproduced"),  # one run is enough
    ],
)
def test_verdicts(claimed, margin, values, verdict) -> None:
    assert Effect("e", "new", claimed, margin=margin).measure(runs(values)).verdict == verdict


def test_margins_of_ratios_are_factors() -> None:
    effect = Effect("e", "new", "less", "old", margin=0.1, ratio=True)
    assert effect.measure(runs([1.0, 1.1], [20.0, 20.0])).verdict == "reproduced"
    assert effect.measure(runs([1.0, 1.0], [5.0, 5.0])).verdict == "not reproduced"
    assert effect.measure(runs([5.0, 5.0], [1.0, 1.0])).verdict == "the opposite was seen"
    alone = Effect("e", "new", "greater", margin=10, ratio=True)
    assert alone.measure(runs([20.0, 21.0])).verdict == "reproduced"
    assert alone.measure(runs([8.0, 8.1])).verdict == "not reproduced"


def test_runs_that_are_not_finite_are_left_out_and_told() -> None:
    found = Effect("e", "new", "greater").measure(runs([1.0, math.nan, 1.01, math.inf]))
    assert (found.seeds, found.left_out, found.verdict) == (2, 2, "reproduced")
    assert "2 left out, no finite number" in found.sentence
    ratio = Effect("e", "new", "greater", ratio=True, margin=0.5).measure(runs([1.0, 0.0, 1.01, -1.0]))
    assert (ratio.seeds, ratio.left_out) == (2, 2)  # which have no logarithm
    nothing = Effect("e", "new", "greater").measure(runs([1.0, math.nan]))
    assert (nothing.verdict, nothing.mean) == ("no answer", None)
    assert "no answer" in nothing.sentence
    json.dumps(nothing.as_json(), allow_nan=False)


def test_of_an_identity_the_worst_run_is_told() -> None:
    found = Effect("e", "new", "identity", margin=1e-9).measure(runs([1e-12, -3e-12, 2e-12]))
    assert (found.largest, found.verdict) == (3e-12, "reproduced")
    assert found.sentence == "e: at most 3e-12, within 1e-09 in 3 of 3 seeds: reproduced"
    ratio = Effect("e", "new", "identity", "old", margin=2.0, ratio=True).measure(
        runs([1.0, 0.25], [1.0, 1.0])
    )
    assert (ratio.largest, ratio.agree, ratio.verdict) == (4.0, 1, "not reproduced")


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(1.0, 2.0, (2000, 8))
    covered = np.mean([low <= 1.0 <= high for low, high in map(interval, samples)])
    assert 0.94 < covered < 0.96


def test_a_run_travels_as_json() -> None:
    run = Run({"a": 1.5, "b": math.nan}, {"s": [float(i) for i in range(1000)], "t": [0.0, math.inf]})
    data = json.loads(json.dumps(run.as_json(), allow_nan=False))
    back = Run.from_json(data)
    assert back.numbers["a"] == 1.5
    assert math.isnan(back.numbers["b"])
    assert len(back.series["s"]) == 200
    assert (back.series["s"][0], back.series["s"][-1]) == (0.0, 999.0)
    assert back.series["s"] == sorted(set(back.series["s"]))
    assert back.series["t"][0] == 0.0
    assert math.isnan(back.series["t"][1])


def test_short_series_stay() -> None:
    assert thinned([3.0, 1.0], 5) == [3.0, 1.0]


def test_the_sentence_on_the_whole_claim() -> None:
    up, down = Effect("up", "new", "greater"), Effect("down", "new", "less")

    def said(*effects: Effect) -> str:
        study = Study("s", "t", "[X]", "It helps.", effects, lambda *_: Run({}), lambda *_: None)
        return conclude(study, runs([1.0, 1.1, 0.9]))[1]

    assert said(up) == "Reproduced on these data: It helps."
    assert said(up, down) == (
        "Only in part reproduced on these data (down: the opposite was seen): It helps."
    )
    assert said(down).startswith("Not reproduced on these data (down: the opposite was seen)")


def test_many_effects_are_counted_in_the_sentence() -> None:
    up, down = Effect("up", "new", "greater"), Effect("down", "new", "less")
    flat = Effect("flat", "new", "greater", margin=1.0)
    study = Study(
        "s", "t", "[X]", "It helps.", (up, *[down] * 2, *[flat] * 3), lambda *_: Run({}), lambda *_: None
    )
    assert conclude(study, runs([1.0, 1.1, 0.9]))[1] == (
        "Only in part reproduced on these data (1 of 6 effects reproduced, 2 the opposite): It helps."
    )
