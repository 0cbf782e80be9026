"""The scaling manifold of a network: log-scales of the weights L = A h, exact and as row and column sums.

A is never formed for solving: the log-scale of a weight tensor is a sum of one vector per axis, so
``apply`` broadcasts and ``adjoint`` sums. Both, the exact rows and the sparse matrix say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy import sparse

from balproof.network.equations import Equation, ExactSolution, Form, combine, solve_equations
from balproof.network.graph import Network
from balproof.network.rules import (
    ONE,
    Implication,
    Scales,
    exact_degree,
    implication,
    number_scales,
    parameter_uses,
    pin_visible,
)

Array = np.ndarray


@dataclass(frozen=True)
class Unit:
    """A scale of the network, free or blocked.

    ``size`` counts the neurons (or channels) that share it, ``degree`` is that of the activation behind
    it, ``column`` its position in h if it is free, and ``why`` says what blocks it, or what frees it.
    """

    name: str
    size: int
    degree: Fraction | None
    free: bool
    why: str
    column: int | None

    def as_json(self) -> dict[str, object]:
        degree = None if self.degree is None else str(self.degree)
        return {"name": self.name, "size": self.size, "degree": degree, "free": self.free, "why": self.why}


@dataclass(frozen=True, eq=False)
class Block:
    """The log-scales of one parameter, in the view ``shape``: Σ_axes vector[index on the axis].

    ``axes`` holds (axis, one exact form per index). Axes that add nothing are left out.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[tuple[int, tuple[Form, ...]], ...]

    def row(self, flat: int) -> Form:
        """The exact row of A of one entry (row-major position)."""
        index = np.unravel_index(flat, self.shape)
        parts = [form for axis, forms in self.axes if (form := forms[int(index[axis])])]
        terms = dict(term for form in parts for term in form)
        if len(terms) == sum(map(len, parts)):  # most rows: no sum to be made
            return tuple(sorted(terms.items()))
        return combine((form, ONE) for form in parts)


@dataclass(frozen=True, eq=False)
class Manifold:
    """All rescalings of a network that its scaling rules allow.

    ``count`` is the length of h. Where h ↦ A h is not injective (a network without visible units, say)
    ``free_scales``, the rank of A, is smaller.
    """

    network: Network
    blocks: tuple[Block, ...]
    units: tuple[Unit, ...]
    names: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.names)

    @cached_property
    def free_scales(self) -> int:
        """The dimension of the manifold, restricted to the parameters: the rank of A."""
        return self.rank()

    @cached_property
    def _axis_maps(self) -> dict[str, list[tuple[int, sparse.csr_array]]]:
        return {b.name: [(axis, _sparse(forms, self.count)) for axis, forms in b.axes] for b in self.blocks}

    def apply(self, h: Array) -> dict[str, Array]:
        """L = A h: the log-scales of every parameter, each in the shape of the parameter.

        ``h`` has length ``count``.
        """
        logs: dict[str, Array] = {}
        for block in self.blocks:
            total = np.zeros(block.shape)
            for axis, matrix in self._axis_maps[block.name]:
                others = tuple(a for a in range(len(block.shape)) if a != axis)
                total += np.expand_dims(matrix @ h, others)
            logs[block.name] = total.reshape(self.network.tensors[block.name].shape)
        return logs

    def adjoint(self, m: Mapping[str, Array]) -> Array:
        """Aᵀ m for one array per parameter (missing ones count as 0): row and column sums."""
        total = np.zeros(self.count)
        for block in self.blocks:
            if block.name not in m:
                continue
            values = np.asarray(m[block.name], dtype=np.float64).reshape(block.shape)
            for axis, matrix in self._axis_maps[block.name]:
                others = tuple(a for a in range(len(block.shape)) if a != axis)
                total += matrix.T @ values.sum(axis=others)
        return total

    def rows(self, support: Mapping[str, Array] | None = None) -> Iterator[tuple[str, int, Form]]:
        """The exact rows of A: (parameter, row-major position, form), all or those where support is true."""
        for block in self.blocks:
            keep = None if support is None else np.asarray(support[block.name]).ravel()
            for flat in range(int(np.prod(block.shape))):
                if keep is None or keep[flat]:
                    yield block.name, flat, block.row(flat)

    def matrix(self, names: Iterable[str] | None = None) -> sparse.csr_array:
        """A in floating point: one row per entry of the named parameters (default all), row-major."""
        chosen = [b for b in self.blocks if names is None or b.name in set(names)]
        parts = [self._block_matrix(b) for b in chosen]
        if not parts:
            return sparse.csr_array((0, self.count))
        return sparse.csr_array(sparse.vstack(parts, format="csr"))

    def _block_matrix(self, block: Block) -> sparse.csr_array:
        size = int(np.prod(block.shape))
        index = np.unravel_index(np.arange(size), block.shape)
        total = sparse.csr_array((size, self.count))
        for axis, matrix in self._axis_maps[block.name]:
            total = total + matrix[index[axis]]
        total = sparse.csr_array(total)
        total.sum_duplicates()
        total.eliminate_zeros()
        return total

    @cached_property
    def endless(self) -> frozenset[int]:
        """The scales of degree ≤ 0, which have no finite optimum whatever the weights are.

        It shows in the architecture: no weight, zero or not, is on the other side of the scale. The same
        holds for a unit that nothing reads or nothing feeds, but that one is dead.
        """
        one_sided = np.flatnonzero(~np.logical_and(*column_signs(self.matrix())))
        degree = {u.column: u.degree for u in self.units if u.free}
        return frozenset(int(k) for k in one_sided if (degree.get(int(k)) or 0) <= 0)

    def dead(self, rows: sparse.csr_array) -> tuple[int, ...]:
        """The scales without weights in, or without weights out, among these ``rows`` of A."""
        alive = np.logical_and(*column_signs(rows))
        return tuple(int(k) for k in np.flatnonzero(~alive) if int(k) not in self.endless)

    @cached_property
    def dead_units(self) -> tuple[str, ...]:
        """The names of the units whose weights in, or whose weights out, are all 0."""
        values = [np.asarray(self.network.tensors[b.name].value) for b in self.blocks]
        nonzero = [np.asarray(v != 0, dtype=bool).ravel() for v in values]
        kept = np.flatnonzero(np.concatenate(nonzero)) if nonzero else []
        return tuple(self.names[k] for k in self.dead(sparse.csr_array(self.matrix()[kept])))

    def rank(self, support: Mapping[str, Array] | None = None) -> int:
        """The exact rank of A, on all entries or on those where ``support`` is true."""
        seen: set[Form] = set()
        for block in self.blocks:
            keep = np.ones(block.shape, bool) if support is None else np.asarray(support[block.name])
            seen.update(block.row(flat) for flat in _spanning_entries(keep.reshape(block.shape)))
        equations = [Equation(form, "") for form in seen if form]
        return self.count - len(solve_equations(self.count, equations).free)

    def invariants(self) -> int:
        """Independent quantities that every rescaling keeps: the nonzero weights minus the rank of A there.

        Symbols count as nonzero.
        """
        support = {t.name: np.asarray(t.value != 0, dtype=bool) for t in self.network.parameters}
        return int(sum(s.sum() for s in support.values())) - self.rank(support)

    def rescale(self, h: Array) -> Network:
        """The network with every parameter w replaced by w·exp(A h), in float64."""
        return self.network.with_parameters(
            {name: self.network.numbers(name) * np.exp(log) for name, log in self.apply(h).items()}
        )


