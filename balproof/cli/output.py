"""What commands share: options, JSON, tables, progress, and refusing to overwrite an input."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
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
    bool, typer.Option("--no-bias-cost", help="biases cost nothing; they are rescaled all the same")
]
DaskOption = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="work on the cluster of this scheduler")
]
ResumeOption = Annotated[
    Path | None, typer.Option("--resume", metavar="DIR", help="keep what is finished; go on from there")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help=".onnx, .pt2, .json, .npz, .npy or .mtx")]


class ReaderGone(Exception):
    """Standard output is a pipe whose reader has gone, with all that it wanted."""


@contextmanager
def standard_output() -> Generator[None]:
    """Write to it, or say why not.

    Raises ReaderGone, and RequestError where nothing more can be written.
    """
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from None
        raise RequestError(
            f"standard output cannot be written ({error.strerror})", "make room, or write to a file"
        ) from None


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        with standard_output():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise  # Rich would exit with 1, which is an answer


out = _Console(soft_wrap=True, highlight=False)

LONGEST = 240
"""Bytes of a file's name: systems take 255, some of which name the part that is being written."""

ROWS = 40
"""Rows of a table, or faults, that are printed; the JSON answer has all."""


def write_text(target: str | Path, text: str) -> None:
    """Replace a file, whole or not at all; - is standard output, and devices and pipes are written to.

    Raises RequestError where such a device takes nothing, and ModelError as `write_atomically`.
    """
    path = Path(target)
    if str(target) == "-":
        with standard_output():
            sys.stdout.write(text)
    elif path.absolute().is_relative_to("/dev") or (path.exists() and not path.is_file()):
        try:
            with path.open("a", encoding="utf-8") as stream:  # /dev/stdout may be a file with text in it
                stream.write(text)
        except OSError as error:
            raise RequestError(f"{path} cannot be written ({error.strerror})", "write to a file") from None
    else:
        write_atomically(path, text.encode())


def emit(data: object, target: str | None) -> bool:
    """Write JSON where it was asked for; True if standard output is taken by it."""
    if target is None:
        return False
    write_text(target, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return target == "-"


def require_outputs(targets: Iterable[Path | str | None], inputs: Sequence[Path] = ()) -> None:
    """Before any work: each target lies in a folder that exists, is no input, and is named once.

    Raises RequestError otherwise.
    """
    seen: list[str] = []
    for path in (Path(target) for target in targets if target is not None):
        real = "-" if str(path) == "-" else os.path.realpath(path)  # which links in a circle do not stop
        if real in seen:
            raise RequestError(f"{path} is asked for twice", "give each output a file of its own")
        seen.append(real)
        if real == "-":
            continue
        if any(real == os.path.realpath(source) for source in inputs):
            raise RequestError(f"{path} is also an input", "write to another file")
        if len(os.fsencode(path.name)) > LONGEST:
            raise RequestError(f"the name {path.name[:20]}… is too long", f"use at most {LONGEST} bytes")
        if path.is_dir() or not Path(real).parent.is_dir():
            what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
            raise RequestError(f"{path} {what}", "name a file in a folder that exists")


@contextmanager
def progress(what: str) -> Generator[Callable[[str], None]]:
    """A line that says what goes on, on a terminal; silent in a pipe."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status(what) as status:
        yield lambda text: status.update(f"{what}: {escape(text)}")


@contextmanager
def stoppable() -> Generator[Callable[[], bool]]:
    """Whether an interrupt came: the first one asks to stop, the second one ends the program."""
    asked: list[bool] = []

    def ask(*_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_bar(what: str) -> Generator[Callable[[int, int, str], None]]:
    """A bar on a terminal, told how much is done, of how much, and what was last; silent in a pipe."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda done, of, last: None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None, last="")
        yield lambda done, of, last: bar.update(task, completed=done, total=of, last=last)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table without lines; nothing is cut off, whatever the width."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    _Console(highlight=False, width=max(out.width, 100)).print(table)


def number(x: float | None, digits: int = 4) -> str:
    """A number for people; a dash for none."""
    return "–" if x is None else f"{x:.{digits}g}"


def some(names: Any, count: int = 8) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)[:count]
    return ", ".join(shown) + (f" and {len(names) - count} more" if len(names) > count else "")
