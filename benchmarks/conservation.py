"""What `conserved` takes, for ReLU and linear networks of two sizes: ``python benchmarks/conservation.py``

Prints the seconds of laws with their count, and of the replay of the certificate.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from balproof.conservation import conserved, replay

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.networks import mlp  # noqa: E402 the tests' networks, wherever this is started from

WIDTHS = ([7, 7, 5], [14, 30, 30, 20])
"""Of 96 and of 2,000 parameters."""


def main() -> None:
    """Each network once."""
    print(f"{'network':<24}{'laws':>6}{'verdict':>10}{'conserved':>12}{'replay':>10}")
    for widths in WIDTHS:
        for activation in ("relu", "linear"):
            network = mlp(widths, activation=activation)
            size = sum(t.size for t in network.learned)
            start = time.perf_counter()
            found = conserved(network)
            middle = time.perf_counter()
            assert replay(network, found.as_json()["count"]["certificate"]).agrees
            end = time.perf_counter()
            name = f"{activation}, {size:,}"
            count = found.count
            print(
                f"{name:<24}{count.k:>6}{count.verdict:>10}{middle - start:>10.2f} s{end - middle:>8.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
