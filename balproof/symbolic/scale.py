r"""The optimal scale of one unit: λ multiplies what comes in and λ^{-c} what goes out.

R(λ) = Σ_IN g(λw) + Σ_OUT g(w/λ^c).  [B] Thm 3.1, equations (3.3), (3.4), for degree 1 and one L_p; here
for every degree c > 0 and a regularizer for each side.  Closed forms come from one proved formula: for
g_in = a|w|^p and g_out = b|w|^q, with A = Σ_IN|w|^p and B = Σ_OUT|w|^q,

    λ* = (c q b B / (p a A))^{1/(p + c q)}.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import sympy
from flint import arb, fmpq

from balproof.errors import RegularizerError, RequestError
from balproof.symbolic import ball, smt
from balproof.symbolic.activation import Activation
from balproof.symbolic.convexity import W
from balproof.symbolic.limits import ATTEMPT, shown, vanishes, within
from balproof.symbolic.reality import analysed
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.root import Number, Root, Terms, exact_sizes, log_root, side
from balproof.symbolic.steps import Step, latex
from balproof.verdict import Check, Verdict

LAMBDA = sympy.Symbol("lambda", positive=True)
_DIGITS = 20_000
"""Up to this denominator of a degree closed forms are written out: SymPy makes integers of so many digits."""
ONE_ONE_LATEX = r"\lambda^* = \sqrt{w_{\mathrm{out}} / w_{\mathrm{in}}}"


@dataclass(frozen=True)
class OptimalScale:
    """The optimal scale of one unit with all that was shown of it.

    ``exists`` is True where both sides have a nonzero weight, False where there is no optimal scale at all
    (``reason`` says why), None where that is undecided.  ``closed_form`` is in the symbols of
    ``definitions``.  ``one_one`` is λ* for a single weight w_in in and w_out out, where that is simple.

    >>> s = optimal_scale(Activation.parse("relu"), Regularizer.parse("l2"))
    >>> s.closed_form, s.balance_equation
    (B**(1/4)/A**(1/4), 'Σ_IN |w|^2 = Σ_OUT |w|^2')
    """

    activation: Activation
    regularizer: Regularizer
    regularizer_out: Regularizer
    exists: bool | None
    reason: str
    degree: sympy.Expr | None
    unique: Check
    steps: tuple[Step, ...]
    assumptions: tuple[str, ...]
    equation: sympy.Eq | None = None
    equation_latex: str | None = None
    polynomial: sympy.Eq | None = None
    closed_form: sympy.Expr | None = None
    closed_latex: str | None = None
    gain: sympy.Expr | None = None
    gain_latex: str | None = None
    one_one: sympy.Expr | None = None
    balance_equation: str | None = None
    balance_latex: str | None = None
    limits: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    definitions_latex: tuple[str, ...] = ()

    @property
    def latex(self) -> str | None:
        """λ* as LaTeX, or the equation where there is no closed form."""
        return self.closed_latex or self.equation_latex

    def root(self, in_weights: Sequence[Number], out_weights: Sequence[Number], digits: int = 25) -> Root:
        """λ* of given weights as a certified rational interval.

        >>> s = optimal_scale(Activation.parse("relu"), Regularizer.parse("abs(w) + w**2/10"))
        >>> s.root([1], [4], 20).contains(Fraction(2))
        True

        Raises RequestError where one side has no nonzero weight, RegularizerError where symbols are left or
        the root is not known to be the only one.
        """
        if not self.exists or self.degree is None or not self.unique.holds:
            raise RegularizerError("there is no optimal scale to compute", self.reason or self.unique.why)
        if self.degree.free_symbols or not (self.regularizer.numeric and self.regularizer_out.numeric):
            raise RegularizerError("the formulas have free parameters", "give numbers for them")
        inside, outside = exact_sizes(in_weights), exact_sizes(out_weights)
        if not inside or not outside:
            missing = "in" if not inside else "out"
            raise RequestError(f"the unit has no nonzero weight {missing}", "; ".join(self.limits))
        left = side(self.regularizer.terms, self.regularizer.marginal_expression, inside)
        right = side(self.regularizer_out.terms, self.regularizer_out.marginal_expression, outside)
        c = ball.enclose(self.degree, {}, 2048)
        with analysed(self.regularizer.name):
            return log_root(lambda u: left(u.exp()) - c * right((-c * u).exp()), digits)

    def as_json(self) -> dict[str, object]:
        """The field ``optimal_scale`` of ``derive``'s answer."""
        return {
            "exists": self.exists,
            "reason": self.reason,
            "degree": None if self.degree is None else str(self.degree),
            "closed_form": None if self.closed_form is None else str(self.closed_form),
            "equation": None if self.equation is None else f"{self.equation.lhs} = {self.equation.rhs}",
            "polynomial": None if self.polynomial is None else f"{self.polynomial.lhs} = 0",
            "latex": self.latex,
            "gain": None if self.gain is None else str(self.gain),
            "one_in_one_out": None if self.one_one is None else str(self.one_one),
            "unique": self.unique.as_json(),
            "limits": list(self.limits),
            "definitions": list(self.definitions),
            "assumptions": list(self.assumptions),
        }


