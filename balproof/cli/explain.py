"""One claim on a terminal, in a screenful: what was claimed, what was shown, how to see it oneself."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from balproof.cli.output import out

if TYPE_CHECKING:
    from balproof.theorems.registry import Record

WIDTH = 100
"""Columns, where the terminal has them; in a pipe as well."""

SCREEN = 40
"""Lines that a terminal shows at once."""


def explain(record: Record) -> None:
    """Print what is known of one claim: a screenful on a terminal, everything in a pipe."""
    width = min(WIDTH, out.width) if out.is_terminal else WIDTH
    for text, style in screenful(record, width) if out.is_terminal else lines(record, width):
        out.print(text, style=style, markup=False)


def screenful(record: Record, width: int = WIDTH) -> list[tuple[str, str]]:
    """The lines, with checks and witnesses cut where they are too many, and where to read the rest."""
    for most in (0, 2, 1):
        found = lines(record, width, most)
        if len(found) < SCREEN:
            break
    if any(text.endswith(" …") for text, _ in found):
        found.append((f"whole texts: balproof verify {record.claim.id} | less", "dim"))
    return found


def lines(record: Record, width: int = WIDTH, most: int = 0) -> list[tuple[str, str]]:
    """The lines, each with its style for the terminal; ``most`` for a check or a witness (0: all)."""
    from balproof.report.plain import as_plain

    c, f = record.claim, record.findings
    found: list[tuple[str, str]] = []

    def add(text: str, indent: int = 0, style: str = "", most: int = 0) -> None:
        wrapped = _wrapped(as_plain(text), width, indent)
        if most and len(wrapped) > most:
            last = wrapped[most - 1]
            cut = last if len(last) <= width - 2 else last.rpartition(" ")[0]
            wrapped = [*wrapped[: most - 1], f"{cut} …"]
        found.extend((line, style) for line in wrapped)

    add(f"{c.id}  {c.title}", style="bold")
    add(c.source, style="dim")
    found.append(("", ""))
    add(f"as printed: {c.printed}")
    add(f"{f.printed.verdict}: {f.printed.why}", 2)
    add(f"exact: {c.exact}")
    required = "nothing required" if c.required is None else f"required {c.required}"
    outcome = "" if c.required is None else ", as required" if record.ok else ", NOT as required"
    add(f"{record.verdict}, {required}{outcome}", 2, "" if record.ok else "bold red")
    if c.assumptions:
        add(f"if: {'; '.join(c.assumptions)}")
    for e in f.evidence:
        add(f"{e.verdict} ({e.method}, {e.seconds:.2f} s): {e.what}", 2, most=most)
    for t in f.twins:
        wrong = "" if t.verdict.name == "refuted" else f" {t.verdict}, should be refuted:"
        add(f"without '{t.dropped}':{wrong} {t.witness}", 2, most=most)
    if shown := list(_to_see(record)):
        add("to see it:")
        found.extend((f"  {command}", "") for command in shown)
    return found


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    """Lines of at most ``width`` columns, unless a word is longer; what follows the first is indented."""
    margin = " " * indent
    return textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin + "  ",
        break_long_words=False, break_on_hyphens=False,
    ) or [margin]  # fmt: skip


def _to_see(record: Record) -> Iterator[str]:
    """Commands: for the counterexamples that the record names, and for the check itself."""
    from balproof.importers import load
    from balproof.network.manifold import infer
    from balproof.report.claims import named_files
    from balproof.theorems import counterexamples, functions, sources

    folder = Path(__file__).parents[2]
    for path in named_files(record.as_json(), counterexamples()):
        file = folder / path
        shown = shlex.quote(str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file))
        yield f"balproof inspect {shown}"
        laws = "law" in record.claim.title or not infer(load(file)).free_scales
        yield f"balproof {'conserved' if laws else 'solve'} {shown}"
    name = record.claim.id
    if name in functions():
        module = sources()[name].removesuffix(".py").replace("/", ".")
        yield f"python -c 'from {module} import {functions()[name]} as f; print(f())'"
