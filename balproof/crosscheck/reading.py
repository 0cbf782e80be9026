"""One read of a large block of both networks: what the audit asks of its weights, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from balproof.crosscheck.factors import Scale
from balproof.network.forms import Forms
from balproof.network.graph import Numbers
from balproof.network.manifold import Axes, Block

Array = np.ndarray

NARROW = 16
"""Rows of fewer entries are not worth a compiled loop over each of them."""

_FAR = 2.0**400
"""Factors below this, and above its inverse, take no weight of single precision out of the normal range of
doubles."""


@dataclass(frozen=True, eq=False)
class Read:
    """A block in which every entry is its old value times the factors of its slices, up to ``worst``.

    ``factors`` and ``sums`` have an entry for each slice of each term, and ``indices`` say which entries of
    the block are in which: what it is multiplied by, and Σ|w'|^p of its weights, where ``power`` is p;
    ``total`` is that of all. ``worst`` is relative, and computed; of 0 over 0 it is 0.
    """

    worst: float
    indices: tuple[Array, ...]
    factors: tuple[Array, ...]
    sums: tuple[Array, ...]
    total: float
    power: float | None


def plain(value: Array) -> bool:
    """Whether compiled loops read an array: single precision, row after row.

    >>> plain(np.zeros((2, 3), np.float32)), plain(np.zeros((2, 3)))
    (True, False)
    """
    return value.dtype == np.float32 and value.flags.c_contiguous and value.flags.aligned


def read(
    block: Block,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    scale: Scale,
    limit: float,
    power: float | None = None,
) -> Read | None:
    """None for a block that is not of this kind, and where an entry is further off than ``limit``.

    Both sides must hold it in single precision, with its rows and its columns as they lie in memory.
    """
    from balproof.crosscheck.kernels import compare  # Numba takes a while, and small networks do without

    old, new = (Numbers.held(side, block.name) for side in (before, after))
    layout = _layout(block)
    if layout is None or not (plain(old) and plain(new)):
        return None
    factors = tuple(scale.factors(Forms.of(t.forms)) for t in block.terms)
    if any(not (f.min() > 1 / _FAR and f.max() < _FAR) for f in factors):
        return None
    view = layout.view(block.shape)
    spread: list[Array] = []
    for term, size, shape in layout.sides(block.shape):
        own = np.ones((1,) * len(shape)) if term is None else factors[term][block.terms[term].index]
        spread.append(np.ascontiguousarray(np.broadcast_to(own, shape).reshape(size)))
    rows, columns = spread
    sums = np.zeros_like(rows), np.zeros_like(columns)
    counted = power if power in (1.0, 2.0) else None
    worst = compare(
        old.reshape(view), new.reshape(view), rows, columns, counted or 0.0, limit, sums[0], sums[1]
    )
    if not worst <= limit:
        return None
    found = [np.zeros(0)] * len(factors)
    for (term, _, shape), own in zip(layout.sides(block.shape), sums, strict=True):
        if term is not None and counted is not None:
            found[term] = slices(block.terms[term], own.reshape(shape))
    indices = tuple(t.index for t in block.terms)
    return Read(float(worst), indices, factors, tuple(found), float(sums[0].sum()), counted)


def slices(term: Axes, sums: Array) -> Array:
    """Sums over places as sums over the slices of a term."""
    alike = tuple(a for a, n in enumerate(term.index.shape) if n == 1)
    own = sums.sum(axis=alike, keepdims=True)
    return np.bincount(term.index.ravel(), own.ravel(), len(term.forms))


@dataclass(frozen=True)
class _Layout:
    """The axes of a block as (groups, rows, columns): those before ``groups``, before ``rows``, and the rest.

    The factors of the term ``first`` depend on groups and rows alone, those of ``second`` on groups and
    columns.
    """

    groups: int
    rows: int
    first: int | None
    second: int | None

    def view(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        return prod(shape[: self.groups]), prod(shape[self.groups : self.rows]), prod(shape[self.rows :])

    def sides(self, shape: tuple[int, ...]) -> Iterator[tuple[int | None, tuple[int, int], tuple[int, ...]]]:
        """The term, the groups and entries, and the axes of rows and of columns."""
        g, r, c = self.view(shape)
        n = len(shape)
        yield self.first, (g, r), (*shape[: self.rows], *(1,) * (n - self.rows))
        between = (1,) * (self.rows - self.groups)
        yield self.second, (g, c), (*shape[: self.groups], *between, *shape[self.rows :])


def _layout(block: Block) -> _Layout | None:
    """That with the longest rows; None where there is none, or rows are `NARROW`."""
    shape = block.shape
    varying = [{a for a, n in enumerate(t.index.shape) if n > 1} for t in block.terms]
    pairs = {0: [(None, None)], 1: [(0, None), (None, 0)], 2: [(0, 1), (1, 0)]}.get(len(varying), [])
    best: _Layout | None = None
    for first, second in pairs:
        below = varying[second] if second is not None else set[int]()
        rows = max(varying[first], default=0) + 1 if first is not None else min(below, default=1)
        groups = max((a + 1 for a in below if a < rows), default=0)
        width = prod(shape[rows:])
        if rows and width >= NARROW and (best is None or width > prod(shape[best.rows :])):
            best = _Layout(groups, rows, first, second)
    return best