def optimal_scale(
    activation: Activation | str,
    regularizer: Regularizer | str,
    *,
    regularizer_out: Regularizer | str | None = None,
) -> OptimalScale:
    """The optimal scale of a unit with this activation; ``regularizer_out`` where the two sides differ.

    Text is read as by ``Activation.parse`` and ``Regularizer.parse``.  A negative answer (not homogeneous,
    degree ≤ 0, g not even) is a result with ``exists`` not True.

    >>> optimal_scale("relu2", "l1").closed_form
    2**(1/3)*B**(1/3)/A**(1/3)
    """
    f = Activation.parse(activation) if isinstance(activation, str) else activation
    g = Regularizer.parse(regularizer) if isinstance(regularizer, str) else regularizer
    out = Regularizer.parse(regularizer_out) if isinstance(regularizer_out, str) else regularizer_out
    return _cached(f, g, out or g)


@functools.lru_cache(maxsize=128)
def _cached(activation: Activation, regularizer: Regularizer, out: Regularizer) -> OptimalScale:
    refusal = _refusal(activation, regularizer, out)
    if refusal is not None:
        return _negative(activation, regularizer, out, *refusal)
    assert activation.degree is not None
    with analysed(f"{activation.text} with {regularizer.name}"):
        if regularizer.terms is not None and out.terms is not None:
            return _powers(activation, regularizer, out, activation.degree, regularizer.terms, out.terms)
        return _general(activation, regularizer, out, activation.degree)


def _refusal(activation: Activation, *regularizers: Regularizer) -> tuple[bool | None, str] | None:
    if activation.homogeneous is None:
        return None, f"the degree of {activation.text} is undecided"
    if activation.witness is not None:
        return False, f"{activation.text} is not homogeneous"
    degree = activation.degree
    if activation.kind == "zero":
        return False, f"{activation.text} is 0: rescaling what comes in changes nothing, and any λ does"
    if degree is None or not degree.is_positive:
        if degree is not None and degree.is_nonpositive:
            return False, f"the degree {degree} of {activation.text} is not positive: the cost falls as λ → 0"
        return None, f"the degree {degree} of {activation.text} is not known to be positive: assume its sign"
    for g in regularizers:
        for name, check in (("even", g.even), ("increasing", g.increasing), ("coercive", g.coercive)):
            if check.holds is not True:
                known = "is not" if check.holds is False else "is not known to be"
                found = f" ({check.witness})" if check.witness else ""
                return None, f"{g.name} {known} {name}{found}, so that an optimal scale need not exist"
        if not g.continuous:  # log|w| is even, increasing and coercive, and has no optimal scale
            return None, f"{g.name} is not known to be continuous at 0: an optimal scale need not exist"
    return None


