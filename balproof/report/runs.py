"""The runs behind the figures of the report of claims: small, seeded, and made anew each time.

Balancing from many seeds, the ways of different orders down one bowl, and the deficits of a network in
training with and without L2. What they show is proved elsewhere (`balproof.theorems`); the runs illustrate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from balproof.balance.descent import stochastic
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.importers.json_file import from_document
from balproof.network.graph import Network

Array = np.ndarray


def perceptron(*matrices: Array) -> Network:
    """ReLU layers with these weights, without biases; the last is linear."""
    operations: list[dict[str, object]] = []
    here = "x"
    for k in range(len(matrices)):
        operations.append({"kind": "linear", "inputs": [here, f"W{k}"], "output": f"z{k}"})
        here = f"z{k}"
        if k < len(matrices) - 1:
            operations.append({"kind": "activation", "function": "relu", "inputs": [here], "output": f"h{k}"})
            here = f"h{k}"
    return from_document(
        {
            "inputs": {"x": [matrices[0].shape[1]]},
            "parameters": {f"W{k}": m.tolist() for k, m in enumerate(matrices)},
            "operations": operations,
            "outputs": [here],
        }
    )


# --- many seeds, one balanced state ---------------------------------------------------------------------


@dataclass(frozen=True)
class Seeds:
    """Balancing one network under L2 in many random orders: the cost after each sweep, by seed.

    ``gap`` is certified: no rescaling costs less than ``optimum`` by more, relatively. ``spread`` is the
    largest difference between two seeds in any log-scale at the end.
    """

    sizes: tuple[int, ...]
    weight_seed: int
    histories: dict[int, tuple[float, ...]]
    optimum: float
    gap: float | None
    spread: float
    before: tuple[float, ...]
    after: tuple[float, ...]


def many_seeds(sizes: tuple[int, ...] = (6, 10, 8, 3), weight_seed: int = 0, seeds: int = 24) -> Seeds:
    """Balance a ReLU network with normal weights in ``seeds`` random orders.

    >>> found = many_seeds((2, 3, 1), seeds=2)
    >>> sorted(found.histories), found.spread < 1e-10
    ([0, 1], True)
    """
    rng = np.random.default_rng(weight_seed)
    network = perceptron(*(rng.standard_normal((m, n)) for n, m in zip(sizes[:-1], sizes[1:], strict=True)))
    problem = BalanceProblem.build(network, "l2")
    runs = {seed: stochastic(problem, "random", seed=seed) for seed in range(seeds)}
    best = solve(network, "l2", method="newton", certify=True)
    ends = np.array([run.h for run in runs.values()])
    return Seeds(
        sizes, weight_seed, {seed: run.history for seed, run in runs.items()}, best.cost_after,
        best.certificate.gap if best.certificate else None, float(np.ptp(ends, axis=0).max()),
        tuple(problem.imbalances(np.zeros(problem.count)).tolist()),
        tuple(problem.imbalances(best.h).tolist()),
    )  # fmt: skip


# --- one bowl -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bowl:
    """F over the log-scales of two units, and the ways of several orders down to its one minimum."""

    weights: tuple[float, float, float]
    grid: tuple[Array, Array]
    values: Array
    minimum: tuple[float, float]
    least: float
    ways: dict[str, Array]


def two_units(weights: tuple[float, float, float] = (4.0, 0.25, 0.5), steps: int = 24) -> Bowl:
    """x → u → v → y under L2: u first, v first, both at once, and the flow along −∇F.

    >>> found = two_units(steps=12)
    >>> all(np.allclose(way[-1], found.minimum, atol=1e-2) for way in found.ways.values())
    True
    """
    problem = BalanceProblem.build(perceptron(*(np.array([[w]]) for w in weights)), "l2")

    def after(order: list[int]) -> Array:
        return stochastic(problem, order).h if order else np.zeros(2)

    def at_once(h: Array) -> Array:
        moved = problem.rescaled(h)
        return h + np.array([stochastic(moved, [k]).h[k] for k in (0, 1)])

    ways = {
        name: np.array([after([(first + i) % 2 for i in range(k)]) for k in range(steps + 1)])
        for name, first in (("u first", 0), ("v first", 1))
    }
    both = [np.zeros(2)]
    for _ in range(steps):
        both.append(at_once(both[-1]))
    ways["both at once"] = np.array(both)
    flow = solve_ivp(lambda _t, h: -problem.gradient(h), (0.0, 20.0), [0.0, 0.0], rtol=1e-8, atol=1e-10)
    ways["gradient flow"] = flow.y.T
    best = solve(problem.manifold.network, "l2", method="newton")
    points = np.concatenate(list(ways.values()))
    low, high = points.min(axis=0) - 0.7, points.max(axis=0) + 0.7
    x, y = (np.linspace(low[k], high[k], 61) for k in (0, 1))
    values = np.array([[problem.cost(np.array([a, b])) for a in x] for b in y])
    return Bowl(weights, (x, y), values, (float(best.h[0]), float(best.h[1])), best.cost_after, ways)


# --- training -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """Σ_k D_k² relative to the start, D_k = Σ_in w² − Σ_out w² of unit k, at ``times`` = rate × steps.

    ``loss`` is the first and the last one of each run. With cost μ/2·Σw² the law is e^{−4μt}.
    """

    sizes: tuple[int, int, int]
    seed: int
    mu: float
    times: dict[str, Array]
    deficits: dict[str, Array]
    loss: dict[str, tuple[float, float]]


def train(seed: int = 0, mu: float = 0.05, duration: float = 40.0) -> Training:
    """Fit a ReLU network to a random one: gradient descent in small steps, and SGD, without and with L2.

    >>> found = train(duration=4.0)
    >>> bool(abs(found.deficits["flow"][-1] - 1) < 0.05)
    True
    """
    sizes = (4, 12, 2)
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal((5, 4)), rng.standard_normal((2, 5)) / 2
    x = rng.standard_normal((4, 128))
    y = teacher[1] @ np.maximum(teacher[0] @ x, 0)
    start = rng.standard_normal((12, 4)) * rng.uniform(0.2, 1.2, (12, 1)), 0.4 * rng.standard_normal((2, 12))
    runs = {
        "flow": (0.002, 0.0, 128),
        "SGD": (0.02, 0.0, 16),
        "flow, L2": (0.002, mu, 128),
        "SGD, L2": (0.02, mu, 16),
    }
    times, deficits, loss = dict[str, Array](), dict[str, Array](), dict[str, tuple[float, float]]()
    for name, (rate, decay, batch) in runs.items():
        order = np.random.default_rng(seed + 1)
        w, v = start[0].copy(), start[1].copy()
        steps = round(duration / rate)
        every = max(1, steps // 80)
        first, shown = _imbalance(w, v), [1.0]
        begin = gradients(w, v, x, y)[0]
        for step in range(1, steps + 1):
            some = slice(None) if batch == x.shape[1] else order.integers(0, x.shape[1], batch)
            _, gw, gv = gradients(w, v, x[:, some], y[:, some])
            w -= rate * (gw + decay * w)
            v -= rate * (gv + decay * v)
            if step % every == 0:
                shown.append(_imbalance(w, v) / first)
        times[name] = rate * every * np.arange(len(shown))
        deficits[name] = np.array(shown)
        loss[name] = (begin, gradients(w, v, x, y)[0])
    return Training(sizes, seed, mu, times, deficits, loss)


def _imbalance(w: Array, v: Array) -> float:
    return float(np.sum((np.sum(w**2, axis=1) - np.sum(v**2, axis=0)) ** 2))


def gradients(w: Array, v: Array, x: Array, y: Array) -> tuple[float, Array, Array]:
    """The mean square error of v·max(w·x, 0), halved, and its gradients in w and v.

    >>> gradients(np.array([[2.0]]), np.array([[3.0]]), np.array([[1.0]]), np.array([[5.0]]))
    (0.5, array([[3.]]), array([[2.]]))
    """
    hidden = np.maximum(w @ x, 0)
    off = (v @ hidden - y) / x.shape[1]
    back = (v.T @ off) * (hidden > 0)
    return float(0.5 * x.shape[1] * np.sum(off**2)), back @ x.T, off @ hidden.T
