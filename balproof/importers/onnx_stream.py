"""Large ONNX files: the weights go from the file into arrays, and the library reads what is left.

The library reads a file, copies the weights out of it, and copies them again whenever they are asked for.
Here the fields of the message are walked (a tag before each, and a length before bytes, as
protobuf.dev/programming-guides/encoding has it), and the raw data of large initializers is taken out.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

import numpy as np

Array = np.ndarray

LARGE = 1 << 20
"""Raw data of fewer bytes stays in the message."""

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # of ModelProto, GraphProto and TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Unusual(Exception):
    """The library may make something of it, or say what is wrong."""


def without_data(path: Path) -> tuple[bytes, dict[int, Array]] | None:
    """The message without the raw data of large initializers, and that data, by the initializer's place.

    None for a file in which anything is unusual.

    Raises OSError as reading does.
    """
    with path.open("rb") as stream:
        walk = _Walk(stream)
        try:
            return walk.message(path.stat().st_size, {_GRAPH: walk.graph}), walk.data
        except _Unusual:
            return None


class _Walk:
    """One pass over a file; ``data`` is what was taken out so far."""

    def __init__(self, stream: BufferedReader) -> None:
        self.stream = stream
        self.place = -1
        self.data: dict[int, Array] = {}

    def graph(self, end: int) -> bytes:
        if self.place >= 0:
            raise _Unusual  # two graphs, which the library merges
        self.place = 0
        return self.message(end, {_INITIALIZER: self.initializer})

    def initializer(self, end: int) -> bytes:
        found = self.message(end, {_RAW_DATA: self.raw_data})
        self.place += 1
        return found

    def raw_data(self, end: int) -> bytes | None:
        size = end - self.stream.tell()
        if size < LARGE:
            return self.read(size)
        if self.place in self.data:
            raise _Unusual  # twice in one tensor: the last one counts
        found = self.data[self.place] = np.empty(size, dtype=np.uint8)
        if self.stream.readinto(found.data) != size:
            raise _Unusual
        return None

    def message(self, end: int, inner: dict[int, Callable[[int], bytes | None]]) -> bytes:
        """The fields up to ``end``, some of them as ``inner`` leaves them."""
        pieces: list[bytes] = []
        while (at := self.stream.tell()) < end:
            tag = self.varint()
            field, kind = tag >> 3, tag & 7
            if kind == _BYTES:
                size = self.varint()
                start = self.stream.tell()
                if start + size > end:
                    raise _Unusual
                body = inner[field](start + size) if field in inner else self.read(size)
                if body is not None:
                    pieces += [_varint(tag), _varint(len(body)), body]
            elif kind in (_VARINT, _FIXED64, _FIXED32):
                value = _varint(self.varint()) if kind == _VARINT else self.read(8 if kind == _FIXED64 else 4)
                pieces += [_varint(tag), value]
            else:
                raise _Unusual
        if at != end:
            raise _Unusual
        return b"".join(pieces)

    def read(self, size: int) -> bytes:
        found = self.stream.read(size)
        if len(found) != size:
            raise _Unusual
        return found

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.read(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _Unusual


def _varint(value: int) -> bytes:
    """Seven bits in a byte, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
