"""Steps of stochastic gradient descent as PyTorch computes them, and how far rounding may take them.

With g̃ = g + λw (coupled decay), f = 1 − ηδ (decoupled decay δ), dampening τ, and a buffer m that starts as g̃:

    m₊ = βm + (1 − τ)g̃
    u = m₊ (heavy ball), or g̃ + βm₊ (Nesterov), or g̃ (β = 0)
    w₊ = f w − ηu

So u = a·g̃ + b·m with numbers a and b, and the step that was made tells u = (f w − w₊)/η and with it m₊: the
next step can be foretold from two sets of weights and their gradients, without the optimizer's buffer.

Exact identity. A is the scaling manifold and z = Aᵀw². As Aᵀ(w∘g) = 0,

    Aᵀ(w∘u) = aλz + b·Aᵀ(w∘m),   z₊ = f²z − 2ηf·Aᵀ(w∘u) + η²Aᵀu²

where all tensors of a unit have one η, λ, δ, β and τ. Without momentum it reads z₊ = (1 − ημ)²z + η²Aᵀg² for
either decay μ. For the heavy ball Aᵀ(w∘m) follows from step to step, as f⁻Aᵀ(w⁻∘m) − η⁻Aᵀm².
Source: Kunin et al., ICLR 2021, for the flows that these steps approximate; the steps are PyTorch's `SGD`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balproof.errors import RequestError

Array = np.ndarray


@dataclass(frozen=True)
class Sgd:
    """The settings of one step: those of ``torch.optim.SGD``, by other names.

    ``decay`` is added to the gradient, ``decoupled`` is decay beside it. Raises RequestError for settings
    that are out of range.

    >>> Sgd(0.1, momentum=0.9).mixture(first=False)
    (1.0, 0.9)
    """

    rate: float
    momentum: float = 0.0
    dampening: float = 0.0
    decay: float = 0.0
    nesterov: bool = False
    decoupled: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.rate, self.momentum, self.dampening, self.decay, self.decoupled)
        if not all(np.isfinite(x) for x in numbers) or self.rate < 0 or self.momentum < 0:
            raise RequestError(f"{self.text} is out of range", "give finite settings from 0")
        if self.nesterov and (self.momentum == 0 or self.dampening):
            raise RequestError(
                "Nesterov's step needs momentum, and no dampening", "set one and not the other"
            )

    @property
    def kept(self) -> float:
        """f, by which decoupled decay multiplies the weights."""
        return 1.0 - self.rate * self.decoupled

    def mixture(self, *, first: bool) -> tuple[float, float]:
        """a and b of u = a·g̃ + b·m. The buffer of a first step is g̃, without dampening."""
        fresh = 1.0 if first else 1.0 - self.dampening
        if self.momentum == 0:
            return 1.0, 0.0
        beta = self.momentum
        a, b = (1.0 + beta * fresh, beta * beta) if self.nesterov else (fresh, beta)
        return a, 0.0 if first else b

    @property
    def text(self) -> str:
        """In words: ``SGD, rate 0.1, momentum 0.9``."""
        said = [f"SGD, rate {self.rate:g}"]
        said += [f"momentum {self.momentum:g}"] * bool(self.momentum) + ["Nesterov"] * self.nesterov
        said += [f"dampening {self.dampening:g}"] * bool(self.dampening)
        said += [f"decay {self.decay:g}"] * bool(self.decay)
        said += [f"decoupled decay {self.decoupled:g}"] * bool(self.decoupled)
        return ", ".join(said)


@dataclass(frozen=True, eq=False)
class History:
    """What a step leaves to the next: its direction u, g̃, and its settings; ``known`` is false at rate 0."""

    u: Array
    smooth: Array
    rule: Sgd
    known: bool


@dataclass(frozen=True, eq=False)
class Foretold:
    """A step foretold: u = a·g̃ + b·m, m (0 for a first step), and w₊ with a bound on its rounding.

    ``basis`` are the directions in which faults would move w₊: by a factor of the gradient, by decay of the
    gradient's kind, by decay beside it, and by momentum.
    """

    u: Array
    m: Array
    a: float
    b: float
    after: Array
    bound: Array
    basis: tuple[Array, ...]


FAULTS = ("rate", "decay", "decoupled", "momentum")
"""What the directions of `Foretold.basis` are of."""


def foretell(
    rule: Sgd, w: Array, g: Array, last: History | None, unit: float, tiny: float
) -> Foretold | None:
    """The step from w and g, all in double precision; None where the step before left no momentum to be read.

    ``unit`` and ``tiny`` are the rounding of the weights' type: each operation of the step errs by at most
    unit·|result| + tiny, also where its factor was rounded to that type before.
    """
    u1 = 1.01 * (unit + 2.0**-53)  # theirs and our own; products of roundings are below a percent of it
    beta, eta = rule.momentum, rule.rate
    smooth = g + rule.decay * w
    zero = np.zeros_like(w)
    m, m_bound, before, smooth_before = zero, zero, w, zero
    if last is not None:
        old = last.rule
        if beta and not last.known:
            return None
        # The step before, w = f w⁻ − ηu, was rounded as well.
        before = (w + old.rate * last.u) / old.kept if old.kept else w
        if beta:
            wrong = u1 * (2 * old.rate * np.abs(last.u) + np.abs(w)) + 2 * tiny
            wrong = (wrong + 2 * u1 * np.abs(w + old.rate * last.u) * bool(old.decoupled)) / old.rate
            m, m_bound = last.u, wrong
            if old.nesterov:
                m = (last.u - last.smooth) / old.momentum
                ours = u1 * (np.abs(last.u) + 2 * np.abs(last.u - last.smooth) + 3 * np.abs(last.smooth))
                m_bound = (wrong + ours) / old.momentum
                smooth_before = last.smooth
    first = last is None
    a, b = rule.mixture(first=first)
    u = a * smooth + b * m
    after = rule.kept * w - eta * u
    sizes = (
        abs(a) * (2 * np.abs(rule.decay * w) + 4 * np.abs(smooth)) + 4 * abs(b) * np.abs(m) + 3 * np.abs(u)
    )
    bound = u1 * (eta * sizes + 2 * eta * np.abs(u) + np.abs(after)) + eta * abs(b) * m_bound + 4 * tiny
    if rule.decoupled:
        bound += 2 * u1 * np.abs(w)
    back = beta if not first else 0.0
    turned = back if rule.nesterov else 0.0
    basis = (
        -eta * (a * smooth - turned * smooth_before),
        -eta * (a * w - turned * before),
        -eta * (w - back * before),
        -eta * (zero if last is None else last.u),
    )
    return Foretold(u, m, a, b, after, bound, basis)


def history(rule: Sgd, w: Array, g: Array, after: Array) -> History:
    """What the step from w to ``after`` was, read off the weights."""
    known = rule.rate != 0
    u = (rule.kept * w - after) / rule.rate if known else np.zeros_like(w)
    return History(u, g + rule.decay * w, rule, known)
