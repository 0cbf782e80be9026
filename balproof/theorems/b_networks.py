"""[B] Sections 2 and 6: balancing in networks of any architecture, and what networks of BiLU units can
compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from flint import arb

from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem
from balproof.importers.json_file import from_document
from balproof.network.evaluate import evaluate, trajectory
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.theorems.b_lemmas import PAPER, by_z3, excludes_zero, printed_false, twin
from balproof.theorems.instances import (
    counterexample,
    dense,
    enclose_balanced,
    layered,
    random_layered,
    random_recurrent,
    rank,
    skipping,
)
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray


# --- architectures ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Architecture:
    """A network with its number of scales, and the units that cannot scale, both counted by hand."""

    name: str
    network: Network
    scales: int
    blocked: tuple[str, ...] = ()


def _linear(source: str, weight: str, result: str) -> dict[str, Any]:
    return {"kind": "linear", "inputs": [source, weight], "output": result}


def _unit(function: str, source: str, result: str) -> dict[str, Any]:
    return {"kind": "activation", "function": function, "inputs": [source], "output": result}


def residual() -> Network:
    """u = W x; r = u + V·relu(U u); y = O r. The two entries of u and r share a scale each, U's three units
    have
    one each."""
    return from_document(
        {
            "inputs": {"x": [2]},
            "parameters": {
                "W": [[1, 2], [-1, 1]],
                "U": [[1, -1], [2, 1], [1, 3]],
                "V": [[1, 2, -1], [1, 1, 2]],
                "O": [[1, -2]],
            },
            "operations": [
                _linear("x", "W", "u"),
                _linear("u", "U", "z"),
                _unit("relu", "z", "a"),
                _linear("a", "V", "v"),
                {"kind": "add", "inputs": ["u", "v"], "output": "r"},
                _linear("r", "O", "y"),
            ],
            "outputs": ["y"],
        }
    )


def twice(weights: Sequence[Sequence[float]], last: Sequence[Sequence[float]]) -> Network:
    """y = O·relu(W·relu(W x)): the scale of all first units is a, of all second ones 2a."""
    return from_document(
        {
            "inputs": {"x": [len(weights)]},
            "parameters": {"W": [list(r) for r in weights], "O": [list(r) for r in last]},
            "operations": [
                _linear("x", "W", "z"),
                _unit("relu", "z", "a"),
                _linear("a", "W", "t"),
                _unit("relu", "t", "b"),
                _linear("b", "O", "y"),
            ],
            "outputs": ["y"],
        }
    )


def mixed() -> Network:
    """x → relu → max(x,0)² → tanh → y, two units, then one and one; tanh cannot scale."""
    return from_document(
        {
            "inputs": {"x": [2]},
            "parameters": {"A": [[1, "1/2"], [2, 1]], "B": [[1, 1]], "C": [["1/8"]], "D": [[2]]},
            "operations": [
                _linear("x", "A", "p"),
                _unit("relu", "p", "a"),
                _linear("a", "B", "q"),
                _unit("Max(x,0)**2", "q", "b"),
                _linear("b", "C", "r"),
                _unit("tanh", "r", "c"),
                _linear("c", "D", "y"),
            ],
            "outputs": ["y"],
        }
    )


def architectures() -> list[Architecture]:
    """One of each kind that the claim names."""
    return [
        Architecture("layered, with biases", random_layered((2, 3, 2, 2), 51), 5),
        Architecture("a learned skip", skipping(), 5),
        Architecture("a residual block", residual(), 5),
        Architecture("recurrent", random_recurrent(3, 52), 3),
        Architecture("convolutional", counterexample("convolution"), 2),
        Architecture("mixed activations", mixed(), 3, ("C[0]",)),
        Architecture("a matrix used twice", twice([[1, 0.5], [0.25, 2]], [[1, -1]]), 1),
    ]


def outputs(network: Network, seed: int = 0, points: int = 40) -> Array:
    """What the network computes on random inputs, as one row; over four time steps if it is recurrent, whose
    initial state is 0."""
    rng = np.random.default_rng(seed)
    lead = (4, points) if network.states else (points,)
    given = {n: rng.standard_normal((*lead, *network.tensors[n].shape[1:])) for n in network.inputs}
    run = trajectory if network.states else evaluate
    values = run(network, given)
    return np.concatenate([values[name].ravel() for name in network.outputs])


def _counted_and_kept() -> bool:
    """Each architecture: the scales and blocked units counted by hand, independent columns of A, and, for
    powers of two
    as scales, the same outputs to the last bit from other weights."""
    rng = np.random.default_rng(7)
    for case in architectures():
        manifold = infer(case.network)
        blocked = tuple(u.name for u in manifold.units if not u.free)
        A = dense([form for _, _, form in manifold.rows()], manifold.count)
        if not (manifold.free_scales == manifold.count == case.scales == rank(A) and blocked == case.blocked):
            return False
        after = manifold.rescale_by_powers_of_two(rng.integers(1, 4, manifold.count) * np.log(2))
        moved = [
            t.name
            for t in case.network.parameters
            if np.any(after.numbers(t.name) != case.network.numbers(t.name))
        ]
        if not moved or not np.array_equal(outputs(case.network), outputs(after)):
            return False
    return True


def nullity(network: Network, draws: int = 12) -> int:
    """How many independent log-scales L of single weights keep the outputs whatever the weights are: those
    with
    Σ_e L_e w_e ∂f/∂w_e = 0 at random inputs for every one of some random weights on the network's support.

    Central differences and singular values; it knows no rule. (At one set of weights there can be more: what
    a
    narrow layer merges, or what is dead.)
    """
    rows: list[Array] = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        drawn = {
            t.name: np.where(network.numbers(t.name) != 0, rng.standard_normal(t.shape), 0.0)
            for t in network.parameters
        }
        columns: list[Array] = []
        for name, base in drawn.items():
            for flat in np.flatnonzero(base):
                sides = []
                for sign in (1, -1):
                    moved = base.copy()
                    moved.flat[flat] *= 1 + sign * 1e-6
                    sides.append(outputs(network.with_parameters(drawn | {name: moved})))
                columns.append((sides[0] - sides[1]) / 2e-6)
        jacobian = np.stack(columns, axis=1)
        rows.append(jacobian / max(float(np.abs(jacobian).max()), 1e-12))
    values = np.linalg.svd(np.concatenate(rows), compute_uv=False)
    return int(np.sum(values < 1e-6 * values[0]))


def _no_more() -> bool:
    """Each architecture has as many such directions as scales: inference has missed none here."""
    return all(nullity(case.network) == case.scales for case in architectures())


def convolution_balances() -> tuple[float, float, bool]:
    """convolution.json, Σw²: R before and after, and whether Krawczyk's test encloses the balanced state."""
    problem = BalanceProblem.build(counterexample("convolution"), "l2")
    h = direct(problem).h
    return problem.cost(np.zeros(problem.count)), problem.cost(h), enclose_balanced(problem, h)


