"""The JSON form. Expected values are worked out by hand."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import sympy

from balproof.errors import BalproofError, ExpressionError, ModelError
from balproof.importers import load, save
from balproof.importers.json_file import _validator, to_document
from balproof.network.evaluate import evaluate

SMALL: dict[str, Any] = {
    "title": "two units",
    "inputs": {"x": [2]},
    "parameters": {"W1": [[1, 2], [-3, 4]], "b1": [0.5, -1], "W2": [[10, 100]]},
    "operations": [
        {"kind": "linear", "inputs": ["x", "W1"], "output": "z"},
        {"kind": "bias", "inputs": ["z", "b1"], "output": "a"},
        {"kind": "activation", "function": "relu", "inputs": ["a"], "output": "h"},
        {"kind": "linear", "inputs": ["h", "W2"], "output": "y"},
    ],
    "outputs": ["y"],
}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """SMALL with one value replaced (or removed, to=None)."""
    document = copy.deepcopy(SMALL)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return document


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_network_by_hand(tmp_path: Path) -> None:
    network = load(write(tmp_path / "n.json", SMALL))
    # x = (1, 1): z = (3, 1), a = (3.5, 0), y = 35; x = (-1, 1): z = (1, 7), a = (1.5, 6), y = 615
    values = evaluate(network, {"x": np.array([[1.0, 1.0], [-1.0, 1.0]])})
    np.testing.assert_array_equal(values["y"], [[35.0], [615.0]])
    assert [op.name for op in network.operations] == ["W1", "b1", "h", "W2"]
    assert network.tensors["z"].shape == (1, 2)
    assert {t.dtype for t in network.parameters} == {"float64"}


def test_the_other_layout() -> None:
    document = changed("parameters", "W1", to=[[1, -3], [2, 4]])
    document["operations"][0]["transpose"] = False
    np.testing.assert_array_equal(evaluate(load(document), {"x": np.array([[-1.0, 1.0]])})["y"], [[615.0]])


def test_exact_numbers_and_symbols() -> None:
    network = load(changed("parameters", "W1", to=[["3/4", 0.1], ["sqrt(2)", "w"]]))
    value = network.tensors["W1"].value
    assert value is not None
    assert value[0, 0] == sympy.Rational(3, 4)
    assert value[0, 1] == sympy.Rational(1, 10)
    assert value[1, 0] == sympy.sqrt(2)
    assert value[1, 1].is_Symbol
    assert network.symbolic
    assert network.tensors["W1"].dtype == "exact"
    assert network.tensors["b1"].dtype == "float64"


def test_a_recurrent_network() -> None:
    document = {
        "states": {"s": {"shape": [2], "next": "t"}},
        "parameters": {"J": [[0, 2], [1, 0]]},
        "operations": [
            {"kind": "activation", "function": "relu", "inputs": ["s"], "output": "r"},
            {"kind": "linear", "name": "core", "inputs": ["r", "J"], "output": "t"},
        ],
    }
    network = load(document)
    assert network.states == (("s", "t"),)
    assert network.outputs == ()
    values = evaluate(network, {}, {"s": np.array([[3.0, -5.0]])})
    np.testing.assert_array_equal(values["t"], [[0.0, 3.0]])


def test_the_other_kinds() -> None:
    document = {
        "inputs": {"x": [4]},
        "parameters": {"W": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "p": 0.5},
        "constants": {"c": [2, 2, 2, 2]},
        "operations": [
            {"kind": "linear", "inputs": ["x", "W"], "output": "a"},
            {"kind": "scale", "inputs": ["a", "c"], "output": "b"},
            {"kind": "prelu", "inputs": ["b", "p"], "output": "d"},
            {"kind": "add", "inputs": ["d", "a"], "signs": [1, -1], "output": "e"},
            {"kind": "reshape", "inputs": ["e"], "shape": [2, 2], "output": "f"},
            {"kind": "identity", "inputs": ["f"], "output": "g"},
            {"kind": "unknown", "op_type": "softmax", "inputs": ["g"], "output": "y"},
        ],
        "outputs": ["y"],
    }
    network = load(document)
    assert network.tensors["f"].shape == network.tensors["y"].shape == (1, 2, 2)
    runnable = {**document, "operations": document["operations"][:-1], "outputs": ["g"]}
    # x = -2: scaled -4, prelu -2, minus a: 0; x = 3: 6, 6, 3
    values = evaluate(load(runnable), {"x": np.array([[-2.0, 3.0, 0.0, 1.0]])})
    np.testing.assert_array_equal(values["g"], [[[0.0, 3.0], [0.0, 1.0]]])
    assert to_document(load(to_document(network))) == to_document(network)


def test_written_back(tmp_path: Path) -> None:
    path = write(tmp_path / "n.json", SMALL)
    network = load(path)
    save(network, tmp_path / "same.json")
    assert json.loads((tmp_path / "same.json").read_text()) == SMALL
    assert "[-3.0, 4.0]" in (tmp_path / "same.json").read_text()
    third = np.array([[1 / 3, 1e-300], [0.1, -0.0]])
    save(network.with_parameters({"W1": third}), path)
    again = load(path).tensors["W1"].value
    assert again is not None
    assert again.tobytes() == third.tobytes()


def test_exact_weights_stay_exact_and_doubles_become_decimals(tmp_path: Path) -> None:
    path = write(tmp_path / "n.json", changed("parameters", "W1", to=[["3/4", 2], ["w", "-1/3"]]))
    network = load(path)
    save(network, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["parameters"]["W1"] == [["3/4", "2"], ["w", "-1/3"]]
    save(network.with_parameters({"W1": np.array([[0.5, 2.0], [1.0, 0.25]])}), tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["parameters"]["W1"] == [[0.5, 2.0], [1.0, 0.25]]


def test_a_network_in_memory_is_written_as_a_new_document(tmp_path: Path) -> None:
    save(load(SMALL), tmp_path / "n.json")
    assert to_document(load(tmp_path / "n.json")) == to_document(load(SMALL))


def test_nan_is_not_written(tmp_path: Path) -> None:
    network = load(write(tmp_path / "n.json", SMALL))
    with pytest.raises(ModelError, match=r"b1\[1\] is nan"):
        save(network.with_parameters({"b1": np.array([0.0, np.nan])}), tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


# --- hostile files ------------------------------------------------------------------------------------

TEXTS = {
    "no JSON": ("{", "no intact JSON"),
    "empty": ("", "n.json is empty: "),
    "a list": ("[1]", "no object"),
    "not UTF-8": (b"\xff\xfe{}", "no intact JSON"),
    "a key twice": ('{"parameters": {"w": 1, "w": 2}, "operations": []}', "the key 'w' twice"),
    "NaN": ('{"parameters": {"w": NaN}}', "contains NaN, as parameters.w"),
    "nothing but NaN": ("NaN", "contains NaN, as all of it"),
    "infinity": (
        '{"parameters": {"v": [1], "w": [[1, 2], [-Infinity, NaN]]}}',
        r"contains -Infinity, as parameters\.w\[1,0\]",
    ),
    "deep": ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
    "digits": ('{"w": ' + "9" * 10_000 + "}", "no intact JSON"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_is_refused(name: str, tmp_path: Path) -> None:
    text, match = TEXTS[name]
    path = tmp_path / "n.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)


OPERATION = {"kind": "linear", "inputs": ["x", "W1"], "output": "z"}
DOCUMENTS = {
    "unknown key": (changed("layers", to=[]), "layers: does not belong here"),
    "no operations": (changed("operations", to=None), "'operations' is a required property"),
    "kind": (changed("operations", 0, "kind", to="dense"), r"operations\[0\].kind"),
    "no function": (changed("operations", 2, "function", to=None), r"operations\[2\]"),
    "function elsewhere": (
        changed("operations", 0, "function", to="relu"),
        r"operations\[0\].function: does not belong here",
    ),
    "one input": (changed("operations", 0, "inputs", to=["x"]), r"operations\[0\].inputs"),
    "zero axis": (changed("inputs", "x", to=[0]), r"inputs.x\[0\]"),
    "absurd axis": (changed("inputs", "x", to=[10**18]), "more than"),
    "fraction of an axis": (changed("inputs", "x", to=[1.5]), r"inputs.x\[0\]"),
    "ragged": (changed("parameters", "W1", to=[[1, 2], [3]]), "W1 is ragged"),
    "ragged the other way": (changed("parameters", "W1", to=[[1, 2], 3]), "W1 is ragged"),
    "deeper in places": (changed("parameters", "W1", to=[[1, [2]], [3, 4]]), r"W1 holds \[2\]"),
    "a list of none": (changed("parameters", "W1", to=[[], []]), "holds nothing"),
    "true": (changed("parameters", "b1", to=[True, 1]), "b1 holds true"),
    "null": (changed("parameters", "b1", to=[{}, 1]), "b1 holds"),
    "too deep": (changed("parameters", "b1", to=[[[[[[[[[[1]]]]]]]]]]), "b1 is nested too deeply"),
    "too large": (changed("parameters", "b1", to=[10**400, 1]), r"b1\[0\] is too large"),
    "shape of the weight": (changed("parameters", "W1", to=[[1, 2, 3]]), "W1 of shape"),
    "shape of the bias": (changed("parameters", "b1", to=[1, 2, 3]), "do not fit together"),
    "bias too large": (changed("parameters", "b1", to=[[1, 2], [3, 4]]), "b1 of shape"),
    "unknown name": (changed("operations", 0, "inputs", to=["q", "W1"]), "reads 'q'"),
    "order of inputs": (changed("operations", 0, "inputs", to=["W1", "x"]), "a result first"),
    "defined twice": (changed("operations", 1, "output", to="z"), "'z' is given twice"),
    "one name for two": (changed("inputs", to={"W1": [2], "x": [2]}), "'W1' is given twice"),
    "output": (changed("outputs", to=["q"]), "'q' is not computed"),
    "shape of a linear": (
        changed("operations", 0, "shape", to=[2]),
        r"operations\[0\].shape: does not belong here",
    ),
    "names": (
        changed("operations", to=[{**op, "name": "n"} for op in SMALL["operations"]]),
        "two operations are called 'n'",
    ),
    "not real": (changed("parameters", "b1", to=["sqrt(-1)", 1]), r"b1\[0\]"),
    "infinite": (changed("parameters", "b1", to=["1/0", 1]), r"b1\[0\]"),
    "code": (changed("parameters", "b1", to=["__import__('os').system('id')", 1]), r"b1\[0\]"),
    "code for a function": (changed("operations", 2, "function", to="__import__('os')"), "."),
    "state": (
        {**SMALL, "states": {"s": {"shape": [3], "next": "z"}}},
        r"state 's' of shape \(1, 3\) becomes 'z' of shape \(1, 2\)",
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_that_are_refused(name: str, tmp_path: Path) -> None:
    document, match = DOCUMENTS[name]
    with pytest.raises(BalproofError, match=match) as caught:
        load(write(tmp_path / "n.json", document))
    assert isinstance(caught.value, ModelError | ExpressionError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_schema_is_one_and_agrees_with_the_reader_on_tensors() -> None:
    jsonschema.Draft202012Validator.check_schema(_validator().schema)
    assert _validator().is_valid(SMALL)
    for entries in (True, {}, None, [], [[]], [True], ""):
        document = changed("parameters", "b1", to=[1, 2])
        document["parameters"]["b1"] = entries
        assert not _validator().is_valid(document)
        with pytest.raises(BalproofError):
            load(document)


def test_a_source_that_changed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "n.json", SMALL)
    network = load(path)
    write(path, changed("parameters", "b1", to=[1, 2, 3]))
    with pytest.raises(ModelError, match=r"no longer has 'b1' of shape \(2,\)"):
        save(network, tmp_path / "b.json")
