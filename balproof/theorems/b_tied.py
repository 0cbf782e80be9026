"""[B], appendix: one scale for all units of a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import sympy

from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem
from balproof.importers.json_file import from_document
from balproof.theorems.b_general_cost import mixed_optimum
from balproof.theorems.b_lemmas import PAPER, by_z3, exponential_above_tangent, near, twin, vanishes
from balproof.theorems.b_schedules import tied_minimum
from balproof.theorems.instances import random_layered
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

_P = sympy.Symbol("p", positive=True)
_I = sympy.Symbol("i", integer=True)


def tied_scales(R: Sequence[sympy.Expr], p: sympy.Expr) -> list[sympy.Expr]:
    """λ of each hidden layer of a chain of layers with costs R: λ_k^p = G^k/(R_1…R_k), G their geometric
    mean."""
    G = sympy.prod(R) ** sympy.Rational(1, len(R))
    return [(G**k / sympy.prod(R[:k])) ** (1 / p) for k in range(1, len(R))]


def layer_costs(R: Sequence[sympy.Expr], scales: Sequence[sympy.Expr], p: sympy.Expr) -> list[sympy.Expr]:
    """R_k·(λ_k/λ_{k−1})^p, with λ = 1 at both ends."""
    padded = [sympy.S.One, *scales, sympy.S.One]
    return [r * (out / into) ** p for r, into, out in zip(R, padded[:-1], padded[1:], strict=True)]


def _mean_is_least() -> bool:
    """Any number of layers: with y_k = log(cost_k/G) one has Σy_k = 0, so ΣG·e^{y_k} − lG = ΣG(e^{y_k} − 1 −
    y_k),
    positive unless all y_k = 0."""
    G = sympy.Symbol("G", positive=True)
    y = sympy.IndexedBase("y", real=True)[_I]
    difference = G * sympy.exp(y) - G - G * (sympy.exp(y) - 1 - y)
    return sympy.simplify(difference - G * y) == 0 and exponential_above_tangent()


def _scales_reach_it() -> bool:
    """The telescoping step: λ_k^p/λ_{k−1}^p = G/R_k for k any integer, and for 2 to 5 layers with symbols."""
    G, R, before = sympy.symbols("G R P", positive=True)  # P = R_1…R_{k−1}
    k = sympy.Symbol("k", integer=True, positive=True)
    ratio = (G**k / (before * R)) / (G ** (k - 1) / before)
    if sympy.simplify(R * ratio - G) != 0:
        return False
    for count in range(2, 6):
        costs = sympy.symbols(f"R1:{count + 1}", positive=True)
        mean = sympy.prod(costs) ** sympy.Rational(1, count)
        reached = layer_costs(costs, tied_scales(costs, _P), _P)
        if any(sympy.simplify(sympy.powdenest(x / mean, force=True)) != 1 for x in reached):
            return False
    return True


def tied_step(before: sympy.Expr, after: sympy.Expr, p: sympy.Expr) -> sympy.Expr:
    """λ of one hidden layer with cost ``before`` in its incoming and ``after`` in its outgoing weights."""
    return (after / before) ** (1 / (2 * p))


def _step_is_least() -> bool:
    """R_k λ^p + R_{k+1} λ^{−p} less its value at λ* is R_k λ^{−p}(λ^p − λ*^p)²."""
    a, b, s = sympy.symbols("a b s", positive=True)
    best = tied_step(a, b, _P) ** _P
    return vanishes(a * s + b / s - (a * best + b / best) - (a / s) * (s - best) ** 2)


def _tied_chain_queries() -> list[list[sympy.Basic]]:
    """Two and three layers: no scales cost less than l·G (G as a variable with G^l = ΠR)."""
    a, b, d, s, t, g = sympy.symbols("a b d s t g", positive=True)
    return [
        [sympy.Eq(g**2, a * b), a * s + b / s < 2 * g],
        [sympy.Eq(g**3, a * b * d), a * s + b * t / s + d / t < 3 * g],
    ]


def _layer_groups(sizes: Sequence[int]) -> list[int]:
    return [k for k, n in enumerate(sizes[1:-1]) for _ in range(n)]


def _chain_numeric() -> bool:
    """SciPy on layer-tied scales of 3-4-2-3-1 without biases, p = 1 and 2: l·G, and the scales of the
    formula."""
    sizes = (3, 4, 2, 3, 1)
    network = random_layered(sizes, 31, biased=False)
    for p in (1, 2):
        problem = BalanceProblem.build(network, f"l{p}")
        R = [float(np.sum(np.abs(network.numbers(f"W{k}")) ** p)) for k in range(4)]
        least, h = tied_minimum(problem, _layer_groups(sizes))
        formula = [float(x) for x in tied_scales([sympy.Float(r, 30) for r in R], sympy.Integer(p))]
        found = np.exp([h[_layer_groups(sizes).index(k)] for k in range(3)])
        if not (near(least, 4 * float(np.prod(R)) ** 0.25, 1e-9) and np.allclose(found, formula, rtol=1e-5)):
            return False
    return True


def _chain_exact() -> bool:
    """Costs 8, 1, 1 with p = 1: λ = 1/4, 1/2 and every layer costs 2; steps layer by layer tend there."""
    R = [sympy.Integer(x) for x in (8, 1, 1)]
    scales = tied_scales(R, sympy.S.One)
    costs = [8.0, 1.0, 1.0]
    for _ in range(60):
        for k in (0, 1):
            scale = (costs[k + 1] / costs[k]) ** 0.5
            costs[k], costs[k + 1] = costs[k] * scale, costs[k + 1] / scale
    return (
        scales == [sympy.Rational(1, 4), sympy.Rational(1, 2)]
        and layer_costs(R, scales, sympy.S.One) == [2, 2, 2]
        and bool(np.allclose(costs, 2, rtol=1e-12))
    )


def _least(cost: Callable[[sympy.Symbol], sympy.Expr], at: sympy.Expr) -> bool:
    """Whether the derivative of a convex cost vanishes there."""
    s = sympy.Symbol("s", positive=True)
    return sympy.simplify(sympy.diff(cost(s), s).subs(s, at)) == 0


def _degree_two_costs() -> tuple[sympy.Expr, sympy.Expr]:
    """One layer, c = 2, costs R = (1, 4): R₁s + R₂s^{−2} is least at s = 2, with costs 2 and 1."""
    if not _least(lambda s: s + 4 / s**2, sympy.Integer(2)):
        return sympy.S.One, sympy.S.One
    return sympy.Integer(2), 4 / sympy.Integer(2) ** 2


def _biased_costs() -> tuple[sympy.Expr, sympy.Expr]:
    """x→u→v→y, costs 1, 4, 3, v with a bias of cost 1: the costs of the first and last layer at the
    optimum."""
    s, t = sympy.symbols("s t", positive=True)
    R = s + 4 * t / s + t + 3 / t
    flat = [sympy.diff(R, x).subs({s: 2, t: 1}) for x in (s, t)]
    return (sympy.Integer(2), sympy.Integer(3)) if flat == [0, 0] else (sympy.S.One, sympy.S.One)


def _skip_costs() -> tuple[float, float]:
    """Layers 1 and 4 in a chain beside a direct one x→y of 100: the costs of the first and of the direct
    layer at the
    package's optimum."""
    network = from_document(
        {
            "inputs": {"x": [1]},
            "parameters": {"U": [[1]], "V": [[4]], "S": [[100]]},
            "operations": [
                {"kind": "linear", "inputs": ["x", "U"], "output": "z"},
                {"kind": "activation", "function": "relu", "inputs": ["z"], "output": "u"},
                {"kind": "linear", "inputs": ["u", "V"], "output": "v"},
                {"kind": "linear", "inputs": ["x", "S"], "output": "s"},
                {"kind": "add", "inputs": ["v", "s"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )
    problem = BalanceProblem.build(network, "l1")
    after = problem.manifold.rescale(direct(problem).h)
    return float(after.numbers("U")[0, 0]), float(after.numbers("S")[0, 0])


def _never_least(before: sympy.Expr, after: sympy.Expr) -> bool:
    """Whether at every s = λ^p one half of it costs less, for layers with these costs."""
    s = sympy.Symbol("s", positive=True)
    return (before * s + after / s - before * s / 2 - 2 * after / s).is_positive is True


@claim(
    Claim(
        "B.tied-layers",
        "Layer-wise balancing has a closed form",
        f"{PAPER}, appendix",
        "If all units of a layer share one scale, the optimal scales have a closed form.",
        "In a chain of $l$ layers with costs $R_1,\\dots,R_l>0$ ($p$-th powers) and one scale for each "
        "hidden layer, $R\\ge lG$ with $G=(R_1\\cdots R_l)^{1/l}$, and equality holds only where every layer "
        "costs $G$: $\\lambda_k^p=G^k/(R_1\\cdots R_k)$. The single step of layer $k$ is "
        "$\\lambda=(R_{k+1}/R_k)^{1/2p}$.",
        (
            "degree 1",
            "one exponent p",
            "no bias in the cost, but in the first layer",
            "a chain of layers",
            "all R > 0",
        ),
        Verdict.proved,
        ("B.optimal-scale-lp",),
    )
)
def tied_layers() -> Findings:
    """The product of the layers' costs is kept, so their sum is least where they are equal."""
    one, two = mixed_optimum()
    squared, biased, skipped = _degree_two_costs(), _biased_costs(), _skip_costs()
    return Findings(
        Printed(Verdict.proved, "for degree 1, one p, and no bias in the cost beyond the first layer"),
        (
            timed(
                "sympy",
                "any number of layers: ΣG·e^{y} − lG = ΣG(e^y − 1 − y) as Σy = 0; the scales give each layer "
                "G (ratio of two neighbours, and written out for 2 to 5 layers); the single step by a square",
                Verdict.proved,
                lambda: _mean_is_least() and _scales_reach_it() and _step_is_least(),
            ),
            by_z3(
                "two and three layers: no scales cost less than l·G", Verdict.certified, _tied_chain_queries()
            ),
            timed(
                "exact",
                "costs 8, 1, 1: λ = 1/4, 1/2 and costs 2, 2, 2; repeated single steps tend there",
                Verdict.certified,
                _chain_exact,
            ),
            timed(
                "sampled",
                "3-4-2-3-1, p = 1 and 2: SciPy's optimum over layer scales has the value and the scales of "
                "the formula",
                Verdict.sampled,
                _chain_numeric,
            ),
        ),
        (
            twin(
                "degree 1",
                squared[0] != squared[1],
                f"one layer of degree 2, costs 1 and 4: least at λ^p = 2, with costs {squared[0]} and "
                f"{squared[1]}",
            ),
            twin(
                "one exponent p",
                not near(float(one), float(two), 0.1),
                f"w² in, |w| out, costs 1 and 1: the optimum has {float(one):.4f} and {float(two):.4f}",
            ),
            twin(
                "no bias in the cost beyond the first layer",
                biased[0] != biased[1],
                "x→u→v→y with costs 1, 4, 3 and a bias of v with cost 1: the optimum (λ_u^p = 2, λ_v = 1) "
                "has layers of 2, 2 and 3",
            ),
            twin(
                "a chain of layers",
                near(skipped[0], 2.0) and near(skipped[1], 100.0),
                "layers of 1 and 4 beside a direct layer x→y of 100: the optimum has 2, 2 and 100",
            ),
            twin(
                "all R > 0",
                _never_least(sympy.S.One, sympy.S.Zero),
                "R = (1, 0): half of any λ^p costs less",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (tied_layers,)
