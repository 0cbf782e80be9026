"""Related results: how many operations Osborne's iteration with random units takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sympy

from balproof.theorems.b_lemmas import by_z3, exponential_above_tangent, twin, vanishes
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray
CONSTANT = 4.0
"""Steps are at most CONSTANT·n·ε⁻²·log κ in the mean, each of 2m/n operations in the mean."""


def imbalance(A: Array) -> float:
    """Σ_k |row k − column k| over the sum of all entries.

    >>> imbalance(np.array([[0.0, 3.0], [1.0, 0.0]]))
    1.0
    """
    return float(np.abs(A.sum(axis=1) - A.sum(axis=0)).sum() / A.sum())


def balance_unit(A: Array, k: int) -> Array:
    """Row and column k brought to the same sum.

    >>> balance_unit(np.array([[0.0, 4.0], [1.0, 0.0]]), 0).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    scale = float(np.sqrt(A[:, k].sum() / A[k].sum()))
    found = A.copy()
    found[k] *= scale
    found[:, k] /= scale
    return found


def kappa(A: Array) -> float:
    """The sum of all entries over the least that is not 0."""
    return float(A.sum() / A[A > 0].min())


@dataclass(frozen=True)
class Course:
    """What a run took: steps, and entries read and scaled."""

    steps: int
    operations: int


def course(A: Array, epsilon: float, rng: np.random.Generator) -> Course:
    """Random units until the imbalance is at most ε."""
    entries = (A > 0).sum(axis=0) + (A > 0).sum(axis=1)
    now, steps, operations = A, 0, 0
    while imbalance(now) > epsilon:
        k = int(rng.integers(len(A)))
        now = balance_unit(now, k)
        steps, operations = steps + 1, operations + int(entries[k])
    return Course(steps, operations)


def family(name: str, n: int, rng: np.random.Generator) -> Array:
    """Strongly connected matrices, the entries of a random pattern spread over decades, or scaled far off."""
    pattern = rng.random((n, n)) < (0.5 if name == "full" else 0.1)
    found = np.exp(rng.normal(size=(n, n)) * (3 if name == "spread" else 1)) * pattern
    ring = np.arange(n)
    found[ring, (ring + 1) % n] += 1.0
    np.fill_diagonal(found, 0.0)
    if name in ("scaled", "ring"):
        far = np.exp(np.linspace(-4, 4, n)[rng.permutation(n)])
        found = np.roll(np.eye(n), 1, axis=1) if name == "ring" else found
        found = found * far[:, None] / far[None, :]
    return found


FAMILIES = ("full", "spread", "scaled", "ring")


# --- the lemmas ---------------------------------------------------------------------------------------


def _lemmas() -> bool:
    """A step lowers the sum by (√r − √c)²; −log(1 − x) ≥ x; Cauchy and Schwarz, pair by pair; the two factors
    of |r − c|; and what is left when all is put together."""
    x, y, S, eps, n = sympy.symbols("x y S epsilon n", positive=True)  # x = √r, y = √c
    a, b, c, d = sympy.symbols("a b c d", real=True)
    scale = y / x
    gain = (x**2 + y**2) - (x**2 * scale + y**2 / scale) - (x - y) ** 2
    lagrange = (a * d - b * c) ** 2 - (a**2 * d**2 + b**2 * c**2 - 2 * (a * c) * (b * d))
    factors = (x**2 - y**2) - (x - y) * (x + y)
    doubled = 2 * (x**2 + y**2) - (x + y) ** 2 - (x - y) ** 2
    # (εS)² ≤ Σ(√r − √c)²·Σ(√r + √c)² and Σ(√r + √c)² ≤ 2Σ(r + c) = 4S: the mean gain over S.
    mean_gain = (eps * S) ** 2 / (4 * S) / n / S - eps**2 / (sympy.Float(CONSTANT) * n)
    return vanishes(gain, lagrange, factors, doubled, mean_gain) and exponential_above_tangent()


def _cycle_is_kept() -> bool:
    """An entry a_uv becomes a_uv·s_u/s_v: the product around a cycle u → v → … → u telescopes, one entry at a
    time; its largest entry is at least its geometric mean, so the sum is at least the least entry of A."""
    P, a, s, t, r = sympy.symbols("P a s t r", positive=True)
    walk = (P * s / t) * (a * t / r) - (P * a) * s / r
    return vanishes(walk, (P * s / t).subs(t, s) - P)


def _gain_queries() -> list[list[sympy.Basic]]:
    """Two units with row sums x², column sums y², Σx² = Σy² = S: no Σ(x − y)²·4S < (Σ|x² − y²|)²;
    the two differences are of one size, the second with the other sign."""
    x1, x2, y1, y2 = sympy.symbols("x1 x2 y1 y2", positive=True)
    gain = (x1 - y1) ** 2 + (x2 - y2) ** 2
    total = x1**2 + x2**2
    return [[sympy.Eq(total, y1**2 + y2**2), 4 * total * gain < 4 * (x1**2 - y1**2) ** 2]]


# --- runs ---------------------------------------------------------------------------------------------


def _mean_gain() -> bool:
    """At 200 matrices: the mean over all units of log S before − after is at least (imbalance)²/4n."""
    rng = np.random.default_rng(71)
    for i in range(200):
        A = family(FAMILIES[i % 4], int(rng.integers(2, 9)), rng)
        n = len(A)
        gains = [np.log(A.sum() / balance_unit(A, k).sum()) for k in range(n)]
        if np.mean(gains) < imbalance(A) ** 2 / (CONSTANT * n) * (1 - 1e-12) - 1e-14:
            return False
    return True


