"""How many quantities there can be at most: the dimension of the Lie algebra of the fields at a point.

Let r be the rank of the fields and their brackets at θ₀, modulo a prime: at most their rank there over the
rationals. Whatever all fields conserve near θ₀ (once continuously differentiable), their flows conserve, so
all brackets do, and its gradient is orthogonal to at least r directions on a neighbourhood of θ₀. So on any
open set that contains θ₀ there are at most D − r independent laws. If k = D − r laws are known whose
gradients at θ₀ are independent, every further law there is a function of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from balproof.conservation import modular
from balproof.conservation.fields import Fields, point
from balproof.conservation.sampling import Data, fraction_rows
from balproof.errors import RequestError
from balproof.network.graph import Network

Array = np.ndarray

LONGEST = 4
"""Longest bracket that is tried."""
MORE = 50
"""Further brackets of a length that did not raise the rank, until no more are tried."""
LARGEST = 3000
"""Parameters up to which ranks are computed."""
Words = tuple[tuple[int, int, int], ...]
"""(length of the brackets, number of the first, how many)."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """What it takes to compute the rank again: see `replay`.

    θ₀ is written out; the inputs and covectors of bracket number n come from ``seed`` by
    `balproof.conservation.sampling`. ``pivots`` are the coordinates of θ in which the rank shows, and
    ``digest`` is the SHA-256 of all rows (little-endian int64).
    """

    seed: int
    loss: str
    point: Mapping[str, Array]
    words: Words
    rank: int
    second_rank: int
    pivots: tuple[int, ...]
    digest: str
    prime: int = modular.PRIME
    second_prime: int = modular.SECOND

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": "rank of brackets modulo a prime",
            "prime": self.prime,
            "second_prime": self.second_prime,
            "seed": self.seed,
            "loss": self.loss,
            "point": {n: fraction_rows(v) for n, v in self.point.items()},
            "words": [{"length": n, "first": a, "count": c} for n, a, c in self.words],
            "rank": self.rank,
            "second_rank": self.second_rank,
            "pivots": list(self.pivots),
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
            return Certificate(
                int(data["seed"]), str(data["loss"]), whole, words, int(data["rank"]),
                int(data["second_rank"]), tuple(int(i) for i in data["pivots"]), str(data["digest"]),
                int(data["prime"]), int(data["second_prime"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise RequestError(
                f"this is no certificate of the network ({type(error).__name__})",
                "give what `conserved --json` wrote for it",
            ) from None


def certify(data: Data, wanted: int, signs: bool, longest: int = LONGEST) -> Certificate:
    """The rank at one point, with longer and longer brackets, until it is ``wanted`` or no longer grows.

    Raises Unsupported.
    """
    theta = point(data, signs)
    fields = Fields(data, theta, modular.PRIME)
    size = fields.layout.size
    kept = np.zeros((0, size), np.int64)
    parts = [kept]
    words: list[tuple[int, int, int]] = []
    for length in range(1, longest + 1):
        before, start = len(kept), 0
        while len(kept) < wanted:
            count = (wanted - len(kept)) + 12 if not start else max(MORE, (wanted - len(kept)) // 2)
            words.append((length, start, count))
            start += count
            parts.append(fields.rows(length, *words[-1][1:]))
            both = np.concatenate([kept, parts[-1]])
            grown = both[modular.pivots(both.T)]
            gained = len(grown) - len(kept)
            kept = grown
            if not gained or start > 6 * size + 200:
                break
        if len(kept) >= wanted or (length > 1 and len(kept) == before):
            break
    rows, second = np.concatenate(parts), _rows(Fields(data, theta, modular.SECOND), words)
    return Certificate(
        data.seed,
        data.loss,
        theta,
        tuple(words),
        len(kept),
        modular.rank(second, modular.SECOND),
        tuple(modular.pivots(kept)),
        _digest(rows),
    )


def _rows(fields: Fields, words: Words | list[tuple[int, int, int]]) -> Array:
    return np.concatenate([np.zeros((0, fields.layout.size), np.int64), *(fields.rows(*w) for w in words)])


def _digest(rows: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Replayed:
    """What a certificate gives when it is computed again."""

    rank: int
    second_rank: int
    same_rows: bool
    agrees: bool


def replay(
    network: Network, certificate: Mapping[str, Any], given: Mapping[str, Array] | None = None
) -> Replayed:
    """Compute a certificate of ``conserved`` again: the same rows, the same rank, and that of a second prime.

    ``given`` are the data, if it was made for some.

    >>> from balproof.conservation import conserved
    >>> from balproof.importers import load
    >>> network = load("tests/data/chain.json")
    >>> replay(network, conserved(network).as_json()["count"]["certificate"]).agrees
    True

    Raises RequestError for what is no certificate of this network.
    """
    c = Certificate.from_json(network, certificate)
    data = Data(network, c.seed, c.loss, given)
    rows, second = (_rows(Fields(data, c.point, p), c.words) for p in (c.prime, c.second_prime))
    rank, other = modular.rank(rows, c.prime), modular.rank(second, c.second_prime)
    same = _digest(rows) == c.digest
    return Replayed(rank, other, same, same and rank == c.rank and other == c.second_rank)
