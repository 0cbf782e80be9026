"""[B] Section 5: other schedules of balancing, and several units at once."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain as joined

import numpy as np
import sympy
from scipy import optimize, sparse

from balproof.balance.descent import stochastic
from balproof.balance.direct import direct
from balproof.balance.existence import is_direction
from balproof.balance.problem import BalanceProblem
from balproof.balance.steps import columns_of, step
from balproof.network.graph import Network
from balproof.theorems.b_convergence import all_at_once, networks
from balproof.theorems.b_convex import bridge_direction
from balproof.theorems.b_lemmas import (
    PAPER,
    by_z3,
    exponential_above_tangent,
    near,
    printed_false,
    twin,
    vanishes,
)
from balproof.theorems.b_order import shrinking_fails
from balproof.theorems.instances import (
    chain,
    counterexample,
    enclose_balanced,
    layered,
    random_layered,
    random_recurrent,
)
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray

_P = sympy.Symbol("p", positive=True)
_C = sympy.Symbol("c", positive=True)
_I, _J = sympy.symbols("i j", integer=True)
_N = sympy.Symbol("n", integer=True, positive=True)


# --- schedules ----------------------------------------------------------------------------------------


def schedules(n: int, sweeps: int) -> dict[str, list[int]]:
    """Deterministic, partial and uneven orders of n units, each unit in each of the sweeps."""
    half = n // 2
    return {
        "backwards": list(range(n))[::-1] * sweeps,
        "to and fro": [*range(n), *reversed(range(n))] * sweeps,
        "one half ten times, then the other": [*(list(range(half)) * 10), *(list(range(half, n)) * 10)]
        * sweeps,
        "the first unit between any two": list(joined.from_iterable((0, k) for k in range(n))) * sweeps,
    }


def _schedules_agree() -> bool:
    """Four networks, four schedules: each ends at the one balanced state within 1e-10, by Krawczyk's test."""
    for network, power in networks():
        problem = BalanceProblem.build(network, power)
        for order in schedules(problem.count, 150).values():
            if not enclose_balanced(problem, stochastic(problem, order).h, 1e-10):
                return False
    return True


def tied_pair() -> tuple[Fraction, Fraction]:
    """tied_layer.json, Σw²: the least R with one scale for both units, and with one each, from the weights.

    Both optima have rational square roots: R_tied = 2√(ΣA·ΣB), R* = Σ2√(A_iB_i).
    """
    network = counterexample("tied_layer")
    incoming = [Fraction(float(x)) ** 2 for x in network.numbers("W0").ravel()]
    outgoing = [Fraction(float(x)) ** 2 for x in network.numbers("W1").ravel()]
    return 2 * _root(sum(incoming) * sum(outgoing)), sum(
        (2 * _root(a * b) for a, b in zip(incoming, outgoing, strict=True)), Fraction(0)
    )


def _root(x: Fraction | int) -> Fraction:
    """√x of the square of a rational."""
    root = sympy.sqrt(sympy.Rational(Fraction(x).numerator, Fraction(x).denominator))
    assert root.is_Rational, "no square"
    return Fraction(int(root.p), int(root.q))


def excess(a: sympy.Expr, b: sympy.Expr, other_a: sympy.Expr, other_b: sympy.Expr) -> sympy.Expr:
    """What the pair i, j adds to (Σa²)(Σb²) − (Σab)², twice."""
    return (a * other_b - other_a * b) ** 2


def _lagrange() -> bool:
    """One layer of any size, a² = IN, b² = OUT: R_tied²/4 − R*²/4 = ½ΣΣ(a_i b_j − a_j b_i)².

    The double sums of a term and of the term with i and j exchanged are equal, so the summands may be
    compared after adding their mirror images.
    """
    a, b = sympy.IndexedBase("a", positive=True), sympy.IndexedBase("b", positive=True)
    term = a[_I] ** 2 * b[_J] ** 2 - a[_I] * b[_I] * a[_J] * b[_J]
    mirrored = term.subs({_I: _J, _J: _I}, simultaneous=True)
    A, B, s = sympy.symbols("A B s", positive=True)
    best = sympy.sqrt(B / A)  # of one shared s = λ^p: A·s + B/s, A = Σa², B = Σb²
    least = vanishes(A * best + B / best - 2 * sympy.sqrt(A * B), (A * s + B / s - 2 * sympy.sqrt(A * B)) * s
                     - (sympy.sqrt(A) * s - sympy.sqrt(B)) ** 2)  # fmt: skip
    return least and vanishes(term + mirrored - excess(a[_I], b[_I], a[_J], b[_J]))


