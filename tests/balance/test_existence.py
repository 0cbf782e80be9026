"""Whether the minimum is attained: certificates checked by this file's own arithmetic, and brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from balproof.balance import existence as module
from balproof.balance.existence import Existence, existence, is_circulation, is_direction
from balproof.balance.problem import BalanceProblem
from balproof.network.manifold import infer
from balproof.verdict import Verdict
from benchmarks.inputs import transformer
from tests.balance.samples import (
    BRIDGE,
    dense,
    recurrent,
    two_degrees,
    with_weights,
)
from tests.networks import called_twice, mlp

Row = dict[int, Fraction]


def recurrent_rows(arrays: dict[str, Any], degree: Fraction = Fraction(1)) -> list[Row]:
    """The rows of A by hand, in the order of the tensors: J s_i − c·s_j, W_in s_i, b s_i, W_out −s_j."""
    rows: list[Row] = []
    for name in ("J", "W_in", "b", "W_out"):
        for index in np.argwhere(np.array(arrays[name])) if name in arrays else ():
            i, j = (int(index[0]), int(index[-1]))
            row: Row = {}
            if name != "W_out":
                row[i] = Fraction(1)
            if name in ("J", "W_out"):
                row[j] = row.get(j, Fraction(0)) - (degree if name == "J" else 1)
            rows.append({k: c for k, c in row.items() if c})
    return rows


def alive(rows: list[Row]) -> set[int]:
    """The scales with weights on both sides; weights of those without do not count."""
    found = {k for row in rows for k in row}
    while True:
        left = [row for row in rows if set(row) <= found]
        up, down = ({k for row in left for k, c in row.items() if s * c > 0} for s in (1, -1))
        if up & down == found:
            return found
        found = up & down


def verify(found: Existence, rows: list[Row]) -> None:
    """Either certificate, by this file's own exact arithmetic; scales that do not move are at 0."""
    moving = alive(rows)
    assert found.verdict == Verdict.certified
    if found.attained:
        assert found.direction is None and found.circulation is not None
        assert len(found.circulation) == len(rows) and all(z > 0 for z in found.circulation)
        for k in moving:
            assert sum(z * row.get(k, 0) for z, row in zip(found.circulation, rows, strict=True)) == 0
    else:
        assert found.circulation is None and found.direction is not None
        h = found.direction
        assert all(isinstance(x, Fraction) for x in h)
        assert all(x == 0 for k, x in enumerate(h) if k not in moving)
        change = [sum(c * h[k] for k, c in row.items()) for row in rows]
        assert max(change) <= 0 and min(change) < 0
        assert len(found.falling) == sum(v < 0 for v in change)


def attained_by_closure(rows: list[Row], n: int) -> bool:
    """Degree 1: every weight lies on a closed walk, where node n is all that does not move, merged."""
    moving = alive(rows)
    edges = []
    for row in rows:
        head = next((k for k, c in row.items() if c > 0 and k in moving), n)
        tail = next((k for k, c in row.items() if c < 0 and k in moving), n)
        edges.append((tail, head))
    reach = np.eye(n + 1, dtype=bool)
    for tail, head in edges:
        reach[tail, head] = True
    for k in range(n + 1):
        reach |= np.outer(reach[:, k], reach[k])
    return all(reach[head, tail] for tail, head in edges)


def decide(arrays: dict[str, Any]) -> Existence:
    return existence(BalanceProblem.build(recurrent(**arrays)))


