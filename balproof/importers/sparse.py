"""Sparse matrices on their way in and out: SciPy's arrays, its ``.npz`` files, and lists of entries.

Entries in one place are summed, as SciPy has it. An entry that is 0 is an absent synapse, and stays in the
file. The formats csr, csc and coo are read, and written back as they came, entries in order; nothing
dense is ever made.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from balproof.errors import ModelError
from balproof.importers.arrays import npy_chunks
from balproof.importers.rounding import MAX_ACTIVATION, MAX_ELEMENTS, require_size
from balproof.network.graph import Network, Tensor
from balproof.network.places import Places

Array = np.ndarray

NAMES = ("format", "shape", "data", "indices", "indptr", "row", "col", "_is_array")
"""The arrays of `scipy.sparse.save_npz`, for the formats that are read."""

_SAVE = "write it with scipy.sparse.save_npz(path, J.tocsr())"
_LEAST_DENSE = 1_000_000
_FILLED = 8
_LINES, _LINES_FOR_ENTRY = 10_000, 100


def is_dense(count: int, shape: tuple[int, int]) -> bool:
    """Whether a list of entries is better held as an array: a small one, or more than an eighth full."""
    size = shape[0] * shape[1]
    return size <= _LEAST_DENSE or size < _FILLED * count


def parameter(name: str, given: Any) -> Tensor:
    """A parameter from a sparse array or matrix of SciPy.

    >>> parameter("J", sparse.coo_array(([1, 2, 3], ([1, 1, 0], [0, 0, 1])), shape=(2, 2))).value.tolist()
    [3.0, 3.0]

    Raises ModelError for what are no real numbers, or more than two axes, or without entries.
    """
    if given.ndim != 2:
        raise ModelError(f"{name} has shape {given.shape}", "give a matrix")
    shape = (int(given.shape[0]), int(given.shape[1]))
    if given.format not in ("csr", "csc", "coo"):
        given = given.tocsr()
    entries = given.tocoo()
    rows, columns = entries.coords
    return _tensor(name, shape, rows, columns, entries.data)


def _tensor(name: str, shape: tuple[int, int], rows: Array, columns: Array, data: Array) -> Tensor:
    if data.dtype.kind in "iu":
        data = data.astype(np.float64)
    if data.dtype.kind != "f" or data.dtype.itemsize > 8:
        raise ModelError(f"{name} holds {data.dtype.name}", "give real numbers in float64 or a narrower type")
    require_size(name, shape, MAX_ELEMENTS**2)
    if not data.size:
        raise ModelError(f"{name} has no entries", "give a matrix with at least one weight")
    if max(shape) > min(_LINES + _LINES_FOR_ENTRY * data.size, MAX_ACTIVATION):
        raise ModelError(
            f"{name} is {shape[0]}×{shape[1]} with {data.size} entries, "
            f"more than {_LINES_FOR_ENTRY} lines for each",
            "leave out units that have no weights",
        )
    places, number = Places.of(shape, rows, columns)
    kind = data.dtype.newbyteorder("=")
    value = np.bincount(number, data, len(places.rows)).astype(kind)
    if len(number) == len(places.rows):  # a sum from 0 would make −0 to 0
        value[number] = data
    return Tensor(name, value.shape, "parameter", value, kind.name, places=places)


# --- files of SciPy ---------------------------------------------------------------------------------------


def gathered(arrays: Mapping[str, Any], path: object) -> Mapping[str, Any]:
    """The arrays of a file with those of SciPy made one matrix, ``J``; as they are where there are none.

    Raises ModelError for parts that do not make a matrix.
    """
    if "format" not in arrays:
        return arrays
    if "J" in arrays:
        raise ModelError(f"{path} has J twice, as an array and in SciPy's form", "leave one of them out")
    rest = {name: value for name, value in arrays.items() if name not in NAMES}
    return {"J": _matrix(arrays, path), **rest}


def _matrix(arrays: Mapping[str, Any], path: object) -> sparse.coo_array:
    text = np.asarray(arrays["format"])
    kind = text.item() if text.size == 1 and text.dtype.kind in "SU" else ""
    kind = kind.decode("latin-1") if isinstance(kind, bytes) else str(kind)
    if kind not in ("csr", "csc", "coo"):
        raise ModelError(f"{path} holds a sparse matrix of the format {kind[:20]!r}", _SAVE)
    needed = ("shape", "data", "row", "col") if kind == "coo" else ("shape", "data", "indices", "indptr")
    for name in needed:
        if name not in arrays:
            raise ModelError(f"{path} has no array {name!r} of a sparse matrix", _SAVE)
    shape, data, *index = (np.asarray(arrays[name]) for name in needed)
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or any(i.dtype.kind not in "iu" for i in index):
        raise ModelError(f"{path} has no whole numbers as shape and places", _SAVE)
    m, n = (int(k) for k in shape)
    require_size(str(path), (m, n), MAX_ELEMENTS**2)
    if kind == "coo":
        rows, columns = index
    else:
        inner, starts = index
        lines = n if kind == "csc" else m
        if (
            *(starts.ndim, inner.ndim, data.ndim),
            starts.size,
        ) != (1, 1, 1, lines + 1) or not _ascending(starts.astype(np.int64), len(inner)):
            raise ModelError(f"{path} has no starts of {lines} lines in indptr", _SAVE)
        outer = np.repeat(np.arange(lines), np.diff(starts.astype(np.int64)))
        rows, columns = (inner, outer) if kind == "csc" else (outer, inner)
    if not rows.shape == columns.shape == data.shape or data.ndim != 1:
        raise ModelError(f"{path} has {data.size} entries and {rows.size} places", _SAVE)
    for place, size in ((rows, m), (columns, n)):
        if place.size and not (0 <= int(place.min()) and int(place.max()) < size):
            raise ModelError(f"{path} has an entry outside its {m}×{n}", _SAVE)
    if data.dtype.kind not in "iuf":
        raise ModelError(
            f"{path} holds entries of {data.dtype.name}", "give real numbers in float64 or a narrower type"
        )
    return sparse.coo_array((data, (rows, columns)), shape=(m, n))


def _ascending(starts: Array, count: int) -> bool:
    return bool(starts[0] == 0 and starts[-1] == count and np.all(np.diff(starts) >= 0))


def members(tensor: Tensor, value: Array, form: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The arrays of a file of SciPy: names, and their bytes."""
    places = tensor.places
    assert places is not None
    wide = max(*places.shape, len(value)) > np.iinfo(np.int32).max
    index = np.dtype(np.int64 if wide else np.int32)
    if form == "coo":
        parts = {"row": places.rows, "col": places.columns}
    else:
        turned = form == "csc"
        order = np.lexsort((places.rows, places.columns)) if turned else slice(None)
        inner, outer = (places.rows, places.columns) if turned else (places.columns, places.rows)
        value = value[order]
        lines = np.arange(places.shape[1 if turned else 0] + 1)
        parts = {"indices": inner[order], "indptr": np.searchsorted(outer[order], lines)}
    for name, part in parts.items():
        yield name, npy_chunks(part.shape, index, [part])
    for name, fact in (
        ("format", np.array(form.encode())),
        ("shape", np.array(places.shape)),
        ("_is_array", np.array(True)),
    ):
        yield name, npy_chunks(fact.shape, fact.dtype, [fact])
    yield "data", npy_chunks(value.shape, value.dtype, [value])


def form_of(network: Network) -> str:
    """The format in the file that a network came from; csr where it is gone, or there was none."""
    if network.source is None or not zipfile.is_zipfile(network.source):
        return "csr"
    with zipfile.ZipFile(network.source) as archive:
        if "format.npy" not in archive.namelist():
            return "csr"
        with archive.open("format.npy") as member:
            text = str(np.lib.format.read_array(member, allow_pickle=False).astype("U"))
    return text if text in ("csr", "csc", "coo") else "csr"


def mtx_text(tensor: Tensor, value: Array) -> Iterator[bytes]:
    """A Matrix Market file, entry by entry."""
    places = tensor.places
    assert places is not None
    m, n = places.shape
    yield f"%%MatrixMarket matrix coordinate real general\n%\n{m} {n} {len(value)}\n".encode()
    step = 2**16
    for at in range(0, len(value), step):
        part = zip(
            (places.rows[at : at + step] + 1).tolist(),
            (places.columns[at : at + step] + 1).tolist(),
            value[at : at + step].tolist(),
            strict=True,
        )
        yield "".join([f"{i} {j} {w!r}\n" for i, j, w in part]).encode()
