"""What explains a step that is not the one foretold, or a gradient that is none: the smallest hypothesis.

Sums of products are kept over all steps, so that each hypothesis is a least-squares fit in a few numbers. It
explains a difference if it leaves no more than rounding, or a millionth, of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from balproof.crosscheck.faults import shown
from balproof.crosscheck.sgd import FAULTS, Sgd

Array = np.ndarray
TrainingFaultKind = Literal[
    "wrong-gradient",
    "hidden-decay",
    "wrong-decay",
    "wrong-rate",
    "hidden-momentum",
    "wrong-momentum",
    "clipped",
    "not-updated",
    "no-gradient",
    "not-in-optimizer",
    "unexplained-step",
]

NEARLY = 1e-6
"""An explanation may leave so much of what it explains."""


@dataclass(frozen=True)
class TrainingFault:
    """One thing that is wrong with a run: what kind, at which tensors or units, and a sentence.

    ``size`` is the number that was fitted: the rate, decay or momentum that was used, the norm to which
    gradients were clipped, the factor of a gradient, or the largest relative |Aᵀ(w∘g)|; None where there is
    none.
    """

    kind: TrainingFaultKind
    where: str
    size: float | None
    found: str

    def as_json(self) -> dict[str, object]:
        return {"kind": self.kind, "where": self.where, "size": self.size, "found": self.found}


def _fit(gram: Array, chosen: Sequence[int]) -> tuple[Array, float]:
    """Coefficients on the chosen vectors that leave the least of vector 0, and the square of what is left."""
    inner = gram[np.ix_(chosen, chosen)]
    size = np.sqrt(np.diag(inner))
    if not size.all():
        return np.zeros(len(chosen)), float(gram[0, 0])
    scaled = inner / np.outer(size, size)
    if len(chosen) > 1 and np.linalg.eigvalsh(scaled)[0] < 1e-9:  # as good as parallel
        return np.zeros(len(chosen)), float(gram[0, 0])
    x = np.linalg.solve(scaled, gram[0, chosen] / size) / size
    return x, max(0.0, float(gram[0, 0] - 2 * x @ gram[0, chosen] + x @ inner @ x))


def _limit(square: float, noise: float) -> float:
    return max(4 * noise, NEARLY**2 * square)


# --- gradients -----------------------------------------------------------------------------------------


class GradientBooks:
    """Sums over steps and units of products of Aᵀ(w∘g), tensor by tensor, and of z."""

    def __init__(self, names: Sequence[str], units: int) -> None:
        self.names = list(names)
        # Vectors: c = Σ_j C_j, the C_j of the tensors, z, and z without biases.
        self.gram = np.zeros((len(names) + 3, len(names) + 3))
        self.noise = 0.0
        self.wrong = np.zeros(units, dtype=bool)
        self.worst = np.zeros(units)
        self.absent: dict[str, int] = dict.fromkeys(names, 0)
        self.zero = set(names)
        self.caps: list[float] = []

    def book(
        self,
        parts: Mapping[str, Array],
        z: Mapping[str, Array],
        biases: Collection[str],
        slack: Array,
        known: Array,
    ) -> Array:
        """Book one step over the ``known`` units, and return c."""
        none = np.zeros(len(slack))
        c = sum(parts.values(), none)
        whole = sum(z.values(), none)
        plain = sum((v for n, v in z.items() if n not in biases), none)
        rows = np.stack([c, *(parts.get(n, none) for n in self.names), whole, plain]) * known
        self.gram += rows @ rows.T
        self.noise += float(np.sum((slack * known) ** 2))
        beyond = known & (np.abs(c) > slack)
        self.wrong |= beyond
        self.worst = np.maximum(self.worst, np.abs(c) * known)
        return c

    def note(self, g: Mapping[str, Array], missing: Sequence[str]) -> None:
        """Which gradients are missing or 0, and whether several entries share the largest size."""
        for n in missing:
            self.absent[n] += 1
        self.zero -= {n for n, v in g.items() if v.any()}
        cap = max((float(np.abs(v).max(initial=0.0)) for v in g.values()), default=0.0)
        ties = sum(int(np.sum(np.abs(v) == cap)) for v in g.values())
        self.caps.append(cap if cap and ties > 1 else 0.0)


def gradient_faults(
    books: GradientBooks,
    units: Sequence[str],
    touches: Mapping[str, Array],
    relative: Array,
    unread: Collection[str],
    steps: int,
) -> Iterator[TrainingFault]:
    """What is wrong with the gradients; ``relative`` is the largest |c| of each unit, relatively."""
    for n in books.names:
        if books.absent[n] == steps and n not in unread:
            count = int(touches[n].sum())
            yield TrainingFault(
                "no-gradient", n, None, f"{n} has no gradient at any step, so {count} units have no law"
            )
    if not books.wrong.any():
        return
    where = shown(units[int(k)] for k in np.flatnonzero(books.wrong))
    square = float(books.gram[0, 0])
    limit = _limit(square, books.noise)
    zero = [
        n
        for n in books.names
        if n in books.zero and books.absent[n] < steps and not (books.wrong & ~touches[n]).any()
    ]
    if len(zero) == 1:
        text = f"the gradient of {zero[0]} is 0 at every step, and Aᵀ(w∘g) is not, at {where}"
        yield TrainingFault("wrong-gradient", zero[0], 0.0, text)
        return
    last = len(books.names) + 1
    for index, what in ((last, "all weights"), (last + 1, "all weights but biases")):
        (mu,), left = _fit(books.gram, [index])
        if left <= limit:
            text = f"gradients hold a decay of {mu:.4g} of {what}: Aᵀ(w∘g) = {mu:.4g}·z"
            yield TrainingFault("hidden-decay", what, float(mu), text)
            return
    capped = {c for c in books.caps if c}
    if len(capped) == 1 and (cap := capped.pop()) and sum(map(bool, books.caps)) > 1:
        text = f"no entry of a gradient is larger than {cap:.6g}, which several are: clipped entry by entry"
        yield TrainingFault("clipped", where, cap, text + f", so that Aᵀ(w∘g) is not 0 at {where}")
        return
    fits: dict[str, float] = {}
    for j, name in enumerate(books.names, start=1):
        (a,), left = _fit(books.gram, [j])
        if left <= limit and a != 1:
            fits[name] = float(1 / (1 - a))  # c − a·C_j = 0: the true gradient is 1 − a of this one
    if fits:
        factors = " or ".join(f"that of {n} is {f:.4g} times what it should be" for n, f in fits.items())
        yield TrainingFault("wrong-gradient", " or ".join(fits), next(iter(fits.values())), factors)
        return
    size = float(relative[books.wrong].max())
    text = f"Aᵀ(w∘g) is not 0 at {where}: {size:.2g} of Σ|A||w∘g|, so this is the gradient of no loss"
    yield TrainingFault("wrong-gradient", where, size, text)


# --- steps ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Tensor:
    """Sums over the steps of one tensor: of its difference from what was foretold, and of the basis."""

    gram: Array = field(default_factory=lambda: np.zeros((len(FAULTS) + 1, len(FAULTS) + 1)))
    noise: float = 0.0
    wrong: int = 0
    still: bool = True
    pulled: bool = False
    stepwise: float = 0.0
    rules: dict[Sgd, None] = field(default_factory=dict)


class StepBooks:
    """Sums for each tensor, and for each step the factor by which all gradients seem to be multiplied."""

    def __init__(self, names: Sequence[str]) -> None:
        self.tensors = {n: _Tensor() for n in names}
        self.without_gradient: set[str] = set()
        self.seen: set[str] = set()
        self.factors: list[float] = []
        self.clipped: list[float] = []
        self.stepwise = 0.0
        self.norms: list[float] = []

    def still(self, name: str, before: Array, after: Array, *, pulled: bool) -> None:
        """Note whether a tensor moves, and whether it has a gradient that is not 0."""
        self.tensors[name].still &= bool(np.array_equal(before, after))
        self.tensors[name].pulled |= pulled

    def book(
        self,
        made: Mapping[str, tuple[Array, Sequence[Array], Array]],
        g: Mapping[str, Array],
        rules: Mapping[str, Sgd],
    ) -> None:
        """Book one step: of each tensor the difference from what was foretold, the basis, and the bound."""
        self.norms.append(float(np.sqrt(sum(np.sum(v**2) for v in g.values()))))
        total = np.zeros(3)  # r·r, r·q, q·q
        for name, (r, basis, bound) in made.items():
            tensor = self.tensors[name]
            self.seen.add(name)
            tensor.rules[rules[name]] = None
            rows = np.stack([r.ravel(), *(b.ravel() for b in basis)])
            gram = rows @ rows.T
            tensor.gram += gram
            tensor.noise += float(np.sum(bound**2))
            tensor.wrong += int(np.sum(np.abs(r) > bound))
            tensor.stepwise += _left(gram[0, 0], gram[0, 1], gram[1, 1])
            total += gram[0, 0], gram[0, 1], gram[1, 1]
        factor = 1.0 + (total[1] / total[2] if total[2] else 0.0)
        self.stepwise += _left(*total)
        self.factors.append(factor)
        rate = max((r.rate for r in rules.values()), default=0.0)
        if factor < 1.0 - 1e-5 and rate:
            self.clipped.append(factor * float(np.sqrt(total[2])) / rate)

    def notes(self) -> Iterator[str]:
        """That gradients were clipped by their norm before the step, which keeps every identity."""
        top = max(self.norms, default=0.0)
        same = sum(abs(x - top) <= 1e-5 * top for x in self.norms)
        if top and same > 1 and 2 * same > len(self.norms):
            yield (
                f"the norm of all gradients is {top:.6g} at {same} of {len(self.norms)} steps, and never "
                "larger: clipped before the step, which keeps the identities"
            )


def _left(square: float, inner: float, other: float) -> float:
    return max(0.0, square - inner**2 / other) if other else float(square)


def step_faults(books: StepBooks) -> Iterator[TrainingFault]:
    """What is wrong with the steps."""
    wrong: dict[str, _Tensor] = {}
    for name, tensor in books.tensors.items():
        if tensor.still and (tensor.wrong or (tensor.pulled and name not in books.seen)):
            yield TrainingFault("not-updated", name, None, f"{name} has gradients and never moves")
        elif tensor.wrong:
            wrong[name] = tensor
    for name in sorted(books.without_gradient):
        text = f"{name} moves at a step at which it has no gradient"
        yield TrainingFault("unexplained-step", name, None, text)
    if not wrong:
        return
    everywhere = len(wrong) == len([n for n in books.seen if not books.tensors[n].still])
    where = "all tensors" if everywhere else shown(wrong)
    gram = sum((t.gram for t in wrong.values()), np.zeros((len(FAULTS) + 1, len(FAULTS) + 1)))
    noise = sum(t.noise for t in wrong.values())
    rules = dict.fromkeys(r for t in wrong.values() for r in t.rules)
    limit = _limit(float(gram[0, 0]), noise)
    if found := _explained(gram, limit, 1):
        yield from _named(found, where, tuple(rules))
    elif everywhere and books.stepwise <= limit:
        yield _clipped(books.factors, books.clipped, where)
    elif found := _explained(gram, limit, 2):
        yield from _named(found, where, tuple(rules))
    else:
        for name, tensor in wrong.items():
            yield from _alone(name, tensor)


def _alone(name: str, tensor: _Tensor) -> Iterator[TrainingFault]:
    limit = _limit(float(tensor.gram[0, 0]), tensor.noise)
    found = _explained(tensor.gram, limit, 1)
    if found is None and tensor.stepwise <= limit:
        text = f"{name} moves along its gradient, by factors that change from step to step"
        yield TrainingFault("clipped", name, None, text)
        return
    found = found or _explained(tensor.gram, limit, 2)
    if found is not None:
        yield from _named(found, name, tuple(tensor.rules))
        return
    text = f"{name} moves otherwise than its gradient and the settings say, at {tensor.wrong} weights in all"
    yield TrainingFault("unexplained-step", name, None, text)


def _explained(gram: Array, limit: float, size: int) -> dict[str, float] | None:
    """The kinds of fault, so many together, that explain best, if they explain; the earlier of equal ones."""
    best: tuple[float, dict[str, float]] | None = None
    for chosen in combinations(range(1, len(FAULTS) + 1), size):
        x, left = _fit(gram, chosen)
        if left <= limit and x.all() and (best is None or left < 0.5 * best[0]):
            best = left, {FAULTS[i - 1]: float(v) for i, v in zip(chosen, x, strict=True)}
    return best[1] if best else None


def _named(found: Mapping[str, float], where: str, rules: Sequence[Sgd]) -> Iterator[TrainingFault]:
    rule = rules[0]
    factor = 1.0 + found.get("rate", 0.0)
    for kind, x in found.items():
        if kind == "rate":
            if len({r.rate for r in rules}) == 1:
                size, text = factor * rule.rate, f"the rate is {factor * rule.rate:.6g}, not {rule.rate:g}"
            else:
                size, text = factor, f"the rate is {factor:.6g} times what it should be at each step"
            yield TrainingFault("wrong-rate", where, size, f"{where}: {text}")
        elif kind == "momentum":
            size, set_ = rule.momentum + x, rule.momentum
            text = f"{where}: the momentum is {size:.6g}, not {set_:g}"
            yield TrainingFault("wrong-momentum" if set_ else "hidden-momentum", where, size, text)
        else:
            beside = kind == "decoupled"
            set_ = rule.decoupled if beside else rule.decay
            if not beside and not rule.momentum:
                set_ += rule.decoupled  # without momentum both are one
            size = set_ + x / factor
            text = f"{where}: weights decay by {size:.4g}, not {set_:g}" + " (beside the gradient)" * beside
            yield TrainingFault("wrong-decay" if set_ else "hidden-decay", where, size, text)


def _clipped(factors: Sequence[float], norms: Sequence[float], where: str) -> TrainingFault:
    low, high = min(factors), max(factors)
    if high > 1 + 1e-5 or not norms:
        text = f"{where}: the rate is {low:.4g} to {high:.4g} times what it should be, from step to step"
        return TrainingFault("wrong-rate", where, None, text)
    top = max(norms)
    constant = top - min(norms) <= 1e-3 * top
    to = f"to the norm {top:.6g} " if constant else ""
    text = f"{where}: gradients are clipped {to}within the step, at {len(norms)} of {len(factors)} steps"
    return TrainingFault("clipped", where, top if constant else None, text)
