"""What each mistake does to the outputs: one at a time, and all but one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from balproof.crosscheck.causes import Cause
from balproof.crosscheck.function import function_error
from balproof.network.graph import Network

Array = np.ndarray

MEASURED = 8
"""Of more causes than that, only so many are measured."""


def with_effects(
    before: Network,
    meant: Mapping[str, Array],
    new: Mapping[str, Array],
    causes: Sequence[Cause],
    seed: int = 0,
) -> tuple[Cause, ...]:
    """The causes with the difference that each makes alone, and what is left when it alone is repaired.

    ``meant`` are the weights that the rescaling should have given, which have the function of ``before``.

    >>> from balproof.importers import load
    >>> old = {"J": np.zeros((1, 1)), "W_in": np.ones((1, 1)), "W_out": np.ones((1, 1))}
    >>> cause = Cause("constant-factor", ("W_in",), masks={"W_in": np.ones((1, 1), bool)})
    >>> found = with_effects(load(old), old, {**old, "W_in": 2 * old["W_in"]}, [cause])[0]
    >>> found.alone, found.repaired
    (0.5, 0.0)
    """

    def error(values: Mapping[str, Array]) -> float | None:
        found = function_error(before, before.with_parameters(values), seed)
        return found if found is None or np.isfinite(found) else None

    def mixed(cause: Cause, inside: Mapping[str, Array], outside: Mapping[str, Array]) -> dict[str, Array]:
        marked = cause.masks
        return {n: np.where(marked[n], inside[n], outside[n]) if n in marked else outside[n] for n in outside}

    return tuple(
        dataclasses.replace(
            cause, alone=error(mixed(cause, new, meant)), repaired=error(mixed(cause, meant, new))
        )
        if i < MEASURED and cause.masks
        else cause
        for i, cause in enumerate(causes)
    )
