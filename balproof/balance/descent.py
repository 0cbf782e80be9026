"""Stochastic balancing: exact coordinate descent on F, one unit at a time, in any order.

Source: [B] Theorem 5.1 and Remark 5.7; for a recurrent matrix this is Osborne's iteration.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from scipy import sparse

from balproof.balance.blocks import kernels
from balproof.balance.problem import BalanceProblem
from balproof.balance.state import Iterate, Progress
from balproof.balance.steps import columns_of, step
from balproof.balance.swift import sides, swept
from balproof.errors import RequestError

Array = np.ndarray
Schedule = Literal["random", "cyclic", "reshuffled", "greedy"]
SCHEDULES: tuple[Schedule, ...] = ("random", "cyclic", "reshuffled", "greedy")


def require_schedule(schedule: Schedule | Iterable[int]) -> None:
    """Raises RequestError for an unknown name."""
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        raise RequestError(f"unknown schedule {schedule!r}", "take one of " + ", ".join(SCHEDULES))


def stochastic(
    problem: BalanceProblem,
    schedule: Schedule | Iterable[int] = "random",
    *,
    seed: int = 0,
    tolerance: float = 1e-13,
    sweeps: int = 100_000,
    progress: Progress | None = None,
) -> Iterate:
    """Balance one unit after the other until the network's imbalance is at most ``tolerance``.

    ``schedule`` is ``random`` (uniform, independent), ``cyclic``, ``reshuffled`` (a new random order each
    sweep), ``greedy`` (the most unbalanced unit) or the caller's own sequence of columns of h, which is
    followed once, for at most ``sweeps``. A sweep is as many steps as there are units.

    Raises RequestError for an unknown schedule or a column that does not move.

    >>> from balproof.importers import load
    >>> problem = BalanceProblem.build(load("tests/data/chain.json"))
    >>> stochastic(problem, "cyclic").imbalance <= 1e-13
    True
    """
    require_schedule(schedule)
    units = np.flatnonzero(problem.active)
    h = np.zeros(problem.count)
    logs = problem.A @ h
    history = [problem.cost(h)]
    name = schedule if isinstance(schedule, str) else "user-given"
    if not len(units) and isinstance(schedule, str):
        return Iterate(h, f"stochastic ({name})", 0.0, 0.0, tuple(history))
    if isinstance(schedule, str) and schedule != "greedy" and len(units) > _MANY and problem.straight:
        return _compiled(problem, units, schedule, seed, tolerance, sweeps, progress)
    by_column = sparse.csc_array(problem.A)
    parts = {int(k): columns_of(problem, np.array([k]), by_column) for k in units}
    touched, total = 0, max(len(problem.weights), 1)
    steps_in_sweep = len(units)
    taken = 0
    best = np.inf
    stalled = 0
    bests: list[float] = []
    for given in _order(problem, schedule, units, seed, logs):
        k = _column(given)
        if k not in parts:
            raise RequestError(f"the schedule names scale {given}, which does not move", "name active units")
        columns = parts[k]
        change = step(problem, logs, columns)
        h[k] += change[0]
        logs[columns.edges] += columns.coefficient * change[0]
        touched += len(columns.edges) + (total if name == "greedy" else 0)
        taken += 1
        if taken % steps_in_sweep:
            continue
        logs[:] = problem.A @ h  # drop the rounding that the increments gathered
        history.append(problem.cost(h))
        touched += total
        imbalance = problem.imbalance(h)
        if progress and progress(f"sweep {taken // steps_in_sweep}: imbalance {imbalance:.1e}"):
            break
        # Rounding puts a floor under the imbalance: stop once it is near and no longer falls.
        stalled = 0 if imbalance < 0.9 * best else stalled + 1
        best = min(best, imbalance)
        bests.append(best)
        near_floor = imbalance < 1e-12 and stalled > 20
        if taken >= sweeps * steps_in_sweep:
            break
        if isinstance(schedule, str) and (imbalance <= tolerance or near_floor or _hopeless(bests, history)):
            break
    return Iterate(h, f"stochastic ({name})", problem.imbalance(h), touched / total, tuple(history))


_MANY = 2_000
"""More units than this are balanced in compiled code, where each has a closed form."""


def _compiled(
    problem: BalanceProblem,
    units: Array,
    schedule: Schedule,
    seed: int,
    tolerance: float,
    sweeps: int,
    progress: Progress | None,
) -> Iterate:
    """The same by whole sweeps."""
    columns = sparse.csc_array(problem.A)
    matrix = columns.indptr, columns.indices, columns.data
    power, rng = problem.single_power or 1.0, np.random.default_rng(seed)
    draw = {"random": lambda: rng.choice(units, len(units)), "reshuffled": lambda: rng.permutation(units)}
    h, touched, total = np.zeros(problem.count), 0, max(len(problem.weights), 1)
    costs = problem.marginal(h)
    history, imbalance, bests, stalled = [problem.cost(h)], problem.imbalance(h), list[float](), 0
    for sweep in range(sweeps):
        touched += swept(draw.get(schedule, lambda: units)(), *matrix, power, costs, h) + total
        imbalance = _imbalance(columns, costs, problem.active)
        if sweep % 16 == 15 or imbalance <= tolerance:  # drop the rounding that the products gathered
            costs = problem.marginal(h)
            imbalance = problem.imbalance(h)
        history.append(float(costs.sum()) / power)
        if progress and progress(f"sweep {sweep + 1}: imbalance {imbalance:.1e}"):
            break
        stalled = 0 if not bests or imbalance < 0.9 * bests[-1] else stalled + 1
        bests.append(min(imbalance, bests[-1] if bests else np.inf))
        if imbalance <= tolerance or (imbalance < 1e-12 and stalled > 20) or _hopeless(bests, history):
            break
    return Iterate(h, f"stochastic ({schedule})", imbalance, touched / total, tuple(history))


def _imbalance(columns: sparse.csc_array, marginal: Array, active: Array) -> float:
    """`BalanceProblem.imbalance` by the marginal costs."""
    into, out = sides(columns.indptr, columns.indices, columns.data, marginal)
    return kernels.imbalance(into[active], out[active])


_WINDOW = 2_000


def _hopeless(bests: list[float], costs: list[float]) -> bool:
    """Whether neither the imbalance (by 1 %) nor the cost has fallen in the last sweeps.

    At that rate 100,000 sweeps would not halve the imbalance: two units with strong mutual weights and
    weak ones to the rest, say.
    """
    if len(bests) <= _WINDOW:
        return False
    return bests[-1] > 0.99 * bests[-1 - _WINDOW] and costs[-1] > (1 - 1e-6) * costs[-1 - _WINDOW]


def _column(given: object) -> int | None:
    """A column number from the caller's schedule; None for what is no whole number."""
    try:
        return operator.index(given)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return None


def _order(
    problem: BalanceProblem,
    schedule: Schedule | Iterable[int],
    units: Array,
    seed: int,
    logs: Array,
) -> Iterator[int]:
    if not isinstance(schedule, str):
        yield from schedule
        return
    rng = np.random.default_rng(seed)
    while True:
        if schedule == "random":
            yield from (int(k) for k in rng.choice(units, len(units)))
        elif schedule == "reshuffled":
            yield from (int(k) for k in rng.permutation(units))
        elif schedule == "cyclic":
            yield from (int(k) for k in units)
        else:
            net, total = problem.flows(problem.marginal_of(problem.weights * np.exp(logs)))
            ratio = np.where(problem.active, np.abs(net) / np.where(total > 0, total, 1.0), -1.0)
            yield int(np.argmax(ratio))
