"""Claims on gradient descent: what their examples do elsewhere, and each of their checks seen failing."""

from fractions import Fraction

import numpy as np
import pytest
import sympy

from balproof.conservation import ledger
from balproof.theorems import b_progress, b_training
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict

D, R, P = b_training.gd_does_not_balance, b_training.gd_regularized_balances, b_progress.progress


def plain_step(w, v, x, target, rate, decay=0.0):
    """A gradient step of 1/2(v relu(w.x) − target)², in NumPy."""
    z = max(float(w @ x), 0.0)
    e = v * z - target
    return w - rate * (e * v * x * (z > 0) + decay * w), v - rate * (e * z + decay * v)


def test_the_balanced_start_leaves_balance_in_numpy():
    w, v = np.array([3.0, 4.0]), 5.0
    assert w @ w == v * v
    w, v = plain_step(w, v, np.array([1.0, 0.0]), 14.0, 0.1)
    assert w @ w - v * v == pytest.approx(0.16)
    assert float(b_training.leaving()[1]) == pytest.approx(0.16)


def test_small_steps_end_out_of_balance_in_numpy():
    w, v, x = np.array([3.0, 4.0]), 5.0, np.array([1.0, 0.0])
    for _ in range(500):
        w, v = plain_step(w, v, x, 14.0, 0.01)
    assert w[0] * v == pytest.approx(14.0, abs=1e-12)
    assert 0.0016 < w @ w - v * v < 0.0037  # the first rise, and the bound on all of them together


def test_the_cycle_of_two():
    assert b_training.cycle()[1] == (-2, -1)
    after, _ = b_training.stepped(
        counterexample("step_too_large"), (([1], sympy.Integer(1)),), sympy.S.One, 1
    )
    assert b_training.deficits(after, b_training.weights(after)) == [3]


@pytest.mark.torch
def test_pytorch_agrees_on_the_cycle_and_on_adamw():
    torch = pytest.importorskip("torch")
    w, v = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.0, 2.0))
    sgd = torch.optim.SGD([w, v], lr=1.0, weight_decay=1.0)
    for expected in ((-2.0, -1.0), (1.0, 2.0)):
        sgd.zero_grad()
        ((w * v - 1) ** 2 / 2).backward()
        sgd.step()
        assert (w.item(), v.item()) == expected

    epsilon = 1.0  # small ones make the state a delicate one in floating point
    w = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
    v = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    adamw = torch.optim.AdamW([w, v], lr=1e-3, weight_decay=1.0, eps=epsilon)
    for _ in range(200):
        adamw.zero_grad()
        ((v * torch.relu(w.sum()) - (0.5 + epsilon)) ** 2 / 2).backward()
        adamw.step()
    # It stays where it is with IN = 1/3 and OUT = 1/4.
    assert w.square().sum().item() == pytest.approx(1 / 3, rel=1e-9)
    assert v.square().item() == pytest.approx(1 / 4, rel=1e-9)


def test_adamw_rests_only_there():
    assert b_training.adamw_rests(Fraction(1, 100))[0]
    assert b_training.adamw_rests(Fraction(1, 2))[1:] == (Fraction(1, 3), Fraction(1, 4))


def test_the_floor_is_what_the_books_say():
    measured, booked = b_training.floor()
    assert measured == pytest.approx(booked, rel=1e-2)
    assert measured > 0.005
    smaller, _ = b_training.floor(rate=0.05)
    assert 0.4 < smaller / measured < 0.6  # about in proportion to the step


RIGHT = {name: getattr(b_training, name) for name in ("_backward", "flow", "gradients")}


def signless(w, g):
    return w - b_training._ETA * (b_training._MU * w - 2 * g)


def off(matrices, X, Y):
    error, found = RIGHT["_backward"](matrices, X, Y)
    return error, [2 * found[0], *found[1:]]


