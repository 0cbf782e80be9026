"""Networks that balancing code is let loose on, with what it takes them to be: pairs of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from balproof.importers import load
from balproof.network.graph import Network
from tests.convnets import Builder
from tests.networks import mlp, weights

Array = np.ndarray
Values = dict[str, Array]


def conv(seed: int = 0) -> Network:
    """conv 3-6-6, batch normalisation after each, and a dense layer."""
    b = Builder(6, seed)
    x = b.relu(b.conv("x", "c1", 6, 3))
    x = b.relu(b.conv(x, "c2", 6, 3))
    x = b.op("reduce", "mean", (x,), (1, 6), axes=(2, 3), keepdims=False, mode="mean")
    y = b.op("linear", "fc", (x, b.parameter("fc.weight", (4, 6))), (1, 4), transpose=True)
    y = b.op("bias", "fc.bias", (y, b.parameter("fc.bias", (4,))), (1, 4))
    return Network(b.tensors, tuple(b.operations), ("x",), (y,))


def _document(shapes: Mapping[str, tuple[int, ...]], ops: list[list[Any]], inputs: int, seed: int) -> Network:
    rng = np.random.default_rng(seed)
    operations = [
        {
            "kind": kind,
            "inputs": list(given),
            "output": out,
            **({"function": "relu"} if kind == "activation" else {}),
        }
        for kind, given, out in ops
    ]
    return load(
        {
            "inputs": {"x": [inputs]},
            "parameters": {n: weights(rng, s).tolist() for n, s in shapes.items()},
            "operations": operations,
            "outputs": [ops[-1][2]],
        }
    )


def residual(seed: int = 0) -> Network:
    """out(relu(h + b(relu(a(h))))) with h = stem(x)."""
    shapes = {"stem.weight": (6, 4), "stem.bias": (6,), "a.weight": (5, 6), "a.bias": (5,),
              "b.weight": (6, 5), "b.bias": (6,), "out.weight": (3, 6), "out.bias": (3,)}  # fmt: skip
    ops: list[list[Any]] = [
        ["linear", ("x", "stem.weight"), "r1"], ["bias", ("r1", "stem.bias"), "z1"],
        ["activation", ("z1",), "h"],
        ["linear", ("h", "a.weight"), "r2"], ["bias", ("r2", "a.bias"), "z2"], ["activation", ("z2",), "u"],
        ["linear", ("u", "b.weight"), "r3"], ["bias", ("r3", "b.bias"), "z3"],
        ["add", ("h", "z3"), "s"], ["activation", ("s",), "v"],
        ["linear", ("v", "out.weight"), "r4"], ["bias", ("r4", "out.bias"), "y"],
    ]  # fmt: skip
    return _document(shapes, ops, 4, seed)


def tied(seed: int = 0) -> Network:
    """A square layer that is called twice."""
    shapes = {
        "in.weight": (5, 4),
        "in.bias": (5,),
        "loop.weight": (5, 5),
        "out.weight": (3, 5),
        "out.bias": (3,),
    }
    ops: list[list[Any]] = [
        ["linear", ("x", "in.weight"), "r1"], ["bias", ("r1", "in.bias"), "z1"],
        ["activation", ("z1",), "a1"],
        ["linear", ("a1", "loop.weight"), "r2"], ["activation", ("r2",), "a2"],
        ["linear", ("a2", "loop.weight"), "r3"], ["activation", ("r3",), "a3"],
        ["linear", ("a3", "out.weight"), "r4"], ["bias", ("r4", "out.bias"), "y"],
    ]  # fmt: skip
    return _document(shapes, ops, 4, seed)


def recurrent(seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    shapes = {"J": (6, 6), "W_in": (6, 4), "b": (6,), "W_out": (5, 6)}
    return load({n: weights(rng, s) for n, s in shapes.items()})


def dense(seed: int = 0) -> Network:
    return mlp([5, 7, 7, 6, 4], seed=seed)


ALL = {"mlp": dense, "conv": conv, "residual": residual, "recurrent": recurrent, "tied": tied}


def values(network: Network) -> Values:
    return {t.name: network.numbers(t.name).copy() for t in network.parameters}


def in_type(network: Network, dtype: str) -> Network:
    """The same with numbers of this type, as a file of it has them."""
    import dataclasses

    tensors = {
        n: dataclasses.replace(t, value=t.value.astype(dtype).astype(np.float64), dtype=dtype)
        if t.role == "parameter" and t.value is not None
        else t
        for n, t in network.tensors.items()
    }
    return dataclasses.replace(network, tensors=tensors)


# --- the rescaling that was meant, by hand ---------------------------------------------------------------

SIDES: dict[str, list[tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]]] = {
    "mlp": [
        ((("fc1.weight", 0), ("fc1.bias", 0)), (("fc2.weight", 1),)),
        ((("fc2.weight", 0), ("fc2.bias", 0)), (("fc3.weight", 1),)),
        ((("fc3.weight", 0), ("fc3.bias", 0)), (("fc4.weight", 1),)),
    ],
    "conv": [
        ((("c1.bn.gamma", 0), ("c1.bn.beta", 0)), (("c2.weight", 1),)),
        ((("c2.weight", 0), ("c2.bn.mean", 0)), (("c2.bn.gamma", 0),)),
        ((("c2.bn.gamma", 0), ("c2.bn.beta", 0)), (("fc.weight", 1),)),
        ((("c1.weight", 0), ("c1.bn.mean", 0)), (("c1.bn.gamma", 0),)),
    ],
    "residual": [
        (
            (("stem.weight", 0), ("stem.bias", 0), ("b.weight", 0), ("b.bias", 0)),
            (("a.weight", 1), ("out.weight", 1)),
        ),
        ((("a.weight", 0), ("a.bias", 0)), (("b.weight", 1),)),
    ],
    "recurrent": [((("W_in", 0), ("J", 0), ("b", 0)), (("J", 1), ("W_out", 1)))],
    "tied": [
        ((("in.weight", 0), ("in.bias", 0), ("loop.weight", 0)), (("loop.weight", 1), ("out.weight", 1)))
    ],
}
"""Of each group of units: which tensors lead in, and along which axis, and which lead out."""


def times(w: Array, s: Array, axis: int) -> Array:
    """Multiply along one axis, as anybody's code does."""
    return w * s.reshape([-1 if a == axis else 1 for a in range(w.ndim)])


def scales(name: str, v: Values, rng: np.random.Generator, spread: float = 0.7) -> list[Array]:
    """Random factors of each group of units, none of them close to 1."""
    found = []
    for into, _ in SIDES[name]:
        tensor, axis = into[0]
        n = v[tensor].shape[axis]
        found.append(np.exp(rng.choice([-1.0, 1.0], n) * rng.uniform(0.2, 0.2 + spread, n)))
    return found


def rescaled(name: str, v: Values, factors: list[Array]) -> Values:
    """In times s, out divided by s: right."""
    new = {n: w.copy() for n, w in v.items()}
    for (into, out), s in zip(SIDES[name], factors, strict=True):
        for tensor, axis in into:
            new[tensor] = times(new[tensor], s, axis)
        for tensor, axis in out:
            new[tensor] = times(new[tensor], 1 / s, axis)
    return new
