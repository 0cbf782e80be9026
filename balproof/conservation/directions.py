"""Directions along which no output moves, as gradients of the polynomials that are conserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from balproof.conservation import modular
from balproof.conservation.sampling import bits

Array = np.ndarray
Forms = Mapping[tuple[int, ...], Fraction]
"""A direction: {(e, f, …): coefficient of the monomial θ_f… in entry e}; f = −1, alone, stands for 1.

Most are linear, Mθ + v. Each is the gradient of a polynomial, but for those of momentum.
"""


def factors(key: tuple[int, ...]) -> tuple[int, ...]:
    """The variables of the monomial of an entry.

    >>> factors((5, 2, 2)), factors((5, -1))
    ((2, 2), ())
    """
    return key[1:] if key[1] >= 0 else ()


def at(forms: Sequence[Forms], theta: Array, p: int) -> Array:
    """The directions at one point of residues: (laws, D)."""
    point = theta.tolist()
    result = np.zeros((len(forms), theta.size), np.int64)
    for row, form in zip(result, forms, strict=True):
        for key, c in form.items():
            value = modular.residue(c, p)
            for f in factors(key):
                value = value * point[f] % p
            row[key[0]] = (row[key[0]] + value) % p
    return result


def potential(form: Forms, theta: Array) -> float:
    """The polynomial P of a direction ∇P, at a point: by Euler, part by part.

    >>> potential({(0, -1): Fraction(1), (0, 0): Fraction(2), (0, 0, 0): Fraction(3)}, np.array([2.0]))
    14.0
    """
    total = 0.0
    for key, c in form.items():
        others = factors(key)
        total += float(c) * float(theta[key[0]] * np.prod(theta[list(others)])) / (1 + len(others))
    return total


def independent(forms: Sequence[Forms], size: int, p: int = modular.PRIME) -> list[int]:
    """Positions of the quantities whose gradient is independent of those of the earlier ones, at a point
    drawn modulo p (so that what is kept is independent; a function of earlier ones never is)."""
    theta = (bits(0, "independent", 0, size) >> np.uint64(34)).astype(np.int64)
    dependent = {max(v) for v in modular.null_space(at(forms, theta, p).T, p)} if forms else set[int]()
    return [i for i in range(len(forms)) if i not in dependent]
