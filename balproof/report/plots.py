"""Figures with matplotlib: inline SVG for reports, files for ``solve --plot``.

No window, no pyplot and no global figure; matplotlib is imported when a figure is drawn.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from balproof.errors import RequestError
from balproof.importers.files import write_atomically

COLOURS = ("#0e82b8", "#c2593a", "#3f8a4f", "#9a5fb5", "#9b7600", "#b5507c")
"""Each has a contrast of at least 3 to white and to the dark background of the report."""

STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
INK = "#010203"  # replaced by currentColor in inline figures, so that they follow dark and light
_FLOOR = 1e-17
"""Imbalances of exactly 0 are drawn here, on a logarithmic axis."""


def convergence_figure(
    histories: Mapping[int, Sequence[float]], optimum: float, *, name: str = "convergence"
) -> str:
    """R − R* after each sweep, one line per seed, as an inline SVG whose ids begin with ``name``.

    Differences that are not positive (at the optimum, up to rounding) are left out.

    >>> "<title" in convergence_figure({0: [2.0, 1.5, 1.1]}, 1.0)
    True
    """
    figure = blank(5.4, 3.5)
    _draw_convergence(figure.subplots(), histories, optimum)
    sweeps = max((len(h) - 1 for h in histories.values()), default=0)
    return inline(
        figure,
        name,
        "Convergence of stochastic balancing",
        f"The cost R less its optimum R* = {optimum:.6g} on a logarithmic axis, over up to {sweeps} "
        f"sweeps, one line for each of the seeds {', '.join(str(s) for s in histories)}.",
    )


def imbalance_figure(before: Sequence[float], after: Sequence[float], *, name: str = "imbalance") -> str:
    """The relative imbalance of every unit before and after balancing, as an inline SVG.

    >>> "<desc" in imbalance_figure([0.5, 0.1], [0.0, 1e-16])
    True
    """
    figure = blank(5.4, 3.5)
    _draw_imbalances(figure.subplots(), before, after)
    return inline(
        figure,
        name,
        "Imbalance of the units before and after balancing",
        f"{len(before)} units on a logarithmic axis, in ascending order: the largest imbalance is "
        f"{max(before, default=0.0):.2g} before and {max(after, default=0.0):.2g} after.",
    )


def save_plot(
    path: str | Path,
    history: Sequence[float],
    optimum: float,
    before: Sequence[float],
    after: Sequence[float],
) -> None:
    """Write both figures of one solve, side by side, to an ``.svg`` or ``.png`` file.

    ``history`` holds the cost after each sweep. The file is replaced whole or not at all.

    Raises RequestError for another suffix.
    """
    kind = check_plot_path(path)
    figure = blank(10.0, 4.0)
    left, right = figure.subplots(1, 2)
    _draw_convergence(left, {0: history}, optimum)
    _draw_imbalances(right, before, after)
    write_atomically(Path(path), render(figure, kind, "plot", "white"))


def save_layers(
    path: str | Path, layers: Sequence[str], before: Sequence[float], after: Sequence[float], limit: float
) -> None:
    """Write the imbalance of every unit before and after, layer by layer, to an ``.svg`` or ``.png`` file.

    ``layers`` names the layer of each unit; below the line at ``limit`` a unit counts as balanced. The file
    is replaced whole or not at all.

    Raises RequestError for another suffix.
    """
    kind = check_plot_path(path)
    order = list(dict.fromkeys(layers))
    figure = blank(min(40.0, 4.0 + 0.35 * len(order)), 4.4)
    axes = figure.subplots()
    place = np.array([order.index(layer) for layer in layers], dtype=float)
    for i, (values, label, marker, aside) in enumerate(
        ((before, "before", "o", -0.15), (after, "after", "^", 0.15))
    ):
        shown = np.maximum(np.asarray(values, float), _FLOOR)
        axes.plot(place + aside, shown, marker, ms=3.5, alpha=0.6, color=COLOURS[i], label=label)
    axes.axhline(limit, color=INK, linewidth=0.8, linestyle="--", label=f"balanced: at most {limit:.1g}")
    log_axis(axes)
    axes.set_xticks(range(len(order)), order, rotation=90 if len(order) > 6 else 0)
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_ylabel("relative imbalance")
    figure.legend(frameon=False, labelcolor=INK, loc="outside upper center", ncols=3)
    paint(axes)
    write_atomically(Path(path), render(figure, kind, "layers", "white"))


def save_drawing(path: str | Path, draw: Callable[[Any], None], width: float, height: float) -> None:
    """Write what ``draw`` puts into an empty figure, in our colours, to an .svg, .png or .pdf file.

    The file is replaced whole or not at all.

    Raises RequestError for another suffix.
    """
    import matplotlib as mpl
    from cycler import cycler

    kind = check_plot_path(path, "svg", "png", "pdf")
    with mpl.rc_context({"axes.prop_cycle": cycler(color=COLOURS), "font.family": ["DejaVu Sans"]}):
        figure = blank(width, height)
        draw(figure)
        for axes in figure.axes:
            paint(axes)
        content = render(figure, kind, "study", "white")
    write_atomically(Path(path), content)


def check_plot_path(path: str | Path, *kinds: str) -> str:
    """``svg`` or ``png`` (or one of ``kinds``), by the suffix of the path; to be asked before any work.

    >>> check_plot_path("a.SVG")
    'svg'

    Raises RequestError for another suffix.
    """
    suffix, known = Path(path).suffix.lower(), [f".{kind}" for kind in kinds or ("svg", "png")]
    if suffix not in known:
        raise RequestError(
            f"a plot cannot be written as {suffix or 'a file without suffix'!r}",
            f"end it in {', '.join(known[:-1])} or {known[-1]}",
        )
    return suffix.removeprefix(".")


# --- drawing ------------------------------------------------------------------------------------------


def blank(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_convergence(axes: Any, histories: Mapping[int, Sequence[float]], optimum: float) -> None:
    for i, (seed, history) in enumerate(histories.items()):
        above = np.asarray(history, float) - optimum
        sweeps = np.arange(len(above))[above > 0]
        label = f"seed {seed}" if len(histories) > 1 else None
        style = STYLES[i % len(STYLES)]
        axes.plot(sweeps, above[above > 0], linestyle=style, color=COLOURS[i % len(COLOURS)], label=label)
    log_axis(axes)
    axes.set_xlabel("sweeps" if len(histories) > 1 else "sweeps or steps")  # one is that of any method
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("R − R*")
    if len(histories) > 1:
        axes.legend(frameon=False, labelcolor=INK)
    paint(axes)


def _draw_imbalances(axes: Any, before: Sequence[float], after: Sequence[float]) -> None:
    for i, (values, label, marker) in enumerate(((before, "before", "o"), (after, "after", "^"))):
        ascending = np.maximum(np.sort(np.asarray(values, float)), _FLOOR)
        axes.plot(np.arange(1, len(ascending) + 1), ascending, marker, ms=4, color=COLOURS[i], label=label)
    log_axis(axes)
    axes.set_xlabel("units, in ascending order")
    axes.set_ylabel("relative imbalance")
    axes.legend(frameon=False, labelcolor=INK, loc="center right")
    paint(axes)


def log_axis(axes: Any) -> None:
    axes.set_yscale("log")
    axes.margins(y=0.08)
    axes.grid(visible=True, axis="y", color=INK, alpha=0.15, linewidth=0.8)


def paint(axes: Any) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, which="both")
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))


def render(figure: Any, kind: str, salt: str, background: str, dpi: int = 160) -> bytes:
    """A figure as the bytes of a file (svg, png or pdf), the same ones on every day."""
    import matplotlib as mpl

    stream = io.BytesIO()
    settings: dict[Any, Any] = {"svg.hashsalt": salt, "svg.fonttype": "none", "font.family": ["DejaVu Sans"]}
    if kind == "svg":  # nothing in it depends on the day or the version
        extra: dict[str, Any] = {"metadata": dict.fromkeys(("Date", "Creator", "Format", "Type"))}
    elif kind == "pdf":
        extra = {"metadata": dict.fromkeys(("CreationDate", "Creator", "Producer"))}
    else:
        extra = {"dpi": dpi, "metadata": {"Software": None}}
    with mpl.rc_context(settings):
        figure.savefig(stream, format=kind, facecolor=background, **extra)
    return stream.getvalue()


def inline(figure: Any, name: str, title: str, description: str) -> str:
    """The SVG element alone, with a title and description for screen readers, in the reader's colours."""
    text = render(figure, "svg", f"balproof-{name}", "none").decode()
    body = text[text.index("<svg") :]
    # The style element would reach beyond the figure into the page.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = body.replace(INK, "currentColor")
    body = body.replace("'DejaVu Sans'", "'DejaVu Sans', sans-serif")
    size = re.search(r'viewBox="([^"]*)"', body)
    assert size is not None
    label = f'role="img" aria-labelledby="{name}-title {name}-desc"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="figure" '
        f'viewBox="{size.group(1)}" {label}>\n<title id="{name}-title">{html.escape(title)}</title>\n'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    # matplotlib calls the parts figure_1, axes_1, …: two figures on a page need names of their own.
    inside = body[body.index(">") + 1 :]
    inside = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", inside)
    return head + inside.strip()
