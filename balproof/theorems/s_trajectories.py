"""[S]: rescaling the units of a recurrent network keeps what it makes of every input over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy
from scipy.integrate import solve_ivp

from balproof.network.evaluate import trajectory
from balproof.network.manifold import infer
from balproof.symbolic import ball
from balproof.theorems.b_lemmas import STOCK, by_z3, excludes_zero, twin, undetermined, vanishes
from balproof.theorems.instances import recurrent
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.theorems.s_flow import Exact, scaled
from balproof.verdict import Verdict, timed

Array = np.ndarray
Vector = list[Fraction]
Unit = Callable[[Fraction], Fraction]

_F, _ = undetermined("phi")


def relu(v: Fraction) -> Fraction:
    return max(v, Fraction(0))


def square(v: Fraction) -> Fraction:
    """The square of ReLU, of degree 2."""
    return relu(v) ** 2


@dataclass(frozen=True)
class Recurrent:
    """ẋ = −x + Jφ(x) + W_in u + b with read-out y = W_out x, in rationals."""

    J: Exact
    W_in: Exact
    b: Vector
    W_out: Exact

    def speed(self, x: Sequence[Fraction], u: Sequence[Fraction], unit: Unit = relu) -> Vector:
        """ẋ at a state.

        >>> one = Fraction(1)
        >>> Recurrent([[one * 2]], [[one]], [one], [[one]]).speed([one], [one * 3])
        [Fraction(5, 1)]
        """
        rates = [unit(v) for v in x]
        return [
            -v + dot(row, rates) + dot(into, u) + bias
            for v, row, into, bias in zip(x, self.J, self.W_in, self.b, strict=True)
        ]

    def read(self, x: Sequence[Fraction]) -> Vector:
        return [dot(row, x) for row in self.W_out]


def dot(row: Sequence[Fraction], x: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(row, x, strict=True)), Fraction(0))


def divided(x: Sequence[Fraction], e: Sequence[Fraction]) -> Vector:
    """e^{−h}x with e = e^h: how states, biases and the columns of W_in are transformed."""
    return [v / s for v, s in zip(x, e, strict=True)]


def transformed(net: Recurrent, e: Sequence[Fraction]) -> Recurrent:
    """The paper's transform with e = e^h.

    >>> one = Fraction(1)
    >>> transformed(Recurrent([[one]], [[one]], [one], [[one]]), [one * 2]).b
    [Fraction(1, 2)]
    """
    into = [[v / s for v in row] for row, s in zip(net.W_in, e, strict=True)]
    out = [[v * s for v, s in zip(row, e, strict=True)] for row in net.W_out]
    return Recurrent(scaled(net.J, e), into, divided(net.b, e), out)


_HI, _HJ = sympy.symbols("h_i h_j", real=True)
_TRANSFORM = {
    "J": sympy.exp(_HJ - _HI),
    "W_in": sympy.exp(-_HI),
    "b": sympy.exp(-_HI),
    "W_out": sympy.exp(_HI),
}
"""What the transform multiplies a weight of unit i by, in the paper's sign; J is from unit j to unit i."""


def _field_is_carried_along() -> bool:
    """ẏ_i = e^{−h_i}ẋ_i for y = e^{−h}x, with one term of each sum, and W_out′ y = W_out x.

    The factor e^{−h_i} does not depend on the index of summation, so one term stands for any number of them.
    """
    xi, xj, u, t = sympy.symbols("x_i x_j u t", real=True)
    weights = {name: sympy.Symbol(name, real=True) for name in _TRANSFORM}
    moved = {name: weights[name] * factor for name, factor in _TRANSFORM.items()}

    def field(w: dict[str, sympy.Expr], xi: sympy.Expr, xj: sympy.Expr) -> sympy.Expr:
        return -xi + w["J"] * _F(xj) + w["W_in"] * u + w["b"]

    yi, yj = sympy.exp(-_HI) * xi, sympy.exp(-_HJ) * xj
    after = field(moved, yi, yj).subs(_F(yj), sympy.exp(-_HJ) * _F(xj))  # φ is of degree 1
    path = sympy.Function("x")(t)
    slope = sympy.diff(sympy.exp(-_HI) * path, t) - sympy.exp(-_HI) * sympy.diff(path, t)
    read = moved["W_out"] * yi - weights["W_out"] * xi
    return vanishes(after - sympy.exp(-_HI) * field(weights, xi, xj), slope, read)


def _lipschitz() -> list[list[sympy.Basic]]:
    """BiLU units with slopes a, b, |a|, |b| ≤ L: no two points with |φ(x) − φ(y)| > L(x − y), x > y."""
    a, b, x, y = sympy.symbols("a b x y", real=True)
    L = sympy.Symbol("L", positive=True)
    bounded = [a <= L, -a <= L, b <= L, -b <= L, x > y]
    sides = [
        ([x >= 0, y >= 0], b * x - b * y),
        ([x < 0, y < 0], a * x - a * y),
        ([x >= 0, y < 0], b * x - a * y),
    ]
    return [[*bounded, *where, sign * d > L * (x - y)] for where, d in sides for sign in (1, -1)]


