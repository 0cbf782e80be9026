r"""Costs that are no sum over single weights: norms of the groups of a unit, and the largest weight.

``group:p,q`` is Σ_v (Σ_{w into v} |w|^p)^{q/p}: the weights into each unit are one group (group:2,1 is the
group lasso L_{2,1}, group:2,2 is l2).  A unit's own group scales as a whole, by λ; what goes out of it lies
in the groups of other units, each with other weights in it that stay:

    R(λ) = A^{q/p} λ^q + Σ_j (S_j + s_j λ^{-cp})^{q/p},

A = Σ_IN |w|^p, s_j = Σ |w|^p of the weights out that lie in group j, S_j of the other weights of group j.
So λ* is an equation, closed where p = q, and where the groups j hold nothing else.  In log λ each term is
the exponential of a convex function, and R strictly convex: one λ*.

``max`` is the largest of all the weights of the unit, the limit of L_p for p → ∞: λ* makes the largest
weight in as large as the largest out (cross-layer equalization: Nagel et al., ICCV 2019).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import sympy
from flint import arb, ctx, fmpq

from balproof.errors import RegularizerError, RequestError
from balproof.symbolic import ball
from balproof.symbolic.assumptions import Domain
from balproof.symbolic.closed import LAMBDA, descartes, factor_text, power_tex, tex
from balproof.symbolic.limits import ATTEMPT, shown, vanishes, within
from balproof.symbolic.parser import parse_formula
from balproof.symbolic.root import Number, Root, exact_sizes, log_root
from balproof.symbolic.steps import Step
from balproof.verdict import Check, Verdict

_A = sympy.Symbol("A", positive=True)
_B = sympy.Symbol("B", positive=True)
_LAMBDA = r"\lambda"
_IN, _OUT = sympy.Symbol("r_in", positive=True), sympy.Symbol("r_out", positive=True)


@dataclass(frozen=True)
class Norm:
    """``group:p,q`` or ``max``.

    >>> Norm.parse("group:2,1").name, Norm.parse("max").kind
    ('group:2,1', 'max')
    """

    kind: Literal["group", "max"]
    name: str
    p: sympy.Expr
    q: sympy.Expr
    domains: tuple[Domain, ...] = ()
    assumptions: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str, assumptions: Sequence[str] = ()) -> Norm:
        """Read ``group:P,Q`` with P, Q > 0, numbers or symbols, or ``max``.

        Raises RegularizerError for anything else, ExpressionError for exponents that cannot be read.
        """
        return _parse(text.strip(), tuple(assumptions))

    @functools.cached_property
    def checks(self) -> dict[str, Check]:
        """The four conditions, of the cost as a function of one weight of several."""
        if self.kind == "max":
            flat = "max(1, 3) = max(2, 3)"
            sizes = Check(True, "exact", Verdict.proved, "by definition: sizes alone count")
            no = Check(False, "exact", Verdict.certified, "a weight below the largest does not count", flat)
            far = Check(True, "exact", Verdict.proved, "it is at least the size of each weight")
            return {"even": sizes, "increasing": no, "log_convex": no, "coercive": far}
        proved = proofs()
        return {
            "even": Check(True, "exact", Verdict.proved, "by definition: sizes alone count"),
            "increasing": _check(proved.rises, "its derivative is positive"),
            "log_convex": _check(proved.convex, "the exponential of log-sum-exp, which is convex"),
            "coercive": Check(True, "exact", Verdict.proved, "it is at least |w|^q"),
        }

    def as_json(self) -> dict[str, object]:
        """The field ``regularizer`` of ``derive``'s answer."""
        free = sorted((self.p.free_symbols | self.q.free_symbols), key=str)
        return {
            "text": self.name,
            "kind": self.kind,
            "exponents": None if self.kind == "max" else [str(self.p), str(self.q)],
            **{key: check.holds for key, check in self.checks.items()},
            "parameters": [str(s) for s in free],
            "assumptions": list(self.assumptions),
            "details": {key: check.as_json() for key, check in self.checks.items()},
        }


def _same(left: sympy.Expr, right: sympy.Expr) -> bool:
    """Whether two products of powers are shown to be the same."""
    return shown(lambda: vanishes(sympy.powsimp(sympy.expand_power_base(left / right)) - 1))


