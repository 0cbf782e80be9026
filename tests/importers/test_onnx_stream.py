"""Weights that go from a large file straight into arrays are those that the library reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from balproof.errors import ModelError
from balproof.importers import load, onnx_file, onnx_stream, save
from balproof.network.graph import Network

TYPES = {"float32": 1, "float64": 11, "float16": 10, "bfloat16": 16}


def model(dtype: str = "float32") -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    kind = TYPES[dtype]
    width = helper.tensor_dtype_to_np_dtype(kind)
    arrays = {
        "fc1.weight": rng.standard_normal((5, 4)).astype(width),
        "fc1.bias": rng.standard_normal(5).astype(width),
        "half": np.full((1, 5), 0.5).astype(width),  # a constant factor
    }
    nodes = [
        helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["z"], transB=1),
        helper.make_node("Mul", ["z", "half"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, kind, ["N", size]) for n, size in (("x", 4), ("y", 5))]
    tensors = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def values(network: Network) -> dict[str, tuple[str, str, str, bytes]]:
    return {
        t.name: (t.dtype, t.role, str(t.value.dtype), t.value.tobytes())
        for t in network.tensors.values()
        if t.value is not None
    }


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of some bytes counts as large."""
    monkeypatch.setattr(onnx_stream, "LARGE", 8)
    monkeypatch.setattr(onnx_file, "LARGE", 8)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_same_weights(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model(dtype), path)
    plain = load(path)
    monkeypatch.setattr(onnx_stream, "LARGE", 8)
    monkeypatch.setattr(onnx_file, "LARGE", 8)
    rest, data = onnx_stream.without_data(path) or (b"", {})
    assert set(data) == {0, 1, 2} and len(rest) < path.stat().st_size - sum(map(len, data.values()))
    large = load(path)
    assert values(large) == values(plain) and set(values(large)) == {"fc1.weight", "fc1.bias", "half"}
    assert [(o.kind, o.inputs) for o in large.operations] == [(o.kind, o.inputs) for o in plain.operations]
    save(large, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_what_is_left_is_the_model(tmp_path: Path, streamed: None) -> None:
    path = tmp_path / "m.onnx"
    whole = model()
    helper.set_model_props(whole, {"made": "for a test " * 30})  # a length of two bytes
    onnx.save(whole, path)
    found = onnx_stream.without_data(path)
    assert found is not None
    left = onnx.load_model_from_string(found[0])
    for place, data in found[1].items():
        left.graph.initializer[place].raw_data = data.tobytes()
    assert left == whole


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_said_to_be(kept: float, tmp_path: Path, streamed: None) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert onnx_stream.without_data(path) is None
    with pytest.raises(ModelError, match="no intact ONNX file"):
        load(path)


def test_a_message_in_two_parts_is_left_to_the_library(tmp_path: Path, streamed: None) -> None:
    """It merges them."""
    path = tmp_path / "m.onnx"
    onnx.save(model(), path)
    plain = load(path)
    more = onnx.ModelProto(graph=onnx.GraphProto(doc_string="more"))
    path.write_bytes(path.read_bytes() + more.SerializeToString())
    assert onnx_stream.without_data(path) is None
    assert values(load(path)) == values(plain)


@pytest.mark.parametrize("change, said", [(-4, r"76 bytes\) is too small"), (4, "holds 21 entries")])
def test_data_of_the_wrong_length(change: int, said: str, tmp_path: Path, streamed: None) -> None:
    wrong = model()
    data = wrong.graph.initializer[0].raw_data
    wrong.graph.initializer[0].raw_data = data[:change] if change < 0 else data + bytes(change)
    path = tmp_path / "m.onnx"
    onnx.save(wrong, path)
    with pytest.raises(ModelError, match=said):
        load(path)


def test_data_in_two_fields_and_names_twice_are_left_to_the_library(tmp_path: Path, streamed: None) -> None:
    both, twice = model(), model()
    both.graph.initializer[0].float_data.extend([1.0] * 20)
    twice.graph.initializer[1].name = "fc1.weight"
    for i, wrong in enumerate((both, twice)):
        path = tmp_path / f"{i}.onnx"
        onnx.save(wrong, path)
        with pytest.raises(ModelError, match="breaks a rule of ONNX"):
            load(path)
