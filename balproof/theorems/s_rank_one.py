"""[S]: the balanced state in closed form, where J and the coefficients of the cost have rank one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from balproof.balance.descent import stochastic
from balproof.balance.problem import BalanceProblem
from balproof.theorems.b_lemmas import STOCK, twin, vanishes
from balproof.theorems.instances import recurrent
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.theorems.s_flow import (
    Exact,
    exact_costs,
    exact_imbalances,
    imbalances,
    integrate,
    ones,
    scaled,
    total,
)
from balproof.theorems.s_osborne import certificate
from balproof.verdict import Verdict, timed

Array = np.ndarray


def closed_form(u: Any, v: Any, a: Any, b: Any, p: Any, log: Callable[[Any], Any]) -> Any:
    """h of the balanced state, in the paper's sign; numbers, arrays or symbols.

    >>> round(float(np.exp(closed_form(4.0, 1.0, 1.0, 1.0, 2.0, np.log))), 12)
    2.0
    """
    return log(a / b) / (2 * p) + log(abs(u) / abs(v)) / 2


def _is_symmetric() -> bool:
    """c_ij = a_i|u_i|^p b_j|v_j|^p becomes √(s_i t_i)·√(s_j t_j), s = a|u|^p, t = b|v|^p: c′_ij = c′_ji."""
    p = sympy.Symbol("p", positive=True)
    ends = [sympy.symbols(f"u_{k} v_{k} a_{k} b_{k}", positive=True) for k in "ij"]  # |u|, |v| stand for u, v
    (ui, vi, ai, bi), (uj, vj, aj, bj) = ends
    hi, hj = (sympy.expand_log(closed_form(u, v, a, b, p, sympy.log), force=True) for u, v, a, b in ends)
    there = ai * bj * (ui * vj * sympy.exp(hj - hi)) ** p
    back = aj * bi * (uj * vi * sympy.exp(hi - hj)) ** p
    root = sympy.sqrt(ai * bi * ui**p * vi**p * aj * bj * uj**p * vj**p)
    logs = [sympy.expand(sympy.expand_log(sympy.log(e), force=True)) for e in (there, back, root)]
    return vanishes(logs[0] - logs[2], logs[1] - logs[2])


@dataclass(frozen=True)
class RankOne:
    """J_ij = u_i v_j and α_ij = a_i b_j, in rationals, chosen so that e^h of the balanced state is ``e``."""

    J: Exact
    alpha: Exact
    e: list[Fraction]
    p: int
    parts: tuple[list[Fraction], ...]


def outer(x: Sequence[Fraction], y: Sequence[Fraction]) -> Exact:
    return [[s * t for t in y] for s in x]


def _instances() -> Iterator[RankOne]:
    """a = b·e^{2p}(|v|/|u|)^p, so that the closed form is log e exactly."""
    rng = np.random.default_rng(81)

    def some(n: int, low: int) -> list[Fraction]:
        return [
            Fraction(int(x) or 1, int(y))
            for x, y in zip(rng.integers(low, 9, n), rng.integers(1, 6, n), strict=True)
        ]

    for n in (1, 2, 3, 4, 6):
        for p in (1, 2, 3):
            u, v, b, e = some(n, -8), some(n, -8), some(n, 1), some(n, 1)
            a = [bi * ei ** (2 * p) * abs(vi / ui) ** p for ui, vi, bi, ei in zip(u, v, b, e, strict=True)]
            yield RankOne(outer(u, v), outer(a, b), e, p, (u, v, a, b))


def _balanced_exactly() -> bool:
    """Without rounding: g = 0, the costs symmetric, their sum (Σ√(s_i t_i))²; and `closed_form` is log e."""
    for case in _instances():
        c = exact_costs(scaled(case.J, case.e), case.alpha, case.p)
        _, v, _, b = case.parts
        # √(s t) with s = t·e^{2p}
        roots = [bi * abs(vi) ** case.p * ei**case.p for vi, bi, ei in zip(v, b, case.e, strict=True)]
        h = closed_form(*(np.array(x, dtype=float) for x in case.parts), p=case.p, log=np.log)
        if (
            any(exact_imbalances(c))
            or c != [list(column) for column in zip(*c, strict=True)]
            or total(c) != sum(roots, Fraction(0)) ** 2
            or not np.allclose(h, np.log(np.array(case.e, dtype=float)), atol=1e-12)
        ):
            return False
    return True


def _random(n: int, seed: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)
    u, v = (rng.uniform(0.3, 2.0, n) * rng.choice([-1.0, 1.0], n) for _ in range(2))
    return u, v, rng.uniform(0.3, 2.0, n), rng.uniform(0.3, 2.0, n)


def _package_agrees() -> bool:
    """Stochastic balancing of α^{1/p}∘J ends at −h, in the package's sign, but for a constant."""
    for n, p in ((4, 1.0), (6, 2.0), (5, 1.5)):
        u, v, a, b = _random(n, n)
        J = np.outer(u, v) * np.outer(a, b) ** (1 / p)
        h = -stochastic(BalanceProblem.build(recurrent(J.tolist()), f"lp:{p}"), seed=2).h
        expected = closed_form(u, v, a, b, p, np.log)
        if not np.allclose(h - h.mean(), expected - expected.mean(), atol=1e-9):
            return False
    return True


