"""A recurrent network that integrates one of two inputs, as a cue says, before and after balancing: noise.

The network is x ← x + dt·(−x + Jφ(x) + W_in u + b) with read-out W_out x and φ = ReLU. Inputs are two noisy
evidences and a cue of two channels; the target is the running sum of the evidence that the cue names.
Rescaling is x → e^{h}x, J_ij → e^{h_i}J_ij e^{−h_j}, W_in → e^{h}W_in, b → e^{h}b, W_out → W_out e^{−h}
(−h in [S]).

The cost is C = Σ r_j J_ij² with r_j = mean φ′(x_j)² over the states that the trained network visits. Each
network is compared as trained (h = 0), *balanced* (h = h*, where C is least), *antibalanced* (h = −h*, as
far in the other direction), and *evenly balanced*: where Σ J_ij² is least, whether a unit is often active or
not. Noise of the same size in every unit is added to the state after rescaling as before it.

Two things are left open by C, and settled here as by the flow of [S]. A common shift of h does not change C
but changes how loud the state is read; the flow keeps Σh, so Σh = 0. And a unit that is never active on the
trials would be scaled without end; it is left alone, and C is without it.

What must happen: the loss of the task is kept; C falls when balanced and, being convex in h, rises when
antibalanced; and with it, to first order in the noise, the mean square of what the noise does to ẋ. What need
not happen, and is measured: that the noise adds less variance to the state in time, or less loss to the
output. Noise on the output itself passes by the network.

Source: [S] Stock, Harvey, Ocko, Ganguli, Synaptic balancing, PLoS Comput Biol 2022; the task is from Mante
et al., Nature 2013, in a form and in sizes (``settings``) of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from balproof.balance.flow import flow
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.importers.matrix_file import from_arrays
from balproof.network.manifold import infer
from balproof.simulate.data import Data
from balproof.simulate.drawing import curve, finish
from balproof.simulate.study import Effect, Run, Settings, Study
from balproof.simulate.training import seeded

Array = np.ndarray
Weights = Mapping[str, Array]

STEP = 0.2
"""dt, in units of the leak's time constant."""

INPUT_NOISE = 0.5
"""Standard deviation of each evidence around its mean, which is uniform between −½ and ½."""

LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Of the noise in the curves, in multiples of that of the effects."""

STATES = ("trained", "balanced", "antibalanced", "evenly balanced")


def trials(rng: np.random.Generator, count: int, steps: int) -> tuple[Array, Array]:
    """Inputs (steps, count, 4), two evidences and a cue, and targets (steps, count).

    The target ends at twice the mean of the evidence that the cue names.

    >>> u, y = trials(np.random.default_rng(0), 1, 10)
    >>> cue = int(u[0, 0, 3])
    >>> bool(abs(y[-1, 0] - 2 * u[:, 0, cue].mean()) < 1e-12)
    True
    """
    named = rng.integers(0, 2, count)
    u = np.zeros((steps, count, 4))
    u[:, :, :2] = rng.uniform(-0.5, 0.5, (count, 2)) + INPUT_NOISE * rng.normal(size=(steps, count, 2))
    u[:, np.arange(count), 2 + named] = 1.0
    return u, np.cumsum(u[:, np.arange(count), named], axis=0) * 2 / steps


def initial(rng: np.random.Generator, units: int) -> dict[str, Array]:
    """Normal weights, J of variance 1/N; biases 0."""
    return {
        "J": rng.normal(size=(units, units)) / np.sqrt(units),
        "W_in": rng.normal(size=(units, 4)) / 2,
        "b": np.zeros(units),
        "W_out": rng.normal(size=(1, units)) / np.sqrt(units),
    }


def forward(torch: Any, weights: Mapping[str, Any], u: Any, noise: Any = None) -> tuple[Any, Any]:
    """The states (steps, trials, units) from x = 0, and the outputs (steps, trials)."""
    J, driven = weights["J"].T, u @ weights["W_in"].T + weights["b"]
    x = torch.zeros_like(driven[0])
    states: list[Any] = []
    for t in range(len(driven)):
        x = torch.lerp(x, torch.relu(x) @ J + driven[t], STEP)
        if noise is not None:
            x = x + noise[t]
        states.append(x)
    visited = torch.stack(states)
    return visited, (visited @ weights["W_out"].T)[:, :, 0]


def train(torch: Any, rng: np.random.Generator, settings: Settings) -> tuple[dict[str, Array], list[float]]:
    """Adam on the mean squared error, new trials at every step, in float32: weights, and the losses."""
    steps, batch = int(settings["steps"]), int(settings["batch"])
    start = initial(rng, int(settings["units"]))
    weights = {n: torch.from_numpy(w.astype(np.float32)).requires_grad_() for n, w in start.items()}
    optimiser = torch.optim.Adam(weights.values(), lr=settings["rate"])
    losses: list[float] = []
    for _ in range(int(settings["iterations"])):
        u, y = (torch.from_numpy(v.astype(np.float32)) for v in trials(rng, batch, steps))
        loss = torch.nn.functional.mse_loss(forward(torch, weights, u)[1], y)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return {n: w.detach().double().numpy() for n, w in weights.items()}, losses


# --- balancing ------------------------------------------------------------------------------------------


def weighted(J: Array, r: Array) -> Array:
    """K with K_ij² = r_j J_ij², without the synapses of units that are never active.

    >>> weighted(np.array([[0.0, 2.0], [3.0, 0.0]]), np.array([1.0, 0.25])).tolist()
    [[0.0, 1.0], [3.0, 0.0]]
    """
    K = J * np.sqrt(r)
    K[r == 0] = 0.0
    return K


@dataclass(frozen=True, eq=False)
class Balanced:
    """The log-scales h* (Σh = 0) where Σ K_ij² is least, the relative imbalance there, and how far from h*
    the flow of [S] ends that starts at 0."""

    h: Array
    imbalance: float
    flow_ends_off: float


def balance(K: Array) -> Balanced:
    """Where Σ K_ij² is least under K_ij → e^{h_i}K_ij e^{−h_j}: by the solver, and along the flow of [S].

    >>> found = balance(np.array([[0.0, 4.0], [1.0, 0.0]]))
    >>> np.exp(found.h).round(9).tolist(), found.imbalance < 1e-12, found.flow_ends_off < 1e-6
    ([0.707106781, 1.414213562], True, True)
    """
    network = from_arrays({"J": K})
    problem = BalanceProblem.build(network, "l2")
    moving = problem.active

    def centred(h: Array) -> Array:
        return np.where(moving, h - h[moving].mean(), 0.0)

    found, path = solve(network, "l2"), flow(problem)
    h = centred(found.h)
    return Balanced(h, found.imbalance, float(np.max(np.abs(centred(path.h) - h))))


# --- noise ----------------------------------------------------------------------------------------------


def disturbance(torch: Any, J: Any, states: Any, noise: Any) -> float:
    """The mean of ‖f(x + ξ) − f(x)‖² over the states, f(x) = −x + Jφ(x): the field is evaluated twice."""
    change = (torch.relu(states + noise) - torch.relu(states)) @ J.T - noise
    return float((change**2).sum(-1).mean())


def _run(seed: int, data: Data, settings: Settings) -> Run:
    del data  # the task makes its own
    rng = np.random.default_rng(seed)
    with seeded(seed) as torch:
        trained, losses = train(torch, rng, settings)
        u, y = map(torch.from_numpy, trials(rng, int(settings["trials"]), int(settings["steps"])))
        visited, _ = forward(torch, {n: torch.from_numpy(w) for n, w in trained.items()}, u)
        r = (visited > 0).double().mean((0, 1)).numpy()
        optimum, even = balance(weighted(trained["J"], r)), balance(trained["J"])
        manifold, sigma = infer(from_arrays(trained)), settings["noise"]
        # The same noise for every state of the network and, but for its size, at every level.
        hidden = torch.from_numpy(rng.normal(size=tuple(visited.shape)))
        spoken = torch.from_numpy(rng.normal(size=tuple(y.shape)))
        numbers = {
            "imbalance": optimum.imbalance,
            "end of the flow": optimum.flow_ends_off,
            "spread of h": float(np.std(optimum.h)),
            "units never active": float(np.sum(r == 0)),
            "explained": 1
            - float(torch.mean((forward(torch, _all(torch, trained), u)[1] - y) ** 2) / y.var()),
        }
        series: dict[str, Sequence[float]] = {
            "iteration": list(range(len(losses))),
            "training loss": losses,
            "level": [sigma * level for level in LEVELS],
        }
        scales = dict(zip(STATES, (0 * optimum.h, optimum.h, -optimum.h, even.h), strict=True))
        for state, h in scales.items():
            network = manifold.rescale(h)
            weights = _all(torch, {n: network.numbers(n) for n in trained})
            x, output = forward(torch, weights, u)
            tiny = disturbance(torch, weights["J"], x, 1e-6 * hidden) / 1e-12
            cost = float(np.sum(weighted(network.numbers("J"), r) ** 2))
            numbers |= {
                f"cost, {state}": cost,
                f"loss, {state}": float(torch.mean((output - y) ** 2)),
                f"disturbance of the speed, {state}": tiny,
                f"size of the read-out, {state}": float(np.sum(network.numbers("W_out") ** 2)),
            }
            found: dict[str, list[float]] = {"added variance": [], "hidden": [], "output": []}
            for size in (*series["level"], sigma):  # the last is that of the effects
                noisy, said = forward(torch, weights, u, hidden * (size * STEP**0.5))
                found["added variance"].append(float(((noisy - x) ** 2).sum(-1).mean()))
                found["hidden"].append(float(torch.mean((said - y) ** 2)))
                found["output"].append(float(torch.mean((output + size * spoken - y) ** 2)))
            for what, values in found.items():
                *series[f"{what}, {state}"], numbers[f"{what}, {state}"] = values
    return Run(numbers, series)


def _all(torch: Any, weights: Weights) -> dict[str, Any]:
    return {n: torch.from_numpy(np.array(w)) for n, w in weights.items()}


def _draw(figure: Any, runs: Sequence[Run]) -> None:
    loss, ratio, variance = figure.subplots(1, 3)
    for i, state in enumerate(STATES):
        curve(loss, runs, "level", f"hidden, {state}", state, i)
        variance.plot(
            [r.numbers[f"cost, {state}"] for r in runs],
            [r.numbers[f"added variance, {state}"] for r in runs],
            "o^sD"[i],  # no line between the networks
            color=f"C{i}",
            markersize=4,
            alpha=0.7,
            label=state,
        )
    for i, state in enumerate(STATES[1:], 1):
        curve(ratio, [_over_trained(r, "hidden", state) for r in runs], "level", "ratio", state, i)
    curve(
        ratio,
        [_over_trained(r, "output", "balanced") for r in runs],
        "level",
        "ratio",
        "noise on the output",
        4,
    )
    for axes in (loss, ratio):
        axes.set_xscale("log")
    for kind in (ratio.yaxis.set_major_formatter, ratio.yaxis.set_minor_formatter):
        kind("{x:g}")
    finish(loss, "noise in the state, σ", "loss of the task")
    finish(ratio, "noise in the state, σ", "loss over that of the trained network")
    finish(variance, "cost C = Σ r_j J_ij²", "variance of the state that noise adds")


def _over_trained(run: Run, noise: str, state: str) -> Run:
    pairs = zip(run.series[f"{noise}, {state}"], run.series[f"{noise}, trained"], strict=True)
    return Run({}, {"level": run.series["level"], "ratio": [a / b for a, b in pairs]})


_COMPARED = (
    ("cost", "cost", "provable"),
    ("disturbance of ẋ by small noise in the state", "disturbance of the speed", "provable on average"),
    ("variance that noise in the state adds to it", "added variance", "empirical"),
    ("loss of the task with noise in the state", "hidden", "empirical"),
)
_KEPT = (("loss of the task without noise", "loss"), ("loss of the task with noise on the output", "output"))


def _effects() -> tuple[Effect, ...]:
    found = [
        Effect("relative imbalance at the optimum", "imbalance", "identity", margin=1e-12),
        Effect("end of the flow, off the optimum in h", "end of the flow", "identity", margin=1e-6),
    ]
    for state in STATES[1:]:
        for name, key in _KEPT:
            said = f"{name}, {state} (kept: provable)"
            control = f"{key}, trained"
            found.append(Effect(said, f"{key}, {state}", "identity", control, margin=1 + 1e-9, ratio=True))
        claimed = "greater" if state == "antibalanced" else "less"
        for name, key, how in _COMPARED:
            said = f"{name}, {state} ({'empirical' if state == 'evenly balanced' else how})"
            found.append(Effect(said, f"{key}, {state}", claimed, f"{key}, trained", ratio=True))
    return tuple(found)


CONTEXT = Study(
    name="context",
    title="Context-dependent integration in a balanced recurrent network",
    source="[S] Stock, Harvey, Ocko, Ganguli, Synaptic balancing, PLoS Comput Biol 2022",
    claim="Balancing a trained recurrent network keeps what it does and makes it more robust to noise.",
    effects=_effects(),
    run=_run,
    draw=_draw,
    settings={
        "units": 64,
        "steps": 50,
        "iterations": 300,
        "batch": 64,
        "rate": 0.003,
        "trials": 256,
        "noise": 0.1,
    },
    own_data=True,
)

STUDIES = (CONTEXT,)
