"""The laws of a flow of a network, each shown exactly, and how many more there can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from balproof.conservation import completeness, formula, modular, quadratic
from balproof.conservation.completeness import Certificate, certify
from balproof.conservation.fields import Fields, Layout
from balproof.conservation.flows import Flow, exponential
from balproof.conservation.program import Unsupported
from balproof.conservation.quadratic import Forms
from balproof.conservation.ring import Modular
from balproof.conservation.sampling import LOSSES, STEPS, Data
from balproof.conservation.symmetry import Direction, Proof
from balproof.errors import RequestError, require_seed
from balproof.network.graph import Network
from balproof.network.laws import Law, scale_formulas, scaling_columns, scaling_laws
from balproof.network.manifold import Manifold, infer

Array = np.ndarray
Verdict = Literal["complete", "at-most", "at-least", "none"]

POINTS = 4
"""Points θ₀ that are tried; the largest rank counts."""
MANY = 100_000
"""Parameters up to which the laws of decay and mirror flows are written out."""
ALONE = 40
"""Directions that are shown one by one where that fails for all together."""


@dataclass(frozen=True)
class Count:
    """How many independent laws there are.

    ``complete``: ``k``, and there are no more on any open set that contains the certificate's point ·
    ``none``: none at all there · ``at-most``: ``k`` are shown, and there are at most parameters −
    lie_dimension · ``at-least``: ``k`` are shown, and nothing is known of others; ``why`` says why.
    """

    verdict: Verdict
    k: int
    lie_dimension: int | None
    parameters: int
    certificate: Mapping[str, Any] | None
    why: str

    def as_json(self) -> dict[str, object]:
        return {
            "verdict": self.verdict,
            "k": self.k,
            "lie_dimension": self.lie_dimension,
            "parameters": self.parameters,
            "why": self.why,
            "certificate": None if self.certificate is None else dict(self.certificate),
        }


@dataclass(frozen=True, eq=False)
class Conserved:
    """The laws, independent of one another; ``units`` says what each is the law of, and ``short`` how it
    reads in terms of the weights into and out of a unit, where it is one.

    ``candidates`` passed all samples and could not be shown: they are not counted.
    """

    laws: tuple[Law, ...]
    units: tuple[str, ...]
    short: tuple[str, ...]
    count: Count
    flow: str
    data: str
    loss: str
    region: str
    searched: str
    candidates: tuple[str, ...]
    forms: tuple[Forms, ...]
    layout: Layout

    def at(self, weights: Mapping[str, Array]) -> Array:
        """½θᵀMθ + vᵀθ of each law, which gradient flow keeps, at one array for each learned parameter.

        >>> from balproof.importers import load
        >>> found = conserved(load("tests/data/chain.json"))
        >>> found.at({t.name: np.full(t.shape, 3.0) for t in found.layout.network.learned}).tolist()
        [0.0, 0.0]
        """
        theta = self.layout.join({n: np.asarray(weights[n], np.float64)[None] for n in self.layout.spans})[0]
        total = np.zeros(len(self.forms))
        for k, form in enumerate(self.forms):
            for (e, f), c in form.items():
                total[k] += float(c) * (theta[e] if f < 0 else theta[e] * theta[f] / 2)
        return total

    @property
    def sentence(self) -> str:
        """The count in words, with what it holds for."""
        c = self.count
        few = f"{c.k} independent {'law' if c.k == 1 else 'laws'}"
        where = "on any open set that contains the point of the certificate"
        text = {
            "complete": f"complete: {few}, and no more {where}",
            "none": f"none: nothing is conserved {where}",
            "at-most": f"at least {few}, and at most {c.parameters - (c.lie_dimension or 0)} {where}",
            "at-least": f"at least {few}",
        }[c.verdict]
        if c.lie_dimension is not None:
            text += (
                f": the fields and their brackets span {c.lie_dimension} of {c.parameters} dimensions there"
            )
        return text + (f"; {c.why}" if c.why else "")

    def as_json(self) -> dict[str, object]:
        return {
            "laws": [law.as_json() | {"unit": unit} for law, unit in zip(self.laws, self.units, strict=True)],
            "count": self.count.as_json(),
            "sentence": self.sentence,
            "flow": self.flow,
            "data": self.data,
            "loss": self.loss,
            "region": self.region,
            "searched": self.searched,
            "candidates": list(self.candidates),
        }


@dataclass(frozen=True, eq=False)
class _Shown:
    """A direction Mθ + v along which no output moves, how it reads, and how it was shown."""

    forms: Forms
    formula: str
    kind: str
    unit: str
    verified_by: str


def conserved(
    network: Network,
    *,
    flow: str = "euclidean",
    loss: str = "any",
    data: Mapping[str, Array] | None = None,
    signs: bool = False,
    seed: int = 0,
) -> Conserved:
    """What a flow of the parameters keeps, whatever the loss and the data, and whether there is more.

    Scaling laws come from the scaling manifold, further ones of degree 2 from a search modulo a prime,
    and each is shown exactly. ``loss`` is ``any`` (its gradients span the outputs) or
    ``cross-entropy`` (their sum is 0). ``data`` gives inputs (cases, *shape): then the count is for
    these inputs only. With ``signs``, laws and count are for weights with the signs that they have in
    the file; without, laws are for all weights.

    Sources: Du, Hu, Lee 2018; Kunin et al. 2021; Marcotte, Gribonval, Peyré 2023 and 2024.

    >>> from balproof.importers import load
    >>> conserved(load("tests/data/chain.json")).count.verdict
    'complete'

    Raises RequestError for an unknown flow or loss, for data that do not fit, and for decay and mirror flows
    of very many parameters.
    """
    require_seed(seed)
    chosen = Flow.parse(flow)
    if loss not in LOSSES:
        raise RequestError(f"the loss {loss!r} is not known", f"give {' or '.join(LOSSES)}")
    given = _checked(network, data)
    manifold = infer(network)
    layout = Layout(network)
    if layout.size > completeness.LARGEST and chosen.kind in ("euclidean", "natural"):
        return _of_a_large_network(manifold, layout, chosen, loss, given)
    if layout.size > MANY and chosen.kind in ("decay", "mirror"):
        raise RequestError(
            f"{chosen.text} is worked out for up to {MANY} parameters, and here are {layout.size}",
            "ask for the laws of gradient flow",
        )
    source = Data(network, seed, loss)  # laws are sought and shown for all inputs
    twist = -1 if chosen.kind == "momentum" else 1
    counted = Data(network, seed, loss, given)
    shown = _scaling(manifold, layout) if twist == 1 else []
    candidates, searched = list[str](), "scaling laws, which are all"
    kept, count = shown, _count(counted, layout, [s.forms for s in shown], chosen, signs, quick=True)
    if count.verdict not in ("complete", "none"):
        shown, candidates, searched = _searched(source, layout, shown, twist, signs)
        kept = [s for s in shown if _survives(s.forms, chosen)]
        lost = len(kept) < len(shown)
        count = _count(counted, layout, [s.forms for s in kept], chosen, signs, lost)
    return Conserved(
        tuple(Law(_under(s, chosen, layout), s.kind, s.verified_by) for s in kept),
        tuple(s.unit for s in kept),
        tuple(_short(s, chosen) for s in kept),
        count,
        chosen.text + (f", {chosen.assumes}" if chosen.assumes else ""),
        _of_data(network, given),
        _of_loss(loss),
        "all weights, for the laws" if not signs else "weights with the signs that they have in the file",
        searched,
        tuple(candidates),
        tuple(s.forms for s in kept),
        layout,
    )  # fmt: skip


def _checked(network: Network, data: Mapping[str, Array] | None) -> Mapping[str, Array] | None:
    if data is None:
        return None
    missing = sorted(set(network.inputs) - set(data))
    if missing:
        raise RequestError(f"the data lack the input {missing[0]!r}", "give an array for each input")
    arrays = {n: np.asarray(data[n], dtype=np.float64) for n in network.inputs}
    for name, array in arrays.items():
        shape = network.tensors[name].shape[1:]
        if array.shape[1:] != shape or not len(array) or not np.all(np.isfinite(array)):
            raise RequestError(
                f"the data for {name!r} have shape {array.shape}", f"give finite numbers (cases, *{shape})"
            )
    if len({len(a) for a in arrays.values()}) > 1:
        raise RequestError("the inputs have different numbers of cases", "give as many for each")
    return arrays


def _of_a_large_network(
    manifold: Manifold, layout: Layout, flow: Flow, loss: str, given: Mapping[str, Array] | None
) -> Conserved:
    """The scaling laws, without a direction for each weight."""
    laws, network = scaling_laws(manifold), manifold.network
    lost = manifold.count - len(laws)
    why = f"nothing is counted beyond {completeness.LARGEST} parameters"
    count = Count("at-least", max(0, manifold.free_scales - lost), None, layout.size, None, why)
    names = tuple(manifold.names[k] for k in scaling_columns(manifold))
    words = "scaling laws only, some of which may depend on others"
    return Conserved(
        laws,
        names,
        ("",) * len(laws),
        count,
        flow.text,
        _of_data(network, given),
        _of_loss(loss),
        "all weights",
        words,
        (),
        (),
        layout,
    )


def _of_loss(loss: str) -> str:
    if loss == "any":
        return "its gradients in the outputs span them all"
    return "its gradients in the outputs have sum 0, as of cross-entropy, and span these"


def _of_data(network: Network, given: Mapping[str, Array] | None) -> str:
    cases = f"these {len(next(iter(given.values())))} inputs" if given else "all inputs"
    steps = f", in sequences of up to {STEPS} steps from state 0" if network.states else ""
    return cases + steps


# --- what is shown -----------------------------------------------------------------------------------------


def _scaling(manifold: Manifold, layout: Layout) -> list[_Shown]:
    """The independent ones of the scaling laws: the direction of scale k is A_k∘θ."""
    columns = scaling_columns(manifold)
    forms: dict[int, dict[tuple[int, int], Fraction]] = {k: {} for k in columns}
    for name, flat, row in manifold.rows({t.name: np.full(t.shape, not t.buffer) for t in
                                          manifold.network.parameters}):  # fmt: skip
        e = layout.spans[name].start + flat
        for k, c in row:
            if k in forms:
                forms[k][e, e] = c
    formulas = scale_formulas(manifold)
    found = [
        _Shown(forms[k], formulas[k], "scaling", manifold.names[k], "exact: the scaling rules")
        for k in columns
    ]
    return [found[i] for i in quadratic.independent([s.forms for s in found], layout.size)]


def _searched(
    data: Data, layout: Layout, shown: list[_Shown], twist: int, signs: bool
) -> tuple[list[_Shown], list[str], str]:
    """Further laws of degree 2, each shown; and those that were not."""
    if layout.size > quadratic.LARGEST or not layout.size or _unseen(data.network):
        large = f"more than {quadratic.LARGEST} parameters"
        why = large if layout.size > quadratic.LARGEST else _unseen(data.network)
        return shown, [], f"scaling laws only ({why})"
    families, words = quadratic.families(data.network, twist)
    try:
        pool = [c.forms for c in quadratic.candidates(data, families, signs)]
        if twist == -1:  # a constant direction v goes with either
            straight = [f for f in quadratic.families(data.network)[0] if f.right is None]
            pool = [c.forms for c in quadratic.candidates(data, straight, signs)] + pool
    except Unsupported as why:
        return shown, [], f"scaling laws only ({why})"
    failed: list[Forms] = []
    while True:
        known = [s.forms for s in shown]
        new = [i - len(known) for i in quadratic.independent([*known, *pool], layout.size) if i >= len(known)]
        outcome = _prove(data, layout, [pool[i] for i in new], signs)
        shown = shown + [_described(layout, pool[i], data, twist) for i, ok in zip(new, outcome) if ok]
        failed += [pool[i] for i, ok in zip(new, outcome) if not ok]
        pool = [f for i, f in enumerate(pool) if i not in set(new)]
        if all(outcome):
            break
    return shown, [_text(layout, f, twist) for f in failed], words


def _prove(data: Data, layout: Layout, forms: Sequence[Forms], signs: bool) -> list[bool]:
    """Each direction shown, those that touch the same parameters together."""
    owner = np.concatenate([np.full(s.stop - s.start, i) for i, s in enumerate(layout.spans.values())])
    groups: dict[frozenset[int], list[int]] = {}
    for i, form in enumerate(forms):
        touched = frozenset(int(owner[e]) for e, _ in form)
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

    found: dict[str, dict[int, dict[tuple[str, int] | None, Fraction]]] = {}
    for (e, f), c in forms.items():
        name, flat = place(e)
        found.setdefault(name, {}).setdefault(flat, {})[None if f < 0 else place(f)] = c
    return found


def _described(layout: Layout, forms: Forms, data: Data, twist: int) -> _Shown:
    kind = "linear" if all(f < 0 for _, f in forms) else "quadratic" if twist == 1 else "antisymmetric"
    names = [n for n, s in layout.spans.items() if any(s.start <= e < s.stop for e, _ in forms)]
    steps = f", for sequences of up to {STEPS} steps" if data.network.states else ""
    how = f"exact: polynomials, a symbol for each gate{steps}"
    return _Shown(forms, _text(layout, forms, twist), kind, ", ".join(names), how)


def _text(layout: Layout, forms: Forms, twist: int) -> str:
    if twist == 1:
        return formula.text(layout, formula.scaled(formula.monomials(forms)))
    wedge = {(e, f): c for (e, f), c in forms.items() if f < 0 or e < f}
    return formula.text(layout, formula.scaled(wedge), "∧")


# --- flows -------------------------------------------------------------------------------------------------


def _survives(forms: Forms, flow: Flow) -> bool:
    straight = {f < 0 for _, f in forms}
    if flow.kind == "decay":
        return len(straight) == 1
    if flow.kind == "mirror":
        return all(f < 0 or e == f for e, f in forms)
    return True


def _under(s: _Shown, flow: Flow, layout: Layout) -> str:
    """The formula of a law under the flow."""
    if flow.kind == "decay":
        assert flow.rate is not None
        return f"{exponential(flow.rate, 1 if s.kind == 'linear' else 2)}·({s.formula})"
    if flow.kind == "momentum":
        assert flow.rate is not None
        where = "ẇ in place of w" if s.kind == "linear" else "with a∧b = ẇ_a·b − ẇ_b·a"
        return f"{exponential(flow.rate, 1)}·({s.formula}), {where}"
    if flow.kind == "mirror":
        pairs = formula.scaled({(e, f): c for (e, f), c in s.forms.items()})
        straight = {k: c for k, c in pairs.items() if k[1] < 0}
        square = {k: c for k, c in pairs.items() if k[1] >= 0}
        parts: list[str] = []
        if square:
            parts.append(f"{formula.text(layout, square)} with g(w) = {flow.kept} in place of w²")
        if straight:
            parts.append(f"{formula.text(layout, straight)} with {flow.slope} in place of w")
        return " + ".join(parts)
    return s.formula


def _short(s: _Shown, flow: Flow) -> str:
    """Σ_in w² − c·Σ_out w², where the law is one unit's."""
    plus, minus = ({c for c in s.forms.values() if (c > 0) is up} for up in (True, False))
    if s.kind != "scaling" or flow.kind not in ("euclidean", "natural") or plus != {1} or len(minus) != 1:
        return ""
    (c,) = minus
    return f"Σ_in w² − {'' if c == -1 else f'{-c}·'}Σ_out w²"


