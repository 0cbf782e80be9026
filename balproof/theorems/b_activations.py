"""[B] Section 2: which activations let a unit scale. BiLU units are the homogeneous ones, BiPU the powers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy

from balproof.symbolic.activation import Activation
from balproof.theorems.b_lemmas import PAPER, by_z3, positive_beyond, printed_false, twin, vanishes
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

_X = sympy.Symbol("x", real=True)
_T, _L, _M = sympy.symbols("t lambda mu", positive=True)
_A, _B, _C, _D, _Z = sympy.symbols("a b C D f0", real=True)

EXAMPLES = (
    ("Max(x,0)", 1),
    ("Piecewise((x/100, x<0), (x, True))", 1),
    ("abs(x)", 1),
    ("Piecewise((3*x, x<0), (-2*x, True))", 1),
    ("Max(x,0)**2", 2),
    ("x*abs(x)", 2),
    ("sqrt(abs(x))", Fraction(1, 2)),
    ("sign(x)", 0),
    ("tanh(x)", None),
    ("Max(x,0) + 1", None),
    ("x + x**2", None),
)
"""Activations with their degree, None for none."""


def bilu(x: sympy.Expr, a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """a·x for x < 0, b·x for x ≥ 0."""
    return a * x if x.is_negative else b * x


def bipu(x: sympy.Expr, C: sympy.Expr, D: sympy.Expr, c: sympy.Expr, at_zero: sympy.Expr) -> sympy.Expr:
    """C·x^c for x > 0, D·|x|^c for x < 0, and a value at 0."""
    if x.is_zero:
        return at_zero
    return C * x**c if x.is_positive else D * (-x) ** c


# --- Prop 2.2 -----------------------------------------------------------------------------------------


def _homogeneous_is_bilu() -> bool:
    """f(λy) = λf(y), read at (λ, y) = (t, 1), (t, −1) and (2, 0), is the BiLU with a = −f(−1), b = f(1)."""
    f = sympy.Function("f")
    a, b = -f(-1), f(1)
    right = vanishes(bilu(_T, a, b) - _T * f(1))
    left = vanishes(bilu(-_T, a, b) - _T * f(-1))
    zero = sympy.solve(sympy.Eq(_Z, 2 * _Z), _Z) == [0] and bilu(sympy.S.Zero, a, b) == 0
    return right and left and zero


def _bilu_is_homogeneous() -> bool:
    points = (_T, -_T, sympy.S.Zero)
    return vanishes(*(bilu(_L * x, _A, _B) - _L * bilu(x, _A, _B) for x in points))


def _bilu_queries() -> list[list[sympy.Basic]]:
    """Both directions as questions without an answer; f(1), f(−1), f(x) are numbers of their own."""
    one, minus, fx = sympy.symbols("f1 fm1 fx", real=True)
    forward = [
        [sympy.Eq(fx, _T * one), sympy.Ne(fx, bilu(_T, -minus, one))],
        [sympy.Eq(fx, _T * minus), sympy.Ne(fx, bilu(-_T, -minus, one))],
        [sympy.Eq(fx, 2 * fx), sympy.Ne(fx, 0)],
    ]
    right = sympy.Symbol("x0", nonnegative=True)
    back = [[sympy.Ne(bilu(_L * x, _A, _B), _L * bilu(x, _A, _B), evaluate=False)] for x in (right, -_T)]
    return [*forward, *back]


def _library_agrees() -> bool:
    """The package's own decision on the examples, and f(λx) = λ^c f(x) at rational points."""
    points = [Fraction(k, 7) for k in (-20, -3, 1, 9, 40)]
    for text, degree in EXAMPLES:
        found = Activation.parse(text)
        if found.homogeneous is not (degree is not None):
            return False
        if degree is None:
            continue
        x = np.array([float(p) for p in points])
        if found.degree != sympy.sympify(degree) or not np.allclose(
            found(3 * x), 3.0 ** float(degree) * found(x), rtol=1e-12
        ):
            return False
    return True


def discrete(x: sympy.Expr) -> sympy.Expr:
    """x·(2 + sin(2π·log₂ x)) for x > 0: it doubles with x, and is no multiple of x."""
    return x * (2 + sympy.sin(2 * sympy.pi * sympy.log(x, 2)))


def _only_doubling() -> bool:
    """At x = 2^k for every real k, that is, at every x > 0; and f(x)/x is 2 at 1 and 3 at 2^¼."""
    at = sympy.Integer(2) ** sympy.Rational(1, 4)
    x = 2 ** sympy.Symbol("k", real=True)
    doubles = sympy.expand(sympy.expand_log(discrete(2 * x) - 2 * discrete(x), force=True))
    return vanishes(doubles) and discrete(sympy.S.One) == 2 and sympy.simplify(discrete(at) / at) == 3


