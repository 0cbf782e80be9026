"""What balancing keeps, as products of weights: along paths and cycles where the scales make a graph.

A rescaling multiplies w_e by exp((A h)_e), so Π w_e^{n_e} is kept, sign and all, for every integer n with
Aᵀn = 0.  Where each row of A has at most one positive and one negative entry, weights are the edges of a
graph of units, with one more node for whatever has no scale (inputs, outputs, biases' constant 1), and such
products belong to closed walks in it: paths from input to output, and cycles.  ([B] Section 5; [S])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Literal

import numpy as np
from flint import fmpz_mat

from balproof.errors import RequestError
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer

Kind = Literal["weight", "path", "cycle", "product"]
Vector = tuple[tuple[int, int], ...]
"""Weights, by number, with their exponents, in the order in which they are shown."""

MOST = 400
"""Nonzero weights of a network whose invariants are listed."""
_PRIME = 2**31 - 1
_GROUND = -1


@dataclass(frozen=True)
class Invariant:
    """A product of powers of weights that every rescaling keeps.

    ``factors`` are (parameter, row-major position, exponent).  A ``path`` leads from an input or a bias to an
    output, along the signal; a ``weight`` has no scale at all; ``product`` is none of these.
    """

    kind: Kind
    formula: str
    factors: tuple[tuple[str, int, int], ...]

    def value(self, network: Network) -> float:
        """Its value, with its sign, at the weights of a network."""
        total = 1.0
        for name, place, exponent in self.factors:
            total *= float(network.numbers(name).ravel()[place]) ** exponent
        return total

    def as_json(self) -> dict[str, object]:
        return {"kind": self.kind, "formula": self.formula}


@dataclass(frozen=True)
class _Edge:
    """A weight from a unit to a unit, with the sizes of its entries in A at its tail and at its head."""

    tail: int
    head: int
    out: Fraction
    into: Fraction


def invariants(network: Network | Manifold) -> tuple[Invariant, ...]:
    """A basis, over the integers, of the products that balancing keeps; short ones first, paths preferred.

    Shown exactly: each is kept, they are independent and as many as ``Manifold.invariants`` counts, and every
    other one is a product of integer powers of them.  The signs of all weights are kept too.

    >>> from balproof.importers import load
    >>> [i.formula for i in invariants(load("tests/data/chain.json"))]
    ['fc1.weight[0,0]·fc2.weight[0,0]·fc3.weight[0,0]']

    Raises RequestError for more than 400 nonzero weights.
    """
    manifold = network if isinstance(network, Manifold) else infer(network)
    weights = int(sum(s.sum() for s in manifold.support.values()))
    if weights > MOST:
        raise RequestError(
            f"the network has {weights} nonzero weights, too many to list their invariants",
            f"give one of at most {MOST}, or count them with inspect",
        )
    rows = [(name, place, dict(form)) for name, place, form in manifold.rows(_learned(manifold))]
    forms = [form for *_, form in rows]
    chosen = _basis(forms, manifold.invariants())
    return tuple(_invariant(kind, vector, rows, manifold.network) for kind, vector in chosen)


def _learned(manifold: Manifold) -> dict[str, np.ndarray]:
    """Where the learned weights are not 0; buffers are no weights."""
    none = {b.name: np.zeros(manifold.network.tensors[b.name].shape, bool) for b in manifold.blocks}
    return none | dict(manifold.support)


def _invariant(
    kind: Kind, vector: Vector, rows: Sequence[tuple[str, int, object]], network: Network
) -> Invariant:
    factors = tuple((*rows[e][:2], n) for e, n in vector)
    texts = [(network.tensors[name].element(place), n) for name, place, n in factors]
    above = [_power(text, n) for text, n in texts if n > 0]
    below = [_power(text, -n) for text, n in texts if n < 0]
    formula = "·".join(above) or "1"
    if below:
        formula += f" / {below[0]}" if len(below) == 1 else f" / ({'·'.join(below)})"
    return Invariant(kind, formula, factors)


def _power(text: str, n: int) -> str:
    return text + (str(n).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")) if n != 1 else "")


# --- choosing -----------------------------------------------------------------------------------------


def _basis(forms: Sequence[dict[int, Fraction]], count: int) -> list[tuple[Kind, Vector]]:
    """``count`` vectors that generate the integer n with nᵀA = 0; candidates that are not kept drop out."""
    found: list[tuple[Kind, Vector]] = [c for c in _candidates(forms) if _kept(c[1], forms)]
    found.sort(key=lambda c: (sum(abs(n) for _, n in c[1]), sorted(e for e, _ in c[1])))
    independent = _Independent(len(forms))
    chosen = [c for c in found if independent.add(c[1])]
    if len(chosen) == count and _generates(chosen, len(forms)):
        return chosen
    reduced: list[tuple[Kind, Vector]] = [("product", v) for v in _reduced(forms)]
    chosen += [c for c in reduced if independent.add(c[1])]
    best = chosen if len(chosen) == count and _generates(chosen, len(forms)) else reduced
    assert len(best) == count, "the rank of A is wrong"
    return best


def _kept(vector: Vector, forms: Sequence[dict[int, Fraction]]) -> bool:
    total: dict[int, Fraction] = {}
    for e, n in vector:
        for k, a in forms[e].items():
            total[k] = total.get(k, Fraction(0)) + n * a
    return not any(total.values())


class _Independent:
    """Vectors that are independent modulo a prime, and so over the rationals."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.rows: list[tuple[int, np.ndarray]] = []

    def add(self, vector: Vector) -> bool:
        row = np.zeros(self.length, np.int64)
        for e, n in vector:
            row[e] = n % _PRIME
        for pivot, other in self.rows:
            if row[pivot]:
                row = (row - row[pivot] * other) % _PRIME
        places = np.flatnonzero(row)
        if places.size == 0:
            return False
        pivot = int(places[0])
        self.rows.append((pivot, row * pow(int(row[pivot]), -1, _PRIME) % _PRIME))
        return True


