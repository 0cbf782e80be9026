"""A network with its scale groups as a picture, for ``inspect --graph``.

Results that have the same free scales have one colour, what is pinned is grey, and an operation that pins
something is outlined in red. matplotlib draws; the layout is `balproof.report.layout`.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache
from math import log2
from pathlib import Path
from typing import Any, NamedTuple

from balproof.errors import RequestError
from balproof.importers.files import write_atomically
from balproof.network.graph import Network
from balproof.network.groups import Groups, scale_groups
from balproof.report.boxes import Box, Line, boxes, dead_columns, members, pinned
from balproof.report.layout import Layout, layered
from balproof.report.plots import render

KINDS = ("svg", "png", "pdf")
MAX_OPERATIONS = 1500

_INK, _GREY, _PALE, _RED = "#1c2227", "#7d868d", "#eef0f1", "#c21f1f"
_SIZE = {"name": 8.5, "kind": 7.5, "parameter": 7.0, "scale": 7.5, "blocks": 7.5}
_PAD, _LEAD, _BAR = 6.0, 1.32, 5.0
_MARGIN, _LEGEND, _SWATCH = 18.0, 36.0, 14.0
_PIXELS = 60_000  # the longest side that the rasteriser takes
_PAGE = 200  # inches: the longest page of a PDF
_DPI = (160, 60)  # as it should be, and the least in which the text can still be read


def check_graph_path(path: str | Path) -> str:
    """``svg``, ``png`` or ``pdf``, by the suffix of the path; to be asked before any work is done.

    >>> check_graph_path("net.PDF")
    'pdf'

    Raises RequestError for another suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix.removeprefix(".") not in KINDS:
        raise RequestError(
            f"a picture cannot be written as {suffix or 'a file without suffix'!r}",
            "end it in .svg, .png or .pdf",
        )
    return suffix.removeprefix(".")


def save_graph(path: str | Path, network: Network) -> None:
    """Draw a network and write the picture; the file is replaced whole or not at all.

    Raises RequestError for another suffix than .svg, .png and .pdf, for more operations than can be shown,
    and for a picture that is too large for its form.
    """
    kind = check_graph_path(path)
    figure = draw(network, scale_groups(network))
    width, height = figure.get_size_inches()
    dpi = min(_DPI[0], int(_PIXELS / max(width, height)))
    if (kind == "png" and dpi < _DPI[1]) or (kind == "pdf" and max(width, height) > _PAGE):
        raise RequestError(f"the picture is too large for a .{kind}", "write it as .svg")
    content = render(figure, kind, "graph", "white", dpi)
    if kind == "svg":
        content = content.replace(b"'DejaVu Sans'", b"'DejaVu Sans', sans-serif")
    write_atomically(Path(path), content)


def draw(network: Network, groups: Groups) -> Any:
    """The picture as a matplotlib figure of its own, without pyplot.

    >>> from balproof.importers import load
    >>> net = load("tests/data/chain.json")
    >>> len(draw(net, scale_groups(net)).axes)
    1

    Raises RequestError for a network of more than 1500 operations.
    """
    if len(network.operations) > MAX_OPERATIONS:
        raise RequestError(
            f"the network has {len(network.operations)} operations, and {MAX_OPERATIONS} can be drawn",
            "leave --graph out, or draw a network of the same kind with fewer blocks",
        )
    shown, edges = boxes(network, groups)
    layout = layered([_box_size(box) for box in shown], edges)
    legend = _legend(groups)
    legend_width = max(_width(row.text, row.size) for row in legend) + _SWATCH
    height = max(layout.height, sum(row.lead for row in legend)) + 2 * _MARGIN
    width = layout.width + _LEGEND + legend_width + 2 * _MARGIN
    axes = _canvas(width, height)
    for (u, _), way in zip(edges, layout.ways, strict=True):
        _draw_edge(axes, way, groups, shown[u].tensor)
    for i, box in enumerate(shown):
        _draw_box(axes, box, layout, i, groups)
    _draw_legend(axes, legend, layout.width + _LEGEND + _MARGIN)
    return axes.figure


