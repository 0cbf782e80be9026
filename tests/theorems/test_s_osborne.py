"""Matrix balancing, and each of its checks seen failing."""

import numpy as np
import pytest

from balproof.theorems import s_osborne
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict

BRIDGE = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])


@pytest.mark.slow
def test_certified():
    assert run_claim(s_osborne.matrix_balancing).verdict is Verdict.certified


@pytest.mark.parametrize(
    "J, reducible",
    [
        (np.zeros((2, 2)), True),
        (np.array([[0.0, 1], [1, 0]]), True),
        (np.array([[5.0, 1], [0, 0]]), False),
        (np.eye(3), True),
        (BRIDGE, False),
        (np.roll(np.eye(4), 1, axis=0), True),
    ],
)
def test_existence(J, reducible):
    assert s_osborne.completely_reducible(J) is reducible
    off_diagonal = J - np.diag(np.diag(J))
    assert s_osborne.certificate(off_diagonal) is reducible


def test_osborne_by_hand():
    assert s_osborne.osborne(np.array([[7.0, 4], [1, 0]]), 2.0, 1) == pytest.approx(
        np.array([[7.0, 2], [2, 0]])
    )
    assert s_osborne.unbalance(np.array([[9.0, 3], [1, 0]]), 1.0) == 0.5


def test_a_wrong_characterisation_is_seen(monkeypatch):
    monkeypatch.setattr(s_osborne, "completely_reducible", lambda J: True)
    assert not s_osborne._existence_by_pattern()
    assert not s_osborne._package_decides()
    assert not s_osborne._bridge_falls()


def test_an_unchecked_certificate_is_seen(monkeypatch):
    monkeypatch.setattr(s_osborne, "is_circulation", lambda rows, z: False)
    assert not s_osborne._existence_by_pattern()


def test_another_exponent_in_the_step_is_seen(monkeypatch):
    right = s_osborne.factor
    monkeypatch.setattr(s_osborne, "factor", lambda row, column, p: right(row, column, 2 * p))
    assert not s_osborne._step_is_osborne()
    assert not s_osborne._first_step_agrees()


def test_another_exponent_in_the_iteration_is_seen(monkeypatch):
    right = s_osborne.osborne
    monkeypatch.setattr(s_osborne, "osborne", lambda J, p, sweeps: right(J, 2 * p, sweeps))
    assert not s_osborne._methods_meet()


def test_a_balancing_that_does_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(s_osborne, "matrix_balance", lambda J, permute: (2 * J, None))
    assert not s_osborne._lapack_agrees()
