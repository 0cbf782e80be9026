"""The smallest explanation of weights that are no rescaling: which mistakes made all the difference, where.

Scales that explain most entries need not be those that were meant: where a program forgot to divide the
weights out of a layer, the weights out may well be more than those in. So several candidates are tried: fits
to all entries, to all tensors but some, and to what a mistake in every layer would leave behind. For each of
them every tensor is asked for its simplest changes (`balproof.crosscheck.parts`), and changes that are one
mistake are put together. The candidate with the least cost, counted in mistakes, is the explanation. It is
exact: every entry is either right, or in the mask of a cause.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations

import numpy as np

from balproof.crosscheck.calls import by_call, shared
from balproof.crosscheck.causes import Cause, as_one, merged, side_of
from balproof.crosscheck.parts import Part, View, parts_of
from balproof.crosscheck.scales import (
    Recovered,
    Rounding,
    coarser,
    judge_entries,
    recover_scales,
)
from balproof.network.manifold import Axes, Block, Manifold

Array = np.ndarray
Values = Mapping[str, Array]

ENOUGH = 1.3
"""One mistake, or one entry: nothing simpler is looked for."""

SEVERAL = 3.0
"""Costs more than one mistake: only then a shared layer is taken for several, which have more scales."""

EVIDENCE = 2
"""With fewer weights for each scale, many scales explain them after some mistake or other."""

ASIDE = 8
"""Tensors that are left out of the fit one by one, and in pairs if that is not enough."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """The scales that were meant, what they do not explain, and the causes of that."""

    found: Recovered
    causes: tuple[Cause, ...]
    cost: float


def explain(
    manifold: Manifold,
    old: Values,
    new: Values,
    rounding: Mapping[str, Rounding],
    found: Recovered,
    *others: Recovered,
) -> Explanation:
    """The candidate that needs the fewest mistakes; ``found`` and ``others`` are candidates, the first best.

    >>> from balproof.crosscheck.scales import roundings
    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> net = load("tests/data/chain.json"); manifold = infer(net)
    >>> old = {t.name: net.numbers(t.name) for t in net.parameters}
    >>> new = {**old, "fc1.weight": -old["fc1.weight"]}
    >>> kinds = roundings(net, net)
    >>> [c.kind for c in explain(manifold, old, new, kinds, recover_scales(manifold, old, new, kinds)).causes]
    ['sign-changed']
    """
    search = _Search(manifold, old, new, rounding)
    best = search.explanation(found)
    if sum(np.count_nonzero(v) for v in old.values()) < EVIDENCE * manifold.count:
        return best
    best = search.improved(best, others)
    best = search.improved(best, search.of_every_layer())
    best = search.improved(best, search.but_some(best.causes))
    wrong = {name for cause in best.causes for name in cause.tensors}
    if (
        best.cost > SEVERAL
        and wrong & set(shared(manifold.network))
        and by_call(manifold, old, new, rounding)
    ):
        return Explanation(best.found, (as_one(manifold, best.causes, "shared-layer-scaled-once"),), 1.0)
    return best


@dataclass(frozen=True, eq=False)
class _Search:
    manifold: Manifold
    old: Values
    new: Values
    rounding: Mapping[str, Rounding]

    @cached_property
    def coarse(self) -> Mapping[str, Rounding]:
        """The rounding of each tensor, that of a narrower type where all of its numbers are of that."""
        return {
            n: coarser(self.old[n], self.new[n], self.rounding[n]) or self.rounding[n] for n in self.rounding
        }

    def explanation(self, found: Recovered) -> Explanation:
        parts: list[Part] = []
        for block in self.manifold.blocks:
            parts += self._parts(block, found.h)
        causes, cost = merged(self.manifold, parts, found)
        return Explanation(found, causes, cost)

    def improved(self, best: Explanation, candidates: Iterable[Recovered]) -> Explanation:
        """The best of these and the one before, as soon as there is one that is simple enough."""
        for candidate in candidates if best.cost > ENOUGH else ():
            other = self.explanation(candidate)
            if other.cost < best.cost - 1e-9:
                best = other
            if best.cost <= ENOUGH:
                break
        return best

    def _parts(self, block: Block, h: Array) -> list[Part]:
        name, shape = block.name, block.shape
        old, new, kind = self.old[name].reshape(shape), self.new[name].reshape(shape), self.rounding[name]
        view = View(self.manifold, block, old, new, kind, h)
        coarse = self.coarse[name]
        if coarse is kind:
            return parts_of(view)
        wide = dataclasses.replace(view, rounding=coarse)
        rest = parts_of(wide)
        rounded = view.wrong(view.log) & ~wide.wrong(view.log)
        if not rounded.any():  # the scales were fitted to just these numbers
            rounded = np.ones(shape, bool)
        return [Part("rounded", name, rounded, 1.0), *rest]

    def _fit(self, manifold: Manifold, rounding: Mapping[str, Rounding] | None = None) -> Recovered:
        """A fit to another model of what was done, judged by the one that should have been."""
        h = recover_scales(manifold, self.old, self.new, rounding or self.rounding).h[: self.manifold.count]
        return judge_entries(self.manifold, self.old, self.new, self.rounding, h)

    def of_every_layer(self) -> Iterator[Recovered]:
        """Fits to what is left where the same mistake was made in every layer."""
        if any(self.coarse[n] is not self.rounding[n] for n in self.rounding):
            yield self._fit(self.manifold, self.coarse)
        yield judge_entries(self.manifold, self.old, self.new, self.rounding, np.zeros(self.manifold.count))
        for negative, positive in ((0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)):
            yield self._fit(_changed(self.manifold, negative, positive))
        for side in (-1, 1):
            yield self._fit(_loose(self.manifold, side))
        for power in (0.5, 2.0):
            yield self._fit(_changed(self.manifold, power, 1.0))
        for decayed in _decays(self.manifold):
            yield self._fit(_with_a_factor(self.manifold, decayed))

    def but_some(self, causes: Sequence[Cause]) -> Iterator[Recovered]:
        """Fits to all tensors but one or two of those that may be wrong."""
        suspects = self._suspects(causes)
        for count in (1, 2):
            for aside in combinations(suspects, count):
                kept = tuple(b for b in self.manifold.blocks if b.name not in aside)
                yield self._fit(dataclasses.replace(self.manifold, blocks=kept))

    def _suspects(self, causes: Sequence[Cause]) -> list[str]:
        """The tensors with wrong entries, and their neighbours: those that feel the same scales."""
        wrong = [name for c in causes for name in c.tensors]
        columns = {
            b.name: {k for t in b.terms for form in t.forms for k, _ in form} for b in self.manifold.blocks
        }
        felt = set().union(*(columns[n] for n in wrong)) if wrong else set[int]()
        near = [b.name for b in self.manifold.blocks if columns[b.name] & felt and len(b.shape) > 0]
        order = [*dict.fromkeys([*wrong, *near])]
        weights = [n for n in order if n not in self.manifold.network.biases]
        return weights[:ASIDE]


def _changed(manifold: Manifold, negative: float, positive: float) -> Manifold:
    """What goes out of units times one factor, what comes in times another; biases as they should be."""

    def term(t: Axes) -> Axes:
        factor = Fraction({1: positive, -1: negative, 0: 1.0}[side_of(t.forms)])
        return Axes(t.index, tuple(tuple((k, c * factor) for k, c in form if factor) for form in t.forms))

    return _with_terms(manifold, term)


def _loose(manifold: Manifold, side: int) -> Manifold:
    """One side of all units with scales of its own, whatever they are."""
    count = manifold.count

    def term(t: Axes) -> Axes:
        nonlocal count
        if side_of(t.forms) != side:
            return t
        count += len(t.forms)
        return Axes(t.index, tuple(((count - len(t.forms) + i, Fraction(1)),) for i in range(len(t.forms))))

    changed = _with_terms(manifold, term)
    return dataclasses.replace(changed, names=tuple(str(k) for k in range(count)))


def _decays(manifold: Manifold) -> list[frozenset[str]]:
    """What programs let decay: all that is learned, all but biases, matrices and kernels."""
    learned = [t for t in manifold.network.parameters if not t.buffer]
    every = frozenset(t.name for t in learned)
    large = frozenset(t.name for t in learned if len(t.shape) > 1)
    return [*dict.fromkeys((every, every - set(manifold.network.biases), large))]


def _with_a_factor(manifold: Manifold, names: frozenset[str]) -> Manifold:
    """One factor more, the same for all of these tensors."""
    form = ((manifold.count, Fraction(1)),)

    def block(b: Block) -> Block:
        more = Axes(np.zeros((1,) * len(b.shape), int), (form,))
        return dataclasses.replace(b, terms=(*b.terms, more)) if b.name in names else b

    blocks = tuple(block(b) for b in manifold.blocks)
    return dataclasses.replace(manifold, names=(*manifold.names, "factor"), blocks=blocks)


def _with_terms(manifold: Manifold, term: Callable[[Axes], Axes]) -> Manifold:
    biases = manifold.network.biases
    blocks = tuple(
        b if b.name in biases else dataclasses.replace(b, terms=tuple(term(t) for t in b.terms))
        for b in manifold.blocks
    )
    return dataclasses.replace(manifold, blocks=blocks)
