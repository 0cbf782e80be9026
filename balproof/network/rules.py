"""Scaling rules: for each kind of operation, the linear equations under which it commutes with a rescaling.

A rule is data plus obligations: ``imply`` states the equations between the log-scales of the operands
and the result, ``evaluate`` computes the operation, and ``example`` makes a random instance. `witness`
executes the law on such an instance, and one test does so for every rule of `RULES`.

Inference is sound and incomplete: an operation without a rule pins everything that it touches, so a
symmetry that is claimed exists, and one that exists may be missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from balproof.errors import ModelError
from balproof.network.equations import solve_equations
from balproof.network.graph import Operation
from balproof.network.rule import ScalingRule
from balproof.network.rules_elementwise import ELEMENTWISE
from balproof.network.rules_linear import LINEAR
from balproof.network.rules_norm import NORMS
from balproof.network.rules_shape import SHAPES
from balproof.network.scales import Implication, Scales, Tensors, Variables, parameter_uses, pinned

Array = np.ndarray

RULES: Mapping[str, ScalingRule] = MappingProxyType({**LINEAR, **ELEMENTWISE, **NORMS, **SHAPES})
"""Kind of operation → its rule."""


def implication(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """The demands of one operation; an operation without a rule pins its operands and its result."""
    rule = RULES.get(op.kind)
    if rule is None:
        reason = f"{op.attributes.get('op_type', op.kind)} (operation {op.name}) has no scaling rule"
        return pinned(op, tensors, scales, new, reason)
    return rule.imply(op, tensors, scales, new)


def run(op: Operation, values: list[Array]) -> Array:
    """Compute one operation in float64.

    Raises ModelError for an operation without a rule: its meaning is not known here.
    """
    rule = RULES.get(op.kind)
    if rule is None:
        raise ModelError(
            f"operation {op.name} ({op.attributes.get('op_type', op.kind)}) cannot be run",
            "compare the functions with the program that made the model",
        )
    return rule.evaluate(op, values)


def witness(kind: str, seed: int) -> float:
    """Execute a rule on a random instance: rescale its operands along the rule's own solutions, and
    return the largest relative difference between the rescaled result and the result of the rescaled.

    Every entry of the operands has a scale of its own to begin with.

    >>> witness("linear", 0) < 1e-12
    True
    """
    rng = np.random.default_rng(seed)
    op, tensors = RULES[kind].example(rng)
    new = Variables()
    scales = {n: new(tensors[n].shape) for n in op.inputs if tensors[n].role == "input"}
    demand = implication(op, tensors, scales, new)
    first, further = parameter_uses(demand.parameters)
    solution = solve_equations(new.count, (*demand.equations, *further))
    h = rng.standard_normal(len(solution.free))
    s = np.array([sum(float(c) * h[k] for k, c in form) for form in solution.forms])
    logs = {name: s[v] for name, v in scales.items()}
    for name, use in first.items():
        log = np.zeros(use.shape)
        for term in use.terms:
            log = log + float(term.coefficient) * s[term.variables]
        logs[name] = log.reshape(tensors[name].shape)
    before = [
        rng.standard_normal(t.shape) if t.value is None else t.value for n in op.inputs for t in [tensors[n]]
    ]
    after = [v * np.exp(logs.get(n, np.zeros(()))) for n, v in zip(op.inputs, before, strict=True)]
    result = run(op, before)
    assert result.shape == tensors[op.output].shape, f"{kind}: {result.shape}"
    expected = result * np.exp(s[demand.output])
    return float(np.max(np.abs(run(op, after) - expected) / (np.abs(expected) + 1e-300), initial=0.0))
