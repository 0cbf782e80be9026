"""Elementwise functions of several arguments, such as x·y or x·sigmoid(y), and how they scale.

A set S of arguments has degree c if f with them multiplied by λ > 0, the others kept, is λ^c f, whatever
the values of all arguments.  Each argument is asked by itself, and all of them jointly: x·sigmoid(y) has
degree 1 in x and none in y, Max(x, y) has none in either and 1 jointly.  The same means as for one
argument: a witness in balls, rules that prove, and every positive answer looked at a second time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy
from flint import arb, ctx

from balproof.errors import ExpressionError
from balproof.symbolic import ball
from balproof.symbolic.activation import Activation, scaling_latex
from balproof.symbolic.assumptions import Assumption, Domain
from balproof.symbolic.halfline import T, equal, half_line
from balproof.symbolic.limits import ATTEMPT, QUESTION, too_long, within
from balproof.symbolic.names import expand_gate
from balproof.symbolic.parser import Formula, free_names, parse_formula
from balproof.symbolic.reality import SEEDS, analysed
from balproof.symbolic.steps import Step
from balproof.verdict import Verdict

ARGUMENTS = ("x", "y", "z")
Vector = tuple[Fraction, ...]
_SIMPLE = tuple(Fraction(n, d) for n, d in ((1, 1), (2, 1), (1, 2), (3, 1), (10, 1), (1, 10)))
_SCALES = (Fraction(2), Fraction(3), Fraction(10))
_POINTS = 160


@dataclass(frozen=True)
class GateWitness:
    """Points p, q and l > 0 with f(l·p)·f(q) ≠ f(l·q)·f(p), l multiplying the asked arguments only."""

    first: Vector
    second: Vector
    scale: Fraction
    sentence: str
    at: tuple[tuple[str, Fraction], ...] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "first": [str(v) for v in self.first],
            "second": [str(v) for v in self.second],
            "scale": str(self.scale),
            "at": {name: str(v) for name, v in self.at},
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Scaling:
    """The degree of f in some of its arguments, or a witness that there is none, or why it is undecided."""

    arguments: tuple[str, ...]
    degree: sympy.Expr | None
    witness: GateWitness | None
    verdict: Verdict
    why: str

    @property
    def where(self) -> str:
        """In x alone, or jointly in x, y."""
        return (
            f"in {self.arguments[0]} alone"
            if len(self.arguments) == 1
            else f"jointly in {', '.join(self.arguments)}"
        )

    def as_json(self) -> dict[str, object]:
        return {
            "arguments": list(self.arguments),
            "degree": None if self.degree is None else str(self.degree),
            "witness": None if self.witness is None else self.witness.as_json(),
            "verdict": str(self.verdict),
            "why": self.why,
        }


@dataclass(frozen=True)
class Gate:
    """A function of two or three arguments with its degree in each, and jointly.

    >>> f = Gate.parse("x*sigmoid(y)")
    >>> f.degree("x"), f.degree("y"), f.degree("x", "y")
    (1, None, None)
    >>> Gate.parse("sqrt(x**2 + y**2)").joint.degree
    1
    """

    text: str
    expression: sympy.Expr
    variables: tuple[sympy.Symbol, ...]
    scalings: tuple[Scaling, ...]
    domains: tuple[Domain, ...] = ()
    assumptions: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str, assumptions: Sequence[str] = ()) -> Gate:
        """Read a name (``glu``, ``reglu``, ``swiglu``, ...) or a formula in x, y and z.

        Raises ExpressionError for text outside the language, and for less than two arguments.
        """
        return _parse(text, tuple(assumptions))

    @property
    def joint(self) -> Scaling:
        """All arguments together."""
        return self.scalings[-1]

    def degree(self, *arguments: str) -> sympy.Expr | None:
        """The degree in these arguments; None where there is none, or it is undecided."""
        return next((s.degree for s in self.scalings if s.arguments == arguments), None)

    def differs(self, scaling: Scaling) -> bool:
        """Whether the witness of a scaling holds, computed anew."""
        w = scaling.witness
        if w is None:
            return False
        by_name = dict(w.at)
        known = {s: by_name[s.name] for s in self.expression.free_symbols if s.name in by_name}
        asked = [v.name in scaling.arguments for v in self.variables]
        f = _Values(self.expression, self.variables, known)
        with ctx.workprec(256):
            values = [
                f(p)
                for p in (
                    _moved(w.first, asked, w.scale),
                    w.second,
                    _moved(w.second, asked, w.scale),
                    w.first,
                )
            ]
            known_all = [v for v in values if v is not None]
            return len(known_all) == 4 and not (known_all[0] * known_all[1]).overlaps(
                known_all[2] * known_all[3]
            )

    def unit(self, scaling: Scaling) -> Activation:
        """The scaling as an activation of that degree: what the optimal scale of a unit asks of one.

        What comes in is then what feeds these arguments alone.
        """
        name = f"{self.text} {scaling.where}"
        kind = "undecided" if scaling.degree is None and scaling.witness is None else "non-homogeneous"
        return Activation(
            name,
            self.expression,
            self.variables[0],
            kind if scaling.degree is None else "bipu",
            scaling.degree,
            None,
            None,
            (),
            self.domains,
            self.assumptions,
        )

    def steps(self) -> tuple[Step, ...]:
        """One step for each set of arguments."""
        found: list[Step] = []
        for s in self.scalings:
            if s.degree is not None:
                claim, formula = f"degree {s.degree} {s.where}", self._law(s)
            elif s.witness is not None:
                claim, formula = f"no degree {s.where}: {s.witness.sentence}", None
            else:
                claim, formula = f"undecided: the degree {s.where}", None
            found.append(Step(claim, formula, s.why, s.verdict, self.assumptions))
        return tuple(found)

    def _law(self, scaling: Scaling) -> str:
        """f(λx, y) = λ^c f(x, y)."""
        moved = ", ".join(
            rf"\lambda {v.name}" if v.name in scaling.arguments else v.name for v in self.variables
        )
        plain = ", ".join(v.name for v in self.variables)
        tex = scaling_latex(scaling.degree if scaling.degree is not None else sympy.S.One)
        return tex.replace(r"f(\lambda x)", f"f({moved})").replace("f(x)", f"f({plain})")

    def as_json(self) -> dict[str, object]:
        """The field ``activation`` of ``derive``'s answer."""
        return {
            "text": self.text,
            "expression": str(self.expression),
            "kind": "gate",
            "degree": None if self.joint.degree is None else str(self.joint.degree),
            "arguments": [s.as_json() for s in self.scalings],
            "parameters": sorted(s.name for s in self.expression.free_symbols - set(self.variables)),
            "assumptions": list(self.assumptions),
        }