def _check(holds: bool, why: str) -> Check:
    return Check(holds or None, "sympy", Verdict.proved if holds else Verdict.undecided, why)


def is_norm(text: str) -> bool:
    """Whether a text is the name of a norm of groups.

    >>> is_norm("group:2,1"), is_norm("Max"), is_norm("Max(abs(w), w**2)")
    (True, True, False)
    """
    return text.strip().lower() == "max" or text.strip().lower().startswith("group:")


@functools.lru_cache(maxsize=64)
def _parse(text: str, assumptions: tuple[str, ...]) -> Norm:
    if text.lower() == "max":
        return Norm("max", "max", sympy.oo, sympy.S.One)
    parts = text[6:].split(",") if text.lower().startswith("group:") else []
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise RegularizerError(f"{text[:40]!r} is no norm of groups", "write group:P,Q, as group:2,1, or max")
    read = [parse_formula(part, "w", assumptions, positive_parameters=True) for part in parts]
    p, q = (formula.expression for formula in read)
    if any(e.has(sympy.Symbol("w", real=True)) or not e.is_positive for e in (p, q)):
        raise RegularizerError(
            f"{text[:40]!r} needs exponents P > 0 and Q > 0", "write for example group:2,1"
        )
    domains = {d.name: d for formula in read for d in formula.domains}
    told = dict.fromkeys(a for formula in read for a in formula.assumptions)
    return Norm("group", text, p, q, tuple(domains.values()), tuple(told))


@dataclass(frozen=True)
class NormScale:
    """What was derived of λ*; the fields are those of ``OptimalScale``."""

    steps: tuple[Step, ...]
    unique: Check
    equation: sympy.Eq
    equation_latex: str
    balance_equation: str
    balance_latex: str
    definitions: tuple[str, ...]
    definitions_latex: tuple[str, ...]
    closed_form: sympy.Expr | None = None
    closed_latex: str | None = None
    gain: sympy.Expr | None = None
    gain_latex: str | None = None
    assumptions: tuple[str, ...] = ()


def norm_scale(norm: Norm, c: sympy.Expr) -> NormScale:
    """λ* of a unit of degree c > 0.

    >>> norm_scale(Norm.parse("max"), sympy.S.One).closed_form
    sqrt(r_out)/sqrt(r_in)
    """
    return _largest(c) if norm.kind == "max" else _groups(norm, c)


# --- the largest weight -----------------------------------------------------------------------------------


def _largest(c: sympy.Expr) -> NormScale:
    closed = (_OUT / _IN) ** (1 / (1 + c))
    equation = sympy.Eq(LAMBDA * _IN, LAMBDA**-c * _OUT, evaluate=False)
    level = _IN ** (c / (1 + c)) * _OUT ** (1 / (1 + c))
    gain = sympy.Max(_IN, _OUT) - level
    why = "λ·r_in rises and r_out/λ^c falls, strictly: the larger of the two is least where they meet"
    falls = (LAMBDA**-c * _OUT).diff(LAMBDA).is_negative and (LAMBDA * _IN).diff(LAMBDA).is_positive
    unique = Check(falls or None, "sympy", Verdict.proved if falls else Verdict.undecided, why)
    meets = _same(closed * _IN, level) and _same(closed**-c * _OUT, level)
    ratio = r"\left(r_{\mathrm{out}}/r_{\mathrm{in}}\right)"
    tex_in, tex_out = r"\max_{\mathrm{IN}} |w|", r"\max_{\mathrm{OUT}} |w|"
    n, p = sympy.symbols("n p", positive=True)
    limit = within(ATTEMPT, lambda: sympy.limit((c * n) ** (1 / (p * (1 + c))), p, sympy.oo), None)
    steps = (
        Step(
            "at λ* the largest weight in is as large as the largest out",
            rf"\lambda^* r_{{\mathrm{{in}}}} = (\lambda^*)^{{-c}} r_{{\mathrm{{out}}}} = {_tex(level)}",
            "sympy: substituted, both sides simplify to the same",
            Verdict.proved if meets else Verdict.undecided,
            (),
            sympy.Eq(sympy.Symbol("lambda^*"), closed, evaluate=False),
        ),
        Step(
            "it is the only minimum of R, the larger of λ·r_in and r_out/λ^c",
            None,
            f"sympy: {why}",
            unique.verdict,
        ),
        Step(
            "it is the limit of the λ* of L_p for p → ∞",
            r"r^p \le \sum |w|^p \le n\,r^p",
            "sympy: (c·n)^{1/(p(1+c))} → 1, n bounding the numbers of weights",
            Verdict.proved if limit == 1 else Verdict.undecided,
        ),
        _several_states(),
    )
    return NormScale(
        steps,
        unique,
        equation,
        f"{_tex(equation.lhs)} = {_tex(equation.rhs)}",
        "max_IN |w| = max_OUT |w|",
        f"{tex_in} = {tex_out}",
        ("r_in = max_IN |w|", "r_out = max_OUT |w|"),
        (rf"$r_{{\mathrm{{in}}}} = {tex_in}$", rf"$r_{{\mathrm{{out}}}} = {tex_out}$"),
        closed_form=closed,
        closed_latex=rf"\lambda^* = {_up(ratio, 1 / (1 + c))}",
        gain=gain,
        gain_latex=_tex(gain),
    )


