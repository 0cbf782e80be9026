"""Running claims and their campaigns, and running again what a report says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from balproof import campaign, theorems
from balproof.campaign import Progress, Result
from balproof.errors import ModelError, RequestError
from balproof.importers.files import read_bytes
from balproof.theorems.campaigns import CAMPAIGNS, Instance
from balproof.theorems.formal import gate_or_reason, strengthened
from balproof.theorems.registry import Claim, Findings, Record, run_claim, select

_LONGEST_REPORT = 200_000_000


@dataclass(frozen=True)
class Task:
    """The record of a claim, or one instance of its campaign. Functions do not travel between processes."""

    claim: str
    instance: Instance | None = None

    @property
    def key(self) -> str:
        return self.claim if self.instance is None else f"{self.claim} {self.instance.key}"


def work(task: Task) -> Result:
    """Do a task, and say what was found as JSON data."""
    if task.instance is not None:
        return CAMPAIGNS[task.claim].run(task.instance)
    record = run_claim(select(theorems.CLAIMS, [task.claim])[0])
    return {"findings": record.findings.as_json(), "seconds": record.seconds}


def run(
    ids: Sequence[str],
    *,
    jobs: int = 1,
    samples: int = 0,
    dask: str | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """What `balproof.theorems.verify` does."""
    if samples < 0:
        raise RequestError(f"{samples} samples", "ask for at least 0")
    claims = [c.claim for c in select(theorems.CLAIMS, ids)]
    instances = {
        c.id: CAMPAIGNS[c.id].family.instances(samples) for c in claims if samples and c.id in CAMPAIGNS
    }
    return _records(claims, instances, jobs, dask, resume, progress)


def _records(
    claims: Sequence[Claim],
    instances: Mapping[str, Sequence[Instance]],
    jobs: int = 1,
    dask: str | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    tasks = [Task(c.id, i) for c in claims for i in (None, *instances.get(c.id, ()))]
    results = campaign.run(
        work,
        {t.key: t for t in tasks},
        jobs=jobs,
        dask=dask,
        resume=resume,
        stamp={"balproof": campaign.version(), "work": "verify"},
        progress=progress,
    )
    records: list[Record] = []
    for c in claims:
        own = results[c.id]
        record = Record(c, Findings.from_json(own["findings"]), own["seconds"])
        if instances.get(c.id):
            tried = {i.key: results[Task(c.id, i).key] for i in instances[c.id]}
            evidence = CAMPAIGNS[c.id].evidence(tried)
            found = replace(record.findings, evidence=(*record.findings.evidence, evidence))
            record = Record(c, found, record.seconds + evidence.seconds)
        records.append(record)
    return records


# --- replaying a report -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A place of a report that says something else than what was found now."""

    where: str
    reported: object
    found: object

    def __str__(self) -> str:
        return f"{self.where}: the file says {_short(self.reported)}, found {_short(self.found)}"


def replay(
    path: Path, *, jobs: int = 1, progress: Progress | None = None
) -> tuple[list[Record], list[Difference]]:
    """Check all claims of a JSON answer of ``balproof verify`` anew, its instances included, and compare
    every statement, verdict, figure and witness; times alone may differ. Where Coq is part of the evidence,
    it checks the theorems anew, too.

    Raises ModelError for a file that is no such answer.
    """
    reported = _read(path)
    ids = [c["id"] for c in reported]
    claims = [c.claim for c in select(theorems.CLAIMS, ids)]
    instances = {c["id"]: _instances(path, c) for c in reported}
    records = _records(claims, instances, jobs=jobs, progress=progress)
    if any(e.get("method") == "coq" for c in reported for e in _evidence(c)):
        records = strengthened(records, gate_or_reason())
    found = {r.claim.id: r.as_json() for r in records}
    return records, [d for c in reported for d in _differences(c["id"], c, found[c["id"]])]


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(read_bytes(path, _LONGEST_REPORT))
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is no JSON", "give a file that balproof verify --json wrote") from None
    claims = document.get("claims") if isinstance(document, dict) else None
    if not isinstance(claims, list) or not claims:
        raise ModelError(f"{path} has no claims", "give a file that balproof verify --json wrote")
    for c in claims:
        if not (isinstance(c, dict) and isinstance(c.get("id"), str) and isinstance(c.get("exact"), dict)):
            raise ModelError(
                f"{path} has a claim without id or exact statement",
                "give a file that balproof verify --json wrote",
            )
    if len({c["id"] for c in claims}) < len(claims):
        raise ModelError(f"{path} has a claim twice", "leave one")
    return claims


def _evidence(reported: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [e for e in reported["exact"].get("evidence") or () if isinstance(e, dict)]


def _instances(path: Path, reported: Mapping[str, Any]) -> list[Instance]:
    """The instances that the evidence of a claim names."""
    named: list[str] = []
    for evidence in _evidence(reported):
        data = evidence.get("data")
        named += data.get("instances") or {} if isinstance(data, dict) else []
    if named and reported["id"] not in CAMPAIGNS:
        raise ModelError(f"{path}: {reported['id']} has no campaign", "remove its instances")
    try:
        return [Instance.of(key) for key in named]
    except ValueError as error:
        raise ModelError(f"{path} names an unknown instance {str(error)[:80]!r}", "remove it") from None


def _differences(where: str, reported: Any, found: Any) -> Iterator[Difference]:
    if isinstance(reported, dict) and isinstance(found, dict):
        for key in dict.fromkeys((*reported, *found)):
            if key == "seconds":
                continue
            if key not in reported or key not in found:
                yield Difference(f"{where}.{key}", reported.get(key), found.get(key))
            else:
                yield from _differences(f"{where}.{key}", reported[key], found[key])
    elif isinstance(reported, list) and isinstance(found, list) and len(reported) == len(found):
        for i, (a, b) in enumerate(zip(reported, found, strict=True)):
            yield from _differences(f"{where}[{i}]", a, b)
    elif reported != found or isinstance(reported, bool) != isinstance(found, bool):
        yield Difference(where, reported, found)


def _short(value: object, length: int = 120) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= length else text[:length] + "…"
