"""Related results: path norms, and the least largest norm of a unit over all rescalings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from scipy.optimize import minimize

from balproof.theorems.b_lemmas import by_z3, printed_false, twin, vanishes
from balproof.theorems.graphs import Edge, Graph, dense, random_dag, random_weights, ratio
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray


def path_sums(graph: Graph, costs: Mapping[Edge, Any]) -> dict[str, Any]:
    """For each unit, the sum over all paths from inputs to it of the product of |w|^p along the path.

    >>> g = dense((1, 2, 1))
    >>> path_sums(g, dict(zip(g.edges, (2, 3, 5, 7)))) == {"u0_0": 1, "u1_0": 2, "u1_1": 3, "u2_0": 31}
    True
    """
    found: dict[str, Any] = {}
    for v in graph.order:
        into = [e for e in graph.edges if e[1] == v]
        found[v] = sum(costs[e] * found[e[0]] for e in into) if into else 1
    return found


def path_norm(graph: Graph, costs: Mapping[Edge, Any]) -> Any:
    """The path norm to the power p: the sum over all paths from an input to an output."""
    sums = path_sums(graph, costs)
    return sum(sums[y] for y in graph.outputs)


def largest(graph: Graph, costs: Mapping[Edge, Any]) -> Any:
    """The largest norm of a unit, to the power p: the largest sum of |w|^p into one unit."""
    return max(sum(costs[e] for e in graph.edges if e[1] == v) for v in graph.order if v not in graph.inputs)


def rescaled(graph: Graph, costs: Mapping[Edge, Any], scales: Mapping[str, Any]) -> dict[Edge, Any]:
    """|w|^p times s_v/s_u on u→v, where s = λ^p is 1 for visible units."""
    return {(u, v): costs[u, v] * scales.get(v, 1) / scales.get(u, 1) for u, v in graph.edges}


def best_scales(graph: Graph, costs: Mapping[Edge, Any], root: Any) -> dict[str, Any]:
    """s_v = t^l/γ_v for unit v of layer l, where t^depth is the path norm to the power p and γ_v the path
    sum to v."""
    sums = path_sums(graph, costs)
    return {v: root ** int(v[1 : v.index("_")]) / sums[v] for v in graph.hidden}


def _kept_of_any_size() -> bool:
    """If s_uγ_u are the path sums of the rescaled network before v, s_vγ_v is the one at v: term by term.

    And with s = t^l/γ every unit of layer l has Σ_u |w|^p s_v/s_u = t·γ_v/γ_v = t; at the output, with s = 1,
    γ_y/t^{d−1} = t.
    """
    u, N, layer, d = sympy.symbols("u N l d", integer=True, positive=True)
    t, at_v, s_v = sympy.symbols("t gamma_v s_v", positive=True)
    m, gamma, s = (sympy.IndexedBase(name, positive=True) for name in ("m", "gamma", "s"))
    kept = sympy.Sum(m[u] * s_v / s[u] * (s[u] * gamma[u]), (u, 1, N)) - s_v * sympy.Sum(
        m[u] * gamma[u], (u, 1, N)
    )
    inner = m[u] * (t**layer / at_v) / (t ** (layer - 1) / gamma[u]) - (t / at_v) * m[u] * gamma[u]
    outer = m[u] / (t ** (d - 1) / gamma[u]) - t ** (1 - d) * m[u] * gamma[u]
    return sympy.simplify(kept) == 0 and vanishes(inner, outer, t ** (1 - d) * t**d - t)


def _bound_queries() -> list[list[sympy.Basic]]:
    """γ_u ≤ b for all u and Σ m_u ≤ τ give Σ m_uγ_u ≤ τ·b: one more term at a time, σ standing for the sum of
    the m before it and x for their Σ mγ ≤ σb."""
    m, gamma, b, sigma, x, tau = sympy.symbols("m gamma b sigma x tau", real=True)
    signs = [m >= 0, gamma >= 0, sigma >= 0, b >= 0]
    return [
        [*signs, gamma <= b, x <= sigma * b, x + m * gamma > (sigma + m) * b],
        [*signs, x <= sigma * b, sigma <= tau, x > tau * b],
    ]


def _net_queries() -> list[list[sympy.Basic]]:
    """1-1-1-1 and 1-2-1: no rescaling has every unit at or below τ where τ^depth is below the path norm."""
    a, b, c, d, s, r, tau = sympy.symbols("a b c d s r tau", positive=True)
    return [
        [a * s <= tau, b * r <= tau * s, c <= tau * r, tau**3 < a * b * c],
        [a * s <= tau, b * r <= tau, c * r + d * s <= tau * s * r, tau**2 < a * c + b * d],
    ]


def instances(seed: int) -> list[tuple[Graph, dict[Edge, Fraction], Fraction]]:
    """Layered networks with one output and costs |w|^p whose path norm is a power t^depth of a fraction t."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Graph, dict[Edge, Fraction], Fraction]] = []
    for sizes in ((2, 1), (2, 3, 1), (3, 2, 4, 1), (1, 2, 2, 3, 1)):
        graph = dense(sizes)
        costs = {e: abs(v) for e, v in random_weights(graph, rng).items()}
        root = abs(ratio(rng))
        last = f"u{len(sizes) - 1}_0"
        factor = root ** (len(sizes) - 1) / path_norm(graph, costs)
        found.append((graph, {e: v * (factor if e[1] == last else 1) for e, v in costs.items()}, root))
    return found


