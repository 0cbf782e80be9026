"""[S]: balancing a recurrent network is balancing its matrix, and one step of it is Osborne's."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import networkx as nx
import numpy as np
import sympy
from scipy.linalg import matrix_balance

from balproof.balance.convex import solve_convex
from balproof.balance.descent import stochastic
from balproof.balance.existence import existence, is_circulation, is_direction
from balproof.balance.problem import BalanceProblem
from balproof.importers import load
from balproof.network.equations import Form
from balproof.theorems.b_lemmas import STOCK, exponential_above_tangent, near, twin, vanishes
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray


def factor(row: Any, column: Any, p: Any) -> Any:
    """What Osborne's step multiplies a row by, and divides the column by; numbers or symbols."""
    return (column / row) ** (1 / (2 * p))


def osborne(J: Array, p: float, sweeps: int) -> Array:
    """Osborne's iteration as in the textbooks: make the p-norms of row k and column k equal, in turn.

    It is written apart from the package's own methods, to compare them with.

    >>> osborne(np.array([[0.0, 4.0], [1.0, 0.0]]), 1.0, 1).round(12).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    now = J.copy()
    for _ in range(sweeps):
        for k in range(len(now)):
            others = np.arange(len(now)) != k
            row, column = np.sum(np.abs(now[k, others]) ** p), np.sum(np.abs(now[others, k]) ** p)
            if row > 0 and column > 0:
                scale = factor(row, column, p)
                now[k, :] *= scale
                now[:, k] /= scale
    return now


def unbalance(J: Array, p: float) -> float:
    """The largest relative difference between the costs of a row and of its column, without self-loops."""
    c = np.abs(J) ** p
    np.fill_diagonal(c, 0.0)
    rows, columns = c.sum(axis=1), c.sum(axis=0)
    total = rows + columns
    return float(np.max(np.abs(rows - columns)[total > 0] / total[total > 0], initial=0.0))


def irreducible_example(seed: int, n: int) -> Array:
    """A random matrix with zeros, signs and self-loops, over three decades, strongly connected by a ring."""
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(n, n)) * np.exp(rng.normal(size=(n, n)) * 1.5) * (rng.random((n, n)) < 0.4)
    ring = np.arange(n)
    J[ring, (ring + 1) % n] += np.where(J[ring, (ring + 1) % n] >= 0, 0.1, -0.1)
    return J


def _step_is_osborne() -> bool:
    """For every p, row cost r and column cost c: the coordinate minimum is at e^s = (c/r)^{1/2p}."""
    r, c, p = sympy.symbols("r c p", positive=True)
    s = sympy.Symbol("s", real=True)
    cost = r * sympy.exp(p * s) + c * sympy.exp(-p * s)
    best = sympy.expand_log(sympy.log(factor(r, c, p)), force=True)
    stationary = sympy.expand(sympy.simplify(cost.diff(s).subs(s, best)))
    convex = sympy.simplify(cost.diff(s, 2) - p**2 * cost) == 0 and cost.is_positive is True
    equal = (r * sympy.exp(p * best) - c * sympy.exp(-p * best)).rewrite(sympy.Pow)
    return vanishes(sympy.simplify(stationary), sympy.simplify(equal)) and convex


def _unique_in_orbit() -> bool:
    """F(h + d) − F(h) − ⟨∇F(h), d⟩ has the terms ω(e^u − 1 − u), u = p(d_i − d_j), each ≥ 0 and 0 only at
    u = 0: two balanced matrices of one orbit agree in every entry."""
    w, p = sympy.symbols("omega p", positive=True)
    hi, hj, di, dj = sympy.symbols("h_i h_j d_i d_j", real=True)

    def cost(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
        return w * sympy.exp(p * (a - b))

    here = cost(hi, hj)
    u = p * (di - dj)
    slope = here.diff(hi) * di + here.diff(hj) * dj
    rest = cost(hi + di, hj + dj) - here - slope - here * (sympy.exp(u) - 1 - u)
    return vanishes(rest) and exponential_above_tangent()


def _first_step_agrees() -> bool:
    """The package's exact coordinate step on a recurrent network is the textbook's."""
    for seed, p in product(range(4), (1.0, 1.5, 2.0)):
        J = irreducible_example(seed, 6)
        problem = BalanceProblem.build(load(J), f"lp:{p}")
        order = [k for k in range(6) if problem.active[k]]
        state = stochastic(problem, order)
        ours = J * np.exp(state.h[:, None] - state.h[None, :])
        if order != list(range(6)) or not np.allclose(ours, osborne(J, p, 1), rtol=1e-11):
            return False
    return True


def _methods_meet() -> bool:
    """Stochastic balancing from two seeds, Osborne's iteration and CVXPY: one matrix; its p-norms agree."""
    for seed, p in ((11, 1.0), (12, 2.0)):
        J = irreducible_example(seed, 7)
        problem = BalanceProblem.build(load(J), f"lp:{p}")
        ends: list[Array] = []
        for start in (0, 1):
            h = stochastic(problem, seed=start).h
            ends.append(J * np.exp(h[:, None] - h[None, :]))
        textbook = osborne(J, p, 600)
        optimum = solve_convex(problem)
        scale = np.exp(optimum.h[:, None] - optimum.h[None, :])
        if not (
            all(np.allclose(end, textbook, rtol=1e-10) for end in ends)
            and unbalance(textbook, p) < 1e-12
            and near(optimum.value, float(np.sum(np.abs(textbook) ** p)), 1e-7)
            and np.allclose(J * scale, textbook, rtol=1e-3)
        ):
            return False
    return True


