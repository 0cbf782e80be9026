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
    """Nothing; what was made of the scales that balance; balance under another cost; None if none of these.

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
    if isinstance(costs, Costs) and (made := _made_of(solve(before, costs).h, h, limit)) is not None:
        return made
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


def _made_of(best: Array, h: Array, limit: float) -> Cause | None:
    """What makes h of the scales that balance: a simple power, powers of two nearest to them, bounds.

    >>> best = np.array([-2.0, 0.1, 0.4, 1.5, 3.0])
    >>> _made_of(best, best / 2, 1e-9).detail
    '1/2 times their logarithms'
    >>> _made_of(best, np.clip(best, -3.0, 1.0), 1e-9).detail
    'to at most 2.718'
    """
    if best.shape != h.shape or len(h) < 2 or float(np.max(np.abs(best), initial=0.0)) < 0.01:
        return None
    slack = 10 * limit * (1 + float(np.max(np.abs(h))))
    q = Fraction(float(h @ best / (best @ best))).limit_denominator(4)
    if q != 1 and np.all(np.abs(h - float(q) * best) <= slack):
        return Cause("scales-to-a-power", (), detail=f"{q} times their logarithms")
    two = float(np.log(2.0))
    if np.all(np.abs(h - two * np.rint(best / two)) <= slack):
        return Cause("scales-rounded", (), detail="to powers of two")
    return _clipped(best, h, slack)


def _clipped(best: Array, h: Array, slack: float) -> Cause | None:
    """Scales beyond a bound were put on it. Evidence: two on one bound, and two that no bound holds."""
    low, high = float(h.min()), float(h.max())
    below, above = best < low - slack, best > high + slack
    inside = ~below & ~above & (h > low + slack) & (h < high - slack)
    if max(int(below.sum()), int(above.sum())) < 2 or inside.sum() < 2:
        return None
    if np.any(np.abs(h - np.clip(best, low, high)) > slack):
        return None
    bounds = ((below, "at least", low), (above, "at most", high))
    said = " and ".join(f"{word} {np.exp(bound):.4g}" for beyond, word, bound in bounds if beyond.any())
    return Cause("scales-clipped", (), detail=f"to {said}")