def bits(number: int, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    return np.array([number >> i & 1 for i in range(size)], float).reshape(shape)


def check_against_brute_force(arrays: dict[str, Any]) -> bool:
    rows = recurrent_rows(arrays)
    found = decide(arrays)
    verify(found, rows)
    assert found.attained == attained_by_closure(rows, len(arrays["J"]))
    return bool(found.attained)


@pytest.mark.parametrize("self_loops", [0, 3])
def test_all_networks_of_two_units(self_loops: int) -> None:
    answers = []
    for connections, inputs, outputs in itertools.product(range(4), range(4), range(4)):
        J = np.diag(bits(self_loops, (2,))) + np.array([[0, connections & 1], [connections >> 1, 0]])
        answers.append(
            check_against_brute_force({"J": J, "W_in": bits(inputs, (2, 1)), "W_out": bits(outputs, (1, 2))})
        )
    assert set(answers) == {True, False}


def test_all_digraphs_of_three_units() -> None:
    answers = []
    for number in range(64):
        J = np.zeros((3, 3))
        J[~np.eye(3, dtype=bool)] = bits(number, (6,))
        answers.append(check_against_brute_force({"J": J}))
    assert set(answers) == {True, False}


def test_the_bridge() -> None:
    found = existence(BalanceProblem.build(BRIDGE))
    verify(found, recurrent_rows({"J": BRIDGE.numbers("J")}))
    assert found.attained is False
    assert found.falling == ("J[2,1]",)


def test_the_bridge_is_held_by_visible_units() -> None:
    J = BRIDGE.numbers("J")
    assert check_against_brute_force({"J": J, "W_in": [[1], [0], [0], [0]], "W_out": [[0, 0, 0, 1]]})
    assert not check_against_brute_force({"J": J, "W_in": [[1], [0], [0], [0]]})
    assert not check_against_brute_force({"J": J, "W_out": [[0, 0, 0, 1]]})
    assert not check_against_brute_force({"J": J, "W_in": [[0], [0], [1], [0]], "W_out": [[0, 1, 0, 0]]})


@given(st.integers(0, 10**6))
def test_random_sparse_networks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    density = rng.uniform(0.1, 0.6)
    arrays: dict[str, Any] = {"J": rng.random((n, n)) < density}
    for name, shape in (("W_in", (n, 2)), ("b", (n,)), ("W_out", (2, n))):
        if rng.random() < 0.5:
            arrays[name] = rng.random(shape) < density
    check_against_brute_force(arrays)


@pytest.mark.parametrize("seed", range(3))
def test_feedforward_networks_attain_at_any_degree(seed: int) -> None:
    for activation in ("relu", "Max(x,0)**2", "Max(x,0)**(7/5)"):
        network = mlp([2, 4, 3, 2], seed=seed, activation=activation)
        keep = np.random.default_rng(seed)
        network = network.with_parameters(
            {t.name: network.numbers(t.name) * (keep.random(t.shape) < 0.6) for t in network.parameters}
        )
        problem = BalanceProblem.build(network)
        found = existence(problem)
        assert found.attained is True
        assert found.method.startswith("strongly connected")
        verify(found, generic_rows(problem))


def generic_rows(problem: BalanceProblem) -> list[Row]:
    """The rows of A on the support; these come from the manifold, which has its own tests."""
    support = {t.name: t.value != 0 for t in problem.manifold.network.parameters}
    return [dict(form) for _, _, form in problem.manifold.rows(support)]


DEGREE_2 = {
    "two mutual units, no visible": ({"J": [[0, 1], [1, 0]]}, False),  # h = (1, 1): both costs fall by e^{−2}
    "input and output": ({"J": [[0, 1], [1, 0]], "W_in": [[1], [1]], "W_out": [[1, 1]]}, True),
    "input only": ({"J": [[0, 1], [1, 0]], "W_in": [[1], [1]]}, True),  # h − 2h' pulls up, W_in holds down
    "output only": ({"J": [[0, 1], [1, 0]], "W_out": [[1, 1]]}, False),  # up without end
    "bridge": ({"J": BRIDGE.numbers("J"), "W_in": [[0], [0], [1], [0]]}, False),
}


@pytest.mark.parametrize("name", DEGREE_2)
def test_recurrent_networks_of_degree_2(name: str) -> None:
    arrays, expected = DEGREE_2[name]
    found = existence(BalanceProblem.build(recurrent(**arrays, activation="Max(x,0)**2")))
    assert found.attained is expected
    verify(found, recurrent_rows(arrays, Fraction(2)))


@given(st.integers(0, 10**6), st.sampled_from(["2", "1/2", "3", "7/5"]))
def test_random_recurrent_networks_of_other_degrees_get_a_certificate(seed: int, degree: str) -> None:
    """Stiemke: at most one certificate exists, so a verified one is the right answer."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    density = rng.uniform(0.2, 0.7)
    arrays: dict[str, Any] = {"J": rng.random((n, n)) < density}
    for name, shape in (("W_in", (n, 1)), ("W_out", (1, n))):
        if rng.random() < 0.6:
            arrays[name] = rng.random(shape) < 0.5
    found = existence(BalanceProblem.build(recurrent(**arrays, activation=f"Max(x,0)**({degree})")))
    verify(found, recurrent_rows(arrays, Fraction(degree)))


def test_two_degrees_in_one_loop() -> None:
    problem = BalanceProblem.build(two_degrees())
    found = existence(problem)
    verify(found, generic_rows(problem))
    z = found.circulation
    assert z is not None
    # by hand: the circulations are the multiples of (2, 1, 1, 2)·t plus nothing else
    assert [v / z[1] for v in z] == [2, 1, 1, 2]


def test_tied_layers_go_to_the_linear_program() -> None:
    problem = BalanceProblem.build(called_twice())
    found = existence(problem)
    assert found.method.startswith("linear program")
    assert found.attained is True
    rows = generic_rows(problem)
    assert max(len(row) for row in rows) > 2
    verify(found, rows)


def test_hard_rounding() -> None:
    """Degree 3 around a ring: entries spread over 3²⁰, where a rounded float proves nothing."""
    n = 20
    J = np.roll(np.eye(n), 1, axis=0)
    J[0, n // 2] = 1
    for extra in ({}, {"W_in": np.eye(n)[:, :1]}, {"W_in": np.eye(n)[:, :1], "W_out": np.eye(n)[:1]}):
        arrays = {"J": J, **extra}
        found = existence(BalanceProblem.build(recurrent(**arrays, activation="Max(x,0)**3")))
        verify(found, recurrent_rows(arrays, Fraction(3)))


# --- the two branches agree, and what they propose is checked ---------------------------------------------


def test_the_linear_program_agrees_with_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(60):
        n = int(rng.integers(2, 7))
        samples.append({"J": rng.random((n, n)) < 0.4, "W_in": rng.random((n, 1)) < 0.4})
    by_graph = [decide(arrays) for arrays in samples]
    monkeypatch.setattr(module, "_by_graph", lambda ends, problem: (None, None))
    by_program = [decide(arrays) for arrays in samples]
    assert [f.attained for f in by_graph] == [f.attained for f in by_program]
    assert {f.attained for f in by_graph} == {True, False}
    for arrays, found in zip(samples, by_program, strict=True):
        verify(found, recurrent_rows(arrays))
    assert not any(f.method.startswith("strongly") for f in by_program)


@pytest.mark.parametrize("attained", [True, False])
def test_the_rounding_of_the_program_is_repaired(monkeypatch: pytest.MonkeyPatch, attained: bool) -> None:
    """With noise on what the solver returns, both certificates are still exact."""
    rng = np.random.default_rng(0)
    size = 1e-5 if attained else 1e-8

    def noisy(*args: Any, **options: Any) -> Any:
        found = linprog(*args, **options)
        if found.x is not None:
            found.x = found.x + size * rng.standard_normal(len(found.x))
        return found

    monkeypatch.setattr(module, "linprog", noisy)
    arrays = {"J": np.roll(np.eye(5), 1, axis=0) + np.eye(5)[:, ::-1], "W_out": np.eye(5)[:1]}
    if attained:
        arrays["W_in"] = np.eye(5)[:, :1]
    monkeypatch.setattr(module, "_by_graph", lambda ends, problem: (None, None))
    found = decide(arrays)
    assert found.attained is attained
    verify(found, recurrent_rows(arrays))


def test_a_wrong_proposal_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda ends, problem: ([Fraction(1)] * len(ends), None)  # noqa: E731
    monkeypatch.setattr(module, "_by_graph", wrong)
    assert existence(BalanceProblem.build(BRIDGE)).attained is None
    assert existence(BalanceProblem.build(BRIDGE)).verdict == Verdict.undecided
    monkeypatch.setattr(module, "_by_graph", lambda ends, problem: (None, {0: Fraction(1)}))
    assert existence(BalanceProblem.build(BRIDGE)).attained is None


def test_the_checks_refuse_what_is_nearly_right() -> None:
    one = Fraction(1)
    ring = [((0, one), (1, -one)), ((0, -one), (1, one))]
    assert is_circulation(ring, [one, one])
    assert not is_circulation(ring, [one, one + Fraction(1, 10**30)])
    assert not is_circulation(ring, [Fraction(0), Fraction(0)])
    assert not is_circulation(ring, [-one, -one])
    assert not is_direction(ring, {0: one, 1: one})  # nothing falls
    assert not is_direction(ring, {0: one})  # one falls, one rises
    path = [((0, one),), ((1, one), (0, -one))]
    assert is_direction(path, {0: Fraction(-1), 1: Fraction(-1)})
    assert not is_direction(path, {0: Fraction(-1), 1: Fraction(-1) + Fraction(1, 10**30)})


def test_nothing_that_moves() -> None:
    for network in (mlp([2, 2]), mlp([2, 3, 2], activation="tanh")):
        assert existence(BalanceProblem.build(network)).attained is True
    zero = mlp([1, 2, 1], bias=False)
    zero = with_weights(zero, fc1__weight=[[0], [0]], fc2__weight=[[0, 0]])
    assert existence(BalanceProblem.build(zero)).attained is True


def test_a_dense_network_without_visible_units() -> None:
    problem = BalanceProblem.build(dense(6, visible=False))
    found = existence(problem)
    verify(found, recurrent_rows({"J": problem.manifold.network.numbers("J")}))
    assert found.attained is True


def test_few_rows_are_repaired_exactly_and_large_matrices_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attention block, whose keys have two scales of one sign: no graph. All rows at once do not fit."""
    problem = BalanceProblem.build(infer(transformer(1, 8, 2, tokens=3, classes=2)))
    n = len({k for row in problem.rows for k, _ in row})
    monkeypatch.setattr(module, "_ENTRIES", 4 * n * n)
    assert n * len(problem.rows) > 4 * n * n
    found = existence(problem)
    assert (found.attained, found.method) == (True, "linear program, rounded to rationals")
    assert is_circulation(problem.rows, found.circulation or ())
    monkeypatch.setattr(module, "_ENTRIES", 4 * n * n - 1)
    assert existence(problem).verdict is Verdict.undecided
