"""Red–black sweeps with coarse correction: the state of SciPy's root, also where plain sweeps are slow."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.balance import coarse
from balproof.balance import multilevel as module
from balproof.balance.multilevel import Coarse, colours, multilevel, stagnant
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.network.graph import Network
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
from tests.networks import called_twice, mlp


@pytest.mark.parametrize("spec", ["l1", "l2", "lp:0.5", "lp:3", "abs(w) + w**2/10", "log(1 + w**2)"])
def test_state_is_the_root_of_the_balance_equations(spec: str) -> None:
    network = mlp([2, 3, 3, 2])
    problem = BalanceProblem.build(network, spec)
    found = multilevel(problem)
    same_weights(at(problem, found.h), balanced_by_scipy(network, MARGINALS[spec]))
    assert raw_imbalance(at(problem, found.h), MARGINALS[spec]) < 1e-12


@pytest.mark.parametrize("degree", [2, 3])
def test_state_at_other_degrees(degree: int) -> None:
    network = mlp([2, 3, 2, 2], activation=f"Max(x,0)**{degree}")
    problem = BalanceProblem.build(network)
    same_weights(at(problem, multilevel(problem).h), balanced_by_scipy(network, MARGINALS["l2"], degree))


@pytest.mark.parametrize("seed", range(3))
def test_deep_and_narrow(seed: int) -> None:
    """Depth 20: the coarse correction saves most sweeps, and the state is the root that SciPy finds."""
    network = mlp([2] * 21, seed=seed)
    problem = BalanceProblem.build(network)
    found = multilevel(problem)
    assert found.imbalance <= 1e-12
    same_weights(at(problem, found.h), balanced_by_scipy(network, MARGINALS["l2"]), rtol=1e-9)


def test_coarse_correction_saves_sweeps() -> None:
    problem = BalanceProblem.build(mlp([4] * 15, seed=1))
    fine, both = (multilevel(problem, coarse=c) for c in (False, True))
    assert 4 * len(both.history) < len(fine.history)
    same_weights(at(problem, both.h), at(problem, fine.h), rtol=1e-9)


NETWORKS: dict[str, Network] = {
    "mlp": mlp([3, 5, 4, 3, 2]),
    "dense recurrent": dense(6),
    "without visible units": dense(6, visible=False),
    "two units alone": recurrent([[0, 2], [3, 0]]),
    "degree 2": mlp([2, 4, 3, 2], activation="Max(x,0)**2"),
    "two layers tied": called_twice(),
    "six decades": dense(5, seed=2, spread=5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_newton(name: str) -> None:
    problem = BalanceProblem.build(NETWORKS[name])
    by_sweeps, by_newton = multilevel(problem), newton(problem)
    assert by_sweeps.imbalance <= 1e-12 and by_newton.imbalance <= 1e-12
    same_weights(at(problem, by_sweeps.h), at(problem, by_newton.h), rtol=1e-8)


def test_units_of_a_colour_share_no_weight() -> None:
    for network in NETWORKS.values():
        problem = BalanceProblem.build(network)
        a = problem.A.toarray() != 0
        groups = colours(problem)
        assert sorted(k for g in groups for k in g) == np.flatnonzero(problem.active).tolist()
        for group in groups:
            for i, j in itertools.combinations(group, 2):
                assert not np.any(a[:, i] & a[:, j])


def test_layers_alternate_between_two_colours() -> None:
    """By hand: units of a layer share no weight, units of neighbouring layers do."""
    problem = BalanceProblem.build(mlp([3, 5, 4, 3, 2]))
    assert [sorted(g.tolist()) for g in colours(problem)] == [[0, 1, 2, 3, 4, 9, 10, 11], [5, 6, 7, 8]]
    assert problem.manifold.groups.tolist() == [0] * 5 + [1] * 4 + [2] * 3


def correction(problem: BalanceProblem, h: np.ndarray) -> np.ndarray:
    groups = Coarse.build(problem)
    assert groups is not None
    return groups.correction(problem, h)


@pytest.mark.parametrize("name", NETWORKS)
def test_coarse_correction_leaves_a_balanced_state(name: str) -> None:
    problem = BalanceProblem.build(NETWORKS[name])
    h = newton(problem).h
    shift = problem.A @ correction(problem, h)
    np.testing.assert_allclose(shift, 0, atol=1e-10)


def test_coarse_correction_is_the_best_shift_of_layers() -> None:
    """Against SciPy, on F written from the raw weights of a 2-3-3-1 network without biases."""
    network = mlp([2, 3, 3, 1], bias=False)
    c = [float(np.sum(raw(network)[f"fc{i}.weight"] ** 2)) for i in (1, 2, 3)]
    best = minimize(
        lambda t: c[0] * np.exp(2 * t[0]) + c[1] * np.exp(2 * (t[1] - t[0])) + c[2] * np.exp(-2 * t[1]),
        np.zeros(2),
        method="BFGS",
        options={"gtol": 1e-10},
    )
    problem = BalanceProblem.build(network)
    shift = correction(problem, np.zeros(6))
    np.testing.assert_allclose(shift, np.repeat(best.x, 3), atol=1e-6)
    # by hand: the optimum makes the three layer costs equal
    costs = np.array(c) * np.exp(2 * np.array([shift[0], shift[3] - shift[0], -shift[3]]))
    np.testing.assert_allclose(costs, costs[0], rtol=1e-12)


def test_many_layers_are_moved_by_elimination(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the state of the dense equations, in as many sweeps."""
    problem = BalanceProblem.build(mlp([4] * 15, seed=1, bias=False, activation="Max(x,0)**2"))
    dense_ones = multilevel(problem)
    monkeypatch.setattr(module, "_DENSE", 5)
    monkeypatch.setattr(Coarse, "build", lambda problem: pytest.fail("dense equations"))
    found = multilevel(problem)
    assert abs(len(found.history) - len(dense_ones.history)) <= 1
    same_weights(at(problem, found.h), at(problem, dense_ones.h), rtol=1e-9)