def _tied_queries() -> list[list[sympy.Basic]]:
    """Two units: R_tied ≥ R*, with equality exactly for A₁/B₁ = A₂/B₂; roots of the costs as variables."""
    a, b, d, e = sympy.symbols("a b d e", positive=True)
    tied, free = (a**2 + d**2) * (b**2 + e**2), (a * b + d * e) ** 2
    return [
        [tied < free],
        [sympy.Eq(tied, free), sympy.Ne(a * e, d * b)],
        [sympy.Eq(a * e, d * b), sympy.Ne(tied, free)],
    ]


def tied_minimum(problem: BalanceProblem, groups: Sequence[int]) -> tuple[float, Array]:
    """The least F with one log-scale for each group of units, by SciPy, and its h."""
    spread = np.eye(max(groups) + 1)[list(groups)]

    def value(s: Array) -> tuple[float, Array]:
        h = spread @ s
        return problem.cost(h), spread.T @ problem.gradient(h)

    found = optimize.minimize(
        value, np.zeros(spread.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-10}
    )
    return float(found.fun), spread @ found.x


def _tied_numeric() -> bool:
    """SciPy: R_tied of layers is above R* for a random 2-3-2-2, equal after balancing it (the tied optimum
    is then
    h = 0), and 10 against 8 for tied_layer.json."""
    problem = BalanceProblem.build(random_layered((2, 3, 2, 2), 4), "l2")
    groups = [0, 0, 0, 1, 1]
    h = direct(problem).h
    balanced = problem.rescaled(h)
    tied, _h = tied_minimum(problem, groups)
    reached, still = tied_minimum(balanced, groups)
    small, _h = tied_minimum(BalanceProblem.build(counterexample("tied_layer"), "l2"), [0, 0])
    return (
        tied > 1.001 * problem.cost(h)
        and near(reached, problem.cost(h), 1e-9)
        and float(np.max(np.abs(still))) < 1e-6
        and near(small, 10.0, 1e-9)
    )


def never_visited() -> tuple[bool, float]:
    """x→u→v→y with |w| 1, 1, 16 and only u in the schedule: whether the weights stay, and v's IN/OUT."""
    problem = BalanceProblem.build(chain([1, 1, 16]), "l1")
    w = problem.scaled(stochastic(problem, [0] * 50).h)
    return w.tolist() == [1.0, 1.0, 16.0], float(w[1] / w[2])


