"""The Hessian of the cost of a recurrent network, and each check seen failing."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from scipy.sparse.csgraph import laplacian as scipy_laplacian

from balproof.balance.problem import BalanceProblem
from balproof.theorems import s_laplacian as s
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_proved_with_every_twin_refuted():
    record = run_claim(s.hessian_is_laplacian)
    assert record.ok
    assert record.verdict is Verdict.proved
    assert len(record.findings.twins) == 7


def test_laplacian_is_that_of_scipy():
    w = np.array([[5, 1, 0, 2], [1, 0, 3, 0], [0, 3, 2, 4], [2, 0, 4, 0]])
    ours = s.laplacian([[Fraction(int(v)) for v in row] for row in w])
    without_loops = (w - np.diag(np.diag(w))).astype(float)
    assert np.array_equal(np.array(ours, dtype=float), scipy_laplacian(without_loops))


def test_second_derivatives_are_those_of_finite_differences():
    c = [[Fraction(v) for v in row] for row in ((0, 4), (1, 3))]
    found = s.second_derivatives(c, 2, [Fraction(1), Fraction(1)])

    def total(h):
        return sum(float(c[i][j]) * np.exp(2 * (h[j] - h[i])) for i in range(2) for j in range(2))

    d = 1e-4
    middle = (total([d, 0]) - 2 * total([0, 0]) + total([-d, 0])) / d**2
    assert float(found[0][0]) == pytest.approx(middle, rel=1e-5)
    assert found == [[20, -20], [-20, 20]]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c, p, sent, received: c * sympy.exp(p * (sent + received)),
        lambda c, p, a, b: c * sympy.exp(a - b),
    ],
)
@pytest.mark.slow
def test_another_transform_is_seen(wrong, monkeypatch):
    monkeypatch.setattr(s, "cost", wrong)
    assert not s._entries_of_any_size()
    assert not s._form_of_any_size()


def test_one_direction_alone_is_seen(monkeypatch):
    monkeypatch.setattr(s, "both_ways", lambda c: c)
    found = verdicts(s.hessian_is_laplacian)
    assert found.count(("exact", Verdict.refuted)) == 2


def test_a_diagonal_that_counts_self_loops_is_seen(monkeypatch):
    right = s.laplacian
    monkeypatch.setattr(
        s,
        "laplacian",
        lambda w: [[v + w[k][k] * (k == m) for m, v in enumerate(r)] for k, r in enumerate(right(w))],
    )
    assert not s._hessian_exact()
    assert not s._kernel_exact()


def test_a_wrong_hessian_of_the_package_is_seen(monkeypatch):
    right = BalanceProblem.hessian
    monkeypatch.setattr(BalanceProblem, "hessian", lambda self, h: 2 * right(self, h))
    assert not s._package_agrees()


@pytest.mark.slow
def test_a_twin_that_does_not_fail_is_seen(monkeypatch):
    monkeypatch.setattr(s, "_hessian", lambda total, variables: sympy.zeros(len(variables), len(variables)))
    record = run_claim(s.hessian_is_laplacian)
    open_twins = {t.dropped for t in record.findings.twins if t.verdict is Verdict.undecided}
    assert {
        "costs positive",
        "weak components (strong ones instead)",
        "recurrent weights alone",
    } <= open_twins
    assert not record.ok
