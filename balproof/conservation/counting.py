"""How many laws there are: the best of some points, and the gradients of the laws there."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from balproof.conservation import completeness, directions, modular
from balproof.conservation.answer import Count, Verdict
from balproof.conservation.completeness import Certificate, certify, finished
from balproof.conservation.directions import Forms
from balproof.conservation.fields import Fields, Layout
from balproof.conservation.flows import Flow
from balproof.conservation.passes import Unsupported
from balproof.conservation.ring import Modular
from balproof.conservation.sampling import Data
from balproof.network.graph import Network

POINTS = 4
"""Points θ₀ that are tried; the largest rank counts."""


def unseen(network: Network) -> str:
    """Why nothing can be counted where the outputs do not depend on inputs, or are not there."""
    return "" if network.inputs and network.outputs else "the network has no inputs, or no outputs"


def count_laws(
    data: Data,
    layout: Layout,
    forms: Sequence[Forms],
    flow: Flow,
    signs: bool,
    lost: bool = False,
    quick: bool = False,
) -> Count:
    """The count at the best of some points; ``quick`` looks at one point and at no brackets, and writes no
    certificate of less than everything."""
    size = layout.size
    atleast = ""
    if flow.kind == "momentum":
        atleast = "the states of a flow with momentum are not counted"
    elif flow.kind == "decay" and lost:
        atleast = "a law of mixed degree is lost"
    elif unseen(data.network):
        atleast = unseen(data.network)
    elif size > completeness.LARGEST:
        atleast = f"ranks are computed up to {completeness.LARGEST} parameters"
    if atleast or not size:
        return Count("at-least", len(forms), None, size, None, atleast)
    best: Certificate | None = None
    at, k = data, 0
    longest = 1 if flow.kind == "mirror" or quick else completeness.LONGEST
    for attempt in range(1 if quick or size > completeness.SMALL else POINTS):
        tried = Data(data.network, data.seed + attempt, data.loss, data.given)
        try:
            found = certify(tried, size - len(forms), signs, longest)
        except Unsupported as why:
            return Count("at-least", len(forms), None, size, None, f"no rank: {why}")
        if not flow.fits(Fraction(w) for v in found.point.values() for w in v.ravel().tolist()):
            return Count("at-least", len(forms), None, size, None, "ψ is not known to be convex at the point")
        independent = _independent(tried, found, layout, forms)
        assert found.rank + independent <= size, "a law that is not one"
        if best is None or found.rank > best.rank:
            best, at, k = found, tried, independent
        if found.rank + independent == size:
            break
    assert best is not None
    verdict: Verdict = "at-most"
    if best.rank == size:
        verdict = "none"
    elif best.rank + k == size:
        verdict = "complete"
    written = None if quick and verdict == "at-most" else finished(at, best).as_json()
    return Count(verdict, len(forms), best.rank, size, written, "")


def _independent(data: Data, found: Certificate, layout: Layout, forms: Sequence[Forms]) -> int:
    """How many gradients of the laws are independent at θ₀. Each must be orthogonal to the fields there."""
    theta = Modular().constant(layout.join({n: v[None] for n, v in found.point.items()}))[0]
    gradients = directions.at(forms, theta, modular.PRIME)
    if found.rows is None:
        sample = Fields(data, found.point, Modular()).rows(1, 0, 8)
        assert not modular.product(sample, gradients.T, modular.PRIME).any(), "a law that is not one"
    return len(modular.echelon(gradients)[1])
