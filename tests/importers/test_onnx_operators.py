"""Every operator that is translated, in a network of two layers around it: x → weights → operator → weights.

What is computed is compared with onnxruntime, before and after a random rescaling along the manifold. The
numbers of free scales are counted by hand: the first layer has 4 units.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from balproof.importers import (
    load,
    onnx_elementwise,
    onnx_layout,
    onnx_lifted,
    onnx_linear,
    onnx_recurrent,
    onnx_resize,
)
from balproof.importers.onnx_graph import OPERATORS
from balproof.network.rules import RULES
from tests.importers.models import model, verified, weights, write

node = helper.make_node
IMAGE, ROWS, FLAT = ("batch", 2, 6, 6), ("batch", 5, 3), ("batch", 3)
C4 = weights(4, seed=5)
POSITIVE = np.abs(weights(4, seed=6)) + np.float32(0.5)


def ints(*values: int) -> np.ndarray:
    return np.int64(values)


@dataclass(frozen=True)
class Case:
    """Nodes from z (4 channels; of an image, in rows, or flat) to r, then a layer that reads ``n`` units."""

    x: tuple[Any, ...]
    nodes: list[Any]
    free: int
    held: dict[str, np.ndarray] = field(default_factory=dict)
    n: int = 4
    flat: bool = False  # the last layer is dense
    opset: int = 18
    unknown: bool = False


def one(op: str, inputs: str = "z", **attributes: Any) -> list[Any]:
    return [node(op, inputs.split(), ["r"], **attributes)]


def of_two(op: str) -> list[Any]:
    return [node("Conv", ["x", "W2"], ["z2"], pads=[1, 1, 1, 1]), node(op, ["z", "z2"], ["r"])]


MASK = np.array([[True, False, False, False]])
W2 = {"W2": weights(4, 2, 3, 3, seed=8)}
NORM = {"g.weight": POSITIVE, "g.bias": C4}
BATCH = {**NORM, "mean": weights(4, seed=10), "variance": POSITIVE}

CASES: dict[str, Case] = {
    # entry by entry
    **{
        op: Case(IMAGE, one(op), 4)
        for op in ("Relu", "LeakyRelu", "Abs", "Sign", "Neg", "Identity", "Dropout", "Reciprocal", "Sum")
    },
    **{
        op: Case(FLAT, one(op), 0)
        for op in (
            "Sigmoid",
            "Tanh",
            "Erf",
            "HardSigmoid",
            "HardSwish",
            "Elu",
            "Selu",
            "Celu",
            "Softplus",
            "Softsign",
            "Mish",
            "Exp",
            "Sin",
            "Cos",
            "Atan",
        )
    },
    "Elu, alpha": Case(FLAT, one("Elu", alpha=0.3), 0),
    "Celu, alpha": Case(FLAT, one("Celu", alpha=0.3), 0),
    "Celu, negative alpha": Case(FLAT, one("Celu", alpha=-0.5), 0),
    "HardSigmoid, alpha": Case(FLAT, one("HardSigmoid", alpha=0.3, beta=0.4), 0),
    "Gelu": Case(FLAT, one("Gelu"), 0, opset=20),
    "Gelu, tanh": Case(FLAT, one("Gelu", approximate="tanh"), 0, opset=20),
    "Sqrt": Case(FLAT, [node("Abs", ["z"], ["a"]), node("Sqrt", ["a"], ["r"])], 4),
    "Pow": Case(FLAT, one("Pow", "z E"), 4, {"E": np.float32(2)}),
    "Pow, root": Case(
        FLAT, [node("Abs", ["z"], ["a"]), node("Pow", ["a", "E"], ["r"])], 4, {"E": np.float32(1.5)}
    ),
    "PRelu": Case(IMAGE, one("PRelu", "z A"), 4, {"A": weights(4, 1, 1)}),
    "PRelu, unsqueezed": Case(
        IMAGE,
        [node("Unsqueeze", ["A", "axes"], ["A3"]), node("PRelu", ["z", "A3"], ["r"])],
        4,
        {"A": C4, "axes": ints(1, 2)},
    ),
    "Clip, relu6": Case(FLAT, one("Clip", "z low high"), 0, {"low": np.float32(0), "high": np.float32(6)}),
    "Clip, below": Case(FLAT, one("Clip", "z low"), 4, {"low": np.float32(0)}),
    "Clip, above": Case(IMAGE, [node("Clip", ["z", "", "high"], ["r"])], 4, {"high": np.float32(0)}),
    "Clip, no bound": Case(FLAT, one("Clip"), 4),
    "Clip, crossed": Case(FLAT, one("Clip", "z low high"), 4, {"low": np.float32(1), "high": np.float32(-1)}),
    "Max of two": Case(IMAGE, of_two("Max"), 4, W2),
    "Min of two": Case(IMAGE, of_two("Min"), 4, W2),
    "Max with 0": Case(FLAT, one("Max", "z O"), 4, {"O": np.float32(0)}),
    "Min with 1": Case(FLAT, one("Min", "O z"), 0, {"O": np.float32([1])}),
    "Max of two and 0": Case(
        IMAGE,
        [node("Conv", ["x", "W2"], ["z2"], pads=[1, 1, 1, 1]), node("Max", ["z", "O", "z2"], ["r"])],
        4,
        {**W2, "O": np.float32(0)},
    ),
    "Add of two": Case(IMAGE, of_two("Add"), 4, W2),
    "Sub of two": Case(IMAGE, of_two("Sub"), 4, W2),
    "Mul of two": Case(IMAGE, of_two("Mul"), 8, W2),
    "Div of two": Case(
        IMAGE,
        [node("Conv", ["x", "W2", "b2"], ["z2"], pads=[1, 1, 1, 1]), node("Div", ["z", "z2"], ["r"])],
        8,
        {**W2, "b2": np.float32([20, -20, 20, 30])},
    ),
    "Mul by itself": Case(IMAGE, one("Mul", "z z"), 4),
    "Add of a channel bias": Case(IMAGE, one("Add", "z b"), 4, {"b": weights(4, 1, 1)}),
    "Add of a bias, unsqueezed": Case(
        IMAGE,
        [node("Unsqueeze", ["b", "axes"], ["b3"]), node("Add", ["b3", "z"], ["r"])],
        4,
        {"b": C4, "axes": ints(1, 2)},
    ),
    "Add of an epsilon": Case(IMAGE, one("Add", "z eps"), 0, {"eps": np.float32(1e-3)}),
    "Sum with biases": Case(FLAT, one("Sum", "z b z b2"), 4, {"b": C4, "b2": POSITIVE}),
    "Sub of a number": Case(FLAT, one("Sub", "z eps"), 0, {"eps": np.float32(1e-3)}),
    "Sub of a bias": Case(FLAT, one("Sub", "z b"), 4, {"b": C4}),
    "Sub from a bias": Case(FLAT, one("Sub", "b z"), 4, {"b": C4}),
    "Mul by a constant": Case(IMAGE, one("Mul", "z c"), 4, {"c": weights(4, 1, 1)}),
    "Mul by a weight": Case(FLAT, one("Mul", "z g.weight"), 8, {"g.weight": POSITIVE}),
    "Div by a constant": Case(FLAT, one("Div", "z c"), 4, {"c": POSITIVE}),
    "Div of a constant": Case(FLAT, one("Div", "c z"), 4, {"c": np.float32(3)}),
    "Div of 1": Case(FLAT, one("Div", "c z"), 4, {"c": np.float32(1)}),
    "Cast": Case(FLAT, one("Cast", to=TensorProto.FLOAT), 4),
    # weights
    "Gemm": Case(FLAT, one("Gemm", "z U b"), 9, {"U": weights(4, 5), "b": weights(5)}, 5),
    "Gemm, transB": Case(FLAT, one("Gemm", "z U", transB=1, alpha=0.5), 9, {"U": weights(5, 4)}, 5),
    "MatMul": Case(ROWS, one("MatMul", "z U"), 9, {"U": weights(4, 5)}, 5),
    "MatMul from the left": Case(ROWS, one("MatMul", "U z"), 5, {"U": weights(7, 5)}),
    "MatMul of two": Case(
        ROWS,
        [node("Transpose", ["z"], ["t"], perm=[0, 2, 1]), node("MatMul", ["z", "t"], ["r"])],
        1,  # one row for each of 5 positions, and the terms of a sum have one scale
        n=5,
    ),
    "Conv": Case(IMAGE, one("Conv", "z U b"), 7, {"U": weights(3, 4, 3, 3), "b": weights(3)}, 3),
    "Conv, all": Case(
        IMAGE,
        one("Conv", "z U", strides=[2, 1], dilations=[1, 2], pads=[0, 1, 2, 3]),
        7,
        {"U": weights(3, 4, 3, 2)},
        3,
    ),
    "Conv, depthwise": Case(IMAGE, one("Conv", "z U", group=4), 8, {"U": weights(4, 1, 3, 3)}),
    "Conv, groups": Case(IMAGE, one("Conv", "z U", group=2), 10, {"U": weights(6, 2, 3, 3)}, 6),
    **{
        f"Conv, {auto} {k}": Case(
            IMAGE, one("Conv", "z U", auto_pad=auto, strides=[2, 3]), 7, {"U": weights(3, 4, k, 4)}, 3
        )
        for auto in ("VALID", "SAME_UPPER", "SAME_LOWER")
        for k in (3, 4)
    },
    "Conv, 1-d": Case(ROWS, one("Conv", "z U", pads=[1, 1]), 2, {"U": weights(3, 5, 3)}, 4, flat=True),
    "ConvTranspose": Case(
        IMAGE,
        one("ConvTranspose", "z U b", strides=[2, 2], kernel_shape=[2, 2]),
        7,
        {"U": weights(4, 3, 2, 2), "b": weights(3)},
        3,
    ),
    "ConvTranspose, all": Case(
        IMAGE,
        one(
            "ConvTranspose",
            "z U",
            strides=[2, 3],
            dilations=[2, 1],
            pads=[0, 1, 2, 1],
            group=2,
            output_padding=[1, 2],
        ),
        10,
        {"U": weights(4, 3, 3, 2)},
        6,
    ),
    "ConvTranspose, output_shape": Case(
        IMAGE,
        one("ConvTranspose", "z U", strides=[2, 2], output_shape=[12, 11]),
        7,
        {"U": weights(4, 3, 3, 4)},
        3,
    ),
    "ConvTranspose, same": Case(
        IMAGE,
        one("ConvTranspose", "z U", strides=[2, 2], auto_pad="SAME_UPPER"),
        7,
        {"U": weights(4, 3, 3, 4)},
        3,
    ),
    "BatchNormalization": Case(IMAGE, one("BatchNormalization", "z g.weight g.bias mean variance"), 8, BATCH),
    "BatchNormalization, flat": Case(
        FLAT, one("BatchNormalization", "z g.weight g.bias mean variance", epsilon=0.1), 8, BATCH
    ),
    "LayerNormalization": Case(ROWS, one("LayerNormalization", "z g.weight g.bias"), 4, NORM),
    "LayerNormalization, two axes": Case(
        ROWS,
        one("LayerNormalization", "z G", axis=1, epsilon=0.1),
        4,  # the last layer joins the 5 rows
        {"G": np.abs(weights(5, 4))},
    ),
    "InstanceNormalization": Case(IMAGE, one("InstanceNormalization", "z g.weight g.bias"), 4, NORM),
    "GroupNormalization": Case(
        IMAGE, one("GroupNormalization", "z g.weight g.bias", num_groups=2), 4, NORM, opset=21
    ),
    # moved
    "Flatten": Case(IMAGE, one("Flatten"), 4, n=144, flat=True),
    "Reshape": Case(IMAGE, one("Reshape", "z s"), 4, {"s": ints(0, 8, 6, 3)}, 8),
    "Transpose": Case(IMAGE, one("Transpose", perm=[0, 1, 3, 2]), 4),
    "Squeeze Unsqueeze": Case(
        IMAGE, [node("Unsqueeze", ["z", "a"], ["u"]), node("Squeeze", ["u", "a"], ["r"])], 4, {"a": ints(2)}
    ),
    "Concat": Case(IMAGE, [node("Relu", ["z"], ["h"]), node("Concat", ["z", "h"], ["r"], axis=1)], 4, n=8),
    "Split": Case(
        IMAGE,
        [node("Split", ["z", "s"], ["a", "b"], axis=1), node("Concat", ["b", "a"], ["r"], axis=-3)],
        4,
        {"s": ints(1, 3)},
    ),
    "Slice": Case(IMAGE, one("Slice", "z s e a"), 4, {"s": ints(1), "e": ints(3), "a": ints(1)}, 2),
    "Slice, backwards": Case(
        IMAGE,
        one("Slice", "z s e a t"),
        4,
        {"s": ints(-1, 0), "e": ints(-(2**63), 2**63 - 1), "a": ints(1, -1), "t": ints(-1, 2)},
    ),
    "Gather": Case(IMAGE, one("Gather", "z i", axis=1), 4, {"i": ints(2, 0, -4)}, 3),
    "Gather, one": Case(ROWS, one("Gather", "z i", axis=1), 4, {"i": np.int64(2)}, flat=True),
    "Gather, table": Case(IMAGE, one("Gather", "z i", axis=3), 4, {"i": ints(0, 1, 2, 3)}),
    "Expand": Case(
        IMAGE,
        [node("GlobalMaxPool", ["z"], ["m"]), node("Expand", ["m", "s"], ["r"])],
        4,
        {"s": ints(1, 1, 3, 2)},
    ),
    "Tile": Case(IMAGE, one("Tile", "z k"), 4, {"k": ints(1, 2, 1, 3)}, 8),
    "Pad": Case(IMAGE, one("Pad", "z p"), 4, {"p": ints(0, 0, 1, 2, 0, 0, -1, 3)}),
    "Pad, channels": Case(IMAGE, one("Pad", "z p"), 7, {"p": ints(0, 1, 0, 0, 0, 2, 0, 0)}, 7),
    "Pad, axes": Case(IMAGE, one("Pad", "z p v a"), 0, {"p": ints(1, 2), "v": np.float32(2), "a": ints(-1)}),
    **{
        f"Pad, {mode}": Case(IMAGE, one("Pad", "z p", mode=mode), 4, {"p": ints(0, 0, 1, 2, 0, 0, 1, 3)})
        for mode in ("reflect", "edge")
    },
    "DepthToSpace": Case(IMAGE, one("DepthToSpace", blocksize=2), 1, n=1),
    "DepthToSpace, CRD": Case(IMAGE, one("DepthToSpace", blocksize=2, mode="CRD"), 1, n=1),
    "SpaceToDepth": Case(IMAGE, one("SpaceToDepth", blocksize=2), 4, n=16),
    "Resize, factors": Case(
        IMAGE,
        [
            node(
                "Resize",
                ["z", "", "k"],
                ["r"],
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        ],
        4,
        {"k": np.float32([1, 1, 2, 3])},
    ),
    "Resize, lengths": Case(
        IMAGE,
        [
            node("Shape", ["z"], ["shape"]),
            node("Slice", ["shape", "0", "2"], ["kept"]),
            node("Concat", ["kept", "size"], ["s"], axis=0),
            node("Resize", ["z", "", "", "s"], ["r"]),
        ],
        4,
        {"0": ints(0), "2": ints(2), "size": ints(24, 6)},
    ),
    **{
        f"Resize, linear, {mode} {k}": Case(
            IMAGE,
            [node("Resize", ["z", "", "k"], ["r"], mode="linear", coordinate_transformation_mode=mode)],
            4,
            {"k": np.float32([1, 1, *k])},
        )
        for mode in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for k in ((2, 3), (2.4, 1.7), (0.5, 0.2))
    },
    "Resize, linear, lengths": Case(
        IMAGE,
        [
            node("Shape", ["z"], ["all"]),
            node("Slice", ["all", "0", "2"], ["kept"]),
            node("Concat", ["kept", "size"], ["s"], axis=0),
            node("Resize", ["z", "", "", "s"], ["r"], mode="linear"),
        ],
        4,
        {"0": ints(0), "2": ints(2), "size": ints(9, 5)},
    ),
    "Resize, cubic": Case(
        IMAGE,
        [node("Resize", ["z", "", "k"], ["r"], mode="cubic")],
        0,
        {"k": np.float32([1, 1, 2, 2])},
        unknown=True,
    ),
    # chosen by a constant
    "Where": Case(
        IMAGE,
        [node("Conv", ["x", "W2"], ["z2"], pads=[1, 1, 1, 1]), node("Where", ["c", "z", "z2"], ["r"])],
        8,  # two units of either, and the two that are not asked for
        {**W2, "c": np.array([True, True, False, False])[:, None, None]},
    ),
    "Where, a number": Case(
        ROWS, [node("Where", ["c", "v", "z"], ["r"])], 4, {"c": MASK, "v": np.float32(2)}
    ),
    "Where, zero": Case(ROWS, [node("Where", ["c", "z", "v"], ["r"])], 7, {"c": MASK, "v": np.float32(0)}),
    "Where, by data": Case(
        ROWS,
        [node("Greater", ["z", "v"], ["c"]), node("Where", ["c", "z", "v"], ["r"])],
        0,
        {"v": np.float32(0)},
        unknown=True,
    ),
    # over time
    **{
        f"{op}, over time": Case(
            ROWS,
            [
                node("Transpose", ["z"], ["t"], perm=[1, 0, 2]),
                node(op, ["t", "Wt", "Rt"], ["s"], hidden_size=2),
                node("Squeeze", ["s", "a"], ["q"]),
                node("Transpose", ["q"], ["r"], perm=[1, 0, 2]),
            ],
            4,
            {"Wt": weights(1, 2 * gates, 4), "Rt": weights(1, 2 * gates, 2), "a": ints(1)},
            2,
        )
        for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    },
    # pooled
    "MaxPool": Case(IMAGE, one("MaxPool", kernel_shape=[2, 3], strides=[2, 1]), 4),
    "MaxPool, all": Case(
        IMAGE, one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0], ceil_mode=1), 4
    ),
    "MaxPool, dilated": Case(IMAGE, one("MaxPool", kernel_shape=[2, 2], dilations=[2, 3]), 4),
    "AveragePool": Case(IMAGE, one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 4),
    "AveragePool, count": Case(
        IMAGE, one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], count_include_pad=1), 4
    ),
    "AveragePool, ceil": Case(IMAGE, one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), 4),
    "AveragePool, ceil and count": Case(
        IMAGE,
        one(
            "AveragePool",
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 0, 0],
            ceil_mode=1,
            count_include_pad=1,
        ),
        4,
    ),
    "AveragePool, same": Case(
        IMAGE, one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"), 4
    ),
    "GlobalAveragePool": Case(IMAGE, one("GlobalAveragePool"), 4),
    "GlobalMaxPool": Case(IMAGE, one("GlobalMaxPool"), 4),
    **{
        f"{op}, rows": Case(ROWS, one(op, "z a", keepdims=0), 4, {"a": ints(1)}, flat=True)
        for op in (
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceSum",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
        )
    },
    "ReduceMean, 13": Case(IMAGE, one("ReduceMean", axes=[2, -1], keepdims=0), 4, flat=True, opset=13),
    "ReduceSum, units": Case(ROWS, one("ReduceSum", "z a"), 1, {"a": ints(-1)}, n=1),
    # no rule
    **{op: Case(ROWS, one(op), 0) for op in ("Softmax", "LogSoftmax")},
    "Softmax, middle": Case(ROWS, one("Softmax", axis=1), 0),
    "Softmax, the batch": Case(ROWS, one("Softmax", axis=0), 0, unknown=True),
    **{op: Case(ROWS, one(op), 0, unknown=True) for op in ("Hardmax", "LpNormalization", "Floor")},
    "ReduceProd": Case(ROWS, one("ReduceProd", "z a"), 0, {"a": ints(1)}, unknown=True),
    "ReduceSum, the batch": Case(ROWS, one("ReduceSum", "z a"), 0, {"a": ints(0)}, unknown=True),
    "Transpose, the batch": Case(("batch", 1, 3), one("Transpose", perm=[1, 0, 2]), 0, unknown=True),
    "Einsum": Case(ROWS, one("Einsum", "z z", equation="btd,btd->btd"), 0, unknown=True),
    # weights of another kind
    "Max with a parameter": Case(ROWS, one("Max", "z Q"), 4, {"Q": weights(4)}),
    "MatMul, a stack": Case(
        ROWS,
        [
            node("Unsqueeze", ["z", "a"], ["u"]),
            node("MatMul", ["u", "U"], ["h"]),
            node("Squeeze", ["h", "a"], ["r"]),
        ],
        9,
        {"U": weights(1, 4, 5), "a": ints(1)},
        5,
    ),
}


def network(case: Case) -> Any:
    """The nodes of a case between its two layers."""
    image = len(case.x) == 4
    first = node("Conv", ["x", "W"], ["z"], pads=[1, 1, 1, 1]) if image else node("MatMul", ["x", "W"], ["z"])
    dense = case.flat or not image
    last = node("MatMul" if dense else "Conv", ["r", "V"], ["y"])
    held = {
        "W": weights(4, 2, 3, 3) if image else weights(3, 4),
        "V": weights(case.n, 2, seed=1) if dense else weights(2, case.n, 1, 1, seed=1),
        **case.held,
    }
    return model([first, *case.nodes, last], held, x=case.x, opset=case.opset)


@pytest.mark.parametrize("name", CASES)
def test_each_operator(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = write(tmp_path / "m.onnx", network(case))
    x = weights(3, *case.x[1:], seed=9)
    manifold = verified(path, x)
    kinds = [op.kind for op in manifold.network.operations]
    assert ("unknown" in kinds) == case.unknown
    assert manifold.free_scales == case.free


def test_every_operator_has_a_case() -> None:
    assert len(OPERATORS) > 60
    used = {n.op_type for case in CASES.values() for n in case.nodes}
    assert set(OPERATORS) <= used


def test_no_operator_maps_to_a_kind_without_a_rule() -> None:
    """Every kind that a translation emits is in the source as the first argument of ``emit``."""
    kinds: set[str] = set()
    modules = (onnx_elementwise, onnx_layout, onnx_lifted, onnx_linear, onnx_recurrent, onnx_resize)
    for module in modules:
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "emit":
                kinds |= {call.args[0].value} if isinstance(call.args[0], ast.Constant) else set()
    assert kinds >= {"linear", "conv", "norm", "pool", "take", "matmul", "resample"}
    assert kinds <= set(RULES) | {"unknown"}
    assert "unknown" not in RULES
    emitted = {op.kind for case in CASES.values() for op in load(network(case)).operations}
    assert emitted <= kinds | {"activation", "unknown"}
