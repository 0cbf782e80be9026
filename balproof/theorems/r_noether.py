"""Related results: which symmetries of the error give a law of gradient flow or of a mirror flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import sympy
from scipy.integrate import solve_ivp

from balproof.conservation import conserved
from balproof.conservation.flows import Flow
from balproof.theorems.b_lemmas import printed_false, twin, vanishes
from balproof.theorems.b_scaling import _chain_rule
from balproof.theorems.graphs import Graph, dense, gradient, random_samples, random_weights
from balproof.theorems.instances import counterexample, layered, rank
from balproof.theorems.r_conservation import layer_matrices, step_of_descent
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray


def _symmetric_of_any_size() -> bool:
    """d/dt ⟨w, Mw⟩ = −2⟨∇E, Mw⟩ for symmetric M, any number of weights; and ⟨∇E, Mw⟩ = 0: below."""
    n = sympy.Symbol("n", integer=True, positive=True)
    w, g, M = sympy.MatrixSymbol("w", n, 1), sympy.MatrixSymbol("g", n, 1), sympy.MatrixSymbol("M", n, n)
    first = -(g.T * M * w)
    second = (w.T * M * -g).T.doit()  # a number is its own transpose
    both = (first + second).subs(M.T, M).doit()
    return both == -2 * g.T * M * w


def _orbit_is_level() -> bool:
    """d/dt E(e^{tM}w) at 0 is ⟨∇E, Mw⟩: SymPy's exponential of an undetermined 3×3 matrix to first order, and
    its chain rule on an undetermined E."""
    t = sympy.Symbol("t", real=True)
    M = sympy.Matrix(3, 3, sympy.symbols("m0:9", real=True))
    w = sympy.Matrix(sympy.symbols("w0:3", real=True))
    moved = w + t * M * w + t**2 / 2 * M * M * w  # the rest of the series is of order t³
    E = sympy.Function("E")
    slope = sympy.diff(E(*moved), t).subs(t, 0).doit()
    direction = M * w
    claimed = sum((sympy.diff(E(*w), x) * direction[i] for i, x in enumerate(w)), sympy.S.Zero)
    return vanishes(slope - claimed)


def _mirror_of_any_potential() -> bool:
    """d/dt(wψ′(w) − ψ(w)) = w·d/dt ψ′(w) = −w·∂E/∂w for any ψ; the sum with A is −(Aᵀ(w∘∇E))_k."""
    w, g = sympy.symbols("w g", real=True)
    psi = sympy.Function("psi")(w)
    w_dot = -g / psi.diff(w, 2)  # ψ″(w)ẇ = −g
    return vanishes((w * psi.diff(w) - psi).diff(w) * w_dot + w * g)


def symmetric_speeds(D: Fraction) -> list[Fraction]:
    """⟨∇E, Mθ⟩ for each M = (S, −S) with S symmetric, on 2-2-2 without biases; linear for D = −1."""
    sizes = (2, 2, 2)
    rng = np.random.default_rng(21)
    plain = dense(sizes)
    graph = Graph(plain.order, plain.edges, plain.hidden, D=D)
    w = random_weights(graph, rng)
    g = gradient(graph, w, random_samples(graph, rng, 4))
    (U, V), (G, H) = (layer_matrices(sizes, v, graph.edges) for v in (w, g))
    found = []
    for S in ([[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 1], [1, 0]]):
        inner = sum(G[i][j] * S[i][k] * U[k][j] for i in range(2) for k in range(2) for j in range(2))
        outer = sum(H[i][j] * V[i][k] * S[k][j] for i in range(2) for k in range(2) for j in range(2))
        found.append(inner - outer)
    return found


Potential = tuple[str, Callable[[Array], Array], Callable[[Array], Array], Callable[[Array], Array]]
POTENTIALS: tuple[Potential, ...] = (
    ("w*log(w) - w", lambda w: w, lambda w: w, lambda w: 1 / w),
    ("w**2/2 + w**4/12", lambda w: w**2 / 2 + w**4 / 4, lambda w: w + w**3 / 3, lambda w: 1 + w**2),
)
"""ψ as a text; wψ′ − ψ, ψ′ and ψ″ by hand."""


def mirrored(second: Callable[[Array], Array], time: float = 0.4) -> tuple[Array, Array]:
    """Weights of x→u→v→y at the start and after a mirror flow with ψ″, x = 1, target 5."""
    start = np.array([0.7, 1.3, 0.9])

    def speed(_: float, w: Array) -> Array:
        y = float(np.prod(w))
        return -(y - 5.0) * y / w / second(w)

    return start, solve_ivp(speed, (0.0, time), start, "DOP853", rtol=1e-11, atol=1e-13).y[:, -1]


def _mirror_flows() -> bool:
    """Each quantity along the integrated flow, and the package's own wψ′ − ψ against the one by hand."""
    network = layered([[["0.7"]], [["1.3"]], [["0.9"]]])
    for text, kept, _, second in POTENTIALS:
        start, end = mirrored(second)
        change = np.diff(kept(start)) - np.diff(kept(end))
        if np.max(np.abs(change)) > 1e-8 or np.max(np.abs(end - start)) < 0.05:
            return False
        found = conserved(network, flow=f"mirror:{text}")
        flow = Flow.parse(f"mirror:{text}")
        values = [float(flow.kept.subs(flow.weight, v)) for v in (0.5, 2.0)]
        if len(found.laws) != 2 or not np.allclose(values, kept(np.array([0.5, 2.0])), rtol=1e-13):
            return False
    return True


