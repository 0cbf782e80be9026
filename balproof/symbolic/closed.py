"""Sums of powers: their closed forms, each proved anew for the powers at hand, and their polynomials.

The table has two entries.  One power on each side, a|w|^p in and b|w|^q out, with A = Σ_IN|w|^p and
B = Σ_OUT|w|^q:

    λ* = (c q b B / (p a A))^{1/(p + c q)}.

Three powers of λ in equal steps, as for a|w| + b|w|^3 in and |w| out: a quadratic equation in X = λ^d.
Everything else keeps its equation.  ([B] Thm 3.1, equations (3.3), (3.4), for degree 1 and one power)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import sympy
from flint import arb, fmpq

from balproof.symbolic import ball, smt
from balproof.symbolic.limits import shown, vanishes
from balproof.symbolic.root import Terms
from balproof.symbolic.steps import Step, latex
from balproof.verdict import Verdict

LAMBDA = sympy.Symbol("lambda", positive=True)


@dataclass(frozen=True)
class Term:
    """a·Σ weight·|w|^p of one side; ``moment`` is the sum, and ``weight`` differs from weight to weight."""

    a: sympy.Expr
    p: sympy.Expr
    weight: sympy.Expr
    moment: sympy.Symbol

    @property
    def summand(self) -> str:
        return f"{factor_text(self.weight)}|w|{_exponent_text(self.p)}"

    @property
    def summand_tex(self) -> str:
        power = "" if self.p == 1 else rf"^{{{tex(self.p)}}}"
        return f"{_bracketed(self.weight)} |w|{power}".strip()


def per_weight(expr: sympy.Expr) -> tuple[sympy.Symbol, ...]:
    """The parameters that differ from weight to weight: those whose names end in _e.

    >>> a, b = sympy.symbols("alpha_e beta")
    >>> per_weight(a + b)
    (alpha_e,)
    """
    return tuple(sorted((s for s in expr.free_symbols if s.name.endswith("_e")), key=lambda s: s.name))


def side_terms(letter: str, terms: Terms) -> tuple[Term, ...] | None:
    """The terms of a side with their moments; None where an exponent differs from weight to weight."""
    if any(per_weight(p) for _, p in terms):
        return None
    found: list[Term] = []
    for a, p in terms:
        common, weight = a.as_independent(*per_weight(a), as_Add=False) if per_weight(a) else (a, sympy.S.One)
        name = letter if len(terms) == 1 else f"{letter}_{p}"
        found.append(Term(common, p, weight, sympy.Symbol(name, positive=True)))
    return tuple(found)


def marginal_sum(terms: Sequence[Term], scale: sympy.Expr) -> sympy.Expr:
    """Σ w g'(w) over a side whose weights are multiplied by ``scale``."""
    return sympy.Add(*(t.a * t.p * t.moment * scale**t.p for t in terms))


def cost_sum(terms: Sequence[Term], scale: sympy.Expr) -> sympy.Expr:
    """Σ g(w) over a side whose weights are multiplied by ``scale``."""
    return sympy.Add(*(t.a * t.moment * scale**t.p for t in terms))


def tex(expr: sympy.Basic) -> str:
    moments = {s: rf"{s.name[0]}_{{{s.name[2:]}}}" for s in expr.free_symbols if s.name[:2] in ("A_", "B_")}
    return latex(expr, moments)


def power_tex(exponent: sympy.Expr) -> str:
    """An exponent on one line: 1/4, 1/(3 p)."""
    top, bottom = sympy.fraction(exponent)
    if bottom == 1:
        return tex(top)
    lower = f"({tex(bottom)})" if not (bottom.is_Symbol or bottom.is_Integer) else tex(bottom)
    return f"{tex(top)}/{lower}"


def factor_text(factor: sympy.Expr) -> str:
    """2·, (1/2)·, or nothing for 1."""
    if factor == 1:
        return ""
    return f"({factor})·" if factor.is_Add or (factor.is_Rational and not factor.is_Integer) else f"{factor}·"


def _exponent_text(p: sympy.Expr) -> str:
    return "" if p == 1 else f"^{p}" if p.is_Symbol or p.is_Integer else f"^({p})"


def _bracketed(factor: sympy.Expr) -> str:
    if factor == sympy.S.One:
        return ""
    return rf"\left({tex(factor)}\right)" if factor.is_Add else tex(factor)


