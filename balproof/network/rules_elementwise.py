"""Scaling rules of operations that act entry by entry, and of normalisations."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from balproof.network.equations import Equation
from balproof.network.graph import Operation, Tensor
from balproof.network.rule import ScalingRule, instance, length, parameter, source
from balproof.network.rules_linear import nonzero
from balproof.network.scales import (
    ONE,
    Implication,
    ParameterScale,
    Scales,
    Tensors,
    Term,
    Variables,
    aligned,
    equal,
    pin,
    pinned,
    tied,
)
from balproof.symbolic.activation import Activation
from balproof.symbolic.numeric import rational

Array = np.ndarray


def _covers(shape: tuple[int, ...], variables: Array) -> bool:
    """Whether a factor of this aligned shape has an entry of its own wherever the variables change."""
    return all(m > 1 or n == 1 for m, n in zip(shape, variables.shape, strict=True))


def _factor(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = x·f entry by entry: s_y = s_x + s_f. A constant f has scale 0 where it is not 0; 0 is free."""
    x, factor = op.inputs
    tensor, given = tensors[factor], scales[x]
    shape = aligned(tensor, len(tensors[op.output].shape), op.attributes.get("axis"))
    given = given.reshape((1,) * (len(shape) - given.ndim) + given.shape)
    if tensor.role == "constant":
        keep = nonzero(tensor).reshape(shape)
        if keep.all():
            return Implication(given)
        both = np.broadcast_shapes(shape, given.shape)
        output = new(both)
        used = np.broadcast_to(keep, both)
        reason = f"constant factor (operation {op.name})"
        return Implication(output, tuple(equal(output[used], np.broadcast_to(given, both)[used], reason)))
    if _covers(shape, given):
        output = new(shape)
        terms = (Term(output), Term(given, -ONE))
        return Implication(output, (), (ParameterScale(factor, shape, terms),))
    output, own = new(np.broadcast_shapes(shape, given.shape)), new(shape)
    reason = f"one factor for several entries (operation {op.name})"
    equations = _sum_of(output, given, own, reason)
    return Implication(output, equations, (ParameterScale(factor, shape, (Term(own),)),))


def _sum_of(
    total: Array, left: Array, right: Array, reason: str, sign: Fraction = ONE
) -> tuple[Equation, ...]:
    """s_total = s_left + sign·s_right, entry by entry after broadcasting."""
    columns = (np.broadcast_to(v, total.shape).ravel().tolist() for v in (total, left, right))
    rows = zip(*columns, strict=True)
    return tuple(Equation(((t, ONE), (a, -ONE), (b, -sign)), reason) for t, a, b in rows)


