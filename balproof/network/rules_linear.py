"""Scaling rules of maps that are linear in a weight: dense layers, convolutions, products, look-up tables."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from balproof.network.equations import Equation
from balproof.network.graph import Operation, Tensor
from balproof.network.places import Places
from balproof.network.rule import ScalingRule, instance, length, parameter, source
from balproof.network.scales import (
    ONE,
    Implication,
    ParameterScale,
    Scales,
    Tensors,
    Term,
    Variables,
    equal,
    spread,
    tied,
)

Array = np.ndarray


def nonzero(tensor: Tensor) -> Array:
    """Where a constant is not 0: an exact 0 demands nothing."""
    assert tensor.value is not None
    return np.asarray(tensor.value != 0, dtype=bool)


# --- dense layers --------------------------------------------------------------------------------------


def _linear(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y_i = Σ_j W_ij x_j: every term has one scale, s_y[i] = s_W[i,j] + s_x[j].

    A weight of more than two axes is a stack of matrices, one for each slice of x along the axes before the
    last two, as in NumPy's matmul.
    """
    x, weight = op.inputs
    tensor = tensors[weight]
    transposed = bool(op.attributes.get("transpose", False))
    stack = tensor.shape[:-2]
    given = spread(scales[x], tensors[x].shape, [-1])
    lead = given.shape[: given.ndim - 2 - len(stack)]
    inner = np.broadcast_shapes(given.shape[len(lead) : -2], stack)
    output = new((*lead, *inner, *given.shape[-2:-1], tensor.shape[-2 if transposed else -1]))
    given = np.broadcast_to(given, (*output.shape[:-1], given.shape[-1]))
    # Along an axis of several matrices the weight changes; each entry of the other axes is a use of it.
    ours = [len(lead) + i for i, n in enumerate(stack) if n > 1]
    uses = [range(n) if a not in ours else [slice(None)] for a, n in enumerate(output.shape[:-1])]

    def rows(variables: Array) -> list[Array]:
        return [variables[at].reshape(*stack, -1) for at in itertools.product(*uses)]

    ends = [(s_out[..., :, None], s_in[..., None, :]) for s_out, s_in in zip(rows(output), rows(given))]
    if not transposed:
        ends = [(s_out.swapaxes(-1, -2), s_in.swapaxes(-1, -2)) for s_out, s_in in ends]
    if tensor.role == "constant":
        used, reason = nonzero(tensor), f"constant matrix (operation {op.name})"
        pairs = [[np.broadcast_to(v, tensor.shape)[used] for v in both] for both in ends]
        equations = [eq for s_out, s_in in pairs for eq in equal(s_out, s_in, reason)]
        return Implication(output, tuple(equations))
    terms = [(Term(s_out), Term(s_in, -ONE)) for s_out, s_in in ends]
    return Implication(output, (), tuple(ParameterScale(weight, tensor.shape, t) for t in terms))


def _evaluate_linear(op: Operation, values: list[Array]) -> Array:
    x, weight = values
    return x @ (weight.swapaxes(-1, -2) if op.attributes.get("transpose", False) else weight)