def sum_text(terms: Sequence[Term], factor: sympy.Expr, name: str) -> str:
    """Σ w g'(w) of a side as plain text, times a factor."""
    return " + ".join(f"{factor_text(factor * t.a * t.p)}Σ_{name} {t.summand}" for t in terms)


def sum_tex(terms: Sequence[Term], factor: sympy.Expr, name: str) -> str:
    """The same as LaTeX."""
    return " + ".join(
        rf"{_bracketed(factor * t.a * t.p)} \sum_{{\mathrm{{{name}}}}} {t.summand_tex}".strip() for t in terms
    )


@dataclass(frozen=True)
class Pair:
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
        return rf"\lambda^* = \left({tex(self.ratio)}\right)^{{{power_tex(1 / self.total)}}}"

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
            return tex(self.gain)
        return f"{tex(self.a * self.A + self.b * self.B)} - {tex(self.after)}"


def closed_steps(pair: Pair) -> list[Step]:
    return [
        _stationarity(pair),
        _minimum(pair.c, pair.p, pair.q),
        _gain_step(pair),
        _instance(pair),
        *_cross_check(pair),
    ]


def _stationarity(k: Pair) -> Step:
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
    text = "" if expr == sympy.S.One else f"{tex(expr)} "
    return rf"({text.strip()})" if expr.is_Add else text


def _gain_step(k: Pair) -> Step:
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


def _instance(k: Pair) -> Step:
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


def _cross_check(k: Pair) -> list[Step]:
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


def polynomial(difference: sympy.Expr, c: sympy.Expr, outside: Sequence[Term]) -> sympy.Eq | None:
    """The equation times the largest power of 1/λ in it; None where an exponent is no rational number."""
    exponents = [c * t.p for t in outside]
    whole = (
        sympy.expand(sympy.powsimp(sympy.expand(difference * LAMBDA ** max(exponents))))
        if all(e.is_Rational for e in exponents)
        else None
    )
    if whole is None or not all(e.is_Rational for _, e in _by_powers(whole)):
        return None
    return sympy.Eq(whole, 0, evaluate=False)


def _by_powers(expr: sympy.Expr) -> list[tuple[sympy.Expr, sympy.Expr]]:
    """(coefficient, exponent of λ) of each term."""
    terms = [t.as_independent(LAMBDA) for t in sympy.Add.make_args(expr)]
    return [(k, power.as_base_exp()[1] if power != 1 else sympy.S.Zero) for k, power in terms]


def polynomial_latex(equation: sympy.Eq) -> str:
    """By falling powers of λ."""
    ordered = sorted(_by_powers(equation.lhs), key=lambda item: item[1], reverse=True)
    written = ""
    for k, e in ordered:
        minus = k.is_negative is True
        sign = ("- " if minus else "+ ") if written else ("-" if minus else "")
        written += f"{sign}{_monomial_tex(-k if minus else k, e)} "
    return f"{written}= 0"


def descartes(equation: sympy.Eq, count: int) -> Step:
    """Terms by falling exponent of λ: the signs are + … + − … −, one change."""
    ordered = sorted(_by_powers(equation.lhs), key=lambda item: item[1], reverse=True)
    signs = [1 if k.is_positive else -1 if k.is_negative else 0 for k, _ in ordered]
    changes = sum(1 for s, t in zip(signs, signs[1:], strict=False) if s != t)
    sound = 0 not in signs and changes == 1 and len(signs) == count
    return Step(
        "as a polynomial in λ it has exactly one positive root",
        polynomial_latex(equation),
        "sympy: one sign change among the coefficients (Descartes' rule)",
        Verdict.proved if sound else Verdict.undecided,
    )


def _monomial_tex(factor: sympy.Expr, exponent: sympy.Expr) -> str:
    if exponent == 0:
        return tex(factor)
    power = r"\lambda" if exponent == 1 else rf"\lambda^{{{tex(exponent)}}}"
    return power if factor == 1 else f"{tex(factor)} {power}"


