"""Solve for the balanced state, and say what was reached and what is certain about it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from balproof.balance.beyond import ranged, wide
from balproof.balance.beyond.far import BEYOND, solve_far
from balproof.balance.beyond.fitted import raised, refined, solve_in_range
from balproof.balance.beyond.ranged import Far
from balproof.balance.blocks.connected import strongly_connected
from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.general import GeneralProblem, measured
from balproof.balance.blocks.general_newton import BY_NEWTON, general_newton
from balproof.balance.blocks.problem import Balance, BlockProblem
from balproof.balance.blocks.sparse_pair import SparsePair
from balproof.balance.blocks.ties import cuts_of_blocks
from balproof.balance.certificates.balls import MOST, TOO_MANY, certify_balls, require_bits
from balproof.balance.certificates.block_faces import certify_general
from balproof.balance.certificates.enclosure import state_radius
from balproof.balance.certificates.faces import certify_faces
from balproof.balance.certificates.gap import UNIT, GapCertificate, NoCertificate, certify_gap
from balproof.balance.certificates.isotone import certify_blocks, polished
from balproof.balance.clusters import Digraph, cut_imbalance
from balproof.balance.convex import solve_convex
from balproof.balance.descent import Schedule, require_schedule, stochastic
from balproof.balance.direct import direct, fast, fits
from balproof.balance.elimination import order
from balproof.balance.existence import Existence, existence
from balproof.balance.flow import flow
from balproof.balance.multilevel import colours, multilevel
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.state import BALANCED, Iterate, Progress
from balproof.balance.unattained import infimum_of, toward_infimum
from balproof.errors import RangeError, RequestError, require_seed
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

LARGE = 1_000_000
"""Above so many weights nothing is made that lists each weight, where costs and manifold allow it."""

BLOCKS = 20_000
"""Above so many weights sweeps go over blocks of them, where costs and manifold allow it."""

SETTLED = BALANCED / 4
"""The imbalance that is aimed at, with something to spare for the rounding of weights."""

_EXACT_CERTIFICATE = 20_000
"""Up to this many weights the gap is certified in exact rationals as well, in a second or so."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The outcome of a solve: the log-scales ``h`` over the ``manifold`` of the given network.

    Costs and imbalances are those of the state that ``h`` makes of the weights; ``cut_imbalance`` is that of
    groups of strongly tied units, None where it is not defined or the network is large. ``status`` is
    ``balanced``, ``unattained`` (then ``witness`` is a direction in h along which the cost falls for ever) or
    ``unconverged``. ``dead_units`` and ``left_out`` (scales of degree ≤ 0) were not moved. Costs that no
    double holds are ∞ or 0; then ``log10_costs`` are the decimal logarithms of both. Where the optimum is not
    attained, ``infimum`` is what the cost falls toward and ``falling`` names the weights that go to nothing
    then, if that is known. ``factors`` are powers of two and log-scales that together are h, where the
    weights had to be brought into the range of doubles.
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
    log10_costs: tuple[float, float] | None = None
    factors: tuple[np.ndarray, np.ndarray] | None = None
    infimum: float | None = None
    falling: tuple[str, ...] = ()

    @cached_property
    def network(self) -> Network:
        """The network with the rescaled weights, in float64."""
        powers, h = self.factors or (None, self.h)
        return self.manifold.rescale(h, powers)

    def as_json(self) -> dict[str, object]:
        before, after = self.cost_before, self.cost_after
        logs: dict[str, object] = {}
        if self.log10_costs is not None:
            logs = dict(zip(("log10_cost_before", "log10_cost_after"), self.log10_costs, strict=True))
        return {
            "status": self.status,
            "regularizer": self.regularizer,
            "cost_before": before if before < np.inf else None,
            "cost_after": after if after < np.inf else None,
            **logs,
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
            "infimum": self.infimum,
            "falling": list(self.falling),
        }


