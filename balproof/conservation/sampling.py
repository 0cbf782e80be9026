"""Points, inputs and covectors, from a generator that anybody can write down again in six lines."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from balproof.errors import RequestError
from balproof.network.graph import Network, Tensor

Array = np.ndarray

LOSSES = ("any", "cross-entropy")
STEPS = 4
"""Time steps for which a recurrent network is run."""
WEIGHT, SHIFT, INPUT = 20, 400, 20
"""Largest weight, bias and input of a point with whole coordinates."""


FINE = 2**20
"""Parts into which 1 is divided for inputs that are not whole."""


def bits(seed: int, stream: str, start: int, count: int) -> Array:
    """Splitmix64 (Steele, Lea, Flood 2014) of consecutive counters; ``stream`` names what the bits are for.

    >>> bits(0, "x", 3, 2).tolist() == bits(0, "x", 0, 5)[3:].tolist()
    True
    """
    key = zlib.crc32(f"{seed}:{stream}".encode())
    with np.errstate(over="ignore"):
        z = (np.arange(start, start + count, dtype=np.uint64) + np.uint64(key << 32)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def integers(seed: int, stream: str, start: int, shape: Sequence[int], low: int, high: int) -> Array:
    """Whole numbers from low to high; ``start`` counts rows of the first axis."""
    row = prod(shape[1:])
    drawn = bits(seed, stream, start * row, shape[0] * row) >> np.uint64(11)
    return (drawn % np.uint64(high - low + 1)).astype(np.int64).reshape(tuple(shape)) + low


def nonzero(seed: int, stream: str, start: int, shape: Sequence[int], size: int) -> Array:
    """Whole numbers other than 0 from −size to size."""
    drawn = integers(seed, stream, start, shape, -size, size - 1)
    return drawn + (drawn >= 0)


@dataclass(frozen=True, eq=False)
class Data:
    """What the network is fed, and what its outputs are weighed with.

    ``given`` holds inputs (cases, *shape of the file), of which each sample takes one; without, every sample
    has inputs of its own. With ``fine`` numbers are small fractions of two and not whole.
    """

    network: Network
    seed: int
    loss: str = "any"
    given: Mapping[str, Array] | None = None
    fine: bool = False

    @property
    def steps(self) -> int:
        return STEPS if self.network.states else 1

    def point(self, signs: bool) -> dict[str, Array]:
        """θ₀: whole numbers other than 0; with ``signs`` of the signs that the network's numbers have."""
        found: dict[str, Array] = {}
        for t in self.network.learned:
            size = SHIFT if t.name in self.network.biases else WEIGHT
            values = nonzero(self.seed, f"point {t.name}", 0, (1, *t.shape), size)[0]
            if signs:
                own = self.signs(t)
                values = np.where(own != 0, own * np.abs(values), values)
            found[t.name] = values / self._unit(t, size) if self.fine else values
        return found

    def points(self, start: int, count: int, signs: bool) -> dict[str, Array]:
        """Several points at once."""
        found: dict[str, Array] = {}
        for t in self.network.learned:
            size = SHIFT if t.name in self.network.biases else WEIGHT
            values = nonzero(self.seed, f"points {t.name}", start, (count, *t.shape), size)
            own = self.signs(t) if signs else np.zeros(t.shape, np.int64)
            found[t.name] = np.where(own != 0, own * np.abs(values), values)
        return found

    def signs(self, tensor: Tensor) -> Array:
        """The signs of a parameter; 0 where it is 0 or a symbol."""
        value = tensor.value
        assert value is not None
        if value.dtype == object:
            flat = [0 if not v.is_number or not v.is_real else int(v > 0) - int(v < 0) for v in value.flat]
            return np.array(flat, np.int64).reshape(value.shape)
        return np.sign(value).astype(np.int64)

    def _unit(self, tensor: Tensor, size: int) -> float:
        """A power of two that makes sums of as many terms as the tensor has columns about 1 in size."""
        columns = prod(tensor.shape) / max(tensor.shape, default=1) if len(tensor.shape) > 1 else 1
        return float(2 ** round(np.log2(size * max(1.0, columns) ** 0.5)))

    def inputs(self, index: Array) -> list[dict[str, Array]]:
        """For each time step, the inputs of the samples with these numbers."""
        steps: list[dict[str, Array]] = []
        for step in range(self.steps):
            steps.append({n: self._input(n, step, index) for n in self.network.inputs})
        return steps

    def _input(self, name: str, step: int, index: Array) -> Array:
        shape = self.network.tensors[name].shape
        low, count = int(index[0]), int(index[-1]) - int(index[0]) + 1
        if self.given is not None:
            cases = np.asarray(self.given[name])
            if cases.ndim != len(shape) or cases.shape[1:] != shape[1:] or not len(cases):
                raise RequestError(f"the data for {name!r} have shape {cases.shape}",
                                   f"give an array of shape (cases, *{shape[1:]})")  # fmt: skip
            return cases[index % len(cases)][:, None]
        rows = self._rows(name)
        if rows:
            return integers(self.seed, f"input {step} {name}", low, (count, *shape), 0, rows - 1)[index - low]
        size = FINE if self.fine else INPUT
        drawn = nonzero(self.seed, f"input {step} {name}", low, (count, *shape), size)[index - low]
        if not self.fine:
            return drawn
        stretch = 2.0 ** (1 + index % 6)  # so that bounded activations are met in all their parts
        return drawn / FINE * stretch.reshape(-1, *(1,) * (drawn.ndim - 1))

    def _rows(self, name: str) -> int:
        """The rows of the table that an input looks up; 0 if it is no input of positions."""
        reached = {name}
        for op in self.network.operations:
            if op.inputs[0] in reached:
                if op.kind == "embedding":
                    return self.network.tensors[op.inputs[1]].shape[0]
                if op.kind in ("identity", "reshape", "transpose", "expand", "take"):
                    reached.add(op.output)
        return 0

    def covectors(self, number: int, shape: Sequence[int], index: Array) -> Array:
        """What the ``number``-th watched result is weighed with, per sample; of sum 0 for cross-entropy."""
        low, count = int(index[0]), int(index[-1]) - int(index[0]) + 1
        drawn = nonzero(self.seed, f"covector {number}", low, (count, *shape), 1000)[index - low]
        if self.loss == "cross-entropy":
            drawn = drawn.copy()
            drawn[..., -1] -= drawn.sum(axis=-1)
        return drawn


def fraction_rows(values: Array) -> list[str]:
    """Numbers of a point as texts that are exact.

    >>> fraction_rows(np.array([3, -2])), fraction_rows(np.array([0.375]))
    (['3', '-2'], ['3/8'])
    """
    return [str(Fraction(v)) for v in values.ravel().tolist()]
