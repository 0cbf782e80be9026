"""[B] Sections 4 and 5: balancing depends on the order, and balancing by less than the whole step."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import sympy
from flint import arb

from balproof.balance.descent import stochastic
from balproof.balance.existence import is_direction
from balproof.balance.problem import BalanceProblem
from balproof.balance.steps import columns_of, step
from balproof.network.graph import Network
from balproof.symbolic import ball
from balproof.theorems.b_convex import bridge_direction
from balproof.theorems.b_lemmas import (
    PAPER,
    by_z3,
    near,
    positive_beyond,
    printed_false,
    stays,
    twin,
    vanishes,
)
from balproof.theorems.b_optimal_scale import cost, optimal
from balproof.theorems.instances import chain, enclose_balanced, layered, random_layered
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

_P = sympy.Symbol("p", positive=True)
_T = sympy.Symbol("t", real=True)
_ONE = sympy.S.One

Costs = tuple[sympy.Expr, ...]


def balance_pair(costs: Costs, incoming: int, outgoing: int) -> Costs:
    """The costs after balancing a unit of degree 1 with this one incoming and this one outgoing weight."""
    scale = optimal(costs[incoming], costs[outgoing], _P, _ONE)
    after = list(costs)
    after[incoming] = costs[incoming] * scale**_P
    after[outgoing] = costs[outgoing] * scale ** (-_P)
    return tuple(sympy.powdenest(sympy.simplify(x), force=True) for x in after)


# --- order --------------------------------------------------------------------------------------------


def _chain_commutes_only_balanced() -> bool:
    """Three weights in a chain with costs a, b, c: the two orders differ by (log b − log c)/4 and (log a −
    log b)/4, and in the middle by what makes the sum 0."""
    a, b, c = costs = sympy.symbols("a b c", positive=True)
    first = balance_pair(balance_pair(costs, 0, 1), 1, 2)
    second = balance_pair(balance_pair(costs, 1, 2), 0, 1)
    logs = [
        sympy.expand_log(sympy.log(x) - sympy.log(y), force=True) for x, y in zip(first, second, strict=True)
    ]
    ends = [(sympy.log(b) - sympy.log(c)) / 4, (sympy.log(a) - sympy.log(b)) / 4]
    return vanishes(logs[0] - ends[0], logs[2] - ends[1], sum(logs, sympy.S.Zero))


def _disjoint_commute() -> bool:
    """A step puts in the place of a unit's own weights, however many, a function of these alone, and leaves
    the rest: with u the weights of the one unit, v those of the other, r the rest, the maps commute."""
    first, second = sympy.Function("F"), sympy.Function("G")

    def one(u: sympy.Expr, v: sympy.Expr, r: sympy.Expr) -> Costs:
        return first(u), v, r

    def other(u: sympy.Expr, v: sympy.Expr, r: sympy.Expr) -> Costs:
        return u, second(v), r

    start = sympy.symbols("u v r")
    return one(*other(*start)) == other(*one(*start))


def orders(costs: Sequence[int], first: tuple[int, int], second: tuple[int, int]) -> tuple[Costs, Costs]:
    """The costs after balancing two units, given as (incoming, outgoing), in one order and in the other."""
    start = tuple(sympy.Integer(x) for x in costs)
    return balance_pair(balance_pair(start, *first), *second), balance_pair(
        balance_pair(start, *second), *first
    )


def _solver_orders(network: Network) -> list[list[float]]:
    problem = BalanceProblem.build(network, "l1")
    return [problem.scaled(stochastic(problem, order).h).tolist() for order in ([0, 1], [1, 0])]


def _exact_orders() -> bool:
    """Exactly, and by the package's own steps."""
    one, other = orders((1, 1, 16), (0, 1), (1, 2))
    same, same_again = orders((1, 9, 4, 1), (0, 2), (1, 3))
    solved = _solver_orders(chain([1, 1, 16]))
    disjoint = _solver_orders(layered([[[1], [9]], [[4, 1]]]))
    return (
        (one, other) == ((1, 4, 4), (2, 2, 4))
        and same == same_again == (2, 3, 2, 3)
        and np.allclose(solved, [[1, 4, 4], [2, 2, 4]], rtol=1e-14)
        and np.array_equal(disjoint[0], disjoint[1])
        and np.allclose(disjoint[0], [2, 3, 2, 3], rtol=1e-14)
    )


