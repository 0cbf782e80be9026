"""The problem over whole blocks of weights: row and column sums, never a matrix of weights and scales.

For costs that are sums of powers |w|^p, other ones for each tensor; `pairs` beside it reads the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from balproof.balance.blocks.pairs import Extremes, Pair, layout, pair_of
from balproof.balance.blocks.sparse_pair import SparsePair, sparse_pair
from balproof.balance.problem import HIGHEST, LOWEST, Costs, require_range
from balproof.errors import ModelError
from balproof.network.graph import Network
from balproof.network.manifold import Block, Manifold

Array = np.ndarray

_READ = frozenset(np.dtype(t) for t in (np.float16, np.float32, np.float64))
"""The types of arrays that loops read, in the byte order of the machine."""

Sums = tuple[Array | None, Array | None]
"""Of a block: the sums of its rows and of its columns, None where they are out of date."""


@dataclass(frozen=True, eq=False)
class Balance:
    """What balances at every scale: the marginal costs that come in and that go out."""

    incoming: Array
    outgoing: Array

    @property
    def imbalances(self) -> Array:
        total = self.incoming + self.outgoing
        return np.abs(self.incoming - self.outgoing) / np.where(total > 0, total, 1.0)


@dataclass(frozen=True, eq=False)
class BlockProblem:
    """F over blocks. ``active`` marks the scales that move; dead ones and those of degree ≤ 0 keep h = 0.

    ``constant`` is the cost of the weights that no scale touches, ``zeros`` the number of zeros in each
    block, ``start`` the sums of each block at h = 0, ``after`` what sweeps over loops start from there. The
    sums of units that move may lack ``lost``, relatively.
    """

    manifold: Manifold
    pairs: tuple[Pair, ...]
    constant: float
    zeros: tuple[int, ...]
    start: tuple[tuple[Array, Array], ...]
    active: Array
    dead: tuple[int, ...]
    left_out: tuple[int, ...]
    after: tuple[Array | None, ...] = ()
    lost: float = 0.0

    @staticmethod
    def build(manifold: Manifold, costs: Costs) -> BlockProblem | None:
        """One read of the weights. None for a cost that is no sum of powers, or scales twice on one side.

        Raises ModelError for weights that are not finite, RequestError for weights too far apart for double
        precision.

        >>> from balproof.importers import load
        >>> from balproof.network.manifold import infer
        >>> problem = BlockProblem.build(infer(load("tests/data/chain.json")), Costs.parse("l2"))
        >>> problem.cost(np.zeros(2))
        18.25
        """
        made = pairs_of(manifold, costs)
        if made is None:
            return None
        zero = np.zeros(manifold.count)
        read = [pair.survey(*pair.factors(zero)) for pair in made]
        _require_usable(manifold.network, made, [extremes for _, _, extremes, _ in read])
        moving = [not (p.rows.still and p.columns.still) for p in made]
        problem = BlockProblem(
            manifold,
            pairs=tuple(p for p, m in zip(made, moving, strict=True) if m),
            constant=float(
                sum(p.factor * r[0].sum() for p, r, m in zip(made, read, moving, strict=True) if not m)
            ),
            zeros=tuple(r[2].zeros for r, m in zip(read, moving, strict=True) if m),
            start=tuple((r[0], r[1]) for r, m in zip(read, moving, strict=True) if m),
            after=tuple(r[3] for r, m in zip(read, moving, strict=True) if m),
            active=np.ones(manifold.count, bool),
            dead=(),
            left_out=tuple(sorted(manifold.endless)),
        )
        return problem.without_dead()

    def without_dead(self) -> BlockProblem:
        """The same, where scales with nothing in or nothing out, or of a degree ≤ 0, stay where they are."""
        able = np.ones(self.manifold.count, bool)
        able[list(self.left_out)] = False
        if any(isinstance(pair, SparsePair) for pair in self.pairs):  # long chains of dead units
            costly = {p.name: self.manifold.network.flat(p.name) != 0 for p in self.pairs}
            found = self.manifold.dead(costly)
            able[list(found)] = False
            return replace(self, active=able, dead=found)
        sums, dead = self.start, np.zeros(self.manifold.count, bool)
        while True:
            here = self.balanced_by(sums)
            found = able & ((here.incoming == 0) | (here.outgoing == 0) | dead)
            if np.array_equal(found, dead):
                return replace(self, active=able & ~dead, dead=tuple(np.flatnonzero(dead).tolist()))
            # A weight that leads to a dead unit, or comes from one, is none: its cost can fall to nothing.
            dead = found
            sums = tuple(
                pair.read(*(np.where(side.unit < 0, 1.0, ~dead[side.unit]) for _, side in pair.sides()))
                for pair in self.pairs
            )

    @cached_property
    def size(self) -> int:
        """How many weights there are; one read of all reads each once for every power in its cost."""
        return max(1, sum({p.name: p.size for p in self.pairs}.values()))

    @cached_property
    def nonzero(self) -> int:
        """How many of the weights are not 0."""
        zeros = dict(zip((p.name for p in self.pairs), self.zeros, strict=True))
        return self.size - sum(zeros.values())

    @cached_property
    def power(self) -> float:
        """The largest exponent."""
        return max((p.power for p in self.pairs), default=1.0)

    def sums(self, h: Array) -> tuple[tuple[Array, Array], ...]:
        """The sums of every block at h: one read."""
        return tuple(pair.read(*pair.factors(h)) for pair in self.pairs)

    def balanced_by(self, sums: Iterable[Sums], h: Array | None = None) -> Balance:
        """What balances at h (default 0), by the sums of all blocks there."""
        ones = ((1.0, 1.0) for _ in self.pairs)
        return self.balance_of(ones if h is None else (pair.factors(h) for pair in self.pairs), sums)

    def balance_of(self, factors: Iterable[Sequence[Array | float]], sums: Iterable[Sums]) -> Balance:
        """The same by the factors of both sides of every block."""
        into, out = np.zeros(self.manifold.count), np.zeros(self.manifold.count)
        for pair, both, own in zip(self.pairs, factors, sums, strict=True):
            for (_, side), factor, total in zip(pair.sides(), both, own, strict=True):
                assert total is not None
                side.add(pair.power * pair.factor * factor * total, into, out)
        return Balance(into, out)

    def balance(self, h: Array) -> Balance:
        """Marginal costs in and out of every scale at h: one read."""
        return self.balanced_by(self.sums(h), h)

    def cost(self, h: Array) -> float:
        """F(h): one read."""
        return self.cost_by(self.sums(h), h)

    def cost_by(self, sums: Iterable[Sums], h: Array) -> float:
        """F(h), by the sums of either side of every block there."""
        return self.cost_of([pair.factors(h) for pair in self.pairs], sums)

    def cost_of(self, factors: Iterable[Sequence[Array]], sums: Iterable[Sums]) -> float:
        """F by the factors of both sides of every block, and the sums of either."""
        total = self.constant + self.diagonal
        for pair, own, (rows, columns) in zip(self.pairs, factors, sums, strict=True):
            factor, marginal = (own[0], rows) if rows is not None else (own[1], columns)
            total += pair.factor * float(factor @ marginal)
        return total

    @cached_property
    def diagonal(self) -> float:
        """The cost of the weights of units to themselves, which no scale changes and no sum has."""
        return sum(pair.factor * pair.fixed for pair in self.pairs)

    def imbalance(self, h: Array) -> float:
        """The largest |in − c·out|/(in + c·out) of the scales that move: one read."""
        return self.imbalance_of(self.balance(h))

    def imbalance_of(self, balance: Balance) -> float:
        """The largest among the scales that move."""
        return float(np.max(balance.imbalances[self.active], initial=0.0))

    @cached_property
    def layers(self) -> Array:
        """For every scale the number of its layer among those that move; −1 where it does not."""
        group = self.manifold.groups
        number = np.unique(group[self.active], return_inverse=True)[1]
        found = np.full(len(group), -1)
        found[self.active] = number.ravel()
        return found


def measured(manifold: Manifold, costs: Costs) -> tuple[float, Balance] | None:
    """Cost and balance at all scales of the weights as they are, in one read.

    None where `BlockProblem.build` has None.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> cost, balance = measured(infer(load("tests/data/chain.json")), Costs.parse("l2"))
    >>> cost, balance.imbalances.round(2).tolist()
    (18.25, [0.95, 0.0])
    """
    problem = BlockProblem.build(manifold, costs)
    if problem is None:
        return None
    zero = np.zeros(manifold.count)
    return problem.cost_by(problem.start, zero), problem.balanced_by(problem.start)


def require_measurable(manifold: Manifold, costs: Costs) -> None:
    """Raise what `BlockProblem.build` raises, where it applies."""
    BlockProblem.build(manifold, costs)


def pairs_of(manifold: Manifold, costs: Costs) -> list[Pair] | None:
    """The blocks of all weights, one for each power in the cost. None where `BlockProblem.build` has None."""
    network = manifold.network
    biases = frozenset[str]() if costs.bias_cost else network.biases
    found: list[Pair] = []
    for block in manifold.blocks:
        tensor = network.tensors[block.name]
        if tensor.buffer or block.name in biases:
            continue
        terms = powers(costs, block.name)
        if terms is None:
            return None
        if tensor.places is not None:
            own = [sparse_pair(block, tensor, power, factor) for factor, power in terms]
        elif (made := layout(block)) is not None:
            stored = _stored(manifold, block)
            own = [pair_of(block.name, stored, block.shape, made, power, factor) for factor, power in terms]
        else:
            return None
        for pair in own:
            # With several powers a unit in its turn would see what the others were by all of them but one.
            if pair is None or (pair.loop and len(own) > 1):
                return None
            found.append(pair)
    return found


def _stored(manifold: Manifold, block: Block) -> Array:
    """The weights of a block as they are stored, where kernels can read that."""
    value = manifold.network.tensors[block.name].value
    if value is not None and value.dtype in _READ:
        return value
    if value is not None and value.dtype.name == "bfloat16":  # by its bits, which kernels look up
        return value.view(np.uint16)
    return manifold.network.numbers(block.name)


def powers(costs: Costs, name: str) -> list[tuple[float, float]] | None:
    """(a, p) of every term where the cost of a tensor is a sum of a·|w|^p with a, p > 0."""
    terms = costs.regularizer(name).terms
    found = [(float(a), float(p)) for a, p in terms or ()]
    return found if found and all(a > 0 and p > 0 for a, p in found) else None


def _require_usable(network: Network, pairs: Sequence[Pair], extremes: Sequence[Extremes]) -> None:
    sizes = np.array([e.sizes(p) for e, p in zip(extremes, pairs, strict=True)]).reshape(-1, 2)
    power = np.array([[p.power] for p in pairs]).reshape(-1, 1)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        marginal = power * np.array([[p.factor] for p in pairs]).reshape(-1, 1) * sizes**power
    usable = ((marginal > LOWEST) & (marginal < HIGHEST)).all(axis=1) | (sizes[:, 1] == 0)
    for i in np.flatnonzero(~usable).tolist():
        tensor = network.tensors[pairs[i].name]
        if not math.isfinite(sizes[i, 1]):
            values = np.asarray(tensor.value, dtype=np.float64).ravel()
            bad = tensor.element(int(np.flatnonzero(~np.isfinite(values))[0]))
            raise ModelError(f"weight {bad} is not finite", "repair the model")
        require_range(marginal[i], tensor.name)
