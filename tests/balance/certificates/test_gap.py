"""The gap certificate: a true lower bound, against optima that mpmath finds in 50 digits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from balproof.balance.certificates import gap as module
from balproof.balance.certificates.gap import GapCertificate, NoCertificate, certify_gap
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.importers import load
from tests.balance.samples import (
    dense,
    recurrent,
    two_degrees,
    with_weights,
)
from tests.networks import called_twice, mlp
from tests.sweeps import crossed

ARITHMETICS: tuple[Any, ...] = ("double", "rational", "ball")


def perturbed(problem: BalanceProblem, size: float, seed: int = 0) -> BalanceProblem:
    """The problem at a state that is off the optimum by about ``size`` in log-scale."""
    step = np.random.default_rng(seed).standard_normal(problem.count)
    step[~problem.active] = 0
    return problem.rescaled(newton(problem).h + size * step)


def true_gap(problem: BalanceProblem, exponents: tuple[tuple[str, str], ...] = (("1", "2"),)) -> Any:
    """F/inf F − 1 in 50 digits: Newton in mpmath from the state, on the terms a·|w|^p of each weight.

    A enters as dense integers; that it is right is tested in ``tests/network``.
    """
    a = problem.A.toarray()[:, problem.active]
    terms = [
        (mpmath.mpf(f) * mpmath.mpf(float(w)) ** mpmath.mpf(p), [mpmath.mpf(p) * mpmath.mpf(x) for x in row])
        for w, row in zip(problem.weights, a.tolist(), strict=True)
        for f, p in exponents
    ]
    n = a.shape[1]
    h = mpmath.zeros(n, 1)

    def costs() -> list[Any]:
        return [w * mpmath.exp(sum(r * x for r, x in zip(row, h, strict=True))) for w, row in terms]

    start = mpmath.fsum(costs())
    for _ in range(60):
        now = costs()
        gradient = mpmath.matrix(
            [mpmath.fsum(w * row[k] for w, (_, row) in zip(now, terms)) for k in range(n)]
        )
        if max(abs(g) for g in gradient) < mpmath.mpf(10) ** -45 * start:
            return start / mpmath.fsum(now) - 1
        hessian = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                hessian[i, j] = mpmath.fsum(w * row[i] * row[j] for w, (_, row) in zip(now, terms))
            hessian[i, i] += mpmath.mpf(10) ** -40 * start  # without visible units it is singular
        h -= mpmath.lu_solve(hessian, gradient)
    raise AssertionError("the oracle did not converge")


def certified(problem: BalanceProblem, arithmetic: Any = "rational") -> GapCertificate:
    found = certify_gap(problem, arithmetic)
    assert isinstance(found, GapCertificate), found
    return found


def test_chain_by_hand() -> None:
    """1/2, 3, 3: the product is kept, 9/2 but for rounding, so inf F = 3·(9/2)^{2/3} (AM–GM)."""
    problem = BalanceProblem.build(load("tests/data/chain.json"))
    with mpmath.workdps(50):
        for size in (0, 1e-9, 1e-4, 1e-2, 0.1):
            state = perturbed(problem, size)
            product = mpmath.fprod(mpmath.mpf(float(w)) for w in state.weights)
            assert abs(product - 4.5) < 1e-14
            best = 3 * product ** (mpmath.mpf(2) / 3)
            gap = mpmath.fsum(mpmath.mpf(float(w)) ** 2 for w in state.weights) / best - 1
            for arithmetic in ARITHMETICS:
                assert mpmath.mpf(certified(state, arithmetic).gap) >= gap
            if size >= 1e-4:
                assert certified(state).gap <= 20 * gap  # a bound that is of use


NETWORKS = {
    "mlp": mlp([2, 2, 2, 1]),
    "degree 2": mlp([2, 2, 2, 1], activation="Max(x,0)**2"),
    "recurrent": dense(3),
    "without visible units": dense(3, visible=False),
    "two degrees around a loop": two_degrees(),
    "dead units": with_weights(
        mlp([1, 3, 1], bias=False), fc1__weight=[[2], [0], [3]], fc2__weight=[[1, 1, 0]]
    ),
    "self-loops": recurrent(np.full((2, 2), 2.0), W_in=[[1], [3]], W_out=[[5, 1]]),
    "weights with three scales": called_twice(),
}

COSTS = {"l2": (("1", "2"),), "lp:3": (("1", "3"),), "abs(w) + w**2/10": (("1", "1"), ("0.1", "2"))}


@pytest.mark.parametrize("name, spec", crossed(NETWORKS, COSTS))
def test_bound_is_not_below_the_true_gap(name: str, spec: str) -> None:
    problem = BalanceProblem.build(NETWORKS[name], spec)
    with mpmath.workdps(50):
        for size in (0, 1e-6, 1e-2):
            state = perturbed(problem, size)
            gap = true_gap(state, COSTS[spec])
            for arithmetic in ARITHMETICS:
                found = certified(state, arithmetic)
                assert mpmath.mpf(found.gap) >= gap - mpmath.mpf(10) ** -38
                assert found.gap < (1e-14 if size == 0 else 1e-9 if size == 1e-6 else 0.1)


@pytest.mark.parametrize(
    "spec, exponent", [("lp:1.5", "1.5"), ("lp:0.5", "0.5"), ("l1", "1"), ("lp:7/3", "7/3")]
)
def test_broken_exponents(spec: str, exponent: str) -> None:
    problem = BalanceProblem.build(mlp([2, 2, 1]), spec)
    with mpmath.workdps(50):
        power = mpmath.mpf(7) / 3 if exponent == "7/3" else exponent
        for size in (1e-6, 1e-2):
            state = perturbed(problem, size)
            gap = true_gap(state, (("1", power),))
            for arithmetic in ("double", "ball"):
                assert mpmath.mpf(certified(state, arithmetic).gap) >= gap
    if spec != "l1":
        refused = certify_gap(state, "rational")
        assert isinstance(refused, NoCertificate) and "irrational" in refused.reason


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([1e-6, 1e-2, 0.3, 3.0]))
def test_no_rescaling_costs_less_than_promised(seed: int, size: float) -> None:
    """F(h′) ≥ F/(1 + gap), for random h′ and for the optimum itself."""
    rng = np.random.default_rng(seed)
    problem = BalanceProblem.build(mlp([2, 3, 2, 2], seed=seed) if seed % 2 else dense(3, seed))
    state = perturbed(problem, float(rng.choice([1e-8, 1e-3, 3e-2])), seed)
    found = certify_gap(state, ARITHMETICS[seed % 3])
    assume(isinstance(found, GapCertificate))
    assert isinstance(found, GapCertificate)
    cost = state.cost(np.zeros(state.count))
    for h in (size * rng.standard_normal(state.count), newton(state).h):
        assert state.cost(h) >= cost / (1 + found.gap) * (1 - 1e-13)
        assert state.cost(h) >= (cost - found.absolute) * (1 - 1e-13)


@pytest.mark.parametrize("size", [0, 1e-5, 1e-2])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_three_arithmetics_agree(name: str, size: float) -> None:
    """Up to the rounding that doubles have to allow for, which only ever raises the bound."""
    state = perturbed(BalanceProblem.build(NETWORKS[name]), size)
    exact, double, ball = (certified(state, a) for a in ("rational", "double", "ball"))
    assert exact.gap <= ball.gap * (1 + 1e-15) and exact.gap <= double.gap * (1 + 1e-15)
    assert ball.gap == pytest.approx(exact.gap, rel=1e-12, abs=1e-30)
    assert double.gap == pytest.approx(exact.gap, rel=1e-9, abs=1e-14)
    assert (exact.bits, double.bits, ball.bits) == (None, 53, 128)
    assert exact.kind == "chi2-rational"


def test_more_bits_bring_a_ball_nearer() -> None:
    state = perturbed(BalanceProblem.build(mlp([2, 2, 1]), "lp:7/3"), 0)
    gaps = [
        found.gap
        for b in (53, 128)
        if isinstance(found := certify_gap(state, "ball", bits=b), GapCertificate)
    ]
    assert gaps[1] < gaps[0]


# --- states and certificates that are not right ----------------------------------------------------------


@pytest.mark.parametrize("factor", [1.001, 1.1, 2.0, 1e3])
def test_a_unit_out_of_balance_shows(factor: float) -> None:
    """Unit fc1[0] scaled by a factor after balancing: the true gap is known by hand, and not undercut."""
    problem = BalanceProblem.build(mlp([2, 3, 2]))
    h = newton(problem).h
    balanced = problem.rescaled(h)
    h[0] += np.log(factor)
    state = problem.rescaled(h)
    zero = np.zeros(3)
    gap = state.cost(zero) / balanced.cost(zero) - 1
    found = certify_gap(state, "rational")
    assert isinstance(found, NoCertificate) or found.gap >= gap * (1 - 1e-9)
    if factor == 1e3:
        assert isinstance(found, NoCertificate)


def test_a_bound_a_thousand_times_smaller_would_be_false() -> None:
    state = perturbed(BalanceProblem.build(mlp([2, 3, 2])), 0.05)
    fall = state.cost(np.zeros(state.count)) - state.cost(newton(state).h)
    bound = certified(state).absolute
    assert bound / 1e3 < fall <= bound


@pytest.mark.parametrize("name", NETWORKS)
def test_the_corrected_costs_are_balanced_exactly(name: str) -> None:
    """Σ y_t r_t = 0 with y = ω + c, by this file's own sums; the heart of the argument."""
    for spec in ("l2", "abs(w) + w**2/10"):
        state = perturbed(BalanceProblem.build(NETWORKS[name], spec), 1e-3)
        terms = module._terms(state, "rational", 0)
        assert isinstance(terms, list)
        moving = np.flatnonzero(state.active).tolist()
        corrections = module._route(terms, moving)
        assert isinstance(corrections, dict) and len(corrections) >= len(moving) - 1
        total = dict.fromkeys(moving, Fraction(0))
        for t, term in enumerate(terms):
            for k, c in term.row:
                total[k] += (term.value + corrections.get(t, 0)) * c
        assert not any(total.values())


