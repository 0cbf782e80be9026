"""Networks as graphs of single units, differentiated by hand in exact or floating arithmetic.

Nothing here uses the package's own rules or differentiation: it is what they are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from balproof.importers.json_file import from_document
from balproof.network.graph import Network

Edge = tuple[str, str]
Sample = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The values of the inputs, and the targets of the outputs."""


@dataclass(frozen=True)
class Graph:
    """Units in topological order, with an edge (from, to) for each weight.

    ``hidden`` units act by C·z^degree for z ≥ 0 and D·(−z)^degree below; the others are inputs (of which
    one may be the constant ``one``) and outputs, which add up.
    """

    order: tuple[str, ...]
    edges: tuple[Edge, ...]
    hidden: tuple[str, ...]
    degree: int = 1
    C: Fraction = Fraction(1)
    D: Fraction = Fraction(0)

    @property
    def inputs(self) -> tuple[str, ...]:
        receiving = {v for _, v in self.edges}
        return tuple(v for v in self.order if v not in receiving)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(v for v in self.order if v not in self.hidden and v not in self.inputs)

    def incidence(self) -> list[list[int]]:
        """B: for each hidden unit a row, +1 for the edges into it and −1 for those out of it."""
        return [[int(v == k) - int(u == k) for u, v in self.edges] for k in self.hidden]


def dense(sizes: Sequence[int], *, biased: bool = False, degree: int = 1) -> Graph:
    """Layers of these sizes, each joined to the next; ``biased`` adds the constant ``one`` to hidden units.

    >>> len(dense((2, 3, 1)).edges), dense((2, 3, 1), biased=True).inputs
    (9, ('one', 'u0_0', 'u0_1'))
    """
    layers = [[f"u{k}_{i}" for i in range(n)] for k, n in enumerate(sizes)]
    edges = [(u, v) for a, b in pairwise(layers) for v in b for u in a]
    hidden = [v for layer in layers[1:-1] for v in layer]
    one = ["one"] if biased else []
    edges += [("one", v) for v in hidden] if biased else []
    return Graph((*one, *(v for layer in layers for v in layer)), tuple(edges), tuple(hidden), degree)


def random_dag(rng: np.random.Generator, hidden: int, D: Fraction = Fraction(0)) -> Graph:
    """Two inputs, a constant, hidden units in a random order of any connections, and two outputs."""
    middle = [f"h{i}" for i in range(hidden)]
    order = ["one", "x0", "x1", *middle, "y0", "y1"]
    allowed = [(u, v) for u, v in combinations(order, 2) if v not in order[:3] and u not in order[-2:]]
    kept = {e for e in allowed if rng.random() < 0.5}
    for i, k in enumerate(middle):  # each has something to receive and to send
        kept.add((order[int(rng.integers(0, 3 + i))], k))
        kept.add((k, (middle[i + 1 :] + order[-2:])[int(rng.integers(0, hidden - i + 1))]))
    kept |= {("x0", "y0"), ("x1", "y1")}
    return Graph(tuple(order), tuple(e for e in allowed if e in kept), tuple(middle), D=D)


def gradient(graph: Graph, weights: Mapping[Edge, Any], samples: Sequence[Sample]) -> dict[Edge, Any]:
    """∂E/∂w of E = ½Σ|y − t|² over the samples, by back-propagation; at z = 0 the derivative from above.

    >>> g = gradient(dense((1, 1, 1)), {("u0_0", "u1_0"): 2, ("u1_0", "u2_0"): 3}, [({"u0_0": 1}, {})])
    >>> [int(v) for v in g.values()]
    [18, 12]
    """
    total: dict[Edge, Any] = dict.fromkeys(graph.edges, 0)
    for given, targets in samples:
        value, slope = _run(graph, weights, given)
        back: dict[str, Any] = {}
        for v in reversed(graph.order):
            out = sum(weights[e] * back[e[1]] for e in graph.edges if e[0] == v)
            own = value[v] - targets.get(v, 0) if v in graph.outputs else 0
            back[v] = slope[v] * (out + own)
        for u, v in graph.edges:
            total[u, v] += value[u] * back[v]
    return total


def error(graph: Graph, weights: Mapping[Edge, Any], samples: Sequence[Sample]) -> Any:
    """E = ½Σ|y − t|²."""
    runs = [(_run(graph, weights, given)[0], targets) for given, targets in samples]
    return sum((value[y] - targets.get(y, 0)) ** 2 for value, targets in runs for y in graph.outputs) / 2


def _run(
    graph: Graph, weights: Mapping[Edge, Any], given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    value: dict[str, Any] = {v: given.get(v, 1) for v in graph.inputs}
    slope: dict[str, Any] = dict.fromkeys(graph.order, 1)
    c = graph.degree
    for v in graph.order:
        if v in value:
            continue
        z = sum(weights[e] * value[e[0]] for e in graph.edges if e[1] == v)
        value[v] = z
        if v in graph.hidden:
            value[v] = graph.C * z**c if z >= 0 else graph.D * (-z) ** c
            slope[v] = graph.C * c * z ** (c - 1) if z >= 0 else -graph.D * c * (-z) ** (c - 1)
    return value, slope


def ratio(rng: np.random.Generator) -> Fraction:
    """A small fraction other than 0."""
    return Fraction(int(rng.choice([-1, 1])) * int(rng.integers(1, 12)), int(rng.integers(1, 8)))


def random_weights(graph: Graph, rng: np.random.Generator) -> dict[Edge, Fraction]:
    return {e: ratio(rng) for e in graph.edges}


def random_samples(graph: Graph, rng: np.random.Generator, count: int = 3) -> list[Sample]:
    return [
        ({v: ratio(rng) for v in graph.inputs if v != "one"}, {v: ratio(rng) for v in graph.outputs})
        for _ in range(count)
    ]


def products(rows: Sequence[Sequence[int]], values: Sequence[Any]) -> list[Any]:
    """A matrix times a vector.

    >>> products([[1, -1]], [Fraction(3), Fraction(5)])
    [Fraction(-2, 1)]
    """
    return [sum(c * v for c, v in zip(row, values, strict=True)) for row in rows]


def as_network(graph: Graph, weights: Mapping[Edge, Any], activation: str = "relu") -> Network:
    """The graph as a network of the package: a 1×1 weight for each edge, and sums."""
    name: Callable[[Edge], str] = lambda e: f"{e[0]}>{e[1]}"  # noqa: E731
    operations: list[dict[str, Any]] = []
    for v in graph.order:
        terms = [name(e) + "." for e in graph.edges if e[1] == v]
        for e in graph.edges:
            if e[1] == v:
                operations.append({"kind": "linear", "inputs": [e[0], name(e)], "output": name(e) + "."})
        last = terms[0] if terms else v
        for i, term in enumerate(terms[1:]):
            operations.append({"kind": "add", "inputs": [last, term], "output": f"{v}+{i}"})
            last = f"{v}+{i}"
        if terms:
            kind = (
                {"kind": "activation", "function": activation} if v in graph.hidden else {"kind": "identity"}
            )
            operations.append({**kind, "inputs": [last], "output": v})
    return from_document(
        {
            "inputs": {v: [1] for v in graph.inputs},
            "parameters": {name(e): [[str(weights[e])]] for e in graph.edges},
            "operations": operations,
            "outputs": list(graph.outputs),
        }
    )
