"""Related results: what becomes of the laws under weight decay, finite steps and momentum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from scipy.integrate import solve_ivp

from balproof.conservation.ledger import Momentum, after_sgd
from balproof.theorems.b_lemmas import near, twin, vanishes
from balproof.theorems.b_scaling import _chain_rule
from balproof.theorems.graphs import (
    Edge,
    Graph,
    dense,
    gradient,
    products,
    random_dag,
    random_samples,
    random_weights,
)
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray


def _decay(rate: int = 2) -> bool:
    """d/dt w² = −2wg − 2μw² weight by weight, and Σ A_e w_e g_e = 0; so z = z₀e^{−2μt} solves ż = −2μz."""
    t, mu, g, z = sympy.symbols("t mu g z", real=True)
    w = sympy.Function("w")(t)
    speed = (w**2).diff(t).subs(w.diff(t), -g - mu * w) - (-2 * w * g - 2 * mu * w**2)
    solved = z * sympy.exp(-rate * mu * t)
    return vanishes(speed, solved.diff(t) + 2 * mu * solved)


def _step(square: int = 1) -> bool:
    """(w − η(g + μw))² = (1 − ημ)²w² + η²g² − 2η(1 − ημ)·wg, and the last term adds up to 0."""
    w, g, eta, mu = sympy.symbols("w g eta mu", real=True)
    return vanishes(
        (w - eta * (g + mu * w)) ** 2
        - ((1 - eta * mu) ** 2 * w**2 + square * eta**2 * g**2)
        + 2 * eta * (1 - eta * mu) * w * g
    )


def _heavy_ball(twice: int = 2) -> bool:
    """z₊ = z − 2ηc + η²Aᵀm₊², c = w·m₊; and c = β(w·m) + wg + μw² with w·m = c₋ − ηm², as w = w₋ − ηm."""
    w, g, m, eta, mu, beta = sympy.symbols("w g m eta mu beta", real=True)
    after = beta * m + g + mu * w
    before = w + eta * m  # the weight that m was added up at: c₋ = w₋·m
    booked = beta * (before * m - eta * m**2) + mu * w**2
    return vanishes(
        (w - eta * after) ** 2 - (w**2 - twice * eta * w * after + eta**2 * after**2),
        w * after - booked - w * g,
    )


def _inertia(twice: int = 2) -> bool:
    """ẅ + γẇ = −g − μw: d²/dt² w² + γ·d/dt w² = 2ẇ² − 2μw² − 2wg; and, for antisymmetric J, e^{γt}⟨ẇ, Jw⟩
    changes at e^{γt}(−⟨g, Jw⟩ − μ⟨w, Jw⟩ + ⟨ẇ, Jẇ⟩), where the last two are 0."""
    t, g, gamma, mu = sympy.symbols("t g gamma mu", real=True)
    w = sympy.Function("w")(t)
    force = -g - mu * w - gamma * w.diff(t)
    square = (w**2).diff(t, 2).subs(w.diff(t, 2), force) + gamma * (w**2).diff(t)
    n = 3
    J = sympy.Matrix(
        n, n, lambda i, j: 0 if i == j else sympy.Symbol(f"J{min(i, j)}{max(i, j)}") * (1 if i < j else -1)
    )
    x = sympy.Matrix([sympy.Function(f"x{i}")(t) for i in range(n)])
    pull = sympy.Matrix(sympy.symbols("g0:3", real=True))
    forces = -pull - mu * x - gamma * x.diff(t)
    angular = sympy.exp(gamma * t) * (x.diff(t).T * J * x)[0]
    change = angular.diff(t).subs({x[i].diff(t, 2): forces[i] for i in range(n)})
    return vanishes(
        square - (twice * w.diff(t) ** 2 - 2 * mu * w**2 - 2 * w * g),
        change + sympy.exp(gamma * t) * (pull.T * J * x)[0],
    )


def column(graph: Graph, values: Mapping[Edge, Any]) -> Array:
    """Aᵀ of the squares of a value for each weight."""
    return np.array(products(graph.incidence(), [values[e] ** 2 for e in graph.edges]), dtype=object)


def _books_exact() -> bool:
    """Three minibatches of SGD and of heavy ball in fractions, on three graphs, and the package's books."""
    rng = np.random.default_rng(41)
    for hidden in (1, 3, 5):
        graph = random_dag(rng, hidden, Fraction(-1, 4))
        start = random_weights(graph, rng)
        eta, mu, beta = Fraction(1, 50), Fraction(1, 10), Fraction(9, 10)
        w, z = start, column(graph, start)
        heavy, m = start, {e: Fraction(0) for e in graph.edges}
        books = Momentum(z, z * 0, z * 0)
        for _ in range(3):
            batch = random_samples(graph, rng, 2)
            g = gradient(graph, w, batch)
            z = after_sgd(z, column(graph, g), eta, mu)  # pyright: ignore[reportArgumentType]
            w = {e: w[e] - eta * (g[e] + mu * w[e]) for e in graph.edges}
            if any(column(graph, w) != z):
                return False
            g = gradient(graph, heavy, batch)
            m = {e: beta * m[e] + g[e] + mu * heavy[e] for e in graph.edges}
            heavy = {e: heavy[e] - eta * m[e] for e in graph.edges}
            books = books.after(column(graph, m), eta, beta, mu)  # pyright: ignore[reportArgumentType]
            if any(column(graph, heavy) != books.z) or not any(books.c):
                return False
    return True


