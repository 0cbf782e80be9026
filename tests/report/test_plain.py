"""Formulas on a terminal."""

from __future__ import annotations

import pytest

from balproof.report.plain import as_plain
from tests.report.test_formulas import texts


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"x^2\ge 0", "x² ≥ 0"),
        (r"\sum_ea_ee^{p(Ah)_e}", "∑_e a_e e^(p(Ah)_e)"),
        (r"\frac12\sum x", "½ ∑x"),
        (r"\frac\mu2\sum w^2", "(μ/2)∑w²"),
        (r"\frac{a+b}{2p}", "(a + b)/(2p)"),
        (r"\dot x=-\nabla E", "ẋ = −∇E"),
        (r"\sqrt{A_iB_i}", "√(A_i B_i)"),
        (r"\|W_l\|^2", "‖W_l‖²"),
        (r"\lambda_k^{-1}", "λ_k⁻¹"),
        (r"x^12", "x¹2"),
        (r"f:\mathbb R\to\mathbb{R}", "f:ℝ → ℝ"),
        (r"\max(x,0)", "max(x, 0)"),
        (r"\left(a\right)", "(a)"),
        (r"a=-f(-1)", "a = −f(−1)"),
    ],
)
def test_formulas(latex: str, expected: str) -> None:
    assert as_plain(f"if ${latex}$.") == f"if {expected}."


@pytest.mark.parametrize("latex", [r"\unheard{x}", "x^", "}", r"\frac{a}", r"\mathbb{K}", r"\left(a"])
def test_what_is_not_understood_is_shown_as_written(latex: str) -> None:
    assert as_plain(f"see ${latex}$") == f"see {latex}"


def test_the_registry_has_no_latex_left() -> None:
    assert [name for name, text in texts() if set(as_plain(text)) & set("$\\")] == []
