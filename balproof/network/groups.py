"""Which free scales each result of a network has, and what pins it: the manifold seen from its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from balproof.network.graph import Network
from balproof.network.manifold import Manifold, SolvedScales, assemble, solve_scales
from balproof.network.rules import implication
from balproof.network.scales import ParameterScale, Variables, parameter_uses


@dataclass(frozen=True)
class TensorScale:
    """The scales along one tensor.

    ``columns`` are the free scales that it has, as columns of A in ascending order; ``reasons`` say why the
    ``pinned`` others (distinct variables) stay as they are, the first reason first. ``visible`` tells that
    all reasons are that it can be seen from outside, as inputs and outputs can. A tensor without either,
    such as the result of the zero function, scales without any weight feeling it.
    """

    columns: tuple[int, ...]
    pinned: int
    reasons: tuple[str, ...]
    visible: bool


@dataclass(frozen=True)
class Group:
    """Free scales that always occur together: every tensor has all of them or none."""

    columns: tuple[int, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Groups:
    """The manifold of a network by its tensors.

    ``parts`` lists for each tensor the groups (positions in ``groups``) that make up its columns, and
    ``blockers`` names the operation behind each reason that is not ``visible``.
    """

    manifold: Manifold
    tensors: Mapping[str, TensorScale]
    groups: tuple[Group, ...]
    parts: Mapping[str, tuple[int, ...]]
    blockers: Mapping[str, str]


def scale_groups(network: Network) -> Groups:
    """Infer the manifold, and group its free scales by the tensors that have them.

    >>> from balproof.importers import load
    >>> found = scale_groups(load("tests/data/chain.json"))
    >>> [(len(g.columns), g.tensors) for g in found.groups]
    [(1, ('z1', 'a1')), (1, ('z2', 'a2'))]
    """
    solved = solve_scales(network)
    manifold, column = assemble(network, solved)
    tensors = {name: _scale(solved, name, column) for name in solved.scales}
    groups = _grouped(tensors, manifold.count)
    at = {k: i for i, group in enumerate(groups) for k in group.columns}
    parts = {name: tuple(sorted({at[k] for k in t.columns})) for name, t in tensors.items()}
    wanted = {reason for t in tensors.values() if not t.visible for reason in t.reasons}
    return Groups(manifold, tensors, groups, parts, _blockers(network, solved, wanted))


def _scale(solved: SolvedScales, name: str, column: Mapping[int, int]) -> TensorScale:
    solution = solved.solution
    variables = [int(v) for v in np.unique(solved.scales[name])]
    columns = sorted({column[k] for v in variables for k, _ in solution.forms[v] if k in column})
    pinned = [v for v in variables if not solution.forms[v]]
    unseen = [v for v in pinned if v not in solution.visible]
    reasons = dict.fromkeys(solution.reasons.get(v, "its equations leave only 0") for v in unseen or pinned)
    return TensorScale(tuple(columns), len(pinned), tuple(reasons), not unseen)


def _grouped(tensors: Mapping[str, TensorScale], count: int) -> tuple[Group, ...]:
    """Columns by the set of tensors that have them, in the order in which they first occur."""
    holders: dict[int, list[str]] = {}
    for name, scale in tensors.items():
        for k in scale.columns:
            holders.setdefault(k, []).append(name)
    members: dict[tuple[str, ...], list[int]] = {}
    for k in (*holders, *(k for k in range(count) if k not in holders)):
        members.setdefault(tuple(holders.get(k, ())), []).append(k)
    return tuple(Group(tuple(columns), names) for names, columns in members.items())


def _blockers(network: Network, solved: SolvedScales, reasons: Iterable[str]) -> dict[str, str]:
    """The first operation that gives each of these reasons: their demands are stated once more."""
    wanted, found = set(reasons), dict[str, str]()
    used: dict[str, ParameterScale] = {}
    for op in network.operations if wanted else ():
        demand = implication(op, network.tensors, solved.scales, Variables())
        again = [use for use in demand.parameters if used.setdefault(use.name, use) is not use]
        ties = parameter_uses([*(used[use.name] for use in again), *again])[1]
        for equation in (*demand.equations, *ties):
            if equation.reason in wanted:
                found.setdefault(equation.reason, op.name)
    return found
