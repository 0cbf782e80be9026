"""A certificate for networks of any size, in a few reads of the weights: a state above and a state below.

Let no weight have two moving scales of one sign (and no degree be negative). Then all ∂_j∂_kF(u) with j ≠ k
are ≤ 0. Take d > 0 on the moving scales and s > 0 with

    ∇F(s·d) > 0 > ∇F(−s·d)   in every component.

On the face u_k = s·d_k of the box |u_j| ≤ s·d_j all other u_j are at most s·d_j, so ∂_kF(u) ≥ ∂_kF(s·d) > 0,
and likewise below: F grows outward on every face, and has a minimum inside. F is convex, so that is one of
F on the whole, and the weights there are the only balanced ones. For the state 0 this says |h*| ≤ s·d, and

    F(0) − F(h*) ≤ ⟨∇F(0), −h*⟩ ≤ s·Σ_k |∂_kF(0)|·d_k.

At another state h it says |h* − h| ≤ s·d, by the gradients at h ± s·d. Any d will do; one with H·d near the
diagonal of H needs the smallest s. All sums are of positive terms, so that γ_n = n·u/(1 − n·u) bounds the
rounding of in and out relatively, in whatever order they are added (Higham, Accuracy and Stability, Section
3.1). The comparison of states is Collatz's for inverse-isotone maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from balproof.balance.blocks import Balance, BlockProblem
from balproof.balance.certificates import UNIT, GapCertificate, NoCertificate
from balproof.balance.cyclic import LAYERS
from balproof.balance.pairs import Side

Array = np.ndarray

_ITERATIONS = 300


def certify_blocks(problem: BlockProblem, h: Array | None = None) -> GapCertificate | NoCertificate:
    """Bound gap and distance in log-scale of the state h (default 0, the weights that ``problem`` holds).

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
    if not _opposed(problem):
        return NoCertificate("a weight has two scales of one sign: no comparison of states")
    gamma = _rounding(problem, h)
    sums = problem.sums(h)
    here = problem.balanced_by(sums, h)
    problem = _pinned(problem, here.incoming + here.outgoing)
    moving = np.flatnonzero(problem.active)
    if not len(moving):
        return GapCertificate("isotone", 0.0, 0.0, 53, 0.0)
    total, rest = (here.incoming + here.outgoing)[moving], (here.incoming - here.outgoing)[moving]
    d = _direction(_Curvature(problem, h, sums), moving)
    if d is None:
        return NoCertificate("no direction in which all slopes rise was found")
    slopes = np.abs(rest) + gamma * total
    s = 2 * float(np.max(slopes / total))
    for _ in range(12):
        if problem.power * s * float(np.max(d)) > 0.25:
            break
        if all(_beyond(problem.balance(h + sign * s * d), sign, moving, gamma) for sign in (1, -1)):
            radius = s * float(np.max(d)) * (1 + 4 * UNIT)
            absolute = s * float(slopes @ d[moving]) * (1 + gamma)
            floor = problem.cost_by(sums, h) * (1 - gamma) - absolute
            if floor > 0:
                return GapCertificate("isotone", absolute / floor * (1 + 4 * UNIT), absolute, 53, radius)
            break
        s *= 2
    return NoCertificate("the state is too far from balance for a comparison of states")


def _pinned(problem: BlockProblem, weight: Array) -> BlockProblem:
    """The same with one scale held in each part that nothing holds and whose scales can move as one.

    There F does not change along them together, so that its minimum with one of them held is one of F. It is
    the one of the greatest ``weight``: the others are then held best.
    """
    count = problem.manifold.count
    tails: list[Array] = []
    heads: list[Array] = []
    for b, pair in enumerate(problem.pairs):
        node = count + 1 + b
        for _, side in pair.sides():
            free = side.moves(problem.active) & np.isin(np.abs(side.coefficient), (0.0, 1.0))
            seen = np.unique(np.where(free, side.unit, count))
            tails.append(seen)
            heads.append(np.full(len(seen), node))
    i, j = (np.concatenate(x) if x else np.zeros(0, int) for x in (tails, heads))
    size = count + 1 + len(problem.pairs)
    part = connected_components(sparse.coo_array((np.ones(len(i)), (i, j)), (size, size)), directed=False)[1]
    loose = problem.active & (part[:count] != part[count])
    order = np.flatnonzero(loose)[np.argsort(-weight[loose], kind="stable")]
    held = order[np.unique(part[order], return_index=True)[1]]
    active = problem.active.copy()
    active[held] = False
    return replace(problem, active=active) if len(held) else problem


def _beyond(found: Balance, sign: int, moving: Array, gamma: float) -> bool:
    """Whether sign·∇F > 0 in every moving component, for certain."""
    incoming, outgoing = found.incoming[moving], found.outgoing[moving]
    return bool(np.all(sign * (incoming - outgoing) > 2 * gamma * (incoming + outgoing)))


