"""Audit what another program made of a network: a rescaling, balanced, optimal, and if not, why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from balproof.balance.solve import solve
from balproof.crosscheck.canonical import same_orbit as orbit_of_both
from balproof.crosscheck.causes import Cause, as_one
from balproof.crosscheck.certified import FunctionProof, prove_function
from balproof.crosscheck.effects import with_effects
from balproof.crosscheck.explain import explain
from balproof.crosscheck.extremes import Asked, Extremes, asked
from balproof.crosscheck.faults import BALANCE, LISTED, OFF_THE_ORBIT, Fault, FaultKind, shown
from balproof.crosscheck.function import function_error
from balproof.crosscheck.judged import Judged, judge, refuse
from balproof.crosscheck.misbalance import what_was_done
from balproof.crosscheck.optimality import EXACT, OPTIMALITY_TOLERANCE
from balproof.crosscheck.scales import COARSEST, Recovered, recover_scales, roundings
from balproof.crosscheck.structure import structure_faults, untied
from balproof.crosscheck.sums import powers
from balproof.errors import RequestError, require_seed
from balproof.importers import load
from balproof.network.graph import Network, Numbers, Tensor
from balproof.network.listed import alike
from balproof.network.manifold import Block, Manifold, assemble, solve_scales
from balproof.network.rules import RULES
from balproof.verdict import Verdict

Array = np.ndarray

BALANCE_TOLERANCE = 1e-6
"""A unit's imbalance may be this much."""

BALANCE_ROUNDINGS = 16
"""Or so many roundings of the file's type, where that is more: 16 bits cannot be balanced better."""

OUTPUT_ROUNDINGS = 8
"""Outputs may differ by so many times what a weight may be off."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The answer of `check`.

    ``explanation`` says which mistakes, as few as possible, make all of the difference: there the faults are
    listed weight by weight and unit by unit, here they are put together.

    ``same_orbit``: AFTER is a rescaling of BEFORE, up to rounding. ``function_error`` is the largest
    difference of the outputs relative to the largest output, over random inputs (None where the networks
    cannot be run here, or an output overflows). ``function`` says how it is known that both compute the same:
    ``certified`` by the scaling rules, with ``proof``; ``refuted`` by an input; ``sampled`` where outputs
    agree and there is no proof; otherwise ``undecided``. ``balanced`` and ``imbalance`` are AFTER's own.
    ``optimality_gap`` bounds AFTER's cost above the optimum of its own orbit, relatively (None where there
    is no optimum or no bound). ``scales`` holds the recovered log-scale of each unit. ``ok`` is true
    exactly if there are no faults; then ``verdict`` is ``certified`` if the gap and the function are,
    otherwise ``sampled``, and with faults ``refuted``.
    """

    same_orbit: bool
    function_error: float | None
    balanced: bool
    imbalance: float | None
    optimality_gap: float | None
    faults: tuple[Fault, ...]
    verdict: Verdict
    scales: Mapping[str, float]
    notes: tuple[str, ...] = ()
    function: Verdict = Verdict.undecided
    proof: FunctionProof | None = None
    explanation: tuple[Cause, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, object]:
        return {
            "same_orbit": self.same_orbit,
            "function_error": self.function_error,
            "function": {"verdict": str(self.function), **(self.proof.as_json() if self.proof else {})},
            "balanced": self.balanced,
            "imbalance": self.imbalance,
            "optimality_gap": self.optimality_gap,
            "faults": [f.as_json() for f in self.faults],
            "verdict": str(self.verdict),
            "ok": self.ok,
            "scales": dict(self.scales),
            "notes": list(self.notes),
            "explanation": [c.as_json() for c in self.explanation],
        }


