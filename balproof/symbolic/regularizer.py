"""A regularizer g and what balancing needs of it: even, increasing, coercive, and φ(t) = g(e^t) convex.

[B] Thm 3.1 asks for an even g that rises from 0 to ∞; that the optimal scale is the only one needs
φ strictly convex besides.  Lemma: g continuous at 0 with g(0) = 0 and φ strictly convex ⇒ g is
increasing and coercive (φ has the finite limit 0 at −∞, so a convex φ cannot fall, a strictly convex one
rises, and a convex function that rises is unbounded).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy
from flint import arb, ctx
from numpy.typing import NDArray

from balproof.errors import ExpressionError, RegularizerError
from balproof.symbolic import ball, numeric
from balproof.symbolic.assumptions import Domain
from balproof.symbolic.convexity import W, shape
from balproof.symbolic.halfline import T, monomial, relation, restrict
from balproof.symbolic.limits import ATTEMPT, QUESTION, too_long, vanishes, within
from balproof.symbolic.parser import Formula, parse_formula
from balproof.symbolic.positivity import positive, smooth
from balproof.symbolic.reality import SEEDS, analysed, require_real, sample_parameters
from balproof.verdict import Check, Verdict

Array = NDArray[np.float64]
Terms = tuple[tuple[sympy.Expr, sympy.Expr], ...]

_GRID = tuple(
    Fraction(n, d) for n, d in ((1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (5, 1), (1, 5), (10, 1), (1, 10))
)
_FAR = tuple(Fraction(10) ** k for k in (2, 3, 4, 6, -2, -3, -4, -6))
_STRETCH = (Fraction(2), Fraction(5, 4), Fraction(21, 20), Fraction(101, 100), Fraction(10))


@dataclass(frozen=True)
class Regularizer:
    """g(w), the cost of one weight.

    ``half`` is g on w > 0 in the positive symbol w.  ``terms`` are the (a, p) of g = Σ a|w|^p with all a, p
    positive, or None.  ``origin`` is g(0), or None where there is no value; ``continuous`` says whether g is
    shown to be continuous there.

    >>> r = Regularizer.parse("abs(w) + w**2/10")
    >>> r.terms, r.log_convex.holds
    (((1, 1), (1/10, 2)), True)
    """

    name: str
    expression: sympy.Expr
    variable: sympy.Symbol
    half: sympy.Expr
    even: Check
    increasing: Check
    coercive: Check
    log_convex: Check
    terms: Terms | None
    origin: sympy.Expr | None
    continuous: bool
    domains: tuple[Domain, ...] = ()
    assumptions: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str, assumptions: Sequence[str] = ()) -> Regularizer:
        """Read ``l1``, ``l2``, ``lp:3/2`` or a formula in w.

        Free parameters are positive unless ``assumptions`` say otherwise.

        Raises ExpressionError for text outside the language, RegularizerError for ``lp:P`` with P ≤ 0.
        """
        return _parse(text, tuple(assumptions))

    @functools.cached_property
    def numeric(self) -> bool:
        """Whether there are no symbols left but w."""
        return not self.parameters

    @property
    def parameters(self) -> tuple[sympy.Symbol, ...]:
        """The free symbolic parameters."""
        free = self.half.free_symbols | (set() if self.origin is None else self.origin.free_symbols)
        return tuple(sorted(free - {W}, key=lambda s: s.name))

    @property
    def marginal_expression(self) -> sympy.Expr:
        """φ'(t) = w·g'(w) for w > 0."""
        return _marginal(self.half)

    @property
    def curvature_expression(self) -> sympy.Expr:
        """φ''(t) = w·g'(w) + w²·g''(w) for w > 0."""
        return _marginal(_marginal(self.half))

    def cost(self, w: Array) -> Array:
        """g(w) elementwise.

        >>> Regularizer.parse("l1").cost(np.array([-2.0, 0.0])).tolist()
        [2.0, 0.0]
        """
        return (
            self._power_sum(w, 0)
            if self.terms is not None
            else self._numbers(self.half, w, at_zero=self._at_zero())
        )

    def marginal(self, w: Array) -> Array:
        """w·g'(w) elementwise, 0 at w = 0.

        >>> Regularizer.parse("l2").marginal(np.array([-3.0, 0.0])).tolist()
        [18.0, 0.0]
        """
        return self._power_sum(w, 1) if self.terms is not None else self._numbers(self.marginal_expression, w)

    def curvature(self, w: Array) -> Array:
        """w·g'(w) + w²·g''(w) elementwise, 0 at w = 0.

        >>> Regularizer.parse("lp:3").curvature(np.array([2.0])).tolist()
        [72.0]
        """
        return (
            self._power_sum(w, 2) if self.terms is not None else self._numbers(self.curvature_expression, w)
        )

    def as_json(self) -> dict[str, object]:
        """The fields of ``derive``'s answer: booleans, null where undecided, and how each was decided."""
        checks = {
            "even": self.even,
            "increasing": self.increasing,
            "log_convex": self.log_convex,
            "coercive": self.coercive,
        }
        return {
            "text": self.name,
            "expression": str(self.expression),
            **{key: check.holds for key, check in checks.items()},
            "terms": None if self.terms is None else [[str(a), str(p)] for a, p in self.terms],
            "parameters": [s.name for s in self.parameters],
            "assumptions": list(self.assumptions),
            "details": {key: check.as_json() for key, check in checks.items()},
        }

    def _require_numeric(self) -> None:
        if not self.numeric:
            free = ", ".join(s.name for s in self.parameters)
            raise RegularizerError(f"{self.name} has free parameters {free}", "give numbers for them")

    def _power_sum(self, w: Array, order: int) -> Array:
        self._require_numeric()
        size = np.abs(np.asarray(w, dtype=np.float64))
        total = np.zeros_like(size)
        for factor, p in _factors(self.terms or (), order):
            total += factor * (size * size if p == 2 else size if p == 1 else size**p)
        return total

    def _at_zero(self) -> float:
        self._require_numeric()
        return 0.0 if self.origin is None else float(self.origin)

    def _numbers(self, expr: sympy.Expr, w: Array, at_zero: float = 0.0) -> Array:
        self._require_numeric()
        size = np.abs(np.asarray(w, dtype=np.float64))
        with analysed(self.name):
            values = numeric.evaluate(expr, {W: np.where(size == 0, 1.0, size)})
        return np.where(size == 0, at_zero, values)


