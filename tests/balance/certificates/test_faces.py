"""Boxes of log-scales under costs of any form: Newton's method in 600 bits never finds the state outside."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balproof.balance.certificates import faces
from balproof.balance.certificates.balls import certify_balls
from balproof.balance.certificates.faces import certify_faces
from balproof.balance.certificates.gap import GapCertificate, NoCertificate
from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.importers import load
from balproof.network.graph import Network
from tests.balance.certificates.test_enclosure import ring
from tests.balance.samples import dense, two_degrees
from tests.networks import called_twice, mlp, weights

Array = np.ndarray
Real = mpmath.mpf

BITS = 600

HUBER = "Piecewise((w**2/2, abs(w) <= 1), (abs(w) - 1/2, True))"
KINK = "abs(w) + Max(abs(w) - 1, 0)"

LAWS: dict[str, tuple[Callable[[Real], Real], Callable[[Real], Real], Callable[[Real], Real]]] = {
    # g, m = w·g′ and κ = w·m′, derived by hand
    "log(1+w**2)": (
        lambda w: mpmath.log(1 + w**2), lambda w: 2 * w**2 / (1 + w**2), lambda w: 4 * w**2 / (1 + w**2) ** 2
    ),
    "sqrt(1+w**2)-1": (
        lambda w: mpmath.sqrt(1 + w**2) - 1,
        lambda w: w**2 / mpmath.sqrt(1 + w**2),
        lambda w: w**2 * (2 + w**2) / (1 + w**2) ** Real(1.5),
    ),
    "exp(abs(w))-1": (
        lambda w: mpmath.exp(w) - 1, lambda w: w * mpmath.exp(w), lambda w: (w + w**2) * mpmath.exp(w)
    ),
    HUBER: (
        lambda w: w**2 / 2 if w <= 1 else w - 0.5, lambda w: w**2 if w <= 1 else w,
        lambda w: 2 * w**2 if w <= 1 else w,
    ),
    KINK: (lambda w: max(w, 2 * w - 1), lambda w: w if w <= 1 else 2 * w, lambda w: w if w <= 1 else 2 * w),
    "w**2": (lambda w: w**2, lambda w: 2 * w**2, lambda w: 4 * w**2),
}  # fmt: skip


def tied() -> Network:
    """Gains on both factors of a product: these weights have scales of one sign, next to weights of one."""
    rng = np.random.default_rng(7)
    shapes = {"q": (3, 2), "k": (3, 2), "v": (2, 3)}
    return load(
        {
            "inputs": {"x": [2]},
            "parameters": {name: weights(rng, shape).tolist() for name, shape in shapes.items()},
            "operations": [
                {"kind": "linear", "inputs": ["x", "q"], "output": "a"},
                {"kind": "linear", "inputs": ["x", "k"], "output": "b"},
                {"kind": "mul", "inputs": ["a", "b"], "output": "p"},
                {"kind": "linear", "inputs": ["p", "v"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )


CASES: dict[str, tuple[Network, str | list[str]]] = {
    "mlp": (mlp([3, 4, 3, 2], seed=1), "log(1+w**2)"),
    "a root": (mlp([3, 4, 2], seed=2), "sqrt(1+w**2)-1"),
    "exponential": (mlp([2, 3, 3, 2], seed=3), "exp(abs(w))-1"),
    "two pieces": (mlp([2, 3, 3, 2], seed=3), HUBER),
    "a kink": (mlp([2, 3, 3, 2], seed=8), KINK),
    "mixed": (mlp([3, 4, 3, 2], seed=1), ["w**2", "fc2.*=log(1+w**2)", "fc3.bias=" + KINK]),
    "degree 2": (mlp([2, 3, 2, 2], seed=4, activation="Max(x,0)**2"), "log(1+w**2)"),
    "degree 1/3": (mlp([2, 3, 2], seed=4, activation="cbrt(Max(x,0))"), "sqrt(1+w**2)-1"),
    "two degrees around a loop": (two_degrees(), "exp(abs(w))-1"),
    "nothing visible": (ring(), "log(1+w**2)"),
    "dense recurrent": (dense(4), HUBER),
}

Solved = dict[str, tuple[BalanceProblem, Array, list[Real], set[int]]]


def optimum(problem: BalanceProblem, start: Array, keep: set[int]) -> list[Real]:
    """The balanced state by Newton's method on the definition of F, with the laws above."""
    rows = problem.A.toarray()
    moving = [k for k in range(problem.count) if problem.active[k] and k not in keep]
    law = [LAWS[r.name] for r, part in problem.groups for _ in range(part.start, part.stop)]
    with mpmath.workprec(BITS):
        cells = [[(k, _exact(c)) for k, c in enumerate(row) if c] for row in rows.tolist()]
        h = [Real(float(x)) for x in start]
        for _ in range(200):
            g, hessian = mpmath.matrix(len(moving), 1), mpmath.matrix(len(moving), len(moving))
            for w, row, (_, marginal, curvature) in zip(problem.weights, cells, law, strict=True):
                size = Real(float(w)) * mpmath.exp(sum((c * h[k] for k, c in row), Real(0)))
                m, kappa = marginal(size), curvature(size)
                for a, c in row:
                    if a in moving:
                        g[moving.index(a)] += c * m
                        for b, d in row:
                            if b in moving:
                                hessian[moving.index(a), moving.index(b)] += c * d * kappa
            move = mpmath.lu_solve(hessian, -g)
            size = max(abs(x) for x in move)
            for i, k in enumerate(moving):
                h[k] += move[i] / max(1, size)
            if size < Real(2) ** (40 - BITS):
                return h
    raise AssertionError("Newton did not converge")