def check(
    before: object, after: object, costs: Asked | str | Sequence[str] = "l2", *, seed: int = 0
) -> Audit:
    """Is ``after`` a balanced rescaling of ``before``, and if not, what went wrong and where?

    ``costs`` is anything that `balproof.solve` takes, or ``max`` or ``range``, balance of extreme weights.
    Both networks are anything that `balproof.load` takes; the weights of ``after`` need not be finite. Faults
    of balance are those of the rescaling that was meant, so that a weight which missed it is one fault and
    not three. Dead units (no weight in, or none out) have no balance: they are named in the notes, and
    neither they nor their costs count.

    Raises ModelError as `balproof.load`, for symbols among the weights and for a ``before`` that is not
    finite; RequestError for a negative seed; RequestError, ExpressionError and RegularizerError as
    `BalanceProblem.build` does for ``before``.

    >>> from balproof.balance.solve import solve
    >>> net = load("tests/data/chain.json")
    >>> check(net, solve(net).network).ok
    True
    >>> [(f.kind, f.where) for f in check(net, "tests/data/chain.json").faults]
    [('unbalanced-unit', 'fc1[0]')]
    """
    require_seed(seed)
    before, after = alike(load(before), load(after, finite=False))
    costs = asked(costs)
    solved = solve_scales(before)
    manifold, column = assemble(before, solved)
    refuse(manifold, costs)
    faults = structure_faults(before, after)
    if faults:
        if {f.kind for f in faults} == {"tied-weights-split"}:
            return _untied(before, after, costs, faults, seed)
        return _refuted(faults, *_measured(before, after, seed), causes=_of_faults(faults))
    old, new = Numbers(before), Numbers(after)

    rounding = roundings(before, after)
    unit = max((r.unit for r in rounding.values()), default=2.0**-53)
    found = recover_scales(manifold, old, new, rounding, powers=powers(before, costs))
    causes: tuple[Cause, ...] = ()
    if found.missed:
        others: list[Recovered] = []
        if not isinstance(costs, Extremes) and sum(t.size for t in before.learned) <= EXACT:
            # Of explanations that are as good, the one by the scales that balance BEFORE was meant.
            other = recover_scales(manifold, old, new, rounding, solve(before, costs).h)
            found, *others = (other, found) if other.missed <= found.missed else (found, other)
        best = explain(manifold, old, new, rounding, found, *others)
        found, meant = best.found, manifold.rescale(best.found.h)
        causes = with_effects(before, {n: meant.numbers(n) for n in old}, new, best.causes, seed)
    faults = _not_finite(after, new, found)
    if faults:
        faults += _orbit_faults(manifold, old, new, found)
        return _refuted(faults, None, [], causes=causes)
    faults = _orbit_faults(manifold, old, new, found)
    same_orbit = not faults
    error, notes = _measured(before, after, seed)
    noise = max((r.noise for r in rounding.values()), default=0.0)
    differs = bool(notes) or (error or 0.0) > OUTPUT_ROUNDINGS * noise
    proof: FunctionProof | str = ""
    if same_orbit:
        proof = prove_function(before, old, new, found.h, (solved, column), noise, found.right)
    function = _function(error, proof, differs=differs)
    if isinstance(proof, str) and proof:
        notes.append(f"no proof that the function is the same: {proof}")
    if same_orbit and differs:
        faults.append(Fault("function-differs", "the outputs, by more than rounding explains", error))

    try:
        state = judge(dataclasses.replace(manifold, network=after), costs, found.right)
    except RequestError as refused:  # BEFORE was not: AFTER's weights have run away
        if same_orbit:
            faults.append(Fault("not-optimal", f"the whole network: {refused.cause}", None))
        return dataclasses.replace(
            _refuted(faults, error, [*notes, f"balance not judged: {refused.cause}"]),
            same_orbit=same_orbit,
            explanation=causes or _of_faults(faults),
            **function,
        )
    imbalance = state.imbalance
    limit = max(BALANCE_TOLERANCE, BALANCE_ROUNDINGS * unit)
    best = state.optimality(max(OPTIMALITY_TOLERANCE, limit**2), balanced=imbalance <= limit)
    reordered = not (same_orbit or differs) and error is not None and _reordered(before, after)
    if same_orbit:
        faults += _balance_faults(state, found.h, limit, noise)
    elif reordered:
        causes = (as_one(manifold, causes, "units-reordered"),)
        faults += _balance_faults(state, np.zeros_like(found.h), limit, noise)
    elif found.missed < 0.5 * sum(t.size for t in before.parameters) or _told(causes):
        meant = dataclasses.replace(manifold, network=manifold.rescale(found.h))
        try:
            faults += _balance_faults(judge(meant, costs), found.h, limit, noise)
        except RequestError as refused:
            notes.append(f"balance of the rescaling that was meant not judged: {refused.cause}")
    else:
        notes.append("most weights differ, so that no rescaling can be told, nor what it should have been")
    if not faults and best.fault:
        faults.append(best.fault)
    notes += [*_notes(state), *best.notes]
    instead: list[Cause] = []
    told: frozenset[str] = OFF_THE_ORBIT
    kinds = {f.kind for f in faults}
    if "unbalanced-unit" in kinds and "frozen-layer" not in kinds and not reordered:
        meant = manifold.rescale(found.h)
        done = what_was_done(manifold, before, meant, costs, found.h, max(limit, 1e-5))
        if done is not None and not (causes and done.kind == "left-as-it-was"):
            units = tuple(f.where for f in faults if f.kind == "unbalanced-unit")
            instead, told = (
                [dataclasses.replace(done, units=units, size=imbalance)],
                told | {"unbalanced-unit"},
            )
    certified = best.gap is not None and best.certified and function["function"] is Verdict.certified
    return Audit(
        same_orbit=same_orbit,
        function_error=error,
        balanced=imbalance <= limit,
        imbalance=imbalance,
        optimality_gap=best.gap,
        faults=tuple(faults),
        verdict=Verdict.refuted if faults else Verdict.certified if certified else Verdict.sampled,
        scales={name: float(value) for name, value in zip(manifold.names, found.h, strict=True)},
        notes=tuple(notes),
        explanation=(*causes, *instead, *_of_faults([f for f in faults if f.kind not in told])),
        **function,
    )


