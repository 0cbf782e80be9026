"""Networks in a JSON form of our own, short enough to be written by hand; ``schema.json`` states it.

    {"inputs": {"x": [2]},
     "parameters": {"W1": [[1, "3/4"], ["w", -2]], "b1": [0.5, 0], "W2": [[1, 1]]},
     "operations": [
       {"kind": "linear", "inputs": ["x", "W1"], "output": "z"},
       {"kind": "bias", "inputs": ["z", "b1"], "output": "a"},
       {"kind": "activation", "function": "relu", "inputs": ["a"], "output": "h"},
       {"kind": "linear", "inputs": ["h", "W2"], "output": "y"}],
     "outputs": ["y"]}

Shapes leave the batch axis out. A weight is a number, or a text: an exact number or a symbol, read by our
own parser. A tensor with a text in it is exact as a whole (its decimals are then read as written: 0.1 is
1/10); one without is float64. An operation is called by its ``name``, or else after its weight.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import jsonschema.exceptions
import numpy as np
import sympy

from balproof.errors import ExpressionError, ModelError
from balproof.importers.files import first_line, read_bytes, write_atomically
from balproof.importers.rounding import MAX_ACTIVATION, require_finite, require_size
from balproof.network.graph import Network, Operation, Role, Tensor
from balproof.symbolic.activation import Activation
from balproof.symbolic.parser import parse

MAX_BYTES = 2**28
MAX_RANK = 8


class Decimal(float):
    """A number with a point or an exponent, and how it is written in the file."""

    text: str

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.text = text
        return self


def load(path: Path) -> Network:
    """Read a network.

    Raises ModelError for text that is not JSON, duplicate keys, NaN and infinity, anything that the schema
    does not allow, shapes that do not fit, and files over 256 MiB; ExpressionError for a weight or an
    activation whose formula cannot be read.
    """
    return from_document(_parse(read_bytes(path, MAX_BYTES), str(path)), str(path.resolve()))


def from_document(document: Mapping[str, Any], source: str | None = None) -> Network:
    """A network from the content of a JSON file.

    >>> net = from_document({
    ...     "inputs": {"x": [1]}, "parameters": {"w": [["3/4"]]}, "outputs": ["y"],
    ...     "operations": [{"kind": "linear", "inputs": ["x", "w"], "output": "y"}]})
    >>> net.tensors["w"].value[0, 0], net.tensors["w"].dtype, net.tensors["y"].shape
    (3/4, 'exact', (1, 1))

    Raises ModelError and ExpressionError as `load`.
    """
    _validate(document)
    tensors: dict[str, Tensor] = {}

    def define(tensor: Tensor) -> None:
        if tensor.name in tensors:
            raise ModelError(f"the name {tensor.name!r} is given twice", "name each tensor differently")
        if tensor.value is None:
            require_size(tensor.name, tensor.shape, MAX_ACTIVATION)
        tensors[tensor.name] = tensor

    for name, shape in document.get("inputs", {}).items():
        define(Tensor(name, (1, *(int(n) for n in shape)), "input"))
    for name, state in document.get("states", {}).items():
        define(Tensor(name, (1, *(int(n) for n in state["shape"])), "state"))
    roles: tuple[tuple[str, Role], ...] = (("parameters", "parameter"), ("constants", "constant"))
    for section, role in roles:
        for name, entries in document.get(section, {}).items():
            define(_tensor(name, role, entries))
    operations: list[Operation] = []
    for number, entry in enumerate(document["operations"]):
        where = f"operations[{number}]"
        shape = _result_shape(entry, tensors, where)
        define(Tensor(entry["output"], shape, "activation"))
        operations.append(_operation(entry, shape, {op.name for op in operations}))
    states = tuple((name, state["next"]) for name, state in document.get("states", {}).items())
    for before, after in states:
        if after in tensors and tensors[after].shape != tensors[before].shape:
            raise ModelError(
                f"state {before!r} of shape {tensors[before].shape} becomes {after!r} of shape "
                f"{tensors[after].shape}",
                "give both one shape",
            )
    return Network(
        tensors,
        tuple(operations),
        tuple(document.get("inputs", {})),
        tuple(document.get("outputs", ())),
        states,
        "json",
        source,
    )


def save(network: Network, path: Path) -> None:
    """Write the document that the network was read from with its present weights, or a new document.

    Exact weights are written as texts, weights in floating point as the shortest decimals that give them
    back: a network that was exact and whose weights are doubles now is written with decimals.

    Raises ModelError if the file that the network was read from is gone, or has other tensors now.
    """
    if network.source is None:
        document = to_document(network)
    else:
        document = _parse(read_bytes(Path(network.source), MAX_BYTES), network.source)
        _validate(document)
        stored = document.get("parameters", {})
        for parameter in network.parameters:
            if parameter.name not in stored or _shape(stored[parameter.name]) != parameter.shape:
                raise ModelError(
                    f"{network.source} no longer has {parameter.name!r} of shape {parameter.shape}",
                    "load the network again",
                )
            require_finite(parameter)
            stored[parameter.name] = _entries(parameter)
    write_atomically(path, ("".join(_pretty(document, "")) + "\n").encode())


def to_document(network: Network) -> dict[str, Any]:
    """The content of a JSON file for any network.

    >>> net = from_document({
    ...     "inputs": {"x": [1]}, "parameters": {"w": [[2.5]]}, "outputs": ["y"],
    ...     "operations": [{"kind": "linear", "inputs": ["x", "w"], "output": "y"}]})
    >>> to_document(net)["parameters"]
    {'w': [[2.5]]}
    """
    by_role: dict[str, dict[str, Tensor]] = {"input": {}, "state": {}, "parameter": {}, "constant": {}}
    for tensor in network.tensors.values():
        by_role.setdefault(tensor.role, {})[tensor.name] = require_finite(tensor)
    after = dict(network.states)
    return {
        "format": "balproof-network",
        "version": 1,
        "inputs": {name: list(network.tensors[name].shape[1:]) for name in network.inputs},
        "states": {
            name: {"shape": list(t.shape[1:]), "next": after[name]} for name, t in by_role["state"].items()
        },
        "parameters": {name: _entries(t) for name, t in by_role["parameter"].items()},
        "constants": {name: _entries(t) for name, t in by_role["constant"].items()},
        "operations": [_entry(op, network) for op in network.operations],
        "outputs": list(network.outputs),
    }


# --- reading ------------------------------------------------------------------------------------------


def _parse(content: bytes, where: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ModelError(f"{where} has the key {key!r} twice in one object", "remove one of them")
            found[key] = value
        return found

    def refuse(literal: str) -> Any:
        raise ModelError(f"{where} contains {literal}", "give finite numbers")

    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse, parse_float=Decimal
        )
    except RecursionError:
        raise ModelError(f"{where} is nested too deeply", f"nest lists at most {MAX_RANK} deep") from None
    except ValueError as error:  # no JSON, no UTF-8, or an integer of thousands of digits
        raise ModelError(f"{where} is no intact JSON file ({first_line(error)})", "repair the file") from None
    if not isinstance(document, dict):
        raise ModelError(f"{where} holds no object", 'begin with {"inputs": ..., "operations": ...}')
    return document


@cache
def _validator() -> Any:
    schema = json.loads(resources.files("balproof.importers").joinpath("schema.json").read_text("utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _validate(document: Mapping[str, Any]) -> None:
    """Against the schema, but for the entries of tensors: `_tensor` checks those, and much faster."""
    skeleton = dict(document)
    for section in ("parameters", "constants"):
        if isinstance(given := document.get(section), Mapping):
            skeleton[section] = dict.fromkeys(given, 0)
    try:
        error = jsonschema.exceptions.best_match(_validator().iter_errors(skeleton))
    except RecursionError:
        raise ModelError("the network is nested too deeply", "follow the form of the schema") from None
    if error is not None:
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        raise ModelError(
            f"{place.lstrip('.') or 'the file'}: {_said(error)}", "follow the schema of networks"
        )


def _said(error: Any) -> str:
    """The fault in a line; ``not`` marks the keys that this kind of operation does not have."""
    return "does not belong here" if error.validator == "not" else first_line(error, 160)


def _shape(entries: Any) -> tuple[int, ...]:
    """The shape that the first entries of a nested list have."""
    shape: list[int] = []
    while isinstance(entries, list) and len(shape) <= MAX_RANK:
        shape.append(len(entries))
        if not entries:
            break
        entries = entries[0]
    return tuple(shape)


def _tensor(name: str, role: Role, entries: Any) -> Tensor:
    shape = _shape(entries)
    if len(shape) > MAX_RANK:
        raise ModelError(f"{name} is nested too deeply", f"nest lists at most {MAX_RANK} deep")
    require_size(name, shape)
    flat = list(_leaves(entries, shape, name))
    empty = Tensor(name, shape, role, None)
    exact = any(isinstance(entry, str) for entry in flat)
    read = _exact if exact else _double
    numbers = [read(entry, empty.element(i)) for i, entry in enumerate(flat)]
    value = np.empty(len(flat), dtype=object if exact else np.float64)
    value[:] = numbers
    dtype = "exact" if exact else "float64"
    return Tensor(name, shape, role, value.reshape(shape), dtype)


def _leaves(entries: Any, shape: tuple[int, ...], name: str) -> Iterator[Any]:
    if not shape:
        if isinstance(entries, bool) or not isinstance(entries, int | float | str):
            raise ModelError(f"{name} holds {json.dumps(entries, default=str)[:40]}", "give numbers or texts")
        yield entries
    elif not isinstance(entries, list) or len(entries) != shape[0]:
        raise ModelError(f"{name} is ragged", f"make every list at its depth {shape[0]} long")
    else:
        for entry in entries:
            yield from _leaves(entry, shape[1:], name)


def _double(entry: Any, where: str) -> float:
    try:
        return float(entry)
    except OverflowError:
        raise ModelError(f"{where} is too large for a double", "give a smaller number") from None


def _exact(entry: Any, where: str) -> sympy.Expr:
    if isinstance(entry, int):
        return sympy.Integer(entry)
    if isinstance(entry, float):
        if not np.isfinite(entry):
            raise ModelError(f"{where} is {entry}", "give finite numbers")
        return sympy.Rational(entry.text if isinstance(entry, Decimal) else repr(float(entry)))
    try:
        value = parse(entry)
    except ExpressionError as error:
        raise ExpressionError(f"{where}: {error.cause}", error.remedy) from None
    if value.is_finite is False or value.is_real is False:
        raise ModelError(f"{where} = {entry} is not a real number", "give real, finite weights")
    return value


# --- operations ---------------------------------------------------------------------------------------


def _result_shape(entry: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> tuple[int, ...]:
    kind, inputs = entry["kind"], entry["inputs"]
    for name in inputs:
        if name not in tensors:
            raise ModelError(
                f"{where} reads {name!r}, which nothing before it defines", "check name and order"
            )
    first = tensors[inputs[0]]
    held = [name for name in inputs if tensors[name].value is not None]
    expected = {"linear": [inputs[-1]], "bias": [inputs[-1]], "scale": [inputs[-1]], "prelu": [inputs[-1]]}
    if kind != "unknown" and held != expected.get(kind, []):
        form = (
            "a result first, then a parameter or constant" if kind in expected else "results or inputs only"
        )
        raise ModelError(f"{where} ({kind}) reads {', '.join(inputs)}", f"give {form}")
    if "shape" in entry:
        shape = (1, *(int(n) for n in entry["shape"]))
        if kind == "reshape" and np.prod(shape) != first.size:
            raise ModelError(
                f"{where} turns shape {first.shape[1:]} into {shape[1:]}", "keep the number of entries"
            )
        if kind in ("reshape", "unknown"):
            return shape
        raise ModelError(f"{where} ({kind}) has a shape", "leave it out: it follows from the inputs")
    if kind == "linear":
        weight = tensors[inputs[1]]
        if (
            len(weight.shape) != 2
            or first.shape[-1] != weight.shape[1 if entry.get("transpose", True) else 0]
        ):
            raise ModelError(
                f"{where}: {inputs[1]} of shape {weight.shape} does not act on {inputs[0]} of shape "
                f"{first.shape[1:]}",
                "give one row for each unit and one column for each input, or set transpose to false",
            )
        return (*first.shape[:-1], weight.shape[0 if entry.get("transpose", True) else 1])
    if kind == "unknown":
        return first.shape if first.value is None else (1, *first.shape)
    if kind == "add" and len(entry.get("signs", inputs)) != len(inputs):
        raise ModelError(
            f"{where} has {len(inputs)} inputs and {len(entry['signs'])} signs", "give one for each"
        )
    try:
        shape = np.broadcast_shapes(*(tensors[name].shape for name in inputs))
    except ValueError:
        shapes = ", ".join(str(tensors[n].shape) for n in inputs)
        raise ModelError(f"{where}: the shapes {shapes} do not fit together", "correct the shapes") from None
    if kind != "add" and shape != first.shape:
        raise ModelError(
            f"{where}: {inputs[1]} of shape {tensors[inputs[1]].shape} is too large", "correct the shape"
        )
    return shape


def _operation(entry: Mapping[str, Any], shape: tuple[int, ...], taken: set[str]) -> Operation:
    kind, inputs, output = entry["kind"], tuple(entry["inputs"]), entry["output"]
    attributes: dict[str, Any] = {}
    if kind == "linear":
        attributes["transpose"] = entry.get("transpose", True)
    elif kind == "activation":
        attributes["function"] = Activation.parse(entry["function"])
    elif kind == "reshape":
        attributes["shape"] = shape
    elif kind == "unknown":
        attributes["op_type"] = entry.get("op_type", "unknown")
    elif "signs" in entry:
        attributes["signs"] = tuple(float(s) for s in entry["signs"])
    name = entry.get("name")
    if name is None:
        first = inputs[1].removesuffix(".weight") if kind in ("linear", "bias") else output
        names = itertools.chain((first, output), (f"{output}_{i}" for i in itertools.count(2)))
        name = next(n for n in names if n not in taken)
    elif name in taken:
        raise ModelError(f"two operations are called {name!r}", "name them differently")
    return Operation(kind, name, inputs, output, MappingProxyType(attributes))


def _entry(op: Operation, network: Network) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": op.kind, "name": op.name, "inputs": list(op.inputs), "output": op.output}
    if op.kind == "activation":
        entry["function"] = op.attributes["function"].text
    elif op.kind == "linear":
        entry["transpose"] = bool(op.attributes.get("transpose", False))
    elif op.kind in ("reshape", "unknown"):
        entry["shape"] = list(network.tensors[op.output].shape[1:])
    if "signs" in op.attributes:
        entry["signs"] = [int(s) for s in op.attributes["signs"]]
    if "op_type" in op.attributes:
        entry["op_type"] = op.attributes["op_type"]
    return entry


# --- writing ------------------------------------------------------------------------------------------


def _entries(tensor: Tensor) -> Any:
    """The entries as nested lists of numbers, and of texts where they are exact or symbols."""
    assert tensor.value is not None
    if tensor.value.dtype != object:
        return tensor.value.astype(np.float64).tolist()
    texts = np.empty(tensor.value.shape, dtype=object)
    for i, entry in enumerate(tensor.value.flat):
        texts.flat[i] = float(entry) if sympy.sympify(entry).is_Float else str(entry)
    return texts.tolist()


def _pretty(node: Any, indent: str) -> Iterator[str]:
    """JSON with one line for each list of numbers, and numbers as they were written."""
    deeper = indent + "  "
    if isinstance(node, Mapping) and node:
        yield "{"
        for i, (key, value) in enumerate(node.items()):
            yield f"{',' if i else ''}\n{deeper}{json.dumps(key)}: "
            yield from _pretty(value, deeper)
        yield f"\n{indent}}}"
    elif isinstance(node, list) and any(isinstance(x, Mapping | list) for x in node):
        yield "["
        for i, value in enumerate(node):
            yield f"{',' if i else ''}\n{deeper}"
            yield from _pretty(value, deeper)
        yield f"\n{indent}]"
    elif isinstance(node, list):
        yield "[" + ", ".join("".join(_pretty(x, "")) for x in node) + "]"
    else:
        yield node.text if isinstance(node, Decimal) else json.dumps(node, allow_nan=False)