def is_gate(text: str) -> bool:
    """Whether a text is the name of a gate, or a formula with y or z in it.

    >>> is_gate("x*y"), is_gate("swiglu"), is_gate("relu"), is_gate("b*x")
    (True, True, False, False)
    """
    try:
        return bool(free_names(expand_gate(text)) & set(ARGUMENTS[1:]))
    except ExpressionError:
        return False  # for Activation.parse to say what is wrong


@functools.lru_cache(maxsize=128)
def _parse(text: str, assumptions: tuple[str, ...]) -> Gate:
    formula_text = expand_gate(text.strip())
    names = free_names(formula_text)
    used = tuple(v for v in ARGUMENTS if v in names)
    if len(used) < 2:
        raise ExpressionError(f"{text[:60]!r} is no function of x and y", "write for example x*Max(y, 0)")
    for a in assumptions:
        if Assumption.parse(a).name in used:
            raise ExpressionError(
                f"assumption {a!r} is on an argument", "assume something of parameters only"
            )
    real = tuple(f"{v} real" for v in used if v != "x")
    read = parse_formula(formula_text, "x", (*assumptions, *real))
    variables = tuple(sympy.Symbol(v, real=True) for v in used)
    domains = tuple(d for d in read.domains if d.name not in used)
    told = tuple(a for a in read.assumptions if a not in real)
    formula = Formula(text.strip(), read.expression, read.variable, domains, told)
    with analysed(text):
        _require_Values(formula, variables)
        asked = [(v,) for v in used] + [used]
        scalings = tuple(
            within(
                QUESTION,
                lambda names=names: _decide(formula, variables, names),
                Scaling(names, None, None, Verdict.undecided, too_long(QUESTION)),
            )
            for names in asked
        )
    return Gate(text.strip(), read.expression, variables, scalings, domains, told)


def _parameters(
    formula: Formula, variables: Sequence[sympy.Symbol], seed: int
) -> dict[sympy.Symbol, Fraction]:
    by_name = {d.name: d for d in formula.domains}
    free = sorted(formula.expression.free_symbols - set(variables), key=lambda s: s.name)
    return {s: by_name[s.name].samples(seed + 3 * i) for i, s in enumerate(free)}


def _require_Values(formula: Formula, variables: Sequence[sympy.Symbol]) -> None:
    """Raise ExpressionError where in some orthant certainly no point has a real value."""
    values = _parameters(formula, variables, 0)
    for signs in itertools.product((1, -1), repeat=len(variables)):
        point = tuple(s * Fraction(k + 3, 2) for k, s in enumerate(signs))
        try:
            ball.enclose(formula.expression, {**values, **dict(zip(variables, point, strict=True))})
        except ball.NotReal:
            where = ", ".join(f"{v} = {p}" for v, p in zip(variables, point, strict=True))
            raise ExpressionError(
                f"{formula.text} has no real value at {where}", "use abs(...), cbrt(...) or a Piecewise"
            ) from None


