"""A certificate for networks of any size, in a few reads of the weights: a box around the balanced state.

Let t_k > 0 be half the width of the box |u_k − h_k| ≤ t_k in each scale that moves. Suppose that

    ∂_kF > 0 on its face u_k = h_k + t_k  and  ∂_kF < 0 on its face u_k = h_k − t_k,   for every k.

F has a minimum on the box, and it is on no face: from there F falls inward. So ∇F = 0 at a point inside, and
as F is convex that is a minimum of F on the whole. None lies outside: all points between the two would be
minima, one of them on a face, where ∇F ≠ 0. And there is only one: F, a sum of exponentials, would be
constant on the line through two of them, which leaves the box. Hence |h* − h| ≤ t, and

    F(h) − F(h*) ≤ ⟨∇F(h), h − h*⟩ ≤ Σ_k |∂_kF(h)|·t_k.

The slopes on a face are bounded weight by weight. One with the scales k and j adds

    p·c_k·ω·exp(p·c_k u_k)·exp(p·c_j u_j)

to ∂_kF. On the upper face u_k is known, and the last factor lies between exp(p(c_j h_j − |c_j|t_j)) and
exp(p(c_j h_j + |c_j|t_j)): the least that can be is that with the former where c_k > 0, with the latter
where c_k < 0. On the lower face, for the most that can be, they change places. Row sums of a block with some
factors of its columns, and column sums with some factors of its rows, are one read; there is a second where
the coefficients of a side have both signs. If all weights have scales of opposite signs these factors are
those at h ± t, and ∇F(h + t) > 0 > ∇F(h − t) is all that is asked: Collatz's comparison of states for
inverse-isotone maps.

To first order in t the bounds are ∂_kF(h) ± (⟨H⟩t)_k with the comparison matrix ⟨H⟩ of the Hessian, weight
by weight. That is the Hessian of a network all of whose weights have scales of opposite signs
(`Curvature.compared`), a symmetric M-matrix if something holds each part. So t = s·d, with ⟨H⟩d near |∇F(h)|
and its rounding; any t that passes will do. All sums are of positive terms, so that γ_n = n·u/(1 − n·u)
bounds the rounding of in and out relatively, in whatever order they are added (Higham, Accuracy and
Stability, Section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from balproof.balance.blocks.curvature import Curvature, Factors
from balproof.balance.blocks.pairs import Side, team
from balproof.balance.blocks.parts import Parts
from balproof.balance.blocks.problem import Balance, BlockProblem
from balproof.balance.certificates.gap import UNIT, GapCertificate, NoCertificate

Array = np.ndarray

_ITERATIONS = 300

_WIDEST = 0.25
"""So much a box may change the logarithm of a weight's cost by one scale; `_rounding` counts on it."""

_NEAR = 1e-8
"""The imbalance from which Newton's method takes a step or two to the end."""

_SUMS = 1e-6
"""More than the rounding of a sum of costs over any network."""

_SURE = 1.01
"""Times γ: what of in − out, computed, may be rounding, with all that is of second order."""


@team()
def certify_blocks(
    problem: BlockProblem, h: Array | None = None, sums: Factors | None = None
) -> GapCertificate | NoCertificate:
    """Bound gap and distance in log-scale of the state h (default 0, the weights that ``problem`` holds).

    ``sums`` are those there, where they are known.

    >>> from balproof.balance.problem import Costs
    >>> from balproof.balance.solve import solve
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> after = solve(load("tests/data/chain.json")).network
    >>> found = certify_blocks(BlockProblem.build(infer(after), Costs.parse("l2")))
    >>> found.radius < 1e-13, found.gap < 1e-24
    (True, True)
    """
    h = np.zeros(problem.manifold.count) if h is None else h
    gamma = _rounding(problem, h)
    sums = problem.sums(h) if sums is None else sums
    here = problem.balanced_by(sums, h)
    parts = Parts.of(problem)
    problem = parts.pinned(problem, here.incoming + here.outgoing)
    moving = np.flatnonzero(problem.active)
    if not len(moving):
        return GapCertificate("isotone", 0.0, 0.0, 53, 0.0)
    if parts.at_odds:
        return NoCertificate(
            "scales that nothing holds have weights with two of them of one sign: no comparison of states"
        )
    total, slopes = here.incoming + here.outgoing, np.abs(here.incoming - here.outgoing)
    needed = np.where(problem.active, slopes * (1 + 2 * UNIT) + _SURE * gamma * total, 0.0)
    found = _direction(Curvature.at(problem, h, sums).compared(), needed, total)
    if found is None:
        return NoCertificate("no direction in which all slopes rise was found")
    d, rises = found
    s = 1.02 * float(np.max(needed[moving] / rises[moving]))
    box = _Box.of(problem, h)
    for _ in range(12):
        t = s * d
        if box.reach(t) > _WIDEST:
            break
        if all(_beyond(box.face(t, sign), sign, moving, gamma) for sign in (1, -1)):
            absolute = float(needed @ t) * (1 + _SUMS)
            floor = problem.cost_by(sums, h) * (1 - _SUMS) - absolute
            if floor > 0:
                return GapCertificate(
                    "isotone", absolute / floor * (1 + 4 * UNIT), absolute, 53, float(np.max(t))
                )
            break
        s *= 2
    if np.all(slopes <= _SURE * gamma * total):  # balanced as well as can be told
        return NoCertificate("rounding in double precision is too large here for a comparison of states")
    return NoCertificate("the state is too far from balance for a comparison of states")


