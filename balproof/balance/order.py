"""The order in which a sweep takes the layers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from balproof.balance.kernels import Plan, reads

Array = np.ndarray

_MORE = 1.1
"""So many times the reads of the cheapest order are worth an order by colours."""


def order_of(plan: Plan) -> Array:
    """By colours, so that layers of one colour share no block; forward or backward where that reads less.

    Between two colours sweeps damp symmetrically: their modes are real and come in pairs, so that mixing does
    for them what conjugate gradients would do (Young, Iterative Solution of Large Linear Systems, 1971,
    chapter 5, on consistently ordered matrices).

    >>> from balproof.balance.blocks import BlockProblem
    >>> from balproof.balance.plan import plan_of
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
    near: list[set[int]] = [set() for _ in range(count)]
    of_block: dict[int, list[int]] = {}
    for i, s in zip(layer.tolist(), plan.side.tolist(), strict=True):
        of_block.setdefault(s // 2, []).append(i)
    for own in of_block.values():
        for i in own:
            near[i].update(own)
    connected = list(_breadth_first(near))
    found = _greedy(near, connected)
    if found.max(initial=0) < 2:
        return found
    return _greedy(near, sorted(connected, key=lambda i: -len(near[i])))


def _breadth_first(near: Sequence[set[int]]) -> Iterator[int]:
    seen: set[int] = set()
    for first in range(len(near)):
        waiting = deque([first])
        while waiting:
            i = waiting.popleft()
            if i not in seen:
                seen.add(i)
                yield i
                waiting += sorted(near[i] - seen)


def _greedy(near: Sequence[set[int]], order: Iterable[int]) -> Array:
    """Each layer in turn has the first colour that none near it has."""
    colour = np.full(len(near), -1)
    for i in order:
        used = {int(colour[k]) for k in near[i]}
        colour[i] = next(c for c in range(len(near)) if c not in used)
    return colour
