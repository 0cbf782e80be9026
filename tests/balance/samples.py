"""Networks for the tests of balancing, and balance read off the raw weights, without A."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import sympy
from scipy.optimize import root

from balproof.balance.problem import BalanceProblem
from balproof.importers import load
from balproof.network.graph import Network
from tests.networks import weights

Array = np.ndarray

MARGINALS: dict[str, Callable[[Array], Array]] = {
    # m(w) = w·g'(w), derived by hand
    "l1": lambda w: w,
    "l2": lambda w: 2 * w**2,
    "lp:0.5": lambda w: np.sqrt(w) / 2,
    "lp:1.5": lambda w: 1.5 * w**1.5,
    "lp:3": lambda w: 3 * w**3,
    "abs(w) + w**2/10": lambda w: w + w**2 / 5,
    "log(1 + w**2)": lambda w: 2 * w**2 / (1 + w**2),
    "Piecewise((w**2/2, abs(w) <= 1), (abs(w) - 1/2, True))": lambda w: np.where(w <= 1, w**2, w),
}

COSTS: dict[str, Callable[[Array], Array]] = {
    "l1": lambda w: w,
    "l2": lambda w: w**2,
    "lp:0.5": np.sqrt,
    "lp:1.5": lambda w: w**1.5,
    "lp:3": lambda w: w**3,
    "abs(w) + w**2/10": lambda w: w + w**2 / 10,
    "log(1 + w**2)": lambda w: np.log(1 + w**2),
    "Piecewise((w**2/2, abs(w) <= 1), (abs(w) - 1/2, True))": lambda w: np.where(w <= 1, w**2 / 2, w - 0.5),
}


def recurrent(J: Any, **arrays: Any) -> Network:
    return load(
        {
            "J": np.array(J, float),
            **{k: v if k == "activation" else np.array(v, float) for k, v in arrays.items()},
        }
    )


def dense(n: int, seed: int = 0, spread: float = 1.0, *, visible: bool = True) -> Network:
    rng = np.random.default_rng(seed)
    arrays = {"J": weights(rng, (n, n), spread)}
    if visible:
        arrays |= {"W_in": weights(rng, (n, 2), spread), "W_out": weights(rng, (2, n), spread)}
    return load(arrays)


BRIDGE = recurrent([[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
"""1 ⇄ 2 → 3 ⇄ 4 (0-based here): the weight of the bridge can be made as small as one likes."""


def with_weights(network: Network, **changed: Any) -> Network:
    """The network with some tensors replaced; a name's dots are written as two underscores."""
    return network.with_parameters({k.replace("__", "."): np.array(v, float) for k, v in changed.items()})


def raw(network: Network) -> dict[str, Array]:
    return {t.name: np.abs(network.numbers(t.name)) for t in network.parameters}


def sides(
    network: Network, marginal: Callable[[Array], Array] | dict[str, Callable[[Array], Array]]
) -> Array:
    """Rows (in, out) of Σ m over the weights into and out of each hidden unit, from the weights alone.

    For a multilayer perceptron of `mlp`, or a recurrent network with degree 1; self-loops drop out.
    """
    w = raw(network)
    m = {k: (marginal[k] if isinstance(marginal, dict) else marginal)(v) for k, v in w.items()}
    if "J" in w:
        inner = m["J"] - np.diag(np.diag(m["J"]))
        into, out = inner.sum(axis=1), inner.sum(axis=0)
        into = into + m["W_in"].sum(axis=1) if "W_in" in m else into
        into = into + m["b"] if "b" in m else into
        out = out + m["W_out"].sum(axis=0) if "W_out" in m else out
        return np.array([into, out])
    depth = sum(name.endswith("weight") for name in w)
    into = [m[f"fc{i}.weight"].sum(axis=1) + m.get(f"fc{i}.bias", 0.0) for i in range(1, depth)]
    out = [m[f"fc{i}.weight"].sum(axis=0) for i in range(2, depth + 1)]
    return np.array([np.concatenate(into), np.concatenate(out)])


def raw_imbalance(network: Network, marginal: Any, degree: float = 1.0) -> float:
    """max |in − c·out|/(in + c·out), the definition."""
    into, out = sides(network, marginal)
    return float(np.max(np.abs(into - degree * out) / (into + degree * out), initial=0.0))


