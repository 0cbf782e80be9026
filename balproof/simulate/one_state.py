"""Stochastic balancing of one network in many random orders: do all of them end in one state?

Source: [B] figure 5, with its 1,000 runs. That there is one balanced state is a theorem (Theorem 5.1);
what is seen here is that the runs get there, and how. Where they should end is known independently of
them, from a solve by another method with a certificate. Two runs are no further apart than their
distances from it together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from balproof.balance.descent import stochastic
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import Solution, solve
from balproof.simulate.autoencoders import SOURCE, train, widths
from balproof.simulate.data import Data
from balproof.simulate.drawing import curve, finish
from balproof.simulate.study import Effect, Run, Settings, Study
from balproof.simulate.training import Watch, perceptron, seeded


@lru_cache(maxsize=1)
def _trained(data: Data, steps: int, batch: int, rate: float) -> tuple[BalanceProblem, Solution]:
    """An autoencoder with three hidden layers, trained on E alone, and its balanced state."""
    full = widths(data.pixels)
    layers = (full[0], *full[2:5], full[-1])
    with seeded(0) as torch:
        module = perceptron(torch, layers).double()
        example = torch.zeros(1, data.pixels).double()
        train(torch, module, Watch.of(module, example), data, 0, np.full(steps, rate), 0.0, batch)
        manifold = Watch.of(module, example).manifold  # with the weights that it has now
    return BalanceProblem.build(manifold, "l2"), solve(manifold.network, "l2", certify=True)


def _one_state(seed: int, data: Data, settings: Settings) -> Run:
    problem, solved = _trained(data, int(settings["steps"]), int(settings["batch"]), settings["rate"])
    found = stochastic(problem, "random", seed=seed)
    optimum = solved.cost_after
    reached, there = problem.scaled(found.h), problem.scaled(solved.h)
    history = np.array(found.history)
    above = np.maximum(history / optimum - 1, np.finfo(float).eps)
    radius = solved.certificate.radius if solved.certificate is not None else None
    return Run(
        {
            "log-scales": float(np.max(np.abs(found.h - solved.h))),
            "weights": float(np.max(np.abs(reached - there)) / np.max(there)),
            "R": float(abs(history[-1] / optimum - 1)),
            "rise of R": float(max(np.max(np.diff(history)), 0.0) / optimum),
            "R at the start": float(history[0] / optimum - 1),
            "R after one sweep": float(history[1] / optimum - 1),
            "sweeps": float(len(history) - 1),
            "certified radius": float("nan") if radius is None else radius,
        },
        {"sweep": [float(i) for i in range(len(history))], "R": above.tolist()},
    )


def _draw(figure: Any, runs: Sequence[Run]) -> None:
    left, right = figure.subplots(1, 2)
    curve(left, runs, "sweep", "R", f"{len(runs)} orders", 0)
    finish(left, "sweeps", "(R − R*) / R*")
    distances = np.sort([r.numbers["log-scales"] for r in runs])
    right.plot(np.arange(1, len(runs) + 1), np.maximum(distances, np.finfo(float).eps), ".", markersize=3)
    radius = runs[0].numbers["certified radius"]
    right.axhline(
        radius, linestyle="--", linewidth=0.8, color="C1", label="certified radius of the state solved for"
    )
    right.set_yscale("log")
    finish(right, "runs, in ascending order", "largest distance of a log-scale")


ONE_STATE = Study(
    name="one-state",
    title="Stochastic balancing in random orders",
    source=f"{SOURCE}, figure 5",
    claim="Stochastic balancing ends in one and the same state, whatever the order of its steps.",
    effects=(
        Effect(
            "log-scales, distance from the certified balanced state", "log-scales", "identity", margin=1e-10
        ),
        Effect("weights, distance from it, relative to the largest", "weights", "identity", margin=1e-10),
        Effect("R, relative distance from the optimum", "R", "identity", margin=1e-12),
        Effect("largest rise of R in a sweep, relatively", "rise of R", "identity", margin=1e-12),
        Effect(
            "R − R* after one sweep over that at the start",
            "R after one sweep",
            "less",
            "R at the start",
            ratio=True,
        ),
    ),
    run=_one_state,
    draw=_draw,
    settings={"steps": 1000, "batch": 32, "rate": 3.0},
    seeds=1000,
)

STUDIES = (ONE_STATE,)
