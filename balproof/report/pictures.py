"""The figures of the report of claims: `balproof.report.runs` as inline SVG, with captions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from balproof.report.plots import (
    COLOURS,
    INK,
    STYLES,
    blank,
    imbalance_figure,
    inline,
    log_axis,
    paint,
)
from balproof.report.runs import Bowl, Seeds, Training, many_seeds, train, two_units


class Picture(NamedTuple):
    """A figure as an SVG element, and the sentences below it."""

    title: str
    svg: str
    caption: str


def pictures() -> tuple[Picture, ...]:
    """All of them, from runs that are made now; some seconds."""
    seeds = many_seeds()
    return (
        seeds_picture(seeds),
        bowl_picture(two_units()),
        imbalance_picture(seeds),
        training_picture(train()),
    )


def seeds_picture(run: Seeds) -> Picture:
    """R − R* after each sweep, a line a seed."""
    drawing = blank(4.9, 3.3)
    axes = drawing.subplots()
    for i, history in enumerate(run.histories.values()):
        above = np.asarray(history) - run.optimum
        shown = above > 0
        axes.plot(
            np.flatnonzero(shown), above[shown], color=COLOURS[i % len(COLOURS)], linewidth=0.9, alpha=0.8
        )
    rounding = float(np.spacing(run.optimum))
    axes.axhline(rounding, color=INK, linewidth=0.8, linestyle="--", label="rounding of R*")
    log_axis(axes)
    axes.set_xlabel("sweeps")
    axes.set_ylabel("R − R*")
    axes.legend(frameon=False, labelcolor=INK)
    paint(axes)
    count, layers = len(run.histories), "-".join(map(str, run.sizes))
    longest = max(len(h) for h in run.histories.values()) - 1
    svg = inline(
        drawing, "seeds", "Convergence of stochastic balancing from many seeds",
        f"The cost R less its optimum R* = {run.optimum:.6g} on a logarithmic axis, over up to {longest} "
        f"sweeps: {count} lines that fall along straight lines to the size of rounding.",
    )  # fmt: skip
    gap = "" if run.gap is None else f", certified to {run.gap:.0e} of the cost"
    caption = (
        f"Units balanced at random under L2, a line for each of the seeds 0 to {count - 1}: a ReLU network "
        f"{layers} with normal weights (seed {run.weight_seed}). R* = {run.optimum:.9g}{gap}. All seeds end "
        f"in one state: their log-scales differ by {run.spread:.0e} at most (B.stochastic-balancing)."
    )
    return Picture("Many seeds, one balanced state", svg, caption)


def bowl_picture(run: Bowl) -> Picture:
    """Contours of F over two log-scales, and the ways down."""
    drawing = blank(4.9, 3.9)
    axes = drawing.subplots()
    above = run.values - run.least
    levels = run.least * np.array([0.02, 0.1, 0.3, 0.7, 1.5, 3.0, 6.0, 12.0])
    axes.contour(*run.grid, above, levels=levels, colors=[INK], linewidths=0.6, alpha=0.35)
    for i, (name, way) in enumerate(run.ways.items()):
        marker, style, colour = "os^ "[i % 4].strip(), STYLES[i % len(STYLES)], COLOURS[i % len(COLOURS)]
        axes.plot(*way.T, marker=marker, ms=4, linestyle=style, color=colour, linewidth=1.5, label=name)
    axes.plot(*run.minimum, marker="*", ms=13, color=INK, linestyle="none", label="balanced")
    axes.set_xlabel("log-scale of u")
    axes.set_ylabel("log-scale of v")
    paint(axes)
    drawing.legend(frameon=False, labelcolor=INK, loc="outside upper center", ncols=3, fontsize=9)
    weights = ", ".join(f"{w:g}" for w in run.weights)
    where = ", ".join(f"{h:.3f}".replace("-", "−") for h in run.minimum)
    svg = inline(
        drawing, "bowl", "The cost of a network of two units as a bowl",
        "Contour lines of the cost over the log-scales of the units u and v. The ways "
        f"{', '.join(run.ways)} begin at (0, 0) and all end at its one minimum, ({where}).",
    )  # fmt: skip
    caption = (
        f"F over the log-scales of u and v for x → u → v → y with the weights {weights} under L2. From the "
        f"same start all orders end in the one balanced state, F = {run.least:.6g} (B.strictly-convex, "
        "B.schedules). No chance is involved."
    )
    return Picture("One bowl, many ways down", svg, caption)


def imbalance_picture(run: Seeds) -> Picture:
    """Of the units of the network of `seeds_picture`."""
    svg = imbalance_figure(run.before, run.after, name="units")
    caption = (
        f"Imbalance |in − out|/(in + out) of the {len(run.before)} units of the network of the first figure "
        f"(weights: seed {run.weight_seed}) before and after. An imbalance of exactly 0 is drawn at 1e−17."
    )
    return Picture("Every unit balanced", svg, caption)


def training_picture(run: Training) -> Picture:
    """The deficits while a network learns, and the law."""
    drawing = blank(4.9, 3.3)
    axes = drawing.subplots()
    for i, (name, values) in enumerate(run.deficits.items()):
        axes.plot(run.times[name], values, linestyle=STYLES[i], color=COLOURS[i], linewidth=1.8, label=name)
    end = max(float(t[-1]) for t in run.times.values())
    t = np.linspace(0.0, end, 9)
    axes.plot(t, np.exp(-4 * run.mu * t), "x", ms=7, color=INK, label="e^(−4μt)")
    log_axis(axes)
    axes.set_xlabel("time: learning rate × steps")
    axes.set_ylabel("ΣD² / ΣD² at the start")
    axes.legend(frameon=False, labelcolor=INK, loc="lower left")
    paint(axes)
    last = {name: float(values[-1]) for name, values in run.deficits.items()}
    svg = inline(
        drawing, "training", "Deficits during training",
        "The sum of squared deficits relative to its start, on a logarithmic axis: "
        + ", ".join(f"{name} ends at {value:.2g}" for name, value in last.items())
        + f"; the law e^(−4μt) ends at {np.exp(-4 * run.mu * end):.2g}.",
    )  # fmt: skip
    losses = ", ".join(f"{name} {a:.2g} → {b:.2g}" for name, (a, b) in run.loss.items())
    layers = "-".join(map(str, run.sizes))
    caption = (
        f"D = Σ_in w² − Σ_out w² of the units of a ReLU network {layers} that learns a random one in plain "
        f"NumPy (weights and data: seed {run.seed}, batches: seed {run.seed + 1}). Gradient descent in small "
        f"steps (flow) keeps ΣD², SGD nearly so; with the cost μ/2·Σw², μ = {run.mu:g}, it falls as "
        f"e^(−4μt) (B.gd-does-not-balance, B.progress). Losses: {losses}."
    )
    return Picture("Training alone does not balance, with L2 it does", svg, caption)
