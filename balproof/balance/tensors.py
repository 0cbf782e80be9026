"""Balancing PyTorch's tensors where they live, CPU or GPU, in place: for use while a module trains.

The costs |w|^p, their row and column sums and the rescaling are PyTorch's; only vectors over units come to
the host. Nothing here imports PyTorch: the tensors bring their own methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from balproof.balance.blocks import BlockProblem, Layout, Pair, layout, sweeps
from balproof.balance.problem import Costs
from balproof.errors import ModelError, RequestError
from balproof.importers import is_module, load
from balproof.network.manifold import Block, Manifold, infer

Array = np.ndarray

TOLERANCE = 1e-6
"""The imbalance to reach by default: float32 weights are balanced no better than to some 1e-7."""


@dataclass(frozen=True)
class Balanced:
    """What balancing in place did: imbalances and costs before and after, and passes over the weights.

    ``converged`` tells whether the tolerance was reached; the function is kept in any case. ``dead_units``
    have no weights in or none out; they and their weights' scales on that side were left alone.
    """

    imbalance_before: float
    imbalance: float
    cost_before: float
    cost_after: float
    passes: float
    converged: bool
    dead_units: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TensorPair(Pair):
    """A block whose costs are a tensor."""

    def times(self, factors: Array, *, transposed: bool = False) -> Array:
        costs: Any = self.costs
        given = costs.new_tensor(np.ascontiguousarray(factors))
        found = (given[:, None, :] @ costs)[:, 0] if transposed else (costs @ given[..., None])[..., 0]
        return found.cpu().numpy().astype(np.float64)


class Balancer:
    """Balances a module again and again; what can scale is found once.

    ``regularizer`` is any cost that `balproof.solve` takes and that is a multiple of one |w|^p. The module is
    read through ``torch.export`` with ``example_inputs``, which costs seconds; `balance_` then takes a few
    passes over the weights. A module whose structure changes needs a new one.

    Raises ModelError for what cannot be read, RequestError for a cost that is no single power and for layers
    that feed themselves (use `balproof.solve` there), MissingToolError where PyTorch is not installed.
    """

    def __init__(
        self, module: Any, example_inputs: Any, regularizer: str = "l2", *, bias_cost: bool = True
    ) -> None:
        if not is_module(module):
            raise RequestError("the model is no torch.nn.Module", "use balproof.solve for other models")
        costs = Costs.parse(regularizer, bias_cost=bias_cost)
        manifold = infer(load(module, example_inputs))
        costs.require_known(manifold.network)
        found = BlockProblem.build(manifold, costs)
        if found is None:
            raise RequestError(
                f"{costs.name} is no single power of |w|, or a weight has two scales on one side",
                "use balproof.solve, which takes every cost, and write its weights back",
            )
        if found.colours() is None:
            raise RequestError("a layer feeds itself", "use balproof.solve and write its weights back")
        self._power = found.power
        biases = frozenset[str]() if bias_cost else manifold.network.biases
        self._factors = {
            t.name: float((costs.regularizer(t.name).terms or ((1, 1),))[0][0])
            for t in manifold.network.parameters
            if not t.buffer and t.name not in biases
        }
        self._manifold = _without_values(manifold)
        self._layouts = {
            b.name: made for b in manifold.blocks if b.terms and (made := layout(b, manifold.count))
        }
        self._terms = {
            b.name: [(t.index, t.matrix(manifold.count)) for t in b.terms] for b in manifold.blocks if b.terms
        }
        self._module = module

    def balance_(self, *, tolerance: float = TOLERANCE, limit: int = 50) -> Balanced:
        """Rescale the module's weights in place to the balanced state, with at most ``limit`` sweeps.

        The function is kept up to the rounding of each weight. Nothing is changed where an error is raised.

        Raises ModelError for weights that are not finite, or where the module has other tensors than before.
        """
        tensors = self._tensors()
        problem = self._problem(tensors)
        zero = np.zeros(self._manifold.count)
        imbalance, cost = problem.imbalance(zero), problem.cost(zero)
        state = sweeps(problem, tolerance=tolerance, limit=limit)
        assert state is not None, "layers were coloured before"
        narrow: dict[str, Any] = {}  # rounded once, and before anything is changed
        for name, terms in self._terms.items():
            if tensors[name].element_size() < 4:
                wide = tensors[name].float()
                _rescale(wide, self._block(name), terms, state.h)
                narrow[name] = wide.to(tensors[name].dtype)
                if not bool(narrow[name].isfinite().all()):
                    raise ModelError(f"an entry of {name} leaves its type", "convert it to a wider one first")
        for name, terms in self._terms.items():
            if name in narrow:
                tensors[name].copy_(narrow[name])
            else:
                _rescale(tensors[name], self._block(name), terms, state.h)
        return Balanced(
            imbalance_before=imbalance,
            imbalance=state.imbalance,
            cost_before=cost,
            cost_after=state.history[-1],
            passes=state.passes,
            converged=state.imbalance <= tolerance,
            dead_units=tuple(self._manifold.names[k] for k in problem.dead),
        )

    def _block(self, name: str) -> Block:
        return next(b for b in self._manifold.blocks if b.name == name)

    def _tensors(self) -> dict[str, Any]:
        state = {
            **dict(self._module.named_parameters(remove_duplicate=False)),
            **dict(self._module.named_buffers(remove_duplicate=False)),
        }
        for name in {**self._terms, **self._factors}:
            shape = self._manifold.network.tensors[name].shape
            if name not in state or tuple(state[name].shape) != shape:
                raise ModelError(f"the module no longer has {name!r} of shape {shape}", "make a new Balancer")
        return {name: state[name].detach() for name in {**self._terms, **self._factors}}

    def _problem(self, tensors: Mapping[str, Any]) -> BlockProblem:
        pairs: list[Pair] = []
        constant = 0.0
        for name, factor in self._factors.items():
            costs = _costs(tensors[name], self._power, factor)
            if name in self._layouts:
                pairs.append(_pair(name, self._layouts[name], costs.reshape(self._block(name).shape)))
            else:
                constant += float(costs.sum())
        count = self._manifold.count
        endless = tuple(sorted(self._manifold.endless))
        active = np.ones(count, bool)
        active[list(endless)] = False
        problem = BlockProblem(self._manifold, self._power, tuple(pairs), constant, active, (), endless)
        balance = problem.balance(np.zeros(count))
        if not (
            np.isfinite(balance.incoming).all()
            and np.isfinite(balance.outgoing).all()
            and np.isfinite(constant)
        ):
            raise ModelError("a weight is not finite, or its cost overflows", "repair the module")
        dead = np.flatnonzero(active & ((balance.incoming == 0) | (balance.outgoing == 0)))
        active = active.copy()
        active[dead] = False
        return replace(problem, active=active, dead=tuple(dead.tolist()))


def balance_(
    module: Any,
    regularizer: str = "l2",
    *,
    example_inputs: Any,
    bias_cost: bool = True,
    tolerance: float = TOLERANCE,
    limit: int = 50,
) -> Balanced:
    """Balance a module in place, once; for every step of a training keep a `Balancer`.

    Errors as those of `Balancer` and `Balancer.balance_`.
    """
    return Balancer(module, example_inputs, regularizer, bias_cost=bias_cost).balance_(
        tolerance=tolerance, limit=limit
    )


def _without_values(manifold: Manifold) -> Manifold:
    """The structure alone: the module holds the weights."""
    network = manifold.network
    bare = {
        n: replace(t, value=np.broadcast_to(np.float32(0), t.shape)) if t.role == "parameter" else t
        for n, t in network.tensors.items()
    }
    return replace(manifold, network=replace(network, tensors=bare))


def _costs(tensor: Any, power: float, factor: float) -> Any:
    # Sums of float16 would overflow; of float32 they are as good as the weights.
    wide = tensor.float() if tensor.element_size() < 4 else tensor
    costs = wide * wide if power == 2 else wide.abs() ** power
    return costs if factor == 1 else costs * factor


def _pair(name: str, made: Layout, costs: Any) -> TensorPair:
    if made.summed:
        costs = costs.sum(dim=made.summed, keepdim=True)
    return TensorPair(
        name, costs.permute(made.order).reshape(made.sizes).contiguous(), made.rows, made.columns
    )


def _rescale(tensor: Any, block: Block, terms: list[tuple[Array, Any]], h: Array) -> None:
    """w·exp(A h), one factor for each side."""
    view = tensor.view(block.shape) if tensor.is_contiguous() else tensor.reshape(block.shape)
    for index, matrix in terms:
        view = view.mul_(tensor.new_tensor(np.exp(matrix @ h)[index]))
    if view.data_ptr() != tensor.data_ptr():
        tensor.copy_(view.reshape(tensor.shape))
