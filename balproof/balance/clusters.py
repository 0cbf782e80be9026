"""Groups of units that hang together strongly and on the rest weakly: the balance of a cut, and its repair.

Costs whose rows have at most two scales, of opposite signs, are the edges of a directed graph, with one node
for all that does not move. A unit's imbalance says nothing about a cut that only weak edges cross: the state
of a group tied to the rest by costs of 1e-60 can be wrong by any factor while all its units look balanced.
So edges are compared with the strongest at their two ends, groups are strongly connected components of the
strong ones, contracted, and so on; what crosses a cut is summed by itself, never got as a difference.
Compare aggregation in multilevel solvers for Markov chains (Horton, Leutenegger, 1994).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components

from balproof.balance.elimination import balanced_shift, grown
from balproof.balance.problem import BalanceProblem

Array = np.ndarray

STRONG = 0.3
"""An edge is strong if it is more than this fraction of the strongest out of its tail and into its head."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Costs c_e·exp(rate_e·(x[head_e] − x[tail_e])) between ``count`` nodes; node 0 is what does not move."""

    count: int
    tail: Array
    head: Array
    rate: Array
    cost: Array

    def shifted(self, x: Array) -> Edges:
        """The costs after x has been added to the nodes."""
        cost = grown(self.cost, self.rate * (x[self.head] - x[self.tail]))
        return Edges(self.count, self.tail, self.head, self.rate, cost)

    def contracted(self, label: Array) -> Edges:
        """Nodes of one label made one, and parallel edges of one rate too; label 0 is that of node 0."""
        label = label.astype(np.int64)  # SciPy numbers components by 32 bits, and keys are squares of that
        tail, head, count = label[self.tail], label[self.head], int(label.max()) + 1
        keep = tail != head
        rates, kind = np.unique(self.rate, return_inverse=True)
        key = (tail[keep] * count + head[keep]) * len(rates) + kind.ravel()[keep]
        used, place = np.unique(key, return_inverse=True)
        cost = np.bincount(place.ravel(), self.cost[keep], len(used))
        ends, kind = np.divmod(used, len(rates))
        tail, head = np.divmod(ends, count)
        return Edges(count, tail, head, rates[kind], cost)

    def strongest(self) -> Array:
        """Of every edge, the largest marginal cost out of its tail or into its head."""
        flow = self.rate * self.cost
        found = np.zeros((2, self.count))
        np.maximum.at(found[0], self.tail, flow)
        np.maximum.at(found[1], self.head, flow)
        found[:, 0] = 0.0  # what does not move is no group of its own to compare with
        return np.maximum(found[0, self.tail], found[1, self.head])

    def imbalance(self) -> Array:
        """|in − out|/(in + out) of the marginal costs, for every node but that which does not move."""
        marginal = self.rate * self.cost
        into, out = (np.bincount(end, marginal, self.count)[1:] for end in (self.head, self.tail))
        total = into + out
        return np.abs(into - out) / np.where(total > 0, total, 1.0)


