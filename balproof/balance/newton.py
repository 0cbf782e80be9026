"""Damped Newton on F: few steps, each with one sparse or dense solve. Any log-convex regularizer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.problem import BalanceProblem
from balproof.balance.state import Iterate

Array = np.ndarray


def newton(
    problem: BalanceProblem,
    start: Array | None = None,
    *,
    tolerance: float = 1e-13,
    steps: int = 500,
    progress: Callable[[str], None] | None = None,
) -> Iterate:
    """Newton's method from ``start`` (default h = 0) until the imbalance is at most ``tolerance``.

    A step changes no log-scale of a weight by more than 1, and is halved while F does not fall.

    >>> from balproof.importers import load
    >>> newton(BalanceProblem.build(load("tests/data/chain.json"))).imbalance <= 1e-13
    True
    """
    h = np.zeros(problem.count) if start is None else np.array(start, dtype=float)
    moving = np.flatnonzero(problem.active)
    a = sparse.csr_array(problem.A[:, moving])
    cost = problem.cost(h)
    history = [cost]
    best, best_imbalance, idle = h.copy(), problem.imbalance(h), 0
    passes = 1.0
    moved = np.inf
    for count in range(steps):
        # A balance to 13 digits can leave weak ties between strong groups far from theirs: the steps in
        # log-scale must be small as well.
        if (best_imbalance <= tolerance and moved <= 1e-6) or not len(moving) or idle > 3:
            break
        w = problem.scaled(h)
        gradient = a.T @ problem.marginal_of(w)
        move = -_solve(sparse.csr_array(a.T @ sparse.diags_array(problem.curvature_of(w)) @ a), gradient)
        slope = float(gradient @ move)
        moved = float(np.max(np.abs(a @ move), initial=0.0))
        length = 1.0 / max(1.0, moved)
        while True:
            trial = h.copy()
            trial[moving] += length * move
            value = problem.cost(trial)
            # Close to the optimum F no longer resolves the decrease; there the full step is right.
            if value <= cost + 1e-4 * length * slope or abs(slope) < 1e-10 * cost or length < 1e-12:
                break
            length /= 2
            passes += 1
        if not np.isfinite(value):  # where every step overflows, the best so far is all there is
            break
        h, cost = trial, value
        history.append(cost)
        passes += 4
        imbalance = problem.imbalance(h)
        idle = 0 if imbalance < 0.5 * best_imbalance else idle + (imbalance < 1e-9)
        if imbalance < best_imbalance:
            best, best_imbalance = h.copy(), imbalance
        if progress:
            progress(f"Newton step {count + 1}: imbalance {imbalance:.1e}")
    return Iterate(best, "newton", best_imbalance, passes, tuple(history))


def _solve(hessian: sparse.csr_array, right: Array) -> Array:
    """Solve H d = r; the tiny shift chooses one d where a component without visible units can drift."""
    n = hessian.shape[0]
    scale = np.sqrt(hessian.diagonal())
    scale[scale == 0] = 1.0  # a cost that has flattened, such as log(1 + w²) at 1e100
    normal = sparse.csr_array(sparse.diags_array(1 / scale) @ hessian @ sparse.diags_array(1 / scale))
    shifted = sparse.csc_array(normal + 1e-14 * sparse.eye_array(n))
    if shifted.nnz > 0.05 * n * n or n < 200:
        solution = np.linalg.lstsq(shifted.toarray(), right / scale, rcond=1e-15)[0]
    else:
        solution = splu(shifted).solve(right / scale)
    return solution / scale
