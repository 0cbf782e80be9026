"""The order of layers in a sweep, and what settles between sweeps."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance.blocks.cyclic import _Run
from balproof.balance.blocks.links import linked, settle_links
from balproof.balance.blocks.order import colours, order_of
from balproof.balance.blocks.plan import plan_of
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.problem import Costs
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.convnets import resnet
from tests.networks import mlp


def problem_of(network: Network) -> BlockProblem:
    problem = BlockProblem.build(infer(network), Costs.parse("l2"))
    assert problem is not None
    return problem


@pytest.mark.parametrize(
    ("network", "most"),
    [(mlp([3] * 9, seed=1), 2), (mlp([3, 2, 4], seed=1), 2), (resnet(2, (1, 3), 16, 5), 4)],
)
def test_layers_of_one_colour_share_no_block(network: Network, most: int) -> None:
    problem = problem_of(network)
    found = colours(plan_of(problem))
    assert set(found.tolist()) <= set(range(most))
    for pair in problem.pairs:
        own = [np.unique(problem.layers[s.unit[s.unit >= 0]]) for _, s in pair.sides()]
        ends = np.concatenate(own)
        ends = ends[ends >= 0]
        assert len(np.unique(found[ends])) == len(ends)


def test_colours_take_turns_along_a_chain() -> None:
    assert order_of(plan_of(problem_of(mlp([3] * 7, seed=1)))).tolist() == [0, 2, 4, 1, 3]


def test_ties_settle_by_the_sums_that_there_are() -> None:
    """Where no sum but those of the ties depends on what moves, they are balanced to the last digit."""
    problem = problem_of(resnet(2, (1, 2), 16, 5))
    run = _Run(problem, np.zeros(problem.manifold.count), problem.start)
    order = linked(run.plan, run.order)
    names = {problem.manifold.names[run.plan.units[run.plan.unit_start[i]]].split("[")[0] for i in order}
    assert {"stem", "stem.bn", "stage1.1.conv2", "stage1.1.conv2.bn"} <= names
    assert not len(linked(plan_of(problem_of(mlp([3] * 7, seed=1))), np.arange(5)))
    before = problem.imbalance(run.h)
    for _ in range(500):
        settle_links(run.plan, order, run.h, run.factors, run.sums, run.fresh)
    # Blocks of one weight in every group are exact: their sums are those at the new h.
    tied = [
        b for b, p in enumerate(problem.pairs) if p.groups == len(p.weights) > 1 and p.weights.shape[1] == 1
    ]
    assert tied and before > 0.5
    for b in tied:
        for s, exact in enumerate(problem.pairs[b].read(*problem.pairs[b].factors(run.h))):
            np.testing.assert_allclose(
                run.sums[run.plan.start[2 * b + s] : run.plan.start[2 * b + s + 1]], exact
            )
    run.fresh[:] = True
    assert run.imbalance() < 1e-12  # of what the ties were settled by
    assert problem.imbalance(run.h) < before
