"""Models of PyTorch, and their export to ONNX. Imported where PyTorch is installed."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(d) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    """Pre-norm: grouped-query attention (4 heads of queries, 2 of keys and values), then SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(8), nn.LayerNorm(8)
        self.q, self.k, self.v, self.o = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(8, 8)
        self.up, self.gate = nn.Linear(8, 12, bias=False), nn.Linear(8, 12, bias=False)
        self.down = nn.Linear(12, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(b, t, -1, 2).transpose(1, 2) for f in (self.q, self.k, self.v))
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        a = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, 8))
        h = self.norm2(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class GroupNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.norm = nn.GroupNorm(2, 4)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x)))).mean((2, 3))


class Encoder(nn.Module):
    """As vision transformers: patches, a token for the class, PyTorch's own layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 3)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True)
        for value in self.layer.parameters():  # equal ones would be stored once, and tied
            nn.init.normal_(value)

    def forward(self, x: Tensor) -> Tensor:
        z = self.patches(x).flatten(2).transpose(1, 2)
        z = torch.cat([self.token.expand(z.shape[0], -1, -1), z], 1) + self.places
        return self.head(self.layer(z)[:, 0])


MODELS = {
    "block": (Block, (2, 5, 8)),
    "encoder": (Encoder, (2, 3, 8, 8)),
    "groupnorm": (GroupNet, (2, 3, 6, 6)),
}


def export(name: str, path: Path, dynamo: bool) -> np.ndarray:
    """Write a model with random weights; returns an input."""
    torch.manual_seed(0)
    make, shape = MODELS[name]
    network, x = make().eval(), torch.randn(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about itself, while it exports
        if dynamo:
            batch = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                network, (x,), path, dynamo=True, dynamic_shapes=batch, opset_version=18, verbose=False
            )
        else:
            axes = {"x": {0: "batch"}}
            torch.onnx.export(
                network, (x,), path, dynamo=False, dynamic_axes=axes, input_names=["x"], opset_version=17
            )
    return x.numpy()