def _negative(
    activation: Activation, regularizer: Regularizer, out: Regularizer, exists: bool | None, reason: str
) -> OptimalScale:
    shown = Verdict.certified if activation.witness else Verdict.proved
    verdict = Verdict.undecided if exists is None else shown
    step = Step(
        f"there is no optimal scale: {reason}" if exists is False else reason,
        None,
        "the steps before this one",
        verdict,
    )
    return OptimalScale(
        activation,
        regularizer,
        out,
        exists,
        reason,
        activation.degree,
        Check(None, "sympy", Verdict.undecided, reason),
        (step,),
        _assumptions(activation, regularizer, out),
    )


def _assumptions(activation: Activation, *regularizers: Regularizer) -> tuple[str, ...]:
    told = [*activation.assumptions, *(a for g in regularizers for a in g.assumptions)]
    return tuple(dict.fromkeys(told))


def _tex(expr: sympy.Basic) -> str:
    moments = {s: rf"{s.name[0]}_{{{s.name[2:]}}}" for s in expr.free_symbols if s.name[:2] in ("A_", "B_")}
    return latex(expr, moments)


def _power_tex(exponent: sympy.Expr) -> str:
    """An exponent on one line: 1/4, 1/(3 p)."""
    top, bottom = sympy.fraction(exponent)
    if bottom == 1:
        return _tex(top)
    lower = f"({_tex(bottom)})" if not (bottom.is_Symbol or bottom.is_Integer) else _tex(bottom)
    return f"{_tex(top)}/{lower}"


def _limits() -> tuple[str, ...]:
    return (
        "all weights in are 0, some out are not: the cost falls as λ → ∞ and no λ is optimal",
        "all weights out are 0, some in are not: the cost falls as λ → 0 and no λ is optimal",
        "all weights in and out are 0: every λ is optimal",
    )


# --- sums of powers ---------------------------------------------------------------------------------------


def _moment(letter: str, exponent: sympy.Expr, alone: bool) -> sympy.Symbol:
    return sympy.Symbol(letter if alone else f"{letter}_{exponent}", positive=True)


def _factor_text(factor: sympy.Expr) -> str:
    if factor == 1:
        return ""
    return f"({factor})·" if factor.is_Add or (factor.is_Rational and not factor.is_Integer) else f"{factor}·"


def _sum_text(terms: Terms, factor: sympy.Expr, name: str) -> str:
    return " + ".join(f"{_factor_text(factor * a * p)}Σ_{name} |w|{_exponent_text(p)}" for a, p in terms)


def _exponent_text(p: sympy.Expr) -> str:
    return "" if p == 1 else f"^{p}" if p.is_Symbol or p.is_Integer else f"^({p})"


def _sum_tex(terms: Terms, factor: sympy.Expr, name: str) -> str:
    def one(a: sympy.Expr, p: sympy.Expr) -> str:
        front = factor * a * p
        lead = (
            ""
            if front == sympy.S.One
            else _tex(front)
            if not front.is_Add
            else rf"\left({_tex(front)}\right)"
        )
        power = "" if p == 1 else rf"^{{{_tex(p)}}}"
        return rf"{lead} \sum_{{\mathrm{{{name}}}}} |w|{power}".strip()

    return " + ".join(one(a, p) for a, p in terms)


