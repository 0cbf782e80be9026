"""Whole layers moved by one common scale each: the mode that sweeps over single units damp too slowly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.kernels import shift

Array = np.ndarray

_DENSE = 1_000
"""Up to so many layers their equations are solved in a matrix with room for all entries."""


def groups_of(names: Sequence[str]) -> Array:
    """For every scale the number of its layer: units of one layer share their name up to the bracket.

    >>> groups_of(["fc1[0]", "fc1[1]", "fc2[0]"]).tolist()
    [0, 0, 1]
    """
    stems = [name.rsplit("[", 1)[0] for name in names]
    number = {stem: i for i, stem in enumerate(dict.fromkeys(stems))}
    return np.array([number[stem] for stem in stems], dtype=int)


def shift_of_groups(cost: Array, rows: Array | sparse.csr_array, power: float) -> Array:
    """The t that minimises Σ_b cost_b·exp(power·⟨rows_b, t⟩), by Newton's method.

    >>> shift_of_groups(np.array([1.0, 16.0]), np.array([[1.0], [-1.0]]), 2.0).round(12).tolist()
    [0.69314718056]
    """
    a = sparse.csr_array(rows)
    keep = cost > 0
    if not keep.all():
        a, cost = sparse.csr_array(a[keep]), cost[keep]
    t = np.zeros(a.shape[1])
    if a.shape[1] <= _DENSE:
        shift(np.asarray(cost, float), a.indptr, a.indices, power * a.data, t)
        return t
    a.eliminate_zeros()
    for _ in range(50):
        weight = cost * np.exp(power * (a @ t))
        move = _newton_step(a, weight, power)
        size = np.max(np.abs(power * (a @ move)), initial=0.0)
        t += move / max(1.0, size)
        if size < 1e-14:
            break
    return t


def _newton_step(rows: sparse.csr_array, weight: Array, power: float) -> Array:
    """As in `shift`, by a sparse factor."""
    gradient = rows.T @ weight
    hessian = power * (rows.T @ sparse.diags_array(weight) @ rows)
    scale = np.sqrt(hessian.diagonal())
    scale[scale == 0] = 1.0
    shrink = sparse.diags_array(1 / scale)
    normal = sparse.csc_array(shrink @ hessian @ shrink + 1e-13 * sparse.eye_array(len(scale)))
    return -splu(normal).solve(gradient / scale) / scale
