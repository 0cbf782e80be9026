"""Solve for the balanced state, and say what was reached and what is certain about it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from balproof.balance.blocks import BlockProblem, measured
from balproof.balance.certificates import GapCertificate, NoCertificate, certify_gap
from balproof.balance.clusters import Digraph, cut_imbalance
from balproof.balance.connected import strongly_connected
from balproof.balance.convex import solve_convex
from balproof.balance.cyclic import sweeps
from balproof.balance.descent import Schedule, require_schedule, stochastic
from balproof.balance.direct import direct
from balproof.balance.elimination import order
from balproof.balance.enclosure import state_radius
from balproof.balance.existence import Existence, existence
from balproof.balance.flow import flow
from balproof.balance.isotone import certify_blocks
from balproof.balance.multilevel import colours, multilevel
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.refined import refined_radius
from balproof.balance.state import Iterate
from balproof.balance.ties import cuts_of_blocks
from balproof.errors import RequestError, require_seed
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer
from balproof.verdict import Verdict

Method = Literal["auto", "coarse", "multilevel", "sweeps", "newton", "direct", "stochastic", "flow", "cvxpy"]
METHODS: tuple[Method, ...] = get_args(Method)
"""``coarse`` and ``multilevel`` are two names of one method."""
_BY_BLOCKS: dict[Method, tuple[bool, int]] = {
    "auto": (True, 8),
    "coarse": (True, 0),
    "multilevel": (True, 0),
    "sweeps": (False, 0),
}
"""The methods that go over blocks: whether they move whole layers, and how many steps they mix."""

Status = Literal["balanced", "unattained", "unconverged"]

BALANCED = 1e-12
"""The relative imbalance of units, and of cuts, up to which a state counts as balanced.