def _generates(chosen: Sequence[tuple[Kind, Vector]], length: int) -> bool:
    """Whether every integer vector in their span is an integer combination: all invariant factors are 1."""
    matrix = fmpz_mat(max(len(chosen), 1), max(length, 1))
    for i, (_, vector) in enumerate(chosen):
        for e, n in vector:
            matrix[i, e] = n
    normal = matrix.snf()
    return all(normal[i, i] == 1 for i in range(len(chosen)))


def _reduced(forms: Sequence[dict[int, Fraction]]) -> list[Vector]:
    """A reduced basis of all integer n with nᵀA = 0: the rows of [C·A | 1] whose first part LLL makes 0.

    LLL changes the basis of a lattice.  Once the other rows, as many as the rank, have independent first
    parts, those with 0 there generate every such n.  C grows until it is so.
    """
    columns = sorted({k for form in forms for k in form})
    scale = [lcm(*(form[k].denominator for form in forms if k in form)) for k in columns]
    n, m = len(columns), len(forms)
    exact = fmpz_mat(m, max(n, 1))
    for i, form in enumerate(forms):
        for j, k in enumerate(columns):
            if k in form:
                exact[i, j] = int(form[k] * scale[j])
    rank, bits = exact.rank(), 16
    while True:
        wide = fmpz_mat(m, n + m)
        for i in range(m):
            wide[i, n + i] = 1
            for j in range(n):
                wide[i, j] = exact[i, j] * 2**bits
        found = wide.lll()
        zero = [i for i in range(m) if all(found[i, j] == 0 for j in range(n))]
        if len(zero) == m - rank:
            return [_signed([int(found[i, n + e]) for e in range(m)]) for i in zero]
        bits *= 2


def _signed(row: Sequence[int]) -> Vector:
    """With more positive exponents than negative ones; the first is positive where they are as many."""
    entries = [(e, n) for e, n in enumerate(row) if n]
    sign = 1 if (sum(n for _, n in entries), entries[0][1]) > (0, 0) else -1
    return tuple((e, sign * n) for e, n in entries)


# --- paths and cycles ---------------------------------------------------------------------------------