def _balanced_all() -> bool:
    """Each architecture with one power: the balanced state is enclosed by Krawczyk's test."""
    for case in architectures():
        problem = BalanceProblem.build(case.network, "l2")
        if not enclose_balanced(problem, direct(problem).h, 1e-10):
            return False
    return True


def tied_layers_of_scales() -> int:
    """2-3-2-2 with one scale a layer: the rank of A times the matrix that spreads two scales over five
    units."""
    manifold = infer(random_layered((2, 3, 2, 2), 51))
    A = np.array(dense([form for _, _, form in manifold.rows()], manifold.count), dtype=float)
    return int(np.linalg.matrix_rank(A @ np.kron(np.eye(2), np.ones((3, 1)))[[0, 1, 2, 3, 4]]))


def used_once() -> tuple[float, float, float]:
    """y = o·relu(w·relu(w·x)) at x = w = o = 1, with w = 2 and o = 1/2 (as for one use), and with o = 1/4."""
    found = [
        evaluate(twice([[w]], [[o]]), {"x": np.ones((1, 1))})["y"] for w, o in ((1, 1), (2, 0.5), (2, 0.25))
    ]
    return float(found[0][0, 0]), float(found[1][0, 0]), float(found[2][0, 0])


def bias_left() -> bool:
    """convolution.json, its first channel scaled by 2 with the bias left: whether the outputs change; and
    with the
    bias, whether they stay."""
    network = counterexample("convolution")
    K, b, L = (network.numbers(n).copy() for n in ("K", "b", "L"))
    K[0] *= 2
    L[:, 0] /= 2
    left = network.with_parameters({"K": K, "L": L})
    b[0] *= 2
    whole = network.with_parameters({"K": K, "L": L, "b": b})
    before = outputs(network)
    return bool(np.array_equal(outputs(whole), before) and np.max(np.abs(outputs(left) - before)) > 0.1)


