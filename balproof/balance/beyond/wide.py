"""Costs and imbalances of weights whose costs no double holds: a number and a power of two for each.

A sum over a unit is taken relative to its largest cost, so that only what is lost in it anyway is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import arb

from balproof.balance.problem import HIGHEST, LOWEST, BalanceProblem
from balproof.symbolic.ball import NotReal, Unknown, enclose
from balproof.symbolic.convexity import W
from balproof.symbolic.regularizer import Regularizer

Array = np.ndarray

_NOTHING = np.iinfo(np.int64).min // 4
"""The exponent of 0."""


@dataclass(frozen=True, eq=False)
class Wide:
    """Numbers value·2^exponent."""

    value: Array
    exponent: Array

    def total(self) -> Wide:
        """The sum of all."""
        top = int(self.exponent.max(initial=_NOTHING))
        return Wide(np.array(np.sum(np.ldexp(self.value, _int(self.exponent - top)))), np.array(top))

    def double(self) -> float:
        """As a double; ∞ where it is too large for one."""
        with np.errstate(over="ignore"):
            return float(np.ldexp(float(self.value), int(np.clip(self.exponent, -5000, 5000))))

    def log10(self) -> float:
        """Its decimal logarithm; −∞ of 0."""
        return float((np.log2(self.value) + self.exponent) * np.log10(2.0)) if self.value > 0 else -np.inf

    def over(self, other: Wide) -> float:
        """A quotient of two numbers, the second of which is not 0."""
        return Wide(self.value / other.value, self.exponent - other.exponent).double()


def held(cost: Wide) -> bool:
    """Whether a double holds a cost."""
    return cost.value == 0 or 0 < cost.double() < np.inf


def _int(exponents: Array) -> Array:
    return np.clip(exponents, -5000, 5000).astype(np.int32)


def power(w: Array, p: float, factor: float) -> Wide:
    """factor·w^p for w > 0.

    >>> cube = power(np.array([2.0**-500]), 3.0, 5.0)
    >>> float(cube.value[0] * 2.0 ** (cube.exponent[0] + 1500))
    5.0
    """
    fraction, exponent = np.frexp(w)
    product = p * exponent.astype(np.float64)
    whole = np.floor(product)
    return Wide(factor * fraction**p * np.exp2(product - whole), whole.astype(np.int64))


def wide(problem: BalanceProblem, order: int) -> Wide:
    """The costs (0) or marginal costs (1) of all weights of the problem.

    Where they are no sums of powers, few of them may be beyond doubles: RangeError where they are many.
    """
    parts: list[Wide] = []
    if problem.exponents is None:
        parts = [_any(problem, regularizer, part, order) for regularizer, part in problem.groups]
    for part, terms in problem.exponents or ():
        own = [power(problem.weights[part], p, a * p**order) for a, p in terms]
        top = np.max([t.exponent for t in own], axis=0)
        value = np.sum([np.ldexp(t.value, _int(t.exponent - top)) for t in own], axis=0)
        parts.append(Wide(value, top))
    if not parts:
        return Wide(np.zeros(0), np.zeros(0, dtype=np.int64))
    return Wide(np.concatenate([t.value for t in parts]), np.concatenate([t.exponent for t in parts]))


_FEW, _BITS = 1_000, 4096
"""Weights whose costs are formed in ball arithmetic, and its precision: 1 + w² is exact in it."""


def _any(problem: BalanceProblem, regularizer: Regularizer, part: slice, order: int) -> Wide:
    """Costs of any form: those beyond doubles from balls."""
    w = problem.weights[part]
    expression = regularizer.marginal_expression if order else regularizer.half
    values = regularizer.marginal(w) if order else regularizer.cost(w)
    exponent = np.zeros(len(w), dtype=np.int64)
    beyond = np.flatnonzero(~((np.abs(values) > LOWEST) & (np.abs(values) < HIGHEST)))
    if len(beyond) > _FEW:
        problem.require_range()
    for i in beyond.tolist():
        try:
            found = enclose(expression, {W: Fraction(float(w[i]))}, _BITS)
        except (NotReal, Unknown):
            found = arb.nan()
        if not found.is_finite() or found.rel_accuracy_bits() < 60:
            problem.require_range()
        mantissa, power_of_two = found.mid().man_exp()
        size = int(mantissa).bit_length() - 60
        values[i] = float(Fraction(int(mantissa)) / Fraction(2) ** size) if mantissa else 0.0
        exponent[i] = int(power_of_two) + size if mantissa else _NOTHING
    return Wide(values, exponent)


def imbalances(problem: BalanceProblem) -> Array:
    """`BalanceProblem.imbalances` at h = 0, for weights of any size.

    >>> from balproof.importers import load
    >>> problem = BalanceProblem.build(load("tests/data/chain.json"))
    >>> imbalances(problem).round(2).tolist(), problem.imbalances(np.zeros(2)).round(2).tolist()
    ([0.95, 0.0], [0.95, 0.0])
    """
    if problem.in_range:
        return problem.imbalances(np.zeros(problem.count))
    marginal, matrix = wide(problem, 1), problem.A.tocoo()
    rows, columns = matrix.coords
    exponent = marginal.exponent[rows]
    top = np.full(problem.count, _NOTHING)
    np.maximum.at(top, columns, exponent)
    share = matrix.data * np.ldexp(marginal.value[rows], _int(exponent - top[columns]))
    rest = np.abs(np.bincount(columns, share, problem.count))
    total = np.bincount(columns, np.abs(share), problem.count)
    return np.where(problem.active, rest / np.where(total > 0, total, 1.0), 0.0)


def cost(problem: BalanceProblem) -> Wide:
    """F at h = 0."""
    if problem.in_range:
        return Wide(np.array(problem.cost(np.zeros(problem.count))), np.array(0))
    return wide(problem, 0).total()