@claim(
    Claim(
        "B.schedules",
        "Any schedule of balancing gives the same state",
        f"{PAPER}, Remark 5.7",
        "Deterministic, tied and partial schedules end in the same balanced state as the random one.",
        "If the minimum is attained, every schedule of exact balancings of single units that returns to each "
        "unit infinitely often has the same limit. Scales tied over groups of units minimise over a "
        "subspace: $R_{tied}\\ge R^*$, with equality if and only if some tied scaling balances every unit. "
        "For a group of units with no weight in common, one $p$ and degree 1, that is "
        "$R_{tied}=2\\sqrt{\\sum A_i\\sum B_i}$, $R^*=2\\sum\\sqrt{A_iB_i}$, equal if and only if all "
        "$A_i/B_i$ are equal.",
        (
            "the minimum is attained",
            "each unit is visited infinitely often",
            "one unit at a time, balanced exactly",
            "without Coq, the convergence is that of B.stochastic-balancing, by pen and paper",
        ),
        Verdict.certified,
        ("B.stochastic-balancing", "B.strictly-convex", "B.existence"),
    )
)
def schedules_agree() -> Findings:
    """F is strictly convex in Ah: its minimiser over a subspace is the minimiser of all exactly if it lies
    there."""
    tied, free = tied_pair()
    stays, ratio = never_visited()
    rows, falling = bridge_direction()
    witness = (
        "1-2-1 (tied_layer.json), IN costs 1, 4 and OUT costs 4, 1: with one scale for both units the least "
        f"R is {tied}, with one each {free}"
    )
    return Findings(
        printed_false(
            tied > free, f"tied schedules end elsewhere. {witness}. Of partial schedules, see the twins"
        ),
        (
            timed(
                "sympy",
                "lemma proved, one layer of any size: the squares of R_tied/2 and R*/2 differ by ½ΣΣ(a_i b_j "
                "− a_j b_i)², a² = IN, b² = OUT",
                Verdict.certified,
                _lagrange,
            ),
            by_z3(
                "lemma proved, two units: R_tied ≥ R*, equal exactly where the ratios are",
                Verdict.certified,
                _tied_queries(),
            ),
            timed(
                "interval",
                "four networks (layered, degree 2, recurrent, chain): backwards, to and fro, halves ten "
                "times each, and one unit between any two end within 1e-10 of the one balanced state "
                "(Krawczyk)",
                Verdict.certified,
                _schedules_agree,
            ),
            timed(
                "sampled",
                "SciPy on layer-tied scales: above R* for a random 2-3-2-2, equal to it once balanced",
                Verdict.sampled,
                _tied_numeric,
            ),
        ),
        (
            twin("one unit at a time (tied scales instead)", tied > free, witness),
            twin(
                "each unit is visited infinitely often (a subset instead)",
                stays and ratio != 1,
                f"x→u→v→y with |w| 1, 1, 16, only u visited: nothing moves, v has IN/OUT = {ratio}",
            ),
            twin(
                "the minimum is attained",
                is_direction(rows, falling),
                "1⇄2→3⇄4: h = −1 on 3 and 4 lowers the weight 2→3 and no other, so no schedule has a limit",
            ),
            twin(
                "balanced exactly",
                shrinking_fails(),
                "one unit, IN 1, OUT 16, scaled by exp(0.1·2^(−t)): R falls each time, the limit is not "
                "balanced",
            ),
        ),
    )


# --- all at once --------------------------------------------------------------------------------------


def bound(s: sympy.Expr, t: sympy.Expr, c: sympy.Expr) -> sympy.Expr:
    """Above s·t^{−c}, the factor of a weight into a unit scaled by s = λ^p from one scaled by t."""
    return (s ** (1 + c) + c * t ** (-1 - c)) / (1 + c)


def _edge_bound() -> bool:
    """s·t^{−c} ≤ (s^{1+c} + c·t^{−1−c})/(1+c): with s = e^{u}/t the difference is, up to a positive factor,
    (e^{cu} − 1 − cu) + c(e^{−u} − 1 + u), and e^x ≥ 1 + x."""
    t = sympy.Symbol("t", positive=True)
    u = sympy.Symbol("u", real=True)
    s = sympy.exp(u) / t
    difference = bound(s, t, _C) - s * t ** (-_C)
    by_hand = (sympy.exp(_C * u) - 1 - _C * u) + _C * (sympy.exp(-u) - 1 + u)
    factor = sympy.exp(u) * t ** (-1 - _C) / (1 + _C)
    return vanishes(difference - by_hand * factor) and exponential_above_tangent()


def _bounds_add_up() -> bool:
    """The bounds of all weights add up to R: a unit with costs A = IN, B = OUT and s^{1+c} = cB/A has
    A·s^{1+c} + cB·s^{−1−c} = A + cB, as much as for s = 1, which visible and dead units have."""
    A, B = sympy.symbols("A B", positive=True)
    s = (_C * B / A) ** (1 / (1 + _C))
    mine = A * s ** (1 + _C) + _C * B * s ** (-1 - _C)
    return vanishes(mine - (A + _C * B))


def _at_once_queries() -> list[list[sympy.Basic]]:
    """x→u→v→y, degrees 1 and 2, and 1⇄2: R does not rise, and stays only where all is balanced (or s·t =
    1)."""
    a, b, d, s, t = sympy.symbols("a b d s t", positive=True)
    one = [sympy.Eq(a * s**2, b), sympy.Eq(b * t**2, d)]
    two = [sympy.Eq(a * s**3, 2 * b), sympy.Eq(b * t**3, 2 * d)]
    after_one, after_two = a * s + b * t / s + d / t, a * s + b * t / s**2 + d / t**2
    return [
        [*one, after_one > a + b + d],
        [*one, sympy.Eq(after_one, a + b + d), sympy.Ne(s, 1)],
        [*two, after_two > a + b + d],
    ]