def _networks() -> Iterator[tuple[Recurrent, Vector, Vector, Vector]]:
    """Rational networks with a state, an input and e^h."""
    rng = np.random.default_rng(31)

    def some(*shape: int) -> list[list[Fraction]]:
        top, bottom = rng.integers(-9, 10, shape), rng.integers(1, 6, shape)
        return [
            [Fraction(int(p), int(q)) for p, q in zip(r, s, strict=True)]
            for r, s in zip(top, bottom, strict=True)
        ]

    for n in (1, 2, 3, 4, 5):
        for _ in range(4):
            net = Recurrent(some(n, n), some(n, 2), some(1, n)[0], some(2, n))
            e = [abs(v) + Fraction(1, 3) for v in some(1, n)[0]]
            yield net, some(1, n)[0], some(1, 2)[0], e


def _fields_agree() -> bool:
    """ẏ = e^{−h}ẋ and the same read-out, for ReLU, |x| and a leaky unit."""
    units: tuple[Unit, ...] = (relu, abs, lambda v: v if v > 0 else v / 7)
    for net, x, u, e in _networks():
        moved, y = transformed(net, e), divided(x, e)
        for unit in units:
            if moved.speed(y, u, unit) != divided(net.speed(x, u, unit), e) or moved.read(y) != net.read(x):
                return False
    return True


def outputs(arrays: Sequence[Array], x: Array, unit: Callable[[Array], Array], t: Array) -> Array:
    """W_out x(t) for an input of two waves, integrated to a relative 1e-10."""
    J, W_in, b, W_out = arrays

    def speed(now: float, x: Array) -> Array:
        return -x + J @ unit(x) + W_in @ np.array([np.sin(3 * now), np.cos(now)]) + b

    found = solve_ivp(speed, (t[0], t[-1]), x, "DOP853", t, rtol=1e-10, atol=1e-12)
    return W_out @ found.y


def _flows_agree(unit: Callable[[Array], Array] = lambda v: np.maximum(v, 0)) -> bool:
    """Two integrations that know nothing of each other, over 8 time constants; the signal is no constant."""
    rng = np.random.default_rng(32)
    t = np.linspace(0.0, 8.0, 81)
    for n in (3, 6):
        J, W_in, b, W_out = (rng.normal(size=s) / np.sqrt(n) for s in ((n, n), (n, 2), (n,), (2, n)))
        h, x = rng.normal(size=n), rng.normal(size=n)
        e = np.exp(h)
        moved = (J * e[None, :] / e[:, None], W_in / e[:, None], b / e, W_out * e[None, :])
        one, two = outputs((J, W_in, b, W_out), x, unit, t), outputs(moved, x / e, unit, t)
        if np.ptp(one) < 0.1 or not np.allclose(one, two, rtol=1e-7, atol=1e-7):
            return False
    return True


def _package_agrees() -> bool:
    """One free scale for each unit; rescaling by −h is the transform, and keeps 30 steps of the network."""
    rng = np.random.default_rng(33)
    n = 5
    net = recurrent(
        (rng.normal(size=(n, n)) / 2).tolist(),
        W_in=rng.normal(size=(n, 2)),
        b=rng.normal(size=n),
        W_out=rng.normal(size=(2, n)),
    )
    manifold, h = infer(net), rng.normal(size=n)
    moved, e = manifold.rescale(-h), np.exp(h)
    J, u, s = net.numbers("J"), rng.normal(size=(30, 1, 2)), rng.normal(size=(1, n))
    before = trajectory(net, {"u": u}, {"s": s})["y"]
    after = trajectory(moved, {"u": u}, {"s": s / e})["y"]
    return (
        manifold.free_scales == n
        and np.allclose(moved.numbers("J"), J * e[None, :] / e[:, None], rtol=1e-12)
        and np.ptp(before) > 0.1
        and np.allclose(before, after, rtol=1e-9, atol=1e-9)
    )


def _one_unit() -> Recurrent:
    """J = 1, W_in = 1, b = 1, W_out = 1: with e^h = 2 it becomes J = 1, W_in = 1/2, b = 1/2, W_out = 2."""
    one = Fraction(1)
    return Recurrent([[one]], [[one]], [one], [[one]])


def _tanh_differs() -> bool:
    """At x = 1 without input and bias: ẏ = −1/2 + tanh(1/2), and e^{−h}ẋ = (−1 + tanh 1)/2."""
    half = sympy.Rational(1, 2)
    return excludes_zero(ball.enclose(sympy.tanh(half) - sympy.tanh(1) / 2, {}))


def _moving_scales() -> bool:
    """ẋ = −x has the output e^{−t}; with h = t, W_out e^{h} = e^{t} and still ẏ = −y the output is 1."""
    t = sympy.Symbol("t", real=True)
    y = sympy.exp(-t)
    return sympy.diff(y, t) == -y and sympy.simplify(sympy.exp(t) * y) == 1


