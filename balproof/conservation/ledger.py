"""Finite steps, exactly: what a step of training does to z = Aᵀw², which gradient flow keeps.

For every loss of the outputs and every minibatch Aᵀ(w∘g) = 0, g being the gradient. So the change of z
does not depend on the data but through squares of g or of the momentum, and may be booked step by step.
Clipping the global norm of g only changes η² (as long as weight decay is added after it). Source: Kunin
et al., ICLR 2021, for the flow with these corrections; the identities are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from balproof.network.laws import scaling_columns
from balproof.network.manifold import Manifold

Array = np.ndarray


def squares(manifold: Manifold, values: Mapping[str, Array]) -> Array:
    """Aᵀv² for the scaling laws, of one array v for each learned parameter: z for v = w.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> manifold = infer(load("tests/data/chain.json"))
    >>> squares(manifold, {n: 2 * np.ones(t.shape) for n, t in manifold.network.tensors.items()}).tolist()
    [0.0, 0.0]
    """
    learned = {t.name: np.asarray(values[t.name]) ** 2 for t in manifold.network.learned}
    return manifold.adjoint(learned)[list(scaling_columns(manifold))]


def after_sgd(z: Array, g_squares: Array, rate: float, decay: float = 0.0) -> Array:
    """z after w₊ = w − η(g + λw), from Aᵀg²: (1 − ηλ)²z + η²Aᵀg². The term linear in g is Aᵀ(w∘g) = 0.

    >>> after_sgd(np.array([4.0]), np.array([1.0]), 0.5, 1.0).tolist()
    [1.25]
    """
    return (1 - rate * decay) ** 2 * z + rate**2 * g_squares


@dataclass(frozen=True)
class Momentum:
    """The books of m₊ = βm + g + λw, w₊ = w − ηm₊ with c = Aᵀ(w∘m₊): z₊ = z − 2ηc + η²Aᵀm₊².

    c follows from itself: c₊ = β(c − ηAᵀm²) + λz, since w − ηm is the weight that m₊ meets and Aᵀ(w∘g) = 0;
    ``c`` and ``m_squares`` are 0 at the start.
    """

    z: Array
    c: Array
    m_squares: Array

    @staticmethod
    def start(z: Array) -> Momentum:
        return Momentum(z, np.zeros_like(z), np.zeros_like(z))

    def after(self, m_squares: Array, rate: float, momentum: float, decay: float = 0.0) -> Momentum:
        """The books after a step whose new momentum m₊ has Aᵀm₊² = ``m_squares``.

        >>> Momentum.start(np.array([4.0])).after(np.array([1.0]), 0.5, 0.9).z.tolist()
        [4.25]
        """
        c = momentum * (self.c - rate * self.m_squares) + decay * self.z
        return Momentum(self.z - 2 * rate * c + rate**2 * m_squares, c, m_squares)


def after_step(z: Array, across: Array, squares: Array, rate: float, decay: float = 0.0) -> Array:
    """z after w₊ = (1 − ηδ)w − ηu for any direction u, from Aᵀ(w∘u) = ``across`` and Aᵀu² = ``squares``.

    δ is decay beside the gradient (``decay``). What an optimizer is tells Aᵀ(w∘u) without the gradient: for
    SGD with coupled decay λ, u = g + λw, it is λz; for a momentum m that w has met, u = a(g + λw) + bm, it is
    aλz + b·Aᵀ(w∘m).

    >>> after_step(np.array([4.0]), np.array([0.0]), np.array([1.0]), 0.5, 1.0).tolist()
    [1.25]
    """
    kept = 1 - rate * decay
    return kept**2 * z - 2 * rate * kept * across + rate**2 * squares
