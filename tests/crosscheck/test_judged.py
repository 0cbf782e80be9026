"""What is judged of a large network, block by block, is what is judged of it as a small one."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance import solve as solving
from balproof.balance.problem import Costs
from balproof.balance.solve import solve
from balproof.crosscheck import scales
from balproof.crosscheck.audit import Audit, check
from balproof.crosscheck.judged import judge
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.verdict import Verdict
from tests.convnets import resnet
from tests.crosscheck.test_reading import single
from tests.networks import mlp
from tests.sweeps import crossed, slow_but


def dense() -> Network:
    return mlp((20, 40, 30, 5), seed=1)


def with_dead_units() -> Network:
    network = dense()
    weight, bias = network.numbers("fc1.weight").copy(), network.numbers("fc1.bias").copy()
    weight[3], bias[3] = 0.0, 0.0
    return network.with_parameters({"fc1.weight": weight, "fc1.bias": bias})


NETWORKS = {"dense": dense, "dead units": with_dead_units, "convolutional": lambda: resnet(4, (2, 1), 16, 3)}


def large(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(solving, "LARGE", 100)
    patch.setattr(scales, "WHOLE_BLOCK", 50)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("costs", ["l2", "l1"])
def test_the_same_balance(name: str, costs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifold = infer(NETWORKS[name]())
    small = judge(manifold, Costs.parse(costs))
    large(monkeypatch)
    found = judge(manifold, Costs.parse(costs))
    assert found.problem is None and small.problem is not None
    assert (found.dead, found.left_out, found.falling) == (small.dead, small.left_out, small.falling)
    np.testing.assert_array_equal(found.active, small.active)
    np.testing.assert_allclose(found.imbalances, small.imbalances, atol=1e-13)
    np.testing.assert_allclose(found.cost, small.cost, rtol=1e-13)
    assert (name == "dead units") == bool(found.dead)


def said(audit: Audit) -> object:
    return audit.same_orbit, [(f.kind, f.where) for f in audit.faults], audit.function, audit.balanced


@pytest.mark.parametrize(
    "fault, precise", crossed(["none", "bias", "weight", "layer", "everything"], [True, False])
)
@pytest.mark.parametrize("name", slow_but(["dense", "convolutional"], "dense"))
def test_the_same_faults(name: str, fault: str, precise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = NETWORKS[name]() if precise else single(NETWORKS[name]())
    found = solve(before)
    after = found.network
    bias = next(t.name for t in before.learned if t.name in before.biases)
    if fault == "bias":
        after = after.with_parameters({bias: before.numbers(bias)})
    elif fault == "weight":
        weight = max(before.learned, key=lambda t: t.size).name
        value = after.numbers(weight).copy()
        value.flat[7], value.flat[11] = 1.01 * value.flat[7], -value.flat[11]
        after = after.with_parameters({weight: value})
    elif fault == "layer":
        h = found.h.copy()
        layer = found.scales[-1].rsplit("[", 1)[0]
        h[[n.rsplit("[", 1)[0] == layer for n in found.scales]] = 0.0
        after = infer(before).rescale(h)
    elif fault == "everything":
        after = before
    if not precise:
        after = single(after)
    small = check(before, after)
    large(monkeypatch)
    again = check(before, after)
    if fault == "layer":  # units that are as much out of balance as one another come in any order
        assert set(said(again)[1]) == set(said(small)[1])  # type: ignore[index]
    else:
        assert said(again) == said(small)
    assert again.ok == (fault == "none")
    assert again.optimality_gap == pytest.approx(small.optimality_gap, rel=1e-6, abs=1e-9)
    atol = 1e-9 if precise else 1e-6
    np.testing.assert_allclose(list(again.scales.values()), list(small.scales.values()), atol=atol)


def test_a_large_network_in_single_precision_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its large blocks in compiled loops, of which everything follows: no array is made of their weights."""
    from balproof.crosscheck import kernels

    before = single(mlp((40, 40, 30, 45), seed=1))
    after = single(solve(before).network)
    small = check(before, after)
    large(monkeypatch)
    reads: list[tuple[int, ...]] = []
    compare = kernels.compare
    monkeypatch.setattr(kernels, "compare", lambda *x: (reads.append(x[0].shape), compare(*x))[1])
    numbers = Network.numbers

    def of_small(self: Network, name: str) -> np.ndarray:
        assert self.tensors[name].size <= 50 or self not in (before, after), name
        return numbers(self, name)

    monkeypatch.setattr(Network, "numbers", of_small)
    monkeypatch.setattr("balproof.crosscheck.function.SMALL", 50)
    found = check(before, after)
    assert reads == [(1, 40, 40), (1, 30, 40), (1, 45, 30)]
    assert found.ok and found.verdict is found.function is Verdict.certified
    assert found.function_error == pytest.approx(small.function_error, rel=1e-6)
    assert found.imbalance == pytest.approx(small.imbalance, abs=1e-12)
    assert found.optimality_gap is not None and small.optimality_gap is not None
    assert 0 < found.optimality_gap <= small.optimality_gap < 1e-11
    assert found.proof is not None and small.proof is not None
    assert found.proof.weight_error == pytest.approx(small.proof.weight_error, rel=2)


def test_a_recurrent_network_is_judged_by_its_block_as_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from balproof.importers import load

    manifold = infer(load(np.random.default_rng(0).random((12, 12))))
    whole = judge(manifold, Costs.parse("l2"))
    large(monkeypatch)
    blocks = judge(manifold, Costs.parse("l2"))
    assert whole.problem is not None and blocks.problem is None
    np.testing.assert_allclose(blocks.imbalances, whole.imbalances, rtol=1e-12)
    assert blocks.cost == pytest.approx(whole.cost, rel=1e-12)
