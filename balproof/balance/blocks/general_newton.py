"""Newton's method over blocks of weights under costs of any form, by conjugate gradients.

Products with the Hessian are reads (`general.curved`). Their number is kept low by a model of each block that
its sums give: κ_ij near r_i·s_j/t, with r and s its sums along rows and columns and t their total. Of dense
blocks it leaves noise that falls with their width; it has the same sums, so that whole layers move as they
should. The Hessian of the model is a diagonal matrix and two columns for each block (or group of one), and is
solved by the formula of Sherman, Morrison and Woodbury.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.blocks.general import GeneralProblem, State, curved
from balproof.balance.blocks.gradients import conjugate_gradients
from balproof.balance.blocks.pairs import Pair, Side
from balproof.balance.blocks.parts import Parts
from balproof.balance.state import Iterate, Progress

Array = np.ndarray

BY_NEWTON = "block Newton"

_FREE = 1e-10
"""So much is added to the diagonal of the model, relatively, since parts that nothing holds can drift."""

_FAR = 0.3
"""Above this imbalance all units move at once, by what balances each of them alone."""

_AT_ONCE = 12
"""So many steps of that kind at most."""

_LONGEST = 2.0
"""No step moves the log-scale of a weight farther at first."""

_PRODUCTS = 200

_STILL = 1e-6
"""A last step that moves no weight by more leaves an error far below."""

_IDLE = 3


@dataclass(frozen=True, eq=False)
class Hessian:
    """v ↦ H·v at a state, over the scales that are marked ``active``, with these sides of all blocks."""

    state: State
    active: Array
    sides: Sequence[tuple[Side, Side]]

    @staticmethod
    def of(state: State, active: Array | None = None) -> Hessian:
        """That of F; ``active`` is by default what moves."""
        blocks = state.problem.blocks
        sides = [(pair.rows, pair.columns) for pair in blocks.pairs]
        return Hessian(state, blocks.active if active is None else active, sides)

    def compared(self) -> Hessian:
        """The same with the comparison matrix, weight by weight: nothing off the diagonal is above 0."""
        return replace(self, sides=[(rows.signed(1.0), columns.signed(-1.0)) for rows, columns in self.sides])

    @cached_property
    def diagonal(self) -> Array:
        """That of H, 0 where nothing moves."""
        total = np.zeros(len(self.active))
        for both, read in zip(self.sides, self.state.reads, strict=True):
            for side, kappa in zip(both, read.kappa, strict=True):
                total += side.over(side.coefficient**2 * kappa, len(total))
        return np.where(self.active, total, 0.0)

    def times(self, v: Array) -> Array:
        """H·v: one read."""
        total, problem = np.zeros(len(v)), self.state.problem
        parts = zip(
            problem.blocks.pairs, problem.laws, self.state.factors, self.state.reads, self.sides, strict=True
        )
        for pair, law, factors, read, (rows, columns) in parts:
            a, b = rows.logs(v), columns.logs(v)
            along, across = curved(pair, law, *factors, a, b)
            total += rows.over(rows.coefficient * (read.kappa[0] * a + along), len(v))
            total += columns.over(columns.coefficient * (read.kappa[1] * b + across), len(v))
        return np.where(self.active, total, 0.0)

    def solve(
        self, right: Array, done: Callable[[Array, Array, float], bool], limit: int
    ) -> tuple[Array, Array, int]:
        """x, right − H·x and steps of conjugate gradients, until ``done`` of these and of what is left of the
        square of the residual's norm: a read for each."""
        return conjugate_gradients(self.times, self._model(), right, done, limit)

    def _model(self) -> Callable[[Array], Array]:
        """r ↦ the solution for the model of all blocks."""
        diagonal = self.diagonal * (1 + _FREE)
        inverse = np.divide(1.0, diagonal, where=diagonal > 0, out=np.zeros(len(diagonal)))
        made = [
            _columns(pair, both, read.kappa, self.active)
            for pair, both, read in zip(
                self.state.problem.blocks.pairs, self.sides, self.state.reads, strict=True
            )
        ]
        made = [own for own in made if own is not None]
        if not made:
            return lambda r: inverse * r
        u = sparse.csr_array(sparse.hstack([own for own, _ in made], format="csr"))
        totals = np.concatenate([total for _, total in made])
        number = np.arange(len(totals))
        core = sparse.coo_array(
            (
                np.tile(totals, 2),
                (np.append(2 * number, 2 * number + 1), np.append(2 * number + 1, 2 * number)),
            ),
            (2 * len(totals), 2 * len(totals)),
        )
        solver = splu(sparse.csc_array(core + u.T @ sparse.diags_array(inverse) @ u))

        def near(r: Array) -> Array:
            y = inverse * r
            return y - inverse * (u @ solver.solve(u.T @ y))

        return near


