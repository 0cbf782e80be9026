"""Weights that a network in JSON has in files beside it: ``.safetensors``, ``.npz`` and ``.npy``.

They are views of those files, and are written piece by piece to files of the same form and content beside the
new document.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from balproof.errors import ModelError
from balproof.importers import safetensors_file
from balproof.importers.arrays import CHUNK, as_they_are, npy_chunks, read_array, read_arrays, write_npz
from balproof.importers.files import beside
from balproof.importers.rounding import require_size
from balproof.importers.safetensors_file import FLOATS

Get = Callable[[str], np.ndarray]


@dataclass
class Store:
    """The files of weights that a document names, opened as they are asked for."""

    model: Path
    opened: dict[Path, Get] = field(default_factory=dict)
    used: dict[tuple[Path, str], str] = field(default_factory=dict)

    def file(self, location: str, name: str) -> Path:
        """A file in the folder of the document, or below.

        Raises ModelError if it is elsewhere, or of a form that is not read.
        """
        path = beside(self.model, location, name)
        if path.suffix.lower() not in _FORMS:
            raise ModelError(
                f"the weights of {name} are in {location!r}", f"put them in one of {', '.join(_FORMS)}"
            )
        return path

    def array(self, name: str, entry: Mapping[str, Any]) -> np.ndarray:
        """The array that ``{"file": ..., "tensor": ...}`` names, for the parameter or constant ``name``.

        Raises ModelError for what is damaged or not there, no floating point, or used a second time;
        MissingToolError for bfloat16 without ml_dtypes.
        """
        path = self.file(str(entry["file"]), name)
        key = str(entry.get("tensor", ""))
        single = path.suffix.lower() == ".npy"
        if single == ("tensor" in entry):
            said = "leave tensor out: there is one array" if single else "name the tensor in it"
            raise ModelError(f"{name} is in {entry['file']!r}", said)
        if path not in self.opened:
            self.opened[path] = _FORMS[path.suffix.lower()](path)
        value = self.opened[path](key)
        other = self.used.setdefault((path, key), name)
        if other != name:
            raise ModelError(
                f"{other} and {name} are one tensor of {path}", "use one parameter in both places"
            )
        require_size(name, value.shape)
        if value.dtype.name not in FLOATS.values():
            raise ModelError(f"{name} holds {value.dtype.name}", f"give one of {', '.join(FLOATS.values())}")
        return np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape)


def _npz(path: Path) -> Get:
    arrays = read_arrays(path)

    def get(name: str) -> np.ndarray:
        if name not in arrays:
            raise ModelError(f"{path} has no array {name!r}", "check the name")
        return arrays[name]

    return get


_FORMS: Mapping[str, Callable[[Path], Get]] = MappingProxyType(
    {
        ".safetensors": lambda path: safetensors_file.read_tensors(path).array,
        ".npz": _npz,
        ".npy": lambda path: lambda _: read_array(path),
    }
)


def targets(files: Iterable[Path], model: Path, path: Path) -> dict[Path, Path]:
    """The file that is written for each file of weights, beside the new document and named after it."""
    found = list(dict.fromkeys(files))
    folder = os.path.realpath(model.parent)
    names = [os.path.relpath(file, folder).replace(os.sep, "-") for file in found]
    if len(found) == 1:
        names = [found[0].suffix.removeprefix(".")]
    if len(set(names)) < len(names):
        raise ModelError(f"two files of weights of {model} have almost one name", "rename one of them")
    return {file: path.with_name(f"{path.name}.{name}") for file, name in zip(found, names, strict=True)}


def write(stream: BinaryIO, source: Path, pieces: Mapping[str, Iterator[np.ndarray]]) -> None:
    """A file with other numbers in some of its arrays, in their types, and all else as it is."""
    kind = source.suffix.lower()
    if kind == ".safetensors":
        stream.writelines(safetensors_file.chunks(safetensors_file.read_tensors(source), pieces))
    elif kind == ".npy":
        array = read_array(source)
        stream.writelines(npy_chunks(array.shape, array.dtype, pieces.get("", as_they_are(array))))
    else:
        arrays = read_arrays(source)
        with zipfile.ZipFile(source) as archive:
            write_npz(stream, (_member(archive, m, arrays, pieces) for m in archive.infolist()))


def _member(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    arrays: Mapping[str, np.ndarray],
    pieces: Mapping[str, Iterator[np.ndarray]],
) -> tuple[str, Iterator[bytes], int]:
    name = member.filename.removesuffix(".npy")
    if name in pieces:
        chunks = npy_chunks(arrays[name].shape, arrays[name].dtype, pieces[name])
        return name, chunks, member.compress_type
    return name, _copied(archive, member), member.compress_type


def _copied(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(member) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
