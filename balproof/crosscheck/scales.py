"""Recover the log-scales between two sets of weights, so that wrong entries do no harm, and find those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg, splu

from balproof.balance.solve import is_large
from balproof.crosscheck.factors import Scale
from balproof.crosscheck.reading import Read, read
from balproof.network.graph import Network, Numbers, Tensor
from balproof.network.manifold import Block, Manifold

Array = np.ndarray

ROUNDINGS = 512
"""A rescaled weight may be off by so many roundings: 256 sweeps that multiply it for both its ends, and a
scale close to 1 whose inverse rounds to 1 drifts the same way at each of them."""

WHOLE_BLOCK = 50_000
"""Entries of a parameter up to which the fit looks at all of them."""

PART = 1 << 16
"""Entries of a large block that are looked at together."""

SAMPLE = 12
"""Entries for each row and each column of a larger one."""

FEW = 3
"""So many to begin with where the network is large: enough where all entries are right."""

_OURS = 2.0**-50
"""What the roundings of a few products and of exp(A h) may add up to, relatively."""

COARSEST = 1 / 64
"""Or by this much, relatively, if that is less: in 16 bits so many roundings would ruin the function."""

FACTORED = 3_000
"""Scales up to which the equations of a fit are factored, and not iterated."""

_TYPES = MappingProxyType(
    {
        "float64": (2.0**-53, 2.0**-1074),
        "float32": (2.0**-24, 2.0**-149),
        "float16": (2.0**-11, 2.0**-24),
        "bfloat16": (2.0**-8, 2.0**-133),
    }
)


@dataclass(frozen=True)
class Rounding:
    """Rounding to nearest changes a number by at most ``unit`` of it, and by ``tiny``/2 near zero.

    ``count`` is how many roundings a weight may have gone through.
    """

    unit: float
    tiny: float
    count: int = ROUNDINGS

    @property
    def noise(self) -> float:
        """The relative difference that is put down to rounding; 8 roundings in any case."""
        return max(8 * self.unit, min(self.count * self.unit, COARSEST))


def roundings(before: Network, after: Network) -> dict[str, Rounding]:
    """The rounding of each parameter: that of the coarser of its types in the two files.

    Doubles most of which happen to be single-precision numbers come from a program that computes in those.
    """
    doubles = [t for t in after.parameters if t.dtype == "float64"]
    singles = sum(
        np.count_nonzero(_are_singles(numbers)) for t in doubles for _, numbers in after.pieces(t.name)
    )
    single = bool(2 * singles > sum(t.size for t in doubles))

    def of(tensor: Tensor, narrowed: bool) -> tuple[float, float]:
        dtype = "float32" if narrowed and tensor.dtype == "float64" else tensor.dtype
        return _TYPES.get(dtype, _TYPES["float64"])

    return {
        t.name: Rounding(*max(of(before.tensors[t.name], False), of(t, single))) for t in after.parameters
    }


def _are_singles(numbers: Array) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        return numbers == numbers.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Recovered:
    """``h`` with w' ≈ w·exp(A h), and which entries are ``wrong``.

    ``deviation`` is |w' − w·exp(A h)| relative to the larger of the two. ``kept`` marks the wrong entries
    that are what they were. Of the large blocks, those of which no entry is wrong are ``right``, with what
    was read of them where they were read in compiled loops.
    """

    h: Array
    wrong: Mapping[str, Array]
    kept: Mapping[str, Array]
    deviation: Mapping[str, Array]
    right: Mapping[str, Read | None] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def missed(self) -> int:
        """How many entries the scales do not explain."""
        return sum(int(w.sum()) for name, w in self.wrong.items() if name not in self.right)


def recover_scales(
    manifold: Manifold,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    rounding: Mapping[str, Rounding],
    start: Array | None = None,
    powers: Mapping[str, float] = MappingProxyType({}),
) -> Recovered:
    """The log-scales that explain the weights best, up to rounding, and the entries they do not explain.

    All entries must be finite. Entries that are rescaled rightly agree with one h to a few roundings, so
    the fit maximises agreement: it is exact as long as these are the majority around each unit. With
    ``start`` it looks for agreement near those scales. ``powers`` is as `judge_entries` has it.

    >>> from balproof.importers import load
    >>> from balproof.network.manifold import infer
    >>> net = load("tests/data/chain.json"); manifold = infer(net)
    >>> old = {t.name: net.numbers(t.name) for t in net.parameters}
    >>> new = {name: old[name] * np.exp(log) for name, log in manifold.apply(np.array([0.5, -1.0])).items()}
    >>> recover_scales(manifold, old, new, roundings(net, net)).h.round(12).tolist()
    [0.5, -1.0]
    """
    if is_large(manifold.network):
        h = _fitted(manifold, before, after, rounding, start, FEW)
        right = _right_blocks(manifold, before, after, rounding, h, powers)
        if len(right) == sum(b.size > WHOLE_BLOCK for b in manifold.blocks):
            found = judge_entries(manifold, before, after, rounding, h, powers, right)
            if not found.missed:
                return found
    h = _fitted(manifold, before, after, rounding, start, SAMPLE)
    return judge_entries(manifold, before, after, rounding, h, powers)


def _fitted(
    manifold: Manifold,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    rounding: Mapping[str, Rounding],
    start: Array | None,
    sample: int,
) -> Array:
    """The scales that a sample of the entries speaks for."""
    rows, right, noise, trust = list[sparse.csr_array](), list[Array](), list[Array](), list[Array]()
    biases = manifold.network.biases
    for block in manifold.blocks if manifold.count else ():
        flat, old, new = _chosen(block, before, after, sample)
        if flat.size:
            found = log_ratio(old, new)
            rows.append(manifold.entries(block, flat))
            right.append(found)
            noise.append(_fine_noise(found, new, rounding[block.name]))
            trust.append(np.full(flat.size, 0.9 if block.name in biases else 1.0))
    if not rows:
        return np.zeros(manifold.count)
    together = sparse.csr_array(sparse.vstack(rows, format="csr"))
    return _fit(together, np.concatenate(right), np.concatenate(noise), np.concatenate(trust), start)


def _chosen(
    block: Block, before: Mapping[str, Array], after: Mapping[str, Array], sample: int
) -> tuple[Array, Array, Array]:
    """The entries that the fit looks at, all or of a large block some for each scale: where, and both values.

    Each place of each term, a row or a column say, is given ``sample`` entries, spread at random; the verdict
    on the entries is over all of them in any case.
    """
    was, now = (Numbers.held(side, block.name).reshape(-1) for side in (before, after))
    if block.size <= WHOLE_BLOCK:
        flat = np.flatnonzero(_comparable(was, now))
        return flat, was[flat].astype(np.float64), now[flat].astype(np.float64)
    rng = np.random.default_rng(0)
    taken = [np.zeros(1, dtype=np.int64)]
    strides = np.array([int(np.prod(block.shape[a + 1 :], dtype=np.int64)) for a in range(len(block.shape))])
    for term in block.terms:
        places = np.indices(term.sizes).reshape(len(block.shape), -1)
        places = np.repeat(places, sample, axis=1)
        for a, (n, own) in enumerate(zip(block.shape, term.sizes, strict=True)):
            if own == 1:
                places[a] = rng.integers(0, n, places.shape[1])
        taken.append(strides @ places)
    flat = np.unique(np.concatenate(taken))
    flat = flat[_comparable(was[flat], now[flat])]
    if 2 * len(flat) < sum(map(len, taken)):  # perhaps few weights that are not 0
        usable = np.flatnonzero(_comparable(was, now))
        flat = usable if len(usable) <= WHOLE_BLOCK else flat
    return flat, was[flat].astype(np.float64), now[flat].astype(np.float64)


def _comparable(old: Array, new: Array) -> Array:
    """Where the logarithm of the quotient is finite."""
    return (old != 0) & (new != 0) & np.isfinite(new)


def log_ratio(before: Array, after: Array) -> Array:
    """log|w'/w|, not finite where one of them is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        ratio = np.log(np.abs(after / before))
        # Quotients outside the range of doubles.
        apart = np.log(np.abs(after)) - np.log(np.abs(before))
        return np.where(np.isfinite(ratio), ratio, apart)


