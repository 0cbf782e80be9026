"""ONNX operators that act entry by entry: sums, products, extremes and activations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from balproof.importers.onnx_builder import Builder, Node, Operator, View, label, shortest

FORMULAS: Mapping[str, str] = MappingProxyType(
    {
        "Abs": "abs",
        "Atan": "atan(x)",
        "Celu": "Max(x, 0) + Min({alpha}*(exp(Min(x, 0)/{alpha}) - 1), 0)",
        "Cos": "cos(x)",
        "Elu": "Max(x, 0) + {alpha}*(exp(Min(x, 0)) - 1)",
        "Erf": "erf(x)",
        "Exp": "exp(x)",
        "HardSigmoid": "Max(0, Min(1, {alpha}*x + {beta}))",
        "HardSwish": "x*Max(0, Min(1, x/6 + 1/2))",
        "LeakyRelu": "leaky_relu:{alpha}",
        "Mish": "x*tanh(log(1 + exp(x)))",
        "Reciprocal": "1/x",
        "Relu": "relu",
        "Selu": "{gamma}*(Max(x, 0) + {alpha}*(exp(Min(x, 0)) - 1))",
        "Sigmoid": "1/(1 + exp(-x))",
        "Sign": "sign(x)",
        "Sin": "sin(x)",
        "Softplus": "log(1 + exp(x))",
        "Softsign": "x/(1 + Abs(x))",
        "Sqrt": "sqrt(Abs(x))",
        "Tanh": "tanh(x)",
    }
)
"""Operators by formula in x and in their attributes. Roots are taken of |x|: below 0 ONNX has no number."""

_DEFAULTS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "Celu": {"alpha": 1.0},
        "Elu": {"alpha": 1.0},
        "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
        "LeakyRelu": {"alpha": 0.01},
        "Selu": {"alpha": 1.6732632, "gamma": 1.050701},
    }
)

_SOFTMAX = frozenset({"LogSoftmax", "Softmax"})
_GELU = MappingProxyType({"none": "gelu", "tanh": "gelu_tanh"})


def formula(node: Node) -> str | None:
    """The formula of an activation; None where its numbers mean nothing."""
    numbers = {k: shortest(node.get(k, v)) for k, v in _DEFAULTS.get(node.op_type, {}).items()}
    if None in numbers.values() or (node.op_type == "Celu" and not numbers["alpha"]):
        return None
    texts = {k: (f"{v}" if node.op_type == "LeakyRelu" else f"({v})") for k, v in numbers.items()}
    return FORMULAS[node.op_type].format(**texts)


def _formula(build: Builder, node: Node) -> bool:
    text = formula(node)
    return text is not None and build.active(node.input(0)) and build.function(node, text, node.input(0))


def _gelu(build: Builder, node: Node) -> bool:
    text = _GELU.get(node.get("approximate", "none"))
    return text is not None and build.active(node.input(0)) and build.function(node, text, node.input(0))


def _pow(build: Builder, node: Node) -> bool:
    x, exponent = node.input(0), build.number(node.input(1))
    if exponent is None or not build.active(x) or build.here(node.output) != build.tensors[x].shape:
        return False
    base = "x" if exponent.denominator == 1 else "Abs(x)"
    return build.function(node, f"{base}**({exponent})", x)


def _prelu(build: Builder, node: Node) -> bool:
    x, slope = node.input(0), build.held(node.input(1))
    shape = build.here(node.output)
    if not build.active(x) or slope is None or build.tensors[x].shape != shape:
        return False
    place = build.alignment(slope, len(shape))
    if place is None:
        return False
    build.emit("prelu", (x, slope.origin), node.output, shape, label(node), **place)
    return True


# --- the larger, the smaller --------------------------------------------------------------------------


def _extreme(build: Builder, node: Node) -> bool:
    """Of results, and of one number."""
    active = [n for n in node.inputs if build.active(n)]
    bounds = [build.number(n) for n in node.inputs if not build.active(n)]
    shape, out = build.here(node.output), node.output
    if not active or not _alike(build, active, shape) or any(b is None for b in bounds):
        return False
    numbers = [b for b in bounds if b is not None]
    largest = node.op_type == "Max"
    bound = None if not numbers else max(numbers) if largest else min(numbers)
    if len(active) == 1 and build.tensors[active[0]].shape != shape:
        return False
    x = active[0]
    if len(active) > 1:
        x = out if bound is None else build.fresh(f"{out}/extreme")
        build.emit("extreme", tuple(active), x, shape, label(node), largest=largest)
    elif bound is None:
        build.emit("identity", (x,), out, shape, label(node))
    return bound is None or build.function(node, f"{node.op_type}(x, {bound})", x, out)


def _clip(build: Builder, node: Node) -> bool:
    x, text = node.input(0), "x"
    if not build.active(x):
        return False
    for slot, function in ((1, "Max"), (2, "Min")):
        if node.input(slot):
            bound = build.number(node.input(slot))
            if bound is None:
                return False
            text = f"{function}({text}, {bound})"
    if text == "x":
        build.emit("identity", (x,), node.output, build.tensors[x].shape, label(node))
        return True
    return build.function(node, text, x)


# --- sums ---------------------------------------------------------------------------------------------


def _alike(build: Builder, names: list[str], shape: tuple[int, ...]) -> bool:
    """Whether results have as many axes as what is made of them, so that their batch axes meet."""
    return all(len(build.tensors[n].shape) == len(shape) for n in names)


def add_held(build: Builder, node: Node, x: str, b: View, output: str) -> str:
    """x + b for a parameter or constant whose axes can be placed."""
    shape = np.broadcast_shapes(build.tensors[x].shape, b.shape)
    place = build.alignment(b, len(shape))
    assert place is not None
    name = b.origin if build.tensors[b.origin].role == "parameter" else label(node)
    return build.emit("bias", (x, b.origin), output, shape, name, **place)


def placed(build: Builder, view: View | None, ndim: int) -> bool:
    return view is not None and build.alignment(view, ndim) is not None


def _masked(build: Builder, node: Node, x: str, mask: str) -> bool:
    """Scores plus a mask of 0 and −∞, for a softmax and nobody else."""
    value, out = build.numbers(mask), node.output
    shape = build.tensors[x].shape
    if (
        value is None
        or build.here(out) != shape
        or not build.leads(x)
        or value.shape[: -len(shape) + 1] not in ((), (1,))
    ):
        return False
    if not build.readers.get(out, frozenset()) <= _SOFTMAX or out in build.results:
        return False
    counts, finite = ~np.isneginf(value), np.where(np.isneginf(value), 0.0, value).astype(np.float64)
    if not np.isfinite(finite).all():
        return False
    build.masks[out] = counts.astype(np.float64)
    if finite.any():
        build.emit("bias", (x, build.constant(f"{out}/mask", finite)), out, shape, label(node))
    else:
        build.emit("identity", (x,), out, shape, label(node))
    return True


def _add(build: Builder, node: Node) -> bool:
    """A sum of results, then of parameters one by one."""
    out, shape = node.output, build.here(node.output)
    active = [n for n in node.inputs if build.active(n)]
    if len(active) == 1 and len(node.inputs) == 2 and node.op_type == "Add":
        other = node.inputs[1 - node.inputs.index(active[0])]
        if build.held(other) is None and _masked(build, node, active[0], other):
            return True
    held = [build.held(n) for n in node.inputs if not build.active(n)]
    if not active or not _alike(build, active, shape) or not all(placed(build, h, len(shape)) for h in held):
        return False
    x = active[0]
    if len(active) > 1:
        x = build.fresh(f"{out}/sum") if held else out
        common = np.broadcast_shapes(*(build.tensors[n].shape for n in active))
        build.emit("add", tuple(active), x, common, label(node))
    elif not held:
        build.emit("identity", (x,), out, shape, label(node))
    for i, view in enumerate(held):
        assert view is not None
        x = add_held(build, node, x, view, out if i == len(held) - 1 else build.fresh(f"{out}/sum"))
    return True


def _sub(build: Builder, node: Node) -> bool:
    """x − z as a signed sum; b − x as −x + b, and x − b as −(−x + b)."""
    out, name, shape = node.output, label(node), build.here(node.output)
    left, right = node.inputs
    active = [n for n in node.inputs if build.active(n)]
    if not active or not _alike(build, active, shape):
        return False
    if len(active) == 2:
        build.emit("add", (left, right), out, shape, name, signs=(1.0, -1.0))
        return True
    x, b = (left, right) if active == [left] else (right, left)
    held = build.held(b)
    if held is None or not placed(build, held, len(shape)):
        return False
    minus = np.asarray(-1.0)
    if x == left and build.tensors[held.origin].role == "constant":
        value = build.tensors[held.origin].value
        assert value is not None
        opposite = build.constant(f"{out}/opposite", -value)
        build.emit("bias", (x, opposite), out, shape, name)
        return True
    negated = build.scaled(x, minus, None, f"{name}/negated")
    if x == right:
        add_held(build, node, negated, held, out)
    else:
        total = add_held(build, node, negated, held, build.fresh(f"{out}/negative"))
        build.scaled(total, minus, out, f"{name}/negative")
    return True


# --- products -----------------------------------------------------------------------------------------


def _mul(build: Builder, node: Node) -> bool:
    shape = build.here(node.output)
    active = [n for n in node.inputs if build.active(n)]
    if not active or not _alike(build, active, shape):
        return False
    if len(active) == 2:
        build.emit("mul", node.inputs, node.output, shape, label(node))
        return True
    x = active[0]
    held = build.held(next(n for n in node.inputs if n != x))
    return held is not None and _times(build, node, x, held, node.output)


def _times(build: Builder, node: Node, x: str, held: View, output: str) -> bool:
    shape = build.here(node.output)
    place = build.alignment(held, len(shape))
    if place is None:
        return False
    named = held.origin if build.tensors[held.origin].role == "parameter" else None
    build.emit("scale", (x, held.origin), output, shape, label(node, named), **place)
    return True


def _div(build: Builder, node: Node) -> bool:
    shape, out = build.here(node.output), node.output
    left, right = node.inputs
    active = [n for n in node.inputs if build.active(n)]
    if not active or not _alike(build, active, shape):
        return False
    if len(active) == 2:
        build.emit("div", (left, right), out, shape, label(node))
        return True
    held = build.held(right if active == [left] else left)
    if held is None or not placed(build, held, len(shape)):
        return False
    if active == [right]:  # b/x as b·(1/x)
        if build.number(left) == 1 and build.tensors[right].shape == shape:
            return build.function(node, "1/x", right)
        inverse = build.fresh(f"{out}/inverse")
        return build.function(node, "1/x", right, inverse) and _times(build, node, inverse, held, out)
    known = build.tensors[held.origin]
    if known.role != "constant" or known.value is None or not known.value.all():
        return False
    with np.errstate(over="ignore"):
        factor = 1 / known.value
    if not np.isfinite(factor).all():
        return False
    build.scaled(left, factor, out, label(node))
    return True


def _where(build: Builder, node: Node) -> bool:
    """One or the other by a constant condition: each entry has the scale of the one that it is."""
    chosen, out, name = build.numbers(node.input(0)), node.output, label(node)
    shape = build.here(out)
    active = [n for n in node.inputs[1:] if build.active(n)]
    held = {n: build.held(n) for n in node.inputs[1:] if n not in active}
    if chosen is None or chosen.ndim > len(shape) or not active or not _alike(build, active, shape):
        return False
    if any(
        v is None or build.tensors[v.origin].role != "constant" or len(v.shape) > len(shape)
        for v in held.values()
    ):
        return False
    keeps = dict(zip(("chosen", "other"), (chosen.astype(np.float64), 1.0 - chosen), strict=True))
    parts = [
        build.scaled(n, keep, None, f"{name}/{key}")
        for n, (key, keep) in zip(node.inputs[1:], keeps.items(), strict=True)
        if n in active
    ]
    if not held:
        build.emit("add", tuple(parts), out, shape, name)
        return True
    (constant,), (x,) = held, parts
    keep = keeps["chosen" if constant == node.input(1) else "other"]
    value = build.survey.constant(constant)
    assert value is not None
    added = build.constant(f"{out}/constant", keep * value.astype(np.float64))
    build.emit("bias", (x, added), out, shape, name)
    return True


def _neg(build: Builder, node: Node) -> bool:
    if not build.active(node.input(0)):
        return False
    build.scaled(node.input(0), np.asarray(-1.0), node.output, label(node))
    return True


ELEMENTWISE: Mapping[str, Operator] = MappingProxyType(
    {
        **dict.fromkeys(FORMULAS, _formula),
        "Add": _add,
        "Clip": _clip,
        "Div": _div,
        "Gelu": _gelu,
        "Max": _extreme,
        "Min": _extreme,
        "Mul": _mul,
        "Neg": _neg,
        "Pow": _pow,
        "PRelu": _prelu,
        "Sub": _sub,
        "Sum": _add,
        "Where": _where,
    }
)