def column_signs(a: sparse.csr_array) -> tuple[Array, Array]:
    """Per column of A: has it a positive entry (weights in), has it a negative one (weights out)."""
    coo = a.tocoo()
    up, down = np.zeros(a.shape[1], bool), np.zeros(a.shape[1], bool)
    up[coo.coords[1][coo.data > 0]] = True
    down[coo.coords[1][coo.data < 0]] = True
    return up, down


def _spanning_entries(keep: Array) -> Iterable[int]:
    """Entries whose rows span those of all kept entries.

    If all are kept, a sum of axis vectors is determined by the entries with at most one nonzero index.
    """
    if keep.all():
        strides = np.array(keep.strides) // keep.itemsize
        return (
            {0} | {int(i * st) for n, st in zip(keep.shape, strides, strict=True) for i in range(n)}
            if keep.size
            else ()
        )
    return (int(i) for i in np.flatnonzero(keep))


def _sparse(forms: tuple[Form, ...], count: int) -> sparse.csr_array:
    entries = [(i, k, float(c)) for i, form in enumerate(forms) for k, c in form]
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_array(
        (np.array(values, float), (np.array(rows, int), np.array(columns, int))), shape=(len(forms), count)
    )


def infer(network: Network) -> Manifold:
    """Infer the scaling manifold by local rules, exactly. Sound and incomplete: whatever is not known pins.

    Source: [B] Sections 2 and 6 (scaling of BiLU and BiPU units in any architecture).

    >>> from balproof.importers import load
    >>> from balproof.symbolic.activation import Activation
    >>> infer(load("tests/data/chain.json")).free_scales
    2
    """
    tensors = network.tensors
    scales, count = number_scales(tensors)
    equations: list[Equation] = []
    for name in network.inputs:
        equations += pin_visible(scales[name], f"{name} is an input")
    demands: list[Implication] = [implication(op, tensors, scales) for op in network.operations]
    for demand in demands:
        equations += demand.equations
    for name in network.outputs:
        if name in scales:
            equations += pin_visible(scales[name], f"{name} is an output")
    for before, after in network.states:
        ids = zip(scales[before].flat, scales[after].flat, strict=True)
        equations += [Equation(((int(b), ONE), (int(a), -ONE)), f"state {before}") for b, a in ids if a != b]
    first, further = parameter_uses(use for demand in demands for use in demand.parameters)
    solution = solve_equations(count, (*equations, *further))

    drafts: list[Block] = []
    for tensor in network.parameters:
        use = first.get(tensor.name)
        if use is None:  # nothing reads it
            drafts.append(Block(tensor.name, tensor.shape or (1,), ()))
            continue
        axes: dict[int, list[Form]] = {}
        for t in use.terms:
            forms = [solution.forms[int(v)] for v in t.variables]
            old = axes.get(t.axis, [()] * len(forms))
            axes[t.axis] = [combine(((o, ONE), (f, t.coefficient))) for o, f in zip(old, forms, strict=True)]
        kept = tuple((axis, tuple(forms)) for axis, forms in sorted(axes.items()) if any(forms))
        drafts.append(Block(tensor.name, use.shape or (1,), kept))

    # Scales that no parameter feels (between two constant maps, say) are not part of the manifold.
    felt = sorted({k for b in drafts for _, forms in b.axes for form in forms for k, _ in form})
    column = {k: new for new, k in enumerate(felt)}
    blocks = tuple(
        Block(
            b.name,
            b.shape,
            tuple((axis, tuple(_renumber(f, column) for f in forms)) for axis, forms in b.axes),
        )
        for b in drafts
    )
    units, names = _units(network, scales, solution, column)
    return Manifold(network, blocks, units, names)


