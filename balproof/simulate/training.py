"""What the studies share: PyTorch on one thread, perceptrons, minibatches, and balance seen from outside."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from balproof.errors import MissingToolError
from balproof.importers import load
from balproof.network.manifold import Manifold, infer

Array = np.ndarray


def pytorch() -> Any:
    """The module torch.

    Raises MissingToolError where it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise MissingToolError(
            "simulations train networks with torch, which is not installed",
            "say pip install 'balproof[torch]'",
        ) from None


@contextmanager
def seeded(seed: int) -> Generator[Any]:
    """PyTorch with this seed, on one thread: the same numbers whatever runs beside."""
    torch = pytorch()
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield torch
        finally:
            torch.set_num_threads(threads)


def perceptron(torch: Any, widths: Sequence[int], *, end: Any = None) -> Any:
    """Linear layers with ReLU between them, as PyTorch initialises them, and ``end`` behind the last."""
    layers: list[Any] = []
    for before, after in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1], *([] if end is None else [end]))


def minibatches(order: np.random.Generator, count: int, size: int) -> Iterator[Array]:
    """Minibatches of ``size`` indices without end: each pass goes through the data in a new random order.

    What does not fill a minibatch at the end of a pass is left out.

    >>> draws = minibatches(np.random.default_rng(0), 5, 2)
    >>> len({*next(draws).tolist(), *next(draws).tolist()})
    4
    """
    size = min(size, count)
    while True:
        shuffled = order.permutation(count)
        for start in range(0, count - size + 1, size):
            yield shuffled[start : start + size]


@dataclass(frozen=True, eq=False)
class Watch:
    """The balance of a module while it is trained, on the manifold that balproof itself finds in it.

    So the bias of a unit counts among its incoming weights, and only units that can scale are looked at.
    """

    manifold: Manifold

    @cached_property
    def _absolute(self) -> sparse.csr_array:
        return sparse.csr_array(abs(self.manifold.matrix()).T)

    @staticmethod
    def of(module: Any, example: Any) -> Watch:
        return Watch(infer(load(module, example)))

    def differences(self, module: Any) -> Array:
        """D = Aᵀw²: for each unit Σ_IN w² − Σ_OUT w² (of degree 1)."""
        return self.sums({n: p**2 for n, p in module.named_parameters()})

    def sums(self, values: Mapping[str, Any]) -> Array:
        """Aᵀv for one tensor of PyTorch for each parameter."""
        return self.manifold.adjoint({n: _numbers(v) for n, v in values.items()})

    def sizes(self, values: Mapping[str, Any]) -> Array:
        """|A|ᵀ|v|: what the sums above are small or large against."""
        flat = [np.abs(_numbers(values[b.name])).ravel() for b in self.manifold.blocks]
        return self._absolute @ np.concatenate(flat)

    def relative_deficit(self, module: Any) -> float:
        """Σ D² over Σ (Σ_IN w² + Σ_OUT w²)²: from 0 to 1, and blind to the size of all weights together."""
        total = self.sizes({n: p**2 for n, p in module.named_parameters()})
        with np.errstate(over="ignore", invalid="ignore"):  # where training diverges, for the effects to see
            return self.deficit(module) / float(np.sum(total**2))

    def deficit(self, module: Any) -> float:
        """Σ D², the measure of [B] (section on simulations)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(self.differences(module) ** 2))


def _numbers(tensor: Any) -> Array:
    return tensor.detach().double().numpy()
