"""JSON as text: read strictly, and written with one line for each list of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from balproof.errors import ModelError
from balproof.importers.files import first_line


class Decimal(float):
    """A number with a point or an exponent, and how it is written in the file."""

    text: str

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.text = text
        return self


def parse_object(content: bytes, where: str) -> dict[str, Any]:
    """An object of JSON.

    Raises ModelError for anything else, duplicate keys, NaN and infinity.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ModelError(f"{where} has the key {key!r} twice in one object", "remove one of them")
            found[key] = value
        return found

    marks: list[_NotFinite] = []

    def mark(literal: str) -> _NotFinite:
        marks.append(_NotFinite(literal))
        return marks[-1]

    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=unique, parse_constant=mark, parse_float=Decimal
        )
    except RecursionError:
        raise ModelError(f"{where} is nested too deeply", "nest lists less deeply") from None
    except ValueError as error:  # no JSON, no UTF-8, or an integer of thousands of digits
        raise ModelError(f"{where} is no intact JSON ({first_line(error)})", "repair the file") from None
    if marks:
        place = _place(document, marks[0])
        raise ModelError(f"{where} contains {marks[0].literal}, as {place}", "give finite numbers")
    if not isinstance(document, dict):
        raise ModelError(f"{where} holds no object", 'give one, {"name": ...}')
    return document


@dataclass(frozen=True, eq=False)
class _NotFinite:
    """What stands for NaN or an infinity until its place is known."""

    literal: str


def _place(document: object, mark: _NotFinite) -> str:
    """Where in a document a mark is: ``parameters.w[0,1]``."""
    stack: list[tuple[str, object]] = [("", document)]
    while stack:
        path, value = stack.pop()
        if value is mark:
            return path.replace("][", ",") or "all of it"
        if isinstance(value, dict):
            stack += [(f"{path}.{key}" if path else str(key), own) for key, own in value.items()]
        elif isinstance(value, list):
            stack += [(f"{path}[{i}]", own) for i, own in enumerate(value)]
    return "a value that is given twice"


def pretty(node: Any, indent: str) -> Iterator[str]:
    """JSON with one line for each list of numbers, and numbers as they were written."""
    deeper = indent + "  "
    if isinstance(node, Mapping) and node:
        yield "{"
        for i, (key, value) in enumerate(node.items()):
            yield f"{',' if i else ''}\n{deeper}{json.dumps(key)}: "
            yield from pretty(value, deeper)
        yield f"\n{indent}}}"
    elif isinstance(node, list) and any(isinstance(x, Mapping | list) for x in node):
        yield "["
        for i, value in enumerate(node):
            yield f"{',' if i else ''}\n{deeper}"
            yield from pretty(value, deeper)
        yield f"\n{indent}]"
    elif isinstance(node, list):
        yield "[" + ", ".join("".join(pretty(x, "")) for x in node) + "]"
    else:
        yield node.text if isinstance(node, Decimal) else json.dumps(node, allow_nan=False)
