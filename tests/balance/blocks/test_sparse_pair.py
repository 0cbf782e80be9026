"""Sparse recurrent matrices: small ones as their dense form, large ones by hand, SciPy and each other."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from balproof.balance import solve as solving
from balproof.balance.blocks.curvature import Curvature
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.blocks.sparse_pair import SparsePair
from balproof.balance.certificates import isotone
from balproof.balance.certificates.gap import GapCertificate, NoCertificate
from balproof.balance.certificates.isotone import certify_blocks
from balproof.balance.colouring import coloured
from balproof.balance.components import walks
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import METHODS, Solution, solve
from balproof.errors import BalproofError, RequestError
from balproof.importers import load
from balproof.network.manifold import infer
from balproof.network.peeling import dead_scales

Array = np.ndarray


def random(n: int, degree: int, seed: int = 0, spread: float = 1.0) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    at, w = rng.integers(0, n, (2, n * degree)), np.exp(spread * rng.standard_normal(n * degree))
    return sp.coo_array((w * rng.choice([-1, 1], len(w)), tuple(at)), shape=(n, n)).tocsr()


def listed(tail: Array, head: Array, n: int, seed: int = 0) -> sp.csr_array:
    w = np.exp(np.random.default_rng(seed).standard_normal(len(tail)))
    return sp.coo_array((w, (head, tail)), shape=(n, n)).tocsr()


def ring(n: int) -> sp.csr_array:
    return listed(np.arange(n), (np.arange(n) + 1) % n, n)


def answer(model: Any, **how: Any) -> dict[str, object] | str:
    try:
        found = solve(model, **how)
    except BalproofError as refused:
        return str(refused)
    return {**found.as_json(), "seconds": 0, "h": found.h.tolist(), "history": found.history}


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.booleans())
def test_a_small_matrix_has_the_answers_of_its_dense_form(seed: int, method: Any, certify: bool) -> None:
    same_as_dense(seed, method, certify)


@pytest.mark.slow
@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.booleans())
def test_many_small_matrices_have_the_answers_of_their_dense_forms(
    seed: int, method: Any, certify: bool
) -> None:
    same_as_dense(seed, method, certify)


def same_as_dense(seed: int, method: Any, certify: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 25))
    count = int(rng.integers(1, 4 * n + 1))
    w = rng.standard_normal(count) * (rng.random(count) < 0.9)
    J = sp.coo_array((w, tuple(rng.integers(0, n, (2, count)))), shape=(n, n))
    rest: dict[str, Any] = {"activation": rng.choice(["relu", "Max(x, 0)**2", "tanh"], p=[0.8, 0.1, 0.1])}
    for name, shape in (("W_in", (n, 2)), ("b", (n,)), ("W_out", (2, n))):
        if rng.random() < 0.4:
            rest[name] = rng.standard_normal(shape) * (rng.random(shape) < 0.7)
    how = {"method": method, "certify": certify}
    assert answer({"J": J, **rest}, **how) == answer({"J": J.toarray(), **rest}, **how)


def test_a_difference_to_the_dense_form_is_seen() -> None:
    J = random(6, 2)
    other = J.copy()
    other.data[0] *= 1 + 1e-12
    assert answer(J) != answer(other.toarray())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 2.0, 1.7]))
def test_reads_are_those_of_the_dense_block(seed: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    J = random(n, 3, seed)
    costs = Costs.parse(f"lp:{power}")
    pairs = [BlockProblem.build(infer(load(m)), costs) for m in (J, J.toarray())]
    assert pairs[0] is not None and pairs[1] is not None
    (listed_pair,), (full,) = pairs[0].pairs, pairs[1].pairs
    assert isinstance(listed_pair, SparsePair) and not isinstance(full, SparsePair)
    lines = listed_pair.rows.unit  # lines without entries are left out
    e, y = np.exp(rng.standard_normal((2, n)))
    for own, other in zip(listed_pair.read(e[lines], y[lines]), full.read(e, y), strict=True):
        np.testing.assert_allclose(own, other[lines], rtol=1e-12)
    assert np.isclose(listed_pair.fixed, full.fixed, rtol=1e-12)
    into, out, inverse = np.zeros(n), np.zeros(n), np.full(n, 0.5 / power)
    states: list[tuple[Array, ...]] = []
    for pair, at in ((listed_pair, lines), (full, np.arange(n))):
        own_e, own_y, h = np.ones(len(at)), np.ones(len(at)), np.zeros(len(at))
        after = pair.read_loop(own_e, own_y)[2]
        found = pair.read_loop(own_e, own_y, (into[at], out[at], inverse[at], h, after))
        states.append((h, own_e, own_y, *found))
    for own, other in zip(*states, strict=True):
        np.testing.assert_allclose(own, other[lines], rtol=1e-11, atol=1e-14)


def balanced(J: sp.csr_array, found: Solution) -> float:
    """The largest imbalance of a unit that is not dead, by SciPy's sums, without the diagonal."""
    d = np.exp(found.h)
    after = sp.csr_array(sp.diags_array(d) @ J @ sp.diags_array(1 / d))
    after.setdiag(0)
    into, out = (np.asarray(after.multiply(after).sum(axis=axis)) for axis in (1, 0))
    active = ~np.isin(found.scales, found.dead_units)
    return float(np.max(np.abs(into - out)[active] / (into + out)[active]))


