"""Operations in the JSON form: their attributes both ways, and the shapes of their results.

One entry of `KINDS` for each scaling rule, and one for ``unknown``. ``schema.json`` says which attributes a
kind has; here it is seen that they fit the tensors, so that nothing that is read can fail when it is run.
Axes are counted with the batch as axis 0, which no operation may touch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ModelError
from balproof.importers.rounding import MAX_ACTIVATION
from balproof.network.graph import Network, Operation, Tensor
from balproof.network.places import Places
from balproof.network.scales import aligned
from balproof.symbolic.activation import Activation

Shape = tuple[int, ...]
Attributes = Mapping[str, Any]

MAX_DEPTH = 16
"""Levels of lists and objects in the attributes of an unknown operation."""


class _Misfit(Exception):
    """Attributes or shapes that do not fit: cause and remedy, without the place."""

    def __init__(self, cause: str, remedy: str) -> None:
        self.cause, self.remedy = cause, remedy
        super().__init__(cause)


@dataclass(frozen=True)
class Kind:
    """What a kind of operation reads, and the shape of its result.

    ``results`` inputs (or any number of them: None) are results or inputs of the network, and the rest are
    parameters or constants.
    """

    results: int | None
    shape: Callable[[Attributes, list[Tensor]], Shape]


def result(entry: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> tuple[Shape, Attributes]:
    """The shape of the result of an operation, and its attributes, from its entry in a document.

    The entry is valid by the schema. Raises ModelError where names, attributes or shapes do not fit, and
    ExpressionError for an activation that cannot be read.
    """
    kind, inputs = KINDS[entry["kind"]], entry["inputs"]
    for name in inputs:
        if name not in tensors:
            raise ModelError(
                f"{where} reads {name!r}, which nothing before it defines", "check name and order"
            )
    given = [tensors[name] for name in inputs]
    if entry["kind"] != "unknown":
        _require_roles(entry, kind, given, where)
    attributes = _read(entry)
    try:
        shape = kind.shape(
            attributes if "shape" not in entry else {**attributes, "shape": _full(entry)}, given
        )
        if entry["kind"] != "unknown" and shape[:1] not in _batches(given):
            raise _Misfit(f"the result would have shape {shape}", "leave the batch, axis 0, as it is")
    except _Misfit as misfit:
        raise ModelError(f"{where} ({entry['kind']}): {misfit.cause}", misfit.remedy) from None
    return shape, attributes


def _batches(given: Sequence[Tensor]) -> set[Shape]:
    """Axis 0 of what is computed: of length 1, but after an unknown operation."""
    return {t.shape[:1] for t in given if t.value is None} or {(1,)}


def _require_roles(entry: Mapping[str, Any], kind: Kind, given: Sequence[Tensor], where: str) -> None:
    held = [t.value is not None for t in given]
    count = len(given) if kind.results is None else kind.results
    expected = [i >= count for i in range(len(given))]
    if entry["kind"] == "embedding":
        expected[0] = held[0]  # positions may be constants
    if held != expected:
        form = "results or inputs only" if kind.results is None or count == len(given) else (
            f"{'a result' if count == 1 else f'{count} results'} first, then a parameter or constant"
        )  # fmt: skip
        raise ModelError(f"{where} ({entry['kind']}) reads {', '.join(entry['inputs'])}", f"give {form}")


# --- attributes -------------------------------------------------------------------------------------------


def _integers(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_integers(v) for v in value)
    return None if value is None else int(value)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in value)


_READERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        **dict.fromkeys(("axis", "axes", "perm", "indices", "pads", "kernel", "group", "groups"), _integers),
        **dict.fromkeys(("strides", "dilations", "output_padding"), _integers),
        **dict.fromkeys(
            ("transpose", "transposed", "center", "keepdims", "largest", "training", "log"), bool
        ),
        **dict.fromkeys(("ceil_mode", "count_include_pad"), bool),
        **dict.fromkeys(("epsilon", "value"), float),
        **dict.fromkeys(("mode", "op_type"), str),
        "signs": _numbers,
        "function": Activation.parse,
    }
)
"""How each attribute is read, whatever the kind."""


def _full(entry: Mapping[str, Any]) -> Shape:
    return (int(entry.get("batch", 1)), *(int(n) for n in entry["shape"]))


def _read(entry: Mapping[str, Any]) -> Attributes:
    found = {key: read(entry[key]) for key, read in _READERS.items() if key in entry}
    if entry["kind"] == "linear":
        found.setdefault("transpose", True)
    elif entry["kind"] == "sparse":
        rows, columns = (np.array(entry[side], dtype=np.int64) for side in ("rows", "columns"))
        found["places"] = Places((int(entry["matrix"][0]), int(entry["matrix"][1])), rows, columns)
    elif entry["kind"] in ("reshape", "expand"):
        found["shape"] = _full(entry)
    elif entry["kind"] == "unknown":
        found.setdefault("op_type", "unknown")
        found.update(_native(entry.get("attributes", {}), 0))
    return MappingProxyType(found)


def _native(value: Any, depth: int) -> Any:
    """An attribute of an unknown operation, with tuples for lists; ``{"number": "inf"}`` is a number."""
    if depth > MAX_DEPTH:
        raise ModelError("attributes are nested too deeply", f"nest them at most {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        if depth and set(value) == {"number"} and value["number"] in ("inf", "-inf", "nan"):
            return float(value["number"])
        return {str(k): _native(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_native(v, depth + 1) for v in value)
    return float(value) if isinstance(value, float) else value


def entry_of(op: Operation, network: Network) -> dict[str, Any]:
    """An operation as an entry of a document.

    Raises ModelError for an attribute that has no form in JSON.
    """
    known = op.kind in KINDS and op.kind != "unknown"
    entry: dict[str, Any] = {"kind": op.kind if known else "unknown", "name": op.name}
    entry |= {"inputs": list(op.inputs), "output": op.output}
    if not known:
        rest = {k: v for k, v in op.attributes.items() if k != "op_type"}
        entry["op_type"] = str(op.attributes.get("op_type", op.kind))
        batch, *entry["shape"] = network.tensors[op.output].shape or (1,)
        entry |= {"batch": batch} if batch != 1 else {}
        return entry | ({"attributes": _plain(rest, op)} if rest else {})
    for key, value in op.attributes.items():
        if key == "function":
            entry[key] = _text(value, op)
        elif key == "shape":
            entry[key] = list(network.tensors[op.output].shape[1:])
        elif key == "places":
            entry["matrix"] = list(value.shape)
            entry |= {"rows": value.rows.tolist(), "columns": value.columns.tolist()}
        elif key == "signs":
            entry[key] = [int(s) if s == int(s) else float(s) for s in value]
        elif key == "value" and not isfinite(value):
            entry[key] = str(float(value))
        else:
            entry[key] = _plain(value, op)
    if op.kind == "linear":
        entry["transpose"] = bool(op.attributes.get("transpose", False))
    return entry


def _text(function: Activation, op: Operation) -> str:
    """The text of an activation, which is read back as the same function."""
    if Activation.parse(function.text).expression != function.expression:
        raise ModelError(
            f"the function of {op.name} is not what its text {function.text[:60]!r} says",
            "make it with Activation.parse",
        )
    return function.text


def _plain(value: Any, op: Operation) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return {"number": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v, op) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v, op) for v in value]
    raise ModelError(
        f"operation {op.name} has an attribute that is a {type(value).__name__}",
        "leave it out of the network",
    )


# --- shapes ------------------------------------------------------------------------------------------------


def _room(shape: Shape) -> None:
    """What is padded on the way to a result has a sensible size."""
    if prod(shape) > MAX_ACTIVATION:
        raise _Misfit(f"padded to {shape}, more than {MAX_ACTIVATION} entries", "give smaller numbers")


def _axis(axis: int, n: int) -> int:
    if not 1 <= axis < n:
        raise _Misfit(f"axis {axis} is not one of 1 to {n - 1}", "count axes with the batch as axis 0")
    return axis


def _axes(axes: Sequence[int], n: int) -> set[int]:
    """Axes that may be counted from the end."""
    for axis in axes:
        if not -n < axis < n or axis == 0:
            raise _Misfit(f"axis {axis} is none of a tensor of {n} axes, or the batch", "correct the axes")
    return {a % n for a in axes}


def _places(values: Sequence[int] | None, n: int, default: int, what: str) -> Shape:
    found = (default,) * n if values is None else tuple(values)
    if len(found) != n:
        raise _Misfit(f"{what} has {len(found)} numbers, not {n}", "give one for each axis (pads: two)")
    return found


def _broadcast(*shapes: Shape) -> Shape:
    """The common shape of operands of as many axes."""
    if len({len(s) for s in shapes}) > 1:
        raise _Misfit(f"{', '.join(map(str, shapes))} differ in their axes", "reshape them before")
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        shown = ", ".join(map(str, shapes))
        raise _Misfit(f"the shapes {shown} do not fit together", "correct the shapes") from None


def _same(a: Attributes, given: list[Tensor]) -> Shape:
    return given[0].shape


def _linear(a: Attributes, given: list[Tensor]) -> Shape:
    x, weight = given
    out, into = (-2, -1) if a["transpose"] else (-1, -2)
    stack = weight.shape[:-2]  # of matrices, one for each slice of x along the axes before its rows
    enough = len(stack) + 3 if stack else 2
    if len(weight.shape) < 2 or len(x.shape) < enough or x.shape[-1] != weight.shape[into]:
        raise _Misfit(
            f"{weight.name} of shape {weight.shape} does not act on {x.name} of shape {x.shape[1:]}",
            "give one row for each unit and one column for each input, or set transpose to false",
        )
    lead = x.shape[: -2 - len(stack)]
    inner = _broadcast(x.shape[len(lead) : -2], stack) if stack else x.shape[len(lead) : -2]
    return (*lead, *inner, *x.shape[-2:-1], weight.shape[out])


def _sparse(a: Attributes, given: list[Tensor]) -> Shape:
    x, weight = given
    places: Places = a["places"]
    m, n = places.shape
    count = len(places.rows)
    if len(x.shape) < 2 or x.shape[-1] != n or weight.shape != (count,) or len(places.columns) != count:
        raise _Misfit(
            f"{count} rows, {len(places.columns)} columns and {weight.name} of shape {weight.shape} make no "
            f"matrix of {m}×{n} that acts on {x.name} of shape {x.shape[1:]}",
            "give a row and a column for each weight, and one column for each input",
        )
    inside = (places.rows >= 0) & (places.rows < m) & (places.columns >= 0) & (places.columns < n)
    if not inside.all() or np.any(np.diff(places.key) <= 0):
        raise _Misfit("places are outside the matrix or not in order", "list them row by row, none twice")
    return (*x.shape[:-1], m)


def _conv(a: Attributes, given: list[Tensor]) -> Shape:
    x, weight = given[0].shape, given[1].shape
    n, group, transposed = len(weight) - 2, a.get("group", 1), a.get("transposed", False)
    channels = -1 if n < 1 else weight[0] if transposed else weight[1] * group
    if n < 1 or len(x) != n + 2 or x[1] != channels or weight[0] % group:
        raise _Misfit(
            f"{given[1].name} of shape {weight} in {group} groups does not act on {given[0].name}, {x}",
            "give weights of shape (outputs, inputs of a group, kernel…), transposed (inputs, outputs of a "
            "group, kernel…)",
        )
    strides, dilations = (_places(a.get(k), n, 1, k) for k in ("strides", "dilations"))
    pads = _places(a.get("pads"), 2 * n, 0, "pads")
    extra = _places(a.get("output_padding"), n, 0, "output_padding")
    if any(extra) and not transposed:
        raise _Misfit("output_padding without transposed", "leave output_padding out")
    space: list[int] = []
    wide: list[int] = []
    for i, (m, k, s, d) in enumerate(zip(x[2:], weight[2:], strides, dilations, strict=True)):
        reach, before, after = (k - 1) * d, pads[i], pads[n + i]
        if transposed:
            spread = (m - 1) * s + 1
            wide.append(spread + max(0, reach - before) + max(0, reach - after + extra[i]))
            space.append(spread + reach - before - after + extra[i])
        else:
            wide.append(m + before + after)
            space.append((wide[-1] - reach - 1) // s + 1)
    if min(space) < 1:
        raise _Misfit("the kernel is larger than its padded input", "correct kernel, dilations or pads")
    _room((x[1], *wide))
    return (1, weight[1] * group if transposed else weight[0], *space)


def _matmul(a: Attributes, given: list[Tensor]) -> Shape:
    x, z = (t.shape for t in given)
    if len(x) < 3 or len(x) != len(z) or x[-1] != z[-2]:
        raise _Misfit(f"the shapes {x} and {z} have no product", "give (…, m, d) and (…, d, n)")
    return (*_broadcast(x[:-2], z[:-2]), x[-2], z[-1])


def _embedding(a: Attributes, given: list[Tensor]) -> Shape:
    x, table = given
    if len(table.shape) != 2:
        raise _Misfit(f"{table.name} of shape {table.shape} is no table", "give one row for each position")
    return (*x.shape, table.shape[1])


def _view(tensor: Tensor, n: int, axis: int | None) -> Shape:
    """The shape in which a parameter meets a tensor of n axes."""
    if len(tensor.shape) > n - (axis or 0):
        raise _Misfit(
            f"{tensor.name} of shape {tensor.shape} has too many axes", "correct its shape, or axis"
        )
    return aligned(tensor, n, axis)


def _factor(a: Attributes, given: list[Tensor]) -> Shape:
    x, f = given
    view = _view(f, len(x.shape), a.get("axis"))
    if view[0] not in (1, x.shape[0]):
        raise _Misfit(f"{f.name} of shape {f.shape} differs along the batch", "correct its shape, or axis")
    return _broadcast(x.shape, view)


def _within(a: Attributes, given: list[Tensor]) -> Shape:
    x, *rest = given
    for f in rest:
        if _broadcast(x.shape, _view(f, len(x.shape), a.get("axis"))) != x.shape:
            raise _Misfit(f"{f.name} of shape {f.shape} is too large", "correct the shape")
    return x.shape


def _several(a: Attributes, given: list[Tensor]) -> Shape:
    signs = a.get("signs", given)
    if len(signs) != len(given):
        raise _Misfit(f"{len(given)} inputs and {len(signs)} signs", "give one for each")
    return _broadcast(*(t.shape for t in given))


def _batchnorm(a: Attributes, given: list[Tensor]) -> Shape:
    x, *rest = given
    if len(rest) != 4 and not (len(rest) == 2 and a.get("training", False)):
        raise _Misfit(
            f"{len(rest)} parameters", "give γ, β, mean and variance; training alone needs no statistics"
        )
    for f in rest:
        if len(x.shape) < 2 or f.shape != (x.shape[1],):
            raise _Misfit(f"{f.name} of shape {f.shape} does not fit {x.shape}", "give a number a channel")
    return x.shape


def _softmax(a: Attributes, given: list[Tensor]) -> Shape:
    _axes([a.get("axis", -1)], len(given[0].shape))
    return _within({}, given)


def _norm(a: Attributes, given: list[Tensor]) -> Shape:
    x, *affine = given
    if len({f.shape for f in affine}) > 1:
        raise _Misfit(f"{affine[0].name} and {affine[1].name} differ in shape", "give them one shape")
    if "groups" in a:
        if len(x.shape) < 2 or x.shape[1] % a["groups"]:
            raise _Misfit(f"{a['groups']} groups do not divide the channels of {x.shape}", "correct groups")
    else:
        _axes(a["axes"], len(x.shape))
    return _within(a, given)


def _reshape(a: Attributes, given: list[Tensor]) -> Shape:
    shape = a["shape"]
    if prod(shape) != given[0].size:
        raise _Misfit(f"shape {given[0].shape[1:]} becomes {shape[1:]}", "keep the number of entries")
    return shape


def _expand(a: Attributes, given: list[Tensor]) -> Shape:
    if _broadcast(given[0].shape, a["shape"]) != a["shape"]:
        raise _Misfit(f"{given[0].shape} does not expand to {a['shape']}", "repeat axes of length 1 only")
    return a["shape"]


def _transpose(a: Attributes, given: list[Tensor]) -> Shape:
    x, perm = given[0].shape, a["perm"]
    if sorted(perm) != list(range(len(x))) or perm[0] != 0:
        raise _Misfit(f"{perm} is no order of the axes 0 to {len(x) - 1}", "begin with 0, the batch")
    return tuple(x[i] for i in perm)


def _concat(a: Attributes, given: list[Tensor]) -> Shape:
    shapes = [t.shape for t in given]
    axis = _axis(a["axis"], len(shapes[0]))
    if len({(len(s), s[:axis], s[axis + 1 :]) for s in shapes}) > 1:
        raise _Misfit(f"{', '.join(map(str, shapes))} cannot be put together", "let only axis differ")
    return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])


def _take(a: Attributes, given: list[Tensor]) -> Shape:
    x = given[0].shape
    axis = _axis(a["axis"], len(x))
    wrong = [i for i in a["indices"] if not -x[axis] <= i < x[axis]]
    if wrong:
        raise _Misfit(f"index {wrong[0]} is beyond {x[axis]} entries", "give positions from 0")
    return (*x[:axis], len(a["indices"]), *x[axis + 1 :])


def _pad(a: Attributes, given: list[Tensor]) -> Shape:
    x, pads = given[0].shape, a["pads"]
    if len(pads) != len(x) or pads[0] != (0, 0):
        raise _Misfit(f"pads for {len(pads)} axes, not {len(x)}, or of the batch", "begin with [0, 0]")
    shape = tuple(n + before + after for n, (before, after) in zip(x, pads, strict=True))
    if any(max(0, -b) + max(0, -e) >= n for n, (b, e) in zip(x, pads, strict=True)):
        raise _Misfit(f"pads cut all of {x} away", "leave something")
    return shape


def _pool(a: Attributes, given: list[Tensor]) -> Shape:
    x, n = given[0].shape, len(a["kernel"])
    if len(x) != n + 2:
        raise _Misfit(f"a kernel of {n} axes does not fit {x}", "give (channels, space…) and as many axes")
    strides, dilations = (_places(a.get(k), n, 1, k) for k in ("strides", "dilations"))
    pads = _places(a.get("pads"), 2 * n, 0, "pads")
    _room((x[1], *(m + pads[i] + pads[n + i] + strides[i] for i, m in enumerate(x[2:]))))
    space: list[int] = []
    for i, (m, k, s, d) in enumerate(zip(x[2:], a["kernel"], strides, dilations, strict=True)):
        before, after, reach = pads[i], pads[n + i], (k - 1) * d + 1
        if m + before + after < reach:
            raise _Misfit("the kernel is larger than its padded input", "correct kernel, dilations or pads")
        more = -(m + before + after - reach) % s if a.get("ceil_mode", False) else 0
        counted = a["mode"] == "average" and a.get("count_include_pad", False)
        low, high = (-before, m + after) if counted else (0, m)
        start = np.arange((m + before + after + more - reach) // s + 1, dtype=np.int64) * s - before
        first, last = -((start - low) // d), (high - 1 - start) // d
        if np.any(np.maximum(first, 0) > np.minimum(last, k - 1)):
            raise _Misfit("a window sees nothing but padding", "give smaller pads")
        space.append(len(start))
    return (*x[:2], *space)


def _reduce(a: Attributes, given: list[Tensor]) -> Shape:
    x = given[0].shape
    axes = _axes(a["axes"], len(x))
    if a.get("keepdims", True):
        return tuple(1 if i in axes else n for i, n in enumerate(x))
    return tuple(n for i, n in enumerate(x) if i not in axes)


def _resample(a: Attributes, given: list[Tensor]) -> Shape:
    x, *matrices = given
    shape, axes = list(x.shape), a["axes"]
    if len(set(axes)) != len(axes) or len(axes) != len(matrices):
        raise _Misfit(f"{len(matrices)} matrices and axes {list(axes)}", "give one matrix for each axis")
    for axis, matrix in zip(axes, matrices, strict=True):
        _axis(axis, len(shape))
        if matrix.role != "constant" or len(matrix.shape) != 2 or matrix.shape[1] != shape[axis]:
            raise _Misfit(
                f"{matrix.name} of shape {matrix.shape} does not act on axis {axis} of {x.name}",
                "give a constant matrix with a column for each entry along the axis",
            )
        shape[axis] = matrix.shape[0]
    return tuple(shape)


def _unknown(a: Attributes, given: list[Tensor]) -> Shape:
    if "shape" in a:
        return a["shape"]
    if not given:
        raise _Misfit("there are no inputs to give it a shape", "give its shape")
    return given[0].shape if given[0].value is None else (1, *given[0].shape)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "linear": Kind(1, _linear),
        "sparse": Kind(1, _sparse),
        "conv": Kind(1, _conv),
        "matmul": Kind(2, _matmul),
        "embedding": Kind(1, _embedding),
        "scale": Kind(1, _factor),
        "bias": Kind(1, _factor),
        "add": Kind(None, _several),
        "extreme": Kind(None, _several),
        "mul": Kind(2, _several),
        "div": Kind(2, _several),
        "activation": Kind(1, _same),
        "prelu": Kind(1, _within),
        "batchnorm": Kind(1, _batchnorm),
        "norm": Kind(1, _norm),
        "softmax": Kind(1, _softmax),
        "identity": Kind(1, _same),
        "reshape": Kind(1, _reshape),
        "transpose": Kind(1, _transpose),
        "expand": Kind(1, _expand),
        "concat": Kind(None, _concat),
        "take": Kind(1, _take),
        "pad": Kind(1, _pad),
        "pool": Kind(1, _pool),
        "reduce": Kind(1, _reduce),
        "resample": Kind(1, _resample),
        "unknown": Kind(None, _unknown),
    }
)
"""Every kind that can be written; a test sees that every scaling rule is among them."""
