"""Compare what two networks compute, on random inputs."""

from __future__ import annotations

import numpy as np

from balproof.errors import require_seed
from balproof.network.evaluate import can_run, evaluate, trajectory
from balproof.network.graph import Network

Array = np.ndarray

SIZES = (0.01, 1.0, 100.0)
"""Sizes of inputs that are tried: near 0 the biases decide, far from it the weights; of the dead and the
linear regions of a unit, one is on each side of 0."""

ENTRIES = 4_000_000
"""So many entries of results are computed for each size of inputs, or those of one input if that is more."""

EDGE = 1e150
"""The square of what is larger overflows."""


def function_error(
    before: Network, after: Network, seed: int = 0, *, batch: int = 64, steps: int = 8
) -> float | None:
    """The largest difference of the outputs, relative to the largest output for inputs of that size.

    Inputs are normal, ``batch`` of each of `SIZES` (fewer for a network with large results, `ENTRIES`), and
    sequences of ``steps`` for a recurrent network.
    Infinite where outputs of AFTER overflow and those of BEFORE are far from it; None where the functions
    cannot be compared: an operation that is not known here, other inputs or outputs, or nothing visible.

    >>> from balproof.importers import load
    >>> function_error(load("tests/data/chain.json"), load("tests/data/chain.json"))
    0.0

    Raises RequestError for a negative seed.
    """
    require_seed(seed)
    if not (can_run(before) and can_run(after)) or not before.outputs:
        return None
    if _visible(before) != _visible(after):
        return None
    results = sum(before.tensors[op.output].size for op in before.operations)
    batch = max(1, min(batch, ENTRIES // max(results, 1)))
    rng = np.random.default_rng(seed)
    errors: list[float] = []
    for size in SIZES:
        lead = (steps, batch) if before.states else (batch,)
        given = [size * rng.standard_normal((*lead, *before.tensors[x].shape[1:])) for x in before.inputs]
        left, right = _run(before, given), _run(after, given)
        errors += [e for a, b in zip(left, right, strict=True) if (e := _difference(a, b)) is not None]
    return max(errors, default=None)


def _visible(network: Network) -> object:
    shapes = [[network.tensors[x].shape for x in names] for names in (network.inputs, network.outputs)]
    return bool(network.states), shapes


def _run(network: Network, given: list[Array]) -> list[Array]:
    inputs = dict(zip(network.inputs, given, strict=True))
    with np.errstate(all="ignore"):
        values = trajectory(network, inputs) if network.states else evaluate(network, inputs)
    return [values[y] for y in network.outputs]


def _difference(left: Array, right: Array) -> float | None:
    """Over the points where ``left`` is finite; None if there are none.

    Where that is close to overflow, ``right`` may overflow by larger numbers in between: no difference.
    """
    known = np.isfinite(left) & (np.isfinite(right) | ~(np.abs(left) > EDGE))
    if not known.any():
        return None
    if not np.isfinite(right[known]).all():
        return float("inf")
    size = max(float(np.max(np.abs(left[known]))), float(np.max(np.abs(right[known]))))
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(left[known] - right[known]))) / size if size else 0.0
