"""Two equalisation programs under `balproof.audit`: SciPy's `matrix_balance`, and Brevitas' `EqualizeGraph`.

Brevitas is no dependency of this project (it asks for older setuptools). In an environment of its own:

    python -m venv equalize
    equalize/bin/pip install -e '.[onnx,torch]' brevitas==0.13.4
    equalize/bin/python benchmarks/equalize.py

Brevitas makes the ranges max|w| of both sides of each channel equal, biases left out: so it is asked for
``max`` with biases without cost. It stops after 10 rounds, or once all
scales of a round are within 0.05 of 1.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from brevitas.fx import symbolic_trace
from brevitas.graph.equalize import EqualizeGraph
from torch import nn

import balproof
from balproof.crosscheck.extremes import Extremes

MAX = Extremes("max", bias_cost=False)


def brevitas(**settings: Any) -> Callable[[nn.Module], nn.Module]:
    """A function that equalises a module."""

    def equalise(module: nn.Module) -> nn.Module:
        traced = symbolic_trace(copy.deepcopy(module))  # tracing alone keeps the modules
        with torch.no_grad():
            return EqualizeGraph(merge_bias=False, **settings).apply(traced)

    return equalise


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for title, settings in (
        ("as it comes", {}),
        ("200 rounds, within 1e-9", {"iterations": 200, "threshold": 1e-9}),
    ):
        found = balproof.audit(brevitas(**settings), regularizer=MAX, takes="module")
        print(f"EqualizeGraph, {title}")
        print(found.as_text(seconds=False))
        for case in found.cases:
            for cause in case.audit.explanation if case.audit else ():
                alone = "" if cause.alone is None else f"; outputs change by {cause.alone:.2g}"
                print(f"  {case.name}: {cause.kind} {cause.where}{alone}")


if __name__ == "__main__":
    main()
