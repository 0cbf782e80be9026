"""Arithmetic and linear algebra modulo a 31-bit prime, on NumPy arrays of int64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isqrt

import numpy as np
from flint import nmod_mat

Array = np.ndarray

PRIME = 2**31 - 1
"""The prime in use; `SECOND` is for an independent second look."""
SECOND = 2**31 - 19

_HALF = 1 << 15
_CHUNK = 256
"""Terms of a sum that doubles hold exactly: |b| ≤ 2³⁰ and halves of a of at most 2¹⁵ give 2⁴⁵·2⁸ = 2⁵³."""


def residue(value: Fraction | int, p: int) -> int:
    """A rational number modulo p.

    >>> residue(Fraction(1, 2), 7)
    4
    """
    number = Fraction(value)
    return number.numerator * pow(number.denominator, -1, p) % p


def residues(values: Array, p: int) -> Array:
    """An array of integers, doubles (each is a fraction of two integers) or fractions modulo p."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64) % p
    if values.dtype != object and bool(
        np.all(values == np.rint(values)) and np.all(np.abs(values) < 2.0**53)
    ):
        return values.astype(np.int64) % p
    flat = [residue(Fraction(v), p) for v in values.ravel().tolist()]
    return np.array(flat, dtype=np.int64).reshape(values.shape)


