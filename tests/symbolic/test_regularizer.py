"""Conditions on a regularizer: the lists, the lemma, the close calls, the numbers."""

import mpmath
import numpy as np
import pytest
import sympy

from balproof.errors import ExpressionError, RegularizerError
from balproof.symbolic import positivity
from balproof.symbolic.convexity import W, shape
from balproof.symbolic.derivation import derive
from balproof.symbolic.regularizer import Regularizer
from balproof.verdict import Verdict

GOOD = [
    "l1",
    "l2",
    "lp:1.5",
    "lp:1/2",
    "abs(w)**p",
    "abs(w) + w**2/10",
    "alpha*abs(w) + beta*w**2",
    "abs(w)**(1/2) + abs(w)**3",
    "log(1+w**2/eps**2)",
    "log(1+abs(w))",
    "sqrt(w**2+eps**2)-eps",
    "Piecewise((w**2/2, abs(w)<=d),(d*(abs(w)-d/2),True))",
    "Piecewise((d*(abs(w)-d/2),abs(w)>d),(w**2/2,True))",
    "Piecewise((abs(w), abs(w)<=1),((w**2+1)/2,True))",
    "log(cosh(w))",
    "exp(abs(w))-1",
    "exp(w**2)-1",
    "abs(w)-log(1+abs(w))",
    "w**2*log(1+abs(w))",
    "w**4-abs(w)**3+w**2",
    "w**4-16/9*abs(w)**3+w**2",
    "Max(abs(w), w**2)",
    "L2",
    "Lp:1.5",
    "t*abs(w)",
    "Max(abs(w)**p, w**2)",
    "softplus(abs(w))",
    "abs(w)*atan(abs(w))",
]
NOT_CONVEX = [
    "w**2/(1+w**2)",
    "Min(abs(w),1)",
    "Piecewise((abs(w)-w**2/6,abs(w)<=3),(3/2,True))",
    "1-exp(-w**2)",
    "atan(abs(w))",
    "abs(w)*log(abs(w))",
    "w**4-2*abs(w)**3+w**2",
    "Max(abs(w)-1,0)",
    "log(1+log(1+abs(w)))",
    "w**4-9/5*abs(w)**3+w**2",
    "cos(w)",
    "Piecewise((abs(w),abs(w)<1),(abs(w)+1,True))",
]


@pytest.mark.parametrize("text", GOOD)
def test_good(text):
    g = Regularizer.parse(text)
    for check in (g.even, g.increasing, g.coercive, g.log_convex):
        assert check.holds is True, check
        assert check.verdict == Verdict.proved


@pytest.mark.parametrize("text", NOT_CONVEX)
def test_not_convex_has_a_midpoint(text):
    g = Regularizer.parse(text)
    assert g.log_convex.holds is False
    assert g.log_convex.verdict == Verdict.certified
    assert "2·g(" in g.log_convex.witness


