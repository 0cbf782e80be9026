"""The checks of the records on [B], seen failing: a wrong formula, a wrong instance, a missing tool."""

import numpy as np
import pytest
import sympy

from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.symbolic import smt
from balproof.theorems import (
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


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_formula_is_refuted(name, monkeypatch):
    claim, module, attribute, wrong = WRONG[name]
    monkeypatch.setattr(module, attribute, wrong)
    found = run_claim(claim)
    assert found.verdict is Verdict.refuted
    assert not found.ok


def test_the_guards_cover_most_records():
    assert len({claim.claim.id for claim, *_ in WRONG.values()}) >= 12


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
    h = newton(problem).h
    assert enclose_balanced(problem, h)
    moved = h + shift * np.eye(len(h))[0]
    assert not enclose_balanced(problem, moved)


def test_krawczyk_knows_that_a_drifting_scale_has_no_one_state():
    problem = BalanceProblem.build(b_convex.recurrent([[0, 2], [8, 0]]), "l2")
    with pytest.raises((np.linalg.LinAlgError, AssertionError)):
        assert enclose_balanced(problem, newton(problem).h)


def test_an_exact_gradient_notices_a_scale_that_is_none():
    network = layered([[[1]], [[3]]], "relu", {0: [1]})
    products = b_scaling.weighted_gradients(network, b_scaling.formula(network, [{"x": [1]}])[0])
    products["b0"] = [sympy.Integer(0)]
    assert any(x != 0 for x in b_scaling._adjoint(network, products))
