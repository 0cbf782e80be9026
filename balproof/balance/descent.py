"""Stochastic balancing: exact coordinate descent on F, one unit at a time, in any order.

Source: [B] Theorem 5.1 and Remark 5.7; for a recurrent matrix this is Osborne's iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
from scipy import sparse

from balproof.balance.problem import BalanceProblem
from balproof.balance.state import Iterate
from balproof.balance.steps import columns_of, step
from balproof.errors import RequestError

Array = np.ndarray
Schedule = Literal["random", "cyclic", "reshuffled", "greedy"]
SCHEDULES: tuple[Schedule, ...] = ("random", "cyclic", "reshuffled", "greedy")


def stochastic(
    problem: BalanceProblem,
    schedule: Schedule | Iterable[int] = "random",
    *,
    seed: int = 0,
    tolerance: float = 1e-13,
    sweeps: int = 100_000,
    progress: Callable[[str], None] | None = None,
) -> Iterate:
    """Balance one unit after the other until the network's imbalance is at most ``tolerance``.

    ``schedule`` is ``random`` (uniform, independent), ``cyclic``, ``reshuffled`` (a new random order each
    sweep), ``greedy`` (the most unbalanced unit) or the caller's own sequence of columns of h, which is
    followed once. A sweep is as many steps as there are units.

    Raises RequestError for an unknown schedule or a column that does not move.

    >>> from balproof.importers import load
    >>> problem = BalanceProblem.build(load("tests/data/chain.json"))
    >>> stochastic(problem, "cyclic").imbalance <= 1e-13
    True
    """
    units = np.flatnonzero(problem.active)
    h = np.zeros(problem.count)
    logs = problem.A @ h
    history = [problem.cost(h)]
    name = schedule if isinstance(schedule, str) else "user-given"
    if not len(units):
        return Iterate(h, f"stochastic ({name})", 0.0, 0.0, tuple(history))
    by_column = sparse.csc_array(problem.A)
    parts = {int(k): columns_of(problem, np.array([k]), by_column) for k in units}
    touched, total = 0, max(len(problem.weights), 1)
    steps_in_sweep = len(units)
    taken = 0
    best = np.inf
    stalled = 0
    for k in _order(problem, schedule, units, seed, logs):
        if k not in parts:
            raise RequestError(f"the schedule names scale {k}, which does not move", "name active units")
        columns = parts[k]
        change = step(problem, logs, columns)
        h[k] += change[0]
        logs[columns.edges] += columns.coefficient * change[0]
        touched += len(columns.edges) + (total if schedule == "greedy" else 0)
        taken += 1
        if taken % steps_in_sweep:
            continue
        logs[:] = problem.A @ h  # drop the rounding that the increments gathered
        history.append(problem.cost(h))
        touched += total
        imbalance = problem.imbalance(h)
        if progress:
            progress(f"sweep {taken // steps_in_sweep}: imbalance {imbalance:.1e}")
        # Rounding puts a floor under the imbalance: stop once it is near and no longer falls.
        stalled = 0 if imbalance < 0.9 * best else stalled + 1
        best = min(best, imbalance)
        near_floor = imbalance < 1e-12 and stalled > 20
        if isinstance(schedule, str) and (
            imbalance <= tolerance or near_floor or taken >= sweeps * steps_in_sweep
        ):
            break
    return Iterate(h, f"stochastic ({name})", problem.imbalance(h), touched / total, tuple(history))


def _order(
    problem: BalanceProblem,
    schedule: Schedule | Iterable[int],
    units: Array,
    seed: int,
    logs: Array,
) -> Iterator[int]:
    if not isinstance(schedule, str):
        yield from (int(k) for k in schedule)
        return
    rng = np.random.default_rng(seed)
    if schedule not in SCHEDULES:
        raise RequestError(f"unknown schedule {schedule!r}", "take one of " + ", ".join(SCHEDULES))
    while True:
        if schedule == "random":
            yield from (int(k) for k in rng.choice(units, len(units)))
        elif schedule == "reshuffled":
            yield from (int(k) for k in rng.permutation(units))
        elif schedule == "cyclic":
            yield from (int(k) for k in units)
        else:
            m = problem.marginal_of(problem.weights * np.exp(logs))
            total = problem.absolute.T @ m
            ratio = np.where(problem.active, np.abs(problem.A.T @ m) / np.where(total > 0, total, 1.0), -1.0)
            yield int(np.argmax(ratio))
