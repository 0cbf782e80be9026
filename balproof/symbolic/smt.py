"""Questions over the reals for z3, in a subprocess that is killed when its time is over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sympy

Status = Literal["sat", "unsat", "undecided"]

_CHILD = """
import sys, z3
solver = z3.Solver()
solver.from_string(sys.stdin.read())
answer = solver.check()
print(answer)
if answer == z3.sat:
    print(solver.model())
"""


@dataclass(frozen=True)
class Answer:
    """What z3 said; ``why`` is the reason for ``undecided``, or the model found."""

    status: Status
    why: str


def _term(expr: sympy.Basic) -> str:
    if isinstance(expr, sympy.Symbol):
        return f"|{expr.name}|"
    if isinstance(expr, sympy.Rational):
        size = f"(/ {abs(int(expr.p))}.0 {int(expr.q)}.0)"
        return f"(- {size})" if expr < 0 else size
    if isinstance(expr, sympy.Add | sympy.Mul):
        return f"({'+' if isinstance(expr, sympy.Add) else '*'} {' '.join(_term(a) for a in expr.args)})"
    if isinstance(expr, sympy.Pow) and expr.exp.is_Integer and 0 < abs(int(expr.exp)) <= 40:
        product = " ".join([_term(expr.base)] * abs(int(expr.exp)))
        power = f"(* {product})" if abs(int(expr.exp)) > 1 else product
        return power if expr.exp > 0 else f"(/ 1.0 {power})"
    raise ValueError(f"not a rational function: {expr}")


def statement(condition: sympy.Basic) -> str:
    """A relation between rational functions in SMT-LIB's notation.

    >>> a = sympy.Symbol("a", positive=True)
    >>> statement(a**2 > 1)
    '(> (* |a| |a|) (/ 1.0 1.0))'
    """
    if condition in (sympy.true, sympy.false):
        return str(condition).lower()
    signs: dict[type, str] = {
        sympy.Lt: "<",
        sympy.Le: "<=",
        sympy.Gt: ">",
        sympy.Ge: ">=",
        sympy.Eq: "=",
    }
    if isinstance(condition, sympy.Ne):
        return f"(distinct {_term(condition.lhs)} {_term(condition.rhs)})"
    return f"({signs[type(condition)]} {_term(condition.args[0])} {_term(condition.args[1])})"


def script(conditions: Sequence[sympy.Basic]) -> str:
    """All the conditions, with the signs that the symbols' own assumptions give them.

    >>> print(script([sympy.Symbol("a", positive=True) < 1]))
    (declare-const |a| Real)
    (assert (> |a| 0.0))
    (assert (< |a| (/ 1.0 1.0)))
    """
    symbols = sorted(set().union(*(c.free_symbols for c in conditions)), key=str)
    lines = [f"(declare-const |{s.name}| Real)" for s in symbols]
    signs: Mapping[str, str] = {"is_positive": ">", "is_negative": "<"}
    for s in symbols:
        found = next((sign for flag, sign in signs.items() if getattr(s, flag)), None)
        weak = ">=" if s.is_nonnegative else "<=" if s.is_nonpositive else None
        if found or weak:
            lines.append(f"(assert ({found or weak} |{s.name}| 0.0))")
    return "\n".join([*lines, *(f"(assert {statement(c)})" for c in conditions)])


def satisfiable(conditions: Sequence[sympy.Basic], seconds: float = 4.0) -> Answer:
    """Whether real numbers satisfy all the conditions (relations between rational functions).

    >>> a = sympy.Symbol("a", positive=True)
    >>> satisfiable([sympy.Lt(a**2 + 1, 2 * a)]).status
    'unsat'
    """
    try:
        text = script(conditions)
    except (ValueError, KeyError) as fault:
        return Answer("undecided", str(fault))
    command = [sys.executable, "-I", "-c", _CHILD]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer("undecided", f"z3 did not answer within {seconds:g} s")
    except OSError as fault:
        return Answer("undecided", f"z3 could not be started: {fault.strerror}")
    first, _, rest = done.stdout.partition("\n")
    if first in ("sat", "unsat"):
        return Answer("sat" if first == "sat" else "unsat", rest.strip())
    return Answer(
        "undecided", "z3 is not installed" if "ModuleNotFoundError" in done.stderr else "z3 gave up"
    )
