"""The family of instances on which campaigns run: architectures × activations × regularizers × seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from balproof.balance.problem import BalanceProblem
from balproof.importers.json_file import from_document
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer
from balproof.theorems.instances import recurrent

Array = np.ndarray

DEGREE_ONE: tuple[str, ...] = ("relu", "leaky_relu", "abs(x)", "Max(x,0)+x/10")
ACTIVATIONS: tuple[str, ...] = (*DEGREE_ONE, "Max(x,0)**2")
ONE_POWER: tuple[str, ...] = ("l2", "l1", "lp:1.5", "lp:0.5")
POWERS: tuple[str, ...] = (*ONE_POWER, "abs(w)+w**2/10")
REGULARIZERS: tuple[str, ...] = (*POWERS, "log(1+w**2)", "sqrt(w**2+1)-1")


@dataclass(frozen=True)
class Instance:
    """One network of the family, with its cost; everything random comes from ``seed``."""

    architecture: str
    activation: str
    regularizer: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in files and messages: ``layered relu l2 7``."""
        return f"{self.architecture} {self.activation} {self.regularizer} {self.seed}"

    @staticmethod
    def of(key: str) -> Instance:
        """The instance of this name.

        Raises ValueError for a text that names none.

        >>> Instance.of("layered relu l2 7").seed
        7
        """
        architecture, activation, regularizer, seed = key.split(" ")
        known = architecture in ARCHITECTURES and activation in ACTIVATIONS and regularizer in REGULARIZERS
        if not (known and seed.isdecimal()):
            raise ValueError(key)
        return Instance(architecture, activation, regularizer, int(seed))

    def rng(self, purpose: str = "") -> np.random.Generator:
        """Random numbers for a purpose of their own: what is drawn for one does not change another."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    @cached_property
    def network(self) -> Network:
        return ARCHITECTURES[self.architecture](self.rng("network"), self.activation)

    @cached_property
    def manifold(self) -> Manifold:
        return infer(self.network)

    @cached_property
    def problem(self) -> BalanceProblem:
        return BalanceProblem.build(self.manifold, self.regularizer)


@dataclass(frozen=True)
class Family:
    """All combinations of these, each met equally often, with a seed of its own every time."""

    architectures: tuple[str, ...]
    activations: tuple[str, ...] = ACTIVATIONS
    regularizers: tuple[str, ...] = POWERS

    def instances(self, samples: int) -> list[Instance]:
        """The first ``samples`` of the family; more samples begin with the same ones.

        >>> family = Family(("layered", "deep"), ("relu",), ("l2", "l1"))
        >>> sorted(i.key.rsplit(" ", 1)[0] for i in family.instances(4))
        ['deep relu l1', 'deep relu l2', 'layered relu l1', 'layered relu l2']
        """
        combinations = [
            (a, f, r)
            for a in self.architectures
            for f in (("relu",) if a in _MATRICES else self.activations)
            for r in self.regularizers
        ]
        order: list[int] = np.random.default_rng(0).permutation(len(combinations)).tolist()
        found: list[Instance] = []
        for i in range(samples):
            architecture, activation, regularizer = combinations[order[i % len(order)]]
            found.append(Instance(architecture, activation, regularizer, i))
        return found

    @property
    def text(self) -> str:
        """In words, for the evidence."""
        activations = self.activations if {*self.architectures} - {*_MATRICES} else ("relu",)
        lists = {
            "architecture": self.architectures,
            "activation": activations,
            "regularizer": self.regularizers,
        }
        parts = [
            f"{len(values)} {what}s ({', '.join(values)})" if len(values) > 1 else "".join(values)
            for what, values in lists.items()
        ]
        return " × ".join(parts)


# --- architectures ------------------------------------------------------------------------------------


class _Builder:
    """A network in the JSON form, as it grows; weights are signs times e^N(0, 1)."""

    def __init__(self, rng: np.random.Generator, activation: str, inputs: tuple[int, ...]) -> None:
        self.rng, self.activation = rng, activation
        self.document: dict[str, Any] = {"inputs": {"x": list(inputs)}, "parameters": {}, "operations": []}

    def weights(self, name: str, shape: Sequence[int], keep: float = 1.0) -> str:
        drawn = self.rng.choice([-1.0, 1.0], shape) * np.exp(self.rng.standard_normal(shape))
        drawn = np.where(self.rng.random(shape) < keep, drawn, 0.0)
        self.document["parameters"][name] = drawn.tolist()
        return name

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        result = f"t{len(self.document['operations'])}"
        self.document["operations"].append(
            {"kind": kind, "inputs": list(inputs), "output": result, **attributes}
        )
        return result

    def linear(self, x: str, name: str, rows: int, columns: int, *, bias: bool, keep: float = 1.0) -> str:
        y = self.op("linear", [x, self.weights(name, (rows, columns), keep)])
        return self.op("bias", [y, self.weights(f"{name}.bias", (rows,))]) if bias else y

    def unit(self, x: str) -> str:
        return self.op("activation", [x], function=self.activation)

    def finish(self, y: str) -> Network:
        return from_document({**self.document, "outputs": [y]})


def _stack(rng: np.random.Generator, activation: str, sizes: Sequence[int], keep: float = 1.0) -> Network:
    b = _Builder(rng, activation, (sizes[0],))
    biased, x = bool(rng.integers(2)), "x"
    for k, (n, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = k == len(sizes) - 2
        x = b.linear(x, f"W{k}", m, n, bias=biased and not last, keep=keep)
        x = x if last else b.unit(x)
    return b.finish(x)


def _layered(rng: np.random.Generator, activation: str) -> Network:
    return _stack(rng, activation, rng.integers(1, 5, rng.integers(3, 6)).tolist())


def _unit(rng: np.random.Generator, activation: str) -> Network:
    n, m = rng.integers(1, 6, 2).tolist()
    return _stack(rng, activation, (n, 1, m))


def _sparse(rng: np.random.Generator, activation: str) -> Network:
    return _stack(rng, activation, rng.integers(2, 5, rng.integers(3, 6)).tolist(), 0.6)


def _deep(rng: np.random.Generator, activation: str) -> Network:
    return _stack(rng, activation, rng.integers(1, 3, rng.integers(7, 10)).tolist())


def _residual(rng: np.random.Generator, activation: str) -> Network:
    n, inner = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    b = _Builder(rng, activation, (2,))
    stream = b.linear("x", "W", n, 2, bias=False)
    for k in range(int(rng.integers(1, 3))):
        inside = b.unit(b.linear(stream, f"U{k}", inner, n, bias=True))
        stream = b.op("add", [stream, b.linear(inside, f"V{k}", n, inner, bias=False)])
    return b.finish(b.linear(stream, "O", 2, n, bias=True))


def _skip(rng: np.random.Generator, activation: str) -> Network:
    n, m = rng.integers(1, 4, 2).tolist()
    b = _Builder(rng, activation, (2,))
    first = b.unit(b.linear("x", "U", n, 2, bias=True))
    second = b.unit(b.linear(first, "V", m, n, bias=True))
    joined = b.op("add", [b.linear(second, "W", 1, m, bias=False), b.linear(first, "S", 1, n, bias=False)])
    return b.finish(joined)


def _tied(rng: np.random.Generator, activation: str) -> Network:
    n = int(rng.integers(1, 4))
    b = _Builder(rng, activation, (n,))
    x = b.unit(b.linear("x", "I", n, n, bias=True))
    W = b.weights("W", (n, n))
    for _ in range(2):
        x = b.unit(b.op("linear", [x, W]))
    return b.finish(b.linear(x, "O", 1, n, bias=False))


def _convolution(rng: np.random.Generator, activation: str) -> Network:
    c, d = rng.integers(1, 4, 2).tolist()
    b = _Builder(rng, activation, (1, 8))
    y = b.op("bias", [b.op("conv", ["x", b.weights("K", (c, 1, 3))]), b.weights("K.bias", (c,))], axis=1)
    y = b.unit(b.op("conv", [b.unit(y), b.weights("L", (d, c, 2))]))
    return b.finish(b.op("conv", [y, b.weights("M", (1, d, 2))]))


def _recurrent(rng: np.random.Generator, activation: str) -> Network:
    n = int(rng.integers(1, 6))
    keep = rng.random((n, n)) < 0.7
    J = rng.choice([-1.0, 1.0], (n, n)) * np.exp(rng.standard_normal((n, n))) * keep
    return recurrent(
        J.tolist(),
        W_in=np.exp(rng.standard_normal((n, 2))),
        b=rng.standard_normal(n),
        W_out=rng.standard_normal((2, n)),
    )


def _closed(rng: np.random.Generator, activation: str) -> Network:
    """A matrix alone, without visible units; every weight lies on a cycle."""
    return recurrent(strongly_connected(rng, int(rng.integers(2, 7))).tolist())


def strongly_connected(rng: np.random.Generator, n: int) -> Array:
    """A random matrix whose nonzero entries are a cycle through all of n units, and more."""
    kept = rng.random((n, n)) < rng.choice([0.2, 0.5, 0.9])
    around = rng.permutation(n)
    kept[np.roll(around, -1), around] = True
    np.fill_diagonal(kept, 0)
    return np.where(kept, rng.choice([-1.0, 1.0], (n, n)) * np.exp(rng.standard_normal((n, n))), 0.0)


ARCHITECTURES: dict[str, Callable[[np.random.Generator, str], Network]] = {
    "unit": _unit,
    "layered": _layered,
    "sparse": _sparse,
    "deep": _deep,
    "residual": _residual,
    "skip": _skip,
    "tied": _tied,
    "convolution": _convolution,
    "recurrent": _recurrent,
    "closed": _closed,
}
"""Random networks, small enough for a second way of computing whatever a claim says of them."""

_MATRICES = ("recurrent", "closed")
"""Given as matrices, a form that knows ReLU alone."""

FEEDFORWARD: tuple[str, ...] = ("layered", "deep", "residual", "skip", "tied", "convolution")
ATTAINED: tuple[str, ...] = (*FEEDFORWARD, "recurrent", "closed")
