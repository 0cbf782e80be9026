"""Autoencoders of ReLU units under stochastic gradient descent: when do they balance, when do they stay so?

Source: [B] Baldi, Alexos, Domingo, Rahmansetayesh, A Theory of Synaptic Neural Balance, figures 3 and 4.
What is not said there (initial weights, steps, rates) is set here so that the error falls; ``settings``
changes it.

The error E is the mean squared error of a pixel. With w₊ = w − η(g + μw), D = Aᵀw² obeys exactly

    D₊ = (1 − ημ)²D + η²Aᵀg²,

so after n steps of one rate D is (1 − ημ)²ⁿD₀ plus what the squares of the gradients left, the *floor*: it is
added up weight by weight beside the training, and compared with what is measured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from balproof.balance.solve import solve
from balproof.importers.torch_program import module_with
from balproof.simulate.data import Data
from balproof.simulate.drawing import curve, finish
from balproof.simulate.study import Effect, Run, Settings, Study
from balproof.simulate.training import Watch, minibatches, perceptron, seeded

Array = np.ndarray

SOURCE = "[B] Baldi, Alexos, Domingo, Rahmansetayesh, A Theory of Synaptic Neural Balance (2024)"

RECORDS = 120
"""Points of a curve."""


def widths(pixels: int) -> tuple[int, ...]:
    """Those of [B], 784-200-100-50-100-200-784, and smaller hidden layers for smaller images.

    >>> widths(784), widths(64)
    ((784, 200, 100, 50, 100, 200, 784), (64, 32, 16, 8, 16, 32, 64))
    """
    hidden = (
        (200, 100, 50) if pixels >= 784 else (max(pixels // 2, 1), max(pixels // 4, 1), max(pixels // 8, 1))
    )
    return (pixels, *hidden, *hidden[-2::-1], pixels)


def autoencoder(torch: Any, data: Data) -> Any:
    """In float64, with weights as PyTorch draws them."""
    return perceptron(torch, widths(data.pixels)).double()


@dataclass(frozen=True, eq=False)
class Trained:
    """What was seen of a training: curves over the steps, and how well the books agree with D.

    ``floor`` is the part of D that the squares of the gradients account for, ``violation`` the largest
    difference of D and what is predicted for it, relative to Σ_IN w² + Σ_OUT w².
    """

    steps: list[float]
    times: list[float]
    curves: dict[str, list[float]]
    floor: Array
    violation: float

    def tell(self, arm: str, numbers: dict[str, float], series: dict[str, Sequence[float]]) -> None:
        """Add the curves and their ends to the answer, under the name of an arm."""
        for what, values in self.curves.items():
            series[f"{what}, {arm}"] = values
            numbers[f"{what}, {arm}"] = values[-1]
        numbers[f"books, {arm}"] = self.violation
        numbers[f"floor, {arm}"] = float(np.sum(self.floor**2))


def train(
    torch: Any, module: Any, watch: Watch, data: Data, order: int, rates: Array, decay: float, batch: int
) -> Trained:
    """Plain SGD on E + (μ/2)Σw², one step for each rate, with the order of the data from a seed.

    The module is changed in place.
    """
    x = torch.from_numpy(data.x_train).double()
    draws = minibatches(np.random.default_rng(order), len(x), batch)
    parameters = dict(module.named_parameters())
    booked = {n: torch.zeros_like(p) for n, p in parameters.items()}
    start, kept = watch.differences(module), 1.0
    every = max(1, len(rates) // RECORDS)
    steps: list[float] = []
    times: list[float] = []
    curves: dict[str, list[float]] = {"deficit": [], "relative": [], "error": []}
    seen, time = x[:1000], 0.0
    for step, rate in enumerate([*rates.tolist(), 0.0]):
        if step % every == 0 or step == len(rates):
            steps.append(step)
            times.append(time)
            curves["deficit"].append(watch.deficit(module))
            curves["relative"].append(watch.relative_deficit(module))
            with torch.no_grad():
                curves["error"].append(torch.nn.functional.mse_loss(module(seen), seen).item())
        if step == len(rates):
            break
        at = x[next(draws)]
        module.zero_grad()
        torch.nn.functional.mse_loss(module(at), at).backward()
        shrink = 1 - rate * decay
        kept, time = kept * shrink**2, time + rate
        with torch.no_grad():
            for name, p in parameters.items():
                booked[name].mul_(shrink**2).addcmul_(p.grad, p.grad, value=rate**2)
                p.mul_(shrink).sub_(p.grad, alpha=rate)
    floor = watch.sums(booked)
    size = watch.sizes({n: p**2 for n, p in parameters.items()})
    with np.errstate(invalid="ignore"):  # where it diverged
        off = np.abs(watch.differences(module) - (kept * start + floor)) / size
    return Trained(steps, times, curves, floor, float(off.max()))


def _draw(figure: Any, runs: Sequence[Run], arms: Mapping[str, str], x: str, along: str, low: float) -> None:
    """Deficit, relative deficit and error of some arms, down to ``low`` of the largest deficit."""
    labels = {
        "deficit": "deficit Σ(Σ_IN w² − Σ_OUT w²)²",
        "relative": "deficit / Σ(Σ_IN w² + Σ_OUT w²)²",
        "error": "error E",
    }
    for axes, (what, label) in zip(figure.subplots(1, len(labels)), labels.items(), strict=True):
        for i, (arm, name) in enumerate(arms.items()):
            curve(axes, runs, x.format(arm), f"{what}, {arm}", name, i)
        if what != "error":
            least, most = axes.dataLim.intervaly
            if np.isfinite([least, most]).all():  # not where nothing else was seen than divergence
                axes.set_ylim(max(least, low * most) / 2, 2 * most)
        finish(axes, along, label, legend=what == "deficit")


# --- figure 3 -------------------------------------------------------------------------------------------

_ARMS = ("E", "E + L2", "E + L2, falling steps")


def _regularised(seed: int, data: Data, settings: Settings) -> Run:
    rate, steps = settings["rate"], int(settings["steps"])
    constant = np.full(steps, rate)
    falling = rate * np.minimum(1.0, 2 * (1 - np.arange(steps) / steps))  # from half-way linearly to 0
    numbers: dict[str, float] = {}
    series: dict[str, Sequence[float]] = {}
    with seeded(seed) as torch:
        start = autoencoder(torch, data)
        watch = Watch.of(start, torch.zeros(1, data.pixels).double())
        numbers["deficit, start"] = watch.deficit(start)
        numbers["relative, start"] = watch.relative_deficit(start)
        for arm, rates, regularised in zip(
            _ARMS, (constant, constant, falling), (False, True, True), strict=True
        ):
            decay = settings["decay"] if regularised else 0.0
            module = copy.deepcopy(start)
            found = train(torch, module, watch, data, seed, rates, decay, int(settings["batch"]))
            found.tell(arm, numbers, series)
            numbers[f"deficit, {arm}, half-way"] = found.curves["deficit"][len(found.steps) // 2]
            series["step"] = found.steps
    return Run(numbers, series)


def _draw_regularised(figure: Any, runs: Sequence[Run]) -> None:
    _draw(figure, runs, {arm: arm for arm in _ARMS}, "step", "steps", 1e-9)


UNREGULARIZED_VS_L2 = Study(
    name="unregularized-vs-l2",
    title="SGD on the error alone, and with L2",
    source=f"{SOURCE}, figure 3",
    claim="SGD on the error E alone leaves an autoencoder unbalanced, SGD on E + L2 balances it.",
    effects=(
        Effect(
            "E alone, deficit at the end over that at the start",
            "deficit, E",
            "greater",
            "deficit, start",
            margin=0.1,
            ratio=True,
        ),
        Effect(
            "relative deficit at the end, with L2 over without",
            "relative, E + L2",
            "less",
            "relative, E",
            ratio=True,
        ),
        Effect(
            "E + L2, steps of one size: deficit at the end over that half-way",
            "deficit, E + L2",
            "less",
            "deficit, E + L2, half-way",
            margin=0.5,
            ratio=True,
        ),
        Effect(
            "E + L2, falling steps: deficit at the end over that at the start",
            "deficit, E + L2, falling steps",
            "less",
            "deficit, start",
            margin=0.1,
            ratio=True,
        ),
        Effect(
            "E + L2, falling steps: relative deficit, likewise",
            "relative, E + L2, falling steps",
            "less",
            "relative, start",
            margin=0.1,
            ratio=True,
        ),
        Effect(
            "E + L2, steps of one size: deficit over that which the squares of gradients leave",
            "deficit, E + L2",
            "equal",
            "floor, E + L2",
            margin=1.1,
            ratio=True,
        ),
        Effect(
            "D less (1 − ημ)²ⁿD₀ + Σ(1 − ημ)²ᵏη²Aᵀg², against Σ w²",
            "books, E + L2",
            "identity",
            margin=1e-12,
        ),
    ),
    run=_regularised,
    draw=_draw_regularised,
    settings={"steps": 4000, "batch": 32, "rate": 3.0, "decay": 3e-4},
)


# --- figure 4 -------------------------------------------------------------------------------------------


def _large_steps(seed: int, data: Data, settings: Settings) -> Run:
    numbers: dict[str, float] = {}
    series: dict[str, Sequence[float]] = {}
    with seeded(seed) as torch:
        start = autoencoder(torch, data)
        watch = Watch.of(start, torch.zeros(1, data.pixels).double())
        numbers["relative, random weights"] = watch.relative_deficit(start)
        start = module_with(solve(watch.manifold.network, "l2").network, start)
        numbers["relative, balanced"] = watch.relative_deficit(start)
        for arm, finer in (("large", 1), ("small", int(settings["factor"]))):
            rates = np.full(int(settings["steps"]) * finer, settings["rate"] / finer)  # the same time of flow
            module = copy.deepcopy(start)
            found = train(torch, module, watch, data, seed, rates, 0.0, int(settings["batch"]))
            found.tell(arm, numbers, series)
            series[f"time, {arm}"] = found.times
    return Run(numbers, series)


def _draw_large_steps(figure: Any, runs: Sequence[Run]) -> None:
    arms = {"large": "large steps", "small": "small steps"}
    _draw(figure, runs, arms, "time, {}", "steps × rate", 1e-6)  # the start is balanced up to rounding


LARGE_STEPS = Study(
    name="large-steps",
    title="Large and small steps from a balanced start",
    source=f"{SOURCE}, figure 4",
    claim="SGD leaves a balanced start, unless its steps are very small.",
    effects=(
        Effect("relative deficit of the start", "relative, balanced", "identity", margin=1e-20),
        Effect(
            "after large steps, over that of random weights",
            "relative, large",
            "greater",
            "relative, random weights",
            margin=0.01,
            ratio=True,
        ),
        Effect(
            "after small steps, over that of random weights",
            "relative, small",
            "less",
            "relative, random weights",
            margin=0.01,
            ratio=True,
        ),
        Effect(
            "after large steps, over that after small ones",
            "relative, large",
            "greater",
            "relative, small",
            ratio=True,
        ),
        Effect("large steps: D less Ση²Aᵀg², against Σ w²", "books, large", "identity", margin=1e-12),
        Effect("small steps: D less Ση²Aᵀg², against Σ w²", "books, small", "identity", margin=1e-12),
    ),
    run=_large_steps,
    draw=_draw_large_steps,
    settings={"steps": 250, "batch": 32, "rate": 8.0, "factor": 16},
)

STUDIES = (UNREGULARIZED_VS_L2, LARGE_STEPS)