@claim(
    Claim(
        "B.homogeneous-iff-bilu",
        "Homogeneous activations are the BiLU functions",
        f"{PAPER}, Prop 2.2",
        "f(λx) = λf(x) for all λ > 0 and all x exactly if f is bilinear: a·x for x < 0 and b·x for x ≥ 0.",
        "For $f:\\mathbb R\\to\\mathbb R$: $f(\\lambda x)=\\lambda f(x)$ for all $\\lambda>0$ and all $x$ "
        "if and only if $f(x)=ax$ for $x<0$ and $f(x)=bx$ for $x\\ge 0$; then $a=-f(-1)$, $b=f(1)$. "
        "Continuity is not assumed.",
        ("the equation holds for every real λ > 0 and every real x",),
        Verdict.proved,
    )
)
def homogeneous_iff_bilu() -> Findings:
    """x > 0: f(x) = f(x·1); x < 0: f(x) = f(|x|·(−1)); f(0) = 2f(0). The converse by substitution."""
    return Findings(
        Printed(Verdict.proved, "holds as printed, without continuity"),
        (
            timed(
                "sympy",
                "⇒ the hypothesis at (λ, x) = (t, 1), (t, −1), (2, 0) gives f(t) = t·f(1), f(−t) = t·f(−1), "
                "f(0) = 0 for every t > 0; ⇐ bilu(λx) − λ·bilu(x) = 0 for x > 0, x < 0 and x = 0, all a, b, "
                "λ > 0",
                Verdict.proved,
                lambda: _homogeneous_is_bilu() and _bilu_is_homogeneous(),
            ),
            by_z3(
                "the same two directions: no reals t, λ > 0, a, b, f(1), f(−1), f(±t), f(0) satisfy the "
                "hypothesis at those points and violate the conclusion, nor the reverse",
                Verdict.proved,
                _bilu_queries(),
            ),
            timed(
                "sampled",
                f"{len(EXAMPLES)} activations: the degree found by this package, and f(3x) = 3^c·f(x) at 5 "
                f"points",
                Verdict.sampled,
                _library_agrees,
            ),
        ),
        (
            twin(
                "for all λ > 0 (λ = 2 only)",
                _only_doubling(),
                "f(0) = 0, f(x) = x·(2 + sin(2π·log₂|x|)) has f(2x) = 2f(x), yet f(1) = 2 and f(2^¼)/2^¼ = 3",
            ),
            twin(
                "for x < 0 as well",
                all(3 * max(x, 0) == max(3 * x, 0) for x in (1, 2, 7)) and 2 * (-1) ** 2 != (2 * -1) ** 2,
                "f(x) = x for x ≥ 0 and x² for x < 0: f(2·(−1)) = 4, 2·f(−1) = 2",
            ),
        ),
    )


# --- Prop 2.3 -----------------------------------------------------------------------------------------

_EXPONENTS = (_C.func("c", positive=True), -_C.func("d", positive=True), sympy.S.Zero)
"""Every real degree: positive, negative, 0."""


def _power_is_bipu() -> bool:
    """f(λy) = λ^c f(y) at (t, 1), (t, −1), (2, 0), for every real c."""
    f = sympy.Function("f")
    halves = [
        expression
        for c in _EXPONENTS
        for expression in (
            bipu(_T, f(1), f(-1), c, _Z) - _T**c * f(1),
            bipu(-_T, f(1), f(-1), c, _Z) - _T**c * f(-1),
        )
    ]
    # f(0) = 2^c f(0) forces f(0) = 0 unless 2^c = 1, and 2^c is 1 for c = 0 alone.
    d = _EXPONENTS[0]
    zero = positive_beyond(2**d - 1, d, 1) and positive_beyond(1 - 2 ** (-d), d, 1)
    return vanishes(*halves) and zero


def _bipu_is_power() -> bool:
    differences = [
        bipu(_L * x, _C, _D, c, at) - _L**c * bipu(x, _C, _D, c, at)
        for c in _EXPONENTS
        for x in (_T, -_T, sympy.S.Zero)
        for at in ([_Z] if c == 0 else [sympy.S.Zero])
    ]
    return vanishes(*differences)


def _continuity() -> bool:
    """One-sided limits at 0: 0 for c > 0, C and D for c = 0, and not finite for c < 0."""
    positive, negative, zero = _EXPONENTS

    def limits(c: sympy.Expr, C: sympy.Expr = _C, D: sympy.Expr = _D) -> list[sympy.Expr]:
        f = (bipu(_T, C, D, c, _Z), bipu(-_T, C, D, c, _Z))
        return [sympy.limit(g, _T, 0, "+") for g in f]

    unbounded = limits(negative, sympy.S.One, sympy.S.One) == [sympy.oo, sympy.oo]
    return limits(positive) == [0, 0] and limits(zero) == [_C, _D] and unbounded