def _tex(expr: sympy.Basic) -> str:
    names = {_IN: r"r_{\mathrm{in}}", _OUT: r"r_{\mathrm{out}}"}
    return str(sympy.latex(expr, symbol_names=names))


Edges = dict[tuple[int, int], Fraction]


def max_balanced(edges: Edges) -> bool:
    """Whether at each node of a weighted graph the largest weight in is the largest out.

    >>> one, two = Fraction(1), Fraction(2)
    >>> max_balanced({(1, 2): two, (2, 1): two}), max_balanced({(1, 2): one, (2, 1): two})
    (True, False)
    """
    nodes = {n for edge in edges for n in edge}
    into = {n: max((w for (_, j), w in edges.items() if j == n), default=None) for n in nodes}
    outof = {n: max((w for (i, _), w in edges.items() if i == n), default=None) for n in nodes}
    return into == outof


def _several_states() -> Step:
    """Two pairs 1→2→1 and 3→4→3 of weights 1, joined by 2→3 and 4→1 of weight 1/2; 3 and 4 scaled by 3/2."""
    half, scale = Fraction(1, 2), Fraction(3, 2)
    edges: Edges = {(1, 2): Fraction(1), (2, 1): Fraction(1), (3, 4): Fraction(1), (4, 3): Fraction(1)}
    first = {**edges, (2, 3): half, (4, 1): half}
    second = {**edges, (2, 3): half * scale, (4, 1): half / scale}
    both = max_balanced(first) and max_balanced(second) and first != second
    return Step(
        "in a recurrent network the state with every unit balanced need not be the only one: 1→2→1 and 3→4→3 "
        "with weights 1, 2→3 and 4→1 with weights 1/2, or, units 3 and 4 scaled by 3/2, with 3/4 and 1/3",
        None,
        "exact arithmetic: both are balanced at every unit",
        Verdict.certified if both else Verdict.refuted,
    )


# --- groups -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proofs:
    """What was shown once for all p, q, c > 0; special exponents can take SymPy for ever."""

    derived: bool
    convex: bool
    rises: bool
    alone: bool


@functools.cache
def proofs() -> Proofs:
    """The four identities, with symbols for the exponents.

    >>> proofs()
    Proofs(derived=True, convex=True, rises=True, alone=True)
    """
    p, q, c = (sympy.Dummy(name, positive=True) for name in "pqc")
    S, s, w = (sympy.Dummy(name, positive=True) for name in "Ssw")
    own, other = _A ** (q / p) * LAMBDA**q, (S + s * LAMBDA ** (-c * p)) ** (q / p)
    left, right = _terms(p, q, c, S, s)
    derived = vanishes(LAMBDA * own.diff(LAMBDA) - q * left) and vanishes(
        LAMBDA * other.diff(LAMBDA) + c * q * right
    )
    rises = shown(lambda: sympy.factor(((S + w**p) ** (q / p)).diff(w)).is_positive is True)
    return Proofs(derived, _log_convex(p, q, c), rises, _alone(p, q, c, _alone_form(p, q, c)))


