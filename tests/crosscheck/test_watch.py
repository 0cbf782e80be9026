"""Watched runs of PyTorch's own optimizers keep their books; faults in subclasses and loops are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import balproof
from balproof.crosscheck.drift import TrainingReport
from balproof.errors import RequestError
from tests.sweeps import crossed

pytestmark = pytest.mark.torch
torch: Any = pytest.importorskip("torch")

Make = Callable[[Any], Any]


def perceptron(dtype: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.LeakyReLU(0.1), nn.Linear(6, 3)).to(
        dtype
    )


def train(
    make: Make,
    *,
    dtype: Any = None,
    steps: int = 30,
    model: Any = None,
    before: Make | None = None,
    loss: Make | None = None,
    closure: bool = False,
    warm: int = 0,
    **watching: Any,
) -> TrainingReport:
    """A run in PyTorch. ``before`` meddles with the module before each step, ``loss`` adds to the loss."""
    torch.manual_seed(3)
    dtype = dtype or torch.float64
    module = (model or perceptron)(dtype)
    optimizer = make(module)
    x, y = torch.randn(64, 5, dtype=dtype), torch.randn(64, 3, dtype=dtype)

    def step() -> None:
        chosen = torch.randint(0, 64, (16,))

        def backward() -> Any:
            optimizer.zero_grad()
            value = ((module(x[chosen]) - y[chosen]) ** 2).mean()
            value = value + (loss(module) if loss else 0.0)
            value.backward()
            if before:
                before(module)
            return value

        if closure:
            optimizer.step(backward)
        else:
            backward()
            optimizer.step()

    for _ in range(warm):
        step()
    with balproof.torch.watch(module, optimizer, example_inputs=x[:1], **watching) as run:
        for _ in range(steps):
            step()
    step()  # no longer watched
    report = run.report()
    assert report.steps == steps
    return report


def sgd(**settings: Any) -> Make:
    return lambda module: torch.optim.SGD(module.parameters(), 0.05, **settings)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay": {"weight_decay": 0.02},
    "heavy ball": {"momentum": 0.9, "weight_decay": 0.02},
    "dampened": {"momentum": 0.9, "dampening": 0.4},
    "Nesterov": {"momentum": 0.9, "weight_decay": 0.02, "nesterov": True},
    "one by one": {"momentum": 0.9, "weight_decay": 0.02, "foreach": False},
    "fused": {"momentum": 0.9, "weight_decay": 0.02, "fused": True},
}


@pytest.mark.parametrize("name, dtype", crossed(SETTINGS, ["float32", "float64"]))
def test_pytorchs_own_steps_keep_their_books(name: str, dtype: str) -> None:
    report = train(sgd(**SETTINGS[name]), dtype=getattr(torch, dtype))
    assert report.status == "holds" and report.ok, report.as_text()
    assert len(report.units) == 14 and all(u.law for u in report.units)


def test_maximize_closures_and_runs_that_go_on() -> None:
    up = train(lambda m: torch.optim.SGD(m.parameters(), 1e-3, momentum=0.9, maximize=True))
    assert up.ok, up.as_text()
    assert train(sgd(momentum=0.9), closure=True).ok
    later = train(sgd(momentum=0.9, nesterov=True), warm=3)
    assert later.ok and "not known" in later.notes[0]


def test_groups_and_schedules_are_followed() -> None:
    def grouped(module: Any) -> Any:
        weights = [p for p in module.parameters() if p.ndim > 1]
        biases = [p for p in module.parameters() if p.ndim == 1]
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases}]
        optimizer = torch.optim.SGD(groups, 0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        optimizer.register_step_post_hook(lambda *_: schedule.step())
        return optimizer

    report = train(grouped)
    assert report.ok and all(u.law for u in report.units), report.as_text()
    assert report.optimizer.startswith("SGD, rate 0.05, momentum 0.9, decay 0.1 to SGD")


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop"])
def test_adam_has_no_law(name: str) -> None:
    make = getattr(torch.optim, name)
    report = train(lambda m: make(m.parameters(), 0.01, weight_decay=0.01))
    assert report.status == "no-law" and report.ok and report.optimizer == name
    wrong = train(lambda m: make(m.parameters(), 0.01), before=lambda m: m[2].weight.grad.mul_(3))
    assert [(f.kind, f.where, f.size) for f in wrong.faults] == [
        ("wrong-gradient", "2.weight", pytest.approx(3.0))
    ]


class Recurrent(torch.nn.Module):
    """The same layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = (
            torch.nn.Linear(5, 4),
            torch.nn.Linear(4, 4),
            torch.nn.Linear(4, 3),
        )

    def forward(self, x: Any) -> Any:
        h = torch.relu(self.first(x))
        for _ in range(2):
            h = h + torch.relu(self.again(h))
        return self.last(h)


def test_tied_layers_with_skips() -> None:
    report = train(sgd(momentum=0.5), model=lambda dtype: Recurrent().to(dtype))
    assert report.ok and len(report.units) >= 1 and all(u.law for u in report.units)


def test_convolutions_and_statistics_of_batches() -> None:
    def images(dtype: Any) -> Any:
        nn = torch.nn
        return nn.Sequential(
            *(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 1, bias=False)),
            *(nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)),
        ).to(dtype)

    for dtype in (torch.float32, torch.float64):
        report = train(sgd(momentum=0.9, weight_decay=0.01), dtype=dtype, model=images)
        assert report.ok and report.status == "holds", report.as_text()
        assert len(report.units) == 8 and all(u.law for u in report.units)


