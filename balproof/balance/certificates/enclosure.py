"""A box in log-scales that certainly holds the balanced state: how far a state is from it.

Take d > 0 and the box |h_k| ≤ s·d_k around the state h = 0. On the face h_k = s·d_k the mean value theorem
gives, with some ξ in the box and |u_j| ≤ 1, u_k = 1,

    ∂_kF = ∂_kF(0) + s·Σ_j H_kj(ξ) d_j u_j  ≥  ∂_kF(0) + s·(H_kk(ξ) d_k − Σ_{j≠k} |H_kj(ξ)| d_j).

Where the bracket is at least L_k on the whole box, and s·L_k > |∂_kF(0)| for every k, the gradient points
outward on every face: a balanced state lies inside. L > 0 also makes every H(ξ) positive definite, and F
is convex, so that there is no other. For sums of powers H = Σ_t p_t² ω_t A_t A_tᵀ, and in the box ω_t changes
at most by factors between 1 − x_t and 1/(1 − x_t), x_t = p_t·s·(|A| d)_t < 1. All sums are of positive terms,
so that γ_n = n·u/(1 − n·u) bounds their rounding (Higham, Accuracy and Stability, Section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import fsum

import numpy as np
from flint import arb, ctx, fmpq
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.certificates.gap import UNIT, NoCertificate
from balproof.balance.problem import BalanceProblem
from balproof.network.equations import Form
from balproof.symbolic.numeric import rational

Array = np.ndarray

_ENTRY = 8 * UNIT
"""Bounds the rounding of one product p·A·ω: ω to 2, p, A and two products to 1 unit each."""


_DENSE = 5_000
"""Scales up to which a dense system is solved for the direction: some seconds."""


@dataclass(frozen=True, eq=False)
class _Terms:
    """F = Σ ω_t exp(p_t (A h)_t): one row of A for each term, scales that are pinned left out."""

    omega: Array
    power: Array
    A: sparse.csr_array


def state_radius(problem: BalanceProblem) -> float | NoCertificate:
    """A bound on the distance, in every log-scale, of the state h = 0 to the only balanced one.

    Where a part of the network has no visible unit, its scales are known up to a common drift; then the
    distance is that to the balanced state in which one unit of the part has the scale that it has now.

    >>> from balproof.balance.multilevel import multilevel
    >>> from balproof.importers import load
    >>> problem = BalanceProblem.build(load("tests/data/chain.json"))
    >>> after = BalanceProblem.build(problem.manifold.rescale(multilevel(problem).h))
    >>> bool(state_radius(after) < 1e-14)
    True
    >>> state_radius(problem).reason
    'the state is too far from balance for the box test'
    """
    moving = [int(k) for k in np.flatnonzero(problem.active)]
    if not moving:
        return 0.0
    pinned = drifting(problem.rows, moving)
    terms = _terms(problem, [k for k in moving if k not in pinned])
    if isinstance(terms, NoCertificate):
        return terms
    if not terms.A.shape[1]:
        return 0.0
    size = abs(terms.A)
    marginal = terms.power * terms.omega
    total = size.T @ marginal
    gradient = _gradient(terms, marginal) + _ENTRY * total * (1 + 1e-6)
    d = _direction(terms, total)
    if d is None:
        return NoCertificate("no direction that dominates was found for the box test")
    reach = size @ d
    weight = terms.power**2 * terms.omega
    squared = size.multiply(size).tocsr()
    count = int(np.diff(sparse.csc_array(terms.A).indptr).max()) + int(np.diff(terms.A.indptr).max()) + 24
    gamma = count * UNIT / (1 - count * UNIT)
    s = 2 * float(np.max(gradient / total))
    for _ in range(8):
        x = terms.power * s * reach * (1 + gamma)
        if not np.max(x) < 0.5:
            break
        above = 1 / (1 - x)
        gains = (squared.T @ (weight * ((1 - x) + above))) * d
        losses = size.T @ (weight * above * reach)
        lower = gains * (1 - gamma) - losses * (1 + gamma)
        if np.all(lower > 0) and np.all(s * lower * (1 - gamma) > gradient * (1 + gamma)):
            return float(s * np.max(d)) * (1 + gamma)
        s *= 2
    return NoCertificate("the state is too far from balance for the box test")


def _gradient(terms: _Terms, marginal: Array) -> Array:
    """|Σ_t p_t A_tk ω_t|, each sum rounded once; the rounding of the products is the caller's to bound."""
    columns = sparse.csc_array(sparse.diags_array(marginal) @ terms.A)
    ends = columns.indptr
    return np.array(
        [abs(fsum(columns.data[i:j])) * (1 + 2 * UNIT) for i, j in zip(ends[:-1], ends[1:], strict=True)]
    )


