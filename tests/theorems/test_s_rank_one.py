"""The closed form for rank one, and each check seen failing."""

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.theorems import s_rank_one as s
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_proved_with_every_twin_refuted():
    record = run_claim(s.rank_one)
    assert record.ok
    assert record.verdict is Verdict.proved
    assert len(record.findings.twins) == 4


def test_bfgs_finds_the_closed_form_and_the_least_cost():
    u, v, a, b = s._random(5, 1)
    p = 1.5
    c = np.outer(a, b) * np.abs(np.outer(u, v)) ** p
    found = minimize(
        lambda h: np.sum(c * np.exp(p * (h[None, :] - h[:, None]))), np.zeros(5), method="BFGS", tol=1e-10
    )
    h = s.closed_form(u, v, a, b, p, np.log)
    assert np.allclose(found.x - found.x.mean(), h - h.mean(), atol=1e-5)
    roots = np.sqrt(a * np.abs(u) ** p * b * np.abs(v) ** p)
    assert found.fun == pytest.approx(np.sum(roots) ** 2, rel=1e-9)


def test_renamed_units_have_the_same_scales():
    u, v, a, b = s._random(4, 2)
    order = [2, 3, 0, 1]
    h = s.closed_form(u, v, a, b, 2.0, np.log)
    assert np.array_equal(s.closed_form(u[order], v[order], a[order], b[order], 2.0, np.log), h[order])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda u, v, a, b, p, log: -(log(a / b) / (2 * p) + log(abs(u) / abs(v)) / 2),
        lambda u, v, a, b, p, log: log(a / b) / 2 + log(abs(u) / abs(v)) / 2,
        lambda u, v, a, b, p, log: log(a / b) / (2 * p) + log(abs(u) / abs(v)) / (2 * p),
    ],
)
@pytest.mark.slow
def test_another_formula_is_seen(wrong, monkeypatch):
    monkeypatch.setattr(s, "closed_form", wrong)
    record = run_claim(s.rank_one)
    assert [e.verdict for e in record.findings.evidence] == [Verdict.refuted] * 4
    assert not record.ok


def test_a_state_of_another_orbit_is_seen(monkeypatch):
    monkeypatch.setattr(s, "scaled", lambda J, e: [[v * x for v in row] for row, x in zip(J, e, strict=True)])
    assert ("exact", Verdict.refuted) in verdicts(s.rank_one)


def test_a_package_that_does_not_move_is_seen(monkeypatch):
    monkeypatch.setattr(
        s, "stochastic", lambda problem, seed: type("Still", (), {"h": np.zeros(problem.count)})
    )
    assert not s._package_agrees()


def test_equal_products_are_no_twin(monkeypatch):
    monkeypatch.setattr(s, "around", lambda c: (8, 8))
    assert {t.dropped for t in run_claim(s.rank_one).findings.twins if t.verdict is Verdict.undecided} == {
        "J of rank one",
        "α of rank one",
    }
