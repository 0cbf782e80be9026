"""Balance between weakly tied groups: Newton's method, with an elimination that subtracts nothing.

Minimise Σ_e c_e·exp(r_e·(t[head_e] − t[tail_e])). A Newton step solves, with G_ij = Σ r²c between i and j in
either direction and B_ij = Σ_{i→j} rc − Σ_{j→i} rc,

    Σ_j G_ij (t_i − t_j) = Σ_j B_ij     for every node i,

an electrical network with a source in every edge. Eliminating node k with D = Σ_j G_kj leaves such a network:
G_ij + G_ik G_kj/D and B_ij + (G_ik B_kj + B_ik G_kj)/D. Diagonals are sums of what is left, as in the
elimination of Grassmann, Taksar and Heyman (1985), and the sources stay on the edges: a weak tie is
never the difference of strong ones, so that t is right to rounding however far apart the costs are.
"""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportPrivateImportUsage]
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

Array = np.ndarray

_WORK = 250_000_000
"""Multiplications of one elimination: half a second."""

WIDEST = 3_000
"""The widest band of which factors are small."""

_SMALL = 300
"""Rows of a matrix of which factors take little work in any case."""

_MOST = 15_000_000_000
"""Multiplications in a band of which factors take little work: some five seconds, and far less for a grid."""

_FAR = 0.5
"""An imbalance above this is better lowered by sweeps."""


def order(tail: Array, head: Array, count: int) -> Array | None:
    """The order of elimination, last first, with node 0 in front; None where that takes long.

    >>> order(np.array([0, 1, 2]), np.array([1, 2, 0]), 3).tolist()
    [0, 1, 2]
    """
    inner = (tail > 0) & (head > 0)
    i, j = tail[inner] - 1, head[inner] - 1
    graph = sparse.coo_array((np.ones(len(i), np.int8), (i, j)), (count - 1, count - 1)).tocsr()
    found = (
        reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True)[::-1] if count > 1 else np.zeros(0, int)
    )
    place = np.empty(count - 1, int)
    place[found] = np.arange(count - 1)
    band = int(np.abs(place[i] - place[j]).max(initial=0)) + 1
    return np.concatenate([[0], found + 1]) if count * band**2 <= _WORK else None


def band(graph: sparse.csr_array) -> tuple[int, int]:
    """How wide a band holds the entries of a symmetric matrix, in a good order, and how many rows it has.

    Trees that hang on the rest do not count: leaves first, they are eliminated without fill.

    >>> band(sparse.csr_array(np.ones((3, 3)))), band(sparse.csr_array(np.array([[1, 1], [1, 1]])))
    ((2, 3), (0, 0))
    """
    left = _core(graph.indptr, graph.indices)
    if not left.any():
        return 0, 0
    graph = sparse.csr_array(graph[left][:, left])
    place = np.empty(graph.shape[0], int)
    place[reverse_cuthill_mckee(graph, symmetric_mode=True)] = np.arange(graph.shape[0])
    i, j = graph.tocoo().coords
    return int(np.abs(place[i] - place[j]).max(initial=0)), len(place)