def test_omega_is_enclosed() -> None:
    """a·w^p of the terms, against mpmath in 60 digits, within the error that is stated."""
    weights = np.exp(np.random.default_rng(0).standard_normal(50) * 5)
    with mpmath.workdps(60):
        for power in (Fraction(1), Fraction(2), Fraction(3, 2), Fraction(3), Fraction(1, 3)):
            for factor in (Fraction(1), Fraction(1, 10)):
                for arithmetic in ("double", "ball"):
                    found = module._omega(weights, power, factor, arithmetic, 128)
                    for w, (value, error) in zip(weights, found, strict=True):
                        true = mpmath.mpf(factor.numerator) / factor.denominator
                        true *= mpmath.mpf(float(w)) ** (mpmath.mpf(power.numerator) / power.denominator)
                        off = abs(mpmath.mpf(value.numerator) / value.denominator - true)
                        assert (
                            off
                            <= mpmath.mpf(error.numerator) / error.denominator + true * mpmath.mpf(10) ** -55
                        )
                        assert error <= value / 2**48


# --- what cannot be certified -----------------------------------------------------------------------------


def test_costs_that_are_no_powers() -> None:
    found = certify_gap(BalanceProblem.build(mlp([2, 2, 2]), "log(1 + w**2)"))
    assert isinstance(found, NoCertificate) and "sums of powers" in found.reason


