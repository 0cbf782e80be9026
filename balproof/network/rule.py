"""What a scaling rule is, and random instances to execute it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.network.graph import Operation, Tensor
from balproof.network.scales import Imply

Array = np.ndarray
Example = Callable[[np.random.Generator], tuple[Operation, dict[str, Tensor]]]


@dataclass(frozen=True)
class ScalingRule:
    """Equations, executed semantics and a random instance of one kind of operation."""

    law: str
    imply: Imply
    evaluate: Callable[[Operation, list[Array]], Array]
    example: Example


def instance(
    kind: str,
    inputs: Mapping[str, Tensor],
    shape: tuple[int, ...],
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Operation, dict[str, Tensor]]:
    """An operation on these tensors whose result y has this shape."""
    result = Tensor("y", shape, "activation")
    return Operation(kind, "example", tuple(inputs), "y", MappingProxyType(dict(attributes))), {
        **inputs,
        "y": result,
    }


def parameter(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Tensor:
    """A parameter with normal entries."""
    return Tensor(name, shape, "parameter", rng.standard_normal(shape))


def source(shape: tuple[int, ...], name: str = "x") -> Tensor:
    """Something that is computed or given elsewhere."""
    return Tensor(name, shape, "input")


def length(rng: np.random.Generator, low: int = 1, high: int = 4) -> int:
    """A random length of an axis."""
    return int(rng.integers(low, high + 1))
