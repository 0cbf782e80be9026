"""ATen operations as operations of a network: one function for each.

A translation that meets something it does not cover raises ``Unsupported``, and the node becomes an
``unknown`` operation, which pins what it reads and writes. Activations that are real on a half-line only
(roots, and powers with a fraction) are read as 0 on the other, where PyTorch has NaN.
"""

from __future__ import annotations

import dataclasses
import importlib
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ExpressionError
from balproof.importers import torch_moves, torch_resize
from balproof.importers.torch_values import (
    Active,
    Builder,
    Fixed,
    Held,
    Unsupported,
    Value,
    require_active,
    require_integers,
    require_number,
)
from balproof.symbolic.activation import Activation

Array = np.ndarray
Arguments = Mapping[str, Any]
Translation = Callable[[Builder, Arguments], Value]


def exact(value: Any) -> str:
    """A number as PyTorch's user wrote it: the shortest decimal, as a fraction.

    >>> exact(0.01)
    '(1/100)'
    """
    return f"({Fraction(repr(require_number(value)))})"


def stem(name: str) -> str:
    """What a person calls the layer of a weight.

    >>> stem("block.fc1.weight")
    'block.fc1'
    """
    return name.removesuffix(".weight") if name != ".weight" else name


# --- entry by entry ---------------------------------------------------------------------------------------

ELEMENTWISE: Mapping[str, str] = MappingProxyType(
    {
        "abs": "abs",
        "cos": "cos(x)",
        "erf": "erf(x)",
        "exp": "exp(x)",
        "hardsigmoid": "hardsigmoid",
        "hardswish": "hardswish",
        "log_sigmoid": "logsigmoid",
        "mish": "mish",
        "reciprocal": "1/x",
        "relu": "relu",
        "relu6": "relu6",
        "rsqrt": "Piecewise((x**(-1/2), x > 0), (0, True))",
        "selu": "selu",
        "sgn": "sign(x)",
        "sigmoid": "sigmoid",
        "sign": "sign(x)",
        "silu": "silu",
        "sin": "sin(x)",
        "softsign": "softsign",
        "sqrt": "sqrt(Max(x, 0))",
        "square": "x**2",
        "tanh": "tanh",
    }
)


def _function(build: Builder, x: Value, text: str) -> Active:
    try:
        function = Activation.parse(text)
    except ExpressionError:
        raise Unsupported from None
    return build.same("activation", require_active(x), function=function)


def _elementwise(text: str) -> Translation:
    return lambda build, a: _function(build, a["self"], text)


def _formula(template: str, *names: str) -> Translation:
    """An activation with numbers among its arguments."""
    return lambda build, a: _function(
        build, a["self"], template.format(**{name: exact(a[name]) for name in names})
    )


def _gelu(build: Builder, a: Arguments) -> Value:
    return _function(build, a["self"], "gelu_tanh" if a["approximate"] == "tanh" else "gelu")


def _clamp(build: Builder, a: Arguments) -> Value:
    low, high = a.get("min", a.get("min_val")), a.get("max", a.get("max_val"))
    text = "x"
    if low is not None:
        text = f"Max({text}, {exact(low)})"
    if high is not None:
        text = f"Min({text}, {exact(high)})"
    return _function(build, a["self"], text)


def _power(build: Builder, a: Arguments) -> Value:
    p = Fraction(repr(require_number(a["exponent"])))
    if p == 0:
        raise Unsupported
    if p.denominator == 1:
        return _function(build, a["self"], f"x**({p})")
    if p > 0:
        return _function(build, a["self"], f"Max(x, 0)**({p})")
    return _function(build, a["self"], f"Piecewise((x**({p}), x > 0), (0, True))")


def _elu(build: Builder, a: Arguments) -> Value:
    if a.get("scale", 1) != 1 or a.get("input_scale", 1) != 1:
        raise Unsupported
    return _function(build, a["self"], f"elu:{exact(a['alpha'])}")


def _prelu(build: Builder, a: Arguments) -> Value:
    x, slope = require_active(a["self"]), a["weight"]
    if not isinstance(slope, Held | Fixed) or x.at != 0 or x.merged:
        raise Unsupported
    size = prod((slope.view if isinstance(slope, Held) else slope.value).shape)
    if isinstance(slope, Held):
        if not slope.plain:
            raise Unsupported
        name = slope.name
    else:
        name = build.constant(slope.array())
    axis = 1 if size > 1 else None
    return Active(build.emit("prelu", (x.name, name), build.tensors[x.name].shape, axis=axis))


