"""Is the minimum attained? Exactly one certificate exists, and it is exact.

Stiemke's alternative for the rows A_e of the weights that carry cost: either some z > 0 has Aᵀz = 0, and
F (strictly increasing, coercive costs) attains its minimum; or some h has A h ≤ 0, A h ≠ 0, and F falls
for ever along h, so that the infimum is not attained. Source: Eaves, Hoffman, Rothblum, Schneider 1985
for one matrix; [B] Theorem 5.1 assumes the first case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import gcd, lcm

import networkx as nx
import numpy as np
from flint import fmpq, fmpq_mat
from scipy import sparse
from scipy.optimize import linprog

from balproof.balance.components import Walks, walks
from balproof.balance.problem import BalanceProblem
from balproof.network.equations import Form
from balproof.verdict import Verdict

LISTED = 20_000
"""Up to so many weights a circulation is given."""

GROUND = -1
"""The node of the graph into which everything that cannot scale is merged."""


@dataclass(frozen=True, eq=False)
class Existence:
    """Whether the minimum of F over the moving scales is attained.

    ``circulation`` is z, one positive integer per weight with cost (attained); ``direction`` is h, one
    rational per scale (not attained). Exactly one is given unless the verdict is ``undecided``, or the
    weights of an attained minimum are more than `LISTED`.
    ``falling`` names weights whose cost falls to nothing along the direction.
    """

    attained: bool | None
    verdict: Verdict
    method: str
    circulation: tuple[Fraction, ...] | None = None
    direction: tuple[Fraction, ...] | None = None
    falling: tuple[str, ...] = ()


def existence(problem: BalanceProblem) -> Existence:
    """Decide whether the minimum is attained, with a certificate that was checked exactly.

    >>> from balproof.importers import load
    >>> existence(BalanceProblem.build(load("tests/data/chain.json"))).attained
    True
    """
    if len(problem.weights) > LISTED and (found := walks(problem.A, problem.active)) is not None:
        return _of_components(problem, found)
    rows = problem.rows
    graph = [_ends(row) for row in rows]
    z: list[Fraction] | None = None
    h: dict[int, Fraction] | None = None
    method = "strongly connected components of the nonzero weights"
    if all(end is not None for end in graph):
        ends = [end for end in graph if end is not None]
        z, h = _by_graph(ends, problem)
    if z is None and h is None:
        method = "linear program, rounded to rationals"
        z = _rounded_circulation(rows, problem.count)
        h = None if z is not None else _rounded_direction(rows, problem.count)
    if z is not None and is_circulation(rows, z):
        return Existence(True, Verdict.certified, method, circulation=tuple(z))
    if h is not None and is_direction(rows, h):
        names = _entry_names(problem)
        falling = [n for n, row in zip(names, rows, strict=True) if _dot(row, h) < 0]
        full = tuple(h.get(k, Fraction(0)) for k in range(problem.count))
        return Existence(False, Verdict.certified, method, direction=full, falling=tuple(falling))
    return Existence(None, Verdict.undecided, "neither certificate could be rounded to exact rationals")


def _of_components(problem: BalanceProblem, found: Walks) -> Existence:
    """The answer where weights are too many for a circulation, which strong components make superfluous."""
    method = "strongly connected components of the nonzero weights"
    if found.direction is None:
        return Existence(True, Verdict.certified, method)
    full = tuple(_UNITS[v] for v in found.direction.tolist())
    falls = np.flatnonzero(problem.A @ found.direction < 0)  # whole numbers: exact
    return Existence(
        False,
        Verdict.certified,
        method,
        direction=full,
        falling=tuple(problem.element(int(i)) for i in falls),
    )


_UNITS = {v: Fraction(v) for v in (-1, 0, 1)}


def is_circulation(rows: Sequence[Form], z: Sequence[Fraction]) -> bool:
    """Check z > 0 and Aᵀz = 0 exactly.

    >>> is_circulation([((0, Fraction(1)),), ((0, Fraction(-1)),)], [Fraction(1), Fraction(1)])
    True
    """
    total: dict[int, Fraction] = {}
    for row, value in zip(rows, z, strict=True):
        for k, c in row:
            total[k] = total.get(k, Fraction(0)) + c * value
    return all(value > 0 for value in z) and not any(total.values())


def is_direction(rows: Sequence[Form], h: dict[int, Fraction]) -> bool:
    """Check A h ≤ 0 and A h ≠ 0 exactly.

    >>> is_direction([((0, Fraction(1)),)], {0: Fraction(-1)})
    True
    """
    values = [_dot(row, h) for row in rows]
    return all(v <= 0 for v in values) and any(v < 0 for v in values)


def _dot(row: Form, h: dict[int, Fraction]) -> Fraction:
    return sum((c * h.get(k, Fraction(0)) for k, c in row), Fraction(0))


def _entry_names(problem: BalanceProblem) -> list[str]:
    tensors = problem.manifold.network.tensors
    return [tensors[name].element(int(flat)) for name, kept in problem.entries for flat in kept]


# --- graphs: every weight is fed by at most one scale and feeds at most one ------------------------------

End = tuple[int, Fraction, int, Fraction]
"""(tail, b, head, a): the row is a·h[head] − b·h[tail], with GROUND for a missing side."""


def _ends(row: Form) -> End | None:
    plus = [(k, c) for k, c in row if c > 0]
    minus = [(k, -c) for k, c in row if c < 0]
    if len(plus) > 1 or len(minus) > 1:
        return None
    head, a = plus[0] if plus else (GROUND, Fraction(1))
    tail, b = minus[0] if minus else (GROUND, Fraction(1))
    return tail, b, head, a


def _by_graph(
    ends: Sequence[End], problem: BalanceProblem
) -> tuple[list[Fraction] | None, dict[int, Fraction] | None]:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_node(GROUND)
    graph.add_nodes_from(int(k) for k in np.flatnonzero(problem.active))
    graph.add_edges_from((tail, head) for tail, _, head, _ in ends)
    component = {node: i for i, nodes in enumerate(nx.strongly_connected_components(graph)) for node in nodes}
    unit = all(a == b == 1 for _, b, _, a in ends)
    bridge = next((e for e in ends if component[e[0]] != component[e[2]]), None)
    if bridge is None:
        if not unit and any(component[e[0]] != component[GROUND] for e in ends):
            return None, None  # degrees around a cycle without a visible unit: leave it to the program
        return _circulation(ends, component), None
    if not unit:
        return None, None
    # Everything behind the bridge: no weight leads out of it, so scaling it down raises no cost.
    behind = {bridge[2], *nx.descendants(graph, bridge[2])}
    if GROUND not in behind:
        return None, dict.fromkeys(behind, Fraction(-1))
    return None, dict.fromkeys(set(graph) - behind, Fraction(1))


def _circulation(ends: Sequence[End], component: dict[int, int]) -> list[Fraction]:
    """One unit of flow around a closed walk through every weight: root → tail → head → root.

    At a scale, flow in times a equals flow out times b, so the walks' parts toward the root gain and the
    parts from the root lose the ratio; the root is the ground where there is one, which has no balance.
    """
    z = [Fraction(1)] * len(ends)
    members: dict[int, list[int]] = {}
    for i, (tail, _, _, _) in enumerate(ends):
        members.setdefault(component[tail], []).append(i)
    for group, edges in members.items():
        root = GROUND if component[GROUND] == group else ends[edges[0]][0]
        supply: dict[int, Fraction] = {}  # Σ b·z still to be supplied at a node from the root
        demand: dict[int, Fraction] = {}  # Σ a·z still to be carried off to the root
        for i in edges:
            tail, b, head, a = ends[i]
            supply[tail] = supply.get(tail, Fraction(0)) + b
            demand[head] = demand.get(head, Fraction(0)) + a
        for edge, node in _tree(ends, edges, root, forward=True):
            tail, b, _, a = ends[edge]
            flow = supply.pop(node, Fraction(0)) / a
            z[edge] += flow
            supply[tail] = supply.get(tail, Fraction(0)) + flow * b
        for edge, node in _tree(ends, edges, root, forward=False):
            _, b, head, a = ends[edge]
            flow = demand.pop(node, Fraction(0)) / b
            z[edge] += flow
            demand[head] = demand.get(head, Fraction(0)) + flow * a
    scale = (
        Fraction(lcm(*(v.denominator for v in z)), reduce(gcd, (v.numerator for v in z)))
        if z
        else Fraction(1)
    )
    return [v * scale for v in z]


def _tree(ends: Sequence[End], edges: Sequence[int], root: int, *, forward: bool) -> list[tuple[int, int]]:
    """A breadth-first tree from (or, backward, to) the root: (edge, node below), leaves first."""
    leaving: dict[int, list[tuple[int, int]]] = {}
    for i in edges:
        tail, _, head, _ = ends[i]
        near, far = (tail, head) if forward else (head, tail)
        leaving.setdefault(near, []).append((i, far))
    seen, order, queue = {root}, [], deque([root])
    while queue:
        for edge, far in leaving.get(queue.popleft(), ()):
            if far not in seen:
                seen.add(far)
                order.append((edge, far))
                queue.append(far)
    return order[::-1]


# --- any rows: a linear program proposes, exact arithmetic disposes --------------------------------------

_ENTRIES = 5_000_000
"""Exact matrices of more entries are not made: elimination would take minutes, and all the memory."""


def _float_matrix(rows: Sequence[Form], count: int) -> sparse.csr_array:
    entries = [(i, k, float(c)) for i, row in enumerate(rows) for k, c in row]
    i, k, v = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_array((np.array(v, float), (np.array(i, int), np.array(k, int))), (len(rows), count))


def _rounded_circulation(rows: Sequence[Form], count: int) -> list[Fraction] | None:
    a = _float_matrix(rows, count)
    found = linprog(np.ones(len(rows)), A_eq=a.T, b_eq=np.zeros(count), bounds=(1, None), method="highs")
    if found.x is None:
        return None
    z = [Fraction(float(v)).limit_denominator(10**6) for v in found.x]
    # Repair Aᵀz = 0 exactly on independent rows, the ones with the largest flow first: on few if they do.
    order = sorted(range(len(rows)), key=lambda i: -z[i])
    columns = sorted({k for row in rows for k, _ in row})
    few = 4 * len(columns)
    while not _repaired(rows, columns, order[:few], z):
        if few >= len(order) or len(columns) * few > _ENTRIES:
            return None
        few *= 2
    return z if all(v > 0 for v in z) else None


def _repaired(rows: Sequence[Form], columns: Sequence[int], some: Sequence[int], z: list[Fraction]) -> bool:
    """Change ``z`` on some of the rows so that Aᵀz = 0, if that can be."""
    if not columns:
        return True
    if len(columns) * len(some) > _ENTRIES:
        return False
    position = {k: j for j, k in enumerate(columns)}
    chosen, rest = set(some), [Fraction(0)] * len(columns)
    for i, row in enumerate(rows):
        if i not in chosen:
            for k, c in row:
                rest[position[k]] -= c * z[i]
    full = fmpq_mat(len(columns), len(some) + 1)
    for new, i in enumerate(some):
        for k, c in rows[i]:
            full[position[k], new] = fmpq(c.numerator, c.denominator)
    for j, v in enumerate(rest):
        full[j, len(some)] = fmpq(v.numerator, v.denominator)
    reduced, rank = full.rref()
    pivots = [next(j for j in range(len(some) + 1) if reduced[r, j] != 0) for r in range(rank)]
    if len(some) in pivots:
        return False
    others = [j for j in range(len(some)) if j not in set(pivots)]
    for r, pivot in enumerate(pivots):
        known = sum(
            (_fraction(reduced[r, j]) * z[some[j]] for j in others if reduced[r, j] != 0), Fraction(0)
        )
        z[some[pivot]] = _fraction(reduced[r, len(some)]) - known
    return True


def _rounded_direction(rows: Sequence[Form], count: int) -> dict[int, Fraction] | None:
    a = _float_matrix(rows, count)
    total = np.asarray(a.sum(axis=0)).ravel()
    found = linprog(
        total,
        A_ub=sparse.vstack([a, -a]),
        b_ub=np.concatenate([np.zeros(len(rows)), np.ones(len(rows))]),
        bounds=(None, None),
        method="highs",
    )
    if found.x is None:
        return None
    tight = [row for row, v in zip(rows, a @ found.x, strict=True) if v > -1e-7]
    solved = _null_space_point(
        tight, {k: Fraction(float(found.x[k])).limit_denominator(10**4) for k in range(count)}
    )
    return solved


def _null_space_point(rows: Sequence[Form], near: dict[int, Fraction]) -> dict[int, Fraction] | None:
    """A point with all these rows exactly 0, whose free coordinates are those of ``near``."""
    columns = sorted({k for row in rows for k, _ in row}, reverse=True)
    if not columns:
        return near
    if len(rows) * len(columns) > _ENTRIES:
        return None
    position = {k: j for j, k in enumerate(columns)}
    matrix = fmpq_mat(len(rows), len(columns))
    for i, row in enumerate(rows):
        for k, c in row:
            matrix[i, position[k]] = fmpq(c.numerator, c.denominator)
    reduced, rank = matrix.rref()
    point = dict(near)
    for r in range(rank):
        entries = [(columns[j], _fraction(reduced[r, j])) for j in range(len(columns)) if reduced[r, j] != 0]
        (pivot, _), *rest = entries
        point[pivot] = -sum((c * point[k] for k, c in rest), Fraction(0))
    return point


def _fraction(x: fmpq) -> Fraction:
    return Fraction(int(x.p), int(x.q))
