"""Audit what another program made of a network: a rescaling, balanced, optimal, and if not, why."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import solve
from balproof.crosscheck.scales import recover_scales
from balproof.network.evaluate import can_run, evaluate, trajectory
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer
from balproof.verdict import Verdict

Array = np.ndarray
FaultKind = Literal[
    "structure-differs",
    "not-finite",
    "sign-changed",
    "tied-weights-split",
    "bias-not-scaled",
    "not-a-rescaling",
    "frozen-layer",
    "unbalanced-unit",
    "not-optimal",
]

ORBIT_ROUNDINGS = 1024
"""A rescaled weight may differ from w·exp(A h) by this many roundings of the file's type: other programs
multiply a weight once for each of some hundred sweeps."""

BALANCE_ROUNDINGS = 32
"""A unit's imbalance may be this many roundings of the file's type, or `BALANCE_TOLERANCE`."""

BALANCE_TOLERANCE = 1e-6
OPTIMALITY_TOLERANCE = 1e-6

_EPS = {"float64": 2.0**-52, "exact": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: what kind, at which weight or unit, and how large (in logs or relative)."""

    kind: FaultKind
    where: str
    size: float | None

    def as_json(self) -> dict[str, object]:
        return {"kind": self.kind, "where": self.where, "size": self.size}


@dataclass(frozen=True, eq=False)
class Audit:
    """The answer of `check`.

    ``function_error`` is the largest difference of the outputs relative to their size, over random
    inputs (None where the network cannot be run here); ``optimality_gap`` bounds AFTER's cost above the
    optimum of its orbit, relatively (None where there is no optimum or no certificate).
    """

    same_orbit: bool
    function_error: float | None
    balanced: bool
    imbalance: float | None
    optimality_gap: float | None
    faults: tuple[Fault, ...]
    verdict: Verdict
    ok: bool
    scales: dict[str, float]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "same_orbit": self.same_orbit,
            "function_error": self.function_error,
            "balanced": self.balanced,
            "imbalance": self.imbalance,
            "optimality_gap": self.optimality_gap,
            "faults": [f.as_json() for f in self.faults],
            "verdict": str(self.verdict),
            "ok": self.ok,
            "scales": self.scales,
            "notes": list(self.notes),
        }


def check(
    before: Network, after: Network, costs: Costs | str | Sequence[str] = "l2", *, seed: int = 0
) -> Audit:
    """Is ``after`` a balanced rescaling of ``before``, and if not, what went wrong and where?

    Raises RequestError and RegularizerError as `BalanceProblem.build` does.

    >>> from balproof.importers import load
    >>> net = load("tests/data/chain.json")
    >>> check(net, solve(net).network).ok
    True
    >>> [f.kind for f in check(net, net).faults][:1]
    ['unbalanced-unit']
    """
    faults = _structure(before, after)
    if faults:
        error = function_error(before, after, seed) if before.inputs == after.inputs else None
        return Audit(False, error, False, None, None, tuple(faults), Verdict.refuted, False, {})
    old = {t.name: before.numbers(t.name) for t in before.parameters}
    new = {t.name: after.numbers(t.name) for t in after.parameters}
    faults = [
        Fault("not-finite", after.tensors[name].element(int(flat)), None)
        for name, value in new.items()
        for flat in np.flatnonzero(~np.isfinite(value))
    ]
    if faults:
        return Audit(False, None, False, None, None, tuple(faults), Verdict.refuted, False, {})

    manifold = infer(before)
    eps = max((max(_EPS.get(t.dtype, 2.0**-52) for t in (*before.parameters, *after.parameters))), 2.0**-52)
    tolerance = ORBIT_ROUNDINGS * eps
    found = recover_scales(manifold, old, new, tolerance)
    faults = _orbit_faults(manifold, old, new, found.h, found.residual, tolerance)
    same_orbit = not faults
    error = function_error(before, after, seed)

    if not isinstance(costs, Costs):
        costs = Costs.parse(costs)
    zero = np.zeros(manifold.count)
    problem = BalanceProblem.build(dataclasses.replace(manifold, network=after), costs)
    imbalance = problem.imbalance(zero)
    limit = max(BALANCE_TOLERANCE, BALANCE_ROUNDINGS * eps)
    balanced = imbalance <= limit
    # Faults of balance are those of the rescaling that was meant: one bias left behind is one fault.
    meant = problem if same_orbit else BalanceProblem.build(manifold.rescale(found.h), costs)
    faults += _balance_faults(meant, found.h, limit, tolerance)
    gap, notes = _optimality(after, costs)
    if gap is not None and gap > OPTIMALITY_TOLERANCE and not faults:
        faults.append(Fault("not-optimal", "the whole network", gap))
    if problem.dead:
        notes.append("dead units, left out of the balance: " + ", ".join(problem.names(problem.dead)))
    if problem.left_out:
        notes.append("scales of degree ≤ 0, left out: " + ", ".join(problem.names(problem.left_out)))
    agrees = error is None or error <= _output_limit(eps)
    ok = same_orbit and balanced and agrees and not faults and (gap is None or gap <= OPTIMALITY_TOLERANCE)
    if same_orbit and not agrees:
        notes.append("the weights are a rescaling, but the outputs differ by more than rounding explains")
    verdict = Verdict.refuted if not ok else Verdict.certified if gap is not None else Verdict.sampled
    scales = {name: float(value) for name, value in zip(manifold.names, found.h, strict=True)}
    return Audit(
        same_orbit, error, balanced, imbalance, gap, tuple(faults), verdict, ok, scales, tuple(notes)
    )


