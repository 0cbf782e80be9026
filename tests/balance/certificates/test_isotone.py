"""The certificate by states above and below, against solutions of 60 digits; wrong states are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import mpmath
import numpy as np
import pytest

from balproof.balance import solve as solving
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.certificates import isotone
from balproof.balance.certificates.gap import GapCertificate, NoCertificate
from balproof.balance.certificates.isotone import certify_blocks
from balproof.balance.problem import Costs
from balproof.balance.solve import certify_best, solve
from balproof.network.graph import Network
from balproof.network.manifold import infer
from benchmarks.inputs import transformer
from tests.convnets import resnet
from tests.networks import mlp
from tests.sweeps import crossed

Array = np.ndarray

NETWORKS = {
    "two layers": lambda: mlp((4, 6, 5, 3), seed=1),
    "deep": lambda: mlp((3, *(2,) * 8, 2), seed=2),
    "spread": lambda: mlp((4, 6, 5, 3), seed=3, spread=4.0),
    "degree 2": lambda: mlp((4, 5, 4, 2), seed=4, activation="Max(x,0)**2"),
    "degree 1/2": lambda: mlp((4, 5, 4, 2), seed=5, activation="sqrt(abs(x))"),
    "residual": lambda: resnet(1, (1, 1), 12, 2),
}


def problem_of(network: Network, costs: str = "l2") -> BlockProblem:
    found = BlockProblem.build(infer(network), Costs.parse(costs))
    assert found is not None
    return found


def exact(network: Network, power: int) -> tuple[list[mpmath.mpf], mpmath.mpf, mpmath.mpf]:
    """h* of the weights as they are, F(0) and F(h*), by Newton's method with 60 digits."""
    manifold = infer(network)
    mpmath.mp.dps = 60
    weights = {t.name: network.numbers(t.name) for t in network.learned}
    support = {t.name: network.numbers(t.name) != 0 for t in network.parameters}
    sums: dict[Any, mpmath.mpf] = {}
    for name, flat, form in manifold.rows(support):
        if name in weights:
            size = mpmath.mpf(abs(float(weights[name].flat[flat]))) ** power
            sums[form] = sums.get(form, mpmath.mpf(0)) + size
    terms = [(omega, form) for form, omega in sums.items()]
    n = manifold.count
    h = mpmath.zeros(n, 1)
    for _ in range(5):  # from 1e-5, digits double
        gradient, hessian = mpmath.zeros(n, 1), mpmath.zeros(n, n)
        for omega, form in terms:
            cs = [(k, mpmath.mpf(c.numerator) / c.denominator) for k, c in form]
            value = omega * mpmath.exp(power * sum((c * h[k] for k, c in cs), mpmath.mpf(0)))
            for j, a in cs:
                gradient[j] += power * a * value
                for k, b in cs:
                    hessian[j, k] += power**2 * a * b * value
        h -= mpmath.lu_solve(hessian, gradient)
    end = mpmath.mpf(0)
    for omega, form in terms:
        log = sum((mpmath.mpf(c.numerator) / c.denominator * h[k] for k, c in form), mpmath.mpf(0))
        end += omega * mpmath.exp(power * log)
    return list(h), sum(omega for omega, _ in terms), end


MORE = {
    **NETWORKS,
    # Keys share their gain with queries and values: their weights have two scales of one sign.
    "attention": lambda: transformer(1, 4, 2, tokens=3, classes=2),
}


@pytest.mark.parametrize(
    "name, costs",
    crossed(MORE, ["l2", "l1"], slow=["residual"]),
)
def test_bounds_hold_and_are_not_far_off(name: str, costs: str) -> None:
    start = MORE[name]()
    balanced = solve(start, costs)
    moved = np.random.default_rng(0).standard_normal(len(balanced.h))
    for size in (0.0, 1e-12, 1e-8, 1e-5):
        network = infer(start).rescale(balanced.h + size * moved)
        found = certify_blocks(problem_of(network, costs))
        assert isinstance(found, GapCertificate), (size, found)
        h, here, end = exact(network, 2 if costs == "l2" else 1)
        true = max(abs(x) for x in h)
        assert found.radius is not None
        assert float(true) <= found.radius <= 100 * float(true) + 1e-9
        assert float(here - end) <= found.absolute <= 1e4 * float(here - end) + 1e-16 * float(here)
        assert float((here - end) / end) <= found.gap


@pytest.mark.slow
def test_three_hundred_states_none_wrong() -> None:
    """States that are off by known scales: the radius is never less, and never given far from balance."""
    start = mlp((3, 6, 6, 2), seed=7)
    manifold, balanced = infer(start), solve(start)
    rng = np.random.default_rng(1)
    given = 0
    for _ in range(300):
        off = 10.0 ** rng.uniform(-12, 1) * rng.standard_normal(manifold.count)
        found = certify_blocks(problem_of(manifold.rescale(balanced.h + off)))
        if isinstance(found, GapCertificate):
            given += 1
            assert found.radius is not None and np.abs(off).max() <= found.radius + 1e-12
        else:
            assert np.abs(off).max() > 1e-3
    assert 200 < given < 300


def test_rounding_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(solve(mlp((3, 6, 6, 2), seed=7)).network)
    zero = np.zeros(problem.manifold.count)
    assert 50 < isotone._rounding(problem, zero) * 2**53 < 200
    monkeypatch.setattr(isotone, "_rounding", lambda problem, h: 1e-6)
    found = certify_blocks(problem)
    assert isinstance(found, GapCertificate) and (found.radius or 0.0) > 1e-6


def test_two_scales_of_one_sign_far_from_balance_are_refused() -> None:
    problem = problem_of(mlp((3, 4, 4, 2)))
    turned = []
    for pair in problem.pairs:
        columns = dataclasses.replace(pair.columns, coefficient=abs(pair.columns.coefficient))
        turned.append(dataclasses.replace(pair, columns=columns))
    found = certify_blocks(dataclasses.replace(problem, pairs=tuple(turned)))
    assert isinstance(found, NoCertificate) and "too far from balance" in found.reason


def test_without_anything_visible_there_is_none() -> None:
    from balproof.importers import load

    network = load(np.random.default_rng(0).random((5, 5)) + 0.1)
    problem = BlockProblem.build(infer(network), Costs.parse("l2"))
    assert problem is None or isinstance(certify_blocks(problem), NoCertificate)


def test_large_networks_are_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "LARGE", 10)
    found = solve(mlp((4, 6, 5, 3), seed=1), certify=True)
    assert found.method == "block sweeps" and found.certificate is not None
    assert found.certificate.kind == "isotone" and (found.certificate.radius or 1.0) < 1e-11
    assert solve(mlp((4, 6, 5, 3), seed=1)).no_certificate == "not requested"


def test_it_serves_where_the_box_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from balproof.balance.problem import BalanceProblem

    problem = BalanceProblem.build(solve(mlp((4, 6, 5, 3), seed=1)).network)
    monkeypatch.setattr(solving, "state_radius", lambda _: NoCertificate("no"))
    found = certify_best(problem)
    assert isinstance(found, GapCertificate) and found.kind != "isotone" and (found.radius or 1.0) < 1e-11
