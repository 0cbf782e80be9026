"""An activation and its degree: f(λx) = λ^c f(x) for all λ > 0, decided half-line by half-line.

[B] Prop. 2.2: degree 1 exactly for BiLU (a·x, b·x); Prop. 2.3: degree c exactly for BiPU (C·x^c for x > 0
and D·|x|^c for x < 0).  Refuted by a witness in ball arithmetic, proved by rules on each half-line, and
every positive answer is checked a second time in an independent way.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
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
from balproof.symbolic.limits import QUESTION, too_long, vanishes, within
from balproof.symbolic.parser import Formula, parse_formula, refuse_ours
from balproof.symbolic.reality import SEEDS, analysed, require_real, sample_parameters
from balproof.symbolic.refute import Witness, find_witness
from balproof.symbolic.steps import Step, latex
from balproof.verdict import Verdict

Kind = Literal["zero", "linear", "relu", "leaky", "bilu", "bipu", "non-homogeneous", "undecided"]

# name: (parameters with their defaults, formula in x).  A default of None leaves a symbol.
_NAMES: Mapping[str, tuple[tuple[tuple[str, str | None], ...], str]] = {
    "zero": ((), "0*x"),
    "linear": ((), "x"),
    "identity": ((), "x"),
    "relu": ((), "Max(x, 0)"),
    "leaky_relu": ((("s", "1/100"),), "Piecewise((s*x, x < 0), (x, True))"),
    "prelu": ((("a", None),), "Piecewise((a*x, x < 0), (x, True))"),
    "rrelu": ((("l", "1/8"), ("u", "1/3")), "Piecewise(((l + u)/2*x, x < 0), (x, True))"),
    "abs": ((), "abs(x)"),
    "square": ((), "x**2"),
    "relu2": ((), "Max(x, 0)**2"),
    "squared_relu": ((), "Max(x, 0)**2"),
    "cube": ((), "x**3"),
    "signed_square": ((), "x*abs(x)"),
    "sign": ((), "sign(x)"),
    "step": ((), "Heaviside(x)"),
    "tanh": ((), "tanh(x)"),
    "sigmoid": ((), "1/(1 + exp(-x))"),
    "logsigmoid": ((), "-log(1 + exp(-x))"),
    "gelu": ((), "x*(1 + erf(x/sqrt(2)))/2"),
    "gelu_tanh": ((), "x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))/2"),
    "silu": ((), "x/(1 + exp(-x))"),
    "swish": ((("beta", "1"),), "x/(1 + exp(-beta*x))"),
    "mish": ((), "x*tanh(log(1 + exp(x)))"),
    "elu": ((("alpha", "1"),), "Piecewise((x, x > 0), (alpha*(exp(x) - 1), True))"),
    "celu": ((("alpha", "1"),), "Piecewise((x, x > 0), (alpha*(exp(x/alpha) - 1), True))"),
    "selu": (
        (),
        "1.0507009873554805*Piecewise((x, x > 0), (1.6732632423543772*(exp(x) - 1), True))",
    ),
    "softplus": ((("beta", "1"),), "log(1 + exp(beta*x))/beta"),
    "softsign": ((), "x/(1 + abs(x))"),
    "relu6": ((), "Min(Max(x, 0), 6)"),
    "hardtanh": ((("l", "-1"), ("u", "1")), "Min(Max(x, l), u)"),
    "hardsigmoid": ((), "Min(Max(x/6 + 1/2, 0), 1)"),
    "hardswish": ((), "x*Min(Max(x + 3, 0), 6)/6"),
    "hardshrink": ((("l", "1/2"),), "Piecewise((x, abs(x) > l), (0, True))"),
    "softshrink": ((("l", "1/2"),), "Piecewise((x - l, x > l), (x + l, x < -l), (0, True))"),
    "tanhshrink": ((), "x - tanh(x)"),
    "threshold": ((("l", "1"), ("v", "0")), "Piecewise((x, x > l), (v, True))"),
    "crelu_negative": ((), "Max(-x, 0)"),
    "exp": ((), "exp(x)"),
    "sin": ((), "sin(x)"),
}
_CALL = re.compile(r"\s*([A-Za-z_0-9]+)\s*(?:\((.*)\)|:(.*))?\s*", re.DOTALL)


_SPELLINGS = {name.replace("_", ""): name for name in _NAMES}  # LeakyReLU is leaky_relu


def names() -> tuple[str, ...]:
    """The names that ``Activation.parse`` knows beside formulas in x.

    >>> "gelu" in names()
    True
    """
    return tuple(_NAMES)


def _named(text: str) -> tuple[str, Mapping[str, str]] | None:
    """A name with its arguments as the formula it stands for; None if ``text`` is a formula."""
    match = _CALL.fullmatch(text)
    if match is None:
        return None
    name, inside, after = match.groups()
    name = _SPELLINGS.get(name.lower().replace("_", ""), "")
    if not name:
        return None
    parameters, formula = _NAMES[name]
    given = [part.strip() for part in (inside or after or "").split(",") if part.strip()]
    if given and given[0] == "x":
        given = given[1:]
    elif inside is not None and re.search(r"\bx\b", inside):
        return None
    if len(given) > len(parameters):
        raise ExpressionError(
            f"{name} has {len(given)} parameters, it takes {len(parameters)}",
            f"write {name} or a formula in x",
        )
    values = {key: (given[i] if i < len(given) else default) for i, (key, default) in enumerate(parameters)}
    return formula, {key: value for key, value in values.items() if value is not None}


def _expand(text: str) -> str:
    found = _named(text)
    if found is None:
        return text
    formula, values = found
    for key, value in values.items():
        parse_formula(value, "x")  # refuses what is no formula before it is put into another
        formula = re.sub(rf"\b{key}\b", f"({value})", formula)
    return formula


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
    formula = parse_formula(_expand(text), "x", assumptions)
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
    if witness is not None:
        return _refused(formula, witness)
    halves = [
        found or within(QUESTION, lambda side=side: half_line(side), None)
        for found, side in zip(halves, sides, strict=True)
    ]
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


def _settled(formula: Formula, halves: Sequence[Half]) -> bool:
    return _agree(halves) and _at_zero(formula, halves)[0]


def _search(formula: Formula) -> Witness | None:
    """A witness at one of three choices of the parameters."""
    for seed in range(SEEDS if formula.parameters else 1):
        values = sample_parameters(formula, seed)
        witness = find_witness(str(formula.expression), formula.expression, formula.variable, values)
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
    rng = np.random.default_rng(20240607)
    count = 0
    for seed in range(SEEDS):
        values = sample_parameters(formula, seed)
        for side, a in ((1, c), (-1, d)):
            power = a * T**degree
            for _ in range(4):
                x = Fraction(int(rng.integers(1, 400)), int(rng.integers(1, 40)))
                try:
                    direct = ball.enclose(formula.expression, {**values, formula.variable: side * x}, 128)
                    claimed = ball.enclose(power, {**values, T: x}, 128)
                except (ball.NotReal, ball.Unknown):
                    return False, count
                if not (direct.is_finite() and claimed.is_finite() and direct.overlaps(claimed)):
                    return False, count
                count += 1
    return True, count
