"""Claims on Saul's update and on cyclic balancing: values from elsewhere, and each check seen failing."""

import numpy as np
import pytest

from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.theorems import r_norms
from balproof.theorems.instances import layered, random_layered
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def methods(claim, verdict=Verdict.refuted):
    return {e.method for e in run_claim(claim).findings.evidence if e.verdict is verdict}


def test_records_stand():
    saul, enorm = run_claim(r_norms.saul), run_claim(r_norms.enorm)
    assert (saul.verdict, enorm.verdict) == (Verdict.proved, Verdict.certified)
    assert saul.ok and enorm.ok


# --- Saul ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p, q", [(1.0, 1.0), (2.0, 1.0), (1.0, 3.0), (2.5, 0.7)])
def test_marginals_are_derivatives(p, q):
    W, hidden = r_norms.feedforward(np.random.default_rng(4), 8)
    incoming, outgoing = r_norms.marginals(W, p, q)
    for k in hidden:
        values = []
        for h in (1e-5, -1e-5):
            scales = np.ones(8)
            scales[k] = np.exp(h)
            values.append(r_norms.norm(W * scales[:, None] / scales[None, :], p, q))
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx(q * (incoming[k] - outgoing[k]), rel=1e-6, abs=1e-6)


def test_one_unit_by_hand():
    """x→u→y with weights 1 and 16, p = q = 1: a = 16^{1/4} = 2, so (2, 8), and 10 for 17."""
    W = np.zeros((3, 3))
    W[1, 0], W[2, 1] = 1.0, 16.0
    found = r_norms.update(W, [1], 1.0, 1.0)
    assert (found[1, 0], found[2, 1]) == pytest.approx((2, 8), rel=1e-15)


def test_for_equal_exponents_the_end_is_the_balanced_state_of_the_package():
    U, V = [[1.0, 2], [3, -1]], [[2.0, -5], [0.5, 1]]
    solved = solve(layered([U, V]), "l2")
    W = np.zeros((6, 6))
    W[2:4, :2], W[4:, 2:4] = U, V
    for _ in range(500):
        W = r_norms.update(W, [2, 3], 2.0, 2.0)
    assert np.abs(W[2:4, :2]) == pytest.approx(np.abs(solved.network.numbers("W0")), rel=1e-9)


def test_units_in_another_order_give_the_same_norm():
    W, hidden = r_norms.feedforward(np.random.default_rng(5), 8)
    order = np.random.default_rng(6).permutation(8)
    turned = W[np.ix_(order, order)]
    moved = [int(np.flatnonzero(order == k)[0]) for k in hidden]
    one, other = r_norms.update(W, hidden, 1.0, 2.0), r_norms.update(turned, moved, 1.0, 2.0)
    assert r_norms.norm(one, 1.0, 2.0) == pytest.approx(r_norms.norm(other, 1.0, 2.0), rel=1e-13)


def test_an_update_with_a_wrong_exponent_is_seen(monkeypatch):
    right = r_norms.update
    monkeypatch.setattr(
        r_norms, "update", lambda W, hidden, p, q, e=None: right(W, hidden, p, q, e or 1 / (4 * min(p, q)))
    )
    assert methods(r_norms.saul) == {"sampled"}


def test_an_update_that_does_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(r_norms, "update", lambda W, *args: W)
    assert methods(r_norms.saul) >= {"sampled"}


def test_balls_that_do_not_fall_are_seen():
    """x→u→y with weights 4 and 4, p = q = 1, is balanced: nothing falls."""
    assert not r_norms._falls_in_balls(((4, 0, 1), (4, 1, 2)), 3, (1,), 1, 1)


@pytest.mark.slow
def test_bernoulli_with_the_wrong_sign_is_seen(monkeypatch):
    monkeypatch.setattr(r_norms, "positive_beyond", lambda *args: False)
    assert methods(r_norms.saul) == {"sympy"}


# --- cyclic balancing ---------------------------------------------------------------------------------


def test_the_end_is_what_the_package_finds():
    for sizes, biased, p in r_norms.CASES:
        weights, biases = r_norms.layers_of(sizes, 91, biased=biased)
        end = r_norms.cyclic(weights, biases, p, 1500)
        solved = solve(random_layered(sizes, 91, biased=biased), f"l{p:.0f}").network
        for k, w in enumerate(end[: len(weights)]):
            assert np.abs(w) == pytest.approx(np.abs(solved.numbers(f"W{k}")), rel=1e-8)


def test_biases_that_are_forgotten_are_seen(monkeypatch):
    right = r_norms.cyclic
    monkeypatch.setattr(r_norms, "cyclic", lambda w, b, p, n: [*right(w, [], p, n), *b])
    assert methods(r_norms.enorm) == {"interval", "convex"}


def test_too_few_sweeps_are_seen(monkeypatch):
    right = r_norms.cyclic
    monkeypatch.setattr(r_norms, "cyclic", lambda w, b, p, n: right(w, b, p, 2))
    assert methods(r_norms.enorm) == {"interval", "convex"}


def test_columns_are_those_of_the_units():
    sizes = (2, 3, 2, 1)
    problem = BalanceProblem.build(random_layered(sizes, 91, biased=False))
    assert sorted(r_norms._columns_by_unit(problem, sizes)) == list(range(5))


def test_two_units_alike_and_one_alone_are_the_same_function():
    """2·relu(x) by hand at some x; Σ|w| is 4 and 2√2."""
    x = np.linspace(-2, 2, 9)
    two = 2 * np.maximum(x, 0)
    one = np.sqrt(2) * np.maximum(np.sqrt(2) * x, 0)
    assert np.allclose(one, two, rtol=1e-15)
    before, after, same = r_norms.merged()
    assert same and float(before) == 4 and float(after) == pytest.approx(2.8284271, rel=1e-7)