def balanced_by_scipy(network: Network, marginal: Any, degree: float = 1.0) -> dict[str, Array]:
    """The balanced weights of a multilayer perceptron, as the root of log in = log(c·out) by SciPy."""
    shapes = {k: v.shape for k, v in raw(network).items()}
    depth = sum(name.endswith("weight") for name in shapes)
    widths = [shapes[f"fc{i}.weight"][0] for i in range(1, depth)]

    def scaled(h: Array) -> Network:
        parts = np.split(h, np.cumsum(widths)[:-1])
        above = [*parts, np.zeros(shapes[f"fc{depth}.weight"][0])]
        below = [np.zeros(shapes["fc1.weight"][1]), *parts]
        new: dict[str, Array] = {}
        for i, (a, b) in enumerate(zip(above, below, strict=True), start=1):
            name = f"fc{i}.weight"
            new[name] = network.numbers(name) * np.exp(a[:, None] - degree * b[None, :])
            if f"fc{i}.bias" in shapes:
                new[f"fc{i}.bias"] = network.numbers(f"fc{i}.bias") * np.exp(a)
        return network.with_parameters(new)

    def residual(h: Array) -> Array:
        into, out = sides(scaled(h), marginal)
        return np.log(into) - np.log(degree * out)

    found = root(residual, np.zeros(sum(widths)), method="hybr", tol=1e-14)
    assert np.max(np.abs(residual(found.x))) < 1e-11, found.message
    return raw(scaled(found.x))


def same_weights(got: Network, expected: Network | dict[str, Array], rtol: float = 1e-10) -> None:
    target = expected if isinstance(expected, dict) else raw(expected)
    for name, value in raw(got).items():
        np.testing.assert_allclose(value, target[name], rtol=rtol, atol=0, err_msg=name)


def at(problem: BalanceProblem, h: Array) -> Network:
    return problem.manifold.rescale(h)


def two_degrees() -> Network:
    """One state that feeds back through a unit of degree 2 and one of degree 1/2; nothing is visible.

    Rows of A over (s, z1, z2), by hand: a: z1 − s, b: s − 2·z1, c: z2 − s, d: s − z2/2. Around the two
    cycles the degrees differ, so no scale can drift; (2, 1, 1, 2) is a circulation.
    """
    return load(
        {
            "states": {"s": {"shape": [1], "next": "t"}},
            "parameters": {"a": [[1.5]], "b": [[0.5]], "c": [[3.0]], "d": [[0.25]]},
            "operations": [
                {"kind": "linear", "inputs": ["s", "a"], "output": "z1"},
                {"kind": "activation", "function": "Max(x,0)**2", "inputs": ["z1"], "output": "u1"},
                {"kind": "linear", "inputs": ["u1", "b"], "output": "y1"},
                {"kind": "linear", "inputs": ["s", "c"], "output": "z2"},
                {"kind": "activation", "function": "Max(x,0)**(1/2)", "inputs": ["z2"], "output": "u2"},
                {"kind": "linear", "inputs": ["u2", "d"], "output": "y2"},
                {"kind": "add", "inputs": ["y1", "y2"], "output": "t"},
            ],
            "outputs": [],
        }
    )


def optimum(
    problem: BalanceProblem, start: Array, keep: set[int], digits: int = 50, correct: int | None = None
) -> list[mpmath.mpf]:
    """The balanced state by Newton's method on the definition of F in ``digits``; ``keep`` stays put.

    ``correct`` digits are wanted, by default all but ten.
    """
    rows = problem.A.toarray()
    moving = [k for k in range(problem.count) if problem.active[k] and k not in keep]
    with mpmath.workdps(digits):
        powers = [
            (i, *(mpmath.mpf(str(sympy.N(x, digits + 10))) for x in (a, p)))
            for regularizer, part in problem.groups
            for a, p in regularizer.terms or ()
            for i in range(part.start, part.stop)
        ]
        h = [mpmath.mpf(float(x)) for x in start]
        for _ in range(400):
            g, H = mpmath.matrix(len(moving), 1), mpmath.matrix(len(moving), len(moving))
            for i, a, p in powers:
                row = [mpmath.mpf(float(rows[i, k])) for k in range(problem.count)]
                log = sum((c * x for c, x in zip(row, h, strict=True) if c), mpmath.mpf(0))
                omega = a * mpmath.mpf(float(problem.weights[i])) ** p * mpmath.exp(p * log)
                for m, k in enumerate(moving):
                    if row[k]:
                        g[m] += p * row[k] * omega
                        for n, j in enumerate(moving):
                            H[m, n] += p * p * row[k] * row[j] * omega
            move = mpmath.lu_solve(H, -g)
            size = max(abs(x) for x in move)
            for m, k in enumerate(moving):
                h[k] += move[m] / max(1, size)
            if size < mpmath.mpf(10) ** -(correct or digits - 10):
                return h
    raise AssertionError("Newton did not converge")
