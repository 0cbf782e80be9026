"""Compare what two networks compute, on random inputs."""

from __future__ import annotations

from functools import partial

import numpy as np

from balproof.balance.solve import is_large
from balproof.crosscheck.reading import plain
from balproof.errors import require_seed
from balproof.network.evaluate import can_run, evaluate, trajectory
from balproof.network.graph import Network, Numbers, Operation

Array = np.ndarray

SIZES = (0.01, 1.0, 100.0)
"""Sizes of inputs that are tried: near 0 the biases decide, far from it the weights; of the dead and the
linear regions of a unit, one is on each side of 0."""

ENTRIES = 4_000_000
"""So many entries of results are computed for each size of inputs, or those of one input if that is more."""

WEIGHTS = 64_000_000
"""So many products of a weight are formed, as if each had one for each input; 4 inputs in any case."""

SMALL = 50_000
"""Matrices of up to so many entries are converted to double precision."""

EDGE = 1e150
"""The square of what is larger overflows."""


def function_error(
    before: Network, after: Network, seed: int = 0, *, batch: int = 64, steps: int = 8
) -> float | None:
    """The largest difference of the outputs, relative to the largest output for inputs of that size.

    Inputs are normal, ``batch`` of each of `SIZES` (fewer for a large network, `ENTRIES`, `WEIGHTS`), and
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
    weights = sum(t.size for t in before.parameters)
    batch = max(1, min(batch, ENTRIES // max(results, 1), max(4, WEIGHTS // max(weights, 1))))
    rng = np.random.default_rng(seed)
    lead = (steps, batch) if before.states else (batch,)
    shapes = [(*lead, *before.tensors[x].shape[1:]) for x in before.inputs]
    inputs = [[size * rng.standard_normal(shape) for shape in shapes] for size in SIZES]
    if weights * batch > WEIGHTS // 2 and not before.states and not _mixes(before):
        # Reading the weights takes longest: all sizes together.
        whole = [np.concatenate(same) for same in zip(*inputs, strict=True)]
        both = [_run(network, whole) for network in (before, after)]
        parts = [[y[i * batch :][:batch] for y in ys] for i in range(len(SIZES)) for ys in both]
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
    else:
        pairs = [(_run(before, given), _run(after, given)) for given in inputs]
    errors = [
        e
        for left, right in pairs
        for a, b in zip(left, right, strict=True)
        if (e := _difference(a, b)) is not None
    ]
    return max(errors, default=None)


def _mixes(network: Network) -> bool:
    """Whether results for one input may depend on others: statistics of a batch, or another first axis."""
    shapes = (network.tensors[op.output].shape[:1] for op in network.operations)
    return any(op.attributes.get("training") for op in network.operations) or any(s != (1,) for s in shapes)


def _visible(network: Network) -> object:
    shapes = [[network.tensors[x].shape for x in names] for names in (network.inputs, network.outputs)]
    return bool(network.states), shapes


def _run(network: Network, given: list[Array]) -> list[Array]:
    inputs = dict(zip(network.inputs, given, strict=True))
    with np.errstate(all="ignore"):
        if network.states:
            values = trajectory(network, inputs)
        elif is_large(network):
            values = evaluate(network, inputs, matrix=partial(_product, network))
        else:
            values = evaluate(network, inputs)
    return [values[y] for y in network.outputs]


def _product(network: Network, op: Operation, x: Array) -> Array | None:
    """A large dense layer of single precision, read as it is."""
    matrix = Numbers.held(Numbers(network), op.inputs[1])
    if not (op.attributes.get("transpose") and x.ndim == matrix.ndim == 2 and matrix.size > SMALL):
        return None
    from balproof.crosscheck.kernels import TOGETHER, products  # Numba takes a while to be there

    if not plain(matrix) or len(matrix) < TOGETHER:
        return None
    padded = np.zeros((-(-len(x) // TOGETHER) * TOGETHER, x.shape[1]))
    padded[: len(x)] = x
    found = np.zeros((len(padded), len(matrix)))
    products(matrix, padded, found)
    return found[: len(x)]


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
