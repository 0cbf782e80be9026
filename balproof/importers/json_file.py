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
1/10); one without is float64, or of the type in ``{"values": [...], "dtype": "float32"}``, where ``"buffer":
true`` marks what is not learned. Weights may lie in a file in the same folder or below:
``{"file": "weights.safetensors", "tensor": "fc1.weight"}``, also of the form ``.npz``, or ``.npy`` without
``tensor`` (`stored`). An operation is called by its ``name``, or else after its weight. Every
operation with a scaling rule has a form, and any other is ``unknown`` (`json_operations`), so that a network
from another form can be written in this one: see `as_json`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema.exceptions
import numpy as np
import sympy

from balproof.errors import ExpressionError, ModelError
from balproof.importers.files import first_line, read_bytes, replacing, require_apart
from balproof.importers.json_operations import KINDS, entry_of, result
from balproof.importers.json_text import Decimal, parse_object, pretty
from balproof.importers.rounding import (
    MAX_ACTIVATION,
    Weights,
    narrowed,
    require_finite,
    require_size,
    rounded_pieces,
    whole,
)
from balproof.importers.stored import Store, targets, write
from balproof.network.graph import Network, Operation, Role, Tensor
from balproof.symbolic.parser import parse

MAX_BYTES = 2**28
MAX_RANK = 8


def load(path: Path) -> Network:
    """Read a network.

    Raises ModelError for text that is not JSON, duplicate keys, NaN and infinity, anything that the schema
    does not allow, shapes that do not fit, files over 256 MiB, and weights that are not in the files where
    they should be; ExpressionError for a weight or an activation whose formula cannot be read.
    """
    document = parse_object(read_bytes(path, MAX_BYTES), str(path))
    return from_document(document, str(path.absolute()), Store(path))


def from_document(
    document: Mapping[str, Any], source: str | None = None, store: Store | None = None
) -> Network:
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
            stored = isinstance(entries, Mapping) and "file" in entries
            define((_stored if stored else _tensor)(name, role, entries, store))
    operations: list[Operation] = []
    taken: set[str] = set()
    for number, entry in enumerate(document["operations"]):
        where = f"operations[{number}]"
        shape, attributes = result(entry, tensors, where)
        define(Tensor(entry["output"], shape, "activation"))
        name = _name(entry, taken)
        taken.add(name)
        operations.append(Operation(entry["kind"], name, tuple(entry["inputs"]), entry["output"], attributes))
    states = tuple((name, state["next"]) for name, state in document.get("states", {}).items())
    for before, after in states:
        if after in tensors and tensors[after].shape != tensors[before].shape:
            raise ModelError(
                f"state {before!r} of shape {tensors[before].shape} becomes {after!r} of shape "
                f"{tensors[after].shape}",
                "give both one shape",
            )
    for name in (*document.get("outputs", ()), *(after for _, after in states)):
        if name in tensors and tensors[name].value is not None:
            raise ModelError(f"output {name!r} is a parameter or constant", "name a result of an operation")
    return Network(
        tensors,
        tuple(operations),
        tuple(document.get("inputs", {})),
        tuple(document.get("outputs", ())),
        states,
        "json",
        source,
    )


def outputs(network: Network, path: Path) -> tuple[Path, ...]:
    """The files that `save` writes: those of weights, and the document.

    Raises ModelError as `save` where one of them would take the place of weights of the source.
    """
    if network.source is None:
        return (path,)
    source = Path(network.source)
    return (*_files(parse_object(read_bytes(source, MAX_BYTES), network.source), source, path).values(), path)


def _files(document: Mapping[str, Any], source: Path, path: Path) -> dict[Path, Path]:
    """The files of weights of a document, and those that are written for them."""
    _validate(document)
    store = Store(source)
    files = [store.file(entry["file"], name) for name, entry in _in_files(document)]
    found = targets(files, source, path)
    require_apart((*found.values(), path), source, frozenset(files))
    return found


def save(network: Network, path: Path, weights: Weights = MappingProxyType({})) -> None:
    """Write the document that the network was read from with its present weights, or a new document.

    Exact weights are written as texts, weights in floating point as the shortest decimals that give them
    back: a network that was exact and whose weights are doubles now is written with decimals. Weights in
    files of their own are written to such files, piece by piece; these and the document are all replaced, or
    none. ``weights`` are written in place of the network's own.

    Raises ModelError if a file that the network was read from is gone, or has other tensors now, or would be
    replaced.
    """
    if network.source is None:
        given = {name: whole(network.tensors[name], pieces, np.float64) for name, pieces in weights.items()}
        document, files, stored = to_document(network.with_parameters(given)), {}, {}
    else:
        document = parse_object(read_bytes(Path(network.source), MAX_BYTES), network.source)
        files = _files(document, Path(network.source), path)
        stored = _renewed(document, network, weights, files)
    with replacing(*files.values(), path) as (*streams, stream):
        for file, out in zip(files, streams, strict=True):
            write(out, file, stored.get(file, {}))
        stream.write(("".join(pretty(document, "")) + "\n").encode())