def rotation_without_law() -> bool:
    """y = W⊤Wx with W 2×2: a rotation of the hidden layer keeps the function, and nothing is conserved.

    By hand: the fields are W ↦ WS with S symmetric, their bracket is W ↦ W(S₁S₂ − S₂S₁), and together they
    span all four dimensions at W = (1 2; 3 −1). So does the package's certificate.
    """
    W = sympy.Matrix([[1, 2], [3, -1]])
    turn = sympy.Matrix([[3, -4], [4, 3]]) / 5
    same = (turn * W).T * (turn * W) == W.T * W and turn * W != W
    basis = [sympy.Matrix(m) for m in ([[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 1], [1, 0]])]
    fields = [W * S for S in basis] + [W * (basis[0] * basis[2] - basis[2] * basis[0])]
    spanned = rank([[Fraction(int(v)) for v in m] for m in fields])
    alone = rank([[Fraction(int(v)) for v in m] for m in fields[:3]])
    count = conserved(counterexample("tied_autoencoder")).count
    return same and (alone, spanned) == (3, 4) and (count.verdict, count.lie_dimension) == ("none", 4)


def shear_speed(w: Sequence[Fraction]) -> tuple[Fraction, Fraction]:
    """E = w₂² is kept by (w₁ + t·w₂, w₂), M = (0 1; 0 0): ⟨∇E, Mw⟩, and d/dt ⟨w, Mw⟩ = d/dt w₁w₂."""
    g = [Fraction(0), 2 * w[1]]
    return g[0] * w[1], -(g[0] * w[1] + w[0] * g[1])