def polished(problem: BlockProblem, h: Array, sums: Factors) -> tuple[Array, Factors, int]:
    """Newton steps from a state that is nearly balanced, with the sums there: state, sums and reads.

    They end where the imbalance is that of the rounding, or does not halve.
    """
    reads, gamma = 0, _rounding(problem, h)
    here = problem.balanced_by(sums, h)
    able = Parts.of(problem).pinned(problem, here.incoming + here.outgoing)
    imbalance = problem.imbalance_of(here)
    while gamma < imbalance < _NEAR:
        total = here.incoming + here.outgoing
        rest = np.where(able.active, here.outgoing - here.incoming, 0.0)
        goal = 0.1 * gamma * total
        curvature = Curvature.at(able, h, sums)
        move, _, taken = curvature.solve(rest, lambda _, r, goal=goal: bool(np.all(np.abs(r) <= goal)), 30)
        trial = h + move
        renewed = problem.sums(trial)
        there = problem.balanced_by(renewed, trial)
        reached = problem.imbalance_of(there)
        reads += taken + 1
        if not reached < imbalance / 2:
            break
        h, sums, here, imbalance = trial, renewed, there, reached
    return h, sums, reads


# --- the faces of a box -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Box:
    """Boxes around a state, by the factors of all blocks there.

    ``signs`` are those of the coefficients of both sides of every block, where they move.
    """

    problem: BlockProblem
    factors: Factors
    signs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]

    @staticmethod
    def of(problem: BlockProblem, h: Array) -> _Box:
        signs = [(_signs(p.rows, problem.active), _signs(p.columns, problem.active)) for p in problem.pairs]
        return _Box(problem, [pair.factors(h) for pair in problem.pairs], signs)

    def reach(self, t: Array) -> float:
        """The most that a scale moves the logarithm of a cost."""
        return max(
            float(np.max(pair.power * np.abs(side.logs(t)), initial=0.0))
            for pair in self.problem.pairs
            for _, side in pair.sides()
        )

    def face(self, t: Array, sign: int) -> Balance:
        """In and out of every scale k on its face u_k = h_k + sign·t_k, at worst for a slope of that sign."""
        into, out = np.zeros(len(t)), np.zeros(len(t))
        for pair, (e, y), signs in zip(self.problem.pairs, self.factors, self.signs, strict=True):
            reach = [pair.power * np.abs(side.logs(t)) for _, side in pair.sides()]
            for turn in range(max(map(len, signs))):
                a, b = (own[min(turn, len(own) - 1)] for own in signs)
                sums = pair.read(e * np.exp(-sign * b * reach[0]), y * np.exp(-sign * a * reach[1]))
                for (i, side), factor, own in zip(pair.sides(), (e, y), sums, strict=True):
                    if turn < len(signs[i]):
                        c = signs[i][turn]
                        moved = pair.power * pair.factor * factor * np.exp(sign * c * reach[i]) * own
                        side.add(np.where(c * side.coefficient > 0, moved, 0.0), into, out)
        return Balance(into, out)


def _signs(side: Side, active: Array) -> tuple[int, ...]:
    """The signs of the coefficients that move; (1,) where none does."""
    moving = side.coefficient[side.moves(active)]
    found = tuple(sign for sign in (1, -1) if np.any(sign * moving > 0))
    return found or (1,)


def _beyond(found: Balance, sign: int, moving: Array, gamma: float) -> bool:
    """Whether sign·∇F > 0 in every moving component, for certain."""
    incoming, outgoing = found.incoming[moving], found.outgoing[moving]
    return bool(np.all(sign * (incoming - outgoing) > _SURE * gamma * (incoming + outgoing)))


def _rounding(problem: BlockProblem, h: Array) -> float:
    """γ of what comes into a scale or goes out, in a box around h.

    A cost is rounded by its power, its kernel, the products and the two factors exp(x), whose x = p·c·h is
    rounded by 4|x|u (p, c and two products) and in the box by little more; then come the sums along a row or
    a column, over all places of a scale on a side, and over blocks.
    """
    longest, furthest, exponent = 0, 0.0, 0.0
    uses = np.zeros(problem.manifold.count, int)
    for pair in problem.pairs:
        for (_, side), terms in zip(pair.sides(), pair.lengths, strict=True):
            scaled = side.unit[side.unit >= 0]
            if len(scaled):
                np.add.at(uses, scaled, 1)
                longest = max(longest, terms)
        logs = (np.abs(side.logs(h)).max(initial=0.0) for _, side in pair.sides())
        furthest = max(furthest, 4 * pair.power * sum(logs))
        if pair.power * 2**20 % 1:  # a double near the exponent that is meant: 700 > log of any cost
            exponent = 700.0
    count = 64 + longest + int(uses.max(initial=0)) + int(np.ceil(furthest + exponent))
    return count * UNIT / (1 - count * UNIT) + problem.lost


def _direction(curvature: Curvature, needed: Array, total: Array) -> tuple[Array, Array] | None:
    """d > 0 with ⟨H⟩d at least a good part of ``needed``, and ⟨H⟩d."""
    moving = np.flatnonzero(curvature.problem.active)
    if not np.all(curvature.diagonal[moving] > 0):
        return None
    # Not less than a part of the greatest everywhere: the iterations see sums of squares.
    least = 0.05 * float(np.max(needed[moving] / total[moving]))
    right = np.maximum(needed, least * total)
    right[~curvature.problem.active] = 0.0

    def done(d: Array, residual: Array) -> bool:
        return bool(np.all(d[moving] > 0) and np.all(residual[moving] < 0.4 * right[moving]))

    d, residual, _ = curvature.solve(right, done, _ITERATIONS)
    return (d, right - residual) if done(d, residual) else None
