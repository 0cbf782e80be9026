"""ONNX operators that move entries about, pool them, or look them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np

from balproof.importers.onnx_builder import FLOAT_TYPES, FRONT, Builder, Node, Operator, Place, label
from balproof.importers.onnx_linear import geometry, positions

Shape = tuple[int, ...]


def _identity(build: Builder, node: Node) -> bool:
    """Identity, and Dropout as in inference; a mask or a training switch makes it unknown."""
    x, switch = node.input(0), node.input(2)
    value = build.numbers(switch) if switch else None
    on = bool(switch) and (value is None or bool(value.any()))
    if not build.active(x) or on or not node.alone:
        return False
    build.emit("identity", (x,), node.output, build.tensors[x].shape, label(node))
    return True


_INTEGERS = frozenset({6, 7})


def _cast(build: Builder, node: Node) -> bool:
    """From one type of floating point to another, or of wide integers."""
    types = {build.survey.one.types.get(n, 0) for n in (node.input(0), node.output)}
    return (types <= FLOAT_TYPES or types <= _INTEGERS) and _identity(build, node)


# --- the batch axis, which may move and merge with others in the file -----------------------------------


def _reshape(build: Builder, node: Node) -> bool:
    """Entries keep their order, so how far two entries of the batch are apart tells where it is now."""
    x, out = node.input(0), node.output
    place = build.place(x) if build.active(x) else None
    if place is None or any(build.active(n) for n in node.inputs[1:]):
        return False
    if prod(build.shape(x)) != prod(build.shape(out)):  # for another batch only
        return False
    if place != FRONT or not build.leads(out):
        found = _found(build, out, place.minor * prod(build.shape(x)[place.axis + 1 :]))
        if found is None or not build.put(out, found):
            return False
    shape = build.here(out)
    build.emit("reshape", (x,), out, shape, label(node), shape=shape)
    return True


def _found(build: Builder, name: str, stride: int) -> Place | None:
    """The place of the batch if its entries are ``stride`` apart: on an axis of its own, if it can be."""
    shape, places = build.shape(name), list[Place]()
    if build.single:
        return build.anywhere(name)
    for axis, length in enumerate(shape):
        minor, rest = divmod(stride, prod(shape[axis + 1 :]))
        if not rest and minor and length % minor == 0 and build.survey.follows(name, axis):
            places.append(Place(axis, minor, length > 1))
    return min(places, key=lambda p: (p.merged, p.axis), default=None)


def _transpose(build: Builder, node: Node) -> bool:
    x, out = node.input(0), node.output
    place = build.place(x) if build.active(x) else None
    if place is None:
        return False
    n = len(build.shape(x))
    perm = tuple(int(i) for i in node.get("perm", tuple(reversed(range(n)))))
    if build.single and (place != FRONT or perm[0] != 0):
        return _turned(build, node, perm)
    moved = Place(perm.index(place.axis), place.minor, place.merged)
    if not build.put(out, moved):
        return False
    if place.merged:
        perm = (0, *(i + 1 for i in perm))
    else:
        perm = (0, *(h for i in perm if (h := place.here(i)) is not None))
    build.emit("transpose", (x,), out, build.here(out), label(node), perm=perm)
    return True


def _turned(build: Builder, node: Node, perm: Shape) -> bool:
    """Any exchange of axes, for a batch of 1 only."""
    x, out, name = node.input(0), node.output, label(node)
    if not build.put(out, build.anywhere(out)):
        return False
    y, result = _apart(build, x, name), build.here(out)
    turned, own = (1, *build.shape(out)), (0, *(i + 1 for i in perm))
    last = turned == result
    y = build.emit("transpose", (y,), out if last else build.fresh(f"{out}/turned"), turned, name, perm=own)
    if not last:
        build.emit("reshape", (y,), out, result, f"{name}/joined", shape=result)
    return True


# --- shapes -------------------------------------------------------------------------------------------


def _expand(build: Builder, node: Node) -> bool:
    x, shape = node.input(0), build.shape(node.output)
    if not build.active(x) or len(build.tensors[x].shape) != len(shape):
        return False
    build.emit("expand", (x,), node.output, shape, label(node), shape=shape)
    return True


def _concat(build: Builder, node: Node) -> bool:
    """Joined on any axis but that of the batch; on any whatever for a batch of 1 only."""
    if not all(build.active(n) for n in node.inputs):
        return False
    out, name = node.output, label(node)
    axis = int(node.get("axis", 0)) % len(build.shape(out))
    places = {build.place(n) for n in node.inputs}
    place = places.pop() if len(places) == 1 else None
    here = place.here(axis) if place is not None and not place.merged else None
    if place is not None and here is not None and not build.single:
        other = build.survey.other
        rows = {
            (other or build.survey.one).shapes.get(n, ())[:1] for n in node.inputs if n not in build.aside
        }
        if (place == FRONT and len(rows) > 1) or not build.put(out, place):
            return False  # one of them is the same for the whole batch
        build.emit("concat", node.inputs, out, build.here(out), name, axis=here)
        return True
    if not build.single or not build.put(out, build.anywhere(out)):
        return False
    parts = [_apart(build, n, name) for n in node.inputs]
    whole, result = (1, *build.shape(out)), build.here(out)
    target = out if whole == result else build.fresh(f"{out}/joined")
    build.emit("concat", tuple(parts), target, whole, name, axis=axis + 1)
    if target != out:
        build.emit("reshape", (target,), out, result, f"{name}/shape", shape=result)
    return True


def _apart(build: Builder, x: str, name: str) -> str:
    """A result for a batch of 1 only, with an axis for that before all those of the file."""
    apart = (1, *build.shape(x))
    if build.tensors[x].shape == apart:
        return x
    return build.emit("reshape", (x,), build.fresh(f"{x}/apart"), apart, f"{name}/apart", shape=apart)


Pick = tuple[int, Sequence[int] | np.ndarray]


def takes(build: Builder, node: Node, picks: Sequence[Pick], output: str, name: str) -> bool:
    """Entries by position along some axes, one axis after the other."""
    x, shape = node.input(0), build.tensors[node.input(0)].shape
    if any(axis == 0 or not len(indices) for axis, indices in picks):
        return False
    for i, (axis, indices) in enumerate(picks):
        last = i == len(picks) - 1
        shape = (*shape[:axis], len(indices), *shape[axis + 1 :])
        target = output if last else build.fresh(f"{output}/taken")
        at = tuple(int(k) for k in indices)
        x = build.emit("take", (x,), target, shape, name, axis=axis, indices=at)
    if not picks:
        build.emit("identity", (x,), output, shape, name)
    return True


def _picked(build: Builder, node: Node, picks: Mapping[str, Sequence[Pick]]) -> bool:
    """For each result, entries by position along axes of the file, wherever the batch is."""
    x = node.input(0)
    place = build.place(x) if build.active(x) else None
    if place is None:
        return False
    loose = build.single and place.merged
    found: dict[str, list[Pick]] = {}
    for output, own in picks.items():
        axes = [1 if loose and a == place.axis else place.here(a) for a, _ in own]
        if None in axes or not all(len(indices) for _, indices in own):
            return False
        if not build.put(output, build.anywhere(output) if loose else place):
            return False
        found[output] = [(a, i) for a, (_, i) in zip(axes, own, strict=True) if a is not None]
    for output, own in found.items():
        shape = list(build.tensors[x].shape)
        for axis, indices in own:
            shape[axis] = len(indices)
        result = build.here(output)
        target = output if tuple(shape) == result else build.fresh(f"{output}/taken")
        takes(build, node, own, target, label(node))
        if target != output:
            build.emit("reshape", (target,), output, result, f"{label(node)}/shape", shape=result)
    return True


def _split(build: Builder, node: Node) -> bool:
    if not all(node.outputs):
        return False
    axis, start = int(node.get("axis", 0)) % len(build.shape(node.output)), 0
    picks: dict[str, Sequence[Pick]] = {}
    for output in node.outputs:
        stop = start + build.shape(output)[axis]
        picks[output] = [(axis, range(start, stop))]
        start = stop
    return _picked(build, node, picks)


def picks_of_slice(build: Builder, node: Node, shape: Shape) -> list[Pick] | None:
    """What a Slice of something of this shape takes, along axes of the file; None where that is not known."""
    given = [build.integers(node.input(s)) if node.input(s) else [] for s in (1, 2, 3, 4)]
    if any(g is None for g in given):
        return None
    starts, ends, axes, steps = (g or [] for g in given)
    if not len(starts) == len(ends) == len(axes or starts) == len(steps or starts) or 0 in steps:
        return None
    picks: list[Pick] = []
    for start, end, axis, step in zip(
        starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True
    ):
        place = axis % len(shape)
        indices = range(*slice(start, end, step).indices(shape[place]))
        if indices != range(shape[place]):
            picks.append((place, indices))
    return picks


def _slice(build: Builder, node: Node) -> bool:
    picks = picks_of_slice(build, node, build.shape(node.input(0))) if build.active(node.input(0)) else None
    return picks is not None and _picked(build, node, {node.output: picks})


def _tile(build: Builder, node: Node) -> bool:
    x, repeats = node.input(0), build.integers(node.input(1))
    if not build.active(x) or repeats is None:
        return False
    shape = build.tensors[x].shape
    picks: list[Pick] = [
        (a, np.tile(np.arange(n), r)) for a, (n, r) in enumerate(zip(shape, repeats, strict=True)) if r != 1
    ]
    return takes(build, node, picks, node.output, label(node))


def _gather(build: Builder, node: Node) -> bool:
    """Constant positions along an axis of a result, or a look-up table."""
    data, places, out = node.input(0), node.input(1), node.output
    if not build.active(data):
        return _fits_in_front(build, node) and _embedding(build, node)
    indices, place = build.numbers(places), build.place(data)
    if indices is None or place is None or indices.dtype.kind not in "iu" or not indices.size:
        return False
    shape = build.shape(data)
    where = int(node.get("axis", 0)) % len(shape)
    axis = place.here(where)
    if axis is None and build.single and place.merged:
        axis = 1
    moved = (
        build.anywhere(out)
        if build.single and place.merged
        else Place(place.axis + (indices.ndim - 1 if where < place.axis else 0), place.minor, place.merged)
    )
    if axis is None or not build.put(out, moved):
        return False
    flat = [int(i) % shape[where] for i in indices.ravel()]
    result = build.here(out)
    taken = build.tensors[data].shape
    same = result == (*taken[:axis], len(flat), *taken[axis + 1 :])
    target = out if same else build.fresh(f"{out}/taken")
    takes(build, node, [(axis, flat)], target, label(node))
    if not same:
        build.emit("reshape", (target,), out, result, f"{label(node)}/shape", shape=result)
    return True


def _fits_in_front(build: Builder, node: Node) -> bool:
    return all(build.leads(n) for n in (node.output, *node.inputs) if n == node.output or build.active(n))


def _embedding(build: Builder, node: Node) -> bool:
    table, places = build.plain(node.input(0)), node.input(1)
    if table is None or len(build.tensors[table].shape) != 2 or int(node.get("axis", 0)) not in (0, -2):
        return False
    indices = build.numbers(places)
    if indices is not None:
        if indices.ndim < 2 or build.plain(places) is None:
            return False
    elif not build.active(places) or build.floating(places):
        return False
    build.emit("embedding", (places, table), node.output, build.shape(node.output), label(node, table))
    return True


_NUMPY_MODES = MappingProxyType({"edge": "edge", "reflect": "reflect", "wrap": "wrap"})


def _pad(build: Builder, node: Node) -> bool:
    """With a constant; or with entries of the tensor itself, which are taken once more."""
    x, mode = node.input(0), node.get("mode", "constant")
    given = build.integers(node.input(1))
    if given is None or not build.active(x):
        return False
    shape = build.tensors[x].shape
    axes = build.integers(node.input(3)) if node.input(3) else list(range(len(shape)))
    if axes is None or len(given) != 2 * len(axes):
        return False
    pads = [(0, 0)] * len(shape)
    for i, axis in enumerate(axes):
        pads[axis % len(shape)] = (given[i], given[len(axes) + i])
    if any(pads[0]):
        return False
    if mode != "constant":
        if mode not in _NUMPY_MODES or min(map(min, pads)) < 0:
            return False
        picks: list[Pick] = [
            (a, np.pad(np.arange(shape[a]), p, mode=mode)) for a, p in enumerate(pads) if any(p)
        ]
        return takes(build, node, picks, node.output, label(node))
    value = build.number(node.input(2)) if node.input(2) else 0
    if value is None:
        return False
    out = node.output
    build.emit("pad", (x,), out, build.shape(out), label(node), pads=tuple(pads), value=float(value))
    return True


def _depth_to_space(build: Builder, node: Node) -> bool:
    x, block, mode = node.input(0), int(node.get("blocksize", 1)), node.get("mode", "DCR")
    if not build.active(x) or mode not in ("DCR", "CRD") or len(build.tensors[x].shape) != 4:
        return False
    _, channels, height, width = build.tensors[x].shape
    deep = channels // block**2
    if mode == "DCR":
        apart, perm = (1, block, block, deep, height, width), (0, 3, 4, 1, 5, 2)
    else:
        apart, perm = (1, deep, block, block, height, width), (0, 1, 4, 2, 5, 3)
    return _shuffle(build, node, apart, perm)


def _space_to_depth(build: Builder, node: Node) -> bool:
    x, block = node.input(0), int(node.get("blocksize", 1))
    if not build.active(x) or len(build.tensors[x].shape) != 4:
        return False
    _, channels, height, width = build.tensors[x].shape
    apart = (1, channels, height // block, block, width // block, block)
    return _shuffle(build, node, apart, (0, 3, 5, 1, 2, 4))


def _shuffle(build: Builder, node: Node, apart: Shape, perm: Shape) -> bool:
    """Axes split, exchanged and merged again."""
    out, name, shape = node.output, label(node), build.shape(node.output)
    if prod(apart) != prod(shape):
        return False
    turned = tuple(apart[i] for i in perm)
    y = build.emit(
        "reshape", (node.input(0),), build.fresh(f"{out}/apart"), apart, f"{name}/apart", shape=apart
    )
    y = build.emit("transpose", (y,), build.fresh(f"{out}/turned"), turned, name, perm=perm)
    build.emit("reshape", (y,), out, shape, f"{name}/joined", shape=shape)
    return True


# --- pooling ------------------------------------------------------------------------------------------


def _pool(build: Builder, node: Node) -> bool:
    x, kernel = node.input(0), tuple(node.get("kernel_shape", ()))
    if not build.active(x) or not node.alone or len(build.tensors[x].shape) != len(kernel) + 2:
        return False
    size, up = build.tensors[x].shape[2:], bool(node.get("ceil_mode", 0))
    found = geometry(node, size, kernel)
    shape = build.shape(node.output)
    if found is None or positions(size, kernel, found, up) != shape[2:]:
        return False
    starts = [(n - 1) * s - p for n, s, p in zip(shape[2:], found["strides"], found["pads"], strict=False)]
    if any(s >= m for s, m in zip(starts, size, strict=True)):  # a last window with nothing in it
        return False
    mode = "max" if node.op_type == "MaxPool" else "average"
    count = bool(node.get("count_include_pad", 0))
    build.emit(
        "pool", (x,), node.output, shape, label(node),
        mode=mode, kernel=kernel, ceil_mode=up, count_include_pad=count, **found,
    )  # fmt: skip
    return True


def _global_pool(build: Builder, node: Node) -> bool:
    x = node.input(0)
    if not build.active(x) or len(build.tensors[x].shape) < 3:
        return False
    mode = "max" if node.op_type == "GlobalMaxPool" else "mean"
    _reduced(build, node, x, tuple(range(2, len(build.tensors[x].shape))), mode, node.output, True)
    return True


# Reduction → formula before, what is done, formula after.
_REDUCTIONS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "ReduceL1": ("abs", "sum", ""),
        "ReduceL2": ("x**2", "sum", "sqrt(Abs(x))"),
        "ReduceMax": ("", "max", ""),
        "ReduceMean": ("", "mean", ""),
        "ReduceMin": ("", "min", ""),
        "ReduceSum": ("", "sum", ""),
        "ReduceSumSquare": ("x**2", "sum", ""),
    }
)


def _axes(build: Builder, node: Node, n: int) -> tuple[int, ...] | None:
    """The axes of a reduction, as an attribute or an operand; None where they are not known."""
    given = node.get("axes")
    if node.input(1):
        given = build.integers(node.input(1))
        if given is None:
            return None
    if not given:
        return () if node.get("noop_with_empty_axes", 0) else tuple(range(n))
    return tuple(sorted({int(a) % n for a in given}))


def _reduce(build: Builder, node: Node) -> bool:
    x, out = node.input(0), node.output
    if not build.active(x):
        return False
    axes = _axes(build, node, len(build.tensors[x].shape))
    if axes is None or 0 in axes or not axes:
        return False
    before, mode, after = _REDUCTIONS[node.op_type]
    if before:
        inner = build.fresh(f"{out}/before")
        build.function(node, before, x, inner)
        x = inner
    target = build.fresh(f"{out}/reduced") if after else out
    _reduced(build, node, x, axes, mode, target, bool(node.get("keepdims", 1)))
    return not after or build.function(node, after, target, out)


def _reduced(
    build: Builder, node: Node, x: str, axes: tuple[int, ...], mode: str, output: str, keep: bool
) -> None:
    shape = build.shape(node.output)
    build.emit("reduce", (x,), output, shape, label(node), axes=axes, keepdims=keep, mode=mode)


LAYOUT: Mapping[str, Operator] = MappingProxyType(
    {
        **dict.fromkeys(_REDUCTIONS, _reduce),
        "AveragePool": _pool,
        "Cast": _cast,
        "Concat": _concat,
        "DepthToSpace": _depth_to_space,
        "Dropout": _identity,
        "Expand": _expand,
        "Flatten": _reshape,
        "Gather": _gather,
        "GlobalAveragePool": _global_pool,
        "GlobalMaxPool": _global_pool,
        "Identity": _identity,
        "MaxPool": _pool,
        "Pad": _pad,
        "Reshape": _reshape,
        "Slice": _slice,
        "SpaceToDepth": _space_to_depth,
        "Split": _split,
        "Squeeze": _reshape,
        "Tile": _tile,
        "Transpose": _transpose,
        "Unsqueeze": _reshape,
    }
)
PLACING = frozenset(
    {"Concat", "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that see to the place of the batch axis themselves."""
MOVING = frozenset({"Cast", "Expand", "Identity", "Tile", *PLACING})
"""Operators that mean the same for integers as for numbers in floating point."""
