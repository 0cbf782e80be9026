"""The order in which a sweep takes the layers."""

# Compiled code: see `balproof.balance.blocks.kernels`.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportPrivateImportUsage]

from balproof.balance.blocks.kernels import Plan, reads
from balproof.balance.colouring import breadth_first, first_fit

Array = np.ndarray

_MORE = 1.1
"""So many times the reads of the cheapest order are worth an order by colours."""


def order_of(plan: Plan) -> Array:
    """By colours, so that layers of one colour share no block; forward or backward where that reads less.

    Between two colours sweeps damp symmetrically: their modes are real and come in pairs, so that mixing does
    for them what conjugate gradients would do (Young, Iterative Solution of Large Linear Systems, 1971,
    chapter 5, on consistently ordered matrices).

    >>> from balproof.balance.blocks.problem import BlockProblem
    >>> from balproof.balance.blocks.plan import plan_of
    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> problem = BlockProblem.build(infer(load("tests/data/chain.json")), Costs.parse("l2"))
    >>> order_of(plan_of(problem)).tolist()
    [0, 1]
    """
    colour = colours(plan)
    forward = np.arange(len(colour))
    either = min((forward, forward[::-1].copy()), key=lambda order: reads(plan, order))
    by_colour = np.argsort(colour, kind="stable")
    return by_colour if reads(plan, by_colour) <= _MORE * reads(plan, either) else either


def colours(plan: Plan) -> Array:
    """A colour for each layer, other than that of any layer that it shares a block with: two, if possible."""
    starts, near = _near(plan)
    order = breadth_first(starts, near)
    found = first_fit(starts, near, order)
    if found.max(initial=0) < 2:
        return found
    return first_fit(starts, near, order[np.argsort(-np.diff(starts)[order], kind="stable")])


@njit(nogil=True, cache=True)
def _near(plan):
    """The layers that share a block with each, as in CSR."""
    count, blocks = len(plan.unit_start) - 1, len(plan.power)
    starts, last = np.zeros(count + 1, np.int64), np.full(count, -1)
    of_block = np.zeros(blocks + 1, np.int64)
    for side in plan.side:
        of_block[side // 2 + 1] += 1
    for b in range(blocks):
        of_block[b + 1] += of_block[b]
    layers, end = np.empty(len(plan.side), np.int64), of_block.copy()
    for layer in range(count):
        for side in plan.side[plan.touch_start[layer] : plan.touch_start[layer + 1]]:
            layers[end[side // 2]] = layer
            end[side // 2] += 1
    most = 0
    for b in range(blocks):
        most += (of_block[b + 1] - of_block[b]) ** 2
    near, at = np.empty(most, np.int64), 0
    for layer in range(count):
        last[layer] = layer
        for side in plan.side[plan.touch_start[layer] : plan.touch_start[layer + 1]]:
            for other in layers[of_block[side // 2] : of_block[side // 2 + 1]]:
                if last[other] != layer:
                    last[other] = layer
                    near[at] = other
                    at += 1
        starts[layer + 1] = at
    return starts, near[:at]
