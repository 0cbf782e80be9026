"""Seconds, memory, and the speed of a streaming read, all in this process."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numba import njit

Array = np.ndarray
T = TypeVar("T")


@dataclass(frozen=True)
class Time:
    """The least seconds by the clock, and the least of this process on all cores."""

    wall: float
    cpu: float

    def or_less(self, other: Time) -> Time:
        return Time(min(self.wall, other.wall), min(self.cpu, other.cpu))


def best(work: Callable[[], T], seconds: float = 0.5, most: int = 40) -> tuple[Time, T]:
    """The best of as many runs as fit into ``seconds``, and the result of the last."""
    found, end = Time(np.inf, np.inf), time.perf_counter() + seconds
    for _ in range(most):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found = found.or_less(Time(wall, cpu))
        if time.perf_counter() > end:
            break
    return found, result


def extra_memory(work: Callable[[], object]) -> int:
    """The most bytes that it holds at a time, beyond what there was: NumPy's arrays are traced too."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Compiled code.
# pyright: basic


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"}, cache=True)
def _total(values: Any) -> float:
    total = values.dtype.type(0)
    for i in range(len(values)):
        total += values[i]
    return total


def read(arrays: Sequence[Array], threads: int) -> float:
    """The sum of all entries: one streaming read."""
    flat = [a.reshape(-1) for a in arrays]
    if threads == 1:
        return float(sum(_total(a) for a in flat))
    parts = [part for a in flat for part in np.array_split(a, threads)]
    with ThreadPoolExecutor(threads) as pool:
        return float(sum(pool.map(_total, parts)))