def _direction(terms: _Terms, total: Array) -> Array | None:
    """d with ⟨H⟩d roughly the costs at each unit, ⟨H⟩ the comparison matrix; None if it is not positive."""
    hessian = sparse.csc_array(terms.A.T @ sparse.diags_array(terms.power**2 * terms.omega) @ terms.A)
    diagonal = hessian.diagonal()
    comparison = sparse.csc_array(2 * sparse.diags_array(diagonal) - abs(hessian))
    n = len(total)
    try:
        if comparison.nnz > 0.05 * n * n:
            d = np.linalg.solve(comparison.toarray(), total) if n <= _DENSE else np.zeros(n)
        else:
            d = splu(comparison).solve(total)
    except (RuntimeError, np.linalg.LinAlgError):  # exactly singular
        return None
    return d if np.all(np.isfinite(d)) and np.all(d > 0) else None


def _terms(problem: BalanceProblem, scales: Sequence[int]) -> _Terms | NoCertificate:
    omega: list[Array] = []
    power: list[Array] = []
    rows: list[sparse.csr_array] = []
    for regularizer, part in problem.groups:
        for a, p in regularizer.terms or ():
            factor, exponent = rational(a), rational(p)
            if factor is None or exponent is None:
                return NoCertificate(f"coefficient {a} or exponent {p} is not rational")
            values = _omega(problem.weights[part], factor, exponent)
            if values is None:
                return NoCertificate(f"|w|^({p}) could not be enclosed")
            omega.append(values)
            power.append(np.full(len(values), float(exponent)))
            rows.append(sparse.csr_array(problem.A[part][:, scales]))
        if regularizer.terms is None:
            return NoCertificate("the box test needs costs that are sums of powers of |w|")
    stacked = sparse.csr_array(sparse.vstack(rows, format="csr"))
    return _Terms(np.concatenate(omega), np.concatenate(power), stacked)


def _omega(weights: Array, factor: Fraction, exponent: Fraction) -> Array | None:
    """a·w^p to two units in the last place; None where the enclosure is too wide."""
    if factor == 1 and exponent in (1, 2):
        return weights if exponent == 1 else weights * weights
    with ctx.workprec(96):
        a, p = (arb(fmpq(q.numerator, q.denominator)) for q in (factor, exponent))
        balls = [a * arb(float(w)) ** p for w in weights]
        if any(ball.rel_accuracy_bits() < 60 for ball in balls):
            return None
        return np.array([float(ball.mid()) for ball in balls])


def drifting(rows: Sequence[Form], moving: Sequence[int]) -> set[int]:
    """One scale of each part along which all scales can drift together and no weight changes.

    A part is a connected component of the scales under "a weight has both". Its drift v has A v = 0: it
    spreads from one scale over the rows with two scales, and is then checked exactly on all rows.

    >>> one = Fraction(1)
    >>> drifting([((0, one), (1, -one)), ((2, one),)], [0, 1, 2])
    {0}
    """
    touching: dict[int, list[Form]] = {k: [] for k in moving}
    for row in set(rows):
        for k, _ in row:
            touching[k].append(row)
    found: set[int] = set()
    seen: set[int] = set()
    for start in moving:
        if start in seen:
            continue
        drift, queue, consistent = {start: Fraction(1)}, [start], bool(touching[start])
        while queue:
            k = queue.pop()
            for row in touching[k]:
                left = [(j, c) for j, c in row if j not in drift]
                if len(left) == 1:
                    (j, c), value = left[0], sum(a * drift[i] for i, a in row if i in drift)
                    drift[j] = -value / c
                    queue.append(j)
                elif left:
                    consistent = False  # more than two scales: not decided here, so nothing is pinned
        seen.update(drift)
        used = {row for k in drift for row in touching[k]}
        if consistent and all(sum(c * drift.get(k, Fraction(0)) for k, c in row) == 0 for row in used):
            found.add(start)
    return found
