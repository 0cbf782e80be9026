"""Rules for functions of w > 0, seen as functions of t = log w: convex, strictly, log-convex, increasing.

Every rule is sound and says so in a comment; a flag that is False means "not shown".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy

W = sympy.Symbol("w", positive=True)


@dataclass(frozen=True)
class Shape:
    """What is shown of u(t) = f(e^t), for all t.

    ``rising``: strictly increasing; ``log_convex`` is of u itself and needs u > 0.
    """

    positive: bool = False
    nonnegative: bool = False
    monotone: bool = False
    rising: bool = False
    convex: bool = False
    strict: bool = False
    log_convex: bool = False
    log_strict: bool = False


NOTHING = Shape()


def _closed(s: Shape) -> Shape:
    """What follows at once: log-convex ⇒ convex (exp of convex), strictly where rising or log-strict."""
    convex = s.convex or s.log_convex or s.strict
    strict = s.strict or s.log_strict or (s.log_convex and s.rising)
    return replace(
        s,
        nonnegative=s.nonnegative or s.positive,
        monotone=s.monotone or s.rising,
        convex=convex,
        strict=strict,
        log_convex=s.log_convex or s.log_strict,
    )


def _constant(value: sympy.Basic) -> Shape:
    positive = value.is_positive is True
    real = value.is_real is True
    return Shape(positive, value.is_nonnegative is True, real, False, real, False, positive)


def _power_of_w(exponent: sympy.Basic) -> Shape:
    """w^p = e^{pt}: log-affine, strictly convex for p ≠ 0."""
    if exponent.is_real is not True:
        return NOTHING
    up = exponent.is_positive is True
    return Shape(True, True, up, up, True, exponent.is_nonzero is True, True)


def _times(f: Shape, g: Shape) -> Shape:
    """Products: logarithms add; (fg)'' = f''g + 2f'g' + fg'' for convex f, g ≥ 0 that do not decrease."""
    both_up = f.nonnegative and g.nonnegative and f.monotone and g.monotone
    convex = both_up and f.convex and g.convex
    strict = convex and ((f.strict and g.positive) or (g.strict and f.positive) or (f.rising and g.rising))
    log_convex = f.log_convex and g.log_convex
    rising = (both_up and f.positive and g.rising) or (both_up and g.positive and f.rising)
    rising = rising or (both_up and f.rising and g.rising)
    return _closed(
        Shape(
            positive=f.positive and g.positive,
            nonnegative=f.nonnegative and g.nonnegative,
            monotone=both_up,
            rising=rising,
            convex=convex,
            strict=strict,
            log_convex=log_convex,
            log_strict=log_convex and (f.log_strict or g.log_strict),
        )
    )


def _scaled(factor: sympy.Expr, f: Shape) -> Shape:
    if factor.is_positive:
        return f
    return _constant(sympy.S.Zero) if factor.is_zero else NOTHING


def _product(expr: sympy.Mul) -> Shape:
    factor, rest = expr.as_independent(W)
    result: Shape | None = None
    for arg in sympy.Mul.make_args(rest):
        result = shape(arg) if result is None else _times(result, shape(arg))
    return _scaled(factor, result or _constant(sympy.S.One))


def _exponents(args: tuple[sympy.Basic, ...]) -> list[sympy.Expr] | None:
    """The exponents of the terms where all are c·w^p with c > 0."""
    found: list[sympy.Expr] = []
    for arg in args:
        factor, power = arg.as_independent(W)
        if not factor.is_positive:
            return None
        base, exponent = power.as_base_exp()
        if base not in (W, sympy.S.One) or exponent.has(W):
            return None
        found.append(exponent if base == W else sympy.S.Zero)
    return found


def _minus_one(expr: sympy.Add) -> Shape | None:
    """exp(u)−1 = Σ u^k/k! and cosh(u)−1 = Σ u^{2k}/(2k)!: sums of powers of a log-convex u."""
    for arg in expr.args:
        for function in (sympy.exp, sympy.cosh):
            if isinstance(arg, function) and expr - arg == -1:
                u = shape(arg.args[0])
                if u.log_convex and u.rising:
                    return _closed(Shape(True, True, True, True, True, True, True, True))
    return None


def _sum(expr: sympy.Add) -> Shape:
    special = _minus_one(expr)
    if special is not None:
        return special
    parts = [shape(arg) for arg in expr.args]
    log_convex = all(p.log_convex for p in parts)
    exponents = _exponents(expr.args)
    different = exponents is not None and any((e - exponents[0]).is_nonzero for e in exponents)
    monotone = all(p.monotone for p in parts)
    nonnegative = all(p.nonnegative for p in parts)
    convex = all(p.convex for p in parts)
    return _closed(
        Shape(
            positive=nonnegative and any(p.positive for p in parts),
            nonnegative=nonnegative,
            monotone=monotone,
            rising=monotone and any(p.rising for p in parts),
            convex=convex,
            strict=convex and any(p.strict for p in parts),
            log_convex=log_convex,
            # a sum of log-convex functions is strictly so if one is, or if two have different slopes
            log_strict=log_convex and (different or any(p.log_strict for p in parts)),
        )
    )


def _power(base: sympy.Expr, exponent: sympy.Expr) -> Shape:
    if base == W:
        return _power_of_w(exponent)
    u = shape(base)
    if exponent.is_positive is not True or not u.nonnegative:
        return NOTHING
    at_least_one = (exponent - 1).is_nonnegative is True
    convex = at_least_one and u.convex and u.monotone
    return _closed(
        Shape(
            positive=u.positive,
            nonnegative=True,
            monotone=u.monotone,
            rising=u.rising,
            convex=convex,
            strict=convex and (u.strict or (u.rising and (exponent - 1).is_positive is True)) and u.positive,
            log_convex=u.log_convex,
            log_strict=u.log_strict,
        )
    )


def _exponential(u: Shape) -> Shape:
    return _closed(
        Shape(True, True, u.monotone, u.rising, u.convex, False, log_convex=u.convex, log_strict=u.strict)
    )


def _logarithm(argument: sympy.Expr) -> Shape:
    """log of a log-convex function is convex; log(1+u) is ≥ 0 for u ≥ 0."""
    u = shape(argument)
    if not u.positive:
        return NOTHING
    above = shape(argument - 1)
    return _closed(
        Shape(
            positive=above.positive,
            nonnegative=above.nonnegative,
            monotone=u.monotone,
            rising=u.rising,
            convex=u.log_convex,
            strict=u.log_strict,
        )
    )


def _hyperbolic(u: Shape, cosh: bool) -> Shape:
    """cosh and sinh are power series with coefficients ≥ 0: sums of powers of a log-convex, rising u."""
    fits = u.log_convex and u.rising
    if not fits:
        return Shape(positive=cosh, nonnegative=cosh)
    return _closed(Shape(True, True, True, True, True, True, True, True))


def _largest(expr: sympy.Max) -> Shape:
    parts = [shape(arg) for arg in expr.args]
    return _closed(
        Shape(
            positive=any(p.positive for p in parts),
            nonnegative=any(p.nonnegative for p in parts),
            monotone=all(p.monotone for p in parts),
            rising=all(p.rising for p in parts),
            convex=all(p.convex for p in parts),
            strict=all(p.strict for p in parts),
            log_convex=all(p.log_convex for p in parts),
            log_strict=all(p.log_strict for p in parts),
        )
    )


def shape(expr: sympy.Basic) -> Shape:
    """What the rules show of a function of w > 0 (in t = log w).

    >>> shape(sympy.log(1 + W**2)).strict, shape(W**2 / (1 + W**2)).strict
    (True, False)
    """
    if not expr.has(W):
        return _constant(expr)
    if expr == W:
        return _power_of_w(sympy.S.One)
    if isinstance(expr, sympy.Mul):
        return _product(expr)
    if isinstance(expr, sympy.Add):
        return _sum(expr)
    if isinstance(expr, sympy.Pow) and not expr.exp.has(W):
        return _power(expr.base, expr.exp)
    if isinstance(expr, sympy.exp):
        return _exponential(shape(expr.args[0]))
    if isinstance(expr, sympy.log):
        return _logarithm(expr.args[0])
    if isinstance(expr, sympy.cosh | sympy.sinh):
        return _hyperbolic(shape(expr.args[0]), isinstance(expr, sympy.cosh))
    if isinstance(expr, sympy.Max):
        return _largest(expr)
    if isinstance(expr, sympy.Abs) and shape(expr.args[0]).nonnegative:
        return shape(expr.args[0])
    return NOTHING
