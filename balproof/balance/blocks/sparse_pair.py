"""A sparse matrix of weights with its two sides: `balproof.balance.blocks.pairs` for a list of entries.

The costs |w|^p are formed once, one double for each entry; a read goes over them row by row. The sweep over
units that feed themselves is that of `balproof.balance.blocks.kernels.loop`, over the entries that there are.
"""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from balproof.balance.blocks.kernels import take_turn
from balproof.balance.blocks.pairs import Extremes, Pair, Side
from balproof.network.forms import Forms
from balproof.network.graph import Tensor
from balproof.network.manifold import Block
from balproof.network.places import Places

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class SparsePair(Pair):
    """Entry k costs ``factor``·``costs[k]`` and stands in row ``places.rows[k]``; ``weights`` is a list too.

    A line of the matrix that has no entry is left out of ``places`` where units feed themselves.
    """

    places: Places
    costs: Array

    @property
    def full(self) -> bool:
        return False

    @property
    def fused(self) -> bool:
        return self.loop

    @cached_property
    def lengths(self) -> tuple[int, int]:
        """As `Pair.lengths`."""
        rows, columns = (np.bincount(x).max(initial=0) for x in (self.places.rows, self.places.columns))
        return int(rows) + 1, int(columns) + 1

    @cached_property
    def joined(self) -> tuple[Array, Array, int]:
        """As `Pair.joined`: the parts of the matrix that no entry ties together."""
        m, n = self.places.shape
        i, j = self.support()
        graph = sparse.coo_array((np.ones(len(i), bool), (i, m + j)), (m + n, m + n))
        count, part = connected_components(graph, directed=False)
        return part[:m], part[m:], int(count)

    @cached_property
    def fixed(self) -> float:
        """The cost of the weights of units to themselves, without ``factor``; 0 where none do."""
        own = self.places.rows == self.places.columns
        return float(self.costs[own].sum()) if self.loop else 0.0

    def support(self) -> tuple[Array, Array]:
        """Rows and columns of the costs that are not 0, less the diagonal of a block that feeds itself."""
        i, j = self.places.rows, self.places.columns
        kept = (self.costs > 0) & ((i != j) if self.loop else True)
        return i[kept], j[kept]

    def costs_at(self, i: Array, j: Array) -> Array:
        """|w|^p of these places, 0 where there is no entry."""
        wanted, key = i * self.places.shape[1] + j, self.places.key
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        return np.where(key[at] == wanted, self.costs[at], 0.0)

    def read(self, e: Array, y: Array) -> tuple[Array, Array]:
        """As `Pair.read`."""
        rows, columns = np.zeros(len(e)), np.zeros(len(y))
        _read(self.places.starts, self.places.columns, self.costs, e, y, self.loop, rows, columns)
        return rows, columns

    def survey(self, e: Array, y: Array) -> tuple[Array, Array, Extremes, Array | None]:
        """As `Pair.survey`."""
        size = np.abs(self.weights).reshape(-1)
        kind = np.dtype(f"u{size.dtype.itemsize}")
        bits, zeros = size.view(kind), int(np.count_nonzero(size == 0))
        least = int(bits[bits > 0].min(initial=np.iinfo(kind).max)) - 1
        found = Extremes(least, int(bits.max(initial=0)), zeros)
        if self.loop:
            rows, columns, after = self.read_loop(e, y)
            return rows, columns, found, after
        return *self.read(e, y), found, None

    def read_loop(
        self,
        e: Array,
        y: Array,
        step: tuple[Array, Array, Array, Array, Array] | None = None,
        seen: list[Extremes] | None = None,
    ) -> tuple[Array, Array, Array]:
        """As `Pair.read_loop`, where nothing is looked for."""
        assert seen is None
        n = len(e)
        into, out, inverse, h, after = step or (np.zeros(n),) * 5
        rows, before, columns = np.zeros(n), np.zeros(n), np.zeros(n)
        sign = float(self.rows.coefficient[0])
        matrix = (self.places.starts, self.places.columns, self.costs)
        about = (self.power, self.power * self.factor, into, out, inverse, sign, h)
        _loop(*matrix, e, y, *about, after, before, rows, columns)
        return rows, columns + before, columns


