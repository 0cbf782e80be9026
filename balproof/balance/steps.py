"""The exact local step: balance some units that share no weight, all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from balproof.balance.problem import BalanceProblem

Array = np.ndarray

_NEWTON = 60
"""Newton steps at most; each at least halves the bracket when it does not converge faster."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Units with no weight in common, and the weights that they touch.

    Weight ``edges[i]`` belongs to unit ``units[owner[i]]`` with entry ``coefficient[i]`` of A.
    """

    units: Array
    edges: Array
    owner: Array
    coefficient: Array


def columns_of(problem: BalanceProblem, units: Array, by_column: sparse.csc_array) -> Columns:
    """Gather the weights of some units; ``by_column`` is A in column order."""
    parts = [slice(by_column.indptr[k], by_column.indptr[k + 1]) for k in units]
    sizes = [p.stop - p.start for p in parts]
    take = np.concatenate([np.arange(p.start, p.stop) for p in parts]) if parts else np.zeros(0, int)
    return Columns(
        np.asarray(units),
        by_column.indices[take],
        np.repeat(np.arange(len(units)), sizes),
        by_column.data[take],
    )


def step(problem: BalanceProblem, logs: Array, columns: Columns) -> Array:
    """The changes of h that balance each of these units exactly, given L = A h in ``logs``.

    One unit's cost is in(s) + out(s) and its balance Σ_{a>0} a·m = Σ_{a<0} |a|·m. The logarithm of the
    ratio of these two sums rises strictly in s, with slope (Σ a²κ)₊/in + (Σ a²κ)₋/out, and is a straight
    line where all exponents on each side agree: then the first Newton step is the closed form
    λ* = (cB/A)^{1/(p(1+c))} of [B] Thm 3.1. Elsewhere Newton is kept inside a shrinking bracket.
    """
    count = len(columns.units)
    s = np.zeros(count)
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    weights = problem.weights[columns.edges]
    positive = columns.coefficient > 0
    size = np.abs(columns.coefficient)
    # A cost that flattens, such as log(1 + w²), has slopes near 0 far from the optimum, and Newton leaps.
    longest = 1e3 if problem.straight else 20.0 / np.max(size, initial=1.0)
    for _ in range(_NEWTON):
        w = weights * np.exp(logs[columns.edges] + columns.coefficient * s[columns.owner])
        m, kappa = _terms(problem, columns, w)
        incoming = np.bincount(columns.owner, np.where(positive, size * m, 0.0), count)
        outgoing = np.bincount(columns.owner, np.where(positive, 0.0, size * m), count)
        rise = np.bincount(columns.owner, np.where(positive, size**2 * kappa, 0.0), count)
        fall = np.bincount(columns.owner, np.where(positive, 0.0, size**2 * kappa), count)
        # A side whose costs have all underflowed has no ratio to go by: its unit stays.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.log(incoming) - np.log(outgoing)
            ratio[np.isnan(ratio)] = 0.0
            move = -ratio / (rise / incoming + fall / outgoing)
            move[np.isnan(move)] = 0.0
        move = np.clip(move, -longest, longest)
        # A move below rounding must not count as one out of the bracket, which would be halved.
        done = (np.abs(ratio) <= 4e-16) | (np.abs(move) <= 1e-15 * (1.0 + np.abs(s)))
        # The closed form is exact up to rounding after one step; a second look costs as much as a pass.
        if problem.straight:
            return np.where(done, s, s + move)
        low = np.where(ratio < 0, np.maximum(low, s), low)
        high = np.where(ratio > 0, np.minimum(high, s), high)
        target = s + move
        outside = (target <= low) | (target >= high)
        with np.errstate(invalid="ignore"):  # −∞ + ∞ where a side of the bracket is still open
            middle = (low + high) / 2
        target = np.where(outside & np.isfinite(middle), middle, target)
        s = np.where(done, s, target)
        if done.all():
            break
    return s


def _terms(problem: BalanceProblem, columns: Columns, w: Array) -> tuple[Array, Array]:
    """m and κ of the touched weights only."""
    if problem.one_regularizer:
        regularizer = problem.groups[0][0]
        return regularizer.marginal(w), np.fmax(regularizer.curvature(w), 0.0)
    m, kappa, e = np.empty_like(w), np.empty_like(w), columns.edges
    for regularizer, part in problem.groups:
        inside = (e >= part.start) & (e < part.stop)
        m[inside] = regularizer.marginal(w[inside])
        kappa[inside] = regularizer.curvature(w[inside])
    return m, np.fmax(kappa, 0.0)  # as in BalanceProblem.curvature_of
