"""Campaigns for the claims of [S] and the related results, on recurrent matrices and chains of layers."""

from __future__ import annotations

import numpy as np

from balproof.balance.multilevel import multilevel
from balproof.balance.problem import BalanceProblem
from balproof.theorems.campaigns.campaign import Campaign, Outcome, relative
from balproof.theorems.campaigns.family import ONE_POWER, Array, Family, Instance
from balproof.theorems.instances import recurrent
from balproof.theorems.r_norms import cyclic, least_cost, norm, total_cost, update
from balproof.theorems.r_osborne import balance_unit, imbalance
from balproof.theorems.s_flow import imbalances, integrate
from balproof.theorems.s_osborne import osborne
from balproof.theorems.s_rank_one import closed_form
from balproof.verdict import Verdict

_POWERS = {"l2": 2.0, "l1": 1.0, "lp:1.5": 1.5, "lp:0.5": 0.5}


def _matrix(instance: Instance) -> tuple[Array, float]:
    return instance.network.numbers("J"), _POWERS[instance.regularizer]


def _balanced(instance: Instance) -> Array:
    """J as this package balances it."""
    return instance.manifold.rescale(multilevel(instance.problem).h).numbers("J")


def spectrum_kept(instance: Instance) -> Outcome:
    """The traces of J, J², …, Jⁿ, which are those of the eigenvalues' powers, each over its absolute sum."""
    J, after = _matrix(instance)[0], _balanced(instance)
    worst, x, y, size = 0.0, np.eye(len(J)), np.eye(len(J)), np.eye(len(J))
    for _ in range(len(J)):
        x, y, size = x @ J, y @ after, size @ np.abs(J)
        worst = max(worst, abs(np.trace(x) - np.trace(y)) / (np.trace(size) or 1.0))
    return Outcome(float(worst), 1e-11)


def hessian_is_laplacian(instance: Instance) -> Outcome:
    """p² times the Laplacian of C + Cᵀ, and twice as many nonzero slopes as there are parts less."""
    J, p = _matrix(instance)
    c = np.abs(J) ** p
    np.fill_diagonal(c, 0.0)
    both = c + c.T
    expected = p**2 * (np.diag(both.sum(axis=0)) - both)
    found = instance.problem.hessian(np.zeros(len(J))).toarray()
    return Outcome(relative(found, expected), 1e-12)


def flow_reaches_it(instance: Instance) -> Outcome:
    """The rule integrated on J itself, and the balanced state: absolute entries."""
    J, p = _matrix(instance)
    c = np.abs(J) ** p
    np.fill_diagonal(c, 0.0)
    # 40 time constants of the slowest mode that J starts with; it can slow down or speed up on the way.
    slowest = np.linalg.eigvalsh(np.diag((c + c.T).sum(axis=0)) - c - c.T)[1]
    after = integrate(J, np.ones_like(J), p, 1.0, np.array([0.0, 400.0 / (p * slowest)])).J[-1]
    return Outcome(relative(np.abs(after), np.abs(_balanced(instance))), 1e-6)


def fall_is_bounded(instance: Instance) -> Outcome:
    """‖g‖²/2M ≤ C₀ − C_f ≤ ΣC − Σ√(c_ij c_ji), over C₀."""
    J, p = _matrix(instance)
    c = np.abs(J) ** p
    np.fill_diagonal(c, 0.0)
    fall = float(c.sum() - (np.abs(_balanced(instance)) ** p).sum() + np.sum(np.abs(np.diag(J)) ** p))
    lower = float(np.sum(imbalances(c) ** 2) / (4 * np.max((c + c.T).sum(axis=0))))
    upper = float(c.sum() - np.sum(np.sqrt(c * c.T)))
    return Outcome(max(lower - fall, fall - upper, 0.0) / float(c.sum()), 1e-13)


def osborne_agrees(instance: Instance) -> Outcome:
    J, p = _matrix(instance)
    return Outcome(relative(np.abs(osborne(J, p, 2000)), np.abs(_balanced(instance))), 1e-8)


def noise_falls(instance: Instance) -> Outcome:
    """Σ r_j J_ij² with random r: the package balances J·√r. The end is no more than the start, than what
    Osborne's iteration reaches, and than twenty other rescalings."""
    rng = instance.rng("noise")
    J = instance.network.numbers("J")
    weighted = J * np.sqrt(rng.uniform(0.01, 1.0, len(J)))
    problem = BalanceProblem.build(recurrent(weighted.tolist()), "l2")
    end = problem.cost(multilevel(problem).h)
    textbook = osborne(weighted, 2.0, 500)
    others = [weighted, textbook]
    for _ in range(20):
        s = np.exp(0.3 * rng.standard_normal(len(J)))
        others.append(textbook * s[:, None] / s[None, :])
    least = min(float(np.sum(other**2)) for other in others)
    return Outcome(max(end / least - 1, 0.0), 1e-12)


