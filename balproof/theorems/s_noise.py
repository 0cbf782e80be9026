"""[S]: what balancing does to noise: it disturbs the speed of the state less, and no more is certain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import isqrt

import numpy as np
import sympy
from flint import fmpq, fmpq_mat
from scipy.linalg import schur
from sympy.concrete.delta import deltasummation

from balproof.balance.descent import stochastic
from balproof.balance.problem import BalanceProblem
from balproof.theorems.b_lemmas import STOCK, near, printed_false, twin, undetermined, vanishes
from balproof.theorems.instances import counterexample, exact_weights, recurrent
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.theorems.s_flow import Exact, exact_costs, exact_imbalances, ones, scaled, total
from balproof.theorems.s_trajectories import Recurrent, Vector, divided, transformed
from balproof.verdict import Verdict, timed

Array = np.ndarray

_F, _SLOPE = undetermined("phi")


# --- the disturbance of the speed ---------------------------------------------------------------------


def _expectation_of_any_size() -> bool:
    """E(Σ_j a_j ξ_j)² = Σ_j Σ_k a_j a_k δ_jk = Σ_j a_j², with N a symbol and a_j = J_ij φ′(x_j).

    The leak −ξ_i adds 1 − 2E(Σ_j a_j ξ_j ξ_i) = 1 − 2a_i.
    """
    N = sympy.Symbol("N", integer=True, positive=True)
    i, j, k = sympy.symbols("i j k", integer=True)
    a = sympy.IndexedBase("a")
    inside = {(j >= 0) & (j <= N - 1): sympy.true, (i >= 0) & (i <= N - 1): sympy.true}
    one = deltasummation(a[j] * a[k] * sympy.KroneckerDelta(j, k), (k, 0, N - 1)).subs(inside)
    mixed = deltasummation(a[j] * sympy.KroneckerDelta(i, j), (j, 0, N - 1)).subs(inside)
    return vanishes(one - a[j] ** 2, mixed - a[i])


def _slope_is_kept() -> bool:
    """φ(sx) = sφ(x) for s > 0, differentiated by x: sφ′(sx) = sφ′(x), so r is kept; and so is J_ii."""
    s = sympy.Symbol("s", positive=True)
    x, J, h = sympy.symbols("x J h", real=True)
    law = sympy.diff(_F(s * x) - s * _F(x), x)
    slopes = vanishes(law.subs(_SLOPE(s * x), _SLOPE(x))) and law.has(_SLOPE(s * x))
    return slopes and vanishes(sympy.exp(-h) * J * sympy.exp(h) - J)


def slope(v: Fraction) -> Fraction:
    """φ′ of ReLU away from 0."""
    return Fraction(int(v > 0))


def visited(states: Sequence[Vector]) -> Vector:
    """r_j, the mean of φ′(x_j)² over the states visited.

    >>> visited([[Fraction(1), Fraction(-1)], [Fraction(2), Fraction(3)]])
    [Fraction(1, 1), Fraction(1, 2)]
    """
    return [sum((slope(x[j]) ** 2 for x in states), Fraction(0)) / len(states) for j in range(len(states[0]))]


def disturbance(net: Recurrent, states: Sequence[Vector], sigma: Fraction) -> Fraction:
    """The mean of ‖f(x + σξ) − f(x)‖² over the states and all ξ with entries ±1, whose covariance is 1.

    The field itself is evaluated twice: no derivative is taken.
    """
    n, still = len(states[0]), [Fraction(0)] * len(net.W_in[0])
    whole = Fraction(0)
    for x in states:
        before = net.speed(x, still)
        for xi in product((-1, 1), repeat=n):
            after = net.speed([v + sigma * s for v, s in zip(x, xi, strict=True)], still)
            whole += sum(((p - q) ** 2 for p, q in zip(after, before, strict=True)), Fraction(0))
    return whole / len(states) / 2**n


@dataclass(frozen=True)
class Case:
    """A ReLU network off balance by e = e^h, with the states it visits."""

    net: Recurrent
    states: list[Vector]
    e: Vector


def by_sender(r: Sequence[Fraction]) -> Exact:
    """α_ij = r_j."""
    return [list(r)] * len(r)


def _cases() -> Iterator[Case]:
    """Each unit is active in all of 4 states or in one, so that r_j is 1 or 1/4; J_ij = B_ij/√r_j with |B|
    symmetric is balanced for α_ij = r_j, p = 2."""
    rng = np.random.default_rng(101)
    for n in (2, 3, 4, 5):
        often = [True, *(bool(v) for v in rng.random(n - 1) < 0.5)]
        states = [
            [
                Fraction(int(v), 2) * (1 if a or k == 0 else -1)
                for v, a in zip(rng.integers(2, 9, n), often, strict=True)
            ]
            for k in range(4)
        ]
        B = rng.integers(1, 7, (n, n))
        signs = rng.choice([-1, 1], (n, n))
        J = [
            [Fraction(int(min(B[i, j], B[j, i]) * signs[i, j]), 5) * (1 if often[j] else 2) for j in range(n)]
            for i in range(n)
        ]
        e = [Fraction(int(v), 3) for v in rng.permutation(n) + 1]
        balanced = Recurrent(J, [[Fraction(0)]] * n, [Fraction(1)] * n, ones(n))
        inverse = [1 / v for v in e]
        yield Case(transformed(balanced, inverse), [divided(x, inverse) for x in states], e)


def _falls_exactly() -> bool:
    """Before and after: mean ‖f(x + σξ) − f(x)‖² = σ²(N − 2Σ J_ii m_i + Σ r_j J_ij²), m_j the mean of φ′; the
    last sum is the cost, and its fall is all that changes."""
    sigma = Fraction(1, 100)
    for case in _cases():
        after, moved = transformed(case.net, case.e), [divided(x, case.e) for x in case.states]
        r = visited(case.states)
        costs = [exact_costs(net.J, by_sender(r), 2) for net in (case.net, after)]
        loops = sum((row[i] * r[i] for i, row in enumerate(case.net.J)), Fraction(0))  # φ′ = φ′² for ReLU
        seen = [disturbance(case.net, case.states, sigma), disturbance(after, moved, sigma)]
        expected = [sigma**2 * (len(r) - 2 * loops + total(c)) for c in costs]
        if r != visited(moved) or any(exact_imbalances(costs[1])) or not any(exact_imbalances(costs[0])):
            return False
        if seen != expected or not seen[1] < seen[0]:
            return False
    return True


def _simulation() -> bool:
    """A ReLU network under an input: r measured along its path; stochastic balancing of J_ij√r_j, then 20,000
    draws of normal noise at 60 states: the disturbance changes as the cost does, within 3 %."""
    rng = np.random.default_rng(102)
    n, sigma = 6, 1e-6
    J, b = rng.normal(size=(n, n)) * np.exp(rng.normal(size=(n, n))) / 4, rng.normal(size=n) + 1
    np.fill_diagonal(J, 0.0)
    path, x = list[Array](), rng.normal(size=n)
    for step in range(600):
        x = x + 0.05 * (-x + J @ np.maximum(x, 0) + b + 6 * np.sin(0.05 * step + np.arange(n)))
        path.append(x)
    states = np.array(path[::10])
    r = np.mean(states > 0, axis=0)
    h = stochastic(BalanceProblem.build(recurrent((J * np.sqrt(r)).tolist()), "l2"), seed=1).h
    balanced = J * np.exp(h[:, None] - h[None, :])

    def seen(K: Array, e: Array) -> float:
        y = np.repeat(states * e, 20_000 // len(states), axis=0)
        noise = sigma * rng.normal(size=y.shape)
        change = (np.maximum(y + noise, 0) - np.maximum(y, 0)) @ K.T
        return float(np.mean(np.sum(change**2, axis=1))) / sigma**2

    measured = [seen(J, np.ones(n)), seen(balanced, np.exp(h))]
    expected = [float(np.sum(r * K**2)) for K in (J, balanced)]
    return (
        bool(np.all(r > 0))
        and all(near(m, e, 0.03) for m, e in zip(measured, expected, strict=True))
        and expected[1] < 0.9 * expected[0]
    )


def _spectrum_is_a_floor() -> bool:
    """Linear units, r = 1: ‖J‖² − Σ|λ|² is the square sum above the diagonal of the Schur form."""
    rng = np.random.default_rng(103)
    for n in (3, 6):
        J = rng.normal(size=(n, n)) * np.exp(rng.normal(size=(n, n)))
        h = stochastic(BalanceProblem.build(recurrent(J.tolist()), "l2"), seed=1).h
        eigenvalues = float(np.sum(np.abs(np.linalg.eigvals(J)) ** 2))
        for K in (J, J * np.exp(h[:, None] - h[None, :])):
            triangle, _ = schur(K, output="complex")
            over = float(np.sum(np.abs(np.triu(triangle, 1)) ** 2))
            if not near(float(np.sum(K**2)), eigenvalues + over, 1e-9):
                return False
    return True


# --- stationary noise of linear networks ----------------------------------------------------------------


def covariance(J: Exact) -> Exact:
    """S with (J − 1)S + S(J − 1)ᵀ + 1 = 0: the stationary covariance of ẋ = −x + Jx + white noise, exactly.

    >>> covariance([[Fraction(0)]])
    [[Fraction(1, 2)]]

    Raises ZeroDivisionError if two eigenvalues of J − 1 add up to 0.
    """
    n = len(J)
    A = [[v - int(i == j) for j, v in enumerate(row)] for i, row in enumerate(J)]
    system = fmpq_mat(n * n, n * n)
    for i, j, k in product(range(n), repeat=3):
        system[i * n + j, k * n + j] += fmpq(A[i][k].numerator, A[i][k].denominator)
        system[i * n + j, i * n + k] += fmpq(A[j][k].numerator, A[j][k].denominator)
    right = fmpq_mat(n * n, 1, [-int(i == j) for i, j in product(range(n), repeat=2)])
    found = system.solve(right)
    flat = [Fraction(int(found[k, 0].p), int(found[k, 0].q)) for k in range(n * n)]
    return [flat[i * n : (i + 1) * n] for i in range(n)]


def is_stable(J: Exact) -> bool:
    """Whether J − 1 has its eigenvalues on the left: S is positive definite (Lyapunov's theorem)."""
    S = sympy.Matrix([[sympy.Rational(v.numerator, v.denominator) for v in row] for row in covariance(J)])
    return all(S[:k, :k].det() > 0 for k in range(1, len(J) + 1))


def trace(S: Exact) -> Fraction:
    return sum((row[i] for i, row in enumerate(S)), Fraction(0))


def _exact_weights(name: str) -> Exact:
    """J of a counterexample, as it is written in the file."""
    flat = [Fraction(int(v.p), int(v.q)) for v in exact_weights(counterexample(name)).values()]
    n = isqrt(len(flat))
    return [flat[i * n : (i + 1) * n] for i in range(n)]


@dataclass(frozen=True)
class Stationary:
    """Variance before and after balancing, of the state (its trace) and of the output, and the cost ‖J‖²."""

    cost: tuple[Fraction, Fraction]
    state: tuple[Fraction, Fraction]
    output: tuple[Fraction, Fraction]


def _stationary(J: Exact, balanced: Exact, gain: Fraction) -> Stationary:
    """``gain`` is e^{2h_1}, by which balancing multiplies the square of the read-out from unit 1."""
    S, T = covariance(J), covariance(balanced)
    cost = total(exact_costs(J, ones(len(J)), 2)), total(exact_costs(balanced, ones(len(J)), 2))
    return Stationary(cost, (trace(S), trace(T)), (S[0][0], gain * T[0][0]))


def read_out() -> tuple[bool, Stationary]:
    """noise_output.json: with e^{h_2 − h_1} = 1/10 and h_1 + h_2 = 0 the read-out of 1 becomes 10^{1/2}."""
    J, tenth = _exact_weights("noise_output"), Fraction(1, 10)
    balanced = scaled(J, [Fraction(1), tenth])
    rests = not any(exact_imbalances(exact_costs(balanced, ones(2), 2)))
    found = _stationary(J, balanced, 1 / tenth)
    holds = rests and is_stable(J) and is_stable(balanced) and found.cost[1] < found.cost[0]
    return holds and found.state[1] < found.state[0] and found.output[1] > 6 * found.output[0], found


def hidden() -> tuple[bool, Stationary]:
    """noise_hidden.json: e^h = (1/2, 1, 1) balances it."""
    J = _exact_weights("noise_hidden")
    balanced = scaled(J, [Fraction(1, 2), Fraction(1), Fraction(1)])
    rests = not any(exact_imbalances(exact_costs(balanced, ones(3), 2)))
    found = _stationary(J, balanced, Fraction(1))
    holds = rests and is_stable(J) and is_stable(balanced) and found.cost[1] < found.cost[0]
    return holds and found.state[1] > found.state[0], found


# --- other noise, other costs ---------------------------------------------------------------------------


def _one_noisy_unit() -> tuple[Fraction, Fraction]:
    """J = (0 4; 1 0) → (0 2; 2 0): noise in unit 1 alone disturbs ẋ_2 by J₂₁²."""
    J = [[Fraction(0), Fraction(4)], [Fraction(1), Fraction(0)]]
    balanced = scaled(J, [Fraction(2), Fraction(1)])
    return J[1][0] ** 2, balanced[1][0] ** 2


def _large_noise() -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """ReLU at x = (9, −1), J = (0 1; 1 0), σ = 2, e^h = (1, 4): the costs, and the disturbances."""
    zero, one = Fraction(0), Fraction(1)
    net = Recurrent([[zero, one], [one, zero]], [[zero]] * 2, [zero] * 2, ones(2))
    x, e = [Fraction(9), -one], [one, Fraction(4)]
    after, y = transformed(net, e), divided(x, e)
    costs = [total(exact_costs(m.J, by_sender(visited([x])), 2)) for m in (net, after)]
    seen = [disturbance(m, [z], Fraction(2)) for m, z in ((net, x), (after, y))]
    return costs[0], costs[1], seen[0], seen[1]


def _other_exponent() -> tuple[Fraction, Fraction]:
    """J = (0 3 4; 5 0 0; 0 4 0), balanced for p = 2: for p = 1 the row of unit 1 is multiplied by (5/7)^½."""
    rows, rest = Fraction(3**2 + 4**2), Fraction(4**2)
    column, factor = Fraction(5**2), Fraction(5, 7)
    return rows + column + rest, rows * factor + column / factor + rest


@claim(
    Claim(
        "S.noise",
        "Balancing raises the robustness to noise",
        f"{STOCK}, Results and Methods",
        "Balancing provably makes the network more robust to noise.",
        r"Isotropic noise of small variance $\sigma^2$ in $x$ disturbs $\dot x$ through $J$ by "
        r"$\sigma^2\sum r_jJ_{ij}^2$ in the mean square, $r_j$ the mean of $\varphi'(x_j)^2$ over the "
        r"states visited; together with the leak by $\sigma^2(N-2\sum J_{ii}m_i+\sum r_jJ_{ij}^2)$, $m_i$ "
        r"the mean of $\varphi'(x_i)$. Rescalings keep $r$, $m$ and $J_{ii}$, so this falls as the cost "
        r"with $p=2$, $\alpha_{ij}=r_j$ does: strictly along the rule unless $J$ is balanced. For linear "
        r"units the cost is $\lVert J\rVert^2\ge\sum|\lambda_i|^2$. Neither the stationary variance of the "
        r"state nor that of the output need fall.",
        (
            "φ positively homogeneous of degree 1, φ′ exists at the states visited",
            "isotropic noise, to first order in σ, in the state after the transform as before it",
            "the rule has p = 2 and α_ij = r_j",
            "the states visited are transformed with the network",
        ),
        Verdict.proved,
        ("S.gradient-flow", "S.trajectories"),
    )
)
def noise() -> Findings:
    """E‖JDξ‖² = ‖JD‖², with D = diag φ′ kept by rescalings: the cost that the rule descends."""
    louder, read = read_out()
    more, state = hidden()
    alone = _one_noisy_unit()
    large = _large_noise()
    other = _other_exponent()

    def shown(pair: tuple[Fraction, Fraction]) -> str:
        return f"from {float(pair[0]):.4g} to {float(pair[1]):.4g}"

    return Findings(
        printed_false(
            louder and more,
            "what falls is the disturbance of the speed ẋ. Two linear units "
            "(counterexamples/noise_output.json) read out from the first, W_out = (1, 0): balancing takes "
            f"the stationary variance of the output {shown(read.output)}. Three linear units "
            "(counterexamples/noise_hidden.json): it takes the variance of the state itself from "
            f"{state.state[0]} to {state.state[1]}, while ‖J‖² falls {shown(state.cost)}",
        ),
        (
            timed(
                "sympy",
                "any number of units: E(Σ_j a_j ξ_j)² = Σa_j² by Kronecker deltas, and the leak adds 1 − "
                "2a_i; φ(sx) = sφ(x) gives φ′(sx) = φ′(x), so r, m and J_ii are kept; what is left is the "
                "cost of S.gradient-flow",
                Verdict.proved,
                lambda: _expectation_of_any_size() and _slope_is_kept(),
            ),
            timed(
                "exact",
                "4 rational ReLU networks of 2 to 5 units, 4 states each: the field itself at x and at x + "
                "σξ for all ξ with entries ±1, before and after balancing, without rounding: the formula, "
                "and the fall",
                Verdict.certified,
                _falls_exactly,
            ),
            timed(
                "sampled",
                "a ReLU network of 6 units driven along a path: 20,000 draws of normal noise before and "
                "after balancing, within 3 % of the costs",
                Verdict.sampled,
                _simulation,
            ),
            timed(
                "sampled",
                "linear units: ‖J‖² − Σ|λ|² is the square sum above the diagonal of the Schur form, before "
                "and after balancing",
                Verdict.sampled,
                _spectrum_is_a_floor,
            ),
        ),
        (
            twin(
                "the speed of the hidden state (the output instead)",
                louder,
                "ẋ = −x + Jx + white noise, J₁₂ = 1, J₂₁ = 1/100, read-out of unit 1, Σh = 0: the variance "
                f"of the output goes {shown(read.output)}, that of the state {shown(read.state)} "
                "(Lyapunov's equation in rationals)",
            ),
            twin(
                "the speed (the stationary variance of the state instead)",
                more and state.state == (Fraction(67, 16), Fraction(9, 2)),
                "J = (0 −1/2 1/4; 2 0 −1; 1 −1 0), balanced by e^h = (1/2, 1, 1): the variance of the "
                f"state goes from {state.state[0]} to {state.state[1]}",
            ),
            twin(
                "isotropic",
                alone == (1, 4),
                "J = (0 4; 1 0) becomes (0 2; 2 0): noise in unit 1 alone disturbs ẋ by J₂₁² = 1 before and "
                "4 after",
            ),
            twin(
                "small noise",
                large[1] < large[0] and large[3] > large[2],
                "ReLU, J = (0 1; 1 0) at x = (9, −1), entries of the noise ±2, e^h = (1, 4): the cost goes "
                f"from {large[0]} to {large[1]}, the disturbance {shown((large[2], large[3]))}",
            ),
            twin(
                "p = 2 (1 instead)",
                other[1] > other[0] == 66,
                f"J = (0 3 4; 5 0 0; 0 4 0): balancing unit 1 for p = 1 takes ΣJ² {shown(other)}",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (noise,)
