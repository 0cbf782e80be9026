"""``balproof conserved``: the laws of gradient flow, and proof that there are no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from balproof.cli.output import (
    ROWS,
    JsonOption,
    Model,
    emit,
    out,
    print_table,
    progress,
    require_outputs,
    some,
)

if TYPE_CHECKING:
    from balproof.conservation import Conserved


def conserved(
    model: Model,
    flow: Annotated[
        str,
        typer.Option(metavar="FLOW", help="euclidean, natural, decay:λ, mirror:ψ(w) or momentum:γ"),
    ] = "euclidean",
    loss: Annotated[
        str, typer.Option(metavar="LOSS", help="any, or cross-entropy: gradients of sum 0 in the outputs")
    ] = "any",
    data: Annotated[
        Path | None,
        typer.Option(metavar="F", help=".npz with an array for each input: count for these inputs only"),
    ] = None,
    signs: Annotated[
        bool, typer.Option("--signs", help="only weights with the signs that they have in the file")
    ] = False,
    degree: Annotated[
        int, typer.Option(metavar="D", help="search polynomials up to this degree, if the count leaves room")
    ] = 2,
    seed: Annotated[int, typer.Option(metavar="N", help="seed of the point and the inputs")] = 0,
    json_: JsonOption = None,
) -> int:
    """List what gradient flow conserves, and say whether there is more.

    Example: balproof conserved tests/data/chain.json
    """
    from balproof.conservation import conserved as run
    from balproof.importers import load
    from balproof.importers.arrays import read_arrays
    from balproof.network.listed import full

    require_outputs((json_,), (model,) if data is None else (model, data))
    with progress("looking for laws"):
        given = None if data is None else read_arrays(data)
        found = run(
            full(load(model)), flow=flow, loss=loss, data=given, signs=signs, degree=degree, seed=seed
        )
    if emit(found.as_json(), json_):
        return 0
    rows = _rows(found)
    if rows:
        print_table(("of", "count", "kind", "conserved", "verified by"), rows[:ROWS], right=("count",))
    if len(rows) > ROWS:
        out.print(f"… and {len(rows) - ROWS} more rows (--json has all)")
    out.print(f"{chr(10) if rows else ''}{found.sentence}", markup=False)
    for what in ("flow", "data", "loss", "region", "searched"):
        out.print(f"{what:<9} {getattr(found, what)}", markup=False)
    if found.candidates:
        out.print(f"not shown, so not counted: {some(found.candidates, 3)}", markup=False)
    return 0


def _rows(found: Conserved) -> list[Sequence[str]]:
    """Consecutive laws of one layer that read alike, as one row; of others, the first formula."""
    groups: list[tuple[list[int], tuple[str, ...]]] = []
    for i, (law, unit) in enumerate(zip(found.laws, found.units, strict=True)):
        facts = (
            unit.rsplit("[", 1)[0],
            law.kind,
            found.short[i] or ("" if law.kind != "scaling" else law.formula),
        )
        if groups and groups[-1][1] == facts:
            groups[-1][0].append(i)
        else:
            groups.append(([i], facts))
    rows: list[Sequence[str]] = []
    for members, (_, kind, short) in groups:
        first, last = found.units[members[0]], found.units[members[-1]]
        name = first if first == last else f"{first} … {last}"
        text = short or found.laws[members[0]].formula + (" …" if len(members) > 1 else "")
        rows.append((name, str(len(members)), kind, text, found.laws[members[0]].verified_by))
    return rows