CHAIN = dense((1, 1, 1))


def swing(gamma: float, time: float = 1.0) -> tuple[float, float, float]:
    """x→u→y from weights 1 and 2 at rest under ẅ + γẇ = −∇E: z = w² − v² at the start and the end, and z by
    z̈ + γż = 2(ẇ² − v̇²) integrated beside it."""

    def speed(_: float, s: Array) -> Array:
        w, v, p, q, _, dz = s.tolist()
        e = w * v - 1
        return np.array([p, q, -gamma * p - e * v, -gamma * q - e * w, dz, -gamma * dz + 2 * (p * p - q * q)])

    start = np.array([1.0, 2.0, 0.0, 0.0, -3.0, 0.0])
    w, v, _, _, z, _ = (
        solve_ivp(speed, (0.0, time), start, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1].tolist()
    )
    return -3.0, w * w - v * v, z


def turning(gamma: float, symmetric: bool = False) -> tuple[float, float]:
    """Linear 1-2-1, u and v in the plane: e^{γt}(u̇∧u + v̇∧v), or the symmetric u̇₁u₂ + u̇₂u₁ − …, at 0 and 1."""

    def speed(_: float, s: Array) -> Array:
        u, v, du, dv = s[:2], s[2:4], s[4:6], s[6:]
        e = float(u @ v) - 1.0
        return np.concatenate([du, dv, -gamma * du - e * v, -gamma * dv - e * u])

    def kept(s: Array) -> float:
        u, v, du, dv = s[:2], s[2:4], s[4:6], s[6:]
        if symmetric:
            return float(du[0] * u[1] + du[1] * u[0] - dv[0] * v[1] - dv[1] * v[0])
        return float(du[0] * u[1] - du[1] * u[0] + dv[0] * v[1] - dv[1] * v[0])

    start = np.array([1.0, 0.5, -0.3, 2.0, 0.4, -1.0, 0.2, 0.7])
    end = solve_ivp(speed, (0.0, 1.0), start, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return kept(start), float(np.exp(gamma)) * kept(end)


def _flows_agree() -> bool:
    """The equation for z beside the flow, at two frictions, and the law that momentum leaves."""
    for gamma in (0.0, 0.8):
        start, end, booked = swing(gamma)
        first, last = turning(gamma)
        if abs(end - start) < 0.1 or not near(booked, end, 1e-8) or not near(last, first, 1e-8):
            return False
    decayed = _decaying(0.3)
    return near(decayed[1], decayed[0] * float(np.exp(-0.6)), 1e-8)


def _decaying(mu: float) -> tuple[float, float]:
    """z of x→u→y under ẇ = −∇E − μw at times 0 and 1."""

    def speed(_: float, s: Array) -> Array:
        e = float(s[0] * s[1]) - 1.0
        return np.array([-e * s[1], -e * s[0]]) - mu * s

    end = solve_ivp(speed, (0.0, 1.0), np.array([1.0, 2.0]), "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return -3.0, float(end[0] ** 2 - end[1] ** 2)


def one_step(target: Fraction, signs: bool = False) -> tuple[Fraction, Fraction]:
    """x→u→y, weights 1 and 2, x = 1, a step of 1/10 along ∇E (or its signs): z afterwards, and as booked."""
    w: Sequence[Fraction] = [Fraction(1), Fraction(2)]
    e = w[0] * w[1] - target
    g = [e * w[1], e * w[0]]
    g = [Fraction((x > 0) - (x < 0)) for x in g] if signs else g
    eta = Fraction(1, 10)
    after = [x - eta * y for x, y in zip(w, g, strict=True)]
    booked = (w[0] ** 2 - w[1] ** 2) + eta**2 * (g[0] ** 2 - g[1] ** 2)
    return after[0] ** 2 - after[1] ** 2, booked


def bias_left() -> tuple[Fraction, Fraction]:
    """w = b = v = 1, ∇E = 0, decay 1/2 on weights alone, step 1: w² + b² − v² afterwards, and (1 − ημ)²z."""
    w, b, v, kept = Fraction(1), Fraction(1), Fraction(1), Fraction(1, 2)
    return (kept * w) ** 2 + b**2 - (kept * v) ** 2, kept**2 * (w**2 + b**2 - v**2)


def old_momentum() -> tuple[Fraction, Fraction]:
    """w = v = 1, ∇E = 0, m = (1, 0) left from before, β = η = 1/2: z afterwards, and as booked from c = 0."""
    eta, beta, m = Fraction(1, 2), Fraction(1, 2), Fraction(1)
    moved = 1 - eta * beta * m
    books = Momentum.start(np.array([0.0])).after(np.array([float((beta * m) ** 2)]), float(eta), float(beta))
    return moved**2 - 1, Fraction(float(books.z[0]))


def stale() -> Fraction:
    """x→u→y with weights 1, 2 and the gradient of E = y²/2 at weights 1, 1: Aᵀ(w∘g)."""
    g = gradient(CHAIN, dict.fromkeys(CHAIN.edges, Fraction(1)), [({"u0_0": 1}, {})])
    first, second = CHAIN.edges
    return 1 * g[first] - 2 * g[second]


@claim(
    Claim(
        "R.broken",
        "How the laws break under decay, steps and momentum",
        "Kunin et al., ICLR 2021; momentum: Marcotte, Gribonval, Peyré, ICML 2024",
        "Weight decay, finite steps and momentum change the conserved quantities in a predictable way.",
        "Let $z=A^\\top w^2$ for a rescaling that keeps E, g = ∇E. (1) $\\dot w=-g-\\mu w$: "
        "$\\dot z=-2\\mu z$. (2) $w_+=w-\\eta(g+\\mu w)$: $z_+=(1-\\eta\\mu)^2z+\\eta^2A^\\top g^2$. (3) "
        "$m_+=\\beta m+g+\\mu w$, $w_+=w-\\eta m_+$ from m = 0: $z_+=z-2\\eta c_++\\eta^2A^\\top m_+^2$ with "
        "$c_+=\\beta(c-\\eta A^\\top m^2)+\\mu z$. (4) $\\ddot w+\\gamma\\dot w=-g-\\mu w$: "
        "$\\ddot z+\\gamma\\dot z=2A^\\top\\dot w^2-2\\mu z$; what stays is "
        "$e^{\\gamma t}\\langle\\dot w,Jw\\rangle$ for each antisymmetric J with $\\langle g,Jw\\rangle=0$.",
        (
            "E is differentiable where its gradient is taken, along the path for the flows",
            "all weights of the column of A decay alike, biases included",
            "one step size for all of them, and the gradient at the present weights",
            "m = 0 at the start, in (3)",
        ),
        Verdict.proved,
        ("R.noether", "B.gradient-identity"),
    )
)
def broken() -> Findings:
    """Every term that is linear in g is Aᵀ(w∘g) = 0; squares are left."""
    first, second = one_step(Fraction(0)), one_step(Fraction(1))
    signed, biased, old = one_step(Fraction(0), True), bias_left(), old_momentum()
    start, end, _ = swing(0.0)
    symmetric = turning(0.0, True)
    return Findings(
        Printed(
            Verdict.proved,
            "given the squares of gradients or velocities; only for the flow with decay does z alone tell: "
            f"on x→u→y with weights 1 and 2 a step of 1/10 takes z = −3 to {first[0]} for target 0 and "
            f"to {second[0]} for the target 1",
        ),
        (
            timed(
                "sympy",
                "weight by weight, any number of them: the changes of w², of w·m₊ and of d²/dt² w² + γ·d/dt "
                "w² are the stated ones and a multiple of w·g, whose sum with A is 0 as E(w∘exp(Ah)) is "
                "constant; e^{γt}⟨ẇ, Jw⟩ has speed −e^{γt}⟨g, Jw⟩ for an undetermined antisymmetric J",
                Verdict.proved,
                lambda: _decay() and _step() and _heavy_ball() and _inertia() and _chain_rule(),
            ),
            timed(
                "exact",
                "three random graphs of 1, 3 and 5 units with biases, three minibatches each, η = 1/50, μ = "
                "1/10, β = 9/10: the package's books are z, in fractions, for SGD and for heavy ball",
                Verdict.certified,
                _books_exact,
            ),
            timed(
                "sampled",
                "x→u→y and linear 1-2-1 integrated by SciPy, with γ = 0 and 0.8: the equation for z beside "
                "the flow, and e^{γt}(u̇∧u + v̇∧v), hold to 1e-8; with decay 0.3, z falls by e^{−0.6}",
                Verdict.sampled,
                _flows_agree,
            ),
        ),
        (
            twin(
                "one step size for all weights (Adam, signs of gradients)",
                signed[0] != signed[1],
                f"x→u→y with weights 1 and 2, target 0, a step of 1/10 along the signs: z = {signed[0]}, and "
                f"{signed[1]} by the equation",
            ),
            twin(
                "biases decay too",
                biased[0] != biased[1],
                f"w = b = v = 1, ∇E = 0, ημ = 1/2 without the bias: z = {biased[0]}, and {biased[1]} by the "
                "equation",
            ),
            twin(
                "m = 0 at the start",
                old[0] != old[1],
                f"w = v = 1, ∇E = 0, m = (1, 0), β = η = 1/2: z = {old[0]}, and {old[1]} booked from c = 0",
            ),
            twin(
                "the gradient at the present weights",
                stale() != 0,
                f"x→u→y with weights 1 and 2, gradient from 1 and 1: Aᵀ(w∘g) = {stale()}",
            ),
            twin(
                "J is antisymmetric, under momentum",
                abs(symmetric[1] - symmetric[0]) > 0.1,
                f"linear 1-2-1 without friction: ⟨ẇ, Mw⟩ with M = (S, −S), S = (0 1; 1 0), goes from "
                f"{symmetric[0]:.4f} to {symmetric[1]:.4f}",
            ),
            twin(
                "no inertia, for the law z itself",
                abs(end - start) > 0.1,
                f"x→u→y from rest without friction: z goes from {start:.0f} to {end:.4f} in time 1",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (broken,)
