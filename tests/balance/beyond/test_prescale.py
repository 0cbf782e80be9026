"""Weights beyond the range of their costs: rescaled by powers of two they have the answer that is known."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balproof.balance import solve as solving
from balproof.balance.beyond import fitted, wide
from balproof.balance.beyond import prescale as module
from balproof.balance.beyond.fitted import fit, is_far, require_doubles
from balproof.balance.beyond.prescale import prescale
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import METHODS, Method, solve
from balproof.errors import RequestError
from balproof.importers import load, save_rescaled
from balproof.network.graph import Network
from balproof.network.manifold import Block, infer
from tests.balance.samples import (
    BRIDGE,
    dense,
    optimum,
    raw,
    recurrent,
    same_weights,
    two_degrees,
    with_weights,
)
from tests.networks import mlp
from tests.sweeps import crossed

Array = np.ndarray

KNOWN: dict[str, tuple[Network, str]] = {
    "mlp": (mlp([3, 4, 3, 2], seed=1), "l2"),
    "mlp, l1": (mlp([3, 4, 3, 2], seed=1), "l1"),
    "mlp, p = 1/2": (mlp([3, 4, 3, 2], seed=1), "lp:0.5"),
    "two powers": (mlp([3, 4, 3, 2], seed=1), "abs(w) + w**2/10"),
    "degree 2": (mlp([2, 3, 2, 2], seed=4, activation="Max(x,0)**2"), "l2"),
    "degree 1/2": (mlp([2, 3, 2], seed=4, activation="sqrt(Max(x,0))"), "lp:1.5"),
    "recurrent": (dense(6), "l2"),
    "nothing visible": (dense(6, visible=False), "l2"),
    "two degrees": (two_degrees(), "l2"),
    "deep": (mlp([2] + [2] * 20 + [2], seed=5), "l2"),
}


def by_powers(network: Network, n: Array) -> Network:
    """w·2^(A n), exactly: rows of A and powers of two in rationals."""
    manifold = infer(network)
    values: dict[str, Array] = {}
    for block in manifold.blocks:
        old = network.numbers(block.name)
        rows = block.rows(np.arange(old.size))
        exact = [
            Fraction(float(w)) * Fraction(2) ** sum(c * int(n[k]) for k, c in row)
            for w, row in zip(old.flat, rows, strict=True)
        ]
        values[block.name] = np.array([float(x) for x in exact]).reshape(old.shape)
        assert all(Fraction(v) == x for v, x in zip(values[block.name].flat, exact, strict=True))
    return network.with_parameters(values)


def wild(network: Network, seed: int, span: int) -> tuple[Network, Array]:
    """Rescaled at random by powers of two up to 2^±span; also the scales."""
    manifold = infer(network)
    n = np.random.default_rng(seed).integers(-span, span + 1, manifold.count) * manifold.whole
    return by_powers(network, n), n


def spread(network: Network, decades: float, seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    return network.with_parameters(
        {t.name: 10.0 ** rng.uniform(-decades, decades, t.shape) for t in network.parameters}
    )


@pytest.mark.parametrize("name, seed", crossed(KNOWN, range(3)))
def test_rescaled_networks_have_the_weights_they_had(name: str, seed: int) -> None:
    network, costs = KNOWN[name]
    plain = solve(network, costs)
    far, n = wild(network, seed, 400)
    problem = BalanceProblem.stated(far, costs)
    assert is_far(problem)
    found = solve(far, costs, certify=True)
    assert found.status == "balanced" and found.certificate is not None
    same_weights(found.network, plain.network, rtol=2e-12)
    assert (found.certificate.radius or 0) < 1e-10
    assert found.cost_after == pytest.approx(plain.cost_after, rel=1e-12)
    if name != "nothing visible":  # where all scales may drift
        np.testing.assert_allclose(found.h, plain.h - n * np.log(2), rtol=1e-13, atol=1e-11)
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: Method) -> None:
    network, costs = KNOWN["mlp"]
    far, _ = wild(network, 3, 400)
    same_weights(solve(far, costs, method=method).network, solve(network, costs).network, rtol=1e-10)


def test_networks_in_range_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("not to be asked")

    monkeypatch.setattr(fitted, "fit", fail)
    assert solve(mlp([3, 5, 4, 2], spread=8)).status == "balanced"
    with pytest.raises(AssertionError):
        solve(wild(KNOWN["mlp"][0], 0, 400)[0])


@pytest.mark.parametrize("costs, decades", crossed(["l2", "l1", "lp:1.5"], [190, 150, 60]))
def test_many_decades_against_600_bits(costs: str, decades: int) -> None:
    """Weights of hundreds of decades that no rescaling evens out: the exact state of those that came out."""
    for network in (mlp([3, 5, 4, 2]), dense(5)):
        found = solve(spread(network, decades), costs, certify=True)
        assert found.status == "balanced" and found.certificate is not None
        after = BalanceProblem.stated(found.network, costs)
        exact = optimum(after, np.zeros(after.count), set(), 600, 100)
        assert max(map(abs, exact)) <= (found.certificate.radius or 0) < 1e-11
        kept = infer(found.network).rescale(-found.h)
        same_weights(kept, spread(network, decades), rtol=1e-12)


BY_HAND = {
    # W_in, W_out, and what both become: the square root of the product
    "1e-300 and 1": (1e-300, 1.0, 1e-150),
    "the least double": (5e-324, 1.0, float(mpmath.sqrt(mpmath.mpf(5e-324)))),
    "a subnormal": (3e-310, 7.0, float(mpmath.sqrt(mpmath.mpf(3e-310) * 7))),
    "no square of either": (1e200, 1e220, 1e210),
    "squares of neither": (1e-200, 1e-220, 1e-210),
    "the largest double": (
        1.7976931348623157e308,
        1e-20,
        float(mpmath.sqrt(mpmath.mpf("1.7976931348623157e288"))),
    ),
}


@pytest.mark.parametrize("name, method", crossed(BY_HAND, METHODS))
def test_one_unit_by_hand(name: str, method: Method) -> None:
    into, out, both = BY_HAND[name]
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[into]], fc2__weight=[[-out]])
    found = solve(network, method=method, certify=True)
    assert found.status == "balanced"
    np.testing.assert_allclose(found.network.numbers("fc1.weight"), both, rtol=1e-13)
    np.testing.assert_allclose(found.network.numbers("fc2.weight"), -both, rtol=1e-13)
    answer = json.loads(json.dumps(found.as_json(), allow_nan=False))
    before = mpmath.log10(mpmath.mpf(into) ** 2 + mpmath.mpf(out) ** 2)
    after = mpmath.log10(2 * mpmath.mpf(into) * mpmath.mpf(out))
    if "log10_cost_before" in answer:
        assert answer["log10_cost_before"] == pytest.approx(float(before), rel=1e-14)
        assert answer["log10_cost_after"] == pytest.approx(float(after), rel=1e-14)
    assert (answer["cost_before"] is None) == (before > 308.2)
    assert (answer["cost_after"] is None) == (after > 308.2)
    assert found.certificate is not None and found.certificate.gap < 1e-25


def test_the_order_of_magnitude_of_what_is_left_out_does_not_matter() -> None:
    """A weight of 1e-250 beside one of 1 is in no sum of squares, and yet is rescaled as the others."""
    network = mlp([2, 3, 2], seed=3)
    tiny = network.numbers("fc1.weight").copy()
    tiny[0, 1] = 1e-250
    found = solve(with_weights(network, fc1__weight=tiny), certify=True)
    tiny[0, 1] = 0.0
    without = solve(with_weights(network, fc1__weight=tiny))
    assert found.status == "balanced" and found.certificate is not None
    assert (found.certificate.radius or 1) < 1e-12
    np.testing.assert_allclose(found.h, without.h, atol=1e-12)
    assert found.network.numbers("fc1.weight")[0, 1] == pytest.approx(1e-250 * np.exp(found.h[0]), rel=1e-12)


REFUSED = {
    "a unit of small costs": (
        with_weights(mlp([1, 2, 1], bias=False), fc1__weight=[[1], [1e-300]], fc2__weight=[[1, 1e-300]]),
        "abs(w) + w**2",
        r"the cost of weight fc1.weight\[1,0\] is too small",
    ),
    "two powers": (
        with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e200]], fc2__weight=[[1e190]]),
        "abs(w) + w**2",
        r"the cost of weight fc1.weight\[0,0\] is too large",
    ),
    "no powers": (
        with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e200]], fc2__weight=[[1e190]]),
        "log(1 + w**2)",
        r"costs of single weights range from .* \(fc1.weight\[0,0\] = 1.0e\+200\)",
    ),
    "a result below all doubles": (
        with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e-323]], fc2__weight=[[1e-300]]),
        "l2",
        r"weight fc1.weight\[0,0\] would come to lie below the range of doubles",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_name_of_the_weight(name: str) -> None:
    network, costs, words = REFUSED[name]
    with pytest.raises(RequestError, match=words) as caught:
        solve(network, costs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_unattained_however_far(method: Method) -> None:
    values = [[0, 1e200, 0, 0], [1, 0, 0, 0], [0, 1e-150, 0, 1], [0, 0, 1e170, 0]]
    found = solve(with_weights(BRIDGE, J=values), method=method)
    assert found.status == "unattained" and found.witness == {"s[2]": "-1", "s[3]": "-1"}
    assert found.falling == ("J[2,1]",)
    json.dumps(found.as_json(), allow_nan=False)


GENERAL: dict[str, tuple[str, float, float, float]] = {
    # in, out and the cost of both by hand, at weights of 1
    "Huber": ("Piecewise((w**2/2, abs(w) <= 1), (abs(w) - 1/2, True))", 1e200, 1e-200, 1.0),
    "a logarithm": ("log(1 + w**2)", 1e200, 1e-200, float(2 * np.log(2.0))),
    "the other way": ("log(1 + w**2)", 1e-190, 1e190, float(2 * np.log(2.0))),
    "a root": ("sqrt(1 + w**2) - 1", 1e180, 1e-180, float(2 * np.sqrt(2.0) - 2)),
}


@pytest.mark.parametrize("name", GENERAL)
def test_costs_that_are_no_powers_before_and_after(name: str) -> None:
    """What no double holds of the weights that are given is formed in balls."""
    costs, into, out, after = GENERAL[name]
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[into]], fc2__weight=[[-out]])
    found = solve(network, costs)
    assert found.status == "balanced" and found.imbalance_before == 1
    np.testing.assert_allclose(found.network.numbers("fc1.weight"), 1, rtol=1e-12)
    assert found.cost_after == pytest.approx(after, rel=1e-12)
    with mpmath.workdps(900):
        sizes = [mpmath.mpf(into), mpmath.mpf(out)]
        exact = {
            "Huber": lambda w: w**2 / 2 if w <= 1 else w - 0.5,
            "a root": lambda w: mpmath.sqrt(1 + w**2) - 1,
        }.get(name, lambda w: mpmath.log(1 + w**2))
        cost = wide.cost(BalanceProblem.stated(network, costs))
        assert cost.log10() == pytest.approx(float(mpmath.log10(sum(map(exact, sizes)))), rel=1e-14)
        tiny = wide.wide(BalanceProblem.stated(network, costs), 0)
        numbers = [float(mpmath.log10(exact(w))) for w in sizes]
        assert np.log10(tiny.value) + tiny.exponent * np.log10(2) == pytest.approx(numbers, rel=1e-13)


def test_many_costs_beyond_doubles_that_are_no_powers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "_FEW", 1)
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e200]], fc2__weight=[[1e-200]])
    with pytest.raises(RequestError, match="costs of single weights range from"):
        solve(network, "log(1 + w**2)")


# --- the sweeps -------------------------------------------------------------------------------------------


def at(network: Network) -> Any:
    def exponents(block: Block) -> Array:
        values = network.numbers(block.name).reshape(block.shape)
        with np.errstate(divide="ignore"):
            return np.floor(np.log2(np.abs(values)))

    return exponents


@pytest.mark.parametrize("name", KNOWN)
def test_largest_costs_of_units_come_close(name: str) -> None:
    network, _ = KNOWN[name]
    far, _ = wild(network, 1, 400)
    manifold = infer(far)
    asked: list[str] = []

    def exponents(block: Block) -> Array:
        asked.append(block.name)
        return at(far)(block)

    n = prescale(manifold, np.ones(manifold.count, bool), exponents, lambda _: [(1.0, 2.0)])
    assert not (n % manifold.whole).any() and len(asked) <= 200 * len(manifold.blocks)
    near = by_powers(far, n)
    sizes = [np.abs(v[v != 0]) for v in raw(near).values()]
    assert np.log2(max(v.max() for v in sizes)) < 400
    problem = BalanceProblem.stated(near)
    columns = problem.A.toarray()
    for k in range(problem.count):
        own = [problem.weights[columns[:, k] * s > 0].max() for s in (1, -1)]
        assert abs(np.log2(own[0] / own[1])) < 300


def test_large_blocks_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for network, _ in KNOWN.values():
        far, _ = wild(network, 1, 400)
        manifold = infer(far)
        found = []
        for piece in (2**20, 4):
            monkeypatch.setattr(module, "_PIECE", piece)
            active = np.ones(manifold.count, bool)
            found.append(prescale(manifold, active, at(far), lambda _: [(1.0, 2.0)]).tolist())
        assert found[0] == found[1]


def test_scales_that_do_not_move_stay() -> None:
    far, _ = wild(KNOWN["mlp"][0], 1, 400)
    manifold = infer(far)
    active = np.ones(manifold.count, bool)
    active[2] = False
    n = prescale(manifold, active, at(far), lambda _: [(1.0, 2.0)])
    assert n[2] == 0 and n.any()


def test_a_block_without_cost_is_not_read() -> None:
    """Half of the binary orders between in and out, to 100: from 1e-100 to 1e200, or to the bias of 1e300."""
    values = {"fc1__weight": [[1e200]], "fc1__bias": [1e300], "fc2__weight": [[1e-100]]}
    network = with_weights(mlp([1, 1, 1]), **values)
    manifold, read, active = infer(network), at(network), np.ones(1, bool)

    def given(block: Block) -> Array | None:
        return None if block.name == "fc1.bias" else read(block)

    without, whole = (prescale(manifold, active, f, lambda _: [(1.0, 2.0)])[0] for f in (given, read))
    assert abs(without + 498) <= 100 and abs(whole + 664) <= 100 and whole < without


def test_a_self_loop_balances_nothing() -> None:
    """By hand: 1e200 in and 1e-100 out meet at 1e50, whatever the unit's weight to itself."""
    network = recurrent([[1e300]], W_in=[[1e200]], W_out=[[1e-100]])
    found = solve(network)
    assert found.status == "balanced"
    np.testing.assert_allclose(found.network.numbers("W_in"), 1e50, rtol=1e-12)
    assert found.network.numbers("J")[0, 0] == 1e300


