"""Recurrent networks from matrices: ``.npz`` with J and more, ``.npy`` and ``.mtx`` with J alone.

One time step of N units with states s and a homogeneous activation φ:

    s' = J φ(s) + W_in u + b,        y = W_out s

``J`` is N×N (row i holds what unit i receives); ``W_in`` N×inputs, ``W_out`` outputs×N and ``b`` of length
N may be left out, and so may ``activation``, a name or a formula in x (default ``relu``). With J alone
there is no input and no output: nothing is visible, every unit may scale, and balancing the network is
balancing the matrix. A zero of J is an absent synapse.

J may be sparse: an array of SciPy, a file of ``scipy.sparse.save_npz`` (csr, csc or coo, into which ``W_in``,
``b``, ``W_out`` and ``activation`` may be put as well), or a list of entries in ``.mtx``. It stays sparse,
and is written back in that form. What may have weights then is what the matrix has entries for
(`balproof.importers.sparse`). A ``.mtx`` list of a small matrix, or of one that is more than an eighth full,
is read as an array.

Real floating-point and integer arrays are read (integers as float64). Pickled objects are never loaded.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

from balproof.errors import ModelError
from balproof.importers import sparse
from balproof.importers.arrays import npy_chunks, read_array, read_arrays, write_npz
from balproof.importers.files import first_line, read_bytes, replacing, write_atomically
from balproof.importers.rounding import Pieces, Weights, require_size, rounded_pieces, whole
from balproof.network.graph import Network, Operation, Tensor
from balproof.symbolic.activation import Activation

MAX_BYTES = 2**32
MATRICES = ("J", "W_in", "b", "W_out")


def load(path: Path) -> Network:
    """Read a recurrent network; see the module's text for the form.

    Raises ModelError for damaged files, pickles, unknown names, wrong shapes and types.
    """
    kind = path.suffix.lower().removeprefix(".")
    known = (*MATRICES, "activation", *sparse.NAMES)
    read: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        "npz": lambda p: sparse.gathered(read_arrays(p, known, sparse.NAMES), p),
        "npy": lambda p: {"J": read_array(p)},
        "mtx": _read_mtx,
    }
    return from_arrays(read[kind](path), kind, str(path.resolve()))


def from_arrays(arrays: Mapping[str, Any], kind: str = "npz", source: str | None = None) -> Network:
    """A recurrent network from arrays named as in the file.

    >>> net = from_arrays({"J": np.array([[0.0, 2.0], [0.5, 0.0]])})
    >>> net.inputs, net.outputs, net.states
    ((), (), (('s', "s'"),))

    Raises ModelError as `load`.
    """
    unknown = sorted(set(arrays) - {*MATRICES, "activation"})
    if unknown or "J" not in arrays:
        what = f"unknown array {unknown[0]!r}" if unknown else "no array 'J'"
        raise ModelError(
            f"a recurrent network has {what}", f"name the arrays {', '.join(MATRICES)}, activation"
        )
    parts = {n: _parameter(n, arrays[n]) for n in MATRICES if n in arrays}
    j = parts["J"]
    shape = j.places.shape if j.places is not None else j.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ModelError(f"J has shape {shape}", "give a square matrix of connections")
    n = shape[0]
    fits = {"W_in": lambda s: len(s) == 2 and s[0] == n, "W_out": lambda s: len(s) == 2 and s[1] == n}
    fits["b"] = lambda s: s == (n,)
    form = {"W_in": f"({n}, inputs)", "W_out": f"(outputs, {n})", "b": f"({n},)"}
    for name, part in parts.items():
        if name in fits and not fits[name](part.shape):
            raise ModelError(
                f"{name} has shape {part.shape}, J has {n} units", f"give {name} shape {form[name]}"
            )
    return _build(parts, _activation(arrays.get("activation")), kind, source)


def _build(parts: dict[str, Tensor], function: Activation, kind: str, source: str | None) -> Network:
    places = parts["J"].places
    n = parts["J"].shape[0] if places is None else places.shape[0]
    tensors = dict(parts)
    operations: list[Operation] = []

    def apply(op: str, name: str, inputs: tuple[str, ...], size: int, output: str, **attributes: Any) -> str:
        tensors[output] = Tensor(output, (1, size), "activation")
        operations.append(Operation(op, name, inputs, output, MappingProxyType(attributes)))
        return output

    tensors["s"] = Tensor("s", (1, n), "state")
    rates = apply("activation", "phi", ("s",), n, "phi(s)", function=function)
    steps = [name for name in ("W_in", "b") if name in parts]
    product = "s'" if not steps else "J·phi(s)"
    if places is None:
        after = apply("linear", "J", (rates, "J"), n, product, transpose=True)
    else:
        after = apply("sparse", "J", (rates, "J"), n, product, places=places)
    if "W_in" in parts:
        width = parts["W_in"].shape[1]
        tensors["u"] = Tensor("u", (1, width), "input")
        driven = apply("linear", "W_in", ("u", "W_in"), n, "W_in·u", transpose=True)
        after = apply("add", "sum", (after, driven), n, "J·phi(s) + W_in·u" if "b" in parts else "s'")
    if "b" in parts:
        after = apply("bias", "b", (after, "b"), n, "s'")
    outputs: tuple[str, ...] = ()
    if "W_out" in parts:
        outputs = (apply("linear", "W_out", ("s", "W_out"), parts["W_out"].shape[0], "y", transpose=True),)
    inputs = ("u",) if "W_in" in parts else ()
    return Network(tensors, tuple(operations), inputs, outputs, (("s", after),), kind, source)


def _parameter(name: str, given: Any) -> Tensor:
    if scipy.sparse.issparse(given):
        if name != "J":
            raise ModelError(
                f"{name} is sparse", f"give it as an array, {name}.toarray(); only J may be sparse"
            )
        return sparse.parameter(name, given)
    array = np.asarray(given)
    require_size(name, array.shape)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ModelError(
            f"{name} holds {array.dtype.name}", "give real numbers in float64 or a narrower type"
        )
    value = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return Tensor(name, array.shape, "parameter", value, array.dtype.name)


def _activation(given: Any) -> Activation:
    if given is None:
        return Activation.parse("relu")
    array = np.asarray(given)
    if array.dtype.kind != "U" or array.size != 1:
        raise ModelError("activation is not one text", "give a name such as relu, or a formula in x")
    return Activation.parse(str(array.reshape(-1)[0]))


# --- reading ------------------------------------------------------------------------------------------


def _read_mtx(path: Path) -> dict[str, Any]:
    """A Matrix Market file: a banner, comments, the size, and entries (``i j value``) or columns.

    Read here and not by SciPy, whose reader has crashed the interpreter on truncated files.
    """
    repair = "write the file anew with scipy.io.mmwrite(path, J)"
    lines = read_bytes(path, MAX_BYTES // 4).decode("latin-1").splitlines()
    banner = lines[0].lower().split() if lines else []
    if len(banner) != 5 or banner[0] != "%%matrixmarket" or banner[1] != "matrix":
        raise ModelError(f"{path} does not begin with a Matrix Market banner", repair)
    _, _, form, field, symmetry = banner
    if (
        field not in ("real", "integer", "double")
        or symmetry not in _MIRROR
        or form not in ("array", "coordinate")
    ):
        raise ModelError(f"{path} holds {form} {field} {symmetry} entries", "give real weights")
    body = [line for line in lines[1:] if line.strip() and not line.startswith("%")]
    try:
        size = [int(n) for n in body[0].split()] if body else []
        numbers = np.array(" ".join(body[1:]).split(), dtype=np.float64)
    except ValueError as error:
        raise ModelError(f"{path} is no intact Matrix Market file ({first_line(error)})", repair) from None
    if len(size) != (3 if form == "coordinate" else 2):
        raise ModelError(f"{path} has no size line", repair)
    shape = (size[0], size[1])
    listed = form == "coordinate" and not sparse.is_dense(size[-1], shape)
    require_size(str(path), shape, 2**62 if listed else MAX_BYTES // 8)
    mirrored = symmetry != "general"
    if mirrored and shape[0] != shape[1]:
        raise ModelError(f"{path} is {symmetry} and has shape {shape}", repair)
    if form == "coordinate":
        if numbers.size != 3 * size[2]:
            raise ModelError(f"{path} announces {size[2]} entries and has {numbers.size / 3:g}", repair)
        places, values = numbers.reshape(-1, 3)[:, :2] - 1, numbers[2::3]
        if not ((places >= 0) & (places < shape) & (places == np.floor(places))).all():
            raise ModelError(f"{path} has an entry outside its {shape[0]}×{shape[1]}", repair)
        rows, columns = places.astype(np.int64).T
    else:
        first = 1 if symmetry == "skew-symmetric" else 0
        columns, rows = (
            np.triu_indices(shape[0], first) if mirrored else np.indices(shape[::-1]).reshape(2, -1)
        )
        values = numbers
        if values.size != rows.size:
            raise ModelError(f"{path} announces {rows.size} entries and has {values.size}", repair)
    if mirrored:
        below = rows != columns
        rows, columns = np.append(rows, columns[below]), np.append(columns, rows[below])
        values = np.append(values, _MIRROR[symmetry] * values[below])
    if listed:
        return {"J": scipy.sparse.coo_array((values, (rows, columns)), shape=shape)}
    matrix = np.zeros(shape)
    np.add.at(matrix, (rows, columns), values)
    return {"J": matrix}


_MIRROR = MappingProxyType({"general": 0.0, "symmetric": 1.0, "skew-symmetric": -1.0})


# --- writing ------------------------------------------------------------------------------------------


def save(network: Network, path: Path, weights: Weights = MappingProxyType({})) -> None:
    """Write the arrays back, in their types and in the form that the network was read from, piece by piece.

    A ``.mtx`` file keeps being a list of entries or a full array; a symmetric one becomes general, since
    a rescaling is seldom symmetric. ``weights`` are written in place of the network's own.

    Raises ModelError if a weight does not fit its type, or the file cannot be written.
    """
    pieces = {t.name: weights.get(t.name, network.pieces(t.name)) for t in network.parameters}
    j = network.tensors["J"]
    if network.format == "mtx" and j.places is not None:
        with replacing(path) as (file,):
            file.writelines(sparse.mtx_text(j, whole(j, pieces["J"], np.float64)))
        return
    if network.format == "mtx":
        listed = network.source is None or _is_listed(Path(network.source))
        matrix = whole(network.tensors["J"], pieces["J"], np.float64)
        stream = io.BytesIO()
        held = scipy.sparse.coo_array(matrix) if listed else matrix
        scipy.io.mmwrite(stream, held, precision=17, symmetry="general")
        write_atomically(path, stream.getvalue())
        return
    arrays = {t.name: _chunks(t, pieces[t.name]) for t in network.parameters}
    functions = [op.attributes["function"] for op in network.operations if op.kind == "activation"]
    if network.format == "npz" and _names_activation(network):
        text = np.array(functions[0].text)
        arrays["activation"] = npy_chunks(text.shape, text.dtype, [text])
    packing = zipfile.ZIP_STORED
    if j.places is not None:
        value = whole(j, pieces["J"], np.dtype(j.dtype))
        arrays = {**dict(sparse.members(j, value, sparse.form_of(network))), **arrays}
        del arrays["J"]
        packing = zipfile.ZIP_DEFLATED  # as SciPy does
    with replacing(path) as (file,):
        if network.format == "npz":
            write_npz(file, ((name, chunks, packing) for name, chunks in arrays.items()))
        else:
            file.writelines(arrays["J"])


def _chunks(tensor: Tensor, pieces: Pieces) -> Iterator[bytes]:
    dtype = np.dtype(tensor.dtype)
    return npy_chunks(tensor.shape, dtype, (v for _, v in rounded_pieces(tensor, pieces, dtype)))


def _names_activation(network: Network) -> bool:
    """Whether the file says which activation it has (a default that was left out stays left out)."""
    if network.source is not None and Path(network.source).is_file():
        with zipfile.ZipFile(network.source) as archive:
            return "activation.npy" in archive.namelist()
    return True


def _is_listed(source: Path) -> bool:
    """Whether a .mtx file lists its entries; also where it is gone."""
    if not source.is_file():
        return True
    with source.open("rb") as stream:
        return b"coordinate" in stream.readline(200).lower()
