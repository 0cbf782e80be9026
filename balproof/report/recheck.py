"""A stored derivation, derived once more from its request and compared with what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema.exceptions

from balproof.errors import RequestError
from balproof.importers import json_file
from balproof.importers.files import first_line, read_bytes
from balproof.network.laws import scaling_laws
from balproof.symbolic.activation import Activation
from balproof.symbolic.derivation import HEAD, Derivation, GateDerivation, derive, derive_gate
from balproof.symbolic.gate import Gate, is_gate
from balproof.symbolic.norms import Norm
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.scale import cost
from balproof.verdict import Verdict

_WORDING = frozenset({"checked_by", "verified_by", "why", "method"})
"""How a check is described, which a later version may say in other words."""

_TOLD = {
    "type": "object",
    "required": ["text", "assumptions"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string"},
        "assumptions": {"type": "array", "items": {"type": "string"}},
    },
}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_SCHEMA = {
    "type": "object",
    "required": [*HEAD, "request", "steps"],
    "properties": {
        **{key: {"const": value} for key, value in HEAD.items()},
        "request": {
            "type": "object",
            "required": ["activation", "regularizer", "regularizer_out", "weights", "network"],
            "additionalProperties": False,
            "properties": {
                "activation": _TOLD,
                "regularizer": _TOLD,
                "regularizer_out": {"oneOf": [{"type": "null"}, _TOLD]},
                "weights": {
                    "type": ["object", "null"],
                    "required": ["in", "out"],
                    "properties": {"in": _TEXTS, "out": _TEXTS},
                },
                "network": {"type": ["object", "null"]},
            },
        },
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["claim", "verdict"],
                "properties": {
                    "claim": {"type": "string"},
                    "verdict": {"enum": [str(v) for v in Verdict]},
                },
            },
        },
    },
}


@dataclass(frozen=True)
class Recheck:
    """The derivation as it is now, and each place where less is shown, or something else is said."""

    derivation: Derivation | GateDerivation
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.differences


def read(path: Path) -> dict[str, Any]:
    """A stored derivation.

    Raises ModelError for a file that cannot be read, RequestError for one that is no derivation.
    """
    content = read_bytes(path, json_file.MAX_BYTES)
    try:
        document = json.loads(content.decode("utf-8"), parse_float=json_file.Decimal)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or lists in lists without end
        said = first_line(error, 100)
        raise RequestError(f"{path} is no intact JSON file ({said})", "derive it anew") from None
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(_SCHEMA).iter_errors(document))
    if error is not None:
        place = ".".join(str(p) for p in error.absolute_path) or "it"
        raise RequestError(
            f"{path} is no stored derivation ({place}: {first_line(error, 100)})",
            "give what derive --format json wrote",
        )
    return document


def recheck(document: Mapping[str, Any]) -> Recheck:
    """Run every step of a stored derivation again, from its request, and compare.

    A verdict may be stronger than it was; claims, formulas, hypotheses and numbers must be the same.

    >>> from balproof.symbolic.derivation import derive
    >>> stored = derive("relu", "l2").as_json()
    >>> recheck(stored).ok
    True
    >>> stored["balance_equation"] = "Σ_IN |w| = Σ_OUT |w|"
    >>> recheck(stored).differences
    ("balance_equation: stored 'Σ_IN |w| = Σ_OUT |w|', now 'Σ_IN |w|^2 = Σ_OUT |w|^2'",)

    Raises what ``derive`` raises for what the request asks.
    """
    request = document["request"]
    f, g, out = request["activation"], request["regularizer"], request["regularizer_out"]
    inside, outside = _cost(g), None if out is None else _cost(out)
    if is_gate(f["text"]):
        gate = Gate.parse(f["text"], f["assumptions"])
        now: Derivation | GateDerivation = derive_gate(gate, inside, regularizer_out=outside)
    else:
        weights, network = request["weights"], request["network"]
        laws = () if network is None else scaling_laws(json_file.from_document(network))
        now = derive(
            Activation.parse(f["text"], f["assumptions"]),
            inside,
            [law.as_json() for law in laws],
            regularizer_out=outside,
            weights=None if weights is None else (weights["in"], weights["out"]),
            network=network,
        )
    fresh = now.as_json()
    compared = {key: value for key, value in document.items() if key in fresh}
    return Recheck(now, tuple(_differences(compared, fresh, "")))


def _cost(told: Mapping[str, Any]) -> Regularizer | Norm:
    return cost(told["text"], told["assumptions"])


def _differences(stored: Any, now: Any, where: str) -> Iterator[str]:
    """Each place where two answers differ, those of wording aside."""
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*stored, *now]):
            if key in _WORDING:
                continue
            place = f"{where}.{key}" if where else str(key)
            if key == "verdict" and _stronger(stored.get(key), now.get(key)):
                continue
            if (key in stored) != (key in now):
                yield f"{place}: {'no longer there' if key in stored else 'not in the file'}"
            else:
                yield from _differences(stored[key], now[key], place)
    elif isinstance(stored, list | tuple) and isinstance(now, list | tuple):
        for i, (a, b) in enumerate(zip(stored, now, strict=False)):
            yield from _differences(a, b, _item(where, i, b))
        if len(stored) != len(now):
            yield f"{where}: {len(stored)} stored, now {len(now)}"
    elif stored != now:
        yield f"{where}: stored {_short(stored)}, now {_short(now)}"


def _stronger(stored: Any, now: Any) -> bool:
    names = Verdict.__members__
    return stored in names and now in names and names[now] >= names[stored]


def _item(where: str, i: int, now: Any) -> str:
    """Steps are counted from 1, as in the documents, and called by their claim."""
    if where == "steps" and isinstance(now, Mapping):
        return f"step {i + 1} ({now['claim']})"
    return f"{where}[{i}]"


def _short(value: Any) -> str:
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
