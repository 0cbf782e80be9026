"""Small networks and matrices on which balancing code goes wrong, each for a reason of its own.

All are drawn with fixed seeds, in float64, and every call makes them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from balproof.balance.solve import solve
from balproof.crosscheck.extremes import Asked, Extremes, equalized
from balproof.importers import load
from balproof.network.graph import Network

Array = np.ndarray

DECADES = 12
"""Over so many decades weights are spread in the cases that are named after it."""

BRIDGE = 1e-9
"""The one weight that keeps a matrix irreducible, or a unit alive."""


def plain(costs: Asked) -> dict[str, Network]:
    """Perceptrons of dense layers and ReLU, `fc1`, `fc2`, …

    >>> from balproof.crosscheck.extremes import asked
    >>> list(plain(asked("l2")))[:2]
    ['with biases', 'without biases']
    """
    usual = perceptron([4, 6, 5, 3])
    dead = {n: usual.numbers(n).copy() for n in ("fc1.weight", "fc1.bias", "fc2.weight", "fc3.weight")}
    dead["fc1.weight"][1], dead["fc1.bias"][1] = 0.0, 0.0  # nothing comes in
    dead["fc2.weight"][:, 2] = 0.0  # nothing goes out
    dead["fc3.weight"][:, 0] = 0.0
    held = perceptron([4, 6, 3], seed=5)
    last = held.numbers("fc2.weight").copy()
    last[:, 0] = [BRIDGE, 0.0, 0.0]
    return {
        "with biases": usual,
        "without biases": perceptron([4, 6, 5, 3], seed=1, bias=False),
        "dead units": usual.with_parameters(dead),
        f"{DECADES} decades": perceptron([4, 6, 5, 3], seed=2, decades=DECADES),
        "deep and thin": perceptron([2] * 13, seed=3),
        "one weight from dead": held.with_parameters({"fc2.weight": last}),
        "already balanced": _balanced(perceptron([4, 6, 5, 3], seed=4), costs),
    }


def networks(costs: Asked) -> dict[str, Network]:
    """The plain ones, and a layer called twice, a residual sum, and an activation of degree 2."""
    return {
        **plain(costs),
        "layer called twice": perceptron([3, 4, 4, 4, 2], seed=6, shared=(2, 3)),
        "residual": _residual(),
        "degree 2": perceptron([3, 5, 2], seed=8, activation="Max(x, 0)**2"),
    }


def matrices(costs: Asked) -> dict[str, Network]:
    """Recurrent networks that have J alone, of which the balance is that of a matrix.

    >>> from balproof.crosscheck.extremes import asked
    >>> matrices(asked("l2"))["one bridge"].numbers("J")[0, 4:].tolist()
    [0.0, 0.0, 0.0, 1e-09]
    """
    rng = np.random.default_rng(0)
    n = 8
    dense, sparse, other = (_weights(rng, (n, n)) for _ in range(3))
    keep = rng.random((n, n)) < 0.2
    ring = np.roll(np.eye(n, dtype=bool), 1, axis=1)  # so that every unit reaches every other
    bridge = _weights(rng, (n, n))
    bridge[: n // 2, n // 2 :] = 0.0
    bridge[0, n - 1] = BRIDGE
    row, cross = other.copy(), other.copy()
    row[2], cross[2], cross[:, 2] = 0.0, 0.0, 0.0
    found = {
        "dense": dense,
        "sparse": np.where(keep | ring, sparse, 0.0),
        "one bridge": bridge,
        "zero row": row,
        "zero row and column": cross,
        f"{DECADES} decades": _weights(rng, (n, n), DECADES),
    }
    return {
        **{name: load(J) for name, J in found.items()},
        "already balanced": _balanced(load(_weights(rng, (n, n))), costs),
    }


def _balanced(network: Network, costs: Asked) -> Network:
    return equalized(network, costs) if isinstance(costs, Extremes) else solve(network, costs).network


def perceptron(
    widths: Sequence[int],
    *,
    seed: int = 0,
    bias: bool = True,
    decades: float = 0.0,
    activation: str = "relu",
    shared: tuple[int, int] | None = None,
) -> Network:
    """Dense layers and activations; the ``shared`` two layers are one, called twice."""
    rng = np.random.default_rng(seed)
    parameters: dict[str, Any] = {}
    operations: list[dict[str, Any]] = []
    x = "x"
    for i, (n, m) in enumerate(zip(widths[:-1], widths[1:], strict=True), start=1):
        layer = f"fc{shared[0] if shared and i in shared else i}"
        if i > 1:
            operations.append(_operation("activation", x, f"a{i - 1}", function=activation))
            x = f"a{i - 1}"
        parameters.setdefault(f"{layer}.weight", _weights(rng, (m, n), decades))
        operations.append(_operation("linear", x, f"r{i}", f"{layer}.weight"))
        x = f"r{i}"
        if bias:
            parameters.setdefault(f"{layer}.bias", _weights(rng, (m,), decades))
            operations.append(_operation("bias", x, f"z{i}", f"{layer}.bias"))
            x = f"z{i}"
    return _network(widths[0], parameters, operations, x)


def _residual() -> Network:
    """fc3(relu(h + fc2(relu(h)))) with h = fc1(x)."""
    rng = np.random.default_rng(7)
    shapes = {"fc1": (4, 3), "fc2": (4, 4), "fc3": (2, 4)}
    parameters: dict[str, Any] = {}
    for name, shape in shapes.items():
        parameters |= {f"{name}.weight": _weights(rng, shape), f"{name}.bias": _weights(rng, shape[:1])}
    operations = [
        _operation("linear", "x", "r1", "fc1.weight"),
        _operation("bias", "r1", "z1", "fc1.bias"),
        _operation("activation", "z1", "a1", function="relu"),
        _operation("linear", "a1", "r2", "fc2.weight"),
        _operation("bias", "r2", "z2", "fc2.bias"),
        _operation("add", "z1", "sum", "z2"),
        _operation("activation", "sum", "a2", function="relu"),
        _operation("linear", "a2", "r3", "fc3.weight"),
        _operation("bias", "r3", "z3", "fc3.bias"),
    ]
    return _network(3, parameters, operations, "z3")


def _operation(kind: str, x: str, output: str, *others: str, **attributes: str) -> dict[str, Any]:
    return {"kind": kind, "inputs": [x, *others], "output": output, **attributes}


def _network(width: int, parameters: dict[str, Any], operations: list[dict[str, Any]], y: str) -> Network:
    values = {name: value.tolist() for name, value in parameters.items()}
    return load({"inputs": {"x": [width]}, "parameters": values, "operations": operations, "outputs": [y]})


def _weights(rng: np.random.Generator, shape: tuple[int, ...], decades: float = 0.0) -> Array:
    """Of random sign; sizes are log-normal, or spread evenly over decades."""
    size = rng.uniform(-decades / 2, decades / 2, shape) * np.log(10) if decades else rng.normal(size=shape)
    return rng.choice([-1.0, 1.0], shape) * np.exp(size)
