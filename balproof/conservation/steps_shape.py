"""Operations that move entries about, or take some of them together: pooling, reductions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from math import prod
from types import MappingProxyType

import numpy as np

from balproof.conservation.passes import Pass
from balproof.conservation.steps_elementwise import largest
from balproof.conservation.steps_linear import padded, windows
from balproof.conservation.tape import Node
from balproof.network.graph import Operation
from balproof.network.rules import run

Array = np.ndarray


def moved(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    """Find out where each entry goes by running the operation on positions; 0 is for what is not there."""
    sizes = [prod(x.shape[1:]) for x in operands]
    starts = [0, *np.cumsum(sizes).tolist()]
    positions = [
        np.arange(a + 1, a + n + 1, dtype=np.float64).reshape(x.shape[1:])
        for a, n, x in zip(starts, sizes, operands)
    ]
    value = float(op.attributes.get("value", 0.0)) if op.kind == "pad" else 0.0
    plain = dataclasses.replace(op, attributes=MappingProxyType({**op.attributes, "value": 0.0}))
    index = run(plain, positions).astype(np.int64) - 1
    result = r.tape.gather(operands[0] if len(operands) == 1 else r.tape.concat(operands), index)
    if value:
        there = np.where(index < 0, value, 0.0)
        result = r.tape.add(result, r.tape.put({0: r.ring.constant(there)[None]}))
    return result


def pool(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    (x,) = operands
    a = op.attributes
    kernel = tuple(int(k) for k in a["kernel"])
    n = len(kernel)
    strides, dilations = (tuple(int(k) for k in a.get(key, (1,) * n)) for key in ("strides", "dilations"))
    pads = tuple(int(k) for k in a.get("pads", (0,) * 2 * n))
    at = np.arange(1, prod(x.shape[1:]) + 1).reshape(x.shape[1:])
    seen = padded(at, pads, 0)
    if a.get("ceil_mode", False):
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
        more = [(-(m - q)) % s for m, q, s in zip(seen.shape[2:], reach, strides)]
        seen = padded(seen, (0,) * n + tuple(more), -1)  # these never count
    view = windows(seen, kernel, strides, dilations)
    shape = view.shape[: 2 + n]
    view = view.reshape(*shape, -1)
    inner = r.tape.gather(x, np.where(view > 0, view - 1, -1))
    if a["mode"] == "max":
        chosen = largest(r, op, inner, (-1,), np.asarray(view > 0)[None])
        return r.tape.reshape(r.tape.sum(r.tape.times(inner, chosen), (inner.jet[0].ndim - 1,)), shape)
    counted = view >= 0 if a.get("count_include_pad", False) else view > 0
    share = np.empty(shape, dtype=object)
    share.ravel()[:] = [Fraction(1, int(c)) for c in counted.sum(axis=-1).ravel()]
    total = r.tape.reshape(r.tape.sum(inner, (inner.jet[0].ndim - 1,)), shape)
    return r.tape.times(total, r.ring.constant(share)[None])


def reduce(r: Pass, op: Operation, operands: Sequence[Node]) -> Node:
    (x,) = operands
    n = len(x.shape) - 1
    axes = tuple(sorted({a % n + 1 for a in op.attributes["axes"]}))
    mode = op.attributes["mode"]
    if mode in ("max", "min"):
        x = r.tape.times(x, largest(r, op, x, axes, sign=1 if mode == "max" else -1))
    total = r.tape.sum(x, axes)
    if mode == "mean":
        total = r.tape.times(total, r.number(Fraction(1, prod(x.shape[a] for a in axes))))
    return r.tape.reshape(total, r.network.tensors[op.output].shape)
