"""[S]: in the log-scales the cost is convex, and its Hessian is the Laplacian of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import networkx as nx
import numpy as np
import sympy

from balproof.balance.problem import BalanceProblem
from balproof.theorems.b_lemmas import STOCK, twin, vanishes
from balproof.theorems.instances import rank, recurrent
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.theorems.s_flow import Exact, components, exact_costs, instances, scaled
from balproof.verdict import Verdict, timed

_C, _P = sympy.symbols("c p", positive=True)


def laplacian(w: Exact) -> Exact:
    """Lap(w) of a symmetric matrix of edge weights: Σ_l w_kl on the diagonal, −w_kl off it; loops drop out.

    >>> laplacian([[Fraction(7), Fraction(2)], [Fraction(2), Fraction(0)]])[0]
    [Fraction(2, 1), Fraction(-2, 1)]
    """
    degrees = [sum(row, Fraction(0)) - row[k] for k, row in enumerate(w)]
    return [[degrees[k] if k == m else -v for m, v in enumerate(row)] for k, row in enumerate(w)]


def both_ways(c: Exact) -> Exact:
    """c + cᵀ."""
    return [[v + c[j][i] for j, v in enumerate(row)] for i, row in enumerate(c)]


def cost(c: sympy.Expr, p: sympy.Expr, sent: sympy.Expr, received: sympy.Expr) -> sympy.Expr:
    """The cost of one synapse after the transform, in the paper's sign; ``sent`` is the h of the sender."""
    return c * sympy.exp(p * (sent - received))


def _entries_of_any_size() -> bool:
    """∂²c_ij/∂h_k∂h_l = p²c_ij(δ_jk − δ_ik)(δ_jl − δ_il): the Laplacian of one edge between i and j."""
    i, j, k, m = sympy.symbols("i j k l", integer=True)
    h, c = sympy.IndexedBase("h"), sympy.IndexedBase("c")
    now = cost(c[i, j], _P, h[j], h[i])
    delta = sympy.KroneckerDelta
    edge = (delta(j, k) - delta(i, k)) * (delta(j, m) - delta(i, m))
    return vanishes(now.diff(h[k]).diff(h[m]) - _P**2 * now * edge)


def _form_of_any_size() -> bool:
    """The quadratic forms: d²/ds² of one cost along a line, one edge of Lap(c + cᵀ), and its sign.

    Σ_k x_k Σ_l w_kl(x_k − x_l) is, with the terms of (k, l) and (l, k) together, Σ_{k<l} w_kl(x_k − x_l)²; a
    symmetric matrix is determined by its form. The form is 0 only if x agrees across each synapse, so along
    each path, step by step.
    """
    s, hi, hj, xi, xj, xk, w, back = sympy.symbols("s h_i h_j x_i x_j x_k w back", real=True)
    along = cost(_C, _P, hj + s * xj, hi + s * xi)
    here = cost(_C, _P, hj, hi)
    second = sympy.diff(along, s, 2).subs(s, 0) - _P**2 * here * (xj - xi) ** 2
    pair = w * xi * (xi - xj) + w * xj * (xj - xi) - w * (xi - xj) ** 2
    added = (w + back) * (xi - xj) ** 2 - (w * (xi - xj) ** 2 + back * (xj - xi) ** 2)
    gap = sympy.Symbol("gap", real=True, nonzero=True)
    positive = (_P**2 * here * gap**2).is_positive is True and _P.is_nonzero is True
    step = (xi - xj) + (xj - xk) - (xi - xk)
    return vanishes(second, pair, added, step) and positive


def second_derivatives(c: Exact, p: int, x: Sequence[Fraction]) -> Exact:
    """∂²C/∂h_k∂h_l at x = e^h: C is a rational function of x, differentiated as such with ∂/∂h = x·∂/∂x."""
    n = len(c)
    at = sympy.symbols(f"x0:{n}", positive=True)
    total = sum(
        (sympy.Rational(v.numerator, v.denominator) * (at[j] / at[i]) ** p)
        for i, row in enumerate(c)
        for j, v in enumerate(row)
    )
    values = [sympy.Rational(v.numerator, v.denominator) for v in x]
    values = dict(zip(at, values, strict=True))

    def exact(e: sympy.Expr) -> Fraction:
        value = sympy.Rational(e.subs(values))
        return Fraction(int(value.p), int(value.q))

    slopes = [a * sympy.diff(total, a) for a in at]
    return [[exact(b * sympy.diff(s, b)) for b in at] for s in slopes]


