"""Conjugate gradients with a product of one's own: what reads blocks of weights is no matrix for SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def conjugate_gradients(
    times: Callable[[Array], Array],
    near: Callable[[Array], Array],
    right: Array,
    done: Callable[[Array, Array, float], bool],
    limit: int,
) -> tuple[Array, Array, int]:
    """x, right − H·x and the number of steps from x = 0, a product v ↦ H·v each; ``near`` is near r ↦ H⁻¹·r.

    ``done`` is asked of x, the residual r and what is left of ⟨r, near(r)⟩, relatively. After ``limit``
    steps, or where H turns out to be singular, it is what was reached.

    >>> h, right = np.array([2.0, 8.0]), np.ones(2)
    >>> x, r, steps = conjugate_gradients(lambda v: h * v, np.copy, right, lambda x, r, left: left < 1e-20, 9)
    >>> x.round(12).tolist(), steps
    ([0.5, 0.125], 2)
    """
    x, residual = np.zeros(len(right)), right.copy()
    z = near(residual)
    search, product = z, float(residual @ z)
    first, step = product, 0
    while step < limit and product > 0 and not done(x, residual, product / first):
        step += 1
        image = times(search)
        curved = float(search @ image)
        if not curved > 0:
            break
        x = x + product / curved * search
        residual = residual - product / curved * image
        z = near(residual)
        before, product = product, float(residual @ z)
        search = z + product / before * search
    return x, residual, step
