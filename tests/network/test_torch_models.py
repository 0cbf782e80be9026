"""Architectures made with PyTorch: the scales that are found are those that there are.

How many there are is counted without any scaling rule (the null space of the Jacobian of the outputs in the
log-scales of weights and buffers, by PyTorch's own derivatives), and a random rescaling leaves the outputs
of the module itself as they were.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from balproof.importers import load
from balproof.network import rules
from balproof.network.evaluate import evaluate
from balproof.network.manifold import Manifold, infer
from balproof.network.rules_norm import without_epsilon
from tests.sweeps import slow_but

torch = pytest.importorskip("torch")
pytest.importorskip("torch.nn.attention")
nn, F = torch.nn, torch.nn.functional
sdpa_kernel, SDPBackend = torch.nn.attention.sdpa_kernel, torch.nn.attention.SDPBackend

pytestmark = pytest.mark.torch

torch.set_num_threads(1)  # all of this is small


def randomised(module: Any, seed: int) -> Any:
    """A copy in float64 with random weights and statistics."""
    module = copy.deepcopy(module).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64))
        for name, value in module.named_buffers():
            if name.endswith("running_var"):
                value.copy_(value.abs() + 0.1)
    return module.eval()


def sample(example: Any, count: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(1000 + seed)
    if example.is_floating_point():
        return 3 * torch.randn(count, *example.shape[1:], generator=generator, dtype=torch.float64)
    return torch.randint(0, 5, (count, *example.shape[1:]), generator=generator)


def numerical_free_scales(module: Any, example: Any, *, trials: int = 6) -> int:
    """The dimension of the rescalings of the learned weights that keep the outputs, buffers following.

    A rescaling is one for all weights, so it is in the null space at every choice of them: the Jacobians
    at several stand under one another. (At one choice there are more: two biases of one neuron can
    make up for one another, and a dead unit can do anything.)
    """
    columns = sum(v.numel() for v in (*module.parameters(), *module.buffers()))
    rows = 20 + 5 * columns // (4 * trials)
    points = 30 + rows // module(example).numel()
    with pytest.MonkeyPatch.context() as patch, sdpa_kernel(SDPBackend.MATH):
        patch.setattr(F, "batch_norm", batch_norm)
        found = [
            _jacobian(randomised(module, seed), sample(example, points, seed), rows) for seed in range(trials)
        ]
    stacked = {name: torch.cat([parts[name] for parts in found]) for name in found[0]}
    buffers = [v for name, v in stacked.items() if "running" in name]
    return _null(torch.cat(list(stacked.values()), 1)) - (_null(torch.cat(buffers, 1)) if buffers else 0)


def batch_norm(x: Any, mean: Any, var: Any, weight: Any, bias: Any, *rest: Any) -> Any:
    """By its definition, since PyTorch has no derivatives in the mean and the variance."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    mean, var, weight, bias = (v.reshape(shape) for v in (mean, var, weight, bias))
    return (x - mean) / torch.sqrt(var + rest[-1]) * weight + bias


def _jacobian(module: Any, x: Any, rows: int) -> dict[str, Any]:
    """Derivatives of the outputs (or as many mixtures of them as will do) in the log-scales."""
    scaled = {n: p.detach() for n, p in module.named_parameters()}
    scaled |= {n: b for n, b in module.named_buffers() if b.is_floating_point() and "running" in n}
    rest = {n: b for n, b in module.named_buffers() if n not in scaled}
    zero = {n: torch.zeros_like(v) for n, v in scaled.items()}
    size = module(x).numel()
    generator = torch.Generator().manual_seed(7)
    mix = torch.randn(rows, size, generator=generator, dtype=torch.float64) / size**0.5

    def outputs(logs: dict[str, Any]) -> Any:
        values = {n: v * torch.exp(logs[n]) for n, v in scaled.items()}
        return mix @ torch.func.functional_call(module, {**values, **rest}, (x,)).reshape(-1)

    return {n: j.reshape(rows, -1).detach() for n, j in torch.func.jacrev(outputs)(zero).items()}


def _null(matrix: Any) -> int:
    singular = torch.linalg.svdvals(matrix)
    return matrix.shape[1] - int((singular > 1e-9 * singular[0]).sum())


# --- modules --------------------------------------------------------------------------------------------


class Sequential(nn.Sequential):
    """Layers one after another."""


class Residual(nn.Module):
    """x + body(x), through a shortcut if there is one."""

    def __init__(self, body: Any, shortcut: Any = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Any) -> Any:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


def conv_bn(i: int, o: int, k: int = 3, **more: Any) -> Any:
    return nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2, bias=False, **more), nn.BatchNorm2d(o))


