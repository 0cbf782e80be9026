"""Reverse-mode differentiation over any ring with nilpotents: R[ε₀, ε₁, …] with each ε_i² = 0.

A *jet* is {set of ε's as a bit mask: array}, without the parts that are 0. Operations are linear, bilinear
or a function of single entries, so each derivative is written once, and holds for jets of any order: a
gradient at θ + ε·v has the directional derivative of the gradient as its ε-part.

Axis 0 of every array is a sample axis, of length 1 where all samples agree. It is never summed over: each
sample has a gradient of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from math import factorial
from operator import or_

import numpy as np

from balproof.conservation.ring import Ring

Array = np.ndarray
Jet = Mapping[int, Array]
Linear = Callable[[Array], Array]
Bilinear = Callable[[Array, Array], Array]


@dataclass(eq=False)
class Node:
    """A value on the tape; ``moved`` says whether it depends on a parameter."""

    jet: Jet
    shape: tuple[int, ...]
    moved: bool
    parents: tuple[tuple[Node, Callable[[Jet], Jet]], ...] = ()
    order: int = 0


def fitted(value: Array, shape: Sequence[int], ring: Ring) -> Array:
    """Sum over the axes along which an operand of this shape was repeated, all but the sample axis."""
    extra = value.ndim - len(shape)
    if extra:  # the axes that broadcasting put after the sample axis
        value = ring.sum(value, tuple(range(1, extra + 1)))
        value = value.reshape(value.shape[0], *value.shape[extra + 1 :])
    axes = tuple(a for a in range(1, len(shape)) if shape[a] == 1 and value.shape[a] != 1)
    return ring.sum(value, axes) if axes else value


class Tape:
    """Values in the order in which they were computed, and how to go back from each."""

    def __init__(self, ring: Ring, order: int | None = None) -> None:
        self.ring = ring
        self.order = order
        """Products of more ε's than this are dropped: 1 for many tangents side by side."""
        self.nodes: list[Node] = []

    def put(
        self, jet: Jet, moved: bool = False, parents: Sequence[tuple[Node, Callable[[Jet], Jet]]] = ()
    ) -> Node:
        shape = next(iter(jet.values())).shape
        kept = tuple((n, back) for n, back in parents if n.moved)
        node = Node(jet, shape, moved or bool(kept), kept, len(self.nodes))
        self.nodes.append(node)
        return node

    def linear(self, x: Node, forth: Linear, back: Linear) -> Node:
        """y = L x, with the transpose of L."""
        jet = {m: forth(v) for m, v in x.jet.items()}
        return self.put(jet, False, [(x, lambda g: {m: back(v) for m, v in g.items()})])

    def bilinear(self, a: Node, b: Node, forth: Bilinear, to_a: Bilinear, to_b: Bilinear) -> Node:
        """y = B(a, b); ``to_a(g, b)`` and ``to_b(g, a)`` are its transposes."""
        jet = self._convolve(a.jet, b.jet, forth)
        return self.put(
            jet,
            False,
            [
                (a, lambda g: self._convolve(g, b.jet, to_a)),
                (b, lambda g: self._convolve(g, a.jet, to_b)),
            ],
        )

    def _convolve(self, a: Jet, b: Jet, product: Bilinear) -> Jet:
        total: dict[int, Array] = {}
        for m, u in a.items():
            for n, v in b.items():
                if not m & n and (self.order is None or (m | n).bit_count() <= self.order):
                    part = product(u, v)
                    total[m | n] = self.ring.add(total[m | n], part) if m | n in total else part
        return total

    # --- sums and products ---------------------------------------------------------------------------

    def add(self, a: Node, b: Node) -> Node:
        a, b = self._same_rank(a, b)
        shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
        jet: dict[int, Array] = {m: _spread(v, shape) for m, v in a.jet.items()}
        for m, v in b.jet.items():
            jet[m] = self.ring.add(jet[m], v) if m in jet else _spread(v, shape)
        return self.put(jet, False, [(n, self._fit(n)) for n in (a, b)])

    def multiply(self, a: Node, b: Node) -> Node:
        """Entry by entry, with broadcasting from the last axis."""
        a, b = self._same_rank(a, b)
        times, ring = self.ring.multiply, self.ring
        return self.bilinear(
            a,
            b,
            times,
            lambda g, v: fitted(times(g, v), a.shape, ring),
            lambda g, v: fitted(times(g, v), b.shape, ring),
        )

    def times(self, x: Node, factor: Array) -> Node:
        """x times numbers of the ring that no parameter moves."""
        return self.multiply(x, self.put({0: factor}))

    def matmul(self, a: Node, b: Node) -> Node:
        """Matrix products over the last two axes."""
        a, b = self._same_rank(a, b)
        ring = self.ring
        return self.bilinear(
            a,
            b,
            ring.matmul,
            lambda g, v: fitted(ring.matmul(g, v.swapaxes(-1, -2)), a.shape, ring),
            lambda g, v: fitted(ring.matmul(v.swapaxes(-1, -2), g), b.shape, ring),
        )

    def sum(self, x: Node, axes: tuple[int, ...]) -> Node:
        """Sums along axes, which stay with length 1."""
        return self.linear(
            x,
            lambda v: self.ring.sum(v, axes),
            lambda g: np.broadcast_to(g, (g.shape[0], *x.shape[1:])),
        )

    def _fit(self, node: Node) -> Callable[[Jet], Jet]:
        return lambda g: {m: fitted(v, node.shape, self.ring) for m, v in g.items()}

    def _same_rank(self, a: Node, b: Node) -> tuple[Node, Node]:
        n = max(len(a.shape), len(b.shape))
        return self._widened(a, n), self._widened(b, n)

    def _widened(self, x: Node, ndim: int) -> Node:
        missing = ndim - len(x.shape)
        return self.reshape(x, (1,) * missing + x.shape[1:]) if missing else x

    # --- moving entries about ------------------------------------------------------------------------

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """Other axes after the sample axis."""
        return self.linear(
            x,
            lambda v: v.reshape(v.shape[0], *shape),
            lambda g: g.reshape(g.shape[0], *x.shape[1:]),
        )

    def transpose(self, x: Node, perm: Sequence[int]) -> Node:
        """The axes after the sample axis, counted from 0, in another order."""
        order = (0, *(a + 1 for a in perm))
        inverse = tuple(int(a) for a in np.argsort(order))
        return self.linear(x, lambda v: v.transpose(order), lambda g: g.transpose(inverse))

    def gather(self, x: Node, index: Array) -> Node:
        """y[…] = x.flat[index[…]] for every sample, and 0 where the index is −1."""
        size = int(np.prod(x.shape[1:], dtype=np.int64))
        take = _Gather(index, size)
        return self.linear(x, take.forth, lambda g: take.back(g, self.ring).reshape(g.shape[0], *x.shape[1:]))

    def concat(self, parts: Sequence[Node]) -> Node:
        """All entries of all parts, one part after the other, on one axis."""
        sizes = [int(np.prod(p.shape[1:], dtype=np.int64)) for p in parts]
        starts = [0, *np.cumsum(sizes).tolist()]
        samples = max(v.shape[0] for p in parts for v in p.jet.values())
        masks = sorted({m for p in parts for m in p.jet})

        def flat(part: Node, mask: int, size: int) -> Array:
            zero = self.ring.constant(np.zeros((1, 1), np.int64))
            value = part.jet.get(mask)
            found = np.broadcast_to(zero, (1, size)) if value is None else value.reshape(value.shape[0], size)
            return np.broadcast_to(found, (samples, size))

        jet = {m: np.concatenate([flat(p, m, n) for p, n in zip(parts, sizes)], axis=1) for m in masks}

        def back(part: Node, start: int, stop: int) -> Callable[[Jet], Jet]:
            return lambda g: {m: v[:, start:stop].reshape(-1, *part.shape[1:]) for m, v in g.items()}

        spans = zip(parts, starts[:-1], starts[1:])
        return self.put(jet, False, [(p, back(p, a, b)) for p, a, b in spans])

    # --- functions of single entries -----------------------------------------------------------------

    def unary(self, x: Node, derivatives: Callable[[int, Array], Array]) -> Node:
        """y = f(x) entry by entry; ``derivatives(k, x)`` is f⁽ᵏ⁾. By Taylor, since ε's are nilpotent."""
        base = x.jet[0]
        found: dict[int, Array] = {}

        def derivative(k: int) -> Array:
            if k not in found:
                found[k] = derivatives(k, base)
            return found[k]

        moved = {m: v for m, v in x.jet.items() if m}
        powers: list[Jet] = [{}]  # (x − base)^k / k! for k from 1
        order = reduce(or_, moved, 0).bit_count()
        order = order if self.order is None else min(order, self.order)
        current: Jet = moved
        for k in range(1, order + 1):
            scale = self.ring.constant(np.array(Fraction(1, factorial(k)), dtype=object))
            powers.append({m: self.ring.multiply(v, scale) for m, v in current.items()} if k > 1 else current)
            current = self._convolve(current, moved, self.ring.multiply)

        def series(shift: int) -> Jet:
            jet: dict[int, Array] = {0: derivative(shift)}
            for k in range(1, order + 1):
                for m, v in powers[k].items():
                    part = self.ring.multiply(derivative(shift + k), v)
                    jet[m] = self.ring.add(jet[m], part) if m in jet else part
            return jet

        slope: list[Jet] = []

        def back(g: Jet) -> Jet:
            if not slope:
                slope.append(series(1))
            return self._convolve(g, slope[0], self.ring.multiply)

        return self.put(series(0), False, [(x, back)])

    # --- going back ----------------------------------------------------------------------------------

    def gradients(self, seeds: Sequence[tuple[Node, Array]], wanted: Sequence[Node]) -> list[Jet]:
        """The gradient of Σ ⟨seed, node⟩ in each wanted node, one for each sample."""
        found: dict[Node, Jet] = {}
        for node, seed in seeds:
            self._collect(found, node, {0: seed})
        for node in reversed(self.nodes):
            if node.parents and (g := found.get(node)):
                for parent, back in node.parents:
                    self._collect(found, parent, back(g))
        return [found.get(node, {}) for node in wanted]

    def _collect(self, found: dict[Node, Jet], node: Node, part: Jet) -> None:
        if not node.moved:
            return
        old = found.get(node)
        if old is None:
            found[node] = part
        else:
            total = dict(old)
            for m, v in part.items():
                total[m] = self.ring.add(total[m], v) if m in total else v
            found[node] = total


