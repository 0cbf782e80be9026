"""Upsampling and downsampling in PyTorch: to the nearest entry, or by a constant linear map along each axis.

Which entries are taken, and with which weights, PyTorch says itself: it resizes the numbers 0, 1, 2, …, or
an identity matrix. All its ways of resizing act along one axis after the other.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from balproof.importers.torch_moves import taken
from balproof.importers.torch_values import Active, Builder, Unsupported, Value, require_active

Arguments = Mapping[str, Any]


def _steps(build: Builder, a: Arguments) -> tuple[Active, list[tuple[int, int, int, float | None]]]:
    """The tensor, and for each axis of space that changes: axis, length before and after, factor if given."""
    x = require_active(a["input"] if "input" in a else a["self"])
    dims, shape = build.dims(), build.tensors[x.name].shape
    if x.at != 0 or x.merged or len(dims) != len(shape) or not all(isinstance(n, int) for n in dims[2:]):
        raise Unsupported
    given: Sequence[Any] = a.get("scale_factors") or [a.get(f"scales_{d}") for d in "dhw"][-len(dims[2:]) :]
    if "scales" in a:
        given = [a["scales"]]
    factors = [None if s is None else float(s) for s in given]
    steps = zip(range(2, len(shape)), shape[2:], dims[2:], factors, strict=True)
    return x, [s for s in steps if s[1] != s[2] or s[3] not in (None, 1.0)]


def nearest(build: Builder, a: Arguments) -> Value:
    """Every entry of the result is one of the tensor."""
    torch = importlib.import_module("torch")

    name = "_upsample_nearest_exact1d" if "exact" in build.operation else "upsample_nearest1d"
    resize = getattr(torch.ops.aten, name)
    x, steps = _steps(build, a)
    for axis, before, after, factor in steps:
        places = resize(torch.arange(before, dtype=torch.float64)[None, None], [after], factor)
        x = taken(build, x, axis, places[0, 0].numpy())
    return x


def smooth(build: Builder, a: Arguments) -> Value:
    """Linear and cubic interpolation."""
    torch = importlib.import_module("torch")

    kind = "bicubic" if "bicubic" in build.operation else "bilinear"
    name = f"_upsample_{kind}2d_aa" if build.operation.endswith("_aa") else f"upsample_{kind}2d"
    resize = getattr(torch.ops.aten, name)
    x, steps = _steps(build, a)
    axes, matrices = list[int](), list[str]()
    for axis, before, after, factor in steps:
        rows = torch.eye(before, dtype=torch.float64)[None, None]
        rows = resize(rows, [before, after], bool(a["align_corners"]), None, factor)
        matrices.append(build.constant(np.ascontiguousarray(rows[0, 0].numpy().T)))
        axes.append(axis)
    if not axes:
        return x
    return Active(build.emit("resample", (x.name, *matrices), build.shape(build.dims(), 0), axes=tuple(axes)))