def _same(build: Builder, a: Arguments) -> Value:
    """The same values: dropout as in inference, copies, other names, another floating type."""
    if a.get("train") or (a.get("training") and "p" in a):
        raise Unsupported
    x = a["self"] if "self" in a else a["input"]
    dtype = a.get("dtype")
    if dtype is not None and not dtype.is_floating_point:
        raise Unsupported
    return x


def _scaled(build: Builder, x: Active, factor: Array) -> Active:
    """x times a constant of the program's shape (or a number)."""
    torch = importlib.import_module("torch")

    if factor.ndim == 0 and float(factor) == 1.0:
        return x
    held, axis, shape = build.beside(Fixed(torch.as_tensor(factor)), x)
    name = build.emit("scale", (x.name, held), shape, axis=axis)
    return _beside_at(build, x, name, factor.ndim)


def _beside_at(build: Builder, x: Active, name: str, ndim: int) -> Active:
    more = max(0, ndim - build.ndim(x))
    return dataclasses.replace(x, name=name, at=None if x.at is None else x.at + more)


def _tensor(value: Value) -> Value:
    """A number as a constant tensor."""
    torch = importlib.import_module("torch")

    if isinstance(value, int | float):
        return Fixed(torch.tensor(float(value), dtype=torch.float64))
    if isinstance(value, Active | Held | Fixed):
        return value
    raise Unsupported


def _several(build: Builder, kind: str, values: Sequence[Value], /, **attributes: Any) -> Active:
    """An operation of several computed tensors, entry by entry after broadcasting."""
    actives, like = build.conform(values)
    shapes = [build.tensors[v.name].shape for v in actives]
    shape = tuple(np.broadcast_shapes(*shapes))
    name = build.emit(kind, [v.name for v in actives], shape, **attributes)
    return dataclasses.replace(like, name=name)


def _total(build: Builder, x: Value, y: Value, alpha: float) -> Value:
    """x + alpha·y."""
    x, y = _tensor(x), _tensor(y)
    if isinstance(x, Active) and isinstance(y, Active):
        return _several(build, "add", (x, y), signs=(1.0, alpha))
    if isinstance(x, Active) and isinstance(y, Fixed):
        torch = importlib.import_module("torch")

        return _shifted(build, x, Fixed(torch.as_tensor(alpha * y.array())))
    if isinstance(x, Active):
        if alpha == 1:
            return _shifted(build, x, y)
        minus = np.asarray(-1.0)
        if alpha == -1:  # x − p = −(−x + p)
            return _scaled(build, require_active(_shifted(build, _scaled(build, x, minus), y)), minus)
        raise Unsupported
    if isinstance(y, Active):
        return _shifted(build, _scaled(build, y, np.asarray(alpha)), x)
    return _several(build, "add", (build.lift(x), build.lift(y)), signs=(1.0, alpha))


def _shifted(build: Builder, x: Active, b: Held | Fixed) -> Active:
    """x + b for a parameter or a constant b."""
    if (
        isinstance(b, Fixed)
        and b.value.ndim <= build.ndim(x)
        and not b.array().any()
        and b.value.numel() == 1
    ):
        return x
    try:
        held, axis, shape = build.beside(b, x)
    except Unsupported:
        return _several(build, "add", (x, build.lift(b)), signs=(1.0, 1.0))
    label = held if isinstance(b, Held) else ""
    ndim = (b.view if isinstance(b, Held) else b.value).ndim
    return _beside_at(build, x, build.emit("bias", (x.name, held), shape, label, axis=axis), ndim)


def _add(build: Builder, a: Arguments) -> Value:
    return _total(build, a["self"], a["other"], require_number(a.get("alpha", 1)))


def _sub(build: Builder, a: Arguments) -> Value:
    return _total(build, a["self"], a["other"], -require_number(a.get("alpha", 1)))


def _rsub(build: Builder, a: Arguments) -> Value:
    if a.get("alpha", 1) != 1:
        raise Unsupported
    return _total(build, a["other"], a["self"], -1.0)


