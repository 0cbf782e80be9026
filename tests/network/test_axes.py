"""What may be permuted: each rule is executed on random instances, and whole networks on random inputs."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from balproof.crosscheck.function import function_error
from balproof.importers import load
from balproof.network import axes
from balproof.network.axes import EQUIVARIANCE, permutable
from balproof.network.graph import Network, Operation, Tensor
from balproof.network.rules import RULES, run
from tests.convnets import resnet
from tests.networks import called_twice, mlp

Array = np.ndarray


def test_every_operation_has_a_rule() -> None:
    # A list of entries keeps its order, and so do the units on both sides of a sparse matrix.
    assert set(EQUIVARIANCE) == set(RULES) - {"sparse"}


def permuted(value: Array, shape: axes.Shape, walk: axes._Walk, orders: dict[int, Array]) -> Array:
    leaves = [f for factors in shape for f in walk.pool.leaves(factors)]
    view = value.reshape([walk.pool.size[f] for f in leaves])
    for a, f in enumerate(leaves):
        view = view.take(orders[f], a)
    return view.reshape(value.shape)


def broken_by(kind: str, seed: int) -> tuple[float, bool]:
    """How far a permuted operation is from the permuted result, and whether anything was permuted."""
    rng = np.random.default_rng(seed)
    op, tensors = RULES[kind].example(rng)
    walk = axes._Walk(Network(tensors, (), (), ()))
    given = {n: t for n, t in tensors.items() if t.role == "input"}
    for name, tensor in given.items():
        walk.axes[name] = tuple(walk.pool.new(n) for n in tensor.shape)
    walk.axes[op.output] = EQUIVARIANCE[kind](op, walk)
    size = [walk.pool.size[f] for factors in walk.axes[op.output] for f in walk.pool.leaves(factors)]
    assert int(np.prod(size)) == tensors[op.output].size
    roots = {f for shape in walk.axes.values() for factors in shape for f in walk.pool.leaves(factors)}
    orders = {
        f: np.arange(n) if walk.pool.pinned[f] else rng.permutation(n)
        for f in sorted(roots)
        for n in [walk.pool.size[f]]
    }
    values = [rng.standard_normal(tensors[x].shape) if x in given else tensors[x].value for x in op.inputs]
    values = [np.asarray(v, dtype=float) for v in values]
    names = dict(zip(op.inputs, values, strict=True))
    moved = [permuted(names[x], walk.axes[x], walk, orders) for x in op.inputs]
    with np.errstate(all="ignore"):
        right = permuted(run(op, values), walk.axes[op.output], walk, orders)
        left = run(op, moved)
    bad = np.nan_to_num(np.abs(left - right), nan=0.0, posinf=0.0)
    return float(bad.max(initial=0.0)), any((o != np.arange(len(o))).any() for o in orders.values())


@pytest.mark.parametrize("kind", sorted(EQUIVARIANCE))
def test_each_rule_holds_when_it_is_executed(kind: str) -> None:
    found = [broken_by(kind, seed) for seed in range(60)]
    assert max(error for error, _ in found) < 1e-9
    assert any(moved for _, moved in found)


@pytest.mark.parametrize(
    "kind", ["linear", "conv", "bias", "norm", "pool", "take", "pad", "matmul", "concat"]
)
def test_a_rule_that_demands_nothing_fails(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(op: Operation, walk: axes._Walk) -> axes.Shape:
        return tuple(walk.pool.new(n) for n in walk.shape(op.output))

    monkeypatch.setattr(axes, "EQUIVARIANCE", MappingProxyType({**EQUIVARIANCE, kind: nothing}))
    monkeypatch.setitem(globals(), "EQUIVARIANCE", axes.EQUIVARIANCE)
    assert max(broken_by(kind, seed)[0] for seed in range(60)) > 1e-3


def recurrent() -> Network:
    rng = np.random.default_rng(4)
    shapes = {"J": (5, 5), "W_in": (5, 2), "W_out": (3, 5), "b": (5,)}
    return load({name: rng.standard_normal(shape) for name, shape in shapes.items()})


def flattened() -> Network:
    """Convolutions, a flattening, and two dense layers: channels are permuted with all their positions."""
    rng = np.random.default_rng(5)
    tensors = {
        "x": Tensor("x", (1, 2, 5, 5), "input"),
        "k": Tensor("k", (3, 2, 3, 3), "parameter", rng.standard_normal((3, 2, 3, 3))),
        "d": Tensor("d", (3, 1, 2, 2), "parameter", rng.standard_normal((3, 1, 2, 2))),
        "W": Tensor("W", (4, 12), "parameter", rng.standard_normal((4, 12))),
        "V": Tensor("V", (2, 4), "parameter", rng.standard_normal((2, 4))),
    }
    for name, shape in {
        "c": (1, 3, 3, 3),
        "e": (1, 3, 2, 2),
        "f": (1, 12),
        "g": (1, 4),
        "a": (1, 4),
        "y": (1, 2),
    }.items():
        tensors[name] = Tensor(name, shape, "activation")
    relu = mlp([1, 1, 1]).operations[2].attributes
    flat = MappingProxyType({"shape": (1, 12)})
    turned = MappingProxyType({"transpose": True})
    operations = (
        Operation("conv", "k", ("x", "k"), "c"),
        Operation("conv", "d", ("c", "d"), "e", MappingProxyType({"group": 3})),
        Operation("reshape", "f", ("e",), "f", flat),
        Operation("linear", "W", ("f", "W"), "g", turned),
        Operation("activation", "a", ("g",), "a", relu),
        Operation("linear", "V", ("a", "V"), "y", turned),
    )
    return Network(tensors, operations, ("x",), ("y",))


NETWORKS = {
    "mlp": (mlp([3, 5, 4, 2]), [4, 5]),
    "tanh": (mlp([3, 5, 2], activation="tanh"), [5]),
    "tied": (called_twice(), [3]),
    "recurrent": (recurrent(), [5]),
    "flattened": (flattened(), [3, 4]),
    "residual": (resnet(2, (1, 2), 16, 5), [2, 2, 2, 4, 4, 4, 4, 8, 16]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_permuted_networks_compute_the_same(name: str) -> None:
    network, sizes = NETWORKS[name]
    units = permutable(network)
    assert sorted(units.sizes.values()) == sizes  # hidden layers, by hand
    orders = {c: np.roll(np.arange(n), 1) for c, n in units.sizes.items()}
    other = units.permuted(orders)
    assert any((other.numbers(t.name) != network.numbers(t.name)).any() for t in network.parameters)
    assert (function_error(network, other) or 0.0) < 1e-12
    # One class alone, at one of its places only, is another network.
    name, axis = units.places(0)[0]
    value = units.view(name).take(orders[0], axis).reshape(network.tensors[name].shape)
    if sum(n == name for n, _ in units.places(0)) == 1:
        assert (function_error(network, network.with_parameters({name: value})) or 0.0) > 1e-3


def test_what_is_not_known_pins() -> None:
    document = {
        "inputs": {"x": [2]},
        "parameters": {"V": [[1, 2], [3, 4]], "W": [[1, 2], [3, 4]]},
        "operations": [
            {"kind": "linear", "inputs": ["x", "V"], "output": "a"},
            {"kind": "unknown", "inputs": ["a"], "output": "b", "shape": [2]},
            {"kind": "linear", "inputs": ["b", "W"], "output": "y"},
        ],
        "outputs": ["y"],
    }
    assert permutable(load(document)).sizes == {}
    document["operations"][1] = {"kind": "activation", "function": "tanh", "inputs": ["a"], "output": "b"}
    assert permutable(load(document)).sizes == {0: 2}
