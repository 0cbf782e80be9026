"""Every kind of operation in the JSON form. Networks come back as they were; documents that do not fit are
refused in one line, whatever is wrong with them."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from balproof.errors import BalproofError, ExpressionError, ModelError
from balproof.importers import json_operations, load, save
from balproof.importers.json_file import _validator, as_json, to_document
from balproof.network.evaluate import can_run, evaluate
from balproof.network.graph import Network, Operation, Tensor
from balproof.network.manifold import infer
from balproof.network.rules import RULES
from balproof.symbolic.activation import Activation


def example(kind: str, seed: int) -> Network:
    """The rule's own random instance as a network."""
    op, tensors = RULES[kind].example(np.random.default_rng(seed))
    inputs = tuple(name for name in op.inputs if tensors[name].role == "input")
    return Network(tensors, (op,), inputs, ("y",))


def again(network: Network, folder: Path) -> Network:
    save(as_json(network), folder / "n.json")
    return load(folder / "n.json")


def same(network: Network, other: Network) -> None:
    """Tensors, operations, manifold, and results bit for bit."""
    assert set(other.tensors) == set(network.tensors)
    for name, tensor in network.tensors.items():
        found = other.tensors[name]
        assert (found.shape, found.role, found.dtype) == (tensor.shape, tensor.role, tensor.dtype), name
        assert found.buffer == tensor.buffer
        if tensor.value is not None:
            assert found.value is not None
            assert found.value.tolist() == tensor.value.tolist()
    assert [t.name for t in other.parameters] == [t.name for t in network.parameters]
    for op, found in zip(network.operations, other.operations, strict=True):
        assert (found.kind, found.name, found.inputs, found.output) == (
            op.kind,
            op.name,
            op.inputs,
            op.output,
        )
        assert dict(found.attributes) == dict(op.attributes)
    assert (other.inputs, other.outputs, other.states) == (network.inputs, network.outputs, network.states)
    before, after = infer(network), infer(other)
    assert after.units == before.units
    assert list(after.rows()) == list(before.rows())
    if can_run(network):
        rng = np.random.default_rng(0)
        x = {n: rng.standard_normal((2, *network.tensors[n].shape[1:])) for n in network.inputs}
        for name, value in evaluate(network, x).items():
            assert evaluate(other, x)[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("kind", sorted(RULES))
def test_every_rule_has_a_form(kind: str, tmp_path: Path) -> None:
    for seed in range(12):
        network = example(kind, seed)
        same(network, again(network, tmp_path))
        assert _validator().is_valid(json.loads((tmp_path / "n.json").read_text()))


def test_a_rule_without_a_form_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {k: v for k, v in json_operations.KINDS.items() if k != "take"}
    monkeypatch.setattr(json_operations, "KINDS", MappingProxyType(kinds))
    network = example("take", 0)
    with pytest.raises(AssertionError, match="unknown"):
        same(network, again(network, tmp_path))


def test_the_schema_and_the_table_have_the_same_kinds() -> None:
    schema = _validator().schema
    assert set(schema["$defs"]["operation"]["properties"]["kind"]["enum"]) == set(json_operations.KINDS)
    assert set(json_operations.KINDS) == {*RULES, "unknown"}
    for kind in json_operations.KINDS:
        assert schema["$defs"][kind]["properties"]["kind"] == {"const": kind}
        assert schema["$defs"][kind]["additionalProperties"] is False


# --- networks of other forms ----------------------------------------------------------------------------


def test_an_onnx_network(digits: Path, tmp_path: Path) -> None:
    network = load(digits)
    assert {t.dtype for t in network.parameters} == {"float32"}
    same(network, again(network, tmp_path))


def test_unknown_operations_with_their_attributes(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32), "W")
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node(
            "Mystery", ["z"], ["a", "b"], domain="own", size=[1, 2], rate=float("-inf"), how="so"
        ),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("x", "y", "a", "b")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:2], [weight], value_info=value[2:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    network = load(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    kept = network.operations[1].attributes
    assert kept["attributes"] == {"size": (1, 2), "rate": float("-inf"), "how": "so"}
    assert (kept["domain"], kept["result"]) == ("own", 0)
    same(network, again(network, tmp_path))


def test_recurrent_and_symbolic_networks(tmp_path: Path) -> None:
    J = np.array([[0.1, -2.0], [1 / 3, 0.0]])
    for source in ({"J": J}, {"J": J, "W_in": np.ones((2, 3)), "b": np.ones(2), "W_out": np.ones((1, 2))}):
        network = load(source)
        same(network, again(network, tmp_path))
    document = {
        "inputs": {"x": [1]},
        "parameters": {"w": [["3/4"], ["v"]]},
        "constants": {"c": ["sqrt(2)", 1]},
        "operations": [
            {"kind": "linear", "inputs": ["x", "w"], "output": "z"},
            {"kind": "scale", "inputs": ["z", "c"], "output": "y"},
        ],
        "outputs": ["y"],
    }
    same(load(document), again(load(document), tmp_path))


@pytest.mark.torch
def test_a_torch_network_with_buffers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    norm = nn.BatchNorm1d(4)
    module = nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1), norm, nn.GELU(), nn.Flatten(), nn.Linear(20, 3)
    ).eval()
    network = load(module, (torch.randn(1, 2, 5),))
    assert [t.buffer for t in network.parameters if "running" in t.name] == [True, True]
    other = again(network, tmp_path)
    same(network, other)
    x = torch.randn(3, 2, 5)
    found = evaluate(other, {network.inputs[0]: x.double().numpy()})[network.outputs[0]]
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_what_has_no_form_is_not_written() -> None:
    relu = Activation.parse("relu")
    wrong = dataclasses.replace(relu, text="tanh")
    network = example("activation", 0)
    op = dataclasses.replace(network.operations[0], attributes={"function": wrong})
    with pytest.raises(ModelError, match="not what its text 'tanh' says"):
        to_document(dataclasses.replace(network, operations=(op,)))
    op = Operation("unknown", "u", ("x",), "y", {"op_type": "u", "what": object()})
    with pytest.raises(ModelError, match="an attribute that is a object"):
        to_document(dataclasses.replace(network, operations=(op,)))
    tensors = {**network.tensors, "y": Tensor("y", (), "activation")}
    op = Operation("unknown", "u", ("x",), "y", {"op_type": "u"})
    with pytest.raises(ModelError, match=r"y of shape \(\) has no form"):
        as_json(dataclasses.replace(network, tensors=tensors, operations=(op,)))


