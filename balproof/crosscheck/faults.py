"""The faults that an audit can find."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Array = np.ndarray
FaultKind = Literal[
    "structure-differs",
    "tied-weights-split",
    "not-finite",
    "sign-changed",
    "bias-not-scaled",
    "not-a-rescaling",
    "function-differs",
    "frozen-layer",
    "unbalanced-unit",
    "not-optimal",
]

OFF_THE_ORBIT: frozenset[FaultKind] = frozenset(
    {
        "structure-differs",
        "tied-weights-split",
        "not-finite",
        "sign-changed",
        "bias-not-scaled",
        "not-a-rescaling",
    }
)
"""Faults of which each says that AFTER is no rescaling of BEFORE."""

BALANCE: frozenset[str] = frozenset({"frozen-layer", "unbalanced-unit", "not-optimal"})
"""Faults of rescalings, which have the function of BEFORE."""

LISTED = 100
"""So many weights of one tensor are listed with one kind of fault; biases left unscaled are all listed."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: what kind, at which weight or unit, and how large.

    ``size`` is for a weight its distance from the value that the rescaling gives it, relative to the larger
    of the two (at most 1, for a sign at most 2); for a unit or a layer the imbalance; for the whole network
    the relative cost above the optimum, or the difference of the outputs.
    """

    kind: FaultKind
    where: str
    size: float | None

    def as_json(self) -> dict[str, object]:
        return {"kind": self.kind, "where": self.where, "size": self.size}


def shown(names: Iterable[str], limit: int = 5) -> str:
    """The first few names, and how many more there are.

    >>> shown("abcdefgh")
    'a, b, c, d, e and 3 more'
    """
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more