def _mul(build: Builder, a: Arguments) -> Value:
    x, y = _tensor(a["self"]), _tensor(a["other"])
    if not isinstance(x, Active):
        x, y = y, x
    if isinstance(x, Active) and isinstance(y, Fixed):
        return _scaled(build, x, y.array())
    if isinstance(x, Active) and isinstance(y, Held):
        try:
            held, axis, shape = build.beside(y, x)
        except Unsupported:
            return _several(build, "mul", (x, build.lift(y)))
        name = build.emit("scale", (x.name, held), shape, stem(held), axis=axis)
        return _beside_at(build, x, name, y.view.ndim)
    return _several(build, "mul", (build.lift(x), build.lift(y)))


def _div(build: Builder, a: Arguments) -> Value:
    x, y = _tensor(a["self"]), _tensor(a["other"])
    if a.get("rounding_mode") is not None:
        raise Unsupported
    if isinstance(y, Fixed):
        factor = y.array()
        if not factor.all():
            raise Unsupported
        with np.errstate(over="ignore"):
            return _scaled(build, build.lift(x), 1 / factor)
    if isinstance(x, Fixed) and isinstance(y, Active):
        return _scaled(build, _function(build, y, "1/x"), x.array())
    return _several(build, "div", (build.lift(x), build.lift(y)))


def _neg(build: Builder, a: Arguments) -> Value:
    return _scaled(build, require_active(a["self"]), np.asarray(-1.0))


def _extreme(largest: bool) -> Translation:
    def translate(build: Builder, a: Arguments) -> Value:
        values = [_tensor(a["self"]), _tensor(a["other"])]
        for x, y in (values, values[::-1]):
            if isinstance(x, Active) and isinstance(y, Fixed) and y.value.numel() == 1 and y.value.ndim == 0:
                return _function(build, x, f"{'Max' if largest else 'Min'}(x, {exact(y)})")
        return _several(build, "extreme", [build.lift(v) for v in values], largest=largest)

    return translate


def _masked_fill(build: Builder, a: Arguments) -> Value:
    return _where(build, {"condition": a["mask"], "self": a["value"], "other": a["self"]})


def _where(build: Builder, a: Arguments) -> Value:
    """One or the other by a constant condition: each entry has the scale of the one that it is."""
    if not isinstance(a["condition"], Fixed):
        raise Unsupported
    torch = importlib.import_module("torch")

    chosen = a["condition"].value.bool()
    parts: list[Value] = []
    for key, keep in (("self", chosen), ("other", ~chosen)):
        value = _tensor(a[key])
        if isinstance(value, Fixed):
            array = value.value.detach().double()
            parts.append(Fixed(torch.where(keep, array, torch.zeros_like(array))))
        else:
            parts.append(_scaled(build, build.lift(value), Fixed(keep).array()))
    if all(isinstance(v, Fixed) for v in parts):
        raise Unsupported
    return _total(build, parts[0], parts[1], 1.0)


def _triangle(upper: bool) -> Translation:
    def translate(build: Builder, a: Arguments) -> Value:
        x = require_active(a["self"])
        dims = build.dims()
        if x.at is not None and x.at >= len(dims) - 2:
            raise Unsupported
        ones = np.ones((int(dims[-2]), int(dims[-1])))
        k = int(a.get("diagonal", 0))
        return _scaled(build, x, np.triu(ones, k) if upper else np.tril(ones, k))

    return translate


# --- linear maps ------------------------------------------------------------------------------------------


def _dense(build: Builder, x: Active, weight: Held | Fixed, *, transposed: bool) -> Active:
    """x Wᵀ, or x W where the program has the weight the other way round."""
    if x.at is not None and x.at == build.ndim(x) - 1:
        raise Unsupported
    if isinstance(weight, Held):
        if not (weight.plain or weight.transposed) or weight.view.ndim != 2:
            raise Unsupported
        flip = transposed == weight.plain
        held, label, size = weight.name, stem(weight.name), tuple(weight.view.shape)
    else:
        array = weight.array()
        if array.ndim != 2:
            raise Unsupported
        held, label, size, flip = build.constant(array), "", array.shape, transposed
    shape = (*build.tensors[x.name].shape[:-1], size[0 if transposed else 1])
    name = build.emit("linear", (x.name, held), shape, label, transpose=flip)
    return dataclasses.replace(x, name=name)


def _linear(build: Builder, a: Arguments) -> Value:
    x, weight, bias = a["input"], a["weight"], a.get("bias")
    if isinstance(x, Active) and isinstance(weight, Held | Fixed):
        try:
            y = _dense(build, x, weight, transposed=True)
        except Unsupported:
            y = _product(build, x, _last_two_turned(build, build.lift(weight)))
    else:
        y = _product(build, build.lift(x), _last_two_turned(build, build.lift(weight)))
    return y if bias is None else _total(build, y, bias, 1.0)


