"""Assertions for the tests of other people's balancing code. Messages name units and sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from balproof.balance.problem import BalanceProblem, Costs
from balproof.crosscheck.audit import BALANCE_TOLERANCE
from balproof.crosscheck.faults import shown
from balproof.crosscheck.function import function_error
from balproof.errors import ModelError
from balproof.importers import load
from balproof.network.evaluate import can_run


def assert_balanced(
    model: object, regularizer: Costs | str | Sequence[str] = "l2", *, tolerance: float = BALANCE_TOLERANCE
) -> None:
    """Every unit that can be balanced is: its relative imbalance is at most ``tolerance``.

    ``model`` is anything that `balproof.load` takes, and ``regularizer`` anything that `balproof.solve`
    does. Dead units and scales of degree ≤ 0 are left out, as `balproof.solve` leaves them out.

    Raises AssertionError naming the most unbalanced units and their imbalances; ModelError, RequestError
    and RegularizerError as `balproof.load` and `BalanceProblem.build` do.

    >>> assert_balanced("tests/data/chain.json")
    Traceback (most recent call last):
        ...
    AssertionError: 1 of 2 units unbalanced under l2: fc1[0] by 0.95
    """
    problem = BalanceProblem.build(load(model), regularizer)
    imbalances = problem.imbalances(np.zeros(problem.count))
    order = np.argsort(-imbalances, kind="stable")
    wrong = [k for k in order if problem.active[k] and not imbalances[k] <= tolerance]
    if wrong:
        worst = shown(f"{problem.manifold.names[k]} by {imbalances[k]:.2g}" for k in wrong)
        count = f"{len(wrong)} of {int(problem.active.sum())} units"
        raise AssertionError(f"{count} unbalanced under {problem.costs.name}: {worst}")


def assert_same_function(before: object, after: object, *, tolerance: float = 1e-9, seed: int = 0) -> None:
    """Both models compute the same outputs on random inputs, to ``tolerance`` relative to the largest.

    Both are anything that `balproof.load` takes. Inputs are normal, of sizes from 0.01 to 100. Weights in
    single precision need a tolerance of about 1e-5.

    Raises AssertionError with the size of the difference, or where inputs or outputs are others;
    ModelError as `balproof.load` does, and where a model cannot be run here or has no output; RequestError
    for a negative seed.

    >>> assert_same_function("tests/data/chain.json", "tests/data/chain.json")
    >>> one = {"J": [[0.0]], "W_in": [[1.0]], "W_out": [[1.0]]}
    >>> assert_same_function(one, {**one, "W_out": [[2.0]]})
    Traceback (most recent call last):
        ...
    AssertionError: outputs differ by 0.5 of the largest output (tolerance 1e-09)
    """
    left, right = load(before), load(after)
    for network in (left, right):
        if not can_run(network) or not network.outputs:
            raise ModelError(
                "a model has operations or weights that are not known here, or no output",
                "compare the functions with the program that made the model",
            )
    error = function_error(left, right, seed)
    if error is None:
        raise AssertionError("the models have other inputs or outputs, or all outputs overflow")
    if not error <= tolerance:
        raise AssertionError(
            f"outputs differ by {error:.3g} of the largest output (tolerance {tolerance:.1g})"
        )
