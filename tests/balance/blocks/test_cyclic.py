"""Sweeps over blocks end where Newton's method ends, whatever the network is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from balproof.balance.blocks import cyclic, pairs
from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.certificates.isotone import certify_blocks
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import solve
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.convnets import resnet
from tests.networks import mlp, weights
from tests.sweeps import crossed

RNG = np.random.default_rng(0)


def ring(n: int, **others: Any) -> Network:
    return load({"J": RNG.standard_normal((n, n)), **others})


def coupled(widths: list[int], strength: float) -> Network:
    """Two networks side by side; weights between them are smaller by the factor ``strength``."""
    network = mlp(widths, seed=7, bias=False)
    return network.with_parameters(
        {
            t.name: np.asarray(t.value)
            * np.where(np.add.outer(*(2 * np.arange(n) // n for n in t.shape)) % 2, strength, 1)
            for t in network.parameters
        }
    )


NETWORKS: dict[str, tuple[Network, str | list[str]]] = {
    "one power for each layer": (mlp([3, 5, 4, 2], seed=1), ["l2", "fc2.*=l1", "fc3.bias=lp:3"]),
    "degree 2": (mlp([3, 6, 9, 2], seed=4, activation="Max(x,0)**2"), "l2"),
    "degree 1/2, l1": (mlp([3, 4, 3, 2], seed=4, activation="sqrt(abs(x))"), "l1"),
    "two powers": (mlp([3, 6, 7, 2], seed=3), ["w**2+abs(w)", "fc2.*=w**4+sqrt(abs(w))/9"]),
    "two powers, residual": (resnet(1, (2,), 12, 5), "w**2/2+abs(w)**3"),
    "deep": (mlp([4] * 60, seed=6), "l2"),
    "heavy tails": (mlp([20, 64, 64, 64, 20], seed=3, spread=4.0), "l2"),
    "weakly coupled": (coupled([12] * 8, 1e-2), "l2"),
    "residual": (resnet(2, (1, 2), 16, 5), "l2"),
    "residual, lp": (resnet(1, (2,), 12, 5), "lp:1.3"),
    "recurrent": (ring(9), "l2"),
    "recurrent with inputs": (
        ring(
            8, W_in=RNG.standard_normal((8, 3)), W_out=RNG.standard_normal((2, 8)), b=RNG.standard_normal(8)
        ),
        "l1",
    ),
}


@pytest.mark.parametrize("name, way", crossed(NETWORKS, [{}, {"memory": 0}, {"memory": 0, "coarse": False}]))
def test_they_end_in_the_state_that_newton_finds(name: str, way: dict[str, Any]) -> None:
    network, cost = NETWORKS[name]
    manifold = infer(network)
    blocks, problem = BlockProblem.build(manifold, Costs.parse(cost)), BalanceProblem.build(manifold, cost)
    assert blocks is not None
    found = sweeps(blocks, tolerance=1e-12, limit=20_000, **way)
    assert found.imbalance <= 1e-12
    assert problem.imbalance(found.h) <= 2e-12
    np.testing.assert_allclose(problem.A @ found.h, problem.A @ newton(problem).h, atol=1e-8)
    assert found.history[0] == pytest.approx(problem.cost(np.zeros(problem.count)), rel=1e-12)
    assert found.history[-1] == pytest.approx(problem.cost(found.h), rel=1e-12)
    if not way.get("memory", 1):
        assert all(b <= a * (1 + 1e-13) for a, b in zip(found.history, found.history[1:], strict=False))


def test_reads_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight that a kernel was given, and no more than one read of a chain in a sweep.

    Loops that go over layers by themselves count as those that are called block by block.
    """
    given = 0
    read, loop = pairs.Pair._read, pairs.Pair.read_loop

    def counted(self: pairs.Pair, *args: Any, **more: Any) -> Any:
        nonlocal given
        given += self.weights.size
        return read(self, *args, **more)

    def looped(self: pairs.Pair, *args: Any, **more: Any) -> Any:
        nonlocal given
        given += self.weights.size
        return loop(self, *args, **more)

    monkeypatch.setattr(pairs.Pair, "_read", counted)
    monkeypatch.setattr(pairs.Pair, "read_loop", looped)
    monkeypatch.setattr(cyclic, "is_threaded", lambda size: True)
    for name in ("degree 2", "residual", "recurrent with inputs"):
        given = 0
        blocks = BlockProblem.build(infer(NETWORKS[name][0]), Costs.parse("l2"))
        assert blocks is not None
        found = sweeps(blocks, tolerance=1e-10)
        constant = given - blocks.size * found.passes
        assert 0 <= constant < 3 * blocks.size, name  # of blocks that do not move
        if name == "degree 2":
            assert found.passes <= len(found.history)
        with monkeypatch.context() as way:
            way.setattr(cyclic, "is_threaded", lambda size: False)
            alone = sweeps(blocks, tolerance=1e-10)
        assert alone.passes == found.passes
        np.testing.assert_allclose(alone.h, found.h, atol=1e-10)


