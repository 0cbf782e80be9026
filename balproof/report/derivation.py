"""A derivation as Markdown, LaTeX, HTML with MathML, a notebook or JSON, all from one list of blocks."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import nbformat
import sympy
from sympy.printing.mathml import mathml as sympy_mathml

from balproof.errors import RequestError
from balproof.report.formulas import as_html, mathml
from balproof.symbolic.activation import HalfLine, power_latex, scaling_latex
from balproof.symbolic.derivation import Derivation, GateDerivation, Instance
from balproof.symbolic.gate import Scaling
from balproof.symbolic.scale import ONE_ONE_LATEX
from balproof.symbolic.steps import Step, latex

Format = Literal["md", "tex", "html", "ipynb", "json"]


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


def blocks(d: Derivation | GateDerivation) -> tuple[Block, ...]:
    """The document of a derivation, without any format."""
    if isinstance(d, GateDerivation):
        return _gate_blocks(d)
    out = d.optimal_scale.regularizer_out
    cost = _code(d.regularizer.name)
    cost = cost if out == d.regularizer else f"{cost} in and {_code(out.name)} out"
    title = f"Balance of {_code(d.activation.text)} with cost {cost}"
    found = [Block("title", title), *_activation(d), *_scale(d), *_laws(d)]
    if d.assumptions:
        found.append(Block("heading", "Assumptions"))
        found.append(Block("list", items=d.assumptions))
    found.append(Block("heading", "Steps and what checked them"))
    found.append(Block("steps", steps=d.steps))
    return tuple(found)


def _laws(d: Derivation) -> list[Block]:
    found: list[Block] = []
    if d.laws or d.network_laws:
        found.append(Block("heading", "Laws"))
        for law in d.laws:
            found.append(Block("text", f"{law.kind[0].upper()}{law.kind[1:]} ({law.verdict}):"))
            found.append(Block("formula", law.latex))
        if d.network_laws:
            found.append(Block("list", items=tuple(_network_law(law) for law in d.network_laws)))
    return found


def _gate_blocks(d: GateDerivation) -> tuple[Block, ...]:
    gate = d.gate
    cost = _code(d.regularizer.name)
    found = [
        Block("title", f"Balance of {_code(gate.text)} with cost {cost}"),
        Block("heading", "Activation"),
        Block("text", f"f({', '.join(v.name for v in gate.variables)}) = {_code(gate.expression)}."),
        Block("list", items=tuple(_scaling(s) for s in gate.scalings)),
    ]
    for part in d.parts:
        found.append(Block("heading", part.activation.text.removeprefix(gate.text).strip().capitalize()))
        found.append(
            Block("text", "IN are the weights that feed these arguments, OUT those that read the result.")
        )
        found += [*_scale(part), *_laws(part)]
    if not d.parts:
        found.append(
            Block("text", "No set of arguments has a positive degree, so that nothing can be balanced.")
        )
    if gate.assumptions:
        found += [Block("heading", "Assumptions"), Block("list", items=gate.assumptions)]
    return (*found, Block("heading", "Steps and what checked them"), Block("steps", steps=d.steps))


def _scaling(s: Scaling) -> str:
    if s.degree is not None:
        return f"{s.where}: degree ${latex(s.degree)}$ ({s.verdict})"
    return f"{s.where}: none, {s.witness.sentence}" if s.witness else f"{s.where}: undecided, {s.why}"


def _code(text: object) -> str:
    return f"`{str(text).replace('`', chr(39))}`"


_KINDS = {
    "zero": "0 everywhere",
    "linear": "linear",
    "relu": "a ReLU",
    "leaky": "a leaky ReLU",
    "bilu": "linear on each half-line",
    "bipu": "a power on each half-line",
    "non-homogeneous": "not homogeneous",
    "undecided": "its degree is undecided",
}


def _network_law(law: Mapping[str, object]) -> str:
    return f"{law.get('formula')} ({law.get('kind')}; {law.get('verified_by')})"


def _activation(d: Derivation) -> list[Block]:
    f = d.activation
    shown = f"f(x) = {_code(f.expression)}: {_KINDS[f.kind]}."
    found = [Block("heading", "Activation"), Block("text", shown)]
    if f.witness is not None:
        sentence = f.witness.sentence.replace(str(f.expression), _code(f.expression))
        found.append(Block("text", f"If f(λx) = G(λ)·f(x), one factor would fit every x; but {sentence}."))
        found.append(Block("text", "Each half-line by itself:"))
        found.append(Block("list", items=tuple(_half(d, half) for half in f.halves)))
    elif f.coefficients is not None and f.degree is not None:
        right, left = (power_latex(a, x, f.degree) for a, x in zip(f.coefficients, ("x", "|x|"), strict=True))
        found.append(Block("formula", rf"f(x) = {right}\quad (x > 0),\qquad f(x) = {left}\quad (x < 0)"))
        found.append(Block("formula", scaling_latex(f.degree)))
    return found


def _half(d: Derivation, half: HalfLine) -> str:
    if half.coefficient is not None and half.degree is None:
        return f"{half.where}: f is 0, which fits every degree"
    if half.coefficient is not None and half.degree is not None:
        power = power_latex(half.coefficient, "x" if half.side > 0 else "|x|", half.degree)
        return f"{half.where}: f(x) = ${power}$, of degree ${latex(half.degree)}$"
    said = half.why.replace(str(d.activation.expression), _code(d.activation.expression))
    return f"{half.where}: no power, {said}" if half.witness else f"{half.where}: {said}"


def _scale(d: Derivation) -> list[Block]:
    s = d.optimal_scale
    found = [Block("heading", "Optimal scale")]
    if s.equation_latex is None:
        return [*found, Block("text", f"No optimal scale is claimed: {s.reason}.")]
    factors = f"What comes in is multiplied by λ, what goes out by {_outward(d)}."
    found.append(Block("text", f"{factors} The optimal λ solves"))
    found.append(Block("formula", s.equation_latex, expression=s.equation))
    found.append(Block("list", items=s.definitions_latex))
    if s.polynomial_latex is not None:
        found.append(Block("text", "As a polynomial in λ:"))
        found.append(Block("formula", s.polynomial_latex))
    if s.closed_latex is not None and s.closed_form is not None:
        shown = sympy.Eq(sympy.Symbol("lambda^*"), s.closed_form, evaluate=False)
        found.append(Block("formula", s.closed_latex, expression=shown))
    if s.gain_latex is not None:
        at = "" if s.closed_form is not None else ", λ being the solution,"
        found.append(Block("text", f"Balancing lowers the cost{at} by"))
        found.append(Block("formula", s.gain_latex, expression=s.gain))
    if s.closed_form is None and s.one_one is not None:
        found.append(Block("text", "With one weight in and one out, of sizes w_in and w_out:"))
        found.append(Block("formula", ONE_ONE_LATEX, expression=s.one_one))
    if d.instance is not None:
        found += _instance(d.instance)
    found.append(Block("text", _uniqueness(d)))
    found.append(Block("heading", "Balance equation"))
    found.append(Block("formula", s.balance_latex or ""))
    found.append(Block("text", "Where one side is zero:"))
    found.append(Block("list", items=s.limits))
    return found


def _instance(i: Instance) -> list[Block]:
    """The numbers for given weights."""
    inside, outside = (", ".join(str(w) for w in weights) for weights in (i.inside, i.outside))
    return [
        Block("text", f"For the weights {inside} in and {outside} out, in ball arithmetic:"),
        Block("list", items=(f"λ = {i.scale.decimal()}", f"the cost falls by {i.gain.decimal()}")),
    ]


def _outward(d: Derivation) -> str:
    return "1/λ" if d.activation.degree == 1 else f"$\\lambda^{{{sympy.latex(-(d.activation.degree or 1))}}}$"


def _uniqueness(d: Derivation) -> str:
    check = d.optimal_scale.unique
    if check.holds:
        return f"Exactly one λ solves it: {check.why} ({check.verdict})."
    if check.holds is False:
        return f"The solution need not be the only one: {check.witness} ({check.verdict})."
    return f"Whether only one λ solves it is undecided: {check.why}."


def render(derivation: Derivation | GateDerivation, format: str) -> str:  # noqa: A002 the option is called that
    """The derivation as text in one of the formats md, tex, html, ipynb, json.

    >>> from balproof.symbolic.derivation import derive
    >>> render(derive("relu", "l2"), "md").splitlines()[0]
    '# Balance of `relu` with cost `l2`'

    Raises RequestError for any other format.
    """
    printers: Mapping[str, Callable[[Derivation | GateDerivation], str]] = {
        "md": _markdown,
        "tex": _latex,
        "html": _html,
        "ipynb": _notebook,
        "json": _json,
    }
    if format not in printers:
        raise RequestError(f"unknown format {format[:20]!r}", f"use one of {', '.join(printers)}")
    return printers[format](derivation)


_INLINE = re.compile(r"`([^`]*)`|\$([^$]*)\$")


_SCRIPT = re.compile(r"(?<![A-Za-z`$])([A-Za-zλΣφ])([_^])([A-Za-z0-9]+)")
_GREEK = {"λ": r"\lambda", "Σ": r"\Sigma", "φ": r"\varphi"}


def _with_scripts(text: str) -> str:
    """Σ_IN and λ^c in our own sentences as formulas; program text and formulas stay."""

    def formula(match: re.Match[str]) -> str:
        base, mark, script = match.groups()
        upright = rf"\mathrm{{{script}}}" if script[1:].isalpha() else script
        return f"${_GREEK.get(base, base)}{mark}{{{upright}}}$"

    return _inline(text, lambda plain: _SCRIPT.sub(formula, plain), _code, lambda tex: f"${tex}$")


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


def _markdown(d: Derivation | GateDerivation) -> str:
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


def _tex_plain(text: str) -> str:
    """Text for pdflatex: marks escaped, the Greek of our own sentences as formulas, all else ASCII."""
    return "".join(_TEX_MARKS.get(mark, mark if mark.isascii() else "?") for mark in text)


def _tex_code(text: str) -> str:
    breakable = re.sub(r"([,+*/])", r"\1\\allowbreak{}", _tex_plain(text))
    return rf"\texttt{{{breakable}}}"


def _tex_text(text: str) -> str:
    return _inline(_with_scripts(text), _tex_plain, _tex_code, lambda f: f"${f}$")


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


def _latex(d: Derivation | GateDerivation) -> str:
    body = "\n\n".join(_tex_block(block) for block in blocks(d))
    head = "\\documentclass{article}\n\\usepackage{amsmath}\n\\usepackage{amssymb}\n\\emergencystretch=3em\n"
    return f"{head}\\begin{{document}}\n{body}\n\\end{{document}}\n"


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
    """MathML from the LaTeX or, where that is beyond it or has tall brackets with a power, from SymPy."""
    made = None if expression is not None and r"\right)^" in tex else _content(tex)
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


def _html(d: Derivation | GateDerivation) -> str:
    body = "\n".join(_html_block(block) for block in blocks(d))
    title = html.escape(d.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


# --- notebook and JSON ------------------------------------------------------------------------------------


def _notebook(d: Derivation | GateDerivation) -> str:
    texts: list[str] = []
    for block in blocks(d):
        piece = _md_block(block)
        if block.kind in ("title", "heading") or not texts:
            texts.append(piece)
        else:
            texts[-1] += "\n\n" + piece
    cells = [nbformat.v4.new_markdown_cell(text, id=f"part-{i}") for i, text in enumerate(texts, 1)]
    again = _gate_again(d) if isinstance(d, GateDerivation) else _again(d)
    cells.append(nbformat.v4.new_code_cell(again, id="again"))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return str(nbformat.writes(notebook)) + "\n"


def _again(d: Derivation) -> str:
    """Python that derives the same once more."""
    out = d.optimal_scale.regularizer_out
    other = f"    regularizer_out=cost({out.name!r}, {out.assumptions!r}),\n"
    return (
        "from balproof import Activation, derive\nfrom balproof.symbolic.scale import cost\n\n"
        f"derivation = derive(\n    Activation.parse({d.activation.text!r}, {d.activation.assumptions!r}),\n"
        f"    cost({d.regularizer.name!r}, {d.regularizer.assumptions!r}),\n"
        f"{'' if out == d.regularizer else other})\n"
        "derivation.optimal_scale.closed_form, derivation.balance_equation"
    )


def _gate_again(d: GateDerivation) -> str:
    return (
        "from balproof.symbolic.derivation import derive_gate\nfrom balproof.symbolic.gate import Gate\n"
        "from balproof.symbolic.scale import cost\n\n"
        f"derivation = derive_gate(\n    Gate.parse({d.gate.text!r}, {d.gate.assumptions!r}),\n"
        f"    cost({d.regularizer.name!r}, {d.regularizer.assumptions!r}),\n)\n"
        "[(part.title, part.balance_equation) for part in derivation.parts]"
    )


def _json(d: Derivation | GateDerivation) -> str:
    return json.dumps(d.as_json(), ensure_ascii=False, indent=2) + "\n"
