"""Scaling rules of normalisations and of softmax, and the same network with their ε left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

import numpy as np

from balproof.network.equations import Equation
from balproof.network.graph import Network, Operation, Tensor
from balproof.network.rule import ScalingRule, instance, length, parameter, source
from balproof.network.rules_linear import nonzero
from balproof.network.scales import (
    ONE,
    Implication,
    ParameterScale,
    Scales,
    Tensors,
    Term,
    Variables,
    aligned,
    equal,
    pin,
    pinned,
    tied,
)

Array = np.ndarray


def without_epsilon(network: Network) -> tuple[Network, tuple[str, ...]]:
    """The network with ε = 0 in every normalisation, and the assumptions that this makes, one for each ε.

    With ε > 0 no normalisation has degree 0, however small ε is; this is for what holds up to ε.
    """
    operations: list[Operation] = []
    assumptions: list[str] = []
    for op in network.operations:
        epsilon = float(op.attributes.get("epsilon", 0.0))
        if epsilon and (op.kind == "norm" or (op.kind == "batchnorm" and op.attributes.get("training"))):
            assumptions.append(f"ε = 0 in {op.name} (it is {epsilon:g})")
            op = dataclasses.replace(op, attributes=MappingProxyType({**op.attributes, "epsilon": 0.0}))
        operations.append(op)
    return dataclasses.replace(network, operations=tuple(operations)), tuple(assumptions)


def _affine(
    op: Operation,
    tensors: Tensors,
    new: Variables,
    given: Array | None,
    names: tuple[str, ...],
    shape: tuple[int, ...],
) -> tuple[Array, list[Equation], list[ParameterScale]]:
    """n·γ + β for n of the scale ``given`` (None: 0): the result's scale, equations, and those of γ and β."""
    equations: list[Equation] = []
    uses: list[ParameterScale] = []
    output = new(shape)
    gamma, beta = (*names, None, None)[:2]
    view = tuple(shape)
    if gamma is not None and tensors[gamma].role == "parameter":
        terms = (Term(output),) if given is None else (Term(output), Term(given, -ONE))
        uses.append(ParameterScale(gamma, view, terms))
    else:
        used = np.ones(shape, bool) if gamma is None else nonzero(tensors[gamma]).reshape(shape)
        reason = f"the scale of {op.name} is a constant"
        if given is None:
            equations += pin(output[used], reason)
        else:
            equations += equal(output[used], np.broadcast_to(given, shape)[used], reason)
    if beta is not None:
        if tensors[beta].role == "parameter":
            uses.append(ParameterScale(beta, view, (Term(output),)))
        else:
            used = nonzero(tensors[beta]).reshape(shape)
            equations += pin(output[used], f"constant {beta} is added")
    return output, equations, uses


