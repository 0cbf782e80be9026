"""What is assumed of the free parameters of a formula: their signs and lower or upper bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import sympy

from balproof.errors import ExpressionError

Sense = Literal["real", ">", ">=", "<", "<="]

_PATTERN = re.compile(
    r"\s*([A-Za-z_][A-Za-z_0-9]{0,30})\s*(?:(real|positive)|(>=|<=|>|<)\s*(-?\d{1,12}(?:\.\d{1,12})?(?:/\d{1,12})?))\s*"
)


@dataclass(frozen=True)
class Assumption:
    """``name sense bound``, for example a > 0.

    >>> str(Assumption.parse("a>0")), str(Assumption.parse("p >= 3/2")), str(Assumption.parse("b real"))
    ('a > 0', 'p >= 3/2', 'b real')
    """

    name: str
    sense: Sense
    bound: Fraction = Fraction(0)

    @staticmethod
    def parse(text: str) -> Assumption:
        """Read ``a>0``, ``a >= 1/2``, ``a<0`` or ``a real``.

        Raises ExpressionError on anything else.
        """
        match = _PATTERN.fullmatch(text) if len(text) <= 100 else None
        if match is None:
            raise ExpressionError(
                f"assumption {text[:60]!r} is not of the form NAME>NUMBER or NAME real",
                "write for example 'a>0', 'a>=0', 'a<0' or 'a real'",
            )
        name, word, sense, number = match.groups()
        if word == "real":
            return Assumption(name, "real")
        if word == "positive":
            return Assumption(name, ">")
        numerator, _, denominator = number.partition("/")
        if denominator and int(denominator) == 0:
            raise ExpressionError(f"assumption {text[:60]!r} divides by zero", "give a finite bound")
        bound = Fraction(numerator) / (Fraction(denominator) if denominator else 1)
        senses: dict[str, Sense] = {">": ">", ">=": ">=", "<": "<", "<=": "<="}
        return Assumption(name, senses[sense], bound)

    def __str__(self) -> str:
        return f"{self.name} real" if self.sense == "real" else f"{self.name} {self.sense} {self.bound}"


@dataclass(frozen=True)
class Domain:
    """All that is assumed of one parameter, folded: an interval with open or closed ends.

    >>> d = Domain.of("p", [Assumption.parse("p>1"), Assumption.parse("p<=2")])
    >>> d.contains(Fraction(3, 2)), d.contains(Fraction(1)), d.symbol().is_positive
    (True, False, True)
    """

    name: str
    lower: Fraction | None = None
    lower_open: bool = True
    upper: Fraction | None = None
    upper_open: bool = True

    @staticmethod
    def of(name: str, assumptions: Iterable[Assumption]) -> Domain:
        """Intersect the assumptions about ``name``; raises ExpressionError where nothing is left."""
        low: tuple[Fraction, bool] | None = None
        high: tuple[Fraction, bool] | None = None
        for a in assumptions:
            if a.name != name or a.sense == "real":
                continue
            end = (a.bound, a.sense in (">", "<"))
            if a.sense in (">", ">="):
                low = end if low is None else max(low, end)
            elif high is None or (end[0], not end[1]) < (high[0], not high[1]):
                high = end
        if low is not None and high is not None:
            empty = low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))
            if empty:
                raise ExpressionError(f"the assumptions on {name} contradict each other", "drop one of them")
        return Domain(
            name,
            None if low is None else low[0],
            True if low is None else low[1],
            None if high is None else high[0],
            True if high is None else high[1],
        )

    def contains(self, value: Fraction) -> bool:
        if self.lower is not None and (value < self.lower or (value == self.lower and self.lower_open)):
            return False
        return self.upper is None or value < self.upper or (value == self.upper and not self.upper_open)

    def symbol(self) -> sympy.Symbol:
        """A SymPy symbol that carries as much of this as SymPy's assumptions can say: the sign."""
        flags: dict[str, bool] = {"real": True}
        if self.lower is not None and (self.lower > 0 or (self.lower == 0 and self.lower_open)):
            flags = {"positive": True}
        elif self.upper is not None and (self.upper < 0 or (self.upper == 0 and self.upper_open)):
            flags = {"negative": True}
        elif self.lower is not None and self.lower == 0:
            flags = {"nonnegative": True}
        elif self.upper is not None and self.upper == 0:
            flags = {"nonpositive": True}
        return sympy.Symbol(self.name, **flags)

    def shifted(self) -> sympy.Expr | None:
        """The parameter as bound + positive (or bound - positive), where that says more than its sign.

        >>> Domain.of("p", [Assumption.parse("p>1")]).shifted()
        _p + 1
        """
        rest = sympy.Dummy(self.name, positive=True) if self.lower_open else None
        if self.lower is not None and self.lower != 0:
            rest = rest or sympy.Dummy(self.name, nonnegative=True)
            return sympy.Rational(self.lower.numerator, self.lower.denominator) + rest
        if self.upper is not None and self.upper != 0 and self.lower is None:
            rest = (
                sympy.Dummy(self.name, positive=True)
                if self.upper_open
                else sympy.Dummy(self.name, nonnegative=True)
            )
            return sympy.Rational(self.upper.numerator, self.upper.denominator) - rest
        return None

    def samples(self, seed: int) -> Fraction:
        """A rational inside the domain, another one for every seed.

        >>> d = Domain.of("a", [Assumption.parse("a>0"), Assumption.parse("a<1/100")])
        >>> all(d.contains(d.samples(s)) for s in range(9))
        True
        """
        shape = (Fraction(3, 7), Fraction(5, 3), Fraction(13, 11), Fraction(2, 9), Fraction(11, 4))[seed % 5]
        shape += Fraction(seed, 17)
        if self.lower is not None and self.upper is not None:
            return self.lower + (self.upper - self.lower) * shape / (1 + shape)
        if self.lower is not None:
            return self.lower + shape
        if self.upper is not None:
            return self.upper - shape
        return shape if seed % 2 == 0 else -shape


def domains(names: Iterable[str], assumptions: Iterable[Assumption]) -> Mapping[str, Domain]:
    """The domain of each name."""
    given = tuple(assumptions)
    return {name: Domain.of(name, given) for name in names}
