"""The problem over whole blocks of weights: row and column sums, never a matrix of weights and scales.

For costs that are all multiples of one |w|^p a block whose log-scales are R + S, one vector along its rows
and one along its columns, costs Σ K_rs·exp(p(R_r + S_s)) with K = a|w|^p summed over the axes that do not
matter (the kernel of a convolution). A sweep needs exp(pR)∘(K exp(pS)) and exp(pS)∘(Kᵀ exp(pR)) of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import networkx as nx
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from balproof.balance.coarse import groups_of, shift_of_groups
from balproof.balance.multilevel import stagnant
from balproof.balance.problem import Costs, require_range
from balproof.balance.state import Iterate
from balproof.network.manifold import Axes, Block, Manifold

Array = np.ndarray

LAYERS = 500
"""More layers than this are not moved as wholes: their equations are dense."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two vectors of a block: ``forms`` takes h to it, with at most one entry in a row."""

    forms: sparse.csr_array

    @cached_property
    def scales(self) -> Array:
        """The scales of this side, in ascending order."""
        return np.unique(self.forms.indices)

    @cached_property
    def parts(self) -> tuple[tuple[sparse.csr_array, sparse.csr_array], ...]:
        """(|coefficients|ᵀ, squaresᵀ) of the positive and of the negative entries; `scales` are the rows.

        A row for every scale of a large network would take more memory than its weights.
        """
        own = sparse.csr_array(self.forms[:, self.scales])
        found: list[tuple[sparse.csr_array, sparse.csr_array]] = []
        for sign in (1.0, -1.0):
            part = sparse.csr_array((own * sign).maximum(0))
            found.append((sparse.csr_array(part.T), sparse.csr_array(part.multiply(part).T)))
        return tuple(found)

    @cached_property
    def columns(self) -> frozenset[int]:
        return frozenset(self.scales.tolist())

    def touches(self, units: Array) -> bool:
        """Whether a scale of this side is among the ``units``."""
        return bool(units[self.scales].any())

    def factor(self, h: Array, power: float, shape: tuple[int, int]) -> Array:
        return np.exp(power * (self.forms @ h)).reshape(shape)


@dataclass(frozen=True, eq=False)
class Pair:
    """A block as ``costs`` (groups, rows, columns) with its two sides, rows first."""

    name: str
    costs: Array
    rows: Side
    columns: Side

    def sums(self, h: Array, power: float, side: int) -> Array:
        """The costs at h summed along the other side: one entry for each row (0) or column (1)."""
        g, r, c = self.costs.shape
        left, right = self.rows.factor(h, power, (g, r)), self.columns.factor(h, power, (g, c))
        if side == 0:
            return (left * self.times(right)).ravel()
        return (right * self.times(left, transposed=True)).ravel()

    @property
    def size(self) -> int:
        """How many costs a read of the block reads."""
        return prod(self.costs.shape)

    def times(self, factors: Array, *, transposed: bool = False) -> Array:
        """costs @ factors in every group, over the columns; over the rows where ``transposed``."""
        if transposed:
            return (factors[:, None, :] @ self.costs)[:, 0]
        return (self.costs @ factors[..., None])[..., 0]

    def sides(self) -> Iterator[tuple[int, Side]]:
        yield 0, self.rows
        yield 1, self.columns


@dataclass(frozen=True, eq=False)
class Balance:
    """What balances at every scale: the costs in and out, and the slope of log(in/out)."""

    incoming: Array
    outgoing: Array
    slope: Array

    @property
    def imbalances(self) -> Array:
        total = self.incoming + self.outgoing
        return np.abs(self.incoming - self.outgoing) / np.where(total > 0, total, 1.0)


