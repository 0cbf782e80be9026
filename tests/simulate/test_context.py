"""The recurrent network against NumPy loops, SciPy's minimiser and formulas."""

import numpy as np
import pytest
from scipy.optimize import minimize

from balproof.importers.matrix_file import from_arrays
from balproof.network.manifold import infer
from balproof.simulate import context
from balproof.simulate.context import (
    CONTEXT,
    LEVELS,
    STATES,
    STEP,
    balance,
    forward,
    initial,
    trials,
    weighted,
)
from balproof.simulate.study import conclude

torch = pytest.importorskip("torch", reason="needs PyTorch: make torch")
pytestmark = pytest.mark.torch

TINY = {**CONTEXT.settings, "units": 7, "steps": 6, "iterations": 3, "batch": 4, "trials": 9}


def network(seed: int, units: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {**initial(rng, units), "b": rng.normal(size=units)}


def euler(weights, u):
    """States and outputs of one trial, entry by entry."""
    J, W_in, b, W_out = (weights[n] for n in ("J", "W_in", "b", "W_out"))
    x, states, said = np.zeros(len(J)), [], []
    for now in u:
        rates = np.array([max(v, 0.0) for v in x])
        x = x + STEP * (-x + J @ rates + W_in @ now + b)
        states.append(x)
        said.append(float((W_out @ x)[0]))
    return np.array(states), np.array(said)


def tensors(weights):
    return {n: torch.from_numpy(np.array(w)) for n, w in weights.items()}


def test_the_task():
    u, y = trials(np.random.default_rng(1), 50, 12)
    for k in range(50):
        cue = u[:, k, 2:]
        assert sorted(cue[0]) == [0.0, 1.0]
        assert (cue == cue[0]).all()
        named = int(cue[0, 1])
        total = 0.0
        for t in range(12):
            total += u[t, k, named]
            assert y[t, k] == pytest.approx(2 * total / 12)
    assert {tuple(c) for c in u[0, :, 2:]} == {(0.0, 1.0), (1.0, 0.0)}


def test_forward_is_eulers_method():
    weights = network(2)
    u, _ = trials(np.random.default_rng(3), 4, 9)
    states, said = forward(torch, tensors(weights), torch.from_numpy(u))
    for k in range(4):
        expected, output = euler(weights, u[:, k])
        np.testing.assert_allclose(states[:, k], expected, rtol=1e-12)
        np.testing.assert_allclose(said[:, k], output, rtol=1e-12)


def test_a_rescaling_scales_the_states_and_keeps_the_outputs():
    """By hand: x → e^h x, J → e^{h_i} J e^{−h_j}, and so on; the manifold's rescaling is the same."""
    weights, h = network(4), np.random.default_rng(5).normal(size=6)
    by_hand = {
        "J": weights["J"] * np.exp(h[:, None] - h[None, :]),
        "W_in": weights["W_in"] * np.exp(h)[:, None],
        "b": weights["b"] * np.exp(h),
        "W_out": weights["W_out"] * np.exp(-h),
    }
    rescaled = infer(from_arrays(weights)).rescale(h)
    for name, value in by_hand.items():
        np.testing.assert_allclose(rescaled.numbers(name), value, rtol=1e-13)
    u, _ = trials(np.random.default_rng(3), 4, 9)
    before = [v.numpy() for v in forward(torch, tensors(weights), torch.from_numpy(u))]
    after = [v.numpy() for v in forward(torch, tensors(by_hand), torch.from_numpy(u))]
    np.testing.assert_allclose(after[0], before[0] * np.exp(h), rtol=1e-10)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_that_of_scipy_and_the_flow_ends_there(seed):
    rng = np.random.default_rng(seed)
    K = rng.normal(size=(5, 5)) * np.exp(rng.normal(size=(5, 5)))

    def cost(h):
        return float(np.sum((K * np.exp(h[:, None] - h[None, :])) ** 2))

    found = balance(K)
    theirs = minimize(cost, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(found.h, theirs - theirs.mean(), atol=1e-6)
    assert found.h.sum() == pytest.approx(0.0, abs=1e-12)
    assert found.flow_ends_off < 1e-7
    assert found.imbalance < 1e-12


def test_a_unit_that_is_never_active_is_left_alone():
    J = network(6)["J"]
    K = weighted(J, np.array([1.0, 0.5, 0.0, 0.25, 1.0, 1.0]))
    assert not K[2].any()
    assert not K[:, 2].any()
    found = balance(K)
    assert found.h[2] == 0.0
    others = np.delete(np.delete(K, 2, 0), 2, 1)
    np.testing.assert_allclose(np.delete(found.h, 2), balance(others).h, atol=1e-9)


def test_the_disturbance_is_what_the_formula_says():
    """N − 2 Σ r_i J_ii + Σ r_j J_ij² for noise of variance 1, here with 200,000 draws."""
    rng, J = np.random.default_rng(7), network(8)["J"]
    states = torch.from_numpy(rng.choice([-1.0, 1.0], size=(200_000, 6), p=[0.3, 0.7]))
    noise = torch.from_numpy(rng.normal(size=(200_000, 6)) * 1e-6)
    r = (states > 0).double().mean(0).numpy()
    expected = 6 - 2 * np.sum(r * np.diag(J)) + np.sum(r * J**2)
    seen = context.disturbance(torch, torch.from_numpy(J), states, noise) / 1e-12
    assert seen == pytest.approx(expected, rel=0.01)


def test_training_lowers_the_loss():
    losses = context.train(torch, np.random.default_rng(0), {**TINY, "iterations": 60, "batch": 32})[1]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


def test_every_effect_is_measured_and_what_is_provable_holds():
    from matplotlib.figure import Figure

    runs = [CONTEXT.run(seed, None, TINY) for seed in range(2)]
    effects, _ = conclude(CONTEXT, runs)
    assert all(e.mean is not None for e in effects)
    for e in effects:
        if "provable)" in e.effect.name or e.effect.claimed == "identity":
            assert e.agree == 2, e.sentence
    assert CONTEXT.run(1, None, TINY) == runs[1]
    assert runs[0] != runs[1]
    figure = Figure()
    CONTEXT.draw(figure, runs)
    assert len(figure.axes) == 3
    assert len(runs[0].series["level"]) == len(LEVELS) == len(runs[0].series["hidden, balanced"])


def test_a_network_that_is_not_rescaled_as_a_whole_is_noticed(monkeypatch):
    """Planted: the read-out is forgotten, so the loss of the task is another."""

    class Forgetful:
        def __init__(self, manifold):
            self.manifold = manifold

        def rescale(self, h):
            found = self.manifold.rescale(h)
            return found.with_parameters({"W_out": self.manifold.network.numbers("W_out")})

    monkeypatch.setattr(context, "infer", lambda net: Forgetful(infer(net)))
    effects, _ = conclude(CONTEXT, [CONTEXT.run(seed, None, TINY) for seed in range(2)])
    kept = {e.effect.treated: e.verdict for e in effects if e.effect.claimed == "identity"}
    assert [kept[f"loss, {state}"] for state in STATES[1:]] == ["not reproduced"] * 3


@pytest.mark.slow
def test_a_trained_network_solves_the_task_and_noise_disturbs_it_less():
    for seed in range(2):
        found = CONTEXT.run(seed, None, CONTEXT.settings).numbers
        assert found["explained"] > 0.98
        for what in ("cost", "disturbance of the speed"):
            low, middle, high = (found[f"{what}, {s}"] for s in ("balanced", "trained", "antibalanced"))
            assert low < middle < high
        assert found["end of the flow"] < 1e-6
