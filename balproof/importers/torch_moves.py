"""ATen operations that move entries about: shapes, axes, pieces, repetitions."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

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

Array = np.ndarray
Arguments = Mapping[str, Any]


def reshape(build: Builder, a: Arguments) -> Value:
    """The same entries in the same order: what comes before the batch axis must still do so.

    Where it does not, but the batch has length 1, the result counts as one without a batch axis.
    """
    x = require_active(a["self"])
    dims = build.dims()
    shape = build.tensors[x.name].shape
    if x.at is None:
        return _settled(build, Active(build.reshaped(x.name, build.shape(dims, None)), None))
    before = prod(shape[1 : 1 + x.at])
    places = [i for i, n in enumerate(dims) if _leading(dims[:i]) == before and build.times(n) is not None]
    plain = [i for i in places if build.times(dims[i]) == 1]
    if not plain and build.batch == 1:
        return _settled(build, Active(build.reshaped(x.name, build.shape(dims, None)), None))
    if not places:
        raise Unsupported
    at, merged = (plain[0], False) if plain else (places[0], True)
    return Active(build.reshaped(x.name, build.shape(dims, at, merged)), at, merged)


def _settled(build: Builder, x: Active) -> Active:
    """With the batch axis back in front, where a leading axis of length 1 can be it."""
    shape = build.tensors[x.name].shape
    if x.at is not None or build.batch != 1 or len(shape) < 2 or shape[1] != 1:
        return x
    return Active(build.reshaped(x.name, (1, *shape[2:])))


def _leading(dims: Sequence[Any]) -> int | None:
    return prod(dims) if all(isinstance(n, int) for n in dims) else None


def unsqueeze(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    n = build.ndim(x)
    d = int(a["dim"]) % (n + 1)
    shape = list(build.tensors[x.name].shape)
    if x.at is None or x.merged:
        place, at = d + 1, x.at
    else:
        place, at = (d + 1 if d <= x.at else d), x.at
    if at is not None and d <= at:
        at += 1
    shape.insert(place, 1)
    return dataclasses.replace(x, name=build.reshaped(x.name, shape), at=at)


def squeeze(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    n = build.ndim(x)
    given = a.get("dim")
    listed = range(n) if given is None else [given] if isinstance(given, int) else given
    drop: set[int] = set()
    at = x.at
    for d in {int(d) % n for d in listed}:
        if d == x.at:
            if build.batch == 1 and not x.merged:
                at = None
            continue
        axis = x.axis(d, n)
        if build.tensors[x.name].shape[axis] == 1:
            drop.add(axis)
            at = at - 1 if at is not None and x.at is not None and d < x.at else at
    if x.merged and x.at is not None and build.batch == 1:
        raise Unsupported
    shape = [m for i, m in enumerate(build.tensors[x.name].shape) if i not in drop]
    return dataclasses.replace(x, name=build.reshaped(x.name, shape), at=at)


def _permute(build: Builder, x: Active, perm: Sequence[int]) -> Active:
    n = build.ndim(x)
    perm = [int(p) % n for p in perm]
    if x.at is None:
        return _settled(build, Active(build.turned(x.name, [0, *(p + 1 for p in perm)]), None))
    at = perm.index(x.at)
    if x.merged:
        return dataclasses.replace(x, name=build.turned(x.name, [0, *(p + 1 for p in perm)]), at=at)
    order = [0, *(x.axis(p, n) for p in perm if p != x.at)]
    return Active(build.turned(x.name, order), at)


def permute_dims(build: Builder, a: Arguments) -> Value:
    return _permute(build, require_active(a["self"]), a["dims"])


def transpose(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    n = build.ndim(x)
    first, second = int(a.get("dim0", 0)) % n, int(a.get("dim1", 1)) % n
    perm = list(range(n))
    perm[first], perm[second] = perm[second], perm[first]
    return _permute(build, x, perm)


def movedim(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    n = build.ndim(x)
    source, target = require_integers(a["source"], 1)[0] % n, require_integers(a["destination"], 1)[0] % n
    perm = [d for d in range(n) if d != source]
    perm.insert(target, source)
    return _permute(build, x, perm)


def expand(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    dims = build.dims()
    more = len(dims) - build.ndim(x)
    shape = build.tensors[x.name].shape
    name = build.reshaped(x.name, (1, *(1,) * more, *shape[1:]))
    at = None if x.at is None else x.at + more
    if at is None and build.batch != 1 and build.times(dims[0]) == 1 and build.tensors[name].shape[1] == 1:
        at = 0  # one for the whole batch
        name = build.reshaped(name, (1, *build.tensors[name].shape[2:]))
    result = build.shape(dims, at, x.merged)
    if result != build.tensors[name].shape:
        name = build.emit("expand", (name,), result, shape=result)
    return dataclasses.replace(x, name=name, at=at)


def cat(build: Builder, a: Arguments) -> Value:
    values = [v for v in a["tensors"] if not (isinstance(v, Fixed) and v.value.numel() == 0)]
    if len(values) == 1:
        return values[0]
    actives, like = build.conform([build.lift(v) for v in values], broadcast=False)
    n = build.ndim(actives[0])
    axis = dataclasses.replace(like, name="").axis(int(a.get("dim", 0)), n)
    shapes = [build.tensors[v.name].shape for v in actives]
    shape = [sum(s[axis] for s in shapes) if i == axis else shapes[0][i] for i in range(len(shapes[0]))]
    if any(s[:axis] + s[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for s in shapes):
        raise Unsupported
    return dataclasses.replace(like, name=build.emit("concat", [v.name for v in actives], shape, axis=axis))


def stack(build: Builder, a: Arguments) -> Value:
    n = len(build.dims())
    dim = int(a.get("dim", 0)) % n
    rows = [unsqueeze(build, {"self": build.lift(v), "dim": dim}) for v in a["tensors"]]
    return cat(build, {"tensors": rows, "dim": dim})


def taken(build: Builder, x: Active, dim: int, indices: Array) -> Active:
    """Some entries along an axis of the program; an index of other than one axis replaces it by its own."""
    n = build.ndim(x)
    axis = x.axis(dim, n)
    shape = build.tensors[x.name].shape
    flat = indices.astype(np.int64).ravel()
    flat = np.where(flat < 0, flat + shape[axis], flat)
    if flat.size == 0 or flat.min() < 0 or flat.max() >= shape[axis]:
        raise Unsupported
    name = build.taken_along(x.name, axis, flat)
    name = build.reshaped(name, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))
    at = x.at
    if at is not None and dim % n < at:
        at += indices.ndim - 1
    return dataclasses.replace(x, name=name, at=at)


def _length(build: Builder, x: Active, dim: int) -> int:
    return build.tensors[x.name].shape[x.axis(dim, build.ndim(x))]


def _pieces(build: Builder, x: Active, dim: int, sizes: Sequence[int]) -> tuple[Active, ...]:
    ends = np.cumsum(sizes)
    starts = np.concatenate([[0], ends[:-1]])
    return tuple(
        taken(build, x, dim, np.arange(i, j)) for i, j in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def split(build: Builder, a: Arguments) -> Value:
    x, dim = require_active(a["self"]), int(a.get("dim", 0))
    given = a.get("split_sizes", a.get("split_size"))
    if isinstance(given, int):
        length = _length(build, x, dim)
        given = [min(given, length - start) for start in range(0, length, given)]
    return _pieces(build, x, dim, require_integers(given, len(given)))


def chunk(build: Builder, a: Arguments) -> Value:
    x, dim = require_active(a["self"]), int(a.get("dim", 0))
    size = -(-_length(build, x, dim) // int(a["chunks"]))
    return split(build, {"self": x, "dim": dim, "split_size": size})


def unbind(build: Builder, a: Arguments) -> Value:
    x, dim = require_active(a["self"]), int(a.get("dim", 0))
    return tuple(taken(build, x, dim, np.asarray(i)) for i in range(_length(build, x, dim)))


def sliced(build: Builder, a: Arguments) -> Value:
    x, dim = require_active(a["self"]), int(a.get("dim", 0))
    dims = build.dims()
    before = build.node.args[0].meta["val"].shape
    if dim % len(dims) == x.at:
        if before[dim] == dims[dim] and a.get("step", 1) == 1:
            return x
        raise Unsupported
    start, end, step = a.get("start"), a.get("end"), a.get("step", 1)
    length = _length(build, x, dim)
    chosen = range(length)[
        slice(*(None if v is None else require_integers(v, 1)[0] for v in (start, end, step)))
    ]
    return taken(build, x, dim, np.asarray(chosen, dtype=np.int64))


def select(build: Builder, a: Arguments) -> Value:
    return taken(
        build, require_active(a["self"]), int(a["dim"]), np.asarray(require_integers(a["index"], 1)[0])
    )


def narrow(build: Builder, a: Arguments) -> Value:
    start, length = require_integers([a["start"], a["length"]], 2)
    return taken(build, require_active(a["self"]), int(a["dim"]), np.arange(start, start + length))


def index_select(build: Builder, a: Arguments) -> Value:
    if not isinstance(a["index"], Fixed):
        raise Unsupported
    return taken(build, require_active(a["self"]), int(a["dim"]), a["index"].array())


def index(build: Builder, a: Arguments) -> Value:
    """x[:, indices] with one constant index."""
    x = a["self"]
    given = [(d, i) for d, i in enumerate(a["indices"]) if i is not None]
    if isinstance(x, Held) and given and len(given) == 1:
        x = build.lift(x)
    if len(given) != 1 or not isinstance(given[0][1], Fixed):
        raise Unsupported
    torch = importlib.import_module("torch")

    if given[0][1].value.dtype in (torch.bool, torch.uint8):
        raise Unsupported
    return taken(build, require_active(x), given[0][0], given[0][1].array())


def flip(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    for dim in a["dims"]:
        x = taken(build, x, int(dim), np.arange(_length(build, x, int(dim)))[::-1])
    return x


def roll(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    dims = list(a.get("dims") or [])
    shifts = a["shifts"] if isinstance(a["shifts"], list | tuple) else [a["shifts"]]
    if len(dims) != len(shifts):
        raise Unsupported
    for dim, shift in zip(dims, shifts, strict=True):
        x = taken(build, x, int(dim), np.roll(np.arange(_length(build, x, int(dim))), int(shift)))
    return x


def repeat(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    repeats = list(a["repeats"])
    while build.ndim(x) < len(repeats):
        x = require_active(unsqueeze(build, {"self": x, "dim": 0}))
    for dim, count in enumerate(repeats):
        if count != 1 or not isinstance(count, int):
            x = taken(build, x, dim, np.tile(np.arange(_length(build, x, dim)), require_integers(count, 1)))
    return x


def repeat_interleave(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    if not isinstance(a["repeats"], int) or a.get("dim") is None:
        raise Unsupported
    dim = int(a["dim"])
    return taken(build, x, dim, np.repeat(np.arange(_length(build, x, dim)), a["repeats"]))


def padded(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    pads = require_integers(list(a["pad"]), len(a["pad"]))
    mode = a.get("mode", "constant")
    n = build.ndim(x)
    pairs = {n - 1 - i: (pads[2 * i], pads[2 * i + 1]) for i in range(len(pads) // 2)}
    if mode != "constant":
        how = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
        for dim, pair in pairs.items():
            kind: Any = how
            x = taken(build, x, dim, np.pad(np.arange(_length(build, x, dim)), pair, mode=kind))
        return x
    shape = list(build.tensors[x.name].shape)
    full = [(0, 0)] * len(shape)
    for dim, pair in pairs.items():
        if any(pair):
            full[x.axis(dim, n)] = pair
    result = [m + sum(pair) for m, pair in zip(shape, full, strict=True)]
    value = a.get("value")
    number = 0.0 if value is None else require_number(value)
    return dataclasses.replace(x, name=build.emit("pad", (x.name,), result, pads=tuple(full), value=number))


def pixel_shuffle(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    shape = build.tensors[x.name].shape
    if x.at != 0 or x.merged or len(shape) != 4:
        raise Unsupported
    _, c, h, w = shape
    if "upscale_factor" in a:
        r = int(a["upscale_factor"])
        y = build.reshaped(x.name, (1, c // r**2, r, r, h, w))
        y = build.turned(y, (0, 1, 4, 2, 5, 3))
        return Active(build.reshaped(y, (1, c // r**2, h * r, w * r)))
    r = int(a["downscale_factor"])
    y = build.reshaped(x.name, (1, c, h // r, r, w // r, r))
    y = build.turned(y, (0, 1, 3, 5, 2, 4))
    return Active(build.reshaped(y, (1, c * r**2, h // r, w // r)))


def channel_shuffle(build: Builder, a: Arguments) -> Value:
    x = require_active(a["self"])
    channels, groups = _length(build, x, 1), int(a["groups"])
    return taken(build, x, 1, np.arange(channels).reshape(groups, -1).T.ravel())
