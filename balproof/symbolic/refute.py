"""A witness that a function is not homogeneous: rationals x1, x2 and a scale l, certified by balls.

If f(l·x) = G(l)·f(x) for all x and l > 0, then f(l·x1)·f(x2) = f(l·x2)·f(x1).  Three numbers for which
this fails refute every G at once.  ([B] Prop. 2.2, 2.3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import sympy
from flint import arb, ctx

from balproof.symbolic import ball

_BASIC = tuple(Fraction(n, d) for n, d in ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (7, 5), (10, 1), (1, 10)))
_FAR = tuple(Fraction(10) ** k for k in (2, 3, 4, 6, 9, -2, -3, -4, -6))
_SCALES = (Fraction(2), Fraction(3), Fraction(3, 2), Fraction(10))
MAX_POINTS = 72


@dataclass(frozen=True)
class Witness:
    """x1, x2 and l > 0 with certified f(l·x1)·f(x2) ≠ f(l·x2)·f(x1).

    ``left`` and ``right`` are rational enclosures of the two products; ``at`` are the values of the
    symbolic parameters for which this holds.
    """

    x1: Fraction
    x2: Fraction
    scale: Fraction
    left: tuple[Fraction, Fraction]
    right: tuple[Fraction, Fraction]
    sentence: str
    at: tuple[tuple[str, Fraction], ...] = ()

    def holds_for(self, expr: sympy.Expr, variable: sympy.Symbol) -> bool:
        """Compute both products anew and see that they differ."""
        values = {sympy.Symbol(name): v for name, v in self.at}
        names = {s: values[sympy.Symbol(s.name)] for s in expr.free_symbols - {variable}}

        def f(x: Fraction) -> arb:
            return ball.sharp(expr, {**names, variable: x}, 100)

        with ctx.workprec(256):
            left = f(self.scale * self.x1) * f(self.x2)
            right = f(self.scale * self.x2) * f(self.x1)
        return left.is_finite() and right.is_finite() and not left.overlaps(right)

    def as_json(self) -> dict[str, object]:
        return {
            "x1": str(self.x1),
            "x2": str(self.x2),
            "scale": str(self.scale),
            "at": {name: str(v) for name, v in self.at},
            "sentence": self.sentence,
        }


def sample_points(expr: sympy.Expr, variable: sympy.Symbol) -> tuple[Fraction, ...]:
    """Positive rationals, the simple ones first, that straddle every constant and every linear kink.

    >>> x = sympy.Symbol("x", real=True)
    >>> Fraction(2 * 10**6) in sample_points(sympy.Piecewise((x, x < 10**6), (2 * x, True)), x)
    True
    """
    constants = {Fraction(int(r.p), int(r.q)) for r in expr.atoms(sympy.Rational) if r != 0}
    for node in expr.atoms(sympy.Max, sympy.Min, sympy.Abs, sympy.core.relational.Relational):
        constants |= set(_roots(node, variable))
    around: list[Fraction] = []
    for c in sorted((abs(c) for c in constants), reverse=True):
        around += [c / 2, 2 * c, c, c * 4 / 5, c * 6 / 5, 1 / c, c * 1001 / 1000, c * 999 / 1000]
    found = dict.fromkeys((*_BASIC, *around[: MAX_POINTS - 20], *_FAR))
    return tuple(found)


def _roots(node: sympy.Basic, variable: sympy.Symbol) -> Iterable[Fraction]:
    """Rational points near which a kink may lie: zeros of linear differences of the arguments."""
    args = [a for a in node.args if isinstance(a, sympy.Expr)] + (
        [sympy.S.Zero] if len(node.args) == 1 else []
    )
    for i, left in enumerate(args):
        for right in args[i + 1 :]:
            difference = sympy.expand(left - right)
            slope = difference.coeff(variable, 1)
            rest = sympy.expand(difference - slope * variable)
            if slope != 0 and not rest.has(variable) and not (slope.free_symbols | rest.free_symbols):
                root = sympy.nsimplify(0) if rest == 0 else abs(rest / slope)
                value = ball.sharp(root, {})
                near = ball.bounds(value)[0].limit_denominator(10**9) if value.is_finite() else Fraction(0)
                if near > 0:
                    yield near


def _value(expr: sympy.Expr, variable: sympy.Symbol, x: Fraction) -> arb | None:
    try:
        value = ball.sharp(expr, {variable: x}, 100)
    except (ball.NotReal, ball.Unknown):
        return None
    # a value with a few certain digits, so that a reader can check the sentence
    return value if value.is_zero() or value.rel_accuracy_bits() >= 40 else None


def _number(q: Fraction) -> str:
    return f"({q})" if q < 0 or q.denominator != 1 else str(q)


def _sentence(
    name: str, scale: Fraction, x1: Fraction, x2: Fraction, values: tuple[arb, arb, arb, arb]
) -> str:
    """Two quotients for one factor, where they exist; otherwise the two products."""
    f1, f2, g1, g2 = values
    a, b, c = _number(scale), _number(x1), _number(x2)
    if f1.is_zero() or f2.is_zero():
        return (
            f"with f = {name}: f({a}·{b})·f({x2}) = {ball.show(g1)}·{ball.show(f2)} but "
            f"f({a}·{c})·f({x1}) = {ball.show(g2)}·{ball.show(f1)}: no single factor G({scale})"
        )
    q1, q2 = g1 / f1, g2 / f2
    digits = next((n for n in range(6, 40, 4) if ball.show(q1, n) != ball.show(q2, n)), 40)
    return (
        f"with f = {name}: f({a}·{b})/f({x1}) = {ball.show(q1, digits)} but "
        f"f({a}·{c})/f({x2}) = {ball.show(q2, digits)}: no single factor G({scale})"
    )


def find_witness(
    name: str, expr: sympy.Expr, variable: sympy.Symbol, at: Mapping[sympy.Symbol, Fraction], side: int = 0
) -> Witness | None:
    """Search the sample points of both signs, and 0, for a certified difference.

    With ``side`` 1 or -1 only points of that sign are taken: then no power fits on that half-line.

    >>> x = sympy.Symbol("x", real=True)
    >>> find_witness("tanh(x)", sympy.tanh(x), x, {}).sentence
    'with f = tanh(x): f(2·1)/f(1) = 1.26580 but f(2·2)/f(2) = 1.03662: no single factor G(2)'
    """
    fixed = expr.subs({s: sympy.Rational(v.numerator, v.denominator) for s, v in at.items()})
    positive = sample_points(fixed, variable)
    points = tuple(side * p for p in positive)
    if side == 0:
        points = (*positive, *(-p for p in positive), Fraction(0))
    cache: dict[Fraction, arb | None] = {}

    def f(x: Fraction) -> arb | None:
        if x not in cache:
            cache[x] = _value(fixed, variable, x)
        return cache[x]

    for x1 in _references(points, f):
        f1 = f(x1)
        for scale in _SCALES:
            g1 = f(scale * x1)
            for x2 in points:
                f2, g2 = f(x2), f(scale * x2)
                if f1 is None or f2 is None or g1 is None or g2 is None:
                    continue
                with ctx.workprec(256):
                    left, right = g1 * f2, g2 * f1
                if not left.overlaps(right):
                    return Witness(
                        x1,
                        x2,
                        scale,
                        ball.bounds(left),
                        ball.bounds(right),
                        _sentence(name, scale, x1, x2, (f1, f2, g1, g2)) + _where(at),
                        tuple(sorted((s.name, v) for s, v in at.items())),
                    )
    return None


def _references(points: Iterable[Fraction], f: Callable[[Fraction], arb | None]) -> tuple[Fraction, ...]:
    """Up to two points per sign at which the function is certainly not 0."""
    found: dict[int, list[Fraction]] = {1: [], -1: []}
    for x in points:
        value = f(x)
        bucket = found[1 if x > 0 else -1]
        if value is not None and not value.contains(0) and len(bucket) < 2:
            bucket.append(x)
    return (*found[1], *found[-1])


def _where(at: Mapping[sympy.Symbol, Fraction]) -> str:
    if not at:
        return ""
    values = ", ".join(f"{s.name}={v}" for s, v in sorted(at.items(), key=lambda item: item[0].name))
    return f" (shown at {values} only)"
