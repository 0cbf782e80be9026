"""The optimal scale: closed forms, equations, certified roots, against scipy and by hand."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from balproof.errors import RegularizerError, RequestError
from balproof.symbolic import scale as module
from balproof.symbolic import smt
from balproof.symbolic.activation import Activation
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.root import log_root
from balproof.symbolic.scale import optimal_scale
from balproof.verdict import Verdict

A, B = sympy.symbols("A B", positive=True)
p = sympy.Symbol("p", positive=True)


def scale(f, g, out=None):
    return optimal_scale(
        Activation.parse(f),
        Regularizer.parse(g),
        regularizer_out=None if out is None else Regularizer.parse(out),
    )


@pytest.mark.parametrize("degree", ["1.23456789", "1/10**9", "10**9/(10**9 + 1)"])
def test_a_degree_of_many_digits_has_its_equation_and_root(degree: str) -> None:
    """Its closed form would have more digits than can be computed, in calls that no clock interrupts."""
    s = scale(f"Max(x,0)**({degree})", "l2")
    assert s.closed_form is None
    assert s.unique.holds
    c = float(sympy.sympify(degree))
    found = s.root([3], [5])
    assert float(found.lower) == pytest.approx((c * 25 / 9) ** (1 / (2 + 2 * c)), rel=1e-12)


@pytest.mark.parametrize(
    ("f", "g", "out", "expected"),
    [
        ("relu", "l2", None, (B / A) ** sympy.Rational(1, 4)),
        ("relu", "l1", None, sympy.sqrt(B / A)),
        ("relu", "abs(w)**p", None, (B / A) ** (1 / (2 * p))),
        ("Max(x,0)**2", "abs(w)**p", None, (2 * B / A) ** (1 / (3 * p))),
        ("cube", "l1", None, (3 * B / A) ** sympy.Rational(1, 4)),
        ("relu", "7*w**2", None, (B / A) ** sympy.Rational(1, 4)),
        # L2 in, L1 out: 2Aλ² = B/λ
        ("relu", "l2", "l1", (B / (2 * A)) ** sympy.Rational(1, 3)),
        # L1 in, 3·L2 out, degree 2: Aλ = 2·2·3·B λ^-4
        ("square", "l1", "3*w**2", (12 * B / A) ** sympy.Rational(1, 5)),
        ("cbrt(x)", "l1", None, (B / (3 * A)) ** sympy.Rational(3, 4)),
    ],
)
def test_closed_forms(f, g, out, expected):
    s = scale(f, g, out)
    assert sympy.simplify(sympy.expand_power_base(s.closed_form / expected)) == 1
    assert s.exists
    assert s.unique.verdict == Verdict.proved
    assert all(step.verdict >= Verdict.certified for step in s.steps), s.steps


def test_balance_equations():
    assert scale("relu", "l2").balance_equation == "Σ_IN |w|^2 = Σ_OUT |w|^2"
    assert scale("Max(x,0)**2", "abs(w)**p").balance_equation == "Σ_IN |w|^p = 2·Σ_OUT |w|^p"
    assert scale("relu", "l2", "l1").balance_equation == "2·Σ_IN |w|^2 = Σ_OUT |w|"
    assert "2*w**2/(w**2 + 1)" in scale("relu", "log(1+w**2)").balance_equation


def test_gains():
    assert sympy.expand(scale("relu", "l2").gain - (sympy.sqrt(A) - sympy.sqrt(B)) ** 2) == 0
    # degree 2, A = 27, B = 4: minimum of 27 u + 4/u² at u = (8/27)^{1/3} = 2/3 is 18 + 9, from 31
    assert sympy.simplify(scale("relu2", "l1").gain.subs({A: 27, B: 4})) == 4


def test_elastic_net_is_the_quartic_with_one_positive_root():
    s = scale("relu", "a*abs(w) + b*w**2")
    lam, a, b = module.LAMBDA, *sympy.symbols("a b", positive=True)
    A1, A2, B1, B2 = sympy.symbols("A_1 A_2 B_1 B_2", positive=True)
    quartic = 2 * b * A2 * lam**4 + a * A1 * lam**3 - a * B1 * lam - 2 * b * B2
    assert sympy.expand(s.polynomial.lhs - quartic) == 0
    assert s.closed_form is None
    assert any(
        "exactly one positive root" in step.claim and step.verdict == Verdict.proved for step in s.steps
    )


def test_one_in_one_out():
    a, b = sympy.symbols("w_in w_out", positive=True)
    for g in ("log(1+w**2)", "l2", "sqrt(w**2+1)-1"):
        assert sympy.simplify(scale("relu", g).one_one - sympy.sqrt(b / a)) == 0
    assert scale("square", "log(1+w**2)").one_one is None


@pytest.mark.parametrize(
    ("f", "g", "exists", "word"),
    [
        ("tanh", "l2", False, "not homogeneous"),
        ("sign", "l2", False, "not positive"),
        ("1/x", "l1", False, "not positive"),
        ("zero", "l2", False, "any λ"),
        ("relu", "w**3", None, "not even"),
        ("relu", "w**2/(1+w**2)", None, "not coercive"),
        # even, increasing, coercive, and R(λ) = log λ − log λ has no minimum
        ("relu", "log(abs(w))", None, "continuous at 0"),
    ],
)
def test_negative_answers(f, g, exists, word):
    s = scale(f, g)
    assert s.exists is exists
    assert word in s.reason
    assert s.closed_form is s.equation is s.balance_equation is None
    with pytest.raises(RegularizerError):
        s.root([1], [1])


def test_text_in_place_of_objects():
    assert optimal_scale("relu", "l2") == scale("relu", "l2")
    assert optimal_scale("relu", "l2", regularizer_out="l1") == scale("relu", "l2", "l1")


def test_parameters_do_not_meet_our_own_symbols():
    """λ, the moments and the two single weights are not the user's t, u, v, a and b."""
    s = optimal_scale("relu", "t*abs(w) + u*w**2")
    t, u = sympy.symbols("t u", positive=True)
    assert s.polynomial.lhs.coeff(module.LAMBDA, 3) == sympy.Symbol("A_1", positive=True) * t
    assert s.polynomial.lhs.coeff(module.LAMBDA, 4) == 2 * sympy.Symbol("A_2", positive=True) * u
    general = optimal_scale("relu", "log(1+w**2/u**2)")
    assert all(step.verdict >= Verdict.certified for step in general.steps)
    assert {x.name for x in optimal_scale("relu", "a*abs(w)+b*w**2").one_one.free_symbols} == {
        "w_in",
        "w_out",
    }


