"""Assertions for the tests of other people's balancing code. Messages name units and sizes.

Each takes anything that `balproof.load` takes: a path, a ``Network``, an array J, a mapping, or a PyTorch
module together with ``example_inputs``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from balproof.crosscheck.audit import BALANCE_TOLERANCE, check
from balproof.crosscheck.extremes import Asked, asked
from balproof.crosscheck.faults import OFF_THE_ORBIT, shown
from balproof.crosscheck.function import function_error
from balproof.crosscheck.judged import Judged, judge
from balproof.crosscheck.optimality import OPTIMALITY_TOLERANCE
from balproof.errors import ModelError
from balproof.importers import load
from balproof.network.evaluate import can_run
from balproof.network.manifold import infer


def assert_balanced(
    model: object,
    regularizer: Asked | str | Sequence[str] = "l2",
    *,
    tolerance: float = BALANCE_TOLERANCE,
    example_inputs: object = None,
) -> None:
    """Every unit that can be balanced is: its relative imbalance is at most ``tolerance``.

    ``regularizer`` is anything that `balproof.check` takes, ``max`` say. Dead units and scales of degree ≤ 0
    are left out, as `balproof.solve` leaves them out.

    Raises AssertionError naming the most unbalanced units and their imbalances; ModelError, RequestError
    and RegularizerError as `balproof.load` and `BalanceProblem.build` do.

    >>> assert_balanced("tests/data/chain.json")
    Traceback (most recent call last):
        ...
    AssertionError: 1 of 2 units unbalanced under l2: fc1[0] by 0.95
    """
    state = _judged(model, regularizer, example_inputs)
    wrong = _unbalanced(state, tolerance)
    if wrong:
        count = f"{len(wrong)} of {int(state.active.sum())} units"
        raise AssertionError(f"{count} unbalanced under {state.costs.name}: {shown(wrong)}")


def assert_optimal(
    model: object,
    regularizer: Asked | str | Sequence[str] = "l2",
    *,
    tolerance: float = OPTIMALITY_TOLERANCE,
    example_inputs: object = None,
) -> None:
    """The cost is at most ``tolerance``, relatively, above the least one among all rescalings of the model.

    Dead units and scales of degree ≤ 0 stay where they are. What is compared is a bound on the excess, and
    only where there is none (a cost that is no sum of powers) the excess over the optimum that was found.

    Raises AssertionError with the excess and the most unbalanced units, where no rescaling is optimal, and
    where neither bound nor optimum was found; otherwise as `assert_balanced`.

    >>> assert_optimal({"J": [[0.0]], "W_in": [[2.0]], "W_out": [[2.0]]})
    >>> assert_optimal("tests/data/chain.json")
    Traceback (most recent call last):
        ...
    AssertionError: cost above the optimum under l2 by 1.23 of it (tolerance 1e-06), worst: fc1[0] by 0.95
    """
    state = _judged(model, regularizer, example_inputs)
    best = state.optimality(tolerance, balanced=state.imbalance <= BALANCE_TOLERANCE)
    size = best.excess if best.gap is None else best.gap
    if size is None:
        why = best.fault.where if best.fault else "; ".join(best.notes)
        raise AssertionError(f"not known to be optimal under {state.costs.name}: {why}")
    if not size <= tolerance:
        worst = shown(_unbalanced(state, 0.0))
        raise AssertionError(
            f"cost above the optimum under {state.costs.name} by {size:.3g} of it (tolerance {tolerance:.1g})"
            + (f", worst: {worst}" if worst else "")
        )


def assert_rescaling_of(after: object, before: object, *, example_inputs: object = None) -> None:
    """``after`` is a rescaling of ``before``, up to the rounding of its type: both lie on one orbit.

    Every weight must be the old one times the factor of its units, whether or not the outputs show it.

    Raises AssertionError naming the entries, their units and how far off they are; ModelError and
    RequestError as `balproof.check` does.

    >>> one = {"J": [[0.0]], "W_in": [[1.0]], "W_out": [[1.0]]}
    >>> assert_rescaling_of({**one, "W_in": [[2.0]], "W_out": [[0.5]]}, one)
    >>> assert_rescaling_of({**one, "W_out": [[-1.0]]}, one)
    Traceback (most recent call last):
        ...
    AssertionError: not a rescaling: sign-changed W_out[0,0] (unit s[0]) by 2
    """
    audit = check(load(before, example_inputs), load(after, example_inputs, finite=False))
    if not audit.same_orbit:
        faults = [f for f in audit.faults if f.kind in OFF_THE_ORBIT]
        sized = (f"{f.kind} {f.where}" + ("" if f.size is None else f" by {f.size:.2g}") for f in faults)
        raise AssertionError(f"not a rescaling: {shown(sized)}")


def assert_same_function(
    before: object,
    after: object,
    *,
    tolerance: float = 1e-9,
    seed: int = 0,
    example_inputs: object = None,
) -> None:
    """Both models compute the same outputs on random inputs, to ``tolerance`` relative to the largest.

    Inputs are normal, of sizes from 0.01 to 100. Weights in single precision need a tolerance of about 1e-5.

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
    left, right = load(before, example_inputs), load(after, example_inputs)
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


def _judged(model: object, regularizer: Asked | str | Sequence[str], example_inputs: object) -> Judged:
    return judge(infer(load(model, example_inputs)), asked(regularizer))


def _unbalanced(state: Judged, tolerance: float) -> list[str]:
    """Units out of balance and by how much, the worst first."""
    order = np.argsort(-state.imbalances, kind="stable")
    return [
        f"{state.manifold.names[k]} by {state.imbalances[k]:.2g}"
        for k in order
        if state.active[k] and not state.imbalances[k] <= tolerance
    ]