def test_weights_with_three_scales_in_a_large_or_drifting_network(monkeypatch) -> None:
    problem = BalanceProblem.build(called_twice())
    monkeypatch.setattr(module, "_PROJECTED", 1)
    found = certify_gap(problem.rescaled(newton(problem).h))
    assert isinstance(found, NoCertificate) and "more than 1 move" in found.reason
    monkeypatch.undo()
    one = Fraction(1)
    row = ((0, one), (1, one), (2, -2 * one))  # unchanged by a drift of all three
    found = module._route([module._Term(one, Fraction(0), row)], [0, 1, 2])
    assert isinstance(found, NoCertificate) and "drift together" in found.reason


def test_a_projection_that_is_not_exact_would_be_caught(monkeypatch) -> None:
    """The sums of y·row are exactly 0; a correction that is a little off leaves them."""
    problem = BalanceProblem.build(called_twice())
    terms = module._terms(perturbed(problem, 1e-2), "rational", 128)
    assert not isinstance(terms, NoCertificate)

    def left(correction: Any) -> Fraction:
        total: dict[int, Fraction] = {}
        for t, term in enumerate(terms):
            for k, c in term.row:
                total[k] = total.get(k, Fraction(0)) + c * (term.value + correction.get(t, Fraction(0)))
        return max(map(abs, total.values()))

    correction = module._route(terms, range(problem.count))
    assert not isinstance(correction, NoCertificate)
    assert left(correction) == 0
    assert left({t: c * (1 + Fraction(1, 10**15)) for t, c in correction.items()}) > 0


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_far_from_balance(arithmetic: Any) -> None:
    """Weights 1e140 and 1e−140, so F/inf F = 1e280/2: more than that, or none, and no overflow on the way."""
    for outgoing in ([[1e-140]], [[1e-140], [1e-139]]):
        network = mlp([1, 1, len(outgoing)], bias=False)
        network = with_weights(network, fc1__weight=[[1e140]], fc2__weight=outgoing)
        found = certify_gap(BalanceProblem.build(network), arithmetic)
        assert isinstance(found, NoCertificate) or 1e279 < found.gap < np.inf


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_without_costs_and_without_scales(arithmetic: Any) -> None:
    """F = 0 and a constant F are optimal; the first was refused."""
    zero = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[0]], fc2__weight=[[0]])
    assert certified(BalanceProblem.build(zero), arithmetic).gap == 0
    assert certified(BalanceProblem.build(mlp([2, 3, 2], activation="tanh")), arithmetic).gap <= 1e-15


def test_json() -> None:
    found = certified(BalanceProblem.build(mlp([2, 3, 2], activation="tanh")))
    assert found.as_json() == {
        "kind": "chi2-rational",
        "gap": 0.0,
        "absolute": 0.0,
        "bits": None,
        "radius": None,
        "no_radius": None,
    }


def test_a_negative_edge_is_no_certificate() -> None:
    """Ten costs of 9/4 in and one of 1 out: the tree takes one of the ten, and would need −77/4 there.

    The argument needs y ≥ 0; a large cost that stays fixed would hide the failure.
    """
    network = with_weights(
        mlp([10, 1, 1]), fc1__weight=[[1.5] * 10], fc1__bias=[0], fc2__weight=[[1]], fc2__bias=[1e3]
    )
    for arithmetic in ARITHMETICS:
        found = certify_gap(BalanceProblem.build(network), arithmetic)
        assert isinstance(found, NoCertificate) and "negative" in found.reason
