"""The balance of weights as they are, of a network of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balproof.balance import wide
from balproof.balance.blocks import BlockProblem, measured, require_measurable
from balproof.balance.connected import strongly_connected
from balproof.balance.cyclic import sweeps
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import is_large
from balproof.crosscheck.extremes import Asked, Extremes, feeds_back, sides
from balproof.crosscheck.faults import Fault
from balproof.crosscheck.optimality import WHOLE, Optimality, optimality
from balproof.network.manifold import Manifold

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Judged:
    """Imbalances of the scales that move (0 for the others), and which do not.

    ``falling`` are the dead units whose cost could still fall. ``problem`` is None for a large network, and
    there is neither problem nor cost for extremes.
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
        return _by_sweeps(self, tolerance)


def refuse(manifold: Manifold, costs: Asked) -> None:
    """Raise what `judge` raises, at the cost of one pass for a large network."""
    if isinstance(costs, Extremes) or not is_large(manifold.network):
        judge(manifold, costs)
    else:
        costs.require_known(manifold.network)
        require_measurable(manifold, costs)


def judge(manifold: Manifold, costs: Asked) -> Judged:
    """Raises RequestError, RegularizerError and ModelError as `BalanceProblem.build`.

    >>> from balproof.importers import load
    >>> from balproof.crosscheck.extremes import asked
    >>> from balproof.network.manifold import infer
    >>> judge(infer(load("tests/data/chain.json")), asked("l2")).imbalances.round(2).tolist()
    [0.95, 0.0]
    """
    if isinstance(costs, Extremes):
        return _judge_extremes(manifold, costs)
    found = measured(manifold, costs) if is_large(manifold.network) else None
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
    active, left_out = np.ones(manifold.count, bool), tuple(sorted(manifold.endless))
    dead = manifold.dead(manifold.support)
    active[[*dead, *left_out]] = False
    falling = tuple(k for k in dead if balance.incoming[k] or balance.outgoing[k])
    imbalances = np.where(active, balance.imbalances, 0.0)
    return Judged(manifold, costs, cost, imbalances, active, dead, left_out, falling, None)


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
