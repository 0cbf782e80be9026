"""Groups in blocks of weights: the same cuts as those of the problem that lists every weight."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance import solve as module
from balproof.balance.blocks import ties as room
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.blocks.ties import cuts_of_blocks
from balproof.balance.clusters import cut_imbalance
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import solve
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.balance.samples import dense, with_weights
from tests.balance.test_clusters import TIED, error, two
from tests.convnets import resnet
from tests.networks import mlp


def faint(network: Network, factor: float) -> Network:
    """Each tensor with its odd units tied to the even ones by weights smaller by a factor."""
    changed = {}
    for t in network.parameters:
        value = network.numbers(t.name)
        if value.ndim > 1:
            i, j = np.indices(value.shape[:2])
            odd = ((i + j) % 2).reshape(*value.shape[:2], *[1] * (value.ndim - 2))
            changed[t.name] = value * np.where(odd, factor, 1.0)
    return network.with_parameters(changed)


NETWORKS = {
    "two groups": two(1e-30, 1e-6),
    "two groups, visible": two(1e-5, 1e-9, visible=True),
    "recurrent": faint(dense(6, spread=2.0), 1e-5),
    "convolutions": faint(resnet(2, (1, 2), 16, 5), 1e-7),
}


def both(network: Network) -> tuple[BlockProblem, BalanceProblem]:
    blocks = BlockProblem.build(infer(network), Costs.parse("l2"))
    assert blocks is not None
    return blocks, BalanceProblem.build(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_cuts_are_those_of_the_single_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_TIE", np.inf)  # also of groups that are tied strongly
    blocks, problem = both(NETWORKS[name])
    for seed in range(3):
        h = 0.3 * np.random.default_rng(seed).standard_normal(problem.count)
        found = cuts_of_blocks(blocks, h)
        assert found is not None and found > 0.01
        assert found == pytest.approx(cut_imbalance(problem, h), rel=1e-9)


def test_strong_ties_are_no_cuts() -> None:
    for network in (mlp([4, 80, 80, 3]), dense(60), dense(60, visible=False), resnet(2, (1, 2), 16, 5)):
        blocks, _ = both(network)
        assert cuts_of_blocks(blocks, solve(network).h, most=0) == 0


def test_weak_ties_are_not_taken_for_strong_ones() -> None:
    """Odd and even units, by weights of 1e-5: a look at some of 60 must not find them held together."""
    blocks, problem = both(faint(dense(60, visible=False), 1e-5))
    assert cuts_of_blocks(blocks, np.zeros(60)) == pytest.approx(cut_imbalance(problem, np.zeros(60)))
    assert cuts_of_blocks(blocks, np.zeros(60), most=3_000) is None


def test_other_degrees_are_left_out() -> None:
    blocks, _ = both(mlp([2, 3, 3, 2], activation="Max(x,0)**2"))
    assert cuts_of_blocks(blocks, np.zeros(6)) is None


def test_solve_by_blocks_sees_the_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKS", 0)
    for name in ("two groups", "nested"):
        network = TIED[name]()
        found = solve(network)
        assert found.status == "balanced" and error(network, found.h) < 1e-10
        blind = solve(network, method="sweeps")
        assert (blind.status, blind.imbalance <= 1e-12) == ("unconverged", True)
        assert blind.cut_imbalance is not None and blind.cut_imbalance > 0.1


def test_no_moving_unit() -> None:
    blocks, _ = both(with_weights(mlp([2, 2], bias=False)))
    assert cuts_of_blocks(blocks, np.zeros(0)) == 0
