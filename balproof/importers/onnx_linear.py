"""ONNX operators with weights: dense layers, convolutions, normalisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.importers.onnx_builder import Builder, Node, Operator, View, label
from balproof.importers.onnx_elementwise import add_held, placed

Shape = tuple[int, ...]


# --- dense layers -------------------------------------------------------------------------------------


def _linear(build: Builder, node: Node, x: str, weight: View, output: str) -> str:
    length = build.tensors[weight.origin].shape[0 if weight.transposed else 1]
    shape = (*build.tensors[x].shape[:-1], length)
    name = label(node, weight.origin)
    return build.emit("linear", (x, weight.origin), output, shape, name, transpose=weight.transposed)


def _matmul(build: Builder, node: Node) -> bool:
    x, w = node.inputs
    shape = build.here(node.output)
    if build.active(x) and build.active(w):
        ranks = {len(build.tensors[n].shape) for n in node.inputs}
        if ranks != {len(shape)} or len(shape) < 3:
            return False
        build.emit("matmul", (x, w), node.output, shape, label(node))
        return True
    weight = build.matrix(w)
    if build.active(x) and weight is not None and len(build.tensors[x].shape) >= 2:
        _linear(build, node, x, weight, node.output)
        return True
    if build.active(x) and _stack(build, node, x, w):
        return True
    weight = build.matrix(x)
    if build.active(w) and weight is not None and len(build.tensors[w].shape) >= 3:
        return _from_the_left(build, node, weight, w)
    return False


def _stack(build: Builder, node: Node, x: str, w: str) -> bool:
    """x·W for several matrices W, one for each slice of x."""
    weight = build.plain(w)
    given = build.tensors[x].shape
    if weight is None or not build.leads(x) or len(build.shape(x)) != len(build.shape(node.output)):
        return False
    own = build.tensors[weight].shape
    if len(own) < 3 or len(own) > len(given) or (len(own) == len(given) and own[0] != 1):
        return False
    build.emit(
        "linear", (x, weight), node.output, build.here(node.output), label(node, weight), transpose=False
    )
    return True


def _from_the_left(build: Builder, node: Node, weight: View, x: str) -> bool:
    """W·x as the transpose of xᵀ·Wᵀ."""
    shape = build.tensors[x].shape
    perm = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    turned = tuple(shape[i] for i in perm)
    name, out = label(node, weight.origin), node.output
    first = build.emit("transpose", (x,), build.fresh(f"{out}/turned"), turned, f"{name}/turned", perm=perm)
    view = View(weight.origin, weight.shape[::-1], not weight.transposed)
    y = _linear(build, node, first, view, build.fresh(f"{out}/linear"))
    build.emit("transpose", (y,), out, build.here(out), f"{name}/back", perm=perm)
    return True


def _gemm(build: Builder, node: Node) -> bool:
    """Y = alpha·A·B + beta·C, as beta·((alpha/beta)·A·B + C) where they are not 1."""
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    x, c = node.input(0), node.input(2) if beta != 0 else ""
    weight = build.matrix(node.input(1))
    if node.get("transA", 0) or weight is None or not build.active(x) or not np.isfinite([alpha, beta]).all():
        return False
    weight = View(weight.origin, weight.shape, weight.transposed ^ bool(node.get("transB", 0)))
    held = build.held(c) if c else None
    if held is not None and not placed(build, held, 2):
        return False
    if c and held is None and (not build.active(c) or beta != 1 or len(build.tensors[c].shape) != 2):
        return False
    name, out = label(node, weight.origin), node.output
    before = alpha / beta if held is not None else alpha
    steps = [before != 1, bool(c), held is not None and beta != 1]  # scale, add, scale

    def target(step: int) -> str:
        return build.fresh(f"{out}/{('linear', 'scaled', 'bias')[step]}") if any(steps[step:]) else out

    y = _linear(build, node, x, weight, target(0))
    if steps[0]:
        y = build.scaled(y, np.asarray(before), target(1), f"{name}/alpha")
    if held is not None:
        y = add_held(build, node, y, held, target(2))
    elif c:
        y = build.emit("add", (y, c), out, build.here(out), f"{name}/add")
    if steps[2]:
        build.scaled(y, np.asarray(beta), out, f"{name}/beta")
    return True


# --- convolutions -------------------------------------------------------------------------------------


def geometry(node: Node, size: Sequence[int], kernel: Sequence[int]) -> dict[str, Shape] | None:
    """Strides, dilations and pads of a window; None where auto_pad is something unknown."""
    n = len(kernel)
    strides, dilations = (tuple(node.get(k, (1,) * n)) for k in ("strides", "dilations"))
    auto = node.get("auto_pad", "NOTSET")
    pads = tuple(node.get("pads", (0,) * 2 * n)) if auto == "NOTSET" else (0,) * 2 * n
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        total = [max(0, (-(-m // s) - 1) * s + r - m) for m, s, r in zip(size, strides, reach, strict=True)]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
    elif auto not in ("NOTSET", "VALID"):
        return None
    return {"strides": strides, "dilations": dilations, "pads": pads}


def positions(size: Sequence[int], kernel: Sequence[int], g: Mapping[str, Shape], up: bool = False) -> Shape:
    """How many windows there are along each axis."""
    n = len(kernel)
    found: list[int] = []
    for i, (m, k) in enumerate(zip(size, kernel, strict=True)):
        free = m + g["pads"][i] + g["pads"][n + i] - (k - 1) * g["dilations"][i] - 1
        found.append((-(-free // g["strides"][i]) if up else free // g["strides"][i]) + 1)
    return tuple(found)


def _with_bias(build: Builder, node: Node, conv: tuple[str, str], attributes: Mapping[str, Any]) -> bool:
    """The convolution, and its bias as an operation of its own."""
    out, b = node.output, node.input(2)
    bias = build.plain(b) if b else None
    if b and (bias is None or len(build.tensors[bias].shape) != 1):
        return False
    target = build.fresh(f"{out}/conv") if b else out
    shape = build.here(out)
    name = label(node, conv[1])
    build.emit("conv", conv, target, shape, name, **attributes)
    if bias is not None:
        called = bias if build.tensors[bias].role == "parameter" else f"{name}/bias"
        build.emit("bias", (target, bias), out, shape, called, axis=1)
    return True


def _kernel(build: Builder, node: Node) -> str | None:
    """The weight of a convolution in one to three dimensions."""
    weight = build.plain(node.input(1))
    if weight is None or not build.active(node.input(0)):
        return None
    return weight if len(build.tensors[weight].shape) in (3, 4, 5) else None


def _conv(build: Builder, node: Node) -> bool:
    weight = _kernel(build, node)
    if weight is None:
        return False
    size, kernel = build.tensors[node.input(0)].shape[2:], build.tensors[weight].shape[2:]
    found = geometry(node, size, kernel)
    if found is None or positions(size, kernel, found) != build.here(node.output)[2:]:
        return False
    return _with_bias(build, node, (node.input(0), weight), {**found, "group": int(node.get("group", 1))})


def _conv_transpose(build: Builder, node: Node) -> bool:
    weight = _kernel(build, node)
    if weight is None:
        return False
    size, kernel = build.tensors[node.input(0)].shape[2:], build.tensors[weight].shape[2:]
    n = len(kernel)
    strides, dilations = (tuple(node.get(k, (1,) * n)) for k in ("strides", "dilations"))
    extra = tuple(node.get("output_padding", (0,) * n))
    full = [
        s * (m - 1) + e + (k - 1) * d + 1
        for s, m, e, k, d in zip(strides, size, extra, kernel, dilations, strict=True)
    ]
    pads = _cut(node, full, size, strides)
    if pads is None or any(p < 0 for p in pads):
        return False
    if (
        tuple(f - a - b for f, a, b in zip(full, pads[:n], pads[n:], strict=True))
        != build.here(node.output)[2:]
    ):
        return False
    attributes = {
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "group": int(node.get("group", 1)),
        "transposed": True,
        "output_padding": extra,
    }
    return _with_bias(build, node, (node.input(0), weight), attributes)


def _cut(node: Node, full: Sequence[int], size: Sequence[int], strides: Sequence[int]) -> Shape | None:
    """What a transposed convolution cuts off at the beginnings, and at the ends, of its full result."""
    auto, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if auto == "VALID" and wanted is None:
        return (0,) * 2 * len(full)
    if auto == "NOTSET" and wanted is None:
        return tuple(node.get("pads", (0,) * 2 * len(full)))
    if auto not in ("NOTSET", "SAME_UPPER", "SAME_LOWER"):
        return None
    if wanted is None:
        wanted = [m * s for m, s in zip(size, strides, strict=True)]
    total = [f - w for f, w in zip(full, wanted[-len(full) :], strict=True)]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return (*less, *more) if auto == "SAME_UPPER" else (*more, *less)


# --- normalisations -----------------------------------------------------------------------------------


def _affine(build: Builder, node: Node, slots: Sequence[int], shape: Shape) -> tuple[str, ...] | None:
    """The names of γ and β, as far as they are there, if they have this shape."""
    names = tuple(build.plain(node.input(s)) for s in slots if node.input(s))
    found = tuple(n for n in names if n is not None and build.tensors[n].shape == shape)
    return found if len(found) == len(names) else None


def _batchnorm(build: Builder, node: Node) -> bool:
    x, training = node.input(0), bool(node.get("training_mode", 0))
    if not build.active(x) or not node.alone:
        return False
    shape = build.tensors[x].shape
    own = _affine(build, node, (1, 2, 3, 4), (shape[1],))
    if own is None:
        return False
    epsilon = float(node.get("epsilon", 1e-5))
    name = label(node, own[0])
    build.emit("batchnorm", (x, *own), node.output, shape, name, epsilon=epsilon, training=training)
    return True


def _layernorm(build: Builder, node: Node) -> bool:
    x = node.input(0)
    if not build.active(x) or not node.alone:
        return False
    shape = build.tensors[x].shape
    axis = int(node.get("axis", -1)) % len(shape)
    own = _affine(build, node, (1, 2), shape[axis:])
    if axis == 0 or own is None or not own:
        return False
    axes, epsilon = tuple(range(axis, len(shape))), float(node.get("epsilon", 1e-5))
    build.emit("norm", (x, *own), node.output, shape, label(node, own[0]), axes=axes, epsilon=epsilon)
    return True


def _instancenorm(build: Builder, node: Node) -> bool:
    x = node.input(0)
    return build.active(x) and _by_groups(build, node, build.tensors[x].shape[1])


def _groupnorm(build: Builder, node: Node) -> bool:
    """γ and β have an entry for each channel. (Before opset 21 they did not; ONNX withdrew that operator.)"""
    x, groups = node.input(0), int(node.get("num_groups", 0))
    if not build.active(x) or build.opset < 21 or groups < 1 or build.tensors[x].shape[1] % groups:
        return False
    return _by_groups(build, node, groups)


def _by_groups(build: Builder, node: Node, groups: int) -> bool:
    x, epsilon = node.input(0), float(node.get("epsilon", 1e-5))
    shape = build.tensors[x].shape
    own = _affine(build, node, (1, 2), (shape[1],))
    if own is None or len(own) != 2:
        return False
    name = label(node, own[0])
    build.emit("norm", (x, *own), node.output, shape, name, groups=groups, axis=1, epsilon=epsilon)
    return True


def _softmax(build: Builder, node: Node) -> bool:
    """Along one axis, other than that of the batch."""
    x = node.input(0)
    if not build.active(x):
        return False
    n = len(build.tensors[x].shape)
    axis, log = int(node.get("axis", -1)) % n, node.op_type == "LogSoftmax"
    if axis == 0:
        return False
    mask = (build.constant(f"{node.output}/mask", build.masks[x]),) if x in build.masks else ()
    build.emit("softmax", (x, *mask), node.output, build.tensors[x].shape, label(node), axis=axis, log=log)
    return True


LINEAR: Mapping[str, Operator] = MappingProxyType(
    {
        "BatchNormalization": _batchnorm,
        "Conv": _conv,
        "ConvTranspose": _conv_transpose,
        "Gemm": _gemm,
        "GroupNormalization": _groupnorm,
        "InstanceNormalization": _instancenorm,
        "LayerNormalization": _layernorm,
        "LogSoftmax": _softmax,
        "MatMul": _matmul,
        "Softmax": _softmax,
    }
)