def _output_limit(eps: float) -> float:
    """Outputs of a rescaled network may differ by the roundings that its weights may have."""
    return 8 * ORBIT_ROUNDINGS * eps


# --- structure and entries -----------------------------------------------------------------------------


def _structure(before: Network, after: Network) -> list[Fault]:
    faults: list[Fault] = []
    split = _split_tensors(before, after)
    if split:
        return [
            Fault("tied-weights-split", f"{name} became {', '.join(parts)}", None)
            for name, parts in split.items()
        ]
    old, new = ({t.name: t.shape for t in n.parameters} for n in (before, after))
    for name in {**old, **new}:
        if name not in new:
            faults.append(Fault("structure-differs", f"{name} is missing", None))
        elif name not in old:
            faults.append(Fault("structure-differs", f"{name} is new", None))
        elif old[name] != new[name]:
            faults.append(Fault("structure-differs", f"{name} has shape {new[name]}, was {old[name]}", None))
    if faults:
        return faults
    if len(before.operations) != len(after.operations) or (before.inputs, before.outputs) != (
        after.inputs,
        after.outputs,
    ):
        return [Fault("structure-differs", "the operations, inputs or outputs", None)]
    for a, b in zip(before.operations, after.operations, strict=True):
        if (a.kind, a.inputs, a.output, _plain(a.attributes)) != (
            b.kind,
            b.inputs,
            b.output,
            _plain(b.attributes),
        ):
            faults.append(Fault("structure-differs", f"operation {a.name}", None))
    for tensor in before.tensors.values():
        other = after.tensors.get(tensor.name)
        if tensor.role == "constant" and (other is None or not _same_values(tensor.value, other.value)):
            faults.append(Fault("structure-differs", f"constant {tensor.name}", None))
    return faults


def _same_values(left: Array | None, right: Array | None) -> bool:
    return left is not None and right is not None and np.array_equal(left, right)


def _plain(attributes: Mapping[str, object]) -> str:
    """Attributes in a form that can be compared: activations by their formula."""
    return repr(sorted((k, str(getattr(v, "expression", v))) for k, v in attributes.items()))


def _split_tensors(before: Network, after: Network) -> dict[str, list[str]]:
    """Parameters of ``before`` that ``after`` replaced, use by use, by several different ones."""
    if [op.kind for op in before.operations] != [op.kind for op in after.operations]:
        return {}
    became: dict[str, set[str]] = {}
    for a, b in zip(before.operations, after.operations, strict=True):
        for x, y in zip(a.inputs, b.inputs, strict=False):
            if before.tensors[x].role == "parameter" and after.tensors[y].role == "parameter":
                became.setdefault(x, set()).add(y)
    return {x: sorted(ys) for x, ys in became.items() if len(ys) > 1}


