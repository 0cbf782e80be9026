"""Weakly tied groups in a network of blocks: mostly there are none, and its strong ties show that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from balproof.balance.blocks.pairs import Pair, Side
from balproof.balance.blocks.problem import Balance, BlockProblem
from balproof.balance.blocks.sparse_pair import SparsePair
from balproof.balance.clusters import Cuts, Edges

Array = np.ndarray

_TIE = 1e-4
"""Where ties above this fraction of what flows at their ends hold all units together there are no groups."""

_FEW = 16
"""Weights of a unit in a block that are looked at first."""


def cuts_of_blocks(
    problem: BlockProblem, h: Array, balance: Balance | None = None, *, most: int = 1_000_000
) -> float | None:
    """The largest relative imbalance of what crosses the boundary of a weakly tied group; 0 without any.

    Some weights of every unit mostly show that there is none; otherwise it takes an edge for each weight.
    None where that would be more than ``most``, and for units of other degrees than 1.

    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> ties = np.array([[0, 1, 1e-8, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 3e-8, 1, 0]])
    >>> problem = BlockProblem.build(infer(load({"J": ties})), Costs.parse("l2"))
    >>> round(cuts_of_blocks(problem, np.zeros(4)), 6)
    0.8
    """
    ends = [tuple(_nodes(side, problem.active) for _, side in pair.sides()) for pair in problem.pairs]
    for (_, a), (_, b) in ends:
        sizes = np.abs(np.concatenate([a, b]))
        if np.any((sizes != 0) & (sizes != 1)) or any(
            np.any(s * a > 0) and np.any(s * b > 0) for s in (1, -1)
        ):
            return None
    if _held(problem, ends, h, problem.balance(h) if balance is None else balance):
        return 0.0
    if problem.size > most:
        return None
    return Cuts.of(_edges(problem, ends, h, [_all(pair) for pair in problem.pairs])).imbalance


Ends = Sequence[tuple[tuple[Array, Array], ...]]
"""Of every block, for rows and for columns: the node and the coefficient of each."""

Places = tuple[Array, Array]
"""Rows of a block, and columns within their group."""


def _held(problem: BlockProblem, ends: Ends, h: Array, balance: Balance) -> bool:
    """Whether few strong ties hold all together; a sum of costs is at least the largest of them."""
    edges = _edges(problem, ends, h, [_some(pair) for pair in problem.pairs])
    into, out = (np.concatenate([[0.0], total]) for total in (balance.incoming, balance.outgoing))
    strong = edges.rate * edges.cost > _TIE * np.maximum(into[edges.head], out[edges.tail])
    tail, head = edges.tail[strong], edges.head[strong]
    graph = sparse.coo_array((np.ones(len(tail), np.int8), (tail, head)), (edges.count, edges.count)).tocsr()
    groups = connected_components(graph, connection="strong")[1]
    nodes = np.flatnonzero(problem.active) + 1
    # All in one group, and with what does not move if anything is tied to it.
    tied = any(np.any(node[0] == 0) for block in ends for node in block)
    return len(np.unique(groups[np.append(nodes, 0) if tied else nodes])) <= 1


def _all(pair: Pair) -> Places:
    if isinstance(pair, SparsePair):
        return pair.support()
    count, columns = pair.weights.shape[:2]
    i, j = np.divmod(np.arange(count * columns), columns)
    return i, j


def _some(pair: Pair) -> Places:
    """Some columns of every row and rows of every column, at random: few hold a random graph together."""
    if isinstance(pair, SparsePair):
        return pair.support()
    rng = np.random.default_rng(0)

    def some(count: int, most: int) -> Array:
        if most <= _FEW:
            return np.tile(np.arange(most), count)
        return rng.integers(most, size=count * _FEW)

    count, columns = pair.weights.shape[:2]
    rows, width = count // pair.groups, pair.groups * columns
    across, down = some(count, columns), some(width, rows)
    i, k = np.repeat(np.arange(count), min(_FEW, columns)), np.repeat(np.arange(width), min(_FEW, rows))
    return np.concatenate([i, k // columns * rows + down]), np.concatenate([across, k % columns])


def _edges(problem: BlockProblem, ends: Ends, h: Array, places: Sequence[Places]) -> Edges:
    """Costs at h as a directed graph: scale k is node k + 1, what does not move node 0."""
    tails, heads, rates, costs = ([np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0)], [np.zeros(0)])
    for pair, ((left, a), (right, b)), (i, j) in zip(problem.pairs, ends, places, strict=True):
        across = j + i // (len(pair.rows.unit) // pair.groups) * (len(pair.columns.unit) // pair.groups)
        e, y = pair.factors(h)
        cost = pair.factor * pair.costs_at(i, j) * e[i] * y[across]
        row, column = left[i], right[across]
        kept = (cost > 0) & (row != column)
        inward = (a[i] > 0) | (b[across] < 0)
        tails.append(np.where(inward, column, row)[kept])
        heads.append(np.where(inward, row, column)[kept])
        rates.append(np.full(int(kept.sum()), pair.power))
        costs.append(cost[kept])
    joined = (np.concatenate(part) for part in (tails, heads, rates, costs))
    tail, head, rate, cost = joined
    return Edges(len(h) + 1, tail, head, rate, cost)


def _nodes(side: Side, active: Array) -> tuple[Array, Array]:
    """The node of every entry of a side, and its coefficient: both 0 where nothing moves."""
    moving = side.moves(active)
    return np.where(moving, side.unit + 1, 0), np.where(moving, side.coefficient, 0.0)
