"""One step of a derivation: a claim, its formula, what checked it and how far."""

from __future__ import annotations

from dataclasses import dataclass

import sympy

from balproof.verdict import Verdict


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