def _terms(
    p: sympy.Expr, q: sympy.Expr, c: sympy.Expr, S: sympy.Symbol, s: sympy.Symbol
) -> tuple[sympy.Expr, sympy.Expr]:
    """The unit's own term of the equation, and that of one group out."""
    falling = s * LAMBDA ** (-c * p)
    return _A ** (q / p) * LAMBDA**q, falling * (S + falling) ** (q / p - 1)


def _log_convex(p: sympy.Expr, q: sympy.Expr, c: sympy.Expr) -> bool:
    """log (S + s e^{-cpu})^{q/p} is convex in u, with the second derivative below."""
    u = sympy.Dummy("u", real=True)
    S, s = sympy.Dummy("S", positive=True), sympy.Dummy("s", positive=True)
    inner = S + s * sympy.exp(-c * p * u)
    second = (q / p) * sympy.log(inner).diff(u, 2)
    claimed = (q / p) * (c * p) ** 2 * S * s * sympy.exp(-c * p * u) / inner**2
    return vanishes(second - claimed) and claimed.is_nonnegative is True


def _alone_form(p: sympy.Expr, q: sympy.Expr, c: sympy.Expr) -> sympy.Expr:
    return (c * _B / _A ** (q / p)) ** (1 / (q * (1 + c)))


def _alone(p: sympy.Expr, q: sympy.Expr, c: sympy.Expr, closed: sympy.Expr) -> bool:
    """With S_j = 0: A^{q/p} λ^q = c B λ^{-cq}, B = Σ_j s_j^{q/p}, and the closed form solves that."""
    X = sympy.Dummy("X", positive=True)  # c·B/A^{q/p}, so that λ* = X^{1/(q(1+c))}
    s = sympy.Dummy("s", positive=True)
    scale = X ** (1 / (q * (1 + c)))
    falling = s * LAMBDA ** (-c * p)
    same = _same(falling * falling ** (q / p - 1), s ** (q / p) * LAMBDA ** (-c * q))
    given = closed.subs(_B, X * _A ** (q / p) / c)
    return same and _same(scale**q * scale ** (c * q), X) and _same(given, scale)


def _many_digits(c: sympy.Expr) -> bool:
    """Powers of such a number SymPy computes in integers of as many digits as its denominator says."""
    return c.is_Rational is True and int(c.q) > 1000