def _last_two_turned(build: Builder, x: Active) -> Active:
    n = build.ndim(x)
    if n < 2 or (x.at is not None and x.at >= n - 2):
        raise Unsupported
    m = len(build.tensors[x.name].shape)
    return dataclasses.replace(x, name=build.turned(x.name, (*range(m - 2), m - 1, m - 2)))


def _product(build: Builder, x: Active, y: Active) -> Active:
    """A matrix product of computed tensors."""
    if x.at == build.ndim(x) - 2 and not x.merged and y.at is None and build.ndim(y) == 2:
        return _row_times(build, x, y)
    n = max(build.ndim(x), build.ndim(y))
    if min(build.ndim(x), build.ndim(y)) < 2:
        raise Unsupported
    (x, y), like = build.conform((x, y))
    if like.at is not None and like.at >= n - 2:
        raise Unsupported
    left, right = build.tensors[x.name].shape, build.tensors[y.name].shape
    if left[-1] != right[-2]:
        raise Unsupported
    shape = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
    return dataclasses.replace(like, name=build.emit("matmul", (x.name, y.name), shape))


def _row_times(build: Builder, x: Active, y: Active) -> Active:
    """x·y for rows of which there is one for each of the batch."""
    rows, columns = build.tensors[y.name].shape[-2:]
    given = build.tensors[x.name].shape
    if given[-1] != rows:
        raise Unsupported
    wide = build.reshaped(x.name, (*given[:-1], 1, rows))
    matrix = build.reshaped(y.name, (*(1,) * (len(given) - 1), rows, columns))
    name = build.emit("matmul", (wide, matrix), (*given[:-1], 1, columns))
    return dataclasses.replace(x, name=build.reshaped(name, (*given[:-1], columns)))


def _matmul(build: Builder, a: Arguments) -> Value:
    x, y = a.get("self", a.get("mat1")), a.get("other", a.get("mat2"))
    if isinstance(x, Active) and isinstance(y, Held | Fixed):
        try:
            return _dense(build, x, y, transposed=False)
        except Unsupported:
            pass
    if isinstance(y, Active) and isinstance(x, Held | Fixed):
        try:  # W x = (xᵀ Wᵀ)ᵀ
            turned = _last_two_turned(build, y)
            return _last_two_turned(build, _dense(build, turned, x, transposed=True))
        except Unsupported:
            pass
    return _product(build, build.lift(x), build.lift(y))


