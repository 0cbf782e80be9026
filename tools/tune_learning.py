"""How steps and penalties of `balproof.simulate.learning` were chosen: ``python tools/tune_learning.py``.

On a quarter of the training digits that is held out, with seeds that the studies do not use. The step:
the one of the best accuracy without a penalty, on average over the four arms. The penalty: the largest
weight whose mean accuracy is within one standard error of that of the best, of networks that are never
balanced.
"""

import dataclasses
import sys

import numpy as np

from balproof.simulate.data import Data, read
from balproof.simulate.learning import ARMS, LAYERS, LEARNING, PENALTIES, Balancer, train
from balproof.simulate.training import perceptron, seeded

SEEDS = range(1000, 1005)
RATES = (0.05, 0.1, 0.2, 0.3, 0.4)
WEIGHTS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)


def held_out(seed: int) -> Data:
    """A quarter of the training images takes the place of the test images, which are not looked at."""
    data = read()
    order = np.random.default_rng(seed).permutation(len(data.y_train))
    rest, held = order[len(order) // 4 :], order[: len(order) // 4]
    return dataclasses.replace(
        data,
        x_train=data.x_train[rest], y_train=data.y_train[rest],
        x_test=data.x_train[held], y_test=data.y_train[held],
    )  # fmt: skip


def accuracies(arm: str, penalty: str, settings: dict[str, float]) -> np.ndarray:
    found = []
    for depth in LAYERS:
        for seed in SEEDS:
            data = held_out(seed)
            with seeded(seed) as torch:
                module = perceptron(torch, [data.pixels, *[int(settings["units"])] * depth, data.classes])
                balancers = Balancer.of(module, data.pixels)
                found.append(train(torch, module, balancers, data, seed, arm, penalty, settings).accuracy)
    return np.array(found)


def main() -> int:
    print("accuracy in %, mean and its standard error")
    for rate in RATES:
        found = {a: accuracies(a, "plain", {**LEARNING.settings, "rate": rate}) for a in ARMS}
        for arm, values in found.items():
            _print(f"rate {rate}, {arm}", values)
        _print(f"rate {rate}, all arms", np.mean(list(found.values()), axis=0))
    for penalty in PENALTIES[1:]:
        for weight in WEIGHTS:
            settings = {**LEARNING.settings, penalty: weight}
            _print(f"{penalty} {weight}", accuracies("never", penalty, settings))
    return 0


def _print(what: str, found: np.ndarray) -> None:
    print(f"  {what}: {found.mean():.2f} ± {found.std(ddof=1) / len(found) ** 0.5:.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
