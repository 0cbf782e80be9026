"""What another program made of a network: an audit, an acceptance test, and the books of a training run."""

from __future__ import annotations

from balproof.crosscheck.sgd import Sgd
from balproof.crosscheck.training import conserved_along

__all__ = ["Sgd", "conserved_along"]
