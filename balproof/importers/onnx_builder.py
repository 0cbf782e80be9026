"""A network under construction from the nodes of an ONNX graph."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ExpressionError
from balproof.importers.onnx_shapes import Survey
from balproof.importers.rounding import require_finite
from balproof.network.graph import Operation, Tensor
from balproof.symbolic.activation import Activation

Array = np.ndarray
Shape = tuple[int, ...]

FLOAT_TYPES = frozenset({1, 10, 11, 16})
MAX_LIFTED = 10**6


@dataclass(frozen=True)
class Node:
    """A node with its attributes decoded."""

    op_type: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, onnx: Any, proto: Any) -> Node:
        read = onnx.helper.get_attribute_value
        attributes = {a.name: _plain(onnx, read(a)) for a in proto.attribute}
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        return cls(proto.op_type, proto.name, domain, tuple(proto.input), tuple(proto.output), attributes)

    @property
    def output(self) -> str:
        """The first result that is asked for."""
        return next((name for name in self.outputs if name), "")

    def input(self, slot: int) -> str:
        """The name in a slot, empty if there is none."""
        return self.inputs[slot] if slot < len(self.inputs) else ""

    def get(self, key: str, default: Any = None) -> Any:
        return self.attributes.get(key, default)

    def asked_for(self, asked: Callable[[str], bool]) -> Node:
        """Without the further results that nobody asks for, as of running statistics in training."""
        further = tuple(name if asked(name) else "" for name in self.outputs[1:])
        return dataclasses.replace(self, outputs=(*self.outputs[:1], *further))

    @property
    def alone(self) -> bool:
        """Whether only the first result is asked for."""
        return not any(self.outputs[1:])


def _plain(onnx: Any, value: Any) -> Any:
    """An attribute in a form that can be compared."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return digest(onnx.numpy_helper.to_array(value))
    if isinstance(value, int | float | str):
        return value
    try:
        return tuple(_plain(onnx, v) for v in value)
    except TypeError:
        return str(value)


def digest(value: Array) -> tuple[Shape, str]:
    """A shape and a fingerprint of the numbers."""
    content = np.ascontiguousarray(value.astype(np.float64)).tobytes()
    return value.shape, hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class View:
    """A parameter or constant as a node sees it: by another name, transposed, or in another shape."""

    origin: str
    shape: Shape
    transposed: bool = False
    reshaped: bool = False


@dataclass(frozen=True)
class Place:
    """Where the batch of a result is in the file. Here it is always axis 0.

    It may be ``merged`` with others into one axis, of which ``minor`` entries follow one another for each of
    the batch: (time, batch·heads, d) has axis 1 and minor = heads; it is (1, time, heads, d) here.
    """

    axis: int = 0
    minor: int = 1
    merged: bool = False

    def here(self, axis: int) -> int | None:
        """An axis of the file as an axis here; None for that of the batch."""
        if axis == self.axis:
            return None
        return axis + 1 if self.merged or axis < self.axis else axis


FRONT = Place()


