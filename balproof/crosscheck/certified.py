"""Are two networks the same function? A proof from the scaling rules, without running either.

Every tensor's log-scales s are forms in free scales h, with rational coefficients. If every equation of every
operation holds of the forms, then at any real h each operation commutes with the rescaling (that is what its
rule says), and so the network with weights w·exp(A h) computes what that with weights w does, exactly. It is
then left to bound how far the weights of AFTER are from those. Of h the proof takes what is closest at hand:
exp(h) are doubles, or powers of two, by which numbers are multiplied exactly.

Rounding (u = 2⁻⁵³ each): a factor has at most two (`balproof.crosscheck.factors`), a product of n of them
and the weight n more, the difference and the quotient one each (Higham, Accuracy and Stability, Section 3.1),
so that γ_k = k·u/(1 − k·u) bounds all. Mantissas and exponents are kept apart, and nothing overflows; blocks
that were read in compiled loops have factors and weights for which nothing could.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from types import MappingProxyType

import numpy as np

from balproof.crosscheck.factors import Scale
from balproof.crosscheck.reading import Read
from balproof.network.equations import combine
from balproof.network.forms import Forms
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
    right: Mapping[str, Read | None] = MappingProxyType({}),
) -> FunctionProof | str:
    """The proof that weights AFTER compute what BEFORE do, rescaled by h; or why there is none.

    ``before`` and ``after`` have a finite float64 array for each parameter, ``h`` is in the order of the
    manifold. ``inferred`` saves inferring it once more, and ``right`` the blocks that `read` has compared
    by the same factors. A weight further than ``limit`` from what it should be, relatively, is not put down
    to rounding.

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
    solved, column = inferred
    for equation in solved.equations:
        if combine((solved.solution.forms[v], c) for v, c in equation.terms):
            return f"the scales break a rule: {equation.reason}"
    slices = _Slices.of(solved, column, len(h))
    if all(_same_digits(*(Numbers.held(s, t.name) for s in (before, after))) for t in network.parameters):
        found = _proof(network, slices, before, after, _powers_of_two(slices, h), {}, 0.0)
        if isinstance(found, FunctionProof):
            return found
    return _proof(network, slices, before, after, Scale.of(h), right, limit)


@dataclass(frozen=True, eq=False)
class _Slices:
    """Of each parameter its view, and of each term the slice that an entry is in and the forms of slices."""

    shapes: Mapping[str, tuple[int, ...]]
    terms: Mapping[str, tuple[tuple[Array, Forms], ...]]
    equations: int

    @staticmethod
    def of(solved: SolvedScales, column: Mapping[int, int], count: int) -> _Slices:
        new = np.full(len(solved.solution.free), -1)
        new[list(column)] = list(column.values())
        forms = Forms.of(solved.solution.forms)
        terms: dict[str, tuple[tuple[Array, Forms], ...]] = {}
        for name, use in solved.uses.items():
            own: list[tuple[Array, Forms]] = []
            for term in use.terms:
                keys, index = np.unique(term.variables, return_inverse=True)
                felt = forms.at(keys).times(term.coefficient).renamed(new)
                if not felt.zero:
                    own.append((index.reshape(term.variables.shape), felt))
            terms[name] = tuple(own)
        return _Slices({n: u.shape for n, u in solved.uses.items()}, terms, len(solved.equations))


def _proof(
    network: Network,
    slices: _Slices,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    scale: Scale,
    right: Mapping[str, Read | None],
    limit: float,
) -> FunctionProof | str:
    """With a limit of 0 weights must be exactly what they should be, by powers of two."""
    worst = 0.0
    for tensor in network.parameters:
        terms, shape = slices.terms.get(tensor.name, ()), slices.shapes.get(tensor.name, tensor.shape)
        own = [scale.split(forms) for _, forms in terms]
        if not limit and any(np.any(m != 1) for m, _ in own):
            return f"{tensor.name} is not rescaled by powers of two"
        known, indices = right.get(tensor.name), [index for index, _ in terms]
        if known is not None and _same_factors(indices, own, known):
            error = _bound(known.worst, len(own))
        else:
            old, new = (Numbers.held(side, tensor.name).reshape(shape) for side in (before, after))
            error = _largest(old, new, indices, own, limit)
        if not error <= limit:
            by = "these scales" if limit else "powers of two"
            return f"{tensor.name} is not rescaled by {by}"
        worst = max(worst, error)
    return FunctionProof(not limit, worst, slices.equations)


def _same_factors(indices: Sequence[Array], own: Sequence[tuple[Array, Array]], known: Read) -> bool:
    """Whether the factors that were read by are those, bit for bit; they were normal doubles."""
    if len(own) != len(known.factors):
        return False
    with np.errstate(over="ignore", under="ignore"):
        same = [np.array_equal(np.ldexp(m, e), f) for (m, e), f in zip(own, known.factors, strict=True)]
    return all(same) and all(np.array_equal(i, j) for i, j in zip(indices, known.indices, strict=True))


def _largest(
    old: Array, new: Array, indices: Sequence[Array], factors: Sequence[tuple[Array, Array]], limit: float
) -> float:
    """A bound on the largest |new/(old·factors) − 1|; one part after another, up to one above the limit."""
    mantissa, exponent = np.ones((1,) * old.ndim), np.zeros((1,) * old.ndim, np.int64)
    for index, (m, e) in zip(indices, factors, strict=True):
        mantissa, exponent = mantissa * m[index], exponent + e[index]
    worst = 0.0
    for here in _slabs(old.shape):
        m, e = (factor[_within(here, factor)] for factor in (mantissa, exponent))
        was, now = (side[here].astype(np.float64, copy=False) for side in (old, new))
        worst = max(worst, _error(was, now, m, e, len(factors), exact=not limit))
        if not worst <= limit:
            break
    return worst


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
    return _bound(apart, factors)


def _bound(apart: float, factors: int) -> float:
    """What the exact difference is at most, where one of ``apart`` was computed with so many factors."""
    count = 3 * factors + 2  # two roundings and a product for each factor, the difference, the quotient
    gamma = count * UNIT / (1 - count * UNIT)
    return (apart * (1 + 2 * gamma) + 2 * gamma) * (1 + 4 * UNIT)


def _powers_of_two(slices: _Slices, h: Array) -> Scale:
    """Powers of two near exp(h) by which every weight is multiplied by one as well."""
    whole = [1] * len(h)
    for forms in (forms for own in slices.terms.values() for _, forms in own):
        codes = np.unique(np.stack([forms.scale, forms.ratio]), axis=1).T.tolist()
        pairs = [(k, forms.ratios[r]) for k, r in codes if k >= 0]
        pairs += [term for form in forms.others.values() for term in form]
        for k, c in pairs:
            whole[k] = lcm(whole[k], c.denominator)
    exponent = np.rint(h / (np.log(2.0) * np.array(whole, float))).astype(np.int64) * np.array(whole, int)
    return Scale(np.ones(len(h)), exponent)