def sparse_pair(block: Block, tensor: Tensor, power: float, factor: float) -> SparsePair | None:
    """The pair of a sparse matrix; None where a line has several scales, or only some units feed themselves.

    Also where a unit feeds itself by a degree other than 1.
    """
    places = tensor.places
    assert places is not None and tensor.value is not None
    found = _sides(block, places)
    if found is None:
        return None
    rows, columns = found
    weights = np.ascontiguousarray(tensor.value, tensor.value.dtype.newbyteorder("="))
    costs = np.abs(weights.astype(np.float64))
    with np.errstate(over="ignore"):  # what no double holds is refused by who asked, or solved in another way
        costs = costs * costs if power == 2 else costs**power
    if np.intersect1d(rows.scales, columns.scales).size:
        closed = _closed(rows, columns, places)
        if closed is None:
            return None
        rows, columns, places = closed
    return SparsePair(
        tensor.name, weights.reshape(-1, 1, 1), 1, power, factor, 0, np.zeros(1), rows, columns, places, costs
    )


def _sides(block: Block, places: Places) -> tuple[Side, Side] | None:
    """The terms of a block as vectors along rows and columns."""
    sides: list[Side | None] = [None, None]
    for term in block.terms:
        each = Side.of(term.forms, np.arange(len(term.forms))) if not Forms.of(term.forms).others else None
        if each is None:
            return None
        unit, coefficient = (v[term.index.ravel()] for v in (each.unit, each.coefficient))
        for s, (line, size) in enumerate(zip((places.rows, places.columns), places.shape, strict=True)):
            if sides[s] is not None:
                continue
            made = Side(np.full(size, -1), np.zeros(size))
            made.unit[line], made.coefficient[line] = unit, coefficient
            if np.array_equal(made.unit[line], unit) and np.array_equal(made.coefficient[line], coefficient):
                sides[s] = made
                break
        else:
            return None
    rows, columns = (s or Side.none(n) for s, n in zip(sides, places.shape, strict=True))
    return rows, columns


def _closed(rows: Side, columns: Side, places: Places) -> tuple[Side, Side, Places] | None:
    """Sides of units that feed themselves, row i and column i one unit, of opposite signs; None if not so."""
    if places.shape[0] != places.shape[1]:
        return None
    lines = np.flatnonzero((rows.unit >= 0) | (columns.unit >= 0))
    used = np.union1d(places.rows, places.columns)
    unit = np.where(rows.unit >= 0, rows.unit, columns.unit)[lines]
    c = np.where(rows.unit >= 0, rows.coefficient, -columns.coefficient)[lines]
    for side, sign in ((rows, 1), (columns, -1)):
        there = side.unit[lines] >= 0
        if np.any(side.unit[lines][there] != unit[there]):
            return None
        if np.any(side.coefficient[lines][there] != sign * c[there]):
            return None
    if len(lines) != len(used) or len(np.unique(unit)) < len(unit) or np.any(c != c[0]):
        return None
    new = np.cumsum(np.isin(np.arange(len(rows.unit)), lines)) - 1
    kept = Places((len(lines), len(lines)), new[places.rows], new[places.columns])
    return Side(unit, c), Side(unit, -c), kept


@njit(nogil=True, cache=True)
def _read(starts, places, costs, e, y, loop, rows, columns):
    """Sums of rows with factors y and of columns with factors e; without the diagonal where ``loop``."""
    for i in range(len(rows)):
        total, scale = 0.0, e[i]
        for k in range(starts[i], starts[i + 1]):
            j = places[k]
            if loop and j == i:
                continue
            total += costs[k] * y[j]
            columns[j] += scale * costs[k]
        rows[i] = total


@njit(nogil=True, cache=True)
def _loop(
    starts, places, costs, e, y, power, factor, into, out, inverse, sign, h, after, before, rows, columns
):
    """As `balproof.balance.blocks.kernels.loop`."""
    for i in range(len(rows)):
        total = 0.0
        for k in range(starts[i], starts[i + 1]):
            if places[k] != i:
                total += costs[k] * y[places[k]]
        rows[i] = total
        take_turn(i, total, after[i] + before[i], power, factor, e, y, into, out, inverse, sign, h)
        for k in range(starts[i], starts[i + 1]):
            j = places[k]
            if j < i:
                columns[j] += e[i] * costs[k]
            elif j > i:
                before[j] += e[i] * costs[k]