def _refuted(
    faults: list[Fault], error: float | None, notes: list[str], *, causes: tuple[Cause, ...] = ()
) -> Audit:
    """The answer where nothing can be said about balance."""
    function = _function(error, "", differs=(error or 0.0) > OUTPUT_ROUNDINGS * COARSEST)
    return Audit(
        *(False, error, False, None, None, tuple(faults), Verdict.refuted, {}, tuple(notes)),
        explanation=causes,
        **function,
    )


def _reordered(before: Network, after: Network) -> bool:
    """Whether AFTER is a rescaling of BEFORE with its hidden units in another order."""
    if sum(t.size for t in before.learned) > EXACT:
        return False
    try:
        return orbit_of_both(before, after, sort=True).same
    except RequestError:  # no balanced state to sort by
        return False


def _told(causes: Sequence[Cause]) -> bool:
    """Whether few mistakes explain it all."""
    return sum(c.weights if c.kind == "not-a-rescaling" else 1 for c in causes) <= 4


def _of_faults(faults: Sequence[Fault]) -> tuple[Cause, ...]:
    """Faults of structure and of balance, those of one kind put together; sizes are the largest."""
    kinds: dict[FaultKind, None] = dict.fromkeys(f.kind for f in faults)
    found: list[Cause] = []
    for kind in kinds:
        own = [f for f in faults if f.kind == kind]
        units = tuple(f.where for f in own)
        size = max((f.size for f in own if f.size is not None), default=None)
        at: dict[str, tuple[str, ...]] = {"units": units} if kind == "unbalanced-unit" else {"tensors": units}
        found.append(Cause(kind, at.get("tensors", ()), at.get("units", ()), size=size))
    return tuple(found)


def _untied(before: Network, after: Network, costs: Asked, faults: list[Fault], seed: int) -> Audit:
    """Copies of one tensor, each of them compared with it: what else is wrong?"""
    loose, became = untied(before, after)
    rest = check(loose, after, costs, seed=seed)
    others = [f for f in rest.faults if f.kind in OFF_THE_ORBIT]
    causes = [c for c in rest.explanation if c.kind not in BALANCE]
    copies = tuple(name for names in became.values() for name in names)
    apart = max((_apart(after, names) for names in became.values()), default=0.0)
    tied = Cause("tied-weights-split", copies, detail=f"copies differ by up to {apart:.3g} of their size")
    return dataclasses.replace(
        _refuted([*faults, *others], rest.function_error, list(rest.notes)),
        function=rest.function,
        proof=rest.proof,
        explanation=(tied, *causes),
    )


def _apart(after: Network, names: Sequence[str]) -> float:
    """How far copies are from the first of them, relatively."""
    first, *others = (after.numbers(n) for n in names)
    largest = [float(np.max(np.abs(x - first), initial=0.0)) for x in others]
    size = float(np.max(np.abs(first), initial=0.0))
    return max(largest, default=0.0) / (size or 1.0)


def _function(error: float | None, proof: FunctionProof | str, *, differs: bool) -> dict[str, Any]:
    """How it is known whether the function is the same."""
    if differs:
        return {"function": Verdict.refuted}
    if isinstance(proof, FunctionProof):
        return {"function": Verdict.certified, "proof": proof}
    return {"function": Verdict.undecided if error is None else Verdict.sampled}


