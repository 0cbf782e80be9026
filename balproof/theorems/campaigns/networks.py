"""Campaigns for the claims of [B] about whole networks and single units."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import sympy
from scipy.optimize import linprog, minimize, minimize_scalar

from balproof.balance.certificates.enclosure import state_radius
from balproof.balance.certificates.gap import NoCertificate
from balproof.balance.descent import Schedule, stochastic
from balproof.balance.direct import direct
from balproof.balance.existence import existence, is_circulation, is_direction
from balproof.balance.problem import BalanceProblem
from balproof.balance.steps import columns_of, step
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.symbolic.regularizer import Regularizer
from balproof.theorems.b_networks import nullity, outputs
from balproof.theorems.b_order import relaxed
from balproof.theorems.campaigns.campaign import Campaign, Outcome, outside, relative
from balproof.theorems.campaigns.family import (
    ACTIVATIONS,
    ATTAINED,
    DEGREE_ONE,
    FEEDFORWARD,
    ONE_POWER,
    POWERS,
    REGULARIZERS,
    Array,
    Family,
    Instance,
)
from balproof.theorems.instances import enclose_balanced
from balproof.verdict import Verdict

_SHOWING = tuple(a for a in (*FEEDFORWARD, "sparse", "recurrent"))
"""Networks with outputs."""

# --- the function is kept -----------------------------------------------------------------------------


def _moved(instance: Instance, spread: float = 1.0) -> tuple[Array, Network]:
    """Random log-scales, and the network rescaled by them."""
    h = spread * instance.rng("scales").standard_normal(instance.manifold.count)
    return h, instance.manifold.rescale(h)


def keeps_outputs(instance: Instance) -> Outcome:
    _, after = _moved(instance)
    return Outcome(relative(outputs(instance.network), outputs(after)), 1e-9)


def no_more_scales(instance: Instance) -> Outcome:
    counted = nullity(instance.network)
    found = infer(instance.network).rank(instance.manifold.support)
    return Outcome(abs(counted - found), 0.0, f"{found} found, {counted} counted")


def gradient_identity(instance: Instance) -> Outcome:
    """Aᵀ(w∘∇E) for E half the square sum of the outputs, by central differences weight by weight."""
    network, parts = instance.network, []
    for tensor in network.parameters:
        base = network.numbers(tensor.name)
        slopes = np.zeros(base.size)
        for i in np.flatnonzero(base):
            ends = []
            for sign in (1, -1):
                moved = base.copy()
                moved.flat[i] *= 1 + sign * 1e-6
                ends.append(0.5 * np.sum(outputs(network.with_parameters({tensor.name: moved})) ** 2))
            slopes[i] = (ends[0] - ends[1]) / 2e-6
        parts.append((tensor.name, slopes))
    A = instance.manifold.matrix([name for name, _ in parts])
    slopes = np.concatenate([s for _, s in parts])
    size = float(np.max(abs(A).T @ np.abs(slopes), initial=0.0))
    if size == 0:
        return outside("no output moves with any weight")
    return Outcome(float(np.max(np.abs(A.T @ slopes))) / size, 1e-5)


# --- one unit -----------------------------------------------------------------------------------------


def _formula(regularizer: str) -> Callable[[Array], Array]:
    """g as a formula on arrays, by SymPy: no code of the numeric cost is used."""
    expression = Regularizer.parse(regularizer).expression
    (w,) = expression.free_symbols
    positive = sympy.Symbol("w", positive=True)
    return sympy.lambdify(positive, expression.subs(w, positive))


def _sides(instance: Instance) -> tuple[Array, Array, float]:
    """Sizes of the weights into and out of the only hidden unit, and its degree, read off the network."""
    net = instance.network
    into = [net.numbers(n).ravel() for n in ("W0", "W0.bias") if n in net.tensors]
    degree = 2.0 if instance.activation == "Max(x,0)**2" else 1.0
    return np.abs(np.concatenate(into)), np.abs(net.numbers("W1").ravel()), degree


def _least(instance: Instance) -> tuple[float, float]:
    """The log-scale of least cost, and the cost, by SciPy's search on the sum over the weights."""
    g, (into, out, c) = _formula(instance.regularizer), _sides(instance)

    def total(t: float) -> float:
        return float(np.sum(g(into * np.exp(t))) + np.sum(g(out * np.exp(-c * t))))

    found = minimize_scalar(total, bracket=(-1.0, 1.0), tol=1e-12)
    return float(found.x), float(found.fun)


