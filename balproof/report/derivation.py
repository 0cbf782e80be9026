"""A derivation as Markdown, LaTeX, HTML with MathML, a notebook or JSON, all from one list of blocks."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import nbformat
import sympy
from sympy.printing.mathml import mathml

from balproof.errors import RequestError
from balproof.symbolic.activation import scaling_latex
from balproof.symbolic.derivation import Derivation
from balproof.symbolic.steps import Step

Format = Literal["md", "tex", "html", "ipynb", "json"]


@dataclass(frozen=True)
class Block:
    """One piece of the document: a heading, text, a formula, a list or the table of steps."""

    kind: Literal["title", "heading", "text", "formula", "list", "steps"]
    text: str = ""
    items: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    expression: sympy.Basic | None = None


def blocks(d: Derivation) -> tuple[Block, ...]:
    """The document of a derivation, without any format."""
    found = [Block("title", d.title), *_activation(d), *_scale(d)]
    if d.laws or d.network_laws:
        found.append(Block("heading", "Laws"))
        for law in d.laws:
            found.append(Block("text", f"{law.kind[0].upper()}{law.kind[1:]} ({law.verdict}):"))
            found.append(Block("formula", law.latex))
        if d.network_laws:
            found.append(Block("list", items=tuple(_network_law(law) for law in d.network_laws)))
    if d.assumptions:
        found.append(Block("heading", "Assumptions"))
        found.append(Block("list", items=d.assumptions))
    found.append(Block("heading", "Steps and what checked them"))
    found.append(Block("steps", steps=d.steps))
    return tuple(found)


def _network_law(law: Mapping[str, object]) -> str:
    return f"{law.get('formula')} ({law.get('kind')}; {law.get('verified_by')})"


def _activation(d: Derivation) -> list[Block]:
    f = d.activation
    found = [Block("heading", "Activation"), Block("text", f"f(x) = {f.expression}: {f.kind}.")]
    if f.witness is not None:
        found.append(Block("text", f.witness.sentence))
    elif f.coefficients is not None and f.degree is not None:
        c, e = (sympy.latex(v) for v in f.coefficients)
        power = "" if f.degree == 1 else f"^{{{sympy.latex(f.degree)}}}"
        pieces = f"{_factor(c)}x{power}", f"{_factor(e)}|x|{power}"
        shown = [("0" if v == 0 else p) for v, p in zip(f.coefficients, pieces, strict=True)]
        found.append(
            Block(
                "formula", rf"f(x) = \begin{{cases}} {shown[0]} & x > 0 \\ {shown[1]} & x < 0 \end{{cases}}"
            )
        )
        found.append(Block("formula", scaling_latex(f.degree)))
    return found


def _factor(tex: str) -> str:
    if tex in ("1", "-1"):
        return tex[:-1]
    return rf"\left({tex}\right) " if "+" in tex or "-" in tex[1:] else f"{tex} "


def _scale(d: Derivation) -> list[Block]:
    s = d.optimal_scale
    found = [Block("heading", "Optimal scale")]
    if s.equation_latex is None:
        return [*found, Block("text", f"No optimal scale is claimed: {s.reason}.")]
    found.append(
        Block("text", "What comes in is multiplied by λ, what goes out divided by λ^c. The optimal λ solves")
    )
    found.append(Block("formula", s.equation_latex, expression=s.equation))
    if s.definitions:
        found.append(Block("list", items=s.definitions))
    if s.closed_latex is not None and s.closed_form is not None:
        shown = sympy.Eq(sympy.Symbol("lambda^*"), s.closed_form, evaluate=False)
        found.append(Block("formula", s.closed_latex, expression=shown))
    if s.gain is not None:
        found.append(Block("text", "Balancing lowers the cost by"))
        found.append(Block("formula", sympy.latex(s.gain), expression=s.gain))
    if s.closed_form is None and s.one_one is not None:
        found.append(Block("text", "With one weight a in and one weight b out:"))
        found.append(Block("formula", rf"\lambda^* = {sympy.latex(s.one_one)}", expression=s.one_one))
    found.append(Block("text", _uniqueness(d)))
    found.append(Block("heading", "Balance equation"))
    found.append(Block("formula", s.balance_latex or ""))
    found.append(Block("text", "Where one side is zero:"))
    found.append(Block("list", items=s.limits))
    return found


def _uniqueness(d: Derivation) -> str:
    check = d.optimal_scale.unique
    if check.holds:
        return f"Exactly one λ solves it ({check.verdict}: {check.why})."
    if check.holds is False:
        return f"The solution need not be the only one: {check.witness} ({check.verdict})."
    return f"Whether only one λ solves it is undecided: {check.why}."


def render(derivation: Derivation, format: str) -> str:  # noqa: A002 the option is called that
    """The derivation as text in one of the formats md, tex, html, ipynb, json.

    >>> from balproof.symbolic.activation import Activation
    >>> from balproof.symbolic.derivation import derive
    >>> from balproof.symbolic.regularizer import Regularizer
    >>> render(derive(Activation.parse("relu"), Regularizer.parse("l2")), "md").splitlines()[0]
    '# Balance of relu with cost l2'

    Raises RequestError for any other format.
    """
    printers: Mapping[str, Callable[[Derivation], str]] = {
        "md": _markdown,
        "tex": _latex,
        "html": _html,
        "ipynb": _notebook,
        "json": _json,
    }
    if format not in printers:
        raise RequestError(f"unknown format {format[:20]!r}", f"use one of {', '.join(printers)}")
    return printers[format](derivation)


# --- Markdown ---------------------------------------------------------------------------------------------


def _md_text(text: str) -> str:
    for mark in ("\\", "*", "_", "|", "<", "`"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _md_block(block: Block) -> str:
    if block.kind == "title":
        return f"# {_md_text(block.text)}"
    if block.kind == "heading":
        return f"## {_md_text(block.text)}"
    if block.kind == "formula":
        return f"$$\n{block.text}\n$$"
    if block.kind == "list":
        return "\n".join(f"- {_md_text(item)}" for item in block.items)
    if block.kind == "steps":
        return "\n\n".join(_md_step(i, step) for i, step in enumerate(block.steps, 1))
    return _md_text(block.text)


def _md_step(number: int, step: Step) -> str:
    formula = f"\n\n   $$\n   {step.formula}\n   $$\n" if step.formula else ""
    where = f" Assumed: {', '.join(step.hypotheses)}." if step.hypotheses else ""
    checked = f"*Checked by* {_md_text(step.checked_by)}.{_md_text(where)}"
    return f"{number}. **{step.verdict}**: {_md_text(step.claim)}.{formula}\n   {checked}"


def _markdown(d: Derivation) -> str:
    return "\n\n".join(_md_block(block) for block in blocks(d)) + "\n"


# --- LaTeX ------------------------------------------------------------------------------------------------

_TEX_MARKS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "|": "$|$",
    "λ": r"$\lambda$", "Σ": r"$\Sigma$", "φ": r"$\varphi$", "α": r"$\alpha$", "β": r"$\beta$", "η": r"$\eta$",
    "∂": r"$\partial$", "²": "$^2$", "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "→": r"$\to$",
    "⇒": r"$\Rightarrow$", "∞": r"$\infty$", "−": "$-$", "·": r"$\cdot$", "∇": r"$\nabla$", "ẇ": r"$\dot w$",
    "…": r"\dots{}", "μ": r"$\mu$",
}  # fmt: skip


def _tex_text(text: str) -> str:
    """Text for pdflatex: marks escaped, the Greek of our own sentences as formulas, all else ASCII."""
    return "".join(_TEX_MARKS.get(mark, mark if mark.isascii() else "?") for mark in text)


def _tex_formula(formula: str) -> str:
    return f"\\[\n{formula}\n\\]"


def _tex_block(block: Block) -> str:
    if block.kind == "title":
        return f"\\section*{{{_tex_text(block.text)}}}"
    if block.kind == "heading":
        return f"\\subsection*{{{_tex_text(block.text)}}}"
    if block.kind == "formula":
        return _tex_formula(block.text)
    if block.kind == "list":
        items = "\n".join(f"\\item {_tex_text(item)}" for item in block.items)
        return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
    if block.kind == "steps":
        items = "\n".join(_tex_step(step) for step in block.steps)
        return f"\\begin{{enumerate}}\n{items}\n\\end{{enumerate}}"
    return _tex_text(block.text)


def _tex_step(step: Step) -> str:
    formula = _tex_formula(step.formula) if step.formula else ""
    where = f" Assumed: {_tex_text(', '.join(step.hypotheses))}." if step.hypotheses else ""
    claim = f"\\item \\textbf{{{step.verdict}}}: {_tex_text(step.claim)}.{formula}"
    return f"{claim}\n\\emph{{Checked by}} {_tex_text(step.checked_by)}.{where}"


def _latex(d: Derivation) -> str:
    body = "\n\n".join(_tex_block(block) for block in blocks(d))
    head = "\\documentclass{article}\n\\usepackage{amsmath}\n\\usepackage{amssymb}\n\\emergencystretch=3em\n"
    return f"{head}\\begin{{document}}\n{body}\n\\end{{document}}\n"


# --- HTML with MathML -------------------------------------------------------------------------------------


def _math(expression: sympy.Basic | None, tex: str) -> str:
    """MathML from SymPy where there is an expression; the formula's TeX as code otherwise."""
    if expression is None:
        return f'<p><code class="tex">{html.escape(tex)}</code></p>'
    inner = mathml(expression, printer="presentation")
    return f'<math display="block" xmlns="http://www.w3.org/1998/Math/MathML">{inner}</math>'


