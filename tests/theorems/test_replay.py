"""A report is checked anew from its JSON alone, and what was changed in it is found."""

import copy
import json

import pytest

from balproof.errors import ModelError, RequestError
from balproof.formal import Gate
from balproof.theorems import running
from balproof.theorems.formal import FORMAL, strengthened
from balproof.theorems.running import replay
from balproof.verdict import Verdict
from tests.sweeps import slow_but


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    from balproof.theorems import verify

    records = verify("S.noise", "S.bounds", "B.cost-reduction", samples=3)
    return {"version": "0", "claims": [r.as_json() for r in records], "ok": True}


def write(tmp_path, data):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(data))
    return path


def test_what_was_written_is_found_again(report, tmp_path, monkeypatch):
    """Coq is not asked, since it was not."""
    monkeypatch.setattr(running, "gate_or_reason", lambda: pytest.fail("Coq was asked"))
    records, differences = replay(write(tmp_path, report))
    assert differences == []
    assert [r.claim.id for r in records] == ["B.cost-reduction", "S.bounds", "S.noise"]


def claim_of(data, name):
    return next(c for c in data["claims"] if c["id"] == name)


def instance(data):
    return claim_of(data, "S.bounds")["exact"]["evidence"][-1]["data"]["instances"]


CHANGES = {
    "a figure of a witness": (
        lambda d: claim_of(d, "S.noise")["twins"][0].update(
            witness=claim_of(d, "S.noise")["twins"][0]["witness"].replace("5", "6", 1)
        ),
        "S.noise.twins[0].witness",
    ),
    "a verdict": (
        lambda d: claim_of(d, "S.bounds")["exact"].update(verdict="formal"),
        "S.bounds.exact.verdict",
    ),
    "the printed verdict": (
        lambda d: claim_of(d, "S.noise")["printed"].update(verdict="proved"),
        "S.noise.printed.verdict",
    ),
    "a statement": (
        lambda d: claim_of(d, "S.bounds")["exact"].update(statement="1 = 2"),
        "S.bounds.exact.statement",
    ),
    "the error of an instance": (
        lambda d: next(iter(instance(d).values())).update(error=0.5),
        "S.bounds.exact.evidence",
    ),
    "an outcome": (lambda d: next(iter(instance(d).values())).update(holds=False), "S.bounds.exact.evidence"),
    "a piece of evidence left out": (
        lambda d: claim_of(d, "B.cost-reduction")["exact"]["evidence"].pop(0),
        "B.cost-reduction.exact.evidence",
    ),
    "a field too many": (lambda d: claim_of(d, "S.noise").update(note="x"), "S.noise.note"),
}


@pytest.mark.parametrize(
    "change",
    slow_but(
        CHANGES,
        *("a figure of a witness", "a statement", "the error of an instance", "a piece of evidence left out"),
    ),
)
def test_a_change_is_found(report, tmp_path, change):
    make, where = CHANGES[change]
    claims = [c for c in report["claims"] if where.startswith(c["id"])]  # the others take time
    data = copy.deepcopy({**report, "claims": claims})
    make(data)
    assert data["claims"] != claims
    _, differences = replay(write(tmp_path, data))
    assert [d for d in differences if d.where.startswith(where)]
    assert "the file says" in str(differences[0])


def test_what_coq_checked_is_checked_again(tmp_path, monkeypatch):
    from balproof.theorems import verify

    whole = Gate((), dict.fromkeys(FORMAL["B.cost-reduction"].theorems, ""))
    records = strengthened(verify("B.cost-reduction"), whole)
    path = write(tmp_path, {"claims": [r.as_json() for r in records]})
    monkeypatch.setattr(running, "gate_or_reason", lambda: whole)
    again, differences = replay(path)
    assert differences == []
    assert again[0].verdict is Verdict.formal
    monkeypatch.setattr(running, "gate_or_reason", lambda: Gate(("Sums.v: oops is assumed",)))
    _, differences = replay(path)
    assert [d.where for d in differences if d.where.endswith("exact.verdict")] == [
        "B.cost-reduction.exact.verdict"
    ]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", ModelError, "is no JSON"),
        ("[" * 100_000, ModelError, "is no JSON"),
        ("[]", ModelError, "has no claims"),
        ('{"claims": []}', ModelError, "has no claims"),
        ('{"claims": [3]}', ModelError, "without id"),
        ('{"claims": [{"id": "B.what", "exact": {}}]}', RequestError, "no claim is called 'B.what'"),
        ('{"claims": [{"id": "S.noise", "exact": {}}, {"id": "S.noise", "exact": {}}]}', ModelError, "twice"),
        (
            '{"claims": [{"id": "S.bounds", "exact": {"evidence": [{"data": {"instances": {"x": 1}}}]}}]}',
            ModelError,
            "unknown instance",
        ),
        (
            '{"claims": [{"id": "S.euler", "exact": {"evidence": [{"data": {"instances": {"x": 1}}}]}}]}',
            ModelError,
            "has no campaign",
        ),
    ],
)
def test_files_that_are_no_report(tmp_path, content, error, message):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(error, match=message):
        replay(path)
