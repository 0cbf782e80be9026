"""The laws of a flow of a network, each shown exactly, and how many more there can be."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from balproof.conservation import completeness, quadratic
from balproof.conservation.answer import Conserved, Count
from balproof.conservation.counting import count_laws, unseen
from balproof.conservation.fields import Layout
from balproof.conservation.flows import Flow
from balproof.conservation.passes import Unsupported
from balproof.conservation.quadratic import Forms
from balproof.conservation.sampling import LOSSES, STEPS, Data
from balproof.conservation.shown import Shown, described, prove, short, survives, text, under
from balproof.errors import RequestError, require_seed
from balproof.network.graph import Network
from balproof.network.laws import Law, scale_formulas, scaling_columns, scaling_laws
from balproof.network.manifold import Manifold, infer

Array = np.ndarray

MANY = 100_000
"""Parameters up to which the laws of decay and mirror flows are written out."""


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
    kept, count = shown, count_laws(counted, layout, [s.forms for s in shown], chosen, signs, quick=True)
    if count.verdict not in ("complete", "none"):
        shown, candidates, searched = _searched(source, layout, shown, twist, signs)
        kept = [s for s in shown if survives(s.forms, chosen)]
        lost = len(kept) < len(shown)
        count = count_laws(counted, layout, [s.forms for s in kept], chosen, signs, lost)
    return Conserved(
        tuple(Law(under(s, chosen, layout), s.kind, s.verified_by) for s in kept),
        tuple(s.unit for s in kept),
        tuple(short(s, chosen) for s in kept),
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


def _scaling(manifold: Manifold, layout: Layout) -> list[Shown]:
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
        Shown(forms[k], formulas[k], "scaling", manifold.names[k], "exact: the scaling rules")
        for k in columns
    ]
    return [found[i] for i in quadratic.independent([s.forms for s in found], layout.size)]


def _searched(
    data: Data, layout: Layout, shown: list[Shown], twist: int, signs: bool
) -> tuple[list[Shown], list[str], str]:
    """Further laws of degree 2, each shown; and those that were not."""
    if layout.size > quadratic.LARGEST or not layout.size or unseen(data.network):
        large = f"more than {quadratic.LARGEST} parameters"
        why = large if layout.size > quadratic.LARGEST else unseen(data.network)
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
        outcome = prove(data, layout, [pool[i] for i in new], signs)
        shown = shown + [described(layout, pool[i], data, twist) for i, ok in zip(new, outcome) if ok]
        failed += [pool[i] for i, ok in zip(new, outcome) if not ok]
        pool = [f for i, f in enumerate(pool) if i not in set(new)]
        if all(outcome):
            break
    return shown, [text(layout, f, twist) for f in failed], words
