"""Candidates for laws of degree 2: ½θᵀMθ + vᵀθ with ⟨X, Mθ + v⟩ = 0 for every field X.

The identity is linear in (M, v). It is sampled modulo a prime at random points with random regions, and
solved: whatever holds at some fifty points more than there are unknowns is a candidate, to be shown by
`symmetry`. M is sought among sums of products of slices of the parameters (`Family`); for few parameters
these are all symmetric M.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Protocol

import numpy as np

from balproof.conservation import modular
from balproof.conservation.directions import Forms
from balproof.conservation.fields import Layout, chunk_length, gradient, regions
from balproof.conservation.passes import Key, Pass, Regions
from balproof.conservation.ring import Modular
from balproof.conservation.sampling import Data, bits
from balproof.conservation.steps_elementwise import seen
from balproof.conservation.tape import Node
from balproof.network.graph import Network, Operation, Tensor

Array = np.ndarray

FULL = 64
"""Up to so many parameters, all symmetric M are searched."""
LARGEST = 3000
"""Parameters up to which anything is searched."""
UNKNOWNS = 4000
MORE = 50
"""Samples beyond the number of unknowns."""


@dataclass(frozen=True, eq=False)
class Family:
    """Products of slices, Σ_r θ[left[i, r]]·θ[right[j, r]], or with ``right`` None sums, Σ_r θ[left[i, r]].

    With ``left`` and ``right`` the same, i ≤ j, and the squares have a factor ½. ``twist`` is the sign of the
    second half of a product's direction: −1 makes M antisymmetric (and leaves the squares out).
    """

    left: Array
    right: Array | None
    names: tuple[str, ...]
    twist: int = 1

    @property
    def pairs(self) -> list[tuple[int, int]]:
        n = len(self.left)
        if self.right is None:
            return [(i, -1) for i in range(n)]
        if self.right is not self.left:
            return [(i, j) for i in range(n) for j in range(len(self.right))]
        squares = [(i, i) for i in range(n)] if self.twist == 1 else []
        return squares + list(combinations(range(n), 2))

    def values(self, X: Array, theta: Array, p: int) -> Array:
        """⟨X, direction⟩ for all samples: (samples, unknowns)."""
        if self.right is None:
            return X[:, self.left].sum(axis=2) % p
        left, right = (modular.product(X[:, a], theta[:, b].swapaxes(1, 2), p) for a, b in
                       ((self.left, self.right), (self.right, self.left)))  # fmt: skip
        both = (left + self.twist * right.swapaxes(1, 2)) % p
        i, j = np.array(self.pairs, dtype=np.int64).reshape(-1, 2).T
        if self.right is self.left:  # the square of i: X_i·θ_i, once
            return np.where(i == j, left[:, i, j], both[:, i, j])
        return both[:, i, j]

    def forms(self, i: int, j: int) -> list[tuple[tuple[int, ...], int]]:
        """The direction of one product."""
        if self.right is None:
            return [((int(e), -1), 1) for e in self.left[i]]
        if self.right is self.left and i == j:
            return [((int(e), int(e)), 1) for e in self.left[i]]
        both = [(int(e), int(f)) for e, f in zip(self.left[i], self.right[j], strict=True)]
        return [(k, 1) for k in both] + [((f, e), self.twist) for e, f in both]


class Unknowns(Protocol):
    """Polynomials of which a law is sought as a sum: a `Family`, or `Monomials` of `higher`."""

    @property
    def pairs(self) -> Sequence[tuple[int, int]]:
        """A name for each."""
        ...

    def values(self, X: Array, theta: Array, p: int) -> Array:
        """⟨X, direction⟩ for all samples: (samples, unknowns)."""
        ...

    def forms(self, i: int, j: int) -> list[tuple[tuple[int, ...], int]]:
        """The direction of one of them."""
        ...


def slices(tensor: Tensor, axis: int, start: int) -> Array:
    """(length of the axis, the rest): the positions in θ of the slices of a tensor along an axis."""
    place = start + np.arange(tensor.size).reshape(tensor.shape or (1,))
    return np.moveaxis(place, axis, 0).reshape(place.shape[axis], -1)


def families(network: Network, twist: int = 1) -> tuple[list[Family], str]:
    """What is searched, and in words."""
    layout = Layout(network)
    if layout.size <= FULL:
        whole = np.arange(layout.size)[:, None]
        found = [Family(whole, whole, ("θ",), twist)]
        if twist == -1:
            return found, "all antisymmetric J"
        return [Family(whole, None, ("θ",)), *found], "all quadratic polynomials"
    own: list[tuple[Family, Tensor]] = []
    for t in network.learned:
        for axis in range(max(1, len(t.shape))):
            place = slices(t, axis, layout.spans[t.name].start)
            own.append((Family(place, place, (t.name, str(axis)), twist), t))
    found = []
    left = UNKNOWNS
    mixed = [
        Family(a.left, b.left, (*a.names, *b.names), twist)
        for (a, s), (b, t) in combinations(own, 2)
        if s is not t and 1 < a.left.shape[1] == b.left.shape[1]
    ]
    sums = [Family(a.left, None, a.names) for a, _ in own] if twist == 1 else []
    alone = [a for a, _ in own]
    for group in (sums, alone, mixed):
        for family in sorted(group, key=lambda f: len(f.left) * (1 if f.right is None else len(f.right))):
            n = len(family.left)
            cost = n if family.right is None else n * len(family.right)
            cost = n * (n + 1) // 2 if family.right is family.left else cost
            if cost <= left:
                found.append(family)
                left -= cost
    words = "products and sums of slices of the parameters"
    return found, words if len(found) == len(sums + alone + mixed) else f"{words}, the smaller ones"


def free(run: Pass, op: Operation, operands: Sequence[Node], key: Key) -> Node:
    """Any function at all: its values and its derivatives are random numbers."""
    operands = seen(run, op, operands)
    shape = run.network.tensors[op.output].shape
    samples = max((v.shape[0] for x in operands for v in x.jet.values()), default=1)

    def drawn(name: str, shape: Sequence[int]) -> Array:
        count = samples * int(np.prod(shape, dtype=np.int64))
        seed = int(sum(int(x.jet[0].ravel()[0]) for x in operands) % 2**20)
        values = (bits(seed, f"{key} {name}", 0, count) >> np.uint64(34)).astype(np.int64)
        return run.ring.constant(values.reshape(samples, *shape))

    parents = [
        (x, lambda g, i=i, x=x: {0: drawn(f"back {i}", x.shape[1:])}) for i, x in enumerate(operands)
    ]  # fmt: skip
    return run.tape.put({0: drawn("value", shape)}, False, parents)


def candidates(data: Data, found: Sequence[Unknowns], signs: bool) -> list[Forms]:
    """The directions of all solutions, from the null space of the sampled identity.

    With ``signs`` the points have the signs of the network's numbers and the regions that follow from them;
    else the regions are drawn at random too. One prime is enough for small coefficients; where there are
    others (a running mean in floating point), further primes are taken in.
    """
    if not found:
        return []
    labels = [(f, i, j) for f in found for i, j in f.pairs]
    spaces = [_null_space(data, found, signs, modular.PRIME)]
    if any(_large(modular.rational_vector(v)) for v in spaces[0]):
        spaces += [_null_space(data, found, signs, p) for p in modular.PRIMES[1:]]
    spaces = [s for s in spaces if [max(v) for v in s] == [max(v) for v in spaces[0]]]
    result: list[Forms] = []
    for vectors in zip(*spaces, strict=True):
        exact = modular.rational_vector(vectors[0])
        if _large(exact) and len(spaces) > 1:
            exact = modular.rational_vector(*modular.joined(vectors, modular.PRIMES))
        if exact is not None:
            forms = _forms([(*labels[g], c) for g, c in sorted(exact.items()) if c])
            if forms:
                result.append(forms)
    return result


def _large(vector: Mapping[int, Fraction] | None) -> bool:
    """Whether fractions are so large that they may be others with the same residues."""
    return vector is None or any(max(abs(c.numerator), c.denominator) > 1000 for c in vector.values())


def _null_space(data: Data, found: Sequence[Unknowns], signs: bool, p: int) -> list[dict[int, int]]:
    layout, ring = Layout(data.network), Modular(p)
    unknowns = sum(len(f.pairs) for f in found)
    rows = np.zeros((0, unknowns), np.int64)
    step = min(chunk_length(data.network, data.steps), max(8, 4_000_000 // max(1, layout.size)))
    start = 0
    while len(rows) < unknowns + MORE and start < 8 * (unknowns + MORE):
        more = _identity(data, layout, ring, found, np.arange(start, start + step), signs)
        rows = np.concatenate([rows, more[more.any(axis=1)]])
        start += step
    return modular.null_space(rows, p) if len(rows) >= unknowns + MORE else []


def _identity(
    data: Data, layout: Layout, ring: Modular, found: Sequence[Unknowns], index: Array, signs: bool
) -> Array:
    points = data.points(int(index[0]), len(index), signs)
    where = Regions()
    if signs:
        where = regions(data, points, index, free)
    theta = ring.constant(layout.join(points))
    jet = gradient(data, layout, ring, {0: theta}, index, where, free)
    if 0 not in jet:
        return np.zeros((0, sum(len(f.pairs) for f in found)), np.int64)
    return np.concatenate([f.values(jet[0], theta, ring.p) for f in found], axis=1)


def _forms(parts: Sequence[tuple[Unknowns, int, int, Fraction]]) -> dict[tuple[int, ...], Fraction]:
    total: dict[tuple[int, ...], Fraction] = {}
    for unknowns, i, j, c in parts:
        for key, factor in unknowns.forms(i, j):
            value = total.get(key, Fraction(0)) + factor * c
            if value:
                total[key] = value
            else:
                total.pop(key, None)
    return total
