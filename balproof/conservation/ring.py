"""The numbers that a network is run on: residues, doubles, or exact and enclosed numbers as objects.

A ring says how arrays of its numbers are added and multiplied; moving entries about is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from balproof.conservation import modular

Array = np.ndarray


class Ring(Protocol):
    """Sums and products of arrays, and constants."""

    def constant(self, values: Array) -> Array:
        """Integers, doubles or fractions, as numbers of the ring."""
        ...

    def add(self, a: Array, b: Array) -> Array: ...

    def multiply(self, a: Array, b: Array) -> Array: ...

    def matmul(self, a: Array, b: Array) -> Array: ...

    def sum(self, a: Array, axes: tuple[int, ...]) -> Array:
        """Sums along axes, which stay with length 1."""
        ...

    def positive(self, a: Array) -> Array:
        """Which numbers are above 0; of residues, which are in the lower half, as good as at random."""
        ...


@dataclass(frozen=True)
class Modular:
    """Residues modulo a prime."""

    p: int = modular.PRIME

    def constant(self, values: Array) -> Array:
        return modular.residues(np.asarray(values), self.p)

    def add(self, a: Array, b: Array) -> Array:
        return (a + b) % self.p

    def multiply(self, a: Array, b: Array) -> Array:
        return a * b % self.p

    def matmul(self, a: Array, b: Array) -> Array:
        return modular.product(a, b, self.p)

    def sum(self, a: Array, axes: tuple[int, ...]) -> Array:
        return a.sum(axis=axes, keepdims=True) % self.p

    def positive(self, a: Array) -> Array:
        return (a > 0) & (a <= self.p // 2)


@dataclass(frozen=True)
class Doubles:
    """Floating point; if ``absolute``, of the sizes of all constants, which bounds all partial sums."""

    absolute: bool = False

    def constant(self, values: Array) -> Array:
        found = np.asarray(values).astype(np.float64)
        return np.abs(found) if self.absolute else found

    def add(self, a: Array, b: Array) -> Array:
        return a + b

    def multiply(self, a: Array, b: Array) -> Array:
        return a * b

    def matmul(self, a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    def sum(self, a: Array, axes: tuple[int, ...]) -> Array:
        return a.sum(axis=axes, keepdims=True)

    def positive(self, a: Array) -> Array:
        return a > 0


@dataclass(frozen=True)
class Objects:
    """Numbers with + and * of their own (balls, polynomials); ``make`` makes one of a fraction."""

    make: Callable[[Fraction], Any]

    def constant(self, values: Array) -> Array:
        given = np.asarray(values)
        result = np.empty(given.shape, dtype=object)
        result.ravel()[:] = [self.make(Fraction(v)) for v in given.ravel().tolist()]
        return result

    def add(self, a: Array, b: Array) -> Array:
        return a + b

    def multiply(self, a: Array, b: Array) -> Array:
        return a * b

    def matmul(self, a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    def sum(self, a: Array, axes: tuple[int, ...]) -> Array:
        return np.asarray(a.sum(axis=axes, keepdims=True))

    def positive(self, a: Array) -> Array:
        return np.array([bool(v > 0) for v in a.flat], dtype=bool).reshape(a.shape)
