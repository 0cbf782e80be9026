"""Bounds on the optimum against optima that are known by hand, or by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import solve
from balproof.crosscheck import optimality as module
from balproof.crosscheck.audit import check
from balproof.crosscheck.optimality import optimality
from balproof.importers import load
from balproof.verdict import Verdict
from tests.networks import mlp

SPECS = ["l1", "l2", "lp:1.5", "abs(w)+w**2/10"]


def pair(w: float, v: float) -> BalanceProblem:
    """One unit: min over s of |w s|^p + |v/s|^p is 2|w v|^(p/2)."""
    return BalanceProblem.build(load({"J": [[0.0]], "W_in": [[w]], "W_out": [[v]]}))


@pytest.mark.parametrize("large", [False, True], ids=["certified", "measured"])
@pytest.mark.parametrize("off", [0.0, 1e-5, 1e-3, 0.1])
def test_one_unit(off: float, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", -1 if large else 100)
    w, v = 3.0 * np.exp(off), 3.0 * np.exp(-off)
    truth = (w**2 + v**2) / (2 * abs(w * v)) - 1
    found = optimality(pair(w, v), 1e-6, balanced=True)
    assert found.gap is not None and truth <= found.gap <= 3 * truth + 1e-13
    assert found.certified is not large
    assert (found.fault is not None) == (truth > 1e-6)


@pytest.mark.parametrize("large", [False, True], ids=["certified", "measured"])
@pytest.mark.parametrize("spec", SPECS)
def test_against_scipy(spec: str, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", -1 if large else 10_000)
    cost = {
        "l1": np.abs,
        "l2": np.square,
        "lp:1.5": lambda w: np.abs(w) ** 1.5,
        "abs(w)+w**2/10": lambda w: np.abs(w) + w**2 / 10,
    }[spec]
    network = mlp([3, 4, 3, 2], spread=0.5)
    v = {t.name: network.numbers(t.name) for t in network.parameters}

    def total(h: np.ndarray) -> float:
        s, t = np.exp(h[:4]), np.exp(h[4:])
        parts = [v["fc1.weight"] * s[:, None], v["fc1.bias"] * s, v["fc2.weight"] / s * t[:, None]]
        parts += [v["fc2.bias"] * t, v["fc3.weight"] / t, v["fc3.bias"]]
        return float(sum(cost(p).sum() for p in parts))

    best = minimize(total, np.zeros(7), method="BFGS", options={"gtol": 1e-9}).fun
    near = solve(network, spec).network
    moved = {t.name: near.numbers(t.name) for t in near.parameters}
    moved["fc1.weight"], moved["fc1.bias"] = moved["fc1.weight"] * 1.05, moved["fc1.bias"] * 1.05
    moved["fc2.weight"] = moved["fc2.weight"] / 1.05
    truth = sum(cost(p).sum() for p in moved.values()) / best - 1
    found = optimality(BalanceProblem.build(near.with_parameters(moved), spec), 1e-6, balanced=False)
    assert found.gap is not None and truth * (1 - 1e-6) <= found.gap <= 4 * truth
    assert found.fault is not None and found.fault.kind == "not-optimal"


def test_far_from_the_optimum_a_large_network_has_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", -1)
    found = optimality(pair(30.0, 0.1), 1e-6, balanced=False)
    assert found.gap is None and "too far" in found.notes[0]


@pytest.mark.parametrize("large", [False, True])
def test_an_unattained_optimum(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", -1 if large else 100)
    j = np.array([[0, 1.0, 0, 0], [1.0, 0, 0, 0], [1e-5, 0, 0, 1.0], [0, 0, 1.0, 0]])
    found = optimality(BalanceProblem.build(load(j)), 1e-6, balanced=True)
    assert found.gap is None and not found.certified
    assert found.fault is not None and "falls for ever" in found.fault.where


def test_a_large_network_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", 5)
    network = mlp([3, 4, 2])
    audit = check(network, solve(network).network)
    assert audit.ok and audit.verdict is Verdict.sampled
    assert audit.optimality_gap is not None and audit.optimality_gap < 1e-12
    assert "floating point" in audit.notes[-1]


def test_a_regularizer_without_a_certificate_is_sampled() -> None:
    network = mlp([3, 4, 2], spread=0.3)
    spec = "Max(w**2, exp(abs(w)) - 30)"
    audit = check(network, solve(network, spec).network, spec)
    assert audit.ok and audit.verdict is Verdict.sampled and audit.optimality_gap is None
    assert any("no certified optimality gap" in note for note in audit.notes)


@pytest.mark.parametrize("large", [False, True])
def test_a_gap_for_costs_of_any_form(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", -1 if large else 100)
    network, spec = mlp([3, 4, 2], spread=0.3), "exp(w**2) - 1"
    audit = check(network, solve(network, spec).network, spec)
    assert audit.ok and audit.verdict is Verdict.certified
    assert audit.optimality_gap is not None and 0 <= audit.optimality_gap < 1e-12


def test_the_gap_of_a_cost_that_is_no_power_is_the_true_one() -> None:
    """One unit between weights 3 and 1/3, under log(1 + w²): both are 1 in balance, which costs 2·log 2."""
    found = optimality(BalanceProblem.build(pair(3.0, 1 / 3).manifold, "log(1+w**2)"), 1e-6, balanced=False)
    truth = (np.log(10) + np.log(1 + 1 / 9)) / (2 * np.log(2)) - 1
    assert found.certified and found.gap is not None
    assert truth * (1 - 1e-14) <= found.gap <= truth * (1 + 1e-12)