def _renewed(
    document: dict[str, Any], network: Network, weights: Weights, files: Mapping[Path, Path]
) -> dict[Path, dict[str, Iterator[np.ndarray]]]:
    """Put the present weights, and the names of new files, into a document. Returns what each file of weights
    gets: by the names of its tensors, in pieces."""
    known, store = document.get("parameters", {}), Store(Path(str(network.source)))
    stored: dict[Path, dict[str, Iterator[np.ndarray]]] = {}
    for parameter in network.parameters:
        name, written = parameter.name, known.get(parameter.name)
        in_file = isinstance(written, Mapping) and "file" in written
        there = store.array(name, written) if in_file else None
        values = written.get("values") if isinstance(written, dict) else written
        now = (_shape(values), parameter.dtype) if there is None else (there.shape, there.dtype.name)
        if name not in known or now != (parameter.shape, parameter.dtype):
            raise ModelError(
                f"{network.source} no longer has {name!r} of shape {parameter.shape}",
                "load the network again",
            )
        if there is not None:
            pieces = rounded_pieces(parameter, weights.get(name, network.pieces(name)), there.dtype)
            file = store.file(written["file"], name)
            stored.setdefault(file, {})[written.get("tensor", "")] = (values for _, values in pieces)
            continue
        if name in weights:
            parameter = dataclasses.replace(parameter, value=whole(parameter, weights[name], np.float64))
        entries = _entries(require_finite(parameter))
        known[name] = {**written, "values": entries} if isinstance(written, dict) else entries
    for name, entry in _in_files(document):
        entry["file"] = files[store.file(entry["file"], name)].name
    return stored


