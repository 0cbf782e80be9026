"""``balproof verify``: check the claims of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from balproof.cli.explain import explain
from balproof.cli.output import JsonOption, emit, out, print_table, progress, require_outputs
from balproof.cli.reports import write_reports

if TYPE_CHECKING:
    from balproof.theorems.registry import Record


def verify(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="claims to check; default: all")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="list the claims and check nothing")] = False,
    json_: JsonOption = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="F", help="write a report page")] = None,
    tex: Annotated[Path | None, typer.Option("--tex", metavar="F", help="write the report as LaTeX")] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="claims checked at a time")] = 1,
) -> int:
    """Check the claims of the registry.

    Example: balproof verify B.path-cover B.favorable
    """
    from balproof import __version__
    from balproof.theorems import CLAIMS
    from balproof.theorems.registry import select
    from balproof.theorems.registry import verify as run

    require_outputs((html, tex, json_))
    chosen = select(CLAIMS, ids or [])
    if list_:
        rows = [(c.claim.id, str(c.claim.required or "–"), c.claim.title) for c in chosen]
        data = [{"id": i, "title": title, "required": required} for i, required, title in rows]
        if not emit({"version": __version__, "claims": data}, json_):
            for row in rows:
                out.print(f"{row[0]:<28} {row[1]:<10} {row[2]}", markup=False)
        return 0
    done: list[Record] = []

    def step(record: Record) -> None:
        done.append(record)
        tell(f"{len(done)} of {len(chosen)}, last {record.claim.id}")

    with progress("checking claims") as tell:
        records = run(chosen, jobs=jobs, progress=step)
    ok = all(r.ok for r in records)
    taken = write_reports(records, html, tex)
    answer = {"version": __version__, "claims": [r.as_json() for r in records], "ok": ok}
    if not emit(answer, json_) and not taken:
        if len(records) == 1:
            explain(records[0])
        else:
            _print(records)
    return 0 if ok else 1


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
