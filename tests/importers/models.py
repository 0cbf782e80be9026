"""Small ONNX models, made node by node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def model(
    nodes: list[Any],
    weights: dict[str, np.ndarray],
    *,
    x: tuple[Any, ...] = ("batch", 3),
    opset: int = 18,
    outputs: tuple[str, ...] = ("y",),
    kind: int = TensorProto.FLOAT,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model with input x and the given nodes; output shapes are left to be inferred."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    for result in graph.output:
        result.type.tensor_type.shape.SetInParent()
        result.type.tensor_type.shape.dim.add().dim_param = "batch"
        result.type.tensor_type.shape.dim.add()
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def write(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def run(path: Path | bytes, x: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of x."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