@dataclass
class Builder:
    """The network as it grows.

    ``readers`` are the operators that read a name, and ``masks`` say which entries of a result a softmax
    counts. ``views`` maps a name to the parameter behind it, and ``places`` a result to where its batch is,
    if not in front. The ``results`` of the whole have it in front.
    ``lifted`` maps the name of a parameter, or of what was computed of parameters alone, to a result of shape
    (1, *shape). ``aside`` maps a result that the file does not have to its shape there. ``source`` is an
    input, of which zeros are made.
    """

    onnx: Any
    survey: Survey
    taken: set[str]
    tensors: dict[str, Tensor]
    opset: int
    results: frozenset[str] = frozenset()
    readers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    masks: dict[str, Array] = field(default_factory=dict)
    lifted: dict[str, str] = field(default_factory=dict)
    aside: dict[str, Shape] = field(default_factory=dict)
    source: str = ""

    # What is known of a name.

    def shape(self, name: str) -> Shape:
        return self.aside[name] if name in self.aside else self.survey.one.shapes[name]

    def active(self, name: str) -> bool:
        """Whether a name is an input or a result."""
        return name in self.tensors and self.tensors[name].role in ("input", "activation")

    def leads(self, name: str) -> bool:
        """Whether the batch axis is in front, here and in the file."""
        return name not in self.places and (name in self.aside or self.survey.leads(name))

    def place(self, name: str) -> Place | None:
        """Where the batch of a result is; None if that has not been followed."""
        return self.places.get(name) or (FRONT if self.leads(name) else None)

    @property
    def single(self) -> bool:
        """Whether the file has a batch of 1 only, which is then wherever it is wanted."""
        return self.survey.other is None

    def anywhere(self, name: str) -> Place:
        """In front of a result whose first axis is 1, or else before all its axes, for a batch of 1 only."""
        length = self.shape(name)[0] if self.shape(name) else 1
        return FRONT if length == 1 else Place(0, length, True)

    def put(self, name: str, place: Place) -> bool:
        """Note where the batch of a result is, if that may be there."""
        if place == FRONT:
            return self.leads(name)
        if name in self.results or not self.survey.follows(name, place.axis):
            return False
        self.places[name] = place
        return True

    def here(self, name: str) -> Shape:
        """The shape of a result of the file, with the batch axis in front."""
        shape, place = self.shape(name), self.places.get(name, FRONT)
        if place.merged:
            return (1, *shape)
        return (1, *shape[: place.axis], *shape[place.axis + 1 :])

    def floating(self, name: str) -> bool:
        return name in self.aside or self.survey.one.types.get(name) in FLOAT_TYPES

    def parameter(self, name: str) -> bool:
        """Whether a name is a parameter, seen in whatever way."""
        origin = self.views[name].origin if name in self.views else name
        return origin in self.tensors and self.tensors[origin].role == "parameter"

    def held(self, name: str) -> View | None:
        """The parameter or constant of that name, if it is one and has finite numbers."""
        if name in self.views:
            return self.views[name]
        known = self.tensors.get(name)
        if known is None:
            value = self.survey.constant(name)
            if value is None or not value.size or value.dtype.kind not in "fiubV":
                return None
            number = value.astype(np.float64)
            if not np.isfinite(number).all():
                return None
            known = self.tensors[name] = Tensor(name, number.shape, "constant", number)
        return View(name, known.shape) if known.role in ("parameter", "constant") else None

    def plain(self, name: str) -> str | None:
        """The name of the parameter or constant itself, where it is seen as it is."""
        view = self.held(name)
        return view.origin if view and not view.transposed and not view.reshaped else None

    def matrix(self, name: str) -> View | None:
        view = self.held(name)
        return view if view and len(view.shape) == 2 and not view.reshaped else None

    def numbers(self, name: str) -> Array | None:
        """The numbers of a constant, in its own type; None for parameters and results."""
        return self.survey.constant(name)

    def integers(self, name: str) -> list[int] | None:
        value = self.numbers(name)
        return None if value is None or value.dtype.kind not in "iu" else [int(v) for v in value.ravel()]

    def number(self, name: str) -> Fraction | None:
        """The one number that a constant holds, as the shortest decimal that rounds to it."""
        value = self.numbers(name)
        if value is None or value.dtype.kind not in "fiuV" or np.unique(value).size != 1:
            return None
        return shortest(value.flat[0], value.dtype.name)

    def alignment(self, view: View, ndim: int) -> dict[str, int] | None:
        """Where a parameter's axes lie among those of a result; None if that cannot be said."""
        own = self.tensors[view.origin].shape
        if view.transposed or len(view.shape) > ndim:
            return None
        if not view.reshaped:
            return {}
        seen = (1,) * (ndim - len(view.shape)) + view.shape
        for axis in range(ndim - len(own) + 1):
            if (1,) * axis + own + (1,) * (ndim - axis - len(own)) == seen:
                return {"axis": axis}
        return None

    # Growing.

    def fresh(self, wish: str) -> str:
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name

    def constant(self, wish: str, value: Array) -> str:
        name = self.fresh(wish)
        self.tensors[name] = require_finite(Tensor(name, value.shape, "constant", value))
        return name

    def emit(
        self,
        kind: str,
        inputs: tuple[str, ...],
        output: str,
        shape: Shape,
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

    def scaled(self, x: str, factor: Array, output: str | None, name: str) -> str:
        """x times a constant; to a tensor in between if no output is named."""
        target = output if output is not None else self.fresh(f"{name}/scaled")
        held = self.constant(f"{target}/factor", np.asarray(factor, dtype=np.float64))
        shape = np.broadcast_shapes(self.tensors[x].shape, np.shape(factor))
        return self.emit("scale", (x, held), target, shape, name)

    # Parameters and constants among results.

    def zeros(self, shape: Shape, name: str) -> str:
        """A result of shape (1, *shape) that is 0·(an input): each entry has a scale of its own."""
        given = len(self.tensors[self.source].shape)
        x = self.emit(
            "reduce",
            (self.source,),
            self.fresh(f"{name}/any"),
            (1,) * given,
            f"{name}/any",
            axes=tuple(range(1, given)),
            keepdims=True,
            mode="sum",
        )
        ones = (1,) * (len(shape) + 1)
        x = self.emit("reshape", (x,), self.fresh(f"{name}/shape"), ones, f"{name}/shape", shape=ones)
        return self.scaled(x, np.zeros(shape), self.fresh(f"{name}/zeros"), f"{name}/zeros")

    def liftable(self, name: str) -> bool:
        """Whether `lift` can be had of a name."""
        if name in self.lifted:
            return True
        view = self._seen(name)
        return view is not None and self.source != "" and prod(view.shape) <= MAX_LIFTED

    def _seen(self, name: str) -> View | None:
        """What is held under a name; constants too that are repeated for all of the batch."""
        view = self.held(name)
        value = self.survey.repeated(name) if view is None and name in self.survey.one.constants else None
        if (
            value is None
            or not value.size
            or value.dtype.kind not in "fV"
            or not np.isfinite(value.astype(np.float64)).all()
        ):
            return view
        origin = self.constant(f"{name}/repeated", value.astype(np.float64))
        self.views[name] = View(origin, value.shape)
        return self.views[name]

    def zero(self, name: str) -> bool:
        """Whether a name is a constant of zeros, for every length of the batch."""
        facts = (self.survey.one, *([self.survey.other] if self.survey.other else []))
        values = [f.constants.get(name) for f in facts]
        return all(v is not None and not v.any() for v in values)

    def lift(self, name: str) -> str | None:
        """A parameter or constant as a result of shape (1, *shape): 0·(an input) + itself.

        It has no batch axis of its own, and may be sliced and joined like any result. None where it is no
        parameter or constant, or is too large to have a scale for each entry.
        """
        if name in self.lifted:
            return self.lifted[name]
        view = self._seen(name)
        if view is None or not self.liftable(name):
            return None
        own = self.tensors[view.origin]
        x = self.zeros(own.shape, view.origin)
        x = self.emit(
            "bias", (x, view.origin), self.fresh(f"{view.origin}/lifted"), (1, *own.shape), view.origin
        )
        if view.transposed:
            turned = (1, *view.shape)
            x = self.emit(
                "transpose", (x,), self.fresh(f"{name}/turned"), turned, f"{name}/turned", perm=(0, 2, 1)
            )
        elif view.shape != own.shape:
            seen = (1, *view.shape)
            x = self.emit("reshape", (x,), self.fresh(f"{name}/seen"), seen, f"{name}/seen", shape=seen)
        self.lifted[name] = x
        return x

    def beside(self, name: str, shape: Shape, place: Place) -> str:
        """Give a result that the file does not have its shape in the file, and its place."""
        self.aside[name] = shape
        if place != FRONT:
            self.places[name] = place
        return name

    def function(self, node: Node, text: str, x: str, output: str | None = None) -> bool:
        """An activation by its formula; False where the formula means nothing on the real line."""
        try:
            function = Activation.parse(text)
        except ExpressionError:
            return False
        shape = self.tensors[x].shape
        self.emit("activation", (x,), output or node.output, shape, label(node), function=function)
        return True


Operator = Callable[[Builder, Node], bool]
"""A translation: it returns False, having done nothing, where the node is not of its kind."""

_ENDINGS = (".weight", "_weight", "/weight", ".kernel", "/kernel", ".W")
_MADE = re.compile(r"onnx::.*|\d+|val_\d+|/.*_output_\d+|_?tensor_constant\d*")


def made_by_exporter(name: str) -> bool:
    """Whether a name is a number that an exporter gave, and says nothing.

    >>> made_by_exporter("onnx::Mul_33"), made_by_exporter("val_7"), made_by_exporter("fc1.weight")
    (True, True, False)
    """
    return _MADE.fullmatch(name) is not None


def label(node: Node, weight: str | None = None) -> str:
    """What a person calls a node: the stem of its weight, else its own name, else its output."""
    if weight is not None and not made_by_exporter(weight):
        for ending in _ENDINGS:
            if weight.endswith(ending) and weight != ending:
                return weight.removesuffix(ending)
        return weight
    return node.name or node.output


def shortest(number: Any, dtype: str = "float32") -> Fraction | None:
    """The shortest decimal that rounds to a number in a type, as a fraction; None if it is not finite.

    >>> shortest(np.float32(0.01))
    Fraction(1, 100)
    """
    kind = {"float16": np.float16, "bfloat16": np.float32, "float64": np.float64}.get(dtype, np.float32)
    rounded = kind(number)
    return Fraction(np.format_float_positional(rounded, trim="-")) if np.isfinite(rounded) else None