def _powers(
    activation: Activation, g: Regularizer, out: Regularizer, c: sympy.Expr, inside: Terms, outside: Terms
) -> OptimalScale:
    lone = len(inside) == 1 and len(outside) == 1 and not (c.is_Rational and c.q > _DIGITS)
    a_moments = [_moment("A", p, len(inside) == 1) for _, p in inside]
    b_moments = [_moment("B", q, len(outside) == 1) for _, q in outside]
    left = sum((a * p * A * LAMBDA**p for (a, p), A in zip(inside, a_moments, strict=True)), sympy.S.Zero)
    right = sum(
        (b * q * B * LAMBDA ** (-c * q) for (b, q), B in zip(outside, b_moments, strict=True)), sympy.S.Zero
    )
    common = inside[0][0] * inside[0][1] if lone and inside == outside else sympy.S.One
    equation = sympy.Eq(left / common, c * right / common, evaluate=False)
    pair = _Pair(c, *inside[0], *outside[0], a_moments[0], b_moments[0]) if lone else None
    polynomial = None if lone else _polynomial(left - c * right, c, outside)
    cost = sympy.Add(
        *(a * A * LAMBDA**p for (a, p), A in zip(inside, a_moments, strict=True)),
        *(b * B * LAMBDA ** (-c * q) for (b, q), B in zip(outside, b_moments, strict=True)),
    )
    derived = vanishes(sympy.expand(LAMBDA * cost.diff(LAMBDA) - (left - c * right)))
    steps = [_stationary_step(equation, derived), *(_closed_steps(pair) if pair else ())]
    unique = _unique(g, out)
    steps.append(_unique_step(unique, g, out, "strictly increasing minus strictly decreasing in λ"))
    if polynomial is not None:
        steps.extend(_descartes(polynomial, len(inside), len(outside)))
    definitions = tuple(
        f"{moment} = Σ_{name} |w|{_exponent_text(p)}"
        for name, terms, moments in (("IN", inside, a_moments), ("OUT", outside, b_moments))
        for (_, p), moment in zip(terms, moments, strict=True)
    )
    definitions_latex = tuple(
        f"${_tex(moment)} = {_sum_tex(((1 / p, p),), sympy.S.One, name)}$"
        for name, terms, moments in (("IN", inside, a_moments), ("OUT", outside, b_moments))
        for (_, p), moment in zip(terms, moments, strict=True)
    )
    scaled = _over(inside, common), _over(outside, common)
    return OptimalScale(
        activation,
        g,
        out,
        True,
        "",
        c,
        unique,
        tuple(steps),
        (*_assumptions(activation, g, out), "both sides have a nonzero weight"),
        equation=equation,
        equation_latex=f"{_tex(equation.lhs)} = {_tex(equation.rhs)}",
        polynomial=polynomial,
        closed_form=pair.closed if pair else None,
        closed_latex=pair.latex if pair else None,
        gain=pair.gain if pair else None,
        gain_latex=pair.gain_latex if pair else None,
        one_one=_one_one(c, g, out, unique),
        balance_equation=f"{_sum_text(scaled[0], sympy.S.One, 'IN')} = {_sum_text(scaled[1], c, 'OUT')}",
        balance_latex=f"{_sum_tex(scaled[0], sympy.S.One, 'IN')} = {_sum_tex(scaled[1], c, 'OUT')}",
        limits=_limits(),
        definitions=definitions,
        definitions_latex=definitions_latex,
    )


def _over(terms: Terms, common: sympy.Expr) -> Terms:
    return tuple((a / common, p) for a, p in terms)


def _stationary_step(equation: sympy.Eq, derived: bool) -> Step:
    return Step(
        "the optimal scale makes λ·R'(λ) = 0, R(λ) = Σ_IN g(λw) + Σ_OUT g(w/λ^c)",
        f"{_tex(equation.lhs)} = {_tex(equation.rhs)}",
        "sympy: λ times the derivative of R, minus the difference of the two sides, simplifies to 0",
        Verdict.proved if derived else Verdict.undecided,
        (),
        equation,
    )


@dataclass(frozen=True)
class _Pair:
    """g_in = a|w|^p with A = Σ_IN|w|^p, g_out = b|w|^q with B = Σ_OUT|w|^q, degree c."""

    c: sympy.Expr
    a: sympy.Expr
    p: sympy.Expr
    b: sympy.Expr
    q: sympy.Expr
    A: sympy.Symbol
    B: sympy.Symbol

    @property
    def total(self) -> sympy.Expr:
        """p + cq."""
        return sympy.factor(self.p + self.c * self.q)

    @property
    def ratio(self) -> sympy.Expr:
        """λ*^{p+cq}."""
        return self.c * self.b * self.q * self.B / (self.a * self.p * self.A)

    @property
    def closed(self) -> sympy.Expr:
        return self.ratio ** (1 / self.total)

    @property
    def latex(self) -> str:
        return rf"\lambda^* = \left({_tex(self.ratio)}\right)^{{{_power_tex(1 / self.total)}}}"

    @property
    def gain(self) -> sympy.Expr:
        """R(1) − R(λ*); for one regularizer in the form of [B] (3.4)."""
        c, A, B = self.c, self.A, self.B
        if self.same and c == 1:
            return self.a * (sympy.sqrt(A) - sympy.sqrt(B)) ** 2
        return self.a * A + self.b * B - self.after

    @property
    def same(self) -> bool:
        return (self.a, self.p) == (self.b, self.q)

    @property
    def after(self) -> sympy.Expr:
        """R(λ*)."""
        c, A, B = self.c, self.A, self.B
        if self.same:
            return self.a * (1 + c) * c ** (-c / (1 + c)) * A ** (c / (1 + c)) * B ** (1 / (1 + c))
        return self.a * A * (1 + self.p / (c * self.q)) * self.closed**self.p

    @property
    def gain_latex(self) -> str:
        if self.same and self.c == 1:
            return _tex(self.gain)
        return f"{_tex(self.a * self.A + self.b * self.B)} - {_tex(self.after)}"


