"""Operations entry by entry and their pieces, and what of softmax and normalisation can be said at all."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import perm, prod

import numpy as np
import sympy

from balproof.conservation.passes import Pass, Unsupported
from balproof.conservation.tape import Node
from balproof.network.graph import Operation
from balproof.network.scales import aligned
from balproof.symbolic.activation import Activation
from balproof.symbolic.numeric import rational

Array = np.ndarray


def pieces(function: Activation) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]] | None:
    """Coefficients (of 1, x, x², …) for x > 0 and for x < 0; None if the function is no such polynomial.

    >>> [[str(c) for c in side] for side in pieces(Activation.parse("leaky_relu:1/5"))]
    [['0', '1'], ['0', '1/5']]
    """
    x = function.variable
    if function.coefficients is not None and function.degree is not None:
        degree = rational(function.degree)
        sides = [rational(sympy.sympify(c)) for c in function.coefficients]
        if degree is not None and degree.denominator == 1 and 0 <= degree <= 64 and None not in sides:
            n = int(degree)
            up, down = (s for s in sides if s is not None)
            return (Fraction(0),) * n + (up,), (Fraction(0),) * n + (down * (-1) ** n,)
    if function.kind == "zero":
        return (Fraction(0),), (Fraction(0),)
    if function.expression.is_polynomial(x) and sympy.degree(function.expression, x) <= 64:
        found = [rational(c) for c in reversed(sympy.Poly(function.expression, x).all_coeffs())]
        if None not in found:
            side = tuple(c for c in found if c is not None)
            return side, side
    return None


def activation(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    (x,) = operands
    found = pieces(op.attributes["function"])
    if found is None:
        return r.opaque(r, op, operands, (r.step, op.output))
    one = r.ring.constant(np.ones((1,) * len(x.shape), np.int64))
    if found[0] == found[1]:
        sides, found = (one,), found[:1]
    else:
        sides = r.sides(op, x)
    if all(len(side) == 2 and side[0] == 0 for side in found):  # c·x: a factor for each side
        parts = [r.ring.multiply(m, r.number(side[1])) for m, side in zip(sides, found)]
        return r.tape.times(x, parts[0] if len(parts) == 1 else r.ring.add(*parts))

    def derivative(k: int, base: Array) -> Array:
        total = r.ring.multiply(base, r.number(0))
        for mask, side in zip(sides, found):
            value = r.ring.multiply(base, r.number(0))
            for n in range(len(side) - 1, k - 1, -1):  # Horner
                value = r.ring.add(r.ring.multiply(value, base), r.number(side[n] * perm(n, k)))
            total = r.ring.add(total, r.ring.multiply(mask, value))
        return total

    return r.tape.unary(x, derivative)


def prelu(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    x, slope = operands
    slope = in_axes(r, op, slope)
    up, down = r.sides(op, x)
    return r.tape.add(r.tape.times(x, up), r.tape.multiply(r.tape.times(x, down), slope))


def in_axes(r: Pass, op: Operation, operand: Node) -> Node:
    """A parameter in the axes of the result."""
    ndim = len(r.network.tensors[op.output].shape)
    return r.tape.reshape(operand, aligned(r.network.tensors[op.inputs[1]], ndim, op.attributes.get("axis")))


def largest(
    r: Pass, op: Operation, x: Node, axes: tuple[int, ...], there: Array | None = None, sign: int = 1
) -> Array:
    """1 at the largest entry along axes, 0 elsewhere, as numbers of the ring."""
    if r.symbols is not None:
        return r.symbols(op, x, "")
    if x.jet[0].dtype == object:
        raise Unsupported(f"{op.name} takes the largest of numbers that are no polynomials of the weights")

    def flat() -> tuple[Array, Array]:
        value = sign * x.jet[0]
        if there is not None:
            value = np.where(there, value, -np.inf)
        last = tuple(range(-len(axes), 0))
        moved = np.moveaxis(value, axes, last)
        return moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1), moved

    def decide() -> tuple[Array, Array]:
        value, moved = flat()
        best = value.argmax(axis=-1)
        hot = best[..., None] == np.arange(value.shape[-1])
        rest = np.where(hot, -np.inf, value).max(axis=-1)
        mask = np.moveaxis(hot.reshape(moved.shape), tuple(range(-len(axes), 0)), axes)
        return mask, np.where(np.isfinite(rest), value.max(axis=-1) - rest, np.inf)

    def size() -> Array:
        return 2 * np.abs(np.where(np.isfinite(flat()[0]), flat()[0], 0.0)).max(axis=-1)

    return r.ring.constant(r.mask(op, decide, size))


def extreme(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    shape = r.network.tensors[op.output].shape
    parts = []
    for x in operands:
        wide = np.arange(prod(x.shape[1:])).reshape(x.shape[1:])
        parts.append(r.tape.gather(x, np.broadcast_to(wide, shape)))
    whole = r.tape.reshape(r.tape.concat(parts), (len(parts), *shape))
    chosen = largest(r, op, whole, (1,), sign=1 if op.attributes.get("largest", True) else -1)
    return r.tape.reshape(r.tape.sum(r.tape.times(whole, chosen), (1,)), shape)


# --- what no polynomial is ---------------------------------------------------------------------------------


def normalised_together(r: Pass, op: Operation, x: Node) -> tuple[Node, tuple[int, ...]]:
    """What a normalisation takes together: its operand in fitting axes, and which of them."""
    shape, groups = x.shape[1:], op.attributes.get("groups")
    if groups:
        given = r.tape.reshape(x, (shape[0], int(groups), prod(shape[1:]) // int(groups)))
        return given, (3,)
    return x, tuple(sorted(a % len(shape) + 1 for a in op.attributes["axes"]))


def centred(r: Pass, x: Node, axes: tuple[int, ...]) -> Node:
    """x less its mean along axes."""
    mean = r.tape.times(r.tape.sum(x, axes), r.number(Fraction(-1, prod(x.shape[a] for a in axes))))
    return r.tape.add(x, mean)


def softmax_axis(op: Operation, x: Node) -> int:
    """The axis of a softmax, behind the sample axis."""
    return int(op.attributes.get("axis", -1)) % (len(x.shape) - 1) + 1


def seen(r: Pass, op: Operation, operands: Sequence[Node]) -> Sequence[Node]:
    """What an operation without polynomials sees of its operands: a softmax, or a normalisation that centres,
    does not see what all entries have in common."""
    x, *rest = operands
    if op.kind == "softmax":
        return [centred(r, x, (softmax_axis(op, x),)), *rest]
    if op.kind == "norm" and (op.attributes.get("groups") or op.attributes.get("center", True)):
        return [centred(r, *normalised_together(r, op, x)), *rest]
    return operands
