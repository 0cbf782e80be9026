"""Scaling rules of operations that move entries about, or take one of several, or their mean."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from balproof.network.equations import Equation
from balproof.network.graph import Operation, Tensor
from balproof.network.rule import ScalingRule, instance, length, source
from balproof.network.scales import Implication, Scales, Tensors, Variables, compact, pin, spread, tied

Array = np.ndarray


def _identity(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    return Implication(scales[op.inputs[0]])


def _reshape(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """The entries keep their row-major order, and with it their scales."""
    given, shape = scales[op.inputs[0]], tensors[op.output].shape
    if given.size == 1:
        return Implication(given.reshape((1,) * len(shape)))
    full = np.broadcast_to(given, tensors[op.inputs[0]].shape)
    return Implication(compact(full.reshape(shape)))


def _evaluate_reshape(op: Operation, values: list[Array]) -> Array:
    return values[0].reshape((values[0].shape[0], *tuple(op.attributes["shape"])[1:]))


def _transpose(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    return Implication(scales[op.inputs[0]].transpose(op.attributes["perm"]))


def _expand(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    given = scales[op.inputs[0]]
    return Implication(given.reshape((1,) * (len(tensors[op.output].shape) - given.ndim) + given.shape))


def _evaluate_expand(op: Operation, values: list[Array]) -> Array:
    return np.broadcast_to(values[0], (values[0].shape[0], *tuple(op.attributes["shape"])[1:]))


def _concat(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """Slice by slice."""
    axis = int(op.attributes["axis"])
    parts = [spread(scales[x], tensors[x].shape, [axis]) for x in op.inputs]
    shapes = [v.shape[:axis] + (1,) + v.shape[axis + 1 :] for v in parts]
    common = np.broadcast_shapes(*shapes)
    full = [np.broadcast_to(v, (*common[:axis], v.shape[axis], *common[axis + 1 :])) for v in parts]
    return Implication(compact(np.concatenate(full, axis)))


def _take(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """Some entries along an axis, by position, in any order and any number of times."""
    axis, indices = int(op.attributes["axis"]), np.asarray(op.attributes["indices"])
    given = scales[op.inputs[0]]
    if given.shape[axis] == 1:
        return Implication(given)
    return Implication(compact(given.take(indices, axis)))


def _evaluate_take(op: Operation, values: list[Array]) -> Array:
    return values[0].take(np.asarray(op.attributes["indices"]), int(op.attributes["axis"]))


def _pad(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """Zeros have any scale; another constant keeps what it stands beside."""
    x = op.inputs[0]
    pads = [tuple(int(k) for k in p) for p in op.attributes["pads"]]
    given = scales[x]
    value = float(op.attributes.get("value", 0.0))
    padded = [a for a, p in enumerate(pads) if any(p)]
    equations: list[Equation] = []
    output = given
    for axis in padded:
        if given.shape[axis] > 1:
            output = spread(output, tensors[x].shape, [axis])
            before, after = [max(n, 0) for n in pads[axis]]
            ends = [new((*output.shape[:axis], n, *output.shape[axis + 1 :])) for n in (before, after)]
            inner = _crop(output, axis, pads[axis])
            output = np.concatenate([ends[0], inner, ends[1]], axis)
    if value != 0.0 and any(k > 0 for p in pads for k in p):
        equations = pin(output, f"padded with {value:g} (operation {op.name})")
    return Implication(output, tuple(equations))


def _crop(values: Array, axis: int, pads: tuple[int, ...]) -> Array:
    start, stop = max(0, -pads[0]), values.shape[axis] - max(0, -pads[1])
    return values.take(np.arange(start, stop), axis)


def _evaluate_pad(op: Operation, values: list[Array]) -> Array:
    x = values[0]
    for axis, pads in enumerate(op.attributes["pads"]):
        x = _crop(x, axis, tuple(pads))
    widths = [(max(a, 0), max(b, 0)) for a, b in op.attributes["pads"]]
    return np.pad(x, widths, constant_values=float(op.attributes.get("value", 0.0)))


# --- pooling ------------------------------------------------------------------------------------------


def _pool(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """The largest or the mean of a window: all positions share the scale of their channel."""
    x = op.inputs[0]
    space = range(2, len(tensors[x].shape))
    given, equations = tied(scales[x], space, f"entries that {op.name} pools")
    return Implication(given, tuple(equations))


def _evaluate_pool(op: Operation, values: list[Array]) -> Array:
    x = values[0]
    a = op.attributes
    kernel = tuple(a["kernel"])
    n = len(kernel)
    strides, dilations = (tuple(a.get(k, (1,) * n)) for k in ("strides", "dilations"))
    pads = tuple(a.get("pads", (0,) * 2 * n))
    largest = a["mode"] == "max"
    width = [(0, 0), (0, 0), *zip(pads[:n], pads[n:], strict=True)]

    def windows(values: Array, fill: float) -> Array:
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        seen = np.pad(values, width, constant_values=fill)
        if a.get("ceil_mode", False):
            more = [(-(m - r)) % s for m, r, s in zip(seen.shape[2:], reach, strides, strict=True)]
            seen = np.pad(seen, [(0, 0), (0, 0), *((0, m) for m in more)], constant_values=fill)
        view = sliding_window_view(seen, reach, axis=tuple(range(2, n + 2)))
        view = view[(slice(None), slice(None), *(slice(None, None, s) for s in strides))]
        return view[(..., *(slice(None, None, d) for d in dilations))]

    axes = tuple(range(-n, 0))
    if largest:
        return windows(x, -np.inf).max(axes)
    ones = np.ones((1, 1, *x.shape[2:]))
    if a.get("count_include_pad", False):
        ones = np.pad(ones, width, constant_values=1.0)
        x = np.pad(x, width)
        width = [(0, 0)] * (n + 2)
    return windows(x, 0.0).sum(axes) / windows(ones, 0.0).sum(axes)


def _reduce(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """The sum, the mean, the largest or the smallest along axes: what is taken together shares a scale."""
    x = op.inputs[0]
    n = len(tensors[x].shape)
    axes = sorted({a % n for a in op.attributes["axes"]})
    given, equations = tied(scales[x], axes, f"entries that {op.name} takes together")
    if not op.attributes.get("keepdims", True):
        given = given.reshape([m for a, m in enumerate(given.shape) if a not in axes])
    return Implication(given, tuple(equations))


def _evaluate_reduce(op: Operation, values: list[Array]) -> Array:
    x = values[0]
    function = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}[op.attributes["mode"]]
    axes = tuple(sorted({a % x.ndim for a in op.attributes["axes"]}))
    return np.asarray(function(x, axis=axes, keepdims=bool(op.attributes.get("keepdims", True))))


def _resample(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """A constant matrix along each of some axes, as of interpolation: all along them share a scale.

    Where a matrix does less than mix all its axis, more would be free than is found here.
    """
    x = op.inputs[0]
    given, equations = tied(scales[x], op.attributes["axes"], f"entries that {op.name} mixes")
    return Implication(given, tuple(equations))


def _evaluate_resample(op: Operation, values: list[Array]) -> Array:
    x, *matrices = values
    for axis, matrix in zip(op.attributes["axes"], matrices, strict=True):
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T, -1, axis)
    return x


# --- instances ----------------------------------------------------------------------------------------


def _example_identity(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, length(rng))
    return instance("identity", {"x": source(shape)}, shape)


def _example_reshape(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = length(rng), length(rng)
    return instance("reshape", {"x": source((1, n, m))}, (1, n * m), {"shape": (1, n * m)})


def _example_transpose(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = length(rng), length(rng)
    return instance("transpose", {"x": source((1, n, m))}, (1, m, n), {"perm": (0, 2, 1)})


def _example_expand(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    shape = (1, length(rng), length(rng))
    return instance("expand", {"x": source((1, shape[1], 1))}, shape, {"shape": shape})


def _example_concat(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    sizes = [length(rng) for _ in range(3)]
    tensors = {f"x{i}": source((1, n, 2), f"x{i}") for i, n in enumerate(sizes)}
    return instance("concat", tensors, (1, sum(sizes), 2), {"axis": 1})


def _example_take(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = length(rng), length(rng)
    indices = tuple(int(i) for i in rng.integers(0, n, m))
    return instance("take", {"x": source((1, n, 2))}, (1, m, 2), {"axis": 1, "indices": indices})


def _example_pad(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    pads = ((0, 0), tuple(int(k) for k in rng.integers(-1, 3, 2)), (0, 1))
    value = float(rng.choice([0.0, 2.0]))
    shape = (1, 4 + sum(pads[1]), 4)
    return instance("pad", {"x": source((1, 4, 3))}, shape, {"pads": pads, "value": value})


def _example_pool(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    attributes = {
        "mode": str(rng.choice(["max", "average"])),
        "kernel": (length(rng, 1, 3), 2),
        "strides": (length(rng, 1, 2), 1),
        "pads": (0, 1, 0, 1),
        "count_include_pad": bool(rng.integers(2)),
    }
    size = (1, 2, 5, 4)
    op = Operation("pool", "example", ("x",), "y", attributes)
    return instance("pool", {"x": source(size)}, _evaluate_pool(op, [np.zeros(size)]).shape, attributes)


def _example_reduce(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    keep = bool(rng.integers(2))
    shape = (1, 2, 1) if keep else (1, 2)
    mode = str(rng.choice(["sum", "mean", "max", "min"]))
    attributes = {"axes": (-1,), "keepdims": keep, "mode": mode}
    return instance("reduce", {"x": source((1, 2, 3))}, shape, attributes)


def _example_resample(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = length(rng, 2), length(rng)
    matrices = {k: Tensor(k, (m, n), "constant", rng.random((m, n))) for k in ("M", "N")}
    return instance("resample", {"x": source((1, 2, n, n)), **matrices}, (1, 2, m, m), {"axes": (2, 3)})


SHAPES = {
    "identity": ScalingRule("s_out = s_in", _identity, lambda op, v: v[0], _example_identity),
    "reshape": ScalingRule("s_out = s_in, reshaped", _reshape, _evaluate_reshape, _example_reshape),
    "transpose": ScalingRule(
        "s_out = s_in, transposed",
        _transpose,
        lambda op, v: v[0].transpose(op.attributes["perm"]),
        _example_transpose,
    ),
    "expand": ScalingRule("s_out = s_in, repeated", _expand, _evaluate_expand, _example_expand),
    "concat": ScalingRule(
        "s_out = s_in, slice by slice",
        _concat,
        lambda op, v: np.concatenate(v, op.attributes["axis"]),
        _example_concat,
    ),
    "take": ScalingRule("s_out[i] = s_in[index i]", _take, _evaluate_take, _example_take),
    "pad": ScalingRule("s_out = s_in; zeros are free", _pad, _evaluate_pad, _example_pad),
    "pool": ScalingRule("s_out = s_in, all positions as one", _pool, _evaluate_pool, _example_pool),
    "resample": ScalingRule(
        "s_out = s_in, all along the axes as one", _resample, _evaluate_resample, _example_resample
    ),
    "reduce": ScalingRule(
        "s_out = s_in, all along the axes as one", _reduce, _evaluate_reduce, _example_reduce
    ),
}
