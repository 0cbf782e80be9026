"""[S]: what the rule predicts for the other synapses of two neurons, once the one between them is changed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy
from sympy.concrete.delta import deltasummation

from balproof.balance.descent import stochastic
from balproof.balance.problem import BalanceProblem
from balproof.theorems.b_lemmas import STOCK, by_z3, positive_beyond, twin, vanishes
from balproof.theorems.instances import recurrent
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.theorems.s_convergence import circulation
from balproof.theorems.s_flow import Exact, euler, exact_imbalances, integrate, ones
from balproof.verdict import Verdict, timed

Array = np.ndarray


def expected(receiver: int, sender: int, i: int, j: int) -> int:
    """τJ̇/J of a synapse in units of δ, after c_ij rose by δ at balance.

    >>> [expected(*synapse, 1, 0) for synapse in ((1, 0), (1, 2), (2, 0), (2, 1), (0, 2), (0, 1), (2, 3))]
    [-2, -1, -1, 1, 1, 2, 0]
    """
    if receiver == sender:
        return 0
    if (receiver, sender) in ((i, j), (j, i)):
        return -2 if receiver == i else 2
    if receiver == i or sender == j:
        return -1
    return 1 if receiver == j or sender == i else 0


def changed(c: Exact, i: int, j: int, delta: Fraction) -> Exact:
    """The costs with c_ij raised by δ."""
    return [[v + delta * (k == i and m == j) for m, v in enumerate(row)] for k, row in enumerate(c)]


# --- any number of units ------------------------------------------------------------------------------


def _imbalances_of_any_size() -> bool:
    """c_ab → c_ab + δ·δ_ai·δ_bj adds δ(δ_ki − δ_kj) to g_k = Σ_b c_kb − Σ_a c_ak, with N a symbol; hence the
    table, from τJ̇/J = g_sender − g_receiver."""
    N = sympy.Symbol("N", integer=True, positive=True)
    a, b, i, j, k = sympy.symbols("a b i j k", integer=True)
    d = sympy.Symbol("delta", positive=True)
    inside = {(v >= 0) & (v <= N - 1): sympy.true for v in (i, j, k)}
    kronecker = sympy.KroneckerDelta
    rise = d * kronecker(a, i) * kronecker(b, j)
    received = deltasummation(rise.subs(a, k), (b, 0, N - 1)).subs(inside)
    sent = deltasummation(rise.subs(b, k), (a, 0, N - 1)).subs(inside)
    g = received - sent
    if not vanishes(g - d * (kronecker(k, i) - kronecker(k, j))):
        return False
    # Two further units stand for all others: 0 = j, 1 = i, 2 and 3.
    at = [g.subs({i: 1, j: 0, k: unit}) for unit in range(4)]
    return all(at[y] - at[x] == expected(x, y, 1, 0) * d for x in range(4) for y in range(4))


def _queries() -> list[list[sympy.Basic]]:
    """At a unit k ≠ i of largest h, incoming costs do not rise and outgoing ones do not fall; it is balanced
    before and after, so none of them changed. And J_ij keeps a part of its gain: else unit i would receive no
    more than before and send more."""
    before, after, sent, sends = sympy.symbols("before after sent sends", positive=True)
    c, end, rest, rest_end = sympy.symbols("c end rest rest_end", nonnegative=True)
    same = [sympy.Eq(before, sent), sympy.Eq(after, sends)]
    return [
        [*same, after <= before, sends >= sent, after < before],
        [*same, after <= before, sends >= sent, sends > sent],
        [
            sympy.Eq(c + rest, sent),
            sympy.Eq(end + rest_end, sends),
            rest_end <= rest,
            sends > sent,
            end <= c,
        ],
    ]


def _differences_show() -> bool:
    """e^{−x} < 1 < e^{x} for x > 0: a cost between units of unequal h changes."""
    x = sympy.Symbol("x", positive=True)
    return positive_beyond(1 - sympy.exp(-x), x, 1) and positive_beyond(sympy.exp(x) - 1, x, 1)


# --- instances ----------------------------------------------------------------------------------------


def _all_synapses() -> bool:
    """Every synapse of 5 balanced networks raised by a third, and lowered by one: the first step of the rule
    multiplies every other one by 1 + dt·δ·(its place in the table), exactly; p = 1."""
    dt = Fraction(1, 1000)
    for n in (2, 3, 4, 5, 6):
        c = circulation(n, 7 * n)
        for k in range(n):
            c[k][k] += 1
        signs = np.random.default_rng(n).choice([-1, 1], (n, n))
        for i in range(n):
            for j in range(n):
                if not c[i][j]:
                    continue
                for delta in (c[i][j] / 3, -c[i][j] / 3):
                    now = changed(c, i, j, delta)
                    J = [[v * int(signs[x, y]) for y, v in enumerate(row)] for x, row in enumerate(now)]
                    after = euler(J, ones(n), 1, dt)
                    if any(
                        after[x][y] != J[x][y] * (1 + dt * delta * (expected(x, y, i, j) if i != j else 0))
                        for x in range(n)
                        for y in range(n)
                    ):
                        return False
    return True


def _ends_alike() -> bool:
    """Every synapse of two networks raised by half and balanced anew: i alone has the largest h, j alone the
    least, in the paper's sign; c_ij ends between its two values."""
    for n, p in ((4, 1.0), (5, 2.0)):
        c = np.array(circulation(n, 3 * n), dtype=float)
        for i, j in np.argwhere(c > 0):
            raised = c.copy()
            raised[i, j] *= 1.5
            h = -stochastic(
                BalanceProblem.build(recurrent((raised ** (1 / p)).tolist()), f"lp:{p}"), seed=1
            ).h
            others = [k for k in range(n) if k not in (i, j)]
            between = h[others]
            end = raised[i, j] * np.exp(p * (h[j] - h[i]))
            if not (
                h[i] > between.max() + 1e-6 and h[j] < between.min() - 1e-6 and c[i, j] < end < raised[i, j]
            ):
                return False
    return True