def _exact(c: float) -> Real:
    """The degree that a double stands for."""
    return Real(1) / 3 * (1 if c > 0 else -1) if abs(abs(c) - 1 / 3) < 1e-15 else Real(c)


def cost(problem: BalanceProblem, h: list[Real] | None = None) -> Real:
    law = [LAWS[r.name][0] for r, part in problem.groups for _ in range(part.start, part.stop)]
    total = Real(0)
    with mpmath.workprec(BITS):
        for w, row, g in zip(problem.weights, problem.A.toarray().tolist(), law, strict=True):
            log = sum((_exact(c) * x for c, x in zip(row, h or [], strict=False) if c), Real(0))
            total += g(Real(float(w)) * mpmath.exp(log))
    return total


def moved(problem: BalanceProblem, h: Array) -> BalanceProblem:
    return BalanceProblem.build(problem.manifold.rescale(h), problem.costs)


@pytest.fixture(scope="module")
def solved() -> Solved:
    """Problems, what was found for them, and the balanced state around that."""
    found: Solved = {}
    for name, (network, costs) in CASES.items():
        problem = BalanceProblem.build(network, costs)
        h = direct(problem).h
        keep = {0} if name == "nothing visible" else set[int]()
        h = np.where(np.isin(np.arange(problem.count), list(keep)), 0.0, h - (h[0] if keep else 0.0))
        found[name] = problem, h, optimum(problem, h, keep), keep
    return found


def off(h: Array, exact: list[Real]) -> float:
    return float(max(abs(Real(float(a)) - b) for a, b in zip(h, exact, strict=True)))


@pytest.mark.parametrize("name", CASES)
def test_the_solved_state_is_certified(name: str, solved: Solved) -> None:
    problem, h, _, keep = solved[name]
    after = moved(problem, h)
    found = certify_faces(after)
    assert isinstance(found, GapCertificate) and found.kind == "faces" and found.bits == 53
    exact = optimum(after, np.zeros(after.count), keep)
    assert off(np.zeros(after.count), exact) <= (found.radius or 0.0) < 1e-11
    with mpmath.workprec(BITS):
        now, least = cost(after), cost(after, exact)
        assert 0 <= now - least <= found.absolute < 1e-12 * now
        assert now <= (1 + Real(found.gap)) * least


