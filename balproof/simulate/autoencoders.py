"""Autoencoders of ReLU units under stochastic gradient descent: when do they balance, when do they stay so?

Source: [B] Baldi, Alexos, Domingo, Rahmansetayesh, A Theory of Synaptic Neural Balance, figures 3 and 4.
What is not said there (initial weights, steps, rates) is set here so that the error falls; ``settings``
changes it.

The error E is the mean squared error of a pixel. With w₊ = w − η(g + μw), D = Aᵀw² obeys exactly D₊ = (1
− ημ)²D + η²Aᵀg², so after n steps of one rate D is (1 − ημ)²ⁿD₀ plus what the squares of the gradients
left, the *floor*: it is added up weight by weight beside the training, and compared with what is
measured.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """What training left: the module, curves over the steps, and how well the books agree with D.

    ``floor`` is the part of D that the squares of the gradients account for, ``violation`` the largest
    difference of D and what is predicted for it, relative to Σ_IN w² + Σ_OUT w².
    """

    module: Any
    steps: list[float]
    times: list[float]
    deficit: list[float]
    relative: list[float]
    error: list[float]
    floor: Array
    violation: float


def train(
    torch: Any, module: Any, watch: Watch, data: Data, order: int, rates: Array, decay: float, batch: int
) -> Trained:
    """Plain SGD on E + (μ/2)Σw², one step for each rate, with the order of the data from a seed."""
    x = torch.from_numpy(data.x_train).double()
    draws = minibatches(np.random.default_rng(order), len(x), batch)
    parameters = dict(module.named_parameters())
    booked = {n: torch.zeros_like(p) for n, p in parameters.items()}
    start, kept = watch.differences(module), 1.0
    every = max(1, len(rates) // RECORDS)
    found = Trained(module, [], [], [], [], [], start, 0.0)
    seen, time = x[:1000], 0.0
    for step, rate in enumerate([*rates.tolist(), 0.0]):
        if step % every == 0 or step == len(rates):
            found.steps.append(step)
            found.times.append(time)
            found.deficit.append(watch.deficit(module))
            found.relative.append(watch.relative_deficit(module))
            with torch.no_grad():
                found.error.append(torch.nn.functional.mse_loss(module(seen), seen).item())
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
    off = np.abs(watch.differences(module) - (kept * start + floor)) / size
    return Trained(
        module, found.steps, found.times, found.deficit, found.relative, found.error, floor, float(off.max())
    )


# --- figure 3 -------------------------------------------------------------------------------------------

_ARMS = ("E", "E + L2", "E + L2, falling rate")


def _regularised(seed: int, data: Data, settings: Settings) -> Run:
    rate, decay, steps, batch = (
        settings["rate"],
        settings["decay"],
        int(settings["steps"]),
        int(settings["batch"]),
    )
    constant = np.full(steps, rate)
    falling = rate * np.minimum(1.0, 2 * (1 - np.arange(steps) / steps))  # from half-way linearly to 0
    numbers: dict[str, float] = {}
    series: dict[str, Sequence[float]] = {}
    for arm, rates, weight in zip(_ARMS, (constant, constant, falling), (0.0, decay, decay), strict=True):
        with seeded(seed) as torch:  # each arm starts from the same weights and sees the same batches
            module = autoencoder(torch, data)
            watch = Watch.of(module, torch.zeros(1, data.pixels).double())
            found = train(torch, module, watch, data, seed, rates, weight, batch)
        series["step"] = found.steps
        for what, values in (
            ("deficit", found.deficit),
            ("relative", found.relative),
            ("error", found.error),
        ):
            series[f"{what}, {arm}"] = values
            numbers[f"{what}, {arm}"] = values[-1]
        numbers["deficit, start"], numbers["relative, start"] = found.deficit[0], found.relative[0]
        numbers[f"books, {arm}"] = found.violation
        numbers[f"floor, {arm}"] = float(np.sum(found.floor**2))
    return Run(numbers, series)


def _draw_regularised(figure: Any, runs: Sequence[Run]) -> None:
    for axes, what, label in zip(
        figure.subplots(1, 3),
        ("deficit", "relative", "error"),
        ("deficit Σ(Σ_IN w² − Σ_OUT w²)²", "deficit / Σ(Σ_IN w² + Σ_OUT w²)²", "error E"),
        strict=True,
    ):
        for i, arm in enumerate(_ARMS):
            curve(axes, runs, "step", f"{what}, {arm}", arm, i)
        finish(axes, "steps", label, legend=what == "deficit")


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
            "E + L2, deficit at the end over that at the start",
            "deficit, E + L2",
            "less",
            "deficit, start",
            margin=0.1,
            ratio=True,
        ),
        Effect(
            "the same where the size of all weights does not count",
            "relative, E + L2",
            "less",
            "relative, start",
            margin=0.1,
            ratio=True,
        ),
        Effect(
            "relative deficit with L2 over that without",
            "relative, E + L2",
            "less",
            "relative, E",
            ratio=True,
        ),
        Effect(
            "what steps of one size leave over what falling ones leave",
            "relative, E + L2",
            "greater",
            "relative, E + L2, falling rate",
            ratio=True,
        ),
        Effect(
            "E + L2, deficit over that which the squares of the gradients account for",
            "deficit, E + L2",
            "equal",
            "floor, E + L2",
            margin=1.1,
            ratio=True,
        ),
        Effect(
            "difference of D and its books, (1 − ημ)²ⁿD + Σ(1 − ημ)²ᵏη²Aᵀg²",
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
    rate, steps, batch, factor = (settings[k] for k in ("rate", "steps", "batch", "factor"))
    numbers: dict[str, float] = {}
    series: dict[str, Sequence[float]] = {}
    for arm, finer in (("large", 1), ("small", int(factor))):
        with seeded(seed) as torch:
            module = autoencoder(torch, data)
            example = torch.zeros(1, data.pixels).double()
            watch = Watch.of(module, example)
            numbers["relative, random weights"] = watch.relative_deficit(module)
            module = module_with(solve(watch.manifold.network, "l2").network, module)
            rates = np.full(int(steps) * finer, rate / finer)  # the same time of the flow in more steps
            found = train(torch, module, watch, data, seed, rates, 0.0, int(batch))
        numbers["relative, balanced"] = found.relative[0]
        series[f"time, {arm}"] = found.times
        for what, values in (
            ("deficit", found.deficit),
            ("relative", found.relative),
            ("error", found.error),
        ):
            series[f"{what}, {arm}"] = values
            numbers[f"{what}, {arm}"] = values[-1]
        numbers[f"books, {arm}"] = found.violation
    return Run(numbers, series)


def _draw_large_steps(figure: Any, runs: Sequence[Run]) -> None:
    for axes, what, label in zip(
        figure.subplots(1, 3),
        ("deficit", "relative", "error"),
        ("deficit Σ(Σ_IN w² − Σ_OUT w²)²", "deficit / Σ(Σ_IN w² + Σ_OUT w²)²", "error E"),
        strict=True,
    ):
        for i, arm in enumerate(("large", "small")):
            curve(axes, runs, f"time, {arm}", f"{what}, {arm}", f"{arm} steps", i)
        if what != "error":  # the start is balanced up to rounding
            axes.set_ylim(bottom=1e-6 * axes.get_ylim()[1])
        finish(axes, "steps × rate", label, legend=what == "deficit")


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
        Effect(
            "large steps, difference of D and its books Ση²Aᵀg²", "books, large", "identity", margin=1e-12
        ),
        Effect("small steps, difference of D and its books", "books, small", "identity", margin=1e-12),
    ),
    run=_large_steps,
    draw=_draw_large_steps,
    settings={"steps": 250, "batch": 32, "rate": 8.0, "factor": 16},
)

STUDIES = (UNREGULARIZED_VS_L2, LARGE_STEPS)