def _closed_steps(pair: _Pair) -> list[Step]:
    return [
        _stationarity(pair),
        _minimum(pair.c, pair.p, pair.q),
        _gain_step(pair),
        _instance(pair),
        *_cross_check(pair),
    ]


def _stationarity(k: _Pair) -> Step:
    """With λ = X^{1/(p+cq)}: λ^{cq}·λR'(λ) = apA·X^{(p+cq)/(p+cq)} − cbqB, which is 0 at X = cbqB/(apA)."""
    X = sympy.Dummy("X", positive=True)

    def solves() -> bool:
        scale = X ** (1 / k.total)
        power = sympy.powsimp(scale**k.p * scale ** (k.c * k.q))
        base, exponent = power.as_base_exp()
        power = X ** sympy.simplify(exponent) if base == X else power
        return vanishes((k.a * k.p * k.A * power - k.c * k.b * k.q * k.B).subs(X, k.ratio))

    return Step(
        "the closed form solves the equation",
        k.latex,
        "sympy: substituted, the difference simplifies to 0",
        Verdict.proved if shown(solves) else Verdict.undecided,
        ("A > 0", "B > 0"),
        sympy.Eq(sympy.Symbol("lambda^*"), k.closed, evaluate=False),
    )


def _minimum(c: sympy.Expr, p: sympy.Expr, q: sympy.Expr) -> Step:
    """R(λ*e^u) − R(λ*) = α(e^{pu}−1−pu) + β(e^{−cqu}−1+cqu) where pα = cqβ, and e^v > 1 + v for v ≠ 0."""
    u, v = sympy.Dummy("u", real=True), sympy.Dummy("v", real=True)
    alpha = sympy.Dummy("alpha", positive=True)
    beta = p * alpha / (c * q)
    difference = alpha * (sympy.exp(p * u) - 1) + beta * (sympy.exp(-c * q * u) - 1)
    positive = alpha * (sympy.exp(p * u) - 1 - p * u) + beta * (sympy.exp(-c * q * u) - 1 + c * q * u)
    gap = sympy.exp(v) - 1 - v
    convex = bool(gap.diff(v, 2).is_positive) and gap.subs(v, 0) == 0 and gap.diff(v).subs(v, 0) == 0
    identity = vanishes(sympy.expand(difference - positive))
    up, down = f"{_short(p)}u", f"{_short(c * q)}u"
    return Step(
        "it is the strict global minimum; with α and β the costs in and out at λ*",
        r"R(\lambda^* e^u) - R(\lambda^*) = "
        rf"\alpha\,(e^{{{up}}}-1-{up}) + \beta\,(e^{{-{down}}}-1+{down}) > 0\quad (u \neq 0)",
        "sympy: the identity expands to 0; e^v − 1 − v has value and slope 0 at 0, and second derivative e^v",
        Verdict.proved if identity and convex else Verdict.undecided,
    )


def _short(expr: sympy.Expr) -> str:
    text = "" if expr == sympy.S.One else f"{_tex(expr)} "
    return rf"({text.strip()})" if expr.is_Add else text


