"""[S]: the local rule τJ̇_ij = (g_j − g_i)J_ij is gradient descent, and what it conserves.

The paper scales J_ij → e^{−h_i}J_ij e^{h_j}; this package scales J_ij → J_ij·exp(h_i − h_j). The two h differ
in sign: where the paper has ∂C/∂h = −p·g, the package's gradient is +p·g.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product

import networkx as nx
import numpy as np
import sympy
from flint import fmpq, fmpq_mat, fmpz_mat
from scipy.integrate import solve_ivp
from sympy.concrete.delta import deltasummation

from balproof.balance.problem import BalanceProblem
from balproof.importers import load
from balproof.network.manifold import infer
from balproof.theorems.b_lemmas import STOCK, twin
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray
Exact = list[list[Fraction]]

# --- the rule -----------------------------------------------------------------------------------------


def imbalances(c: Array) -> Array:
    """g_i = Σ_j c_ij − Σ_j c_ji: what unit i receives less what it sends. Self-loops drop out.

    >>> imbalances(np.array([[7, 4], [1, 0]])).tolist()
    [3, -3]
    """
    return c.sum(axis=1) - c.sum(axis=0)


def scaled(J: Exact, x: Sequence[Fraction]) -> Exact:
    """The paper's transform with x = e^h, exactly: J_ij x_j / x_i.

    >>> scaled([[Fraction(3), Fraction(4)], [Fraction(1), Fraction(0)]], [Fraction(1), Fraction(2)])[0][1]
    Fraction(8, 1)
    """
    return [[v * x[j] / x[i] for j, v in enumerate(row)] for i, row in enumerate(J)]


def euler(J: Exact, alpha: Exact, p: int, dt: Fraction) -> Exact:
    """One Euler step of the rule with τ = 1."""
    g = exact_imbalances(exact_costs(J, alpha, p))
    return [[v * (1 + dt * (g[j] - g[i])) for j, v in enumerate(row)] for i, row in enumerate(J)]


def exact_costs(J: Exact, alpha: Exact, p: int) -> Exact:
    return [[a * abs(v) ** p for a, v in zip(r, s, strict=True)] for r, s in zip(alpha, J, strict=True)]


def exact_imbalances(c: Exact) -> list[Fraction]:
    return [sum(row, Fraction(0)) - sum((r[i] for r in c), Fraction(0)) for i, row in enumerate(c)]


def total(c: Exact) -> Fraction:
    return sum((sum(row, Fraction(0)) for row in c), Fraction(0))


def ones(n: int) -> Exact:
    return [[Fraction(1)] * n for _ in range(n)]


@dataclass(frozen=True)
class Dual:
    """a + b·ε with ε² = 0: exact derivatives of rational functions."""

    value: Fraction
    slope: Fraction

    def __mul__(self, other: Dual) -> Dual:
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def __pow__(self, n: int) -> Dual:
        """For integers n, negative ones included."""
        return Dual(self.value**n, n * self.value ** (n - 1) * self.slope)


def cost_slope(c: Exact, p: int, x: Sequence[Fraction], direction: Sequence[Fraction]) -> Fraction:
    """d/dε of C = Σ c_ij (x_j/x_i)^p at h + ε·direction, where x = e^h (so dx_i = x_i·direction_i)."""
    moved = [Dual(v, v * d) for v, d in zip(x, direction, strict=True)]
    slope = Fraction(0)
    for i, row in enumerate(c):
        for j, v in enumerate(row):
            slope += v * (moved[j] ** p * moved[i] ** -p).slope
    return slope


def instances(seed: int, sizes: Sequence[int]) -> Iterator[tuple[Exact, Exact, list[Fraction]]]:
    """Rational J with zeros, negative entries and self-loops, weights α > 0, and x = e^h."""
    rng = np.random.default_rng(seed)

    def ratio(low: int) -> Fraction:
        return Fraction(int(rng.integers(low, 12)), int(rng.integers(1, 8)))

    for n in sizes:
        J = [[ratio(-9) if rng.random() < 0.7 else Fraction(0) for _ in range(n)] for _ in range(n)]
        yield J, [[ratio(1) for _ in range(n)] for _ in range(n)], [ratio(1) for _ in range(n)]


@dataclass(frozen=True, eq=False)
class Flow:
    """The rule integrated on J itself, and ḣ = g/τ beside it, at the times t."""

    t: Array
    J: Array
    h: Array
    cost: Array
    squares: Array


def integrate(J: Array, alpha: Array, p: float, tau: float, t: Array) -> Flow:
    """Integrate τJ̇_ij = (g_j − g_i)J_ij, which knows nothing of h, and h from g, at a relative 1e-11."""
    n = len(J)

    def speed(_: float, state: Array) -> Array:
        now = state[: n * n].reshape(n, n)
        g = imbalances(alpha * np.abs(now) ** p)
        return np.concatenate([((g[None, :] - g[:, None]) * now).ravel(), g]) / tau

    start = np.concatenate([J.ravel(), np.zeros(n)])
    found = solve_ivp(speed, (t[0], t[-1]), start, "DOP853", t, rtol=1e-11, atol=1e-13)
    matrices = found.y[: n * n].T.reshape(-1, n, n)
    c = alpha * np.abs(matrices) ** p
    squares = np.array([np.sum(imbalances(m) ** 2) for m in c])
    return Flow(found.t, matrices, found.y[n * n :].T, c.sum(axis=(1, 2)), squares)


def _example_flow(p: float = 1.5, tau: float = 0.7) -> Flow:
    rng = np.random.default_rng(5)
    J = rng.normal(size=(5, 5)) * (rng.random((5, 5)) < 0.8)
    return integrate(J, rng.uniform(0.5, 2.0, (5, 5)), p, tau, np.linspace(0.0, 0.3, 301))


# --- S.gradient-flow ----------------------------------------------------------------------------------


def _gradient_of_any_size() -> bool:
    """C = Σ_ij c_ij e^{p(h_j − h_i)} with N, c and h left as symbols; ∂C/∂h_k sums to −p·g_k."""
    N = sympy.Symbol("N", integer=True, positive=True)
    i, j, k = sympy.symbols("i j k", integer=True)
    p, tau, t = sympy.symbols("p tau t", positive=True)
    h, c, g = sympy.IndexedBase("h"), sympy.IndexedBase("c"), sympy.IndexedBase("g")

    def now(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
        return c[a, b] * sympy.exp(p * (h[b] - h[a]))

    slope = sympy.expand(now(i, j).diff(h[k]), power_exp=False)
    # Each of the two parts has one Kronecker delta: sum its index away, for an index k within 0 … N−1.
    inside = {(k >= 0) & (k <= N - 1): sympy.true}
    parts: list[sympy.Expr] = []
    for part in slope.args:
        index = i if part.has(sympy.KroneckerDelta(i, k)) else j
        parts.append(deltasummation(part, (index, 0, N - 1)).subs(inside))
    expected = [p * now(i, k), -p * now(k, j)]  # summed over i and over j: p·(what k sends − what it gets)
    gradient = all(any(sympy.simplify(a - b) == 0 for a in parts) for b in expected) and len(parts) == 2

    # An entry of e^{−h}J e^{h} with ḣ = g/τ obeys the rule: i ≠ j and i = j alike.
    J = sympy.Symbol("J", real=True)
    x, y = sympy.Function("x")(t), sympy.Function("y")(t)
    entry = J * sympy.exp(y - x)
    rule = entry.diff(t).subs({x.diff(t): g[i] / tau, y.diff(t): g[j] / tau}) - (g[j] - g[i]) * entry / tau

    # Chain rule, term by term: Ċ = Σ_k ∂C/∂h_k·ḣ_k.
    decay = (-p * g[k]) * (g[k] / tau) + p * g[k] ** 2 / tau
    return gradient and sympy.simplify(rule) == 0 and sympy.simplify(decay) == 0


def _gradient_exact() -> bool:
    for J, alpha, x in instances(1, (2, 3, 4, 5, 6)):
        for p in (1, 2, 3):
            n = len(J)
            c = exact_costs(J, alpha, p)
            g = exact_imbalances(exact_costs(scaled(J, x), alpha, p))
            for k in range(n):
                unit = [Fraction(int(i == k)) for i in range(n)]
                if cost_slope(c, p, x, unit) != -p * g[k]:
                    return False
            if cost_slope(c, p, x, g) != -p * sum(v * v for v in g):
                return False
    return True


def _flow_descends() -> bool:
    """Central differences of C along the integrated flow; J(t) from the h beside it."""
    p, tau = 1.5, 0.7
    flow = _example_flow(p, tau)
    measured = np.gradient(flow.cost, flow.t)[1:-1]
    expected = -p * flow.squares[1:-1] / tau
    with_h = flow.J[0] * np.exp(flow.h[:, None, :] - flow.h[:, :, None])
    return bool(
        np.all(np.diff(flow.cost) < 0)
        and np.allclose(measured, expected, rtol=2e-3)
        and np.allclose(with_h, flow.J, rtol=1e-8, atol=1e-10)
    )


def _package_gradient() -> bool:
    """The package's own F and ∇F on the recurrent network J: +p·g in its sign of h."""
    rng = np.random.default_rng(7)
    J = rng.normal(size=(6, 6)) * (rng.random((6, 6)) < 0.8)
    for p in (1.0, 1.5, 2.0):
        problem = BalanceProblem.build(load(J), f"lp:{p}")
        h = rng.normal(size=6) / 3
        now = J * np.exp(h[:, None] - h[None, :])
        if not np.allclose(problem.gradient(h), p * imbalances(np.abs(now) ** p), rtol=1e-10, atol=1e-12):
            return False
    return True


