"""Linear equations between log-scales, and their exact solution.

Variables are integers. An equation is a sum Σ c·s = 0 with rational c and a reason: one term pins a
scale, two terms tie two scales (``s_a = ratio·s_b``), more terms are products. Nearly all equations of
a network have at most two terms, so a union-find with rational ratios takes those, and exact row
reduction only what is left over the roots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from balproof.network.forms import ONE, Form, Forms

ZERO: Form = ()


@dataclass(frozen=True, slots=True)
class Equation:
    """Σ coefficient·s[variable] = 0, and why it must hold."""

    terms: tuple[tuple[int, Fraction], ...]
    reason: str
    visible: bool = False


@dataclass(frozen=True)
class ExactSolution:
    """All solutions of a system: each variable as a form in the free variables.

    ``free`` lists the variables that were left free, in ascending order; ``forms[v]`` writes variable v
    in positions of ``free``; ``reasons[v]`` says why v is pinned, where it is, and ``visible`` holds
    the variables that are pinned because they can be seen from outside.
    """

    free: tuple[int, ...]
    forms: Sequence[Form]
    reasons: Mapping[int, str]
    visible: frozenset[int]


class _Roots:
    """Union-find in which each variable is a rational multiple of its root; the least id is the root."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))
        self.ratio = [ONE] * count
        self.pinned: dict[int, Equation] = {}

    def find(self, variable: int) -> tuple[int, Fraction]:
        path: list[int] = []
        while self.parent[variable] != variable:
            path.append(variable)
            variable = self.parent[variable]
        factor = ONE
        for node in reversed(path):
            ratio = self.ratio[node]
            factor = factor if ratio is ONE else ratio if factor is ONE else ratio * factor
            self.parent[node], self.ratio[node] = variable, factor
        return variable, factor

    def pin(self, variable: int, why: Equation) -> None:
        self.pinned.setdefault(self.find(variable)[0], why)

    def add(self, equation: Equation) -> tuple[tuple[int, Fraction], ...]:
        """Take an equation in; return its terms over roots if more than two are left."""
        terms = self.over_roots(equation.terms)
        if len(terms) == 1:
            self.pin(terms[0][0], equation)
        elif len(terms) == 2:
            (a, ca), (b, cb) = terms  # both unpinned, a < b: b hangs below a, s_b = −(ca/cb)·s_a
            self.parent[b], self.ratio[b] = a, ONE if ca == -cb else -ca / cb
        return terms if len(terms) > 2 else ()

    def over_roots(self, terms: Iterable[tuple[int, Fraction]]) -> tuple[tuple[int, Fraction], ...]:
        total: dict[int, Fraction] = {}
        for variable, coefficient in terms:
            root, factor = self.find(variable)
            if root not in self.pinned:
                term = coefficient if factor is ONE else coefficient * factor
                total[root] = total[root] + term if root in total else term
        return tuple(sorted((r, c) for r, c in total.items() if c))


def solve_equations(count: int, equations: Sequence[Equation]) -> ExactSolution:
    """Solve a homogeneous rational system in ``count`` variables exactly.

    >>> tie = Equation(((0, Fraction(2)), (1, Fraction(-1))), "s1 = 2·s0")
    >>> solve_equations(3, [tie, Equation(((2, Fraction(1)),), "visible")]).forms
    (((0, Fraction(1, 1)),), ((0, Fraction(2, 1)),), ())
    """
    roots = _Roots(count)
    waiting = list(equations)
    # Pins and ties shorten other equations to pins and ties, so repeat until nothing moves.
    while True:
        left: list[Equation] = []
        for equation in waiting:
            if roots.add(equation):
                left.append(equation)
        if len(left) == len(waiting):
            break
        waiting = left
    rows = [(roots.over_roots(e.terms), e) for e in waiting]
    dependent = _row_reduce([terms for terms, _ in rows])
    for root, form in dependent.items():
        if not form:
            why = next(e for terms, e in rows if any(r == root for r, _ in terms))
            roots.pinned.setdefault(root, why)
    # Most variables of a large network are in no equation, and free: those are not looked at one by one.
    found = {v: roots.find(v) for v in sorted({v for e in equations for v, _ in e.terms})}
    tied = [v for v, (root, _) in found.items() if v != root or v in roots.pinned or v in dependent]
    loose = np.ones(count, dtype=bool)
    loose[tied] = False
    free = np.flatnonzero(loose)
    position = np.cumsum(loose) - 1
    forms: dict[int, Form] = {}
    for v in tied:
        root, factor = found[v]
        if root in roots.pinned or not factor:
            forms[v] = ZERO
        else:
            terms = dependent.get(root, ((root, ONE),))
            forms[v] = tuple((int(position[r]), factor if c is ONE else c * factor) for r, c in terms)
    pinned = {v: roots.pinned[found[v][0]] for v in tied if found[v][0] in roots.pinned}
    return ExactSolution(
        tuple(free.tolist()),
        Forms.free(count, free).replaced(forms),
        {v: e.reason for v, e in pinned.items()},
        frozenset(v for v, e in pinned.items() if e.visible),
    )


def _row_reduce(
    rows: Sequence[tuple[tuple[int, Fraction], ...]],
) -> dict[int, tuple[tuple[int, Fraction], ...]]:
    """Solve Σ c·s = 0 for as many variables as possible, preferring to keep early variables free.

    Each row is solved for its last variable, which is put into the rows solved before. In a network most
    rows define a result that nothing else constrains, so that there is little to put in anywhere.
    """
    solved: dict[int, dict[int, Fraction]] = {}
    holders: dict[int, set[int]] = {}  # variable → the solved variables in whose forms it occurs

    def put(into: dict[int, Fraction], form: Mapping[int, Fraction], factor: Fraction) -> None:
        for v, c in form.items():
            total = into.get(v, Fraction(0)) + factor * c
            if total:
                into[v] = total
            else:
                into.pop(v, None)

    for terms in rows:
        row: dict[int, Fraction] = {}
        for v, c in terms:
            put(row, solved.get(v, {v: Fraction(1)}), c)
        if not row:
            continue
        pivot = max(row)
        factor = row.pop(pivot)
        form = {v: -c / factor for v, c in row.items()}
        for other in holders.pop(pivot, set()):
            if pivot not in solved[other]:  # it has cancelled since
                continue
            put(solved[other], form, solved[other].pop(pivot))
            for v in form:
                holders.setdefault(v, set()).add(other)
        solved[pivot] = form
        for v in form:
            holders.setdefault(v, set()).add(pivot)
    return {pivot: tuple(sorted(form.items())) for pivot, form in solved.items()}


def combine(forms: Iterable[tuple[Form, Fraction]]) -> Form:
    """The linear combination Σ factor·form.

    >>> combine([(((0, Fraction(1)),), Fraction(1)), (((0, Fraction(1)),), Fraction(-1))])
    ()
    """
    total: dict[int, Fraction] = {}
    for form, factor in forms:
        for k, c in form:
            term = c if factor == 1 else factor * c
            total[k] = total[k] + term if k in total else term
    return tuple(sorted((k, c) for k, c in total.items() if c))
