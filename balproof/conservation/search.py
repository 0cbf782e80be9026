"""The search for laws beyond the scaling laws, stage by stage, the cheap ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from balproof.conservation import higher, quadratic
from balproof.conservation.directions import Forms, independent
from balproof.conservation.fields import Layout
from balproof.conservation.quadratic import Family
from balproof.conservation.sampling import Data
from balproof.conservation.shown import Shown, described, prove, text

LINEAR = "all linear polynomials"


@dataclass(frozen=True, eq=False)
class Search:
    """What was shown up to a stage, what passed all samples and was not shown, and where was searched."""

    shown: tuple[Shown, ...]
    failed: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def after(self, pool: Sequence[Forms], words: str, data: Data, twist: int, signs: bool) -> Search:
        """With those of a pool that can be shown and are independent of what is known."""
        layout, shown, failed = Layout(data.network), list(self.shown), list(self.failed)
        while True:
            known = [s.forms for s in shown]
            places = independent([*known, *pool], layout.size)
            new = {i - len(known) for i in places if i >= len(known)}
            tried = [pool[i] for i in sorted(new)]
            outcome = prove(data, layout, tried, signs)
            shown += [described(layout, form, data, twist) for form, ok in zip(tried, outcome) if ok]
            failed += [text(layout, form, twist) for form, ok in zip(tried, outcome) if not ok]
            pool = [form for i, form in enumerate(pool) if i not in new]
            if all(outcome):
                return Search(tuple(shown), tuple(failed), (*self.words, words))


def stages(data: Data, degree: int, twist: int, signs: bool) -> Iterator[tuple[Sequence[Forms], str]]:
    """Candidates, and where they were sought.

    Raises Unsupported for a network that cannot be run, RequestError for too many monomials.
    """
    size = Layout(data.network).size
    straight = Family(np.arange(size)[:, None], None, ("θ",))
    found, words = quadratic.families(data.network, twist)
    if twist == -1 or size > quadratic.FULL:  # else they are among the quadratic ones
        yield quadratic.candidates(data, [straight], signs), LINEAR
    yield quadratic.candidates(data, found, signs), words
    if degree > 2:
        higher.require_few(size, degree)
        monomials = higher.Monomials(size, degree)
        yield quadratic.candidates(data, [monomials], signs), f"all polynomials up to degree {degree}"
