"""Directions along which no output moves, Mθ + v or polynomials: for all weights, inputs and regions at once.

Forward differentiation over polynomials with rational coefficients. Weights and inputs are variables, and
each piece of an activation has a variable of its own that stands for its slope. Where all tangents of a
tensor are ẏ = N y with a constant matrix N, its entries become new variables with these tangents: what holds
for variables holds for what they stand for, so this is sound, and it keeps the polynomials small.

If no output moves, ⟨∇_θ⟨a, f(θ; x)⟩, Mθ + v⟩ = 0 for all a, x and θ. For symmetric M the quantity
½θᵀMθ + vᵀθ is then conserved by every gradient flow, and so is P for a direction ∇P; for antisymmetric M
see `flows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count

import numpy as np

from balproof.conservation.passes import Key, Pass, Regions, Unsupported
from balproof.conservation.polynomial import Monomial, Polynomial
from balproof.conservation.program import Run
from balproof.conservation.ring import Objects
from balproof.conservation.sampling import Data
from balproof.conservation.steps_elementwise import seen
from balproof.conservation.tape import Jet, Node, Tape
from balproof.network.graph import Operation

Array = np.ndarray

TERMS = 400_000
"""Terms of all entries of a tensor, beyond which nothing is shown."""

Direction = Mapping[str, Mapping[int, Mapping[tuple[tuple[str, int], ...], Fraction]]]
"""By parameter and position: a polynomial in θ, {factors of a monomial: coefficient}."""


class TooLarge(Exception):
    """The polynomials have too many terms."""


def _plain(value: Fraction) -> int | Fraction:
    return int(value) if value.denominator == 1 else value


@dataclass
class _Symbols:
    """Variables, and what is known of them: their signs, or what they stand for."""

    next: count[int] = field(default_factory=count)
    signs: dict[int, int] = field(default_factory=dict)
    origin: dict[int, Polynomial] = field(default_factory=dict)
    gates: dict[tuple[object, ...], Polynomial] = field(default_factory=dict)

    def array(self, shape: Sequence[int]) -> Array:
        fresh = np.empty(tuple(shape), dtype=object)
        fresh.ravel()[:] = [Polynomial.variable(next(self.next)) for _ in range(fresh.size)]
        return fresh


@dataclass
class Proof:
    """A run that carries the tangents of several directions, and drops those that move an output."""

    data: Data
    directions: Sequence[Direction]
    signs: bool

    def __post_init__(self) -> None:
        self.network = self.data.network
        self.symbols = _Symbols()
        self.alive = set(range(len(self.directions)))
        self.watched = set(self.network.outputs) or {after for _, after in self.network.states}
        self.tape = Tape(Objects(_plain), order=1)

    def holds(self) -> list[bool]:
        """For each direction, whether no output moves: True is proved, False says that it is not shown."""
        weights = self._weights()
        run = Run(self.network, self.tape, Regions(), self._opaque, symbols=self._gate, finish=self._finish)
        inputs = [
            {n: self.symbols.array((1, *self.network.tensors[n].shape)) for n in self.network.inputs}
            for _ in range(self.data.steps)
        ]
        try:
            _forward(run, weights, inputs)
        except (Unsupported, TooLarge):
            return [False] * len(self.directions)
        return [i in self.alive for i in range(len(self.directions))]

    def _weights(self) -> dict[str, Node]:
        learned = {t.name: t for t in self.network.learned}
        values = {name: self.symbols.array(t.shape) for name, t in learned.items()}
        if self.signs:
            for name, t in learned.items():
                own = self.data.signs(t).ravel()
                for poly, sign in zip(values[name].ravel(), own, strict=True):
                    if sign:
                        self.symbols.signs[_number(poly)] = int(sign)
        jets: dict[str, dict[int, Array]] = {name: {0: v[None]} for name, v in values.items()}
        for i, direction in enumerate(self.directions):
            for name, entries in direction.items():
                tangent = np.zeros(learned[name].shape, dtype=object)
                flat = tangent.reshape(-1)
                for place, form in entries.items():
                    for others, c in form.items():
                        term = _plain(c)
                        for other, at in others:
                            term = values[other].reshape(-1)[at] * term
                        flat[place] = flat[place] + term
                jets[name][1 << i] = tangent[None]
        return {name: self.tape.put(jet, True) for name, jet in jets.items()}

    def _tangents(self, jet: Jet) -> dict[int, Array]:
        """The tangents that are not 0, of the directions that are still in question."""
        kept = ((m, v) for m, v in jet.items() if m and m.bit_length() - 1 in self.alive)
        return {m: v for m, v in kept if any(isinstance(e, Polynomial) or e for e in v.flat)}

    def _gate(self, op: Operation, x: Node, side: str) -> Array:
        """A symbol for the slope of each entry; entries whose signs surely agree share one."""
        base = x.jet[0]
        fresh = np.empty(base.shape, dtype=object)
        for i, value in enumerate(base.ravel()):
            key = self._sign_class(value) if self.signs and side else None
            function = op.attributes.get("function")
            gate = (op.output, i) if key is None else (op.kind if function is None else function.text, *key)
            if (gate, side) not in self.symbols.gates or key is None:
                self.symbols.gates[gate, side] = Polynomial.variable(next(self.symbols.next))
            fresh.ravel()[i] = self.symbols.gates[gate, side]
        return fresh

    def _sign_class(self, value: object) -> tuple[object, ...] | None:
        """(variables of unknown sign, sign of the rest) of a single product; None of anything else."""
        sign, unknown, todo = 1, list[int](), [value]
        while todo:
            poly = todo.pop()
            if not isinstance(poly, Polynomial) or len(poly.terms) != 1:
                return None
            ((monomial, c),) = poly.terms.items()
            sign = sign if c > 0 else -sign
            for v in monomial:
                origin = self.symbols.origin.get(v)
                if v in self.symbols.signs:
                    sign *= self.symbols.signs[v]
                elif origin is not None and len(origin.terms) == 1:
                    todo.append(origin)
                else:
                    unknown.append(v)
        return (*sorted(unknown), sign)

    def _opaque(self, run: Pass, op: Operation, operands: Sequence[Node], key: Key) -> Node:
        """Whatever an operation does: what it sees of its operands must not move."""
        for x in seen(run, op, operands):
            self.alive -= {m.bit_length() - 1 for m in self._tangents(x.jet)}
        return self.tape.put({0: self.symbols.array((1, *self.network.tensors[op.output].shape))})

    def _finish(self, op: Operation, result: Node) -> Node:
        """Drop the directions that move an output, and rename the entries where that is possible."""
        base, moved = result.jet[0], self._tangents(result.jet)
        if op.output in self.watched:
            self.alive -= {m.bit_length() - 1 for m, v in moved.items() if not self._unseen(v)}
            moved = {m: v for m, v in moved.items() if m.bit_length() - 1 in self.alive}
        size = sum(len(e.terms) for v in (base, *moved.values()) for e in v.flat if isinstance(e, Polynomial))
        if size > TERMS:
            raise TooLarge
        forms = {m: _forms(base, v) for m, v in moved.items()}
        if any(f is None for f in forms.values()):
            return self.tape.put({0: base, **moved}, True)
        fresh = self.symbols.array(base.shape)
        names = fresh.reshape(-1)
        for i, old in enumerate(base.ravel()):
            if isinstance(old, Polynomial):
                self.symbols.origin[_number(names[i])] = old
            else:  # a number, such as the 0 of a state at the start
                names[i] = old
        jet: dict[int, Array] = {0: fresh}
        for m, form in forms.items():
            assert form is not None
            tangent = np.zeros(base.size, dtype=object)
            for i, row in form.items():
                for j, c in row.items():
                    tangent[i] = tangent[i] + names[j] * c
            jet[m] = tangent.reshape(base.shape)
        return self.tape.put(jet, True)

    def _unseen(self, tangent: Array) -> bool:
        """Whether a loss can tell: for cross-entropy, all classes may move alike."""
        if self.data.loss != "cross-entropy":
            return False  # it is not 0
        first = tangent[..., :1]
        return all(e == 0 for e in (tangent - first).flat if not isinstance(e, Polynomial)) and not any(
            isinstance(e, Polynomial) for e in (tangent - first).flat
        )


def _forward(run: Run, weights: Mapping[str, Node], inputs: Sequence[Mapping[str, Array]]) -> None:
    ring = run.tape.ring
    assert isinstance(ring, Objects)
    run.tape.ring = _Given(ring.make)
    run.forward(weights, inputs)


class _Given(Objects):
    """Polynomials that are given as inputs stay as they are."""

    def constant(self, values: Array) -> Array:
        found = np.asarray(values)
        if found.dtype == object and found.size and isinstance(found.flat[0], Polynomial):
            return found
        return super().constant(found)


def _number(poly: object) -> int:
    assert isinstance(poly, Polynomial)
    ((monomial, _),) = poly.terms.items()
    return monomial[0]


def _forms(base: Array, tangent: Array) -> dict[int, dict[int, Fraction]] | None:
    """ẏ = N y for the entries y of a tensor, with constant N; None where that is not found."""
    values = base.ravel()
    owner: dict[Monomial, int] = {}
    for j, y in enumerate(values):
        if isinstance(y, Polynomial):
            for m in y.terms:
                owner.setdefault(m, j)
    found: dict[int, dict[int, Fraction]] = {}
    for i, rest in enumerate(tangent.ravel()):
        row: dict[int, Fraction] = {}
        while isinstance(rest, Polynomial):
            m, c = next(iter(rest.terms.items()))
            j = owner.get(m)
            if j is None or j in row:
                return None
            row[j] = Fraction(c) / Fraction(values[j].terms[m])
            rest = rest + values[j] * -_plain(row[j])
        if rest:
            return None
        if row:
            found[i] = row
    return found
