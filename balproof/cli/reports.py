"""Writing what ``verify`` found as a page and as LaTeX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from balproof.cli.output import progress, write_text
from balproof.errors import RequestError

if TYPE_CHECKING:
    from balproof.report.claims import Origin
    from balproof.theorems.registry import Record

ROOT = Path(__file__).resolve().parents[2]
"""The folder that the package lies in."""


def write_reports(records: Sequence[Record], html: Path | None, tex: Path | None) -> bool:
    """Write the files that are asked for, each whole or not at all; True if standard output is taken.

    Raises RequestError for a SOURCE_DATE_EPOCH that is no time, and what `write_text` raises.
    """
    if html is not None:
        from balproof.report.html import render_report
        from balproof.report.pictures import pictures

        with progress("drawing figures"):
            figures = pictures()
        write_text(html, render_report(records, origin=_origin(html), figures=figures, date=today()))
    if tex is not None:
        from balproof.report.claims_tex import render_tex

        write_text(tex, render_tex(records, origin=_origin(None), date=today()))
    return Path("-") in (html, tex)


def today() -> str:
    """The day in UTC, or that of SOURCE_DATE_EPOCH, for pages that are the same when made again."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        raise RequestError(
            f"SOURCE_DATE_EPOCH is {epoch!r}, which is no number of seconds since 1970", "correct or unset it"
        ) from None
    return moment.date().isoformat()


def _origin(page: Path | None) -> Origin:
    """Files are linked from a page that lies in one tree with them, so that both can move together."""
    from balproof.report.claims import Origin
    from balproof.theorems import counterexamples, functions, sources

    folder = None if page is None or str(page) == "-" else page.resolve().parent
    beside = folder is not None and folder.is_relative_to(ROOT)
    root = os.path.relpath(ROOT, folder).replace(os.sep, "/") if beside else None
    return Origin(sources(), functions(), counterexamples(), root)
