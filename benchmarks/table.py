"""What a run prints, and its line in the table of all runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Record = dict[str, Any]

_END = "<!-- the next run -->"


def lines_of(case: Record) -> list[str]:
    """Ours and each peer in a line."""
    ours = case["ours"]
    reads = f"{ours['reads']:>9.2f}"
    share = 100 * ours["extra_memory"] / case["bytes"]
    bound = f"{ours['radius']:.0e}" if ours["radius"] is not None else f"none ({ours['no_certificate']})"
    found = [
        "",
        f"{case['group']}: {case['name']}: {case['weights']:,} weights, {case['moving']:,} scales move",
        f"  {'':<16}{'CPU ms':>10}{'ms':>10}{'ratio':>9}{'reads':>9}{'imbalance':>12}",
        f"  {'ours':<16}{_ms(ours['cpu'])}{_ms(ours['wall'])}{'1':>9}{reads}{ours['imbalance']:>12.1e}",
    ]
    for peer in case["peers"]:
        if peer["skipped"] is not None:
            found.append(f"  {peer['name']:<16}skipped: {peer['skipped']}")
            continue
        reads = f"{peer['reads']:>9.0f}" if peer["reads"] is not None else f"{'–':>9}"
        note = f"  {peer['note']}" if peer["note"] else ""
        found.append(
            f"  {peer['name']:<16}{_ms(peer['cpu'])}{_ms(peer['wall'])}{peer['ratio']:>9.1f}{reads}"
            f"{peer['imbalance']:>12.1e}{note}"
        )
    certify = ours["certify"]["cpu"] * 1e3
    found.append(f"  radius {bound}, in {certify:.1f} CPU ms; extra memory {share:.1f} % of the weights")
    for own in (case["stream"] or {"threads": ()})["threads"]:
        found.append(
            f"  {own['threads']} thread(s), {own['clock']}: read {own['read'] * 1e3:.1f} ms "
            f"({own['bytes_per_second'] / 1e9:.1f} GB/s), sweep {own['sweep'] * 1e3:.1f} ms "
            f"({own['sweep_share']:.2f} of that speed), solve and certificate {own['solve'] * 1e3:.0f} ms "
            f"= {own['solve_in_reads']:.0f} reads"
        )
    return found


def training_lines(found: Record) -> list[str]:
    """Balancing within a training."""
    step, balance, gaps = found["step"], found["balance"], (found["imbalance_before"], found["imbalance"])
    return [
        "",
        f"training: {found['name']}",
        f"  {'':<24}{'CPU ms':>10}{'ms':>10}",
        f"  {'forward and backward':<24}{_ms(step['cpu'])}{_ms(step['wall'])}",
        f"  {'balance_':<24}{_ms(balance['cpu'])}{_ms(balance['wall'])}",
        f"  {found['reads']:.1f} reads, imbalance {gaps[0]:.1e} to {gaps[1]:.1e}",
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:>10.2f}"


def target_lines(targets: list[Record]) -> list[str]:
    """Target and reached side by side."""
    width = max((len(t["case"]) for t in targets), default=0) + 2
    found = ["", f"{'':<{width}}{'':<58}{'target':>9}{'reached':>11}"]
    for t in targets:
        reached = "–" if t["reached"] is None else f"{t['reached']:.3g}"
        missed = "" if t["ok"] else "NOT REACHED"
        found.append(f"{t['case']:<{width}}{t['what']:<58}{t['target']:>9}{reached:>11}  {missed}".rstrip())
    found.append(f"{sum(t['ok'] for t in targets)} of {len(targets)} targets reached")
    return found


def history_line(found: Record) -> str:
    """Date, commit, machine and key figures: the worst over the cases of each kind; – where none was run."""
    cases = found["cases"]
    easy = [c["ours"]["reads"] for c in cases if c["reads_wanted"] == 12]
    hard = [c["ours"]["reads"] for c in cases if c["reads_wanted"] == 50]

    def least(peer: str, size: int, most: float = float("inf")) -> str:
        ratios = [
            p["ratio"]
            for c in cases
            if size <= c["weights"] <= most
            for p in c["peers"]
            if p["name"] == peer and p["skipped"] is None
        ]
        return f"{min(ratios):.3g}" if ratios else "–"

    largest = max((c for c in cases if c["stream"]), key=lambda c: c["weights"], default=None)
    streams = [f"{own['solve_in_reads']:.0f}" for own in largest["stream"]["threads"]] if largest else ["–"]
    reached = sum(t["ok"] for t in found["targets"])
    cells = (
        found["date"][:10],
        f"`{found['commit']}`",
        f"{found['machine']['cpu']}, {found['machine']['cores']} cores, load {found['machine']['load']:.0f}",
        found["mode"],
        f"{max(easy):.1f}" if easy else "–",
        f"{max(hard):.1f}" if hard else "–",
        least("clarabel", 45_000, 60_000),
        least("matrix_balance", 1_000_000),
        least("plain", 1_000_000),
        least("stochastic", 0),
        (f"{largest['weights']:.0e}: " if largest else "") + " / ".join(streams),
        f"{reached} of {len(found['targets'])}",
    )
    return "| " + " | ".join(cells) + " |"


def record_history(found: Record, readme: Path) -> None:
    """Add the run's line above the mark that ends the table."""
    text = readme.read_text(encoding="utf-8")
    if _END not in text:
        raise ValueError(f"{readme} has no line {_END!r}: put it under the last run")
    readme.write_text(text.replace(_END, f"{history_line(found)}\n{_END}"), encoding="utf-8")
