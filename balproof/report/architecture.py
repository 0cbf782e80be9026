"""What is known of one network, as a document: its scales, what balancing and gradient flow keep."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from balproof.conservation import Conserved, conserved
from balproof.network.graph import Network, Operation
from balproof.network.invariants import Invariant, invariants
from balproof.network.laws import scale_slices
from balproof.network.manifold import Manifold, infer
from balproof.report.documents import Block, code

MOST = 16
"""Scales, invariants or laws that are listed; the text says how many more there are."""

_KINDS = {"weight": "a weight without a scale", "path": "a path", "cycle": "a cycle", "product": "a product"}


def blocks(network: Network, title: str, about: str = "") -> tuple[Block, ...]:
    """The document of a network of at most 400 nonzero weights.

    >>> from balproof.importers import load
    >>> from balproof.report.documents import markdown
    >>> print(markdown(blocks(load("tests/data/chain.json"), "A chain")).splitlines()[2])
    - `z1` = linear(`x`, `fc1.weight`)

    Raises RequestError for larger ones.
    """
    manifold = infer(network)
    return (
        Block("title", title),
        *([Block("text", about)] if about else []),
        Block("list", items=tuple(_operation(op) for op in network.operations)),
        *_scales(manifold),
        *_invariants(invariants(manifold)),
        *_laws(manifold, conserved(network)),
    )


def _operation(op: Operation) -> str:
    kind = str(op.attributes["function"].text) if op.kind == "activation" else op.kind
    return f"{code(op.output)} = {kind}({', '.join(map(code, op.inputs))})"


def _listed(items: Sequence[str]) -> Block:
    more = [f"and {len(items) - MOST} more"] if len(items) > MOST else []
    return Block("list", items=(*items[:MOST], *more))


def _scales(manifold: Manifold) -> list[Block]:
    weights = sum(t.size for t in manifold.network.learned)
    head = [
        Block("heading", "Free scales"),
        Block(
            "text",
            f"{weights} weights, {manifold.free_scales} free scales. For any λ > 0 the network computes the "
            "same function when",
        ),
    ]
    items = [
        f"{code(name)}: {_moved(slices)}"
        for name, slices in zip(manifold.names, scale_slices(manifold), strict=True)
    ]
    blocked = [f"{code(u.name)}: no scale, {u.why}" for u in manifold.units if not u.free]
    if not items:
        return [
            head[0],
            Block("text", f"{weights} weights, none of which can be rescaled."),
            _listed(blocked),
        ]
    return [*head, _listed([*items, *blocked])]


def _moved(slices: Sequence[tuple[Fraction, str]]) -> str:
    """Which slices are multiplied by which power of λ."""
    by_power: dict[Fraction, list[str]] = {}
    for a, text in slices:
        by_power.setdefault(a, []).append(code(text))
    parts = [f"{' and '.join(texts)} times ${_power(a)}$" for a, texts in by_power.items()]
    return ", ".join(parts)


def _power(a: Fraction) -> str:
    return r"\lambda" if a == 1 else rf"\lambda^{{{a}}}"


def _invariants(found: Sequence[Invariant]) -> list[Block]:
    return [
        Block("heading", "What balancing keeps"),
        Block(
            "text",
            f"The signs of all weights, and {len(found)} independent products; every other product of whole "
            "powers that is kept is made of these:",
        ),
        _listed([f"{code(i.formula)} ({_KINDS[i.kind]})" for i in found]),
    ]


def _laws(manifold: Manifold, found: Conserved) -> list[Block]:
    scaling = [law for law in found.laws if law.kind == "scaling"]
    others = [law for law in found.laws if law.kind != "scaling"]
    result = [Block("heading", "Balance, and what gradient flow keeps")]
    if scaling:
        result += [
            Block(
                "text",
                "For each scale let D be the sum of the squares of the weights that it moves, each times its "
                "power of λ. The weights are balanced under Σw² where each D is 0. Gradient flow keeps D, "
                "whatever the loss and the data, and a step w − η∇E adds η² times the same sum of squared "
                "gradients.",
            ),
            _listed([code(law.formula) for law in scaling]),
        ]
    if others:
        result += [
            Block("text", "Gradient flow also keeps"),
            _listed([f"{code(law.formula)} ({law.verified_by})" for law in others]),
        ]
    why = f"{found.sentence[0].upper()}{found.sentence[1:]}."
    return [*result, Block("text", f"{why} Flow: {found.flow}; data: {found.data}; loss: {found.loss}.")]
