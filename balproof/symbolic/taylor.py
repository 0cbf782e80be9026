"""Tables of Taylor polynomials of a function of w > 0, with a proven bound on what they are off.

Every octave 2^e ≤ w < 2^(e+1) is cut into 2^b equal cells. With w = 2^e·f and f = f₀ + x, f₀ the middle of a
cell, the polynomial in x has the coefficients of f₀ from power series over balls. What is left off is
c·x^(n+1), with c the next coefficient of the series around some point of the cell (Lagrange), and the series
around the ball of the whole cell holds that. A cell is cut again until that is below the rounding of a
double. Where a function has pieces there are cells for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import sympy
from flint import arb, arb_series, ctx

from balproof.symbolic import ball
from balproof.symbolic.convexity import W

Array = np.ndarray

DEGREE = 9

UNIT = 2.0**-53

_FINEST = 14
"""An octave is cut into at most 2 to this power cells."""

_LEFT_OFF = 2.0**-57
"""The remainder is below this part of the value, and the terms beyond the first below `_SMALL` of it."""

_SMALL = 0.25

_SURE = 1 + 2.0**-30
"""Above what a few dozen roundings of doubles do to a bound."""

_MOST = 4_096
"""Bits that are tried until a value is sharp."""

SLACK = 2.0**-49
"""A piece is covered by so much more than its ends, relatively, which doubles near them need."""


class NoSeries(ArithmeticError):
    """The function has no finite power series here, or none that is known."""


class Cells(NamedTuple):
    """The polynomials of one function in an octave: (cells, degree + 1), and the relative error."""

    coefficients: Array
    error: float


@dataclass(frozen=True)
class Piece:
    """A function that is analytic for ``low`` < w < ``high``."""

    expression: sympy.Expr
    low: sympy.Expr
    high: sympy.Expr

    def meets(self, octave: int) -> bool:
        """Whether it is used somewhere in an octave."""
        with ctx.workprec(128):
            start, end = arb(2) ** octave, arb(2) ** (octave + 1)
            return not (_number(self.high) < start * (1 - SLACK) or _number(self.low) > end * (1 + SLACK))


def cells_of(piece: Piece, octave: int, cut: int) -> Cells | None:
    """The polynomials of an octave cut into 2^``cut`` cells; None if these are too wide for the accuracy.

    Cells where the piece is not used are 0. The error is relative to the value, and holds of Horner's rule in
    doubles at any double w in the cell (and at those that `SLACK` adds beyond the ends of the piece).

    Raises NoSeries where the function is not positive and finite.

    >>> found = cells_of(Piece(sympy.exp(W), sympy.S.Zero, sympy.oo), 0, 4)
    >>> w = 1.3
    >>> i = int((w - 1) * 16)
    >>> x = w - 1 - (i + 0.5) / 16
    >>> bool(abs(np.polyval(found.coefficients[i, ::-1], x) / np.exp(w) - 1) < found.error < 5e-16)
    True
    """
    count, half = 2**cut, 2.0 ** -(cut + 1)
    found, worst = np.zeros((count, DEGREE + 1)), 0.0
    for i in range(count):
        middle = 1 + (2 * i + 1) * half
        span = _span(piece, octave, middle, half)
        if span is None:
            continue
        coefficients, doubt = _sharp(piece.expression, middle, octave)
        remainder = _remainder(piece.expression, span, octave, half)
        if remainder is None:
            return None
        sizes = np.abs(coefficients) * half ** np.arange(DEGREE + 1)
        left = remainder + doubt
        if not (coefficients[0] > 0 and np.isfinite(coefficients).all()):
            raise NoSeries
        beyond = float(sizes[1:].sum())
        if not (left <= _LEFT_OFF * coefficients[0] and beyond <= _SMALL * coefficients[0]):
            return None
        # Term k takes a rounding for its coefficient, and two for each step that it goes through.
        rounding = float((2 * np.arange(1, DEGREE + 2) * sizes).sum()) * UNIT
        worst = max(worst, (left + rounding) / float(coefficients[0] - beyond - left) * _SURE)
        found[i] = coefficients
    return Cells(found, worst)


def start_of(octave: int) -> arb:
    """2^octave."""
    return arb(2) ** octave


def steepness(cells: Cells, cut: int) -> float:
    """A bound on |df/dw|·w / f in all cells of an octave, of the polynomials.

    >>> 1 < steepness(cells_of(Piece(W**2, sympy.S.Zero, sympy.oo), 0, 4), 4) < 3
    True
    """
    order, half = np.arange(DEGREE + 1), 2.0 ** -(cut + 1)
    size = np.abs(cells.coefficients)
    used = size[:, 0] > 0
    value = 2 * size[used, 0] - size[used] @ half**order
    slope = size[used, 1:] @ (order[1:] * half ** order[:-1])
    top = 1 + 2 * half * (np.flatnonzero(used) + 1)
    return float(np.max(top * slope / value, initial=0.0)) * _SURE


def _span(piece: Piece, octave: int, middle: float, half: float) -> arb | None:
    """The part of a cell in which a piece is used, and a little more, as a ball of w; None for none."""
    with ctx.workprec(128):
        scale = arb(2) ** octave
        start, end = scale * (middle - half), scale * (middle + half)
        low, high = _number(piece.low) * (1 - SLACK), _number(piece.high) * (1 + SLACK)
        if high < start or low > end:
            return None
        start = low.lower() if low > start else start
        end = high.upper() if high < end else end
        return start.union(end)


def _remainder(expression: sympy.Expr, span: arb, octave: int, half: float) -> float | None:
    """What is left off in a cell, at most; None where no series holds all of the cell."""
    with ctx.workprec(128), _order():
        try:
            rest = series(expression, span, octave)[DEGREE + 1]
        except NoSeries:
            return None
        return _above(abs(rest).upper() * arb(half) ** (DEGREE + 1))


def _number(value: sympy.Expr) -> arb:
    return arb("inf") if value == sympy.oo else ball.enclose(value, {}, 128)


def _sharp(expression: sympy.Expr, middle: float, octave: int) -> tuple[Array, float]:
    """The coefficients around the middle of a cell, and what rounding them to doubles does to the value."""
    bits = 128
    while True:
        with ctx.workprec(bits), _order():
            found = series(expression, arb(middle) * arb(2) ** octave, octave)
            terms = [found[k] for k in range(DEGREE + 1)]
            sharp = terms[0].rel_accuracy_bits() >= 80
            if sharp or bits >= _MOST:
                doubt = sum((t.rad().upper() for t in terms), arb(0))
                return np.array([float(t.mid()) for t in terms]), _above(doubt)
        bits *= 2


def _above(value: arb) -> float:
    """A double that is not smaller."""
    return float(np.nextafter(float(value.upper()), np.inf))


@contextmanager
def _order() -> Generator[None]:
    """Power series as long as they are wanted; no operation gives one that is longer than this setting."""
    saved = ctx.cap
    ctx.cap = DEGREE + 2
    try:
        yield
    finally:
        ctx.cap = saved


# --- power series of an expression ------------------------------------------------------------------------


def series(expression: sympy.Expr, at: arb, octave: int) -> arb_series:
    """The power series of a function of w in x, w = ``at`` + 2^octave·x, to one order more than `DEGREE`.

    Where ``at`` is a ball, each coefficient holds those around all of its points.

    Raises NoSeries where it is not finite, or for a function without a rule.
    """
    try:
        found = _walk(expression, arb_series([at, arb(2) ** octave], prec=DEGREE + 2))
    except (ValueError, ZeroDivisionError, ball.NotReal, ball.Unknown) as error:  # 1/0, say
        raise NoSeries from error
    whole = _series(found)
    if whole.prec < DEGREE + 2 or not all(whole[k].is_finite() for k in range(DEGREE + 2)):
        raise NoSeries
    return whole


Value = arb | arb_series


def _walk(expr: sympy.Basic, x: arb_series) -> Value:
    if expr == W:
        return x
    if not expr.has(W):
        return ball.enclose(expr, {}, ctx.prec)  # pyright: ignore[reportArgumentType]
    if isinstance(expr, sympy.Add | sympy.Mul):
        parts = [_walk(arg, x) for arg in expr.args]
        total = parts[0]
        for part in parts[1:]:
            total = total + part if isinstance(expr, sympy.Add) else total * part
        return total
    if isinstance(expr, sympy.Pow):
        return _power(expr, x)
    rule = _RULES.get(type(expr))
    if rule is None:
        raise NoSeries
    return rule(_series(_walk(expr.args[0], x)))


def _series(value: Value) -> arb_series:
    return value if isinstance(value, arb_series) else arb_series([value], prec=DEGREE + 2)


def _power(expr: sympy.Pow, x: arb_series) -> Value:
    exponent = expr.exp
    if exponent.is_Integer:
        base, n = _series(_walk(expr.base, x)), int(exponent)
        return base**n if n >= 0 else 1 / base ** (-n)
    power = _walk(exponent, x)
    if expr.base == sympy.E:
        return _series(power).exp()
    base = _series(_walk(expr.base, x))
    if exponent == sympy.Rational(1, 2):
        return base.sqrt()
    return _series(base.log() * power).exp()


def _hyperbolic(odd: bool, over: bool | None) -> Callable[[arb_series], arb_series]:
    """sinh (odd), cosh, tanh (odd over even) and coth, by exponentials."""

    def rule(u: arb_series) -> arb_series:
        up = u.exp()
        down = 1 / up
        sinh, cosh = (up - down) / 2, (up + down) / 2
        if over is None:
            return sinh if odd else cosh
        return sinh / cosh if over else cosh / sinh

    return rule


_RULES: Mapping[type, Callable[[arb_series], arb_series]] = {
    sympy.exp: arb_series.exp,
    sympy.log: arb_series.log,
    sympy.sin: arb_series.sin,
    sympy.cos: arb_series.cos,
    sympy.tan: arb_series.tan,
    sympy.atan: arb_series.atan,
    sympy.erf: arb_series.erf,
    sympy.erfc: arb_series.erfc,
    sympy.sinh: _hyperbolic(True, None),
    sympy.cosh: _hyperbolic(False, None),
    sympy.tanh: _hyperbolic(True, True),
    sympy.coth: _hyperbolic(True, False),
    sympy.asinh: lambda u: (u + (u * u + 1).sqrt()).log(),
}