@dataclass(frozen=True, eq=False)
class Digraph:
    """A problem as a directed graph: h = stretch·x on its ``scales``, the nodes 1, 2, …

    ``terms`` are (weights, factor, power), one for each term of the cost; a weight without a moving scale is
    no edge. ``stretch`` makes both ends of an edge move it alike, where units have other degrees than 1.
    """

    scales: Array
    stretch: Array
    tail: Array
    head: Array
    rate: Array
    terms: tuple[tuple[Array, float, float], ...]

    @staticmethod
    def of(problem: BalanceProblem) -> Digraph | None:
        """None for costs that are no sums of powers, for three scales at a weight or two of one sign.

        Also where degrees differ around a cycle, so that no group of units can move as one.

        >>> from balproof.importers import load
        >>> graph = Digraph.of(BalanceProblem.build(load("tests/data/chain.json")))
        >>> list(zip(graph.tail.tolist(), graph.head.tolist()))
        [(0, 1), (1, 2), (2, 0)]
        """
        scales = np.flatnonzero(problem.active)
        if problem.exponents is None:
            return None
        a = sparse.csr_array(problem.A[:, scales])
        a.sum_duplicates()
        a.eliminate_zeros()
        entries = a.tocoo()
        row, column = entries.coords
        ends: list[Array] = []
        sizes: list[Array] = []
        for side in (entries.data < 0, entries.data > 0):
            if np.bincount(row[side], minlength=a.shape[0]).max(initial=0) > 1:
                return None
            node, size = np.zeros(a.shape[0], int), np.zeros(a.shape[0])
            node[row[side]], size[row[side]] = column[side] + 1, np.abs(entries.data[side])
            ends.append(node)
            sizes.append(size)
        (tail, head), (out, into) = ends, sizes
        stretch = _stretch(tail, head, out, into, len(scales))
        if stretch is None:
            return None
        speed = np.maximum(out * stretch[tail], into * stretch[head])
        moved = speed > 0
        terms = [
            (np.arange(part.start, part.stop)[moved[part]], factor, power)
            for part, found in problem.exponents
            for factor, power in found
        ]
        at = np.concatenate([own for own, _, _ in terms]) if terms else np.zeros(0, int)
        powers = np.repeat([power for _, _, power in terms], [len(own) for own, _, _ in terms])
        return Digraph(scales, stretch[1:], tail[at], head[at], powers * speed[at], tuple(terms))

    def edges(self, weights: Array) -> Edges:
        """The costs for these absolute weights: one read of them."""
        costs = [factor * weights[own] ** power for own, factor, power in self.terms]
        flat = np.concatenate(costs) if costs else np.zeros(0)
        return Edges(len(self.scales) + 1, self.tail, self.head, self.rate, flat)

    def lifted(self, x: Array, count: int) -> Array:
        """x on the nodes as a change of the ``count`` log-scales."""
        h = np.zeros(count)
        h[self.scales] = self.stretch * x[1:]
        return h


def _stretch(tail: Array, head: Array, out: Array, into: Array, count: int) -> Array | None:
    """s with out·s[tail] = into·s[head] on every edge between nodes that move; None if there is none."""
    inner = (tail > 0) & (head > 0)
    if np.all(out[inner] == into[inner]):
        return np.ones(count + 1)
    i, j, step = tail[inner], head[inner], np.log(out[inner]) - np.log(into[inner])
    part = connected_components(_graph(i, j, count + 1), directed=False)[1]
    first = np.unique(part, return_index=True)[1]
    first = first[first > 0]  # one node of every part, tied to node 0, from which all are then found
    tied = np.zeros(len(first), int)
    i, j, step = np.concatenate([i, tied]), np.concatenate([j, first]), np.concatenate([step, tied])
    found, before = breadth_first_order(_graph(i, j, count + 1), 0, directed=False)
    steps = dict(zip((i * (count + 1) + j).tolist(), step.tolist(), strict=True))
    logs = np.zeros(count + 1)
    for node in found[1:].tolist():
        origin = int(before[node])
        there = steps.get(origin * (count + 1) + node)
        logs[node] = logs[origin] + (there if there is not None else -steps[node * (count + 1) + origin])
    return np.exp(logs) if np.all(np.abs(logs[i] + step - logs[j]) < 1e-9) else None


def _graph(tail: Array, head: Array, count: int) -> sparse.csr_array:
    ones = np.ones(len(tail), np.int8)
    return sparse.csr_array(sparse.coo_array((ones, (tail, head)), (count, count)))


# --- levels -----------------------------------------------------------------------------------------------


def levels(edges: Edges) -> Iterator[Array]:
    """Labels of ever larger groups, each of the groups before: strongest ties first."""
    while edges.count > 1:
        label = _grouped(edges)
        if label is None:
            return
        yield label
        edges = edges.contracted(label)


def _grouped(edges: Edges) -> Array | None:
    """One level: components of the edges above θ·(the strongest at their ends), θ as large as groups any."""
    n = edges.count
    flow, top = edges.rate * edges.cost, edges.strongest()
    ratio = np.where(top > 0, flow / np.where(top > 0, top, 1.0), 0.0)
    bound = STRONG
    while True:
        strong = ratio > bound
        count, label = connected_components(
            _graph(edges.tail[strong], edges.head[strong], n), connection="strong"
        )
        if count < n:
            return _ground_first(label)
        rest = ratio[~strong].max(initial=0.0)
        if not rest > 0:
            return None
        bound = min(bound, rest) / 10


