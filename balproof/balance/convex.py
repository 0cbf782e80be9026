"""The same problem handed to CVXPY, in logarithms: the only room that knows CVXPY.

With b_t = log a_t + p_t log|w_e| and rows p_t A_e the cost is F(h) = Σ_t exp(b_t + p_t (A h)_e), and
log F is a log-sum-exp. Both forms are exponential cones. A status word from the solver is never taken
as evidence: what comes back is judged by its imbalance and gap, like any other state.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from balproof.balance.problem import BalanceProblem
from balproof.errors import RegularizerError, RequestError

Array = np.ndarray
Form = Literal["log-sum-exp", "exponential"]


@dataclass(frozen=True, eq=False)
class ConvexOptimum:
    """What the solver returned: ``h``, the ``value`` of F that it reports, and its own ``status`` word."""

    h: Array
    value: float
    status: str
    form: Form
    cones: int


def power_terms(problem: BalanceProblem, limit: int = 2**62) -> tuple[Array, sparse.csr_array]:
    """b and G with F(h) = Σ exp(b + G h), terms with equal rows merged.

    Raises RegularizerError where a cost is not a sum of powers, RequestError for more than ``limit`` terms.
    """
    if problem.exponents is None:
        raise RegularizerError(
            f"{problem.costs.name} is not a sum of powers of |w|",
            "the CVXPY formulation takes sums a·|w|^p; use --method newton",
        )
    log_w = np.log(problem.weights)
    b = np.concatenate(
        [np.log(a) + p * log_w[part] for part, terms in problem.exponents for a, p in terms] or [np.zeros(0)]
    )
    parts = [sparse.csr_array(problem.A[part] * p) for part, terms in problem.exponents for _, p in terms]
    rows = (
        sparse.csr_array(sparse.vstack(parts, format="csr"))
        if parts
        else sparse.csr_array((0, problem.count))
    )
    # What cannot move is part of the constant.
    rows = sparse.csr_array(rows @ sparse.diags_array(problem.active.astype(float)))
    rows.eliminate_zeros()
    rows.sort_indices()
    keys: dict[tuple[Any, ...], int] = {}
    label = np.empty(len(b), dtype=int)
    for i in range(len(b)):
        part = slice(rows.indptr[i], rows.indptr[i + 1])
        key = (tuple(rows.indices[part].tolist()), tuple(rows.data[part].tolist()))
        label[i] = keys.setdefault(key, len(keys))
    if len(keys) > limit:
        raise RequestError(
            f"the convex program would have {len(keys)} exponential cones",
            f"it is meant for at most {limit}; use --method multilevel",
        )
    order = np.argsort(label, kind="stable")
    first = order[np.searchsorted(label[order], np.arange(len(keys)))]
    bounds = np.searchsorted(label[order], np.arange(len(keys) + 1))
    merged = [logsumexp(b[order[i:j]]) for i, j in zip(bounds[:-1], bounds[1:], strict=True)]
    return np.array(merged, dtype=float), sparse.csr_array(rows[first])


def solve_convex(
    problem: BalanceProblem, form: Form = "log-sum-exp", *, solver: str = "CLARABEL", limit: int = 20_000
) -> ConvexOptimum:
    """Minimise F with CVXPY.

    ``form`` is log-sum-exp because its worst cases are better: ten networks 6-10-10-4 for each spread of
    log|w| came back at most 5e-10 above the optimum for standard deviations 1 to 8, the sum of exponentials
    1e-11 at 1, 7e-9 at 3, 2e-6 at 5 and 40 % at 8, since there the cones reach over more decades than the
    solver's tolerances. On a trained network both are 1e-11 off in h; where weights spread over 10 decades
    neither state is of use without Newton's method after it (``python benchmarks/convex_forms.py``).

    Raises RegularizerError where a cost is not a sum of powers, RequestError for more than ``limit`` cones.

    >>> from balproof.importers import load
    >>> round(solve_convex(BalanceProblem.build(load("tests/data/chain.json"))).value, 6)
    8.177043
    """
    b, rows = power_terms(problem, limit)
    if not len(b) or not problem.active.any():
        return ConvexOptimum(
            np.zeros(problem.count), problem.cost(np.zeros(problem.count)), "trivial", form, 0
        )
    cp: Any = importlib.import_module("cvxpy")
    shift = logsumexp(b)  # F(0) becomes 1
    moving = np.flatnonzero(problem.active)
    h = cp.Variable(len(moving))
    exponents = (b - shift) + sparse.csr_matrix(rows[:, moving]) @ h
    objective = cp.log_sum_exp(exponents) if form == "log-sum-exp" else cp.sum(cp.exp(exponents))
    program = cp.Problem(cp.Minimize(objective))
    tight = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12} if solver == "CLARABEL" else {}
    with warnings.catch_warnings():  # "may be inaccurate" is for us to judge, from the state
        warnings.simplefilter("ignore")
        try:
            program.solve(solver=solver, **tight)
        except cp.error.SolverError as failure:
            raise RequestError(f"{solver} failed ({failure})", "use --method multilevel") from None
    if h.value is None:
        raise RequestError(f"{solver} returned no point ({program.status})", "use --method multilevel")
    result = np.zeros(problem.count)
    result[moving] = h.value
    value = np.exp(program.value + shift) if form == "log-sum-exp" else program.value * np.exp(shift)
    return ConvexOptimum(result, float(value), str(program.status), form, len(b))
