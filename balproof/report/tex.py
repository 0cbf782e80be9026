r"""Texts as LaTeX for plain pdflatex: pure ASCII, every other character by a command of standard packages.

amsmath and amssymb are enough for all of it, with `COMMANDS` in the preamble.
"""

from __future__ import annotations

import re
import unicodedata

from balproof.report.formulas import GREEK, mathml, pieces, with_scripts

COMMANDS = (
    "".join(f"\\DeclareMathOperator{{\\{name}}}{{{name}}}\n" for name in ("rank", "sgn", "tr"))
    + "\\newcommand{\\omicron}{o}\n"
)
"""What formulas use and LaTeX lacks, for the preamble."""

_MATH = {
    **{symbol: f"\\{name}" for name, symbol in GREEK.items() if name not in ("omicron", "epsilon", "phi")},
    "ο": "o", "ϕ": r"\phi", "ϵ": r"\epsilon", "Γ": r"\Gamma", "Θ": r"\Theta", "Ξ": r"\Xi", "Ψ": r"\Psi",
    "Ω": r"\Omega", "Υ": r"\Upsilon", "Σ": r"\Sigma", "Π": r"\Pi", "∑": r"\sum", "∏": r"\prod", "∫": r"\int",
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≡": r"\equiv", "≈": r"\approx", "∼": r"\sim", "≪": r"\ll",
    "≫": r"\gg", "∝": r"\propto", "→": r"\to", "←": r"\leftarrow", "↔": r"\leftrightarrow",
    "⇒": r"\Rightarrow", "⇐": r"\Leftarrow", "⇔": r"\Leftrightarrow", "⇄": r"\rightleftarrows",
    "↦": r"\mapsto", "↑": r"\uparrow", "↓": r"\downarrow", "±": r"\pm", "−": "-", "·": r"\cdot",
    "×": r"\times",
    "÷": r"\div",
    "∘": r"\circ", "∗": r"\ast", "⋆": r"\star", "∈": r"\in", "∉": r"\notin", "⊂": r"\subset",
    "⊆": r"\subseteq", "∪": r"\cup", "∩": r"\cap", "∖": r"\setminus", "∅": r"\emptyset", "∀": r"\forall",
    "∃": r"\exists", "∧": r"\wedge", "∨": r"\vee", "¬": r"\neg", "⊤": r"\top", "⊥": r"\perp", "∞": r"\infty",
    "∇": r"\nabla", "∂": r"\partial", "√": r"\surd", "′": "'", "″": "''", "⟨": r"\langle", "⟩": r"\rangle",
    "‖": r"\Vert", "⌊": r"\lfloor", "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil", "…": r"\dots",
    "⋯": r"\cdots", "ℓ": r"\ell", "ℝ": r"\mathbb{R}", "ℕ": r"\mathbb{N}", "ℤ": r"\mathbb{Z}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "𝔼": r"\mathbb{E}", "½": r"\tfrac12", "⅓": r"\tfrac13",
    "⅔": r"\tfrac23", "¼": r"\tfrac14", "¾": r"\tfrac34", "⅛": r"\tfrac18", "ᵀ": r"^{\top}",
    "✓": r"\checkmark",
    "✗": r"\times", "◆": r"\blacklozenge", "<": "<", ">": ">", "|": r"\vert",
}  # fmt: skip
_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "–": "--", "—": "---", "…": r"\dots{}",
    "\u00a0": "~", "\u2009": r"\,", "\u202f": r"\,", "“": "``", "”": "''", "‘": "`", "’": "'", "ß": r"\ss{}",
    "ø": r"\o{}", "æ": r"\ae{}", "ł": r"\l{}", "§": r"\S{}", "€": "EUR", "°": r"$^{\circ}$", "\t": " ",
}  # fmt: skip
_HIGH = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
_LOW = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₐₑₕᵢⱼₖₗₘₙₚₛₜ", "0123456789+-()aehijklmnpst", strict=True))
_RUNS = re.compile(f"([{re.escape(''.join(_HIGH))}]+)|([{re.escape(''.join(_LOW))}]+)")
_ACCENTS = {
    "\u0300": (r"\`", r"\grave"), "\u0301": (r"\'", r"\acute"), "\u0302": (r"\^", r"\hat"),
    "\u0303": (r"\~", r"\tilde"), "\u0304": (r"\=", r"\bar"), "\u0307": (r"\.", r"\dot"),
    "\u0308": (r'\"', r"\ddot"), "\u030c": (r"\v", r"\check"),
}  # fmt: skip


def tex_plain(text: str) -> str:
    r"""Text without formulas: what TeX would act upon is escaped, and all else is written in ASCII.

    A character that nothing here knows is shown by its number.

    >>> print(tex_plain("50 % of λ₁² ≤ ẋ, é"))
    50 \% of $\lambda$$_{1}$$^{2}$ $\le$ \.{x}, \'{e}
    >>> tex_plain("☃")
    '[U+2603]'
    """
    out, position = "", 0
    for run in _RUNS.finditer(text):
        out += _letters(text[position : run.start()])
        mark, table = ("^", _HIGH) if run[1] else ("_", _LOW)
        out += f"${mark}{{{''.join(table[c] for c in run[0])}}}$"
        position = run.end()
    return out + _letters(text[position:])


def _letters(text: str) -> str:
    done: list[str] = []
    known = _MATH.keys() | _TEXT.keys()
    for c in "".join(c if c in known else unicodedata.normalize("NFD", c) for c in text):
        if c in _ACCENTS and done:
            in_text, in_math = _ACCENTS[c]
            base = done.pop()
            done.append(f"{in_text}{{{base}}}" if len(base) == 1 else f"${in_math}{{{base.strip('$')}}}$")
        elif c in _TEXT:
            done.append(_TEXT[c])
        elif c in _MATH:
            done.append(f"${_MATH[c]}$")
        elif c.isascii() and (c.isprintable() or c == "\n"):
            done.append(c)
        else:
            done.append(f"[U+{ord(c):04X}]")
    return "".join(done)


def tex_code(text: str) -> str:
    """Program text, which may break after marks."""
    parts = re.split(r"(?<=[/,+*·=_-])", text)
    return r"\texttt{" + r"\allowbreak{}".join(map(tex_plain, parts)) + "}"


def as_tex(text: str) -> str:
    r"""A text of a record: formulas as they are, if all of them is understood, scripts outside set as such.

    >>> as_tex("h_i falls, if $c\\ge0$")
    'h\\textsubscript{i} falls, if $c\\ge0$'
    """
    return "".join(
        (f"${piece}$" if piece.isascii() and mathml(piece) else tex_code(f"${piece}$"))
        if formula
        else with_scripts(piece, tex_plain, _script)
        for piece, formula in pieces(text)
    )


def _script(mark: str, inside: str) -> str:
    return rf"\text{'sub' if mark == '_' else 'super'}script{{{inside}}}"
