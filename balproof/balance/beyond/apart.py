"""Groups of units that only costs beyond double precision tie together: each group as one unit.

Against the costs that hold a group together those between groups are nothing, and no group feels them; but
nothing else depends on how groups stand to each other, so that they alone decide it, however small they are.
A group moves as a whole, and the weights from one group to another are as one weight, the p-norm of all. What
has to be balanced then is a recurrent network with a unit for each group, which is solved as any other, by
way of powers of two again. `clusters` does the same where doubles hold all costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from balproof.balance.beyond import powers
from balproof.balance.blocks.pairs import Pair

if TYPE_CHECKING:
    from balproof.balance.solve import Solution

Array = np.ndarray

MOST = 2_000
"""More groups than this are not balanced: their network is a matrix."""

_LOWEST = -1000
"""Weights between groups are not below this power of two, against the largest."""

Reduce = Callable[[dict[str, Array], float], "Solution"]
"""Solves a recurrent network with one weight between any two groups, under costs of one power."""


def between(
    pairs: Sequence[Pair], labels: Array, active: Array, shift: Array, h: Array, reduce: Reduce
) -> tuple[Array, float] | None:
    """The log-scale of every scale's group, and how unbalanced groups are with it.

    ``labels`` are the groups of the scales and of all that does not move; the weights have the log-scales
    ``shift``·log 2 + h. All costs are one, and all degrees are 1. None where groups are too many, or the
    weights between them too far apart.
    """
    moving = np.append(active, True)
    groups = np.unique(labels[moving], return_inverse=True)[1].ravel()
    group = np.zeros(len(labels), int)
    group[moving] = groups
    count, power = int(groups.max()) + 1, pairs[0].power if pairs else 1.0
    if count > MOST:
        return None
    top = np.full((count, count), np.iinfo(np.int64).min // 4)
    norm = np.zeros((count, count))
    for filling in (False, True):
        for pair in pairs:
            ends: list[Array] = []
            for _, side in pair.sides():
                able = side.moves(active)
                ends.append(np.where(able, group[side.unit] if len(h) else 0, group[-1]))
                ends.append(np.where(able, side.coefficient, 0.0))
                ends.append(
                    np.rint(side.coefficient * shift[side.unit]).astype(np.int64) if len(h) else ends[0]
                )
                ends.append(np.exp(side.logs(h)))
            powers.norms(pair.weights, len(pair.weights) // pair.groups, power, filling, top, norm, *ends)
    there = norm > 0
    if not there.any():
        return None
    largest = int(top[there].max())
    if int(top[there].min()) < largest + _LOWEST:
        return None
    sizes = np.ldexp(norm ** (1 / power), np.where(there, top - largest, 0).astype(np.int32))
    found = reduce(_network(sizes, int(group[-1])), power)
    inner = np.delete(np.arange(count), group[-1])
    t = np.zeros(count)
    t[inner] = found.h
    rest = max(found.imbalance, found.cut_imbalance or 0.0)
    return np.where(active, t[group[:-1]], 0.0), rest


def _network(sizes: Array, ground: int) -> dict[str, Array]:
    """Entry (i, j) of ``sizes`` is the weight from group j to group i; the group of the ground is visible."""
    inner = np.delete(np.arange(len(sizes)), ground)
    found = {"J": sizes[np.ix_(inner, inner)]}
    if sizes[inner, ground].any() or sizes[ground, inner].any():
        found |= {"W_in": sizes[inner][:, [ground]], "W_out": sizes[[ground]][:, inner]}
    return found
