"""One step of a derivation: a claim, its formula, what checked it and how far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy

from balproof.verdict import Verdict


def latex(expr: sympy.Basic, names: Mapping[sympy.Basic, str] | None = None) -> str:
    r"""LaTeX with square roots, other fractional exponents on the line, names of several letters upright.

    >>> print(latex(sympy.Symbol("eps") ** sympy.Rational(2, 3) * sympy.Symbol("alpha")))
    \alpha \mathrm{eps}^{2/3}
    """
    long = [s for s in expr.free_symbols if s.name[1:] and sympy.latex(s) == s.name]
    words = {s: rf"\mathrm{{{s.name}}}" for s in long}
    roots = all(p.exp.q <= 2 for p in expr.atoms(sympy.Pow) if p.exp.is_Rational)
    known = {**words, **(names or {})}
    return str(sympy.latex(expr, symbol_names=known, root_notation=roots, fold_frac_powers=not roots))


@dataclass(frozen=True)
class Step:
    r"""A claim with what checked it, its verdict and the hypotheses it needs.

    ``formula`` is LaTeX without dollar signs, or None; ``expression`` is the same for SymPy's printers,
    where there is one.

    >>> Step("one is one", "1 = 1", "exact arithmetic", Verdict.certified).as_json()["verdict"]
    'certified'
    """

    claim: str
    formula: str | None
    checked_by: str
    verdict: Verdict
    hypotheses: tuple[str, ...] = ()
    expression: sympy.Basic | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "claim": self.claim,
            "formula": self.formula,
            "checked_by": self.checked_by,
            "verdict": str(self.verdict),
            "hypotheses": list(self.hypotheses),
        }
