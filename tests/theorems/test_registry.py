"""The registry is complete, consistent, and its records are what they must be."""

import re
from pathlib import Path

import networkx as nx
import pytest

from balproof.errors import RequestError
from balproof.report.formulas import as_html, mathml
from balproof.theorems import CLAIMS, ORDER, sources, verify
from balproof.theorems.registry import Record
from balproof.verdict import METHODS, Verdict

COMPLETE = re.findall(
    r"\S+",
    """
B.homogeneous-iff-bilu B.power-iff-bipu B.scaling-preserves B.balancings-do-not-commute B.optimal-scale-lp
B.optimal-scale-general B.cost-reduction B.balance-equation B.gradient-identity B.existence B.strictly-convex
B.stochastic-balancing B.path-cover B.favorable B.architectures
B.universality B.self-consistency B.locality
B.schedules B.simultaneous B.tied-layers B.gd-does-not-balance B.gd-regularized-balances B.progress
S.gradient-flow S.conserved S.osborne
S.trajectories S.laplacian S.convergence S.bounds S.rank-one S.euler S.noise S.heterosynaptic
R.du-hu-lee R.noether R.broken R.completeness R.graph-form R.path-norm R.osborne-rate R.saul R.enorm
""",
)
"""Claims with a function of their own."""

EMPIRICAL = ["B.learning"]
"""Claims of which runs are reported, if PyTorch is there, and nothing is required."""

REFUTED_AS_PRINTED = {
    "B.existence",
    "B.power-iff-bipu",
    "B.optimal-scale-general",
    "B.balance-equation",
    "B.path-cover",
    "B.favorable",
    "R.noether",
    "R.path-norm",
    "R.completeness",
    "S.convergence",
    "S.euler",
    "S.noise",
    "B.gd-regularized-balances",
    "B.progress",
    "B.architectures",
    "B.universality",
    "B.schedules",
    "B.self-consistency",
    "B.simultaneous",
}


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    return {r.claim.id: r for r in verify()}


def test_every_claim_is_there_once():
    ids = [c.claim.id for c in CLAIMS]
    assert sorted(ids) == sorted(COMPLETE + EMPIRICAL)
    assert tuple(ids) == ORDER


def test_dependencies_name_claims_and_have_no_cycle():
    graph = nx.DiGraph()
    for c in CLAIMS:
        for other in c.claim.depends:
            assert other in ORDER, f"{c.claim.id} depends on {other}"
            graph.add_edge(c.claim.id, other)
    assert nx.is_directed_acyclic_graph(graph)


@pytest.mark.parametrize("claim", [c.claim for c in CLAIMS], ids=lambda c: c.id)
def test_statements_are_complete(claim):
    for text in (claim.title, claim.source, claim.printed, claim.exact, *claim.assumptions):
        assert text.strip() == text
        assert len(text) > 3
        assert text.count("$") % 2 == 0
    assert not claim.title.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLETE)
def test_complete_records(records, name):
    record = records[name]
    assert record.claim.required is not None
    assert record.claim.required >= Verdict.certified
    assert record.ok, [(e.what, str(e.verdict)) for e in record.findings.evidence]
    assert record.findings.printed.why
    methods = [e.method for e in record.findings.evidence]
    assert len(set(methods)) >= 2
    assert set(methods) <= set(METHODS)
    assert record.findings.twins
    assert all(t.verdict is Verdict.refuted and t.witness for t in record.findings.twins)


@pytest.mark.slow
def test_texts_can_be_shown(records):
    for record in records.values():
        c, f = record.claim, record.findings
        texts = [c.title, c.printed, c.exact, f.printed.why, *c.assumptions, *(e.what for e in f.evidence)]
        for text in [*texts, *(t.dropped for t in f.twins), *(t.witness for t in f.twins)]:
            assert all(mathml(formula) for formula in re.findall(r"\$([^$]+)\$", text)), text
            shown = re.sub("<[^>]+>", "", as_html(text))
            assert not re.search(r"[_^]\{|\w\^|\\", shown), shown


@pytest.mark.slow
@pytest.mark.parametrize("name", EMPIRICAL)
def test_empirical_records_promise_nothing(records, name):
    record = records[name]
    assert record.claim.required is None
    assert record.ok
    assert record.findings.printed.verdict is record.verdict <= Verdict.sampled
    assert {e.method for e in record.findings.evidence} <= {"sampled"}
    assert not record.findings.twins
    assert record.findings.printed.why


@pytest.mark.slow
def test_which_printed_claims_are_refuted(records):
    refuted = {n for n, r in records.items() if r.findings.printed.verdict is Verdict.refuted}
    assert refuted - set(EMPIRICAL) == REFUTED_AS_PRINTED


@pytest.mark.slow
def test_in_two_processes_the_same_verdicts(records):
    names = ["S.conserved", "B.cost-reduction", "S.gradient-flow", "R.noether"]
    found = verify(*names, jobs=2)
    assert [r.claim.id for r in found] == [n for n in ORDER if n in names]
    for record in found:
        here = records[record.claim.id].as_json()
        assert _without_seconds(record.as_json()) == _without_seconds(here)


def _without_seconds(json):
    if isinstance(json, dict):
        return {k: _without_seconds(v) for k, v in json.items() if k != "seconds"}
    return [_without_seconds(v) for v in json] if isinstance(json, list) else json


def test_unknown_ids_are_refused():
    with pytest.raises(RequestError, match=r"no claim is called 'B\.nonsense'"):
        verify("B.nonsense")
    with pytest.raises(RequestError, match="0 jobs"):
        verify("S.conserved", jobs=0)


def test_sources_are_files(root: Path):
    assert list(sources()) == list(ORDER)
    assert all((root / name).is_file() for name in sources().values())
