"""The claims of the papers and of related results, one function each."""

from __future__ import annotations

from balproof.theorems.registry import ClaimFunction

CLAIMS: tuple[ClaimFunction, ...] = ()