def _fine_noise(ratio: Array, after: Array, rounding: Rounding) -> Array:
    """One rounding of each log-ratio: of the file's type, of numbers near zero, and of our doubles."""
    size = np.where(after == 0, 1.0, np.abs(after))
    with np.errstate(invalid="ignore", over="ignore"):
        ours = 2.0**-52 * (1.0 + np.abs(np.where(np.isfinite(ratio), ratio, 0.0)))
        return np.minimum(rounding.unit + ours + rounding.tiny / size, 1.0)


# --- the fit -------------------------------------------------------------------------------------------


def _fit(rows: sparse.csr_array, right: Array, noise: Array, trust: Array, start: Array | None) -> Array:
    """Minimise Σ log max(|right − rows h|, noise), the number of digits in which entries disagree.

    Without a start it begins with least absolute deviations, which is convex. Both are found by least
    squares, weighted anew at each step (Candès, Wakin, Boyd 2008), with a threshold that sinks to the noise.
    """
    h = least_squares(rows, right, noise**-2.0 * noise.min() ** 2) if start is None else start
    left = np.abs(right - rows @ h) / noise
    if left.max() <= 8:
        return h
    # Where as many entries speak for one scale as for another, one side must be chosen.
    trust = trust * (1.0 + 0.05 * np.modf(np.arange(len(right)) * 0.6180339887)[0])
    relative = noise.min() / noise
    threshold = float(left.max())
    for power, steps in ((1, 25), (2, 15))[start is not None :]:
        for _ in range(steps):
            threshold = max(threshold / 8, 4.0)
            weight = trust * (relative / (np.maximum(left, threshold) / threshold)) ** power
            step = least_squares(rows, right - rows @ h, weight)
            h = h + step
            left = np.abs(right - rows @ h) / noise
            if threshold == 4.0 and np.max(np.abs(rows @ step) / noise) <= 1.0:
                break
    agreeing = (left <= max(8.0, 8 * float(np.median(left)))).astype(float)
    return h + least_squares(rows, right - rows @ h, agreeing * relative**2)


