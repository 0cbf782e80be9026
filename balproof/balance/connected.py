"""Is the minimum attained? Every weight of a moving scale has to lie on a closed walk."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from balproof.balance.blocks import BlockProblem
from balproof.balance.pairs import Pair, Side

Array = np.ndarray


def strongly_connected(problem: BlockProblem) -> bool | None:
    """Whether every weight of a moving scale lies on a closed walk, so that the minimum of F is attained.

    Everything that does not move is one node. None where a weight has two scales of one sign, or where
    degrees other than 1 go around without anything that stays.
    """
    ground = problem.manifold.count
    tails: list[Array] = []
    heads: list[Array] = []
    spare = ground + 1  # a block without zeros: all its tails lead through one spare node to all its heads
    unit = True
    for pair, zeros in zip(problem.pairs, problem.zeros, strict=True):
        nodes, signs = zip(*(_nodes(side, problem.active) for _, side in pair.sides()), strict=True)
        unit &= all(bool(np.all(np.abs(s[s != 0]) == 1)) for s in signs)
        g = pair.groups
        rows, columns = nodes[0].reshape(g, -1), nodes[1].reshape(g, -1)
        plus, minus = signs[0].reshape(g, -1), signs[1].reshape(g, -1)
        for sign in (1, -1):
            same = (sign * plus > 0).any(axis=1) & (sign * minus > 0).any(axis=1)
            for group in np.flatnonzero(same).tolist():
                there = _support(pair, group)
                if np.any(there & (sign * plus[group] > 0)[:, None] & (sign * minus[group] > 0)[None, :]):
                    return None
        forward = bool(np.all(plus >= 0) and np.all(minus <= 0))
        backward = bool(np.all(plus <= 0) and np.all(minus >= 0))
        if (forward or backward) and not zeros and not pair.loop:
            through = spare + np.arange(g)
            spare += g
            into, out = (columns, rows) if forward else (rows, columns)
            tails += [into.ravel(), np.repeat(through, out.shape[1])]
            heads += [np.repeat(through, into.shape[1]), out.ravel()]
            continue
        for group in range(g):
            there = _support(pair, group)
            if pair.loop:
                there = there & ~np.eye(len(there), dtype=bool)
            a, b = plus[group][:, None], minus[group][None, :]
            first = np.broadcast_to(rows[group][:, None], there.shape)
            second = np.broadcast_to(columns[group][None, :], there.shape)
            up, down = there & ((a > 0) | (b < 0)), there & ((a < 0) | (b > 0))
            tails += [second[up], first[down]]
            heads += [first[up], second[down]]
    if not tails:
        return True
    i, j = np.concatenate(tails), np.concatenate(heads)
    graph = sparse.coo_array((np.ones(len(i), dtype=np.int8), (i, j)), (spare, spare)).tocsr()
    strong = connected_components(graph, connection="strong")
    weak = connected_components(graph, connection="weak")
    alone = unit or bool(np.all(weak[1][np.unique(i)] == weak[1][ground]))
    return strong[0] == weak[0] if alone else None


def _support(pair: Pair, group: int) -> Array:
    """Where a group has costs."""
    r = len(pair.weights) // pair.groups
    part = pair.weights[group * r : (group + 1) * r]
    there = (part & 0x7FFF if part.dtype.kind == "u" else part) != 0
    return np.asarray(there.any(axis=2))


def _nodes(side: Side, active: Array) -> tuple[Array, Array]:
    """Per entry of a side: its scale (or the ground, one past all scales), and its coefficient there."""
    moving = side.unit >= 0
    moving[moving] = active[side.unit[moving]]
    return np.where(moving, side.unit, len(active)), np.where(moving, side.coefficient, 0.0)
