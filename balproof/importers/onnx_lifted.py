"""ONNX nodes that compute with parameters: slices, joins, products and sums of them.

A parameter that is no more seen as it is in the file becomes a result, by ``Builder.lift``, whose entries
keep the scales of the parameter's. What nodes make of parameters alone has no batch axis: it is kept in
``Builder.lifted`` with one in front, until it meets something that has one of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np

from balproof.importers.onnx_builder import MAX_LIFTED, Builder, Node, Operator, Place, label
from balproof.importers.onnx_elementwise import FORMULAS, formula
from balproof.importers.onnx_layout import Pick, picks_of_slice

Shape = tuple[int, ...]

_MEETING = frozenset({"Add", "Concat", "Div", "Gemm", "MatMul", "Max", "Min", "Mul", "Sub", "Sum", "Where"})
_SIGNS = MappingProxyType({"Add": 1.0, "Sub": -1.0})


def with_parameters(build: Builder, node: Node, again: Callable[[Node], bool]) -> bool:
    """Translate a node that reads parameters in a way that no rule for weights covers.

    ``again`` translates the node with a result in place of a parameter.
    """
    named = [n for n in node.inputs if n]
    own = [n for n in named if n in build.lifted or build.parameter(n)]
    active = [n for n in named if build.active(n)]
    if node.domain or not all(build.liftable(n) for n in own):
        return False
    if own and not active:
        function = _ALONE.get(node.op_type)
        small = all(prod(build.shape(n)) <= MAX_LIFTED for n in node.outputs if n)
        return function is not None and small and all(node.outputs) and function(build, node)
    if not active or node.op_type not in _MEETING:
        return False
    if node.op_type in ("MatMul", "Gemm") and _product(build, node):
        return True
    return node.op_type != "Gemm" and _beside(build, node, own, again)


# --- beside results -------------------------------------------------------------------------------------


def _beside(build: Builder, node: Node, own: Sequence[str], again: Callable[[Node], bool]) -> bool:
    """With parameters as results, and all results with as many axes as what is made of them."""
    rank = len(build.shape(node.output))
    active = [n for n in node.inputs if n and build.active(n)]
    shapes = {n: (1,) * (rank - len(build.shape(n))) + build.shape(n) for n in (*own, *active)}
    places = {_moved(build.place(n), len(shapes[n]) - len(build.shape(n))) for n in active}
    place = places.pop() if len(places) == 1 else None
    if place is None or any(shapes[n][place.axis] != 1 for n in own):
        return False
    if node.op_type == "MatMul" and (place.axis >= rank - 2 or min(len(build.shape(n)) for n in shapes) < 2):
        return False
    stand_ins: dict[str, str] = {}
    for name in (n for n, shape in shapes.items() if n in own or shape != build.shape(n)):
        shape, lifted = shapes[name], name if name in active else build.lift(name)
        assert lifted is not None
        here = (1, *shape[: place.axis], *shape[place.axis + 1 :])
        stand_ins[name] = build.beside(_shaped(build, lifted, here, name), shape, place)
    if not stand_ins:
        return False
    return again(dataclasses.replace(node, inputs=tuple(stand_ins.get(n, n) for n in node.inputs)))


def _moved(place: Place | None, axes: int) -> Place | None:
    """Where the batch is once there are more axes before all others."""
    return None if place is None or place.merged else Place(place.axis + axes)


def _shaped(build: Builder, x: str, shape: Shape, name: str) -> str:
    """Always a tensor of its own, since it gets a place of its own."""
    what = f"{name}/beside"
    return build.emit("reshape", (x,), build.fresh(what), shape, what, shape=shape)


def _product(build: Builder, node: Node) -> bool:
    """x·W, or Gemm, for a matrix W that was computed."""
    x, w = node.inputs[:2]
    gemm = node.op_type == "Gemm"
    place = build.place(x) if build.active(x) else None
    if place is None or build.active(w) or not build.liftable(w) or len(build.shape(w)) != 2:
        return False
    if place.axis == len(build.shape(x)) - 1 and not build.single:
        return False
    bias = node.input(2) if gemm else ""
    if gemm and (node.get("transA", 0) or {node.get("alpha", 1.0), node.get("beta", 1.0)} != {1.0}):
        return False
    if bias and not (build.liftable(bias) and len(build.shape(bias)) <= 2 and build.leads(node.output)):
        return False
    if not build.put(node.output, place):
        return False
    weight = build.lift(w)
    assert weight is not None
    name, given, out = label(node), build.tensors[x].shape, build.here(node.output)
    rows, columns = build.shape(w)
    if node.get("transB", 0):
        rows, columns = columns, rows
        weight = _step(build, "transpose", (weight,), (1, rows, columns), f"{name}/turned", perm=(0, 2, 1))
    wide = given if len(given) > 2 else (1, 1, *given[-1:])
    x = x if wide == given else _step(build, "reshape", (x,), wide, f"{name}/row", shape=wide)
    if len(wide) > 3:
        stack = (1,) * (len(wide) - 2) + (rows, columns)
        weight = _step(build, "reshape", (weight,), stack, f"{name}/stack", shape=stack)
    y = _step(build, "matmul", (x, weight), (*wide[:-1], columns), name)
    if bias:
        y = _step(build, "reshape", (y,), out, f"{name}/product", shape=out)
        b = build.lift(bias)
        assert b is not None
        shape = (1, columns) if columns == prod(build.shape(bias)) else (1, 1)
        b = _shaped(build, b, shape, bias)
        build.emit("add", (y, b), node.output, out, f"{name}/bias")
    else:
        build.emit("reshape", (y,), node.output, out, f"{name}/product", shape=out)
    return True


# --- alone ----------------------------------------------------------------------------------------------


def _step(
    build: Builder, kind: str, inputs: Sequence[str], shape: Shape, name: str, /, **more: object
) -> str:
    return build.emit(kind, tuple(inputs), build.fresh(name), shape, name, **more)


def _note(build: Builder, output: str, result: str) -> bool:
    build.lifted[output] = result
    return True


def _lifts(build: Builder, names: Sequence[str]) -> list[str]:
    """All of them as results with one axis in front; empty where one cannot be had."""
    if not all(build.liftable(n) for n in names):
        return []
    return [x for n in names if (x := build.lift(n)) is not None]


def _reshape(build: Builder, node: Node) -> bool:
    (x,), shape = _lifts(build, node.inputs[:1]), (1, *build.shape(node.output))
    if prod(shape) != build.tensors[x].size or not build.floating(node.output):
        return False
    return _note(build, node.output, _step(build, "reshape", (x,), shape, label(node), shape=shape))


def _transpose(build: Builder, node: Node) -> bool:
    (x,), shape = _lifts(build, node.inputs[:1]), build.shape(node.output)
    perm = tuple(int(i) for i in node.get("perm", tuple(reversed(range(len(shape))))))
    own = (0, *(i + 1 for i in perm))
    return _note(build, node.output, _step(build, "transpose", (x,), (1, *shape), label(node), perm=own))


def _taken(build: Builder, node: Node, output: str, picks: Sequence[Pick]) -> bool:
    """Entries by position along axes of the file."""
    (x,) = _lifts(build, node.inputs[:1])
    if not all(len(indices) for _, indices in picks):
        return False
    for axis, indices in picks:
        shape = build.tensors[x].shape
        shape = (*shape[: axis + 1], len(indices), *shape[axis + 2 :])
        at = tuple(int(i) for i in indices)
        x = _step(build, "take", (x,), shape, label(node), axis=axis + 1, indices=at)
    shape = (1, *build.shape(output))
    if build.tensors[x].shape != shape:
        x = _step(build, "reshape", (x,), shape, label(node), shape=shape)
    return _note(build, output, x)


def _slice(build: Builder, node: Node) -> bool:
    picks = picks_of_slice(build, node, build.shape(node.input(0)))
    return picks is not None and _taken(build, node, node.output, picks)


def _split(build: Builder, node: Node) -> bool:
    axis, start = int(node.get("axis", 0)) % len(build.shape(node.output)), 0
    for output in node.outputs:
        length = build.shape(output)[axis]
        if not _taken(build, node, output, [(axis, range(start, start + length))]):
            return False
        start += length
    return True


def _gather(build: Builder, node: Node) -> bool:
    indices, shape = build.numbers(node.input(1)), build.shape(node.input(0))
    axis = int(node.get("axis", 0)) % len(shape)
    if indices is None or indices.dtype.kind not in "iu":
        return False
    return _taken(build, node, node.output, [(axis, [int(i) % shape[axis] for i in indices.ravel()])])


def _concat(build: Builder, node: Node) -> bool:
    parts, shape = _lifts(build, node.inputs), (1, *build.shape(node.output))
    axis = int(node.get("axis", 0)) % (len(shape) - 1) + 1
    return bool(parts) and _note(
        build, node.output, _step(build, "concat", parts, shape, label(node), axis=axis)
    )


def _expand(build: Builder, node: Node) -> bool:
    """To a length of the batch, after which it is a result that is the same for all of the batch."""
    out, name = node.output, node.input(0)
    shape = build.shape(out)
    seen = (1,) * (len(shape) - len(build.shape(name))) + build.shape(name)
    moving = [a for a in range(len(shape)) if not build.single and build.survey.follows(out, a)]
    (x,) = _lifts(build, [name])
    if not moving:
        x = _step(build, "reshape", (x,), (1, *seen), f"{label(node)}/axes", shape=(1, *seen))
        wide = (1, *shape)
        return _note(build, out, _step(build, "expand", (x,), wide, label(node), shape=wide))
    axis = moving[0]
    if shape[axis] != 1 or not build.put(out, Place(axis)):
        return False
    here = (1, *seen[:axis], *seen[axis + 1 :])
    x = _step(build, "reshape", (x,), here, f"{label(node)}/axes", shape=here)
    build.emit("expand", (x,), out, build.here(out), label(node), shape=build.here(out))
    return True


def _combine(build: Builder, node: Node) -> bool:
    """Sums, differences, products and quotients of parameters and constants."""
    parts, shape = _lifts(build, node.inputs), (1, *build.shape(node.output))
    if len(parts) != 2:
        return False
    same: list[str] = []
    for x in parts:
        own = build.tensors[x].shape
        wide = (1,) * (len(shape) - len(own) + 1) + own[1:]
        same.append(
            x if wide == own else _step(build, "reshape", (x,), wide, f"{label(node)}/axes", shape=wide)
        )
    if node.op_type in _SIGNS:
        y = _step(build, "add", same, shape, label(node), signs=(1.0, _SIGNS[node.op_type]))
    elif node.op_type == "Mul":
        y = _step(build, "mul", same, shape, label(node))
    else:
        y = _step(build, "div", same, shape, label(node))
    return _note(build, node.output, y)


def _matmul(build: Builder, node: Node) -> bool:
    """Of which the second may be a matrix as it is in the file."""
    weight = build.matrix(node.input(1))
    ranks = {len(build.shape(n)) for n in (node.input(0), node.output)}
    if weight and build.parameter(weight.origin) and build.liftable(node.input(0)) and len(ranks) == 1:
        (x,), shape = _lifts(build, node.inputs[:1]), (1, *build.shape(node.output))
        flip, name = weight.transposed, label(node, weight.origin)
        return _note(
            build, node.output, _step(build, "linear", (x, weight.origin), shape, name, transpose=flip)
        )
    parts, shape = _lifts(build, node.inputs), (1, *build.shape(node.output))
    if len(parts) != 2 or {len(build.tensors[x].shape) for x in parts} != {len(shape)}:
        return False
    return _note(build, node.output, _step(build, "matmul", parts, shape, label(node)))


def _negated(build: Builder, node: Node) -> bool:
    (x,) = _lifts(build, node.inputs)
    return _note(build, node.output, build.scaled(x, np.asarray(-1.0), None, label(node)))


def _function(build: Builder, node: Node) -> bool:
    """An activation of a parameter, as of exp(log σ)."""
    text = formula(node)
    (x,) = _lifts(build, node.inputs[:1])
    out = build.fresh(label(node))
    return text is not None and build.function(node, text, x, out) and _note(build, node.output, out)


_ALONE: Mapping[str, Operator] = MappingProxyType(
    {
        **dict.fromkeys(FORMULAS, _function),
        **dict.fromkeys(("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
        **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _combine),
        "Concat": _concat,
        "Expand": _expand,
        "Gather": _gather,
        "MatMul": _matmul,
        "Neg": _negated,
        "Slice": _slice,
        "Split": _split,
        "Transpose": _transpose,
    }
)