def _euler_raises() -> bool:
    J = [[Fraction(0), Fraction(4)], [Fraction(1), Fraction(0)]]
    after = euler(J, ones(2), 2, Fraction(1, 10))
    return total(exact_costs(J, ones(2), 2)) == 17 and total(exact_costs(after, ones(2), 2)) == 80


def _other_sign() -> tuple[Fraction, Fraction]:
    """Ċ at J = (0 4; 1 0), p = 2, for ḣ = g in the transform of the paper and with h reversed."""
    c = exact_costs([[Fraction(0), Fraction(4)], [Fraction(1), Fraction(0)]], ones(2), 2)
    g, start = exact_imbalances(c), [Fraction(1), Fraction(1)]
    return cost_slope(c, 2, start, g), cost_slope(c, 2, start, [-v for v in g])


def _growing_coefficients() -> Fraction:
    """The cost of (0 1; 1 0) with α = 1 + t at t = 1 less that at t = 0; g = 0 at all times, so J rests."""
    J = [[Fraction(0), Fraction(1)], [Fraction(1), Fraction(0)]]
    before, after = (exact_costs(J, [[Fraction(a)] * 2] * 2, 2) for a in (1, 2))
    rests = exact_imbalances(before) == exact_imbalances(after) == [0, 0]
    return total(after) - total(before) if rests else Fraction(0)


