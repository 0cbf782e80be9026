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
alone is replaced. Weights in files of their own (external data, read only from the folder of the model or
below) are then in one file beside the model, named after it: ``OUT.onnx.data``.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import MissingToolError, ModelError
from balproof.importers.arrays import as_they_are
from balproof.importers.files import first_line, read_bytes, replacing, require_apart, write_atomically
from balproof.importers.onnx_external import (
    External,
    data_file,
    external_data,
    place,
    without_external,
    write_data,
)
from balproof.importers.onnx_stream import LARGE, without_data
from balproof.importers.rounding import Weights, require_size, rounded_pieces, whole
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
_DATA = frozenset({"raw_data", *(field for _, _, field in FLOATS.values())})
OTHERS = MappingProxyType({2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 12: 4, 13: 8})  # integers and bool


def load(path: Path) -> Network:
    """Read a model file.

    Raises ModelError for damaged files, opsets outside 13 to 21, external data outside the folder of the
    model, control flow, models without parameters, and shapes that
    cannot be told; MissingToolError if onnx is not installed.
    """
    model, external = _read_large(path) or _read(path)
    return from_proto(model, str(path.absolute()), external.arrays)


def from_proto(
    model: Any, source: str | None = None, external: Mapping[str, np.ndarray] = MappingProxyType({})
) -> Network:
    """A network from an ``onnx.ModelProto`` whose weights lie within it, or are given as ``external``.

    Raises ModelError as `load`.
    """
    from balproof.importers.onnx_graph import translate

    onnx = _onnx()
    _check(onnx, model, external)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    values = {t.name: tensor(t, external.get(t.name)) for t in model.graph.initializer}
    network = translate(onnx, model, values)
    if not network.parameters:
        raise ModelError("the model has no parameters", "give a model whose weights are initializers")
    return dataclasses.replace(network, source=source)


def outputs(network: Network, path: Path) -> tuple[Path, ...]:
    """The files that `save` writes: with external data there are two.

    Raises ModelError as `save` where one of them would take the place of data of the source.
    """
    return _outputs(path, Path(network.source), _read(Path(network.source))[1]) if network.source else (path,)


def _outputs(path: Path, source: Path, external: External) -> tuple[Path, ...]:
    if not external.arrays:
        return (path,)
    require_apart((data_file(path), path), source, external.files)
    return data_file(path), path


def save(network: Network, path: Path, weights: Weights = MappingProxyType({})) -> None:
    """Write the model that the network was read from, with the parameters that it has now.

    External data is written piece by piece; model and data are both replaced, or neither. ``weights`` are
    written in place of the network's own.

    Raises ModelError if that file is gone or has other tensors now, a weight does not fit its type, or data
    of the source would be replaced.
    """
    onnx = _onnx()
    if network.source is None:
        raise ModelError(
            "the network was made from a model in memory", "save that model to a file and load it"
        )
    model, external = _read(Path(network.source))
    known = {t.name: (tuple(t.dims), _type(t)) for t in model.graph.initializer}
    for parameter in network.parameters:
        if known.get(parameter.name) != (parameter.shape, parameter.dtype):
            raise ModelError(
                f"{network.source} no longer has {parameter.name!r} of shape {parameter.shape}",
                "load the model again",
            )
    files = _outputs(path, Path(network.source), external)
    raw = {t.name: t.HasField("raw_data") for t in model.graph.initializer}
    names = {p.name for p in network.parameters}
    model = _without_data(onnx, model, names)  # so that the old data is freed before there is new
    chunks: dict[str, Iterator[np.ndarray]] = {n: as_they_are(a) for n, a in external.arrays.items()}
    protos = {t.name: t for t in model.graph.initializer}
    for name in names:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(protos[name].data_type))
        pieces = weights.get(name, network.pieces(name))
        if name in external.arrays:
            chunks[name] = (v for _, v in rounded_pieces(network.tensors[name], pieces, dtype))
        else:
            _fill(protos[name], whole(network.tensors[name], pieces, dtype), raw=raw[name])
    offsets = place(protos, external, files[0].name)
    if model.ByteSize() > MAX_BYTES:
        raise ModelError(f"{path} would be larger than {MAX_BYTES} bytes", "give a model below 2 GiB")
    if not external.arrays:
        write_atomically(path, model.SerializeToString())
        return
    with replacing(*files) as (data, file):
        write_data(data, offsets, chunks)
        file.write(model.SerializeToString())


def tensor(proto: Any, external: np.ndarray | None = None) -> Tensor:
    """An initializer or the value of a Constant node: a parameter if of floating point, else a constant.

    Raises ModelError for other types and for data that is not as long as the shape says.
    """
    shape = tuple(int(n) for n in proto.dims)
    name = proto.name or "(unnamed tensor)"
    count = require_size(name, shape) if all(shape) else 0  # an empty one is what Reshape([]) has
    kind = proto.data_type
    if external is not None:
        return Tensor(name, shape, "parameter", external, FLOATS[kind][0])
    if kind in FLOATS:
        dtype, size, field = FLOATS[kind]
    elif kind in OTHERS:
        dtype, size = "float64", OTHERS[kind]
        field = {7: "int64_data", 12: "uint64_data", 13: "uint64_data"}.get(kind, "int32_data")
    else:
        raise ModelError(f"tensor {name} has an element type (number {kind}) that is not read", _EXPORT)
    length = len(proto.raw_data) / size if proto.HasField("raw_data") else len(getattr(proto, field))
    if length != count:
        raise ModelError(f"tensor {name} of shape {shape} holds {length:g} entries", _EXPORT)
    value = _onnx().numpy_helper.to_array(proto).reshape(shape)
    if kind not in FLOATS:
        return Tensor(name, shape, "constant", value.astype(np.float64), dtype)
    return Tensor(name, shape, "parameter", value, dtype)


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


def _read_large(path: Path) -> tuple[Any, External] | None:
    """A model whose large tensors lie in arrays as if they were external; None where there are none, or where
    anything is not plain: then `_read` says it."""
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    try:
        found = without_data(path) if LARGE < path.stat().st_size <= MAX_BYTES else None
        model = onnx.load_model_from_string(found[0]) if found and found[1] else None
    except (OSError, DecodeError):
        return None
    if found is None or model is None:
        return None
    tensors, arrays = model.graph.initializer, dict[str, np.ndarray]()
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
        return None
    for i, data in found[1].items():
        proto, shape = tensors[i], tuple(tensors[i].dims)
        width = FLOATS[proto.data_type][1] if proto.data_type in FLOATS else 0
        if any(f.name in _DATA for f, _ in proto.ListFields()) or len(data) != width * prod(shape):
            return None
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
        arrays[proto.name] = data.view(dtype).reshape(shape)
        proto.data_location = onnx.TensorProto.EXTERNAL
    return model, External(arrays, frozenset())


def _read(path: Path) -> tuple[Any, External]:
    """The model, and its external data."""
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    content = read_bytes(path, MAX_BYTES)
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelError(f"{path} is no intact ONNX file ({first_line(error)})", _EXPORT) from None
    return model, external_data(onnx, model, path)


def _check(onnx: Any, model: Any, external: Mapping[str, np.ndarray]) -> None:
    """What must hold before a graph is looked at."""
    for proto in model.graph.initializer:
        if proto.data_location == onnx.TensorProto.EXTERNAL and proto.name not in external:
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
        onnx.checker.check_model(without_external(onnx, model))
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise ModelError(f"the model breaks a rule of ONNX ({first_line(error)})", _EXPORT) from None