@functools.lru_cache(maxsize=512)
def _factors(terms: Terms, order: int) -> tuple[tuple[float, float], ...]:
    """a·p^order and p of each term."""
    return tuple((float(a * p**order), float(p)) for a, p in terms)


@functools.lru_cache(maxsize=512)
def _marginal(expr: sympy.Expr) -> sympy.Expr:
    """w times the derivative; kinks first made pieces, since SymPy derives Max to a Heaviside.

    Where floor and sign jump there is no derivative, elsewhere they are constant.
    """
    if expr.has(sympy.Max, sympy.Min, sympy.Abs):
        expr = sympy.piecewise_fold(expr.rewrite(sympy.Piecewise))
    if isinstance(expr, sympy.Piecewise):
        return sympy.Piecewise(*((_marginal(e), c) for e, c in expr.args))
    steps = {s: sympy.Dummy("step", real=True) for s in expr.atoms(sympy.floor, sympy.sign)}
    derivative = expr.xreplace(steps).diff(W).xreplace({d: s for s, d in steps.items()})
    return sympy.expand(W * derivative) if expr.is_polynomial(W) else W * derivative


@functools.lru_cache(maxsize=256)
def _parse(text: str, assumptions: tuple[str, ...]) -> Regularizer:
    formula = parse_formula(_expand(text.strip()), "w", assumptions, positive_parameters=True)
    with analysed(text):
        return _decide(
            Formula(text.strip(), formula.expression, formula.variable, formula.domains, formula.assumptions)
        )