def _two_units(rule: tuple[Fraction, Fraction], slopes: tuple[Fraction, Fraction]) -> Fraction:
    """Ċ for two synapses 1←2 and 2←1, τ = 1: log|J₁₂| changes by g₂ − g₁ = −2(c₁₂ − c₂₁), log|J₂₁| by
    the opposite; ``rule`` holds the costs that the rule sees and ``slopes`` those of C by log|J|."""
    return 2 * (rule[0] - rule[1]) * (slopes[1] - slopes[0])


@claim(
    Claim(
        "S.gradient-flow",
        "The local rule is gradient descent of the cost",
        f"{STOCK}, Results",
        "The local rule τJ̇_ij = (g_j − g_i)J_ij descends the cost C.",
        "Let C = Σ α_ij|J_ij|^p and g_i = Σ_j c_ij − Σ_j c_ji with c_ij = α_ij|J_ij|^p. Along a solution "
        "of τJ̇_ij = (g_j − g_i)J_ij one has J(t)_ij = e^{−h_i}J(0)_ij e^{h_j} with ḣ = g/τ, h(0) = 0; and "
        "∂C/∂h_k = −p·g_k, so Ċ = −p‖g‖²/τ: the cost falls strictly except where g = 0. In this package's "
        "sign, J_ij → J_ij exp(h_i − h_j), the gradient is +p·g.",
        (
            "p > 0, the same for all synapses, and τ > 0",
            "the coefficients α_ij are constant, and the rule uses the same ones as C",
            "continuous time",
        ),
        Verdict.proved,
    )
)
def gradient_flow() -> Findings:
    """c_ij e^{p(h_j − h_i)} depends on h_k only through row and column k."""
    mixed = _two_units((Fraction(3), Fraction(9, 4)), (Fraction(3), 2 * Fraction(9, 4)))
    other = _two_units((Fraction(2), Fraction(1)), (2 * Fraction(2), 2 * 3 * Fraction(1)))
    negative = _two_units((Fraction(1), Fraction(1, 2)), (-Fraction(1), -Fraction(1, 2)))
    return Findings(
        Printed(Verdict.proved, "holds for the flow; an Euler step can raise the cost"),
        (
            timed(
                "sympy",
                "N, c, h, p, τ symbolic: ∂C/∂h_k by Kronecker deltas is p·(Σ_i c_ik − Σ_j c_kj); "
                "e^{−h_i}J_ij e^{h_j} with ḣ = g/τ satisfies the rule entry by entry; the terms of Ċ are "
                "−p·g_k²/τ",
                Verdict.proved,
                _gradient_of_any_size,
            ),
            timed(
                "exact",
                "15 rational instances of 2 to 6 units with zeros and self-loops, p = 1, 2, 3: dual "
                "numbers give ∂C/∂h_k = −p·g_k and Ċ = −p‖g‖² without rounding",
                Verdict.certified,
                _gradient_exact,
            ),
            timed(
                "sampled",
                "the rule integrated on J itself (5 units, p = 1.5, τ = 0.7): C falls, its differences "
                "match −p‖g‖²/τ, and J(t) is the transform of J(0) by the integral of g/τ",
                Verdict.sampled,
                _flow_descends,
            ),
            timed(
                "sampled",
                "this package's gradient on a recurrent network of 6 units is +p·g, p = 1, 1.5, 2",
                Verdict.sampled,
                _package_gradient,
            ),
        ),
        (
            twin(
                "continuous time",
                _euler_raises(),
                "J = (0 4; 1 0), p = 2: one Euler step of 0.1 makes it (0 −8; 4 0), the cost rises from 17 "
                "to 80",
            ),
            twin(
                "one p for all synapses",
                mixed > 0,
                f"|J₁₂| + J₂₁² at J = (0 3; 3/2 0): g = (3/4, −3/4), but Ċ = {mixed} > 0",
            ),
            twin(
                "the rule uses the coefficients of C",
                other > 0,
                f"C = J₁₂² + 3J₂₁² at J = (0 √2; 1 0), rule with α = 1: Ċ = {other} > 0",
            ),
            twin(
                "p > 0",
                negative > 0,
                f"p = −1 at J = (0 1; 2 0): Ċ = {negative} > 0",
            ),
            twin(
                "the sign of h in the transform",
                _other_sign() == (-900, 900),
                "J = (0 4; 1 0), p = 2, g = (15, −15): with ḣ = g, Ċ = −900 where J_ij is scaled by "
                "e^{h_j − h_i}, and 900 where it is scaled by e^{h_i − h_j}",
            ),
            twin(
                "α is constant",
                _growing_coefficients() > 0,
                "J = (0 1; 1 0) is balanced for α = 1 + t and rests; Ċ = 2",
            ),
        ),
    )


