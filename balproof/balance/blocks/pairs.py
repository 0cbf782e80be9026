"""A block of weights with its two sides: the sums of its costs along rows and columns, in one read.

A block whose log-scales are R + S, one vector along its rows and one along its columns, costs
Σ K_rs·exp(p(R_r + S_s)) with K = a|w|^p summed over the axes that do not matter (a convolution's kernel).
Everything is done from exp(pR)∘(K exp(pS)) and exp(pS)∘(Kᵀ exp(pR)), and the weights stay where they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
from numba import get_num_threads

from balproof.balance.blocks import kernels
from balproof.network.equations import Form
from balproof.network.forms import Forms
from balproof.network.manifold import Axes, Block

Array = np.ndarray

_THREADED = 1_500_000
"""Blocks of fewer weights are read before a second thread has started."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two vectors of a block: entry i has the log-scale ``coefficient[i]``·h[``unit[i]``].

    The unit of an entry without a scale is −1, and its coefficient 0.
    """

    unit: Array
    coefficient: Array

    @staticmethod
    def of(forms: Sequence[Form], index: Array) -> Side:
        """Entry i has the form ``forms[index[i]]``, of at most one scale."""
        if not forms:
            return Side.none(len(index))
        each = Forms.of(forms)
        coefficient = each.floats
        coefficient[each.scale < 0] = 0.0
        return Side(each.scale[index], coefficient[index])

    @staticmethod
    def none(size: int) -> Side:
        """That of entries without scales."""
        return Side(np.full(size, -1), np.zeros(size))

    @cached_property
    def run(self) -> tuple[slice, float] | None:
        """The scales as a slice and their coefficient, where they are one run of units of one coefficient."""
        if not kernels.is_run(self.unit, self.coefficient):
            return None
        first = int(self.unit[0])
        return slice(first, first + len(self.unit)), float(self.coefficient[0])

    @cached_property
    def scales(self) -> Array:
        """The scales of this side, in ascending order."""
        if self.run is not None:
            return self.unit
        return np.unique(self.unit[self.unit >= 0])

    @cached_property
    def once(self) -> bool:
        """Whether no scale is on this side twice."""
        return len(self.scales) == np.count_nonzero(self.unit >= 0)

    @property
    def still(self) -> bool:
        """Whether no entry has a scale."""
        return self.run is None and not np.any(self.unit >= 0)

    def meets(self, other: Side) -> bool:
        """Whether the two sides have a scale in common."""
        if self.still or other.still:
            return False
        if self.run is not None and other.run is not None:
            (a, _), (b, _) = self.run, other.run
            return a.start < b.stop and b.start < a.stop
        return bool(np.intersect1d(self.scales, other.scales).size)

    def moves(self, active: Array) -> Array:
        """Which entries have a scale that is marked in ``active``."""
        found = self.unit >= 0
        found[found] = active[self.unit[found]]
        return found

    def logs(self, h: Array) -> Array:
        """The log-scale of every entry."""
        return self.coefficient * h[self.unit] if len(h) else np.zeros(len(self.unit))

    def factor(self, h: Array, power: float) -> Array:
        """exp(power·log-scale) of every entry."""
        if self.run is not None:
            where, coefficient = self.run
            return np.exp((power * coefficient) * h[where])
        return np.exp(power * self.logs(h))

    def add(self, marginal: Array, into: Array, out: Array) -> None:
        """Add |coefficient|·marginal to what comes into the scales, or goes out where it is negative."""
        if self.run is not None:
            where, coefficient = self.run
            (into if coefficient > 0 else out)[where] += abs(coefficient) * marginal
            return
        weighted, place = self.coefficient * marginal, np.where(self.unit < 0, len(into), self.unit)
        for sign, total in ((1, into), (-1, out)):
            part = np.maximum(sign * weighted, 0)
            total += np.bincount(place, part, len(into) + 1)[:-1]

    def signed(self, sign: float) -> Side:
        """The same with all coefficients of this sign."""
        return replace(self, coefficient=sign * np.abs(self.coefficient))

    def over(self, values: Array, count: int) -> Array:
        """Σ over the entries of each scale."""
        if self.run is not None:
            total = np.zeros(count)
            total[self.run[0]] = values
            return total
        return np.bincount(np.where(self.unit < 0, count, self.unit), values, count + 1)[:-1]


@dataclass(frozen=True)
class Extremes:
    """Of weights as bits without sign: the least that is not 0, less 1, the greatest, the number of zeros."""

    least: int
    most: int
    zeros: int

    def sizes(self, pair: Pair) -> tuple[float, float]:
        """The least |w| > 0 and the greatest |w|: of no weights but zeros (0, 0)."""
        kind = pair.weights.dtype
        if not self.most:
            return 0.0, 0.0
        bits = np.array([self.least + 1, self.most], dtype=f"u{kind.itemsize}")
        if kind.kind == "u":  # 16 bits: by their costs
            found = np.asarray(pair.table[bits] ** (1 / pair.power))
            return float(found[0]), float(found[1])
        least, most = bits.view(kind).astype(np.float64).tolist()
        return least, most

    @staticmethod
    def join(parts: Sequence[Extremes]) -> Extremes:
        """Those of several arrays of one type."""
        least, most = min(p.least for p in parts), max(p.most for p in parts)
        return Extremes(least, most, sum(p.zeros for p in parts))


@dataclass(frozen=True, eq=False)
class Pair:
    """A block (groups·rows, columns, kernel) of weights with its two sides, rows first.

    A weight costs ``factor``·|w|^``power``, in which ``mode`` (`balproof.balance.blocks.kernels`) says how.
    """

    name: str
    weights: Array
    groups: int
    power: float
    factor: float
    mode: int
    table: Array
    rows: Side
    columns: Side

    @property
    def size(self) -> int:
        """How many weights a read of the block reads."""
        return self.weights.size

    def costs_of(self, weights: Array) -> Array:
        """|w|^p of some of its weights, as they are stored."""
        return (
            self.table[weights] if self.mode == kernels.TABLE else np.abs(weights, dtype=float) ** self.power
        )

    @cached_property
    def lengths(self) -> tuple[int, int]:
        """How many weights the sums of a row and of a column have at most, counting one kernel once."""
        count, columns, kernel = self.weights.shape
        return columns + kernel, count // self.groups + kernel

    @cached_property
    def joined(self) -> tuple[Array, Array, int]:
        """Of rows and of columns, which of so many parts each is in: no weight joins two parts."""
        sizes = (len(side.unit) for _, side in self.sides())
        rows, columns = (np.arange(n) // max(1, n // self.groups) for n in sizes)
        return rows, columns, self.groups

    @cached_property
    def fixed(self) -> float:
        """The cost of the weights of units to themselves, without ``factor``: 0 where none do.

        No scale changes it, and no sum has it.
        """
        if not self.loop:
            return 0.0
        return float(self.costs_of(np.einsum("iik->ik", self.weights)).sum())

    def costs_at(self, i: Array, j: Array) -> Array:
        """|w|^p in these rows and columns of their group, summed over the kernel."""
        return self.costs_of(self.weights[i, j]).sum(axis=1)

    @property
    def full(self) -> bool:
        """Whether it has a weight for every row and column."""
        return True

    def sides(self) -> Iterator[tuple[int, Side]]:
        yield 0, self.rows
        yield 1, self.columns

    def factors(self, h: Array) -> tuple[Array, Array]:
        """Those of both sides at h."""
        return self.rows.factor(h, self.power), self.columns.factor(h, self.power)

    @cached_property
    def alike(self) -> Array | None:
        """The weights as an array of the one type that `kernels.visit_all` makes; None if not in one piece.

        It is writeable, though nothing here writes, so that loops are compiled once for both.
        """
        flags = self.weights.flags
        if not (flags.c_contiguous and flags.aligned and self.weights.size):
            return None
        address = self.weights.__array_interface__["data"][0]
        memory = (ctypes.c_char * self.weights.nbytes).from_address(address)
        return np.frombuffer(memoryview(memory), self.weights.dtype).reshape(self.weights.shape)

    @property
    def fused(self) -> bool:
        """Whether `step` is there."""
        return True

    @cached_property
    def loop(self) -> bool:
        """Whether both sides have the same scales: row i and column i are one unit, of opposite signs."""
        return self.rows.meets(self.columns)

    def read(self, e: Array, y: Array) -> tuple[Array, Array]:
        """Σ_j K_ij·y_j of every row and Σ_i e_i·K_ij of every column, without ``factor``, in one read."""
        if self.loop:
            return self.read_loop(e, y)[:2]
        rows = np.zeros(len(self.weights))
        return rows, self._read(e, y, rows)

    def step(
        self, e: Array, y: Array, into: Array, out: Array, inverse: Array, h: Array
    ) -> tuple[Array, Array]:
        """`read`, where every row is balanced between the two sums: changes ``e`` and ``h``, of its rows.

        A row moves by log(out/into)·``inverse``, with what the block itself adds to ``into`` or ``out``.
        """
        rows = np.zeros(len(self.weights))
        return rows, self._read(e, y, rows, (into, out, inverse, h))

    def survey(self, e: Array, y: Array) -> tuple[Array, Array, Extremes, Array | None]:
        """`read`, and how far apart the weights are, in the same read; of a loop what a sweep starts from."""
        seen: list[Extremes] = []
        if self.loop:
            rows, columns, after = self.read_loop(e, y, seen=seen)
            return rows, columns, Extremes.join(seen), after
        rows = np.zeros(len(self.weights))
        columns = self._read(e, y, rows, seen=seen)
        return rows, columns, Extremes.join(seen), None

    def _read(
        self,
        e: Array,
        y: Array,
        rows: Array,
        step: tuple[Array, Array, Array, Array] | None = None,
        seen: list[Extremes] | None = None,
    ) -> Array:
        count, columns = self.weights.shape[:2]
        r = count // self.groups
        none = np.zeros(0)
        into, out, inverse, h = step or (none, none, none, none)
        common = (self.power, self.power * self.factor, into, out, inverse, self.rows.coefficient, h, rows)
        squares = self.mode == kernels.SQUARE and self.weights.shape[2] == 1
        weights = self.weights if self.alike is None else self.alike
        bits, moves = _bits(weights), step is not None

        def part(lo: int, hi: int) -> Array:
            total, found = np.zeros(self.groups * columns), _blank(seen)
            if squares:
                kernels.read_squares(weights[:, :, 0], bits, found, r, e, y, lo, hi, moves, *common, total)
            else:
                form = (moves, self.mode, self.table)
                kernels.read_costs(weights, bits, found, r, e, y, lo, hi, *form, *common, total)
            if seen is not None:
                seen.append(Extremes(*found.tolist()))
            return total

        return in_parts(part, count, self.size)

    def read_loop(
        self,
        e: Array,
        y: Array,
        step: tuple[Array, Array, Array, Array, Array] | None = None,
        seen: list[Extremes] | None = None,
    ) -> tuple[Array, Array, Array]:
        """`read` of a block whose units feed themselves, and what a cyclic sweep starts from there.

        ``step`` is (into, out, inverse, h, after): every unit is balanced in its turn, in place, with what
        the last one left as ``after``. Turns are taken by one thread; where nothing moves, all threads read.
        """
        n = len(self.weights)
        into, out, inverse, h, after = step or (np.zeros(n),) * 5
        rows, before = np.zeros(n), np.zeros(n)
        sign, bits, flat = float(self.rows.coefficient[0]), _bits(self.weights), self.weights[:, :, 0]
        form = (step is not None, self.mode, self.table, self.power, self.power * self.factor)

        def part(lo: int, hi: int) -> Array:
            columns, found = np.zeros(n), _blank(seen)
            units = (e, y if step else y.copy(), into, out, inverse, sign, h, after)
            kernels.loop(self.weights, flat, bits, found, lo, hi, *form, *units, rows, before, columns)
            if seen is not None:
                seen.append(Extremes(*found.tolist()))
            sums = np.zeros((2, n))  # of rows that come later than a unit, and earlier
            sums[0, :hi], sums[1, hi:] = columns[:hi], columns[hi:]
            return sums

        later, earlier = part(0, n) if step else in_parts(part, n, self.size)
        return rows, before + earlier + later, later


def _bits(weights: Array) -> Array:
    """Weights as integers (rows, parts, entries), the parts as long as they lie in one piece."""
    found = weights.view(f"u{weights.dtype.itemsize}")
    if found.flags.c_contiguous:
        return found.reshape(len(found), 1, -1)
    return found.transpose(0, 2, 1) if found.shape[2] == 1 else found


def _blank(seen: list[Extremes] | None) -> Array:
    """What a kernel starts its search for `Extremes` from: nothing, where it is not to look."""
    return np.array([] if seen is None else [np.iinfo(np.uint64).max, 0, 0], dtype=np.uint64)


_TEAM: ContextVar[Executor | None] = ContextVar("_TEAM", default=None)


@contextmanager
def team() -> Generator[None]:
    """Reads inside share threads: starting some for each read takes longer than to read a million weights."""
    if _TEAM.get() is not None or get_num_threads() == 1:
        yield
        return
    with ThreadPoolExecutor(get_num_threads() - 1) as pool:
        token = _TEAM.set(pool)
        try:
            yield
        finally:
            _TEAM.reset(token)


def is_threaded(size: int) -> bool:
    """Whether a block of so many weights is read by several threads."""
    return size >= _THREADED and get_num_threads() > 1


def in_parts(part: Callable[[int, int], Array], count: int, size: int) -> Array:
    """Σ of ``part(lo, hi)`` over ranges of the rows, one for each thread where the block is large."""
    if not is_threaded(size):
        return part(0, count)
    threads = get_num_threads()
    with team():
        pool = _TEAM.get()
        assert pool is not None
        ends = [count * t // threads for t in range(threads + 1)]
        others = [pool.submit(part, lo, hi) for lo, hi in pairwise(ends[1:])]
        total = part(0, ends[1])
        for other in others:
            total += other.result()
    return total


@dataclass(frozen=True)
class Layout:
    """How a block becomes (groups·rows, columns, kernel): its axes in ``order``, with these sizes."""

    order: tuple[int, ...]
    sizes: tuple[int, int, int, int]
    rows: Side
    columns: Side


def layout(block: Block) -> Layout | None:
    """Axes along which both sides change first, then those of the rows, then those of the columns.

    Rows are what is further apart in memory. None where a weight has two scales on one side, or one of them
    twice, other than on the diagonal of a block whose units feed themselves.
    """
    if len(block.terms) > 2 or any(Forms.of(t.forms).others for t in block.terms):
        return None
    axes = range(len(block.shape))
    terms: list[tuple[Axes | None, list[int]]] = [
        (t, [a for a, n in enumerate(t.index.shape) if n > 1]) for t in block.terms
    ]
    terms.sort(key=lambda found: found[1][0] if found[1] else len(axes))
    none = (None, list[int]())
    (first, own), (second, other) = (*terms, none, none)[:2]
    both, left, right = (
        [a for a in own if a in other],
        [a for a in own if a not in other],
        [a for a in other if a not in own],
    )
    alike = [a for a in axes if a not in own and a not in other]
    if second is None and not own:
        right, alike = alike, list[int]()
    elif second is None and min(alike, default=len(axes)) < min(own):
        first, second, left, right, alike = None, first, alike, left, list[int]()
    g, r, c, k = (prod(block.shape[a] for a in part) for part in (both, left, right, alike))
    order = (*both, *left, *right, *alike)
    rows, columns = _side(first, order, g * r), _side(second, order, g * c)
    made = Layout(order, (g, r, c, k), rows, columns)
    if rows.meets(columns) and not _loops(made):
        return None
    return made


def _loops(made: Layout) -> bool:
    """Whether row i and column i are the same unit, with opposite coefficients, and no unit comes twice."""
    a, b = made.rows, made.columns
    return (
        made.sizes[0] == 1
        and np.array_equal(a.unit, b.unit)
        and np.array_equal(a.coefficient, -b.coefficient)
        and len(np.unique(a.coefficient)) == 1
        and a.once
        and bool(np.all(a.unit >= 0))
    )


def _side(term: Axes | None, order: Sequence[int], size: int) -> Side:
    if term is None:
        return Side.none(size)
    index = term.index.transpose(order).ravel()
    assert index.size == size
    return Side.of(term.forms, index)


def pair_of(
    name: str, value: Array, shape: tuple[int, ...], made: Layout, power: float, factor: float
) -> Pair:
    """The block of an array of float64, float32, float16, or of the bits of bfloat16 (as uint16).

    The array is not copied, unless its axes cannot be put together otherwise.
    """
    g, r, c, k = made.sizes
    view = value.view(np.ndarray).reshape(shape).transpose(made.order)
    weights = view.reshape(g * r, c, k)
    table = np.zeros(1)
    if weights.dtype.itemsize == 2:
        table = kernels.table("bfloat16" if weights.dtype.kind == "u" else "float16", power)
        weights = weights.view(np.uint16)
    weights = weights.view()
    weights.flags.writeable = False  # one type for the compiler, and nothing here writes
    return Pair(
        name, weights, g, power, factor, kernels.mode_of(power, weights.dtype), table, made.rows, made.columns
    )
