"""PyTorch modules made of small networks, for tests of code that balances modules."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from balproof.errors import MissingToolError, ModelError
from balproof.network.graph import Network


def module_of(network: Network) -> tuple[Any, Any]:
    """A module of ``torch.nn.Linear`` layers in float64 that computes what ``network`` does, and an example.

    Layers are called as the network calls them: ``fc1.weight`` belongs to ``fc1``. A network that is one
    chain becomes a ``Sequential`` (a layer that is called twice stands in it twice), any other a module
    with a ``forward`` of its own.

    Raises ModelError for what has no such form; MissingToolError if torch is not installed.
    """
    torch = _torch()
    layers = {name: _layer(torch, network, name) for name in _names(network)}
    steps: list[tuple[Any, tuple[str, ...], str]] = []
    passed: dict[str, str] = {}  # a layer adds its bias: linear and bias are one step
    for op in network.operations:
        given = tuple(passed.get(x, x) for x in op.inputs)
        if op.kind == "linear":
            layer = op.inputs[1].removesuffix(".weight")
            after = [o for o in network.operations if o.kind == "bias" and o.inputs[0] == op.output]
            steps.append((layers[layer], given[:1], after[0].output if after else op.output))
        elif op.kind == "bias":
            passed[op.inputs[0]] = op.output
        elif op.kind == "activation":
            steps.append((_activation(torch, op.attributes["function"].text), given, op.output))
        elif op.kind == "add":
            steps.append((None, given, op.output))
        else:
            raise ModelError(f"no module is made of operation {op.name!r} ({op.kind})", "give dense layers")
    x, y = network.inputs[0], network.outputs[0]
    example = torch.zeros(network.tensors[x].shape, dtype=torch.float64)
    chain = [x, *(output for _, _, output in steps)]
    if all(given == (before,) for (_, given, _), before in zip(steps, chain, strict=False)):
        known = {id(layer): name for name, layer in layers.items()}
        order = [(known.get(id(step), output), step) for step, _, output in steps]
        names = [name for name, _ in order]
        named = {n if n not in names[:i] else f"{n}_{i}": step for i, (n, step) in enumerate(order)}
        return torch.nn.Sequential(OrderedDict(named)), example
    return _graph(torch, layers, steps, x, y), example


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise MissingToolError("torch is not installed", "say pip install 'balproof[torch]'") from None


def _names(network: Network) -> list[str]:
    return [t.name.removesuffix(".weight") for t in network.parameters if t.name.endswith(".weight")]


def _layer(torch: Any, network: Network, name: str) -> Any:
    weight = network.numbers(f"{name}.weight")
    bias = network.numbers(f"{name}.bias") if f"{name}.bias" in network.tensors else None
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias.copy()))
    return layer


def _activation(torch: Any, text: str) -> Any:
    if text == "relu":
        return torch.nn.ReLU()
    if text == "Max(x, 0)**2":

        class SquaredReLU(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return torch.relu(x) ** 2

        return SquaredReLU()
    raise ModelError(f"no module is made of the activation {text}", "take relu or Max(x, 0)**2")


def _graph(torch: Any, layers: Mapping[str, Any], steps: list[Any], x: str, y: str) -> Any:
    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = [(self._known(step), given, output) for step, given, output in steps]

        def _known(self, step: Any) -> str | None:
            if step is None:
                return None
            name = next((n for n, layer in layers.items() if layer is step), "activation")
            self.add_module(name, step)
            return name

        def forward(self, given: Any) -> Any:
            values = {x: given}
            for name, inputs, output in self.steps:
                first = values[inputs[0]]
                values[output] = (
                    first + values[inputs[1]] if name is None else self.get_submodule(name)(first)
                )
            return values[y]

    return Graph()
