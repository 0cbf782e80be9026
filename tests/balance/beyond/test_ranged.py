"""Blocks of weights out of the range of their costs: brought into it, solved, certified and taken back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from balproof.balance import solve as solving
from balproof.balance.beyond import far as taking
from balproof.balance.beyond import ranged, wide
from balproof.balance.beyond.ranged import Far, measured
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.certificates.gap import GapCertificate, NoCertificate
from balproof.balance.certificates.isotone import certify_blocks
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import measure, solve
from balproof.crosscheck import judged
from balproof.crosscheck.audit import check
from balproof.errors import RequestError
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.balance.beyond.test_prescale import KNOWN, by_powers, spread, wild
from tests.balance.samples import dense, optimum, recurrent, same_weights, with_weights
from tests.networks import mlp
from tests.sweeps import crossed
from tests.sweeps import spread as some

Array = np.ndarray


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """All networks go over blocks, as those of more than 20,000 weights do."""
    monkeypatch.setattr(solving, "BLOCKS", 1)


# --- networks in disguise ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name, seed", crossed([n for n in KNOWN if n != "two powers"], range(2)))
@pytest.mark.usefixtures("blocks")
def test_disguised_networks_have_the_weights_they_had(name: str, seed: int) -> None:
    network, costs = KNOWN[name]
    plain = solve(network, costs, certify=True)
    far, n = wild(network, seed, 400)
    found = solve(far, costs, certify=True)
    assert found.status == "balanced" and found.method == plain.method
    if not BalanceProblem.stated(far, costs).in_range:
        assert found.factors is not None
    same_weights(found.network, plain.network, rtol=5e-12)
    assert found.certificate is not None and plain.certificate is not None
    assert (found.certificate.radius is None) == (plain.certificate.radius is None)
    assert (found.certificate.radius or 0) < 1e-10
    assert found.cost_after == pytest.approx(plain.cost_after, rel=1e-12)
    if name != "nothing visible":  # where all scales may drift
        np.testing.assert_allclose(found.h, plain.h - n * np.log(2), rtol=1e-13, atol=1e-11)
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize("costs", ["l2", "l1", "lp:1.5"])
@pytest.mark.parametrize("decades", [150, 190])
@pytest.mark.usefixtures("blocks")
def test_many_decades_against_600_bits(costs: str, decades: int) -> None:
    """Weights of hundreds of decades that no rescaling evens out: the exact state lies within the radius."""
    for network in (mlp([3, 5, 4, 2]), dense(5)):
        found = solve(spread(network, decades), costs, certify=True)
        assert found.status == "balanced" and "block sweeps" in found.method
        assert found.certificate is not None and found.certificate.radius is not None
        after = BalanceProblem.stated(found.network, costs)
        exact = optimum(after, np.zeros(after.count), set(), 600, 100)
        # The weights themselves were rounded once more.
        assert max(map(abs, exact)) <= found.certificate.radius + 1e-13 < 1e-9


@pytest.mark.parametrize(
    "widths", [[100, 150, 80, 30], pytest.param([1000, 1200, 600, 130], marks=pytest.mark.slow)]
)
def test_a_large_network_in_disguise(widths: list[int]) -> None:
    """Rescaled by powers of two up to 2^±450 it has the log-scales that it had, less those of the powers."""
    network = mlp(widths, seed=1)
    manifold = infer(network)
    n = np.random.default_rng(0).integers(-450, 451, manifold.count)
    plain = solve(network, certify=True)
    found = solve(manifold.rescale(np.zeros(manifold.count), n), certify=True)
    assert found.status == plain.status == "balanced"
    assert found.certificate is not None and plain.certificate is not None
    radius = (found.certificate.radius or 1) + (plain.certificate.radius or 1)
    rounding = np.abs(found.h).max() * 2.0**-52
    assert np.abs(found.h - (plain.h - n * np.log(2))).max() <= radius + rounding < 1e-11
    assert found.cost_after == pytest.approx(plain.cost_after, rel=1e-12)
    assert found.log10_costs is not None and found.log10_costs[0] > 200


@pytest.mark.usefixtures("blocks")
def test_a_balanced_network_stays() -> None:
    """By hand: 12 weights of 2^-700, as much in as out at every unit; their squares are 2^-1400."""
    small = 2.0**-700
    network = with_weights(
        mlp([2, 3, 2], bias=False), fc1__weight=np.full((3, 2), small), fc2__weight=np.full((2, 3), -small)
    )
    found = solve(network, certify=True)
    assert found.status == "balanced" and np.all(found.h == 0) and found.imbalance == 0
    assert found.log10_costs == pytest.approx(
        [float(mpmath.log10(12) - 1400 * mpmath.log10(2))] * 2, rel=1e-14
    )
    assert found.certificate is not None and found.certificate.gap < 1e-24


# --- bridges that decide ----------------------------------------------------------------------------------


def bridged(k: int, there: float, back: float, *, visible: bool) -> Network:
    """Two groups of k units, and one weight from each to the other."""
    rng = np.random.default_rng(0)
    J = np.zeros((2 * k, 2 * k))
    J[:k, :k], J[k:, k:] = rng.uniform(0.5, 1, (k, k)), rng.uniform(0.5, 1, (k, k))
    J[k, k - 1], J[0, k] = there, back
    ends = {"W_in": np.eye(2 * k, 1), "W_out": np.eye(1, 2 * k)} if visible else {}
    return recurrent(J, **ends)


BRIDGES = {
    "one way": (1e-300, 1.0),
    "both ways": (1e-250, 1e-240),
    "beyond all sums": (1e-300, 1e-299),
    "beyond all sums, and far apart": (1e-307, 1e-270),
}


# Each way with four bridges or more, each bridge with three costs or in three ways.
@pytest.mark.parametrize(
    "how, name, visible, costs",
    some(itertools.product(["rows", "blocks", "large"], BRIDGES, [False, True], ["l2", "l1", "lp:3"]), 5),
)
def test_a_bridge_decides_however_small(
    name: str, visible: bool, costs: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against Newton's method in 2,500 digits, from the weights that came out."""
    if how != "rows":
        monkeypatch.setattr(solving, "BLOCKS", 1)
    if how == "large":
        monkeypatch.setattr(solving, "LARGE", 1)
    network = bridged(3, *BRIDGES[name], visible=visible)
    found = solve(network, costs, certify=how == "rows")
    assert found.status == "balanced" and found.dead_units == ()
    after = BalanceProblem.stated(found.network, costs)
    exact = optimum(after, np.zeros(after.count), set() if visible else {0}, 2500, 50)
    error = float(max(map(abs, exact)))
    assert error < 1e-11
    same_weights(infer(found.network).rescale(-found.h), network, rtol=1e-12)
    if how == "rows":
        assert found.certificate is not None and error <= (found.certificate.radius or 0) < 1e-12


