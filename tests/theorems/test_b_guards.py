"""The checks of the records on [B], seen failing: a wrong formula, a wrong instance, a missing tool."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sympy

from balproof.balance.direct import direct
from balproof.balance.existence import Existence
from balproof.balance.problem import BalanceProblem
from balproof.network import rules
from balproof.symbolic import smt
from balproof.theorems import (
    CLAIMS,
    b_activations,
    b_convergence,
    b_convex,
    b_general_cost,
    b_lemmas,
    b_optimal_scale,
    b_order,
    b_paths,
    b_scaling,
)
from balproof.theorems.instances import enclose_balanced, layered, random_layered
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict

pytestmark = pytest.mark.slow  # each runs a record with a fault planted: half a minute in all

stationarity = b_general_cost.stationarity

WRONG = {
    "BiLU with the sign of its left half lost": (
        b_activations.homogeneous_iff_bilu,
        b_activations,
        "bilu",
        lambda x, a, b: -a * x if x.is_negative else b * x,
    ),
    "BiPU of degree c + 1": (
        b_activations.power_iff_bipu,
        b_activations,
        "bipu",
        lambda x, C, D, c, z: z if x.is_zero else C * x ** (c + 1) if x.is_positive else D * (-x) ** (c + 1),
    ),
    "BiPU as printed, D·x^c on the left": (
        b_activations.power_iff_bipu,
        b_activations,
        "bipu",
        lambda x, C, D, c, z: z if x.is_zero else C * x**c if x.is_positive else D * x**c,
    ),
    "outgoing weights multiplied": (
        b_scaling.scaling_preserves,
        b_scaling,
        "scaled_weight",
        lambda w, into, out_of, c: w * into * out_of**c,
    ),
    "outgoing weights divided by λ at any degree": (
        b_scaling.scaling_preserves,
        b_scaling,
        "scaled_weight",
        lambda w, into, out_of, c: w * into / out_of,
    ),
    "Euler's identity without the degree": (
        b_scaling.gradient_identity,
        b_scaling,
        "euler_degree",
        lambda c: sympy.S.One,
    ),
    "λ* with the exponent of degree 1": (
        b_optimal_scale.optimal_scale_lp,
        b_optimal_scale,
        "optimal",
        lambda A, B, p, c: (c * B / A) ** (1 / (2 * p)),
    ),
    "λ* upside down": (
        b_optimal_scale.optimal_scale_lp,
        b_optimal_scale,
        "optimal",
        lambda A, B, p, c: (A / (c * B)) ** (1 / (p * (1 + c))),
    ),
    "λ* without c": (
        b_optimal_scale.optimal_scale_lp,
        b_optimal_scale,
        "optimal",
        lambda A, B, p, c: (B / A) ** (1 / (p * (1 + c))),
    ),
    "gain (√A + √B)²": (
        b_optimal_scale.cost_reduction,
        b_optimal_scale,
        "gain",
        lambda A, B, c: (sympy.sqrt(A) + sympy.sqrt(B)) ** 2,
    ),
    "gain of degree 1 at every degree": (
        b_optimal_scale.cost_reduction,
        b_optimal_scale,
        "gain",
        lambda A, B, c: (sympy.sqrt(A) - sympy.sqrt(B)) ** 2,
    ),
    "stationarity without c": (
        b_general_cost.optimal_scale_general,
        b_general_cost,
        "stationarity",
        lambda s, t, c: stationarity(s, t, sympy.S.One),
    ),
    "balance of powers without the outgoing power": (
        b_general_cost.balance_equation,
        b_general_cost,
        "balance_of_powers",
        lambda p, q, c, A, B: p * A - c * p * B,
    ),
    "an affine edge cost": (
        b_convex.strictly_convex,
        b_convex,
        "edge_cost",
        lambda L: sympy.Symbol("a", positive=True) * (1 + sympy.Symbol("p", positive=True) * L),
    ),
    "weak connection taken for strong": (
        b_convex.existence_of_minimum,
        b_convex,
        "attained_by_components",
        lambda arcs: True,
    ),
    "weights on the visible node left out": (
        b_convex.existence_of_minimum,
        b_convex,
        "form",
        lambda arc: () if 0 in arc else ((arc[1], 1), (arc[0], -1)),
    ),
    "a parabola without its denominator": (
        b_convergence.stochastic_balancing,
        b_convergence,
        "parabola",
        lambda u, size: u**2 / 2,
    ),
    "a cost that grows half as fast": (
        b_convergence.stochastic_balancing,
        b_convergence,
        "omega",
        lambda a, L: a * sympy.exp(sympy.Symbol("p", positive=True) * L / 2),
    ),
    "a step that is the whole ratio": (
        b_convergence.stochastic_balancing,
        b_convergence,
        "optimal",
        lambda A, B, p, c: (B / A) ** (1 / p),
    ),
    "one unit left unvisited": (
        b_convergence.stochastic_balancing,
        b_convergence,
        "ends",
        lambda problem: [b_convergence.stochastic(problem, [0] * 40).h],
    ),
    "one constraint fewer": (
        b_paths.path_cover,
        b_paths,
        "needed",
        lambda A: len(A) - b_paths.rank(A) - 1,
    ),
    "a share of 2θ": (b_order.favorable, b_order, "share", lambda theta: 2 * theta),
    "steps that do not balance": (
        b_order.balancings_do_not_commute,
        b_order,
        "optimal",
        lambda A, B, p, c: (B / A) ** (1 / p),
    ),
}


RIGHT = {
    name: getattr(module, name)
    for module, name in (
        (b_convergence, "stochastic"),
        (b_order, "relaxed"),
        (b_paths, "paths"),
        (b_scaling, "evaluate"),
        (b_scaling, "weighted_gradients"),
    )
}


def doubled_first_tensor(manifold, h):
    name = manifold.network.parameters[0].name
    return manifold.network.with_parameters({name: 2 * manifold.network.numbers(name)})


def decayed(network, x):
    """The outputs and Σw² of the first tensor: a function that no scaling keeps."""
    extra = np.sum(network.numbers(network.parameters[0].name) ** 2)
    return {name: value + extra for name, value in RIGHT["evaluate"](network, x).items()}


def half_gradients(network, output):
    products = RIGHT["weighted_gradients"](network, output)
    name = next(iter(products))
    return products | {name: [x / 2 for x in products[name]]}


PLANTED = {
    ("B.homogeneous-iff-bilu", "sampled"): (b_activations, "EXAMPLES", (("Max(x,0)**2", 1),)),
    ("B.power-iff-bipu", "sampled"): (b_activations, "EXAMPLES", (("tanh(x)", 1),)),
    ("B.scaling-preserves", "exact"): (b_scaling, "_shifted", doubled_first_tensor),
    ("B.scaling-preserves", "sampled"): (
        rules,
        "RULES",
        {
            **rules.RULES,
            "activation": replace(rules.RULES["activation"], imply=rules.RULES["identity"].imply),
        },
    ),
    ("B.optimal-scale-general", "interval"): (
        b_general_cost,
        "INSTANCES",
        (("log(1 + log(1 + abs(w)))", (20,), (20,), 1),),
    ),
    ("B.balance-equation", "sampled"): (
        b_general_cost,
        "solve",
        lambda network, regularizer: SimpleNamespace(network=network),
    ),
    ("B.gradient-identity", "exact"): (b_scaling, "weighted_gradients", half_gradients),
    ("B.gradient-identity", "sampled"): (b_scaling, "evaluate", decayed),
    ("B.strictly-convex", "interval"): (b_convex, "direct", lambda problem, h: SimpleNamespace(h=h)),
    ("B.existence", "interval"): (
        b_convex,
        "existence",
        lambda problem: Existence(True, Verdict.certified, "said so"),
    ),
    ("B.stochastic-balancing", "exact"): (
        b_convergence,
        "stochastic",
        lambda problem, *schedule, **how: RIGHT["stochastic"](problem, *schedule, **how, sweeps=2),
    ),
    ("B.stochastic-balancing", "convex"): (
        b_convergence,
        "solve_convex",
        lambda problem: SimpleNamespace(
            h=np.zeros(problem.count), value=problem.cost(np.zeros(problem.count))
        ),
    ),
    ("B.stochastic-balancing", "sampled"): (b_convergence, "evaluate", decayed),
    ("B.path-cover", "z3"): (
        b_paths,
        "paths",
        lambda sizes: [(*row[1:], row[0]) for row in RIGHT["paths"](sizes)],
    ),
    ("B.favorable", "interval"): (
        b_order,
        "relaxed",
        lambda problem, thetas, seed, sweeps: RIGHT["relaxed"](problem, thetas, seed, 1),
    ),
}
"""What no wrong formula reaches: evidence (claim, method) that a fault in an instance or a tool refutes."""


@pytest.mark.parametrize("claim, method", PLANTED)
def test_a_planted_fault_is_refuted(claim, method, monkeypatch):
    monkeypatch.setattr(*PLANTED[claim, method])
    found = run_claim(next(c for c in CLAIMS if c.claim.id == claim))
    assert Verdict.refuted in [e.verdict for e in found.findings.evidence if e.method == method]
    assert not found.ok


QUERIES = {
    f"{function.__module__.rpartition('.')[2]}.{function.__name__}": function
    for function in (
        b_activations._bilu_queries,
        b_activations._bipu_queries,
        b_convergence._bound_queries,
        b_convex._exclude_queries,
        b_convex._midpoint_queries,
        b_general_cost._equal_cost_queries,
        b_general_cost._one_root_queries,
        b_optimal_scale._queries,
    )
}


@pytest.mark.parametrize("name", QUERIES)
def test_no_lemma_of_z3_holds_for_want_of_instances(name):
    """Each condition is needed: without it z3 finds numbers. So the hypotheses are consistent."""
    queries = [q for q in QUERIES[name]() if len(q) > 1]
    assert queries
    for query in queries:
        for k in range(len(query)):
            assert smt.satisfiable([*query[:k], *query[k + 1 :]]).status == "sat", (query, k)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_formula_is_refuted(name, monkeypatch):
    claim, module, attribute, wrong = WRONG[name]
    monkeypatch.setattr(module, attribute, wrong)
    found = run_claim(claim)
    assert found.verdict is Verdict.refuted
    assert found.findings.printed.verdict <= Verdict.undecided
    assert not found.ok


SMOOTHED = {
    "for all λ > 0 (λ = 2 only)": (
        b_activations.homogeneous_iff_bilu,
        b_activations,
        "discrete",
        lambda x: 2 * x,
    ),
    "f(0) = C for continuity at c = 0": (
        b_activations.power_iff_bipu,
        b_activations,
        "_one_but_at_zero",
        lambda x: 1,
    ),
    "the bias scales with the incoming weights": (
        b_scaling.scaling_preserves,
        b_scaling,
        "_one_unit",
        lambda w, b, v: abs(w * v),
    ),
    "no weight in common": (
        b_order.balancings_do_not_commute,
        b_order,
        "orders",
        lambda costs, first, second: ((2, 3, 2, 3),) * 2,
    ),
    "the self-loop left out": (
        b_optimal_scale.optimal_scale_lp,
        b_optimal_scale,
        "step",
        lambda problem, logs, columns: np.zeros(1),
    ),
    "A > 0 and B > 0": (b_optimal_scale.cost_reduction, b_optimal_scale, "cost", lambda *_: sympy.S.Zero),
    "g continuous": (b_general_cost.optimal_scale_general, b_general_cost, "jumping", abs),
    "g is C¹ off 0, for the equation": (b_general_cost.optimal_scale_general, b_general_cost, "kinked", abs),
    "one power on both sides, for equal costs": (
        b_general_cost.balance_equation,
        b_general_cost,
        "mixed_optimum",
        lambda: (sympy.S.One, sympy.S.One),
    ),
    "the factor c": (b_scaling.gradient_identity, b_scaling, "_chain_sides", lambda *_: (1, 1, 2)),
    "L, not the multipliers Λ of several units": (
        b_convex.strictly_convex,
        b_convex,
        "multipliers",
        lambda first, second: first**2 + second**2,
    ),
    "a circulation z (only IN, OUT > 0 at each unit)": (
        b_convex.existence_of_minimum,
        b_convex,
        "bridge_decay",
        lambda sweeps: (1.0, 2.0),
    ),
    "one after the other": (
        b_convergence.stochastic_balancing,
        b_convergence,
        "all_at_once",
        lambda costs: (2, 2),
    ),
    "the rank (cover every weight instead)": (b_paths.path_cover, b_paths, "edge_cover", lambda: (6, 6)),
    "θ ≥ δ": (b_order.favorable, b_order, "shrinking_limit", lambda: (sympy.Integer(4), sympy.Integer(4))),
}
"""A twin of each record, by the hypothesis dropped, with its witness replaced by one that does not fail."""


@pytest.mark.parametrize("dropped", SMOOTHED)
def test_a_witness_that_does_not_fail_is_none(dropped, monkeypatch):
    claim, module, attribute, harmless = SMOOTHED[dropped]
    monkeypatch.setattr(module, attribute, harmless)
    found = run_claim(claim)
    assert {t.dropped: t.verdict for t in found.findings.twins}[dropped] is Verdict.undecided
    assert not found.ok


@pytest.mark.parametrize("guards", [WRONG, SMOOTHED], ids=["evidence", "twins"])
def test_every_record_has_a_guard(guards):
    guarded = {claim.claim.id for claim, *_ in guards.values()}
    modules = {module for _, module, *_ in WRONG.values()}
    assert guarded == {c.claim.id for module in modules for c in module.CLAIMS}


def test_a_witness_that_does_not_fail_leaves_the_twin_undecided(monkeypatch):
    rows, _ = b_convex.bridge_direction()
    monkeypatch.setattr(b_convex, "bridge_direction", lambda: (rows, {3: 1, 4: 1}))  # raises the bridge
    found = run_claim(b_convex.existence_of_minimum)
    assert found.findings.twins[0].verdict is Verdict.undecided
    assert found.findings.printed.verdict is Verdict.undecided
    assert not found.ok


def test_a_counterexample_that_balances_is_none(monkeypatch):
    # With λ_t whose product is 4 the limit is balanced.
    monkeypatch.setattr(b_order, "shrinking_limit", lambda: (sympy.Integer(4), sympy.Integer(4)))
    assert not b_order.shrinking_fails()


def test_a_bracket_without_the_minimum_is_noticed(monkeypatch):
    low, high = b_general_cost.BRACKET
    monkeypatch.setattr(b_general_cost, "BRACKET", (low - 1, high - 1))
    assert not b_general_cost.slow_counterexample()


def test_a_convex_cost_is_no_counterexample(monkeypatch):
    w = sympy.Symbol("w", positive=True)
    monkeypatch.setattr(b_general_cost, "slow", lambda: w**2)
    assert not b_general_cost.slow_counterexample()


def test_without_z3_its_evidence_is_undecided(monkeypatch):
    monkeypatch.setattr(smt, "satisfiable", lambda *_: smt.Answer("undecided", "z3 is not installed"))
    found = run_claim(b_optimal_scale.cost_reduction)
    by_z3 = [e for e in found.findings.evidence if e.method == "z3"]
    assert [e.verdict for e in by_z3] == [Verdict.undecided]
    assert "z3 is not installed" in by_z3[0].what
    assert found.ok  # proved by SymPy alone


def test_positive_beyond_needs_the_right_order():
    x = sympy.Symbol("x", positive=True)
    assert b_lemmas.positive_beyond(x - sympy.sin(x) + x**3, x, 2) is False  # the sign does not show
    assert not b_lemmas.positive_beyond(sympy.exp(x) - 2 - x, x, 2)  # negative near 0


@pytest.mark.parametrize("shift", [1e-9, -1e-6, 0.1])
def test_krawczyk_refuses_a_state_that_is_off(shift):
    problem = BalanceProblem.build(random_layered((2, 3, 2), 0), "l2")
    h = direct(problem).h
    assert enclose_balanced(problem, h)
    moved = h + shift * np.eye(len(h))[0]
    assert not enclose_balanced(problem, moved)


def test_krawczyk_knows_that_a_drifting_scale_has_no_one_state():
    problem = BalanceProblem.build(b_convex.recurrent([[0, 2], [8, 0]]), "l2")
    with pytest.raises((np.linalg.LinAlgError, AssertionError)):
        assert enclose_balanced(problem, direct(problem).h)


def test_an_exact_gradient_notices_a_scale_that_is_none():
    network = layered([[[1]], [[3]]], "relu", {0: [1]})
    products = b_scaling.weighted_gradients(network, b_scaling.formula(network, [{"x": [1]}])[0])
    products["b0"] = [sympy.Integer(0)]
    assert any(x != 0 for x in b_scaling._adjoint(network, products))
