"""ONNX's recurrent layers (RNN, GRU, LSTM), unrolled over time into operations that have scaling rules.

The weights are the same at all times, so that their scales are tied by themselves. Both directions of a
layer run beside one another: a stack of two matrices acts on a stack of two states. Everything within has
the shape (batch, direction, time or 1, …). The formulas are those of the ONNX operators
(https://onnx.ai/onnx/operators/), with Z = 1 − z written as it is used: (1 − z)·n + z·h = n + z·(h − n).

Not covered, and so unknown: lengths that differ within a batch, clipping, peepholes, coupled gates, layout 1,
and different activations for the two directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import ModelError
from balproof.importers.onnx_builder import Builder, Node, Operator, Place, label, shortest
from balproof.importers.onnx_elementwise import FORMULAS
from balproof.symbolic.activation import Activation

Shape = tuple[int, ...]

MAX_UNROLLED = 2**19
"""Entries that the gates of a layer may have over all times."""

_GATES = MappingProxyType({"RNN": 1, "GRU": 3, "LSTM": 4})
_FUNCTIONS = MappingProxyType(
    {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
)
_DIRECTIONS = MappingProxyType({"forward": 1, "reverse": 1, "bidirectional": 2})
_PLAIN = frozenset({"Relu", "Sigmoid", "Softplus", "Softsign", "Tanh"})
# Activation → formula, and the defaults of its numbers, where ONNX gives some.
_NUMBERED: Mapping[str, tuple[str, float | None, float | None]] = MappingProxyType(
    {"LeakyRelu": ("leaky_relu:{alpha}", 0.01, 0.0), "Affine": ("({alpha})*x + ({beta})", None, None)}
)


@dataclass(frozen=True)
class _Layer:
    """A recurrent layer that can be unrolled."""

    build: Builder
    node: Node
    name: str
    functions: tuple[Activation, ...]
    directions: int
    hidden: int
    time: int

    @property
    def gates(self) -> int:
        return _GATES[self.node.op_type]

    @property
    def reverse(self) -> bool:
        return self.node.get("direction", "forward") == "reverse"

    # Operations on tensors of the shape (1, directions, time or 1, …).

    def emit(self, kind: str, inputs: Sequence[str], shape: Shape, what: str, /, **attributes: Any) -> str:
        name = f"{self.name}/{what}" if what else self.name
        return self.build.emit(kind, tuple(inputs), self.build.fresh(name), shape, name, **attributes)

    def shape(self, x: str) -> Shape:
        return self.build.tensors[x].shape

    def along(self, x: str, axis: int, indices: Sequence[int], what: str) -> str:
        shape = self.shape(x)
        result = (*shape[:axis], len(indices), *shape[axis + 1 :])
        return self.emit("take", (x,), result, what, axis=axis, indices=tuple(indices))

    def part(self, x: str, i: int, what: str) -> str:
        """One of several vectors of ``hidden`` entries that follow one another."""
        return self.along(x, 3, range(i * self.hidden, (i + 1) * self.hidden), what)

    def joined(self, parts: Sequence[str], axis: int, what: str) -> str:
        shape = self.shape(parts[0])
        length = sum(self.shape(p)[axis] for p in parts)
        return self.emit("concat", parts, (*shape[:axis], length, *shape[axis + 1 :]), what, axis=axis)

    def seen(self, x: str, shape: Shape, what: str) -> str:
        return x if self.shape(x) == shape else self.emit("reshape", (x,), shape, what, shape=shape)

    def sum(self, what: str, *parts: str, signs: tuple[float, ...] | None = None) -> str:
        shape = np.broadcast_shapes(*(self.shape(p) for p in parts))
        return self.emit("add", parts, shape, what, signs=signs or (1.0,) * len(parts))

    def product(self, x: str, y: str, what: str) -> str:
        return self.emit("mul", (x, y), self.shape(x), what)

    def act(self, i: int, x: str, what: str) -> str:
        return self.emit("activation", (x,), self.shape(x), what, function=self.functions[i])

    def linear(self, x: str, weight: str, what: str) -> str:
        known = self.build.tensors[weight]
        if known.role == "activation":
            return self.emit("matmul", (x, weight), (*self.shape(x)[:-1], known.shape[-1]), what)
        return self.emit("linear", (x, weight), (*self.shape(x)[:-1], known.shape[-2]), what, transpose=True)


def _recurrent(build: Builder, node: Node) -> bool:
    layer = _layer(build, node)
    if layer is None:
        return False
    size = layer.time * layer.directions * layer.gates * layer.hidden
    if size > MAX_UNROLLED:
        raise ModelError(
            f"{node.op_type} {layer.name} has {size} entries in {layer.time} steps, more than {MAX_UNROLLED}",
            "export it with a shorter sequence",
        )
    results = _unroll(layer)
    for output, result, axis in zip(node.outputs, results, (2, 1, 1), strict=False):
        if output:
            _hand_over(layer, output, result, axis)
    return True


# --- what is covered ------------------------------------------------------------------------------------


def _layer(build: Builder, node: Node) -> _Layer | None:
    """The layer of a node; None where something about it is not covered."""
    directions = _DIRECTIONS.get(node.get("direction", "forward"))
    x, hidden = node.input(0), int(node.get("hidden_size", 0))
    if directions is None or hidden < 1 or not build.active(x):
        return None
    if any(node.get(k) for k in ("layout", "input_forget", "clip")) or node.input(4) or node.input(7):
        return None
    if not build.single and build.place(x) != Place(1):
        return None
    time, batch, width = build.shape(x)
    if batch != 1:  # of the file; for one of many it is then another axis
        return None
    rows = _GATES[node.op_type] * hidden
    shapes = ((directions, rows, width), (directions, rows, hidden), (directions, 2 * rows))
    for name, shape in zip(node.inputs[1:4], shapes, strict=False):
        if name and (not build.liftable(name) or build.shape(name) != shape):
            return None
    states = node.inputs[5:7]
    if not all(_state_fits(build, name, (directions, 1, hidden)) for name in states if name):
        return None
    functions = _functions(node, directions)
    if functions is None:
        return None
    held = build.held(node.input(1))
    name = label(node, held.origin if held and build.tensors[held.origin].role == "parameter" else None)
    return _Layer(build, node, name, functions, directions, hidden, time)


def _functions(node: Node, directions: int) -> tuple[Activation, ...] | None:
    """The activations, which must be the same for both directions."""
    usual = _FUNCTIONS[node.op_type]
    names = [str(name) for name in node.get("activations", usual * directions)]
    own, alphas, betas = names[: len(usual)], node.get("activation_alpha"), node.get("activation_beta")
    if names != own * directions or len(own) != len(usual):
        return None
    if all(name in _PLAIN for name in own) and alphas is None and betas is None:
        return tuple(Activation.parse(FORMULAS[name].format()) for name in own)
    if len(own) > 1 or own[0] not in _NUMBERED:
        return None
    template, alpha, beta = _NUMBERED[own[0]]
    numbers = [_number(alphas, alpha, directions), _number(betas, beta, directions)]
    if None in numbers:
        return None
    return (Activation.parse(template.format(alpha=numbers[0], beta=numbers[1])),)


def _number(given: Sequence[float] | None, default: float | None, directions: int) -> Fraction | None:
    """The one number of an attribute that has one for each direction."""
    if given is None:
        return None if default is None else shortest(default)
    return shortest(given[0]) if len(given) == directions and len(set(given)) == 1 else None


def _state_fits(build: Builder, name: str, shape: Shape) -> bool:
    """Whether an initial state is 0, or the same for all of the batch, or has its batch where we know it."""
    if build.shape(name) != shape:
        return False
    if build.active(name):
        return build.single or build.place(name) == Place(1)
    return build.zero(name) or (build.single and build.liftable(name))


# --- unrolled -------------------------------------------------------------------------------------------


def _unroll(layer: _Layer) -> list[str]:
    """Y, Y_h and Y_c, of the shapes (1, time, directions, hidden) and (1, directions, 1, hidden)."""
    node, build = layer.node, layer.build
    inputs, recurrent = (_weight(layer, slot) for slot in (1, 2))
    given = layer.linear(_sequence(layer), inputs, "input")
    bias = None
    if node.input(3):
        lifted = build.lift(node.input(3))
        assert lifted is not None
        both = layer.seen(lifted, (1, layer.directions, 1, 2 * layer.gates * layer.hidden), "biases")
        rows = layer.gates * layer.hidden
        given = layer.sum("given", given, layer.along(both, 3, range(rows), "bias of x"))
        bias = layer.along(both, 3, range(rows, 2 * rows), "bias of h")
    state = [_state(layer, slot) for slot in ((5, 6) if node.op_type == "LSTM" else (5,))]
    step = _STEPS[node.op_type]
    history: list[str] = []
    for t in range(layer.time):
        now = layer.along(given, 2, [t], "now")
        state = step(layer, now, state, recurrent, bias)
        history.append(state[0])
    return [_whole(layer, layer.joined(history, 2, "history")), *state]


def _weight(layer: _Layer, slot: int) -> str:
    """A weight as (directions, out, in), or one that was computed as (1, directions, in, out)."""
    build, name = layer.build, layer.node.input(slot)
    view = build.held(name)
    if view is not None and not view.transposed:
        own = build.tensors[view.origin].shape
        if own == view.shape or (own == view.shape[1:] and layer.directions == 1):
            return view.origin
    lifted = build.lift(name)
    assert lifted is not None
    _, d, rows, columns = layer.shape(lifted)
    return layer.emit("transpose", (lifted,), (1, d, columns, rows), "turned", perm=(0, 1, 3, 2))


def _sequence(layer: _Layer) -> str:
    """X in the order of the steps of each direction."""
    x = layer.node.input(0)
    x = layer.seen(x, (1, 1, layer.time, layer.build.shape(x)[2]), "sequence")
    if layer.directions == 1 and not layer.reverse:
        return x
    back = layer.along(x, 2, range(layer.time)[::-1], "backwards")
    return back if layer.directions == 1 else layer.joined((x, back), 1, "both ways")


def _whole(layer: _Layer, history: str) -> str:
    """All states in the order of time: (1, time, directions, hidden)."""
    if layer.directions == 2:
        ways = [layer.along(history, 1, [d], "way") for d in (0, 1)]
        ways[1] = layer.along(ways[1], 2, range(layer.time)[::-1], "forwards")
        history = layer.joined(ways, 1, "all")
    elif layer.reverse:
        history = layer.along(history, 2, range(layer.time)[::-1], "forwards")
    shape = (1, layer.time, layer.directions, layer.hidden)
    return layer.emit("transpose", (history,), shape, "states", perm=(0, 2, 1, 3))


def _state(layer: _Layer, slot: int) -> str:
    build, name = layer.build, layer.node.input(slot)
    if not name or (not build.active(name) and build.zero(name)):
        zeros = build.zeros((layer.directions, 1, layer.hidden), layer.name)
        return zeros
    x = name if build.active(name) else build.lift(name)
    assert x is not None
    return layer.seen(x, (1, layer.directions, 1, layer.hidden), "initial")


def _hand_over(layer: _Layer, output: str, result: str, axis: int) -> None:
    """A result under its name in the file, where its batch is on ``axis``."""
    build = layer.build
    if build.put(output, build.anywhere(output) if build.single else Place(axis)):
        shape = build.here(output)
        build.emit("reshape", (result,), output, shape, f"{layer.name}/result", shape=shape)
    else:
        what = f"{layer.node.op_type} with an output that has not its batch in front"
        build.emit("unknown", (result,), output, build.shape(output), f"{layer.name}/result", op_type=what)


# --- one step -------------------------------------------------------------------------------------------


def _affine(layer: _Layer, state: str, weight: str, bias: str | None) -> str:
    y = layer.linear(state, weight, "")
    return y if bias is None else layer.sum("recurrent", y, bias)


def _rnn(layer: _Layer, now: str, state: list[str], weight: str, bias: str | None) -> list[str]:
    return [layer.act(0, layer.sum("sum", now, _affine(layer, state[0], weight, bias)), "state")]


def _lstm(layer: _Layer, now: str, state: list[str], weight: str, bias: str | None) -> list[str]:
    total = layer.sum("gates", now, _affine(layer, state[0], weight, bias))
    i, o, f, c = (layer.part(total, k, name) for k, name in enumerate("iofc"))
    i, o, f, c = (layer.act(k, x, "gate") for k, x in zip((0, 0, 0, 1), (i, o, f, c), strict=True))
    cell = layer.sum("cell", layer.product(f, state[1], "kept"), layer.product(i, c, "new"))
    return [layer.product(o, layer.act(2, cell, "shown"), "state"), cell]


def _gru(layer: _Layer, now: str, state: list[str], weight: str, bias: str | None) -> list[str]:
    """Where linear_before_reset is 0, the last rows of the weight act on r·h."""
    h = state[0]
    past = _affine(layer, h, weight, bias)
    z, r = (
        layer.act(0, layer.sum(name, layer.part(now, k, "x"), layer.part(past, k, "h")), "gate")
        for k, name in enumerate("zr")
    )
    if layer.node.get("linear_before_reset", 0):
        last = layer.product(r, layer.part(past, 2, "h"), "reset")
    else:
        last = layer.part(_affine(layer, layer.product(r, h, "reset"), weight, bias), 2, "h")
    n = layer.act(1, layer.sum("n", layer.part(now, 2, "x"), last), "new")
    change = layer.product(z, layer.sum("change", h, n, signs=(1.0, -1.0)), "kept")
    return [layer.sum("state", n, change)]


_Step = Callable[[_Layer, str, list[str], str, str | None], list[str]]
_STEPS: Mapping[str, _Step] = MappingProxyType({"RNN": _rnn, "LSTM": _lstm, "GRU": _gru})

RECURRENT: Mapping[str, Operator] = MappingProxyType(dict.fromkeys(_GATES, _recurrent))