def simultaneous_step(problem: BalanceProblem, h: Array) -> Array:
    """Every unit that moves scaled by its own λ*, all at once, by the package's own step."""
    by_column, logs = sparse.csc_array(problem.A), problem.A @ h
    change = np.zeros(problem.count)
    for k in np.flatnonzero(problem.active):
        change[k] = step(problem, logs, columns_of(problem, np.array([k]), by_column))[0]
    return h + change


def _cases() -> list[tuple[Network, str]]:
    """One common degree each: 1 (layered with biases, recurrent with inputs and loops) and 2."""
    return [
        (random_layered((2, 4, 3, 2), 21), "l2"),
        (random_recurrent(5, 22), "l1"),
        (layered([[[1, 2], [3, -1]], [[2, 1], [1, "1/2"]], [[1, 5]]], "Max(x,0)**2"), "l2"),
    ]


def _never_rises() -> bool:
    """Each case: R falls at each of 40 simultaneous steps from a random start, until rounding hides it."""
    for network, power in _cases():
        problem = BalanceProblem.build(network, power)
        h = np.random.default_rng(5).standard_normal(problem.count)
        values = [problem.cost(h)]
        for _ in range(40):
            h = simultaneous_step(problem, h)
            values.append(problem.cost(h))
        if np.max(np.diff(values)) > 1e-13 * values[0] or values[5] >= values[0]:
            return False
    return True


def _balances() -> bool:
    """Each case: after 3,000 simultaneous steps Krawczyk's test encloses the balanced state within 1e-10."""
    for network, power in _cases():
        problem = BalanceProblem.build(network, power)
        h = np.zeros(problem.count)
        for _ in range(3000):
            h = simultaneous_step(problem, h)
            if problem.imbalance(h) < 1e-14:
                break
        if not enclose_balanced(problem, h, 1e-10):
            return False
    return True


def _disjoint_at_once() -> bool:
    """The units of one layer have no weight in common: at once and in two orders, bit for bit the same."""
    problem = BalanceProblem.build(layered([[[1], [9]], [[4, 1]]]), "l1")
    at_once = simultaneous_step(problem, np.zeros(2))
    orders = [stochastic(problem, order).h for order in ([0, 1], [1, 0])]
    return all(np.array_equal(at_once, h) for h in orders) and not np.array_equal(at_once, np.zeros(2))


