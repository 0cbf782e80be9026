"""Claims on schedules, simultaneous steps and tied layers: numbers from elsewhere, each check seen
failing."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy

from balproof.balance.problem import BalanceProblem
from balproof.symbolic import smt
from balproof.theorems import b_schedules, b_tied
from balproof.theorems.instances import layered
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict

ALL, AT_ONCE, TIED = b_schedules.schedules_agree, b_schedules.simultaneous, b_tied.tied_layers


def test_tied_and_free_minimum_on_a_grid():
    s = np.exp(np.linspace(-2, 2, 100_001))
    tied = np.min((1 + 4) * s + (4 + 1) / s)
    free = np.min(s + 4 / s) + np.min(4 * s + 1 / s)
    assert [float(x) for x in b_schedules.tied_pair()] == pytest.approx([tied, free], rel=1e-7)


def test_every_schedule_names_every_unit_in_each_sweep():
    for n in (2, 3, 5):
        for order in b_schedules.schedules(n, 3).values():
            assert len(order) % 3 == 0
            sweep = len(order) // 3
            assert all(set(order[k : k + sweep]) == set(range(n)) for k in range(0, len(order), sweep))


def chain_after(a, b, d, cu, cv, p=(1, 1, 1)):
    """Σ|w|^p of x→u→v→y after both steps at once, each found on a grid; costs a, b, d."""
    t = np.linspace(-20, 20, 400_001)
    u = t[np.argmin(a * np.exp(p[0] * t) + b * np.exp(-p[1] * cu * t))]
    v = t[np.argmin(b * np.exp(p[1] * t) + d * np.exp(-p[2] * cv * t))]
    return a * math.exp(p[0] * u) + b * math.exp(p[1] * (v - cu * u)) + d * math.exp(-p[2] * cv * v)


def test_mixed_degrees_on_a_grid():
    before, after = b_schedules.exact_chain_step(40)
    assert chain_after(1, 2.0**-40, 1, 2, 1) == pytest.approx(float(after), rel=1e-3)
    assert float(after / before) == pytest.approx(32, rel=1e-3)
    assert b_schedules.exact_chain_step(64)[1] > 1000  # without bound
    assert b_schedules.exact_chain_step(4)[1] < 2  # not for every weight


def test_mixed_powers_on_a_grid_and_by_the_package():
    before, after = b_schedules.mixed_powers()
    assert chain_after(1, 2.0**-10, 1, 1, 1, (1, 2, 1)) == pytest.approx(float(after), rel=1e-3)
    problem = BalanceProblem.build(layered([[[1]], [["1/32"]], [[1]]]), ["l1", "W1=l2"])
    assert problem.cost(np.zeros(2)) == pytest.approx(float(before))
    assert problem.cost(b_schedules.simultaneous_step(problem, np.zeros(2))) == pytest.approx(float(after))


def test_without_a_visible_unit_the_costs_swap_for_ever():
    assert b_schedules.two_cycle() == [[4.0, 1.0], [1.0, 4.0], [4.0, 1.0]]


def test_tied_scales_on_a_grid():
    R = [8.0, 1.0, 1.0]
    t = np.exp(np.linspace(-2, 0.5, 1001))
    values = R[0] * t[:, None] + R[1] * t[None, :] / t[:, None] + R[2] / t[None, :]
    i, j = np.unravel_index(np.argmin(values), values.shape)
    scales = [float(x) for x in b_tied.tied_scales([sympy.Integer(int(r)) for r in R], sympy.S.One)]
    assert (t[i], t[j]) == pytest.approx(scales, rel=5e-3)
    assert values.min() == pytest.approx(6, rel=1e-4)


def test_twins_of_tied_layers_on_a_grid():
    t = np.exp(np.linspace(-1, 1.5, 1001))
    least = t + 4 / t**2
    assert t[np.argmin(least)] == pytest.approx(2, rel=3e-3)
    s, u = t[:, None], t[None, :]
    i, j = np.unravel_index(np.argmin(s + 4 * u / s + u + 3 / u), (1001, 1001))
    assert (t[i], t[j]) == pytest.approx((2, 1), rel=5e-3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_permuted_units_have_the_same_tied_optimum(order):
    rows, out = [[1, 2], [3, -1], [2, 2]], [2, -1, 3]
    network = layered([[rows[i] for i in order], [[out[i] for i in order]]])
    found, _ = b_schedules.tied_minimum(BalanceProblem.build(network, "l2"), [0, 0, 0])
    assert found == pytest.approx(2 * math.sqrt(23 * 14), rel=1e-9)


def test_a_unit_split_in_two_has_the_same_tied_and_free_optimum():
    r = math.sqrt(0.5)
    whole, split = layered([[[3]], [[5]]]), layered([[[3 * r], [3 * r]], [[5 * r, 5 * r]]])
    for network, groups in ((whole, [0]), (split, [0, 0])):
        problem = BalanceProblem.build(network, "l2")
        assert b_schedules.tied_minimum(problem, groups)[0] == pytest.approx(30, rel=1e-9)
        h = b_schedules.simultaneous_step(problem, np.zeros(problem.count))
        assert problem.cost(h) == pytest.approx(30, rel=1e-12)


RIGHT = {"step": b_schedules.step}


FAULTS = {
    "a pair that adds its product": (ALL, "sympy", "excess", lambda a, b, c, d: (a * d) ** 2 - (c * b) ** 2),
    "a schedule that forgets a unit": (ALL, "interval", "schedules", lambda n, k: {"": [0] * k}),
    "too few sweeps": (ALL, "interval", "schedules", lambda n, k: {"": list(range(n)) * 2}),
    "a tied query that is false": (
        ALL,
        "z3",
        "_tied_queries",
        lambda: [[sympy.Symbol("a", positive=True) < 1]],
    ),
    "tied over the wrong units": (
        ALL,
        "sampled",
        "tied_minimum",
        lambda problem, groups: (problem.cost(np.zeros(problem.count)), np.ones(problem.count)),
    ),
    "a bound without c": (
        AT_ONCE,
        "sympy",
        "bound",
        lambda s, t, c: (s ** (1 + c) + t ** (-1 - c)) / (1 + c),
    ),
    "a step that is none": (
        AT_ONCE,
        "sampled",
        "step",
        lambda problem, logs, columns: 0 * RIGHT["step"](problem, logs, columns),
    ),
    "that step again": (
        AT_ONCE,
        "interval",
        "step",
        lambda problem, logs, columns: 0 * RIGHT["step"](problem, logs, columns),
    ),
    "a query that holds": (
        AT_ONCE,
        "z3",
        "_at_once_queries",
        lambda: [[sympy.Symbol("a", positive=True) < 1]],
    ),
    "scales of one layer more": (
        TIED,
        "sympy",
        "tied_scales",
        lambda R, p: [(sympy.prod(R) ** sympy.Rational(1, len(R) + 1)) ** (1 / p)] * (len(R) - 1),
    ),
    "the same, exactly": (TIED, "exact", "tied_scales", lambda R, p: [sympy.S.Half] * (len(R) - 1)),
    "the same, by SciPy": (TIED, "sampled", "tied_scales", lambda R, p: [sympy.S.Half] * (len(R) - 1)),
    "a step upside down": (TIED, "sympy", "tied_step", lambda a, b, p: (a / b) ** (1 / (2 * p))),
    "a chain that costs less": (
        TIED,
        "z3",
        "_tied_chain_queries",
        lambda: [[sympy.Symbol("a", positive=True) < 1]],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refuted(fault, monkeypatch):
    claim, method, attribute, wrong = FAULTS[fault]
    monkeypatch.setattr(b_tied if claim is TIED else b_schedules, attribute, wrong)
    found = run_claim(claim)
    assert Verdict.refuted in [e.verdict for e in found.findings.evidence if e.method == method]
    assert not found.ok


HARMLESS = {
    "one unit at a time (tied scales instead)": (ALL, "tied_pair", lambda: (Fraction(8), Fraction(8))),
    "each unit is visited infinitely often (a subset instead)": (ALL, "never_visited", lambda: (True, 1.0)),
    "one degree": (AT_ONCE, "exact_chain_step", lambda m: (Fraction(2), Fraction(2))),
    "a visible unit in each component (that R falls)": (
        AT_ONCE,
        "two_cycle",
        lambda: [[4, 1], [2, 2], [2, 2]],
    ),
    "degree 1": (TIED, "_degree_two_costs", lambda: (1, 1)),
    "a chain of layers": (TIED, "_skip_costs", lambda: (1, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("dropped", HARMLESS)
def test_a_witness_that_does_not_fail_is_none(dropped, monkeypatch):
    claim, attribute, harmless = HARMLESS[dropped]
    monkeypatch.setattr(b_tied if claim is TIED else b_schedules, attribute, harmless)
    found = run_claim(claim)
    assert {t.dropped: t.verdict for t in found.findings.twins}[dropped] is Verdict.undecided
    assert not found.ok


@pytest.mark.parametrize("queries", [b_schedules._at_once_queries, b_tied._tied_chain_queries])
def test_no_lemma_of_z3_holds_for_want_of_instances(queries):
    for query in queries():
        for k in range(len(query)):
            assert smt.satisfiable([*query[:k], *query[k + 1 :]]).status == "sat", (query, k)


@pytest.mark.parametrize("guards", [FAULTS, HARMLESS], ids=["evidence", "twins"])
def test_every_record_has_a_guard(guards):
    assert {claim.claim.id for claim, *_ in guards.values()} == {
        c.claim.id for c in (*b_schedules.CLAIMS, *b_tied.CLAIMS)
    }