@dataclass(frozen=True, eq=False)
class BlockProblem:
    """F over blocks. ``active`` marks the scales that move; dead ones and those of degree ≤ 0 keep h = 0.

    ``constant`` is the cost of the weights that no moving scale touches.
    """

    manifold: Manifold
    power: float
    pairs: tuple[Pair, ...]
    constant: float
    active: Array
    dead: tuple[int, ...]
    left_out: tuple[int, ...]

    @staticmethod
    def build(manifold: Manifold, costs: Costs) -> BlockProblem | None:
        """None where the costs have several powers, or a weight has two scales on one side or on its own.

        Raises RequestError for weights too far apart for double precision.

        >>> from balproof.importers import load
        >>> from balproof.network.manifold import infer
        >>> problem = BlockProblem.build(infer(load("tests/data/chain.json")), Costs.parse("l2"))
        >>> problem.cost(np.zeros(2))
        18.25
        """
        power = _single_power(manifold, costs)
        if power is None:
            return None
        pairs: list[Pair] = []
        constant = 0.0
        support: dict[str, Array] = {}
        for block, sized in _costs(manifold, costs, power):
            support[block.name] = (sized > 0).reshape(manifold.network.tensors[block.name].shape)
            if not block.terms:
                constant += float(sized.sum())
                continue
            pair = _pair(block, sized, manifold.count)
            if pair is None:
                return None
            pairs.append(pair)
        active = np.ones(manifold.count, bool)
        dead, left_out = manifold.dead(support), tuple(sorted(manifold.endless))
        active[[*dead, *left_out]] = False
        return BlockProblem(manifold, power, tuple(pairs), constant, active, dead, left_out)

    def reads(self, units: Array) -> float:
        """How many passes over the weights `balance` takes for these scales."""
        size = max(sum(p.size for p in self.pairs), 1)
        return sum(p.size for p in self.pairs for _, side in p.sides() if side.touches(units)) / size

    def cost(self, h: Array) -> float:
        """F(h)."""
        return self.constant + float(sum(p.sums(h, self.power, 0).sum() for p in self.pairs))

    def balance(self, h: Array, units: Array | None = None) -> Balance:
        """In, out and slope at the scales ``units`` (a mask; default: those that move)."""
        return _balance(self.pairs, h, self.power, self.active if units is None else units)

    def imbalance(self, h: Array) -> float:
        """The largest |in − c·out|/(in + c·out)."""
        return float(np.max(self.balance(h).imbalances, initial=0.0))

    def colours(self) -> list[Array] | None:
        """Masks of scales without a common weight, layer by layer; None where a layer feeds itself."""
        group = groups_of(self.manifold.names)
        graph: nx.Graph[int] = nx.Graph()
        graph.add_nodes_from(np.unique(group[self.active]).tolist())
        for pair in self.pairs:
            left, right = ({int(group[k]) for k in s.columns if self.active[k]} for _, s in pair.sides())
            if left & right:
                return None
            graph.add_edges_from((i, j) for i in left for j in right)
        colour = nx.greedy_color(graph, strategy="connected_sequential_bfs") if len(graph) else {}
        count = max(colour.values(), default=-1) + 1
        of_unit = np.array([colour.get(int(g), -1) for g in group], dtype=int)
        return [self.active & (of_unit == c) for c in range(count)]

    @cached_property
    def layers(self) -> Array:
        """For every scale the number of its layer among those that move; −1 where it does not."""
        group = groups_of(self.manifold.names)
        number = np.unique(group[self.active], return_inverse=True)[1]
        found = np.full(len(group), -1)
        found[self.active] = number.ravel()
        return found

    @cached_property
    def _labels(self) -> list[tuple[_Labels, _Labels]]:
        count = int(self.layers.max(initial=-1)) + 1
        return [(_Labels.of(p.rows, self.layers, count), _Labels.of(p.columns, self.layers, count))
                for p in self.pairs]  # fmt: skip

    def layer_shift(self, h: Array) -> Array:
        """The change of h, constant on every layer, that minimises F."""
        count = int(self.layers.max(initial=-1)) + 1
        if not 0 < count <= LAYERS:
            return np.zeros(len(h))
        shift = shift_of_groups(*self.layer_costs(h), self.power)
        return np.where(self.active, shift[self.layers], 0.0)

    def layer_costs(self, h: Array) -> tuple[Array, Array]:
        """F with t on the layers added to h is Σ_b costs_b·exp(p·⟨rows_b, t⟩): the costs, and the rows."""
        costs: list[float] = []
        rows: list[Array] = []
        for pair, (first, second) in zip(self.pairs, self._labels, strict=True):
            g, r, c = pair.costs.shape
            left, right = pair.rows.factor(h, self.power, (g, r)), pair.columns.factor(h, self.power, (g, c))
            for j, row_j in enumerate(second.rows):
                seen = (second.index == j).reshape(g, c)
                sums = (left * pair.times(right * seen)).ravel()
                for i, row_i in enumerate(first.rows):
                    costs.append(float(sums[first.index == i].sum()))
                    rows.append(row_i + row_j)
        return np.array(costs), np.array(rows)


