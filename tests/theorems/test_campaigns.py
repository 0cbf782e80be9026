"""Campaigns: their family, their checks seen failing, and the evidence that they give."""

import json

import numpy as np
import pytest

from balproof.balance.problem import BalanceProblem
from balproof.network.manifold import Manifold
from balproof.theorems import CLAIMS, verify
from balproof.theorems.campaigns import CAMPAIGNS, Instance, matrices, networks
from balproof.theorems.campaigns.family import ACTIVATIONS, ARCHITECTURES, Family
from balproof.verdict import Verdict


def test_each_campaign_is_of_a_claim():
    assert {*CAMPAIGNS} <= {c.claim.id for c in CLAIMS}


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_the_first_instances_hold(name):
    campaign = CAMPAIGNS[name]
    results = {i.key: campaign.run(i) for i in campaign.family.instances(2)}
    found = campaign.evidence(results)
    assert found.verdict is campaign.shown, found.what
    assert [r["holds"] for r in found.data["instances"].values()].count(False) == 0


def test_instances_are_met_equally_often_and_named():
    family = Family(("layered", "closed"), ("relu", "abs(x)"), ("l2", "l1"))
    found = family.instances(12)
    assert found[:5] == family.instances(5)
    assert sorted(i.key.rsplit(" ", 1)[0] for i in found) == sorted(
        2 * [f"{a} {r}" for a in ("layered relu", "layered abs(x)", "closed relu") for r in ("l2", "l1")]
    )
    assert [Instance.of(i.key) for i in found] == found


@pytest.mark.parametrize(
    "key",
    [
        "",
        "layered relu l2",
        "layered relu l2 x",
        "layered relu l2 -3",
        "layered relu l2 1 2",
        "what relu l2 1",
        "layered x l2 1",
    ],
)
def test_names_of_no_instance(key):
    with pytest.raises(ValueError):
        Instance.of(key)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_instance_is_the_same_network_whenever_it_is_made(architecture, activation):
    one, two = (Instance(architecture, activation, "l2", 5).network for _ in range(2))
    assert [t.name for t in one.parameters] == [t.name for t in two.parameters]
    assert all(np.array_equal(one.numbers(t.name), two.numbers(t.name)) for t in one.parameters)


# --- every check, seen failing ------------------------------------------------------------------------


def _skewed(self, h):
    return rescale(self, 1.01 * h + 0.003)


rescale = Manifold.rescale
hessian = BalanceProblem.hessian
cost = BalanceProblem.cost

FAULTS = {
    "B.scaling-preserves": (Manifold, "apply", None),
    "B.architectures": (networks, "nullity", lambda network: 99),
    "B.gradient-identity": (
        networks,
        "outputs",
        lambda network: network.numbers(next(iter(network.parameters)).name),
    ),
    "B.optimal-scale-general": (networks, "step", lambda *a: np.array([0.1])),
    "B.optimal-scale-lp": (networks, "step", lambda *a: np.array([0.1])),
    "B.cost-reduction": (networks, "step", lambda *a: np.array([0.1])),
    "B.balance-equation": (networks, "_least", lambda i: (0.1, 0.0)),
    "B.strictly-convex": (networks, "direct", lambda problem, start: type("End", (), {"h": start})),
    "B.existence": (networks, "is_circulation", lambda *a: False),
    "B.stochastic-balancing": (
        networks,
        "stochastic",
        lambda problem, *a, **k: type("End", (), {"h": np.zeros(problem.count)}),
    ),
    "B.schedules": (
        networks,
        "stochastic",
        lambda problem, name, **k: type("End", (), {"h": np.full(problem.count, 0.1 * len(name))}),
    ),
    "B.favorable": (networks, "relaxed", lambda problem, *a: (np.full(problem.count, 0.1), True)),
    "B.simultaneous": (networks, "step", lambda *a: np.array([0.1])),
    "B.tied-layers": (networks, "minimize", lambda *a, **k: type("End", (), {"fun": 1.0})),
    "S.conserved": (matrices, "_balanced", lambda i: 1.01 * i.network.numbers("J")),
    "S.laplacian": (BalanceProblem, "hessian", lambda self, h: 2 * hessian(self, h)),
    "S.convergence": (matrices, "_balanced", lambda i: 1.01 * i.network.numbers("J")),
    "S.bounds": (matrices, "_balanced", lambda i: 2.0 * i.network.numbers("J")),
    "S.noise": (BalanceProblem, "cost", lambda self, h: 1.01 * cost(self, h)),
    "S.rank-one": (matrices, "closed_form", lambda u, v, a, b, p, log: log(a / b)),
    "S.osborne": (matrices, "osborne", lambda J, p, sweeps: J),
    "R.osborne-rate": (matrices, "balance_unit", lambda A, k: A),
    "R.saul": (matrices, "update", lambda W, *a: 1.01 * W),
    "R.enorm": (matrices, "cyclic", lambda weights, *a: weights),
}


def test_the_list_of_faults_is_complete():
    assert {*FAULTS} == {*CAMPAIGNS}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name, monkeypatch):
    where, what, instead = FAULTS[name]
    if name == "B.scaling-preserves":
        where, what, instead = (
            Manifold,
            "rescale",
            lambda self, h: rescale(self, h).with_parameters(
                {t.name: 1.01 * self.network.numbers(t.name) for t in self.network.parameters[:1]}
            ),
        )
    monkeypatch.setattr(where, what, instead)
    campaign = CAMPAIGNS[name]
    results = {i.key: campaign.run(i) for i in campaign.family.instances(4)}
    found = campaign.evidence(results)
    assert found.verdict is Verdict.refuted
    assert "does not: " in found.what


# --- in the registry ----------------------------------------------------------------------------------


def test_a_campaign_is_evidence_of_its_claim(tmp_path):
    [plain] = verify("S.bounds")
    [tried] = verify("S.bounds", samples=5, resume=tmp_path)
    assert tried.findings.evidence[:-1] and len(tried.findings.evidence) == len(plain.findings.evidence) + 1
    last = tried.findings.evidence[-1]
    assert "5 of 5 random instances hold" in last.what
    assert len(last.data["instances"]) == 5
    json.dumps(tried.as_json(), allow_nan=False)
    assert len(list(tmp_path.glob("*.json"))) == 1 + 1 + 5


def test_a_refuted_instance_turns_the_claim_red(monkeypatch):
    monkeypatch.setattr(matrices, "_balanced", lambda i: 2.0 * i.network.numbers("J"))
    [record] = verify("S.bounds", samples=2)
    assert record.verdict is Verdict.refuted
    assert not record.ok


def test_what_is_finished_is_read_and_not_run(tmp_path, monkeypatch):
    before = verify("S.bounds", samples=2, resume=tmp_path)
    monkeypatch.setattr(matrices, "_balanced", lambda i: 2.0 * i.network.numbers("J"))
    after = verify("S.bounds", samples=2, resume=tmp_path)
    assert [r.as_json() for r in after] == [r.as_json() for r in before]
    assert verify("S.bounds", samples=3, resume=tmp_path)[0].verdict is Verdict.refuted
