"""``balproof verify``: check the claims of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from balproof.cli.output import JsonOption, emit, out, print_table, progress, require_outputs, write_text

if TYPE_CHECKING:
    from balproof.theorems.registry import Record


def verify(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="claims to check; default: all")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="list the claims and check nothing")] = False,
    json_: JsonOption = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="F", help="write a report page")] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="claims checked at a time")] = 1,
    formal: Annotated[bool, typer.Option("--formal", help="have Coq check the theorems, too")] = False,
) -> int:
    """Check the claims of the registry.

    Example: balproof verify B.path-cover B.favorable
    """
    from balproof import __version__
    from balproof.report.html import render_report
    from balproof.theorems import CLAIMS, sources
    from balproof.theorems.formal import gate_or_reason, strengthened
    from balproof.theorems.registry import select
    from balproof.theorems.registry import verify as run

    require_outputs((html, json_))
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
        if formal:
            tell("Coq compiles the theorems")
            records = strengthened(records, gate_or_reason())
    ok = all(r.ok for r in records)
    if html is not None:
        write_text(html, render_report(records, sources=sources()))
    if not emit({"version": __version__, "claims": [r.as_json() for r in records], "ok": ok}, json_):
        if len(records) == 1:
            _explain(records[0])
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
