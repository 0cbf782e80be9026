"""Where the rule converges and how fast, and each check seen failing."""

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.balance.existence import existence
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.network.manifold import infer
from balproof.theorems import s_convergence as s
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import run_claim
from balproof.theorems.s_flow import exact_imbalances
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_certified_and_refuted_as_printed():
    record = run_claim(s.convergence)
    assert record.ok
    assert record.verdict is Verdict.certified
    assert record.findings.printed.verdict is Verdict.refuted
    assert "counterexamples/single_synapse.json" in record.findings.printed.why
    assert len(record.findings.twins) == 5


def test_the_counterexample_opens():
    network = counterexample("single_synapse")
    assert infer(network).invariants() == 0  # one weight, and the scales of two units reach it
    found = solve(network)
    assert found.status == "unattained"
    assert found.witness


def test_known_limits_are_balanced_and_least():
    """BFGS on Σc_ij x_j/x_i, written out from the start, finds the cost of the limit and nothing below."""
    for case in s.known():
        c = np.abs(case.limit) ** case.p
        assert np.allclose(c.sum(axis=0), c.sum(axis=1))
        start = np.abs(case.start) ** case.p
        found = minimize(
            lambda h, start=start: np.sum(start * np.exp(h[None, :] - h[:, None])), np.zeros(len(c))
        )
        assert found.fun == pytest.approx(c.sum(), rel=1e-8)


def test_every_circulation_is_balanced():
    for n in (2, 5, 8):
        c = s.circulation(n, n)
        assert exact_imbalances(c) == [0] * n
        assert sum(map(sum, c)) > 0
    assert existence(BalanceProblem.build(s.recurrent(np.array(c, dtype=float).tolist()))).attained


def test_two_units_in_numbers():
    """1⇄2 with costs 4 and 1: κ = 2, v(0) = log 2, so tanh(v/2) = 1/3·e^{−8t} for p = τ = 1."""
    t = np.array([0.0, 0.1, 0.3])
    flow = s.integrate(np.array([[0.0, 4.0], [1.0, 0.0]]), np.ones((2, 2)), 1.0, 1.0, t)
    half = np.exp(-8 * t) / 3
    assert np.allclose(flow.J[:, 0, 1], 2 * (1 + half) / (1 - half), rtol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c, receiver, sender: s._P * c * (receiver - sender),
        lambda c, receiver, sender: s._P * c * sender,
    ],
)
def test_another_rule_is_seen(wrong, monkeypatch):
    monkeypatch.setattr(s, "drift", wrong)
    assert not s._imbalance_decays()
    assert not s._closed_forms()


@pytest.mark.slow
def test_a_synapse_that_falls_half_as_fast_is_seen(monkeypatch):
    monkeypatch.setattr(s, "single", lambda c0: c0 / (1 + s._P * c0 * s._T / s._TAU))
    assert not s._closed_forms()
    assert run_claim(s.convergence).findings.printed.verdict is Verdict.undecided


@pytest.mark.slow
def test_a_laplacian_of_one_direction_is_seen(monkeypatch):
    monkeypatch.setattr(s, "both_ways", lambda c: [[2 * v for v in row] for row in c])
    assert ("exact", Verdict.refuted) in verdicts(s.convergence)


def test_a_rate_that_is_off_by_a_tenth_is_seen(monkeypatch):
    right = s.slowest
    monkeypatch.setattr(s, "slowest", lambda c: 1.1 * right(c))
    assert not s._rates_agree()


def test_a_bound_that_is_too_good_is_seen(monkeypatch):
    monkeypatch.setattr(s, "slowest", lambda c: 1e3)
    assert not s._bounds_hold()


def test_a_limit_that_is_not_balanced_is_seen(monkeypatch):
    right = s.known
    monkeypatch.setattr(
        s, "known", lambda: (s.Known(k.start, k.limit + 0.1 * (k.limit != 0), k.p) for k in right())
    )
    assert not s._limits()


def test_a_chain_whose_bridge_is_closed_is_no_twin(monkeypatch):
    closed = s.recurrent([[0, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]])
    monkeypatch.setattr(s, "bridge", lambda: closed)
    assert not s._bridge_decays()[0]


@pytest.mark.slow
def test_a_balanced_start_is_no_counterexample(monkeypatch):
    pair = s.recurrent([[0, 1], [1, 0]])
    monkeypatch.setattr(s, "counterexample", lambda name: pair)
    record = run_claim(s.convergence)
    assert record.findings.printed.verdict is Verdict.undecided


def test_lambda_of_a_renamed_network_is_the_same():
    c = np.array(s.circulation(5, 2), dtype=float)
    order = [3, 0, 4, 1, 2]
    assert s.slowest(c[np.ix_(order, order)]) == pytest.approx(s.slowest(c), rel=1e-12)
    # Two mutually connected units: w = c + cᵀ has the eigenvalues 0 and 2·(c12 + c21).
    assert s.slowest(np.array([[0.0, 3], [1, 0]])) == pytest.approx(8)


def test_a_growth_that_is_not_exponential_is_seen(monkeypatch):
    monkeypatch.setattr(s.sympy, "exp", lambda v: 1 + v)
    assert not s._decay_is_exponential()


@pytest.mark.slow
def test_a_bound_on_costs_without_the_circulation_is_seen(monkeypatch):
    right = s.bound_query
    monkeypatch.setattr(s, "bound_query", lambda: right()[1:])
    assert ("z3", Verdict.refuted) in verdicts(s.convergence)