def test_few_reads_at_every_depth() -> None:
    rng = np.random.default_rng(0)
    for depth, most in ((3, 6), (12, 12)):
        network = mlp([100] * (depth + 1), seed=1)
        values = {
            t.name: np.exp(rng.standard_normal((t.shape[0], *(1,) * (len(t.shape) - 1))))
            * rng.standard_normal(t.shape)
            for t in network.parameters
        }
        blocks = BlockProblem.build(infer(network.with_parameters(values)), Costs.parse("l2"))
        assert blocks is not None
        found = sweeps(blocks, tolerance=1e-10)
        assert found.imbalance <= 1e-10 and found.passes <= most
        certificate = certify_blocks(blocks, found.h)
        assert (getattr(certificate, "radius", None) or 1.0) < 1e-8


FEW_READS: dict[str, tuple[Callable[[], Network], float]] = {
    "dense": (lambda: mlp([64] * 31, seed=1, spread=0.5), 8.5),
    "narrow": (lambda: mlp([5] * 60, seed=1), 11),
    "heavy tails": (lambda: mlp([64] * 13, seed=1, spread=6.0), 32),
    "weakly coupled": (lambda: coupled([32] * 31, 1e-3), 22),
    "residual": (lambda: resnet(8, (1, 2, 2), 32, 10), 13),
    "recurrent, heavy tails": (
        lambda: load({"J": weights(np.random.default_rng(0), (300, 300), 4.0)}),
        22,
    ),
}


@pytest.mark.parametrize("name", FEW_READS)
def test_few_reads_of_every_kind_of_network(name: str) -> None:
    make, most = FEW_READS[name]
    blocks = BlockProblem.build(infer(make()), Costs.parse("l2"))
    assert blocks is not None
    found = sweeps(blocks, tolerance=1e-10)
    assert blocks.imbalance(found.h) <= 1e-10
    assert found.passes <= most


@pytest.mark.slow
def test_more_than_20_000_layers() -> None:
    """By hand: along a chain of single units all weights become the geometric mean of their sizes."""
    network = mlp([1] * 20_102, bias=False)
    w = np.array([float(network.numbers(t.name)[0, 0]) for t in network.parameters])
    found = solve(network, certify=True)
    assert found.status == "balanced" and found.certificate is not None
    assert found.cost_after == pytest.approx(len(w) * np.exp(2 * np.log(np.abs(w)).mean()), rel=1e-10)


def test_solve_takes_them_for_networks_of_some_size() -> None:
    network = mlp([150, 150, 150], seed=2)
    found = solve(network, certify=True)
    assert (found.method, found.status) == ("block sweeps", "balanced")
    assert found.certificate is not None and (found.certificate.radius or 1.0) < 1e-9
    other = solve(network, method="newton")
    np.testing.assert_allclose(found.h, other.h, atol=1e-9)
    assert found.cost_after == pytest.approx(other.cost_after, rel=1e-13)


def test_a_recurrent_network_without_anything_visible_is_certified() -> None:
    blocks = BlockProblem.build(infer(ring(40)), Costs.parse("l2"))
    assert blocks is not None
    state = sweeps(blocks)
    found = certify_blocks(blocks, state.h)
    assert 0 < (getattr(found, "radius", None) or 1.0) < 1e-10
    moved = state.h + 1e-3 * np.random.default_rng(1).standard_normal(40)
    off = certify_blocks(blocks, moved)
    apart = moved - state.h
    assert (getattr(off, "radius", None) or 1.0) >= np.abs(apart - apart.mean()).max()
