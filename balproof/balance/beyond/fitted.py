"""Problems brought into the range of doubles by `prescale`, solved there, and taken back in one rounding.

Costs far below all others of their units change no sum of doubles: where without them every unit keeps
weights on both sides, no scales drift that did not, and the minimum is attained as before, they are left out
of the sums; the result is judged with all weights. Otherwise the weights are refused by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from balproof.balance.beyond import wide
from balproof.balance.beyond.prescale import Powers, largest, prescale
from balproof.balance.certificates.enclosure import drifting
from balproof.balance.existence import existence
from balproof.balance.problem import HIGHEST, LOWEST, BalanceProblem
from balproof.balance.state import Iterate
from balproof.errors import RequestError
from balproof.network.graph import Network, Tensor
from balproof.network.manifold import Block, Manifold

Array = np.ndarray

LOW = 2.0**-950
"""Costs below are not in the sums; `_KEPT` is far enough above that what they could do is below rounding."""

_KEPT = 2.0**-850
_HIGH = 2.0**950

SPREAD = 1e100
"""Weights farther apart than this are brought closer together before they are balanced."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A problem in range with the same balanced weights, up to exact powers of two.

    Its weights are those of the network times 2^(A ``shift``)·2^``unit``, less those that no sum would feel.
    A ``unit`` other than 0 is for costs of one power, where it changes all of F by one factor.
    """

    problem: BalanceProblem
    shift: Array
    unit: int

    def costs(self, values: Sequence[float]) -> tuple[float, ...]:
        """Values of F of the problem as those of the network."""
        if not self.unit:
            return tuple(values)
        change = -self.unit * (self.problem.single_power or 0.0)
        whole = np.floor(change)
        return tuple(wide.Wide(np.array(v * 2.0 ** (change - whole)), whole).double() for v in values)


def fit(problem: BalanceProblem, shift: Array | None = None) -> Fitted:
    """Rescale a problem into range, by ``shift`` or by one that is found.

    Raises RequestError, naming the weights, where powers of two cannot do it.
    """
    manifold = problem.manifold
    if shift is None:
        shift = prescale(manifold, problem.active, *_exponents(problem))
    unit = 0 if problem.single_power is None else _unit(problem, shift)
    scaled = _times_powers(manifold, shift, unit)
    if problem.exponents is None:
        found = BalanceProblem.build(dataclasses.replace(manifold, network=scaled), problem.costs)
    else:
        found = _felt(problem, scaled)
    return Fitted(found, shift, unit)


def raised(problem: BalanceProblem) -> Fitted | None:
    """All weights times one power of two, where that brings the costs of one power into range as they are."""
    power = problem.single_power
    if power is None or not len(problem.weights):
        return None
    least, most = (float(np.frexp(x(problem.weights))[1]) for x in (np.min, np.max))
    unit = int(np.clip(-round((least + most) / 2), -1020 - least, 1020 - most))
    none = np.zeros(problem.count, dtype=np.int64)
    scaled = BalanceProblem.stated(
        dataclasses.replace(problem.manifold, network=_times_powers(problem.manifold, none, unit)),
        problem.costs,
    )
    return Fitted(scaled, none, unit) if scaled.in_range else None


def is_far(problem: BalanceProblem) -> bool:
    """Whether weights or their costs are out of range, or so far apart that scales would be large."""
    w = problem.weights
    low, high = float(np.min(w, initial=1.0)), float(np.max(w, initial=1.0))
    return not problem.in_range or low < LOWEST or high > HIGHEST or high > SPREAD * low


def _exponents(problem: BalanceProblem) -> tuple[Callable[[Block], Array | None], Callable[[Block], Powers]]:
    network, costly = problem.manifold.network, {name for name, _ in problem.entries}

    def exponents(block: Block) -> Array | None:
        if block.name not in costly:
            return None
        values = network.numbers(block.name).reshape(block.shape)
        return np.where(values != 0, np.frexp(values)[1].astype(np.float32), np.float32(-np.inf))

    def powers(block: Block) -> Powers:
        terms = problem.costs.regularizer(block.name).terms
        return [(float(a), float(p)) for a, p in terms] if terms is not None else [(1.0, 1.0)]

    return exponents, powers


def _unit(problem: BalanceProblem, shift: Array) -> int:
    """The power of two that brings the largest costs of units around 1; 0 where they are in range without."""
    into, out, _ = largest(problem.manifold, shift.astype(np.float64), *_exponents(problem))
    top = np.maximum(into, out)[problem.active]
    top = top[np.isfinite(top)]
    if not top.size or (top.max() < 800 and top.min() > -500):
        return 0
    return -round(float(top.max() + top.min()) / (2 * (problem.single_power or 1.0)))


def _times_powers(manifold: Manifold, shift: Array, unit: int) -> Network:
    """The network times 2^(A shift)·2^unit."""
    network = manifold.rescale(np.zeros(manifold.count), shift)
    with np.errstate(over="ignore", under="ignore"):
        values = {t.name: np.ldexp(network.numbers(t.name), unit) for t in network.parameters}
    return network.with_parameters(values) if unit else network


def _felt(problem: BalanceProblem, scaled: Network) -> BalanceProblem:
    """The problem of ``scaled``, less the costs that no sum would feel; some of its weights may be ∞ or 0."""
    w = [np.abs(scaled.numbers(name).flat[places]) for name, places in problem.entries]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        m = problem.marginal_of(np.concatenate(w)) if w else np.zeros(0)
    moves = np.asarray(problem.absolute @ problem.active.astype(float)) > 0
    bad = np.flatnonzero(~(m < _HIGH) & moves)
    if bad.size:
        raise _refused(problem, int(bad[0]), "large")
    kept = problem.only((m >= LOW) & (m < _HIGH), scaled)
    if len(kept.weights) == len(problem.weights):
        return kept
    if existence(problem).attained is False:
        return kept  # the answer is a direction, and no state
    strong = problem.only((m >= _KEPT) & (m < _HIGH), scaled)
    if not (
        np.array_equal(strong.active, problem.active)
        and len(_pinned(strong)) == len(_pinned(problem))
        and existence(strong).attained is True
    ):
        low = np.flatnonzero((m < _KEPT) & moves)
        raise _refused(problem, int(low[np.argmax(m[low])]), "small")
    return kept


def _pinned(problem: BalanceProblem) -> set[int]:
    return drifting(problem.rows, [int(k) for k in np.flatnonzero(problem.active)])


def _refused(problem: BalanceProblem, number: int, how: str) -> RequestError:
    name = problem.element(number)
    return RequestError(
        f"the cost of weight {name} is too {how} for double precision, against those of other weights, "
        "however units are rescaled by powers of two",
        "set weights that are as good as 0 to 0, or use a smaller exponent",
    )


def require_doubles(before: Network, after: Network) -> None:
    """Raise RequestError where a rescaled weight is out of the range in which doubles have all digits."""
    for tensor in after.parameters:
        require_double(tensor, 0, before.numbers(tensor.name).ravel(), after.numbers(tensor.name).ravel())


def require_double(tensor: Tensor, start: int, old: Array, new: Array) -> None:
    """The same for a part of the entries of a tensor, from ``start`` on."""
    least = float(np.finfo(np.float64).tiny)
    with np.errstate(invalid="ignore"):
        lost = ((np.abs(new) < least) | ~np.isfinite(new)) & (new != old)
    if lost.any():
        place = int(np.flatnonzero(lost)[0])
        how = "below" if np.abs(new[place]) < least else "above"
        raise RequestError(
            f"weight {tensor.element(start + place)} would come to lie {how} the range of doubles",
            "multiply the weights by a power of two, or set weights that are as good as 0 to 0",
        )


DRIFT = 60.0
"""Log-scales of weights above this are taken over into powers of two: as exponents they cost digits."""


@dataclass(frozen=True, eq=False)
class Reached:
    """The log-scales ``h`` that were found, the problem of the weights with them, and the last state.

    Where the weights were brought into range, they are w·2^(A powers)·exp(A rest) with ``factors`` = (powers,
    rest): h, the sum of both, has fewer digits.
    """

    h: Array
    factors: tuple[Array, Array] | None
    final: BalanceProblem
    state: Iterate


def solve_in_range(
    problem: BalanceProblem, attained: bool, minimise: Callable[[BalanceProblem], Iterate]
) -> Reached:
    """Minimise, by way of powers of two where weights are out of range or very far apart, and only there.

    Raises RequestError, naming the weights, where powers of two cannot do it.
    """
    fitted = None
    if is_far(problem):
        try:
            fitted = fit(problem)
        except RequestError:
            if not problem.in_range:
                raise
    if fitted is None:
        state = minimise(problem)
        return Reached(state.h, None, problem.rescaled(state.h), state)
    manifold = problem.manifold
    state = minimise(fitted.problem)
    passes = 1.0 + state.passes
    for _ in range(8 if attained else 0):
        if float(np.max(np.abs(problem.A @ state.h), initial=0.0)) <= DRIFT:
            break
        steps = np.rint(state.h / (np.log(2.0) * manifold.whole)).astype(np.int64) * manifold.whole
        try:
            nearer = fit(problem, fitted.shift + steps)
        except RequestError:
            break
        fitted, state = nearer, minimise(nearer.problem)
        passes += state.passes
    after = manifold.rescale(state.h, fitted.shift)
    try:
        require_doubles(problem.manifold.network, after)
    except RequestError:
        if attained:
            raise
        # Scales that run away: the witness says where to, and the state in range is one on the way.
        state = dataclasses.replace(state, h=np.zeros(problem.count))
        after = manifold.rescale(state.h, fitted.shift)
        require_doubles(problem.manifold.network, after)
    total = fitted.shift * np.log(2.0) + state.h
    state = dataclasses.replace(state, passes=passes, history=fitted.costs(state.history))
    return Reached(total, (fitted.shift, state.h), problem.of(after), state)


def refined(problem: BalanceProblem, reached: Reached, state: Mapping[str, str]) -> Reached:
    """Go on by the log-scales, in decimals, that a certificate found to be missing.

    Raises RequestError for weights that leave the range of doubles.
    """
    change = np.array([float(state.get(name, 0)) for name in problem.manifold.names])
    powers, rest = reached.factors or (np.zeros(len(change), dtype=np.int64), reached.h)
    after = problem.manifold.rescale(rest + change, powers)
    require_doubles(problem.manifold.network, after)
    final = dataclasses.replace(reached.state, method=f"{reached.state.method}, refined in balls")
    return Reached(reached.h + change, (powers, rest + change), problem.of(after), final)
