"""Damped Newton on F: few steps, each with one sparse or dense solve. Any log-convex regularizer.

Where the costs are a directed graph whose elimination is cheap, the solve subtracts nothing (`elimination`),
so that weak ties between strong groups come out right. Elsewhere factors of the Hessian are taken, and where
there are groups these are balanced between the steps (`clusters`).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.clusters import Cuts, Digraph, between_groups
from balproof.balance.elimination import WIDEST, band, narrow, order
from balproof.balance.problem import BalanceProblem
from balproof.balance.state import RISE, Iterate, Progress
from balproof.errors import RequestError

Array = np.ndarray

_ROUGH = 0.1
"""Groups are balanced to this first: nothing finer is worth it before those that hold them are moved."""


def direct(
    problem: BalanceProblem,
    start: Array | None = None,
    *,
    tolerance: float = 1e-13,
    steps: int = 500,
    progress: Progress | None = None,
) -> Iterate:
    """Newton's method from ``start`` (default h = 0) until units and cuts are balanced to ``tolerance``.

    Raises RequestError where it would take factors that do not fit into memory.

    >>> from balproof.importers import load
    >>> direct(BalanceProblem.build(load("tests/data/chain.json"))).imbalance <= 1e-13
    True
    """
    h = np.zeros(problem.count) if start is None else np.array(start, dtype=float)
    graph = Digraph.of(problem)
    if graph is not None and order(graph.tail, graph.head, len(graph.scales) + 1) is not None:
        return _by_elimination(problem, graph, h, tolerance, steps, progress)
    if not fits(problem):
        raise RequestError(
            f"the Hessian of {np.count_nonzero(problem.active)} scales has no small factors",
            "take the method auto or newton, which need none",
        )
    return _by_factors(problem, graph, h, tolerance, steps, progress)


_FEW = 5_000
"""Scales whose Hessian may be full."""


def fits(problem: BalanceProblem) -> bool:
    """Whether factors of the Hessian of a sparse matrix are small: few scales, or a narrow band of them."""
    listed = any(t.places is not None for t in problem.manifold.network.parameters)
    return int(np.count_nonzero(problem.active)) <= _FEW or not listed or band(_pattern(problem))[0] <= WIDEST


def fast(problem: BalanceProblem) -> bool:
    """Whether they take little work besides."""
    return narrow(_pattern(problem))


def _pattern(problem: BalanceProblem) -> sparse.csr_array:
    """Where the Hessian has entries, for the scales that move."""
    pattern = sparse.csr_array(problem.A[:, np.flatnonzero(problem.active)] != 0, dtype=np.int32)
    return sparse.csr_array(pattern.T @ pattern)


def _by_elimination(
    problem: BalanceProblem,
    graph: Digraph,
    h: Array,
    tolerance: float,
    steps: int,
    progress: Progress | None,
) -> Iterate:
    """Groups of one unit, then larger ones, each with Newton's method on what flows between them."""
    history: list[float] = []
    best, lowest, reached, idle, passes = h, np.inf, 0.0, 0, 0.0
    while True:
        edges = graph.edges(problem.scaled(h))
        cuts = Cuts.of(edges)
        imbalance = float(np.max(edges.imbalance(), initial=0.0))
        worst = max(imbalance, cuts.imbalance)
        passes += 1
        history.append(problem.cost(h))
        idle = 0 if worst < 0.5 * lowest else idle + 1
        if worst < lowest or not history[1:]:
            best, lowest, reached = h, worst, imbalance
        said = f"Newton's method: imbalance {imbalance:.1e}, of cuts {cuts.imbalance:.1e}"
        stopped = progress is not None and history[1:] and progress(said)
        if stopped or lowest <= tolerance or idle > 2 or len(history) > steps:
            return Iterate(best, "direct", reached, passes, tuple(history))
        x, reads = cuts.shift(1e-15 if worst < _ROUGH else _ROUGH, units=True)
        passes += reads
        trial = h + graph.lifted(x, problem.count)
        if not np.isfinite(trial).all():
            return Iterate(best, "direct", reached, passes, tuple(history))
        h = trial


def _by_factors(
    problem: BalanceProblem,
    graph: Digraph | None,
    h: Array,
    tolerance: float,
    steps: int,
    progress: Progress | None,
) -> Iterate:
    """A step lets no weight grow by more than e^`RISE`, and is halved while F does not fall."""
    moving = np.flatnonzero(problem.active)
    a = sparse.csr_array(problem.A[:, moving])
    cost = problem.cost(h)
    history = [cost]
    best, lowest, reached, idle = h.copy(), np.inf, problem.imbalance(h), 0
    passes = 1.0
    moved = np.inf
    for count in range(steps):
        if not len(moving) or idle > 3 or (lowest <= tolerance and (graph is not None or moved <= 1e-6)):
            break
        w = problem.scaled(h)
        gradient = a.T @ problem.marginal_of(w)
        move = -_solve(sparse.csr_array(a.T @ sparse.diags_array(problem.curvature_of(w)) @ a), gradient)
        slope = float(gradient @ move)
        moved = float(np.max(np.abs(a @ move), initial=0.0))
        length = RISE / max(RISE, float(np.max(a @ move, initial=0.0)))
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
        passes += 4
        with np.errstate(over="ignore", invalid="ignore"):  # slopes may overflow where costs do not
            imbalance = problem.imbalance(h)
        if not np.isfinite(imbalance):
            break
        worst = imbalance
        if graph is not None and imbalance < _ROUGH:
            h, imbalance, worst, reads = between_groups(problem, graph, h, tolerance)
            cost = problem.cost(h)
            passes += reads
        history.append(cost)
        idle = 0 if worst < 0.5 * lowest else idle + (imbalance < 1e-9)
        if worst < lowest:
            best, lowest, reached = h.copy(), worst, imbalance
        if progress and progress(f"Newton step {count + 1}: imbalance {imbalance:.1e}"):
            break
    return Iterate(best, "direct", reached, passes, tuple(history))


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
