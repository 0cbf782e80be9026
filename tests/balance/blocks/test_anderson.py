"""Anderson's mixing, next to NumPy's least squares."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance.blocks.anderson import Anderson, _weights


@pytest.mark.parametrize("newest", [0, 2, 4])
def test_weights_are_those_of_least_squares(newest: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 40)) * 10.0 ** -np.arange(0, 10, 2)[:, None]  # as steps become smaller
    x = 1e-9 * rng.standard_normal(40)
    expected = np.linalg.lstsq(rows.T, x)[0]
    np.testing.assert_allclose(_weights(rows, newest, x), expected, rtol=1e-9)


def test_rows_that_depend_on_newer_ones_have_no_weight() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4, 30))
    rows[0] = rows[1] - 2 * rows[3]
    x = rng.standard_normal(30)
    found = _weights(rows, 3, x)  # 3 is the newest, then 2, 1, 0
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], np.linalg.lstsq(rows[1:].T, x)[0], rtol=1e-12)
    assert _weights(np.zeros((2, 3)), 1, np.ones(3)).tolist() == [0.0, 0.0]


def test_a_linear_iteration_ends_after_as_many_steps_as_it_has_dimensions() -> None:
    """As GMRES would (Walker and Ni, theorem 2.2); what follows x linearly stays with it."""
    rng = np.random.default_rng(2)
    n = 5
    matrix, b, seen = rng.standard_normal((n, n)) / 4, rng.standard_normal(n), rng.standard_normal((7, n))
    target = np.linalg.solve(np.eye(n) - matrix, b)
    mixer, x = Anderson(8), np.zeros(n)
    for _ in range(n + 2):
        x, follows = mixer.mix(x, matrix @ x + b, seen @ (matrix @ x + b))
        np.testing.assert_allclose(follows, seen @ x, rtol=1e-9)
    np.testing.assert_allclose(x, target, rtol=1e-10)


def test_other_followers_start_anew() -> None:
    mixer = Anderson(3)
    for size in (2, 2, 4):
        x, follows = mixer.mix(np.ones(3), np.full(3, 2.0), np.ones(size))
    assert x.tolist() == [2.0, 2.0, 2.0] and follows.tolist() == [1.0] * 4