def _measured(before: Network, after: Network, seed: int) -> tuple[float | None, list[str]]:
    """The difference of the functions, and what there is to say about it."""
    error = function_error(before, after, seed)
    if error == np.inf:
        return None, ["outputs of AFTER overflow where those of BEFORE do not"]
    return error, []


# --- entries -------------------------------------------------------------------------------------------


def _not_finite(after: Network, new: Mapping[str, Array], found: Recovered) -> list[Fault]:
    faults: list[Fault] = []
    for name in (name for name in new if name not in found.right):
        bad = ~np.isfinite(Numbers.held(new, name))
        faults += _entries(
            "not-finite", name, after.tensors[name].element, bad, np.broadcast_to(np.nan, bad.shape)
        )
    return faults


def _orbit_faults(
    manifold: Manifold, old: Mapping[str, Array], new: Mapping[str, Array], found: Recovered
) -> list[Fault]:
    faults: list[Fault] = []
    for block in manifold.blocks if found.missed else ():
        name = block.name
        tensor = manifold.network.tensors[name]

        def place(flat: int, block: Block = block, tensor: Tensor = tensor) -> str:
            units = " and ".join(manifold.names[k] for k, _ in block.row(flat))
            plural = "s" if " and " in units else ""
            return tensor.element(flat) + (f" (unit{plural} {units})" if units else "")

        bad = ~np.isfinite(new[name])
        flipped = (np.sign(old[name]) * np.sign(new[name]) < 0) & ~bad
        left = found.kept[name] & ~flipped & (name in manifold.network.biases)
        rest = found.wrong[name] & ~flipped & ~left & ~bad
        size = found.deviation[name]
        faults += _entries("sign-changed", name, place, flipped, size)
        faults += _entries("bias-not-scaled", name, place, left, size, limit=left.size)
        faults += _entries("not-a-rescaling", name, place, rest, size)
    return faults


def _entries(
    kind: FaultKind, name: str, place: Callable[[int], str], mask: Array, size: Array, *, limit: int = LISTED
) -> list[Fault]:
    """A fault for each marked entry; of very many the largest, and how many more there are."""
    marked = np.flatnonzero(mask)
    largest = np.sort(marked[np.argsort(-size.flat[marked], kind="stable")[:limit]])
    faults = [Fault(kind, place(int(i)), _number(float(size.flat[i]))) for i in largest]
    if len(marked) > limit:
        faults.append(Fault(kind, f"{name}: {len(marked) - limit} more of {mask.size} weights", None))
    return faults


def _number(x: float) -> float | None:
    return x if np.isfinite(x) else None


# --- balance -------------------------------------------------------------------------------------------


def _balance_faults(state: Judged, h: Array, limit: float, noise: float) -> list[Fault]:
    """Units that are out of balance, the worst first; a layer that was left out as a whole is one fault."""
    imbalances, names = state.imbalances, state.manifold.names
    if state.imbalance <= limit:
        return []
    layers: dict[str, list[int]] = {}
    for k in np.flatnonzero(state.active):
        layers.setdefault(names[k].rsplit("[", 1)[0], []).append(int(k))
    moved = {layer for layer, units in layers.items() if np.abs(h[units]).max() > noise}
    wrong = {layer: [k for k in units if imbalances[k] > limit] for layer, units in layers.items()}
    frozen = [layer for layer, units in wrong.items() if units and moved and layer not in moved]
    units = [k for layer, units in wrong.items() if layer not in frozen for k in units]
    return [
        *(Fault("frozen-layer", layer, float(imbalances[wrong[layer]].max())) for layer in frozen),
        *(
            Fault("unbalanced-unit", names[k], float(imbalances[k]))
            for k in sorted(units, key=lambda k: -imbalances[k])
        ),
    ]


def _notes(state: Judged) -> list[str]:
    notes: list[str] = []
    if state.dead:
        notes.append(f"dead units, left out of the balance: {shown(state.names(state.dead), 20)}")
    if state.falling:
        notes.append(
            f"the cost of dead units could still fall ({shown(state.names(state.falling))}): "
            "the optimum over all scales is not attained, and the gap is over the others"
        )
    if state.left_out:
        notes.append(f"scales of degree ≤ 0, left out: {shown(state.names(state.left_out), 20)}")
    unknown = [op.name for op in state.manifold.network.operations if op.kind not in RULES]
    if unknown:
        notes.append(f"unknown operations, compared by kind alone and not run: {shown(unknown)}")
    return notes
