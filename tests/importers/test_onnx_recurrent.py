"""Recurrent layers in ONNX files, compared with onnxruntime, and their scales counted without any rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from balproof.errors import ModelError
from balproof.importers import load, onnx_recurrent
from balproof.network import rules
from balproof.network.evaluate import can_run, evaluate
from balproof.network.manifold import infer
from tests.importers.models import counted, model, verified, weights, write

node = helper.make_node
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
T, INTO, N = 4, 2, 3


def layer(
    op: str,
    direction: str = "forward",
    *,
    bias: bool = True,
    state: dict[str, np.ndarray] | None = None,
    results: tuple[str, ...] = ("Y", "Y_h"),
    **attributes: Any,
) -> onnx.ModelProto:
    """x → transposed → the layer → a dense layer that reads all results, batch in front."""
    d = 2 if direction == "bidirectional" else 1
    held = {
        "W": weights(d, GATES[op] * N, INTO, seed=1),
        "R": weights(d, GATES[op] * N, N, seed=2) / np.float32(2),
        "V": weights(d * N, 2, seed=6),
        "rows": np.int64([0, -1, d * N]),
        "one": np.int64([1]),
        **(state or {}),
    }
    inputs = ["t", "W", "R", "", "", *(state or ())]
    if bias:
        held["B"], inputs[3] = weights(d, 2 * GATES[op] * N, seed=3), "B"
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(op, inputs, list(results), hidden_size=N, direction=direction, **attributes),
    ]
    parts: list[str] = []
    for name in filter(None, results):
        perm = [2, 0, 1, 3] if name == "Y" else [1, 0, 2]
        nodes.append(node("Transpose", [name], [f"{name}t"], perm=perm))
        nodes.append(node("Reshape", [f"{name}t", "rows"], [f"{name}r"]))
        parts.append(f"{name}r")
    nodes.append(node("Concat", parts, ["all"], axis=1))
    nodes.append(node("MatMul", ["all", "V"], ["y"]))
    return model(nodes, held, x=(1 if state else "batch", T, INTO))


def found(proto: onnx.ModelProto, folder: Path) -> Any:
    batch = 1 if proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1 else 3
    manifold = verified(write(folder / "m.onnx", proto), weights(batch, T, INTO, seed=9))
    assert can_run(manifold.network)
    return manifold


RELU: dict[str, Any] = {"activations": ["Relu"]}


@pytest.mark.parametrize("bias", [True, False], ids=["biases", "none"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [("RNN", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("LSTM", {})],
    ids=["RNN", "GRU", "GRU, reset last", "LSTM"],
)
def test_gates_pin(op: str, attributes: dict[str, Any], direction: str, bias: bool, tmp_path: Path) -> None:
    manifold = found(layer(op, direction, bias=bias, **attributes), tmp_path)
    assert manifold.free_scales == 0
    assert any("is not homogeneous" in u.why for u in manifold.units)
    assert {u.free for u in manifold.units} == {False}


@pytest.mark.parametrize("bias", [True, False], ids=["biases", "none"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_units_of_a_relu_layer_scale(direction: str, bias: bool, tmp_path: Path) -> None:
    n = 2 if direction == "bidirectional" else 1
    manifold = found(layer("RNN", direction, bias=bias, activations=["Relu"] * n), tmp_path)
    assert manifold.free_scales == n * N == counted(manifold.network)


@pytest.mark.parametrize(
    ("names", "attributes", "free"),
    [
        (["LeakyRelu"], {"activation_alpha": [0.2]}, N),
        (["LeakyRelu"], {}, N),
        (["Affine"], {"activation_alpha": [0.5], "activation_beta": [0.0]}, N),
        (["Affine"], {"activation_alpha": [0.5], "activation_beta": [0.25]}, 0),
        (["Softsign"], {}, 0),
    ],
)
def test_other_activations(names: list[str], attributes: dict[str, Any], free: int, tmp_path: Path) -> None:
    manifold = found(layer("RNN", activations=names, **attributes), tmp_path)
    assert manifold.free_scales == free == counted(manifold.network)


def test_a_cell_without_gates_that_saturate(tmp_path: Path) -> None:
    """With linear outputs the cell has a scale: i and o pin, c and h do not."""
    manifold = found(layer("LSTM", activations=["Sigmoid", "Relu", "Relu"]), tmp_path)
    assert manifold.free_scales == counted(manifold.network, 2)


@pytest.mark.parametrize("results", [("Y",), ("", "Y_h"), ("", "", "Y_c"), ("Y", "Y_h", "Y_c")])
def test_any_of_the_results(results: tuple[str, ...], tmp_path: Path) -> None:
    assert found(layer("LSTM", "bidirectional", results=results), tmp_path).free_scales == 0


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_an_initial_state_that_is_learned_scales(direction: str, tmp_path: Path) -> None:
    d = 2 if direction == "bidirectional" else 1
    state = {"h0": weights(d, 1, N, seed=4)}
    manifold = found(layer("RNN", direction, state=state, activations=["Relu"] * d), tmp_path)
    assert manifold.network.tensors["h0"].role == "parameter"
    assert manifold.free_scales == d * N == counted(manifold.network)
    both = {"h0": weights(d, 1, N, seed=4), "c0": weights(d, 1, N, seed=5)}
    assert found(layer("LSTM", direction, state=both), tmp_path).free_scales == 0


def test_an_initial_state_of_zeros_that_an_exporter_wrote_is_none(tmp_path: Path) -> None:
    manifold = found(layer("RNN", state={"val_7": np.zeros((1, 1, N), np.float32)}, **RELU), tmp_path)
    assert "val_7" not in {t.name for t in manifold.network.parameters}
    assert manifold.free_scales == N


def test_an_initial_state_that_is_given_is_visible() -> None:
    proto = layer("RNN", **RELU)
    proto.graph.node[1].input.append("s")
    given = helper.make_tensor_value_info("h0", onnx.TensorProto.FLOAT, ["batch", 1, N])
    proto.graph.input.append(given)
    proto.graph.node.insert(0, node("Transpose", ["h0"], ["s"], perm=[1, 0, 2]))
    network = load(proto)
    assert can_run(network)
    assert infer(network).free_scales == 0
    x, h = weights(3, T, INTO, seed=9), weights(3, 1, N, seed=8)
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x, "h0": h})[0]
    np.testing.assert_allclose(evaluate(network, {"x": x, "h0": h})["y"], expected, rtol=1e-5, atol=1e-5)


def test_all_times_tie_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the equations of further uses of a weight, a network is claimed to have scales it has not."""
    proto = layer("RNN", **RELU)
    rule = rules.RULES["linear"]

    def untied(op: Any, tensors: Any, scales: Any, new: Any) -> rules.Implication:
        demand = rule.imply(op, tensors, scales, new)
        return dataclasses.replace(demand, parameters=() if "R" in op.inputs else demand.parameters)

    broken = dataclasses.replace(rule, imply=untied)
    monkeypatch.setattr(rules, "RULES", MappingProxyType({**rules.RULES, "linear": broken}))
    with pytest.raises(AssertionError):
        found(proto, tmp_path)