def _flow_agrees() -> bool:
    """The rule, integrated on J with these coefficients, ends at the closed form."""
    u, v, a, b = _random(5, 9)
    J, alpha, p = np.outer(u, v), np.outer(a, b), 1.5
    flow = integrate(J, alpha, p, 1.0, np.array([0.0, 10.0]))
    h = closed_form(u, v, a, b, p, np.log)
    moved = J * np.exp(h[None, :] - h[:, None])
    started = float(np.max(np.abs(imbalances(alpha * np.abs(J) ** p))))
    return started > 0.1 and np.allclose(flow.J[-1], moved, rtol=1e-6)


def around(c: Exact) -> tuple[Fraction, Fraction]:
    """The products of costs around 1 ← 2 ← 3 ← 1 and the other way: equal where a rescaling is symmetric."""
    return c[0][1] * c[1][2] * c[2][0], c[1][0] * c[2][1] * c[0][2]


def _pair(e: Sequence[Fraction]) -> list[Fraction]:
    """g of u = (4, 1), v = (1, 1), α = 1, p = 1, rescaled by e."""
    J = [[Fraction(4), Fraction(4)], [Fraction(1), Fraction(1)]]
    return exact_imbalances(exact_costs(scaled(J, e), ones(2), 1))


@claim(
    Claim(
        "S.rank-one",
        "Closed form for rank one",
        f"{STOCK}, the authors' code",
        "For J and α of rank one the balanced state has a closed form.",
        r"For $J_{ij}=u_iv_j$ and $\alpha_{ij}=a_ib_j$ the balanced scales are "
        r"$h_i=\frac{1}{2p}\log\frac{a_i}{b_i}+\frac12\log\frac{|u_i|}{|v_i|}$, up to one common constant, "
        r"in the paper's sign $J_{ij}\to e^{-h_i}J_{ij}e^{h_j}$. The balanced costs are symmetric, "
        r"$\sqrt{s_it_is_jt_j}$ with $s_i=a_i|u_i|^p$ and $t_i=b_i|v_i|^p$, and the least cost is "
        r"$(\sum\sqrt{s_it_i})^2$.",
        (
            "no entry of u, v is 0; a, b > 0",
            "p > 0, one for all synapses; recurrent weights alone",
            "that there is no other: S.laplacian, as every two units are connected",
        ),
        Verdict.proved,
        ("S.gradient-flow", "S.laplacian", "S.osborne"),
    )
)
def rank_one() -> Findings:
    """c_ij = s_i t_j, and e^{ph_i} = √(s_i/t_i) makes it symmetric."""
    one, two, half = Fraction(1), Fraction(2), Fraction(1, 2)
    bent = ones(3)
    bent[0][1] = Fraction(8)
    no_rank = around(exact_costs(bent, ones(3), 1))
    no_rank_alpha = around(exact_costs(ones(3), bent, 1))
    return Findings(
        Printed(Verdict.proved, "holds where no entry is 0; the sign of h is that of the paper's transform"),
        (
            timed(
                "sympy",
                "any number of units, u, v, a, b, p symbolic: the costs at h are √(s_i t_i s_j t_j), the "
                "same for i ← j and j ← i, so each row sums to its column; their sum is a square",
                Verdict.proved,
                _is_symmetric,
            ),
            timed(
                "exact",
                "15 rational instances of 1 to 6 units with signs, p = 1, 2, 3: g = 0, symmetric costs and "
                "their sum, without rounding",
                Verdict.certified,
                _balanced_exactly,
            ),
            timed(
                "sampled",
                "stochastic balancing ends there (1e-9): 4 to 6 units, p = 1, 1.5, 2, α folded into J",
                Verdict.sampled,
                _package_agrees,
            ),
            timed(
                "sampled",
                "the rule integrated on J with coefficients α ends there: 5 units, p = 1.5",
                Verdict.sampled,
                _flow_agrees,
            ),
        ),
        (
            twin(
                "no entry is 0",
                certificate(np.array([[0.0, 1.0], [0.0, 1.0]])) is False,
                "u = (1, 1), v = (0, 1): the synapse 1 ← 2 lies on no cycle, and its cost falls for ever",
            ),
            twin(
                "the sign of h",
                _pair([two, one]) == [0, 0] and _pair([half, one]) == [Fraction(15, 2), Fraction(-15, 2)],
                "u = (4, 1), v = (1, 1), α = 1, p = 1: e^h = (2, 1) balances, e^h = (1/2, 1) leaves g = "
                "(15/2, −15/2)",
            ),
            twin(
                "J of rank one",
                no_rank == (8, 1),
                "J all 1 but J₁₂ = 8, α = 1: around 1, 2, 3 the costs multiply to 8 one way and 1 the other, "
                "whatever h; so no rescaling has symmetric costs",
            ),
            twin(
                "α of rank one",
                no_rank_alpha == (8, 1),
                "J all 1, α all 1 but α₁₂ = 8: the same",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (rank_one,)
