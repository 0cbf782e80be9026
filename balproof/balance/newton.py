"""Newton's method with conjugate gradients, for networks whose Hessian has no sparse factors.

No matrix is formed: H·v = Aᵀ(κ∘(A v)) is two products with A. The gradients are deflated: whole layers, and
groups of strongly tied units, which sweeps and the diagonal move too slowly, form a small matrix PᵀHP that is
solved in every step (Tang, Nabben, Vuik, Erlangga 2009, the additive form). A cold start needs hundreds of
passes, so that sweeps come first.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from balproof.balance.clusters import Cuts, Digraph, between_groups
from balproof.balance.multilevel import multilevel
from balproof.balance.problem import BalanceProblem
from balproof.balance.state import RISE, Iterate, Progress

Array = np.ndarray

_ACCURACY = 1e-16
"""What rounding leaves of a gradient, relative to the costs of the unit."""

_GROUPS = 200
"""Layers and groups that are deflated: their matrix is dense."""

_PRODUCTS = 300
"""Products with the Hessian in one step."""

_WARM = 6
"""Sweeps before the first Newton step."""


def newton(
    problem: BalanceProblem,
    start: Array | None = None,
    *,
    tolerance: float = 1e-13,
    steps: int = 100,
    progress: Progress | None = None,
) -> Iterate:
    """Newton's method from ``start`` (default: some sweeps from h = 0) until nothing is unbalanced.

    Imbalance and cut imbalance are to be at most ``tolerance``. A step lets no weight grow by more
    than e^`RISE`, and is halved while F does not fall.

    >>> from balproof.importers import load
    >>> newton(BalanceProblem.build(load("tests/data/chain.json"))).imbalance <= 1e-13
    True
    """
    passes, history = 0.0, [problem.cost(np.zeros(problem.count) if start is None else start)]
    if start is None:
        warm = multilevel(problem, tolerance=tolerance, sweeps=_WARM, progress=progress)
        passes = warm.passes
        if np.isfinite(warm.history[-1]) and np.isfinite(warm.imbalance):  # sweeps may overshoot flat costs
            h, history = warm.h, list(warm.history)
        else:
            h = np.zeros(problem.count)
    else:
        h = np.array(start, dtype=float)
    graph = Digraph.of(problem)
    moving = np.flatnonzero(problem.active)
    a = sparse.csr_array(problem.A[:, moving])
    size = abs(a)
    layer = problem.manifold.groups[moving]
    cost = history[-1]
    best, reached, idle = h, problem.imbalance(h), 0
    lowest = np.inf
    moved = np.inf
    for count in range(steps):
        if not len(moving) or idle > 3:
            break
        imbalance = worst = problem.imbalance(h)
        passes += 1
        labels = [layer]
        if graph is not None and imbalance < 0.1:
            h, imbalance, worst, reads = between_groups(problem, graph, h, tolerance)
            cost = problem.cost(h)
            passes += reads
            labels += [label[1:] for label in Cuts.of(graph.edges(problem.scaled(h))).composed()]
        idle = 0 if worst < 0.5 * lowest else idle + (imbalance < 1e-9)
        if worst < lowest:
            best, lowest, reached = h, worst, imbalance
        if progress and progress(f"Newton step {count}: imbalance {imbalance:.1e}"):
            break
        if lowest <= tolerance and (graph is not None or moved <= 1e-6):
            break
        w = problem.scaled(h)
        marginal = problem.marginal_of(w)
        gradient = a.T @ marginal
        move, products = _conjugate(
            a, problem.curvature_of(w), -gradient, _groups(labels), _ACCURACY * (size.T @ marginal), imbalance
        )
        passes += 2 + 2 * products
        slope = float(gradient @ move)
        moved = float(np.max(np.abs(a @ move), initial=0.0))
        length = RISE / max(RISE, float(np.max(a @ move, initial=0.0)))
        while True:
            trial = h.copy()
            trial[moving] += length * move
            value = problem.cost(trial)
            passes += 1
            # Close to the optimum F no longer resolves the decrease; there the full step is right.
            if value <= cost + 1e-4 * length * slope or abs(slope) < 1e-10 * cost or length < 1e-12:
                break
            length /= 2
        if not np.isfinite(value):  # where every step overflows, the best so far is all there is
            break
        h, cost = trial, value
        history.append(cost)
    return Iterate(best, "newton", reached, passes, tuple(history))


def _groups(labels: list[Array]) -> sparse.csr_array:
    """The columns 1 on each group: of the first partition, and of the finest other one that is small."""
    own = [label for label in labels if int(label.max(initial=0)) < _GROUPS]
    parts = [sparse.csr_array(sparse.coo_array((np.ones(len(label)), (np.arange(len(label)), label))))
             for label in own[:2]]  # fmt: skip
    empty = sparse.csr_array((len(labels[0]), 0))
    return sparse.csr_array(sparse.hstack([empty, *parts], format="csr"))


def _conjugate(
    a: sparse.csr_array,
    curvature: Array,
    right: Array,
    groups: sparse.csr_array,
    noise: Array,
    imbalance: float,
) -> tuple[Array, int]:
    """d with Aᵀ diag(κ) A d near ``right``, known but for ``noise``, and how many products it took.

    What of ``right`` is along groups that can drift, or almost, is noise: it is left out.
    """
    diagonal = abs(a).power(2).T @ curvature
    inverse = 1 / np.where(diagonal > 0, diagonal, 1.0)
    image = sparse.csr_array(a.T @ sparse.diags_array(curvature) @ (a @ groups))
    basis, values, drift = _spectrum(sparse.csr_array(groups.T @ image).toarray(), groups, np.sqrt(diagonal))

    def solve(r: Array) -> Array:
        return basis @ ((basis.T @ r) / values)

    def still(r: Array) -> Array:
        return r - np.sqrt(diagonal) * (drift @ (drift.T @ (np.sqrt(inverse) * r)))

    def near(r: Array) -> Array:
        y = inverse * r
        return y + groups @ solve(groups.T @ r - image.T @ y)

    right = still(right)
    d = groups @ solve(groups.T @ right)
    residual = still(right - a.T @ (curvature * (a @ d)))
    z = near(residual)
    search, product = z, float(residual @ z)
    goal = max(product * min(1e-2, imbalance), float(noise @ (inverse * noise)))
    products = 1
    while products < _PRODUCTS and product > goal:
        moved = a.T @ (curvature * (a @ search))
        products += 1
        curved = float(search @ moved)
        if not curved > 0:  # a cost that has flattened, such as log(1 + w²) at 1e100: downhill all the same
            d = d + search
            break
        d = d + product / curved * search
        residual = still(residual - product / curved * moved)
        z = near(residual)
        before, product = product, float(residual @ z)
        search = z + product / before * search
    return d, products


def _spectrum(matrix: Array, groups: sparse.csr_array, scale: Array) -> tuple[Array, Array, Array]:
    """Bᵀ·matrix·B = diag(values) on what rounding leaves of the groups, and what moves as one almost freely.

    The latter, times ``scale``, is orthonormal. It drifts, or hangs on ties that `between_groups` sees to.
    """
    size = np.sqrt(groups.power(2).T @ scale**2)
    size[size == 0] = 1.0
    values, vectors = np.linalg.eigh(matrix / np.outer(size, size))
    kept = values > 1e-10 * max(1, len(size))
    free = scale[:, None] * (groups @ (vectors[:, ~kept] / size[:, None]))
    left, sizes, _ = np.linalg.svd(free, full_matrices=False)  # a group that is in there twice moves nothing
    return vectors[:, kept] / size[:, None], values[kept], left[:, sizes > 1e-6]