YES, NO, RANGE = True, False, "PROVED on a range"
HUBER = "Piecewise((w**2/2, abs(w) <= d), (d*(abs(w) - d/2), True))"
BERHU = "Piecewise((abs(w), abs(w) <= d), ((w**2 + d**2)/(2*d), True))"
MCP = "Piecewise((a*abs(w) - w**2/(2*g), abs(w) <= a*g), (g*a**2/2, True))"
SCAD = "Piecewise((abs(w), abs(w) <= 1), ((6*abs(w) - w**2 - 1)/4, abs(w) <= 3), (2, True))"
CONDITIONS = {  # increasing, coercive, g(e^t) strictly convex, and what decided the last; all are even
    "abs(w)**p": (YES, YES, YES, "rules"),
    "a*abs(w) + b*w**2": (YES, YES, YES, "rules"),
    "a*abs(w)**p + b*abs(w)**q": (YES, YES, YES, "rules"),
    "log(1 + w**2/eps**2)": (YES, YES, YES, "rules"),
    "log(1 + abs(w)/eps)": (YES, YES, YES, "rules"),
    "sqrt(w**2 + eps**2) - eps": (YES, YES, YES, "rules"),
    HUBER: (YES, YES, YES, "2 pieces"),
    BERHU: (YES, YES, YES, "2 pieces"),
    "log(cosh(a*w))/a": (YES, YES, YES, "rules"),
    "exp(a*abs(w)) - 1": (YES, YES, YES, "rules"),
    "exp(w**2) - 1": (YES, YES, YES, "rules"),
    "abs(w) - log(1 + abs(w))": (YES, YES, YES, "polynomial without sign change"),
    "w**2*log(1 + abs(w))": (YES, YES, YES, "rules"),
    "w**4 - abs(w)**3 + w**2": (YES, YES, YES, "polynomial without sign change"),
    "w**4 - 16/9*abs(w)**3 + w**2": (YES, YES, YES, "polynomial without sign change"),
    "Max(abs(w), 2*abs(w) - 1, 3*abs(w) - 3)": (YES, YES, YES, "rules"),
    "w*atan(w)": (YES, YES, YES, "signs of its parts"),
    "w**4 - 9/5*abs(w)**3 + w**2": (YES, YES, NO, "midpoint"),
    "w**4 - 2*abs(w)**3 + w**2": (NO, YES, NO, "midpoint"),
    "w**2/(1 + w**2)": (YES, NO, NO, "midpoint"),
    "Min(abs(w), 1)": (NO, NO, NO, "midpoint"),
    "Min(abs(w), a)": (NO, NO, NO, "midpoint"),
    MCP: (NO, NO, NO, "midpoint"),
    SCAD: (NO, NO, NO, "midpoint"),
    "1 - exp(-w**2)": (YES, NO, NO, "midpoint"),
    "atan(abs(w))": (YES, NO, NO, "midpoint"),
    "abs(w)*log(abs(w))": (NO, YES, NO, "midpoint"),
    "Max(abs(w) - 1, 0)": (NO, YES, NO, "midpoint"),
    "Max(abs(w) - d, 0)**2": (NO, YES, NO, "midpoint"),
    "Piecewise((abs(w)**3, abs(w) < 1), (w**2, True))": (YES, YES, NO, "midpoint"),
    "abs(w) + sin(abs(w))/10": (RANGE, YES, NO, "midpoint"),
    "w**2 + sin(w)**2/10": (RANGE, YES, RANGE, "on 1/1000 ≤ |w| ≤ 1000 only"),
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_and_what_decided_them(text):
    g = Regularizer.parse(text)
    increasing, coercive, convex, method = CONDITIONS[text]
    assert g.even.holds is True
    for check, expected in ((g.increasing, increasing), (g.coercive, coercive), (g.log_convex, convex)):
        assert (RANGE if check.on_a_range else check.holds) == expected, check
        assert check.as_json()["on_a_range"] is (expected == RANGE)
        if expected == YES:
            assert check.verdict == Verdict.proved
    assert method in g.log_convex.why


def test_what_holds_on_a_range_is_called_so():
    claims = [step.claim for step in derive("relu", "w**2 + sin(w)**2/10").steps]
    assert "PROVED on a range: g is increasing" in claims
    assert derive("relu", "w**2 + sin(w)**2/10").answer is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-w**2 + abs(w)", False),
        ("5 - abs(w)", False),
        ("Max(a - w**2, 3)", None),
        ("w**2 - a*abs(w)**3", None),
        ("Piecewise((w**2, abs(w) < 2), (a, True))", False),
    ],
)
def test_coercive_is_not_claimed_too_early(text, expected):
    assert Regularizer.parse(text).coercive.holds in (expected, False)


def test_a_jump_down_is_no_rise():
    assert (
        Regularizer.parse("Piecewise((w**2, abs(w) < 7/5), (w**2 - 1/10**9, True))").increasing.holds
        is not True
    )
    assert Regularizer.parse("Piecewise((w**2, abs(w) < 7/5), (w**2 + 1, True))").increasing.holds is True


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("w", "even"),
        ("w**3", "even"),
        ("w + w**2", "even"),
        ("-w**2", "increasing"),
        ("1/abs(w)", "increasing"),
        ("1-exp(-w**2)", "coercive"),
        ("Min(abs(w),1)", "coercive"),
        ("Max(abs(w)-1,0)", "increasing"),
    ],
)
def test_one_condition_fails(text, field):
    assert getattr(Regularizer.parse(text), field).holds is False


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("l1", ((1, 1),)),
        ("lp:3/2", ((1, sympy.Rational(3, 2)),)),
        ("3*w**2 + abs(w)/2", ((sympy.Rational(1, 2), 1), (3, 2))),
        ("(abs(w)+1)**2 - 1", ((2, 1), (1, 2))),
        ("t*abs(w)", ((sympy.Symbol("t", positive=True), 1),)),
        ("log(1+w**2)", None),
        ("abs(w) - w**2", None),
        ("w**3", None),
    ],
)
def test_terms(text, terms):
    assert Regularizer.parse(text).terms == terms


