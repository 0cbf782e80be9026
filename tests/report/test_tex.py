"""LaTeX of texts and of the report: pure ASCII that pdflatex compiles."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from balproof.report import tex
from balproof.report.claims import Origin
from balproof.report.claims_tex import render_tex
from balproof.report.formulas import ACCENTS, DOUBLE, GREEK, NAMES, OPERATORS, mathml
from balproof.report.tex import as_tex, tex_code, tex_plain
from balproof.theorems.registry import Claim, Findings, Printed, Record
from balproof.verdict import Verdict
from tests.report.test_formulas import texts
from tests.report.test_html import record

needs_tex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")


def compile_(source: str, folder: Path) -> str:
    """The log of pdflatex; the run must end well."""
    (folder / "t.tex").write_text(source, encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def page(body: str) -> str:
    packages = "\\usepackage{amsmath,amssymb}\n" + tex.COMMANDS
    return f"\\documentclass{{article}}\n{packages}\\begin{{document}}\n{body}\n\\end{{document}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % & {#_~}", r"50 \% \& \{\#\_\textasciitilde{}\}"),
        ("10⁻¹²", "10$^{-12}$"),
        ("w₁₂", "w$_{12}$"),
        ("λ_i^c", r"$\lambda$\textsubscript{i}\textsuperscript{c}"),
        ("e^{−h_i}", r"e\textsuperscript{$-$h\textsubscript{i}}"),
        ("ẋ, θ̇ and é", r"\.{x}, $\dot{\theta}$ and \'{e}"),
        ("$c\\ge0$", r"$c\ge0$"),
        ("$\\input{x}$", r"\texttt{\$\textbackslash{}input\{x\}\$}"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert as_tex(text) == expected


def test_every_text_of_the_registry_has_letters_that_latex_knows() -> None:
    faults = [name for name, text in texts() if "[U+" in as_tex(text) or not as_tex(text).isascii()]
    assert faults == []
    assert "[U+2603]" in as_tex("a snowman ☃")  # what is not known is shown, and seen by this test


@needs_tex
def test_every_character_and_every_command_compiles(tmp_path: Path) -> None:
    """All that the tables know, and the formulas that are let through: Greek, operators, names, accents."""
    marks = " ".join(tex_plain(c) for c in (*tex._MATH, *tex._TEXT, *tex._HIGH, *tex._LOW) if c != "\t")
    accents = " ".join(tex_plain(f"{base}{a}") for a in tex._ACCENTS for base in "xλ")
    commands = [rf"\{name}" for name in (*GREEK, *OPERATORS, *NAMES) if name not in ("left", "right")]
    commands += [rf"\{name} x" for name in ACCENTS] + [rf"\mathbb {letter}" for letter in DOUBLE]
    assert all(mathml(c) for c in commands if c != r"\!")
    formulas = " ".join(as_tex(f"${c}$") for c in commands)
    compile_(page(f"{marks}\n\n{accents}\n\n{formulas}\n\n{tex_code('a_b/c-d')}"), tmp_path)


@needs_tex
def test_the_report_compiles_whatever_the_texts_are(tmp_path: Path) -> None:
    hostile = "\\end{document} %$ {&#^_~ \\input{/etc/passwd} ☃ $\\unheard{x}$"
    statement = Claim("B.evil", hostile, hostile, hostile, hostile, (hostile,))
    evil = Record(statement, Findings(Printed(Verdict.undecided, hostile)), 0.0)
    source = render_tex([record(), evil], origin=Origin({"B.test": "a/b_c.py"}), date="2001-02-03")
    assert source.isascii()
    compile_(source, tmp_path)
    log = compile_(source, tmp_path)
    assert "undefined references" not in log
    assert "passwd)" not in log


def test_an_empty_report() -> None:
    assert render_tex([]).endswith("\\end{document}\n")
