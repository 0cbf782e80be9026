r"""The optimal scale of one unit: λ multiplies what comes in and λ^{-c} what goes out.

R(λ) = Σ_IN g(λw) + Σ_OUT g(w/λ^c).  [B] Thm 3.1, equations (3.3), (3.4), for degree 1 and one L_p; here
for every degree c > 0 and a regularizer for each side.  Closed forms come from the table in ``closed``,
each entry proved; elsewhere the answer is the equation, that one λ solves it, and a certified root.
A parameter whose name ends in _e differs from weight to weight.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import sympy
from flint import arb, ctx, fmpq

from balproof.errors import RegularizerError, RequestError
from balproof.symbolic import ball
from balproof.symbolic.activation import Activation
from balproof.symbolic.closed import (
    LAMBDA,
    Pair,
    Term,
    closed_steps,
    cost_sum,
    descartes,
    factor_text,
    marginal_sum,
    per_weight,
    polynomial,
    polynomial_latex,
    second_order,
    side_terms,
    sum_tex,
    sum_text,
    tex,
    trinomial,
    trinomial_steps,
)
from balproof.symbolic.convexity import W
from balproof.symbolic.limits import ATTEMPT, vanishes, within
from balproof.symbolic.norms import Norm, is_norm, norm_scale
from balproof.symbolic.reality import analysed
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.root import Number, Root, exact_coefficients, exact_sizes, log_root, side
from balproof.symbolic.steps import Step
from balproof.verdict import Check, Verdict

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
    regularizer: Regularizer | Norm
    regularizer_out: Regularizer | Norm
    exists: bool | None
    reason: str
    degree: sympy.Expr | None
    unique: Check
    steps: tuple[Step, ...]
    assumptions: tuple[str, ...]
    equation: sympy.Eq | None = None
    equation_latex: str | None = None
    polynomial: sympy.Eq | None = None
    polynomial_latex: str | None = None
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

    def root(
        self,
        in_weights: Sequence[Number],
        out_weights: Sequence[Number],
        digits: int = 25,
        *,
        coefficients: tuple[Sequence[Number], Sequence[Number]] | None = None,
    ) -> Root:
        """λ* of given weights as a certified rational interval.

        ``coefficients``, one positive number for each weight in and each weight out, multiply the costs.

        >>> s = optimal_scale(Activation.parse("relu"), Regularizer.parse("abs(w) + w**2/10"))
        >>> s.root([1], [4], 20).contains(Fraction(2))
        True

        Raises RequestError where one side has no nonzero weight, RegularizerError where symbols are left or
        the root is not known to be the only one.
        """
        if not self.exists or self.degree is None or not self.unique.holds:
            raise RegularizerError("there is no optimal scale to compute", self.reason or self.unique.why)
        g, out = self._costs()
        if self.degree.free_symbols or not (g.numeric and out.numeric):
            raise RegularizerError("the formulas have free parameters", "give numbers for them")
        given = coefficients or (None, None)
        inside, ins = exact_sizes(in_weights), exact_coefficients(in_weights, given[0])
        outside, outs = exact_sizes(out_weights), exact_coefficients(out_weights, given[1])
        if not inside or not outside:
            missing = "in" if not inside else "out"
            raise RequestError(f"the unit has no nonzero weight {missing}", "; ".join(self.limits))
        left = side(g.terms, g.marginal_expression, inside, ins)
        right = side(out.terms, out.marginal_expression, outside, outs)
        c = ball.enclose(self.degree, {}, 2048)
        with analysed(g.name):
            return log_root(lambda u: left(u.exp()) - c * right((-c * u).exp()), digits)

    def _costs(self) -> tuple[Regularizer, Regularizer]:
        """The costs of single weights; RegularizerError where the cost is no sum of such."""
        g, out = self.regularizer, self.regularizer_out
        if isinstance(g, Norm) or isinstance(out, Norm):
            raise RegularizerError(
                f"{g.name} is no sum over single weights",
                "use norms.group_root, or the closed form" if g.name != "max" else "use the closed form",
            )
        return g, out

    def gain_at(
        self, in_weights: Sequence[Number], out_weights: Sequence[Number], digits: int = 25
    ) -> tuple[Fraction, Fraction]:
        """Rational bounds of R(1) − R(λ*) for given weights.

        >>> low, high = optimal_scale("relu", "l1").gain_at([1], [16], 12)  # 17 − 8, the sizes being 4 and 4
        >>> low <= 9 <= high
        True

        Raises what ``root`` raises.
        """
        found = self.root(in_weights, out_weights, digits)
        assert self.degree is not None
        precision = 4 * digits + 128
        with ctx.workprec(precision), analysed(self.regularizer.name):
            scale = ball.over(found.lower, found.upper, precision)
            factors = scale, (-ball.enclose(self.degree, {}, precision) * scale.log()).exp()
            gain = arb(0)
            sides = zip(self._costs(), (in_weights, out_weights), strict=True)
            for (g, weights), factor in zip(sides, factors, strict=True):
                for w in exact_sizes(weights):
                    before = ball.enclose(g.half, {W: w}, precision)
                    after = ball.enclose(
                        g.half, {W: factor * arb(fmpq(w.numerator, w.denominator))}, precision
                    )
                    gain += before - after
        return ball.bounds(gain)

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
    regularizer: Regularizer | Norm | str,
    *,
    regularizer_out: Regularizer | Norm | str | None = None,
) -> OptimalScale:
    """The optimal scale of a unit with this activation; ``regularizer_out`` where the two sides differ.

    Text is read as by ``Activation.parse`` and ``cost``.  A negative answer (not homogeneous,
    degree ≤ 0, g not even) is a result with ``exists`` not True.

    >>> optimal_scale("relu2", "l1").closed_form
    2**(1/3)*B**(1/3)/A**(1/3)
    >>> optimal_scale("relu", "group:2,1").balance_equation
    '(Σ_IN |w|^2)^(1/2) = Σ_OUT |w|^2·N^(-1)'

    Raises ExpressionError and RegularizerError as the readers do, and RegularizerError where a norm of
    groups meets another cost.
    """
    f = Activation.parse(activation) if isinstance(activation, str) else activation
    g = cost(regularizer) if isinstance(regularizer, str) else regularizer
    out = cost(regularizer_out) if isinstance(regularizer_out, str) else regularizer_out
    return _cached(f, g, out or g)


def cost(text: str, assumptions: Sequence[str] = ()) -> Regularizer | Norm:
    """Read ``group:P,Q`` or ``max``, and all else as ``Regularizer.parse`` does.

    >>> cost("max").name, cost("l2").name
    ('max', 'l2')
    """
    return Norm.parse(text, assumptions) if is_norm(text) else Regularizer.parse(text, assumptions)


@functools.lru_cache(maxsize=128)
def _cached(activation: Activation, regularizer: Regularizer | Norm, out: Regularizer | Norm) -> OptimalScale:
    if isinstance(regularizer, Norm) or isinstance(out, Norm):
        if regularizer != out or not isinstance(regularizer, Norm):
            raise RegularizerError(
                f"{regularizer.name} in and {out.name} out cannot be treated together",
                "group and max speak of both sides: give no other cost beside them",
            )
        return _of_groups(activation, regularizer)
    refusal = _refusal(activation, regularizer, out)
    if refusal is not None:
        return _negative(activation, regularizer, out, *refusal)
    assert activation.degree is not None
    with analysed(f"{activation.text} with {regularizer.name}"):
        inside, outside = side_terms("A", regularizer.terms or ()), side_terms("B", out.terms or ())
        if inside and outside:
            return _powers(activation, regularizer, out, activation.degree, inside, outside)
        return _general(activation, regularizer, out, activation.degree)


def _of_groups(activation: Activation, norm: Norm) -> OptimalScale:
    refusal = _refusal(activation)
    if refusal is not None:
        return _negative(activation, norm, norm, *refusal)
    assert activation.degree is not None
    with analysed(f"{activation.text} with {norm.name}"):
        found = norm_scale(norm, activation.degree)
    return OptimalScale(
        activation,
        norm,
        norm,
        True,
        "",
        activation.degree,
        found.unique,
        found.steps,
        (*_assumptions(activation, norm), "both sides have a nonzero weight", *found.assumptions),
        equation=found.equation,
        equation_latex=found.equation_latex,
        closed_form=found.closed_form,
        closed_latex=found.closed_latex,
        gain=found.gain,
        gain_latex=found.gain_latex,
        balance_equation=found.balance_equation,
        balance_latex=found.balance_latex,
        limits=_limits(),
        definitions=found.definitions,
        definitions_latex=found.definitions_latex,
    )


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
    activation: Activation,
    regularizer: Regularizer | Norm,
    out: Regularizer | Norm,
    exists: bool | None,
    reason: str,
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


def _assumptions(activation: Activation, *regularizers: Regularizer | Norm) -> tuple[str, ...]:
    told = [*activation.assumptions, *(a for g in regularizers for a in g.assumptions)]
    return tuple(dict.fromkeys(told))


def _limits() -> tuple[str, ...]:
    return (
        "all weights in are 0, some out are not: the cost falls as λ → ∞ and no λ is optimal",
        "all weights out are 0, some in are not: the cost falls as λ → 0 and no λ is optimal",
        "all weights in and out are 0: every λ is optimal",
    )


# --- sums of powers ---------------------------------------------------------------------------------------


def _powers(
    activation: Activation,
    g: Regularizer,
    out: Regularizer,
    c: sympy.Expr,
    inside: Sequence[Term],
    outside: Sequence[Term],
) -> OptimalScale:
    one_power = len(inside) == 1 and len(outside) == 1
    lone = one_power and not (c.is_Rational and c.q > _DIGITS)
    left, right = marginal_sum(inside, LAMBDA), marginal_sum(outside, LAMBDA**-c)
    difference = left - c * right
    same = one_power and (inside[0].a, inside[0].p) == (outside[0].a, outside[0].p)
    common = inside[0].a * inside[0].p if lone and same else sympy.S.One
    equation = sympy.Eq(left / common, c * right / common, evaluate=False)
    first, last = inside[0], outside[0]
    pair = Pair(c, first.a, first.p, last.a, last.p, first.moment, last.moment) if lone else None
    three = None if one_power else within(ATTEMPT, lambda: trinomial(difference), None)
    poly = None if one_power else polynomial(difference, c, outside)
    total = cost_sum(inside, LAMBDA) + cost_sum(outside, LAMBDA**-c)
    derived = vanishes(sympy.expand(LAMBDA * total.diff(LAMBDA) - difference))
    unique = _unique(g, out)
    quadratic = within(ATTEMPT, lambda: trinomial_steps(three, difference), []) if three else []
    steps = [
        _stationary_step(equation, derived),
        *(closed_steps(pair) if pair else ()),
        *quadratic,
        _unique_step(unique, g, out, "strictly increasing minus strictly decreasing in λ"),
        _one_sided(g, out),
        *([descartes(poly, len(inside) + len(outside))] if poly is not None else ()),
        *(() if pair else (second_order(inside, outside, c),)),
    ]
    sides = (("IN", inside), ("OUT", outside))
    scaled = [[dataclasses.replace(t, a=t.a / common) for t in terms] for _, terms in sides]
    names = sorted({s.name for _, terms in sides for t in terms for s in t.weight.free_symbols})
    kept = three if quadratic and all(s.verdict >= Verdict.certified for s in quadratic) else pair
    return OptimalScale(
        activation,
        g,
        out,
        True,
        "",
        c,
        unique,
        tuple(steps),
        (*_assumptions(activation, g, out), "both sides have a nonzero weight", *_differing(names)),
        equation=equation,
        equation_latex=f"{tex(equation.lhs)} = {tex(equation.rhs)}",
        polynomial=poly,
        polynomial_latex=None if poly is None else polynomial_latex(poly),
        closed_form=kept.closed if kept else None,
        closed_latex=kept.latex if kept else None,
        gain=pair.gain if pair else total.subs(LAMBDA, 1) - total,
        gain_latex=pair.gain_latex if pair else _gain_tex(inside, outside, c),
        one_one=_one_one(c, g, out, unique),
        balance_equation=f"{sum_text(scaled[0], sympy.S.One, 'IN')} = {sum_text(scaled[1], c, 'OUT')}",
        balance_latex=f"{sum_tex(scaled[0], sympy.S.One, 'IN')} = {sum_tex(scaled[1], c, 'OUT')}",
        limits=_limits(),
        definitions=tuple(f"{t.moment} = Σ_{name} {t.summand}" for name, terms in sides for t in terms),
        definitions_latex=tuple(
            rf"${tex(t.moment)} = \sum_{{\mathrm{{{name}}}}} {t.summand_tex}$"
            for name, terms in sides
            for t in terms
        ),
    )


def _gain_tex(inside: Sequence[Term], outside: Sequence[Term], c: sympy.Expr) -> str:
    """Σ a A (1 − λ^p) + Σ b B (1 − λ^{-cq}), λ the solution."""
    parts = [
        rf"{tex(t.a * t.moment)}\left(1 - {tex(LAMBDA**e)}\right)"
        for terms, factor in ((inside, sympy.S.One), (outside, -c))
        for t in terms
        for e in (factor * t.p,)
    ]
    return " + ".join(parts)


def _differing(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name} differs from weight to weight" for name in names)


def _stationary_step(equation: sympy.Eq, derived: bool) -> Step:
    return Step(
        "the optimal scale makes λ·R'(λ) = 0, R(λ) = Σ_IN g(λw) + Σ_OUT g(w/λ^c)",
        f"{tex(equation.lhs)} = {tex(equation.rhs)}",
        "sympy: λ times the derivative of R, minus the difference of the two sides, simplifies to 0",
        Verdict.proved if derived else Verdict.undecided,
        (),
        equation,
    )


# --- all other regularizers -------------------------------------------------------------------------------


def _general(activation: Activation, g: Regularizer, out: Regularizer, c: sympy.Expr) -> OptimalScale:
    i, j = sympy.Symbol("i", integer=True), sympy.Symbol("j", integer=True)
    m, n = sympy.Symbol("m", integer=True, positive=True), sympy.Symbol("n", integer=True, positive=True)
    u, v = sympy.IndexedBase("u", positive=True), sympy.IndexedBase("v", positive=True)
    left = sympy.Sum(_at(g, LAMBDA * u[i]), (i, 1, m))
    right = c * sympy.Sum(_at(out, v[j] / LAMBDA**c), (j, 1, n))
    equation = sympy.Eq(left, right, evaluate=False)
    w = sympy.Symbol("w", positive=True)
    lead = "" if c == 1 else tex(c)
    into, outof = r"\sum_{\mathrm{IN}}", r"\sum_{\mathrm{OUT}}"
    shown = f"{into} {tex(_at(g, LAMBDA * w))} = {lead}{outof} {tex(_at(out, w / LAMBDA**c))}"
    balanced_tex = f"{into} {tex(_at(g, w))} = {lead}{outof} {tex(_at(out, w))}"
    h = "g" if g.half == out.half else r"g_{\mathrm{OUT}}"
    power = r"\lambda" if c == 1 else rf"\lambda^{{{tex(c)}}}"
    differing = sorted({s.name for side_ in (g, out) for s in per_weight(side_.half)})
    unique = _unique(g, out)
    steps = [
        Step(
            "the optimal scale makes λ·R'(λ) = 0, R(λ) = Σ_IN g(λw) + Σ_OUT g(w/λ^c)",
            shown,
            "sympy: λ dg(λw)/dλ = m(λw) and λ dg(w/λ^c)/dλ = −c·m(w/λ^c), weight by weight, m(w) = w·g'(w)",
            Verdict.proved if _chain_rule(g, out, c) else Verdict.undecided,
            (),
            equation,
        ),
        _unique_step(unique, g, out, "Σ_IN φ'(t+u) − cΣ_OUT φ'(t−cu) strictly increases in u = log λ"),
        _one_sided(g, out),
    ]
    smooth = not any(h.has(sympy.Piecewise, sympy.Max, sympy.Min, sympy.Abs) for h in (g.half, out.half))
    if unique.holds and smooth:
        steps.append(_curvature_step(g, out, c))
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
        (*_assumptions(activation, g, out), "both sides have a nonzero weight", *_differing(differing)),
        equation=equation,
        equation_latex=shown,
        gain_latex=rf"{into} \left(g(w) - g(\lambda w)\right) + {outof} \left({h}(w) - {h}(w/{power})\right)",
        one_one=one,
        balance_equation=f"Σ_IN {_at(g, w)} = {factor_text(c)}Σ_OUT {_at(out, w)}   (w for |w|)",
        balance_latex=balanced_tex,
        limits=_limits(),
        definitions=("u_i = |w| of the weights in, i = 1..m", "v_j = |w| of the weights out, j = 1..n"),
        definitions_latex=("$w$ stands for the size of a weight",),
    )


def _curvature_step(g: Regularizer, out: Regularizer, c: sympy.Expr) -> Step:
    """With κ(w) = w·(w g')' = φ'': λ(λR')' = Σ_IN κ(λw) + c² Σ_OUT κ(w/λ^c), and φ convex makes κ ≥ 0."""
    w = sympy.Symbol("w", positive=True)
    u = sympy.Dummy("u", positive=True)
    sound = all(
        vanishes(
            LAMBDA * r.marginal_expression.subs(W, u * LAMBDA**e).diff(LAMBDA)
            - e * r.curvature_expression.subs(W, u * LAMBDA**e)
        )
        for r, e in ((g, sympy.S.One), (out, -c))
    )
    square = "" if c == 1 else f"{tex(c**2)} "
    down = "w/\\lambda" if c == 1 else f"w \\lambda^{{{tex(-c)}}}"
    names = ("\\kappa", "\\kappa" if g.half == out.half else "\\kappa_{\\mathrm{OUT}}")
    both = zip(names, (g, out), strict=True)
    kappas = {name: tex(_shorter(r.curvature_expression).subs(W, w)) for name, r in both}
    defined = r",\quad ".join(f"{name}(w) = {formula}" for name, formula in kappas.items())
    into, outof = r"\sum_{\mathrm{IN}}", r"\sum_{\mathrm{OUT}}"
    total = rf"{into} {names[0]}(\lambda w) + {square}{outof} {names[1]}({down})"
    return Step(
        "second order: the second derivative of R in log λ is a sum of φ'' ≥ 0",
        rf"{total} \ge 0,\quad {defined}",
        "sympy: the marginals differentiated, weight by weight, simplify to φ''; φ is convex",
        Verdict.proved if sound else Verdict.undecided,
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


def _one_sided(g: Regularizer, out: Regularizer) -> Step:
    """R is Σ_IN g(λw) or Σ_OUT g(w/λ^c) alone: strictly monotone where g is strictly increasing."""
    weaker = min((g.increasing, out.increasing), key=lambda check: check.verdict)
    return Step(
        "where one side is 0 no λ is optimal: the cost falls strictly, as λ → 0 or as λ → ∞",
        None,
        f"{weaker.method}: g is strictly increasing, {weaker.why}",
        weaker.verdict,
        ("one side has a nonzero weight, the other none",),
    )


def _one_one(c: sympy.Expr, g: Regularizer, out: Regularizer, unique: Check) -> sympy.Expr | None:
    """Degree 1 and one g: φ' takes the same value at λ·w_in and at w_out/λ, so these are equal."""
    if c != 1 or g.half != out.half or unique.holds is not True or per_weight(g.half):
        return None
    inside, outside = sympy.symbols("w_in w_out", positive=True)
    return sympy.sqrt(outside / inside)