def _hessian_exact() -> bool:
    for J, alpha, x in instances(41, (1, 2, 3, 4)):
        for p in (1, 2, 3):
            expected = laplacian(both_ways(exact_costs(scaled(J, x), alpha, p)))
            found = second_derivatives(exact_costs(J, alpha, p), p, x)
            if found != [[p * p * v for v in row] for row in expected]:
                return False
    return True


def _kernel_exact() -> bool:
    """The rank is N − the number of weak components: all graphs on 2 and 3 units with loops, on 4 without."""
    rng = np.random.default_rng(42)
    for n, loops in ((2, True), (3, True), (4, False)):
        places = [(i, j) for i in range(n) for j in range(n) if loops or i != j]
        for chosen in product((False, True), repeat=len(places)):
            there = [place for place, yes in zip(places, chosen, strict=True) if yes]
            c = [[Fraction(0)] * n for _ in range(n)]
            for (i, j), v in zip(there, rng.integers(1, 9, len(there)), strict=True):
                c[i][j] = Fraction(int(v), 3)
            if rank(laplacian(both_ways(c))) != n - components(n, there):
                return False
    return True


def _package_agrees() -> bool:
    """The package's Hessian against NetworkX's Laplacian of the undirected graph; least eigenvalue ≥ 0."""
    rng = np.random.default_rng(43)
    for p, n in product((0.5, 1.0, 1.5, 2.0), (4, 7)):
        J = rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.6)
        h = rng.normal(size=n) / 2
        c = np.abs(J * np.exp(h[:, None] - h[None, :])) ** p
        graph: nx.Graph[int] = nx.from_numpy_array(np.triu(c + c.T, 1))
        expected = p * p * nx.laplacian_matrix(graph, nodelist=range(n)).toarray()
        problem = BalanceProblem.build(recurrent(J.tolist()), f"lp:{p}")
        found = problem.hessian(h).toarray()
        if not np.allclose(found, expected, rtol=1e-9, atol=1e-9 * float(np.max(expected))):
            return False
        if np.linalg.eigvalsh(found)[0] < -1e-9 * float(np.max(expected)):
            return False
    return True


def _hessian(total: sympy.Expr, variables: Sequence[sympy.Symbol]) -> sympy.Matrix:
    """At h = 0."""
    return sympy.hessian(total, variables).subs(dict.fromkeys(variables, 0))


def _twin_values() -> dict[str, object]:
    """What each witness gives, by the hypothesis that it lacks."""
    a, b = sympy.symbols("h_1 h_2", real=True)
    J = sympy.Symbol("J", positive=True)
    one, half = sympy.S.One, sympy.Rational(1, 2)
    x, ones = sympy.Matrix([1, 0]), sympy.Matrix([1, 1])
    negative = _hessian(cost(-one, one, b, a), (a, b))
    loop = _hessian(cost(one, one, b, a), (a, b))
    mixed = _hessian(cost(one, one, b, a) + cost(one, 2 * one, a, b), (a, b))
    read_in = _hessian(sympy.exp(-2 * a), (a,))
    squared = _hessian(cost(one, one, 2 * b, a), (a, b))
    return {
        "scales": sympy.diff(J**half, J, 2).subs(J, 1),
        "positive": (x.T * negative * x)[0],
        "p": _hessian(cost(one, sympy.S.Zero, b, a), (a, b)) * x,
        "weak": (x.T * loop * x)[0],
        "one p": mixed[0, 0],
        "recurrent": read_in[0, 0],
        "degree": squared * ones,
    }