def _multiplier_is_smooth() -> bool:
    """G(λμ) = G(λ)G(μ), G > 0 continuous: G(λ)·∫₁²G = ∫₁²G(λμ)dμ is (1/λ)∫G over [λ, 2λ], so G has a
    derivative."""
    G, s = sympy.Function("G"), sympy.Symbol("s", positive=True)
    mean = sympy.Integral(G(_L * _M), (_M, 1, 2)).transform(_L * _M, (s, s))
    moving = sympy.Integral(G(s), (s, _L, 2 * _L)) / _L
    slope = (2 * G(2 * _L) - G(_L)) / _L - moving / _L
    return sympy.simplify(mean - moving) == 0 and sympy.simplify(sympy.diff(moving, _L) - slope) == 0


def _multiplier_is_power() -> bool:
    """Then λG′ = cG with c = G′(1), so G·λ^{−c} is constant, and 1 at 1."""
    G, c = sympy.Function("G"), sympy.Symbol("c", real=True)
    at_one = sympy.Subs(sympy.Derivative(G(_M), _M), _M, 1)
    relation = sympy.diff(G(_L * _M) - G(_L) * G(_M), _M).subs(_M, 1).doit().subs(at_one, c)
    slope = sympy.solve(relation, sympy.diff(G(_L), _L))
    quotient = sympy.diff(G(_L) * _L ** (-c), _L).subs(sympy.diff(G(_L), _L), slope[0])
    return slope == [c * G(_L) / _L] and vanishes(quotient)


def _bipu_queries() -> list[list[sympy.Basic]]:
    """λ ↦ λ^c as any multiplicative function: its values at t, λ, λt and 2 are positive numbers."""
    one, minus, fx, zero = sympy.symbols("f1 fm1 fx f00", real=True)
    pt, pl, plt, p2 = sympy.symbols("Pt Pl Plt P2", positive=True)

    def form(power: sympy.Expr, side: int, C: sympy.Expr, D: sympy.Expr) -> sympy.Expr:
        return bipu(side * power, C, D, sympy.S.One, sympy.S.Zero)

    forward = [
        [sympy.Eq(fx, pt * one), sympy.Ne(fx, form(pt, 1, one, minus))],
        [sympy.Eq(fx, pt * minus), sympy.Ne(fx, form(pt, -1, one, minus))],
        [sympy.Eq(zero, p2 * zero), sympy.Ne(p2, 1), sympy.Ne(zero, 0)],
    ]
    back = [
        [sympy.Eq(plt, pl * pt), sympy.Ne(form(plt, s, _C, _D), pl * form(pt, s, _C, _D))] for s in (1, -1)
    ]
    # G(1) = 1, so G(λ)G(1/λ) = 1, and G(λ) = G(√λ)²: G > 0. Continuity at 1 carries over: |G(λμ) − G(λ)|
    # is G(λ)|G(μ) − 1|.
    g, root, inverse = sympy.symbols("g root inverse", real=True)
    return [*forward, *back, [sympy.Eq(g, root**2), sympy.Eq(g * inverse, 1), sympy.Le(g, 0)]]


def printed_power_fails() -> bool:
    """f(x) = x has degree 1 and f(−1) = −1, but D·x^c with D = f(−1) is +1 at −1; at c = ½ it is not real."""
    f_minus, c, x = sympy.Integer(-1), sympy.Integer(1), sympy.Integer(-1)
    not_real = (x ** sympy.Rational(1, 2)).is_real is False
    return f_minus * x**c != f_minus and not_real


