"""An activation and its degree: f(λx) = λ^c f(x) for all λ > 0, decided half-line by half-line.

[B] Prop. 2.2: degree 1 exactly for BiLU (a·x, b·x); Prop. 2.3: degree c exactly for BiPU (C·x^c for x > 0
and D·|x|^c for x < 0).  Refuted by a witness in ball arithmetic, proved by rules on each half-line, and
every positive answer is checked a second time in an independent way.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import sympy
from numpy.typing import NDArray

from balproof.errors import ExpressionError
from balproof.symbolic import ball, numeric
from balproof.symbolic.assumptions import Domain
from balproof.symbolic.halfline import Monomial, T, equal, half_line, restrict
from balproof.symbolic.limits import ATTEMPT, QUESTION, too_long, vanishes, within
from balproof.symbolic.names import expand, names
from balproof.symbolic.parser import Formula, parse_formula, refuse_ours
from balproof.symbolic.reality import SEEDS, analysed, require_real, sample_parameters
from balproof.symbolic.refute import Witness, find_witness
from balproof.symbolic.steps import Step, latex
from balproof.verdict import Verdict

Kind = Literal["zero", "linear", "relu", "leaky", "bilu", "bipu", "non-homogeneous", "undecided"]

__all__ = ["Activation", "HalfLine", "Kind", "names"]


@dataclass(frozen=True)
class HalfLine:
    """What is known on one half-line: a power a·|x|^c, or a witness that it is none, or why it is undecided.

    ``degree`` is None where f is 0, since every degree fits that.
    """

    side: int
    coefficient: sympy.Expr | None
    degree: sympy.Expr | None
    witness: Witness | None
    why: str

    @property
    def where(self) -> str:
        return "x > 0" if self.side > 0 else "x < 0"

    def as_json(self) -> dict[str, object]:
        return {
            "where": self.where,
            "degree": None if self.degree is None else str(self.degree),
            "coefficient": None if self.coefficient is None else str(self.coefficient),
            "witness": None if self.witness is None else self.witness.as_json(),
            "why": self.why,
        }


@dataclass(frozen=True)
class Activation:
    """An activation, its degree and how that was decided.

    ``coefficients`` are (C, D) with f(x) = C·x^c for x > 0 and f(x) = D·|x|^c for x < 0.  The zero function
    has every degree; 1 is reported.

    >>> f = Activation.parse("leaky_relu(1/5)")
    >>> f.kind, f.degree, f.coefficients
    ('leaky', 1, (1, -1/5))
    >>> Activation.parse("tanh").witness.scale
    Fraction(2, 1)
    """

    text: str
    expression: sympy.Expr
    variable: sympy.Symbol
    kind: Kind
    degree: sympy.Expr | None
    coefficients: tuple[sympy.Expr, sympy.Expr] | None
    witness: Witness | None
    steps: tuple[Step, ...]
    domains: tuple[Domain, ...] = ()
    assumptions: tuple[str, ...] = ()
    halves: tuple[HalfLine, ...] = ()

    @staticmethod
    def parse(text: str, assumptions: Sequence[str] = ()) -> Activation:
        """Read a name (``relu``, ``leaky_relu(1/5)``, ``gelu``, ...) or a formula in x.

        Capitals and underscores in a name do not matter: ``LeakyReLU`` is ``leaky_relu``.

        Raises ExpressionError for text outside the language and for a formula without real values.
        """
        return _parse(text, tuple(assumptions))

    @staticmethod
    def from_expr(expression: sympy.Expr, text: str | None = None) -> Activation:
        """The activation of a SymPy expression; its variable is the symbol named x.

        >>> Activation.from_expr(sympy.Symbol("x", real=True) ** 3).degree
        3

        Raises ExpressionError if there is no x, or if it is not a real symbol.
        """
        found = [s for s in expression.free_symbols if s.name == "x"]
        if expression.free_symbols and (len(found) != 1 or not found[0].is_real):
            raise ExpressionError(f"{expression} has no real symbol x", "use sympy.Symbol('x', real=True)")
        x = found[0] if found else sympy.Symbol("x", real=True)
        refuse_ours([s.name for s in expression.free_symbols if s != x], "x")
        exact = sympy.nsimplify(expression, rational=True) if expression.has(sympy.Float) else expression
        others = sorted((s for s in exact.free_symbols if s != x), key=lambda s: s.name)
        known = tuple(_domain_of(s) for s in others)
        told = tuple(f"{s} real" for s in others)
        with analysed(str(expression)):
            return _decide(Formula(text or str(expression), exact, x, known, told))

    @property
    def homogeneous(self) -> bool | None:
        """Whether f(λx) = G(λ)f(x) for all λ > 0; None where that is undecided."""
        return None if self.kind == "undecided" else self.kind != "non-homogeneous"

    @property
    def parameters(self) -> tuple[sympy.Symbol, ...]:
        """The free symbolic parameters."""
        free = self.expression.free_symbols - {self.variable}
        return tuple(sorted(free, key=lambda s: s.name))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values on an array.

        >>> Activation.parse("x*abs(x)")(np.array([-2.0, 0.0, 3.0])).tolist()
        [-4.0, 0.0, 9.0]

        Raises ExpressionError where a parameter has no number.
        """
        array = np.asarray(x, dtype=np.float64)
        if self.parameters:
            free = ", ".join(s.name for s in self.parameters)
            raise ExpressionError(f"{self.text} has free parameters {free}", "give numbers for them")
        with analysed(self.text):
            values = numeric.evaluate(self.expression, {self.variable: array})
        at_zero = array == 0
        if self.homogeneous and bool(np.any(at_zero & np.isnan(values))):
            values = np.where(at_zero & np.isnan(values), 0.0, values)
        return np.where(np.isnan(array), np.nan, values)

    def as_json(self) -> dict[str, object]:
        """The fields of ``derive``'s answer."""
        return {
            "text": self.text,
            "expression": str(self.expression),
            "kind": self.kind,
            "degree": None if self.degree is None else str(self.degree),
            "coefficients": None if self.coefficients is None else [str(c) for c in self.coefficients],
            "half_lines": [half.as_json() for half in self.halves],
            "parameters": [s.name for s in self.parameters],
            "assumptions": list(self.assumptions),
            "witness": None if self.witness is None else self.witness.as_json(),
        }


