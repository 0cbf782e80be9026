"""Networks with a sparse matrix in other forms of the same: with one list of places, or with an array."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from balproof.network.graph import Network, Operation, Tensor
from balproof.network.places import Places

Array = np.ndarray


SMALL = 250_000
"""Up to so many entries a sparse matrix may as well be an array."""


def full(network: Network) -> Network:
    """With arrays in place of sparse matrices that are `SMALL`.

    >>> from balproof.importers import load
    >>> from scipy.sparse import csr_array
    >>> full(load(csr_array(np.array([[0.0, 1.0], [2.0, 0.0]])))).tensors["J"].value.tolist()
    [[0.0, 1.0], [2.0, 0.0]]
    """
    for tensor in network.parameters:
        places = tensor.places
        if places is None or places.shape[0] * places.shape[1] > SMALL:
            continue
        assert tensor.value is not None
        value = np.zeros(places.shape, dtype=tensor.value.dtype)
        value[places.rows, places.columns] = tensor.value
        array = dataclasses.replace(tensor, shape=value.shape, value=value, places=None)
        network = _with(network, array, "linear", {"transpose": True})
    return network


def alike(before: Network, after: Network) -> tuple[Network, Network]:
    """Both with the places of either, if one has a sparse parameter that the other has with other places.

    Entries that one of them lacks are 0 there. An array of the same shape is taken for a list of its
    nonzeros. Small ones become arrays in both.

    >>> from balproof.importers import load
    >>> from scipy.sparse import csr_array
    >>> full = np.array([[0.0, 1.0], [2.0, 0.0]])
    >>> left, right = alike(load(csr_array(np.array([[0.0, 1.0], [0.0, 0.0]]))), load(full))
    >>> left.tensors["J"].value.tolist(), right.tensors["J"].value.tolist()
    ([[0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]])
    """
    before, after = full(before), full(after)
    for name, old in before.tensors.items():
        new = after.tensors.get(name)
        used = [op for n in (before, after) for op in n.operations if name in op.inputs]
        if any(op.kind not in ("linear", "sparse") or not _by_rows(op) for op in used):
            continue
        if new is None or not old.role == new.role == "parameter" or old.places == new.places:
            continue
        shape = _shape(old)
        if len(shape) != 2 or shape != _shape(new):
            continue
        own = [_entries(t) for t in (old, new)]
        key = np.union1d(own[0][0], own[1][0])
        places = Places((shape[0], shape[1]), *np.divmod(key, shape[1]))
        before, after = (
            _with_places(network, tensor, places, np.searchsorted(key, at), values)
            for network, tensor, (at, values) in zip((before, after), (old, new), own, strict=True)
        )
    return before, after


def _by_rows(op: Operation) -> bool:
    return op.kind == "sparse" or bool(op.attributes.get("transpose", False))


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tensor.shape if tensor.places is None else tensor.places.shape


def _entries(tensor: Tensor) -> tuple[Array, Array]:
    """Row-major positions and values."""
    assert tensor.value is not None
    if tensor.places is not None:
        return tensor.places.key, tensor.value
    flat = tensor.value.reshape(-1)
    at = np.flatnonzero(flat != 0)
    return at, flat[at]


def _with_places(network: Network, tensor: Tensor, places: Places, at: Array, values: Array) -> Network:
    value = np.zeros(len(places.rows), dtype=values.dtype)
    value[at] = values
    listed = dataclasses.replace(tensor, shape=value.shape, value=value, places=places)
    return _with(network, listed, "sparse", {"places": places})


def _with(network: Network, tensor: Tensor, kind: str, attributes: Mapping[str, object]) -> Network:
    """With this parameter in the place of that of its name, and operations of that kind on it."""
    operations = tuple(
        dataclasses.replace(op, kind=kind, attributes=MappingProxyType(dict(attributes)))
        if op.kind in ("linear", "sparse") and op.inputs[1] == tensor.name
        else op
        for op in network.operations
    )
    tensors = {**network.tensors, tensor.name: tensor}
    return dataclasses.replace(network, tensors=tensors, operations=operations)