def _expand(text: str) -> str:
    name = text[:3].lower()
    if text.lower() == "max" or text.lower().startswith("group:"):
        raise RegularizerError(
            f"{text[:40]!r} is no sum over single weights",
            "derive treats it; solve and check take l1, l2, lp:P or a formula in w",
        )
    if text.lower() in ("l1", "l2"):
        return "abs(w)" if name == "l1" else "w**2"
    if name != "lp:":
        return text
    exponent = parse_formula(text[3:] or "0", "w", (), positive_parameters=True).expression
    if exponent.free_symbols or not exponent.is_positive:
        raise RegularizerError(f"{text[:40]!r} needs an exponent P > 0", "write for example lp:1.5 or lp:3/2")
    return f"abs(w)**({text[3:]})"


def _decide(formula: Formula) -> Regularizer:
    require_real(formula)
    if not formula.expression.has(formula.variable):
        raise ExpressionError(f"{formula.text} does not contain w", "write a formula in w, or l1, l2, lp:1.5")
    half, other = (_on_half_line(formula, side) for side in (1, -1))
    if within(QUESTION, lambda: _marginal(_marginal(half)), None) is None:
        raise ExpressionError(f"{formula.text[:60]!r}: its derivatives: {too_long(QUESTION)}", "simplify it")
    known = _sharpened(formula, half)
    even = _asked(lambda: _even(formula, half, other))
    convex = _asked(lambda: _log_convex(formula, half, known))
    origin = _at_zero(formula.expression, formula.variable)
    continuous = within(ATTEMPT, lambda: _continuous_start(half, origin), False)
    lemma = convex.holds is True and continuous
    increasing = _asked(lambda: _increasing(formula, half, known, convex, lemma))
    coercive = _asked(lambda: _coercive(half, known, convex, lemma))
    return Regularizer(
        formula.text,
        formula.expression,
        formula.variable,
        half,
        even,
        increasing,
        coercive,
        convex,
        within(ATTEMPT, lambda: _terms(half), None) if even.holds else None,
        origin,
        continuous,
        formula.domains,
        formula.assumptions,
    )


def _asked(question: Callable[[], Check]) -> Check:
    return within(QUESTION, question, Check(None, "sympy", Verdict.undecided, too_long(QUESTION)))


def _on_half_line(formula: Formula, side: int) -> sympy.Expr:
    half = restrict(formula.expression, formula.variable, side)
    return within(ATTEMPT, lambda: fold(half), half).subs(T, W)


def fold(expr: sympy.Expr) -> sympy.Expr:
    """On t > 0: decide the conditions that do not depend on t, and open |·| of what has a known sign."""

    def decided(piecewise: sympy.Piecewise) -> sympy.Expr:
        pieces: list[tuple[sympy.Expr, sympy.Basic]] = []
        for value, condition in piecewise.args:
            free = relation(condition)
            if free == sympy.false:
                continue
            pieces.append((value, condition if free is None else free))
            if free == sympy.true:
                break
        return sympy.Piecewise(*pieces)

    opened = expr.replace(lambda e: isinstance(e, sympy.Piecewise), decided)
    simple = monomial(opened)
    return simple[0] * T ** simple[1] if simple is not None else opened


def _sharpened(formula: Formula, half: sympy.Expr) -> sympy.Expr:
    """Parameters with bounds other than 0 written as bound + positive."""
    by_name = {d.name: d.shifted() for d in formula.domains}
    found = {s: by_name.get(s.name) for s in half.free_symbols - {W}}
    return half.subs({s: value for s, value in found.items() if value is not None})


def _fixed(expr: sympy.Expr, values: dict[sympy.Symbol, Fraction]) -> sympy.Expr:
    return expr.subs({s: sympy.Rational(v.numerator, v.denominator) for s, v in values.items()})


def _points(expr: sympy.Expr) -> tuple[Fraction, ...]:
    constants = sorted({abs(Fraction(int(r.p), int(r.q))) for r in expr.atoms(sympy.Rational) if r != 0})
    around = [
        c * f
        for c in constants[:12]
        for f in (Fraction(1, 2), Fraction(2), Fraction(9, 10), Fraction(11, 10))
    ]
    return tuple(dict.fromkeys((*_GRID, *around, *_candidates(expr), *_FAR)))


