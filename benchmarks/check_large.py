"""`check` of 10⁷ weights against reading both files: ``python benchmarks/check_large.py``

A perceptron 784-2048-2048-2048-10 in single precision, as ONNX, and what `solve` makes of it under l2. The
measure is the time of reading both files and multiplying all weights once by a factor for each row and each
column. Every time is the best of five, in one process, after a first run that compiles what is not compiled
yet; ``--profile`` says where it goes.

Two cores of an AMD EPYC, in use by others, 26 November 2026, seconds on the clock and of the process:

    reading both, multiplying  0.042 s   0.040 s
    balproof.load of both      0.018 s   0.018 s
    check                      0.082 s   0.082 s, twice as long

The weights of a large file go straight into arrays, and are read twice there, in single precision: once in
both files together for everything that is compared and summed, and once to run both functions on the same
inputs. The bound on the gap (`balproof.crosscheck.sums`) reads none.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from balproof.balance.solve import solve
from balproof.crosscheck.audit import check
from balproof.importers import load, save

WIDTHS = (784, 2048, 2048, 2048, 10)

T = TypeVar("T")


def write(path: Path, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
    """Gemm and Relu, in turn."""
    nodes, x = [], "x"
    initializers = []
    for i, (w, b) in enumerate(zip(weights, biases, strict=True), start=1):
        initializers += [
            numpy_helper.from_array(w, f"fc{i}.weight"),
            numpy_helper.from_array(b, f"fc{i}.bias"),
        ]
        nodes.append(helper.make_node("Gemm", [x, f"fc{i}.weight", f"fc{i}.bias"], [f"z{i}"], transB=1))
        x = f"z{i}"
        if i < len(weights):
            nodes.append(helper.make_node("Relu", [x], [f"a{i}"]))
            x = f"a{i}"
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", width])
        for n, width in (("x", WIDTHS[0]), (x, WIDTHS[-1]))
    ]
    graph = helper.make_graph(nodes, "perceptron", ends[:1], ends[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def best(work: Callable[[], T], times: int = 5) -> tuple[tuple[float, float], T]:
    """Seconds of the fastest runs, on the clock and of the process, and what they gave."""
    result = work()
    clock, process = [], []
    for _ in range(times):
        start, begun = time.perf_counter(), time.process_time()
        result = work()
        clock.append(time.perf_counter() - start)
        process.append(time.process_time() - begun)
    return (min(clock), min(process)), result


def main() -> None:
    """Write both files, and time both readings of them."""
    rng = np.random.default_rng(0)
    shapes = list(zip(WIDTHS[1:], WIDTHS[:-1], strict=True))
    weights = [rng.standard_normal(s, dtype=np.float32) / np.float32(np.sqrt(s[1])) for s in shapes]
    weights = [np.where(w == 0, np.float32(1e-3), w) for w in weights]
    biases = [rng.standard_normal(n, dtype=np.float32) for n in WIDTHS[1:]]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        write(before, weights, biases)
        save(solve(load(before)).network, after)
        ones = [(np.ones((m, 1), np.float32), np.ones((1, n), np.float32)) for m, n in shapes]

        def read() -> list[np.ndarray]:
            models = [onnx.load(path) for path in (before, after)]
            arrays = [
                [numpy_helper.to_array(t) for t in m.graph.initializer if len(t.dims) == 2] for m in models
            ]
            return [w * r * c for ws in arrays for w, (r, c) in zip(ws, ones, strict=True)]

        print(f"{sum(w.size for w in weights):,} weights")
        floor, _ = best(read)
        print(f"reading both, multiplying  {floor[0]:6.3f} s  {floor[1]:6.3f} s")
        loading, _ = best(lambda: (load(before), load(after)))
        print(f"balproof.load of both      {loading[0]:6.3f} s  {loading[1]:6.3f} s")
        if sys.argv[1:] == ["--profile"]:
            profile = cProfile.Profile()
            profile.runcall(check, before, after)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
        seconds, audit = best(lambda: check(before, after))
        assert audit.ok, audit.faults[:3]
        print(f"check                      {seconds[0]:6.3f} s  {seconds[1]:6.3f} s")
        ratios = [a / b for a, b in zip(seconds, floor, strict=True)]
        print(f"                           {ratios[0]:.1f} and {ratios[1]:.1f} times as long")
        print(f"same orbit, function {audit.function}, gap {audit.optimality_gap}")


if __name__ == "__main__":
    main()
