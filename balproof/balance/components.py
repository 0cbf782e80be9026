"""Weights as the edges of a directed graph, all at once: which of them lie on closed walks.

A weight that feeds one scale and is fed by one, each to the power 1, is an edge; what does not move is one
node more. The minimum is attained exactly if all edges lie within strong components (`existence`), and those
that do not fall along some direction that raises no cost: the components can be put in an order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Walks:
    """``off`` marks the weights off every closed walk; ``direction`` is −1, 0 or 1 for every scale.

    Along the direction some of these weights fall, and none of any other grows. It is None where there
    are no such weights. ``part`` is the component of every scale, and at the end that of what does not move;
    ``ends`` are the components that the weights come from and lead to.
    """

    off: Array
    direction: Array | None
    part: Array
    ends: tuple[Array, Array]

    def levels(self) -> Array:
        """For every scale how many weights off closed walks lead to it in a row, less that of what stays.

        Scales less their levels: so all weights off closed walks fall by 1 or more, and no other changes.

        >>> chain = sparse.csr_array(np.array([[-1.0, 1, 0], [0, -1, 1]]))
        >>> walks(chain, np.ones(3, bool)).levels().tolist()
        [0, 1, 2]
        """
        tails, heads = (end[self.off] for end in self.ends)
        level = np.zeros(int(self.part.max(initial=0)) + 1, np.int64)
        while np.any(late := level[heads] <= level[tails]):
            np.maximum.at(level, heads[late], level[tails[late]] + 1)
        return level[self.part[:-1]] - level[self.part[-1]]


def walks(rows: sparse.csr_array, moving: Array) -> Walks | None:
    """By the matrix of weights and scales, of which the ``moving`` ones count.

    None where a weight has two scales of one sign, or one to another power than 1.

    >>> chain = sparse.csr_array(np.array([[-1.0, 1, 0], [1, -1, 0], [0, -1, 1]]))
    >>> found = walks(chain, np.ones(3, bool))
    >>> found.off.tolist(), found.direction.tolist()
    ([False, False, True], [0, 0, -1])
    """
    a = sparse.csr_array(rows @ sparse.diags_array(moving.astype(float)))
    a.sum_duplicates()
    a.eliminate_zeros()
    if not np.all(np.abs(a.data) == 1):
        return None
    entries = a.tocoo()
    row, column = entries.coords
    ground = a.shape[1]
    nodes: list[Array] = []
    for side in (entries.data < 0, entries.data > 0):
        if np.bincount(row[side], minlength=a.shape[0]).max(initial=0) > 1:
            return None
        node = np.full(a.shape[0], ground)
        node[row[side]] = column[side]
        nodes.append(node)
    tail, head = nodes
    ones = np.ones(len(tail), np.int8)
    graph = sparse.coo_array((ones, (tail, head)), (ground + 1, ground + 1)).tocsr()
    part = connected_components(graph, connection="strong")[1]
    off = part[tail] != part[head]
    ends = part[tail], part[head]
    return Walks(off, _direction(part, *(end[off] for end in ends)) if off.any() else None, part, ends)


def _direction(part: Array, tails: Array, heads: Array) -> Array:
    """Scale down the smallest component that no weight leaves, or scale up one that no weight enters."""
    size = np.bincount(part)
    ground = part[-1]
    ends = [(c, -1) for c in np.setdiff1d(heads, tails)] + [(c, 1) for c in np.setdiff1d(tails, heads)]
    chosen, sign = min((end for end in ends if end[0] != ground), key=lambda end: size[end[0]])
    return np.where(part[:-1] == chosen, sign, 0)