@dataclass(frozen=True)
class Trinomial:
    """k1·X² + k2·X − k3 = 0 with X = λ^step and k1, k3 > 0: one positive root, whatever the sign of k2."""

    k1: sympy.Expr
    k2: sympy.Expr
    k3: sympy.Expr
    step: sympy.Expr

    @property
    def square(self) -> sympy.Expr:
        """X, written so that nothing cancels where the sign of k2 is known."""
        root = sympy.sqrt(self.k2**2 + 4 * self.k1 * self.k3)
        return 2 * self.k3 / (self.k2 + root) if self.k2.is_positive else (root - self.k2) / (2 * self.k1)

    @property
    def closed(self) -> sympy.Expr:
        return self.square ** (1 / self.step)

    @property
    def latex(self) -> str:
        return rf"\lambda^* = \left({tex(self.square)}\right)^{{{power_tex(1 / self.step)}}}"


def trinomial(difference: sympy.Expr) -> Trinomial | None:
    """The equation as a quadratic one in a power of λ; None where it is none.

    >>> found = trinomial(LAMBDA**3 + LAMBDA - 2 / LAMBDA)
    >>> found.closed, found.step
    (1, 2)
    """
    terms = _by_powers(sympy.expand(difference))
    if len(terms) != 3:
        return None
    for first, middle, last in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        (k1, e1), (k2, e2), (k3, e3) = terms[first], terms[middle], terms[last]
        step = sympy.simplify(e1 - e2)
        if k1.is_positive and k3.is_negative and step.is_positive and vanishes(step - (e2 - e3)):
            return Trinomial(k1, k2, -k3, step)
    return None


def trinomial_steps(found: Trinomial, difference: sympy.Expr) -> list[Step]:
    """That the closed form solves the equation, as formulas and for numbers."""
    X = sympy.Dummy("X", positive=True)
    quadratic = found.k1 * X**2 + found.k2 * X - found.k3
    # the equation over the quadratic is a power of λ alone
    factor = sympy.simplify(difference / quadratic.subs(X, LAMBDA**found.step))
    same = vanishes(sympy.expand(difference - factor * quadratic.subs(X, LAMBDA**found.step)))
    alone = factor.free_symbols <= {LAMBDA, *found.step.free_symbols} and factor.is_positive is True
    solved = vanishes(sympy.expand(quadratic.subs(X, found.square)))
    numbers = {s: sympy.Rational(3 * i + 5, 2 * i + 3) for i, s in enumerate(_symbols(difference))}
    there, rest = found.closed.subs(numbers), difference.subs(numbers)
    value = ball.enclose(rest, {LAMBDA: ball.enclose(there, {}, 256)}, 256)
    hit = value.contains(0) and bool(abs(value) < arb(fmpq(1, 10**30)))
    return [
        Step(
            f"a quadratic equation in λ^{found.step}: the closed form solves it",
            found.latex,
            "sympy: the equation is a power of λ times the quadratic, which is 0 at X by substitution",
            Verdict.proved if same and alone and solved else Verdict.undecided,
            (),
            sympy.Eq(sympy.Symbol("lambda^*"), found.closed, evaluate=False),
        ),
        Step(
            "instance with rational numbers for all symbols",
            None,
            "ball arithmetic: the equation holds at the closed form",
            Verdict.certified if hit else Verdict.refuted,
        ),
    ]


def _symbols(expr: sympy.Expr) -> list[sympy.Symbol]:
    return sorted(expr.free_symbols - {LAMBDA}, key=lambda s: s.name)


def second_order(inside: Sequence[Term], outside: Sequence[Term], c: sympy.Expr) -> Step:
    """λ(λR')' = Σ a p² A λ^p + c² Σ b q² B λ^{-cq} > 0."""
    slope = marginal_sum(inside, LAMBDA) - c * marginal_sum(outside, LAMBDA**-c)
    second = sympy.Add(
        *(t.a * t.p**2 * t.moment * LAMBDA**t.p for t in inside),
        *(c**2 * t.a * t.p**2 * t.moment * LAMBDA ** (-c * t.p) for t in outside),
    )
    sound = bool(second.is_positive) and vanishes(sympy.expand(LAMBDA * slope.diff(LAMBDA) - second))
    return Step(
        "second order: the second derivative of R in log λ is positive for every λ",
        rf"\frac{{d^2 R}}{{d(\log\lambda)^2}} = {tex(second)} > 0",
        "sympy: differentiated, the difference simplifies to 0; positive by the signs of its parts",
        Verdict.proved if sound else Verdict.undecided,
        (),
        second,
    )
