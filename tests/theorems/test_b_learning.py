"""What the record on learning says with PyTorch, without it, and of each outcome."""

import pytest

from balproof.errors import MissingToolError
from balproof.simulate.study import Run
from balproof.theorems import b_learning
from balproof.theorems.b_learning import EFFECTS, SETTINGS, balancing_helps_learning, replicate, verdict_of
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def outcome(better: float, faster: float, arm: str = "once", noise: float = 0.01):
    """Effects of four runs in which one arm gains so much, and the other is clearly better."""
    runs = []
    for k in range(4):
        off = noise * (-1) ** k
        numbers = {}
        for name in ("never", "once", "fully"):
            gain, factor = (better, faster) if name == arm else (1.0, 0.5)
            gain, factor = (0.0, 1.0) if name == "never" else (gain + off, factor * (1 + off))
            where = f"2 hidden layers, plain, {name}"
            numbers |= {f"accuracy, {where}": 90.0 + gain, f"epochs, {where}": 5.0 * factor}
        runs.append(Run(numbers))
    return [e.measure(runs) for e in EFFECTS]


@pytest.mark.parametrize("arm", ["once", "fully"])
@pytest.mark.parametrize(
    "better, faster, verdict",
    [
        (2.0, 0.5, Verdict.sampled),
        (0.0, 0.5, Verdict.undecided),
        (2.0, 1.0, Verdict.undecided),
        (-2.0, 0.5, Verdict.refuted),
        (2.0, 2.0, Verdict.refuted),
        (-2.0, 1.0, Verdict.refuted),
    ],
)
def test_the_verdict_is_that_of_the_worst_effect(arm, better, faster, verdict):
    assert verdict_of(outcome(better, faster, arm)) is verdict


def test_nothing_measured_is_undecided():
    assert verdict_of([]) is Verdict.undecided
    assert verdict_of([e.measure([]) for e in EFFECTS]) is Verdict.undecided


@pytest.mark.parametrize("missing", ["pytorch", "digits"])
def test_without_a_library_it_is_undecided_and_says_why(monkeypatch, missing):
    def absent():
        raise MissingToolError(f"{missing} is not installed", "install it")

    monkeypatch.setattr(b_learning, "pytorch", lambda: None)
    monkeypatch.setattr(b_learning, missing, absent)
    record = run_claim(balancing_helps_learning)
    assert record.verdict is record.findings.printed.verdict is Verdict.undecided
    assert f"{missing} is not installed" in record.findings.printed.why
    assert not record.findings.evidence
    assert record.ok


@pytest.mark.parametrize("better, faster", [(2.0, 0.5), (0.0, 1.0), (-2.0, 1.0)])
def test_the_record_gives_effects_and_intervals(monkeypatch, better, faster):
    found = outcome(better, faster)
    monkeypatch.setattr(b_learning, "replicate", lambda: found)
    record = run_claim(balancing_helps_learning)
    assert record.verdict is record.findings.printed.verdict is verdict_of(found)
    assert record.findings.printed.why.startswith(f"{record.verdict} in this setting")
    assert record.findings.printed.why.count("95 % interval") == 4
    assert [e.method for e in record.findings.evidence] == ["sampled"]
    assert record.ok


@pytest.mark.torch
def test_the_replication_runs():
    found = replicate(range(2), {**SETTINGS, "epochs": 1, "units": 4})
    assert [m.seeds for m in found] == [2] * 4
    assert all(m.mean is not None for m in found)
