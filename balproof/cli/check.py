"""``balproof check``: audit what another program made of a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from balproof.cli.output import (
    ROWS,
    JsonOption,
    NoBiasCost,
    Specs,
    emit,
    number,
    out,
    progress,
    require_outputs,
)
from balproof.errors import RequestError

if TYPE_CHECKING:
    from balproof.crosscheck.audit import Audit
    from balproof.crosscheck.causes import Cause
    from balproof.crosscheck.extremes import Asked
    from balproof.network.graph import Network


def check(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="the original model")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="what another program made of it")],
    regularizer: Specs = None,
    no_bias_cost: NoBiasCost = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="F", help="draw the imbalance of every unit before and after (.svg or .png)"),
    ] = None,
    json_: JsonOption = None,
) -> int:
    """Audit AFTER: a rescaling of BEFORE, the same function, balanced, optimal, and if not, why?

    With --regularizer max, or range, balance is that of cross-layer equalisation in quantisation tools.

    Exits with 1 where a fault was found.

    Example: balproof check tests/data/digits.onnx balanced.onnx --regularizer l2
    """
    from balproof.crosscheck.audit import check as run
    from balproof.crosscheck.extremes import asked
    from balproof.importers import load

    require_outputs((json_, plot), (before, after))
    if plot is not None:
        from balproof.report.plots import check_plot_path

        check_plot_path(plot)
    costs = asked(regularizer or "l2", bias_cost=not no_bias_cost)
    with progress("checking"):
        networks = load(before), load(after, finite=False)
        audit = run(*networks, costs)
    if plot is not None:
        _plot(*networks, costs, audit, plot)
    if not emit(audit.as_json(), json_):
        _print(audit)
    return 0 if audit.ok else 1


def _plot(before: Network, after: Network, costs: Asked, audit: Audit, path: Path) -> None:
    """Where both can be balanced: the same network, and numbers."""
    from balproof.crosscheck.audit import BALANCE_TOLERANCE
    from balproof.crosscheck.judged import judge
    from balproof.network.manifold import infer
    from balproof.report.plots import save_layers

    if audit.imbalance is None:
        raise RequestError(
            f"there is no balance of AFTER to draw ({audit.faults[0].kind}: {audit.faults[0].where})",
            "leave --plot out, and see the faults",
        )
    manifold = infer(before)
    states = [judge(dataclasses.replace(manifold, network=n), costs) for n in (before, after)]
    moving = np.flatnonzero(states[0].active & states[1].active)
    layers = [manifold.names[k].rsplit("[", 1)[0] for k in moving]
    values = [state.imbalances[moving].tolist() for state in states]
    save_layers(path, layers, values[0], values[1], BALANCE_TOLERANCE)


def _effect(cause: Cause) -> str:
    """What it does to the outputs, where that was measured."""
    many = f"; {cause.weights} weights" if cause.weights else ""
    if cause.alone is None or cause.repaired is None:
        return many
    return (
        f"{many}; outputs differ by {number(cause.alone)} by it alone, by {number(cause.repaired)} without it"
    )


def _print(audit: Audit) -> None:
    def say(word: bool) -> str:
        return "yes" if word else "NO"

    out.print(f"a rescaling of BEFORE  {say(audit.same_orbit)}")
    proof = f": {audit.proof.statement}" if audit.proof else ""
    out.print(f"the same function      {audit.function}{proof}")
    error, gap = audit.function_error, audit.optimality_gap
    compared = "not compared" if error is None else f"{number(error)} of the largest output"
    out.print(f"outputs differ by      {compared}")
    out.print(f"balanced               {say(audit.balanced)}, imbalance {number(audit.imbalance)}")
    bound = "no bound" if gap is None else f"at most {number(gap)}, relatively"
    out.print(f"above the optimum by   {bound}")
    for cause in audit.explanation:
        out.print(f"{cause.kind}  {cause.where}", markup=False)
        out.print(f"  {cause.text}{_effect(cause)}", markup=False)
    for fault in audit.faults[:ROWS]:
        size = "" if fault.size is None else f"  ({fault.size:.3g})"
        out.print(f"  {fault.kind}: {fault.where}{size}", markup=False)
    if len(audit.faults) > ROWS:
        out.print(f"  … and {len(audit.faults) - ROWS} more (--json has all)")
    for note in audit.notes:
        out.print(note, markup=False)
    out.print("ok" if audit.ok else "not ok")