def basic_block(i: int, o: int) -> Any:
    shortcut = conv_bn(i, o, 1) if i != o else None
    return nn.Sequential(
        Residual(nn.Sequential(conv_bn(i, o), nn.ReLU(inplace=True), conv_bn(o, o)), shortcut),
        nn.ReLU(inplace=True),
    )


def resnet() -> Any:
    return nn.Sequential(
        conv_bn(1, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        basic_block(2, 2),
        basic_block(2, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    )


def bottleneck() -> Any:
    body = nn.Sequential(conv_bn(4, 2, 1), nn.ReLU(), conv_bn(2, 2), nn.ReLU(), conv_bn(2, 4, 1))
    return nn.Sequential(
        conv_bn(2, 4, 1),
        nn.ReLU(),
        Residual(body),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def separable() -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 4, 1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 3, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    )


class UNet(nn.Module):
    """Down, up by a transposed convolution, and the skipped channels beside."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 2, 3, padding=1)
        self.deep = nn.Conv2d(2, 3, 3, padding=1)
        self.up = nn.ConvTranspose2d(3, 2, 2, 2)
        self.out = nn.Conv2d(4, 2, 3, padding=1)
        self.head = nn.Conv2d(2, 1, 1)

    def forward(self, x: Any) -> Any:
        skip = F.relu(self.down(x))
        deep = F.relu(self.deep(F.max_pool2d(skip, 2)))
        return self.head(F.relu(self.out(torch.cat([skip, F.relu(self.up(deep))], 1))))


class Transformer(nn.Module):
    """A pre-norm block: attention with grouped heads, and an MLP with ReLU² or a gate."""

    def __init__(self, *, gated: bool, eps: float = 1e-5) -> None:
        super().__init__()
        d, self.heads, self.groups, self.width = 4, 2, 1, 2
        self.embed = nn.Embedding(5, d)
        self.n1, self.n2, self.n3 = (nn.LayerNorm(d, eps=eps) for _ in range(3))
        self.q = nn.Linear(d, self.heads * self.width, bias=False)
        self.k = nn.Linear(d, self.groups * self.width, bias=False)
        self.v = nn.Linear(d, self.groups * self.width, bias=False)
        self.o = nn.Linear(self.heads * self.width, d, bias=False)
        self.w1 = nn.Linear(d, 3, bias=False)
        self.w2 = nn.Linear(3, d)
        self.gate = nn.Linear(d, 3, bias=False) if gated else None
        self.head = nn.Linear(d, 3)

    def split(self, x: Any, heads: int) -> Any:
        return x.view(x.shape[0], x.shape[1], heads, self.width).transpose(1, 2)

    def forward(self, ids: Any) -> Any:
        x = self.embed(ids)
        n = self.n1(x)
        q, k, v = (
            self.split(self.q(n), self.heads),
            *(self.split(w(n), self.groups) for w in (self.k, self.v)),
        )
        k, v = (t.repeat_interleave(self.heads // self.groups, 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))
        n = self.n2(x)
        h = F.relu(self.w1(n)) ** 2 if self.gate is None else F.silu(self.gate(n)) * self.w1(n)
        return self.head(self.n3(x + self.w2(h)))


class Rotary(nn.Module):
    """Queries and keys turned in pairs, and softmax written out."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(4, 4, bias=False) for _ in range(4))
        angle = torch.arange(3.0)[:, None] * torch.tensor([1.0, 0.1])
        self.register_buffer("cos", torch.cos(angle).repeat(1, 2))
        self.register_buffer("sin", torch.sin(angle).repeat(1, 2))

    def turn(self, x: Any) -> Any:
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def forward(self, x: Any) -> Any:
        q, k = self.turn(self.q(x)), self.turn(self.k(x))
        return self.o(torch.softmax(q @ k.transpose(-2, -1) / 2, -1) @ self.v(x))


class Heads(nn.Module):
    """PyTorch's own attention, which may put the batch second."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.attention = nn.MultiheadAttention(4, 2, bias=False, batch_first=batch_first)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        x = x if self.batch_first else x.transpose(0, 1)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x if self.batch_first else x.transpose(0, 1))


class Vision(nn.Module):
    """Patches, a token of its own in front, learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 3, 2, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, 3))
        self.places = nn.Embedding(5, 3)
        self.mlp = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places(torch.arange(5))
        return self.mlp(F.relu(x + x.mean(1, keepdim=True))).mean(1)


class Autoencoder(nn.Module):
    """The decoder is the encoder transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 3)
        self.inner = nn.Linear(3, 3)
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: Any) -> Any:
        h = F.relu(self.inner(F.relu(self.encoder(x))))
        return F.linear(h, self.encoder.weight.t(), self.bias)


class Twice(nn.Module):
    """One layer called two times in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.first(x))
        return self.last(F.relu(self.shared(F.relu(self.shared(x)))))


