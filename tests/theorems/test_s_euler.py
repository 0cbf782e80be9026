"""Finite steps of the rule, and each check seen failing."""

from fractions import Fraction

import numpy as np
import pytest
import sympy

from balproof.balance.solve import solve
from balproof.network.manifold import infer
from balproof.theorems import s_euler as s
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_proved_and_refuted_as_printed():
    record = run_claim(s.euler_steps)
    assert record.ok
    assert record.verdict is Verdict.proved
    assert record.findings.printed.verdict is Verdict.refuted
    assert "counterexamples/euler_step.json" in record.findings.printed.why
    assert len(record.findings.twins) == 4


def test_the_counterexample_opens():
    network = counterexample("euler_step")
    assert infer(network).invariants() == 1
    assert solve(network, "l2").cost_after == pytest.approx(8)  # (0 2; 2 0)


def test_cycles_by_hand():
    J = [[Fraction(v) for v in row] for row in ((0, 2, 0), (0, 0, 3), (5, 0, 0))]
    assert s.around(J, [2, 1, 0]) == 30
    assert s.around(J, [0, 1, 2]) == 0


def test_exponential_steps_are_what_scipy_makes_of_them():
    """e^{−tG}J e^{tG} with SciPy's matrix exponential."""
    from scipy.linalg import expm

    rng = np.random.default_rng(1)
    J, alpha = rng.normal(size=(3, 3)), rng.uniform(1, 2, (3, 3))
    c = alpha * J**2
    G = np.diag(c.sum(axis=1) - c.sum(axis=0))
    assert np.allclose(s.exponential(J, alpha, 2.0, 0.1), expm(-0.1 * G) @ J @ expm(0.1 * G))


@pytest.mark.slow
def test_a_step_that_is_exact_has_no_drift(monkeypatch):
    def scaled(J, alpha, p, dt):
        return J

    monkeypatch.setattr(s, "euler", scaled)
    record = run_claim(s.euler_steps)
    assert ("exact", Verdict.refuted) in [(e.method, e.verdict) for e in record.findings.evidence]
    assert record.findings.printed.verdict is Verdict.undecided
    assert not record.ok


def test_another_second_order_is_seen(monkeypatch):
    monkeypatch.setattr(s, "_HALF", sympy.Rational(1, 3))
    assert not s._second_order()


@pytest.mark.parametrize("name", ["plain", "exponential"])
def test_a_step_of_the_wrong_size_is_seen(name, monkeypatch):
    right = getattr(s, name)
    monkeypatch.setattr(s, name, lambda J, alpha, p, dt: right(J, alpha, p, 1.1 * dt))
    assert not s._first_order()


def test_exponential_factors_in_place_of_euler_are_seen(monkeypatch):
    monkeypatch.setattr(s, "plain", s.exponential)
    assert not s._first_order()


def test_factors_without_their_signs_are_seen(monkeypatch):
    right = s._queries
    monkeypatch.setattr(s, "_queries", lambda: [q[-1:] for q in right()[2:3]])
    assert ("z3", Verdict.refuted) in verdicts(s.euler_steps)


def test_factors_that_are_not_exponential_are_seen(monkeypatch):
    monkeypatch.setattr(s.sympy, "exp", lambda v: 1 + v)
    assert not s._factors_cancel()
