"""Convolutional networks as data, of any width: bottleneck residual networks with batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.network.graph import Network, Operation, Tensor
from balproof.symbolic.activation import Activation

RELU = Activation.parse("relu")


class Builder:
    """A network as it grows; results are called after their operation."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.tensors: dict[str, Tensor] = {"x": Tensor("x", (1, 3, size, size), "input")}
        self.operations: list[Operation] = []
        self.rng = np.random.default_rng(seed)

    def parameter(
        self, name: str, shape: tuple[int, ...], *, buffer: bool = False, positive: bool = False
    ) -> str:
        value = self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        if positive:
            value = 0.5 + np.abs(value)
        self.tensors[name] = Tensor(name, shape, "parameter", value, "float32", buffer)
        return name

    def op(
        self, kind: str, name: str, inputs: Sequence[str], shape: tuple[int, ...], **attributes: Any
    ) -> str:
        out = f"{name}.out"
        self.tensors[out] = Tensor(out, shape, "activation")
        self.operations.append(Operation(kind, name, tuple(inputs), out, MappingProxyType(attributes)))
        return out

    def conv(self, x: str, name: str, outputs: int, kernel: int, stride: int = 1) -> str:
        """A convolution without bias, and batch normalisation as in inference."""
        _, inputs, size, _ = self.tensors[x].shape
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        weight = self.parameter(f"{name}.weight", (outputs, inputs, kernel, kernel))
        shape = (1, outputs, size, size)
        y = self.op("conv", name, (x, weight), shape, strides=(stride,) * 2, pads=(kernel // 2,) * 4)
        own = [self.parameter(f"{name}.bn.{n}", (outputs,)) for n in ("gamma", "beta")]
        own.append(self.parameter(f"{name}.bn.mean", (outputs,), buffer=True))
        own.append(self.parameter(f"{name}.bn.variance", (outputs,), buffer=True, positive=True))
        return self.op("batchnorm", f"{name}.bn", (y, *own), shape, epsilon=1e-5)

    def relu(self, x: str) -> str:
        name = f"relu{len(self.operations)}"
        return self.op("activation", name, (x,), self.tensors[x].shape, function=RELU)


def resnet(
    width: int = 64, blocks: Sequence[int] = (3, 4, 6, 3), size: int = 224, classes: int = 1000
) -> Network:
    """The shape of ResNet-50, or a narrower and shorter one."""
    b = Builder(size)
    x = b.relu(b.conv("x", "stem", width, 7, 2))
    side = (b.tensors[x].shape[2] + 1) // 2
    x = b.op("pool", "maxpool", (x,), (1, width, side, side), mode="max", kernel=(3, 3), strides=(2, 2),
             pads=(1, 1, 1, 1))  # fmt: skip
    for stage, count in enumerate(blocks):
        inner = width * 2**stage
        for i in range(count):
            stride, name = 2 if i == 0 and stage else 1, f"stage{stage}.{i}"
            y = b.relu(b.conv(x, f"{name}.conv1", inner, 1))
            y = b.relu(b.conv(y, f"{name}.conv2", inner, 3, stride))
            y = b.conv(y, f"{name}.conv3", 4 * inner, 1)
            skip = x if i else b.conv(x, f"{name}.down", 4 * inner, 1, stride)
            x = b.relu(b.op("add", f"{name}.add", (y, skip), b.tensors[y].shape))
    channels = b.tensors[x].shape[1]
    x = b.op("reduce", "mean", (x,), (1, channels), axes=(2, 3), keepdims=False, mode="mean")
    weight, bias = b.parameter("fc.weight", (classes, channels)), b.parameter("fc.bias", (classes,))
    y = b.op("linear", "fc", (x, weight), (1, classes), transpose=True)
    y = b.op("bias", "fc.bias", (y, bias), (1, classes))
    return Network(b.tensors, tuple(b.operations), ("x",), (y,))
