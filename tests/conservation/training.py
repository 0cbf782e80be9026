"""Perceptrons with gradients by hand, for flows and training loops that know nothing of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp

from balproof.network.graph import Network
from tests.networks import mlp

Array = np.ndarray
Weights = dict[str, Array]

SLOPES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(float)),
    "leaky_relu:1/5": (lambda z: np.where(z > 0, z, z / 5), lambda z: np.where(z > 0, 1.0, 0.2)),
    "Max(x,0)**2": (lambda z: np.maximum(z, 0.0) ** 2, lambda z: 2 * np.maximum(z, 0.0)),
}


class Perceptron:
    """The network ``mlp(widths)``, its weights, and the gradient of a loss at any weights."""

    def __init__(
        self,
        widths: Sequence[int],
        activation: str,
        seed: int,
        *,
        bias: bool = True,
        classes: bool = False,
        cases: int = 12,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.activation, self.classes = activation, classes
        self.network: Network = mlp(widths, seed=seed, spread=0.4, activation=activation, bias=bias)
        self.layers = len(widths) - 1
        self.x = rng.standard_normal((cases, widths[0]))
        self.target = rng.standard_normal((cases, widths[-1]))
        self.label = rng.integers(0, widths[-1], cases)
        self.names = [t.name for t in self.network.learned]
        self.start: Weights = {n: 0.6 * self.network.numbers(n) for n in self.names}

    def outputs(self, w: Weights, x: Array) -> tuple[Array, list[Array], list[Array]]:
        f = SLOPES[self.activation][0]
        h, ins, sums = x, [], []
        for i in range(1, self.layers + 1):
            ins.append(h)
            z = h @ w[f"fc{i}.weight"].T + w.get(f"fc{i}.bias", 0.0)
            sums.append(z)
            h = f(z) if i < self.layers else z
        return h, ins, sums

    def gradient(self, w: Weights, cases: Array | slice = slice(None)) -> Weights:
        """Of half the squared error, or of cross-entropy, summed over the cases."""
        y, ins, sums = self.outputs(w, self.x[cases])
        if self.classes:
            e = np.exp(y - y.max(1, keepdims=True))
            back = e / e.sum(1, keepdims=True) - np.eye(y.shape[1])[self.label[cases]]
        else:
            back = y - self.target[cases]
        found: Weights = {}
        for i in range(self.layers, 0, -1):
            if i < self.layers:
                back = back * SLOPES[self.activation][1](sums[i - 1])
            found[f"fc{i}.weight"] = back.T @ ins[i - 1]
            found[f"fc{i}.bias"] = back.sum(0)
            back = back @ w[f"fc{i}.weight"]
        return {n: found[n] for n in self.names}

    def flat(self, w: Weights) -> Array:
        return np.concatenate([w[n].ravel() for n in self.names])

    def unflat(self, v: Array) -> Weights:
        ends = np.cumsum([self.start[n].size for n in self.names])[:-1]
        return {n: p.reshape(self.start[n].shape) for n, p in zip(self.names, np.split(v, ends), strict=True)}

    def slope(self, v: Array) -> Array:
        """∇L of the weights as one vector."""
        return self.flat(self.gradient(self.unflat(v)))


def integrate(speed: Callable[[float, Array], Array], start: Array, end: float) -> Array:
    """The states at some times, tightly. Along a kink of ReLU a solver may get stuck: better to fail then."""
    calls = 0

    def counted(t: float, v: Array) -> Array:
        nonlocal calls
        calls += 1
        assert calls < 20_000, f"stuck at t = {t}"
        return speed(t, v)

    found = solve_ivp(counted, (0.0, end), start, "DOP853", np.linspace(0, end, 7), rtol=1e-12, atol=1e-13)
    assert found.success
    return found.y.T
