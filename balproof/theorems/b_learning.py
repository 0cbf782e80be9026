"""[B] and [A25] on learning: what paired training runs over many seeds say, and no more than that."""

from __future__ import annotations

import time
from collections.abc import Sequence

from balproof.errors import MissingToolError
from balproof.simulate import learning
from balproof.simulate.data import digits
from balproof.simulate.study import Measured, Settings
from balproof.simulate.training import pytorch
from balproof.theorems.b_lemmas import PAPER
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Evidence, Verdict

SEEDS = range(20)
LAYERS = (2,)
ARMS: tuple[learning.Arm, ...] = ("never", "once", "fully")
SETTINGS: Settings = {**learning.LEARNING.settings, "epochs": 10}

EFFECTS = learning.effects(("plain",), LAYERS, ARMS)


def replicate(seeds: Sequence[int] = SEEDS, settings: Settings = SETTINGS) -> list[Measured]:
    """The effects over paired runs.

    Raises MissingToolError without PyTorch or scikit-learn.
    """
    pytorch()
    data = digits()
    runs = [learning.run(seed, data, settings, ("plain",), LAYERS, ARMS) for seed in seeds]
    return [effect.measure(runs) for effect in EFFECTS]


def verdict_of(found: Sequence[Measured]) -> Verdict:
    """That of the effects together, so the least of theirs.

    An interval on the claimed side of 0 is ``sampled``, one on the other side ``refuted``, and one that
    holds 0, or none, ``undecided``.
    """
    said = {"reproduced": Verdict.sampled, "the opposite was seen": Verdict.refuted}
    return min((said.get(m.verdict, Verdict.undecided) for m in found), default=Verdict.undecided)


def _setting(settings: Settings) -> str:
    widths = "-".join(str(int(settings["units"])) for _ in range(LAYERS[0]))
    return (
        f"digits, perceptron 64-{widths}-10, plain SGD with minibatches of {int(settings['batch'])}, "
        f"{int(settings['epochs'])} epochs, steps of {settings['rate']:g}, chosen on other seeds"
    )


@claim(
    Claim(
        "B.learning",
        "Balancing helps learning",
        f"{PAPER}, simulations; Alexos, Domingo, Baldi, AAAI 2025",
        "Balancing before or during training makes learning faster and the result more accurate.",
        "Of training runs, not of networks: no identity decides it, and it can hold with one data set, "
        "optimiser and step and fail with others. What runs can show of one setting, over random initial "
        "weights and orders of the data, for a network that is balanced (before training, or before every "
        "epoch) and the same one that is not: the mean difference in test accuracy is above 0, and so is the "
        "mean of the logarithm by which fewer epochs lead to a set training loss. Each of these "
        "four numbers has Student's 95 % interval.",
        (
            f"the setting: {_setting(SETTINGS)}",
            "the seeds are a fair sample; the four intervals are not corrected for being four",
        ),
        None,  # an outcome of runs is reported, not promised; without PyTorch there is none
    )
)
def balancing_helps_learning() -> Findings:
    """Paired runs; `balproof simulate learning` has more arms, penalties, layers and data."""
    start = time.perf_counter()
    try:
        found = replicate()
    except MissingToolError as missing:
        return Findings(Printed(Verdict.undecided, f"not tried: {missing}"))
    verdict = verdict_of(found)
    effects = "; ".join(m.sentence for m in found)
    where = f"in this setting ({_setting(SETTINGS)}), over {len(SEEDS)} seeds"
    return Findings(
        Printed(verdict, f"{verdict} {where}: {effects}"),
        (
            Evidence(
                "sampled",
                f"{len(SEEDS)} paired runs of each, same initial weights and minibatches: {effects}",
                verdict,
                time.perf_counter() - start,
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (balancing_helps_learning,)
