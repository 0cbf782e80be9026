"""Solving: the statuses, the witness, the fields, and networks at the edges."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from typing import Any, get_args

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balproof.balance import solve as module
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import BALANCED, METHODS, Method, Solution, certify_best, solve
from balproof.errors import ModelError, RegularizerError, RequestError
from balproof.importers import load
from balproof.network.evaluate import evaluate
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.balance.samples import (
    BRIDGE,
    COSTS,
    MARGINALS,
    balanced_by_scipy,
    dense,
    raw,
    raw_imbalance,
    recurrent,
    same_weights,
    two_degrees,
    with_weights,
)
from tests.networks import called_twice, mlp
from tests.sweeps import crossed

CHAIN = "tests/data/chain.json"
FIELDS = {  # shared/design.md §3
    "status": str,
    "regularizer": str,
    "cost_before": float,
    "cost_after": float,
    "imbalance_before": float,
    "imbalance": float,
    "cut_imbalance": float | None,
    "passes": float,
    "seconds": float,
    "method": str,
    "dead_units": list,
    "certificate": dict | None,
    "witness": dict | None,
}


def check_fields(found: Solution) -> dict[str, Any]:
    """All fields of the design, of their types, in JSON that has no NaN; costs and imbalance recomputed."""
    text = json.dumps(found.as_json(), allow_nan=False)
    answer = json.loads(text)
    for name, kind in FIELDS.items():
        assert isinstance(answer[name], kind), name
    assert answer["status"] in ("balanced", "unattained", "unconverged")
    assert (answer["status"] == "unattained") == (answer["witness"] is not None)
    if answer["certificate"]:
        assert {"kind", "gap", "radius", "bits"} <= set(answer["certificate"])
    if answer["status"] == "balanced":
        assert max(answer["imbalance"], answer["cut_imbalance"] or 0) <= BALANCED
    assert len(found.scales) == len(found.h)
    return answer


def falls_along_the_witness(network: Network, found: Solution) -> bool:
    """A h ≤ 0 and ≠ 0 exactly, over all weights that are not 0; rows from the manifold, sums made here."""
    assert found.witness
    h = {found.scales.index(name): Fraction(value) for name, value in found.witness.items()}
    assert all(h.values())
    support = {t.name: t.value != 0 for t in network.parameters}
    change = [sum(c * h.get(k, 0) for k, c in form) for _, _, form in infer(network).rows(support)]
    return max(change) <= 0 and min(change) < 0


def test_chain_by_hand() -> None:
    """Weights 1/2, 3, 3 end as three times (9/2)^{1/3}, with the old signs."""
    found = solve(load(CHAIN), certify=True)
    assert found.status == "balanced"
    assert (found.cost_before, found.regularizer) == (18.25, "l2")
    assert found.cost_after == pytest.approx(3 * 4.5 ** (2 / 3), rel=1e-14)
    assert found.imbalance_before == pytest.approx(8.75 / 9.25, rel=1e-14)
    side = 4.5 ** (1 / 3)
    values = [float(found.network.numbers(f"fc{i}.weight")[0, 0]) for i in (1, 2, 3)]
    np.testing.assert_allclose(values, [side, -side, side], rtol=1e-14)
    np.testing.assert_allclose(found.h, [np.log(side / 0.5), np.log(3 / side)], rtol=1e-13)
    check_fields(found)
    certificate = found.certificate
    assert certificate is not None
    with mpmath.workdps(40):  # of the weights as they are: rounding them changed their product
        exact = [mpmath.mpf(v) for v in values]
        best = 3 * abs(mpmath.fprod(exact)) ** (mpmath.mpf(2) / 3)
        assert mpmath.fsum(v**2 for v in exact) / best - 1 <= certificate.gap < 1e-24


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spec", ["l1", "l2", "abs(w) + w**2/10"])
def test_methods_agree_with_scipy(method: Method, spec: str) -> None:
    network = mlp([2, 3, 3, 2])
    found = solve(network, spec, method=method)
    assert found.status == "balanced"
    same_weights(found.network, balanced_by_scipy(network, MARGINALS[spec]))
    assert found.imbalance == pytest.approx(raw_imbalance(found.network, MARGINALS[spec]), abs=1e-15)
    assert found.cost_after == pytest.approx(
        sum(float(np.sum(COSTS[spec](w))) for w in raw(found.network).values()), rel=1e-13
    )
    check_fields(found)


NETWORKS: dict[str, Network] = {
    "degree 2": mlp([2, 3, 2, 2], activation="Max(x,0)**2"),
    "degree 3, odd": mlp([2, 2, 2], activation="x**3"),
    "recurrent": dense(4),
    "without visible units": dense(4, visible=False),
    "tied layers": called_twice(),
    "two degrees around a loop": two_degrees(),
    "deep and narrow": mlp([2] * 9),
    "one unit": mlp([1, 1, 1]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_methods_agree(name: str) -> None:
    network = NETWORKS[name]
    first = solve(network)
    assert first.status == "balanced" and first.existence.attained
    for method in METHODS[1:]:
        other = solve(network, method=method, certify=True)
        assert other.status == "balanced", method
        same_weights(other.network, first.network, rtol=1e-9)
        check_fields(other)
        assert other.certificate is not None


@pytest.mark.parametrize("method", METHODS)
def test_weights_over_many_decades(method: Method) -> None:
    network = mlp([3, 5, 4, 2], spread=8)
    sizes = np.concatenate([w.ravel() for w in raw(network).values()])
    assert sizes.max() / sizes.min() > 1e12
    try:
        found = solve(network, method=method, certify=True)
    except RequestError as failure:  # the interior-point solver may give up, in one line
        assert method == "cvxpy" and "use --method multilevel" in str(failure)
        return
    assert found.status == "balanced"
    assert raw_imbalance(found.network, MARGINALS["l2"]) <= 1e-12
    assert found.certificate is not None and found.certificate.gap < 1e-12
    check_fields(found)


def test_general_costs() -> None:
    for spec, marginal in MARGINALS.items():
        found = solve(mlp([2, 3, 3, 2]), spec, certify=True)
        assert found.status == "balanced", spec
        assert raw_imbalance(found.network, marginal) < 1e-11
        powers = not spec.startswith(("log", "Piecewise"))
        assert (found.certificate is not None) == powers == (found.no_certificate is None)
        check_fields(found)


def test_mixed_costs_by_name() -> None:
    network = mlp([2, 3, 3, 2])
    found = solve(network, ["*=l1", "fc2.*=lp:3"], certify=True)
    marginals = {n: MARGINALS["lp:3" if n.startswith("fc2") else "l1"] for n in raw(network)}
    assert found.status == "balanced" and found.certificate is not None
    same_weights(found.network, balanced_by_scipy(network, marginals))
    assert found.regularizer == "l1, fc2.*=lp:3"


def test_bias_cost_left_out() -> None:
    network = mlp([2, 3, 2])
    found = solve(network, Costs.parse("l2", bias_cost=False))
    zero = network.with_parameters({n: 0 * network.numbers(n) for n in ("fc1.bias", "fc2.bias")})
    expected = balanced_by_scipy(zero, MARGINALS["l2"])
    np.testing.assert_allclose(raw(found.network)["fc1.weight"], expected["fc1.weight"], rtol=1e-10)
    x = {"x": np.random.default_rng(0).standard_normal((9, 2))}
    y = network.outputs[0]
    np.testing.assert_allclose(evaluate(found.network, x)[y], evaluate(network, x)[y], rtol=1e-12, atol=1e-12)


def test_seed_and_schedule_are_passed_on() -> None:
    runs = [solve(mlp([2, 3, 3, 2]), method="stochastic", seed=s) for s in (0, 0, 1)]
    assert runs[0].history == runs[1].history != runs[2].history
    assert solve(load(CHAIN), method="stochastic", schedule="greedy").method == "stochastic (greedy)"


# --- unattained -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_bridge_is_unattained(method: Method) -> None:
    """By hand: balanced at no finite scale; F falls from 5 toward 4 as the bridge loses its weight."""
    found = solve(BRIDGE, method=method, certify=True)
    assert found.status == "unattained"
    assert falls_along_the_witness(BRIDGE, found)
    assert 4 < found.cost_after < 4.2 and found.cost_before == 5
    assert raw(found.network)["J"][2, 1] < 0.2
    assert found.certificate is None and found.no_certificate == "the infimum is not attained"
    answer = check_fields(found)
    assert answer["attained"] == {"verdict": "certified", "method": found.existence.method}


def test_costs_may_leave_the_range_on_the_way() -> None:
    """They start at 2e−288 and fall without end; a new problem must have at least 1e−290."""
    network = recurrent([[0, 1e-144], [2e-144, 0]], W_out=[[1e-144, 1e-144]], activation="Max(x,0)**2")
    found = solve(network)
    assert found.status == "unattained" and falls_along_the_witness(network, found)
    assert found.cost_after < 1e-290
    check_fields(found)


@pytest.mark.parametrize("activation", ["relu", "Max(x,0)**2"])
def test_unattained_recurrent_networks(activation: str) -> None:
    output_only = recurrent([[0, 1], [2, 0]], W_out=[[1, 1]], activation=activation)
    found = solve(output_only)
    assert found.status == "unattained" and falls_along_the_witness(output_only, found)
    check_fields(found)


DEAD = {
    # weights by hand; whether some cost can still fall
    "no output": ({"fc1__weight": [[1], [2]], "fc2__weight": [[1, 0]]}, {"fc1[1]": "-1"}),
    "no input": ({"fc1__weight": [[1], [0]], "fc2__weight": [[1, 3]]}, {"fc1[1]": "1"}),
    "neither": ({"fc1__weight": [[1], [0]], "fc2__weight": [[1, 0]]}, None),
    "all units without input": ({"fc1__weight": [[0], [0]], "fc2__weight": [[1, 3]]}, {"fc1[0]": "1"}),
    "all units without output": ({"fc1__weight": [[1], [2]], "fc2__weight": [[0, 0]]}, {"fc1[0]": "-1"}),
    "all zero": ({"fc1__weight": [[0], [0]], "fc2__weight": [[0, 0]]}, None),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DEAD)
def test_dead_units(name: str, method: Method) -> None:
    values, witness = DEAD[name]
    network = with_weights(mlp([1, 2, 1], bias=False), **values)
    found = solve(network, method=method, certify=True)
    assert found.status == ("balanced" if witness is None else "unattained")
    assert found.witness == witness
    if witness:
        assert falls_along_the_witness(network, found)
    expected = ["fc1[0]", "fc1[1]"] if name.startswith("all") else ["fc1[1]"]
    assert list(found.dead_units) == expected
    assert all(found.h[found.scales.index(n)] == 0 for n in expected)
    assert found.imbalance <= BALANCED
    assert found.certificate is not None and found.certificate.gap < 1e-14  # of the scales that move
    check_fields(found)


def test_a_dead_unit_without_cost_is_no_witness() -> None:
    """Its incoming bias is free of charge, so nothing can fall."""
    network = with_weights(mlp([1, 2, 1]), fc1__weight=[[1], [0]], fc2__weight=[[1, 0]])
    assert solve(network).witness == {"fc1[1]": "-1"}
    free = solve(network, Costs.parse("l2", bias_cost=False))
    assert free.status == "balanced" and free.dead_units == ("fc1[1]",)


def test_degree_0_is_left_out() -> None:
    found = solve(mlp([2, 3, 2], activation="sign"))
    assert found.status == "balanced"  # nothing moves; the scales are reported
    assert found.left_out == found.scales == ("fc1[0]", "fc1[1]", "fc1[2]")
    assert found.dead_units == () and not found.h.any()
    check_fields(found)


def test_units_that_nothing_reads() -> None:
    """J = a self-loop, W_in, no output: the input can be scaled away. Once taken for degree 0."""
    network = recurrent([[2]], W_in=[[1]])
    found = solve(network)
    assert found.status == "unattained" and falls_along_the_witness(network, found)
    assert found.dead_units == ("s[0]",) and found.left_out == ()


# --- edges ------------------------------------------------------------------------------------------------

EDGES = {
    "no hidden layer": mlp([3, 2]),
    "nothing scales": mlp([2, 3, 2], activation="tanh"),
    "all weights zero": with_weights(
        mlp([1, 2, 1], bias=False), fc1__weight=[[0], [0]], fc2__weight=[[0, 0]]
    ),
    "one recurrent unit alone": recurrent([[2]]),
    "one recurrent unit, zero": recurrent([[0]]),
    "diagonal matrix": recurrent(np.diag([1.0, 2.0, 3.0])),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", EDGES)
def test_nothing_to_balance(name: str, method: Method) -> None:
    network = EDGES[name]
    found = solve(network, method=method, certify=True)
    assert found.status == "balanced" and not found.h.any()
    assert found.imbalance == found.imbalance_before == 0
    assert found.cost_before == found.cost_after
    same_weights(found.network, network, rtol=0)
    assert found.certificate is not None and found.certificate.gap < 1e-15
    check_fields(found)


@pytest.mark.parametrize("method", METHODS)
def test_one_unit_by_hand(method: Method) -> None:
    """Weights 8 and 2 become 4 and 4."""
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[8]], fc2__weight=[[-2]])
    found = solve(network, method=method)
    assert found.status == "balanced"
    np.testing.assert_allclose([*found.network.numbers("fc1.weight").flat], [4], rtol=1e-14)
    np.testing.assert_allclose([*found.network.numbers("fc2.weight").flat], [-4], rtol=1e-14)


def test_requests_that_are_refused() -> None:
    with pytest.raises(RequestError, match="unknown method 'adam'"):
        solve(CHAIN, method="adam")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="unknown schedule 'lucky'"):
        solve(CHAIN, schedule="lucky")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="seed -1 is negative"):
        solve(CHAIN, seed=-1)
    with pytest.raises(ModelError, match="does not exist"):
        solve("nothing.json")
    assert set(METHODS) == set(get_args(Method))


def test_cvxpy_refuses_costs_without_powers() -> None:
    with pytest.raises(RegularizerError, match="is not a sum of powers"):
        solve(load(CHAIN), "log(1 + w**2)", method="cvxpy")


def test_unconverged_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that stops early: the status comes from the weights."""
    lazy = lambda problem, **_: dataclasses.replace(module.stochastic(problem, [0]), imbalance=0.0)  # noqa: E731
    monkeypatch.setattr(module, "multilevel", lazy)
    found = solve(mlp([2, 3, 3, 2]), method="multilevel")
    assert found.status == "unconverged" and found.imbalance > 1e-3
    check_fields(found)