@pytest.mark.parametrize(
    ("method", "n"),
    [("auto", 1500), ("sweeps", 1500), ("newton", 1500), ("stochastic", 150)]
    + [pytest.param("stochastic", 1500, marks=pytest.mark.slow)],
)
def test_methods_agree_on_a_large_matrix(method: Any, n: int) -> None:
    J = random(n, 16, spread=0.5)
    found, reference = solve(J, method=method), solve(J)
    assert found.imbalance <= 1e-12 and balanced(J, found) <= 2e-12
    assert np.isclose(found.cost_after, reference.cost_after, rtol=1e-13)
    assert found.dead_units == reference.dead_units == infer(load(J)).dead_units


def test_few_reads_and_a_certified_radius() -> None:
    J = random(5_000, 20)
    found = solve(J, certify=True)
    assert found.status == "balanced" and balanced(J, found) <= 1e-12
    assert found.certificate is not None and found.certificate.radius is not None
    assert found.certificate.radius < 1e-7
    problem = BlockProblem.build(infer(load(J)), Costs.parse("l2"))
    assert problem is not None
    from balproof.balance.blocks.cyclic import sweeps

    assert sweeps(problem, tolerance=1e-10).passes <= 50


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(RequestError, match="no small factors: take the method auto or newton"):
        solve(random(8000, 4), method="direct")
    with pytest.raises(RequestError, match="exponential cones"):
        solve(random(8000, 4), method="cvxpy")


