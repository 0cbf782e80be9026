"""What happened to one tensor: the simplest change of its scales that explains the entries that are wrong.

A tensor whose log-scales should be the sum of terms, one along its rows and one along its columns say, is
compared with what mistakes make of it: a term left out, of the opposite sign or to another power, given to
other slices, both terms at each other's place. A mistake is taken where it makes more entries right than it
costs; of what is left, slices that have a factor of their own are told from single entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np

from balproof.crosscheck.scales import Rounding, log_ratio, misses
from balproof.network.manifold import Block, Manifold

Array = np.ndarray
Change = Literal[
    "kept",
    "left",
    "reversed",
    "power",
    "transposed",
    "turned",
    "misplaced",
    "constant",
    "slices",
    "sign",
    "zero",
    "clipped",
    "rounded",
    "not-finite",
    "entries",
]

POWERS = tuple(Fraction(a, b) for a, b in ((1, 2), (2, 1), (1, 3), (3, 1), (1, 4), (4, 1), (2, 3), (3, 2)))
"""Exponents that a scale may have had by mistake: a forgotten p, degree or square root."""

COST: Mapping[Change, float] = {
    "kept": 0.5,
    "left": 1.0,
    "reversed": 1.2,
    "power": 1.5,
    "transposed": 1.5,
    "turned": 1.0,
    "misplaced": 1.5,
    "constant": 2.5,
    "slices": 1.0,
    "sign": 1.0,
    "zero": 1.0,
    "clipped": 1.0,
    "rounded": 1.0,
    "not-finite": 1.0,
}
"""In entries: a change must explain more of them. A single entry costs 1, each slice of its own 0.9 more."""

ALL_SIDES = 0.15
"""A change of all terms costs so much more than one of one term, and less than that in two tensors more."""

FEWEST = 4
"""So many entries must speak for a change with a number of its own: of two or three, chance explains some."""

FEWEST_ALIKE = 3
"""Or so many where they are all that is wrong, and have one factor."""

CHANGES = 4
"""So many changes of scales are looked for in one tensor."""


@dataclass(frozen=True, eq=False)
class Part:
    """One change of one tensor.

    ``mask`` marks its entries, ``term`` is the term of the block that it is about, ``slices`` are the places
    along that term (for slices: along ``axis``) and ``whole`` says that these are all that have a scale.
    ``factors`` are the log-factors of slices, ``power`` the exponent that a scale had instead.
    """

    change: Change
    tensor: str
    mask: Array
    cost: float
    term: int | None = None
    axis: int | None = None
    slices: tuple[int, ...] = ()
    whole: bool = True
    factors: tuple[float, ...] = ()
    power: Fraction | None = None


@dataclass(frozen=True, eq=False)
class _Variant:
    change: Change
    log: Array
    index: Array | None = None  # which slice an entry is in; None: all are one
    term: int | None = None
    axis: int | None = None
    factors: Array | None = None
    power: Fraction | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A tensor before and after, in the view of its block, and the scales that it should have."""

    manifold: Manifold
    block: Block
    old: Array
    new: Array
    rounding: Rounding
    h: Array

    @cached_property
    def terms(self) -> list[tuple[Array, Array]]:
        """Of each term, which slice an entry is in, and the log-scale of each slice."""
        return [(t.index, t.matrix(self.manifold.count) @ self.h) for t in self.block.terms]

    @cached_property
    def log(self) -> Array:
        total = np.zeros(self.block.shape)
        for index, scales in self.terms:
            total += scales[index]
        return total

    @cached_property
    def left(self) -> Array:
        """What is left of the logarithms of the quotients, not finite where one of the weights is 0."""
        return log_ratio(self.old, self.new) - self.log

    def wrong(self, log: Array) -> Array:
        return misses(self.old, self.new, log, self.rounding)[0]