@pytest.mark.parametrize(
    "text",
    [
        "l1",
        "lp:0.7",
        "abs(w)+w**2/10",
        "log(1+w**2)",
        "sqrt(w**2+1)-1",
        "Piecewise((w**2/2, abs(w)<=1),(abs(w)-1/2,True))",
        "log(cosh(w))",
        "Max(abs(w), w**2)",
    ],
)
def test_derivatives_against_mpmath(text):
    g = Regularizer.parse(text)
    sizes = np.array([0.03, 0.4, 0.9, 1.7, 5.0])

    def phi(t):
        w = mpmath.exp(t)
        reference = {
            "l1": lambda: w,
            "lp:0.7": lambda: w ** mpmath.mpf("0.7"),
            "abs(w)+w**2/10": lambda: w + w**2 / 10,
            "log(1+w**2)": lambda: mpmath.log(1 + w**2),
            "sqrt(w**2+1)-1": lambda: mpmath.sqrt(w**2 + 1) - 1,
            "log(cosh(w))": lambda: mpmath.log(mpmath.cosh(w)),
            "Max(abs(w), w**2)": lambda: max(w, w**2),
        }.get(text, lambda: w**2 / 2 if w <= 1 else w - mpmath.mpf(1) / 2)
        return reference()

    for w in sizes:
        t = mpmath.log(w)
        assert g.cost(np.array([-w]))[0] == pytest.approx(float(phi(t)), rel=1e-12)
        assert g.marginal(np.array([-w]))[0] == pytest.approx(float(mpmath.diff(phi, t)), rel=1e-9)
        assert g.curvature(np.array([w]))[0] == pytest.approx(
            float(mpmath.diff(phi, t, 2)), rel=1e-6, abs=1e-9
        )
    zero = np.zeros(2)
    assert g.cost(zero).tolist() == g.marginal(zero).tolist() == g.curvature(zero).tolist() == [0, 0]


def test_refusals():
    for text in ("lp:0", "lp:-1", "lp:p"):
        with pytest.raises(RegularizerError):
            Regularizer.parse(text)
    for text in ("5", "log(w)", "w**p", "lp:", "x**2*os"):
        with pytest.raises((ExpressionError, RegularizerError)):
            Regularizer.parse(text)
    with pytest.raises(RegularizerError, match="free parameters"):
        Regularizer.parse("abs(w)**p").cost(np.ones(1))


def test_assumptions_on_bounds_are_used():
    text = "abs(w)**p - (p - 1)*abs(w)*0 + (p-1)*w**2"
    assert Regularizer.parse(text, ["p>1"]).log_convex.holds is True
    assert Regularizer.parse(text, ["p>0"]).log_convex.holds is not True


def test_what_is_shown_on_a_range_only_is_not_proved():
    found = positivity._by_subdivision(W**2 + sympy.sin(W) ** 2 + sympy.Rational(1, 10))
    assert found.verdict == Verdict.certified
    assert "only" in found.why
    assert positivity._by_subdivision(W - 1) is None


def test_root_counting_is_exact():
    assert positivity._by_roots(16 * W**2 - 16 * W + 4) is not None
    assert positivity._by_roots(16 * W**2 - 16 * W + sympy.Rational(39999, 10000)) is None
    assert positivity._by_roots(-(W**2)) is None


def test_rules_do_not_claim_what_fails():
    """Each of these is not convex in log w; a rule that said so would be unsound."""
    for expr in (
        sympy.log(1 + sympy.log(1 + W)),
        W**2 / (1 + W**2),
        1 - sympy.exp(-W),
        sympy.atan(W),
        W - W**2,
        sympy.sqrt(sympy.log(1 + W)),
        sympy.log(2 + sympy.log(1 + W)),
        sympy.Min(W, 1),
    ):
        assert not shape(expr).convex, expr


