"""The fast method: red–black sweeps with a coarse correction.

A sweep balances all units of one colour at once, which is exact because units of one colour share no
weight. Sweeps even out neighbouring units fast and whole layers against each other slowly: on a deep
network that mode dies like diffusion. The coarse correction moves every layer by one common scale and
takes that mode out.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy import sparse

from balproof.balance.clusters import Digraph, balanced_groups, between_groups
from balproof.balance.coarse import shift_of_groups
from balproof.balance.colouring import coloured
from balproof.balance.problem import BalanceProblem
from balproof.balance.state import Iterate, Progress
from balproof.balance.steps import columns_of, step

Array = np.ndarray


def colours(problem: BalanceProblem) -> list[Array]:
    """Active units in groups without a common weight; layers alternate between two colours."""
    units = np.flatnonzero(problem.active)
    pattern = sparse.csr_array(problem.A[:, units] != 0, dtype=np.int32)
    if len(units) > _MANY:
        colour = coloured(sparse.csr_array(pattern.T @ pattern))
        order = np.argsort(colour, kind="stable")
        return [units[own] for own in np.split(order, np.cumsum(np.bincount(colour))[:-1])]
    neighbours = (pattern.T @ pattern).tocoo()
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(units)))
    i, j = neighbours.coords
    graph.add_edges_from((int(a), int(b)) for a, b in zip(i, j, strict=True) if a < b)
    colour = nx.greedy_color(graph, strategy="connected_sequential_bfs") if len(graph) else {}
    groups: dict[int, list[int]] = {}
    for node, c in colour.items():
        groups.setdefault(c, []).append(node)
    return [units[np.array(sorted(groups[c]))] for c in sorted(groups)]


@dataclass(frozen=True, eq=False)
class Coarse:
    """The problem of whole groups of units, for costs that are all multiples of one power p.

    On groups F becomes Σ_b C_b·exp(p·a_b·t): ``distinct`` holds the different rows a_b of A summed over
    groups, ``label`` says which of them each weight has, and ``lift`` takes t to h.
    """

    power: float
    lift: sparse.csr_array
    distinct: Array
    label: Array

    @staticmethod
    def build(problem: BalanceProblem) -> Coarse | None:
        """None where the costs have several powers, or nothing moves.

        >>> from balproof.importers import load
        >>> Coarse.build(BalanceProblem.build(load("tests/data/chain.json"))).distinct.tolist()
        [[-1.0, 1.0], [0.0, -1.0], [1.0, 0.0]]
        """
        if problem.single_power is None or not problem.active.any():
            return None
        moved = np.flatnonzero(problem.active)
        used, group = np.unique(problem.manifold.groups[moved], return_inverse=True)
        lift = sparse.csr_array((np.ones(len(moved)), (moved, group.ravel())), (problem.count, len(used)))
        distinct, label = np.unique((problem.A @ lift).toarray(), axis=0, return_inverse=True)
        return Coarse(problem.single_power, lift, distinct, label.ravel())

    def correction(self, problem: BalanceProblem, h: Array) -> Array:
        """The change of h, constant on every group, that minimises F: one read of the weights for C."""
        cost = np.bincount(self.label, problem.marginal(h), len(self.distinct)) / self.power
        return self.lift @ shift_of_groups(cost, self.distinct, self.power)


_MANY = 5_000
"""More units than this are coloured in compiled code."""


def multilevel(
    problem: BalanceProblem,
    *,
    tolerance: float = 1e-13,
    sweeps: int = 2_000,
    coarse: bool = True,
    patience: int | None = None,
    progress: Progress | None = None,
) -> Iterate:
    """Red–black sweeps with coarse corrections, until imbalance and cut imbalance are at most ``tolerance``.

    Groups of strongly tied units are corrected where sweeps are slow, and before the end (`clusters`).
    With ``coarse=False`` there are sweeps alone, and only the imbalance of units ends them. It ends early
    where more than ``patience`` further sweeps are to be expected.

    >>> from balproof.importers import load
    >>> multilevel(BalanceProblem.build(load("tests/data/chain.json"))).imbalance <= 1e-13
    True
    """
    h = np.zeros(problem.count)
    history = [problem.cost(h)]
    passes = 0.0
    by_column = sparse.csc_array(problem.A)
    parts = [columns_of(problem, units, by_column) for units in colours(problem)]
    graph = Digraph.of(problem) if coarse and parts else None
    layers = np.unique(problem.manifold.groups[problem.active], return_inverse=True)[1]
    many = graph is not None and layers.max(initial=0) >= _DENSE
    groups = Coarse.build(problem) if coarse and not many else None
    total = max(len(problem.weights), 1)
    imbalance = worst = problem.imbalance(h)
    recent: list[float] = [imbalance]
    for sweep in range(sweeps):
        if graph is not None and (worst <= tolerance or _remaining(recent, tolerance) > _SLOW):
            h, imbalance, worst, reads = between_groups(problem, graph, h, tolerance)
            passes += reads
            recent[-1] = worst
        if worst <= tolerance or not parts or (worst < 1e-11 and stagnant(recent)):
            break
        if patience is not None and _remaining(recent, tolerance) > patience:
            break
        if groups is not None:
            h = h + groups.correction(problem, h)
            passes += 1
        elif graph is not None and many:
            h = h + balanced_groups(problem, graph, h, layers)
            passes += 1
        for columns in parts:
            logs = problem.A @ h
            h[columns.units] += step(problem, logs, columns)
            passes += len(columns.edges) / total
        history.append(problem.cost(h))
        imbalance = worst = problem.imbalance(h)
        passes += 1
        recent.append(imbalance)
        if progress and progress(f"sweep {sweep + 1}: imbalance {imbalance:.1e}"):
            break
    return Iterate(h, "multilevel", imbalance, passes, tuple(history))


_DENSE = 100
"""More layers than this are not moved by the dense equations of `Coarse`, where an elimination can do it."""

_SLOW = 20
"""Sweeps still to be expected from which groups of units are looked for."""


def _remaining(recent: list[float], tolerance: float, over: int = 3) -> float:
    """The sweeps still to be expected at the rate of the last ones; 0 while there are too few to tell."""
    if len(recent) <= over + 1 or not recent[-1] > tolerance:
        return 0.0
    rate = np.log(recent[-1] / recent[-1 - over]) / over if recent[-1 - over] > 0 else 0.0
    return float(np.log(tolerance / recent[-1]) / rate) if rate < 0 else np.inf


def stagnant(recent: list[float], over: int = 8) -> bool:
    """Whether the last values are hardly below what was reached before: rounding puts a floor there."""
    return len(recent) > over and min(recent[-over:]) > 0.9 * min(recent[:-over])


def slow(recent: list[float], tolerance: float, sweeps: float = 15) -> bool:
    """Whether more than so many sweeps are still to be expected at the rate of the last two."""
    if len(recent) < 3 or not recent[-1] > tolerance:
        return False
    rate = np.log(recent[-1] / recent[-3]) / 2
    return bool(rate >= 0 or np.log(tolerance / recent[-1]) / rate > sweeps)
