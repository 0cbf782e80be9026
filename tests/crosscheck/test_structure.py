"""The same network but for its numbers, or not: one planted difference at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from balproof.balance.solve import solve
from balproof.crosscheck.audit import check
from balproof.importers import load
from balproof.importers.json_file import to_document
from tests.importers.models import model, weights, write

NET: dict[str, Any] = {
    "inputs": {"x": [3]},
    "parameters": {
        "W": weights(3, 3).tolist(),
        "b": weights(3, seed=1).tolist(),
        "V": weights(3, 3, seed=2).tolist(),
        "U": weights(2, 3, seed=3).tolist(),
    },
    "constants": {"c": [2, -1, 0.5]},
    "operations": [
        {"kind": "linear", "name": "first", "inputs": ["x", "W"], "output": "1"},
        {"kind": "bias", "name": "shift", "inputs": ["1", "b"], "output": "2"},
        {"kind": "activation", "name": "act", "function": "relu", "inputs": ["2"], "output": "3"},
        {"kind": "linear", "name": "side", "inputs": ["x", "V"], "output": "4"},
        {"kind": "add", "name": "sum", "inputs": ["3", "4"], "output": "5"},
        {"kind": "scale", "name": "factor", "inputs": ["5", "c"], "output": "6"},
        {"kind": "linear", "name": "last", "inputs": ["6", "U"], "output": "7"},
    ],
    "outputs": ["7"],
}


def _activation_first(net: dict[str, Any]) -> None:
    ops = net["operations"]
    ops[1]["inputs"], ops[2]["inputs"], ops[4]["inputs"] = ["3", "b"], ["1"], ["2", "4"]
    ops[1], ops[2] = ops[2], ops[1]


def _without_the_bias(net: dict[str, Any]) -> None:
    del net["operations"][1], net["parameters"]["b"]
    net["operations"][1]["inputs"] = ["1"]


def _another_input(net: dict[str, Any]) -> None:
    net["inputs"]["z"] = [3]


def _the_output_elsewhere(net: dict[str, Any]) -> None:
    net["outputs"] = ["6"]


def _renamed(net: dict[str, Any]) -> None:
    net["parameters"]["W9"] = net["parameters"].pop("W")
    net["operations"][0]["inputs"] = ["x", "W9"]


def _set(value: Any, *path: Any) -> Callable[[dict[str, Any]], None]:
    def change(net: dict[str, Any]) -> None:
        node = net
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


DIFFERENT = {
    "activation": (_set("abs", "operations", 2, "function"), ["operation act (relu) is now act (abs)"]),
    "slope": (
        _set("leaky_relu:1/5", "operations", 2, "function"),
        ["operation act (relu) is now act (leaky_relu:1/5)"],
    ),
    "order": (_activation_first, ["operation act (relu) is now shift (bias)"]),
    "no bias": (_without_the_bias, ["operation shift (bias) is now first (linear)", "b is missing"]),
    "constant": (_set([2, -1, 0.25], "constants", "c"), ["constant c"]),
    "transposed": (
        _set(False, "operations", 0, "transpose"),
        ["operation first (linear) is now first (linear)"],
    ),
    "sign": (_set([1, -1], "operations", 4, "signs"), ["operation sum (add) is now sum (add)"]),
    "shape": (_set(weights(4, 3, seed=3).tolist(), "parameters", "U"), ["U has shape (4, 3), was (2, 3)"]),
    "input": (_another_input, ["the inputs, outputs or states"]),
    "output": (_the_output_elsewhere, ["operation last (linear) is now factor (scale)"]),
    "operand": (_set(["4", "3"], "operations", 4, "inputs"), ["operation"]),
    "another parameter": (_set(["x", "W"], "operations", 3, "inputs"), ["V is called W"]),
    "name": (_renamed, ["W is called W9"]),
    "unused": (_set([1.0], "parameters", "extra"), ["extra is new"]),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_named(name: str) -> None:
    change, expected = DIFFERENT[name]
    other = copy.deepcopy(NET)
    change(other)
    audit = check(NET, other)
    assert not audit.ok and not audit.same_orbit
    assert {f.kind for f in audit.faults} == {"structure-differs"}
    found = [f.where for f in audit.faults]
    assert all(any(where.startswith(e) for where in found) for e in expected), found
    if name not in ("no bias", "operand", "output"):
        assert len(found) == len(expected), found


def test_inputs_that_changed_places() -> None:
    two = copy.deepcopy(NET)
    two["inputs"]["z"] = [3]
    two["operations"][3]["inputs"] = ["z", "V"]
    swapped = copy.deepcopy(two)
    swapped["operations"][0]["inputs"], swapped["operations"][3]["inputs"] = ["z", "W"], ["x", "V"]
    assert [f.where for f in check(two, swapped).faults] == [
        "x (input) stands in the place of z (input)",
        "z (input) stands in the place of x (input)",
    ]


def test_functions_of_different_structures_are_still_compared() -> None:
    other = copy.deepcopy(NET)
    other["operations"][2]["function"] = "abs"
    found = check(NET, other).function_error
    assert found is not None and found > 0.01
    _without_the_bias(bare := copy.deepcopy(NET))
    bare["parameters"].pop("U")
    other = copy.deepcopy(bare)
    for net in (bare, other):
        net["operations"].pop()
        net["outputs"] = ["6"]
    other["operations"][1]["function"] = "Max(x, 0)"
    assert check(bare, other).function_error == 0.0


def test_names_of_results_and_the_listing_do_not_matter() -> None:
    other = copy.deepcopy(NET)
    ops = other["operations"]
    ops.insert(0, ops.pop(3))
    for op in ops:
        op["output"] = f"t{op['output']}"
        op["inputs"] = [f"t{x}" if x.isdigit() else x for x in op["inputs"]]
        op["name"] = f"my {op['name']}"
    other["outputs"] = ["t7"]
    balanced = solve(load(other)).network
    audit = check(NET, balanced)
    assert audit.ok, audit.faults


def test_an_onnx_file_and_its_json_form(digits: Path) -> None:
    network = load(digits)
    balanced = solve(network).network
    assert check(digits, to_document(balanced)).ok
    assert check(to_document(network), balanced).ok
    # Written by a program that transposes matrices: another structure, said in a line for each tensor.
    document = to_document(network)
    for op in document["operations"]:
        if op["kind"] == "linear":
            op["transpose"] = False
            w = document["parameters"][op["inputs"][1]]
            w["values"] = np.transpose(w["values"]).tolist()
    audit = check(digits, document)
    assert "fc1.weight has shape (64, 48), was (48, 64)" in [f.where for f in audit.faults]
    assert audit.function_error is not None and audit.function_error < 1e-12


def test_unknown_operations_are_compared_by_kind_alone(tmp_path: Path) -> None:
    def file(name: str, op: str) -> Path:
        nodes = [
            helper.make_node("MatMul", ["x", "W"], ["z"]),
            helper.make_node(op, ["z"], ["s"], axis=1),
            helper.make_node("MatMul", ["s", "V"], ["y"]),
        ]
        return write(tmp_path / name, model(nodes, {"W": weights(3, 4), "V": weights(4, 2)}))

    audit = check(file("a.onnx", "Hardmax"), file("b.onnx", "Hardmax"))
    assert audit.ok and audit.function_error is None
    assert any("compared by kind alone" in note for note in audit.notes)
    audit = check(file("a.onnx", "Hardmax"), file("b.onnx", "LogSoftmax"))
    assert "(Hardmax) is now" in audit.faults[0].where and "(softmax)" in audit.faults[0].where
