"""Enclosures of SymPy expressions in ball arithmetic (Arb), at rational points and over intervals.

Sound: the true value lies in the returned ball.  Rational subexpressions at rational points are kept
exact, so that a kink at a sampled point is decided.  Where a condition cannot be decided, the pieces that
may apply are joined.  A ball that is not finite says: nothing is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import sympy
from flint import arb, ctx, fmpq

Value = fmpq | arb
Point = Mapping[sympy.Symbol, Fraction | arb]
PRECISIONS: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)


class NotReal(ArithmeticError):
    """The expression certainly has no real value here (a logarithm of a negative number, 1/0, ...)."""


class Unknown(TypeError):
    """A function for which there is no rule here."""


def power_of_ten(n: int) -> arb:
    """10**n as a ball."""
    return arb(10) ** n


def _as_arb(v: Value) -> arb:
    return v if isinstance(v, arb) else arb(v)


def _nothing() -> arb:
    return arb.nan()


def _fraction(v: fmpq) -> Fraction:
    return Fraction(int(v.p), int(v.q))


def _sign(v: Value) -> int | None:
    """-1, 0 or 1 where that is certain."""
    if isinstance(v, fmpq):
        return (v > 0) - (v < 0)
    if v > 0:
        return 1
    if v < 0:
        return -1
    return 0 if v.is_zero() else None


def _union(values: Sequence[Value]) -> arb:
    joined = _as_arb(values[0])
    for v in values[1:]:
        joined = joined.union(_as_arb(v)) if joined.is_finite() and _as_arb(v).is_finite() else _nothing()
    return joined


def _power(base: Value, exponent: Value) -> Value:
    whole = isinstance(exponent, fmpq) and exponent.q == 1
    sign = _sign(base)
    if sign == 0:
        power_sign = _sign(exponent)
        if power_sign is None:
            return _nothing()
        if power_sign < 0:
            raise NotReal
        return fmpq(1) if power_sign == 0 else fmpq(0)
    if whole and isinstance(exponent, fmpq):
        n = int(exponent.p)
        if isinstance(base, fmpq) and abs(n) * (int(base.p).bit_length() + int(base.q).bit_length()) <= 20000:
            return base**n
        ball = _as_arb(base)
        if n < 0 and sign is None:
            return _nothing()
        if n % 2 == 0 and sign is None:
            return _even_power(ball, n)
        return ball ** arb(n) if n >= 0 else 1 / ball ** arb(-n)
    if sign == 1:
        if isinstance(exponent, fmpq) and exponent.q == 2:
            return _as_arb(base).sqrt() ** arb(exponent.p)
        return (_as_arb(exponent) * _as_arb(base).log()).exp()
    if sign == -1:
        if isinstance(exponent, fmpq):
            raise NotReal
        return _nothing()
    return _power_at_zero_end(_as_arb(base), exponent)


def _even_power(ball: arb, n: int) -> arb:
    top = abs(ball).upper()
    return arb(0).union(top ** arb(n))


def _power_at_zero_end(base: arb, exponent: Value) -> arb:
    """A ball that touches 0 from above, to a positive power: [0, upper**exponent]."""
    if not base.is_finite() or not bool(base >= 0) or _sign(exponent) != 1:
        return _nothing()
    top = base.upper()
    if not top > 0:
        return _nothing()
    return arb(0).union((_as_arb(exponent) * top.log()).exp())


def _log(v: Value) -> Value:
    sign = _sign(v)
    if sign is not None and sign <= 0:
        raise NotReal
    if sign is None:
        return _nothing()
    return fmpq(0) if isinstance(v, fmpq) and v == 1 else _as_arb(v).log()


def _abs(v: Value) -> Value:
    return abs(v)


def _signum(v: Value) -> Value:
    sign = _sign(v)
    if sign is not None:
        return fmpq(sign)
    return arb(0, 1) if _as_arb(v).is_finite() else _nothing()


def _floor(v: Value) -> Value:
    if isinstance(v, fmpq):
        return fmpq(_fraction(v).__floor__())
    low, high = v.lower(), v.upper()
    if not v.is_finite():
        return _nothing()
    return low.floor().union(high.floor())


def _smooth(name: str) -> Callable[[Value], Value]:
    def rule(v: Value) -> Value:
        if isinstance(v, fmpq) and v == 0:
            return fmpq(1) if name in ("exp", "cosh", "cos") else fmpq(0)
        result: arb = getattr(_as_arb(v), name)()
        return result

    return rule


_RULES: Mapping[type, Callable[[Value], Value]] = {
    sympy.Abs: _abs,
    sympy.sign: _signum,
    sympy.floor: _floor,
    sympy.log: _log,
    **{
        getattr(sympy, name): _smooth(name)
        for name in (
            "exp",
            "tanh",
            "sinh",
            "cosh",
            "sin",
            "cos",
            "tan",
            "atan",
            "erf",
            "erfc",
            "coth",
            "asinh",
        )
    },
}


def _extreme(values: Sequence[Value], largest: bool) -> Value:
    if all(isinstance(v, fmpq) for v in values):
        exact = [v for v in values if isinstance(v, fmpq)]
        return max(exact) if largest else min(exact)
    result = _as_arb(values[0])
    for v in values[1:]:
        ball = _as_arb(v)
        result = result.max(ball) if largest else result.min(ball)
    return result


def _add(values: Sequence[Value]) -> Value:
    exact, balls = fmpq(0), [v for v in values if isinstance(v, arb)]
    for v in values:
        if isinstance(v, fmpq):
            exact += v
    if not balls:
        return exact
    total = balls[0]
    for b in balls[1:]:
        total += b
    return total if exact == 0 else total + arb(exact)


def _mul(values: Sequence[Value]) -> Value:
    exact, balls = fmpq(1), [v for v in values if isinstance(v, arb)]
    for v in values:
        if isinstance(v, fmpq):
            exact *= v
    if not balls or (exact == 0 and all(b.is_finite() for b in balls)):
        return exact
    total = balls[0]
    for b in balls[1:]:
        total *= b
    return total if exact == 1 else total * arb(exact)


def _holds(condition: sympy.Basic, point: Mapping[sympy.Symbol, Value]) -> bool | None:
    """Whether a condition of a Piecewise holds; None where that is not certain."""
    if condition == sympy.true:
        return True
    if condition == sympy.false:
        return False
    if isinstance(condition, sympy.And | sympy.Or):
        parts = [_holds(arg, point) for arg in condition.args]
        decisive = isinstance(condition, sympy.Or)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    if isinstance(condition, sympy.Not):
        inner = _holds(condition.args[0], point)
        return None if inner is None else not inner
    if not isinstance(condition, sympy.core.relational.Relational):
        raise Unknown(str(type(condition)))
    left, right = _value(condition.lhs, point), _value(condition.rhs, point)
    sign = _sign(_add((left, _mul((fmpq(-1), right)))))
    if sign is None:
        return _holds_by_bounds(condition, _as_arb(left) - _as_arb(right))
    table: dict[type, bool] = {
        sympy.Lt: sign < 0, sympy.Le: sign <= 0, sympy.Gt: sign > 0, sympy.Ge: sign >= 0,
        sympy.Eq: sign == 0, sympy.Ne: sign != 0,
    }  # fmt: skip
    return table[type(condition)]


def _holds_by_bounds(condition: sympy.Basic, difference: arb) -> bool | None:
    if isinstance(condition, sympy.Ge | sympy.Lt) and bool(difference >= 0):
        return isinstance(condition, sympy.Ge)
    if isinstance(condition, sympy.Le | sympy.Gt) and bool(difference <= 0):
        return isinstance(condition, sympy.Le)
    return None


def _piecewise(expr: sympy.Piecewise, point: Mapping[sympy.Symbol, Value]) -> Value:
    possible: list[Value] = []
    doubtful = False
    for value, condition in expr.args:
        holds = _holds(condition, point)
        if holds is False:
            continue
        doubtful = doubtful or holds is None
        try:
            possible.append(_value(value, point))
        except NotReal:
            if not doubtful:
                raise
            return _nothing()
        if holds:
            return possible[0] if len(possible) == 1 else _union(possible)
    if doubtful:
        return _nothing()
    raise NotReal


def _value(expr: sympy.Basic, point: Mapping[sympy.Symbol, Value]) -> Value:
    if isinstance(expr, sympy.Rational):
        return fmpq(int(expr.p), int(expr.q))
    if isinstance(expr, sympy.Symbol):
        return point[expr]
    if isinstance(expr, sympy.Piecewise):
        return _piecewise(expr, point)
    if expr == sympy.pi:
        return arb.pi()
    if expr == sympy.E:
        return arb.const_e()
    values = [_value(arg, point) for arg in expr.args]
    if isinstance(expr, sympy.Add):
        return _add(values)
    if isinstance(expr, sympy.Mul):
        return _mul(values)
    if isinstance(expr, sympy.Pow):
        return _RULES[sympy.exp](values[1]) if expr.base == sympy.E else _power(values[0], values[1])
    if isinstance(expr, sympy.Max | sympy.Min):
        return _extreme(values, isinstance(expr, sympy.Max))
    if isinstance(expr, sympy.Heaviside) and len(values) == 2:
        sign = _sign(values[0])
        return (
            _union((fmpq(0), fmpq(1), values[1])) if sign is None else (fmpq(0), values[1], fmpq(1))[sign + 1]
        )
    rule = _RULES.get(type(expr))
    if rule is None:
        raise Unknown(f"no enclosure for {type(expr).__name__}")
    return rule(values[0])


def _as_value(v: Fraction | int | arb) -> Value:
    return v if isinstance(v, arb) else fmpq(v.numerator, v.denominator)


def enclose(expr: sympy.Expr, point: Point, precision: int = 64) -> arb:
    """A ball that holds the value at ``point``, computed with ``precision`` bits.

    >>> x = sympy.Symbol("x", real=True)
    >>> bool(abs(enclose(sympy.tanh(x), {x: Fraction(1)}) - 0.7615941559557649) < 1e-15)
    True

    Raises NotReal where there certainly is no real value, Unknown for a function without a rule.
    """
    with ctx.workprec(precision):
        return _as_arb(_value(expr, {s: _as_value(v) for s, v in point.items()}))


def exactly(expr: sympy.Expr, point: Mapping[sympy.Symbol, Fraction]) -> Fraction | None:
    """The rational value at a rational point, where only rational operations lead to it.

    >>> x = sympy.Symbol("x", real=True)
    >>> exactly(sympy.Max(x, 0) ** 2 / 3, {x: Fraction(1, 2)})
    Fraction(1, 12)
    """
    with ctx.workprec(PRECISIONS[0]):
        value = _value(expr, {s: _as_value(v) for s, v in point.items()})
    return _fraction(value) if isinstance(value, fmpq) else None


def sharp(expr: sympy.Expr, point: Point, bits: int = 50) -> arb:
    """An enclosure with about ``bits`` correct bits, raising the precision as needed.

    >>> x = sympy.Symbol("x", real=True)
    >>> sharp(sympy.exp(x) - 1 - x, {x: Fraction(1, 10**12)}).rel_accuracy_bits() >= 50
    True
    """
    ball = _nothing()
    for precision in PRECISIONS:
        ball = enclose(expr, point, precision)
        if ball.rel_accuracy_bits() >= bits or ball.is_zero():
            break
    return ball


def sign_at(expr: sympy.Expr, point: Point) -> int | None:
    """The certain sign (-1, 0, 1) of the value at a point; None where no precision tried decides it.

    >>> x = sympy.Symbol("x", real=True)
    >>> sign_at(sympy.exp(x) - 1 - x, {x: Fraction(1, 10**9)}), sign_at(x - x**2, {x: Fraction(1)})
    (1, 0)
    """
    for precision in PRECISIONS:
        with ctx.workprec(precision):
            sign = _sign(_value(expr, {s: _as_value(v) for s, v in point.items()}))
        if sign is not None:
            return sign
    return None


def over(lower: Fraction, upper: Fraction, precision: int = 64) -> arb:
    """The interval [lower, upper] as a ball.

    >>> bool(over(Fraction(1), Fraction(2)).contains(arb(1.5)))
    True
    """
    with ctx.workprec(precision):
        return arb(fmpq(lower.numerator, lower.denominator)).union(
            arb(fmpq(upper.numerator, upper.denominator))
        )


def bounds(ball: arb) -> tuple[Fraction, Fraction]:
    """Rational lower and upper bounds of a finite ball."""

    def exact(end: arb) -> Fraction:
        mantissa, exponent = end.man_exp()
        return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)

    with ctx.workprec(4 * PRECISIONS[-1]):  # ends are rounded outwards to the precision in force
        return exact(ball.lower()), exact(ball.upper())


def show(ball: arb, digits: int = 6) -> str:
    """Decimal digits that are certain, for a reader.

    >>> show(arb(1) / 3, 4)
    '0.3333'
    """
    text = ball.str(digits, radius=False)
    return text.removesuffix(".")
