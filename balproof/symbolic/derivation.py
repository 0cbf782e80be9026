"""A derivation: from an activation and a regularizer to the balance equation, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy

from balproof.errors import ExpressionError
from balproof.symbolic.activation import Activation
from balproof.symbolic.assumptions import Assumption, Domain
from balproof.symbolic.gate import Gate, Scaling, is_gate
from balproof.symbolic.halfline import T
from balproof.symbolic.limits import vanishes
from balproof.symbolic.norms import Norm
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.root import Number, Root
from balproof.symbolic.scale import OptimalScale, cost, optimal_scale
from balproof.symbolic.steps import Step, latex
from balproof.verdict import Check, Verdict

__all__ = ["Derivation", "GateDerivation", "Law", "Step", "derive", "derive_gate", "unit_laws"]

HEAD = {"format": "balproof-derivation", "version": 1}
"""How a stored derivation begins."""
_ONCE = (*HEAD, "request")


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
class Instance:
    """λ* and the gain for given weights, as certified intervals."""

    inside: tuple[Number, ...]
    outside: tuple[Number, ...]
    scale: Root
    gain: Root

    def as_json(self) -> dict[str, object]:
        return {
            "in": _texts(self.inside),
            "out": _texts(self.outside),
            "scale": self.scale.decimal(),
            "scale_bounds": [str(self.scale.lower), str(self.scale.upper)],
            "gain": self.gain.decimal(),
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
    regularizer: Regularizer | Norm
    optimal_scale: OptimalScale
    laws: tuple[Law, ...]
    steps: tuple[Step, ...]
    network_laws: tuple[Mapping[str, object], ...] = ()
    instance: Instance | None = None
    network: Mapping[str, object] | None = None

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

    @property
    def request(self) -> dict[str, object]:
        """What was asked, for ``balproof.report.recheck`` to ask once more."""
        i = self.instance
        out = self.optimal_scale.regularizer_out
        return {
            **_request(self.activation, self.regularizer, out),
            "weights": None if i is None else {"in": _texts(i.inside), "out": _texts(i.outside)},
            "network": None if self.network is None else dict(self.network),
        }

    def as_json(self) -> dict[str, object]:
        """The answer of ``derive``."""
        out = self.optimal_scale.regularizer_out
        return {
            **HEAD,
            "request": self.request,
            "title": self.title,
            "answer": self.answer,
            "activation": self.activation.as_json(),
            "regularizer": self.regularizer.as_json(),
            "regularizer_out": None if out == self.regularizer else out.as_json(),
            "optimal_scale": self.optimal_scale.as_json(),
            "instance": None if self.instance is None else self.instance.as_json(),
            "balance_equation": self.balance_equation,
            "balance_latex": self.optimal_scale.balance_latex,
            "laws": [*(law.as_json() for law in self.laws), *(dict(law) for law in self.network_laws)],
            "steps": [step.as_json() for step in self.steps],
            "assumptions": list(self.assumptions),
        }


@dataclass(frozen=True)
class GateDerivation:
    """What was derived of a function of several arguments.

    A part is a derivation for the weights that feed the named arguments, and for the weights out.  Where
    each argument has a positive degree there is one part for each, and the joint one follows from them.

    >>> d = derive_gate("x*Max(y, 0)", "l2")
    >>> [(part.activation.text, part.balance_equation) for part in d.parts][0]
    ('x*Max(y, 0) in x alone', 'Σ_IN |w|^2 = Σ_OUT |w|^2')
    """

    title: str
    gate: Gate
    regularizer: Regularizer | Norm
    regularizer_out: Regularizer | Norm
    parts: tuple[Derivation, ...]
    steps: tuple[Step, ...]

    @property
    def answer(self) -> bool | None:
        """True: each part has one optimal scale, no other; False: some has not, or there is no part."""
        answers = [part.answer for part in self.parts]
        if answers and all(answers):
            return True
        known = all(s.verdict > Verdict.undecided for s in self.gate.scalings)
        return False if False in answers or (not answers and known) else None

    @property
    def request(self) -> dict[str, object]:
        """What was asked, for ``balproof.report.recheck`` to ask once more."""
        return {
            **_request(self.gate, self.regularizer, self.regularizer_out),
            "weights": None,
            "network": None,
        }

    def as_json(self) -> dict[str, object]:
        """The answer of ``derive``: the first part, with all of them under ``parts``."""
        parts = [part.as_json() for part in self.parts]
        first = parts[0] if parts else {}
        nothing = {"exists": False, "closed_form": None, "equation": None, "latex": None}
        return {
            **HEAD,
            "request": self.request,
            "title": self.title,
            "answer": self.answer,
            "activation": self.gate.as_json(),
            "regularizer": self.regularizer.as_json(),
            "optimal_scale": first.get("optimal_scale", nothing),
            "balance_equation": first.get("balance_equation"),
            "laws": first.get("laws", []),
            "steps": [step.as_json() for step in self.steps],
            "parts": [
                {"arguments": part.activation.text, **{k: v for k, v in json.items() if k not in _ONCE}}
                for part, json in zip(self.parts, parts, strict=True)
            ],
        }


def _request(f: Activation | Gate, g: Regularizer | Norm, out: Regularizer | Norm) -> dict[str, object]:
    def told(name: str, assumptions: Sequence[str]) -> dict[str, object]:
        return {"text": name, "assumptions": list(assumptions)}

    return {
        "activation": told(f.text, f.assumptions),
        "regularizer": told(g.name, g.assumptions),
        "regularizer_out": None if out == g else told(out.name, out.assumptions),
    }


def _texts(weights: Sequence[Number]) -> list[str]:
    return [str(w).strip() for w in weights]


def derive_gate(
    gate: Gate | str,
    regularizer: Regularizer | Norm | str,
    *,
    regularizer_out: Regularizer | Norm | str | None = None,
    assumptions: Sequence[str] = (),
) -> GateDerivation:
    """As ``derive``, for an elementwise function of x, y and z.

    Raises ExpressionError as ``derive`` does.
    """
    f = Gate.parse(gate, assumptions) if isinstance(gate, str) else gate
    g, out = (_cost_of(g, assumptions) for g in (regularizer, regularizer_out or regularizer))
    _require_used(assumptions, f.domains, g.domains, out.domains)
    scalings = f.scalings[:-1] if all(_positive(s) for s in f.scalings[:-1]) else f.scalings
    parts = tuple(_part(f, s, g, out) for s in scalings if _positive(s))
    steps = (*f.steps(), *(parts[0].steps if parts else _conditions(g)))
    return GateDerivation(f"Balance of {f.text} with cost {_cost(g, out)}", f, g, out, parts, steps)


def _positive(scaling: Scaling) -> bool:
    return scaling.degree is not None and scaling.degree.is_positive is True


def _part(gate: Gate, scaling: Scaling, g: Regularizer | Norm, out: Regularizer | Norm) -> Derivation:
    unit = gate.unit(scaling)
    assert scaling.degree is not None
    scale = optimal_scale(unit, g, regularizer_out=out)
    euler = f"sympy: the scaling {scaling.where}, differentiated by λ at 1 (Euler); chain rule"
    laws = laws_of_degree(scaling.degree, euler, scaling.verdict)
    steps = (*_conditions(g), *(() if out == g else _conditions(out, " of the weights out")), *scale.steps)
    title = f"Balance of {unit.text} with cost {_cost(g, out)}"
    return Derivation(title, unit, g, scale, laws, (*steps, *_law_steps(laws)))


def _cost(g: Regularizer | Norm, out: Regularizer | Norm) -> str:
    return g.name if out == g else f"{g.name} in and {out.name} out"


def _law_steps(laws: Sequence[Law]) -> tuple[Step, ...]:
    return tuple(Step(f"law: {law.kind}", law.latex, law.verified_by, law.verdict) for law in laws)


def derive(
    activation: Activation | str,
    regularizer: Regularizer | Norm | str,
    network_laws: Sequence[Mapping[str, object]] | None = None,
    *,
    regularizer_out: Regularizer | Norm | str | None = None,
    assumptions: Sequence[str] = (),
    weights: tuple[Sequence[Number], Sequence[Number]] | None = None,
    network: Mapping[str, object] | None = None,
) -> Derivation:
    """Derive the optimal scale, the balance equation and the laws of one unit.

    Text is read as by ``Activation.parse`` and ``scale.cost``, under the ``assumptions`` on its
    parameters; ``regularizer_out`` is the cost of the weights out, where it is another.
    ``network_laws`` are laws of a whole network (fields ``formula``, ``kind``, ``verified_by``), shown after
    those of the unit; ``network`` is its JSON document, which is stored with the answer.  With ``weights``,
    those in and those out, λ* and the gain are also computed for them.
    ([B] Prop. 2.2, 2.3, Thm 3.1, equations (3.3), (3.4))

    >>> derive("relu", "a*abs(w)", assumptions=["a>0"]).optimal_scale.closed_form
    sqrt(B)/sqrt(A)

    Raises ExpressionError for text outside the language and for an assumption on a name that is not there,
    and with ``weights`` what ``OptimalScale.root`` raises.
    """
    if isinstance(activation, str) and is_gate(activation):
        raise ExpressionError(f"{activation[:60]!r} is a function of several arguments", "use derive_gate")
    f = Activation.parse(activation, assumptions) if isinstance(activation, str) else activation
    g, out = (_cost_of(g, assumptions) for g in (regularizer, regularizer_out or regularizer))
    _require_used(assumptions, f.domains, g.domains, out.domains)
    scale = optimal_scale(f, g, regularizer_out=out)
    activation, regularizer = f, g
    laws = unit_laws(activation)
    steps = (
        *activation.steps,
        *_conditions(g),
        *(() if out == g else _conditions(out, " of the weights out")),
        *scale.steps,
        *_law_steps(laws),
    )
    title = f"Balance of {activation.text} with cost {_cost(g, out)}"
    instance = None if weights is None else _instance(scale, *weights)
    given = tuple(network_laws or ())
    return Derivation(title, activation, regularizer, scale, laws, steps, given, instance, network)


def _instance(scale: OptimalScale, inside: Sequence[Number], outside: Sequence[Number]) -> Instance:
    found, gain = scale.root(inside, outside), scale.gain_at(inside, outside)
    return Instance(tuple(inside), tuple(outside), found, Root(*gain))


def _cost_of(given: Regularizer | Norm | str, assumptions: Sequence[str]) -> Regularizer | Norm:
    return cost(given, assumptions) if isinstance(given, str) else given


def _require_used(assumptions: Sequence[str], *known: Sequence[Domain]) -> None:
    names = {d.name for domains in known for d in domains}
    for text in assumptions:
        name = Assumption.parse(text).name
        if name not in names:
            raise ExpressionError(
                f"assumption {text!r} is on {name}, which is in no formula",
                f"the parameters are: {', '.join(sorted(names)) or 'none'}",
            )


def _conditions(g: Regularizer | Norm, which: str = "") -> tuple[Step, ...]:
    if isinstance(g, Norm):
        return _norm_conditions(g)
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
        open_ = "PROVED on a range" if check.on_a_range else "undecided"
        claim = {True: yes, False: f"{no}: {check.witness}", None: f"{open_}: {yes}"}[check.holds] + which
        shown = formula if check.holds else None
        found.append(Step(claim, shown, f"{check.method}: {check.why}", check.verdict, g.assumptions))
    return tuple(found)


def _norm_conditions(g: Norm) -> tuple[Step, ...]:
    """The conditions of a cost of several weights, as a function of one of them."""
    names = {"even": "even", "increasing": "strictly increasing", "coercive": "coercive",
             "log_convex": "convex in log |w|, strictly"}  # fmt: skip
    return tuple(
        Step(
            f"{g.name} is {'' if g.checks[key].holds else 'not '}{name}, as a function of one weight",
            None,
            f"{g.checks[key].method}: {g.checks[key].why}",
            g.checks[key].verdict,
            g.assumptions,
        )
        for key, name in names.items()
    )


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
    by_euler = "sympy: z f'(z) − c f(z) simplifies to 0 on both half-lines; chain rule"
    return laws_of_degree(c, by_euler, Verdict.proved if euler else Verdict.undecided)


def laws_of_degree(c: sympy.Expr, by_euler: str, verdict: Verdict) -> tuple[Law, ...]:
    """The three laws of a unit for which Euler's identity with c was shown, as ``by_euler`` says."""
    ledger = _ledger(c)
    grouped = c.is_Add or c.is_negative
    fraction = c.is_Rational and not c.is_Integer
    factor = "" if c == sympy.S.One else f"({c})·" if grouped or fraction else f"{c}·"
    tex = "" if c == sympy.S.One else rf"\left({latex(c)}\right) " if grouped else f"{latex(c)} "
    into, out = r"\sum_{\mathrm{IN}}", r"\sum_{\mathrm{OUT}}"
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
