"""The claim on path norms: values by hand, and each check seen failing."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from balproof.network.manifold import infer
from balproof.theorems import graphs, r_path_norm
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def methods(verdict=Verdict.refuted):
    return {e.method for e in run_claim(r_path_norm.path_norms).findings.evidence if e.verdict is verdict}


def test_proved_and_refuted_as_printed():
    record = run_claim(r_path_norm.path_norms)
    assert record.ok and record.verdict is Verdict.proved
    assert record.findings.printed.verdict is Verdict.refuted


def test_the_counterexample_is_a_file():
    network = counterexample("two_outputs")
    assert infer(network).count == 1


def test_path_sums_path_by_path():
    graph = graphs.dense((2, 3, 2, 2))
    costs = {e: abs(v) for e, v in graphs.random_weights(graph, np.random.default_rng(3)).items()}
    total = sum(
        costs[f"u0_{a}", f"u1_{b}"] * costs[f"u1_{b}", f"u2_{c}"] * costs[f"u2_{c}", f"u3_{d}"]
        for a, b, c, d in product(range(2), range(3), range(2), range(2))
    )
    assert r_path_norm.path_norm(graph, costs) == total


def test_matrices_give_the_path_norm():
    """|W₃||W₂||W₁|1, by NumPy."""
    graph = graphs.dense((2, 3, 1))
    costs = dict(zip(graph.edges, range(1, 10), strict=True))
    first, second = np.arange(1, 7).reshape(3, 2), np.arange(7, 10)
    assert r_path_norm.path_norm(graph, costs) == (second @ first).sum()
    assert r_path_norm.largest(graph, costs) == 24


@pytest.mark.parametrize(
    "name, wrong, seen",
    [
        ("best_scales", lambda g, c, t: {v: 1 / s for v, s in r_path_norm.path_sums(g, c).items()}, "exact"),
        ("rescaled", lambda g, c, s: {(u, v): x * s.get(v, 1) for (u, v), x in c.items()}, "exact"),
        ("least_by_search", lambda g, c: 0.0, "convex"),
        ("_kept_of_any_size", lambda: False, "sympy"),
        ("_net_queries", lambda: [[r_path_norm.sympy.Symbol("a", positive=True) < 1]], "z3"),
    ],
)
@pytest.mark.slow
def test_faults_are_seen(name, wrong, seen, monkeypatch):
    monkeypatch.setattr(r_path_norm, name, wrong)
    assert seen in methods()


def test_queries_need_what_they_assume():
    """Without γ_u ≤ b the bound is not there, and z3 finds numbers."""
    from balproof.symbolic import smt

    queries = r_path_norm._bound_queries()
    assert all(smt.satisfiable(q, 6.0).status == "unsat" for q in queries)
    gamma, b = (r_path_norm.sympy.Symbol(n, real=True) for n in ("gamma", "b"))
    loose = [q for q in queries[0] if q != (gamma <= b)]
    assert len(loose) == len(queries[0]) - 1
    assert smt.satisfiable(loose, 6.0).status == "sat"


def test_a_unit_split_in_two_keeps_the_path_norm():
    """u of x→u→y as two units with half the outgoing weight each, p = 1; and in another order."""
    plain, split = graphs.dense((1, 1, 1)), graphs.dense((1, 2, 1))
    one = dict(zip(plain.edges, (Fraction(4), Fraction(3)), strict=True))
    two = dict(zip(split.edges, (Fraction(4), Fraction(4), Fraction(3, 2), Fraction(3, 2)), strict=True))
    assert r_path_norm.path_norm(plain, one) == r_path_norm.path_norm(split, two) == 12
    least = [r_path_norm.least_by_search(*case) for case in ((plain, one), (split, two))]
    assert least == pytest.approx([np.log(12) / 2] * 2, abs=1e-7)