@claim(
    Claim(
        "B.architectures",
        "Balancing beyond layered networks",
        f"{PAPER}, Section 6; Alexos, Domingo, Baldi, AAAI 2025, on convolutions",
        "Balancing works in networks without layers, recurrent and convolutional networks, and networks with "
        "mixed activations; the AAAI paper excludes convolutions.",
        "For each architecture the rescalings that keep the function, as far as the scaling rules of its "
        "operations show them, form a linear space $L=Ah$, whose dimension, basis and blocked units follow "
        "from exact linear equations. Shared weights are one tensor, for which the equations of every use "
        "hold; so the channels of a convolution can scale. One scale for a layer is a subspace. On seven "
        "architectures (layered, learned and fixed skips, recurrent, convolutional, mixed activations, a "
        "matrix used twice) these are all the rescalings that keep the function for all weights.",
        (
            "every operation has a rule whose law is tested; whatever is not known pins its operands",
            "the bias scales with its unit or channel",
            "the initial state of a recurrent network is scaled too (here 0)",
            "that there are no other rescalings is sampled, from derivatives at random weights",
        ),
        Verdict.certified,
        ("B.scaling-preserves", "B.strictly-convex"),
    )
)
def other_architectures() -> Findings:
    """The scales of each network, counted by hand, by inference and by its derivatives."""
    before, after, enclosed = convolution_balances()
    scaled, plain = arb(2).tanh() / 2, arb(1).tanh()
    base, once, right = used_once()
    kept = bias_left()
    return Findings(
        printed_false(
            enclosed and after < 0.9 * before and kept,
            "convolutions are no exception: both channels of convolution.json scale, and balancing takes "
            f"Σw² from {before:.2f} to {after:.4f}. The rest holds",
        ),
        (
            timed(
                "exact",
                "seven architectures: scales and blocked units as counted by hand, A of full column rank in "
                "fractions; scaled by powers of two, the outputs agree to the last bit; layer-tied scales of "
                "2-3-2-2 have rank 2",
                Verdict.certified,
                lambda: _counted_and_kept() and tied_layers_of_scales() == 2,
            ),
            timed(
                "interval",
                "each of them is balanced for Σw²: Krawczyk's test encloses the one state within 1e-10",
                Verdict.certified,
                _balanced_all,
            ),
            timed(
                "sampled",
                "the derivatives of the outputs by the weights, without any rule, leave as many directions L "
                "as scales",
                Verdict.sampled,
                _no_more,
            ),
        ),
        (
            twin(
                "what is not homogeneous pins",
                excludes_zero(scaled - plain),
                f"tanh as if of degree 1: tanh(2)/2 = {float(scaled):.4f}, tanh(1) = {float(plain):.4f}",
            ),
            twin(
                "every use of a shared weight counts",
                once != base == right,
                f"o·relu(w·relu(w·x)) at 1: w = 2, o = ½ gives {once}; two uses need o = ¼",
            ),
            twin(
                "the bias scales with its channel",
                kept,
                "convolution.json with its first channel times 2 and the bias left: the outputs change",
            ),
        ),
    )


# --- universality -------------------------------------------------------------------------------------


def bilu(x: Any, a: Any, b: Any) -> Any:
    """a·x for x < 0, b·x for x ≥ 0.

    >>> bilu(-2, 3, 1), bilu(2, 3, 1)
    (-6, 2)
    """
    return b * x if sympy.sympify(x).is_nonnegative else a * x


def relu_from(f: Callable[[Any], Any], x: Any, a: Any, b: Any) -> Any:
    """max(x, 0) from f at x and −x, for a² ≠ b²."""
    return (b * f(x) + a * f(-x)) / (b**2 - a**2)