def _step(instance: Instance) -> float:
    """The package's step of the unit."""
    problem = instance.problem
    return float(
        step(problem, problem.A @ np.zeros(1), columns_of(problem, np.array([0]), problem.A.tocsc()))[0]
    )


def scale_is_least(instance: Instance) -> Outcome:
    at, value = _least(instance)
    t = _step(instance)
    above = (instance.problem.cost(np.array([t])) - value) / value
    return Outcome(max(abs(t - at), above * 1e6), 1e-5)


def scale_in_closed_form(instance: Instance) -> Outcome:
    """λ*^{p(1+c)} = c·OUT/IN."""
    into, out, c = _sides(instance)
    p = {"l2": 2.0, "l1": 1.0, "lp:1.5": 1.5, "lp:0.5": 0.5}[instance.regularizer]
    expected = np.log(c * np.sum(out**p) / np.sum(into**p)) / (p * (1 + c))
    return Outcome(abs(_step(instance) - expected), 1e-12)


def gain_in_closed_form(instance: Instance) -> Outcome:
    into, out, c = _sides(instance)
    p = {"l2": 2.0, "l1": 1.0, "lp:1.5": 1.5, "lp:0.5": 0.5}[instance.regularizer]
    A, B = np.sum(into**p), np.sum(out**p)
    least = (1 + c) * c ** (-c / (1 + c)) * A ** (c / (1 + c)) * B ** (1 / (1 + c))
    reached = instance.problem.cost(np.array([_step(instance)]))
    return Outcome(abs(reached - least) / least, 1e-12)


def marginals_agree(instance: Instance) -> Outcome:
    """Σ_IN w·g′ = c·Σ_OUT w·g′ at SciPy's optimum, the derivative by differences of the formula."""
    g, (into, out, c) = _formula(instance.regularizer), _sides(instance)
    t, _ = _least(instance)

    def marginal(w: Array) -> float:
        return float(np.sum(g(w * np.exp(1e-5)) - g(w * np.exp(-1e-5)))) / 2e-5

    a, b = marginal(into * np.exp(t)), c * marginal(out * np.exp(-c * t))
    return Outcome(abs(a - b) / (a + b), 1e-5)


# --- the balanced state -------------------------------------------------------------------------------

_NEAR = 1e-8
"""The distance, in log-scales, within which ends must be from one another and from the balanced state."""


def _distance(instance: Instance, ends: list[Array]) -> Outcome:
    """How far the ends are from one another in the log-sizes of the weights, or from the balanced state in
    the log-scales by the bound of the box test or Krawczyk's, whichever is more."""
    problem = instance.problem
    logs = [problem.A @ h for h in ends]
    apart = max(float(np.max(np.abs(x - logs[0]), initial=0.0)) for x in logs)
    if apart > _NEAR:
        return Outcome(apart, _NEAR, "apart")
    radii: list[float] = []
    for h in ends:
        radius = state_radius(problem.rescaled(h))
        if isinstance(radius, NoCertificate):
            settled = problem.single_power is not None and bool(problem.active.all())
            if not (settled and enclose_balanced(problem, h, _NEAR / 10)):
                return outside(radius.reason)
            radius = _NEAR / 10
        radii.append(radius)
    return Outcome(max(apart, *radii), _NEAR)


def _displaced(instance: Instance) -> tuple[Array, BalanceProblem]:
    h, network = _moved(instance)
    return h, BalanceProblem.build(network, instance.regularizer)


def _if_attained(check: Callable[[Instance], Outcome]) -> Callable[[Instance], Outcome]:
    def checked(instance: Instance) -> Outcome:
        if existence(instance.problem).attained:
            return check(instance)
        return outside("the minimum is not attained")

    return checked


