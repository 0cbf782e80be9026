"""Enclosures hold the true value (mpmath's, with more digits), and doubt stays doubt."""

from fractions import Fraction

import mpmath
import pytest
import sympy
from flint import arb, ctx

from balproof.symbolic import ball
from balproof.symbolic.parser import parse

x = sympy.Symbol("x", real=True)
POINTS = (Fraction(1, 3), Fraction(-7, 5), Fraction(12), Fraction(-1, 1000))


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("tanh(x)*exp(-x)", lambda t: mpmath.tanh(t) * mpmath.exp(-t)),
        ("erf(x/sqrt(2))", lambda t: mpmath.erf(t / mpmath.sqrt(2))),
        ("log(1+abs(x))", lambda t: mpmath.log(1 + abs(t))),
        ("cbrt(x)", lambda t: mpmath.sign(t) * mpmath.cbrt(abs(t))),
        ("Max(x, -2*x, 1)**3", lambda t: max(t, -2 * t, 1) ** 3),
        ("abs(x)**pi", lambda t: abs(t) ** mpmath.pi),
        ("Piecewise((sin(x), x < 0), (cos(x), True))", lambda t: mpmath.sin(t) if t < 0 else mpmath.cos(t)),
        ("floor(3*x) + sign(x)", lambda t: mpmath.floor(3 * t) + mpmath.sign(t)),
        ("sinh(x)/cosh(x) - atan(x)", lambda t: mpmath.tanh(t) - mpmath.atan(t)),
    ],
)
def test_holds_the_value(text, reference):
    expr = parse(text)
    for point in POINTS:
        with mpmath.workdps(60):
            true = mpmath.nstr(reference(mpmath.mpf(point.numerator) / point.denominator), 45)
        found = ball.sharp(expr, {x: point}, 90)
        with ctx.workprec(256):
            assert abs(found - arb(true)) < arb("1e-24"), text


@pytest.mark.parametrize(
    "text", ["x**2 - x", "tanh(x)", "Piecewise((x, x<1),(2*x,True))", "abs(x)**(1/2)", "Max(x,1)"]
)
def test_interval_holds_every_point(text):
    expr = parse(text)
    whole = ball.enclose(expr, {x: ball.over(Fraction(1, 2), Fraction(2))})
    for k in range(13):
        assert whole.contains(ball.sharp(expr, {x: Fraction(1, 2) + Fraction(k, 8)}))


def test_exact_at_a_kink():
    assert ball.exactly(parse("Max(x - 1/3, 0)"), {x: Fraction(1, 3)}) == 0
    assert ball.sign_at(parse("Piecewise((x, x<1/3),(-x,True))"), {x: Fraction(1, 3)}) == -1


def test_no_real_value():
    for text in ("log(x)", "sqrt(x)"):
        with pytest.raises(ball.NotReal):
            ball.enclose(parse(text), {x: Fraction(-1)})
    with pytest.raises(ball.NotReal):
        ball.enclose(parse("1/x"), {x: Fraction(0)})


def test_doubt_is_not_decided():
    assert ball.sign_at(parse("sin(x)**2 + cos(x)**2 - 1"), {x: Fraction(1, 3)}) is None
    assert not ball.enclose(parse("1/x"), {x: ball.over(Fraction(-1), Fraction(1))}).is_finite()