@dataclass(frozen=True, eq=False)
class _Labels:
    """The different coefficients on the layers that entries of a side have, and which entry has which."""

    rows: Array
    index: Array

    @staticmethod
    def of(side: Side, layers: Array, count: int) -> _Labels:
        # At most one entry in a row of the forms: (layer, coefficient), or nothing.
        pairs = np.zeros((side.forms.shape[0], 2))
        i, k = side.forms.tocoo().coords
        moving = layers[k] >= 0
        pairs[i[moving], 0] = layers[k[moving]] + 1
        pairs[i[moving], 1] = side.forms.tocoo().data[moving]
        keys, index = np.unique(pairs[:, 0] + 1j * pairs[:, 1], return_inverse=True)
        rows = np.zeros((len(keys), count + 1))
        rows[np.arange(len(keys)), keys.real.astype(int)] = keys.imag
        return _Labels(rows[:, 1:], index.ravel())


def strongly_connected(problem: BlockProblem) -> bool | None:
    """Whether every weight of a moving scale lies on a closed walk, so that the minimum of F is attained.

    Everything that does not move is one node. None where a weight has two scales of one sign, or where
    degrees other than 1 go around without anything that stays.
    """
    ground = problem.manifold.count
    tails: list[Array] = []
    heads: list[Array] = []
    spare = ground + 1  # a block without zeros: all its tails lead through one spare node to all its heads
    unit = True
    for pair in problem.pairs:
        node, sign = zip(*(_nodes(side, problem.active) for _, side in pair.sides()), strict=True)
        unit &= all(bool(np.all(np.abs(s[s != 0]) == 1)) for s in sign)
        g, r, c = pair.costs.shape
        shapes = (g, r, 1), (g, 1, c)
        first, second = (
            np.broadcast_to(n.reshape(s), pair.costs.shape) for n, s in zip(node, shapes, strict=True)
        )
        plus, minus = (
            np.broadcast_to(x.reshape(s), pair.costs.shape) for x, s in zip(sign, shapes, strict=True)
        )
        if np.any((plus * minus > 0) & (pair.costs > 0)):
            return None
        forward = bool(np.all(plus >= 0) and np.all(minus <= 0))
        backward = bool(np.all(plus <= 0) and np.all(minus >= 0))
        if (forward or backward) and bool(np.all(pair.costs > 0)):
            through = spare + np.arange(g)
            spare += g
            into, out = (node[1], node[0]) if forward else (node[0], node[1])
            tails += [into, np.repeat(through, len(out) // g)]
            heads += [np.repeat(through, len(into) // g), out]
            continue
        there = pair.costs > 0
        up = there & ((plus > 0) | (minus < 0))
        down = there & ((plus < 0) | (minus > 0))
        tails += [second[up], first[down]]
        heads += [first[up], second[down]]
    if not tails:
        return True
    i, j = np.concatenate(tails), np.concatenate(heads)
    graph = sparse.coo_array((np.ones(len(i), dtype=np.int8), (i, j)), (spare, spare)).tocsr()
    strong = connected_components(graph, connection="strong")
    weak = connected_components(graph, connection="weak")
    alone = unit or bool(np.all(weak[1][np.unique(i)] == weak[1][ground]))
    return strong[0] == weak[0] if alone else None


def _nodes(side: Side, active: Array) -> tuple[Array, Array]:
    """Per entry of a side: its scale (or the ground, one past all scales), and its coefficient there."""
    coo = side.forms.tocoo()
    i, k = coo.coords
    moving = active[k]
    node, sign = np.full(side.forms.shape[0], len(active)), np.zeros(side.forms.shape[0])
    node[i[moving]], sign[i[moving]] = k[moving], coo.data[moving]
    return node, sign


def _balance(pairs: Iterable[Pair], h: Array, power: float, wanted: Array) -> Balance:
    found = np.zeros((4, len(h)))
    for pair in pairs:
        for number, side in pair.sides():
            if side.touches(wanted):
                sums = pair.sums(h, power, number)
                for k, (plain, squared) in enumerate(side.parts):
                    found[k, side.scales] += plain @ sums
                    found[2 + k, side.scales] += squared @ sums
    incoming, outgoing, rise, fall = np.where(wanted, found, 0.0)
    into, out = (np.where(total > 0, total, 1.0) for total in (incoming, outgoing))
    slope = power * (rise / into + fall / out)
    return Balance(incoming, outgoing, np.where(slope > 0, slope, 1.0))


def measured(manifold: Manifold, costs: Costs) -> tuple[float, Balance] | None:
    """Cost and balance at all scales of the weights as they are: one block after another, none of them kept.

    None where `BlockProblem.build` has None.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> cost, balance = measured(infer(load("tests/data/chain.json")), Costs.parse("l2"))
    >>> cost, balance.imbalances.round(2).tolist()
    (18.25, [0.95, 0.0])
    """
    power = _single_power(manifold, costs)
    if power is None:
        return None
    cost, h, everything = 0.0, np.zeros(manifold.count), np.ones(manifold.count, bool)
    total = np.zeros((2, manifold.count))
    for block, sized in _costs(manifold, costs, power):
        cost += float(sized.sum())
        if block.terms:
            pair = _pair(block, sized, manifold.count)
            if pair is None:
                return None
            own = _balance([pair], h, power, everything)
            total += own.incoming, own.outgoing
    return cost, Balance(total[0], total[1], np.ones(manifold.count))


def _single_power(manifold: Manifold, costs: Costs) -> float | None:
    """p where every cost is a multiple of the same |w|^p."""
    terms = [_one_power(costs, block.name) for block in _costly(manifold, costs)]
    powers = {t[1] for t in terms if t}
    return powers.pop() if len(powers) == 1 and None not in terms else None


def _costly(manifold: Manifold, costs: Costs) -> list[Block]:
    network = manifold.network
    biases = frozenset[str]() if costs.bias_cost else network.biases
    return [b for b in manifold.blocks if not network.tensors[b.name].buffer and b.name not in biases]


def _costs(manifold: Manifold, costs: Costs, power: float) -> Iterator[tuple[Block, Array]]:
    """Each block that costs something, and a|w|^p of its weights.

    Raises RequestError for weights too far apart for double precision.
    """
    for block in _costly(manifold, costs):
        sized = np.abs(manifold.network.numbers(block.name)).reshape(block.shape)
        if power == 2:
            np.multiply(sized, sized, out=sized)
        elif power != 1:
            np.power(sized, power, out=sized)
        factor, _ = _one_power(costs, block.name) or (1.0, power)
        if factor != 1.0:
            sized *= factor
        extremes = np.array([np.min(sized, where=sized > 0, initial=np.inf), np.max(sized, initial=0.0)])
        if extremes[1] > 0:
            require_range(power * extremes)
        yield block, sized


def _one_power(costs: Costs, name: str) -> tuple[float, float] | None:
    """(a, p) where the cost of a tensor is a·|w|^p."""
    terms = costs.regularizer(name).terms
    return (float(terms[0][0]), float(terms[0][1])) if terms is not None and len(terms) == 1 else None


@dataclass(frozen=True)
class Layout:
    """How a block becomes (groups, rows, columns): sum over ``summed``, then ``order`` the axes."""

    summed: tuple[int, ...]
    order: tuple[int, ...]
    sizes: tuple[int, int, int]
    rows: Side
    columns: Side


def layout(block: Block, count: int) -> Layout | None:
    """Axes along which both sides change first, then those of the first, then those of the second.

    None where a weight has two scales on one side, or one of them twice.
    """
    if len(block.terms) > 2 or any(len(form) > 1 for t in block.terms for form in t.forms):
        return None
    first, *rest = list(block.terms)
    axes = range(len(block.shape))
    own = [{a for a in axes if n.shape[a] > 1} for n in (t.index for t in block.terms)]
    second = own[1] if rest else set[int]()
    both, left, right = sorted(own[0] & second), sorted(own[0] - second), sorted(second - own[0])
    alike = tuple(a for a in axes if a not in own[0] | second)
    summed = tuple(a for a in alike if block.shape[a] > 1)  # often none: then no copy either
    g, r, c = (prod(block.shape[a] for a in part) for part in (both, left, right))
    order = (*both, *left, *right, *alike)
    rows = _side(first, order, g * r, count)
    columns = _side(rest[0], order, g * c, count) if rest else None
    if columns is not None and rows.columns & columns.columns:
        return None
    return Layout(summed, order, (g, r, c), rows, columns or Side(sparse.csr_array((g * c, count))))


def _pair(block: Block, sized: Array, count: int) -> Pair | None:
    found = layout(block, count)
    if found is None:
        return None
    costs = sized.sum(axis=found.summed, keepdims=True) if found.summed else sized
    costs = np.ascontiguousarray(costs.transpose(found.order).reshape(found.sizes))
    return Pair(block.name, costs, found.rows, found.columns)


def _side(term: Axes, order: Sequence[int], size: int, count: int) -> Side:
    index = term.index.transpose(order).ravel()
    assert index.size == size
    return Side(sparse.csr_array(term.matrix(count)[index]))


def sweeps(
    problem: BlockProblem,
    *,
    tolerance: float = 1e-13,
    limit: int = 500,
    progress: Callable[[str], None] | None = None,
) -> Iterate | None:
    """Sweeps over layers with a coarse correction, until the imbalance is at most ``tolerance``.

    None where a layer feeds itself, so that its units cannot be balanced at once.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> problem = BlockProblem.build(infer(load("tests/data/chain.json")), Costs.parse("l2"))
    >>> sweeps(problem).imbalance <= 1e-13
    True
    """
    colours = problem.colours()
    if colours is None:
        return None
    h = np.zeros(problem.manifold.count)
    imbalance, history = problem.imbalance(h), [problem.cost(h)]
    recent = [imbalance]
    watch = problem.reads(problem.active) + 1  # the imbalance and the cost
    sweep_reads = watch + 1 + sum(problem.reads(units) for units in colours)
    passes = watch
    for sweep in range(limit):
        if imbalance <= tolerance or not colours:
            break
        h = h + problem.layer_shift(h)
        for units in colours:
            found = problem.balance(h, units)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.log(found.incoming) - np.log(found.outgoing)
            h = np.where(units, h - np.where(units, ratio, 0.0) / found.slope, h)
        imbalance = problem.imbalance(h)
        history.append(problem.cost(h))
        recent.append(imbalance)
        passes += sweep_reads
        if progress:
            progress(f"sweep {sweep + 1}: imbalance {imbalance:.1e}")
        if imbalance < 1e-11 and stagnant(recent):
            break
    return Iterate(h, "block sweeps", imbalance, passes, tuple(history))
