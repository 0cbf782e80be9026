"""The optimal scale as a number with a proof: bisection in log λ, each sign certified by balls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import sympy
from flint import arb, ctx, fmpq

from balproof.errors import RequestError
from balproof.symbolic import ball
from balproof.symbolic.convexity import W

Number = int | float | str | Fraction
Terms = tuple[tuple[sympy.Expr, sympy.Expr], ...]
MAX_DIGITS = 200
MAX_LOG = 4096


@dataclass(frozen=True)
class Root:
    """A rational interval that certainly holds λ*."""

    lower: Fraction
    upper: Fraction

    @property
    def midpoint(self) -> Fraction:
        return (self.lower + self.upper) / 2

    def __float__(self) -> float:
        return float(self.midpoint)

    def contains(self, value: Fraction) -> bool:
        return self.lower <= value <= self.upper

    def decimal(self, digits: int = 20) -> str:
        """At most so many decimal digits, certain up to one unit in the last.

        >>> Root(Fraction(14142135, 10**7), Fraction(14142136, 10**7)).decimal()
        '1.414214'
        """
        precision = 4 * digits + 64
        with ctx.workprec(precision):
            return ball.show(ball.over(self.lower, self.upper, precision), digits)


def exact_sizes(weights: Sequence[Number]) -> tuple[Fraction, ...]:
    """|w| of the nonzero weights as exact rationals.

    >>> exact_sizes([0.5, "-3/4", 0])
    (Fraction(1, 2), Fraction(3, 4))

    Raises RequestError for what is not a finite number.
    """
    found: list[Fraction] = []
    for w in weights:
        try:
            value = abs(Fraction(w))
        except (ValueError, OverflowError, ZeroDivisionError, TypeError):
            raise RequestError(
                f"weight {w!r} is not a finite number", "give numbers or rationals '3/4'"
            ) from None
        if value:
            found.append(value)
    return tuple(found)


def _ball(q: Fraction) -> arb:
    return arb(fmpq(q.numerator, q.denominator))


def exact_coefficients(
    weights: Sequence[Number], coefficients: Sequence[Number] | None
) -> tuple[Fraction, ...]:
    """The coefficients of the nonzero weights: 1 each unless given.

    >>> exact_coefficients([3, 0, 5], ["1/2", 7, 2])
    (Fraction(1, 2), Fraction(2, 1))

    Raises RequestError unless there is one positive number for each weight.
    """
    given = [1] * len(weights) if coefficients is None else coefficients
    if len(given) != len(weights):
        raise RequestError(
            f"{len(given)} coefficients for {len(weights)} weights", "give one for each weight"
        )
    kept = [c for c, w in zip(given, weights, strict=True) if exact_sizes([w])]
    found = exact_sizes(kept)
    if len(found) < len(kept) or any(Fraction(c) < 0 for c in kept):
        raise RequestError("a coefficient is not positive", "leave out the weights without a cost")
    return found


def side(
    terms: Terms | None, marginal: sympy.Expr, sizes: Sequence[Fraction], coefficients: Sequence[Fraction]
) -> Callable[[arb], arb]:
    """s ↦ Σ k·m(s·|w|) with m(w) = w·g'(w): by moments for a sum of powers, otherwise weight by weight."""
    if terms is None:
        return lambda s: sum(
            (
                _ball(k) * ball.enclose(marginal, {W: s * _ball(w)}, ctx.prec)
                for k, w in zip(coefficients, sizes, strict=True)
            ),
            arb(0),
        )
    with ctx.workprec(4 * MAX_DIGITS + 128):
        exponents = [ball.enclose(p, {}, ctx.prec) for _, p in terms]
        moments = [
            ball.enclose(a * p, {}, ctx.prec)
            * sum((_ball(k) * _ball(w) ** e for k, w in zip(coefficients, sizes, strict=True)), arb(0))
            for (a, p), e in zip(terms, exponents, strict=True)
        ]
    return lambda s: sum((k * s**e for k, e in zip(moments, exponents, strict=True)), arb(0))


def log_root(slope: Callable[[arb], arb], digits: int) -> Root:
    """The zero of an increasing function of u = log λ, as an enclosure of λ with ``digits`` digits.

    >>> float(log_root(lambda u: u.exp() - 3, 20))
    3.0

    Raises RequestError where no sign change is found.
    """
    if not 1 <= digits <= MAX_DIGITS:
        raise RequestError(f"{digits} digits asked for", f"ask for 1 to {MAX_DIGITS}")
    width = Fraction(1, 10 ** (digits + 1))

    def sign(u: Fraction) -> int | None:
        for precision in (4 * digits + 64, 16 * digits + 256):
            with ctx.workprec(precision):
                value = slope(arb(fmpq(u.numerator, u.denominator)))
            if value > 0 or value < 0:
                return 1 if value > 0 else -1
        return None

    low, high = _bracket(sign)
    while high - low > width:
        middle = (low + high) / 2
        found = sign(middle)
        if found is None:
            step = (high - low) / 16 if (high - low) / 16 < width else width / 2
            if sign(middle - step) == -1 and sign(middle + step) == 1:
                low, high = middle - step, middle + step
                break
            raise RequestError("the sign of the slope is not decided near its zero", "ask for fewer digits")
        low, high = (middle, high) if found < 0 else (low, middle)
    with ctx.workprec(4 * digits + 128):
        ends = [arb(fmpq(u.numerator, u.denominator)).exp() for u in (low, high)]
    return Root(ball.bounds(ends[0])[0], ball.bounds(ends[1])[1])


def _bracket(sign: Callable[[Fraction], int | None]) -> tuple[Fraction, Fraction]:
    reach = Fraction(1)
    while reach <= MAX_LOG:
        if sign(-reach) == -1 and sign(reach) == 1:
            return -reach, reach
        reach *= 2
    raise RequestError("no optimal scale between e^-4096 and e^4096", "rescale the weights first")
