"""The problem over blocks of weights under costs of any form: sums of m and κ along rows and columns.

Where a cost is no power, factors do not leave its sums: with row factors e and column factors y a read forms
m(|w_ij|·e_i·y_j) of every weight, by `balproof.balance.laws`, in slabs that stay in a core's cache. What
moves and what is dead depends on which weights are 0 alone: it is that of Σ|w| over the same blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from balproof.balance.blocks.pairs import Pair
from balproof.balance.blocks.problem import Balance, BlockProblem, pairs_of
from balproof.balance.blocks.problem import measured as measured_powers
from balproof.balance.blocks.sparse_pair import SparsePair
from balproof.balance.laws import Law
from balproof.balance.problem import Costs
from balproof.errors import RangeError
from balproof.network.manifold import Manifold
from balproof.symbolic.regularizer import Regularizer

Array = np.ndarray

_SLAB = 1 << 14
"""Weights that are read at a time: with all that is formed of them they stay in a core's cache."""


class Read(NamedTuple):
    """Of a block: Σ m and Σ κ along its rows and its columns, Σ g and Σ m, and whether all of it is certain.

    Rows and columns lack the weights of units to themselves, which no scale changes.
    """

    m: tuple[Array, Array]
    kappa: tuple[Array, Array]
    cost: float
    total: float
    certain: bool


@dataclass(frozen=True, eq=False)
class GeneralProblem:
    """F over ``blocks``, of which each has weights under one of the ``laws``.

    ``constant`` is the cost of the weights that no scale touches, with a bound on what it may be off.
    """

    blocks: BlockProblem
    laws: tuple[Law, ...]
    constant: tuple[float, float] = (0.0, 0.0)

    @staticmethod
    def build(manifold: Manifold, costs: Costs) -> GeneralProblem | None:
        """Two reads of the weights. None where `BlockProblem.build` has None for Σ|w|, for sparse matrices,
        and for costs or weights that have no tables.

        Raises ModelError for weights that are not finite.

        >>> from balproof.importers import load
        >>> from balproof.network.manifold import infer
        >>> manifold = infer(load("tests/data/chain.json"))
        >>> problem = GeneralProblem.build(manifold, Costs.parse("log(1 + w**2)"))
        >>> here = problem.at(np.zeros(2))
        >>> round(here.cost, 9), here.balance.imbalances.round(3).tolist()
        (4.828313737, [0.636, 0.0])
        """
        sizes = Costs((("*", Regularizer.parse("l1")),), costs.bias_cost)
        try:
            blocks, every = BlockProblem.build(manifold, sizes), pairs_of(manifold, sizes)
        except RangeError:
            return None
        if blocks is None or every is None or any(isinstance(pair, SparsePair) for pair in every):
            return None
        constant, off, laws, zero = 0.0, 0.0, dict[str, Law](), np.zeros(manifold.count)
        for pair in every:
            law = Law.of(costs.regularizer(pair.name))
            if law is None:
                return None
            read = read_block(pair, law, *pair.factors(zero))
            if not read.certain:
                return None
            laws[pair.name] = law
            if pair.rows.still and pair.columns.still:
                constant, off = constant + read.cost, off + 2 * law.cost_error * read.cost
        return GeneralProblem(blocks, tuple(laws[pair.name] for pair in blocks.pairs), (constant, off))

    @property
    def count(self) -> int:
        """The number of scales."""
        return self.blocks.manifold.count

    def factors(self, h: Array) -> list[tuple[Array, Array]]:
        """Those of both sides of every block at h."""
        with np.errstate(over="ignore"):
            return [pair.factors(h) for pair in self.blocks.pairs]

    def read(self, factors: Sequence[tuple[Array, Array]]) -> list[Read]:
        """All blocks at these factors: one read."""
        parts = zip(self.blocks.pairs, self.laws, factors, strict=True)
        return [read_block(pair, law, *own) for pair, law, own in parts]

    def at(self, h: Array) -> State:
        """All there is to know of the state h: one read."""
        factors = self.factors(h)
        return State(self, h, factors, self.read(factors))

    def balanced_by(self, marginals: Sequence[tuple[Array, Array]]) -> Balance:
        """What balances at every scale, by Σ m along rows and columns of all blocks."""
        into, out = np.zeros(self.count), np.zeros(self.count)
        with np.errstate(invalid="ignore"):  # far out, where sums are ∞
            for pair, own in zip(self.blocks.pairs, marginals, strict=True):
                for (_, side), m in zip(pair.sides(), own, strict=True):
                    side.add(m, into, out)
        return Balance(into, out)


