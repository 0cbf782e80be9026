"""Marginal cost, curvature and cost of weights under any regularizer, from tables of polynomials.

The tables (`balproof.symbolic.taylor`) are made octave by octave where weights are, in a few milliseconds
each; then a weight takes some ten nanoseconds, whatever the formula is, and the error of its marginal cost is
known: a few roundings, proven with the table.
"""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np
import sympy
from flint import ctx
from numba import njit  # pyright: ignore[reportPrivateImportUsage]

from balproof.balance.problem import HIGHEST, LOWEST
from balproof.symbolic import ball, taylor
from balproof.symbolic.convexity import W
from balproof.symbolic.regularizer import Regularizer, pieces
from balproof.symbolic.taylor import DEGREE, SLACK, Cells, NoSeries, Piece

Array = np.ndarray

_LOWEST, _HIGHEST = -1000, 1000
"""Octaves outside hold no weights that doubles can multiply without loss."""

_UNKNOWN, _NOTHING, _TOO_MUCH, _NONE = -1, -2, -3, -4
"""In place of a table: not made yet; marginal costs below or above doubles; no power series."""

_COARSEST, _FINEST = 3, 12
"""An octave has 2 to these powers cells."""

_BIAS = 1023

_MAKING = Lock()
"""Tables are made by one thread at a time: the order of power series is one for all of a program."""


class Law:
    """m = w·g′(w), κ = w·m′(w) and g of one regularizer, elementwise.

    ``error`` bounds the relative error of m, and ``cost_error`` that of the cost, at all weights asked for so
    far. Of κ there is no bound.
    """

    def __init__(self, costs: tuple[Piece, ...], marginals: tuple[Piece, ...]) -> None:
        self._costs, self._marginals = costs, marginals
        count = _HIGHEST - _LOWEST + 1
        first, cut = np.full((len(costs), count), _UNKNOWN), np.zeros((len(costs), count), np.int64)
        self._table = first, cut, np.zeros((0, DEGREE + 1, 2))  # replaced as a whole: other threads may read
        self._ends = np.array([float(p.high) for p in costs[:-1]])
        self.error = self.cost_error = 0.0

    @staticmethod
    def of(regularizer: Regularizer) -> Law | None:
        """None where the formula is not one analytic function between known ends of pieces.

        >>> law = Law.of(Regularizer.parse("log(1 + w**2)"))
        >>> m, kappa, cost = law.values(np.array([0.0, 1.0]))
        >>> m.tolist(), kappa.round(12).tolist(), cost.round(12).tolist()
        ([0.0, 1.0], [0.0, 1.0], [0.0, 0.69314718056])
        """
        return _law(regularizer)

    def values(self, w: Array) -> tuple[Array, Array, Array]:
        """m, κ and g of sizes w ≥ 0, all 0 at 0.

        They are ∞ where m is above doubles, 0 where it is below, and NaN where there is no power series.
        """
        return self.read(w)[0]

    def certain(self, w: Array) -> bool:
        """Whether ``error`` and ``cost_error`` hold of all these sizes, since none is out of range."""
        return self.read(w)[1]

    def read(self, w: Array) -> tuple[tuple[Array, Array, Array], bool]:
        """Both at once."""
        flat = np.ascontiguousarray(w, dtype=np.float64).reshape(-1)
        found = np.empty((3, len(flat)))
        while True:
            wanted = np.zeros(_HIGHEST - _LOWEST + 1, bool)
            lost = _evaluate(flat, flat.view(np.int64), *self._table, self._ends, found, wanted)
            if not wanted.any():
                m, kappa, cost = found.reshape(3, *w.shape)
                return (m, kappa, cost), lost == 0
            with _MAKING:
                for at in np.flatnonzero(wanted).tolist():
                    for piece in range(len(self._costs)):
                        self._add(piece, at + _LOWEST)

    def _add(self, piece: int, octave: int) -> None:
        """Make the table of an octave, if there is none."""
        first, cut, cells = self._table
        at = octave - _LOWEST
        if first[piece, at] != _UNKNOWN:
            return
        first, cut = first.copy(), cut.copy()
        marginal, cost = self._marginals[piece], self._costs[piece]
        beyond = _beyond(marginal, octave)
        found = _tables(marginal, cost, octave) if beyond is None else None
        if found is None:
            first[piece, at] = _NONE if beyond is None else beyond
        else:
            (m, g), depth = found
            near = SLACK if len(self._costs) > 1 else 0.0  # doubles near an end may take the wrong piece
            self.error = max(self.error, m.error + near * taylor.steepness(m, depth))
            self.cost_error = max(self.cost_error, g.error + near * taylor.steepness(g, depth))
            first[piece, at], cut[piece, at] = len(cells), depth
            cells = np.concatenate([cells, np.stack([m.coefficients, g.coefficients], axis=-1)])
        self._table = first, cut, cells


