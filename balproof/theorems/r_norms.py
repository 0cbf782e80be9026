"""Related results: Saul's parallel update of all units, and cyclic balancing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import sympy
from flint import arb, ctx
from scipy.optimize import minimize

from balproof.balance.existence import is_direction
from balproof.balance.problem import BalanceProblem
from balproof.theorems.b_lemmas import by_z3, near, positive_beyond, twin, vanishes
from balproof.theorems.b_order import bridge_direction
from balproof.theorems.instances import enclose_balanced, random_layered
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray

# --- the ℓ_{p,q} norm and Saul's update ---------------------------------------------------------------


def norm(W: Array, p: float, q: float) -> float:
    """Σ_i (Σ_j |W_ij|^p)^{q/p}, the ℓ_{p,q} norm to the power q; W_ij is the weight from j to i.

    >>> norm(np.array([[3.0, 4.0], [0.0, 1.0]]), 2.0, 1.0)
    6.0
    """
    return float(np.sum(np.sum(np.abs(W) ** p, axis=1) ** (q / p)))


def marginals(W: Array, p: float, q: float) -> tuple[Array, Array]:
    """in_k = (Σ_j |W_kj|^p)^{q/p}, and out_k = Σ_i in_i·|W_ik|^p/Σ_j|W_ij|^p.

    The norm has the derivative q·(in_k − out_k) by the log-scale of unit k.
    """
    costs = np.abs(W) ** p
    rows = costs.sum(axis=1)
    incoming = np.where(rows > 0, rows ** (q / p), 0.0)
    shares = np.divide(costs, rows[:, None], out=np.zeros_like(costs), where=rows[:, None] > 0)
    return incoming, incoming @ shares


def update(W: Array, hidden: Sequence[int], p: float, q: float, exponent: float | None = None) -> Array:
    """Every hidden unit at once scaled by a = (out/in)^{1/(4·max(p, q))}: W_ij a_i/a_j.

    >>> update(np.array([[0.0, 1.0], [16.0, 0.0]]), [0, 1], 1.0, 1.0).tolist()
    [[0.0, 4.0], [4.0, 0.0]]
    """
    incoming, outgoing = marginals(W, p, q)
    power = 1 / (4 * max(p, q)) if exponent is None else exponent
    scales = np.ones(len(W))
    for k in hidden:
        if incoming[k] > 0 and outgoing[k] > 0:
            scales[k] = (outgoing[k] / incoming[k]) ** power
    return W * scales[:, None] / scales[None, :]


def feedforward(rng: np.random.Generator, n: int) -> tuple[Array, list[int]]:
    """Weights of an acyclic graph of n units, two of them inputs and two outputs, over some decades."""
    W = np.tril(rng.normal(size=(n, n)) * np.exp(rng.normal(size=(n, n)))) * (rng.random((n, n)) < 0.6)
    np.fill_diagonal(W, 0.0)
    hidden = list(range(2, n - 2))
    for k in hidden:
        W[k, int(rng.integers(0, 2))] = rng.uniform(0.5, 2.0)
        W[n - 1 - int(rng.integers(0, 2)), k] = rng.uniform(0.5, 2.0)
    W[:2] = 0.0
    W[:, -2:] = 0.0
    return W, hidden


def _bernoulli() -> bool:
    """s^r − 1 − r(s − 1), s = e^v, is 0 at v = 0 and has the derivative r·e^v(e^{(r−1)v} − 1), of the sign of
    (r − 1)v: so it is ≥ 0 for r ≥ 1 and ≤ 0 for 0 < r ≤ 1."""
    v, r = sympy.Symbol("v", real=True), sympy.Symbol("r", positive=True)
    u = sympy.Symbol("u", positive=True)
    difference = sympy.exp(r * v) - 1 - r * (sympy.exp(v) - 1)
    slope = r * sympy.exp(v) * (sympy.exp((r - 1) * v) - 1)
    signs = positive_beyond(sympy.exp(u) - 1, u, 1) and positive_beyond(1 - sympy.exp(-u), u, 1)
    return difference.subs(v, 0) == 0 and vanishes(difference.diff(v) - slope) and signs


def _parallel_bound() -> bool:
    """With y = Σ_j π_j x_j, x_j = (a_i/a_j)^p: the bounds of y^r that separate units, and their least value.

    r = q/p ≥ 1: x^r ≥ y^r + r·y^{r−1}(x − y), Bernoulli at s = x/y, so y^r ≤ Σπx^r.
    r ≤ 1: y^r ≤ 1 + r(y − 1). Then u/w ≤ (u² + w^{−2})/2. What is left at a unit is in·t² + out/t² with
    t = a^{max(p, q)}, at t⁴ = out/in.
    """
    s, y, r, u, w, i, o = sympy.symbols("s y r u w i o", positive=True)
    x = s * y
    tangent = y**r * (s**r - 1 - r * (s - 1)) - (x**r - y**r - r * y ** (r - 1) * (x - y))
    mean = (u**2 + w**-2) / 2 - u / w - (u - 1 / w) ** 2 / 2
    t = (o / i) ** sympy.Rational(1, 4)
    least = i + o - (i * t**2 + o / t**2) - (sympy.sqrt(i) - sympy.sqrt(o)) ** 2
    return vanishes(tangent, mean, least)


def _update_falls(seed: int = 81) -> bool:
    """300 graphs and exponents from 0.3 to 5: the norm falls at least by what the proof says."""
    rng = np.random.default_rng(seed)
    for _ in range(300):
        W, hidden = feedforward(rng, int(rng.integers(5, 10)))
        p, q = rng.uniform(0.3, 5.0, 2)
        before, after = norm(W, p, q), norm(update(W, hidden, p, q), p, q)
        incoming, outgoing = (m[hidden] for m in marginals(W, p, q))
        gain = 0.5 * min(1.0, q / p) * float(np.sum((np.sqrt(incoming) - np.sqrt(outgoing)) ** 2))
        if after > before - gain + 1e-12 * before:
            return False
    return True


def _update_falls_in_balls() -> bool:
    """1-2-1 and the two-cycle with whole weights, p, q from 1 to 4: the norms after and before as balls."""
    cases = (
        (((2, 0, 1), (3, 0, 1), (1, 1, 3), (5, 2, 3)), 4, (1, 2)),
        (((1, 1, 0), (4, 0, 1)), 2, (0, 1)),
    )
    for edges, n, hidden in cases:
        for p in (1, 2, 3, 4):
            for q in (1, 2, 3, 4):
                if not _falls_in_balls(edges, n, hidden, p, q):
                    return False
    return True


def _falls_in_balls(
    edges: Sequence[tuple[int, int, int]], n: int, hidden: Sequence[int], p: int, q: int
) -> bool:
    """``edges`` are (weight, from, to)."""
    with ctx.workprec(120):
        r, power = arb(q) / p, arb(1) / (4 * max(p, q))

        def rows(scales: Sequence[arb]) -> list[arb]:
            found = [arb(0)] * n
            for w, u, v in edges:
                found[v] += (arb(w) * scales[v] / scales[u]) ** p
            return found

        at = rows([arb(1)] * n)
        incoming = [x**r if not x.contains(0) else arb(0) for x in at]
        outgoing = [arb(0)] * n
        for w, u, v in edges:
            outgoing[u] += incoming[v] * arb(w) ** p / at[v]
        scales = [(outgoing[k] / incoming[k]) ** power if k in hidden else arb(1) for k in range(n)]
        after = [x**r for x in rows(scales) if not x.contains(0)]
        return bool(sum(after, arb(0)) < sum(incoming, arb(0)))


def _update_balances() -> bool:
    """Iterated, it reaches SciPy's minimum of the norm over log-scales; for p = q that of the package."""
    rng = np.random.default_rng(82)
    for p, q in ((1.0, 1.0), (2.0, 2.0), (1.0, 2.0), (2.0, 1.0), (3.0, 1.5)):
        W, hidden = feedforward(rng, 7)
        found = W
        for _ in range(4000):
            found = update(found, hidden, p, q)
        if not near(norm(found, p, q), least_norm(W, hidden, p, q), 1e-7):
            return False
    return True


