"""The claim on random Osborne iteration: values by hand, and each check seen failing."""

import numpy as np
import pytest

from balproof.theorems import r_osborne
from balproof.theorems.registry import run_claim
from balproof.theorems.s_osborne import osborne
from balproof.verdict import Verdict


def outcomes():
    return [e.verdict for e in run_claim(r_osborne.osborne_rate).findings.evidence]


def test_proved():
    record = run_claim(r_osborne.osborne_rate)
    assert record.ok and record.verdict is Verdict.proved
    assert outcomes() == [Verdict.proved, Verdict.certified, Verdict.sampled, Verdict.sampled]


def test_by_hand():
    """(0 4; 1 0): rows 4, 1 and columns 1, 4, so Σ|r − c| = 6 of 5; one step gives (0 2; 2 0)."""
    A = np.array([[0.0, 4], [1, 0]])
    assert r_osborne.imbalance(A) == pytest.approx(6 / 5, rel=1e-15)
    assert r_osborne.kappa(A) == 5
    found = r_osborne.course(A, 0.1, np.random.default_rng(0))
    assert (found.steps, found.operations) == (1, 2)


def test_a_step_is_that_of_the_other_program():
    A = r_osborne.family("full", 5, np.random.default_rng(1))
    now = A
    for k in range(5):
        now = r_osborne.balance_unit(now, k)
    assert np.allclose(now, osborne(A, 1.0, 1), rtol=1e-13)


@pytest.mark.slow
def test_a_constant_that_is_too_good_is_seen(monkeypatch):
    monkeypatch.setattr(r_osborne, "CONSTANT", 0.5)
    assert outcomes()[0] is Verdict.refuted
    assert outcomes()[2] is Verdict.refuted


def test_steps_that_do_nothing_are_seen(monkeypatch):
    right = r_osborne.balance_unit
    monkeypatch.setattr(r_osborne, "balance_unit", lambda A, k: A if k % 2 else right(A, k))
    assert not r_osborne._mean_gain()


def test_runs_that_take_too_long_are_seen():
    assert not r_osborne._runs_within([r_osborne.Measured("slow", 9.0, 1.0)])
    assert not r_osborne._runs_within([r_osborne.Measured("slow", 1.0, 2.5)])
    assert not r_osborne._runs_within([r_osborne.Measured("none", 0.0, 1.0)])


def test_z3_finds_numbers_for_a_larger_gain():
    from balproof.symbolic import smt

    (query,) = r_osborne._gain_queries()
    *rest, gain = query
    assert smt.satisfiable([*rest, gain.lhs < 2 * gain.rhs], 6.0).status == "sat"


def test_the_order_of_units_changes_nothing_but_the_draws():
    A = r_osborne.family("spread", 6, np.random.default_rng(2))
    order = np.random.default_rng(3).permutation(6)
    turned = A[np.ix_(order, order)]
    assert r_osborne.imbalance(turned) == pytest.approx(r_osborne.imbalance(A), rel=1e-14)
    assert r_osborne.kappa(turned) == pytest.approx(r_osborne.kappa(A), rel=1e-14)
