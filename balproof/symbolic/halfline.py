"""A function on one half-line: is it a·t^d for all t > 0?

``monomial`` answers by rules that are sound one by one: whatever it returns holds for every t > 0.  It
is incomplete: None says that no rule applied.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy

from balproof.symbolic.convexity import W, shape
from balproof.symbolic.limits import ATTEMPT, vanishes, within

T = sympy.Dummy("t", positive=True)  # no parameter called t is meant
Monomial = tuple[sympy.Expr, sympy.Expr]
_ORDERED = (sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge, sympy.Eq, sympy.Ne)


def restrict(expr: sympy.Expr, variable: sympy.Symbol, side: int) -> sympy.Expr:
    """The function of t > 0 that ``expr`` is at variable = side·t, side being 1 or -1.

    >>> x = sympy.Symbol("x", real=True)
    >>> restrict(sympy.Max(x, 0) ** 2, x, 1), restrict(sympy.Max(x, 0) ** 2, x, -1)
    (_t**2, 0)
    """
    return expr.subs(variable, side * T)


def equal(left: sympy.Expr, right: sympy.Expr) -> bool:
    """Whether two expressions without t are shown to be the same (False: not shown)."""
    return left == right or vanishes(left - right)


def _product(args: tuple[sympy.Basic, ...]) -> Monomial | None:
    coefficient, degree = sympy.S.One, sympy.S.Zero
    for arg in args:
        part = monomial(arg)
        if part is None:
            return None
        coefficient, degree = coefficient * part[0], degree + part[1]
    return coefficient, degree


def _sum(args: tuple[sympy.Basic, ...]) -> Monomial | None:
    parts = [monomial(arg) for arg in args]
    groups: list[Monomial] = []
    for part in parts:
        if part is None:
            return None
        for i, (coefficient, degree) in enumerate(groups):
            if equal(degree, part[1]):
                groups[i] = (coefficient + part[0], degree)
                break
        else:
            groups.append(part)
    left = [g for g in groups if not vanishes(g[0])]
    if not left:
        return sympy.S.Zero, sympy.S.Zero
    return left[0] if len(left) == 1 else None


def _power(base: sympy.Basic, exponent: sympy.Basic) -> Monomial | None:
    part = None if exponent.has(T) else monomial(base)
    return None if part is None else (part[0] ** exponent, part[1] * exponent)


def _extreme(expr: sympy.Max | sympy.Min) -> Monomial | None:
    largest = isinstance(expr, sympy.Max)
    parts = [monomial(arg) for arg in expr.args]
    known = [p for p in parts if p is not None]
    for arg, part in zip(expr.args, parts, strict=True):
        # beside 0 a part of the other sign does not count: Min(0, exp(t) - 1)
        if part is None and not (any(a == 0 for a, _ in known) and _of_sign(-arg if largest else arg)):
            return None
    flag = "is_nonnegative" if largest else "is_nonpositive"
    opposite = "is_nonpositive" if largest else "is_nonnegative"
    if any(getattr(a, flag) for a, _ in known):
        kept = [p for p in known if not getattr(p[0], opposite)]
        if not kept:
            return sympy.S.Zero, sympy.S.Zero
        if len(kept) < len(known) and all(getattr(a, flag) for a, _ in kept):
            known = kept
    degrees = [d for a, d in known if a != 0]
    if not degrees or not all(equal(d, degrees[0]) for d in degrees):
        return None
    return type(expr)(*(a for a, _ in known)), degrees[0]


def _of_sign(expr: sympy.Expr) -> bool:
    """Shown to be at least 0 for all t > 0."""
    return expr.is_nonnegative is True or shape(expr.subs(T, W)).nonnegative


def relation(condition: sympy.Basic) -> sympy.Basic | None:
    """A condition for t > 0 as one that is free of t; None where it depends on t.

    >>> relation(2 * T > T), relation(T < 1)
    (True, None)
    """
    if not condition.has(T):
        return condition
    if isinstance(condition, sympy.And | sympy.Or | sympy.Not):
        parts = [relation(arg) for arg in condition.args]
        known = [p for p in parts if p is not None]
        return type(condition)(*known) if len(known) == len(parts) else None
    if not isinstance(condition, _ORDERED):
        return None
    difference = monomial(condition.lhs - condition.rhs) or monomial(
        sympy.factor(condition.lhs - condition.rhs)
    )
    if difference is not None:
        return type(condition)(sympy.factor(difference[0]), 0)
    sign = sympy.factor(condition.lhs - condition.rhs)
    if sign.is_positive:
        return sympy.Integer(1) > 0 if isinstance(condition, sympy.Gt | sympy.Ge | sympy.Ne) else sympy.false
    if sign.is_negative:
        return sympy.true if isinstance(condition, sympy.Lt | sympy.Le | sympy.Ne) else sympy.false
    return None


def _piecewise(expr: sympy.Piecewise) -> Monomial | None:
    pieces: list[tuple[Monomial, sympy.Basic | None]] = []
    for value, condition in expr.args:
        free = relation(condition)
        if free == sympy.false:
            continue
        part = monomial(value)
        if part is None:
            return None
        pieces.append((part, free))
        if free == sympy.true:
            break
    nonzero = [d for (a, d), _ in pieces if a != 0]
    if not nonzero:
        return sympy.S.Zero, sympy.S.Zero
    if not all(equal(d, nonzero[0]) for d in nonzero):
        return None
    if len(pieces) == 1:
        return pieces[0][0]
    if all(free is not None for _, free in pieces):
        return sympy.Piecewise(*((a, free) for (a, _), free in pieces)), nonzero[0]
    first = pieces[0][0][0]
    return (first, nonzero[0]) if all(equal(a, first) for (a, _), _ in pieces) else None


def _function(expr: sympy.Basic) -> Monomial | None:
    parts = [monomial(arg) for arg in expr.args]
    arguments: list[sympy.Expr] = []
    for part in parts:
        if part is None:
            return None
        if part[0] != 0 and not equal(part[1], sympy.S.Zero):
            return None
        arguments.append(part[0])
    return expr.func(*arguments), sympy.S.Zero


def monomial(expr: sympy.Basic) -> Monomial | None:
    """(a, d) with expr = a·t^d for every t > 0, both free of t; None where no rule shows that.

    >>> a = sympy.Symbol("a", real=True)
    >>> monomial(sympy.Max(T, a * T) ** 2)
    (Max(1, a)**2, 2)
    >>> monomial(T + 1) is None
    True
    """
    if not expr.has(T):
        return (expr, sympy.S.Zero) if isinstance(expr, sympy.Expr) else None
    if expr == T:
        return sympy.S.One, sympy.S.One
    rules: tuple[tuple[type, Callable[[], Monomial | None]], ...] = (
        (sympy.Mul, lambda: _product(expr.args)),
        (sympy.Add, lambda: _sum(expr.args)),
        (sympy.Pow, lambda: _power(expr.args[0], expr.args[1])),
        (sympy.Max, lambda: _extreme(expr)),
        (sympy.Min, lambda: _extreme(expr)),
        (sympy.Piecewise, lambda: _piecewise(expr)),
    )
    for kind, rule in rules:
        if isinstance(expr, kind):
            return rule()
    if isinstance(expr, sympy.Abs | sympy.sign):
        part = monomial(expr.args[0]) or monomial(sympy.factor(expr.args[0]))
        if part is None:
            return None
        return expr.func(part[0]), part[1] if isinstance(expr, sympy.Abs) else sympy.S.Zero
    return _function(expr)


def _kinked(expr: sympy.Expr) -> bool:
    return expr.has(
        sympy.Piecewise, sympy.Max, sympy.Min, sympy.Abs, sympy.sign, sympy.floor, sympy.Heaviside, sympy.tan
    )


def logarithmic_derivative(expr: sympy.Expr) -> Monomial | None:
    """By calculus, where the expression has no kinks: d = t f'/f free of t gives f = f(1)·t^d."""
    if _kinked(expr) or expr.count_ops() > 120:
        return None
    degree = sympy.simplify(T * expr.diff(T) / expr)
    if degree.has(T) or not degree.is_real:
        return None
    return sympy.simplify(expr.subs(T, 1)), degree


