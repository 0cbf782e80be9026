"""The report of ``verify --html``: one page that opens from disk, without scripts and without a network."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Protocol, TypedDict

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from balproof.report.formulas import as_html
from balproof.report.plots import convergence_figure, imbalance_figure
from balproof.verdict import Verdict

MEANINGS = (
    ("refuted", "a counterexample was checked"),
    ("undecided", "nothing was shown"),
    ("sampled", "floating point agreed on some instances"),
    ("certified", "instances were settled, exactly or with every rounding bounded"),
    ("proved", "all instances are settled, by checked symbolic steps or a solver's proof"),
    ("formal", "a proof assistant has checked it"),
)

_MARKS = {"refuted": "✗", "undecided": "?", "sampled": "≈", "certified": "◆", "proved": "✓", "formal": "✓✓"}

_GROUPS = (
    ("B", "A theory of synaptic neural balance"),
    ("S", "Synaptic balancing of recurrent networks"),
    ("R", "Related results"),
)


class Reported(Protocol):
    """What this page needs of a record: the fields of ``verify --json``."""

    def as_json(self) -> dict[str, Any]: ...


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
    sources: Mapping[str, str] | None = None,
    source_root: str | None = None,
) -> str:
    """The page as a string.

    ``sources`` says in which file the function of each claim is written; with ``source_root``, a path or
    address to which these files are relative, they become links.
    """
    claims = [_claim(r.as_json(), sources or {}, source_root) for r in records]
    anchors = {c["id"]: c["anchor"] for c in claims}
    for c in claims:
        c["uses"] = [{"id": name, "anchor": anchors.get(name)} for name in c["depends"]]
    groups = [
        {
            "title": title,
            "anchor": f"group-{letter}",
            "claims": [c for c in claims if c["id"].startswith(f"{letter}.")],
        }
        for letter, title in _GROUPS
    ]
    environment = Environment(
        loader=PackageLoader("balproof.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["formulas"] = _formulas
    return (
        environment.get_template("verify.html.j2")
        .render(
            version=importlib.metadata.version("balproof"),
            claims=claims,
            groups=[g for g in groups if g["claims"]],
            counts=_counts(claims),
            networks=[_network(n, i) for i, n in enumerate(networks, 1)],
            meanings=MEANINGS,
            marks=_MARKS,
        )
        .lstrip()
    )


def _formulas(text: str) -> Markup:
    return Markup(as_html(text))  # noqa: S704 as_html escapes everything but the markup it makes


def _claim(json: dict[str, Any], sources: Mapping[str, str], root: str | None) -> dict[str, Any]:
    file = sources.get(json["id"])
    href = f"{root.rstrip('/')}/{file}" if file and root is not None else None
    return {**json, "anchor": _anchor("claim", json["id"]), "file": file, "href": href}


def _anchor(kind: str, name: str) -> str:
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}"


def _counts(claims: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    required = [c for c in claims if c["required"]]
    exact = [Verdict[c["exact"]["verdict"]] for c in claims]
    printed = [Verdict[c["printed"]["verdict"]] for c in claims]
    return [
        ("claims", str(len(claims))),
        ("as required", f"{sum(c['ok'] for c in required)} of {len(required)}"),
        ("exact statements proved", str(sum(v >= Verdict.proved for v in exact))),
        ("certified on instances", str(sum(v is Verdict.certified for v in exact))),
        ("printed claims refuted", str(sum(v is Verdict.refuted for v in printed))),
        ("not checked yet", str(sum(v is Verdict.undecided for v in exact))),
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
