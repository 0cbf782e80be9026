"""Related results: what gradient flow keeps at units, layers and in any acyclic graph."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from flint import fmpq, fmpq_mat
from scipy.integrate import solve_ivp

from balproof.conservation import conserved
from balproof.network.manifold import infer
from balproof.theorems.b_lemmas import twin, vanishes
from balproof.theorems.b_scaling import _backpropagation
from balproof.theorems.graphs import (
    Edge,
    Graph,
    Sample,
    as_network,
    dense,
    error,
    gradient,
    products,
    random_dag,
    random_samples,
    random_weights,
)
from balproof.theorems.instances import layered
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray
LEAKY = Fraction(-1, 4)
"""D of x/4 for x < 0."""

# --- R.du-hu-lee --------------------------------------------------------------------------------------


def _whole_matrices() -> bool:
    """One pair of linear layers of any sizes in one sample: W_{l+1}W_l x with the error's gradient d behind.

    Other samples add to both sides, and what is before and behind the pair only changes x and d.
    """
    n, m, r = sympy.symbols("n m r", integer=True, positive=True)
    W, V = sympy.MatrixSymbol("W", m, n), sympy.MatrixSymbol("V", r, m)
    x, d = sympy.MatrixSymbol("x", n, 1), sympy.MatrixSymbol("d", r, 1)
    W_dot, V_dot = -(V.T * d) * x.T, -d * (W * x).T
    first = W_dot * W.T + W * W_dot.T
    second = V_dot.T * V + V.T * V_dot
    return (first - second).doit() == sympy.ZeroMatrix(m, m)


def _squares_fall_alike() -> bool:
    """d/dt w² = −2w·∂E/∂w for each weight, so both sums of a unit change by −2·(the same)."""
    t, g = sympy.symbols("t g", real=True)
    w = sympy.Function("w")(t)
    return vanishes((w**2).diff(t).subs(w.diff(t), -g) + 2 * w * g)


def unit_sums(graph: Graph, values: Sequence[Any]) -> list[Any]:
    """Σ_IN − degree·Σ_OUT of a value for each weight, for each hidden unit."""
    rows = [[b if b > 0 else graph.degree * b for b in row] for row in graph.incidence()]
    return products(rows, values)


def layer_sums(graph: Graph, sizes: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """For each hidden layer, Σ over the weights and biases into it less Σ over the weights out of it."""
    found: list[Any] = []
    for k in range(1, len(sizes) - 1):
        into = sum(v for (_, b), v in zip(graph.edges, values, strict=True) if b.startswith(f"u{k}_"))
        found.append(
            into - sum(v for (a, _), v in zip(graph.edges, values, strict=True) if a.startswith(f"u{k}_"))
        )
    return found


def _units_and_layers_exact() -> bool:
    """Half the speed of Σ_IN w² − Σ_OUT w², with its sign turned, is Σ_IN w·g − Σ_OUT w·g."""
    rng = np.random.default_rng(11)
    for sizes, biased in (((2, 3, 2), False), ((2, 3, 2, 2), True), ((1, 2, 3, 2, 1), True)):
        graph = dense(sizes, biased=biased)
        w = random_weights(graph, rng)
        g = gradient(graph, w, random_samples(graph, rng, 5))
        wg = [w[e] * g[e] for e in graph.edges]
        if any(unit_sums(graph, wg)) or any(layer_sums(graph, sizes, wg)) or not any(wg):
            return False
    return True


def layer_matrices(sizes: Sequence[int], values: Any, edges: Sequence[Edge]) -> list[list[list[Any]]]:
    """The weights of each layer of ``dense(sizes)`` as a matrix with a row for each unit."""
    return [
        [[values[f"u{k}_{j}", f"u{k + 1}_{i}"] for j in range(n)] for i in range(m)]
        for k, (n, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        if (f"u{k}_0", f"u{k + 1}_0") in edges
    ]


def matrix_speeds(D: Fraction) -> list[list[list[Fraction]]]:
    """d/dt of W_lW_lᵀ − W_{l+1}ᵀW_{l+1} on a 2-3-2-3 network without biases; D = −1 is the linear one."""
    sizes = (2, 3, 2, 3)
    rng = np.random.default_rng(12)
    plain = dense(sizes)
    graph = Graph(plain.order, plain.edges, plain.hidden, D=D)
    w = random_weights(graph, rng)
    g = gradient(graph, w, random_samples(graph, rng, 4))
    W = [_matrix(m) for m in layer_matrices(sizes, w, graph.edges)]
    G = [_matrix(m) for m in layer_matrices(sizes, g, graph.edges)]
    speeds = []
    for k in range(2):
        first = G[k] * W[k].transpose() + W[k] * G[k].transpose()
        second = G[k + 1].transpose() * W[k + 1] + W[k + 1].transpose() * G[k + 1]
        change = second - first
        speeds.append([[Fraction(int(v.p), int(v.q)) for v in row] for row in change.tolist()])
    return speeds


def _matrix(rows: Sequence[Sequence[Any]]) -> fmpq_mat:
    return fmpq_mat([[fmpq(Fraction(v).numerator, Fraction(v).denominator) for v in row] for row in rows])


def train(graph: Graph, start: Array, samples: Sequence[Sample], time: float) -> Array:
    """The weights after ``time`` of ẇ = −∇E."""

    def speed(_: float, state: Array) -> Array:
        g = gradient(graph, dict(zip(graph.edges, state.tolist(), strict=True)), samples)
        return -np.array([g[e] for e in graph.edges], dtype=float)

    return solve_ivp(speed, (0.0, time), start, "DOP853", rtol=1e-9, atol=1e-11).y[:, -1]


def _training_keeps() -> bool:
    """The flow integrated from weights on: the sums stay, the error falls and the weights move."""
    rng = np.random.default_rng(13)
    sizes = (2, 3, 2, 1)
    plain = dense(sizes, biased=True)
    graph = Graph(plain.order, plain.edges, plain.hidden, D=LEAKY)
    samples = [({v: rng.normal() for v in ("u0_0", "u0_1")}, {"u3_0": rng.normal()}) for _ in range(4)]
    start = rng.normal(size=len(graph.edges))
    end = train(graph, start, samples, 0.5)
    E = [error(graph, dict(zip(graph.edges, w.tolist(), strict=True)), samples) for w in (start, end)]
    kept = np.array(unit_sums(graph, (end**2).tolist())) - np.array(unit_sums(graph, (start**2).tolist()))
    return bool(E[1] < E[0] / 2 and np.max(np.abs(end - start)) > 0.1 and np.max(np.abs(kept)) < 1e-6)


def _package_laws() -> bool:
    """The laws that the package finds for ReLU layers and for linear layers: how many, and their values."""
    W, V = [[1, 2], [3, -1], [1, 1]], [[1, 2, 1], [1, -1, 2]]
    given = {"W0": np.array(W, float), "W1": np.array(V, float)}
    relu, linear = conserved(layered([W, V])), conserved(layered([W, V], "linear"))
    by_hand = given["W0"] @ given["W0"].T - given["W1"].T @ given["W1"]
    found = sorted(2 * relu.at(given))
    return (
        np.allclose(found, sorted(np.diag(by_hand)), rtol=1e-14)
        and len(linear.laws) == 6
        and np.allclose(sorted(2 * linear.at(given)[:3]), sorted(np.diag(by_hand)), rtol=1e-14)
    )


def one_unit(degree: int, w: Fraction, b: Fraction, v: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """w·∂E/∂w for weight, bias and outgoing weight of one unit at x = 1 and E = y²/2."""
    graph = dense((1, 1, 1), biased=True, degree=degree)
    weights = {("u0_0", "u1_0"): w, ("one", "u1_0"): b, ("u1_0", "u2_0"): v}
    g = gradient(graph, weights, [({"u0_0": 1}, {})])
    first, second, third = (weights[e] * g[e] for e in (("u0_0", "u1_0"), ("one", "u1_0"), ("u1_0", "u2_0")))
    return first, second, third


def kink_slopes() -> tuple[Fraction, Fraction]:
    """Σ_IN and Σ_OUT of w times the derivative from the right of E = |v·relu(w₁ − w₂) − 1| at (2, 1, 1)."""
    at, small = [Fraction(2), Fraction(1), Fraction(1)], Fraction(1, 10**6)

    def E(w: Sequence[Fraction]) -> Fraction:
        return abs(w[2] * max(w[0] - w[1], Fraction(0)) - 1)

    right = [(E([x + small * (i == k) for i, x in enumerate(at)]) - E(at)) / small for k in range(3)]
    return at[0] * right[0] + at[1] * right[1], at[2] * right[2]


def decay_sides() -> tuple[sympy.Expr, sympy.Expr]:
    """w·∂E/∂w and v·∂E/∂v of E = (w² + v²)/2 at w = 1, v = 2."""
    w, v = sympy.symbols("w v")
    E, at = (w**2 + v**2) / 2, {w: 1, v: 2}
    return (w * E.diff(w)).subs(at), (v * E.diff(v)).subs(at)


def step_of_descent() -> tuple[Fraction, Fraction]:
    """IN² − OUT² of x→u→y with weights 1 and 2, x = 1, target 0, before and after a step of 1/10."""
    w, v, rate = Fraction(1), Fraction(2), Fraction(1, 10)
    g, k = w * v * v, w * v * w
    return w**2 - v**2, (w - rate * g) ** 2 - (v - rate * k) ** 2


@claim(
    Claim(
        "R.du-hu-lee",
        "Gradient flow keeps layers balanced",
        "Du, Hu, Lee, NeurIPS 2018, Thm 2.1 and Cor 2.1; linear layers: Arora, Cohen, Hazan, ICML 2018",
        "Gradient flow keeps the differences between incoming and outgoing squared norms.",
        "Along a solution of $\\dot w=-\\nabla E$, $\\sum_{IN}w^2-\\sum_{OUT}w^2$ is constant for each unit "
        "of degree 1, and $\\|W_l\\|^2+\\|b_l\\|^2-\\|W_{l+1}\\|^2$ for each hidden layer of such units. "
        "Between linear layers without biases the whole matrix $W_lW_l^\\top-W_{l+1}^\\top W_{l+1}$ is.",
        (
            "E is differentiable along the path, and depends on the weights through the function alone",
            "biases are incoming weights",
            "the units are of degree 1; linear, for the whole matrix",
            "continuous time",
        ),
        Verdict.proved,
        ("B.gradient-identity",),
    )
)
def du_hu_lee() -> Findings:
    """Half the speed of a sum of squares is −Σw·∂E/∂w, which is the same for both sides of a unit."""
    kink, squared = kink_slopes(), one_unit(2, Fraction(1), Fraction(0), Fraction(1))
    biased = one_unit(1, Fraction(1), Fraction(1), Fraction(1))
    before, after = step_of_descent()
    speeds, decay = matrix_speeds(LEAKY), decay_sides()
    return Findings(
        Printed(
            Verdict.proved,
            "where E is differentiable along the path, with the biases among the incoming weights",
        ),
        (
            timed(
                "sympy",
                "units with any numbers of weights: back-propagation with z·f′(z) = f(z) makes Σ_IN w∂E/∂w = "
                "Σ_OUT w∂E/∂w, and d/dt w² = −2w∂E/∂w; linear layers of any sizes: both products of a pair "
                "have the same speed, −(V⊤d)(Wx)⊤ and its transpose",
                Verdict.proved,
                lambda: _backpropagation() and _squares_fall_alike() and _whole_matrices(),
            ),
            timed(
                "exact",
                "2-3-2, 2-3-2-2 and 1-2-3-2-1 ReLU networks with and without biases, 5 cases each: all unit "
                "and layer differences have speed 0 in fractions; linear 2-3-2-3: both matrices have",
                Verdict.certified,
                lambda: (
                    _units_and_layers_exact()
                    and not any(v for m in matrix_speeds(Fraction(-1)) for row in m for v in row)
                ),
            ),
            timed(
                "exact",
                "the package's own search on 2-3-2: 3 laws with ReLU, which are these differences, and 6 "
                "with linear units",
                Verdict.certified,
                _package_laws,
            ),
            timed(
                "sampled",
                "a 2-3-2-1 leaky ReLU network with biases trained by SciPy's integrator: the error falls to "
                "less than half, and the differences stay to 1e-6",
                Verdict.sampled,
                _training_keeps,
            ),
        ),
        (
            twin(
                "biases are incoming weights",
                biased[0] != biased[2] == biased[0] + biased[1],
                f"x = w = b = v = 1, E = y²/2: w² − v² has speed {-2 * (biased[0] - biased[2])}, "
                "w² + b² − v² has 0",
            ),
            twin(
                "degree 1",
                squared[0] + squared[1] != squared[2],
                f"max(x, 0)², x = w = v = 1, E = y²/2: w² − v² has speed {-2 * (squared[0] - squared[2])}",
            ),
            twin(
                "linear units, for the whole matrix",
                not any(m[i][i] for m in speeds for i in range(len(m))) and _off_diagonal(speeds) != 0,
                "a 2-3-2-3 network of leaky ReLU units: the diagonal of each matrix rests, and "
                f"{_off_diagonal(speeds)} is the speed of an entry off it",
            ),
            twin(
                "continuous time",
                before != after,
                f"x→u→y with weights 1 and 2: a step of 1/10 takes w² − v² from {before} to {after}",
            ),
            twin(
                "E depends on the weights through the function alone",
                decay[0] != decay[1],
                f"E = (w² + v²)/2 with w = 1, v = 2: w² − v² has speed {-2 * (decay[0] - decay[1])}",
            ),
            twin(
                "E is differentiable along the path",
                kink[0] != kink[1],
                f"E = |v·relu(w₁ − w₂) − 1| at (2, 1, 1): moving against the derivatives from the right, "
                f"IN² − OUT² has speed {-2 * (kink[0] - kink[1])}",
            ),
        ),
    )


def _off_diagonal(speeds: Sequence[Sequence[Sequence[Fraction]]]) -> Fraction:
    return next((m[0][1] for m in speeds if m[0][1]), Fraction(0))


# --- R.graph-form -------------------------------------------------------------------------------------


def _graphs(D: Fraction) -> list[tuple[Graph, dict[Edge, Fraction], dict[Edge, Fraction]]]:
    rng = np.random.default_rng(31)
    found = []
    for hidden in (1, 2, 3, 5, 7, 9):
        graph = random_dag(rng, hidden, D)
        w = random_weights(graph, rng)
        found.append((graph, w, gradient(graph, w, random_samples(graph, rng, 4))))
    return found


def _any_graph_exact() -> bool:
    """B(θ∘∇E) = 0 and, after a step of η, B θ² has changed by η²B(∇E)² and nothing of order η."""
    eta = Fraction(1, 7)
    for D in (Fraction(0), LEAKY):
        for graph, w, g in _graphs(D):
            B = graph.incidence()
            products_zero = products(B, [w[e] * g[e] for e in graph.edges])
            moved = products(B, [(w[e] - eta * g[e]) ** 2 - w[e] ** 2 for e in graph.edges])
            second = products(B, [eta**2 * g[e] ** 2 for e in graph.edges])
            if any(products_zero) or moved != second or not any(g.values()):
                return False
    return True


def _incidence_is_manifold() -> bool:
    """The scaling manifold of the package, of the same graph as a network of 1×1 weights, is B."""
    for graph, w, _ in _graphs(LEAKY):
        manifold = infer(as_network(graph, w))
        names = {name: {k: int(c) for k, c in row} for name, flat, row in manifold.rows() if flat == 0}
        columns = [tuple(names[f"{u}>{v}"].get(k, 0) for u, v in graph.edges) for k in range(manifold.count)]
        if sorted(columns) != sorted(tuple(row) for row in graph.incidence()):
            return False
    return True


def input_row() -> Fraction:
    """The row of an input, −1 on what it sends, times θ∘∇E: x→u→y with weights 1, 1 and E = y²/2."""
    return -one_unit(1, Fraction(1), Fraction(0), Fraction(1))[0]


@claim(
    Claim(
        "R.graph-form",
        "The laws of any acyclic graph",
        "Nurisso et al. 2026; layered networks: Du, Hu, Lee, NeurIPS 2018",
        "On any acyclic network the incidence matrix B of the units gives the laws.",
        "Let B have a row for each hidden unit, +1 for the weights into it, its bias among them, −1 for "
        "those out of it. Then $B(\\theta\\circ\\nabla E)=0$ everywhere, and $B\\theta^2$ is constant along "
        "$\\dot\\theta=-\\nabla E$.",
        (
            "activations of degree 1",
            "E is differentiable there, and depends on the weights through the function alone",
            "rows for hidden units only",
        ),
        Verdict.proved,
        ("B.gradient-identity", "R.du-hu-lee"),
    )
)
def graph_form() -> Findings:
    """Row k of B(θ∘∇E) is Σ_IN − Σ_OUT of unit k, whatever the graph around it."""
    squared = one_unit(2, Fraction(1), Fraction(0), Fraction(1))
    biased = one_unit(1, Fraction(1), Fraction(1), Fraction(1))
    kink, decay = kink_slopes(), decay_sides()
    return Findings(
        Printed(Verdict.proved, "for units of degree 1; rows of inputs and outputs give no law"),
        (
            timed(
                "sympy",
                "one unit with any numbers of weights, in any graph: both sides are z·f′(z)·ε by "
                "back-propagation, with ε the derivative by its output; and d/dt θ² = −2θ∂E/∂θ",
                Verdict.proved,
                lambda: _backpropagation() and _squares_fall_alike(),
            ),
            timed(
                "exact",
                "12 random graphs of 1 to 9 hidden units with edges across, biases, ReLU and leaky ReLU: "
                "B(θ∘∇E) = 0 in fractions, and a step of 1/7 changes Bθ² by B(∇E)²/49 exactly",
                Verdict.certified,
                _any_graph_exact,
            ),
            timed(
                "exact",
                "the scaling manifold that the package infers for 6 of these graphs is B, column by column",
                Verdict.certified,
                _incidence_is_manifold,
            ),
        ),
        (
            twin(
                "degree 1",
                squared[0] != squared[2],
                f"x→u→y with max(x, 0)² and weights 1: B(θ∘∇E) = {squared[0] - squared[2]}",
            ),
            twin(
                "rows for hidden units only",
                input_row() != 0,
                f"x→u→y with weights 1, E = y²/2: the row of the input gives {input_row()}",
            ),
            twin(
                "the bias is among the weights into the unit",
                biased[0] != biased[2],
                f"x = w = b = v = 1: without the bias the row gives {biased[0] - biased[2]}",
            ),
            twin(
                "E depends on the weights through the function alone",
                decay[0] != decay[1],
                f"E = (w² + v²)/2 with w = 1, v = 2 along x→u→y: B(θ∘∇E) = {decay[0]} − {decay[1]}",
            ),
            twin(
                "E is differentiable there",
                kink[0] != kink[1],
                f"E = |v·relu(w₁ − w₂) − 1| at (2, 1, 1), derivatives from the right: {kink[0]} − {kink[1]}",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (du_hu_lee, graph_form)
