"""Is AFTER the same network as BEFORE, but for the numbers in its parameters?

Both are walked side by side from their outputs, so that the names of results in between and the order in
which independent operations are listed do not matter (the two may be files of different forms). Names of
parameters do: a rescaling is told tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from balproof.crosscheck.faults import Fault
from balproof.network.graph import Network, Operation, Tensor


def structure_faults(before: Network, after: Network) -> list[Fault]:
    """What differs: nothing, or the operations, constants and parameters where the two part company.

    >>> from balproof.importers import load
    >>> net = load("tests/data/chain.json")
    >>> structure_faults(net, net)
    []
    """
    if _outside(before) != _outside(after):
        return [Fault("structure-differs", "the inputs, outputs or states", None)]
    faults, became = _walk(before, after)
    old, new = ({t.name: t.shape for t in n.parameters} for n in (before, after))
    taken = {y for ys in became.values() for y in ys}
    for name, shape in old.items():
        now = sorted(became.get(name, {name}))
        if len(now) > 1:
            faults.append(Fault("tied-weights-split", f"{name} became {', '.join(now)}", None))
        elif now[0] not in new:
            faults.append(Fault("structure-differs", f"{name} is missing", None))
        elif now[0] != name:
            faults.append(Fault("structure-differs", f"{name} is called {now[0]}", None))
        elif new[name] != shape:
            faults.append(Fault("structure-differs", f"{name} has shape {new[name]}, was {shape}", None))
    faults += [
        Fault("structure-differs", f"{name} is new", None) for name in new if name not in {*old, *taken}
    ]
    return faults


def untied(before: Network, after: Network) -> tuple[Network, dict[str, tuple[str, ...]]]:
    """BEFORE with as many copies of its tied parameters as AFTER has, and which those are.

    Nothing but tied weights that were split may differ between the two.
    """
    became = _walk(before, after)[1]
    values = {y: before.numbers(x) for x, ys in became.items() for y in ys}
    copies = {x: tuple(sorted(ys)) for x, ys in became.items() if len(ys) > 1}
    kept = {t.name: before.numbers(t.name) for t in after.parameters if t.name not in values}
    return after.with_parameters({**kept, **values}), copies


def _outside(network: Network) -> object:
    """How many inputs, outputs and states there are, and the shapes of those that are given."""
    given = (*network.inputs, *(name for name, _ in network.states))
    shapes = [network.tensors[name].shape for name in given]
    return len(network.inputs), len(network.outputs), len(network.states), shapes


def _walk(before: Network, after: Network) -> tuple[list[Fault], dict[str, set[str]]]:
    """Faults in the order of BEFORE's operations, and which parameters stand where each one stood."""
    makers = [{op.output: (i, op) for i, op in enumerate(n.operations)} for n in (before, after)]
    places = [
        {x: i for i, x in enumerate((*n.inputs, *(name for name, _ in n.states)))} for n in (before, after)
    ]
    became: dict[str, set[str]] = {}
    found: dict[str, int] = {}
    ends = [(*n.outputs, *(later for _, later in n.states)) for n in (before, after)]
    waiting = list(zip(*ends, strict=True))
    seen: set[tuple[str, str]] = set()
    while waiting:
        pair = waiting.pop()
        if pair in seen:
            continue
        seen.add(pair)
        x, y = pair
        a, b = before.tensors[x], after.tensors[y]
        if x in makers[0] and y in makers[1]:
            (i, left), (_, right) = makers[0][x], makers[1][y]
            if _signature(left) == _signature(right) and len(left.inputs) == len(right.inputs):
                waiting += zip(left.inputs, right.inputs, strict=True)
            else:
                found[f"operation {left.name} ({_say(left)}) is now {right.name} ({_say(right)})"] = i
        elif a.role == b.role == "parameter":
            became.setdefault(x, set()).add(y)
        elif a.role == b.role == "constant":
            if not _same_constant(a, b, before, after):
                found[f"constant {x}"] = len(makers[0])
        elif not (x in places[0] and places[0][x] == places[1].get(y)):
            found[f"{y} ({b.role}) stands in the place of {x} ({a.role})"] = len(makers[0])
    order = sorted(found, key=lambda where: found[where])
    return [Fault("structure-differs", where, None) for where in order], became


def _signature(op: Operation) -> str:
    """Kind and attributes in a form that can be compared: activations by their formula."""
    kept = {k: v for k, v in op.attributes.items() if k != "signs" or any(s != 1 for s in v)}
    return op.kind + repr(sorted((k, _plain(v)) for k, v in kept.items()))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return repr(sorted((str(k), _plain(v)) for k, v in value.items()))
    return str(getattr(value, "expression", value))


def _say(op: Operation) -> str:
    function = op.attributes.get("function")
    return function.text if function is not None else str(op.attributes.get("op_type", op.kind))


def _same_constant(a: Tensor, b: Tensor, before: Network, after: Network) -> bool:
    """Equal as they are, or as doubles in files of different types."""
    if a.shape != b.shape:
        return False
    if a.value is not None and b.value is not None and np.array_equal(a.value, b.value):
        return True
    return bool(np.array_equal(before.numbers(a.name), after.numbers(b.name)))