FAULTS = {
    "decay added": (D, "sympy", "speed", lambda w, g: -g + b_training._MU * w),
    "decay forgotten": (R, "sympy", "moved", lambda w, g: w - b_training._ETA * g),
    "one layer with twice its gradient": (D, "sampled", "_backward", off),
    "its books": (R, "sampled", "_backward", off),
    "its rate": (P, "sampled", "_backward", off),
    "squares without the sign of A": (D, "exact", "deficits", lambda net, values: [sympy.Integer(25)]),
    "gradients of another error": (
        R,
        "exact",
        "gradients",
        lambda net, data: {n: [x + 1 for x in g] for n, g in RIGHT["gradients"](net, data).items()},
    ),
    "another error of progress": (
        P,
        "exact",
        "gradients",
        lambda net, data: {n: [x + 1 for x in g] for n, g in RIGHT["gradients"](net, data).items()},
    ),
    "a speed that grows": (P, "sympy", "speed", lambda w, g: -g + b_training._MU * w),
    "a region that is left": (
        D,
        "z3",
        "_stays_away_queries",
        lambda: [[sympy.Symbol("e", real=True) > 0]],
    ),
    "unbalanced critical points": (
        R,
        "z3",
        "_critical_queries",
        lambda: [[sympy.Symbol("w", real=True) > 0]],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refuted(fault, monkeypatch):
    claim, method, attribute, wrong = FAULTS[fault]
    monkeypatch.setattr(b_training, attribute, wrong)
    found = run_claim(claim)
    assert Verdict.refuted in [e.verdict for e in found.findings.evidence if e.method == method]
    assert not found.ok


def test_a_wrong_ledger_is_seen(monkeypatch):
    monkeypatch.setattr(b_training, "after_sgd", lambda z, g, rate, decay: ledger.after_sgd(z, g, rate, 0.0))
    assert not b_training._ledger_agrees()


HARMLESS = {
    "continuous time (for the constant D)": (D, "leaving", lambda: (sympy.S.Zero,) * 3),
    "a small enough step": (R, "cycle", lambda: [(1, 2), (1, 1), (1, 1)]),
    "full gradients": (R, "floor", lambda: (0.0, 1.0)),
    "the same rate for each weight (AdamW)": (R, "adamw_rests", lambda epsilon: (True, 1, 1)),
    "the decay μ > 0": (P, "resting_deficit", lambda: (sympy.Integer(-3), sympy.Integer(0))),
    "continuous time": (P, "leaving", lambda: (sympy.S.Zero,) * 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("dropped", HARMLESS)
def test_a_witness_that_does_not_fail_is_none(dropped, monkeypatch):
    claim, attribute, harmless = HARMLESS[dropped]
    monkeypatch.setattr(b_progress if claim is P else b_training, attribute, harmless)
    found = run_claim(claim)
    assert {t.dropped: t.verdict for t in found.findings.twins}[dropped] is Verdict.undecided
    assert not found.ok


def test_an_unbalanced_critical_point_would_be_found():
    """Each query of z3 has solutions without its last line, so that it holds for no want of them."""
    from balproof.symbolic import smt

    for query in b_training._critical_queries():
        assert smt.satisfiable(query[:-1]).status == "sat"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_permuted_units_have_permuted_deficits(order):
    from balproof.theorems.instances import layered

    rows, out = [[1, 2], [3, "-1/2"]], [2, -1]
    network = layered([[rows[i] for i in order], [[out[i] for i in order]]])
    D = b_training.deficits(network, b_training.weights(network))
    assert [D[order.index(k)] for k in (0, 1)] == [1, sympy.Rational(33, 4)]


def test_a_unit_split_in_two_shares_the_deficit():
    """Half the unit twice (in and out over √2) has the same function and D in two halves."""
    whole = [np.array([[3.0, 4.0]]), np.array([[5.0]])]
    halves = [np.vstack([whole[0]] * 2) / np.sqrt(2), np.hstack([whole[1]] * 2) / np.sqrt(2)]
    X, Y = np.array([[1.0, 0.5]]), np.array([[3.0]])
    (e1, g1), (e2, g2) = (b_training._backward(m, X, Y) for m in (whole, halves))
    assert e1 == pytest.approx(e2)
    total = [b_training._layer_deficits(g).sum() for g in (g1, g2)]
    assert total[0] == pytest.approx(total[1])
    assert total[0] != 0


@pytest.mark.parametrize("guards", [FAULTS, HARMLESS], ids=["evidence", "twins"])
def test_every_record_has_a_guard(guards):
    assert {claim.claim.id for claim, *_ in guards.values()} == {
        c.claim.id for c in (*b_training.CLAIMS, *b_progress.CLAIMS)
    }
