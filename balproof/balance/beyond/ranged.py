"""Blocks of weights whose costs no double holds, of any size: the same network with exact powers of two.

`prescale` finds whole log₂-scales that bring the largest costs of every unit near each other, here from the
binary exponents of the weights, two bytes each. The network with these scales (and, where all costs have one
power, with one power of two on all of its weights) is solved as any other; its balanced weights are those of
the network, since powers of two change no digit.

Costs below `FLOOR` are left out of its sums. That is no loss where the costs above `FELT` tie together all
units that all weights tie together: then every unit has a cost above `FELT` on both sides of it, against
which what is left out is below 2^-60 of the sum, and the certificate counts it as rounding
(`BlockProblem.lost`). Otherwise weights too small to be felt decide what is best: `apart` does that, or they
are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from balproof.balance.beyond import powers
from balproof.balance.beyond.prescale import settle
from balproof.balance.beyond.wide import Wide, power
from balproof.balance.blocks.connected import components
from balproof.balance.blocks.pairs import Pair
from balproof.balance.blocks.problem import BlockProblem, pairs_of
from balproof.balance.blocks.sparse_pair import SparsePair
from balproof.balance.problem import Costs
from balproof.errors import RequestError
from balproof.network.forms import Forms
from balproof.network.graph import parts
from balproof.network.manifold import Block, Manifold

Array = np.ndarray

FLOOR, FELT, _MOST = -950.0, -850.0, 900.0
"""Binary exponents of costs: what is left out, what is felt for sure, and where the largest are put."""

_LEAST = -1000
"""Weights below this power of two are left out as well: the products of smaller ones have lost digits."""

_ASIDE = -900.0
"""The exponent of the marginal costs that weights get which no scale moves: there, and yet nothing."""

_GAP, _UNFELT = 40.0, 60.0
"""Binary exponents: by so much are groups held by larger costs than those between them, and these are smaller
than the sums of all units."""

ALLOWED = 20.0
"""So far may the logarithms of costs move from where what is left out was compared with what is felt."""


@dataclass(frozen=True, eq=False)
class Far:
    """A network of blocks in float64, with the binary exponents of its weights, block by block.

    ``active`` are the scales that are neither dead nor of degree ≤ 0.
    """

    manifold: Manifold
    pairs: tuple[Pair, ...]
    exponents: tuple[Array, ...]
    active: Array

    @staticmethod
    def of(manifold: Manifold, costs: Costs) -> Far | None:
        """None where a cost is no power, a weight has two scales on one side, or a matrix is sparse."""
        network = manifold.network
        doubles = {t.name: network.numbers(t.name) for t in network.parameters}
        manifold = replace(manifold, network=network.with_parameters(doubles))
        pairs = pairs_of(manifold, costs)
        if pairs is None or len({p.name for p in pairs}) < len(pairs):
            return None
        if any(isinstance(pair, SparsePair) for pair in pairs):
            return None
        costly = {p.name for p in pairs}
        support = {name: value for name, value in manifold.support.items() if name in costly}
        active = np.ones(manifold.count, bool)
        active[[*manifold.dead(support), *manifold.endless]] = False
        return Far(manifold, tuple(pairs), tuple(_exponents(pair) for pair in pairs), active)

    @property
    def single_power(self) -> float | None:
        """The exponent of all costs, if it is one."""
        found = {pair.power for pair in self.pairs}
        return found.pop() if len(found) == 1 else None

    @cached_property
    def plain(self) -> bool:
        """Whether all costs are one, and no scale has a degree other than 1."""
        sides = [side for pair in self.pairs for _, side in pair.sides()]
        same = len({(pair.power, pair.factor) for pair in self.pairs}) == 1
        return same and all(bool(np.isin(np.abs(s.coefficient), (0.0, 1.0)).all()) for s in sides)

    @property
    def costly(self) -> Array:
        """Which scales have any cost, in or out."""
        return np.isfinite(np.maximum(*self._largest(np.zeros(len(self.active)))[:2]))

    def shift(self) -> Array:
        """Whole log₂-scales by which the largest costs in and out of every unit come near each other."""
        return settle(self.manifold, self.active, self._largest)

    def _largest(self, n: Array) -> tuple[Array, Array, Array]:
        """As `prescale.largest`."""
        best, fastest = np.full((2, len(n)), -np.inf), np.zeros((2, len(n)))
        for pair, exponents in zip(self.pairs, self.exponents, strict=True):
            moved = [side.logs(n) for _, side in pair.sides()]
            tops = powers.tops(exponents, len(exponents) // pair.groups, *moved)
            for (_, side), top, own in zip(pair.sides(), tops, moved, strict=True):
                seen = np.flatnonzero(side.unit >= 0)
                unit, c = side.unit[seen], side.coefficient[seen]
                cost = math.log2(pair.power * pair.factor) + pair.power * (top + own)[seen]
                for k, sign in enumerate((1, -1)):
                    to = sign * c > 0
                    np.maximum.at(best[k], unit[to], cost[to] + np.log2(np.abs(c[to])))
                    np.maximum.at(fastest[k], unit[to], pair.power * np.abs(c[to]))
        return best[0], best[1], fastest[0] + fastest[1]

    def unit(self, shift: Array) -> int:
        """The power of two on all weights that puts the largest costs where most others are in range."""
        p = self.single_power
        into, out, _ = self._largest(shift.astype(np.float64))
        top = np.maximum(into, out)[self.active]
        top = top[np.isfinite(top)]
        if p is None or not top.size:
            return 0
        least = min(math.log2(p * q.factor) + p * self._least(i, shift) for i, q in enumerate(self.pairs))
        if -500 < top.max() < 800 and least > FLOOR:
            return 0
        largest = max(float(t.max(initial=-np.inf)) for t in self._weights(shift))
        return math.floor(min((_MOST - float(top.max())) / p, 1000 - largest))

    def _weights(self, shift: Array) -> Iterator[Array]:
        """The largest exponent of each row of every block, with the scales."""
        for pair, exponents in zip(self.pairs, self.exponents, strict=True):
            own = [side.logs(shift.astype(np.float64)) for _, side in pair.sides()]
            yield powers.tops(exponents, len(exponents) // pair.groups, *own)[0] + own[0]

    def _least(self, number: int, shift: Array) -> float:
        pair, own = self.pairs[number], self.exponents[number]
        rows, columns = (side.logs(shift.astype(np.float64)) for _, side in pair.sides())
        return float(powers.lowest(own, len(own) // pair.groups, rows, columns))

    def brought(self, shift: Array, unit: int) -> Brought:
        """The network times 2^(A ``shift``)·2^``unit``, less what its sums would not feel.

        Raises RequestError, by the name of a weight, where that would change what is best, or where costs
        are too large for double precision all the same.
        """
        values: dict[str, Array] = {}
        blocks = {b.name: b for b in self.manifold.blocks}
        dropped, weak, floor, smallest = 0, False, -np.inf, ""
        constant: list[Wide] = []
        for pair in self.pairs:
            tensor = self.manifold.network.tensors[pair.name]
            low = max(FLOOR, math.log2(pair.power * pair.factor) + pair.power * _LEAST)
            new = np.zeros(tensor.shape)
            for here, old, exponents, moves in self._moved(blocks[pair.name], shift):
                size = np.ldexp(old, np.clip(exponents + unit, -5000, 5000).astype(np.int32))
                with np.errstate(over="ignore", under="ignore"):
                    marginal = pair.power * pair.factor * np.abs(size) ** pair.power
                there, size_before = moves & (old != 0), np.abs(old[~moves & (old != 0)])
                constant.append(power(size_before, pair.power, pair.factor).total())
                if (found := there & ~(marginal < 2.0**950)).any():
                    raise _refused(tensor.element(here.start + int(np.argmax(found))), "large")
                gone = there & (marginal < 2.0**low)
                if gone.any():
                    dropped, floor = dropped + int(np.count_nonzero(gone)), max(floor, low)
                    smallest = smallest or tensor.element(here.start + int(np.argmax(gone)))
                weak |= bool((there & ~gone & (marginal < 2.0 ** (low + FELT - FLOOR))).any())
                aside = (2.0**_ASIDE / (pair.power * pair.factor)) ** (1 / pair.power)
                still = np.where(old != 0, aside, 0.0)
                new.reshape(-1)[here] = np.where(moves, np.where(gone, 0.0, size), still)
            values[pair.name] = new
        scaled = replace(self.manifold, network=self.manifold.network.with_parameters(values))
        rest = Wide(np.array([c.value for c in constant]), np.array([c.exponent for c in constant]))
        return Brought(self, scaled, shift, unit, rest, dropped, floor, weak, smallest)

    def _moved(self, block: Block, shift: Array) -> Iterator[tuple[slice, Array, Array, Array]]:
        """Piece by piece: the weights, their exponents A ``shift``, and which of them a scale moves."""
        flat = self.manifold.network.flat(block.name)
        forms = [Forms.of(t.forms) for t in block.terms]
        whole = [np.rint(f.floats * f.look_up(shift)).astype(np.int64) for f in forms]
        moving = [f.look_up(self.active) for f in forms]
        for here, part in parts(block.shape):
            at = [t.index[_within(part, t.index.shape)] for t in block.terms]
            shape = tuple(s.stop - s.start for s in part)
            exponents, moves = np.zeros(shape, np.int64), np.zeros(shape, bool)
            for index, own, able in zip(at, whole, moving, strict=True):
                exponents += own[index]
                moves |= able[index]
            if len(at) == 2:  # the weight of a unit to itself
                scales = [f.scale[index] for f, index in zip(forms, at, strict=True)]
                moves &= (scales[0] != scales[1]) | (scales[0] < 0)
            yield here, flat[here], exponents.reshape(-1), moves.reshape(-1)


def _within(part: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """What of an index with these axes belongs to a part of a block."""
    return tuple(s if n > 1 else slice(0, 1) for s, n in zip(part, shape, strict=True))


@dataclass(frozen=True, eq=False)
class Brought:
    """The scaled network, in range, and how many weights were left out, all below 2^``floor`` in cost.

    ``constant`` are the true costs of the weights that no scale moves, which got others that are nothing.
    ``weak`` says whether some of those that are there are not felt for sure, ``smallest`` names one left out.
    """

    far: Far
    manifold: Manifold
    shift: Array
    unit: int
    constant: Wide
    dropped: int
    floor: float
    weak: bool
    smallest: str

    def lost(self, problem: BlockProblem) -> float | None:
        """What the sums of the problem of `manifold` may lack, relatively, at states near h = 0.

        None where that is not next to nothing, or where what is felt for sure does not tie together all that
        all weights tie together.
        """
        if not self.dropped:
            return 0.0
        sides = [side for pair in problem.pairs for _, side in pair.sides()]
        steepest = max(float(np.max(np.abs(s.coefficient), initial=1.0)) for s in sides)
        most, least = (
            self.dropped * steepest * 2.0 ** (self.floor + 2 * ALLOWED / math.log(2)),
            _least(problem),
        )
        share = max(most / least, float(np.finfo(float).tiny)) if least else np.inf
        if not np.array_equal(problem.active, self.far.active) or share >= 2.0**-60:
            return None
        whole, felt = self.whole, self.felt(problem, self.floor + FELT - FLOOR)
        same = whole is not None and len(np.unique(whole)) == len(np.unique(felt))
        return share if same else None

    @cached_property
    def whole(self) -> Array | None:
        """The strong components of all weights, where every weight is within one."""
        return components(self._of(self.far.pairs))[0]

    def felt(self, problem: BlockProblem, low: float) -> Array:
        """The strong components of the weights whose marginal costs are at least 2^low."""
        pairs = problem.pairs
        if self.weak or low > self.floor + FELT - FLOOR:
            pairs = tuple(_without_weak(p, low) for p in pairs)
        return components(self._of(pairs))[1]

    def groups(self, problem: BlockProblem) -> Array | None:
        """The strong components of what is felt for sure; None where some hang by no more than that."""
        low = self.floor + FELT - FLOOR
        found = self.felt(problem, low)
        return found if _alike(found, self.felt(problem, low + _GAP)) else None

    def loose(self, problem: BlockProblem) -> Array | None:
        """Groups that no sum of a unit's costs feels the ties between; None where all are one group, or some
        hang by little more."""
        least = _least(problem)
        if not 0 < least < np.inf or self.whole is None:
            return None
        low = math.log2(least) - _UNFELT
        found = self.felt(problem, low)
        loose = not _alike(found, self.whole) and _alike(found, self.felt(problem, low + _GAP))
        return found if loose else None

    def _of(self, pairs: Sequence[Pair]) -> BlockProblem:
        """Those blocks, for what is connected by them."""
        moving = tuple(p for p in pairs if len(p.rows.scales) or len(p.columns.scales))
        zeros = tuple(p.size - int(np.count_nonzero(p.weights)) for p in moving)
        return BlockProblem(self.manifold, moving, 0.0, zeros, (), self.far.active, (), ())

    def refused(self) -> RequestError:
        """For a weight that is too small, and cannot be left out."""
        return _refused(self.smallest, "small")


def _least(problem: BlockProblem) -> float:
    """The least sum of the marginal costs of a unit that moves."""
    balance = problem.balanced_by(problem.start)
    return float(np.min((balance.incoming + balance.outgoing)[problem.active], initial=np.inf))


def _alike(coarse: Array, fine: Array) -> bool:
    """Whether two partitions of which one refines the other are one."""
    return len(np.unique(coarse)) == len(np.unique(fine))


def _without_weak(pair: Pair, low: float) -> Pair:
    with np.errstate(under="ignore"):
        weak = pair.power * pair.factor * np.abs(pair.weights) ** pair.power < 2.0**low
    weights = np.where(weak, 0.0, pair.weights)
    weights.flags.writeable = False
    return replace(pair, weights=weights)


def _refused(name: str, how: str) -> RequestError:
    return RequestError(
        f"the cost of weight {name} is too {how} for double precision, against those of other weights, "
        "however units are rescaled by powers of two",
        "set weights that are as good as 0 to 0, or use a smaller exponent",
    )


def measured(far: Far) -> tuple[Wide, Array]:
    """The cost of the weights as they are, and the imbalances at all scales that move; in one read.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> cost, imbalances = measured(Far.of(infer(load("tests/data/chain.json")), Costs.parse("l2")))
    >>> cost.double(), imbalances.round(2).tolist()
    (18.25, [0.95, 0.0])
    """
    total: list[Wide] = []
    units: list[Array] = []
    signed: list[Wide] = []
    for pair, exponents in zip(far.pairs, far.exponents, strict=True):
        r = len(exponents) // pair.groups
        tops = powers.tops(exponents, r, np.zeros(len(exponents)), np.zeros(pair.groups * exponents.shape[1]))
        whole = [np.where(np.isfinite(t), t, 0.0).astype(np.int64) for t in tops]
        sums = powers.relative(pair.weights, r, pair.power, pair.loop, *whole)
        found = [_times(s, pair.power * w.astype(np.float64)) for s, w in zip(sums, whole, strict=True)]
        total.append(Wide(pair.factor * found[0].value, found[0].exponent))
        if pair.loop:
            own = np.abs(np.einsum("iik->ik", pair.weights)).ravel()
            total.append(power(own[own > 0], pair.power, pair.factor))
        for (_, side), own in zip(pair.sides(), found, strict=True):
            units.append(np.where(side.unit < 0, far.manifold.count, side.unit))
            signed.append(Wide(pair.power * pair.factor * side.coefficient * own.value, own.exponent))
    return joined(total).total(), np.where(far.active, _imbalances(far.manifold.count, units, signed), 0.0)


def _imbalances(count: int, units: Sequence[Array], signed: Sequence[Wide]) -> Array:
    """|Σ|/Σ|·| of what belongs to every scale."""
    unit, all_of_it = np.concatenate([*units, np.zeros(0, np.int64)]), joined(signed)
    top = np.full(count + 1, np.iinfo(np.int64).min // 4)
    there = all_of_it.value != 0
    np.maximum.at(top, unit[there], all_of_it.exponent[there])
    moved = np.clip(all_of_it.exponent - top[unit], -5000, 0).astype(np.int32)
    share = np.where(there, np.ldexp(all_of_it.value, moved), 0.0)
    rest, size = (np.bincount(unit, x, count + 1)[:count] for x in (share, np.abs(share)))
    return np.abs(rest) / np.where(size > 0, size, 1.0)


def _times(values: Array, exponent: Array) -> Wide:
    """values·2^exponent."""
    whole = np.floor(exponent)
    return Wide(values * np.exp2(exponent - whole), whole.astype(np.int64))


def joined(found: Sequence[Wide]) -> Wide:
    """All of them."""
    return Wide(
        np.concatenate([*(w.value for w in found), np.zeros(0)]),
        np.concatenate([*(w.exponent for w in found), np.zeros(0, np.int64)]),
    )


def _exponents(pair: Pair) -> Array:
    """The largest binary exponent along the kernel; that of a unit to itself is left out."""
    found = np.empty(pair.weights.shape[:2], np.int16)
    step = max(1, (1 << 20) // max(1, pair.weights[:1].size))
    for at in range(0, len(found), step):
        part = pair.weights[at : at + step]
        own = np.where(part != 0, np.frexp(part)[1], powers.NONE)
        found[at : at + step] = own.max(axis=2, initial=powers.NONE)
    if pair.loop:
        np.fill_diagonal(found, powers.NONE)
    return found
