"""Mixing of the last sweeps, with weights of their own for every layer.

The sums of a block depend on the scales across it alone, and the last sweeps show how: what a layer did then
and what the sums on the other side of its blocks did. So Newton's equations are known on the span of the last
moves of each layer, by itself, and of its move as a whole, and no weight is read for them. Where modes are
slow along the layers, as in networks that hang together weakly, few moves of each layer span them all, while
one mixture of whole states would need as many as there are modes.
"""

# Compiled code: see `balproof.balance.blocks.kernels`.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportPrivateImportUsage]
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.blocks.kernels import Plan, lead_of

Array = np.ndarray

_NEW = 1e-3
"""What is left of a move beside later ones is followed if it is more than this share of it."""

_FAR = 1.0
"""No log-scale moves by more at once, no logarithm of a sum by more than four times that."""

_MANY = 2_000
"""Layers at most: their equations are solved in every sweep."""


class Layerwise:
    """Remembers up to ``depth`` moves from sweep to sweep; `step` gives the next state."""

    def __init__(self, plan: Plan, depth: int = 16) -> None:
        self._plan = plan
        self._depth = depth
        self._across = _across(plan)
        self._least = np.inf
        self.forget()

    @staticmethod
    def able(plan: Plan) -> bool:
        """Whether each side of the blocks moves with one layer or not at all, and sweeps leave sums complete.

        They do forward along a chain.
        """
        layers = len(plan.unit_start) - 1
        alike = bool((np.diff(plan.kind_start) == 1).all()) and not plan.loop.any()
        return alike and 0 < layers <= _MANY and _complete(plan)

    def forget(self) -> None:
        """Start anew."""
        self._last: tuple[Array, Array] | None = None
        self._moves: list[tuple[Array, Array]] = []

    def step(self, h: Array, factors: Array, sums: Array, lag: float) -> None:
        """From the state after a sweep to the next one, in place: h and the logarithms of sums move.

        All sums that layers balance by are up to date, and ``lag`` is how far they were from balance.
        """
        if not lag <= 30 * self._least:
            self.forget()
        self._least = min(self._least, lag)
        now = h.copy(), np.log(sums, where=sums > 0, out=np.zeros(len(sums)))
        last, self._last = self._last, now
        if last is None:
            return
        self._moves = [(now[0] - last[0], now[1] - last[1]), *self._moves[: self._depth - 1]]
        plan = self._plan
        moves, follow = (np.array([move[i] for move in self._moves]) for i in (0, 1))
        marginal = plan.weight * factors * sums
        basis, mix, rank = _bases(plan, marginal, moves, _NEW)
        first = np.concatenate([[0], np.cumsum(rank)])
        matrix, right = _equations(plan, self._across, marginal, basis, mix, rank, first, follow)
        size = int(first[-1])
        if not size or not np.isfinite(right).all():
            return
        try:
            found = splu(sparse.csc_array(sparse.coo_array(matrix, (size, size)))).solve(right)
        except RuntimeError:  # singular: there are parts that drift
            return
        by = _applied(plan, self._across, mix, rank, first, found, moves, follow)
        far = max(float(np.max(np.abs(by[0]), initial=0.0)), float(np.max(np.abs(by[1]), initial=0.0)) / 4)
        if not np.isfinite(far):
            return
        share = min(1.0, _FAR / far) if far else 1.0
        h += share * by[0]
        sums *= np.exp(share * by[1])


def _complete(plan: Plan) -> bool:
    """Whether all sums that layers balance by are up to date after a sweep forward."""
    fresh = np.zeros(len(plan.start) - 1, bool)
    for layer in range(len(plan.unit_start) - 1):
        lead = lead_of(plan, layer, fresh)
        for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
            fresh[plan.side[t]], fresh[plan.side[t] ^ 1] = True, t == lead
    return bool(fresh[plan.side].all())


def _across(plan: Plan) -> Array:
    """For each side the layer of the other side of its block; −1 where that does not move."""
    kind = plan.kind_start[:-1]
    layer = np.where(plan.kind_coefficient[kind] != 0, plan.kind_layer[kind], -1)
    return layer.reshape(-1, 2)[:, ::-1].ravel()


