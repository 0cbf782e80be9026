"""Biases that no output sees: key biases under softmax, a bias before the statistics of its batch.

Softmax does not see what is added alike to all that it compares, nor does a normalisation see what is added
alike to all that it centres. So the part of a result that a bias adds is followed forward: results are
u + v, with v the part that depends on the bias, and the axes along which v is constant are kept account of.
Where v is constant along all that an operation compares or centres, its result does not depend on the bias.

Sound and incomplete: whatever is not followed counts as seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from balproof.network.graph import Network, Operation, Tensor
from balproof.network.scales import aligned, compact, spread

Array = np.ndarray

_MIXED = -2
_NONE = -1

_PARTS = 64
"""So many separate parts of one bias are looked at, as of queries, keys and values in one tensor."""


class _Seen(Exception):
    """The result may depend on the bias in a way that is not followed."""


@dataclass(frozen=True, eq=False)
class _Part:
    """v of one result: ``labels`` says of each entry which entry of the bias it is (-1 none, -2 several), in
    the compact form of scales, and ``alike`` along which axes v is constant. Axis 0 is the batch, of any
    length, and all entries of the bias are alike for it to begin with."""

    labels: Array
    alike: frozenset[int]

    def along(self, axes: Sequence[int], shape: Sequence[int]) -> bool:
        """Whether v is constant along these axes of the result."""
        return all(a in self.alike or (a > 0 and shape[a] == 1) for a in axes)

    def mixed(self, ndim: int, alike: frozenset[int]) -> _Part:
        return _Part(np.full((1,) * ndim, _MIXED), alike)


def unseen_biases(network: Network) -> dict[str, Array]:
    """Of each bias with entries that no output depends on: which.

    Only parameters that are added, and nothing else, are looked at.

    >>> from balproof.importers import load
    >>> unseen_biases(load("tests/data/chain.json"))
    {}
    """
    walk = _Walk.of(network)
    found: dict[str, Array] = {}
    for tensor in network.learned:
        uses = walk.readers.get(tensor.name, ())
        if not uses or any(op.kind != "bias" or op.inputs[1] != tensor.name for op in uses):
            continue
        unseen = np.zeros(tensor.shape, bool)
        for part in walk.parts(tensor):
            if not walk.seen(tensor, part):
                unseen |= part
        if unseen.any():
            found[tensor.name] = unseen
    return found


@dataclass(frozen=True, eq=False)
class _Walk:
    """The operations that read each tensor, with their places, and the results that are looked at."""

    tensors: Mapping[str, Tensor]
    readers: Mapping[str, tuple[Operation, ...]]
    order: Mapping[str, int]
    operations: tuple[Operation, ...]
    ends: frozenset[str]

    @staticmethod
    def of(network: Network) -> _Walk:
        readers: dict[str, tuple[Operation, ...]] = {}
        for op in network.operations:
            for name in dict.fromkeys(op.inputs):
                readers[name] = (*readers.get(name, ()), op)
        order = {op.output: i for i, op in enumerate(network.operations)}
        ends = frozenset((*network.outputs, *(after for _, after in network.states)))
        return _Walk(network.tensors, readers, order, network.operations, ends)

    def seen(self, tensor: Tensor, entries: Array) -> bool:
        """Whether an output may depend on these entries of a bias."""
        return self._follow(tensor, entries, None)

    def parts(self, tensor: Tensor) -> list[Array]:
        """All entries, in the parts into which results are taken apart on the way."""
        whole = np.ones(tensor.shape, bool)
        pieces: list[Array] = []
        self._follow(tensor, whole, pieces)
        signature = np.zeros(tensor.size, dtype=np.int64)
        for piece in pieces:
            inside = np.zeros(tensor.size, dtype=np.int64)
            inside[piece[piece >= 0]] = 1
            signature = np.unique(2 * signature + inside, return_inverse=True)[1].reshape(-1)
        count = int(signature.max(initial=0)) + 1
        if count > _PARTS:
            return [whole]
        return [(signature == k).reshape(tensor.shape) for k in range(count)]

    def _follow(self, tensor: Tensor, entries: Array, pieces: list[Array] | None) -> bool:
        """Whether a part arrives where it is seen. With ``pieces`` it goes on, and collects what is taken."""
        labels = np.where(entries, np.arange(tensor.size).reshape(tensor.shape), _NONE)
        parts: dict[str, _Part] = {}
        waiting = {self.order[op.output] for op in self.readers[tensor.name]}
        while waiting:
            place = min(waiting)
            waiting.remove(place)
            op = self.operations[place]
            try:
                result = self._result(op, tensor.name, labels, parts)
            except _Seen:
                if pieces is None:
                    return True
                continue
            if result is None or not (result.labels != _NONE).any():
                continue
            if op.output in self.ends and pieces is None:
                return True
            if pieces is not None and op.kind == "take" and not (result.labels == _MIXED).any():
                pieces.append(np.unique(result.labels))
            parts[op.output] = result
            waiting |= {self.order[reader.output] for reader in self.readers.get(op.output, ())}
        return False

    def _result(self, op: Operation, name: str, labels: Array, parts: Mapping[str, _Part]) -> _Part | None:
        """v of the result; None if there is none.

        Raises _Seen where it is not of this form.
        """
        shape = self.tensors[op.output].shape
        own = [parts.get(x) for x in op.inputs]
        given = [p for p in own if p is not None]
        if op.kind in ("add", "bias"):
            sources = [self.tensors[x].shape for x, p in zip(op.inputs, own, strict=True) if p is not None]
            if op.inputs[-1] == name:
                view = aligned(self.tensors[name], len(shape), op.attributes.get("axis"))
                given = [*given, _Part(labels.reshape(view), frozenset({0} if view[0] == 1 else ()))]
                sources.append(view)
            return _sum(given, sources, shape)
        if len(given) != 1:
            raise _Seen
        part, slot = given[0], own.index(given[0])
        source = self.tensors[op.inputs[slot]].shape
        if op.kind in _MOVES and slot == 0:
            return _MOVES[op.kind](op, part, source, shape)
        if op.kind == "concat":
            return _concat(op, part, [self.tensors[x].shape for x in op.inputs], slot)
        if op.kind == "scale" and slot == 0:
            factor = aligned(self.tensors[op.inputs[1]], len(shape), op.attributes.get("axis"))
            return _times(part, source, factor, shape, batch=True)
        if op.kind == "mul" or (op.kind == "div" and slot == 0):
            return _times(part, source, self.tensors[op.inputs[1 - slot]].shape, shape, batch=False)
        if op.kind == "matmul":
            return _matmul(part, source, slot, self.tensors[op.inputs[1 - slot]].shape, shape)
        if op.kind == "linear":
            return _linear(part, self.tensors[op.inputs[1]].shape, shape)
        if op.kind == "softmax" and slot == 0:
            return _compared(part, [int(op.attributes.get("axis", -1)) % len(source)], source)
        if op.kind in ("norm", "batchnorm") and slot == 0:
            return _normalised(op, part, source)
        raise _Seen


def _sum(parts: Sequence[_Part], sources: Sequence[Sequence[int]], shape: Sequence[int]) -> _Part:
    """u + v over operands of these shapes, all with as many axes as the result."""
    total = np.full((1,) * len(shape), _NONE)
    alike = frozenset(range(len(shape)))
    for part, source in zip(parts, sources, strict=True):
        if len(source) != len(shape):
            raise _Seen
        left, right = np.broadcast_arrays(total, part.labels)
        both = np.where((left != _NONE) & (right != _NONE) & (left != right), _MIXED, np.maximum(left, right))
        total = np.where((left == _MIXED) | (right == _MIXED), _MIXED, both)
        alike &= part.alike | {a for a, n in enumerate(source) if a and n == 1}
    return _Part(compact(total), alike)


def _times(
    part: _Part, source: Sequence[int], other: Sequence[int], shape: Sequence[int], *, batch: bool
) -> _Part:
    """v·f: constant where both are. ``batch``: f is the same for the whole batch."""
    if len(source) != len(shape) or len(other) != len(shape):
        raise _Seen
    alike = {a for a in part.alike if other[a] == 1 and (a or batch)}
    return _Part(part.labels, frozenset(alike))


def _matmul(
    part: _Part, source: Sequence[int], slot: int, other: Sequence[int], shape: Sequence[int]
) -> _Part:
    """Rows of v·z are alike where those of v are, and columns of x·v."""
    n = len(shape)
    if len(source) != n or len(other) != n:
        raise _Seen
    kept = n - 2 if slot == 0 else n - 1
    alike = {a for a in part.alike if a == kept or (0 < a < n - 2 and other[a] == 1)}
    return part.mixed(n, frozenset(alike))


def _linear(part: _Part, weight: Sequence[int], shape: Sequence[int]) -> _Part:
    """Rows stay alike, but where each has a matrix of its own."""
    n, stack = len(shape), weight[:-2]
    apart = {n - 2 - len(stack) + i for i, m in enumerate(stack) if m > 1}
    return part.mixed(n, frozenset(a for a in part.alike if a < n - 1 and a not in apart))


def _compared(part: _Part, axes: Sequence[int], source: Sequence[int]) -> None:
    if not part.along(axes, source):
        raise _Seen


def _normalised(op: Operation, part: _Part, source: Sequence[int]) -> _Part | None:
    n = len(source)
    if op.kind == "batchnorm" and not op.attributes.get("training", False):
        return _Part(part.labels, part.alike - {1})
    if op.kind == "batchnorm":
        axes = [a for a in range(n) if a != 1]
    elif not op.attributes.get("center", True):
        raise _Seen
    elif op.attributes.get("groups") is not None:
        alone = int(op.attributes["groups"]) == source[1]
        axes = list(range(2 if alone else 1, n))
    else:
        axes = [a % n for a in op.attributes["axes"]]
    return _compared(part, axes, source)


# --- operations that move entries about ---------------------------------------------------------------


def _identity(op: Operation, part: _Part, source: Sequence[int], shape: Sequence[int]) -> _Part:
    return part


def _reshape(op: Operation, part: _Part, source: Sequence[int], shape: Sequence[int]) -> _Part:
    """Axes are matched in groups that hold the same entries: v is constant along those it was constant along
    as a whole."""
    if part.labels.size == 1:
        labels = part.labels.reshape((1,) * len(shape))
    else:
        labels = compact(np.broadcast_to(part.labels, tuple(source)).reshape(tuple(shape)))
    alike: set[int] = {0} & part.alike
    i, j = 1, 1
    while i < len(source) or j < len(shape):
        left, right = [i] if i < len(source) else [], [j] if j < len(shape) else []
        i, j = i + len(left), j + len(right)
        while (a := prod(source[k] for k in left)) != (b := prod(shape[k] for k in right)):
            if a < b and i < len(source):
                left.append(i)
                i += 1
            elif j < len(shape):
                right.append(j)
                j += 1
            else:
                raise _Seen
        if part.along(left, source):
            alike.update(right)
    return _Part(labels, frozenset(alike))


def _transpose(op: Operation, part: _Part, source: Sequence[int], shape: Sequence[int]) -> _Part:
    perm = [int(a) for a in op.attributes["perm"]]
    if perm[0] != 0:
        raise _Seen
    return _Part(part.labels.transpose(perm), frozenset(i for i, a in enumerate(perm) if a in part.alike))


def _expand(op: Operation, part: _Part, source: Sequence[int], shape: Sequence[int]) -> _Part:
    if len(source) != len(shape):
        raise _Seen
    wider = {a for a in range(1, len(shape)) if source[a] == 1}
    return _Part(part.labels, part.alike | wider)


def _take(op: Operation, part: _Part, source: Sequence[int], shape: Sequence[int]) -> _Part:
    axis = int(op.attributes["axis"])
    if axis == 0:
        raise _Seen
    labels = part.labels
    if labels.shape[axis] > 1:
        labels = compact(labels.take(np.asarray(op.attributes["indices"]), axis))
    return _Part(labels, part.alike)


def _reduce(op: Operation, part: _Part, source: Sequence[int], shape: Sequence[int]) -> _Part:
    axes = sorted({int(a) % len(source) for a in op.attributes["axes"]})
    if 0 in axes or (op.attributes["mode"] in ("max", "min") and not part.along(axes, source)):
        raise _Seen
    keep = bool(op.attributes.get("keepdims", True))
    left = [a for a in range(len(source)) if keep or a not in axes]
    alike = {i for i, a in enumerate(left) if a in part.alike}
    return part.mixed(len(left), frozenset(alike))


def _pool(op: Operation, part: _Part, source: Sequence[int], shape: Sequence[int]) -> _Part:
    """Means over windows, and sums of channels: padding makes the positions differ."""
    if op.kind == "pool" and op.attributes["mode"] == "max":
        raise _Seen
    inside = not any(op.attributes.get("pads", ())) and not op.attributes.get("ceil_mode", False)
    inside &= not op.attributes.get("transposed", False)
    return part.mixed(len(shape), frozenset(a for a in part.alike if a == 0 or (a > 1 and inside)))


_MOVES = {
    "conv": _pool,
    "expand": _expand,
    "identity": _identity,
    "pool": _pool,
    "reduce": _reduce,
    "reshape": _reshape,
    "take": _take,
    "transpose": _transpose,
}


def _concat(op: Operation, part: _Part, shapes: Sequence[Sequence[int]], slot: int) -> _Part:
    """Beside entries that do not depend on the bias."""
    axis = int(op.attributes["axis"])
    if axis == 0:
        raise _Seen
    labels = spread(part.labels, shapes[slot], [axis])
    pieces = [
        labels if i == slot else np.full((*labels.shape[:axis], s[axis], *labels.shape[axis + 1 :]), _NONE)
        for i, s in enumerate(shapes)
    ]
    return _Part(compact(np.concatenate(pieces, axis)), part.alike - {axis})