def _unseen(network: Network) -> str:
    """Why nothing can be counted where the outputs do not depend on inputs, or are not there."""
    return "" if network.inputs and network.outputs else "the network has no inputs, or no outputs"


# --- how many ----------------------------------------------------------------------------------------------


def _count(
    data: Data,
    layout: Layout,
    forms: Sequence[Forms],
    flow: Flow,
    signs: bool,
    lost: bool = False,
    quick: bool = False,
) -> Count:
    """The count at the best of some points; ``quick`` looks at one point and at no brackets."""
    size = layout.size
    atleast = ""
    if flow.kind == "momentum":
        atleast = "the states of a flow with momentum are not counted"
    elif flow.kind == "decay" and lost:
        atleast = "a law of mixed degree is lost"
    elif _unseen(data.network):
        atleast = _unseen(data.network)
    elif size > completeness.LARGEST:
        atleast = f"ranks are computed up to {completeness.LARGEST} parameters"
    if atleast or not size:
        return Count("at-least", len(forms), None, size, None, atleast)
    best: Certificate | None = None
    k = 0
    longest = 1 if flow.kind == "mirror" or quick else completeness.LONGEST
    for attempt in range(1 if quick or size > completeness.SMALL else POINTS):
        tried = Data(data.network, data.seed + attempt, data.loss, data.given)
        try:
            found = certify(tried, size - len(forms), signs, longest, quick)
        except Unsupported as why:
            return Count("at-least", len(forms), None, size, None, f"no rank: {why}")
        if not flow.fits(Fraction(w) for v in found.point.values() for w in v.ravel().tolist()):
            return Count("at-least", len(forms), None, size, None, "ψ is not known to be convex at the point")
        independent = _independent(tried, found, layout, forms)
        assert found.rank + independent <= size, "a law that is not one"
        if best is None or found.rank > best.rank:
            best, k = found, independent
        if found.rank + independent == size:
            break
    assert best is not None
    verdict: Verdict = "at-most"
    if best.rank == size:
        verdict = "none"
    elif best.rank + k == size:
        verdict = "complete"
    return Count(verdict, len(forms), best.rank, size, best.as_json(), "")


def _independent(data: Data, found: Certificate, layout: Layout, forms: Sequence[Forms]) -> int:
    """How many gradients of the laws are independent at θ₀. Each must be orthogonal to the fields there."""
    theta = Modular().constant(layout.join({n: v[None] for n, v in found.point.items()}))[0]
    gradients = quadratic.directions(forms, theta, modular.PRIME)
    if found.rows is None:
        sample = Fields(data, found.point, Modular()).rows(1, 0, 8)
        assert not modular.product(sample, gradients.T, modular.PRIME).any(), "a law that is not one"
    return len(modular.echelon(gradients)[1])
