"""[B] Section 2 and Section 4: scaling keeps the network function, and what that says of the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from flint import arb

from balproof.importers.json_file import from_document
from balproof.network.evaluate import evaluate, trajectory
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer
from balproof.network.rules import RULES, witness
from balproof.theorems.b_lemmas import PAPER, by_z3, excludes_zero, near, twin, undetermined
from balproof.theorems.instances import (
    chain,
    exact_weights,
    formula,
    layered,
    random_layered,
    random_recurrent,
    recurrent,
    skipping,
    symbols_of,
)
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

_I, _J = sympy.symbols("i j", integer=True)
_N = sympy.Symbol("n", integer=True, positive=True)
_L, _M = sympy.symbols("lambda mu", positive=True)


# --- the function is kept -----------------------------------------------------------------------------


def scaled_weight(weight: sympy.Expr, into: sympy.Expr, out_of: sympy.Expr, degree: sympy.Expr) -> sympy.Expr:
    """A weight from a unit of this degree with scale ``out_of`` to one with scale ``into``."""
    return weight * into * out_of ** (-degree)


def _induction_step() -> bool:
    """If every unit j has pre-activation s_j·z_j, so has every unit i a step later, for any numbers of units.

    z_i = Σ_j w_ij·f_j(z_j) + b_i, with f_j(s_j·z_j) = s_j^{c_j}·f_j(z_j) and s = 1 for visible units.
    """
    w, s, c, a = (sympy.IndexedBase(name, positive=name == "s") for name in ("w", "s", "c", "a"))
    b = sympy.Symbol("b", real=True)  # b_i; a_j = f_j(z_j)
    before = sympy.Sum(w[_I, _J] * a[_J], (_J, 1, _N)) + b
    active = s[_J] ** c[_J] * a[_J]
    after = sympy.Sum(scaled_weight(w[_I, _J], s[_I], s[_J], c[_J]) * active, (_J, 1, _N)) + s[_I] * b
    return bool(sympy.simplify(after - s[_I] * before) == 0)


def _scalings_commute() -> bool:
    """A scaling by s, then by t, multiplies each weight as the scaling by s·t does, hence as t, then s."""
    w, c = sympy.symbols("w c", real=True)
    s, t, u, v = sympy.symbols("s t u v", positive=True)
    one = scaled_weight(scaled_weight(w, s, u, c), t, v, c)
    return sympy.simplify(sympy.powdenest(one - scaled_weight(w, s * t, u * v, c), force=True)) == 0


def _net_queries() -> list[list[sympy.Basic]]:
    """1-1-1-1 and 2-2-1 with BiLU units of any slopes: outputs agree and no pre-activation changes sign."""
    x, x2, a, b, d = sympy.symbols("x x2 a b d", real=True)
    w = sympy.symbols("w0:6", real=True)
    k = sympy.symbols("k0:2", real=True)  # the slopes of the pieces that are used
    z1 = w[0] * x + a
    z2 = w[1] * k[0] * z1 + b
    y = w[2] * k[1] * z2 + d

    def weight(value: sympy.Expr, into: sympy.Expr, out_of: sympy.Expr) -> sympy.Expr:
        return scaled_weight(value, into, out_of, sympy.S.One)

    one = sympy.S.One
    u1 = weight(w[0], _L, one) * x + _L * a
    u2 = weight(w[1], _M, _L) * k[0] * u1 + _M * b
    chained = weight(w[2], one, _M) * k[1] * u2 + d
    h1, h2 = w[0] * x + w[1] * x2 + a, w[2] * x + w[3] * x2 + b
    wide = w[4] * k[0] * h1 + w[5] * k[1] * h2 + d
    g1 = weight(w[0], _L, one) * x + weight(w[1], _L, one) * x2 + _L * a
    g2 = weight(w[2], _M, one) * x + weight(w[3], _M, one) * x2 + _M * b
    widened = weight(w[4], one, _L) * k[0] * g1 + weight(w[5], one, _M) * k[1] * g2 + d
    return [
        [sympy.Ne(chained, y, evaluate=False)],
        [sympy.Ne(widened, wide, evaluate=False)],
        [z1 * u1 < 0],
        [z2 * u2 < 0],
        [h1 * g1 < 0],
        [h2 * g2 < 0],
    ]


def _shifted(manifold: Manifold, h: Sequence[int]) -> Network:
    """Scales 2^h: every weight times a power of two, exactly."""
    logs = manifold.apply(np.array(h, dtype=float))
    values = {n: np.ldexp(manifold.network.numbers(n), np.rint(v).astype(int)) for n, v in logs.items()}
    return manifold.network.with_parameters(values)


def _networks() -> list[Network]:
    return [
        random_layered((3, 5, 4, 2), 0),
        layered([[[0.5, -1.5], [2, 1], [1, 1]], [[1, -1, 3]]], "Max(x,0)**2", {0: [1.0, -0.25, 2.0]}),
        layered([[[0.5, -1.5], [2, 1]], [[1, -1]]], "Piecewise((x/5, x<0), (x, True))", {0: [1.0, 0.5]}),
        skipping(),
    ]


def _same_bits() -> bool:
    """Scaling by powers of two commutes with rounding, so the outputs must agree bit for bit."""
    rng = np.random.default_rng(2)
    for network in _networks():
        manifold = infer(network)
        x = {"x": rng.standard_normal((20, network.tensors["x"].shape[1]))}
        after = _shifted(manifold, rng.integers(-4, 5, manifold.count).tolist())
        name = network.outputs[0]
        if manifold.count < 2 or not np.array_equal(evaluate(network, x)[name], evaluate(after, x)[name]):
            return False
    network = random_recurrent(4, 5)
    manifold = infer(network)
    h = rng.integers(-4, 5, manifold.count).tolist()
    x, start = {"u": rng.standard_normal((6, 20, 2))}, rng.standard_normal((20, 4))
    before = trajectory(network, x, {"s": start})
    after = trajectory(_shifted(manifold, h), x, {"s": np.ldexp(start, h)})
    return manifold.count == 4 and np.array_equal(before["y"], after["y"])


def _rules_hold() -> bool:
    return all(witness(kind, seed) < 1e-11 for kind in RULES for seed in range(10))


def _one_unit(w: Fraction, b: Fraction, v: Fraction) -> Fraction:
    """v·relu(w·1 + b)."""
    return v * max(w + b, Fraction(0))


def _skip_fixed() -> tuple[bool, bool]:
    """y = v·(relu(w·x) + x) with w = v = x = 1, and with 2 and 1/2; and whether the package lets it scale."""

    def y(w: Fraction, v: Fraction) -> Fraction:
        return v * (max(w, Fraction(0)) + 1)

    network = from_document(
        {
            "inputs": {"x": [1]},
            "parameters": {"w": [[1]], "v": [[1]]},
            "operations": [
                {"kind": "linear", "inputs": ["x", "w"], "output": "z"},
                {"kind": "activation", "function": "relu", "inputs": ["z"], "output": "h"},
                {"kind": "add", "inputs": ["h", "x"], "output": "r"},
                {"kind": "linear", "inputs": ["r", "v"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )
    return y(Fraction(2), Fraction(1, 2)) != y(Fraction(1), Fraction(1)), infer(network).free_scales == 0


def _state_left() -> bool:
    """One ReLU unit, J = W_out = 1, state 1 at the start: the first output is 1; scaled by 2 with the state
    left, 1/2."""
    network = recurrent([[1.0]], W_out=[[1.0]])
    manifold = infer(network)
    sign = int(np.sign(manifold.apply(np.ones(1))["W_out"][0, 0]))
    after = _shifted(manifold, [-sign])
    runs = [trajectory(n, {}, {"s": np.ones((1, 1))})["y"][0, 0, 0] for n in (network, after)]
    return runs == [1.0, 0.5]


@claim(
    Claim(
        "B.scaling-preserves",
        "Scaling a unit keeps the network function",
        f"{PAPER}, Section 2",
        "Multiplying a unit's incoming weights by λ > 0 and dividing its outgoing weights by λ^c leaves the "
        "function of the network unchanged; scalings of different units commute.",
        "Let units compute $z_i=\\sum_j w_{ij}f_j(z_j)+b_i$ in any architecture, acyclic or recurrent in "
        "discrete time, with $f_j(\\lambda z)=\\lambda^{c_j}f_j(z)$ for the units that are scaled. Then "
        "$w_{ij}\\to w_{ij}s_is_j^{-c_j}$, $b_i\\to s_ib_i$, $s>0$ and $s=1$ for visible units (outputs "
        "among them), and the initial pre-activations times $s_i$, turn every $z_i$ into $s_iz_i$ at every "
        "time, so that the outputs stay. Scalings multiply, so they commute.",
        (
            "each scaled unit is homogeneous of its degree",
            "the bias is one of the incoming weights",
            "in a recurrent network the initial state is scaled too",
            "all the weights into and out of a scaled unit are free to scale",
        ),
        Verdict.proved,
        ("B.power-iff-bipu",),
    )
)
def scaling_preserves() -> Findings:
    """Induction over time (or the topological order): Σ_j w_ij s_i s_j^{−c}·s_j^c f_j(z_j) + s_i b_i = s_i
    z_i."""
    scaled, plain = (arb(2).tanh() / 2, arb(1).tanh())
    sigmoid = [1 / (1 + (-arb(z)).exp()) for z in (2, 1)]
    blocked = infer(chain([1, 1], "tanh")).free_scales == infer(chain([1, 1], "sigmoid")).free_scales == 0
    normalised = infer(chain([1, 1], "x/sqrt(x**2 + 1)")).free_scales == 0
    skip_fails, skip_pinned = _skip_fixed()
    return Findings(
        Printed(
            Verdict.proved,
            "with the bias among the incoming weights and, in a recurrent network, the initial state scaled",
        ),
        (
            timed(
                "sympy",
                "the step of the induction for any numbers of units, any degrees c_j and scales s_j > 0: "
                "scaled weights acting on s_j^{c_j}·f_j(z_j) give s_i·z_i; two scalings in a row multiply "
                "each weight as their product does",
                Verdict.proved,
                lambda: _induction_step() and _scalings_commute(),
            ),
            by_z3(
                "lemma proved: 1-1-1-1 and 2-2-1 with biases and BiLU units, all weights, inputs, slopes "
                "and scales: the same output, and no pre-activation changes its piece",
                Verdict.certified,
                _net_queries(),
            ),
            timed(
                "exact",
                "ReLU, leaky ReLU, degree 2, a learned skip and a recurrent network, scaled by random "
                "powers of two along the inferred manifold (rounding commutes with these): the outputs "
                "agree bit for bit",
                Verdict.certified,
                _same_bits,
            ),
            timed(
                "sampled",
                f"the scaling law of each of {len(RULES)} kinds of operation on 10 random instances, to "
                f"1e-11",
                Verdict.sampled,
                _rules_hold,
            ),
        ),
        (
            twin(
                "the bias scales with the incoming weights",
                _one_unit(Fraction(2), Fraction(1), Fraction(1, 2)) != _one_unit(*[Fraction(1)] * 3),
                "v·relu(w·1 + b) with w = b = v = 1 is 2; with w = 2, v = 1/2 and b left at 1 it is 3/2",
            ),
            twin(
                "λ > 0",
                _one_unit(*[Fraction(-1)] * 3) != _one_unit(*[Fraction(1)] * 3),
                "the same unit with w = b = v = −1, scaled by λ = −1, is 0 and not 2",
            ),
            twin(
                "the unit is homogeneous",
                excludes_zero(scaled - plain) and excludes_zero(sigmoid[0] / 2 - sigmoid[1]) and blocked,
                f"tanh(2)/2 = {float(scaled):.6f}, tanh(1) = {float(plain):.6f}; for the sigmoid "
                f"{float(sigmoid[0] / 2):.6f} and {float(sigmoid[1]):.6f}; inference leaves no scale free",
            ),
            twin(
                "every operation between the two is homogeneous (a normalisation with ε = 1)",
                Fraction(4, 4 + 1) != Fraction(1, 1 + 1) and normalised,
                "n(z) = z/√(z² + 1), of degree 0 without the 1, has n(1)² = 1/2 and n(2)² = 4/5; inference "
                "leaves no scale free",
            ),
            twin(
                "all weights out of the unit are free to scale (a skip with fixed weight 1)",
                skip_fails and skip_pinned,
                "v·(relu(w·x) + x) at x = w = v = 1 is 2; with w = 2, v = 1/2 it is 3/2; inference leaves "
                "no scale free",
            ),
            twin(
                "the initial state is scaled",
                _state_left(),
                "one recurrent ReLU unit, J = W_out = 1, state 1: the first output is 1; with W_out = 1/2 "
                "and the state left, 1/2",
            ),
        ),
    )


# --- the gradient -------------------------------------------------------------------------------------


_Unit, _Slope = undetermined("f")


def euler_degree(c: sympy.Expr) -> sympy.Expr:
    """What z·f′(z) is, over f(z)."""
    return c


def _backpropagation() -> bool:
    """Σ_IN w∂E/∂w = δz = f′(z)·z·ε and Σ_OUT w∂E/∂w = f(z)·ε, any numbers of weights; Euler: z·f′(z) =
    c·f(z)."""
    z, c, epsilon, delta, bias = sympy.symbols("z c epsilon delta b", real=True)
    # Euler's identity is the derivative in λ at 1 of f(λz) = λ^c f(z).
    relation = sympy.diff(_Unit(_L * z) - _L**c * _Unit(z), _L).subs(_L, 1)
    slope = sympy.solve(relation, _Slope(z))
    w, a, v, d = (sympy.IndexedBase(name) for name in ("w", "a", "v", "d"))
    m = sympy.Symbol("m", integer=True, positive=True)
    pre = sympy.Sum(w[_J] * a[_J], (_J, 1, _N)) + bias
    incoming = sympy.Sum(w[_J] * (a[_J] * delta), (_J, 1, _N)) + bias * delta
    outgoing = sympy.Sum(v[_I] * (d[_I] * _Unit(z)), (_I, 1, m))
    downstream = sympy.Sum(v[_I] * d[_I], (_I, 1, m))  # ε = ∂E/∂f(z)
    return (
        len(slope) == 1
        and sympy.simplify(incoming - delta * pre) == 0
        and sympy.simplify(outgoing - _Unit(z) * downstream) == 0
        and sympy.simplify(slope[0] * epsilon * z - euler_degree(c) * _Unit(z) * epsilon) == 0
    )


def _chain_rule() -> bool:
    """d/dt of E(w∘exp(At)) at 0 is Σ_e A_e·w_e·∂_eE, for any number of weights and any E differentiable at w.

    Differentiable at w: E(w + δ) = E(w) + Σ_e g_e·δ_e + o(|δ|), with δ_e = w_e(e^{A_e t} − 1) = O(t). A
    second look: SymPy's own chain rule on an undetermined E of five weights.
    """
    e, t = sympy.Symbol("e", integer=True), sympy.Symbol("t", real=True)
    g, w, A = (sympy.IndexedBase(name) for name in ("g", "w", "A"))
    linear = sympy.Sum(g[e] * w[e] * (sympy.exp(A[e] * t) - 1), (e, 1, _N))
    first = sympy.diff(linear, t).subs(t, 0) - sympy.Sum(A[e] * w[e] * g[e], (e, 1, _N))
    E = sympy.Function("E")
    five, rows = sympy.symbols("w1:6", real=True), sympy.symbols("A1:6", real=True)
    moved = (
        sympy.diff(E(*(x * sympy.exp(a * t) for x, a in zip(five, rows, strict=True))), t).subs(t, 0).doit()
    )
    claimed = sum((a * x * sympy.diff(E(*five), x) for x, a in zip(five, rows, strict=True)), sympy.S.Zero)
    return bool(sympy.simplify(first) == 0 and sympy.simplify(moved - claimed) == 0)


def weighted_gradients(network: Network, output: sympy.Expr) -> dict[str, list[sympy.Rational]]:
    """w·∂E/∂w, exactly, for E = (output − 1)²/2 and every weight."""
    point, names = exact_weights(network), symbols_of(network)
    error = (output - 1) ** 2 / 2
    return {
        name: [(s * sympy.diff(error, s)).subs(point) for s in symbols] for name, symbols in names.items()
    }


def _adjoint(network: Network, products: Mapping[str, Sequence[Any]]) -> list[sympy.Expr]:
    """Aᵀ(w∘∇E) in fractions."""
    manifold = infer(network)
    total = [sympy.S.Zero] * manifold.count
    for name, flat, row in manifold.rows():
        for k, c in row:
            total[k] += sympy.Rational(c.numerator, c.denominator) * products[name][flat]
    return total


def _mixed() -> Network:
    """2-2-2-1 with degree 2, biases, rational weights."""
    return layered(
        [[["1/2", 1], [2, "-1/3"]], [[1, "1/4"], ["1/3", -1]], [["1/5", 2]]],
        "Max(x,0)**2",
        {0: ["1/3", 1], 1: [1, 2]},
    )


def _exact_gradients() -> bool:
    """A degree-2 network, one with a skip, and a recurrent one over three steps: Aᵀ(w∘∇E) is 0 exactly."""
    loop = recurrent([[0.5, 1.0], [-0.25, 0.75]], W_in=[[1.0], [2.0]], b=[0.5, 0.25], W_out=[[1.0, -2.0]])
    cases = [
        (_mixed(), formula(_mixed(), [{"x": [2, 1]}])),
        (skipping(), formula(skipping(), [{"x": [1, 2]}])),
        (loop, formula(loop, [{"u": [x]} for x in (1, 2, 3)], {"s": [0.0, 0.0]})),
    ]
    for network, outputs in cases:
        products = weighted_gradients(network, sum(outputs, sympy.S.Zero))
        if not any(x != 0 for row in products.values() for x in row):
            return False
        if any(x != 0 for x in _adjoint(network, products)):
            return False
    return True


def _numeric_gradients() -> bool:
    """Central differences of E on a random 3-5-4-2 network: IN = OUT at every unit to 1e-6."""
    network = random_layered((3, 5, 4, 2), 7)
    manifold = infer(network)
    x = {"x": np.random.default_rng(3).standard_normal((8, 3))}

    def error(net: Network) -> float:
        return float(np.sum((evaluate(net, x)[network.outputs[0]] - 1.0) ** 2))

    products: dict[str, np.ndarray] = {}
    for tensor in network.parameters:
        base = network.numbers(tensor.name)
        product = np.zeros(base.size)
        for i in range(base.size):
            sides = []
            for sign in (1, -1):
                moved = base.ravel().copy()
                moved[i] += sign * 1e-6
                sides.append(error(network.with_parameters({tensor.name: moved.reshape(base.shape)})))
            product[i] = base.ravel()[i] * (sides[0] - sides[1]) / 2e-6
        products[tensor.name] = product.reshape(base.shape)
    size = sum(float(np.abs(p).sum()) for p in products.values())
    return bool(np.max(np.abs(manifold.adjoint(products))) < 1e-7 * size)


def _chain_sides(activation: str, w: Any, b: Any, v: Any) -> tuple[sympy.Expr, sympy.Expr, sympy.Expr]:
    """x = 1 → unit → y: w∂E/∂w, b∂E/∂b and v∂E/∂v, exactly."""
    network = layered([[[w]], [[v]]], activation, {0: [b]})
    products = weighted_gradients(network, formula(network, [{"x": [1]}])[0])
    return products["W0"][0], products["b0"][0], products["W1"][0]


def _decay_sides() -> tuple[sympy.Expr, sympy.Expr]:
    """w∂E/∂w and v∂E/∂v for E = w² + v² at w = 1, v = 2."""
    w, v = sympy.symbols("w v")
    sides = [x * sympy.diff(w**2 + v**2, x) for x in (w, v)]
    return sides[0].subs(w, 1), sides[1].subs(v, 2)


def _kink_sides() -> tuple[Fraction, Fraction]:
    """Σ_IN and Σ_OUT of w times the right-hand derivative of |relu(w₁ − w₂)·v − 1| at (2, 1, 1), where it is
    piecewise linear."""

    def error(w1: Fraction, w2: Fraction, v: Fraction) -> Fraction:
        return abs(max(w1 - w2, Fraction(0)) * v - 1)

    at, small = [Fraction(2), Fraction(1), Fraction(1)], Fraction(1, 1000)
    slopes = [
        (error(*(x + small * (i == k) for i, x in enumerate(at))) - error(*at)) / small for k in range(3)
    ]
    return at[0] * slopes[0] + at[1] * slopes[1], at[2] * slopes[2]


def _tanh_sides() -> tuple[arb, arb]:
    """E = y²/2, y = v·tanh(w), w = v = 1: w∂E/∂w and v∂E/∂v."""
    t = arb(1).tanh()
    return t * (1 - t * t), t * t


@claim(
    Claim(
        "B.gradient-identity",
        "The weighted gradients of a unit are balanced everywhere",
        f"{PAPER}, Section 4",
        "At any point Σ_IN w·∂E/∂w = Σ_OUT w·∂E/∂w.",
        "Let a rescaling $w\\to w\\circ e^{Ah}$ keep $E$, and $E$ be differentiable at $w$. Then "
        "$A^\\top(w\\circ\\nabla E)=0$; for a unit of degree $c$ in a network of weighted sums "
        "$\\sum_{IN}w\\,\\partial E/\\partial w=c\\sum_{OUT}w\\,\\partial E/\\partial w$, the bias being "
        "one of IN.",
        (
            "E is differentiable at w",
            "the unit is homogeneous of degree c",
            "the bias is one of IN",
            "E depends on the weights through the network function alone",
        ),
        Verdict.proved,
        ("B.scaling-preserves",),
    )
)
def gradient_identity() -> Findings:
    """Differentiate E(w∘exp(Ah)) = E(w) at h = 0; or add up back-propagation, where both sides are
    z·f′(z)·ε."""
    w, b, v = _chain_sides("relu", 1, 1, 3)
    squared = _chain_sides("Max(x,0)**2", 1, 1, 3)
    left, right = _tanh_sides()
    return Findings(
        Printed(Verdict.proved, "for degree 1, with the bias in IN and E differentiable there"),
        (
            timed(
                "sympy",
                "any number of weights, any E differentiable at w, any A: ∂/∂h_k of E(w∘exp(Ah)) at 0 is "
                "Σ_e A_ek·w_e·∂_eE, which is 0 as E is constant there; and again for one unit with any "
                "numbers of weights by back-propagation, with Euler's z·f′(z) = c·f(z)",
                Verdict.proved,
                lambda: _chain_rule() and _backpropagation(),
            ),
            timed(
                "exact",
                "degree 2 with biases, ReLU with a learned skip, a recurrent network over three steps: "
                "Aᵀ(w∘∇E) = 0 in fractions",
                Verdict.certified,
                _exact_gradients,
            ),
            timed(
                "sampled",
                "a random 3-5-4-2 ReLU network: central differences of E, unit by unit, to 1e-7",
                Verdict.sampled,
                _numeric_gradients,
            ),
        ),
        (
            twin(
                "the bias is one of IN",
                w + b == v and w != v,
                f"x = 1, w = b = 1, v = 3, ReLU, E = (y−1)²/2: w∂E/∂w = {w}, b∂E/∂b = {b}, v∂E/∂v = {v}",
            ),
            twin(
                "the factor c",
                squared[0] + squared[1] == 2 * squared[2] != squared[2],
                f"the same with max(x,0)²: IN {squared[0] + squared[1]}, OUT {squared[2]}",
            ),
            twin(
                "the unit is homogeneous",
                excludes_zero(left - right) and near(float(left), 0.3198518, 1e-5),
                f"y = v·tanh(w), E = y²/2, w = v = 1: IN {float(left):.6f}, OUT {float(right):.6f}",
            ),
            twin(
                "E depends on the weights through the function alone",
                _decay_sides() == (2, 8),
                "E = Σw² with w = 1 in and v = 2 out: IN 2, OUT 8",
            ),
            twin(
                "E is differentiable at w",
                _kink_sides() == (3, 1),
                "y = relu(w₁ − w₂)·v, E = |y − 1|, w = (2, 1), v = 1, where y = 1: with the derivatives "
                "from the right IN is 3 and OUT is 1",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (scaling_preserves, gradient_identity)