class _Gather:
    """A linear map that takes entries by position, and its transpose."""

    def __init__(self, index: Array, size: int) -> None:
        self.index, self.size = index, size
        self.padded = bool((index < 0).any())

    def forth(self, v: Array) -> Array:
        flat = v.reshape(v.shape[0], -1)
        if self.padded:  # the entry at −1, the last
            zero = np.zeros((v.shape[0], 1), dtype=v.dtype)
            flat = np.concatenate([flat, zero], axis=1)
        return flat[:, self.index]

    @cached_property
    def layers(self) -> list[tuple[Array, Array]]:
        """(positions of y, entries of x), in each of which no entry of x occurs twice."""
        flat = self.index.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[flat[order] >= 0]
        entries = flat[order]
        first = np.searchsorted(entries, entries, side="left")
        turn = np.arange(len(entries)) - first
        return [(order[turn == t], entries[turn == t]) for t in range(int(turn.max(initial=-1)) + 1)]

    def back(self, g: Array, ring: Ring) -> Array:
        flat = g.reshape(g.shape[0], -1)
        total = np.zeros((g.shape[0], self.size), dtype=g.dtype)
        for positions, entries in self.layers:
            total[:, entries] = ring.add(total[:, entries], flat[:, positions])
        return total


def _spread(value: Array, shape: Sequence[int]) -> Array:
    return np.broadcast_to(value, (value.shape[0], *shape))
