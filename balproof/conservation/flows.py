"""What becomes of the laws of gradient flow under other flows.

A law is ½θᵀMθ + vᵀθ with ⟨∇L, Mθ + v⟩ = 0 for all losses L of the outputs.

- ``euclidean``, θ̇ = −∇L: conserved.
- ``natural``, θ̇ = −(F + δ)⁻¹∇L with δ > 0 and the full Fisher matrix F = Σ JᵀHJ of the data, H being
  that of the outputs (the unit matrix for squares; for cross-entropy diag(p) − ppᵀ, whose rows have sum
  0): conserved, since F(Mθ + v) = 0, so that d/dt = −⟨∇L, Mθ + v⟩/δ. There are no other laws than of
  gradient flow: of one case, both have the same span of velocities. Diagonal and block-diagonal
  approximations of F break the laws.
- ``decay:λ``, θ̇ = −∇L − λθ: the quadratic part falls as e^{−2λt}, the linear one as e^{−λt}, so a
  law that is one of the two, times that growth, is conserved. Since L = 0 is a loss, whatever is
  conserved is at each time a function of the laws of gradient flow, and then of these products.
- ``mirror:ψ``, d/dt ψ′(w) = −∂L/∂w for each weight: for diagonal M, Σ M_ee(wψ′ − ψ) + v_eψ′ is conserved,
  since d(wψ′ − ψ) = w dψ′. Products of different weights are lost. Without brackets, the fields span as many
  dimensions as those of gradient flow.
- ``momentum:γ``, θ̈ + γθ̇ = −∇L: for *antisymmetric* J with ⟨∇L, Jθ + v⟩ = 0, e^{γt}⟨θ̇, Jθ + v⟩ is kept,
  since ⟨θ̇, Jθ̇⟩ = 0. The scaling laws, whose M is symmetric, are lost.

Sources: Noether's theorem; Kunin et al., ICLR 2021 (decay, momentum); Marcotte, Gribonval, Peyré 2024 (mirror
flows, momentum).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import sympy

from balproof.errors import ExpressionError, RequestError
from balproof.symbolic import ball
from balproof.symbolic.numeric import rational
from balproof.symbolic.parser import parse_formula

Kind = Literal["euclidean", "natural", "decay", "mirror", "momentum"]
KNOWN = "euclidean, natural, decay:λ, mirror:ψ(w) or momentum:γ"


@dataclass(frozen=True)
class Flow:
    """A flow: its kind, its text, and ψ or the rate."""

    kind: Kind
    text: str
    rate: sympy.Expr | None = None
    potential: sympy.Expr | None = None
    weight: sympy.Symbol | None = None
    assumes: str = ""

    @staticmethod
    def parse(text: str) -> Flow:
        """Read a flow.

        >>> Flow.parse("momentum:1/2").rate
        1/2
        >>> Flow.parse("mirror:w**2/2").kept
        w**2/2

        Raises RequestError for an unknown flow and for a ψ that is not convex, ExpressionError for a formula
        that cannot be read.
        """
        kind, _, rest = (part.strip() for part in text.partition(":"))
        if kind in ("euclidean", "natural") and not rest:
            return Flow("euclidean" if kind == "euclidean" else "natural", kind)
        if kind in ("decay", "momentum"):
            rate = sympy.Symbol("λ" if kind == "decay" else "γ", positive=True)
            if rest:
                value = parse_formula(rest, "w").expression
                if value.free_symbols or rational(value) is None or value < 0:
                    raise RequestError(
                        f"the rate {rest!r} is no rational number from 0", f"write {kind}:1/10"
                    )
                rate = value
            return Flow("decay" if kind == "decay" else "momentum", f"{kind}:{rate}", rate)
        if kind == "mirror" and rest:
            formula = parse_formula(rest, "w", positive_parameters=True)
            if not formula.expression.has(formula.variable):
                raise ExpressionError(f"{rest!r} has no w in it", "write mirror:w**2/2, or another ψ(w)")
            assumes = _convex(formula.expression, formula.variable, rest)
            return Flow("mirror", f"mirror:{rest}", None, formula.expression, formula.variable, assumes)
        raise RequestError(f"the flow {text!r} is not known", f"give {KNOWN}")

    @property
    def kept(self) -> sympy.Expr:
        """wψ′ − ψ, which takes the place of w²/2."""
        assert self.potential is not None and self.weight is not None
        return sympy.simplify(self.weight * self.potential.diff(self.weight) - self.potential)

    @property
    def slope(self) -> sympy.Expr:
        """ψ′, which takes the place of w."""
        assert self.potential is not None and self.weight is not None
        return sympy.simplify(self.potential.diff(self.weight))

    def fits(self, weights: Iterable[Fraction]) -> bool:
        """Whether ψ″ is certainly positive at these weights."""
        if not self.assumes:
            return True
        assert self.potential is not None and self.weight is not None
        second = self.potential.diff(self.weight, 2)
        try:
            return all(ball.sign_at(second, {self.weight: w}) == 1 for w in set(weights))
        except (ball.NotReal, ball.Unknown):
            return False


def _convex(psi: sympy.Expr, w: sympy.Symbol, text: str) -> str:
    """What is assumed of ψ; nothing where ψ″ > 0 is shown.

    Raises RequestError where ψ″ is certainly not positive at a sampled weight.
    """
    second = sympy.simplify(psi.diff(w, 2))
    if second.is_positive:
        return ""
    if not second.free_symbols - {w}:
        for value in (
            Fraction(1, 3),
            Fraction(1),
            Fraction(5, 2),
            Fraction(-1, 3),
            Fraction(-1),
            Fraction(-5, 2),
        ):
            try:
                if not ball.enclose(psi, {w: value}).is_finite():
                    continue
                sign = ball.sign_at(second, {w: value})
            except (ball.NotReal, ball.Unknown):
                continue  # outside the domain of ψ
            if sign is not None and sign <= 0:
                raise RequestError(
                    f"ψ = {text} is not strictly convex at w = {value}", "give a ψ with ψ″ > 0"
                )
    return "where every weight w has ψ″(w) > 0"


def exponential(rate: sympy.Expr, times: int) -> str:
    """e^(times·rate·t) as a text.

    >>> exponential(sympy.Rational(1, 10), 2)
    'e^(t/5)'
    """
    t = sympy.Symbol("t")
    return f"e^({times * rate * t})"