def least_squares(rows: sparse.csr_array, left: Array, weight: Array) -> Array:
    """d that minimises Σ weight·(left − rows d)²; 0 in the directions that no entry determines."""
    # Most systems are small, and to make a diagonal matrix takes SciPy longer than to solve one.
    weighted = rows.data * np.repeat(weight, np.diff(rows.indptr))
    across = rows.T
    normal = sparse.csc_array(
        across @ sparse.csr_array((weighted, rows.indices, rows.indptr), shape=rows.shape)
    )
    size = normal.diagonal()
    scale = np.where(size > 0, 1.0 / np.sqrt(np.where(size > 0, size, 1.0)), 0.0)
    normal.data *= scale[normal.indices] * np.repeat(scale, np.diff(normal.indptr))
    shift, places = np.where(size > 0, 1e-10, 1.0), np.arange(len(size) + 1)
    shifted = sparse.csc_array(normal + sparse.csc_array((shift, places[:-1], places)))
    # Symmetric and positive definite. (Dense BLAS loses its threads to each other on a busy machine.)
    order: dict[str, Any] = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}}
    if len(scale) <= FACTORED:
        solve = splu(shifted, diag_pivot_thresh=0.0, **order).solve
    else:
        solve = partial(_iterate, shifted)
    d = np.zeros(len(scale))
    for _ in range(3):  # the shift and the squared condition cost digits, which refinement wins back
        d += scale * solve(scale * (across @ (weight * (left - rows @ d))))
    return d


def _iterate(normal: sparse.csc_array, right: Array) -> Array:
    """Conjugate gradients, where the factors of dense layers would not fit; the diagonal is 1 already."""
    return cg(normal, right, rtol=1e-12, maxiter=2_000)[0]


# --- the verdict on each entry -------------------------------------------------------------------------


def judge_entries(
    manifold: Manifold,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    rounding: Mapping[str, Rounding],
    h: Array,
    powers: Mapping[str, float] = MappingProxyType({}),
    right: Mapping[str, Read | None] | None = None,
) -> Recovered:
    """What the scales h explain, and what they do not.

    The large blocks of a large network are read in compiled loops where they can be, and Σ|w'|^p of their
    slices with them, where ``powers`` has p. ``right`` are those without a wrong entry, if that is known.
    """
    wrong: dict[str, Array] = {}
    kept: dict[str, Array] = {}
    deviation: dict[str, Array] = {}
    if right is None:
        right = _right_blocks(manifold, before, after, rounding, h, powers)
    for block in manifold.blocks:
        name, kind = block.name, rounding[block.name]
        if name in right:
            none = np.broadcast_to(np.False_, manifold.network.tensors[name].shape)
            wrong[name], kept[name], deviation[name] = none, none, np.broadcast_to(0.0, none.shape)
            continue
        old, new = before[name], after[name]
        wrong[name], apart, meant = misses(old, new, manifold.logs(block, h), kind)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            kept[name] = wrong[name] & (np.abs(new - old) <= kind.noise * np.abs(old) + 2 * kind.tiny)
            larger = np.maximum(np.abs(new), np.abs(meant))
            size = apart / np.where(larger == 0, 1.0, larger)
            deviation[name] = np.where(np.isfinite(size), size, 1.0)
    return Recovered(h, wrong, kept, deviation, right)


