"""[S]: where the local rule converges, and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy

from balproof.balance.convex import solve_convex
from balproof.balance.descent import stochastic
from balproof.balance.problem import BalanceProblem
from balproof.theorems.b_convex import bound_query
from balproof.theorems.b_lemmas import STOCK, by_z3, near, printed_false, twin, vanishes
from balproof.theorems.instances import bridge, counterexample, recurrent
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.theorems.s_flow import (
    Dual,
    Exact,
    euler,
    exact_costs,
    exact_imbalances,
    instances,
    integrate,
    ones,
    scaled,
    total,
)
from balproof.theorems.s_laplacian import both_ways, laplacian
from balproof.theorems.s_osborne import certificate
from balproof.verdict import Verdict, timed

Array = np.ndarray

_P, _TAU, _T = sympy.symbols("p tau t", positive=True)


def drift(cost: sympy.Expr, receiver: sympy.Expr, sender: sympy.Expr) -> sympy.Expr:
    """ċ of a synapse under the rule, from the imbalances of its two units."""
    return _P * cost * (sender - receiver) / _TAU


# --- lemmas -------------------------------------------------------------------------------------------


def _imbalance_decays() -> bool:
    """A synapse i ← j adds ċ to ġ_i and −ċ to ġ_j: together ġ = −(p/τ)·Lap(c + cᵀ)g, and the form of it."""
    a = sympy.Symbol("alpha", positive=True)
    gi, gj = sympy.symbols("g_i g_j", real=True)
    J = sympy.Function("J", positive=True)(_T)
    c = a * J**_P
    moves = sympy.diff(c, _T).subs(sympy.diff(J, _T), (gj - gi) * J / _TAU)
    edge = -_P / _TAU * c * (gi - gj)  # row i of −(p/τ)·Lap of this edge; row j is its opposite
    square = 2 * gi * drift(c, gi, gj) - 2 * gj * drift(c, gi, gj) + 2 * _P / _TAU * c * (gi - gj) ** 2
    return vanishes(moves - drift(c, gi, gj), drift(c, gi, gj) - edge, square)


def _decay_is_exponential() -> bool:
    """V̇ ≤ −2kV makes e^{2kt}V fall; Lap(w) ≥ Lap(m) where w ≥ m; Σ z·log c is kept, z a circulation."""
    k, m, extra = sympy.symbols("k m extra", positive=True)
    V = sympy.Function("V")(_T)
    grown = sympy.exp(2 * k * _T) * V
    product = sympy.diff(grown, _T) - sympy.exp(2 * k * _T) * (sympy.diff(V, _T) + 2 * k * V)
    x, y = sympy.symbols("x y", real=True)
    more = (m + extra) * (x - y) ** 2 - m * (x - y) ** 2
    # Around a cycle 1 ← 2 ← … ← 1 the changes of log c, p(h_j − h_i), telescope: one step of it.
    h1, h2, h3 = sympy.symbols("h1 h2 h3", real=True)
    telescopes = _P * (h2 - h1) + _P * (h3 - h2) - _P * (h3 - h1)
    closes = (_P * (h3 - h1)).subs(h3, h1)
    return vanishes(product, more - extra * (x - y) ** 2, telescopes, closes) and bool(extra.is_positive)


def single(c0: sympy.Expr) -> sympy.Expr:
    """The cost of a synapse between two units that have no other, after the time t."""
    return c0 / (1 + 2 * _P * c0 * _T / _TAU)


def _closed_forms() -> bool:
    """One synapse: g = (c, −c). Two units 1⇄2 with costs κe^{v}, κe^{−v}: v̇ = −4pκ sinh(v)/τ."""
    c0, kappa = sympy.symbols("c0 kappa", positive=True)
    c = single(c0)
    alone = sympy.diff(c, _T) - drift(c, c, -c)
    start = sympy.Symbol("r", real=True)  # tanh(v(0)/2), so |r| < 1
    half = start * sympy.exp(-4 * _P * kappa * _T / _TAU)
    up, down = (
        kappa * (1 + half) / (1 - half),
        kappa * (1 - half) / (1 + half),
    )  # e^{v} = (1 + tanh)/(1 − tanh)
    g = up - down
    pair = (sympy.diff(up, _T) - drift(up, g, -g), sympy.diff(down, _T) - drift(down, -g, g))
    starts_there = sympy.simplify(c.subs(_T, 0) - c0) == 0 and sympy.limit(c, _T, sympy.oo) == 0
    return vanishes(alone, *(sympy.together(e) for e in pair)) and starts_there


def _imbalance_exact() -> bool:
    """ġ along the rule, by dual numbers on J, is −p·Lap(c + cᵀ)g with τ = 1."""
    for J, alpha, _ in instances(51, (2, 3, 4, 5)):
        n = len(J)
        for p in (1, 2, 3):
            c = exact_costs(J, alpha, p)
            g = exact_imbalances(c)
            slopes = [
                [
                    (alpha[i][j] * (Dual(abs(v), abs(v) * (g[j] - g[i])) ** p).slope if v else Fraction(0))
                    for j, v in enumerate(row)
                ]
                for i, row in enumerate(J)
            ]
            L = laplacian(both_ways(c))
            expected = [
                -p * sum((a * b for a, b in zip(L[k], g, strict=True)), Fraction(0)) for k in range(n)
            ]
            if exact_imbalances(slopes) != expected:
                return False
    return True


# --- instances whose limit is known -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Known:
    """A start J(0), the balanced matrix of its orbit, and p."""

    start: Array
    limit: Array
    p: int


def circulation(n: int, seed: int) -> Exact:
    """A balanced matrix: the sum of weighted cycles, one through all units.

    >>> exact_imbalances(circulation(5, 1)) == [0] * 5
    True
    """
    rng = np.random.default_rng(seed)
    c = [[Fraction(0)] * n for _ in range(n)]
    cycles = [list(range(n)), *(rng.permutation(n)[: rng.integers(2, n + 1)].tolist() for _ in range(n - 1))]
    for cycle in cycles:
        weight = Fraction(int(rng.integers(1, 9)), 8)
        for tail, head in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            c[head][tail] += weight
    return c


def known() -> Iterator[Known]:
    """Four networks of 3 to 6 units with signs, p = 1 and 2, moved off their balanced state."""
    for n, p in ((3, 1), (4, 2), (5, 1), (6, 2)):
        rng = np.random.default_rng(60 + n)
        e = [Fraction(int(v), 4) for v in rng.integers(2, 9, n)]
        c = circulation(n, n)
        moved = scaled(c, [v**p for v in e])  # costs move by the p-th power
        signs = np.where(rng.random((n, n)) < 0.5, -1.0, 1.0)
        root = [np.array(m, dtype=float) ** (1 / p) * signs for m in (moved, c)]
        yield Known(root[0], root[1], p)


def slowest(c: Array) -> float:
    """λ₂: the least nonzero eigenvalue of Lap(c + cᵀ), for connected c.

    >>> round(slowest(np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])), 12)
    3.0
    """
    w = c + c.T
    return float(np.linalg.eigvalsh(np.diag(w.sum(axis=1)) - w)[1])


def _limits() -> bool:
    """The rule, integrated on J, ends at the known matrix; so do stochastic balancing and CVXPY's cost."""
    for case in known():
        n, tau = len(case.start), 0.7
        end = integrate(case.start, np.ones((n, n)), case.p, tau, np.linspace(0.0, 12.0 * tau, 3))
        problem = BalanceProblem.build(recurrent(case.start.tolist()), f"lp:{case.p}")
        h = stochastic(problem, seed=1).h
        balanced = case.start * np.exp(h[:, None] - h[None, :])
        cost = float(np.sum(np.abs(case.limit) ** case.p))
        if not (
            np.allclose(end.J[-1], case.limit, rtol=1e-6, atol=1e-8)
            and np.allclose(balanced, case.limit, rtol=1e-9)
            and not np.allclose(case.start, case.limit, rtol=0.1)
            and near(solve_convex(problem).value, cost, 1e-7)
        ):
            return False
    return True


