"""balproof: symbolic and formal verification of synaptic balance.

The names here are those that a reader of the README meets; each is imported when it is first used.

>>> import balproof
>>> balproof.solve(balproof.load("tests/data/chain.json")).status
'balanced'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Activation": "balproof.symbolic.activation",
    "Regularizer": "balproof.symbolic.regularizer",
    "optimal_scale": "balproof.symbolic.scale",
    "derive": "balproof.symbolic.derivation",
    "Network": "balproof.network.graph",
    "infer": "balproof.network.manifold",
    "conserved": "balproof.conservation",
    "load": "balproof.importers",
    "save": "balproof.importers",
    "BalanceProblem": "balproof.balance.problem",
    "Solution": "balproof.balance.solve",
    "solve": "balproof.balance.solve",
    "balance_": "balproof.balance.tensors",
    "Balancer": "balproof.balance.tensors",
    "check": "balproof.crosscheck.audit",
    "audit": "balproof.crosscheck.live",
    "conserved_along": "balproof.crosscheck.training",
    "Sgd": "balproof.crosscheck.sgd",
    "torch": "balproof.torch",
    "canonical": "balproof.crosscheck.canonical",
    "fingerprint": "balproof.crosscheck.canonical",
    "same_orbit": "balproof.crosscheck.canonical",
    "verify": "balproof.theorems",
    "Verdict": "balproof.verdict",
    "BalproofError": "balproof.errors",
}

__all__ = ["__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from balproof.balance.problem import BalanceProblem
    from balproof.balance.solve import Solution, solve
    from balproof.balance.tensors import Balancer, balance_
    from balproof.conservation import conserved
    from balproof.crosscheck.audit import check
    from balproof.crosscheck.canonical import canonical, fingerprint, same_orbit
    from balproof.crosscheck.live import audit
    from balproof.crosscheck.sgd import Sgd
    from balproof.crosscheck.training import conserved_along
    from balproof.errors import BalproofError
    from balproof.importers import load, save
    from balproof.network.graph import Network
    from balproof.network.manifold import infer
    from balproof.symbolic.activation import Activation
    from balproof.symbolic.derivation import derive
    from balproof.symbolic.regularizer import Regularizer
    from balproof.symbolic.scale import optimal_scale
    from balproof.theorems import verify
    from balproof.verdict import Verdict


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'balproof' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    return module if module.__name__ == f"balproof.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
