"""Related results: how many laws gradient flow has, counted and certified on small networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from balproof.conservation import Conserved, conserved, replay
from balproof.importers.json_file import from_document
from balproof.network.graph import Network
from balproof.theorems.b_lemmas import printed_false, twin, vanishes
from balproof.theorems.graphs import Graph, dense, gradient, random_weights
from balproof.theorems.instances import counterexample, layered, rank
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray
U2, V2 = [[1, 2], [3, -1]], [[1, 2], [1, -1]]
U3, V3 = [[1, 2], [3, -1], [1, 1]], [[1, 2, 1], [1, -1, 2]]


def attention(softmax: bool = True) -> Network:
    """One head of width 2 on three tokens of two numbers: softmax(xQ(xK)ᵀ)·xV·O."""
    squares = {"Q": U2, "K": [[1, 1], [2, -1]], "V": [[1, 3], [1, -1]], "O": V2}
    operations: list[dict[str, Any]] = [
        {"kind": "linear", "inputs": ["x", name], "output": name.lower()} for name in "QKV"
    ]
    operations += [
        {"kind": "transpose", "inputs": ["k"], "output": "kt", "perm": [0, 2, 1]},
        {"kind": "matmul", "inputs": ["q", "kt"], "output": "scores"},
    ]
    if softmax:
        operations.append({"kind": "softmax", "inputs": ["scores"], "output": "part", "axis": -1})
    operations += [
        {"kind": "matmul", "inputs": ["part" if softmax else "scores", "v"], "output": "heads"},
        {"kind": "linear", "inputs": ["heads", "O"], "output": "y"},
    ]
    return from_document(
        {"inputs": {"x": [3, 2]}, "parameters": squares, "operations": operations, "outputs": ["y"]}
    )


@dataclass(frozen=True)
class Case:
    """A network and the number of its laws, from the literature."""

    name: str
    network: Callable[[], Network]
    laws: int


CASES: tuple[Case, ...] = (
    Case("ReLU 2-3-2", lambda: layered([U3, V3]), 3),
    Case("ReLU 1-2-1 with biases", lambda: layered([[[1], [2]], [[1, 3]]], "relu", {0: [1, -1]}), 2),
    Case("ReLU 2-3-2-2 with biases", lambda: layered([U3, V3, U2], "relu", {0: [1, 2, 1], 1: [1, 1]}), 5),
    Case("max(x, 0)² 2-2-2 with biases", lambda: layered([U2, V2], "Max(x,0)**2", {0: [1, 2]}), 2),
    Case("linear 2-2-2", lambda: layered([U2, V2], "linear"), 3),
    Case("linear 2-3-2", lambda: layered([U3, V3], "linear"), 6),
    Case("linear 2-2-2-2", lambda: layered([U2, V2, U2], "linear"), 6),
    Case("attention of width 2", attention, 6),
)
"""Linear layers n → r → m with r ≤ n + m have the r(r+1)/2 entries of UUᵀ − VᵀV."""


def complete(found: Conserved, network: Network, laws: int) -> bool:
    """The count is complete with this many laws, and its certificate gives the same when computed again, with
    a second prime where the fields are polynomials."""
    count = found.count
    if (count.verdict, count.k) != ("complete", laws) or count.certificate is None:
        return False
    again = replay(network, count.certificate)
    second = again.second_rank is None or again.second_rank == again.rank
    return again.agrees and second and again.rank == count.parameters - laws


def _package_counts() -> bool:
    for case in CASES:
        network = case.network()
        if not complete(conserved(network), network, case.laws):
            return False
    return True


# --- by hand ------------------------------------------------------------------------------------------


def linear_ranks(at: Mapping[str, Sequence[Sequence[int]]]) -> tuple[int, int, int]:
    """For linear 2-2-2 at weights U, V: the rank of the fields ∇(VU)_ij, with their brackets J_Y X − J_X Y,
    and of the gradients of the entries of UUᵀ − VᵀV; by SymPy's derivatives."""
    U, V = (sympy.Matrix(2, 2, sympy.symbols(f"{n}0:4")) for n in "UV")
    theta = [*U, *V]
    point = dict(zip(theta, [v for n in "UV" for row in at[n] for v in row], strict=True))
    product, gram = V * U, U * U.T - V.T * V

    def slopes(f: sympy.Expr) -> sympy.Matrix:
        return sympy.Matrix([f.diff(v) for v in theta])

    fields = [slopes(f) for f in product]
    jacobians = [f.jacobian(theta) for f in fields]
    brackets = [jacobians[j] * fields[i] - jacobians[i] * fields[j] for i in range(4) for j in range(i)]
    laws = [slopes(gram[i, j]) for i, j in ((0, 0), (0, 1), (1, 1))]
    values = [
        [[Fraction(int(v.subs(point))) for v in vector] for vector in group]
        for group in (fields, fields + brackets, laws)
    ]
    return rank(values[0]), rank(values[1]), rank(values[2])


def relu_rank(sizes: Sequence[int], *, positive: bool = False, biased: bool = False) -> tuple[int, int]:
    """The rank of the fields of a ReLU network at one rational point, from 60 cases with targets of their
    own, by back-propagation in fractions; and the number of weights."""
    rng = np.random.default_rng(51)
    graph: Graph = dense(sizes, biased=biased)
    w = random_weights(graph, rng)
    if positive:
        w = {e: abs(v) for e, v in w.items()}
    if biased:  # kinks among the inputs: units that are on for some and off for others
        w = {e: v / 4 if e[0] == "one" else v for e, v in w.items()}
    rows: list[list[Fraction]] = []
    for _ in range(60):
        given = {v: Fraction(int(rng.integers(-20, 21)), 3) for v in graph.inputs if v != "one"}
        target = {v: Fraction(int(rng.integers(-20, 21))) for v in graph.outputs}
        g = gradient(graph, w, [(given, target)])
        rows.append([Fraction(g[e]) for e in graph.edges])
    return rank(rows), len(graph.edges)