def _candidates(expr: sympy.Expr) -> tuple[Fraction, ...]:
    """Where the curvature, in floating point, is lowest against its size: a hint for the refuter."""
    if expr.has(sympy.floor, sympy.sign, sympy.Heaviside):
        return ()
    size = np.logspace(-4, 4, 1601)
    marginal = _marginal(expr)
    try:
        values, slope, curvature = (
            numeric.evaluate(e, {W: size}) for e in (expr, marginal, _marginal(marginal))
        )
    except NotImplementedError:
        return ()
    scale = np.abs(slope) + np.abs(values)
    with np.errstate(all="ignore"):
        ratio = np.where(np.isfinite(curvature) & (scale > 0), curvature / scale, np.inf)
    lowest = np.argsort(ratio)[:2]
    close = [Fraction(float(size[i])).limit_denominator(100_000) for i in lowest if ratio[i] < 1e-3]
    return tuple(w for w in close if w > 0)


def _instances(formula: Formula, half: sympy.Expr) -> Iterator[tuple[sympy.Expr, str]]:
    for seed in range(SEEDS if half.free_symbols - {W} else 1):
        values = sample_parameters(formula, seed)
        at = ", ".join(f"{s.name}={v}" for s, v in values.items() if s in half.free_symbols)
        yield _fixed(half, values), f" (shown at {at} only)" if at else ""


def _sign(expr: sympy.Expr, points: Sequence[tuple[Fraction, int]]) -> int | None:
    """Certain sign of Σ factor·g(point): exact where g is rational there, else in ball arithmetic."""
    try:
        exact = [ball.exactly(expr, {W: w}) for w, _ in points]
        if all(value is not None for value in exact):
            total = sum(
                (value * k for value, (_, k) in zip(exact, points, strict=True) if value), Fraction(0)
            )
            return (total > 0) - (total < 0)
        for precision in (128, 512, 2048):
            with ctx.workprec(precision):
                balls = sum((ball.enclose(expr, {W: w}, precision) * k for w, k in points), arb(0))
            if balls > 0 or balls < 0:
                return 1 if balls > 0 else -1
    except ball.NotReal:
        return None
    return None


def _even(formula: Formula, half: sympy.Expr, other: sympy.Expr) -> Check:
    for fixed, at in _instances(formula, half - other):
        for w in (*_GRID, *_FAR):
            if _sign(fixed, [(w, 1)]):
                witness = f"g({w}) ≠ g(-{w}){at}"
                return Check(False, "interval", Verdict.certified, "refuted by ball arithmetic", witness)
    if vanishes(half - other):
        return Check(True, "sympy", Verdict.proved, "g(-w) − g(w) simplifies to 0 on w > 0")
    return Check(None, "sympy", Verdict.undecided, "g(-w) − g(w) neither simplifies to 0 nor is refuted")


def _midpoint(formula: Formula, half: sympy.Expr) -> str | None:
    """Rationals w, s with g(w/s) + g(ws) ≤ 2g(w): φ is not strictly convex."""
    for fixed, at in _instances(formula, half):
        for w in _points(fixed):
            for s in _STRETCH:
                sign = _sign(fixed, [(w / s, 1), (w * s, 1), (w, -2)])
                if sign is not None and sign <= 0:
                    relation_sign = "=" if sign == 0 else "<"
                    return f"g({w / s}) + g({w * s}) {relation_sign} 2·g({w}){at}"
    return None


def _log_convex(formula: Formula, half: sympy.Expr, known: sympy.Expr) -> Check:
    """The order, and the method that decided is named: rules where they apply at once; the refuter, which
    looks for three rationals; piece by piece with the kinks; then the sign of φ'' by the methods of
    ``positivity``: assumptions, real roots, z3, and ball subdivision, which speaks of a range only."""
    by_rules = shape(known)
    if by_rules.strict:
        return Check(True, "sympy", Verdict.proved, "rules for strictly convex functions of log w")
    witness = _midpoint(formula, half)
    if witness is not None:
        return Check(
            False, "interval", Verdict.certified, "midpoint of three rationals, in ball arithmetic", witness
        )
    if isinstance(known, sympy.Piecewise):
        return _pieces_convex(known)
    if not smooth(known):
        return Check(None, "sympy", Verdict.undecided, "g is not shown to be smooth on w > 0")
    found = positive(sympy.expand(_marginal(_marginal(known))))
    what = f"φ''(t) = w·g' + w²·g'': {found.why}"
    holds = True if found.holds and found.verdict == Verdict.proved else None
    return Check(holds, found.method, found.verdict, what)