def rates() -> list[tuple[float, float]]:
    """The rate at which ‖g‖ falls late in the flow, and pλ₂/τ at the limit."""
    found: list[tuple[float, float]] = []
    for case in known():
        n, tau = len(case.start), 0.7
        expected = case.p * slowest(np.abs(case.limit) ** case.p) / tau
        t = np.array([0.0, 9.0, 12.0]) / expected
        norms = np.sqrt(integrate(case.start, np.ones((n, n)), case.p, tau, t).squares)
        found.append((float(np.log(norms[1] / norms[2]) / (t[2] - t[1])), expected))
    return found


def _rates_agree() -> bool:
    return all(near(measured, expected, 0.01) for measured, expected in rates())


def least_cost(case: Known) -> float:
    """A bound below on all costs at all times: Σ z·log c is kept, with the limit as circulation z."""
    z = np.abs(case.limit) ** case.p
    there = z > 0
    c = np.abs(case.start) ** case.p
    kept, top = float(np.sum(z[there] * np.log(c[there]))), float(np.log(c.sum()))
    return float(np.exp(np.min((kept - (z.sum() - z[there]) * top) / z[there])))


def _bounds_hold() -> bool:
    """At 40 times: costs above `least_cost`, and ‖g(t)‖ ≤ ‖g(0)‖e^{−pmλt/τ} with m the least cost seen."""
    for case in known():
        n, tau = len(case.start), 0.7
        t = np.linspace(0.0, 3.0, 40)
        flow = integrate(case.start, np.ones((n, n)), case.p, tau, t)
        there, norms = case.limit != 0, np.sqrt(flow.squares)
        seen = float(np.min(np.abs(flow.J[:, there]) ** case.p))
        bound = norms[0] * np.exp(-case.p * seen * slowest(there.astype(float)) * t / tau)
        if not (0 < least_cost(case) <= seen and np.all(norms <= bound * (1 + 1e-9) + 1e-10)):
            return False
    return True


