"""Mixing layer by layer solves Newton's equations on the moves of every layer."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance.blocks.cyclic import _Run
from balproof.balance.blocks.layerwise import Layerwise
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem, Costs
from balproof.importers import load
from balproof.network.manifold import infer
from tests.convnets import resnet
from tests.networks import mlp


@pytest.mark.parametrize(
    ("widths", "cost"), [([3, 7, 5, 6, 4], "l2"), ([2, 4, 4, 3], ["l2", "fc2.*=l1", "fc3.bias=lp:3"])]
)
def test_a_step_is_newtons_on_the_moves_of_each_layer(widths: list[int], cost: str | list[str]) -> None:
    manifold = infer(mlp(widths, seed=3))
    blocks, problem = BlockProblem.build(manifold, Costs.parse(cost)), BalanceProblem.build(manifold, cost)
    assert blocks is not None
    rng, goal = np.random.default_rng(0), newton(problem).h
    states = [goal + 1e-5 * rng.standard_normal(len(goal)) for _ in range(3)]
    run = _Run(blocks, states[0], blocks.sums(states[0]))
    mixing = Layerwise(run.plan)
    for h in states:
        run = _Run(blocks, h.copy(), blocks.sums(h))
        mixing.step(run.h, run.factors, run.sums, 1e-5)
    h = states[-1]
    moves = [np.ones(len(h)), states[1] - states[0], states[2] - states[1]]
    span = np.array([np.where(blocks.layers == i, m, 0) for i in range(len(widths) - 2) for m in moves]).T
    w = problem.scaled(h)
    hessian = problem.A.T @ np.diag(problem.curvature_of(w)) @ problem.A
    gradient = problem.A.T @ problem.marginal_of(w)
    expected = h + span @ np.linalg.lstsq(span.T @ hessian @ span, -span.T @ gradient, rcond=1e-12)[0]
    # The last state but one moved when it was mixed, and all is linear only to first order.
    np.testing.assert_allclose(run.h, expected, atol=1e-9)
    assert np.abs(h - expected).max() > 1e-6
    exact = np.concatenate([part for own in blocks.sums(run.h) for part in own])
    needed = np.isin(np.repeat(np.arange(len(run.plan.start) - 1), np.diff(run.plan.start)), run.plan.side)
    np.testing.assert_allclose(run.sums[needed], exact[needed], rtol=1e-8)


def test_it_is_for_chains() -> None:
    def able(network: object) -> bool:
        blocks = BlockProblem.build(infer(load(network)), Costs.parse("l2"))
        assert blocks is not None
        return Layerwise.able(_Run(blocks, np.zeros(blocks.manifold.count), blocks.start).plan)

    assert able(mlp([3, 4, 5, 2], seed=1))
    assert not able(resnet(2, (1, 2), 16, 5))
    assert not able({"J": np.random.default_rng(0).standard_normal((6, 6))})