def _example_linear(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = length(rng), length(rng)
    transpose = bool(rng.integers(2))
    stack = [(), (), (3,), (1, 2)][rng.integers(4)]
    shape = (*stack, m, n) if transpose else (*stack, n, m)
    weight = parameter(rng, "W", shape)
    if rng.integers(4) == 0:
        weight = Tensor("W", shape, "constant", np.where(rng.random(shape) < 0.5, 0.0, 1.0))
    lead: tuple[int, ...] = (1,) if rng.integers(2) else (1, 2)
    if stack:
        lead = (1, *stack, 2) if rng.integers(2) else (1, *(1 for _ in stack), 2)
    into = instance("linear", {"x": source((*lead, n)), "W": weight}, (1,), {"transpose": transpose})[0]
    shape = _evaluate_linear(into, [np.zeros((*lead, n)), np.zeros(shape)]).shape
    return instance("linear", {"x": source((*lead, n)), "W": weight}, shape, {"transpose": transpose})


# --- sparse matrices -----------------------------------------------------------------------------------


def _sparse(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y_i = Σ_j W_ij x_j over the entries that there are: s_y[i] = s_W[i,j] + s_x[j].

    The weights are a tensor of one axis, and the attribute ``places`` says where they stand.
    """
    x, weight = op.inputs
    places, tensor = op.attributes["places"], tensors[weight]
    given = spread(scales[x], tensors[x].shape, [-1])
    output = new((*given.shape[:-1], places.shape[0]))
    ends = zip(output.reshape(-1, places.shape[0]), given.reshape(-1, places.shape[1]), strict=True)
    pairs = [(s_out[places.rows], s_in[places.columns]) for s_out, s_in in ends]
    if tensor.role == "constant":
        used, reason = nonzero(tensor), f"constant matrix (operation {op.name})"
        return Implication(output, tuple(eq for a, b in pairs for eq in equal(a[used], b[used], reason)))
    terms = [(Term(a), Term(b, -ONE)) for a, b in pairs]
    return Implication(output, (), tuple(ParameterScale(weight, tensor.shape, t) for t in terms))


def _evaluate_sparse(op: Operation, values: list[Array]) -> Array:
    x, weight = values
    matrix = op.attributes["places"].matrix(weight)
    return np.asarray((matrix @ x.reshape(-1, x.shape[-1]).T).T).reshape(*x.shape[:-1], matrix.shape[0])


def _example_sparse(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    m, n = length(rng), length(rng)
    there = np.flatnonzero(rng.random(m * n) < 0.6)
    there = there if len(there) else np.array([0])
    places = Places.of((m, n), *np.divmod(there, n))[0]
    weight = parameter(rng, "W", there.shape)
    if rng.integers(4) == 0:
        weight = Tensor("W", there.shape, "constant", np.where(rng.random(there.shape) < 0.5, 0.0, 1.0))
    lead: tuple[int, ...] = (1,) if rng.integers(2) else (1, 2)
    return instance("sparse", {"x": source((*lead, n)), "W": weight}, (*lead, m), {"places": places})


# --- convolutions ---------------------------------------------------------------------------------------


def _conv(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """A kernel slides over all positions, so channels scale as wholes: s_y[o] = s_W[o,i,…] + s_x[i].

    Weights (outputs, inputs of a group, kernel…), or (inputs, outputs of a group, kernel…) where transposed.
    """
    x, weight = op.inputs
    tensor = tensors[weight]
    groups = int(op.attributes.get("group", 1))
    space = range(2, len(tensors[x].shape))
    given, equations = tied(scales[x], space, f"all positions (operation {op.name})")
    given = spread(given, tensors[x].shape, [1])
    ones = (1,) * len(space)
    transposed = bool(op.attributes.get("transposed", False))
    outputs = tensor.shape[1] * groups if transposed else tensor.shape[0]
    output = new((1, outputs, *ones))
    lead = () if groups == 1 else (groups,)
    view = tensor.shape if groups == 1 else (groups, tensor.shape[0] // groups, *tensor.shape[1:])
    first, second = (given, output) if transposed else (output, given)
    rows = first.reshape(*lead, -1, 1, *ones), second.reshape(*lead, 1, -1, *ones)
    if tensor.role == "constant":
        used = nonzero(tensor).reshape(view).any(axis=tuple(range(len(lead) + 2, len(view))))
        left, right = (np.broadcast_to(r.reshape(r.shape[: used.ndim]), used.shape)[used] for r in rows)
        equations += equal(left, right, f"constant kernel (operation {op.name})")
        return Implication(output, tuple(equations))
    signs = (-ONE, ONE) if transposed else (ONE, -ONE)
    terms = tuple(Term(r, sign) for r, sign in zip(rows, signs, strict=True))
    return Implication(output, tuple(equations), (ParameterScale(weight, view, terms),))


def _evaluate_conv(op: Operation, values: list[Array]) -> Array:
    x, weight = values
    n = weight.ndim - 2
    a = op.attributes
    strides, dilations = (tuple(a.get(k, (1,) * n)) for k in ("strides", "dilations"))
    pads, groups = tuple(a.get("pads", (0,) * 2 * n)), int(a.get("group", 1))
    if a.get("transposed", False):
        extra = tuple(a.get("output_padding", (0,) * n))
        return _transposed(x, weight, strides, dilations, pads, groups, extra)
    return _convolve(x, weight, strides, dilations, pads, groups)


def _convolve(
    x: Array,
    weight: Array,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    groups: int,
) -> Array:
    n = weight.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:n], pads[n:], strict=True)])
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    windows = sliding_window_view(x, reach, axis=tuple(range(2, n + 2)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in strides))]
    windows = windows[(..., *(slice(None, None, d) for d in dilations))]
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    if weight.shape[1] == 1 and groups > 1:  # depthwise: few terms in each sum, many sums
        windows = windows.reshape(x.shape[0], groups, *windows.shape[2:])
        axes = "uvw"[:n], "xyz"[:n]
        result = np.einsum(f"bg{axes[0]}{axes[1]},go{axes[1]}->bgo{axes[0]}", windows, kernels[:, :, 0])
        return result.reshape(x.shape[0], -1, *result.shape[3:])
    inputs = np.split(windows, groups, axis=1)
    summed = ([1, *range(n + 2, 2 * n + 2)], [1, *range(2, n + 2)])  # channels, then the kernel
    parts = [np.tensordot(w, k, summed) for w, k in zip(inputs, kernels, strict=True)]
    return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)


def _transposed(
    x: Array,
    weight: Array,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    groups: int,
    extra: Sequence[int],
) -> Array:
    """Zeros between the entries, then a convolution with the kernel turned round."""
    n = weight.ndim - 2
    wide = np.zeros((*x.shape[:2], *((m - 1) * s + 1 for m, s in zip(x.shape[2:], strides, strict=True))))
    wide[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
    turned = np.flip(weight, tuple(range(2, n + 2))).reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    turned = turned.reshape(-1, weight.shape[0] // groups, *weight.shape[2:])
    reach = [(k - 1) * d for k, d in zip(weight.shape[2:], dilations, strict=True)]
    around = [r - p for r, p in zip(reach, pads[:n], strict=True)]
    around += [r - p + e for r, p, e in zip(reach, pads[n:], extra, strict=True)]
    cut = [max(0, -p) for p in around]
    result = _convolve(wide, turned, (1,) * n, dilations, [max(0, p) for p in around], groups)
    ends = [slice(a, m - b) for a, b, m in zip(cut[:n], cut[n:], result.shape[2:], strict=True)]
    return result[(slice(None), slice(None), *ends)]


def _example_conv(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, groups, transposed = length(rng, 1, 3), length(rng, 1, 2), bool(rng.integers(2))
    into, out = groups * length(rng, 1, 2), groups * length(rng, 1, 2)
    kernel = tuple(length(rng, 1, 3) for _ in range(n))
    attributes: dict[str, Any] = {
        "strides": tuple(length(rng, 1, 2) for _ in range(n)),
        "dilations": tuple(length(rng, 1, 2) for _ in range(n)),
        "pads": (0,) * 2 * n if transposed else tuple(length(rng, 0, 1) for _ in range(2 * n)),
        "group": groups,
        "transposed": transposed,
    }
    shape = (into, out // groups, *kernel) if transposed else (out, into // groups, *kernel)
    size = (1, into, *(length(rng, 5, 6) for _ in range(n)))
    op = Operation("conv", "example", ("x", "W"), "y", MappingProxyType(attributes))
    result = _evaluate_conv(op, [np.zeros(size), np.zeros(shape)]).shape
    return instance("conv", {"x": source(size), "W": parameter(rng, "W", shape)}, result, attributes)


# --- products of two results ------------------------------------------------------------------------------


def _matmul(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y_ij = Σ_d x_id z_dj: s_y[i,j] = s_x[i,d] + s_z[d,j] for every d, as of queries and keys."""
    x, z = op.inputs
    n = len(tensors[op.output].shape)
    left, right = (v.reshape((1,) * (n - v.ndim) + v.shape) for v in (scales[x], scales[z]))
    inner = max(left.shape[-1], right.shape[-2])
    left = np.broadcast_to(left, (*left.shape[:-1], inner))
    right = np.broadcast_to(right, (*right.shape[:-2], inner, right.shape[-1]))
    lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    output = new((*lead, left.shape[-2], right.shape[-1]))
    full = (*lead, left.shape[-2], inner, right.shape[-1])
    parts = (output[..., :, None, :], left[..., :, :, None], right[..., None, :, :])
    rows = np.unique(np.stack([np.broadcast_to(v, full).ravel() for v in parts]), axis=1).T.tolist()
    reason = f"one product for all terms (operation {op.name})"
    return Implication(output, tuple(Equation(((o, ONE), (a, -ONE), (b, -ONE)), reason) for o, a, b in rows))


def _example_matmul(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    m, d, n = length(rng), length(rng), length(rng)
    lead = (1,) if rng.integers(2) else (1, 2)
    return instance("matmul", {"x": source((*lead, m, d)), "z": source((*lead, d, n), "z")}, (*lead, m, n))


# --- look-up tables ---------------------------------------------------------------------------------------


def _embedding(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y[t] = W[x[t]]: any row may be asked for, so all rows have one scale, s_W[v,d] = s_y[d]."""
    x, weight = op.inputs
    tensor = tensors[weight]
    output = new((1,) * len(tensors[x].shape) + (tensor.shape[1],))
    if tensor.role == "constant":
        used = nonzero(tensor).any(axis=0)
        pins = [Equation(((int(v), ONE),), f"constant table {weight}") for v in output.ravel()[used]]
        return Implication(output, tuple(pins))
    return Implication(output, (), (ParameterScale(weight, tensor.shape, (Term(output.reshape(1, -1)),)),))


def _evaluate_embedding(op: Operation, values: list[Array]) -> Array:
    """A negative index counts from the end, as in ONNX. (In PyTorch there is none.)"""
    x, weight = values
    return weight[np.clip(x, -len(weight), len(weight) - 1).astype(np.int64)]


def _example_embedding(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    rows, d = length(rng, 2, 4), length(rng)
    index = Tensor("x", (1, 3), "constant", rng.integers(-rows, rows, (1, 3)).astype(float))
    return instance("embedding", {"x": index, "W": parameter(rng, "W", (rows, d))}, (1, 3, d))


LINEAR = {
    "linear": ScalingRule("s_out[i] = s_W[i,j] + s_in[j]", _linear, _evaluate_linear, _example_linear),
    "sparse": ScalingRule("s_out[i] = s_W[i,j] + s_in[j]", _sparse, _evaluate_sparse, _example_sparse),
    "conv": ScalingRule("s_out[o] = s_W[o,i] + s_in[i]", _conv, _evaluate_conv, _example_conv),
    "matmul": ScalingRule(
        "s_out[i,j] = s_x[i,d] + s_z[d,j]", _matmul, lambda op, v: v[0] @ v[1], _example_matmul
    ),
    "embedding": ScalingRule("s_out[d] = s_W[v,d]", _embedding, _evaluate_embedding, _example_embedding),
}
