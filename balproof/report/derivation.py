"""A derivation as Markdown, LaTeX, HTML with MathML, a notebook or JSON, all from one list of blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import sympy

from balproof.errors import RequestError
from balproof.report.documents import Block, code, markdown, notebook, page, tex
from balproof.symbolic.activation import HalfLine, power_latex, scaling_latex
from balproof.symbolic.derivation import Derivation, GateDerivation, Instance
from balproof.symbolic.gate import Scaling
from balproof.symbolic.scale import ONE_ONE_LATEX
from balproof.symbolic.steps import latex

Format = Literal["md", "tex", "html", "ipynb", "json"]
FORMATS: tuple[Format, ...] = ("md", "tex", "html", "ipynb", "json")


def blocks(d: Derivation | GateDerivation) -> tuple[Block, ...]:
    """The document of a derivation, without any format."""
    if isinstance(d, GateDerivation):
        return _gate_blocks(d)
    out = d.optimal_scale.regularizer_out
    cost = code(d.regularizer.name)
    cost = cost if out == d.regularizer else f"{cost} in and {code(out.name)} out"
    title = f"Balance of {code(d.activation.text)} with cost {cost}"
    found = [Block("title", title), *_activation(d), *_scale(d), *_laws(d)]
    if d.assumptions:
        found.append(Block("heading", "Assumptions"))
        found.append(Block("list", items=d.assumptions))
    found.append(Block("heading", "Steps and what checked them"))
    found.append(Block("steps", steps=d.steps))
    return tuple(found)


def _laws(d: Derivation) -> list[Block]:
    found: list[Block] = []
    if d.laws or d.network_laws:
        found.append(Block("heading", "Laws"))
        for law in d.laws:
            found.append(Block("text", f"{law.kind[0].upper()}{law.kind[1:]} ({law.verdict}):"))
            found.append(Block("formula", law.latex))
        if d.network_laws:
            found.append(Block("list", items=tuple(_network_law(law) for law in d.network_laws)))
    return found


def _gate_blocks(d: GateDerivation) -> tuple[Block, ...]:
    gate, out = d.gate, d.regularizer_out
    cost = code(d.regularizer.name)
    cost = cost if out == d.regularizer else f"{cost} in and {code(out.name)} out"
    found = [
        Block("title", f"Balance of {code(gate.text)} with cost {cost}"),
        Block("heading", "Activation"),
        Block("text", f"f({', '.join(v.name for v in gate.variables)}) = {code(gate.expression)}."),
        Block("list", items=tuple(_scaling(s) for s in gate.scalings)),
    ]
    for part in d.parts:
        found.append(Block("heading", part.activation.text.removeprefix(gate.text).strip().capitalize()))
        found.append(
            Block("text", "IN are the weights that feed these arguments, OUT those that read the result.")
        )
        found += [*_scale(part), *_laws(part)]
    if not d.parts:
        found.append(
            Block("text", "No set of arguments has a positive degree, so that nothing can be balanced.")
        )
    if gate.assumptions:
        found += [Block("heading", "Assumptions"), Block("list", items=gate.assumptions)]
    return (*found, Block("heading", "Steps and what checked them"), Block("steps", steps=d.steps))


def _scaling(s: Scaling) -> str:
    if s.degree is not None:
        return f"{s.where}: degree ${latex(s.degree)}$ ({s.verdict})"
    return f"{s.where}: none, {s.witness.sentence}" if s.witness else f"{s.where}: undecided, {s.why}"


_KINDS = {
    "zero": "0 everywhere",
    "linear": "linear",
    "relu": "a ReLU",
    "leaky": "a leaky ReLU",
    "bilu": "linear on each half-line",
    "bipu": "a power on each half-line",
    "non-homogeneous": "not homogeneous",
    "undecided": "its degree is undecided",
}


def _network_law(law: Mapping[str, object]) -> str:
    return f"{law.get('formula')} ({law.get('kind')}; {law.get('verified_by')})"


def _activation(d: Derivation) -> list[Block]:
    f = d.activation
    shown = f"f(x) = {code(f.expression)}: {_KINDS[f.kind]}."
    found = [Block("heading", "Activation"), Block("text", shown)]
    if f.witness is not None:
        sentence = f.witness.sentence.replace(str(f.expression), code(f.expression))
        found.append(Block("text", f"If f(λx) = G(λ)·f(x), one factor would fit every x; but {sentence}."))
        found.append(Block("text", "Each half-line by itself:"))
        found.append(Block("list", items=tuple(_half(d, half) for half in f.halves)))
    elif f.coefficients is not None and f.degree is not None:
        right, left = (power_latex(a, x, f.degree) for a, x in zip(f.coefficients, ("x", "|x|"), strict=True))
        found.append(Block("formula", rf"f(x) = {right}\quad (x > 0),\qquad f(x) = {left}\quad (x < 0)"))
        found.append(Block("formula", scaling_latex(f.degree)))
    return found


def _half(d: Derivation, half: HalfLine) -> str:
    if half.coefficient is not None and half.degree is None:
        return f"{half.where}: f is 0, which fits every degree"
    if half.coefficient is not None and half.degree is not None:
        power = power_latex(half.coefficient, "x" if half.side > 0 else "|x|", half.degree)
        return f"{half.where}: f(x) = ${power}$, of degree ${latex(half.degree)}$"
    said = half.why.replace(str(d.activation.expression), code(d.activation.expression))
    return f"{half.where}: no power, {said}" if half.witness else f"{half.where}: {said}"


def _scale(d: Derivation) -> list[Block]:
    s = d.optimal_scale
    found = [Block("heading", "Optimal scale")]
    if s.equation_latex is None:
        return [*found, Block("text", f"No optimal scale is claimed: {s.reason}.")]
    factors = f"What comes in is multiplied by λ, what goes out by {_outward(d)}."
    found.append(Block("text", f"{factors} The optimal λ solves"))
    found.append(Block("formula", s.equation_latex, expression=s.equation))
    found.append(Block("list", items=s.definitions_latex))
    if s.polynomial_latex is not None:
        found.append(Block("text", "As a polynomial in λ:"))
        found.append(Block("formula", s.polynomial_latex))
    if s.closed_latex is not None and s.closed_form is not None:
        shown = sympy.Eq(sympy.Symbol("lambda^*"), s.closed_form, evaluate=False)
        found.append(Block("formula", s.closed_latex, expression=shown))
    if s.gain_latex is not None:
        at = "" if s.closed_form is not None else ", λ being the solution,"
        found.append(Block("text", f"Balancing lowers the cost{at} by"))
        found.append(Block("formula", s.gain_latex, expression=s.gain))
    if s.closed_form is None and s.one_one is not None:
        found.append(Block("text", "With one weight in and one out, of sizes w_in and w_out:"))
        found.append(Block("formula", ONE_ONE_LATEX, expression=s.one_one))
    if d.instance is not None:
        found += _instance(d.instance)
    found.append(Block("text", _uniqueness(d)))
    found.append(Block("heading", "Balance equation"))
    found.append(Block("formula", s.balance_latex or ""))
    found.append(Block("text", "Where one side is zero:"))
    found.append(Block("list", items=s.limits))
    return found


def _instance(i: Instance) -> list[Block]:
    """The numbers for given weights."""
    inside, outside = (", ".join(str(w) for w in weights) for weights in (i.inside, i.outside))
    return [
        Block("text", f"For the weights {inside} in and {outside} out, in ball arithmetic:"),
        Block("list", items=(f"λ = {i.scale.decimal()}", f"the cost falls by {i.gain.decimal()}")),
    ]


def _outward(d: Derivation) -> str:
    return "1/λ" if d.activation.degree == 1 else f"$\\lambda^{{{sympy.latex(-(d.activation.degree or 1))}}}$"


def _uniqueness(d: Derivation) -> str:
    check = d.optimal_scale.unique
    if check.holds:
        return f"Exactly one λ solves it: {check.why} ({check.verdict})."
    if check.holds is False:
        return f"The solution need not be the only one: {check.witness} ({check.verdict})."
    return f"Whether only one λ solves it is undecided: {check.why}."


def render(derivation: Derivation | GateDerivation, format: str) -> str:  # noqa: A002 the option is called that
    """The derivation as text in one of the formats md, tex, html, ipynb, json.

    >>> from balproof.symbolic.derivation import derive
    >>> render(derive("relu", "l2"), "md").splitlines()[0]
    '# Balance of `relu` with cost `l2`'

    Raises RequestError for any other format.
    """
    if format not in FORMATS:
        raise RequestError(f"unknown format {format[:20]!r}", f"use one of {', '.join(FORMATS)}")
    if format == "json":
        return json.dumps(derivation.as_json(), ensure_ascii=False, indent=2) + "\n"
    found = blocks(derivation)
    if format == "md":
        return markdown(found)
    if format == "tex":
        return tex(found)
    if format == "html":
        return page(found, derivation.title)
    return notebook(
        found, _gate_again(derivation) if isinstance(derivation, GateDerivation) else _again(derivation)
    )


def _again(d: Derivation) -> str:
    """Python that derives the same once more."""
    out = d.optimal_scale.regularizer_out
    other = f"    regularizer_out=cost({out.name!r}, {out.assumptions!r}),\n"
    return (
        "from balproof import Activation, derive\nfrom balproof.symbolic.scale import cost\n\n"
        f"derivation = derive(\n    Activation.parse({d.activation.text!r}, {d.activation.assumptions!r}),\n"
        f"    cost({d.regularizer.name!r}, {d.regularizer.assumptions!r}),\n"
        f"{'' if out == d.regularizer else other})\n"
        "derivation.optimal_scale.closed_form, derivation.balance_equation"
    )


def _gate_again(d: GateDerivation) -> str:
    out = d.regularizer_out
    other = "" if out == d.regularizer else f"    regularizer_out=cost({out.name!r}, {out.assumptions!r}),\n"
    return (
        "from balproof.symbolic.derivation import derive_gate\nfrom balproof.symbolic.gate import Gate\n"
        "from balproof.symbolic.scale import cost\n\n"
        f"derivation = derive_gate(\n    Gate.parse({d.gate.text!r}, {d.gate.assumptions!r}),\n"
        f"    cost({d.regularizer.name!r}, {d.regularizer.assumptions!r}),\n{other})\n"
        "[(part.title, part.balance_equation) for part in derivation.parts]"
    )