def orders_meet(instance: Instance) -> Outcome:
    """Random order from the network and from a rescaling of it."""
    h, displaced = _displaced(instance)
    first = stochastic(instance.problem, "random", seed=instance.seed, tolerance=1e-12).h
    second = h + stochastic(displaced, "random", seed=instance.seed + 1, tolerance=1e-12).h
    return _distance(instance, [first, second])


def schedules_meet(instance: Instance) -> Outcome:
    names: tuple[Schedule, ...] = ("cyclic", "reshuffled", "greedy")
    ends = [stochastic(instance.problem, n, seed=instance.seed, tolerance=1e-12).h for n in names]
    return _distance(instance, ends)


def starts_meet(instance: Instance) -> Outcome:
    """Newton's method from h = 0 and from two random starts."""
    rng, n = instance.rng("starts"), instance.problem.count
    starts = [np.zeros(n), *(np.where(instance.problem.active, rng.standard_normal(n), 0.0) for _ in "ab")]
    return _distance(instance, [direct(instance.problem, h).h for h in starts])


def relaxations_meet(instance: Instance) -> Outcome:
    """Steps λ*^θ, θ random in [1/4, 7/4] where each balance has two terms and degree 1, else in [1/4, 1]."""
    problem = instance.problem
    wide = problem.straight and instance.activation in DEGREE_ONE and instance.architecture != "tied"
    h, falling = relaxed(problem, (0.25, 1.75 if wide else 1.0), instance.seed, 600)
    if not falling:
        return Outcome(float("inf"), _NEAR, "R rose")
    return _distance(instance, [direct(problem).h, h])


def existence_decided(instance: Instance) -> Outcome:
    """z or h, checked in fractions; and a linear program asks for z ≥ 1 with Aᵀz = 0 by itself."""
    problem = instance.problem
    answer = existence(problem)
    rows = problem.rows
    z, h = answer.circulation, answer.direction
    if (z is None) == (h is None):
        return Outcome(float("inf"), 0.0, "neither z nor h, or both")
    shown = (
        is_circulation(rows, z)
        if z is not None
        else is_direction(rows, {k: Fraction(x) for k, x in enumerate(h or ()) if x})
    )
    A = problem.A[:, np.flatnonzero(problem.active)].toarray()
    found = linprog(np.zeros(len(rows)), A_eq=A.T, b_eq=np.zeros(A.shape[1]), bounds=(1, None)).status
    return Outcome(float(not shown) + float((found == 0) != (z is not None)), 0.0)


def never_rises(instance: Instance) -> Outcome:
    """All units at once, 30 times."""
    problem = instance.problem
    units = np.flatnonzero(problem.active)
    if not len(units):
        return outside("no unit moves")
    columns = [columns_of(problem, np.array([k]), problem.A.tocsc()) for k in units]
    h = np.zeros(problem.count)
    costs = [problem.cost(h)]
    for _ in range(30):
        logs = problem.A @ h
        h[units] += [step(problem, logs, c)[0] for c in columns]
        costs.append(problem.cost(h))
    return Outcome(max(0.0, float(np.max(np.diff(costs) / costs[:-1]))), 1e-13)


# --- layers that scale together -----------------------------------------------------------------------


def layers_share(instance: Instance) -> Outcome:
    """Tied scales of a chain of layers: l·(ΠR)^{1/l}, against SciPy's search over the layers' scales."""
    p = {"l2": 2.0, "l1": 1.0, "lp:1.5": 1.5, "lp:0.5": 0.5}[instance.regularizer]
    net = instance.network
    names = [t.name for t in net.parameters if not t.name.endswith(".bias")]
    R = np.array([np.sum(np.abs(net.numbers(n)) ** p) for n in names])

    def total(x: Array) -> float:
        logs = np.concatenate([x, [0.0]]) - np.concatenate([[0.0], x])
        return float(np.sum(R * np.exp(p * logs)))

    found = minimize(total, np.zeros(len(R) - 1), method="BFGS", options={"gtol": 1e-9 * R.max()})
    expected = len(R) * np.exp(np.mean(np.log(R)))
    return Outcome(abs(float(found.fun) - expected) / expected, 1e-8)