def narrow(graph: sparse.csr_array) -> bool:
    """Whether factors of a symmetric matrix with these entries take little work, as of rings and grids.

    >>> narrow(sparse.csr_array(sparse.eye_array(9) + sparse.eye_array(9, k=1) + sparse.eye_array(9, k=-1)))
    True
    >>> narrow(sparse.csr_array(np.ones((1000, 1000))))
    False
    """
    width, rows = band(graph)
    return rows <= _SMALL or (width <= min(WIDEST, rows // 8) and rows * width**2 <= _MOST)


@njit(nogil=True, cache=True)
def _core(starts, ends):
    """Which nodes are left when those with one neighbour or none are taken away, again and again."""
    count = len(starts) - 1
    degree, left = np.zeros(count, np.int64), np.ones(count, np.bool_)
    queue, last = np.empty(count, np.int64), 0
    for k in range(count):
        for j in ends[starts[k] : starts[k + 1]]:
            degree[k] += j != k
        if degree[k] <= 1:
            queue[last] = k
            last += 1
    for at in range(count):
        if at == last:
            break
        k = queue[at]
        left[k] = False
        for j in ends[starts[k] : starts[k + 1]]:
            if j != k and left[j]:
                degree[j] -= 1
                if degree[j] == 1:
                    queue[last] = j
                    last += 1
    return left


def eliminate(tail: Array, head: Array, conductance: Array, current: Array, count: int) -> Array:
    """t with t_0 = 0 and Σ_j G_ij (t_i − t_j) = Σ_j B_ij for the other nodes; 0 where a part can drift.

    Edges may be parallel: G is the sum of ``conductance`` either way, B that of ``current`` out less that in.
    Work and memory are those of a band as wide as the edges are long, not counting those to node 0.

    >>> eliminate(np.array([0, 1]), np.array([1, 2]), np.array([2.0, 1]), np.array([-2.0, -3]), 3).tolist()
    [0.0, 1.0, 4.0]
    """
    far, near = np.maximum(tail, head), np.minimum(tail, head)
    # Row k holds the edges of k to earlier nodes: column 0 to node 0, column d to node k − d.
    column = np.where(near == 0, 0, far - near)
    width = int(column.max(initial=0)) + 1
    used = far != near
    place = (far * width + column)[used]
    g = np.bincount(place, conductance[used], count * width).reshape(count, width)
    b = np.bincount(place, np.where(tail == far, current, -current)[used], count * width).reshape(
        count, width
    )
    return _eliminate(g, b)


@njit(nogil=True, cache=True)
def _eliminate(g, b):
    """t, by G and B of every node and earlier ones, which it takes apart."""
    count, width = g.shape
    pushes, share, push, t = np.zeros(count), np.zeros(width), np.zeros(width), np.zeros(count)
    for k in range(count - 1, 0, -1):
        w = min(width - 1, k - 1)  # of the nodes before
        total = g[k, : w + 1].sum()
        if not total > 0:
            g[k] = 0.0
            continue
        for c in range(w + 1):
            share[c], push[c] = g[k, c] / total, b[k, c] / total
            pushes[k] += push[c]
        for a in range(1, w + 1):
            own, out = g[k, a], b[k, a]
            if own == 0 and out == 0:
                continue
            g[k - a, 0] += own * share[0]
            b[k - a, 0] += own * push[0] - out * share[0]
            for c in range(a + 1, w + 1):
                g[k - a, c - a] += own * share[c]
                b[k - a, c - a] += own * push[c] - out * share[c]
        for c in range(w + 1):
            g[k, c] = share[c]
    for k in range(1, count):
        t[k] = pushes[k] + g[k, 0] * t[0]
        for a in range(1, min(width - 1, k - 1) + 1):
            t[k] += g[k, a] * t[k - a]
    return t


def balanced_shift(
    tail: Array, head: Array, rate: Array, cost: Array, count: int, goal: float, *, steps: int = 100
) -> tuple[Array, int] | None:
    """The t, with t_0 = 0, that balances rate·cost at every node, and the number of reads of the costs.

    A Newton step changes no cost by more than a factor e, so that F falls; far from balance nodes are
    balanced one by one in between, exactly. None where the elimination would take too long.

    >>> ends = np.array([0, 1])
    >>> t, _ = balanced_shift(ends, ends[::-1], np.full(2, 2.0), np.array([1e-60, 1e-12]), 2, 0.0)
    >>> np.isclose(t, [0, np.log(1e48) / 4]).tolist()
    [True, True]
    """
    nodes = order(tail, head, count)
    if nodes is None:
        return None
    place = np.empty(count, int)
    place[nodes] = np.arange(count)
    tail, head = place[tail], place[head]
    at = _incidence(tail, head, count)
    t = np.zeros(count)
    done = 0
    for done in range(steps):
        marginal = rate * grown(cost, rate * (t[head] - t[tail]))
        into, out = np.bincount(head, marginal, count)[1:], np.bincount(tail, marginal, count)[1:]
        total = into + out
        worst = float(np.max(np.abs(into - out) / np.where(total > 0, total, 1.0), initial=0.0))
        if worst <= goal:
            break
        if worst > _FAR and done % 3 != 2:
            t = t + _swept(marginal, rate, *at)
            continue
        move = eliminate(tail, head, rate * marginal, marginal, count)
        size = float(np.max(np.abs(rate * (move[head] - move[tail])), initial=0.0))
        t = t + move / max(1.0, size)
        if size < 1e-7:  # Newton's method doubles the digits
            break
    return t[place], done + 1


def grown(cost: Array, u: Array) -> Array:
    """cost·exp(u), also where exp(u) alone would overflow."""
    half = np.exp(u / 2)
    return cost * half * half


def _incidence(tail: Array, head: Array, count: int) -> tuple[Array, Array, Array, Array]:
    """The edges into node k are ``into[starts[k]:starts[k + 1]]``, and likewise those out."""
    parts: list[Array] = []
    for end in (head, tail):
        parts.append(np.argsort(end, kind="stable"))
        parts.append(np.concatenate([[0], np.cumsum(np.bincount(end, minlength=count))]))
    return parts[0], parts[1], parts[2], parts[3]


@njit(nogil=True, cache=True)
def _swept(marginal, rate, into, into_starts, out, out_starts):
    """Every node balanced in turn: for one rate exactly, for several nearly."""
    count = len(into_starts) - 1
    marginal, t = marginal.copy(), np.zeros(count)
    for k in range(1, count):
        inward, outward = into[into_starts[k] : into_starts[k + 1]], out[out_starts[k] : out_starts[k + 1]]
        m, n, rising, falling = 0.0, 0.0, 0.0, 0.0
        for e in inward:
            m += marginal[e]
            rising += rate[e] * marginal[e]
        for e in outward:
            n += marginal[e]
            falling += rate[e] * marginal[e]
        if m > 0 and n > 0:
            t[k] = (np.log(n) - np.log(m)) / (rising / m + falling / n)
            for e in inward:
                marginal[e] *= np.exp(t[k] * rate[e])
            for e in outward:
                marginal[e] *= np.exp(-t[k] * rate[e])
    return t
