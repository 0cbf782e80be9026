"""How far a state is from balance where groups of units are so weakly tied that doubles cannot tell.

Newton's method in balls of many bits finds a state h* nearer to balance than any double. Around it the test
of `isotone` holds with a minute s: where no weight has two moving scales of one sign,

    ∇F(h* + s·d) > 0 > ∇F(h* − s·d)

in every component puts the only balanced state within s·d of h*, and then max|h*| + s·max d bounds its
distance from the state 0. Sums of 1 and 1e-120 need bits, not care: both gradients are evaluated in balls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb, arb_mat, ctx, fmpq

from balproof.balance.certificates import NoCertificate
from balproof.balance.clusters import Digraph
from balproof.balance.enclosure import drifting
from balproof.balance.problem import BalanceProblem
from balproof.symbolic.numeric import rational

_MOST = 120
"""Scales up to which equations are solved in balls: a second or so."""

_STEPS = 30

Term = tuple[arb, tuple[tuple[int, arb], ...]]
"""One exponential of F: ω, and its row times the exponent."""


def refined_radius(problem: BalanceProblem) -> float | NoCertificate:
    """A bound on the distance, in every log-scale, of the state h = 0 to the only balanced one.

    As in `enclosure.state_radius` one scale of a part without visible units is taken as it is.

    >>> from balproof.balance.direct import direct
    >>> from balproof.importers import load
    >>> ties = [[0, 1, 1e-30, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1e-6, 1, 0]]
    >>> problem = BalanceProblem.build(load({"J": np.array(ties)}))
    >>> refined_radius(problem.rescaled(direct(problem).h)) < 1e-12
    True
    """
    if Digraph.of(problem) is None:
        return NoCertificate("the costs are no directed graph: no comparison of states")
    moving = [int(k) for k in np.flatnonzero(problem.active)]
    pinned = drifting(problem.rows, moving)
    scales = [k for k in moving if k not in pinned]
    if not scales:
        return 0.0
    if len(scales) > _MOST:
        return NoCertificate(f"more than {_MOST} scales move, too many for many bits")
    sizes = np.log2(np.concatenate([problem.marginal_of(problem.weights), [1.0]]))
    with ctx.workprec(256 + 4 * int(np.ptp(sizes))):
        terms = _terms(problem, {k: i for i, k in enumerate(scales)})
        return terms if isinstance(terms, NoCertificate) else _radius(terms, len(scales))


def _radius(terms: Sequence[Term], n: int) -> float | NoCertificate:
    failure = NoCertificate("no balanced state was found nearby in balls of many bits")
    h = [arb(0)] * n
    tiny = arb(2) ** (-ctx.prec // 2)
    for _ in range(_STEPS):
        gradient, hessian = _derivatives(terms, h)
        diagonal = [hessian[k, k].mid() for k in range(n)]
        try:
            found = hessian.solve(arb_mat([[-g, d] for g, d in zip(gradient, diagonal, strict=True)]))
        except ZeroDivisionError:
            return failure
        moves, d = ([found[k, j].mid() for k in range(n)] for j in (0, 1))
        largest = max(abs(x) for x in moves)
        if not largest < 1:  # far from balance, or not a number
            return failure
        h = [(x + y).mid() for x, y in zip(h, moves, strict=True)]
        if largest < tiny:
            break
    else:
        return failure
    top = max(d, default=arb(1))
    if not all(x > 0 for x in d):
        return failure
    s = (arb(2) ** -64 / top).mid()
    above, below = ([(x + sign * s * y).mid() for x, y in zip(h, d, strict=True)] for sign in (1, -1))
    if not all(g > 0 for g in _gradient(terms, above)) or not all(g < 0 for g in _gradient(terms, below)):
        return failure
    reach = max(abs(x) for point in (above, below) for x in point)
    return float(np.nextafter(float(reach.upper()), np.inf))


def _terms(problem: BalanceProblem, place: dict[int, int]) -> list[Term] | NoCertificate:
    rows = problem.rows
    terms: list[Term] = []
    for regularizer, part in problem.groups:
        for a, p in regularizer.terms or ():
            factor, power = rational(a), rational(p)
            if factor is None or power is None:
                return NoCertificate(f"coefficient {a} or exponent {p} is not rational")
            exact, exponent = (arb(fmpq(q.numerator, q.denominator)) for q in (factor, power))
            for w, row in zip(problem.weights[part], rows[part], strict=True):
                kept = tuple(
                    (place[k], exponent * arb(fmpq(c.numerator, c.denominator))) for k, c in row if k in place
                )
                if kept:
                    terms.append((exact * arb(float(w)) ** exponent, kept))
    return terms


def _costs(terms: Sequence[Term], h: Sequence[arb]) -> list[arb]:
    return [omega * sum((c * h[k] for k, c in row), arb(0)).exp() for omega, row in terms]


def _gradient(terms: Sequence[Term], h: Sequence[arb]) -> list[arb]:
    total = [arb(0)] * len(h)
    for cost, (_, row) in zip(_costs(terms, h), terms, strict=True):
        for k, c in row:
            total[k] += c * cost
    return total


def _derivatives(terms: Sequence[Term], h: Sequence[arb]) -> tuple[list[arb], arb_mat]:
    total, hessian = [arb(0)] * len(h), arb_mat(len(h), len(h))
    for cost, (_, row) in zip(_costs(terms, h), terms, strict=True):
        for k, c in row:
            total[k] += c * cost
            for j, b in row:
                hessian[k, j] += c * b * cost
    return total, hessian
