"""A certificate that Coq's kernel checks: the weights of one network, and that no rescaling is better.

The weights are exact (a double is a rational number), and so is y of the χ² gap (`certificates`). The file
states, for these weights and all log-scales, that the rescaled network costs at least as much as this one
less a gap; `derivations/coq/Instance.v` proves that a computation over integers shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from balproof.balance.certificates.gap import NoCertificate, exact_flow
from balproof.balance.problem import BalanceProblem
from balproof.symbolic.numeric import rational

_HEAD = """\
(* No rescaling of this network costs less than its weights do, up to the gap stated at the end.
   Written by balproof solve; checked by coqc with the theories of derivations/coq. *)
From Coq Require Import ZArith List.
From Balproof Require Import Sums Instance.
Import List.ListNotations.
Open Scope list_scope.
Open Scope Z_scope.
Definition r (k : positive) (c : Z) : positive * Z := (k, c).
"""

_PIECE = 400
"""Weights in one definition: long lists take Coq more than proportional time to read."""


_LONGEST = 10_000
"""Bits of the unit in which weights are whole; a double needs 1,074 at most."""


@dataclass(frozen=True)
class KernelCertificate:
    """The text of the ``.v`` file, and the gap that its theorem states."""

    text: str
    gap: Fraction
    weights: int


def kernel_certificate(problem: BalanceProblem) -> KernelCertificate | NoCertificate:
    """The certificate for the weights that ``problem`` holds (the state h = 0).

    For one regularizer Σ|w|^p with a whole number p. Coq computes with whole numbers: a scale is measured in
    steps that make its entries of A whole, and a finer unit for the weights makes the flow whole, where
    degrees other than 1 divide it.
    """
    power = _power(problem)
    if isinstance(power, NoCertificate):
        return power
    found = exact_flow(problem)
    if isinstance(found, NoCertificate):
        return found
    active = problem.active
    rows = [[(k, c / power) for k, c in row if active[k]] for row, _ in found]
    steps: dict[int, int] = {}
    for k, c in (cell for row in rows for cell in row):
        steps[k] = lcm(steps.get(k, 1), c.denominator)
    weights = [Fraction(float(w)) for w in problem.weights]
    unit = lcm(*(w.denominator for w in weights))
    unit *= lcm(*((y * unit**power).denominator for _, y in found))
    if unit.bit_length() > _LONGEST:
        return NoCertificate("the exact flow needs numbers too long for the certificate for Coq")
    scale = unit**power
    lines: list[str] = []
    shares = 0
    for w, row, (_, y) in zip(weights, rows, found, strict=True):
        mantissa, flow = int(w * unit), int(y * scale)
        if flow <= 0:
            return NoCertificate("the state is too far from balance for the gap bound")
        cost = mantissa**power
        share = -(-((flow - cost) ** 2) // cost)
        shares += share
        cells = "; ".join(f"r {k + 1} {_number(int(c * steps[k]))}" for k, c in row)
        lines.append(f"Weight {mantissa} [{cells}] {_number(flow - cost)} {share}")
    gap = Fraction(_short(Fraction(shares, scale)))
    moving = [int(k) + 1 for k in np.flatnonzero(active)]
    return KernelCertificate("\n".join(_file(lines, moving, unit, power, gap)) + "\n", gap, len(weights))


def _file(lines: list[str], moving: list[int], unit: int, power: int, gap: Fraction) -> Iterator[str]:
    yield _HEAD
    pieces = [lines[i : i + _PIECE] for i in range(0, len(lines), _PIECE)]
    for i, piece in enumerate(pieces):
        yield f"Definition weights_{i} : list weight := [\n" + ";\n".join(piece) + "].\n"
    joined = " ++ ".join(f"weights_{i}" for i in range(len(pieces))) or "[]"
    yield f"Definition weights : list weight := {joined}.\n"
    yield f"Definition scales : list positive := [{'; '.join(map(str, moving))}]%positive.\n"
    yield f"Definition D : Z := {unit}.\n"
    arguments = f"D {power} weights scales"
    bound = f"IZR {gap.numerator} / IZR {gap.denominator}"
    yield (
        f"Theorem no_rescaling_is_better : forall h,\n"
        f"  (cost_now D {power} weights <= cost_after {arguments} h + {bound})%R.\n"
        f"Proof.\n"
        f"  apply (certified {arguments} {gap.numerator} {gap.denominator}).\n"
        f"  vm_cast_no_check (eq_refl true).\n"
        f"Qed."
    )


def _power(problem: BalanceProblem) -> int | NoCertificate:
    powers: set[Fraction] = set()
    for regularizer, _ in problem.groups:
        for a, p in regularizer.terms or ((None, None),):
            power, factor = rational(p), rational(a)
            if power is None or factor != 1 or power.denominator != 1:
                return NoCertificate("the certificate for Coq needs the regularizer l1, l2 or lp:P, P whole")
            powers.add(power)
    if len(powers) != 1:
        return NoCertificate("the certificate for Coq needs one regularizer for all weights")
    return int(powers.pop())


def _number(c: int) -> str:
    return str(c) if c >= 0 else f"({c})"


def _short(x: Fraction) -> float:
    """A double that is not smaller, and not 0: the gap in few digits."""
    value = float(x)
    return value if Fraction(value) >= x else float(np.nextafter(value, np.inf))