# --- S.conserved --------------------------------------------------------------------------------------


def step(x: sympy.Expr, weight: sympy.Expr, y: sympy.Expr) -> sympy.Expr:
    """e^{−x}·weight·e^{y}: a weight, or the product along a walk from y to x, after the transform."""
    return sympy.exp(-x) * weight * sympy.exp(y)


def _invariants_of_any_size() -> bool:
    """One induction step for walks, one for read-in and read-out, translation, and the kernel of A."""
    a, b, c, w, J, P, s = sympy.symbols("a b c w J P s", real=True)  # a, b, c: h at first, middle, last unit

    # P over a walk from a to b, then one more synapse from b to c: the walk's ends alone are left.
    walk = step(a, P, b) * step(b, J, c) - step(a, P * J, c)
    closed = step(a, P, a) - P
    through = (w * sympy.exp(a)) * step(a, P, b) * (sympy.exp(-b) * J) - w * P * J  # W_out … W_in or b
    translated = step(a + s, J, b + s) - step(a, J, b)  # so Σ_k ∂C/∂h_k = −p·Σ g_k = 0
    # [J, G]_ij = (g_j − g_i)J_ij, entry by entry, is the rule.
    ga, gb = sympy.symbols("g_a g_b", real=True)
    lax = (J * gb - ga * J) - (gb - ga) * J
    return all(sympy.simplify(e) == 0 for e in (walk, closed, through, translated, lax))


