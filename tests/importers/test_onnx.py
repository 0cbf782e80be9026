"""ONNX files. The expected values are those of onnxruntime."""

import os
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from balproof.errors import ModelError
from balproof.importers import load, save
from balproof.network.evaluate import evaluate
from balproof.network.manifold import infer
from tests.importers.models import model, run, weights, write

node = helper.make_node
W, V, B = weights(3, 4), weights(4, 2, seed=1), weights(4, seed=2)
C = np.float32([2.0, -0.5, 3.0, 0.25])

# Operator → nodes from x (batch, 3) to y, further weights, kinds expected.
CASES = {
    "Gemm": ([node("Gemm", ["x", "W", "B"], ["y"])], {"W": W, "B": B}, ["linear", "bias"]),
    "Gemm, transB": ([node("Gemm", ["x", "W"], ["y"], transB=1)], {"W": W.T.copy()}, ["linear"]),
    "Gemm, alpha": ([node("Gemm", ["x", "W"], ["y"], alpha=0.5)], {"W": W}, ["linear", "scale"]),
    "Gemm, alpha beta": (
        [node("Gemm", ["x", "W", "B"], ["y"], alpha=0.5, beta=-2.0)],
        {"W": W, "B": B},
        ["linear", "scale", "bias", "scale"],
    ),
    "Gemm, beta 0": ([node("Gemm", ["x", "W", "B"], ["y"], beta=0.0)], {"W": W, "B": B}, ["linear"]),
    "Gemm, C computed": (
        [node("MatMul", ["x", "W"], ["c"]), node("Gemm", ["x", "W", "c"], ["y"], alpha=2.0)],
        {"W": W},
        ["linear", "linear", "scale", "add"],
    ),
    "MatMul Add": (
        [node("MatMul", ["x", "W"], ["z"]), node("Add", ["B", "z"], ["y"])],
        {"W": W, "B": B},
        ["linear", "bias"],
    ),
    "MatMul, transposed": (
        [node("Transpose", ["W"], ["Wt"], perm=[1, 0]), node("MatMul", ["x", "Wt"], ["y"])],
        {"W": W.T.copy()},
        ["linear"],
    ),
    "MatMul, by another name": (
        [node("Identity", ["W"], ["W2"]), node("MatMul", ["x", "W2"], ["y"])],
        {"W": W},
        ["linear"],
    ),
    "Add of two": (
        [node("MatMul", ["x", "W"], ["z"]), node("Relu", ["z"], ["h"]), node("Add", ["z", "h"], ["y"])],
        {"W": W},
        ["linear", "activation", "add"],
    ),
    "Sum": (
        [node("MatMul", ["x", "W"], ["z"]), node("Abs", ["z"], ["h"]), node("Sum", ["z", "h", "z"], ["y"])],
        {"W": W},
        ["linear", "activation", "add"],
    ),
    "Sub of two": (
        [node("MatMul", ["x", "W"], ["z"]), node("Relu", ["z"], ["h"]), node("Sub", ["z", "h"], ["y"])],
        {"W": W},
        ["linear", "activation", "add"],
    ),
    "Sub of a bias": (
        [node("MatMul", ["x", "W"], ["z"]), node("Sub", ["z", "B"], ["y"])],
        {"W": W, "B": B},
        ["linear", "scale", "bias", "scale"],
    ),
    "Sub from a bias": (
        [node("MatMul", ["x", "W"], ["z"]), node("Sub", ["B", "z"], ["y"])],
        {"W": W, "B": B},
        ["linear", "scale", "bias"],
    ),
    "Mul": (
        [node("MatMul", ["x", "W"], ["z"]), node("Mul", ["C", "z"], ["y"])],
        {"W": W, "C": C},
        ["linear", "scale"],
    ),
    "Div": (
        [node("MatMul", ["x", "W"], ["z"]), node("Div", ["z", "C"], ["y"])],
        {"W": W, "C": C},
        ["linear", "scale"],
    ),
    "Neg": ([node("MatMul", ["x", "W"], ["z"]), node("Neg", ["z"], ["y"])], {"W": W}, ["linear", "scale"]),
    "Pow": (
        [node("MatMul", ["x", "W"], ["z"]), node("Pow", ["z", "E"], ["y"])],
        {"W": W, "E": np.float32(3)},
        ["linear", "activation"],
    ),
    "LeakyRelu": (
        [node("MatMul", ["x", "W"], ["z"]), node("LeakyRelu", ["z"], ["y"], alpha=0.01)],
        {"W": W},
        ["linear", "activation"],
    ),
    "PRelu": (
        [node("MatMul", ["x", "W"], ["z"]), node("PRelu", ["z", "C"], ["y"])],
        {"W": W, "C": C},
        ["linear", "prelu"],
    ),
    "Max": (
        [node("MatMul", ["x", "W"], ["z"]), node("Max", ["z", "O"], ["y"])],
        {"W": W, "O": np.float32(0)},
        ["linear", "activation"],
    ),
    "Min": (
        [node("MatMul", ["x", "W"], ["z"]), node("Min", ["O", "z"], ["y"])],
        {"W": W, "O": np.float32([0])},
        ["linear", "activation"],
    ),
    "Tanh": (
        [node("MatMul", ["x", "W"], ["z"]), node("Tanh", ["z"], ["y"])],
        {"W": W},
        ["linear", "activation"],
    ),
    "Sigmoid": (
        [node("MatMul", ["x", "W"], ["z"]), node("Sigmoid", ["z"], ["y"])],
        {"W": W},
        ["linear", "activation"],
    ),
    "Softplus": (
        [node("MatMul", ["x", "W"], ["z"]), node("Softplus", ["z"], ["y"])],
        {"W": W},
        ["linear", "activation"],
    ),
    "Identity Dropout": (
        [
            node("MatMul", ["x", "W"], ["z"]),
            node("Dropout", ["z"], ["d"]),
            node("Identity", ["d"], ["y"]),
        ],
        {"W": W},
        ["linear", "identity", "identity"],
    ),
    "Reshape Flatten": (
        [
            node("MatMul", ["x", "W"], ["z"]),
            node("Reshape", ["z", "shape"], ["r"]),
            node("Flatten", ["r"], ["y"]),
        ],
        {"W": W, "shape": np.int64([-1, 2, 2])},
        ["linear", "reshape", "reshape"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_operator_computes_what_onnxruntime_does(name: str, tmp_path: Path) -> None:
    nodes, held, kinds = CASES[name]
    path = write(tmp_path / "m.onnx", model(nodes, held))
    network = load(path)
    assert [op.kind for op in network.operations] == kinds
    x = weights(5, 3, seed=9)
    np.testing.assert_allclose(evaluate(network, {"x": x})["y"], run(path, x), rtol=1e-5, atol=1e-6)
    assert all(t.shape[0] == 1 for t in network.tensors.values() if t.role == "activation")


def test_the_digits_network(digits: Path) -> None:
    network = load(digits)
    assert [t.name for t in network.parameters] == [
        f"fc{i}.{p}" for i in (1, 2, 3) for p in ("weight", "bias")
    ]
    assert {t.dtype for t in network.parameters} == {"float32"}
    assert [op.name for op in network.operations if op.kind == "linear"] == ["fc1", "fc2", "fc3"]
    assert (network.inputs, network.outputs, network.format) == (("x",), ("logits",), "onnx")
    x = np.random.default_rng(0).random((20, 64), dtype=np.float32)
    np.testing.assert_allclose(evaluate(network, {"x": x})["logits"], run(digits, x), rtol=1e-5, atol=1e-5)


def test_roles(tmp_path: Path) -> None:
    nodes = [
        node("Constant", [], ["K"], value=numpy_helper.from_array(W, "")),
        node("MatMul", ["x", "K"], ["a"]),
        node("Add", ["a", "B"], ["b"]),
        node("Mul", ["b", "C"], ["c"]),
        node("PRelu", ["c", "P"], ["d"]),
        node("Hardmax", ["d"], ["e"]),
        node("Concat", ["e", "Q"], ["y"], axis=1),
    ]
    held = {"B": B, "C": C, "P": C, "Q": weights(1, 4), "unused": B}
    network = load(model(nodes, held))
    assert {
        n: t.role for n, t in network.tensors.items() if n in {**held, "K": W} and t.value is not None
    } == {
        "K": "constant",
        "B": "parameter",
        "C": "constant",
        "P": "parameter",
        "Q": "parameter",
    }
    unknown = [op for op in network.operations if op.kind == "unknown"]
    assert [op.attributes["op_type"] for op in unknown] == ["Hardmax"]
    assert unknown[0].inputs == ("d",)


def test_a_factor_that_is_a_weight_elsewhere_is_a_parameter() -> None:
    nodes = [
        node("MatMul", ["x", "S"], ["a"]),
        node("Mul", ["a", "S"], ["y"]),
    ]
    network = load(model(nodes, {"S": weights(1, 3)}, x=("batch", 1)))
    assert network.tensors["S"].role == "parameter"


def test_the_slope_of_a_leaky_relu_is_exact() -> None:
    nodes = [node("MatMul", ["x", "W"], ["z"]), node("LeakyRelu", ["z"], ["y"], alpha=0.2)]
    function = load(model(nodes, {"W": W})).operations[-1].attributes["function"]
    assert function(np.array([-1.0]))[0] == -0.2  # and not float(numpy.float32(0.2))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Gemm", ["W", "x"], ["y"], transB=1)],
        [node("Gemm", ["x", "W"], ["y"], transA=1)],
        [node("MatMul", ["x", "W"], ["z"]), node("Pow", ["E", "z"], ["y"])],
        [node("MatMul", ["x", "W"], ["z"]), node("Pow", ["z", "W"], ["y"])],
        [node("MatMul", ["x", "W"], ["z"]), node("Div", ["z", "O"], ["y"])],
        [node("MatMul", ["x", "W"], ["z"]), node("Div", ["z", "W"], ["y"])],
        [node("MatMul", ["x", "W"], ["z"]), node("Max", ["z", "W"], ["y"])],
        [node("Mul", ["W", "W"], ["V"]), node("Softmax", ["V"], ["U"]), node("MatMul", ["x", "U"], ["y"])],
        [node("MatMul", ["x", "W"], ["z"]), node("Dropout", ["z", "O", "T"], ["y"])],
    ],
    ids=lambda nodes: ", ".join(n.op_type for n in nodes),
)
def test_what_has_no_rule_is_unknown(nodes: list[onnx.NodeProto]) -> None:
    held = {"W": weights(3, 3), "E": np.float32(2), "O": np.float32(0), "T": np.bool_(True)}
    network = load(_square(nodes, held))
    unknown = [op for op in network.operations if op.kind == "unknown"]
    assert unknown
    assert {op.attributes["op_type"] for op in unknown} <= {n.op_type for n in nodes}
    assert infer(network).free_scales == 0


def _square(nodes: list[onnx.NodeProto], held: dict[str, np.ndarray]) -> onnx.ModelProto:
    """With transA the batch axis is contracted, so W must have one row."""
    if any(a.name == "transA" for n in nodes for a in n.attribute):
        held = {**held, "W": weights(1, 3)}
    return model(nodes, held)


def test_an_operator_of_another_domain_is_unknown() -> None:
    proto = model(
        [node("Relu", ["x"], ["r"], domain="mine"), node("MatMul", ["r", "W"], ["y"])],
        {"W": W},
        domains=("mine",),
    )
    proto.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, ["batch", 3]))
    network = load(proto)
    assert [op.kind for op in network.operations] == ["unknown", "linear"]