def parts_of(view: View) -> list[Part]:
    """The changes of a tensor, the single entries that none explains last; none if all entries are right."""
    name, shape = view.block.name, view.block.shape
    open_ = view.wrong(view.log)
    if not open_.any():
        return []
    found: list[Part] = []

    def take(change: Change, mask: Array, cost: float, **more: object) -> None:
        if mask.any():
            found.append(Part(change, name, mask.copy(), cost, **more))  # type: ignore[arg-type]
            open_[mask] = False

    take("not-finite", open_ & ~np.isfinite(view.new), COST["not-finite"])
    take("turned", _turned(view, open_), COST["turned"])
    flipped = open_ & (np.sign(view.old) * np.sign(view.new) < 0)
    take("sign", flipped, min(float(flipped.sum()), COST["sign"] + 1))
    zero = open_ & (view.new == 0)
    take("zero", zero, min(float(zero.sum()), COST["zero"] + 1))
    most = np.max(np.abs(view.new), initial=0.0)
    clipped = open_ & (np.abs(view.new) == most) & (view.left < 0)
    if clipped.sum() > 1 and not (open_ & (np.abs(view.new) > most)).any():
        take("clipped", clipped, COST["clipped"])
    for _ in range(CHANGES):
        if not open_.any():
            break
        best: tuple[float, _Variant, Array] | None = None
        for variant in _variants(view, open_):
            gain, chosen = _gain(view, variant, open_)
            if gain > (best[0] if best else 1e-9):
                best = gain, variant, chosen
        if best is None:
            break
        _, variant, chosen = best
        index = np.zeros(shape, int) if variant.index is None else np.broadcast_to(variant.index, shape)
        mask = open_ & chosen[index] & ~view.wrong(variant.log)
        slices = tuple(int(i) for i in np.flatnonzero(chosen))
        factors = () if variant.factors is None else tuple(float(variant.factors[i]) for i in slices)
        take(
            *(variant.change, mask, _cost(view, variant, chosen)),
            term=variant.term,
            axis=variant.axis,
            slices=slices,
            whole=_is_whole(view, variant, chosen),
            factors=factors,
            power=variant.power,
        )
    take("entries", open_, float(open_.sum()))
    return found


def _gain(view: View, variant: _Variant, open_: Array) -> tuple[float, Array]:
    """How many more entries are right, less the cost, and the slices that the change is made in."""
    shape = view.block.shape
    index = np.zeros(shape, int) if variant.index is None else np.broadcast_to(variant.index, shape)
    wrong = view.wrong(variant.log)
    size = int(index.max()) + 1

    def count(mask: Array) -> Array:
        return np.bincount(index[mask], minlength=size)

    gained, lost = count(open_ & ~wrong), count(~open_ & wrong)
    chosen = (gained > lost) & (2 * gained >= count(open_))
    fewest = FEWEST
    if variant.change == "constant" and not (open_ & wrong).any():
        fewest = FEWEST_ALIKE
    if variant.change not in ("kept", "left") and gained[chosen].sum() < fewest:
        return 0.0, chosen
    return float((gained - lost)[chosen].sum()) - _cost(view, variant, chosen), chosen


def _cost(view: View, variant: _Variant, chosen: Array) -> float:
    cost = COST[variant.change]
    if variant.term is None and variant.change in ("reversed", "power"):
        cost += ALL_SIDES
    if variant.change == "slices":
        return cost + 0.9 * int(chosen.sum())
    return cost if _is_whole(view, variant, chosen) else cost + 0.2 + 0.02 * int(chosen.sum())


def _is_whole(view: View, variant: _Variant, chosen: Array) -> bool:
    """Whether these are all slices that have a scale of their own to speak of."""
    if variant.term is None:
        return bool(chosen.all())
    scales = view.terms[variant.term][1]
    return not (~chosen & (np.abs(scales) > 1e3 * view.rounding.unit)).any()


# --- what may have been done -------------------------------------------------------------------------


