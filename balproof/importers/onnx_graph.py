"""The nodes of an ONNX graph as operations of a network: one function for each operator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ExpressionError, ModelError
from balproof.importers.files import first_line
from balproof.importers.rounding import MAX_ACTIVATION, require_finite, require_size
from balproof.network.graph import Network, Operation, Tensor
from balproof.symbolic.activation import Activation

# Operators that act entry by entry, as formulas in x.
ELEMENTWISE: Mapping[str, str] = MappingProxyType(
    {
        "Abs": "abs",
        "Cos": "cos(x)",
        "Erf": "erf(x)",
        "Exp": "exp(x)",
        "Relu": "relu",
        "Sigmoid": "1/(1 + exp(-x))",
        "Sign": "sign(x)",
        "Sin": "sin(x)",
        "Softplus": "log(1 + exp(x))",
        "Softsign": "x/(1 + Abs(x))",
        "Tanh": "tanh(x)",
    }
)


@dataclass
class Builder:
    """The network as it grows.

    ``aliases`` maps a name to the initializer behind it, and whether it is used transposed.
    """

    onnx: Any
    shapes: Mapping[str, tuple[int, ...]]
    taken: set[str]
    tensors: dict[str, Tensor]
    operations: list[Operation] = field(default_factory=list)
    aliases: dict[str, tuple[str, bool]] = field(default_factory=dict)
    constant_uses: set[str] = field(default_factory=set)
    parameter_uses: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def held(self, name: str) -> Tensor | None:
        """The parameter or constant of that name, if it is one and not transposed."""
        known = self.tensors.get(self.aliases.get(name, (name, False))[0])
        transposed = self.aliases.get(name, (name, False))[1]
        return known if known and known.role in ("parameter", "constant") and not transposed else None

    def matrix(self, name: str) -> tuple[str, bool] | None:
        """The 2-D parameter or constant behind a name, and whether it is used transposed."""
        origin, transposed = self.aliases.get(name, (name, False))
        known = self.tensors.get(origin)
        if known and known.role in ("parameter", "constant") and len(known.shape) == 2:
            return origin, transposed
        return None

    def active(self, name: str) -> bool:
        """Whether a name is an input or a result."""
        return name in self.tensors and self.tensors[name].role in ("input", "activation")

    def fresh(self, wish: str) -> str:
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name

    def constant(self, wish: str, value: np.ndarray) -> str:
        name = self.fresh(wish)
        self.tensors[name] = require_finite(Tensor(name, value.shape, "constant", value))
        return name

    def emit(
        self,
        kind: str,
        inputs: tuple[str, ...],
        output: str,
        shape: tuple[int, ...],
        name: str,
        /,
        **attributes: Any,
    ) -> str:
        """Append an operation under a name that is not in use yet; returns its output."""
        unique, count = name, 1
        while unique in self.names:
            count += 1
            unique = f"{name}_{count}"
        self.names.add(unique)
        self.tensors[output] = Tensor(output, shape, "activation")
        self.operations.append(Operation(kind, unique, inputs, output, MappingProxyType(attributes)))
        return output

    def scaled(self, x: str, factor: np.ndarray, output: str | None, name: str) -> str:
        """x times a constant; to a tensor in between if no output is named."""
        target = output if output is not None else self.fresh(f"{name}/scaled")
        held = self.constant(f"{target}/factor", np.asarray(factor, dtype=np.float64))
        shape = np.broadcast_shapes(self.tensors[x].shape, np.shape(factor))
        return self.emit("scale", (x, held), target, shape, name)


def translate(onnx: Any, model: Any, values: Mapping[str, Tensor]) -> Network:
    """The network of a checked model whose initializers have been read.

    Raises ModelError for shapes that cannot be told and for constants that are not finite.
    """
    graph = model.graph
    free = [i for i in graph.input if i.name not in values]
    shapes = _shapes(onnx, model, {i.name for i in free})
    taken = {n for node in graph.node for n in (*node.input, *node.output)} | set(values)
    build = Builder(onnx, shapes, taken | {i.name for i in free}, {})
    for given in free:
        build.tensors[given.name] = Tensor(given.name, shapes[given.name], "input")
    build.tensors.update(values)
    for node in graph.node:
        _node(build, node)
    outputs = tuple(dict.fromkeys(o.name for o in graph.output))
    for name in outputs:
        if name in build.aliases:
            raise ModelError(f"output {name!r} is a parameter", "give a model that computes its outputs")
    used = {n for op in build.operations for n in op.inputs} | set(outputs)
    only_constant = build.constant_uses - build.parameter_uses
    tensors = {
        name: dataclasses.replace(t, role="constant") if name in only_constant else t
        for name, t in build.tensors.items()
        if name in used or t.role in ("input", "activation")
    }
    return Network(tensors, tuple(build.operations), tuple(i.name for i in free), outputs, format="onnx")


def _shapes(onnx: Any, model: Any, free: set[str]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, with the batch axis fixed to 1."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    declared = {v.name: _declared(v) for v in (*copy.graph.value_info, *copy.graph.output)}
    for given in copy.graph.input:
        if given.name in free:
            _fix_batch(given)
    # Declared shapes hold the old batch axis: forget them, but where inference has nothing to say.
    foreign = {n for node in copy.graph.node if node.domain not in ("", "ai.onnx") for n in node.output}
    kept = [v for v in model.graph.value_info if v.name in foreign and _declared(v)]
    del copy.graph.value_info[:]
    for info in kept:
        new = copy.graph.value_info.add()
        new.CopyFrom(info)
        if new.type.tensor_type.shape.dim[0].WhichOneof("value") != "dim_value":
            new.type.tensor_type.shape.dim[0].Clear()
            new.type.tensor_type.shape.dim[0].dim_value = 1
    for result in copy.graph.output:
        result.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(copy, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"the shapes of the model do not fit ({first_line(error)})", "check the model, or export it anew"
        ) from None
    found = {v.name: _declared(v) for v in (*inferred.input, *inferred.value_info, *inferred.output)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name in {**found, **declared}:
        for shape in (
            found.get(name),
            declared.get(name),
        ):  # what a file says counts where nothing is inferred
            known = (1, *shape[1:]) if shape and shape[0] is None else shape
            if known is not None and None not in known and name not in shapes:
                shapes[name] = tuple(n for n in known if n is not None)
    return shapes


def _declared(info: Any) -> tuple[int | None, ...] | None:
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)


def _fix_batch(given: Any) -> None:
    """Axis 0 of an input becomes 1; the other axes must have a length."""
    shape = _declared(given)
    if not shape or len(shape) < 2:
        raise ModelError(f"input {given.name!r} has shape {shape}", "export it with a batch axis in front")
    if None in shape[1:]:
        raise ModelError(f"input {given.name!r} has an axis of free length", "export it with fixed lengths")
    given.type.tensor_type.shape.dim[0].Clear()
    given.type.tensor_type.shape.dim[0].dim_value = 1
    require_size(given.name, (1, *(n or 0 for n in shape[1:])), MAX_ACTIVATION)


# --- nodes --------------------------------------------------------------------------------------------


def _node(build: Builder, node: Any) -> None:
    """Translate one node; what has no translation is unknown."""
    if node.op_type == "Constant" and not node.domain:
        _constant(build, node)
        return
    if node.op_type in ("Identity", "Transpose") and _alias(build, node):
        return
    for output in node.output:
        if output:
            _require_shape(build, output)
    operator = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if operator is None and node.domain in ("", "ai.onnx") and node.op_type in ELEMENTWISE:
        operator = _elementwise
    # A result without the batch axis in front is none of ours, though it may be one of ONNX.
    batched = build.shapes[node.output[0]][:1] == (1,)
    if not (operator and batched and operator(build, node)):
        _unknown(build, node)


def _require_shape(build: Builder, name: str) -> None:
    shape = build.shapes.get(name)
    if shape is None:
        raise ModelError(f"the shape of {name!r} cannot be told", "export the model with fixed shapes")
    if shape:
        require_size(name, shape, MAX_ACTIVATION)


def _attributes(build: Builder, node: Any) -> dict[str, Any]:
    return {a.name: build.onnx.helper.get_attribute_value(a) for a in node.attribute}


def _label(node: Any, weight: str | None = None) -> str:
    """What a person calls a node: the stem of its weight, else its own name, else its output."""
    if weight is not None and not weight.startswith("onnx::") and not weight.isdigit():
        for ending in (".weight", "_weight", "/weight", ".kernel", "/kernel", ".W"):
            if weight.endswith(ending) and weight != ending:
                return weight.removesuffix(ending)
        return weight
    return node.name or node.output[0]


def _constant(build: Builder, node: Any) -> None:
    from balproof.importers.onnx_file import tensor

    name = node.output[0]
    given = _attributes(build, node)
    if "value" in given:
        value = dataclasses.replace(tensor(given["value"]), name=name)
    else:
        number = next((v for k, v in given.items() if k in _NUMBERS), None)
        if number is None:
            raise ModelError(f"constant {name!r} is not a number", "export the model without texts")
        array = np.asarray(number, dtype=np.float64)
        value = Tensor(name, array.shape, "constant", array)
    build.tensors[name] = require_finite(dataclasses.replace(value, role="constant"))


_NUMBERS = ("value_float", "value_floats", "value_int", "value_ints")


def _alias(build: Builder, node: Any) -> bool:
    """Another name for an initializer, or for its transpose; no operation."""
    origin, transposed = build.aliases.get(node.input[0], (node.input[0], False))
    held = build.tensors.get(origin)
    if held is None or held.role not in ("parameter", "constant"):
        return False
    if node.op_type == "Transpose":
        if len(held.shape) != 2:
            return False
        transposed ^= tuple(_attributes(build, node).get("perm", (1, 0))) == (1, 0)
    build.aliases[node.output[0]] = (origin, transposed)
    return True


def _unknown(build: Builder, node: Any) -> bool:
    """Something that no rule covers: it pins all that it reads and writes."""
    inputs: list[str] = []
    for name in node.input:
        origin = build.aliases.get(name, (name, False))[0]
        known = build.tensors.get(origin)
        if known is not None and (known.role != "constant" or known.size):
            inputs.append(origin)
            build.parameter_uses.add(origin)
    for output in node.output:
        if output:
            shape = build.shapes[output]
            build.emit("unknown", tuple(inputs), output, shape, _label(node), op_type=node.op_type)
    return True


def _linear(build: Builder, node: Any, x: str, weight: tuple[str, bool], output: str) -> str:
    origin, transposed = weight
    build.parameter_uses.add(origin)
    length = build.tensors[origin].shape[0 if transposed else 1]
    shape = (*build.tensors[x].shape[:-1], length)
    return build.emit("linear", (x, origin), output, shape, _label(node, origin), transpose=transposed)


def _matmul(build: Builder, node: Any) -> bool:
    x, w = node.input
    weight = build.matrix(w)
    if not build.active(x) or weight is None or len(build.tensors[x].shape) < 2:
        return False
    _linear(build, node, x, weight, node.output[0])
    return True


def _gemm(build: Builder, node: Any) -> bool:
    """Y = alpha·A·B + beta·C, as beta·((alpha/beta)·A·B + C) where they are not 1."""
    given = _attributes(build, node)
    alpha, beta = float(given.get("alpha", 1.0)), float(given.get("beta", 1.0))
    x, w, *rest = node.input
    c = rest[0] if rest and rest[0] and beta != 0 else None
    weight = build.matrix(w)
    if (
        given.get("transA", 0)
        or weight is None
        or not build.active(x)
        or not np.isfinite([alpha, beta]).all()
    ):
        return False
    weight = (weight[0], weight[1] ^ bool(given.get("transB", 0)))
    held = build.held(c) if c else None
    if c and held is None and (not build.active(c) or beta != 1):
        return False
    label, out = _label(node, weight[0]), node.output[0]
    before = alpha / beta if held is not None else alpha
    steps = [before != 1, c is not None, held is not None and beta != 1]  # scale, add, scale

    def target(step: int) -> str:
        return build.fresh(f"{out}/{('linear', 'scaled', 'bias')[step]}") if any(steps[step:]) else out

    y = _linear(build, node, x, weight, target(0))
    if steps[0]:
        y = build.scaled(y, np.asarray(before), target(1), f"{label}/alpha")
    if held is not None:
        y = _add_held(build, node, y, held.name, target(2))
    elif c:
        y = build.emit("add", (y, c), out, build.shapes[out], f"{label}/add")
    if steps[2]:
        build.scaled(y, np.asarray(beta), out, f"{label}/beta")
    return True


def _add_held(build: Builder, node: Any, x: str, b: str, output: str) -> str:
    build.parameter_uses.add(b)
    shape = np.broadcast_shapes(build.tensors[x].shape, build.tensors[b].shape)
    label = b if build.tensors[b].role == "parameter" else node.name or output
    return build.emit("bias", (x, b), output, shape, label)


def _add(build: Builder, node: Any) -> bool:
    out, names = node.output[0], tuple(node.input)
    if all(build.active(n) for n in names):
        build.emit("add", names, out, build.shapes[out], _label(node))
        return True
    if len(names) != 2:
        return False
    x, b = names if build.active(names[0]) else names[::-1]
    held = build.held(b)
    if not build.active(x) or held is None:
        return False
    _add_held(build, node, x, held.name, out)
    return True


def _sub(build: Builder, node: Any) -> bool:
    """x − z as a signed sum; b − x as −x + b, and x − b as −(−x + b)."""
    out, (left, right), label = node.output[0], node.input, _label(node)
    if build.active(left) and build.active(right):
        build.emit("add", (left, right), out, build.shapes[out], label, signs=(1.0, -1.0))
        return True
    x, b = (left, right) if build.active(left) else (right, left)
    held = build.held(b)
    if not build.active(x) or held is None:
        return False
    minus = np.asarray(-1.0)
    negated = build.scaled(x, minus, None, f"{label}/negated")
    if x == right:
        _add_held(build, node, negated, held.name, out)
    else:
        total = _add_held(build, node, negated, held.name, build.fresh(f"{out}/negative"))
        build.scaled(total, minus, out, f"{label}/negative")
    return True


def _mul(build: Builder, node: Any) -> bool:
    x, c = node.input if build.active(node.input[0]) else node.input[::-1]
    held = build.held(c)
    if not build.active(x) or held is None:
        return False
    build.constant_uses.add(held.name)
    build.emit("scale", (x, held.name), node.output[0], build.shapes[node.output[0]], _label(node))
    return True


def _div(build: Builder, node: Any) -> bool:
    x, c = node.input
    held = build.held(c)
    if not build.active(x) or held is None or held.value is None or not held.value.all():
        return False
    with np.errstate(over="ignore"):
        factor = 1 / held.value
    if not np.isfinite(factor).all():
        return False
    build.constant_uses.add(held.name)
    build.scaled(x, factor, node.output[0], _label(node))
    return True


def _neg(build: Builder, node: Any) -> bool:
    if not build.active(node.input[0]):
        return False
    build.scaled(node.input[0], np.asarray(-1.0), node.output[0], _label(node))
    return True


def _function(build: Builder, node: Any, text: str) -> bool:
    """An activation by its formula; unknown where the formula means nothing on the real line."""
    if not build.active(node.input[0]):
        return False
    try:
        function = Activation.parse(text)
    except ExpressionError:
        return False
    out = node.output[0]
    build.emit("activation", (node.input[0],), out, build.shapes[out], _label(node), function=function)
    return True


def _elementwise(build: Builder, node: Any) -> bool:
    return _function(build, node, ELEMENTWISE[node.op_type])


def _leaky_relu(build: Builder, node: Any) -> bool:
    slope = shortest(_attributes(build, node).get("alpha", 0.01))
    return slope is not None and _function(build, node, f"leaky_relu:{slope}")


def _pow(build: Builder, node: Any) -> bool:
    held = build.held(node.input[1])
    if held is None or held.value is None or np.unique(held.value).size != 1:
        return False
    exponent = shortest(held.value.flat[0], held.dtype)
    if exponent is None or build.shapes[node.output[0]] != build.shapes.get(node.input[0]):
        return False
    build.constant_uses.add(held.name)
    return _function(build, node, f"x**({exponent})")


def shortest(number: float, dtype: str = "float32") -> Fraction | None:
    """The shortest decimal that rounds to a number in a type, as a fraction; None if it is not finite.

    >>> shortest(np.float32(0.01))
    Fraction(1, 100)
    """
    kind = {"float16": np.float16, "bfloat16": np.float32, "float64": np.float64}.get(dtype, np.float32)
    rounded = kind(number)
    return Fraction(np.format_float_positional(rounded, trim="-")) if np.isfinite(rounded) else None


def _prelu(build: Builder, node: Any) -> bool:
    x, slope = node.input
    held = build.held(slope)
    if not build.active(x) or held is None:
        return False
    build.parameter_uses.add(held.name)
    build.emit("prelu", (x, held.name), node.output[0], build.shapes[node.output[0]], _label(node))
    return True


def _clamp(build: Builder, node: Any) -> bool:
    """max(x, 0) and min(x, 0)."""
    active = [n for n in node.input if build.active(n)]
    held = [build.held(n) for n in node.input if not build.active(n)]
    if len(active) != 1 or len(held) != 1 or held[0] is None or held[0].value is None or held[0].value.any():
        return False
    out = node.output[0]
    if build.shapes[out] != build.tensors[active[0]].shape:
        return False
    function = Activation.parse(f"{node.op_type}(x, 0)")
    build.emit("activation", (active[0],), out, build.shapes[out], _label(node), function=function)
    return True


def _reshape(build: Builder, node: Any) -> bool:
    x, out = node.input[0], node.output[0]
    if not build.active(x) or any(build.active(n) for n in node.input[1:]):
        return False
    build.emit("reshape", (x,), out, build.shapes[out], _label(node), shape=build.shapes[out])
    return True


def _identity(build: Builder, node: Any) -> bool:
    """Identity, and Dropout as in inference; a mask or a training switch makes it unknown."""
    switch = build.held(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    on = (
        len(node.input) > 2
        and node.input[2]
        and (switch is None or switch.value is None or switch.value.any())
    )
    if not build.active(node.input[0]) or on or any(node.output[1:]):
        return False
    out = node.output[0]
    build.emit("identity", (node.input[0],), out, build.shapes[out], _label(node))
    return True


OPERATORS: Mapping[str, Callable[[Builder, Any], bool]] = MappingProxyType(
    {
        "Add": _add,
        "Div": _div,
        "Dropout": _identity,
        "Flatten": _reshape,
        "Gemm": _gemm,
        "Identity": _identity,
        "LeakyRelu": _leaky_relu,
        "MatMul": _matmul,
        "Max": _clamp,
        "Min": _clamp,
        "Mul": _mul,
        "Neg": _neg,
        "Pow": _pow,
        "PRelu": _prelu,
        "Reshape": _reshape,
        "Sub": _sub,
        "Sum": _add,
    }
)
"""Operator → translation. Each returns False, having done nothing, where the node is not of its kind."""
