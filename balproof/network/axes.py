"""Which slices of the parameters may be permuted together without changing the function: hidden units.

An axis of a tensor is a product of *factors*, in row-major order: one, until a reshape or another use takes
it apart. Operations identify factors, as scaling rules identify scales, or pin them. A factor that is left
free may be permuted wherever it occurs. Sound and incomplete: an operation without a rule here pins all axes
that it touches, and slices that are joined or picked (concat, take) are pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import numpy as np

from balproof.network.graph import Network, Operation, Tensor

Array = np.ndarray
Factors = tuple[int, ...]
Shape = tuple[Factors, ...]
"""The factors of each axis; an axis of length 1 has none."""


class _Pool:
    """Union-find over factors, some pinned, some taken apart into others."""

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.size: list[int] = []
        self.pinned: list[bool] = []
        self.parts: dict[int, tuple[int, int]] = {}

    def new(self, size: int, *, pinned: bool = False) -> Factors:
        if size == 1:
            return ()
        self.parent.append(len(self.parent))
        self.size.append(size)
        self.pinned.append(pinned)
        return (len(self.parent) - 1,)

    def leaves(self, factors: Iterable[int]) -> Factors:
        """The factors that are left, as their representatives."""
        found: list[int] = []
        for f in factors:
            while self.parent[f] != f:
                f = self.parent[f]
            parts = self.parts.get(f)
            found += [f] if parts is None else self.leaves(parts)
        return tuple(found)

    def pin(self, factors: Iterable[int]) -> None:
        for f in self.leaves(factors):
            self.pinned[f] = True

    def split(self, factor: int, first: int) -> tuple[int, int]:
        """Take a factor apart into one of this size and the rest: fewer permutations, so nothing false."""
        (a,), (b,) = (self.new(n, pinned=self.pinned[factor]) for n in (first, self.size[factor] // first))
        self.parts[factor] = (a, b)
        return a, b

    def join(self, left: Factors, right: Factors) -> None:
        """Identify two factorings of one axis."""
        a, b = list(self.leaves(left)), list(self.leaves(right))
        while a and b:
            x, y = self.leaves([a.pop(0)]), self.leaves([b.pop(0)])
            a[:0], b[:0] = x[1:], y[1:]
            f, g = x[0], y[0]
            if f == g:
                continue
            n, m = self.size[f], self.size[g]
            if n == m:
                self.parent[g] = f
                self.pinned[f] |= self.pinned[g]
            elif n % m == 0:
                a[:0] = self.split(f, m)
                b.insert(0, g)
            elif m % n == 0:
                b[:0] = self.split(g, n)
                a.insert(0, f)
            else:
                self.pin([*left, *right])
                return

    def regroup(self, factors: Sequence[int], shape: Sequence[int]) -> Shape | None:
        """The factors of consecutive axes as those of axes of other lengths; None where they do not fit."""
        waiting = list(self.leaves(factors))
        result: list[Factors] = []
        for n in shape:
            own: list[int] = []
            while (need := n // prod(self.size[f] for f in own)) > 1:
                if not waiting:
                    return None
                f = waiting.pop(0)
                if need % self.size[f] == 0:
                    own.append(f)
                elif self.size[f] % need == 0:
                    first, rest = self.split(f, need)
                    own.append(first)
                    waiting.insert(0, rest)
                else:
                    return None
            result.append(tuple(own))
        return tuple(result)


_Rule = Callable[[Operation, "_Walk"], Shape]


class _Walk:
    """The axes of all tensors, and the pool of their factors."""

    def __init__(self, network: Network) -> None:
        self.network, self.pool = network, _Pool()
        self.axes: dict[str, Shape] = {}
        for tensor in network.tensors.values():
            if tensor.role == "parameter":
                self.axes[tensor.name] = tuple(self.pool.new(n) for n in tensor.shape)
            elif tensor.role == "constant":
                alike = _alike(tensor)
                self.axes[tensor.name] = tuple(
                    self.pool.new(n, pinned=not same) for n, same in zip(tensor.shape, alike, strict=True)
                )
        for name in network.inputs:
            self.axes[name] = self.fixed(network.tensors[name].shape)
        for name, _ in network.states:
            first, *rest = network.tensors[name].shape
            self.axes[name] = (*self.fixed((first,)), *(self.pool.new(n) for n in rest))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.network.tensors[name].shape

    def fixed(self, shape: Sequence[int]) -> Shape:
        return tuple(self.pool.new(n, pinned=True) for n in shape)

    def pin(self, names: Iterable[str]) -> None:
        for name in names:
            for factors in self.axes[name]:
                self.pool.pin(factors)

    def together(self, parts: Sequence[Shape], shape: Sequence[int]) -> Shape:
        """Axes of operands that broadcast to a shape, from the last axis back."""
        result: list[Factors] = []
        for back in range(len(shape), 0, -1):
            own = [p[-back] for p in parts if len(p) >= back and p[-back]]
            for other in own[1:]:
                self.pool.join(own[0], other)
            result.append(own[0] if own else ())
        return tuple(result)

    def placed(self, name: str, ndim: int, axis: int) -> Shape:
        """The axes of a factor or bias that begins at ``axis`` of a result."""
        own = self.axes[name]
        return ((),) * axis + own + ((),) * (ndim - axis - len(own))


def _alike(tensor: Tensor) -> list[bool]:
    """Along which axes a constant is the same for all slices."""
    value = tensor.value
    assert value is not None
    return [bool(np.all(value == value.take([0], a))) for a in range(value.ndim)]


def _elementwise(op: Operation, walk: _Walk) -> Shape:
    shape = walk.shape(op.output)
    axis = op.attributes.get("axis") if op.kind in ("bias", "scale", "prelu", "norm") else None
    first, *rest = op.inputs
    parts = [walk.axes[first]]
    parts += [walk.placed(x, len(shape), axis) if axis is not None else walk.axes[x] for x in rest]
    return walk.together(parts, shape)


def _norm(op: Operation, walk: _Walk) -> Shape:
    """Means and sizes do not depend on an order; groups of channels do on which is in which."""
    if op.attributes.get("groups") is not None:
        walk.pool.pin(walk.axes[op.inputs[0]][1])
    return _elementwise(op, walk)


def _batchnorm(op: Operation, walk: _Walk) -> Shape:
    x, *own = op.inputs
    for name in own:
        walk.pool.join(walk.axes[x][1], walk.axes[name][0])
    return walk.axes[x]


def _linear(op: Operation, walk: _Walk) -> Shape:
    x, weight = (walk.axes[n] for n in op.inputs)
    into, out = (-1, -2) if op.attributes.get("transpose", False) else (-2, -1)
    walk.pool.join(x[-1], weight[into])
    shape = walk.shape(op.output)
    lead = walk.together([x[:-2], weight[:-2]], shape[:-2])
    return (*lead, *x[-2:-1], weight[out])


def _matmul(op: Operation, walk: _Walk) -> Shape:
    x, z = (walk.axes[n] for n in op.inputs)
    walk.pool.join(x[-1], z[-2])
    lead = walk.together([x[:-2], z[:-2]], walk.shape(op.output)[:-2])
    return (*lead, x[-2], z[-1])


def _conv(op: Operation, walk: _Walk) -> Shape:
    x, weight = (walk.axes[n] for n in op.inputs)
    groups = int(op.attributes.get("group", 1))
    shape, kernel = walk.shape(op.output), walk.shape(op.inputs[1])
    for factors in (*x[2:], *weight[2:]):
        walk.pool.pin(factors)
    into, out = (weight[0], weight[1]) if op.attributes.get("transposed", False) else (weight[1], weight[0])
    if groups == 1:
        walk.pool.join(x[1], into)
    elif kernel[1] == 1 and kernel[0] == groups == shape[1]:  # each channel alone
        walk.pool.join(x[1], weight[0])
        out = weight[0]
    else:
        walk.pin(op.inputs)
        out = walk.pool.new(shape[1], pinned=True)
    return (x[0], out, *walk.fixed(shape[2:]))


def _embedding(op: Operation, walk: _Walk) -> Shape:
    x, weight = (walk.axes[n] for n in op.inputs)
    walk.pool.pin(weight[0])
    return (*x, weight[1])


def _reshape(op: Operation, walk: _Walk) -> Shape:
    axes, shape = walk.axes[op.inputs[0]], walk.shape(op.output)
    found = walk.pool.regroup([f for factors in axes for f in factors], shape)
    if found is None:
        walk.pin(op.inputs)
        return walk.fixed(shape)
    return found


def _transpose(op: Operation, walk: _Walk) -> Shape:
    axes = walk.axes[op.inputs[0]]
    return tuple(axes[a] for a in op.attributes["perm"])


def _changed(op: Operation, walk: _Walk) -> Shape:
    """Axes whose length changes are pinned, and so are those that the operation names."""
    given, shape = walk.axes[op.inputs[0]], walk.shape(op.output)
    old = walk.shape(op.inputs[0])
    given, old = ((),) * (len(shape) - len(given)) + given, (1,) * (len(shape) - len(old)) + old
    named: set[int] = set()
    if op.kind == "take":
        named = {int(op.attributes["axis"]) % len(shape)}
    elif op.kind == "pool":
        named = set(range(2, len(shape)))
    elif op.kind == "pad":
        named = {a for a, p in enumerate(op.attributes["pads"]) if any(p)}
    elif op.kind == "resample":
        named = {int(a) % len(shape) for a in op.attributes["axes"]}
    result: list[Factors] = []
    for a, n in enumerate(shape):
        if n == old[a] and a not in named:
            result.append(given[a])
        else:
            walk.pool.pin(given[a])
            result.append(walk.pool.new(n, pinned=True))
    return tuple(result)


def _concat(op: Operation, walk: _Walk) -> Shape:
    axis, shape = int(op.attributes["axis"]) % len(walk.shape(op.output)), walk.shape(op.output)
    parts = [walk.axes[x] for x in op.inputs]
    for p in parts:
        walk.pool.pin(p[axis])
    parts = [(*p[:axis], (), *p[axis + 1 :]) for p in parts]
    result = walk.together(parts, shape)
    return (*result[:axis], *walk.fixed(shape[axis : axis + 1]), *result[axis + 1 :])


def _reduce(op: Operation, walk: _Walk) -> Shape:
    """Sums, means and extremes do not depend on the order of what they take together."""
    axes = walk.axes[op.inputs[0]]
    gone = {int(a) % len(axes) for a in op.attributes["axes"]}
    keep = bool(op.attributes.get("keepdims", True))
    return tuple(() if a in gone else f for a, f in enumerate(axes) if keep or a not in gone)


EQUIVARIANCE: Mapping[str, _Rule] = MappingProxyType(
    {
        **dict.fromkeys(
            ("bias", "scale", "add", "extreme", "mul", "div", "activation", "prelu", "identity", "softmax"),
            _elementwise,
        ),
        **dict.fromkeys(("take", "pool", "pad", "resample", "expand"), _changed),
        "norm": _norm,
        "batchnorm": _batchnorm,
        "linear": _linear,
        "matmul": _matmul,
        "conv": _conv,
        "embedding": _embedding,
        "reshape": _reshape,
        "transpose": _transpose,
        "concat": _concat,
        "reduce": _reduce,
    }
)
"""Kind of operation → the axes of its result, and what it demands of those of its operands."""


@dataclass(frozen=True, eq=False)
class Permutable:
    """The hidden units of a network: classes of slices that may be permuted together.

    ``sizes`` gives the number of slices of each class, ``axes`` the factors of all axes of each parameter,
    each a class or None, with its length.
    """

    network: Network
    sizes: Mapping[int, int]
    axes: Mapping[str, tuple[tuple[int | None, int], ...]]

    def view(self, name: str) -> Array:
        """The numbers of a parameter with one axis for each factor."""
        return self.network.numbers(name).reshape([n for _, n in self.axes[name]])

    def places(self, c: int) -> list[tuple[str, int]]:
        """Where a class occurs: (parameter, axis of its view)."""
        return [(name, a) for name, own in self.axes.items() for a, (k, _) in enumerate(own) if k == c]

    def permuted(self, orders: Mapping[int, Array]) -> Network:
        """The network with slice ``order[i]`` of each class in the place of slice i."""
        values: dict[str, Array] = {}
        for name, own in self.axes.items():
            if any(k in orders for k, _ in own):
                value = self.view(name)
                for a, (k, _) in enumerate(own):
                    if k is not None and k in orders:
                        value = value.take(orders[k], a)
                values[name] = value.reshape(self.network.tensors[name].shape)
        return self.network.with_parameters(values)


def permutable(network: Network) -> Permutable:
    """Find the hidden units that may be permuted, with the weights into and out of them.

    >>> from balproof.importers import load
    >>> W = [[0.0, 1.0], [1.0, 0.0]]
    >>> permutable(load({"J": W, "W_in": W, "W_out": W})).sizes
    {0: 2}
    """
    walk = _Walk(network)
    for op in network.operations:
        rule = EQUIVARIANCE.get(op.kind)
        if rule is None:
            walk.pin(op.inputs)
            walk.axes[op.output] = walk.fixed(walk.shape(op.output))
        else:
            walk.axes[op.output] = rule(op, walk)
    walk.pin(network.outputs)
    for before, after in network.states:
        for left, right in zip(walk.axes[before], walk.axes[after], strict=True):
            walk.pool.join(left, right)
    pool = walk.pool
    names = [t.name for t in network.parameters]
    leaves = {n: [f for factors in walk.axes[n] for f in pool.leaves(factors)] for n in names}
    free = dict.fromkeys(f for own in leaves.values() for f in own if not pool.pinned[f])
    number = {f: i for i, f in enumerate(free)}
    axes = {n: tuple((number.get(f), pool.size[f]) for f in own) for n, own in leaves.items()}
    return Permutable(network, {number[f]: pool.size[f] for f in free}, axes)
