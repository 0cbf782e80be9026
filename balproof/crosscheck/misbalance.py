"""Rescaled rightly, and yet not in balance: what was done instead?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from balproof.balance.problem import Costs
from balproof.balance.solve import solve
from balproof.crosscheck.causes import Cause
from balproof.crosscheck.extremes import Asked, Extremes
from balproof.crosscheck.judged import judge
from balproof.crosscheck.optimality import EXACT
from balproof.errors import RequestError
from balproof.network.graph import Network
from balproof.network.manifold import Manifold

Array = np.ndarray

OTHERS = ("l2", "l1", "lp:3/2", "lp:3", "lp:4", "max", "range")
"""Costs that a program may have balanced under instead, each with and without biases."""


def what_was_done(
    manifold: Manifold, before: Network, after: Network, costs: Asked, h: Array, limit: float
) -> Cause | None:
    """Nothing; a power of the scales that balance; balance under another cost; None if it was none of these.

    ``manifold`` is that of both networks, and ``h`` the scales between them.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> net = load("tests/data/chain.json"); after = solve(net, "l1").network
    >>> what_was_done(infer(net), net, after, Costs.parse("l2"), np.ones(2), 1e-9).detail
    'under l1'
    """
    if not np.any(np.abs(h) > limit):
        return Cause("left-as-it-was", ())
    if sum(t.size for t in before.learned) > EXACT:
        return None
    if isinstance(costs, Costs) and (power := _power(before, costs, h, limit)) is not None:
        return Cause("scales-to-a-power", (), detail=f"{power} times their logarithms")
    there = dataclasses.replace(manifold, network=after)
    for other in _others(costs):
        try:
            state = judge(there, other)
        except RequestError:  # weights too far apart for this cost
            continue
        if state.active.any() and state.imbalance <= limit:
            return Cause("another-cost", (), detail=f"under {other.name}")
    return None


def _others(costs: Asked) -> Iterator[Asked]:
    from balproof.crosscheck.extremes import asked

    for bias_cost in (costs.bias_cost, not costs.bias_cost):
        for spec in OTHERS:
            other = asked(spec, bias_cost=bias_cost)
            if other.name != costs.name and not (isinstance(costs, Extremes) and other == costs):
                yield other


def _power(before: Network, costs: Costs, h: Array, limit: float) -> Fraction | None:
    """q with h = q·h* for the h* that balances, another simple number than 1."""
    best = solve(before, costs).h
    if best.shape != h.shape or float(np.max(np.abs(best), initial=0.0)) < 0.01:
        return None
    q = Fraction(float(h @ best / (best @ best))).limit_denominator(4)
    close = float(np.max(np.abs(h - float(q) * best))) <= 10 * limit * (1 + float(np.max(np.abs(h))))
    return q if close and q != 1 and len(h) > 1 else None
