"""Are two networks the same function? A proof from the scaling rules, without running either.

Take exact scales: rational numbers h, and with them a log-scale s for every slice of every tensor. If every
equation of every operation holds at s, each operation commutes with the rescaling (that is what its rule
says), and so the network with weights w·exp(A h) computes what that with weights w does, exactly. It is then
left to bound how far the weights of AFTER are from those. Scales in units of log 2 make exp(A h) powers of
two, by which numbers are multiplied exactly.

Rounding: exp of a rational is enclosed by ball arithmetic and rounded (at most twice, u = 2⁻⁵³ each), a
product of n such factors and the weight has n more roundings, a quotient one (Higham, Accuracy and
Stability, Section 3.1), so that γ_k = k·u/(1 − k·u) bounds all. Mantissas and exponents are kept apart, and
nothing overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from flint import arb, ctx, fmpq

from balproof.network.equations import Form
from balproof.network.graph import Network, Numbers
from balproof.network.manifold import SolvedScales, assemble, solve_scales

Array = np.ndarray
UNIT = 2.0**-53
SLAB = 1 << 16
"""Weights that are compared together."""


@dataclass(frozen=True)
class FunctionProof:
    """AFTER's weights are those of a rescaling that keeps the function exactly, each up to ``weight_error``.

    ``exact``: they are those, by powers of two. ``equations`` were seen to hold at the scales.
    """

    exact: bool
    weight_error: float
    equations: int

    def as_json(self) -> dict[str, object]:
        return {"exact": self.exact, "weight_error": self.weight_error, "statement": self.statement}

    @property
    def statement(self) -> str:
        if self.exact:
            return "every weight times a power of two"
        return f"an exact rescaling, but for {self.weight_error:.2g} of each weight"


Inferred = tuple[SolvedScales, Mapping[int, int]]
"""The scales of all tensors, and the column of A of each that is free."""


def prove_function(
    network: Network,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    h: Array,
    inferred: Inferred | None = None,
    limit: float = 2.0**-6,
) -> FunctionProof | str:
    """The proof that weights AFTER compute what BEFORE do, rescaled by h; or why there is none.

    ``before`` and ``after`` have a finite float64 array for each parameter, ``h`` is in the order of the
    manifold. ``inferred`` saves inferring it once more. A weight further than ``limit`` from what it should
    be, relatively, is not put down to rounding.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> net = load("tests/data/chain.json"); manifold = infer(net)
    >>> old = {t.name: net.numbers(t.name) for t in net.parameters}
    >>> after = manifold.rescale_by_powers_of_two(np.array([0.7, -2.0]))
    >>> new = {t.name: after.numbers(t.name) for t in after.parameters}
    >>> prove_function(net, old, new, np.array([0.7, -2.0])).exact
    True
    >>> name = next(iter(old))
    >>> prove_function(net, old, {**new, name: 3 * old[name]}, np.array([0.7, -2.0]))
    'fc1.weight is not rescaled by these scales'
    """
    if inferred is None:
        solved = solve_scales(network)
        inferred = solved, assemble(network, solved)[1]
    if all(_same_digits(*(Numbers.held(s, t.name) for s in (before, after))) for t in network.parameters):
        whole = _values(inferred, _by_powers_of_two(inferred, h))
        found = _proof(network, inferred[0], before, after, whole, None, limit)
        if isinstance(found, FunctionProof):
            return found
    exact = _values(inferred, [Fraction(float(x)) for x in h])
    return _proof(network, inferred[0], before, after, exact, _exponential, limit)


def _proof(
    network: Network,
    solved: SolvedScales,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    scales: Sequence[Fraction],
    exp: Callable[[Fraction], tuple[float, int]] | None,
    limit: float,
) -> FunctionProof | str:
    """With scales in units of log 2 where there is no ``exp``, which gives m and e of exp(s) = m·2^e."""
    for equation in solved.equations:
        if sum(c * scales[v] for v, c in equation.terms) != 0:
            return f"the scales break a rule: {equation.reason}"
    worst = 0.0
    for tensor in network.parameters:
        use = solved.uses.get(tensor.name)
        terms, shape = (use.terms, use.shape) if use else ((), tensor.shape)
        factors: list[tuple[Array, Array]] = []
        for term in terms:
            keys, index = np.unique(term.variables, return_inverse=True)
            logs = [term.coefficient * scales[int(v)] for v in keys]
            pairs = [exp(x) for x in logs] if exp else [(1.0, int(x)) for x in logs if x.denominator == 1]
            if len(pairs) < len(logs):
                return f"{tensor.name} is not rescaled by powers of two"
            m, e = np.array([f[0] for f in pairs]), np.array([f[1] for f in pairs], dtype=np.int64)
            index = index.reshape(term.variables.shape)
            factors.append((m[index], e[index]))
        held = [Numbers.held(side, tensor.name).reshape(shape) for side in (before, after)]
        for here in _slabs(shape):
            old, new = (side[here].astype(np.float64, copy=False) for side in held)
            m, e = np.ones((1,) * len(shape)), np.zeros((1,) * len(shape), np.int64)
            for mantissa, exponent in factors:
                m, e = m * mantissa[_within(here, mantissa)], e + exponent[_within(here, exponent)]
            error = _error(old, new, m, e, len(terms), exact=exp is None)
            if not error <= (limit if exp else 0.0):
                by = "these scales" if exp else "powers of two"
                return f"{tensor.name} is not rescaled by {by}"
            worst = max(worst, error)
    return FunctionProof(exp is None, worst, len(solved.equations))


def _same_digits(old: Array, new: Array) -> bool:
    """Whether some of the entries may differ by powers of two."""
    some = slice(None, None, max(1, old.size // 1000))
    left, right = (np.frexp(side.reshape(-1)[some].astype(np.float64))[0] for side in (old, new))
    return np.array_equal(left, right)


def _slabs(shape: tuple[int, ...]) -> Iterator[slice | tuple[()]]:
    """Parts along the first axis, small enough for the cache."""
    if not shape:
        yield ()
        return
    step = max(1, SLAB * shape[0] // max(int(np.prod(shape, dtype=np.int64)), 1))
    yield from (slice(at, at + step) for at in range(0, shape[0], step))


def _within(here: slice | tuple[()], factor: Array) -> slice | tuple[()]:
    """The same part of a factor, which may have length 1 there."""
    return here if factor.ndim and factor.shape[0] > 1 else ()


def _error(old: Array, new: Array, mantissa: Array, exponent: Array, factors: int, *, exact: bool) -> float:
    """A bound on |new/(old·m·2^e) − 1|, 0 over 0 being 1; without m, of numbers that are equal, 0."""
    (m, e), (n, f) = np.frexp(old), np.frexp(new)
    shift = np.where(m == 0, 0, f - e - exponent)
    if exact:
        return 0.0 if np.array_equal(m, n) and not shift.any() else np.inf
    meant = m * mantissa
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(meant == 0, 1.0, np.ldexp(n / meant, np.clip(shift, -99, 99)))
    apart = float(np.max(np.abs(np.where((meant == 0) & (new != 0), np.inf, ratio) - 1.0), initial=0.0))
    count = 3 * factors + 2  # exp to two roundings, a product for each factor, the quotient, the difference
    gamma = count * UNIT / (1 - count * UNIT)
    return (apart * (1 + 2 * gamma) + 2 * gamma) * (1 + 4 * UNIT)


# --- scales -------------------------------------------------------------------------------------------


def _values(inferred: Inferred, h: Sequence[Fraction]) -> list[Fraction]:
    """The exact log-scale of every variable."""
    solved, column = inferred

    def value(form: Form) -> Fraction:
        return sum((c * h[column[k]] for k, c in form if k in column), Fraction(0))

    return [value(form) for form in solved.solution.forms]


def _by_powers_of_two(inferred: Inferred, h: Array) -> list[Fraction]:
    """h in units of log 2, rounded to what makes all exponents whole."""
    solved, column = inferred
    whole = [1] * len(h)
    for use in solved.uses.values():
        for term in use.terms:
            for v in np.unique(term.variables):
                for k, c in solved.solution.forms[int(v)]:
                    if k in column:
                        at = column[k]
                        whole[at] = lcm(whole[at], (c * term.coefficient).denominator)
    return [Fraction(n * round(float(x) / (np.log(2.0) * n))) for x, n in zip(h, whole, strict=True)]


def _exponential(log: Fraction) -> tuple[float, int]:
    """exp(log) = m·2^e with 1/2 ≤ m ≤ 2, m rounded once."""
    if log == 0:
        return 1.0, 0
    with ctx.workprec(128):
        e = round(float(log) / np.log(2.0))
        ball = (arb(fmpq(log.numerator, log.denominator)) - e * arb.const_log2()).exp()
        return float(ball.mid()), e