@claim(
    Claim(
        "S.trajectories",
        "The map from input to output trajectories is kept",
        f"{STOCK}, Results and Methods",
        "Balancing keeps the entire map from input trajectories to output trajectories.",
        r"Let $\dot x=-x+J\varphi(x)+W_{in}u+b$ and $y=W_{out}x$, with $\varphi$ positively homogeneous of "
        r"degree 1. For every constant $h$ the transform $J_{ij}\to e^{-h_i}J_{ij}e^{h_j}$, $W_{in}\to "
        r"e^{-h}W_{in}$, $b\to e^{-h}b$, $W_{out}\to W_{out}e^{h}$ carries each solution $x$ to the "
        r"solution $e^{-h}x$. So each input gives the same output, if the initial state is transformed too: "
        r"$x(0)\to e^{-h}x(0)$. There is one solution for each start and each locally integrable input.",
        (
            "φ positively homogeneous of degree 1, hence BiLU and Lipschitz",
            "the initial state is transformed too; 0 stays 0",
            "read-in, bias and read-out are transformed too",
            "h is constant in time",
            "one solution for each start: Picard and Lindelöf, cited",
        ),
        Verdict.proved,
        ("B.scaling-preserves", "B.homogeneous-iff-bilu"),
    )
)
def trajectories() -> Findings:
    """The vector field is carried along: f′(e^{−h}x) = e^{−h}f(x)."""
    net, two, one = _one_unit(), [Fraction(2)], [Fraction(1)]
    moved = transformed(net, two)
    kept = Recurrent(moved.J, moved.W_in, net.b, moved.W_out)
    quiet = Recurrent(net.J, [[Fraction(0)]], [Fraction(0)], net.W_out)
    start = moved.read(one) == [2] and net.read(one) == [1]
    unread = net.read(divided(one, two)) == [Fraction(1, 2)]
    biased = (
        kept.speed([Fraction(0)], [Fraction(0)])
        == [1]
        != divided(net.speed([Fraction(0)], [Fraction(0)]), two)
    )
    degree = transformed(quiet, two).speed(divided(one, two), one, square), quiet.speed(one, one, square)
    return Findings(
        Printed(
            Verdict.proved,
            "holds from the state 0, or where the initial state is transformed with the rest; from another "
            "start that is left alone the outputs differ",
        ),
        (
            timed(
                "sympy",
                "any number of units, h, J, W_in, b, W_out symbolic, φ any function with φ(e^{−h}x) = "
                "e^{−h}φ(x): leak, recurrent input, read-in and bias at e^{−h}x are e^{−h_i} times those at "
                "x, term by term; so d/dt e^{−h}x is the transformed field; W_out e^{h}·e^{−h}x = W_out x",
                Verdict.proved,
                _field_is_carried_along,
            ),
            by_z3(
                "a BiLU unit with slopes a and b has |φ(x) − φ(y)| ≤ L·|x − y|, L the larger of |a|, |b|: "
                "one solution for each start",
                Verdict.proved,
                _lipschitz(),
            ),
            timed(
                "exact",
                "20 rational networks of 1 to 5 units, ReLU, |x| and a leaky unit: field and read-out at the "
                "transformed state, without rounding",
                Verdict.certified,
                _fields_agree,
            ),
            timed(
                "sampled",
                "networks of 3 and 6 units and their transforms, integrated apart under the same input: "
                "outputs agree to 1e-7 over 8 time constants",
                Verdict.sampled,
                _flows_agree,
            ),
            timed(
                "sampled",
                "this package finds one free scale for each of 5 units; its rescaling is the transform, and "
                "keeps 30 steps of s′ = Jφ(s) + W_in u + b to 1e-9",
                Verdict.sampled,
                _package_agrees,
            ),
        ),
        (
            twin(
                "the initial state is transformed too",
                start,
                "one unit with W_out = 1, x(0) = 1, e^h = 2: the output starts at 2 in place of 1",
            ),
            twin(
                "φ homogeneous",
                _tanh_differs(),
                "one unit with J = 1, φ = tanh, e^h = 2 at x = 1: ẏ = −1/2 + tanh(1/2), but e^{−h}ẋ = "
                "−1/2 + tanh(1)/2 (the difference is enclosed away from 0)",
            ),
            twin(
                "of degree 1",
                degree[0] == [Fraction(-1, 4)] and degree[1] == [0],
                "one unit with J = 1, φ(x) = max(x, 0)², e^h = 2 at x = 1: ẋ = 0, but ẏ = −1/2 + 1/4",
            ),
            twin(
                "the bias is transformed too",
                biased,
                "one unit with b = 1, e^h = 2, from 0: ẏ = 1 in place of 1/2, so the output W_out e^{h} y "
                "starts twice as fast",
            ),
            twin(
                "the read-out is transformed too",
                unread,
                "one unit at x = 1, W_out = 1 left alone, e^h = 2: the output is 1/2",
            ),
            twin(
                "h is constant in time",
                _moving_scales(),
                "one unit with J = 0, x(0) = 1: the output is e^{−t}, but 1 if h = t moves W_out and not "
                "the state",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (trajectories,)
