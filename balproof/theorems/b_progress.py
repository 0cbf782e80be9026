"""[B] Section 4: whether balance measures how far learning has come."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy

from balproof.theorems.b_lemmas import PAPER, excludes_zero, printed_false, twin
from balproof.theorems.b_scaling import _mixed, _tanh_sides
from balproof.theorems.b_training import (
    _DATA,
    _MU,
    _REACHED,
    _TIMES,
    _decay_l1,
    _example,
    _flow_law,
    deficits,
    flow,
    leaving,
    resting_deficit,
    stepped,
    weights,
)
from balproof.theorems.instances import layered
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.verdict import Verdict, timed


def blind(target: Fraction, steps: int = 12) -> tuple[list[Fraction], list[Fraction]]:
    """x→u→y from w = v = ½ by steps of 1/10 on ½(wv − target)²: the errors |wv − target| and the deficits
    D²."""
    w = v = Fraction(1, 2)
    errors, D = [], []
    for _ in range(steps):
        e = w * v - target
        errors.append(abs(e))
        D.append((w * w - v * v) ** 2)
        w, v = (x.limit_denominator(10**6) for x in (w - e * v / 10, v - e * w / 10))
    return errors, D


def _deficit_rate() -> bool:
    """d/dt Σ_k D_k² = −4μΣ_k D_k², for any number of units, from Ḋ_k = −2μD_k."""
    D, k, n = (
        sympy.IndexedBase("D"),
        sympy.Symbol("k", integer=True),
        sympy.Symbol("n", integer=True, positive=True),
    )
    rate = sympy.Sum(2 * D[k] * (-2 * _MU * D[k]), (k, 1, n))
    return _flow_law() and sympy.simplify(rate + 4 * _MU * sympy.Sum(D[k] ** 2, (k, 1, n))) == 0


def _same_for_all_errors() -> bool:
    """3-5-4-2 with two sets of targets: the errors differ by more than 10 %, ΣD² by less than 1e-4 of
    itself, and
    it is e^{−4μt} of what it was."""
    matrices, X, Y = _example()
    runs = [flow(matrices, X, scale * Y, 0.2, _TIMES) for scale in (1.0, 3.0)]
    totals = [np.sum(D**2, axis=1) for _, D in runs]
    expected = totals[0][0] * np.exp(-0.8 * _TIMES)
    apart = abs(runs[0][0][-1] - runs[1][0][-1]) > 0.1 * runs[0][0][-1]
    return bool(apart and all(np.max(np.abs(t / expected - 1)) < 1e-4 for t in totals))


def _slope_of_step() -> bool:
    """d/dη of ΣD′² at η = 0, from exact steps of a ReLU and a degree-2 network with decay 1/3: −4μΣD².

    D′ is a polynomial of degree 2 in η with D′(0) = D, so three values give its slope exactly.
    """
    plain = layered([[[1, 2], [3, "-1/2"]], [[2, -1]]], "relu", {0: [1, "1/3"]})
    for network in (plain, _mixed()):
        D = deficits(network, weights(network))
        rows = []
        for rate in (sympy.Rational(1, 10), sympy.Rational(1, 5)):
            after, _squares = stepped(network, _DATA, rate, sympy.Rational(1, 3))
            rows.append(deficits(after, weights(after)))
        slopes = [(4 * a - b - 3 * d) / (2 * sympy.Rational(1, 10)) for d, a, b in zip(D, *rows, strict=True)]
        rate_of_sum = sum(2 * d * s for d, s in zip(D, slopes, strict=True))
        if rate_of_sum != -sympy.Rational(4, 3) * sum(d**2 for d in D) or rate_of_sum == 0:
            return False
    return True


@claim(
    Claim(
        "B.progress",
        "Balance measures the progress of learning",
        f"{PAPER}, Section 4 and simulations",
        "How balanced a network is can be used to assess how far learning has come.",
        "Along the gradient flow of $E+\\frac\\mu2\\sum w^2$ the deficit $\\sum_iD_i^2$, $D=A^\\top w^2$, "
        "falls at the rate $4\\mu$ exactly: $\\sum_iD_i(t)^2=e^{-4\\mu t}\\sum_iD_i(0)^2$, whatever $E$ is. "
        "So it tells the time, and nothing of $E$: two errors give the same deficits at all times. That it "
        "goes with learning in a given training run by steps is an empirical matter.",
        (
            "E is differentiable along the path and depends on the weights through the function alone",
            "continuous time",
            "the regularizer is (μ/2)Σw²",
        ),
        Verdict.proved,
        ("B.gd-regularized-balances",),
    )
)
def progress() -> Findings:
    """Ḋ = −2μD does not contain E."""
    errors, D = blind(Fraction(4))
    says_nothing = (
        not any(D)
        and all(b < a for a, b in zip(errors[:-1], errors[1:], strict=True))
        and (errors[-1] < Fraction(1, 100) < 3 < errors[0])
    )
    before, after, _squares = leaving()
    left, right = _tanh_sides()
    start, end = resting_deficit()
    return Findings(
        printed_false(
            says_nothing and start == end != 0,
            "x→u→y, w = v = ½, target 4, twelve steps of 1/10: the deficit is 0 all the way, while |y − 4| "
            f"falls from 3.75 to {float(errors[-1]):.4f}. From w = 1, v = 2 with target 1, the flow of E "
            f"alone keeps it at {start**2}, also where E = 0. It is a clock (below), not a measure of E",
        ),
        (
            timed(
                "sympy",
                "any numbers of weights and units, any A: Ḋ = −2μD given Aᵀ(w∘∇E) = 0, so the sum of squares "
                "has rate 4μ",
                Verdict.proved,
                _deficit_rate,
            ),
            timed(
                "exact",
                "a ReLU network with biases and one of degree 2: the slope of ΣD² in the step size, at 0, is "
                "−4μΣD² in fractions",
                Verdict.certified,
                _slope_of_step,
            ),
            timed(
                "sampled",
                "3-5-4-2 ReLU with two sets of targets: errors differ by more than 10 %, ΣD² is e^{−4μt} of "
                "its start for both to 1e-4",
                Verdict.sampled,
                _same_for_all_errors,
            ),
        ),
        (
            twin(
                "the decay μ > 0",
                start == end == -3,
                "x→u→y, w = 1, v = 2, target 1, E alone: D = −3 from the start to E = 0",
            ),
            twin(
                "continuous time",
                before == 0 < after,
                f"{_REACHED}one step of 1/10 raises the deficit from 0 to (4/25)²",
            ),
            twin(
                "the regularizer is (μ/2)Σw²",
                _decay_l1() == -4,
                "w = (3, 4), v = 5 with R = Σ|w|: D = 0 and Ḋ = −4, so the deficit rises",
            ),
            twin(
                "E depends on the weights through units that scale",
                excludes_zero(left - right),
                "y = v·tanh(w), E = y²/2, w = v = 1: D = 0 and Ḋ ≠ 0, so the deficit rises",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (progress,)
