"""Tables of polynomials against mpmath: nowhere off by more than they say, also at the ends of cells."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy
from flint import arb

from balproof.symbolic import taylor
from balproof.symbolic.convexity import W
from balproof.symbolic.taylor import DEGREE, UNIT, Cells, NoSeries, Piece, cells_of, series

FUNCTIONS = {
    "log": sympy.log(1 + W**2),
    "root": sympy.sqrt(1 + W**2) - 1,
    "root of a third": (1 + W) ** sympy.Rational(1, 3),
    "irrational power": W ** sympy.sqrt(2),
    "power of w": (1 + W) ** (W / 4),
    "negative powers": W**3 / (1 + W) ** 2,
    "a square": (W - 1) ** 2 + W,
    "exp": sympy.exp(W) - 1,
    "constants": sympy.pi * W + sympy.exp(1),
    "sinh": W * sympy.sinh(W),
    "cosh": sympy.cosh(W) - 1,
    "tanh": W * sympy.tanh(W),
    "coth": sympy.coth(W),
    "asinh": W * sympy.asinh(W),
    "atan": W * sympy.atan(W),
    "erf": W + sympy.erf(W),
    "erfc": W + sympy.erfc(W),
    "trigonometric": W + W * (2 + sympy.sin(W) + sympy.cos(W)),
    "tan": 2 + sympy.tan(W / 16),
}


def table(expression: sympy.Expr, octave: int, low: sympy.Expr = sympy.S.Zero) -> tuple[Cells, int]:
    for cut in range(2, 13):
        found = cells_of(Piece(expression, low, sympy.oo), octave, cut)
        if found is not None:
            return found, cut
    raise AssertionError("no table")


def worst(expression: sympy.Expr, found: Cells, octave: int, cut: int, sizes: np.ndarray) -> float:
    """The greatest relative error of Horner's rule in doubles, at these w/2^octave."""
    true = sympy.lambdify(W, expression, "mpmath")
    most = 0.0
    with mpmath.workprec(200):
        for f in sizes.tolist():
            cell = int((f - 1) * 2**cut)
            x = f - 1 - (cell + 0.5) / 2**cut
            value = 0.0
            for c in found.coefficients[cell, ::-1].tolist():
                value = value * x + c
            exact = true(mpmath.mpf(f) * mpmath.mpf(2) ** octave)
            most = max(most, float(abs(mpmath.mpf(value) / exact - 1)))
    return most


def sizes(cut: int) -> np.ndarray:
    """Some in every part of an octave, and doubles next to the ends of cells."""
    ends = 1 + np.arange(2**cut) / 2**cut
    rng = np.random.default_rng(0)
    return np.concatenate([ends[:64], np.nextafter(ends[1:64], 0), [2 - 2.0**-52], rng.uniform(1, 2, 200)])


@pytest.mark.parametrize("octave", [-30, -4, 0, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_is_within_its_bound(name: str, octave: int) -> None:
    expression = FUNCTIONS[name]
    found, cut = table(expression, octave)
    off = worst(expression, found, octave, cut, sizes(cut))
    assert off <= found.error < 8 * UNIT
    assert off > 0.1 * found.error or expression.subs(W, 0) == 1  # the bound says something


def test_a_wrong_coefficient_would_be_caught() -> None:
    expression = FUNCTIONS["log"]
    found, cut = table(expression, 0)
    coefficients = found.coefficients.copy()
    coefficients[:, 1] *= 1 + 1e-12
    assert worst(expression, Cells(coefficients, found.error), 0, cut, sizes(cut)) > found.error


def test_what_is_left_off_counts(monkeypatch) -> None:
    """Were the remainder forgotten, wide cells would be taken, and be off by more than they say."""
    expression = FUNCTIONS["root"]
    _, cut = table(expression, 0)
    monkeypatch.setattr(taylor, "_remainder", lambda *_: 0.0)
    found, coarse = table(expression, 0)
    assert coarse < cut
    assert worst(expression, found, 0, coarse, sizes(coarse)) > found.error


def test_cancellation_takes_more_bits() -> None:
    """At 2^-300 the 1 in 1 + w² hides w² from 600 bits."""
    found, cut = table(FUNCTIONS["log"], -300)
    w = 1.5 * 2.0**-300
    cell = int(0.5 * 2**cut)
    value = np.polyval(found.coefficients[cell, ::-1], 0.5 - (cell + 0.5) / 2**cut)
    assert abs(value / w**2 - 1) < 8 * UNIT


def test_cells_of_a_piece_alone() -> None:
    """Below 5/4 there is nothing, and there the root has no series at all."""
    expression = W + sympy.sqrt(W - 1)
    found, cut = table(expression, 0, sympy.Rational(5, 4))
    used = found.coefficients[:, 0] > 0
    assert used.tolist() == [i >= 2**cut // 4 - 1 for i in range(2**cut)]
    inside = np.random.default_rng(1).uniform(1.25, 2, 200)
    assert worst(expression, found, 0, cut, inside) <= found.error
    assert not Piece(expression, sympy.Rational(5, 4), sympy.oo).meets(-1)
    assert Piece(expression, sympy.S.Zero, sympy.Rational(5, 4)).meets(0)
    assert not Piece(expression, sympy.S.Zero, sympy.Rational(5, 4)).meets(1)


def test_functions_without_a_series() -> None:
    for expression in (sympy.Max(W, W**2), sympy.floor(W) + W, 1 / (W - 1), -W, sympy.log(W)):
        with pytest.raises(NoSeries):
            # In the middle of the only cell: a pole, no rule, a value that is not positive.
            cells_of(Piece(expression.subs(W, W - sympy.Rational(1, 2)), sympy.S.Zero, sympy.oo), 0, 0)


def test_a_series_holds_those_around_all_points_of_a_ball() -> None:
    with taylor._order():
        wide = series(FUNCTIONS["atan"], arb(1.5, 0.25), 0)
        for at in (1.25, 1.4, 1.75):
            point = series(FUNCTIONS["atan"], arb(at), 0)
            assert all(wide[k].contains(point[k]) for k in range(DEGREE + 2))


def test_a_series_that_was_cut_off_is_none() -> None:
    with pytest.raises(NoSeries):  # the library's own setting is shorter than what is wanted
        series(FUNCTIONS["atan"], arb(1.5), 0)
