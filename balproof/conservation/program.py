"""A network's operations on the tape: the same function as `balproof.network.evaluate`, over any ring.

Every operation is a few steps that are linear, bilinear or entry by entry. Where it has pieces (ReLU, max
pooling), `Regions` says which piece each sample is on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import perm, prod
from types import MappingProxyType

import numpy as np
import sympy
from numpy.lib.stride_tricks import sliding_window_view

from balproof.conservation.ring import Modular, Ring
from balproof.conservation.tape import Node, Tape
from balproof.network.graph import Network, Operation, Tensor
from balproof.network.rules import run
from balproof.network.scales import aligned
from balproof.symbolic.activation import Activation
from balproof.symbolic.numeric import rational

Array = np.ndarray
Key = tuple[int, str]


class Unsupported(Exception):
    """An operation that has no polynomial pieces, or none that are known here; the text says which."""


@dataclass
class Regions:
    """On which piece of each operation the samples are, by (time step, result).

    Filled by a run in doubles. ``gaps`` holds how far each decision was from turning over.
    """

    masks: dict[Key, Array] = field(default_factory=dict)
    gaps: dict[Key, Array] = field(default_factory=dict)
    sizes: dict[Key, Array] = field(default_factory=dict)
    filled: bool = False

    def certain(self) -> Array:
        """Per sample: is every decision certain, for all that rounding can have done? (See `rounding`.)

        Where the sizes are 0, all terms are 0 because of earlier decisions (a unit that is at rest), near the
        point too, and it does not matter which piece is taken.
        """
        samples = max((g.shape[0] for g in self.gaps.values()), default=1)
        certain = np.ones(samples, bool)
        for key, gap in self.gaps.items():
            size = self.sizes[key]
            safe = (gap > 2.0**-30 * size) | (size == 0)
            certain &= safe.reshape(safe.shape[0], -1).all(axis=1)
        return certain

    def select(self, keep: Array) -> Regions:
        """The regions of some of the samples; what is not filled stays so."""
        if not self.filled:
            return Regions()
        masks = {k: m if m.shape[0] == 1 else m[keep] for k, m in self.masks.items()}
        return Regions(masks, filled=True)


Opaque = Callable[["Run", Operation, Sequence[Node], Key], Node]


def refuse(_: Run, op: Operation, operands: Sequence[Node], key: Key) -> Node:
    """An operation without polynomial pieces ends the run."""
    what = (
        op.attributes["function"].text if op.kind == "activation" else op.attributes.get("op_type", op.kind)
    )
    raise Unsupported(f"{what} (operation {op.name}) is not made of polynomials")


@dataclass
class Run:
    """One pass of a network over a ring; ``step`` counts time in a recurrent one."""

    network: Network
    tape: Tape
    regions: Regions
    opaque: Opaque = refuse
    step: int = 0
    bounding: bool = False
    """Whether this run, on absolute values, is to bound the partial sums at each decision."""
    symbols: Callable[[Operation, Node, str], Array] | None = None
    """Instead of regions: a symbol for each piece of each entry."""
    finish: Callable[[Operation, Node], Node] | None = None
    """What is to become of each result."""
    values: dict[str, Node] = field(default_factory=dict)
    """What was computed in the last time step."""

    @property
    def ring(self) -> Ring:
        return self.tape.ring

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

    def number(self, value: float | Fraction) -> Array:
        """A number of the ring that broadcasts to everything."""
        return self.ring.constant(np.array(Fraction(value), dtype=object)).reshape(1)

    def mask(
        self, op: Operation, decide: Callable[[], tuple[Array, Array]], size: Callable[[], Array]
    ) -> Array:
        """The decision of an operation: made in the first run, and looked up in the later ones."""
        key = (self.step, op.output)
        if not self.regions.filled:
            self.regions.masks[key], self.regions.gaps[key] = decide()
        elif self.bounding:
            self.regions.sizes[key] = size()
        return self.regions.masks[key]

    def sides(self, op: Operation, x: Node) -> tuple[Array, Array]:
        """1 where x is above 0 and 0 elsewhere, and the other way round, as numbers of the ring."""
        if self.symbols is not None:
            return self.symbols(op, x, "+"), self.symbols(op, x, "−")
        base = x.jet[0]
        up = self.mask(op, lambda: (self.ring.positive(base), np.abs(base)), lambda: base)
        return self.ring.constant(up), self.ring.constant(1 - up.astype(np.int64))


Rule = Callable[[Run, Operation, Sequence[Node]], Node]


def exact(tensor: Tensor) -> Array:
    """The values of a constant: doubles (which are fractions), or fractions.

    Raises Unsupported for a symbol or an irrational number.
    """
    value = tensor.value
    assert value is not None
    if value.dtype != object:
        return value
    found = [rational(sympy.sympify(v)) for v in value.flat]
    if any(v is None for v in found):
        raise Unsupported(f"{tensor.name} has entries that are not rational numbers")
    result = np.empty(value.shape, dtype=object)
    result.ravel()[:] = found
    return result


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


# --- the pieces of an activation ---------------------------------------------------------------------------


def pieces(function: Activation) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]] | None:
    """Coefficients (of 1, x, x², …) for x > 0 and for x < 0; None if the function is no such polynomial.

    >>> [[str(c) for c in side] for side in pieces(Activation.parse("leaky_relu:1/5"))]
    [['0', '1'], ['0', '1/5']]
    """
    x = function.variable
    if function.coefficients is not None and function.degree is not None:
        degree = rational(function.degree)
        sides = [rational(sympy.sympify(c)) for c in function.coefficients]
        if degree is not None and degree.denominator == 1 and 0 <= degree <= 64 and None not in sides:
            n = int(degree)
            up, down = (s for s in sides if s is not None)
            return (Fraction(0),) * n + (up,), (Fraction(0),) * n + (down * (-1) ** n,)
    if function.kind == "zero":
        return (Fraction(0),), (Fraction(0),)
    if function.expression.is_polynomial(x) and sympy.degree(function.expression, x) <= 64:
        found = [rational(c) for c in reversed(sympy.Poly(function.expression, x).all_coeffs())]
        if None not in found:
            side = tuple(c for c in found if c is not None)
            return side, side
    return None


def _activation(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    (x,) = operands
    found = pieces(op.attributes["function"])
    if found is None:
        return r.opaque(r, op, operands, (r.step, op.output))
    one = r.ring.constant(np.ones((1,) * len(x.shape), np.int64))
    if found[0] == found[1]:
        sides, found = (one,), found[:1]
    else:
        sides = r.sides(op, x)
    if all(len(side) == 2 and side[0] == 0 for side in found):  # c·x: a factor for each side
        parts = [r.ring.multiply(m, r.number(side[1])) for m, side in zip(sides, found)]
        return r.tape.times(x, parts[0] if len(parts) == 1 else r.ring.add(*parts))

    def derivative(k: int, base: Array) -> Array:
        total = r.ring.multiply(base, r.number(0))
        for mask, side in zip(sides, found):
            value = r.ring.multiply(base, r.number(0))
            for n in range(len(side) - 1, k - 1, -1):  # Horner
                value = r.ring.add(r.ring.multiply(value, base), r.number(side[n] * perm(n, k)))
            total = r.ring.add(total, r.ring.multiply(mask, value))
        return total

    return r.tape.unary(x, derivative)


def _prelu(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    x, slope = operands
    slope = _aligned(r, op, slope)
    up, down = r.sides(op, x)
    return r.tape.add(r.tape.times(x, up), r.tape.multiply(r.tape.times(x, down), slope))


# --- sums and products -------------------------------------------------------------------------------------


def _aligned(r: Run, op: Operation, operand: Node) -> Node:
    """A parameter in the axes of the result."""
    ndim = len(r.network.tensors[op.output].shape)
    return r.tape.reshape(operand, aligned(r.network.tensors[op.inputs[1]], ndim, op.attributes.get("axis")))


def _linear(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    x, weight = operands
    ndim = len(weight.shape) - 1
    if op.attributes.get("transpose", False):
        weight = r.tape.transpose(weight, (*range(ndim - 2), ndim - 1, ndim - 2))
    if ndim > 2:  # a stack of matrices
        return r.tape.matmul(x, weight)
    flat = r.tape.reshape(x, (prod(x.shape[1:-1]), x.shape[-1]))
    return r.tape.reshape(r.tape.matmul(flat, weight), r.network.tensors[op.output].shape)


def _bias(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.add(operands[0], _aligned(r, op, operands[1]))


def _scale(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.multiply(operands[0], _aligned(r, op, operands[1]))


def _add(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    signs = op.attributes.get("signs", (1.0,) * len(operands))
    parts = [x if s == 1 else r.tape.times(x, r.number(float(s))) for s, x in zip(signs, operands)]
    total = parts[0]
    for part in parts[1:]:
        total = r.tape.add(total, part)
    return total


def _mul(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.multiply(*operands)


def _matmul(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    return r.tape.matmul(*operands)


def _batchnorm(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    """In inference. 1/√(v + ε) is read as the double that is nearest, as any program does."""
    if op.attributes.get("training", False):  # the statistics of a batch, which is no single case
        return r.opaque(r, op, operands, (r.step, op.output))
    x, gamma, beta, mean, variance = operands
    tensor = r.network.tensors[op.inputs[4]]
    if variance.moved:
        raise Unsupported(f"the variance of {op.name} is learned, and its root is no polynomial")
    view = (1, -1, *(1,) * (len(x.shape) - 3))
    factor = 1 / np.sqrt(np.array(exact(tensor), np.float64) + float(op.attributes.get("epsilon", 0.0)))
    minus = r.tape.times(r.tape.reshape(mean, view), r.number(-1))
    centred = r.tape.times(r.tape.add(x, minus), r.ring.constant(factor.reshape(1, *view)))
    return r.tape.add(r.tape.multiply(centred, r.tape.reshape(gamma, view)), r.tape.reshape(beta, view))


def _embedding(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    x, weight = operands
    if x.moved:
        raise Unsupported(f"the positions that {op.name} looks up depend on parameters")
    rows = weight.shape[1]
    if r.symbols is not None:  # any mixture of rows
        blank = np.zeros((1, prod(x.shape[1:]), rows), dtype=object)
        mixture = r.symbols(op, r.tape.put({0: blank}), "")
        found = r.tape.matmul(r.tape.put({0: mixture}), weight)
        return r.tape.reshape(found, r.network.tensors[op.output].shape)
    place = x.jet[0].astype(np.int64)
    if isinstance(r.ring, Modular):
        place = np.where(place > r.ring.p // 2, place - r.ring.p, place)
    place = np.clip(place, -rows, rows - 1) % rows  # a negative position counts from the end
    hot = r.ring.constant((place.reshape(place.shape[0], -1, 1) == np.arange(rows)).astype(np.int64))
    return r.tape.reshape(r.tape.matmul(r.tape.put({0: hot}), weight), r.network.tensors[op.output].shape)


# --- what no polynomial is ----------------------------------------------------------------------


def normalised_together(r: Run, op: Operation, x: Node) -> tuple[Node, tuple[int, ...]]:
    """What a normalisation takes together: its operand in fitting axes, and which of them."""
    shape, groups = x.shape[1:], op.attributes.get("groups")
    if groups:
        given = r.tape.reshape(x, (shape[0], int(groups), prod(shape[1:]) // int(groups)))
        return given, (3,)
    return x, tuple(sorted(a % len(shape) + 1 for a in op.attributes["axes"]))


def centred(r: Run, x: Node, axes: tuple[int, ...]) -> Node:
    """x less its mean along axes."""
    mean = r.tape.times(r.tape.sum(x, axes), r.number(Fraction(-1, prod(x.shape[a] for a in axes))))
    return r.tape.add(x, mean)


def softmax_axis(op: Operation, x: Node) -> int:
    """The axis of a softmax, behind the sample axis."""
    return int(op.attributes.get("axis", -1)) % (len(x.shape) - 1) + 1


def seen(r: Run, op: Operation, operands: Sequence[Node]) -> Sequence[Node]:
    """What an operation without polynomials sees of its operands: a softmax, or a normalisation that centres,
    does not see what all entries have in common."""
    x, *rest = operands
    if op.kind == "softmax":
        return [centred(r, x, (softmax_axis(op, x),)), *rest]
    if op.kind == "norm" and (op.attributes.get("groups") or op.attributes.get("center", True)):
        return [centred(r, *normalised_together(r, op, x)), *rest]
    return operands


# --- moving entries about ----------------------------------------------------------------------------------


def _moved(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    """Find out where each entry goes by running the operation on positions; 0 is for what is not there."""
    sizes = [prod(x.shape[1:]) for x in operands]
    starts = [0, *np.cumsum(sizes).tolist()]
    positions = [
        np.arange(a + 1, a + n + 1, dtype=np.float64).reshape(x.shape[1:])
        for a, n, x in zip(starts, sizes, operands)
    ]
    value = float(op.attributes.get("value", 0.0)) if op.kind == "pad" else 0.0
    plain = dataclasses.replace(op, attributes=MappingProxyType({**op.attributes, "value": 0.0}))
    index = run(plain, positions).astype(np.int64) - 1
    result = r.tape.gather(operands[0] if len(operands) == 1 else r.tape.concat(operands), index)
    if value:
        there = np.where(index < 0, value, 0.0)
        result = r.tape.add(result, r.tape.put({0: r.ring.constant(there)[None]}))
    return result


def _windows(
    positions: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """(…, *places, *kernel) of the last axes of an array."""
    n = len(kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    view = sliding_window_view(positions, reach, axis=tuple(range(positions.ndim - n, positions.ndim)))
    lead = (slice(None),) * (positions.ndim - n)
    view = view[(*lead, *(slice(None, None, s) for s in strides))]
    return view[(..., *(slice(None, None, d) for d in dilations))]


def _padded(positions: Array, pads: Sequence[int], fill: int = 0) -> Array:
    n = len(pads) // 2
    width = [(0, 0)] * (positions.ndim - n) + list(zip(pads[:n], pads[n:]))
    return np.pad(positions, width, constant_values=fill)


def _conv(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    x, weight = operands
    a = op.attributes
    space, n = x.shape[3:], len(x.shape) - 3
    kernel = weight.shape[3:]
    strides, dilations = (tuple(int(k) for k in a.get(key, (1,) * n)) for key in ("strides", "dilations"))
    pads, groups = tuple(int(k) for k in a.get("pads", (0,) * 2 * n)), int(a.get("group", 1))
    channels = x.shape[2]
    at = np.arange(1, channels * prod(space) + 1).reshape(channels, *space)
    ends: list[slice] | None = None
    if a.get("transposed", False):  # zeros between the entries, then the kernel turned round
        extra = tuple(int(k) for k in a.get("output_padding", (0,) * n))
        wide = np.zeros((channels, *((m - 1) * s + 1 for m, s in zip(space, strides))), np.int64)
        wide[(slice(None), *(slice(None, None, s) for s in strides))] = at
        reach = [(k - 1) * d for k, d in zip(kernel, dilations)]
        around = [q - p for q, p in zip(reach, pads[:n])]
        around += [q - p + e for q, p, e in zip(reach, pads[n:], extra)]
        cut = [max(0, -p) for p in around]
        at, pads, strides = wide, tuple(max(0, p) for p in around), (1,) * n
        place = np.arange(prod(weight.shape[1:])).reshape(weight.shape[1:])
        turned = np.flip(place, tuple(range(2, n + 2))).reshape(groups, -1, *weight.shape[2:]).swapaxes(1, 2)
        weight = r.tape.gather(weight, turned.reshape(-1, weight.shape[1] // groups, *kernel))
        ends = [slice(lo, -hi or None) for lo, hi in zip(cut[:n], cut[n:])]
    view = _windows(_padded(at, pads), kernel, strides, dilations)
    places = view.shape[1 : 1 + n]
    index = view.reshape(groups, channels // groups, prod(places), prod(kernel)).swapaxes(1, 2) - 1
    columns = r.tape.gather(x, index.reshape(groups, prod(places), -1))
    rows = r.tape.reshape(weight, (groups, weight.shape[1] // groups, -1))
    product = r.tape.matmul(columns, r.tape.transpose(rows, (0, 2, 1)))
    result = r.tape.reshape(r.tape.transpose(product, (0, 2, 1)), (1, weight.shape[1], *places))
    if ends is None:
        return result
    inner = np.arange(prod(result.shape[1:])).reshape(result.shape[1:])[(slice(None), slice(None), *ends)]
    return r.tape.gather(result, inner)


def _pool(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    (x,) = operands
    a = op.attributes
    kernel = tuple(int(k) for k in a["kernel"])
    n = len(kernel)
    strides, dilations = (tuple(int(k) for k in a.get(key, (1,) * n)) for key in ("strides", "dilations"))
    pads = tuple(int(k) for k in a.get("pads", (0,) * 2 * n))
    at = np.arange(1, prod(x.shape[1:]) + 1).reshape(x.shape[1:])
    seen = _padded(at, pads, 0)
    if a.get("ceil_mode", False):
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
        more = [(-(m - q)) % s for m, q, s in zip(seen.shape[2:], reach, strides)]
        seen = _padded(seen, (0,) * n + tuple(more), -1)  # these never count
    view = _windows(seen, kernel, strides, dilations)
    shape = view.shape[: 2 + n]
    view = view.reshape(*shape, -1)
    windows = r.tape.gather(x, np.where(view > 0, view - 1, -1))
    if a["mode"] == "max":
        chosen = _largest(r, op, windows, (-1,), np.asarray(view > 0)[None])
        return r.tape.reshape(r.tape.sum(r.tape.times(windows, chosen), (windows.jet[0].ndim - 1,)), shape)
    counted = view >= 0 if a.get("count_include_pad", False) else view > 0
    share = np.empty(shape, dtype=object)
    share.ravel()[:] = [Fraction(1, int(c)) for c in counted.sum(axis=-1).ravel()]
    total = r.tape.reshape(r.tape.sum(windows, (windows.jet[0].ndim - 1,)), shape)
    return r.tape.times(total, r.ring.constant(share)[None])


def _largest(
    r: Run, op: Operation, x: Node, axes: tuple[int, ...], there: Array | None = None, sign: int = 1
) -> Array:
    """1 at the largest entry along axes, 0 elsewhere, as numbers of the ring."""
    if r.symbols is not None:
        return r.symbols(op, x, "")
    if x.jet[0].dtype == object:
        raise Unsupported(f"{op.name} takes the largest of numbers that are no polynomials of the weights")

    def flat() -> tuple[Array, Array]:
        value = sign * x.jet[0]
        if there is not None:
            value = np.where(there, value, -np.inf)
        last = tuple(range(-len(axes), 0))
        moved = np.moveaxis(value, axes, last)
        return moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1), moved

    def decide() -> tuple[Array, Array]:
        value, moved = flat()
        best = value.argmax(axis=-1)
        hot = best[..., None] == np.arange(value.shape[-1])
        rest = np.where(hot, -np.inf, value).max(axis=-1)
        mask = np.moveaxis(hot.reshape(moved.shape), tuple(range(-len(axes), 0)), axes)
        return mask, np.where(np.isfinite(rest), value.max(axis=-1) - rest, np.inf)

    def size() -> Array:
        return 2 * np.abs(np.where(np.isfinite(flat()[0]), flat()[0], 0.0)).max(axis=-1)

    return r.ring.constant(r.mask(op, decide, size))


def _extreme(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    shape = r.network.tensors[op.output].shape
    parts = []
    for x in operands:
        wide = np.arange(prod(x.shape[1:])).reshape(x.shape[1:])
        parts.append(r.tape.gather(x, np.broadcast_to(wide, shape)))
    whole = r.tape.reshape(r.tape.concat(parts), (len(parts), *shape))
    chosen = _largest(r, op, whole, (1,), sign=1 if op.attributes.get("largest", True) else -1)
    return r.tape.reshape(r.tape.sum(r.tape.times(whole, chosen), (1,)), shape)


def _resample(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    """A constant matrix along each of some axes."""
    x, *matrices = operands
    for axis, matrix in zip(op.attributes["axes"], matrices):
        order = list(range(len(x.shape) - 1))
        order[axis], order[-1] = order[-1], order[axis]
        turned = r.tape.transpose(x, order)
        x = r.tape.transpose(r.tape.matmul(turned, r.tape.transpose(matrix, (1, 0))), order)
    return x


def _reduce(r: Run, op: Operation, operands: Sequence[Node]) -> Node:
    (x,) = operands
    n = len(x.shape) - 1
    axes = tuple(sorted({a % n + 1 for a in op.attributes["axes"]}))
    mode = op.attributes["mode"]
    if mode in ("max", "min"):
        x = r.tape.times(x, _largest(r, op, x, axes, sign=1 if mode == "max" else -1))
    total = r.tape.sum(x, axes)
    if mode == "mean":
        total = r.tape.times(total, r.number(Fraction(1, prod(x.shape[a] for a in axes))))
    return r.tape.reshape(total, r.network.tensors[op.output].shape)


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "linear": _linear,
        "conv": _conv,
        "matmul": _matmul,
        "embedding": _embedding,
        "bias": _bias,
        "scale": _scale,
        "add": _add,
        "mul": _mul,
        "extreme": _extreme,
        "activation": _activation,
        "prelu": _prelu,
        "batchnorm": _batchnorm,
        "pool": _pool,
        "reduce": _reduce,
        "resample": _resample,
        **dict.fromkeys(("identity", "reshape", "transpose", "expand", "concat", "take", "pad"), _moved),
    }
)
