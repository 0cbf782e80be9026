"""Claims that are stated here and not checked yet: verdict ``undecided``, nothing required.

Each will get a module with a function of its own; then its line here goes.
"""

from __future__ import annotations

from balproof.theorems.b_lemmas import PAPER
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict

STOCK = (
    "[S] Stock, Harvey, Ocko, Ganguli, Synaptic balancing: a biologically plausible local learning rule, "
    "PLoS Comput Biol 2022"
)


def _pending(
    name: str,
    title: str,
    source: str,
    printed: str,
    exact: str,
    assumptions: tuple[str, ...] = (),
    depends: tuple[str, ...] = (),
    why: str = "not checked yet",
) -> ClaimFunction:
    def unchecked() -> Findings:
        return Findings(Printed(Verdict.undecided, why))

    return claim(Claim(name, title, source, printed, exact, assumptions, None, depends))(unchecked)


PAPER_B: tuple[ClaimFunction, ...] = (
    _pending(
        "B.learning",
        "Balancing helps learning",
        f"{PAPER}, simulations; Alexos, Domingo, Baldi, AAAI 2025",
        "Balancing before or during training makes learning faster and the result more accurate.",
        "Empirical: to be replicated with paired runs over many seeds and reported as an effect with an "
        "interval; nothing about it can be proved.",
        why="about training runs, not about networks: no identity or certificate decides it, and no run is "
        "part of this check",
    ),
)

CLAIMS: tuple[ClaimFunction, ...] = PAPER_B