def _breaks(known: sympy.Piecewise) -> list[sympy.Expr] | None:
    """The end of each piece, where the conditions are w < c1, w < c2, ..., True with rising c."""
    ends: list[sympy.Expr] = []
    for _, condition in known.args[:-1]:
        if not isinstance(condition, sympy.Lt | sympy.Le | sympy.Gt | sympy.Ge):
            return None
        low, high = condition.lts, condition.gts
        if low != W or high.has(W):
            return None
        ends.append(high)
    rising = all((b - a).is_positive for a, b in zip(ends, ends[1:], strict=False))
    return ends if rising and known.args[-1][1] == sympy.true and all(e.is_positive for e in ends) else None


def _pieces_convex(known: sympy.Piecewise) -> Check:
    """Strictly convex on each piece, continuous, and each kink turns up."""
    known = _ordered(known)
    ends = _breaks(known)
    if ends is None:
        return Check(None, "sympy", Verdict.undecided, "the pieces are not intervals w < c in rising order")
    methods: list[str] = []
    for value, _ in known.args:
        if shape(value).strict:
            methods.append("rules")
            continue
        if not smooth(value):
            return Check(None, "sympy", Verdict.undecided, f"the piece {value} is not shown to be smooth")
        found = positive(sympy.expand(_marginal(_marginal(value))))
        if not (found.holds and found.verdict == Verdict.proved):
            return Check(None, "sympy", Verdict.undecided, f"φ'' on the piece {value}: {found.why}")
        methods.append(found.why)
    for i, end in enumerate(ends):
        left, right = known.args[i][0], known.args[i + 1][0]
        if not vanishes((left - right).subs(W, end)):
            return Check(None, "sympy", Verdict.undecided, f"not shown to be continuous at w = {end}")
        turn = sympy.simplify((_marginal(right) - _marginal(left)).subs(W, end))
        if not turn.is_nonnegative:
            return Check(None, "sympy", Verdict.undecided, f"the kink at w = {end} is not shown to turn up")
    why = f"its {len(known.args)} pieces: each strictly convex in log w, continuous, kinks turn up"
    return Check(True, "sympy", Verdict.proved, why)


def pieces(regularizer: Regularizer) -> tuple[tuple[sympy.Expr, sympy.Expr, sympy.Expr], ...] | None:
    """(g, w·g'(w), end) on each piece of w > 0, by rising ends, of which the last is ∞.

    None where the pieces are not known to be intervals, or for free parameters.

    >>> pieces(Regularizer.parse("Max(abs(w), 2*abs(w) - 1)"))
    ((w, w, 1), (2*w - 1, 2*w, oo))
    """
    half = regularizer.half
    if not regularizer.numeric:
        return None
    if half.has(sympy.Max, sympy.Min, sympy.Abs):
        half = sympy.piecewise_fold(half.rewrite(sympy.Piecewise))
    if not isinstance(half, sympy.Piecewise):
        return ((half, _marginal(half), sympy.oo),)
    ordered = _ordered(sympy.Piecewise(*((value, _side(condition)) for value, condition in half.args)))
    ends = _breaks(ordered)
    if ends is None:
        return None
    values = [value for value, _ in ordered.args]
    return tuple((v, _marginal(v), end) for v, end in zip(values, (*ends, sympy.oo), strict=True))


def _side(condition: sympy.Basic) -> sympy.Basic:
    """A relation of polynomials that changes at one w > 0 alone as w ≤ c or w ≥ c, others as they are."""
    if not isinstance(condition, sympy.Lt | sympy.Le | sympy.Gt | sympy.Ge):
        return condition
    difference = condition.gts - condition.lts
    if not (condition.gts.has(W) and condition.lts.has(W) and difference.is_polynomial(W)):
        return condition
    roots = [r for r in sympy.Poly(difference, W).real_roots() if r.is_positive]
    if len(roots) != 1 or roots[0].has(sympy.CRootOf):
        return condition
    below, above = (difference.subs(W, f * roots[0]).is_positive for f in (sympy.Rational(1, 2), 2))
    if below is None or above is None or below == above:
        return condition
    return roots[0] >= W if below else roots[0] <= W


