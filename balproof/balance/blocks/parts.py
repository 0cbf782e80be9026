"""Parts of a network of blocks that nothing holds: their scales can move together and no weight changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from balproof.balance.blocks.problem import BlockProblem

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Parts:
    """Scales that blocks tie together, where nothing holds them.

    ``loose`` is the number of the part of each scale that can move along with the others of its part, +1 for
    some and −1 for others, while no weight changes; −1 for others. ``at_odds``: whether there is a
    part that nothing holds and that cannot move so, since the signs around some cycle do not fit.
    """

    loose: Array
    at_odds: bool

    @staticmethod
    def of(problem: BlockProblem) -> Parts:
        """By the graph of scales and blocks, each once for +1 and once for −1: what joins both cannot move.

        Everything that stays where it is is one node, joined to both. So is, to be safe, what moves with
        another coefficient than ±1.
        """
        n, groups = problem.manifold.count, sum(pair.joined[2] for pair in problem.pairs)
        ground = 2 * (n + groups)
        tails: list[Array] = []
        heads: list[Array] = []
        at = 2 * n
        for pair in problem.pairs:
            for turn, side, own in zip((1, -1), (pair.rows, pair.columns), pair.joined[:2], strict=True):
                free = side.moves(problem.active) & (np.abs(side.coefficient) == 1)
                group = at + own
                same = turn * side.coefficient > 0
                for sign in (0, 1):
                    tails.append(np.where(free, side.unit + sign * n, ground))
                    heads.append(group + np.where(same == (sign == 0), 0, groups))
            at += pair.joined[2]
        i, j = (np.concatenate(x) if x else np.zeros(0, int) for x in (tails, heads))
        size = ground + 1
        graph = sparse.coo_array((np.ones(len(i), bool), (i, j)), (size, size))
        part = connected_components(graph, directed=False)[1]
        plus, minus = part[:n], part[n : 2 * n]
        loose = np.where(problem.active & (plus != minus), np.minimum(plus, minus), -1)
        apart = problem.active & (plus == minus) & (plus != part[ground])
        return Parts(loose, bool(apart.any()))

    def pinned(self, problem: BlockProblem, weight: Array) -> BlockProblem:
        """The same with one scale held in each part that is loose.

        There F does not change along the part, so that its minimum with one of them held is one of F. It is
        the one of the greatest ``weight``: the others are then held best.
        """
        loose = np.flatnonzero(self.loose >= 0)
        order = loose[np.argsort(-weight[loose], kind="stable")]
        held = order[np.unique(self.loose[order], return_index=True)[1]]
        active = problem.active.copy()
        active[held] = False
        return replace(problem, active=active) if len(held) else problem
