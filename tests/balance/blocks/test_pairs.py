"""Sums of blocks against NumPy, for every type and place of the weights."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance.blocks import kernels, pairs
from balproof.balance.blocks.pairs import Extremes, Layout, Pair, Side, pair_of

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
@pytest.mark.parametrize("r", [5, 16, 61])
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


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (3, 2, 1, 0)])
@pytest.mark.parametrize("k", [1, 3])
def test_extremes_are_seen_in_the_same_read(dtype: str, order: tuple[int, ...], k: int) -> None:
    shape = (1, 20, 6, k)
    weights = RNG.standard_normal([shape[i] for i in np.argsort(order)]).astype(dtype)
    turned = weights.transpose(order)
    turned[0, 3, 2, 0] = 0.0
    turned[0, 19, 5, 0] = -0.0
    made = Layout(order, *((1, 20, 6, k), *(getattr(layout_of(1, 20, 6, k), x) for x in ("rows", "columns"))))
    pair = pair_of("W", weights, weights.shape, made, 2.0, 1.0)
    ones = np.ones(20), np.ones(6)
    rows, columns, seen, after = pair.survey(*ones)
    sizes = np.abs(weights[weights != 0].astype(np.float64))
    assert (seen.zeros, after) == (2, None)
    tolerance = 1e-12 if dtype == "float16" else 0
    np.testing.assert_allclose(seen.sizes(pair), [sizes.min(), sizes.max()], rtol=tolerance)
    np.testing.assert_array_equal(rows, pair.read(*ones)[0])
    np.testing.assert_array_equal(columns, pair.read(*ones)[1])
    if dtype != "float16":  # of whose bits a block may be a copy
        for bad in (np.nan, np.inf):
            turned[0, 7, 1, 0] = bad
            assert not np.isfinite(pair.survey(*ones)[2].sizes(pair)[1])


def test_extremes_of_nothing_and_of_parts() -> None:
    nothing = pair_of("W", np.zeros((1, 2, 2, 1)), (1, 2, 2, 1), layout_of(1, 2, 2, 1), 2.0, 1.0)
    assert nothing.survey(np.ones(2), np.ones(2))[2].sizes(nothing) == (0.0, 0.0)
    assert Extremes.join([Extremes(3, 5, 1), Extremes(2, 9, 0)]) == Extremes(2, 9, 1)


LOOPS = [
    (7, "float64", 2.0),
    (19, "float64", 2.0),
    (24, "float32", 2.0),
    (18, "float64", 1.0),
    (17, "float16", 2.0),
]


def loop_of(n: int, dtype: str, power: float, sign: float = 1.0, spread: float = 1.0) -> Pair:
    weights = np.exp(spread * RNG.standard_normal((1, n, n, 1))).astype(dtype)
    side, other = Side(np.arange(n), np.full(n, sign)), Side(np.arange(n), np.full(n, -sign))
    pair = pair_of("J", weights, weights.shape, Layout((0, 1, 2, 3), (1, n, n, 1), side, other), power, 1.0)
    assert pair.loop
    return pair


def costs_of(pair: Pair) -> np.ndarray:
    weights = pair.weights.view(np.float16) if pair.weights.dtype.kind == "u" else pair.weights
    costs = np.abs(weights[:, :, 0].astype(np.float64)) ** pair.power
    return costs * (1 - np.eye(len(costs)))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("n", "dtype", "power"), LOOPS)
def test_a_loop_is_a_cyclic_sweep(n: int, dtype: str, power: float, sign: float) -> None:
    pair = loop_of(n, dtype, power, sign)
    costs = costs_of(pair)
    e, y, h = np.ones(n), np.ones(n), np.zeros(n)
    rows, columns, seen, after = pair.survey(e, y)
    assert after is not None and seen.zeros == 0
    np.testing.assert_allclose(rows, costs.sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(columns, costs.sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(after, np.tril(costs, -1).sum(axis=0), rtol=1e-13)
    into, out = RNG.random((2, n))
    true, inverse = np.zeros(n), np.full(n, 1 / (2 * power))
    inverse[n // 2] = 0.0  # a unit that stays
    for _ in range(2):
        for i in range(n):  # one unit after the other, by the definition
            scaled = power * costs * np.exp(power * sign * (true[:, None] - true[None, :]))
            row, column = scaled[i].sum(), scaled[:, i].sum()
            enters, leaves = (row, column) if sign > 0 else (column, row)
            true[i] += inverse[i] * np.log((out[i] + leaves) / (into[i] + enters))
        _, columns, after = pair.read_loop(e, y, (into, out, inverse, h, after))
        np.testing.assert_allclose(h, true, atol=1e-13)
        np.testing.assert_allclose(e, np.exp(power * sign * true), rtol=1e-12)
        np.testing.assert_allclose(y, np.exp(-power * sign * true), rtol=1e-12)
        np.testing.assert_allclose(columns, np.exp(power * sign * h) @ costs, rtol=1e-12)


def test_threads_read_a_loop_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_THREADED", 1)
    monkeypatch.setattr(pairs, "get_num_threads", lambda: 3)
    n = 50
    pair = loop_of(n, "float64", 2.0)
    costs = costs_of(pair)
    e, y = RNG.random((2, n))
    own = y.copy()
    with pairs.team():
        rows, columns, seen, after = pair.survey(e, y)
    np.testing.assert_array_equal(y, own)
    np.testing.assert_allclose(rows, costs @ y, rtol=1e-13)
    np.testing.assert_allclose(columns, e @ costs, rtol=1e-13)
    assert after is not None
    np.testing.assert_allclose(after, e @ np.tril(costs, -1), rtol=1e-13)
    sizes = np.abs(pair.weights)
    assert seen.sizes(pair) == (sizes.min(), sizes.max())


def test_threads_are_shared_inside_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    class Counted(pairs.ThreadPoolExecutor):
        def __init__(self, threads: int) -> None:
            nonlocal made
            made += 1
            super().__init__(threads)

    monkeypatch.setattr(pairs, "ThreadPoolExecutor", Counted)
    monkeypatch.setattr(pairs, "_THREADED", 1)
    monkeypatch.setattr(pairs, "get_num_threads", lambda: 2)
    pair = loop_of(9, "float64", 2.0)
    with pairs.team():
        for _ in range(3):
            pair.read(np.ones(9), np.ones(9))
    assert made == 1
    pair.read(np.ones(9), np.ones(9))
    assert made == 2


def test_zeros_are_counted_beyond_what_their_type_holds() -> None:
    weights = np.zeros((1, 1, 70_000, 1), np.float16)
    pair = pair_of("W", weights, weights.shape, layout_of(*weights.shape), 2.0, 1.0)
    assert pair.survey(np.ones(1), np.ones(70_000))[2].zeros == 70_000


def test_tables_are_powers() -> None:
    half = np.array([1.5, -2.0, 6e-8, np.inf], np.float16)
    found = kernels.table("float16", 1.5)[half.view(np.uint16)]
    np.testing.assert_allclose(found, np.abs(half.astype(float)) ** 1.5)


def test_weights_at_odd_places_are_read_where_they_are() -> None:
    """As members of a mapped archive: no loop that counts on aligned memory gets them."""
    memory = np.zeros(8 * 12 + 1, np.uint8)
    weights = memory[1:].view(np.float64).reshape(1, 4, 3, 1)
    weights[:] = RNG.standard_normal(weights.shape)
    pair = pair_of("W", weights, weights.shape, layout_of(1, 4, 3, 1), 2.0, 1.0)
    assert not weights.flags.aligned and np.shares_memory(pair.weights, memory) and pair.alike is None
    e, y = RNG.random(4), RNG.random(3)
    for found, true in zip(pair.read(e, y), expected(weights[..., 0] ** 2, e, y), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-13)
    straight = pair_of("W", weights.copy(), weights.shape, layout_of(1, 4, 3, 1), 2.0, 1.0)
    assert straight.alike is not None and np.shares_memory(straight.alike, straight.weights)
