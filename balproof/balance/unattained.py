"""Where no rescaling is best: which weights go to nothing on the way to the infimum, and what it is.

A weight off every circulation of A falls along some direction that raises no cost (`existence`). With all
such weights gone, the rest has a circulation, and its least cost is the infimum of the whole: the rest stays
what it is along the sum of these directions, and the others cost as little there as one likes.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.components import walks
from balproof.balance.existence import existence
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.balance.state import BALANCED, Iterate, Progress

Array = np.ndarray

LARGEST = 20_000
"""Above so many weights the falling ones are found by strong components alone, and balanced by sweeps."""

_ROUNDS = 50


def falling(problem: BalanceProblem) -> Array | None:
    """Which weights go to nothing, dead units' among them; None where that was not decided.

    >>> from balproof.importers import load
    >>> falling(BalanceProblem.build(load({"J": [[0.0, 1.0], [2.0, 0.0]], "W_out": [[1.0, 0.0]]}))).tolist()
    [False, False, True]
    """
    moves = np.ones(problem.count, dtype=bool)
    moves[list(problem.left_out)] = False
    if len(problem.weights) > LARGEST:
        found = walks(problem.A, moves)
        return None if found is None else found.off
    gone = np.zeros(len(problem.weights), dtype=bool)
    for _ in range(_ROUNDS):
        left = np.flatnonzero(~gone)
        rest = dataclasses.replace(problem.only(~gone), active=moves)
        answer = existence(rest)
        if answer.attained is not False:
            return gone if answer.attained else None
        h = answer.direction or ()
        falls = [sum((c * h[k] for k, c in row), Fraction(0)) < 0 for row in rest.rows]
        gone[left[falls]] = True
    return None


_NEAR, _FARTHEST = 12.0, 300.0
"""How far, in logarithms, weights that go to nothing are taken, and the most that a scale moves for that."""


def toward_infimum(problem: BalanceProblem, progress: Progress | None = None) -> Iterate | None:
    """A state near the infimum: what is on closed walks balanced, and all else nearly nothing.

    None where the weights are no blocks, or no edges of a graph. Dead units stay where they are.
    """
    found = walks(problem.A, problem.active)
    if found is None or not problem.in_range:
        return None
    rest = problem.only(~found.off)
    blocks = BlockProblem.build(rest.manifold, rest.costs)
    if blocks is None:
        return None
    state = sweeps(blocks, progress=progress)
    levels = np.where(problem.active, found.levels(), 0)
    h = state.h - min(_NEAR, _FARTHEST / max(1, int(np.abs(levels).max(initial=0)))) * levels
    history = (problem.cost(np.zeros(problem.count)), problem.cost(h))
    return Iterate(h, "sweeps toward the infimum", problem.imbalance(h), state.passes + 2, history)


def infimum_of(problem: BalanceProblem) -> tuple[float | None, tuple[str, ...]]:
    """What the cost falls toward where it is not attained, and which weights go to nothing on the way."""
    gone = falling(problem)
    if gone is None:
        return None, ()
    names = tuple(problem.element(int(i)) for i in np.flatnonzero(gone))
    rest = problem.only(~gone)
    if not rest.in_range:
        return None, names
    if len(rest.weights) > LARGEST:
        blocks = BlockProblem.build(rest.manifold, rest.costs)
        if blocks is None:
            return None, names
        state = sweeps(blocks)
    else:
        state = newton(rest)
    return (rest.cost(state.h) if state.imbalance <= BALANCED else None), names