def _lapack_agrees() -> bool:
    """LAPACK balances in powers of 2: it leaves our balanced matrix alone, and its own coarse result, which
    lies on the same orbit, balances to the same matrix."""
    for seed in (21, 22, 23):
        J = irreducible_example(seed, 8)
        h = stochastic(BalanceProblem.build(load(J), "l2")).h
        balanced = J * np.exp(h[:, None] - h[None, :])
        same, _ = matrix_balance(balanced, permute=False)
        coarse, _ = matrix_balance(J, permute=False)
        h = stochastic(BalanceProblem.build(load(coarse), "l2")).h
        again = coarse * np.exp(h[:, None] - h[None, :])
        if not np.array_equal(same, balanced) or np.array_equal(coarse, J):
            return False
        if not np.allclose(again, balanced, rtol=1e-10):
            return False
    return True


def _patterns(n: int) -> Iterator[Array]:
    """Every set of synapses between n units, without self-loops."""
    places = [(i, j) for i in range(n) for j in range(n) if i != j]
    for chosen in product((0.0, 1.0), repeat=len(places)):
        J = np.zeros((n, n))
        for (i, j), value in zip(places, chosen, strict=True):
            J[i, j] = value
        yield J


def completely_reducible(J: Array) -> bool:
    """Whether every synapse lies on a directed cycle: block diagonal with irreducible or zero blocks.

    >>> completely_reducible(np.array([[0, 1], [1, 0]])), completely_reducible(np.array([[0, 1], [0, 0]]))
    (True, False)
    """
    reach = np.linalg.matrix_power(np.eye(len(J), dtype=int) + (J != 0), len(J)) > 0
    return bool(np.all(reach.T[J != 0]))


def certificate(J: Array) -> bool | None:
    """True with a positive circulation, False with a direction along which no cost rises and one falls.

    Each was checked in exact arithmetic; None if neither was found.
    """
    synapses = [(int(i), int(j)) for i, j in np.argwhere(J != 0)]
    rows: list[Form] = [((i, Fraction(1)), (j, Fraction(-1))) for i, j in synapses]
    graph: nx.DiGraph[int] = nx.DiGraph([(j, i) for i, j in synapses])
    z = dict.fromkeys(synapses, Fraction(0))
    for i, j in synapses:
        if not nx.has_path(graph, i, j):
            # A bridge from j to i: what lies behind it sends nothing back, so scale all of it down.
            behind = {i, *nx.descendants(graph, i)}
            return False if is_direction(rows, dict.fromkeys(behind, Fraction(-1))) else None
        back = nx.shortest_path(graph, i, j)  # closes a cycle through this synapse
        for tail, head in pairwise([j, *back]):
            z[head, tail] += 1
    return True if is_circulation(rows, [z[s] for s in synapses]) else None


