"""The flow ḣ = −∇F(h)/C, Stock's rule for all networks, integrated in the log-scales.

In h the flow cannot leave the orbit, nor change a sign, whatever the step: Euler steps on the weights do
both. C = F(0) makes time a pure number. For J alone and costs |J|^p it is ([S], eq. 5, in the sign of h
that scales incoming weights by e^{h}) the rule τJ̇_ij = (g_j − g_i)J_ij with τ = C/p.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.integrate import BDF

from balproof.balance.problem import BalanceProblem
from balproof.balance.state import Iterate, Progress

Array = np.ndarray


def flow(
    problem: BalanceProblem,
    *,
    tolerance: float = 1e-13,
    steps: int = 20_000,
    progress: Progress | None = None,
) -> Iterate:
    """Follow the flow until the imbalance is at most ``tolerance``, or no longer falls.

    By SciPy's implicit BDF with the exact Hessian: rates can be many decades apart. ``history`` holds F
    after every step.

    >>> from balproof.importers import load
    >>> flow(BalanceProblem.build(load("tests/data/chain.json"))).imbalance <= 1e-13
    True
    """
    moving = np.flatnonzero(problem.active)
    h = np.zeros(problem.count)
    history = [problem.cost(h)]
    imbalance = problem.imbalance(h)
    if imbalance <= tolerance or not len(moving):
        return Iterate(h, "flow", imbalance, 2.0, tuple(history))
    size = history[0]

    def at(x: Array) -> Array:
        found = np.zeros(problem.count)
        found[moving] = x
        return found

    def speed(_: float, x: Array) -> Array:
        return -problem.gradient(at(x))[moving] / size

    def slope(_: float, x: Array) -> sparse.csr_array:
        return sparse.csc_matrix(problem.hessian(at(x))[moving][:, moving] / -size)

    solver = BDF(speed, 0.0, np.zeros(len(moving)), np.inf, rtol=1e-6, atol=1e-14, jac=slope)
    best, best_imbalance, idle = h, imbalance, 0
    for step in range(steps):
        if solver.status != "running":
            break
        # Near the end all that moves is rounding, and no step is small enough for it.
        with np.errstate(over="ignore", invalid="ignore"):
            solver.step()
        h = at(solver.y)
        history.append(problem.cost(h))
        imbalance = problem.imbalance(h)
        stopped = progress and progress(f"step {step + 1}: imbalance {imbalance:.1e}")
        idle = 0 if imbalance < 0.99 * best_imbalance else idle + 1
        if imbalance < best_imbalance:
            best, best_imbalance = h, imbalance
        if stopped or imbalance <= tolerance or (idle > 100 and best_imbalance < 1e-11):
            break
    passes = 2.0 * len(history) + solver.nfev + 2.0 * solver.njev
    return Iterate(best, "flow", best_imbalance, passes, tuple(history))
