"""Arrays in ``.npy`` and ``.npz`` files: seen where they lie in the file, and written piece by piece.

Pickled objects are never loaded.
"""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from balproof.errors import ModelError
from balproof.importers.files import Content, content_of, first_line
from balproof.importers.rounding import require_size
from balproof.network.graph import PIECE

MAX_UNPACKED = 2**32
"""Bytes to which the compressed arrays of a file may unpack, together."""

CHUNK = 2**24
"""Bytes that are copied at a time."""

# What zipfile and NumPy raise on damaged archives and headers (which NumPy reads as Python literals).
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
_REPAIR = "write the file anew with numpy.savez(path, J=...)"
_LONGEST_HEADER = 2**17


def read_arrays(
    path: Path, known: Collection[str] | None = None, lists: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, by name. Those that are not compressed are views of the file's content.

    Raises ModelError for damaged files, for a name that is not among ``known``, and for arrays that hold
    nothing, but for ``lists``.
    """
    content = content_of(path)
    arrays: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members if m.compress_type != zipfile.ZIP_STORED) > MAX_UNPACKED:
                raise ModelError(f"{path} unpacks to more than {MAX_UNPACKED} bytes", "give a smaller model")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise ModelError(f"{path} holds {name!r} twice", _REPAIR)
                if known is not None and name not in known:
                    raise ModelError(
                        f"{path} holds an unknown array {name!r}", f"name the arrays {', '.join(known)}"
                    )
                arrays[name] = _member(archive, member, content, f"{path}: {name}", name in lists)
    except _DAMAGED as error:
        raise ModelError(f"{path} is no intact .npz file ({first_line(error)})", _REPAIR) from None
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror})", "check the path and its rights"
        ) from None
    return arrays


def _member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, content: Content, where: str, empty: bool
) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED:
        return _array(archive.read(member), where, empty=empty)
    with archive.open(member):  # checks its own header, and that no other lies over it
        pass
    own = member.header_offset
    name, extra = struct.unpack_from("<HH", content, own + 26)
    start = own + 30 + name + extra
    stop = start + member.file_size
    if member.compress_size != member.file_size or stop > len(content):
        raise ModelError(f"{where} is truncated", _REPAIR)
    found = 0
    with memoryview(content) as bytes_:
        for at in range(start, stop, CHUNK):
            found = zlib.crc32(bytes_[at : min(at + CHUNK, stop)], found)
    if found != member.CRC:
        raise ModelError(f"{where} does not have the checksum that the file gives it", _REPAIR)
    return _array(content, where, start, stop, empty)


def read_array(path: Path) -> np.ndarray:
    """The array of an .npy file, a view of the file's content.

    Raises ModelError for damaged files.
    """
    return _array(content_of(path), str(path))


def _array(
    content: Content, where: str, start: int = 0, stop: int | None = None, empty: bool = False
) -> np.ndarray:
    """One array; its header is compared with the bytes that are there before anything is allocated.

    ``empty``: it may be a list of nothing.
    """
    stop = len(content) if stop is None else stop
    stream = io.BytesIO(content[start : min(stop, start + _LONGEST_HEADER)])
    try:
        version = np.lib.format.read_magic(stream)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in reader:
            raise ModelError(f"{where} has .npy version {version}", _REPAIR)
        shape, turned, dtype = reader[version](stream)
        if dtype.hasobject:
            raise ModelError(f"{where} holds pickled objects, which are never loaded", _REPAIR)
        begin = start + stream.tell()
        count = 0 if empty and shape == (0,) else require_size(where, shape)
        if count * dtype.itemsize != stop - begin:
            raise ModelError(f"{where} is truncated or has bytes left over", _REPAIR)
        flat = np.frombuffer(content, dtype, count, begin)
        return flat.reshape(shape[::-1]).T if turned else flat.reshape(shape)
    except _DAMAGED as error:
        raise ModelError(f"{where} is no intact .npy array ({first_line(error)})", _REPAIR) from None


def as_they_are(array: np.ndarray) -> Iterator[np.ndarray]:
    """An array piece by piece."""
    flat = array.reshape(-1)
    return (flat[i : i + PIECE] for i in range(0, flat.size, PIECE))


def little_endian(pieces: Iterable[np.ndarray]) -> Iterator[bytes]:
    """Their bytes, in the order in which files of models have them."""
    return (piece.astype(piece.dtype.newbyteorder("<"), copy=False).tobytes() for piece in pieces)


def npy_chunks(shape: tuple[int, ...], dtype: np.dtype, pieces: Iterable[np.ndarray]) -> Iterator[bytes]:
    """The bytes of an .npy file whose entries come in pieces, in row-major order.

    >>> content = b"".join(npy_chunks((3,), np.dtype("<f4"), [np.float32([1, 2]), np.float32([3])]))
    >>> np.load(io.BytesIO(content)).tolist()
    [1.0, 2.0, 3.0]
    """
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    yield header.getvalue()
    for piece in pieces:
        yield piece.astype(dtype, copy=False).tobytes()


def write_npz(stream: BinaryIO, members: Iterable[tuple[str, Iterable[bytes], int]]) -> None:
    """An .npz file of members in bytes, each with its name and its way of compression."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, chunks, compression in members:
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=True) as member:
                for chunk in chunks:
                    member.write(chunk)
