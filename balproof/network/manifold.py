"""The scaling manifold of a network: log-scales of the weights L = A h, exact and as row and column sums.

A is never formed for solving: the log-scale of a weight tensor is a sum of one vector per axis, so
``apply`` broadcasts and ``adjoint`` sums. Both, the exact rows and the sparse matrix say the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from math import lcm
from typing import Literal

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree

from balproof.network.equations import Equation, ExactSolution, combine, solve_equations
from balproof.network.forms import Form, Forms
from balproof.network.graph import Network, Nonzero, Operation, parts
from balproof.network.peeling import dead_scales
from balproof.network.rules import implication
from balproof.network.rules_elementwise import exact_degree
from balproof.network.scales import (
    ONE,
    ParameterScale,
    Scales,
    Term,
    Variables,
    corner_entries,
    equal,
    parameter_uses,
    pin,
)
from balproof.network.unseen import unseen_biases

Array = np.ndarray


Support = Array | tuple[Array, ...] | Literal[True]
"""Where a parameter is not 0: of each entry, of each slice of each term, or everywhere."""

_ENDLESS = "degree {} ≤ 0, so no finite scale is optimal and solve leaves it out"

UNSEEN = "no output sees this bias, so no finite scale is optimal and solve leaves it out"


@dataclass(frozen=True)
class Unit:
    """A scale of the network, free or blocked.

    ``size`` counts the neurons (or channels) that share it, ``degree`` is that of the activation behind
    it, ``column`` its position in h if it is free, and ``why`` says what blocks it, or what frees it.
    """

    name: str
    size: int
    degree: Fraction | None
    free: bool
    why: str
    column: int | None

    def as_json(self) -> dict[str, object]:
        degree = None if self.degree is None else str(self.degree)
        return {"name": self.name, "size": self.size, "degree": degree, "free": self.free, "why": self.why}


@dataclass(frozen=True, eq=False)
class Axes:
    """One term of a block: ``forms[index]``, an exact form for each entry that the index broadcasts to.

    The axes of ``index`` are those of the block's view, of length 1 where the term does not change.
    """

    index: Array
    forms: Sequence[Form]

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.index.shape

    def matrix(self, count: int) -> sparse.csr_array:
        """The forms in floating point, one row each over ``count`` scales; not to be changed."""
        if count not in self._matrices:
            self._matrices[count] = Forms.of(self.forms).matrix(count)
        return self._matrices[count]

    @cached_property
    def _matrices(self) -> dict[int, sparse.csr_array]:
        """Kept, since a manifold shares its terms with those of the same network with other weights."""
        return {}


@dataclass(frozen=True, eq=False)
class Block:
    """The log-scales of one parameter, in the view ``shape``: the sum of its terms.

    A dense layer has two, one that changes along the rows and one along the columns; a bias has one. A
    parameter that cannot scale has none.
    """

    name: str
    shape: tuple[int, ...]
    terms: tuple[Axes, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def row(self, flat: int) -> Form:
        """The exact row of A of one entry (row-major position)."""
        return next(self.rows(np.array([flat])))

    def rows(self, flat: Array) -> Iterator[Form]:
        """The exact rows of A of these entries."""
        at = np.unravel_index(flat, self.shape)
        ids = [_pick(t.index, at).tolist() for t in self.terms]
        forms = [t.forms for t in self.terms]
        for places in zip(*ids, strict=True) if ids else (() for _ in flat):
            parts = [form for own, i in zip(forms, places, strict=True) if (form := own[i])]
            terms = dict(term for form in parts for term in form)
            if len(terms) == sum(map(len, parts)):  # most rows: no sum to be made
                yield tuple(sorted(terms.items()))
            else:
                yield combine((form, ONE) for form in parts)


def _pick(index: Array, at: Sequence[Array]) -> Array:
    return index[tuple(i if n > 1 else np.zeros_like(i) for i, n in zip(at, index.shape, strict=True))]


@dataclass(frozen=True, eq=False)
class Manifold:
    """All rescalings of a network that its scaling rules allow.

    ``count`` is the length of h. Where h ↦ A h is not injective (a network without visible units, say)
    ``free_scales``, the rank of A, is smaller.
    """

    network: Network
    blocks: tuple[Block, ...]
    names: tuple[str, ...]
    describe: Callable[[], tuple[Unit, ...]]

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """What is known of each scale, and of those that are blocked: made when it is first asked for."""
        return self.describe()

    @property
    def count(self) -> int:
        return len(self.names)

    @cached_property
    def groups(self) -> Array:
        """For every scale the number of its layer: units of one layer share their name up to the bracket.

        >>> from balproof.importers import load
        >>> infer(load("tests/data/chain.json")).groups.tolist()
        [0, 1]
        """
        stems = [name.rsplit("[", 1)[0] for name in self.names]
        number = {stem: i for i, stem in enumerate(dict.fromkeys(stems))}
        return np.array([number[stem] for stem in stems], dtype=int)

    @cached_property
    def free_scales(self) -> int:
        """The dimension of the manifold, restricted to the parameters: the rank of A."""
        return self.rank()

    @cached_property
    def _maps(self) -> dict[str, list[tuple[Array, sparse.csr_array]]]:
        """Per parameter and term: the index, and the forms as a sparse matrix."""
        return {b.name: [(t.index, t.matrix(self.count)) for t in b.terms] for b in self.blocks}

    def apply(self, h: Array) -> dict[str, Array]:
        """L = A h: the log-scales of every parameter, each in the shape of the parameter.

        ``h`` has length ``count``.
        """
        return {block.name: self.logs(block, h) for block in self.blocks}

    def logs(self, block: Block, h: Array) -> Array:
        """Those of one parameter."""
        whole = tuple(slice(0, n) for n in block.shape)
        return _sum(self._vectors(block, h), whole).reshape(self.network.tensors[block.name].shape)

    def _vectors(self, block: Block, h: Array) -> list[tuple[Array, Array]]:
        """Of each term: which slice an entry is in, and the log-scales of the slices."""
        return [(index, matrix @ h) for index, matrix in self._maps[block.name]]

    def scaled(self, block: Block, h: Array, powers: Array | None = None) -> Iterator[tuple[slice, Array]]:
        """w·2^(A powers)·exp(A h) of one parameter in float64, piece by piece: ranges of entries, and the
        numbers there. ``powers`` are multiples of `whole`, by default 0.

        >>> from balproof.importers import load
        >>> manifold = infer(load("tests/data/chain.json"))
        >>> [numbers.tolist() for _, numbers in manifold.scaled(manifold.blocks[0], np.log([2.0, 1.0]))]
        [[1.0]]
        """
        if not block.terms:
            yield from self.network.pieces(block.name)
            return
        flat, vectors = self.network.flat(block.name), self._vectors(block, h)
        exponents = None if powers is None else _whole_vectors(block, powers)
        # A factor of its own would leave the range of doubles.
        far = sum(float(np.max(np.abs(v), initial=0.0)) for _, v in vectors) > _LARGEST_LOG
        for here, part in parts(block.shape):
            factor, old = _sum(vectors, part).reshape(-1), flat[here].astype(np.float64, copy=False)
            if exponents is not None or far:
                moved = 0 if exponents is None else _sum(exponents, part, np.int64).reshape(-1)
                yield here, _scaled_by(old, factor, moved)
                continue
            np.exp(factor, out=factor)
            yield here, np.multiply(factor, old, out=factor)

    def maps(self, name: str) -> list[tuple[Array, sparse.csr_array]]:
        """Of each term of a parameter, which slice an entry is in, and the forms of slices as a matrix."""
        return self._maps[name]

    def adjoint(self, m: Mapping[str, Array]) -> Array:
        """Aᵀ m for one array per parameter (missing ones count as 0): row and column sums."""
        total = np.zeros(self.count)
        for block in self.blocks:
            if block.name not in m:
                continue
            values = np.asarray(m[block.name], dtype=np.float64).reshape(block.shape)
            for index, matrix in self._transposed[block.name]:
                alike = tuple(a for a, n in enumerate(index.shape) if n == 1)
                sums = values.sum(axis=alike, keepdims=True)
                total += matrix @ np.bincount(index.ravel(), sums.ravel(), matrix.shape[1])
        return total

    @cached_property
    def _transposed(self) -> dict[str, list[tuple[Array, sparse.csc_array]]]:
        """`_maps` with transposed matrices: SciPy takes longer to make one than to multiply by it."""
        return {name: [(index, m.T) for index, m in maps] for name, maps in self._maps.items()}

    def rows(self, support: Mapping[str, Array] | None = None) -> Iterator[tuple[str, int, Form]]:
        """The exact rows of A: (parameter, row-major position, form), all or those where support is true."""
        for block in self.blocks:
            keep = None if support is None else np.asarray(support[block.name]).ravel()
            chosen = np.arange(int(np.prod(block.shape))) if keep is None else np.flatnonzero(keep)
            yield from ((block.name, int(i), row) for i, row in zip(chosen, block.rows(chosen), strict=True))

    def matrix(self, names: Iterable[str] | None = None) -> sparse.csr_array:
        """A in floating point: one row per entry of the named parameters (default all), row-major."""
        chosen = [b for b in self.blocks if names is None or b.name in set(names)]
        parts = [self._block_matrix(b) for b in chosen]
        if not parts:
            return sparse.csr_array((0, self.count))
        return sparse.csr_array(sparse.vstack(parts, format="csr"))

    def _block_matrix(self, block: Block) -> sparse.csr_array:
        return self.entries(block, np.arange(int(np.prod(block.shape))))

    def entries(self, block: Block, flat: Array) -> sparse.csr_array:
        """The rows of A of some entries of a block (row-major positions), in floating point."""
        at = np.unravel_index(flat, block.shape)
        terms = [matrix[_pick(index, at)] for index, matrix in self._maps[block.name]]
        total = sparse.csr_array(sum(terms[1:], terms[0]) if terms else (len(flat), self.count))
        total.sum_duplicates()
        total.eliminate_zeros()
        return total

    def alive(self, support: Mapping[str, Support], without: Array | None = None) -> Array:
        """Per scale: has it a weight in and a weight out where ``support`` is true?

        A parameter that ``support`` does not name has no weight, and those of the scales marked in
        ``without`` do not count.
        """
        signs = np.zeros((2, self.count), bool)
        for block in self.blocks:
            if block.name in support:
                lazy = isinstance(support, Nonzero)
                kept = support.value(block.name) if lazy else support[block.name]
                signs |= self._block_signs(block, kept, without)
        return np.logical_and(*signs)

    def _block_signs(self, block: Block, kept: Support, without: Array | None) -> Array:
        """Which columns have a positive, and which a negative entry, in the rows of the kept entries: those
        that are not 0. ``without`` is for where it is known of single entries."""
        maps = self._maps[block.name]
        gone = None if without is None else without.astype(float)
        columns = [Forms.of(t.forms).scales for t in block.terms]
        if isinstance(kept, tuple):
            assert gone is None
            rows = [
                m if own.all() else m[np.flatnonzero(own)] for (_, m), own in zip(maps, kept, strict=True)
            ]
        elif len(columns) > 1 and np.bincount(np.concatenate(columns)).max(initial=0) > 1:
            # A self-loop may cancel: entry by entry.
            whole = np.arange(block.size) if kept is True else np.flatnonzero(kept.reshape(-1) != 0)
            rows = [sparse.csr_array(self._block_matrix(block)[whole])]
            if gone is not None:
                rows = [m[abs(m) @ gone == 0] for m in rows]
        elif kept is True:
            assert gone is None
            rows = [matrix for _, matrix in maps]
        else:
            lost = None if gone is None else [(index, abs(m) @ gone > 0) for index, m in maps]
            places = _within(block, kept, lost)
            rows = [m[np.unique(index[there])] for (index, m), there in zip(maps, places, strict=True)]
        found = np.zeros((2, self.count), bool)
        for m in rows:
            found[0, m.indices[m.data > 0]] = True
            found[1, m.indices[m.data < 0]] = True
        return found

    @cached_property
    def endless(self) -> frozenset[int]:
        """The scales of degree ≤ 0, which have no finite optimum whatever the weights are.

        It shows in the architecture: no weight, zero or not, is on the other side of the scale. The same
        holds for a unit that nothing reads or nothing feeds, but that one is dead.
        """
        one_sided = np.flatnonzero(~self.alive({t.name: True for t in self.network.learned})).tolist()
        if not one_sided:
            return frozenset()
        degree = {u.column: u.degree for u in self.units if u.free}
        return frozenset(k for k in one_sided if (degree.get(k) or 0) <= 0)

    def dead(self, support: Mapping[str, Array]) -> tuple[int, ...]:
        """The scales without weights in, or without weights out, where ``support`` is true.

        A weight that leads to a dead unit, or comes from one, is none: what it costs can fall to nothing.
        """
        endless = np.zeros(self.count, bool)
        endless[list(self.endless)] = True
        if any(t.places is not None for t in self.network.parameters):
            return tuple(np.flatnonzero(dead_scales(self._supported(support), ~endless)).tolist())
        found, dead = ~self.alive(support) & ~endless, np.zeros(self.count, bool)
        while found.any() and not np.array_equal(found, dead):
            dead = found
            found = dead | (~self.alive(support, dead) & ~endless)
        return tuple(int(k) for k in np.flatnonzero(found))

    def _supported(self, support: Mapping[str, Array]) -> sparse.csr_array:
        """The rows of A where ``support`` is true."""
        kept = [
            self.entries(b, np.flatnonzero(np.asarray(support[b.name]).ravel()))
            for b in self.blocks
            if b.name in support
        ]
        empty = sparse.csr_array((0, self.count))
        return sparse.csr_array(sparse.vstack([empty, *kept], format="csr"))

    @property
    def unseen(self) -> tuple[str, ...]:
        """Entries of biases that no output sees, and parameters that nothing reads."""
        read = {name for op in self.network.operations for name in op.inputs}
        unread = tuple(t.name for t in self.network.learned if t.name not in read)
        return (*(u.name for u in self.units if u.why == UNSEEN), *unread)

    @property
    def support(self) -> Nonzero:
        """Where the learned parameters are not 0; symbols count as nonzero."""
        return Nonzero(self.network)

    @cached_property
    def dead_units(self) -> tuple[str, ...]:
        """The names of the units whose weights in, or whose weights out, are all 0."""
        return tuple(self.names[k] for k in self.dead(self.support))

    def rank(self, support: Mapping[str, Array] | None = None, *, buffers: bool = False) -> int:
        """The exact rank of A on the learned parameters (and on ``buffers``): on all entries, or where
        ``support`` is true."""
        seen: set[Form] = set()
        for block in self.blocks:
            if (self.network.tensors[block.name].buffer and not buffers) or not block.terms:
                continue
            keep = None if support is None else np.asarray(support[block.name]).reshape(block.shape)
            listed = self.network.tensors[block.name].places is not None
            if listed and keep is None:  # a list of entries has no corner that leads to all
                keep = np.ones(block.shape, bool)
            whole = keep is None or (keep.all() and not listed)
            entries = _star(block) if keep is None or whole else _spanning_entries(block, keep)
            seen.update(block.rows(entries))
        equations = [Equation(form, "") for form in seen if form]
        return self.count - len(solve_equations(self.count, equations).free)

    def invariants(self) -> int:
        """Independent quantities that every rescaling keeps: the nonzero weights less the rank of A there."""
        nonzero = self.support.count
        whole = nonzero == sum(t.size for t in self.network.learned)
        return nonzero - (self.free_scales if whole else self.rank(self.support))

    def absolute(self) -> Manifold:
        """|A| in place of A, term by term: its ``adjoint`` bounds sums of sizes.

        >>> from balproof.importers import load
        >>> manifold = infer(load("tests/data/chain.json"))
        >>> ones = {t.name: np.ones(t.shape) for t in manifold.network.parameters}
        >>> manifold.adjoint(ones).tolist(), manifold.absolute().adjoint(ones).tolist()
        ([0.0, 0.0], [2.0, 2.0])
        """
        blocks = tuple(
            dataclasses.replace(
                b,
                terms=tuple(Axes(t.index, Forms.of(t.forms).absolute()) for t in b.terms),
            )
            for b in self.blocks
        )
        return dataclasses.replace(self, blocks=blocks)

    def rescale(self, h: Array, powers: Array | None = None) -> Network:
        """The network with every parameter w replaced by w·2^(A powers)·exp(A h), in float64."""
        return self._network(lambda block: self.scaled(block, h, powers))

    def _network(self, scaled: Callable[[Block], Iterable[tuple[slice, Array]]]) -> Network:
        values: dict[str, Array] = {}
        for block in self.blocks:
            if block.terms:
                value = np.empty(self.network.tensors[block.name].shape)
                for here, numbers in scaled(block):
                    value.reshape(-1)[here] = numbers
                values[block.name] = value
        return self.network.with_parameters(values)

    def rescale_by_powers_of_two(self, h: Array) -> Network:
        """The network with every parameter times a power of two, by scales near h.

        Powers of two go through sums and products without any rounding, so the function stays bit for bit.
        """
        n = self.powers_of_two(h)
        return self._network(lambda block: self.times_powers(block, n))

    def powers_of_two(self, h: Array) -> Array:
        """Whole numbers n near h/log 2 with 2^(A n) powers of two, by which no weight loses digits.

        Where a scale enters with a fraction, as of an activation of degree 1/2, it moves in multiples of
        the denominator, so that all exponents are whole. Where a weight would lose digits at the end of the
        range of its type, its scales go half as far, and so on.
        """
        whole = self.whole
        steps = np.rint(h / (np.log(2.0) * whole)).astype(np.int64)
        while True:
            too_far = np.zeros(self.count, bool)
            for block in (b for b in self.blocks if b.terms):
                for here, _, lost in self._times_powers(block, steps * whole):
                    for form in block.rows(here.start + np.flatnonzero(lost)):
                        too_far[[k for k, _ in form]] = True
            if not too_far.any():
                return steps * whole
            steps = np.where(too_far, np.trunc(steps / 2).astype(np.int64), steps)  # ends at 0, if not before

    @cached_property
    def whole(self) -> Array:
        """Per scale the least number of which multiples change all log-scales by whole numbers."""
        denominators: list[set[int]] = [set() for _ in range(self.count)]
        for form in (form for b in self.blocks for t in b.terms for form in t.forms):
            for k, c in form:
                denominators[k].add(c.denominator)
        return np.array([lcm(*found) for found in denominators], dtype=np.int64)

    def times_powers(self, block: Block, n: Array) -> Iterator[tuple[slice, Array]]:
        """w·2^(A n) of one parameter in float64, piece by piece, as `scaled`."""
        return ((here, new) for here, new, _ in self._times_powers(block, n))

    def _times_powers(self, block: Block, n: Array) -> Iterator[tuple[slice, Array, Array]]:
        """The weights of a block times 2^(A n), and which of them lose digits by that."""
        vectors = _whole_vectors(block, n)
        flat, dtype = self.network.flat(block.name), self.network.tensors[block.name].dtype
        # Near zero float16 is as exact as elsewhere; some machines flush wider numbers there to 0.
        info = np.finfo(np.float32 if dtype in ("float32", "bfloat16") else np.float64)
        for here, part in parts(block.shape):
            old, moved = flat[here].astype(np.float64, copy=False), _sum(vectors, part, np.int64).reshape(-1)
            with np.errstate(over="ignore", under="ignore"):
                new = np.ldexp(old, moved)
                again = new.astype(np.float16) if dtype == "float16" else np.ldexp(new, -moved)
            exact = again == (new if dtype == "float16" else old)
            normal = (np.abs(new) >= float(info.tiny)) | (dtype == "float16") | (old == 0)
            yield here, new, ~(exact & normal & (np.abs(new) <= float(info.max))) & (moved != 0)


_LARGEST_LOG = 700.0
"""exp of more is no double."""

_LOG2 = (float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33"))
"""The first 33 bits of log 2, and the rest (as in fdlibm): multiples of the first are exact."""


def _scaled_by(w: Array, logs: Array, exponents: Array | int) -> Array:
    """w·2^exponents·exp(logs), rounded once, whatever the size of the factors."""
    whole = np.rint(logs / np.log(2.0))
    rest = np.exp((logs - whole * _LOG2[0]) - whole * _LOG2[1])
    fraction, exponent = np.frexp(w)
    power = exponent + exponents + whole.astype(np.int64)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(fraction * rest, np.clip(power, -5000, 5000).astype(np.int32))


def _whole_vectors(block: Block, n: Array) -> list[tuple[Array, Array]]:
    """Of each term: which slice an entry is in, and A n there, exactly."""
    found: list[tuple[Array, Array]] = []
    for term in block.terms:
        local = [sum((c * int(n[k]) for k, c in form), Fraction(0)) for form in term.forms]
        found.append((term.index, np.array([int(e) for e in local], dtype=np.int64)))
    return found


def _sum(vectors: Sequence[tuple[Array, Array]], part: tuple[slice, ...], dtype: type = np.float64) -> Array:
    """The log-scales of a part of a parameter: the sum of its terms there."""
    total = np.zeros(tuple(s.stop - s.start for s in part), dtype)
    for index, vector in vectors:
        total += vector[
            index[tuple(s if n > 1 else slice(0, 1) for s, n in zip(part, index.shape, strict=True))]
        ]
    return total


def _within(block: Block, kept: Array, lost: Sequence[tuple[Array, Array]] | None = None) -> list[Array]:
    """Where each term of a block has an entry that is not 0: ``kept`` with the axes put together along which
    the term is alike, piece by piece; less the entries in slices that are ``lost``."""
    flat, indices = kept.reshape(-1), [t.index for t in block.terms]
    found = [np.zeros(index.shape, dtype=bool) for index in indices]
    for here, part in parts(block.shape):
        keep = np.asarray(flat[here] != 0, dtype=bool).reshape([s.stop - s.start for s in part])
        if lost is not None:
            keep &= ~_sum(lost, part, bool)
        for index, there in zip(indices, found, strict=True):
            alike = tuple(a for a, n in enumerate(index.shape) if n == 1)
            own = tuple(s if n > 1 else slice(None) for s, n in zip(part, index.shape, strict=True))
            there[own] |= keep.any(axis=alike, keepdims=True)
    return found


def _star(block: Block) -> Array:
    """Entries whose rows span those of all entries: the origin, and what leaves it in one group of axes."""
    corners = corner_entries(block.shape, [t.sizes for t in block.terms])
    strides = [int(np.prod(block.shape[a + 1 :], dtype=np.int64)) for a in range(len(block.shape))]
    return corners @ np.array(strides, dtype=np.int64)


def _spanning_entries(block: Block, keep: Array) -> Array:
    """Entries whose rows span those of all kept entries.

    With two terms, an entry is an edge between a place of the first and a place of the second, and the row of
    an edge is the alternating sum of the rows along any path of edges between its ends: a forest suffices.
    """
    if not keep.any():
        return np.zeros(0, dtype=np.int64)
    sizes = [t.sizes for t in block.terms]
    varying = [a for a in range(keep.ndim) if any(own[a] > 1 for own in sizes)]
    alike = tuple(a for a in range(keep.ndim) if a not in varying)
    # One kept entry for each combination of the axes that matter.
    there: Array = np.asarray(keep.any(axis=alike))
    strides = np.array([int(np.prod(keep.shape[a + 1 :])) for a in range(keep.ndim)], dtype=np.int64)
    if len(sizes) == 2 and 2 * np.count_nonzero(there) > there.size:
        own = [[i for i, a in enumerate(varying) if n[a] > 1] for n in sizes]
        if not set(own[0]) & set(own[1]):  # a matrix that is mostly full: its entries need not be listed
            return strides[varying] @ _spread(there, own)
    places = np.argwhere(there) if there.ndim else np.zeros((1, 0), dtype=np.int64)
    at = np.zeros((len(places), keep.ndim), dtype=np.int64)
    at[:, varying] = places
    kept = [np.broadcast_to(t.index, _sizes(t, keep.shape, varying)) for t in block.terms]
    ids = [v[tuple(at.T)] for v in kept]
    if len(ids) == 1:
        chosen = np.unique(ids[0], return_index=True)[1]
    elif len(ids) == 2:
        chosen = _forest(*ids)
    else:
        chosen = np.unique(np.stack(ids), axis=1, return_index=True)[1]
    return at[chosen] @ strides


def _sizes(term: Axes, shape: tuple[int, ...], varying: Sequence[int]) -> tuple[int, ...]:
    return tuple(n if a in varying else 1 for a, n in enumerate(shape)) if term.index.ndim else ()


def _spread(there: Array, axes: Sequence[Sequence[int]]) -> Array:
    """A spanning forest of the places of two groups of axes that are joined where ``there`` is true, as
    positions along all axes."""
    order = [*axes[0], *axes[1]]
    shapes = [tuple(there.shape[a] for a in own) for own in axes]
    pairs = _tree(there.transpose(order).reshape([int(np.prod(n)) for n in shapes]))
    found = np.zeros((there.ndim, len(pairs[0])), dtype=np.int64)
    for own, shape, places in zip(axes, shapes, pairs, strict=True):
        if own:
            found[list(own)] = np.unravel_index(places, shape)
    return found


def _tree(joined: Array) -> tuple[Array, Array]:
    """Rows and columns of the edges of a spanning forest, level by level from the fullest row."""
    rows: Array = np.asarray(joined.any(1))
    columns: Array = np.asarray(joined.any(0))
    order = np.argsort(-np.count_nonzero(joined, axis=1), kind="stable")
    edges: list[tuple[Array, Array]] = []
    for root in order:
        if not rows[root]:
            continue
        rows[root] = False
        new = np.array([root])
        while new.size and columns.any():
            left = np.flatnonzero(columns)
            link = joined[np.ix_(new, left)]
            reached = link.any(0)
            fresh = left[reached]
            if not fresh.size:
                break
            edges.append((new[link[:, reached].argmax(0)], fresh))
            columns[fresh] = False
            left = np.flatnonzero(rows)
            link = joined[np.ix_(left, fresh)]
            new = left[link.any(1)]
            edges.append((new, fresh[link[link.any(1)].argmax(1)]))
            rows[new] = False
    return np.concatenate([i for i, _ in edges]), np.concatenate([j for _, j in edges])


def _forest(left: Array, right: Array) -> Array:
    """Positions of edges that form a spanning forest of the bipartite graph of all (left, right)."""
    first = np.unique(left * (int(right.max()) + 1) + right, return_index=True)[1]
    left, right = left[first], right[first]
    lefts = int(left.max()) + 1
    nodes = lefts + int(right.max()) + 1
    graph = sparse.coo_array((np.arange(1, len(first) + 1), (left, right + lefts)), (nodes, nodes))
    tree = minimum_spanning_tree(graph.tocsr())
    return first[np.asarray(tree.data, dtype=np.int64) - 1]


def infer(network: Network) -> Manifold:
    """Infer the scaling manifold by local rules, exactly. Sound and incomplete: whatever is not known pins.

    Source: [B] Sections 2 and 6 (scaling of BiLU and BiPU units in any architecture).

    >>> from balproof.importers import load
    >>> from balproof.symbolic.activation import Activation
    >>> infer(load("tests/data/chain.json")).free_scales
    2
    """
    return assemble(network, solve_scales(network))[0]


@dataclass(frozen=True, eq=False)
class SolvedScales:
    """The scale variables of all tensors that are computed or given, the first use of each parameter, what
    the operations demand, and the solution of that.

    ``alone`` names the variables that are those of biases which no output sees.
    """

    scales: Scales
    uses: Mapping[str, ParameterScale]
    equations: tuple[Equation, ...]
    solution: ExactSolution
    alone: Mapping[int, str]


def solve_scales(network: Network) -> SolvedScales:
    """The equations of all operations, and their exact solution."""
    tensors, new = network.tensors, Variables()
    scales = {name: new(tensors[name].shape) for name, _ in network.states}
    equations: list[Equation] = []
    for name in network.inputs:
        scales[name] = new((1,) * len(tensors[name].shape))
        equations += pin(scales[name], f"{name} is an input", visible=True)
    uses: list[ParameterScale] = []
    for op in network.operations:
        demand = implication(op, tensors, scales, new)
        scales[op.output] = demand.output
        equations += demand.equations
        uses += demand.parameters
    for name in network.outputs:
        if name in scales:
            equations += pin(scales[name], f"{name} is an output", visible=True)
    for before, after in network.states:
        equations += equal(scales[before], scales[after], f"state {before}")
    own = {name: (entries, new(entries.shape)) for name, entries in unseen_biases(network).items()}
    uses = [_free_of_outputs(use, *own[use.name]) if use.name in own else use for use in uses]
    first, further = parameter_uses(uses)
    alone = {
        int(v): tensors[name].element(i)
        for name, (entries, variables) in own.items()
        for i, v in enumerate(variables.flat)
        if entries.flat[i]
    }
    everything = (*equations, *further)
    return SolvedScales(scales, first, everything, solve_equations(new.count, everything), alone)


def assemble(network: Network, solved: SolvedScales) -> tuple[Manifold, dict[int, int]]:
    """The manifold, and the column of A that each free scale of the solution has, if a weight feels it."""
    scales, first, solution = solved.scales, solved.uses, solved.solution
    drafts: list[Block] = []
    for tensor in network.parameters:
        use = first.get(tensor.name, ParameterScale(tensor.name, tensor.shape, ()))  # nothing may read it
        drafts.append(Block(tensor.name, use.shape or (1,), _terms(use, solution)))
    # Scales that no parameter feels (between two constant maps, say) are not part of the manifold.
    learned = {t.name for t in network.learned}
    felt = [Forms.of(t.forms).scales for b in drafts if b.name in learned for t in b.terms]
    felt += [_ends(op, scales, solution) for op in network.operations if op.kind == "sparse"]
    kept = np.unique(np.concatenate(felt)) if felt else np.zeros(0, dtype=np.int64)
    new = np.full(len(solution.free), -1)
    new[kept] = np.arange(len(kept))
    column = dict(zip(kept.tolist(), range(len(kept)), strict=True))
    blocks = tuple(
        dataclasses.replace(b, terms=tuple(Axes(t.index, Forms.of(t.forms).renamed(new)) for t in b.terms))
        for b in drafts
    )
    neurons = _neurons(network, scales)
    names = _names(neurons, solved, column)
    manifold = Manifold(network, blocks, names, partial(_units, network, solved, neurons, column, names))
    normalised = {
        column[k]
        for op in network.operations
        if op.kind == "norm" or (op.kind == "batchnorm" and op.attributes.get("training"))
        for v in np.unique(scales[op.inputs[0]])
        for k, _ in solution.forms[int(v)]
        if k in column
    }
    return _of_degree_zero(manifold, normalised), column


def _ends(op: Operation, scales: Scales, solution: ExactSolution) -> Array:
    """The scales on both sides of a sparse matrix, those of lines without entries too: of dead units."""
    ends = np.concatenate([scales[name].ravel() for name in (op.inputs[0], op.output)])
    return Forms.of(solution.forms).at(ends).scales


def _of_degree_zero(manifold: Manifold, normalised: set[int]) -> Manifold:
    """Scales that only a normalisation reads have its degree, 0."""
    if not normalised:
        return manifold
    ones: dict[str, Support] = {t.name: True for t in manifold.network.learned}
    only = frozenset(normalised & set(np.flatnonzero(~manifold.alive(ones)).tolist()))
    return dataclasses.replace(manifold, describe=partial(_without_degree, manifold.describe, only))


def _without_degree(describe: Callable[[], tuple[Unit, ...]], columns: frozenset[int]) -> tuple[Unit, ...]:
    return tuple(
        dataclasses.replace(u, degree=Fraction(0), why=f"{u.why}; {_ENDLESS.format(0)}")
        if u.column in columns
        else u
        for u in describe()
    )


def _free_of_outputs(use: ParameterScale, entries: Array, own: Array) -> ParameterScale:
    """Entries that no output sees have scales of their own."""
    chosen = own.reshape(use.shape)
    if not entries.all():
        (term,) = use.terms  # as of every bias
        assert term.coefficient == ONE
        chosen = np.where(entries.reshape(use.shape), chosen, np.broadcast_to(term.variables, use.shape))
    return dataclasses.replace(use, terms=(Term(chosen),))


def _terms(use: ParameterScale, solution: ExactSolution) -> tuple[Axes, ...]:
    """The terms of a use with the solution put in; those that are 0 everywhere are left out."""
    found: list[Axes] = []
    for term in use.terms:
        variables = term.variables.reshape(term.variables.shape or (1,))
        keys, index = np.unique(variables, return_inverse=True)
        forms = Forms.of(solution.forms).at(keys).times(term.coefficient)
        if not forms.zero:
            found.append(Axes(index.reshape(variables.shape), forms))
    return tuple(found)


_Neurons = Mapping[int, tuple[str, bool]]


def _names(neurons: _Neurons, solved: SolvedScales, column: Mapping[int, int]) -> tuple[str, ...]:
    """Name the scales after the neurons that have them: the entries that an activation reads, and the
    results of linear maps that none reads, or the bias of which no output sees more."""
    solution = solved.solution
    names: dict[int, str] = {}
    held = Forms.of(solution.forms).scale[np.fromiter(neurons, np.int64, len(neurons))].tolist()
    for k, (name, _) in zip(held, neurons.values(), strict=True):
        names.setdefault(k, name)
    for variable, name in solved.alone.items():
        names.update((k, name) for k, _ in solution.forms[variable])
    return tuple([names[k] if k in names else f"scale {solution.free[k]}" for k in column])


def _units(
    network: Network,
    solved: SolvedScales,
    neurons: _Neurons,
    column: Mapping[int, int],
    names: Sequence[str],
) -> tuple[Unit, ...]:
    """The units of the scales, in the order of `_names`, then those that are blocked."""
    solution, degrees = solved.solution, _degrees(network, solved.scales)
    groups: dict[int, list[tuple[int, bool]]] = {}
    blocked: dict[str, Unit] = {}
    for variable, (name, activated) in neurons.items():
        form = solution.forms[variable]
        if not form:
            if variable not in solution.visible:
                why = solution.reasons.get(variable, "its equations leave only 0")
                blocked.setdefault(name, Unit(name, 1, degrees.get(variable), False, why, None))
        elif len(form) == 1 and form[0][0] in column:
            groups.setdefault(column[form[0][0]], []).append((variable, activated))
    units: list[Unit] = []
    for k, members in sorted(groups.items()):
        activated = [v for v, held in members if held]
        size = len(activated) or len(members)
        degree = next((degrees[v] for v in activated if degrees.get(v) is not None), ONE)
        why = "its own scale" if size == 1 else f"{size} neurons share one scale"
        if degree <= 0:
            why += "; " + _ENDLESS.format(degree)
        units.append(Unit(neurons[members[0][0]][0], size, degree, True, why, k))
    for variable, name in solved.alone.items():
        for k, _ in solution.forms[variable]:
            units.append(Unit(name, 1, Fraction(0), True, UNSEEN, column[k]))
    lone = {u.column for u in units}
    for k, name in enumerate(names):
        if k not in lone:
            units.append(Unit(name, 0, None, True, "a scale of the weights that no neuron has alone", k))
    return (*units, *blocked.values())


_WEIGHTED = ("linear", "sparse", "conv", "batchnorm", "norm", "embedding", "scale")
_PASSING = ("bias", "identity", "reshape", "scale")


def _weighted(op: Operation, network: Network) -> bool:
    """Whether a weight of the operation gives its result a scale of its own."""
    return op.kind in _WEIGHTED and any(network.tensors[x].role == "parameter" for x in op.inputs)


def _neurons(network: Network, scales: Scales) -> dict[int, tuple[str, bool]]:
    """Scale variables of the neurons: (name, whether an activation or a state holds it).

    A linear map whose result only goes on into a neuron (through its bias, or a sum) is part of it.
    """
    label: dict[str, str] = {name: name for name, _ in network.states}
    linear: list[str] = []
    places: dict[tuple[str, int], int] = {}  # where a variable stands in the result of its own layer
    for op in network.operations:
        if _weighted(op, network):
            label.setdefault(op.output, op.name)
            linear.append(op.output)
            for position, v in enumerate(scales[op.output].flat):
                places.setdefault((op.name, int(v)), position)
        elif op.kind in (*_PASSING, "add"):
            source = next((label[x] for x in op.inputs if x in label), None)
            if source is not None:
                label[op.output] = source
    held = [name for name, _ in network.states]
    held += [op.inputs[0] for op in network.operations if op.kind in ("activation", "prelu")]
    into = {*held, *(after for _, after in network.states)}  # results that go on into a neuron
    ends: list[str] = []
    for op in reversed(network.operations):
        if (op.kind in _PASSING and not _weighted(op, network)) or (op.kind == "add" and op.output in into):
            if op.output in label and op.output not in into:
                ends.append(op.output)
            into.update(op.inputs)
    ends += [name for name in linear if name not in into]
    neurons: dict[int, tuple[str, bool]] = {}
    for name in (*held, *reversed(ends)):
        layer = label.get(name, name)
        for position, v in enumerate(scales[name].flat):
            place = places.get((layer, int(v)), position)
            neurons.setdefault(int(v), (f"{layer}[{place}]", name in held))
    return neurons


def _degrees(network: Network, scales: Scales) -> dict[int, Fraction]:
    """The degree of the activation that reads a variable, where there is one."""
    degrees: dict[int, Fraction] = {}
    for op in network.operations:
        if op.kind == "activation":
            degree = exact_degree(op.attributes["function"])
            if degree is not None:
                degrees.update((int(v), degree) for v in scales[op.inputs[0]].flat)
    return degrees
