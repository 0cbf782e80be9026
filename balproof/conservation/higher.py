"""All monomials up to a degree, of which laws beyond degree 2 are sought as sums.

There are such laws that are no functions of quadratic ones: where the output is the real part of a function
that is holomorphic in complex weights, its imaginary part is conserved (the Cauchy–Riemann equations say that
the two gradients are orthogonal), Re w³ = u³ − 3uv² with Im w³ = 3u²v − v³.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from math import comb

import numpy as np

from balproof.conservation.quadratic import UNKNOWNS
from balproof.errors import RequestError

Array = np.ndarray

LARGEST = 8
"""The highest degree that is searched."""


def count(size: int, degree: int) -> int:
    """How many monomials there are, but for 1.

    >>> count(2, 3)
    9
    """
    return comb(size + degree, degree) - 1


def require_degree(degree: int) -> None:
    """Raises RequestError for a degree that is not searched."""
    if not 2 <= degree <= LARGEST:
        raise RequestError(
            f"laws of degree {degree} are not searched",
            f"give a degree from 2, where laws begin, to {LARGEST}",
        )


def require_few(size: int, degree: int) -> None:
    """Raises RequestError for more monomials than are searched."""
    number = count(size, degree)
    if number > UNKNOWNS:
        fits = max((d for d in range(2, degree) if count(size, d) <= UNKNOWNS), default=0)
        raise RequestError(
            f"{size:,} parameters have {number:,} monomials up to degree {degree}, more than {UNKNOWNS:,}",
            f"give degree {fits}" if fits else "leave the degree out",
        )


@dataclass(frozen=True)
class Monomials:
    """The monomials θ^α with 1 ≤ |α| ≤ degree, by degree; see `balproof.conservation.quadratic.Unknowns`."""

    size: int
    degree: int

    @cached_property
    def index(self) -> tuple[Array, ...]:
        """(monomials, k) for each degree k: the variables, sorted."""
        return tuple(
            np.array(list(combinations_with_replacement(range(self.size), k)), np.int64).reshape(-1, k)
            for k in range(1, self.degree + 1)
        )

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(k, i) for k, index in enumerate(self.index) for i in range(len(index))]

    def values(self, X: Array, theta: Array, p: int) -> Array:
        """⟨X, ∇θ^α⟩ for all samples, by the product rule: (samples, unknowns)."""
        parts: list[Array] = []
        for index in self.index:
            total = np.zeros((len(X), len(index)), np.int64)
            for moved in range(index.shape[1]):
                term = X[:, index[:, moved]]
                for other in range(index.shape[1]):
                    if other != moved:
                        term = term * theta[:, index[:, other]] % p
                total = (total + term) % p
            parts.append(total)
        return np.concatenate(parts, axis=1)

    def forms(self, i: int, j: int) -> list[tuple[tuple[int, ...], int]]:
        """∇θ^α.

        >>> Monomials(2, 3).forms(2, 1)  # of θ₀²·θ₁
        [((0, 0, 1), 2), ((1, 0, 0), 1)]
        """
        key = self.index[i][j].tolist()
        found: list[tuple[tuple[int, ...], int]] = []
        for e in sorted(set(key)):
            rest = list(key)
            rest.remove(e)
            found.append(((e, *(rest or (-1,))), key.count(e)))
        return found
