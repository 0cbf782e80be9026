"""Claims on broken laws and on their number: values from elsewhere, and each check seen failing."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from balproof.conservation import conserved, ledger
from balproof.theorems import graphs, r_broken, r_completeness
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def methods(claim, verdict=Verdict.refuted):
    return {e.method for e in run_claim(claim).findings.evidence if e.verdict is verdict}


def test_records_stand():
    broken, complete = run_claim(r_broken.broken), run_claim(r_completeness.completeness)
    assert broken.verdict is Verdict.proved and broken.ok
    assert complete.verdict is Verdict.certified and complete.ok
    assert broken.findings.printed.verdict is Verdict.proved
    assert complete.findings.printed.verdict is Verdict.refuted


# --- broken laws --------------------------------------------------------------------------------------


def test_a_step_by_hand():
    """x→u→y, weights 1 and 2, target 0: g = (4, 2), a step of 1/10 gives 3/5 and 9/5; z = 9/25 − 81/25."""
    assert r_broken.one_step(Fraction(0)) == (Fraction(-72, 25), Fraction(-72, 25))


def test_books_with_a_wrong_square_are_seen(monkeypatch):
    right = ledger.after_sgd
    monkeypatch.setattr(r_broken, "after_sgd", lambda z, g, rate, decay=0.0: right(z, -g, rate, decay))
    assert methods(r_broken.broken) == {"exact"}


def test_momentum_that_forgets_is_seen(monkeypatch):
    right = ledger.Momentum.after
    monkeypatch.setattr(
        ledger.Momentum,
        "after",
        lambda self, m, rate, momentum, decay=0.0: right(
            replace(self, c=self.c * 0), m, rate, momentum, decay
        ),
    )
    assert methods(r_broken.broken) == {"exact"}


@pytest.mark.parametrize("name", ["_decay", "_step", "_heavy_ball", "_inertia"])
def test_identities_with_a_coefficient_off_are_seen(name):
    check = getattr(r_broken, name)
    assert check() and not check(3)


def test_a_flow_with_another_friction_is_seen(monkeypatch):
    right = r_broken.swing
    monkeypatch.setattr(r_broken, "swing", lambda gamma, time=1.0: (*right(gamma)[:2], right(gamma + 0.5)[2]))
    assert methods(r_broken.broken) == {"sampled"}


# --- how many -----------------------------------------------------------------------------------------


def test_the_counterexample_has_a_law_more_than_units():
    network = counterexample("scalar_input")
    assert conserved(network, signs=True).count.k == 3
    assert conserved(network).count.k == 2


def test_ranks_by_numpy():
    """Linear 2-2-2: fields (VᵀM, MUᵀ) and brackets (U(MᵀN − NᵀM), (NMᵀ − MNᵀ)V) by singular values."""
    U, V = np.array(r_completeness.U2, float), np.array(r_completeness.V2, float)
    basis = [np.eye(2)[[i]].T @ np.eye(2)[[j]] for i in range(2) for j in range(2)]
    fields = [np.concatenate([(V.T @ M).ravel(), (M @ U.T).ravel()]) for M in basis]
    brackets = [
        np.concatenate([(U @ (M.T @ N - N.T @ M)).ravel(), ((N @ M.T - M @ N.T) @ V).ravel()])
        for M in basis
        for N in basis
    ]
    assert np.linalg.matrix_rank(np.array(fields)) == 4
    assert np.linalg.matrix_rank(np.array(fields + brackets)) == 5


@pytest.mark.slow
def test_a_count_of_one_law_too_many_is_seen(monkeypatch):
    cases = tuple(replace(c, laws=c.laws + (c.name == "linear 2-3-2")) for c in r_completeness.CASES)
    monkeypatch.setattr(r_completeness, "CASES", cases)
    assert methods(r_completeness.completeness) == {"exact"}


@pytest.mark.slow
def test_a_replay_that_disagrees_is_seen(monkeypatch):
    right = r_completeness.replay
    monkeypatch.setattr(
        r_completeness, "replay", lambda n, c: replace(right(n, c), second_rank=1, agrees=True)
    )
    assert methods(r_completeness.completeness) >= {"exact"}


@pytest.mark.slow
def test_gradients_that_lose_a_sign_are_seen(monkeypatch):
    right = graphs.gradient
    monkeypatch.setattr(
        r_completeness,
        "gradient",
        lambda g, w, s: {
            e: v * (3 if e[0] == "u0_0" else 1) + s[0][0]["u0_0"] for e, v in right(g, w, s).items()
        },
    )
    assert methods(r_completeness.completeness) == {"exact"}


def test_a_unit_split_in_two_or_moved_counts_its_own_laws():
    U, V = r_completeness.U3, r_completeness.V3
    order = [2, 0, 1]
    turned = [U[i] for i in order], [[row[i] for i in order] for row in V]
    split = [*U, U[2]], [[*row[:2], row[2] / 2, row[2] / 2] for row in V]
    counts = [conserved(r_completeness.layered([u, v])).count.k for u, v in ((U, V), turned, split)]
    assert counts == [3, 3, 4]
