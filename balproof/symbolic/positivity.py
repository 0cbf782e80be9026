"""Is a function positive for all w > 0?  Assumption calculus, real-root counting, z3, ball subdivision.

Each answer names its method.  The last one, subdivision, speaks of a range only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import sympy

from balproof.symbolic import ball, smt
from balproof.symbolic.convexity import W, shape
from balproof.symbolic.limits import ATTEMPT, within
from balproof.verdict import Method, Verdict

RANGE = (Fraction(1, 1000), Fraction(1000))
MAX_BOXES = 4000


@dataclass(frozen=True)
class Sign:
    """``strict``: positive except at isolated points, everywhere on w > 0 (or only on ``RANGE``)."""

    holds: bool
    method: Method
    verdict: Verdict
    why: str


_Attempt = Callable[[sympy.Expr, bool], Sign | None]


def _by_assumptions(name: str, rewrite: Callable[[sympy.Expr], sympy.Expr]) -> _Attempt:
    def attempt(expr: sympy.Expr, _strict: bool) -> Sign | None:
        if not rewrite(expr).is_positive:
            return None
        return Sign(True, "sympy", Verdict.proved, f"positive by the signs of its parts, {name}")

    return attempt


def _as_ratio(expr: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Numerator and denominator as polynomials in w, after w = v^n for fractional exponents."""
    exponents = [p.exp for p in expr.atoms(sympy.Pow) if p.base == W]
    if not all(e.is_Rational for e in exponents):
        return None
    common = math.lcm(*(int(e.q) for e in exponents))
    if common > 60:
        return None
    whole = expr.subs(W, W**common) if common > 1 else expr
    numerator, denominator = sympy.fraction(sympy.together(sympy.expand_power_base(whole)))
    if numerator.is_polynomial(W) and denominator.is_polynomial(W):
        return sympy.expand(numerator), sympy.expand(denominator)
    return None


def _by_roots(expr: sympy.Expr, strict: bool = False) -> Sign | None:
    """A quotient of rational polynomials: no sign change on w > 0 (roots counted exactly)."""
    ratio = _as_ratio(expr)
    if ratio is None or expr.free_symbols != {W}:
        return None
    for part in ratio:
        poly = sympy.Poly(part, W)
        if poly.is_zero or poly.degree() > 200 or not all(c.is_Rational for c in poly.coeffs()):
            return None
    product = sympy.Poly(ratio[0] * ratio[1], W)
    if product.eval(1) < 0 or (product.eval(1) == 0 and product.eval(2) < 0):
        return None
    for factor, multiplicity in product.sqf_list()[1]:
        if (strict or multiplicity % 2) and _positive_roots(factor):
            return None
    return Sign(
        True, "sympy", Verdict.proved, "polynomial without sign change on w > 0 (real roots counted exactly)"
    )


def _positive_roots(poly: sympy.Poly) -> int:
    at_zero = 1 if poly.eval(0) == 0 else 0
    return int(poly.count_roots(0, None)) - at_zero


def _by_z3(expr: sympy.Expr, _strict: bool = False) -> Sign | None:
    ratio = _as_ratio(expr)
    if ratio is None:
        return None
    symbols = expr.free_symbols
    if not all(part.is_polynomial(*symbols) for part in ratio):
        return None
    answer = smt.satisfiable([sympy.Le(ratio[0] * ratio[1], 0, evaluate=False)])
    if answer.status == "unsat":
        return Sign(True, "z3", Verdict.proved, "z3: no w > 0 makes it ≤ 0")
    return None


def _by_subdivision(expr: sympy.Expr, _strict: bool = False) -> Sign | None:
    if expr.free_symbols != {W}:
        return None
    boxes = [RANGE]
    for _ in range(MAX_BOXES):
        if not boxes:
            low, high = RANGE
            return Sign(
                True, "interval", Verdict.certified, f"on {low} ≤ |w| ≤ {high} only, by ball subdivision"
            )
        low, high = boxes.pop()
        try:
            value = ball.enclose(expr, {W: ball.over(low, high)}, 128)
        except (ball.NotReal, ball.Unknown):
            return None
        if value > 0:
            continue
        if high / low < Fraction(1001, 1000):
            return None
        middle = (low + high) / 2 if high < 2 * low else _geometric(low, high)
        boxes += [(low, middle), (middle, high)]
    return None


def _geometric(low: Fraction, high: Fraction) -> Fraction:
    return Fraction(float(low * high) ** 0.5).limit_denominator(10**6) or (low + high) / 2


_METHODS: tuple[_Attempt, ...] = (
    _by_assumptions("as it stands", lambda e: e),
    _by_assumptions("expanded", sympy.expand),
    _by_roots,
    _by_assumptions("factored", lambda e: sympy.factor(sympy.together(e))),
    _by_assumptions("simplified", lambda e: sympy.simplify(e) if e.count_ops() <= 80 else e),
    _by_z3,
    _by_subdivision,
)


def positive(expr: sympy.Expr, *, strict: bool = False) -> Sign:
    """Whether ``expr``, smooth on w > 0, is positive there; isolated zeros are allowed unless ``strict``.

    >>> positive(16 * W**2 - 9 * W + 4).why
    'polynomial without sign change on w > 0 (real roots counted exactly)'
    """
    for method in _METHODS:
        found = within(ATTEMPT, lambda method=method: method(expr, strict), None)
        if found is not None:
            return found
    return Sign(False, "sympy", Verdict.undecided, "no method decided the sign")


_ENTIRE = (
    sympy.exp, sympy.tanh, sympy.sinh, sympy.cosh, sympy.sin, sympy.cos, sympy.atan, sympy.erf, sympy.erfc
)  # fmt: skip


def smooth(expr: sympy.Basic) -> bool:
    """Whether a function is shown to be real and analytic for all w > 0: no pole, no jump, no kink.

    A positive derivative says that a function rises only where there is no pole between two points.

    >>> smooth(sympy.log(1 + W**2)), smooth(W - 1 / (W - 1)), smooth(sympy.sqrt(W**2 - W + 1))
    (True, False, True)
    """
    if not expr.has(W):
        return expr.is_real is True
    if expr == W:
        return True
    if not all(smooth(arg) for arg in expr.args):
        return False
    if isinstance(expr, sympy.Pow) and not (expr.exp.is_Integer and expr.exp.is_nonnegative):
        return _never_zero(expr.base, expr.exp.is_Integer is True)
    if isinstance(expr, sympy.log):
        return _never_zero(expr.args[0], False)
    return isinstance(expr, (sympy.Add, sympy.Mul, sympy.Pow, *_ENTIRE))


def _never_zero(expr: sympy.Expr, either_sign: bool) -> bool:
    """Shown to be positive for all w > 0, or also negative for all of them."""
    for side in (expr, -expr) if either_sign else (expr,):
        if side.is_positive or shape(side).positive:
            return True
        found = positive(side, strict=True)
        if found.holds and found.verdict == Verdict.proved:
            return True
    return False