def _reached_exactly() -> bool:
    """After the best scales every unit has norm t; 100 other rescalings keep the path norm, and none is
    below t."""
    rng = np.random.default_rng(62)
    for graph, costs, root in instances(61):
        best = rescaled(graph, costs, best_scales(graph, costs, root))
        norms = {sum(best[e] for e in graph.edges if e[1] == v) for v in graph.order if v not in graph.inputs}
        if norms != {root} or largest(graph, best) != root:
            return False
        for _ in range(25):
            other = rescaled(graph, costs, {v: abs(ratio(rng)) for v in graph.hidden})
            if path_norm(graph, other) != path_norm(graph, costs) or largest(graph, other) < root:
                return False
    return True


def _kept_on_graphs() -> bool:
    """Rescalings keep the path norm of graphs that are not layered, with biases."""
    rng = np.random.default_rng(63)
    for hidden in (1, 3, 5, 8):
        graph = random_dag(rng, hidden)
        costs = {e: abs(v) for e, v in random_weights(graph, rng).items()}
        scales = {v: abs(ratio(rng)) for v in graph.hidden}
        if path_norm(graph, rescaled(graph, costs, scales)) != path_norm(graph, costs):
            return False
    return True


def least_by_search(graph: Graph, costs: Mapping[Edge, Any]) -> float:
    """The least log of the largest norm^p over all rescalings, by SciPy: a convex program in log s."""
    names = graph.hidden
    units = [v for v in graph.order if v not in graph.inputs]

    def norms(h: Array) -> Array:
        now = rescaled(graph, costs, dict(zip(names, np.exp(h).tolist(), strict=True)))
        return np.log([float(sum(now[e] for e in graph.edges if e[1] == v)) for v in units])

    start = np.append(np.zeros(len(names)), float(np.max(norms(np.zeros(len(names))))))
    found = minimize(
        lambda x: x[-1],
        start,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: x[-1] - norms(x[:-1])},
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return float(found.x[-1])


def _search_agrees() -> bool:
    return all(
        abs(least_by_search(graph, {e: float(v) for e, v in costs.items()}) - np.log(float(root))) < 1e-6
        for graph, costs, root in instances(64)
    )


def two_outputs() -> bool:
    """x→u→(y₁, y₂), all weights 1: the largest norm is 1 as it is, the path norm 2, whatever the power."""
    network = counterexample("two_outputs")
    U, V = network.numbers("U"), network.numbers("V")
    graph = dense((1, 1, 2))
    costs = {e: Fraction(float((V if e[0] == "u1_0" else U)[int(e[1][3:]), 0])) for e in graph.edges}
    return (largest(graph, costs), path_norm(graph, costs)) == (1, 2)


def shortcut(start: str) -> tuple[sympy.Expr, Fraction]:
    """x→u→y with weights 1 and one more weight 1 from ``start`` to y: the least of max(s, 1 + 1/s), where the
    two are equal, and the path norm, p = 1."""
    order = ("x", "u", "y") if start == "x" else ("one", "x", "u", "y")
    graph = Graph(order, (("x", "u"), ("u", "y"), (start, "y")), ("u",))
    costs = dict.fromkeys(graph.edges, Fraction(1))
    s = sympy.Symbol("s", positive=True)
    (least,) = sympy.solve(s - 1 - 1 / s, s)
    at = {"u": least}
    reached = sympy.simplify(largest(graph, rescaled(graph, costs, at)) - least) == 0
    return (least if reached else sympy.S.Zero), path_norm(graph, costs)


def _degree_two() -> tuple[Fraction, Fraction]:
    """x→u→y with max(x, 0)² and weights 1, scaled by 2: weights 2 and 1/4, path norms before and after."""
    graph = dense((1, 1, 1))
    before = dict(zip(graph.edges, (Fraction(1), Fraction(1)), strict=True))
    after = dict(zip(graph.edges, (Fraction(2), Fraction(1, 4)), strict=True))
    return path_norm(graph, before), path_norm(graph, after)


def _no_way_out(scales: Sequence[Fraction]) -> list[Fraction]:
    """x→u with weight 1 and 0 from u to y: the largest norms under these scales of u."""
    graph = dense((1, 1, 1))
    costs = dict(zip(graph.edges, (Fraction(1), Fraction(0)), strict=True))
    return [largest(graph, rescaled(graph, costs, {"u1_0": s})) for s in scales] + [path_norm(graph, costs)]


