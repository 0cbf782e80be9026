"""A rigorous bound on how far the cost is above the optimum: the χ² gap.

Write F as Σ_t ω_t·exp(⟨r_t, h⟩) with ω_t > 0, the costs at the state to be judged, and rows r_t = p_t A_e.
For any y ≥ 0 with Σ_t y_t r_t = 0 and any h,

    Σ ω_t e^{u_t}  ≥  Σ (ω_t e^{u_t} − y_t u_t)  ≥  Σ (y_t − y_t log(y_t/ω_t))  ≥  Σ ω_t − Σ (y_t − ω_t)²/ω_t

with u_t = ⟨r_t, h⟩: the first step because Σ y_t u_t = 0, the second minimises over u_t, the third is
log x ≤ x − 1. So no rescaling costs less than F(0) − Σ (y − ω)²/ω. Here y is ω with the imbalances of
the units pushed along a spanning tree of large weights to the ground, which makes Σ y_t r_t = 0 *exactly*:
the sums run in integers. Only ω itself is rounded, and its rounding is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import networkx as nx
import numpy as np
from flint import arb, ctx, fmpq, fmpq_mat

from balproof.balance.existence import GROUND
from balproof.balance.problem import BalanceProblem
from balproof.symbolic.numeric import rational

Array = np.ndarray
Arithmetic = Literal["double", "rational", "ball"]

_PROJECTED = 150
"""Scales up to which a system of equations is solved exactly: a second or so."""

UNIT = 2.0**-53
"""Rounding to nearest in double precision changes a number by at most this fraction of it."""


@dataclass(frozen=True)
class GapCertificate:
    """F(state) ≤ (1 + gap)·inf F, over all rescalings of the state's weights by the scales that move.

    ``gap`` is relative to the infimum's lower bound and ``absolute`` in units of the cost; both are upper
    bounds. ``bits`` is the working precision, None for exact rationals. ``radius`` bounds the error in
    log-scale of the weights as they are, or, where ``state`` is given, of that state in decimals; then
    ``distance`` bounds the error of the weights as they are. None where that was not certified: ``no_radius``
    says why, where it was tried.
    """

    kind: str
    gap: float
    absolute: float
    bits: int | None
    radius: float | None = None
    distance: float | None = None
    state: Mapping[str, str] | None = None
    no_radius: str | None = None

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "kind": self.kind,
            "gap": self.gap,
            "absolute": self.absolute if np.isfinite(self.absolute) else None,
            "bits": self.bits,
            "radius": self.radius,
            "no_radius": self.no_radius,
        }
        if self.state is not None:
            found |= {"distance": self.distance, "state": dict(self.state)}
        return found


@dataclass(frozen=True)
class NoCertificate:
    """Why no certificate can be given."""

    reason: str


@dataclass(frozen=True)
class _Term:
    """One exponential of F: its ω as an exact number between ``low`` and ``high``, used as ``value``."""

    value: Fraction
    error: Fraction  # |true ω − value| ≤ error
    row: tuple[tuple[int, Fraction], ...]


def certify_gap(
    problem: BalanceProblem, arithmetic: Arithmetic = "double", *, bits: int = 128
) -> GapCertificate | NoCertificate:
    """Bound the relative gap of the weights that ``problem`` holds (the state h = 0).

    ``double``: ω in double precision with its rounding bounded (products and square roots of IEEE
    arithmetic, other powers from ball arithmetic). ``rational``: no rounding at all, for integer
    exponents. ``ball``: ω in ball arithmetic of ``bits`` bits.

    >>> from balproof.importers import load
    >>> from balproof.balance.multilevel import multilevel
    >>> problem = BalanceProblem.build(load("tests/data/chain.json"))
    >>> state = multilevel(problem).h
    >>> found = certify_gap(BalanceProblem.build(problem.manifold.rescale(state)), "rational")
    >>> found.gap < 1e-24
    True
    """
    terms = _terms(problem, arithmetic, bits)
    if isinstance(terms, NoCertificate):
        return terms
    kind = f"chi2-{arithmetic}"
    used_bits = {"double": 53, "rational": None, "ball": bits}[arithmetic]
    correction = _route(terms, [int(k) for k in np.flatnonzero(problem.active)])
    if isinstance(correction, NoCertificate):
        return correction
    gap = Fraction(0)
    floor = Fraction(0)
    for t, term in enumerate(terms):
        c = correction.get(t, Fraction(0))
        low = term.value - term.error
        if low <= 0 or term.value + c < 0:
            return NoCertificate(
                "the state is too far from balance for the gap bound: an edge of y is negative"
            )
        floor += low
        if c or term.error:
            gap += _up((abs(c) + term.error) ** 2 / low) if arithmetic != "rational" else c * c / term.value
    bound = floor - gap
    if terms and bound * 10**300 <= gap:
        return NoCertificate("the gap bound is not below the cost: balance further first")
    relative = gap / bound if terms else gap  # without costs F = 0 is the optimum
    return GapCertificate(kind, float_up(relative), float_up(gap), used_bits)


def exact_flow(
    problem: BalanceProblem,
) -> list[tuple[tuple[tuple[int, Fraction], ...], Fraction]] | NoCertificate:
    """For each term of the cost its row and y, exactly: Σ y·row = 0 over the scales that move."""
    terms = _terms(problem, "rational", 0)
    if isinstance(terms, NoCertificate):
        return terms
    correction = _route(terms, [int(k) for k in np.flatnonzero(problem.active)])
    if isinstance(correction, NoCertificate):
        return correction
    return [(term.row, term.value + correction.get(t, Fraction(0))) for t, term in enumerate(terms)]


def _up(x: Fraction) -> Fraction:
    """A short fraction that is not smaller, so that sums stay short."""
    return Fraction(float_up(x))


def float_up(x: Fraction) -> float:
    """A double that is not smaller."""
    try:
        value = float(x)
    except OverflowError:
        return np.inf if x > 0 else -np.finfo(float).max
    return value if Fraction(value) >= x else float(np.nextafter(value, np.inf))


def _terms(problem: BalanceProblem, arithmetic: Arithmetic, bits: int) -> list[_Term] | NoCertificate:
    if any(r.terms is None for r, _ in problem.groups):
        return NoCertificate("the gap bound needs costs that are sums of powers of |w|")
    rows = problem.rows
    terms: list[_Term] = []
    for regularizer, part in problem.groups:
        for a, p in regularizer.terms or ():
            power, factor = rational(p), rational(a)
            if power is None or factor is None:
                return NoCertificate(f"coefficient {a} or exponent {p} is not rational")
            if arithmetic == "rational" and power.denominator != 1:
                return NoCertificate(f"|w|^({power}) is irrational; use ball arithmetic")
            values = _omega(problem.weights[part], power, factor, arithmetic, bits)
            terms += [
                _Term(value, error, tuple((k, c * power) for k, c in row))
                for (value, error), row in zip(values, rows[part], strict=True)
            ]
    return terms


def _omega(
    weights: Array, power: Fraction, factor: Fraction, arithmetic: Arithmetic, bits: int
) -> list[tuple[Fraction, Fraction]]:
    """factor·w^power for every weight, with a bound on the error."""
    if arithmetic == "rational" or (power == 1 and factor == 1):
        return [(factor * Fraction(float(w)) ** power.numerator, Fraction(0)) for w in weights]
    if arithmetic == "double" and 2 * power in (3, 4) and factor == 1:
        # w·w is rounded once, w·√w twice, each by at most UNIT: 4·UNIT covers both and second order.
        values = weights * (weights if power == 2 else np.sqrt(weights))
        return [(Fraction(float(v)), Fraction(float(v)) * Fraction(4 * UNIT)) for v in values]
    return [_ball(float(w), power, factor, 53 if arithmetic == "double" else bits) for w in weights]


def _ball(w: float, power: Fraction, factor: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    saved = ctx.prec
    try:
        ctx.prec = bits
        exact = arb(w) ** arb(fmpq(power.numerator, power.denominator))
        exact *= arb(fmpq(factor.numerator, factor.denominator))
        return _dyadic(exact.mid()), _dyadic(exact.rad())
    finally:
        ctx.prec = saved


def _dyadic(x: arb) -> Fraction:
    mantissa, exponent = x.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _route(terms: Sequence[_Term], moving: Sequence[int]) -> dict[int, Fraction] | NoCertificate:
    """Corrections c with Σ (ω + c)·row = 0 exactly: on a spanning tree, where all weights are edges."""
    residual = dict.fromkeys(moving, Fraction(0))
    for term in terms:
        for k, c in term.row:
            residual[k] += c * term.value
    if any(len(term.row) > 2 for term in terms):
        return _project(terms, residual)
    graph: nx.Graph[int] = nx.Graph()
    for t, term in enumerate(terms):
        if term.row:
            i, j = ([k for k, _ in term.row] + [GROUND])[:2]
            if not graph.has_edge(i, j) or terms[graph.edges[i, j]["term"]].value < term.value:
                graph.add_edge(i, j, term=t, weight=float(term.value))
    correction: dict[int, Fraction] = {}
    tree = nx.maximum_spanning_tree(graph)
    for nodes in nx.connected_components(tree):
        root = GROUND if GROUND in nodes else min(nodes)
        order = list(nx.bfs_edges(tree, root))
        if root != GROUND:
            _close(terms, tree, order, root, residual, correction)
        for parent, child in reversed(order):
            t = tree.edges[parent, child]["term"]
            row = dict(terms[t].row)
            c = -residual[child] / row[child]
            correction[t] = c
            residual[child] = Fraction(0)
            if parent != GROUND:
                residual[parent] += c * row[parent]
    if any(residual.values()):
        return NoCertificate("a unit's imbalance cannot be routed to the rest of the network")
    return correction


def _project(terms: Sequence[_Term], residual: dict[int, Fraction]) -> dict[int, Fraction] | NoCertificate:
    """Where weights depend on more than two scales: c = −D·⟨row, x⟩, (Σ D·row rowᵀ) x = residual.

    With D = ω it would be the least Σ c²/ω; eight bits of ω keep the exact solution short.
    """
    if len(residual) > _PROJECTED:
        return NoCertificate(f"weights depend on more than two scales, and more than {_PROJECTED} move")
    position = {k: i for i, k in enumerate(residual)}
    short = [Fraction(round(float(m) * 256), 256) * Fraction(2) ** int(e) for m, e in
             (np.frexp(float(term.value)) for term in terms)]  # fmt: skip
    normal: dict[tuple[int, int], Fraction] = {}
    for term, d in zip(terms, short, strict=True):
        for k, a in term.row:
            for j, b in term.row:
                at = position[k], position[j]
                normal[at] = normal.get(at, Fraction(0)) + d * a * b
    matrix = fmpq_mat(len(position), len(position))
    for at, value in normal.items():
        matrix[at] = fmpq(value.numerator, value.denominator)
    right = fmpq_mat([[fmpq(v.numerator, v.denominator)] for v in residual.values()])
    try:
        x = matrix.solve(right)
    except ZeroDivisionError:
        return NoCertificate("weights depend on more than two scales, some of which can drift together")
    solved = {k: Fraction(int(x[i, 0].p), int(x[i, 0].q)) for k, i in position.items()}
    return {
        t: -d * sum((a * solved[k] for k, a in term.row), Fraction(0))
        for t, (term, d) in enumerate(zip(terms, short, strict=True))
        if term.row
    }


def _close(
    terms: Sequence[_Term],
    tree: nx.Graph[int],
    order: Sequence[tuple[int, int]],
    root: int,
    residual: dict[int, Fraction],
    correction: dict[int, Fraction],
) -> None:
    """Where no ground absorbs what the tree carries to the root: one more edge does, if degrees differ.

    A residual r at node k arrives at the root as π_k·r, so an edge off the tree changes what arrives by
    Σ row_k·π_k for each unit of its correction. If that is 0 for every edge then nothing arrives at all.
    """
    carried = {root: Fraction(1)}
    for parent, child in order:
        row = dict(terms[tree.edges[parent, child]["term"]].row)
        carried[child] = -carried[parent] * row[parent] / row[child]
    arrives = sum((residual[k] * factor for k, factor in carried.items()), Fraction(0))
    if not arrives:
        return
    effects = {
        t: effect
        for t, term in enumerate(terms)
        if any(k in carried for k, _ in term.row)
        and (effect := sum((c * carried[k] for k, c in term.row), Fraction(0)))
    }
    t, effect = max(effects.items(), key=lambda item: terms[item[0]].value * abs(item[1]))
    correction[t] = -arrives / effect
    for k, c in terms[t].row:
        residual[k] += correction[t] * c
