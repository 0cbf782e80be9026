"""The weights of a network: in double precision where that is asked for, and as they are held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from balproof.network.graph import Network

Array = np.ndarray


class Weights(Mapping[str, Array]):
    """The parameters in float64, each made when it is first asked for.

    >>> from balproof.importers import load
    >>> weights = Weights(load("tests/data/chain.json"))
    >>> weights["fc1.weight"].dtype == weights.stored("fc1.weight").dtype
    True
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._names = tuple(t.name for t in network.parameters)
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._network.numbers(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def stored(self, name: str) -> Array:
        """The numbers of a parameter or constant in the type in which the network holds them."""
        value = self._network.tensors[name].value
        return value if value is not None and value.dtype.kind == "f" else self._network.numbers(name)


def plain(value: Array) -> bool:
    """Whether compiled loops read an array: single precision, row after row."""
    return value.dtype == np.float32 and value.flags.c_contiguous and value.flags.aligned


def stored(weights: Mapping[str, Array], name: str) -> Array:
    """A parameter as it is held."""
    return weights.stored(name) if isinstance(weights, Weights) else weights[name]