@claim(
    Claim(
        "R.path-norm",
        "Path norms and rescaling",
        "Neyshabur, Salakhutdinov, Srebro, NeurIPS 2015; Neyshabur, Tomioka, Srebro, COLT 2015",
        "Among all rescalings the least per-unit max norm is the path norm.",
        "Let $\\phi^p$ be the sum over all paths from an input to an output of the product of $|w|^p$, and "
        "$\\mu$ the largest $(\\sum_{IN(v)}|w|^p)^{1/p}$ of a unit v. Every rescaling keeps $\\phi$. In a "
        "layered network of depth d with one output and without biases, $\\phi\\le\\mu^d$, and the least "
        "$\\mu^d$ over all rescalings is $\\phi$: it is reached by $\\lambda_v^p=t^l/\\gamma_v$ for v in "
        "layer l, with $\\gamma_v$ the sum over the paths to v and $t^d=\\phi^p$.",
        (
            "activations of degree 1",
            "for the second part: layers without shortcuts, one output, no biases",
            "each hidden unit lies on a path from an input to the output, of nonzero weights",
            "the steps are inductions over units in topological order",
        ),
        Verdict.proved,
        ("B.scaling-preserves",),
    )
)
def path_norms() -> Findings:
    """Path sums are scaled as their units are; dividing by them makes all units alike."""
    false = two_outputs()
    skip, bias = shortcut("x"), shortcut("one")
    squared = _degree_two()
    ends = _no_way_out([Fraction(1), Fraction(1, 10), Fraction(1, 100)])
    graph = dense((1, 1, 1))
    chain = dict(zip(graph.edges, (Fraction(4), Fraction(1)), strict=True))
    halves = rescaled(graph, chain, {"u1_0": Fraction(1, 2)})
    return Findings(
        printed_false(
            false,
            "needs one output, and the power: $x\\to u\\to(y_1,y_2)$ with all weights 1 has largest norm 1 "
            "and path norm 2 for p = 1 (counterexamples/two_outputs.json); "
            "and $x\\to u\\to y$ with weights 4 and 1 has path norm 4 and least largest norm 2",
        ),
        (
            timed(
                "sympy",
                "layers of any width: path sums of the rescaled network are s_vγ_v, and with s = t^l/γ every "
                "unit's sum of |w|^p is t, at the output φ^p/t^{d−1} = t",
                Verdict.proved,
                _kept_of_any_size,
            ),
            by_z3(
                "φ ≤ μ^d, one term and one layer at a time: γ_u ≤ b and Σm ≤ τ give Σmγ ≤ τb; and whole "
                "1-1-1-1 and 1-2-1 networks with all weights and scales symbolic",
                Verdict.proved,
                _bound_queries() + _net_queries(),
            ),
            timed(
                "exact",
                "four layered networks of depth 1 to 4 in fractions: all units reach t, 100 other rescalings "
                "keep φ and have μ^p ≥ t; four graphs with shortcuts and biases keep φ",
                Verdict.certified,
                lambda: _reached_exactly() and _kept_on_graphs(),
            ),
            timed(
                "convex",
                "SciPy's least largest norm, a convex program in log λ, on four more networks: t to 1e-6",
                Verdict.sampled,
                _search_agrees,
            ),
        ),
        (
            twin(
                "one output",
                false,
                "x→u→(y₁, y₂) with all weights 1, p = 1: largest norm 1, path norm 2",
            ),
            twin(
                "no shortcuts",
                skip[1] == 2 and bool(skip[0] ** 2 > 2),
                f"x→u→y and x→y with weights 1, p = 1: path norm {skip[1]}, least largest norm (1 + √5)/2, "
                "whose square is 2.618…",
            ),
            twin(
                "no biases",
                bias[1] == 2 and bool(bias[0] ** 2 > 2),
                "x→u→y with weights 1 and a bias 1 at y, p = 1: path norm 2 with the paths from the bias, 1 "
                "without; the least largest norm is (1 + √5)/2, whose square is 2.618…",
            ),
            twin(
                "the power d",
                (largest(graph, halves), path_norm(graph, halves)) == (2, 4),
                "x→u→y with weights 4 and 1, p = 1: λ = 1/2 makes both norms 2, the path norm is 4",
            ),
            twin(
                "degree 1",
                squared[0] != squared[1],
                f"max(x, 0)² with weights 1 and 1, and 2 and 1/4: the same function, path norms {squared[0]} "
                f"and {squared[1]}",
            ),
            twin(
                "each hidden unit on a path to the output (that the least is attained)",
                ends == [1, Fraction(1, 10), Fraction(1, 100), 0],
                "x→u with weight 1, 0 from u to y: the largest norm is λ > 0, its infimum 0 is the path norm",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (path_norms,)