def _right_blocks(
    manifold: Manifold,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    rounding: Mapping[str, Rounding],
    h: Array,
    powers: Mapping[str, float],
) -> dict[str, Read | None]:
    """The large blocks of which no entry is wrong, with what was read of them in compiled loops."""
    found: dict[str, Read | None] = {}
    compiled, scale = is_large(manifold.network), Scale.of(h)
    for block in (b for b in manifold.blocks if b.size > WHOLE_BLOCK):
        name, kind = block.name, rounding[block.name]
        own = read(block, before, after, scale, kind.noise - _OURS, powers.get(name)) if compiled else None
        old, new = (Numbers.held(side, name) for side in (before, after))
        if own or _all_right(manifold, block, old, new, kind, h):
            found[name] = own
    return found


def _all_right(manifold: Manifold, block: Block, old: Array, new: Array, kind: Rounding, h: Array) -> bool:
    """Whether `misses` finds nothing in a large block: by products along its axes, part by part.

    It allows less, by the roundings of the products and by what exp(A h) adds, so that a yes is one.
    """
    old, new = (x.reshape(block.shape) for x in (old, new))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        factors = [np.exp(matrix @ h)[index] for index, matrix in manifold.maps(block.name)]
        allowed = kind.noise - _OURS
        step = max(1, PART * block.shape[0] // block.size)
        for at in range(0, block.shape[0], step):
            here = slice(at, at + step)
            meant = old[here].astype(np.float64)
            for factor in factors:
                meant *= factor[here] if factor.shape[0] > 1 else factor
            apart = np.subtract(new[here].astype(np.float64, copy=False), meant)
            np.abs(apart, out=apart)
            np.abs(meant, out=meant)
            meant *= allowed
            if not np.all(apart <= meant):
                return False
    return True


def misses(old: Array, new: Array, log: Array, kind: Rounding) -> tuple[Array, Array, Array]:
    """Which entries are not old·exp(log), by how much, and what that is."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        half = np.exp(log / 2)  # exp(A h) itself may overflow where w·exp(A h) does not
        meant = old * half * half
        apart = np.abs(new - meant)
        # Numbers near zero have fewer digits; exp(A h) has an error that grows with A h.
        allowed = (kind.noise + 2.0**-51 * np.abs(log)) * np.abs(meant) + 2 * kind.tiny
        return ~(apart <= allowed) | ((old == 0) & (new != 0)), apart, meant


def coarser(old: Array, new: Array, kind: Rounding) -> Rounding | None:
    """The rounding of a narrower type or of a grid of 8 bits, if all numbers of AFTER are of that.

    Those of BEFORE must not be: otherwise it says nothing.

    >>> x = np.random.default_rng(0).standard_normal(500)
    >>> half = coarser(x, x.astype(np.float16).astype(float), Rounding(2.0**-24, 2.0**-149))
    >>> half.unit == 2.0**-11
    True
    """
    if not new.any():
        return None
    for type_ in ("bfloat16", "float16"):
        unit, tiny = _TYPES[type_]
        if unit > kind.unit and _is_of(type_, new) and not _is_of(type_, old):
            return Rounding(unit, tiny, 8)
    step = float(np.max(np.abs(new), initial=0.0)) / 127
    if new.size > 127 and step > 0 and _on_grid(new, step) and not _on_grid(old, step):
        return Rounding(kind.unit, step)
    return None


def _is_of(type_: str, numbers: Array) -> bool:
    if not np.isfinite(numbers).all():
        return False
    if type_ == "float16":
        with np.errstate(over="ignore", under="ignore"):
            return bool(np.array_equal(numbers.astype(np.float16).astype(np.float64), numbers))
    mantissa, _ = np.frexp(numbers)
    return bool(np.all(np.ldexp(mantissa, 8) == np.rint(np.ldexp(mantissa, 8))))


def _on_grid(numbers: Array, step: float) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        places = numbers / step
        return bool(np.all(np.abs(places - np.rint(places)) <= 1e-4))
