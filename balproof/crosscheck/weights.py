"""Weights as they are held, where compiled loops read them so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from balproof.network.graph import Network, Numbers

Array = np.ndarray


def held(network: Network, name: str) -> Array:
    """A parameter or constant in the type in which the network has it, if that is one of numbers."""
    return network.flat(name).reshape(network.tensors[name].shape)


def stored(weights: Mapping[str, Array], name: str) -> Array:
    """A parameter as it is held, where that is known."""
    return held(weights.network, name) if isinstance(weights, Numbers) else weights[name]


def plain(value: Array) -> bool:
    """Whether compiled loops read an array: single precision, row after row.

    >>> plain(np.zeros((2, 3), np.float32)), plain(np.zeros((2, 3)))
    (True, False)
    """
    return value.dtype == np.float32 and value.flags.c_contiguous and value.flags.aligned
