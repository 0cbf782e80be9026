"""Curves over all runs: the mean, and between which values all runs lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from balproof.simulate.study import Run

FLOOR = 1e-300
"""Logarithmic axes show nothing below."""


def curve(
    axes: Any,
    runs: Sequence[Run],
    x: str,
    y: str,
    label: str,
    colour: int,
    *,
    log: bool = True,
    style: str = "-",
) -> None:
    """The mean of one series over the runs, and a band that holds all of them.

    With ``log`` the mean is the geometric one. Where runs have series of different lengths, they are
    shown up to the end of the shortest.
    """
    count = min(len(r.series[y]) for r in runs)
    values = np.array([np.asarray(r.series[y][:count], float) for r in runs])
    if log:
        values = np.maximum(values, FLOOR)
        axes.set_yscale("log")
    mean = np.exp(np.log(values).mean(axis=0)) if log else values.mean(axis=0)
    at = np.asarray(runs[0].series[x][:count], float)
    axes.plot(at, mean, style, color=f"C{colour}", label=label, linewidth=1.6)
    axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=f"C{colour}", alpha=0.2, linewidth=0)


def finish(axes: Any, x: str, y: str, *, legend: bool = True) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, axis="y", alpha=0.25, linewidth=0.8)
    if legend:
        axes.legend(frameon=False, fontsize="small")