def least_norm(W: Array, hidden: Sequence[int], p: float, q: float) -> float:
    """The least norm over all rescalings, by SciPy, from values alone."""

    def value(h: Array) -> float:
        scales = np.ones(len(W))
        scales[list(hidden)] = np.exp(h)
        return float(np.log(norm(W * scales[:, None] / scales[None, :], p, q)))

    found = minimize(value, np.zeros(len(hidden)), method="BFGS", options={"gtol": 1e-7})
    return float(np.exp(found.fun))


CYCLE = np.array([[0.0, 1.0], [4.0, 0.0]])
"""1⇄2 with weights 1 and 4."""


def degree_two() -> tuple[float, float]:
    """x→u→y, max(x, 0)², |w| costs 4 and 2, which balance for degree 2: before and after a = (2/4)^{1/4}."""
    a = (2 / 4) ** 0.25
    return 6.0, 4 * a + 2 / a**2


def plain_sums() -> tuple[float, float]:
    """x→u→y, x→y, u→z with weights 16, 8, 32, 1 and p = 1, q = 4: the norm before and after the update with
    Σ|w|^p of u's weights in place of in and out."""
    W = np.zeros((4, 4))
    W[1, 0], W[2, 1], W[2, 0], W[3, 1] = 16.0, 8.0, 32.0, 1.0
    incoming, outgoing = marginals(W, 1.0, 1.0)
    scales = np.ones(4)
    scales[1] = (outgoing[1] / incoming[1]) ** (1 / 16)
    return norm(W, 1.0, 4.0), norm(W * scales[:, None] / scales[None, :], 1.0, 4.0)


