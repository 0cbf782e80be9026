"""What others do with the same problem. Every peer gets the manifold, and what it can prepare is not timed.

A peer is a function of a `Subject` that prepares, and returns what is timed: it gives h and the reads of all
weights that it took (None where they cannot be counted).
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import matrix_balance
from scipy.optimize import minimize

from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.convex import power_terms
from balproof.balance.problem import BalanceProblem, Costs
from balproof.network.manifold import Manifold

Array = np.ndarray
Work = Callable[[], tuple[Array, float | None]]

TOLERANCE = 1e-10
SWEEPS = 300
"""Plain sweeps stop here: what a ratio to them says is then a lower bound."""


class Skip(Exception):
    """Why a peer is left out."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A problem as it is given to peers."""

    manifold: Manifold
    problem: BlockProblem
    sweeps: int = SWEEPS

    @property
    def weights(self) -> list[Array]:
        """Of a chain of layers or a recurrent network, as they are."""
        found = [self.manifold.network.tensors[b.name].value for b in self.manifold.blocks]
        return [value for value in found if value is not None]


@dataclass(frozen=True)
class Peer:
    """``tolerance`` is the imbalance it is asked for, None where it stops by a rule of its own."""

    prepare: Callable[[Subject], Work]
    tolerance: float | None = TOLERANCE
    once: bool = False


def plain(subject: Subject) -> Work:
    """Our own sweeps without layer shifts and without mixing."""

    def work() -> tuple[Array, float]:
        problem = BlockProblem.build(subject.manifold, Costs.parse("l2"))
        assert problem is not None
        found = sweeps(problem, tolerance=TOLERANCE, limit=subject.sweeps, coarse=False, memory=0)
        return found.h, found.passes

    return work


def plain_numpy(subject: Subject) -> Work:
    """Layer after layer of a chain, by K @ y and e @ K with K = W∘W in double precision, made before."""
    costs = [w.astype(np.float64) ** 2 for w in subject.weights]

    def work() -> tuple[Array, float]:
        a, sweep = [np.ones(k.shape[1]) for k in costs] + [np.ones(len(costs[-1]))], 0
        while sweep < subject.sweeps:
            sweep += 1
            worst = 0.0
            for i in range(1, len(costs)):
                into, out = costs[i - 1] @ (1 / a[i - 1]), a[i + 1] @ costs[i]
                first, second = a[i] * into, out / a[i]
                worst = max(worst, float(np.max(np.abs(first - second) / (first + second))))
                a[i] = np.sqrt(out / into)
            if worst <= TOLERANCE:
                break
        return np.log(np.concatenate(a[1:-1])) / 2, 2.0 * sweep

    return work


def osborne_numpy(subject: Subject) -> Work:
    """Unit after unit of a recurrent network, by a row of K and a row of its transpose, both made before."""
    rows = np.square(subject.weights[0])
    columns = np.ascontiguousarray(rows.T)

    def work() -> tuple[Array, float]:
        a, inverse, sweep = np.ones(len(rows)), np.ones(len(rows)), 0
        while sweep < subject.sweeps:
            sweep += 1
            worst = 0.0
            for i in range(len(rows)):
                into, out = float(rows[i] @ inverse), float(columns[i] @ a)
                worst = max(worst, abs(a[i] * into - out * inverse[i]) / (a[i] * into + out * inverse[i]))
                a[i] = (out / into) ** 0.5
                inverse[i] = 1 / a[i]
            if worst <= TOLERANCE:
                break
        return np.log(a) / 2, 2.0 * sweep

    return work


def stochastic(subject: Subject) -> Work:
    """One unit after another in random order, in place: its row of one layer, its column of the next."""

    def work() -> tuple[Array, float]:
        rng = np.random.default_rng(0)
        costs = [w.astype(np.float64) ** 2 for w in subject.weights]
        units = [(i, k) for i in range(1, len(costs)) for k in range(len(costs[i - 1]))]
        h, sweep = [np.zeros(len(k)) for k in costs[:-1]], 0
        while sweep < subject.sweeps:
            sweep += 1
            worst = 0.0
            for n in rng.permutation(len(units)).tolist():
                i, k = units[n]
                row, column = costs[i - 1][k], costs[i][:, k]
                into, out = float(row.sum()), float(column.sum())
                worst = max(worst, abs(into - out) / (into + out))
                by = (out / into) ** 0.5
                row *= by
                column /= by
                h[i - 1][k] += np.log(by) / 2
            if worst <= TOLERANCE:
                break
        return np.concatenate(h), 2.0 * sweep

    return work


def balance_matrix(subject: Subject) -> Work:
    """SciPy's `matrix_balance` (LAPACK's gebal): powers of two, of a matrix whose diagonal is 0."""

    def work() -> tuple[Array, None]:
        _, (scale, _) = matrix_balance(subject.weights[0], permute=False, separate=True)
        return -np.log(scale), None

    return work


def l_bfgs(subject: Subject) -> Work:
    """SciPy's L-BFGS on F; value and gradient by one read."""
    problem = subject.problem

    def value(h: Array) -> tuple[float, Array]:
        sums = problem.sums(h)
        balance = problem.balanced_by(sums, h)
        return problem.cost_by(sums, h), np.where(problem.active, balance.incoming - balance.outgoing, 0.0)

    def work() -> tuple[Array, float]:
        options = {"maxiter": 2_000, "maxfun": 2_000, "ftol": 0.0, "gtol": 1e-12}
        start = np.zeros(problem.manifold.count)
        found = minimize(value, start, jac=True, method="L-BFGS-B", options=options)
        return found.x, float(found.nfev)

    return work


def cone_program(subject: Subject, solver: str, **settings: Any) -> Work:
    """log F in CVXPY, from its ``solve`` on."""
    if solver == "SCS" and importlib.util.find_spec("scs") is None:
        raise Skip("scs is not installed")
    import cvxpy as cp

    problem = BalanceProblem.build(subject.manifold)
    b, rows = power_terms(problem)
    moving = np.flatnonzero(problem.active)
    h = cp.Variable(len(moving))
    program = cp.Problem(cp.Minimize(cp.log_sum_exp(b + rows[:, moving] @ h)))

    def work() -> tuple[Array, None]:
        with warnings.catch_warnings():  # of inaccuracy: the imbalance is measured
            warnings.simplefilter("ignore")
            program.solve(solver=solver, **settings)
        if h.value is None:
            raise Skip(f"no point ({program.status})")
        found = np.zeros(problem.count)
        found[moving] = h.value
        return found, None

    return work


_TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}

PEERS = {
    "plain": Peer(plain),
    "plain-numpy": Peer(plain_numpy),
    "osborne-numpy": Peer(osborne_numpy),
    "stochastic": Peer(stochastic),
    "matrix_balance": Peer(balance_matrix, None),
    "l-bfgs": Peer(l_bfgs, None),
    "clarabel": Peer(partial(cone_program, solver="CLARABEL", **_TIGHT), None, once=True),
    "scs": Peer(partial(cone_program, solver="SCS", eps_abs=1e-9, eps_rel=1e-9), None, once=True),
}
