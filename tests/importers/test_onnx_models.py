"""Whole models, with the numbers of free scales counted by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from balproof.errors import ModelError
from balproof.importers import load
from balproof.network.manifold import infer
from tests.importers.models import counted, model, verified, weights, write

node = helper.make_node
IMAGE = ("batch", 3, 8, 8)


def conv(x: str, w: str, y: str, *, size: int = 3, **attributes: Any) -> Any:
    return node("Conv", [x, w], [y], pads=[size // 2] * 4, **attributes)


def relu(x: str, y: str) -> Any:
    return node("Relu", [x], [y])


def norm(name: str, n: int, seed: int) -> dict[str, np.ndarray]:
    positive = np.abs(weights(n, seed=seed)) + np.float32(0.5)
    return {
        f"{name}.weight": weights(n, seed=seed + 1),
        f"{name}.bias": weights(n, seed=seed + 2),
        f"{name}.mean": weights(n, seed=seed + 3),
        f"{name}.var": positive,
    }


def batchnorm(name: str, x: str, y: str) -> Any:
    return node("BatchNormalization", [x, *(f"{name}.{k}" for k in ("weight", "bias", "mean", "var"))], [y])


HEAD = [
    node("GlobalAveragePool", ["h"], ["p"]),
    node("Flatten", ["p"], ["f"]),
    node("Gemm", ["f", "V"], ["y"]),
]

# name → (nodes, weights, shape of x, free scales)
MODELS: dict[str, tuple[list[Any], dict[str, np.ndarray], tuple[Any, ...], int]] = {
    "convnet with BatchNorm": (
        [
            conv("x", "W1", "a"),
            batchnorm("n1", "a", "b"),
            relu("b", "c"),
            node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
            conv("d", "W2", "e"),
            batchnorm("n2", "e", "g"),
            relu("g", "h"),
            *HEAD,
        ],
        {
            "W1": weights(4, 3, 3, 3),
            "W2": weights(5, 4, 3, 3),
            "V": weights(5, 2),
            **norm("n1", 4, 10),
            **norm("n2", 5, 20),
        },
        IMAGE,
        4 + 4 + 5 + 5,  # before and behind each normalisation
    ),
    "residual block": (
        [
            conv("x", "W1", "a"),
            relu("a", "b"),
            conv("b", "W2", "c"),
            relu("c", "d"),
            conv("d", "W3", "e"),
            node("Add", ["b", "e"], ["g"]),
            relu("g", "h"),
            *HEAD,
        ],
        {"W1": weights(4, 3, 3, 3), "W2": weights(6, 4, 3, 3), "W3": weights(4, 6, 3, 3), "V": weights(4, 2)},
        IMAGE,
        4 + 6,
    ),
    "depthwise separable": (
        [
            conv("x", "W1", "a"),
            relu("a", "b"),
            conv("b", "D", "c", group=4),
            relu("c", "d"),
            conv("d", "P", "e", size=1),
            relu("e", "h"),
            *HEAD,
        ],
        {"W1": weights(4, 3, 3, 3), "D": weights(4, 1, 3, 3), "P": weights(5, 4, 1, 1), "V": weights(5, 2)},
        IMAGE,
        4 + 4 + 5,
    ),
    "U-Net": (
        [
            conv("x", "W1", "a"),
            relu("a", "skip"),
            node("MaxPool", ["skip"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
            conv("b", "W2", "c"),
            relu("c", "d"),
            node("ConvTranspose", ["d", "T", "t"], ["e"], strides=[2, 2]),
            relu("e", "up"),
            node("Concat", ["skip", "up"], ["both"], axis=1),
            conv("both", "V", "y"),
        ],
        {
            "W1": weights(4, 3, 3, 3),
            "W2": weights(6, 4, 3, 3),
            "T": weights(6, 5, 2, 2),
            "t": weights(5),
            "V": weights(2, 9, 3, 3),
        },
        IMAGE,
        4 + 6 + 5,
    ),
    "pixel shuffle": (
        [
            conv("x", "W1", "a"),
            relu("a", "b"),
            node("DepthToSpace", ["b"], ["c"], blocksize=2, mode="CRD"),
            conv("c", "V", "y"),
        ],
        {"W1": weights(8, 3, 3, 3), "V": weights(2, 2, 3, 3)},
        IMAGE,
        2,  # four channels each
    ),
    "channel shuffle": (
        [
            conv("x", "W1", "a"),
            relu("a", "b"),
            node("Reshape", ["b", "apart"], ["c"]),
            node("Transpose", ["c"], ["d"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["d", "joined"], ["e"]),
            conv("e", "G", "g", group=2),
            relu("g", "h"),
            *HEAD,
        ],
        {
            "W1": weights(6, 3, 3, 3),
            "G": weights(4, 3, 3, 3),
            "V": weights(4, 2),
            "apart": np.int64([0, 2, 3, 8, 8]),
            "joined": np.int64([0, 6, 8, 8]),
        },
        IMAGE,
        6 + 4,
    ),
    "SwiGLU": (
        [
            node("MatMul", ["x", "up"], ["u"]),
            node("MatMul", ["x", "gate"], ["g"]),
            node("Sigmoid", ["g"], ["s"]),
            node("Mul", ["g", "s"], ["silu"]),
            node("Mul", ["silu", "u"], ["h"]),
            node("MatMul", ["h", "down"], ["y"]),
        ],
        {"up": weights(4, 6), "gate": weights(4, 6), "down": weights(6, 4)},
        ("batch", 5, 4),
        6,  # up and down; the gate is pinned
    ),
    "RMSNorm": (
        [
            node("MatMul", ["x", "W"], ["z"]),
            node("Pow", ["z", "two"], ["q"]),
            node("ReduceMean", ["q"], ["m"], axes=[-1]),
            node("Sqrt", ["m"], ["r"]),
            node("Div", ["z", "r"], ["n"]),
            node("Mul", ["n", "norm.weight"], ["h"]),
            node("MatMul", ["h", "V"], ["y"]),
        ],
        {"W": weights(4, 6), "V": weights(6, 4), "norm.weight": weights(6), "two": np.float32(2)},
        ("batch", 5, 4),
        1 + 6,  # no ε: what is normalised has one scale; what comes out has six
    ),
    "a layer called twice": (
        [
            node("MatMul", ["x", "U"], ["a"]),
            relu("a", "b"),
            node("MatMul", ["b", "W"], ["c"]),
            relu("c", "d"),
            node("MatMul", ["d", "W"], ["e"]),
            relu("e", "h"),
            node("MatMul", ["h", "V"], ["y"]),
        ],
        {"U": weights(3, 4), "W": weights(4, 4), "V": weights(4, 2)},
        ("batch", 3),
        5,  # s, s + c, s + 2c
    ),
    "tied autoencoder": (
        [
            node("MatMul", ["x", "W"], ["a"]),
            relu("a", "b"),
            node("Transpose", ["W"], ["Wt"], perm=[1, 0]),
            node("MatMul", ["b", "Wt"], ["y"]),
        ],
        {"W": weights(3, 4)},
        ("batch", 3),
        0,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_nodes(name: str, tmp_path: Path) -> None:
    nodes, held, x, free = MODELS[name]
    opset = 17 if name == "RMSNorm" else 18
    path = write(tmp_path / "m.onnx", model(nodes, held, x=x, opset=opset))
    manifold = verified(path, weights(2, *x[1:], seed=9))
    assert all(op.kind != "unknown" for op in manifold.network.operations)
    assert manifold.free_scales == free


def test_running_statistics_are_buffers() -> None:
    nodes, held, x, _ = MODELS["convnet with BatchNorm"]
    network = load(model(nodes, held, x=x))
    assert {t.name for t in network.parameters if t.buffer} == {"n1.mean", "n1.var", "n2.mean", "n2.var"}


def test_token_embeddings(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["tokens.weight", "x"], ["a"]), node("Gather", ["places.weight", "all"], ["b"]),
        node("Add", ["a", "b"], ["c"]), relu("c", "d"), node("MatMul", ["d", "V"], ["y"]),
    ]  # fmt: skip
    held = {
        "tokens.weight": weights(7, 4), "places.weight": weights(5, 4, seed=3), "V": weights(4, 2),
        "all": np.int64([[0, 1, 2, 3, 4]]),
    }  # fmt: skip
    proto = model(nodes, held, x=("batch", 5), given=TensorProto.INT64)
    manifold = verified(write(tmp_path / "m.onnx", proto), np.random.default_rng(0).integers(-7, 7, (3, 5)))
    assert manifold.free_scales == 4
    assert [op.kind for op in manifold.network.operations][:2] == ["embedding", "bias"]
    held["all"] = np.int64([[0, 1, -3, 2, -1]])
    proto = model(nodes, held, x=("batch", 5), given=TensorProto.INT64)
    manifold = verified(write(tmp_path / "m.onnx", proto), np.random.default_rng(0).integers(-7, 7, (3, 5)))
    assert manifold.free_scales == 4
    assert [op.kind for op in manifold.network.operations][:2] == ["embedding", "embedding"]


@pytest.mark.parametrize(
    ("nodes", "name", "value", "role"),
    [
        ([node("Mul", ["z", "c"], ["y"])], "c", weights(4), "constant"),
        ([node("Mul", ["z", "c.weight"], ["y"])], "c.weight", weights(4), "parameter"),
        ([node("Mul", ["z", "c.weight"], ["y"])], "c.weight", weights(1), "constant"),
        ([node("Div", ["z", "c"], ["y"])], "c", weights(4), None),  # a constant whose inverse is one
        ([node("Add", ["z", "c"], ["y"])], "c", weights(4), "parameter"),
        ([node("Add", ["z", "c"], ["y"])], "c", np.float32(1e-5), "constant"),
        ([node("Add", ["z", "c.bias"], ["y"])], "c.bias", np.float32(1e-5), "parameter"),
        (
            [node("LayerNormalization", ["z", "ones"], ["n"]), node("Mul", ["n", "c"], ["y"])],
            "c",
            weights(4),
            "parameter",
        ),
        ([node("LayerNormalization", ["z", "val_3"], ["y"])], "val_3", np.ones(4, np.float32), "constant"),
        ([node("LayerNormalization", ["z", "val_3"], ["y"])], "val_3", weights(4), "parameter"),
        ([node("LayerNormalization", ["z", "gamma"], ["y"])], "gamma", np.ones(4, np.float32), "parameter"),
        (
            [node("Mul", ["c", "eight"], ["d"]), node("Mul", ["z", "d"], ["y"])],
            "c",
            weights(4),
            None,  # a constant that is computed with
        ),
        (
            [node("Mul", ["c", "W2"], ["d"]), node("MatMul", ["z", "d"], ["y"])],
            "c",
            weights(4, 1),
            "parameter",
        ),
    ],
)
def test_the_role_of_an_initializer(nodes: list[Any], name: str, value: np.ndarray, role: str | None) -> None:
    held = {
        "W": weights(3, 4), "W2": weights(4, 2), "ones": np.ones(4, np.float32), "eight": np.float32(8),
        name: value,
    }  # fmt: skip
    known = load(model([node("MatMul", ["x", "W"], ["z"]), *nodes], held)).tensors.get(name)
    assert (known and known.role) == role


# --- what must not be claimed ---------------------------------------------------------------------------


def test_attributes_of_unknown_operations_are_kept_for_comparison() -> None:
    def signature(**attributes: Any) -> object:
        nodes = [node("MatMul", ["x", "W"], ["z"]), node("Hardmax", ["z"], ["y"], **attributes)]
        return dict(load(model(nodes, {"W": weights(3, 4)})).operations[-1].attributes)

    assert signature(axis=1) == signature(axis=1) == {"op_type": "Hardmax", "attributes": {"axis": 1}}
    assert signature(axis=0) != signature(axis=1)


def test_a_mask_of_infinities_is_no_tensor_but_is_compared() -> None:
    def masked(mask: list[float]) -> Any:
        nodes = [node("MatMul", ["x", "W"], ["z"]), node("Add", ["z", "mask"], ["y"])]
        proto = model(nodes, {"W": weights(3, 4)})
        proto.graph.node.insert(0, node("Constant", [], ["mask"], value_floats=mask))
        return load(proto)

    one, other = masked([0, 0, -np.inf, 0]), masked([0, 0, 0, -np.inf])
    assert infer(one).free_scales == 0
    assert one.operations[-1].attributes["op_type"] == "Add"
    assert one.operations[-1].attributes != other.operations[-1].attributes
    assert dict(one.operations[-1].attributes) == dict(masked([0, 0, -np.inf, 0]).operations[-1].attributes)


def test_an_output_whose_batch_axis_is_not_in_front_pins() -> None:
    nodes = [
        node("MatMul", ["x", "W"], ["z"]), node("Transpose", ["z"], ["t"], perm=[1, 0, 2]),
        node("Relu", ["t"], ["r"]), node("MatMul", ["r", "V"], ["y"]),
    ]  # fmt: skip
    network = load(model(nodes, {"W": weights(3, 4), "V": weights(4, 2)}, x=("batch", 1, 3)))
    assert [op.kind for op in network.operations] == ["linear", "transpose", "activation", "unknown"]
    assert infer(network).free_scales == 0


def test_a_file_with_a_batch_of_two_is_not_read_as_one_of_one() -> None:
    """(2, 6) → (2, 2, 3) has two rows; read with a batch of 1, the same numbers would make (2, 1, 3)."""
    nodes = [
        node("MatMul", ["x", "W"], ["z"]), node("Reshape", ["z", "s"], ["r"]),
        node("ReduceSum", ["r", "a"], ["t"], keepdims=0), node("MatMul", ["t", "V"], ["y"]),
    ]  # fmt: skip
    held = {"W": weights(3, 6), "V": weights(3, 2), "s": np.int64([2, -1, 3]), "a": np.int64([1])}
    network = load(model(nodes, held, x=(2, 3)))
    assert [op.kind for op in network.operations][:2] == ["linear", "unknown"]
    assert infer(network).free_scales == 0
    held["s"] = np.int64([0, -1, 3])
    assert infer(load(model(nodes, held, x=(2, 3)))).free_scales == 3


def test_a_file_for_a_batch_of_two_only_is_refused() -> None:
    nodes = [
        node("MatMul", ["x", "W"], ["z"]), node("Reshape", ["z", "s"], ["r"]),
        node("MatMul", ["r", "V"], ["y"]),
    ]  # fmt: skip
    held = {"W": weights(3, 4), "V": weights(4, 2), "s": np.int64([2, -1])}
    with pytest.raises(ModelError, match=r"batch of 2 only: export it with a free batch axis"):
        load(model(nodes, held, x=(2, 3)))


def test_a_batch_fixed_to_one(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "W"], ["z"]), node("Reshape", ["z", "s"], ["r"]),
        node("ReduceSum", ["r", "a"], ["t"], keepdims=0), node("MatMul", ["t", "V"], ["y"]),
    ]  # fmt: skip
    held = {"W": weights(3, 6), "V": weights(3, 2), "s": np.int64([1, 2, 3]), "a": np.int64([1])}
    manifold = verified(write(tmp_path / "m.onnx", model(nodes, held, x=(1, 3))), weights(1, 3, seed=9))
    assert manifold.free_scales == 3


def test_a_batch_axis_that_moves_is_followed(tmp_path: Path) -> None:
    """Time first, as in nn.MultiheadAttention: (5, batch, 8) → (5·batch, 8) → (5, batch·2, 4) → back."""
    nodes = [
        node("MatMul", ["x", "W"], ["a"]), node("Transpose", ["a"], ["b"], perm=[1, 0, 2]),
        node("Reshape", ["b", "rows"], ["c"]), node("Gemm", ["c", "U", "u"], ["d"]), relu("d", "e"),
        node("Reshape", ["e", "heads"], ["f"]), node("Transpose", ["f"], ["g"], perm=[1, 0, 2]),
        node("Reshape", ["g", "apart"], ["h"]), node("Transpose", ["h"], ["i"], perm=[0, 2, 1, 3]),
        node("Reshape", ["i", "joined"], ["r"]), node("MatMul", ["r", "V"], ["y"]),
    ]  # fmt: skip
    shapes = {"rows": [-1, 6], "heads": [5, -1, 4], "apart": [-1, 2, 5, 4], "joined": [-1, 5, 8]}
    held = {
        "W": weights(3, 6), "U": weights(6, 8), "u": weights(8), "V": weights(8, 2),
        **{k: np.int64(v) for k, v in shapes.items()},
    }  # fmt: skip
    path = write(tmp_path / "m.onnx", model(nodes, held, x=("batch", 5, 3)))
    manifold = verified(path, weights(3, 5, 3, seed=9))
    assert all(op.kind != "unknown" for op in manifold.network.operations)
    assert manifold.free_scales == 6 + 8


def test_a_batch_of_one_that_moves_is_followed(tmp_path: Path) -> None:
    """The same with all lengths written down, which do not say where the batch is."""
    nodes = [
        node("MatMul", ["x", "W"], ["a"]), node("Transpose", ["a"], ["b"], perm=[1, 0, 2]),
        node("MatMul", ["b", "U"], ["c"]), node("Add", ["c", "u"], ["d"]), relu("d", "e"),
        node("Reshape", ["e", "three"], ["f"]), node("Transpose", ["f"], ["g"], perm=[2, 0, 1, 3]),
        node("Gather", ["g", "one"], ["q"]), node("Gather", ["g", "two"], ["k"]),
        node("Add", ["q", "k"], ["h"]), node("Reshape", ["h", "heads"], ["i"]),
        node("Transpose", ["i"], ["j"], perm=[1, 0, 2]), node("Reshape", ["j", "apart"], ["l"]),
        node("Transpose", ["l"], ["m"], perm=[2, 0, 1, 3]), node("Reshape", ["m", "rows"], ["n"]),
        node("MatMul", ["n", "V"], ["o"]), node("Reshape", ["o", "last"], ["p"]),
        node("Transpose", ["p"], ["y"], perm=[1, 0, 2]),
    ]  # fmt: skip
    shapes = {
        "three": [5, 1, 3, 8], "heads": [5, 2, 4], "apart": [1, 2, 5, 4], "rows": [5, 8], "last": [5, 1, 2]
    }  # fmt: skip
    held = {
        "W": weights(3, 6), "U": weights(6, 24), "u": weights(24), "V": weights(8, 2),
        "one": np.int64(1), "two": np.int64(2), **{k: np.int64(v) for k, v in shapes.items()},
    }  # fmt: skip
    path = write(tmp_path / "m.onnx", model(nodes, held, x=(1, 5, 3)))
    manifold = verified(path, weights(1, 5, 3, seed=9))
    assert all(op.kind != "unknown" for op in manifold.network.operations)
    assert manifold.free_scales == 6 + 8 + 8  # eight of the 24 are read by nothing


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sums_are_never_taken_over_the_batch(axis: int, tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "W"], ["a"]), node("Transpose", ["a"], ["b"], perm=[1, 0, 2]),
        node("ReduceSum", ["b", "axis"], ["c"]), node("Sub", ["b", "c"], ["d"]),
        node("Transpose", ["d"], ["e"], perm=[1, 0, 2]), node("MatMul", ["e", "V"], ["y"]),
    ]  # fmt: skip
    held = {"W": weights(3, 6), "V": weights(6, 2), "axis": np.int64([axis])}
    path = write(tmp_path / "m.onnx", model(nodes, held, x=("batch", 5, 3)))
    assert verified(path, weights(3, 5, 3, seed=9)).free_scales == 0


def test_a_batch_axis_merged_with_the_heads_stays_apart(tmp_path: Path) -> None:
    """As PyTorch transposes keys: (batch, heads, time, d) → (batch·heads, time, d) → … → back."""
    nodes = [
        node("MatMul", ["x", "W"], ["z"]), node("Reshape", ["z", "heads"], ["h"]),
        node("Reshape", ["h", "merged"], ["m"]), node("Transpose", ["m"], ["t"], perm=[0, 2, 1]),
        node("Reshape", ["t", "back"], ["b"]), node("Transpose", ["b"], ["k"], perm=[0, 1, 3, 2]),
        node("Reshape", ["k", "joined"], ["r"]), node("MatMul", ["r", "V"], ["y"]),
    ]  # fmt: skip
    shapes = {"heads": [-1, 2, 5, 4], "merged": [-1, 5, 4], "back": [-1, 2, 4, 5], "joined": [-1, 10, 4]}
    held = {"W": weights(3, 8), "V": weights(4, 2), **{k: np.int64(v) for k, v in shapes.items()}}
    path = write(tmp_path / "m.onnx", model(nodes, held, x=("batch", 5, 3)))
    manifold = verified(path, weights(3, 5, 3, seed=9))
    assert all(op.kind != "unknown" for op in manifold.network.operations)


def test_integers_are_not_numbers() -> None:
    """Division of integers rounds, so it has no rule."""
    nodes = [
        node("Div", ["x", "two"], ["i"]),
        node("Gather", ["E", "i"], ["e"]),
        node("MatMul", ["e", "V"], ["y"]),
    ]
    held = {"two": np.int64(2), "E": weights(7, 4), "V": weights(4, 2)}
    network = load(model(nodes, held, x=("batch", 5), given=TensorProto.INT64))
    assert [op.kind for op in network.operations] == ["unknown", "embedding", "linear"]


def test_a_divisor_that_is_a_weight_elsewhere_scales() -> None:
    """x·S/S: its reciprocal is a constant of the network only if it cannot scale."""
    nodes = [
        node("MatMul", ["x", "S"], ["a"]),
        node("Div", ["a", "S"], ["b"]),
        node("MatMul", ["b", "V"], ["y"]),
    ]
    network = load(model(nodes, {"S": weights(1, 3), "V": weights(3, 2)}, x=("batch", 1)))
    assert [op.kind for op in network.operations if op.output in ("a", "b", "y")] == [
        "linear",
        "div",
        "linear",
    ]
    assert infer(network).free_scales == counted(network) == 3


def test_shapes_that_depend_on_the_batch_are_computed(tmp_path: Path) -> None:
    """Shape, Gather, Concat, ConstantOfShape, Range, Equal, Where: as PyTorch writes a view and a mask."""
    nodes = [
        node("MatMul", ["x", "W"], ["z"]), node("Shape", ["z"], ["s"]),
        node("Gather", ["s", "first"], ["n"]), node("Concat", ["n", "rest"], ["view"], axis=0),
        node("Reshape", ["z", "view"], ["h"]), node("ConstantOfShape", ["ten"], ["ones"]),
        node("Range", ["nought", "five", "unit"], ["range"]), node("Equal", ["range", "two"], ["eq"]),
        node("Where", ["eq", "a", "b"], ["w"]), node("Sub", ["w", "ones"], ["mask"]),
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Mul", ["h", "column"], ["m"]), node("MatMul", ["m", "V"], ["y"]),
    ]  # fmt: skip
    held = {
        "W": weights(3, 20), "V": weights(4, 2), "first": np.int64([0]), "rest": np.int64([5, 4]),
        "ten": np.int64([5]), "nought": np.int64(0), "five": np.int64(5), "unit": np.int64(1),
        "two": np.int64(2), "a": np.float32(0.5), "b": np.float32(2), "last": np.int64([1]),
    }  # fmt: skip
    manifold = verified(write(tmp_path / "m.onnx", model(nodes, held)), weights(3, 3, seed=9))
    assert [op.kind for op in manifold.network.operations] == ["linear", "reshape", "scale", "linear"]
    assert manifold.free_scales == 4


def test_a_number_that_depends_on_the_batch_pins() -> None:
    nodes = [
        node("MatMul", ["x", "W"], ["z"]), node("Shape", ["z"], ["s"]), node("Cast", ["s"], ["f"], to=1),
        node("Gather", ["f", "first"], ["n"]), node("Mul", ["z", "n"], ["m"]),
        node("MatMul", ["m", "V"], ["y"]),
    ]  # fmt: skip
    held = {"W": weights(3, 4), "V": weights(4, 2), "first": np.int64([0])}
    network = load(model(nodes, held))
    assert [op.kind for op in network.operations] == ["linear", "unknown", "linear"]


def test_a_constant_of_absurd_size_is_not_computed() -> None:
    nodes = [
        node("ConstantOfShape", ["s"], ["big"]), node("ReduceSum", ["big"], ["n"]),
        node("MatMul", ["x", "W"], ["z"]), node("Add", ["z", "n"], ["y"]),
    ]  # fmt: skip
    with pytest.raises(ModelError, match="more than"):
        load(model(nodes, {"s": np.int64([1 << 20, 1 << 15]), "W": weights(3, 4)}))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [node("GroupNormalization", ["r", "g", "g"], ["y"], num_groups=1)],
            "GroupNormalization is deprecated",
        ),
        ([node("SequenceConstruct", ["z"], ["s"]), node("SequenceAt", ["s", "i"], ["y"])], "shape of 's'"),
        ([node("NonZero", ["z"], ["n"]), node("Cast", ["n"], ["y"], to=1)], "shape of 'n'"),
        ([node("Identity", ["W"], ["y"])], "output 'y' is a parameter"),
        ([node("Shape", ["z"], ["n"]), node("Cast", ["n"], ["y"], to=1)], "output 'y' is a constant"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(nodes: list[Any], message: str) -> None:
    first = [node("MatMul", ["x", "W"], ["z"]), node("Reshape", ["z", "shape"], ["r"])]
    held = {"W": weights(3, 4), "g": weights(4), "i": np.int64(0), "shape": np.int64([0, 4, 1])}
    with pytest.raises(ModelError, match=message) as caught:
        load(model([*first, *nodes], held))
    assert "\n" not in str(caught.value)


# --- exported by PyTorch --------------------------------------------------------------------------------

# keys and values (2 heads of 4), hidden, behind each normalisation, and the biases of the keys (unseen)
ENCODER = 8 + 8 + 12 + 8 + 8 + 8
# keys (2 heads of 2), values, up, behind each normalisation, and the biases of the keys
BLOCK = 4 + 4 + 12 + 8 + 8 + 4


@pytest.mark.torch
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "free"), [("block", BLOCK), ("encoder", ENCODER), ("groupnorm", 4)])
def test_exported_by_pytorch(name: str, free: int, dynamo: bool, tmp_path: Path) -> None:
    from tests.importers import torch_models

    path = tmp_path / "m.onnx"
    x = torch_models.export(name, path, dynamo)
    manifold = verified(path, np.concatenate([x, x[::-1] * np.float32(0.5), x * np.float32(2)]))
    unknown = {op.attributes["op_type"] for op in manifold.network.operations if op.kind == "unknown"}
    assert unknown <= {"Expand"}  # of a parameter
    assert manifold.free_scales == free
