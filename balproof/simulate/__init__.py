"""Simulations: claims about training, replicated with paired runs over many seeds.

Nothing here proves anything: an effect is reported with its interval, also where it is not what a paper says.
"""

from __future__ import annotations

import importlib

from balproof.errors import RequestError
from balproof.simulate.study import Study

MODULES: tuple[str, ...] = ("learning", "context")
"""Each has a tuple ``STUDIES``, listed in this order."""


def studies() -> dict[str, Study]:
    """All studies by name."""
    found = [s for m in MODULES for s in importlib.import_module(f"balproof.simulate.{m}").STUDIES]
    return {s.name: s for s in found}


def study(name: str) -> Study:
    """The study of this name.

    Raises RequestError for an unknown one.
    """
    known = studies()
    if name not in known:
        raise RequestError(f"unknown study {name!r}", "take one of " + ", ".join(known))
    return known[name]
