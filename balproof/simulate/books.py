"""What the scaling symmetry demands of every step of training, measured while PyTorch trains.

For every loss Aᵀ(w∘g) = 0, since the outputs do not change along the scaling manifold. So a step of SGD
takes D = Aᵀw² to exactly D + η²Aᵀg², with weight decay to (1 − ημ)²D + η²Aᵀg²; with momentum there are
books as well (`balproof.conservation.ledger`). Adam divides each entry of the gradient by a size of its
own, which the symmetry knows nothing of: its direction u has no such identity, and D changes by
−2ηAᵀ(w∘u) in the first order.

Source: [B] section 4; Kunin et al., Neural Mechanics, ICLR 2021.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from balproof.conservation.ledger import Momentum, after_sgd
from balproof.simulate.autoencoders import SOURCE
from balproof.simulate.data import Data
from balproof.simulate.drawing import curve, finish
from balproof.simulate.study import Effect, Run, Settings, Study
from balproof.simulate.training import Watch, minibatches, perceptron, seeded

Array = np.ndarray

_ARMS = ("SGD", "SGD + L2", "momentum + L2", "Adam")
_BOOKS = {
    "SGD": "D + η²Aᵀg²",
    "SGD + L2": "(1 − ημ)²D + η²Aᵀg²",
    "momentum + L2": "what the books of momentum say",
}
_MOMENTUM = 0.9
_ADAM = 0.01
"""Its rate is about a step of each weight, whatever the gradient."""


def _books(seed: int, data: Data, settings: Settings) -> Run:
    numbers: dict[str, float] = {}
    series: dict[str, list[float]] = {}
    for arm, (gradients, steps, directions, loss) in _followed(seed, data, settings):
        series["step"] = [float(i + 1) for i in range(len(steps))]
        series[f"step, {arm}"] = steps
        series[f"direction, {arm}"] = directions
        numbers[f"gradient, {arm}"], numbers[f"step, {arm}"] = max(gradients), max(steps)
        numbers[f"direction, {arm}"], numbers[f"loss, {arm}"] = float(np.mean(directions)), loss
    return Run(numbers, series)


Violations = tuple[list[float], list[float], list[float], float]


def _followed(seed: int, data: Data, settings: Settings) -> Iterator[tuple[str, Violations]]:
    """Every arm, from the same start, with the same data in the same order."""
    with seeded(seed) as torch:
        start = perceptron(torch, (data.pixels, 32, 16, data.classes)).double()
        watch = Watch.of(start, torch.zeros(1, data.pixels).double())
        for arm in _ARMS:
            yield arm, _follow(torch, copy.deepcopy(start), watch, arm, seed, data, settings)


def _follow(
    torch: Any, module: Any, watch: Watch, arm: str, order: int, data: Data, settings: Settings
) -> Violations:
    """For each step the violations of three identities, and the last loss.

    The largest, over the units, of Aᵀ(w∘g) = 0 and of the books of D; and the mean over the units of what
    Aᵀ(w∘u) = 0 is short of for the direction u = (w − w₊)/η that was taken.
    """
    decay = settings["decay"] if arm.endswith("L2") else 0.0
    x, y = torch.from_numpy(data.x_train).double(), torch.from_numpy(data.y_train)
    parameters = dict(module.named_parameters())
    rate, optimizer = _optimizer(torch, arm, parameters, settings["rate"], decay)
    draws = minibatches(np.random.default_rng(order), len(x), int(settings["batch"]))
    books = Momentum.start(watch.differences(module))
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    last = float("nan")
    for _ in range(int(settings["steps"])):
        at = next(draws)
        loss = torch.nn.functional.cross_entropy(module(x[at]), y[at])
        last = loss.item()
        optimizer.zero_grad()
        loss.backward()
        w = {n: p.detach().clone() for n, p in parameters.items()}
        g = {n: p.grad.clone() for n, p in parameters.items()}
        optimizer.step()
        u = {n: (w[n] - p.detach()) / rate for n, p in parameters.items()}
        if arm.startswith("momentum"):
            books = books.after(watch.sums({n: v**2 for n, v in u.items()}), rate, _MOMENTUM, decay)
            expected = books.z
        else:
            z = watch.sums({n: v**2 for n, v in w.items()})
            expected = after_sgd(z, watch.sums({n: v**2 for n, v in g.items()}), rate, decay)
        size = watch.sizes({n: v**2 for n, v in parameters.items()})
        found[0].append(float(np.max(_shares(watch, w, g))))
        found[1].append(float(np.max(np.abs(watch.differences(module) - expected) / size)))
        found[2].append(float(np.mean(_shares(watch, w, u))))
    return (*found, last)


def _shares(watch: Watch, w: Mapping[str, Any], v: Mapping[str, Any]) -> Array:
    """|Aᵀ(w∘v)| over |A|ᵀ|w∘v| of each unit: 0 where all cancels, 1 where nothing does."""
    product = {n: w[n] * v[n] for n in w}
    size = watch.sizes(product)
    return np.abs(watch.sums(product)) / np.where(size > 0, size, 1.0)


def _optimizer(
    torch: Any, arm: str, parameters: Mapping[str, Any], rate: float, decay: float
) -> tuple[float, Any]:
    """PyTorch's own; with momentum steps are ten times as long in the end, so the rate is a tenth."""
    if arm == "Adam":
        return _ADAM, torch.optim.Adam(parameters.values(), lr=_ADAM)
    beta = _MOMENTUM if arm.startswith("momentum") else 0.0
    rate *= 1 - beta
    return rate, torch.optim.SGD(parameters.values(), lr=rate, momentum=beta, weight_decay=decay)


def _draw(figure: Any, runs: Sequence[Run]) -> None:
    left, right = figure.subplots(1, 2)
    for i, arm in enumerate(_ARMS):
        curve(left, runs, "step", f"step, {arm}", arm, i)
        if not arm.endswith("L2"):  # decay is no part of the loss
            curve(right, runs, "step", f"direction, {arm}", arm, i)
    finish(left, "steps", "|D₊ − what it should be| / Σ w², the largest")
    finish(right, "steps", "|Aᵀ(w∘u)| / |A|ᵀ|w∘u|, mean of the units", legend=False)


LEDGER = Study(
    name="ledger",
    title="Identities of every step of training",
    source=f"{SOURCE}, section 4",
    claim="At every step of training Aᵀ(w∘∇E) = 0, and one of SGD takes D = Σ_IN w² − Σ_OUT w² to exactly "
    "D + η²(Σ_IN g² − Σ_OUT g²), with L2 to (1 − ημ)²D + η²(…); Adam has no such identity.",
    effects=(
        *(
            Effect(f"{arm}, gradient: Aᵀ(w∘g) against |A|ᵀ|w∘g|", f"gradient, {arm}", "identity", margin=1e-9)
            for arm in _ARMS
        ),
        *(
            Effect(f"{arm}, step: D₊ less {what}, against Σ w²", f"step, {arm}", "identity", margin=1e-12)
            for arm, what in _BOOKS.items()
        ),
        Effect("Adam, step: D₊ less D + η²Aᵀg², against Σ w²", "step, Adam", "greater", margin=1e-3),
        Effect("Adam, direction: Aᵀ(w∘u) against |A|ᵀ|w∘u|", "direction, Adam", "greater", margin=0.01),
    ),
    run=_books,
    draw=_draw,
    settings={"steps": 500, "batch": 32, "rate": 0.1, "decay": 1e-2},
)

STUDIES = (LEDGER,)
