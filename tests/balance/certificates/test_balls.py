"""The balanced state to many bits: Newton's method in 180 digits never finds it elsewhere."""

from __future__ import annotations

import json
import math

import mpmath
import numpy as np
import pytest
import sympy
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from balproof.balance import solve as solving
from balproof.balance.certificates import balls
from balproof.balance.certificates.balls import certify_balls
from balproof.balance.certificates.gap import GapCertificate, NoCertificate
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.errors import RequestError
from balproof.importers import load
from balproof.network.graph import Network
from tests.balance.certificates.test_enclosure import CASES
from tests.balance.samples import BRIDGE, dense, optimum, recurrent, two_degrees
from tests.networks import mlp

DIGITS = 181
"""600 bits."""

MORE = {
    "irrational exponent": (mlp([2, 3, 2], seed=8), "abs(w)**sqrt(2)/pi"),
    "two degrees around a loop": (two_degrees(), "l2"),
    "dense recurrent": (dense(5), "l1"),
}


def gated(factors: int) -> Network:
    """A product of linear maps of x, then a last one: its weight falls with the scales of all of them."""
    names = [f"a{i}" for i in range(factors)]
    operations = [{"kind": "linear", "inputs": ["x", f"w{n}"], "output": n} for n in names]
    last = names[0]
    for n in names[1:]:
        operations.append({"kind": "mul", "inputs": [last, n], "output": f"p{n}"})
        last = f"p{n}"
    operations.append({"kind": "linear", "inputs": [last, "v"], "output": "y"})
    return load(
        {
            "inputs": {"x": [1]},
            "parameters": {**{f"w{n}": [[2.0 + i]] for i, n in enumerate(names)}, "v": [[1.5]]},
            "operations": operations,
            "outputs": ["y"],
        }
    )


Solved = dict[str, tuple[BalanceProblem, set[int], list[mpmath.mpf]]]


@pytest.fixture(scope="module")
def solved() -> Solved:
    """The problem of weights that were solved for, what cannot be told of its state, and that state."""
    found: Solved = {}
    for name, (network, costs) in {**CASES, **MORE}.items():
        problem = BalanceProblem.build(network, costs)
        problem = BalanceProblem.build(problem.manifold.rescale(newton(problem).h), costs)
        pinned = {0} if "nothing visible" in name else set()
        found[name] = problem, pinned, optimum(problem, np.zeros(problem.count), pinned, DIGITS)
    return found


def moved(problem: BalanceProblem, h: np.ndarray) -> BalanceProblem:
    return BalanceProblem.stated(problem.manifold.rescale(h), problem.costs)


def numbers(problem: BalanceProblem, found: GapCertificate) -> list[mpmath.mpf]:
    assert found.state is not None
    with mpmath.workdps(DIGITS):
        return [mpmath.mpf(found.state[n]) for n in problem.names(np.flatnonzero(problem.active).tolist())]


def cost(problem: BalanceProblem, h: list[mpmath.mpf]) -> mpmath.mpf:
    """F by definition."""
    rows, total = problem.A.toarray(), mpmath.mpf(0)
    for regularizer, part in problem.groups:
        for a, p in regularizer.terms or ():
            factor, power = (mpmath.mpf(str(sympy.N(x, DIGITS + 10))) for x in (a, p))
            for i in range(part.start, part.stop):
                log = mpmath.fsum(mpmath.mpf(float(c)) * x for c, x in zip(rows[i], h, strict=True))
                total += factor * (mpmath.mpf(float(problem.weights[i])) * mpmath.exp(log)) ** power
    return total