def rank_one_solved(instance: Instance) -> Outcome:
    """J = uvᵀ, α = abᵀ: Osborne's iteration on α^{1/p}J ends where the closed form says."""
    rng, p = instance.rng("rank one"), _POWERS[instance.regularizer]
    n = int(rng.integers(2, 7))
    u, v, a, b = np.exp(rng.standard_normal((4, n)))
    h = closed_form(u, v, a, b, p, np.log)
    J = np.outer(u, v) * np.outer(a, b) ** (1 / p)
    expected = J * np.exp(-h[:, None] + h[None, :])
    return Outcome(relative(osborne(J, p, 2000), expected), 1e-9)


def osborne_gains(instance: Instance) -> Outcome:
    """The mean gain of log S over all units is at least (imbalance)²/4n: what is missing."""
    J, p = _matrix(instance)
    A = np.abs(J) ** p
    np.fill_diagonal(A, 0.0)
    gains = [np.log(A.sum() / balance_unit(A, k).sum()) for k in range(len(A))]
    return Outcome(max(0.0, imbalance(A) ** 2 / (4 * len(A)) - float(np.mean(gains))), 1e-13)


def saul_falls(instance: Instance) -> Outcome:
    """The parallel update of all units, ten times, with random p and q: the largest relative rise."""
    rng = instance.rng("p and q")
    p, q = rng.uniform(0.3, 5.0, 2)
    now = instance.network.numbers("J")
    values = [norm(now, p, q)]
    for _ in range(10):
        now = update(now, range(len(now)), p, q)
        values.append(norm(now, p, q))
    return Outcome(max(0.0, float(np.max(np.diff(values) / values[:-1]))), 1e-13)


def cyclic_reaches_it(instance: Instance) -> Outcome:
    """Layer by layer and back, 400 times, in NumPy: the cost is SciPy's least one over the log-scales."""
    net, p = instance.network, _POWERS[instance.regularizer]
    weights = [net.numbers(t.name) for t in net.parameters if not t.name.endswith(".bias")]
    biases = [
        net.numbers(f"W{k}.bias") if f"W{k}.bias" in net.tensors else np.zeros(len(W))
        for k, W in enumerate(weights[:-1])
    ]
    end = total_cost(cyclic(weights, biases, p, 400), p)
    best = instance.problem.cost(multilevel(instance.problem).h)
    return Outcome(max(abs(end - best), abs(least_cost(weights, biases, p) - best)) / best, 1e-7)


_CLOSED = Family(("closed",), regularizers=ONE_POWER)

CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign(
        "S.conserved",
        "the traces of the powers of J before and after balancing",
        "sampled",
        Verdict.sampled,
        _CLOSED,
        spectrum_kept,
    ),
    Campaign(
        "S.laplacian",
        "the package's Hessian is p²·Laplacian(C + Cᵀ)",
        "sampled",
        Verdict.sampled,
        _CLOSED,
        hessian_is_laplacian,
    ),
    Campaign(
        "S.convergence",
        "the rule, integrated on J, ends in the balanced state",
        "sampled",
        Verdict.sampled,
        _CLOSED,
        flow_reaches_it,
    ),
    Campaign("S.bounds", "both bounds on C₀ − C_f", "sampled", Verdict.sampled, _CLOSED, fall_is_bounded),
    Campaign(
        "S.noise",
        "Σ r_j J_ij² falls to its least with random r",
        "sampled",
        Verdict.sampled,
        Family(("closed",), regularizers=("l2",)),
        noise_falls,
    ),
    Campaign(
        "S.rank-one",
        "Osborne's iteration on a random J = uvᵀ, α = abᵀ ends in the closed form",
        "sampled",
        Verdict.sampled,
        _CLOSED,
        rank_one_solved,
    ),
    Campaign(
        "S.osborne",
        "a textbook Osborne iteration ends in the matrix that the package finds",
        "sampled",
        Verdict.sampled,
        _CLOSED,
        osborne_agrees,
    ),
    Campaign(
        "R.osborne-rate",
        "the mean gain of a step in log S is at least (imbalance)²/4n",
        "sampled",
        Verdict.sampled,
        _CLOSED,
        osborne_gains,
    ),
    Campaign(
        "R.saul",
        "ten parallel updates with random p and q: the largest relative rise of the norm",
        "sampled",
        Verdict.sampled,
        Family(("closed",), regularizers=("l2",)),
        saul_falls,
    ),
    Campaign(
        "R.enorm",
        "cyclic sweeps in NumPy end at the least cost over log-scales",
        "sampled",
        Verdict.sampled,
        Family(("layered",), ("relu", "abs(x)"), ONE_POWER),
        cyclic_reaches_it,
    ),
)
