"""Weakly tied groups: balance of their cuts, against states found in 600 bits from the raw weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from flint import arb, arb_mat, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from balproof.balance import clusters as room
from balproof.balance import elimination
from balproof.balance.certificates.gap import NoCertificate
from balproof.balance.clusters import Cuts, Digraph, Edges, cut_imbalance
from balproof.balance.direct import direct
from balproof.balance.multilevel import multilevel
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import BALANCED, _in_balls, solve
from balproof.importers import load
from balproof.network.graph import Network
from tests.balance.samples import at, dense, raw, recurrent
from tests.networks import called_twice, mlp
from tests.sweeps import slow_but

Array = np.ndarray

Flow = tuple[int, int, float]
"""(from, to, |w|) between units; 0 is the outside."""


# --- the oracle -------------------------------------------------------------------------------------------


def flows(network: Network) -> tuple[int, list[Flow]]:
    """How many units, and the weights between them: of a recurrent network or a perceptron."""
    w = raw(network)
    found: list[Flow] = []
    if "J" in w:
        n = len(w["J"])
        found += [(j + 1, i + 1, w["J"][i, j]) for i in range(n) for j in range(n) if i != j]
        found += [(0, i + 1, x) for i, row in enumerate(w.get("W_in", np.zeros((n, 0)))) for x in row]
        found += [(j + 1, 0, x) for row in w.get("W_out", np.zeros((0, n))) for j, x in enumerate(row)]
        return n, [f for f in found if f[2]]
    depth = sum(name.endswith("weight") for name in w)
    first = [0, *np.cumsum([len(w[f"fc{i}.weight"]) for i in range(1, depth)]).tolist()]
    for i in range(1, depth + 1):
        for r, row in enumerate(w[f"fc{i}.weight"]):
            head = 0 if i == depth else first[i - 1] + r + 1
            found += [(0 if i == 1 else first[i - 2] + c + 1, head, x) for c, x in enumerate(row)]
            if head and f"fc{i}.bias" in w:
                found.append((0, head, w[f"fc{i}.bias"][r]))
    return first[-1], [f for f in found if f[2]]


def error(network: Network, h: Array, bits: int = 600) -> float:
    """How far h is from the balanced state of Σ (w e^{h_to − h_from})², found by Newton's method in ``bits``.

    Without visible units all is measured from unit 1. The state is balanced to 1e-30 of the flow of each unit
    and convexity makes it the only one.
    """
    n, found = flows(network)
    pinned = 0 if any(0 in f[:2] for f in found) else 1
    places = [k for k in range(n + 1) if k and k != pinned]
    at_row = {k: i for i, k in enumerate(places)}
    with ctx.workprec(bits):
        own = h - (h[pinned - 1] if pinned else 0.0)
        x = {k: arb(float(own[k - 1])) if k and k != pinned else arb(0) for k in range(n + 1)}
        start = dict(x)
        costs = [(i, j, arb(float(w)) ** 2) for i, j, w in found]
        for _ in range(150):
            gradient, scale = [arb(0)] * len(places), [arb(0)] * len(places)
            hessian = arb_mat(len(places), len(places))
            for i, j, c in costs:
                now = c * (2 * (x[j] - x[i])).exp()
                for k, sign in ((j, 1), (i, -1)):
                    if k in at_row:
                        r = at_row[k]
                        gradient[r] += sign * now
                        scale[r] += now
                        hessian[r, r] += 2 * now
                if i in at_row and j in at_row:
                    hessian[at_row[i], at_row[j]] -= 2 * now
                    hessian[at_row[j], at_row[i]] -= 2 * now
            move = hessian.solve(arb_mat([[-g] for g in gradient]))
            for k, r in at_row.items():
                x[k] = (x[k] + move[r, 0]).mid()
            if all(abs(move[r, 0]) < arb(2) ** (-bits // 4) for r in range(len(places))):
                assert all(abs(g) < arb(10) ** -30 * s for g, s in zip(gradient, scale, strict=True))
                return float(max((abs(x[k] - start[k]) for k in places), default=arb(0)).upper())
    raise AssertionError("the oracle did not converge")


# --- networks ---------------------------------------------------------------------------------------------


def two(there: float, back: float, n: int = 4, *, visible: bool = False) -> Network:
    """Two dense groups, tied by one weight each way."""
    rng = np.random.default_rng(0)
    w = np.kron(np.eye(2), np.ones((n, n))) * np.exp(rng.standard_normal((2 * n, 2 * n)))
    np.fill_diagonal(w, 0)
    w[0, n + 1], w[n + 2, 3] = there, back
    if not visible:
        return recurrent(w)
    first = np.eye(2 * n)[:, :1]
    return recurrent(w, W_in=3 * first, W_out=first.T)


def ring(groups: int = 10, n: int = 4, tie: float = 1e-4) -> Network:
    """Dense groups in a ring; each is tied to the next, both ways."""
    rng = np.random.default_rng(1)
    w = np.kron(np.eye(groups), np.ones((n, n))) * np.exp(rng.standard_normal((groups * n, groups * n)))
    np.fill_diagonal(w, 0)
    for i in range(groups):
        j = (i + 1) % groups
        w[i * n, j * n + 1] = tie * np.exp(rng.standard_normal())
        w[j * n, i * n + 1] = tie * np.exp(rng.standard_normal())
    return recurrent(w)


def subnets(depth: int, *, width: int = 2, tie: float = 1e-3) -> Network:
    """Four perceptrons side by side, the weights between them smaller by a factor."""
    network = mlp([4 * width] * (depth + 1), bias=False)
    own = np.kron(np.eye(4), np.ones((width, width)))
    return network.with_parameters(
        {t.name: network.numbers(t.name) * np.where(own, 1, tie) for t in network.parameters}
    )


def grid(n: int) -> Network:
    rng = np.random.default_rng(0)
    w = np.zeros((n * n, n * n))
    for i in range(n * n):
        for j in [i + 1] * ((i + 1) % n > 0) + [i + n] * (i + n < n * n):
            w[i, j], w[j, i] = np.exp(rng.standard_normal(2))
    return recurrent(w)


def nested(seed: int) -> Network:
    """Pairs in threes in threes; each level is tied more weakly than the one below, by 2 to 20 decades."""
    rng = np.random.default_rng(seed)
    size = [2, 6, 18, 18]
    tie = np.array([1.0, *10.0 ** -np.cumsum(rng.uniform(2, 20, 2))])
    i, j = np.indices((18, 18))
    level = np.argmax([i // s == j // s for s in size], axis=0).clip(max=2)
    w = tie[level] * np.exp(2 * rng.standard_normal((18, 18))) * ((level == 0) | (rng.random((18, 18)) < 0.5))
    np.fill_diagonal(w, 0)
    return recurrent(w)


TIED: dict[str, Callable[[], Network]] = {
    "two groups": lambda: two(1e-30, 1e-6),
    "two groups, one of them visible": lambda: two(1e-30, 1e-6, visible=True),
    "the other way": lambda: two(1e-3, 1e-60),
    "ring": ring,
    "subnets": lambda: subnets(6),
    "nested": lambda: nested(0),
    "nested, other seed": lambda: nested(5),
}


def cuts(problem: BalanceProblem, h: Array) -> float:
    found = cut_imbalance(problem, h)
    assert found is not None
    return found


# --- solving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TIED)
def test_solve_finds_the_state_and_certifies_it(name: str) -> None:
    network = TIED[name]()
    found = solve(network, certify=True)
    assert found.status == "balanced" and found.cut_imbalance is not None and found.cut_imbalance <= BALANCED
    assert error(network, found.h) < 1e-10
    assert found.passes <= 50
    assert found.certificate is not None and found.certificate.radius is not None
    assert error(found.network, np.zeros(len(found.h))) <= found.certificate.radius < 1e-10


@pytest.mark.parametrize("method", [direct, newton, multilevel])
@pytest.mark.parametrize("name", ["two groups", "ring", "nested"])
def test_every_fast_method_sees_the_cuts(name: str, method: Any) -> None:
    network = TIED[name]()
    problem = BalanceProblem.build(network)
    found = method(problem)
    assert found.imbalance <= 1e-13 and cuts(problem, found.h) <= 1e-13
    assert error(network, found.h) < 1e-10


HARD: dict[str, Callable[[], Network]] = {
    "heavy tails": lambda: mlp([8] * 31, bias=False, spread=6),
    "narrow": lambda: mlp([2] * 51),
    "deep": lambda: mlp([3] * 1001, bias=False),
    "subnets": lambda: subnets(20, width=4),
}


@pytest.mark.parametrize("name", slow_but(HARD, "heavy tails", "narrow", "subnets"))
def test_hard_networks_take_few_passes(name: str) -> None:
    found = solve(HARD[name]())
    assert found.status == "balanced" and found.passes <= 50


@pytest.mark.slow
@pytest.mark.parametrize("network", [mlp([8] * 31, bias=False, spread=6), grid(15)], ids=["tails", "grid"])
def test_larger_networks_against_600_bits(network: Network) -> None:
    found = solve(network, certify=True)
    assert found.passes <= 50 and error(network, found.h) < 1e-10
    assert found.certificate is not None and found.certificate.radius is not None
    assert error(found.network, np.zeros(len(found.h))) <= found.certificate.radius


def test_a_grid_of_900_units() -> None:
    found = solve(grid(30))
    assert found.status == "balanced" and found.passes <= 50


def test_what_sees_no_cuts_is_not_believed() -> None:
    """Plain sweeps balance all units of the two groups, and leave h wrong by 28."""
    found = solve(TIED["two groups"](), method="sweeps", certify=True)
    assert found.imbalance <= BALANCED and found.status == "unconverged"
    assert found.cut_imbalance == pytest.approx(1, abs=1e-6)
    assert error(TIED["two groups"](), found.h) > 20
    assert found.certificate is not None and (found.certificate.radius or 0.0) > 20


def test_other_degrees_and_several_powers() -> None:
    """Two chains of degree 2 side by side, with faint weights between them."""
    network = mlp([2, 2, 2, 2], bias=False, activation="Max(x,0)**2")
    faint = {t.name: network.numbers(t.name) * np.where(np.eye(2), 1, 1e-9) for t in network.parameters}
    for spec in ("l2", "abs(w) + w**2/10"):
        problem = BalanceProblem.build(network.with_parameters(faint), spec)
        graph = Digraph.of(problem)
        assert graph is not None
        assert graph.stretch.tolist() == pytest.approx([1, 1, 2, 2]) or graph.stretch[-1] == pytest.approx(2)
        h = direct(problem).h
        assert problem.imbalance(h) <= 1e-13
        np.testing.assert_allclose(problem.A @ h, problem.A @ newton(problem).h, atol=1e-9)


# --- groups and cuts --------------------------------------------------------------------------------------


def test_cut_imbalance_by_hand() -> None:
    """Pairs tied by costs 1e-16 and 9e-16: |1 − 9|/(1 + 9)."""
    ties = [[0, 1, 1e-8, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 3e-8, 1, 0]]
    problem = BalanceProblem.build(recurrent(ties))
    assert cut_imbalance(problem, np.zeros(4)) == pytest.approx(0.8, rel=1e-12)
    # by hand: e^{2t}/e^{-2t} = 9 with t between the pairs
    t = np.log(9) / 4
    assert cuts(problem, np.array([t, t, 0, 0])) < 1e-14


def test_levels_are_the_groups_by_hand() -> None:
    """Pairs of weight 1, tied in pairs by 1e-3, these by 1e-9: 8, then 4 groups, then 2."""
    w = np.zeros((8, 8))
    for i, j, x in [(0, 1, 1), (2, 3, 1), (4, 5, 1), (6, 7, 1), (1, 2, 1e-3), (5, 6, 1e-3), (3, 4, 1e-9)]:
        w[i, j] = w[j, i] = x
    problem = BalanceProblem.build(recurrent(w))
    graph = Digraph.of(problem)
    assert graph is not None
    groups = Cuts.of(graph.edges(problem.weights)).composed()
    parts = [
        {frozenset(np.flatnonzero(label == k).tolist()) for k in set(label.tolist())} for label in groups
    ]
    pairs = [{1, 2}, {3, 4}, {5, 6}, {7, 8}]
    assert parts[0] == {frozenset(p) for p in [{0}, *pairs]}
    assert parts[1] == {frozenset(p) for p in [{0}, {1, 2, 3, 4}, {5, 6, 7, 8}]}
    assert parts[2] == {frozenset(p) for p in [{0}, set(range(1, 9))]}


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_contracted_flows_are_sums_over_the_weights_that_cross(seed: int) -> None:
    """Against sums over the matrix by a mask."""
    rng = np.random.default_rng(seed)
    n = 8
    w = np.exp(3 * rng.standard_normal((n, n)))
    np.fill_diagonal(w, 0)
    problem = BalanceProblem.build(recurrent(w))
    graph = Digraph.of(problem)
    assert graph is not None
    label = np.concatenate([[0], rng.integers(1, 4, n)])
    label = np.unique(label, return_inverse=True)[1].ravel()
    small = graph.edges(problem.weights).contracted(label)
    for i, j, c in zip(small.tail, small.head, small.cost, strict=True):
        inside = np.outer(label[1:] == j, label[1:] == i)
        assert i != j and c == pytest.approx(np.sum(w[inside] ** 2), rel=1e-12)
    assert np.sum(small.cost) == pytest.approx(np.sum(w[label[1:, None] != label[None, 1:]] ** 2), rel=1e-12)


def test_what_is_no_directed_graph() -> None:
    for problem in (
        BalanceProblem.build(called_twice()),  # three scales at a weight
        BalanceProblem.build(mlp([2, 3, 2]), "log(1 + w**2)"),  # no power
    ):
        assert Digraph.of(problem) is None and cut_imbalance(problem, np.zeros(problem.count)) is None
    assert solve(called_twice()).cut_imbalance is None


def test_nothing_that_moves() -> None:
    problem = BalanceProblem.build(mlp([2, 2]))
    assert cut_imbalance(problem, np.zeros(0)) == 0


# --- elimination ------------------------------------------------------------------------------------------


def test_elimination_keeps_what_subtraction_loses() -> None:
    """A triangle tied to the outside by 1e-30: by hand it sits where the source puts it."""
    tail, head = np.array([1, 2, 1, 1]), np.array([2, 3, 3, 0])
    g, b = np.array([1.0, 1, 1, 1e-30]), np.array([0.0, 0, 0, 2e-30])
    np.testing.assert_allclose(elimination.eliminate(tail, head, g, b, 4), [0, 2, 2, 2], rtol=1e-15)
    assert np.linalg.cond(equations(tail, head, g, b, 4)[0]) > 1e15  # a factorisation has no digit left


def equations(tail: Array, head: Array, g: Array, b: Array, n: int) -> tuple[Array, Array]:
    """The definition: Σ_j G_ij (t_i − t_j) = Σ_j B_ij for the nodes but 0."""
    laplacian, right = np.zeros((n, n)), np.zeros(n)
    for i, j, x, y in zip(tail, head, g, b, strict=True):
        laplacian[i, i] += x
        laplacian[j, j] += x
        laplacian[i, j] -= x
        laplacian[j, i] -= x
        right[i] += y
        right[j] -= y
    return laplacian[1:, 1:], right[1:]


@given(st.integers(0, 10**6))
@settings(max_examples=50)
def test_elimination_solves_the_equations(seed: int) -> None:
    """Of random edges, parallel ones and loops among them, of narrow and of wide bands."""
    rng = np.random.default_rng(seed)
    n, reach = int(rng.integers(2, 12)), int(rng.integers(1, 12))
    tail = rng.integers(0, n, 30)
    head = np.clip(tail + rng.integers(-reach, reach + 1, 30), 0, n - 1)
    tail, head = np.append(tail, np.zeros(n, int)), np.append(head, np.arange(n))
    g, b = np.exp(rng.standard_normal(len(tail))), rng.standard_normal(len(tail))
    found = elimination.eliminate(tail, head, g, b, n)
    np.testing.assert_allclose(
        found[1:], np.linalg.solve(*equations(tail, head, g, b, n)), rtol=1e-9, atol=1e-11
    )
    tiny = 2.0**-700  # the products of two of them are 0
    assert np.array_equal(elimination.eliminate(tail, head, tiny * g, tiny * b, n), found)


def test_labels_of_32_bits_number_many_groups() -> None:
    """SciPy's are, and the key of an edge is as large as the square of the number of groups."""
    n = 100_000
    label = np.arange(n, dtype=np.int32)
    tail, head = np.arange(n - 1), np.arange(1, n)
    found = Edges(n, tail, head, np.full(n - 1, 2.0), np.arange(1.0, n)).contracted(label)
    assert found.count == n
    assert np.array_equal(found.tail, tail) and np.array_equal(found.head, head)
    assert np.array_equal(found.cost, np.arange(1.0, n))