def _existence_by_pattern() -> bool:
    """Which of the two certificates exists depends on the pattern alone: all patterns on 2, 3, 4 units."""
    return all(certificate(J) is completely_reducible(J) for n in (2, 3, 4) for J in _patterns(n))


def _no_dead_unit(J: Array) -> bool:
    return bool(np.all(J.sum(axis=0) > 0) and np.all(J.sum(axis=1) > 0))


def _package_decides() -> bool:
    """The package's own existence certificate, where no unit is dead: both answers occur."""
    chosen = [J for J in _patterns(3) if _no_dead_unit(J)]
    bridged = [J for J in _patterns(4) if _no_dead_unit(J) and not completely_reducible(J)]
    answers = [existence(BalanceProblem.build(load(J), "l2")).attained for J in (*chosen, *bridged)]
    return len(bridged) == 90 and answers == [True] * len(chosen) + [False] * 90


def _bridge_falls() -> bool:
    """1⇄2→3⇄4, all weights 1: the bridge's cost falls without end, though every unit has IN, OUT > 0."""
    J = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
    bridge = [float(osborne(J, 1.0, sweeps)[2, 1]) for sweeps in (0, 10, 100, 1000)]
    shrinks = all(b < a / 3 for a, b in pairwise(bridge))
    return shrinks and certificate(J) is False and not completely_reducible(J)


def _read_in_counts() -> bool:
    """One unit with a self-loop, read-in 4, read-out 1: J is balanced as it is, the network is not."""
    arrays = {"J": np.eye(1), "W_in": np.array([[4.0]]), "W_out": np.eye(1)}
    problem = BalanceProblem.build(load(arrays), "l1")
    h = stochastic(problem).h
    moved = problem.manifold.rescale(h)
    return (
        unbalance(np.eye(1), 1.0) == 0.0
        and near(problem.cost(np.zeros(1)), 6.0)
        and near(problem.cost(h), 5.0)
        and near(float(moved.numbers("J")[0, 0]), 1.0)
        and near(float(moved.numbers("W_in")[0, 0]), 2.0)
    )


def _one_sided_unit() -> bool:
    c, p = sympy.symbols("c p", positive=True)
    s = sympy.Symbol("s", real=True)
    return sympy.diff(c * sympy.exp(-p * s), s).is_negative is True


def _other_exponent() -> bool:
    """Rows and columns of equal sums, but of unequal sums of squares."""
    J = np.array([[0.0, 1, 1], [2, 0, 0], [0, 1, 0]])
    return unbalance(J, 1.0) == 0.0 and np.sum(J[0] ** 2) == 2 and np.sum(J[:, 0] ** 2) == 4


def _scales_shift() -> bool:
    J = np.array([[0.0, 4], [1, 0]])
    first, second = np.array([0.5, 1.0]), np.array([1.0, 2.0])  # e^h
    one, two = (J * x[:, None] / x[None, :] for x in (first, second))
    return (
        np.array_equal(one, two)
        and np.array_equal(one, [[0, 2], [2, 0]])
        and not np.array_equal(first, second)
    )