def _opposed(problem: BlockProblem) -> bool:
    """Whether the two scales of every weight have opposite signs, where both move."""
    for pair in problem.pairs:
        rows, columns = (
            np.where(side.moves(problem.active), side.coefficient, 0).reshape(pair.groups, -1)
            for side in (pair.rows, pair.columns)
        )
        for sign in (1, -1):
            if np.any((sign * rows > 0).any(axis=1) & (sign * columns > 0).any(axis=1)):
                return False
    return True


def _rounding(problem: BlockProblem, h: Array) -> float:
    """γ for a sum of costs: powers, kernels, two factors exp(x), of relative error |x|u, rows, blocks."""
    count = 64 + len(problem.pairs)
    longest, furthest = 0, 0.0
    for pair in problem.pairs:
        uses = max(_most(side) for _, side in pair.sides())
        longest = max(longest, pair.terms + uses)
        logs = (np.abs(side.logs(h)).max(initial=0.0) for _, side in pair.sides())
        furthest = max(furthest, 2 * pair.power * sum(logs))
    count += longest + int(np.ceil(furthest))
    return count * UNIT / (1 - count * UNIT)


def _most(side: Side) -> int:
    """How many places of a side one scale has, at most."""
    return int(np.bincount(side.unit[side.unit >= 0]).max(initial=0))


# --- a direction in which all slopes rise -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Curvature:
    """v ↦ H(h)·v, block by block."""

    problem: BlockProblem
    h: Array
    sums: tuple[tuple[Array, Array], ...]

    @cached_property
    def factors(self) -> list[tuple[Array, Array]]:
        return [pair.factors(self.h) for pair in self.problem.pairs]

    @cached_property
    def diagonal(self) -> Array:
        total = np.zeros(self.problem.manifold.count)
        for pair, own, factors in zip(self.problem.pairs, self.sums, self.factors, strict=True):
            weight = pair.power**2 * pair.factor
            for (_, side), sums, factor in zip(pair.sides(), own, factors, strict=True):
                total += side.over(weight * side.coefficient**2 * factor * sums, len(total))
        return np.where(self.problem.active, total, 0.0)

    def times(self, v: Array) -> Array:
        total = np.zeros(len(v))
        for pair, (rows, columns), (e, y) in zip(self.problem.pairs, self.sums, self.factors, strict=True):
            weight = pair.power**2 * pair.factor
            a, b = pair.rows.logs(v), pair.columns.logs(v)
            along, across = pair.read(a * e, b * y)
            left, right = e * (rows * a + along), y * (columns * b + across)
            total += pair.rows.over(weight * pair.rows.coefficient * left, len(v))
            total += pair.columns.over(weight * pair.columns.coefficient * right, len(v))
        return np.where(self.problem.active, total, 0.0)


def _direction(curvature: _Curvature, moving: Array) -> Array | None:
    """d > 0 with H·d at least half the diagonal: conjugate gradients, corrected by layers."""
    diagonal = curvature.diagonal
    if not np.all(diagonal[moving] > 0):
        return None
    inverse = np.zeros(len(diagonal))
    inverse[moving] = 1 / diagonal[moving]
    coarse = _by_layers(curvature)
    d, residual = np.zeros_like(diagonal), diagonal.copy()
    z = inverse * residual + coarse(residual)
    search, product = z.copy(), float(residual @ z)
    for step in range(_ITERATIONS):
        image = curvature.times(search)
        curved = float(search @ image)
        if not curved > 0:
            return None
        d = d + product / curved * search
        residual = residual - product / curved * image
        if step % 4 == 3 and np.all(d[moving] > 0) and np.all(residual[moving] < 0.5 * diagonal[moving]):
            return d
        z = inverse * residual + coarse(residual)
        before, product = product, float(residual @ z)
        search = z + product / before * search
    return None


def _by_layers(curvature: _Curvature) -> Callable[[Array], Array]:
    """r ↦ P (Pᵀ H P)⁻¹ Pᵀ r, with P constant on every layer."""
    problem = curvature.problem
    layers, count = problem.layers, int(problem.layers.max(initial=-1)) + 1
    if not 0 < count <= LAYERS:
        return np.zeros_like
    found = problem.layer_costs(curvature.factors, curvature.sums)
    if found is None:
        return np.zeros_like
    costs, sides = found
    rows = problem.layer_rows(sides)
    small = sparse.csc_array(rows.T @ sparse.diags_array(costs) @ rows)
    diagonal = small.diagonal()
    if not np.all(diagonal > 0):
        return np.zeros_like
    solver = splu(sparse.csc_array(small + 1e-12 * sparse.diags_array(diagonal)))
    moving = layers >= 0

    def correct(r: Array) -> Array:
        t = solver.solve(np.bincount(layers[moving], r[moving], count))
        return np.where(moving, t[layers], 0.0)

    return correct