@claim(
    Claim(
        "R.saul",
        "A parallel multiplicative update without step size",
        "Saul, Weight-balancing fixes and flows for deep learning, TMLR 2023",
        "A multiplicative update of all units at once lowers the ℓ_{p,q} norm.",
        "Let $F=\\sum_i(\\sum_j|W_{ij}|^p)^{q/p}$, $in_k$ its term at unit k and $out_k=\\sum_i in_i"
        "|W_{ik}|^p/\\sum_j|W_{ij}|^p$. Scaling all hidden units at once by "
        "$a_k=(out_k/in_k)^{1/(4\\max(p,q))}$ takes at least "
        "$\\frac12\\min(1,q/p)\\sum_k(\\sqrt{in_k}-\\sqrt{out_k})^2$ off F.",
        (
            "activations of degree 1; inputs, outputs and the constant stay",
            "units with no incoming or no outgoing weights stay",
            "p, q > 0, the same for all units",
        ),
        Verdict.proved,
        ("B.simultaneous",),
    )
)
def saul() -> Findings:
    """Convexity separates the units of a term; what is left at each unit is least at the update."""
    far, near_one = norm(update(CYCLE, [0, 1], 1.0, 4.0, 1 / 4), 1.0, 4.0), norm(CYCLE, 1.0, 4.0)
    whole = norm(update(CYCLE, [0, 1], 1.0, 1.0, 1.0), 1.0, 1.0)
    swapped = update(CYCLE, [0, 1], 1.0, 1.0, 1 / 2)
    squared, sums = degree_two(), plain_sums()
    u, w, x, y = sympy.symbols("u w x y", positive=True)
    return Findings(
        Printed(Verdict.proved, "strictly, unless all units are balanced already; then it changes nothing"),
        (
            timed(
                "sympy",
                "all p, q > 0, any numbers of weights: Bernoulli's inequality for each real power, which "
                "bounds (Σπx)^{q/p} by Σπx^{q/p} or by its tangent; u/w ≤ (u² + w^{−2})/2; and in·t² + "
                "out/t² at t⁴ = out/in is in + out − (√in − √out)²",
                Verdict.proved,
                lambda: _bernoulli() and _parallel_bound(),
            ),
            by_z3(
                "no u, w > 0 with 2u/w > u² + 1/w², and no x, y > 0 with x² < y² + 2y(x − y) (q/p = 2)",
                Verdict.certified,
                [[2 * u / w > u**2 + w**-2], [x**2 < y**2 + 2 * y * (x - y)]],
            ),
            timed(
                "interval",
                "1-2-1 and a two-cycle with whole weights, p, q from 1 to 4: F falls, in balls of 120 bits",
                Verdict.certified,
                _update_falls_in_balls,
            ),
            timed(
                "sampled",
                "300 random acyclic graphs, p and q in [0.3, 5]: F falls by the stated amount at least; "
                "iterated for five (p, q) it ends at SciPy's least F, to 1e-7",
                Verdict.sampled,
                lambda: _update_falls() and _update_balances(),
            ),
        ),
        (
            twin(
                "max(p, q) in the exponent",
                far > near_one,
                f"1⇄2 with weights 1 and 4, p = 1, q = 4, exponent 1/(4·min): F goes from {near_one:.0f} to "
                f"{far:.4f}",
            ),
            twin(
                "the factor 4 (that F falls)",
                norm(swapped, 1.0, 1.0) == norm(CYCLE, 1.0, 1.0) and whole > norm(CYCLE, 1.0, 1.0),
                f"the same with p = q = 1: the exponent 1/2 swaps the weights for ever, 1 takes F "
                f"from 5 to {whole}",
            ),
            twin(
                "activations of degree 1",
                squared[1] > squared[0],
                f"max(x, 0)² with |w| costs 4 in and 2 out, balanced for its degree: F goes from 6 to "
                f"{squared[1]:.4f}",
            ),
            twin(
                "in and out as the derivatives of F have them",
                sums[1] > sums[0],
                "x→u→y, x→y, u→z with weights 16, 8, 32, 1, p = 1, q = 4, and Σ|w| in their place: F grows "
                f"by {100 * (sums[1] / sums[0] - 1):.2f} %",
            ),
        ),
    )


