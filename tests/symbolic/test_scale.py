"""The optimal scale: closed forms, equations, certified roots, against scipy and by hand."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from balproof.errors import RegularizerError, RequestError
from balproof.symbolic import closed, smt
from balproof.symbolic.activation import Activation
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.root import log_root
from balproof.symbolic.scale import optimal_scale
from balproof.verdict import Verdict
from tests.sweeps import spread

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
    lam, a, b = closed.LAMBDA, *sympy.symbols("a b", positive=True)
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
    assert s.polynomial.lhs.coeff(closed.LAMBDA, 3) == sympy.Symbol("A_1", positive=True) * t
    assert s.polynomial.lhs.coeff(closed.LAMBDA, 4) == 2 * sympy.Symbol("A_2", positive=True) * u
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

    class Wrong(closed.Pair):
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
    assert closed._stationarity(wrong).verdict == Verdict.undecided
    assert closed._instance(wrong).verdict == Verdict.refuted
    assert closed._gain_step(wrong).verdict == Verdict.undecided


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


def test_coefficients_that_differ_from_weight_to_weight():
    """A name that ends in _e stays under the sum; the closed form is that of the moments."""
    s = scale("relu2", "alpha_e*abs(w)**p")
    assert s.balance_equation == "Σ_IN alpha_e·|w|^p = 2·Σ_OUT alpha_e·|w|^p"
    assert s.definitions == ("A = Σ_IN alpha_e·|w|^p", "B = Σ_OUT alpha_e·|w|^p")
    assert sympy.simplify(s.closed_form / (2 * B / A) ** (1 / (3 * p))) == 1
    assert s.one_one is None
    assert "alpha_e differs from weight to weight" in s.assumptions
    mixed = scale("relu", "3*alpha_e*abs(w) + beta*w**2")
    assert mixed.balance_equation.startswith("3·Σ_IN alpha_e·|w| + 2*beta·Σ_IN |w|^2 = ")
    both = scale("relu", "(1 + alpha_e)*abs(w)")
    assert both.balance_equation == "Σ_IN (alpha_e + 1)·|w| = Σ_OUT (alpha_e + 1)·|w|"
    assert both.closed_form == sympy.sqrt(B / A)
    assert scale("relu", "log(1 + a_e*w**2)").one_one is None
    powers = scale("relu", "abs(w)**p_e")
    assert powers.closed_form is None
    assert "p_e*w**p_e" in powers.balance_equation


def test_coefficients_in_numbers():
    """L1 with coefficients 2 and 1/2 in, 5 out: 2·3λ + λ/2 = 5·(13/5)/λ at λ² = 2."""
    s = scale("relu", "l1")
    coefficients = ([2, "1/2"], [5])
    root = s.root([3, 1], ["13/5"], coefficients=coefficients)
    assert float(root) == pytest.approx(np.sqrt(2), rel=1e-15)
    # by another route: the same with log(1 + w²), against the sum of both sides
    lam = float(scale("relu", "log(1+w**2)").root([3, 1], [2], coefficients=coefficients))

    def m(w):
        return 2 * w * w / (1 + w * w)

    assert 2 * m(3 * lam) + m(lam) / 2 == pytest.approx(5 * m(2 / lam), rel=1e-12)
    assert s.root([0, 1], [1], coefficients=([7, 1], [1])).contains(Fraction(1))
    for bad in (([1], [1]), ([1, 0], [1]), ([1, -1], [1])):
        with pytest.raises(RequestError, match="coefficient"):
            s.root([3, 1], [1], coefficients=bad)


def test_equal_powers_are_one_power():
    s = scale("relu", "a*abs(w) + b*abs(w)")
    assert sympy.simplify(s.closed_form - sympy.sqrt(B / A)) == 0


def test_a_quadratic_equation_in_a_power_of_the_scale():
    """L1 + L3 in, L1 out: 3A₃λ³ + A₁λ = B/λ, so λ² = (−A₁ + √(A₁² + 12 A₃B))/(6 A₃)."""
    s = scale("relu", "abs(w) + abs(w)**3", "l1")
    A1, A3 = sympy.symbols("A_1 A_3", positive=True)
    by_hand = sympy.sqrt((-A1 + sympy.sqrt(A1**2 + 12 * A3 * B)) / (6 * A3))
    numbers = {A1: 2, A3: 5, B: 7}
    assert float(s.closed_form.subs(numbers)) == pytest.approx(float(by_hand.subs(numbers)), rel=1e-14)
    assert all(step.verdict >= Verdict.certified for step in s.steps)
    assert float(s.root([2], [3])) == pytest.approx(
        float(s.closed_form.subs({A1: 2, A3: 8, B: 3})), rel=1e-14
    )  # one weight of 2: A₁ = 2, A₃ = 8
    # the other way round, two powers out: A λ = B₁/λ + 3B₃/λ³
    t = scale("relu", "l1", "abs(w) + abs(w)**3")
    assert float(t.root([3], [2])) == pytest.approx(1 / float(s.root([2], [3])), rel=1e-14)
    assert t.closed_form is not None
    # of degree 2, L2 + L6 in and L1 out: powers 2, 6 and −2
    u = scale("relu2", "w**2 + w**6", "l1")
    assert u.closed_form is not None
    # powers that are not in equal steps keep their equation
    assert scale("relu", "abs(w) + w**2", "l1").closed_form is None


def test_a_wrong_quadratic_is_seen():
    lam = closed.LAMBDA
    difference = 3 * lam**3 + lam - 2 / lam
    right = closed.trinomial(difference)
    assert all(s.verdict >= Verdict.certified for s in closed.trinomial_steps(right, difference))
    wrong = closed.Trinomial(right.k1, right.k2, right.k3 + 1, right.step)
    first, second = closed.trinomial_steps(wrong, difference)
    assert first.verdict == Verdict.undecided
    assert second.verdict == Verdict.refuted


def test_second_order_and_gain_without_a_closed_form():
    s = scale("relu2", "abs(w) + w**2")
    second = next(step for step in s.steps if step.claim.startswith("second order"))
    assert second.verdict == Verdict.proved
    inside, outside = [1.5, -0.5], [3.0, 2.0]
    lam = float(s.root(inside, outside))
    g = Regularizer.parse("abs(w) + w**2")

    def cost(x):
        return g.cost(x * np.array(inside)).sum() + g.cost(np.array(outside) / x**2).sum()

    sums = {
        f"{n}_{k}": sum(abs(w) ** k for w in ws) for n, ws in (("A", inside), ("B", outside)) for k in (1, 2)
    }
    symbols = {sympy.Symbol(k, positive=True): v for k, v in sums.items()}
    assert float(s.gain.subs({**symbols, closed.LAMBDA: lam})) == pytest.approx(
        cost(1) - cost(lam), rel=1e-12
    )
    h = 1e-4
    numeric = (cost(np.exp(h)) - 2 * cost(1) + cost(np.exp(-h))) / h**2
    assert float(second.expression.subs({**symbols, closed.LAMBDA: 1})) == pytest.approx(numeric, rel=1e-5)
    general = scale("relu2", "log(1+w**2)")
    assert [x.verdict for x in general.steps if x.claim.startswith("second order")] == [Verdict.proved]


@pytest.mark.parametrize(("f", "g", "c"), CASES)
def test_gain_of_given_weights(f, g, c):
    rng = np.random.default_rng(8)
    inside, outside = [float(w) for w in rng.normal(size=4)], [float(w) for w in 3 * rng.normal(size=3)]
    regularizer, s = Regularizer.parse(g), scale(f, g)

    def cost(lam):
        return (
            regularizer.cost(lam * np.array(inside)).sum()
            + regularizer.cost(np.array(outside) / lam**c).sum()
        )

    low, high = s.gain_at(inside, outside)
    assert 0 < low <= high < low * (1 + Fraction(1, 10**15))
    assert float(low) == pytest.approx(cost(1) - cost(float(s.root(inside, outside))), rel=1e-9)


PAIRS = itertools.product(
    ["1", "2", "1/2", "p"],
    ["l1", "l2", "lp:3/2", "abs(w)+w**2", "log(1+w**2)", "exp(abs(w))-1"],
    ["l1", "lp:3", "sqrt(w**2+1)-1", "abs(w)**q"],
)


@pytest.mark.parametrize("degree, g, out", spread(PAIRS, 9))
def test_every_pair_has_an_answer(degree, g, out):
    """A closed form, or the equation with its one root; nothing is refuted, nothing undecided."""
    s = optimal_scale(
        Activation.parse(f"Max(x,0)**({degree})"),
        Regularizer.parse(g),
        regularizer_out=Regularizer.parse(out),
    )
    assert s.exists
    assert s.unique.verdict == Verdict.proved
    assert s.balance_equation
    assert len(s.limits) == 3
    for step in s.steps:
        assert step.verdict >= Verdict.certified, step
