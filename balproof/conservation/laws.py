"""The laws of a flow of a network, each shown exactly, and how many more there can be."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from balproof.conservation import completeness, directions, higher, quadratic
from balproof.conservation.answer import Conserved, Count
from balproof.conservation.counting import count_laws, unseen
from balproof.conservation.fields import Layout
from balproof.conservation.flows import Flow
from balproof.conservation.passes import Unsupported
from balproof.conservation.sampling import LOSSES, STEPS, Data
from balproof.conservation.search import LINEAR, Search, stages
from balproof.conservation.shown import Shown, short, survives, under
from balproof.errors import RequestError, require_seed
from balproof.network.graph import Network
from balproof.network.laws import Law, scale_formulas, scaling_columns, scaling_laws
from balproof.network.manifold import Manifold, infer

Array = np.ndarray

SETTLED = ("complete", "none")
"""Verdicts of a count that leave nothing to search."""
MANY = 100_000
"""Parameters up to which the laws of decay and mirror flows are written out."""


def conserved(
    network: Network,
    *,
    flow: str = "euclidean",
    loss: str = "any",
    data: Mapping[str, Array] | None = None,
    signs: bool = False,
    degree: int = 2,
    seed: int = 0,
) -> Conserved:
    """What a flow of the parameters keeps, whatever the loss and the data, and whether there is more.

    Scaling laws come from the scaling manifold, further ones of degree 2 from a search modulo a prime,
    and each is shown exactly. ``loss`` is ``any`` (its gradients span the outputs) or
    ``cross-entropy`` (their sum is 0). ``data`` gives inputs (cases, *shape): then the count is for
    these inputs only. With ``signs``, laws and count are for weights with the signs that they have in
    the file; without, laws are for all weights. With ``degree`` above 2, polynomials up to that degree are
    searched too, unless the count shows that there are no more laws; those are independent of the others.

    Sources: Du, Hu, Lee 2018; Kunin et al. 2021; Marcotte, Gribonval, Peyré 2023 and 2024.

    >>> from balproof.importers import load
    >>> conserved(load("tests/data/chain.json")).count.verdict
    'complete'

    Raises RequestError for an unknown flow or loss, for data that do not fit, for decay and mirror flows of
    very many parameters, and for a degree with more monomials than are searched.
    """
    require_seed(seed)
    chosen = Flow.parse(flow)
    if loss not in LOSSES:
        raise RequestError(f"the loss {loss!r} is not known", f"give {' or '.join(LOSSES)}")
    higher.require_degree(degree)
    if degree > 2 and chosen.kind not in ("euclidean", "natural"):
        raise RequestError(
            f"laws of degree {degree} are searched for gradient flow, not for {chosen.text}", "give degree 2"
        )
    given = _checked(network, data)
    manifold = infer(network)
    layout = Layout(network)
    if layout.size > completeness.LARGEST and chosen.kind in ("euclidean", "natural"):
        if degree > 2:
            higher.require_few(layout.size, degree)
        return _of_a_large_network(manifold, layout, chosen, loss, given)
    if layout.size > MANY and chosen.kind in ("decay", "mirror"):
        raise RequestError(
            f"{chosen.text} is worked out for up to {MANY} parameters, and here are {layout.size}",
            "ask for the laws of gradient flow",
        )
    source = Data(network, seed, loss)  # laws are sought and shown for all inputs
    twist = -1 if chosen.kind == "momentum" else 1
    counted = Data(network, seed, loss, given)
    found = Search(tuple(_scaling(manifold, layout)) if twist == 1 else ())
    kept, why = found.shown, ""
    count = count_laws(counted, layout, [s.forms for s in kept], chosen, signs, quick=True)
    if count.verdict not in SETTLED:
        full = False
        try:
            why = _unsearched(source, degree)
            for pool, words in () if why else stages(source, degree, twist, signs):
                before, found = found, found.after(pool, words, source, twist, signs)
                if len(found.shown) > len(before.shown) or not (full or words == LINEAR):
                    kept, count = _counted(counted, found, chosen, signs)
                    full = True
                if count.verdict in SETTLED:
                    break
        except Unsupported as reason:
            why = str(reason)
        if not full:
            kept, count = _counted(counted, found, chosen, signs)
    return Conserved(
        tuple(Law(under(s, chosen, layout), s.kind, s.verified_by) for s in kept),
        tuple(s.unit for s in kept),
        tuple(short(s, chosen) for s in kept),
        count,
        chosen.text + (f", {chosen.assumes}" if chosen.assumes else ""),
        _of_data(network, given),
        _of_loss(loss),
        "all weights, for the laws" if not signs else "weights with the signs that they have in the file",
        _of_search(found, why, count, degree),
        found.failed,
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


def _of_search(found: Search, why: str, count: Count, degree: int) -> str:
    """What was searched, and why no more was."""
    if why:
        return f"scaling laws only ({why})"
    words = "; ".join(found.words)
    if degree > 2 and count.verdict in SETTLED:
        more = "others of any degree" if count.k else "laws of any degree"
        return f"{words or 'scaling laws'}; the count shows that there are no {more}"
    return words or "scaling laws, which are all"


def _of_loss(loss: str) -> str:
    if loss == "any":
        return "its gradients in the outputs span them all"
    return "its gradients in the outputs have sum 0, as of cross-entropy, and span these"


def _of_data(network: Network, given: Mapping[str, Array] | None) -> str:
    cases = f"these {len(next(iter(given.values())))} inputs" if given else "all inputs"
    steps = f", in sequences of up to {STEPS} steps from state 0" if network.states else ""
    return cases + steps


# --- what is shown -----------------------------------------------------------------------------------------


def _scaling(manifold: Manifold, layout: Layout) -> list[Shown]:
    """The independent ones of the scaling laws: the direction of scale k is A_k∘θ."""
    columns = scaling_columns(manifold)
    forms: dict[int, dict[tuple[int, ...], Fraction]] = {k: {} for k in columns}
    for name, flat, row in manifold.rows({t.name: np.full(t.shape, not t.buffer) for t in
                                          manifold.network.parameters}):  # fmt: skip
        e = layout.spans[name].start + flat
        for k, c in row:
            if k in forms:
                forms[k][e, e] = c
    formulas = scale_formulas(manifold)
    found = [
        Shown(forms[k], formulas[k], "scaling", manifold.names[k], "exact: the scaling rules")
        for k in columns
    ]
    return [found[i] for i in directions.independent([s.forms for s in found], layout.size)]


# --- the search --------------------------------------------------------------------------------------------


def _unsearched(data: Data, degree: int) -> str:
    """Why nothing is searched, if nothing is. Raises RequestError where a degree above 2 is asked in vain."""
    size = Layout(data.network).size
    if size > quadratic.LARGEST:
        if degree > 2:
            higher.require_few(size, degree)
        return f"more than {quadratic.LARGEST} parameters"
    return unseen(data.network) if size else "there are no parameters"


def _counted(data: Data, found: Search, flow: Flow, signs: bool) -> tuple[tuple[Shown, ...], Count]:
    """The laws under the flow, and how many more there can be."""
    kept = tuple(s for s in found.shown if survives(s.forms, flow))
    lost = len(kept) < len(found.shown)
    return kept, count_laws(data, Layout(data.network), [s.forms for s in kept], flow, signs, lost)
