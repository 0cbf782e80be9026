"""Which claim uses which: a picture as inline SVG, whose boxes are links to the sections.

From left to right, what is used before what uses it. The verdict is said in words and with a mark, and
shown by the colour and the kind of outline as well.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from balproof.report.claims import MARKS
from balproof.report.layout import Layout, Point, layered

_CHARACTER, _HEIGHT, _PAD, _EDGE = 6.95, 38.0, 9.0, 4.0
_DASHES = {"refuted": "6 3", "undecided": "1 4", "sampled": "2 3", "certified": "10 3"}
"""Outlines; proved and formal have a whole line."""


def dependency_svg(claims: Sequence[Mapping[str, Any]], *, name: str = "uses") -> str:
    """Boxes for the claims of `balproof.report.claims.view` that use others or are used; "" for none.

    >>> dependency_svg([])
    ''
    """
    linked = [c for c in claims if any(u["anchor"] for u in c["uses"]) or c["used_by"]]
    if not linked:
        return ""
    place = {c["id"]: i for i, c in enumerate(linked)}
    edges = [(place[u["id"]], place[c["id"]]) for c in linked for u in c["uses"] if u["anchor"]]
    # `layered` goes down: width and height change places.
    sizes = [(_HEIGHT, _width(c)) for c in linked]
    layout = layered(sizes, edges)
    width, height = layout.height + 2 * _EDGE, layout.width + 2 * _EDGE
    about = f"{len(linked)} claims and {len(edges)} arrows, from each claim to those that use it."
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    tip = f'marker-end="url(#{name}-tip)"'
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="uses" role="group" {size}',
        f'aria-labelledby="{name}-name {name}-about">',
        f'<title id="{name}-name">Which claim uses which</title><desc id="{name}-about">{about}</desc>',
        f'<defs><marker id="{name}-tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"',
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>',
        '<g class="edges" aria-hidden="true" fill="none" stroke="currentColor">',
    ]
    pieces += [f'<path d="{_path(way)}" {tip}/>' for way in layout.ways]
    pieces += ["</g>", *(_box(c, layout, i) for i, c in enumerate(linked)), "</svg>"]
    return "\n".join(pieces)


def _second(claim: Mapping[str, Any]) -> str:
    exact, printed = claim["exact"]["verdict"], claim["printed"]["verdict"]
    return f"{MARKS[exact]} {exact}" + (f", printed {MARKS[printed]}" if printed != exact else "")


def _width(claim: Mapping[str, Any]) -> float:
    return max(len(claim["id"]), len(_second(claim))) * _CHARACTER + 2 * _PAD


def _box(claim: Mapping[str, Any], layout: Layout, i: int) -> str:
    y, x = layout.centres[i]
    width = _width(claim)
    left, top = x - width / 2 + _EDGE, y - _HEIGHT / 2 + _EDGE
    exact, printed = claim["exact"]["verdict"], claim["printed"]["verdict"]
    dash = f' stroke-dasharray="{_DASHES[exact]}"' if exact in _DASHES else ""
    label = html.escape(f"{claim['id']}: exact statement {exact}, as printed {printed}")
    return (
        f'<a href="#{claim["anchor"]}" class="{exact}" aria-label="{label}">'
        f"<title>{html.escape(claim['title'])}</title>"
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_HEIGHT}" rx="6"{dash}/>'
        f'<text x="{left + _PAD:.1f}" y="{top + 15.5:.1f}" class="name">{html.escape(claim["id"])}</text>'
        f'<text x="{left + _PAD:.1f}" y="{top + 30.5:.1f}">{html.escape(_second(claim))}</text></a>'
    )


def _path(way: Sequence[Point]) -> str:
    """Straight along a lane, bent elsewhere; the way goes down in the layout and to the right here."""
    turned = [(y + _EDGE, x + _EDGE) for x, y in way]
    commands = [f"M{turned[0][0]:.1f} {turned[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in zip(turned, turned[1:]):
        half = (x0 + x1) / 2
        if abs(x1 - x0) < 0.05 and abs(y1 - y0) < 0.05:
            continue
        bend = f"C{half:.1f} {y0:.1f} {half:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        commands.append(f"H{x1:.1f}" if abs(y0 - y1) < 0.05 else bend)
    return "".join(commands)
