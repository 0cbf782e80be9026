"""Write the derivations in this folder; with --check, compare them and exit 1 where one differs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from balproof.report.derivation import render
from balproof.symbolic.activation import Activation
from balproof.symbolic.derivation import derive
from balproof.symbolic.regularizer import Regularizer

HERE = Path(__file__).resolve().parent
CASES = {"relu-l2.md": ("relu", "l2")}


def document(activation: str, regularizer: str) -> str:
    """One derivation as Markdown."""
    return render(derive(Activation.parse(activation), Regularizer.parse(regularizer)), "md")


def main(arguments: Sequence[str], folder: Path = HERE) -> int:
    """Generate, or compare with ``--check``; the exit code."""
    if list(arguments) not in ([], ["--check"]):
        print("usage: python derivations/generate.py [--check]", file=sys.stderr)
        return 2
    different: list[str] = []
    for name, (activation, regularizer) in CASES.items():
        text, path = document(activation, regularizer), folder / name
        if not arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            different.append(name)
    for name in different:
        print(
            f"derivations/{name} is not what the program derives: run python derivations/generate.py",
            file=sys.stderr,
        )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