@claim(
    Claim(
        "R.noether",
        "Every linear symmetry with a symmetric generator has a conserved quantity",
        "Kunin et al., ICLR 2021; mirror flows: Marcotte, Gribonval, Peyré, ICML 2024",
        "Symmetries of the error give conservation laws of training.",
        "If $E(e^{tM}w)=E(w)$ for all t and M is symmetric, $\\langle w,Mw\\rangle$ is constant along "
        "$\\dot w=-\\nabla E$. Along the mirror flow $\\frac{d}{dt}\\psi'(w_e)=-\\partial_eE$ of a potential "
        "$\\sum_e\\psi(w_e)$, $\\sum_eA_{ek}(w_e\\psi'(w_e)-\\psi(w_e))$ is constant for each scale k of a "
        "rescaling $w\\to w\\circ e^{Ah}$ that keeps E.",
        (
            "E is differentiable along the path",
            "M is symmetric; for the mirror flow, diagonal",
            "ψ is twice differentiable with ψ″ > 0 and acts on each weight alone",
            "continuous time",
        ),
        Verdict.proved,
        ("B.gradient-identity",),
    )
)
def noether() -> Findings:
    """⟨∇E, Mw⟩ = 0; for symmetric M, Mw is half the gradient of ⟨w, Mw⟩."""
    false = rotation_without_law()
    sheared = shear_speed((Fraction(1), Fraction(1)))
    start, end = mirrored(POTENTIALS[1][3])
    drift = float(start[0] ** 2 - start[1] ** 2 - end[0] ** 2 + end[1] ** 2)
    return Findings(
        printed_false(
            false,
            "the generator must be symmetric: in $y=W^\\top Wx$ with $W=(1\\;2;3\\;{-1})$ a rotation of the "
            "hidden layer keeps the function, and no quantity at all is conserved for every loss and data, "
            "since fields and brackets span all 4 dimensions (counterexamples/tied_autoencoder.json, the "
            "smallest: with one column the angle of $W$ is kept, with one row nothing can turn)",
        ),
        (
            timed(
                "sympy",
                "any number of weights: d/dt⟨w, Mw⟩ = −2⟨∇E, Mw⟩ for M = M⊤, and ⟨∇E, Mw⟩ is the derivative "
                "of E(e^{tM}w) at 0 (an undetermined E, to first order in t); d/dt(wψ′ − ψ) = −w∂E/∂w for an "
                "undetermined ψ, and Σ_e A_ek w_e∂_eE is the derivative of E(w∘exp(Ah))",
                Verdict.proved,
                lambda: (
                    _symmetric_of_any_size()
                    and _orbit_is_level()
                    and _mirror_of_any_potential()
                    and _chain_rule()
                ),
            ),
            timed(
                "exact",
                "linear 2-2-2 network, 4 cases: ⟨∇E, Mθ⟩ = 0 in fractions for the three M = (S, −S)",
                Verdict.certified,
                lambda: symmetric_speeds(Fraction(-1)) == [0, 0, 0],
            ),
            timed(
                "sampled",
                "x→u→v→y under the mirror flows of w·log w − w and w²/2 + w⁴/12: differences of wψ′ − ψ stay "
                "to 1e-8 while weights move by more than 0.05; the package's wψ′ − ψ is the one by hand",
                Verdict.sampled,
                _mirror_flows,
            ),
        ),
        (
            twin(
                "M is symmetric",
                sheared[0] == 0 != sheared[1],
                f"E = w₂² is kept by (w₁ + t·w₂, w₂); at (1, 1) w₁w₂ = ⟨w, Mw⟩ has speed {sheared[1]}",
            ),
            twin(
                "E is kept for all t",
                symmetric_speeds(Fraction(0))[2] != 0,
                f"2-2-2 with ReLU and S = (0 1; 1 0): ⟨∇E, Mθ⟩ = {symmetric_speeds(Fraction(0))[2]}",
            ),
            twin(
                "the quantity fits the potential",
                abs(drift) > 1e-2,
                f"x→u→v→y under ψ = w²/2 + w⁴/12: w₁² − w₂² changes by {-drift:.4f}",
            ),
            twin(
                "M is diagonal, for the mirror flow",
                mixed_drift() > 1e-3,
                "linear 1-2-1 under ψ = w²/2 + w⁴/12: neither u₁u₂ − v₁v₂ nor ψ′(u₁)u₂ − ψ′(v₁)v₂ is kept, "
                f"which change by {mixed_drift():.4f} or more",
            ),
            twin(
                "continuous time",
                step_of_descent()[0] != step_of_descent()[1],
                "a step of gradient descent of 1/10 on x→u→y with weights 1 and 2 takes w² − v² from −3 to "
                f"{step_of_descent()[1]}",
            ),
        ),
    )


def mixed_drift() -> float:
    """The lesser change of two candidates for an off-diagonal law of linear 1-2-1 under w²/2 + w⁴/12."""
    _, _, slope, second = POTENTIALS[1]
    start = np.array([0.7, 1.3, 0.9, 0.4])  # u, v

    def speed(_: float, w: Array) -> Array:
        y = float(w[:2] @ w[2:])
        return -(y - 5.0) * w[[2, 3, 0, 1]] / second(w)

    end = solve_ivp(speed, (0.0, 0.4), start, "DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    plain = [w[0] * w[1] - w[2] * w[3] for w in (start, end)]
    dual = [slope(w)[0] * w[1] - slope(w)[2] * w[3] for w in (start, end)]
    return float(min(abs(plain[1] - plain[0]), abs(dual[1] - dual[0])))


CLAIMS: tuple[ClaimFunction, ...] = (noether,)
