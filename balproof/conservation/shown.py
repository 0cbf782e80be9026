"""Directions that no output sees: how each is shown, and how its law reads under a flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from balproof.conservation import formula
from balproof.conservation.directions import Forms, factors
from balproof.conservation.fields import Layout
from balproof.conservation.flows import Flow, exponential
from balproof.conservation.sampling import STEPS, Data
from balproof.conservation.symmetry import Direction, Proof

ALONE = 40
"""Directions that are shown one by one where that fails for all together."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A direction along which no output moves, how it reads, and how it was shown."""

    forms: Forms
    formula: str
    kind: str
    unit: str
    verified_by: str


def prove(data: Data, layout: Layout, forms: Sequence[Forms], signs: bool) -> list[bool]:
    """Each direction shown, those that touch the same parameters together."""
    owner = np.concatenate([np.full(s.stop - s.start, i) for i, s in enumerate(layout.spans.values())])
    groups: dict[frozenset[int], list[int]] = {}
    for i, form in enumerate(forms):
        touched = frozenset(int(owner[key[0]]) for key in form)
        groups.setdefault(touched, []).append(i)
    result = [False] * len(forms)
    for members in groups.values():
        outcome = Proof(data, [_direction(layout, forms[i]) for i in members], signs).holds()
        if not any(outcome) and 1 < len(members) <= ALONE:
            outcome = [Proof(data, [_direction(layout, forms[i])], signs).holds()[0] for i in members]
        for i, ok in zip(members, outcome, strict=True):
            result[i] = ok
    return result


def _direction(layout: Layout, forms: Forms) -> Direction:
    names = list(layout.spans)
    starts = [layout.spans[n].start for n in names]

    def place(e: int) -> tuple[str, int]:
        i = int(np.searchsorted(starts, e, side="right")) - 1
        return names[i], e - starts[i]

    found: dict[str, dict[int, dict[tuple[tuple[str, int], ...], Fraction]]] = {}
    for key, c in forms.items():
        name, flat = place(key[0])
        found.setdefault(name, {}).setdefault(flat, {})[tuple(place(f) for f in factors(key))] = c
    return found


def described(layout: Layout, forms: Forms, data: Data, twist: int) -> Shown:
    """A direction that was shown, with its formula and the parameters that it moves."""
    degree = 1 + max(len(factors(key)) for key in forms)
    if degree > 2:
        kind = f"degree {degree}"
    else:
        kind = "linear" if degree == 1 else "quadratic" if twist == 1 else "antisymmetric"
    names = [n for n, s in layout.spans.items() if any(s.start <= key[0] < s.stop for key in forms)]
    steps = f", for sequences of up to {STEPS} steps" if data.network.states else ""
    how = f"exact: polynomials, a symbol for each gate{steps}"
    return Shown(forms, text(layout, forms, twist), kind, ", ".join(names), how)


def text(layout: Layout, forms: Forms, twist: int) -> str:
    """The polynomial whose gradient the direction is, or Σ J_ef e∧f for an antisymmetric one."""
    if twist == 1:
        return formula.text(layout, formula.scaled(formula.monomials(forms)))
    wedge = {key: c for key, c in forms.items() if key[1] < 0 or key[0] < key[1]}
    return formula.text(layout, formula.scaled(wedge), "∧")


# --- flows -------------------------------------------------------------------------------------------------


def survives(forms: Forms, flow: Flow) -> bool:
    """Whether the flow has a law for the direction."""
    if flow.kind == "decay":
        return len({f < 0 for _, f in forms}) == 1
    if flow.kind == "mirror":
        return all(f < 0 or e == f for e, f in forms)
    return True


def under(s: Shown, flow: Flow, layout: Layout) -> str:
    """The formula of a law under the flow."""
    if flow.kind == "decay":
        assert flow.rate is not None
        return f"{exponential(flow.rate, 1 if s.kind == 'linear' else 2)}·({s.formula})"
    if flow.kind == "momentum":
        assert flow.rate is not None
        where = "ẇ in place of w" if s.kind == "linear" else "with a∧b = ẇ_a·b − ẇ_b·a"
        return f"{exponential(flow.rate, 1)}·({s.formula}), {where}"
    if flow.kind == "mirror":
        pairs = formula.scaled(dict(s.forms))
        straight = {k: c for k, c in pairs.items() if k[1] < 0}
        square = {k: c for k, c in pairs.items() if k[1] >= 0}
        parts: list[str] = []
        if square:
            parts.append(f"{formula.text(layout, square)} with g(w) = {flow.kept} in place of w²")
        if straight:
            parts.append(f"{formula.text(layout, straight)} with {flow.slope} in place of w")
        return " + ".join(parts)
    return s.formula


def short(s: Shown, flow: Flow) -> str:
    """Σ_in w² − c·Σ_out w², where the law is one unit's."""
    plus, minus = ({c for c in s.forms.values() if (c > 0) is up} for up in (True, False))
    if s.kind != "scaling" or flow.kind not in ("euclidean", "natural") or plus != {1} or len(minus) != 1:
        return ""
    (c,) = minus
    return f"Σ_in w² − {'' if c == -1 else f'{-c}·'}Σ_out w²"