def _batchnorm(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = (x − μ)·γ/√(v + ε) + β, one channel of axis 1 at a time. Inputs: x, γ, β, μ, v.

    Inference: μ, v, ε are fixed numbers, so this is an affine map of x; μ scales with x, v does not scale.
    Training: μ and v are those of the batch, so y has degree 0 in x where ε = 0. The running μ and v, which
    may be missing, are not read; they follow the batch: s_μ = s_x, s_v = 2·s_x.
    """
    x, gamma, beta, *running = op.inputs
    training = bool(op.attributes.get("training", False))
    n = len(tensors[x].shape)
    channels = tensors[gamma].shape[0]
    others = [a for a in range(n) if a != 1]
    given, equations = tied(scales[x], others, f"all positions of a channel (operation {op.name})")
    shape = (1, channels, *(1,) * (n - 2))
    given = np.broadcast_to(given, shape)
    uses: list[ParameterScale] = []
    for name, degree in zip(running, (ONE, Fraction(2) if training else None), strict=False):
        terms = (Term(given, degree),) if degree is not None else ()
        if tensors[name].role == "parameter":
            uses.append(ParameterScale(name, shape, terms))
        elif terms:
            equations += pin(given[nonzero(tensors[name]).reshape(shape)], f"{name} of {op.name} is constant")
    if training and (epsilon := float(op.attributes.get("epsilon", 0.0))):
        equations += pin(given, f"ε = {epsilon:g} is added in operation {op.name}")
    output, more, affine = _affine(op, tensors, new, None if training else given, (gamma, beta), shape)
    return Implication(output, (*equations, *more), (*uses, *affine))


def _evaluate_batchnorm(op: Operation, values: list[Array]) -> Array:
    x, *rest = values
    gamma, beta, *running = (v.reshape(-1, *(1,) * (x.ndim - 2)) for v in rest)
    if op.attributes.get("training", False):
        axes = tuple(a for a in range(x.ndim) if a != 1)
        running = [x.mean(axes, keepdims=True), x.var(axes, keepdims=True)]
    mean, variance = running
    return (x - mean) / np.sqrt(variance + float(op.attributes.get("epsilon", 0.0))) * gamma + beta


def _example_batchnorm(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, training = length(rng), bool(rng.integers(2))
    shape = (1, n, 3)
    tensors = {name: parameter(rng, name, (n,)) for name in ("gamma", "beta", "mean")}
    tensors["variance"] = Tensor("variance", (n,), "parameter", rng.random(n) + 0.5)
    if training and rng.integers(2):
        tensors = {name: tensors[name] for name in ("gamma", "beta")}
    attributes = {"epsilon": float(rng.choice([0.0, 0.5])), "training": training}
    return instance("batchnorm", {"x": source(shape), **tensors}, shape, attributes)


def _norm(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = (x − mean)/√(var + ε)·γ + β over ``axes`` (and ``groups`` of channels): degree 0 where ε = 0.

    With ε ≠ 0 there is no symmetry, however small ε is, and what comes in keeps its scale. Inputs: x, γ, β,
    of which β, or both, may be missing.
    """
    x, *affine = op.inputs
    shape = tensors[x].shape
    groups = op.attributes.get("groups")
    given = scales[x]
    if groups is not None:
        full = np.broadcast_to(given, (*given.shape[:1], shape[1], *given.shape[2:]))
        given = full.reshape(full.shape[0], int(groups), -1, *full.shape[2:])
        axes: tuple[int, ...] = tuple(range(2, given.ndim))
    else:
        axes = tuple(a % len(shape) for a in op.attributes["axes"])
    _, equations = tied(given, axes, f"all entries that {op.name} normalises together")
    if float(op.attributes.get("epsilon", 0.0)) != 0.0:
        equations = pin(given, f"ε = {op.attributes['epsilon']:g} is added in operation {op.name}")
    axis = op.attributes.get("axis")
    view = aligned(tensors[affine[0]], len(shape), axis) if affine else (1,) * len(shape)
    output, more, uses = _affine(op, tensors, new, None, tuple(affine), view)
    return Implication(output, (*equations, *more), tuple(uses))


def _evaluate_norm(op: Operation, values: list[Array]) -> Array:
    x, *affine = values
    groups = op.attributes.get("groups")
    given = x if groups is None else x.reshape(x.shape[0], int(groups), -1)
    axes = (2,) if groups is not None else tuple(a % x.ndim for a in op.attributes["axes"])
    centred = given - given.mean(axes, keepdims=True) if op.attributes.get("center", True) else given
    power = (centred**2).mean(axes, keepdims=True) + float(op.attributes.get("epsilon", 0.0))
    result = (centred / np.sqrt(power)).reshape(x.shape)
    axis = op.attributes.get("axis")
    own = [v if axis is None else v.reshape(v.shape + (1,) * (x.ndim - axis - v.ndim)) for v in affine]
    if own:
        result = result * own[0]
    return result + own[1] if len(own) > 1 else result


def _example_norm(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    epsilon = float(rng.choice([0.0, 0.5]))
    if rng.integers(2):
        shape: tuple[int, ...] = (1, 4, 3)
        attributes = {"groups": int(rng.choice([1, 2])), "axis": 1, "epsilon": epsilon}
        size = 4
    else:
        shape, size = (1, 2, 5), 5
        attributes = {"axes": (-1,), "center": bool(rng.integers(2)), "epsilon": epsilon}
    own = [parameter(rng, name, (size,)) for name in ("gamma", "beta")[: int(rng.integers(3))]]
    return instance("norm", {"x": source(shape), **{t.name: t for t in own}}, shape, attributes)


# --- softmax ------------------------------------------------------------------------------------------


def _softmax(op: Operation, tensors: Tensors, scales: Scales, new: Variables) -> Implication:
    """y = exp(x)/Σ exp(x) along ``axis``: its result adds up to 1, and no scale of x goes through it.

    Of a second input, a constant of the shape of x, the entries that are 0 are masked: they count as −∞.
    """
    return pinned(op, tensors, scales, new, f"softmax (operation {op.name}) has no scale")


def _evaluate_softmax(op: Operation, values: list[Array]) -> Array:
    x, *mask = values
    axis = int(op.attributes.get("axis", -1))
    kept = np.where(mask[0] != 0, x, -np.inf) if mask else x
    with np.errstate(invalid="ignore"):
        shifted = kept - kept.max(axis, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis, keepdims=True))
    return shifted - total if op.attributes.get("log", False) else np.exp(shifted - total)


def _example_softmax(rng: np.random.Generator) -> tuple[Operation, dict[str, Tensor]]:
    n, m = length(rng, 2), length(rng)
    tensors = {"x": source((1, m, n))}
    if rng.integers(2):
        tensors["mask"] = Tensor("mask", (m, n), "constant", np.tri(m, n))
    return instance(
        "softmax", tensors, (1, m, n), {"axis": -1, "log": bool(rng.integers(2)) and len(tensors) == 1}
    )


NORMS: Mapping[str, ScalingRule] = MappingProxyType(
    {
        "batchnorm": ScalingRule(
            "s_out = s_in + s_gamma = s_beta, s_mean = s_in; of batches s_out = s_gamma, s_in free if ε = 0",
            _batchnorm,
            _evaluate_batchnorm,
            _example_batchnorm,
        ),
        "norm": ScalingRule(
            "s_out = s_gamma = s_beta; s_in free where ε = 0", _norm, _evaluate_norm, _example_norm
        ),
        "softmax": ScalingRule("s_out = s_in = 0", _softmax, _evaluate_softmax, _example_softmax),
    }
)