def relu_from_modulus(f: Callable[[Any], Any], x: Any, b: Any, T: Any) -> Any:
    """max(x, 0) = (|x| + |x + T| − T)/2 for x ≥ −T, where f = b·|x|."""
    return (f(x) / b + f(x + T) / b - T) / 2


def _identities() -> bool:
    """Both half-lines and 0, with symbols a, b, T."""
    a, b = sympy.symbols("a b", real=True)
    x, T = sympy.symbols("x T", positive=True)

    def f(z: sympy.Expr) -> sympy.Expr:
        return bilu(z, a, b)

    direct = sympy.simplify(relu_from(f, x, a, b) - x) == 0 and sympy.simplify(relu_from(f, -x, a, b)) == 0
    at_zero = relu_from(f, sympy.S.Zero, a, b) == 0

    def modulus(z: sympy.Expr) -> sympy.Expr:
        return b * sympy.Abs(z)

    y = sympy.Symbol("y", nonnegative=True)  # x = −T + y with 0 ≤ y: x + T = y
    right = sympy.simplify(relu_from_modulus(modulus, x, b, T) - x) == 0
    left = sympy.simplify(relu_from_modulus(modulus, -x, b, x + y)) == 0  # −x ≥ −T, T = x + y
    return bool(direct and at_zero and right and left)


def _identity_queries() -> list[list[sympy.Basic]]:
    """max(x, 0) as a combination of BiLU units differs nowhere, by cases; and a = b leaves an affine map."""
    a, b, x, T, u, v = sympy.symbols("a b x T u v", real=True)  # u = f(x), v = f(−x)
    differs = sympy.Ne(b * u + a * v, (b**2 - a**2) * x, evaluate=False)
    vanishes = sympy.Ne(b * u + a * v, 0, evaluate=False)
    moduli = sympy.symbols("m n", nonnegative=True)  # |x|, |x + T|
    absolute = [sympy.Eq(moduli[0] ** 2, x**2), sympy.Eq(moduli[1] ** 2, (x + T) ** 2), T >= 0, x >= -T]
    return [
        [x >= 0, sympy.Eq(u, b * x), sympy.Eq(v, -a * x), differs],
        [x < 0, sympy.Eq(u, a * x), sympy.Eq(v, -b * x), vanishes],
        [*absolute, x >= 0, sympy.Ne(moduli[0] + moduli[1] - T, 2 * x)],
        [*absolute, x < 0, sympy.Ne(moduli[0] + moduli[1] - T, 0)],
    ]


def interpolant(target: Callable[[Array], Array], n: int, a: Fraction, b: Fraction) -> Network:
    """1-2n-1 with BiLU units: the piecewise linear interpolant of a function on [0, 1] at n + 1 points, each
    ReLU
    from two units."""
    knots = np.linspace(0, 1, n + 1)
    values = target(knots)
    slopes = np.diff(values) * n
    kinks = np.diff(slopes, prepend=0.0)
    scale = float(b * b - a * a)
    matrix = np.concatenate([np.ones(n), -np.ones(n)])
    out = np.concatenate([float(b) * kinks, float(a) * kinks]) / scale
    biases = np.concatenate([-knots[:-1], knots[:-1]])
    return layered(
        [matrix[:, None].tolist(), [out.tolist()]],
        f"Piecewise(({a}*x, x<0), ({b}*x, True))",
        {0: biases.tolist(), 1: [float(values[0])]},
    )


def _approximates() -> bool:
    """sin(6x) on [0, 1] within 36/(8n²), n = 10, 20, 40, for three BiLU units with a² ≠ b²."""
    x = np.linspace(0, 1, 2001)
    for a, b in ((Fraction(1, 5), Fraction(1)), (Fraction(-3), Fraction(1)), (Fraction(2), Fraction(0))):
        for n in (10, 20, 40):
            network = interpolant(lambda t: np.sin(6 * t), n, a, b)
            y = evaluate(network, {"x": x[:, None]})[network.outputs[0]].ravel()
            error = float(np.max(np.abs(y - np.sin(6 * x))))
            if not 1e-6 < error <= 36 / (8 * n * n) + 1e-9:
                return False
    return True


