"""Functions of several arguments: the degree in each and jointly, by hand."""

import re
from fractions import Fraction

import numpy as np
import pytest
import sympy

from balproof.errors import ExpressionError
from balproof.report.derivation import render
from balproof.symbolic import gate as module
from balproof.symbolic.derivation import derive, derive_gate
from balproof.symbolic.gate import Gate, is_gate
from balproof.verdict import Verdict

R = sympy.Rational
A, B = sympy.symbols("a b", positive=True)
DEGREES = {
    "x*y": (1, 1, 2),
    "x*Max(y, 0)": (1, 1, 2),
    "Max(x, 0)*Max(y, 0)": (1, 1, 2),
    "Max(x*y, 0)": (1, 1, 2),
    "x*sigmoid(y)": (1, None, None),
    "x*silu(y)": (1, None, None),
    "x*gelu(y)": (1, None, None),
    "x*sign(y)": (1, 0, 1),
    "Piecewise((x, y > 0), (0, True))": (1, 0, 1),
    "Max(x, y)": (None, None, 1),
    "Min(x, y, 0)": (None, None, 1),
    "Piecewise((x, x > y), (y, True))": (None, None, 1),
    "sqrt(x**2 + y**2)": (None, None, 1),
    "x*y/sqrt(x**2 + y**2)": (None, None, 1),
    "x*y/(x**2 + y**2)": (None, None, 0),
    "x/y": (1, -1, 0),
    "atan(y/x)": (None, None, 0),
    "x*tanh(y/x)": (None, None, 1),
    "x + y": (None, None, 1),
    "a*x + b*y": (None, None, 1),
    "(x + y)**2 - x**2 - y**2": (1, 1, 2),
    "x**2*abs(y)": (2, 1, 3),
    "cbrt(x*y)": (R(1, 3), R(1, 3), R(2, 3)),
    "abs(x)**a*abs(y)**b": (A, B, A + B),
    "exp(log(abs(x)) + log(abs(y)))": (1, 1, 2),
    "floor(x)*y": (None, 1, None),
    "Piecewise((x*y, x > 1), (0, True))": (None, 1, None),
    "x*y*(1 + Piecewise((1, x == 7), (0, True)))": (None, 1, None),
    "x*y + 1": (None, None, None),
    "x + y**2": (None, None, None),
    "Max(x, y, 1)": (None, None, None),
    "abs(x)**y": (None, None, None),
    "x*y*(2 + sin(2*pi*log(abs(x))/log(2)))": (None, 1, None),
    "x*y*z": (1, 1, 1, 3),
    "x*Max(y, z)": (1, None, None, 2),
}


@pytest.mark.parametrize("text", DEGREES)
def test_degrees(text):
    f = Gate.parse(text)
    assert tuple(s.degree for s in f.scalings) == DEGREES[text]
    for scaling in f.scalings:
        if scaling.degree is None:
            assert f.differs(scaling)
        else:
            assert scaling.verdict == Verdict.proved


@pytest.mark.parametrize("text", [t for t in DEGREES if not re.search(r"\b[ab]\b", t)])
def test_a_degree_holds_for_numbers(text):
    from balproof.symbolic import numeric

    f = Gate.parse(text)
    assert not f.as_json()["parameters"]
    rng = np.random.default_rng(4)
    points = [rng.normal(size=20) for _ in f.variables]
    for s in f.scalings:
        if s.degree is not None:
            moved = [
                2.5 * p if v.name in s.arguments else p for v, p in zip(f.variables, points, strict=True)
            ]
            there, here = (
                numeric.evaluate(f.expression, dict(zip(f.variables, p, strict=True)))
                for p in (moved, points)
            )
            assert there == pytest.approx(2.5 ** float(s.degree) * here, rel=1e-9)


def test_the_witness_by_hand():
    """Max(x, 1) is 1 at 1/2 and at 1; with x doubled it is 1 and 2."""
    s = Gate.parse("Max(x, y)").scalings[0]
    p, q, scale = s.witness.first, s.witness.second, s.witness.scale
    assert max(scale * p[0], p[1]) * max(q) != max(scale * q[0], q[1]) * max(p)
    assert all(isinstance(v, Fraction) for v in (*p, *q))


