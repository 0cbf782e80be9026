r"""Texts of claims for a terminal: formulas between dollar signs in plain Unicode.

The LaTeX understood is that of `balproof.report.formulas`; a formula beyond it is shown as it was written.
"""

from __future__ import annotations

import re
import unicodedata

from balproof.report.formulas import (
    DOUBLE,
    GREEK,
    NAMES,
    OPERATORS,
    TOKEN,
    _argument,
    _Unknown,
    first_digit,
    pieces,
)

_HIGH = dict(zip("0123456789+-−n⊤()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻ⁿᵀ⁽⁾", strict=True))
_LOW = dict(zip("0123456789", "₀₁₂₃₄₅₆₇₈₉", strict=True))
_COMBINING = {
    "dot": "\u0307", "ddot": "\u0308", "hat": "\u0302", "bar": "\u0304", "tilde": "\u0303",
    "overline": "\u0304",
}  # fmt: skip
_RELATIONS = frozenset("=<>≤≥≠≡≈∼∈→↦⇔⇒≪≫∝⊂⊆∪∩±") | {"mod"}
_SIGNS = frozenset("+−")


def as_plain(text: str) -> str:
    r"""A text of a record, readable on a terminal.

    >>> as_plain(r"$\dot x\le\frac{a+b}{2}$, and $F(h)=\sum_ea_ee^{p(Ah)_e}$ with $A^\top z=0$")
    'ẋ ≤ (a + b)/2, and F(h) = ∑_e a_e e^(p(Ah)_e) with Aᵀz = 0'
    >>> as_plain(r"$\unheard{x}$ stays")
    '\\unheard{x} stays'
    """
    return "".join(_formula(piece) if formula else piece for piece, formula in pieces(text))


def _formula(latex: str) -> str:
    tokens = [t for t in TOKEN.findall(latex) if not t.isspace()]
    try:
        made = _row(tokens)
    except (_Unknown, IndexError):
        return latex
    return latex if tokens else " ".join(made.split())


def _row(tokens: list[str]) -> str:
    """Atoms with their scripts, up to a closing brace or bracket, or the end."""
    out, scripted = "", False
    while tokens and tokens[0] not in ("}", r"\right"):
        atom, marks = _atom(tokens), ""
        while tokens and tokens[0] in "_^'":
            mark = tokens.pop(0)
            marks += "′" if mark == "'" else _script(mark, _taken(tokens))
        if atom in _RELATIONS or (atom in _SIGNS and out and out[-1] not in "([{ ,"):
            out, scripted = f"{out.rstrip()} {atom}{marks} ", False
            continue
        word = atom in NAMES or (len(atom) > 1 and atom.isalpha())
        first = atom[:1]
        apart = (scripted or (word and out[-1:].isalnum())) and (first.isalnum() or first in "∑∏∫∇∂√⟨½")
        out += " " * apart + atom + marks + ("" if marks or not word or tokens[:1] == ["("] else " ")
        out += " " * (atom in (",", ";"))
        scripted = "_" in marks or "^" in marks or atom == "½"
    return out


def _script(mark: str, inside: str) -> str:
    inside = inside.strip()
    table = _HIGH if mark == "^" else _LOW
    if inside and all(c in table for c in inside):
        return "".join(table[c] for c in inside)
    bare = len(inside) == 1 or (mark == "_" and inside.isalnum())
    return mark + (inside if bare else f"({inside})")


_ONE = re.compile(r"\d+|\S|[^\W\d_](?:_\w+|[₀-₉]+|[′²])*|\|[^|]*\|")


def _whole(text: str) -> str:
    """In brackets, unless it is one thing."""
    text = text.strip()
    return text if _ONE.fullmatch(text) else f"({text})"


def _fraction(tokens: list[str]) -> str:
    above, below = _whole(_taken(tokens)), _whole(_taken(tokens))
    if (above, below) == ("1", "2"):
        return "½"
    following = OPERATORS.get(tokens[0][1:], tokens[0]) if tokens else ")"
    alone = following in _RELATIONS or following in "+-)]},;"
    return f"{above}/{below}" if alone else f"({above}/{below})"


def _taken(tokens: list[str]) -> str:
    first_digit(tokens)
    return _atom(tokens)


def _atom(tokens: list[str]) -> str:
    piece = tokens.pop(0)
    if piece == "{":
        inner = _row(tokens)
        if tokens.pop(0) != "}":
            raise _Unknown
        return inner
    if piece in ("}", "_", "^", "&"):
        raise _Unknown
    if not piece.startswith("\\"):
        return {"-": "−", "*": "∗"}.get(piece, piece)
    name = piece[1:]
    if name in GREEK:
        return GREEK[name]
    if name in OPERATORS:
        return OPERATORS[name] if not OPERATORS[name].isspace() else " "
    if name in NAMES:
        return name
    if name in ("frac", "tfrac", "dfrac"):
        return _fraction(tokens)
    if name == "sqrt":
        return f"√{_whole(_taken(tokens))}"
    if name in _COMBINING:
        inside = _atom(tokens).strip()
        return unicodedata.normalize("NFC", inside[:1] + _COMBINING[name] + inside[1:])
    if name == "mathbb":
        letter = _argument(tokens) if tokens[0] == "{" else tokens.pop(0)
        if letter not in DOUBLE:
            raise _Unknown
        return DOUBLE[letter]
    if name in ("operatorname", "mathrm"):
        return _argument(tokens)
    if name == "left":
        first = _delimiter(tokens)
        inside = _row(tokens)
        if tokens.pop(0) != r"\right":
            raise _Unknown
        return f"{first}{inside}{_delimiter(tokens)}"
    if name in ("big", "Big", "bigl", "bigr"):
        return "" if tokens[0] == "." and tokens.pop(0) else _atom(tokens)
    raise _Unknown


def _delimiter(tokens: list[str]) -> str:
    piece = tokens.pop(0)
    if piece == ".":
        return ""
    return OPERATORS[piece[1:]] if piece.startswith("\\") and piece[1:] in OPERATORS else piece