@pytest.mark.parametrize("n", [1_500, pytest.param(21_000, marks=pytest.mark.slow)])
def test_a_long_ring_is_balanced_by_factors(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All costs become their geometric mean."""
    monkeypatch.setattr(solving, "BLOCKS", 1_000)
    J = ring(n)
    found = solve(J)
    assert found.status == "balanced" and found.method == "block sweeps, direct"
    expected = n * np.exp(np.mean(np.log(J.data**2)))
    assert np.isclose(found.cost_after, expected, rtol=1e-10)


def grid(side: int, seed: int = 0) -> sp.csr_array:
    """Units of a square, tied to their neighbours in both directions by log-normal weights."""
    k = np.arange(side * side).reshape(side, side)
    i = np.concatenate([k[:-1].ravel(), k[:, :-1].ravel()])
    j = np.concatenate([k[1:].ravel(), k[:, 1:].ravel()])
    weights = np.exp(np.random.default_rng(seed).standard_normal(2 * len(i)))
    return sp.csr_array((weights, (np.concatenate([i, j]), np.concatenate([j, i]))), (side**2, side**2))


def test_a_wide_grid_is_balanced_and_certified_by_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few conjugate gradients alone find no direction there in which all slopes rise."""
    monkeypatch.setattr(isotone, "_ITERATIONS", 20)
    J = grid(80)
    found = solve(J, certify=True)
    assert found.status == "balanced" and found.certificate and found.certificate.radius is not None
    assert found.certificate.radius < 1e-8 and found.passes < 100
    costs = J.multiply(np.exp(found.h)[:, None]).multiply(np.exp(-found.h)[None, :]).power(2)
    into, out = costs.sum(axis=1), costs.sum(axis=0)
    assert np.max(np.abs(into - out) / (into + out)) < 1e-12
    # A state off by more than the radius is not certified to be as near as that.
    problem = BlockProblem.build(infer(load({"J": J})), Costs.parse("l2"))
    assert problem is not None
    moved = found.h + 1e-6 * np.random.default_rng(1).standard_normal(len(found.h))
    far = certify_blocks(problem, moved)
    assert isinstance(far, NoCertificate) or (far.radius or 0) > np.ptp(moved - found.h) / 2
    monkeypatch.setattr(Curvature, "_by_factors", lambda self: None)
    without = certify_blocks(problem, found.h)
    assert isinstance(without, NoCertificate) and "direction" in without.reason


def test_a_long_chain_is_dead_at_once() -> None:
    n = 21_000
    found = solve(listed(np.arange(n - 1), np.arange(1, n), n))
    assert len(found.dead_units) == n
    assert found.status == "unattained" and found.infimum == 0.0


def test_parts_that_nothing_ties_are_certified_each_with_one_scale_held() -> None:
    J = sp.csr_array(sp.block_diag([random(1500, 12, 1), random(1500, 12, 2)]))
    problem = BlockProblem.build(infer(solve(J).network), Costs.parse("l2"))
    assert problem is not None and problem.active.all()
    assert isinstance(certify_blocks(problem), GapCertificate)


def test_weights_between_components_fall_to_nothing() -> None:
    """Two parts that are balanced each for itself, and a hundred weights from one to the other."""
    one, other = random(900, 12, 1), random(900, 12, 2)
    rng = np.random.default_rng(0)
    tie = sp.coo_array((np.ones(100), tuple(rng.integers(0, 900, (2, 100)))), shape=(900, 900)).tocsr()
    J = sp.csr_array(sp.block_array([[one, None], [tie, other]]))
    found = solve(J, certify=True)
    alone = [solve(part).cost_after for part in (one, other)]
    assert found.status == "unattained"
    assert found.infimum is not None and np.isclose(found.infimum, sum(alone), rtol=1e-12)
    assert len(found.falling) == tie.nnz
    assert all(name.startswith("J[") and int(name[2:-1].split(",")[0]) >= 900 for name in found.falling)
    assert sum(alone) < found.cost_after < (1 + 1e-8) * sum(alone)
    assert found.imbalance < 1e-8
    # The witness raises no cost, and lowers some.
    h = np.array([float((found.witness or {}).get(name, 0)) for name in found.scales])
    slopes = BalanceProblem.build(load(J)).A @ h
    assert slopes.max() <= 0 and slopes.min() < 0


def test_the_infimum_is_without_the_weights_of_dead_units() -> None:
    J = sp.lil_array(random(4000, 8))
    J[0, :] = 0  # nothing comes in
    J[:, 1] = 0  # nothing goes out
    J = sp.csr_array(J)
    found = solve(J)
    assert set(found.dead_units) >= {"s[0]", "s[1]"} and found.status == "unattained"
    alive = np.flatnonzero(~np.isin(found.scales, found.dead_units))
    rest = solve(sp.csr_array(J[alive][:, alive]))
    assert found.infimum is not None and np.isclose(found.infimum, rest.cost_after, rtol=1e-12)
    assert "direct" not in found.method  # factors of a random graph are full


# --- parts ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_dead_units_are_those_of_the_definition(seed: int) -> None:
    """Round by round, as `Manifold.dead` finds them for dense blocks."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    J = sp.csr_array(random(n, 1, seed))
    sparse_, dense = infer(load(J)), infer(load(J.toarray()))
    assert sparse_.dead(sparse_.support) == dense.dead(dense.support)
    able = rng.random(n) < 0.8
    rows = sp.csr_array(sparse_.matrix(["J"]))
    found = np.zeros(n, bool)
    while True:
        left = rows[abs(rows) @ found.astype(float) == 0].toarray()
        new = able & ~((left > 0).any(axis=0) & (left < 0).any(axis=0))
        if np.array_equal(new | found, found):
            break
        found |= new
    assert np.array_equal(dead_scales(rows, able), found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_weights_off_every_closed_walk_are_those_of_networkx(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 20))
    J = random(n, 1, seed).tocoo()
    rows = infer(load(J.tocsr())).matrix(["J"])
    moving = rng.random(n) < 0.8
    found = walks(rows, moving)
    assert found is not None
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(n + 1))
    head, tail = (np.where(moving[x], x, n) for x in J.tocsr().tocoo().coords)
    graph.add_edges_from(zip(tail.tolist(), head.tolist(), strict=True))
    part = {v: i for i, own in enumerate(nx.strongly_connected_components(graph)) for v in own}
    expected = [part[a] != part[b] for a, b in zip(tail.tolist(), head.tolist(), strict=True)]
    assert found.off.tolist() == expected
    assert (found.direction is None) == (not any(expected))
    if found.direction is not None:
        slopes = rows @ np.where(moving, found.direction, 0)
        assert np.array_equal(np.where(moving, found.direction, 0), found.direction)
        assert slopes.max() <= 0 and slopes.min() < 0
        assert np.all(found.off[slopes < 0])


def test_neighbours_have_different_colours() -> None:
    for n, degree in ((1, 1), (50, 1), (400, 3)):
        J = random(n, degree)
        both = sp.csr_array(abs(J) + abs(J).T)
        both.setdiag(0)
        both.eliminate_zeros()
        colour, (i, j) = coloured(both), both.tocoo().coords
        assert colour.min() == 0 and not np.any(colour[i] == colour[j])
        assert colour.max() <= np.diff(both.indptr).max(initial=0)


def test_costs_that_overflow_do_so_without_a_warning() -> None:
    """Warnings are errors here. A factor on all weights is none of the balanced state."""
    n, rng = 6_000, np.random.default_rng(0)
    ends = np.hstack([rng.integers(0, n, (2, 3 * n)), [np.arange(n), np.roll(np.arange(n), 1)]])
    matrix = sp.coo_array((np.exp(rng.standard_normal(4 * n)), tuple(ends)), (n, n)).tocsr()
    large, plain = solve(matrix * 2.0**530), solve(matrix)
    assert large.status == "balanced" and large.log10_costs is not None
    assert large.log10_costs[1] == pytest.approx(np.log10(plain.cost_after) + 1060 * np.log10(2), rel=1e-12)
