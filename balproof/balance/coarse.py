"""Whole layers moved by one common scale each: the mode that sweeps over single units damp too slowly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def groups_of(names: Sequence[str]) -> Array:
    """For every scale the number of its layer: units of one layer share their name up to the bracket.

    >>> groups_of(["fc1[0]", "fc1[1]", "fc2[0]"]).tolist()
    [0, 0, 1]
    """
    stems = [name.rsplit("[", 1)[0] for name in names]
    number = {stem: i for i, stem in enumerate(dict.fromkeys(stems))}
    return np.array([number[stem] for stem in stems], dtype=int)


def shift_of_groups(cost: Array, rows: Array, power: float) -> Array:
    """The t that minimises Σ_b cost_b·exp(power·⟨rows_b, t⟩), by Newton's method.

    >>> shift_of_groups(np.array([1.0, 16.0]), np.array([[1.0], [-1.0]]), 2.0).round(12).tolist()
    [0.69314718056]
    """
    keep = np.any(rows != 0, axis=1) & (cost > 0)
    rows, cost = rows[keep], cost[keep]
    t = np.zeros(rows.shape[1])
    for _ in range(50):
        weight = cost * np.exp(power * (rows @ t))
        gradient = rows.T @ weight
        hessian = power * (rows.T * weight) @ rows
        # Normalised, since layers may differ by decades; the shift keeps the step defined where a whole
        # component can move freely, as one group without visible units always can.
        scale = np.sqrt(np.diag(hessian))
        scale[scale == 0] = 1.0
        normal = hessian / np.outer(scale, scale) + 1e-13 * np.eye(len(t))
        move = -np.linalg.solve(normal, gradient / scale) / scale
        size = np.max(np.abs(power * (rows @ move)), initial=0.0)
        t += move / max(1.0, size)  # exp changes by at most a factor e in a step
        if size < 1e-14:
            break
    return t