# --- R.enorm ------------------------------------------------------------------------------------------


def layers_of(sizes: Sequence[int], seed: int, *, biased: bool) -> tuple[list[Array], list[Array]]:
    """The weights and the biases of `random_layered`, as arrays."""
    network = random_layered(sizes, seed, biased=biased)
    weights = [network.numbers(f"W{k}") for k in range(len(sizes) - 1)]
    biases = [network.numbers(f"b{k}") for k in range(len(sizes) - 2)] if biased else []
    return weights, biases


def cyclic(weights: Sequence[Array], biases: Sequence[Array], p: float, sweeps: int) -> list[Array]:
    """One hidden layer after another, as published: rows of a layer and columns of the next made alike, with
    the biases among the rows."""
    now, offsets = [w.copy() for w in weights], [b.copy() for b in biases]
    for _ in range(sweeps):
        for k in range(len(now) - 1):
            incoming = np.sum(np.abs(now[k]) ** p, axis=1)
            if offsets:
                incoming = incoming + np.abs(offsets[k]) ** p
            scale = (np.sum(np.abs(now[k + 1]) ** p, axis=0) / incoming) ** (1 / (2 * p))
            now[k] = now[k] * scale[:, None]
            now[k + 1] = now[k + 1] / scale[None, :]
            if offsets:
                offsets[k] = offsets[k] * scale
    return [*now, *offsets]


