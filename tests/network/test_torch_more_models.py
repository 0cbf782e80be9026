"""More of PyTorch: recurrent layers, computed parameters, choices by a constant, interpolation.

The scales are counted, and the functions compared, as in ``test_torch_models.py``; files that PyTorch exports
to ONNX are compared with onnxruntime as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balproof.importers import load
from balproof.network.evaluate import can_run, evaluate
from balproof.network.manifold import infer

torch = pytest.importorskip("torch")
pytest.importorskip("torch.nn.attention")

from tests.network.test_torch_models import numerical_free_scales, randomised, sample  # noqa: E402
from tests.sweeps import slow_but  # noqa: E402

nn, F = torch.nn, torch.nn.functional

pytestmark = [
    pytest.mark.torch,
    # PyTorch's own, about what is slow in it:
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented"),
]

TIMES, IMAGE, ROW = torch.zeros(1, 4, 2), torch.zeros(1, 2, 4, 5), torch.zeros(1, 3)


class Mean(nn.Module):
    """The mean over time of a recurrent layer, through a dense layer."""

    def __init__(self, layer: Any, n: int, *, start: bool = False) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(n, 2)
        self.start = nn.Parameter(torch.zeros(1, 1, n)) if start else None

    def forward(self, x: Any) -> Any:
        if self.start is None:
            return self.head(self.layer(x)[0]).mean(1)
        return self.head(self.layer(x, self.start.expand(-1, x.shape[0], -1))[0]).mean(1)


def over_time(kind: Any, *more: Any, n: int, **options: Any) -> tuple[Callable[[], Any], Any]:
    return lambda: Mean(kind(2, 3, *more, batch_first=True, **options), n), TIMES


# Name → module and example input, free scales by hand.
RECURRENT: dict[str, tuple[tuple[Callable[[], Any], Any], int]] = {
    "RNN, ReLU": (over_time(nn.RNN, n=3, nonlinearity="relu"), 3),
    "RNN, ReLU, no bias": (over_time(nn.RNN, n=3, nonlinearity="relu", bias=False), 3),
    "RNN, ReLU, deep": (over_time(nn.RNN, 2, n=6, nonlinearity="relu", bidirectional=True), 12),
    "RNN, tanh": (over_time(nn.RNN, n=3), 0),
    "LSTM": (over_time(nn.LSTM, n=3), 0),
    "LSTM, both ways": (over_time(nn.LSTM, n=6, bidirectional=True), 0),
    "LSTM, projected": (over_time(nn.LSTM, n=2, proj_size=2), 2),
    "LSTM, projected, deep": (over_time(nn.LSTM, 2, n=4, proj_size=2, bidirectional=True), 8),
    "GRU": (over_time(nn.GRU, n=3), 0),
    "GRU, both ways": (over_time(nn.GRU, n=6, bidirectional=True), 0),
    "RNN, a start that is learned": (
        (lambda: Mean(nn.RNN(2, 3, nonlinearity="relu", batch_first=True), 3, start=True), TIMES),
        3,
    ),
}


class Between(nn.Module):
    """A layer, a function of its result and of a parameter p of 5 × 3, and a last layer."""

    def __init__(self, function: Callable[..., Any], n: int = 3) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(n, 2)
        self.p = nn.Parameter(torch.zeros(5, 3))
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.last(self.function(self.first(x), self.p))


class Images(nn.Module):
    """The same between convolutions."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.last(self.function(F.relu(self.first(x))))


