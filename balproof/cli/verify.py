"""``balproof verify``: check the claims of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from balproof.cli.output import (
    ROWS,
    JsonOption,
    emit,
    out,
    print_table,
    progress_bar,
    require_outputs,
    write_text,
)
from balproof.errors import RequestError

if TYPE_CHECKING:
    from balproof.theorems.registry import Record


def verify(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="claims to check; default: all")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="list the claims and check nothing")] = False,
    json_: JsonOption = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="F", help="write a report page")] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="what is checked at a time")] = 1,
    samples: Annotated[
        int,
        typer.Option("--samples", metavar="N", help="random instances of each claim that has a family"),
    ] = 0,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="work on the cluster of this scheduler")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="keep what is finished; go on from there")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="F", help="check anew what a JSON answer says")
    ] = None,
) -> int:
    """Check the claims of the registry.

    Example: balproof verify B.path-cover B.favorable
    """
    from balproof import __version__
    from balproof.report.html import render_report
    from balproof.theorems import CLAIMS, sources
    from balproof.theorems import verify as run
    from balproof.theorems.registry import select

    require_outputs((html, json_), [] if replay is None else [replay])
    if replay is not None:
        if ids or list_ or samples or dask or resume or html or json_:
            raise RequestError("--replay checks what its file says", "give it with --jobs alone")
        return _replay(replay, jobs)
    chosen = select(CLAIMS, ids or [])
    if list_:
        rows = [(c.claim.id, str(c.claim.required or "–"), c.claim.title) for c in chosen]
        data = [{"id": i, "title": title, "required": required} for i, required, title in rows]
        if not emit({"version": __version__, "claims": data}, json_):
            for row in rows:
                out.print(f"{row[0]:<28} {row[1]:<10} {row[2]}", markup=False)
        return 0
    with progress_bar("checking claims") as tell:
        records = run(
            *(c.claim.id for c in chosen), jobs=jobs, samples=samples, dask=dask, resume=resume, progress=tell
        )
    ok = all(r.ok for r in records)
    if html is not None:
        write_text(html, render_report(records, sources=sources()))
    if not emit({"version": __version__, "claims": [r.as_json() for r in records], "ok": ok}, json_):
        if len(records) == 1:
            _explain(records[0])
        else:
            _print(records)
    return 0 if ok else 1


def _replay(path: Path, jobs: int) -> int:
    from balproof.theorems.running import replay

    with progress_bar("checking claims anew") as tell:
        records, differences = replay(path, jobs=jobs, progress=tell)
    for difference in differences[:ROWS]:
        out.print(str(difference), markup=False)
    if len(differences) > ROWS:
        out.print(f"and {len(differences) - ROWS} more")
    ok = all(r.ok for r in records)
    out.print(
        f"{len(records)} claims checked anew: "
        + (f"{len(differences)} differences from {path}" if differences else f"all is as {path} says")
        + ("" if ok else ", and not all as required"),
        markup=False,
    )
    return 0 if ok and not differences else 1


def _print(records: list[Record]) -> None:
    print_table(
        ("claim", "as printed", "exact", "required", "s", ""),
        [
            (
                r.claim.id,
                str(r.findings.printed.verdict),
                str(r.verdict),
                "–" if r.claim.required is None else str(r.claim.required),
                f"{r.seconds:.1f}",
                "" if r.claim.required is None else "ok" if r.ok else "NOT OK",
            )
            for r in records
        ],
        right=("s",),
    )
    checked = [r for r in records if r.claim.required is not None]
    failed = [r.claim.id for r in records if not r.ok]
    pending = len(records) - len(checked)
    out.print(
        f"\n{len(checked) - len(failed)} of {len(checked)} claims as required, {pending} not checked yet"
    )
    if failed:
        out.print(f"not as required: {', '.join(failed)}; say balproof verify ID for one of them")


def _explain(r: Record) -> None:
    """One claim in a screenful."""
    c = r.claim
    out.print(f"[bold]{c.id}[/bold]  {escape(c.title)}\n[dim]{escape(c.source)}[/dim]\n")
    out.print(
        f"as printed: {escape(c.printed)}\n  {r.findings.printed.verdict}: {escape(r.findings.printed.why)}\n"
    )
    out.print(f"exact: {escape(c.exact)}\n  verdict {r.verdict}, required {c.required or 'none'}")
    for a in c.assumptions:
        out.print(f"  assuming {escape(a)}")
    for e in r.findings.evidence:
        out.print(f"  {e.verdict} ({e.method}, {e.seconds:.2f} s): {escape(e.what)}")
    for t in r.findings.twins:
        out.print(f"  without '{escape(t.dropped)}': {t.verdict}: {escape(t.witness)}")
    out.print("as required" if r.ok else "NOT as required")
