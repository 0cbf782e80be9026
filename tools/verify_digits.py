"""The whole way on a trained network: ``python tools/verify_digits.py``, the second half of ``make verify``.

On tests/data/digits.onnx: which units can scale; the balanced state for L1, L2 and L1.5 by sweeps with a
coarse correction, by stochastic balancing from five seeds and by CVXPY, each compared weight by weight with
the optimum that carries a certificate; the balanced file written, run by onnxruntime on all digits next to
the original, and audited. Writes build/report/index.html, with the claims that ``balproof verify`` left in
build/report/verify.json, and build/report/digits.json. Exits with 1 if anything is not as it must be.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from balproof.balance.convex import solve_convex
from balproof.balance.direct import direct
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import Solution, solve
from balproof.cli.reports import today
from balproof.crosscheck.audit import Audit, check
from balproof.importers import load, save
from balproof.importers.files import write_atomically
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.report.claims import Origin
from balproof.report.html import NetworkReport, Solve, render_report
from balproof.report.pictures import pictures
from balproof.theorems import counterexamples, functions, sources

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "tests" / "data" / "digits.onnx"
REPORT = ROOT / "build" / "report"
COSTS = ("l2", "l1", "lp:1.5")
SEEDS = range(5)

IMBALANCE = GAP = 1e-12  # of a state that counts as the optimum
WEIGHTS = 1e-10  # relative, between the weights of any two methods
VALUE = 1e-7  # relative, of the optimum that CVXPY's solver reports
OUTPUT = 64 * 2.0**-23  # of the largest output: some tens of roundings of float32


@dataclass
class Outcome:
    """What was found so far: rows of the table, and what is not as it must be."""

    rows: list[Solve] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def require(self, holds: bool, what: str) -> None:
        if not holds:
            self.faults.append(what)


def difference(left: Network, right: Network) -> float:
    """The largest relative difference of two networks' weights."""
    worst = 0.0
    for tensor in left.parameters:
        a, b = left.numbers(tensor.name), right.numbers(tensor.name)
        worst = max(worst, float(np.max(np.abs(a - b) / np.where(b == 0, 1.0, np.abs(b)))))
    return worst


def solves(network: Network, cost: str, outcome: Outcome) -> tuple[Solution, dict[int, tuple[float, ...]]]:
    """Every method under one cost, compared with the certified optimum."""
    optimum = solve(network, cost, method="multilevel", certify=True)
    gap = None if optimum.certificate is None else optimum.certificate.gap
    outcome.require(optimum.imbalance <= IMBALANCE, f"{cost}: imbalance {optimum.imbalance:.1e}")
    outcome.require(gap is not None and gap <= GAP, f"{cost}: certified gap {gap}")

    def row(found: Solution, method: str, seed: int | None, shown: float | None) -> None:
        apart = difference(found.network, optimum.network)
        outcome.require(apart <= WEIGHTS, f"{cost}, {method}, seed {seed}: weights differ by {apart:.1e}")
        outcome.rows.append(Solve(
            regularizer=cost, method=method, seed=seed, cost=found.cost_after, imbalance=found.imbalance,
            gap=shown, difference=apart,
        ))  # fmt: skip

    row(optimum, "multilevel", None, gap)
    histories: dict[int, tuple[float, ...]] = {}
    for seed in SEEDS:
        found = solve(network, cost, method="stochastic", seed=seed, certify=True)
        histories[seed] = found.history
        row(found, "stochastic", seed, None if found.certificate is None else found.certificate.gap)
    convex(network, cost, optimum, outcome)
    return optimum, histories


def convex(network: Network, cost: str, optimum: Solution, outcome: Outcome) -> None:
    """CVXPY's own point and value, and the point after Newton's method."""
    problem = BalanceProblem.build(network, cost)
    found = solve_convex(problem)
    off = abs(found.value / optimum.cost_after - 1)
    outcome.require(off <= VALUE, f"{cost}: CVXPY's value is off by {off:.1e}")
    polished = direct(problem, found.h)
    for h, method, limit in ((found.h, "CVXPY", np.inf), (polished.h, "CVXPY, then Newton", WEIGHTS)):
        apart = difference(problem.manifold.rescale(h), optimum.network)
        outcome.require(apart <= limit, f"{cost}, {method}: weights differ by {apart:.1e}")
        outcome.rows.append(Solve(
            regularizer=cost, method=method, seed=None, cost=problem.cost(h), imbalance=problem.imbalance(h),
            gap=None, difference=apart,
        ))  # fmt: skip