@claim(
    Claim(
        "B.power-iff-bipu",
        "Activations that scale by a power are the BiPU functions",
        f"{PAPER}, Prop 2.3",
        "f(λx) = λ^c·f(x) for all λ > 0 and x exactly if f(x) = C·x^c for x ≥ 0 and D·x^c for x < 0, with C "
        "= f(1), D = f(−1); to be continuous at 0 it needs c > 0, or c = 0 and C = D.",
        "For $f:\\mathbb R\\to\\mathbb R$ and real $c$: $f(\\lambda x)=\\lambda^c f(x)$ for all "
        "$\\lambda>0$ and $x$ if and only if $f(x)=Cx^c$ for $x>0$, $f(x)=D|x|^c$ for $x<0$, and $f(0)=0$ "
        "unless $c=0$ (then $f(0)$ is free); $C=f(1)$, $D=f(-1)$. It is continuous at 0 iff $c>0$, or $c=0$ "
        "and $C=D=f(0)$, or $f\\equiv 0$. If $f(\\lambda x)=G(\\lambda)f(x)$ for all $\\lambda>0$ and $x$, "
        "and $f$ is continuous at some $x_0\\neq 0$ with $f(x_0)\\ne 0$, then $G(\\lambda)=\\lambda^c$ "
        "for some $c$.",
        (
            "the equation holds for every real λ > 0 and every real x",
            (
                "for G: f is continuous at a point x₀ ≠ 0 where it is not 0 (measurable would do, by "
                "Cauchy's equation; that is not shown here)"
            ),
        ),
        Verdict.proved,
    )
)
def power_iff_bipu() -> Findings:
    """As for degree 1, with λ^c in place of λ; G is multiplicative, smooth as its own mean, and λG′(λ) =
    G′(1)·G(λ)."""
    return Findings(
        printed_false(
            printed_power_fails(),
            "on x < 0 it must read D·|x|^c: f(x) = x has c = 1 and D = f(−1) = −1, but D·(−1)^1 = 1; and "
            "(−1)^½ is not real. With |x|, and with f(0) named (0 unless c = 0), it is proved",
        ),
        (
            timed(
                "sympy",
                "⇒ the hypothesis at (t, 1), (t, −1), (2, 0) for c > 0, c < 0, c = 0, with 2^c = 1 only for "
                "c = 0; ⇐ by substitution for x > 0, x < 0, x = 0; one-sided limits at 0 for the three "
                "signs of c; G(λμ) = G(λ)G(μ) integrated over μ in [1, 2], so that G has a derivative, then "
                "differentiated at μ = 1, and (G·λ^{−c})′ = 0",
                Verdict.proved,
                lambda: (
                    _power_is_bipu()
                    and _bipu_is_power()
                    and _continuity()
                    and _multiplier_is_smooth()
                    and _multiplier_is_power()
                ),
            ),
            by_z3(
                "lemma proved: the equivalence, with λ ↦ λ^c replaced by any positive multiplicative "
                "function P (P(λt) = P(λ)P(t); f(0) = 0 where P(2) ≠ 1); and G > 0, as G(λ) = G(√λ)² and "
                "G(λ)G(1/λ) = 1",
                Verdict.certified,
                _bipu_queries(),
            ),
            timed(
                "sampled",
                f"{len(EXAMPLES)} activations: the degree found by this package, and f(3x) = 3^c·f(x) at 5 "
                f"points",
                Verdict.sampled,
                _library_agrees,
            ),
        ),
        (
            twin(
                "for all λ > 0 (λ = 2 only)",
                _only_doubling(),
                "c = 1: f(x) = x·(2 + sin(2π·log₂ x)) for x > 0, 0 elsewhere, has f(2x) = 2f(x), yet f(1) = "
                "2 and f(2^¼)/2^¼ = 3",
            ),
            twin(
                "c ≠ 0 for f(0) = 0",
                all(_sign_plus(7, k * x) == _sign_plus(7, x) for k in (2, 5) for x in (-1, 0, 3)),
                "c = 0: f = sign off 0 with f(0) = 7 has f(λx) = f(x) for all λ > 0, and f(0) ≠ 0",
            ),
            twin(
                "C = D for continuity at c = 0",
                _sign_plus(0, 1) != _sign_plus(0, -1),
                "f = sign has degree 0 and jumps from −1 to 1",
            ),
            twin(
                "f(0) = C for continuity at c = 0",
                all(_one_but_at_zero(k * x) == _one_but_at_zero(x) for k in (2, 5) for x in (-1, 0, 3))
                and _one_but_at_zero(0) != 1,
                "f = 1 off 0 with f(0) = 7 has degree 0 and C = D, and is not continuous at 0",
            ),
            twin(
                "c ≥ 0 for continuity",
                bipu(sympy.Rational(1, 10**6), *map(sympy.Integer, (1, 1, -1, 0))) == 10**6,
                "c = −1: f(x) = 1/|x|, f(0) = 0 has degree −1 and is 10⁶ at 10⁻⁶",
            ),
            twin(
                "f(x₀) ≠ 0, for G",
                all((k + 1) * 0 == 0 for k in (1, 2, 3)) and (1 + 1) != 1,
                "f ≡ 0 has f(λx) = G(λ)f(x) with G(λ) = λ + 1, and G(1) = 2 is no power of 1",
            ),
        ),
    )


def _one_but_at_zero(x: int) -> int:
    return 7 if x == 0 else 1


def _sign_plus(at_zero: int, x: int) -> int:
    return at_zero if x == 0 else (1 if x > 0 else -1)


CLAIMS: tuple[ClaimFunction, ...] = (homogeneous_iff_bilu, power_iff_bipu)
