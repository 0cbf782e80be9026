"""The inputs of ``make bench``: networks made in memory, the same at every run.

A dense block is drawn once as (outputs, inputs), in single precision where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.sparse import coo_array

from balproof.importers.matrix_file import from_arrays
from balproof.network.graph import Network, Operation, Tensor
from balproof.symbolic.activation import Activation
from tests.convnets import resnet

Array = np.ndarray
Draw = Callable[[np.random.Generator, int, int], Array]


@dataclass(frozen=True)
class Case:
    """One input: ``reads`` is the most that we want a solve to 1e-10 to take, ``peers`` keys of `PEERS`."""

    group: str
    name: str
    make: Callable[[], Network]
    reads: int | None = None
    peers: tuple[str, ...] = ()
    full: bool = False
    stream: bool = False


class _Net:
    """Tensors and operations as they are added; every result is named after its operation."""

    def __init__(self, *shape: int) -> None:
        self.tensors: dict[str, Tensor] = {"x": Tensor("x", (1, *shape), "input")}
        self.operations: list[Operation] = []

    def parameter(self, name: str, value: Array) -> str:
        self.tensors[name] = Tensor(name, value.shape, "parameter", value, str(value.dtype))
        return name

    def op(
        self, kind: str, name: str, inputs: Sequence[str], size: tuple[int, ...], **attributes: Any
    ) -> str:
        self.tensors[f"{name}.out"] = Tensor(f"{name}.out", size, "activation")
        self.operations.append(
            Operation(kind, name, tuple(inputs), f"{name}.out", MappingProxyType(attributes))
        )
        return f"{name}.out"

    def linear(self, x: str, name: str, weight: Array) -> str:
        shape = (*self.tensors[x].shape[:-1], len(weight))
        return self.op("linear", name, (x, self.parameter(f"{name}.weight", weight)), shape, transpose=True)

    def relu(self, x: str, name: str) -> str:
        return self.op("activation", name, (x,), self.tensors[x].shape, function=Activation.parse("relu"))

    def network(self, y: str) -> Network:
        return Network(self.tensors, tuple(self.operations), ("x",), (y,))


def normal(rng: np.random.Generator, m: int, n: int) -> Array:
    """N(0, 1/n), as layers are often initialised."""
    return rng.standard_normal((m, n), dtype=np.float32) * np.float32(1 / np.sqrt(n))


def log_normal(spread: float) -> Draw:
    """Random signs, log|w| of standard deviation ``spread``; in double precision, for its range."""
    return lambda rng, m, n: rng.choice([-1.0, 1.0], (m, n)) * np.exp(spread * rng.standard_normal((m, n)))


def coupled(parts: int, strength: float) -> Draw:
    """``parts`` networks side by side; weights between them are smaller by the factor ``strength``."""

    def draw(rng: np.random.Generator, m: int, n: int) -> Array:
        own = np.arange(m)[:, None] * parts // m == np.arange(n)[None, :] * parts // n
        return normal(rng, m, n) * np.where(own, 1, strength).astype(np.float32)

    return draw


def mlp(widths: Sequence[int], draw: Draw = normal, seed: int = 0) -> Network:
    """Linear layers with ReLU between them, without biases."""
    rng, net, y = np.random.default_rng(seed), _Net(widths[0]), "x"
    for i, (n, m) in enumerate(zip(widths[:-1], widths[1:], strict=True), start=1):
        y = net.linear(y if i == 1 else net.relu(y, f"relu{i - 1}"), f"fc{i}", draw(rng, m, n))
    return net.network(y)


def narrow(depth: int, seed: int = 5) -> Network:
    """Widths 2 to 8, log-normal weights."""
    widths = np.random.default_rng(seed).integers(2, 9, depth + 1).tolist()
    return mlp(widths, log_normal(1.0), seed)


def transformer(blocks: int, width: int, heads: int, tokens: int = 16, classes: int = 1000) -> Network:
    """Pre-norm blocks: attention and a perceptron four times as wide, each added to what came in.

    The layer norms have ε = 1e-5, so that the residual stream keeps its scale.
    """
    rng, net = np.random.default_rng(0), _Net(tokens, width)
    each, stream = width // heads, (1, tokens, width)

    def norm(x: str, name: str) -> str:
        own = [net.parameter(f"{name}.{part}", rng.standard_normal(width, dtype=np.float32)) for part in "gb"]
        return net.op("norm", name, (x, *own), stream, axes=(-1,), epsilon=1e-5)

    def split(x: str, name: str, perm: tuple[int, ...]) -> str:
        shape = (1, tokens, heads, each)
        x = net.op("reshape", f"{name}.split", (x,), shape, shape=shape)
        return net.op("transpose", f"{name}.turn", (x,), tuple(shape[a] for a in perm), perm=perm)

    x = "x"
    for i in range(blocks):
        y = norm(x, f"{i}.norm1")
        q, k, v = (net.linear(y, f"{i}.{part}", normal(rng, width, width)) for part in "qkv")
        q, v = (split(part, f"{i}.{n}", (0, 2, 1, 3)) for part, n in ((q, "q"), (v, "v")))
        k = split(k, f"{i}.k", (0, 2, 3, 1))
        s = net.op("matmul", f"{i}.scores", (q, k), (1, heads, tokens, tokens))
        s = net.op("softmax", f"{i}.softmax", (s,), (1, heads, tokens, tokens), axis=-1, log=False)
        y = net.op("matmul", f"{i}.mix", (s, v), (1, heads, tokens, each))
        y = net.op("transpose", f"{i}.back", (y,), (1, tokens, heads, each), perm=(0, 2, 1, 3))
        y = net.op("reshape", f"{i}.join", (y,), stream, shape=stream)
        x = net.op("add", f"{i}.add1", (x, net.linear(y, f"{i}.o", normal(rng, width, width))), stream)
        y = net.linear(norm(x, f"{i}.norm2"), f"{i}.fc1", normal(rng, 4 * width, width))
        y = net.linear(net.relu(y, f"{i}.relu"), f"{i}.fc2", normal(rng, width, 4 * width))
        x = net.op("add", f"{i}.add2", (x, y), stream)
    return net.network(net.linear(norm(x, "norm"), "head", normal(rng, classes, width)))


def recurrent(n: int, spread: float = 1.0, scales: float = 0.0) -> Network:
    """A dense matrix of connections, none of them of a unit to itself, and nothing that is visible.

    Weights are log-normal, of standard deviation ``spread`` of log|w|. With ``scales`` units are scaled as
    well, J = D·K·D⁻¹ with log-normal entries of D: what balancing is to put right.
    """
    rng = np.random.default_rng(n)
    j = log_normal(spread)(rng, n, n)
    if scales:
        d = np.exp(scales * rng.standard_normal(n))
        j *= d[:, None] / d
    np.fill_diagonal(j, 0.0)
    return from_arrays({"J": j})


def sparse_recurrent(n: int, degree: int, spread: float = 1.0) -> Network:
    """``degree`` connections of every unit on average, in a list; a few units have none in, or none out."""
    rng = np.random.default_rng(n)
    places = rng.integers(0, n, (2, n * degree))
    weights = rng.choice([-1.0, 1.0], n * degree) * np.exp(spread * rng.standard_normal(n * degree))
    return from_arrays({"J": coo_array((weights, tuple(places)), shape=(n, n))})


BY_LAYERS = ("plain", "plain-numpy", "l-bfgs")
SMALL = ("plain", "plain-numpy", "l-bfgs", "stochastic", "clarabel", "scs")
MATRIX = ("matrix_balance", "plain", "osborne-numpy", "l-bfgs")

CASES = (
    *(
        Case(
            "dense",
            f"MLP {width}, depth {depth}",
            lambda w=width, d=depth: mlp([w] * (d + 1)),
            12,
            peers,
            full,
        )
        for depth, width, peers, full in (
            (3, 512, ("plain",), False),
            (10, 512, ("plain",), False),
            (50, 128, ("plain",), False),
            (100, 64, (), False),
            (200, 64, (), False),
            (50, 512, ("plain",), True),
            (200, 512, (), True),
        )
    ),
    Case("ResNet", "ResNet-50, half as wide", lambda: resnet(32, size=64), 12, ("plain",)),
    Case("ResNet", "ResNet-50", resnet, 12, ("plain",), full=True),
    Case("transformer", "4 blocks of 256", lambda: transformer(4, 256, 4), 12, ("plain",)),
    Case("transformer", "12 blocks of 768", lambda: transformer(12, 768, 12), 12, ("plain",), full=True),
    Case("heavy tails", "σ = 6, depth 20", lambda: mlp([64] * 21, log_normal(6.0)), 50, ("plain",)),
    Case("heavy tails", "σ = 6, depth 100", lambda: mlp([64] * 101, log_normal(6.0)), 50),
    Case("narrow", "widths 2–8, depth 200", lambda: narrow(200), 50),
    Case(
        "weakly coupled", "4 nets, 1e-3, depth 20", lambda: mlp([128] * 21, coupled(4, 1e-3)), 50, ("plain",)
    ),
    *(
        Case("recurrent", f"n = {n}, σ = 1", lambda n=n: recurrent(n), None, MATRIX, n == 4000)
        for n in (500, 1000, 2000, 4000)
    ),
    Case(
        "sparse recurrent",
        "1e5 units, degree 5",
        lambda: sparse_recurrent(100_000, 5),
        50,
        ("plain", "l-bfgs"),
    ),
    Case(
        "sparse recurrent",
        "1e5 units, degree 10",
        lambda: sparse_recurrent(100_000, 10),
        50,
        ("plain",),
        True,
    ),
    *(
        Case("recurrent", f"n = {n}, {name}", lambda n=n, own=own: recurrent(n, *own), None, MATRIX)
        for n in (1000, 2000)
        for name, own in (
            ("σ = 2", (2.0,)),
            ("σ = ½, units' scales σ = 3", (0.5, 3.0)),
        )
    ),
    *(
        Case("sizes", f"{name} in 10 layers", lambda w=w: mlp(w), 12, peers, full)
        for name, w, peers, full in (
            ("1.4e3", [12] * 11, SMALL, False),
            ("1e4", [32] * 11, (*BY_LAYERS, "stochastic", "clarabel"), False),
            ("5e4", [72] * 11, (*BY_LAYERS, "stochastic", "clarabel"), False),
            ("1e6", [320] * 11, (*BY_LAYERS, "stochastic"), False),
            ("1e7", [1024] * 11, (*BY_LAYERS, "stochastic"), True),
        )
    ),
    Case("stream", "5 blocks, 1e7 in float32", lambda: mlp([1415] * 6), None, ("plain",), stream=True),
    Case("stream", "5 blocks, 1e8 in float32", lambda: mlp([4473] * 6), None, (), True, stream=True),
)
"""Everything that is run; what is ``full`` only by ``make bench FULL=1``."""
