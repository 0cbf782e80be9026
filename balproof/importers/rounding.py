"""Weights on their way in and out: finite in, and rounded to the type of the file on the way out."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from math import prod

import numpy as np

from balproof.errors import MissingToolError, ModelError
from balproof.network.graph import PIECE, Network, Tensor

Pieces = Iterable[tuple[slice, np.ndarray]]
"""The weights of a parameter in float64, piece by piece, as `Network.pieces` gives them."""

Weights = Mapping[str, Pieces]
"""Other weights than its own for some parameters of a network."""

MAX_ELEMENTS = 2**31
MAX_ACTIVATION = 2**24


def require_finite(tensor: Tensor) -> Tensor:
    """The tensor itself.

    Raises ModelError naming the first entry that is NaN or infinite.

    >>> require_finite(Tensor("W", (2,), "parameter", np.array([1.0, np.nan])))
    Traceback (most recent call last):
        ...
    balproof.errors.ModelError: W[1] is nan: retrain or repair the model
    """
    if tensor.value is None or tensor.value.dtype == object:
        return tensor
    flat, first, count = tensor.value.reshape(-1), -1, 0
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(piece.sum()):  # NaN and infinity stay in a sum
                continue
        bad = np.flatnonzero(~np.isfinite(piece))
        if bad.size and not count:
            first = start + int(bad[0])
        count += bad.size
    if count:
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise ModelError(f"{tensor.element(first)} is {flat[first]}{more}", "retrain or repair the model")
    return tensor


def require_size(name: str, shape: tuple[int, ...], limit: int = MAX_ELEMENTS) -> int:
    """The number of entries, as long as it is sensible; asked before anything is allocated.

    Raises ModelError for a negative length, no entry at all, or more entries than ``limit``.
    """
    count = prod(shape)
    if any(n < 0 for n in shape) or count == 0:
        raise ModelError(
            f"{name} has shape {shape}, which holds nothing", "give every axis a positive length"
        )
    if count > limit:
        raise ModelError(f"{name} has shape {shape}, more than {limit} entries", "give a smaller model")
    return count


def dtype_of(name: str) -> np.dtype:
    """The type of a tensor by its name.

    Raises MissingToolError for bfloat16 where ml_dtypes, which has it, is not installed.

    >>> dtype_of("float16").itemsize
    2
    """
    if name != "bfloat16":
        return np.dtype(name)
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        raise MissingToolError("ml_dtypes is not installed", "say pip install 'balproof[onnx]'") from None


def rounded(network: Network, name: str, dtype: np.dtype | type) -> np.ndarray:
    """The value of a parameter in the type of its file.

    Raises ModelError if an entry is not finite, or no longer is when rounded.
    """
    return whole(network.tensors[name], network.pieces(name), dtype)


def whole(tensor: Tensor, pieces: Pieces, dtype: np.dtype | type) -> np.ndarray:
    """Weights of a parameter in the type of its file.

    Raises ModelError as `rounded`.
    """
    value = np.empty(tensor.size, dtype=dtype)
    for here, numbers in rounded_pieces(tensor, pieces, dtype):
        value[here] = numbers
    return value.reshape(tensor.shape)


def rounded_pieces(
    tensor: Tensor, pieces: Pieces, dtype: np.dtype | type
) -> Iterator[tuple[slice, np.ndarray]]:
    """Weights of a parameter in the type of its file, piece by piece.

    Raises ModelError as `rounded`.
    """
    for here, exact in pieces:
        with np.errstate(over="ignore", under="ignore"):
            value = exact.astype(dtype)
        bad = np.flatnonzero(~np.isfinite(value))
        if bad.size:
            where = tensor.element(here.start + int(bad[0]))
            raise ModelError(
                f"{where} = {float(exact[bad[0]]):g} does not fit {np.dtype(dtype).name}",
                "convert the model to a wider type first",
            )
        yield here, value


def narrowed(tensor: Tensor) -> np.ndarray:
    """The value of a tensor rounded to its own type (``dtype``), in float64.

    Raises ModelError if an entry does not fit that type.

    >>> t = Tensor("W", (2,), "parameter", np.array([0.1, 1.0]), "bfloat16")
    >>> narrowed(t).tolist()
    [0.10009765625, 1.0]
    """
    assert tensor.value is not None
    value = np.asarray(tensor.value, dtype=np.float64)
    if tensor.dtype not in ("float16", "bfloat16", "float32"):
        return value
    with np.errstate(over="ignore", under="ignore"):
        found = value.astype(np.float16 if tensor.dtype == "float16" else np.float32)
    if tensor.dtype == "bfloat16":
        found = _bfloat16(value)
    rounded_value = found.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(rounded_value) & np.isfinite(value))
    if bad.size:
        where = tensor.element(int(bad[0]))
        raise ModelError(f"{where} = {value.flat[bad[0]]:g} does not fit {tensor.dtype}", "take a wider type")
    return rounded_value


def _bfloat16(value: np.ndarray) -> np.ndarray:
    """Rounded to 8 bits, half to even, exponents as in float32."""
    fraction, exponent = np.frexp(value)
    places = np.maximum(exponent - 8, -133)  # below 2^-126 the steps stay as they are
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(np.rint(np.ldexp(fraction, exponent - places)), places).astype(np.float32)