def _flow_agrees() -> bool:
    """The rule, integrated after one synapse was raised, p = 2: at first and at last each synapse of the two
    units has moved as the table says."""
    n, i, j = 5, 1, 0
    c = np.array(circulation(n, 15), dtype=float)
    c[i, j] += 1.5
    flow = integrate(np.sqrt(c), np.ones((n, n)), 2.0, 1.0, np.array([0.0, 1e-4, 6.0]))
    for x, y in np.argwhere(c > 0):
        place = expected(int(x), int(y), i, j)
        first, last = (flow.J[k, x, y] / flow.J[0, x, y] - 1 for k in (1, 2))
        if place and not (np.sign(first) == np.sign(last) == np.sign(place)):
            return False
    return True


# --- what fails ---------------------------------------------------------------------------------------


def _unbalanced_partner() -> tuple[list[Fraction], list[Fraction]]:
    """c₁₂ raised from 1 to 2 beside c₁₃ = 1 and c₃₂ = 5: g before and after."""
    before = [[Fraction(v) for v in row] for row in ((0, 1, 1), (0, 0, 0), (0, 5, 0))]
    return exact_imbalances(before), exact_imbalances(changed(before, 0, 1, Fraction(1)))


def _weight_instead() -> tuple[Fraction, Fraction]:
    """J = (0 −1; 1 0), p = 1, J₁₂ raised to −1/2: the change of J₁₂, and of |J₂₁|, in one step of 1/10."""
    J = [[Fraction(0), Fraction(-1, 2)], [Fraction(1), Fraction(0)]]
    after = euler(J, ones(2), 1, Fraction(1, 10))
    return abs(after[0][1]) - abs(J[0][1]), abs(after[1][0]) - abs(J[1][0])


def _loop() -> bool:
    """A self-loop doubled leaves g = 0."""
    c = [[Fraction(1), Fraction(2)], [Fraction(2), Fraction(0)]]
    return exact_imbalances(changed(c, 0, 0, Fraction(1))) == [0, 0]


def _ring() -> tuple[list[Fraction], list[Fraction]]:
    """1 → 2 → 3 → 4 → 1 with costs 1, c₂₁ raised to 16: the costs at e^h = (1, 8, 4, 2), and g at first."""
    start = [Fraction(16), Fraction(1), Fraction(1), Fraction(1)]  # c₂₁, c₃₂, c₄₃, c₁₄
    c = [[Fraction(0)] * 4 for _ in range(4)]
    for k, v in enumerate(start):
        c[(k + 1) % 4][k] = v
    h_factor = [Fraction(1), Fraction(8), Fraction(4), Fraction(2)]  # e^h, in the paper's sign
    end = [start[k] * h_factor[k] / h_factor[(k + 1) % 4] for k in range(4)]
    return end, exact_imbalances(c)