def _canvas(width: float, height: float) -> Any:
    """Axes over the whole of a figure, one unit a point, y downwards."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return axes


# --- colours --------------------------------------------------------------------------------------------


def colour(part: int, light: float = 0.4) -> str:
    """The colour of a group: hues by the golden ratio, so that groups near one another differ much.

    >>> colour(0) == colour(1)
    False
    """
    hue = (0.56 + part * 0.6180339887498949) % 1.0
    # Yellow and green look lighter than blue at the same lightness.
    eye = light - 0.09 * (1 - light) * (0.1 < hue < 0.5)
    red, green, blue = colorsys.hls_to_rgb(hue, eye, (0.69, 0.5)[part % 2])
    return "#" + "".join(f"{round(255 * v):02x}" for v in (red, green, blue))


def _colours(groups: Groups, name: str, light: float = 0.4) -> list[str]:
    """One for each group of a tensor, and grey for what is pinned."""
    scale, grey = groups.tensors[name], _GREY if light < 0.7 else _PALE
    found = [colour(p, light) for p in groups.parts[name]]
    return [*found, grey] if scale.pinned or not found else found


# --- boxes and edges -------------------------------------------------------------------------------------


@cache
def _font(bold: bool) -> tuple[Any, frozenset[int]]:
    """A face to measure with, and the characters that it has."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    weight = "bold" if bold else "normal"
    face = get_font(fontManager.findfont(FontProperties(family=["DejaVu Sans"], weight=weight)))
    return face, frozenset(face.get_charmap())


