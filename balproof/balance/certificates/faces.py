"""A box of log-scales that certainly holds the balanced state, for costs of any form and scales of any signs.

Let t_k > 0 be half the width of the box |h_k| ≤ t_k around the state h = 0 in each scale that moves, and
L_e = log|w_e|. The weight e adds A_ek·m_e(L_e + (A h)_e) to ∂_kF, where m_e = φ_e′ does not fall: φ_e is
convex. On the face h_k = t_k its log-scale is at least −ρ_e + 2|A_ek|t_k where A_ek > 0, and at most the
opposite of that where A_ek < 0, with ρ_e = Σ_j |A_ej|t_j. So with q_ek = ρ_e − 2|A_ek|t_k

    ∂_kF  ≥  Σ_{A_ek>0} A_ek·m_e(L_e − q_ek) − Σ_{A_ek<0} |A_ek|·m_e(L_e + q_ek)      on the upper face,
    ∂_kF  ≤  Σ_{A_ek>0} A_ek·m_e(L_e + q_ek) − Σ_{A_ek<0} |A_ek|·m_e(L_e − q_ek)      on the lower one.

Where the former is > 0 and the latter < 0 for every k, F falls inward from every face, and its minimum on the
box lies inside; F is convex, so that it is one of F on the whole. If there were another one, F would be
constant on the line through both. As all φ_e are strictly convex, no weight changes along that line, which
leaves the box through a face: but there F falls inward. So there is one balanced state, |h*| ≤ t, and

    F(0) − F(h*)  ≤  ⟨∇F(0), −h*⟩  ≤  Σ_k |∂_kF(0)|·t_k.

At a kink of g, m has a step, and ∂_kF is any number between its one-sided values; all of the above holds
for each of them, as m is taken a little below and above the sizes in question.

Rounding. m and g are those of `balproof.balance.laws`, with a proven relative error. A size is a weight times
exp(±q), rounded by less than δ; m is taken at the size times 1 − δ where it is to be a lower bound and times
1 + δ for an upper one, which is enough as m does not fall. Sums are of terms ≥ 0, so that γ_n bounds their
relative rounding whatever the order is (Higham, Accuracy and Stability, Section 3.1).

To first order in t the bounds are ∂_kF(0) ± (C t)_k, C = 2·diag(Σ_e κ_e A_ek²) − |A|ᵀ diag(κ) |A|, so that t
is looked for as a multiple of d with C d near |∂F(0)| and its rounding; any t that passes will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from balproof.balance.certificates.enclosure import drifting, solved
from balproof.balance.certificates.gap import UNIT, GapCertificate, NoCertificate
from balproof.balance.direct import fits
from balproof.balance.laws import Law
from balproof.balance.problem import BalanceProblem

Array = np.ndarray

WIDEST = 0.25
"""So much a box may change the logarithm of a weight: what bounds the rounding counts on it."""

SURE = 1.01
"""Times γ, for what is of second order."""

KIND = "faces"

TRIES = 12

_NEAR, _STEPS = 1e-6, 3_000
"""How well systems that have no small factors are solved, relatively, and in how many steps at most."""

TOO_FAR = "the state is too far from balance for the faces of a box"


def certify_faces(problem: BalanceProblem) -> GapCertificate | NoCertificate:
    """Bound gap and distance in log-scale of the weights that ``problem`` holds (the state h = 0).

    Where a part of the network has no visible unit, one scale of it stays what it is.

    >>> from balproof.balance.direct import direct
    >>> from balproof.importers import load
    >>> problem = BalanceProblem.build(load("tests/data/chain.json"), "log(1 + w**2)")
    >>> found = certify_faces(problem.rescaled(direct(problem, tolerance=1e-15).h))
    >>> found.radius < 1e-13, found.gap < 1e-24
    (True, True)
    """
    laws = _laws(problem)
    return laws if isinstance(laws, NoCertificate) else _Box.of(problem, laws).certificate()


@dataclass(frozen=True)
class Cost:
    """F at h = 0, at most the part ``error`` of it off.

    Where no weight changes by more than a small part of itself, F does by at most ``steepness`` times that.
    """

    value: float
    error: float
    steepness: float


def cost_of(problem: BalanceProblem) -> Cost | None:
    """None where the costs cannot be enclosed.

    >>> from balproof.importers import load
    >>> found = cost_of(BalanceProblem.build(load("tests/data/chain.json"), "l2"))
    >>> found.value, found.error < 1e-14, round(found.steepness, 6)
    (18.25, True, 2.0)
    """
    laws = _laws(problem)
    if isinstance(laws, NoCertificate):
        return None
    total, steepness = 0.0, 0.0
    for law, (_, part) in zip(laws, problem.groups, strict=True):
        m, _, cost = law.values(problem.weights[part])
        total += float(cost.sum())
        steepness = max(steepness, float(np.max(m / cost, initial=0.0)))
    return Cost(total, _lost(laws, len(problem.weights)), steepness * (1 + 1e-9))


def _laws(problem: BalanceProblem) -> list[Law] | NoCertificate:
    """Those of its groups of weights, with tables where the weights are."""
    laws: list[Law] = []
    for regularizer, part in problem.groups:
        law = Law.of(regularizer)
        if law is None or not law.certain(problem.weights[part]):
            return NoCertificate(f"{regularizer.name} could not be enclosed in power series")
        laws.append(law)
    return laws


def _lost(laws: Sequence[Law], count: int) -> float:
    """The relative error of a sum of so many costs."""
    return SURE * (max((law.cost_error for law in laws), default=0.0) + (count + 8) * UNIT)


Sides = tuple[Array, Array]
"""What comes in and what goes out of every scale."""


def inward(upper: Sides, lower: Sides, gamma: float) -> Array:
    """Whether F falls inward from both faces of each scale, for certain.

    On the upper face ``upper`` bounds in from below and out from above, and ``lower`` the other way round on
    the lower one; all of them are rounded by at most the part ``gamma``.
    """
    rising, falling = ((more - less, more + less) for more, less in (upper, lower[::-1]))
    return (rising[0] > SURE * gamma * rising[1]) & (falling[0] > SURE * gamma * falling[1])


def steepest(low: Sides, high: Sides, gamma: float) -> Array:
    """At least |∂_kF| of every scale, by bounds on in and out, rounded by at most the part ``gamma``."""
    small, large = 1 - SURE * gamma, 1 + SURE * gamma
    up, down = (high[i] * large - low[1 - i] * small for i in (0, 1))
    return np.maximum(up, down) * (1 + 4 * UNIT)


def gap_above(least: float, absolute: float, radius: float) -> GapCertificate | NoCertificate:
    """The certificate of a cost that is at least ``least``, and at most ``absolute`` above the optimum."""
    floor = least - absolute
    if not floor > 0:
        return NoCertificate("the cost could not be bounded from below")
    return GapCertificate(KIND, absolute / floor * (1 + 4 * UNIT), absolute, 53, radius)


class _Box:
    """The moving scales of a problem, entry by entry of A."""

    def __init__(self, problem: BalanceProblem, laws: Sequence[Law], scales: Array) -> None:
        self._problem, self._laws = problem, laws
        self._a = sparse.csr_array(problem.A[:, scales])
        self._size = sparse.csr_array(abs(self._a))
        entries = self._a.tocoo()
        self._weight, self._scale = entries.coords
        self._entry = np.abs(entries.data)
        self._positive = entries.data > 0
        self._certain = True  # as long as all sizes were within the tables
        self._law = np.zeros(len(problem.weights), int)
        for i, (_, part) in enumerate(problem.groups):
            self._law[part] = i

    @staticmethod
    def of(problem: BalanceProblem, laws: Sequence[Law]) -> _Box:
        """One scale of each part that can drift is left out."""
        moving = np.flatnonzero(problem.active)
        pinned = drifting(problem.rows, moving.tolist())
        return _Box(problem, laws, moving[~np.isin(moving, list(pinned))])

    def certificate(self) -> GapCertificate | NoCertificate:
        count = self._a.shape[1]
        if not count:
            return GapCertificate(KIND, 0.0, 0.0, 53, 0.0)
        weights = self._problem.weights
        m, kappa, cost = self._values(weights, np.arange(len(weights)))
        into, out = self._sides(m[self._weight], m[self._weight])
        needed = np.abs(into - out) + SURE * self._gamma() * (into + out)
        d = self._direction(kappa, needed, into + out)
        if d is None:
            return NoCertificate("no direction in which all slopes rise was found")
        s = SURE
        for _ in range(TRIES):
            t = s * d
            if np.max(self._size @ t, initial=0.0) > WIDEST:
                break
            if self._falls_inward(t):
                absolute = float(self._slopes() @ t) * (1 + (count + 8) * UNIT)
                if not self._certain:
                    break
                return self._bound(cost, absolute, float(np.max(t)))
            s *= 2
        return NoCertificate(TOO_FAR)

    def _bound(self, cost: Array, absolute: float, radius: float) -> GapCertificate | NoCertificate:
        return gap_above(
            float(cost.sum()) * (1 - _lost(self._laws, len(cost))) * (1 - 4 * UNIT), absolute, radius
        )

    def _values(self, w: Array, numbers: Array) -> tuple[Array, Array, Array]:
        """m, κ and g of sizes, with the laws of the weights of these numbers."""
        found = np.empty((3, len(w)))
        law = self._law[numbers]
        for i, own in enumerate(self._laws):
            there = law == i
            found[:, there], certain = own.read(w[there])
            self._certain &= certain
        return found[0], found[1], found[2]

    def _sides(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Of each scale Σ |A_ek|·m over entries > 0, m from ``low``, and over the others, from ``high``."""
        count = self._a.shape[1]
        into = np.bincount(self._scale, np.where(self._positive, self._entry * low, 0), count)
        return into, np.bincount(self._scale, np.where(self._positive, 0, self._entry * high), count)

    def _gamma(self) -> float:
        """γ of sums over entries, with that of m."""
        terms = int(np.bincount(self._scale).max(initial=0)) + 16
        return terms * UNIT / (1 - terms * UNIT) + max(law.error for law in self._laws) * SURE

    def _direction(self, kappa: Array, needed: Array, total: Array) -> Array | None:
        """d > 0 with C d near ``needed``."""
        if not np.all(total > 0) or not np.all(np.isfinite(kappa)):
            return None
        weight = sparse.diags_array(kappa)
        diagonal = self._size.power(2).T @ kappa
        comparison = sparse.csc_array(2 * sparse.diags_array(diagonal) - self._size.T @ weight @ self._size)
        # Not less than a part of the greatest everywhere: what is of second order then matters less.
        right = np.maximum(needed, 0.05 * float(np.max(needed / total)) * total)
        if fits(self._problem):
            return solved(comparison, right)
        if not np.all(diagonal > 0):
            return None
        d, _ = cg(comparison, right, rtol=_NEAR, M=sparse.diags_array(1 / diagonal), maxiter=_STEPS)
        return d if np.all(d > 0) else None

    def _near(self, q: Array | float) -> tuple[Array, Array]:
        """Of each entry at most m at its weight times exp(−q), and at least m at its weight times exp(q)."""
        delta = (32 + int(np.diff(self._size.indptr).max(initial=0))) * UNIT
        weights = self._problem.weights[self._weight]
        low = self._values(weights * np.exp(-q) * (1 - delta), self._weight)[0]
        high = self._values(weights * np.exp(q) * (1 + delta), self._weight)[0]
        return low, high

    def _slopes(self) -> Array:
        """At least |∂_kF| of every scale."""
        low, high = self._near(0.0)
        (low_in, high_out), (high_in, low_out) = self._sides(low, high), self._sides(high, low)
        return steepest((low_in, low_out), (high_in, high_out), self._gamma())

    def _falls_inward(self, t: Array) -> bool:
        """Whether F falls inward from all faces of the box, for certain."""
        low, high = self._near((self._size @ t)[self._weight] - 2 * self._entry * t[self._scale])
        if not self._certain:
            return False
        return bool(np.all(inward(self._sides(low, high), self._sides(high, low), self._gamma())))
