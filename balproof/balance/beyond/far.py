"""Large networks whose costs no double holds, solved by way of powers of two, and taken back exactly.

What came out is w·2^(A n)·exp(A rest): the powers change no digit, so that a certificate of the scaled
weights is one of these. Only their sum h is rounded, to |h|·2^-53, and each weight once that is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from balproof.balance.beyond.apart import Reduce, between
from balproof.balance.beyond.fitted import DRIFT, require_double
from balproof.balance.beyond.ranged import ALLOWED, Brought, Far, joined, measured
from balproof.balance.beyond.wide import Wide, held
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.certificates.gap import UNIT, GapCertificate
from balproof.balance.problem import Costs
from balproof.balance.state import BALANCED
from balproof.errors import RequestError
from balproof.network.forms import Forms
from balproof.network.manifold import Manifold

if TYPE_CHECKING:
    from balproof.balance.solve import Solution

Array = np.ndarray

_APART = 16
"""Groups farther than this from where they belong, in binary orders, are moved there before all is solved."""

_ROUNDS = 8
"""So often scales that are left are taken over into powers of two."""


BEYOND = "costs are too far apart for doubles, and scales too many for more bits unasked"


def solve_far(
    manifold: Manifold,
    costs: Costs,
    solve: Callable[[BlockProblem], Solution | None],
    reduce: Reduce,
    start: Solution | None = None,
) -> Solution | None:
    """The solution by ``solve`` of the network brought into range; None where it has None.

    ``reduce`` balances groups that only costs beyond double precision tie together (`apart`). With ``start``,
    a solution without powers of two, None unless there are such groups in it. Raises RequestError, naming
    the weights, where powers of two cannot do it, and for a result that no double holds.
    """
    if start is not None and not _plain(manifold):
        return None  # before anything of the size of the weights is made
    far = Far.of(manifold, costs)
    if far is None or (start is not None and not far.plain):
        return None
    shift = far.shift() if start is None else _steps(manifold, start.h)
    passes = 0.0 if start is None else start.passes
    brought = far.brought(shift, far.unit(shift))
    for number in range(_ROUNDS):
        if number:
            brought = far.brought(shift, far.unit(shift))
        problem = BlockProblem.build(brought.manifold, costs)
        if problem is None:
            return None
        lost, groups = brought.lost(problem), None
        if lost is None:
            if brought.whole is None:
                return None
            groups = brought.groups(problem)
        elif far.plain and (brought.unit or start is not None):
            groups = brought.loose(problem)
        if start is not None and groups is None and not number:
            return None
        apart = groups is not None and _between(far, brought, groups, np.zeros(manifold.count), reduce)
        if lost is None and not apart:
            raise brought.refused()
        if apart and np.abs(moved := _steps(manifold, apart[0])).max() > _APART:
            shift = shift + moved
            continue
        found = solve(replace(problem, lost=lost or 0.0))
        if found is None:
            return None
        passes += found.passes
        if _reach(problem, found.h) > (ALLOWED if brought.dropped else DRIFT):
            shift = shift + _steps(manifold, found.h)
            continue
        if groups is None and found.cut_imbalance is None and far.plain:
            groups = brought.loose(problem)
        if groups is not None and (lost is None or found.cut_imbalance is None):
            apart = _between(far, brought, groups, found.h, reduce)
            if lost is None and not apart:
                raise brought.refused()
            if apart and np.abs(_steps(manifold, apart[0])).max() > _APART:
                shift = shift + _steps(manifold, found.h + apart[0])
                continue
            if apart:
                found = _joined(far, found, *apart)
        _require_doubles(manifold, found.h, shift)
        return _taken_back(far, brought, replace(found, passes=passes))
    raise brought.refused()


def _plain(manifold: Manifold) -> bool:
    """Whether all scales enter with their logarithm as it is, or its negative."""
    forms = (Forms.of(term.forms) for block in manifold.blocks for term in block.terms)
    return all(abs(ratio) == 1 for own in forms for ratio in own.ratios)


def _steps(manifold: Manifold, h: Array) -> Array:
    """The nearest whole log₂-scales."""
    return np.rint(h / (np.log(2.0) * manifold.whole)).astype(np.int64) * manifold.whole


def _between(
    far: Far, brought: Brought, groups: Array, h: Array, reduce: Reduce
) -> tuple[Array, float] | None:
    if not far.plain:
        return None
    try:
        return between(far.pairs, groups, far.active, brought.shift, h, reduce)
    except RequestError:
        return None


def _joined(far: Far, found: Solution, t: Array, rest: float) -> Solution:
    """The groups of a solution moved to where they are balanced among each other."""
    names, moving = far.manifold.names, far.active
    settled = found.status == "balanced" and rest <= BALANCED
    return replace(
        found,
        status="balanced" if settled else "unconverged",
        h=found.h + t,
        method=f"{found.method}, groups apart",
        cut_imbalance=max(rest, found.cut_imbalance or 0.0),
        dead_units=tuple(n for k, n in enumerate(names) if not moving[k] and k not in far.manifold.endless),
        certificate=None,
        no_certificate=BEYOND if found.certificate is not None else found.no_certificate,
    )


def _reach(problem: BlockProblem, h: Array) -> float:
    """How far the logarithms of costs are moved, at most, and by a box around h."""
    sides = (
        sum(float(np.max(np.abs(side.logs(h)), initial=0.0)) for _, side in pair.sides()) * pair.power
        for pair in problem.pairs
    )
    return max(sides, default=0.0) + 1


def _require_doubles(manifold: Manifold, h: Array, shift: Array) -> None:
    for block in manifold.blocks:
        tensor, flat = manifold.network.tensors[block.name], manifold.network.flat(block.name)
        if block.terms:
            for here, new in manifold.scaled(block, h, shift):
                require_double(tensor, here.start, flat[here].astype(np.float64, copy=False), new)


def _taken_back(far: Far, brought: Brought, found: Solution) -> Solution:
    manifold, change = far.manifold, -brought.unit * (far.single_power or 0.0)

    def back(value: float) -> Wide:
        whole = np.floor(change)
        moved = Wide(np.array([value * 2.0 ** (change - whole)]), np.array([int(whole)]))
        return joined([moved, brought.constant]).total()

    before, imbalances = measured(far)
    after, certificate = back(found.cost_after), found.certificate
    if isinstance(certificate, GapCertificate):
        absolute = Wide(np.array(certificate.absolute), np.array(0))
        moved = Wide(absolute.value * 2.0 ** (change - np.floor(change)), np.array(int(np.floor(change))))
        # The costs that stand in for those that nothing moves are below the rounding of the others.
        certificate = replace(
            certificate,
            gap=certificate.gap * (1 + 4 * UNIT),
            absolute=moved.double() * (1 + 4 * UNIT),
        )
    shift = brought.shift
    return replace(
        found,
        manifold=manifold,
        h=shift * np.log(2.0) + found.h,
        factors=(shift, found.h),
        cost_before=before.double(),
        cost_after=after.double(),
        imbalance_before=float(np.max(imbalances, initial=0.0)),
        history=tuple(back(value).double() for value in found.history),
        certificate=certificate,
        log10_costs=None if held(before) and held(after) else (before.log10(), after.log10()),
    )
