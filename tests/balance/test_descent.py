"""Stochastic balancing: the closed form of a step, every schedule, and the one state where all end."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balproof.balance import descent
from balproof.balance.descent import SCHEDULES, stochastic
from balproof.balance.problem import BalanceProblem
from balproof.errors import RequestError
from balproof.importers import load
from balproof.network.evaluate import evaluate
from tests.balance.samples import (
    MARGINALS,
    at,
    balanced_by_scipy,
    dense,
    raw,
    raw_imbalance,
    recurrent,
    same_weights,
    sides,
    with_weights,
)
from tests.networks import mlp
from tests.sweeps import crossed

CHAIN = "tests/data/chain.json"


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_one_step_is_the_optimal_scale(p: float, degree: int) -> None:
    """λ* = (cB/A)^{1/(p(1+c))} with A = Σ|in|^p, B = Σ|out|^p ([B] Thm 3.1), for each unit alone."""
    network = mlp([2, 3, 2], activation=f"Max(x,0)**{degree}")
    into, out = sides(network, lambda w: w**p)
    problem = BalanceProblem.build(network, f"lp:{p}")
    for k in range(3):
        h = stochastic(problem, [k]).h
        expected = np.zeros(3)
        expected[k] = np.log(degree * out[k] / into[k]) / (p * (1 + degree))
        np.testing.assert_allclose(h, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("spec", ["abs(w) + w**2/10", "log(1 + w**2)", "l2"])
def test_one_step_balances_the_unit_for_any_cost(spec: str) -> None:
    network = mlp([3, 3, 2], spread=3)
    problem = BalanceProblem.build(network, spec)
    for k in range(3):
        into, out = sides(at(problem, stochastic(problem, [k]).h), MARGINALS[spec])
        assert into[k] == pytest.approx(out[k], rel=1e-13)


def test_one_step_balances_mixed_costs() -> None:
    network = mlp([3, 3, 2])
    problem = BalanceProblem.build(network, ["*weight=l1", "fc1.bias=lp:3"])
    marginals = dict.fromkeys(raw(network), MARGINALS["l1"]) | {"fc1.bias": MARGINALS["lp:3"]}
    into, out = sides(at(problem, stochastic(problem, [1]).h), marginals)
    assert into[1] == pytest.approx(out[1], rel=1e-13)


@pytest.mark.parametrize("size", [1e6, 1e9])
def test_a_step_of_a_cost_that_flattens_does_not_leap(size: float) -> None:
    """log(1 + w²): far out the slope is 1e−12 or lost in rounding, and a bare Newton step overflowed.

    At 1e9 the last move was below rounding, and the bracket halved instead: the unit ended 5e−9 off.
    """
    incoming = [[size, 2 * size, 3 * size]]
    network = with_weights(mlp([3, 1, 1], bias=False), fc1__weight=incoming, fc2__weight=[[5 * size]])
    problem = BalanceProblem.build(network, "log(1 + w**2)")
    after = at(problem, stochastic(problem, [0]).h)
    assert raw_imbalance(after, MARGINALS["log(1 + w**2)"]) < 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("spec", ["l1", "l2"])
def test_every_schedule_ends_in_the_root_of_the_balance_equations(schedule: Any, spec: str) -> None:
    network = mlp([2, 3, 3, 2])
    problem = BalanceProblem.build(network, spec)
    found = stochastic(problem, schedule, seed=4)
    same_weights(at(problem, found.h), balanced_by_scipy(network, MARGINALS[spec]))
    assert found.imbalance <= 1e-12
    assert found.imbalance == pytest.approx(raw_imbalance(at(problem, found.h), MARGINALS[spec]), abs=1e-14)


def test_the_list_of_schedules_is_complete() -> None:
    assert set(SCHEDULES) == set(descent.Schedule.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("schedule", ["random", "reshuffled"])
def test_five_seeds_end_in_the_same_weights(schedule: Any) -> None:
    for network in (mlp([3, 4, 3, 2]), dense(4), dense(4, visible=False)):
        problem = BalanceProblem.build(network)
        runs = [stochastic(problem, schedule, seed=s) for s in range(5)]
        for run in runs[1:]:
            same_weights(at(problem, run.h), at(problem, runs[0].h))
        assert len({run.history for run in runs}) > 1  # they did go different ways


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_seed_is_reproducible(schedule: Any) -> None:
    problem = BalanceProblem.build(mlp([3, 5, 4, 2]))
    a, b = (stochastic(problem, schedule, seed=7) for _ in range(2))
    assert a.h.tolist() == b.h.tolist() and a.history == b.history


@pytest.mark.parametrize("schedule, spec", crossed(SCHEDULES, ["l2", "lp:0.5", "log(1 + w**2)"]))
def test_the_cost_never_rises(schedule: Any, spec: str) -> None:
    problem = BalanceProblem.build(mlp([3, 4, 4, 2], spread=2), spec)
    history = np.array(stochastic(problem, schedule).history)
    assert np.all(np.diff(history) <= 4e-16 * history[:-1] * len(problem.weights))
    assert history[-1] < history[0]


def test_a_step_gains_what_the_formula_says() -> None:
    """(√A − √B)² for degree 1 and l2, at each unit ([B] Thm 3.1)."""
    network = mlp([3, 4, 2])
    problem = BalanceProblem.build(network)
    into, out = sides(network, lambda w: w**2)
    before = problem.cost(np.zeros(4))
    for k in range(4):
        gain = before - problem.cost(stochastic(problem, [k]).h)
        assert gain == pytest.approx((np.sqrt(into[k]) - np.sqrt(out[k])) ** 2, rel=1e-9)


def test_greedy_takes_the_most_unbalanced_unit() -> None:
    """Replayed with the definition of imbalance and the closed form, on the raw weights."""
    network = mlp([3, 4, 3, 2])
    problem = BalanceProblem.build(network)
    h = np.zeros(7)
    for _ in range(7):
        into, out = sides(at(problem, h), lambda w: w**2)
        k = int(np.argmax(np.abs(into - out) / (into + out)))
        h[k] += np.log(out[k] / into[k]) / 4
    np.testing.assert_allclose(stochastic(problem, "greedy", sweeps=1).h, h, rtol=1e-12, atol=1e-14)


# --- the caller's own sequence ----------------------------------------------------------------------------


def test_own_sequences_in_any_form_do_the_same() -> None:
    problem = BalanceProblem.build(mlp([2, 3, 2, 2]))
    order = [0, 4, 2, 2, 1, 3, 0]
    expected = stochastic(problem, order)
    forms = [tuple(order), np.array(order), np.array(order, np.uint8), iter(order), (k for k in order)]
    for form in forms:
        assert stochastic(problem, form).h.tolist() == expected.h.tolist()
    assert expected.method == "stochastic (user-given)"
    assert expected.imbalance == pytest.approx(
        raw_imbalance(at(problem, expected.h), MARGINALS["l2"]), rel=1e-12
    )


def test_own_sequence_is_followed_to_its_end_and_no_further() -> None:
    problem = BalanceProblem.build(load(CHAIN))
    assert stochastic(problem, []).h.tolist() == [0, 0]
    steps = iter([0, 1] * 200 + [0])
    stochastic(problem, steps)
    assert next(steps, None) is None


def test_own_cyclic_sequence_is_the_cyclic_schedule() -> None:
    network = mlp([2, 3, 3, 2])
    problem = BalanceProblem.build(network)
    named = stochastic(problem, "cyclic")
    own = stochastic(problem, list(range(6)) * (len(named.history) - 1))
    assert own.h.tolist() == named.h.tolist() and own.history == named.history


def test_an_endless_sequence_ends() -> None:
    problem = BalanceProblem.build(load(CHAIN))
    found = stochastic(problem, itertools.cycle([0, 1]), sweeps=100)
    assert found.imbalance <= 1e-13 and len(found.history) == 101


@pytest.mark.parametrize("bad", [2, -1, 0.5, "0", None, [0]])
def test_columns_that_are_none_are_refused(bad: Any) -> None:
    problem = BalanceProblem.build(load(CHAIN))
    with pytest.raises(RequestError, match="which does not move"):
        stochastic(problem, [0, bad])


def test_dead_units_and_degree_0_cannot_be_named() -> None:
    dead = with_weights(mlp([1, 2, 1], bias=False), fc1__weight=[[0], [1]])
    stochastic(BalanceProblem.build(dead), [1])
    for network in (dead, mlp([1, 2, 1], activation="sign")):
        with pytest.raises(RequestError, match="scale 0, which does not move"):
            stochastic(BalanceProblem.build(network), [0])


def test_an_unknown_schedule_is_refused_even_where_nothing_moves() -> None:
    for network in (load(CHAIN), mlp([2, 2])):
        with pytest.raises(RequestError, match="unknown schedule 'clockwise'"):
            stochastic(BalanceProblem.build(network), "clockwise")  # type: ignore[arg-type]


# --- laws -------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from(["relu", "abs", "Max(x,0)**2"]), st.sampled_from(["l1", "l2"]))
def test_balancing_keeps_the_function_and_forgets_the_start(seed: int, activation: str, spec: str) -> None:
    """From two points of one orbit, the same weights; and the same outputs as before."""
    rng = np.random.default_rng(seed)
    widths = [2, *rng.integers(1, 4, int(rng.integers(1, 3))).tolist(), 2]
    network = mlp(widths, seed=seed, activation=activation)
    problem = BalanceProblem.build(network, spec)
    elsewhere = at(problem, rng.standard_normal(problem.count))
    other = BalanceProblem.build(elsewhere, spec)
    ends = [at(p, stochastic(p, seed=seed).h) for p in (problem, other)]
    same_weights(ends[0], ends[1], rtol=1e-9)
    x = {"x": rng.standard_normal((20, 2))}
    y = network.outputs[0]
    before, after = evaluate(network, x)[y], evaluate(ends[0], x)[y]
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9 * np.abs(before).max())


def test_a_hopeless_run_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strong pair with weak ties: the imbalance falls by 1e−7 of itself in a sweep. It ran for minutes."""
    monkeypatch.setattr(descent, "_WINDOW", 200)
    problem = BalanceProblem.build(recurrent([[0, 1], [1, 0]], W_in=[[3e-4], [0]], W_out=[[0, 9e-4]]))
    found = stochastic(problem, "cyclic", tolerance=1e-13)
    assert len(found.history) < 500
    assert found.imbalance > 1e-8


def test_progress_is_told_each_sweep() -> None:
    told: list[str] = []
    found = stochastic(BalanceProblem.build(load(CHAIN)), "cyclic", progress=told.append)
    assert len(told) == len(found.history) - 1 and told[0].startswith("sweep 1: imbalance")
