"""Recover the log-scales between two sets of weights, so that a few wrong entries do no harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from balproof.network.manifold import Manifold

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Recovered:
    """``h`` with log|w'/w| ≈ A h, and the ``residual`` log|w'/w| − A h of each parameter (0 where w or w' is)."""

    h: Array
    residual: Mapping[str, Array]


def recover_scales(
    manifold: Manifold, before: Mapping[str, Array], after: Mapping[str, Array], tolerance: float
) -> Recovered:
    """Find h by least squares; where that leaves residuals, by least absolute deviations instead.

    Least absolute deviations passes exactly through the entries that are rescaled rightly as long as
    they are the large majority around each unit; iteratively reweighted least squares finds it.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> net = load("tests/data/chain.json"); manifold = infer(net)
    >>> old = {t.name: net.numbers(t.name) for t in net.parameters}
    >>> new = {name: old[name] * np.exp(log) for name, log in manifold.apply(np.array([0.5, -1.0])).items()}
    >>> recover_scales(manifold, old, new, 1e-12).h.round(12).tolist()
    [0.5, -1.0]
    """
    names = [b.name for b in manifold.blocks]
    usable = {n: (before[n] != 0) & (after[n] != 0) & np.isfinite(after[n]) for n in names}
    keep = np.concatenate([usable[n].ravel() for n in names]) if names else np.zeros(0, bool)
    ratio = np.concatenate(
        [_log_ratio(before[n], after[n], usable[n]).ravel() for n in names] or [np.zeros(0)]
    )
    a = manifold.matrix(names)
    h = np.zeros(manifold.count)
    if manifold.count and keep.any():
        rows, right = sparse.csr_array(a[np.flatnonzero(keep)]), ratio[keep]
        h = _least_squares(rows, right, np.ones(len(right)))
        for _ in range(100):
            residual = np.abs(right - rows @ h)
            if residual.max() <= tolerance:
                break
            new = _least_squares(rows, right, 1.0 / np.maximum(residual, tolerance / 10))
            settled = np.max(np.abs(new - h)) <= tolerance / 10
            h = new
            if settled:
                break
    left = np.where(keep, ratio - a @ h, 0.0)
    residuals: dict[str, Array] = {}
    start = 0
    for n in names:
        residuals[n] = left[start : start + before[n].size].reshape(before[n].shape)
        start += before[n].size
    return Recovered(h, residuals)


def _log_ratio(before: Array, after: Array, usable: Array) -> Array:
    one = np.ones_like(before)
    return np.log(np.abs(np.where(usable, after, one))) - np.log(np.abs(np.where(usable, before, one)))


def _least_squares(rows: sparse.csr_array, right: Array, weight: Array) -> Array:
    """Minimise Σ weight·(right − rows h)²; the smallest h where several do (dead units)."""
    weighted = sparse.diags_array(weight / weight.max()) @ rows
    normal = (rows.T @ weighted).toarray()
    scale = np.sqrt(np.where(np.diag(normal) > 0, np.diag(normal), 1.0))
    solution = np.linalg.lstsq(normal / np.outer(scale, scale), (weighted.T @ right) / scale, rcond=1e-13)[0]
    h = solution / scale
    # One step of refinement: normal equations lose half of the digits.
    correction = np.linalg.lstsq(
        normal / np.outer(scale, scale), (weighted.T @ (right - rows @ h)) / scale, rcond=1e-13
    )[0]
    return h + correction / scale
