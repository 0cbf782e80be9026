"""The fields θ ↦ ∇_θ⟨a, f(θ; x)⟩ and their iterated brackets, evaluated at a point modulo a prime.

Brackets are directional derivatives of gradients, [X, Y] = DY·X − DX·Y: no polynomial is built. Source for
their use: Marcotte, Gribonval, Peyré, NeurIPS 2023 (laws of gradient flow and the Lie algebra of its fields).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from balproof.conservation.passes import Opaque, Regions, Unsupported, refuse
from balproof.conservation.program import Run, rounding
from balproof.conservation.ring import Doubles, Ring
from balproof.conservation.sampling import Data, integers
from balproof.conservation.tape import Jet, Node, Tape
from balproof.network.graph import Network, Operation
from balproof.network.scales import aligned

Array = np.ndarray

ENTRIES = 4_000_000
"""Entries of all results together, in one chunk of samples."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The learned parameters as one vector θ."""

    network: Network

    @cached_property
    def size(self) -> int:
        return sum(t.size for t in self.network.learned)

    @cached_property
    def spans(self) -> dict[str, slice]:
        ends = np.cumsum([t.size for t in self.network.learned]).tolist()
        return {t.name: slice(e - t.size, e) for t, e in zip(self.network.learned, ends, strict=True)}

    def join(self, values: Mapping[str, Array]) -> Array:
        """(samples, D) of one array (samples, *shape) for each parameter."""
        return np.concatenate([values[n].reshape(values[n].shape[0], -1) for n in self.spans], axis=1)

    def nodes(self, theta: Jet, tape: Tape) -> dict[str, Node]:
        shapes = {t.name: t.shape for t in self.network.learned}
        return {
            name: tape.put({m: v[:, span].reshape(v.shape[0], *shapes[name]) for m, v in theta.items()}, True)
            for name, span in self.spans.items()
        }


