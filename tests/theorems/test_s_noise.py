"""What balancing does to noise, and each check seen failing."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from balproof.balance.solve import solve
from balproof.network.manifold import infer
from balproof.theorems import s_noise as s
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_proved_and_refuted_as_printed():
    record = run_claim(s.noise)
    assert record.ok
    assert record.verdict is Verdict.proved
    assert record.findings.printed.verdict is Verdict.refuted
    why = record.findings.printed.why
    assert "counterexamples/noise_output.json" in why
    assert "counterexamples/noise_hidden.json" in why
    assert "from 67/16 to 9/2" in why
    assert len(record.findings.twins) == 5


def test_the_counterexamples_open():
    assert infer(counterexample("noise_output")).invariants() == 1
    J = solve(counterexample("noise_output"), "l2").network.numbers("J")
    assert np.allclose(J, [[0, 0.1], [0.1, 0]], atol=1e-9)
    found = solve(counterexample("noise_hidden"), "l2")
    assert found.status == "balanced"
    assert np.allclose(found.network.numbers("J"), [[0, -1, 0.5], [1, 0, -1], [0.5, -1, 0]], atol=1e-9)


@pytest.mark.parametrize("name", ["noise_output", "noise_hidden"])
def test_the_covariance_is_that_of_scipy(name):
    J = counterexample(name).numbers("J")
    ours = s.covariance(s._exact_weights(name))
    expected = solve_continuous_lyapunov(J - np.eye(len(J)), -np.eye(len(J)))
    assert np.allclose(np.array(ours, dtype=float), expected, rtol=1e-12)
    assert np.max(np.linalg.eigvals(J - np.eye(len(J))).real) < 0


def test_variances_of_the_package_and_scipy():
    """Balanced by this package, Lyapunov by SciPy: 4.5 for the state; the output rises from 0.755 to 5.05."""
    J = solve(counterexample("noise_hidden"), "l2").network.numbers("J")
    assert np.trace(solve_continuous_lyapunov(J - np.eye(3), -np.eye(3))) == pytest.approx(4.5)
    _, found = s.read_out()
    assert [float(v) for v in found.output] == pytest.approx([0.755, 5.05], rel=1e-3)
    assert [float(v) for v in found.state] == pytest.approx([1.258, 1.010], rel=1e-3)


def test_an_unstable_network_is_seen():
    assert s.is_stable([[Fraction(1, 2)]])
    assert not s.is_stable([[Fraction(2)]])


def test_renamed_units_are_disturbed_alike():
    case = list(s._cases())[1]
    order = [2, 0, 1]
    net = s.Recurrent(
        [[case.net.J[i][j] for j in order] for i in order],
        [case.net.W_in[i] for i in order],
        [case.net.b[i] for i in order],
        case.net.W_out,
    )
    states = [[x[i] for i in order] for x in case.states]
    sigma = Fraction(1, 100)
    assert s.disturbance(net, states, sigma) == s.disturbance(case.net, case.states, sigma)


def test_a_sum_that_loses_its_sign_is_seen(monkeypatch):
    right = s.deltasummation
    monkeypatch.setattr(s, "deltasummation", lambda term, limits: -right(term, limits))
    assert not s._expectation_of_any_size()


def test_a_function_of_another_degree_is_seen(monkeypatch):
    right = s._F
    monkeypatch.setattr(s, "_F", lambda v: right(v) ** 2)
    assert not s._slope_is_kept()


@pytest.mark.parametrize("name", ["visited", "by_sender", "disturbance"])
def test_another_formula_is_seen(name, monkeypatch):
    wrong = {
        "visited": lambda states: [Fraction(1)] * len(states[0]),
        "by_sender": lambda r: [[v] * len(r) for v in r],  # the receiver's
        "disturbance": lambda net, states, sigma: sigma**2 * len(states[0]),
    }
    monkeypatch.setattr(s, name, wrong[name])
    assert ("exact", Verdict.refuted) in verdicts(s.noise)


def test_a_balancing_that_does_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(
        s, "stochastic", lambda problem, seed: type("Still", (), {"h": np.zeros(problem.count)})
    )
    assert not s._simulation()


def test_a_spectrum_that_moves_is_seen(monkeypatch):
    right = s.schur
    monkeypatch.setattr(s, "schur", lambda K, output: right(1.1 * K, output=output))
    assert not s._spectrum_is_a_floor()


def test_without_a_counterexample_nothing_is_refuted(monkeypatch):
    right = s.covariance
    monkeypatch.setattr(s, "covariance", lambda J: right([[v / 10 for v in row] for row in J]))
    record = run_claim(s.noise)
    assert record.findings.printed.verdict is Verdict.undecided
    assert not record.ok


def test_a_network_without_stationary_state_is_refused():
    with pytest.raises(ZeroDivisionError):
        s.covariance([[Fraction(1)]])
