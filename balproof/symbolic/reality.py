"""Whether a formula has real values, and one line for the formulas that SymPy cannot take apart."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from fractions import Fraction

import sympy

from balproof.errors import ExpressionError
from balproof.symbolic import ball
from balproof.symbolic.parser import Formula

SEEDS = 3
_POINTS = tuple(
    sign * size for size in map(Fraction, ("1", "7/3", "1/9", "50", "1e-6", "1e6")) for sign in (1, -1)
)


def sample_parameters(formula: Formula, seed: int) -> dict[sympy.Symbol, Fraction]:
    """A rational for each free parameter, inside what is assumed of it."""
    by_name = {d.name: d for d in formula.domains}
    return {s: by_name[s.name].samples(seed + 3 * i) for i, s in enumerate(formula.parameters)}


def require_real(formula: Formula) -> None:
    """Raise ExpressionError where a sampled point certainly has no real value.

    >>> from balproof.symbolic.parser import parse_formula
    >>> require_real(parse_formula("log(x)", "x"))
    Traceback (most recent call last):
    ...
    balproof.errors.ExpressionError: log(x) has no real value at x = -1: use abs(x), cbrt(x) or a Piecewise
    """
    for seed in range(SEEDS):
        values = sample_parameters(formula, seed)
        for x in _POINTS:
            try:
                ball.enclose(formula.expression, {**values, formula.variable: x})
            except ball.NotReal:
                raise ExpressionError(
                    f"{formula.text} has no real value at {_where(formula.variable, x, values)}",
                    "use abs(...) or cbrt(...), or assume a sign, as in a>0"
                    if values
                    else f"use abs({formula.variable}), cbrt({formula.variable}) or a Piecewise",
                ) from None


def _where(variable: sympy.Symbol, x: Fraction, values: Mapping[sympy.Symbol, Fraction]) -> str:
    return ", ".join(f"{s.name} = {v}" for s, v in {variable: x, **values}.items())


@contextmanager
def analysed(text: str) -> Generator[None]:
    """What SymPy raises on a formula that it cannot take apart becomes an ExpressionError.

    SymPy compares infinities and complex numbers inside Max and conditions, and then raises TypeError or
    ValueError; none of its own exceptions says more.
    """
    try:
        yield
    except (ball.NotReal, ball.Unknown, TypeError, ValueError, NotImplementedError, RecursionError) as fault:
        raise ExpressionError(
            f"{text[:60]!r} could not be analysed ({type(fault).__name__}: {str(fault)[:80]})",
            "write it in simpler pieces, each with real values everywhere",
        ) from fault