def product(a: Array, b: Array, p: int) -> Array:
    """a @ b modulo p, of residues: exact in doubles, a split in two halves.

    >>> product(np.array([[PRIME - 1]]), np.array([[PRIME - 2]]), PRIME).item()
    2
    """
    if a.shape[-1] == 1:
        return a * b % p
    if a.ndim > 2 and b.size == b.shape[-1] * b.shape[-2]:  # one matrix for all: a single product
        flat = product(a.reshape(-1, a.shape[-1]), b.reshape(b.shape[-2:]), p)
        return flat.reshape(*a.shape[:-1], b.shape[-1])
    left = np.where(a > p // 2, a - p, a)
    right = np.where(b > p // 2, b - p, b).astype(np.float64)
    high = (left + _HALF) >> 16
    low = (left - (high << 16)).astype(np.float64)
    high = high.astype(np.float64)
    total: Array | None = None
    for start in range(0, a.shape[-1], _CHUNK):
        stop = start + _CHUNK
        upper = np.matmul(high[..., start:stop], right[..., start:stop, :])
        lower = np.matmul(low[..., start:stop], right[..., start:stop, :])
        upper = _reduced(upper, p)
        upper *= 2.0 * _HALF
        upper += _reduced(lower, p)
        total = _reduced(upper, p) if total is None else _reduced(np.add(total, upper, out=upper), p)
    assert total is not None
    return total.astype(np.int64) % p


def _reduced(values: Array, p: int) -> Array:
    """Whole doubles below 2⁵³ modulo p, in place, up to one p more or less: exact, since all products are."""
    values -= np.floor(values * (1.0 / p)) * p
    return values


def power(a: Array, exponent: int, p: int) -> Array:
    """a**exponent modulo p, entry by entry, for exponents from 0."""
    result = np.ones_like(a)
    while exponent:
        if exponent & 1:
            result = result * a % p
        a = a * a % p
        exponent >>= 1
    return result


def _matrix(rows: Array, p: int) -> nmod_mat:
    """The same in FLINT, entry by entry: a list of all of them would take ten times the memory."""
    found = nmod_mat(rows.shape[0], rows.shape[1], p)
    for i, row in enumerate(rows):
        for j, value in enumerate(row.tolist()):
            found[i, j] = value
    return found


def rank(rows: Array, p: int = PRIME) -> int:
    """The rank of a matrix of residues, by FLINT.

    >>> rank(np.array([[1, 2], [2, 4]]))
    1
    """
    return int(_matrix(rows, p).rank()) if rows.size else 0


def echelon(rows: Array, p: int = PRIME) -> tuple[Array, Array]:
    """The reduced row echelon form without its rows of zeros, and the columns of its leading ones.

    The order of the rows is not that of the columns. By halves, so that nearly all work is in products.

    >>> [v.tolist() for v in echelon(np.array([[0, 2, 4], [0, 1, 2], [0, 0, 3]]), 7)]
    [[[0, 1, 0], [0, 0, 1]], [1, 2]]
    """
    if len(rows) <= _SMALL:
        return _eliminated(rows.copy(), p)
    half = len(rows) // 2
    return extended(echelon(rows[:half], p), rows[half:], p)


_SMALL = 24


def extended(known: tuple[Array, Array], rows: Array, p: int = PRIME) -> tuple[Array, Array]:
    """An echelon form with more rows taken in."""
    first, columns = known
    if not len(first):
        return echelon(rows, p)
    rest = (rows - product(rows[:, columns], first, p)) % p
    second, more = echelon(rest[rest.any(axis=1)], p)
    if len(second):
        first = (first - product(first[:, more], second, p)) % p
    return np.concatenate([first, second]), np.concatenate([columns, more])


def _eliminated(rows: Array, p: int) -> tuple[Array, Array]:
    """Gauss and Jordan, in place."""
    columns: list[int] = []
    done = 0
    for i in range(len(rows)):
        places = np.flatnonzero(rows[i])
        if not places.size:
            continue
        column = int(places[0])
        rows[i] = rows[i] * pow(int(rows[i, column]), -1, p) % p
        factors = rows[:, column].copy()
        factors[i] = 0
        touched = np.flatnonzero(factors)
        rows[touched] = (rows[touched] - factors[touched, None] * rows[i]) % p
        rows[[done, i]] = rows[[i, done]]
        columns.append(column)
        done += 1
    return rows[:done], np.array(columns, dtype=np.int64)


def null_space(rows: Array, p: int = PRIME) -> list[dict[int, int]]:
    """A basis of {v : rows·v = 0 mod p}: one vector for each column that is a sum of earlier ones, which is
    1 there and 0 at the other such columns; as {column: residue}.

    >>> null_space(np.array([[1, 0, 2], [0, 1, 3]]), 7)
    [{2: 1, 0: 5, 1: 4}]
    """
    reduced, found = _matrix(rows, p).rref()
    leading: list[int] = []
    column = 0
    for i in range(found):
        while int(reduced[i, column]) == 0:
            column += 1
        leading.append(column)
        column += 1
    basis: list[dict[int, int]] = []
    for free in sorted(set(range(rows.shape[1])) - set(leading)):
        vector = {free: 1}
        for i, pivot in enumerate(leading):
            if pivot > free:
                break
            if value := int(reduced[i, free]):
                vector[pivot] = p - value
        basis.append(vector)
    return basis


def fraction_of(value: int, p: int = PRIME) -> Fraction | None:
    """The fraction n/d with |n|, d ≤ √(p/2) that is ``value`` modulo p; None if there is none.

    Wang's half extended Euclid; a fraction so small is the only one.

    >>> fraction_of(residue(Fraction(-3, 4), PRIME))
    Fraction(-3, 4)
    """
    bound = isqrt(p // 2)
    r0, r1, t0, t1 = p, value % p, 0, 1
    while r1 > bound:
        q = r0 // r1
        r0, r1, t0, t1 = r1, r0 - q * r1, t1, t0 - q * t1
    if t1 == 0 or abs(t1) > bound:
        return None
    return Fraction(r1, t1)


def rational_vector(vector: Mapping[int, int], p: int = PRIME) -> dict[int, Fraction] | None:
    """A vector of residues as fractions, or None."""
    found = {k: fraction_of(v, p) for k, v in vector.items()}
    return {k: v for k, v in found.items() if v is not None} if None not in found.values() else None


PRIMES = (PRIME, SECOND, 2**31 - 61, 2**31 - 69, 2**31 - 85, 2**31 - 99)
"""The largest primes of 31 bits."""


def joined(vectors: Sequence[Mapping[int, int]], primes: Sequence[int]) -> tuple[dict[int, int], int]:
    """The residues modulo the product of primes that agree with those modulo each (Chinese remainders).

    >>> joined([{0: 2}, {0: 3}], (3, 5))
    ({0: 8}, 15)
    """
    total: dict[int, int] = dict.fromkeys({k for v in vectors for k in v}, 0)
    modulus = 1
    for vector, p in zip(vectors, primes, strict=False):
        inverse = pow(modulus, -1, p)
        for k, old in total.items():
            total[k] = old + modulus * ((vector.get(k, 0) - old) * inverse % p)
        modulus *= p
    return total, modulus
