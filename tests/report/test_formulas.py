"""Formulas of records as MathML and HTML: well-formed, nothing dropped, all of the registry understood."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balproof.report.formulas import as_html, mathml
from balproof.theorems import CLAIMS


def texts() -> list[tuple[str, str]]:
    """Every statement of the registry."""
    found = []
    for check in CLAIMS:
        c = check.claim
        found += [(c.id, t) for t in (c.title, c.source, c.printed, c.exact, *c.assumptions)]
    return found


def words(html: str) -> str:
    return "".join(ET.fromstring(f"<p>{html}</p>".replace("&", "&amp;")).itertext())


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        ("x_i^2", "<math><msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup></math>"),
        (r"\frac{a}{b}", "<math><mfrac><mi>a</mi><mi>b</mi></mfrac></math>"),
        (r"-a", '<math><mrow><mo form="prefix">−</mo><mi>a</mi></mrow></math>'),
        (r"a-b", "<math><mrow><mi>a</mi><mo>−</mo><mi>b</mi></mrow></math>"),
        (
            r"\left(a\right)^2",
            (
                '<math><msup><mrow><mo form="prefix" stretchy="true">(</mo><mi>a</mi>'
                '<mo form="postfix" stretchy="true">)</mo></mrow><mn>2</mn></msup></math>'
            ),
        ),
        (
            "(-a)",
            (
                '<math><mrow><mo form="prefix" stretchy="false">(</mo><mo form="prefix">−</mo><mi>a</mi>'
                '<mo form="postfix" stretchy="false">)</mo></mrow></math>'
            ),
        ),
        (r"\alpha\le\omega", "<math><mrow><mi>α</mi><mo>≤</mo><mi>ω</mi></mrow></math>"),
    ],
)
def test_formulas_by_hand(latex: str, expected: str) -> None:
    assert mathml(latex) == expected


@pytest.mark.parametrize(
    "latex", [r"\unheard{x}", "{a", "a}", r"\frac{a}", "^", r"\left", r"\left(a", r"a\right)"]
)
def test_what_is_not_understood_is_shown_as_written(latex: str) -> None:
    assert mathml(latex) is None
    assert f"<code>{latex}</code>" in as_html(f"see ${latex}$")


def test_a_fraction_takes_one_digit() -> None:
    """As in TeX: a half of the sum, not twelve over it."""
    assert mathml(r"\frac12\sum") == (
        "<math><mrow><mfrac><mn>1</mn><mn>2</mn></mfrac><mo>∑</mo></mrow></math>"
    )
    assert mathml("x^12") == "<math><mrow><msup><mi>x</mi><mn>1</mn></msup><mn>2</mn></mrow></math>"


def test_norms_do_not_grow() -> None:
    assert str(mathml(r"\lVert J\rVert^2")).count('stretchy="false"') == 2


def test_infinity_stands_without_spaces() -> None:
    assert mathml(r"\infty") == '<math><mi mathvariant="normal">∞</mi></math>'


def test_a_long_formula_is_several_that_can_be_broken_between() -> None:
    short, long = r"a+b=c", r"a+b+c+d+e=f+g+h\le i"
    assert as_html(f"${short}$").count("<math>") == 1
    assert as_html(f"${long}$").count("<math>") == 3
    assert str(mathml(long)).count("<math>") == 1
    assert words(as_html(f"${long}$")).replace(" ", "") == "a+b+c+d+e=f+g+h≤i"


def test_the_registry_uses_only_what_is_understood() -> None:
    faults = [
        (name, formula)
        for name, text in texts()
        for formula in re.findall(r"\$([^$]+)\$", text)
        if mathml(formula) is None
    ]
    assert faults == []
    assert sum(text.count("$") % 2 for _, text in texts()) == 0


def test_every_text_is_well_formed_and_keeps_its_letters() -> None:
    for name, text in texts():
        html = as_html(text)
        element = ET.fromstring(f"<p>{html}</p>")
        outside = "".join(re.sub(r"\$[^$]+\$", "", text).split())
        kept = "".join("".join(element.itertext()).split())
        for letter in set(re.sub(r"[_^{}()]", "", outside)):
            assert letter in kept, (name, letter)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bλ^{−cp} falls", "Bλ<sup>−cp</sup> falls"),
        ("λ_i^c", "λ<sub>i</sub><sup>c</sup>"),
        ("fc1_bias stays", "fc1_bias stays"),
        ("3·16^(1/3)", "3·16<sup>1/3</sup>"),
        ("<script>", "&lt;script&gt;"),
    ],
)
def test_scripts_outside_formulas(text: str, expected: str) -> None:
    assert as_html(text) == expected


@given(st.text(max_size=60))
def test_any_text_gives_well_formed_html(text: str) -> None:
    printable = "".join(c for c in text if c.isprintable())
    ET.fromstring(f"<p>{as_html(printable)}</p>")
