"""What several claims of [B] lean on: checked identities, the sign of an expression, z3, small enclosures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from flint import arb
from scipy import optimize

from balproof.symbolic import ball, smt
from balproof.theorems.registry import Printed, Twin
from balproof.verdict import Evidence, Verdict

PAPER = "[B] Baldi, Alexos, Domingo, Rahmansetayesh, A Theory of Synaptic Neural Balance"
STOCK = (
    "[S] Stock, Harvey, Ocko, Ganguli, Synaptic balancing: a biologically plausible local learning rule, "
    "PLoS Comput Biol 2022"
)


def vanishes(*expressions: sympy.Expr) -> bool:
    """Whether SymPy reduces every expression to 0.

    >>> x = sympy.Symbol("x", positive=True)
    >>> vanishes(sympy.sqrt(x**2) - x), vanishes(x - 1)
    (True, False)
    """
    return all(sympy.simplify(sympy.powsimp(sympy.expand(e), force=False)) == 0 for e in expressions)


def positive_beyond(expression: sympy.Expr, x: sympy.Symbol, order: int) -> bool:
    """Whether ``expression`` > 0 for x > 0, because it and its first derivatives are ≥ 0 at 0 and the
    derivative of this order is positive: integrate that often from 0.

    >>> x = sympy.Symbol("x", positive=True)
    >>> positive_beyond(sympy.exp(x) - 1 - x, x, 2), positive_beyond(sympy.exp(x) - 1 - 2 * x, x, 2)
    (True, False)
    """
    at_zero = [sympy.simplify(sympy.diff(expression, x, k).subs(x, 0)) for k in range(order)]
    last = sympy.expand(sympy.simplify(sympy.diff(expression, x, order)))
    return all(value.is_nonnegative for value in at_zero) and last.is_positive is True


def undetermined(name: str) -> tuple[Any, Any]:
    """A function about which nothing is known but that it can be differentiated in its last argument, and
    its derivative there.

    >>> f, slope = undetermined("f")
    >>> x = sympy.Symbol("x")
    >>> sympy.diff(f(2 * x), x) == 2 * slope(2 * x)
    True
    """
    slope = type(f"{name}_slope", (sympy.Function,), {})

    def fdiff(self: Any, argindex: int = 1) -> Any:
        assert argindex == len(self.args), "the other arguments are no variables"
        return slope(*self.args)

    return type(name, (sympy.Function,), {"fdiff": fdiff}), slope


def exponential_above_tangent() -> bool:
    """e^u > 1 + u for every real u ≠ 0, on both half-lines."""
    v = sympy.Symbol("v", positive=True)
    return positive_beyond(sympy.exp(v) - 1 - v, v, 2) and positive_beyond(sympy.exp(-v) - 1 + v, v, 2)


def by_z3(
    what: str, shown: Verdict, queries: Iterable[Sequence[sympy.Basic]], seconds: float = 6.0
) -> Evidence:
    """``shown`` if z3 finds no real numbers for any of the queries, ``refuted`` if it finds some.

    >>> a = sympy.Symbol("a", real=True)
    >>> by_z3("squares", Verdict.proved, [[a**2 < 0]]).verdict.name
    'proved'
    """
    start = time.perf_counter()
    verdict, note, count = shown, "", 0
    for query in queries:
        count += 1
        answer = smt.satisfiable(query, seconds)
        if answer.status == "sat":
            verdict, note = Verdict.refuted, f" (counterexample {' '.join(answer.why.split())})"
            break
        if answer.status == "undecided":
            verdict, note = Verdict.undecided, f" ({answer.why})"
    assert count, "no query, no evidence"
    return Evidence("z3", what + note, verdict, time.perf_counter() - start)


def twin(dropped: str, fails: bool, witness: str) -> Twin:
    """The twin, refuted if the witness was executed and the statement failed on it; otherwise undecided.

    >>> twin("a > 0", True, "a = 0").verdict.name
    'refuted'
    """
    return Twin(dropped, Verdict.refuted if fails else Verdict.undecided, witness)


def printed_false(counterexample_holds: bool, why: str) -> Printed:
    """The printed claim is refuted if its counterexample was executed and is one."""
    return Printed(Verdict.refuted if counterexample_holds else Verdict.undecided, why)


# --- one unit: IN cost A, OUT cost B ------------------------------------------------------------------


def near(value: float, expected: float, relative: float = 1e-9) -> bool:
    """Whether two numbers agree, relative to the second."""
    return abs(value - expected) <= relative * abs(expected)


def minimiser(cost: Callable[[float], float], span: float = 60.0) -> float:
    """The scale λ that minimises ``cost`` on e^{−span} … e^{span}, by SciPy's bounded search in log λ.

    It knows nothing of balance: it is for comparing formulas with.

    >>> near(minimiser(lambda s: s + 4 / s), 2.0, 1e-6)
    True
    """
    found = optimize.minimize_scalar(
        lambda t: cost(float(np.exp(t))), bounds=(-span, span), method="bounded", options={"xatol": 1e-12}
    )
    return float(np.exp(found.x))


def excludes_zero(ball: arb) -> bool:
    """Whether an enclosure does not contain 0."""
    return not ball.contains(0)


def stays(expression: sympy.Expr, x: sympy.Symbol, low: Fraction, high: Fraction, depth: int = 14) -> bool:
    """Whether ``expression`` > 0 on all of [low, high], by interval arithmetic on halves of halves.

    >>> t = sympy.Symbol("t", real=True)
    >>> stays(sympy.exp(t) - 1 - t, t, Fraction(1, 10), Fraction(2)), stays(t, t, Fraction(-1), Fraction(1))
    (True, False)
    """
    if ball.enclose(expression, {x: ball.over(low, high)}) > 0:
        return True
    middle = (low + high) / 2
    if depth == 0 or not ball.enclose(expression, {x: middle}) > 0:
        return False
    return stays(expression, x, low, middle, depth - 1) and stays(expression, x, middle, high, depth - 1)