def _in_files(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tensors of a document that lie in files, and what it says of them."""
    for section in ("parameters", "constants"):
        for name, entry in document.get(section, {}).items():
            if isinstance(entry, dict) and "file" in entry:
                yield name, entry


def to_document(network: Network) -> dict[str, Any]:
    """The content of a JSON file for any network.

    >>> net = from_document({
    ...     "inputs": {"x": [1]}, "parameters": {"w": [[2.5]]}, "outputs": ["y"],
    ...     "operations": [{"kind": "linear", "inputs": ["x", "w"], "output": "y"}]})
    >>> to_document(net)["parameters"]
    {'w': [[2.5]]}
    """
    by_role: dict[str, dict[str, Tensor]] = {"parameter": {}, "constant": {}}
    for tensor in network.tensors.values():
        by_role.setdefault(tensor.role, {})[tensor.name] = require_finite(tensor)
    return {
        "format": "balproof-network",
        "version": 1,
        "inputs": {name: list(network.tensors[name].shape[1:]) for name in network.inputs},
        "states": {
            name: {"shape": list(network.tensors[name].shape[1:]), "next": after}
            for name, after in network.states
        },
        "parameters": {name: _written(t) for name, t in by_role["parameter"].items()},
        "constants": {name: _written(t) for name, t in by_role["constant"].items()},
        "operations": [entry_of(op, network) for op in network.operations],
        "outputs": list(network.outputs),
    }


def as_json(network: Network) -> Network:
    """The same network as one of the JSON form, to be written by ``balproof.importers.save``.

    Raises ModelError for what has no form in JSON.

    >>> from balproof.importers import load
    >>> as_json(load("tests/data/digits.onnx")).format
    'json'
    """
    again = from_document(to_document(network))
    for name, tensor in network.tensors.items():
        if name in again.tensors and again.tensors[name].shape != tensor.shape:
            raise ModelError(
                f"{name} of shape {tensor.shape} has no form in JSON",
                "keep the network in the form that it has",
            )
    return dataclasses.replace(network, format="json", source=None)


# --- reading ------------------------------------------------------------------------------------------


@cache
def _validator(kind: str | None = None) -> Any:
    """Of documents, or of an operation of one kind."""
    text = resources.files("balproof.importers").joinpath("schema.json").read_text("utf-8")
    schema = json.loads(text)
    if kind is not None:
        schema = {"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]}
    return jsonschema.Draft202012Validator(schema)


def _validate(document: Mapping[str, Any]) -> None:
    """Against the schema, but for the entries of tensors: `_tensor` checks those, and much faster. Each
    operation is checked by its own kind, which is faster too, and says where the fault is."""
    skeleton = dict(document)
    for section in ("parameters", "constants"):
        if isinstance(given := document.get(section), Mapping):
            skeleton[section] = {k: _without_values(v) for k, v in given.items()}
    operations = document.get("operations")
    if isinstance(operations, list) and operations:
        skeleton["operations"] = [{"kind": "unknown", "inputs": [], "output": "y"}]
    _check(_validator(), skeleton, "")
    for number, entry in enumerate(operations or ()):
        kind = entry.get("kind") if isinstance(entry, Mapping) else None
        known = kind if isinstance(kind, str) and kind in KINDS else "operation"
        _check(_validator(known), entry, f"operations[{number}]")


def _without_values(entries: Any) -> Any:
    return {**entries, "values": 0} if isinstance(entries, Mapping) and "values" in entries else (
        entries if isinstance(entries, Mapping) else 0
    )  # fmt: skip


def _check(validator: Any, value: Any, where: str) -> None:
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except RecursionError:
        raise ModelError("the network is nested too deeply", "follow the form of the schema") from None
    if error is None:
        return
    place = where + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    said = first_line(error, 160)
    if error.validator == "additionalProperties":
        extra = next(str(k) for k in error.instance if k not in error.schema["properties"])
        place, said = f"{place}.{extra[:60]}", "does not belong here"
    elif error.validator == "oneOf" and "axes" in str(error.validator_value):
        said = "give either axes or groups"
    raise ModelError(f"{place.lstrip('.') or 'the file'}: {said}", "follow the schema of networks")


def _shape(entries: Any) -> tuple[int, ...]:
    """The shape that the first entries of a nested list have."""
    shape: list[int] = []
    while isinstance(entries, list) and len(shape) <= MAX_RANK:
        shape.append(len(entries))
        if not entries:
            break
        entries = entries[0]
    return tuple(shape)


def _stored(name: str, role: Role, entry: Mapping[str, Any], store: Store | None) -> Tensor:
    """A tensor that lies in a file."""
    if store is None:
        raise ModelError(f"{name} is in a file, and the document in memory", "give the path of the document")
    value = store.array(name, entry)
    if role == "constant":
        return Tensor(name, value.shape, role, value.astype(np.float64))
    return Tensor(name, value.shape, role, value, value.dtype.name, bool(entry.get("buffer", False)))


def _tensor(name: str, role: Role, entries: Any, _: object = None) -> Tensor:
    given: Mapping[str, Any] = entries if isinstance(entries, Mapping) else {"values": entries}
    entries = given["values"]
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
    dtype = "exact" if exact else str(given.get("dtype", "float64"))
    if exact and "dtype" in given:
        raise ModelError(f"{name} has texts and is a {given['dtype']}", "leave the dtype or the texts out")
    tensor = Tensor(name, shape, role, value.reshape(shape), dtype, bool(given.get("buffer", False)))
    return tensor if exact else dataclasses.replace(tensor, value=narrowed(tensor))


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


def _name(entry: Mapping[str, Any], taken: set[str]) -> str:
    """The name that is given, or else that of the weight, or of the result."""
    name, output = entry.get("name"), entry["output"]
    if name is None:
        weighted = entry["kind"] in ("linear", "conv", "embedding", "bias")
        first = entry["inputs"][1].removesuffix(".weight") if weighted else output
        names = itertools.chain((first, output), (f"{output}_{i}" for i in itertools.count(2)))
        return next(n for n in names if n not in taken)
    if name in taken:
        raise ModelError(f"two operations are called {name!r}", "name them differently")
    return name


# --- writing ------------------------------------------------------------------------------------------


_NARROW = ("float16", "bfloat16", "float32")


def _written(tensor: Tensor) -> Any:
    """The entries, with type and role where a list alone does not say them."""
    entries: dict[str, Any] = {"values": _entries(tensor)}
    if tensor.dtype in _NARROW and tensor.value is not None and tensor.value.dtype != object:
        entries["dtype"] = tensor.dtype
    if tensor.buffer:
        entries["buffer"] = True
    return entries if len(entries) > 1 else entries["values"]


def _entries(tensor: Tensor) -> Any:
    """The entries as nested lists of numbers, and of texts where they are exact or symbols."""
    assert tensor.value is not None
    if tensor.value.dtype != object:
        return narrowed(tensor).tolist()
    texts = np.empty(tensor.value.shape, dtype=object)
    for i, entry in enumerate(tensor.value.flat):
        texts.flat[i] = float(entry) if sympy.sympify(entry).is_Float else str(entry)
    return texts.tolist()
