"""The faces of a box (`faces`) over blocks of weights under costs of any form, in some ten reads.

A weight in row i and column j has the coefficients a_i and b_j of two scales at most, and with α = |a_i|·t
and β = |b_j|·t the q of the one is β − α, that of the other α − β. So all that is asked of faces are sums
along rows and columns of m at |w|·exp(L ± (α − β)), L being the log-scale at h, each rounded down and up:
four reads for a box, and two for the slopes at h. Which of them a scale takes depends on the side and on the
sign of its coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from balproof.balance.blocks.general import Read, State
from balproof.balance.blocks.general_newton import Hessian
from balproof.balance.blocks.parts import Parts
from balproof.balance.certificates.faces import (
    KIND,
    SURE,
    TOO_FAR,
    TRIES,
    WIDEST,
    gap_above,
    inward,
    steepest,
)
from balproof.balance.certificates.gap import UNIT, GapCertificate, NoCertificate

Array = np.ndarray

_ITERATIONS = 300


def certify_general(state: State) -> GapCertificate | NoCertificate:
    """Bound gap and distance in log-scale of a state.

    Where a part of the network has no visible unit, one scale of it stays what it is.

    >>> from balproof.balance.blocks.general_newton import general_newton
    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> chain = infer(load("tests/data/chain.json"))
    >>> from balproof.balance.blocks.general import GeneralProblem
    >>> problem = GeneralProblem.build(chain, Costs.parse("log(1 + w**2)"))
    >>> found = certify_general(general_newton(problem)[0])
    >>> found.radius < 1e-12, found.gap < 1e-22
    (True, True)
    """
    if not state.certain:
        return NoCertificate(TOO_FAR)
    box = _Box(state)
    moving = np.flatnonzero(box.active)
    if not len(moving):
        return GapCertificate(KIND, 0.0, 0.0, 53, 0.0)
    into, out = state.balance.incoming, state.balance.outgoing
    needed = np.where(box.active, np.abs(into - out) + SURE * box.gamma() * (into + out), 0.0)
    d = box.direction(needed, into + out)
    if d is None:
        return NoCertificate("no direction in which all slopes rise was found")
    s = SURE
    for _ in range(TRIES):
        t = s * d
        if box.reach(t) > WIDEST:
            break
        if box.falls_inward(t):
            absolute = float(box.slopes() @ t) * (1 + (len(moving) + 8) * UNIT)
            return box.bound(absolute, float(np.max(t)))
        s *= 2
    return NoCertificate(TOO_FAR)


class _Box:
    """Boxes around a state, over the scales that move, less one of each part that can drift."""

    def __init__(self, state: State) -> None:
        blocks, balance = state.problem.blocks, state.balance
        self._state, self._blocks = state, blocks
        self.active = Parts.of(blocks).pinned(blocks, balance.incoming + balance.outgoing).active
        self._sides = [
            tuple(np.where(side.moves(self.active), side.coefficient, 0.0) for _, side in pair.sides())
            for pair in blocks.pairs
        ]
        self._certain = True  # as long as all sizes were within the tables

    def direction(self, needed: Array, total: Array) -> Array | None:
        """d > 0 with C d near ``needed``."""
        moving = np.flatnonzero(self.active)
        hessian = Hessian.of(self._state, self.active).compared()
        if not np.all(hessian.diagonal[moving] > 0):
            return None
        # Not less than a part of the greatest everywhere: what is of second order then matters less.
        right = np.maximum(needed, 0.05 * float(np.max(needed[moving] / total[moving])) * total)
        right = np.where(self.active, right, 0.0)

        def done(d: Array, residual: Array, _: float) -> bool:
            return bool(np.all(d[moving] > 0) and np.all(np.abs(residual[moving]) < 0.4 * right[moving]))

        d, residual, _ = hessian.solve(right, done, _ITERATIONS)
        if not done(d, residual, 0.0):
            return None
        rises = right - residual
        return d * float(np.max(needed[moving] / rises[moving]))

    def reach(self, t: Array) -> float:
        """The most that a scale moves the logarithm of a weight."""
        return max(
            float(np.max(np.abs(c) * t[side.unit], initial=0.0))
            for pair, both in zip(self._blocks.pairs, self._sides, strict=True)
            for (_, side), c in zip(pair.sides(), both, strict=True)
        )

    def gamma(self) -> float:
        """γ of sums along a line, over the places of a scale on a side and over blocks, with that of m."""
        longest, uses = 0, np.zeros(len(self.active), int)
        for pair in self._blocks.pairs:
            for (_, side), terms in zip(pair.sides(), pair.lengths, strict=True):
                scaled = side.unit[side.unit >= 0]
                if len(scaled):
                    np.add.at(uses, scaled, 1)
                    longest = max(longest, terms)
        count = 16 + longest + int(uses.max(initial=0))
        return count * UNIT / (1 - count * UNIT) + SURE * max(law.error for law in self._state.problem.laws)

    def slopes(self) -> Array:
        """At least |∂_kF| of every scale, 0 where it does not move."""
        low, high = self._near(np.zeros(len(self.active)), 1)
        (low_in, high_out), (high_in, low_out) = self._sums([(low, high)] * 2), self._sums([(high, low)] * 2)
        found = steepest((low_in, low_out), (high_in, high_out), self.gamma())
        return np.where(self.active, found, 0.0)

    def falls_inward(self, t: Array) -> bool:
        """Whether F falls inward from all faces of the box, for certain."""
        up, down = self._near(t, 1), self._near(t, -1)
        if not self._certain:
            return False
        # At α − β are the rows whose coefficient is > 0 and the columns whose coefficient is < 0 on the upper
        # face; at β − α the others. Sums that come in are to be small there, and those that go out large.
        upper = self._sums([(up[0], down[1]), (down[0], up[1])])
        lower = self._sums([(down[1], up[0]), (up[1], down[0])])
        return bool(np.all(inward(upper, lower, self.gamma())[self.active]))

    def bound(self, absolute: float, radius: float) -> GapCertificate | NoCertificate:
        """The certificate, if the cost is known well enough."""
        if not self._certain:
            return NoCertificate(TOO_FAR)
        laws = self._state.problem.laws
        count = sum(tensor.size for tensor in self._blocks.manifold.network.parameters)
        lost = SURE * (max(law.cost_error for law in laws) + (count + 8) * UNIT)
        # Sizes are off by δ as well, which changes a cost by m times that.
        off = self._state.problem.constant[1]
        off += 2 * self._delta() * sum(read.total for read in self._state.reads)
        return gap_above(self._state.cost * (1 - lost) * (1 - 4 * UNIT) - off, absolute, radius)

    def _delta(self) -> float:
        """More than the relative rounding of a size: of factors exp(c·h), exp(c·t) and their products.

        The argument c·h is off by 2 roundings, 4 with what c itself is off; exp by less than 8.
        """
        logs = [
            sum(float(np.max(np.abs(side.logs(self._state.h)), initial=0.0)) for _, side in pair.sides())
            for pair in self._blocks.pairs
        ]
        return (64 + 4 * int(np.ceil(max(logs, default=0.0)))) * UNIT

    def _near(self, t: Array, sign: int) -> tuple[list[Read], list[Read]]:
        """Reads at log-scales moved by ``sign``·(α − β), with sizes a little smaller, and a little larger."""
        delta, factors = self._delta(), self._factors(t, sign)
        found: list[list[Read]] = []
        for part in (1 - delta, 1 + delta):
            reads = self._state.problem.read([(part * e, y) for e, y in factors])
            self._certain &= all(read.certain for read in reads)
            found.append(reads)
        return found[0], found[1]

    def _factors(self, t: Array, sign: int) -> list[tuple[Array, Array]]:
        """Those of exp(L + ``sign``·(α − β))."""
        found: list[tuple[Array, Array]] = []
        for pair, both, (e, y) in zip(self._blocks.pairs, self._sides, self._state.factors, strict=True):
            alpha, beta = (np.abs(c) * t[s.unit] for c, (_, s) in zip(both, pair.sides(), strict=True))
            found.append((e * np.exp(sign * alpha), y * np.exp(-sign * beta)))
        return found

    def _sums(self, chosen: Sequence[tuple[Sequence[Read], Sequence[Read]]]) -> tuple[Array, Array]:
        """What comes in and goes out of every scale.

        ``chosen`` are the reads for rows whose coefficient is > 0 and for those where it is < 0, and likewise
        for columns.
        """
        into, out = np.zeros(len(self.active)), np.zeros(len(self.active))
        for b, (pair, both) in enumerate(zip(self._blocks.pairs, self._sides, strict=True)):
            for i, side in pair.sides():
                positive, negative = (reads[b].m[i] for reads in chosen[i])
                side.add(np.where(both[i] > 0, positive, negative), into, out)
        return into, out
