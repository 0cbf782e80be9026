"""The books of finite steps agree with a training loop to rounding, and each term is needed."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.conservation.ledger import Momentum, after_sgd, squares
from balproof.network.manifold import infer
from tests.conservation.training import Perceptron


@pytest.mark.parametrize("activation", ["relu", "Max(x,0)**2"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_stochastic_gradient_descent(activation: str, decay: float) -> None:
    p = Perceptron([3, 4, 3, 2], activation, seed=5)
    manifold, rng = infer(p.network), np.random.default_rng(0)
    w, rate = dict(p.start), 0.01
    z = before = squares(manifold, w)
    for _ in range(60):
        g = p.gradient(w, rng.choice(12, 4, replace=False))
        norm = np.sqrt(sum(np.sum(v**2) for v in g.values()))
        g = {n: v * min(1.0, 2.0 / norm) for n, v in g.items()}  # clipped
        z = after_sgd(z, squares(manifold, g), rate, decay)
        w = {n: w[n] - rate * (g[n] + decay * w[n]) for n in w}
    actual = squares(manifold, w)
    np.testing.assert_allclose(z, actual, rtol=1e-11, atol=1e-12)
    assert np.max(np.abs(actual - (1 - rate * decay) ** 120 * before)) > 1e-4  # the squares matter


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_momentum(decay: float) -> None:
    p = Perceptron([3, 4, 2], "relu", seed=6)
    manifold, rng = infer(p.network), np.random.default_rng(1)
    w, rate, beta = dict(p.start), 0.01, 0.8
    m = {n: np.zeros_like(v) for n, v in w.items()}
    books = Momentum.start(squares(manifold, w))
    start = books.z
    for _ in range(60):
        g = p.gradient(w, rng.choice(12, 4, replace=False))
        m = {n: beta * m[n] + g[n] + decay * w[n] for n in w}
        books = books.after(squares(manifold, m), rate, beta, decay)
        w = {n: w[n] - rate * m[n] for n in w}
    actual = squares(manifold, w)
    np.testing.assert_allclose(books.z, actual, rtol=1e-11, atol=1e-12)
    assert np.all(np.abs(actual - start) > 1e-6)
    assert np.all(np.abs(books.c) > 1e-9)  # without c the books would be wrong