Rounding allows it: log-scales are at most 700, and rounding them changes no cost by more than some 1e-13.
"""

LARGE = 1_000_000
"""Above so many weights nothing is made that lists each weight, where costs and manifold allow it."""

BLOCKS = 20_000
"""Above so many weights sweeps go over blocks of them, where costs and manifold allow it."""

_LOOSE = 1e-9
"""A radius above this is bettered in many bits, a cut imbalance above this not by sweeps."""

_EXACT_CERTIFICATE = 20_000
"""Up to this many weights the gap is certified in exact rationals as well, in a second or so."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The outcome of a solve: the log-scales ``h`` over the ``manifold`` of the given network.

    Costs and imbalances are those of the state that ``h`` makes of the weights; ``cut_imbalance`` is that of
    groups of strongly tied units, None where it is not defined or the network is large. ``status`` is
    ``balanced``, ``unattained`` (then ``witness`` is a direction in h along which the cost falls for ever) or
    ``unconverged``. ``dead_units`` and ``left_out`` (scales of degree ≤ 0) were not moved.
    """

    status: Status
    regularizer: str
    manifold: Manifold
    h: np.ndarray
    scales: tuple[str, ...]
    cost_before: float
    cost_after: float
    imbalance_before: float
    imbalance: float
    cut_imbalance: float | None
    passes: float
    seconds: float
    method: str
    history: tuple[float, ...]
    dead_units: tuple[str, ...]
    left_out: tuple[str, ...]
    existence: Existence
    certificate: GapCertificate | None
    no_certificate: str | None
    witness: Mapping[str, str] | None

    @cached_property
    def network(self) -> Network:
        """The network with the rescaled weights, in float64."""
        return self.manifold.rescale(self.h)

    def as_json(self) -> dict[str, object]:
        return {
            "status": self.status,
            "regularizer": self.regularizer,
            "cost_before": self.cost_before,
            "cost_after": self.cost_after,
            "imbalance_before": self.imbalance_before,
            "imbalance": self.imbalance,
            "cut_imbalance": self.cut_imbalance,
            "passes": round(self.passes, 2),
            "seconds": round(self.seconds, 4),
            "method": self.method,
            "dead_units": list(self.dead_units),
            "left_out": list(self.left_out),
            "attained": {"verdict": str(self.existence.verdict), "method": self.existence.method},
            "certificate": self.certificate.as_json() if self.certificate else None,
            "no_certificate": self.no_certificate,
            "witness": dict(self.witness) if self.witness else None,
        }


def solve(
    network: object,
    costs: Costs | str | Sequence[str] = "l2",
    *,
    method: Method = "auto",
    schedule: Schedule = "random",
    seed: int = 0,
    certify: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Solution:
    """Balance a network, or anything else that `balproof.load` takes.

    Raises RequestError for an unknown method or schedule or a negative seed, ModelError as `balproof.load`,
    and what `BalanceProblem.build` and, for cvxpy, `solve_convex` raise.

    Source: [B] Theorem 5.1.

    >>> found = solve("tests/data/chain.json", "l2", certify=True)
    >>> found.status, found.certificate.gap < 1e-12
    ('balanced', True)
    """
    if method not in METHODS:
        raise RequestError(f"unknown method {method!r}", "take one of " + ", ".join(METHODS))
    require_schedule(schedule)
    require_seed(seed)
    start = time.perf_counter()
    manifold = infer(load(network))
    if method in _BY_BLOCKS and sum(t.size for t in manifold.network.parameters) > min(BLOCKS, LARGE):
        costs = costs if isinstance(costs, Costs) else Costs.parse(costs)
        large = _solve_blocks(manifold, costs, method, start, certify, progress)
        if large is not None:
            return large
    problem = BalanceProblem.build(manifold, costs)
    answer = existence(problem)
    state = _minimise(problem, method, schedule, seed, answer.attained is not False, progress)
    final = problem.rescaled(state.h)
    zero = np.zeros(problem.count)
    imbalance, cuts = final.imbalance(zero), cut_imbalance(final, zero)
    witness = _witness(problem, answer)
    status: Status = "balanced" if max(imbalance, cuts or 0.0) <= BALANCED else "unconverged"
    if witness is not None:
        status = "unattained"
    found = certify_best(final) if certify else NoCertificate("not requested")
    if certify and answer.attained is False:
        found = NoCertificate("the infimum is not attained")
    return Solution(
        status=status,
        regularizer=problem.costs.name,
        manifold=manifold,
        h=state.h,
        scales=problem.manifold.names,
        cost_before=problem.cost(zero),
        cost_after=final.cost(zero),
        imbalance_before=problem.imbalance(zero),
        imbalance=imbalance,
        cut_imbalance=cuts,
        passes=state.passes,
        seconds=time.perf_counter() - start,
        method=state.method,
        history=state.history,
        dead_units=tuple(problem.names(problem.dead)),
        left_out=tuple(problem.names(problem.left_out)),
        existence=answer,
        certificate=found if isinstance(found, GapCertificate) else None,
        no_certificate=found.reason if isinstance(found, NoCertificate) else None,
        witness=witness,
    )


def is_large(network: Network) -> bool:
    """Whether a network has more weights than a matrix of weights and scales is made for."""
    return sum(t.size for t in network.parameters) > LARGE


def measure(network: Network, costs: Costs) -> tuple[float, np.ndarray]:
    """The cost of a network as it is, and the imbalances of the scales that move.

    >>> cost, imbalances = measure(load("tests/data/chain.json"), Costs.parse("l2"))
    >>> cost, imbalances.round(2).tolist()
    (18.25, [0.95, 0.0])
    """
    manifold = infer(network)
    zero = np.zeros(manifold.count)
    found = measured(manifold, costs) if is_large(network) else None
    if found is not None:
        moving = np.ones(manifold.count, bool)
        moving[[*manifold.dead(manifold.support), *manifold.endless]] = False
        return found[0], found[1].imbalances[moving]
    problem = BalanceProblem.build(manifold, costs)
    return problem.cost(zero), problem.imbalances(zero)[problem.active]


def _solve_blocks(
    manifold: Manifold,
    costs: Costs,
    method: Method,
    start: float,
    certify: bool,
    progress: Callable[[str], None] | None,
) -> Solution | None:
    """By blocks of weights, which stay where they are; None where that does not apply."""
    costs.require_known(manifold.network)
    problem = BlockProblem.build(manifold, costs)
    if problem is None or not strongly_connected(problem):
        return None
    if method == "auto" and problem.size - sum(problem.zeros) <= min(BLOCKS, LARGE):
        return None  # large with zeros alone
    coarse, memory = _BY_BLOCKS[method]
    passes, cuts = 0.0, 0.0
    for goal in (BALANCED / 4, BALANCED / 100, None):
        # Groups are balanced less well than their units; what hangs on the weakest ties no sweep moves.
        if goal is not None and cuts > _LOOSE:
            continue
        if goal is not None:
            state = sweeps(problem, tolerance=goal, coarse=coarse, memory=memory, progress=progress)
        else:
            state = _best(BalanceProblem.build(manifold, costs), progress)
        passes += state.passes + 1
        sums = problem.sums(state.h)
        balance = problem.balanced_by(sums, state.h)
        cuts = cuts_of_blocks(problem, state.h, balance, most=LARGE)
        if method != "auto" or cuts is None or cuts <= BALANCED / 4:
            break
    zero = np.zeros(manifold.count)
    before = problem.balanced_by(problem.start)
    imbalance = problem.imbalance_of(balance)
    certificate = certify_blocks(problem, state.h) if certify else NoCertificate("not requested")
    names = manifold.names
    falling = {names[k]: "-1" if balance.incoming[k] else "1" for k in problem.dead
               if balance.incoming[k] or balance.outgoing[k]}  # fmt: skip
    settled = max(imbalance, cuts or 0.0) <= BALANCED
    return Solution(
        status="unattained" if falling else "balanced" if settled else "unconverged",
        regularizer=costs.name,
        manifold=manifold,
        h=state.h,
        scales=names,
        cost_before=problem.cost_by(problem.start, zero),
        cost_after=problem.cost_by(sums, state.h),
        imbalance_before=problem.imbalance_of(before),
        imbalance=imbalance,
        cut_imbalance=cuts,
        passes=passes,
        seconds=time.perf_counter() - start,
        method=state.method,
        history=state.history,
        dead_units=tuple(names[k] for k in problem.dead),
        left_out=tuple(names[k] for k in problem.left_out),
        existence=Existence(True, Verdict.certified, "strongly connected components of the nonzero weights"),
        certificate=certificate if isinstance(certificate, GapCertificate) else None,
        no_certificate=certificate.reason if isinstance(certificate, NoCertificate) else None,
        witness=dict(list(falling.items())[:1]) or None,
    )


def _minimise(
    problem: BalanceProblem,
    method: Method,
    schedule: Schedule,
    seed: int,
    attained: bool,
    progress: Callable[[str], None] | None,
) -> Iterate:
    if not attained:
        # The scales run away: a bounded number of sweeps shows how far the cost falls.
        return multilevel(problem, sweeps=200, coarse=False, progress=progress)
    if method == "stochastic":
        return stochastic(problem, schedule, seed=seed, progress=progress)
    if method == "newton":
        return newton(problem, progress=progress)
    if method == "direct":
        return direct(problem, progress=progress)
    if method == "cvxpy":
        optimum = solve_convex(problem)
        polished = direct(problem, optimum.h, progress=progress)
        return dataclasses.replace(polished, method=f"cvxpy ({optimum.form}), Newton polish")
    if method in ("coarse", "multilevel"):
        return multilevel(problem, progress=progress)
    if method == "sweeps":
        swept = multilevel(problem, sweeps=100_000, coarse=False, progress=progress)
        return dataclasses.replace(swept, method="sweeps")
    if method == "flow":
        return flow(problem, progress=progress)
    return _best(problem, progress)


def _best(problem: BalanceProblem, progress: Callable[[str], None] | None) -> Iterate:
    """Sweeps while they are fast; then Newton's method, direct where its factors are small."""
    graph = Digraph.of(problem)
    cheap = graph is not None and order(graph.tail, graph.head, len(graph.scales) + 1) is not None
    swept: Iterate | None = None
    # Sweeps pay where few colours cover all units; a dense recurrent matrix needs one for each unit.
    if problem.single_power is not None and len(colours(problem)) <= 16:
        swept = multilevel(problem, sweeps=10 if cheap else 60, patience=5 if cheap else 40, progress=progress)
        if _settled(problem, swept):
            return swept
    start = None if swept is None else swept.h
    found = newton(problem, start, progress=progress) if graph is not None and not cheap else None
    if found is None or not _settled(problem, found):
        found = direct(problem, start, progress=progress)
    if not _settled(problem, found):
        found = stochastic(problem, "cyclic", sweeps=2_000, progress=progress)
    if swept is None:
        return found
    return dataclasses.replace(
        found,
        method=f"{swept.method}, {found.method}",
        passes=swept.passes + found.passes,
        history=swept.history + found.history[1:],
    )