def _domain_of(symbol: sympy.Symbol) -> Domain:
    zero = Fraction(0)
    if symbol.is_positive:
        return Domain(symbol.name, zero, True)
    if symbol.is_nonnegative:
        return Domain(symbol.name, zero, False)
    if symbol.is_negative:
        return Domain(symbol.name, None, True, zero, True)
    return Domain(symbol.name)


@functools.lru_cache(maxsize=256)
def _parse(text: str, assumptions: tuple[str, ...]) -> Activation:
    formula = parse_formula(expand(text), "x", assumptions)
    if formula.parameters and not formula.expression.has(formula.variable):
        raise ExpressionError(f"{text[:60]!r} has no x in it", "write a name such as relu, or a formula in x")
    with analysed(text):
        return _decide(
            Formula(text.strip(), formula.expression, formula.variable, formula.domains, formula.assumptions)
        )


def _decide(formula: Formula) -> Activation:
    """The cheap rules, then the refuter, then the dear rewritings, in this order; see the module."""
    require_real(formula)
    sides = [restrict(formula.expression, formula.variable, side) for side in (1, -1)]
    halves = [half_line(side, thorough=False) for side in sides]
    witness = None if _settled(formula, halves) else within(QUESTION, lambda: _search(formula), None)
    told: list[HalfLine] = []
    for i, side in enumerate((1, -1)):
        own = None if witness is None or halves[i] else _own_witness(formula, side)
        if own is None:
            halves[i] = halves[i] or within(QUESTION, lambda i=i: half_line(sides[i]), None)
        told.append(_told(formula, halves[i], side, own))
    return dataclasses.replace(_judged(formula, halves, witness), halves=tuple(told))


def _own_witness(formula: Formula, side: int) -> Witness | None:
    return within(ATTEMPT, lambda: _search(formula, side), None)


def _judged(formula: Formula, halves: Sequence[Half], witness: Witness | None) -> Activation:
    if witness is not None:
        return _refused(formula, witness)
    if halves[0] is None or halves[1] is None:
        missing = " and ".join(side for side, h in zip(("x > 0", "x < 0"), halves, strict=True) if h is None)
        return _undecided(formula, f"no rule applies on {missing}, and no sampled points refute it")
    if not _agree(halves):
        return _undecided(formula, "the degrees of the two half-lines are not shown to be equal")
    zero_fits, zero_text = _at_zero(formula, halves)
    if not zero_fits:
        return _undecided(formula, zero_text)
    proved = halves[0], halves[1]
    late = _undecided(formula, too_long(QUESTION))
    return within(QUESTION, lambda: _confirmed(formula, proved, zero_text), late)


