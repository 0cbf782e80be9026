"""Polynomials with rational coefficients, as small as they come: {monomial: coefficient}."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

Monomial = tuple[int, ...]
"""Numbers of the variables, sorted, each as often as its power says."""
Number = int | Fraction


class Polynomial:
    """A polynomial other than 0, which is the number 0: sums and products make it so.

    >>> x, y = Polynomial.variable(0), Polynomial.variable(1)
    >>> (x + y) * (x - y) - x * x + y * y
    0
    """

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Monomial, Number]) -> None:
        self.terms = terms

    @staticmethod
    def variable(number: int) -> Polynomial:
        return Polynomial({(number,): 1})

    def __add__(self, other: Polynomial | Number) -> Polynomial | Number:
        if not isinstance(other, Polynomial):
            if other == 0:
                return self
            other = Polynomial({(): other})
        small, large = sorted((self.terms, other.terms), key=len)
        total = dict(large)
        for m, c in small.items():
            value = total.get(m, 0) + c
            if value:
                total[m] = value
            else:
                del total[m]
        return Polynomial(total) if total else 0

    __radd__ = __add__

    def __neg__(self) -> Polynomial:
        return Polynomial({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Polynomial | Number) -> Polynomial | Number:
        return self + (-other)

    def __rsub__(self, other: Polynomial | Number) -> Polynomial | Number:
        return -self + other

    def __mul__(self, other: Polynomial | Number) -> Polynomial | Number:
        if not isinstance(other, Polynomial):
            return Polynomial({m: c * other for m, c in self.terms.items()}) if other else 0
        total: dict[Monomial, Number] = {}
        for m, c in self.terms.items():
            for n, d in other.terms.items():
                key = tuple(sorted(m + n))
                value = total.get(key, 0) + c * d
                if value:
                    total[key] = value
                else:
                    del total[key]
        return Polynomial(total) if total else 0

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Polynomial({dict(self.terms)})"
