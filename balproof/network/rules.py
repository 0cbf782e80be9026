"""Scaling rules: for each kind of operation, the linear equations under which it commutes with a rescaling.

A rule is data plus obligations: ``imply`` states the equations between the log-scales of the operands
and the result, ``evaluate`` computes the operation, and ``example`` makes a random instance. `witness`
executes the law on such an instance, and one test does so for every rule of `RULES`.

Inference is sound and incomplete: an operation without a rule pins everything that it touches, so a
symmetry that is claimed exists, and one that exists may be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ModelError
from balproof.network.equations import Equation, solve_equations
from balproof.network.graph import Operation, Tensor
from balproof.symbolic.activation import Activation
from balproof.symbolic.numeric import rational

Array = np.ndarray
Tensors = Mapping[str, Tensor]

ONE = Fraction(1)


@dataclass(frozen=True, eq=False)
class AxisTerm:
    """Adds ``coefficient·s[variables[i]]`` to the log-scale of every entry whose index on ``axis`` is i."""

    axis: int
    variables: Array
    coefficient: Fraction


@dataclass(frozen=True, eq=False)
class ParameterScale:
    """The log-scale of a parameter, viewed in ``shape``, as a sum of one vector per axis."""

    name: str
    shape: tuple[int, ...]
    terms: tuple[AxisTerm, ...]


@dataclass(frozen=True)
class Implication:
    """What an operation demands: equations between scales, and the scales of its parameters."""

    equations: tuple[Equation, ...] = ()
    parameters: tuple[ParameterScale, ...] = ()


Scales = Mapping[str, Array]
"""For every tensor that is no parameter and no constant: one scale variable per entry."""


@dataclass(frozen=True)
class ScalingRule:
    """Equations, executed semantics and a random instance of one kind of operation."""

    law: str
    imply: Callable[[Operation, Tensors, Scales], Implication]
    evaluate: Callable[[Operation, list[Array]], Array]
    example: Callable[[np.random.Generator], tuple[Operation, dict[str, Tensor]]]


def implication(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """The demands of one operation; an operation without a rule pins its operands and its result."""
    rule = RULES.get(op.kind)
    return rule.imply(op, tensors, scales) if rule else _pin_all(op, tensors, scales)


# --- building equations -------------------------------------------------------------------------------


def _equal(left: Array, right: Array, reason: str, ratio: Fraction = ONE) -> list[Equation]:
    """s_left = ratio·s_right, entry by entry after broadcasting, each pair of variables once."""
    pairs = {
        (int(a), int(b)) for a, b in zip(*(x.flat for x in np.broadcast_arrays(left, right)), strict=True)
    }
    return [
        Equation(((a, ONE), (b, -ratio)), reason)
        if a != b
        else Equation(((a, ONE - ratio),) if ratio != ONE else (), reason)
        for a, b in sorted(pairs)
    ]


def _pin(variables: Array, reason: str, *, visible: bool = False) -> list[Equation]:
    return [Equation(((int(v), ONE),), reason, visible) for v in np.unique(variables)]


def pin_visible(variables: Array, reason: str) -> list[Equation]:
    """Inputs and outputs keep their scale: s = 0."""
    return _pin(variables, reason, visible=True)


def _pin_all(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    reason = f"{op.attributes.get('op_type', op.kind)} (operation {op.name}) has no scaling rule"
    return _pinned(op, tensors, scales, reason)


def _pinned(op: Operation, tensors: Tensors, scales: Scales, reason: str) -> Implication:
    equations: list[Equation] = []
    fixed: list[ParameterScale] = []
    for name in (*op.inputs, op.output):
        if name in scales:
            equations += _pin(scales[name], reason)
        elif tensors[name].role == "parameter":
            fixed.append(ParameterScale(name, tensors[name].shape, ()))
    return Implication(tuple(equations), tuple(fixed))


def _elementwise_factor(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """y = x·f entry by entry: s_y = s_x + s_f. A constant f has scale 0 where it is not 0; 0 is free."""
    x, factor = op.inputs
    out, source, tensor = scales[op.output], scales[x], tensors[factor]
    if tensor.role == "constant":
        nonzero = np.broadcast_to(_nonzero(tensor), out.shape)
        source = np.broadcast_to(source, out.shape)
        return Implication(
            tuple(_equal(out[nonzero], source[nonzero], f"constant factor (operation {op.name})"))
        )
    # A parameter: one variable pair per entry, further pairs that broadcasting brings are equations.
    shape = (1,) * (out.ndim - len(tensor.shape)) + tensor.shape
    home = np.broadcast_to(np.arange(tensor.size).reshape(shape), out.shape).ravel()
    outs, sources = out.ravel(), np.broadcast_to(source, out.shape).ravel()
    first = np.unique(home, return_index=True)[1]
    reason = f"one factor for several entries (operation {op.name})"
    ties = [
        Equation(
            ((int(o), ONE), (int(s), -ONE), (int(outs[first[e]]), -ONE), (int(sources[first[e]]), ONE)),
            reason,
        )
        for e, o, s in zip(home, outs, sources, strict=True)
        if (o, s) != (outs[first[e]], sources[first[e]])
    ]
    terms = (AxisTerm(0, outs[first], ONE), AxisTerm(0, sources[first], -ONE))
    return Implication(tuple(ties), (ParameterScale(factor, (tensor.size,), terms),))


def _nonzero(tensor: Tensor) -> Array:
    assert tensor.value is not None
    return np.asarray(tensor.value != 0, dtype=bool)


# --- linear maps --------------------------------------------------------------------------------------


def _linear(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """y_i = Σ_j W_ij x_j: every term has one scale, s_y[i] = s_W[i,j] + s_x[j]."""
    x, weight = op.inputs
    tensor = tensors[weight]
    rows_in = scales[x].reshape(-1, scales[x].shape[-1])
    rows_out = scales[op.output].reshape(-1, scales[op.output].shape[-1])
    out_axis, in_axis = (0, 1) if op.attributes.get("transpose", False) else (1, 0)
    if tensor.role == "constant":
        entries = np.argwhere(_nonzero(tensor))
        reason = f"constant matrix (operation {op.name})"
        equations = [
            eq
            for s_out, s_in in zip(rows_out, rows_in, strict=True)
            for eq in _equal(s_out[entries[:, out_axis]], s_in[entries[:, in_axis]], reason)
        ]
        return Implication(tuple(equations))
    uses = tuple(
        ParameterScale(weight, tensor.shape, (AxisTerm(out_axis, s_out, ONE), AxisTerm(in_axis, s_in, -ONE)))
        for s_out, s_in in zip(rows_out, rows_in, strict=True)
    )
    return Implication((), uses)


def _evaluate_linear(op: Operation, values: list[Array]) -> Array:
    x, weight = values
    return x @ (weight.T if op.attributes.get("transpose", False) else weight)


def _bias(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """y = x + b: all three share one scale; an exact 0 of a constant b demands nothing."""
    x, b = op.inputs
    tensor, out = tensors[b], scales[op.output]
    reason = f"bias {b}"
    equations = _equal(out, scales[x], reason)
    shape = (1,) * (out.ndim - len(tensor.shape)) + tensor.shape
    if tensor.role == "constant":
        equations += _pin(
            out[np.broadcast_to(_nonzero(tensor).reshape(shape), out.shape)], f"constant {b} is added"
        )
        return Implication(tuple(equations))
    home = np.broadcast_to(np.arange(tensor.size).reshape(shape), out.shape).ravel()
    first = np.unique(home, return_index=True)[1]
    flat = out.ravel()
    equations += _equal(flat, flat[first][home], f"bias {b} is one number for several entries")
    return Implication(
        tuple(equations), (ParameterScale(b, (tensor.size,), (AxisTerm(0, flat[first], ONE),)),)
    )


# --- elementwise and shape ----------------------------------------------------------------------------


def _add(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """y = Σ ±x_i: all share one scale."""
    reason = f"sum (operation {op.name})"
    return Implication(tuple(e for x in op.inputs for e in _equal(scales[op.output], scales[x], reason)))


def _activation(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """y = σ(x) with σ(λx) = λ^c σ(x) for all λ > 0: s_y = c·s_x ([B] Prop 2.3)."""
    function: Activation = op.attributes["function"]
    if function.kind == "zero":
        return Implication()  # the result is 0 at any scale
    degree = exact_degree(function)
    if degree is None:
        why = "is not homogeneous" if function.homogeneous is False else "is not known to be homogeneous"
        if function.homogeneous:
            why = f"has degree {function.degree}, which is not rational"
        return _pinned(op, tensors, scales, f"{function.text} {why} (operation {op.name})")
    reason = f"degree {degree} of {function.text} meets another scale (operation {op.name})"
    return Implication(tuple(_equal(scales[op.output], scales[op.inputs[0]], reason, degree)))


def exact_degree(function: Activation) -> Fraction | None:
    """The degree as a fraction; None if there is none, or if it is irrational or symbolic.

    >>> exact_degree(Activation.parse("relu"))
    Fraction(1, 1)
    """
    return rational(function.degree) if function.homogeneous else None


def _prelu(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """y = max(x,0) + a·min(x,0): s_y = s_x, and the slopes a keep their scale."""
    x, slope = op.inputs
    fixed = (ParameterScale(slope, tensors[slope].shape, ()),) if tensors[slope].role == "parameter" else ()
    return Implication(tuple(_equal(scales[op.output], scales[x], f"prelu (operation {op.name})")), fixed)


def _evaluate_prelu(op: Operation, values: list[Array]) -> Array:
    x, slope = values
    return np.where(x < 0, slope * x, x)


def _reshape(op: Operation, tensors: Tensors, scales: Scales) -> Implication:
    """The entries keep their row-major order, and with it their scales."""
    source = scales[op.inputs[0]].reshape(scales[op.output].shape)
    return Implication(tuple(_equal(scales[op.output], source, f"reshape (operation {op.name})")))


def _evaluate_reshape(op: Operation, values: list[Array]) -> Array:
    shape = tuple(op.attributes["shape"])
    return values[0].reshape((values[0].shape[0], *shape[1:]))


# --- random instances, for the witnesses ---------------------------------------------------------------


def _instance(
    kind: str,
    inputs: dict[str, Tensor],
    shape: tuple[int, ...],
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Operation, dict[str, Tensor]]:
    result = Tensor("y", shape, "activation")
    return Operation(kind, "example", tuple(inputs), "y", attributes), {**inputs, "y": result}


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, shape, "parameter", rng.standard_normal(shape))


def _source(shape: tuple[int, ...], name: str = "x") -> Tensor:
    return Tensor(name, shape, "input")


def _example_linear(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = (int(k) for k in rng.integers(1, 5, 2))
    transpose = bool(rng.integers(2))
    weight = _random(rng, "W", (m, n) if transpose else (n, m))
    return _instance("linear", {"x": _source((1, n)), "W": weight}, (1, m), {"transpose": transpose})


def _example_bias(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = int(rng.integers(1, 5))
    return _instance("bias", {"x": _source((1, n)), "b": _random(rng, "b", (n,))}, (1, n))


def _example_add(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, int(rng.integers(1, 5)))
    sign = float(rng.choice([-1, 1]))
    return _instance("add", {"x": _source(shape), "z": _source(shape, "z")}, shape, {"signs": (1.0, sign)})


def _example_scale(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = int(rng.integers(1, 5))
    factor = _random(rng, "f", (n,))
    if rng.integers(2):
        values = np.where(rng.random(n) < 0.3, 0.0, rng.standard_normal(n))
        factor = Tensor("f", (n,), "constant", values)
    return _instance("scale", {"x": _source((1, n)), "f": factor}, (1, n))


def _example_activation(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, int(rng.integers(1, 5)))
    text = str(rng.choice(["relu", "abs", "leaky_relu:1/5", "Max(x,0)**2", "x*abs(x)", "tanh", "sign"]))
    return _instance("activation", {"x": _source(shape)}, shape, {"function": Activation.parse(text)})


def _example_prelu(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n = int(rng.integers(1, 5))
    return _instance("prelu", {"x": _source((1, n)), "a": _random(rng, "a", (n,))}, (1, n))


def _example_reshape(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = (int(k) for k in rng.integers(1, 4, 2))
    return _instance("reshape", {"x": _source((1, n, m))}, (1, n * m), {"shape": (1, n * m)})


def _example_identity(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, int(rng.integers(1, 5)))
    return _instance("identity", {"x": _source(shape)}, shape)


RULES: Mapping[str, ScalingRule] = MappingProxyType(
    {
        "linear": ScalingRule("s_out[i] = s_W[i,j] + s_in[j]", _linear, _evaluate_linear, _example_linear),
        "bias": ScalingRule("s_out = s_in = s_b", _bias, lambda op, v: v[0] + v[1], _example_bias),
        "add": ScalingRule(
            "s_out = s_1 = s_2 = …",
            _add,
            lambda op, v: np.asarray(
                sum(sign * x for sign, x in zip(op.attributes.get("signs", (1.0,) * len(v)), v, strict=True))
            ),
            _example_add,
        ),
        "scale": ScalingRule(
            "s_out = s_in + s_factor", _elementwise_factor, lambda op, v: v[0] * v[1], _example_scale
        ),
        "activation": ScalingRule(
            "s_out = c·s_in",
            _activation,
            lambda op, v: op.attributes["function"](v[0]),
            _example_activation,
        ),
        "prelu": ScalingRule("s_out = s_in, s_slope = 0", _prelu, _evaluate_prelu, _example_prelu),
        "reshape": ScalingRule("s_out = s_in, reshaped", _reshape, _evaluate_reshape, _example_reshape),
        "identity": ScalingRule("s_out = s_in", _reshape, lambda op, v: v[0], _example_identity),
    }
)


def run(op: Operation, values: list[Array]) -> Array:
    """Compute one operation in float64.

    Raises ModelError for an operation without a rule: its meaning is not known here.
    """
    rule = RULES.get(op.kind)
    if rule is None:
        raise ModelError(
            f"operation {op.name} ({op.attributes.get('op_type', op.kind)}) cannot be run",
            "compare the functions with the program that made the model",
        )
    return rule.evaluate(op, values)


def parameter_uses(scales: Iterable[ParameterScale]) -> tuple[dict[str, ParameterScale], list[Equation]]:
    """The scale of each parameter by its first use, and the equations that every further use brings.

    For one weight with two uses, a_i + b_j = a'_i + b'_j for all i, j. With the axis vectors of both
    sides this says that a_i − a'_i does not depend on i, and equals b'_j − b_j.
    """
    first: dict[str, ParameterScale] = {}
    equations: list[Equation] = []
    for use in scales:
        known = first.setdefault(use.name, use)
        if known is use:
            continue
        reason = f"parameter {use.name} is used more than once"
        if known.shape == use.shape:
            origin = (0,) * len(use.shape)
            for axis, length in enumerate(use.shape):
                corners = [origin[:axis] + (i,) + origin[axis + 1 :] for i in range(length)]
                equations += [_difference(known, use, corner, reason) for corner in corners]
        else:
            shape = max(known.shape, use.shape, key=len)
            for flat in range(int(np.prod(shape))):
                left = np.unravel_index(flat, known.shape)
                right = np.unravel_index(flat, use.shape)
                equations.append(Equation((*_entry(known, left), *_entry(use, right, -ONE)), reason))
    return first, equations


def _difference(left: ParameterScale, right: ParameterScale, index: tuple[int, ...], reason: str) -> Equation:
    return Equation((*_entry(left, index), *_entry(right, index, -ONE)), reason)


def _entry(scale: ParameterScale, index: tuple[Any, ...], sign: Fraction = ONE) -> list[tuple[int, Fraction]]:
    return [(int(t.variables[index[t.axis]]), sign * t.coefficient) for t in scale.terms]


def witness(kind: str, seed: int) -> float:
    """Execute a rule on a random instance: rescale its operands along the rule's own solutions, and
    return the largest relative difference between the rescaled result and the result of the rescaled.

    >>> witness("linear", 0) < 1e-12
    True
    """
    rng = np.random.default_rng(seed)
    op, tensors = RULES[kind].example(rng)
    scales, count = number_scales(tensors)
    demand = implication(op, tensors, scales)
    first, further = parameter_uses(demand.parameters)
    solution = solve_equations(count, (*demand.equations, *further))
    h = rng.standard_normal(len(solution.free))
    s = np.array([sum(float(c) * h[k] for k, c in form) for form in solution.forms])
    logs = {name: s[ids] for name, ids in scales.items()}
    for name, use in first.items():
        log = np.zeros(use.shape)
        for t in use.terms:
            log += np.expand_dims(
                float(t.coefficient) * s[t.variables], tuple(a for a in range(len(use.shape)) if a != t.axis)
            )
        logs[name] = log.reshape(tensors[name].shape)
    before = [
        rng.standard_normal(t.shape) if t.value is None else t.value for n in op.inputs for t in [tensors[n]]
    ]
    after = [v * np.exp(logs.get(n, np.zeros(()))) for n, v in zip(op.inputs, before, strict=True)]
    expected = run(op, before) * np.exp(logs[op.output])
    return float(np.max(np.abs(run(op, after) - expected) / (np.abs(expected) + 1e-300), initial=0.0))


def number_scales(tensors: Tensors) -> tuple[dict[str, Array], int]:
    """Give every entry of every input, state and activation a scale variable of its own."""
    count, scales = 0, {}
    order = sorted(tensors.values(), key=lambda t: t.role != "state")  # states name their units
    for tensor in order:
        if tensor.role in ("input", "state", "activation"):
            scales[tensor.name] = np.arange(count, count + tensor.size).reshape(tensor.shape)
            count += tensor.size
    return scales, count