class Recurrent(nn.Module):
    """An RNN with ReLU over 5 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(2, 3, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0][:, -1])


class Dense(nn.Module):
    """Every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 + 2 * i, 2) for i in range(3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return self.head(x)


class Branches(nn.Module):
    """GELU in one branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.head(F.relu(self.c(F.relu(self.a(x)))) + F.gelu(self.b(x)))


class Square(nn.Module):
    def forward(self, x: Any) -> Any:
        return F.relu(x) ** 2


class Embedded(nn.Module):
    """A look-up table that is the last layer too, and learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(5, 3), nn.Linear(3, 3)
        self.place = nn.Parameter(torch.zeros(1, 4, 3))

    def forward(self, ids: Any) -> Any:
        x = self.table(ids) + self.place
        return F.linear(F.relu(self.inner(F.relu(x))), self.table.weight)


def relu_mlp() -> Any:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.LeakyReLU(), nn.Linear(3, 2))


def convnet() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 2, 1),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * 4, 2),
    )


def grouped() -> Any:
    return nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4, eps=0.0), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )


def degree_two() -> Any:
    return nn.Sequential(nn.Linear(3, 3), Square(), nn.Linear(3, 2), Square(), nn.Linear(2, 2))


IMAGE = torch.zeros(1, 1, 6, 6)
IDS = torch.zeros(1, 3, dtype=torch.int64)

# Name → module, example input, free scales by hand where a hand can count them.
MODELS: dict[str, tuple[Callable[[], Any], Any, int | None]] = {
    "mlp": (relu_mlp, torch.zeros(1, 3), 7),
    "convnet": (convnet, IMAGE, 10),
    "resnet": (resnet, IMAGE, None),
    "bottleneck": (bottleneck, torch.zeros(1, 2, 4, 4), None),
    "separable": (separable, torch.zeros(1, 2, 5, 5), 15),
    "unet": (UNet, torch.zeros(1, 1, 4, 4), 9),
    "transformer, ReLU²": (lambda: Transformer(gated=False), IDS, None),
    "transformer, SwiGLU": (lambda: Transformer(gated=True), IDS, None),
    "transformer, ε = 0": (lambda: Transformer(gated=False, eps=0.0), IDS, None),
    "rotary": (Rotary, torch.zeros(1, 3, 4), None),
    "heads": (lambda: Heads(batch_first=True), torch.zeros(1, 3, 4), None),
    "heads, batch second": (lambda: Heads(batch_first=False), torch.zeros(1, 3, 4), None),
    "vision": (Vision, torch.zeros(1, 1, 4, 4), None),
    "autoencoder": (Autoencoder, torch.zeros(1, 4), None),
    "twice": (Twice, torch.zeros(1, 2), 3),
    "rnn": (Recurrent, torch.zeros(1, 5, 2), 3),
    "dense": (Dense, torch.zeros(1, 2), 6),
    "branches": (Branches, torch.zeros(1, 2), 3),
    "degree 2": (degree_two, torch.zeros(1, 3), 5),
    "group norm": (grouped, torch.zeros(1, 2, 5), None),
    "tied embedding": (Embedded, torch.zeros(1, 4, dtype=torch.int64), None),
}


@functools.cache
def exported(name: str) -> tuple[Any, Any, Manifold]:
    """A module, the same at random weights, and their manifold, once for the tests that read them."""
    make, example, _ = MODELS[name]
    torch.manual_seed(0)
    plain = make().eval()
    module = randomised(plain, 1)
    return plain, module, infer(load(module, _double(example)))


@pytest.mark.parametrize("name", slow_but(MODELS, *(n for n in MODELS if n != "resnet")))
def test_free_scales_are_those_that_there_are(name: str) -> None:
    _, example, by_hand = MODELS[name]
    plain, _, manifold = exported(name)
    found = numerical_free_scales(plain, example)
    assert manifold.free_scales == found
    assert by_hand in (None, found)


@pytest.mark.parametrize("name", MODELS)
def test_a_rescaling_keeps_the_function_of_the_module(name: str) -> None:
    _, module, manifold = exported(name)
    _keeps(manifold, module, sample(MODELS[name][1], 8, 2))


def _keeps(manifold: Manifold, module: Any, x: Any) -> None:
    from balproof.importers.torch_program import module_with

    h = np.random.default_rng(0).uniform(-1, 1, manifold.count)
    other = module_with(manifold.rescale(h), module)
    with torch.no_grad():
        before, after = module(x), other(x)
    assert torch.allclose(before, after, rtol=1e-10, atol=1e-10 * float(before.detach().abs().max()))
    changed = any(not torch.equal(p, q) for p, q in zip(module.parameters(), other.parameters(), strict=True))
    assert changed == (manifold.free_scales > 0)