@claim(
    Claim(
        "S.laplacian",
        "The cost is convex, its Hessian a graph Laplacian",
        f"{STOCK}, Methods",
        "The Hessian of the cost in the log-scales is a graph Laplacian.",
        r"Let $C(h)=\sum\alpha_{ij}|J_{ij}|^pe^{p(h_j-h_i)}$, $c_{ij}$ its terms, and "
        r"$(\mathrm{Lap}(w)x)_k=\sum_lw_{kl}(x_k-x_l)$. Then $\nabla^2C=p^2\,\mathrm{Lap}(c+c^\top)$ at "
        r"every $h$, and $x^\top\nabla^2C\,x=p^2\sum c_{ij}(x_i-x_j)^2\ge 0$: $C$ is convex. The kernel is "
        r"the functions that are constant on weak components, so the rank is N less their number.",
        (
            "p ≠ 0, one for all synapses",
            "costs positive on the synapses that are there; self-loops drop out",
            "the cost counts recurrent weights alone",
            "φ of degree 1, for the transform",
        ),
        Verdict.proved,
        ("S.gradient-flow",),
    )
)
def hessian_is_laplacian() -> Findings:
    """The Hessian of e^{p(h_j − h_i)} is p² times the Laplacian of one edge."""
    value = _twin_values()
    return Findings(
        Printed(
            Verdict.proved,
            "holds up to the factor p², for the undirected graph in which the costs of the two directions "
            "are added",
        ),
        (
            timed(
                "sympy",
                "any number of units, h, c, p symbolic: ∂²c_ij/∂h_k∂h_l = p²c_ij(δ_jk − δ_ik)(δ_jl − δ_il), "
                "the Laplacian of one edge; along a line its second derivative is p²c_ij(x_i − x_j)², which "
                "is positive unless x_i = x_j; equal across each synapse is constant on each weak "
                "component, by telescoping",
                Verdict.proved,
                lambda: _entries_of_any_size() and _form_of_any_size(),
            ),
            timed(
                "exact",
                "12 rational instances of 1 to 4 units, p = 1, 2, 3: the second derivatives of C as a "
                "rational function of e^h are p²·Lap(c + cᵀ)",
                Verdict.certified,
                _hessian_exact,
            ),
            timed(
                "exact",
                "the rank of Lap(c + cᵀ) over the rationals is N − the number of weak components, for all "
                "4,624 directed graphs on 2 and 3 units (with self-loops) and 4 units (without)",
                Verdict.certified,
                _kernel_exact,
            ),
            timed(
                "sampled",
                "this package's Hessian is p² times NetworkX's Laplacian, with no negative eigenvalue: "
                "networks of 4 and 7 units, p = 1/2, 1, 1.5, 2",
                Verdict.sampled,
                _package_agrees,
            ),
        ),
        (
            twin(
                "in the log-scales (in the weights instead)",
                value["scales"] == sympy.Rational(-1, 4),
                "p = 1/2: the second derivative of |J|^(1/2) at J = 1 is −1/4",
            ),
            twin(
                "costs positive",
                value["positive"] == -1,
                "one synapse with cost −1, p = 1: x = (1, 0) has the form −1",
            ),
            twin(
                "p ≠ 0",
                value["p"] == sympy.zeros(2, 1),
                "one synapse with p = 0: C is constant, and x = (1, 0) lies in the kernel",
            ),
            twin(
                "weak components (strong ones instead)",
                value["weak"] == 1,
                "one synapse with cost 1: x = (1, 0) is constant on both strong components; its form is 1",
            ),
            twin(
                "one p for all synapses",
                value["one p"] == 5,
                "1⇄2 with costs 1, one with p = 1 and one with p = 2: the entry is 5, not 2p² for either p "
                "(it is the Laplacian of the costs times p²)",
            ),
            twin(
                "recurrent weights alone",
                value["recurrent"] == 4,
                "one unit with W_in = 1, p = 2, in the cost: C = e^{−2h}, and the Hessian (4) has no kernel",
            ),
            twin(
                "degree 1",
                value["degree"] == sympy.Matrix([-1, 2]),
                "one synapse from a unit of degree 2, p = 1: c·e^{2h_2 − h_1} has a Hessian that maps (1, "
                "1) to (−1, 2), not to 0",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (hessian_is_laplacian,)