# --- what fails ---------------------------------------------------------------------------------------


def _single_synapse() -> bool:
    """J of the file: at t = 10 and 100 its cost is 1/(1 + 2pt), each h has moved by log(1 + 2pt)/2p, and an
    exact direction shows that no rescaling is balanced."""
    J = counterexample("single_synapse").numbers("J")
    flow = integrate(J, np.ones((2, 2)), 2.0, 1.0, np.array([0.0, 10.0, 100.0]))
    expected = [float(single(sympy.S.One).subs({_P: 2, _TAU: 1, _T: t})) for t in (0, 10, 100)]
    moved = np.log(1 + 4 * flow.t) / 4
    return (
        np.allclose(flow.cost, expected, rtol=1e-7)
        and np.allclose(flow.h[:, 0], moved, atol=1e-7)
        and np.allclose(flow.h[:, 1], -moved, atol=1e-7)
        and certificate(J) is False
    )


def _bridge_decays() -> tuple[bool, list[float]]:
    """1⇄2→3⇄4, p = 1: t times the cost of the bridge, at t = 100, 200, 400."""
    J = bridge().numbers("J")
    flow = integrate(J, np.ones((4, 4)), 1.0, 1.0, np.array([0.0, 100.0, 200.0, 400.0]))
    slow = [float(t * now[2, 1]) for t, now in zip(flow.t[1:], flow.J[1:], strict=True)]
    return certificate(J) is False and 0.2 < min(slow) and max(slow) / min(slow) < 1.1, slow


