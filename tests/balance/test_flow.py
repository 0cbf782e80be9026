"""The flow in log-scales, against Stock's rule integrated on J and the other methods."""

import numpy as np
import pytest

from balproof.balance.flow import flow
from balproof.balance.newton import newton
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.theorems.campaigns.family import ATTAINED, REGULARIZERS, Instance
from balproof.theorems.s_flow import integrate
from tests.sweeps import spread

CASES = [Instance(a, "relu", r, 3) for a in ATTAINED for r in REGULARIZERS]


@pytest.mark.parametrize("case", spread(CASES, 6), ids=lambda c: c.key)
def test_the_flow_ends_where_newton_does(case):
    problem = case.problem
    found, expected = flow(problem), newton(problem)
    assert found.imbalance <= 1e-12
    assert problem.A @ found.h == pytest.approx(problem.A @ expected.h, abs=1e-11)
    assert np.diff(found.history).max() <= 1e-12 * found.history[0]


@pytest.mark.parametrize(("name", "p"), [("l2", 2.0), ("l1", 1.0), ("lp:1.5", 1.5)])
def test_it_is_stocks_rule(name, p):
    case = Instance("closed", "relu", name, 5)
    J = case.network.numbers("J")
    end = integrate(J, np.ones_like(J), p, 1.0, np.array([0.0, 60.0])).J[-1]
    found = case.manifold.rescale(flow(case.problem).h).numbers("J")
    assert found == pytest.approx(end, rel=1e-8, abs=1e-10)


def test_nothing_to_move():
    case = Instance("unit", "relu", "l2", 1)
    balanced = BalanceProblem.build(case.manifold.rescale(newton(case.problem).h))
    assert flow(balanced).h == pytest.approx(np.zeros(1))


@pytest.mark.parametrize("method", ["flow", "sweeps"])
def test_it_is_a_method_of_solve(method):
    found = solve("tests/data/chain.json", method=method, certify=True)
    assert (found.status, found.method) == ("balanced", method)
    assert found.certificate.gap < 1e-20


def test_without_a_minimum_solve_says_so():
    found = solve("balproof/theorems/counterexamples/single_synapse.json", method="flow")
    assert found.status == "unattained"


def test_a_flow_uphill_is_seen(monkeypatch):
    case = CASES[0]
    gradient = BalanceProblem.gradient
    monkeypatch.setattr(BalanceProblem, "gradient", lambda self, h: -gradient(self, h))
    assert flow(case.problem, steps=50).imbalance > 1e-3