def solve(
    network: object,
    costs: Costs | str | Sequence[str] = "l2",
    *,
    method: Method = "auto",
    schedule: Schedule = "random",
    seed: int = 0,
    certify: bool = False,
    bits: int | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Balance a network, or anything else that `balproof.load` takes.

    ``progress`` is told what goes on; once its answer is true, methods stop with the state that they have, a
    rescaling of the network like any other. ``certify`` bounds the distance to the optimum of the weights
    that came out; with ``bits`` the log-scales are refined to so many bits and enclosed in ball arithmetic
    (`certify_balls`).

    Raises RequestError for an unknown method or schedule, a negative seed, or bits without ``certify`` or out
    of range, or for weights that powers of two do not bring into the range of doubles, ModelError as
    `balproof.load`, and what `BalanceProblem.build` and, for cvxpy, `solve_convex` raise.

    Source: [B] Theorem 5.1.

    >>> found = solve("tests/data/chain.json", "l2", certify=True)
    >>> found.status, found.certificate.gap < 1e-12
    ('balanced', True)
    """
    if method not in METHODS:
        raise RequestError(f"unknown method {method!r}", "take one of " + ", ".join(METHODS))
    require_schedule(schedule)
    require_seed(seed)
    if bits is not None:
        require_bits(bits)
        if not certify:
            raise RequestError(f"{bits} bits are those of a certificate", "ask for one as well (--certify)")
    start = time.perf_counter()
    manifold = infer(load(network))
    if method in _BY_BLOCKS and sum(t.size for t in manifold.network.parameters) > min(BLOCKS, LARGE):
        costs = costs if isinstance(costs, Costs) else Costs.parse(costs)
        large = _solve_blocks(manifold, costs, method, start, certify and bits is None, progress)
        if large is not None and large.factors is None and large.method != BY_NEWTON:
            large = _nearer(manifold, costs, large, method, start, certify and bits is None, progress)
        if large is not None:
            return large if bits is None else dataclasses.replace(large, no_certificate=TOO_MANY)

    def once(manifold: Manifold, certify: bool) -> Solution:
        return _solve_weights(manifold, costs, method, schedule, seed, certify, bits, progress, start)

    try:
        return once(manifold, certify)
    except RequestError as refused:
        found = _apart(manifold, costs, lambda p: once(p.manifold, False), certify, bits)
        if found is None:
            raise refused
        return found


def _nearer(
    manifold: Manifold,
    costs: Costs,
    found: Solution,
    method: Method,
    start: float,
    certify: bool,
    progress: Progress | None,
) -> Solution:
    """By way of powers of two where scales were too large for doubles, or where cuts were not judged and some
    groups are tied by less than their units' sums feel."""
    overflown = not np.isfinite(found.history).all()
    if found.cut_imbalance is not None and not overflown:
        return found
    again = solve_far(
        manifold,
        costs,
        lambda p: _solve_blocks(p.manifold, costs, method, start, certify, progress, p),
        _reduce,
        None if overflown else found,
    )
    return again or found


def _apart(
    manifold: Manifold,
    costs: Costs | str | Sequence[str],
    solve: Callable[[BlockProblem], Solution | None],
    certify: bool,
    bits: int | None,
) -> Solution | None:
    """A network that no powers of two bring into range, in groups of units; None where it is none."""
    costs = costs if isinstance(costs, Costs) else Costs.parse(costs)
    if BalanceProblem.stated(manifold, costs).in_range:
        return None
    found = solve_far(manifold, costs, solve, _reduce)
    if found is None or not certify:
        return found
    bound = _certified(BalanceProblem.stated(found.network, costs), bits)
    no_bound = bound.reason if isinstance(bound, NoCertificate) else None
    return dataclasses.replace(
        found, certificate=bound if isinstance(bound, GapCertificate) else None, no_certificate=no_bound
    )


def _solve_weights(
    manifold: Manifold,
    costs: Costs | str | Sequence[str],
    method: Method,
    schedule: Schedule,
    seed: int,
    certify: bool,
    bits: int | None,
    progress: Progress | None,
    start: float,
) -> Solution:
    """With a row of A for each weight."""
    problem = BalanceProblem.stated(manifold, costs)
    answer = existence(problem)
    attained = answer.attained is not False
    reached = solve_in_range(
        problem, attained, lambda p: _minimise(p, method, schedule, seed, attained, progress)
    )
    found = NoCertificate("not requested")
    if certify:
        found = _certified(reached.final, bits) if attained else NoCertificate("the infimum is not attained")
    if isinstance(found, GapCertificate) and found.state and (found.distance or 0.0) > _ROUGH:
        reached = refined(problem, reached, found.state)
        found = _certified(reached.final, bits)
    final, state = reached.final, reached.state
    imbalance = float(np.max(wide.imbalances(final), initial=0.0))
    cuts = cut_imbalance(final, np.zeros(final.count)) if final.in_range else None
    witness = _witness(problem, answer)
    status: Status = "balanced" if max(imbalance, cuts or 0.0) <= BALANCED else "unconverged"
    if witness is not None:
        status = "unattained"
    infimum, vanishing = infimum_of(problem) if witness is not None else (None, ())
    before, now = wide.cost(problem), wide.cost(final)
    return Solution(
        status=status,
        regularizer=problem.costs.name,
        manifold=manifold,
        h=reached.h,
        scales=problem.manifold.names,
        cost_before=before.double(),
        cost_after=now.double(),
        imbalance_before=float(np.max(wide.imbalances(problem), initial=0.0)),
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
        log10_costs=None if wide.held(before) and wide.held(now) else (before.log10(), now.log10()),
        factors=reached.factors,
        infimum=infimum,
        falling=vanishing,
    )


_FEW = 120
"""Scales up to which balls of many bits are made unasked: a second or so."""

_ROUGH = 1e-10
"""Weights whose log-scales are farther than this from the balanced ones are rescaled by the refined state."""


def _certified(final: BalanceProblem, bits: int | None) -> GapCertificate | NoCertificate:
    if bits is not None:
        return certify_balls(final, bits)
    if final.in_range:
        return certify_best(final)
    lifted = raised(final)
    if lifted is not None:
        found = certify_best(lifted.problem)
        if isinstance(found, GapCertificate):
            return dataclasses.replace(found, absolute=lifted.costs([found.absolute])[0] * (1 + 4 * UNIT))
    found = certify_balls(final, 128)
    if isinstance(found, NoCertificate) and np.count_nonzero(final.active) <= _FEW:
        span = int(np.ptp(np.append(wide.wide(final, 1).exponent, 0)))
        found = certify_balls(final, min(256 + 4 * span, MOST))
    if isinstance(found, NoCertificate):
        return NoCertificate(BEYOND) if lifted is None else found
    return dataclasses.replace(found, radius=found.distance, distance=None, state=None)


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
    try:
        found = measured(manifold, costs) if is_large(network) else None
    except RangeError:
        found, far = None, Far.of(manifold, costs)
        if far is not None:
            total, imbalances = ranged.measured(far)
            return total.double(), imbalances[far.active]
    if found is not None:
        moving = np.ones(manifold.count, bool)
        moving[[*manifold.dead(manifold.support), *manifold.endless]] = False
        return found[0], found[1].imbalances[moving]
    problem = BalanceProblem.stated(manifold, costs)
    return wide.cost(problem).double(), wide.imbalances(problem)[problem.active]


def _solve_blocks(
    manifold: Manifold,
    costs: Costs,
    method: Method,
    start: float,
    certify: bool,
    progress: Progress | None,
    problem: BlockProblem | None = None,
) -> Solution | None:
    """By blocks of weights, which stay where they are; None where that does not apply."""
    costs.require_known(manifold.network)
    if progress and problem is None:
        progress("reading weights; at first use loops are compiled")  # the next call asks whether to stop
    try:
        problem = problem or BlockProblem.build(manifold, costs)
    except RangeError:
        return solve_far(
            manifold,
            costs,
            lambda p: _solve_blocks(p.manifold, costs, method, start, certify, progress, p),
            _reduce,
        )
    if problem is None and method == "auto":
        return _solve_general(manifold, costs, start, certify, progress)
    connected = False if problem is None else strongly_connected(problem)
    if problem is None or connected is False:
        return None  # where it is not known (None), the certificate shows that there is a minimum, or not
    if method == "auto" and problem.nonzero <= min(BLOCKS, LARGE):
        return None  # large with zeros alone
    coarse, memory = _BY_BLOCKS[method]
    listed = any(isinstance(pair, SparsePair) for pair in problem.pairs)
    narrow: list[BalanceProblem] = []

    def by_factors() -> bool:
        """Whether factors are small, as those of long rings and grids."""
        exact = BalanceProblem.build(manifold, costs)
        narrow.extend([exact] if fast(exact) else [])
        return bool(narrow)

    passes, cuts = 0.0, 0.0
    for goal in (SETTLED, BALANCED / 100, None):
        # Groups are balanced less well than their units; what hangs on the weakest ties no sweep moves.
        if goal is not None and cuts > _ROUGH:
            continue
        if goal is not None:
            limit = 100_000 if listed and method == "sweeps" else 500
            state = sweeps(
                problem,
                tolerance=goal,
                limit=limit,
                coarse=coarse,
                memory=memory,
                slowly=by_factors if listed and method == "auto" else None,
                progress=progress,
            )
            if listed and method == "auto" and not narrow and state.imbalance > BALANCED:
                exact = BalanceProblem.build(manifold, costs)
                narrow = [exact] if fits(exact) else []
            if narrow:
                state = _after(state, direct(narrow[0], state.h, progress=progress))
        else:
            state = _best(BalanceProblem.build(manifold, costs), progress)
        h, sums, reads = state.h, problem.sums(state.h), 0
        if certify or not connected:
            h, sums, reads = polished(problem, h, sums)
        passes += state.passes + 1 + reads
        balance = problem.balanced_by(sums, h)
        cuts = cuts_of_blocks(problem, h, balance, most=LARGE)
        if method != "auto" or narrow or cuts is None or cuts <= SETTLED:
            break
    zero = np.zeros(manifold.count)
    not_asked = NoCertificate("not requested")
    certificate = certify_blocks(problem, h, sums) if certify or not connected else not_asked
    if not connected and isinstance(certificate, NoCertificate):
        return None
    settled = max(problem.imbalance_of(balance), cuts or 0.0) <= BALANCED
    listable = settled and problem.size <= LARGE and not problem.lost
    if certify and listable and isinstance(certificate, NoCertificate):
        certificate = _gap_alone(BalanceProblem.build(manifold, costs).rescaled(h), certificate)
    return _of_blocks(
        problem,
        costs,
        (problem.cost_by(problem.start, zero), problem.balanced_by(problem.start)),
        (problem.cost_by(sums, h), balance),
        dataclasses.replace(state, h=h, passes=passes),
        cuts,
        connected,
        certificate if certify else not_asked,
        start,
        listed,
    )


def _of_blocks(
    problem: BlockProblem,
    costs: Costs,
    before: tuple[float, Balance],
    after: tuple[float, Balance],
    state: Iterate,
    cuts: float | None,
    connected: bool | None,
    certificate: GapCertificate | NoCertificate,
    start: float,
    listed: bool,
) -> Solution:
    """What was found over blocks, with cost and balance before and after.

    ``listed``: for an infimum the weights may be.
    """
    balance, names = after[1], problem.manifold.names
    imbalance = problem.imbalance_of(balance)
    settled = max(imbalance, cuts or 0.0) <= BALANCED
    shown = "strongly connected components of the nonzero weights" if connected else "a box of log-scales"
    run_away = {names[k]: "-1" if balance.incoming[k] else "1" for k in problem.dead
                if (balance.incoming[k] > 0) != (balance.outgoing[k] > 0)}  # fmt: skip
    infimum, vanishing = (
        infimum_of(BalanceProblem.stated(problem.manifold, costs)) if run_away and listed else (None, ())
    )
    return Solution(
        status="unattained" if run_away else "balanced" if settled else "unconverged",
        regularizer=costs.name,
        manifold=problem.manifold,
        h=state.h,
        scales=names,
        cost_before=before[0],
        cost_after=after[0],
        imbalance_before=problem.imbalance_of(before[1]),
        imbalance=imbalance,
        cut_imbalance=cuts,
        passes=state.passes,
        seconds=time.perf_counter() - start,
        method=state.method,
        history=state.history,
        dead_units=tuple(names[k] for k in problem.dead),
        left_out=tuple(names[k] for k in problem.left_out),
        existence=Existence(True, Verdict.certified, shown),
        certificate=certificate if isinstance(certificate, GapCertificate) else None,
        no_certificate=certificate.reason if isinstance(certificate, NoCertificate) else None,
        witness=dict(list(run_away.items())[:1]) or None,
        infimum=infimum,
        falling=vanishing,
    )


def _solve_general(
    manifold: Manifold, costs: Costs, start: float, certify: bool, progress: Progress | None
) -> Solution | None:
    """Costs of any form by blocks of weights; None where that does not apply, or does not come to the end."""
    problem = GeneralProblem.build(manifold, costs)
    connected = False if problem is None else strongly_connected(problem.blocks)
    if problem is None or connected is False or problem.blocks.nonzero <= min(BLOCKS, LARGE):
        return None
    stopped = False

    def told(text: str) -> bool:
        nonlocal stopped
        stopped = stopped or bool(progress and progress(text))
        return stopped

    before = problem.at(np.zeros(problem.count))
    state, found = general_newton(problem, before, tolerance=SETTLED, progress=told)
    listed = problem.blocks.nonzero <= LARGE
    if state.imbalance > BALANCED and listed and not stopped:
        return None
    not_asked = NoCertificate("not requested")
    certificate = certify_general(state) if certify or not connected else not_asked
    if not connected and isinstance(certificate, NoCertificate):
        return None
    return _of_blocks(
        problem.blocks,
        costs,
        (before.cost, before.balance),
        (state.cost, state.balance),
        dataclasses.replace(found, passes=found.passes + 2),
        None,
        connected,
        certificate if certify else not_asked,
        start,
        listed,
    )


def _gap_alone(problem: BalanceProblem, without: NoCertificate) -> GapCertificate | NoCertificate:
    """The gap weight by weight, where no box holds the balanced state for certain: ties too weak for sums."""
    found = certify_gap(problem, "double")
    return (
        without if isinstance(found, NoCertificate) else dataclasses.replace(found, no_radius=without.reason)
    )


def _reduce(arrays: dict[str, np.ndarray], power: float) -> Solution:
    """Balance groups of units, as one unit each."""
    return solve(arrays, f"lp:{Fraction(power)}")


def _minimise(
    problem: BalanceProblem,
    method: Method,
    schedule: Schedule,
    seed: int,
    attained: bool,
    progress: Progress | None,
) -> Iterate:
    if not attained:
        # The scales run away: a bounded number of sweeps shows how far the cost falls.
        near = toward_infimum(problem, progress) if len(problem.weights) > BLOCKS else None
        if near is not None:
            return near
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


def _best(problem: BalanceProblem, progress: Progress | None) -> Iterate:
    """Sweeps while they are fast; then Newton's method, direct where its factors are small."""
    graph = Digraph.of(problem)
    cheap = graph is not None and order(graph.tail, graph.head, len(graph.scales) + 1) is not None
    swept: Iterate | None = None
    # Sweeps pay where few colours cover all units; a dense recurrent matrix needs one for each unit.
    if problem.single_power is not None and len(colours(problem)) <= 16:
        swept = multilevel(
            problem, sweeps=10 if cheap else 60, patience=5 if cheap else 40, progress=progress
        )
        if _settled(problem, swept):
            return swept
    start = None if swept is None else swept.h
    able = graph is not None or not fits(problem)
    found = newton(problem, start, progress=progress) if able and not cheap else None
    if found is None or (not _settled(problem, found) and fits(problem)):
        found = direct(problem, start, progress=progress)
    if not _settled(problem, found):
        # A step of costs that are no sums of powers takes a search; far out, where they are flat, in vain.
        sweeps_left = 2_000 if problem.exponents is not None else 20
        found = stochastic(problem, "cyclic", sweeps=sweeps_left, progress=progress)
    return found if swept is None else _after(swept, found)


def _after(first: Iterate, found: Iterate) -> Iterate:
    """What was found from where the first one ended."""
    return dataclasses.replace(
        found,
        method=f"{first.method}, {found.method}",
        passes=first.passes + found.passes,
        history=first.history + found.history[1:],
    )


def _settled(problem: BalanceProblem, state: Iterate) -> bool:
    """Whether units and groups of units are balanced."""
    return state.imbalance <= SETTLED and (cut_imbalance(problem, state.h) or 0.0) <= SETTLED


def certify_best(problem: BalanceProblem) -> GapCertificate | NoCertificate:
    """The strongest certificate of the weights that ``problem`` holds.

    The gap in exact rationals where the exponents are integers and the network is not large, otherwise in
    bounded doubles; with a bound on the distance of the log-scales to the optimum where the box test
    gives one. Both come from the faces of a box where costs are no sums of powers.
    """
    if problem.exponents is None:
        return _certify_any(problem)
    small = len(problem.weights) <= _EXACT_CERTIFICATE
    if not small and (blocks := BlockProblem.build(problem.manifold, problem.costs)) is not None:
        found = certify_blocks(blocks)  # by states above and below, in seconds
        if isinstance(found, GapCertificate):
            return found
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
    if isinstance(radius, NoCertificate) or radius > _ROUGH:
        better = _in_balls(problem)
        radius = radius if better is None or isinstance(better, NoCertificate) else better
    if isinstance(radius, NoCertificate):
        return dataclasses.replace(found, no_radius=radius.reason)
    return dataclasses.replace(found, radius=radius)


def _certify_any(problem: BalanceProblem) -> GapCertificate | NoCertificate:
    """Of costs of any form; in ball arithmetic where scales are few and their signs allow nothing else."""
    found = certify_faces(problem)
    if isinstance(found, NoCertificate) and np.count_nonzero(problem.active) <= _FEW:
        other = certify_balls(problem)
        if isinstance(other, GapCertificate):
            return dataclasses.replace(other, radius=other.distance, distance=None, state=None)
    return found


def _in_balls(problem: BalanceProblem) -> float | NoCertificate | None:
    """The distance to the balanced state, with bits enough for sums over all decades of the costs."""
    if np.count_nonzero(problem.active) > _FEW:
        return NoCertificate(f"more than {_FEW} scales move, too many for many bits unasked")
    sizes = np.log2(np.append(problem.marginal_of(problem.weights), 1.0))
    found = certify_balls(problem, min(256 + 4 * int(np.ptp(sizes)), MOST))
    return found if isinstance(found, NoCertificate) else found.distance


def _witness(problem: BalanceProblem, answer: Existence) -> dict[str, str] | None:
    """A direction in h along which the cost falls for ever, by name of scale; None if there is none."""
    if answer.direction is not None:
        named = zip(problem.manifold.names, answer.direction, strict=True)
        return {name: str(value) for name, value in named if value}
    falling, all_of_it = problem.flows(np.ones(len(problem.weights)))
    for k in problem.dead:
        if falling[k] and abs(falling[k]) == all_of_it[k]:  # costs on one side alone: scale them down
            return {problem.manifold.names[k]: "-1" if falling[k] > 0 else "1"}
    return None
