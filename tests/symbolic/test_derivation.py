"""Derivations: their steps, their laws, the fields of the answer."""

import json
import time

import numpy as np
import pytest

from balproof.symbolic.activation import Activation
from balproof.symbolic.derivation import derive, unit_laws
from balproof.symbolic.regularizer import Regularizer
from balproof.verdict import Verdict


def make(f, g, fa=(), ga=()):
    return derive(Activation.parse(f, fa), Regularizer.parse(g, ga))


def test_degree_two_and_general_p():
    d = make("Max(x,0)**2", "abs(w)**p")
    answer = json.loads(json.dumps(d.as_json()))
    assert answer["activation"]["degree"] == "2"
    assert answer["activation"]["kind"] == "bipu"
    assert answer["optimal_scale"]["closed_form"] == "(2*B/A)**(1/(3*p))"
    assert answer["optimal_scale"]["latex"] == r"\lambda^* = \left(\frac{2 B}{A}\right)^{1/(3 p)}"
    assert answer["balance_equation"] == "Σ_IN |w|^p = 2·Σ_OUT |w|^p"
    assert len(answer["laws"]) == 3
    assert answer["regularizer"]["log_convex"] is True
    assert all({"claim", "checked_by", "verdict"} <= step.keys() for step in answer["steps"])
    assert "p > 0" in answer["assumptions"]
    assert d.answer is True
    assert min(step.verdict for step in d.steps) >= Verdict.certified


def test_tanh_is_refused_with_its_witness():
    answer = make("tanh(x)", "l2").as_json()
    assert answer["answer"] is False
    assert answer["activation"]["witness"]["scale"] == "2"
    assert answer["laws"] == []
    assert answer["balance_equation"] is None
    assert answer["optimal_scale"]["closed_form"] is None


def test_bilu_with_the_elastic_net():
    d = make(
        "Piecewise((a*x, x<0), (b*x, True))", "alpha*abs(w)+beta*w**2", ("a>0", "b>0"), ("alpha>0", "beta>0")
    )
    assert d.answer is True
    assert d.activation.kind == "bilu"
    assert "λ" not in str(d.optimal_scale.polynomial)
    assert {"a > 0", "beta > 0"} <= set(d.assumptions)


@pytest.mark.parametrize(
    ("f", "g"),
    [
        ("abs(x)**q", "abs(w)**p"),
        ("gelu_tanh", "l2"),
        ("cube", "sqrt(w**2+1)-1"),
        ("relu", "Max(abs(w), w**2)"),
        ("x*abs(x)", "log(1+w**2/eps**2)"),
    ],
)
def test_fast_enough(f, g):
    start = time.perf_counter()
    make(f, g)
    assert time.perf_counter() - start < 10


def test_network_laws_follow_those_of_the_unit():
    extra = {"formula": "Σ w1² − Σ w2²", "kind": "scaling", "verified_by": "exact"}
    d = derive(Activation.parse("relu"), Regularizer.parse("l2"), [extra])
    assert d.as_json()["laws"][-1] == extra


@pytest.mark.parametrize(
    ("text", "c"), [("relu", 1), ("relu2", 2), ("x*abs(x)", 2), ("leaky_relu", 1), ("cube", 3)]
)
def test_laws_on_a_network_by_finite_differences(text, c):
    """E = (v·f(Ux))²/2 + sin of it, x, U, v random: the gradient identity, and one exact step."""
    f = Activation.parse(text)
    rng = np.random.default_rng(3)
    u, v, x = rng.normal(size=3), rng.normal(size=2), rng.normal(size=3)

    def loss(weights):
        z = f(np.array([weights[:3] @ x]))[0]
        out = weights[3:] * z
        return 0.5 * out[0] ** 2 + np.sin(out[1]) + out[0] * out[1]

    w = np.concatenate([u, v])
    h = 1e-6
    gradient = np.array([(loss(w + h * e) - loss(w - h * e)) / (2 * h) for e in np.eye(5)])
    assert (w[:3] @ gradient[:3]) == pytest.approx(c * (w[3:] @ gradient[3:]), rel=1e-6, abs=1e-8)
    eta, after = 0.1, w - 0.1 * gradient
    imbalance = [(t[:3] ** 2).sum() - c * (t[3:] ** 2).sum() for t in (w, after, gradient)]
    assert imbalance[1] == pytest.approx(imbalance[0] + eta**2 * imbalance[2], rel=1e-6, abs=1e-8)
    assert all(law.verdict == Verdict.proved for law in unit_laws(f))


def test_laws_name_the_degree():
    assert [law.formula for law in unit_laws(Activation.parse("square"))][1] == "Σ_IN w² − 2·Σ_OUT w²"
    assert unit_laws(Activation.parse("sigmoid")) == ()
