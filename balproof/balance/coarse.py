"""Whole layers moved by one common scale each: the mode that sweeps over single units damp too slowly."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.blocks.kernels import shift

Array = np.ndarray

DENSE = 1_000
"""Up to so many layers their equations are solved in a matrix with room for all entries."""


def shift_of_groups(cost: Array, rows: Array | sparse.csr_array, power: float) -> Array:
    """The t that minimises Σ_b cost_b·exp(power·⟨rows_b, t⟩), by Newton's method.

    >>> shift_of_groups(np.array([1.0, 16.0]), np.array([[1.0], [-1.0]]), 2.0).round(12).tolist()
    [0.69314718056]
    """
    a = sparse.csr_array(rows)
    keep = cost > 0
    if not keep.all():
        a, cost = sparse.csr_array(a[keep]), cost[keep]
    start, index = a.indptr.astype(np.int64), a.indices.astype(np.int64)
    return shift_by_rows(np.asarray(cost, float), start, index, power * a.data, a.shape[1])


def shift_by_rows(cost: Array, start: Array, index: Array, value: Array, count: int) -> Array:
    """The t of length ``count`` that minimises Σ_b cost_b·exp⟨row_b, t⟩, with all costs > 0.

    The rows are those of a CSR matrix: entries ``value`` at ``index``, those of row b from ``start[b]`` on.

    >>> cost, value, index = np.array([1.0, 4.0]), np.array([1.0, -1.0]), np.array([0, 0])
    >>> shift_by_rows(cost, np.array([0, 1, 2]), index, value, 1).round(12).tolist()
    [0.69314718056]
    """
    t = np.zeros(count)
    if count <= DENSE:
        shift(cost, start, index, value, t)
        return t
    a = sparse.csr_array((value, index, start), (len(cost), count))
    a.eliminate_zeros()
    for _ in range(50):
        weight = cost * np.exp(a @ t)
        move = _newton_step(a, weight)
        size = np.max(np.abs(a @ move), initial=0.0)
        t += move / max(1.0, size)
        if size < 1e-14:
            break
    return t


def _newton_step(rows: sparse.csr_array, weight: Array) -> Array:
    """As in `shift`, by a sparse factor."""
    gradient = rows.T @ weight
    hessian = rows.T @ sparse.diags_array(weight) @ rows
    scale = np.sqrt(hessian.diagonal())
    scale[scale == 0] = 1.0
    shrink = sparse.diags_array(1 / scale)
    normal = sparse.csc_array(shrink @ hessian @ shrink + 1e-13 * sparse.eye_array(len(scale)))
    return -splu(normal).solve(gradient / scale) / scale