def _addmm(build: Builder, a: Arguments) -> Value:
    """beta·b + alpha·x·y."""
    alpha, beta = require_number(a.get("alpha", 1)), require_number(a.get("beta", 1))
    names = ("mat1", "mat2") if "mat1" in a else ("batch1", "batch2")
    y = _matmul(build, {"self": a[names[0]], "other": a[names[1]]})
    y = _scaled(build, require_active(y), np.asarray(alpha))
    if beta == 0:
        return y
    b = a["self"] if beta == 1 else _scaled(build, build.lift(a["self"]), np.asarray(beta))
    return _total(build, y, b, 1.0)


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Begin and end of every axis, (begin…, end…)."""
    n = len(kernel)
    if padding == "valid":
        return (0,) * 2 * n
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return (*(t // 2 for t in total), *(t - t // 2 for t in total))
    return require_integers(padding, n) * 2


def _convolution(build: Builder, a: Arguments) -> Value:
    x, weight, bias = require_active(a["input"]), a["weight"], a.get("bias")
    dims = build.dims()
    n = len(dims) - 2
    transposed = bool(a.get("transposed", "transpose" in build.operation))
    if x.at != 0 or x.merged or n < 1 or build.times(dims[0]) != 1:
        raise Unsupported
    if isinstance(weight, Held):
        if not weight.plain:
            raise Unsupported
        held, label, shape = weight.name, stem(weight.name), weight.shape
    elif isinstance(weight, Fixed):
        held, label, shape = build.constant(weight.array()), "", tuple(weight.value.shape)
    else:
        raise Unsupported
    if len(shape) != n + 2:
        raise Unsupported
    dilation = require_integers(a["dilation"], n)
    attributes: dict[str, Any] = {
        "strides": require_integers(a["stride"], n),
        "dilations": dilation,
        "pads": _padding(a["padding"], shape[2:], dilation),
        "group": int(a["groups"]),
        "transposed": transposed,
    }
    if transposed:
        attributes["output_padding"] = require_integers(a["output_padding"], n)
    y = build.emit("conv", (x.name, held), build.shape(dims, 0), label, **attributes)
    return Active(y) if bias is None else _channel_bias(build, y, bias)


def _channel_bias(build: Builder, y: str, bias: Value) -> Active:
    if isinstance(bias, Held) and bias.plain:
        held = bias.name
    elif isinstance(bias, Fixed):
        held = build.constant(bias.array())
    else:
        raise Unsupported
    label = held if isinstance(bias, Held) else ""
    return Active(build.emit("bias", (y, held), build.tensors[y].shape, label, axis=1))


def _embedding(build: Builder, a: Arguments) -> Value:
    weight, x = a["weight"], a["indices"]
    if isinstance(x, Active) and isinstance(weight, Held | Fixed):
        shape = build.tensors[x.name].shape
        held = _whole(build, weight)
        width = build.tensors[held].shape[1]
        label = stem(held) if isinstance(weight, Held) else ""
        return dataclasses.replace(x, name=build.emit("embedding", (x.name, held), (*shape, width), label))
    if isinstance(x, Fixed):
        return torch_moves.taken(build, build.lift(weight), 0, x.array())
    raise Unsupported


def _whole(build: Builder, value: Held | Fixed | None, fill: Array | None = None) -> str:
    """A parameter as it is, or a constant; ``fill`` where there is none."""
    if value is None and fill is not None:
        return build.constant(fill)
    if isinstance(value, Held) and value.plain:
        return value.name
    if isinstance(value, Fixed):
        return build.constant(value.array())
    raise Unsupported


def _attention(build: Builder, a: Arguments) -> Value:
    """softmax(q·kᵀ·scale + mask)·v."""
    q, k, v = (require_active(a[name]) for name in ("query", "key", "value"))
    if a.get("dropout_p"):
        raise Unsupported
    if a.get("enable_gqa"):
        heads = build.tensors[q.name].shape[-3]
        k, v = (_repeated_heads(build, x, heads) for x in (k, v))
    width = build.tensors[q.name].shape[-1]
    scale = a.get("scale")
    factor = width**-0.5 if scale is None else require_number(scale)
    scores = _product(build, q, _last_two_turned(build, k))
    scores = _scaled(build, scores, np.asarray(factor))
    scores, masked = _masked(build, scores, a.get("attn_mask"), causal=bool(a.get("is_causal")))
    weights = _weights(build, scores, -1, masked)
    return _product(build, weights, v)


def _masked(build: Builder, scores: Active, mask: Value, *, causal: bool) -> tuple[Active, Array | None]:
    """Scores with the finite part of a mask added, and 0 for those that do not count."""
    shape = build.tensors[scores.name].shape
    if isinstance(mask, Active | Held):
        scores = require_active(_total(build, scores, mask, 1.0))
    counts = np.tri(shape[-2], shape[-1]) if causal else None
    if not isinstance(mask, Fixed):
        return scores, counts
    given = mask.array()
    if mask.value.dtype.is_floating_point:
        counts = np.isfinite(given).astype(np.float64)
        given = np.where(np.isfinite(given), given, 0.0)
        if given.any():
            torch = importlib.import_module("torch")

            scores = require_active(_total(build, scores, Fixed(torch.as_tensor(given)), 1.0))
        return scores, None if counts.all() else counts
    return scores, given.astype(np.float64)


def _weights(
    build: Builder, x: Active, dim: int, masked: Array | None = None, *, log: bool = False
) -> Active:
    n = build.ndim(x)
    if dim % n == x.at:
        raise Unsupported
    axis, shape = x.axis(dim % n, n), build.tensors[x.name].shape
    names = [x.name]
    if masked is not None:
        lead = masked.shape[: max(0, masked.ndim - len(shape) + 1)]
        if any(m != 1 for m in lead):
            raise Unsupported
        names.append(build.constant(masked.reshape(masked.shape[len(lead) :])))
    return dataclasses.replace(x, name=build.emit("softmax", names, shape, axis=axis, log=log))


def _softmax(log: bool) -> Translation:
    def translate(build: Builder, a: Arguments) -> Value:
        return _weights(build, require_active(a["self"]), int(a["dim"]), log=log)

    return translate


def _repeated_heads(build: Builder, x: Active, heads: int) -> Active:
    axis = len(build.tensors[x.name].shape) - 3
    own = build.tensors[x.name].shape[axis]
    if axis < 1 or heads % own:
        raise Unsupported
    indices = np.repeat(np.arange(own), heads // own)
    return dataclasses.replace(x, name=build.taken_along(x.name, axis, indices))


# --- normalisation ----------------------------------------------------------------------------------------


def _batch_norm(build: Builder, a: Arguments) -> Value:
    """With running statistics (inference), or with those of the batch, which they follow (training)."""
    x, mean, variance = require_active(a["input"]), a["running_mean"], a["running_var"]
    training = bool(a.get("training")) or mean is None
    if (mean is None) != (variance is None) or x.at != 0 or x.merged:
        raise Unsupported
    size = build.tensors[x.name].shape[1]
    names = [_whole(build, a["weight"], np.ones(size)), _whole(build, a["bias"], np.zeros(size))]
    names += [_whole(build, v) for v in (mean, variance) if v is not None]
    label = stem(names[0]) if isinstance(a["weight"], Held) else ""
    shape = build.tensors[x.name].shape
    y = build.emit("batchnorm", (x.name, *names), shape, label, epsilon=float(a["eps"]), training=training)
    return Active(y)


def _batch_statistics(build: Builder, a: Arguments) -> Value:
    """y, then what is unknown here: mean and 1/√v of the batch, and the next running statistics.

    Those follow the scale of x as the present ones do, so that to keep them for the next call pins nothing.
    """
    x, results = require_active(a["input"]), [_batch_norm(build, {**a, "training": True})]
    for item in range(1, len(build.node.meta["val"])):
        note = {"op_type": "aten::batch_norm in training", "result": item, "follows": item > 2}
        y = build.emit("unknown", (x.name,), build.shape(build.dims(item=item), None), **note)
        results.append(Active(y, None))
    return tuple(results)


def _tuple_of(translation: Translation) -> Translation:
    """The first of several results, where nobody reads the others."""

    def translate(build: Builder, a: Arguments) -> Value:
        read = [user.args[1] for user in build.node.users if user.target is operator.getitem and user.users]
        if any(index != 0 for index in read) or len(build.node.users) != len(
            [u for u in build.node.users if u.target is operator.getitem]
        ):
            raise Unsupported
        return (translation(build, a),)

    return translate


def _affine(build: Builder, weight: Value, bias: Value, shape: Sequence[int]) -> list[str]:
    if weight is None and bias is None:
        return []
    names = [_whole(build, weight, np.ones(tuple(shape)))]
    return names if bias is None else [*names, _whole(build, bias)]


def _layer_norm(build: Builder, a: Arguments) -> Value:
    x = require_active(a["input"])
    shape = [int(n) for n in a["normalized_shape"]]
    n = build.ndim(x)
    if x.at is not None and x.at >= n - len(shape):
        raise Unsupported
    center = "rms" not in build.operation
    eps = a["eps"]
    if eps is None:
        torch = importlib.import_module("torch")

        eps = torch.finfo(build.node.meta["val"].dtype).eps
    names = _affine(build, a.get("weight"), a.get("bias"), shape)
    axes = tuple(range(-len(shape), 0))
    attributes = {"axes": axes, "center": center, "epsilon": float(eps)}
    label = stem(names[0]) if isinstance(a.get("weight"), Held) else ""
    y = build.emit("norm", (x.name, *names), build.tensors[x.name].shape, label, **attributes)
    return dataclasses.replace(x, name=y)


def _group_norm(build: Builder, a: Arguments) -> Value:
    x = require_active(a["input"])
    if x.at != 0 or x.merged:
        raise Unsupported
    if "use_input_stats" in a and not a["use_input_stats"]:
        raise Unsupported
    shape = build.tensors[x.name].shape
    groups = shape[1] if "use_input_stats" in a else int(a.get("num_groups", a.get("group", 0)))
    names = _affine(build, a.get("weight"), a.get("bias"), shape[1:2])
    attributes = {"groups": groups, "axis": 1, "epsilon": float(a["eps"])}
    label = stem(names[0]) if isinstance(a.get("weight"), Held) else ""
    return Active(build.emit("norm", (x.name, *names), shape, label, **attributes))


# --- pooling ----------------------------------------------------------------------------------------------


def _pool(mode: str) -> Translation:
    def translate(build: Builder, a: Arguments) -> Value:
        x = require_active(a["self"])
        dims = build.dims(item=0) if isinstance(build.node.meta["val"], tuple | list) else build.dims()
        n = _space(build.operation)
        if x.at != 0 or x.merged or len(dims) != n + 2 or a.get("divisor_override") is not None:
            raise Unsupported
        kernel = require_integers(a["kernel_size"], n)
        attributes: dict[str, Any] = {
            "mode": mode,
            "kernel": kernel,
            "strides": require_integers(a["stride"], n) if a.get("stride") else kernel,
            "dilations": require_integers(a.get("dilation", 1), n),
            "pads": require_integers(a["padding"], n) * 2,
            "ceil_mode": bool(a.get("ceil_mode", False)),
        }
        if mode == "average":
            attributes["count_include_pad"] = bool(a["count_include_pad"])
        return Active(build.emit("pool", (x.name,), build.shape(dims, 0), **attributes))

    return translate


def _space(name: str) -> int:
    """How many axes of space an operation is for: 2 for ``aten::max_pool2d_with_indices``."""
    return next(n for n in (1, 2, 3) if f"{n}d" in name)


def _adaptive(mode: str) -> Translation:
    """Pooling to a size: all in one, or windows of equal size."""

    def translate(build: Builder, a: Arguments) -> Value:
        x = require_active(a["self"])
        n = _space(build.operation)
        shape = build.tensors[x.name].shape
        if x.at != 0 or x.merged or len(shape) != n + 2:
            raise Unsupported
        size = require_integers(a["output_size"], n)
        result = (*shape[:2], *size)
        if set(size) == {1}:
            axes = tuple(range(2, n + 2))
            kind = "max" if mode == "max" else "mean"
            return Active(build.emit("reduce", (x.name,), result, axes=axes, keepdims=True, mode=kind))
        if any(m % s for m, s in zip(shape[2:], size, strict=True)):
            raise Unsupported
        kernel = tuple(m // s for m, s in zip(shape[2:], size, strict=True))
        return Active(build.emit("pool", (x.name,), result, mode=mode, kernel=kernel, strides=kernel))

    return translate


def _reduce(mode: str) -> Translation:
    def translate(build: Builder, a: Arguments) -> Value:
        x = require_active(a["self"])
        n = build.ndim(x)
        given = a.get("dim")
        listed = [given] if isinstance(given, int) else list(given or range(n))
        axes = sorted({x.axis(d, n) for d in listed})
        keep = bool(a.get("keepdim", False))
        shape = build.tensors[x.name].shape
        result = [1 if i in axes else m for i, m in enumerate(shape) if keep or i not in axes]
        at = x.at
        if at is not None and not keep:
            at -= sum(d % n < at for d in listed)
        name = build.emit("reduce", (x.name,), result, axes=tuple(axes), keepdims=keep, mode=mode)
        return dataclasses.replace(x, name=name, at=at)

    return translate


def _maximum(largest: bool) -> Translation:
    """The larger of two, or the largest along an axis (with its position, which nobody may read)."""
    two, along = _extreme(largest), _tuple_of(_reduce("max" if largest else "min"))

    def translate(build: Builder, a: Arguments) -> Value:
        if "other" in a:
            return two(build, a)
        if "dim" not in a:
            raise Unsupported
        return along(build, a)

    return translate


_SPACES = ("1d", "2d", "3d")

OPERATORS: Mapping[str, Translation] = MappingProxyType(
    {
        **{name: _elementwise(text) for name, text in ELEMENTWISE.items()},
        "_native_batch_norm_legit_no_training": _tuple_of(_batch_norm),
        "_log_softmax": _softmax(True),
        "_native_batch_norm_legit_functional": _batch_statistics,
        "_softmax": _softmax(False),
        "_to_copy": _same,
        "_unsafe_view": torch_moves.reshape,
        **{f"_adaptive_avg_pool{d}": _adaptive("average") for d in _SPACES},
        **{f"adaptive_avg_pool{d}": _adaptive("average") for d in _SPACES},
        **{f"adaptive_max_pool{d}": _tuple_of(_adaptive("max")) for d in _SPACES},
        **{f"avg_pool{d}": _pool("average") for d in _SPACES},
        **{f"conv{d}": _convolution for d in _SPACES},
        **{f"conv_transpose{d}": _convolution for d in _SPACES},
        **{f"max_pool{d}": _pool("max") for d in _SPACES},
        **{f"max_pool{d}_with_indices": _tuple_of(_pool("max")) for d in _SPACES},
        **{f"upsample_nearest{d}": torch_resize.nearest for d in _SPACES},
        **{f"_upsample_nearest_exact{d}": torch_resize.nearest for d in _SPACES},
        **{f"_upsample_{kind}2d_aa": torch_resize.smooth for kind in ("bilinear", "bicubic")},
        **{f"upsample_{kind}": torch_resize.smooth for kind in ("linear1d", "trilinear3d")},
        **{f"upsample_{kind}2d": torch_resize.smooth for kind in ("bilinear", "bicubic")},
        "add": _add,
        "addmm": _addmm,
        "alias": _same,
        "amax": _reduce("max"),
        "amin": _reduce("min"),
        "baddbmm": _addmm,
        "batch_norm": _batch_norm,
        "bmm": _matmul,
        "cat": torch_moves.cat,
        "celu": _formula("celu:{alpha}", "alpha"),
        "channel_shuffle": torch_moves.channel_shuffle,
        "chunk": torch_moves.chunk,
        "clamp": _clamp,
        "clamp_max": _clamp,
        "clamp_min": _clamp,
        "clone": _same,
        "constant_pad_nd": torch_moves.padded,
        "contiguous": _same,
        "convolution": _convolution,
        "detach": _same,
        "div": _div,
        "dropout": _same,
        "elu": _elu,
        "embedding": _embedding,
        "expand": torch_moves.expand,
        "feature_dropout": _same,
        "flatten": torch_moves.reshape,
        "flip": torch_moves.flip,
        "gelu": _gelu,
        "group_norm": _group_norm,
        "hardtanh": _clamp,
        "index": torch_moves.index,
        "index_select": torch_moves.index_select,
        "instance_norm": _group_norm,
        "layer_norm": _layer_norm,
        "leaky_relu": _formula("leaky_relu:{negative_slope}", "negative_slope"),
        "lift_fresh_copy": _same,
        "linear": _linear,
        "log_softmax": _softmax(True),
        "masked_fill": _masked_fill,
        "matmul": _matmul,
        "max": _maximum(True),
        "maximum": _extreme(True),
        "mean": _reduce("mean"),
        "min": _maximum(False),
        "minimum": _extreme(False),
        "mm": _matmul,
        "movedim": torch_moves.movedim,
        "mul": _mul,
        "narrow": torch_moves.narrow,
        "native_group_norm": _tuple_of(_group_norm),
        "native_layer_norm": _tuple_of(_layer_norm),
        "neg": _neg,
        "pad": torch_moves.padded,
        "permute": torch_moves.permute_dims,
        "pixel_shuffle": torch_moves.pixel_shuffle,
        "pixel_unshuffle": torch_moves.pixel_shuffle,
        "pow": _power,
        "prelu": _prelu,
        "repeat": torch_moves.repeat,
        "repeat_interleave": torch_moves.repeat_interleave,
        "reshape": torch_moves.reshape,
        "rms_norm": _layer_norm,
        "roll": torch_moves.roll,
        "rsub": _rsub,
        "scaled_dot_product_attention": _attention,
        "select": torch_moves.select,
        "slice": torch_moves.sliced,
        "softmax": _softmax(False),
        "softplus": _formula("softplus:{beta}", "beta"),
        "split": torch_moves.split,
        "split_with_sizes": torch_moves.split,
        "squeeze": torch_moves.squeeze,
        "stack": torch_moves.stack,
        "sub": _sub,
        "sum": _reduce("sum"),
        "swapaxes": torch_moves.transpose,
        "t": torch_moves.transpose,
        "to": _same,
        "transpose": torch_moves.transpose,
        "tril": _triangle(False),
        "triu": _triangle(True),
        "unbind": torch_moves.unbind,
        "unflatten": torch_moves.reshape,
        "unsqueeze": torch_moves.unsqueeze,
        "view": torch_moves.reshape,
        "where": _where,
    }
)
"""Name of an ATen operation → translation."""

VIEWS = frozenset(
    [
        "_to_copy",
        "_unsafe_view",
        "alias",
        "clone",
        "contiguous",
        "detach",
        "expand",
        "flatten",
        "lift_fresh_copy",
        "movedim",
        "narrow",
        "permute",
        "reshape",
        "select",
        "slice",
        "squeeze",
        "swapaxes",
        "t",
        "to",
        "transpose",
        "unflatten",
        "unsqueeze",
        "view",
    ]
)
"""Operations that of a parameter make a view of it."""
