"""A layer that is called more than once, taken for as many layers: the scales of which call does it have?

A program that balances pairs of layers meets a shared layer once for each call, and writes into the same
weights each time. What is left are the columns of one call and the rows of another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product

import numpy as np

from balproof.crosscheck.causes import side_of
from balproof.crosscheck.scales import Recovered, Rounding, judge_entries, recover_scales
from balproof.network.graph import Network
from balproof.network.manifold import Axes, Block, Manifold, infer

Array = np.ndarray
CALLS = 3
"""Layers that are called more often are left alone: their pairs of calls are many."""


def shared(network: Network) -> dict[str, int]:
    """The parameters that several operations read, and how many do."""
    reads = {t.name: sum(t.name in op.inputs for op in network.operations) for t in network.parameters}
    return {name: n for name, n in reads.items() if n > 1}


def by_call(
    manifold: Manifold, old: Mapping[str, Array], new: Mapping[str, Array], rounding: Mapping[str, Rounding]
) -> Recovered | None:
    """Scales of the untied network by which every weight is explained, by some rows and columns of copies.

    None if there are none, or no parameter is shared.

    >>> from balproof.crosscheck.battery import perceptron
    >>> from balproof.crosscheck.scales import roundings
    >>> net = perceptron([3, 4, 4, 4, 2], shared=(2, 3))
    >>> old = {t.name: net.numbers(t.name) for t in net.parameters}
    >>> s = np.array([2.0, 3.0, 1.0, 0.5])
    >>> new = {**old, "fc1.weight": old["fc1.weight"] * s[:, None], "fc1.bias": old["fc1.bias"] * s}
    >>> new["fc2.weight"] = old["fc2.weight"] / s
    >>> by_call(infer(net), old, new, roundings(net, net)).missed
    0
    """
    calls = shared(manifold.network)
    if not calls or max(calls.values()) > CALLS:
        return None
    loose = infer(_copies(manifold.network, calls))
    for model in _models(manifold, loose, calls):
        h = recover_scales(model, old, new, rounding).h
        found = judge_entries(model, old, new, rounding, h)
        if not found.missed:
            return found
    return None


def _copies(network: Network, calls: Mapping[str, int]) -> Network:
    """The network with a copy of each shared parameter for each further call."""
    seen = dict.fromkeys(calls, 0)
    tensors = dict(network.tensors)
    operations = []
    for op in network.operations:
        inputs = list(op.inputs)
        for i, name in enumerate(inputs):
            if name in calls:
                inputs[i] = _copy(name, seen[name])
                tensors[inputs[i]] = dataclasses.replace(tensors[name], name=inputs[i])
                seen[name] += 1
        operations.append(dataclasses.replace(op, inputs=tuple(inputs)))
    return dataclasses.replace(network, tensors=tensors, operations=tuple(operations))


def _copy(name: str, call: int) -> str:
    return name if call == 0 else f"{name} (call {call + 1})"


def _models(manifold: Manifold, loose: Manifold, calls: Mapping[str, int]) -> Iterator[Manifold]:
    """Shared parameters with the scales of all calls multiplied, or with rows of one and columns of one."""
    blocks = {b.name: b for b in loose.blocks}

    def model(terms: Callable[[list[Block]], Iterable[Axes]]) -> Manifold:
        chosen: list[Block] = []
        for block in manifold.blocks:
            copies = [blocks[_copy(block.name, i)] for i in range(calls.get(block.name, 1))]
            own = copies[0].terms if len(copies) == 1 else tuple(terms(copies))
            chosen.append(Block(block.name, copies[0].shape, own))
        return dataclasses.replace(loose, blocks=tuple(chosen))

    yield model(lambda copies: (t for b in copies for t in b.terms))
    for into, out in product(range(max(calls.values())), repeat=2):
        yield model(
            lambda copies, into=into, out=out: (
                *(t for t in copies[min(into, len(copies) - 1)].terms if _leads_in(t)),
                *(t for t in copies[min(out, len(copies) - 1)].terms if not _leads_in(t)),
            )
        )


def _leads_in(term: Axes) -> bool:
    return side_of(term.forms) > 0
