"""Claims on the recurrent rule, and each of their checks seen failing."""

import numpy as np
import pytest

from balproof.balance.problem import BalanceProblem
from balproof.theorems import s_flow
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_both_are_proved():
    for claim in s_flow.CLAIMS:
        assert run_claim(claim).verdict is Verdict.proved


def test_imbalance_is_in_less_out():
    assert s_flow.imbalances(np.array([[0.0, 4], [1, 0]])).tolist() == [3, -3]


def test_the_wrong_sign_of_g_is_seen(monkeypatch):
    right = s_flow.exact_imbalances
    monkeypatch.setattr(s_flow, "exact_imbalances", lambda c: [-v for v in right(c)])
    assert ("exact", Verdict.refuted) in verdicts(s_flow.gradient_flow)


def test_the_rule_run_backwards_is_seen(monkeypatch):
    right = s_flow.imbalances
    monkeypatch.setattr(s_flow, "imbalances", lambda c: -right(c))
    assert not s_flow._flow_descends()


def test_a_package_with_the_sign_of_the_paper_is_seen(monkeypatch):
    right = BalanceProblem.gradient
    monkeypatch.setattr(BalanceProblem, "gradient", lambda self, h: -right(self, h))
    assert not s_flow._package_gradient()


def test_a_sum_that_loses_its_sign_is_seen(monkeypatch):
    right = s_flow.deltasummation
    monkeypatch.setattr(s_flow, "deltasummation", lambda term, limits: -right(term, limits))
    assert not s_flow._gradient_of_any_size()


def test_a_flow_that_does_not_move_is_seen(monkeypatch):
    right = s_flow.integrate

    def still(J, alpha, p, tau, t):
        return right(J, alpha, p, 1e9, t)

    monkeypatch.setattr(s_flow, "integrate", still)
    assert not s_flow._flow_keeps()
    assert not s_flow._flow_descends()


@pytest.mark.slow
def test_a_transform_that_divides_where_it_multiplies_is_seen(monkeypatch):
    monkeypatch.setattr(
        s_flow,
        "scaled",
        lambda J, x: [[v * x[j] * x[i] for j, v in enumerate(row)] for i, row in enumerate(J)],
    )
    assert ("exact", Verdict.refuted) in verdicts(s_flow.conserved)


def test_a_wrong_count_of_components_is_seen(monkeypatch):
    monkeypatch.setattr(s_flow, "components", lambda n, synapses: 1)
    assert not s_flow._count_exact()
    assert not s_flow._package_counts()


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("step", lambda x, weight, y: s_flow.sympy.exp(x) * weight * s_flow.sympy.exp(y)),
        ("similar", lambda J, D: D * J * D),
        ("similar", lambda J, D: D.T * J * D),
    ],
)
@pytest.mark.slow
def test_a_transform_that_is_no_similarity_is_seen(name, wrong, monkeypatch):
    monkeypatch.setattr(s_flow, name, wrong)
    assert ("sympy", Verdict.refuted) in verdicts(s_flow.conserved)


def test_the_slope_of_a_wrong_sign_is_seen(monkeypatch):
    right = s_flow.cost_slope
    monkeypatch.setattr(s_flow, "cost_slope", lambda *args: -right(*args))
    found = run_claim(s_flow.gradient_flow)
    twins = {t.dropped: t.verdict for t in found.findings.twins}
    assert twins["the sign of h in the transform"] is Verdict.undecided
    assert not found.ok


@pytest.mark.parametrize("n", [2, 3, 5])
def test_dual_numbers_differentiate(n):
    x = s_flow.Dual(s_flow.Fraction(3), s_flow.Fraction(1))
    assert (x**n).slope == n * 3 ** (n - 1)
    assert (x**-n * x**n) == s_flow.Dual(s_flow.Fraction(1), s_flow.Fraction(0))