def similar(J: sympy.MatrixExpr, D: sympy.MatrixExpr) -> sympy.MatrixExpr:
    """e^{−h}J e^{h}, with D = diag(e^h)."""
    return D.I * J * D


def _spectrum_of_any_size() -> bool:
    """det(t − D⁻¹JD) = det(D⁻¹(t − J)D) = det(t − J) and det(D⁻¹JD) = det J, N × N with N a symbol."""
    N, t = sympy.Symbol("N", integer=True, positive=True), sympy.Symbol("t")
    J, D = sympy.MatrixSymbol("J", N, N), sympy.MatrixSymbol("D", N, N)
    one = sympy.Identity(N)
    same = (D.I * (t * one - J) * D).expand().doit() == (t * one - similar(J, D)).doit()
    moved = sympy.det(D.I * (t * one - J) * D), sympy.det(similar(J, D))
    units = sympy.det(D) * sympy.det(D.I)  # det(D⁻¹D) = 1
    factors = all(
        sympy.simplify(a - b * units) == 0
        for a, b in zip(moved, (sympy.det(t * one - J), sympy.det(J)), strict=True)
    )
    return same and factors and (D.I * D).doit() == one


def _count_of_any_size() -> bool:
    """Synapse by synapse, rank A grows by 1 exactly if it joins two weak components.

    Within one, its row h_i − h_j is the sum of the rows along a path i … j (telescoping, one step of it).
    Between two, the indicator v of one of them has v_a − v_b = 0 on every row so far and 1 on the new one, so
    the kernel shrinks, by one dimension as for any single row.
    """
    h_i, h_j, h_k = sympy.symbols("h_i h_j h_k", real=True)
    within = sympy.expand((h_i - h_k) + (h_k - h_j) - (h_i - h_j)) == 0
    row, other = h_i - h_j, {h_i: 0, h_j: 0}
    between = row.subs({h_i: 1, h_j: 1}) == row.subs(other) == 0 and row.subs({h_i: 1, h_j: 0}) == 1
    return within and between


def _walks_exact() -> bool:
    """Rescaled rational networks: characteristic polynomial, simple cycles, paths from input to output."""
    for J, alpha, x in instances(2, (3, 4, 5, 6)):
        n = len(J)
        after = scaled(J, x)
        into = [alpha[0][i] for i in range(n)]
        out = [alpha[1][i] for i in range(n)]
        if _polynomial(J) != _polynomial(after) or _matrix(J).det() != _matrix(after).det():
            return False
        graph = nx.DiGraph([(j, i) for i in range(n) for j in range(n) if J[i][j]])
        graph.add_nodes_from(range(n))
        for cycle in nx.simple_cycles(graph):
            if _along(J, [*cycle, cycle[0]]) != _along(after, [*cycle, cycle[0]]):
                return False
        for start, end in product(range(n), repeat=2):
            walks = [[start]] if start == end else nx.all_simple_paths(graph, start, end)
            for walk in walks:
                before = out[end] * _along(J, walk) * into[start]
                if out[end] * x[end] * _along(after, walk) * into[start] / x[start] != before:
                    return False
    return True