def exact_chain_step(m: int) -> tuple[Fraction, Fraction]:
    """x→u→v→y with |w| 1, 2^{−m}, 1 and degrees 2 and 1, m = 4 mod 6: R before, and after both at once.

    λ_u³ = 2·2^{−m}, λ_v² = 2^m, both powers of two.
    """
    b = Fraction(1, 2**m)
    u, v = Fraction(1, 2 ** ((m - 1) // 3)), Fraction(2 ** (m // 2))
    assert u**3 == 2 * b and v**2 * b == 1, "m = 4 mod 6"
    return 2 + b, u + b * v / u**2 + 1 / v


def mixed_degrees() -> tuple[float, float]:
    """mixed_degrees.json, Σ|w|: R before and after both units at once, by the package's step."""
    problem = BalanceProblem.build(counterexample("mixed_degrees"), "l1")
    return problem.cost(np.zeros(2)), problem.cost(simultaneous_step(problem, np.zeros(2)))


def two_cycle() -> list[list[float]]:
    """two_cycle.json, Σ|w|: the two weights after 0, 1 and 2 simultaneous steps, by the package's step."""
    problem = BalanceProblem.build(counterexample("two_cycle"), "l1")
    h, seen = np.zeros(problem.count), []
    for _ in range(3):
        seen.append([round(float(x), 12) for x in problem.scaled(h)])
        h = simultaneous_step(problem, h)
    return seen


def mixed_powers() -> tuple[Fraction, Fraction]:
    """x→u→v→y, costs |w|, w², |w| with weights 1, b = 1/32, 1: R before, and after both at once.

    u: λ = 2b²/λ², so λ³ = 2b²; v: 2b²λ² = 1/λ, so λ³ = 1/(2b²).
    """
    u = Fraction(1, 8)
    b2 = u**3 / 2
    v = 1 / u
    return 2 + b2, u + b2 * (v / u) ** 2 + 1 / v


@claim(
    Claim(
        "B.simultaneous",
        "Balancing several units at once",
        f"{PAPER}, Section 5 (implied)",
        "Several units may be balanced at the same time.",
        "Units with no weight in common may be balanced at once, with the same result as one after the "
        "other. If all units have one degree $c>0$, all weights one $p$, and each unit is scaled at once by "
        "its own $\\lambda^*$ (dead and visible units by 1), then $R$ does not rise: for $s=\\lambda^{*p}$ "
        "each factor is $s_is_j^{-c}\\le(s_i^{1+c}+c\\,s_j^{-1-c})/(1+c)$, and the bounds add up to $R$. "
        "Equality holds if and only if $s_is_j=1$ along every weight but self-loops; if each component has a "
        "visible unit, only at balance.",
        (
            "one degree c and one exponent p",
            "no self-loops unless c = 1",
            "that it does not fall for ever where components have no visible unit is not claimed",
        ),
        Verdict.proved,
        ("B.optimal-scale-lp", "B.balancings-do-not-commute"),
    )
)
def simultaneous() -> Findings:
    """Weighted arithmetic and geometric means, weight by weight; s = 1 spreads from a visible unit along s·t
    = 1."""
    before, after = exact_chain_step(40)
    measured = mixed_degrees()
    rises = after > 32 and near(measured[0], float(before), 1e-12) and near(measured[1], float(after), 1e-9)
    swaps = two_cycle() == [[4, 1], [1, 4], [4, 1]] and all_at_once((Fraction(4), Fraction(1))) == (1, 4)
    power_before, power_after = mixed_powers()
    mixed = (
        f"x→u→v→y with |w| 1, 2^(−40), 1 and degrees 2, 1 (mixed_degrees.json): both at once take R from "
        f"{float(before):.4g} to {float(after):.6g}; with 2^(−m), m = 4 mod 6, it grows without bound"
    )
    return Findings(
        printed_false(
            rises and swaps, f"not with several degrees: {mixed}. And it need not converge: see the twins"
        ),
        (
            timed(
                "sympy",
                "any c > 0: the bound on s·t^{−c} is e^x ≥ 1 + x twice, equal only for s·t = 1; each unit's "
                "share of the bounds is A + cB, what it is for s = 1, so that they add up to (1+c)R over 1+c",
                Verdict.proved,
                lambda: _edge_bound() and _bounds_add_up(),
            ),
            by_z3(
                "x→u→v→y, degrees 1 and 2, all costs: R does not rise; for degree 1 it stays only at balance",
                Verdict.certified,
                _at_once_queries(),
            ),
            timed(
                "interval",
                "layered, recurrent and degree-2 networks with visible units: simultaneous steps lead to the "
                "balanced state, enclosed within 1e-10 (Krawczyk)",
                Verdict.certified,
                _balances,
            ),
            timed(
                "sampled",
                "the same: R falls from a random start; units of one layer at once and in two orders agree "
                "bit for bit",
                Verdict.sampled,
                lambda: _never_rises() and _disjoint_at_once(),
            ),
        ),
        (
            twin("one degree", rises, mixed),
            twin(
                "one exponent p",
                power_after > power_before,
                f"x→u→v→y of degree 1 with costs |w|, w², |w|, weights 1, 1/32, 1: R goes from "
                f"{float(power_before):.4f} to {float(power_after):.4f}",
            ),
            twin(
                "a visible unit in each component (that R falls)",
                swaps,
                "1⇄2 (two_cycle.json), |w| costs (4, 1) → (1, 4) → (4, 1) …: R stays 5 for ever",
            ),
            twin(
                "no weight in common (the same result as in turn)",
                not np.allclose(*_turns()),
                "x→u→v→y with |w| costs 1, 1, 16: at once λ = (1, 4) and |w| = (1, 4, 4), v then u gives (2, "
                "2, 4)",
            ),
        ),
    )


def _turns() -> tuple[Array, Array]:
    problem = BalanceProblem.build(chain([1, 1, 16]), "l1")
    return problem.scaled(simultaneous_step(problem, np.zeros(2))), problem.scaled(
        stochastic(problem, [1, 0]).h
    )


CLAIMS: tuple[ClaimFunction, ...] = (schedules_agree, simultaneous)
