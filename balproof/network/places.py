"""Where the entries of a sparse matrix are: its weights are a parameter of one axis, in this order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Places:
    """Entry k stands in row ``rows[k]`` and column ``columns[k]`` of a matrix of ``shape``.

    Row by row, in ascending columns, none twice. Two are equal where they say the same.

    >>> places = Places.of((2, 3), np.array([1, 0, 1]), np.array([2, 1, 0]))[0]
    >>> places.rows.tolist(), places.columns.tolist(), places.starts.tolist()
    ([0, 1, 1], [1, 0, 2], [0, 1, 3])
    """

    shape: tuple[int, int]
    rows: Array
    columns: Array

    @staticmethod
    def of(shape: tuple[int, int], rows: Array, columns: Array) -> tuple[Places, Array]:
        """Those of entries in any order, and of each given entry the number that it has here.

        Entries in one place have one number.
        """
        rows, columns = (np.asarray(x, dtype=np.int64) for x in (rows, columns))
        key = rows * shape[1] + columns
        kept, number = np.unique(key, return_inverse=True)
        return Places(shape, *np.divmod(kept, shape[1])), number.reshape(-1)

    @cached_property
    def key(self) -> Array:
        """Row-major positions in the matrix, ascending."""
        return self.rows * self.shape[1] + self.columns

    @cached_property
    def starts(self) -> Array:
        """Row i has the entries ``starts[i]`` to ``starts[i + 1]``."""
        return np.searchsorted(self.rows, np.arange(self.shape[0] + 1))

    def matrix(self, values: Array) -> sparse.csr_array:
        """The matrix with these entries."""
        return sparse.csr_array((values, self.columns, self.starts), shape=self.shape)

    def position(self, number: int) -> tuple[int, int]:
        """Row and column of an entry."""
        return int(self.rows[number]), int(self.columns[number])

    @cached_property
    def _digest(self) -> str:
        both = (x.astype("<i8").tobytes() for x in (self.rows, self.columns))
        return hashlib.sha256(b"".join(both)).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return f"{len(self.rows)} places in {self.shape[0]}×{self.shape[1]}, {self._digest}"

    __repr__ = __str__
