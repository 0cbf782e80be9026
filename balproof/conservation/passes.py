"""What a pass of a network over a ring is made of, but for the operations; and the regions of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import sympy

from balproof.conservation.ring import Ring
from balproof.conservation.tape import Node, Tape
from balproof.network.graph import Network, Operation, Tensor
from balproof.symbolic.numeric import rational

Array = np.ndarray
Key = tuple[int, str]


class Unsupported(Exception):
    """An operation that has no polynomial pieces, or none that are known here; the text says which."""


@dataclass
class Regions:
    """On which piece of each operation the samples are, by (time step, result).

    Filled by a run in doubles. ``gaps`` holds how far each decision was from turning over.
    """

    masks: dict[Key, Array] = field(default_factory=dict)
    gaps: dict[Key, Array] = field(default_factory=dict)
    sizes: dict[Key, Array] = field(default_factory=dict)
    filled: bool = False

    def certain(self) -> Array:
        """Per sample: is every decision certain, for all that rounding can have done? (See `rounding`.)

        Where the sizes are 0, all terms are 0 because of earlier decisions (a unit that is at rest), near the
        point too, and it does not matter which piece is taken.
        """
        samples = max((g.shape[0] for g in self.gaps.values()), default=1)
        certain = np.ones(samples, bool)
        for key, gap in self.gaps.items():
            size = self.sizes[key]
            safe = (gap > 2.0**-30 * size) | (size == 0)
            certain &= safe.reshape(safe.shape[0], -1).all(axis=1)
        return certain

    def select(self, keep: Array) -> Regions:
        """The regions of some of the samples; what is not filled stays so."""
        if not self.filled:
            return Regions()
        masks = {k: m if m.shape[0] == 1 else m[keep] for k, m in self.masks.items()}
        return Regions(masks, filled=True)


Opaque = Callable[["Pass", Operation, Sequence[Node], Key], Node]


def refuse(_: Pass, op: Operation, operands: Sequence[Node], key: Key) -> Node:
    """An operation without polynomial pieces ends the run."""
    what = (
        op.attributes["function"].text if op.kind == "activation" else op.attributes.get("op_type", op.kind)
    )
    raise Unsupported(f"{what} (operation {op.name}) is not made of polynomials")


@dataclass
class Pass:
    """One pass of a network over a ring; ``step`` counts time in a recurrent one."""

    network: Network
    tape: Tape
    regions: Regions
    opaque: Opaque = refuse
    step: int = 0
    bounding: bool = False
    """Whether this run, on absolute values, is to bound the partial sums at each decision."""
    symbols: Callable[[Operation, Node, str], Array] | None = None
    """Instead of regions: a symbol for each piece of each entry."""
    finish: Callable[[Operation, Node], Node] | None = None
    """What is to become of each result."""
    values: dict[str, Node] = field(default_factory=dict)
    """What was computed in the last time step."""

    @property
    def ring(self) -> Ring:
        return self.tape.ring

    def number(self, value: float | Fraction) -> Array:
        """A number of the ring that broadcasts to everything."""
        return self.ring.constant(np.array(Fraction(value), dtype=object)).reshape(1)

    def mask(
        self, op: Operation, decide: Callable[[], tuple[Array, Array]], size: Callable[[], Array]
    ) -> Array:
        """The decision of an operation: made in the first run, and looked up in the later ones."""
        key = (self.step, op.output)
        if not self.regions.filled:
            self.regions.masks[key], self.regions.gaps[key] = decide()
        elif self.bounding:
            self.regions.sizes[key] = size()
        return self.regions.masks[key]

    def sides(self, op: Operation, x: Node) -> tuple[Array, Array]:
        """1 where x is above 0 and 0 elsewhere, and the other way round, as numbers of the ring."""
        if self.symbols is not None:
            return self.symbols(op, x, "+"), self.symbols(op, x, "−")
        base = x.jet[0]
        up = self.mask(op, lambda: (self.ring.positive(base), np.abs(base)), lambda: base)
        return self.ring.constant(up), self.ring.constant(1 - up.astype(np.int64))


Rule = Callable[[Pass, Operation, Sequence[Node]], Node]


def exact(tensor: Tensor) -> Array:
    """The values of a constant: doubles (which are fractions), or fractions.

    Raises Unsupported for a symbol or an irrational number.
    """
    value = tensor.value
    assert value is not None
    if value.dtype != object:
        return value
    found = [rational(sympy.sympify(v)) for v in value.flat]
    if any(v is None for v in found):
        raise Unsupported(f"{tensor.name} has entries that are not rational numbers")
    result = np.empty(value.shape, dtype=object)
    result.ravel()[:] = found
    return result
