"""Compiled loops over both networks' weights as they lie in their files: nothing of their size is made.

Sums are of terms ≥ 0, so that γ_n bounds their relative rounding in whatever order they are added and with
fused multiplications (Higham, Accuracy and Stability, Section 3.1). NaN and infinities are looked for, and no
loop may take them to be absent.
"""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit

Array = np.ndarray

_FAST = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def _further(a, b, r, f, top):
    """In how many places b is further from a·r·f than ``top`` of that."""
    count = 0
    for j in range(len(f)):
        meant = np.float64(a[j]) * (r * f[j])
        count += not abs(np.float64(b[j]) - meant) <= top * abs(meant)
    return count


@njit(nogil=True, cache=True, fastmath=_FAST)
def _squares(a, b, r, f, top, columns):
    """The same, and Σ b²; b² is added to ``columns``."""
    count, total = 0, 0.0
    for j in range(len(f)):
        w = np.float64(b[j])
        meant = np.float64(a[j]) * (r * f[j])
        count += not abs(w - meant) <= top * abs(meant)
        cost = w * w
        total += cost
        columns[j] += cost
    return count, total


@njit(nogil=True, cache=True, fastmath=_FAST)
def _sizes(a, b, r, f, top, columns):
    """The same with |b|."""
    count, total = 0, 0.0
    for j in range(len(f)):
        w = np.float64(b[j])
        meant = np.float64(a[j]) * (r * f[j])
        count += not abs(w - meant) <= top * abs(meant)
        cost = abs(w)
        total += cost
        columns[j] += cost
    return count, total


@njit(nogil=True, cache=True)
def _furthest(a, b, r, f, top, limit):
    """The largest of ``top`` and all |b/(a·r·f) − 1|, 0 over 0 being 1; ∞ where one is above ``limit``."""
    for j in range(len(f)):
        meant = np.float64(a[j]) * (r * f[j])
        apart = abs(np.float64(b[j]) - meant)
        meant = abs(meant)
        if not apart <= limit * meant:
            return np.inf
        if meant > 0:
            top = max(top, apart / meant)
    return top


@njit(nogil=True, cache=True)
def compare(old, new, rows, columns, power, limit, row_sums, column_sums):
    """How far ``new`` (g, r, c) is from ``old``·rows (g, r)·columns (g, c), relatively; ∞ if above ``limit``.

    A division is made in the rows alone that hold an entry further off than all before. With a power of 1
    or 2 the sums of |new|^power are added to ``row_sums`` and ``column_sums``.
    """
    top = 0.0
    for g in range(old.shape[0]):
        f, sums = columns[g], column_sums[g]
        for i in range(old.shape[1]):
            a, b, r = old[g, i], new[g, i], rows[g, i]
            if power == 2.0:
                count, total = _squares(a, b, r, f, top, sums)
                row_sums[g, i] = total
            elif power == 1.0:
                count, total = _sizes(a, b, r, f, top, sums)
                row_sums[g, i] = total
            else:
                count = _further(a, b, r, f, top)
            if count:
                top = _furthest(a, b, r, f, top, limit)
                if top == np.inf:
                    return top
    return top
