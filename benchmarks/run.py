"""Ours and the peers in one process on the same inputs: ``make bench``, or ``python -m benchmarks.run -h``.

`benchmarks/README.md` says what each column means.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numpy as np

from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.certificates import isotone
from balproof.balance.certificates.isotone import certify_blocks
from balproof.balance.problem import Costs
from balproof.balance.state import BALANCED
from balproof.errors import BalproofError
from balproof.network.manifold import Manifold, infer
from benchmarks.inputs import CASES, Case
from benchmarks.measure import best, extra_memory, read
from benchmarks.peers import PEERS, SWEEPS, TOLERANCE, Skip, Subject
from benchmarks.table import lines_of, record_history, target_lines, training_lines
from benchmarks.targets import targets
from benchmarks.training import training

ROOT = Path(__file__).resolve().parent.parent
COSTS = Costs.parse("l2")
Record = dict[str, Any]


def build(manifold: Manifold) -> BlockProblem:
    """State the problem over blocks of weights."""
    problem = BlockProblem.build(manifold, COSTS)
    assert problem is not None, "blocks do not apply"
    return problem


def certifiable(problem: BlockProblem) -> tuple[np.ndarray, float]:
    """The state that ``solve`` returns with a certificate, and the reads that it takes."""
    state = sweeps(problem, tolerance=BALANCED / 4)
    polish = getattr(isotone, "polished", None)
    if polish is None:  # a commit before it, of those that are compared
        return state.h, state.passes
    h, _, reads = polish(problem, state.h, problem.sums(state.h))
    return h, state.passes + 1 + reads


def run_case(case: Case, *, seconds: float = 0.5, limit: int = SWEEPS, peers: bool = True) -> Record:
    """One input: ours and, where asked, its peers."""
    network = case.make()
    (inferring, manifold) = best(lambda: infer(network), 0)
    problem = build(manifold)
    found = sweeps(problem, tolerance=TOLERANCE)  # compiles, where that is to do
    h, certifiable_reads = certifiable(problem)
    certificate = certify_blocks(problem, h)

    def solve() -> BlockProblem:
        own = build(manifold)
        sweeps(own, tolerance=TOLERANCE)
        return own

    solving, _ = best(solve, seconds)
    subject = Subject(manifold, problem, limit)
    others = [run_peer(name, subject, seconds) for name in case.peers if peers]
    solving = solving.or_less(best(solve, seconds)[0])  # again, with the peers in between
    for peer in others:
        if peer["skipped"] is None:
            peer["ratio"], peer["wall_ratio"] = peer["cpu"] / solving.cpu, peer["wall"] / solving.wall
    arrays = [pair.weights for pair in problem.pairs]
    return {
        "group": case.group,
        "name": case.name,
        "reads_wanted": case.reads,
        "weights": problem.size,
        "bytes": sum(a.nbytes for a in arrays),
        "scales": manifold.count,
        "moving": int(problem.active.sum()),
        "infer": dataclasses.asdict(inferring),
        "ours": {
            **dataclasses.asdict(solving),
            "build": dataclasses.asdict(best(lambda: build(manifold), seconds)[0]),
            "certify": dataclasses.asdict(best(lambda: certify_blocks(problem, h), seconds)[0]),
            "reads": found.passes,
            "sweeps": len(found.history) - 1,
            "imbalance": problem.imbalance(found.h),
            "certifiable_reads": certifiable_reads,
            "radius": getattr(certificate, "radius", None),
            "no_certificate": getattr(certificate, "reason", None),
            "extra_memory": extra_memory(lambda: certify_blocks(solve(), found.h)),
        },
        "peers": others,
        "stream": streaming(manifold, problem, found.h, seconds) if case.stream else None,
    }


def run_peer(name: str, subject: Subject, seconds: float) -> Record:
    """One peer: its time, and the imbalance that its state has by our count."""
    peer = PEERS[name]
    blank = dict.fromkeys(("wall", "cpu", "reads", "imbalance", "ratio", "wall_ratio"))
    try:
        work = peer.prepare(subject)
        spent, (h, reads) = best(work, seconds, 1 if peer.once else 20)
    except Skip as reason:
        return {"name": name, **blank, "note": None, "skipped": str(reason)}
    imbalance, note = subject.problem.imbalance(h), None
    if peer.tolerance is not None and imbalance > 1.01 * peer.tolerance:
        note = f"stopped after {subject.sweeps} sweeps" if imbalance > 10 * peer.tolerance else None
    return {
        "name": name,
        **blank,
        **dataclasses.asdict(spent),
        "reads": reads,
        "imbalance": imbalance,
        "note": note,
        "skipped": None,
    }


def streaming(manifold: Manifold, problem: BlockProblem, h: np.ndarray, seconds: float) -> Record:
    """A read of all weights against sweeps, with one thread (by CPU) and with all (by the clock)."""
    arrays = [pair.weights for pair in problem.pairs]
    count, found = numba.get_num_threads(), []

    def swept(number: int) -> float:
        return sweeps(problem, tolerance=0.0, limit=number, coarse=False, memory=0).passes

    def whole() -> None:
        own = build(manifold)
        sweeps(own, tolerance=TOLERANCE)
        certify_blocks(own, h)

    for threads in sorted({1, count}):
        numba.set_num_threads(threads)
        try:
            times = [best(work, seconds)[0] for work in (lambda t=threads: read(arrays, t), whole)]
            (short, few), (long, many) = (best(lambda n=n: swept(n), seconds) for n in (1, 9))
        finally:
            numba.set_num_threads(count)
        kind = "cpu" if threads == 1 else "wall"
        one, solve = (getattr(t, kind) for t in times)
        sweep = (getattr(long, kind) - getattr(short, kind)) / (many - few)
        found.append(
            {
                "threads": threads,
                "clock": kind,
                "read": one,
                "sweep": sweep,
                "sweep_share": one / sweep,
                "solve": solve,
                "solve_in_reads": solve / one,
                "bytes_per_second": sum(a.nbytes for a in arrays) / one,
            }
        )
    return {"threads": found}


def machine() -> Record:
    """What the figures depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [
            x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")
        ]
        model = named[0] if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = {name: version(name) for name in ("numpy", "scipy", "numba", "cvxpy", "clarabel")}
    return {"cpu": model, "cores": cores, "load": os.getloadavg()[0], "python": platform.python_version(),
            **libraries}  # fmt: skip


