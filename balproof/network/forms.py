"""Many linear forms in the free scales at once: nearly all of them are a multiple of one scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import overload

import numpy as np
from scipy import sparse

Array = np.ndarray
Form = tuple[tuple[int, Fraction], ...]
"""A linear form in the free scales: pairs (free scale, coefficient), sorted, without zeros."""

ONE = Fraction(1)
"""Nearly every coefficient is this one, which is told by identity: fractions are slow."""

_NONE = -1
_OTHER = -2


@dataclass(frozen=True, eq=False, repr=False)
class Forms(Sequence[Form]):
    """Forms as arrays: form i is ``ratios[ratio[i]]`` times the scale ``scale[i]``.

    It is 0 where ``scale`` is −1, and ``others[i]``, of several scales, where that is −2.

    >>> half = Fraction(1, 2)
    >>> forms = Forms.of([(), ((3, half),), ((0, half), (2, half))])
    >>> forms.scale.tolist(), forms[1] == ((3, half),), forms.scales.tolist()
    ([-1, 3, -2], True, [0, 2, 3])
    """

    scale: Array
    ratio: Array
    ratios: tuple[Fraction, ...]
    others: Mapping[int, Form]

    @staticmethod
    def of(forms: Sequence[Form]) -> Forms:
        """Those of a sequence."""
        if isinstance(forms, Forms):
            return forms
        return Forms.free(len(forms), np.zeros(0, dtype=np.int64)).replaced(dict(enumerate(forms)))

    @staticmethod
    def free(count: int, places: Array) -> Forms:
        """Scale k at the k-th of the ``places``, and 0 at all others."""
        scale = np.full(count, _NONE)
        scale[places] = np.arange(len(places))
        return Forms(scale, np.zeros(count, dtype=np.int64), (ONE,), {})

    def replaced(self, forms: Mapping[int, Form]) -> Forms:
        """With these in the places that they name."""
        scale, ratio, others = self.scale.copy(), self.ratio.copy(), dict(self.others)
        codes, first = {c: i for i, c in enumerate(self.ratios)}, self.ratios[0]
        for i, form in forms.items():
            if len(form) == 1:
                scale[i], c = form[0]
                ratio[i] = 0 if c is first else codes.setdefault(c, len(codes))
            else:
                scale[i] = _OTHER if form else _NONE
            if len(form) > 1:
                others[i] = form
            else:
                others.pop(i, None)
        return Forms(scale, ratio, tuple(codes), others)

    def __len__(self) -> int:
        return len(self.scale)

    @overload
    def __getitem__(self, i: int) -> Form: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[Form, ...]: ...
    def __getitem__(self, i: int | slice) -> Form | tuple[Form, ...]:
        if isinstance(i, slice):
            return tuple(self)[i]
        k = int(self.scale[i])
        if k == _OTHER:
            return self.others[range(len(self))[i]]
        return () if k == _NONE else ((k, self.ratios[self.ratio[i]]),)

    def __iter__(self) -> Iterator[Form]:
        ratios, others = self.ratios, self.others
        for i, (k, r) in enumerate(zip(self.scale.tolist(), self.ratio.tolist(), strict=True)):
            yield ((k, ratios[r]),) if k >= 0 else () if k == _NONE else others[i]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    @property
    def zero(self) -> bool:
        """Whether all of them are 0."""
        return bool(np.all(self.scale == _NONE))

    @property
    def scales(self) -> Array:
        """The scales that occur, ascending."""
        found = np.flatnonzero(np.bincount(self.scale[self.scale >= 0]))
        if self.others:
            found = np.union1d(found, [k for form in self.others.values() for k, _ in form])
        return found

    @property
    def floats(self) -> Array:
        """The coefficients of those that have one scale."""
        return np.array([float(r) for r in self.ratios])[self.ratio]

    def look_up(self, values: Array) -> Array:
        """The value of the scale of each of those that have one, and 0."""
        found = np.zeros(len(self), dtype=values.dtype)
        there = self.scale >= 0
        found[there] = values[self.scale[there]]
        return found

    def at(self, index: Array) -> Forms:
        """Those at these places."""
        others: dict[int, Form] = {}
        if self.others:
            there = np.flatnonzero(self.scale[index] == _OTHER)
            others = {int(i): self.others[int(index[i])] for i in there}
        return Forms(self.scale[index], self.ratio[index], self.ratios, others)

    def times(self, factor: Fraction) -> Forms:
        """``factor`` times each of them; it is not 0."""
        if factor == 1:
            return self
        others = {i: tuple((k, c * factor) for k, c in form) for i, form in self.others.items()}
        return Forms(self.scale, self.ratio, tuple(r * factor for r in self.ratios), others)

    def absolute(self) -> Forms:
        """With the sizes of the coefficients."""
        others = {i: tuple((k, abs(c)) for k, c in form) for i, form in self.others.items()}
        return Forms(self.scale, self.ratio, tuple(abs(r) for r in self.ratios), others)

    def renamed(self, new: Array) -> Forms:
        """With ``new[k]`` in place of scale k, which keeps their order, and without it where that is −1."""
        scale = np.where(self.scale >= 0, self.look_up(new), self.scale)
        if not self.others:
            return Forms(scale, self.ratio, self.ratios, {})
        forms = list(Forms(scale, self.ratio, self.ratios, self.others))
        for i, form in self.others.items():
            forms[i] = tuple((int(new[k]), c) for k, c in form if new[k] >= 0)
        return Forms.of(forms)

    def matrix(self, count: int) -> sparse.csr_array:
        """In floating point, one row each over ``count`` scales."""
        if self.others:
            entries = [(i, k, float(c)) for i, form in enumerate(self) for k, c in form]
            rows, columns, values = zip(*entries, strict=True)
            place = np.array(rows, int), np.array(columns, int)
            return sparse.csr_array((np.array(values, float), place), shape=(len(self), count))
        there = self.scale >= 0
        start = np.concatenate([[0], np.cumsum(there)])
        return sparse.csr_array((self.floats[there], self.scale[there], start), shape=(len(self), count))
