"""Newton's method and general regularizers: balance by hand-derived marginals, the state by SciPy's root."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from balproof.balance.direct import direct
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.balance.state import Iterate
from balproof.importers import load
from tests.balance.samples import (
    MARGINALS,
    at,
    balanced_by_scipy,
    dense,
    raw,
    raw_imbalance,
    recurrent,
    same_weights,
    with_weights,
)
from tests.networks import mlp

Method = Callable[..., Iterate]
both = pytest.mark.parametrize("method", [newton, direct])


@both
@pytest.mark.parametrize("spec", MARGINALS)
def test_state_is_the_root_of_the_balance_equations(spec: str, method: Method) -> None:
    network = mlp([2, 3, 3, 2])
    problem = BalanceProblem.build(network, spec)
    found = method(problem)
    same_weights(at(problem, found.h), balanced_by_scipy(network, MARGINALS[spec]))
    assert raw_imbalance(at(problem, found.h), MARGINALS[spec]) < 1e-12


@both
def test_mixed_regularizers(method: Method) -> None:
    network = mlp([2, 3, 3, 2])
    specs = {
        "fc1.weight": "l1",
        "fc2.weight": "log(1 + w**2)",
        "fc3.weight": "lp:3",
        "fc2.bias": "abs(w) + w**2/10",
    }
    problem = BalanceProblem.build(network, [f"{n}={s}" for n, s in specs.items()])
    marginals = {n: MARGINALS[specs.get(n, "l2")] for n in raw(network)}
    found = method(problem)
    same_weights(at(problem, found.h), balanced_by_scipy(network, marginals))


@both
def test_elastic_net_of_a_chain_in_40_digits(method: Method) -> None:
    """1-1-1 with weights 2 and 1/4: |w| + w²/10, the root in mpmath."""
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[2]], fc2__weight=[[-0.25]])
    problem = BalanceProblem.build(network, "abs(w) + w**2/10")
    with mpmath.workdps(40):
        m = lambda w: w + w**2 / 5  # noqa: E731
        root = mpmath.findroot(lambda h: m(2 * mpmath.exp(h)) - m(mpmath.exp(-h) / 4), -1)
    assert method(problem).h[0] == pytest.approx(float(root), rel=1e-14)


@both
def test_the_start_does_not_matter(method: Method) -> None:
    problem = BalanceProblem.build(mlp([2, 4, 3, 2]), "abs(w) + w**2/10")
    end = at(problem, method(problem).h)
    for seed in range(4):
        start = 5 * np.random.default_rng(seed).standard_normal(problem.count)
        same_weights(at(problem, method(problem, start).h), end)


@both
def test_the_start_is_not_changed(method: Method) -> None:
    problem = BalanceProblem.build(mlp([2, 4, 2]))
    start = np.ones(4)
    method(problem, start)
    assert start.tolist() == [1] * 4


@both
def test_weak_ties_between_strong_groups_are_balanced_too(method: Method) -> None:
    """A pair of weights 1 tied to the rest by 1e−7: the imbalance is 1e−14 long before the state is right.

    By hand: the pair moves as one, e^{2h}·(1e−7)² = e^{−2h}·(3e−7)², so W_in and W_out end at √3·1e−7.
    """
    problem = BalanceProblem.build(recurrent([[0, 1], [1, 0]], W_in=[[1e-7], [0]], W_out=[[0, 3e-7]]))
    end = raw(at(problem, method(problem).h))
    assert end["W_in"][0, 0] == pytest.approx(np.sqrt(3) * 1e-7, rel=1e-12)


@both
@pytest.mark.parametrize("spread", [5.0, 14.0])
def test_weights_over_many_decades(spread: float, method: Method) -> None:
    network = dense(8, seed=3, spread=spread)
    sizes = raw(network)["J"]
    assert sizes.max() / sizes.min() > (1e6 if spread == 5 else 1e12)
    problem = BalanceProblem.build(network)
    assert raw_imbalance(at(problem, method(problem).h), MARGINALS["l2"]) < 1e-12


@both
def test_sparse_and_dense_solvers_agree(method: Method) -> None:
    """220 units: above the size from which sparse factors are used; the same network in two layers."""
    network = mlp([1, 110, 1, 110, 1], bias=False)
    problem = BalanceProblem.build(network)
    assert problem.hessian(np.zeros(221)).nnz < 0.05 * 221**2
    found = method(problem)
    assert raw_imbalance(at(problem, found.h), MARGINALS["l2"]) < 1e-12


@both
def test_a_component_that_can_drift(method: Method) -> None:
    """Without visible units the Hessian is singular along (1, …, 1), in the dense and the sparse solver."""
    ring = np.roll(np.diag(np.exp(np.random.default_rng(0).standard_normal(250))), 1, axis=0)
    for network in (dense(5, visible=False), recurrent(ring + 0.1 * ring.T)):
        problem = BalanceProblem.build(network)
        found = method(problem)
        assert raw_imbalance(at(problem, found.h), MARGINALS["l2"]) < 1e-12


@both
@pytest.mark.parametrize("size", [1e9, 1e70, 1e110])
def test_flat_costs_end_without_a_warning(size: float, method: Method) -> None:
    """Far out log(1 + w²) has no curvature that double precision could see: it came out as −1e−16, or NaN."""
    network = with_weights(mlp([2, 1, 1], bias=False), fc1__weight=[[size, size]], fc2__weight=[[size]])
    problem = BalanceProblem.build(network, "log(1 + w**2)")
    found = method(problem)
    assert np.isfinite(found.h).all() and np.isfinite(found.imbalance)
    assert problem.cost(found.h) < problem.cost(np.zeros(1))
    assert len(found.history) < 400  # where F overflows at every step length there is nothing more to gain


@both
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), spec=st.sampled_from(sorted(MARGINALS)))
def test_the_cost_never_rises_and_the_end_is_balanced(seed: int, spec: str, method: Method) -> None:
    rng = np.random.default_rng(seed)
    widths = [2, *rng.integers(1, 4, int(rng.integers(1, 4))).tolist(), 2]
    network = mlp(widths, seed=seed, spread=2)
    problem = BalanceProblem.build(network, spec)
    found = method(problem)
    assert raw_imbalance(at(problem, found.h), MARGINALS[spec]) < 1e-11
    history = np.array(found.history)
    assert np.all(np.diff(history) <= 1e-12 * history[:-1])


@both
def test_nothing_to_move(method: Method) -> None:
    for network in (mlp([2, 2]), mlp([2, 3, 2], activation="tanh")):
        found = method(BalanceProblem.build(network))
        assert not found.h.any() and found.imbalance == 0


def test_weights_that_fall_far_do_not_shorten_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse matrix over 40 decades, by factors: 86 steps where all log-scales moved by at most 1."""
    rng, n = np.random.default_rng(0), 300
    ends = rng.integers(0, n, (2, 3 * n))
    places = np.hstack([ends, [np.arange(n), np.roll(np.arange(n), 1)]])
    matrix = sparse.coo_array((np.exp(10 * rng.standard_normal(4 * n)), tuple(places)), (n, n)).tocsr()
    problem = BalanceProblem.build(load(matrix), "l2")
    monkeypatch.setattr("balproof.balance.direct.order", lambda *_: None)
    found = direct(problem)
    assert found.imbalance < 1e-12
    assert len(found.history) < 60
