"""Watch a training run of PyTorch: ``with balproof.torch.watch(model, optimizer, example_inputs=x) as run``.

PyTorch itself is not imported here. Before each step of the optimizer the weights and gradients are copied;
after it the books are kept, and the copies go: memory is a few times that of the weights, however long the
run is, and a step takes some ten times as long as without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from balproof.crosscheck.sgd import Sgd
from balproof.crosscheck.training import Rule, Run, TrainingReport
from balproof.errors import RequestError
from balproof.importers import is_module, load
from balproof.importers.torch_program import _owners as owners_of
from balproof.network.manifold import infer

Array = np.ndarray


def watch(
    model: Any,
    optimizer: Any,
    *,
    example_inputs: object,
    rule: Rule | None = None,
    precision: float | None = None,
) -> Watch:
    """Test the identities of `balproof.crosscheck.conserved_along` at every step of an optimizer.

    The settings are read at each step, from each parameter group, so schedules are followed. Any optimizer
    that is, or inherits from, ``torch.optim.SGD`` should step as that does; others have no law, but for a
    ``rule`` of yours: the `Sgd` that your own optimizer should be. The model is read in the mode in which it
    is. With mixed precision give ``precision``, the rounding of the arithmetic of the gradients.

    Raises RequestError where the model is no module, or the optimizer has none of its parameters, and
    ModelError as `balproof.load`.
    """
    if not is_module(model):
        raise RequestError("the model is no module of PyTorch", "give a torch.nn.Module")
    if not hasattr(optimizer, "register_step_post_hook"):
        raise RequestError("the optimizer has no hooks", "give a torch.optim.Optimizer")
    return Watch(model, optimizer, example_inputs, rule, precision)


class Watch:
    """A watched run: a context manager, with a `report` at any time."""

    def __init__(
        self, model: Any, optimizer: Any, example_inputs: object, rule: Rule | None, precision: float | None
    ) -> None:
        network = load(model, example_inputs)
        every = dict(model.named_parameters(remove_duplicate=False))
        self.parameters = {t.name: every[t.name] for t in network.learned}
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) for p in self.parameters.values() if id(p) in stepped):
            raise RequestError(
                "the optimizer has no parameter of the model", "give the optimizer that trains this model"
            )
        self.optimizer, self.rule = optimizer, rule
        types = {t.name: t.dtype for t in network.learned}
        self.left_out = [n for n, p in self.parameters.items() if p.requires_grad and id(p) not in stepped]
        owners = owners_of(every)
        views = [n for n, owner in owners.items() if every[n] is not every[owner]]
        if views:
            raise RequestError(
                f"{views[0]} shares the numbers of {owners[views[0]]} and has a gradient of its own",
                "tie weights by using one parameter twice",
            )
        resumed = any("momentum_buffer" in optimizer.state.get(p, {}) for p in self.parameters.values())
        self.run = Run(
            infer(network), resumed=resumed, precision=precision, types=types, left_out=self.left_out
        )
        self._depth = 0
        self._before: tuple[Mapping[str, Array], Mapping[str, Array] | None, dict[str, Rule]] | None = None
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        self._handles = [
            self.optimizer.register_step_pre_hook(self._pre),
            self.optimizer.register_step_post_hook(self._post),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def report(self) -> TrainingReport:
        """What the steps so far say. Raises RequestError if there are none."""
        return self.run.report()

    # A step that calls the step of its parent class runs the hooks twice, one inside the other.
    def _pre(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._depth += 1
        if self._depth == 1:
            closed = any(callable(a) for a in (*args, *kwargs.values()))  # gradients are made inside
            self._before = self._weights(), None if closed else self._gradients(), self._rules()

    def _post(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._depth -= 1
        if self._depth == 0 and self._before is not None:
            weights, gradients, rules = self._before
            self._before = None
            # A closure's gradients are at the weights before the step: SGD evaluates it first.
            gradients = self._gradients() if gradients is None else gradients
            self.run.step(weights, gradients, self._weights(), rules)

    def _weights(self) -> dict[str, Array]:
        return {n: _array(p) for n, p in self.parameters.items()}

    def _gradients(self) -> dict[str, Array]:
        signs = {
            id(p): -1.0 if g.get("maximize") else 1.0
            for g in self.optimizer.param_groups
            for p in g["params"]
        }
        found = {n: p for n, p in self.parameters.items() if p.grad is not None and n not in self.left_out}
        return {n: signs.get(id(p), 1.0) * _array(p.grad) for n, p in found.items()}

    def _rules(self) -> dict[str, Rule]:
        given: dict[int, Rule] = {}
        read = _settings(self.optimizer)
        for group in self.optimizer.param_groups:
            rule = self.rule if self.rule is not None else read(group)
            given.update((id(p), rule) for p in group["params"])
        # One that was left out has no gradient in the books, and no step.
        default = self.rule or read(self.optimizer.param_groups[0])
        return {n: given.get(id(p), default) for n, p in self.parameters.items()}


def _settings(optimizer: Any) -> Callable[[Mapping[str, Any]], Rule]:
    """How the settings of a group are read: those of SGD, or the name of what has no law."""
    kinds = {f"{c.__module__}.{c.__qualname__}" for c in type(optimizer).__mro__}
    if "torch.optim.sgd.SGD" not in kinds:
        return lambda group: type(optimizer).__name__
    return lambda group: Sgd(
        rate=float(group["lr"]),
        momentum=float(group["momentum"]),
        dampening=float(group["dampening"]),
        decay=float(group["weight_decay"]),
        nesterov=bool(group["nesterov"]),
    )


def _array(tensor: Any) -> Array:
    """A copy of the numbers in double precision."""
    return np.array(tensor.detach().cpu().double().numpy())
