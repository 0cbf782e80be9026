"""The answer about a training run: the drift of each unit, the faults that explain it, and in words."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from balproof.crosscheck.suspects import TrainingFault

Status = Literal["holds", "broken", "no-law"]


@dataclass(frozen=True)
class UnitDrift:
    """One unit's z = Aᵀw²: at the start, at the end, and ``foretold`` for the end from the start.

    ``drift`` = after − foretold, and ``tolerance`` bounds what rounding makes of it. ``gradient`` is the
    largest |Aᵀ(w∘g)| of a step, relative to Σ|A||w∘g|. ``law`` is false where no identity holds.
    """

    name: str
    before: float
    after: float
    foretold: float
    tolerance: float
    gradient: float
    law: bool

    @property
    def drift(self) -> float:
        return self.after - self.foretold

    @property
    def ok(self) -> bool:
        return not self.law or abs(self.drift) <= self.tolerance

    def as_json(self) -> dict[str, object]:
        return {**dataclasses.asdict(self), "drift": self.drift, "ok": self.ok}


@dataclass(frozen=True, eq=False)
class TrainingReport:
    """The answer of `conserved_along`.

    ``status`` is about the law of z: ``holds`` or ``broken`` along the ``steps``, or ``no-law`` where the
    optimizer has none (Adam and its kin rescale each entry of a gradient by itself). ``ok`` is true exactly
    if there are no ``faults`` and no law is broken. Faults of gradients and of tensors that stand
    still are looked for in any case.
    """

    status: Status
    optimizer: str
    steps: int
    units: tuple[UnitDrift, ...]
    faults: tuple[TrainingFault, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.faults and self.status != "broken"

    def as_json(self) -> dict[str, object]:
        return {
            "status": self.status,
            "optimizer": self.optimizer,
            "steps": self.steps,
            "units": [u.as_json() for u in self.units],
            "faults": [f.as_json() for f in self.faults],
            "notes": list(self.notes),
            "ok": self.ok,
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        off = sum(not u.ok for u in self.units)
        said = {
            "holds": f"z = Aᵀw² of {sum(u.law for u in self.units)} units moved as foretold",
            "broken": f"z = Aᵀw² of {off} of {len(self.units)} units is not as foretold",
            "no-law": "z = Aᵀw² follows no law under this optimizer; only gradients were tested",
        }[self.status]
        lines = [f"{self.steps} steps of {self.optimizer}: {said}"]
        worst = sorted((u for u in self.units if not u.ok), key=lambda u: -abs(u.drift))
        lines += [
            f"  {u.name}: z {u.before:.6g} → {u.after:.6g}, foretold {u.foretold:.6g} ± {u.tolerance:.1g}"
            for u in worst[:5]
        ]
        lines += [f"{f.kind}: {f.found}" for f in self.faults]
        lines += [f"note: {n}" for n in self.notes]
        return "\n".join(lines if not self.ok else [*lines, "ok"])