def test_auto_falls_back_to_direct_newton(monkeypatch: pytest.MonkeyPatch) -> None:
    full = module.multilevel
    monkeypatch.setattr(module, "multilevel", lambda problem, **_: full(problem, sweeps=1))
    found = solve(mlp([2, 3, 3, 2]))
    assert found.method == "multilevel, direct" and found.status == "balanced"
    assert np.all(np.diff(found.history) <= 1e-13 * found.cost_before)


def test_certify_best_takes_exact_rationals_where_it_can() -> None:
    kinds = {}
    for spec in ("l2", "lp:1.5"):
        found = certify_best(BalanceProblem.build(solve(mlp([2, 3, 2]), spec).network, spec))
        kinds[spec] = getattr(found, "kind", None)
    assert kinds == {"l2": "chi2-rational", "lp:1.5": "chi2-double"}


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(METHODS), st.sampled_from(["l1", "l2", "abs(w) + w**2/10"]))
def test_laws_of_solving(seed: int, method: Method, spec: str) -> None:
    """Function kept, cost not raised, status true; solving again changes nothing. Sparse networks too."""
    rng = np.random.default_rng(seed)
    network = mlp([2, *rng.integers(1, 4, 2).tolist(), 2], seed=seed, bias=bool(seed % 2))
    network = network.with_parameters(
        {t.name: network.numbers(t.name) * (rng.random(t.shape) < 0.8) for t in network.parameters}
    )
    found = solve(network, spec, method=method)
    check_fields(found)
    x = {"x": rng.standard_normal((20, 2))}
    y = network.outputs[0]
    before, after = evaluate(network, x)[y], evaluate(found.network, x)[y]
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9 * (1 + np.abs(before).max()))
    assert found.cost_after <= found.cost_before * (1 + 1e-14)
    if found.status == "balanced":
        assert not found.dead_units or solve(network, spec).witness is None
    else:
        assert found.status == "unattained" and falls_along_the_witness(network, found)
    again = solve(found.network, spec, method=method)
    same_weights(again.network, found.network, rtol=1e-9)


@pytest.mark.parametrize(
    "method, blocks", crossed([m for m in METHODS if m not in ("cvxpy", "auto")], [False, True])
)
def test_a_method_stops_when_it_is_asked(
    method: Method, blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if blocks:
        monkeypatch.setattr(module, "BLOCKS", 10)
    network = mlp([6, 9, 9, 9, 9, 9, 4], seed=3)
    told: list[str] = []

    def stop(text: str) -> bool:
        told.append(text)
        return True

    stopped, whole = solve(network, method=method, progress=stop), solve(network, method=method)
    assert len(told) <= 2  # `newton` begins with sweeps
    assert stopped.passes < whole.passes and len(stopped.history) < len(whole.history)
    assert stopped.status == "unconverged" and whole.status == "balanced"
    assert stopped.imbalance == pytest.approx(BalanceProblem.build(stopped.network).imbalance(0 * stopped.h))
