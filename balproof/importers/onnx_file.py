"""ONNX files: read, checked, and written back with other weights.

Read are models of opset 13 to 21. What each operator becomes is in ``onnx_linear.py``, ``onnx_layout.py``,
``onnx_elementwise.py``, ``onnx_resize.py`` and ``onnx_recurrent.py``, and in ``onnx_lifted.py`` what is made
of parameters before they are used. Any other operator becomes an ``unknown`` operation, which pins what it
touches: nothing false is claimed about it. So does a node that moves the batch axis in a way that is not
followed.

An initializer of floating point is a parameter, unless it is used as constants are: ``onnx_roles.py`` has the
rules, and ``onnx_shapes.py`` says how shapes and constants are computed. An initializer that is listed among
the graph's inputs as well is no input. The batch axis is fixed to 1.

Written back is the same model: nodes, names, metadata and types are kept, and the data of the parameters
alone is replaced. Weights that lay in files of their own (external data, read only from the folder of the
model or below) are then within the file.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import MissingToolError, ModelError
from balproof.importers.files import first_line, read_bytes, write_atomically
from balproof.importers.onnx_stream import LARGE, without_data
from balproof.importers.rounding import require_size, rounded
from balproof.network.graph import Network, Tensor

MAX_BYTES = 2**31 - 1  # of any protobuf message
OPSETS = range(13, 22)
_EXPORT = "export the model anew"

# data type of TensorProto → name, bytes of an entry, field that holds the data if raw_data does not
FLOATS = MappingProxyType(
    {
        1: ("float32", 4, "float_data"),
        10: ("float16", 2, "int32_data"),
        11: ("float64", 8, "double_data"),
        16: ("bfloat16", 2, "int32_data"),
    }
)
_PLAIN = MappingProxyType({1: "<f4", 10: "<f2", 11: "<f8"})  # as raw_data holds them
_DATA = frozenset({"raw_data", *(field for _, _, field in FLOATS.values())})
_OTHERS = MappingProxyType({2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 12: 4, 13: 8})  # integers and bool


def load(path: Path) -> Network:
    """Read a model file.

    Raises ModelError for damaged files, opsets outside 13 to 21, external data outside the folder of the
    model, control flow, models without parameters, and shapes that
    cannot be told; MissingToolError if onnx is not installed.
    """
    source = str(path.resolve())
    large = _read_large(path)
    return from_proto(*large, source) if large else from_proto(_read(path), source=source)


def from_proto(
    model: Any, data: Mapping[str, np.ndarray] = MappingProxyType({}), source: str | None = None
) -> Network:
    """A network from an ``onnx.ModelProto`` whose weights lie within it, or in ``data`` as bytes.

    Raises ModelError as `load`.
    """
    from balproof.importers.onnx_graph import translate

    onnx = _onnx()
    _check(onnx, model, data)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    values = {t.name: tensor(t, data.get(t.name)) for t in model.graph.initializer}
    network = translate(onnx, model, values, data)
    if not network.parameters:
        raise ModelError("the model has no parameters", "give a model whose weights are initializers")
    return dataclasses.replace(network, source=source)


def save(network: Network, path: Path) -> None:
    """Write the model that the network was read from, with the parameters that it has now.

    Raises ModelError if that file is gone or has other tensors now, or a weight does not fit its type.
    """
    onnx = _onnx()
    if network.source is None:
        raise ModelError(
            "the network was made from a model in memory", "save that model to a file and load it"
        )
    model = _read(Path(network.source))
    known = {t.name: (tuple(t.dims), _type(t)) for t in model.graph.initializer}
    for parameter in network.parameters:
        if known.get(parameter.name) != (parameter.shape, parameter.dtype):
            raise ModelError(
                f"{network.source} no longer has {parameter.name!r} of shape {parameter.shape}",
                "load the model again",
            )
    raw = {t.name: t.HasField("raw_data") for t in model.graph.initializer}
    names = {p.name for p in network.parameters}
    model = _without_data(onnx, model, names)  # so that the old data is freed before there is new
    for proto in model.graph.initializer:
        if proto.name in names:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
            _fill(proto, rounded(network, proto.name, dtype), raw=raw[proto.name])
    if model.ByteSize() > MAX_BYTES:
        raise ModelError(f"{path} would be larger than {MAX_BYTES} bytes", "give a model below 2 GiB")
    write_atomically(path, model.SerializeToString())


def tensor(proto: Any, data: np.ndarray | None = None) -> Tensor:
    """An initializer or the value of a Constant node: a parameter if of floating point, else a constant.

    ``data`` are its bytes, where they were taken out of it.

    Raises ModelError for other types and for data that is not as long as the shape says.
    """
    shape = tuple(int(n) for n in proto.dims)
    name = proto.name or "(unnamed tensor)"
    count = require_size(name, shape) if all(shape) else 0  # an empty one is what Reshape([]) has
    kind = proto.data_type
    if kind in FLOATS:
        dtype, size, field = FLOATS[kind]
    elif kind in _OTHERS:
        dtype, size = "float64", _OTHERS[kind]
        field = {7: "int64_data", 12: "uint64_data", 13: "uint64_data"}.get(kind, "int32_data")
    else:
        raise ModelError(f"tensor {name} has an element type (number {kind}) that is not read", _EXPORT)
    raw = data
    if raw is None and proto.HasField("raw_data"):
        raw = proto.raw_data  # which the library copies whenever it is asked
    length = len(getattr(proto, field)) if raw is None else len(raw) / size
    if length != count:
        raise ModelError(f"tensor {name} of shape {shape} holds {length:g} entries", _EXPORT)
    if raw is not None and kind in _PLAIN:
        value = np.frombuffer(raw, dtype=_PLAIN[kind])
    else:
        if data is not None:
            proto.raw_data = data.tobytes()
        value = _onnx().numpy_helper.to_array(proto)
    role = "parameter" if kind in FLOATS else "constant"
    kept = np.dtype(dtype) if dtype in ("float16", "float32") and kind in FLOATS else np.dtype(np.float64)
    value = value.astype(kept, copy=False)
    return Tensor(name, shape, role, value.reshape(shape), dtype)


def _type(proto: Any) -> str | None:
    return FLOATS[proto.data_type][0] if proto.data_type in FLOATS else None


def _without_data(onnx: Any, model: Any, names: set[str]) -> Any:
    """A copy without the data of the named initializers; ``model`` loses its initializers."""
    shells: list[Any] = []
    for old in model.graph.initializer:
        new = onnx.TensorProto()
        for field, value in old.ListFields():
            if old.name not in names or field.name not in _DATA:
                new.MergeFrom(onnx.TensorProto(**{field.name: value}))
        shells.append(new)
    del model.graph.initializer[:]
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    fresh.graph.initializer.extend(shells)
    return fresh


def _fill(proto: Any, value: np.ndarray, *, raw: bool) -> None:
    """Give a tensor its data, in the field in which it had it."""
    if raw:
        proto.raw_data = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
        return
    field = FLOATS[proto.data_type][2]
    data = value.view(np.uint16) if field == "int32_data" else value
    getattr(proto, field).extend(data.ravel().tolist())


# --- reading and checking -----------------------------------------------------------------------------


def _onnx() -> Any:
    try:
        for part in ("inliner", "numpy_helper", "shape_inference"):
            importlib.import_module(f"onnx.{part}")
        return importlib.import_module("onnx")
    except ImportError:
        raise MissingToolError("onnx is not installed", "say pip install 'balproof[onnx]'") from None


def _read_large(path: Path) -> tuple[Any, Mapping[str, np.ndarray]] | None:
    """A model without the data of its large tensors, and that data; None where there is none, or all is not
    plain."""
    from google.protobuf.message import DecodeError

    onnx = _onnx()
    try:
        found = without_data(path) if LARGE < path.stat().st_size <= MAX_BYTES else None
        model = onnx.load_model_from_string(found[0]) if found and found[1] else None
    except (OSError, DecodeError):  # to be said by `_read`
        return None
    if found is None or model is None:
        return None
    tensors = model.graph.initializer
    names = [t.name for t in tensors]
    outside = any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors)
    if outside or len(set(names)) < len(names) or any(tensors[i].HasField("raw_data") for i in found[1]):
        return None
    return model, {names[i]: data for i, data in found[1].items()}


def _read(path: Path) -> Any:
    """The model with its external data taken in."""
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    content = read_bytes(path, MAX_BYTES)
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelError(f"{path} is no intact ONNX file ({first_line(error)})", _EXPORT) from None
    for proto in model.graph.initializer:
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            _take_in(onnx, proto, path)
    return model


def _with_little(onnx: Any, model: Any, data: Mapping[str, np.ndarray]) -> Any:
    """A copy in which tensors whose data was taken out have one entry: `tensor` sees to their length."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for proto in copy.graph.initializer:
        if proto.name in data:
            del proto.dims[:]
            proto.dims.append(1)
            proto.raw_data = bytes(8)
    return copy