def _groups(norm: Norm, c: sympy.Expr) -> NormScale:
    p, q = norm.p, norm.q
    if vanishes(p - q):
        return _equal_exponents(p, c)
    proved = proofs()
    S, s = sympy.Symbol("S", positive=True), sympy.Symbol("s", positive=True)
    left, right = _terms(p, q, c, S, s)
    j, m = sympy.Symbol("j", integer=True), sympy.Symbol("m", integer=True, positive=True)
    bases = {S: sympy.IndexedBase("S", nonnegative=True)[j], s: sympy.IndexedBase("s", positive=True)[j]}
    equation = sympy.Eq(left, c * sympy.Sum(right.subs(bases), (j, 1, m)), evaluate=False)
    lead = "" if c == 1 else f"{tex(c)} "
    moved = rf"s_j {_up(_LAMBDA, -c * p)}"
    group = rf"\left(S_j + {moved}\right)"
    equation_latex = rf"{_up('A', q / p)} {_up(_LAMBDA, q)} = {lead}\sum_j {moved} {_up(group, q / p - 1)}"
    why = "each term is the exponential of a convex function of log λ, the unit's own of a rising one"
    unique = _check(proved.convex, why)
    polynomial = _one_group(p, q, c, S, s)
    steps = [
        Step(
            "the optimal scale makes λ·R'(λ) = 0, R(λ) = A^{q/p} λ^q + Σ_j (S_j + s_j λ^{-cp})^{q/p}",
            equation_latex,
            "sympy, for all p, q, c > 0: λ times the derivative, term by term, is the equation",
            Verdict.proved if proved.derived else Verdict.undecided,
            (),
            equation,
        ),
        Step(
            "R is strictly convex in log λ and tends to ∞ both ways, so that exactly one λ solves it",
            r"\frac{d^2}{du^2} \log\left(S + s e^{-cpu}\right) ="
            r" \frac{(cp)^2\,S s\,e^{-cpu}}{(S + s e^{-cpu})^2} \ge 0",
            "sympy, for all p, q, c > 0: the identity simplifies to 0",
            unique.verdict,
            ("some weight in and some weight out is nonzero", "no weight leads from the unit to itself"),
        ),
        *(() if _many_digits(c) else (_alone_step(p, q, c, proved.alone),)),
    ]
    if polynomial is not None:
        count = len(sympy.Add.make_args(polynomial.lhs))
        found = descartes(polynomial, count)
        steps.append(Step(f"one group out: {found.claim}", found.formula, found.checked_by, found.verdict))
    total = f"(Σ_IN |w|{_to(p)}){_to(q / p)}"
    balance = f"{total} = {factor_text(c)}Σ_OUT |w|{_to(p)}·N{_to(q - p)}"
    size = _up("|w|", p)
    whole = rf"(\sum {size})"
    total_tex = _up(rf"\left(\sum_{{\mathrm{{IN}}}} {size}\right)", q / p)
    balance_latex = rf"{total_tex} = {lead}\sum_{{\mathrm{{OUT}}}} {size} {_up('N', q - p)}"
    return NormScale(
        tuple(steps),
        unique,
        equation,
        equation_latex,
        balance,
        balance_latex,
        (
            f"A = Σ_IN |w|{_to(p)}",
            f"s_j = Σ |w|{_to(p)} of the weights out that lie in group j",
            f"S_j = Σ |w|{_to(p)} of the other weights of group j",
            f"N = (Σ |w|{_to(p)}){_to(1 / p)} of the group of w: what comes into the unit that reads w",
        ),
        (
            rf"$A = \sum_{{\mathrm{{IN}}}} {size}$",
            rf"$s_j = \sum {size}$ of the weights out that lie in group $j$",
            rf"$S_j = \sum {size}$ of the other weights of group $j$",
            rf"$N = {_up(whole, 1 / p)}$ of the whole group that $w$ lies in",
        ),
        gain_latex=(
            rf"{_up('A', q / p)}\left(1 - {_up(_LAMBDA, q)}\right)"
            rf" + \sum_j \left({_up('(S_j + s_j)', q / p)} - {_up(group, q / p)}\right)"
        ),
        assumptions=("no weight leads from the unit to itself",),
    )


def _up(base: str, exponent: sympy.Expr) -> str:
    """base^exponent in LaTeX, fractions on one line."""
    return base if exponent == 1 else f"{base}^{{{power_tex(exponent)}}}"


def _to(exponent: sympy.Expr) -> str:
    """As an exponent in text: nothing for 1."""
    plain = exponent.is_Symbol or (exponent.is_Integer and exponent > 0)
    return "" if exponent == 1 else f"^{exponent}" if plain else f"^({exponent})"


def _alone_step(p: sympy.Expr, q: sympy.Expr, c: sympy.Expr, proved: bool) -> Step:
    closed = _alone_form(p, q, c)
    return Step(
        "where no group out holds other weights, B = Σ_j s_j^{q/p}, it is closed",
        rf"\lambda^* = {tex(closed)}",
        "sympy, for all p, q, c > 0: with S_j = 0 only powers are left, and the closed form solves it",
        Verdict.proved if proved else Verdict.undecided,
        ("all S_j = 0",),
        sympy.Eq(sympy.Symbol("lambda^*"), closed, evaluate=False),
    )


def _one_group(
    p: sympy.Expr, q: sympy.Expr, c: sympy.Expr, S: sympy.Symbol, s: sympy.Symbol
) -> sympy.Eq | None:
    """One group out and q/p = k/n: both sides to the n-th power, times powers of λ; None for other numbers.

    A^k λ^{qn} (S + s λ^{-cp})^{n-k} = c^n s^n λ^{-cpn}, or with the bracket on the other side for k > n.
    """
    ratio = q / p
    if not (ratio.is_Rational and p.is_Rational and c.is_Rational) or ratio.p + ratio.q > 24:
        return None
    k, n = sympy.Integer(ratio.p), sympy.Integer(ratio.q)
    bracket = S + s * LAMBDA ** (-c * p)
    left, right = _A**k * LAMBDA ** (q * n), c**n * s**n * LAMBDA ** (-c * p * n)
    left, right = (left * bracket ** (n - k), right) if k < n else (left, right * bracket ** (k - n))
    lowest = c * p * (max(k, n))
    whole = sympy.expand(sympy.powsimp(sympy.expand((left - right) * LAMBDA**lowest)))
    return sympy.Eq(whole, 0, evaluate=False)


