"""The nodes of an ONNX graph as operations of a network: one function for each operator.

What no function translates is ``unknown``, and pins all that it touches. So does a node whose operands or
result do not have the batch axis in front, and one that computes with integers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ModelError
from balproof.importers.onnx_builder import Builder, Node, Operator, View, digest, label
from balproof.importers.onnx_elementwise import ELEMENTWISE, FORMULAS
from balproof.importers.onnx_external import take_in
from balproof.importers.onnx_layout import LAYOUT, MOVING, PLACING
from balproof.importers.onnx_lifted import with_parameters
from balproof.importers.onnx_linear import LINEAR
from balproof.importers.onnx_recurrent import RECURRENT
from balproof.importers.onnx_resize import RESIZE
from balproof.importers.onnx_roles import ALIASES, roles
from balproof.importers.onnx_shapes import survey
from balproof.importers.rounding import MAX_ACTIVATION, require_size
from balproof.network.graph import Network, Tensor

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {**ELEMENTWISE, **LINEAR, **LAYOUT, **RESIZE, **RECURRENT}
)
"""Operator → translation. Each returns False, having done nothing, where the node is not of its kind."""


def translate(onnx: Any, model: Any, values: Mapping[str, Tensor]) -> Network:
    """The network of a checked model whose initializers have been read.

    Raises ModelError for shapes that cannot be told and for constants that are not numbers.
    """
    graph = model.graph
    nodes = [Node.of(onnx, n) for n in graph.node]
    constants, buffers = roles(nodes, values)
    free = [i for i in graph.input if i.name not in values]
    stored: dict[str, np.ndarray] = {}
    for proto in (t for t in graph.initializer if t.name in constants):
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            take_in(onnx, proto, np.asarray(values[proto.name].value).tobytes())
        stored[proto.name] = onnx.numpy_helper.to_array(proto)
    stored.update(_constants(onnx, graph))
    known = survey(onnx, model, {i.name for i in free}, stored)
    taken = {n for node in graph.node for n in (*node.input, *node.output)} | set(values)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    results = frozenset(o.name for o in graph.output)
    readers: dict[str, frozenset[str]] = {}
    for node in nodes:
        readers.update({n: readers.get(n, frozenset()) | {node.op_type} for n in node.inputs})
    nodes = [node.asked_for(lambda name: name in readers or name in results) for node in nodes]
    build = Builder(onnx, known, taken | {i.name for i in free}, {}, opset, results, readers)
    build.source = free[0].name if free else ""
    for given in free:
        build.tensors[given.name] = Tensor(given.name, build.shape(given.name), "input")
    for name, tensor in values.items():
        if name not in constants:
            build.tensors[name] = dataclasses.replace(tensor, buffer=name in buffers)
    for node in nodes:
        if node.output not in known.one.constants:
            _node(build, node)
    return _network(build, [i.name for i in free], [o.name for o in graph.output])


def _network(build: Builder, inputs: Sequence[str], results: Sequence[str]) -> Network:
    outputs = tuple(dict.fromkeys(results))
    for name in outputs:
        if not build.active(name):
            what = "a parameter" if name in {*build.views, *build.tensors, *build.lifted} else "a constant"
            raise ModelError(f"output {name!r} is {what}", "give a model that computes its outputs")
    used = {n for op in build.operations for n in op.inputs} | set(outputs)
    tensors = {n: t for n, t in build.tensors.items() if n in used or t.role in ("input", "activation")}
    return Network(tensors, tuple(build.operations), tuple(inputs), outputs, format="onnx")


_NUMBERS = MappingProxyType(
    {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
)


def _constants(onnx: Any, graph: Any) -> dict[str, np.ndarray]:
    """The numbers of the Constant nodes."""
    from balproof.importers.onnx_file import tensor

    found: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            continue
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        name = node.output[0]
        if "value" in given:
            tensor(given["value"])  # as long as its shape says
            found[name] = onnx.numpy_helper.to_array(given["value"])
            continue
        number = next((v for k, v in given.items() if k in _NUMBERS), None)
        if number is None:
            raise ModelError(f"constant {name!r} is not a number", "export the model without texts")
        kind = next(_NUMBERS[k] for k in given if k in _NUMBERS)
        found[name] = np.asarray(number, dtype=kind)
    return found


# --- nodes --------------------------------------------------------------------------------------------


def _node(build: Builder, node: Node) -> None:
    """Translate one node; what has no translation is unknown."""
    for output in node.outputs:
        if output:
            _require_shape(build, output)
    if not node.domain and _alias(build, node):
        return
    if not _translated(build, node) and not with_parameters(build, node, lambda n: _translated(build, n)):
        _unknown(build, node)


def _translated(build: Builder, node: Node) -> bool:
    operator = None if node.domain else OPERATORS.get(node.op_type)
    return operator is not None and _fits(build, node) and operator(build, node)


def _require_shape(build: Builder, name: str) -> None:
    shape = build.survey.one.shapes.get(name)
    if shape is None:
        raise ModelError(f"the shape of {name!r} cannot be told", "export the model with fixed shapes")
    if shape:
        require_size(name, shape, MAX_ACTIVATION)


def _fits(build: Builder, node: Node) -> bool:
    """Numbers in floating point, and a batch axis that can be followed."""
    active = [n for n in node.inputs if build.active(n)]
    if node.op_type not in MOVING and not all(build.floating(n) for n in (node.output, *active)):
        return False
    if node.op_type in PLACING or node.op_type in RECURRENT:
        return True
    if all(build.leads(n) for n in (*active, *filter(None, node.outputs))):
        return True
    return node.op_type in FOLLOWING and node.alone and _follows(build, node, active)


FOLLOWING = frozenset(
    {*FORMULAS, "Add", "Cast", "Div", "Dropout", "Gemm", "Identity", "MatMul", "Mul", "Neg", "Sub"}
)
"""Operators that leave the batch where it is, wherever that is."""


def _follows(build: Builder, node: Node, active: Sequence[str]) -> bool:
    """Whether all results have their batch on one axis, and weights are to the right of it."""
    places = {build.place(n) for n in active}
    place = places.pop() if len(places) == 1 else None
    shape = build.shape(node.output)
    if place is None or any(len(build.shape(n)) != len(shape) for n in active):
        return False
    matrix = node.op_type in ("Gemm", "MatMul")
    behind = len(shape) - 1 - place.axis
    held = [v for slot, n in enumerate(node.inputs) if (v := build.held(n)) and not (matrix and slot == 1)]
    if any(len(v.shape) > behind for v in held) or (matrix and behind < len(active)):
        return False
    sizes = {build.shape(n)[place.axis] for n in active} | {shape[place.axis]}
    return len(sizes) == 1 and build.put(node.output, place)


def _alias(build: Builder, node: Node) -> bool:
    """A parameter seen in another way; no operation."""
    held = build.held(node.input(0)) if node.inputs else None
    if held is None or build.tensors[held.origin].role != "parameter":
        return False
    shape = build.shape(node.output)
    if node.op_type == "Transpose":
        if len(held.shape) != 2 or held.reshaped:
            return False
        turned = held.transposed ^ (tuple(node.get("perm", (1, 0))) == (1, 0))
        build.views[node.output] = View(held.origin, shape, turned)
    elif node.op_type == "Gather":
        rows = build.numbers(node.input(1))
        whole = rows is not None and np.array_equal(rows.ravel(), np.arange(held.shape[0]))
        if not whole or node.get("axis", 0) != 0:
            return False
        return _seen(build, node, held, shape)
    elif node.op_type in ALIASES:
        if node.op_type == "Cast" and not (build.floating(node.output) and build.floating(node.input(0))):
            return False
        return _seen(build, node, held, shape)
    else:
        return False
    return True


def _seen(build: Builder, node: Node, held: View, shape: tuple[int, ...]) -> bool:
    if shape != held.shape and held.transposed:
        return False
    same = shape == build.tensors[held.origin].shape and not held.transposed
    build.views[node.output] = View(held.origin, shape, held.transposed, not same and not held.transposed)
    return True


def _unknown(build: Builder, node: Node) -> None:
    """Something that no rule covers: it pins all that it reads and writes.

    Its attributes, and the operands that are no tensors of the network, are kept for comparison.
    """
    inputs: list[str] = []
    apart: list[tuple[int, object]] = []
    for slot, name in enumerate(node.inputs):
        view = build.views.get(name)
        held = build.held(name) if name else None
        lifted = build.lifted.get(name)
        if build.active(name) or held is not None:
            inputs.append(held.origin if held else name)
            if view is not None and (view.transposed or view.reshaped):
                apart.append((slot, (view.shape, view.transposed)))
        elif lifted is not None:
            inputs.append(lifted)
        else:
            value = build.numbers(name) if name else None
            apart.append((slot, digest(value) if value is not None else name and "varies"))
    kept: dict[str, Any] = {"op_type": node.op_type}
    if node.domain:
        kept["domain"] = node.domain
    if node.attributes:
        kept["attributes"] = dict(node.attributes)
    if apart:
        kept["operands"] = tuple(apart)
    for i, output in enumerate(node.outputs):
        build.places.pop(output, None)
        if output:
            result = {"result": i} if len(node.outputs) > 1 else {}
            build.emit("unknown", tuple(inputs), output, build.shape(output), label(node), **kept, **result)