@given(seed=st.integers(0, 10**6), size=st.floats(-10, -1))
def test_a_disturbed_state_is_never_called_closer_than_it_is(solved: Solved, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    name = sorted(CASES)[seed % len(CASES)]
    problem, h, exact, keep = solved[name]
    move = rng.standard_normal(problem.count) * 10.0**size
    move[list(keep)] = 0.0
    found = certify_faces(moved(problem, h + move))
    if isinstance(found, GapCertificate):
        assert off(h + move, exact) <= found.radius * (1 + 1e-6) + 1e-13
        with mpmath.workprec(BITS):
            least = cost(problem, exact)
            above = cost(problem, [Real(float(x)) for x in h + move]) - least
        assert above <= found.absolute * (1 + 1e-6) + 1e-12 * least
    elif name != "a kink":
        assert size > -4  # the test would be idle if all were refused


@pytest.mark.parametrize("name", CASES)
def test_a_millionth_off_is_not_within_less(name: str, solved: Solved) -> None:
    problem, h, _, keep = solved[name]
    move = np.full(problem.count, 1e-6)
    move[list(keep)] = 0.0
    found = certify_faces(moved(problem, h + move))
    assert isinstance(found, NoCertificate) or 0.99e-6 < (found.radius or 0.0) < 1e-4


def test_without_factors_the_direction_is_found_by_gradients(solved: Solved, monkeypatch) -> None:
    problem, h, _, _ = solved["mlp"]
    after = moved(problem, h)
    by_factors = certify_faces(after)
    monkeypatch.setattr(faces, "fits", lambda _: False)
    found = certify_faces(after)
    assert isinstance(found, GapCertificate) and isinstance(by_factors, GapCertificate)
    assert found.radius == pytest.approx(by_factors.radius, rel=1e-4)


# --- planted faults ---------------------------------------------------------------------------------------


def halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes a hundredth as wide as the slopes ask for."""
    direction = faces._Box._direction
    monkeypatch.setattr(faces._Box, "_direction", lambda box, *args: direction(box, *args) / 100)


def test_the_faces_decide_and_not_the_direction(solved: Solved, monkeypatch) -> None:
    problem, h, exact, _ = solved["mlp"]
    halved(monkeypatch)
    found = certify_faces(moved(problem, h + 1e-4))
    assert isinstance(found, GapCertificate)  # doubled until it fits
    assert off(h + 1e-4, exact) <= found.radius


def test_faces_that_are_not_looked_at_would_be_caught(solved: Solved, monkeypatch) -> None:
    problem, h, exact, _ = solved["mlp"]
    halved(monkeypatch)
    monkeypatch.setattr(faces._Box, "_falls_inward", lambda box, t: True)
    found = certify_faces(moved(problem, h + 1e-4))
    assert isinstance(found, GapCertificate)
    assert off(h + 1e-4, exact) > found.radius


def test_slopes_that_are_forgotten_would_be_caught(solved: Solved, monkeypatch) -> None:
    problem, h, exact, _ = solved["mlp"]
    monkeypatch.setattr(faces._Box, "_slopes", lambda box: np.zeros(box._a.shape[1]))
    found = certify_faces(moved(problem, h + 1e-3))
    assert isinstance(found, GapCertificate)
    assert cost(problem, [Real(float(x)) for x in h + 1e-3]) - cost(problem, exact) > found.absolute


def test_weights_at_a_kink_need_more_than_one_side(monkeypatch) -> None:
    """Both weights are balanced at the kink, where m is 1 on the left and 2 on the right."""
    network = load(
        {
            "inputs": {"x": [1]},
            "parameters": {"f1": [[1.0]], "f2": [[1.0]]},
            "operations": [
                {"kind": "linear", "inputs": ["x", "f1"], "output": "z"},
                {"kind": "activation", "function": "relu", "inputs": ["z"], "output": "a"},
                {"kind": "linear", "inputs": ["a", "f2"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )
    problem = BalanceProblem.build(network, KINK)
    found = certify_faces(problem)
    assert isinstance(found, GapCertificate) and 0 < found.radius < 1e-13 and found.gap < 1e-13
    # A scale that is off by h costs about |h|, not h², since F has a kink there.
    away = certify_faces(problem.rescaled(np.array([1e-9])))
    assert isinstance(away, NoCertificate) or (away.radius >= 1e-9 and away.absolute >= 0.99e-9)


# --- what it is not for -----------------------------------------------------------------------------------


def test_far_from_balance_nothing_is_certified() -> None:
    found = certify_faces(BalanceProblem.build(mlp([3, 4, 2], seed=3, spread=2.0), "log(1+w**2)"))
    assert isinstance(found, NoCertificate) and "too far" in found.reason


def test_what_has_no_table_is_refused_with_a_reason() -> None:
    network = mlp([2, 2, 2])
    found = certify_faces(BalanceProblem.build(network, "Max(w**2, exp(abs(w)) - 2)"))
    assert isinstance(found, NoCertificate) and "power series" in found.reason


def test_dead_units_and_networks_that_do_not_move() -> None:
    network = mlp([2, 3, 2], seed=6)
    value = network.numbers("fc2.weight").copy()
    value[:, 1] = 0.0
    problem = BalanceProblem.build(network.with_parameters({"fc2.weight": value}), "log(1+w**2)")
    assert problem.names(problem.dead) == ["fc1[1]"]
    found = certify_faces(moved(problem, direct(problem).h))
    assert isinstance(found, GapCertificate) and found.radius < 1e-12
    still = certify_faces(BalanceProblem.build(mlp([2, 3]), "log(1+w**2)"))
    assert isinstance(still, GapCertificate) and still.radius == still.gap == 0.0


# --- from outside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [called_twice(), tied()], ids=["called twice", "tied"])
def test_solve_goes_on_in_balls_where_signs_allow_no_box(network: Network) -> None:
    found = solve(network, "log(1+w**2)", certify=True)
    assert found.certificate is not None and found.certificate.radius is not None
    assert found.certificate.radius < 1e-12 and found.certificate.gap < 1e-20
    exact = optimum(BalanceProblem.build(found.network, "log(1+w**2)"), np.zeros(len(found.h)), set())
    assert off(np.zeros(len(found.h)), exact) <= found.certificate.radius


def test_solve_says_it_in_json() -> None:
    found = solve(mlp([3, 4, 2], seed=1), "sqrt(1+w**2)-1", certify=True).as_json()
    certificate = found["certificate"]
    assert isinstance(certificate, dict) and certificate["kind"] == "faces"
    assert 0 < certificate["gap"] < 1e-20 and 0 < certificate["radius"] < 1e-12
    assert found["no_certificate"] is None and type(certificate["gap"]) is float


def test_many_bits_for_a_cost_of_two_pieces(solved: Solved) -> None:
    problem, h, _, _ = solved["two pieces"]
    after = moved(problem, h)
    found = certify_balls(after, 300)
    assert isinstance(found, GapCertificate) and found.state is not None and found.radius < 1e-85
    exact = optimum(after, np.zeros(after.count), set())
    names = after.manifold.names
    with mpmath.workprec(BITS):
        away = max(abs(Real(found.state[n]) - x) for n, x in zip(names, exact, strict=True))
        assert away <= found.radius
    refused = certify_balls(BalanceProblem.build(mlp([2, 2, 2]), KINK))
    assert isinstance(refused, NoCertificate) and "continuous derivative" in refused.reason
