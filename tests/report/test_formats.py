"""Formulas stay short, and pdflatex takes every document."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from balproof.report.derivation import blocks, render
from balproof.symbolic.derivation import derive, derive_gate
from tests.symbolic.test_battery import BATTERY

HUBER = "Piecewise((w**2/2, abs(w)<=d), (d*abs(w) - d**2/2, True))"
COSTS = (
    "l1", "l2", "abs(w)**p", "a*abs(w) + b*w**2", "a*abs(w) + b*w**2 + c*abs(w)**3", "abs(w) + abs(w)**(3/2)",
    "log(1 + w**2)", "log(1 + w**2/e**2)", "log(1 + abs(w))", "sqrt(w**2 + e**2) - e", HUBER,
    "Piecewise((d*abs(w), abs(w)<=d), ((w**2 + d**2)/2, True))", "log(cosh(w))", "exp(abs(w)) - 1",
    "exp(w**2) - 1", "abs(w) - log(1 + abs(w))", "w**2*log(1 + abs(w))", "w**4 - abs(w)**3 + w**2",
    "w**2/(1 + w**2)", "1 - exp(-w**2)", "atan(abs(w))", "w**4 - 2*abs(w)**3 + w**2",
    "w**4 - 16/9*abs(w)**3 + w**2", "group:2,1", "group:1,2", "group:p,q", "max",
)  # fmt: skip
LONGEST = 350
"""Characters of LaTeX; the closed form of an elastic net by SymPy's solve has 11,000."""


def formulas(f: str, g: str) -> list[str]:
    derivation = derive(f, g)
    steps = [step.formula for step in derivation.steps if step.formula]
    return steps + [block.text for block in blocks(derivation) if block.kind == "formula"]


def longest(f: str, g: str) -> tuple[int, str]:
    return max((len(formula), f"{f} with {g}: {formula}") for formula in formulas(f, g))


def test_the_elastic_net_has_no_radicals() -> None:
    shown = formulas("relu", "a*abs(w) + b*w**2")
    assert any(r"\lambda^{4}" in formula for formula in shown)
    assert max(map(len, shown)) <= 200


@pytest.mark.slow
@pytest.mark.parametrize("f", BATTERY)
def test_formulas_of_every_activation_are_short(f: str) -> None:
    length, where = longest(f, "l2")
    assert length <= LONGEST, where


@pytest.mark.slow
@pytest.mark.parametrize("g", COSTS)
def test_formulas_of_every_cost_are_short(g: str) -> None:
    for f in ("relu", "Max(x, 0)**2", "cbrt(x)", "abs(x)**a"):
        length, where = longest(f, g)
        assert length <= LONGEST, where


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize(
    ("f", "g"),
    [("Max(x, 0)**2", "abs(w)**p"), ("tanh", "l2"), ("prelu", "alpha*abs(w) + w**2"), ("swiglu", "l1"),
     ("relu", HUBER), ("relu", "group:2,1"), ("abs(x)**a", "group:p,q"), ("cbrt(x)", "w**2*log(1 + abs(w))"),
     ("Min(Max(x, 0), 6)", "log(1 + log(1 + abs(w)))"), ("relu", "w**4 - 2*abs(w)**3 + w**2")],
)  # fmt: skip
def test_pdflatex_takes_it(f: str, g: str, tmp_path: Path) -> None:
    derivation = derive_gate(f, g) if f == "swiglu" else derive(f, g)
    (tmp_path / "d.tex").write_text(render(derivation, "tex"), encoding="ascii")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "d.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout
    assert (tmp_path / "d.pdf").stat().st_size > 10_000
