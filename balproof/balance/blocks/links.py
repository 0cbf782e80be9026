"""Layers that are tied one to one, as by the scale of a normalisation: settled between sweeps, unread.

Sweeps balance one of two tied layers at a time and are slow along both. Every block is taken for one of rank
one, in each of its groups, with the sums that it has; a tie is a group of one weight and so taken as it is.
"""

# Compiled code: see `balproof.balance.blocks.kernels`.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportPrivateImportUsage]

from balproof.balance.blocks.kernels import Plan, gather

Array = np.ndarray


def linked(plan: Plan, order: Array) -> Array:
    """The layers, in this order, that a block ties one to one, but for those of blocks that loop."""
    rows = np.diff(plan.start)[::2]
    tied = (rows == plan.groups) & (np.diff(plan.start)[1::2] == plan.groups) & (plan.groups > 1)
    if not tied.any():
        return order[:0]
    both = np.isin(np.arange(len(plan.start) - 1), plan.side).reshape(-1, 2).all(axis=1)
    layer = np.repeat(np.arange(len(plan.unit_start) - 1), np.diff(plan.touch_start))
    found = np.zeros(len(plan.unit_start) - 1, bool)
    found[layer[(tied & both)[plan.side // 2]]] = True
    found[layer[plan.loop[plan.side // 2]]] = False
    return order[found[order]]


@njit(nogil=True, cache=True)
def settle_links(plan, order, h, factors, sums, fresh):
    """Balance these layers in turn; what is out of date is made to agree first."""
    for b in range(len(plan.power)):
        for s in (2 * b, 2 * b + 1):
            if not fresh[s] and fresh[s ^ 1]:
                _scale(plan, s, _totals(plan, s, factors, sums), _totals(plan, s ^ 1, factors, sums), sums)
    for layer in order:
        into, out = gather(plan, layer, -1, factors, sums)
        first = plan.unit_start[layer]
        for i in range(len(into)):
            unit = plan.units[first + i]
            if into[i] > 0 and out[i] > 0:
                h[unit] += np.log(out[i] / into[i]) * plan.inverse[unit]
        for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
            s = plan.side[t]
            was = _totals(plan, s, factors, sums)
            for k in range(plan.entry_start[t], plan.entry_start[t + 1]):
                j = plan.entry[k]
                factors[j] = np.exp(plan.exponent[j] * h[plan.unit[j]])
            _scale(plan, s ^ 1, was, _totals(plan, s, factors, sums), sums)


@njit(nogil=True, cache=True)
def _totals(plan, s, factors, sums):
    """The cost of every group of a block by the sums of one side, without ``factor``."""
    groups = plan.groups[s // 2]
    found = np.zeros(groups)
    each = (plan.start[s + 1] - plan.start[s]) // groups
    for g in range(groups):
        for j in range(plan.start[s] + g * each, plan.start[s] + (g + 1) * each):
            found[g] += factors[j] * sums[j]
    return found


@njit(nogil=True, cache=True)
def _scale(plan, s, was, now, sums):
    """Make the sums of a side larger as the costs of the groups became."""
    groups = plan.groups[s // 2]
    each = (plan.start[s + 1] - plan.start[s]) // groups
    for g in range(groups):
        if was[g] > 0 and now[g] > 0:
            by = now[g] / was[g]
            for j in range(plan.start[s] + g * each, plan.start[s] + (g + 1) * each):
                sums[j] *= by
