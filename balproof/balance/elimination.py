"""Balance between weakly tied groups: Newton's method, with an elimination that subtracts nothing.

Minimise Σ_e c_e·exp(r_e·(t[head_e] − t[tail_e])). A Newton step solves, with G_ij = Σ r²c between i and j in
either direction and B_ij = Σ_{i→j} rc − Σ_{j→i} rc,

    Σ_j G_ij (t_i − t_j) = Σ_j B_ij     for every node i,

an electrical network with a source in every edge. Eliminating node k with D = Σ_j G_kj leaves such a network:
G_ij + G_ik G_kj/D and B_ij + (G_ik B_kj + B_ik G_kj)/D. Diagonals are sums of what is left, as in the
elimination of Grassmann, Taksar and Heyman (1985), and the sources stay on the edges: a weak tie is
never the difference of strong ones, so that t is right to rounding however far apart the costs are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

Array = np.ndarray

_NODES = 20_000
"""Nodes up to which each is eliminated by itself: half a second."""

_WORK = 250_000_000
"""Multiplications of one elimination: a second or so."""

_FAR = 0.5
"""An imbalance above this is better lowered by sweeps."""


def order(tail: Array, head: Array, count: int) -> Array | None:
    """The order of elimination, last first, with node 0 in front; None where it takes more than a second.

    >>> order(np.array([0, 1, 2]), np.array([1, 2, 0]), 3).tolist()
    [0, 1, 2]
    """
    if count > _NODES:
        return None
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
    size, place = count * width, far * width + column
    used = far != near
    g = np.bincount(place[used], conductance[used], size)
    b = np.bincount(place[used], np.where(tail == far, current, -current)[used], size)
    later = np.triu(np.ones((width - 1, width - 1)), 1)
    shares, pushes = np.zeros((count, width)), np.zeros(count)
    for k in range(count - 1, 0, -1):
        w = min(width - 1, k - 1)  # of the nodes before
        own, out = g[k * width : k * width + w + 1], b[k * width : k * width + w + 1]
        total = own.sum()
        if not total > 0:
            continue
        share, push = own / total, out / total
        shares[k, : w + 1], pushes[k] = share, push.sum()
        if not w:
            continue
        before = slice((k - w) * width, k * width)
        for values, added in (
            (g, np.outer(own[1:], share)),
            (b, np.outer(own[1:], push) - np.outer(out[1:], share)),
        ):
            values[before].reshape(w, width)[::-1, 0] += added[:, 0]
            # The edge from k − a to k − c, a < c, lies c − a(width + 1) from the start of row k.
            step = values.itemsize
            block = as_strided(values[(k - 1) * width :], (w, w), (-(width + 1) * step, step))
            block += later[:w, :w] * added[:, 1:]
    t = np.zeros(count)
    for k in range(1, count):
        w = min(width - 1, k - 1)
        t[k] = shares[k, 1 : w + 1] @ t[k - w : k][::-1] + pushes[k]
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
    at = _Incidence.of(tail, head, count)
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
            t = t + _swept(marginal, rate, at, count)
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


@dataclass(frozen=True, eq=False)
class _Incidence:
    """The edges into node k are ``into[starts[k]:starts[k + 1]]``, and likewise those out."""

    into: Array
    into_starts: Array
    out: Array
    out_starts: Array

    @staticmethod
    def of(tail: Array, head: Array, count: int) -> _Incidence:
        parts: list[Array] = []
        for end in (head, tail):
            parts.append(np.argsort(end, kind="stable"))
            parts.append(np.concatenate([[0], np.cumsum(np.bincount(end, minlength=count))]))
        return _Incidence(*parts)


def _swept(marginal: Array, rate: Array, at: _Incidence, count: int) -> Array:
    """Every node balanced in turn: for one rate exactly, for several nearly."""
    marginal, t = marginal.copy(), np.zeros(count)
    for k in range(1, count):
        inward = at.into[at.into_starts[k] : at.into_starts[k + 1]]
        outward = at.out[at.out_starts[k] : at.out_starts[k + 1]]
        m, n = marginal[inward], marginal[outward]
        into, out = m.sum(), n.sum()
        if into > 0 and out > 0:
            s = (np.log(out) - np.log(into)) / (rate[inward] @ m / into + rate[outward] @ n / out)
            t[k] = s
            marginal[inward] = m * np.exp(s * rate[inward])
            marginal[outward] = n * np.exp(-s * rate[outward])
    return t
