"""One step of a derivation: a claim, its formula, what checked it and how far."""

from __future__ import annotations

from dataclasses import dataclass

from balproof.verdict import Verdict


@dataclass(frozen=True)
class Step:
    r"""A claim with what checked it, its verdict and the hypotheses it needs.

    ``formula`` is LaTeX without dollar signs, or None.

    >>> Step("one is one", "1 = 1", "exact arithmetic", Verdict.certified).as_json()["verdict"]
    'certified'
    """

    claim: str
    formula: str | None
    checked_by: str
    verdict: Verdict
    hypotheses: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "claim": self.claim,
            "formula": self.formula,
            "checked_by": self.checked_by,
            "verdict": str(self.verdict),
            "hypotheses": list(self.hypotheses),
        }
