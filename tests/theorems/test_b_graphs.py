"""Claims on graphs and locality: numbers from elsewhere, each check seen failing."""

import networkx as nx
import numpy as np
import pytest
import sympy

from balproof.symbolic import smt
from balproof.theorems import b_graphs
from balproof.theorems.instances import layered, random_layered, rank
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict

SELF, LOCAL = b_graphs.self_consistency, b_graphs.locality
FOUR = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 0), (1, 2), (2, 1)]


def test_cycles_and_components_by_networkx():
    graph = nx.DiGraph(FOUR)
    assert len(b_graphs.directed_cycles(FOUR)) == len(list(nx.simple_cycles(graph)))
    assert b_graphs.components(FOUR, 4) == nx.number_weakly_connected_components(graph) + 1  # node 4 is alone
    assert len(b_graphs.fundamental_cycles(FOUR)) == len(FOUR) - 4 + 1
    assert b_graphs.on_walks(FOUR, 3) is nx.is_strongly_connected(graph) is True
    assert not b_graphs.on_walks(FOUR[:4], 3)
    A = -nx.incidence_matrix(graph, nodelist=range(4), edgelist=FOUR, oriented=True).toarray().T[:, 1:]
    assert np.array_equal(-A, b_graphs.incidence(FOUR, 3))


def test_all_digraphs_are_there():
    assert sum(1 for _ in b_graphs.graphs(2)) == 2**6 - 1
    assert len({tuple(g) for g in b_graphs.graphs(2)}) == 2**6 - 1


def test_dead_ends_into_two_units():
    """x → a, b → {c, d}: six weights, no path to an output, two equations."""
    arcs = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 3), (2, 4)]
    assert not b_graphs.directed_cycles(arcs)
    assert rank(b_graphs.fundamental_cycles(arcs)) == 2 == len(arcs) - rank(b_graphs.incidence(arcs, 4))


@pytest.mark.parametrize("sizes", [(2, 3, 1), (1, 2, 2, 1), (3, 2, 4, 2)])
def test_the_count_for_layered_networks(sizes):
    rows, n = b_graphs.inferred(random_layered(sizes, 0))
    assert len(rows) - rank(rows) == len(rows) - sum(sizes[1:-1])
    assert n == sum(sizes[1:-1])


def test_a_unit_split_in_two_adds_as_many_equations_as_weights_less_one():
    rows, _ = b_graphs.inferred(layered([[[1, 2]], [[3]]]))
    split, _ = b_graphs.inferred(layered([[[1, 2], [1, 2]], [[3, 3]]]))
    assert len(rows) - rank(rows) == 2
    assert len(split) - rank(split) == 4


def test_the_group_norm_on_a_grid():
    s = np.exp(np.linspace(-1, 2, 300_001))
    ends = [s[np.argmin(s + np.sqrt(16 / s**2 + other**2))] for other in (0, 3)]
    assert ends[0] == pytest.approx(2, rel=1e-4)
    assert ends[1] < 1.9


def test_tied_steps_by_hand():
    assert b_graphs.tied_steps() == pytest.approx((17 / 2, 25 / 2), rel=1e-6)


RIGHT = {
    name: getattr(b_graphs, name) for name in ("fundamental_cycles", "directed_cycles", "step", "incidence")
}

FAULTS = {
    "a cycle left out": (
        SELF,
        "exact",
        "fundamental_cycles",
        lambda arcs: RIGHT["fundamental_cycles"](arcs)[1:],
    ),
    "cycles without signs": (
        SELF,
        "exact",
        "fundamental_cycles",
        lambda arcs: [[abs(x) for x in row] for row in RIGHT["fundamental_cycles"](arcs)],
    ),
    "a directed cycle left out": (
        SELF,
        "exact",
        "directed_cycles",
        lambda arcs: RIGHT["directed_cycles"](arcs)[2:],
    ),
    "dead ends let through": (SELF, "exact", "on_walks", lambda arcs, n: True),
    "heads for tails": (
        SELF,
        "exact",
        "incidence",
        lambda arcs, n: RIGHT["incidence"]([(head, tail) for tail, head in arcs], n),
    ),
    "paths that miss a weight": (SELF, "z3", "paths", lambda sizes: [(1, 0, 1, 0, 0, 0, 1, 0)]),
    "a weight that moves by itself": (LOCAL, "sympy", "own", lambda entry, L, t: L + (1 + entry) * t),
    "a step that looks at all weights": (
        LOCAL,
        "exact",
        "step",
        lambda problem, logs, columns: RIGHT["step"](problem, logs, columns) + problem.weights.sum(),
    ),
    "a step that looks at none": (LOCAL, "exact", "step", lambda problem, logs, columns: np.ones(1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refuted(fault, monkeypatch):
    claim, method, attribute, wrong = FAULTS[fault]
    monkeypatch.setattr(b_graphs, attribute, wrong)
    found = run_claim(claim)
    assert Verdict.refuted in [e.verdict for e in found.findings.evidence if e.method == method]
    assert not found.ok


HARMLESS = {
    "each unit is on a walk from input to output": (SELF, "dead_end", lambda: (1, 1, 1)),
    "the visible units are merged": (SELF, "unmerged", lambda: (1, 1)),
    "a visible unit in each component (for one h)": (SELF, "drifting", lambda: (0, True)),
    "R is a sum over single weights": (LOCAL, "grouped", lambda: (sympy.S.Zero, sympy.S.Zero)),
    "the scale is the unit's own (one for a layer instead)": (LOCAL, "tied_steps", lambda: (8.5, 8.5)),
}


@pytest.mark.slow
@pytest.mark.parametrize("dropped", HARMLESS)
def test_a_witness_that_does_not_fail_is_none(dropped, monkeypatch):
    claim, attribute, harmless = HARMLESS[dropped]
    monkeypatch.setattr(b_graphs, attribute, harmless)
    found = run_claim(claim)
    assert {t.dropped: t.verdict for t in found.findings.twins}[dropped] is Verdict.undecided
    assert not found.ok


def test_the_sums_of_z3_are_needed():
    for query in b_graphs._consistent_queries():
        assert smt.satisfiable(query[1:]).status == "sat" or smt.satisfiable(query[:3]).status == "sat"


@pytest.mark.parametrize("guards", [FAULTS, HARMLESS], ids=["evidence", "twins"])
def test_every_record_has_a_guard(guards):
    assert {claim.claim.id for claim, *_ in guards.values()} == {c.claim.id for c in b_graphs.CLAIMS}