TINY: dict[str, tuple[Network, list[list[float]], list[list[float]]]] = {
    # what W_in and W_out become: the square root of their product
    "units without common weights": (
        with_weights(
            mlp([1, 2, 1], bias=False), fc1__weight=[[1e300], [1e-300]], fc2__weight=[[1e300, 1e-300]]
        ),
        [[1e300], [1e-300]],
        [[1e300, 1e-300]],
    ),
    "subnormal in, vast out": (
        with_weights(mlp([1, 2, 1], bias=False), fc1__weight=[[1e-310], [1]], fc2__weight=[[1e300, 1]]),
        [[1e-5], [1]],
        [[1e-5, 1]],
    ),
    "a tiny unit beside one of 1": (
        with_weights(mlp([1, 2, 1], bias=False), fc1__weight=[[1], [1e-305]], fc2__weight=[[4, 1e-295]]),
        [[2], [1e-300]],
        [[2, 1e-300]],
    ),
}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("how", ["rows", "blocks", "large"])
def test_units_far_below_all_others_by_hand(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, into, out = TINY[name]
    if how != "rows":
        monkeypatch.setattr(solving, "BLOCKS", 1)
    if how == "large":
        monkeypatch.setattr(solving, "LARGE", 1)
    found = solve(network, certify=True)
    assert (found.status, found.dead_units, found.witness) == ("balanced", (), None)
    np.testing.assert_allclose(found.network.numbers("fc1.weight"), into, rtol=1e-11)
    np.testing.assert_allclose(found.network.numbers("fc2.weight"), out, rtol=1e-11)


@pytest.mark.parametrize("k", [60, pytest.param(700, marks=pytest.mark.slow)])
def test_bridges_of_large_networks(k: int) -> None:
    """Between two groups the bridges balance each other: both become the mean of what they are in logs."""
    found = solve(bridged(k, 1e-300, 1e-296, visible=False))
    assert found.status == "balanced" and found.cut_imbalance is not None and found.cut_imbalance < 1e-13
    J = found.network.numbers("J")
    assert J[k, k - 1] == pytest.approx(J[0, k], rel=1e-12)
    # Groups are balanced without the bridges as well, and the product of both is kept around the cycle.
    alone = solve(recurrent(bridged(k, 0.0, 0.0, visible=False).numbers("J")[:k, :k]))
    other = solve(recurrent(bridged(k, 0.0, 0.0, visible=False).numbers("J")[k:, k:]))
    gain = np.exp(other.h[0] - alone.h[k - 1] + alone.h[0] - other.h[0])
    assert J[k, k - 1] * J[0, k] / 1e-298 == pytest.approx(gain * 1e-298, rel=1e-11)


def test_many_units_far_below_all_others() -> None:
    """Each of 200 units by itself: as much comes in as goes out, in sums of logarithms of 700 bits."""
    network = mlp([60, 400, 60, 10], seed=2)
    half = {t.name: network.numbers(t.name).copy() for t in network.parameters}
    half["fc1.weight"][:200] *= 1e-300
    half["fc1.bias"][:200] *= 1e-300
    half["fc2.weight"][:, :200] *= 1e-300
    found = solve(network.with_parameters(half))
    assert found.status == "balanced" and found.dead_units == () and found.method.endswith("groups apart")
    after = {t.name: found.network.numbers(t.name) for t in network.parameters}
    with mpmath.workdps(700):
        for k in (0, 1, 199):
            into = sum(mpmath.mpf(float(w)) ** 2 for w in [*after["fc1.weight"][k], after["fc1.bias"][k]])
            out = sum(mpmath.mpf(float(w)) ** 2 for w in after["fc2.weight"][:, k])
            assert 0 < out < mpmath.mpf(10) ** -580 and abs(into / out - 1) < 1e-11


# --- what is left out -------------------------------------------------------------------------------------


def test_what_is_left_out_is_counted_and_bounded() -> None:
    """Of a row 1, 1e-250 and another: the small one is in no sum, and what it may add is below rounding."""
    network = with_weights(mlp([2, 1, 1], bias=False), fc1__weight=[[1e200, 1e-250]], fc2__weight=[[1e-200]])
    far = Far.of(infer(network), Costs.parse("l2"))
    assert far is not None
    shift = far.shift()
    brought = far.brought(shift, far.unit(shift))
    problem = BlockProblem.build(brought.manifold, far_costs := Costs.parse("l2"))
    assert problem is not None and brought.dropped == 1 and far_costs.name == "l2"
    lost = brought.lost(problem)
    assert lost is not None and 0 < lost < 2.0**-60
    # The true share of what was dropped, in rationals.
    kept = [Fraction(float(x)) ** 2 for x in brought.manifold.network.numbers("fc1.weight").flat]
    scale = Fraction(2) ** int(2 * (shift[0] + brought.unit))
    assert kept[1] == 0 and Fraction(1e-250) ** 2 * scale <= Fraction(lost) * kept[0]


def test_more_than_rounding_is_no_certificate() -> None:
    """A problem whose sums may lack a thousandth is certified no better than that."""
    network = mlp([3, 5, 4, 2])
    state = solve(network).network
    problem = BlockProblem.build(infer(state), Costs.parse("l2"))
    assert problem is not None
    sure, less = certify_blocks(problem), certify_blocks(replace(problem, lost=1e-6))
    assert isinstance(sure, GapCertificate) and (sure.radius or 1) < 1e-13
    assert isinstance(less, NoCertificate) or 1e-7 < (less.radius or 0)


@pytest.mark.usefixtures("blocks")
def test_a_gap_too_small_to_be_sure_is_refused() -> None:
    """Ties that fall from 1 to nothing by small steps: no groups, and a name."""
    k = 60
    J = np.zeros((k, k))
    for i in range(k):
        J[(i + 1) % k, i] = J[i, (i + 1) % k] = 10.0 ** (-5 * min(i, k - 1 - i) * 2)
    with pytest.raises(RequestError, match=r"the cost of weight J\[\d+,\d+\] is too small"):
        solve(recurrent(J))


def test_large_is_refused_by_name() -> None:
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e200]], fc2__weight=[[1e190]])
    far = Far.of(infer(network), Costs.parse("l2"))
    assert far is not None
    with pytest.raises(RequestError, match=r"the cost of weight fc1.weight\[0,0\] is too large"):
        far.brought(np.zeros(1, np.int64), 0)