def least_cost(weights: Sequence[Array], biases: Sequence[Array], p: float) -> float:
    """The least Σ|w|^p over all rescalings, by SciPy, from values alone."""
    counts = [len(w) for w in weights[:-1]]

    def value(h: Array) -> float:
        scales = [np.exp(s) for s in np.split(h, np.cumsum(counts)[:-1])]
        total = 0.0
        for k, w in enumerate(weights):
            moved = w * scales[k][:, None] if k < len(scales) else w
            total += float(np.sum(np.abs(moved / scales[k - 1][None, :] if k else moved) ** p))
            if k < len(biases):
                total += float(np.sum(np.abs(biases[k] * scales[k]) ** p))
        return float(np.log(total))

    return float(np.exp(minimize(value, np.zeros(sum(counts)), method="BFGS", options={"gtol": 1e-8}).fun))


CASES = (((2, 3, 2, 1), False, 2.0), ((2, 3, 2, 1), True, 1.0), ((3, 4, 3, 2), True, 2.0))


def total_cost(arrays: Sequence[Array], p: float) -> float:
    return float(sum(np.sum(np.abs(a) ** p) for a in arrays))


def _ends_at_least() -> bool:
    """Against SciPy's minimum."""
    for sizes, biased, p in CASES:
        weights, biases = layers_of(sizes, 91, biased=biased)
        if not near(total_cost(cyclic(weights, biases, p, 400), p), least_cost(weights, biases, p), 1e-8):
            return False
    return True


def _ends_enclosed() -> bool:
    """The log-scales that were made lie within 1e-9 of the one balanced state: Krawczyk's test."""
    for sizes, biased, p in CASES:
        weights, biases = layers_of(sizes, 91, biased=biased)
        end = cyclic(weights, biases, p, 1500)
        h: list[float] = []
        before = np.zeros(sizes[0])
        for k in range(len(sizes) - 2):
            first = np.log(np.abs(end[k][:, 0] / weights[k][:, 0])) + before[0]
            h += first.tolist()
            before = first
        problem = BalanceProblem.build(random_layered(sizes, 91, biased=biased), f"l{p:.0f}")
        columns = _columns_by_unit(problem, sizes)
        ordered = np.zeros(problem.count)
        ordered[columns] = h
        if not enclose_balanced(problem, ordered, 1e-9):
            return False
    return True


def _columns_by_unit(problem: BalanceProblem, sizes: Sequence[int]) -> list[int]:
    """The column of A of each hidden unit, layer by layer: the one of sign +1 in the first weight into it."""
    A = problem.A.toarray()
    found: list[int] = []
    start = 0
    for n, m in zip(sizes[:-2], sizes[1:-1], strict=True):
        found += [int(np.flatnonzero(A[start + i * n] > 0)[0]) for i in range(m)]
        start += n * m
    return found


def _convex_chain() -> bool:
    """A cost a·e^{ps} of a weight is strictly convex in its log-scale s; a chain of three weights ends at the
    geometric mean from every start, as the log-costs are averaged in turn."""
    a, p = sympy.symbols("a p", positive=True)
    s = sympy.Symbol("s", real=True)
    convex = (a * sympy.exp(p * s)).diff(s, 2).is_positive is True
    first = sympy.Matrix([[1, 1, 0], [1, 1, 0], [0, 0, 2]]) / 2
    second = sympy.Matrix([[2, 0, 0], [0, 1, 1], [0, 1, 1]]) / 2
    sweep = second * first
    rest = sorted((abs(v), n) for v, n in sweep.eigenvals().items())
    mean = sympy.ones(3, 3) / 3
    keeps = mean * sweep == mean and sweep * mean == mean
    return convex and keeps and rest == [(0, 1), (sympy.Rational(1, 4), 1), (1, 1)]


def merged() -> tuple[sympy.Expr, sympy.Expr, bool]:
    """y = 2·relu(x) with two units and weights 1, balanced, and with one unit and √2 in and out: Σ|w|."""
    root = sympy.sqrt(2)
    x = sympy.Symbol("x", positive=True)
    same = sympy.simplify(root * (root * x) - 2 * x) == 0  # and 0 on both sides for x ≤ 0
    return sympy.Integer(4), 2 * root, same


