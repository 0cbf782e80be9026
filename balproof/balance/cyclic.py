"""Exact cyclic sweeps over layers, in about one read of the weights each.

A layer is balanced by its sums on both sides. In a chain the sums of what goes out are those that the last
sweep added up when it balanced the next layer; what comes in is summed, the layer is balanced and the sums
for the one before it are added up while a row is in the cache: one read. Where weights from several blocks
come into a layer, all of them but one are read once more.

Two things carry it over the slow modes: after every sweep whole layers are moved by one scale each, by sums
that are there anyway, and the state is mixed with earlier ones by Anderson's method. What a sweep starts from
is mixed, the sums with the scales, so that this reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from balproof.balance import kernels
from balproof.balance.anderson import Anderson
from balproof.balance.blocks import BlockProblem, Sums
from balproof.balance.coarse import shift_of_groups
from balproof.balance.multilevel import stagnant
from balproof.balance.pairs import team
from balproof.balance.simultaneous import simultaneous
from balproof.balance.state import Iterate, Progress

Array = np.ndarray

LAYERS = 20_000
"""More layers than this are not moved as wholes."""


@dataclass(frozen=True, eq=False)
class _Touch:
    """A side of a block that has units of a layer.

    ``place`` says where each entry is in the layer (or that it is not: its length), None where they are all
    of it in order. ``weight`` is power·factor·coefficient of each entry, one number where they are equal.
    """

    pair: int
    side: int
    place: Array | None
    weight: Array | float
    loop: bool

    def add(self, sums: Array, factor: Array, into: Array, out: Array) -> None:
        """What the entries add to what comes into the units (or goes out)."""
        marginal = factor * sums
        if isinstance(self.weight, float):
            marginal *= abs(self.weight)
            total = into if self.weight > 0 else out
            total += marginal if self.place is None else np.bincount(self.place, marginal, len(into) + 1)[:-1]
            return
        marginal *= self.weight
        for sign, total in ((1, into), (-1, out)):
            part = np.maximum(sign * marginal, 0)
            total += part if self.place is None else np.bincount(self.place, part, len(into) + 1)[:-1]

    def of(self, values: Array, rest: float = 0.0) -> Array:
        """Values of the units for each entry; ``rest`` for entries that are not of this layer."""
        return values if self.place is None else np.append(values, rest)[self.place]


@dataclass(frozen=True, eq=False)
class _Layer:
    """Units that are balanced together. ``inverse`` is 1/slope of log(in/out) along each."""

    units: Array
    inverse: Array
    touches: tuple[_Touch, ...]
    leads: tuple[_Touch, ...]
    """The rows of the block that loops, or of those whose read can balance the layer, the largest first."""

    @cached_property
    def where(self) -> Array | slice:
        """The units as an index."""
        first, n = int(self.units[0]), len(self.units)
        return slice(first, first + n) if self.units[-1] - first + 1 == n else self.units

    @staticmethod
    def all(problem: BlockProblem) -> list[_Layer]:
        """The layers of the units that move, in their order."""
        number = problem.layers
        units = [np.flatnonzero(number == i) for i in range(int(number.max(initial=-1)) + 1)]
        place = np.zeros(len(number), dtype=int)
        for own in units:
            place[own] = np.arange(len(own))
        slope = np.zeros((2, len(number)))
        touches: list[list[_Touch]] = [[] for _ in units]
        for b, pair in enumerate(problem.pairs):
            for s, side in pair.sides():
                if side.run is not None:
                    where, c = side.run
                    own, reach = number[where], slope[0 if c > 0 else 1][where]
                    np.maximum(reach, abs(c) * pair.power, out=reach)
                    i = int(own[0])
                    if np.all(own == i) and (i < 0 or len(own) == len(units[i])):
                        if i >= 0:
                            touches[i].append(_Touch(b, s, None, pair.power * pair.factor * c, pair.loop))
                        continue
                seen = side.unit >= 0
                for k in (0, 1):
                    reach = np.maximum((1, -1)[k] * side.coefficient, 0) * pair.power
                    np.maximum.at(slope[k], side.unit[seen], reach[seen])
                layers = np.where(seen, number[side.unit], -1) if len(number) else np.zeros(0, int)
                weight: Array | float = pair.power * pair.factor * side.coefficient
                if len(side.coefficient) and np.all(side.coefficient == side.coefficient[0]):
                    weight = float(pair.power * pair.factor * side.coefficient[0])
                for i in np.unique(layers[layers >= 0]).tolist():
                    if np.array_equal(side.unit, units[i]):
                        touches[i].append(_Touch(b, s, None, weight, pair.loop))
                        continue
                    own = np.where(layers == i, place[side.unit], len(units[i]))
                    touches[i].append(_Touch(b, s, own, weight, pair.loop))
        # Where a unit has several exponents, the largest: the step then falls short, and never goes too far.
        total = slope.sum(axis=0)
        inverse = np.where(total > 0, 1 / np.where(total > 0, total, 1.0), 0.0)
        return [
            _Layer(u, inverse[u], tuple(t), _leads(problem, t)) for u, t in zip(units, touches, strict=True)
        ]


def _leads(problem: BlockProblem, touches: list[_Touch]) -> tuple[_Touch, ...]:
    pairs, rows = problem.pairs, [t for t in touches if t.side == 0]
    able = [t for t in rows if pairs[t.pair].rows.once and pairs[t.pair].fused]
    loops = [t for t in rows if t.loop]
    return tuple(loops[:1] or sorted(able, key=lambda t: -pairs[t.pair].size))


class _Run:
    """A state h with the factors of all sides, and the sums that are up to date."""

    def __init__(self, problem: BlockProblem, h: Array, sums: tuple[Sums, ...]) -> None:
        self.problem = problem
        self.h = h
        self.read = 0
        self.factors = [list(pair.factors(h)) for pair in problem.pairs]
        self.sums: list[list[Array | None]] = [list(own) for own in sums]
        known = () if h.any() else problem.after
        self.after = {b: own for b, own in enumerate(known) if own is not None}
        self._rows: dict[tuple[int, ...], sparse.csr_array] = {}

    @cached_property
    def layers(self) -> list[_Layer]:
        """In the order, forward or backward, that reads less."""
        made = _Layer.all(self.problem)
        return min((made, made[::-1]), key=self._reads)

    def _reads(self, order: list[_Layer]) -> int:
        """How many weights the second sweep in this order reads."""
        fresh = [[True, True] for _ in self.problem.pairs]
        total = 0
        for sweep in range(2):
            for layer in order:
                lead = self._lead(layer, lambda b: not fresh[b][0])
                for t in layer.touches:
                    if not fresh[t.pair][t.side] or t is lead:
                        total += sweep * self.problem.pairs[t.pair].size
                        fresh[t.pair] = [True, True]
                for t in layer.touches:
                    if t is not lead:
                        fresh[t.pair][1 - t.side] = False
        return total

    def _lead(self, layer: _Layer, stale: Callable[[int], bool]) -> _Touch | None:
        """The block whose read balances the layer: one that loops, or the largest that must be read."""
        return next((t for t in layer.leads if t.loop or stale(t.pair)), None)

    def one_loop(self) -> Array | None:
        """`_Layer.inverse` of all scales, where nearly all weights are those of one layer that feeds itself."""
        if len(self.layers) != 1 or not self.layers[0].leads:
            return None
        pair = self.problem.pairs[self.layers[0].leads[0].pair]
        if not pair.loop or 2 * pair.size < self.problem.size:
            return None
        inverse = np.zeros(len(self.h))
        inverse[self.layers[0].where] = self.layers[0].inverse
        return inverse

    def renew(self, b: int) -> None:
        """Read a block."""
        pair, (e, y) = self.problem.pairs[b], self.factors[b]
        self.read += pair.size
        if pair.loop:
            rows, columns, self.after[b] = pair.read_loop(e, y)
            self.sums[b] = [rows, columns]
        else:
            self.sums[b] = list(pair.read(e, y))

    def visit(self, layer: _Layer) -> float:
        """Balance a layer, and say how far from balance it was."""
        pairs, lead = self.problem.pairs, self._lead(layer, lambda b: self.sums[b][0] is None)
        loop = lead is not None and pairs[lead.pair].loop
        if lead is not None and loop and lead.pair not in self.after:
            self.renew(lead.pair)
        others = [t for t in layer.touches if lead is None or t.pair != lead.pair]
        into, out = np.zeros((2, len(layer.units)))
        for t in others:
            sums = self.sums[t.pair][t.side]
            if sums is None:
                self.renew(t.pair)
                sums = self.sums[t.pair][t.side]
            assert sums is not None
            t.add(sums, self.factors[t.pair][t.side], into, out)
        if lead is None:
            self._move(layer, layer.inverse, into, out)
        elif loop:
            self._step_loop(layer, lead, into, out)
        else:
            self._step(layer, lead, into, out)
        for t in others:
            side = (pairs[t.pair].rows, pairs[t.pair].columns)[t.side]
            self.factors[t.pair][t.side] = side.factor(self.h, pairs[t.pair].power)
            self.sums[t.pair][1 - t.side] = None
        return kernels.imbalance(into, out)

    def _move(self, layer: _Layer, inverse: Array, into: Array, out: Array) -> None:
        moves = (inverse > 0) & (into > 0) & (out > 0)
        ratio = np.divide(out, into, where=moves, out=np.ones(len(moves)))
        self.h[layer.where] += np.log(ratio) * inverse

    def _step(self, layer: _Layer, lead: _Touch, into: Array, out: Array) -> None:
        pair, (e, y) = self.problem.pairs[lead.pair], self.factors[lead.pair]
        self.factors[lead.pair][0] = new = e.copy()
        h = lead.of(self.h[layer.where]).copy()
        rows, columns = pair.step(new, y, lead.of(into), lead.of(out), lead.of(layer.inverse), h)
        self.read += pair.size
        self.sums[lead.pair] = [rows, columns]
        if lead.place is None:
            lead.add(rows, e, into, out)
            self.h[layer.where] = h
            return
        mine = lead.place < len(layer.units)
        rest = np.ones(len(layer.units), bool)
        rest[lead.place[mine]] = False  # units without a row in this block
        self._move(layer, np.where(rest, layer.inverse, 0.0), into, out)
        lead.add(rows, e, into, out)
        self.h[layer.units[lead.place[mine]]] = h[mine]

    def _step_loop(self, layer: _Layer, lead: _Touch, into: Array, out: Array) -> None:
        b, pair = lead.pair, self.problem.pairs[lead.pair]
        was = self.factors[b]
        e, y = self.factors[b] = [was[0].copy(), was[1].copy()]
        h, inverse = self.h[pair.rows.unit], lead.of(layer.inverse)
        known = self.sums[b][1]
        rows, columns, self.after[b] = pair.read_loop(
            e, y, (lead.of(into), lead.of(out), inverse, h, self.after[b])
        )
        self.read += pair.size
        self.h[pair.rows.unit] = h
        self.sums[b] = [None, columns]
        other = next(t for t in layer.touches if t.pair == b and t.side == 1)
        lead.add(rows, was[0], into, out)
        other.add(columns if known is None else known, was[1], into, out)

    def shift_layers(self) -> None:
        """Move whole layers to where F is least, and the sums with them."""
        number = self.problem.layers
        if not 0 < int(number.max(initial=-1)) + 1 <= LAYERS:
            return
        found = self.problem.layer_costs(self.factors, [(own[0], own[1]) for own in self.sums])
        if found is None:
            return
        costs, sides = found
        if sides not in self._rows:
            self._rows[sides] = self.problem.layer_rows(sides)
        t = shift_of_groups(costs, self._rows[sides], 1.0)
        self.h = self.h + np.where(number >= 0, t[number], 0.0)
        for b, (pair, labels) in enumerate(zip(self.problem.pairs, self.problem.labels, strict=True)):
            for s, (side, label) in enumerate(zip((pair.rows, pair.columns), labels, strict=True)):
                own = self.sums[b][1 - s]
                if len(label.kinds) > 1:
                    self.factors[b][s] = side.factor(self.h, pair.power)
                    self.sums[b][1 - s] = None
                    continue
                layer, c = next(iter(label.kinds), (0, 0.0))
                if not c:
                    continue
                by = float(np.exp(pair.power * c * t[layer]))
                self.factors[b][s] = self.factors[b][s] * by
                self.sums[b][1 - s] = None if own is None else own * by
                if s == 0 and b in self.after:
                    self.after[b] = self.after[b] * by

    def cost(self) -> float:
        return self.problem.cost_of(self.factors, [(own[0], own[1]) for own in self.sums])

    @property
    def complete(self) -> bool:
        """Whether all sums that layers balance by are up to date."""
        return all(self.sums[t.pair][t.side] is not None for layer in self.layers for t in layer.touches)

    def imbalance(self) -> float:
        """That of the state; what is out of date is read."""
        worst = 0.0
        for layer in self.layers:
            into, out = np.zeros((2, len(layer.units)))
            for t in layer.touches:
                if self.sums[t.pair][t.side] is None:
                    self.renew(t.pair)
                sums = self.sums[t.pair][t.side]
                assert sums is not None
                t.add(sums, self.factors[t.pair][t.side], into, out)
            worst = max(worst, kernels.imbalance(into, out))
        return worst

    def carried(self) -> Array:
        """The logarithms of what the next sweep starts from besides h; 0 for sums of nothing."""
        parts = [s for own in self.sums for s in own if s is not None] + list(self.after.values())
        whole = np.concatenate([p.ravel() for p in parts]) if parts else np.zeros(0)
        return np.log(whole, where=whole > 0, out=np.zeros(len(whole)))

    def restart(self, h: Array, carried: Array) -> None:
        """Go on from h and from other sums."""
        self.h, at = h, 0
        for b, pair in enumerate(self.problem.pairs):
            self.factors[b] = list(pair.factors(h))
        places: list[tuple[list[Array | None] | dict[int, Array], int]] = [
            (own, s) for own in self.sums for s in (0, 1) if own[s] is not None
        ]
        places += [(self.after, b) for b in self.after]
        for holder, s in places:
            old = holder[s]
            assert old is not None
            new = np.exp(carried[at : at + old.size])
            holder[s] = np.where(old > 0, new, 0.0)
            at += old.size


@team()
def sweeps(
    problem: BlockProblem,
    *,
    tolerance: float = 1e-13,
    limit: int = 500,
    coarse: bool = True,
    memory: int = 8,
    progress: Progress | None = None,
) -> Iterate:
    """Sweeps until the imbalance is at most ``tolerance``; plain ones without ``coarse`` and ``memory``.

    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> problem = BlockProblem.build(infer(load("tests/data/chain.json")), Costs.parse("l2"))
    >>> sweeps(problem).imbalance <= 1e-13
    True
    """
    zero = np.zeros(problem.manifold.count)
    run, mixer = _Run(problem, zero.copy(), problem.start), Anderson(memory)
    imbalance = problem.imbalance_of(problem.balanced_by(problem.start))
    history, recent = [problem.cost_by(problem.start, zero)], [imbalance]
    run.read = problem.size  # what `BlockProblem.build` read
    best = imbalance, zero
    if coarse and memory and (inverse := run.one_loop()) is not None:
        found = simultaneous(problem, inverse, tolerance, limit, memory, progress)
        imbalance, history, recent = found.imbalance, list(found.history), [found.imbalance]
        best, limit = (imbalance, found.h), 0 if found.stopped else limit - found.reads
        run = _Run(problem, found.h, found.sums)
        run.read = problem.size * (1 + found.reads)
    if coarse:
        run.shift_layers()
    for sweep in range(limit):
        if imbalance <= tolerance or not run.layers:
            break
        before = run.h.copy()
        lag = max(run.visit(layer) for layer in run.layers)
        if coarse:
            run.shift_layers()
        history.append(run.cost())
        # What the visits saw was before their steps; the next would see as much less as these did.
        expected = lag * min(1.0, lag / recent[-1]) if recent[-1] else lag
        recent.append(lag)
        still = lag < 1e-11 and stagnant(recent)
        stopped = progress and progress(f"sweep {sweep + 1}: imbalance {lag:.1e}")
        if run.complete or expected <= tolerance or still or stopped or sweep + 1 == limit:
            imbalance = run.imbalance()
            if imbalance < best[0]:
                best = imbalance, run.h.copy()
            if still or stopped:
                break
        if memory and imbalance > tolerance:
            run.restart(*mixer.mix(before, run.h, run.carried()))
    return Iterate(best[1], "block sweeps", best[0], run.read / problem.size, tuple(history))