class Stack(nn.Module):
    """A batch of matrices as one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(2, 3, 2)), nn.Parameter(torch.zeros(2, 2, 2))

    def forward(self, x: Any) -> Any:
        return (F.relu(x[:, None, None] @ self.a) @ self.b).sum(1)[:, 0]


KEEP = torch.tensor([True, False, True])


def either(x: Any, y: Any) -> Any:
    """Some of one and the rest of the other, both ways, so that nothing is dead."""
    return torch.cat([torch.where(KEEP, x, y), torch.where(KEEP, y, x)], 1)


def beside(x: Any, y: Any) -> Any:
    return torch.cat([F.relu(x), y], 1)


def upsampled(convolution: Any, n: int, layer: Any) -> Any:
    return nn.Sequential(convolution(n, 3, 1), nn.ReLU(), layer, convolution(3, 2, 1))


def two(p: Any) -> Any:
    """6 × 3 of all that p has."""
    return torch.cat([p, p[:1]])


def row(function: Callable[..., Any], n: int = 3) -> tuple[Callable[[], Any], Any]:
    return lambda: Between(function, n), ROW


def image(**options: Any) -> tuple[Callable[[], Any], Any]:
    return lambda: Images(lambda x: F.interpolate(x, **options)), IMAGE


OTHERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "where": row(lambda x, p: either(F.relu(x), (x @ p[:3] + p[3]) * p[4]), 6),
    "where, a number": row(lambda x, p: beside(x, torch.where(KEEP, F.relu(x), 2.0)) @ two(p)),
    "masked_fill": row(lambda x, p: beside(x, x.masked_fill(KEEP, 3.0)) @ two(p)),
    "masked_fill with 0": row(lambda x, p: F.relu(x + x.masked_fill(KEEP, 0.0)) @ p[:3] + p[3] * p[4]),
    "a slice": row(lambda x, p: F.relu(x * p[0] + p[-1]) @ p[1:4]),
    "joined": row(lambda x, p: F.relu(x @ torch.cat([p[:1], p[3:]], 0)) * p[1] + p[2]),
    "stacked": row(lambda x, p: F.relu(x @ torch.stack([p[0], p[1], p[2]])) * p[3] + p[4]),
    "an index": row(lambda x, p: F.relu(x @ p[torch.tensor([-1, 0, 2])]) * p[1] + p[3]),
    "a sum": row(lambda x, p: F.relu(x * (p[0] + p[1])) * (p[2] * p[3]) + p[4]),
    "repeated": row(lambda x, p: beside(x, p[:1].expand(x.shape[0], -1)) * p[1:3].flatten(), 6),
    "a stack": (Stack, ROW),
    "linear": (
        lambda: upsampled(nn.Conv1d, 2, nn.Upsample(scale_factor=1.5, mode="linear")),
        torch.zeros(1, 2, 5),
    ),
    "bilinear": image(scale_factor=2, mode="bilinear"),
    "bilinear, corners": image(scale_factor=(1.7, 2.4), mode="bilinear", align_corners=True),
    "bilinear, smaller": image(size=(3, 2), mode="bilinear"),
    "bilinear, smooth": image(size=(3, 2), mode="bilinear", antialias=True),
    "bicubic": image(scale_factor=1.7, mode="bicubic"),
    "nearest": image(scale_factor=2),
    "nearest, not whole": image(scale_factor=(1.7, 2.3)),
    "nearest, smaller": image(size=(3, 2)),
    "nearest, exact": image(size=(7, 3), mode="nearest-exact"),
    "trilinear": (
        lambda: upsampled(nn.Conv3d, 1, nn.Upsample(scale_factor=2, mode="trilinear")),
        torch.zeros(1, 1, 2, 3, 2),
    ),
}  # fmt: skip
ALL = {**{name: case for name, (case, _) in RECURRENT.items()}, **OTHERS}


# Both ways and two layers deep are in "RNN, ReLU, deep", too; projections and gates in "LSTM, projected".
LONG = {"LSTM", "LSTM, projected, deep", "LSTM, both ways", "GRU, both ways"}


@pytest.mark.parametrize("name", slow_but(ALL, *(name for name in ALL if name not in LONG)))
def test_the_function_and_the_number_of_scales(name: str) -> None:
    make, example = ALL[name]
    torch.manual_seed(0)
    plain = make().eval()
    module, x = randomised(plain, 0), sample(example, 3, 1)
    network = load(module, example.double())
    assert can_run(network)
    found = evaluate(network, {network.inputs[0]: x.numpy()})[network.outputs[0]]
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-9, atol=1e-9)
    expected = numerical_free_scales(plain, example)
    assert infer(network).free_scales == expected
    assert RECURRENT.get(name, (None, expected))[1] == expected
    manifold = infer(network)
    rescaled = manifold.rescale(np.random.default_rng(0).uniform(-1, 1, manifold.count))
    after = evaluate(rescaled, {network.inputs[0]: x.numpy()})[network.outputs[0]]
    np.testing.assert_allclose(after, found, rtol=1e-9, atol=1e-9)


def test_a_choice_by_the_data_pins() -> None:
    module = randomised(Between(lambda x, p: torch.where(x > 0, x, 0 * x)), 0)
    network = load(module, ROW.double())
    assert "unknown" in {op.kind for op in network.operations}
    assert infer(network).free_scales == 0


def test_infinity_in_the_place_of_some_entries_pins() -> None:
    module = randomised(Between(lambda x, p: torch.softmax(x.masked_fill(KEEP, -torch.inf), -1)), 0)
    assert all(not u.free or u.name.startswith("last") for u in infer(load(module, ROW.double())).units)


# --- exported to ONNX -----------------------------------------------------------------------------------

EXPORTED = [name for name in RECURRENT if "projected" not in name]  # which ONNX has not


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True], ids=["traced", "dynamo"])
@pytest.mark.parametrize("name", [*EXPORTED, "bilinear", "bilinear, smaller", "nearest"])
def test_exported_to_onnx(name: str, dynamo: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.importers.models import verified

    make, example = ALL[name]
    torch.manual_seed(0)
    plain = make().eval()
    module, x = randomised(plain, 0).float(), sample(example, 3, 1).float()
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about itself, while it exports
        if dynamo:
            batch = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                module, (x,), path, dynamo=True, dynamic_shapes=batch, opset_version=18, verbose=False
            )
        else:
            axes = {"x": {0: "batch"}}
            torch.onnx.export(
                module, (x,), path, dynamo=False, dynamic_axes=axes, input_names=["x"], opset_version=17
            )
    manifold = verified(path, x.numpy())
    assert can_run(manifold.network)
    assert manifold.free_scales == numerical_free_scales(plain, example)