def _faster() -> tuple[float, float]:
    """1⇄2 with costs 1 beside 3⇄4 with costs (20, 5), p = 1: λ₂, and the rate of ‖g‖ late in the flow."""
    J = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 20], [0, 0, 5, 0]])
    t = np.array([0.0, 0.2, 0.3])
    norms = np.sqrt(integrate(J, np.ones((4, 4)), 1.0, 1.0, t).squares)
    limit = np.where(J > 1, 10.0, J)
    w = limit + limit.T
    eigenvalues = np.linalg.eigvalsh(np.diag(w.sum(axis=1)) - w)
    return float(eigenvalues[2]), float(np.log(norms[1] / norms[2]) / (t[2] - t[1]))


def _steps_diverge() -> list[Fraction]:
    """The cost over three Euler steps of 0.1 from J = (0 4; 1 0), p = 2."""
    now: Exact = [[Fraction(0), Fraction(4)], [Fraction(1), Fraction(0)]]
    found: list[Fraction] = []
    for _ in range(3):
        found.append(total(exact_costs(now, ones(2), 2)))
        now = euler(now, ones(2), 2, Fraction(1, 10))
    return found


def _no_cost() -> bool:
    """α = 0: J = (0 4; 1 0) and its transform with e^h = (1, 2) are both balanced."""
    J = [[Fraction(0), Fraction(4)], [Fraction(1), Fraction(0)]]
    nothing = [[Fraction(0)] * 2] * 2
    other = scaled(J, [Fraction(1), Fraction(2)])
    still = [exact_imbalances(exact_costs(m, nothing, 2)) for m in (J, other)]
    return still == [[0, 0], [0, 0]] and J != other


def _other_orbit() -> bool:
    """(0 2; 2 0) and (0 1; 1 0) are both balanced, in orbits apart: their cycle products are 4 and 1."""
    both = [[[Fraction(0), Fraction(v)], [Fraction(v), Fraction(0)]] for v in (2, 1)]
    rests = all(exact_imbalances(exact_costs(m, ones(2), 2)) == [0, 0] for m in both)
    return rests and [m[0][1] * m[1][0] for m in both] == [4, 1]