def _html_block(block: Block) -> str:
    text = html.escape(block.text)
    if block.kind == "title":
        return f"<h1>{text}</h1>"
    if block.kind == "heading":
        return f"<h2>{text}</h2>"
    if block.kind == "formula":
        return _math(block.expression, block.text)
    if block.kind == "list":
        return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in block.items) + "</ul>"
    if block.kind == "steps":
        return "<ol>\n" + "\n".join(_html_step(step) for step in block.steps) + "\n</ol>"
    return f"<p>{text}</p>"


def _html_step(step: Step) -> str:
    formula = _math(step.expression, step.formula) if step.formula else ""
    where = f" Assumed: {html.escape(', '.join(step.hypotheses))}." if step.hypotheses else ""
    claim = f"<li><strong>{step.verdict}</strong>: {html.escape(step.claim)}.{formula}"
    return f"{claim} <em>Checked by</em> {html.escape(step.checked_by)}.{where}</li>"


def _html(d: Derivation) -> str:
    body = "\n".join(_html_block(block) for block in blocks(d))
    title = html.escape(d.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


# --- notebook and JSON ------------------------------------------------------------------------------------


def _notebook(d: Derivation) -> str:
    texts: list[str] = []
    for block in blocks(d):
        piece = _md_block(block)
        if block.kind in ("title", "heading") or not texts:
            texts.append(piece)
        else:
            texts[-1] += "\n\n" + piece
    cells = [nbformat.v4.new_markdown_cell(text, id=f"part-{i}") for i, text in enumerate(texts, 1)]
    again = (
        "from balproof.symbolic.activation import Activation\n"
        "from balproof.symbolic.derivation import derive\n"
        "from balproof.symbolic.regularizer import Regularizer\n\n"
        f"derivation = derive(\n    Activation.parse({d.activation.text!r}, {d.activation.assumptions!r}),\n"
        f"    Regularizer.parse({d.regularizer.name!r}, {d.regularizer.assumptions!r}),\n)\n"
        "derivation.optimal_scale.closed_form, derivation.balance_equation"
    )
    cells.append(nbformat.v4.new_code_cell(again, id="again"))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return str(nbformat.writes(notebook)) + "\n"


def _json(d: Derivation) -> str:
    return json.dumps(d.as_json(), ensure_ascii=False, indent=2) + "\n"
