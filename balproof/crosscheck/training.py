"""Does a training run keep its books? Exact identities of each step, along the scaling manifold.

Three things are tested, and told apart: that gradients are gradients, Aᵀ(w∘g) = 0, whatever the data and the
loss (one of another loss, or a multiple, is a gradient too); that each step is the one that the settings of
the optimizer say, weight by weight; and, for each unit, that z = Aᵀw² moves as foretold by the identities of
`balproof.crosscheck.sgd`.

What is put down to rounding. A step has few operations, so the bound of a weight, and with it that of z, is
rigorous. The rounding of a gradient depends on sums over samples that nobody sees here. For one sample, sums
of the n weights of a unit are off by at most n roundings of Σ|A||w∘g|; samples cancel each other, so that
many times that (`CANCELLATION`) is allowed, of the largest gradient of the run so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from balproof.conservation.ledger import after_step
from balproof.crosscheck.drift import Status, TrainingReport, UnitDrift
from balproof.crosscheck.faults import shown
from balproof.crosscheck.scales import _TYPES as TYPES
from balproof.crosscheck.sgd import Foretold, History, Sgd, foretell, history
from balproof.crosscheck.suspects import (
    GradientBooks,
    StepBooks,
    TrainingFault,
    gradient_faults,
    step_faults,
)
from balproof.errors import ModelError, RequestError
from balproof.importers import load
from balproof.network.laws import scaling_columns
from balproof.network.manifold import Manifold, infer

Array = np.ndarray
Weights = Mapping[str, Array]
Rule = Sgd | str
_NO_LAW = ("no-gradient", "not-in-optimizer")
"""Faults that leave units without a law, and break no other."""

Types = Mapping[str, tuple[float, float]]

CANCELLATION = 32.0
"""So many times the sizes of summed gradients may those of their samples be."""


def conserved_along(
    steps: Iterable[tuple[Weights, Weights | None]],
    model: object,
    rule: Rule | Sequence[Rule],
    *,
    example_inputs: object = None,
    resumed: bool = False,
    precision: float | None = None,
) -> TrainingReport:
    """Test the exact step identities along the scaling manifold of ``model`` on a training run.

    ``steps`` are pairs of the weights by name and of the gradients at them, as the optimizer got them, in
    order; the last pair holds the weights after the last step, with None for gradients. A parameter that is
    left out, or None, has no gradient, and one that is left out of the weights has not moved. Pairs are read
    one by one. ``rule`` is an `Sgd`, or one for each step; any other optimizer is named by a text, and has no
    law. With ``resumed`` the momentum of the first step is that of an earlier run. ``precision`` is the
    rounding of the arithmetic that made the gradients, if coarser than their type (2.0**-8 for bfloat16).

    Raises RequestError for fewer than two pairs, ModelError as `balproof.load` and for weights that
    do not fit the model.

    >>> w, v, rate = 3.0, 1.0, 0.1
    >>> run = []
    >>> for _ in range(3):  # the loss is wv
    ...     run.append(({"W_in": np.array([[w]]), "W_out": np.array([[v]])},
    ...                 {"W_in": np.array([[v]]), "W_out": np.array([[w]]), "J": np.zeros((1, 1))}))
    ...     w, v = w - rate * v, v - rate * w
    >>> model = {"J": [[0.0]], "W_in": [[3.0]], "W_out": [[1.0]]}
    >>> report = conserved_along(run, model, Sgd(rate))
    >>> report.status, report.units[0].name
    ('holds', 's[0]')
    >>> report = conserved_along(run, model, Sgd(0.2))
    >>> report.status, report.faults[0].kind, round(report.faults[0].size, 12)
    ('broken', 'wrong-rate', 0.1)
    """
    run: Run | None = None
    last: tuple[Weights, Weights | None] | None = None
    count = 0
    for pair in steps:
        if run is None:
            run = Run(infer(load(model, example_inputs)), resumed=resumed, precision=precision)
        if last is not None:
            run.step(last[0], last[1] or {}, pair[0], _rule_of(rule, count))
            count += 1
        last = pair
    if run is None or not count:
        raise RequestError("a run needs two sets of weights at least", "give the weights after each step too")
    return run.report()


def _rule_of(rule: Rule | Sequence[Rule], step: int) -> Rule:
    if isinstance(rule, Sgd | str):
        return rule
    if step >= len(rule):
        raise RequestError(f"step {step} has no rule", "give one rule, or one for each step")
    return rule[step]


class Run:
    """Books of a run, kept while it goes on: sums for each unit and each tensor, and the last step.

    ``step`` takes the weights before and after, and the gradients between. ``rule`` is one for all tensors
    or one for each by name. ``types`` are those of the weights where the arrays are wider; ``left_out`` are
    tensors that the optimizer was not given.
    """

    def __init__(
        self,
        manifold: Manifold,
        *,
        resumed: bool = False,
        precision: float | None = None,
        types: Mapping[str, str] | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        self.manifold = manifold
        self.columns = list(scaling_columns(manifold))
        self.sizes = manifold.absolute()
        self.shapes = {t.name: t.shape for t in manifold.network.learned}
        ones = {n: np.ones(s) for n, s in self.shapes.items()}
        self.touches = {n: self._units({n: v}, self.sizes) > 0 for n, v in ones.items()}
        self.terms = self._units(ones, self.sizes)
        self.values = {n: manifold.network.numbers(n) for n in self.shapes}
        self.resumed, self.precision, self.types = resumed, precision, types
        self.left_out = left_out
        self.histories: dict[str, History] = {}
        self.steps = 0
        self.rules: dict[str, None] = {}
        n = len(self.columns)
        self.start: Array = np.zeros(n)
        self.end: Array = np.zeros(n)
        self.drift, self.tolerance, self.gradient, self.largest = (np.zeros(n) for _ in range(4))
        self.lawful = np.ones(n, dtype=bool)
        self.slopes = GradientBooks(tuple(self.shapes), n)
        self.moves = StepBooks(tuple(self.shapes))
        self.skipped = 0

    def _units(self, arrays: Weights, manifold: Manifold | None = None) -> Array:
        return (manifold or self.manifold).adjoint(arrays)[self.columns]

    def step(
        self, before: Weights, gradients: Weights, after: Weights, rule: Rule | Mapping[str, Rule]
    ) -> None:
        """Book one step. Raises ModelError for arrays of other names or shapes, or that are not finite."""
        w, types = self._weights(before)
        v, _ = self._weights(after)
        g = {n: self._array(n, x, "gradient") for n, x in gradients.items() if x is not None}
        rules = dict.fromkeys(self.shapes, rule) if isinstance(rule, Sgd | str) else dict(rule)
        self.rules.update(dict.fromkeys(r.text if isinstance(r, Sgd) else r for r in rules.values()))
        if not self.steps:
            self.start = self._units({n: x**2 for n, x in w.items()})
        slack = self._gradients(w, g, types)
        self._moves(w, g, v, rules, types, slack)
        self.values = v
        self.steps += 1

    def _weights(self, given: Weights) -> tuple[dict[str, Array], Types]:
        """Weights in double precision, and the roundings of their types; those not given have not moved."""
        kinds = self.types or {n: np.asarray(x).dtype.name for n, x in given.items()}
        kinds = {t.name: kinds.get(t.name, t.dtype) for t in self.manifold.network.learned}
        values = {**self.values, **{n: self._array(n, x, "weight") for n, x in given.items()}}
        return values, {n: TYPES.get(k, TYPES["float64"]) for n, k in kinds.items()}

    def _array(self, name: str, value: Array, what: str) -> Array:
        found = np.asarray(value)
        if name not in self.shapes or found.shape != self.shapes[name] or found.dtype.kind not in "fiu":
            raise ModelError(
                f"a {what} {name!r} of shape {found.shape} is not of the model",
                "give arrays of numbers by the names and shapes of " + shown(self.shapes),
            )
        found = found.astype(np.float64)
        if not np.isfinite(found).all():
            raise ModelError(
                f"a {what} of {name!r} is not finite at step {self.steps}", "stop the run before it"
            )
        return found

    # --- gradients ------------------------------------------------------------------------------------

    def _gradients(self, w: Weights, g: Weights, types: Types) -> Array:
        """Book Aᵀ(w∘g); return what rounding may make of it."""
        parts = {n: self._units({n: w[n] * g[n]}) for n in g}
        size = self._units({n: np.abs(w[n] * g[n]) for n in g}, self.sizes)
        self.largest = np.maximum(self.largest, size)
        unit = max((self.precision or 0.0, *(types[n][0] for n in g)), default=0.0)
        slack = CANCELLATION * self.terms * max(unit, 2.0**-53) * self.largest
        missing = [n for n in self.shapes if n not in g]
        known = ~_touched(self.touches, missing, len(self.columns))
        z = {n: self._units({n: w[n] ** 2}) for n in self.shapes}
        found = self.slopes.book(parts, z, self.manifold.network.biases, slack, known)
        ratio = np.abs(found) / np.where(size > 0, size, 1.0)
        self.gradient = np.maximum(self.gradient, np.where(known, ratio, 0.0))
        self.slopes.note(g, missing)
        self.lawful &= known
        return slack

    # --- steps ----------------------------------------------------------------------------------------

    def _moves(
        self, w: Weights, g: Weights, v: Weights, rules: Mapping[str, Rule], types: Types, slack: Array
    ) -> None:
        steps: dict[str, Foretold] = {}
        lawless: list[str] = []
        unknown: list[str] = []
        for n in self.shapes:
            rule = rules[n]
            self.moves.still(n, w[n], v[n], pulled=n in g and bool(g[n].any()))
            if not isinstance(rule, Sgd):
                lawless.append(n)
            elif n not in g:
                lawless.append(n)
                if not np.array_equal(w[n], v[n]):
                    self.moves.without_gradient.add(n)
            else:
                last = self.histories.get(n)
                if last is None and self.resumed and rule.momentum:
                    last = History(np.zeros_like(w[n]), np.zeros_like(w[n]), rule, False)
                found = foretell(rule, w[n], g[n], last, *types[n])
                self.histories[n] = history(rule, w[n], g[n], v[n])
                if found is None:
                    unknown.append(n)
                else:
                    steps[n] = found
        made = {n: (v[n] - s.after, s.basis, s.bound) for n, s in steps.items()}
        self.moves.book(made, g, {n: r for n, r in rules.items() if isinstance(r, Sgd)})
        self.skipped += bool(unknown)
        self._identity(w, v, steps, rules, slack, lawless, unknown)

    def _identity(
        self,
        w: Weights,
        v: Weights,
        steps: Mapping[str, Foretold],
        rules: Mapping[str, Rule],
        slack: Array,
        lawless: Sequence[str],
        unknown: Sequence[str],
    ) -> None:
        """z₊ of each unit whose tensors step alike, against what the identity makes of z."""
        count = len(self.columns)
        z, self.end = (self._units({n: x**2 for n, x in s.items()}) for s in (w, v))
        own = self._units({n: w[n] ** 2 + v[n] ** 2 for n in w}, self.sizes) * (self.terms + 4) * 2.0**-52
        open_ = _touched(self.touches, unknown, count)
        seen = open_.copy()
        groups: dict[tuple[float, float, float, float], list[str]] = {}
        decays: dict[str, float] = {}
        for n, s in steps.items():
            rule = rules[n]
            assert isinstance(rule, Sgd)
            groups.setdefault((rule.rate, rule.decoupled, s.a, s.b), []).append(n)
            decays[n] = rule.decay
        for (rate, decoupled, a, b), names in groups.items():
            others = [n for n in self.shapes if n not in names]
            units = ~_touched(self.touches, others, count)
            across = self._units({n: (a * decays[n] * w[n] + b * steps[n].m) * w[n] for n in names})
            squares = self._units({n: steps[n].u ** 2 for n in names})
            foretold = after_step(z, across, squares, rate, decoupled)
            spread = {n: (2 * np.abs(steps[n].after) + steps[n].bound) * steps[n].bound for n in names}
            allowed = (
                self._units(spread, self.sizes) + own + 2 * rate * abs((1 - rate * decoupled) * a) * slack
            )
            self.drift += np.where(units, self.end - foretold, 0.0)
            self.tolerance += np.where(units, allowed, 0.0)
            seen |= units
        self.lawful &= seen & ~_touched(self.touches, lawless, count)

    # --- the answer -----------------------------------------------------------------------------------

    def report(self) -> TrainingReport:
        """What the steps so far say. Raises RequestError if there are none."""
        if not self.steps:
            raise RequestError("no step was taken", "call optimizer.step() while the run is watched")
        names = [self.manifold.names[k] for k in self.columns]
        units = tuple(
            UnitDrift(
                names[k],
                float(self.start[k]),
                float(self.end[k]),
                float(self.end[k] - self.drift[k]),
                float(self.tolerance[k]),
                float(self.gradient[k]),
                bool(self.lawful[k]),
            )
            for k in range(len(names))
        )
        unread = set(self.shapes) - {x for op in self.manifold.network.operations for x in op.inputs}
        unread |= set(self.left_out)
        faults = [
            *(_left_out(n, self.touches[n]) for n in self.left_out),
            *gradient_faults(self.slopes, names, self.touches, self.gradient, unread, self.steps),
            *step_faults(self.moves),
        ]
        notes = list(self.moves.notes())
        if self.skipped:
            notes.append(f"{self.skipped} steps could not be foretold: the momentum before them is not known")
        mixed = [u.name for u in units if not u.law]
        lawless = [text for text in self.rules if not text.startswith("SGD")]
        if lawless:
            notes.append(
                f"{shown(lawless)}: each entry of a gradient is rescaled by itself, so Aᵀ(w∘g) = 0 says "
                "nothing of the step, and z = Aᵀw² follows no identity"
            )
        elif mixed:
            notes.append(
                f"without an identity, as their tensors have unlike settings or no gradient: {shown(mixed)}"
            )
        status: Status = "no-law" if lawless else "holds"
        if status == "holds" and not (all(u.ok for u in units) and all(f.kind in _NO_LAW for f in faults)):
            status = "broken"
        return TrainingReport(
            status, _optimizer(list(self.rules)), self.steps, units, tuple(faults), tuple(notes)
        )


def _optimizer(rules: Sequence[str]) -> str:
    return rules[0] if len(rules) == 1 else f"{rules[0]} to {rules[-1]} ({len(rules)} settings)"


def _left_out(name: str, units: Array) -> TrainingFault:
    text = f"{name} is not among the parameters of the optimizer, so {int(units.sum())} units have no law"
    return TrainingFault("not-in-optimizer", name, None, text)


def _touched(touches: Mapping[str, Array], names: Iterable[str], count: int) -> Array:
    """The units that any of these tensors touches."""
    found = np.zeros(count, dtype=bool)
    for n in names:
        found |= touches[n]
    return found