def test_a_witness_that_does_not_hold_is_seen():
    f = Gate.parse("x*sigmoid(y)")
    inx, iny, _ = f.scalings
    forged = module.Scaling(inx.arguments, None, iny.witness, Verdict.certified, "")
    assert not f.differs(forged)


def test_the_second_check_catches_a_wrong_rule(monkeypatch):
    monkeypatch.setattr(
        module, "half_line", lambda expr, thorough=True: ((sympy.S.One, sympy.Integer(3)), "a lie")
    )
    formula = module.parse_formula("x*y", "x", ("y real",))
    variables = (formula.variable, sympy.Symbol("y", real=True))
    found = module._decide(formula, variables, ("x",))
    assert (found.degree, found.verdict) == (None, Verdict.undecided)
    assert "disagree" in found.why


def test_the_value_at_zero_counts():
    """Of degree 1 off the axis, and 1 at x = 0: no degree."""
    f = Gate.parse("Piecewise((1, x == 0), (x*y, True))")
    assert f.degree("x") is None
    assert f.joint.degree is None


@pytest.mark.parametrize(
    ("text", "assumptions", "message"),
    [
        ("x*y", ("y>0",), "on an argument"),
        ("relu", (), "no function of x and y"),
        ("sqrt(x)*y", (), "no real value at x = "),
        ("glu:2", (), "has no parameters"),
    ],
)
def test_refusals(text, assumptions, message):
    with pytest.raises(ExpressionError, match=message):
        Gate.parse(text, assumptions)


def test_what_is_a_gate():
    assert is_gate("x*y")
    assert is_gate("GLU(x, y)")
    assert not any(map(is_gate, ("relu", "a*x", "softmax", "x*(y", "")))
    with pytest.raises(ExpressionError, match="use derive_gate"):
        derive("x*y", "l2")


def test_derive_of_a_gate():
    d = derive_gate("x*Max(y, 0)", "l1")
    assert d.answer is True
    assert [part.balance_equation for part in d.parts] == ["Σ_IN |w| = Σ_OUT |w|"] * 2
    joint = derive_gate("x**2*Max(y, 0)", "l1").parts[0]
    assert joint.balance_equation == "Σ_IN |w| = 2·Σ_OUT |w|"
    assert [part.activation.text for part in derive_gate("Max(x, y)", "l2").parts] == [
        "Max(x, y) jointly in x, y"
    ]
    assert derive_gate("x*y + 1", "l2").answer is False
    assert derive_gate("x*y", "w**2/(1 + w**2)").answer is not True
    answer = d.as_json()
    assert answer["activation"]["degree"] == "2"
    assert len(answer["parts"]) == 2
    assert answer["balance_equation"] == answer["parts"][0]["balance_equation"]


def test_laws_of_a_gate_by_finite_differences():
    """E = sin(v·(u·s)·max(t·s, 0)) + ...: each argument has its own gradient identity."""
    rng = np.random.default_rng(5)
    s = rng.normal(size=2)
    w = rng.normal(size=5)

    def loss(w):
        z = (w[:2] @ s) * max(w[2:4] @ s, 0.0)
        return np.sin(w[4] * z) + (w[4] * z) ** 2

    if w[2:4] @ s < 0:
        w[2:4] *= -1
    h = 1e-6
    g = np.array([(loss(w + h * e) - loss(w - h * e)) / (2 * h) for e in np.eye(5)])
    out = w[4] * g[4]
    assert abs(out) > 1e-3
    assert w[:2] @ g[:2] == pytest.approx(out, rel=1e-6)
    assert w[2:4] @ g[2:4] == pytest.approx(out, rel=1e-6)
    laws = [part.laws[0] for part in derive_gate("x*Max(y, 0)", "l2").parts]
    assert [law.formula for law in laws] == ["Σ_IN w ∂E/∂w = Σ_OUT w ∂E/∂w"] * 2
    assert all(law.verdict == Verdict.proved for law in laws)


@pytest.mark.parametrize("form", ["md", "tex", "html", "ipynb", "json"])
def test_documents(form):
    text = render(derive_gate("x*Max(y, 0)", "l2"), form)
    assert "alone" in text
    assert text.count("Balancing lowers the cost by") == (0 if form == "json" else 2)
