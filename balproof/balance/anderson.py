"""Anderson's acceleration of a fixed-point iteration x ↦ G(x), over its last steps.

Source: Walker and Ni, Anderson Acceleration for Fixed-Point Iterations, SIAM J. Numer. Anal. 49 (2011).
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


class Anderson:
    """Remembers up to ``depth`` steps; `mix` gives the next x.

    ``follow`` are values that depend on x: to first order they mix as x does.
    """

    def __init__(self, depth: int = 8) -> None:
        self._depth = depth
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self._steps: list[tuple[Array, Array, Array]] = []
        self._least = np.inf

    def mix(self, x: Array, image: Array, follow: Array) -> tuple[Array, Array]:
        """From x, G(x) and what follows G(x) the next x, and what follows it."""
        residual = image - x
        size = float(np.linalg.norm(residual))
        if not size <= 4 * self._least or (self._steps and len(self._steps[-1][2]) != len(follow)):
            self.forget()  # it went the wrong way, or other values follow than before
        self._least = min(size, self._least)
        self._steps = [*self._steps, (residual, image, follow)][-self._depth - 1 :]
        if len(self._steps) < 2:
            return image, follow
        residuals, images, follows = (
            np.diff(np.array(part, dtype=float), axis=0) for part in zip(*self._steps, strict=True)
        )
        gamma: Array = np.linalg.lstsq(residuals.T, residual, rcond=1e-8)[0]
        if not np.abs(gamma).sum() < 1e3:
            return image, follow
        return image - gamma @ images, follow - gamma @ follows