def _decide(formula: Formula, variables: tuple[sympy.Symbol, ...], names: tuple[str, ...]) -> Scaling:
    """The cheap rules, the refuter, then the rules orthant by orthant."""
    asked = [v.name in names for v in variables]
    found = within(ATTEMPT, lambda: _at_once(formula.expression, variables, asked), None)
    if found is None:
        witness = within(ATTEMPT, lambda: _refute(formula, variables, asked), None)
        if witness is not None:
            why = "ball arithmetic: the enclosures of the two products are disjoint"
            return Scaling(names, None, witness, Verdict.certified, why)
        found = within(ATTEMPT, lambda: _by_orthants(formula.expression, variables, asked), None)
    if found is None:
        why = "no rule applies, and no sampled points refute it"
        return Scaling(names, None, None, Verdict.undecided, why)
    degree, how = found
    count = _overlaps(formula, variables, asked, degree)
    if count < 0:
        why = "the two ways of deciding it disagree; please report this formula"
        return Scaling(names, None, None, Verdict.undecided, why)
    why = f"sympy: {how}; ball arithmetic: enclosures overlap at {count} random points"
    return Scaling(names, degree, None, Verdict.proved, why)


def _at_once(
    expr: sympy.Expr, variables: tuple[sympy.Symbol, ...], asked: Sequence[bool]
) -> tuple[sympy.Expr, str] | None:
    """With x = t·x the function is a·t^d for t > 0, a in the arguments themselves, d in none of them."""
    moved = {v: T * v for v, moves in zip(variables, asked, strict=True) if moves}
    found = half_line(expr.subs(moved, simultaneous=True), thorough=False)
    if found is None or found[0][0] == 0 or found[0][1].has(*variables):
        return None
    return found[0][1], f"{found[1]}, with the arguments multiplied by t > 0"


def _by_orthants(
    expr: sympy.Expr, variables: tuple[sympy.Symbol, ...], asked: Sequence[bool]
) -> tuple[sympy.Expr, str] | None:
    """The same for each choice of signs, 0 among them; one degree must fit all.

    Where an argument is 0 there may be no value (x/y), and then nothing is asked.
    """
    degree: sympy.Expr | None = None
    for signs in itertools.product((1, -1, 0), repeat=len(variables)):
        sizes = [sympy.Dummy(v.name, positive=True) for v in variables]
        point = {
            v: s * size * (T if moves else 1)
            for v, s, size, moves in zip(variables, signs, sizes, asked, strict=True)
        }
        there = expr.subs(point, simultaneous=True)
        if there.has(sympy.nan, sympy.zoo, sympy.oo):
            if 0 in signs:
                continue
            return None
        found = half_line(there)
        if found is None or found[0][1].has(*sizes):
            return None
        if found[0][0] == 0:
            continue
        if degree is not None and not equal(degree, found[0][1]):
            return None
        degree = found[0][1]
    return (sympy.S.One if degree is None else degree), "rules, for each choice of signs"


def _moved(point: Vector, asked: Sequence[bool], scale: Fraction) -> Vector:
    return tuple(scale * p if moves else p for p, moves in zip(point, asked, strict=True))


class _Values:
    """Values of f at points, each computed once; None where there is none, or too little is certain."""

    def __init__(
        self, expr: sympy.Expr, variables: Sequence[sympy.Symbol], known: Mapping[sympy.Symbol, Fraction]
    ) -> None:
        self.expr, self.variables, self.known = expr, variables, known
        self.seen: dict[Vector, arb | None] = {}

    def __call__(self, point: Vector) -> arb | None:
        if point not in self.seen:
            self.seen[point] = self._compute(point)
        return self.seen[point]

    def _compute(self, point: Vector) -> arb | None:
        try:
            value = ball.sharp(
                self.expr, {**self.known, **dict(zip(self.variables, point, strict=True))}, 100
            )
        except (ball.NotReal, ball.Unknown):
            return None
        return value if value.is_zero() or value.rel_accuracy_bits() >= 40 else None


def _points(expr: sympy.Expr, count: int) -> Iterator[Vector]:
    """Simple points of every orthant first, then points that straddle the constants of the formula."""
    constants = sorted({abs(Fraction(int(r.p), int(r.q))) for r in expr.atoms(sympy.Rational) if r != 0})
    sizes = [*_SIMPLE, *(c * f for c in reversed(constants) for f in (2, Fraction(1, 2), Fraction(6, 5)))]
    sizes = list(dict.fromkeys(sizes))
    signs = list(itertools.product((1, -1), repeat=count))
    rng = np.random.default_rng(20240607)
    seen: set[Vector] = set()
    for k in range(_POINTS):
        top = len(_SIMPLE) if k < _POINTS // 2 else len(sizes)
        chosen = [sizes[i] for i in rng.integers(0, top, count)] if k >= len(signs) else [Fraction(1)] * count
        if k % 16 == 15:
            chosen[int(rng.integers(count))] = Fraction(0)
        point = tuple(s * size for s, size in zip(signs[k % len(signs)], chosen, strict=True))
        if point not in seen:
            seen.add(point)
            yield point


