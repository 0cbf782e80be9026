"""`check` on the digits network and on networks with one planted fault. Files are run by onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from balproof.balance.problem import Costs
from balproof.balance.solve import solve
from balproof.crosscheck.audit import Audit, check
from balproof.errors import ModelError, RequestError
from balproof.importers import load, save
from balproof.importers.json_file import to_document
from balproof.network.graph import Network
from balproof.verdict import Verdict
from tests.importers.models import model, run, weights, write
from tests.networks import mlp
from tests.sweeps import crossed, slow_but

REGULARIZERS = ["l1", "l2", "lp:1.5", "abs(w)+w**2/10"]
Values = dict[str, np.ndarray]


def values(network: Network) -> Values:
    return {t.name: network.numbers(t.name).copy() for t in network.parameters}


def kinds(audit: Audit) -> list[str]:
    return [f.kind for f in audit.faults]


def places(audit: Audit) -> list[str]:
    return [f.where for f in audit.faults]


def single(network: Network) -> Values:
    """The weights rounded to single precision, as another program writes them."""
    return {name: v.astype(np.float32).astype(np.float64) for name, v in values(network).items()}


@pytest.fixture(scope="module")
def before() -> Network:
    return mlp([8, 12, 10, 4], seed=1)


@pytest.fixture(scope="module")
def after(before: Network) -> Values:
    """Balanced for l2."""
    return single(solve(before).network)


@pytest.fixture(scope="module")
def balanced_digits(digits: Path) -> Values:
    """The digits network, balanced for l2."""
    return single(solve(load(digits)).network)


def planted(before: Network, after: Values, **changed: Callable[[np.ndarray], None]) -> Network:
    """AFTER with some tensors changed in place; names are written with _ for the dot."""
    new = {name: v.copy() for name, v in after.items()}
    for name, change in changed.items():
        change(new[name.replace("_", ".")])
    return before.with_parameters(new)


def put(index: Any, value: Any) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__(index, value)


def times(index: Any, factor: float) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__(index, array[index] * factor)


# --- what is right -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", slow_but(REGULARIZERS, "l1", "l2"))
def test_the_balanced_digits_network_is_certified(spec: str, digits: Path, tmp_path: Path) -> None:
    target = tmp_path / "balanced.onnx"
    save(solve(load(digits), spec).network, target)
    audit = check(digits, str(target), spec)
    assert audit.ok, audit.faults
    assert audit.faults == () and audit.notes == ()
    assert audit.verdict is Verdict.certified
    assert audit.same_orbit and audit.balanced
    assert audit.optimality_gap is not None and audit.optimality_gap < 1e-9
    assert audit.imbalance is not None and 1e-9 < audit.imbalance < 3e-7  # that of weights in float32
    x = np.random.default_rng(3).random((50, 64), dtype=np.float32)
    left, right = run(digits, x), run(target, x)
    assert np.max(np.abs(left - right)) < 1e-5 * np.max(np.abs(left))
    assert audit.function_error is not None and audit.function_error < 1e-6


def test_another_regularizer_is_another_optimum(before: Network, after: Values) -> None:
    audit = check(before, before.with_parameters(after), "l1")
    assert audit.same_orbit and not audit.ok
    assert set(kinds(audit)) == {"unbalanced-unit"}
    assert audit.verdict is Verdict.refuted


def test_costs_by_tensor_and_without_biases(before: Network) -> None:
    costs = Costs.parse(["l2", "fc2.*=l1"], bias_cost=False)
    balanced = solve(before, costs).network
    assert check(before, balanced, costs).ok
    assert check(before, balanced, ["l2", "fc2.*=l1"]).faults  # here the biases count


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:1/5", "abs", "Max(x,0)**2", "x*abs(x)"])
def test_doubles_and_degrees(activation: str, tmp_path: Path) -> None:
    network = mlp([3, 6, 5, 2], activation=activation, spread=0.5)
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    save(network, before)
    save(solve(load(before)).network, after)
    audit = check(before, after)
    assert audit.ok and audit.verdict is Verdict.certified, audit.faults
    assert audit.function_error is not None and audit.function_error < 1e-12


def test_exact_weights() -> None:
    # w·r² over 1/2, 2 with a bias: in² = 1/4·s² + 3/4·s² = s², out² = 16/s², so s = 2 is exact.
    def net(w: str, b: str, v: str) -> dict[str, Any]:
        document = to_document(mlp([1, 1, 1]))
        document["parameters"] = {"fc1.weight": [[w]], "fc1.bias": [b], "fc2.weight": [[v]]}
        document["operations"] = [op for op in document["operations"] if op["inputs"][1:] != ["fc2.bias"]]
        document["outputs"] = [document["operations"][-1]["output"]]
        return document

    audit = check(net("3/5", "4/5", "-4"), net("6/5", "8/5", "-2"))
    assert audit.ok and audit.verdict is Verdict.certified
    assert audit.scales == {"fc1[0]": pytest.approx(np.log(2))}
    assert audit.imbalance is not None and audit.imbalance < 1e-15
    assert kinds(check(net("3/5", "4/5", "-4"), net("6/5", "4/5", "-2"))) == ["bias-not-scaled"]


def _swept(network: Network, dtype: Any, sweeps: int, inverse: bool) -> Values:
    """Another program: it multiplies in its own precision, unit by unit, for hundreds of sweeps."""
    new = {name: v.astype(dtype) for name, v in values(network).items()}
    layers = sum(name.endswith("weight") for name in new)
    for _ in range(sweeps):
        for i in range(1, layers):
            w, b, v = new[f"fc{i}.weight"], new[f"fc{i}.bias"], new[f"fc{i + 1}.weight"]
            s = (((v**2).sum(0) / ((w**2).sum(1) + b**2)) ** dtype(0.25)).astype(dtype)
            w *= s[:, None]
            b *= s
            v *= (dtype(1) / s) if inverse else dtype(1)
            v /= dtype(1) if inverse else s
    return {name: v.astype(np.float64) for name, v in new.items()}


@pytest.mark.parametrize("dtype, inverse", crossed([np.float32, np.float64], [True, False]))
@pytest.mark.parametrize("spread", [1.0, 4.0], ids=["3 decades", "12 decades"])
def test_hundreds_of_roundings_are_no_fault(dtype: Any, inverse: bool, spread: float) -> None:
    network = mlp([20, 30, 30, 4], spread=spread, seed=5)
    start = network.with_parameters(
        {name: v.astype(dtype).astype(np.float64) for name, v in values(network).items()}
    )
    # The second is written as doubles by a program that computes in single precision.
    audit = check(start, network.with_parameters(_swept(start, dtype, 300, inverse)))
    assert audit.ok, audit.faults[:3]


@pytest.mark.parametrize("power", [-3, 1, 40])
def test_powers_of_two_round_nowhere(power: int, before: Network) -> None:
    new = values(before)
    new["fc1.weight"][4] *= 2.0**power
    new["fc1.bias"][4] *= 2.0**power
    new["fc2.weight"][:, 4] *= 2.0**-power
    audit = check(before, before.with_parameters(new))
    assert audit.same_orbit and audit.function_error == 0.0
    assert audit.scales["fc1[4]"] == pytest.approx(power * np.log(2))
    assert "unbalanced-unit" in kinds(audit) and "not-a-rescaling" not in kinds(audit)


@pytest.mark.parametrize(
    ("kind", "name"), [(TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16")]
)
def test_sixteen_bits(kind: int, name: str, tmp_path: Path) -> None:
    native = helper.tensor_dtype_to_np_dtype(kind)
    held = {"W": weights(3, 8), "B": weights(8, seed=1), "V": weights(8, 2, seed=2)}
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Add", ["z", "B"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MatMul", ["r", "V"], ["y"]),
    ]
    proto = model(nodes, {k: v.astype(native) for k, v in held.items()}, kind=kind)
    network = load(write(tmp_path / "before.onnx", proto))
    assert {t.dtype for t in network.parameters} == {name}
    save(solve(network).network, tmp_path / "after.onnx")
    assert check(network, tmp_path / "after.onnx").ok
    wrong = values(load(tmp_path / "after.onnx"))
    wrong["W"][1, 5] *= 1.05
    audit = check(network, network.with_parameters(wrong))
    assert (kinds(audit), places(audit)) == (["not-a-rescaling"], ["W[1,5] (unit W[5])"])


def test_numbers_near_zero_have_fewer_digits(tmp_path: Path) -> None:
    held = {"W": weights(3, 6), "V": weights(6, 2, seed=2)}
    held["W"][0] *= np.float32(1e-41)  # subnormal: some twelve bits are left
    held["W"][1, 0] = 1e-45
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Relu", ["z"], ["r"]),
        helper.make_node("MatMul", ["r", "V"], ["y"]),
    ]
    network = load(write(tmp_path / "before.onnx", model(nodes, held)))
    save(solve(network, "l1").network, tmp_path / "after.onnx")
    audit = check(network, tmp_path / "after.onnx", "l1")
    assert audit.ok, audit.faults


def test_tiny_weights_are_weights() -> None:
    network = mlp([3, 5, 4, 2])
    start = values(network)
    start["fc1.weight"][2, 1] = 1e-30
    start["fc2.weight"][1] *= 1e-30
    before = network.with_parameters(start)
    after = values(solve(before).network)
    assert check(before, before.with_parameters(after)).ok
    after["fc1.weight"][2, 1] *= 1.001
    audit = check(before, before.with_parameters(after))
    assert (kinds(audit), places(audit)) == (["not-a-rescaling"], ["fc1.weight[2,1] (unit fc1[2])"])


# --- the classic mistakes ------------------------------------------------------------------------------


def test_a_bias_left_behind_is_one_fault(digits: Path, balanced_digits: Values, tmp_path: Path) -> None:
    before, after = load(digits), balanced_digits
    old = values(before)["fc1.bias"][7]
    target = tmp_path / "wrong.onnx"
    save(planted(before, after, fc1_bias=put(7, old)), target)
    audit = check(digits, target)
    assert not audit.ok and not audit.same_orbit and audit.verdict is Verdict.refuted
    assert (kinds(audit), places(audit)) == (["bias-not-scaled"], ["fc1.bias[7] (unit fc1[7])"])
    meant = after["fc1.bias"][7]
    assert audit.faults[0].size == pytest.approx(abs(old - meant) / max(abs(old), abs(meant)), rel=1e-5)
    x = np.random.default_rng(3).standard_normal((500, 64)).astype(np.float32)
    left, right = run(digits, x), run(target, x)
    truth = np.max(np.abs(left - right)) / np.max(np.abs(left))
    assert audit.function_error is not None and truth / 4 < audit.function_error < 20 * truth


@pytest.mark.parametrize("layers", slow_but([("fc1",), ("fc2",), ("fc1", "fc2")], ("fc2",)))
def test_whole_bias_vectors_left_behind(
    layers: tuple[str, ...], digits: Path, balanced_digits: Values
) -> None:
    before, after = load(digits), balanced_digits
    old = values(before)
    audit = check(
        before, before.with_parameters({**after, **{f"{n}.bias": old[f"{n}.bias"] for n in layers}})
    )
    assert set(kinds(audit)) == {"bias-not-scaled"}
    expected = [
        f"{n}.bias[{i}] (unit {n}[{i}])"
        for n in layers
        for i in range(len(old[f"{n}.bias"]))
        if abs(after[f"{n}.bias"][i] - old[f"{n}.bias"][i]) > 1e-4 * abs(old[f"{n}.bias"][i])
    ]
    assert places(audit) == expected and len(expected) > 30
    assert audit.function_error is not None and audit.function_error > 0.01


def test_a_bias_of_zero_cannot_be_left_behind(before: Network) -> None:
    start = values(before)
    start["fc1.bias"][:] = 0.0
    bare = before.with_parameters(start)
    assert check(bare, solve(bare).network).ok


@pytest.mark.parametrize(
    ("change", "kind", "size"),
    [
        (times((3, 5), 1.0001), "not-a-rescaling", 1e-4),
        (times((3, 5), 0.9999), "not-a-rescaling", 1e-4),
        (times((3, 5), 1e12), "not-a-rescaling", 1.0),
        (put((3, 5), 0.0), "not-a-rescaling", 1.0),
        (times((3, 5), -1.0), "sign-changed", 2.0),
        (times((3, 5), -1e-6), "sign-changed", 1.0),
    ],
)
def test_one_weight(
    change: Callable[[np.ndarray], None], kind: str, size: float, before: Network, after: Values
) -> None:
    audit = check(before, planted(before, after, fc2_weight=change))
    assert (kinds(audit), places(audit)) == ([kind], ["fc2.weight[3,5] (units fc1[5] and fc2[3])"])
    assert audit.faults[0].size == pytest.approx(size, rel=0.01)
    assert not audit.same_orbit and audit.verdict is Verdict.refuted


def test_a_weight_that_no_unit_scales(before: Network, after: Values) -> None:
    audit = check(before, planted(before, after, fc3_bias=times(2, 1.0001)))
    assert (kinds(audit), places(audit)) == (["not-a-rescaling"], ["fc3.bias[2]"])
    assert audit.imbalance is not None and audit.imbalance < 1e-6


def test_a_weight_left_behind_is_no_bias(before: Network, after: Values) -> None:
    audit = check(before, planted(before, after, fc1_weight=put((3, 5), values(before)["fc1.weight"][3, 5])))
    assert (kinds(audit), places(audit)) == (["not-a-rescaling"], ["fc1.weight[3,5] (unit fc1[3])"])


def test_a_zero_made_nonzero(before: Network) -> None:
    start = values(before)
    start["fc2.weight"][3, 5] = 0.0
    sparse = before.with_parameters(start)
    after = values(solve(sparse).network)
    after["fc2.weight"][3, 5] = 5e-324  # the least double there is
    audit = check(sparse, sparse.with_parameters(after))
    assert (kinds(audit), places(audit)) == (
        ["not-a-rescaling"],
        ["fc2.weight[3,5] (units fc1[5] and fc2[3])"],
    )
    assert audit.faults[0].size == 1.0


def test_a_unit_of_the_other_sign_is_another_network(before: Network, after: Values) -> None:
    audit = check(
        before,
        planted(
            before, after, fc1_weight=times(3, -1), fc1_bias=times(3, -1), fc2_weight=times((..., 3), -1)
        ),
    )
    assert set(kinds(audit)) == {"sign-changed"}
    assert len(audit.faults) == 8 + 1 + 10
    assert all("fc1[3]" in where for where in places(audit))
    assert audit.function_error is not None and audit.function_error > 0.01


def test_very_many_faults_are_counted() -> None:
    network = mlp([30, 12, 2], spread=0.1)
    new = values(network)
    new["fc1.weight"][:4] *= -1
    audit = check(network, network.with_parameters(new))
    assert {f.kind for f in audit.faults[:101]} == {"sign-changed"}
    assert places(audit)[100] == "fc1.weight: 20 more of 360 weights"


def test_another_network_altogether(before: Network, after: Values) -> None:
    rng = np.random.default_rng(1)
    other = before.with_parameters({name: rng.standard_normal(v.shape) for name, v in after.items()})
    audit = check(before, other)
    assert not audit.ok and not audit.same_orbit
    assert {"sign-changed", "not-a-rescaling"} >= set(kinds(audit))
    assert any("no rescaling can be told" in note for note in audit.notes)


def test_several_faults_at_once(before: Network, after: Values) -> None:
    old = values(before)
    audit = check(
        before,
        planted(
            before,
            after,
            fc1_bias=put(7, old["fc1.bias"][7]),
            fc2_weight=times((3, 5), 1.3),
            fc3_weight=times((1, 2), -1),
        ),
    )
    assert [(f.kind, f.where.split(" ")[0]) for f in audit.faults] == [
        ("bias-not-scaled", "fc1.bias[7]"),
        ("not-a-rescaling", "fc2.weight[3,5]"),
        ("sign-changed", "fc3.weight[1,2]"),
    ]


# --- balance -------------------------------------------------------------------------------------------


def test_nothing_was_done(digits: Path) -> None:
    before = load(digits)
    audit = check(digits, digits)
    assert audit.same_orbit and not audit.balanced and audit.function_error == 0.0
    assert set(kinds(audit)) == {"unbalanced-unit"}
    # Imbalances of [B]: |in − out|/(in + out), from the weights themselves.
    v = values(before)
    expected: dict[str, float] = {}
    for layer, after_it in (("fc1", "fc2"), ("fc2", "fc3")):
        into = (v[f"{layer}.weight"] ** 2).sum(1) + v[f"{layer}.bias"] ** 2
        out = (v[f"{after_it}.weight"] ** 2).sum(0)
        ratio = np.abs(into - out) / (into + out)
        expected |= {f"{layer}[{i}]": float(x) for i, x in enumerate(ratio)}
    found = {f.where: f.size for f in audit.faults}
    assert found == pytest.approx(expected)
    sizes = [f.size for f in audit.faults]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == audit.imbalance
    cost, best = (sum((x**2).sum() for x in w.values()) for w in (v, values(solve(before).network)))
    assert audit.optimality_gap == pytest.approx(cost / best - 1, rel=1e-9)


def test_one_unit_out_of_balance(before: Network, after: Values) -> None:
    s = np.float32(1.0001)
    moved = planted(
        before, after, fc1_weight=times(9, s), fc1_bias=times(9, s), fc2_weight=times((..., 9), 1 / s)
    )
    audit = check(before, moved)
    assert audit.same_orbit and not audit.balanced
    assert set(kinds(audit)) == {"unbalanced-unit"}
    # Units that it feeds feel it too, and less.
    assert places(audit)[0] == "fc1[9]" and all(where.startswith("fc2") for where in places(audit)[1:])
    assert audit.faults[0].size == pytest.approx(2e-4, rel=0.01)  # (s² − s⁻²)/(s² + s⁻²)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_layer_left_out_is_one_fault(layer: int) -> None:
    network = mlp([4, 8, 7, 6, 3], seed=2)
    new = values(network)
    for _ in range(3000):
        for i in {1, 2, 3} - {layer}:
            w, b, v = new[f"fc{i}.weight"], new[f"fc{i}.bias"], new[f"fc{i + 1}.weight"]
            s = ((v**2).sum(0) / ((w**2).sum(1) + b**2)) ** 0.25
            w *= s[:, None]
            b *= s
            v /= s
    audit = check(network, network.with_parameters(new))
    assert audit.same_orbit and not audit.balanced
    assert (kinds(audit), places(audit)) == (["frozen-layer"], [f"fc{layer}"])
    assert audit.faults[0].size == audit.imbalance


def test_balanced_to_the_tolerance_and_yet_not_optimal() -> None:
    # A ring of n units, each with a weak input of cost a and a far weaker output: scaling all units down by
    # a common factor costs nothing in the ring and saves a·n, which is more of n than the tolerance.
    n, a = 6, 1.9e-6
    ring = np.roll(np.eye(n), 1, axis=0)
    network = {"J": ring, "W_in": np.sqrt(a) * np.eye(n), "W_out": 1e-12 * np.eye(n)}
    audit = check(network, network)
    assert audit.balanced and audit.imbalance == pytest.approx(a / (2 + a), rel=1e-6)
    assert (kinds(audit), places(audit)) == (["not-optimal"], ["the whole network"])
    assert audit.optimality_gap == pytest.approx(a, rel=1e-3)
    assert audit.verdict is Verdict.refuted


def test_an_optimum_that_is_not_attained() -> None:
    # Two strongly connected pairs with one edge between them: it can be scaled away for ever.
    j = np.array([[0, 1.0, 0, 0], [1.0, 0, 0, 0], [1e-5, 0, 0, 1.0], [0, 0, 1.0, 0]])
    audit = check(j, j)
    assert audit.balanced  # to the tolerance: the edge costs 1e-10
    assert not audit.ok and audit.optimality_gap is None
    assert kinds(audit) == ["not-optimal"] and "falls for ever" in places(audit)[0]
    assert any("no rescaling is optimal" in note for note in audit.notes)


@pytest.mark.parametrize("side", ["out", "in", "both"])
def test_dead_units_are_named_and_left_out(side: str) -> None:
    network = mlp([3, 5, 4, 2])
    start = values(network)
    if side != "in":
        start["fc2.weight"][:, 2] = 0.0
    if side != "out":
        start["fc1.weight"][2] = 0.0
        start["fc1.bias"][2] = 0.0
    before = network.with_parameters(start)
    after = solve(before).network
    audit = check(before, after)
    assert audit.ok and audit.balanced, audit.faults
    assert audit.notes[0] == "dead units, left out of the balance: fc1[2]"
    falls = [note for note in audit.notes if "could still fall (fc1[2])" in note]
    assert len(falls) == (side != "both")
    assert json.loads(json.dumps(audit.as_json(), allow_nan=False))["scales"]["fc1[2]"] == pytest.approx(0)
    # Scaled or not, what is left of it must be consistent.
    new = values(after)
    new["fc1.weight"][2] *= 3.0
    new["fc1.bias"][2] *= 3.0
    assert check(before, before.with_parameters(new)).same_orbit
    if side == "out":
        new["fc1.bias"][2] /= 3.0
        assert places(check(before, before.with_parameters(new))) == ["fc1.bias[2] (unit fc1[2])"]


def test_degree_zero_is_left_out() -> None:
    network = mlp([3, 5, 4, 2], activation="sign")
    audit = check(network, solve(network).network)
    assert audit.ok and any("degree ≤ 0" in note for note in audit.notes)


def test_without_free_scales_only_the_same_weights_will_do() -> None:
    network = mlp([3, 5, 2], activation="tanh")
    audit = check(network, network)
    assert audit.ok and audit.scales == {} and audit.imbalance == 0.0 and audit.optimality_gap is not None
    new = values(network)
    new["fc1.bias"][1] *= 1 + 1e-12
    audit = check(network, network.with_parameters(new))
    assert (kinds(audit), places(audit)) == (["not-a-rescaling"], ["fc1.bias[1]"])


def test_weights_that_are_all_zero() -> None:
    network = mlp([2, 3, 1])
    nothing = network.with_parameters({name: 0 * v for name, v in values(network).items()})
    audit = check(nothing, nothing)
    assert audit.ok and audit.optimality_gap == 0.0
    assert places(check(nothing, network)) and set(kinds(check(nothing, network))) == {"not-a-rescaling"}


# --- recurrent networks, shared weights ----------------------------------------------------------------


def _recurrent(**changed: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    arrays = {
        "J": rng.standard_normal((5, 5)),
        "W_in": rng.standard_normal((5, 2)),
        "b": rng.standard_normal(5),
        "W_out": rng.standard_normal((3, 5)),
    }
    return {**arrays, **changed}


def test_a_recurrent_network(tmp_path: Path) -> None:
    before = tmp_path / "before.npz"
    np.savez(before, **_recurrent())
    save(solve(load(before)).network, tmp_path / "after.npz")
    audit = check(before, tmp_path / "after.npz")
    assert audit.ok and audit.verdict is Verdict.certified
    assert audit.function_error is not None and 0 < audit.function_error < 1e-9
    with np.load(tmp_path / "after.npz") as arrays:
        wrong = {**dict(arrays), "b": _recurrent()["b"]}
    audit = check(before, wrong)
    assert places(audit) == [f"b[{i}] (unit s[{i}])" for i in range(5)]
    assert set(kinds(audit)) == {"bias-not-scaled"}
    assert audit.function_error is not None and audit.function_error > 1e-3


def test_a_matrix_alone_has_no_visible_unit() -> None:
    j = np.exp(np.random.default_rng(0).standard_normal((6, 6)))
    after = solve(load(j)).network
    audit = check(j, after)
    assert audit.ok and audit.function_error is None and audit.verdict is Verdict.certified
    d = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 1.0])
    assert check(j, d[:, None] * j / d).same_orbit
    wrong = d[:, None] * j / d
    wrong[2, 3] *= 1.001
    audit = check(j, wrong)
    assert (
        next(f for f in audit.faults if f.kind == "not-a-rescaling").where == "J[2,3] (units s[2] and s[3])"
    )


TIED = {
    "inputs": {"x": [3]},
    "parameters": {"W": weights(3, 3).tolist(), "V": weights(2, 3, seed=1).tolist()},
    "operations": [
        {"kind": "linear", "inputs": ["x", "W"], "output": "a"},
        {"kind": "activation", "function": "relu", "inputs": ["a"], "output": "r"},
        {"kind": "linear", "inputs": ["r", "W"], "output": "c"},
        {"kind": "activation", "function": "relu", "inputs": ["c"], "output": "s"},
        {"kind": "linear", "inputs": ["s", "V"], "output": "y"},
    ],
    "outputs": ["y"],
}


def test_tied_weights() -> None:
    after = solve(load(TIED)).network
    assert check(TIED, after).ok
    split = json.loads(json.dumps(TIED))
    split["parameters"]["W2"] = split["parameters"]["W"]
    split["operations"][2]["inputs"] = ["r", "W2"]
    audit = check(TIED, split)
    assert (kinds(audit), places(audit)) == (["tied-weights-split"], ["W became W, W2"])
    assert audit.function_error == 0.0 and not audit.same_orbit
    audit = check(split, TIED)
    assert (kinds(audit), places(audit)) == (["structure-differs"], ["W2 is called W"])


# --- files that are wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(bad: float, digits: Path, tmp_path: Path) -> None:
    proto = onnx.load(digits)
    stored = next(t for t in proto.graph.initializer if t.name == "fc1.weight")
    value = numpy_helper.to_array(stored).copy()
    value[3, 7] = bad
    stored.raw_data = value.tobytes()
    audit = check(digits, write(tmp_path / "bad.onnx", proto))
    assert (kinds(audit), places(audit)) == (["not-finite"], ["fc1.weight[3,7]"])
    assert audit.faults[0].size is None and audit.function_error is None and audit.imbalance is None
    assert not audit.ok and audit.verdict is Verdict.refuted
    json.dumps(audit.as_json(), allow_nan=False)
    with pytest.raises(ModelError, match=r"fc1.weight\[3,7\]"):
        check(tmp_path / "bad.onnx", digits)


def test_weights_that_have_run_away(before: Network, after: Values) -> None:
    """Their squares are beyond doubles; balance is judged all the same, and a gap beyond doubles is said."""
    wild = planted(before, after, fc1_weight=times(slice(None), 1e200))
    audit = check(before, wild)
    assert not audit.ok and not audit.same_orbit and "not-optimal" not in kinds(audit)
    assert audit.imbalance == pytest.approx(1.0)
    json.dumps(audit.as_json(), allow_nan=False)
    audit = check(before, wild, "log(1 + w**2)")  # no sum of powers
    assert not audit.ok and any("no certified optimality gap" in note for note in audit.notes)
    far = values(before)  # a rescaling, though
    far["fc1.weight"][2] *= 1e170
    far["fc1.bias"][2] *= 1e170
    far["fc2.weight"][:, 2] /= 1e170
    audit = check(before, before.with_parameters(far))
    assert audit.same_orbit and not audit.balanced and not audit.ok and audit.optimality_gap is None
    assert any(note.startswith("the cost is 10^33") for note in audit.notes)
    assert {"unbalanced-unit"} <= set(kinds(audit)) <= {"unbalanced-unit", "frozen-layer"}
    json.dumps(audit.as_json(), allow_nan=False)
    back = check(before.with_parameters(far), before.with_parameters(values(solve(before).network)))
    assert back.ok and back.optimality_gap is not None and back.optimality_gap < 1e-12


def test_a_rescaling_that_computes_something_else(
    before: Network, after: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By [B] Prop. 2.3 it cannot, but for rounding: this is the guard of our own rules.
    monkeypatch.setattr("balproof.crosscheck.audit.function_error", lambda *_: 0.01)
    audit = check(before, before.with_parameters(after))
    assert audit.same_orbit and audit.balanced and not audit.ok
    assert [(f.kind, f.size) for f in audit.faults] == [("function-differs", 0.01)]


def test_an_output_that_overflows() -> None:
    network = mlp([2, 3, 1], seed=3)
    new = values(network)
    new["fc1.weight"][:] = new["fc2.weight"][:] = 1e160
    audit = check(network, network.with_parameters(new), "lp:1.5")
    assert audit.function_error is None and any("overflow" in note for note in audit.notes)
    json.dumps(audit.as_json(), allow_nan=False)


def test_symbols_and_requests_are_refused_in_a_line() -> None:
    network = mlp([1, 1, 1])
    document = to_document(network)
    document["parameters"]["fc1.weight"] = [["a"]]
    for pair in ((document, network), (network, document)):
        with pytest.raises(ModelError, match="symbols") as caught:
            check(*pair)
        assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="no parameter is called 'fc9"):
        check(network, network, "fc9.*=l1")
    document["parameters"]["fc1.weight"] = [["1e400"]]
    with pytest.raises(ModelError, match=r"fc1.weight\[0,0\] is not finite"):
        check(document, network)
    assert kinds(check(network, document)) == ["not-finite"]
    with pytest.raises(ModelError, match="does not exist"):
        check(network, "nowhere.onnx")


def test_the_answer_in_json(before: Network) -> None:
    audit = check(before, before)
    answer = json.loads(json.dumps(audit.as_json(), allow_nan=False))
    assert set(answer) >= {
        "same_orbit",
        "function_error",
        "balanced",
        "imbalance",
        "optimality_gap",
        "faults",
        "verdict",
        "ok",
    }
    assert answer["faults"][0] == {
        "kind": "unbalanced-unit",
        "where": places(audit)[0],
        "size": audit.imbalance,
    }
    assert answer["verdict"] == "refuted" and answer["ok"] is False
