"""Weights beyond the range of their costs, brought into it by exact powers of two.

A weight of 1e200 has no square in double precision, but a rescaling by powers of two changes no digit and
may well bring all weights near 1. The scales are those that balance the *largest* incoming cost of every unit
against its largest outgoing one, in the exponents of the weights alone: additions and maxima, no rounding to
fear. (Balance in the max-plus sense, Schneider and Schneider 1991; here for single units, which is enough for
a start.) What is left is within the number of weights of a unit of balance, and is solved as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from balproof.network.manifold import Block, Manifold

Array = np.ndarray
Powers = Sequence[tuple[float, float]]

_NEAR = 400
"""Binary exponents of the largest costs of units that need no further sweep."""


def prescale(
    manifold: Manifold,
    active: Array,
    exponents: Callable[[Block], Array | None],
    powers: Callable[[Block], Powers],
    *,
    sweeps: int = 200,
) -> Array:
    """Whole log₂-scales that bring the largest costs into and out of every active unit near each other.

    ``exponents`` gives the binary exponents of the weights of a block in its view, −∞ where there is none, or
    None for a block without cost; it is asked once a sweep, and nothing of its size is kept. ``powers`` gives
    the (a, p) of the block's costs Σ a|w|^p. All units move at once and half the way, so that neighbours do
    not overshoot. The scales are multiples of ``manifold.whole``, so that 2^(A n) is exact.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> manifold = infer(load("tests/data/chain.json"))
    >>> exponent = {"fc1.weight": 900.0, "fc2.weight": 0.0, "fc3.weight": 0.0}
    >>> at = lambda block: np.full(block.shape, exponent[block.name])
    >>> prescale(manifold, np.ones(2, bool), at, lambda block: [(1.0, 2.0)]).tolist()
    [-408, -112]
    """
    return settle(manifold, active, lambda n: largest(manifold, n, exponents, powers), sweeps=sweeps)


def settle(
    manifold: Manifold,
    active: Array,
    largest: Callable[[Array], tuple[Array, Array, Array]],
    *,
    sweeps: int = 200,
) -> Array:
    """`prescale`, by what `largest` says of the scales n."""
    n = np.zeros(manifold.count)
    for _ in range(sweeps):
        into, out, rates = largest(n)
        both = active & np.isfinite(into) & np.isfinite(out)
        if not both.any():
            break
        apart = np.subtract(out, into, where=both, out=np.zeros(len(n)))
        move = apart / np.where(both, rates, 1.0)
        top = np.maximum(into, out)[both]
        far = np.ptp(top) > 2 * _NEAR or np.max(np.abs(apart)) > _NEAR
        if not far or np.max(np.abs(move)) < 1:
            break
        n += move / 2
    return np.rint(n / manifold.whole).astype(np.int64) * manifold.whole


def largest(
    manifold: Manifold,
    n: Array,
    exponents: Callable[[Block], Array | None],
    powers: Callable[[Block], Powers],
) -> tuple[Array, Array, Array]:
    """Per scale the exponents of its largest cost in and out, and how fast their ratio changes with it."""
    best = np.full((2, manifold.count), -np.inf)
    fastest = np.zeros((2, manifold.count))
    for block in manifold.blocks:
        given = exponents(block) if block.terms else None
        if given is None:
            continue
        maps, terms = manifold.maps(block.name), powers(block)
        steepest = max(p for _, p in terms)
        for (_, matrix), top in zip(maps, _tops(given, maps, n), strict=True):
            cost = np.max([np.log2(a * p) + p * top for a, p in terms], axis=0)
            entries = matrix.tocoo()
            i, k = entries.coords
            for side, sign in enumerate((1.0, -1.0)):
                own = sign * entries.data > 0
                np.maximum.at(best[side], k[own], cost[i[own]] + np.log2(np.abs(entries.data[own])))
                np.maximum.at(fastest[side], k[own], steepest * np.abs(entries.data[own]))
    return best[0], best[1], fastest[0] + fastest[1]


_PIECE = 2**20
"""Weights whose exponents are shifted at once."""


def _tops(given: Array, maps: Sequence[tuple[Array, sparse.csr_array]], n: Array) -> list[Array]:
    """For each term of a block the largest exponent at every one of its forms, with the scales n."""
    tops = [np.full(matrix.shape[0], -np.inf) for _, matrix in maps]
    shifts = [matrix @ n for _, matrix in maps]
    step = max(1, _PIECE * len(given) // max(1, given.size))
    for start in range(0, len(given), step):
        part = slice(start, start + step)
        own = [index[part] if len(index) > 1 else index for index, _ in maps]
        logs = given[part].astype(np.float64)
        for index, shift in zip(own, shifts, strict=True):
            logs += shift[index]
        if len(maps) == 2:
            logs[_loops(own, [matrix for _, matrix in maps])] = -np.inf
        for top, index in zip(tops, own, strict=True):
            alike = tuple(a for a, size in enumerate(index.shape) if size == 1)
            np.maximum.at(top, index.ravel(), logs.max(axis=alike, keepdims=True).ravel())
    return tops


def _loops(indices: Sequence[Array], matrices: Sequence[sparse.csr_array]) -> Array:
    """Where both sides of a weight have the same scale: no scale of its own balances it."""
    sides: list[Array] = []
    for index, matrix in zip(indices, matrices, strict=True):
        scale = np.full(matrix.shape[0], -1)
        i, k = matrix.tocoo().coords
        scale[i] = k
        sides.append(scale[index])
    return (sides[0] == sides[1]) & (sides[0] >= 0)
