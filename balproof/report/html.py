"""The report of ``verify --html``: one page that opens from disk, and is whole without script and network."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from balproof.report.claims import (
    GROUPS,
    MARKS,
    MEANINGS,
    Origin,
    Reported,
    counts,
    groups,
    summary,
    versions,
    view,
)
from balproof.report.dependencies import dependency_svg
from balproof.report.formulas import as_html
from balproof.report.pictures import Picture
from balproof.report.plain import as_plain
from balproof.report.plots import convergence_figure, imbalance_figure


class Solve(TypedDict):
    """A row of the table of solves; None is shown as a dash.

    ``difference`` is the largest relative difference of a weight to the certified optimum.
    """

    regularizer: str
    method: str
    seed: int | None
    cost: float
    imbalance: float
    gap: float | None
    difference: float | None


class NetworkReport(TypedDict):
    """What was found on a real network. ``inspect`` and ``check`` are the answers of these commands.

    ``histories`` holds, by seed, the cost after each sweep of stochastic balancing, and ``optimum`` the
    certified least cost of the same regularizer; ``before`` and ``after`` the units' imbalances.
    """

    name: str
    solves: Sequence[Solve]
    description: NotRequired[str]
    accuracy: NotRequired[float]
    inspect: NotRequired[Mapping[str, Any]]
    check: NotRequired[Mapping[str, Any]]
    function_difference: NotRequired[float]
    histories: NotRequired[Mapping[int, Sequence[float]]]
    optimum: NotRequired[float]
    before: NotRequired[Sequence[float]]
    after: NotRequired[Sequence[float]]


def render_report(
    records: Sequence[Reported],
    networks: Sequence[NetworkReport] = (),
    *,
    origin: Origin | None = None,
    figures: Sequence[Picture] = (),
    date: str = "",
) -> str:
    """The page as a string: one file that opens from disk, complete without its script.

    ``origin`` says where claims are checked, and how their files are linked; ``date`` is shown as it is.
    """
    claims = view(records, origin or Origin())
    environment = Environment(
        loader=PackageLoader("balproof.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    anchors = {c["id"]: c["anchor"] for c in claims}

    def formulas(text: str) -> Markup:
        return _formulas(text, anchors)

    environment.filters["formulas"] = formulas
    environment.filters["plain"] = as_plain
    script = _template_file(environment, "verify.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment.get_template("verify.html.j2")
        .render(
            version=importlib.metadata.version("balproof"),
            date=date,
            claims=claims,
            groups=groups(claims),
            counts=counts(claims),
            sentences=summary(claims),
            choices=_choices(claims),
            graph=Markup(dependency_svg(claims)),  # noqa: S704 escaped where it is made
            alone=[c for c in claims if not c["used_by"] and not any(u["anchor"] for u in c["uses"])],
            figures=[{**f._asdict(), "svg": Markup(f.svg)} for f in figures],  # noqa: S704 our own figures
            networks=[_network(n, i) for i, n in enumerate(networks, 1)],
            meanings=MEANINGS,
            marks=MARKS,
            versions=versions(),
            style=Markup(_template_file(environment, "verify.css")),  # noqa: S704 our own file
            script=Markup(script),  # noqa: S704 our own file
            digest=digest,
        )
        .lstrip()
    )


def _template_file(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return "\n" + environment.loader.get_source(environment, name)[0]


def _formulas(text: str, anchors: Mapping[str, str]) -> Markup:
    """Formulas as MathML, and the names of claims of this page as links."""

    def link(match: re.Match[str]) -> str:
        name = match[0]
        return f'<a href="#{anchors[name]}">{name}</a>' if name in anchors else name

    linked = re.sub(r"\b[A-Z]\.[a-z]+(?:-[a-z]+)*\b", link, as_html(text))
    return Markup(linked)  # noqa: S704 as_html escapes everything but the markup it makes


def _choices(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The filters: a name, a label, and the values that occur with how they are shown."""
    order = [v for v, _ in MEANINGS]
    exact, printed = ({c[key]["verdict"] for c in claims} for key in ("exact", "printed"))
    papers = {c["paper"] for c in claims}
    methods = sorted({m for c in claims for m in c["methods"]})
    return [
        {
            "name": "paper",
            "label": "Paper",
            "values": [(a, f"[{a}] {title}") for a, title in GROUPS if a in papers],
        },
        {"name": "printed", "label": "As printed", "values": [(v, v) for v in order if v in printed]},
        {"name": "exact", "label": "Exact statement", "values": [(v, v) for v in order if v in exact]},
        {"name": "methods", "label": "Checked with", "values": [(m, m) for m in methods]},
    ]


def _network(given: NetworkReport, number: int) -> dict[str, Any]:
    anchor = f"network-{number}"
    inspected = given.get("inspect", {})
    facts: list[tuple[str, str]] = []
    if "accuracy" in given:
        facts.append(("test accuracy", f"{100 * given['accuracy']:.1f} %"))
    for key, label in (
        ("parameters", "parameters"),
        ("free_scales", "free scales"),
        ("invariants", "invariants"),
    ):
        if key in inspected:
            facts.append((label, f"{inspected[key]:,}"))
    if "function_difference" in given:
        facts.append(("function changed by", _small(given["function_difference"])))
    figures: list[dict[str, Any]] = []
    if "histories" in given and "optimum" in given:
        svg = convergence_figure(given["histories"], given["optimum"], name=f"{anchor}-convergence")
        caption = (
            "Stochastic balancing: the cost above its certified optimum after each sweep, a line a seed."
        )
        figures.append({"svg": Markup(svg), "caption": caption})  # noqa: S704 our own figure
    if "before" in given and "after" in given:
        svg = imbalance_figure(given["before"], given["after"], name=f"{anchor}-imbalance")
        caption = "Imbalance |in − out|/(in + out) of the units, before and after."
        figures.append({"svg": Markup(svg), "caption": caption})  # noqa: S704 our own figure
    return {
        "anchor": anchor,
        "name": given["name"],
        "description": given.get("description", ""),
        "facts": facts,
        "solves": [_solve(row) for row in given["solves"]],
        "check": _check(given["check"]) if "check" in given else None,
        "figures": figures,
    }


def _solve(row: Solve) -> dict[str, str]:
    return {
        "regularizer": row["regularizer"],
        "method": row["method"],
        "seed": "–" if row["seed"] is None else str(row["seed"]),
        "cost": f"{row['cost']:.10g}",
        "imbalance": _small(row["imbalance"]),
        "gap": _small(row["gap"]),
        "difference": _small(row["difference"]),
    }


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    faults = [
        {
            "kind": f["kind"],
            "where": f["where"],
            "size": f["size"] if isinstance(f["size"], str) else _small(f["size"]),
        }
        for f in check.get("faults", ())
    ]
    return {"verdict": check["verdict"], "ok": check["ok"], "faults": faults}


def _small(value: float | None) -> str:
    """Two digits: ``3.1e−16``, ``0`` or a dash.

    >>> _small(3.14e-16), _small(0.0), _small(None)
    ('3.1e−16', '0', '–')
    """
    if value is None:
        return "–"
    return f"{value:.1e}".replace("e-", "e−").replace("e+", "e") if value else "0"
