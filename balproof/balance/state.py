"""What an iterative method returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Progress = Callable[[str], object]
"""Told what goes on; an answer that is true asks a method to stop, and to give what it has."""

BALANCED = 1e-12
"""The relative imbalance up to which a state counts as balanced."""

RISE = 5.0
"""The most by which a Newton step lets the logarithm of a weight grow. It may fall as far as it likes: F
falls, too, and where strong weights take the scales far apart, weak ones between them have to."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """A state h, how it was reached, and what that cost.

    ``passes`` counts reads of all the weights (a unit's step reads its own), ``history`` the value of F
    after each sweep, the first entry before any. ``imbalance`` was measured at ``h``.
    """

    h: np.ndarray
    method: str
    imbalance: float
    passes: float
    history: tuple[float, ...]