def _variants(view: View, open_: Array) -> Iterator[_Variant]:
    log, terms = view.log, view.terms
    moving = [np.max(np.abs(scales), initial=0.0) > 1e3 * view.rounding.unit for _, scales in terms]
    if sum(moving) > 1:
        yield _Variant("kept", np.zeros_like(log))
    for t, (index, scales) in enumerate(terms):
        own = scales[index]
        yield _Variant("kept" if len(terms) == 1 else "left", log - own, index, t)
        yield _Variant("reversed", log - 2 * own, index, t)
        for power in POWERS:
            yield _Variant("power", log + (float(power) - 1) * own, index, t, power=power)
        if (placed := _misplaced(view, t)) is not None:
            yield _Variant("misplaced", placed, index, t)
    transposed = list(_transposed(view))
    yield from transposed
    if sum(moving) > 1:  # all terms alike
        if not any(np.allclose(v.log, -log) for v in transposed):
            yield _Variant("reversed", -log)
        for power in POWERS:
            yield _Variant("power", float(power) * log, power=power)
    usable = open_ & np.isfinite(view.left)
    if usable.sum() >= FEWEST_ALIKE:
        factor = float(np.median(view.left[usable]))
        yield _Variant("constant", log + factor, factors=np.array([factor]))
    for axis, n in enumerate(log.shape):
        if n > 1 and log.size > n:
            place = np.arange(n).reshape([-1 if a == axis else 1 for a in range(log.ndim)])
            factors = _medians(np.where(usable, view.left, np.nan), np.broadcast_to(place, log.shape), n)
            yield _Variant("slices", log + factors[place], place, axis=axis, factors=factors)


def _medians(left: Array, index: Array, n: int) -> Array:
    """The median of each slice, 0 where it has no entry."""
    flat, place = left.ravel(), np.broadcast_to(index, left.shape).ravel()
    keep = np.isfinite(flat)
    order = np.lexsort((flat[keep], place[keep]))
    values, place = flat[keep][order], place[keep][order]
    first = np.searchsorted(place, np.arange(n))
    count = np.searchsorted(place, np.arange(n), side="right") - first
    found = np.zeros(n)
    some = count > 0
    found[some] = values[(first + (count - 1) // 2)[some]]
    return found


def _misplaced(view: View, t: int) -> Array | None:
    """The same scales, but on other slices of the term, where what is found is a permutation of them."""
    index, scales = view.terms[t]
    n = len(scales)
    if n < 3:
        return None
    own = view.left + scales[index]
    seen = _medians(own, np.broadcast_to(index, own.shape), n)
    rank, order = np.argsort(np.argsort(seen, kind="stable"), kind="stable"), np.sort(scales)
    if np.max(np.abs(order[rank] - seen)) > 64 * view.rounding.noise * (1 + np.max(np.abs(scales))):
        return None
    return view.log - scales[index] + order[rank][index]


def _turned(view: View, open_: Array) -> Array:
    """All that is wrong, if it is because the weights are transposed, before or after scaling."""
    shape = view.block.shape
    if len(shape) == 2 and shape[0] == shape[1] and open_.sum() >= FEWEST:
        for log in (view.log, view.log.T):
            wrong = misses(view.old.T, view.new, log, view.rounding)[0]
            if not wrong.any():
                return open_.copy()
    return np.zeros(shape, bool)


def _transposed(view: View) -> Iterator[_Variant]:
    """Two terms along two axes of one length, at each other's place: multiplied for divided, too."""
    if len(view.terms) != 2:
        return
    (rows, a), (columns, b) = view.terms
    axes = [[i for i, n in enumerate(t.shape) if n > 1] for t in (rows, columns)]
    if [len(x) for x in axes] != [1, 1] or axes[0] == axes[1] or a[rows].size != b[columns].size:
        return
    swapped = np.swapaxes(a[rows], axes[0][0], axes[1][0]) + np.swapaxes(b[columns], axes[0][0], axes[1][0])
    yield _Variant("transposed", np.broadcast_to(swapped, view.block.shape))
    yield _Variant("transposed", np.broadcast_to(-swapped, view.block.shape))
