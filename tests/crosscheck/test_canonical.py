"""Rescalings, and units in another order, have one representative; other networks have another."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import balproof
from balproof.crosscheck import canonical as module
from balproof.crosscheck.canonical import canonical, fingerprint, same_orbit
from balproof.crosscheck.ordering import order_units
from balproof.errors import RequestError
from balproof.network.axes import permutable
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.convnets import Builder, resnet
from tests.network.test_axes import flattened, recurrent
from tests.networks import called_twice, mlp
from tests.sweeps import crossed, slow_but

Array = np.ndarray

NETWORKS = {
    "mlp": mlp([3, 5, 4, 2]),
    "tanh": mlp([3, 5, 2], activation="tanh"),
    "squares": mlp([3, 5, 2], activation="Max(x,0)**2"),
    "tied": called_twice(),
    "recurrent": recurrent(),
    "flattened": flattened(),
    "residual": resnet(2, (1, 1), 8, 3),
}


NAMES = [pytest.param(n, marks=pytest.mark.slow) if n == "residual" else n for n in NETWORKS]


def typed(network: Network, dtype: str) -> Network:
    """With parameters of a type, and rounded to it."""
    tensors = dict(network.tensors)
    for t in network.parameters:
        value = network.numbers(t.name).astype(dtype).astype(np.float64)
        tensors[t.name] = dataclasses.replace(t, dtype=dtype, value=value)
    return dataclasses.replace(network, tensors=tensors)


def moved(network: Network, seed: int, *, permute: bool = True) -> Network:
    """At other scales, and with hidden units in another order."""
    rng = np.random.default_rng(seed)
    dtype = network.parameters[0].dtype
    if permute:
        units = permutable(network)
        network = units.permuted({c: np.roll(rng.permutation(n), 1) for c, n in units.sizes.items()})
    manifold = infer(network)
    return typed(manifold.rescale(rng.standard_normal(manifold.count)), dtype)


def apart(left: Network, right: Network) -> float:
    """The largest difference of a weight, relative to the largest of its tensor."""
    return max(
        float(np.max(np.abs(a - b)) / np.max(np.abs(a)))
        for a, b in ((left.numbers(t.name), right.numbers(t.name)) for t in left.parameters)
    )


@pytest.mark.parametrize("name, dtype", crossed(NETWORKS, ["float64", "float32"], slow=["residual"]))
def test_rescalings_and_orders_have_one_representative(name: str, dtype: str) -> None:
    network = typed(NETWORKS[name], dtype)
    found = canonical(network, sort=True)
    assert found.ties == () and found.sorted and found.single == (dtype == "float32")
    noise = {"float64": 1e-11, "float32": 1e-6}[dtype]
    # So many digits that no rounding boundary is within the noise: then the fingerprint must stay.
    digits = next(d for d in (8, 7, 6, 5, 4, 3, 2) if fingerprint(network, digits=d).margin > noise)
    text = fingerprint(network, digits=digits).text
    for seed in range(2):
        other = moved(network, seed)
        assert apart(other, network) > 0.1
        again = canonical(other, sort=True)
        assert apart(found.network, again.network) < noise
        assert fingerprint(other, digits=digits).text == text
        assert same_orbit(network, other, sort=True)
        if dtype == "float64":
            margin = found.digest(6).margin
            assert margin < noise or again.digest(6).text == found.digest(6).text


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cost", ["l2", "l1", "lp:3/2"])
def test_without_sorting_only_scales_are_free(cost: str, dtype: str) -> None:
    network = typed(NETWORKS["mlp"], dtype)
    found = canonical(network, cost)
    other = moved(network, 1, permute=False)
    assert apart(found.network, canonical(other, cost).network) < {"float64": 1e-12, "float32": 1e-6}[dtype]
    assert same_orbit(network, other)
    swapped = moved(network, 2)
    assert not same_orbit(network, swapped) and same_orbit(network, swapped, cost, sort=True)
    assert apart(found.network, canonical(swapped, cost).network) > 0.1
    assert found.digest().text != canonical(swapped, cost).digest().text


def changed(network: Network, name: str, factor: float) -> Network:
    value = network.numbers(name).copy()
    value.flat[0] *= factor
    return network.with_parameters({name: value})


@pytest.mark.parametrize("name", slow_but(NETWORKS, "mlp", "tied", "recurrent"))
def test_other_networks_have_other_representatives(name: str) -> None:
    network = typed(NETWORKS[name], "float64")
    first = network.parameters[0].name
    for factor in (-1.0, 1.001):
        other = moved(changed(network, first, factor), 3)
        assert not same_orbit(network, other, sort=True)
        assert fingerprint(network).text != fingerprint(other).text
        left, right = canonical(network, sort=True), canonical(other, sort=True)
        assert apart(left.network, right.network) > 1e-5
        assert left.digest(6).text != right.digest(6).text


def test_structures_differ() -> None:
    left, right = mlp([3, 4, 2]), mlp([3, 4, 2], activation="abs")
    assert fingerprint(left).text != fingerprint(right).text
    found = same_orbit(left, right, sort=True)
    assert not found and found.deviation is None and "abs" in found.why


def test_names_do_not_count_in_a_fingerprint() -> None:
    document = {
        "inputs": {"x": [1]},
        "parameters": {"V": [[2.0]], "W": [[3.0]]},
        "operations": [
            {"kind": "linear", "inputs": ["x", "V"], "output": "a"},
            {"kind": "linear", "inputs": ["a", "W"], "output": "y"},
        ],
        "outputs": ["y"],
    }
    renamed = {
        **document,
        "parameters": {"P": [[3.0]], "Q": [[2.0]]},
        "operations": [
            {"kind": "linear", "inputs": ["x", "Q"], "output": "a"},
            {"kind": "linear", "inputs": ["a", "P"], "output": "y"},
        ],
    }
    assert fingerprint(document).text == fingerprint(renamed).text


# --- ties ----------------------------------------------------------------------------------------------


def small(V: Any, W: Any) -> dict[str, Any]:
    return {"J": np.zeros((len(V), len(V))), "W_in": np.array(V, float), "W_out": np.array(W, float)}


def test_twins_are_said_and_do_no_harm() -> None:
    found = canonical(small([[1], [2], [1]], [[3, 5, 3]]), sort=True)
    assert found.ties == () and found.twins == ("J[0,:] and J[2,:]",)
    other = canonical(small([[1], [1], [2]], [[3, 3, 5]]), sort=True)
    assert apart_in(found.network, other.network) < 1e-12


def apart_in(left: Network, right: Network) -> float:
    return max(float(np.max(np.abs(left.numbers(n) - right.numbers(n)))) for n in ("W_in", "W_out"))


def test_equal_inputs_are_told_apart_by_their_outputs() -> None:
    found = canonical(small([[1], [1]], [[3, 3], [1, -1]]), sort=True)
    assert found.ties == () and found.twins == ()


def test_a_circle_of_equal_units_is_a_tie() -> None:
    """Six units in one ring, or in two: refinement cannot tell, and says so."""
    ring, rings = np.zeros((6, 6)), np.zeros((6, 6))
    for i in range(6):
        ring[i, (i + 1) % 6] = 1
        rings[i, (i // 3) * 3 + (i + 1) % 3] = 1
    one, two = ({**small(np.ones((6, 1)), np.ones((1, 6))), "J": J} for J in (ring, rings))
    found = canonical(one, sort=True)
    assert found.ties == (" and ".join(f"J[{i},:]" for i in range(6)),)
    compared = same_orbit(one, two, sort=True)
    assert not compared and "could not be told apart" in compared.why


def test_noise_below_the_tolerance_is_none() -> None:
    network = mlp([3, 6, 2], seed=1)
    twin = network.numbers("fc1.weight").copy()
    twin[1] = twin[0] * (1 + 1e-11)
    bias, out = network.numbers("fc1.bias").copy(), network.numbers("fc2.weight").copy()
    bias[1], out[:, 1] = bias[0], out[:, 0]
    near = network.with_parameters({"fc1.weight": twin, "fc1.bias": bias, "fc2.weight": out})
    assert order_units(permutable(near), 1e-9).twins == ((0, (0, 1)),)
    assert order_units(permutable(near), 1e-13).twins == ()


# --- what has no representative -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "cost", "match"),
    [
        (small([[1], [1]], [[1, 0]]), "l2", r"falls for ever along s\[1\]"),
        ({"J": [[0, 1.0, 0], [0, 0, 1.0], [0, 0, 0]]}, "l2", "falls for ever"),
    ],
)
def test_an_optimum_that_is_not_attained_is_refused(model: Any, cost: str, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        canonical(model, cost)


def test_weights_without_cost_that_nothing_determines_are_refused() -> None:
    document = {
        "inputs": {"x": [1]},
        "parameters": {"V": [[0.0]], "b": [2.0], "W": [[0.0]]},
        "operations": [
            {"kind": "linear", "inputs": ["x", "V"], "output": "z"},
            {"kind": "bias", "inputs": ["z", "b"], "output": "s"},
            {"kind": "activation", "function": "relu", "inputs": ["s"], "output": "a"},
            {"kind": "linear", "inputs": ["a", "W"], "output": "y"},
        ],
        "outputs": ["y"],
    }
    costs = module.Costs.parse("l2", bias_cost=False)
    with pytest.raises(RequestError, match="weights without cost"):
        canonical(document, costs)
    alive = {**document, "parameters": {"V": [[1.0]], "b": [2.0], "W": [[4.0]]}}
    assert canonical(alive, costs).network.numbers("b") == pytest.approx([4.0])


def test_a_bias_that_no_output_sees_is_refused() -> None:
    document = {
        "inputs": {"x": [2]},
        "parameters": {"W": [[1.0, 2.0], [3.0, 4.0]], "b": [1.0]},
        "operations": [
            {"kind": "linear", "inputs": ["x", "W"], "output": "z"},
            {"kind": "bias", "inputs": ["z", "b"], "output": "s"},
            {"kind": "softmax", "axis": -1, "inputs": ["s"], "output": "y"},
        ],
        "outputs": ["y"],
    }
    with pytest.raises(RequestError, match="any scale does for"):
        canonical(document)


def test_an_unreached_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = module.solve
    monkeypatch.setattr(
        module, "solve", lambda *a, **k: dataclasses.replace(right(*a, **k), status="unconverged")
    )
    with pytest.raises(RequestError, match="was not reached"):
        canonical(NETWORKS["mlp"])


# --- numbers ------------------------------------------------------------------------------------------


def test_a_digest_changes_at_a_rounding_boundary_alone() -> None:
    def text(v: float) -> str:
        return module._hash(NETWORKS["mlp"], np.array([v]), 4).text

    assert text(1.23449) == text(1.23401) != text(1.23349)
    assert text(1.23449) != text(1.23451)
    assert module._hash(NETWORKS["mlp"], np.array([1.23449]), 4).margin == pytest.approx(
        1e-5 / 1.23449, rel=1e-3
    )
    assert text(9.99996) == text(10.0001)
    assert text(1.5) != text(-1.5)
    with pytest.raises(RequestError, match="16 digits"):
        module._hash(NETWORKS["mlp"], np.array([1.0]), 16)


def test_the_distance_from_the_balanced_state_is_certified() -> None:
    found = balproof.canonical(NETWORKS["mlp"], certify=True)
    assert found.radius is not None and 0 < found.radius < 1e-10
    assert balproof.canonical(NETWORKS["mlp"]).radius is None


@pytest.mark.torch
def test_modules_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    other = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    order, scale = torch.randperm(5), torch.exp(torch.randn(5))
    with torch.no_grad():
        other[0].weight.copy_((scale[:, None] * net[0].weight)[order])
        other[0].bias.copy_((scale * net[0].bias)[order])
        other[2].weight.copy_((net[2].weight / scale)[:, order])
        other[2].bias.copy_(net[2].bias)
    x = torch.zeros(1, 3)
    assert balproof.same_orbit(net, other, sort=True, example_inputs=x)
    assert fingerprint(net, example_inputs=x).text == fingerprint(other, example_inputs=x).text


def test_statistics_that_nothing_determines_are_refused() -> None:
    """A channel without weights, whose running mean alone would feel its scale."""
    builder = Builder(4)
    y = builder.conv("x", "c", 2, 1)
    network = Network(builder.tensors, tuple(builder.operations), ("x",), (y,))
    alive = canonical(network)
    assert alive.network.numbers("c.bn.mean") != pytest.approx(network.numbers("c.bn.mean"))
    dead = {n: network.numbers(n).copy() for n in ("c.weight", "c.bn.gamma")}
    for value in dead.values():
        value[0] = 0.0
    with pytest.raises(RequestError, match="weights without cost"):
        canonical(network.with_parameters(dead))
    dead["c.bn.mean"] = np.array([0.0, 1.0])
    assert canonical(network.with_parameters(dead)).network.numbers("c.bn.mean")[0] == 0.0
