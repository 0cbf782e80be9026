"""How far is a state's cost above the optimum of its orbit?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from balproof.balance.beyond import wide
from balproof.balance.certificates.gap import UNIT
from balproof.balance.existence import Existence, existence
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import solve
from balproof.crosscheck.faults import Fault, shown
from balproof.crosscheck.scales import least_squares
from balproof.network.graph import Network

OPTIMALITY_TOLERANCE = 1e-6
"""The cost may be so much above the optimum, relatively."""

EXACT = 20_000
"""Up to this many weights the optimum is solved for and certified exactly, in a few seconds."""

WHOLE = "the whole network"


@dataclass(frozen=True)
class Optimality:
    """``gap`` bounds the relative excess of the cost, rigorously if ``certified``; None without a bound.

    ``excess`` is the one over the best state that was found, None where none was looked for or there is none.
    """

    gap: float | None
    certified: bool
    fault: Fault | None
    notes: tuple[str, ...] = ()
    excess: float | None = None


def optimality(problem: BalanceProblem, tolerance: float, *, balanced: bool) -> Optimality:
    """Judge the state h = 0 of ``problem`` over the scales that move (dead units do not).

    >>> from balproof.importers import load
    >>> chain = BalanceProblem.build(load("tests/data/chain.json"))
    >>> found = optimality(chain, 1e-6, balanced=False)
    >>> found.certified, found.fault.kind
    (True, 'not-optimal')
    """
    if len(problem.weights) > EXACT:
        if not problem.in_range:
            return by_solution(problem.manifold.network, problem.costs, tolerance)
        return _by_newton_step(problem, tolerance, balanced)
    best = solve(problem.manifold.network, problem.costs, certify=True)
    cost = wide.cost(problem)
    if not cost.value:
        return Optimality(0.0, True, None, excess=0.0)  # nothing costs less than nothing
    if best.existence.attained is False:
        return _unattained(problem, best.existence)
    least = wide.cost(BalanceProblem.stated(best.network, problem.costs))
    if not least.value:
        return Optimality(None, False, None, ("no optimality gap: costs beyond double precision",))
    ratio = cost.over(least)
    if ratio == np.inf:
        why = f"the cost is 10^{cost.log10() - least.log10():.0f} times the least one"
        return Optimality(None, False, Fault("not-optimal", f"{WHOLE}: {why}", None), (why,))
    notes: list[str] = []
    if best.existence.attained is None:
        notes.append("whether the optimum is attained could not be decided")
    gap = None
    if best.certificate is None:
        notes.append(f"no certified optimality gap: {best.no_certificate}")
    else:
        # Both costs are sums of rounded powers, and the solved weights were rounded: each of them is
        # multiplied by exp(A h).
        largest = float(np.max(np.abs(problem.A @ best.h), initial=0.0))
        slack = UNIT * (2 * len(problem.weights) + _power(problem) * (8 + 2 * largest))
        gap = max(0.0, ratio * (1 + slack) * (1 + best.certificate.gap) / (1 - slack) - 1)
    excess = ratio - 1
    fault = Fault("not-optimal", WHOLE, gap or excess) if excess > tolerance else None
    certified = gap is not None and (gap <= tolerance or fault is not None)
    return Optimality(gap, certified, fault, tuple(notes), excess)


def by_solution(network: Network, costs: Costs, tolerance: float) -> Optimality:
    """Judge a network whose costs are beyond doubles by the state that `solve` finds, and its certificate."""
    best = solve(network, costs, certify=True)
    if best.existence.attained is False:
        return Optimality(None, False, Fault("not-optimal", WHOLE, None), ("no rescaling is optimal",))
    if best.status == "unconverged":
        return Optimality(None, False, None, ("no optimality gap: the optimum was not reached",))
    logs = best.log10_costs or tuple(float(np.log10(c)) for c in (best.cost_before, best.cost_after))
    if logs[0] - logs[1] > _FARTHEST:
        why = f"the cost is 10^{logs[0] - logs[1]:.0f} times the least one"
        return Optimality(None, False, Fault("not-optimal", f"{WHOLE}: {why}", None), (why,))
    # Logarithms of up to 600 decades, and sums of as many costs as there are weights.
    slack = 1e-12 + 4 * UNIT * sum(t.size for t in network.parameters)
    excess = max(0.0, 10.0 ** (logs[0] - logs[1]) - 1)
    gap = None if best.certificate is None else (1 + excess) * (1 + slack) * (1 + best.certificate.gap) - 1
    fault = Fault("not-optimal", WHOLE, gap or excess) if excess > tolerance else None
    notes = () if gap is not None else (f"no certified optimality gap: {best.no_certificate}",)
    return Optimality(gap, gap is not None and (gap <= tolerance or fault is not None), fault, notes, excess)


_FARTHEST = 300.0
"""Decades between costs of which the quotient is a double."""


def _power(problem: BalanceProblem) -> float:
    """The largest exponent of the costs."""
    return max((abs(p) for _, terms in problem.exponents or () for _, p in terms), default=1.0)


def _unattained(problem: BalanceProblem, answer: Existence) -> Optimality:
    names = problem.manifold.names
    moves = [f"{n} by {v}" for n, v in zip(names, answer.direction or (), strict=True) if v]
    why = f"no rescaling is optimal: the cost falls for ever along {shown(moves)}"
    return Optimality(None, False, Fault("not-optimal", f"{WHOLE}: {why}", None), (why,))


def _by_newton_step(problem: BalanceProblem, tolerance: float, balanced: bool) -> Optimality:
    """The bound of `balproof.balance.certificates.gap` with the y that makes it least, in floating point.

    With H = ∇²F and x = H⁻¹∇F the y = ω·(1 − p·A x) has Aᵀ(p y) = 0, and the bound is F − ∇Fᵀx. It needs
    y ≥ 0; where y > 0, it also shows that the optimum is attained.
    """
    h = np.zeros(problem.count)
    moving = np.flatnonzero(problem.active)
    rows = sparse.csr_array(problem.A[:, moving])
    marginal, curvature = problem.marginal(h), problem.curvature_of(problem.weights)
    x = least_squares(rows, marginal / curvature, curvature) if len(moving) else np.zeros(0)
    if _power(problem) * np.max(np.abs(rows @ x), initial=0.0) > 0.5:
        if balanced and (answer := existence(problem)).attained is False:
            return _unattained(problem, answer)
        return Optimality(None, False, None, ("no optimality gap: too far from the optimum for a bound",))
    cost, falls = problem.cost(h), float((rows.T @ marginal) @ x)
    h[moving] = -x
    excess = cost / problem.cost(h) - 1
    if problem.exponents is None:
        gap = None
        notes = ("no optimality gap: the bound needs costs that are sums of powers of |w|",)
    else:
        gap = max(0.0, falls / (cost - falls)) + 2 * UNIT * len(problem.weights)
        notes = (f"more than {EXACT} weights: the optimality gap is computed in floating point",)
    fault = Fault("not-optimal", WHOLE, gap or excess) if excess > tolerance else None
    return Optimality(gap, False, fault, notes, excess)
