"""Sums of blocks against NumPy, for every type and place of the weights."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance import kernels, pairs
from balproof.balance.pairs import Extremes, Layout, Side, pair_of

RNG = np.random.default_rng(0)


def layout_of(g: int, r: int, c: int, k: int, order: tuple[int, ...] = (0, 1, 2, 3)) -> Layout:
    rows = Side(np.arange(g * r), np.ones(g * r))
    columns = Side(g * r + np.arange(g * c), -np.ones(g * c))
    return Layout(order, (g, r, c, k), rows, columns)


def expected(costs: np.ndarray, e: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    g, r, c = costs.shape
    rows = np.einsum("gij,gj->gi", costs, y.reshape(g, c))
    return rows.ravel(), np.einsum("gi,gij->gj", e.reshape(g, r), costs).ravel()


SHAPES = [
    (1, 1, 1, 1),
    (1, 9, 5, 1),
    (1, 24, 33, 1),
    (2, 17, 6, 1),
    (3, 4, 5, 7),
    (1, 3, 20_000, 1),
    (40, 1, 1, 9),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("power", [2.0, 1.0, 0.5, 1.7])
def test_a_read_is_both_sums(shape: tuple[int, int, int, int], dtype: str, power: float) -> None:
    g, r, c, _ = shape
    weights = RNG.standard_normal(shape).astype(dtype)
    pair = pair_of("W", weights, shape, layout_of(*shape), power, 3.0)
    e, y = RNG.random(g * r), RNG.random(g * c)
    costs = (np.abs(weights.astype(np.float64)) ** power).sum(axis=3)
    for found, true in zip(pair.read(e, y), expected(costs, e, y), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-13)
    if dtype != "float16":
        assert np.shares_memory(pair.weights, weights)


def test_bits_of_bfloat16() -> None:
    values = RNG.standard_normal((1, 6, 4, 1)).astype(np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    true = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)[..., 0] ** 2
    pair = pair_of("W", bits, bits.shape, layout_of(1, 6, 4, 1), 2.0, 1.0)
    e, y = np.ones(6), np.ones(4)
    for found, sums in zip(pair.read(e, y), expected(true, e, y), strict=True):
        np.testing.assert_allclose(found, sums, rtol=1e-14)


def test_axes_in_another_order_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = RNG.standard_normal((3, 8, 2, 12))  # kernel, columns, groups, rows
    made = layout_of(2, 12, 8, 3, (2, 3, 1, 0))
    costs = np.einsum("kcgr->grc", weights**2)
    e, y = RNG.random(24), RNG.random(16)
    pair = pair_of("W", weights, weights.shape, made, 2.0, 1.0)
    one = pair.read(e, y)
    for found, true in zip(one, expected(costs, e, y), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-13)
    monkeypatch.setattr(pairs, "_THREADED", 1)
    for found, true in zip(pair.read(e, y), one, strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-14)


@pytest.mark.parametrize("power", [2.0, 1.0])
@pytest.mark.parametrize("r", [5, 16])
def test_a_step_balances_every_row(power: float, r: int) -> None:
    weights = RNG.standard_normal((1, r, 6, 1))
    pair = pair_of("W", weights, weights.shape, layout_of(1, r, 6, 1), power, 2.0)
    h, y = RNG.standard_normal(r), RNG.random(6)
    e = np.exp(power * h)
    into, out = RNG.random(r), RNG.random(r)
    e0, h0 = e.copy(), h.copy()
    inverse = np.full(r, 1 / (2 * power))
    inverse[2] = 0.0
    rows, columns = pair.step(e, y, into, out, inverse, h)
    own = 2 * power * e0 * rows
    np.testing.assert_allclose(h - h0, inverse * np.log(out / (into + own)), atol=1e-13)
    np.testing.assert_allclose(e, np.exp(power * h), rtol=1e-13)
    assert h[2] == h0[2]
    np.testing.assert_allclose(columns, e @ (np.abs(weights[0, :, :, 0]) ** power), rtol=1e-13)


def test_extremes_are_seen_in_the_same_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_CACHED", 64)
    for dtype in ("float64", "float32", "float16"):
        weights = RNG.standard_normal((1, 20, 6, 1)).astype(dtype)
        weights[0, 3, 2, 0] = 0.0
        weights[0, 19, 5, 0] = -0.0
        pair = pair_of("W", weights, weights.shape, layout_of(1, 20, 6, 1), 2.0, 1.0)
        rows, columns, seen = pair.survey(np.ones(20), np.ones(6))
        sizes = np.abs(weights[weights != 0].astype(np.float64))
        assert seen.zeros == 2
        np.testing.assert_allclose(seen.sizes(pair), [sizes.min(), sizes.max()], rtol=1e-12)
        np.testing.assert_array_equal(rows, pair.read(np.ones(20), np.ones(6))[0])
        assert columns.shape == (6,)
        for bad in (np.nan, np.inf):
            weights[0, 7, 1, 0] = bad
            assert not np.isfinite(pair.survey(np.ones(20), np.ones(6))[2].sizes(pair)[1])
    nothing = pair_of("W", np.zeros((1, 2, 2, 1)), (1, 2, 2, 1), layout_of(1, 2, 2, 1), 2.0, 1.0)
    assert nothing.survey(np.ones(2), np.ones(2))[2].sizes(nothing) == (0.0, 0.0)
    assert Extremes.join([Extremes(3, 5, 1), Extremes(2, 9, 0)]) == Extremes(2, 9, 1)


def test_a_loop_is_a_cyclic_sweep() -> None:
    n, power = 7, 2.0
    weights = RNG.standard_normal((1, n, n, 1))
    side = Side(np.arange(n), np.ones(n))
    made = Layout((0, 1, 2, 3), (1, n, n, 1), side, Side(np.arange(n), -np.ones(n)))
    pair = pair_of("J", weights, weights.shape, made, power, 1.0)
    assert pair.loop
    costs = weights[0, :, :, 0] ** 2 * (1 - np.eye(n))
    e, y, h = np.ones(n), np.ones(n), np.zeros(n)
    rows, columns, after = pair.read_loop(e, y)
    np.testing.assert_allclose(rows, costs.sum(axis=1))
    np.testing.assert_allclose(columns, costs.sum(axis=0))
    true = np.zeros(n)
    inverse = np.full(n, 0.25)
    for _ in range(2):
        for i in range(n):  # one unit after the other, by the definition
            scaled = costs * np.exp(2 * (true[:, None] - true[None, :]))
            true[i] += 0.25 * np.log(scaled[:, i].sum() / scaled[i].sum())
        _, columns, after = pair.read_loop(e, y, (np.zeros(n), np.zeros(n), inverse, h, after))
        np.testing.assert_allclose(h, true, atol=1e-13)
        np.testing.assert_allclose(columns, np.exp(2 * h) @ costs, rtol=1e-13)


def test_tables_are_powers() -> None:
    half = np.array([1.5, -2.0, 6e-8, np.inf], np.float16)
    found = kernels.table("float16", 1.5)[half.view(np.uint16)]
    np.testing.assert_allclose(found, np.abs(half.astype(float)) ** 1.5)
