"""What comes into every scale and goes out of it, from sums over the slices of blocks that were read already.

The bound on the gap is that of `balproof.balance.certificates.isotone`, over directions d that are alike on
every layer: then the sums at ±s·d are those at 0 but for one factor each, and no weight is read for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from balproof.balance.certificates.gap import UNIT, GapCertificate
from balproof.balance.problem import Costs
from balproof.crosscheck.extremes import Asked
from balproof.crosscheck.reading import Read, slices
from balproof.network.forms import Forms
from balproof.network.graph import Network
from balproof.network.manifold import Axes, Block, Manifold, Support

Array = np.ndarray

_SINGLE = np.array([2.0**-149, 2.0**128])
"""The range of single precision, in which all blocks are that were read."""

LAYERS = 500
"""More layers than this are not moved as wholes: their equations are dense."""

_STEPS = 20

_SMALL = 50_000
"""Blocks up to this size are summed now, in double precision."""


def power_of(costs: Costs, name: str) -> tuple[float, float] | None:
    """(a, p) where the cost of a tensor is a·|w|^p."""
    terms = costs.regularizer(name).terms
    return (float(terms[0][0]), float(terms[0][1])) if terms is not None and len(terms) == 1 else None


def costly(network: Network, costs: Costs) -> list[str]:
    """The parameters that cost something."""
    free = frozenset[str]() if costs.bias_cost else network.biases
    return [t.name for t in network.learned if t.name not in free]


def powers(network: Network, costs: Asked) -> dict[str, float]:
    """p of each parameter whose cost is a·|w|^p."""
    if not isinstance(costs, Costs):
        return {}
    return {n: term[1] for n in costly(network, costs) if (term := power_of(costs, n)) is not None}


def measurable(network: Network, costs: Costs) -> bool:
    """Whether no weight of its type can have a cost that is too small or too large for double precision."""
    for name in costly(network, costs):
        value, term = network.tensors[name].value, power_of(costs, name)
        if value is None or value.dtype != np.float32 or term is None or not _of_single_precision(*term):
            return False
    return True


def _of_single_precision(factor: float, power: float) -> bool:
    """Whether that holds for all weights of single precision."""
    with np.errstate(over="ignore", under="ignore"):
        return _in_range(power * factor * _SINGLE**power)


def _in_range(marginal: Array) -> bool:
    """Whether sums of marginal costs lose nothing, as `balproof.balance.problem.require_range` has it."""
    return marginal.size == 0 or bool(marginal.min() > 1e-290 and marginal.max() < 1e290)


@dataclass(frozen=True, eq=False)
class Part:
    """A block: a|w|^p over the slices of each of its terms, whose forms have one scale or none."""

    block: Block
    power: float
    sums: tuple[Array, ...]
    total: float

    @property
    def forms(self) -> list[Forms]:
        return [Forms.of(t.forms) for t in self.block.terms]


@dataclass(frozen=True, eq=False)
class Sums:
    """A network's costs as they are, block by block."""

    manifold: Manifold
    parts: tuple[Part, ...]

    @staticmethod
    def of(manifold: Manifold, costs: Costs, right: Mapping[str, Read | None]) -> Sums | None:
        """None where a cost is no power, or too small or large for double precision; where a weight has two
        scales of one term, or one in two terms; and where a block is large and was not read.
        """
        parts: list[Part] = []
        blocks = {b.name: b for b in manifold.blocks}
        for name in costly(manifold.network, costs):
            block, term, read = blocks[name], power_of(costs, name), right.get(name)
            if term is None or not _simple(block):
                return None
            factor, power = term
            if read is not None and read.power == power:
                if not _of_single_precision(factor, power):
                    return None
                own = tuple(factor * s for s in read.sums)
                parts.append(Part(block, power, own, factor * read.total))
            elif block.size <= _SMALL:
                weights = np.abs(manifold.network.numbers(name)).reshape(block.shape)
                with np.errstate(over="ignore", under="ignore"):
                    sized = factor * weights**power
                if not _in_range(power * sized[weights > 0]):
                    return None
                own = tuple(slices(t, sized) for t in block.terms)
                parts.append(Part(block, power, own, float(sized.sum())))
            else:
                return None
        return Sums(manifold, tuple(parts))

    @property
    def cost(self) -> float:
        return float(sum(p.total for p in self.parts))

    @property
    def all_alive(self) -> bool:
        """Whether every scale that has a finite optimum has weights in and weights out."""
        known: dict[str, Support] = {p.block.name: tuple(s > 0 for s in p.sums) for p in self.parts}
        for tensor in self.manifold.network.learned:
            if tensor.name not in known and tensor.value is not None:
                known[tensor.name] = np.asarray(tensor.value != 0, dtype=bool)
        alive = self.manifold.alive(known)
        alive[list(self.manifold.endless)] = True
        return bool(alive.all())

    def marginal(self) -> tuple[Array, Array]:
        """p·Σ|c|·a|w|^p of what comes into every scale, and of what goes out."""
        total = np.zeros((2, self.manifold.count))
        for part in self.parts:
            for forms, sums in zip(part.forms, part.sums, strict=True):
                _add(total, forms, part.power * sums)
        return total[0], total[1]