@claim(
    Claim(
        "S.heterosynaptic",
        "What the rule predicts for plasticity",
        f"{STOCK}, Discussion",
        "The rule predicts heterosynaptic changes: after one synapse is potentiated, the others of the two "
        "neurons change in definite directions.",
        r"$\dot J_{ij}$ has the sign of $(g_j-g_i)J_{ij}$. Let $J$ be balanced and $c_{ij}$, $i\ne j$, "
        r"raised by $\delta>0$. Then $g_i=\delta$, $g_j=-\delta$, all others 0, and $\tau\dot J/J$ is "
        r"$-2\delta$ for $J_{ij}$ itself, $-\delta$ for the other incoming synapses of $i$ and outgoing "
        r"ones of $j$, $+\delta$ for the outgoing synapses of $i$ and incoming ones of $j$, $+2\delta$ for "
        r"$J_{ji}$, 0 elsewhere. The rule ends alike: $h_i$ is alone the largest of its component and $h_j$ "
        r"alone the least, so each of these synapses ends on the side where it started to go; $c_{ij}$ "
        r"keeps a part of its gain. For $\delta<0$ all is reversed.",
        (
            "the state before was balanced; the synapse was there",
            "the change is one of the cost, that is, of |J_ij|",
            "the rule ends where S.convergence says",
            "for the end: neighbours of a unit k ≠ i of largest h have its h, so all of its component have",
        ),
        Verdict.proved,
        ("S.gradient-flow", "S.convergence"),
    )
)
def heterosynaptic() -> Findings:
    """g_j − g_i decides each sign; at the end a maximum principle for h does."""
    calm, upset = _unbalanced_partner()
    weaker, other = _weight_instead()
    ring, at_first = _ring()
    return Findings(
        Printed(Verdict.proved, "holds where the state before was balanced, at first and in the end"),
        (
            timed(
                "sympy",
                "any number of units, by Kronecker deltas: g_k = δ(δ_ki − δ_kj), and the table for all "
                "pairs of i, j and two further units; e^{−x} < 1 < e^{x}",
                Verdict.proved,
                lambda: _imbalances_of_any_size() and _differences_show(),
            ),
            by_z3(
                "lemma proved: a unit k ≠ i of largest h, balanced before and after, has no synapse that "
                "changed; and unit i cannot be balanced with a c_ij that lost all of its gain",
                Verdict.certified,
                _queries(),
            ),
            timed(
                "exact",
                "every synapse of 5 balanced rational networks of 2 to 6 units, raised and lowered by a "
                "third: the first step of the rule, for every synapse, signs and self-loops included",
                Verdict.certified,
                _all_synapses,
            ),
            timed(
                "sampled",
                "every synapse of two networks raised by half and balanced anew by this package, p = 1, 2: "
                "i alone has the largest h, j alone the least, c_ij ends between its two values",
                Verdict.sampled,
                _ends_alike,
            ),
            timed(
                "sampled",
                "the rule integrated after one synapse was raised, 5 units, p = 2: the signs of the table "
                "at first and at last",
                Verdict.sampled,
                _flow_agrees,
            ),
        ),
        (
            twin(
                "balanced before",
                calm == [2, -6, 4] and upset == [3, -7, 4],
                "c₁₂ = 1, c₁₃ = 1, c₃₂ = 5, c₁₂ raised to 2: g = (3, −7, 4), so J₁₃, incoming at 1, grows",
            ),
            twin(
                "|J_ij| is raised (J_ij instead)",
                weaker > 0 > other,
                "J = (0 −1; 1 0), p = 1, J₁₂ raised to −1/2: |J₁₂| grows and J₂₁ shrinks",
            ),
            twin(
                "i ≠ j",
                _loop(),
                "J = (1 2; 2 0), p = 1, the self-loop doubled: g = 0, nothing changes",
            ),
            twin(
                "at first, for the synapses elsewhere (in the end instead)",
                ring == [2, 2, 2, 2] and at_first == [-15, 15, 0, 0],
                "1 → 2 → 3 → 4 → 1 with costs 1, c₂₁ raised to 16: c₄₃ rests at first, as g₃ = g₄ = 0, and "
                "ends at 2",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (heterosynaptic,)