@claim(
    Claim(
        "S.convergence",
        "The rule converges to a unique balanced state",
        f"{STOCK}, Methods",
        "From every start the rule converges to a unique balanced state.",
        r"The flow $\tau\dot J_{ij}=(g_j-g_i)J_{ij}$ converges to a balanced matrix with the same nonzero "
        r"entries exactly if every synapse lies on a directed cycle. It is then the only balanced matrix in "
        r"the orbit of $J(0)$; $\lVert g\rVert$ falls exponentially, in the end at least at the rate "
        r"$p\lambda_2/\tau$, and at that rate for a generic start, $\lambda_2$ the least nonzero eigenvalue "
        r"of $\mathrm{Lap}(c+c^\top)$ at the limit. At all times $\dot "
        r"g=-\frac{p}{\tau}\mathrm{Lap}(c+c^\top)g$ and $\lVert g(t)\rVert\le\lVert g(0)\rVert "
        r"e^{-pm\lambda t/\tau}$, with $m$ a bound below on the costs and $\lambda$ that eigenvalue of the "
        r"pattern of nonzero entries. A single synapse falls like $c(t)=c(0)/(1+2p\,c(0)\,t/\tau)$.",
        (
            "costs positive on the synapses that are there; p > 0, one for all",
            "continuous time",
            "a balanced matrix is a circulation: S.osborne (b), for the only-if",
            "that the linear part of a smooth field gives the rate at its limit is cited",
            "the convergence is a pen-and-paper argument from the lemmas: ‖g‖ is integrable, ḣ = g/τ",
        ),
        Verdict.certified,
        ("S.gradient-flow", "S.conserved", "S.osborne", "S.laplacian"),
    )
)
def convergence() -> Findings:
    """A circulation bounds the costs from below, so the Laplacian from below, so ‖g‖ from above."""
    alone = _single_synapse()
    slow, slowly = _bridge_decays()
    least, measured = _faster()
    costs = _steps_diverge()
    return Findings(
        printed_false(
            alone,
            "one synapse 1 ← 2 on no cycle (counterexamples/single_synapse.json): its cost is 1/(1 + 2pt) "
            "while h grows without bound; no rescaling of J is balanced, and the limit J = 0 is another "
            "network",
        ),
        (
            timed(
                "sympy",
                "lemmas proved, any number of units: ġ = −(p/τ)Lap(c + cᵀ)g synapse by synapse; d‖g‖²/dt = "
                "−(2p/τ)Σc_ij(g_i − g_j)²; Lap(w) ≥ Lap(m) for w ≥ m; Σ z·log c is kept along a circulation "
                "z; V̇ ≤ −2kV makes e^{2kt}V fall",
                Verdict.certified,
                lambda: _imbalance_decays() and _decay_is_exponential(),
            ),
            by_z3(
                "lemma proved: Σ z_e x_e = 0 and x ≤ U give x_e ≥ −UΣz/z_e, so the costs stay above some m "
                "> 0",
                Verdict.certified,
                [bound_query()],
            ),
            timed(
                "sympy",
                "solved in closed form, p, τ and costs symbolic: one synapse c(0)/(1 + 2p·c(0)·t/τ); two "
                "units 1⇄2 with cycle product κ², tanh(v/2) ∝ e^{−4pκt/τ} with costs κe^{v} and κe^{−v}: λ₂ "
                "= 4κ",
                Verdict.certified,
                _closed_forms,
            ),
            timed(
                "exact",
                "12 rational instances of 2 to 5 units, p = 1, 2, 3: ġ along the rule, by dual numbers on "
                "J, is −p·Lap(c + cᵀ)g",
                Verdict.certified,
                _imbalance_exact,
            ),
            timed(
                "convex",
                "4 networks of 3 to 6 units moved off a balanced state that is known exactly, p = 1, 2: the "
                "rule integrated on J, and stochastic balancing, end there; CVXPY finds its cost",
                Verdict.sampled,
                _limits,
            ),
            timed(
                "sampled",
                "the same: late in the flow ‖g‖ falls at pλ₂/τ within 1 %, and at 40 times it is below the "
                "bound, m the least cost seen",
                Verdict.sampled,
                lambda: _rates_agree() and _bounds_hold(),
            ),
        ),
        (
            twin(
                "every synapse lies on a cycle",
                slow,
                "1⇄2→3⇄4 with costs 1, p = 1: every unit receives and sends, but at t = 100, 200, 400 the "
                f"cost of the bridge is {slowly[0]:.3f}/t, {slowly[1]:.3f}/t, {slowly[2]:.3f}/t: it dies "
                "out, and not exponentially",
            ),
            twin(
                "a generic start, for the rate pλ₂/τ",
                near(least, 4.0) and near(measured, 40.0, 0.02),
                f"1⇄2 balanced with costs 1 beside 3⇄4 with costs 20 and 5: λ₂ = {least:.0f}, but ‖g‖ falls "
                f"at the rate {measured:.1f}",
            ),
            twin(
                "continuous time",
                costs == sorted(costs) and costs[1] == 80,
                f"J = (0 4; 1 0), p = 2, Euler steps of 0.1: the cost goes {costs[0]}, {costs[1]}, "
                f"{float(costs[2]):.4g}",
            ),
            twin(
                "costs positive",
                _no_cost(),
                "α = 0: J = (0 4; 1 0) and its rescaling (0 8; 1/2 0) are both balanced and rest",
            ),
            twin(
                "uniqueness within an orbit (among all starts instead)",
                _other_orbit(),
                "(0 2; 2 0) and (0 1; 1 0) are both balanced; the first has the cycle product 4, the second "
                "1",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (convergence,)