@pytest.mark.usefixtures("blocks")
def test_results_below_the_doubles_are_refused_by_name() -> None:
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e-323]], fc2__weight=[[1e-300]])
    with pytest.raises(RequestError, match=r"fc1.weight\[0,0\] would come to lie below the range of doubles"):
        solve(network)


@pytest.mark.usefixtures("blocks")
def test_scales_that_are_left_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any sweep of `prescale` all of the 900 binary orders are left for the powers of two."""
    monkeypatch.setattr(Far, "shift", lambda self: np.full(1, -300))
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[2.0**600]], fc2__weight=[[2.0**-300]])
    found = solve(network)
    assert (
        found.factors is not None and found.factors[0].tolist() == [-450] and abs(found.factors[1][0]) < 1e-12
    )
    monkeypatch.setattr(taking, "_ROUNDS", 1)
    with pytest.raises(RequestError, match="is too small"):
        solve(network)


# --- weights that nothing moves ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["blocks", "large"])
def test_what_nothing_moves_may_be_of_any_size(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 1e200 in and 1e-100 out meet at 1e50; the unit's weight to itself and one from input to output
    stay what they are, and count."""
    monkeypatch.setattr(solving, "BLOCKS", 1)
    if how == "large":
        monkeypatch.setattr(solving, "LARGE", 1)
    network = recurrent([[1e300]], W_in=[[1e200]], W_out=[[1e-100]])
    found = solve(network)
    assert found.status == "balanced" and found.factors is not None
    np.testing.assert_allclose(found.network.numbers("W_in"), 1e50, rtol=1e-12)
    assert found.network.numbers("J")[0, 0] == 1e300
    assert found.log10_costs == pytest.approx((600, 600), rel=1e-14)