def test_a_sum_without_its_equations_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    one_sided = dataclasses.replace(
        rules.RULES["add"],
        imply=lambda op, tensors, scales, new: rules.Implication(scales[op.inputs[0]]),
    )
    monkeypatch.setattr(rules, "RULES", MappingProxyType({**rules.RULES, "add": one_sided}))
    module = randomised(resnet(), 1)
    manifold = infer(load(module, IMAGE.double()))
    assert manifold.free_scales > numerical_free_scales(module, IMAGE.double())
    with pytest.raises(AssertionError):
        _keeps(manifold, module, sample(IMAGE, 8, 2))


RUN = ["mlp", "convnet", "resnet", "unet", "twice", "rnn", "dense", "vision", "tied embedding"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The tensor attributes self.rnn")  # PyTorch's, when it exports its RNN
@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("batch", [2, None], ids=["two", "any"])
def test_programs_of_any_batch(name: str, batch: int | None, tmp_path: Path) -> None:
    make, example, _ = MODELS[name]
    torch.manual_seed(0)
    module = randomised(make(), 1)
    x = sample(example, 2, 2)
    if (name, batch) == ("rnn", 2):
        pytest.skip("zeros as long as a fixed batch pin: they may differ along it")
    shapes = None if batch else ({0: torch.export.Dim("batch", max=64)},)
    program = torch.export.export(module, (x,), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "m.pt2")
    network = load(tmp_path / "m.pt2")
    found = evaluate(network, {network.inputs[0]: x.numpy()})[network.outputs[0]]
    expected = module(x).detach().numpy()
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    assert infer(network).free_scales == infer(load(module, _double(example))).free_scales


@pytest.mark.parametrize(("kind", "free"), [("LSTM", 0), ("GRU", 0)])
def test_gates_keep_the_scales_of_a_recurrent_cell(kind: str, free: int) -> None:
    module = getattr(nn, kind)(2, 3, batch_first=True).double().eval()
    assert infer(load(module, torch.zeros(1, 3, 2).double())).free_scales == free


def _double(example: Any) -> Any:
    return example.double() if example.is_floating_point() else example


def in_training(*, track: bool, seed: int = 0) -> Any:
    norms = [nn.BatchNorm2d(n, track_running_stats=track) for n in (4, 3)]
    module = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), norms[0], nn.ReLU(), nn.Conv2d(4, 3, 1), norms[1], nn.ReLU()),
        *(nn.Flatten(), nn.Linear(12, 2)),
    )
    torch.manual_seed(seed)
    for p in module.parameters():
        nn.init.normal_(p)
    return module.train()


def export(module: Any, x: Any, path: Path) -> None:
    mode = torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about itself, while it exports
        torch.onnx.export(
            module, (x,), path, dynamo=False, opset_version=17, training=mode, do_constant_folding=False
        )


ONNX_TOO = [name for name in MODELS if name != "transformer, ε = 0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ONNX_TOO)
def test_an_onnx_file_has_the_same_scales(name: str, tmp_path: Path) -> None:
    make, example, _ = MODELS[name]
    torch.manual_seed(0)
    module = make().eval()
    small = randomised(module, 1).float()
    x = sample(example, 1, 2)
    x = x.float() if x.is_floating_point() else x
    export(small, x, tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    assert infer(network).free_scales == numerical_free_scales(module, example)
    found, expected = evaluate(network, {network.inputs[0]: x.numpy()}), small(x).detach().numpy()
    assert np.allclose(found[network.outputs[0]], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_statistics_of_the_batch(tmp_path: Path) -> None:
    module, x = in_training(track=True), torch.randn(4, 1, 4, 4)
    export(module, x, tmp_path / "m.onnx")
    networks = load(module, x), load(tmp_path / "m.onnx")
    # PyTorch has no derivatives through running statistics.
    plain, *others = (in_training(track=False, seed=seed).double() for seed in range(6))
    batches = [_jacobian(m, torch.randn(4, 1, 4, 4).double(), 8) for m in (plain, *others) for _ in range(20)]
    seen_through = _null(torch.cat([torch.cat(list(rows.values()), 1) for rows in batches]))
    for network in networks:
        manifold = infer(network)
        # behind each normalisation a scale for each channel, and the biases before it, which it does not see
        assert manifold.free_scales == 7 + 7 == seen_through
        assert set(manifold.unseen) == {f"0.bias[{i}]" for i in range(4)} | {f"3.bias[{i}]" for i in range(3)}
        found = evaluate(network, {network.inputs[0]: x.numpy()})[network.outputs[0]]
        expected = plain(x.double()).detach().numpy()
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    without = infer(without_epsilon(networks[0])[0])
    assert without.free_scales == 14 + 7  # and one for each channel before, of degree 0
    before = {f"0[{i}]" for i in range(4)} | {f"3[{i}]" for i in range(3)}
    assert {without.names[k] for k in without.endless} == before | set(without.unseen)
    assert without.dead_units == ()