def test_functions_are_inlined() -> None:
    body = helper.make_function(
        "local",
        "Layer",
        ["a", "w"],
        ["b"],
        [node("MatMul", ["a", "w"], ["b"])],
        [helper.make_opsetid("", 18)],
    )
    proto = model([node("Layer", ["x", "W"], ["y"], domain="local")], {"W": W}, domains=("local",))
    proto.functions.append(body)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    assert [op.kind for op in load(proto).operations] == ["linear"]


def test_an_initializer_among_the_inputs_is_a_parameter() -> None:
    proto = model([node("MatMul", ["x", "W"], ["y"])], {"W": W})
    proto.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, W.shape))
    network = load(proto)
    assert network.inputs == ("x",)
    assert network.tensors["W"].role == "parameter"


def test_names_of_operations() -> None:
    nodes = [
        node("MatMul", ["x", "a.weight"], ["1"], name="m"),
        node("MatMul", ["1", "b.weight"], ["2"]),
        node("MatMul", ["2", "b.weight"], ["3"]),
        node("MatMul", ["3", "onnx::MatMul_7"], ["4"], name="last"),
        node("Relu", ["4"], ["y"]),
    ]
    held = {"a.weight": weights(3, 3), "b.weight": weights(3, 3), "onnx::MatMul_7": weights(3, 3)}
    assert [op.name for op in load(model(nodes, held)).operations] == ["a", "b", "b_2", "last", "y"]


