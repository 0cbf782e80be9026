"""What commands share: options, JSON, tables, progress, and refusing to overwrite an input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from balproof.errors import RequestError
from balproof.importers.files import write_atomically

JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="F", help="write the answer as JSON; - for standard output")
]
Specs = Annotated[
    list[str] | None,
    typer.Option(
        "--regularizer",
        metavar="SPEC",
        help="l1, l2 (default), lp:1.5, a formula in w, or 'NAME*=SPEC' for some tensors; may be repeated",
    ),
]
NoBiasCost = Annotated[
    bool, typer.Option("--no-bias-cost", help="leave biases out of the cost (never out of the symmetry)")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help=".onnx, .json, .npz, .npy or .mtx")]

out = Console(soft_wrap=True, highlight=False)

ROWS = 40
"""Rows of a table, or faults, that are printed; the JSON answer has all."""


def write_text(path: Path, text: str) -> None:
    """Replace a file, whole or not at all."""
    write_atomically(path, text.encode())


def emit(data: object, target: str | None) -> bool:
    """Write JSON where it was asked for; True if standard output is taken by it."""
    if target is None:
        return False
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return True
    write_text(Path(target), text)
    return False


def require_outputs(targets: Iterable[Path | str | None], inputs: Sequence[Path] = ()) -> None:
    """Before any work: each target lies in a folder that exists, and is no input.

    Raises RequestError otherwise.
    """
    for target in targets:
        if target is None or str(target) == "-":
            continue
        path = Path(target)
        if any(path.resolve() == source.resolve() for source in inputs):
            raise RequestError(f"{target} is also an input", "write to another file")
        if path.is_dir() or not path.resolve().parent.is_dir():
            what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
            raise RequestError(f"{target} {what}", "name a file in a folder that exists")


@contextmanager
def progress(what: str) -> Generator[Callable[[str], None]]:
    """A line that says what goes on, on a terminal; silent in a pipe."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status(what) as status:
        yield lambda text: status.update(f"{what}: {escape(text)}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table without lines; nothing is cut off, whatever the width."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False, width=max(out.width, 100)).print(table)


def number(x: float | None, digits: int = 4) -> str:
    """A number for people; a dash for none."""
    return "–" if x is None else f"{x:.{digits}g}"


def some(names: Any, count: int = 8) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)[:count]
    return ", ".join(shown) + (f" and {len(names) - count} more" if len(names) > count else "")