# --- faults -------------------------------------------------------------------------------------------


class Clips(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, 0.3)
        return super().step(closure)


class Decays(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(1 - 0.004 * group["lr"])
        return super().step(closure)


class Hurries(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        (group,) = self.param_groups
        told = group["lr"]
        group["lr"] = 1.2 * told
        super().step(closure)
        group["lr"] = told


def unfrozen(module: Any) -> Any:
    return torch.optim.SGD([p for n, p in module.named_parameters() if n != "2.weight"], 0.05)


def frozen(module: Any) -> Any:
    module[0].bias.requires_grad_(False)
    return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 0.05)


def half(module: Any) -> Any:
    """The path through one bias is cut: a wrong gradient for what stands before it."""
    module[0].register_forward_hook(lambda m, i, o: 0.5 * o + 0.5 * o.detach())
    return torch.optim.SGD(module.parameters(), 0.05)


def squares(module: Any) -> Any:
    return 0.5 * 0.02 * sum((p**2).sum() for p in module.parameters())


FAULTS: dict[str, tuple[Make, dict[str, Any], str, str, float | None]] = {
    "clips": (lambda m: Clips(m.parameters(), 0.05), {}, "clipped", "all tensors", 0.3),
    "decays": (lambda m: Decays(m.parameters(), 0.05), {}, "hidden-decay", "all tensors", 0.004),
    "decays beside momentum": (
        lambda m: Decays(m.parameters(), 0.05, momentum=0.9),
        {},
        "hidden-decay",
        "all tensors",
        0.004,
    ),
    "hurries": (lambda m: Hurries(m.parameters(), 0.05), {}, "wrong-rate", "all tensors", 0.06),
    "hurries with Nesterov": (
        lambda m: Hurries(m.parameters(), 0.05, momentum=0.9, nesterov=True),
        {},
        "wrong-rate",
        "all tensors",
        0.06,
    ),
    "decay in the loss": (sgd(), {"loss": squares}, "hidden-decay", "all weights", 0.02),
    "doubled": (sgd(), {"before": lambda m: m[2].weight.grad.mul_(2)}, "wrong-gradient", "2.weight", 2.0),
    "zeroed": (sgd(), {"before": lambda m: m[0].bias.grad.zero_()}, "wrong-gradient", "0.bias", 0.0),
    "by value": (
        sgd(),
        {"before": lambda m: torch.nn.utils.clip_grad_value_(m.parameters(), 0.02)},
        "clipped",
        "0[",
        0.02,
    ),
    "forgotten": (unfrozen, {}, "not-in-optimizer", "2.weight", None),
    "frozen": (frozen, {}, "no-gradient", "0.bias", None),
}


@pytest.mark.parametrize("name, dtype", crossed(FAULTS, ["float32", "float64"]))
def test_each_fault_is_named(name: str, dtype: str) -> None:
    make, how, kind, where, size = FAULTS[name]
    report = train(make, dtype=getattr(torch, dtype), **how)
    (fault,) = report.faults
    assert fault.kind == kind and fault.where.startswith(where), report.as_text()
    if size is not None:
        assert fault.size == pytest.approx(size, rel=5e-3)


def test_a_cut_path_is_seen() -> None:
    report = train(half)
    assert [f.kind for f in report.faults] == ["wrong-gradient"], report.as_text()


def test_an_optimizer_of_ones_own_by_a_rule() -> None:
    class Mine(torch.optim.Optimizer):
        def __init__(self, parameters: Any, factor: float) -> None:
            super().__init__(parameters, {"lr": 0.05})
            self.factor = factor

        def step(self, closure: Any = None) -> None:
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p -= self.factor * 0.05 * p.grad

    rule = balproof.Sgd(0.05)
    assert train(lambda m: Mine(m.parameters(), 1.0)).status == "no-law"
    assert train(lambda m: Mine(m.parameters(), 1.0), rule=rule).status == "holds"
    report = train(lambda m: Mine(m.parameters(), 0.5), rule=rule)
    assert [(f.kind, f.size) for f in report.faults] == [("wrong-rate", pytest.approx(0.025))]


def test_coarser_gradients_need_their_precision() -> None:
    def coarse(module: Any) -> None:
        for p in module.parameters():
            p.grad.copy_(p.grad.bfloat16())

    blamed = train(sgd(), dtype=torch.float32, before=coarse)
    assert [f.kind for f in blamed.faults] == ["wrong-gradient"]
    assert train(sgd(), dtype=torch.float32, before=coarse, precision=2.0**-8).ok


def test_wrong_requests() -> None:
    module = perceptron(torch.float32)
    x = torch.zeros(1, 5)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    with pytest.raises(RequestError, match="no module"):
        balproof.torch.watch("model.pt2", optimizer, example_inputs=x)
    with pytest.raises(RequestError, match="no hooks"):
        balproof.torch.watch(module, object(), example_inputs=x)
    other = torch.optim.SGD(perceptron(torch.float32).parameters(), 0.1)
    with pytest.raises(RequestError, match="no parameter of the model"):
        balproof.torch.watch(module, other, example_inputs=x)
    with balproof.torch.watch(module, optimizer, example_inputs=x) as run:
        pass
    with pytest.raises(RequestError, match="no step was taken"):
        run.report()
    tied = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.ReLU(), torch.nn.Linear(5, 5))
    tied[2].weight = torch.nn.Parameter(tied[0].weight.data.t())
    with pytest.raises(RequestError, match="shares the numbers"):
        balproof.torch.watch(tied, torch.optim.SGD(tied.parameters(), 0.1), example_inputs=x)