def _equal_exponents(p: sympy.Expr, c: sympy.Expr) -> NormScale:
    """p = q: the groups fall apart into single weights, and it is L_p."""
    closed = None if _many_digits(c) else _alone_form(p, p, c)
    solves = proofs().alone
    equation = sympy.Eq(_A * LAMBDA**p, c * _B * LAMBDA ** (-c * p), evaluate=False)
    lead = "" if c == 1 else f"{tex(c)} "
    size = rf"|w|^{{{tex(p)}}}"
    into, outof = rf"\sum_{{\mathrm{{IN}}}} {size}", rf"\sum_{{\mathrm{{OUT}}}} {size}"
    unique = _check(solves, "with p = q the cost is a sum of |w|^p, strictly convex in log λ")
    step = Step(
        "with p = q the cost is the sum of |w|^p, and the closed form of L_p solves the equation",
        None if closed is None else rf"\lambda^* = {tex(closed)}",
        "sympy, for all p, c > 0: substituted, the difference simplifies to 0",
        Verdict.proved if solves else Verdict.undecided,
        (),
        None if closed is None else sympy.Eq(sympy.Symbol("lambda^*"), closed, evaluate=False),
    )
    return NormScale(
        (step,),
        unique,
        equation,
        f"{tex(equation.lhs)} = {tex(equation.rhs)}",
        f"Σ_IN |w|{_to(p)} = {factor_text(c)}Σ_OUT |w|{_to(p)}",
        f"{into} = {lead}{outof}",
        (f"A = Σ_IN |w|{_to(p)}", f"B = Σ_OUT |w|{_to(p)}"),
        (f"$A = {into}$", f"$B = {outof}$"),
        closed_form=closed,
        closed_latex=None if closed is None else rf"\lambda^* = {tex(closed)}",
    )


def group_root(
    norm: Norm,
    degree: Fraction | int,
    in_weights: Sequence[Number],
    out_groups: Sequence[tuple[Sequence[Number], Sequence[Number]]],
    digits: int = 25,
) -> Root:
    """λ* of given weights for ``group:p,q`` as a certified rational interval.

    ``out_groups`` has, for each group that reads the unit, the unit's weights in it and the others.

    >>> float(group_root(Norm.parse("group:2,1"), 1, [1], [([4], [])], 20))  # alone: λ² = 4
    2.0

    Raises RegularizerError for ``max`` and for symbols, RequestError where one side has no nonzero weight.
    """
    if norm.kind == "max" or norm.p.free_symbols or norm.q.free_symbols:
        raise RegularizerError(f"{norm.name} has no root to compute", "give group:P,Q with numbers")
    if degree <= 0:
        raise RequestError(f"degree {degree} is not positive", "give a degree above 0")
    own = exact_sizes(in_weights)
    groups = [(exact_sizes(mine), exact_sizes(rest)) for mine, rest in out_groups]
    groups = [(mine, rest) for mine, rest in groups if mine]
    if not own or not groups:
        raise RequestError(
            f"the unit has no nonzero weight {'out' if own else 'in'}", "there is no optimal scale"
        )
    precision = 16 * digits + 512
    c = Fraction(degree)
    with ctx.workprec(precision):
        p, q = (ball.enclose(e, {}, precision) for e in (norm.p, norm.q))
        factor = arb(fmpq(c.numerator, c.denominator))

        def power_sum(sizes: Sequence[Fraction]) -> arb:
            return sum((arb(fmpq(w.numerator, w.denominator)) ** p for w in sizes), arb(0))

        A = power_sum(own) ** (q / p)
        sums = [(power_sum(mine), power_sum(rest)) for mine, rest in groups]

    def slope(u: arb) -> arb:
        down = (-factor * p * u).exp()
        out = sum((s * down * (S + s * down) ** (q / p - 1) for s, S in sums), arb(0))
        return A * (q * u).exp() - factor * out

    return log_root(slope, digits)