def test_where_the_elimination_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors take its place, and the groups are balanced in between."""
    network = TIED["ring"]()
    problem = BalanceProblem.build(network)
    monkeypatch.setattr(elimination, "_WORK", 2_000)  # too little for 40 units, enough for their groups
    graph = Digraph.of(problem)
    assert graph and elimination.order(graph.tail, graph.head, problem.count + 1) is None
    eliminated: list[int] = []
    once = elimination.eliminate

    def watched(*args: Any) -> Any:
        eliminated.append(args[-1])
        return once(*args)

    monkeypatch.setattr(elimination, "eliminate", watched)
    found = direct(problem)
    assert eliminated and max(eliminated) < problem.count
    assert error(network, found.h) < 1e-12 and cuts(problem, found.h) <= 1e-13


def test_a_group_that_is_left_out_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault of taking no group at all: everything looks balanced, and the oracle says it is not."""
    monkeypatch.setattr(room, "_grouped", lambda edges: None)
    network = TIED["two groups"]()
    found = multilevel(BalanceProblem.build(network))
    assert found.imbalance <= 1e-13 and error(network, found.h) > 20


# --- the radius in many bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e-3])
def test_the_radius_holds_the_true_distance(size: float) -> None:
    network = TIED["two groups"]()
    problem = BalanceProblem.build(network)
    h = direct(problem).h + size * np.random.default_rng(0).standard_normal(problem.count)
    state = at(problem, h)
    radius = _in_balls(BalanceProblem.build(state))
    true = error(state, np.zeros(problem.count))
    assert isinstance(radius, float) and true <= radius < true * (1 + 1e-6)