def _add(total: Array, forms: Forms, sums: Array) -> None:
    weighted, place = forms.floats * sums, np.where(forms.scale >= 0, forms.scale, total.shape[1])
    for sign, into in ((1, total[0]), (-1, total[1])):
        part = np.where(sign * weighted > 0, sign * weighted, 0.0)
        into += np.bincount(place, part, total.shape[1] + 1)[:-1]


def _simple(block: Block) -> bool:
    """Whether every weight has at most one scale of each term, and none twice."""
    forms = [Forms.of(t.forms) for t in block.terms]
    if any(f.others for f in forms):
        return False
    held = [f.scales for f in forms]
    return len(held) < 2 or bool(np.bincount(np.concatenate(held)).max(initial=0) <= 1)


# --- the bound on the gap -----------------------------------------------------------------------------------


def certify_by_layers(sums: Sums, active: Array) -> GapCertificate | None:
    """Bound gap and distance in log-scale of the weights as they are, by directions that are alike on layers.

    None where that is no proof: units far from balance, or one layer's units too unlike each other.
    """
    if not active.any():
        return GapCertificate("isotone", 0.0, 0.0, 53, 0.0)
    incoming, outgoing = (m[active] for m in sums.marginal())
    gamma, total = _rounding(sums), incoming + outgoing
    if not np.all(total > 0) or not _opposed(sums, active):
        return None
    d = _direction(sums, active)
    if d is None:
        return None
    slopes, powers = np.abs(incoming - outgoing) + gamma * total, max(p.power for p in sums.parts)
    s = 2 * float(np.max(slopes / total))
    for _ in range(12):
        if powers * s * float(np.max(d)) > 0.25:
            return None
        if _rises(sums, s * d, active, gamma):
            radius = s * float(np.max(d)) * (1 + 4 * UNIT)
            absolute = s * float(slopes @ d[active]) * (1 + gamma)
            weights = 64 + sum(p.block.size for p in sums.parts)
            floor = sums.cost * (1 - 2 * weights * UNIT) - absolute
            gap = absolute / floor * (1 + 4 * UNIT) if floor > 0 else np.inf
            return GapCertificate("isotone", gap, absolute, 53, radius) if floor > 0 else None
        s *= 2
    return None


def _rises(sums: Sums, h: Array, active: Array, gamma: float) -> bool:
    """Whether ∇F(h) > 0 > ∇F(−h) in every component that is active, for certain."""
    for sign in (1.0, -1.0):
        least, most = (np.zeros((2, len(h))) for _ in range(2))
        for part in sums.parts:
            logs = [sign * f.floats * f.look_up(h) for f in part.forms]
            for i, (forms, own) in enumerate(zip(part.forms, part.sums, strict=True)):
                others = [x for j, x in enumerate(logs) if j != i]
                for total, end in ((least, np.min), (most, np.max)):
                    other = float(sum(end(x) for x in others))
                    _add(total, forms, part.power * own * np.exp(part.power * (logs[i] + other)))
        low, high = (least[0], most[1]) if sign > 0 else (least[1], most[0])
        if not np.all((low - high > 2 * gamma * (low + high))[active]):
            return False
    return True


