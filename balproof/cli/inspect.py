"""``balproof inspect``: the units of a model, and what keeps some of them from scaling."""

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
from balproof.errors import RequestError

if TYPE_CHECKING:
    from balproof.network.manifold import Unit


def inspect(
    model: Model,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="epsilon=0", help="count what holds up to the ε of normalisations"),
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option(metavar="F", help="draw the network with its scale groups (.svg, .png or .pdf)"),
    ] = None,
    invariants: Annotated[
        bool,
        typer.Option(
            "--invariants", help="list the products of weights that balancing keeps (small networks)"
        ),
    ] = False,
    json_: JsonOption = None,
) -> int:
    """List the units that can scale, and what blocks the others.

    Example: balproof inspect tests/data/digits.onnx
    """
    from balproof.importers import load
    from balproof.network.invariants import invariants as basis_of
    from balproof.network.manifold import infer
    from balproof.network.rules_norm import without_epsilon

    if wrong := [text for text in assume or [] if text.replace(" ", "") != "epsilon=0"]:
        raise RequestError(f"{wrong[0]!r} cannot be assumed", "say --assume epsilon=0, or nothing")

    require_outputs((json_, graph), (model,))
    if graph is not None:
        from balproof.report.graph import check_graph_path

        check_graph_path(graph)
    with progress("reading"):
        network, assumptions = load(model), ()
        if assume:
            network, assumptions = without_epsilon(network)
        manifold = infer(network)
        dead = manifold.dead_units
        data = {
            "parameters": sum(t.size for t in network.learned),
            "free_scales": manifold.free_scales,
            "invariants": manifold.invariants(),
            "units": [u.as_json() for u in manifold.units],
            "dead_units": list(dead),
            "unseen": list(manifold.unseen),
            "assumptions": list(assumptions),
        }
        products = basis_of(manifold) if invariants else ()
        if invariants:
            data["products"] = [product.as_json() for product in products]
        if graph is not None:
            from balproof.report.graph import save_graph

            save_graph(graph, network)
    if emit(data, json_):
        return 0
    rows = _rows(manifold.units)
    print_table(("units", "count", "degree", "free", "why"), rows[:ROWS], right=("count",))
    if len(rows) > ROWS:
        out.print(f"… and {len(rows) - ROWS} more rows (--json has all)")
    counts = f"{data['parameters']} parameters, {data['free_scales']} free scales"
    out.print(f"\n{counts}, {data['invariants']} invariants")
    if dead:
        out.print(f"dead units, in or out all 0 or dead: {some(dead)}", markup=False)
    if manifold.unseen:
        out.print(f"no output sees: {some(manifold.unseen)}", markup=False)
    if assumptions:
        out.print(f"assumed: {some(assumptions)}", markup=False)
    if invariants:
        out.print("kept by balancing, with the signs of all weights:")
        for product in products[:ROWS]:
            out.print(f"  {product.kind:<7} {product.formula}", markup=False)
        if len(products) > ROWS:
            out.print(f"  … and {len(products) - ROWS} more (--json has all)")
    return 0


def _rows(units: Sequence[Unit]) -> list[tuple[str, str, str, str, str]]:
    """Consecutive units of one layer that agree in all else, as one row."""
    rows: list[tuple[list[str], tuple[str, str, str]]] = []
    for u in units:
        facts = ("–" if u.degree is None else str(u.degree), "yes" if u.free else "no", u.why)
        stem = u.name.rsplit("[", 1)[0]
        if rows and rows[-1][1] == facts and rows[-1][0][0].rsplit("[", 1)[0] == stem:
            rows[-1][0].append(u.name)
        else:
            rows.append(([u.name], facts))
    return [
        (names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}", str(len(names)), *facts)
        for names, facts in rows
    ]