@pytest.mark.parametrize("krawczyk", [False, True])
@pytest.mark.parametrize("bits", [64, 300, 450])
@pytest.mark.parametrize("name", {**CASES, **MORE})
def test_the_state_in_180_digits_lies_within(
    name: str, bits: int, krawczyk: bool, solved: Solved, monkeypatch: pytest.MonkeyPatch
) -> None:
    if krawczyk:
        monkeypatch.setattr(balls, "_box", lambda *_: None)
    problem, _, exact = solved[name]
    found = certify_balls(problem, bits)
    assert isinstance(found, GapCertificate) and found.bits == bits
    assert found.kind == ("ball-krawczyk" if krawczyk else "ball-box")
    with mpmath.workdps(DIGITS):
        off = max(abs(x - y) for x, y in zip(numbers(problem, found), exact, strict=True))
        assert off <= found.radius
        assert found.radius < 2.0 ** (20 - bits)
        far = max(map(abs, exact))
        assert far <= found.distance <= far + 2 * found.radius + mpmath.mpf("1e-15") * far
        zero, floor = [mpmath.mpf(0)] * problem.count, cost(problem, exact)
        above = (cost(problem, zero) - floor) / floor
        assert above <= found.gap <= above * (1 + mpmath.mpf("1e-9")) + 2.0 ** (20 - bits)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(-30, 0.3), bits=st.sampled_from([64, 128, 300]))
def test_displaced_weights_are_placed_where_they_are(
    solved: Solved, seed: int, size: float, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    name = sorted(solved)[seed % len(solved)]
    problem, pinned, exact = solved[name]
    h = rng.standard_normal(problem.count) * 10.0**size
    h[list(pinned)] = 0.0
    found = certify_balls(moved(problem, h), bits)
    assert isinstance(found, GapCertificate)
    with mpmath.workdps(DIGITS):
        distance = max(abs(x - mpmath.mpf(float(y))) for x, y in zip(exact, h, strict=True))
        # The displaced weights were rounded, which moves the state of theirs.
        slack = 1e-12 * problem.A.shape[0]
        assert distance <= found.distance + slack and found.distance <= distance + slack


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(-80, 1), krawczyk=st.booleans())
def test_a_displaced_state_is_refused_or_its_box_holds_the_true_one(
    solved: Solved, seed: int, size: float, krawczyk: bool
) -> None:
    assert not _wrongly_enclosed(solved, seed, size, krawczyk)


def _wrongly_enclosed(solved: Solved, seed: int, size: float, krawczyk: bool = False) -> bool:
    """Whether a box around a state that was never refined is said to hold the balanced one and does not."""
    rng = np.random.default_rng(seed)
    name = sorted(solved)[seed % len(solved)]
    problem, pinned, exact = solved[name]
    scales = [k for k in range(problem.count) if k not in pinned]
    with ctx.workprec(300), mpmath.workdps(DIGITS):
        system = balls._System.of(problem, scales)
        assert isinstance(system, balls._System)
        off = [mpmath.mpf(x) * mpmath.mpf(10) ** size for x in rng.standard_normal(len(scales))]
        x = [arb(mpmath.nstr(exact[k] + d, 100)).mid() for k, d in zip(scales, off, strict=True)]
        gradient, total = system.gradient(x)
        hessian = system.hessian(system.curvatures(x))
        if krawczyk:
            found = balls._krawczyk(system, x, gradient, hessian)
        else:
            found = balls._box(system, x, gradient, total, hessian, 300)
        if size < -20:
            assert found is not None  # the test would be idle if all were refused
        if found is None:
            return False
        radii = [mpmath.mpf(r.str(60, radius=False)) * (1 + mpmath.mpf(10) ** -50) for r in found]
        return any(
            abs(mpmath.mpf(v.str(100, radius=False)) - exact[k]) > r + mpmath.mpf(10) ** -85
            for v, k, r in zip(x, scales, radii, strict=True)
        )


