"""Is the minimum attained? Every weight of a moving scale has to lie on a closed walk."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from balproof.balance.blocks.pairs import Pair, Side
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.blocks.sparse_pair import SparsePair

Array = np.ndarray

_SAMPLED = 1 << 18
"""Of blocks with zeros and more weights than this a part of the weights is looked at first."""

_PER_UNIT = 8
"""So many weights of each row and each column."""


def strongly_connected(problem: BlockProblem) -> bool | None:
    """Whether every weight of a moving scale lies on a closed walk, so that the minimum of F is attained.

    Everything that does not move is one node. None where a weight has two scales of one sign, or where
    degrees other than 1 go around without anything that stays.
    """
    part = _walks(problem, sampled=True)[0]
    return _walks(problem, sampled=False)[0] if part is False else part


def components(problem: BlockProblem) -> tuple[Array | None, Array]:
    """Of every scale, and of all that does not move, the strong component, twice.

    First None unless `strongly_connected` says that every weight is within one.
    """
    answer, labels = _walks(problem, sampled=True)
    if not answer:
        answer, labels = _walks(problem, sampled=False)
    return labels if answer else None, labels


def _walks(problem: BlockProblem, *, sampled: bool) -> tuple[bool | None, Array]:
    """``sampled``: by a part of the weights of large blocks, which has to connect all their units."""
    ground = problem.manifold.count
    tails: list[Array] = []
    heads: list[Array] = []
    whole: list[Array] = []  # units that have to be in one strong component
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
                i, j = _support(pair, group, sampled=False)
                if np.any((sign * plus[group, i] > 0) & (sign * minus[group, j] > 0)):
                    return None, np.arange(ground + 1)
        forward = bool(np.all(plus >= 0) and np.all(minus <= 0))
        backward = bool(np.all(plus <= 0) and np.all(minus >= 0))
        if (forward or backward) and not zeros and not pair.loop:
            through = spare + np.arange(g)
            spare += g
            into, out = (columns, rows) if forward else (rows, columns)
            tails += [into.ravel(), np.repeat(through, out.shape[1])]
            heads += [np.repeat(through, into.shape[1]), out.ravel()]
            continue
        part = sampled and pair.size > _SAMPLED and not isinstance(pair, SparsePair)
        for group in range(g):
            i, j = _support(pair, group, sampled=part)
            first, second, a, b = rows[group, i], columns[group, j], plus[group, i], minus[group, j]
            up, down = (a > 0) | (b < 0), (a < 0) | (b > 0)
            tails += [second[up], first[down]]
            heads += [first[up], second[down]]
            if part:
                moved = up | down
                whole.append(np.concatenate([first[moved], second[moved]]))
    if not tails:
        return True, np.arange(ground + 1)
    i, j = np.concatenate(tails), np.concatenate(heads)
    graph = sparse.coo_array((np.ones(len(i), dtype=np.int8), (i, j)), (spare, spare)).tocsr()
    strong = connected_components(graph, connection="strong")
    if any(np.ptp(strong[1][units]) for units in whole if len(units)):
        return False, strong[1][: ground + 1]
    weak = connected_components(graph, connection="weak")
    alone = unit or bool(np.all(weak[1][np.unique(i)] == weak[1][ground]))
    return (strong[0] == weak[0] if alone else None), strong[1][: ground + 1]


def _support(pair: Pair, group: int, *, sampled: bool) -> tuple[Array, Array]:
    """Rows and columns of the costs of a group, less the diagonal of a block that feeds itself.

    ``sampled``: of some of them, among them one of every row and every column that has any.
    """
    if isinstance(pair, SparsePair):
        return pair.support()
    r = len(pair.weights) // pair.groups
    part = pair.weights[group * r : (group + 1) * r]
    mask = 0x7FFF if part.dtype.kind == "u" else None
    if not sampled:
        there = ((part & mask if mask else part) != 0).any(axis=2)
        i, j = np.nonzero(there)
    else:
        i, j = _some(part, mask)
    keep = i != j if pair.loop else np.ones(len(i), bool)
    return i[keep], j[keep]


def _some(part: Array, mask: int | None) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    r, c, _ = part.shape
    i = np.concatenate([np.repeat(np.arange(r), _PER_UNIT), rng.integers(0, r, c * _PER_UNIT)])
    j = np.concatenate([rng.integers(0, c, r * _PER_UNIT), np.repeat(np.arange(c), _PER_UNIT)])
    chosen = part[i, j]
    there = ((chosen & mask if mask else chosen) != 0).any(axis=1)
    i, j = i[there], j[there]
    more_i: list[Array] = []
    more_j: list[Array] = []
    for axis, seen in ((0, i), (1, j)):
        for at in np.setdiff1d(np.arange((r, c)[axis]), seen).tolist():
            line = part[at] if axis == 0 else part[:, at]
            found = np.flatnonzero(((line & mask if mask else line) != 0).any(axis=1))[:1]
            same = np.full(len(found), at)
            more_i.append(same if axis == 0 else found)
            more_j.append(found if axis == 0 else same)
    return np.concatenate([i, *more_i]), np.concatenate([j, *more_j])


def _nodes(side: Side, active: Array) -> tuple[Array, Array]:
    """Per entry of a side: its scale (or the ground, one past all scales), and its coefficient there."""
    moving = side.moves(active)
    return np.where(moving, side.unit, len(active)), np.where(moving, side.coefficient, 0.0)