def half_line(expr: sympy.Expr, *, thorough: bool = True) -> tuple[Monomial, str] | None:
    """The monomial that a function of t > 0 is, and the method that showed it.

    Unless ``thorough``, only the rewritings that cost little are tried.

    >>> half_line((T + 1) ** 2 - 2 * T - 1)
    ((1, 2), 'rules after expand')
    """
    cheap: tuple[tuple[str, Callable[[sympy.Expr], sympy.Expr]], ...] = (
        ("rules", lambda e: e),
        ("rules after expand", sympy.expand),
    )
    dear: tuple[tuple[str, Callable[[sympy.Expr], sympy.Expr]], ...] = (
        ("rules after factor", lambda e: sympy.factor(sympy.together(e))),
        ("rules after piecewise_fold", lambda e: sympy.piecewise_fold(e) if e.has(sympy.Piecewise) else e),
        ("rules after simplify", lambda e: sympy.simplify(e) if e.count_ops() <= 60 else e),
    )
    for name, rewrite in (*cheap, *dear) if thorough else cheap:
        found = within(ATTEMPT, lambda rewrite=rewrite: _tidied(monomial(rewrite(expr))), None)
        if found is not None:
            return found, name
    if not thorough:
        return None
    found = within(ATTEMPT, lambda: logarithmic_derivative(expr), None)
    return None if found is None else (found, "t f'/f free of t")


def _tidied(found: Monomial | None) -> Monomial | None:
    return None if found is None else (_tidy(found[0]), sympy.simplify(found[1]))


def _tidy(coefficient: sympy.Expr) -> sympy.Expr:
    if coefficient.has(sympy.sign) or coefficient.count_ops() > 60:
        return coefficient  # SymPy turns sign(a)|a|^(1/3) into a/|a^(2/3)|, complex on the way
    simple = sympy.simplify(coefficient)
    return simple if simple.count_ops() <= coefficient.count_ops() else coefficient