def _settled(problem: BalanceProblem, state: Iterate) -> bool:
    """Whether units and groups of units are balanced, with something to spare for the rounding of weights."""
    goal = BALANCED / 4
    return state.imbalance <= goal and (cut_imbalance(problem, state.h) or 0.0) <= goal


def certify_best(problem: BalanceProblem) -> GapCertificate | NoCertificate:
    """The strongest certificate of the weights that ``problem`` holds.

    The gap in exact rationals where the exponents are integers and the network is not large, otherwise in
    bounded doubles; with a bound on the distance of the log-scales to the optimum where the box test
    gives one.
    """
    small = len(problem.weights) <= _EXACT_CERTIFICATE
    found = certify_gap(problem, "rational") if small else NoCertificate("large")
    if isinstance(found, NoCertificate):
        found = certify_gap(problem, "double")
    if isinstance(found, NoCertificate):
        return found
    radius = state_radius(problem)
    if isinstance(radius, NoCertificate):
        blocks = BlockProblem.build(problem.manifold, problem.costs)
        other = certify_blocks(blocks) if blocks is not None else radius
        if isinstance(other, GapCertificate) and other.radius is not None:
            radius = other.radius
    if isinstance(radius, NoCertificate) or radius > _LOOSE:
        better = refined_radius(problem)
        radius = radius if isinstance(better, NoCertificate) else better
    if isinstance(radius, NoCertificate):
        return dataclasses.replace(found, no_radius=radius.reason)
    return dataclasses.replace(found, radius=radius)


def _witness(problem: BalanceProblem, answer: Existence) -> dict[str, str] | None:
    """A direction in h along which the cost falls for ever, by name of scale; None if there is none."""
    if answer.direction is not None:
        named = zip(problem.manifold.names, answer.direction, strict=True)
        return {name: str(value) for name, value in named if value}
    falling = problem.A.T @ np.ones(len(problem.weights))
    for k in problem.dead:
        if falling[k]:  # only incoming costs, or only outgoing ones: scale them down
            return {problem.manifold.names[k]: "-1" if falling[k] > 0 else "1"}
    return None
