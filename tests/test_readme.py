"""The README's session is typed in, and says what the README shows."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import balproof.cli

Runner = Callable[[str, Path], tuple[str, str]]
"""What a command prints in a folder, on standard output and on standard error."""

# Times, and what is as small as rounding, differ from machine to machine.
LOOSE = re.compile(r"\d+\.\d+ s\b|\d(?:\.\d+)?e-\d\d")


def sessions(text: str) -> list[tuple[str, str]]:
    """Every command with what is shown below it."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        first, _, shown = block.partition("\n")
        assert first.startswith("$ ")
        found.append((first.removeprefix("$ "), shown))
    return found


def loose(text: str) -> list[str]:
    return [LOOSE.sub("~", line).rstrip() for line in text.rstrip().splitlines()]


def agrees(shown: str, printed: str) -> bool:
    """Whether the lines agree; a line … stands for one line or more."""
    lines = [r"[^\n]*(?:\n[^\n]*)*?" if line == "…" else re.escape(line) for line in loose(shown)]
    return re.fullmatch("\n".join(lines), "\n".join(loose(printed))) is not None


def as_a_program(command: str, folder: Path) -> tuple[str, str]:
    program = f"{Path(sys.executable).parent}/{command}"
    done = subprocess.run(shlex.split(program), cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


def run(found: list[tuple[str, str]], root: Path, folder: Path, print_it: Runner = as_a_program) -> None:
    shutil.copytree(root / "tests" / "data", folder / "tests" / "data")
    for command, shown in found:
        printed, errors = print_it(command, folder)
        assert errors == "", command
        assert agrees(shown, printed), f"{command} printed\n{printed}"


def is_long(command: str) -> bool:
    """Campaigns and simulations: some seconds each."""
    return command.startswith(("balproof simulate", "balproof verify --replay")) or "--samples" in command


def test_the_readme_shows_what_is_printed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process; what takes longer is run as a program, in the slow stage."""

    def here(command: str, folder: Path) -> tuple[str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit):
            balproof.cli.main()
        return capsys.readouterr()

    found = [s for s in sessions((root / "README.md").read_text()) if not is_long(s[0])]
    assert len(found) >= 6
    run(found, root, tmp_path, here)


@pytest.mark.slow
def test_it_shows_what_campaigns_and_simulations_print(root: Path, tmp_path: Path) -> None:
    found = [s for s in sessions((root / "README.md").read_text()) if is_long(s[0])]
    assert len(found) == 3
    torch = importlib.util.find_spec("torch") is not None
    run([s for s in found if torch or not s[0].startswith("balproof simulate")], root, tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n…\n", "a\nb\nc\n", True),
        ("a\n…\n", "b\nc\n", False),
        ("cost 1.5\n", "cost 1.6\n", False),
        ("in 0.41 s, 7e-15\n", "in 1.20 s, 3e-16\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n…\nc\n", "a\nb\nc\nd\n", False),
        ("a\n…\nc\n…\n", "a\nb\n\nc\nd\n", True),
        ("a\n…\nb\n", "a\nb\n", False),
    ],
)
def test_the_comparison_sees(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) is same
