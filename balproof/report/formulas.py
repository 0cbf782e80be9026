r"""Texts of claims as HTML: formulas between dollar signs as MathML, a_b and a^b outside them as scripts.

The LaTeX understood here is what statements need: scripts, fractions, roots, Greek letters, a few operators.
Whatever else comes is shown as it was written, never dropped; a test holds the registry to this subset.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

_LETTERS = re.findall(
    r"\w+",
    """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma
sigma tau upsilon varphi chi psi omega""",
)
GREEK = {
    **{name: chr(0x3B1 + i) for i, name in enumerate(_LETTERS)},
    "phi": "φ", "varepsilon": "ε", "ell": "ℓ", "Phi": "Φ", "Delta": "Δ", "Lambda": "Λ", "partial": "∂",
}  # fmt: skip
OPERATORS = {
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "equiv": "≡", "in": "∈", "to": "→",
    "mapsto": "↦", "cdot": "·", "times": "×", "circ": "∘", "pm": "±", "sum": "∑", "prod": "∏", "int": "∫",
    "infty": "∞", "nabla": "∇", "iff": "⇔", "Rightarrow": "⇒", "Leftrightarrow": "⇔", "quad": "\u2003",
    ",": "\u2009", ";": "\u2005", "!": "", " ": "\u00a0", "{": "{", "}": "}", "|": "‖", "Vert": "‖",
    "vert": "|", "lVert": "‖", "rVert": "‖", "lvert": "|", "rvert": "|", "langle": "⟨", "rangle": "⟩",
    "dots": "…", "ldots": "…", "cdots": "⋯", "subset": "⊂", "subseteq": "⊆", "cup": "∪", "cap": "∩",
    "setminus": "∖", "forall": "∀", "exists": "∃", "top": "⊤", "ast": "∗", "star": "⋆", "approx": "≈",
    "sim": "∼", "ll": "≪", "gg": "≫", "neg": "¬", "%": "%", "prime": "′", "colon": ":", "mid": "|",
    "propto": "∝", "implies": "⇒", "bmod": "mod", "uparrow": "↑", "downarrow": "↓", "qquad": "\u2003\u2003",
    "emptyset": "∅", "perp": "⊥", "_": "_", "&": "&", "#": "#",
}  # fmt: skip

_WIDTHS = {"\u2003": 1, "\u2009": 0.17, "\u2005": 0.28, "\u00a0": 0.25}
NAMES = frozenset(re.findall(r"\w+", "log ln exp sin cos tanh max min inf sup det dim ker rank lim sgn tr"))
ACCENTS = {"dot": "˙", "ddot": "¨", "hat": "^", "bar": "¯", "tilde": "~", "overline": "¯"}
DOUBLE = {"R": "ℝ", "N": "ℕ", "Z": "ℤ", "Q": "ℚ", "C": "ℂ", "E": "𝔼"}
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[0-9]+(?:\.[0-9]+)?|\s+|.", re.DOTALL)


class _Unknown(Exception):
    """LaTeX beyond the subset."""


_LONG = 12
"""Parts of a formula that stay on one line."""
_BREAKS = re.compile("<mo>(?:[=≤≥≠≡≈→↦⇒⇔]|&[lg]t;)</mo>")


def mathml(latex: str, *, breaking: bool = False) -> str | None:
    r"""Inline MathML of a formula, or None if it uses what is not understood here.

    >>> mathml(r"x^2\ge 0")
    '<math><mrow><msup><mi>x</mi><mn>2</mn></msup><mo>≥</mo><mn>0</mn></mrow></math>'
    >>> mathml(r"\unheard{x}") is None
    True

    Browsers do not break a formula: with ``breaking`` a long one is several, each from a relation on.
    """
    tokens = [t for t in TOKEN.findall(latex) if not t.isspace()]
    try:
        content = _row(tokens)
    except (_Unknown, IndexError):
        return None
    if tokens:
        return None
    parts: list[list[str]] = [[]]
    for piece in content:
        if breaking and len(content) > _LONG and parts[-1] and _BREAKS.fullmatch(piece):
            parts.append([])
            piece = piece.replace("<mo>", '<mo form="infix">')
        parts[-1].append(piece)
    return " ".join(f"<math>{_group(part)}</math>" for part in parts)


def _group(content: list[str]) -> str:
    return content[0] if len(content) == 1 else f"<mrow>{''.join(content)}</mrow>"


def _row(tokens: list[str]) -> list[str]:
    """Atoms with their scripts, up to a closing brace or bracket, or the end; takes tokens from the front."""
    content: list[str] = []
    while tokens and tokens[0] not in ("}", r"\right"):
        base = _atom(tokens)
        below = above = ""
        while tokens and tokens[0] in "_^'":
            mark = tokens.pop(0)
            if mark == "_":
                below = _taken(tokens)
            elif mark == "^":
                above = _join(above, _taken(tokens))
            else:
                above = _join(above, "<mo>′</mo>")
        if below and above:
            base = f"<msubsup>{base}{below}{above}</msubsup>"
        elif below or above:
            tag = "msub" if below else "msup"
            base = f"<{tag}>{base}{below or above}</{tag}>"
        if base in ("<mo>−</mo>", "<mo>+</mo>") and (not content or _OPEN.search(content[-1])):
            base = base.replace("<mo>", '<mo form="prefix">')
        if base:
            content.append(base)
    return content


_OPEN = re.compile(r'<mo(?: form="prefix"[^>]*)?>[^)\]}]</mo>$')
"""After an operator that closes nothing, a minus is a sign."""
_BAR = '<mo stretchy="false" lspace="0" rspace="0">{}</mo>'


_FENCES = frozenset(("|", "Vert", "vert", "lVert", "rVert", "lvert", "rvert", "langle", "rangle", "{", "}"))


def _join(first: str, second: str) -> str:
    return f"<mrow>{first}{second}</mrow>" if first else second


def _argument(tokens: list[str]) -> str:
    """The words of {…}, for names and texts."""
    if tokens.pop(0) != "{":
        raise _Unknown
    end = tokens.index("}") if "}" in tokens else len(tokens)
    words = "".join(tokens[:end])
    del tokens[: end + 1]
    return words


def first_digit(tokens: list[str]) -> None:
    r"""What a script or a fraction takes is one digit: \frac12 is a half, and x^12 is x^{1}2."""
    if tokens and len(tokens[0]) > 1 and tokens[0][0].isdigit():
        tokens[:1] = [tokens[0][0], tokens[0][1:]]


def _taken(tokens: list[str]) -> str:
    first_digit(tokens)
    return _atom(tokens)


def _atom(tokens: list[str]) -> str:
    piece = tokens.pop(0)
    if piece == "{":
        inner = _row(tokens)
        if tokens.pop(0) != "}":
            raise _Unknown
        return _group(inner)
    if piece in ("}", "_", "^", "&"):
        raise _Unknown
    if not piece.startswith("\\"):
        if piece[0].isdigit():
            return f"<mn>{piece}</mn>"
        if piece.isalpha():
            return f"<mi>{piece}</mi>"
        if piece == "|":
            return _BAR.format(piece)
        if piece in "()[]":
            return f'<mo form="{"prefix" if piece in "([" else "postfix"}" stretchy="false">{piece}</mo>'
        return f"<mo>{html.escape({'-': '−', '*': '∗', chr(39): '′'}.get(piece, piece))}</mo>"
    return _command(piece[1:], tokens)


def _command(name: str, tokens: list[str]) -> str:
    if name in GREEK:
        return f"<mi>{GREEK[name]}</mi>"
    if name in OPERATORS:
        symbol = html.escape(OPERATORS[name])
        if name in ("infty", "emptyset"):  # no operators, so without their spaces
            return f'<mi mathvariant="normal">{symbol}</mi>'
        if name in _FENCES:
            return _BAR.format(symbol)
        return (
            f'<mspace width="{sum(_WIDTHS[c] for c in symbol)}em"/>'
            if symbol.isspace()
            else f"<mo>{symbol}</mo>"
            if symbol
            else ""
        )
    if name in NAMES:
        thin = "" if not tokens or not tokens[0][0].isalnum() else '<mspace width="0.17em"/>'
        return f"<mi>{name}</mi>{thin}"
    if name in ("frac", "tfrac", "dfrac"):
        return f"<mfrac>{_taken(tokens)}{_taken(tokens)}</mfrac>"
    if name == "sqrt":
        return f"<msqrt>{_taken(tokens)}</msqrt>"
    if name in ACCENTS:
        return f'<mover accent="true">{_atom(tokens)}<mo>{ACCENTS[name]}</mo></mover>'
    if name == "mathbb":
        letter = _argument(tokens) if tokens[0] == "{" else tokens.pop(0)
        if letter not in DOUBLE:
            raise _Unknown
        return f"<mi>{DOUBLE[letter]}</mi>"
    if name in ("operatorname", "mathrm"):
        return f'<mi mathvariant="normal">{html.escape(_argument(tokens))}</mi>'
    if name == "left":
        inside = [_delimiter(tokens, "prefix"), *_row(tokens)]
        if tokens.pop(0) != r"\right":
            raise _Unknown
        return f"<mrow>{''.join(inside)}{_delimiter(tokens, 'postfix')}</mrow>"
    if name in ("big", "Big", "bigl", "bigr"):
        return "" if tokens[0] == "." and tokens.pop(0) else _atom(tokens)
    raise _Unknown


def _delimiter(tokens: list[str], form: str) -> str:
    r"""What stands after \left or \right: it grows with what is between the two; a point is nothing."""
    piece = tokens.pop(0)
    if piece == ".":
        return ""
    symbol = OPERATORS.get(piece[1:], "") if piece.startswith("\\") else piece
    if not symbol or symbol.isalnum():
        raise _Unknown
    return f'<mo form="{form}" stretchy="true">{html.escape(symbol)}</mo>'


_SCRIPT = re.compile(
    # One letter that does not end a Latin word (so that file_name stays), or a closing bracket.
    r"(?P<base>(?:(?<![A-Za-z_])[A-Za-z]|[Α-Ωα-ωℓ∇∂∑∏])[\u0300-\u036f]?[′*]?|[)\]}|‖]|(?<![A-Za-z_])\d+(?=\^))"
    r"(?P<mark>[_^])(?P<arg>\{(?:[^{}]|\{[^{}]*\})*\}|\([^()]*\)|[A-Za-zα-ω0-9]+|[¼½¾])"
)
_FORMULA = re.compile(r"\$([^$]+)\$")


def with_scripts(text: str, plain: Callable[[str], str], script: Callable[[str, str], str]) -> str:
    """Text without formulas: ``plain`` renders a run of it, ``script`` a mark (_ or ^) with what it holds.

    >>> with_scripts("e^{-h_i} of W_in", str, lambda mark, inside: f"<{mark}{inside}>")
    'e<^-h<_i>> of W<_in>'
    """

    def held(match: re.Match[str]) -> str:
        """The script itself, without the braces or brackets that hold it together."""
        inside = match["arg"][1:-1] if match["arg"][0] in "{(" else match["arg"]
        return script(match["mark"], with_scripts(inside, plain, script))

    out, position = "", 0
    while match := _SCRIPT.search(text, position):
        out += plain(text[position : match.start()] + match["base"]) + held(match)
        position = match.end()
        if position < len(text) - 1 and text[position] in "_^":  # λ_i^c: a second script on the same base
            again = _SCRIPT.match("x" + text[position:])
            if again:
                out += held(again)
                position += again.end() - 1
    return out + plain(text[position:])


def pieces(text: str) -> list[tuple[str, bool]]:
    """Text and formulas in turn, and whether it is a formula.

    >>> pieces("if $c>0$")
    [('if ', False), ('c>0', True), ('', False)]
    """
    return [(piece, i % 2 == 1) for i, piece in enumerate(_FORMULA.split(text))]


def _script(mark: str, inside: str) -> str:
    tag = "sub" if mark == "_" else "sup"
    return f"<{tag}>{inside}</{tag}>"


def as_html(text: str) -> str:
    """A text of a record as HTML, everything escaped.

    >>> as_html("h_i < 1, and $c>0$")
    'h<sub>i</sub> &lt; 1, and <math><mrow><mi>c</mi><mo>&gt;</mo><mn>0</mn></mrow></math>'
    >>> as_html("matrix_balance, solve_ivp")
    'matrix_balance, solve_ivp'
    """
    return "".join(
        mathml(piece, breaking=True) or f"<code>{html.escape(piece)}</code>"
        if formula
        else with_scripts(piece, html.escape, _script)
        for piece, formula in pieces(text)
    )
