"""The order in which a sweep takes the layers."""

from __future__ import annotations

import numpy as np
from scipy import sparse

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
    count = len(plan.unit_start) - 1
    layer = np.repeat(np.arange(count), np.diff(plan.touch_start))
    within = sparse.csr_array(
        (np.ones(len(layer), np.int32), (layer, plan.side // 2)), (count, len(plan.power))
    )
    near = sparse.csr_array(within @ within.T)
    near.sort_indices()
    order = breadth_first(near)
    found = first_fit(near, order)
    if found.max(initial=0) < 2:
        return found
    return first_fit(near, order[np.argsort(-np.diff(near.indptr)[order], kind="stable")])
