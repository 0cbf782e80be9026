"""``balproof verify``: check the claims of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from balproof.cli.explain import explain
from balproof.cli.output import (
    ROWS,
    DaskOption,
    JsonOption,
    ResumeOption,
    emit,
    out,
    print_table,
    progress,
    progress_bar,
    require_outputs,
)
from balproof.cli.reports import write_reports
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
    formal: Annotated[bool, typer.Option("--formal", help="have Coq check the theorems, too")] = False,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="what is checked at a time")] = 1,
    samples: Annotated[
        int,
        typer.Option("--samples", metavar="N", help="random instances of each claim that has a family"),
    ] = 0,
    dask: DaskOption = None,
    resume: ResumeOption = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="F", help="check anew what a JSON answer says")
    ] = None,
    tex: Annotated[Path | None, typer.Option("--tex", metavar="F", help="write the report as LaTeX")] = None,
) -> int:
    """Check the claims of the registry.

    Example: balproof verify B.path-cover B.favorable
    """
    from balproof import __version__
    from balproof.theorems import CLAIMS
    from balproof.theorems import verify as run
    from balproof.theorems.formal import gate_or_reason, strengthened
    from balproof.theorems.registry import select

    require_outputs((html, tex, json_), [] if replay is None else [replay])
    if replay is not None:
        if ids or list_ or formal or samples or dask or resume or html or tex or json_:
            raise RequestError("--replay checks what its file says", "give it with --jobs alone")
        return _replay(replay, jobs)
    chosen = select(CLAIMS, ids or [])
    if list_ and (html or tex or samples or dask or resume):
        raise RequestError("--list checks nothing", "give it with ids and --json alone")
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
    if formal:
        with progress("Coq compiles the theorems"):
            records = strengthened(records, gate_or_reason())
    ok = all(r.ok for r in records)
    taken = write_reports(records, html, tex)
    answer = {"version": __version__, "claims": [r.as_json() for r in records], "ok": ok}
    if not emit(answer, json_) and not taken:
        if len(records) == 1:
            explain(records[0])
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
        f"{len(records)} claim{'s' * (len(records) != 1)} checked anew: "
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
    free = len(records) - len(checked)
    out.print(
        f"\n{len(checked) - len(failed)} of {len(checked)} claims as required, nothing required of {free}"
    )
    if failed:
        out.print(f"not as required: {', '.join(failed)}; say balproof verify ID for one of them")
