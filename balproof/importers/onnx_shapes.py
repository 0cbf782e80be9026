"""Shapes and constants of an ONNX graph, by the library's own inference and reference implementation.

A graph from PyTorch computes shapes as it goes (Shape, Gather, Concat, …). Such nodes have constant operands
once the shapes are known, and constant operands give more shapes: the two take turns until nothing is new.

This is done for a batch of 1 and, where the file does not fix it to that, for one of another length as well
(its own, if it has one). What differs tells where the batch axis is: a result of shape (1, …) that becomes
(11, …) has it in front.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from balproof.errors import ModelError
from balproof.importers.files import first_line
from balproof.importers.rounding import MAX_ACTIVATION, require_size

Array = np.ndarray
Shape = tuple[int, ...]

OTHER_BATCH = 11
MAX_FOLDED = 2**22

_SMALL = (
    "Abs Add And Cast Ceil Concat Cos Div Equal Exp Flatten Floor Gather Greater GreaterOrEqual Identity "
    "Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Reciprocal ReduceMax ReduceMin ReduceProd "
    "ReduceSum Reshape Shape Sin Size Slice Sqrt Squeeze Sub Transpose Trilu Unsqueeze Where Xor"
)
_LARGE = "ConstantOfShape Expand Range Tile"
FOLDED = frozenset((*_SMALL.split(), *_LARGE.split()))
"""Operators that are computed where all their operands are constants."""

_SAME_SHAPE = frozenset({"GroupNormalization"})  # the library infers nothing about it


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known for one length of the batch: shapes, element types, and the values of constants."""

    shapes: Mapping[str, Shape]
    types: Mapping[str, int]
    constants: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Survey:
    """The facts for a batch of 1 and for another ``batch`` (``other`` is None if there can be no other)."""

    one: Facts
    other: Facts | None = None
    batch: int = OTHER_BATCH

    def constant(self, name: str) -> Array | None:
        """The value of a constant that does not change with the batch, but perhaps in its number of rows."""
        value = self.one.constants.get(name)
        if value is None or self.other is None:
            return value
        again = self.other.constants.get(name)
        if again is None or again.ndim != value.ndim:
            return None
        rows = again.shape != value.shape and value.shape[:1] == (1,) and again.shape[:1] == (self.batch,)
        first = np.broadcast_to(value, again.shape) if rows and again.shape[1:] == value.shape[1:] else value
        return value if np.array_equal(first, again) else None

    def repeated(self, name: str) -> Array | None:
        """The value for a batch of 1 of a constant that is repeated for all of any batch, on any axis."""
        value = self.one.constants.get(name)
        again = value if self.other is None else self.other.constants.get(name)
        if value is None or again is None or again.ndim != value.ndim:
            return None
        if any(m not in (1, n) for m, n in zip(value.shape, again.shape, strict=True)):
            return None
        return value if np.array_equal(np.broadcast_to(value, again.shape), again) else None

    def leads(self, name: str) -> bool:
        """Whether axis 0 is the batch, or of length 1 for any batch."""
        shape = self.one.shapes.get(name, ())
        if shape[:1] != (1,) or self.other is None:
            return shape[:1] == (1,)
        return self.other.shapes.get(name) in (shape, (self.batch, *shape[1:]))

    def follows(self, name: str, axis: int) -> bool:
        """Whether an axis holds the batch, alone or merged with others."""
        shape = self.one.shapes.get(name, ())
        if axis >= len(shape) or self.other is None:
            return axis < len(shape)
        longer = (*shape[:axis], self.batch * shape[axis], *shape[axis + 1 :])
        return self.other.shapes.get(name) == longer


def survey(onnx: Any, model: Any, free: set[str], constants: Mapping[str, Array]) -> Survey:
    """Everything about the shapes of a model; ``constants`` are its initializers that are no parameters.

    Raises ModelError for inputs without a batch axis and for shapes that do not fit.
    """
    given = [i for i in model.graph.input if i.name in free]
    fixed = {axes[0].dim_value for i in given if (axes := _axes(i)) and axes[0].HasField("dim_value")}
    if len(fixed) > 1:
        lengths = ", ".join(map(str, sorted(fixed)))
        raise ModelError(f"the inputs have batches of {lengths}", "export it with one batch axis")
    batch = fixed.pop() if fixed else OTHER_BATCH
    if batch == 1 or not given:
        return Survey(_facts(onnx, model, free, constants, 1))
    one, other = (_tried(onnx, model, free, constants, n) for n in (1, batch))
    if isinstance(one, ModelError):
        if isinstance(other, ModelError) or batch == OTHER_BATCH:
            raise one
        raise ModelError(
            f"the shapes of the model fit for a batch of {batch} only",
            "export it with a free batch axis, or with a batch of 1",
        )
    # A file that leaves the batch free may yet take one of 1 only.
    return Survey(one) if isinstance(other, ModelError) else Survey(one, other, batch)


def _tried(
    onnx: Any, model: Any, free: set[str], constants: Mapping[str, Array], batch: int
) -> Facts | ModelError:
    try:
        return _facts(onnx, model, free, constants, batch)
    except ModelError as error:
        return error


