"""Does balancing before or during training make learning faster, and the result more accurate?

Perceptrons of ReLU units, as PyTorch initialises them, learn to classify images by plain SGD on the mean
cross-entropy, without momentum. Each network is trained four times from the same weights, over the same
minibatches in the same order:

- *never* balanced;
- balanced *once*, to the optimum, before the first step;
- balanced *fully*, to the optimum, before every epoch;
- one *layer* of it, drawn afresh, before every epoch: its units share no weight, each is balanced exactly.

Balancing is for Σw² without a penalty and with one of μΣw², and for Σ|w| with a penalty of μΣ|w|; biases
count as weights. It is done in float64 and written back in float32, so that the function stays up to that
rounding.

Accuracy is that on the test images after the last epoch. Speed is the number of epochs until the mean loss
of all training images, without the penalty, has fallen to a fifth of that of a guess, linear between two
epochs; a run that never gets there counts with all its epochs, and one whose loss is no longer a number
as guessing from there on.

Balancing changes which steps suit a network, so no step is fair to all arms. That of `LEARNING` has the best
accuracy on average over the four arms, that of `LARGE_STEPS` suits networks best that are never balanced,
and with that of `SMALL_STEPS` learning is not finished at the end. `tools/tune_learning.py` chose the first
two, and μ, on other seeds and without the test images.

Source: [A25] Alexos, Domingo, Baldi, Improving deep learning speed and performance through synaptic neural
balance, AAAI 2025. Optimiser, steps and sizes are ours.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from balproof.balance.multilevel import multilevel
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.steps import columns_of, step
from balproof.importers import load
from balproof.network.manifold import Manifold, infer
from balproof.simulate.data import Data
from balproof.simulate.drawing import curve, finish
from balproof.simulate.study import Effect, Run, Settings, Study
from balproof.simulate.training import minibatches, perceptron, seeded

Penalty = Literal["plain", "L1", "L2"]
Arm = Literal["never", "once", "fully", "layer"]

PENALTIES: tuple[Penalty, ...] = get_args(Penalty)
ARMS: tuple[Arm, ...] = get_args(Arm)
SAID = {
    "never": "never balanced",
    "once": "balanced before training",
    "fully": "balanced fully before every epoch",
    "layer": "one layer balanced before every epoch",
}

LAYERS = (2, 3)
"""Hidden layers. With 5 and these initial weights, many networks learn nothing at any step that was tried."""

TOLERANCE = 1e-7
"""Imbalance at which the solver may stop: the weights are rounded to float32."""


@dataclass(frozen=True, eq=False)
class Balancer:
    """Balances a module in place, for one cost, on the manifold that balproof finds in it.

    Raises ModelError or RequestError for weights that are not finite, or too far apart.
    """

    manifold: Manifold
    costs: Costs

    @staticmethod
    def of(module: Any, inputs: int) -> Mapping[Penalty, Balancer]:
        """For each penalty the balancer of networks like this one."""
        manifold = infer(load(module, next(module.parameters()).new_zeros(1, inputs)))
        return {p: Balancer(manifold, Costs.parse("l1" if p == "L1" else "l2")) for p in PENALTIES}

    def fully(self, module: Any) -> None:
        """To the optimum."""
        problem = self._problem(module)
        self._put(problem, multilevel(problem, tolerance=TOLERANCE).h, module)

    def layer(self, module: Any, rng: np.random.Generator) -> None:
        """Every unit of one layer, which is drawn from ``rng``."""
        problem = self._problem(module)
        layers = [name.partition("[")[0] for name in problem.manifold.names]
        chosen = rng.choice(list(dict.fromkeys(layers)))
        units = np.array([k for k, layer in enumerate(layers) if layer == chosen and problem.active[k]], int)
        h = np.zeros(problem.count)
        h[units] = step(problem, problem.A @ h, columns_of(problem, units, sparse.csc_array(problem.A)))
        self._put(problem, h, module)

    def imbalance(self, module: Any) -> float:
        """The relative imbalance of the module as it is."""
        problem = self._problem(module)
        return problem.imbalance(np.zeros(problem.count))

    def _problem(self, module: Any) -> BalanceProblem:
        values = {n: p.detach().double().numpy() for n, p in module.named_parameters()}
        network = self.manifold.network.with_parameters(values)
        return BalanceProblem.build(dataclasses.replace(self.manifold, network=network), self.costs)

    @staticmethod
    def _put(problem: BalanceProblem, h: np.ndarray, module: Any) -> None:
        network = problem.manifold.rescale(h)
        for name, parameter in module.named_parameters():
            value = parameter.new_tensor(network.numbers(name))  # rounds to the type of the module
            parameter.data.copy_(value)


@dataclass(frozen=True)
class Learned:
    """The loss of all training images before the first epoch and after each, and the test accuracy in %."""

    losses: list[float]
    accuracy: float

    def epochs_to(self, loss: float) -> float:
        """When the loss first was as low, linear between two epochs; all epochs if never.

        >>> Learned([4.0, 2.0, 1.0], 0.0).epochs_to(1.5), Learned([4.0, 2.0], 0.0).epochs_to(1.5)
        (1.5, 1.0)
        """
        for k, (a, b) in enumerate(zip(self.losses, self.losses[1:])):
            if b <= loss:
                return k + min(1.0, (a - loss) / (a - b)) if a > loss else float(k)
        return float(len(self.losses) - 1)


def train(
    torch: Any,
    module: Any,
    balancers: Mapping[Penalty, Balancer],
    data: Data,
    order: int,
    arm: Arm,
    penalty: Penalty,
    settings: Settings,
) -> Learned:
    """Plain SGD on one network, in place, balanced as the arm says."""
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    rng, drawn = np.random.default_rng(order), np.random.default_rng((order, 1))
    batches = minibatches(rng, len(x), int(settings["batch"]))
    steps = len(x) // min(int(settings["batch"]), len(x))
    rate, weight = settings["rate"], settings[penalty] if penalty != "plain" else 0.0
    balancer = balancers[penalty]
    cross_entropy, parameters = torch.nn.functional.cross_entropy, list(module.parameters())
    guess = math.log(data.classes)

    def loss() -> float:
        with torch.no_grad():
            return cross_entropy(module(x), y).item()

    losses = [loss()]
    for epoch in range(int(settings["epochs"])):
        if arm == "fully" or (arm == "once" and epoch == 0):
            balancer.fully(module)
        elif arm == "layer":
            balancer.layer(module, drawn)
        for _ in range(steps):
            at = next(batches)
            error = cross_entropy(module(x[at]), y[at])
            if weight:
                size = (p.abs().sum() if penalty == "L1" else p.square().sum() for p in parameters)
                error = error + weight * sum(size)
            for p, slope in zip(parameters, torch.autograd.grad(error, parameters), strict=True):
                p.data.sub_(slope, alpha=rate)
        losses.append(loss())
        if not math.isfinite(losses[-1]):
            losses[-1:] = [guess] * (int(settings["epochs"]) - epoch)
            break
    with torch.no_grad():
        right = module(torch.from_numpy(data.x_test)).argmax(1) == torch.from_numpy(data.y_test)
    return Learned(losses, 100 * right.double().mean().item())


def run(
    seed: int,
    data: Data,
    settings: Settings,
    penalties: Sequence[Penalty] = PENALTIES,
    layers: Sequence[int] = LAYERS,
    arms: Sequence[Arm] = ARMS,
) -> Run:
    """All arms from the same weights, over the same minibatches."""
    data = few(data, int(settings["images"]), seed)
    numbers: dict[str, float] = {}
    series: dict[str, Sequence[float]] = {"epoch": list(range(int(settings["epochs"]) + 1))}
    for depth in layers:
        with seeded(seed) as torch:
            widths = [data.pixels, *[int(settings["units"])] * depth, data.classes]
            start = perceptron(torch, widths)
            balancers = Balancer.of(start, data.pixels)
            for penalty, arm in product(penalties, arms):
                found = train(torch, copy.deepcopy(start), balancers, data, seed, arm, penalty, settings)
                where = _where(depth, penalty, arm)
                numbers[f"accuracy, {where}"] = found.accuracy
                numbers[f"epochs, {where}"] = found.epochs_to(settings["target"] * math.log(data.classes))
                series[f"loss, {where}"] = found.losses
    return Run(numbers, series)


def few(data: Data, images: int, seed: int) -> Data:
    """With so many training images, drawn by the seed; all of them for 0."""
    if not 0 < images < len(data.y_train):
        return data
    at = np.random.default_rng((seed, 2)).permutation(len(data.y_train))[:images]
    return dataclasses.replace(data, x_train=data.x_train[at], y_train=data.y_train[at])


def _where(layers: int, penalty: Penalty, arm: Arm) -> str:
    return f"{layers} hidden layers, {penalty}, {arm}"


def _plain(seed: int, data: Data, settings: Settings) -> Run:
    return run(seed, data, settings, ("plain",))


def effects(
    penalties: Sequence[Penalty], layers: Sequence[int] = LAYERS, arms: Sequence[Arm] = ARMS
) -> tuple[Effect, ...]:
    """Accuracy and speed of every arm against the one that is never balanced."""
    found: list[Effect] = []
    for depth, penalty, arm in product(layers, penalties, arms):
        if arm == "never":
            continue
        never, here = _where(depth, penalty, "never"), _where(depth, penalty, arm)
        what = f"{depth} hidden layers, {penalty}, {SAID[arm]}"
        found += [
            Effect(f"accuracy, {what}", f"accuracy, {here}", "greater", f"accuracy, {never}", "%"),
            Effect(f"epochs to the loss, {what}", f"epochs, {here}", "less", f"epochs, {never}", ratio=True),
        ]
    return tuple(found)


def _draw(figure: Any, runs: Sequence[Run]) -> None:
    found: list[tuple[int, Penalty]] = [
        (d, p) for d in LAYERS for p in PENALTIES if f"loss, {_where(d, p, 'never')}" in runs[0].series
    ]
    rows = len(LAYERS) if len(found) > len(LAYERS) else 1
    places = figure.subplots(rows, len(found) // rows, squeeze=False, sharex=True, sharey=True)
    for axes, (depth, penalty) in zip(places.ravel(), found, strict=True):
        for i, arm in enumerate(ARMS):
            where = f"loss, {_where(depth, penalty, arm)}"
            curve(axes, runs, "epoch", where, SAID[arm], i, style=("-", "-", "--", ":")[i])
        axes.set_title(f"{depth} hidden layers, {penalty}", fontsize="medium")
        last, first = axes in places[-1], axes is places[0, 0]
        finish(axes, "epochs" if last else "", "training loss" if axes in places[:, 0] else "", legend=first)


_SOURCE = (
    "[A25] Alexos, Domingo, Baldi, Improving deep learning speed and performance through synaptic neural "
    "balance, AAAI 2025"
)
_SETTINGS: Settings = {
    "units": 32,
    "epochs": 25,
    "batch": 32,
    "rate": 0.2,
    "L1": 1e-4,
    "L2": 3e-4,
    "target": 0.2,
    "images": 0,
}
_CLAIM = "makes learning faster and the result more accurate."

LEARNING = Study(
    name="learning",
    title="Balancing before and during training",
    source=_SOURCE,
    claim=f"Balancing before or during training {_CLAIM}",
    effects=effects(PENALTIES),
    run=run,
    draw=_draw,
    settings=_SETTINGS,
)

LARGE_STEPS = Study(
    name="learning-large-steps",
    title="The same with the steps that suit networks best that are never balanced",
    source=_SOURCE,
    claim=f"Balancing before or during training with large steps {_CLAIM}",
    effects=effects(("plain",)),
    run=_plain,
    draw=_draw,
    settings={**_SETTINGS, "rate": 0.3},
)

SMALL_STEPS = Study(
    name="learning-small-steps",
    title="The same with steps so small that learning is not finished",
    source=_SOURCE,
    claim=f"Balancing before or during training with small steps {_CLAIM}",
    effects=effects(("plain",)),
    run=_plain,
    draw=_draw,
    settings={**_SETTINGS, "rate": 0.03, "epochs": 40},
)

FEW_IMAGES = Study(
    name="learning-few-images",
    title="The same with few training images",
    source=_SOURCE,
    claim=f"With few training images, balancing before or during training {_CLAIM}",
    effects=effects(("plain",)),
    run=_plain,
    draw=_draw,
    settings={**_SETTINGS, "images": 100, "epochs": 100},
)

STUDIES = (LEARNING, LARGE_STEPS, SMALL_STEPS, FEW_IMAGES)
