"""Which initializers of an ONNX graph are parameters, and which constants: a file does not say.

An initializer of floating point is a parameter, unless every use of it is one of a constant:

* a factor (Mul, Div), since normalisation constants look exactly like that. A factor is the scale of a
  normalisation, and a parameter, where it has more than one entry and either its name says so (its last part
  is weight, gamma, scale or kernel) or it multiplies the result of a normalisation that was not scaled;
* an exponent, a bound, the value of a padding, the factors of an upsampling;
* a single number without axes, used in arithmetic and not called weight, bias, gamma or beta: an ε, say;
* ones or zeros in place of the γ or β of a normalisation, or zeros in place of a recurrent layer's initial
  state, under a name that an exporter made up.

Integers are constants, and so is what a Constant node holds. A parameter is a buffer where it is only the
running mean or variance of BatchNormalization.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from balproof.importers.onnx_builder import Node, made_by_exporter
from balproof.importers.onnx_shapes import FOLDED
from balproof.network.graph import Tensor

ALIASES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators whose result is the parameter that they read, seen in another way."""

NORMS = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"})
_BOUNDS = {("Pow", 1), ("Clip", 1), ("Clip", 2), ("Pad", 2), ("Resize", 1), ("Resize", 2)}
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_FACTOR = frozenset({"weight", "gamma", "scale", "kernel"})
_NAMED = frozenset({"weight", "bias", "gamma", "beta"})


@dataclass
class _Uses:
    """Who reads which initializer, under whatever name; and which results are those of a normalisation."""

    tensors: Mapping[str, Tensor]
    of: dict[str, list[tuple[Node, int]]] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    normalised: set[str] = field(default_factory=set)

    def weight(self, name: str) -> bool:
        """Whether a name is that of an initializer with axes."""
        root = self.roots.get(name)
        return root is not None and bool(self.tensors[root].shape)


def _uses(nodes: Sequence[Node], names: Mapping[str, Tensor]) -> _Uses:
    found = _Uses(names, roots={n: n for n in names})
    for node in nodes:
        for slot, name in enumerate(node.inputs):
            root = found.roots.get(name)
            if root is None:
                continue
            if slot == 0 and node.op_type in ALIASES:
                found.roots[node.output] = root
            else:
                found.of.setdefault(root, []).append((node, slot))
        passed = node.op_type in ALIASES and node.input(0) in found.normalised
        if node.op_type in NORMS or passed:
            found.normalised.add(node.output)
    return found


def roles(nodes: Sequence[Node], values: Mapping[str, Tensor]) -> tuple[set[str], set[str]]:
    """The initializers that are constants, and those that are buffers."""
    floating = {n: t for n, t in values.items() if t.role == "parameter"}
    uses = _uses(nodes, floating)
    constants = {n for n, t in values.items() if t.role == "constant"}
    buffers: set[str] = set()
    for name, tensor in floating.items():
        own = uses.of.get(name, [])
        if own and all(_as_constant(tensor, node, slot, uses) for node, slot in own):
            constants.add(name)
        if own and all(node.op_type == "BatchNormalization" and slot in (3, 4) for node, slot in own):
            buffers.add(name)
    return constants, buffers


def _as_constant(tensor: Tensor, node: Node, slot: int, uses: _Uses) -> bool:
    op, last = node.op_type, re.split(r"[./_:]", tensor.name)[-1].lower()
    if op in _RECURRENT and slot in (5, 6):
        return _idle(tensor, 0.0)
    if op in NORMS:
        return slot in (1, 2) and _idle(tensor, 2.0 - slot)
    if (op, slot) in _BOUNDS or (op in ("Max", "Min") and tensor.size == 1):
        return True
    if not tensor.shape:
        return last not in _NAMED and (op in FOLDED or op == "Sum")
    if op in ("Mul", "Div"):
        other = node.inputs[1 - slot]
        scales = tensor.size > 1 and (last in _FACTOR or (op == "Mul" and other in uses.normalised))
        return not scales and not uses.weight(other)
    return False


def _idle(tensor: Tensor, neutral: float) -> bool:
    """A γ of ones, or a β or a state of zeros, that an exporter put in."""
    assert tensor.value is not None
    return made_by_exporter(tensor.name) and bool((tensor.value == neutral).all())
