"""The box test: the true distance to the balanced state, by Newton in 50 digits, never exceeds its bound."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balproof.balance.certificates import enclosure
from balproof.balance.certificates.enclosure import drifting, state_radius
from balproof.balance.certificates.gap import NoCertificate
from balproof.balance.multilevel import multilevel
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.importers import load
from balproof.network.graph import Network
from balproof.theorems.instances import enclose_balanced
from tests.balance.samples import optimum
from tests.networks import mlp, weights

ONE = Fraction(1)


def ring(seed: int = 0, n: int = 5) -> Network:
    rng = np.random.default_rng(seed)
    pattern = np.roll(np.eye(n), 1, axis=0) + (rng.random((n, n)) < 0.3)
    return load(weights(rng, (n, n)) * (pattern > 0))


CASES: dict[str, tuple[Network, str]] = {
    "mlp": (mlp([3, 4, 3, 2], seed=1), "l2"),
    "mlp, l1": (mlp([3, 4, 3, 2], seed=2), "l1"),
    "mlp, p = 1.5": (mlp([2, 3, 3, 2], seed=3), "lp:1.5"),
    "mlp, two powers": (mlp([2, 3, 3, 2], seed=3), "abs(w)/3 + w**2"),
    "degree 2": (mlp([2, 3, 2, 2], seed=4, activation="Max(x,0)**2"), "l2"),
    "degree 1/2": (mlp([2, 3, 2], seed=4, activation="sqrt(Max(x,0))"), "l2"),
    "deep": (mlp([2] + [2] * 8 + [2], seed=5, spread=1.5), "l2"),
    "recurrent, nothing visible": (ring(), "l2"),
}


@pytest.fixture(scope="module")
def solved() -> dict[str, tuple[BalanceProblem, np.ndarray, list[mpmath.mpf]]]:
    found = {}
    for name, (network, costs) in CASES.items():
        problem = BalanceProblem.build(network, costs)
        h = newton(problem).h
        pinned = {0} if name.startswith("recurrent") else set()
        found[name] = problem, h, optimum(problem, h, pinned)
    return found


def at(problem: BalanceProblem, h: np.ndarray) -> BalanceProblem:
    return BalanceProblem.build(problem.manifold.rescale(h), problem.costs)


def distance(h: np.ndarray, exact: list[mpmath.mpf]) -> float:
    return float(max(abs(mpmath.mpf(float(x)) - y) for x, y in zip(h, exact, strict=True)))


@pytest.mark.parametrize("name", CASES)
def test_the_solved_state_is_certified_and_close(name, solved) -> None:
    problem, h, exact = solved[name]
    radius = state_radius(at(problem, h))
    assert isinstance(radius, float)
    # Rescaling rounds each weight, which moves the optimum of the rescaled weights a little.
    assert distance(h, exact) <= radius + 1e-14 * problem.A.shape[0]
    assert radius < 1e-11


@given(seed=st.integers(0, 10**6), size=st.floats(-10, -1))
def test_a_disturbed_state_is_never_called_closer_than_it_is(solved, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    name = sorted(CASES)[seed % len(CASES)]
    problem, h, exact = solved[name]
    disturbance = rng.standard_normal(problem.count) * 10.0**size
    if name.startswith("recurrent"):
        disturbance[0] = 0.0
    radius = state_radius(at(problem, h + disturbance))
    if isinstance(radius, float):
        assert distance(h + disturbance, exact) <= radius * (1 + 1e-6) + 1e-13
    if size < -4:
        assert isinstance(radius, float)  # the test would be idle if all were refused


def test_a_bound_without_its_gradient_would_be_caught(solved, monkeypatch) -> None:
    """The guard sees: with the gradient forgotten, disturbed states are called closer than they are."""
    problem, h, exact = solved["mlp"]
    monkeypatch.setattr(enclosure, "_gradient", lambda terms, marginal: np.zeros(terms.A.shape[1]))
    disturbed = h + 1e-3
    radius = state_radius(at(problem, disturbed))
    assert isinstance(radius, float)
    assert distance(disturbed, exact) > radius + 1e-13


def test_krawczyks_test_agrees(solved) -> None:
    problem, h, _ = solved["mlp"]
    radius = state_radius(at(problem, h))
    assert isinstance(radius, float)
    assert enclose_balanced(problem, h, 2 * radius + 1e-12)


def test_far_from_balance_nothing_is_certified() -> None:
    found = state_radius(BalanceProblem.build(mlp([3, 4, 2], seed=3, spread=2.0)))
    assert isinstance(found, NoCertificate)
    assert "too far" in found.reason


@pytest.mark.parametrize(
    ("costs", "word"), [("log(1+w**2)", "sums of powers"), ("abs(w)**sqrt(2)", "rational")]
)
def test_other_costs_are_refused_with_a_reason(costs: str, word: str) -> None:
    found = state_radius(BalanceProblem.build(mlp([2, 2, 2]), costs))
    assert isinstance(found, NoCertificate)
    assert word in found.reason


def test_dead_units_do_not_disturb() -> None:
    network = mlp([2, 3, 2], seed=6)
    value = network.numbers("fc2.weight").copy()
    value[:, 1] = 0.0
    problem = BalanceProblem.build(network.with_parameters({"fc2.weight": value}))
    assert problem.names(problem.dead) == ["fc1[1]"]
    assert state_radius(at(problem, multilevel(problem).h)) < 1e-13


def test_nothing_moves() -> None:
    assert state_radius(BalanceProblem.build(mlp([2, 3]))) == 0.0


def test_which_scales_drift() -> None:
    cycle = [((0, ONE), (1, -ONE)), ((0, -ONE), (1, ONE))]
    assert drifting(cycle, [0, 1]) == {0}
    assert drifting([*cycle, ((1, ONE),)], [0, 1]) == set()
    # degree 2 around a cycle: h0 = 2h1 and h1 = 2h0 leave only 0
    assert drifting([((0, ONE), (1, -2 * ONE)), ((1, ONE), (0, -2 * ONE))], [0, 1]) == set()
    assert drifting([((0, ONE), (1, -2 * ONE)), ((1, ONE), (0, -ONE / 2))], [0, 1]) == {0}
    assert drifting([((0, ONE), (1, ONE), (2, -ONE))], [0, 1, 2]) == set()


def test_solve_reports_the_radius() -> None:
    from balproof.balance.solve import solve

    found = solve(mlp([3, 4, 2], seed=1), certify=True)
    assert found.certificate is not None
    assert found.certificate.radius is not None
    assert found.certificate.radius < 1e-13
    assert dataclasses.asdict(found.certificate)["radius"] == found.certificate.radius