def _told(formula: Formula, half: Half, side: int, own: Witness | None) -> HalfLine:
    """One half-line by itself; a power is looked at a second time, in balls."""
    if half is not None:
        (coefficient, degree), how = half
        checked = within(ATTEMPT, lambda: _overlap(formula, degree, coefficient, side), -1)
        if checked >= 0:
            zero = coefficient == 0
            return HalfLine(side, coefficient, None if zero else degree, None, f"{how}; ball arithmetic")
        return HalfLine(side, None, None, None, "undecided: the two ways of deciding it disagree")
    if own is not None:
        return HalfLine(side, None, None, own, own.sentence)
    return HalfLine(side, None, None, None, "undecided: no rule applies, and no sampled points refute it")


def _settled(formula: Formula, halves: Sequence[Half]) -> bool:
    return _agree(halves) and _at_zero(formula, halves)[0]


def _search(formula: Formula, side: int = 0) -> Witness | None:
    """A witness at one of three choices of the parameters, on one half-line if ``side`` is not 0."""
    for seed in range(SEEDS if formula.parameters else 1):
        values = sample_parameters(formula, seed)
        witness = find_witness(
            str(formula.expression), formula.expression, formula.variable, values, side=side
        )
        if witness is not None:
            return witness
    return None


Half = tuple[Monomial, str] | None


def _agree(halves: Sequence[Half]) -> bool:
    first, second = halves
    if first is None or second is None:
        return False
    (c, d1), (d, d2) = first[0], second[0]
    return c == 0 or d == 0 or equal(d1, d2)


def _degree(halves: Sequence[Half]) -> sympy.Expr | None:
    """The common degree; None for a function that is 0 on both half-lines ."""
    for half in halves:
        if half is not None and half[0][0] != 0:
            return half[0][1]
    return None


def _value_at_zero(formula: Formula) -> sympy.Expr | None:
    """f(0), or None where there is no value."""
    try:
        enclosure = ball.enclose(
            formula.expression, {**sample_parameters(formula, 0), formula.variable: Fraction(0)}
        )
    except ball.NotReal:
        return None
    value = formula.expression.subs(formula.variable, 0)
    return value if enclosure.is_finite() and value.is_finite is not False else None


def _at_zero(formula: Formula, halves: Sequence[Half]) -> tuple[bool, str]:
    """Whether f(0) = λ^c f(0): for c ≠ 0 f(0) must be 0, for c = 0 it is free."""
    degree = _degree(halves)
    value = _value_at_zero(formula)
    if degree is not None and degree.is_zero:
        return True, "f(0) is free, since the degree is 0"
    if value is None:
        return True, "f has no value at 0; it is read as 0 there"
    if equal(value, sympy.S.Zero):
        return True, "f(0) = 0"
    if degree is None:
        return True, f"f is 0 off 0 and f(0) = {value}, which fits degree 0 only"
    return False, f"f(0) = {value} is not shown to be 0"


def _refused(formula: Formula, witness: Witness) -> Activation:
    step = Step(
        f"the activation is not homogeneous: {witness.sentence}",
        rf"f(\lambda x_1)\,f(x_2) \neq f(\lambda x_2)\,f(x_1)\quad x_1={sympy.latex(_rational(witness.x1))},"
        rf"\;x_2={sympy.latex(_rational(witness.x2))},\;\lambda={sympy.latex(_rational(witness.scale))}",
        "ball arithmetic: the enclosures of the two products are disjoint",
        Verdict.certified,
        tuple(f"{name} = {value}" for name, value in witness.at),
    )
    return _made(formula, "non-homogeneous", None, None, witness, (step,))


def _undecided(formula: Formula, why: str) -> Activation:
    step = Step(
        f"the degree is undecided: {why}", None, "half-line rules and ball arithmetic", Verdict.undecided
    )
    return _made(formula, "undecided", None, None, None, (step,))


def _made(
    formula: Formula,
    kind: Kind,
    degree: sympy.Expr | None,
    coefficients: tuple[sympy.Expr, sympy.Expr] | None,
    witness: Witness | None,
    steps: tuple[Step, ...],
) -> Activation:
    return Activation(
        formula.text,
        formula.expression,
        formula.variable,
        kind,
        degree,
        coefficients,
        witness,
        steps,
        formula.domains,
        formula.assumptions,
    )


def _rational(q: Fraction) -> sympy.Rational:
    return sympy.Rational(q.numerator, q.denominator)


def _kind(degree: sympy.Expr, c: sympy.Expr, d: sympy.Expr) -> Kind:
    if c == 0 and d == 0:
        return "zero"
    if not equal(degree, sympy.S.One):
        return "bipu"
    if equal(c, -d):
        return "linear"
    if c == 1 and d == 0:
        return "relu"
    return "leaky" if c == 1 and (-d).is_positive else "bilu"