@claim(
    Claim(
        "B.balancings-do-not-commute",
        "Balancing two connected units depends on the order",
        f"{PAPER}, Section 4",
        "Balancing two directly connected units gives different weights in the two orders.",
        "For $x\\to u\\to v\\to y$ with degree 1 and $L_p$ costs $a,b,c>0$ along it, balancing $u$ then $v$ "
        "and $v$ then $u$ give the same weights if and only if $a=b=c$. Balancings of two units with no "
        "weight in common commute, for any costs and degrees for which each has one optimal scale.",
        ("each unit has one optimal scale",),
        Verdict.proved,
        ("B.optimal-scale-lp",),
    )
)
def balancings_do_not_commute() -> Findings:
    """In log-costs a step is an average; the two products differ by a quarter of the two differences."""
    a, b = sympy.symbols("a b", positive=True)
    loop = zip(balance_pair((a, b), 0, 1), balance_pair((a, b), 1, 0), strict=True)
    one, other = orders((1, 1, 16), (0, 1), (1, 2))
    return Findings(
        Printed(
            Verdict.proved if vanishes(*(x - y for x, y in loop)) and one != other else Verdict.undecided,
            "in general, not always: not where both are balanced already, and not for two units joined by "
            "two weights alone (1⇄2), where either balancing gives √(ab) on both",
        ),
        (
            timed(
                "sympy",
                "for all a, b, c, p > 0 the first log-costs differ by (log b − log c)/4, the last by (log a "
                "− log b)/4, the middle ones by minus their sum: all 0 exactly for a = b = c; two steps "
                "commute if each replaces weights of its own by any function of these",
                Verdict.proved,
                lambda: _chain_commutes_only_balanced() and _disjoint_commute(),
            ),
            timed(
                "exact",
                "(1, 1, 16) becomes (1, 4, 4) or (2, 2, 4), the smallest case: two units need three "
                "weights; 1-2-1 with costs (1, 9 | 4, 1) becomes (2, 3 | 2, 3) in both orders; the "
                "package's steps agree, bit for bit where they commute",
                Verdict.certified,
                _exact_orders,
            ),
        ),
        (
            twin(
                "no weight in common",
                one != other,
                f"x→u→v→y with |w| costs (1, 1, 16): u then v gives {one}, v then u gives {other}",
            ),
            twin(
                "degree 1, for a = b = c",
                all(
                    optimal(sympy.Integer(a), sympy.Integer(b), _P, sympy.Integer(2)) == 1
                    for a, b in ((4, 2), (2, 1))
                ),
                "c = 2, costs (4, 2, 1): IN = 2·OUT at both units, so neither order changes anything",
            ),
        ),
    )


# --- less than the whole step -------------------------------------------------------------------------


def shrinking_limit() -> tuple[sympy.Expr, sympy.Expr]:
    """One unit, IN 1, OUT 16, |w|, λ_t = exp(0.1·2^{−t}) for t = 0, 1, …: the costs in the limit."""
    t = sympy.Symbol("t", integer=True, nonnegative=True)
    total = sympy.summation(sympy.Rational(1, 10) * sympy.Rational(1, 2) ** t, (t, 0, sympy.oo))
    return sympy.exp(total), 16 * sympy.exp(-total)


def shrinking_fails() -> bool:
    """R = e^s + 16e^{−s} falls strictly for s in [0, 0.2]; the limit s = 0.2 has IN < OUT, so it is not
    balanced."""
    falls = stays(16 * sympy.exp(-_T) - sympy.exp(_T), _T, Fraction(0), Fraction(1, 5))
    incoming, outgoing = (ball.enclose(x, {}) for x in shrinking_limit())
    by_hand = np.exp(np.cumsum(0.1 * 0.5 ** np.arange(60)))
    R = by_hand + 16 / by_hand
    numeric = bool(np.all(np.diff(R[:40]) < 0)) and near(by_hand[-1], float(incoming), 1e-13)
    return falls and bool(incoming < outgoing) and bool(incoming + outgoing > 8) and numeric


def share(theta: sympy.Expr) -> sympy.Expr:
    """The part of the exact step's gain that λ*^θ is sure to bring, for degree 1 and one power: θ(2 − θ)."""
    return theta * (2 - theta)


def _relaxed_share() -> bool:
    """For degree 1 the gain is 2√(AB)(cosh x − cosh rx), r = 1 − θ, and r²(cosh x − 1) ≥ cosh rx − 1.

    For |r| ≤ 1 the second derivative in x of the difference of these two is r²(cosh x − cosh rx) =
    2r²·sinh((1+r)x/2)·sinh((1−r)x/2) ≥ 0, and value and first derivative are 0 at x = 0.
    """
    A, B, x = sympy.symbols("A B x", positive=True)
    theta = sympy.Symbol("theta", real=True)
    r = 1 - theta
    best = optimal(A, B, _P, _ONE)
    log_best = sympy.log(B / A) / 2  # p·log λ*
    root = sympy.sqrt(A * B)
    reached = 2 * root * sympy.cosh(r * log_best)
    same = vanishes(
        (cost(A, B, _P, _ONE, best**theta) - reached)
        .rewrite(sympy.exp)
        .expand(power_base=True, power_exp=True),
        share(theta) - (1 - r**2),
    )
    rr = sympy.Symbol("r", real=True)
    difference = rr**2 * (sympy.cosh(x) - 1) - (sympy.cosh(rr * x) - 1)
    second = sympy.diff(difference, x, 2) - 2 * rr**2 * sympy.sinh((1 + rr) * x / 2) * sympy.sinh(
        (1 - rr) * x / 2
    )
    starts = difference.subs(x, 0) == 0 and sympy.diff(difference, x).subs(x, 0) == 0
    v = sympy.Symbol("v", positive=True)
    return same and starts and vanishes(second.rewrite(sympy.exp)) and positive_beyond(sympy.sinh(v), v, 1)


