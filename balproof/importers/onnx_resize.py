"""ONNX's Resize: to the nearest entry by whole factors, or linear interpolation, which is a constant map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from balproof.importers.onnx_builder import Builder, Node, Operator, label
from balproof.importers.onnx_layout import Pick, takes

Array = np.ndarray

_REPEATING = frozenset(
    {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}
)


def _resize(build: Builder, node: Node) -> bool:
    x = node.input(0)
    if not build.active(x) or "axes" in node.attributes or node.get("antialias", 0):
        return False
    if node.get("mode", "nearest") == "nearest":
        return _nearest(build, node)
    return node.get("mode") == "linear" and _linear(build, node)


def _nearest(build: Builder, node: Node) -> bool:
    """By whole factors, as in upsampling: entries are repeated."""
    how = (
        node.get("coordinate_transformation_mode", "half_pixel"),
        node.get("nearest_mode", "round_prefer_floor"),
    )
    shape, larger = build.tensors[node.input(0)].shape, build.shape(node.output)
    factors = _factors(build, node, shape, larger)
    if (
        how not in _REPEATING
        or factors is None
        or any(f != m / n for f, m, n in zip(factors, larger, shape, strict=True))
    ):
        return False
    if any(m % n for n, m in zip(shape, larger, strict=True)):
        return False
    picks: list[Pick] = [
        (a, np.repeat(np.arange(n), m // n))
        for a, (n, m) in enumerate(zip(shape, larger, strict=True))
        if m > n
    ]
    return takes(build, node, picks, node.output, label(node))


def _factors(build: Builder, node: Node, before: Sequence[int], after: Sequence[int]) -> list[float] | None:
    """The factor of each axis: as given, or what the lengths make of it; None where it is not known."""
    if not node.input(2):
        stretched = node.get("keep_aspect_ratio_policy", "stretch") == "stretch"
        return [m / n for n, m in zip(before, after, strict=True)] if stretched else None
    given = build.numbers(node.input(2))
    if given is None or given.size not in (0, len(before)):
        return None
    return (
        [float(f) for f in given.ravel()]
        if given.size
        else [m / n for n, m in zip(before, after, strict=True)]
    )


def _linear(build: Builder, node: Node) -> bool:
    x, out = node.input(0), node.output
    before, after = build.tensors[x].shape, build.shape(out)
    factors = _factors(build, node, before, after)
    if factors is None or node.get("exclude_outside", 0) or factors[0] != 1:
        return False
    mode = str(node.get("coordinate_transformation_mode", "half_pixel"))
    matrices: dict[int, Array] = {}
    for axis, (n, m, factor) in enumerate(zip(before, after, factors, strict=True)):
        if n != m or factor != 1:
            places = _places(mode, n, m, factor)
            if places is None:
                return False
            matrices[axis] = interpolation(places, n)
    if not matrices:
        build.emit("identity", (x,), out, after, label(node))
        return True
    held = [build.constant(f"{out}/weights", matrix) for matrix in matrices.values()]
    build.emit("resample", (x, *held), out, after, label(node), axes=tuple(matrices))
    return True


def _places(mode: str, n: int, m: int, factor: float) -> Array | None:
    """Where each of m entries lies among n, by ONNX's coordinate transformations."""
    i = np.arange(m, dtype=np.float64)
    if mode == "asymmetric":
        return i / factor
    if mode == "align_corners":
        return i * ((n - 1) / (m - 1)) if m > 1 else np.zeros(m)
    middle = (i + 0.5) / factor - 0.5
    if mode == "half_pixel":
        return middle
    if mode == "pytorch_half_pixel":
        return middle if m > 1 else np.zeros(m)
    if mode == "half_pixel_symmetric":
        return middle + n / 2 * (1 - m / (factor * n))
    return None


def interpolation(places: Array, n: int) -> Array:
    """The matrix that takes n entries to their linear interpolation at some places; outside are the ends.

    >>> interpolation(np.array([-0.25, 0.25, 1.25]), 2).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.0, 1.0]]
    """
    places = np.clip(places, 0, n - 1)
    low = np.minimum(np.floor(places).astype(np.int64), n - 1)
    part = places - low
    rows, matrix = np.arange(len(places)), np.zeros((len(places), n))
    matrix[rows, low] += 1 - part
    matrix[rows, np.minimum(low + 1, n - 1)] += part
    return matrix


RESIZE: Mapping[str, Operator] = MappingProxyType({"Resize": _resize})
