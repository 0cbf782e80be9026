"""Operations that are linear in each operand: sums, products, convolutions, look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from balproof.conservation.passes import Pass, Unsupported, exact
from balproof.conservation.ring import Modular
from balproof.conservation.steps_elementwise import in_axes
from balproof.conservation.tape import Node
from balproof.network.graph import Operation

Array = np.ndarray


def linear(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    x, weight = operands
    ndim = len(weight.shape) - 1
    if op.attributes.get("transpose", False):
        weight = r.tape.transpose(weight, (*range(ndim - 2), ndim - 1, ndim - 2))
    if ndim > 2:  # a stack of matrices
        return r.tape.matmul(x, weight)
    flat = r.tape.reshape(x, (prod(x.shape[1:-1]), x.shape[-1]))
    return r.tape.reshape(r.tape.matmul(flat, weight), r.network.tensors[op.output].shape)


def bias(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.add(operands[0], in_axes(r, op, operands[1]))


def scale(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.multiply(operands[0], in_axes(r, op, operands[1]))


def add(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    signs = op.attributes.get("signs", (1.0,) * len(operands))
    parts = [x if s == 1 else r.tape.times(x, r.number(float(s))) for s, x in zip(signs, operands)]
    total = parts[0]
    for part in parts[1:]:
        total = r.tape.add(total, part)
    return total


def mul(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.multiply(*operands)


def matmul(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.matmul(*operands)


def batchnorm(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    """In inference. 1/√(v + ε) is read as the double that is nearest, as any program does."""
    if op.attributes.get("training", False):  # the statistics of a batch, which is no single case
        return r.opaque(r, op, operands, (r.step, op.output))
    x, gamma, beta, mean, variance = operands
    tensor = r.network.tensors[op.inputs[4]]
    if variance.moved:
        raise Unsupported(f"the variance of {op.name} is learned, and its root is no polynomial")
    view = (1, -1, *(1,) * (len(x.shape) - 3))
    factor = 1 / np.sqrt(np.array(exact(tensor), np.float64) + float(op.attributes.get("epsilon", 0.0)))
    minus = r.tape.times(r.tape.reshape(mean, view), r.number(-1))
    centred = r.tape.times(r.tape.add(x, minus), r.ring.constant(factor.reshape(1, *view)))
    return r.tape.add(r.tape.multiply(centred, r.tape.reshape(gamma, view)), r.tape.reshape(beta, view))


def embedding(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    x, weight = operands
    if x.moved:
        raise Unsupported(f"the positions that {op.name} looks up depend on parameters")
    rows = weight.shape[1]
    if r.symbols is not None:  # any mixture of rows
        blank = np.zeros((1, prod(x.shape[1:]), rows), dtype=object)
        mixture = r.symbols(op, r.tape.put({0: blank}), "")
        found = r.tape.matmul(r.tape.put({0: mixture}), weight)
        return r.tape.reshape(found, r.network.tensors[op.output].shape)
    place = x.jet[0].astype(np.int64)
    if isinstance(r.ring, Modular):
        place = np.where(place > r.ring.p // 2, place - r.ring.p, place)
    place = np.clip(place, -rows, rows - 1) % rows  # a negative position counts from the end
    hot = r.ring.constant((place.reshape(place.shape[0], -1, 1) == np.arange(rows)).astype(np.int64))
    return r.tape.reshape(r.tape.matmul(r.tape.put({0: hot}), weight), r.network.tensors[op.output].shape)


def windows(
    positions: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """(…, *places, *kernel) of the last axes of an array."""
    n = len(kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    view = sliding_window_view(positions, reach, axis=tuple(range(positions.ndim - n, positions.ndim)))
    lead = (slice(None),) * (positions.ndim - n)
    view = view[(*lead, *(slice(None, None, s) for s in strides))]
    return view[(..., *(slice(None, None, d) for d in dilations))]


def padded(positions: Array, pads: Sequence[int], fill: int = 0) -> Array:
    n = len(pads) // 2
    width = [(0, 0)] * (positions.ndim - n) + list(zip(pads[:n], pads[n:]))
    return np.pad(positions, width, constant_values=fill)


def conv(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    x, weight = operands
    a = op.attributes
    space, n = x.shape[3:], len(x.shape) - 3
    kernel = weight.shape[3:]
    strides, dilations = (tuple(int(k) for k in a.get(key, (1,) * n)) for key in ("strides", "dilations"))
    pads, groups = tuple(int(k) for k in a.get("pads", (0,) * 2 * n)), int(a.get("group", 1))
    channels = x.shape[2]
    at = np.arange(1, channels * prod(space) + 1).reshape(channels, *space)
    ends: list[slice] | None = None
    if a.get("transposed", False):  # zeros between the entries, then the kernel turned round
        extra = tuple(int(k) for k in a.get("output_padding", (0,) * n))
        wide = np.zeros((channels, *((m - 1) * s + 1 for m, s in zip(space, strides))), np.int64)
        wide[(slice(None), *(slice(None, None, s) for s in strides))] = at
        reach = [(k - 1) * d for k, d in zip(kernel, dilations)]
        around = [q - p for q, p in zip(reach, pads[:n])]
        around += [q - p + e for q, p, e in zip(reach, pads[n:], extra)]
        cut = [max(0, -p) for p in around]
        at, pads, strides = wide, tuple(max(0, p) for p in around), (1,) * n
        place = np.arange(prod(weight.shape[1:])).reshape(weight.shape[1:])
        turned = np.flip(place, tuple(range(2, n + 2))).reshape(groups, -1, *weight.shape[2:]).swapaxes(1, 2)
        weight = r.tape.gather(weight, turned.reshape(-1, weight.shape[1] // groups, *kernel))
        ends = [slice(lo, -hi or None) for lo, hi in zip(cut[:n], cut[n:])]
    view = windows(padded(at, pads), kernel, strides, dilations)
    places = view.shape[1 : 1 + n]
    index = view.reshape(groups, channels // groups, prod(places), prod(kernel)).swapaxes(1, 2) - 1
    columns = r.tape.gather(x, index.reshape(groups, prod(places), -1))
    rows = r.tape.reshape(weight, (groups, weight.shape[1] // groups, -1))
    product = r.tape.matmul(columns, r.tape.transpose(rows, (0, 2, 1)))
    result = r.tape.reshape(r.tape.transpose(product, (0, 2, 1)), (1, weight.shape[1], *places))
    if ends is None:
        return result
    inner = np.arange(prod(result.shape[1:])).reshape(result.shape[1:])[(slice(None), slice(None), *ends)]
    return r.tape.gather(result, inner)


def resample(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    """A constant matrix along each of some axes."""
    x, *matrices = operands
    for axis, matrix in zip(op.attributes["axes"], matrices):
        order = list(range(len(x.shape) - 1))
        order[axis], order[-1] = order[-1], order[axis]
        turned = r.tape.transpose(x, order)
        x = r.tape.transpose(r.tape.matmul(turned, r.tape.transpose(matrix, (1, 0))), order)
    return x
