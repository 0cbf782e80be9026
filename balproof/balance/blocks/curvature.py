"""The second derivatives of F over blocks of weights, as products with vectors, and conjugate gradients.

A product reads every block once. The gradients see whole layers as well, by a small matrix: in deep networks
the diagonal alone leaves the slow modes to the iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.blocks.cyclic import LAYERS
from balproof.balance.blocks.gradients import conjugate_gradients
from balproof.balance.blocks.kernels import layer_terms
from balproof.balance.blocks.plan import flat, plan_of
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.blocks.sparse_pair import SparsePair
from balproof.balance.elimination import narrow

Array = np.ndarray

_SHIFT = 1e-15
"""Of the diagonal is added to it before factors are taken: it keeps them defined."""

Factors = Sequence[tuple[Array, Array]]
"""Of both sides of every block."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """v ↦ H·v with H = Σ_t p_t²ω_t A_t A_tᵀ at a state, by factors and sums of all blocks there."""

    problem: BlockProblem
    factors: Factors
    sums: Factors

    @staticmethod
    def at(problem: BlockProblem, h: Array, sums: Factors) -> Curvature:
        """That at h, by the sums there."""
        return Curvature(problem, [pair.factors(h) for pair in problem.pairs], sums)

    def compared(self) -> Curvature:
        """The same with the comparison matrix: what is off the diagonal is at most 0, weight by weight.

        It is Σ_t p_t²ω_t B_t B_tᵀ, where B_t has the two coefficients of the weight as |c| and −|c'|.
        """
        turned = tuple(
            replace(p, rows=p.rows.signed(1.0), columns=p.columns.signed(-1.0)) for p in self.problem.pairs
        )
        return replace(self, problem=replace(self.problem, pairs=turned))

    @cached_property
    def diagonal(self) -> Array:
        """That of H, 0 where nothing moves."""
        total = np.zeros(self.problem.manifold.count)
        for pair, own, factors in zip(self.problem.pairs, self.sums, self.factors, strict=True):
            weight = pair.power**2 * pair.factor
            for (_, side), sums, factor in zip(pair.sides(), own, factors, strict=True):
                total += side.over(weight * side.coefficient**2 * factor * sums, len(total))
        return np.where(self.problem.active, total, 0.0)

    def times(self, v: Array) -> Array:
        """H·v: one read."""
        total = np.zeros(len(v))
        for pair, (rows, columns), (e, y) in zip(self.problem.pairs, self.sums, self.factors, strict=True):
            weight = pair.power**2 * pair.factor
            a, b = pair.rows.logs(v), pair.columns.logs(v)
            along, across = pair.read(a * e, b * y)
            left, right = e * (rows * a + along), y * (columns * b + across)
            total += pair.rows.over(weight * pair.rows.coefficient * left, len(v))
            total += pair.columns.over(weight * pair.columns.coefficient * right, len(v))
        return np.where(self.problem.active, total, 0.0)

    def solve(
        self, right: Array, done: Callable[[Array, Array], bool], limit: int
    ) -> tuple[Array, Array, int]:
        """x, right − H·x and steps of conjugate gradients, until ``done`` of the former: a read for each.

        After ``limit`` steps, or where H turns out to be singular, it is what was reached. Where factors of H
        are small these take over then: a few steps more.
        """
        inverse = np.divide(1.0, self.diagonal, where=self.diagonal > 0, out=np.zeros(len(right)))
        coarse = self._by_layers()

        def enough(x: Array, residual: Array, _: float) -> bool:
            return done(x, residual)

        found = conjugate_gradients(self.times, lambda r: inverse * r + coarse(r), right, enough, limit)
        if done(*found[:2]) or (near := self._by_factors()) is None:
            return found
        x, residual, more = conjugate_gradients(self.times, near, right, enough, limit)
        return x, residual, found[2] + more

    def _by_factors(self) -> Callable[[Array], Array] | None:
        """r ↦ H⁻¹·r, all but rounding, for sparse matrices whose factors are small; otherwise None."""
        problem, count = self.problem, self.problem.manifold.count
        moving = np.flatnonzero(problem.active)
        listed = [pair for pair in problem.pairs if isinstance(pair, SparsePair)]
        if not len(moving) or len(listed) < len(problem.pairs):
            return None
        h = sparse.csr_array((count, count))
        for pair, (e, y) in zip(listed, self.factors, strict=True):
            i, j = pair.support()
            omega = pair.power**2 * pair.factor * pair.costs_at(i, j) * e[i] * y[j]
            ends = (pair.rows.unit[i], pair.columns.unit[j])
            slopes = (pair.rows.coefficient[i], pair.columns.coefficient[j])
            for a, c in zip(ends, slopes, strict=True):
                for b, d in zip(ends, slopes, strict=True):
                    there = (a >= 0) & (b >= 0)
                    h += sparse.coo_array(
                        ((omega * c * d)[there], (a[there], b[there])), (count, count)
                    ).tocsr()
        h = sparse.csr_array(h[moving][:, moving])
        if not narrow(h):
            return None
        scale = np.sqrt(h.diagonal())
        if not (scale > 0).all():
            return None
        shrink = sparse.diags_array(1 / scale)
        solver = splu(sparse.csc_array(shrink @ h @ shrink + _SHIFT * sparse.eye_array(len(scale))))

        def solve(r: Array) -> Array:
            found = np.zeros(count)
            found[moving] = solver.solve(r[moving] / scale) / scale
            return found

        return solve

    def _by_layers(self) -> Callable[[Array], Array]:
        """r ↦ P (Pᵀ H P)⁻¹ Pᵀ r, with P constant on every layer."""
        problem = self.problem
        layers, count = problem.layers, int(problem.layers.max(initial=-1)) + 1
        if not 0 < count <= LAYERS:
            return np.zeros_like
        fresh = np.ones(2 * len(problem.pairs), bool)
        terms = layer_terms(plan_of(problem), flat(self.factors), flat(self.sums), fresh)
        costs, start, index, value = terms
        if not len(costs):
            return np.zeros_like
        rows = sparse.csr_array((value, index, start), (len(costs), count))
        small = sparse.csc_array(rows.T @ sparse.diags_array(costs) @ rows)
        diagonal = small.diagonal()
        if not np.all(diagonal > 0):
            return np.zeros_like
        solver = splu(sparse.csc_array(small + 1e-12 * sparse.diags_array(diagonal)))
        moving = layers >= 0

        def correct(r: Array) -> Array:
            t = solver.solve(np.bincount(layers[moving], r[moving], count))
            return np.where(moving, t[layers], 0.0)

        return correct
