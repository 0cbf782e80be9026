"""How far the cost can fall, and each check seen failing."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.theorems import s_bounds as s
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def exact(rows):
    return [[Fraction(v) for v in row] for row in rows]


def test_proved_with_every_twin_refuted():
    record = run_claim(s.bounds)
    assert record.ok
    assert record.verdict is Verdict.proved
    assert len(record.findings.twins) == 4


def test_numbers_by_hand():
    c = exact([[7, 16, 0], [1, 0, 4], [0, 4, 0]])  # IN 16, 5, 4 and OUT 1, 20, 4; degrees 17, 25, 8
    assert s.degrees(c) == [17, 25, 8]
    assert s.below(c) == Fraction(15**2 + 15**2 + 0, 2 * 2 * 25)
    assert float(s.between(c)[0]) == pytest.approx(((4 - 1) ** 2 + (20**0.5 - 5**0.5) ** 2) / 2)
    assert float(s.above(c)[1]) == pytest.approx(32 - (7 + 4 + 4 + 4 + 4))


def test_bounds_hold_for_what_bfgs_finds():
    rng = np.random.default_rng(3)
    for n in (3, 5):
        c = rng.integers(1, 9, (n, n)).astype(float)
        least = minimize(lambda h, c=c: np.sum(c * np.exp(h[None, :] - h[:, None])), np.zeros(n)).fun
        fractions = exact(c.astype(int).tolist())
        assert float(s.below(fractions)) <= float(s.between(fractions)[0]) <= c.sum() - least + 1e-9
        assert c.sum() - least <= float(s.above(fractions)[1]) + 1e-9


def test_units_renamed_or_idle_change_nothing():
    c = exact([[0, 4, 1], [1, 2, 0], [3, 1, 0]])
    order = [2, 0, 1]
    renamed = [[c[i][j] for j in order] for i in order]
    wider = [[*row, Fraction(0)] for row in c] + [[Fraction(0)] * 4]
    for other in (renamed, wider):
        assert (s.below(other), s.between(other)[1], s.above(other)) == (
            s.below(c),
            s.between(c)[1],
            s.above(c),
        )


def test_nothing_there():
    assert s.below(exact([[0, 0], [0, 0]])) == 0
    assert s.below([]) == 0


@pytest.mark.parametrize("v", [Fraction(0), Fraction(2), Fraction(1, 7), Fraction(10**40 + 1)])
def test_roots_are_enclosed(v):
    low, high = s.root(v)
    assert low**2 <= v <= high**2
    assert high - low <= Fraction(1, 10**30)


def test_a_bound_below_without_its_square_is_seen(monkeypatch):
    right = s.below
    monkeypatch.setattr(s, "below", lambda c, factor=2: 2 * right(c, factor) + 1)
    assert not s._exact_instances()
    assert not s._bridge_too()


@pytest.mark.slow
def test_a_middle_without_its_half_is_seen(monkeypatch):
    right = s.between
    monkeypatch.setattr(s, "between", lambda c: tuple(2 * v for v in right(c)))
    assert ("exact", Verdict.refuted) in verdicts(s.bounds)


def test_a_bound_above_over_pairs_alone_is_seen(monkeypatch):
    right = s.above
    monkeypatch.setattr(s, "above", lambda c: tuple(v / 2 for v in right(c)))
    assert not s._exact_instances()
    assert not s._attained()
    assert not s._convex_instances()


@pytest.mark.slow
def test_a_lemma_that_lacks_a_condition_is_seen(monkeypatch):
    right = s._queries
    monkeypatch.setattr(s, "_queries", lambda: [q[-1:] for q in right()])
    assert ("z3", Verdict.refuted) in verdicts(s.bounds)


def test_a_step_that_is_not_half_is_seen(monkeypatch):
    real = s.sympy.sqrt
    monkeypatch.setattr(s.sympy, "sqrt", lambda v: real(real(v)))
    assert not s._sums()