# --- written back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "field"])
def test_written_back_in_the_same_type_and_field(dtype: str, raw: bool, tmp_path: Path) -> None:
    kind = {"float16": 10, "bfloat16": 16, "float32": 1, "float64": 11}[dtype]
    native = helper.tensor_dtype_to_np_dtype(kind)
    value = W.astype(native)
    proto = model([node("MatMul", ["x", "W"], ["y"])], {"W": W}, kind=kind)
    if raw:
        stored = helper.make_tensor("W", kind, W.shape, value.tobytes(), raw=True)
    else:
        stored = helper.make_tensor("W", kind, W.shape, value.astype(np.float64).ravel())
    proto.graph.initializer[0].CopyFrom(stored)
    path = write(tmp_path / "m.onnx", proto)
    network = load(path)
    assert network.tensors["W"].dtype == dtype
    np.testing.assert_array_equal(network.tensors["W"].value, value.astype(np.float64))
    save(network, tmp_path / "same.onnx")
    assert onnx.load(tmp_path / "same.onnx") == proto
    save(network.with_parameters({"W": network.tensors["W"].value * 3}), tmp_path / "other.onnx")
    other = onnx.load(tmp_path / "other.onnx").graph.initializer[0]
    assert other.HasField("raw_data") == raw
    assert other.data_type == kind
    expected = (value.astype(np.float64) * 3).astype(native)
    np.testing.assert_array_equal(numpy_helper.to_array(other), expected)