@settings(max_examples=100)
@given(st.floats(-1000, 1000), st.integers(-900, 900), st.floats(1e-10, 1e10))
def test_weights_are_rounded_once(h: float, n: int, w: float) -> None:
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[w]], fc2__weight=[[1.0]])
    with mpmath.workdps(60):
        exact = mpmath.mpf(w) * mpmath.mpf(2) ** n * mpmath.exp(mpmath.mpf(h))
        other = mpmath.mpf(2) ** -n * mpmath.exp(-mpmath.mpf(h))
        inside = all(mpmath.mpf(2) ** -1021 < x < mpmath.mpf(2) ** 1023 for x in (exact, other))
        moved = infer(network).rescale(np.array([h]), np.array([n]))
        try:
            require_doubles(network, moved)
        except RequestError as refused:
            assert not inside and "the range of doubles" in str(refused)
            return
        assert all(mpmath.mpf(2) ** -1075 < x < mpmath.mpf(2) ** 1024 for x in (exact, other))
        for name, x in (("fc1.weight", exact), ("fc2.weight", other)):
            got = mpmath.mpf(float(moved.numbers(name)[0, 0]))
            assert abs(got / x - 1) < 2.0**-50


def test_scales_that_are_left_become_powers_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^-780 and 1 become 2^-390, to the last bit but some: an exponent of 67 alone has no such digits."""
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[2.0**-780]], fc2__weight=[[1.0]])
    shifts: list[list[int]] = []

    def kept(problem: BalanceProblem, shift: Array | None = None) -> Any:
        found = fit(problem, shift)
        shifts.append(found.shift.tolist())
        return found

    monkeypatch.setattr(fitted, "fit", kept)
    found = solve(network)
    assert len(shifts) == 2 and shifts[0] != shifts[1] == [390]
    np.testing.assert_allclose(found.network.numbers("fc1.weight"), 2.0**-390, rtol=1e-15)


def test_a_factor_that_no_double_holds() -> None:
    """1e-300 times 1e450, and 1e300 by it."""
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e-300]], fc2__weight=[[1e300]])
    moved = infer(network).rescale(np.array([450 * np.log(10)]))
    np.testing.assert_allclose(moved.numbers("fc1.weight"), 1e150, rtol=1e-12)
    np.testing.assert_allclose(moved.numbers("fc2.weight"), 1e-150, rtol=1e-12)


def test_networks_that_go_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    network, costs = KNOWN["mlp"]
    monkeypatch.setattr(solving, "BLOCKS", 5)
    plain = solve(network, costs)
    assert plain.method == "block sweeps"
    far, _ = wild(network, 0, 400)
    found = solve(far, costs)
    assert found.method == "block sweeps" and found.status == "balanced"
    same_weights(found.network, plain.network, rtol=2e-12)


def test_what_is_written_is_what_was_solved_for(tmp_path: Path) -> None:
    """To the last bit, though h has not all of them."""
    network, _ = KNOWN["mlp"]
    found = solve(wild(network, 4, 400)[0])
    assert found.factors is not None
    save_rescaled(found.manifold, found.h, tmp_path / "a.json", factors=found.factors)
    same_weights(load(tmp_path / "a.json"), found.network, rtol=0)
    assert solve(network).factors is None


def test_what_is_fitted_is_in_range_and_exact() -> None:
    far, n = wild(KNOWN["mlp"][0], 2, 400)
    found = fit(BalanceProblem.stated(far))
    assert found.problem.in_range and found.unit == 0
    again = by_powers(far, found.shift)
    same_weights(found.problem.manifold.network, again, rtol=0)
    assert np.abs(found.shift + n).max() < 300


# --- sums beyond doubles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_powers_beyond_doubles(p: float) -> None:
    w = np.array([5e-324, 3e-310, 1e-200, 0.7, 1.0, 3.5, 1e180, 1.7e308])
    found = wide.power(w, p, 2.5)
    for v, e, x in zip(found.value, found.exponent, w, strict=True):
        exact = mpmath.mpf("2.5") * mpmath.mpf(float(x)) ** mpmath.mpf(p)
        assert abs(mpmath.mpf(float(v)) * mpmath.mpf(2) ** int(e) / exact - 1) < 2.0**-50
    total = wide.Wide(found.value, found.exponent).total()
    exact = mpmath.fsum(mpmath.mpf("2.5") * mpmath.mpf(float(x)) ** mpmath.mpf(p) for x in w)
    assert total.log10() == pytest.approx(float(mpmath.log10(exact)), rel=1e-15)
    assert total.double() == (float(exact) if exact < 1e308 else np.inf)
    assert total.over(total) == 1.0


def test_imbalances_beyond_doubles_are_those_of_the_rescaled() -> None:
    for name, (network, costs) in KNOWN.items():
        if costs == "abs(w) + w**2/10":
            continue
        problem = BalanceProblem.build(network, costs)
        plain = problem.imbalances(np.zeros(problem.count))
        object.__setattr__(problem, "in_range", False)
        np.testing.assert_allclose(wide.imbalances(problem), plain, rtol=1e-12, atol=1e-15, err_msg=name)
        scaled = network.with_parameters(
            {t.name: network.numbers(t.name) * 2.0**600 for t in network.parameters}
        )
        far = BalanceProblem.stated(scaled, costs)
        assert far.in_range == (costs != "l2")
        np.testing.assert_allclose(wide.imbalances(far), plain, rtol=1e-12, atol=1e-15, err_msg=name)


def test_imbalances_of_units_far_apart() -> None:
    """By hand: 1 against 4, and 1 against 1/4, though no double holds the costs of both units."""
    values = {"fc1__weight": [[1e300], [1e-300]], "fc2__weight": [[2e300, 0.5e-300]]}
    problem = BalanceProblem.stated(with_weights(mlp([1, 2, 1], bias=False), **values))
    np.testing.assert_allclose(wide.imbalances(problem), [0.6, 0.6], rtol=1e-14)


def test_a_lost_exponent_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard sees: what was fitted has another power of two in one scale than what comes out."""
    network, costs = KNOWN["mlp"]
    far, _ = wild(network, 0, 400)
    full = fitted._times_powers
    monkeypatch.setattr(fitted, "_times_powers", lambda m, n, u: full(m, n + (np.arange(len(n)) == 1), u))
    found = solve(far, costs)
    assert found.status == "unconverged"
    with pytest.raises(AssertionError):
        same_weights(found.network, solve(network, costs).network)


def test_the_least_network_is_read_once_in_range() -> None:
    assert not is_far(BalanceProblem.build(load("tests/data/chain.json")))
    assert not is_far(BalanceProblem.build(recurrent(np.zeros((2, 2)))))
