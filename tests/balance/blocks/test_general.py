"""Costs of any form by blocks, against the problem that lists every weight."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest

from balproof.balance import solve as module
from balproof.balance.blocks import general
from balproof.balance.blocks.general import GeneralProblem
from balproof.balance.blocks.general_newton import Hessian, general_newton
from balproof.balance.certificates.block_faces import certify_general
from balproof.balance.certificates.faces import certify_faces
from balproof.balance.certificates.gap import GapCertificate
from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import measure, solve
from balproof.crosscheck import judged
from balproof.crosscheck.audit import check
from balproof.errors import ModelError
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.verdict import Verdict
from benchmarks import inputs
from tests.balance.certificates.test_faces import HUBER
from tests.balance.samples import dense, two_degrees, with_weights
from tests.convnets import resnet
from tests.networks import called_twice, mlp

LOG = "log(1+w**2)"

NETWORKS: dict[str, tuple[Network, str | list[str]]] = {
    "mlp": (mlp([3, 5, 4, 2], seed=1), LOG),
    "two pieces": (mlp([3, 5, 4, 2], seed=2), HUBER),
    "exponential": (mlp([3, 5, 4, 2], seed=2, spread=0.5), "exp(abs(w))-1"),
    "mixed": (mlp([3, 5, 4, 2], seed=3), ["w**2", "fc2.*=" + LOG, "fc3.bias=sqrt(1+w**2)-1"]),
    "degree 2": (mlp([3, 4, 3, 2], seed=4, activation="Max(x,0)**2"), LOG),
    "one wide": (mlp([1, 1, 1, 1], seed=5), LOG),
    "deep": (mlp([3] * 12, seed=6), "sqrt(1+w**2)-1"),
    "residual, batch norm": (resnet(2, (1, 2), 16, 5), LOG),
    "attention": (inputs.transformer(1, 8, 2, 3, 5), LOG),
    "recurrent": (dense(5), LOG),
    "recurrent, nothing visible": (dense(6, visible=False), "sqrt(1+w**2)-1"),
    "two degrees": (two_degrees(), LOG),
    "powers around a loop": (dense(4), "w**2 + abs(w)"),
}


def both(name: str, *, bias_cost: bool = True) -> tuple[GeneralProblem, BalanceProblem]:
    network, cost = NETWORKS[name]
    costs, manifold = Costs.parse(cost, bias_cost=bias_cost), infer(network)
    found = GeneralProblem.build(manifold, costs)
    assert found is not None
    return found, BalanceProblem.build(manifold, costs)


@pytest.mark.parametrize("slab", [1, 7, 1 << 14])
@pytest.mark.parametrize("name", NETWORKS)
def test_reads_are_sums_over_single_weights(name: str, slab: int, monkeypatch) -> None:
    monkeypatch.setattr(general, "_SLAB", slab)
    blocks, problem = both(name, bias_cost=slab > 1)
    rng = np.random.default_rng(0)
    for _ in range(2):
        h, v = 0.3 * rng.standard_normal((2, problem.count))
        v = np.where(problem.active, v, 0.0)
        here = blocks.at(h)
        assert here.certain and here.cost == pytest.approx(problem.cost(h), rel=1e-12)
        balance = here.balance
        found = np.where(problem.active, balance.imbalances, 0.0)
        np.testing.assert_allclose(found, problem.imbalances(h), atol=1e-12)
        np.testing.assert_allclose(balance.incoming - balance.outgoing, problem.gradient(h), atol=1e-9)
        hessian = Hessian.of(here)
        true = problem.hessian(h)
        expected = np.where(problem.active, true @ v, 0.0)
        np.testing.assert_allclose(hessian.times(v), expected, atol=1e-11 * np.abs(true).sum())
        diagonal = np.where(problem.active, true.diagonal(), 0.0)
        np.testing.assert_allclose(hessian.diagonal, diagonal, rtol=1e-10)
    assert blocks.blocks.dead == problem.dead and blocks.blocks.left_out == problem.left_out


def test_weights_of_units_to_themselves_would_be_noticed(monkeypatch) -> None:
    monkeypatch.setattr(general, "_without_own", lambda pair, slab, values: values.sum(axis=3))
    blocks, problem = both("recurrent")
    h = np.linspace(-0.5, 0.5, problem.count)
    assert np.abs(blocks.at(h).balance.imbalances - problem.imbalances(h)).max() > 0.01


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_weights_stay_in_their_type(kind: str) -> None:
    network = mlp([3, 5, 4, 2], seed=1)
    values = {t.name: t.value for t in network.parameters if t.value is not None}
    if kind == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        dtype = np.dtype(ml_dtypes.bfloat16)
    else:
        dtype = np.dtype(kind)
    network = network.with_parameters({name: value.astype(dtype) for name, value in values.items()})
    costs, manifold = Costs.parse(LOG), infer(network)
    found, problem = GeneralProblem.build(manifold, costs), BalanceProblem.build(manifold, costs)
    assert found is not None
    here = found.at(np.zeros(found.count))
    assert here.cost == pytest.approx(problem.cost(np.zeros(found.count)), rel=1e-13)


# --- the model of a block ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_the_solution_solves(name: str) -> None:
    blocks, problem = both(name)
    hessian = Hessian.of(blocks.at(np.zeros(problem.count)))
    right = np.where(problem.active, hessian.times(np.arange(1.0, problem.count + 1)), 0.0)
    x, residual, _ = hessian.solve(right, lambda _, __, left: left < 1e-26, 200)
    np.testing.assert_allclose(residual, right - hessian.times(x), atol=1e-9 * np.abs(right).max())
    assert np.abs(residual).max() <= 1e-9 * np.abs(right).max()


def test_of_weights_that_are_products_the_model_is_the_hessian() -> None:
    """Under a power every κ is a product then: one step of conjugate gradients is all that it takes."""
    rng = np.random.default_rng(3)
    scale = [np.exp(rng.standard_normal(n)) for n in (4, 5, 6, 3)]
    layers = enumerate(zip(scale, scale[1:], strict=False), 1)
    arrays = {f"fc{i}.weight": np.outer(b, 1 / a) for i, (a, b) in layers}
    manifold = infer(mlp([4, 5, 6, 3], bias=False).with_parameters(arrays))
    problem = GeneralProblem.build(manifold, Costs.parse("w**2"))
    assert problem is not None
    hessian = Hessian.of(problem.at(np.zeros(problem.count)))
    right = rng.standard_normal(problem.count)
    _, residual, steps = hessian.solve(right, lambda _, __, left: left < 1e-15, 50)
    assert steps == 1 and np.abs(residual).max() < 1e-6


# --- the balanced state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_the_state_is_that_of_single_weights(name: str) -> None:
    blocks, problem = both(name)
    state, found = general_newton(blocks)
    assert state.imbalance <= 1e-13 and found.history[-1] <= found.history[0]
    other = direct(problem)
    assert other.imbalance <= 1e-12
    np.testing.assert_allclose(problem.A @ state.h, problem.A @ other.h, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(state.h[~problem.active], 0.0)


def test_far_from_balance_it_comes_home() -> None:
    """Every scale is ten decades off."""
    network = mlp([6, 20, 20, 4], seed=8)
    problem = BalanceProblem.build(network, LOG)
    rng = np.random.default_rng(1)
    away = problem.manifold.rescale(10 * rng.choice([-1, 1], problem.count) * np.log(10))
    blocks = GeneralProblem.build(infer(away), Costs.parse(LOG))
    assert blocks is not None
    state, found = general_newton(blocks)
    assert state.imbalance <= 1e-13 and found.passes < 300
    least = direct(problem)
    assert state.cost == pytest.approx(least.history[-1], rel=1e-12)


def test_it_stops_on_request_and_at_its_limit() -> None:
    blocks, _ = both("deep")
    start = blocks.at(np.zeros(blocks.count))
    said: list[str] = []
    state, _ = general_newton(blocks, start, progress=lambda text: said.append(text) or True)
    assert len(said) == 1 and "imbalance" in said[0]
    assert state.imbalance <= start.imbalance
    _, found = general_newton(blocks, start, limit=3)
    assert found.passes <= 3 + 2


def test_nothing_moves() -> None:
    manifold = infer(mlp([2, 3]))
    problem = GeneralProblem.build(manifold, Costs.parse(LOG))
    assert problem is not None
    state, found = general_newton(problem)
    assert (state.imbalance, found.passes) == (0.0, 1.0)
    numbers = [manifold.network.numbers(t.name) for t in manifold.network.parameters]
    assert state.cost == pytest.approx(sum(np.log1p(w**2).sum() for w in numbers))


# --- what it is not for -----------------------------------------------------------------------------------


def test_none_where_weights_are_to_be_listed() -> None:
    for network, cost in (
        (called_twice(), LOG),  # several scales on a side
        (mlp([2, 2, 2]), "Max(w**2, exp(abs(w)) - 2)"),
        (with_weights(mlp([1, 1, 1], bias=False), **{"fc1.weight": [[800.0]]}), "exp(abs(w))-1"),
        (with_weights(mlp([1, 1, 1], bias=False), **{"fc1.weight": [[1e-300]]}), LOG),
        (inputs.sparse_recurrent(30, 3), LOG),
    ):
        assert GeneralProblem.build(infer(network), Costs.parse(cost)) is None
    network = with_weights(mlp([1, 1, 1], bias=False), **{"fc1.weight": [[np.nan]]})
    with pytest.raises(ModelError, match="not finite"):
        GeneralProblem.build(infer(network), Costs.parse(LOG))


# --- from outside -----------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKS", 3)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "one wide"])
def test_solve_takes_blocks(name: str) -> None:
    network, cost = NETWORKS[name]
    found = solve(network, cost, certify=True)
    assert found.method == "block Newton" and found.status == "balanced" and found.imbalance < 1e-12
    problem = BalanceProblem.build(network, cost)
    assert found.cost_before == pytest.approx(problem.cost(np.zeros(problem.count)), rel=1e-12)
    assert found.cost_after == pytest.approx(problem.cost(found.h), rel=1e-12)
    if name != "attention":  # shared gains may allow no box
        assert found.certificate is not None and found.certificate.kind == "faces"
        assert (found.certificate.radius or 1.0) < 1e-10 and found.certificate.gap < 1e-18
    assert found.existence.attained is True


@pytest.mark.usefixtures("few")
def test_dead_units_and_optima_that_are_not_attained(monkeypatch) -> None:
    network = mlp([3, 4, 3, 2], seed=6)
    value = network.numbers("fc2.weight").copy()
    value[:, 1] = 0.0
    dead = network.with_parameters({"fc2.weight": value})
    chain = np.array([[0, 1.0, 0, 0], [1.0, 0, 0, 0], [1e-5, 0, 0, 1.0], [0, 0, 1.0, 0]])
    for case in (dead, load(chain)):
        by_blocks = solve(case, LOG)
        with monkeypatch.context() as patch:
            patch.setattr(module, "BLOCKS", 10_000)
            listed = solve(case, LOG)
        assert by_blocks.status == listed.status == "unattained"
        assert by_blocks.witness == listed.witness and by_blocks.dead_units == listed.dead_units
        assert by_blocks.falling == listed.falling
        assert by_blocks.infimum == pytest.approx(listed.infimum, rel=1e-9)
    assert solve(dead, LOG).method == "block Newton"


@pytest.mark.usefixtures("few")
def test_where_it_does_not_settle_single_weights_are_balanced(monkeypatch) -> None:
    def idle(problem: GeneralProblem, start: general.State, **_: object) -> object:
        return start, dataclasses.replace(general_newton(problem, start, limit=0)[1], method="block Newton")

    monkeypatch.setattr(module, "general_newton", idle)
    network = mlp([3, 5, 4, 2], seed=1)
    found = solve(network, LOG)
    assert found.status == "balanced" and found.method != "block Newton"
    monkeypatch.setattr(module, "LARGE", 5)  # beyond that it is what it is
    assert solve(network, LOG).status == "unconverged"


@pytest.mark.usefixtures("few")
def test_stopped_on_request_it_gives_what_it_has() -> None:
    network = mlp([3] * 12, seed=6)
    said: list[str] = []
    found = solve(network, LOG, progress=lambda text: said.append(text) or text.startswith("Newton"))
    assert found.status == "unconverged" and found.method == "block Newton"
    assert sum(text.startswith("Newton") for text in said) == 1


def test_a_check_of_a_large_network(monkeypatch) -> None:
    monkeypatch.setattr(module, "LARGE", 5)
    monkeypatch.setattr(module, "BLOCKS", 5)
    network = mlp([3, 5, 4, 2], seed=1)
    cost, imbalances = measure(network, Costs.parse(LOG))
    problem = BalanceProblem.build(network, LOG)
    zero = np.zeros(problem.count)
    assert cost == pytest.approx(problem.cost(zero))
    assert imbalances.max() == pytest.approx(problem.imbalance(zero))
    monkeypatch.setattr(judged, "BalanceProblem", None)  # no weight is listed
    good = solve(network, LOG).network
    audit = check(network, good, LOG)
    assert audit.ok and audit.verdict is Verdict.certified and (audit.optimality_gap or 1.0) < 1e-20
    audit = check(network, network, LOG)
    assert not audit.ok and audit.imbalance == pytest.approx(problem.imbalance(zero))
    best = general_newton(GeneralProblem.build(infer(network), Costs.parse(LOG)))[0]  # type: ignore[arg-type]
    assert audit.optimality_gap == pytest.approx(problem.cost(zero) / best.cost - 1)


def test_no_array_of_the_size_of_the_weights() -> None:
    network = inputs.mlp([500, 1000, 1000, 500])
    solve(inputs.mlp([150, 150, 10]), LOG, certify=True)  # what is compiled and kept
    size = 8 * sum(t.size for t in network.parameters) // 2  # in single precision
    tracemalloc.start()
    try:
        found = solve(network, LOG, certify=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.status == "balanced" and found.certificate is not None
    assert peak < 0.5 * size


# --- the certificate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "attention"])
def test_the_certificate_is_that_of_single_weights(name: str) -> None:
    blocks, problem = both(name)
    state, _ = general_newton(blocks)
    found, other = certify_general(state), certify_faces(problem.rescaled(state.h))
    assert isinstance(found, GapCertificate) and isinstance(other, GapCertificate)
    assert 0.01 * other.radius <= found.radius <= 30 * other.radius + 1e-14
    # Both are about the same state: whatever is moved, each says so.
    for off in (1e-6, 1e-4):
        moved = certify_general(blocks.at(state.h + np.where(problem.active, off, 0.0)))
        if isinstance(moved, GapCertificate) and "nothing visible" not in name:
            assert moved.radius >= 0.999 * off
