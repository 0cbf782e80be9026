"""PyTorch modules through torch.export. The expected values are those of the modules themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from balproof.importers import load, torch_program
from balproof.network.evaluate import evaluate
from balproof.network.graph import Network
from balproof.network.manifold import infer

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.torch

torch.set_num_threads(1)  # all of this is small

S, PICK = torch.tensor([[2.0, -0.5, 3.0]]), torch.tensor([2, 0, 1])


class Apply(nn.Module):
    """A dense layer and what is to be tested; its parameters p (3,), q (3, 3) and r (2, 3)."""

    def __init__(self, function: Callable[..., Any], *shape: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(3, 3)
        self.p, self.q = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3, 3))
        self.r = nn.Parameter(torch.randn(2, 3))
        self.function, self.shape = function, shape

    def forward(self, x: Any) -> Any:
        return self.function(self.fc(x), self)


def vector(function: Callable[..., Any]) -> tuple[Any, tuple[int, ...]]:
    return Apply(function), (3,)


def rows(function: Callable[..., Any]) -> tuple[Any, tuple[int, ...]]:
    return Apply(function), (4, 3)


def layer(module: Any, *shape: int) -> tuple[Any, tuple[int, ...]]:
    torch.manual_seed(0)
    for name, value in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape) + 0.5)
    return module, shape


class Function(nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 1)
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(self.conv(x))


def image(function: Callable[[Any], Any]) -> tuple[Any, tuple[int, ...]]:
    torch.manual_seed(0)
    return Function(function), (2, 6, 6)


# Name → module and the shape of its input without the batch.
CASES: dict[str, Callable[[], tuple[Any, tuple[int, ...]]]] = {
    # entry by entry
    "relu": lambda: vector(lambda x, m: F.relu(x)),
    "relu, in place": lambda: vector(lambda x, m: F.relu_(x) + x),
    "leaky_relu": lambda: vector(lambda x, m: F.leaky_relu(x, 0.2)),
    "prelu": lambda: vector(lambda x, m: F.prelu(x, m.p)),
    "prelu, one": lambda: layer(nn.Sequential(nn.Linear(3, 3), nn.PReLU()), 3),
    "abs sign": lambda: vector(lambda x, m: torch.abs(x) + torch.sign(x)),
    "sqrt": lambda: vector(lambda x, m: torch.sqrt(F.relu(x))),
    "rsqrt": lambda: vector(lambda x, m: torch.rsqrt(torch.abs(x))),
    "pow 2": lambda: vector(lambda x, m: F.relu(x) ** 2),
    "pow 3/2": lambda: vector(lambda x, m: F.relu(x) ** 1.5),
    "pow -1/2": lambda: vector(lambda x, m: x.abs() ** -0.5),
    "square": lambda: vector(lambda x, m: torch.square(x)),
    "neg": lambda: vector(lambda x, m: -x),
    "reciprocal": lambda: vector(lambda x, m: 1 / x + torch.reciprocal(x)),
    "clamp": lambda: vector(lambda x, m: x.clamp(min=0) + x.clamp(max=0.5) + x.clamp(-0.1, 0.2)),
    "hardtanh relu6": lambda: vector(lambda x, m: F.hardtanh(x) + F.relu6(x)),
    "sigmoid tanh": lambda: vector(lambda x, m: torch.sigmoid(x) * torch.tanh(x)),
    "gelu": lambda: vector(lambda x, m: F.gelu(x) + F.gelu(x, approximate="tanh")),
    "silu mish": lambda: vector(lambda x, m: F.silu(x) + F.mish(x)),
    "elu celu selu": lambda: vector(lambda x, m: F.elu(x, 0.5) + F.celu(x, 0.5) + F.selu(x)),
    "softplus": lambda: vector(lambda x, m: F.softplus(x, 2.0)),
    "hardswish hardsigmoid": lambda: vector(lambda x, m: F.hardswish(x) + F.hardsigmoid(x)),
    "dropout": lambda: vector(lambda x, m: F.dropout(x, 0.5, training=False).clone().contiguous()),
    "to": lambda: vector(lambda x, m: x.to(torch.float64).detach()),
    # sums and products
    "add": lambda: vector(lambda x, m: torch.add(x, F.relu(x), alpha=2)),
    "add, number": lambda: vector(lambda x, m: 1.5 + x),
    "add, constant": lambda: vector(lambda x, m: x + S),
    "add, parameter": lambda: vector(lambda x, m: m.p + x),
    "sub": lambda: vector(lambda x, m: x - F.relu(x)),
    "sub, parameter": lambda: vector(lambda x, m: x - m.p),
    "sub, from parameter": lambda: vector(lambda x, m: m.p - x),
    "rsub": lambda: vector(lambda x, m: 1.5 - x),
    "mul": lambda: vector(lambda x, m: x * F.relu(x) * x),
    "mul, constant": lambda: vector(lambda x, m: 3 * x * S),
    "mul, parameter": lambda: vector(lambda x, m: m.p * x),
    "mul, one column": lambda: rows(lambda x, m: x * m.q[:, :1].reshape(3)),
    "div": lambda: vector(lambda x, m: x / (x * x) / 3),
    "div, constant": lambda: vector(lambda x, m: x / S + S / x),
    "div, parameter": lambda: vector(lambda x, m: x / m.p + m.p / x),
    "maximum": lambda: vector(lambda x, m: torch.maximum(x, -x) + torch.minimum(x, 2 * x)),
    "maximum, number": lambda: vector(lambda x, m: torch.max(x, torch.tensor(0.0).double())),
    "masked_fill": lambda: vector(lambda x, m: x.masked_fill(S > 0, 0.0)),
    "tril triu": lambda: rows(lambda x, m: torch.tril(x[:, :3]) + torch.triu(x[:, 1:], 1)),
    # linear maps
    "linear": lambda: rows(lambda x, m: F.linear(x, m.r)),
    "linear, transposed": lambda: rows(lambda x, m: F.linear(x, m.q.t(), m.p)),
    "linear, constant": lambda: rows(lambda x, m: F.linear(x, S.double())),
    "addmm": lambda: vector(lambda x, m: torch.addmm(m.p, x, m.q, alpha=0.5, beta=2.0)),
    "matmul": lambda: rows(lambda x, m: x @ m.q + x @ m.r.T.matmul(m.r)),
    "matmul, from the left": lambda: rows(lambda x, m: m.r @ x.transpose(1, 2)),
    "matmul of two": lambda: rows(lambda x, m: x @ x.transpose(-1, -2) @ F.relu(x)),
    "bmm": lambda: rows(lambda x, m: torch.bmm(x, x.transpose(1, 2))),
    "baddbmm": lambda: rows(lambda x, m: torch.baddbmm(x, x @ x.transpose(1, 2), x, beta=0.5, alpha=2)),
    "einsum": lambda: rows(lambda x, m: torch.einsum("btd,bsd->bst", x, F.relu(x))),
    "conv1d": lambda: layer(nn.Conv1d(2, 3, 3, padding=1, stride=2), 2, 7),
    "conv2d, same": lambda: layer(nn.Conv2d(2, 4, (4, 3), padding="same", dilation=2, groups=2), 2, 9, 8),
    "conv3d": lambda: layer(nn.Conv3d(1, 2, 2, bias=False), 1, 3, 4, 3),
    "conv_transpose": lambda: layer(nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups=2), 2, 4, 5),
    "conv_transpose1d": lambda: layer(nn.ConvTranspose1d(2, 3, 3, dilation=2), 2, 5),
    # normalisation
    "batch_norm": lambda: layer(nn.BatchNorm2d(3), 3, 4, 4),
    "batch_norm, 1d": lambda: layer(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), 3),
    "batch_norm, plain": lambda: layer(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False)), 3),
    "layer_norm": lambda: layer(nn.LayerNorm(3), 4, 3),
    "layer_norm, no bias": lambda: layer(nn.LayerNorm((4, 3), bias=False), 4, 3),
    "layer_norm, plain": lambda: rows(lambda x, m: F.layer_norm(x, (3,))),
    "rms_norm": lambda: layer(nn.RMSNorm(3, eps=1e-3), 4, 3),
    "rms_norm, own": lambda: rows(lambda x, m: x * torch.rsqrt(x.pow(2).mean(-1, True) + 1e-3) * m.p),
    "group_norm": lambda: layer(nn.GroupNorm(2, 4), 4, 3, 3),
    "instance_norm": lambda: image(lambda x: F.instance_norm(x)),
    # pooling
    "max_pool": lambda: image(lambda x: F.max_pool2d(x, 3, 2, 1)),
    "max_pool, ceil": lambda: image(lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True, dilation=1)),
    "max_pool1d": lambda: image(lambda x: F.max_pool1d(x.flatten(2), 3)),
    "avg_pool": lambda: image(lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "avg_pool, uncounted": lambda: image(lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    "avg_pool, ceil": lambda: image(lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True)),
    "adaptive": lambda: image(lambda x: F.adaptive_avg_pool2d(x, (3, 2))),
    "adaptive, one": lambda: image(lambda x: F.adaptive_avg_pool2d(x, 1)),
    "adaptive max": lambda: image(lambda x: F.adaptive_max_pool2d(x, 2)),
    "mean sum": lambda: image(lambda x: x.mean((2, 3), keepdim=True) + x.sum(-1, keepdim=True)),
    "amax amin": lambda: image(lambda x: x.amax((2, 3)) + x.amin(-1).amin(-1)),
    "max.dim": lambda: image(lambda x: x.max(1).values + x.min(dim=1)[0]),
    # entries that move about
    "cat": lambda: rows(lambda x, m: torch.cat([x, F.relu(x)], -1)),
    "cat, parameter": lambda: rows(lambda x, m: torch.cat([m.p.expand(x.shape[0], 1, 3), x], 1)),
    "stack": lambda: rows(lambda x, m: torch.stack([x, -x], 1)),
    "split chunk": lambda: rows(
        lambda x, m: x.split([1, 2], -1)[1] * x.chunk(2, 1)[0][..., :1].repeat(1, 2, 1)
    ),
    "unbind": lambda: rows(lambda x, m: x.unbind(1)[2] + x.unbind(-1)[0][:, :3]),
    "slice": lambda: rows(lambda x, m: x[:, 1:4:2, -2:]),
    "select": lambda: rows(lambda x, m: x[:, -1]),
    "index": lambda: rows(lambda x, m: x[:, :, PICK] + x.index_select(2, PICK)),
    "narrow flip roll": lambda: rows(lambda x, m: x.narrow(1, 1, 3).flip(1, 2).roll(1, 2)),
    "repeat": lambda: rows(lambda x, m: x.repeat(1, 2, 1) + x.repeat_interleave(2, 1)),
    "view": lambda: rows(lambda x, m: x.view(x.shape[0], 2, 6).reshape(-1, 2, 2, 3).flatten(2)),
    "view, batch merged": lambda: rows(lambda x, m: F.relu(x.reshape(-1, 3) @ m.q).view(-1, 4, 3)),
    "squeeze": lambda: rows(lambda x, m: x.unsqueeze(1).unsqueeze(-1).squeeze(1).squeeze()),
    "permute": lambda: rows(lambda x, m: x.permute(0, 2, 1) + x.transpose(1, 2) * x.movedim(1, 2)),
    "batch moved": lambda: rows(lambda x, m: F.linear(x.transpose(0, 1), m.q, m.p)[1:].transpose(0, 1)),
    "expand": lambda: rows(lambda x, m: x[:, :1].expand(-1, 5, 3)),
    "pad": lambda: image(lambda x: F.pad(x, (1, 2, -1, 0)) + 1),
    "pad, value": lambda: image(lambda x: F.pad(x, (1, 2), value=2.0)),
    "pad, reflect": lambda: image(lambda x: F.pad(x, (1, 2, 2, 0), mode="reflect")),
    "pixel_shuffle": lambda: image(lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 3)),
    "channel_shuffle": lambda: image(lambda x: F.channel_shuffle(x, 2)),
    "upsample": lambda: image(lambda x: F.interpolate(x, scale_factor=2.0)),
}


@functools.cache
def read(name: str) -> tuple[Any, Any, Network]:
    module, shape = CASES[name]()
    module = module.double().eval()
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return module, x, load(module, x)


@pytest.mark.parametrize("name", CASES)
def test_a_module_means_what_pytorch_makes_of_it(name: str) -> None:
    module, x, network = read(name)
    assert [op.attributes["op_type"] for op in network.operations if op.kind == "unknown"] == []
    expected = module(x).detach().numpy()
    found = evaluate(network, {network.inputs[0]: x.numpy()})[network.outputs[0]]
    assert found.shape == expected.shape
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_rescaling_keeps_what_the_module_computes(name: str) -> None:
    module, x, network = read(name)
    manifold = infer(network)
    h = np.random.default_rng(0).uniform(-1, 1, manifold.count)
    other = torch_program.module_with(manifold.rescale(h), module)
    before, after = module(x), other(x)
    assert torch.allclose(before, after, rtol=1e-10, atol=1e-10 * float(before.detach().abs().max()))
