"""Exact cyclic sweeps over layers, in about one read of the weights each.

A layer is balanced by its sums on both sides. In a chain the sums of what goes out are those that the last
sweep added up when it balanced the next layer; what comes in is summed, the layer is balanced and the sums
for the one before it are added up while a row is in the cache: one read. Where weights from several blocks
come into a layer, all of them but one are read once more.

Two things carry it over the slow modes: after every sweep whole layers are moved by one scale each, by sums
that are there anyway, and the state is mixed with earlier ones by Anderson's method. What a sweep starts from
is mixed, the sums with the scales, so that this reads nothing. Where it is slow all the same, few weights are
balanced alone if they carry most of the cost (`strong`), and along a chain every layer is mixed by itself
(`layerwise`).

A network that is one loop begins with all its units at once, mixed by the same method. Where it is dense
every unit meets nearly the mean of all others, and that leaves little (of D·K·D⁻¹ with K balanced but for
noise, the noise), while units in turn do not know of what comes later: on the matrix of ones they gain a
factor 8 a sweep. Nothing moves during such a read, so that threads share it, and it takes some 0.6 of the
time of a sweep. Where units hang together loosely it is slow, and turns go on from there: they cannot raise
F.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from balproof.balance.blocks import kernels
from balproof.balance.blocks.anderson import Anderson
from balproof.balance.blocks.layerwise import Layerwise
from balproof.balance.blocks.links import linked, settle_links
from balproof.balance.blocks.order import order_of
from balproof.balance.blocks.pairs import Pair, is_threaded, team
from balproof.balance.blocks.plan import flat, plan_of
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.blocks.strong import by_few, promising
from balproof.balance.coarse import DENSE, shift_by_rows
from balproof.balance.multilevel import slow, stagnant
from balproof.balance.state import Iterate, Progress

Array = np.ndarray

LAYERS = 100_000
"""More layers than this are not moved as wholes."""

_OVER, _GAIN = 8, 0.2
"""So many steps of all units at once are to bring the imbalance down to this share of what it was."""

_SPREAD = 2
"""So many of them take the scales of units away; then it shows whether few weights carry most of the cost."""

_PARTS = 8
"""So many times a check of all layers can end."""

_MANY = 50
"""So many sweeps are worse than what else there may be."""

_FIRST, _AGAIN = 2, 8
"""After so many more sweeps than one, and so many later again, it is asked what is slow."""


class _Run:
    """A state h with the factors and sums of all sides (`kernels.Plan`), some of which are up to date."""

    def __init__(self, problem: BlockProblem, h: Array, sums: Sequence[tuple[Array, Array]]) -> None:
        self.problem = problem
        self.plan = plan = plan_of(problem)
        self.h = h
        self.read = 0
        self.sums = flat(sums)
        self.fresh = np.ones(2 * len(problem.pairs), bool)
        self._lengths = np.diff(plan.start)
        self.after = {b: known for b, known in enumerate(problem.after) if known is not None}  # at h = 0
        self.refactor()
        count = len(plan.unit_start) - 1
        self.order = order_of(plan)
        self._like, self._at_once = _at_once(problem)
        of_touch = self._at_once[plan.side // 2]
        self._fast = np.logical_and.reduceat(of_touch, plan.touch_start[:-1]) if count else np.zeros(0, bool)
        self._all_fast = bool(self._fast.all())

    def refactor(self) -> None:
        """Make the factors those of h."""
        unit = self.plan.unit
        self.factors = np.exp(self.plan.exponent * self.h[unit]) if len(self.h) else np.ones(len(unit))

    def _sides(self, values: Array, b: int) -> tuple[Array, Array]:
        start = self.plan.start
        return values[start[2 * b] : start[2 * b + 1]], values[start[2 * b + 1] : start[2 * b + 2]]

    def _keep(self, b: int, rows: Array | None, columns: Array) -> None:
        """Sums that were read."""
        own = self._sides(self.sums, b)
        if rows is not None:
            own[0][:] = rows
        own[1][:] = columns
        self.fresh[2 * b : 2 * b + 2] = rows is not None, True

    def _stretches(self) -> Iterator[tuple[Array, bool]]:
        """Parts of the order, and whether compiled loops go over all of it at once."""
        if self._all_fast:
            yield self.order, True
            return
        fast = self._fast[self.order]
        ends = np.flatnonzero(np.diff(fast)) + 1
        for part in np.split(self.order, ends):
            if len(part):
                yield part, bool(self._fast[part[0]])

    def sweep(self) -> float:
        """Balance all layers, and say how far from balance they were."""
        state, worst = (self.h, self.factors, self.sums, self.fresh), 0.0
        for part, fast in self._stretches():
            if fast:
                lag, read = kernels.visit_all(self.plan, *self._like, part, True, np.inf, *state)
                self.read += read
            else:
                lag = np.max([self._visit(layer) for layer in part.tolist()])
            worst = float(np.maximum(worst, lag))
        return worst

    @property
    def one_loop(self) -> bool:
        """Whether nearly all weights are those of one full layer that feeds itself."""
        loops = self.plan.loop[self.plan.side // 2]
        full = [p for p in self.problem.pairs if p.loop and p.full]
        most = max((pair.size for pair in full), default=0)
        return len(self.order) == 1 and bool(loops.any()) and 2 * most > self.problem.size

    def renew(self, b: int) -> None:
        """Read a block."""
        pair = self.problem.pairs[b]
        self.read += pair.size
        if pair.loop:
            rows, columns, self.after[b] = pair.read_loop(*self._sides(self.factors, b))
        else:
            rows, columns = pair.read(*self._sides(self.factors, b))
        self._keep(b, rows, columns)

    def place(self, h: Array) -> None:
        """Go on from h, and read everything there."""
        self.h = h
        self.refactor()
        for b in range(len(self.problem.pairs)):
            self.renew(b)

    def _visit(self, layer: int) -> float:
        plan, fresh = self.plan, self.fresh
        lead = kernels.lead_of(plan, layer, fresh)
        block = int(plan.side[lead]) // 2 if lead >= 0 else -1
        if lead >= 0 and plan.loop[block] and block not in self.after:
            self.renew(block)
        for side in plan.side[plan.touch_start[layer] : plan.touch_start[layer + 1]].tolist():
            if side // 2 != block and not fresh[side]:
                self.renew(side // 2)
        into, out = kernels.gather(plan, layer, block, self.factors, self.sums)
        was = own = np.zeros(0)
        if lead >= 0:
            was = self._sides(self.factors, block)[0].copy()
            into_rows, out_rows, inverse, own = kernels.spread(plan, lead, self.h, into, out)
            step = self._step_loop if plan.loop[block] else self._step
            step(block, (into_rows, out_rows, inverse, own), into, out)
        return kernels.settle(plan, layer, lead, self.h, self.factors, self.sums, fresh, into, out, was, own)

    def _step(self, b: int, of_rows: tuple[Array, Array, Array, Array], into: Array, out: Array) -> None:
        pair = self.problem.pairs[b]
        e, y = self._sides(self.factors, b)
        into_rows, out_rows, inverse, h = of_rows
        self._keep(b, *pair.step(e, y, into_rows, out_rows, inverse, h))
        self.read += pair.size

    def _step_loop(self, b: int, of_rows: tuple[Array, Array, Array, Array], into: Array, out: Array) -> None:
        pair, plan = self.problem.pairs[b], self.plan
        e, y = self._sides(self.factors, b)
        sums, was = self._sides(self.sums, b)[1], y.copy()
        known = sums.copy() if self.fresh[2 * b + 1] else None
        rows, columns, self.after[b] = pair.read_loop(e, y, (*of_rows, self.after[b]))
        self.read += pair.size
        self._keep(b, rows, columns)
        self.fresh[2 * b] = False  # of the factors that there were when each row was read
        side = slice(plan.start[2 * b + 1], plan.start[2 * b + 2])
        marginal = plan.weight[side] * was * (columns if known is None else known)
        place = plan.place[side]
        there = place >= 0
        for sign, total in ((1, into), (-1, out)):
            np.add.at(total, place[there], np.maximum(sign * marginal[there], 0))

    def shift_layers(self) -> None:
        """Move whole layers to where F is least, and the sums with them."""
        plan, layers = self.plan, len(self.plan.unit_start) - 1
        if not 0 < layers <= LAYERS:
            return
        state = self.factors, self.sums, self.fresh
        if layers <= DENSE:
            t = kernels.settle_layers(plan, self.h, *state)
        else:
            rows = kernels.layer_terms(plan, *state)
            if not len(rows[0]):
                return
            t = shift_by_rows(*rows, layers)
            kernels.shift_layers(plan, t, self.h, *state)
        for b in self.after:
            kind = plan.kind_start[2 * b]
            moved = plan.kind_coefficient[kind] * t[plan.kind_layer[kind]]
            self.after[b] = self.after[b] * float(np.exp(plan.power[b] * moved))

    def settle_links(self, layers: Array) -> None:
        """Move layers that are tied one to one, and then all as wholes, by sums that are only near."""
        if len(layers):
            settle_links(self.plan, layers, self.h, self.factors, self.sums, self.fresh)
            self.shift_layers()

    def cost(self) -> float:
        fixed = self.problem.constant + self.problem.diagonal
        return fixed + kernels.cost(self.plan, self.factors, self.sums, self.fresh)

    @property
    def complete(self) -> bool:
        """Whether all sums that layers balance by are up to date."""
        return bool(self.fresh[self.plan.side].all())

    def imbalance(self, enough: float = np.inf) -> float:
        """That of the state; what is out of date is read. Once it is more than ``enough`` that ends early.

        Layers where little is to be read come first: small layers are the last to settle.
        """
        worst, state = 0.0, (self.h, self.factors, self.sums, self.fresh)
        order = self._by_cost() if enough < np.inf else self.order
        for part in [order] if self._all_fast else np.array_split(order, _PARTS):
            if not self._all_fast:
                self._renew_by(part)
            if self._at_once.any():
                lag, read = kernels.visit_all(self.plan, *self._like, part, False, enough, *state)
                self.read += read
            else:  # with nothing to read the loops that do so need not be compiled
                sums = (kernels.gather(self.plan, i, -1, self.factors, self.sums) for i in part.tolist())
                lag = np.max([kernels.imbalance(*both) for both in sums], initial=0.0)
            worst = float(np.maximum(worst, lag))  # what is not a number stays so
            if worst > enough:
                break
        return worst

    def _renew_by(self, layers: Array) -> None:
        """Read what of the blocks of these layers is out of date, and is not read by compiled loops."""
        plan = self.plan
        for i in layers.tolist():
            for side in plan.side[plan.touch_start[i] : plan.touch_start[i + 1]].tolist():
                if not self._at_once[side // 2] and not self.fresh[side]:
                    self.renew(side // 2)

    def _by_cost(self) -> Array:
        """The layers, by how much of their blocks is out of date."""
        size = np.where(self.fresh[self.plan.side], 0, self.plan.shape.prod(axis=1)[self.plan.side // 2])
        return np.argsort(np.add.reduceat(size, self.plan.touch_start[:-1]), kind="stable")

    def carried(self) -> Array:
        """The logarithms of what the next sweep starts from besides h; 0 for sums of nothing."""
        parts = self.sums[self._up_to_date()], *self.after.values()
        whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return np.log(whole, where=whole > 0, out=np.zeros(len(whole)))

    def _up_to_date(self) -> Array | slice:
        """The sums that are, as an index."""
        return slice(None) if self.fresh.all() else np.repeat(self.fresh, self._lengths)

    def restart(self, h: Array, carried: Array) -> None:
        """Go on from h and from other sums."""
        self.h = h
        self.refactor()
        fresh = self._up_to_date()
        old = self.sums[fresh]
        new, at = np.exp(carried), len(old)
        self.sums[fresh] = np.where(old > 0, new[:at], 0.0)
        for b, last in self.after.items():
            self.after[b] = np.where(last > 0, new[at : at + len(last)], 0.0)
            at += len(last)


def _at_once(problem: BlockProblem) -> tuple[tuple[Array, Array], Array]:
    """Samples of a type of weights and of its bits, and which blocks compiled loops read between layers.

    Those are contiguous ones of that type. Large ones are read by several threads instead.
    """
    plain = [type(p) is Pair and not p.loop and p.alike is not None for p in problem.pairs]
    able = [
        p if own and not is_threaded(p.size) else None for p, own in zip(problem.pairs, plain, strict=True)
    ]
    kinds = [p.weights.dtype for p in able if p is not None]
    kind = max(set(kinds), key=kinds.count, default=np.dtype(float))
    like = np.zeros(0, kind), np.zeros((0, 1, 0), f"u{kind.itemsize}")
    return like, np.array([p is not None and p.weights.dtype == kind for p in able], bool)


def _all_at_once(
    run: _Run, tolerance: float, limit: int, memory: int, progress: Progress | None
) -> tuple[list[float], list[float], bool, bool]:
    """Move all units of one loop at once, as far as that goes well: the best state stays.

    Gives the imbalances of all states, F of those after the first, whether it was to stop, and whether few
    weights are to be tried next.
    """
    plan, mixer, best = run.plan, Anderson(memory), run.h
    seen, costs, stopped, able = [run.imbalance()], list[float](), False, False
    while min(seen) > tolerance and len(costs) < limit and not stopped:
        before, run.h, none = run.h, run.h.copy(), np.zeros(0)
        into, out = kernels.gather(plan, 0, -1, run.factors, run.sums)
        kernels.settle(plan, 0, -1, run.h, run.factors, run.sums, run.fresh, into, out, none, none)
        with np.errstate(over="ignore", invalid="ignore"):  # where it goes badly
            run.place(mixer.mix(before, run.h, none)[0])
        seen.append(kernels.imbalance(*kernels.gather(plan, 0, -1, run.factors, run.sums)))
        costs.append(run.cost())
        best = run.h if seen[-1] <= min(seen) else best
        stopped = bool(progress and progress(f"step {len(costs)}: imbalance {seen[-1]:.1e}"))
        going = len(seen) <= _OVER or min(seen) < _GAIN * min(seen[:-_OVER])
        if len(costs) == _SPREAD:
            able, looked_at = promising(run.problem, plan, run.factors)
            run.read += looked_at
            going &= not able
        if not going or not costs[-1] <= 1.01 * min(costs):
            break
    if best is not run.h:
        run.place(best)
        costs.append(run.cost())
    return seen, costs, stopped, able


@team()
def sweeps(
    problem: BlockProblem,
    *,
    tolerance: float = 1e-13,
    limit: int = 500,
    coarse: bool = True,
    memory: int = 8,
    slowly: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> Iterate:
    """Sweeps until the imbalance is at most ``tolerance``; plain ones without ``coarse`` and ``memory``.

    Where more than fifty further ones are to be expected, they end if ``slowly``, asked once, says so.

    >>> from balproof.balance.problem import Costs
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> problem = BlockProblem.build(infer(load("tests/data/chain.json")), Costs.parse("l2"))
    >>> sweeps(problem).imbalance <= 1e-13
    True
    """
    zero = np.zeros(problem.manifold.count)
    run, mixer = _Run(problem, zero.copy(), problem.start), Anderson(memory)
    imbalance = run.imbalance()
    history, recent = [run.cost()], [imbalance]
    run.read = sum(pair.size for pair in problem.pairs)  # what `BlockProblem.build` read
    best, few_carry = (imbalance, zero), False
    if coarse and memory and run.one_loop:
        recent, costs, stopped, few_carry = _all_at_once(run, tolerance, limit, memory, progress)
        imbalance, limit = min(recent), 0 if stopped else limit - len(costs)
        history, recent, best = history + costs, [imbalance], (imbalance, run.h.copy())
    links = linked(run.plan, run.order) if coarse and memory else run.order[:0]
    if coarse:
        run.shift_layers()
        run.settle_links(links)
    layerwise: Layerwise | None = None
    look = 0 if few_carry else _FIRST
    for sweep in range(limit):
        if imbalance <= tolerance or not len(run.order):
            break
        before = run.h.copy()
        lag = run.sweep()
        if coarse:
            run.shift_layers()
        history.append(run.cost())
        # What the visits saw was before their steps; the next would see as much less as these did.
        expected = lag * min(1.0, lag / recent[-1]) if recent[-1] else lag
        recent.append(lag)
        still = lag < 1e-11 and stagnant(recent)
        stopped = progress and progress(f"sweep {sweep + 1}: imbalance {lag:.1e}")
        if slowly and sweep + 1 >= _AGAIN and slow(recent, tolerance, _MANY):
            still, slowly = still or slowly(), None
        final = still or stopped or sweep + 1 == limit
        if run.complete or expected <= tolerance or final:
            enough = np.inf if run.complete or final else tolerance
            imbalance = run.imbalance(enough)
            if imbalance < best[0] and imbalance <= enough:
                best = imbalance, run.h.copy()
            if still or stopped:
                break
        if not memory or imbalance <= tolerance:
            continue
        if layerwise:
            layerwise.step(run.h, run.factors, run.sums, lag)
            run.refactor()
            continue
        if coarse and sweep >= look and (few_carry or slow(recent, tolerance)):
            few = by_few(problem, run.plan, run.order, run.h, tolerance, progress=progress)
            run.read += few.read
            history += few.history
            if few.imbalance < best[0]:
                best = few.imbalance, few.h
            if few.imbalance <= tolerance or few.stopped:
                break
            if few.imbalance < 0.1 * lag:
                run.place(few.h.copy())
                mixer.forget()
                continue
            if Layerwise.able(run.plan):
                layerwise, run.order = Layerwise(run.plan), np.arange(len(run.order))
            look = limit if few.history else sweep + _AGAIN  # once it was of no use, not again
            few_carry = False
        if lag > 2 * min(recent[-4:]):
            links = links[:0]  # the sums were not near enough
        run.settle_links(links)
        run.restart(*mixer.mix(before, run.h, run.carried()))
    return Iterate(best[1], "block sweeps", best[0], run.read / problem.size, tuple(history))
