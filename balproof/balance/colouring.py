"""Colours of units or layers, in compiled code: none has that of a neighbour."""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components

Array = np.ndarray


def coloured(neighbours: sparse.csr_array) -> Array:
    """A colour for each node, none of which a neighbour has: the first that is free, in the order of breadth.

    >>> coloured(sparse.csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))).tolist()
    [0, 1, 0]
    """
    return first_fit(neighbours, breadth_first(neighbours))


def breadth_first(neighbours: sparse.csr_array) -> Array:
    """The nodes of every part in the order of breadth, from its first one.

    >>> breadth_first(sparse.csr_array(np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]]))).tolist()
    [0, 2, 1]
    """
    part = connected_components(neighbours, directed=False)[1]
    first = np.unique(part, return_index=True)[1]
    # One node more, joined to a node of every part, from which all are reached.
    n = neighbours.shape[0]
    root = sparse.csr_array((np.ones(len(first), np.int8), (np.zeros(len(first), int), first)), (1, n))
    whole = sparse.csr_array(sparse.vstack([neighbours, root]))
    whole.resize((n + 1, n + 1))
    return breadth_first_order(whole, n, directed=True, return_predecessors=False)[1:]


def first_fit(neighbours: sparse.csr_array, order: Array) -> Array:
    """Each node in turn has the first colour that no neighbour has."""
    colour = np.full(neighbours.shape[0], -1)
    _first_fit(neighbours.indptr, neighbours.indices, order.astype(np.int64), colour)
    return colour


@njit(nogil=True, cache=True)
def _first_fit(starts, indices, order, colour):
    seen = np.full(len(colour) + 1, -1)
    for node in order:
        for k in range(starts[node], starts[node + 1]):
            if colour[indices[k]] >= 0:
                seen[colour[indices[k]]] = node
        free = 0
        while seen[free] == node:
            free += 1
        colour[node] = free
