"""Boxes and edges of a directed graph on the plane, layer by layer from the top.

Source: Sugiyama, Tagawa, Toda, *Methods for visual understanding of hierarchical system structures* (1981):
layers by the longest path, lanes through the layers that an edge jumps over, an order within each layer by
barycentres, then positions. Positions in a layer are the weighted least squares fit to those of the
neighbours that keeps the order and the distances, which is isotonic regression.

The long edges of one box share a lane. Everything is deterministic, and no two boxes or lanes overlap.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from balproof.errors import RequestError

Point = tuple[float, float]

MAX_LANES = 40_000
"""Pieces of lanes: a graph with more is no picture any more."""

_LANE = 8.0
_APART = 16.0
_GAP = 24.0
_ORDERINGS = 8
_SWEEPS = 12
_TRUNK, _STRAIGHT, _LANES, _BENT = 1e8, 1e4, 10.0, 1.0
"""How much it matters that a piece of an edge runs straight down: on the longest path, between two boxes,
along a lane, and elsewhere."""


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, the way of each edge, and the size of the whole; y grows downwards.

    Between two points of a way with the same x the edge is a straight line, elsewhere it bends.
    """

    centres: tuple[Point, ...]
    ways: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def layered(sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> Layout:
    """Place boxes of these sizes (width, height), with edges from box to box that form no cycle.

    >>> found = layered([(40, 20), (40, 20)], [(0, 1)])
    >>> found.centres, found.ways
    (((20.0, 10.0), (20.0, 54.0)), (((20.0, 20.0), (20.0, 20.0), (20.0, 44.0), (20.0, 44.0)),))

    Raises RequestError if there are too many long edges for a picture.
    """
    graph = _Graph(sizes, edges)
    _order(graph)
    x = _positions(graph)
    left = min((x[i] - w / 2 for i, w in enumerate(graph.widths)), default=0.0)
    x = [v - left for v in x]
    width = max((x[i] + w / 2 for i, w in enumerate(graph.widths)), default=0.0)
    tops, bottoms = _rows(graph, x)
    middle = [(tops[r] + bottoms[r]) / 2 for r in graph.row]
    centres = tuple((x[i], middle[i]) for i in range(len(sizes)))
    height = bottoms[-1] if bottoms else 0.0
    return Layout(centres, tuple(_ways(graph, x, middle, tops, bottoms)), width, height)


class _Graph:
    """Boxes 0, 1, … and after them the pieces of lanes, in rows; ``paths`` are the edges over them."""

    def __init__(self, sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> None:
        self.count = len(sizes)
        self.heights = [h for _, h in sizes]
        self.widths = [float(w) for w, _ in sizes]
        self.row = _layers(len(sizes), edges)
        lanes: dict[tuple[int, int], int] = {}
        self.paths: list[list[int]] = []
        for u, v in edges:
            path = [u]
            for row in range(self.row[u] + 1, self.row[v]):
                if (u, row) not in lanes:
                    if len(lanes) >= MAX_LANES:
                        raise RequestError(
                            "the network has too many long connections for a picture",
                            "draw a smaller network of the same kind",
                        )
                    lanes[u, row] = len(self.widths)
                    self.widths.append(_LANE)
                    self.row.append(row)
                path.append(lanes[u, row])
            self.paths.append([*path, v])
        self.lanes: list[list[int]] = []
        for (u, row), i in sorted(lanes.items()):
            self.lanes[-1].append(i) if (u, row - 1) in lanes else self.lanes.append([i])
        pieces = dict.fromkeys(pair for path in self.paths for pair in zip(path, path[1:]))
        self.above: list[list[int]] = [[] for _ in self.widths]
        self.below: list[list[int]] = [[] for _ in self.widths]
        for a, b in pieces:
            self.below[a].append(b)
            self.above[b].append(a)
        self.rows: list[list[int]] = [[] for _ in range(max(self.row, default=-1) + 1)]
        for i, row in enumerate(self.row):
            self.rows[row].append(i)

        self.heir = self._heirs()
        self.trunk = set[int]()
        at = next((a for row in self.rows for a in row if a < self.count and self.heir[a] >= 0), -1)
        while at >= 0:
            self.trunk.add(at)
            at = self.heir[at]

    def _heirs(self) -> list[int]:
        """The piece below each that the longest path down goes on with; a lane goes on with itself."""
        depth, heir = [0] * len(self.widths), [-1] * len(self.widths)
        for a in (a for row in self.rows[::-1] for a in row):
            boxes = [b for b in self.below[a] if (b < self.count) == (a < self.count)]
            depth[a] = 1 + max((depth[b] for b in self.below[a]), default=0)
            heir[a] = max(boxes, key=lambda b: depth[b], default=-1)
        return heir

    def weight(self, a: int, b: int) -> float:
        if self.heir[a] != b and self.heir[b] != a:
            return _BENT
        return _LANES if a >= self.count else _TRUNK if {a, b} <= self.trunk else _STRAIGHT


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest path from a source; a source itself stands just above the first that needs it."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges)
    row = [0] * count
    for i, generation in enumerate(nx.topological_generations(graph)):
        for node in generation:
            row[node] = i
    for node in range(count):
        if graph.in_degree(node) == 0 and graph.out_degree(node):
            row[node] = min(row[v] for v in graph.successors(node)) - 1
    return row


# --- the order within each row --------------------------------------------------------------------------


def _order(graph: _Graph) -> None:
    """Sort each row by the mean place of the neighbours, down and up in turn; the best order stays."""
    best, least = [list(r) for r in graph.rows], _crossings(graph)
    for turn in range(2 * _ORDERINGS):
        if least == 0:
            break
        down = turn % 2 == 0
        rows = graph.rows if down else graph.rows[::-1]
        for before, row in zip(rows, rows[1:]):
            place = {i: k for k, i in enumerate(before)}
            own = {i: k for k, i in enumerate(row)}
            neighbours = graph.above if down else graph.below
            row.sort(key=lambda i: (_mean([place[j] for j in neighbours[i]], own[i]), own[i]))
        found = _crossings(graph)
        if found < least:
            best, least = [list(r) for r in graph.rows], found
    graph.rows = best


def _mean(values: Sequence[int], default: float) -> float:
    return sum(values) / len(values) if values else default


def _crossings(graph: _Graph) -> int:
    """How many pairs of edge pieces cross."""
    total = 0
    for row, after in zip(graph.rows, graph.rows[1:]):
        place = {i: k for k, i in enumerate(after)}
        seen: list[int] = []
        for i in row:
            ends = sorted(place[j] for j in graph.below[i])
            for end in ends:
                total += len(seen) - bisect_left(seen, end + 1)
            for end in ends:
                insort(seen, end)
    return total


# --- positions --------------------------------------------------------------------------------------------


def _positions(graph: _Graph) -> list[float]:
    """Centres along x: near the neighbours, straight edges first, in order and apart."""
    x = [0.0] * len(graph.widths)
    for row in graph.rows:
        _settle(graph, row, x, [(0.0, 1.0)] * len(row))
    for turn in range(_SWEEPS, -1, -1):  # the last goes down, so that what follows one another is straight
        for row in graph.rows if turn % 2 == 0 else graph.rows[::-1]:
            wanted: list[tuple[float, float]] = []
            for i in row:
                near = graph.above[i] if turn % 2 == 0 else graph.below[i]
                near = near or [*graph.above[i], *graph.below[i]]
                weights = [graph.weight(i, j) for j in near]
                total = sum(weights)
                mean = sum(w * x[j] for w, j in zip(weights, near, strict=True)) / total if near else x[i]
                wanted.append((mean, total or _BENT))
            _settle(graph, row, x, wanted)
    for _ in range(2):
        for lane in graph.lanes:
            _straighten(graph, lane, x)
    return x


def _straighten(graph: _Graph, lane: Sequence[int], x: list[float]) -> None:
    """One x for a whole lane, near the middle of those that it has, if nothing stands in the way."""
    low, high = float("-inf"), float("inf")
    for i in lane:
        row = graph.rows[graph.row[i]]
        at = row.index(i)
        if at > 0:
            low = max(low, x[row[at - 1]] + (graph.widths[row[at - 1]] + _LANE) / 2 + _APART)
        if at + 1 < len(row):
            high = min(high, x[row[at + 1]] - (graph.widths[row[at + 1]] + _LANE) / 2 - _APART)
    if low <= high:
        middle = sorted(x[i] for i in lane)[len(lane) // 2]
        for i in lane:
            x[i] = min(max(middle, low), high)


def _settle(graph: _Graph, row: Sequence[int], x: list[float], wanted: Sequence[tuple[float, float]]) -> None:
    """The weighted least squares fit that keeps the distances: pools of neighbours that push one another."""
    offsets = [0.0]
    for a, b in zip(row, row[1:]):
        offsets.append(offsets[-1] + (graph.widths[a] + graph.widths[b]) / 2 + _APART)
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for (at, weight), offset in zip(wanted, offsets, strict=True):
        mean, total, members = at - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            m, w, k = pools.pop()
            mean, total, members = (m * w + mean * total) / (w + total), w + total, members + k
        pools.append((mean, total, members))
    fitted = [mean for mean, _, members in pools for _ in range(members)]
    for i, mean, offset in zip(row, fitted, offsets, strict=True):
        x[i] = mean + offset


def _rows(graph: _Graph, x: Sequence[float]) -> tuple[list[float], list[float]]:
    """Top and bottom of each row; the further edges run to the side, the wider the gap."""
    tops: list[float] = []
    bottoms: list[float] = []
    y = 0.0
    for row in graph.rows:
        tops.append(y)
        y += max((graph.heights[i] for i in row if i < graph.count), default=0.0)
        bottoms.append(y)
        y += _GAP + 0.1 * min(
            400.0, max((abs(x[i] - x[j]) for i in row for j in graph.below[i]), default=0.0)
        )
    return tops, bottoms


def _ways(
    graph: _Graph,
    x: Sequence[float],
    middle: Sequence[float],
    tops: Sequence[float],
    bottoms: Sequence[float],
) -> list[tuple[Point, ...]]:
    """From the middle of the lower side of a box, along the lanes, to a port of the upper side of another."""
    arriving: dict[int, list[int]] = {}
    for e, path in enumerate(graph.paths):
        arriving.setdefault(path[-1], []).append(e)
    port: dict[int, float] = {}
    for v, found in arriving.items():
        found.sort(key=lambda e: (x[graph.paths[e][-2]], e))
        step = min(14.0, 0.7 * graph.widths[v] / max(1, 2 * len(found) - 2))
        straight = [k for k, e in enumerate(found) if abs(x[graph.paths[e][-2]] - x[v]) < step / 2]
        middle_port = straight[0] if straight else (len(found) - 1) / 2
        for k, e in enumerate(found):
            port[e] = x[v] + step * (k - middle_port)
    ways: list[tuple[Point, ...]] = []
    for e, path in enumerate(graph.paths):
        u, v = path[0], path[-1]
        way = [(x[u], middle[u] + graph.heights[u] / 2), (x[u], bottoms[graph.row[u]])]
        for lane in path[1:-1]:
            way += [(x[lane], tops[graph.row[lane]]), (x[lane], bottoms[graph.row[lane]])]
        way += [(port[e], tops[graph.row[v]]), (port[e], middle[v] - graph.heights[v] / 2)]
        ways.append(tuple(way))
    return ways