def _facts(onnx: Any, model: Any, free: set[str], held: Mapping[str, Array], batch: int) -> Facts:
    constants = dict(held)
    shell = _shell(onnx, model, free, constants, batch)
    opsets, stored = list(model.opset_import), set(constants)
    while True:
        inferred = _inferred(onnx, shell)
        infos = (*inferred.input, *inferred.value_info, *inferred.output)
        found = {v.name: _declared(v) for v in infos}
        shapes = {n: tuple(k for k in s if k is not None) for n, s in found.items() if s and None not in s}
        shapes.update({n: () for n, s in found.items() if s == ()})
        shapes.update({n: v.shape for n, v in constants.items()})
        rest = [n for n in shell.graph.node if not _fold(onnx, n, constants, shapes, opsets)]
        if len(rest) == len(shell.graph.node):
            break
        for name in constants.keys() - stored:
            shell.graph.initializer.append(onnx.numpy_helper.from_array(constants[name], name))
        stored |= constants.keys()
        del shell.graph.node[:]
        shell.graph.node.extend(rest)
    types = {v.name: v.type.tensor_type.elem_type for v in infos}
    types.update({n: onnx.helper.np_dtype_to_tensor_dtype(v.dtype) for n, v in constants.items()})
    for info in (*model.graph.value_info, *model.graph.output):  # what a file says, where nothing is inferred
        types.setdefault(info.name, info.type.tensor_type.elem_type)
        says = _declared(info)
        if says and info.name not in shapes:
            said = (batch, *says[1:]) if says[0] is None else says
            if None not in said:
                shapes[info.name] = tuple(k for k in said if k is not None)
    return Facts(shapes, types, constants)


def _shell(onnx: Any, model: Any, free: set[str], constants: Mapping[str, Array], batch: int) -> Any:
    """The model without the data of its parameters, its batch fixed."""
    shell = onnx.ModelProto(ir_version=model.ir_version)
    shell.opset_import.extend(model.opset_import)
    shell.graph.name = model.graph.name or "graph"
    shell.graph.node.extend(model.graph.node)
    for node in shell.graph.node:
        if node.op_type in _SAME_SHAPE and node.domain in ("", "ai.onnx"):
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    shell.graph.output.extend(model.graph.output)
    for given in model.graph.input:
        if given.name in free:
            shell.graph.input.append(given)
            _fix_batch(shell.graph.input[-1], batch)
    for stored in model.graph.initializer:
        if stored.name in constants:
            shell.graph.initializer.append(stored)
        else:
            info = onnx.helper.make_tensor_value_info(stored.name, stored.data_type, list(stored.dims))
            shell.graph.input.append(info)
    # Declared shapes hold the old batch axis: forget them, but where inference has nothing to say.
    foreign = {n for node in model.graph.node if node.domain not in ("", "ai.onnx") for n in node.output}
    for info in model.graph.value_info:
        if info.name in foreign and _declared(info):
            shell.graph.value_info.append(info)
            first = shell.graph.value_info[-1].type.tensor_type.shape.dim[0]
            if not first.HasField("dim_value"):
                first.Clear()
                first.dim_value = batch
    for result in shell.graph.output:
        result.type.tensor_type.ClearField("shape")
    return shell


def _inferred(onnx: Any, shell: Any) -> Any:
    try:
        return onnx.shape_inference.infer_shapes(shell, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"the shapes of the model do not fit ({first_line(error)})", "check the model, or export it anew"
        ) from None


def _axes(info: Any) -> Any:
    return info.type.tensor_type.shape.dim


def _declared(info: Any) -> tuple[int | None, ...] | None:
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)


def _fix_batch(given: Any, batch: int) -> None:
    """Axis 0 of an input becomes the batch; the other axes must have a length."""
    shape = _declared(given)
    if not shape or len(shape) < 2:
        raise ModelError(f"input {given.name!r} has shape {shape}", "export it with a batch axis in front")
    if None in shape[1:]:
        raise ModelError(f"input {given.name!r} has an axis of free length", "export it with fixed lengths")
    _axes(given)[0].Clear()
    _axes(given)[0].dim_value = batch
    require_size(given.name, (1, *(n or 0 for n in shape[1:])), MAX_ACTIVATION)


# --- constants ----------------------------------------------------------------------------------------


def _fold(
    onnx: Any, node: Any, constants: dict[str, Array], shapes: Mapping[str, Shape], opsets: list[Any]
) -> bool:
    """Compute a node whose operands are constants, or which asks for a shape that is known."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in FOLDED:
        return False
    names = [n for n in node.input if n]
    feeds = {n: constants[n] for n in names if n in constants}
    if node.op_type in ("Shape", "Size") and names and names[0] in shapes:
        shape = shapes[names[0]]
        feeds = {names[0]: np.broadcast_to(np.zeros((), np.float32), shape)}
    if len(feeds) < len(set(names)) or not names or not _bounded(node, feeds, shapes):
        return False
    values = _computed(onnx, node, feeds, opsets)
    if values is None:
        return False
    constants.update(zip((o for o in node.output if o), values, strict=True))
    return True


def _bounded(node: Any, feeds: Mapping[str, Array], shapes: Mapping[str, Shape]) -> bool:
    """Whether the result is small, asked before it is made."""
    if node.op_type in ("Shape", "Size"):
        return True
    if node.op_type in _LARGE.split():
        return all(o in shapes and math.prod(shapes[o]) <= MAX_FOLDED for o in node.output if o)
    return math.prod(max(1, v.size) for v in feeds.values()) <= MAX_FOLDED


def _computed(onnx: Any, node: Any, feeds: Mapping[str, Array], opsets: list[Any]) -> list[Array] | None:
    helper = onnx.helper
    given = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in feeds.items()
    ]
    results = [helper.make_empty_tensor_value_info(o) for o in node.output if o]
    graph = helper.make_graph([node], "constant", given, results)
    model = helper.make_model(graph, opset_imports=opsets)
    reference = importlib.import_module("onnx.reference")  # it takes a while, and most models do without
    try:
        with np.errstate(all="ignore"):
            values = reference.ReferenceEvaluator(model).run(None, dict(feeds))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return None  # the library cannot compute it: not a constant then
    return [np.asarray(v) for v in values]
