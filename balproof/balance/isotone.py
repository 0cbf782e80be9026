"""A certificate for networks of any size, in a few reads of the weights: a state above and a state below.

Let no weight have two moving scales of one sign (and no degree be negative). Then all ∂_j∂_kF(u) with j ≠ k
are ≤ 0. Take d > 0 on the moving scales and s > 0 with

    ∇F(s·d) > 0 > ∇F(−s·d)   in every component.

On the face u_k = s·d_k of the box |u_j| ≤ s·d_j all other u_j are at most s·d_j, so ∂_kF(u) ≥ ∂_kF(s·d) > 0,
and likewise below: F grows outward on every face, and has a minimum inside. F is convex, so that is one of
F on the whole, and the weights there are the only balanced ones. For the state 0 this says |h*| ≤ s·d, and

    F(0) − F(h*) ≤ ⟨∇F(0), −h*⟩ ≤ s·Σ_k |∂_kF(0)|·d_k.

Any d will do; one with H(0)·d near the diagonal of H(0) needs the smallest s. All sums are of positive terms,
so that γ_n = n·u/(1 − n·u) bounds the rounding of in and out relatively, in whatever order they are added
(Higham, Accuracy and Stability, Section 3.1). The comparison of states is Collatz's for inverse-isotone maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from balproof.balance.blocks import LAYERS, BlockProblem, Pair
from balproof.balance.certificates import UNIT, GapCertificate, NoCertificate

Array = np.ndarray

_ITERATIONS = 300


def certify_blocks(problem: BlockProblem) -> GapCertificate | NoCertificate:
    """Bound gap and distance in log-scale of the weights that ``problem`` holds (the state h = 0).

    >>> from balproof.balance.problem import Costs
    >>> from balproof.balance.solve import solve
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> after = solve(load("tests/data/chain.json")).network
    >>> found = certify_blocks(BlockProblem.build(infer(after), Costs.parse("l2")))
    >>> found.radius < 1e-13, found.gap < 1e-24
    (True, True)
    """
    moving = np.flatnonzero(problem.active)
    zero = np.zeros(problem.manifold.count)
    if not len(moving):
        return GapCertificate("isotone", 0.0, 0.0, 53, 0.0)
    if not _opposed(problem):
        return NoCertificate("a weight has two scales of one sign: no comparison of states")
    gamma = _rounding(problem)
    here = problem.balance(zero)
    total, rest = (here.incoming + here.outgoing)[moving], (here.incoming - here.outgoing)[moving]
    d = _direction(_Curvature(problem), moving)
    if d is None:
        return NoCertificate("no direction in which all slopes rise was found")
    slopes = np.abs(rest) + gamma * total
    s = 2 * float(np.max(slopes / total))
    for _ in range(12):
        if problem.power * s * float(np.max(d)) > 0.25:
            break
        if all(_beyond(problem, sign * s * d, sign, moving, gamma) for sign in (1, -1)):
            radius = s * float(np.max(d)) * (1 + 4 * UNIT)
            absolute = problem.power * s * float(slopes @ d[moving]) * (1 + gamma)
            floor = problem.cost(zero) * (1 - gamma) - absolute
            if floor > 0:
                return GapCertificate("isotone", absolute / floor * (1 + 4 * UNIT), absolute, 53, radius)
            break
        s *= 2
    return NoCertificate("the state is too far from balance for a comparison of states")


def _beyond(problem: BlockProblem, h: Array, sign: int, moving: Array, gamma: float) -> bool:
    """Whether sign·∇F(h) > 0 in every moving component, for certain."""
    found = problem.balance(h)
    incoming, outgoing = found.incoming[moving], found.outgoing[moving]
    return bool(np.all(sign * (incoming - outgoing) > 2 * gamma * (incoming + outgoing)))


def _opposed(problem: BlockProblem) -> bool:
    """Whether the two scales of every nonzero weight have opposite signs, where both move."""
    for pair in problem.pairs:
        g, r, c = pair.costs.shape
        rows, columns = (
            np.asarray(side.forms @ np.where(problem.active, 1.0, 0.0)) for side in (pair.rows, pair.columns)
        )
        left, right = rows.reshape(g, r, 1), columns.reshape(g, 1, c)
        for sign in (1, -1):
            one, other = (sign * left > 0).any(axis=1), (sign * right > 0).any(axis=2)
            if np.any(one & other) and np.any((sign * left > 0) & (sign * right > 0) & (pair.costs > 0)):
                return False
    return True


def _rounding(problem: BlockProblem) -> float:
    """γ for a sum of costs: squares, kernels, two factors of exp, rows, blocks."""
    network = problem.manifold.network
    count = 64 + len(problem.pairs)
    longest = 0
    for pair in problem.pairs:
        kernel = network.tensors[pair.name].size // max(1, pair.costs.size)
        uses = max(_most(pair, side) for side in (0, 1))
        longest = max(longest, kernel + sum(pair.costs.shape) + uses)
    count += longest
    return count * UNIT / (1 - count * UNIT)


def _most(pair: Pair, side: int) -> int:
    """How many places of a side one scale has, at most."""
    forms = (pair.rows, pair.columns)[side].forms
    return int(np.bincount(forms.indices).max(initial=0)) if forms.nnz else 0


# --- a direction in which all slopes rise -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Curvature:
    """v ↦ H(0)·v/p², block by block."""

    problem: BlockProblem

    @cached_property
    def sums(self) -> list[tuple[Array, Array]]:
        return [(pair.costs.sum(axis=2), pair.costs.sum(axis=1)) for pair in self.problem.pairs]

    @cached_property
    def diagonal(self) -> Array:
        total = np.zeros(self.problem.manifold.count)
        for pair, own in zip(self.problem.pairs, self.sums, strict=True):
            for (_, side), sums in zip(pair.sides(), own, strict=True):
                total += side.forms.multiply(side.forms).T @ sums.ravel()
        return np.where(self.problem.active, total, 0.0)

    def times(self, v: Array) -> Array:
        total = np.zeros(len(v))
        for pair, (rows, columns) in zip(self.problem.pairs, self.sums, strict=True):
            g, r, c = pair.costs.shape
            a, b = (pair.rows.forms @ v).reshape(g, r), (pair.columns.forms @ v).reshape(g, c)
            left = rows * a + (pair.costs @ b[..., None])[..., 0]
            right = columns * b + (a[:, None, :] @ pair.costs)[:, 0]
            total += pair.rows.forms.T @ left.ravel() + pair.columns.forms.T @ right.ravel()
        return np.where(self.problem.active, total, 0.0)


def _direction(curvature: _Curvature, moving: Array) -> Array | None:
    """d > 0 with H·d at least half the diagonal: conjugate gradients, corrected by layers."""
    diagonal = curvature.diagonal
    if not np.all(diagonal[moving] > 0):
        return None
    inverse = np.zeros(len(diagonal))
    inverse[moving] = 1 / diagonal[moving]
    coarse = _by_layers(curvature.problem)
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


def _by_layers(problem: BlockProblem) -> Callable[[Array], Array]:
    """r ↦ P (Pᵀ H P)⁻¹ Pᵀ r, with P constant on every layer."""
    layers, count = problem.layers, int(problem.layers.max(initial=-1)) + 1
    if not 0 < count <= LAYERS:
        return np.zeros_like
    costs, rows = problem.layer_costs(np.zeros(problem.manifold.count))
    small = (rows.T * costs) @ rows
    small += 1e-12 * np.diag(np.diag(small))
    if not np.all(np.diag(small) > 0):
        return np.zeros_like
    moving = layers >= 0

    def correct(r: Array) -> Array:
        t = np.linalg.solve(small, np.bincount(layers[moving], r[moving], count))
        return np.where(moving, t[layers], 0.0)

    return correct