@dataclass(frozen=True)
class Measured:
    """For a family: mean operations over m·ε⁻²·log κ for ε, and how they grow from ε to ε/10 (as a power)."""

    name: str
    share: float
    power: float


def measure(name: str, epsilon: float = 0.1, runs: int = 12, n: int = 12) -> Measured:
    """Mean over random matrices of a family."""
    rng = np.random.default_rng(72)
    share, few, many = 0.0, 0.0, 0.0
    for _ in range(runs):
        A = family(name, n, rng)
        m = int((A > 0).sum())
        first, second = (course(A, e, rng).operations for e in (epsilon, epsilon / 10))
        share += first * epsilon**2 / (m * np.log(kappa(A))) / runs
        few, many = few + first, many + second
    return Measured(name, float(share), float(np.log10(many / few)))


def _runs_within(found: Sequence[Measured]) -> bool:
    """Fewer operations than 2·CONSTANT·m·ε⁻²·log κ in the mean, and growing by less than ε⁻²."""
    return all(0 < f.share <= 2 * CONSTANT and f.power <= 2 for f in found)


def _same_unit() -> tuple[float, float]:
    """1→2→3→1 with costs 1, 16, 1, and unit 1 alone, 1 and 100 times: the imbalance."""
    A = np.array([[0.0, 1, 0], [0, 0, 16], [1, 0, 0]])
    once = many = balance_unit(A, 0)
    for _ in range(99):
        many = balance_unit(many, 0)
    return imbalance(once), imbalance(many)


def _absolute() -> tuple[float, float]:
    """1e6·(0 1 0; 0 0 16; 1 0 0): the sum of |row − column|, and the bound on the mean steps for ε = 100."""
    A = 1e6 * np.array([[0.0, 1, 0], [0, 0, 16], [1, 0, 0]])
    return imbalance(A) * float(A.sum()), CONSTANT * 3 * float(np.log(kappa(A))) / 100**2


def _one_way() -> list[float]:
    """The imbalance of (0 1; 0 0) scaled by s = 1, 10, 100."""
    return [imbalance(np.array([[0.0, 1.0 / s], [0.0, 0.0]])) for s in (1.0, 10.0, 100.0)]


@claim(
    Claim(
        "R.osborne-rate",
        "How fast random balancing is",
        "Altschuler, Parrilo, Math. Program. 2023 (near-linear convergence of random Osborne)",
        "Random Osborne iteration balances a matrix to relative ℓ₁ imbalance ε with O(m ε⁻² log κ) "
        "operations.",
        "Let $A\\ge 0$ have zero diagonal, n rows and m nonzero entries, sum S and $\\kappa=S/\\min_{A>0}A$. "
        "With units drawn uniformly and independently, the mean number of steps until $\\sum_k|r_k-c_k|\\le"
        "\\varepsilon S$ is at most $4n\\varepsilon^{-2}\\log\\kappa$, and as a step on unit k costs the "
        "entries of its row and column, 2m/n in the mean, that of operations is at most "
        "$8m\\varepsilon^{-2}\\log\\kappa$.",
        (
            "every row and column has a nonzero entry; then some cycle is there, which bounds S from below",
            "units are drawn uniformly and independently",
            "the imbalance is relative to the present sum S",
            "cited: the additive drift theorem for the steps and Wald's identity for the operations",
        ),
        Verdict.proved,
        ("S.osborne",),
    )
)
def osborne_rate() -> Findings:
    """log S falls by (√r_k − √c_k)²/S at least, in the mean by ε²/4n, and cannot fall by more than log κ."""
    found = [measure(name) for name in FAMILIES]
    shares = ", ".join(f"{f.name} {f.share:.3f} ({f.power:.2f})" for f in found)
    once, many = _same_unit()
    absolute, bound = _absolute()
    return Findings(
        Printed(
            Verdict.proved, "in the mean, with the constant 8; on the matrices tried far fewer are needed"
        ),
        (
            timed(
                "sympy",
                "any n: a step takes (√r − √c)² off S; log(1/(1 − x)) ≥ x; Cauchy and Schwarz, with (√r + "
                "√c)² ≤ 2(r + c), make the mean gain in log S at least ε²/4n while the imbalance exceeds ε; "
                "the product along a cycle is kept, so S never falls below the least entry of A",
                Verdict.proved,
                lambda: _lemmas() and _cycle_is_kept(),
            ),
            by_z3(
                "two units, all row and column sums: Σ(√r − √c)²·4S is never below (Σ|r − c|)²",
                Verdict.certified,
                _gain_queries(),
            ),
            timed(
                "sampled",
                "200 matrices of 2 to 8 units: the mean gain over all units is at least (imbalance)²/4n",
                Verdict.sampled,
                _mean_gain,
            ),
            timed(
                "sampled",
                "12 matrices of 12 units of each of four families: mean operations to ε = 0.1 over m ε⁻² log "
                f"κ, where 8 is the bound, and the power of 1/ε by which they grow to 0.01: {shares}",
                Verdict.sampled,
                lambda: _runs_within(found),
            ),
        ),
        (
            twin(
                "units are drawn uniformly",
                once == many > 0.1,
                f"1→2→3→1 with costs 1, 16, 1, unit 1 at every step: the imbalance stays {many:.3f}",
            ),
            twin(
                "the imbalance is relative",
                absolute > 100 and bound < 1,
                f"the same with costs times 10⁶, for Σ|r − c| ≤ 100: it is {absolute:.2e} at the start, and "
                f"the bound is {bound:.4f} steps",
            ),
            twin(
                "every row and column has a nonzero entry",
                _one_way() == [2.0, 2.0, 2.0],
                "A = (0 1; 0 0): the imbalance is 2 in every scaled state, and the infimum of S is 0",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (osborne_rate,)