@claim(
    Claim(
        "S.osborne",
        "Balancing a recurrent network is balancing its matrix",
        f"{STOCK}, Discussion; Osborne 1960; Eaves, Hoffman, Rothblum, Schneider 1985",
        "The rule solves the matrix balancing problem of numerical linear algebra.",
        "For C = Σ|J_ij|^p over J alone: (a) the exact minimum over one scale h_k multiplies row k and "
        "divides column k by (c/r)^{1/2p}, r and c their off-diagonal sums of |J_ij|^p, which is Osborne's "
        "step in ℓ_p; (b) some rescaling of J is balanced exactly if J is completely reducible, that is, "
        "if every synapse lies on a directed cycle; (c) it is then the only balanced matrix in the orbit "
        "and has the least cost; h is unique up to a constant on each weak component.",
        (
            "p > 0, one for all synapses",
            "the cost counts recurrent weights alone, not read-in, bias and read-out",
            "no zero row or column off the diagonal, for the step (a)",
        ),
        Verdict.certified,
        ("S.gradient-flow", "S.conserved", "B.existence", "B.strictly-convex"),
    )
)
def matrix_balancing() -> Findings:
    """A balanced J is a circulation, and a positive circulation needs every synapse on a cycle."""
    return Findings(
        Printed(
            Verdict.certified,
            "the two problems are the same, where there is a balanced state: for completely reducible "
            "matrices",
        ),
        (
            timed(
                "sympy",
                "(a) for every r, c, p > 0: r·e^{ps} + c·e^{−ps} is strictly convex with its minimum at "
                "e^s = (c/r)^{1/2p}, where both parts are equal; (c) for every ω, p > 0: C(h + d) − C(h) − "
                "⟨∇C(h), d⟩ is a sum of ω(e^u − 1 − u) > 0 for u ≠ 0. Both hold for all matrices; counted "
                "as certified because (b) is",
                Verdict.certified,
                lambda: _step_is_osborne() and _unique_in_orbit(),
            ),
            timed(
                "exact",
                "(b) all 4,164 patterns of synapses on 2, 3 and 4 units: a positive integer circulation "
                "where every synapse lies on a cycle, otherwise a direction along which no cost rises and "
                "one falls; either decides all matrices of the pattern and every p",
                Verdict.certified,
                _existence_by_pattern,
            ),
            timed(
                "exact",
                "this package's existence certificates: attained on all patterns on 3 units, not attained "
                "on the 90 patterns on 4 units with a bridge, dead units aside",
                Verdict.certified,
                _package_decides,
            ),
            timed(
                "sampled",
                "this package's steps are those of a textbook Osborne iteration, entry by entry: 12 "
                "matrices, p = 1, 1.5, 2",
                Verdict.sampled,
                _first_step_agrees,
            ),
            timed(
                "convex",
                "stochastic balancing from two seeds and Osborne's iteration end in one matrix (1e-10), "
                "and the optimum that CVXPY finds has its cost (1e-7) and weights: 7 units, p = 1, 2",
                Verdict.sampled,
                _methods_meet,
            ),
            timed(
                "sampled",
                "LAPACK's balancing (powers of 2) leaves the balanced matrices alone, and its results from "
                "the unbalanced ones balance to the same matrices: 3 of 8 units",
                Verdict.sampled,
                _lapack_agrees,
            ),
        ),
        (
            twin(
                "completely reducible",
                _bridge_falls(),
                "1⇄2→3⇄4 with weights 1: every unit has incoming and outgoing cost, yet over 10, 100, 1000 "
                "sweeps the bridge falls below 1/3, 1/9, 1/27; h = (0, 0, −1, −1) lowers its cost for ever",
            ),
            twin(
                "recurrent weights alone",
                _read_in_counts(),
                "one unit with J = 1, W_in = 4, W_out = 1, p = 1: J is balanced, the cost of the network "
                "falls from 6 to 5",
            ),
            twin(
                "no zero row or column, for the step",
                _one_sided_unit(),
                "row k zero, column k with cost c: c·e^{−ps} falls for ever, and (c/r)^{1/2p} is infinite",
            ),
            twin(
                "one p",
                _other_exponent(),
                "J = (0 1 1; 2 0 0; 0 1 0) is balanced for p = 1; for p = 2 row 1 has 2 and column 1 has 4",
            ),
            twin(
                "uniqueness of the matrix (of the scales instead)",
                _scales_shift(),
                "J = (0 4; 1 0): e^h = (1/2, 1) and e^h = (1, 2) both give (0 2; 2 0)",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (matrix_balancing,)
