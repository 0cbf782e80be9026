"""A battery of activations: what is claimed of each half-line, looked at anew in ball arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from flint import arb

from balproof.symbolic import activation as module
from balproof.symbolic import ball
from balproof.symbolic.activation import Activation

P, A, B = (sympy.Symbol(n, positive=True) for n in "pab")
NONE = "none"
"""No power on this half-line: a witness is asked for."""

# formula: what holds on x > 0 and on x < 0, as (a, c) of a·|x|^c; (0, None) is the zero function there
BATTERY = {
    "Max(x, 0)": ((1, 1), (0, None)),
    "Max(x, 0)**p": ((1, P), (0, None)),
    "Max(x, 0)**(3/2)": ((1, "3/2"), (0, None)),
    "Max(x, 0)**p + Max(-x, 0)**p": ((1, P), (1, P)),
    "abs(x)**a*sign(x)": ((1, A), (-1, A)),
    "abs(x)**a*abs(x)**b": ((1, A + B), (1, A + B)),
    "abs(x)**(1/1000)": ((1, "1/1000"), (1, "1/1000")),
    "Piecewise((a*x, x<0), (b*x, True))": (("b", 1), ("-a", 1)),
    "x**2/x": ((1, 1), (-1, 1)),
    "sqrt(x**2)": ((1, 1), (1, 1)),
    "sqrt(x**4)": ((1, 2), (1, 2)),
    "abs(x**3)**(1/3)": ((1, 1), (1, 1)),
    "cbrt(x)": ((1, "1/3"), (-1, "1/3")),
    "cbrt(x**2)": ((1, "2/3"), (1, "2/3")),
    "x**2*sign(x)*cbrt(x)": ((1, "7/3"), (1, "7/3")),
    "x*(x**2)**(1/4)": ((1, "3/2"), (-1, "3/2")),
    "x*abs(x)": ((1, 2), (-1, 2)),
    "exp(log(1 + abs(x))) - 1": ((1, 1), (1, 1)),
    "log(exp(x))": ((1, 1), (-1, 1)),
    "tan(atan(x))": ((1, 1), (-1, 1)),
    "cosh(x)**2 - sinh(x)**2": ((1, 0), (1, 0)),
    "(x**3 + x*abs(x)**2)/(2*x**2)": ((1, 1), (-1, 1)),
    "(x + 1)**2 - 2*x - 1": ((1, 2), (1, 2)),
    "floor(x) - floor(x)": ((0, None), (0, None)),
    "floor(sign(x)/2)": ((0, None), (-1, 0)),
    "x*floor(1 + sign(x)/2)": ((1, 1), (0, None)),
    "Heaviside(x)": ((1, 0), (0, None)),
    "sign(x)": ((1, 0), (-1, 0)),
    "1/x": ((1, -1), (-1, -1)),
    "Min(Max(x, 0), x/2)": (("1/2", 1), ("-1/2", 1)),
    "sqrt(2)*Max(0, x)": ((sympy.sqrt(2), 1), (0, None)),
    "abs(x)**pi": ((1, sympy.pi), (1, sympy.pi)),
    # not homogeneous, and yet a power on one half-line or on both
    "Piecewise((x, x>0), (-(x**2), True))": ((1, 1), (-1, 2)),
    "Max(x, 0)**2 + Min(x, 0)": ((1, 2), (-1, 1)),
    "Piecewise((1, x<0), (x, True))": ((1, 1), (1, 0)),
    "Piecewise((x, x<1), (2*x, True))": (NONE, (-1, 1)),
    "Piecewise((x, x<10**6), (2*x, True))": (NONE, (-1, 1)),
    "Piecewise((x, x>-10**6), (2*x, True))": ((1, 1), NONE),
    "Max(x, 0) + Min(exp(x) - 1, 0)": ((1, 1), NONE),
    "Min(Max(x, 0), 6)": (NONE, (0, None)),
    # nowhere a power
    "x*(2 + sin(2*pi*log(abs(x))/log(2)))": (NONE, NONE),
    "x*(2 + sin(2*pi*log(abs(x))/log(3)))": (NONE, NONE),
    "x + sin(x)/1000": (NONE, NONE),
    "log(1 + abs(x))": (NONE, NONE),
    "x/(1 + exp(-x))": (NONE, NONE),
    "x/(1 + exp(-1000*x))": (NONE, NONE),
    "log(1 + exp(1000*x))/1000": (NONE, NONE),
    "floor(x)": (NONE, NONE),
    "floor(10**9*x)/10**9": (NONE, NONE),
    "x + exp(-1/x**2)": (NONE, NONE),
    "abs(x)*log(abs(x))": (NONE, NONE),
    "sqrt(x**2 + 1/10**12)": (NONE, NONE),
    "x**3/(x**2 + 1)": (NONE, NONE),
    "x*tanh(10**9*x)": (NONE, NONE),
    "Max(x, x**3)": (NONE, NONE),
    "abs(x)**x": (NONE, NONE),
    "2**x": (NONE, NONE),
    "erf(x)/x": (NONE, NONE),
    "atan(x)": (NONE, NONE),
    "log(cosh(x))": (NONE, NONE),
    "cos(x)": (NONE, NONE),
    "Piecewise((x + 1, x>0), (x - 1, True))": (NONE, NONE),
    "Piecewise((x, abs(x) < 1/10**9), (0, True))": (NONE, NONE),
    "(x + sqrt(x**2 + 4))/2": (NONE, NONE),
    "x - tanh(x)": (NONE, NONE),
}
POINTS = [Fraction(int(n), int(d)) for n, d in np.random.default_rng(11).integers(1, 60, (12, 2))]


def given(f):
    """Numbers for the parameters, inside what is assumed of them."""
    return {s: Fraction(k + 3, 2) for k, s in enumerate(f.parameters)}


def value(f, x):
    return ball.enclose(f.expression, {f.variable: x, **given(f)}, 256)


def power(f, base, exponent):
    return (ball.enclose(exponent, given(f), 256) * (arb(base.numerator) / base.denominator).log()).exp()


def test_the_battery_is_large():
    assert len(BATTERY) >= 60


@pytest.mark.parametrize("text", BATTERY)
def test_each_half_line(text):
    f = Activation.parse(text)
    for half, expected in zip(f.halves, BATTERY[text], strict=True):
        if expected == NONE:
            assert half.degree is half.coefficient is None
            w = half.witness
            assert w is not None
            assert w.x1 * half.side > 0
            assert w.x2 * half.side > 0
            assert w.holds_for(f.expression, f.variable)
        else:
            a, c = (None if v is None else sympy.sympify(v) for v in expected)
            assert (str(half.coefficient), half.degree, half.witness) == (str(a), c, None)
            for x in POINTS if c is not None else ():
                claimed = ball.enclose(half.coefficient, given(f), 256) * power(f, x, c)
                assert value(f, half.side * x).overlaps(claimed)


@pytest.mark.parametrize("text", BATTERY)
def test_the_whole(text):
    """Homogeneous: f(λx) and λ^c f(x) overlap at random points; else the witness, computed anew, holds."""
    f = Activation.parse(text)
    right, left = BATTERY[text]
    if NONE not in (right, left) and (right[1] is None or left[1] is None or right[1] == left[1]):
        assert f.homogeneous
        for scale, x in zip(POINTS, reversed(POINTS), strict=True):
            for side in (1, -1):
                assert value(f, scale * side * x).overlaps(power(f, scale, f.degree) * value(f, side * x))
    else:
        assert f.homogeneous is False
        assert f.witness.holds_for(f.expression, f.variable)


def test_a_rule_that_lies_is_seen_on_each_half_line(monkeypatch):
    def lying(expr, *, thorough=True):
        return (sympy.S.One, sympy.Integer(2)), "a rule that lies"

    monkeypatch.setattr(module, "half_line", lying)
    f = module._decide(module.parse_formula("x + 0*abs(x)", "x"))
    assert [half.coefficient for half in f.halves] == [None, None]
    assert all("disagree" in half.why for half in f.halves)


def test_undecided_has_a_reason():
    """x·f′ − f is 0 wherever it is defined, no rule applies, and f jumps far from the sampled points."""
    f = Activation.parse("atan(tan(x/10**7)) - x/10**7 + x")
    assert f.homogeneous is not True
    assert all(half.why for half in f.halves)