def test_types_are_kept_and_rounded_to(tmp_path: Path) -> None:
    for dtype, third in (
        ("float16", 0.333251953125),
        ("bfloat16", 0.333984375),
        ("float32", 0.3333333432674408),
    ):
        document = {
            "inputs": {"x": [1]},
            "parameters": {"w": {"values": [[1 / 3]], "dtype": dtype}},
            "operations": [{"kind": "linear", "inputs": ["x", "w"], "output": "y"}],
        }
        (tmp_path / "n.json").write_text(json.dumps(document))
        network = load(tmp_path / "n.json")
        assert network.numbers("w").tolist() == [[third]]
        save(network.with_parameters({"w": np.array([[2 / 3]])}), tmp_path / "b.json")
        assert json.loads((tmp_path / "b.json").read_text())["parameters"]["w"] == {
            "values": [[2 * third]],
            "dtype": dtype,
        }
        with pytest.raises(ModelError, match=f"does not fit {dtype}"):
            save(network.with_parameters({"w": np.array([[1e39]])}), tmp_path / "b.json")


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_rounding_is_that_of_pytorch(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from balproof.importers.rounding import narrowed

    rng = np.random.default_rng(0)
    value = rng.standard_normal(4000) * 10.0 ** rng.uniform(-44 if dtype != "float16" else -9, 4, 4000)
    expected = torch.from_numpy(value).to(getattr(torch, dtype)).double().numpy()
    found = narrowed(Tensor("w", value.shape, "parameter", value, dtype))
    # PyTorch rounds to float32 on the way to a shorter type, which is seen once in some 10⁵ numbers.
    assert np.mean(found != expected) < 1e-3


# --- shapes, against PyTorch ----------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(20))
def test_shapes_of_windows_are_those_of_pytorch(seed: int) -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    rng = np.random.default_rng(seed)
    k, s, d, p, g = (int(rng.integers(1, 4)) for _ in range(5))
    x = torch.zeros(1, 2 * g, int(rng.integers(9, 14)), 9)
    space = {"strides": [s, s], "dilations": [d, d], "pads": [p, p, p, p]}
    extra = int(rng.integers(0, max(s, d)))
    cases: list[tuple[dict[str, Any], Any, Any]] = [
        ({"kind": "conv", **space, "group": g}, (3 * g, 2, k, k), lambda w: F.conv2d(x, w, None, s, p, d, g)),
        (
            {"kind": "conv", **space, "group": g, "transposed": True, "output_padding": [extra, extra]},
            (2 * g, 3, k, k),
            lambda w: F.conv_transpose2d(x, w, None, s, p, extra, g, d),
        ),
    ]
    pooled = min(p, k // 2)
    if k > 1:
        for mode in (False, True):
            pool = {"kind": "pool", "mode": "max", "kernel": [k, k], **space, "pads": [pooled] * 4}
            expected = F.max_pool2d(x, k, s, pooled, d, ceil_mode=mode)
            cases.append(({**pool, "ceil_mode": mode}, None, lambda _, y=expected: y))
    for entry, weight, function in cases:
        held = {} if weight is None else {"w": np.zeros(weight).tolist()}
        document = {
            "inputs": {"x": list(x.shape[1:])},
            "parameters": held,
            "operations": [{**entry, "inputs": ["x", *held], "output": "y"}],
            "outputs": ["y"],
        }
        expected = function(None if weight is None else torch.zeros(weight)).shape
        try:
            found = load(document)
        except ModelError as error:  # PyTorch leaves such a last window out
            assert entry.get("ceil_mode") and "nothing but padding" in str(error)
            continue
        assert found.tensors["y"].shape == tuple(expected)
        assert evaluate(found, {"x": x.numpy()})["y"].shape == tuple(expected)


# --- what is refused ------------------------------------------------------------------------------------


def one(kind: str, *weights: list[int], size: tuple[int, ...] = (4, 6), inputs: int = 1, **entry: Any) -> Any:
    """A document with one operation on inputs of one shape and weights of these shapes."""
    names = [f"x{i}" for i in range(inputs)]
    held = {f"w{i}": np.ones(w).tolist() for i, w in enumerate(weights)}
    return {
        "inputs": {n: list(size) for n in names},
        "parameters": held,
        "operations": [{"kind": kind, "inputs": [*names, *held], "output": "y", **entry}],
        "outputs": ["y"],
    }


GROWN = {"kernel": [3], "mode": "max"}
REFUSED: dict[str, tuple[Any, str]] = {
    "an attribute missing": (one("take", axis=1), "operations[0]: 'indices' is a required property"),
    "an attribute too many": (
        one("take", axis=1, indices=[0], of=1),
        "operations[0].of: does not belong here",
    ),
    "of another kind": (one("identity", axis=1), "operations[0].axis: does not belong here"),
    "a text for a number": (one("concat", axis="1"), "operations[0].axis: '1' is not of type 'integer'"),
    "a huge axis": (one("concat", axis=10**30), "operations[0].axis"),
    "the batch": (one("concat", axis=0), "axis 0 is not one of 1 to 2"),
    "beyond the last": (one("take", axis=3, indices=[0]), "axis 3 is not one of 1 to 2"),
    "a negative axis": (one("take", axis=-1, indices=[0]), "operations[0].axis: -1 is less than the minimum"),
    "an index": (one("take", axis=1, indices=[4]), "index 4 is beyond 4 entries"),
    "a huge index": (one("take", axis=1, indices=[10**40]), "is beyond 4 entries"),
    "no order": (one("transpose", perm=[0, 1, 1]), "no order of the axes 0 to 2"),
    "the batch elsewhere": (one("transpose", perm=[1, 0, 2]), "begin with 0"),
    "too few pads": (one("pad", pads=[[0, 0], [1, 1]]), "pads for 2 axes, not 3"),
    "a padded batch": (one("pad", pads=[[1, 0], [0, 0], [0, 0]]), "or of the batch"),
    "all cut away": (one("pad", pads=[[0, 0], [-2, -2], [0, 0]]), "cut all of"),
    "cut and put back": (one("pad", pads=[[0, 0], [-5, 9], [0, 0]]), "cut all of"),
    "absurd pads": (one("pad", pads=[[0, 0], [2**30, 0], [0, 0]]), "more than"),
    "not a number": (one("pad", pads=[[0, 0]] * 3, value=True), "operations[0].value"),
    "expanded wrongly": (one("expand", shape=[5, 6]), "do not fit together"),
    "expanded to less": (one("expand", shape=[1, 6]), "does not expand"),
    "reshaped": (one("reshape", shape=[5]), "keep the number of entries"),
    "no axes": (one("reduce", mode="sum", axes=[]), "operations[0].axes"),
    "the batch reduced": (one("reduce", mode="sum", axes=[-3]), "axis -3 is none"),
    "another mode": (one("reduce", mode="median", axes=[1]), "operations[0].mode"),
    "a window of another rank": (one("pool", mode="max", kernel=[2, 2]), "a kernel of 2 axes"),
    "a large window": (one("pool", mode="max", kernel=[7]), "larger than its padded input"),
    "a window on padding": (one("pool", mode="average", kernel=[1], pads=[1, 0]), "nothing but padding"),
    "a last one on padding": (
        one("pool", mode="max", kernel=[2], pads=[0, 1], strides=[3], ceil_mode=True),
        "nothing but padding",
    ),
    "a stride of 0": (one("pool", **GROWN, strides=[0]), "operations[0].strides[0]"),
    "two strides": (one("pool", **GROWN, strides=[1, 1]), "strides has 2 numbers, not 1"),
    "absurd padding": (one("pool", **GROWN, pads=[2**31 - 1, 2**31 - 1]), "more than"),
    "a kernel too large": (one("conv", [2, 4, 7]), "the kernel is larger"),
    "channels of a kernel": (one("conv", [2, 3, 1]), "in 1 groups does not act on"),
    "groups of a kernel": (one("conv", [3, 2, 1], group=2), "in 2 groups does not act on"),
    "a kernel that is a number": (one("conv", [], transposed=True), "does not act on"),
    "a kernel without space": (one("conv", [2, 4]), "does not act on"),
    "absurd dilation": (
        one("conv", [2, 4, 2], transposed=False, dilations=[2**31 - 1], pads=[2**30, 2**30]),
        "more than",
    ),
    "extra without transposed": (one("conv", [2, 4, 1], output_padding=[1]), "leave output_padding out"),
    "no product": (one("matmul", inputs=2), "have no product"),
    "a product of three": (one("mul", inputs=3), "operations[0].inputs"),
    "a table of three axes": (one("embedding", [2, 2, 2]), "is no table"),
    "a slope too large": (one("prelu", [4, 6], size=(4, 1)), "is too large"),
    "a slope of three axes": (one("prelu", [1, 1, 4, 6]), "has too many axes"),
    "a bias beyond": (one("bias", [4, 6], axis=2), "has too many axes"),
    "a factor along the batch": (one("scale", [2, 4, 6]), "along the batch"),
    "statistics": (one("batchnorm", [4], [4], [4], [6]), "w3 of shape (6,) does not fit"),
    "neither": (one("norm"), "give either axes or groups"),
    "both": (one("norm", axes=[1], groups=2), "give either axes or groups"),
    "groups": (one("norm", groups=3), "3 groups do not divide"),
    "two shapes": (one("norm", [4], [1], groups=2, axis=1), "w0 and w1 differ in shape"),
    "a norm of too many": (one("norm", [7], axes=[2]), "do not fit together"),
    "a negative epsilon": (one("norm", axes=[2], epsilon=-1), "operations[0].epsilon"),
    "signs": (one("add", inputs=2, signs=[1]), "2 inputs and 1 signs"),
    "ranks": (
        {
            **one("add", inputs=1),
            "inputs": {"x0": [4], "z": [4, 4]},
            "operations": [{"kind": "add", "inputs": ["x0", "z"], "output": "y"}],
        },
        "differ in their axes",
    ),
    "a result for a weight": (one("linear", inputs=2), "a result first, then a parameter"),
    "a weight for a result": (one("add", [4, 6]), "give results or inputs only"),
    "no inputs": (one("unknown", inputs=0), "give its shape"),
    "deep attributes": (
        one("unknown", attributes={"a": json.loads("[" * 40 + "]" * 40)}),
        "nested too deeply",
    ),
    "a type": (
        {**one("identity"), "parameters": {"w": {"values": 1, "dtype": "int8"}}},
        "parameters.w.dtype",
    ),
    "a type of texts": (
        {**one("identity"), "parameters": {"w": {"values": "v", "dtype": "float32"}}},
        "has texts",
    ),
    "no values": ({**one("identity"), "parameters": {"w": {"dtype": "float32"}}}, "'values' is a required"),
    "a constant buffer": (
        {**one("identity"), "constants": {"c": {"values": 1, "buffer": True}}},
        "constants.c.buffer: does not belong here",
    ),
    "too large for its type": (
        {**one("identity"), "parameters": {"w": {"values": 1e300, "dtype": "float32"}}},
        "does not fit float32",
    ),
    "a parameter as an output": ({**one("scale", [6]), "outputs": ["w0"]}, "is a parameter or constant"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str) -> None:
    document, said = REFUSED[name]
    with pytest.raises(ModelError) as caught:
        load(document)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


# --- anything at all ------------------------------------------------------------------------------------

VALID = [to_document(example(kind, seed)) for kind in sorted(RULES) for seed in range(4)]
VALID += [
    one("unknown", [2], op_type="softmax", attributes={"axis": -1, "deep": [[1.5, None], {"a": "b"}]}),
    {**one("linear", [3, 6]), "states": {"s": {"shape": [4, 3], "next": "y"}}},
    {**one("bias", [6]), "parameters": {"w0": {"values": ["1/2", "v", 0, 1, 2, 3], "buffer": True}}},
]
JUNK: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 17, 0.5, 1.0, -0.0, 1e308),
    *(2**31, -(2**31), 2**63, 10**30, -(10**400)),
    *("", "x", "y", "w0", "relu", "1/0", "inf", "x**x"),
    *([], [0], [1], [1, 1], [[0, 0]], [[]], [2**40], ["x"]),
    *({}, {"a": 1}, {"number": "nan"}, {"values": [1]}, {"shape": [1], "next": "y"}),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(p for key, value in inside for p in places(value, (*path, key)))]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def delete(holder: Any, key: Any, junk: Any) -> None:
    del holder[key]


def replace(holder: Any, key: Any, junk: Any) -> None:
    holder[key] = junk


def lengthen(holder: Any, key: Any, junk: Any) -> None:
    if isinstance(holder, list):
        holder.insert(key, junk if junk != [] else holder[key])
    else:
        holder[str(junk)[:20] if not isinstance(junk, dict) else "axis"] = holder[key]


def nest(holder: Any, key: Any, junk: Any) -> None:
    holder[key] = [holder[key], junk]


def nudge(holder: Any, key: Any, junk: Any) -> None:
    """A number that is nearly right; true and false change places."""
    old = holder[key]
    step = junk if isinstance(junk, int) and abs(junk) < 4 else 1
    holder[key] = not old if isinstance(old, bool) else old + step if isinstance(old, int | float) else junk


CHANGES: tuple[Callable[[Any, Any, Any], None], ...] = (delete, replace, lengthen, nest, nudge, nudge)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid document with one or two changes anywhere in it, favouring the operations."""
    document = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 2))):
        inside = ("operations",) if draw(st.booleans()) and "operations" in document else ()
        paths = [p for p in places(at(document, inside)) if p]
        if paths:
            *up, key = (*inside, *draw(st.sampled_from(paths)))
            draw(st.sampled_from(CHANGES))(
                at(document, tuple(up)), key, copy.deepcopy(draw(st.sampled_from(JUNK)))
            )
    return document


def survives(document: Any) -> bool:
    """Whether a document is read, inferred and run, or refused by one of our errors and no other."""
    try:
        network = load(document)
        infer(network)
        same_again = load(to_document(network))
        x = {n: np.ones((2, *network.tensors[n].shape[1:])) for n in network.inputs}
        with np.errstate(all="ignore"):
            if can_run(network):
                evaluate(same_again, x)
    except (ModelError, ExpressionError) as error:
        assert "\n" not in str(error)
        return False
    return True


def test_the_valid_documents_are_valid() -> None:
    assert all(survives(document) for document in VALID)


@settings(max_examples=3 * settings.default.max_examples)
@given(mutated())
def test_nothing_but_our_own_errors(document: Any) -> None:
    survives(document)


def test_the_fuzz_sees_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of indices the same documents end in a traceback."""
    take = dataclasses.replace(
        json_operations.KINDS["take"], shape=lambda a, given: (*given[0].shape[:1], len(a["indices"]), 2)
    )
    monkeypatch.setattr(json_operations, "KINDS", MappingProxyType({**json_operations.KINDS, "take": take}))
    with pytest.raises(Exception) as caught:
        survives(one("take", axis=1, indices=[7], size=(4, 2)))
    assert not isinstance(caught.value, BalproofError)