def _plain(text: str, bold: bool = False) -> str:
    """What the font can show; anything else is a replacement character."""
    known = _font(bold)[1]
    return "".join(c if ord(c) in known and c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@cache
def _width(text: str, size: float, bold: bool = False) -> float:
    """Points, with room for the font of another program."""
    from matplotlib.ft2font import LoadFlags

    face, _ = _font(bold)
    face.set_size(100.0, 72)
    face.set_text(_plain(text, bold), 0.0, flags=LoadFlags.NO_HINTING)
    return face.get_width_height()[0] / 64 * size / 100 * 1.04


def _line_size(line: Line) -> float:
    return _SIZE[line.style]


def _box_size(box: Box) -> tuple[float, float]:
    width = max(_width(x.text, _line_size(x), x.style == "name") for x in box.lines)
    height = sum(_line_size(x) * _LEAD for x in box.lines)
    return width + 2 * _PAD + _BAR, height + (_PAD if box.shape == "operation" else 0.6 * _PAD)


def _draw_box(axes: Any, box: Box, layout: Layout, i: int, groups: Groups) -> None:
    from matplotlib.patches import FancyBboxPatch, Rectangle

    (x, y), (width, height) = layout.centres[i], _box_size(box)
    x, y = x + _MARGIN, y + _MARGIN
    left, top = x - width / 2, y - height / 2
    strong, tints = _colours(groups, box.tensor), _colours(groups, box.tensor, 0.93)
    corner = height / 2 if box.shape == "end" and len(box.lines) == 1 else 2.5
    fill = tints[0] if len(tints) == 1 else "white"
    edge = _RED if box.blocks else strong[0] if len(strong) == 1 else _INK
    outline = FancyBboxPatch(
        (left, top), width, height, boxstyle=f"round,pad=0,rounding_size={corner}",
        facecolor=fill, edgecolor=edge, linewidth=1.8 if box.blocks else 0.8,
    )  # fmt: skip
    axes.add_patch(outline)
    if box.shape != "end":
        step = height / len(strong)
        for k, c in enumerate(strong):
            bar = Rectangle((left, top + k * step), _BAR, step, facecolor=c, edgecolor="none")
            axes.add_patch(bar)
            bar.set_clip_path(outline)
    at = y - sum(_line_size(line) * _LEAD for line in box.lines) / 2
    for line in box.lines:
        ink = {
            "scale": strong[0] if len(strong) == 1 else _INK,
            "blocks": _RED,
            "kind": _INK,
            "parameter": "#4b555d",
        }.get(line.style, _INK)
        at += _line_size(line) * _LEAD
        _text(axes, left + _PAD + (_BAR if box.shape != "end" else _BAR / 2), at, line.text, _line_size(line),
              ink, bold=line.style == "name")  # fmt: skip


def _text(
    axes: Any, x: float, baseline: float, text: str, size: float, ink: str, *, bold: bool = False
) -> None:
    weight = "bold" if bold else "normal"
    axes.text(
        x, baseline - 0.28 * size, _plain(text, bold), fontsize=size, color=ink, fontweight=weight,
        fontfamily=["DejaVu Sans"], va="baseline", ha="left", parse_math=False,
    )  # fmt: skip


def _draw_edge(axes: Any, way: Sequence[tuple[float, float]], groups: Groups, tensor: str) -> None:
    """The line of one tensor: straight where x stays, bent elsewhere, thicker with more free scales."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    points = [(x + _MARGIN, y + _MARGIN) for x, y in way]
    colours = _colours(groups, tensor)
    ink, wide = colours[0] if len(colours) == 1 else _INK, thickness(len(groups.tensors[tensor].columns))
    (x, y), size = points[-1], 3.4 + wide
    points[-1] = (x, y - size)
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if abs(x0 - x1) < 0.05:
            vertices.append((x1, y1))
            codes.append(Curve.LINETO)
        else:
            half = (y0 + y1) / 2
            vertices += [(x0, half), (x1, half), (x1, y1)]
            codes += [Curve.CURVE4] * 3
    line = Curve(vertices, codes)
    axes.add_patch(
        PathPatch(line, facecolor="none", edgecolor=ink, linewidth=wide, capstyle="butt", joinstyle="round")
    )
    tip = [(x - 0.6 * size, y - size), (x, y), (x + 0.6 * size, y - size), (x, y)]
    head = Curve(tip, [Curve.MOVETO, Curve.LINETO, Curve.LINETO, Curve.CLOSEPOLY])
    axes.add_patch(PathPatch(head, facecolor=ink, edgecolor="none"))


def thickness(count: int) -> float:
    """Points for an edge along which this many free scales flow.

    >>> thickness(0) < thickness(1) < thickness(2048) < 4
    True
    """
    return 0.7 if count == 0 else 0.9 + 0.25 * log2(count)


# --- the legend --------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    text: str
    size: float
    ink: str
    swatch: str | None = None
    lead: float = 11.0
    bold: bool = False


def _legend(groups: Groups) -> list[_Row]:
    free, dead = groups.manifold.free_scales, dead_columns(groups)
    rows = [
        _Row(f"{free} free scale{'' if free == 1 else 's'}", 9.5, _INK, None, 14.0, True),
    ]
    if (idle := groups.manifold.count - free) > 0:
        rows.append(_Row(f"{idle} more, or as many combinations, move no weight.", 7.5, _INK))
    if groups.groups:
        rows.append(_Row("One colour: the same free scales.", 7.5, _INK))
        rows.append(_Row("Thicker line: more of them flow.", 7.5, _INK))
    for part in range(len(groups.groups)):
        first, *rest = members(groups, dead, part)
        rows.append(_Row(f"{part + 1}  {first}", 8.0, _INK, colour(part), 16.0))
        rows += [_Row(text, 7.0, _RED if ":" in text else "#4b555d", lead=10.0) for text in rest]
    reasons = pinned(groups)
    if reasons:
        rows.append(_Row("pinned", 8.0, _INK, _GREY, 16.0))
        rows += [_Row(text, 7.0, _RED if blamed else "#4b555d", lead=10.0) for text, blamed in reasons]
    if any(blamed for _, blamed in reasons):
        rows.append(_Row("Red outline: the operation that pins.", 7.5, _RED, lead=16.0))
    return rows


def _draw_legend(axes: Any, rows: Sequence[_Row], left: float) -> None:
    from matplotlib.patches import Rectangle

    at = _MARGIN
    for row in rows:
        at += row.lead
        if row.swatch:
            axes.add_patch(Rectangle((left, at - 8.5), 9, 9, facecolor=row.swatch, edgecolor="none"))
        _text(axes, left + _SWATCH, at, row.text, row.size, row.ink, bold=row.bold)
