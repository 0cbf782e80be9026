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


TOGETHER = 4
"""So many rows of both factors are multiplied with each other at once."""


@njit(nogil=True, cache=True, fastmath=_FAST)
def _sixteen(w0, w1, w2, w3, x0, x1, x2, x3):
    """The scalar products of four rows with four others."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = 0.0
    for j in range(len(w0)):
        u0, u1, u2, u3 = np.float64(w0[j]), np.float64(w1[j]), np.float64(w2[j]), np.float64(w3[j])
        x = x0[j]
        a0 += u0 * x
        a1 += u1 * x
        a2 += u2 * x
        a3 += u3 * x
        x = x1[j]
        b0 += u0 * x
        b1 += u1 * x
        b2 += u2 * x
        b3 += u3 * x
        x = x2[j]
        c0 += u0 * x
        c1 += u1 * x
        c2 += u2 * x
        c3 += u3 * x
        x = x3[j]
        d0 += u0 * x
        d1 += u1 * x
        d2 += u2 * x
        d3 += u3 * x
    return (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3)


@njit(nogil=True, cache=True)
def products(w, x, y):
    """y = x·wᵀ for rows w as they are stored, at least `TOGETHER`, and a multiple of as many rows x."""
    for first in range(0, len(w), TOGETHER):
        i = min(first, len(w) - TOGETHER)
        for k in range(0, len(x), TOGETHER):
            s = _sixteen(w[i], w[i + 1], w[i + 2], w[i + 3], x[k], x[k + 1], x[k + 2], x[k + 3])
            for m in range(TOGETHER):
                y[k + m, i], y[k + m, i + 1], y[k + m, i + 2], y[k + m, i + 3] = s[m]