def straight_line() -> bool:
    """linear_units.json: its outputs at −1, 0, 1 have second difference 0, and |x| has 2."""
    network = counterexample("linear_units")
    y = evaluate(network, {"x": np.array([[-1.0], [0.0], [1.0]])})[network.outputs[0]].ravel()
    return float(y[0] - 2 * y[1] + y[2]) == 0.0 and len(set(y.tolist())) == 3


def _affine_query() -> list[sympy.Basic]:
    """c·x + d within less than 1/2 of |x| at −1, 0 and 1."""
    c, d = sympy.symbols("c d", real=True)
    half = sympy.Rational(1, 2)
    near_one = [-half < c + d - 1, c + d - 1 < half, -half < d - c - 1, d - c - 1 < half]
    return [*near_one, -half < d, d < half]


def _homogeneous_query() -> list[sympy.Basic]:
    """A network without biases has N(2x) = 2N(x): within less than 1/3 of the constant 1 at 1 and 2."""
    y = sympy.Symbol("y", real=True)
    third = sympy.Rational(1, 3)
    return [y - 1 < third, y - 1 > -third, 2 * y - 1 < third, 2 * y - 1 > -third]


def beyond_the_bound() -> tuple[Any, Any]:
    """max(x, 0) from |x| with T = 1, at x = −2 (outside) and x = −1/2 (inside)."""
    points = (Fraction(-2), Fraction(-1, 2))
    return tuple(relu_from_modulus(abs, x, 1, 1) for x in points)  # pyright: ignore[reportReturnType]


@claim(
    Claim(
        "B.universality",
        "Networks of BiLU units approximate every continuous function",
        f"{PAPER}, Section 2; Leshno, Lin, Pinkus, Schocken, Neural Networks 1993, Theorem 1",
        "A single hidden layer of BiLU units suffices to approximate any continuous function.",
        "Let $f(x)=ax$ for $x<0$ and $bx$ for $x\\ge0$. If $a^2\\ne b^2$, "
        "$\\max(x,0)=(bf(x)+af(-x))/(b^2-a^2)$; if $a=-b\\ne0$, $\\max(x,0)=(f(x)+f(x+T))/2b-T/2$ for "
        "$x\\ge-T$. So on bounded sets one hidden layer of BiLU units with biases computes whatever one of "
        "ReLU units does, with twice as many, and is universal if that is. If $a=b$, the network is affine "
        "and not universal.",
        (
            "a ≠ b",
            "hidden and output units have biases",
            "universality of one hidden layer of ReLU units is cited (Leshno et al. 1993), not proved here",
            "on bounded sets",
        ),
        Verdict.proved,
        ("B.homogeneous-iff-bilu",),
    )
)
def universality() -> Findings:
    """Two BiLU units make a ReLU unit."""
    line = straight_line()
    affine = by_z3("", Verdict.certified, [_affine_query()]).verdict is Verdict.certified
    unbiased = by_z3("", Verdict.certified, [_homogeneous_query()]).verdict is Verdict.certified
    outside, inside = beyond_the_bound()
    witness = (
        "f(x) = x is BiLU with a = b = 1, so that the network (linear_units.json) is affine, and no affine "
        "map is within 1/2 of |x| at −1, 0 and 1 (z3)"
    )
    return Findings(
        printed_false(line and affine, f"not if a = b: {witness}"),
        (
            timed(
                "sympy",
                "both identities, for symbols a, b, T, on both half-lines and at 0",
                Verdict.proved,
                _identities,
            ),
            by_z3(
                "the same identities, by cases, for all real a, b, x, T", Verdict.proved, _identity_queries()
            ),
            timed(
                "sampled",
                "sin(6x) on [0, 1] by one hidden layer of 2n BiLU units, n = 10, 20, 40 and (a, b) = (1/5, "
                "1), (−3, 1), (2, 0): error at most 36/8n², the bound of piecewise linear interpolation",
                Verdict.sampled,
                _approximates,
            ),
        ),
        (
            twin("a ≠ b", line and affine, witness),
            twin(
                "biases",
                unbiased,
                "without biases N(2x) = 2N(x), and no such N is within 1/3 of the constant 1 at 1 and 2 (z3)",
            ),
            twin(
                "on bounded sets (for a = −b)",
                outside != 0 and inside == 0,
                f"f(x) = |x|, T = 1: the combination is {outside} at x = −2, where max(x, 0) = 0",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (other_architectures, universality)