def _gain_step(k: _Pair) -> Step:
    """With B written as X·apA/(cbq) is λ* = X^{1/(p+cq)}, and only powers of X remain."""
    X = sympy.Dummy("X", positive=True)
    b_of_x = X * k.a * k.p * k.A / (k.c * k.b * k.q)
    after = k.a * k.A * X ** (k.p / k.total) + k.b * b_of_x * X ** (-k.c * k.q / k.total)
    rest = sympy.expand(k.a * k.A + k.b * b_of_x - after - k.gain.subs(k.B, b_of_x))
    simple = shown(lambda: vanishes(sympy.powsimp(sympy.expand_power_base(rest)))) or shown(
        lambda: vanishes(sympy.powsimp(sympy.powdenest(sympy.simplify(rest / k.A)), combine="all"))
    )
    return Step(
        "balancing lowers the cost by this much",
        f"R(1) - R(\\lambda^*) = {k.gain_latex}",
        "sympy: the identity simplifies to 0" if simple else "sympy: the identity did not simplify to 0",
        Verdict.proved if simple else Verdict.undecided,
        (),
        k.gain,
    )


def _sampled(expr: sympy.Expr) -> sympy.Expr:
    """Free parameters set to 2: an instance."""
    return expr.subs({s: sympy.Integer(2) for s in expr.free_symbols})


def _instance(k: _Pair) -> Step:
    """B is chosen so that λ* must be 2; the formula must give 2, and the cost at 2 be less than beside it."""
    c, a, p, b, q = (_sampled(e) for e in (k.c, k.a, k.p, k.b, k.q))
    three = sympy.Integer(3)
    b_value = a * p * three * sympy.Integer(2) ** (p + c * q) / (c * b * q)
    formula = _sampled(k.closed.subs({k.A: three, k.B: b_value}))
    cost = a * three * LAMBDA**p + b * b_value * LAMBDA ** (-c * q)

    def at(x: Fraction) -> arb:
        return ball.enclose(cost, {LAMBDA: x}, 256)

    hit = bool(abs(ball.enclose(formula, {}, 256) - 2) < arb(fmpq(1, 10**30)))
    beside = (Fraction(1), Fraction(199, 100), Fraction(201, 100), Fraction(5))
    lower = all(at(x) > at(Fraction(2)) for x in beside)
    return Step(
        f"instance p={p}, q={q}, c={c}: A = 3 and B chosen so that λ* = 2",
        None,
        "ball arithmetic: the formula gives 2, and the cost is larger at 1, 1.99, 2.01 and 5",
        Verdict.certified if hit and lower else Verdict.refuted,
    )


def _cross_check(k: _Pair) -> list[Step]:
    """For small integers: z3 finds no A, B, λ and μ ≠ λ with λ stationary and R(μ) ≤ R(λ)."""
    degree, p, q = (_sampled(e) for e in (k.c, k.p, k.q))
    if not all(e.is_Integer for e in (degree, p, q)) or p + degree * q > 6:
        degree, p, q = sympy.Integer(1), sympy.Integer(2), sympy.Integer(2)
    A, B, x, y = sympy.symbols("A B x y", positive=True)
    n = degree * q
    stationary = sympy.Eq(p * A * x ** (p + n), n * B, evaluate=False)
    no_worse = sympy.Le(
        A * y ** (p + n) * x**n + B * x**n, A * x ** (p + n) * y**n + B * y**n, evaluate=False
    )
    answer = smt.satisfiable([stationary, sympy.Ne(x, y), no_worse])
    verdict = {"unsat": Verdict.proved, "sat": Verdict.refuted, "undecided": Verdict.undecided}[answer.status]
    said = "no other λ is as good" if answer.status == "unsat" else answer.why
    return [Step(f"cross-check at p={p}, q={q}, c={degree} for all A, B > 0", None, f"z3: {said}", verdict)]


def _polynomial(difference: sympy.Expr, c: sympy.Expr, outside: Terms) -> sympy.Eq | None:
    """The equation times the largest power of 1/λ in it."""
    exponents = [c * q for _, q in outside]
    if not all(e.is_Rational for e in exponents):
        return None
    whole = sympy.expand(sympy.powsimp(sympy.expand(difference * LAMBDA ** max(exponents))))
    return sympy.Eq(whole, 0, evaluate=False)


