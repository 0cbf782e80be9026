"""Networks of the tests that have no short form in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.network.graph import Network, Operation, Role, Tensor
from balproof.symbolic.activation import Activation

Array = np.ndarray


class Builder:
    """Adds operations one by one; results get their shapes from the caller."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.operations: list[Operation] = []

    def tensor(self, name: str, shape: Sequence[int], role: Role = "parameter", **more: Any) -> str:
        value = None if role in ("input", "state", "activation") else self.rng.standard_normal(tuple(shape))
        self.tensors[name] = Tensor(name, tuple(shape), role, more.pop("value", value), **more)
        return name

    def op(
        self, kind: str, inputs: Sequence[str], output: str, size: Sequence[int], /, **attributes: Any
    ) -> str:
        self.tensor(output, size, "activation")
        name = inputs[1] if len(inputs) > 1 else output
        self.operations.append(Operation(kind, name, tuple(inputs), output, MappingProxyType(attributes)))
        return output

    def network(self, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> Network:
        return Network(self.tensors, tuple(self.operations), tuple(inputs), tuple(outputs), **more)


def conv1d(
    channels: Sequence[int], taps: Sequence[int], length: int = 7, activation: str = "linear"
) -> Network:
    """Convolutions along one axis, without biases and padding."""
    b = Builder()
    x = b.tensor("x", (1, channels[0], length), "input")
    for i, (n, m, k) in enumerate(zip(channels[:-1], channels[1:], taps, strict=True), start=1):
        length -= k - 1
        w = b.tensor(f"conv{i}", (m, n, k))
        x = b.op("conv", [x, w], f"r{i}", (1, m, length))
        if i < len(taps):
            x = b.op("activation", [x], f"a{i}", (1, m, length), function=Activation.parse(activation))
    return b.network(["x"], [x])


def attention(n: int, r: int, tokens: int = 3, softmax: bool = False, key_bias: bool = False) -> Network:
    """One head: scores = (x Q)(x K)ᵀ, with or without softmax, times (x V), times O. Without other biases."""
    b = Builder()
    x = b.tensor("x", (1, tokens, n), "input")
    q, k, v = (b.op("linear", [x, b.tensor(w, (n, r))], w.lower(), (1, tokens, r)) for w in "QKV")
    if key_bias:
        k = b.op("bias", [k, b.tensor("kb", (r,))], "k+", (1, tokens, r))
    k = b.op("transpose", [k], "kt", (1, r, tokens), perm=(0, 2, 1))
    s = b.op("matmul", [q, k], "scores", (1, tokens, tokens))
    if softmax:
        s = b.op("softmax", [s], "weights", (1, tokens, tokens), axis=-1)
    h = b.op("matmul", [s, v], "heads", (1, tokens, r))
    y = b.op("linear", [h, b.tensor("O", (r, n))], "y", (1, tokens, n))
    return b.network(["x"], [y])


def rnn(n_in: int, n: int, n_out: int, activation: str = "relu", bias: bool = True) -> Network:
    """h₊ = σ(W h + U x + b), y = V h₊."""
    b = Builder()
    x, h = b.tensor("x", (1, n_in), "input"), b.tensor("h", (1, n), "state")
    inner = b.op("linear", [h, b.tensor("W", (n, n))], "r1", (1, n), transpose=True)
    outer = b.op("linear", [x, b.tensor("U", (n, n_in))], "r2", (1, n), transpose=True)
    z = b.op("add", [inner, outer], "z", (1, n))
    if bias:
        z = b.op("bias", [z, b.tensor("b", (n,))], "zb", (1, n))
    a = b.op("activation", [z], "a", (1, n), function=Activation.parse(activation))
    y = b.op("linear", [a, b.tensor("V", (n_out, n))], "y", (1, n_out), transpose=True)
    return b.network(["x"], [y], states=(("h", "a"),))


def layer_norm(n: int, m: int, epsilon: float = 1e-5) -> Network:
    """Linear with bias, layer normalisation with γ and β, ReLU, linear."""
    b = Builder()
    x = b.tensor("x", (1, n), "input")
    x = b.op("linear", [x, b.tensor("fc1.weight", (m, n))], "r1", (1, m), transpose=True)
    x = b.op("bias", [x, b.tensor("fc1.bias", (m,))], "z1", (1, m))
    affine = [b.tensor("gamma", (m,)), b.tensor("beta", (m,))]
    x = b.op("norm", [x, *affine], "ln", (1, m), axes=(-1,), epsilon=epsilon)
    x = b.op("activation", [x], "a", (1, m), function=Activation.parse("relu"))
    y = b.op("linear", [x, b.tensor("fc2.weight", (2, m))], "y", (1, 2), transpose=True)
    return b.network(["x"], [y])


def normalised(n: int, m: int, mean: bool = True) -> Network:
    """Linear with bias, inference-mode batch normalisation, ReLU, linear."""
    b = Builder()
    x = b.tensor("x", (1, n), "input")
    x = b.op("linear", [x, b.tensor("fc1.weight", (m, n))], "r1", (1, m), transpose=True)
    x = b.op("bias", [x, b.tensor("fc1.bias", (m,))], "z1", (1, m))
    b.tensor("gamma", (m,))
    b.tensor("beta", (m,))
    b.tensor("mean", (m,), buffer=True, value=b.rng.standard_normal(m) if mean else np.zeros(m))
    b.tensor("variance", (m,), buffer=True, value=b.rng.random(m) + 0.5)
    x = b.op("batchnorm", [x, "gamma", "beta", "mean", "variance"], "bn", (1, m), epsilon=1e-5)
    x = b.op("activation", [x], "a", (1, m), function=Activation.parse("relu"))
    y = b.op("linear", [x, b.tensor("fc2.weight", (2, m))], "y", (1, 2), transpose=True)
    return b.network(["x"], [y])


def complex_product(names: str, gate: str = "") -> Network:
    """x times the real part of a product of complex weights, one for each letter, alike for like letters:
    Re(w³)·x for "www". With ``gate``, that and a bias go through an activation."""
    b = Builder()
    re, im = b.tensor("x", (1, 1), "input"), ""
    for n in dict.fromkeys(names):
        b.tensor(f"{n}.re", (1,))
        b.tensor(f"{n}.im", (1,))
    for k, n in enumerate(names):
        parts = {
            (v, p): b.op("scale", [v, f"{n}.{p}"], f"{v}{p}{k}", (1, 1), axis=1)
            for v in (re, im)
            if v
            for p in ("re", "im")
        }
        if not im:  # the input is real
            re, im = parts[re, "re"], parts[re, "im"]
            continue
        minus = [parts[re, "re"], parts[im, "im"]]
        plus = [parts[re, "im"], parts[im, "re"]]
        re = b.op("add", minus, f"re{k}", (1, 1), signs=(1.0, -1.0))
        im = b.op("add", plus, f"im{k}", (1, 1))
    if gate:
        re = b.op("bias", [re, b.tensor("b", (1,))], "z", (1, 1))
        re = b.op("activation", [re], "a", (1, 1), function=Activation.parse(gate))
    return b.network(["x"], [re])
