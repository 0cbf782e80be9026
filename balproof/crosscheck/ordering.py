"""Put hidden units into an order that does not depend on the order they were in.

Units are told apart by sums over their weights, each weight multiplied by a number that stands for the place
of the unit at its other end: its position if that is fixed, otherwise what is known of its rank. Ranks are
refined until nothing changes (colour refinement, Weisfeiler and Lehman 1968, with weights). Keys that differ
by less than the tolerance count as equal, and are left to later ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from balproof.network.axes import Permutable

Array = np.ndarray

_RATIOS = tuple(float(np.sqrt(p) % 1) for p in (5, 2, 3, 7, 11, 13, 17, 19))
"""Irrational numbers: their multiples, less whole ones, give every place a number of its own."""


@dataclass(frozen=True, eq=False)
class Order:
    """An order of the slices of each class.

    ``ties`` are groups of slices that could not be told apart though the weights would change if they were
    exchanged; ``twins`` are groups of which all orders give the same weights. Both are lists of positions.
    """

    orders: Mapping[int, Array]
    ties: tuple[tuple[int, tuple[int, ...]], ...]
    twins: tuple[tuple[int, tuple[int, ...]], ...]


def refine(ranks: Array, key: Array, gap: float) -> Array:
    """Ranks among those of equal rank by a key; keys that are no more than ``gap`` apart stay together.

    >>> refine(np.array([0, 0, 0]), np.array([3.0, 1.0, 1.0 + 1e-12]), 1e-9).tolist()
    [1, 0, 0]
    """
    order = np.lexsort((key, ranks))
    apart = (np.diff(ranks[order]) != 0) | (np.diff(key[order]) > gap)
    fresh = np.empty(len(ranks), dtype=np.int64)
    fresh[order] = np.concatenate([[0], np.cumsum(apart)])
    return fresh


def order_units(units: Permutable, tolerance: float) -> Order:
    """Order the slices of all classes by the weights, up to relative differences of ``tolerance``."""
    ranks = {c: np.zeros(n, dtype=np.int64) for c, n in units.sizes.items()}
    views = {name: units.view(name) for name in units.axes}
    idle = 0
    for step in range(4 * len(_RATIOS) + sum(units.sizes.values())):
        before = {c: int(r.max()) for c, r in ranks.items()}
        for c in units.sizes:
            if before[c] + 1 < units.sizes[c]:
                for key, size in _keys(units, views, ranks, c, _RATIOS[step % len(_RATIOS)]):
                    ranks[c] = refine(ranks[c], key, tolerance * size)
        idle = idle + 1 if all(int(r.max()) == before[c] for c, r in ranks.items()) else 0
        if idle == 2 or all(int(r.max()) + 1 == units.sizes[c] for c, r in ranks.items()):
            break
    groups = [(c, g) for c, r in ranks.items() for g in _groups(r)]
    same = {(c, g): _exchangeable(units, views, c, g, tolerance) for c, g in groups}
    return Order(
        {c: np.argsort(r, kind="stable") for c, r in ranks.items()},
        tuple(g for g in groups if not same[g]),
        tuple(g for g in groups if same[g]),
    )


def _keys(
    units: Permutable, views: Mapping[str, Array], ranks: Mapping[int, Array], c: int, ratio: float
) -> Iterator[tuple[Array, float]]:
    """Numbers for the slices of a class, each with its size where nothing cancels."""
    for name, axis in units.places(c):
        value = views[name]
        places = [np.arange(n) if k is None else ranks[k] for k, n in units.axes[name]]
        weighted = value
        for a, place in enumerate(places):
            if a != axis:
                weighted = weighted * _stands(place, ratio).reshape(
                    [-1 if b == a else 1 for b in range(value.ndim)]
                )
        others = tuple(a for a in range(value.ndim) if a != axis)
        sums = np.abs(weighted).sum(others)
        size = float(sums.max())
        yield sums, size
        yield weighted.sum(others), size
        for a, (k, _) in enumerate(units.axes[name]):
            if k == c and a > axis:  # what a unit has to itself, on the diagonal
                own = np.diagonal(value, axis1=axis, axis2=a).reshape(-1, units.sizes[c])
                weight = _stands(np.arange(len(own)), ratio)
                yield weight @ own, float(np.abs(own).sum(0).max()) * 1.5


def _stands(place: Array, ratio: float) -> Array:
    """A number between 1/2 and 3/2 for each place."""
    return 0.5 + (place + 1) * ratio % 1


def _groups(ranks: Array) -> list[tuple[int, ...]]:
    """The positions of slices that share a rank."""
    order = np.argsort(ranks, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(ranks[order])) + 1)
    return [tuple(int(i) for i in part) for part in parts if len(part) > 1]


def _exchangeable(
    units: Permutable, views: Mapping[str, Array], c: int, group: tuple[int, ...], tolerance: float
) -> bool:
    """Whether the weights stay as they are when neighbours in the group change places."""
    for i, j in zip(group[:-1], group[1:]):
        order = np.arange(units.sizes[c])
        order[[i, j]] = j, i
        for name in {name for name, _ in units.places(c)}:
            moved = views[name]
            for a, (k, _) in enumerate(units.axes[name]):
                if k == c:
                    moved = moved.take(order, a)
            size = float(np.abs(views[name]).max(initial=0.0))
            if not np.allclose(moved, views[name], rtol=0.0, atol=tolerance * size):
                return False
    return True
