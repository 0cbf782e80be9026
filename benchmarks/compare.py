"""Two commits on the same inputs: ``make bench-compare BASE=<commit>``.

BASE is checked out beside this tree, for as long as it takes. Both run the cases of this tree, in processes
of their own and in turns, so that what else the machine does meets both. A ratio above 1 says that this tree
is slower; it is that of the medians of CPU time, beside the smallest and largest ratio of neighbouring runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = ("benchmarks", "tests/convnets.py")
"""What both trees run: the cases, and what they are made of."""

PARTS = ("infer", "solve", "certify")
Run = dict[str, dict[str, float]]


class Stop(Exception):
    """One line for the user: cause: remedy."""


def git(*words: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Stop(f"git {words[0]}: {(done.stderr or 'failed').strip().splitlines()[-1]}: see git status")
    return done.stdout.strip()


def known(base: str) -> str:
    """The hash of a commit."""
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Stop(f"no commit {base!r} is here: name one of git log, or fetch it")
    return done.stdout.strip()


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A worktree of the commit with the cases of this tree; it is removed whatever happens."""
    with tempfile.TemporaryDirectory(prefix="balproof-bench-") as folder:
        tree = Path(folder) / "tree"
        git("worktree", "add", "--detach", "--force", str(tree), commit)
        try:
            for name in OURS:
                to = tree / name
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, to, dirs_exist_ok=True)
                else:
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, to)
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def run(tree: Path, label: str, only: str | None, seconds: float, folder: Path) -> Run:
    """CPU seconds of each part of each case, with the package of ``tree``."""
    to = folder / "run.json"
    command = [sys.executable, "-m", "benchmarks.run", "--no-peers", "--partly", "--json", str(to)]
    command += ["--seconds", str(seconds), *(["--only", only] if only else [])]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise Stop(
            f"the bench does not run on {label} ({last}): compare with a commit that has what it times"
        )
    return parts(json.loads(to.read_text(encoding="utf-8")))


def parts(found: dict[str, Any]) -> Run:
    """By case: CPU seconds of `PARTS`, and reads."""
    return {
        f"{c['group']}: {c['name']}": {
            "infer": c["infer"]["cpu"],
            "solve": c["ours"]["cpu"],
            "certify": c["ours"]["certify"]["cpu"],
            "reads": c["ours"]["reads"],
        }
        for c in found["cases"]
    }


def compared(base: Sequence[Run], here: Sequence[Run]) -> list[str]:
    """A line a case: for each part the ratio here/base with its spread, and the reads."""
    lines = [f"{'':<40}" + "".join(f"{p:>24}" for p in PARTS) + f"{'reads':>16}"]
    for case in here[0]:
        if case not in base[0]:
            lines.append(f"{case:<40}  the base refuses it")
            continue
        cells = []
        for part in PARTS:
            pairs = [(a[case][part], b[case][part]) for a, b in zip(base, here, strict=True)]
            if not all(a > 0 and b > 0 for a, b in pairs):  # less than a tick of the processor's clock
                cells.append("too short")
                continue
            ratio = statistics.median(b for _, b in pairs) / statistics.median(a for a, _ in pairs)
            single = [b / a for a, b in pairs]
            mark = "+" if min(single) > 1.1 else "-" if max(single) < 1 / 1.1 else " "
            cells.append(f"{mark} {ratio:.2f} ({min(single):.2f}–{max(single):.2f})")
        reads = f"{base[0][case]['reads']:.1f} → {here[0][case]['reads']:.1f}"
        lines.append(f"{case:<40}" + "".join(f"{c:>24}" for c in cells) + f"{reads:>16}")
    lines.append("+ slower, - faster in every pair of runs by more than 10 %")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("base", help="a commit, branch or tag")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each tree")
    parser.add_argument("--only", metavar="TEXT", help="only cases whose group or name has the text")
    parser.add_argument("--seconds", type=float, default=0.3, help="for the repetitions of each measurement")
    given = parser.parse_args(arguments)
    try:
        commit = known(given.base)
        base, here = list[Run](), list[Run]()
        with checked_out(commit) as tree, tempfile.TemporaryDirectory() as folder:
            for i in range(max(1, given.rounds)):
                for own, label, runs in ((tree, given.base, base), (ROOT, "this tree", here)):
                    print(f"round {i + 1} of {given.rounds}: {label}", file=sys.stderr, flush=True)
                    runs.append(run(own, label, given.only, given.seconds, Path(folder)))
    except Stop as stop:
        print(stop, file=sys.stderr)
        return 2
    print("\n".join([f"this tree / {given.base} ({commit[:10]})", *compared(base, here)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
