"""Assertions for the tests of other people's balancing code. Messages name units, weights and sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from balproof.balance.problem import BalanceProblem
from balproof.crosscheck.audit import BALANCE_TOLERANCE, function_error
from balproof.importers import load


def assert_balanced(
    model: object, regularizer: str | Sequence[str] = "l2", *, tolerance: float = BALANCE_TOLERANCE
) -> None:
    """Every unit that can be balanced is: its relative imbalance is at most ``tolerance``.

    ``model`` is anything that `balproof.load` takes. Dead units are left out.

    Raises AssertionError naming the most unbalanced units; whatever `balproof.load` raises.

    >>> assert_balanced("tests/data/chain.json")
    Traceback (most recent call last):
        ...
    AssertionError: 1 of 2 units unbalanced under l2: fc1[0] by 0.95
    """
    problem = BalanceProblem.build(load(model), regularizer)
    imbalances = problem.imbalances(np.zeros(problem.count))
    wrong = [k for k in np.argsort(-imbalances) if imbalances[k] > tolerance]
    if wrong:
        worst = ", ".join(f"{problem.manifold.names[k]} by {imbalances[k]:.2g}" for k in wrong[:5])
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise AssertionError(
            f"{len(wrong)} of {int(problem.active.sum())} units unbalanced under {problem.costs.name}: "
            f"{worst}{more}"
        )


def assert_same_function(before: object, after: object, *, tolerance: float = 1e-9, seed: int = 0) -> None:
    """Both models compute the same outputs on random inputs, to ``tolerance`` relative to the largest.

    Raises AssertionError with the size of the difference; ModelError where a model cannot be run here.

    >>> assert_same_function("tests/data/chain.json", "tests/data/chain.json")
    """
    error = function_error(load(before), load(after), seed)
    if error is None:
        raise AssertionError(
            "the two models cannot be compared: other inputs, outputs, or unknown operations"
        )
    if not error <= tolerance:
        raise AssertionError(
            f"outputs differ by {error:.3g} of the largest output (tolerance {tolerance:.1g})"
        )