def _candidates(forms: Sequence[dict[int, Fraction]]) -> Iterator[tuple[Kind, Vector]]:
    """Weights without a scale; for each edge the shortest closed walk through it, and one along two trees.

    With shortest paths O(u) from the ground (or a unit) and I(u) to it, the walks O(tail) e I(head) of all e
    generate the closed walks, if each unit lies on one: in Σ z_e O(tail) e I(head) the trees leave
    Σ f_u (O(u) I(u)), f_u the flow through u, and O(u) I(u) is the walk of the last edge of O(u).
    """
    edges: dict[int, _Edge] = {}
    for e, form in enumerate(forms):
        if not form:
            yield "weight", ((e, 1),)
        elif (edge := _edge(form)) is not None:
            edges[e] = edge
    leaving: dict[int, list[int]] = {}
    for e, edge in edges.items():
        leaving.setdefault(edge.tail, []).append(e)
    trees = {start: _tree(start, leaving, edges) for start in leaving}
    for e, edge in edges.items():
        home = next((r for r in sorted(trees) if _reaches(trees, r, edge.tail, edge.head)), edge.tail)
        for walk in (
            _joined([e], _path(trees, edge.head, edge.tail, edges)),
            _joined(_path(trees, home, edge.tail, edges), [e], _path(trees, edge.head, home, edges)),
        ):
            for loop in _loops(walk, edges):
                vector = _exponents(loop, edges)
                if vector is not None:
                    through = any(edges[i].tail == _GROUND for i in loop)
                    yield "path" if through else "cycle", vector


def _reaches(trees: dict[int, dict[int, int]], root: int, tail: int, head: int) -> bool:
    return (root == tail or tail in trees[root]) and (root == head or root in trees.get(head, {}))


def _edge(form: dict[int, Fraction]) -> _Edge | None:
    """From the unit with the negative entry to the one with the positive entry."""
    into = [k for k, a in form.items() if a > 0]
    out = [k for k, a in form.items() if a < 0]
    if len(into) > 1 or len(out) > 1:
        return None
    head, tail = (into or [_GROUND])[0], (out or [_GROUND])[0]
    return _Edge(tail, head, -form.get(tail, Fraction(-1)), form.get(head, Fraction(1)))


def _tree(start: int, leaving: dict[int, list[int]], edges: dict[int, _Edge]) -> dict[int, int]:
    """For each node that is reached from ``start``, the last edge of a shortest path to it."""
    last: dict[int, int] = {}
    front = [start]
    while front:
        reached: list[int] = []
        for node in front:
            for e in leaving.get(node, ()):
                head = edges[e].head
                if head not in last and head != start:
                    last[head] = e
                    reached.append(head)
        front = reached
    return last


def _path(
    trees: dict[int, dict[int, int]], start: int, end: int, edges: dict[int, _Edge]
) -> list[int] | None:
    path: list[int] = []
    while end != start:
        last = trees.get(start, {}).get(end)
        if last is None:
            return None
        path.append(last)
        end = edges[last].tail
    return path[::-1]


def _joined(*parts: list[int] | None) -> list[int]:
    """One walk; none where a part is missing."""
    if any(part is None for part in parts):
        return []
    return [e for part in parts if part is not None for e in part]


def _loops(walk: Sequence[int], edges: dict[int, _Edge]) -> Iterator[list[int]]:
    """A closed walk as loops that meet no node twice, each from the ground or from its first edge."""
    stack: list[int] = []
    for e in walk:
        stack.append(e)
        at = next((i for i, other in enumerate(stack) if edges[other].tail == edges[e].head), None)
        if at is not None:
            loop, stack = stack[at:], stack[:at]
            first = min(range(len(loop)), key=lambda i: (edges[loop[i]].tail != _GROUND, loop[i]))
            yield loop[first:] + loop[:first]


def _exponents(loop: Sequence[int], edges: dict[int, _Edge]) -> Vector | None:
    """Along the signal: at each unit what comes in, times its entry in A, is what goes out, times its own."""
    exponents = [Fraction(1)]
    for before, after in zip(loop, loop[1:], strict=False):
        exponents.append(exponents[-1] * edges[before].into / edges[after].out)
    whole = lcm(*(x.denominator for x in exponents))
    numbers = [int(x * whole) for x in exponents]
    common = gcd(*numbers)
    return tuple((e, n // common) for e, n in zip(loop, numbers, strict=True))
