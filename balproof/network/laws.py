"""What gradient flow conserves because of the scaling manifold: one law for each of its directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer


@dataclass(frozen=True)
class Law:
    """A conserved quantity: ``formula`` in the weights' names, its ``kind``, and what checked it."""

    formula: str
    kind: str
    verified_by: str

    def as_json(self) -> dict[str, str]:
        return {"formula": self.formula, "kind": self.kind, "verified_by": self.verified_by}


def scaling_columns(manifold: Manifold) -> tuple[int, ...]:
    """The scales that move learned parameters only: a buffer other than 0 would have to move with a unit, and
    gradient flow does not move it, so nothing is conserved then.

    >>> from balproof.importers import load
    >>> scaling_columns(infer(load("tests/data/chain.json")))
    (0, 1)
    """
    buffers = {t.name: np.asarray(t.value != 0, dtype=bool) for t in manifold.network.parameters if t.buffer}
    moving: set[int] = set()
    for block in manifold.blocks:
        if block.name in buffers:
            for flat in np.flatnonzero(buffers[block.name]).tolist():
                moving.update(k for k, _ in block.row(flat))
    return tuple(k for k in range(manifold.count) if k not in moving)


def scaling_laws(network: Network | Manifold) -> tuple[Law, ...]:
    """The quantities Σ_e A_ek w_e² that ẇ = −∇E keeps, whatever the data and the loss.

    From E(w∘exp(A h)) = E(w) for all h, differentiated at h = 0: Aᵀ(w∘∇E) = 0, so d/dt Σ A_ek w_e²/2 =
    −Σ A_ek w_e ∂_eE = 0. Source: Du, Hu, Lee 2018; [B] Section 4. Some may depend on others, and there may be
    more laws than these: `balproof.conservation` says how many.

    >>> from balproof.importers import load
    >>> scaling_laws(load("tests/data/chain.json"))[0].formula
    'fc1.weight[0,0]² − fc2.weight[0,0]²'
    """
    manifold = network if isinstance(network, Manifold) else infer(network)
    why = "exact: row k of Aᵀ, from the scaling rules and Aᵀ(w∘∇E) = 0"
    formulas = scale_formulas(manifold)
    return tuple(Law(formulas[k], "scaling", why) for k in scaling_columns(manifold))


def scale_formulas(manifold: Manifold) -> list[str]:
    """Σ_e A_ek w_e² of each scale, in slices: ``Σ fc1.weight[3,:]² + fc1.bias[3]² − Σ fc2.weight[:,3]²``.

    A weight that enters with both signs (a self-loop of degree 1) cancels.
    """
    return [
        _sum([(a, f"Σ {text}²" if ":" in text else f"{text}²") for a, text in found])
        for found in scale_slices(manifold)
    ]


def scale_slices(manifold: Manifold) -> list[list[tuple[Fraction, str]]]:
    """For each scale the slices of learned parameters that it moves, each with its entry in A.

    >>> from balproof.importers import load
    >>> scale_slices(infer(load("tests/data/chain.json")))[0]
    [(Fraction(1, 1), 'fc1.weight[0,0]'), (Fraction(-1, 1), 'fc2.weight[0,0]')]
    """
    parts: list[list[tuple[Fraction, str]]] = [[] for _ in range(manifold.count)]
    for block in manifold.blocks:
        tensor = manifold.network.tensors[block.name]
        if tensor.buffer:
            continue
        for term in block.terms:
            for i, form in enumerate(term.forms):
                if not form:
                    continue
                for place in np.argwhere(term.index == i).tolist():
                    at = [str(p) if n > 1 or m == 1 else ":" for p, n, m in
                          zip(place, term.index.shape, block.shape, strict=True)]  # fmt: skip
                    text = f"{block.name}[{','.join(_in_tensor(at, block.shape, tensor.shape))}]"
                    for k, coefficient in form:
                        parts[k].append((coefficient, text))
    return parts


def _sum(parts: Sequence[tuple[Fraction, str]]) -> str:
    text = ""
    for coefficient, part in parts:
        size = abs(coefficient)
        sign = ("" if coefficient > 0 else "−") if not text else (" + " if coefficient > 0 else " − ")
        text += f"{sign}{'' if size == 1 else f'{size}·'}{part}"
    return text or "0"


def _in_tensor(at: list[str], view: tuple[int, ...], shape: tuple[int, ...]) -> list[str]:
    """A slice of a view as a slice of the parameter: axes of length 1 go, and groups are counted through."""
    if view == shape:
        return at
    if len(view) == len(shape) + 1 and view[0] * view[1] == shape[0]:  # (groups, outputs of a group, …)
        size, group = view[1], int(at[0]) if at[0] != ":" else None
        if group is None:
            first = ":" if at[1] == ":" else f"{at[1]}::{size}"
        else:
            first = f"{group * size}:{(group + 1) * size}" if at[1] == ":" else str(group * size + int(at[1]))
        return [first, *at[2:]]
    return [a for a, n in zip(at, view, strict=True) if n > 1] if shape != (1,) else ["0"]
