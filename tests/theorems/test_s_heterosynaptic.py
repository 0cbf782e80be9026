"""What the rule predicts for plasticity, and each check seen failing."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.theorems import s_heterosynaptic as s
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_proved_with_every_twin_refuted():
    record = run_claim(s.heterosynaptic)
    assert record.ok
    assert record.verdict is Verdict.proved
    assert len(record.findings.twins) == 4


def test_the_table_is_antisymmetric():
    """Reversing every synapse turns g round: the table of the reversed network has the opposite signs."""
    for x in range(4):
        for y in range(4):
            assert s.expected(x, y, 1, 0) == -s.expected(x, y, 0, 1)


def test_the_end_by_bfgs():
    """The least Σc_ij e^{h_j − h_i} after one synapse was raised: its two units have the extreme h."""
    c = np.array(s.circulation(5, 4), dtype=float)
    i, j = (int(v) for v in np.argwhere(c > 0)[0])
    c[i, j] *= 4
    h = minimize(lambda h: np.sum(c * np.exp(h[None, :] - h[:, None])), np.zeros(5), tol=1e-10).x
    assert np.argmax(h) == i
    assert np.argmin(h) == j


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, y, i, j: 0,
        lambda x, y, i, j: (x == j) + (y == i) - (x == i) - (y == j) + (x == y),
        lambda x, y, i, j: (x == i) + (y == j) - (x == j) - (y == i),
    ],
)
def test_another_table_is_seen(wrong, monkeypatch):
    monkeypatch.setattr(s, "expected", wrong)
    assert not s._imbalances_of_any_size()
    assert not s._all_synapses()


def test_the_signs_of_the_table_are_seen_along_the_flow(monkeypatch):
    right = s.expected
    monkeypatch.setattr(s, "expected", lambda x, y, i, j: -right(x, y, i, j))
    assert not s._flow_agrees()


def test_a_sum_that_loses_its_sign_is_seen(monkeypatch):
    right = s.deltasummation
    monkeypatch.setattr(s, "deltasummation", lambda term, limits: -right(term, limits))
    assert not s._imbalances_of_any_size()


@pytest.mark.slow
def test_a_start_that_is_not_balanced_is_seen(monkeypatch):
    def lopsided(n, seed):
        return [[Fraction(int(i != j) * (1 + i)) for j in range(n)] for i in range(n)]

    monkeypatch.setattr(s, "circulation", lopsided)
    assert ("exact", Verdict.refuted) in verdicts(s.heterosynaptic)
    assert not s._ends_alike()


@pytest.mark.slow
def test_a_lemma_without_balance_is_seen(monkeypatch):
    right = s._queries
    monkeypatch.setattr(s, "_queries", lambda: [q[1:] for q in right()])
    assert ("z3", Verdict.refuted) in verdicts(s.heterosynaptic)


@pytest.mark.slow
def test_a_ring_that_stays_is_no_twin(monkeypatch):
    monkeypatch.setattr(s, "exact_imbalances", lambda c: [Fraction(0)] * len(c))
    open_twins = [
        t.dropped for t in run_claim(s.heterosynaptic).findings.twins if t.verdict is Verdict.undecided
    ]
    assert "balanced before" in open_twins
    assert "at first, for the synapses elsewhere (in the end instead)" in open_twins


def test_a_cost_that_does_not_depend_on_h_is_seen(monkeypatch):
    monkeypatch.setattr(s.sympy, "exp", lambda v: 1 + 0 * v)
    assert not s._differences_show()