def _descartes(polynomial: sympy.Eq, n_in: int, n_out: int) -> list[Step]:
    """Terms by falling exponent of λ: the signs are + … + − … −, one change."""
    terms = [t.as_independent(LAMBDA) for t in sympy.Add.make_args(polynomial.lhs)]
    powers = [(k, power.as_base_exp()[1] if power != 1 else sympy.S.Zero) for k, power in terms]
    if not all(e.is_Rational for _, e in powers):
        return []
    ordered = sorted(powers, key=lambda item: item[1], reverse=True)
    signs = [1 if k.is_positive else -1 if k.is_negative else 0 for k, _ in ordered]
    changes = sum(1 for s, t in zip(signs, signs[1:], strict=False) if s != t)
    shown = 0 not in signs and changes == 1 and len(signs) == n_in + n_out
    formula = " ".join(
        (("+ " if i else "") if s > 0 else "- ") + _monomial_tex(abs_k, e)
        for i, (s, (abs_k, e)) in enumerate(
            zip(signs, ((k * s, e) for s, (k, e) in zip(signs, ordered, strict=True)), strict=True)
        )
    )
    return [
        Step(
            "as a polynomial in λ it has exactly one positive root",
            f"{formula} = 0",
            "sympy: one sign change among the coefficients (Descartes' rule)",
            Verdict.proved if shown else Verdict.undecided,
        )
    ]


def _monomial_tex(factor: sympy.Expr, exponent: sympy.Expr) -> str:
    if exponent == 0:
        return _tex(factor)
    power = r"\lambda" if exponent == 1 else rf"\lambda^{{{_tex(exponent)}}}"
    return power if factor == 1 else f"{_tex(factor)} {power}"


# --- all other regularizers -------------------------------------------------------------------------------


def _general(activation: Activation, g: Regularizer, out: Regularizer, c: sympy.Expr) -> OptimalScale:
    i, j = sympy.Symbol("i", integer=True), sympy.Symbol("j", integer=True)
    m, n = sympy.Symbol("m", integer=True, positive=True), sympy.Symbol("n", integer=True, positive=True)
    u, v = sympy.IndexedBase("u", positive=True), sympy.IndexedBase("v", positive=True)
    left = sympy.Sum(_at(g, LAMBDA * u[i]), (i, 1, m))
    right = c * sympy.Sum(_at(out, v[j] / LAMBDA**c), (j, 1, n))
    equation = sympy.Eq(left, right, evaluate=False)
    w = sympy.Symbol("w", positive=True)
    lead = "" if c == 1 else _tex(c)
    into, outof = r"\sum_{\mathrm{IN}}", r"\sum_{\mathrm{OUT}}"
    tex = f"{into} {_tex(_at(g, LAMBDA * w))} = {lead}{outof} {_tex(_at(out, w / LAMBDA**c))}"
    balanced_tex = f"{into} {_tex(_at(g, w))} = {lead}{outof} {_tex(_at(out, w))}"
    unique = _unique(g, out)
    steps = [
        Step(
            "the optimal scale makes λ·R'(λ) = 0, R(λ) = Σ_IN g(λw) + Σ_OUT g(w/λ^c)",
            tex,
            "sympy: λ dg(λw)/dλ = m(λw) and λ dg(w/λ^c)/dλ = −c·m(w/λ^c), weight by weight, m(w) = w·g'(w)",
            Verdict.proved if _chain_rule(g, out, c) else Verdict.undecided,
            (),
            equation,
        ),
        _unique_step(unique, g, out, "Σ_IN φ'(t+u) − cΣ_OUT φ'(t−cu) strictly increases in u = log λ"),
    ]
    one = _one_one(c, g, out, unique)
    if one is not None:
        rest = (_at(g, LAMBDA * u[1]) - _at(out, v[1] / LAMBDA)).subs(LAMBDA, sympy.sqrt(v[1] / u[1]))
        steps.append(
            Step(
                "one weight in and one out: the sizes λ·w_in and w_out/λ become equal",
                ONE_ONE_LATEX,
                "sympy: substituted, the difference simplifies to 0; φ' strictly increasing",
                Verdict.proved if vanishes(rest) else Verdict.undecided,
            )
        )
    return OptimalScale(
        activation,
        g,
        out,
        True,
        "",
        c,
        unique,
        tuple(steps),
        (*_assumptions(activation, g, out), "both sides have a nonzero weight"),
        equation=equation,
        equation_latex=tex,
        one_one=one,
        balance_equation=f"Σ_IN {_at(g, w)} = {_factor_text(c)}Σ_OUT {_at(out, w)}   (w for |w|)",
        balance_latex=balanced_tex,
        limits=_limits(),
        definitions=("u_i = |w| of the weights in, i = 1..m", "v_j = |w| of the weights out, j = 1..n"),
        definitions_latex=("$w$ stands for the size of a weight",),
    )


