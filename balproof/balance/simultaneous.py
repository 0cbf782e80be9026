"""All units of a loop at once, mixed by Anderson's method: one read of the weights for every step.

In a dense recurrent network every unit meets nearly the mean of all others. Moving all of them at once by
log(out/in)/slope then leaves little (of a matrix D·K·D⁻¹ with K balanced but for noise, the noise), where
units in turn leave what the first ones did not know of the last: on a matrix without noise they gain a factor
8 a sweep. Nothing moves during a read, so that threads share it, and it takes some 0.6 of a sweep's time.

Where units hang together loosely, or F rises, units in turn (`balproof.balance.cyclic`) go on from the best
state: they cannot raise F, and their slow modes die twice as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balproof.balance.anderson import Anderson
from balproof.balance.blocks import BlockProblem
from balproof.balance.state import Progress

Array = np.ndarray

_OVER, _GAIN = 8, 0.2
"""So many steps are to bring the imbalance down to this share, or units take turns."""


@dataclass(frozen=True, eq=False)
class Reached:
    """The best state, the sums of all blocks there, reads of all weights, and F of what was read."""

    h: Array
    sums: tuple[tuple[Array, Array], ...]
    imbalance: float
    reads: int
    history: tuple[float, ...]
    stopped: bool


def simultaneous(
    problem: BlockProblem,
    inverse: Array,
    tolerance: float,
    limit: int,
    memory: int = 8,
    progress: Progress | None = None,
) -> Reached:
    """From h = 0 and the sums there to ``tolerance``, or as far as it goes well.

    ``inverse`` holds 1/slope of log(in/out) along each scale, 0 where it stays.

    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers.matrix_file import from_arrays
    >>> from balproof.network.manifold import infer
    >>> J = np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0]])
    >>> problem = BlockProblem.build(infer(from_arrays({"J": J})), Costs.parse("l2"))
    >>> found = simultaneous(problem, np.full(3, 0.25), 1e-12, limit=50)
    >>> problem.imbalance(found.h) <= 1e-12
    True
    """
    h, sums, mixer = np.zeros(len(inverse)), problem.start, Anderson(memory)
    here = problem.balanced_by(sums)
    seen, history = [problem.imbalance_of(here)], [problem.cost_by(sums, h)]
    best, stopped = (seen[0], h, sums), False
    for step in range(limit):
        if best[0] <= tolerance or stopped:
            break
        into, out = here.incoming, here.outgoing
        moves = (inverse > 0) & (into > 0) & (out > 0)
        ratio = np.divide(out, into, where=moves, out=np.ones(len(h)))
        h, _ = mixer.mix(h, h + np.log(ratio) * inverse, np.zeros(0))
        with np.errstate(over="ignore", invalid="ignore"):  # where it goes badly
            factors = [pair.factors(h) for pair in problem.pairs]
            sums = tuple(pair.read(*both) for pair, both in zip(problem.pairs, factors, strict=True))
            here = problem.balance_of(factors, sums)
            seen.append(problem.imbalance_of(here))
            history.append(problem.cost_of(factors, sums))
        if seen[-1] < best[0]:
            best = seen[-1], h, sums
        stopped = bool(progress and progress(f"step {step + 1}: imbalance {seen[-1]:.1e}"))
        slow = len(seen) > _OVER and not best[0] < _GAIN * min(seen[:-_OVER])
        if slow or not history[-1] <= 1.01 * history[0]:
            break
    return Reached(best[1], best[2], best[0], len(seen) - 1, tuple(history), stopped)