def test_a_radius_far_from_balance_and_none_for_many_scales() -> None:
    network = TIED["two groups"]()
    far = _in_balls(BalanceProblem.build(network))
    true = error(network, np.zeros(BalanceProblem.build(network).count))
    assert isinstance(far, float) and true <= far < true * (1 + 1e-6)
    found = _in_balls(BalanceProblem.build(dense(130)))
    assert isinstance(found, NoCertificate) and "too many" in found.reason


def test_edges_far_apart_do_not_overflow() -> None:
    """Costs 1e-280 and 1e280 about one unit: exp of the step alone is beyond doubles."""
    edges = Edges(2, np.array([0, 1]), np.array([1, 0]), np.full(2, 2.0), np.array([1e-280, 1e280]))
    found = elimination.balanced_shift(edges.tail, edges.head, edges.rate, edges.cost, 2, 1e-15)
    assert found is not None
    assert found[0][1] == pytest.approx(280 * np.log(10) / 2, rel=1e-14)
    assert edges.shifted(found[0]).cost == pytest.approx([1, 1], rel=1e-11)


def test_loaded_weights_of_one_file_are_enough() -> None:
    """From Python as from a file: the field is in the JSON of solve."""
    answer = solve(load({"J": np.array([[0, 2.0], [3.0, 0]])})).as_json()
    assert answer["cut_imbalance"] == 0.0


