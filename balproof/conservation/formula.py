"""A law as people write it, in slices: Σ W1[0,:]·W1[1,:] − Σ W2[:,0]·W2[:,1]. Beyond degree 2, by entry."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from math import gcd, lcm

import numpy as np

from balproof.conservation.directions import Forms
from balproof.conservation.fields import Layout
from balproof.network.graph import Tensor

Pairs = dict[tuple[int, ...], Fraction]


def monomials(forms: Forms) -> Pairs:
    """The polynomial of a direction, by products θ_e·θ_f·… with e ≤ f ≤ …, and θ_e for f = −1.

    >>> monomials({(0, 0, 1): Fraction(6), (1, 0, 0): Fraction(3)})  # ∇(3·θ₀²·θ₁)
    {(0, 0, 1): Fraction(3, 1)}
    """
    return {key: c / key.count(key[0]) for key, c in forms.items() if key[1] < 0 or list(key) == sorted(key)}


def scaled(pairs: Pairs) -> Pairs:
    """The multiple with whole coprime coefficients, the first positive; or, if these are large, 1."""
    if not pairs:
        return pairs
    whole = lcm(*(c.denominator for c in pairs.values()))
    shared = gcd(*(int(c * whole) for c in pairs.values()))
    first = pairs[min(pairs)]
    result = {k: c * whole / shared * (1 if first > 0 else -1) for k, c in pairs.items()}
    if max(abs(c) for c in result.values()) > LARGE:  # doubles, over a power of two
        return {k: c / first for k, c in pairs.items()}
    return result


LARGE = 10**6
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _number(c: Fraction) -> str:
    """Exactly: as a fraction, or as a double if that is shorter."""
    return repr(float(c)) if c.denominator > 1000 and Fraction(float(c)) == c else str(c)


def text(layout: Layout, pairs: Pairs, between: str = "·") -> str:
    """The formula, in slices where a whole slice has one coefficient."""
    result = ""
    short = {k: c for k, c in sorted(pairs.items()) if len(k) == 2}
    long = sorted((k for k in pairs if len(k) > 2), key=lambda k: (len(k), k))
    for c, part in chain(_parts(layout, short, between), ((pairs[k], _power(layout, k)) for k in long)):
        size = abs(c)
        sign = ("" if c > 0 else "−") if not result else (" + " if c > 0 else " − ")
        result += f"{sign}{'' if size == 1 else f'{_number(size)}·'}{part}"
    return result or "0"


def _power(layout: Layout, key: tuple[int, ...]) -> str:
    """A product of entries, each with its power."""
    parts: list[str] = []
    for e in sorted(set(key)):
        name, span = next((n, s) for n, s in layout.spans.items() if s.start <= e < s.stop)
        times = key.count(e)
        power = str(times).translate(RAISED) if times > 1 else ""
        parts.append(layout.network.tensors[name].element(e - span.start) + power)
    return "·".join(parts)


def _parts(layout: Layout, pairs: Pairs, between: str) -> Iterator[tuple[Fraction, str]]:
    tensors = {t.name: t for t in layout.network.learned}
    names = list(layout.spans)
    owner = np.concatenate([np.full(tensors[n].size, i) for i, n in enumerate(names)]).tolist()
    groups: dict[tuple[int, int], Pairs] = {}
    for (e, f), c in pairs.items():
        groups.setdefault((owner[e], -1 if f < 0 else owner[f]), {})[e, f] = c
    for (i, j), group in groups.items():
        left = tensors[names[i]]
        right = None if j < 0 else tensors[names[j]]
        a, b = layout.spans[names[i]].start, 0 if j < 0 else layout.spans[names[j]].start
        local = {(e - a, -1 if f < 0 else f - b): c for (e, f), c in group.items()}
        yield from _slices(left, right, local, between)


def _slices(left: Tensor, right: Tensor | None, local: Pairs, between: str) -> Iterator[tuple[Fraction, str]]:
    for axis in range(len(left.shape)):
        for other in range(len(right.shape)) if right is not None else (0,):
            n = left.size // left.shape[axis]
            if n < 2 or (right is not None and right.size // right.shape[other] != n):
                continue
            by: dict[tuple[int, int], Pairs] = {}
            for (e, f), c in local.items():
                i, rest = _place(left, e, axis)
                j, rest_f = (-1, rest) if right is None else _place(right, f, other)
                if rest == rest_f:
                    by.setdefault((i, j), {})[e, f] = c
            for (i, j), found in sorted(by.items()):
                if len(found) == n and len(set(found.values())) == 1:
                    c = next(iter(found.values()))
                    first = _slice(left, axis, i)
                    if right is None:
                        yield c, f"Σ {first}"
                    elif right is left and other == axis and i == j:
                        yield c, f"Σ {first}²"
                    else:
                        yield c, f"Σ {first}{between}{_slice(right, other, j)}"
                    for key in found:
                        del local[key]
    for (e, f), c in sorted(local.items()):
        if right is None:
            yield c, left.element(e)
        elif right is left and e == f:
            yield c, f"{left.element(e)}²"
        else:
            yield c, f"{left.element(e)}{between}{right.element(f)}"


def _place(tensor: Tensor, flat: int, axis: int) -> tuple[int, int]:
    """The index along an axis, and the position among the rest."""
    at = [int(i) for i in np.unravel_index(flat, tensor.shape)]
    rest = [n for a, n in enumerate(tensor.shape) if a != axis]
    index = [i for a, i in enumerate(at) if a != axis]
    return at[axis], int(np.ravel_multi_index(tuple(index), tuple(rest))) if rest else 0


def _slice(tensor: Tensor, axis: int, index: int) -> str:
    return f"{tensor.name}[{','.join(str(index) if a == axis else ':' for a in range(len(tensor.shape)))}]"