def _renumber(form: Form, column: Mapping[int, int]) -> Form:
    return tuple((column[k], c) for k, c in form)


def _units(
    network: Network, scales: Scales, solution: ExactSolution, column: Mapping[int, int]
) -> tuple[tuple[Unit, ...], tuple[str, ...]]:
    """Name the scales after the neurons that have them: the entries that an activation reads, and the
    results of linear maps that none reads."""
    neurons = _neurons(network, scales)
    degrees = _degrees(network, scales)
    groups: dict[int, list[tuple[int, str, bool]]] = {}
    blocked: dict[str, Unit] = {}
    for variable, (name, activated) in neurons.items():
        form = solution.forms[variable]
        if not form:
            if variable not in solution.visible:
                why = solution.reasons.get(variable, "its equations leave only 0")
                blocked.setdefault(name, Unit(name, 1, degrees.get(variable), False, why, None))
        elif len(form) == 1 and form[0][0] in column:
            groups.setdefault(column[form[0][0]], []).append((variable, name, activated))
    units: list[Unit] = []
    names = [f"scale {solution.free[k]}" for k in column]
    for k, members in sorted(groups.items()):
        activated = [m for m in members if m[2]]
        size = len(activated) or len(members)
        name = members[0][1]
        names[k] = name
        degree = next((degrees[v] for v, _, _ in activated if degrees.get(v) is not None), ONE)
        why = "its own scale" if size == 1 else f"{size} neurons share one scale"
        if degree <= 0:
            why += f"; degree {degree} ≤ 0, so no finite scale is optimal and solve leaves it out"
        units.append(Unit(name, size, degree, True, why, k))
    for k, name in enumerate(names):
        if k not in groups:
            units.append(Unit(name, 0, None, True, "a scale of the weights that no neuron has alone", k))
    return (*units, *blocked.values()), tuple(names)


_PASSING = ("bias", "identity", "reshape", "scale")


def _neurons(network: Network, scales: Scales) -> dict[int, tuple[str, bool]]:
    """Scale variables of the neurons: (name, whether an activation or a state holds it).

    A linear map whose result only goes on into a neuron (through its bias, or a sum) is part of it.
    """
    label: dict[str, str] = {name: name for name, _ in network.states}
    linear: list[str] = []
    for op in network.operations:
        if op.kind == "linear" and network.tensors[op.inputs[1]].role == "parameter":
            label.setdefault(op.output, op.name)
            linear.append(op.output)
        elif op.kind in (*_PASSING, "add"):
            source = next((label[x] for x in op.inputs if x in label), None)
            if source is not None:
                label[op.output] = source
    held = [name for name, _ in network.states]
    held += [op.inputs[0] for op in network.operations if op.kind in ("activation", "prelu")]
    into = {*held, *(after for _, after in network.states)}  # results that go on into a neuron
    ends: list[str] = []
    for op in reversed(network.operations):
        if op.kind in _PASSING or (op.kind == "add" and op.output in into):
            if op.output in label and op.output not in into:
                ends.append(op.output)
            into.update(op.inputs)
    ends += [name for name in linear if name not in into]
    neurons: dict[int, tuple[str, bool]] = {}
    for name in (*held, *reversed(ends)):
        for position, v in enumerate(scales[name].flat):
            neurons.setdefault(int(v), (f"{label.get(name, name)}[{position}]", name in held))
    return neurons


def _degrees(network: Network, scales: Scales) -> dict[int, Fraction]:
    """The degree of the activation that reads a variable, where there is one."""
    degrees: dict[int, Fraction] = {}
    for op in network.operations:
        if op.kind == "activation":
            degree = exact_degree(op.attributes["function"])
            if degree is not None:
                degrees.update((int(v), degree) for v in scales[op.inputs[0]].flat)
    return degrees
