"""[S]: finite steps of the local rule: what an Euler step breaks, and which steps break nothing."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import networkx as nx
import numpy as np
import sympy

from balproof.symbolic import ball
from balproof.theorems.b_lemmas import STOCK, by_z3, exponential_above_tangent, printed_false, twin, vanishes
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.theorems.s_flow import (
    Exact,
    euler,
    exact_costs,
    exact_imbalances,
    imbalances,
    instances,
    integrate,
    ones,
)
from balproof.verdict import Verdict, timed

Array = np.ndarray

_HALF = sympy.Rational(1, 2)


def around(J: Exact, cycle: list[int]) -> Fraction:
    """The product of the weights along a cycle of units, each sending to the next.

    >>> around([[Fraction(0), Fraction(4)], [Fraction(1), Fraction(0)]], [0, 1])
    Fraction(4, 1)
    """
    value = Fraction(1)
    for sender, receiver in pairwise([*cycle, cycle[0]]):
        value *= J[receiver][sender]
    return value


def exponential(J: Array, alpha: Array, p: float, dt: float) -> Array:
    """One step by factors exp(dt(g_j − g_i)), τ = 1; it is a rescaling by h = dt·g."""
    g = imbalances(alpha * np.abs(J) ** p)
    return J * np.exp(dt * (g[None, :] - g[:, None]))


def plain(J: Array, alpha: Array, p: float, dt: float) -> Array:
    """One Euler step on J, τ = 1."""
    g = imbalances(alpha * np.abs(J) ** p)
    return J * (1 + dt * (g[None, :] - g[:, None]))


# --- cycles of any length -----------------------------------------------------------------------------


def _second_order() -> bool:
    """Π(1 + d_e·t) = 1 + s·t + ½(s² − r)t² + …, s = Σd, r = Σd²: one more factor, by induction.

    Around a cycle s = 0, because d_e = g_sender − g_receiver telescopes: what remains is 1 − ½r·t².
    """
    s, r, d, t = sympy.symbols("s r d t", real=True)
    before = 1 + s * t + _HALF * (s**2 - r) * t**2
    longer = sympy.expand(before * (1 + d * t))
    after = sympy.expand(1 + (s + d) * t + _HALF * ((s + d) ** 2 - (r + d**2)) * t**2)
    same = all(longer.coeff(t, k) == after.coeff(t, k) for k in (0, 1, 2))
    first = (1 + sympy.S.Zero).subs(t, 0) == before.subs({s: 0, r: 0})  # no factor
    a, b, c = sympy.symbols("g_a g_b g_c", real=True)
    return same and first and vanishes((a - b) + (b - c) - (a - c), (a - c).subs(c, a))


def _never_above_one() -> bool:
    """A positive factor 1 + x is e^u with x = e^u − 1 > u unless u = 0; so Σx = 0 gives Σu ≤ 0: Π ≤ 1."""
    return exponential_above_tangent()


def _factors_cancel() -> bool:
    """Π exp(t·d_e) = exp(t·Σd_e), Σd = 0; each factor is positive, and a rescaling by h + t·g."""
    a, b, c, t, J, ha, hb = sympy.symbols("g_a g_b g_c t J h_a h_b", real=True)
    pair = sympy.exp(t * (a - b)) * sympy.exp(t * (b - c)) - sympy.exp(t * (a - c))
    moved = J * sympy.exp((hb + t * b) - (ha + t * a)) - J * sympy.exp(hb - ha) * sympy.exp(t * (b - a))
    closed = sympy.exp(t * (a - c)).subs(c, a) - 1
    return vanishes(pair, moved, closed) and sympy.exp(t * (a - b)).is_positive is True


def _queries() -> list[list[sympy.Basic]]:
    """Cycles of 2 and 3 synapses with positive factors: no product above 1, and none of 1 with x ≠ 0."""
    x, y = sympy.symbols("x y", real=True)
    two, three = (1 + x) * (1 - x), (1 + x) * (1 + y) * (1 - x - y)
    positive = [1 + x > 0, 1 + y > 0, 1 - x - y > 0]
    return [
        [two > 1],
        [sympy.Eq(two, 1), sympy.Ne(x, 0)],
        [*positive, three > 1],
        [*positive, sympy.Eq(three, 1), sympy.Ne(x, 0)],
    ]


# --- instances ----------------------------------------------------------------------------------------


def _drift_exact() -> bool:
    """Every simple cycle of 8 rational networks: the product after a step of dt is a polynomial in dt, with
    the coefficients 1, 0, −½Σ(g_j − g_i)² times the product before; with small dt it is smaller."""
    t = sympy.Symbol("t")
    for J, alpha, _ in instances(91, (2, 3, 4, 4, 5, 3, 2, 4)):
        n = len(J)
        g = exact_imbalances(exact_costs(J, alpha, 2))
        dt = 1 / (2 * (1 + max(map(abs, g))) ** 2)
        after = euler(J, alpha, 2, dt)
        graph = nx.DiGraph([(j, i) for i in range(n) for j in range(n) if J[i][j]])
        for cycle in nx.simple_cycles(graph):
            ends = list(pairwise([*cycle, cycle[0]]))
            slopes = [g[sender] - g[receiver] for sender, receiver in ends]
            product = sympy.Poly(
                sympy.prod([1 + sympy.Rational(d.numerator, d.denominator) * t for d in slopes]), t
            )
            squares = sum((d * d for d in slopes), Fraction(0))
            low = [product.coeff_monomial(t**k) for k in (0, 1, 2)]
            quotient = around(after, cycle) / around(J, cycle)
            if low != [1, 0, -sympy.Rational(squares.numerator, 2 * squares.denominator)]:
                return False
            if product.eval(sympy.Rational(dt.numerator, dt.denominator)) != sympy.Rational(
                quotient.numerator, quotient.denominator
            ):
                return False
            if not (quotient < 1 if squares else quotient == 1):
                return False
    return True


def errors(step: str, dts: tuple[float, ...] = (2e-3, 1e-3, 5e-4)) -> tuple[list[float], list[float]]:
    """The error at t = 0.1 against the flow, and the relative drift of det J, for each dt: 4 units, p = 2."""
    rng = np.random.default_rng(92)
    start, alpha = rng.normal(size=(4, 4)), rng.uniform(0.5, 1.5, (4, 4))
    truth = integrate(start, alpha, 2.0, 1.0, np.array([0.0, 0.1])).J[-1]
    move = {"plain": plain, "exponential": exponential}[step]
    off, drift = list[float](), list[float]()
    for dt in dts:
        now = start
        for _ in range(round(0.1 / dt)):
            now = move(now, alpha, 2.0, dt)
        off.append(float(np.max(np.abs(now - truth))))
        drift.append(abs(float(np.linalg.det(now) / np.linalg.det(start)) - 1))
    return off, drift


def _first_order() -> bool:
    """Halving dt halves the error of both; det J drifts as much in one, by rounding alone in the other."""
    (euler_off, euler_drift), (exact_off, exact_drift) = errors("plain"), errors("exponential")
    halved = [b / a for off in (euler_off, euler_drift, exact_off) for a, b in pairwise(off)]
    return all(0.4 < v < 0.6 for v in halved) and max(exact_drift) < 1e-12 and min(euler_drift) > 1e-5


def _two_units(dt: Fraction) -> Exact:
    """One Euler step of the network of the file, p = 2, g = (15, −15): factors 1 − 30dt and 1 + 30dt."""
    J = [[Fraction(v) for v in row] for row in counterexample("euler_step").numbers("J").tolist()]
    return euler(J, ones(2), 2, dt)


def _exponential_overshoots() -> bool:
    """Factors e^{−3} and e^{3} (dt = 0.1): the cost (4e^{−3})² + (e^{3})² is above 17."""
    return bool(ball.enclose(16 * sympy.exp(-6) + sympy.exp(6) - 17, {}) > 0)


@claim(
    Claim(
        "S.euler",
        "Euler steps of the rule",
        f"{STOCK}, the authors' code",
        "Euler steps on J approximate the flow and keep what it keeps.",
        r"A step of size $dt$ multiplies $J_{ij}$ by $1+x_{ij}$, $x_{ij}=dt\,(g_j-g_i)/\tau$; around each "
        r"cycle $\sum x=0$. So the product of a cycle is multiplied by $\prod(1+x)=1-\frac12\sum "
        r"x^2$ but for terms in $dt^3$; while the factors along it are positive it shrinks, "
        r"strictly unless $g$ is constant on the cycle. A factor is 0 at $x=-1$ and turns a sign below. "
        r"Steps on $h$, or factors $e^{x_{ij}}$, are rescalings: for every $dt$ they keep signs and cycle "
        r"products. Over a fixed time both have an error of first order in $dt$, and for large $dt$ both "
        r"can raise the cost.",
        ("the order of the error is measured; that of Euler's method on a smooth field is cited",),
        Verdict.proved,
        ("S.gradient-flow", "S.conserved"),
    )
)
def euler_steps() -> Findings:
    """Around a cycle the first order telescopes; the second is −½ of a sum of squares."""
    small, large, edge = (
        _two_units(Fraction(1, 100)),
        _two_units(Fraction(1, 10)),
        _two_units(Fraction(1, 30)),
    )
    products = [around(J, [0, 1]) for J in (small, large)]
    return Findings(
        printed_false(
            products[0] == Fraction(91, 25) and large[0][1] == -8,
            "J = (0 4; 1 0), p = 2 (counterexamples/euler_step.json): a step of 0.01 takes the product of "
            "the cycle from 4 to 3.64, one of 0.1 makes J₁₂ = −8; that the steps approximate the flow holds",
        ),
        (
            timed(
                "sympy",
                "cycles of any length, by induction: Π(1 + d_e·t) = 1 + Σd·t + ½((Σd)² − Σd²)t² + …, and Σd "
                "= 0 by telescoping; e^u − 1 > u for u ≠ 0, so positive factors with Σx = 0 multiply to "
                "less than 1; Π exp(t·d_e) = 1, and factors exp(t(g_j − g_i)) are the rescaling by h + t·g",
                Verdict.proved,
                lambda: _second_order() and _never_above_one() and _factors_cancel(),
            ),
            by_z3(
                "cycles of 2 and 3 synapses: positive factors 1 + x with Σx = 0 never multiply to more than "
                "1, and to 1 only for x = 0",
                Verdict.certified,
                _queries(),
            ),
            timed(
                "exact",
                "all simple cycles of 8 rational networks of 2 to 5 units: the coefficients 1, 0, −½Σ(g_j − "
                "g_i)² of dt, and the product after a small step, which is smaller",
                Verdict.certified,
                _drift_exact,
            ),
            timed(
                "sampled",
                "4 units, p = 2, up to t = 0.1: halving dt halves the error of both steps and Euler's drift "
                "of det J; with exponential factors det J stays to 1e-12",
                Verdict.sampled,
                _first_order,
            ),
        ),
        (
            twin(
                "factors e^x, for the cycle products (1 + x instead)",
                products[0] == Fraction(91, 25),
                "J = (0 4; 1 0), p = 2: an Euler step of 0.01 takes the product from 4 to 91/25 = 3.64",
            ),
            twin(
                "x > −1, for the signs",
                large == [[0, -8], [4, 0]] and edge == [[0, 0], [2, 0]],
                "the same with a step of 0.1: J₁₂ goes from 4 to −8; with 1/30 the synapse is 0 from then on",
            ),
            twin(
                "positive factors, for a product that shrinks",
                abs(products[1]) == 32,
                "the same with a step of 0.1: the product goes from 4 to −32",
            ),
            twin(
                "cycle products (the cost instead)",
                _exponential_overshoots(),
                "the same with factors e^{−3} and e^{3} (dt = 0.1): the product stays 4, the cost rises "
                "from 17 to above 400",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (euler_steps,)
