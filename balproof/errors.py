"""Every exception that balproof raises on purpose.

Each carries a *cause* and a *remedy*; the command line prints them on one line and exits with 2.
Anything else that reaches a user is a fault of balproof itself.
"""

from __future__ import annotations


class BalproofError(Exception):
    """A request or an input that balproof cannot take.

    >>> str(BalproofError("weight w[2] is NaN", "retrain or repair the file"))
    'weight w[2] is NaN: retrain or repair the file'
    """

    def __init__(self, cause: str, remedy: str) -> None:
        self.cause = " ".join(cause.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(f"{self.cause}: {self.remedy}")


class ExpressionError(BalproofError):
    """A formula outside the whitelisted language, or with the wrong variables."""


class RegularizerError(BalproofError):
    """A regularizer for which the requested operation has no meaning (not even, not log-convex, ...)."""


class ModelError(BalproofError):
    """A model file or network that is malformed, inconsistent, not finite, or of an unknown kind."""


class DataError(BalproofError):
    """A data set that is missing, damaged, or in a form that is not read."""


class RequestError(BalproofError):
    """Options that contradict one another, name something unknown, or ask for more than is possible."""


class RangeError(RequestError):
    """Weights whose costs no sum of doubles can hold."""


def require_seed(seed: int) -> None:
    """Raises RequestError for a negative seed, which NumPy's generators do not take."""
    if seed < 0:
        raise RequestError(f"seed {seed} is negative", "give a whole number from 0")


class MissingToolError(BalproofError):
    """An optional library (onnx, onnxruntime, torch, ...) that the request needs is not installed."""
