"""``balproof derive``: optimal scale, balance equation and laws, with what checked each step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from balproof.cli.output import out, progress, require_outputs, write_text
from balproof.errors import RequestError


def derive(
    activation: Annotated[
        str | None,
        typer.Option(
            metavar="EXPR", help="a name (relu, gelu, swiglu, …), or a formula in x (of a gate: x, y, z)"
        ),
    ] = None,
    regularizer: Annotated[
        str | None, typer.Option(metavar="EXPR", help="l1, l2, lp:P, a formula in w, group:P,Q or max")
    ] = None,
    regularizer_out: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="the regularizer of the weights out, where it is another"),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="of a parameter: 'a>0', 'p>=1', 'b real'; may be repeated"),
    ] = None,
    weights_in: Annotated[
        str | None, typer.Option(metavar="W,…", help="λ and the gain for these weights in, as 1,-2,3/4")
    ] = None,
    weights_out: Annotated[str | None, typer.Option(metavar="W,…", help="and these weights out")] = None,
    network: Annotated[
        Path | None, typer.Option(metavar="F", help="add the scaling laws of this network")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="FORM", help="md, tex, html, ipynb or json")
    ] = "md",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="F", help="write to a file")
    ] = None,
    recheck: Annotated[
        Path | None,
        typer.Option(metavar="F", help="run every step of a stored derivation (--format json) again"),
    ] = None,
) -> int:
    """Derive the optimal scale, the balance equation and the conserved quantities.

    Exits with 1 where there is not exactly one optimal scale, or where that is undecided. With --recheck,
    exits with 1 where a step is less certain than the file says, or where a claim or a formula is another.

    Example: balproof derive --activation "Max(x,0)**2" --regularizer "abs(w)**p" --assume "p>1"
    """
    from balproof.importers import load
    from balproof.importers.json_file import as_json, to_document
    from balproof.network.laws import scaling_laws
    from balproof.report.derivation import render
    from balproof.symbolic.derivation import derive as make
    from balproof.symbolic.derivation import derive_gate
    from balproof.symbolic.gate import is_gate

    asked = (activation, regularizer, regularizer_out, assume, weights_in, weights_out, network, output)
    if recheck is not None:
        if any(option is not None for option in asked):
            raise RequestError("--recheck takes its request from the file", "leave the other options out")
        return _recheck(recheck)
    if activation is None or regularizer is None:
        missing = "--activation" if activation is None else "--regularizer"
        raise RequestError(f"{missing} is missing", "give both, or --recheck F")
    require_outputs((output,), () if network is None else (network,))
    with progress("deriving"):
        laws, document = [], None
        if network is not None:
            loaded = load(network)
            laws = [law.as_json() for law in scaling_laws(loaded)]
            document = to_document(as_json(loaded)) if format_ == "json" else None
        given = tuple(assume or ())
        if (weights_in is None) != (weights_out is None):
            raise RequestError("--weights-in and --weights-out need each other", "give both or none")
        weights = None
        if weights_in is not None and weights_out is not None:
            weights = weights_in.split(","), weights_out.split(",")
        if is_gate(activation):
            if network is not None or weights is not None:
                raise RequestError(
                    "--network and --weights-in take a function of one argument", "leave one of them out"
                )
            derivation = derive_gate(
                activation, regularizer, regularizer_out=regularizer_out, assumptions=given
            )
        else:
            derivation = make(
                activation,
                regularizer,
                laws,
                regularizer_out=regularizer_out,
                assumptions=given,
                weights=weights,
                network=document,
            )
        text = render(derivation, format_)
    text = text if text.endswith("\n") else text + "\n"
    write_text(output or "-", text)
    return 0 if derivation.answer else 1


def _recheck(path: Path) -> int:
    from balproof.report.recheck import read, recheck

    with progress("deriving again"):
        found = recheck(read(path))
    for difference in found.differences:
        out.print(difference, markup=False)
    steps = len(found.derivation.steps)
    count = len(found.differences)
    said = "all as stored" if found.ok else f"{count} {'difference' if count == 1 else 'differences'}"
    out.print(f"{found.derivation.title}: {steps} steps run again, {said}", markup=False)
    return 0 if found.ok else 1
