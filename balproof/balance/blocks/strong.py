"""Few weights that carry most of the cost, as where weights have heavy tails: balanced by these in the main.

Such weights make long chains along which sweeps are slow. One read finds those that are strong beside all
others of their row or of their column. What is left of a block is taken for one of rank one with the sums
that it has now. That problem has the gradient of the whole one, and sweeps over its few weights cost little;
a read of all at its solution says how far from balance that is and what the rest has become.
"""

# Compiled code: see `balproof.balance.blocks.kernels`.
# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit  # pyright: ignore[reportPrivateImportUsage]

from balproof.balance.blocks import kernels
from balproof.balance.blocks.anderson import Anderson
from balproof.balance.blocks.kernels import Plan
from balproof.balance.blocks.pairs import Pair
from balproof.balance.blocks.plan import flat
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.coarse import shift_by_rows
from balproof.balance.state import Progress

Array = np.ndarray

_STRONG = 1e-3
"""Of the smaller of the costs of its row and its column."""

_FEW = 1 / 16
"""Of the weights of a block are kept at most; stronger ones then."""

_LEAST = 4
"""But for so many in every row."""

_LOOKED_AT, _ROWS = 32, 24
"""One of so many rows is looked at first, and of a block not more of them than this."""

_ENOUGH = 0.15
"""Where the rest costs more of most rows and columns than this, few weights tell too little."""

_SLOW = 0.3
"""After a step that left more of the imbalance, strong weights are looked for anew."""

_SHARE, _LEAST_GOAL = 0.03, 2e-15
"""Strong weights are balanced to this share of the imbalance of all: the rest leaves about as much."""

_STEPS = 30
"""At most; they end where two of them leave more than a quarter of the imbalance."""


class Few(NamedTuple):
    """The weights that are kept, by entries of sides (`Plan`): those of entry j start at start[j].

    ``other`` is the entry across, ``cost`` that of the weight without factors. ``total`` numbers the groups
    of both sides of all blocks, ``across`` is that of the other side. Entries of unit k start at of_unit[k].
    """

    start: Array
    other: Array
    cost: Array
    total: Array
    across: Array
    of_unit: Array
    entry: Array


def few(problem: BlockProblem, plan: Plan, factors: Array, sums: Array) -> Few | None:
    """The strong weights at a state with these sums, all of them up to date: one read.

    None where the others matter too much.
    """
    rows: list[Array] = []
    columns: list[Array] = []
    costs: list[Array] = []
    for b, pair in enumerate(problem.pairs):
        start, middle, end = plan.start[2 * b : 2 * b + 3]
        found = _strong(
            pair.weights, pair.groups, pair.loop, pair.mode, pair.power, pair.table,
            factors[start:middle], factors[middle:end], sums[start:middle], sums[middle:end], _STRONG,
            _room(pair),
        )  # fmt: skip
        rows.append(found[0] + start)
        columns.append(found[1] + middle)
        costs.append(found[2])
    i, j, cost = (np.concatenate(part) for part in (rows, columns, costs))
    count = int(plan.start[-1])
    ends, others = np.concatenate([i, j]), np.concatenate([j, i])
    entry_start, by_entry = _sorted(ends, count)
    side = np.repeat(np.arange(len(plan.start) - 1), np.diff(plan.start))
    each = np.diff(plan.start) // np.repeat(plan.groups, 2)
    first = np.concatenate([[0], np.cumsum(np.repeat(plan.groups, 2))])
    group = (np.arange(count) - plan.start[side]) // np.maximum(each, 1)[side]
    moving = np.flatnonzero(plan.place >= 0)
    by_unit = moving[np.argsort(plan.unit[moving], kind="stable")]
    made = Few(
        entry_start,
        others[by_entry],
        np.concatenate([cost, cost])[by_entry],
        first[side] + group,
        first[side ^ 1] + group,
        np.searchsorted(plan.unit[by_unit], np.arange(len(plan.layer) + 1)),
        by_unit,
    )
    left = _rest(plan, made, factors, sums)
    there = (sums > 0) & (plan.place >= 0)
    if not there.any() or np.median(left[there] / sums[there]) > _ENOUGH:
        return None
    return made