@pytest.mark.parametrize("krawczyk", [False, True])
def test_a_forgotten_gradient_would_be_seen(
    krawczyk: bool, solved: Solved, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = balls._System.gradient

    def none(system: balls._System, x: list[arb]) -> tuple[list[arb], list[arb]]:
        gradient, total = full(system, x)
        return [g * arb(2) ** -40 for g in gradient], total

    monkeypatch.setattr(balls._System, "gradient", none)
    assert any(_wrongly_enclosed(solved, seed, -20.0, krawczyk) for seed in range(5))


@pytest.mark.parametrize("krawczyk", [False, True])
def test_curvature_at_the_middle_alone_would_be_seen(
    krawczyk: bool, solved: Solved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far from balance the curvature changes over the box; taken at its middle it proves what is false."""
    cases = [(seed, size, krawczyk) for seed in range(60) for size in (0.3, 0.6, 0.9)]
    assert not any(_wrongly_enclosed(solved, *case) for case in cases)
    full = balls._System.curvatures
    monkeypatch.setattr(balls._System, "curvatures", lambda s, x: full(s, [v.mid() for v in x]))
    assert any(_wrongly_enclosed(solved, *case) for case in cases)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), size=st.floats(-3, 0.3))
def test_slopes_rise_as_fast_as_is_said(solved: Solved, seed: int, size: float) -> None:
    """At corners of the box, where some costs are largest and others least, with all signs made the worst."""
    rng = np.random.default_rng(seed)
    problem = solved[sorted(solved)[seed % len(solved)]][0]
    with ctx.workprec(128):
        system = balls._System.of(problem, list(range(problem.count)))
        assert isinstance(system, balls._System)
        d = [arb(float(v)) for v in rng.uniform(0.5, 2, problem.count)]
        s, x = arb(10.0**size), [arb(float(v)) for v in rng.standard_normal(problem.count)]
        least = balls._rises(system, x, d, s)
        for _ in range(5):
            corner = [
                v + s * w * int(sign) for v, w, sign in zip(x, d, rng.choice([-1, 1], len(d)), strict=True)
            ]
            hessian = system.hessian(system.curvatures(corner))
            for k in range(problem.count):
                others = sum(
                    (abs(hessian.get((k, j), arb(0))) * d[j] for j in range(len(d)) if j != k), arb(0)
                )
                assert not hessian[k, k] * d[k] - others < least[k]


def test_many_scales_are_refined_in_doubles(solved: Solved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balls, "_DENSE", 0)
    for name, (problem, _, exact) in solved.items():
        found = certify_balls(problem, 300)
        assert isinstance(found, GapCertificate), name
        with mpmath.workdps(DIGITS):
            assert max(abs(x - y) for x, y in zip(numbers(problem, found), exact, strict=True)) < 2.0**-280


def test_where_signs_leave_no_dominance_krawczyk_decides() -> None:
    """v has all scales with one sign: by hand, weights of costs α each, and v of cost α as well."""
    network = gated(6)
    problem = BalanceProblem.build(solve(network, method="newton").network)
    found = certify_balls(problem, 300)
    assert isinstance(found, GapCertificate)
    assert (found.kind, found.radius < 1e-80, found.distance < 1e-13) == ("ball-krawczyk", True, True)
    product = math.factorial(7) * 1.5  # 2·3·…·7, times v
    np.testing.assert_allclose(problem.weights, product ** (1 / 7), rtol=1e-13)
    assert certify_balls(BalanceProblem.build(gated(2)), 300).kind == "ball-box"  # type: ignore[union-attr]


def test_costs_without_powers() -> None:
    """One unit between weights 8 and 2: both become 4, by h = −log 2, whatever the cost."""
    network = mlp([1, 1, 1], bias=False).with_parameters(
        {"fc1.weight": np.array([[8.0]]), "fc2.weight": np.array([[2.0]])}
    )
    problem = BalanceProblem.build(network, "log(1 + w**2)")
    found = certify_balls(problem, 300)
    assert isinstance(found, GapCertificate) and found.radius is not None
    with mpmath.workdps(DIGITS):
        assert abs(numbers(problem, found)[0] + mpmath.log(2)) <= found.radius
        true = (mpmath.log(65) + mpmath.log(5)) / (2 * mpmath.log(17)) - 1
        assert true <= found.gap <= true * (1 + 1e-12)


REFUSED = {
    "kinks": (
        mlp([2, 2, 2]),
        "Piecewise((w**2/2, abs(w) <= 1), (abs(w) - 1/2, True))",
        "not shown to be smooth",
    ),
    "no optimum": (BRIDGE, "l2", "too far from balance to be refined|too few to separate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    network, costs, reason = REFUSED[name]
    for bits in (64, 300):
        found = certify_balls(BalanceProblem.build(network, costs), bits)
        assert isinstance(found, NoCertificate)
        assert any(part in found.reason for part in reason.split("|"))


def test_too_large_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balls, "LARGEST", 5)
    found = certify_balls(BalanceProblem.build(mlp([2, 3, 2])), 300)
    assert isinstance(found, NoCertificate) and found.reason == balls.TOO_MANY
    monkeypatch.setattr(solving, "LARGE", 5)
    large = solve(mlp([2, 3, 2]), certify=True, bits=300)
    assert (large.method, large.certificate, large.no_certificate) == ("block sweeps", None, balls.TOO_MANY)
    assert solve(mlp([2, 3, 2]), certify=True).certificate is not None


def test_nothing_moves() -> None:
    for network in (mlp([3, 2]), mlp([2, 3, 2], activation="tanh"), recurrent(np.zeros((2, 2)))):
        found = certify_balls(BalanceProblem.build(network), 100)
        assert isinstance(found, GapCertificate)
        assert (found.gap < 1e-28, found.radius, found.distance, found.state) == (True, 0.0, 0.0, {})


@pytest.mark.parametrize("bits", [0, 63, 8193, -5])
def test_bits_out_of_range(bits: int) -> None:
    with pytest.raises(RequestError, match=f"{bits} bits cannot be certified: ask for 64 to 8192"):
        solve("tests/data/chain.json", certify=True, bits=bits)


def test_bits_are_those_of_a_certificate() -> None:
    with pytest.raises(RequestError, match="300 bits are those of a certificate"):
        solve("tests/data/chain.json", bits=300)


def test_solve_says_it_all() -> None:
    found = solve("tests/data/chain.json", certify=True, bits=300)
    answer = json.loads(json.dumps(found.as_json(), allow_nan=False))["certificate"]
    assert (answer["bits"], answer["kind"], set(answer["state"])) == (300, "ball-box", {"fc1[0]", "fc2[0]"})
    assert answer["radius"] < 1e-85 and answer["distance"] < 1e-14 and answer["gap"] < 1e-28
    unattained = solve(BRIDGE, certify=True, bits=300)
    assert unattained.certificate is None and unattained.no_certificate == "the infimum is not attained"


def test_weights_that_weak_ties_leave_off_are_put_right() -> None:
    """Two strong groups tied by 1e-30: sweeps to an imbalance of 1e-13 leave one off by two thirds."""
    rng = np.random.default_rng(0)
    J = np.zeros((6, 6))
    J[:3, :3], J[3:, 3:] = rng.random((3, 3)), rng.random((3, 3))
    J[0, 3], J[4, 1] = 1e-30, 3e-30
    network = recurrent(J, W_in=[[1]] + [[0]] * 5, W_out=[[1] + [0] * 5])
    plain = BalanceProblem.build(solve(network, "l1", method="sweeps").network, "l1")
    exact = optimum(plain, np.zeros(6), set(), DIGITS, 100)
    assert plain.imbalance(np.zeros(6)) < 1e-12 and max(map(abs, exact)) > 0.3
    found = solve(network, "l1", method="sweeps", certify=True, bits=300)
    assert found.method.endswith("refined in balls") and found.status == "balanced"
    assert found.certificate is not None and found.certificate.distance is not None
    assert found.certificate.distance < 1e-13
    again = BalanceProblem.build(found.network, "l1")
    assert max(map(abs, optimum(again, np.zeros(6), set(), DIGITS, 100))) <= found.certificate.distance
    np.testing.assert_allclose(
        again.manifold.rescale(-found.h).numbers("J"), network.numbers("J"), rtol=1e-13
    )
