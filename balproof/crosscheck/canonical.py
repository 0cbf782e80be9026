"""One representative of all rescalings of a network, and of all orders of its hidden units.

The balanced weights are unique where the least cost is attained, and where the weights that carry cost
determine all others ([B] Theorem 5.1). So two networks are rescalings of one another exactly if their
balanced weights are the same. Hidden units in another order are another symmetry: `balproof.network.axes`
finds it, and `balproof.crosscheck.ordering` removes it. Other symmetries of functions (signs through an odd
activation, units that are never active) are left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from balproof.balance.problem import Costs
from balproof.balance.solve import Solution, solve
from balproof.crosscheck.faults import shown
from balproof.crosscheck.ordering import Order, order_units
from balproof.crosscheck.scales import _TYPES as TYPES
from balproof.crosscheck.scales import recover_scales, roundings
from balproof.crosscheck.structure import _signature as signature
from balproof.crosscheck.structure import structure_faults
from balproof.errors import RequestError
from balproof.importers import load
from balproof.network.axes import Permutable, permutable
from balproof.network.graph import Network
from balproof.network.listed import alike
from balproof.network.manifold import Manifold, infer

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Canonical:
    """The representative: ``network``, in double precision, reached by the log-scales ``h`` (and ``orders``).

    ``radius`` bounds rigorously how far the log-scales are from those of the only balanced state (None where
    there is no such bound). With sorted units, ``ties`` names those that could not be told apart, so that
    the order is not unique; ``twins`` those of which every order gives the same weights. ``single`` says
    whether the weights came in single precision or coarser.
    """

    network: Network
    regularizer: str
    h: Array
    radius: float | None
    sorted: bool
    orders: Mapping[int, Array]
    ties: tuple[str, ...]
    twins: tuple[str, ...]
    single: bool

    def digest(self, digits: int | None = None) -> Fingerprint:
        """A hash of the structure and of all weights, to so many significant digits (8, or 3 of singles).

        Rescalings have the same digest, but where rounding noise takes a weight across a rounding boundary:
        with n weights and relative noise ε about 2nε·10^digits times in all, and never where ``margin``
        exceeds the noise. That makes it a matter of small networks in double precision;
        `fingerprint` is for others. Without ``sorted``, units in another order have another digest.
        """
        values = [self.network.numbers(name).ravel() for name in _in_order(self.network)]
        return _hash(self.network, np.concatenate(values), digits or (3 if self.single else 8))


@dataclass(frozen=True)
class Fingerprint:
    """A hash in hexadecimal: ``text``.

    ``margin`` is the least distance, relative to its number, of a number that was rounded to the next
    rounding boundary: noise below it changes nothing.
    """

    text: str
    digits: int
    margin: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Comparison:
    """Whether two networks are the ``same``; if not, ``why``. ``deviation`` is the largest of a weight,
    relatively."""

    same: bool
    deviation: float | None
    why: str

    def __bool__(self) -> bool:
        return self.same


def canonical(
    model: object,
    regularizer: Costs | str | Sequence[str] = "l2",
    *,
    sort: bool = False,
    tolerance: float | None = None,
    example_inputs: object = None,
    certify: bool = False,
) -> Canonical:
    """The balanced rescaling of a model, of which there is one; with ``sort``, in an order of its own.

    Units are told apart where sums of their weights differ by more than ``tolerance``, relatively (1e-9, or
    1e-5 for single precision). If there are no ``ties``, and no two sums happen to be just as far apart as
    that, networks that are rescalings of one another, with hidden units in any order, have the same
    representative to rounding. With ``certify`` its distance from the balanced state is bounded.

    Raises RequestError where no rescaling is the least, or not exactly one: for a dead unit with weights, a
    bias that no output sees, weights without cost that nothing determines; and as `balproof.solve`.

    >>> one = {"J": [[0.0]], "W_in": [[8.0]], "W_out": [[0.5]]}
    >>> canonical(one).network.numbers("W_in").round(9).tolist()
    [[2.0]]
    """
    network = load(model, example_inputs)
    solution = solve(network, regularizer, certify=certify)
    _require_unique(infer(solution.network), solution, regularizer)
    single = any(TYPES.get(t.dtype, TYPES["float64"])[0] > 2.0**-53 for t in network.parameters)
    found, units = Order({}, (), ()), permutable(solution.network)
    after = solution.network
    if sort:
        found = order_units(units, tolerance or (1e-5 if single else 1e-9))
        after = units.permuted(found.orders)
    return Canonical(
        network=after,
        regularizer=solution.regularizer,
        h=solution.h,
        radius=solution.certificate.radius if solution.certificate else None,
        sorted=sort,
        orders=found.orders,
        ties=tuple(_named(units, *group) for group in found.ties),
        twins=tuple(_named(units, *group) for group in found.twins),
        single=single,
    )


def _named(units: Permutable, c: int, group: Sequence[int]) -> str:
    """A group of slices, as positions in the first parameter that has them: ``fc1.weight[3,:]``."""
    name, axis = units.places(c)[0]
    ndim = len(units.axes[name])
    return " and ".join(
        f"{name}[{','.join(str(i) if a == axis else ':' for a in range(ndim))}]" for i in group
    )


def fingerprint(
    model: object,
    regularizer: Costs | str | Sequence[str] = "l2",
    *,
    digits: int | None = None,
    example_inputs: object = None,
) -> Fingerprint:
    """A hash that rescalings, and networks with hidden units in another order, have in common.

    It is made of the structure (not of names) and of three sums for each parameter tensor of the balanced
    weights, to so many significant digits (8, or 4 for singles): Σ|w|, Σw² and Σ max(w, 0). Noise
    does not change it unless it takes a sum across a rounding boundary: with T tensors and relative noise ε
    of the sums, at most about 6Tε·10^digits times in all, and never where ``margin`` exceeds the noise. Other
    fingerprints mean other networks, up to that. Equal ones say little more than that it is worth asking
    `same_orbit`; and networks that compute the same for other reasons than these symmetries have other
    fingerprints.

    Raises RequestError as `canonical`.

    >>> one = {"J": [[0.0]], "W_in": [[8.0]], "W_out": [[0.5]]}
    >>> other = {"J": [[0.0]], "W_in": [[1.0]], "W_out": [[4.0]]}
    >>> fingerprint(one).text == fingerprint(other).text
    True
    """
    found = canonical(model, regularizer, example_inputs=example_inputs)
    sums: list[float] = []
    for name in _in_order(found.network):
        w = found.network.numbers(name).ravel()
        sums += [float(np.abs(w).sum()), float(w @ w), float(np.maximum(w, 0).sum())]
    return _hash(found.network, np.array(sums), digits or (4 if found.single else 8))


def same_orbit(
    a: object,
    b: object,
    regularizer: Costs | str | Sequence[str] = "l2",
    *,
    sort: bool = False,
    tolerance: float | None = None,
    example_inputs: object = None,
) -> Comparison:
    """Are two networks rescalings of one another, up to rounding; with ``sort``, in any order of units?

    Without ``sort`` no balanced state is needed: scales are recovered from the weights. With it, both are put
    into the order of their canonical representatives first. Parameters are compared by name.

    Raises RequestError as `canonical` with ``sort``, and ModelError as `balproof.load`.

    >>> one = {"J": [[0.0]], "W_in": [[8.0]], "W_out": [[0.5]]}
    >>> same_orbit(one, {"J": [[0.0]], "W_in": [[1.0]], "W_out": [[4.0]]}).same
    True
    >>> same_orbit(one, {"J": [[0.0]], "W_in": [[1.0]], "W_out": [[3.0]]}).why
    'W_in[0,0] is off by 0.13'
    """
    nets = list(alike(load(a, example_inputs), load(b, example_inputs)))
    differs = structure_faults(*nets)
    if differs:
        return Comparison(False, None, differs[0].where)
    ties: list[str] = []
    if sort:
        for i, net in enumerate(nets):
            found = canonical(net, regularizer, sort=True, tolerance=tolerance)
            nets[i] = permutable(net).permuted(found.orders)
            ties += found.ties
    before, after = nets
    old, new = ({t.name: n.numbers(t.name) for t in n.parameters} for n in nets)
    found = recover_scales(infer(before), old, new, roundings(before, after))
    deviation = max((float(d.max(initial=0.0)) for d in found.deviation.values()), default=0.0)
    if not found.missed:
        return Comparison(True, deviation, "")
    name = max(found.wrong, key=lambda n: float((found.wrong[n] * found.deviation[n]).max(initial=0.0)))
    flat = int(np.argmax(found.wrong[name] * found.deviation[name]))
    why = f"{before.tensors[name].element(flat)} is off by {found.deviation[name].flat[flat]:.2g}"
    if ties:
        why += f", or the order is another, since units could not be told apart: {shown(ties)}"
    return Comparison(False, deviation, why)


def _in_order(network: Network) -> list[str]:
    """The parameters in the order in which they are first used."""
    used = dict.fromkeys(x for op in network.operations for x in op.inputs)
    place = {name: i for i, name in enumerate(used)}
    return sorted((t.name for t in network.parameters), key=lambda n: place.get(n, len(place)))


def _hash(network: Network, values: Array, digits: int) -> Fingerprint:
    """Of the structure, without names, and of numbers to so many digits."""
    if not 1 <= digits <= 15:
        raise RequestError(f"{digits} digits are not known of a double", "give 1 to 15")
    tensors = network.tensors
    number: dict[str, int] = {}
    lines: list[str] = []
    for name in (*network.inputs, *(x for pair in network.states for x in pair)):
        lines.append(f"given {number.setdefault(name, len(number))} {tensors[name].shape}")
    hashed = hashlib.sha256()
    for op in network.operations:
        for name in op.inputs:
            if name not in number:
                lines.append(f"{tensors[name].role} {tensors[name].shape}")
                if tensors[name].role == "constant":
                    hashed.update((network.numbers(name) + 0.0).tobytes())
            number.setdefault(name, len(number))
        at = [number[x] for x in op.inputs]
        lines.append(f"{signature(op)} {at} {number.setdefault(op.output, len(number))}")
    lines.append(f"outputs {[number[x] for x in network.outputs]}")
    rounded, margin = _rounded(values, digits)
    hashed.update("\n".join(lines).encode())
    hashed.update(rounded.astype("<i8").tobytes())
    return Fingerprint(hashed.hexdigest(), digits, margin)


def _rounded(values: Array, digits: int) -> tuple[Array, float]:
    """Decimal mantissas and exponents, and the least relative distance to a boundary between mantissas.

    >>> _rounded(np.array([0.0, -123.456, 9.9999]), 3)[0].tolist()
    [[0, -123, 100], [0, 0, -1]]
    """
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        exponent = np.where(size > 0, np.floor(np.log10(np.where(size > 0, size, 1.0))), 0.0) - (digits - 1)
    exact = size / 10.0**exponent
    mantissa = np.rint(exact)
    away = np.abs(np.abs(exact - np.floor(exact)) - 0.5) / np.where(exact > 0, exact, 1.0)
    over = mantissa >= 10.0**digits
    mantissa, exponent = np.where(over, mantissa / 10, mantissa), exponent + over
    found = np.stack([np.sign(values) * mantissa, np.where(size > 0, exponent, 0.0)]).astype(np.int64)
    return found, float(np.min(away[size > 0], initial=0.5))


def _require_unique(manifold: Manifold, solution: Solution, regularizer: Costs | str | Sequence[str]) -> None:
    """Raises RequestError where the balanced weights do not exist, were not reached, or are not alone."""
    costs = regularizer if isinstance(regularizer, Costs) else Costs.parse(regularizer)
    what = f"no rescaling is the only one of least {costs.name} cost"
    if solution.witness is not None:
        falling = shown(f"{name} ({way})" for name, way in solution.witness.items())
        raise RequestError(
            f"{what}: it falls for ever along {falling}", "prune the units that nothing reads or feeds"
        )
    if solution.status != "balanced":
        raise RequestError(
            f"the balanced state was not reached (imbalance {solution.imbalance:.1g})",
            "scale weights nearer to 1",
        )
    radius = solution.certificate.radius if solution.certificate else None
    if solution.existence.attained is None and radius is None:
        raise RequestError(
            f"{what}, as far as is known ({solution.existence.method})", "take another regularizer"
        )
    net = manifold.network
    everything = {t.name: net.numbers(t.name) != 0 for t in net.parameters}
    felt = manifold.absolute().adjoint({n: keep.astype(float) for n, keep in everything.items()})
    free = [manifold.names[k] for k in sorted(manifold.endless) if felt[k]]
    if free:
        raise RequestError(
            f"{what}: any scale does for {shown(free)}", "set weights to 0 that no output sees"
        )
    without = frozenset[str]() if costs.bias_cost else net.biases
    costed = {n: keep & (n not in without and not net.tensors[n].buffer) for n, keep in everything.items()}
    if manifold.rank(costed) < manifold.rank(everything, buffers=True):
        raise RequestError(
            f"{what}: weights without cost may be rescaled where those with cost stay",
            "give all weights a cost",
        )