def _matrix(J: Exact) -> fmpq_mat:
    return fmpq_mat(len(J), len(J), [fmpq(v.numerator, v.denominator) for row in J for v in row])


def _polynomial(J: Exact) -> list[fmpq]:
    return list(_matrix(J).charpoly().coeffs())


def _along(J: Exact, walk: Sequence[int]) -> Fraction:
    value = Fraction(1)
    for j, i in pairwise(walk):
        value *= J[i][j]
    return value


def components(n: int, synapses: Sequence[tuple[int, int]]) -> int:
    """The number of weak components of n units.

    >>> components(4, [(0, 1), (1, 0), (2, 2)])
    3
    """
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(synapses)
    return nx.number_connected_components(graph)


def rank(n: int, synapses: Sequence[tuple[int, int]]) -> int:
    """The exact rank of A: one row e_i − e_j per synapse, 0 for a self-loop."""
    if not synapses:
        return 0
    return fmpz_mat([[int(k == i) - int(k == j) for k in range(n)] for i, j in synapses]).rank()


def _all_graphs(n: int, loops: bool) -> Iterator[list[tuple[int, int]]]:
    places = [(i, j) for i in range(n) for j in range(n) if loops or i != j]
    for chosen in product((False, True), repeat=len(places)):
        yield [place for place, there in zip(places, chosen, strict=True) if there]


def _count_exact() -> bool:
    graphs = [(n, s) for n, loops in ((2, True), (3, True), (4, False)) for s in _all_graphs(n, loops)]
    return all(rank(n, s) == n - components(n, s) for n, s in graphs)


def _package_counts() -> bool:
    """The manifold that the package infers has as many invariants: all graphs on 3 units."""
    for synapses in _all_graphs(3, loops=False):
        J = np.zeros((3, 3))
        for i, j in synapses:
            J[i, j] = 1.0
        if infer(load(J)).invariants() != len(synapses) - (3 - components(3, synapses)):
            return False
    return True


def _flow_keeps() -> bool:
    flow = _example_flow()
    powers = np.array([[np.trace(np.linalg.matrix_power(J, k)) for k in range(1, 6)] for J in flow.J[::50]])
    determinants = np.linalg.det(flow.J[::50])
    return bool(
        np.allclose(powers, powers[0], rtol=1e-8, atol=1e-9)
        and np.allclose(determinants, determinants[0], rtol=1e-8)
        and np.max(np.abs(flow.h.sum(axis=1))) < 1e-9
        and np.max(np.abs(flow.h[-1])) > 0.1
    )


def _euler_drifts() -> bool:
    J = [[Fraction(0), Fraction(4)], [Fraction(1), Fraction(0)]]
    after = euler(J, ones(2), 2, Fraction(1, 100))
    return J[0][1] * J[1][0] == 4 and after[0][1] * after[1][0] == 4 * (1 - Fraction(3, 10) ** 2)


