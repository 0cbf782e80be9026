"""What sweeps over layers go over, as the arrays that compiled loops take (`kernels.Plan`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from balproof.balance.blocks.kernels import TABLE, Plan
from balproof.balance.blocks.problem import BlockProblem

Array = np.ndarray


def plan_of(problem: BlockProblem) -> Plan:
    """The layers of the scales that move, their sides, and the blocks that can balance them while read.

    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> plan = plan_of(BlockProblem.build(infer(load("tests/data/chain.json")), Costs.parse("l2")))
    >>> plan.units.tolist(), plan.unit.tolist(), plan.side.tolist(), plan.lead.tolist()
    ([0, 1], [0, -1, 1, 0, 1, -1], [0, 3, 2, 4], [0, 2, 3])
    """
    pairs, number = problem.pairs, problem.layers
    sides = [side for pair in pairs for _, side in pair.sides()]
    lengths = np.array([len(side.unit) for side in sides], int)
    start = _starts(lengths)
    unit = np.concatenate([np.zeros(0, int), *(side.unit for side in sides)])
    coefficient = np.concatenate([np.zeros(0), *(side.coefficient for side in sides)])
    power, factor = (np.array([getattr(p, name) for p in pairs], float) for name in ("power", "factor"))
    of_side = np.repeat(np.arange(len(sides)), lengths)
    exponent = coefficient * power[of_side // 2]
    layer = np.where(unit >= 0, number[unit], -1) if len(number) else np.full(len(unit), -1)
    units, unit_start, place = _layers(number)

    seen = np.flatnonzero(layer >= 0)
    key = layer[seen] * len(sides) + of_side[seen]
    sorted_by = np.argsort(key, kind="stable")
    entry, key = seen[sorted_by], key[sorted_by]
    entry_start = np.flatnonzero(np.diff(key, prepend=-1))
    touch_layer, touch_side = np.divmod(key[entry_start], max(1, len(sides)))
    twice = np.zeros(0, int)
    if any(side.run is None and not side.still for side in sides):
        twice = _twice(
            unit[entry], np.repeat(np.arange(len(entry_start)), np.diff(np.append(entry_start, len(entry))))
        )
    lead, lead_layer = _leads(problem, touch_layer, touch_side, twice)
    bounds = np.arange(len(unit_start))
    kind, kind_start, kinds = _kinds(start, layer, coefficient)
    return Plan(
        start=start,
        unit=unit,
        place=np.where(unit >= 0, place[unit], -1) if len(place) else np.full(len(unit), -1),
        coefficient=coefficient,
        exponent=exponent,
        weight=exponent * factor[of_side // 2],
        units=units,
        unit_start=unit_start,
        inverse=_inverse(len(number), unit, exponent),
        layer=number,
        side=touch_side,
        touch_start=np.searchsorted(touch_layer, bounds),
        entry=entry,
        entry_start=np.append(entry_start, len(entry)),
        lead=lead,
        lead_start=np.searchsorted(lead_layer, bounds),
        loop=np.array([p.loop for p in pairs], bool),
        power=power,
        factor=factor,
        groups=np.array([p.groups for p in pairs], int),
        mode=np.array([p.mode for p in pairs], int),
        shape=np.array([p.weights.shape for p in pairs], int).reshape(-1, 3),
        address=np.array([_address(p.weights) for p in pairs], int),
        table=np.array([_address(p.table) if p.mode == TABLE else 0 for p in pairs], int),
        kind=kind,
        kind_start=kind_start,
        kind_layer=kinds[0],
        kind_coefficient=kinds[1],
    )


def flat(of_blocks: Iterable[Sequence[Array]]) -> Array:
    """Values of both sides of every block, entry after entry as in a plan.

    >>> flat([(np.ones(1), np.zeros(2))]).tolist()
    [1.0, 0.0, 0.0]
    """
    return np.concatenate([np.zeros(0), *(part for own in of_blocks for part in own)])


def _address(values: Array) -> int:
    return int(values.__array_interface__["data"][0])


def _starts(lengths: Array) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)])


def _layers(number: Array) -> tuple[Array, Array, Array]:
    """The units that move, by layers, where each layer begins, and where each unit is in its own."""
    units = np.argsort(number, kind="stable")[np.count_nonzero(number < 0) :]
    start = np.searchsorted(number[units], np.arange(int(number.max(initial=-1)) + 2))
    place = np.full(len(number), -1)
    place[units] = np.arange(len(units)) - start[number[units]]
    return units, start, place


def _inverse(count: int, unit: Array, exponent: Array) -> Array:
    """1/slope of log(in/out) along each unit.

    Where a unit has several exponents, the largest: the step then falls short, and never goes too far.
    """
    slope = np.zeros((2, count))
    for own, sign in zip(slope, (1, -1), strict=True):
        there = sign * exponent > 0
        np.maximum.at(own, unit[there], np.abs(exponent[there]))
    total = slope.sum(axis=0)
    return np.divide(1.0, total, where=total > 0, out=np.zeros(count))


def _twice(unit: Array, touch: Array) -> Array:
    """The touches in which a unit comes twice."""
    order = np.lexsort((unit, touch))
    same = (np.diff(unit[order]) == 0) & (np.diff(touch[order]) == 0)
    return np.unique(touch[order][1:][same])


def _leads(problem: BlockProblem, layer: Array, side: Array, twice: Array) -> tuple[Array, Array]:
    """Touches that can lead, by layers: rows of a block that loops, or else of others, large ones first."""
    pairs = problem.pairs
    size = np.array([p.size for p in pairs], int)
    fused = np.array([p.fused and not p.loop for p in pairs], bool)
    loop = np.array([p.loop for p in pairs], bool)
    rows = side % 2 == 0
    able = rows & fused[side // 2]
    able[twice] = False
    first = np.flatnonzero(rows & loop[side // 2])
    first = first[np.unique(layer[first], return_index=True)[1]]
    able &= ~np.isin(layer, layer[first])
    able[first] = True
    found = np.flatnonzero(able)
    found = found[np.lexsort((-size[side[found] // 2], layer[found]))]
    return found, layer[found]


def _kinds(start: Array, layer: Array, coefficient: Array) -> tuple[Array, Array, tuple[Array, Array]]:
    """How entries of a side move with layers: whose kind each is, where kinds of sides begin, (layer, c)."""
    moves = np.where(layer >= 0, coefficient, 0.0)
    kind = np.zeros(len(layer), int)
    filled = np.flatnonzero(np.diff(start))
    differ = np.zeros(len(start) - 1, bool)
    if len(filled):
        first = np.repeat(start[:-1], np.diff(start))
        other = (layer != layer[first]) | (moves != moves[first])
        differ[filled] = np.logical_or.reduceat(other, start[filled])
    if len(filled) == len(differ) and not differ.any():
        first = start[:-1]
        return kind, np.arange(len(start)), (np.maximum(layer[first], 0), moves[first])
    layers: list[Array] = []
    coefficients: list[Array] = []
    for s in range(len(start) - 1):
        own = slice(start[s], start[s + 1])
        if differ[s]:
            keys, kind[own] = np.unique(layer[own] + 1j * moves[own], return_inverse=True)
            layers.append(np.maximum(keys.real, 0).astype(int))
            coefficients.append(keys.imag)
        else:
            layers.append(np.maximum(layer[own][:1], 0))
            coefficients.append(moves[own][:1])
    lengths = np.array([len(own) for own in layers], int)
    both = np.concatenate([np.zeros(0, int), *layers]), np.concatenate([np.zeros(0), *coefficients])
    return kind, _starts(lengths), both
