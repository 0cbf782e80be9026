"""Tensors in ``.safetensors`` files: seen where they lie in the file, and written piece by piece.

Eight bytes, the length of the header; the header in JSON; then the tensors without gaps. Source: the
description of the format in the README of safetensors (github.com/huggingface/safetensors).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ModelError
from balproof.importers.arrays import CHUNK, little_endian
from balproof.importers.files import Content, content_of
from balproof.importers.json_text import parse_object
from balproof.importers.rounding import dtype_of

MAX_HEADER = 100_000_000
"""Bytes, as in the library itself."""

FLOATS = MappingProxyType({"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"})
_BYTES = MappingProxyType(
    {
        **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
        **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
        **dict.fromkeys(("I32", "U32", "F32"), 4),
        **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
    }
)
_REPAIR = "write the file anew with safetensors"


@dataclass(frozen=True)
class Entry:
    """A tensor: its type and shape, and where its data is in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Tensors:
    """The content of a file, where its data begins, and its tensors in the order of their data."""

    where: str
    content: Content
    begin: int
    entries: Mapping[str, Entry]

    def array(self, name: str) -> np.ndarray:
        """A view of the file.

        Raises ModelError for a tensor that is not there or not of floating point; MissingToolError for
        bfloat16 without ml_dtypes.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise ModelError(f"{self.where} has no tensor {name!r}", "check the name")
        if entry.dtype not in FLOATS:
            raise ModelError(f"{self.where}: {name} holds {entry.dtype}", f"give one of {', '.join(FLOATS)}")
        raw = np.frombuffer(self.content, np.uint8, entry.stop - entry.start, entry.start)
        return raw.view(dtype_of(FLOATS[entry.dtype]).newbyteorder("<")).reshape(entry.shape)


def read_tensors(path: Path) -> Tensors:
    """The tensors of a file, whose header is checked as a whole.

    Raises ModelError for a damaged header, and for data that overlaps, has gaps, or is not as long as the
    shapes say.
    """
    content, where = content_of(path), str(path)
    length = int.from_bytes(content[:8], "little")
    begin = 8 + length
    if len(content) < 8 or length > MAX_HEADER or begin > len(content):
        raise ModelError(f"{where} is no intact .safetensors file (its header is not all there)", _REPAIR)
    header = parse_object(content[8:begin], where)
    header.pop("__metadata__", None)
    entries = {name: _entry(f"{where}: {name}", begin, given) for name, given in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)))
    end = begin
    for name, entry in entries.items():
        if entry.start != end:
            what = "overlaps another" if entry.start < end else "leaves a gap before it"
            raise ModelError(f"{where}: the data of {name} {what}", _REPAIR)
        end = entry.stop
    if end != len(content):
        what = "is truncated" if end > len(content) else "has bytes left over"
        raise ModelError(f"{where} {what}", _REPAIR)
    return Tensors(where, content, begin, entries)


def _entry(where: str, begin: int, given: Any) -> Entry:
    fields: dict[str, Any] = given if isinstance(given, dict) else {}
    if set(fields) != {"dtype", "shape", "data_offsets"} or not isinstance(fields["dtype"], str):
        raise ModelError(f"{where} has no dtype, shape and data_offsets", _REPAIR)
    dtype, shape, offsets = fields["dtype"], _counts(fields["shape"]), _counts(fields["data_offsets"])
    if shape is None or offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelError(f"{where} has no proper shape and offsets", _REPAIR)
    length = offsets[1] - offsets[0]
    if dtype in _BYTES and length != _BYTES[dtype] * prod(shape):
        raise ModelError(f"{where} of {dtype} and shape {shape} has {length} bytes", _REPAIR)
    return Entry(dtype, shape, begin + offsets[0], begin + offsets[1])


def _counts(given: Any) -> tuple[int, ...] | None:
    proper = isinstance(given, list) and all(type(n) is int and 0 <= n < 2**63 for n in given)
    return tuple(given) if proper else None


def chunks(source: Tensors, replaced: Mapping[str, Iterator[np.ndarray]]) -> Iterator[bytes]:
    """The bytes of a file with other numbers in some of its tensors, and all else as it is."""
    yield source.content[: source.begin]
    for name, entry in source.entries.items():
        if name in replaced:
            yield from little_endian(replaced[name])
        else:
            for at in range(entry.start, entry.stop, CHUNK):
                yield source.content[at : min(at + CHUNK, entry.stop)]
