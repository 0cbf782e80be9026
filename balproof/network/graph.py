"""A network as data: tensors and the operations between them. No mathematics happens here.

Shapes carry the batch axis: axis 0 of every input, state and activation is the batch, of length 1.
A recurrent network is one time step whose ``states`` say which result becomes which state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from balproof.errors import ModelError
from balproof.network.places import Places

Role = Literal["input", "state", "parameter", "constant", "activation"]

PIECE = 2**20
"""So many entries of a tensor are taken in double precision at a time, 8 MiB of them."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named array of the network.

    ``value`` is given for parameters and constants: float64 (a parameter may be as narrow as its file, and is
    read by `Network.numbers` or `Network.pieces`), or an object array of SymPy numbers and symbols for exact
    and symbolic networks. It is not to be written to: that of a large file is the file itself, mapped into
    memory. ``dtype`` is the type in the file that it came from
    (``"float32"``, ``"float64"``, ``"exact"``), to which it is rounded when written back. A ``buffer`` is a
    parameter that training does not learn (a running mean): it may have to scale, and has no cost. The
    entries of a sparse matrix are a tensor of one axis, and ``places`` says where they stand.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    value: np.ndarray | None = None
    dtype: str = "float64"
    buffer: bool = False
    places: Places | None = None

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def element(self, flat: int) -> str:
        """The name of one entry, ``fc1.weight[3,7]``, from its row-major position.

        >>> Tensor("W", (2, 3), "parameter").element(5)
        'W[1,2]'
        """
        at = self.places.position(flat) if self.places is not None else np.unravel_index(flat, self.shape)
        return f"{self.name}[{','.join(str(int(i)) for i in at)}]" if self.shape else self.name


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation: ``output = kind(inputs)``.

    ``kind`` names a scaling rule (``balproof.network.rules.RULES``); anything else is ``"unknown"``.
    ``name`` is what a person calls it, and what its units are called: unit 3 of ``fc1`` is ``fc1[3]``.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, eq=False)
