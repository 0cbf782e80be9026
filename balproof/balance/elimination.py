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

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

Array = np.ndarray

_DENSE = 2_500
"""Nodes up to which a matrix of all of them is kept."""

_FAR = 0.5
"""An imbalance above this is better lowered by sweeps."""

_WORK = 250_000_000
"""Multiplications of one elimination: a second or so."""


def order(tail: Array, head: Array, count: int) -> Array | None:
    """The order of elimination, last first, with node 0 in front; None where it takes more than a second.

    >>> order(np.array([0, 1, 2]), np.array([1, 2, 0]), 3).tolist()
    [0, 1, 2]
    """
    if count > _DENSE:
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


def eliminate(conductance: Array, source: Array) -> Array:
    """t with t_0 = 0 and Σ_j G_ij (t_i − t_j) = Σ_j B_ij for the others; 0 too where a part is free to drift.

    >>> g = np.array([[0, 2.0, 0], [2, 0, 1], [0, 1, 0]])
    >>> b = np.array([[0, -2.0, 0], [2, 0, -3], [0, 3, 0]])
    >>> eliminate(g, b).tolist()
    [0.0, 1.0, 4.0]
    """
    g, b = conductance.copy(), source.copy()
    n = len(g)
    np.fill_diagonal(g, 0.0)
    parts: list[tuple[Array, Array, float]] = []
    for k in range(n - 1, 0, -1):
        near = np.flatnonzero(g[k, :k])
        own = g[k, near]
        total = own.sum()
        if not total > 0:
            parts.append((near, own, 0.0))
            continue
        share, push = own / total, b[k, near] / total
        parts.append((near, share, float(push.sum())))
        at = np.ix_(near, near)
        g[at] += np.outer(own, share)
        b[at] += np.outer(own, push) + np.outer(b[near, k], share)
        g[near, near] = 0.0
    t = np.zeros(n)
    for k, (near, share, push) in zip(range(1, n), reversed(parts), strict=True):
        t[k] = share @ t[near] + push
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
    t = np.zeros(count)
    done = 0
    for done in range(steps):
        marginal = rate * grown(cost, rate * (t[head] - t[tail]))
        moved, curved = (_dense(tail, head, values, count) for values in (marginal, rate * marginal))
        into, out = moved.sum(axis=0)[1:], moved.sum(axis=1)[1:]
        total = into + out
        worst = float(np.max(np.abs(into - out) / np.where(total > 0, total, 1.0), initial=0.0))
        if worst <= goal:
            break
        if worst > _FAR and done % 3 != 2:
            t = _swept(t, moved, curved)
            continue
        move = eliminate(curved + curved.T, moved - moved.T)
        size = float(np.max(np.abs(rate * (move[head] - move[tail])), initial=0.0))
        t = t + move / max(1.0, size)
        if size < 1e-7:  # Newton's method doubles the digits
            break
    return t[place], done + 1


def grown(cost: Array, u: Array) -> Array:
    """cost·exp(u), also where exp(u) alone would overflow."""
    half = np.exp(u / 2)
    return cost * half * half


def _dense(tail: Array, head: Array, values: Array, count: int) -> Array:
    return np.bincount(tail * count + head, values, count * count).reshape(count, count)


def _swept(t: Array, moved: Array, curved: Array) -> Array:
    """Every node balanced in turn, for one rate; for several the step that does so nearly."""
    moved, curved, t = moved.copy(), curved.copy(), t.copy()
    for k in range(1, len(t)):
        into, out = moved[:, k].sum(), moved[k].sum()
        if into > 0 and out > 0:
            speed = curved[:, k].sum() / into + curved[k].sum() / out
            s = (np.log(out) - np.log(into)) / speed
            t[k] += s
            with np.errstate(divide="ignore", invalid="ignore"):
                up, down = (
                    np.nan_to_num(c / m) for c, m in ((curved[:, k], moved[:, k]), (curved[k], moved[k]))
                )
            for m in (moved, curved):
                m[:, k] *= np.exp(s * up)
                m[k] *= np.exp(-s * down)
    return t