@pytest.mark.parametrize("power", [-900, 900])
def test_elimination_where_products_of_two_costs_overflow(power: int) -> None:
    tail, head = np.array([0, 1, 2, 3, 1, 2]), np.array([1, 2, 3, 1, 3, 0])
    g, b = np.array([2.0, 3, 1, 4, 2, 5]), np.array([1.0, -2, 3, 1, -5, 2])
    expected = elimination.eliminate(tail, head, g, b, 4)
    found = elimination.eliminate(tail, head, np.ldexp(g, power), np.ldexp(b, power), 4)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("tie", [1e-150, 1e-200])
def test_groups_tied_by_weights_whose_costs_are_brought_into_range(tie: float) -> None:
    """Each group moves as one: between them all weights end as √(tie·3 tie), to rounding."""
    matrix = np.exp(np.random.default_rng(0).standard_normal((10, 10)))
    matrix[:5, 5:] = matrix[5:, :5] = 0
    matrix[0, 5], matrix[5, 0] = 3 * tie, tie
    found = solve({"J": matrix})
    assert found.status == "balanced"
    after = found.network.numbers("J")
    np.testing.assert_allclose(after[[0, 5], [5, 0]], np.sqrt(3) * tie, rtol=1e-12)


def test_gap_of_many_weights_in_groups_too_weakly_tied_for_a_box() -> None:
    """By blocks: what flows between the groups, 1e-16, is below the rounding of the sums of their units."""
    m = 102
    matrix = np.exp(np.random.default_rng(0).standard_normal((2 * m, 2 * m)))
    matrix[:m, m:] = matrix[m:, :m] = 0
    matrix[0, m], matrix[m, 0] = 3e-8, 1e-8
    found = solve(sparse.csr_array(matrix), certify=True)
    assert found.status == "balanced"
    assert found.certificate is not None and found.certificate.gap < 1e-20
    assert found.certificate.radius is None and "rounding" in str(found.certificate.no_radius)
    assert solve({"J": matrix}, method="newton").cost_after == pytest.approx(found.cost_after, rel=1e-13)


@pytest.mark.parametrize("seed", range(4))
def test_what_trees_hang_on_is_the_core_of_networkx(seed: int) -> None:
    graph = nx.gnm_random_graph(60, 65, seed=seed)
    matrix = sparse.csr_array(nx.to_scipy_sparse_array(graph, format="csr"))
    for own in (matrix, matrix + sparse.eye_array(60)):
        left = elimination._core(own.indptr, own.indices)
        assert set(np.flatnonzero(left).tolist()) == set(nx.k_core(graph, 2))


def test_a_wide_tree_is_balanced_by_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: along a tree both weights between two units become √(w w′), whatever all others are."""
    monkeypatch.setattr(elimination, "WIDEST", 300)
    n = 12_001
    child = np.arange(1, n)
    parent = (child - 1) // 2
    down, up = np.exp(np.random.default_rng(0).standard_normal((2, n - 1)))
    places = np.append(parent, child), np.append(child, parent)
    found = solve(sparse.coo_array((np.append(down, up), places), (n, n)).tocsr(), certify=True)
    assert found.status == "balanced" and found.certificate is not None
    assert found.cost_after == pytest.approx(2 * down @ up, rel=1e-13)