@claim(
    Claim(
        "S.conserved",
        "What balancing a recurrent network conserves",
        f"{STOCK}, Results and Methods",
        "The flow conserves many quantities and is integrable.",
        "Every rescaling e^{−h}J e^{h}, with W_in → e^{−h}W_in, b → e^{−h}b, W_out → W_out e^{h}, and so "
        "the flow too, keeps the product of the weights along each closed walk, along each walk from an "
        "input or bias through J to an output, the spectrum and the determinant of J. With G = diag(g) the "
        "rule is the Lax equation τJ̇ = [J, G]; its flow also keeps Σh over each weak component. All that "
        "rescalings keep of the nonzero entries of J are their signs and functions of nnz − (N − number of "
        "weak components) independent monomials.",
        (
            "read-in, bias and read-out are rescaled together with J",
            "exact rescaling: continuous time, or steps on h",
            "isolated units count as components, a self-loop as one nonzero entry",
        ),
        Verdict.proved,
        ("S.gradient-flow",),
    )
)
def conserved() -> Findings:
    """Products telescope; orbits of log|J| are parallel to range(A), and ker A is constant on components."""
    path = [[Fraction(v) for v in row] for row in ((0, 2, 0), (0, 0, 3), (5, 0, 0))]
    moved = scaled(path, [Fraction(1), Fraction(1), Fraction(2)])
    two_pairs = [(0, 1), (1, 0), (2, 3), (3, 2)]
    return Findings(
        Printed(
            Verdict.proved,
            "holds, with integrable read as: the rule has a Lax pair; for more than two connected units "
            "what rescalings keep fixes the orbit, not the path within it",
        ),
        (
            timed(
                "sympy",
                "induction over the length of a walk: only the scales of its ends are left, and they "
                "cancel where it is closed or ends in read-in and read-out. det(t − D⁻¹JD) = det(t − J), "
                "with N a symbol, for the spectrum and the determinant. C is unchanged by h → h "
                "+ s, so Σg = 0 on each component. [J, G] is the rule, entry by entry. Induction over the "
                "synapses: rank A grows by 1 exactly where one joins two weak components, so it is N − their "
                "number, and the invariants are the functions on the quotient by range(A)",
                Verdict.proved,
                lambda: _invariants_of_any_size() and _spectrum_of_any_size() and _count_of_any_size(),
            ),
            timed(
                "exact",
                "4 rational networks of 3 to 6 units: characteristic polynomial, determinant, every simple "
                "cycle and every simple path from read-in to read-out, before and after, without rounding",
                Verdict.certified,
                _walks_exact,
            ),
            timed(
                "exact",
                "the count against the rank of A over the integers, for all 4,624 directed graphs on 2 and "
                "3 units (with self-loops) and 4 units (without)",
                Verdict.certified,
                _count_exact,
            ),
            timed(
                "exact",
                "the invariants that this package infers for all 64 networks on 3 units",
                Verdict.certified,
                _package_counts,
            ),
            timed(
                "sampled",
                "the rule integrated on 5 units: traces of J to J⁵, determinant and Σh stay to 1e-8 while "
                "h moves",
                Verdict.sampled,
                _flow_keeps,
            ),
        ),
        (
            twin(
                "the walk is closed",
                _along(path, [2, 1, 0]) == 6 and _along(moved, [2, 1, 0]) == 12,
                "J₁₂ = 2, J₂₃ = 3, J₃₁ = 5: with e^h = (1, 1, 2) the product J₁₂J₂₃ goes from 6 to 12",
            ),
            twin(
                "read-in and read-out are rescaled too",
                _along(path, [2, 1]) == 3 and _along(moved, [2, 1]) == 6,
                "the same network with read-in 1 to unit 3 and read-out 1 from unit 2, both left alone: "
                "the path product goes from 3 to 6",
            ),
            twin(
                "Σh along the flow (any rescaling instead)",
                scaled(path, [Fraction(2), Fraction(1), Fraction(1)])[0][1] == 1,
                "balancing one unit after the other moves one h alone: h = (log 2, 0, 0) makes J₁₂ = 1 and "
                "has Σh = log 2",
            ),
            twin(
                "exact rescaling",
                _euler_drifts(),
                "J = (0 4; 1 0), p = 2: one Euler step of 0.01 takes the cycle's product from 4 to 3.64",
            ),
            twin(
                "the number of components (connectedness assumed instead)",
                len(two_pairs) - rank(4, two_pairs) == 2 and components(4, two_pairs) == 2,
                "1⇄2 and 3⇄4: nnz − (N − 1) = 1, but both cycle products are invariants",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (gradient_flow, conserved)
