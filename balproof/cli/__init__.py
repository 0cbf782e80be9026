"""The command line: commands to calls below. No mathematics happens here.

Exit codes: 0 for yes, 1 for no, 2 for a question that has no answer (one line says why).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from balproof.cli.check import check
from balproof.cli.conserved import conserved
from balproof.cli.derive import derive
from balproof.cli.inspect import inspect
from balproof.cli.output import ReaderGone, out, standard_output
from balproof.cli.simulate import simulate
from balproof.cli.solve import SolveCommand, solve
from balproof.cli.verify import verify
from balproof.errors import BalproofError

app = typer.Typer(
    add_completion=False,
    help="Verify synaptic balance: derive it, solve it, certify it, and check other people's work.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (verify, derive, inspect, conserved, check, simulate):
    app.command()(command)
app.command(cls=SolveCommand)(solve)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        from balproof import __version__

        out.print(f"balproof {__version__}")
    elif context.invoked_subcommand is None:
        out.print(context.get_help(), markup=False)


def main() -> None:
    """Run a command; every failure is one line on standard error and exit code 2.

    An interrupt ends with 130, and a pipe whose reader has gone with 141, as the signals would.
    """
    _return_large_arrays()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    try:
        code = app(standalone_mode=False)
        if code == 130:  # what typer makes of an interrupt
            raise KeyboardInterrupt
        with standard_output():
            sys.stdout.flush()
    except BalproofError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(_usage(error))
    except (typer.Abort, KeyboardInterrupt):
        _fail("stopped", 130)
    except ReaderGone:
        sys.exit(141)
    except MemoryError:
        _fail("not enough memory: give a smaller model")
    except RecursionError:
        _fail("the input is nested too deeply: simplify it")
    except Exception as fault:  # a fault of ours must not look like an answer, which exit code 1 would
        if os.environ.get("BALPROOF_TRACEBACK"):
            raise
        what = " ".join(f"{type(fault).__name__}: {fault}".split())
        _fail(f"internal fault ({what[:200]}): please report it with what BALPROOF_TRACEBACK=1 shows")
    sys.exit(code if isinstance(code, int) else 0)


def _return_large_arrays() -> None:
    """Let the C library hand arrays of more than 256 KiB back to the system when they are freed.

    It would raise that limit by itself to 32 MiB, and keep the holes between them: a third more at the peak
    of a large network. Other C libraries have no such limit, or no such function.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(-3, 2**18)  # M_MMAP_THRESHOLD of malloc.h


def _usage(error: Any) -> str:
    """A wrong option in one line, and where to look."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "balproof"
    text = " ".join(str(getattr(error, "format_message", lambda: str(error))()).split()).rstrip(".")
    return f"{text}: see {path} --help"


def _fail(message: str, code: int = 2) -> NoReturn:
    with contextlib.suppress(OSError):
        print(f"balproof: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