def _convex_share() -> bool:
    """For other costs each term a·e^{ks}, k ≠ 0, is convex in s, so cost(θs*) ≤ (1−θ)·cost(0) +
    θ·cost(s*)."""
    a, s = sympy.Symbol("a", positive=True), sympy.Symbol("s", real=True)
    k = sympy.Symbol("k", real=True, nonzero=True)
    return sympy.diff(a * sympy.exp(k * s), s, 2).is_positive is True


def _share_queries() -> list[list[sympy.Basic]]:
    """θ = 1/4, 1/2, 3/4, 5/4, 3/2, 7/4 with λ*^p = m⁴: A(1 + m⁸ − m^k − m^{8−k}) ≥ θ(2−θ)·A(1 − m⁴)²."""
    m = sympy.Symbol("m", positive=True)
    queries: list[list[sympy.Basic]] = []
    for k in (1, 2, 3, 5, 6, 7):
        theta = sympy.Rational(k, 4)
        gained, full = 1 + m**8 - m**k - m ** (8 - k), sympy.expand((1 - m**4) ** 2)
        queries.append([gained < share(theta) * full])
    return queries


def relaxed(
    problem: BalanceProblem, thetas: tuple[float, float], seed: int, sweeps: int
) -> tuple[np.ndarray, bool]:
    """Random units, each scaled by λ*^θ with θ random in the range; the end, and whether R never rose."""
    rng = np.random.default_rng(seed)
    by_column = problem.A.tocsc()
    parts = [columns_of(problem, np.array([k]), by_column) for k in range(problem.count)]
    h, falling = np.zeros(problem.count), True
    last = problem.cost(h)
    for _ in range(sweeps):
        for k in rng.permutation(problem.count):
            h[k] += rng.uniform(*thetas) * step(problem, problem.A @ h, parts[k])[0]
        now = problem.cost(h)
        falling, last = falling and now <= last * (1 + 1e-14), now
    return h, falling


def _relaxation_converges() -> bool:
    """Three networks, θ random in [1/4, 7/4] (degree 1) or [1/4, 1] (degree 2): the end is the certified
    optimum. (That R fell in every sweep is seen in doubles.)"""
    for network, power, thetas in (
        (random_layered((2, 3, 2, 1), 3), "l2", (0.25, 1.75)),
        (chain([1, 3, "1/2", 7]), "l1", (0.25, 1.75)),
        (layered([[[1, 2], [3, -1]], [[2, 1]]], "Max(x,0)**2"), "l2", (0.25, 1.0)),
    ):
        problem = BalanceProblem.build(network, power)
        h, falling = relaxed(problem, thetas, 0, 400)
        if not (falling and enclose_balanced(problem, h)):
            return False
    return True


def _overshoot_of_degree_two() -> tuple[bool, float]:
    """c = 2, |w|, A = 16, B = 1: λ* = 1/2; λ*^{1.9} costs more than λ = 1 did."""
    after = arb(16) * arb(2) ** (arb(-19) / 10) + arb(2) ** (arb(19) / 5)
    exact = optimal(*map(sympy.Integer, (16, 1, 1, 2))) == sympy.Rational(1, 2)
    return exact and bool(after > 17), float(after)


def _overshoot_of_mixed_powers() -> tuple[bool, float]:
    """c = 1, IN w² with cost 1, OUT |w| with cost 16: λ² + 16/λ is least at λ* = 2; λ*^{1.9} costs more than
    λ = 1."""
    s = sympy.Symbol("s", positive=True)
    least = sympy.diff(s**2 + 16 / s, s).subs(s, 2) == 0
    after = arb(2) ** (arb(19) / 5) + 16 * arb(2) ** (arb(-19) / 10)
    return least and bool(after > 17), float(after)