def _columns(
    pair: Pair, sides: tuple[Side, Side], kappa: tuple[Array, Array], active: Array
) -> tuple[sparse.csr_array, Array] | None:
    """Of the model of a block, for each of its groups: Σ c·κ of rows and of columns by scale, and Σ κ.

    None where one side does not move.
    """
    moving = [side.moves(active) for side in sides]
    if not all(own.any() for own in moving):
        return None
    g, count = pair.groups, len(active)
    total = kappa[0].reshape(g, -1).sum(axis=1)
    used = np.flatnonzero(total > 0)
    place = np.full(g, -1)
    place[used] = np.arange(len(used))
    values: list[Array] = []
    rows: list[Array] = []
    columns: list[Array] = []
    for i, (side, own, moves) in enumerate(zip(sides, kappa, moving, strict=True)):
        group = place[np.arange(len(own)) // (len(own) // g)]
        there = moves & (group >= 0)
        values.append((side.coefficient * own)[there])
        rows.append(side.unit[there])
        columns.append(2 * group[there] + i)
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(sparse.coo_array(entries, (count, 2 * len(used)))), total[used]


# --- the method -------------------------------------------------------------------------------------------


def general_newton(
    problem: GeneralProblem,
    start: State | None = None,
    *,
    tolerance: float = 1e-13,
    limit: int = 2_000,
    progress: Progress | None = None,
) -> tuple[State, Iterate]:
    """Newton's method from ``start`` (default h = 0) until the imbalance is at most ``tolerance``, in about
    ``limit`` reads: the state, and how it was found.

    A step is halved while F does not fall.

    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> manifold = infer(load("tests/data/chain.json"))
    >>> problem = GeneralProblem.build(manifold, Costs.parse("log(1 + w**2)"))
    >>> general_newton(problem)[0].imbalance <= 1e-13
    True
    """
    run = _Run(problem, limit, progress)
    here = best = run.at(np.zeros(problem.count)) if start is None else start
    history, idle, moved = [here.cost], 0, np.inf
    while best.imbalance > tolerance or moved > _STILL:
        together = here.imbalance > _FAR and len(history) <= _AT_ONCE
        tried = run.together(here) if together else None
        if tried is None or not tried.cost < here.cost:
            tried = run.newton(here)
        if tried is None:
            break
        moved = _reach(problem, tried.h - here.h)
        here = tried
        history.append(here.cost)
        idle = 0 if here.imbalance < 0.5 * best.imbalance else idle + 1
        best = here if here.imbalance <= best.imbalance else best
        # Near the end, rounding puts a floor under the imbalance.
        if run.told(here) or (idle > _IDLE and best.imbalance < 1e-9):
            break
    return best, Iterate(best.h, BY_NEWTON, best.imbalance, float(run.reads), tuple(history))


class _Run:
    """Steps from state to state, and the reads that they took; a step is None where there is none."""

    def __init__(self, problem: GeneralProblem, limit: int, progress: Progress | None) -> None:
        self._problem, self._limit, self._progress = problem, limit, progress
        self._parts = Parts.of(problem.blocks)
        self._longest = _LONGEST  # longer while all goes well: costs as log(1 + w²) are nearly flat far out
        self.reads, self._stopped = 0, not problem.blocks.active.any()

    def at(self, h: Array) -> State:
        self.reads += 1
        return self._problem.at(h)

    def told(self, here: State, so_far: str = "") -> bool:
        """Whether to stop."""
        said = f"Newton's method, read {self.reads}: imbalance {here.imbalance:.1e}{so_far}"
        self._stopped |= self.reads >= self._limit or bool(self._progress and self._progress(said))
        return self._stopped

    def together(self, here: State) -> State | None:
        """All units moved at once, halfway to where each alone would be balanced.

        Halfway is the mean of two states where units have two colours, and F is convex.
        """
        problem = self._problem
        into, out = here.balance.incoming, here.balance.outgoing
        rise, fall = np.zeros(problem.count), np.zeros(problem.count)
        for pair, read in zip(problem.blocks.pairs, here.reads, strict=True):
            for (_, side), kappa in zip(pair.sides(), read.kappa, strict=True):
                side.add(np.abs(side.coefficient) * kappa, rise, fall)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            move = -0.5 * np.log(into / out) / (rise / into + fall / out)
        move = np.where(problem.blocks.active & np.isfinite(move), move, 0.0)
        reach = _reach(problem, move)
        return self.at(here.h + move * min(1.0, _LONGEST / reach)) if reach > 0 else None

    def newton(self, here: State) -> State | None:
        """Newton's step, or a part of it."""
        blocks, balance = self._problem.blocks, here.balance
        if self._stopped:
            return None
        able = self._parts.pinned(blocks, balance.incoming + balance.outgoing).active
        hessian = Hessian.of(here, able)
        downhill = np.where(able, balance.outgoing - balance.incoming, 0.0)
        if not np.all(np.isfinite(hessian.diagonal)):
            return None
        goal = min(1e-2, here.imbalance)

        def done(_: Array, __: Array, left: float) -> bool:
            return left <= goal or self.told(here, f", {left:.0e} of a step left")

        move, _, products = hessian.solve(downhill, done, _PRODUCTS)
        self.reads += products
        if not np.any(move):
            return None
        slope = -float(downhill @ move)
        length = first = min(1.0, self._longest / _reach(self._problem, move))
        while length > 1e-12:
            tried = self.at(here.h + length * move)
            # Close to the optimum F no longer resolves the decrease; there the full step is right.
            if tried.cost <= here.cost + 1e-4 * length * slope or abs(slope) < 1e-10 * here.cost:
                self._longest *= 2.0 if length == first < 1.0 else 1.0
                return tried if np.isfinite(tried.cost) else None
            length /= 2
            self._longest = max(_LONGEST, self._longest / 2)
        return None


def _reach(problem: GeneralProblem, move: Array) -> float:
    """The most that the log-scale of a weight can change."""
    return max(
        (
            sum(float(np.max(np.abs(side.logs(move)), initial=0.0)) for _, side in pair.sides())
            for pair in problem.blocks.pairs
        ),
        default=0.0,
    )
