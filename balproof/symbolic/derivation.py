"""A derivation: from an activation and a regularizer to the balance equation, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy

from balproof.symbolic.activation import Activation
from balproof.symbolic.halfline import T
from balproof.symbolic.limits import vanishes
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.scale import OptimalScale, optimal_scale
from balproof.symbolic.steps import Step, latex
from balproof.verdict import Check, Verdict

__all__ = ["Derivation", "Law", "Step", "derive", "unit_laws"]


@dataclass(frozen=True)
class Law:
    """Something that training keeps, or changes by a known amount."""

    formula: str
    latex: str
    kind: str
    verified_by: str
    verdict: Verdict

    def as_json(self) -> dict[str, object]:
        return {
            "formula": self.formula,
            "latex": self.latex,
            "kind": self.kind,
            "verified_by": self.verified_by,
            "verdict": str(self.verdict),
        }


@dataclass(frozen=True)
class Derivation:
    """Everything that was derived, with what checked each step.

    >>> d = derive("Max(x, 0)**2", "abs(w)**p")
    >>> d.answer, d.balance_equation
    (True, 'Σ_IN |w|^p = 2·Σ_OUT |w|^p')
    """

    title: str
    activation: Activation
    regularizer: Regularizer
    optimal_scale: OptimalScale
    laws: tuple[Law, ...]
    steps: tuple[Step, ...]
    network_laws: tuple[Mapping[str, object], ...] = ()

    @property
    def balance_equation(self) -> str | None:
        return self.optimal_scale.balance_equation

    @property
    def answer(self) -> bool | None:
        """True: one optimal scale, no other; False: none, or perhaps several; None: undecided."""
        scale = self.optimal_scale
        return scale.unique.holds if scale.exists else scale.exists

    @property
    def assumptions(self) -> tuple[str, ...]:
        return self.optimal_scale.assumptions

    def as_json(self) -> dict[str, object]:
        """The answer of ``derive``."""
        return {
            "title": self.title,
            "answer": self.answer,
            "activation": self.activation.as_json(),
            "regularizer": self.regularizer.as_json(),
            "optimal_scale": self.optimal_scale.as_json(),
            "balance_equation": self.balance_equation,
            "balance_latex": self.optimal_scale.balance_latex,
            "laws": [*(law.as_json() for law in self.laws), *(dict(law) for law in self.network_laws)],
            "steps": [step.as_json() for step in self.steps],
            "assumptions": list(self.assumptions),
        }


def derive(
    activation: Activation | str,
    regularizer: Regularizer | str,
    network_laws: Sequence[Mapping[str, object]] | None = None,
) -> Derivation:
    """Derive the optimal scale, the balance equation and the laws of one unit.

    Text is read as by ``Activation.parse`` and ``Regularizer.parse``.
    ``network_laws`` are laws of a whole network (fields ``formula``, ``kind``, ``verified_by``), shown after
    those of the unit.  ([B] Prop. 2.2, 2.3, Thm 3.1, equations (3.3), (3.4))
    """
    scale = optimal_scale(activation, regularizer)
    activation, regularizer = scale.activation, scale.regularizer
    laws = unit_laws(activation)
    steps = (
        *activation.steps,
        *_conditions(regularizer),
        *scale.steps,
        *(Step(f"law: {law.kind}", law.latex, law.verified_by, law.verdict) for law in laws),
    )
    title = f"Balance of {activation.text} with cost {regularizer.name}"
    return Derivation(title, activation, regularizer, scale, laws, steps, tuple(network_laws or ()))


def _conditions(g: Regularizer) -> tuple[Step, ...]:
    conditions: tuple[tuple[str, str, str, Check], ...] = (
        ("g is even", "g is not even", r"g(-w) = g(w)", g.even),
        ("g is increasing", "g is not increasing", r"g(w_1) < g(w_2)\quad (0 < w_1 < w_2)", g.increasing),
        ("g is coercive", "g is not coercive", r"g(w) \to \infty\quad (w \to \infty)", g.coercive),
        (
            "φ(t) = g(e^t) is strictly convex",
            "φ(t) = g(e^t) is not strictly convex",
            r"\varphi'(\log w_1) = w_1\,g'(w_1) < w_2\,g'(w_2) = \varphi'(\log w_2)\quad (0 < w_1 < w_2)",
            g.log_convex,
        ),
    )
    found: list[Step] = []
    for yes, no, formula, check in conditions:
        claim = {True: yes, False: f"{no}: {check.witness}", None: f"undecided: {yes}"}[check.holds]
        shown = formula if check.holds else None
        found.append(Step(claim, shown, f"{check.method}: {check.why}", check.verdict, g.assumptions))
    return tuple(found)


def unit_laws(activation: Activation) -> tuple[Law, ...]:
    """The laws of one unit of degree c: none where the activation is not homogeneous.

    With z = Σ_IN w·x and outputs w·f(z): Σ_IN w ∂E/∂w − c Σ_OUT w ∂E/∂w = (Σ_k p_k w_k)(z f'(z) − c f(z)),
    p_k the derivative of E by the k-th output; Euler's identity makes it 0.

    >>> [law.formula for law in unit_laws(Activation.parse("relu"))][1]
    'Σ_IN w² − Σ_OUT w²'
    """
    c = activation.degree
    if (
        not activation.homogeneous
        or c is None
        or activation.coefficients is None
        or activation.kind == "zero"
    ):
        return ()
    euler = all(vanishes(T * (a * T**c).diff(T) - c * a * T**c) for a in activation.coefficients)
    ledger = _ledger(c)
    verdict = Verdict.proved if euler else Verdict.undecided
    grouped = c.is_Add or c.is_negative
    fraction = c.is_Rational and not c.is_Integer
    factor = "" if c == sympy.S.One else f"({c})·" if grouped or fraction else f"{c}·"
    tex = "" if c == sympy.S.One else rf"\left({latex(c)}\right) " if grouped else f"{latex(c)} "
    into, out = r"\sum_{\mathrm{IN}}", r"\sum_{\mathrm{OUT}}"
    by_euler = "sympy: z f'(z) − c f(z) simplifies to 0 on both half-lines; chain rule"
    return (
        Law(
            f"Σ_IN w ∂E/∂w = {factor}Σ_OUT w ∂E/∂w",
            rf"{into} w\,\frac{{\partial E}}{{\partial w}} = {tex}{out} w\,\frac{{\partial E}}{{\partial w}}",
            "gradient identity",
            f"{by_euler} (E differentiable there)",
            verdict,
        ),
        Law(
            f"Σ_IN w² − {factor}Σ_OUT w²",
            rf"\frac{{d}}{{dt}}\left({into} w^2 - {tex}{out} w^2\right) = 0",
            "conserved by gradient flow",
            "sympy: with ẇ = −∂E/∂w it is −2 times the gradient identity",
            min(verdict, ledger),
        ),
        Law(
            f"Σ_IN w² − {factor}Σ_OUT w² changes by η²·(Σ_IN g² − {factor}Σ_OUT g²) in a step w − ηg",
            rf"D_+ = D + \eta^2\left({into} g^2 - {tex}{out} g^2\right),"
            rf"\quad D = {into} w^2 - {tex}{out} w^2",
            "finite step of gradient descent",
            "sympy: squares expanded; the term in η is −2η times the gradient identity",
            min(verdict, ledger),
        ),
    )


def _ledger(c: sympy.Expr) -> Verdict:
    """(a−ηg)² − c(b−ηh)² − (a² − cb²) = η²(g² − ch²) − 2η(ag − c bh), for one weight in and one out.

    The sums over more weights are sums of such terms; −2(ag − c bh) is also the derivative along the flow.
    """
    a, b, g, h, eta = sympy.symbols("a b g h eta", real=True, cls=sympy.Dummy)
    change = (a - eta * g) ** 2 - c * (b - eta * h) ** 2 - (a**2 - c * b**2)
    rest = sympy.expand(change - eta**2 * (g**2 - c * h**2) + 2 * eta * (a * g - c * b * h))
    flow = sympy.expand(2 * a * (-g) - c * 2 * b * (-h) + 2 * (a * g - c * b * h))
    return Verdict.proved if rest == 0 and flow == 0 else Verdict.undecided
