"""Methods and peers in one run: ``make bench-methods``. What counts is the ratio, never the seconds.

Our methods stop at an imbalance of 1e-12, CVXPY and SciPy's L-BFGS (on F with its gradient) where their own
rules stop them; ``extra_info`` holds what was reached, and the passes over the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.balance.convex import solve_convex
from balproof.balance.descent import stochastic
from balproof.balance.direct import direct
from balproof.balance.multilevel import multilevel
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.importers import load
from tests.networks import mlp

DIGITS = Path(__file__).resolve().parent.parent / "tests" / "data" / "digits.onnx"
NETWORKS = {"digits": load(DIGITS), "depth 20, width 8": mlp([8] * 21, seed=0)}


def lbfgs(problem: BalanceProblem) -> np.ndarray:
    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 0.0, "gtol": 1e-12}
    start = np.zeros(problem.count)
    return minimize(problem.cost, start, jac=problem.gradient, method="L-BFGS-B", options=options).x


METHODS: dict[str, Any] = {
    "multilevel": lambda p: multilevel(p, tolerance=1e-12),
    "direct": lambda p: direct(p, tolerance=1e-12),
    "newton": lambda p: newton(p, tolerance=1e-12),
    "stochastic": lambda p: stochastic(p, "reshuffled", tolerance=1e-12, sweeps=3_000),
    "cvxpy": solve_convex,
    "scipy L-BFGS": lbfgs,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_method(benchmark: Any, name: str, method: str) -> None:
    problem = BalanceProblem.build(NETWORKS[name])
    benchmark.group = name
    found = benchmark.pedantic(METHODS[method], (problem,), rounds=3, warmup_rounds=1)
    h = found if isinstance(found, np.ndarray) else found.h
    benchmark.extra_info["imbalance"] = problem.imbalance(h)
    benchmark.extra_info["passes"] = getattr(found, "passes", None)
    assert problem.imbalance(h) < 1e-4