def test_sympys_traps_have_certified_roots():
    # one in, three out, L1 + L1.5: λ = √3, since the sizes λ and 3/λ must be equal
    root = optimal_scale("relu", "abs(w)+abs(w)**(3/2)").root([1], [3], 30)
    assert float(root) == pytest.approx(np.sqrt(3), rel=1e-15)
    # √(w²+1) − 1, one in, two out, against the sum of both sides
    lam = float(optimal_scale("relu", "sqrt(w**2+1)-1").root([1], [1, 2]))

    def m(w):
        return w * w / np.sqrt(w * w + 1)

    assert m(lam) == pytest.approx(m(1 / lam) + m(2 / lam), rel=1e-12)


def test_not_unique_is_said():
    s = scale("relu", "log(1+log(1+abs(w)))")
    assert s.exists
    assert s.unique.holds is False
    with pytest.raises(RegularizerError, match="no optimal scale"):
        s.root([1], [1])


CASES = [
    ("relu", "l2", 1),
    ("relu", "lp:1.5", 1),
    ("relu2", "abs(w)+w**2/10", 2),
    ("relu", "log(1+w**2)", 1),
    ("cube", "log(1+w**2)", 3),
    ("relu", "Piecewise((w**2/2, abs(w)<=1),(abs(w)-1/2,True))", 1),
    ("cbrt(x)", "log(cosh(w))", 1 / 3),
    ("abs(x)**pi", "l1", np.pi),
]


@pytest.mark.parametrize(("f", "g", "c"), CASES)
def test_root_against_scipy(f, g, c):
    rng = np.random.default_rng(7)
    inside, outside = rng.normal(size=5), 4 * rng.normal(size=3)
    regularizer = Regularizer.parse(g)

    def cost(u):
        return regularizer.cost(np.exp(u) * inside).sum() + regularizer.cost(np.exp(-c * u) * outside).sum()

    best = minimize_scalar(cost, bracket=(-1, 1), tol=1e-12)
    root = scale(f, g).root([float(w) for w in inside], [float(w) for w in outside])
    assert np.log(float(root)) == pytest.approx(best.x, abs=1e-6)
    assert 0 < (root.upper - root.lower) / root.lower < Fraction(1, 10**24)


