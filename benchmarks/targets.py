"""What we want to show, beside what a run has reached."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

Record = dict[str, Any]

CERTIFIED = ("dense", "ResNet", "transformer")
"""The groups whose balanced states we want to enclose closely, at every depth."""


def targets(cases: list[Record], trained: Record | None = None) -> list[Record]:
    """One record a target and case: what, target, reached, ok."""
    found = [target for case in cases for target in _of(case)]
    if trained is not None:
        found.append(_record("training", "balance_ / forward and backward", trained["ratio"], most=1))
    return found


def _record(
    case: str, what: str, reached: float | None, most: float | None = None, least: float | None = None
) -> Record:
    target = f"≤ {most:g}" if most is not None else f"≥ {least:g}"
    ok = reached is not None and (reached <= most if most is not None else reached >= (least or 0.0))
    return {"case": case, "what": what, "target": target, "reached": reached, "ok": bool(ok)}


def _of(case: Record) -> Iterator[Record]:
    record = partial(_record, f"{case['group']}: {case['name']}")
    ours, weights = case["ours"], case["weights"]
    yield record("imbalance", ours["imbalance"], most=1e-10)
    if case["reads_wanted"] is not None:
        yield record("reads to 1e-10", ours["reads"], most=case["reads_wanted"])
    if case["group"] in CERTIFIED:
        yield record("certified radius", ours["radius"], most=1e-9)
    wanted = {"stochastic": 100.0}
    if weights >= 1_000_000:
        wanted["plain"] = 5.0
        wanted["matrix_balance"] = 3.0
    if 45_000 <= weights <= 60_000:
        wanted["clarabel"] = 1000.0
    for peer in case["peers"]:
        if peer["name"] in wanted and peer["skipped"] is None:
            # A user of SciPy has one core work; what the second one is good for is seen by the clock alone.
            ratio = peer["wall_ratio" if peer["name"] == "matrix_balance" else "ratio"]
            yield record(f"times faster than {peer['name']}", ratio, least=wanted[peer["name"]])
    stream = case["stream"]
    if stream is not None and weights >= 100_000_000:
        for own in stream["threads"]:
            threads = f"{own['threads']} thread" + "s" * (own["threads"] > 1)
            yield record(
                f"solve and certificate in streaming reads, {threads}", own["solve_in_reads"], most=40
            )
            yield record(f"a sweep's share of the streaming speed, {threads}", own["sweep_share"], least=0.5)
        yield record("extra memory / weights", ours["extra_memory"] / case["bytes"], most=0.1)