# --- where there are others ---------------------------------------------------------------------------


def scalar_input() -> bool:
    """1-2-1 with ReLU, both incoming weights positive: three laws instead of two. By hand: the fields have
    rank 1 of 4, and u₁v₂ − u₂v₁ is kept, as both units see the same."""
    network = counterexample("scalar_input")
    found = conserved(network, signs=True)
    e, u1, u2, v1, v2 = sympy.symbols("e u1 u2 v1 v2")  # u̇ = −e·v, v̇ = −e·u with the same e
    wedge = u1 * v2 - u2 * v1
    speed = sum((wedge.diff(a) * -e * b for a, b in ((u1, v1), (u2, v2), (v1, u1), (v2, u2))), sympy.S.Zero)
    return complete(found, network, 3) and vanishes(speed) and relu_rank((1, 2, 1), positive=True) == (1, 4)


def exponential_unit() -> bool:
    """v·exp(wx + b): ∂E/∂b = v·∂E/∂v, so b − v²/2 is kept, though exp is not homogeneous."""
    x, w, b, v = sympy.symbols("x w b v", real=True)
    y = v * sympy.exp(w * x + b)
    scaling = (w * y.diff(w)) + b * y.diff(b) - v * y.diff(v)
    return vanishes(y.diff(b) - v * y.diff(v)) and not vanishes(scaling)


@claim(
    Claim(
        "R.completeness",
        "There are no further laws",
        "Marcotte, Gribonval, Peyré, NeurIPS 2023; 2025 for attention",
        "The known conservation laws are all there are.",
        "At a generic point the number of independent laws is the number of parameters minus the dimension "
        "of the Lie algebra that the gradient fields generate: for two ReLU layers exactly "
        "$\\|u_k\\|^2-\\|v_k\\|^2$ for each hidden unit k, for two linear layers the entries of "
        "$UU^\\top-V^\\top V$, for attention of one head those of $QQ^\\top$ less $KK^\\top$ on the head's "
        "width, and of V and O likewise.",
        (
            "a law is one for every data set and every loss",
            "inputs of dimension above one, or biases",
            "near a point where the dimension is the largest; networks of the sizes counted here",
            "the hidden units are homogeneous; for the numbers given, of ReLU or linear",
        ),
        Verdict.certified,
        ("R.noether",),
    )
)
def completeness() -> Findings:
    """A rank from below and laws from above meet."""
    false = scalar_input()
    plain = layered([U3, V3])
    few = conserved(plain, data={"x": np.array([[1.0, 2.0]])}).count
    entropy = conserved(plain, loss="cross-entropy").count
    softplus = conserved(layered([U2, V2], "log(1+exp(x))", {0: [1, 2]})).count
    zero = {n: [[0, 0], [0, 0]] for n in "UV"}
    return Findings(
        printed_false(
            false,
            "with one input and no biases there are more: $x\\to 2\\to y$ with ReLU and $u_1,u_2>0$ also "
            "keeps $u_1v_2-u_2v_1$, as both units see the same (counterexamples/scalar_input.json, with its "
            "signs; the smallest: one unit alone has no partner)",
        ),
        (
            timed(
                "exact",
                "the package's counts are complete, and their certificates replay, also modulo a second "
                "prime where fields are polynomials: "
                + "; ".join(f"{case.laws} for {case.name}" for case in CASES),
                Verdict.certified,
                _package_counts,
            ),
            timed(
                "exact",
                "by back-propagation in fractions, without the package: the fields of ReLU 2-3-2 have rank 9 "
                "of 12, of 1-2-1 with biases 4 of 6, at a random point",
                Verdict.certified,
                lambda: relu_rank((2, 3, 2)) == (9, 12) and relu_rank((1, 2, 1), biased=True) == (4, 6),
            ),
            timed(
                "sympy",
                "linear 2-2-2 at whole weights: the four fields have rank 4, with their brackets 5, and the "
                "three laws have independent gradients, 5 + 3 = 8",
                Verdict.certified,
                lambda: linear_ranks({"U": U2, "V": V2}) == (4, 5, 3),
            ),
        ),
        (
            twin(
                "inputs of dimension above one, or biases",
                false,
                "ReLU 1-2-1 with u = (1, 2): the fields span 1 of 4 dimensions, and 3 laws are shown",
            ),
            twin(
                "for every data set",
                few.lie_dimension is not None and few.lie_dimension < 9,
                f"ReLU 2-3-2 trained on the one input (1, 2): the fields span {few.lie_dimension} of 12 "
                "dimensions, and not 9",
            ),
            twin(
                "for every loss",
                (entropy.verdict, entropy.k) == ("complete", 6),
                f"ReLU 2-3-2 and cross-entropy: {entropy.k} laws, the sums of the columns of V among them",
            ),
            twin(
                "a point where the dimension is the largest",
                linear_ranks(zero)[1] == 0,
                "linear 2-2-2 at 0: all fields and brackets are 0, of rank 0 and not 5",
            ),
            twin(
                "homogeneous units",
                softplus.verdict == "none" and exponential_unit(),
                "softplus 2-2-2 with biases has no law; exp, which is not homogeneous either, keeps b − ½Σv² "
                "of each unit",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (completeness,)
