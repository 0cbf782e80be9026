"""Anderson's acceleration of a fixed-point iteration x ↦ G(x), over its last steps.

Source: Walker and Ni, Anderson Acceleration for Fixed-Point Iterations, SIAM J. Numer. Anal. 49 (2011).
"""

# Compiled code: see `balproof.balance.blocks.kernels`.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportPrivateImportUsage]

Array = np.ndarray

_NEW = 1e-8
"""What is left of a step beside later ones is more than rounding if it is more than this share of it."""

_FAST = {"reassoc", "contract", "nsz"}  # as in `kernels`


class Anderson:
    """Remembers the differences of up to ``depth`` steps; `mix` gives the next x.

    ``follow`` are values that depend on x: to first order they mix as x does.
    """

    def __init__(self, depth: int = 8) -> None:
        self._depth = depth
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self._last: tuple[Array, Array, Array] | None = None
        self._differences: tuple[Array, ...] = ()
        self._count = 0
        self._least = np.inf

    def mix(self, x: Array, image: Array, follow: Array) -> tuple[Array, Array]:
        """From x, G(x) and what follows G(x) the next x, and what follows it."""
        now = image - x, image, follow
        size = _norm(now[0])
        if not size <= 4 * self._least or (self._last and len(self._last[2]) != len(follow)):
            self.forget()  # it went the wrong way, or other values follow than before
        self._least = min(size, self._least)
        last, self._last = self._last, now
        if last is None:
            return image, follow
        if not self._count:
            self._differences = tuple(np.empty((self._depth, len(part))) for part in now)
        self._count += 1
        return _mix(self._differences, self._count, now, last)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _mix(differences, count, now, last):
    """The next x and what follows it: the last step's differences are put among the others first."""
    newest = (count - 1) % len(differences[0])
    for held, new, old in zip(differences, now, last):
        for k in range(len(new)):
            held[newest, k] = new[k] - old[k]
    residuals, images, follows = differences
    g = _weights(residuals[:count], newest, now[0])
    total = 0.0
    for weight in g:
        total += abs(weight)
    if not total < 1e3:
        return now[1], now[2]
    return _less(now[1], g, images), _less(now[2], g, follows)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _weights(rows, newest, x):
    """The g of least |x − g·rows|; a row that depends on newer ones, but for rounding, has the weight 0.

    Gram and Schmidt's method, each row twice: Giraud, Langou and Rozložník, Comput. Math. Appl. 50 (2005).
    The threads of BLAS and LAPACK take longer to start than this takes, for a few rows.
    """
    n = len(rows)
    q, r, along, g = np.empty_like(rows), np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for i in range(n):
        own, row = q[i], rows[(newest - i) % n]
        for k in range(len(own)):
            own[k] = row[k]
        size = _norm(own)
        for _ in range(2):
            for j in range(i):
                dot = _dot(q[j], own)
                r[i, j] += dot
                for k in range(len(own)):
                    own[k] -= dot * q[j, k]
        left = _norm(own)
        if left > _NEW * size:
            r[i, i] = left
        for k in range(len(own)):
            own[k] = own[k] / left if r[i, i] > 0 else 0.0
        along[i] = _dot(own, x)
    for i in range(n - 1, -1, -1):  # row i is Σ_j≤i r_ij·q_j
        if r[i, i] > 0:
            total = along[i]
            for k in range(i + 1, n):
                total -= r[k, i] * g[(newest - k) % n]
            g[(newest - i) % n] = total / r[i, i]
    return g


@njit(nogil=True, cache=True, fastmath=_FAST)
def _dot(x, y):
    total = 0.0
    for k in range(len(x)):
        total += x[k] * y[k]
    return total


@njit(nogil=True, cache=True, fastmath=_FAST)
def _norm(x):
    """The Euclidean norm."""
    return np.sqrt(_dot(x, x))


@njit(nogil=True, cache=True, fastmath=_FAST)
def _less(x, g, rows):
    """x − g·rows."""
    found = x.copy()
    for i in range(len(g)):
        for k in range(len(found)):
            found[k] -= g[i] * rows[i, k]
    return found
