"""Small ONNX models, made node by node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from balproof.importers import load, save
from balproof.network.evaluate import can_run, evaluate
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer


def model(
    nodes: list[Any],
    weights: dict[str, np.ndarray],
    *,
    x: tuple[Any, ...] = ("batch", 3),
    opset: int = 18,
    outputs: tuple[str, ...] = ("y",),
    kind: int = TensorProto.FLOAT,
    domains: tuple[str, ...] = (),
    given: int | None = None,
) -> onnx.ModelProto:
    """A model with input x and the given nodes; output lengths are left to be inferred.

    ``kind`` is the element type, and that of x unless ``given`` says otherwise.
    """
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", given or kind, x)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(proto).graph.output
    for result, found in zip(proto.graph.output, inferred, strict=True):
        result.type.tensor_type.shape.SetInParent()
        result.type.tensor_type.shape.dim.add().dim_param = "batch"
        for _ in range(len(found.type.tensor_type.shape.dim or "xy") - 1):
            result.type.tensor_type.shape.dim.add()
    return proto


def write(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def run(path: Path | bytes, x: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of x."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def counted(network: Network, trials: int = 4) -> int:
    """How many rescalings of the learned weights keep the outputs, without any scaling rule.

    The null space of the derivatives (by differences) of the outputs in the log-scales, at several random
    choices of the weights under one another. Where there are buffers, they would have to follow.
    """
    learned = [t for t in network.parameters if not t.buffer]
    ends = np.cumsum([0, *(t.size for t in learned)])
    rows: list[np.ndarray] = []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        at = [rng.standard_normal(t.shape) for t in learned]
        points = 20 + 4 * int(ends[-1])
        given = {n: 2 * rng.standard_normal((points, *network.tensors[n].shape[1:])) for n in network.inputs}

        def outputs(
            logs: np.ndarray, at: list[np.ndarray] = at, given: dict[str, np.ndarray] = given
        ) -> np.ndarray:
            values = {
                t.name: v * np.exp(logs[i:j].reshape(t.shape))
                for t, v, i, j in zip(learned, at, ends, ends[1:], strict=False)
            }
            found = evaluate(network.with_parameters(values), given)
            return np.concatenate([found[n].ravel() for n in network.outputs])

        steps = 1e-6 * np.eye(int(ends[-1]))
        rows.append(np.stack([(outputs(h) - outputs(-h)) / 2e-6 for h in steps], axis=1))
    singular = np.linalg.svd(np.concatenate(rows), compute_uv=False)
    return int(ends[-1]) - int((singular > 1e-6 * singular[0]).sum())


def verified(path: Path, x: np.ndarray) -> Manifold:
    """The manifold of a model, after trials: onnxruntime computes from x what we do (where every operation
    can be run), and the same once the parameters are rescaled at random along the manifold."""
    network = load(path)
    name, expected = network.outputs[0], run(path, x)
    close = {"rtol": 1e-5, "atol": 1e-5 * float(np.abs(expected).max())}
    if can_run(network):
        np.testing.assert_allclose(evaluate(network, {network.inputs[0]: x})[name], expected, **close)
    manifold = infer(network)
    h = np.random.default_rng(3).uniform(-1, 1, manifold.count)
    rescaled = manifold.rescale(h)
    if can_run(network):
        before, after = (evaluate(n, {network.inputs[0]: x})[name] for n in (network, rescaled))
        np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-12 * float(np.abs(expected).max()))
    after_path = path.with_suffix(".after.onnx")
    save(rescaled, after_path)
    np.testing.assert_allclose(run(after_path, x), expected, **close)
    return manifold