def _orbit_faults(
    manifold: Manifold,
    old: dict[str, Array],
    new: dict[str, Array],
    h: Array,
    residual: Mapping[str, Array],
    tolerance: float,
) -> list[Fault]:
    logs = manifold.apply(h)
    biases = manifold.network.biases
    faults: list[Fault] = []
    for block in manifold.blocks:
        name = block.name
        tensor = manifold.network.tensors[name]
        left = residual[name]
        zero = (old[name] == 0) != (new[name] == 0)
        flipped = (np.sign(old[name]) != np.sign(new[name])) & ~zero
        kinds: list[tuple[FaultKind, Array]] = [
            ("sign-changed", flipped),
            ("not-a-rescaling", zero),
        ]
        wrong = (np.abs(left) > tolerance) & ~flipped & ~zero
        kept = np.abs(left + logs[name]) <= tolerance  # the weight is what it was
        if name in biases:
            kinds.append(("bias-not-scaled", wrong & kept))
            wrong = wrong & ~kept
        kinds.append(("not-a-rescaling", wrong))
        for kind, mask in kinds:
            faults += [
                Fault(
                    kind,
                    _place(manifold, block.row(int(flat)), tensor.element(int(flat))),
                    float(abs(left.flat[flat])),
                )
                for flat in np.flatnonzero(mask)
            ]
    return faults


def _place(manifold: Manifold, row: Sequence[tuple[int, object]], entry: str) -> str:
    units = " and ".join(manifold.names[k] for k, _ in row)
    return f"{entry} (unit {units})" if len(row) == 1 else f"{entry} (units {units})" if units else entry


# --- balance -------------------------------------------------------------------------------------------


def _balance_faults(problem: BalanceProblem, h: Array, limit: float, tolerance: float) -> list[Fault]:
    imbalances = problem.imbalances(np.zeros(problem.count))
    wrong = np.flatnonzero(imbalances > limit)
    names = problem.manifold.names
    layer_of = [name.rsplit("[", 1)[0] for name in names]
    faults: list[Fault] = []
    moved = {layer_of[k] for k in np.flatnonzero(problem.active) if abs(h[k]) > tolerance}
    frozen: set[str] = set()
    for layer in dict.fromkeys(layer_of[k] for k in wrong):
        members = [k for k in np.flatnonzero(problem.active) if layer_of[k] == layer]
        if moved and layer not in moved:
            frozen.add(layer)
            faults.append(Fault("frozen-layer", layer, float(max(imbalances[k] for k in members))))
    faults += [
        Fault("unbalanced-unit", names[k], float(imbalances[k]))
        for k in sorted(wrong, key=lambda k: -imbalances[k])
        if layer_of[k] not in frozen
    ]
    return faults


def _optimality(after: Network, costs: Costs) -> tuple[float | None, list[str]]:
    """AFTER's cost over a certified lower bound of its orbit, minus 1."""
    best = solve(after, costs, certify=True)
    if best.certificate is None:
        return None, [f"no optimality gap: {best.no_certificate}"]
    floor = best.cost_after / (1.0 + best.certificate.gap)
    return max(0.0, best.cost_before / floor - 1.0), []


# --- function ------------------------------------------------------------------------------------------


def function_error(
    before: Network, after: Network, seed: int, batch: int = 64, steps: int = 8
) -> float | None:
    """The largest output difference on random inputs, relative to the largest output."""
    if not (can_run(before) and can_run(after)) or not (before.outputs or before.states):
        return None
    if [before.tensors[x].shape for x in before.inputs] != [after.tensors[x].shape for x in after.inputs]:
        return None
    rng = np.random.default_rng(seed)
    shapes = {x: before.tensors[x].shape[1:] for x in before.inputs}
    if before.states:
        if not before.outputs:
            return None  # nothing is visible, so there is no function to compare
        sequence = {x: rng.standard_normal((steps, batch, *shape)) for x, shape in shapes.items()}
        left, right = trajectory(before, sequence), trajectory(after, sequence)
    else:
        inputs = {x: rng.standard_normal((batch, *shape)) for x, shape in shapes.items()}
        left, right = evaluate(before, inputs), evaluate(after, inputs)
    worst = 0.0
    for a, b in zip(before.outputs, after.outputs, strict=True):
        if left[a].shape != right[b].shape:
            return None
        size = float(np.max(np.abs(left[a]), initial=0.0)) or 1.0
        worst = max(worst, float(np.max(np.abs(left[a] - right[b]), initial=0.0)) / size)
    return worst
