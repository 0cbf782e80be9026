"""Every record on [B] as it stands: reached what is required, twins refuted, the printed claims judged."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

from balproof.theorems import (
    b_activations,
    b_convergence,
    b_convex,
    b_general_cost,
    b_graphs,
    b_networks,
    b_optimal_scale,
    b_order,
    b_paths,
    b_progress,
    b_scaling,
    b_schedules,
    b_tied,
    b_training,
)
from balproof.theorems.registry import Record, run_claim
from balproof.verdict import Verdict

MODULES = (
    b_activations,
    b_convergence,
    b_convex,
    b_general_cost,
    b_graphs,
    b_networks,
    b_optimal_scale,
    b_order,
    b_paths,
    b_progress,
    b_scaling,
    b_schedules,
    b_tied,
    b_training,
)
RECORDS = {c.claim.id: c for module in MODULES for c in module.CLAIMS}

EXPECTED = {
    "B.homogeneous-iff-bilu": ("proved", "proved"),
    "B.power-iff-bipu": ("proved", "refuted"),
    "B.scaling-preserves": ("proved", "proved"),
    "B.balancings-do-not-commute": ("proved", "proved"),
    "B.optimal-scale-lp": ("proved", "proved"),
    "B.optimal-scale-general": ("certified", "refuted"),
    "B.cost-reduction": ("proved", "proved"),
    "B.balance-equation": ("proved", "refuted"),
    "B.gradient-identity": ("proved", "proved"),
    "B.existence": ("certified", "refuted"),
    "B.strictly-convex": ("proved", "proved"),
    "B.stochastic-balancing": ("certified", "certified"),
    "B.path-cover": ("certified", "refuted"),
    "B.favorable": ("certified", "refuted"),
    "B.gd-does-not-balance": ("proved", "proved"),
    "B.gd-regularized-balances": ("proved", "refuted"),
    "B.progress": ("proved", "refuted"),
    "B.architectures": ("certified", "refuted"),
    "B.universality": ("proved", "refuted"),
    "B.self-consistency": ("certified", "refuted"),
    "B.locality": ("proved", "proved"),
    "B.schedules": ("certified", "refuted"),
    "B.simultaneous": ("proved", "refuted"),
    "B.tied-layers": ("proved", "proved"),
}
"""id: what the exact statement reaches and requires, what became of the printed claim."""


LONG = {
    "B.architectures",
    "B.existence",
    "B.favorable",
    "B.gd-does-not-balance",
    "B.gd-regularized-balances",
    "B.optimal-scale-general",
    "B.optimal-scale-lp",
    "B.progress",
    "B.scaling-preserves",
    "B.schedules",
    "B.simultaneous",
    "B.stochastic-balancing",
    "B.strictly-convex",
    "B.universality",
}
"""Half a second or more each; what they are made of is tested by hand and on grids beside this file."""


def some_slow(names: Iterable[str]) -> list[Any]:
    return [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in sorted(names)]


@cache
def record(name: str) -> Record:
    return run_claim(RECORDS[name])


def test_these_are_all_of_them():
    assert set(RECORDS) == set(EXPECTED)


@pytest.mark.parametrize("name", some_slow(EXPECTED))
def test_record(name):
    found = record(name)
    exact, printed = EXPECTED[name]
    assert found.ok
    assert (str(found.verdict), str(found.claim.required)) == (exact, exact)
    assert str(found.findings.printed.verdict) == printed
    assert found.claim.assumptions
    assert found.findings.twins
    assert all(t.verdict is Verdict.refuted for t in found.findings.twins)
    assert found.seconds < 30


@pytest.mark.parametrize("name", some_slow(EXPECTED))
def test_two_ways_at_least_and_none_undecided(name):
    evidence = record(name).findings.evidence
    assert len({e.method for e in evidence}) >= 2
    assert all(e.verdict > Verdict.undecided for e in evidence)
    assert max(e.verdict for e in evidence) <= (record(name).claim.required or Verdict.undecided)


@pytest.mark.parametrize("name", some_slow(EXPECTED))
def test_lemmas_alone_prove_nothing_more(name):
    for evidence in record(name).findings.evidence:
        assert not (evidence.what.startswith("lemma") and evidence.verdict is Verdict.proved)


WORDS = {
    "B.path-cover": ("1-2-2-1", "rank is 2, needed 4", "[0, 1, 0, 0]"),
    "B.favorable": ("IN 1, OUT 16", "1.2214", "13.099"),
    "B.optimal-scale-general": ("log(1 + log(1 + |w|))", "e³", "2.7967", "2.317", "4.926"),
    "B.balance-equation": ("IN w², OUT |w|", "0.6300", "1.2599"),
    "B.power-iff-bipu": ("f(x) = x", "D·(−1)^1 = 1"),
    "B.existence": ("1⇄2→3⇄4", "h = −1 on 3 and 4"),
    "B.gd-regularized-balances": ("step_too_large.json", "(1, 2) → (−2, −1) → (1, 2)"),
    "B.progress": ("the deficit is 0 all the way", "3.75 to 0.0001"),
    "B.schedules": ("tied_layer.json", "least R is 10, with one each 8"),
    "B.simultaneous": ("mixed_degrees.json", "from 2 to 64.0001"),
    "B.self-consistency": ("dead_end.json", "needed 1, directed walks give 0"),
    "B.architectures": ("convolution.json", "103.25 to 73.9730"),
    "B.universality": ("linear_units.json", "within 1/2 of |x|"),
}


@pytest.mark.parametrize("name", some_slow(WORDS))
def test_printed_refutations_name_their_counterexample(name):
    why = record(name).findings.printed.why
    assert all(word in why for word in WORDS[name]), why
