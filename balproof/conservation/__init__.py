"""What gradient flow conserves, with proof that there is no more: laws, counts, flows, finite steps."""

from __future__ import annotations

from balproof.conservation.answer import Conserved, Count
from balproof.conservation.completeness import replay
from balproof.conservation.laws import conserved

__all__ = ["Conserved", "Count", "conserved", "replay"]
