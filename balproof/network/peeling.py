"""Dead units to a fixpoint, each weight looked at once: for long chains of them."""

from __future__ import annotations

import numpy as np
from scipy import sparse

Array = np.ndarray


def dead_scales(rows: sparse.csr_array, able: Array) -> Array:
    """Which of the ``able`` scales have no entry of one sign, once the rows of dead scales are gone.

    ``rows`` has a row for each weight and a column for each scale.

    >>> chain = sparse.csr_array(np.array([[-1.0, 1, 0], [0, -1, 1]]))
    >>> dead_scales(chain, np.ones(3, bool)).tolist()
    [True, True, True]
    """
    count = rows.shape[1]
    left = np.stack([np.bincount(rows.indices[sign * rows.data > 0], minlength=count) for sign in (1, -1)])
    dead = able & (left == 0).any(axis=0)
    waiting = np.flatnonzero(dead).tolist()
    if not waiting:
        return dead
    columns = sparse.csc_array(rows)
    gone = np.zeros(rows.shape[0], bool)
    while waiting:
        k = waiting.pop()
        for r in columns.indices[columns.indptr[k] : columns.indptr[k + 1]].tolist():
            if gone[r]:
                continue
            gone[r] = True
            own = slice(rows.indptr[r], rows.indptr[r + 1])
            for other, c in zip(rows.indices[own].tolist(), rows.data[own].tolist(), strict=True):
                side = 0 if c > 0 else 1
                left[side, other] -= 1
                if not left[side, other] and able[other] and not dead[other]:
                    dead[other] = True
                    waiting.append(other)
    return dead