@njit(nogil=True, cache=True)
def _bases(plan, marginal, moves, new):
    """For each layer independent moves of its units, as a whole and as lately, and what mixes them.

    They are orthonormal in the curvature of each unit.
    """
    count, most = len(plan.unit_start) - 1, len(moves) + 1
    curvature = np.zeros(len(plan.layer))
    for j in range(len(marginal)):
        if plan.place[j] >= 0:
            curvature[plan.unit[j]] += plan.exponent[j] * marginal[j]
    basis = np.zeros((len(plan.layer), most))
    mix, rank = np.zeros((count, most, most)), np.zeros(count, np.int64)
    for layer in range(count):
        own = plan.units[plan.unit_start[layer] : plan.unit_start[layer + 1]]
        n = 0
        for m in range(most):
            if n == len(own):
                break
            v, by, size = np.zeros(len(own)), np.zeros(most), 0.0
            for i in range(len(own)):
                v[i] = 1.0 if m == 0 else moves[m - 1, own[i]]
                size += curvature[own[i]] * v[i] ** 2
            if not size > 0:
                continue
            by[m] = 1.0 / np.sqrt(size)
            for i in range(len(own)):
                v[i] *= by[m]
            for _ in range(2):
                for k in range(n):
                    dot = 0.0
                    for i in range(len(own)):
                        dot += curvature[own[i]] * v[i] * basis[own[i], k]
                    for i in range(len(own)):
                        v[i] -= dot * basis[own[i], k]
                    for i in range(m + 1):
                        by[i] -= dot * mix[layer, i, k]
            size = 0.0
            for i in range(len(own)):
                size += curvature[own[i]] * v[i] ** 2
            if not size > new**2:
                continue
            for i in range(len(own)):
                basis[own[i], n] = v[i] / np.sqrt(size)
            for i in range(m + 1):
                mix[layer, i, n] = by[i] / np.sqrt(size)
            n += 1
        rank[layer] = n
    return basis, mix, rank


@njit(nogil=True, cache=True)
def _equations(plan, across, marginal, basis, mix, rank, first, follow):
    """Newton's equations on the bases: entries, where they are, and the right side."""
    count, room = len(rank), 0
    for layer in range(count):
        room += rank[layer]
        for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
            other = across[plan.side[t]]
            if other >= 0:
                room += rank[layer] * rank[other]
    value, row, column = np.zeros(room), np.zeros(room, np.int64), np.zeros(room, np.int64)
    right, n = np.zeros(first[-1]), 0
    for layer in range(count):
        own = rank[layer]
        for i in range(own):  # the basis is orthonormal in the curvature
            value[n], row[n], column[n] = 1.0, first[layer] + i, first[layer] + i
            n += 1
        for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
            s = plan.side[t]
            other = across[s]
            width = rank[other] if other >= 0 else 0
            kind = plan.kind_start[s ^ 1]
            whole = plan.power[s // 2] * plan.kind_coefficient[kind]
            block, response = np.zeros((own, width)), np.zeros(width)
            for e in range(plan.entry_start[t], plan.entry_start[t + 1]):
                j = plan.entry[e]
                v = basis[plan.unit[j]]
                for i in range(own):
                    right[first[layer] + i] -= v[i] * marginal[j]
                for k in range(width):
                    response[k] = whole * mix[other, 0, k]
                    for m in range(len(follow)):
                        response[k] += follow[m, j] * mix[other, m + 1, k]
                for i in range(own):
                    for k in range(width):
                        block[i, k] += v[i] * marginal[j] * response[k]
            for i in range(own):
                for k in range(width):
                    value[n], row[n], column[n] = block[i, k], first[layer] + i, first[other] + k
                    n += 1
    return (value, (row, column)), right


@njit(nogil=True, cache=True)
def _applied(plan, across, mix, rank, first, found, moves, follow):
    """The moves of all units, and of the logarithms of all sums."""
    by_h, by_sums = np.zeros(moves.shape[1]), np.zeros(follow.shape[1])
    weights = np.zeros((len(rank), len(moves) + 1))
    for layer in range(len(rank)):
        for m in range(len(moves) + 1):
            for k in range(rank[layer]):
                weights[layer, m] += mix[layer, m, k] * found[first[layer] + k]
        for unit in plan.units[plan.unit_start[layer] : plan.unit_start[layer + 1]]:
            by_h[unit] = weights[layer, 0]
            for m in range(len(moves)):
                by_h[unit] += weights[layer, m + 1] * moves[m, unit]
    for s in range(len(across)):
        if across[s] >= 0:
            kind = plan.kind_start[s ^ 1]
            whole = plan.power[s // 2] * plan.kind_coefficient[kind]
            for j in range(plan.start[s], plan.start[s + 1]):
                by_sums[j] = whole * weights[across[s], 0]
                for m in range(len(moves)):
                    by_sums[j] += weights[across[s], m + 1] * follow[m, j]
    return by_h, by_sums
