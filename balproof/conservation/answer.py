"""What `conserved` answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from balproof.conservation import directions
from balproof.conservation.directions import Forms
from balproof.conservation.fields import Layout
from balproof.network.laws import Law

Array = np.ndarray
Verdict = Literal["complete", "at-most", "at-least", "none"]


@dataclass(frozen=True)
class Count:
    """How many independent laws there are.

    ``complete``: ``k``, and there are no more on any open set that contains the certificate's point ·
    ``none``: none at all there · ``at-most``: ``k`` are shown, and there are at most parameters −
    lie_dimension · ``at-least``: ``k`` are shown, and nothing is known of others; ``why`` says why.
    """

    verdict: Verdict
    k: int
    lie_dimension: int | None
    parameters: int
    certificate: Mapping[str, Any] | None
    why: str

    def as_json(self) -> dict[str, object]:
        return {
            "verdict": self.verdict,
            "k": self.k,
            "lie_dimension": self.lie_dimension,
            "parameters": self.parameters,
            "why": self.why,
            "certificate": None if self.certificate is None else dict(self.certificate),
        }


@dataclass(frozen=True, eq=False)
class Conserved:
    """The laws, independent of one another; ``units`` says what each is the law of, and ``short`` how it
    reads in terms of the weights into and out of a unit, where it is one.

    ``candidates`` passed all samples and could not be shown: they are not counted.
    """

    laws: tuple[Law, ...]
    units: tuple[str, ...]
    short: tuple[str, ...]
    count: Count
    flow: str
    data: str
    loss: str
    region: str
    searched: str
    candidates: tuple[str, ...]
    forms: tuple[Forms, ...]
    layout: Layout

    def at(self, weights: Mapping[str, Array]) -> Array:
        """The polynomial of each law, which gradient flow keeps, at one array for each learned parameter.

        >>> from balproof.conservation import conserved
        >>> from balproof.importers import load
        >>> found = conserved(load("tests/data/chain.json"))
        >>> found.at({t.name: np.full(t.shape, 3.0) for t in found.layout.network.learned}).tolist()
        [0.0, 0.0]
        """
        theta = self.layout.join({n: np.asarray(weights[n], np.float64)[None] for n in self.layout.spans})[0]
        return np.array([directions.potential(form, theta) for form in self.forms])

    @property
    def sentence(self) -> str:
        """The count in words, with what it holds for."""
        c = self.count
        few = f"{c.k} independent {'law' if c.k == 1 else 'laws'}"
        where = "on any open set that contains the point of the certificate"
        text = {
            "complete": f"complete: {few}, and no more {where}",
            "none": f"none: nothing is conserved {where}",
            "at-most": f"at least {few}, and at most {c.parameters - (c.lie_dimension or 0)} {where}",
            "at-least": f"at least {few}",
        }[c.verdict]
        if c.lie_dimension is not None:
            text += (
                f": the fields and their brackets span {c.lie_dimension} of {c.parameters} dimensions there"
            )
        return text + (f"; {c.why}" if c.why else "")

    def as_json(self) -> dict[str, object]:
        return {
            "laws": [law.as_json() | {"unit": unit} for law, unit in zip(self.laws, self.units, strict=True)],
            "count": self.count.as_json(),
            "sentence": self.sentence,
            "flow": self.flow,
            "data": self.data,
            "loss": self.loss,
            "region": self.region,
            "searched": self.searched,
            "candidates": list(self.candidates),
        }
