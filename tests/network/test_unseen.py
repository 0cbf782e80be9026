"""Biases that no output sees, against the outputs themselves: changing them changes nothing."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

from balproof.importers import load
from balproof.network import unseen
from balproof.network.evaluate import evaluate
from balproof.network.manifold import infer
from balproof.network.unseen import unseen_biases

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.torch


class Attention(nn.Module):
    """Two heads over four positions; what is done to queries and keys on their way can be chosen."""

    def __init__(self, *, turn: str = "", heads: int = 2, norm: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))
        self.o = nn.Linear(4, 2)
        self.turn, self.heads = turn, heads
        self.norm = nn.LayerNorm(2) if norm else nn.Identity()

    def forward(self, x: Any) -> Any:
        q, k, v = (f(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.turn == "positions":  # as rotary embeddings do: a factor for each position
            k = k * torch.arange(1.0, x.shape[1] + 1, dtype=x.dtype)[:, None]
        if self.turn == "relu":
            k = F.leaky_relu(k, 0.3)
        scores = self.norm(q) @ self.norm(k).transpose(-2, -1)
        weights = torch.softmax(scores, -2 if self.turn == "queries" else -1)
        return self.o((weights @ v).transpose(1, 2).flatten(2))


class Packed(nn.Module):
    """PyTorch's own attention: one tensor for the biases of queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.o = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.o(self.attend(x, x, x)[0])


def convolved(norm: Any) -> Any:
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


ROWS, IMAGE = (3, 4, 4), (3, 1, 4, 4)
KEYS, PACKED = {"k.bias": 4}, {"attend.in_proj_bias": 4}
MODELS = [
    ("keys", Attention(), ROWS, KEYS),
    ("one head", Attention(heads=1), ROWS, KEYS),
    ("keys by position", Attention(turn="positions"), ROWS, {}),
    ("keys through ReLU", Attention(turn="relu"), ROWS, {}),
    ("softmax over queries", Attention(turn="queries"), ROWS, {"q.bias": 4}),
    ("normalised keys", Attention(norm=True), ROWS, {}),
    ("packed", Packed(), ROWS, PACKED),
    ("batch statistics", convolved(nn.BatchNorm2d(4)).train(), IMAGE, {"0.bias": 4}),
    ("running statistics", convolved(nn.BatchNorm2d(4)).eval(), IMAGE, {}),
    ("instance", convolved(nn.InstanceNorm2d(4)), IMAGE, {"0.bias": 4}),
    ("group", convolved(nn.GroupNorm(2, 4)), IMAGE, {}),
    ("two of two", convolved(nn.GroupNorm(4, 4)), IMAGE, {"0.bias": 4}),
    ("layer", nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), ROWS, {}),
    ("root mean square", nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4), nn.Linear(4, 2)), ROWS, {}),
    (
        "padded on the way",  # zeros beside the bias: not alike in space
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.InstanceNorm2d(2)),
        IMAGE,
        {"1.bias": 2},
    ),
    (
        "not padded on the way",
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3), nn.InstanceNorm2d(2)),
        IMAGE,
        {"0.bias": 2, "1.bias": 2},
    ),
]


def with_random_weights(module: Any) -> Any:
    module = copy.deepcopy(module).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


@pytest.mark.parametrize(("name", "module", "shape", "expected"), MODELS, ids=[m[0] for m in MODELS])
def test_what_is_unseen_changes_nothing(name: str, module: Any, shape: Any, expected: Any) -> None:
    module = with_random_weights(module)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = load(module, x)
    found = unseen_biases(network)
    assert {k: int(v.sum()) for k, v in found.items()} == expected
    module.requires_grad_(False)
    before = module(x)
    for key, p in module.named_parameters():
        if key.endswith("bias"):
            for i in range(len(p)):
                p[i] += 1.0
                moved = float((module(x) - before).abs().max())
                p[i] -= 1.0
                claimed = bool(found.get(key, np.zeros(len(p), bool))[i])
                assert (moved < 1e-12) == claimed, (key, i, moved)  # complete on these, too


def test_an_unseen_bias_has_a_scale_of_its_own() -> None:
    module = with_random_weights(Packed())
    manifold = infer(load(module, torch.ones(1, 3, 4).double()))
    assert manifold.unseen == tuple(f"attend.in_proj_bias[{i}]" for i in (4, 5, 6, 7))
    assert {manifold.names[k] for k in manifold.endless} == set(manifold.unseen)
    h = np.random.default_rng(0).standard_normal(manifold.count)
    x = np.random.default_rng(1).standard_normal((2, 3, 4))
    one, two = (evaluate(n, {n.inputs[0]: x})[n.outputs[0]] for n in (manifold.network, manifold.rescale(h)))
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_what_is_used_elsewhere_is_seen() -> None:
    class Twice(Attention):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + self.k.bias[:2]

    found = unseen_biases(load(with_random_weights(Twice()), torch.ones(2, 3, 4).double()))
    assert found["k.bias"].tolist() == [False, False, True, True]


def test_following_stops_at_an_output() -> None:
    network = load(with_random_weights(Attention()), torch.ones(2, 3, 4).double())
    keys = next(op.output for op in network.operations if op.inputs[-1] == "k.bias")
    shown = dataclasses.replace(network, outputs=(*network.outputs, keys))
    assert set(unseen_biases(network)) == {"k.bias"} and unseen_biases(shown) == {}


def test_many_parts_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load(with_random_weights(Packed()), torch.ones(2, 3, 4).double())
    monkeypatch.setattr(unseen, "_PARTS", 2)
    assert unseen_biases(network) == {}