@lru_cache(maxsize=64)
def _law(regularizer: Regularizer) -> Law | None:
    parts = pieces(regularizer)
    if parts is None:
        return None
    low = sympy.S.Zero
    costs: list[Piece] = []
    marginals: list[Piece] = []
    for cost, marginal, high in parts:
        costs.append(Piece(cost, low, high))
        marginals.append(Piece(marginal, low, high))
        low = high
    return Law(tuple(costs), tuple(marginals))


def _beyond(piece: Piece, octave: int) -> int | None:
    """Why an octave has no table: the piece is not used, or marginal costs, which rise, are out of range."""
    if not piece.meets(octave):
        return _NONE
    try:
        with ctx.workprec(128):
            ends = taylor.start_of(octave), taylor.start_of(octave + 1)
            low, high = (ball.enclose(piece.expression, {W: end}, 128) for end in ends)
    except (ball.NotReal, ball.Unknown):
        return None
    if low < LOWEST:
        return _NOTHING
    return _TOO_MUCH if high > HIGHEST else None


def _tables(marginal: Piece, cost: Piece, octave: int) -> tuple[tuple[Cells, Cells], int] | None:
    for cut in range(_COARSEST, _FINEST + 1):
        try:
            m = taylor.cells_of(marginal, octave, cut)
            g = None if m is None else taylor.cells_of(cost, octave, cut)
        except NoSeries:
            return None
        if m is not None and g is not None:
            return (m, g), cut
    return None


@njit(nogil=True, cache=True)
def _evaluate(w, bits, first, cut, cells, ends, found, wanted):
    """m, κ and g into ``found``, octaves that want a table into ``wanted``; how many weights have none."""
    lost = 0
    fraction = (1 << 52) - 1
    for i in range(len(w)):
        if bits[i] == 0:
            found[0, i] = found[1, i] = found[2, i] = 0.0
            continue
        octave = (bits[i] >> 52) - _BIAS
        piece = 0
        for end in ends:
            piece += w[i] > end
        at = octave - _LOWEST
        start = first[piece, at] if 0 <= at < first.shape[1] else (_NOTHING if at < 0 else _TOO_MUCH)
        if start < 0:
            lost += 1
            if start == _UNKNOWN:
                wanted[at] = True
            value = np.inf if start == _TOO_MUCH else 0.0 if start == _NOTHING else np.nan
            found[0, i] = found[1, i] = found[2, i] = value
            continue
        depth = cut[piece, at]
        mantissa = bits[i] & fraction
        cell = mantissa >> (52 - depth)
        f = 1.0 + mantissa * 2.0**-52
        x = f - (1.0 + (cell + 0.5) / (1 << depth))
        m = slope = cost = 0.0
        for k in range(cells.shape[1] - 1, -1, -1):
            slope = slope * x + m
            m = m * x + cells[start + cell, k, 0]
            cost = cost * x + cells[start + cell, k, 1]
        found[0, i], found[1, i], found[2, i] = m, f * slope, cost
    return lost
