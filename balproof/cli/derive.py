"""``balproof derive``: optimal scale, balance equation and laws, with what checked each step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from balproof.cli.output import progress, require_outputs, write_text


def derive(
    activation: Annotated[
        str, typer.Option(metavar="EXPR", help="a name (relu, abs, gelu, …) or a formula in x")
    ],
    regularizer: Annotated[str, typer.Option(metavar="EXPR", help="l1, l2, lp:P or a formula in w")],
    network: Annotated[
        Path | None, typer.Option(metavar="F", help="add the scaling laws of this network")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="FORM", help="md, tex, html, ipynb or json")
    ] = "md",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="F", help="write to a file")
    ] = None,
) -> int:
    """Derive the optimal scale, the balance equation and the conserved quantities.

    Exits with 1 where there is not exactly one optimal scale, or where that is undecided.

    Example: balproof derive --activation "Max(x,0)**2" --regularizer "abs(w)**p"
    """
    from balproof.importers import load
    from balproof.network.laws import scaling_laws
    from balproof.report.derivation import render
    from balproof.symbolic.activation import Activation
    from balproof.symbolic.derivation import derive as make
    from balproof.symbolic.regularizer import Regularizer

    require_outputs((output,), () if network is None else (network,))
    with progress("deriving"):
        laws = [law.as_json() for law in scaling_laws(load(network))] if network is not None else []
        derivation = make(Activation.parse(activation), Regularizer.parse(regularizer), laws)
        text = render(derivation, format_)
    text = text if text.endswith("\n") else text + "\n"
    write_text(output or "-", text)
    return 0 if derivation.answer else 1