def _bias(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = x + b: all three share one scale; an exact 0 of a constant b demands nothing."""
    x, b = op.inputs
    tensor, given = tensors[b], scales[x]
    shape = aligned(tensor, len(tensors[op.output].shape), op.attributes.get("axis"))
    given = given.reshape((1,) * (len(shape) - given.ndim) + given.shape)
    if tensor.role == "constant":
        used = nonzero(tensor).reshape(shape)
        both = np.broadcast_shapes(shape, given.shape)
        touched = np.broadcast_to(given, both)[np.broadcast_to(used, both)]
        return Implication(given, tuple(pin(touched, f"constant {b} is added")))
    alone = [a for a, (m, n) in enumerate(zip(shape, given.shape, strict=True)) if m == 1 and n > 1]
    given, equations = tied(given, alone, f"bias {b} is one number for several entries")
    return Implication(given, tuple(equations), (ParameterScale(b, shape, (Term(given),)),))


def _shifted(op: Operation, values: list[Array]) -> tuple[Array, Array]:
    x, f = values
    axis = op.attributes.get("axis")
    return x, f if axis is None else f.reshape(f.shape + (1,) * (x.ndim - axis - f.ndim))


def _evaluate_factor(op: Operation, values: list[Array]) -> Array:
    x, f = _shifted(op, values)
    return x * f


def _evaluate_bias(op: Operation, values: list[Array]) -> Array:
    x, b = _shifted(op, values)
    return x + b


def _example_factor(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = length(rng)
    factor = parameter(rng, "f", (n,))
    if rng.integers(2):
        values = np.where(rng.random(n) < 0.3, 0.0, rng.standard_normal(n))
        factor = Tensor("f", (n,), "constant", values)
    if rng.integers(2):
        return instance("scale", {"x": source((1, n, 2)), "f": factor}, (1, n, 2), {"axis": 1})
    return instance("scale", {"x": source((1, 2, n)), "f": factor}, (1, 2, n))


def _example_bias(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = length(rng)
    b = parameter(rng, "b", (n,))
    if rng.integers(3) == 0:
        b = Tensor("b", (n,), "constant", np.where(rng.random(n) < 0.5, 0.0, 1.0))
    if rng.integers(2):
        return instance("bias", {"x": source((1, n, 3)), "b": b}, (1, n, 3), {"axis": 1})
    return instance("bias", {"x": source((1, n)), "b": b}, (1, n))


# --- sums, products and extremes of results ---------------------------------------------------------------


def _same(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """Sums, and the larger or smaller of several: all share one scale."""
    reason = f"{op.kind} (operation {op.name})"
    n = len(tensors[op.output].shape)
    parts = [scales[x].reshape((1,) * (n - scales[x].ndim) + scales[x].shape) for x in op.inputs]
    # The operand with the most variables gives the result its scale.
    output = max(parts, key=lambda v: v.size)
    return Implication(output, tuple(e for v in parts for e in equal(v, output, reason)))


def _product(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = x·z or x/z: s_y = s_x ± s_z, as of a gate."""
    n = len(tensors[op.output].shape)
    left, right = (scales[x].reshape((1,) * (n - scales[x].ndim) + scales[x].shape) for x in op.inputs)
    output = new(np.broadcast_shapes(left.shape, right.shape))
    what, sign = ("product", ONE) if op.kind == "mul" else ("quotient", -ONE)
    return Implication(output, _sum_of(output, left, right, f"{what} (operation {op.name})", sign))


def _evaluate_add(op: Operation, values: list[Array]) -> Array:
    signs = op.attributes.get("signs", (1.0,) * len(values))
    return np.asarray(sum(sign * x for sign, x in zip(signs, values, strict=True)))


def _evaluate_extreme(op: Operation, values: list[Array]) -> Array:
    choose = np.maximum if op.attributes.get("largest", True) else np.minimum
    result = values[0]
    for value in values[1:]:
        result = choose(result, value)
    return result


def _example_add(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = length(rng)
    second = (1, n) if rng.integers(2) else (1, 1)
    sign = float(rng.choice([-1, 1]))
    return instance("add", {"x": source((1, n)), "z": source(second, "z")}, (1, n), {"signs": (1.0, sign)})


def _example_extreme(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, length(rng))
    largest = bool(rng.integers(2))
    return instance("extreme", {"x": source(shape), "z": source(shape, "z")}, shape, {"largest": largest})


def _example_mul(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = length(rng)
    second = (1, n) if rng.integers(2) else (1, 1)
    return instance("mul", {"x": source((1, n)), "z": source(second, "z")}, (1, n))


def _example_div(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, length(rng))
    return instance("div", {"x": source(shape), "z": source(shape, "z")}, shape)


# --- activations ------------------------------------------------------------------------------------------


def _activation(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = σ(x) with σ(λx) = λ^c σ(x) for all λ > 0: s_y = c·s_x ([B] Prop 2.3)."""
    function: Activation = op.attributes["function"]
    given = scales[op.inputs[0]]
    if function.kind == "zero":
        return Implication(new(given.shape))  # the result is 0 at any scale
    degree = exact_degree(function)
    if degree is None:
        why = "is not homogeneous" if function.homogeneous is False else "is not known to be homogeneous"
        if function.homogeneous:
            why = f"has degree {function.degree}, which is not rational"
        return pinned(op, tensors, scales, new, f"{function.text} {why} (operation {op.name})")
    if degree == 1:
        return Implication(given)
    output = new(given.shape)
    reason = f"degree {degree} of {function.text} meets another scale (operation {op.name})"
    return Implication(output, tuple(equal(output, given, reason, degree)))


def exact_degree(function: Activation) -> Fraction | None:
    """The degree as a fraction; None if there is none, or if it is irrational or symbolic.

    >>> exact_degree(Activation.parse("relu"))
    Fraction(1, 1)
    """
    return rational(function.degree) if function.homogeneous else None


def _prelu(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = max(x,0) + a·min(x,0): s_y = s_x, and the slopes a keep their scale."""
    x, slope = op.inputs
    fixed = (ParameterScale(slope, tensors[slope].shape, ()),) if tensors[slope].role == "parameter" else ()
    return Implication(scales[x], (), fixed)


def _evaluate_prelu(op: Operation, values: list[Array]) -> Array:
    x, slope = _shifted(op, values)
    return np.where(x < 0, slope * x, x)


def _example_activation(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, length(rng))
    text = str(rng.choice(["relu", "abs", "leaky_relu:1/5", "Max(x,0)**2", "x*abs(x)", "tanh", "sign"]))
    return instance("activation", {"x": source(shape)}, shape, {"function": Activation.parse(text)})


def _example_prelu(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = length(rng)
    return instance("prelu", {"x": source((1, n, 2)), "a": parameter(rng, "a", (n,))}, (1, n, 2), {"axis": 1})


ELEMENTWISE = {
    "bias": ScalingRule("s_out = s_in = s_b", _bias, _evaluate_bias, _example_bias),
    "scale": ScalingRule("s_out = s_in + s_factor", _factor, _evaluate_factor, _example_factor),
    "add": ScalingRule("s_out = s_1 = s_2 = …", _same, _evaluate_add, _example_add),
    "extreme": ScalingRule("s_out = s_1 = s_2 = …", _same, _evaluate_extreme, _example_extreme),
    "mul": ScalingRule("s_out = s_1 + s_2", _product, lambda op, v: v[0] * v[1], _example_mul),
    "div": ScalingRule("s_out = s_1 − s_2", _product, lambda op, v: v[0] / v[1], _example_div),
    "activation": ScalingRule(
        "s_out = c·s_in", _activation, lambda op, v: op.attributes["function"](v[0]), _example_activation
    ),
    "prelu": ScalingRule("s_out = s_in, s_slope = 0", _prelu, _evaluate_prelu, _example_prelu),
}
