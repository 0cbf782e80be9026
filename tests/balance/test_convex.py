"""The CVXPY formulation: the certified optimum, judged from the state and not by the solver's word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from balproof.balance.certificates.gap import GapCertificate, certify_gap
from balproof.balance.convex import power_terms, solve_convex
from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem
from balproof.errors import RegularizerError, RequestError
from balproof.importers import load
from balproof.network.graph import Network
from tests.balance.samples import (
    COSTS,
    MARGINALS,
    at,
    balanced_by_scipy,
    dense,
    raw,
    raw_imbalance,
    recurrent,
    same_weights,
    with_weights,
)
from tests.networks import mlp

FORMS: tuple[Any, ...] = ("log-sum-exp", "exponential")


def raw_cost(network: Network | dict[str, np.ndarray], spec: str) -> float:
    values = network if isinstance(network, dict) else raw(network)
    return sum(float(np.sum(COSTS[spec](w))) for w in values.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spec", ["l1", "l2", "lp:3", "abs(w) + w**2/10"])
def test_value_and_point_are_those_of_scipy(form: Any, spec: str) -> None:
    network = mlp([2, 3, 3, 2])
    problem = BalanceProblem.build(network, spec)
    found = solve_convex(problem, form)
    expected = balanced_by_scipy(network, MARGINALS[spec])
    assert found.value == pytest.approx(raw_cost(expected, spec), rel=1e-7)
    assert found.value == pytest.approx(raw_cost(at(problem, found.h), spec), rel=1e-7)
    polished = direct(problem, found.h)
    same_weights(at(problem, polished.h), expected)
    assert found.form == form and found.cones == len(power_terms(problem)[0])


@pytest.mark.parametrize("form", FORMS)
def test_value_is_within_the_certified_gap(form: Any) -> None:
    for network in (dense(5), dense(5, visible=False), mlp([2, 3, 3, 2], activation="Max(x,0)**2")):
        problem = BalanceProblem.build(network)
        value = solve_convex(problem, form).value
        best = BalanceProblem.build(at(problem, direct(problem).h))
        upper = best.cost(np.zeros(problem.count))
        certificate = certify_gap(best, "rational")
        assert isinstance(certificate, GapCertificate)
        lower = upper - certificate.absolute
        assert lower * (1 - 1e-7) <= value <= upper * (1 + 1e-7)


def test_terms_are_those_of_the_chain() -> None:
    """By hand: log of 1/4, 9, 9 and the exponents 2·(h₀), 2·(h₁ − h₀), −2·h₁."""
    b, rows = power_terms(BalanceProblem.build(load("tests/data/chain.json")))
    terms = {tuple(row): c for row, c in zip(rows.toarray().tolist(), np.exp(b), strict=True)}
    assert terms == {(2, 0): pytest.approx(0.25), (-2, 2): pytest.approx(9), (0, -2): pytest.approx(9)}


def test_equal_rows_are_one_term() -> None:
    """All weights into a unit of one layer from visible units share a row, and so do all that stay fixed."""
    network = with_weights(
        mlp([4, 2, 3]), fc1__weight=np.full((2, 4), 3.0), fc1__bias=[1, 2], fc2__weight=np.ones((3, 2))
    )
    b, rows = power_terms(BalanceProblem.build(network))
    terms = {tuple(row): c for row, c in zip(rows.toarray().tolist(), np.exp(b), strict=True)}
    fixed = float(np.sum(network.numbers("fc2.bias") ** 2))
    assert terms == {
        (2, 0): pytest.approx(4 * 9 + 1),
        (0, 2): pytest.approx(4 * 9 + 4),
        (-2, 0): pytest.approx(3),
        (0, -2): pytest.approx(3),
        (0, 0): pytest.approx(fixed),
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_six_decades_are_judged_by_the_state(form: Any, seed: int) -> None:
    """Whatever the solver's word: what comes back is finite, and is judged by its imbalance."""
    network = mlp([3, 4, 4, 2], seed=seed, spread=5)
    sizes = np.concatenate([w.ravel() for w in raw(network).values()])
    assert sizes.max() / sizes.min() > 1e6
    problem = BalanceProblem.build(network)
    try:
        found = solve_convex(problem, form)
    except RequestError as failure:
        assert "use --method multilevel" in str(failure)
        return
    assert np.isfinite(found.h).all()
    polished = direct(problem, found.h)
    assert polished.imbalance == pytest.approx(
        raw_imbalance(at(problem, polished.h), MARGINALS["l2"]), abs=1e-13
    )
    assert polished.imbalance < 1e-12
    assert problem.cost(found.h) >= problem.cost(polished.h) * (1 - 1e-13)


def test_a_solver_that_lies_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status word of "optimal" with a wrong point: `solve` reports what the weights show."""
    from balproof.balance import solve as room
    from balproof.balance.convex import ConvexOptimum

    lie = ConvexOptimum(np.array([3.0, -3.0]), 0.0, "optimal", "log-sum-exp", 3)
    monkeypatch.setattr(room, "solve_convex", lambda problem: lie)
    monkeypatch.setattr(room, "direct", lambda problem, h, **_: direct(problem, h, steps=0))
    found = room.solve(load("tests/data/chain.json"), method="cvxpy")
    assert found.status == "unconverged" and found.imbalance > 0.1
    assert found.cost_after == pytest.approx(0.25 * np.exp(6) + 9 * np.exp(-12) + 9 * np.exp(6))


@pytest.mark.parametrize("spec", ["log(1 + w**2)", "fc2.*=log(1 + w**2)"])
def test_costs_that_are_no_powers_are_refused_in_one_line(spec: str) -> None:
    with pytest.raises(RegularizerError, match="is not a sum of powers") as error:
        solve_convex(BalanceProblem.build(mlp([2, 2, 2]), spec))
    assert "\n" not in str(error.value) and "--method newton" in error.value.remedy


def test_too_many_cones_are_refused() -> None:
    # 6 synapses, 3 units' inputs and biases, 1 for the self-loops that cost but do not move
    with pytest.raises(RequestError, match="would have 10 exponential cones"):
        solve_convex(
            BalanceProblem.build(recurrent(np.ones((3, 3)) * 2, W_in=np.eye(3), b=[1, 2, 3])), limit=5
        )


def test_a_failing_solver_is_one_line() -> None:
    with pytest.raises(RequestError, match="NONE failed") as error:
        solve_convex(BalanceProblem.build(mlp([2, 2, 2])), solver="NONE")
    assert "\n" not in str(error.value)


def test_nothing_to_move() -> None:
    network = mlp([2, 3, 2], activation="tanh")
    found = solve_convex(BalanceProblem.build(network))
    assert found.status == "trivial" and found.value == pytest.approx(raw_cost(network, "l2"))
    zero = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[0]], fc2__weight=[[0]])
    assert solve_convex(BalanceProblem.build(zero)).value == 0