def test_only_the_data_of_the_parameters_changes(digits: Path, tmp_path: Path) -> None:
    network = load(digits)
    doubled = {t.name: 2 * t.value for t in network.parameters if t.name.startswith("fc1")}
    halved = {"fc2.weight": network.tensors["fc2.weight"].value / 2}
    save(network.with_parameters({**doubled, **halved}), tmp_path / "b.onnx")
    before, after = onnx.load(digits), onnx.load(tmp_path / "b.onnx")
    x = np.random.default_rng(1).random((9, 64), dtype=np.float32)
    np.testing.assert_array_equal(run(tmp_path / "b.onnx", x), run(digits, x))  # powers of two round nowhere
    assert numpy_helper.to_array(after.graph.initializer[0]).sum() != 0
    assert after != before
    for proto in (before, after):
        for tensor in proto.graph.initializer:
            tensor.ClearField("raw_data")
    assert after == before


def test_external_data_is_read_from_beside_the_model_only(tmp_path: Path) -> None:
    proto = model([node("MatMul", ["x", "W"], ["y"])], {"W": W})
    onnx.save_model(
        proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    network = load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(network.tensors["W"].value, W)
    save(network, tmp_path / "whole.onnx")
    (tmp_path / "w.bin").unlink()
    np.testing.assert_array_equal(load(tmp_path / "whole.onnx").tensors["W"].value, W)
    with pytest.raises(ModelError, match=r"'w.bin' does not exist: put the data beside the model"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "sub/../../w.bin", "link", ""])
def test_external_data_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    (folder / "link").symlink_to(tmp_path / "w.bin")
    path = _external(folder / "m.onnx", location)
    with pytest.raises(ModelError, match="outside the model's folder"):
        load(path)


@pytest.mark.parametrize(
    "notes", [{"offset": "4"}, {"offset": "-4"}, {"length": "4"}, {"offset": "x"}, {"length": "9999999999"}]
)
def test_external_data_that_does_not_fit_is_refused(notes: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    load(_external(tmp_path / "good.onnx", "w.bin"))
    with pytest.raises(ModelError, match=r"not all in|no proper offset"):
        load(_external(tmp_path / "m.onnx", "w.bin", **notes))


def _external(path: Path, location: str, **notes: str) -> Path:
    proto = model([node("MatMul", ["x", "W"], ["y"])], {"W": W})
    stored = proto.graph.initializer[0]
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **notes}.items():
        stored.external_data.add(key=key, value=value)
    return write(path, proto)


def test_a_weight_that_does_not_fit_its_type_is_refused_and_nothing_written(
    digits: Path, tmp_path: Path
) -> None:
    network = load(digits)
    value = network.numbers("fc1.weight").copy()
    value[3, 7] = 1e39
    target = tmp_path / "b.onnx"
    with pytest.raises(ModelError, match=r"fc1.weight\[3,7\] = 1e\+39 does not fit float32"):
        save(network.with_parameters({"fc1.weight": value}), target)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_changed_its_structure_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", model([node("MatMul", ["x", "W"], ["y"])], {"W": W}))
    network = load(path)
    write(path, model([node("MatMul", ["x", "W2"], ["y"])], {"W2": W}))
    with pytest.raises(ModelError, match="no longer has 'W'"):
        save(network, tmp_path / "b.onnx")
    with pytest.raises(ModelError, match="model in memory"):
        save(load(onnx.load(path)), tmp_path / "b.onnx")


# --- hostile files ------------------------------------------------------------------------------------


