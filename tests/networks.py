"""Small networks for the tests, and counts that do not come from our own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from balproof.importers import load
from balproof.network.evaluate import evaluate
from balproof.network.graph import Network


def mlp(
    widths: Sequence[int],
    *,
    seed: int = 0,
    bias: bool = True,
    activation: str = "relu",
    spread: float = 1.0,
) -> Network:
    """A multilayer perceptron with log-normal weights of random sign."""
    rng = np.random.default_rng(seed)
    parameters: dict[str, Any] = {}
    operations: list[dict[str, Any]] = []
    x = "x"
    for i, (n, m) in enumerate(zip(widths[:-1], widths[1:], strict=True), start=1):
        parameters[f"fc{i}.weight"] = weights(rng, (m, n), spread).tolist()
        operations.append({"kind": "linear", "inputs": [x, f"fc{i}.weight"], "output": f"r{i}"})
        x = f"r{i}"
        if bias:
            parameters[f"fc{i}.bias"] = weights(rng, (m,), spread).tolist()
            operations.append({"kind": "bias", "inputs": [x, f"fc{i}.bias"], "output": f"z{i}"})
            x = f"z{i}"
        if i < len(widths) - 1:
            operations.append(
                {"kind": "activation", "function": activation, "inputs": [x], "output": f"a{i}"}
            )
            x = f"a{i}"
    return load(
        {"inputs": {"x": [widths[0]]}, "parameters": parameters, "operations": operations, "outputs": [x]}
    )


def weights(rng: np.random.Generator, shape: tuple[int, ...], spread: float = 1.0) -> np.ndarray:
    return rng.choice([-1.0, 1.0], shape) * np.exp(spread * rng.standard_normal(shape))


def called_twice() -> Network:
    """A square layer used two times in a row: its weights depend on more than two scales."""
    rng = np.random.default_rng(3)
    shapes = {"fc1.weight": (3, 2), "shared.weight": (3, 3), "fc2.weight": (2, 3)}
    return load(
        {
            "inputs": {"x": [2]},
            "parameters": {k: weights(rng, v).tolist() for k, v in shapes.items()},
            "operations": [
                {"kind": "linear", "inputs": ["x", "fc1.weight"], "output": "z1"},
                {"kind": "activation", "function": "relu", "inputs": ["z1"], "output": "a1"},
                {"kind": "linear", "inputs": ["a1", "shared.weight"], "output": "z2"},
                {"kind": "activation", "function": "relu", "inputs": ["z2"], "output": "a2"},
                {"kind": "linear", "inputs": ["a2", "shared.weight"], "output": "z3"},
                {"kind": "activation", "function": "relu", "inputs": ["z3"], "output": "a3"},
                {"kind": "linear", "inputs": ["a3", "fc2.weight"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )


def numerical_free_scales(network: Network, *, trials: int = 6, points: int = 100) -> int:
    """The dimension of the diagonal rescalings that keep the outputs, found without any scaling rule.

    It is the null space of the Jacobian of the outputs in the log-scales of the weights, by differences,
    at random weights. Units that are dead there add false directions, so the least of some trials counts.
    """
    found = []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        values = {t.name: rng.standard_normal(t.shape) for t in network.parameters}
        inputs = {x: rng.standard_normal((points, *network.tensors[x].shape[1:])) for x in network.inputs}
        found.append(_nullity(network, values, inputs))
    return min(found)


def _nullity(network: Network, values: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> int:
    def outputs(changed: dict[str, np.ndarray]) -> np.ndarray:
        result = evaluate(network.with_parameters({**values, **changed}), inputs)
        return np.concatenate([result[y].ravel() for y in network.outputs])

    step = 1e-5
    columns = []
    for name, value in values.items():
        for flat in range(value.size):
            moved = []
            for sign in (1.0, -1.0):
                changed = value.copy()
                changed.flat[flat] *= np.exp(sign * step)
                moved.append(outputs({name: changed}))
            columns.append((moved[0] - moved[1]) / (2 * step))
    singular = np.linalg.svd(np.array(columns).T, compute_uv=False)
    return len(columns) - int(np.sum(singular > 1e-6 * singular[0]))
