"""Log-scales of tensors as arrays of variables, and what an operation demands of them.

The scale of a tensor is an integer array with as many axes as the tensor, whose axes are full or of length 1:
an axis of length 1 says that all entries along it share their scale. Channels of an image therefore cost
one variable each and not one a pixel. To share a scale is to demand less freedom than there may be, which
is sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from balproof.network.equations import Equation
from balproof.network.forms import ONE
from balproof.network.graph import Operation, Tensor

Array = np.ndarray
Tensors = Mapping[str, Tensor]
Scales = Mapping[str, Array]
"""For every tensor that is no parameter and no constant: its variables, in the compact form above."""


class Variables:
    """Hands out variables: 0, 1, 2, …"""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, shape: Sequence[int]) -> Array:
        start = self.count
        self.count += prod(shape)
        return np.arange(start, self.count).reshape(tuple(shape))


@dataclass(frozen=True, eq=False)
class Term:
    """Adds ``coefficient·s[variables]`` to a parameter's log-scales; ``variables`` broadcasts to its view."""

    variables: Array
    coefficient: Fraction = ONE


@dataclass(frozen=True, eq=False)
class ParameterScale:
    """The log-scale of a parameter, viewed in ``shape``, as a sum of terms."""

    name: str
    shape: tuple[int, ...]
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Implication:
    """What an operation demands: the scale of its result, equations, and the scales of its parameters."""

    output: Array
    equations: tuple[Equation, ...] = ()
    parameters: tuple[ParameterScale, ...] = ()


Imply = Callable[[Operation, Tensors, Scales, Variables], Implication]


def equal(left: Array, right: Array, reason: str, ratio: Fraction = ONE) -> list[Equation]:
    """s_left = ratio·s_right, entry by entry after broadcasting, each pair of variables once.

    >>> [e.terms for e in equal(np.array([0]), np.array([1, 1]), "")]
    [((0, Fraction(1, 1)), (1, Fraction(-1, 1)))]
    """
    a, b = np.broadcast_arrays(left, right)
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).T.tolist()
    return [
        Equation(((i, ONE), (j, -ratio)), reason) if i != j else Equation(((i, ONE - ratio),), reason)
        for i, j in pairs
        if i != j or ratio != ONE
    ]


def pin(variables: Array, reason: str, *, visible: bool = False) -> list[Equation]:
    """s = 0."""
    return [Equation(((int(v), ONE),), reason, visible) for v in np.unique(variables)]


def spread(variables: Array, shape: Sequence[int], axes: Iterable[int]) -> Array:
    """The variables with the given axes written out in full."""
    full = list(variables.shape)
    for axis in axes:
        full[axis] = shape[axis]
    return np.broadcast_to(variables, full)


def compact(variables: Array) -> Array:
    """The variables with each axis along which they do not change cut to length 1.

    >>> compact(np.array([[3, 3], [4, 4]])).tolist()
    [[3], [4]]
    """
    for axis in range(variables.ndim):
        first = variables.take([0], axis)
        if variables.shape[axis] > 1 and bool(np.all(variables == first)):
            variables = first
    return variables


def tied(variables: Array, axes: Iterable[int], reason: str) -> tuple[Array, list[Equation]]:
    """The variables with these axes cut to length 1, and the equations that allow it."""
    equations: list[Equation] = []
    for axis in axes:
        if variables.shape[axis] > 1:
            first = variables.take([0], axis)
            equations += equal(variables, first, reason)
            variables = first
    return variables, equations


def pinned(op: Operation, tensors: Tensors, scales: Scales, new: Variables, reason: str) -> Implication:
    """Everything that an operation touches keeps its scale."""
    equations: list[Equation] = []
    fixed: list[ParameterScale] = []
    for name in op.inputs:
        if name in scales:
            equations += pin(scales[name], reason)
        elif tensors[name].role == "parameter":
            fixed.append(ParameterScale(name, tensors[name].shape, ()))
    output = new((1,) * len(tensors[op.output].shape))
    return Implication(output, (*equations, *pin(output, reason)), tuple(fixed))


def aligned(tensor: Tensor, ndim: int, axis: int | None) -> tuple[int, ...]:
    """The shape in which a factor or a bias broadcasts: from the last axis back, or beginning at ``axis``.

    >>> aligned(Tensor("b", (3,), "parameter"), 4, 1), aligned(Tensor("b", (3,), "parameter"), 2, None)
    ((1, 3, 1, 1), (1, 3))
    """
    if axis is None:
        return (1,) * (ndim - len(tensor.shape)) + tensor.shape
    return (1,) * axis + tensor.shape + (1,) * (ndim - axis - len(tensor.shape))


# --- parameters that are used more than once ------------------------------------------------------------


def parameter_uses(scales: Iterable[ParameterScale]) -> tuple[dict[str, ParameterScale], list[Equation]]:
    """The scale of each parameter by its first use, and the equations that every further use brings."""
    first: dict[str, ParameterScale] = {}
    equations: list[Equation] = []
    for use in scales:
        known = first.setdefault(use.name, use)
        if known is not use:
            equations += _same(known, use, f"parameter {use.name} is used more than once")
    return first, equations


def _same(left: ParameterScale, right: ParameterScale, reason: str) -> list[Equation]:
    """Both sums agree at every entry.

    Axes along which some term changes fall into groups, of which no term touches two. Then each sum is that
    at the origin plus one change for each group, so the entries that leave the origin in one group suffice.
    """
    signed = [(t, t.coefficient) for t in left.terms]
    if left.shape == right.shape:
        shape = left.shape
        signed += [(t, -t.coefficient) for t in right.terms]
        columns = [(np.broadcast_to(t.variables, shape), c) for t, c in signed]
        entries = corner_entries(shape, [t.variables.shape for t, _ in signed])
        at = [(v[tuple(entries.T)], c) for v, c in columns]
    else:  # two views of one tensor: entry by entry
        at = [(np.broadcast_to(t.variables, left.shape).ravel(), c) for t, c in signed]
        at += [(np.broadcast_to(t.variables, right.shape).ravel(), -t.coefficient) for t in right.terms]
    if not at:
        return []
    rows = np.unique(np.stack([v for v, _ in at]), axis=1).T.tolist()
    coefficients = [c for _, c in at]
    return [Equation(tuple(zip(row, coefficients, strict=True)), reason) for row in rows]


def corner_entries(shape: tuple[int, ...], varying: Sequence[tuple[int, ...]]) -> Array:
    """Indices that leave the origin in one group of axes only, for terms that vary along these axes.

    >>> corner_entries((2, 2), [(2, 1), (1, 2)]).tolist()
    [[0, 0], [0, 0], [1, 0], [0, 0], [0, 1]]
    """
    group = list(range(len(shape)))
    for own in varying:
        axes = [a for a, n in enumerate(own) if n > 1]
        for a in axes:
            joined = {group[a], group[axes[0]]}
            group = [min(joined) if g in joined else g for g in group]
    entries = [np.zeros((1, len(shape)), dtype=np.int64)]
    for g in set(group):
        axes = [a for a in range(len(shape)) if group[a] == g and any(own[a] > 1 for own in varying)]
        if axes:
            inside = np.indices([shape[a] for a in axes]).reshape(len(axes), -1).T
            block = np.zeros((len(inside), len(shape)), dtype=np.int64)
            block[:, axes] = inside
            entries.append(block)
    return np.concatenate(entries)