def _confirmed(
    formula: Formula, halves: tuple[tuple[Monomial, str], tuple[Monomial, str]], zero: str
) -> Activation:
    found = _degree(halves)
    spike = found is None and "degree 0 only" in zero
    degree = (sympy.S.Zero if spike else sympy.S.One) if found is None else found
    (c, _), (d, _) = halves[0][0], halves[1][0]
    kind: Kind = "bipu" if spike else _kind(degree, c, d)
    steps = [
        Step(
            f"on {side} the activation is a power of |x|",
            rf"f(x) = {power_latex(a, shown, degree)}\quad ({condition})",
            f"sympy: {method}, at x = {sign}t with t > 0",
            Verdict.proved,
            formula.assumptions,
        )
        for side, condition, sign, shown, a, method in (
            ("x > 0", "x>0", "", "x", c, halves[0][1]),
            ("x < 0", "x<0", "-", "|x|", d, halves[1][1]),
        )
    ]
    steps.append(Step(f"at 0: {zero}", None, "sympy: substitution", Verdict.proved))
    balls, count = _second_check(formula, degree, c, d)
    if not balls:
        return _undecided(formula, "the two ways of deciding the degree disagree; please report this formula")
    steps.append(
        Step(
            "scaling: "
            + ("every degree fits the zero function" if kind == "zero" else f"degree c = {degree}"),
            scaling_latex(degree),
            "sympy: f(λx) − λ^c f(x) = 0 on each half-line"
            if _scales(formula, degree, c, d)
            else "from the two half-lines",
            Verdict.proved,
            formula.assumptions,
        )
    )
    steps.append(
        Step(
            f"the same at {count} random rational points",
            None,
            "ball arithmetic: enclosures of f(λx) and λ^c f(x) overlap",
            Verdict.certified,
        )
    )
    if degree.is_positive is not True:
        steps.append(
            Step(
                f"the degree {degree} is not known to be positive: rescaling in keeps what goes out, "
                "so no optimal scale exists",
                None,
                "sympy: sign of the degree",
                Verdict.proved,
            )
        )
    return _made(formula, kind, degree, (c, d), None, tuple(steps))


def power_latex(coefficient: sympy.Expr, base: str, degree: sympy.Expr) -> str:
    r"""a·x^c in LaTeX.

    >>> print(power_latex(sympy.Rational(1, 2), "x", sympy.Integer(2)))
    \frac{1}{2} x^{2}
    """
    factor = latex(coefficient)
    if coefficient == 0 or degree == 0:
        return factor
    if factor in ("1", "-1"):
        factor = factor[:-1]
    elif coefficient.is_Add or isinstance(coefficient, sympy.Piecewise):
        factor = rf"\left({factor}\right)"
    power = "" if degree == 1 else f"^{{{latex(degree)}}}"
    return f"{factor} {base}{power}".strip()


def scaling_latex(degree: sympy.Expr) -> str:
    """f(λx) = λ^c f(x) in LaTeX."""
    factor = "" if degree == 0 else power_latex(sympy.S.One, r"\lambda", degree) + " "
    return rf"f(\lambda x) = {factor}f(x)\quad (\lambda > 0)"


def _scales(formula: Formula, degree: sympy.Expr, c: sympy.Expr, d: sympy.Expr) -> bool:
    """f(λx) − λ^c f(x) simplifies to 0 on both half-lines, from the power form."""
    scale = sympy.Dummy("lambda", positive=True)
    return all(
        vanishes(sympy.expand_power_base(a * (scale * T) ** degree - scale**degree * a * T**degree))
        for a in (c, d)
    )


def _second_check(formula: Formula, degree: sympy.Expr, c: sympy.Expr, d: sympy.Expr) -> tuple[bool, int]:
    """At rational points the parsed expression and the power form have overlapping enclosures."""
    counts = [_overlap(formula, degree, a, side) for side, a in ((1, c), (-1, d))]
    return min(counts) >= 0, sum(counts)


def _overlap(formula: Formula, degree: sympy.Expr, coefficient: sympy.Expr, side: int) -> int:
    """At how many random points of one half-line the two enclosures overlap; -1 if at one they do not."""
    rng = np.random.default_rng((20240607, side + 1))
    power = coefficient * T**degree
    count = 0
    for seed in range(SEEDS):
        values = sample_parameters(formula, seed)
        for _ in range(4):
            x = Fraction(int(rng.integers(1, 400)), int(rng.integers(1, 40)))
            try:
                direct = ball.enclose(formula.expression, {**values, formula.variable: side * x}, 128)
                claimed = ball.enclose(power, {**values, T: x}, 128)
            except (ball.NotReal, ball.Unknown):
                return -1
            if not (direct.is_finite() and claimed.is_finite() and direct.overlaps(claimed)):
                return -1
            count += 1
    return count
