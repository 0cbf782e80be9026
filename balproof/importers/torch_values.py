"""What a node of an exported program stands for, and the network as it grows.

A result of the program has its batch axis anywhere; the network has it in front. With the batch of length 1
a program may move it, drop it or merge it with another axis: ``Active`` says where it is, and every
operation is then one on the other axes. Which axis is taken for the batch is never a matter of soundness:
all entries along it share their scale, and no operation may mix them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.importers.rounding import MAX_ACTIVATION, require_size
from balproof.network.graph import Operation, Tensor


class Unsupported(Exception):
    """The node is not of the kind that its translation covers."""


@dataclass(frozen=True)
class Active:
    """A computed tensor: its name in the network, and the axis of the program that is the batch.

    ``at`` is None where the program has no batch axis (all that it has comes after the network's batch).
    ``merged`` says that axis ``at`` of the program is the batch times an axis of the network.
    """

    name: str
    at: int | None = 0
    merged: bool = False

    def axis(self, axis: int, ndim: int) -> int:
        """The network's axis for one of the program's ``ndim``."""
        a = axis % ndim if ndim else 0
        if a == self.at:
            raise Unsupported
        return a + 1 if self.at is None or self.merged or a < self.at else a


@dataclass(frozen=True)
class Held:
    """A parameter: ``view`` is a meta tensor, a view of a contiguous one in the shape of the parameter."""

    name: str
    view: Any
    shape: tuple[int, ...]

    @property
    def plain(self) -> bool:
        return tuple(self.view.shape) == self.shape and self._in_order(self.shape)

    @property
    def transposed(self) -> bool:
        """Whether it is a matrix, turned."""
        turned = self.view.ndim == 2 and tuple(self.view.shape) == self.shape[::-1]
        return turned and len(self.shape) == 2 and _order(self.view.t()) == _order_of(self.shape)

    def _in_order(self, shape: tuple[int, ...]) -> bool:
        return _order(self.view) == _order_of(shape)

    def aligned_axis(self, target: tuple[int, ...]) -> int | None:
        """Where the parameter's axes begin in ``target``, its shape with ones put in; None: at the end."""
        if self.view.storage_offset() or _order(self.view) != _order_of(self.shape):
            raise Unsupported
        n = len(target) - len(self.shape)
        for axis in (n, *range(n)):
            if n >= 0 and (1,) * axis + self.shape + (1,) * (n - axis) == target:
                return None if axis == n else axis
        raise Unsupported

    def positions(self) -> np.ndarray:
        """Which entry of the parameter, in row-major order, each entry of the view is."""
        torch = importlib.import_module("torch")

        flat = torch.arange(prod(self.shape))
        return flat.as_strided(self.view.shape, self.view.stride(), self.view.storage_offset()).numpy()


def _order(view: Any) -> tuple[Any, ...]:
    strides = [(n, s) for n, s in zip(view.shape, view.stride(), strict=True) if n != 1]
    return (int(view.storage_offset()), *strides)


def _order_of(shape: tuple[int, ...]) -> tuple[Any, ...]:
    return (0, *((n, prod(shape[a + 1 :])) for a, n in enumerate(shape) if n != 1))


@dataclass(frozen=True)
class Fixed:
    """A constant: a tensor of PyTorch."""

    value: Any

    def array(self) -> np.ndarray:
        """In float64."""
        if self.value.is_complex() or self.value.is_quantized:
            raise Unsupported
        return self.value.detach().double().numpy()

    def digest(self) -> str:
        """Something to compare by."""
        if self.value.is_complex() or self.value.is_quantized or self.value.is_sparse:
            return str(self.value.tolist())
        data = self.value.detach().double().numpy().tobytes()
        return f"{tuple(self.value.shape)}:{hashlib.sha256(data).hexdigest()[:16]}"


def name_of(target: Any) -> str:
    """The ATen name of an operation, without its overload; with its namespace if that is another."""
    schema = getattr(target, "_schema", None)
    space, _, name = schema.name.partition("::") if schema is not None else ("", "", str(target))
    return name if space in ("aten", "") else f"{space}::{name}"


Value = Any
"""Active, Held, Fixed, a tuple of them, or an argument of Python."""


@dataclass
class Builder:
    """The network as it grows. ``batch`` is the length of the batch axis in the program."""

    batch: Any
    tensors: dict[str, Tensor]
    taken: set[str]
    operations: list[Operation] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    source: str = ""
    node: Any = None

    @property
    def operation(self) -> str:
        """The ATen name of the node's operation."""
        return name_of(self.node.target)

    # --- shapes -----------------------------------------------------------------------------------

    def times(self, length: Any) -> int | None:
        """How many times the batch a length is; None if it is no multiple."""
        if isinstance(length, int):
            return length // self.batch if isinstance(self.batch, int) and length % self.batch == 0 else None
        if isinstance(self.batch, int):
            return None
        ratio = (length.node.expr / self.batch.node.expr).simplify()
        return int(ratio) if ratio.is_Integer else None

    def dims(self, node: Any = None, item: int | None = None) -> tuple[Any, ...]:
        """The program's shape of a node's result."""
        value = (self.node if node is None else node).meta.get("val")
        if item is not None:
            value = value[item]
        if not hasattr(value, "shape"):
            raise Unsupported
        return tuple(int(n) if isinstance(n, int) else n for n in value.shape)

    def shape(self, dims: Sequence[Any], at: int | None, merged: bool = False) -> tuple[int, ...]:
        """The network's shape for the program's."""
        if at is None:
            rest = list(dims)
        else:
            many = self.times(dims[at])
            if many is None or (many != 1 and not merged):
                raise Unsupported
            rest = [*dims[:at], *([many] if merged else []), *dims[at + 1 :]]
        if not all(isinstance(n, int) for n in rest):
            raise Unsupported
        return (1, *rest)

    def ndim(self, x: Active) -> int:
        """How many axes the program's tensor has."""
        return len(self.tensors[x.name].shape) - (0 if x.at is not None and not x.merged else 1)

    # --- tensors and operations -------------------------------------------------------------------

    def fresh(self, wish: str) -> str:
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name

    def constant(self, value: np.ndarray) -> str:
        """A constant of the network. Raises Unsupported where it is not finite."""
        array = np.asarray(value, dtype=np.float64)
        if not np.isfinite(array).all() or array.size == 0:
            raise Unsupported
        name = self.fresh(f"{self.node.name}/constant")
        self.tensors[name] = Tensor(name, array.shape, "constant", array)
        return name

    def emit(
        self, kind: str, inputs: Sequence[str], shape: Sequence[int], label: str = "", /, **attributes: Any
    ) -> str:
        """Append an operation; returns the name of its result."""
        require_size(self.node.name, tuple(shape), MAX_ACTIVATION)
        unique, count = label or self.node.name, 1
        while unique in self.names:
            count += 1
            unique = f"{label or self.node.name}_{count}"
        self.names.add(unique)
        output = self.fresh(self.node.name)
        self.tensors[output] = Tensor(output, tuple(shape), "activation")
        self.operations.append(Operation(kind, unique, tuple(inputs), output, MappingProxyType(attributes)))
        return output

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Undo what was emitted if the translation gives up."""
        count, tensors = len(self.operations), set(self.tensors)
        try:
            yield
        except Unsupported:
            for op in self.operations[count:]:
                self.names.discard(op.name)
            del self.operations[count:]
            for name in set(self.tensors) - tensors:
                del self.tensors[name]
                self.taken.discard(name)
            raise

    def same(self, kind: str, x: Active, label: str = "", /, **attributes: Any) -> Active:
        """An operation of one operand that keeps its shape."""
        name = self.emit(kind, (x.name,), self.tensors[x.name].shape, label, **attributes)
        return dataclasses.replace(x, name=name)

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        if tuple(shape) == self.tensors[x].shape:
            return x
        if prod(shape) != self.tensors[x].size:
            raise Unsupported
        return self.emit("reshape", (x,), shape, shape=tuple(shape))

    def turned(self, x: str, perm: Sequence[int]) -> str:
        if list(perm) == list(range(len(perm))):
            return x
        shape = self.tensors[x].shape
        return self.emit("transpose", (x,), [shape[a] for a in perm], perm=tuple(perm))

    def taken_along(self, x: str, axis: int, indices: np.ndarray) -> str:
        shape = list(self.tensors[x].shape)
        if np.array_equal(indices, np.arange(shape[axis])):
            return x
        if indices.size == 0:
            raise Unsupported
        shape[axis] = indices.size
        return self.emit("take", (x,), shape, axis=axis, indices=tuple(int(i) for i in indices))

    # --- parameters and constants among computed tensors ------------------------------------------

    def lift(self, value: Value) -> Active:
        """A parameter or a constant as a computed tensor: 0·(an input) + itself."""
        if isinstance(value, Active):
            return value
        if isinstance(value, Held):
            shape = value.shape
            held, label = value.name, value.name
        elif isinstance(value, Fixed):
            array = value.array()
            shape, held, label = array.shape, self.constant(array), self.node.name
        else:
            raise Unsupported
        given = self.tensors[self.source].shape
        axes = tuple(range(1, len(given)))
        x = self.emit("reduce", (self.source,), (1,) * len(given), axes=axes, keepdims=True, mode="sum")
        x = self.reshaped(x, (1,) * (len(shape) + 1))
        zero = self.constant(np.zeros(shape))
        x = self.emit("scale", (x, zero), (1, *shape))
        x = self.emit("bias", (x, held), (1, *shape), label)
        if isinstance(value, Held) and not value.plain:
            at = value.positions()
            x = self.taken_along(self.reshaped(x, (1, prod(shape))), 1, at.ravel())
            x = self.reshaped(x, (1, *at.shape))
        return Active(x, None)

    def conform(self, values: Sequence[Value], *, broadcast: bool = True) -> tuple[list[Active], Active]:
        """All as computed tensors whose network axes stand under one another, and one with their batch.

        With ``broadcast`` the shorter ones get ones in front, as PyTorch has it.
        """
        actives = [self.lift(v) for v in values]
        if not broadcast and len({self.ndim(v) for v in actives}) != 1:
            raise Unsupported
        ndim = max(self.ndim(v) for v in actives)
        batched = [v for v in actives if v.at is not None]
        if not batched:
            return [self._led(v, ndim) for v in actives], Active("", None)
        places = {(v.at + ndim - self.ndim(v), v.merged) for v in batched if v.at is not None}
        if len(places) != 1:
            raise Unsupported
        at, merged = places.pop()
        like = Active("", at, merged)
        return [
            self._led(v, ndim) if v.at is not None else self._joined(v, like, ndim) for v in actives
        ], like

    def _led(self, x: Active, ndim: int) -> Active:
        more = ndim - self.ndim(x)
        shape = self.tensors[x.name].shape
        name = self.reshaped(x.name, (1, *(1,) * more, *shape[1:]))
        return dataclasses.replace(x, name=name, at=None if x.at is None else x.at + more)

    def _joined(self, x: Active, like: Active, ndim: int) -> Active:
        """A tensor without a batch axis beside those that have it at ``like.at``."""
        shape = list(self.tensors[self._led(x, ndim).name].shape)
        assert like.at is not None
        if not like.merged:
            if shape.pop(like.at + 1) != 1:
                raise Unsupported
        elif shape[like.at + 1] != 1 and self.batch != 1:
            raise Unsupported
        return dataclasses.replace(like, name=self.reshaped(x.name, shape))

    def beside(self, value: Held | Fixed, x: Active) -> tuple[str, int | None, tuple[int, ...]]:
        """A parameter or constant that is combined with ``x`` entry by entry: its name, the attribute
        ``axis``, and the shape of the result in the network."""
        tensor = value.view if isinstance(value, Held) else value.value
        own = list(tensor.shape)
        ndim = max(self.ndim(x), len(own))
        own = [1] * (ndim - len(own)) + own
        led = self._led(x, ndim)
        if led.name != x.name:
            raise Unsupported  # the parameter has more axes
        if x.at is not None and not x.merged:
            if own[x.at] != 1:
                raise Unsupported
            own.pop(x.at)
        elif x.merged and x.at is not None and own[x.at] != 1 and self.batch != 1:
            raise Unsupported
        target = (1, *own)
        shape = tuple(np.broadcast_shapes(target, self.tensors[x.name].shape))
        if isinstance(value, Held):
            return value.name, value.aligned_axis(target), shape
        return self.constant(value.array().reshape(target)), None, shape


# --- arguments ---------------------------------------------------------------------------------------------


def require_active(value: Value) -> Active:
    if not isinstance(value, Active):
        raise Unsupported
    return value


def require_integers(value: Any, count: int) -> tuple[int, ...]:
    """An integer or a list of them, as ``count`` integers."""
    given = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(v, int) for v in given) or len(given) not in (1, count):
        raise Unsupported
    return tuple(int(v) for v in given) * (count if len(given) == 1 else 1)


def require_number(value: Any) -> float:
    if isinstance(value, Fixed) and value.value.numel() == 1:
        return float(value.array().item())
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise Unsupported
    return float(value)