_UNITS = Family(("unit",), ACTIVATIONS, REGULARIZERS)
_UNITS_ONE_POWER = Family(("unit",), ACTIVATIONS, ONE_POWER)
_BALANCED = Family(ATTAINED, ACTIVATIONS, POWERS)
_UNREGULARIZED = Family(_SHOWING, ACTIVATIONS, ("l2",))

CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign(
        "B.scaling-preserves",
        "a random rescaling along the inferred manifold keeps the outputs",
        "sampled",
        Verdict.sampled,
        _UNREGULARIZED,
        keeps_outputs,
    ),
    Campaign(
        "B.architectures",
        "derivatives of the outputs, without any rule, leave as many directions as scales were inferred",
        "sampled",
        Verdict.sampled,
        Family(("layered", "residual", "skip", "tied", "convolution", "recurrent"), ACTIVATIONS, ("l2",)),
        no_more_scales,
    ),
    Campaign(
        "B.gradient-identity",
        "Aᵀ(w∘∇E) = 0, by central differences, over the largest Σ|A w∘∇E| of a unit",
        "sampled",
        Verdict.sampled,
        _UNREGULARIZED,
        gradient_identity,
    ),
    Campaign(
        "B.optimal-scale-general",
        "the package's step is SciPy's minimiser of the sum over the weights",
        "sampled",
        Verdict.sampled,
        _UNITS,
        scale_is_least,
    ),
    Campaign(
        "B.optimal-scale-lp",
        "the package's step is (c·OUT/IN)^{1/p(1+c)}",
        "sampled",
        Verdict.sampled,
        _UNITS_ONE_POWER,
        scale_in_closed_form,
    ),
    Campaign(
        "B.cost-reduction",
        "the cost after the package's step is the least by the formula",
        "sampled",
        Verdict.sampled,
        _UNITS_ONE_POWER,
        gain_in_closed_form,
    ),
    Campaign(
        "B.balance-equation",
        "IN = c·OUT of w·g′(w) at SciPy's minimiser",
        "sampled",
        Verdict.sampled,
        _UNITS,
        marginals_agree,
    ),
    Campaign(
        "B.strictly-convex",
        "Newton's method from three starts ends in one state, each end within the bound of the balanced one",
        "interval",
        Verdict.certified,
        _BALANCED,
        _if_attained(starts_meet),
    ),
    Campaign(
        "B.existence",
        "z > 0 with Aᵀz = 0 or h with Ah ≤ 0, in fractions; a linear program agrees which",
        "exact",
        Verdict.certified,
        Family(("layered", "sparse", "residual", "convolution", "recurrent", "closed"), ACTIVATIONS, ("l2",)),
        existence_decided,
    ),
    Campaign(
        "B.stochastic-balancing",
        "units in random order, from the network and from a rescaling of it, end in one state, each end "
        "within the bound of the balanced one",
        "interval",
        Verdict.certified,
        _BALANCED,
        _if_attained(orders_meet),
    ),
    Campaign(
        "B.schedules",
        "cyclic, reshuffled and greedy order end in one state, each end within the bound of the balanced one",
        "interval",
        Verdict.certified,
        _BALANCED,
        _if_attained(schedules_meet),
    ),
    Campaign(
        "B.favorable",
        "relaxed steps λ*^θ in random order end in the balanced state, and R never rises",
        "interval",
        Verdict.certified,
        Family(("unit", "layered", "residual", "convolution", "recurrent"), ACTIVATIONS, ONE_POWER),
        _if_attained(relaxations_meet),
    ),
    Campaign(
        "B.simultaneous",
        "all units at once, 30 times: the largest relative rise of R",
        "sampled",
        Verdict.sampled,
        Family(("layered", "deep", "residual", "convolution", "recurrent", "closed"), DEGREE_ONE, ONE_POWER),
        never_rises,
    ),
    Campaign(
        "B.tied-layers",
        "SciPy's least cost over the scales of whole layers is l·(ΠR)^{1/l}",
        "sampled",
        Verdict.sampled,
        Family(("layered", "deep"), DEGREE_ONE, ONE_POWER),
        layers_share,
    ),
)