def _refute(
    formula: Formula, variables: tuple[sympy.Symbol, ...], asked: Sequence[bool]
) -> GateWitness | None:
    for seed in range(SEEDS):
        known = _parameters(formula, variables, seed)
        witness = _refuted_at(formula, variables, asked, known)
        if witness is not None or not known:
            return witness
    return None


def _refuted_at(
    formula: Formula,
    variables: tuple[sympy.Symbol, ...],
    asked: Sequence[bool],
    known: dict[sympy.Symbol, Fraction],
) -> GateWitness | None:
    fixed = formula.expression.subs({s: sympy.Rational(v.numerator, v.denominator) for s, v in known.items()})
    f = _Values(fixed, variables, {})
    points = tuple(_points(fixed, len(variables)))
    references = _references(points, f)
    for first in references:
        for scale in _SCALES:
            for second in points:
                values = f(first), f(second), f(_moved(first, asked, scale)), f(_moved(second, asked, scale))
                f1, f2, g1, g2 = values
                if f1 is None or f2 is None or g1 is None or g2 is None:
                    continue
                with ctx.workprec(256):
                    apart = not (g1 * f2).overlaps(g2 * f1)
                if apart:
                    sentence = _sentence(first, second, asked, scale, (f1, f2, g1, g2))
                    at = tuple(sorted((s.name, v) for s, v in known.items()))
                    where = f" (shown at {', '.join(f'{n}={v}' for n, v in at)} only)" if at else ""
                    return GateWitness(first, second, scale, sentence + where, at)
    return None


def _references(points: Sequence[Vector], f: _Values) -> tuple[Vector, ...]:
    """Up to two points of each orthant at which f is certainly not 0."""
    found: dict[tuple[bool, ...], list[Vector]] = {}
    for point in points:
        bucket = found.setdefault(tuple(p >= 0 for p in point), [])
        value = f(point) if len(bucket) < 2 else None
        if value is not None and not value.contains(0):
            bucket.append(point)
    return tuple(point for bucket in found.values() for point in bucket)


def _sentence(
    first: Vector, second: Vector, asked: Sequence[bool], scale: Fraction, values: tuple[arb, arb, arb, arb]
) -> str:
    f1, f2, g1, g2 = values

    def name(point: Vector) -> str:
        return f"f({', '.join(str(p) for p in point)})"

    moved = name(_moved(first, asked, scale)), name(_moved(second, asked, scale))
    if f1.is_zero() or f2.is_zero():
        return (
            f"{moved[0]}·{name(second)} = {ball.show(g1)}·{ball.show(f2)} but "
            f"{moved[1]}·{name(first)} = {ball.show(g2)}·{ball.show(f1)}: no single factor G({scale})"
        )
    quotients = g1 / f1, g2 / f2
    digits = next((n for n in range(6, 40, 4) if len({ball.show(q, n) for q in quotients}) == 2), 40)
    one, two = (ball.show(q, digits) for q in quotients)
    return (
        f"{moved[0]}/{name(first)} = {one} but {moved[1]}/{name(second)} = {two}: no single factor G({scale})"
    )


def _overlaps(
    formula: Formula, variables: tuple[sympy.Symbol, ...], asked: Sequence[bool], degree: sympy.Expr
) -> int:
    """At how many random points f(λ·) and λ^c f overlap; -1 where at one of them they do not."""
    rng = np.random.default_rng(20240607)
    count = 0
    for seed in range(SEEDS):
        known = _parameters(formula, variables, seed)
        for signs in itertools.product((1, -1), repeat=len(variables)):
            point = tuple(s * Fraction(int(rng.integers(1, 400)), int(rng.integers(1, 40))) for s in signs)
            scale = Fraction(int(rng.integers(1, 400)), int(rng.integers(1, 40)))
            try:
                moved, plain = (
                    ball.enclose(formula.expression, {**known, **dict(zip(variables, p, strict=True))}, 256)
                    for p in (_moved(point, asked, scale), point)
                )
                factor = ball.enclose(T**degree, {**known, T: scale}, 256)
            except (ball.NotReal, ball.Unknown):
                return -1
            if not (moved.is_finite() and plain.is_finite() and moved.overlaps(factor * plain)):
                return -1
            count += 1
    return count