def chunk_length(network: Network, steps: int) -> int:
    """How many samples are run at once."""
    total = sum(prod(network.tensors[op.output].shape) for op in network.operations)
    total += sum(
        prod(network.tensors[op.output].shape) * prod(network.tensors[op.inputs[1]].shape[2:])
        for op in network.operations
        if op.kind == "conv"
    )
    total = max(total * steps, sum(t.size for t in network.learned))
    return int(np.clip(ENTRIES // max(1, total), 8, 512))


def regions(data: Data, theta: Mapping[str, Array], index: Array, opaque: Opaque = refuse) -> Regions:
    """The regions of samples at points θ (samples or 1, *shape), from a run in doubles."""
    found = Regions()
    layout = Layout(data.network)
    for ring, bounding in ((Doubles(), False), (Doubles(absolute=True), True)):
        tape = Tape(ring)
        weights = layout.nodes({0: ring.constant(layout.join(theta))}, tape)
        inputs = data.inputs(index)
        Run(data.network, tape, found, opaque, bounding=bounding).forward(weights, inputs)
        found.filled = True
    return found


def point(data: Data, signs: bool) -> dict[str, Array]:
    """θ₀ whose biases put the kinks among the inputs: each cancels what it is added to, in one sample.

    Without that a unit is often dead, or never at rest, and more seems to be conserved than is.
    """
    theta = data.point(signs)
    index = np.arange(64)
    shifts = {"bias": 1, "batchnorm": 2}
    for op in data.network.operations:
        name = op.inputs[min(shifts.get(op.kind, 0), len(op.inputs) - 1)]
        if op.kind not in shifts or name not in theta:
            continue
        tape = Tape(Doubles())
        weights = Layout(data.network).nodes(
            {0: Layout(data.network).join({n: v[None] for n, v in theta.items()})}, tape
        )
        run = Run(data.network, tape, Regions())
        try:
            run.forward(weights, data.inputs(index)[:1])
        except Unsupported:
            return theta
        shifted = run.values[op.output].jet[0]
        own = np.broadcast_to(theta[name], theta[name].shape)
        theta[name] = _opposite(shifted, own, op, data, signs)
    return theta


def _opposite(result: Array, own: Array, op: Operation, data: Data, signs: bool) -> Array:
    """A bias that cancels a result of one sample and place for each of its entries."""
    tensor = data.network.tensors[op.inputs[1]]
    view = aligned(tensor, result.ndim - 1, 1 if op.kind == "batchnorm" else op.attributes.get("axis"))
    alike = tuple(a for a, n in enumerate(view) if n == 1)
    spread = np.moveaxis(result - own.reshape(view), [a + 1 for a in alike], range(1, len(alike) + 1))
    cases = np.sort(spread.reshape(-1, own.size), axis=0)
    quarter = len(cases) // 4
    chosen = integers(data.seed, f"kink {op.name}", 0, (own.size,), quarter, len(cases) - 1 - quarter)
    wanted = -np.rint(cases[chosen, np.arange(own.size)].reshape(own.shape))
    wanted = np.where(wanted == 0, own, wanted)
    fixed = data.signs(tensor) if signs else np.zeros(own.shape, np.int64)
    return np.where(fixed * wanted < 0, own, wanted).astype(own.dtype)


@dataclass(eq=False)
class Fields:
    """The fields of a network at one point θ₀, over a ring.

    ``settle`` says in which regions samples are, and which of them to keep.
    """

    data: Data
    theta: Mapping[str, Array]
    ring: Ring
    opaque: Opaque = refuse

    def __post_init__(self) -> None:
        self.network = self.data.network
        self.layout = Layout(self.network)
        self._point = {n: v[None] for n, v in self.theta.items()}
        self.point: Jet = {0: self.ring.constant(self.layout.join(self._point))}
        self._minus = self.ring.constant(np.array([[-1]]))

    def settle(self, index: Array) -> tuple[Regions, Array]:
        """Regions from a run in doubles; samples of which a sign is not certain are not kept."""
        if rounding(self.network, self.data.steps) > 2**22:
            raise Unsupported("too many roundings in a row to be sure of signs")
        found = regions(self.data, self._point, index)
        return found, np.broadcast_to(found.certain(), len(index))

    def rows(self, length: int, start: int, count: int) -> Array:
        """``count`` random brackets [X₁, [X₂, … X_length]] at θ₀, one a row; ``start`` numbers the first.

        A bracket is left out where a sign in it is not certain. Raises Unsupported.
        """
        step = chunk_length(self.network, self.data.steps << (length - 1))
        parts = [
            self._chunk(length, a, min(step, start + count - a)) for a in range(start, start + count, step)
        ]
        return np.concatenate(parts)

    def _chunk(self, length: int, start: int, count: int) -> Array:
        leaves = [np.arange(start, start + count) + (length * 16 + i) * 2**24 for i in range(length)]
        found = [self.settle(index) for index in leaves]
        keep = np.flatnonzero(np.logical_and.reduce([certain for _, certain in found]))
        zero = self.ring.constant(np.zeros((1, 1), np.int64))
        if not keep.size:
            return np.broadcast_to(zero, (0, self.layout.size))
        leaf = [(index[keep], r.select(keep)) for index, (r, _) in zip(leaves, found, strict=True)]
        value = self._bracket(leaf, self.point, 0).get(0, zero)
        return np.broadcast_to(value, (len(keep), self.layout.size))

    def _bracket(self, leaves: Sequence[tuple[Array, Regions]], theta: Jet, level: int) -> Jet:
        """The bracket of the leaves at θ in the ring of jets; ε of number ``level`` and above are unused."""
        first = self._leaf(theta, leaves[0])
        if len(leaves) == 1:
            return first
        bit = 1 << level
        along = self._bracket(leaves[1:], {**theta, **_raised(first, bit)}, level + 1)
        rest = {m: v for m, v in along.items() if not m & bit}
        other = self._leaf({**theta, **_raised(rest, bit)}, leaves[0])
        total = {m ^ bit: v for m, v in along.items() if m & bit}
        for m, v in other.items():
            if m & bit:
                part = self.ring.multiply(v, self._minus)
                total[m ^ bit] = self.ring.add(total[m ^ bit], part) if m ^ bit in total else part
        return total

    def _leaf(self, theta: Jet, leaf: tuple[Array, Regions]) -> Jet:
        return gradient(self.data, self.layout, self.ring, theta, *leaf, self.opaque)


def _raised(jet: Jet, bit: int) -> dict[int, Array]:
    return {m | bit: v for m, v in jet.items()}


def gradient(
    data: Data,
    layout: Layout,
    ring: Ring,
    theta: Jet,
    index: Array,
    where: Regions,
    opaque: Opaque = refuse,
) -> Jet:
    """∇_θ Σ ⟨a, f(θ; x)⟩ of the samples with these numbers, as a jet of (samples, D)."""
    tape = Tape(ring)
    weights = layout.nodes(theta, tape)
    results = Run(data.network, tape, where, opaque).forward(weights, data.inputs(index))
    seeds = [
        (node, ring.constant(data.covectors(i, node.shape[1:], index)))
        for i, (_, node) in enumerate(results)
        if node.moved
    ]
    found = tape.gradients(seeds, list(weights.values()))
    masks = sorted({m for jet in found for m in jet})
    samples = len(index)
    zero = ring.constant(np.zeros((1, 1), np.int64))
    joined: dict[int, Array] = {}
    for m in masks:
        parts: dict[str, Array] = {}
        for name, jet in zip(weights, found, strict=True):
            shape = (samples, *weights[name].shape[1:])
            value = jet.get(m)
            if value is None:
                value = np.broadcast_to(zero.reshape((1,) * len(shape)), shape)
            parts[name] = np.broadcast_to(value, shape)
        joined[m] = layout.join(parts)
    return joined
