"""Weights of an ONNX model that lie in other files: seen where they lie, and written to one file beside it.

Source: the section on external data of the ONNX documentation (keys location, offset, length).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from balproof.errors import ModelError
from balproof.importers.arrays import little_endian
from balproof.importers.files import Content, beside, content_of, first_line

PAGE = 4096
"""Each tensor begins at a multiple of this, so that it can be mapped."""

_EXPORT = "export the model anew"


@dataclass(frozen=True, eq=False)
class External:
    """What a model has in other files: its arrays by name, and the files."""

    arrays: Mapping[str, np.ndarray]
    files: frozenset[Path]


def external_data(onnx: Any, model: Any, path: Path) -> External:
    """The external data of the initializers of a model; those that are no floating point are taken in.

    Raises ModelError for files outside the folder of the model, and for data that is not all there.
    """
    from balproof.importers.onnx_file import FLOATS, OTHERS

    files: dict[Path, Content] = {}
    arrays: dict[str, np.ndarray] = {}
    for proto in model.graph.initializer:
        if proto.data_location != onnx.TensorProto.EXTERNAL:
            continue
        notes = {entry.key: entry.value for entry in proto.external_data}
        location = notes.get("location", "")
        data = beside(path, location, f"tensor {proto.name}")
        content = files[data] if data in files else _content(data, location)
        files[data] = content
        width = FLOATS[proto.data_type][1] if proto.data_type in FLOATS else OTHERS.get(proto.data_type, 0)
        start, stop = _range(notes, proto, len(content), location)
        if stop - start != width * prod(proto.dims):
            raise ModelError(f"the data of tensor {proto.name} is not all in {location!r}", _EXPORT)
        if proto.data_type in FLOATS and stop > start:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
            raw = np.frombuffer(content, np.uint8, stop - start, start)
            arrays[proto.name] = raw.view(dtype).reshape(tuple(proto.dims))
        else:
            take_in(onnx, proto, content[start:stop])
    return External(arrays, frozenset(files))


def _content(data: Path, location: str) -> Content:
    try:
        return content_of(data)
    except ModelError as error:
        cause = error.cause.replace(str(data), repr(location), 1)
        raise ModelError(cause, "put the data beside the model") from None


def _range(notes: Mapping[str, str], proto: Any, size: int, location: str) -> tuple[int, int]:
    try:
        start = int(notes.get("offset", "0"))
        stop = start + int(notes["length"]) if "length" in notes else size
    except ValueError as error:
        raise ModelError(f"tensor {proto.name} has no proper offset ({first_line(error)})", _EXPORT) from None
    if not 0 <= start <= stop <= size:
        raise ModelError(f"the data of tensor {proto.name} is not all in {location!r}", _EXPORT)
    return start, stop


def take_in(onnx: Any, proto: Any, data: bytes) -> None:
    """Give a tensor its data, in place of the note of where it is."""
    proto.raw_data = data
    proto.ClearField("external_data")
    proto.data_location = onnx.TensorProto.DEFAULT


def place(protos: Mapping[str, Any], external: External, location: str) -> dict[str, int]:
    """Note that all external data is in one file, one after the other; returns where each begins."""
    offsets: dict[str, int] = {}
    end = 0
    for name, array in external.arrays.items():
        start = -(-end // PAGE) * PAGE
        offsets[name], end = start, start + array.nbytes
        notes = {"location": location, "offset": str(start), "length": str(array.nbytes)}
        protos[name].ClearField("external_data")
        for key, value in notes.items():
            protos[name].external_data.add(key=key, value=value)
    return offsets


def write_data(
    stream: BinaryIO, offsets: Mapping[str, int], pieces: Mapping[str, Iterator[np.ndarray]]
) -> None:
    """Write the pieces of each tensor where it begins."""
    for name, start in offsets.items():
        stream.write(bytes(start - stream.tell()))
        stream.writelines(little_endian(pieces[name]))


def without_external(onnx: Any, model: Any) -> Any:
    """The model with empty tensors for its external data, which ONNX's checker would look for itself."""
    if not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        return model
    shell = onnx.ModelProto()
    shell.CopyFrom(model)
    for proto in shell.graph.initializer:
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            proto.CopyFrom(onnx.TensorProto(name=proto.name, data_type=proto.data_type, dims=[0]))
    return shell


def data_file(path: Path) -> Path:
    """Where the external data of a model is written."""
    return path.with_name(f"{path.name}.data")
