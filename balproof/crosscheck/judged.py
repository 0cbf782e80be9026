"""The balance of weights as they are, of a network of any size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from balproof.balance.beyond import ranged, wide
from balproof.balance.beyond.ranged import Far
from balproof.balance.blocks.connected import strongly_connected
from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.problem import BlockProblem, measured, require_measurable
from balproof.balance.certificates.gap import GapCertificate
from balproof.balance.certificates.isotone import certify_blocks
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import is_large
from balproof.crosscheck.extremes import Asked, Extremes, feeds_back, sides
from balproof.crosscheck.faults import Fault
from balproof.crosscheck.optimality import WHOLE, Optimality, by_solution, optimality
from balproof.crosscheck.reading import Read
from balproof.crosscheck.sums import Sums, certify_by_layers, measurable
from balproof.errors import RangeError
from balproof.network.manifold import Manifold

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Judged:
    """Imbalances of the scales that move (0 for the others), and which do not.

    ``falling`` are the dead units whose cost could still fall. ``problem`` is None for a large network, and
    there is neither problem nor cost for extremes. ``far``: the costs of a large network are beyond doubles.
    """

    manifold: Manifold
    costs: Asked
    cost: float | None
    imbalances: Array
    active: Array
    dead: tuple[int, ...]
    left_out: tuple[int, ...]
    falling: tuple[int, ...]
    problem: BalanceProblem | None
    sums: Sums | None = None
    far: bool = False

    @property
    def imbalance(self) -> float:
        return float(np.max(self.imbalances, initial=0.0))

    def names(self, scales: tuple[int, ...]) -> list[str]:
        return [self.manifold.names[k] for k in scales]

    def optimality(self, tolerance: float, *, balanced: bool) -> Optimality:
        """How far the cost is above the optimum."""
        if isinstance(self.costs, Extremes):
            return _of_extremes(self.manifold, self.costs)
        if self.problem is not None:
            return optimality(self.problem, tolerance, balanced=balanced)
        if self.far:
            return by_solution(self.manifold.network, self.costs, tolerance)
        if balanced and (found := _certified(self)) is not None and found.gap <= tolerance:
            return Optimality(found.gap, True, None)
        return _by_sweeps(self, tolerance)


def refuse(manifold: Manifold, costs: Asked) -> None:
    """Raise what `judge` raises, at the cost of one pass for a large network."""
    if isinstance(costs, Extremes) or not is_large(manifold.network):
        judge(manifold, costs)
    else:
        costs.require_known(manifold.network)
        if not measurable(manifold.network, costs):
            with suppress(RangeError):  # `judge` does without doubles then
                require_measurable(manifold, costs)


def judge(
    manifold: Manifold, costs: Asked, right: Mapping[str, Read | None] = MappingProxyType({})
) -> Judged:
    """``right`` are blocks that were read already.

    Raises RequestError, RegularizerError and ModelError as `BalanceProblem.build`.

    >>> from balproof.importers import load
    >>> from balproof.crosscheck.extremes import asked
    >>> from balproof.network.manifold import infer
    >>> judge(infer(load("tests/data/chain.json")), asked("l2")).imbalances.round(2).tolist()
    [0.95, 0.0]
    """
    if isinstance(costs, Extremes):
        return _judge_extremes(manifold, costs)
    large = is_large(manifold.network)
    if large and (sums := Sums.of(manifold, costs, right)) is not None and sums.all_alive:
        costs.require_known(manifold.network)
        return dataclasses.replace(_judged(manifold, costs, sums.cost, sums.marginal(), ()), sums=sums)
    try:
        found = measured(manifold, costs) if large else None
    except RangeError:
        if (far := Far.of(manifold, costs)) is not None:
            return _judged_far(far, manifold, costs)
        found = None
    if found is None:
        problem = BalanceProblem.stated(manifold, costs)
        costly = problem.absolute.T @ np.ones(len(problem.weights))
        falling = tuple(k for k in problem.dead if costly[k])
        return Judged(
            *(manifold, costs, wide.cost(problem).double(), wide.imbalances(problem)),
            *(problem.active, tuple(problem.dead), tuple(problem.left_out), falling, problem),
        )
    costs.require_known(manifold.network)
    cost, balance = found
    dead = manifold.dead(manifold.support)
    return _judged(manifold, costs, cost, (balance.incoming, balance.outgoing), dead)


def _judged(
    manifold: Manifold, costs: Costs, cost: float, balance: tuple[Array, Array], dead: tuple[int, ...]
) -> Judged:
    incoming, outgoing = balance
    active, left_out = np.ones(manifold.count, bool), tuple(sorted(manifold.endless))
    active[[*dead, *left_out]] = False
    total = incoming + outgoing
    imbalances = np.where(active, np.abs(incoming - outgoing) / np.where(total > 0, total, 1.0), 0.0)
    falling = tuple(k for k in dead if incoming[k] or outgoing[k])
    return Judged(manifold, costs, cost, imbalances, active, dead, left_out, falling, None)


def _judged_far(far: Far, manifold: Manifold, costs: Costs) -> Judged:
    cost, imbalances = ranged.measured(far)
    left_out = tuple(sorted(manifold.endless))
    dead = tuple(int(k) for k in np.flatnonzero(~far.active) if int(k) not in left_out)
    falling = tuple(k for k in dead if far.costly[k])
    return Judged(
        manifold, costs, cost.double(), imbalances, far.active, dead, left_out, falling, None, far=True
    )


def _judge_extremes(manifold: Manifold, extremes: Extremes) -> Judged:
    into, out = sides(manifold, extremes)
    active, left_out = (into > 0) & (out > 0), tuple(sorted(manifold.endless))
    active[list(left_out)] = False
    dead = tuple(int(k) for k in np.flatnonzero(~active) if int(k) not in left_out)
    falling = tuple(k for k in dead if into[k] or out[k])
    imbalances = np.where(active, np.abs(into - out) / np.where(active, into + out, 1.0), 0.0)
    return Judged(manifold, extremes, None, imbalances, active, dead, left_out, falling, None)


def _of_extremes(manifold: Manifold, extremes: Extremes) -> Optimality:
    notes = [f"no optimum under {extremes.kind}: it is no sum over the weights, and balance alone is judged"]
    if feeds_back(manifold):
        notes.append(
            f"scales feed back into each other: under {extremes.kind} there may be several states in "
            "balance, and another program may well have found another one"
        )
    return Optimality(None, False, None, tuple(notes))


def _certified(judged: Judged) -> GapCertificate | None:
    """From the sums of costs alone, or by reading the weights a few times."""
    if judged.sums is not None and (found := certify_by_layers(judged.sums, judged.active)) is not None:
        return found
    assert not isinstance(judged.costs, Extremes)
    problem = BlockProblem.build(judged.manifold, judged.costs)
    found = certify_blocks(problem) if problem is not None else None
    return found if isinstance(found, GapCertificate) else None


def _by_sweeps(judged: Judged, tolerance: float) -> Optimality:
    """Against the cost of the balanced state, found by sweeps over blocks of weights."""
    assert not isinstance(judged.costs, Extremes) and judged.cost is not None
    problem = BlockProblem.build(judged.manifold, judged.costs)
    state = sweeps(problem) if problem is not None and strongly_connected(problem) else None
    if problem is None or state is None or state.imbalance > 1e-9:
        return Optimality(None, False, None, ("no optimality gap: the network is too large for a bound",))
    gap = max(0.0, judged.cost / problem.cost(state.h) - 1)
    fault = Fault("not-optimal", WHOLE, gap) if gap > tolerance else None
    note = "a large network: the optimality gap is that to a balanced state found in floating point"
    return Optimality(gap, False, fault, (note,))