def commit() -> str:
    """The commit of the tree, with a + where it has changes."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + "+" * bool(git("status", "--porcelain"))


def chosen(only: str | None, full: bool) -> list[Case]:
    """The cases whose group or name has the text."""
    found = [c for c in CASES if only is None or only in f"{c.group}: {c.name}"]
    return [c for c in found if full or not c.full]


def measure(
    cases: Sequence[Case], mode: str, *, train: bool = False, partly: bool = False, **settings: Any
) -> Record:
    """All that ``build/bench/bench.json`` holds; with ``train`` also `benchmarks.training`.

    ``partly``: without the cases that the package refuses, as older commits do.
    """
    start, found = time.perf_counter(), []
    for case in cases:
        try:
            found.append(run_case(case, **settings))
        except BalproofError as refused:
            if not partly:
                raise
            print(f"\n{case.group}: {case.name}: left out: {refused}", flush=True)
            continue
        print("\n".join(lines_of(found[-1])), flush=True)
    trained = training(settings.get("seconds", 0.5)) if train else None
    if trained is not None:
        print("\n".join(training_lines(trained)), flush=True)
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "mode": mode,
        "cases": found,
        "training": trained,
        "targets": targets(found, trained),
        "seconds": time.perf_counter() - start,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="also the large inputs: 16 GB of memory, 15 minutes"
    )
    parser.add_argument("--only", metavar="TEXT", help="only cases whose group or name has the text")
    parser.add_argument("--no-peers", action="store_true", help="only ours")
    parser.add_argument("--partly", action="store_true", help="leave out cases that the package refuses")
    parser.add_argument("--record", action="store_true", help="add a line to benchmarks/README.md")
    parser.add_argument("--seconds", type=float, default=0.5, help="for the repetitions of each measurement")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "bench.json")
    given = parser.parse_args(arguments)
    cases = chosen(given.only, given.full)
    train = given.only is None or given.only in "training"
    if not cases and not train:
        print(f"no case has {given.only!r} in its name: see CASES in benchmarks/inputs.py", file=sys.stderr)
        return 2
    mode = "full" if given.full else "quick"
    found = measure(
        cases, mode, train=train, partly=given.partly, seconds=given.seconds, peers=not given.no_peers
    )
    print("\n".join(target_lines(found["targets"])))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{found['seconds']:.0f} s; written to {given.json}")
    if given.record:
        record_history(found, ROOT / "benchmarks" / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