def test_root_of_rational_instances_by_hand():
    # L1, in 1, out 16: λ = 4.  L2, in 3/2, out 24: λ² = 16.  Degree 2, L1: λ³ = 2·32/8 = 8.
    assert scale("relu", "l1").root([1], [16]).contains(Fraction(4))
    assert scale("relu", "l2").root(["3/2"], [24]).contains(Fraction(4))
    assert scale("relu2", "l1").root([-8], [32]).contains(Fraction(2))
    # λ* = 1 lies on the first point of the bisection
    assert scale("relu", "log(1+w**2)").root([3, -1], [1, 3]).contains(Fraction(1))
    wide = scale("relu", "l1").root([1e-300], [1e300], 30)
    assert float(wide) == pytest.approx(1e300)


def test_root_refuses():
    s = scale("relu", "l2")
    for inside, outside in (([0], [1]), ([1], []), ([0, 0], [0])):
        with pytest.raises(RequestError, match="no nonzero weight"):
            s.root(inside, outside)
    for bad in (float("nan"), float("inf"), "one"):
        with pytest.raises(RequestError, match="finite"):
            s.root([bad], [1])
    with pytest.raises(RequestError, match="digits"):
        s.root([1], [1], digits=10**6)
    with pytest.raises(RegularizerError, match="free parameters"):
        scale("relu", "abs(w)**p").root([1], [1])
    with pytest.raises(RequestError, match="no optimal scale"):
        log_root(lambda u: u * 0 + 1, 10)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from([("relu", 1), ("relu2", 2), ("cbrt(x)", 1 / 3)]),
    st.sampled_from(["l1", "l2", "lp:1.5", "abs(w)+w**2", "log(1+w**2)"]),
    st.lists(st.floats(0.05, 20), min_size=1, max_size=4),
    st.lists(st.floats(0.05, 20), min_size=1, max_size=4),
    st.floats(-3, 3).filter(lambda u: abs(u) > 0.01),
)
def test_no_other_scale_is_better(activation, g, inside, outside, u):
    f, c = activation
    regularizer = Regularizer.parse(g)
    best = float(scale(f, g).root(inside, outside, 15))

    def cost(lam):
        return (
            regularizer.cost(lam * np.array(inside)).sum()
            + regularizer.cost(np.array(outside) / lam**c).sum()
        )

    assert cost(best) < cost(best * np.exp(u))


def test_a_wrong_closed_form_is_seen():
    """Guards seen failing: with p + q for p + cq the substitution and the instance do not hold."""

    class Wrong(module._Pair):
        @property
        def closed(self):
            return self.ratio ** (1 / (self.p + self.q))

        @property
        def total(self):
            return self.p + self.q

        @property
        def gain(self):
            return self.A + self.B

    two = sympy.Integer(2)
    wrong = Wrong(two, sympy.S.One, two, sympy.S.One, two, A, B)
    assert module._stationarity(wrong).verdict == Verdict.undecided
    assert module._instance(wrong).verdict == Verdict.refuted
    assert module._gain_step(wrong).verdict == Verdict.undecided


def test_z3_answers_and_is_killed():
    x, y = sympy.symbols("x y", real=True)
    assert smt.satisfiable([sympy.Lt(x**2, 0)]).status == "unsat"
    found = smt.satisfiable([sympy.Gt(x, 1), sympy.Ne(x, 2)])
    assert found.status == "sat"
    assert "x" in found.why
    hard = [
        sympy.Eq(x**37 + y**31 * x - 7 * y**29 + x * y, 3),
        sympy.Eq(x**33 * y - y**17, 5),
        sympy.Gt(x * y, 2),
    ]
    slow = smt.satisfiable(hard, seconds=0.05)
    assert slow.status == "undecided"
    assert "0.05 s" in slow.why
    assert smt.satisfiable([sympy.Gt(sympy.exp(x), 1)]).status == "undecided"