class Network:
    """Tensors by name, operations in an order in which they can be run, inputs, outputs and states.

    ``states`` pairs each state tensor with the tensor that holds it one time step later. ``format``
    and ``source`` remember the file (``"onnx"``, ``"json"``, ``"npz"``, ...) for writing back.
    """

    tensors: Mapping[str, Tensor]
    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[tuple[str, str], ...] = ()
    format: str = "json"
    source: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        _validate(self)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameter tensors, in the order of the file."""
        return tuple(t for t in self.tensors.values() if t.role == "parameter")

    @property
    def learned(self) -> tuple[Tensor, ...]:
        """The parameters that training learns: those that are no buffers."""
        return tuple(t for t in self.parameters if not t.buffer)

    @property
    def biases(self) -> frozenset[str]:
        """Names of the parameters that are added to a result, also at the end of a normalisation."""
        place = {"bias": 1, "batchnorm": 2, "norm": 2}
        added = (op.inputs[i] for op in self.operations if (i := place.get(op.kind, 99)) < len(op.inputs))
        return frozenset(name for name in added if self.tensors[name].role == "parameter")

    @property
    def symbolic(self) -> bool:
        """Whether any parameter or constant has an entry that is not a number."""
        return any(
            t.value is not None
            and t.value.dtype == object
            and any(not entry.is_number for entry in t.value.flat)
            for t in self.tensors.values()
        )

    def numbers(self, name: str) -> np.ndarray:
        """The value of a parameter or constant in float64.

        Raises ModelError if an entry is a symbol.
        """
        tensor = self.tensors[name]
        if tensor.value is None:
            raise ModelError(f"tensor {name!r} has no value", "only parameters and constants have one")
        if tensor.value.dtype != object:
            return tensor.value.astype(np.float64, copy=False)
        try:
            flat = [float(entry) for entry in tensor.value.flat]
        except TypeError:
            raise ModelError(
                f"tensor {name!r} has symbols as entries", "give numbers where numbers are needed"
            ) from None
        return np.array(flat, dtype=np.float64).reshape(tensor.shape)

    def flat(self, name: str) -> np.ndarray:
        """The entries in row-major order, in the type in which they are held, if that is one of numbers.

        Raises ModelError as `numbers`.
        """
        value = self.tensors[name].value
        return (self.numbers(name) if value is None or value.dtype == object else value).reshape(-1)

    def pieces(self, name: str) -> Iterator[tuple[slice, np.ndarray]]:
        """The value in float64, piece by piece: ranges of its entries, and the numbers there.

        Raises ModelError as `numbers`.
        """
        flat = self.flat(name)
        for start in range(0, flat.size, PIECE):
            here = slice(start, min(start + PIECE, flat.size))
            yield here, flat[here].astype(np.float64, copy=False)

    def with_parameters(self, values: Mapping[str, np.ndarray]) -> Network:
        """The same network with other parameter values (shapes as before).

        Raises ModelError for a name that is no parameter or a wrong shape.
        """
        tensors = dict(self.tensors)
        for name, value in values.items():
            old = tensors.get(name)
            if old is None or old.role != "parameter":
                raise ModelError(f"{name!r} is not a parameter", "name one of the network's parameters")
            if value.shape != old.shape:
                raise ModelError(
                    f"{name!r} has shape {old.shape}, not {value.shape}", "keep the shape of the parameter"
                )
            tensors[name] = dataclasses.replace(old, value=value)
        return dataclasses.replace(self, tensors=tensors)


@dataclass(frozen=True, eq=False)
class Numbers(Mapping[str, np.ndarray]):
    """The parameters of a network in float64, each of them made when it is asked for, and not kept."""

    network: Network

    @staticmethod
    def held(values: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """A parameter among such ones, or among arrays: in the type in which it is held."""
        if not isinstance(values, Numbers):
            return values[name]
        return values.network.flat(name).reshape(values.network.tensors[name].shape)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise KeyError(name)
        return self.network.numbers(name)

    def __contains__(self, name: object) -> bool:
        return name in self.network.tensors and self.network.tensors[str(name)].role == "parameter"

    def __iter__(self) -> Iterator[str]:
        return (t.name for t in self.network.parameters)

    def __len__(self) -> int:
        return len(self.network.parameters)


@dataclass(frozen=True, eq=False)
class Nonzero(Mapping[str, np.ndarray]):
    """Where the learned parameters of a network are not 0; symbols count as nonzero.

    That of a tensor is made when it is asked for, and not kept.
    """

    network: Network

    def value(self, name: str) -> np.ndarray:
        """The weights themselves."""
        value = self.network.tensors[name].value if name in self else None
        if value is None:
            raise KeyError(name)
        return value

    @property
    def count(self) -> int:
        """How many entries there are that are not 0."""
        return sum(int(np.count_nonzero(self.value(name))) for name in self)

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self.value(name) != 0, dtype=bool)

    def __contains__(self, name: object) -> bool:
        tensor = self.network.tensors.get(str(name))
        return tensor is not None and tensor.role == "parameter" and not tensor.buffer

    def __iter__(self) -> Iterator[str]:
        return (t.name for t in self.network.learned)

    def __len__(self) -> int:
        return len(self.network.learned)


def parts(shape: tuple[int, ...], limit: int = PIECE) -> Iterator[tuple[slice, tuple[slice, ...]]]:
    """Cut an array into pieces of at most ``limit`` entries that follow one another in row-major order.

    Of each piece: the range of its entries, and what it covers of each axis.

    >>> [(flat.start, flat.stop, rows.start, rows.stop) for flat, (rows, _) in parts((5, 3), 6)]
    [(0, 6, 0, 2), (6, 12, 2, 4), (12, 15, 4, 5)]
    """
    if not shape:
        yield slice(0, 1), ()
        return
    inner = prod(shape[1:])
    if inner > limit:
        for i in range(shape[0]):
            for flat, rest in parts(shape[1:], limit):
                yield slice(i * inner + flat.start, i * inner + flat.stop), (slice(i, i + 1), *rest)
        return
    step = limit // inner
    for start in range(0, shape[0], step):
        here = slice(start, min(start + step, shape[0]))
        yield slice(start * inner, here.stop * inner), (here, *(slice(0, n) for n in shape[1:]))


def _validate(network: Network) -> None:
    """Every name is known and defined before its use; every parameter and constant has a value."""
    tensors = network.tensors
    for tensor in tensors.values():
        if tensor.role in ("parameter", "constant") and (
            tensor.value is None or tensor.value.shape != tensor.shape
        ):
            raise ModelError(f"tensor {tensor.name!r} lacks a value of shape {tensor.shape}", "give one")
    known = {n for n, t in tensors.items() if t.role != "activation"}
    for op in network.operations:
        for name in op.inputs:
            if name not in known:
                raise ModelError(
                    f"operation {op.name!r} reads {name!r}, which nothing before it defines",
                    "list operations in the order in which they run, and check the names",
                )
        if op.output not in tensors or tensors[op.output].role != "activation" or op.output in known:
            raise ModelError(
                f"operation {op.name!r} writes {op.output!r}, which is not a fresh result",
                "give each operation a result of its own",
            )
        known.add(op.output)
    for name in (*network.outputs, *(after for _, after in network.states)):
        if name not in known:
            raise ModelError(f"output {name!r} is not computed", "name a result of an operation")