def turns_smoothly(regularizer: Regularizer) -> bool:
    """Whether w·g'(w) is shown to be continuous on w > 0, and analytic but for the ends of some pieces.

    >>> huber = Regularizer.parse("Piecewise((w**2/2, abs(w) <= 1), (abs(w) - 1/2, True))")
    >>> turns_smoothly(huber), turns_smoothly(Regularizer.parse("abs(w) + Max(abs(w) - 1, 0)"))
    (True, False)
    """
    parts = pieces(regularizer) or ()
    steps = [right[1] - left[1] for left, right in itertools.pairwise(parts)]
    met = all(vanishes(step.subs(W, part[2])) for step, part in zip(steps, parts, strict=False))
    return bool(parts) and met and all(smooth(value) for value, _, _ in parts)


def _ordered(known: sympy.Piecewise) -> sympy.Piecewise:
    """Two pieces given as w > c first, turned round to w <= c first."""
    if len(known.args) == 2:
        (first, condition), (second, _) = known.args
        if isinstance(condition, sympy.Gt | sympy.Ge | sympy.Lt | sympy.Le) and condition.gts == W:
            return sympy.Piecewise((second, condition.negated), (first, True))
    return known


def _at_zero(expr: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr | None:
    """The value at 0, or None."""
    try:
        value = expr.subs(variable, 0)
    except (TypeError, ValueError):  # SymPy compares infinities inside Max and conditions
        return None
    known = value.is_finite is not False and value.is_real is not False and not value.has(*_NO_VALUE)
    return value if known else None


_NO_VALUE = (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo, sympy.AccumBounds)


def _continuous_start(half: sympy.Expr, origin: sympy.Expr | None) -> bool:
    """Whether the form on w > 0, every part of it continuous at 0, ends in g(0)."""
    first = half
    if isinstance(half, sympy.Piecewise) and _breaks(_ordered(half)):
        first = _ordered(half).args[0][0]
    if origin is None or first.has(sympy.Piecewise, sympy.floor, sympy.sign, sympy.Heaviside):
        return False
    for part in sympy.preorder_traversal(first):
        end = _at_zero(part, W)
        if end is None or not end.is_finite:
            return False  # SymPy says 0**(1/log(0)) = 1, and 1/log(0) = 0
        if isinstance(part, sympy.Pow) and part.exp.has(W) and not part.base.subs(W, 0).is_positive:
            return False
    return vanishes(first.subs(W, 0) - origin)


_LEMMA = "lemma: g continuous at 0 and g(e^t) strictly convex"


def _increasing(formula: Formula, half: sympy.Expr, known: sympy.Expr, convex: Check, lemma: bool) -> Check:
    if lemma:
        return Check(True, convex.method, convex.verdict, _LEMMA)
    if shape(known).rising:
        return Check(True, "sympy", Verdict.proved, "rules for increasing functions")
    for fixed, at in _instances(formula, half):
        points = sorted(_points(fixed))
        for low, high in zip(points, points[1:], strict=False):
            sign = _sign(fixed, [(high, 1), (low, -1)])
            if sign is not None and sign <= 0:
                witness = f"g({high}) ≤ g({low}){at}"
                return Check(
                    False, "interval", Verdict.certified, "two rationals, in ball arithmetic", witness
                )
    if smooth(known):
        found = positive(_marginal(known))
        holds = True if found.holds and found.verdict == Verdict.proved else None
        return Check(holds, found.method, found.verdict, f"w·g'(w): {found.why}")
    if isinstance(known, sympy.Piecewise) and _pieces_rise(_ordered(known)):
        return Check(True, "sympy", Verdict.proved, "each piece rises, and no jump goes down")
    return Check(None, "sympy", Verdict.undecided, "no method decided it")


def _pieces_rise(known: sympy.Piecewise) -> bool:
    ends = _breaks(known)
    pieces = [value for value, _ in known.args]
    if ends is None or not all(_rises(value) for value in pieces):
        return False
    jumps = [(right - left).subs(W, c) for left, right, c in zip(pieces, pieces[1:], ends, strict=False)]
    return all(sympy.simplify(jump).is_nonnegative for jump in jumps)


def _rises(value: sympy.Expr) -> bool:
    if shape(value).rising:
        return True
    found = positive(_marginal(value)) if smooth(value) else None
    return found is not None and found.holds and found.verdict == Verdict.proved


def _coercive(half: sympy.Expr, known: sympy.Expr, convex: Check, lemma: bool) -> Check:
    if lemma:
        return Check(True, convex.method, convex.verdict, _LEMMA)
    by_rules = shape(known)
    if by_rules.strict and by_rules.rising:
        return Check(True, "sympy", Verdict.proved, "rules: convex and increasing in log w")
    if _unbounded(half):
        return Check(True, "sympy", Verdict.proved, "rules: a part that grows without bound decides")
    tail = half
    if half.has(sympy.Max, sympy.Min):
        tail = sympy.piecewise_fold(half.rewrite(sympy.Piecewise))
    if isinstance(tail, sympy.Piecewise):
        ordered = _ordered(tail)
        if _breaks(ordered) is None:
            return Check(None, "sympy", Verdict.undecided, "the limit at infinity is not decided")
        tail = ordered.args[-1][0]
    if not tail.has(W):
        return Check(
            False, "sympy", Verdict.proved, "the last piece is constant", f"g(w) = {tail} for large w"
        )
    if _unbounded(tail):
        return Check(True, "sympy", Verdict.proved, "the last piece grows without bound")
    if (
        tail.free_symbols - {W}
        or tail.has(sympy.Abs, sympy.Max, sympy.Min, sympy.Piecewise, sympy.floor, sympy.sign)
        or tail.count_ops() > 20
        or tail.has(sympy.tanh, sympy.erf, sympy.cosh, sympy.sinh)
    ):
        return Check(None, "sympy", Verdict.undecided, "the limit at infinity is not decided")
    try:
        limit = sympy.limit(tail, W, sympy.oo)
    except (NotImplementedError, ValueError):
        return Check(None, "sympy", Verdict.undecided, "the limit at infinity is not decided")
    rises = _sign(tail, [(Fraction(10**12), 1), (Fraction(10**6), -1)]) != -1  # a second opinion
    if limit == sympy.oo and rises:
        return Check(True, "sympy", Verdict.proved, "limit at infinity")
    if not limit.has(sympy.AccumBounds) and (limit.is_finite or limit == -sympy.oo):
        return Check(False, "sympy", Verdict.proved, "limit at infinity", f"g(w) → {limit}")
    return Check(None, "sympy", Verdict.undecided, "the limit at infinity is not decided")


def _unbounded(expr: sympy.Expr) -> bool:
    """Shown to tend to ∞: a polynomial, the largest of some parts, a positive power of such."""
    if isinstance(expr, sympy.Max):
        return any(_unbounded(arg) for arg in expr.args)
    if isinstance(expr, sympy.Pow) and not expr.exp.has(W):
        return expr.exp.is_positive is True and _unbounded(expr.base)
    if not expr.has(W) or not expr.is_polynomial(W):
        return expr == W
    return sympy.Poly(expr, W).LC().is_positive is True


def _terms(half: sympy.Expr) -> Terms | None:
    """(a, p) of a sum of powers with positive a and p, by rising p where that is known."""
    found: list[tuple[sympy.Expr, sympy.Expr]] = []
    for term in sympy.Add.make_args(sympy.expand(half)):
        factor, power = term.as_independent(W)
        base, exponent = power.as_base_exp()
        if base != W or exponent.has(W) or not factor.is_positive or not exponent.is_positive:
            return None
        same = [i for i, (_, p) in enumerate(found) if p == exponent]
        if same:  # a|w| + b|w| is one power
            found[same[0]] = (found[same[0]][0] + factor, exponent)
        else:
            found.append((factor, exponent))
    return tuple(
        sorted(found, key=lambda ap: (not ap[1].is_Rational, ap[1] if ap[1].is_Rational else 0, str(ap)))
    )