def _chain_rule(g: Regularizer, out: Regularizer, c: sympy.Expr) -> bool:
    """Both derivatives, computed directly; pieces are compared one by one, with their conditions."""
    u = sympy.Dummy("u", positive=True)

    def same(form: sympy.Expr, marginal: sympy.Expr, size: sympy.Expr, factor: sympy.Expr) -> bool:
        if isinstance(form, sympy.Piecewise) and isinstance(marginal, sympy.Piecewise):
            pairs = zip(form.args, marginal.args, strict=True)
            return all(x[1] == y[1] and same(x[0], y[0], size, factor) for x, y in pairs)
        if form.has(sympy.Max, sympy.Min, sympy.Abs):
            return False
        direct = LAMBDA * form.subs(W, size).diff(LAMBDA)
        return vanishes(direct - factor * marginal.subs(W, size))

    return same(g.half, g.marginal_expression, LAMBDA * u, sympy.S.One) and same(
        out.half, out.marginal_expression, u / LAMBDA**c, -c
    )


@functools.lru_cache(maxsize=128)
def _shorter(marginal: sympy.Expr) -> sympy.Expr:
    if marginal.count_ops() > 40 or marginal.has(sympy.Piecewise):
        return marginal
    simple = within(ATTEMPT, lambda: sympy.simplify(marginal), marginal)
    return min(marginal, simple, key=sympy.count_ops)


def _at(g: Regularizer, size: sympy.Expr) -> sympy.Expr:
    """w·g'(w) at w = size, as short as it gets."""
    there = _shorter(g.marginal_expression).subs(W, size)
    if there.has(sympy.Piecewise):
        return there
    return min(there, within(ATTEMPT, lambda: sympy.together(there), there), key=sympy.count_ops)


def _unique(g: Regularizer, out: Regularizer) -> Check:
    """Strict convexity of φ on both sides; the weaker of the two verdicts."""
    for check in (g.log_convex, out.log_convex):
        if check.holds is not True:
            return check
    weaker = min((g.log_convex, out.log_convex), key=lambda check: check.verdict)
    return Check(True, weaker.method, weaker.verdict, f"φ is strictly convex, by {weaker.why}")


def _unique_step(unique: Check, g: Regularizer, out: Regularizer, why: str) -> Step:
    if unique.holds:
        claim = "exactly one λ solves it, and it is the minimum"
    elif unique.holds is False:
        claim = f"the solution need not be unique: φ(t) = g(e^t) is not strictly convex, {unique.witness}"
    else:
        claim = "whether only one λ solves it is undecided"
    hypotheses = ("some weight in and some weight out is nonzero",)
    checked = f"{why}; {unique.why}" if unique.holds else unique.why
    return Step(claim, None, f"{unique.method}: {checked}", unique.verdict, hypotheses)


def _one_one(c: sympy.Expr, g: Regularizer, out: Regularizer, unique: Check) -> sympy.Expr | None:
    """Degree 1 and one g: φ' takes the same value at λ·w_in and at w_out/λ, so these are equal."""
    if c != 1 or g.half != out.half or unique.holds is not True:
        return None
    inside, outside = sympy.symbols("w_in w_out", positive=True)
    return sympy.sqrt(outside / inside)