@pytest.mark.parametrize("how", ["rows", "blocks", "large"])
def test_dead_units_beside_far_ones(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how != "rows":
        monkeypatch.setattr(solving, "BLOCKS", 1)
    if how == "large":
        monkeypatch.setattr(solving, "LARGE", 1)
    network = mlp([2, 4, 3, 2], seed=3)
    second = network.numbers("fc2.weight").copy()
    second[:, 1:3] = 0.0
    far, _ = wild(with_weights(network, fc2__weight=second), 0, 400)
    found = solve(far)
    assert found.status == "unattained" and found.dead_units == ("fc1[1]", "fc1[2]")
    assert found.witness in ({"fc1[1]": "-1"}, {"fc1[2]": "-1"})
    less = np.delete(network.numbers("fc1.weight"), [1, 2], 0), np.delete(network.numbers("fc1.bias"), [1, 2])
    alive = with_weights(mlp([2, 2, 3, 2], seed=3), fc1__weight=less[0], fc1__bias=less[1],
                         fc2__weight=np.delete(second, [1, 2], 1),
                         **{f"{n.replace('.', '__')}": network.numbers(n)
                            for n in ("fc2.bias", "fc3.weight", "fc3.bias")})  # fmt: skip
    small = solve(alive).network
    np.testing.assert_allclose(
        np.abs(found.network.numbers("fc2.weight")[:, [0, 3]]),
        np.abs(small.numbers("fc2.weight")),
        rtol=1e-11,
    )


# --- the weights as they are ------------------------------------------------------------------------------

FACTS: dict[str, Callable[[], Network]] = {
    "mlp": lambda: spread(mlp([3, 4, 3, 2]), 200),
    "recurrent": lambda: spread(dense(6), 250),
    "in range": lambda: mlp([3, 4, 3, 2]),
    "subnormal": lambda: spread(mlp([2, 3, 2]), 320),
}


@pytest.mark.parametrize("costs", ["l2", "lp:1.5", "fc2.weight=l1"])
@pytest.mark.parametrize("name", FACTS)
def test_measured_against_mpmath(name: str, costs: str) -> None:
    network = FACTS[name]()
    network = network.with_parameters(
        {t.name: np.minimum(network.numbers(t.name), 1e308) for t in network.parameters}
    )
    if costs.startswith("fc2") and "fc2.weight" not in network.tensors:
        costs = "l2"
    far = Far.of(infer(network), Costs.parse(costs))
    assert far is not None
    cost, imbalances = measured(far)
    problem = BalanceProblem.stated(network, costs)
    rows = problem.A.toarray()
    with mpmath.workdps(700):
        powers = {
            i: mpmath.mpf(float(p)) for r, part in problem.groups
            for _, p in r.terms or () for i in range(part.start, part.stop)
        }  # fmt: skip
        m = [mpmath.mpf(float(w)) ** powers[i] for i, w in enumerate(problem.weights)]
        assert float(mpmath.log10(sum(m))) == pytest.approx(cost.log10(), rel=1e-13, abs=1e-13)
        for k in range(problem.count):
            own = [c * powers[i] * m[i] for i, c in enumerate(map(float, rows[:, k])) if c]
            exact = abs(sum(own)) / sum(abs(x) for x in own)
            assert imbalances[k] == pytest.approx(float(exact), abs=1e-13)


@pytest.mark.parametrize("p", [2.0, 1.5])
def test_largest_costs_of_units_come_close(p: float) -> None:
    for name, (network, _) in KNOWN.items():
        far, _ = wild(network, 1, 400)
        found = Far.of(infer(far), Costs.parse(f"lp:{p}"))
        assert found is not None
        n = found.shift()
        assert n.any() and not (n % infer(far).whole).any(), name
        near = BalanceProblem.stated(by_powers(far, n), f"lp:{p}")
        columns = near.A.toarray()
        for k in range(near.count):
            own = [np.log2(near.weights[columns[:, k] * s > 0].max()) for s in (1, -1)]
            assert abs(own[0] - own[1]) < 300


# --- check ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["rows", "large"])
def test_check_of_far_networks(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "large":
        monkeypatch.setattr(solving, "BLOCKS", 1)
        monkeypatch.setattr(solving, "LARGE", 1)
    far, _ = wild(KNOWN["mlp"][0], 0, 400)
    after = solve(far).network
    assert measure(after, Costs.parse("l2"))[1].max() < 1e-12
    assert measure(far, Costs.parse("l2"))[1].max() > 0.9
    found = check(far, after)
    assert found.ok
    worse = check(far, far)
    assert not worse.ok and (worse.optimality_gap is None or worse.optimality_gap > 1e100)


def test_a_far_state_is_certified_as_optimal() -> None:
    """All weights of a balanced network times 1e-200, whose squares are no doubles."""
    state = solve(mlp([3, 4, 3, 2])).network
    tiny = state.with_parameters({t.name: state.numbers(t.name) * 1e-200 for t in state.parameters})
    for large_ in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if large_:
                patch.setattr(solving, "BLOCKS", 1)
                patch.setattr(solving, "LARGE", 1)
            seen = judged.judge(infer(tiny), Costs.parse("l2"))
            assert seen.far == large_ and seen.imbalance < 1e-12
            found = seen.optimality(1e-6, balanced=True)
            assert found.certified and found.fault is None and (found.gap or 1) < 1e-9


def test_wide_parts_are_joined() -> None:
    parts = [wide.Wide(np.array([1.0, 3.0]), np.array([2000, 0])), wide.Wide(np.array(0.5), np.array(2001))]
    joined = ranged.joined([replace(p, value=np.atleast_1d(p.value), exponent=np.atleast_1d(p.exponent))
                            for p in parts])  # fmt: skip
    total: Any = joined.total()
    assert total.value * 2.0 ** (int(total.exponent) - 2000) == 2.0
