"""Balance as quantisation tools have it: the largest weight into each unit is as large as the largest out.

Cross-layer equalisation (Nagel, van Baalen, Blankevoort, Welling, *Data-free quantization through weight
equalization and bias correction*, 2019, Section 4.1) makes the ranges of both sides of a channel equal. The
range is the largest |w|, or the largest less the smallest weight. Neither is a sum over the weights: there
is balance, unit by unit, and no cost of the network to be optimal for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import networkx as nx
import numpy as np

from balproof.balance.problem import Costs
from balproof.network.graph import Network
from balproof.network.manifold import Block, Manifold, infer

Array = np.ndarray

KINDS = ("max", "range")


@dataclass(frozen=True)
class Extremes:
    """``max``: the largest |w| of a side; ``range``: the largest less the smallest weight of a tensor.

    ``bias_cost=False`` leaves biases out, as most tools do. (Alone, a bias has the range 0.)
    """

    kind: Literal["max", "range"]
    bias_cost: bool = True

    @property
    def name(self) -> str:
        return self.kind if self.bias_cost else f"{self.kind}, biases without cost"


Asked = Costs | Extremes
"""What balance is asked for."""


def asked(specs: Asked | str | Sequence[str], *, bias_cost: bool = True) -> Asked:
    """Read ``max`` or ``range``, or what `Costs.parse` reads.

    Raises ExpressionError and RegularizerError as that does.

    >>> asked("max", bias_cost=False).name, asked(["l1"]).name
    ('max, biases without cost', 'l1')
    """
    if isinstance(specs, Costs | Extremes):
        return specs
    texts = [specs] if isinstance(specs, str) else list(specs)
    word = texts[0].strip().lower() if len(texts) == 1 else ""
    if word == "max" or word == "range":
        return Extremes(word, bias_cost)
    return Costs.parse(texts, bias_cost=bias_cost)


def sides(manifold: Manifold, extremes: Extremes) -> tuple[Array, Array]:
    """Of each scale, the extreme of the weights that lead in, and of those that lead out.

    A weight that a scale leaves as it is, of a unit to itself, is on neither side.

    >>> from balproof.importers import load
    >>> net = load({"J": [[5.0, 3.0], [-2.0, 0.0]], "W_in": [[1.0], [4.0]], "W_out": [[1.0, 1.0]]})
    >>> [x.tolist() for x in sides(infer(net), Extremes("max"))]
    [[3.0, 4.0], [2.0, 3.0]]
    """
    found = np.zeros((2, manifold.count))
    for block in manifold.blocks:
        tensor = manifold.network.tensors[block.name]
        if tensor.buffer or (not extremes.bias_cost and block.name in manifold.network.biases):
            continue
        weights = manifold.network.numbers(block.name).reshape(block.shape)
        np.maximum(found, _of_block(manifold, block, weights, extremes.kind), out=found)
    return found[0], found[1]


def _of_block(manifold: Manifold, block: Block, weights: Array, kind: str) -> Array:
    count = manifold.count
    top, low = np.full((2, count), -np.inf), np.full((2, count), np.inf)
    columns = [{k for form in t.forms for k, _ in form} for t in block.terms]
    if sum(map(len, columns)) > len(set[int]().union(*columns)):  # a self-loop may cancel: entry by entry
        rows = manifold.entries(block, np.arange(weights.size)).tocoo()
        flat, side = weights.ravel()[rows.row], (rows.data < 0).astype(int)
        np.maximum.at(top, (side, rows.col), flat)
        np.minimum.at(low, (side, rows.col), flat)
    else:
        for term in block.terms:
            alike = tuple(a for a, n in enumerate(term.sizes) if n == 1)
            high, deep = (f(weights, axis=alike, keepdims=True) for f in (np.max, np.min))
            for values, of, into in ((high, np.maximum, top), (deep, np.minimum, low)):
                slices = np.full(len(term.forms), -np.inf if into is top else np.inf)
                of.at(slices, term.index.ravel(), values.ravel())
                for value, form in zip(slices, term.forms, strict=True):
                    for k, c in form:
                        side = int(c < 0)
                        into[side, k] = of(into[side, k], value)
    some = np.isfinite(top)
    size = np.maximum(np.abs(top), np.abs(low)) if kind == "max" else top - low
    return np.where(some, size, 0.0)


def feeds_back(manifold: Manifold) -> bool:
    """Whether some layer's scale can come back to itself: then there may be several states in balance.

    (Two of them in a network without a way back would differ most at some unit. Its largest weight in comes
    from a unit where they differ as much, and so on, back to an input, where they do not differ.)

    >>> from balproof.importers import load
    >>> feeds_back(infer(load("tests/data/chain.json"))), feeds_back(infer(load(np.eye(2))))
    (False, True)
    """
    graph = nx.DiGraph()
    names = [name.rsplit("[", 1)[0] for name in manifold.names]
    for block in manifold.blocks:
        ends: tuple[set[str], set[str]] = (set(), set())
        for term in block.terms:
            for form in term.forms:
                for k, c in form:
                    ends[int(c > 0)].add(names[k])
        graph.add_edges_from((a, b) for a in ends[0] for b in ends[1])
    return not nx.is_directed_acyclic_graph(graph)


def equalized(network: Network, extremes: Extremes, *, sweeps: int = 1000) -> Network:
    """A state in balance, found unit by unit: for small networks.

    >>> from balproof.importers import load
    >>> net = equalized(load("tests/data/chain.json"), Extremes("max"))
    >>> into, out = sides(infer(net), Extremes("max"))
    >>> bool(np.allclose(into, out, rtol=1e-12))
    True
    """
    import dataclasses

    manifold, state = infer(network), network
    degrees = {u.column: float(u.degree) for u in manifold.units if u.free and u.degree is not None}
    for _ in range(sweeps):
        moved = 0.0
        for k in range(manifold.count):
            into, out = (x[k] for x in sides(dataclasses.replace(manifold, network=state), extremes))
            if into > 0 and out > 0 and k not in manifold.endless:
                h = np.zeros(manifold.count)
                h[k] = np.log(out / into) / (1 + degrees.get(k, 1.0))
                moved = max(moved, abs(float(h[k])))
                state = dataclasses.replace(manifold, network=state).rescale(h)
        if moved < 1e-13:
            break
    return state