def _reflection() -> bool:
    """θ = 2, degree 1, |w|: λ*² = B/A swaps the two costs for ever."""
    costs = [(Fraction(1), Fraction(16))]
    for _ in range(4):
        incoming, outgoing = costs[-1]
        square = outgoing / incoming
        costs.append((incoming * square, outgoing / square))
    return costs == [(1, 16), (16, 1), (1, 16), (16, 1), (1, 16)]


@claim(
    Claim(
        "B.favorable",
        "Balancing by part of the optimal scale",
        f"{PAPER}, Remark 5.8",
        "Scalings that merely lower R, instead of minimising it, converge to the same balanced weights.",
        "Let $\\delta>0$. Scaling a unit by $\\lambda^{*\\theta}$ lowers $R$ by at least "
        "$\\theta(2-\\theta)$ times what $\\lambda^*$ would bring, for degree 1 and one power $p$ on the "
        "unit's weights and $0\\le\\theta\\le 2$; by at least $\\theta$ times, for any degree $c>0$, powers "
        "and $0\\le\\theta\\le 1$. If the minimum is attained and each unit is visited infinitely often, "
        "with $\\theta\\in[\\delta,2-\\delta]$ in the first case and $[\\delta,1]$ in the second, the "
        "weights converge to the balanced weights.",
        (
            "the minimum is attained",
            "each unit is visited infinitely often",
            "θ stays in [δ, 2 − δ] (degree 1, one power) or [δ, 1], for one δ > 0",
            "without Coq, the convergence is pen and paper from the shares, certified on instances",
        ),
        Verdict.certified,
        ("B.optimal-scale-lp", "B.stochastic-balancing"),
    )
)
def favorable() -> Findings:
    """A fixed share of the exact step's gain keeps the argument of B.stochastic-balancing; shares that die
    out do not."""
    incoming, outgoing = shrinking_limit()
    false = shrinking_fails()
    witness = (
        f"one unit, IN 1, OUT 16, |w|, λ_t = exp(0.1·2^(−t)), t = 0, 1, …: R falls strictly at each step, "
        f"and λ₀λ₁… = e^(1/5), so the limit has IN {ball.show(ball.enclose(incoming, {}), 6)} and OUT "
        f"{ball.show(ball.enclose(outgoing, {}), 6)}; "
        "balanced would be 4 and 4"
    )
    rises, after = _overshoot_of_degree_two()
    mixed_rises, mixed = _overshoot_of_mixed_powers()
    rows, falling = bridge_direction()
    return Findings(
        printed_false(false, witness),
        (
            timed(
                "sympy",
                "lemma proved: cost(λ*^θ) = 2√(AB)·cosh((1−θ)x), x = p·log λ*, and r²(cosh x − 1) ≥ cosh rx "
                "− 1 for |r| ≤ 1, which is the share θ(2−θ); each term a·e^{ks}, k ≠ 0, of a sum of powers "
                "is convex in s = log λ, which is the share θ",
                Verdict.certified,
                lambda: _relaxed_share() and _convex_share(),
            ),
            by_z3(
                "lemma proved: the share θ(2−θ) for θ = 1/4, 1/2, 3/4, 5/4, 3/2, 7/4, all A, B > 0 and p",
                Verdict.certified,
                _share_queries(),
            ),
            timed(
                "interval",
                "three networks (degree 1 with L2 and L1, degree 2 with L2), θ random in [1/4, 7/4] or "
                "[1/4, 1]: after 400 sweeps, in none of which R rose in floating point, Krawczyk's test "
                "encloses the one balanced state within 1e-11",
                Verdict.certified,
                _relaxation_converges,
            ),
        ),
        (
            twin("θ ≥ δ", false, witness),
            twin(
                "θ ≤ 2 − δ",
                _reflection(),
                "θ = 2, IN 1, OUT 16: the costs go (1,16)→(16,1)→(1,16)→… and R stays 17",
            ),
            twin(
                "degree 1 for θ > 1 (that R falls)",
                rises,
                f"c = 2, |w|, IN 16, OUT 1: λ* = 1/2, and λ*^1.9 takes R from 17 to {after:.4f}",
            ),
            twin(
                "one power for θ > 1 (that R falls)",
                mixed_rises,
                f"c = 1, IN w² and OUT |w| with costs 1 and 16: λ* = 2, and λ*^1.9 takes R from 17 to "
                f"{mixed:.4f}",
            ),
            twin(
                "the minimum is attained",
                is_direction(rows, falling),
                "1⇄2→3⇄4: h = −1 on 3 and 4 lowers the weight 2→3 and no other, so no state is balanced",
            ),
            twin(
                "each unit is visited infinitely often",
                orders((1, 1, 16), (0, 1), (0, 1))[0] == (1, 1, 16),
                "x→u→v→y with |w| costs (1, 1, 16), v never visited: nothing moves, and v is not balanced",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (balancings_do_not_commute, favorable)
