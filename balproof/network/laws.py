"""What gradient flow conserves because of the scaling manifold: one law for each of its directions."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Conserved:
    """The scaling laws of a network; ``independent`` of them are independent (the rank of A).

    There may be more laws than these: completeness is not shown here.
    """

    laws: tuple[Law, ...]
    independent: int
    parameters: int

    def as_json(self) -> dict[str, object]:
        return {
            "laws": [law.as_json() for law in self.laws],
            "count": {
                "verdict": "at-least" if self.independent else "none",
                "k": self.independent,
                "lie_dimension": None,
                "parameters": self.parameters,
                "certificate": None,
            },
            "flow": "euclidean",
            "data": "all",
            "loss": "any differentiable loss of the outputs",
        }


def conserved(network: Network | Manifold) -> Conserved:
    """The quantities Σ_e A_ek w_e² that ẇ = −∇E keeps, whatever the data and the loss.

    From E(w∘exp(A h)) = E(w) for all h, differentiated at h = 0: Aᵀ(w∘∇E) = 0, so d/dt Σ A_ek w_e²/2 =
    −Σ A_ek w_e ∂_eE = 0. Source: Du, Hu, Lee 2018; [B] Section 4.

    >>> from balproof.importers import load
    >>> conserved(load("tests/data/chain.json")).laws[0].formula
    'fc1.weight[0,0]² − fc2.weight[0,0]²'
    """
    manifold = network if isinstance(network, Manifold) else infer(network)
    laws = tuple(
        Law(
            scale_formula(manifold, k),
            "scaling",
            "exact: row k of Aᵀ, from the scaling rules and Aᵀ(w∘∇E) = 0",
        )
        for k in range(manifold.count)
    )
    return Conserved(laws, manifold.free_scales, sum(t.size for t in manifold.network.parameters))


def scale_formula(manifold: Manifold, k: int) -> str:
    """Σ_e A_ek w_e² in slices: ``Σ fc1.weight[3,:]² + fc1.bias[3]² − Σ fc2.weight[:,3]²``.

    A weight that enters with both signs (a self-loop of degree 1) cancels.
    """
    parts: list[tuple[Fraction, str]] = []
    for block in manifold.blocks:
        tensor = manifold.network.tensors[block.name]
        whole = block.shape == (tensor.shape or (1,))
        for axis, forms in block.axes:
            for i, form in enumerate(forms):
                coefficient = dict(form).get(k)
                if coefficient is None:
                    continue
                index = [":" if n > 1 else "0" for n in block.shape]
                index[axis] = str(i)
                if not whole:  # a flattened view: one entry at a time
                    index = [str(int(j)) for j in np.unravel_index(i, tensor.shape)]
                text = f"{block.name}[{','.join(index)}]²"
                parts.append((coefficient, f"Σ {text}" if ":" in index else text))
    text = ""
    for coefficient, part in parts:
        size = abs(coefficient)
        sign = ("" if coefficient > 0 else "−") if not text else (" + " if coefficient > 0 else " − ")
        text += f"{sign}{'' if size == 1 else f'{size}·'}{part}"
    return text or "0"
