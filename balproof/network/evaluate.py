"""Run a network in float64, for comparing functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from balproof.errors import ModelError
from balproof.network.graph import PIECE, Network, Operation, parts
from balproof.network.rules import RULES, run

Array = np.ndarray
Matrix = Callable[[Operation, Array], Array | None]

ROWS = 2**24
"""Of more weights than that, a dense layer takes some rows in float64 at a time."""


def can_run(network: Network) -> bool:
    """Whether every operation has a rule and every weight is a number."""
    return not network.symbolic and all(op.kind in RULES for op in network.operations)


def evaluate(
    network: Network,
    inputs: Mapping[str, Array],
    states: Mapping[str, Array] | None = None,
    *,
    matrix: Matrix | None = None,
) -> dict[str, Array]:
    """All results of one pass, or of one time step of a recurrent network.

    ``inputs`` maps each input to an array whose axis 0 is a batch of any length; ``states`` likewise for
    the states (default 0). Returns every tensor that was given or computed, by name. ``matrix``
    multiplies a dense layer and its operand in a way of its own, where it gives a result.

    Raises ModelError for a missing input, a wrong shape or an operation without a rule.
    """
    values: dict[str, Array] = {}
    batch = next((len(np.asarray(v)) for v in inputs.values()), 1)
    given = {**{name: np.zeros((batch, *network.tensors[name].shape[1:])) for name, _ in network.states}}
    given.update({k: np.asarray(v, dtype=np.float64) for k, v in {**inputs, **(states or {})}.items()})
    for name in (*network.inputs, *(name for name, _ in network.states)):
        shape = network.tensors[name].shape
        if name not in given or given[name].shape[1:] != shape[1:] or given[name].ndim != len(shape):
            got = given[name].shape if name in given else "nothing"
            raise ModelError(f"input {name!r} got {got}", f"give an array of shape (batch, *{shape[1:]})")
        values[name] = given[name]
    for op in network.operations:  # parameters in float64 one at a time: they may be many
        x, dense = op.inputs[0], op.kind == "linear"
        own = matrix(op, values[x]) if dense and matrix is not None else None
        if own is not None:
            values[op.output] = own
        elif dense and network.tensors[op.inputs[1]].size > ROWS:
            values[op.output] = _by_rows(network, op, values[x])
        else:
            values[op.output] = run(op, [values[x] if x in values else network.numbers(x) for x in op.inputs])
    return values


def _by_rows(network: Network, op: Operation, x: Array) -> Array:
    """A dense layer whose weights are too many for float64 at once: some rows of them after the others."""
    weight = network.tensors[op.inputs[1]]
    if len(weight.shape) != 2:
        return run(op, [x, network.numbers(weight.name)])
    flat, width = network.flat(weight.name), weight.shape[1]
    transposed = bool(op.attributes.get("transpose", False))
    total = np.zeros((*x.shape[:-1], weight.shape[0 if transposed else 1]))
    for here, (rows, _) in parts((weight.shape[0], width), max(PIECE, width)):
        own = flat[here].astype(np.float64, copy=False).reshape(-1, width)
        if transposed:
            total[..., rows] = x @ own.T
        else:
            total += x[..., rows] @ own
    return total


def trajectory(
    network: Network, inputs: Mapping[str, Array], start: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """The outputs of a recurrent network over time.

    ``inputs`` have shape (time, batch, ...), and ``start`` holds the initial states (default 0). Returns
    each output (or each state, where there is no output) with the same two leading axes.
    """
    steps = next((len(v) for v in inputs.values()), 8)
    states = dict(start or {})
    watched = network.outputs or tuple(name for name, _ in network.states)
    record: dict[str, list[Array]] = {name: [] for name in watched}
    for t in range(steps):
        values = evaluate(network, {name: v[t] for name, v in inputs.items()}, states)
        for name in watched:
            record[name].append(values[name])
        states = {before: values[after] for before, after in network.states}
    return {name: np.stack(v) for name, v in record.items()}
