"""Anderson's acceleration of a fixed-point iteration x ↦ G(x), over its last steps.

Source: Walker and Ni, Anderson Acceleration for Fixed-Point Iterations, SIAM J. Numer. Anal. 49 (2011).
"""

from __future__ import annotations

import numpy as np

from balproof.balance.blocks.kernels import less, norm, small_system

Array = np.ndarray


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
        size = norm(now[0])
        if not size <= 4 * self._least or (self._last and len(self._last[2]) != len(follow)):
            self.forget()  # it went the wrong way, or other values follow than before
        self._least = min(size, self._least)
        last, self._last = self._last, now
        if last is None:
            return image, follow
        if not self._count:
            self._differences = tuple(np.empty((self._depth, len(part))) for part in now)
        for held, new, old in zip(self._differences, now, last, strict=True):
            np.subtract(new, old, out=held[self._count % self._depth])
        self._count += 1
        residuals, images, follows = (held[: self._count] for held in self._differences)
        # A small matrix is left, for the singular values that drop what rounding decides.
        gamma: Array = np.linalg.lstsq(*small_system(residuals, now[0]), rcond=1e-8)[0]
        if not np.abs(gamma).sum() < 1e3:
            return image, follow
        return less(image, gamma, images), less(follow, gamma, follows)
