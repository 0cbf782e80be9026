"""How many quantities there can be at most: the dimension of the Lie algebra of the fields at a point.

Let r be the rank of the fields and their brackets at θ₀ modulo a prime, which is at most their rank over
the rationals; or the size of a minor that is not 0 over balls, where the fields are no polynomials. What
all fields conserve near θ₀ (once continuously differentiable) their flows keep, so the flows of all
brackets do, and its gradient is orthogonal to at least r directions on a neighbourhood of θ₀. So on any
open set that contains θ₀ there are at most D − r independent laws. If k = D − r laws are known whose
gradients at θ₀ are independent, every further law is a function of them near θ₀.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from balproof.conservation import balls, modular
from balproof.conservation.fields import Fields, point
from balproof.conservation.passes import Unsupported
from balproof.conservation.ring import Modular
from balproof.conservation.sampling import Data, fraction_rows
from balproof.errors import RequestError
from balproof.network.graph import Network

Array = np.ndarray

LONGEST = 4
"""Longest bracket that is tried."""
MORE = 50
"""Further brackets of a length that are tried when the first do not give the rank that is wanted."""
FEW, PATIENCE = 16, 10
"""If so few dimensions are missing, so many lots of `MORE` may give nothing before brackets of two are given
up: what is missing often shows only in regions that few samples meet."""
LARGEST = 6000
"""Parameters up to which ranks are computed."""
SMALL = 1000
"""Parameters up to which an echelon form is kept, and its columns are told."""
Words = tuple[tuple[int, int, int], ...]
"""(length of the brackets, number of the first, how many)."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """What it takes to compute the rank again: see `replay`.

    θ₀ is written out; the inputs and covectors of bracket number n come from ``seed`` by
    `balproof.conservation.sampling`. Modulo a prime, ``columns`` are coordinates of θ in which the
    rank shows (not told of many parameters), and ``digest`` is the SHA-256 of all rows (little-endian
    int64). Over balls, ``rows`` and ``columns`` are those of a minor that is not 0, and there is
    neither a prime nor a digest.
    """

    seed: int
    loss: str
    point: Mapping[str, Array]
    words: Words
    rank: int
    columns: tuple[int, ...]
    second_rank: int | None = None
    digest: str = ""
    rows: tuple[int, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": "modular" if self.rows is None else "balls",
            "primes": None if self.rows is not None else [modular.PRIME, modular.SECOND],
            "seed": self.seed,
            "loss": self.loss,
            "point": {n: fraction_rows(v) for n, v in self.point.items()},
            "words": [{"length": n, "first": a, "count": c} for n, a, c in self.words],
            "rank": self.rank,
            "second_rank": self.second_rank,
            "rows": None if self.rows is None else list(self.rows),
            "columns": list(self.columns),
            "digest": self.digest,
        }

    @staticmethod
    def from_json(network: Network, data: Mapping[str, Any]) -> Certificate:
        """Raises RequestError for anything that is no certificate of this network."""
        try:
            shapes = {t.name: t.shape for t in network.learned}
            values = {
                n: np.array([float(Fraction(str(v))) for v in data["point"][n]]).reshape(s)
                for n, s in shapes.items()
            }
            whole = {n: v.astype(np.int64) if np.all(v == np.rint(v)) else v for n, v in values.items()}
            words = tuple((int(w["length"]), int(w["first"]), int(w["count"])) for w in data["words"])
            if any(not 1 <= n <= LONGEST or a < 0 or not 0 <= c <= 100_000 for n, a, c in words):
                raise ValueError
            size = sum(v.size for v in values.values())
            columns = tuple(int(i) for i in data["columns"])
            over_balls = data["kind"] == "balls"
            if any(not 0 <= i < size for i in columns) or data["kind"] not in ("balls", "modular"):
                raise ValueError
            return Certificate(
                int(data["seed"]),
                str(data["loss"]),
                whole,
                words,
                int(data["rank"]),
                columns,
                None if over_balls else int(data["second_rank"]),
                str(data["digest"]),
                tuple(int(i) for i in data["rows"]) if over_balls else None,
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise RequestError(
                f"this is no certificate of the network ({type(error).__name__})",
                "give what `conserved --json` wrote for it",
            ) from None


def certify(data: Data, wanted: int, signs: bool, longest: int = LONGEST) -> Certificate:
    """The rank at one point, with longer and longer brackets, until it is ``wanted`` or no longer grows.

    The certificate lacks what `finished` adds. Raises Unsupported.
    """
    try:
        return _modular(data, wanted, signs, longest)
    except Unsupported as why:
        if sum(t.size for t in data.network.learned) > balls.LARGEST:
            raise Unsupported(f"{why}; balls are for up to {balls.LARGEST} parameters") from None
        return _over_balls(data, wanted, signs, longest)


def finished(data: Data, c: Certificate) -> Certificate:
    """With the rank modulo a second prime, and the digest of the rows."""
    if c.rows is not None:
        return c
    rows = _rows(Fields(data, c.point, Modular()), c.words)
    again = _rows(Fields(data, c.point, Modular(modular.SECOND)), c.words)
    return replace(c, second_rank=modular.rank(again, modular.SECOND), digest=_digest(rows))


def _modular(data: Data, wanted: int, signs: bool, longest: int) -> Certificate:
    theta = point(data, signs)
    fields = Fields(data, theta, Modular())
    size = fields.layout.size
    none = np.zeros((0, size), np.int64)
    kept = none, np.zeros(0, np.int64)
    parts, reached = [none], 0
    words: list[tuple[int, int, int]] = []
    for length in range(1, longest + 1):
        before, start, idle = reached, 0, 0
        while (left := wanted - reached) > 0:
            count = left + left // 4 + 12 if not start else max(MORE, left // 2)
            words.append((length, start, count))
            start += count
            parts.append(fields.rows(length, *words[-1][1:]))
            if size <= SMALL:
                kept = modular.extended(kept, parts[-1])
                grown = len(kept[1])
            else:
                grown = modular.rank(np.concatenate(parts))
            gained, reached = grown - reached, grown
            idle = 0 if gained else idle + 1
            near = length == 2 and size <= SMALL and wanted - reached <= FEW
            if idle >= (PATIENCE if near else 1) or start > 6 * size + 200:
                break
        if reached >= wanted or (length > 1 and reached == before):
            break
    columns = tuple(sorted(kept[1].tolist()))
    return Certificate(data.seed, data.loss, theta, tuple(words), reached, columns)


def _over_balls(data: Data, wanted: int, signs: bool, longest: int) -> Certificate:
    fine = replace(data, fine=True)
    theta = fine.point(signs)
    words: list[tuple[int, int, int]] = []
    parts: list[Array] = []
    best: tuple[list[int], list[int]] = ([], [])
    with balls.Precision():
        fields = balls.fields(fine, theta)
        for length in range(1, longest + 1):
            count = 2 * (wanted - len(best[0])) + 24
            words.append((length, 0, count))
            parts.append(fields.rows(length, 0, count))
            found = balls.minor(np.concatenate(parts), wanted)
            grown = len(found[0]) > len(best[0])
            best = found if grown else best
            if len(best[0]) >= wanted or not (grown or length == 1):
                break
    rows, columns = best
    return Certificate(
        data.seed, data.loss, theta, tuple(words), len(rows), tuple(columns), None, "", tuple(rows)
    )


def _rows(fields: Fields, words: Sequence[tuple[int, int, int]]) -> Array:
    parts = [fields.rows(*w) for w in words]
    return np.concatenate(parts) if parts else np.zeros((0, fields.layout.size), np.int64)


def _digest(rows: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Replayed:
    """What a certificate gives when it is computed again; ``agrees`` says whether that is what it says."""

    rank: int
    second_rank: int | None
    agrees: bool


def replay(
    network: Network, certificate: Mapping[str, Any], given: Mapping[str, Array] | None = None
) -> Replayed:
    """Compute a certificate of ``conserved`` again: the same rows, the same rank, and that of a second prime;
    or the determinant of the minor.

    ``given`` are the data, if it was made for some.

    >>> from balproof.conservation import conserved
    >>> from balproof.importers import load
    >>> network = load("tests/data/chain.json")
    >>> replay(network, conserved(network).as_json()["count"]["certificate"]).agrees
    True

    Raises RequestError for what is no certificate of this network.
    """
    c = Certificate.from_json(network, certificate)
    data = Data(network, c.seed, c.loss, given, fine=c.rows is not None)
    try:
        if c.rows is not None:
            return _replayed_over_balls(c, data)
        first = _rows(Fields(data, c.point, Modular()), c.words)
        again = _rows(Fields(data, c.point, Modular(modular.SECOND)), c.words)
    except Unsupported as why:
        raise RequestError(f"the certificate cannot be computed again: {why}", "check the network") from None
    rank, second = modular.rank(first), modular.rank(again, modular.SECOND)
    same = _digest(first) == c.digest
    if c.columns:
        same = same and modular.rank(first[:, list(c.columns)]) == len(c.columns) == rank
    return Replayed(rank, second, same and rank == c.rank and second == c.second_rank)


def _replayed_over_balls(c: Certificate, data: Data) -> Replayed:
    assert c.rows is not None
    with balls.Precision():
        rows = _rows(balls.fields(data, c.point), c.words)
        if any(not 0 <= i < len(rows) for i in c.rows) or len(set(c.rows)) != len(c.columns):
            return Replayed(0, None, False)
        rank = len(c.rows) if balls.certain(rows, c.rows, c.columns) else 0
    return Replayed(rank, None, rank == c.rank)
