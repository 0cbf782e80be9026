"""A network's operations on the tape: the same function as `balproof.network.evaluate`, over any ring.

Every operation is a few steps that are linear, bilinear or entry by entry. Where it has pieces (ReLU, max
pooling), `balproof.conservation.passes.Regions` says which piece each sample is on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np

from balproof.conservation import steps_elementwise, steps_linear, steps_shape
from balproof.conservation.passes import Pass, Rule, exact
from balproof.conservation.steps_elementwise import pieces
from balproof.conservation.tape import Node
from balproof.network.graph import Network, Operation

Array = np.ndarray


class Run(Pass):
    """One pass of a network over a ring."""

    def forward(
        self, parameters: Mapping[str, Node], inputs: Sequence[Mapping[str, Array]]
    ) -> list[tuple[str, Node]]:
        """The outputs (of every time step), by name. Inputs are arrays (samples, *shape) per time step.

        Raises Unsupported.
        """
        tensors = self.network.tensors
        fixed: dict[str, Node] = dict(parameters)
        for tensor in tensors.values():
            if tensor.role == "constant" or tensor.buffer:
                fixed[tensor.name] = self.tape.put({0: self.ring.constant(exact(tensor))[None]})
        zeros = self.ring.constant(np.zeros((), np.int64))
        states = {n: self.tape.put({0: np.broadcast_to(zeros, (1, *tensors[n].shape))}) for n, _ in
                  self.network.states}  # fmt: skip
        watched = self.network.outputs or tuple(after for _, after in self.network.states)
        results: list[tuple[str, Node]] = []
        for self.step, given in enumerate(inputs):
            self.values = values = {**fixed, **states}
            values.update({n: self.tape.put({0: self.ring.constant(v)}) for n, v in given.items()})
            for op in self.network.operations:
                result = self.apply(op, [values[x] for x in op.inputs])
                values[op.output] = result if self.finish is None else self.finish(op, result)
            results += [(name, values[name]) for name in watched]
            states = {before: values[after] for before, after in self.network.states}
        return results

    def apply(self, op: Operation, operands: Sequence[Node]) -> Node:
        rule = _RULES.get(op.kind)
        if rule is None:
            return self.opaque(self, op, operands, (self.step, op.output))
        found = rule(self, op, operands)
        assert found.shape[1:] == self.network.tensors[op.output].shape, f"{op.name}: {found.shape}"
        return found


def rounding(network: Network, steps: int) -> int:
    """How many roundings in a row a run in doubles can make: with m of them, |error| ≤ m·2⁻⁵³·1.01·B where B
    is the same run on absolute values (Higham 2002, Lemma 3.1)."""
    count = 1
    for _ in range(steps):
        for op in network.operations:
            longest = max((prod(network.tensors[x].shape) for x in op.inputs), default=1)
            twice = op.kind in ("mul", "matmul", "scale", "linear", "conv", "prelu", "batchnorm")
            degree = 1
            if op.kind == "activation" and (piece := pieces(op.attributes["function"])) is not None:
                degree = max(1, len(piece[0]), len(piece[1]))
            count = count * degree + longest + 4 + (count if op.kind in ("mul", "matmul") else twice)
    return count


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "linear": steps_linear.linear,
        "conv": steps_linear.conv,
        "matmul": steps_linear.matmul,
        "embedding": steps_linear.embedding,
        "bias": steps_linear.bias,
        "scale": steps_linear.scale,
        "add": steps_linear.add,
        "mul": steps_linear.mul,
        "extreme": steps_elementwise.extreme,
        "activation": steps_elementwise.activation,
        "prelu": steps_elementwise.prelu,
        "batchnorm": steps_linear.batchnorm,
        "pool": steps_shape.pool,
        "reduce": steps_shape.reduce,
        "resample": steps_linear.resample,
        **dict.fromkeys(
            ("identity", "reshape", "transpose", "expand", "concat", "take", "pad"), steps_shape.moved
        ),
    }
)