def free_bias() -> list[Fraction]:
    """relu(b)·v with only the bias into the unit, which costs nothing: |v|/λ for λ = 1, 10, 100."""
    return [Fraction(1) / s for s in (1, 10, 100)]


@claim(
    Claim(
        "R.enorm",
        "Cyclic balancing converges to the least ℓ_p norm",
        "Stock, Graham, Gribonval, Jégou, Equi-normalization of neural networks, ICLR 2019, Thm 1",
        "Cyclic balancing of a feed-forward ReLU network converges to the equivalent network of least ℓ_p "
        "norm.",
        "Cyclic balancing, layer by layer, is block coordinate descent on $\\sum_ea_ee^{p(Ah)_e}$, strictly "
        "convex in $Ah$. If every hidden unit has nonzero incoming and outgoing weights, the minimum over "
        "the rescalings is attained by one network only, and the iteration converges to it from every start.",
        (
            "feed-forward, units of degree 1, p > 0, biases counted in the norm",
            "every hidden unit has nonzero incoming and outgoing weights",
            "equivalent means: by a rescaling",
            "the convergence is that of B.stochastic-balancing, certified here on instances",
        ),
        Verdict.certified,
        ("B.stochastic-balancing", "B.existence"),
    )
)
def enorm() -> Findings:
    """The units of a layer have no weight in common, so a layer's step is an exact minimum over the block."""
    rows, falling = bridge_direction()
    before, after, same = merged()
    dead = _dead_unit()
    return Findings(
        Printed(
            Verdict.certified,
            "with the hypotheses, where equivalent means by a rescaling; among all networks with the same "
            "function there may be smaller ones",
        ),
        (
            timed(
                "sympy",
                "lemmas proved: a·e^{ps} is strictly convex; on a chain of three weights a sweep averages "
                "log-costs, keeps their mean and has the other eigenvalues 0 and 1/4, so it converges to the "
                "geometric mean from every start",
                Verdict.certified,
                _convex_chain,
            ),
            timed(
                "interval",
                "2-3-2-1 with L2, and with L1 and biases, 3-4-3-2 with L2 and biases: after 1500 sweeps "
                "Krawczyk's test encloses the one balanced state within 1e-9",
                Verdict.certified,
                _ends_enclosed,
            ),
            timed(
                "convex",
                "the same networks: the cost after 400 sweeps is SciPy's minimum over log-scales, to 1e-8",
                Verdict.sampled,
                _ends_at_least,
            ),
        ),
        (
            twin(
                "every hidden unit has outgoing weights",
                dead == [1, Fraction(1, 10), Fraction(1, 100)],
                "x→u with cost 1 and nothing out of u: the cost is λ, its infimum 0 not attained",
            ),
            twin(
                "feed-forward",
                is_direction(rows, falling),
                "1⇄2→3⇄4: each unit has incoming and outgoing weights, and h = −1 on 3 and 4 lowers the "
                "weight 2→3 and no other, so no state is balanced",
            ),
            twin(
                "biases counted in the norm",
                free_bias() == sorted(free_bias(), reverse=True) and free_bias()[-1] < Fraction(1, 50),
                "a unit with a bias alone, at no cost, and 1 out: the cost 1/λ has infimum 0, not attained",
            ),
            twin(
                "equivalent by a rescaling",
                same and bool(after < before),
                "y = relu(x) + relu(x), all weights 1, is balanced with Σ|w| = 4; √2·relu(√2·x) and a unit "
                "of weights 0 is the same function with Σ|w| = 2√2",
            ),
        ),
    )


def _dead_unit() -> list[Fraction]:
    """x→u with cost 1 and no weight out: the cost for λ = 1, 1/10, 1/100."""
    scales = [Fraction(1, n) for n in (1, 10, 100)]
    return [1 * s + 0 / s for s in scales]


CLAIMS: tuple[ClaimFunction, ...] = (saul, enorm)
