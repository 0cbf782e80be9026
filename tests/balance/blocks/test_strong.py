"""Few strong weights: what they leave out is in the sums, and they lead to the state of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from balproof.balance.blocks import strong
from balproof.balance.blocks.cyclic import _Run
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem, Costs
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer
from tests.networks import mlp


def heavy(network: Network, spread: float, seed: int = 0) -> Network:
    """Log-normal weights of random signs."""
    rng = np.random.default_rng(seed)
    return network.with_parameters(
        {t.name: rng.choice([-1, 1], t.shape) * np.exp(spread * rng.standard_normal(t.shape))
         for t in network.parameters}
    )  # fmt: skip


def run_of(manifold: Manifold, cost: Any = "l2") -> _Run:
    blocks = BlockProblem.build(manifold, Costs.parse(cost))
    assert blocks is not None
    return _Run(blocks, np.zeros(manifold.count), blocks.start)


RECURRENT = {"J": np.exp(5 * np.random.default_rng(2).standard_normal((90, 90)))}


@pytest.mark.parametrize("network", [heavy(mlp([40, 70, 50, 60], seed=1), 5), load(RECURRENT)])
@pytest.mark.parametrize("cost", ["l2", "l1"])
def test_with_the_rest_in_rank_one_they_have_the_sums_of_all_weights(network: Network, cost: str) -> None:
    run = run_of(infer(network), cost)
    made = strong.few(run.problem, run.plan, run.factors, run.sums)
    assert made is not None
    assert 0 < len(made.cost) / 2 <= run.problem.size / 8
    rest = strong._rest(run.plan, made, run.factors, run.sums)
    ranked = strong._ranked(run.plan, made, rest, run.factors)
    total = np.bincount(made.total, ranked * run.factors)
    sums = strong._kept(run.plan, made, run.factors, False) + ranked * total[made.across]
    moving = run.plan.place >= 0
    np.testing.assert_allclose(sums[moving], run.sums[moving], rtol=1e-9)
    # By the weights themselves: those that are kept are the strongest of some row or column.
    for b, pair in enumerate(run.problem.pairs):
        costs = (np.abs(np.asarray(pair.weights, float)) ** pair.power).sum(axis=2)
        if pair.loop:
            np.fill_diagonal(costs, 0.0)
        found = np.zeros_like(costs)
        start, middle, end = run.plan.start[2 * b : 2 * b + 3]
        for j in range(start, middle):
            for k in range(made.start[j], made.start[j + 1]):
                found[j - start, made.other[k] - middle] = made.cost[k]
        assert end > middle and np.all((found == 0) | np.isclose(found, costs, rtol=1e-12))
        share = np.maximum(costs / costs.sum(axis=1)[:, None], costs / costs.sum(axis=0))
        assert share[found > 0].min() >= share[found == 0].max(initial=0.0) / 2


@pytest.mark.parametrize("spread", [3.0, 6.0])
def test_they_lead_to_the_state_that_newtons_method_finds(spread: float) -> None:
    manifold = infer(heavy(mlp([40, 50, 64, 64, 40], seed=2), spread))
    run, problem = run_of(manifold), BalanceProblem.build(manifold, "l2")
    found = strong.by_few(run.problem, run.plan, run.order, run.h, 1e-12)
    assert found.imbalance <= 1e-12 and not found.stopped
    assert problem.imbalance(found.h) <= 2e-12
    np.testing.assert_allclose(problem.A @ found.h, problem.A @ direct(problem).h, atol=1e-6)
    assert found.history[-1] == pytest.approx(problem.cost(found.h), rel=1e-12)
    assert len(found.history) * run.problem.size < found.read < 30 * run.problem.size


def test_they_are_not_taken_where_they_tell_too_little() -> None:
    run = run_of(infer(mlp([64, 96, 64, 96], seed=0)))
    found = strong.by_few(run.problem, run.plan, run.order, run.h, 1e-12)
    assert found.imbalance == np.inf and not found.history
    assert 0 < found.read <= run.problem.size / 32
    assert strong.few(run.problem, run.plan, run.factors, run.sums) is None


def test_progress_stops_them() -> None:
    run = run_of(infer(heavy(mlp([64, 64, 64], seed=0), 6)))
    found = strong.by_few(run.problem, run.plan, run.order, run.h, 1e-12, progress=lambda text: True)
    assert found.stopped and len(found.history) == 1
    assert found.imbalance == pytest.approx(run.problem.imbalance(found.h))
