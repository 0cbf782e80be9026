"""Balancing PyTorch's tensors where they live, CPU or GPU, in place: for use while a module trains.

The costs |w|^p, their row and column sums and the rescaling are PyTorch's; only vectors over units come to
the host. Nothing here imports PyTorch: the tensors bring their own methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.pairs import Layout, Pair, layout, pair_of
from balproof.balance.blocks.problem import BlockProblem, powers
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
    """A block whose costs are a tensor (groups, rows, columns) on a GPU; it is read by PyTorch."""

    costs: Any

    @property
    def fused(self) -> bool:
        return False

    @property
    def size(self) -> int:
        return int(self.costs.numel())

    def read(self, e: Array, y: Array) -> tuple[Array, Array]:
        g = self.groups
        left, right = (self.costs.new_tensor(v.reshape(g, -1)) for v in (e, y))
        rows, columns = (self.costs @ right[..., None])[..., 0], (left[:, None, :] @ self.costs)[:, 0]
        return tuple(v.cpu().numpy().astype(np.float64).ravel() for v in (rows, columns))  # type: ignore[return-value]


class Balancer:
    """Balances a module again and again; what can scale is found once.

    ``regularizer`` is any cost that `balproof.solve` takes and that is a sum of powers |w|^p. The module is
    read through ``torch.export`` with ``example_inputs``, which costs seconds; `balance_` then takes a few
    passes over the weights. A module whose structure changes needs a new one.

    Raises ModelError for what cannot be read, RequestError for a cost that is no sum of powers and for layers
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
                f"{costs.name} is no sum of powers of |w|, or a weight has two scales on one side",
                "use balproof.solve, which takes every cost, and write its weights back",
            )
        if any(pair.loop for pair in found.pairs):
            raise RequestError("a layer feeds itself", "use balproof.solve and write its weights back")
        biases = frozenset[str]() if bias_cost else manifold.network.biases
        self._costs = {
            t.name: terms
            for t in manifold.network.parameters
            if not t.buffer and t.name not in biases and (terms := powers(costs, t.name))
        }
        self._manifold = _without_values(manifold)
        self._layouts = {b.name: made for b in manifold.blocks if (made := layout(b))}
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
        imbalance = problem.imbalance_of(problem.balanced_by(problem.start))
        cost = problem.cost_by(problem.start, zero)
        state = sweeps(problem, tolerance=tolerance, limit=limit)
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
        for name in {**self._terms, **self._costs}:
            shape = self._manifold.network.tensors[name].shape
            if name not in state or tuple(state[name].shape) != shape:
                raise ModelError(f"the module no longer has {name!r} of shape {shape}", "make a new Balancer")
        return {name: state[name].detach() for name in {**self._terms, **self._costs}}

    def _problem(self, tensors: Mapping[str, Any]) -> BlockProblem:
        count = self._manifold.count
        zero = np.zeros(count)
        pairs = [
            _pair(name, tensors[name], self._block(name).shape, self._layouts[name], term)
            for name, terms in self._costs.items()
            for term in terms
        ]
        read = [pair.read(*pair.factors(zero)) for pair in pairs]
        moves = [bool(len(p.rows.scales) or len(p.columns.scales)) for p in pairs]
        still = [(p, r) for p, r, m in zip(pairs, read, moves, strict=True) if not m]
        constant = sum(p.factor * float(rows.sum()) for p, (rows, _) in still)
        kept = [(p, r) for p, r, m in zip(pairs, read, moves, strict=True) if m]
        problem = BlockProblem(
            self._manifold,
            pairs=tuple(p for p, _ in kept),
            constant=constant,
            zeros=(0,) * len(kept),
            start=tuple(r for _, r in kept),
            active=np.ones(count, bool),
            dead=(),
            left_out=tuple(sorted(self._manifold.endless)),
        ).without_dead()
        if not np.isfinite(problem.cost_by(problem.start, zero)):
            raise ModelError("a weight is not finite, or its cost overflows", "repair the module")
        return problem


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


def _pair(name: str, tensor: Any, shape: tuple[int, ...], made: Layout, term: tuple[float, float]) -> Pair:
    """The block of a tensor: of its own memory on the CPU, of its costs on a GPU."""
    factor, power = term
    if tensor.device.type == "cpu":
        value = _array(tensor)
        return pair_of(name, value, shape, made, power, factor)
    # Sums of float16 would overflow; of float32 they are as good as the weights.
    wide = tensor.float() if tensor.element_size() < 4 else tensor
    costs = wide * wide if power == 2 else wide.abs() ** power
    g, r, c, k = made.sizes
    costs = costs.reshape(shape).permute(made.order).reshape(g, r, c, k).sum(dim=3)
    nothing = np.zeros((g * r, 0, 0))
    return TensorPair(name, nothing, g, power, factor, 0, np.zeros(1), made.rows, made.columns, costs)


def _array(tensor: Any) -> Array:
    """The memory of a tensor on the CPU as an array; bfloat16, which NumPy lacks, as its bits."""
    if str(tensor.dtype) == "torch.bfloat16":
        return tensor.contiguous().view(import_module("torch").int16).numpy().view(np.uint16)
    return tensor.contiguous().numpy()


def _rescale(tensor: Any, block: Block, terms: list[tuple[Array, Any]], h: Array) -> None:
    """w·exp(A h), one factor for each side."""
    view = tensor.view(block.shape) if tensor.is_contiguous() else tensor.reshape(block.shape)
    for index, matrix in terms:
        view = view.mul_(tensor.new_tensor(np.exp(matrix @ h)[index]))
    if view.data_ptr() != tensor.data_ptr():
        tensor.copy_(view.reshape(tensor.shape))
