"""Parameters that are computed with before they are used: counted without any scaling rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from balproof.importers import load, onnx_builder
from balproof.network.evaluate import can_run
from balproof.network.manifold import infer
from tests.importers.models import counted, model, verified, weights, write

node = helper.make_node

MASK = helper.make_tensor("", 1, (3, 4), np.float32([1, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1]))
LAST = [node("Relu", ["z"], ["h"]), node("MatMul", ["h", "V"], ["y"])]
MATRIX = ("batch", 3)
ROWS = ("batch", 2, 3)


def ints(*values: int) -> np.ndarray:
    return np.int64(values)


def matrix(*nodes: Any, held: dict[str, np.ndarray], x: tuple[Any, ...] = MATRIX) -> Any:
    """x·C for a matrix C of 3 × 4 that the nodes compute."""
    return [*nodes, node("MatMul", ["x", "C"], ["z"]), *LAST], held, x


# Nodes, what they hold, and x: 3 entries, or 2 rows of 3.
CASES: dict[str, tuple[list[Any], dict[str, np.ndarray], tuple[Any, ...]]] = {
    "Concat": matrix(
        node("Concat", ["P", "Q"], ["C"], axis=1), held={"P": weights(3, 1), "Q": weights(3, 3, seed=1)}
    ),
    "Concat with a constant": matrix(
        node("Constant", [], ["one"], value_floats=[1.0, 2.0, 0.5]),
        node("Unsqueeze", ["one", "a"], ["Q"]),
        node("Concat", ["P", "Q"], ["C"], axis=1),
        held={"P": weights(3, 3), "a": ints(1)},
    ),
    "Slice": matrix(
        node("Slice", ["P", "s", "e", "a"], ["C"]),
        held={"P": weights(3, 4, seed=1).repeat(2, 1)[:, :6], "s": ints(1), "e": ints(5), "a": ints(1)},
    ),
    "Slice, two uses": (
        [
            node("Slice", ["P", "0", "3", "0"], ["C"]),
            node("Slice", ["P", "2", "6", "0"], ["D"]),
            node("MatMul", ["x", "C"], ["u"]),
            node("Relu", ["u"], ["v"]),
            node("MatMul", ["v", "D"], ["z"]),
            *LAST,
        ],
        {"P": weights(6, 4), "0": ints(0), "2": ints(2), "3": ints(3), "6": ints(6)},
        MATRIX,
    ),
    "Split": (
        [
            node("Split", ["P"], ["C", "D"], axis=0, num_outputs=2),
            node("MatMul", ["x", "C"], ["u"]),
            node("Mul", ["x", "x"], ["q"]),
            node("MatMul", ["q", "D"], ["v"]),
            node("Add", ["u", "v"], ["z"]),
            *LAST,
        ],
        {"P": weights(6, 4)},
        MATRIX,
    ),
    "Gather": matrix(
        node("Gather", ["P", "i"], ["C"], axis=1), held={"P": weights(3, 3), "i": ints(2, 0, -2, 2)}
    ),
    "Gather, a stack": matrix(
        node("Gather", ["P", "i"], ["C"]), held={"P": weights(2, 3, 4), "i": np.int64(-1)}
    ),
    "Transpose": matrix(
        node("Transpose", ["P"], ["T"], perm=[2, 0, 1]),
        node("Squeeze", ["T", "a"], ["C"]),
        held={"P": weights(3, 4, 1), "a": ints(0)},
    ),
    "Reshape": matrix(
        node("Reshape", ["P", "s"], ["C"]), held={"P": weights(2, 6), "s": ints(3, 4)}
    ),
    "Expand": (
        [
            node("MatMul", ["x", "W"], ["u"]),
            node("Shape", ["x"], ["n"], end=1),
            node("Concat", ["n", "d"], ["s"], axis=0),
            node("Expand", ["P", "s"], ["p"]),
            node("Concat", ["u", "p"], ["z"], axis=1),
            *LAST,
        ],
        {"W": weights(3, 2), "P": weights(1, 2), "d": ints(2)},
        MATRIX,
    ),
    "Expand, fixed": matrix(
        node("Expand", ["P", "s"], ["C"]), held={"P": weights(1, 4), "s": ints(3, 4)}
    ),
    "Add": matrix(node("Add", ["P", "Q"], ["C"]), held={"P": weights(3, 4), "Q": weights(3, 4, seed=1)}),
    "Sub": matrix(node("Sub", ["P", "Q"], ["C"]), held={"P": weights(3, 4), "Q": weights(1, 4, seed=1)}),
    "Mul": matrix(
        node("Mul", ["P", "Q.weight"], ["C"]), held={"P": weights(3, 4), "Q.weight": weights(3, 1)}
    ),
    "Mul by a mask": matrix(
        node("Constant", [], ["M"], value=MASK),
        node("Mul", ["P.weight", "M"], ["C"]),
        held={"P.weight": weights(3, 4)},
    ),
    "Div": matrix(node("Div", ["P", "Q"], ["C"]), held={"P": weights(3, 4), "Q": weights(4, seed=1)}),
    "Neg": matrix(node("Neg", ["P"], ["C"]), held={"P": weights(3, 4)}),
    "Relu": matrix(node("Relu", ["P"], ["C"]), held={"P": np.abs(weights(3, 4))}),
    "Tanh": matrix(node("Tanh", ["P"], ["C"]), held={"P": weights(3, 4)}),
    "MatMul of two": matrix(
        node("MatMul", ["P", "Q"], ["C"]), held={"P": weights(3, 2), "Q": weights(2, 4, seed=1)}
    ),
    "Gemm": (
        [
            node("Add", ["P", "Q"], ["C"]),
            node("Slice", ["b", "0", "4", "0"], ["c"]),
            node("Gemm", ["x", "C", "c"], ["z"], transB=1),
            *LAST,
        ],
        {"P": weights(4, 3), "Q": weights(4, 3, seed=1), "b": weights(6), "0": ints(0), "4": ints(4)},
        MATRIX,
    ),
    "a bias": (
        [
            node("MatMul", ["x", "W"], ["u"]),
            node("Slice", ["b", "1", "5", "0"], ["c"]),
            node("Add", ["u", "c"], ["z"]),
            *LAST,
        ],
        {"W": weights(3, 4), "b": weights(6), "1": ints(1), "5": ints(5), "0": ints(0)},
        ROWS,
    ),
    "places": (
        [
            node("MatMul", ["x", "W"], ["u"]),
            node("Slice", ["P", "0", "2", "1"], ["p"]),
            node("Add", ["u", "p"], ["z"]),
            *LAST,
        ],
        {"W": weights(3, 4), "P": weights(1, 5, 4), "0": ints(0), "1": ints(1), "2": ints(2)},
        ROWS,
    ),
    "MatMul, a stack": (
        [
            node("Unsqueeze", ["x", "a"], ["u"]),
            node("MatMul", ["u", "P"], ["z"]),
            node("Relu", ["z"], ["r"]),
            node("MatMul", ["r", "Q"], ["s"]),
            node("ReduceSum", ["s", "a"], ["y"]),
        ],
        {"P": weights(2, 3, 4), "Q": weights(2, 4, 2, seed=1), "a": ints(1)},
        ROWS,
    ),
    "MatMul, a stack turned": (
        [
            node("Unsqueeze", ["x", "a"], ["u"]),
            node("Transpose", ["P"], ["C"], perm=[0, 2, 1]),
            node("MatMul", ["u", "C"], ["z"]),
            *LAST,
        ],
        {"P": weights(2, 4, 3), "a": ints(1)},
        ROWS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_made_of_parameters(name: str, tmp_path: Path) -> None:
    nodes, held, x = CASES[name]
    used = {n for one in nodes for n in one.input}
    held = {**held, **({"V": weights(4, 2, seed=5)} if "V" in used else {})}
    manifold = verified(write(tmp_path / "m.onnx", model(nodes, held, x=x)), weights(3, *x[1:], seed=9))
    assert can_run(manifold.network)
    assert manifold.free_scales == counted(manifold.network)


def test_large_ones_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, held, x = CASES["Neg"]
    proto = model(nodes, {**held, "V": weights(4, 2)}, x=x)
    assert infer(load(proto)).free_scales == 4
    monkeypatch.setattr(onnx_builder, "MAX_LIFTED", 11)
    network = load(proto)
    assert "unknown" in {op.kind for op in network.operations}
    assert infer(network).free_scales == 0


def test_an_operator_without_a_rule_pins_what_was_computed_of_parameters() -> None:
    nodes = [
        node("Neg", ["P"], ["C"]), node("CumSum", ["C", "a"], ["D"]),
        node("MatMul", ["x", "D"], ["z"]), *LAST,
    ]  # fmt: skip
    network = load(model(nodes, {"P": weights(3, 4), "a": np.int64(0), "V": weights(4, 2)}))
    (unknown,) = (op for op in network.operations if op.attributes.get("op_type") == "CumSum")
    assert network.tensors[unknown.inputs[0]].role == "activation"
    assert infer(network).free_scales == 0
