"""Blocks whose units feed themselves: sums by their definition, and the state that Newton's method finds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from balproof.balance.blocks.cyclic import _Run, sweeps
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.state import Iterate
from balproof.importers.matrix_file import from_arrays
from balproof.network.manifold import Manifold, infer


def recurrent(n: int, dtype: type) -> tuple[np.ndarray, Manifold]:
    j = np.random.default_rng(n).standard_normal((n, n)).astype(dtype)
    return j, infer(from_arrays({"J": j}))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spec", ["l2", "l1", "lp:3"])
def test_sums_leave_the_diagonal_out(spec: str, dtype: type) -> None:
    power = {"l2": 2, "l1": 1, "lp:3": 3}[spec]
    j, manifold = recurrent(21, dtype)
    problem = BlockProblem.build(manifold, Costs.parse(spec))
    assert problem is not None
    (pair,) = problem.pairs
    assert pair.loop
    costs = np.abs(j.astype(np.float64)) ** power
    np.fill_diagonal(costs, 0.0)
    e, y = np.random.default_rng(0).random((2, 21))
    rows, columns = pair.read(e, y)
    np.testing.assert_allclose(rows, costs @ y, rtol=1e-13)
    np.testing.assert_allclose(columns, e @ costs, rtol=1e-13)


@pytest.mark.parametrize("spec", ["l2", "l1"])
def test_sweeps_reach_the_balanced_matrix(spec: str) -> None:
    _, manifold = recurrent(30, np.float64)
    blocks, problem = BlockProblem.build(manifold, Costs.parse(spec)), BalanceProblem.build(manifold, spec)
    assert blocks is not None
    found = sweeps(blocks)
    assert found.imbalance <= 1e-12
    assert problem.imbalance(found.h) <= 2e-12
    np.testing.assert_allclose(problem.A @ found.h, problem.A @ newton(problem).h, atol=1e-10)


def told(manifold: Manifold, tolerance: float) -> tuple[Iterate, list[str]]:
    blocks, found = BlockProblem.build(manifold, Costs.parse("l2")), list[str]()
    assert blocks is not None
    state = sweeps(blocks, tolerance=tolerance, progress=found.append)
    assert state.history[-1] == pytest.approx(blocks.cost(state.h), rel=1e-12)
    return state, [text.split()[0] for text in found]


def test_units_of_a_dense_loop_move_at_once() -> None:
    """D·K·D⁻¹ of noise takes as many reads as digits: in turns the matrix of ones alone takes more."""
    rng = np.random.default_rng(3)
    d = np.exp(3 * rng.standard_normal(400))
    manifold = infer(from_arrays({"J": d[:, None] * rng.standard_normal((400, 400)) / d}))
    state, steps = told(manifold, 1e-10)
    assert state.imbalance <= 1e-10 and set(steps) == {"step"}
    assert state.passes == pytest.approx(len(steps) + 1, abs=0.05)  # and a few rows
    assert len(steps) <= 10
    blocks = BlockProblem.build(manifold, Costs.parse("l2"))
    assert blocks is not None and sweeps(blocks, tolerance=1e-10, memory=0).passes > 12


def test_units_that_hang_together_loosely_take_turns() -> None:
    """A ring and weak noise: all at once it goes to and fro, and the best state is what turns start from."""
    rng = np.random.default_rng(5)
    j = 1e-4 * rng.standard_normal((40, 40)) + np.roll(
        np.diag(np.exp(2 * rng.standard_normal(40))), 1, axis=1
    )
    manifold = infer(from_arrays({"J": j}))
    state, steps = told(manifold, 1e-11)
    assert state.imbalance <= 1e-11 and set(steps) == {"step", "sweep"}
    problem = BalanceProblem.build(manifold, "l2")
    np.testing.assert_allclose(problem.A @ state.h, problem.A @ newton(problem).h, atol=1e-6)
    assert problem.imbalance(state.h) == pytest.approx(state.imbalance, rel=1e-2)
    blocks = BlockProblem.build(manifold, Costs.parse("l2"))
    assert blocks is not None
    reached = [sweeps(blocks, limit=limit) for limit in range(9)]
    for before, after in pairwise(reached):
        assert after.imbalance <= before.imbalance
        assert after.imbalance == pytest.approx(blocks.imbalance(after.h), rel=1e-9)


def test_the_best_state_is_kept() -> None:
    """A ring of very unlike weights, found by a search: the ninth step is worse than one before."""
    rng = np.random.default_rng(51)
    n = int(rng.integers(3, 40))
    noise = 10.0 ** -rng.integers(1, 6) * rng.standard_normal((n, n))
    ring = np.roll(np.diag(np.exp(rng.integers(1, 6) * rng.standard_normal(n))), 1, axis=1)
    blocks, said = BlockProblem.build(infer(from_arrays({"J": noise + ring})), Costs.parse("l2")), list[str]()
    assert blocks is not None
    found = sweeps(blocks, limit=9, progress=said.append)
    assert float(said[-1].split()[-1]) > 1.2 * found.imbalance
    assert found.imbalance == pytest.approx(blocks.imbalance(found.h), rel=1e-9)
    assert found.history[-1] == pytest.approx(blocks.cost(found.h), rel=1e-12)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_stop_gives_the_best_state_so_far(stop: int) -> None:
    _, manifold = recurrent(30, np.float64)
    blocks, said = BlockProblem.build(manifold, Costs.parse("l2")), list[str]()
    assert blocks is not None

    def progress(text: str) -> bool:
        said.append(text)
        return len(said) == stop

    state = sweeps(blocks, progress=progress)
    assert len(said) == stop and state.imbalance == pytest.approx(blocks.imbalance(state.h), rel=1e-9)
    assert sweeps(blocks, limit=stop).passes <= stop + 2


def test_what_the_next_turns_start_from_is_that_of_the_state() -> None:
    """Not what it was at h = 0, when a run goes on from elsewhere."""
    _, manifold = recurrent(20, np.float64)
    problem = BlockProblem.build(manifold, Costs.parse("l2"))
    assert problem is not None
    run, h = _Run(problem, np.zeros(20), problem.start), np.random.default_rng(4).standard_normal(20)
    run.place(h)
    (pair,) = problem.pairs
    rows, columns, after = pair.read_loop(*pair.factors(h))
    np.testing.assert_allclose(run.after[0], after, rtol=1e-12)
    np.testing.assert_allclose(run.sums, np.concatenate([rows, columns]), rtol=1e-12)
    assert run.fresh.all() and run.read == pair.size
