"""What a balancing function is given, and how its result becomes a network again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from balproof.errors import RequestError
from balproof.importers import is_module, load
from balproof.network.graph import Network

Make = Callable[[], tuple[Any, Any]]
"""Makes what a function is given, and example inputs where they are needed to read it."""


_TYPES = ("float16", "float32", "float64")


class Misfit(Exception):
    """What a function returned has the wrong type; the text says which type it has, and should have."""


class Form(Protocol):
    def of_user(self, model: object, example_inputs: object) -> Make:
        """A maker of copies of a user's model."""
        ...

    def of_case(self, network: Network) -> Make:
        """A maker of one case."""
        ...

    def read(self, result: Any, example: Any) -> Network:
        """The network of a result, whose weights need not be finite. Raises Misfit and ModelError."""
        ...


class Networks:
    """Networks of ours."""

    def of_user(self, model: object, example_inputs: object) -> Make:
        return self.of_case(load(model, example_inputs))

    def of_case(self, network: Network) -> Make:
        return lambda: (_copied(network), None)

    def read(self, result: Any, example: Any) -> Network:
        return load(_require(result, isinstance(result, Network), "a Network"), finite=False)


class Modules:
    """Modules of PyTorch."""

    def of_user(self, model: object, example_inputs: object) -> Make:
        from balproof.importers.torch_program import module_with

        if not is_module(model):
            raise RequestError("the model is no module", "give a torch.nn.Module and example_inputs")
        network = load(model, example_inputs)
        return lambda: (module_with(network, model), example_inputs)

    def of_case(self, network: Network) -> Make:
        from balproof.importers.torch_cases import module_of

        return lambda: module_of(network)

    def read(self, result: Any, example: Any) -> Network:
        return load(_require(result, is_module(result), "a module"), example, finite=False)


class Matrices:
    """The array J alone."""

    def of_user(self, model: object, example_inputs: object) -> Make:
        network = load(model, example_inputs)
        if [t.name for t in network.parameters] != ["J"]:
            raise RequestError("the model is more than a matrix", "give a square array J")
        J = network.tensors["J"]
        value = network.numbers("J").astype(J.dtype)
        return lambda: (value.copy(), None)

    def of_case(self, network: Network) -> Make:
        return lambda: (network.numbers("J").copy(), None)

    def read(self, result: Any, example: Any) -> Network:
        return load(_require(result, isinstance(result, np.ndarray), "an array"), finite=False)


class Arrays:
    """The parameters of a network by name."""

    def of_user(self, model: object, example_inputs: object) -> Make:
        return self.of_case(load(model, example_inputs))

    def of_case(self, network: Network) -> Make:
        return lambda: ({t.name: network.numbers(t.name).copy() for t in network.parameters}, network)

    def read(self, result: Any, example: Any) -> Network:
        arrays: Mapping[str, Any] = _require(result, isinstance(result, Mapping), "a dict of arrays")
        network: Network = example
        names = [t.name for t in network.parameters]
        if set(arrays) != set(names):
            raise Misfit(f"a dict of {', '.join(map(str, arrays))}, not of {', '.join(names)}")
        for name, array in arrays.items():
            numbers = isinstance(array, np.ndarray) and array.dtype.name in _TYPES
            _require(array, numbers, f"an array of floats for {name}")
        tensors = dict(network.tensors)
        for name in names:  # a result in single precision is judged as such
            tensors[name] = dataclasses.replace(tensors[name], dtype=arrays[name].dtype.name)
        typed = dataclasses.replace(network, tensors=tensors)
        return typed.with_parameters({n: a.astype(np.float64) for n, a in arrays.items()})


FORMS: Mapping[str, Form] = MappingProxyType(
    {"network": Networks(), "module": Modules(), "matrix": Matrices(), "arrays": Arrays()}
)


def form_of(takes: str) -> Form:
    return FORMS[takes]


def _require(result: Any, fits: bool, wanted: str) -> Any:
    if not fits:
        raise Misfit(f"{type(result).__name__}, not {wanted}")
    return result


def _copied(network: Network) -> Network:
    """With arrays of its own, which a function may write into."""
    tensors = {n: dataclasses.replace(t, value=copy.deepcopy(t.value)) for n, t in network.tensors.items()}
    return dataclasses.replace(network, tensors=tensors)
