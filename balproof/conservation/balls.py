"""Ranks of fields that are no polynomials (tanh, GELU, softmax, normalisation), over real balls of Arb.

The fields are enclosed at a point with rational coordinates. That a minor is not 0 is certain when the ball
of its determinant does not contain 0: a rank from below, as over a prime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import sympy
from flint import arb, arb_mat, ctx, fmpq
from scipy.linalg import qr
from sympy.core.relational import Relational

from balproof.conservation.fields import Fields
from balproof.conservation.passes import Key, Pass, Regions, Unsupported, refuse
from balproof.conservation.ring import Objects
from balproof.conservation.sampling import Data
from balproof.conservation.steps_elementwise import centred, normalised_together, softmax_axis
from balproof.conservation.tape import Node
from balproof.network.graph import Operation
from balproof.network.scales import aligned
from balproof.symbolic import ball
from balproof.symbolic.activation import Activation

Array = np.ndarray

BITS = 256
LARGEST = 400
"""Parameters up to which ranks over balls are computed."""


def _ball(value: Fraction) -> arb:
    return arb(fmpq(value.numerator, value.denominator))


@dataclass(frozen=True)
class Balls(Objects):
    """Real balls."""

    make: Any = _ball

    def positive(self, a: Array) -> Array:
        """Raises Unsupported where a sign is not certain."""
        signs = [1 if v > 0 else -1 if v < 0 else 0 for v in a.flat]
        if 0 in signs:
            raise Unsupported("a sign is not certain in ball arithmetic")
        return np.array(signs).reshape(a.shape) > 0


class BallFields(Fields):
    """Fields over balls: regions are decided by the balls themselves."""

    def settle(self, index: Array) -> tuple[Regions, Array]:
        return Regions(), np.ones(len(index), bool)


# --- functions that are no polynomials ---------------------------------------------------------------------


def analytic(run: Pass, op: Operation, operands: Sequence[Node], key: Key) -> Node:
    """Activations by their derivatives, normalisation, quotients and softmax.

    Raises Unsupported for anything else.
    """
    if op.kind == "activation":
        return run.tape.unary(operands[0], _derivatives(op.attributes["function"]))
    if op.kind == "norm":
        return _norm(run, op, operands)
    if op.kind == "div":
        return run.tape.multiply(operands[0], run.tape.unary(operands[1], _powers(Fraction(-1))))
    if op.kind == "softmax" and not op.attributes.get("log", False):
        grown = run.tape.unary(operands[0], lambda _, x: _mapped(x, lambda v: v.exp()))
        if len(operands) > 1:
            if operands[1].moved:
                return refuse(run, op, operands, key)
            hidden = np.array([bool(v != 0) for v in operands[1].jet[0].flat]).reshape(operands[1].shape)
            grown = run.tape.times(grown, run.ring.constant(hidden.astype(np.int64)))
        total = run.tape.sum(grown, (softmax_axis(op, operands[0]),))
        return run.tape.multiply(grown, run.tape.unary(total, _powers(Fraction(-1))))
    return refuse(run, op, operands, key)


def _mapped(x: Array, function: Any) -> Array:
    result = np.empty(x.shape, dtype=object)
    result.reshape(-1)[:] = [function(v) for v in x.flat]
    return result


def _powers(exponent: Fraction) -> Any:
    """x^e and its derivatives."""

    def derivative(k: int, x: Array) -> Array:
        factor = Fraction(1)
        for i in range(k):
            factor *= exponent - i
        return _mapped(x, lambda v: _ball(factor) * v ** _ball(exponent - k))

    return derivative


@lru_cache(maxsize=256)
def _derivative(function: Activation, k: int) -> sympy.Expr:
    expression = function.expression
    if expression.has(sympy.Max, sympy.Min, sympy.Abs, sympy.sign, sympy.Heaviside):
        expression = expression.rewrite(sympy.Piecewise)
    found = expression.diff(function.variable, k) if k else expression
    return sympy.piecewise_fold(found) if found.has(sympy.Piecewise) else found


def _derivatives(function: Activation) -> Any:
    if function.parameters:
        raise Unsupported(f"{function.text} has parameters without numbers")

    def derivative(k: int, x: Array) -> Array:
        expression = _derivative(function, k)
        kinks = {r.lhs - r.rhs for r in _derivative(function, 0).atoms(Relational)}
        return _mapped(x, lambda v: _enclosed(function, expression, kinks, v))

    return derivative


def _enclosed(function: Activation, expression: sympy.Expr, kinks: set[sympy.Expr], x: arb) -> arb:
    """A value, in a small ball that is away from every kink."""
    try:
        value = ball.enclose(expression, {function.variable: x}, BITS)
        away = [ball.enclose(kink, {function.variable: x}, BITS) for kink in kinks]
    except (ball.NotReal, ball.Unknown):
        raise Unsupported(f"the derivatives of {function.text} are not enclosed") from None
    if any(v.contains(0) for v in away) or not value.is_finite():
        raise Unsupported(f"{function.text} is not enclosed at the point")
    return value


def _norm(run: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    """(x − mean)/√(var + ε)·γ + β, as in `balproof.network.rules_elementwise`."""
    x, *affine = operands
    tape = run.tape
    shape = x.shape[1:]
    given, axes = normalised_together(run, op, x)
    if op.attributes.get("groups") or op.attributes.get("center", True):
        given = centred(run, given, axes)
    share = run.number(Fraction(1, prod(given.shape[a] for a in axes)))
    power = tape.times(tape.sum(tape.multiply(given, given), axes), share)
    epsilon = tape.put(
        {0: run.number(float(op.attributes.get("epsilon", 0.0))).reshape((1,) * len(power.shape))}
    )
    root = tape.unary(tape.add(power, epsilon), _powers(Fraction(-1, 2)))
    result = tape.reshape(tape.multiply(given, root), shape)
    views = [
        aligned(run.network.tensors[name], len(shape), op.attributes.get("axis")) for name in op.inputs[1:]
    ]
    if affine:
        result = tape.multiply(result, tape.reshape(affine[0], views[0]))
    return tape.add(result, tape.reshape(affine[1], views[1])) if len(affine) > 1 else result


# --- the rank ----------------------------------------------------------------------------------------------


def fields(data: Data, theta: Mapping[str, Array]) -> Fields:
    return BallFields(data, theta, Balls(), analytic)


def minor(rows: Array, wanted: int) -> tuple[list[int], list[int]]:
    """Rows and columns of a minor that is certainly not 0, as large as is found up to ``wanted``.

    Chosen in floating point, certain by the ball of its determinant.
    """
    middle = np.array([[float(v.mid()) for v in row] for row in rows])
    norms = np.linalg.norm(middle, axis=1, keepdims=True)
    middle = middle / np.where(norms > 0, norms, 1.0)
    _, sizes, order = qr(middle.T, mode="economic", pivoting=True)
    steps = np.abs(np.diag(sizes))
    numeric = int(np.sum(steps > 1e-12 * steps[0])) if steps.size else 0
    for size in sorted({min(wanted, len(steps)), numeric, max(0, numeric - 1)}, reverse=True):
        if not 0 < size <= wanted:
            continue
        picked = sorted(order[:size].tolist())
        columns = sorted(qr(middle[picked], mode="economic", pivoting=True)[2][:size].tolist())
        if certain(rows, picked, columns):
            return picked, columns
    return [], []


def certain(rows: Array, picked: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether a minor is certainly not 0."""
    if not picked:
        return True
    matrix = arb_mat(len(picked), len(columns), rows[np.ix_(picked, columns)].ravel().tolist())
    determinant = matrix.det()
    return bool(determinant.is_finite() and not determinant.contains(0))


class Precision:
    """Ball arithmetic with `BITS` bits."""

    def __enter__(self) -> None:
        self._before = ctx.prec
        ctx.prec = BITS

    def __exit__(self, *_: object) -> None:
        ctx.prec = self._before
