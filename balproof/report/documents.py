"""Documents: text, formulas and checked steps as Markdown, LaTeX, HTML with MathML or a notebook."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import nbformat
import sympy
from sympy.printing.mathml import mathml as sympy_mathml

from balproof.report.formulas import as_html, mathml
from balproof.report.tex import tex_code, tex_plain
from balproof.symbolic.steps import Step


@dataclass(frozen=True)
class Block:
    """One piece of the document: a heading, text, a formula, a list or the table of steps.

    In text, `…` is a piece of program text and $…$ is LaTeX.
    """

    kind: Literal["title", "heading", "text", "formula", "list", "steps"]
    text: str = ""
    items: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    expression: sympy.Basic | None = None


def code(text: object) -> str:
    return f"`{str(text).replace('`', chr(39))}`"


_INLINE = re.compile(r"`([^`]*)`|\$([^$]*)\$")


_SCRIPT = re.compile(
    # A letter that ends no Latin word, a Greek one or what closes, with its scripts: Σ_IN, s_j^{q/p}, |w|^q.
    r"((?<![A-Za-z`$])[A-Za-z]|[λΣφ)|])((?:[_^](?:\{[^{}]*\}|[A-Za-z0-9]+))+)"
)
_MARK = re.compile(r"([_^])(?:\{([^{}]*)\}|([A-Za-z0-9]+))")
_GREEK = {"λ": r"\lambda", "Σ": r"\Sigma", "φ": r"\varphi"}


def _with_scripts(text: str) -> str:
    """Σ_IN and λ^c in our own sentences as formulas; program text and formulas stay."""

    def formula(match: re.Match[str]) -> str:
        marks = ""
        for mark, braced, plain in _MARK.findall(match[2]):
            script = braced or plain
            upright = rf"\mathrm{{{script}}}" if plain[1:].isalpha() else script
            marks += f"{mark}{{{upright}}}"
        return f"${_GREEK.get(match[1], match[1])}{marks}$"

    return _inline(text, lambda plain: _SCRIPT.sub(formula, plain), code, lambda tex: f"${tex}$")


def _inline(
    text: str, plain: Callable[[str], str], code: Callable[[str], str], formula: Callable[[str], str]
) -> str:
    done, position = "", 0
    for match in _INLINE.finditer(text):
        done += plain(text[position : match.start()])
        done += code(match[1]) if match[1] is not None else formula(match[2])
        position = match.end()
    return done + plain(text[position:])


def _claim(step: Step) -> str:
    return f"{step.claim}{':' if step.formula else '.'}"


# --- Markdown ---------------------------------------------------------------------------------------------


def _md_plain(text: str) -> str:
    for mark in ("\\", "*", "_", "|", "<"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _md_text(text: str) -> str:
    return _inline(_with_scripts(text), _md_plain, lambda c: f"`{c}`", lambda f: f"${f}$")


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
    indent = " " * (len(str(number)) + 2)
    formula = f"\n\n{indent}$$\n{indent}{step.formula}\n{indent}$$\n" if step.formula else ""
    where = f" Assumed: {', '.join(step.hypotheses)}." if step.hypotheses else ""
    checked = f"*Checked by* {_md_text(step.checked_by)}.{_md_text(where)}"
    return f"{number}. **{step.verdict}**: {_md_text(_claim(step))}{formula}\n{indent}{checked}"


def markdown(blocks: Sequence[Block]) -> str:
    return "\n\n".join(_md_block(block) for block in blocks) + "\n"


# --- LaTeX ------------------------------------------------------------------------------------------------


def _tex_text(text: str) -> str:
    return _inline(_with_scripts(text), tex_plain, tex_code, lambda f: f"${f}$")


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
    claim = f"\\item \\textbf{{{step.verdict}}}: {_tex_text(_claim(step))}{formula}"
    return f"{claim}\n\\emph{{Checked by}} {_tex_text(step.checked_by)}.{where}"


def tex(blocks: Sequence[Block]) -> str:
    """A whole file for pdflatex: plain ASCII, with no package but amsmath and amssymb."""
    # A formula follows its sentence without an empty line, which would begin a paragraph.
    body = "".join(("" if b.kind == "formula" else "\n") + _tex_block(b) + "\n" for b in blocks)
    head = (
        "\\documentclass{article}\n\\usepackage{amsmath}\n\\usepackage{amssymb}\n"
        "\\emergencystretch=3em\n\\parindent=0pt\n\\parskip=4pt\n"
    )
    return f"{head}\\begin{{document}}\n{body}\\end{{document}}\n"


# --- HTML with MathML -------------------------------------------------------------------------------------


_CASES = re.compile(r"\\begin\{cases\}((?:(?!\\begin\{cases\}).)*?)\\end\{cases\}")


def _content(tex: str) -> str | None:
    """MathML of a formula, without the outer element; its cases as tables."""
    tables: list[str] = []

    def table(match: re.Match[str]) -> str:
        rows = [row.split("&") for row in match[1].split("\\\\")]
        cells = [
            [_content(re.sub(r"\\text\{(\w+)\}(\\:)?", _condition, c)) or "" for c in row] for row in rows
        ]
        inner = "".join(f"<mtr>{''.join(f'<mtd>{c}</mtd>' for c in row)}</mtr>" for row in cells)
        tables.append(
            "" if any("" in row for row in cells) else f"<mrow><mo>{{</mo><mtable>{inner}</mtable></mrow>"
        )
        return rf"\mathrm{{cases{len(tables) - 1}}}"

    while _CASES.search(tex):
        tex = _CASES.sub(table, tex)
    made = mathml(tex)
    if made is None or "" in tables:
        return None
    made = made.removeprefix("<math>").removesuffix("</math>")
    for i, inner in reversed(list(enumerate(tables))):
        made = made.replace(f'<mi mathvariant="normal">cases{i}</mi>', inner)
    return made


def _condition(word: re.Match[str]) -> str:
    return r"\mathrm{if}\;" if word[1] == "for" else r"\mathrm{otherwise}"


def _math(expression: sympy.Basic | None, tex: str) -> str:
    """MathML from the LaTeX or, where that is beyond it, from SymPy."""
    made = _content(tex)
    if made is None and expression is not None:
        made = str(sympy_mathml(expression, printer="presentation"))
    if made is None:
        return f'<p><code class="tex">{html.escape(tex)}</code></p>'
    return f'<math display="block" xmlns="http://www.w3.org/1998/Math/MathML">{made}</math>'


def _html_text(text: str) -> str:
    return _inline(text, as_html, lambda c: f"<code>{html.escape(c)}</code>", lambda f: as_html(f"${f}$"))


def _html_block(block: Block) -> str:
    text = _html_text(block.text)
    if block.kind == "title":
        return f"<h1>{text}</h1>"
    if block.kind == "heading":
        return f"<h2>{text}</h2>"
    if block.kind == "formula":
        return _math(block.expression, block.text)
    if block.kind == "list":
        return "<ul>" + "".join(f"<li>{_html_text(item)}</li>" for item in block.items) + "</ul>"
    if block.kind == "steps":
        return "<ol>\n" + "\n".join(_html_step(step) for step in block.steps) + "\n</ol>"
    return f"<p>{text}</p>"


def _html_step(step: Step) -> str:
    formula = _math(step.expression, step.formula) if step.formula else ""
    where = f" Assumed: {_html_text(', '.join(step.hypotheses))}." if step.hypotheses else ""
    claim = f"<li><strong>{step.verdict}</strong>: {_html_text(_claim(step))}{formula}"
    return f"{claim} <em>Checked by</em> {_html_text(step.checked_by)}.{where}</li>"


_STYLE = "<style>body{max-width:50em;margin:2em auto;padding:0 1em}math[display=block]{margin:.6em 0}</style>"


def page(blocks: Sequence[Block], title: str) -> str:
    """A whole page of HTML with MathML, which browsers show without a script."""
    body = "\n".join(_html_block(block) for block in blocks)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>\n{_STYLE}'
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


# --- notebooks --------------------------------------------------------------------------------------------


def notebook(blocks: Sequence[Block], again: str) -> str:
    """A notebook with a cell for each section, and a last one that makes the same once more."""
    texts: list[str] = []
    for block in blocks:
        piece = _md_block(block)
        if block.kind in ("title", "heading") or not texts:
            texts.append(piece)
        else:
            texts[-1] += "\n\n" + piece
    cells = [nbformat.v4.new_markdown_cell(text, id=f"part-{i}") for i, text in enumerate(texts, 1)]
    cells.append(nbformat.v4.new_code_cell(again, id="again"))
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return str(nbformat.writes(made)) + "\n"
