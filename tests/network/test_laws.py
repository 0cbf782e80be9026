"""Scaling laws: conserved along an integrated gradient flow, and a quantity that is not a law drifts."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from balproof.importers import load
from balproof.network.evaluate import evaluate
from balproof.network.graph import Network
from balproof.network.laws import scaling_laws
from balproof.network.manifold import infer
from tests.conservation.nets import normalised
from tests.networks import mlp


def gradient_flow(network: Network, end: float = 0.5) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights before and after ẇ = −∇E for a squared error, with gradients by central differences."""
    rng = np.random.default_rng(0)
    x = {"x": rng.standard_normal((8, network.tensors["x"].shape[1]))}
    target = rng.standard_normal(evaluate(network, x)[network.outputs[0]].shape)
    names = [t.name for t in network.parameters]
    shapes = [network.tensors[n].shape for n in names]
    splits = np.cumsum([network.tensors[n].size for n in names])[:-1]

    def unpack(w: np.ndarray) -> dict[str, np.ndarray]:
        return {n: v.reshape(s) for n, v, s in zip(names, np.split(w, splits), shapes, strict=True)}

    def loss(w: np.ndarray) -> float:
        y = evaluate(network.with_parameters(unpack(w)), x)[network.outputs[0]]
        return float(np.mean((y - target) ** 2))

    def slope(_: float, w: np.ndarray) -> np.ndarray:
        step = 1e-6
        return np.array([-(loss(w + step * e) - loss(w - step * e)) / (2 * step) for e in np.eye(len(w))])

    start = np.concatenate([network.numbers(n).ravel() for n in names])
    run = solve_ivp(slope, (0.0, end), start, rtol=1e-8, atol=1e-10)
    return unpack(start), unpack(run.y[:, -1])


def test_laws_hold_along_the_flow_and_another_quadratic_drifts() -> None:
    network = mlp([2, 3, 2], seed=4, spread=0.3, activation="Max(x,0)**2")
    manifold = infer(network)
    before, after = gradient_flow(network)
    value = [manifold.adjoint({k: v**2 for k, v in w.items()}) for w in (before, after)]
    np.testing.assert_allclose(value[0], value[1], atol=1e-6)
    drift = sum(float(np.sum(after[k] ** 2) - np.sum(before[k] ** 2)) for k in before)
    assert abs(drift) > 1e-2


def test_formulas_name_slices_and_degrees() -> None:
    laws = scaling_laws(mlp([2, 3, 2], activation="Max(x,0)**2"))
    assert laws[1].formula == "Σ fc1.weight[1,:]² + fc1.bias[1]² − 2·Σ fc2.weight[:,1]²"
    assert len(laws) == 3


def test_recurrent_formula() -> None:
    found = scaling_laws(load({"J": np.array([[0.0, 2.0], [0.5, 0.0]])}))
    assert found[0].formula == "Σ J[0,:]² − Σ J[:,0]²"


def test_a_unit_that_a_buffer_has_to_follow_has_no_law() -> None:
    """The running mean would have to scale with fc1, and gradient flow does not move it."""
    moving, resting = normalised(3, 2), normalised(3, 2, mean=False)
    assert [law.formula for law in scaling_laws(moving)] == [
        f"gamma[{i}]² + beta[{i}]² − Σ fc2.weight[:,{i}]²" for i in range(2)
    ]
    assert len(scaling_laws(resting)) == 4
    assert not any("mean" in law.formula for law in scaling_laws(resting))
