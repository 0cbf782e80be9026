"""Laws along integrated flows, with gradients by hand; and a quantity that is no law drifts."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.conservation import conserved
from tests.conservation.training import Perceptron, integrate
from tests.sweeps import spread

CASES = [  # seeds with which no sample stays on a kink, where the flow would slide
    ([3, 4, 2], "relu", 0, True, False),
    ([2, 3, 3, 2], "relu", 3, True, False),
    ([2, 3, 2], "relu", 0, False, False),
    ([3, 3, 2], "leaky_relu:1/5", 1, True, False),
    ([2, 3, 2], "Max(x,0)**2", 0, True, False),
    ([2, 3, 2], "linear", 0, True, False),
    ([2, 3, 4, 3], "linear", 0, False, False),
    ([1, 3, 1], "linear", 0, False, False),
    ([3, 3, 3], "relu", 1, True, True),
    ([2, 2, 3], "linear", 0, True, True),
]


@pytest.mark.parametrize(("widths", "activation", "seed", "bias", "classes"), spread(CASES, 2))
def test_every_law_is_kept_and_another_quadratic_drifts(widths, activation, seed, bias, classes) -> None:
    p = Perceptron(widths, activation, seed, bias=bias, classes=classes, cases=5)
    found = conserved(p.network, loss="cross-entropy" if classes else "any")
    assert found.count.verdict == "complete"
    states = integrate(lambda _, v: -p.slope(v), p.flat(p.start), 0.3)
    values = np.array([found.at(p.unflat(v)) for v in states])
    size = np.sum(states[0] ** 2)
    np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), rtol=1e-8, atol=1e-8 * size)
    rng = np.random.default_rng(7)
    m = rng.standard_normal((states.shape[1],) * 2)
    other = np.einsum("ti,ij,tj->t", states, m + m.T, states)
    assert np.ptp(other) > 1e-2 * size


def test_momentum_keeps_antisymmetric_laws_and_loses_the_scaling_laws() -> None:
    p = Perceptron([2, 3, 2], "linear", seed=1)
    found = conserved(p.network, flow="momentum:1/2")
    assert len(found.laws) == 3 and {law.kind for law in found.laws} == {"antisymmetric"}
    n = len(p.flat(p.start))

    def speed(_: float, s: np.ndarray) -> np.ndarray:
        return np.concatenate([s[n:], -0.5 * s[n:] - p.slope(s[:n])])

    rng = np.random.default_rng(0)
    states = integrate(speed, np.concatenate([p.flat(p.start), 0.3 * rng.standard_normal(n)]), 0.8)
    times = np.linspace(0, 0.8, 7)
    for form in found.forms:
        j = np.zeros((n, n))
        for (e, f), c in form.items():
            j[e, f] = float(c)
        np.testing.assert_array_equal(j, -j.T)
        value = np.exp(0.5 * times) * np.einsum("ti,ij,tj->t", states[:, n:], j, states[:, :n])
        np.testing.assert_allclose(value, value[0], rtol=1e-8, atol=1e-9)
        assert np.ptp(value * np.exp(-0.5 * times)) > 1e-3
    plain = conserved(p.network)
    scaling = np.array([plain.at(p.unflat(s[:n])) for s in states])
    assert np.all(np.ptp(scaling, axis=0) > 1e-4)


def test_no_law_remains_for_relu_with_momentum() -> None:
    assert conserved(Perceptron([3, 3, 2], "relu", seed=1).network, flow="momentum:1/2").laws == ()


def test_weight_decay_lets_the_laws_fall() -> None:
    p = Perceptron([2, 3, 2], "relu", seed=0, cases=5)
    found = conserved(p.network, flow="decay:1/10")
    assert found.count.verdict == "complete" and found.laws[0].formula.startswith(
        "e^(t/5)·(Σ fc1.weight[0,:]²"
    )
    states = integrate(lambda _, v: -p.slope(v) - 0.1 * v, p.flat(p.start), 0.3)
    values = np.array([found.at(p.unflat(v)) for v in states])
    grown = np.exp(0.2 * np.linspace(0, 0.3, 7))[:, None] * values
    np.testing.assert_allclose(grown, np.broadcast_to(grown[0], grown.shape), rtol=1e-8, atol=1e-9)
    assert np.all(np.ptp(values, axis=0) > 1e-4)


def test_mirror_flow_keeps_the_diagonal_laws_in_another_form() -> None:
    p = Perceptron([2, 3, 2], "linear", seed=3)
    found = conserved(p.network, flow="mirror:w**4/4 + w**2/2")
    assert [law.kind for law in found.laws] == ["scaling"] * 3
    assert found.laws[0].formula.endswith("with g(w) = w**2*(3*w**2 + 2)/4 in place of w²")
    states = integrate(lambda _, v: -p.slope(v) / (3 * v**2 + 1), p.flat(p.start), 0.4)
    g = 3 * states**4 / 4 + states**2 / 2
    for form in found.forms:
        m = np.zeros(states.shape[1])
        for (e, f), c in form.items():
            assert e == f
            m[e] = float(c)
        np.testing.assert_allclose(g @ m, (g @ m)[0], rtol=1e-9, atol=1e-10)
        assert np.ptp(states**2 @ m) > 1e-3  # what gradient flow keeps is lost
    everything = conserved(p.network)
    lost = [k for k, law in enumerate(everything.laws) if law.kind == "quadratic"]
    values = np.array([everything.at(p.unflat(v))[lost] for v in states])
    assert len(lost) == 3 and np.all(np.ptp(values, axis=0) > 1e-4)


def test_a_mirror_flow_is_counted_only_where_it_is_defined() -> None:
    network = Perceptron([2, 3, 2], "relu", seed=3).network
    entropy = conserved(network, flow="mirror:w*log(w)")
    assert (entropy.count.verdict, entropy.count.k) == ("at-least", 3)  # the point has negative weights
    assert "where every weight w has ψ″(w) > 0" in entropy.flow
    assert entropy.laws[0].formula.endswith("with g(w) = w in place of w²")
    assert conserved(network, flow="mirror:w**4").count.verdict == "complete"
    without = conserved(Perceptron([2, 3, 2], "linear", seed=3).network, flow="mirror:w**4")
    assert without.count.verdict == "at-most"  # brackets of the fields of gradient flow say nothing here


def test_the_full_fisher_matrix_keeps_the_laws_and_its_diagonal_does_not() -> None:
    p = Perceptron([2, 3, 2], "Max(x,0)**2", seed=4, cases=4)
    found = conserved(p.network, flow="natural")

    def fisher(v: np.ndarray) -> np.ndarray:
        w = p.unflat(v)
        columns = []
        for case in range(len(p.x)):
            y = p.outputs(w, p.x[case : case + 1])[0]
            for k in range(y.shape[1]):
                kept = p.target[case].copy()
                p.target[case] = y[0] - np.eye(y.shape[1])[k]  # so that the gradient is that of output k
                columns.append(p.flat(p.gradient(w, slice(case, case + 1))))
                p.target[case] = kept
        j = np.array(columns)
        return j.T @ j

    def natural(_: float, v: np.ndarray) -> np.ndarray:
        return -np.linalg.solve(fisher(v) + 0.3 * np.eye(len(v)), p.slope(v))

    def diagonal(_: float, v: np.ndarray) -> np.ndarray:
        return -p.slope(v) / (np.diag(fisher(v)) + 0.3)

    drift = []
    for speed in (natural, diagonal):
        states = integrate(speed, p.flat(p.start), 0.3)
        drift.append(np.ptp([found.at(p.unflat(v)) for v in states], axis=0))
    assert np.all(drift[0] < 1e-8) and np.all(drift[1] > 1e-4)
    assert found.count.verdict == "complete"