def _ground_first(label: Array) -> Array:
    """The labels renumbered, so that node 0 has label 0."""
    swapped = label.copy()
    swapped[label == label[0]], swapped[label == 0] = 0, label[0]
    return swapped


@dataclass(frozen=True, eq=False)
class Cuts:
    """The groups at one state: ``labels`` of every level, each of the level before, and its ``edges``."""

    edges: Edges
    labels: tuple[Array, ...]

    @staticmethod
    def of(edges: Edges) -> Cuts:
        return Cuts(edges, tuple(levels(edges)))

    def composed(self) -> list[Array]:
        """The labels of every level as labels of the nodes."""
        found: list[Array] = []
        whole = np.arange(self.edges.count)
        for label in self.labels:
            whole = label[whole]
            found.append(whole)
        return found

    @cached_property
    def imbalance(self) -> float:
        """The largest relative imbalance of what crosses the boundary of a group."""
        worst, edges = 0.0, self.edges
        for label in self.labels:
            edges = edges.contracted(label)
            worst = max(worst, float(np.max(edges.imbalance(), initial=0.0)))
        return worst

    def shift(self, goal: float, *, units: bool) -> tuple[Array, float]:
        """x that balances the groups of every level, the strongest tied first, and the reads it took.

        With ``units`` also the single nodes, which solves the problem where they are few.
        """
        x = np.zeros(self.edges.count)
        edges, whole = self.edges, np.arange(self.edges.count)
        reads, total = 0.0, max(len(edges.cost), 1)
        for label in (None, *self.labels):
            if label is not None:
                edges, whole = edges.contracted(label), label[whole]
            elif not units:
                continue
            found = balanced_shift(edges.tail, edges.head, edges.rate, edges.cost, edges.count, goal)
            if found is None:
                continue
            move, steps = found
            reads += steps * len(edges.cost) / total
            edges = edges.shifted(move)
            x += move[whole]
        return x, reads


def between_groups(
    problem: BalanceProblem, graph: Digraph, h: Array, tolerance: float
) -> tuple[Array, float, float, float]:
    """h with strongly tied groups balanced against each other, if they are not: h, imbalances, reads.

    The imbalances are the largest of a unit, and the largest of a unit or a group.
    """
    cuts = Cuts.of(graph.edges(problem.scaled(h)))
    reads = 1.0
    if cuts.imbalance > tolerance:
        x, more = cuts.shift(1e-15, units=False)
        trial = h + graph.lifted(x, problem.count)
        after = Cuts.of(graph.edges(problem.scaled(trial)))
        reads += more + 1
        if after.imbalance < cuts.imbalance:
            h, cuts = trial, after
    imbalance = float(np.max(cuts.edges.imbalance(), initial=0.0))
    return h, imbalance, max(imbalance, cuts.imbalance), reads


def balanced_groups(problem: BalanceProblem, graph: Digraph, h: Array, group: Array) -> Array:
    """The change of h that balances these groups, one number for each of `graph.scales`: one read.

    0 where there are too many of them.
    """
    label = np.concatenate([[0], group + 1])
    edges = graph.edges(problem.scaled(h)).contracted(label)
    found = balanced_shift(edges.tail, edges.head, edges.rate, edges.cost, edges.count, 1e-15)
    return graph.lifted(found[0][label], problem.count) if found else np.zeros(problem.count)


def cut_imbalance(problem: BalanceProblem, h: Array) -> float | None:
    """The largest |flow in − flow out|/(in + out) of a group of strongly tied units; 0 if there is none.

    None where the problem is no directed graph (`Digraph.of`).

    >>> from balproof.importers import load
    >>> ties = [[0, 1, 1e-8, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 3e-8, 1, 0]]
    >>> problem = BalanceProblem.build(load({"J": np.array(ties)}))
    >>> problem.imbalance(np.zeros(4)) < 1e-14, round(cut_imbalance(problem, np.zeros(4)), 6)
    (True, 0.8)
    """
    graph = Digraph.of(problem)
    return None if graph is None else Cuts.of(graph.edges(problem.scaled(h))).imbalance