def test_nan_is_named(digits: Path, tmp_path: Path) -> None:
    proto = onnx.load(digits)
    value = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    value[3, 7] = np.nan
    value[4, 1] = np.inf
    proto.graph.initializer[0].raw_data = value.tobytes()
    with pytest.raises(ModelError, match=r"^fc1.weight\[3,7\] is nan \(and 1 more\): ") as caught:
        load(write(tmp_path / "m.onnx", proto))
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused_wherever_it_ends(digits: Path, tmp_path: Path) -> None:
    content = digits.read_bytes()
    path = tmp_path / "m.onnx"
    for end in [0, 1, 10, *range(100, len(content), 997), len(content) - 1]:
        path.write_bytes(content[:end])
        with pytest.raises(ModelError) as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_bytes_at_random_are_refused_or_read(digits: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content = np.frombuffer(digits.read_bytes(), dtype=np.uint8)
    path = tmp_path / "m.onnx"
    refused = 0
    for _ in range(60):
        damaged = content.copy()
        spots = np.concatenate([rng.integers(0, 120, 2), rng.integers(0, len(content), 2)])
        damaged[spots] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            load(path)
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 5


MATMUL = [node("MatMul", ["x", "W"], ["y"])]


@pytest.mark.parametrize("opset", [12, 22])
def test_an_opset_outside_13_to_21_is_refused(opset: int) -> None:
    with pytest.raises(ModelError, match=f"ONNX opset {opset}: export it with an opset from 13 to 21"):
        load(model(MATMUL, {"W": W}, opset=opset))


@pytest.mark.parametrize("opset", [13, 21])
def test_the_opsets_at_the_ends_are_read(opset: int) -> None:
    assert load(model(MATMUL, {"W": W}, opset=opset)).parameters[0].shape == (3, 4)


def test_control_flow_is_refused() -> None:
    branch = helper.make_graph(
        [node("Relu", ["x"], ["r"])], "b", [], [helper.make_tensor_value_info("r", 1, None)]
    )
    nodes = [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch, name="choice")]
    with pytest.raises(ModelError, match=r"control flow \(If, node choice\)"):
        load(model(nodes, {"c": np.bool_(True), "W": W}))
    body = helper.make_graph(
        [node("Identity", ["c_in"], ["c_out"]), node("Relu", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", 1, None),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", 1, None),
        ],
    )
    with pytest.raises(ModelError, match="control flow"):
        load(model([node("Loop", ["n", "", "x"], ["y"], body=body)], {"n": np.int64(3), "W": W}))


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="no parameters"):
        load(model([node("Relu", ["x"], ["y"])], {}))


@pytest.mark.parametrize(
    ("x", "match"),
    [
        ((3,), "export it with a batch axis"),
        (("batch", "free"), "axis of free length"),
        (("batch", 5), "do not fit"),
    ],
)
def test_shapes_that_cannot_be_told_are_refused(x: tuple[object, ...], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        load(model(MATMUL, {"W": W}, x=x))


def test_an_unknown_shape_is_refused() -> None:
    nodes = [node("Odd", ["x"], ["r"], domain="mine"), node("MatMul", ["r", "W"], ["y"])]
    with pytest.raises(ModelError, match="the shape of 'r' cannot be told"):
        load(model(nodes, {"W": W}, domains=("mine",)))


def test_a_shape_that_promises_more_than_the_data_is_refused_before_anything_is_allocated() -> None:
    for dims in ([1 << 20, 1 << 11], [1 << 40, 1 << 40], [-3, -4], [3, 5]):
        proto = model(MATMUL, {"W": W})
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ModelError, match="W"):
            load(proto)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_an_activation_of_absurd_size_is_refused() -> None:
    nodes = [*MATMUL[:0], node("MatMul", ["x", "W"], ["z"]), node("Expand", ["z", "s"], ["y"])]
    with pytest.raises(ModelError, match="more than"):
        load(model(nodes, {"W": W, "s": np.int64([1 << 30, 4])}))


def test_types_that_are_not_read_are_refused() -> None:
    proto = model(MATMUL, {"W": W})
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("W", TensorProto.COMPLEX64, [1], [1 + 2j]))
    with pytest.raises(ModelError, match="element type"):
        load(proto)


def test_sparse_initializers_are_refused() -> None:
    proto = model(MATMUL, {"W": W})
    values = helper.make_tensor("S", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    with pytest.raises(ModelError, match="sparse"):
        load(proto)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match="is not a file"):
        load(tmp_path / "folder.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="is not a file"):
        load(tmp_path / "pipe.onnx")