def _opposed(sums: Sums, active: Array) -> bool:
    """Whether no weight can have two scales of one sign that move."""
    for part in sums.parts:
        signs = [np.sign(f.floats) * f.look_up(active) for f in part.forms]
        for sign in (1.0, -1.0):
            if sum(bool(np.any(s == sign)) for s in signs) > 1:
                return False
    return True


def _rounding(sums: Sums) -> float:
    """γ for what comes into one scale: squares, factors, and a sum over slices and blocks."""
    count = 64 + len(sums.parts)
    for part in sums.parts:
        count += max((_most(part.block, t) for t in part.block.terms), default=0)
    return count * UNIT / (1 - count * UNIT)


def _most(block: Block, term: Axes) -> int:
    """How many weights of a block one scale has in this term, at most."""
    scale = Forms.of(term.forms).scale[term.index.ravel()]
    return int(np.bincount(scale[scale >= 0]).max(initial=0)) * (block.size // max(1, term.index.size))


def _direction(sums: Sums, active: Array) -> Array | None:
    """d > 0, alike on layers, with H(0)·d at least half the diagonal of H(0), as far as it is found.

    First on the average of each layer, then at its worst unit, and anew while another one is worse.
    """
    layer = np.full(len(active), -1)
    layer[active] = np.unique(sums.manifold.groups[active], return_inverse=True)[1].ravel()
    count = int(layer.max()) + 1
    if count > LAYERS:
        return None
    moving = np.flatnonzero(active)
    curvature, diagonal = _curvature(sums, layer, count)
    curvature, diagonal, own = curvature[moving], diagonal[moving], layer[moving]
    average = sparse.csr_array((np.ones(len(own)), (own, np.arange(len(own)))), (count, len(own)))
    matrix, right = (average @ curvature).toarray(), average @ diagonal
    found = np.zeros(count)
    for _ in range(_STEPS):
        try:
            found = np.linalg.solve(matrix / right[:, None], np.ones(count))
        except np.linalg.LinAlgError:  # layers that can all move together
            return None
        if not np.all(found > 0):
            return None
        ratio = (curvature @ found) / diagonal
        if ratio.min() >= 0.5:
            break
        order = np.lexsort((ratio, own))
        worst = order[np.searchsorted(own[order], np.arange(count))]
        matrix, right = curvature[worst].toarray(), diagonal[worst]
    return np.where(active, np.append(found, 0.0)[layer], 0.0)


def _curvature(sums: Sums, layer: Array, count: int) -> tuple[sparse.csr_array, Array]:
    """H(0) with its columns added up over layers, and its diagonal.

    Of a slice whose weights are in several layers of another term it is not known which have how much: each
    is given what it has of all.
    """
    rows, columns, values = list[Array](), list[Array](), list[Array]()
    diagonal = np.zeros(len(layer))
    for part in sums.parts:
        kinds = [_kinds(f, s, layer) for f, s in zip(part.forms, part.sums, strict=True)]
        for i, (forms, own) in enumerate(zip(part.forms, part.sums, strict=True)):
            there = np.flatnonzero((forms.scale >= 0) & (forms.look_up(layer) >= 0))
            k, c = forms.scale[there], forms.floats[there]
            slopes = part.power**2 * c * own[there]
            np.add.at(diagonal, k, slopes * c)
            ends = [(layer[k], c)]
            for share, (at, other) in (
                (cost / part.total, kind)
                for j, found in enumerate(kinds)
                for kind, cost in found.items()
                if j != i and kind[0] >= 0 and part.total > 0
            ):
                ends.append((np.full(len(k), at), np.full(len(k), share * other)))
            for at, coefficient in ends:
                rows.append(k)
                columns.append(at)
                values.append(slopes * coefficient)
    place = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_array((np.concatenate(values), place), (len(layer), count)), diagonal


def _kinds(forms: Forms, sums: Array, layer: Array) -> dict[tuple[int, float], float]:
    """The costs of each (layer, coefficient) among the slices; layer −1 does not move."""
    at = np.where(forms.scale >= 0, forms.look_up(layer), -1)
    c = np.where(at >= 0, forms.floats, 0.0)
    keys, index = np.unique(at + 1j * c, return_inverse=True)
    costs = np.bincount(index.ravel(), sums, len(keys)).tolist()
    return {(int(k.real), float(k.imag)): cost for k, cost in zip(keys.tolist(), costs, strict=True)}
