"""Theorems that Coq's kernel checks: compiling them, auditing what they assume, pinning what they say."""

from __future__ import annotations

from balproof.formal.gate import (
    Gate,
    check_certificate,
    check_certificates,
    coq_version,
    kernel_recheck,
    run_gate,
)
from balproof.formal.theories import THEORIES

__all__ = [
    "Gate",
    "THEORIES",
    "check_certificate",
    "check_certificates",
    "coq_version",
    "kernel_recheck",
    "run_gate",
]
