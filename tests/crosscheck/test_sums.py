"""Balance and the bound on the gap, from sums over slices: against the weights one by one, and 60 digits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from balproof.balance.certificates.gap import GapCertificate
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import solve
from balproof.crosscheck import sums as module
from balproof.crosscheck.sums import Sums, certify_by_layers
from balproof.network.forms import Forms
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.balance.certificates.test_isotone import NETWORKS, exact
from tests.convnets import resnet
from tests.networks import mlp
from tests.sweeps import crossed

Array = np.ndarray


def sums_of(network: Network, costs: str | list[str] = "l2") -> tuple[Sums, Array]:
    """The sums, and which scales move."""
    manifold = infer(network)
    found = Sums.of(manifold, Costs.parse(costs), {})
    assert found is not None and found.all_alive
    active = np.ones(manifold.count, bool)
    active[list(manifold.endless)] = False
    return found, active


@pytest.mark.parametrize("costs", ["l2", "l1", "3*abs(w)**(3/2)", ["l1", "fc2.*=l2"]])
@pytest.mark.parametrize("name", [*NETWORKS, "convolutional"])
def test_the_balance_of_single_weights(name: str, costs: str | list[str]) -> None:
    network = NETWORKS[name]() if name in NETWORKS else resnet(2, (1, 2), 16, 3)
    if isinstance(costs, list) and not any(t.name.startswith("fc2") for t in network.parameters):
        costs = [costs[0]]
    problem = BalanceProblem.build(network, costs)
    found, active = sums_of(network, costs)
    np.testing.assert_array_equal(active, problem.active)
    np.testing.assert_allclose(found.cost, problem.cost(np.zeros(problem.count)), rtol=1e-12)
    incoming, outgoing = found.marginal()
    expected = problem.imbalances(np.zeros(problem.count))
    total = np.where(active, incoming + outgoing, 1.0)
    np.testing.assert_allclose(
        np.abs(incoming - outgoing)[active] / total[active], expected[active], atol=1e-12
    )


@pytest.mark.parametrize(
    "name, costs",
    crossed(NETWORKS, ["l2", "l1"], slow=["residual"]),
)
def test_bounds_hold(name: str, costs: str) -> None:
    start = NETWORKS[name]()
    balanced = solve(start, costs)
    moved = np.random.default_rng(0).standard_normal(len(balanced.h))
    given = 0
    for size in (0.0, 1e-12, 1e-8, 1e-5):
        network = infer(start).rescale(balanced.h + size * moved)
        found = certify_by_layers(*sums_of(network, costs))
        if found is None:
            continue
        given += 1
        h, here, end = exact(network, 2 if costs == "l2" else 1)
        true = max(abs(x) for x in h)
        assert found.radius is not None
        assert float(true) <= found.radius <= 1e3 * float(true) + 1e-9
        assert float(here - end) <= found.absolute
        assert float((here - end) / end) <= found.gap <= 1e4 * float((here - end) / end) + 1e-13
    assert given == 4


@pytest.mark.slow
def test_states_that_are_off_by_known_scales() -> None:
    start = mlp((3, 6, 6, 2), seed=7)
    manifold, balanced = infer(start), solve(start)
    rng = np.random.default_rng(1)
    given = 0
    for _ in range(300):
        off = 10.0 ** rng.uniform(-12, 1) * rng.standard_normal(manifold.count)
        found = certify_by_layers(*sums_of(manifold.rescale(balanced.h + off)))
        if found is not None:
            given += 1
            assert found.radius is not None and np.abs(off).max() <= found.radius + 1e-12
        else:
            assert np.abs(off).max() > 1e-4
    assert 150 < given < 300


def balanced_sums() -> tuple[Sums, Array]:
    return sums_of(solve(mlp((3, 6, 6, 2), seed=7)).network)


def test_rounding_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = balanced_sums()
    # Into a unit come at most 6 weights of its layer and a bias; 64 and one for each of 6 blocks besides.
    assert 70 < module._rounding(found[0]) * 2**53 < 120
    monkeypatch.setattr(module, "_rounding", lambda _: 1e-6)
    wide = certify_by_layers(*found)
    assert isinstance(wide, GapCertificate) and (wide.radius or 0.0) > 1e-6


def test_two_scales_of_one_sign_have_no_bound() -> None:
    found, active = balanced_sums()
    assert certify_by_layers(found, active) is not None
    parts = tuple(
        dataclasses.replace(
            p,
            block=dataclasses.replace(
                p.block,
                terms=tuple(
                    dataclasses.replace(t, forms=Forms.of(t.forms).absolute()) for t in p.block.terms
                ),
            ),
        )
        for p in found.parts
    )
    turned = dataclasses.replace(found, parts=parts)
    assert not module._opposed(turned, active) and certify_by_layers(turned, active) is None


def test_a_direction_that_does_not_rise_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far steeper in one layer than in the next: the slopes of the other fall."""
    found, active = balanced_sums()
    steep = np.where(np.arange(len(active)) < 6, 1.0, 100.0)
    monkeypatch.setattr(module, "_direction", lambda *_: steep)
    assert certify_by_layers(found, active) is None


def test_of_a_layer_whose_units_differ_the_worst_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each weight of the next layer may be that of the unit which takes most from it."""
    found, active = balanced_sums()
    for steep, given in ((1.0, True), (1.4, True), (8.0, False)):
        d = np.where(np.arange(len(active)) == 0, steep, 1.0)
        monkeypatch.setattr(module, "_direction", lambda *_, d=d: d)
        assert (certify_by_layers(found, active) is not None) == given, steep


def test_nothing_that_moves() -> None:
    found, active = sums_of(mlp((3, 4, 2), activation="tanh"))
    assert not active.any() and certify_by_layers(found, active) == GapCertificate(
        "isotone", 0.0, 0.0, 53, 0.0
    )


def test_what_is_not_of_this_kind() -> None:
    chain = infer(mlp((3, 4, 2)))
    assert Sums.of(chain, Costs.parse("abs(w) + w**2"), {}) is None
    assert Sums.of(infer(mlp((3, 300, 300, 2))), Costs.parse("l2"), {}) is None  # large, and not read
    far = chain.network.with_parameters({"fc1.bias": np.array([1e-200, 1.0, 1.0, 1.0])})
    assert Sums.of(infer(far), Costs.parse("l2"), {}) is None
    dead = chain.network.numbers("fc1.weight").copy()
    dead[2] = 0.0
    half = infer(
        chain.network.with_parameters({"fc1.weight": dead, "fc1.bias": np.array([1.0, 1.0, 0.0, 1.0])})
    )
    found = Sums.of(half, Costs.parse("l2"), {})
    assert found is not None and not found.all_alive


@pytest.mark.parametrize(
    "costs, fits", [("l2", True), ("lp:8", False), ("abs(w)**6", True), ("1e250*w**2", False)]
)
def test_the_range_of_single_precision(costs: str, fits: bool) -> None:
    """2^-149 to 2^128: to the sixth power within 1e-290 and 1e290, to the eighth not."""
    network = mlp((3, 4, 2))
    single = network.with_parameters(
        {t.name: network.numbers(t.name).astype(np.float32) for t in network.parameters}
    )
    assert module.measurable(single, Costs.parse(costs)) == fits
    assert not module.measurable(network, Costs.parse(costs))
