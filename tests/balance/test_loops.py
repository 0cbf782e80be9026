"""Blocks whose units feed themselves: sums by their definition, and the state that Newton's method finds."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance.blocks import BlockProblem
from balproof.balance.cyclic import sweeps
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem, Costs
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
