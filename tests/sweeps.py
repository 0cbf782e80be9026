"""Parameters of broad sweeps: a spread of them in the fast stage, the others in the slow one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(values: Iterable[Any], *fast: Any) -> list[Any]:
    """All of ``values``; but for those named, they are marked slow."""
    values = list(values)
    assert set(fast) <= set(values), "no such parameter"
    return [v if v in fast else pytest.param(v, marks=pytest.mark.slow) for v in values]


def crossed(first: Iterable[Any], second: Iterable[Any], slow: Collection[Any] = ()) -> list[Any]:
    """All pairs; but for one with each value of either, and none with ``slow``, they are marked slow."""
    first, second = sorted(first, key=lambda a: a in slow), list(second)
    n = min(len(first), len(second))
    return [
        pytest.param(a, b, marks=[pytest.mark.slow] if a in slow or (i - j) % n else [])
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]


def spread(values: Iterable[Any], every: int) -> list[Any]:
    """All of ``values``; but for each ``every``-th, they are marked slow. Tuples are several arguments."""
    return [
        pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=[pytest.mark.slow] if i % every else [])
        for i, v in enumerate(values)
    ]