@pytest.mark.parametrize(
    ("op", "attributes", "more"),
    [
        ("RNN", {"clip": 1.0}, {}),
        ("LSTM", {"input_forget": 1}, {}),
        ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [1.0]}, {}),
        ("RNN", {"activations": ["Affine"]}, {}),
        ("LSTM", {}, {7: ("P", weights(1, 3 * N))}),
        ("RNN", RELU, {4: ("lengths", np.int32([T]))}),
    ],
)
def test_what_is_not_covered_pins(op: str, attributes: dict[str, Any], more: dict[int, Any]) -> None:
    proto = layer(op, **attributes)
    recurrent = proto.graph.node[1]
    for slot, (name, value) in more.items():
        recurrent.input.extend([""] * (slot + 1 - len(recurrent.input)))
        recurrent.input[slot] = name
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        if name == "lengths":
            proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    network = load(proto)
    assert {"Y", "Y_h"} <= {o.output for o in network.operations if o.kind == "unknown"}
    assert infer(network).free_scales == 0


@pytest.mark.parametrize("batch", [1, "batch"])
def test_rows_that_are_a_batch_of_the_layer_pin(batch: int | str) -> None:
    """A batch of 5 rows each, of which the layer takes the rows for its batch."""
    nodes = [
        node("RNN", ["x", "W", "R"], ["Y"], hidden_size=N, activations=["Relu"]),
        node("Squeeze", ["Y", "one"], ["s"]),
        node("MatMul", ["s", "V"], ["y"]),
    ]
    held = {"W": weights(1, N, INTO), "R": weights(1, N, N), "V": weights(N, 2), "one": np.int64([1])}
    network = load(model(nodes, held, x=(batch, 5, INTO)))
    assert "unknown" in {op.kind for op in network.operations}
    assert infer(network).free_scales == 0


def test_different_activations_for_the_directions_pin() -> None:
    network = load(layer("RNN", "bidirectional", activations=["Relu", "Tanh"]))
    assert "unknown" in {op.kind for op in network.operations}
    assert infer(network).free_scales == 0


def test_a_result_of_the_whole_has_its_batch_in_front() -> None:
    """Y_h is (1, batch, hidden): as a result it pins, but the rest is run."""
    proto = layer("RNN", **RELU)
    proto.graph.output.append(helper.make_tensor_value_info("Y_h", onnx.TensorProto.FLOAT, [1, "batch", N]))
    network = load(proto)
    unknown = [op for op in network.operations if op.kind == "unknown"]
    assert [op.output for op in unknown] == ["Y_h", "Y_ht"]
    assert infer(network).free_scales == 0


def test_a_long_sequence_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_recurrent, "MAX_UNROLLED", T * N - 1)
    with pytest.raises(
        ModelError, match=r"^RNN W has 12 entries in 4 steps, more than 11: export it with"
    ) as e:
        load(layer("RNN"))
    assert "\n" not in str(e.value)