def _take_in(onnx: Any, proto: Any, path: Path) -> None:
    """Read a tensor's external data, from a file in the model's folder or below."""
    notes = {entry.key: entry.value for entry in proto.external_data}
    location = notes.get("location", "")
    folder = os.path.realpath(path.parent)
    target = os.path.realpath(Path(folder) / location)
    if not location or Path(location).is_absolute() or os.path.commonpath([folder, target]) != folder:
        raise ModelError(
            f"the data of tensor {proto.name} is said to be in {location!r}, outside the model's folder",
            "put the data beside the model",
        )
    data = Path(target)
    try:
        size = data.stat().st_size
        offset = int(notes.get("offset", "0"))
        length = int(notes.get("length", str(size - offset)))
        width = FLOATS[proto.data_type][1] if proto.data_type in FLOATS else _OTHERS.get(proto.data_type, 0)
        if offset < 0 or offset + length > size or length != width * prod(proto.dims):
            raise ModelError(f"the data of tensor {proto.name} is not all in {location!r}", _EXPORT)
        with data.open("rb") as stream:
            stream.seek(offset)
            proto.raw_data = stream.read(length)
    except OSError as error:
        raise ModelError(
            f"{location!r} cannot be read ({error.strerror})", "put the data beside the model"
        ) from None
    except ValueError as error:
        raise ModelError(f"tensor {proto.name} has no proper offset ({first_line(error)})", _EXPORT) from None
    proto.ClearField("external_data")
    proto.data_location = onnx.TensorProto.DEFAULT


def _check(onnx: Any, model: Any, data: Mapping[str, np.ndarray]) -> None:
    """What must hold before a graph is looked at; ``data`` was taken out of the model."""
    for proto in model.graph.initializer:
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(
                f"the data of tensor {proto.name} is in another file", "give the path of the model"
            )
    if model.graph.sparse_initializer:
        raise ModelError("the model has sparse initializers", "export the weights densely")
    opsets = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if model.ir_version and model.graph.node and (not opsets or opsets[0] not in OPSETS):
        raise ModelError(
            f"the model has ONNX opset {opsets[0] if opsets else '(none)'}",
            f"export it with an opset from {OPSETS[0]} to {OPSETS[-1]}",
        )
    for node in model.graph.node:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ModelError(
                f"the model has control flow ({node.op_type}, node {node.name or node.output[0]})",
                "export it without loops and branches",
            )
    try:
        onnx.checker.check_model(_with_little(onnx, model, data) if data else model)
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise ModelError(f"the model breaks a rule of ONNX ({first_line(error)})", _EXPORT) from None