def test_a_group_that_moves_as_one_needs_no_correction() -> None:
    """Without visible units the common scale of all units changes nothing; the Hessian was singular."""
    problem = BalanceProblem.build(recurrent([[0, 2], [3, 0]]))
    assert correction(problem, np.zeros(2)).tolist() == [0, 0]
    weights = raw(at(problem, multilevel(problem).h))["J"]
    np.testing.assert_allclose(weights, [[0, np.sqrt(6)], [np.sqrt(6), 0]], rtol=1e-14)


def test_layers_that_differ_by_decades() -> None:
    network = mlp([2, 3, 3, 3, 2], bias=False)
    factors = {"fc1.weight": 1e-6, "fc2.weight": 1e6, "fc3.weight": 1e-3, "fc4.weight": 1e5}
    network = network.with_parameters({n: network.numbers(n) * f for n, f in factors.items()})
    problem = BalanceProblem.build(network)
    found = multilevel(problem)
    assert found.imbalance <= 1e-13 and len(found.history) < 40
    history = np.array(found.history)
    assert np.all(np.diff(history) <= 1e-13 * history[:-1])


def test_dead_units_stay_where_they_are() -> None:
    network = mlp([2, 3, 3, 2])
    network = with_weights(network, fc2__weight=network.numbers("fc2.weight") * [[1, 0, 1]] * 3)
    problem = BalanceProblem.build(network)
    assert problem.dead == (1,)
    found = multilevel(problem)
    assert found.h[1] == 0 and found.imbalance <= 1e-13
    assert np.all(found.h[[0, 2, 3, 4, 5]] != 0)


@pytest.mark.parametrize("options", [{"sweeps": 0}, {}])
def test_nothing_to_move(options: Any) -> None:
    for network in (mlp([2, 2]), mlp([2, 3, 2], activation="tanh"), mlp([2, 3, 2], activation="sign")):
        found = multilevel(BalanceProblem.build(network), **options)
        assert not found.h.any() and found.imbalance == 0 and found.passes == 0


def test_passes_count_reads_of_all_weights() -> None:
    """A sweep without coarse step: each unit reads its weights once, and one read measures the imbalance."""
    network = mlp([2, 3, 2], bias=False)  # every weight touches the one hidden layer
    assert multilevel(BalanceProblem.build(network), sweeps=1, coarse=False).passes == 2


def test_stagnant() -> None:
    assert stagnant([1.0] * 9)
    assert not stagnant([1.0] * 8)
    assert not stagnant([0.8**k for k in range(40)])  # slow, and on its way
    assert stagnant([9.0, 1.0, *[1.1, 0.95] * 4])


@pytest.mark.parametrize("groups", [1, 2, 7, 30])
def test_a_matrix_and_a_sparse_factor_give_the_same_shifts(
    groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row has one or two groups; what no row holds in place stays free in the last case of each size."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rows = np.zeros((3 * groups, groups))
        for row in rows:
            row[rng.choice(groups, min(2, groups), replace=False)] = rng.choice([-2.0, 1.0, 4.0])
        rows = np.vstack([rows, -rows] if seed == 5 else [rows, np.eye(groups), -np.eye(groups)])
        cost = np.exp(3 * rng.standard_normal(len(rows)))
        cost[0] = 0.0
        found = []
        for limit in (1_000, 0):
            monkeypatch.setattr(coarse, "DENSE", limit)
            found.append(coarse.shift_of_groups(cost, rows, 1.5))
        np.testing.assert_allclose(rows @ found[0], rows @ found[1], atol=1e-7)
        weight = cost * np.exp(1.5 * (rows @ found[0]))
        assert np.abs(rows.T @ weight).max() < 1e-9 * (np.abs(rows).T @ weight).max()