def written(solution: Solution, cost: str, outcome: Outcome) -> tuple[float, Audit]:
    """Write the balanced network, run both files on the digits with onnxruntime, and audit the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "balanced.onnx"
        save(solution.network, path)
        before, after = (logits(p) for p in (DIGITS, path))
        audit = check(load(DIGITS), load(path), cost)
    changed = float(np.max(np.abs(before - after)) / np.max(np.abs(before)))
    outcome.require(changed <= OUTPUT, f"{cost}: outputs on the digits differ by {changed:.1e}")
    outcome.require(bool(np.all(before.argmax(1) == after.argmax(1))), f"{cost}: digits are read differently")
    outcome.require(audit.ok, f"{cost}: check finds {[f.kind for f in audit.faults][:3]}")
    return changed, audit


def logits(path: Path) -> np.ndarray:
    """What onnxruntime makes of all 1797 digits."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = load_digits(return_X_y=True)[0]
    return session.run(None, {"x": (pixels / 16.0).astype(np.float32)})[0]


class Stored:
    """A record as ``balproof verify --json`` wrote it."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = dict(record)

    def as_json(self) -> dict[str, Any]:
        return self.record


def claims() -> list[Stored]:
    """The claims of the first half of ``make verify``; none if that was not run."""
    path = REPORT / "verify.json"
    return [Stored(c) for c in json.loads(path.read_text())["claims"]] if path.is_file() else []


def report() -> tuple[NetworkReport, Outcome]:
    """Everything about the digits network."""
    outcome = Outcome()
    network = load(DIGITS)
    manifold = infer(network)
    record = json.loads(DIGITS.with_suffix(".json").read_text())
    outcome.require(record["test_accuracy"] > 0.95, f"test accuracy {record['test_accuracy']}")
    found = NetworkReport(
        name="tests/data/digits.onnx",
        description="A ReLU network 64-48-32-10 with biases, trained on the handwritten digits that "
        "scikit-learn bundles; weights in float32.",
        solves=outcome.rows,
        accuracy=record["test_accuracy"],
        inspect={
            "parameters": sum(t.size for t in network.parameters),
            "free_scales": manifold.free_scales,
            "invariants": manifold.invariants(),
        },
    )
    for cost in COSTS:
        solution, histories = solves(network, cost, outcome)
        changed, audit = written(solution, cost, outcome)
        if cost == "l2":  # the pictures and the audit on the page are those of the usual weight decay
            problems = [BalanceProblem.build(n, cost) for n in (network, solution.network)]
            before, after = (p.imbalances(np.zeros(p.count)).tolist() for p in problems)
            found |= NetworkReport(
                histories=histories, optimum=solution.cost_after, before=before, after=after,
                check=audit.as_json(), function_difference=changed,
            )  # fmt: skip
    return found, outcome


def show(rows: list[Solve]) -> None:
    """The table for a person."""
    table = Table(title="digits.onnx, 64-48-32-10, ReLU", box=None, pad_edge=False, title_justify="left")
    for heading in ("cost", "method", "seed"):
        table.add_column(heading)
    for heading in ("R", "imbalance", "certified gap", "from optimum"):
        table.add_column(heading, justify="right")
    for row in rows:
        gap = "–" if row["gap"] is None else f"{row['gap']:.0e}"
        seed = "" if row["seed"] is None else str(row["seed"])
        table.add_row(
            row["regularizer"], row["method"], seed, f"{row['cost']:.9f}", f"{row['imbalance']:.0e}", gap,
            f"{row['difference']:.0e}",
        )  # fmt: skip
    console = Console(highlight=False)
    Console(highlight=False, width=max(console.width, 100)).print(table)


def main() -> int:
    """Run, print, write; the exit code."""
    with Console(stderr=True).status("the digits network: 3 costs, 8 solves each"):
        network, outcome = report()
    records = claims()
    REPORT.mkdir(parents=True, exist_ok=True)
    origin = Origin(sources(), functions(), counterexamples(), root="../..")
    page = render_report(records, [network], origin=origin, figures=pictures(), date=today())
    write_atomically(REPORT / "index.html", page.encode())
    facts = {k: v for k, v in network.items() if k not in ("histories", "before", "after")}
    text = json.dumps({**facts, "faults": outcome.faults}, indent=2, default=float) + "\n"
    write_atomically(REPORT / "digits.json", text.encode())
    print()
    show(outcome.rows)
    inspected = network["inspect"]
    print(
        f"\n{inspected['parameters']} parameters, {inspected['free_scales']} free scales, "
        f"{inspected['invariants']} invariants; test accuracy {100 * network['accuracy']:.1f} %\n"
        f"balanced file: outputs on 1797 digits differ by {network['function_difference']:.1e} of the "
        f"largest; audit {'ok' if network['check']['ok'] else 'NOT OK'}"
    )
    failed = [r.record["id"] for r in records if not r.record["ok"]]
    required = sum(r.record["required"] is not None for r in records)
    print(
        f"claims: {required - len(failed)} of {required} as required, "
        f"{len(records) - required} not checked yet"
    )
    for fault in outcome.faults:
        print(f"NOT AS IT MUST BE: {fault}")
    print(f"report: {os.path.relpath(REPORT / 'index.html')}")
    return 1 if outcome.faults or failed else 0


if __name__ == "__main__":
    sys.exit(main())
