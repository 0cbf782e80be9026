"""Faces over blocks, against slopes in 60 digits, for signs and degrees at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import mpmath
import numpy as np
import pytest

from balproof.balance.blocks import kernels
from balproof.balance.blocks.general import GeneralProblem, State
from balproof.balance.blocks.general_newton import general_newton
from balproof.balance.blocks.problem import BlockProblem
from balproof.balance.certificates import block_faces
from balproof.balance.certificates.block_faces import certify_general
from balproof.balance.certificates.gap import GapCertificate, NoCertificate
from balproof.balance.laws import Law
from balproof.balance.problem import Costs
from balproof.importers import load
from balproof.network.manifold import infer
from balproof.symbolic.regularizer import Regularizer
from tests.balance.certificates.test_box import block, problem_of, random_problem
from tests.balance.certificates.test_faces import HUBER, KINK, LAWS
from tests.networks import mlp

Array = np.ndarray
Real = mpmath.mpf
Weight = tuple[Real, dict[int, Real], tuple[Callable[[Real], Real], ...]]

COSTS = ["log(1+w**2)", "sqrt(1+w**2)-1", HUBER, KINK, "exp(abs(w))-1"]


def general(blocks: BlockProblem, seed: int = 0) -> tuple[GeneralProblem, list[str]]:
    """The same blocks under other costs: of every one an own cost."""
    names = [COSTS[(seed + i) % len(COSTS)] for i in range(len(blocks.pairs))]
    pairs = tuple(
        dataclasses.replace(p, power=1.0, factor=1.0, mode=kernels.ABSOLUTE, weights=0.3 * p.weights)
        for p in blocks.pairs
    )
    laws = [Law.of(Regularizer.parse(name)) for name in names]
    found = GeneralProblem(dataclasses.replace(blocks, pairs=pairs), tuple(law for law in laws if law))
    assert len(found.laws) == len(names)
    return found, names


def weights_of(problem: GeneralProblem, names: Sequence[str]) -> list[Weight]:
    """Weight by weight, by the definition."""
    found: list[Weight] = []
    for pair, name in zip(problem.blocks.pairs, names, strict=True):
        count, columns, _ = pair.weights.shape
        for i, j in np.ndindex(count, columns):
            across = i // (count // pair.groups) * columns + j
            if pair.loop and i == j:
                continue
            row: dict[int, Real] = {}
            for side, at in ((pair.rows, i), (pair.columns, across)):
                if side.unit[at] >= 0:
                    row[int(side.unit[at])] = Real(float(side.coefficient[at]))
            found += [(Real(abs(float(w))), row, LAWS[name]) for w in pair.weights[i, j]]
    return found


def slope(weights: Sequence[Weight], h: Sequence[Real], k: int) -> Real:
    return mpmath.fsum(
        row[k] * law[1](w * mpmath.exp(mpmath.fsum(a * h[j] for j, a in row.items())))
        for w, row, law in weights
        if k in row
    )


def cost(weights: Sequence[Weight], h: Sequence[Real]) -> Real:
    return mpmath.fsum(
        law[0](w * mpmath.exp(mpmath.fsum(a * h[j] for j, a in row.items()))) for w, row, law in weights
    )


def wrong_faces(problem: GeneralProblem, weights: Sequence[Weight], h: Array, t: Array, seed: int) -> int:
    """On how many points of faces F does not fall inward, among corners and points at random."""
    rng = np.random.default_rng(seed)
    wrong = 0
    with mpmath.workdps(60):
        for k in np.flatnonzero(problem.blocks.active).tolist():
            for sign in (1, -1):
                for trial in range(6):
                    u = rng.uniform(-1, 1, len(h)) if trial % 2 else rng.choice([-1.0, 1.0], len(h))
                    u[k] = sign
                    at = [
                        Real(float(a)) + Real(float(b)) * Real(float(c))
                        for a, b, c in zip(h, t, u, strict=True)
                    ]
                    wrong += sign * slope(weights, at, k) <= 0
    return wrong


def boxes(state: State, seed: int) -> list[tuple[State, Array]]:
    """Boxes of all shapes around the balanced state, and around others."""
    rng, count = np.random.default_rng(seed), state.problem.count
    found: list[tuple[State, Array]] = []
    for size in (0.0, 1e-4, 1e-3, 1e-2):
        here = state.problem.at(state.h + size * rng.standard_normal(count))
        shapes = (
            np.full(count, 1e-2),
            10.0 ** rng.uniform(-3.5, -1.5, count),
            10.0 ** rng.uniform(-5, -2, count),
        )
        found += [(here, t) for t in shapes]
    return found


@pytest.mark.parametrize("seed", range(10))
def test_what_is_said_of_faces_holds_on_them(seed: int) -> None:
    problem, names = general(random_problem(seed), seed)
    weights = weights_of(problem, names)
    state, _ = general_newton(problem)
    for here, t in boxes(state, seed):
        if block_faces._Box(here).falls_inward(t):
            assert not wrong_faces(problem, weights, here.h, t, seed)


def test_something_is_said_of_faces() -> None:
    """The test above would be idle without."""
    held = 0
    for seed in range(10):
        problem, _ = general(random_problem(seed), seed)
        held += block_faces._Box(general_newton(problem)[0]).falls_inward(np.full(problem.count, 1e-3))
    assert held >= 3


@pytest.mark.parametrize("fault", ["others forgotten", "another box"])
def test_bounds_that_are_too_good_would_be_caught(fault: str, monkeypatch) -> None:
    factors = block_faces._Box._factors

    def too_good(box: block_faces._Box, t: Array, sign: int) -> list[tuple[Array, Array]]:
        if fault == "another box":
            return factors(box, 10 * t, sign)
        return [(e, y) for (e, _), (_, y) in zip(factors(box, t, sign), box._state.factors, strict=True)]

    monkeypatch.setattr(block_faces._Box, "_factors", too_good)
    caught = 0
    for seed in range(10):
        problem, names = general(random_problem(seed), seed)
        weights = weights_of(problem, names)
        for here, t in boxes(general_newton(problem)[0], seed):
            if block_faces._Box(here).falls_inward(t):
                caught += wrong_faces(problem, weights, here.h, t, seed) > 0
    assert caught


@pytest.mark.parametrize("seed", range(10))
def test_certificates_hold_the_optimum_and_its_cost(seed: int) -> None:
    problem, names = general(random_problem(seed), seed)
    weights = weights_of(problem, names)
    state, _ = general_newton(problem)
    rng = np.random.default_rng(seed)
    given = 0
    for size in (0.0, 1e-9, 1e-6, 1e-4):
        there = problem.at(state.h + size * rng.standard_normal(problem.count))
        found = certify_general(there)
        if isinstance(found, NoCertificate):
            continue
        given += 1
        # Newton's state is the optimum to far less than what it was moved by.
        assert np.abs(there.h - state.h).max() <= found.radius + 1e-13
        with mpmath.workdps(60):
            now, least = (cost(weights, [Real(float(x)) for x in h]) for h in (there.h, state.h))
            assert now - least <= found.absolute * (1 + 1e-6) + 1e-22 * least
            assert now <= least * (1 + Real(found.gap) * (1 + 1e-6) + 1e-22)
    assert given or state.imbalance > 1e-13  # where weights are balanced at a kink


def test_scales_that_nothing_holds() -> None:
    ring = np.roll(np.eye(5), 1, axis=0) + np.roll(np.eye(5), 2, axis=0)
    problem = GeneralProblem.build(infer(load({"J": ring * np.arange(1.0, 6)})), Costs.parse("log(1+w**2)"))
    assert problem is not None
    state, _ = general_newton(problem)
    found = certify_general(state)
    assert isinstance(found, GapCertificate) and found.radius < 1e-11
    drifted = certify_general(problem.at(state.h + 0.3))
    assert isinstance(drifted, GapCertificate) and drifted.radius < 1e-11


def test_two_scales_of_one_sign_that_hold_each_other() -> None:
    """The comparison matrix is singular: F rises along (1, −1) by nothing that a box can see."""
    pair = block([[2.0]], ([0], [1.0]), ([1], [1.0]), power=1.0)
    rest = [block([[v]], ([k], [-1.0]), power=1.0) for k, v in ((0, 1.0), (1, 2.0))]
    made = problem_of(2, pair, *rest)
    problem, _ = general(made)
    found = certify_general(general_newton(problem)[0])
    assert isinstance(found, GapCertificate | NoCertificate)
    if isinstance(found, GapCertificate):
        assert found.radius < 1e-10


def test_far_from_balance_and_beyond_the_tables() -> None:
    manifold = infer(mlp([3, 4, 2], seed=3, spread=2.0))
    problem = GeneralProblem.build(manifold, Costs.parse("log(1+w**2)"))
    assert problem is not None
    found = certify_general(problem.at(np.zeros(problem.count)))
    assert isinstance(found, NoCertificate) and "too far" in found.reason
    wide = GeneralProblem.build(infer(mlp([1, 1, 1], bias=False)), Costs.parse("exp(abs(w))-1"))
    assert wide is not None
    for far in (8.0, 800.0, -800.0):
        assert isinstance(certify_general(wide.at(np.array([far]))), NoCertificate)
