"""Colours of units or layers, in compiled code: none has that of a neighbour."""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import sparse

Array = np.ndarray


def coloured(neighbours: sparse.csr_array) -> Array:
    """A colour for each node, none of which a neighbour has: the first that is free, in the order of breadth.

    >>> coloured(sparse.csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))).tolist()
    [0, 1, 0]
    """
    starts, indices = neighbours.indptr.astype(np.int64), neighbours.indices.astype(np.int64)
    return first_fit(starts, indices, breadth_first(starts, indices))


@njit(nogil=True, cache=True)
def breadth_first(starts, indices):
    """The nodes of every part in the order of breadth, from its first one; node i has neighbours as in CSR.

    >>> breadth_first(np.array([0, 1, 2, 4]), np.array([2, 2, 0, 1])).tolist()
    [0, 2, 1]
    """
    n = len(starts) - 1
    order, found = np.empty(n, np.int64), np.zeros(n, np.bool_)
    at = end = 0
    for first in range(n):
        if not found[first]:
            order[end], found[first] = first, True
            end += 1
        while at < end:
            for k in range(starts[order[at]], starts[order[at] + 1]):
                other = indices[k]
                if not found[other]:
                    order[end], found[other] = other, True
                    end += 1
            at += 1
    return order


@njit(nogil=True, cache=True)
def first_fit(starts, indices, order):
    """Each node in turn has the first colour that no neighbour has."""
    colour = np.full(len(starts) - 1, -1)
    seen = np.full(len(colour) + 1, -1)
    for node in order:
        for k in range(starts[node], starts[node + 1]):
            if colour[indices[k]] >= 0:
                seen[colour[indices[k]]] = node
        free = 0
        while seen[free] == node:
            free += 1
        colour[node] = free
    return colour
