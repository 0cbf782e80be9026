"""The fast method: red–black sweeps with a coarse correction.

A sweep balances all units of one colour at once, which is exact because units of one colour share no
weight. Sweeps even out neighbouring units fast and whole layers against each other slowly: on a deep
network that mode dies like diffusion. The coarse correction moves every layer by one common scale and
takes that mode out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import networkx as nx
import numpy as np
from scipy import sparse

from balproof.balance.problem import BalanceProblem
from balproof.balance.state import Iterate
from balproof.balance.steps import columns_of, step

Array = np.ndarray


def colours(problem: BalanceProblem) -> list[Array]:
    """Active units in groups without a common weight; layers alternate between two colours."""
    units = np.flatnonzero(problem.active)
    pattern = sparse.csr_array(problem.A[:, units] != 0, dtype=np.int32)
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


def layers(problem: BalanceProblem) -> Array:
    """For every scale the number of its group: units of one layer, by their names up to the bracket."""
    stems = [name.rsplit("[", 1)[0] for name in problem.manifold.names]
    number = {stem: i for i, stem in enumerate(dict.fromkeys(stems))}
    return np.array([number[stem] for stem in stems], dtype=int)


def coarse_correction(problem: BalanceProblem, h: Array, group: Array) -> Array:
    """The change of h, constant on every group, that minimises F for one power p.

    On groups F becomes Σ_b C_b·exp(p·a_b·t), with one term for each distinct row a_b of A summed over
    groups; C_b adds up the costs of its weights, so one read of the weights is enough.
    """
    power = problem.single_power
    if power is None or not problem.active.any():
        return np.zeros(problem.count)
    used = np.unique(group[problem.active])
    position = {int(g): i for i, g in enumerate(used)}
    moved = np.flatnonzero(problem.active)
    lift = sparse.csr_array(
        (np.ones(len(moved)), (moved, [position[int(g)] for g in group[moved]])), (problem.count, len(used))
    )
    rows = (problem.A @ lift).toarray()
    distinct, label = np.unique(rows, axis=0, return_inverse=True)
    cost = np.bincount(label.ravel(), problem.marginal(h), len(distinct)) / power
    keep = np.any(distinct != 0, axis=1) & (cost > 0)
    distinct, cost = distinct[keep], cost[keep]
    t = np.zeros(len(used))
    for _ in range(50):
        weight = cost * np.exp(power * (distinct @ t))
        gradient = distinct.T @ weight
        hessian = power * (distinct.T * weight) @ distinct
        # Normalised, since layers may differ by decades; the shift keeps the step defined where a whole
        # component can move freely, as one group without visible units always can.
        scale = np.sqrt(np.diag(hessian))
        scale[scale == 0] = 1.0
        normal = hessian / np.outer(scale, scale) + 1e-13 * np.eye(len(t))
        move = -np.linalg.solve(normal, gradient / scale) / scale
        size = np.max(np.abs(power * (distinct @ move)), initial=0.0)
        t += move / max(1.0, size)  # exp changes by at most a factor e in a step
        if size < 1e-14:
            break
    return lift @ t


def multilevel(
    problem: BalanceProblem,
    *,
    tolerance: float = 1e-13,
    sweeps: int = 2_000,
    coarse: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Iterate:
    """Red–black sweeps with coarse corrections, until the imbalance is at most ``tolerance``.

    >>> from balproof.importers import load
    >>> multilevel(BalanceProblem.build(load("tests/data/chain.json"))).imbalance <= 1e-13
    True
    """
    h = np.zeros(problem.count)
    history = [problem.cost(h)]
    passes = 0.0
    by_column = sparse.csc_array(problem.A)
    parts = [columns_of(problem, units, by_column) for units in colours(problem)]
    group = layers(problem)
    total = max(len(problem.weights), 1)
    imbalance = problem.imbalance(h)
    recent: list[float] = [imbalance]
    for sweep in range(sweeps):
        if imbalance <= tolerance or not parts:
            break
        if coarse:
            h = h + coarse_correction(problem, h, group)
            passes += 1
        for columns in parts:
            logs = problem.A @ h
            h[columns.units] += step(problem, logs, columns)
            passes += len(columns.edges) / total
        history.append(problem.cost(h))
        imbalance = problem.imbalance(h)
        passes += 1
        recent.append(imbalance)
        if progress:
            progress(f"sweep {sweep + 1}: imbalance {imbalance:.1e}")
        if imbalance < 1e-11 and stagnant(recent):
            break
    return Iterate(h, "multilevel", imbalance, passes, tuple(history))


def stagnant(recent: list[float], over: int = 6) -> bool:
    """Whether the last values no longer fall: the floor that rounding puts under the imbalance."""
    last = recent[-over:]
    return len(last) == over and not any(b < 0.7 * a for a, b in pairwise(last))
