"""A network of the shape of ResNet-50, 25.6 million weights: ``python benchmarks/resnet50.py``

Prints the seconds of each step and the peak memory of the process after it, next to that of the weights.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from balproof.balance.solve import solve
from balproof.crosscheck.audit import check
from balproof.network.manifold import infer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.convnets import resnet  # noqa: E402 the tests' networks, wherever this is started from

T = TypeVar("T")


def timed(what: str, work: Callable[[], T]) -> T:
    """Run, and print the time and the memory."""
    start = time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:<24}{time.perf_counter() - start:8.1f} s{peak:10.0f} MiB", flush=True)
    return result


def main() -> None:
    """Build, inspect, solve."""
    network = timed("build", resnet)
    size = sum(t.size for t in network.parameters)
    print(f"{size:,} weights, {8 * size / 2**20:.0f} MiB in double precision")
    manifold = timed("infer", lambda: infer(network))
    timed("free scales", lambda: manifold.free_scales)
    timed("invariants", manifold.invariants)
    timed("dead units", lambda: manifold.dead_units)
    print(f"{manifold.free_scales:,} free scales, {manifold.invariants():,} invariants")
    found = timed("solve, l2", lambda: solve(network, "l2", certify=True))
    print(f"{found.status} by {found.method}: imbalance {found.imbalance:.1e} in {found.passes:.0f} passes")
    bound = found.certificate
    print(
        found.no_certificate
        if bound is None
        else f"gap {bound.gap:.1e}, log-scales within {bound.radius:.1e}"
    )
    audit = timed("check", lambda: check(network, found.network))
    print(f"{'ok' if audit.ok else 'not ok'}, function {audit.function}")


if __name__ == "__main__":
    main()
