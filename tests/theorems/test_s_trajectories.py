"""The map from inputs to outputs of a recurrent network, and each check seen failing."""

from fractions import Fraction

import numpy as np
import pytest
import sympy

from balproof.network.manifold import Manifold
from balproof.theorems import s_trajectories as s
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict

ONE = Fraction(1)


def verdicts(claim):
    return [(e.method, e.verdict) for e in run_claim(claim).findings.evidence]


def test_proved_with_every_twin_refuted():
    record = run_claim(s.trajectories)
    assert record.ok
    assert record.verdict is Verdict.proved
    assert len(record.findings.twins) == 6


def test_speed_by_hand():
    net = s.Recurrent([[ONE, -2 * ONE], [3 * ONE, ONE]], [[ONE], [ONE]], [ONE / 2, ONE], [[ONE, ONE]])
    # x = (2, -1), u = 3: −2 + (2 − 0) + 3 + 1/2 and 1 + (6 + 0) + 3 + 1
    assert net.speed([2 * ONE, -ONE], [3 * ONE]) == [Fraction(7, 2), 11]
    assert s.transformed(net, [ONE, 2 * ONE]).J == [[1, -4], [Fraction(3, 2), 1]]
    assert s.transformed(net, [ONE, 2 * ONE]).W_out == [[1, 2]]


@pytest.mark.parametrize("name", ["J", "W_in", "b", "W_out"])
def test_a_weight_that_is_not_transformed_is_seen(name, monkeypatch):
    monkeypatch.setitem(s._TRANSFORM, name, sympy.S.One)
    assert not s._field_is_carried_along()


@pytest.mark.slow
def test_a_state_that_is_multiplied_is_seen(monkeypatch):
    monkeypatch.setattr(s, "divided", lambda x, e: [v * w for v, w in zip(x, e, strict=True)])
    assert ("exact", Verdict.refuted) in verdicts(s.trajectories)


@pytest.mark.slow
def test_a_slope_beyond_the_bound_is_seen(monkeypatch):
    right = s._lipschitz
    monkeypatch.setattr(s, "_lipschitz", lambda: [conditions[2:] for conditions in right()])
    assert ("z3", Verdict.refuted) in verdicts(s.trajectories)


def test_tanh_is_seen_along_the_flow():
    assert s._flows_agree(np.abs)
    assert not s._flows_agree(np.tanh)


def test_a_package_that_scales_the_other_way_is_seen(monkeypatch):
    right = Manifold.rescale
    monkeypatch.setattr(Manifold, "rescale", lambda self, h: right(self, -h))
    assert not s._package_agrees()


def test_a_homogeneous_function_is_no_witness_against_tanh(monkeypatch):
    monkeypatch.setattr(s.sympy, "tanh", abs)
    assert not s._tanh_differs()


def test_units_renamed_or_split_read_the_same():
    """A unit in two halves that share its read-out, and units in another order, make the same output."""
    rng = np.random.default_rng(4)
    t = np.linspace(0, 3, 7)
    J, W_in, b, W_out = (rng.normal(size=shape) for shape in ((3, 3), (3, 2), (3,), (1, 3)))
    x = rng.normal(size=3)
    unit = lambda v: np.maximum(v, 0)  # noqa: E731
    before = s.outputs((J, W_in, b, W_out), x, unit, t)
    order = [2, 0, 1]
    permuted = (J[np.ix_(order, order)], W_in[order], b[order], W_out[:, order])
    assert np.allclose(s.outputs(permuted, x[order], unit, t), before, atol=1e-8)
    copies, share = [0, 1, 2, 2], np.array([1, 1, 0.5, 0.5])
    split = (J[np.ix_(copies, copies)] * share, W_in[copies], b[copies], W_out[:, copies] * share)
    assert np.allclose(s.outputs(split, x[copies], unit, t), before, atol=1e-8)