@pytest.mark.parametrize(
    "text",
    [
        "Max(w*(w+0.5), -1/w)",
        "relu(Max(2/w, 2))",
        "Piecewise((2, 1/w < 1), (3, True))",
        "Piecewise((1/w, w**2 < 1), (Max(w, 1)**(1/2), True))",
        "Max(erf(w)/Min(w, 1), 2)",
        pytest.param("softplus(w+1) - tanh(w)/w", marks=pytest.mark.slow),
        "Max(((cosh(abs(w)) * 1e-3*abs(w)))**(p+1), (((w)**-1 + (-abs(w))) - w))",
        "Max(abs(w), -1/w)",
        "atan(5/w)",
        pytest.param(
            "Min(Piecewise((d, Min(abs(w), 1e-3, w) >= 1e6), (w, True)), Max(0.1, w))", marks=pytest.mark.slow
        ),
        "Heaviside(Piecewise((abs(w), w < 1), (w**2, True)))",
        "Min((w / 1000*abs(w)), Max(w**2, (softplus(abs(w)))**((E + w)), ((w**2 * 3) / (abs(w))**4)))",
    ],
)
def test_odd_formulas_are_answered_or_refused(text):
    """Found by random formulas: SymPy raised TypeError or ValueError on some of these."""
    try:
        g = Regularizer.parse(text)
    except ExpressionError:
        return
    assert g.even.holds is not True or g.log_convex.verdict >= Verdict.undecided
    if g.numeric:
        for numbers in (g.cost, g.marginal, g.curvature):
            assert numbers(np.array([0.0, 0.5, -2.0])).shape == (3,)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        # poles between the sampled points: w·g' > 0 and φ'' > 0 wherever they exist, and yet
        ("abs(w) - 1/(10**6*(abs(w) - 9/4))", "increasing"),
        ("w**2 + 1/(10**9*(abs(w) - 9/4)**2)", "increasing"),
        ("w**2 + 1/(10**9*(abs(w) - 9/4)**2)", "log_convex"),
        ("tan(abs(w)/10**9)", "increasing"),
        ("w**2 + tan(abs(w)/10**9)", "log_convex"),
        # a jump
        ("abs(w) - sign(abs(w) - 22/7)/10**9", "increasing"),
        # complex where the parameter, or w, is small
        ("abs(w) + sqrt(a - 1/1000)", "log_convex"),
        ("w**2 + log(abs(w) - 1/10**7)", "log_convex"),
        ("log(abs(w) - 1/10**7)", "increasing"),
    ],
)
def test_between_the_sampled_points(text, field):
    """False claims of earlier rules; undecided is allowed, proved is not."""
    assert getattr(Regularizer.parse(text), field).holds is not True


def test_continuity_at_zero():
    for text in ("l1", "lp:1/2", "w**2*log(1+abs(w))", "Max(abs(w)**p, w**2)", GOOD[11], GOOD[13]):
        assert Regularizer.parse(text).continuous, text
    for text in (
        "log(abs(w))",
        "1/abs(w)",
        "Piecewise((3, w == 0), (w**2, True))",
        "abs(w)**(-1/log(1+log(1+1/abs(w))))",  # SymPy's value at 0 is 1, the limit is ∞
        "abs(w)**(-1/log(1+1/abs(w)))",
    ):
        assert not Regularizer.parse(text).continuous, text


def test_names_that_the_derivation_uses_are_refused():
    for name in ("lambda", "A", "B", "A_1", "x"):
        with pytest.raises(ExpressionError, match="cannot be a parameter"):
            Regularizer.parse(f"{name}*abs(w)")


def test_a_parameter_that_only_matters_at_zero():
    g = Regularizer.parse("Piecewise((a, w == 0), (abs(w), True))")
    assert not g.numeric
    with pytest.raises(RegularizerError, match="free parameters a"):
        g.cost(np.ones(1))
    unused = Regularizer.parse("Piecewise((a, w**2 < 0), (abs(w), True))")
    assert unused.cost(np.array([0.0, -2.0])).tolist() == [0, 2]


def test_steps_have_derivative_zero_off_their_jumps():
    g = Regularizer.parse("floor(abs(w)) + 2*abs(w)")
    assert g.marginal(np.array([1.5, -0.5])).tolist() == [3, 1]
