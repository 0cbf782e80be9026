"""Mistakes with their names: which changes of tensors are one mistake, and what to call it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from balproof.crosscheck.faults import shown
from balproof.crosscheck.parts import Part
from balproof.crosscheck.scales import Recovered
from balproof.network.equations import Form
from balproof.network.graph import Network
from balproof.network.manifold import Manifold

Array = np.ndarray

CauseKind = Literal[
    "structure-differs",
    "tied-weights-split",
    "not-finite",
    "dead-unit-divided",
    "sign-changed",
    "bias-not-scaled",
    "statistics-not-scaled",
    "incoming-not-scaled",
    "outgoing-not-scaled",
    "branch-not-scaled",
    "reader-not-scaled",
    "weight-not-scaled",
    "shared-layer-scaled-once",
    "wrong-direction",
    "wrong-exponent",
    "transposed-scales",
    "weights-transposed",
    "units-reordered",
    "scales-misplaced",
    "incoming-against-incoming",
    "constant-factor",
    "slice-multiplied",
    "set-to-zero",
    "clipped",
    "low-precision",
    "not-a-rescaling",
    "function-differs",
    "frozen-layer",
    "unbalanced-unit",
    "not-optimal",
    "left-as-it-was",
    "another-cost",
    "scales-to-a-power",
    "scales-rounded",
    "scales-clipped",
]

SAID: Mapping[CauseKind, str] = MappingProxyType(
    {
        "structure-differs": "another network",
        "tied-weights-split": "one tensor has become several",
        "not-finite": "weights that are not finite",
        "dead-unit-divided": "a dead unit was divided by 0",
        "sign-changed": "weights changed their sign, as by a negative scale",
        "bias-not-scaled": "the weights into these units were rescaled, their biases were not",
        "statistics-not-scaled": "running statistics were not rescaled with what they are of",
        "incoming-not-scaled": "the weights into these units were not multiplied, those out were divided",
        "outgoing-not-scaled": "the weights out of these units were not divided, those in were multiplied",
        "branch-not-scaled": "other weights into the same units were multiplied, these were not",
        "reader-not-scaled": "other weights out of the same units were divided, these were not",
        "weight-not-scaled": "neither side of these weights was rescaled",
        "shared-layer-scaled-once": "a layer with several calls was rescaled as if each were another layer",
        "wrong-direction": "multiplied where it should be divided, or the other way round",
        "wrong-exponent": "the scales have a wrong exponent here",
        "transposed-scales": "the scales of rows and columns are at each other's place",
        "weights-transposed": "the weights themselves were transposed",
        "units-reordered": "a rescaling, but for the order of hidden units",
        "scales-misplaced": "the scales of these units are on other units",
        "incoming-against-incoming": "two tensors that both lead in were balanced against each other",
        "constant-factor": "all weights have one factor too much",
        "slice-multiplied": "these weights have a factor that no other weight makes good",
        "set-to-zero": "weights were set to 0",
        "clipped": "weights were cut off at the largest one",
        "low-precision": "weights were rounded to fewer digits",
        "not-a-rescaling": "single weights are others",
        "function-differs": "the outputs differ by more than rounding explains",
        "frozen-layer": "all other layers were rescaled, this one was not",
        "unbalanced-unit": "rescaled, but not to balance",
        "not-optimal": "the cost is above its optimum",
        "left-as-it-was": "no weight was rescaled at all",
        "another-cost": "balanced, but under another cost",
        "scales-to-a-power": "the scales are a power of those that balance",
        "scales-rounded": "the scales are those that balance, rounded",
        "scales-clipped": "the scales are those that balance, with bounds",
    }
)
"""What is said of each kind to a person."""


@dataclass(frozen=True, eq=False)
class Cause:
    """One mistake: its kind, the tensors and units, how many weights it is, and what it does to the outputs.

    ``alone`` is the difference of the outputs if it is the only mistake, ``repaired`` what is left of the
    difference without it, both relative to the largest output; None where that was not measured.
    """

    kind: CauseKind
    tensors: tuple[str, ...]
    units: tuple[str, ...] = ()
    detail: str = ""
    weights: int = 0
    size: float | None = None
    alone: float | None = None
    repaired: float | None = None
    masks: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def where(self) -> str:
        units = f" (unit{'s' if len(self.units) > 1 else ''} {shown(self.units)})" if self.units else ""
        return shown(self.tensors) + units

    @property
    def text(self) -> str:
        """In words for a person."""
        return SAID[self.kind] + (f": {self.detail}" if self.detail else "")

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "where": self.where,
            "tensors": list(self.tensors),
            "units": list(self.units),
            "weights": self.weights,
            "size": self.size,
            "function_error_alone": self.alone,
            "function_error_repaired": self.repaired,
            "text": self.text,
        }


@dataclass(frozen=True, eq=False)
class _Draft:
    kind: CauseKind
    parts: tuple[Part, ...]
    columns: frozenset[int]
    detail: str = ""

    @property
    def cost(self) -> float:
        return max(p.cost for p in self.parts) + 0.1 * (len({p.tensor for p in self.parts}) - 1)


def merged(manifold: Manifold, parts: Sequence[Part], found: Recovered) -> tuple[tuple[Cause, ...], float]:
    """The causes, the worst cost first, and what they cost together."""
    drafts = [_named(manifold, part) for part in parts]
    drafts = _of_dead_units(manifold, _against(drafts))
    drafts = _called_twice(drafts)
    drafts = _with_their_layer(drafts)
    drafts = _of_one_kind(drafts)
    drafts = _refined(manifold, drafts)
    causes = tuple(_cause(manifold, draft, found) for draft in drafts)
    return causes, sum(draft.cost for draft in drafts)


def as_one(manifold: Manifold, causes: Sequence[Cause], kind: CauseKind) -> Cause:
    """Causes that are one mistake after all."""
    masks: dict[str, Array] = {}
    for cause in causes:
        for name, mask in cause.masks.items():
            masks[name] = masks.get(name, np.zeros(mask.shape, bool)) | mask
    units = {u for c in causes for u in c.units}
    return Cause(
        kind,
        tuple(masks),
        tuple(u for u in manifold.names if u in units),
        weights=sum(int(m.sum()) for m in masks.values()),
        size=max((c.size for c in causes if c.size is not None), default=None),
        masks=masks,
    )


# --- one part -----------------------------------------------------------------------------------------


def _named(manifold: Manifold, part: Part) -> _Draft:
    network = manifold.network
    block = next(b for b in manifold.blocks if b.name == part.tensor)
    terms = block.terms if part.term is None else (block.terms[part.term],)
    forms = [f for t in terms for f in (t.forms if part.term is None else (t.forms[i] for i in part.slices))]
    columns = frozenset(k for form in forms for k, _ in form)
    simple: dict[str, CauseKind] = {
        "reversed": "wrong-direction",
        "power": "wrong-exponent",
        "transposed": "transposed-scales",
        "turned": "weights-transposed",
        "misplaced": "scales-misplaced",
        "constant": "constant-factor",
        "slices": "slice-multiplied",
        "sign": "sign-changed",
        "zero": "set-to-zero",
        "clipped": "clipped",
        "rounded": "low-precision",
        "not-finite": "not-finite",
        "entries": "not-a-rescaling",
    }
    detail = ""
    if part.change in simple:
        kind = simple[part.change]
        if part.change == "power":
            detail = f"{part.power} times that of the others"
        if part.change == "constant":
            detail = f"by {_factor(part.factors[0])}"
        if part.change not in ("reversed", "power", "transposed", "misplaced"):
            columns = _columns_of(block.rows(np.flatnonzero(part.mask)[:1000]))
    elif network.tensors[part.tensor].buffer:
        kind = "statistics-not-scaled"
    elif part.tensor in network.biases:
        kind = "bias-not-scaled"
    elif _reads(network, part.tensor) > 1:
        kind = "shared-layer-scaled-once"
    elif part.change == "kept" and len(block.terms) > 1:
        kind = "weight-not-scaled"
    else:
        kind = "incoming-not-scaled" if side_of(forms) > 0 else "outgoing-not-scaled"
    return _Draft(kind, (part,), columns, detail)


def side_of(forms: Iterable[Form]) -> int:
    """1 if slices grow, −1 if they shrink when all scales grow alike, and 0 if they do neither or both.

    >>> from fractions import Fraction
    >>> side_of([((0, Fraction(1)),), ((0, Fraction(-1)), (1, Fraction(1)), (2, Fraction(1)))])
    1
    """
    signs = {int(np.sign(float(sum(c for _, c in form)))) for form in forms if form}
    return signs.pop() if len(signs) == 1 else 0


def _columns_of(rows: Iterable[Form]) -> frozenset[int]:
    return frozenset(k for row in rows for k, _ in row)


def _reads(network: Network, name: str) -> int:
    return sum(name in op.inputs for op in network.operations)


# --- parts that are one mistake -------------------------------------------------------------------------


def _against(drafts: Sequence[_Draft]) -> list[_Draft]:
    """Slices of two tensors that have inverse factors."""
    rest, used = list[_Draft](), set[int]()
    for i, a in enumerate(drafts):
        if i in used:
            continue
        for j in range(i + 1, len(drafts)):
            b, first, second = drafts[j], a.parts[0], drafts[j].parts[0]
            if j in used or {a.kind, b.kind} != {"slice-multiplied"} or first.tensor == second.tensor:
                continue
            x, y = np.array(first.factors), np.array(second.factors)
            if first.slices == second.slices and np.allclose(x, -y, rtol=1e-3, atol=1e-6):
                cheap = tuple(dataclasses.replace(p, cost=1.5) for p in (first, second))
                a = _Draft("incoming-against-incoming", cheap, a.columns | b.columns)
                used.add(j)
                break
        rest.append(a)
    return rest


def _of_dead_units(manifold: Manifold, drafts: Sequence[_Draft]) -> list[_Draft]:
    """NaN where a dead unit was divided by 0, and zeros on its other side, which were multiplied by that."""
    dead = {k for k, name in enumerate(manifold.names) if name in set(manifold.dead_units)}
    bad = [d for d in drafts if d.kind == "not-finite" and _only_at(manifold, d, dead)]
    if not bad:
        return list(drafts)
    wiped = [d for d in drafts if d.kind == "set-to-zero" and _only_at(manifold, d, dead)]
    parts = tuple(p for d in (*bad, *wiped) for p in d.parts)
    columns = frozenset(dead) & frozenset[int]().union(*(d.columns for d in bad))
    rest = [d for d in drafts if d not in bad and d not in wiped]
    return [_Draft("dead-unit-divided", parts, columns), *rest]


def _only_at(manifold: Manifold, draft: _Draft, dead: set[int]) -> bool:
    """Whether every marked entry belongs to one of these units."""
    blocks = {b.name: b for b in manifold.blocks}
    rows = (row for p in draft.parts for row in blocks[p.tensor].rows(np.flatnonzero(p.mask)))
    return all(any(k in dead for k, _ in row) for row in rows)


_LEFT = ("incoming-not-scaled", "outgoing-not-scaled", "weight-not-scaled")


def _called_twice(drafts: Sequence[_Draft]) -> list[_Draft]:
    """What is left on either side of a layer that is called twice, by the scales that it has itself."""
    shared = [d for d in drafts if d.kind == "shared-layer-scaled-once"]
    if not shared:
        return list(drafts)
    first, rest = shared[0], [d for d in drafts if d.kind != "shared-layer-scaled-once"]
    own = [d for d in rest if d.kind in (*_LEFT, "bias-not-scaled") and d.columns & first.columns]
    parts = tuple(p for d in (*shared, *own) for p in d.parts)
    columns = frozenset[int]().union(*(d.columns for d in (*shared, *own)))
    return [_Draft("shared-layer-scaled-once", parts, columns), *(d for d in rest if d not in own)]


def _with_their_layer(drafts: Sequence[_Draft]) -> list[_Draft]:
    """Biases, and statistics, of units whose incoming weights were left as well."""
    homes = [d for d in drafts if d.kind in ("incoming-not-scaled", "weight-not-scaled")]
    columns = frozenset[int]().union(*(d.columns for d in homes))
    joined: list[_Draft] = []
    rest: list[_Draft] = []
    for draft in drafts:
        side = draft.kind in ("bias-not-scaled", "statistics-not-scaled")
        (joined if side and draft.columns <= columns else rest).append(draft)
    if not joined:
        return list(drafts)
    more = tuple(p for d in joined for p in d.parts)
    return [dataclasses.replace(d, parts=(*d.parts, *more)) if d is homes[0] else d for d in rest]


def _of_one_kind(drafts: Sequence[_Draft]) -> list[_Draft]:
    """The same mistake in several layers is one; slices of their own and odd entries are many.

    A factor on several tensors is one mistake, such as a decay, if it is the same one.
    """
    groups: dict[tuple[object, ...], list[_Draft]] = {}
    for i, draft in enumerate(drafts):
        many = draft.kind in (
            "slice-multiplied",
            "not-a-rescaling",
            "incoming-against-incoming",
        )
        key = (i,) if many else (draft.kind, draft.detail)
        groups.setdefault(key, []).append(draft)
    return [
        _Draft(
            ds[0].kind,
            tuple(p for d in ds for p in d.parts),
            frozenset[int]().union(*(d.columns for d in ds)),
            ds[0].detail,
        )
        for ds in groups.values()
    ]


def _refined(manifold: Manifold, drafts: Sequence[_Draft]) -> list[_Draft]:
    """One of several tensors on the same side of the units was left, and the others not."""
    sides: dict[bool, dict[int, set[str]]] = {True: {}, False: {}}
    for block in manifold.blocks:
        if block.name in manifold.network.biases or manifold.network.tensors[block.name].buffer:
            continue
        for term in block.terms:
            side = side_of(term.forms)
            for k in {k for form in term.forms for k, _ in form} if side else ():
                sides[side > 0].setdefault(k, set()).add(block.name)
    finer: Mapping[CauseKind, tuple[bool, CauseKind]] = {
        "incoming-not-scaled": (True, "branch-not-scaled"),
        "outgoing-not-scaled": (False, "reader-not-scaled"),
    }
    result: list[_Draft] = []
    for draft in drafts:
        if draft.kind in finer:
            positive, kind = finer[draft.kind]
            own = {p.tensor for p in draft.parts}
            if all(sides[positive].get(k, set()) - own for k in draft.columns):
                draft = dataclasses.replace(draft, kind=kind)
        result.append(draft)
    return result


# --- what is said -----------------------------------------------------------------------------------------


def _factor(log: float) -> str:
    return f"{np.exp(log):.4g}" if abs(log) < 20 else f"e^{log:.4g}"


def _cause(manifold: Manifold, draft: _Draft, found: Recovered) -> Cause:
    masks: dict[str, Array] = {}
    for part in draft.parts:
        mask = part.mask.reshape(manifold.network.tensors[part.tensor].shape)
        masks[part.tensor] = masks.get(part.tensor, np.zeros(mask.shape, bool)) | mask
    sizes = [float(np.max(found.deviation[n][m], initial=0.0)) for n, m in masks.items()]
    kind = draft.kind
    names = [manifold.names[k] for k in sorted(draft.columns)]
    detail = draft.detail
    if kind in ("slice-multiplied", "incoming-against-incoming"):
        factors = [f for p in draft.parts[:1] for f in p.factors]
        if factors:
            detail = "by " + shown(map(_factor, factors))
    if kind == "not-a-rescaling":
        places = [
            manifold.network.tensors[n].element(int(i))
            for n, m in masks.items()
            for i in np.flatnonzero(m)[:6]
        ]
        detail = shown(places) if sum(int(m.sum()) for m in masks.values()) <= 5 else ""
    return Cause(
        kind,
        tuple(masks),
        tuple(names),
        detail,
        sum(int(m.sum()) for m in masks.values()),
        max(sizes, default=None),
        masks=masks,
    )