@dataclass(frozen=True, eq=False)
class State:
    """A state h, the factors of all blocks there, and what was read with them."""

    problem: GeneralProblem
    h: Array
    factors: Sequence[tuple[Array, Array]]
    reads: Sequence[Read]

    @cached_property
    def balance(self) -> Balance:
        """Marginal costs in and out of every scale."""
        return self.problem.balanced_by([read.m for read in self.reads])

    @cached_property
    def cost(self) -> float:
        """F(h)."""
        return self.problem.constant[0] + sum(read.cost for read in self.reads)

    @cached_property
    def imbalance(self) -> float:
        """The largest one of the scales that move; ∞ where it is none."""
        found = self.problem.blocks.imbalance_of(self.balance)
        return found if np.isfinite(found) and np.isfinite(self.cost) else np.inf

    @property
    def certain(self) -> bool:
        """Whether all weights were within the tables."""
        return all(read.certain for read in self.reads)


def measured(manifold: Manifold, costs: Costs) -> tuple[float, Balance] | None:
    """Cost and balance at all scales of the weights as they are, in a few reads.

    None where `BlockProblem.build` and `GeneralProblem.build` have None.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> cost, balance = measured(infer(load("tests/data/chain.json")), Costs.parse("log(1 + w**2)"))
    >>> round(cost, 9), balance.imbalances.round(3).tolist()
    (4.828313737, [0.636, 0.0])
    """
    found = measured_powers(manifold, costs)
    problem = GeneralProblem.build(manifold, costs) if found is None else None
    if problem is None:
        return found
    here = problem.at(np.zeros(problem.count))
    return here.cost, here.balance


# --- reads of one block -----------------------------------------------------------------------------------


class _Slab(NamedTuple):
    """Some rows and columns of some groups, as slices, and |w| there: (groups, rows, columns, kernel)."""

    groups: slice
    rows: slice
    columns: slice
    sizes: Array


def _slabs(pair: Pair) -> Iterator[_Slab]:
    """All of a block."""
    n, c, k = pair.weights.shape
    g, r = pair.groups, n // pair.groups
    weights = pair.weights.reshape(g, r, c, k)
    deep = max(1, _SLAB // max(1, r * c * k))
    long = r if deep > 1 else max(1, _SLAB // max(1, c * k))
    wide = c if long > 1 else max(1, _SLAB // max(1, k))
    for a in range(0, g, deep):
        for i in range(0, r, long):
            for j in range(0, c, wide):
                at = slice(a, a + deep), slice(i, i + long), slice(j, j + wide)
                yield _Slab(*at, pair.costs_of(weights[at]))


def _scaled(pair: Pair, e: Array, y: Array) -> Iterator[tuple[_Slab, Array]]:
    """All of a block, with the sizes |w_ij|·e_i·y_j."""
    left, right = e.reshape(pair.groups, -1, 1, 1), y.reshape(pair.groups, 1, -1, 1)
    for slab in _slabs(pair):
        with np.errstate(over="ignore", invalid="ignore"):  # far out, which the answer says
            sizes = slab.sizes * left[slab.groups, slab.rows]
            sizes *= right[slab.groups, :, slab.columns]
        yield slab, sizes


def _without_own(pair: Pair, slab: _Slab, values: Array) -> Array:
    """Summed over the kernel, and 0 for weights of units to themselves."""
    found = values[..., 0] if values.shape[3] == 1 else values.sum(axis=3)
    if pair.loop:
        low = max(slab.rows.start, slab.columns.start)
        high = min(slab.rows.start + found.shape[1], slab.columns.start + found.shape[2])
        own = np.arange(low, high)
        found[0, own - slab.rows.start, own - slab.columns.start] = 0.0
    return found


def read_block(pair: Pair, law: Law, e: Array, y: Array) -> Read:
    """Everything at row factors e and column factors y."""
    g = pair.groups
    rows, columns = np.zeros((2, g, len(e) // g)), np.zeros((2, g, len(y) // g))
    sums, certain = np.zeros(2), True
    for slab, sizes in _scaled(pair, e, y):
        (m, kappa, cost), known = law.read(sizes)
        certain &= known
        sums += cost.sum(), m.sum()
        for i, values in enumerate((m, kappa)):
            own = _without_own(pair, slab, values)
            rows[i, slab.groups, slab.rows] += own.sum(axis=2)
            columns[i, slab.groups, slab.columns] += own.sum(axis=1)
    rows, columns = rows.reshape(2, -1), columns.reshape(2, -1)
    return Read((rows[0], columns[0]), (rows[1], columns[1]), float(sums[0]), float(sums[1]), certain)


def curved(pair: Pair, law: Law, e: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Σ_j κ_ij·b_j of every row and Σ_i a_i·κ_ij of every column, at factors e and y."""
    g = pair.groups
    a, b = a.reshape(g, 1, -1), b.reshape(g, -1, 1)
    along, across = np.zeros((g, len(e) // g)), np.zeros((g, len(y) // g))
    for slab, sizes in _scaled(pair, e, y):
        own = _without_own(pair, slab, law.values(sizes)[1])
        along[slab.groups, slab.rows] += (own @ b[slab.groups, slab.columns])[..., 0]
        across[slab.groups, slab.columns] += (a[slab.groups, :, slab.rows] @ own)[:, 0]
    return along.reshape(-1), across.reshape(-1)
