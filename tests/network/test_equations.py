"""Exact systems: checked by substitution and against SymPy's null space."""

from __future__ import annotations

from fractions import Fraction

import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from balproof.network.equations import Equation, combine, solve_equations

COUNT = 6
coefficients = st.sampled_from([Fraction(n, d) for n in (-3, -2, -1, 1, 2, 3) for d in (1, 2, 3)])
terms = st.dictionaries(st.integers(0, COUNT - 1), coefficients, min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(terms, max_size=8))
@example([{4: Fraction(2), 5: Fraction(-1)}, {0: Fraction(1), 1: Fraction(1), 4: Fraction(-2)}])
def test_solution_space_is_the_null_space(rows: list[dict[int, Fraction]]) -> None:
    solution = solve_equations(COUNT, [Equation(tuple(sorted(row.items())), "r") for row in rows])
    for row in rows:  # every form satisfies every equation
        assert combine((solution.forms[v], c) for v, c in row.items()) == ()
    matrix = sympy.zeros(len(rows), COUNT)
    for i, row in enumerate(rows):
        for v, c in row.items():
            matrix[i, v] = sympy.Rational(c.numerator, c.denominator)
    assert len(solution.free) == COUNT - matrix.rank()
    for position, v in enumerate(solution.free):  # free variables are themselves
        assert solution.forms[v] == ((position, Fraction(1)),)


def test_a_cycle_with_two_degrees_pins() -> None:
    tie = Equation(((0, Fraction(2)), (1, Fraction(-1))), "degree 2")
    same = Equation(((0, Fraction(1)), (1, Fraction(-1))), "residual")
    solution = solve_equations(2, [tie, same])
    assert solution.free == ()
    assert solution.reasons == {0: "residual", 1: "residual"}


def test_early_variables_stay_free() -> None:
    one = Fraction(1)
    solution = solve_equations(4, [Equation(((0, one), (1, -one), (2, one), (3, -one)), "shared")])
    assert solution.free == (0, 1, 2)
