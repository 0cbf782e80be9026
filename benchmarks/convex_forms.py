"""Log-sum-exp or a sum of exponentials: which is more accurate? ``python benchmarks/convex_forms.py``

Both are solved by Clarabel through CVXPY, on the digits network and on ten random networks 6-10-10-4 for each
spread σ of log-normal weights (standard deviation of log|w|), and judged at the point that came back, by the
distance to the optimum that Newton's method finds (imbalance below 1e-13). ``gap`` is F(h)/F* − 1, ``value``
the relative error of the optimum that the solver itself reports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from balproof.balance.convex import Form, solve_convex
from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem
from balproof.importers import load

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.networks import mlp  # noqa: E402 the tests' networks, wherever this is started from

FORMS: tuple[Form, ...] = ("log-sum-exp", "exponential")
SEEDS = range(10)


def cases() -> Iterator[tuple[str, list[BalanceProblem]]]:
    """A name and the problems whose worst and median figures make one row."""
    digits = load(ROOT / "tests" / "data" / "digits.onnx")
    for cost in ("l1", "l2", "lp:1.5"):
        yield f"digits, {cost}", [BalanceProblem.build(digits, cost)]
    for spread in (1, 2, 3, 4, 5, 6, 8):
        networks = (mlp([6, 10, 10, 4], seed=seed, spread=spread) for seed in SEEDS)
        yield f"10 random, σ = {spread}", [BalanceProblem.build(n) for n in networks]


def figures(problem: BalanceProblem, form: Form) -> tuple[float, float, float, float]:
    """Error in h, imbalance, gap, and error of the reported value."""
    best = direct(problem)
    assert best.imbalance < 1e-13, "no optimum to compare with"
    least = problem.cost(best.h)
    found = solve_convex(problem, form)
    error = float(np.max(np.abs(found.h - best.h)))
    return error, problem.imbalance(found.h), problem.cost(found.h) / least - 1, abs(found.value / least - 1)


def main() -> None:
    """Print the table."""
    headings = ("median error", "worst error", "imbalance", "gap", "value")
    print(f"{'networks':<18}{'form':<13}" + "".join(f"{h:>14}" for h in headings))
    for name, problems in cases():
        for form in FORMS:
            table = np.array([figures(p, form) for p in problems])
            row = (np.median(table[:, 0]), *table.max(axis=0))
            print(f"{name:<18}{form:<13}" + "".join(f"{x:>14.0e}" for x in row), flush=True)


if __name__ == "__main__":
    main()
