"""Blocks against the problem that lists every weight, and the same state by both."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from balproof.balance import solve as module
from balproof.balance.blocks.connected import strongly_connected
from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.existence import existence
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import solve
from balproof.errors import RequestError
from balproof.importers import load
from balproof.importers.matrix_file import from_arrays
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.balance.samples import with_weights
from tests.convnets import resnet
from tests.networks import mlp

SMALL = resnet(2, (1, 2), 16, 5)
NETWORKS: dict[str, tuple[Network, str]] = {
    "mlp": (mlp([3, 5, 4, 2], seed=1), "l2"),
    "mlp, l1": (mlp([3, 5, 4, 2], seed=2), "l1"),
    "mlp, p = 3/2, scaled": (mlp([3, 4, 2], seed=3), "abs(w)**(3/2)/3"),
    "degree 2": (mlp([3, 4, 3, 2], seed=4, activation="Max(x,0)**2"), "l2"),
    "one wide": (mlp([1, 1, 1, 1], seed=5), "l2"),
    "deep": (mlp([3] * 12, seed=6), "l2"),
    "residual, batch norm": (SMALL, "l2"),
}


def both(name: str) -> tuple[BlockProblem, BalanceProblem]:
    network, cost = NETWORKS[name]
    costs, manifold = Costs.parse(cost), infer(network)
    blocks = BlockProblem.build(manifold, costs)
    assert blocks is not None
    return blocks, BalanceProblem.build(manifold, costs)


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_and_imbalances_are_those_of_the_single_weights(name: str) -> None:
    blocks, problem = both(name)
    rng = np.random.default_rng(0)
    for _ in range(3):
        h = 0.3 * rng.standard_normal(problem.count)
        assert blocks.cost(h) == pytest.approx(problem.cost(h), rel=1e-12)
        np.testing.assert_allclose(blocks.balance(h).imbalances, problem.imbalances(h), atol=1e-12)
        found = blocks.balance(h)
        np.testing.assert_allclose(found.incoming - found.outgoing, problem.gradient(h), atol=1e-9)
    assert blocks.dead == problem.dead
    assert blocks.left_out == problem.left_out


@pytest.mark.parametrize("name", NETWORKS)
def test_sweeps_end_in_the_state_that_newton_finds(name: str) -> None:
    blocks, problem = both(name)
    found = sweeps(blocks)
    assert found is not None
    assert found.imbalance <= 1e-12
    np.testing.assert_allclose(problem.A @ found.h, problem.A @ newton(problem).h, atol=1e-9)
    assert all(b <= a * (1 + 1e-13) for a, b in zip(found.history, found.history[1:], strict=False))


@pytest.mark.parametrize(
    ("network", "cost"),
    [
        (mlp([2, 2, 1]), "abs(w) + abs(w)**3 - w**2/10"),
        (mlp([2, 2, 1]), "log(1 + w**2)"),
    ],
)
def test_where_blocks_do_not_apply(network: Network, cost: str) -> None:
    assert BlockProblem.build(infer(network), Costs.parse(cost)) is None


def two_layers_in_a_loop(there: np.ndarray, back: np.ndarray, activation: str = "relu") -> Network:
    """Nothing is visible: b' = there·φ(a), a' = back·φ(b)."""
    linear = [
        {"kind": "activation", "function": activation, "inputs": [s], "output": f"phi({s})"} for s in "ab"
    ]
    linear += [
        {"kind": "linear", "inputs": [f"phi({s})", f"{s}{t}.weight"], "output": f"{t}'"}
        for s, t in ("ab", "ba")
    ]
    return load(
        {
            "states": {
                "a": {"shape": [there.shape[1]], "next": "a'"},
                "b": {"shape": [len(there)], "next": "b'"},
            },
            "parameters": {"ab.weight": there.tolist(), "ba.weight": back.tolist()},
            "operations": linear,
        }
    )


def test_connection_agrees_with_the_exact_certificates() -> None:
    rng = np.random.default_rng(0)
    answers = []
    networks = [mlp([2, 3, 3, 2], seed=seed) for seed in range(20)]
    networks += [two_layers_in_a_loop(*rng.standard_normal((2, 3, 3))) for _ in range(60)]
    for seed, network in enumerate(networks):
        holes = {t.name: network.numbers(t.name) * (rng.random(t.shape) < 0.5) for t in network.parameters}
        manifold = infer(network.with_parameters(holes))
        blocks = BlockProblem.build(manifold, Costs.parse("l2"))
        assert blocks is not None
        exact = existence(BalanceProblem.build(manifold)).attained
        answers.append(exact)
        assert strongly_connected(blocks) is exact, seed
    assert {True, False} == set(answers)
    for name in NETWORKS:
        assert strongly_connected(both(name)[0]) is True
    around = infer(two_layers_in_a_loop(np.ones((2, 2)), np.ones((2, 2)), "Max(x,0)**2"))
    blocks = BlockProblem.build(around, Costs.parse("l2"))
    assert blocks is None or strongly_connected(blocks) is not True or blocks.manifold.count == 0


def test_solve_takes_blocks_for_large_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    small = solve(SMALL, "l2")
    monkeypatch.setattr(module, "LARGE", 10)
    large = solve(SMALL, "l2", certify=True)
    assert (large.method, large.status) == ("block sweeps", "balanced")
    assert large.certificate is not None and large.certificate.kind == "isotone"
    assert large.cost_before == pytest.approx(small.cost_before, rel=1e-12)
    assert large.cost_after == pytest.approx(small.cost_after, rel=1e-12)
    assert large.imbalance_before == pytest.approx(small.imbalance_before, rel=1e-9)
    for t in SMALL.parameters:
        np.testing.assert_allclose(large.network.numbers(t.name), small.network.numbers(t.name), rtol=1e-9)
    with pytest.raises(RequestError, match="no parameter is called"):
        solve(SMALL, "nothing*=l2")


def test_a_dead_unit_in_a_large_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 10)
    network = mlp([3, 4, 2], seed=8)
    value = network.numbers("fc2.weight").copy()
    value[:, 1] = 0.0
    found = solve(with_weights(network, fc2__weight=value))
    assert (found.method, found.status, found.dead_units) == ("block sweeps", "unattained", ("fc1[1]",))
    assert found.witness == {"fc1[1]": "-1"}
    assert np.isfinite(found.network.numbers("fc1.weight")).all()


def test_a_wrong_sum_is_seen() -> None:
    """The comparison with single weights fails for a block that loses a thousandth."""
    blocks, problem = both("mlp")
    broken = dataclasses.replace(blocks.pairs[0], factor=0.999 * blocks.pairs[0].factor)
    other = dataclasses.replace(blocks, pairs=(broken, *blocks.pairs[1:]))
    zero = np.zeros(problem.count)
    assert np.abs(other.balance(zero).imbalances - problem.imbalances(zero)).max() > 1e-6


def test_a_part_of_the_weights_shows_connection_and_never_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    from balproof.balance.blocks import connected

    rng = np.random.default_rng(3)
    answers = []
    for seed in range(40):
        network = (
            mlp([3, 6, 5, 2], seed=seed)
            if seed % 2
            else two_layers_in_a_loop(*rng.standard_normal((2, 4, 4)))
        )
        density = rng.choice([0.3, 0.9])
        holes = {
            t.name: network.numbers(t.name) * (rng.random(t.shape) < density) for t in network.parameters
        }
        blocks = BlockProblem.build(infer(network.with_parameters(holes)), Costs.parse("l2"))
        assert blocks is not None
        monkeypatch.setattr(connected, "_SAMPLED", 1 << 20)
        exact = connected._walks(blocks, sampled=True)[0]
        monkeypatch.setattr(connected, "_SAMPLED", 0)
        for count in (1, 8):
            monkeypatch.setattr(connected, "_PER_UNIT", count)
            part = connected._walks(blocks, sampled=True)[0]
            assert exact or not part
            answers.append((exact, part))
            assert strongly_connected(blocks) is exact
    assert {(True, True), (False, False)} <= set(answers)


def test_weights_are_counted_once_whatever_their_cost() -> None:
    """And a recurrent matrix has to have a cost of one power: its units see each other in turn."""
    manifold = infer(mlp([3, 4, 2]))
    one, two = (BlockProblem.build(manifold, Costs.parse(cost)) for cost in ("l2", "w**2+abs(w)"))
    assert one is not None
    assert two is not None
    assert (two.size, two.nonzero, len(two.pairs)) == (one.size, one.nonzero, 2 * len(one.pairs))
    assert [sweeps(p, limit=0).passes for p in (one, two)] == [1, 2]
    matrix = infer(from_arrays({"J": np.ones((3, 3))}))
    assert BlockProblem.build(matrix, Costs.parse("w**2+abs(w)")) is None
    assert BlockProblem.build(matrix, Costs.parse("abs(w)+abs(w)**3-w**2/10")) is None
