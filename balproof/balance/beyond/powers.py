"""Reads of weights by their binary exponents, compiled: what no double holds is never formed."""

# Compiled code, as in `kernels`.
# pyright: basic

from __future__ import annotations

import math

import numpy as np
from numba import njit

NONE = -32_768
"""The exponent of 0."""


@njit(nogil=True, cache=True)
def tops(exponents, r, rows, columns):  # pragma: no cover - compiled
    """max_j (e_ij + columns_j) of every row, and max_i (e_ij + rows_i) of every column."""
    n, c = exponents.shape
    across, down = np.full(n, -np.inf), np.full(len(columns), -np.inf)
    for i in range(n):
        start = i // r * c
        x, best = columns[start : start + c], down[start : start + c]
        own, top = rows[i], -np.inf
        for j in range(c):
            e = exponents[i, j]
            if e != NONE:
                top = max(top, e + x[j])
                best[j] = max(best[j], e + own)
        across[i] = top
    return across, down


@njit(nogil=True, cache=True)
def lowest(exponents, r, rows, columns):  # pragma: no cover - compiled
    """The least e_ij + rows_i + columns_j."""
    n, c = exponents.shape
    least = np.inf
    for i in range(n):
        start = i // r * c
        x, own = columns[start : start + c], rows[i]
        for j in range(c):
            if exponents[i, j] != NONE:
                least = min(least, exponents[i, j] + own + x[j])
    return least


@njit(nogil=True, cache=True)
def relative(w, r, p, loop, row_tops, column_tops):  # pragma: no cover - compiled
    """Σ_j (|w_ij|/2^top)^p along rows and down columns, less the weights of units to themselves."""
    n, c, k = w.shape
    rows, columns = np.zeros(n), np.zeros(len(column_tops))
    for i in range(n):
        start = i // r * c
        for j in range(c):
            if loop and i == j:
                continue
            for m in range(k):
                v = abs(w[i, j, m])
                if v != 0:
                    rows[i] += math.ldexp(v, -row_tops[i]) ** p
                    columns[start + j] += math.ldexp(v, -column_tops[start + j]) ** p
    return rows, columns


@njit(nogil=True, cache=True)
def norms(w, r, p, filling, top, norm, at, a, up, e, to, b, left, y):  # pragma: no cover - compiled
    """Of weights between groups the largest binary exponent first, then Σ (|w|/2^top)^p with the scales."""
    n, c, k = w.shape
    for i in range(n):
        start = i // r * c
        for j in range(c):
            x = start + j
            if at[i] == to[x]:
                continue
            inward = a[i] > 0 or b[x] < 0
            head, tail = (at[i], to[x]) if inward else (to[x], at[i])
            moved = up[i] + left[x]
            for m in range(k):
                v = abs(w[i, j, m])
                if v == 0:
                    continue
                if filling:
                    norm[head, tail] += (math.ldexp(v, moved - top[head, tail]) * e[i] * y[x]) ** p
                else:
                    top[head, tail] = max(top[head, tail], math.frexp(v)[1] + moved)