def promising(problem: BlockProblem, plan: Plan, factors: Array) -> tuple[bool, int]:
    """Whether few weights carry most of some rows that are looked at, and how many weights that took."""
    if not len(plan.units) or not all(type(pair) is Pair for pair in problem.pairs):
        return False, 0
    if sum(_room(pair) for pair in problem.pairs) > 2 * _FEW * problem.size:
        return False, 0
    left: list[Array] = [np.zeros(0)]
    read = 0
    for b, pair in enumerate(problem.pairs):
        count, across = pair.weights.shape[:2]
        few = _room(pair) // count
        if few == across:
            continue
        rows = np.linspace(0, count - 1, min(count // _LOOKED_AT, _ROWS), dtype=int)
        y = factors[plan.start[2 * b + 1] : plan.start[2 * b + 2]].reshape(pair.groups, -1)
        flows = pair.costs_of(pair.weights[rows]).sum(axis=2) * y[rows * pair.groups // count]
        total, most = flows.sum(axis=1), np.partition(flows, across - few)[:, across - few :].sum(axis=1)
        left.append(1 - np.divide(most, total, where=total > 0, out=np.ones(len(rows))))
        read += len(rows) * pair.weights[0].size
    found = np.concatenate(left)
    return bool(len(found)) and float(np.median(found)) <= _ENOUGH, read


def _room(pair: Pair) -> int:
    """So many weights of a block are kept at most."""
    count, across = pair.weights.shape[:2]
    return min(max(int(_FEW * across), _LEAST), across) * count


@njit(nogil=True, cache=True)
def _strong(w, groups, loops, mode, power, table, e, y, rows, columns, theta, room):
    """Row, column and cost of the strong weights of a block: at most ``room``, the strongest."""
    at, to, cost, ratio = np.zeros(room, np.int64), np.zeros(room, np.int64), np.zeros(room), np.zeros(room)
    n, r, c = 0, len(w) // groups, w.shape[1]
    row = np.zeros(c)
    for i in range(len(w)):
        kernels.fill(w[i], mode, power, table, row)
        g = i // r
        for j in range(c):
            if row[j] == 0 or (loops and i == j):
                continue
            k = g * c + j
            if row[j] * y[k] < theta * rows[i] and row[j] * e[i] < theta * columns[k]:
                continue
            strength = 1.0  # where a sum has underflown
            if rows[i] > 0 and columns[k] > 0:
                strength = max(row[j] * y[k] / rows[i], row[j] * e[i] / columns[k])
            while n == room and theta < 0.5:
                theta *= 2
                n = 0
                for m in range(room):
                    if ratio[m] >= theta:
                        at[n], to[n], cost[n], ratio[n] = at[m], to[m], cost[m], ratio[m]
                        n += 1
            if strength >= theta and n < room:
                at[n], to[n], cost[n], ratio[n] = i, k, row[j], strength
                n += 1
    return at[:n], to[:n], cost[:n]


@njit(nogil=True, cache=True)
def _sorted(ends, count):
    """Where those of each of ``count`` ends start, and the places of all in that order."""
    start = np.zeros(count + 1, np.int64)
    for end in ends:
        start[end + 1] += 1
    start = np.cumsum(start)
    order, at = np.empty(len(ends), np.int64), start.copy()
    for k in range(len(ends)):
        order[at[ends[k]]] = k
        at[ends[k]] += 1
    return start, order


@njit(nogil=True, cache=True)
def _kept(plan, made, factors, rows_alone):
    """The sums of the weights that are kept, of every entry."""
    found = np.zeros(len(factors))
    for s in range(0, len(plan.start) - 1, 2 if rows_alone else 1):
        for j in range(plan.start[s], plan.start[s + 1]):
            for k in range(made.start[j], made.start[j + 1]):
                found[j] += made.cost[k] * factors[made.other[k]]
    return found


def _rest(plan: Plan, made: Few, factors: Array, sums: Array) -> Array:
    """What the sums are without the weights that are kept."""
    return np.maximum(sums - _kept(plan, made, factors, False), 0.0)


def _ranked(plan: Plan, made: Few, rest: Array, factors: Array) -> Array:
    """``rest``, of columns divided by the total of the group: then a·(b·y) are the sums of rank one."""
    count = 2 * int(plan.groups.sum())
    total = np.bincount(made.total, rest * factors, count)
    columns = np.repeat(np.arange(len(plan.start) - 1) % 2 == 1, np.diff(plan.start))
    both = (total[made.total] > 0) & (total[made.across] > 0)
    divided = np.divide(rest, total[made.total], where=both, out=np.zeros(len(rest)))
    return np.where(columns, divided, np.where(both, rest, 0.0))


@njit(nogil=True, cache=True)
def _sweep(plan, made, order, rest, h, factors):
    """Balance the units of these layers one after another, and say how far from balance they were."""
    total = np.zeros(2 * plan.groups.sum())
    for j in range(len(factors)):
        total[made.total[j]] += rest[j] * factors[j]
    worst = 0.0
    for layer in order:
        for unit in plan.units[plan.unit_start[layer] : plan.unit_start[layer + 1]]:
            into, out = 0.0, 0.0
            for n in range(made.of_unit[unit], made.of_unit[unit + 1]):
                j = made.entry[n]
                own = rest[j] * total[made.across[j]]
                for k in range(made.start[j], made.start[j + 1]):
                    own += made.cost[k] * factors[made.other[k]]
                own *= plan.weight[j] * factors[j]
                if own > 0:
                    into += own
                else:
                    out -= own
            if not (into > 0 and out > 0):
                continue
            worst = max(worst, abs(into - out) / (into + out))
            h[unit] += np.log(out / into) * plan.inverse[unit]
            for n in range(made.of_unit[unit], made.of_unit[unit + 1]):
                j = made.entry[n]
                new = np.exp(plan.exponent[j] * h[unit])
                total[made.total[j]] += rest[j] * (new - factors[j])
                factors[j] = new
    return worst


def balance_few(
    plan: Plan, made: Few, order: Array, h: Array, sums: Array, goal: float, most: int = 60
) -> tuple[Array, int]:
    """Sweeps over the strong weights from h, which has these sums, until their imbalance is at most ``goal``.

    The state that they lead to, and how many weights were read.
    """
    factors = _factors(plan, h)
    rest = _ranked(plan, made, _rest(plan, made, factors, sums), factors)
    mixer, read = Anderson(8), len(made.cost)
    layers, none = len(plan.unit_start) - 1, np.zeros(0)
    fresh = np.arange(len(plan.start) - 1) % 2 == 0
    for _ in range(most):
        before = h
        h = h.copy()
        lag = _sweep(plan, made, order, rest, h, factors)
        read += len(made.cost)
        if not lag > goal:
            break
        if layers > 1:
            total = np.bincount(made.total, rest * factors, 2 * int(plan.groups.sum()))
            sums = _kept(plan, made, factors, True) + rest * total[made.across]
            terms = kernels.layer_terms(plan, factors, sums, fresh)
            read += len(made.cost) // 2
            if len(terms[0]):
                t = shift_by_rows(*terms, layers)
                h += np.where(plan.layer >= 0, t[plan.layer], 0.0)
        h, _ = mixer.mix(before, h, none)
        factors = _factors(plan, h)
    return h, read


def _factors(plan: Plan, h: Array) -> Array:
    with np.errstate(over="ignore"):  # a mixture may be far off; then the next read says so
        return np.exp(plan.exponent * h[plan.unit])


@dataclass(frozen=True, eq=False)
class Found:
    """The best state, its imbalance, the costs on the way there and how many weights were read."""

    h: Array
    imbalance: float
    history: list[float]
    read: int
    stopped: bool


def by_few(
    problem: BlockProblem,
    plan: Plan,
    order: Array,
    h: Array,
    tolerance: float,
    *,
    progress: Progress | None = None,
) -> Found:
    """From h towards balance, with a read of all weights in every step, where few of them tell enough."""
    able, read = promising(problem, plan, _factors(plan, h))
    if not able:
        return Found(h, np.inf, [], read, False)
    made: Few | None = None
    mixer, none = Anderson(8), np.zeros(0)
    history: list[float] = []
    seen: list[float] = []
    best, stopped = h, False
    while not stopped and len(seen) < _STEPS:
        with np.errstate(over="ignore", invalid="ignore"):
            own = problem.sums(h)
            imbalance = problem.imbalance_of(problem.balanced_by(own, h))
            cost = problem.cost_by(own, h)
        read += sum(pair.size for pair in problem.pairs)
        if not np.isfinite(imbalance + cost):
            break
        history.append(cost)
        if imbalance <= min(seen, default=np.inf):
            best = h
        seen.append(imbalance)
        stopped = bool(
            progress and progress(f"step {len(seen)} by strong weights: imbalance {imbalance:.1e}")
        )
        if imbalance <= tolerance or (len(seen) > 2 and imbalance > 0.25 * seen[-3]):
            break
        sums = flat(own)
        if made is None or imbalance > _SLOW * seen[-2]:
            made = few(problem, plan, _factors(plan, h), sums)
            read += sum(pair.size for pair in problem.pairs)
            if made is None:
                break
            mixer.forget()
        image, more = balance_few(plan, made, order, h, sums, max(_SHARE * imbalance, _LEAST_GOAL))
        read += more
        h, _ = mixer.mix(h, image, none)
    return Found(best, min(seen, default=np.inf), history, read, stopped)
