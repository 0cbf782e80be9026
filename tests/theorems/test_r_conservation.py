"""Claims on what gradient flow keeps: values from elsewhere, and each check seen failing."""

from fractions import Fraction

import numpy as np
import pytest

from balproof.conservation import conserved
from balproof.network.manifold import infer
from balproof.theorems import graphs, r_conservation, r_noether
from balproof.theorems.instances import counterexample
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict


def methods(claim, verdict=Verdict.refuted):
    return {e.method for e in run_claim(claim).findings.evidence if e.verdict is verdict}


@pytest.mark.parametrize("claim", [*r_conservation.CLAIMS, *r_noether.CLAIMS], ids=lambda c: c.claim.id)
def test_proved_with_every_twin_refuted(claim):
    record = run_claim(claim)
    assert record.verdict is Verdict.proved and record.ok


def test_back_propagation_against_differences():
    rng = np.random.default_rng(0)
    for degree in (1, 2):
        plain = graphs.dense((2, 3, 2, 1), biased=True, degree=degree)
        graph = graphs.Graph(plain.order, plain.edges, plain.hidden, degree, D=Fraction(-1, 4))
        w = {e: float(rng.normal()) for e in graph.edges}
        samples = [({"u0_0": 0.7, "u0_1": -1.2}, {"u3_0": 0.4}), ({"u0_0": -0.3, "u0_1": 2.0}, {})]
        g = graphs.gradient(graph, w, samples)
        for e in graph.edges:
            up, down = (graphs.error(graph, {**w, e: w[e] + d}, samples) for d in (1e-6, -1e-6))
            assert g[e] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_a_slope_that_is_forgotten_is_seen(monkeypatch):
    right = graphs._run

    def flat(graph, weights, given):
        value, slope = right(graph, weights, given)
        return value, dict.fromkeys(slope, 1)

    monkeypatch.setattr(graphs, "_run", flat)
    assert methods(r_conservation.du_hu_lee) >= {"exact"}
    assert methods(r_conservation.graph_form) >= {"exact"}


@pytest.mark.slow
def test_a_graph_whose_rows_are_of_one_sign_is_seen(monkeypatch):
    right = graphs.Graph.incidence
    monkeypatch.setattr(graphs.Graph, "incidence", lambda self: [[abs(v) for v in r] for r in right(self)])
    assert not r_conservation._any_graph_exact()
    assert not r_conservation._incidence_is_manifold()
    assert not r_conservation._training_keeps()


def test_matrices_of_nonlinear_layers_are_not_kept(monkeypatch):
    right = r_conservation.matrix_speeds
    monkeypatch.setattr(r_conservation, "matrix_speeds", lambda D: right(r_conservation.LEAKY))
    assert methods(r_conservation.du_hu_lee) == {"exact"}


def test_training_uphill_is_seen(monkeypatch):
    right = r_conservation.train
    monkeypatch.setattr(r_conservation, "train", lambda g, w, s, t: right(g, w, s, 0.0) + 0.01)
    assert methods(r_conservation.du_hu_lee) == {"sampled"}


@pytest.mark.slow
def test_euler_with_another_degree_is_seen(monkeypatch):
    from balproof.theorems import b_scaling

    monkeypatch.setattr(b_scaling, "euler_degree", lambda c: c + 1)
    assert methods(r_conservation.du_hu_lee) == {"sympy"}
    assert methods(r_conservation.graph_form) == {"sympy"}


def test_layers_and_units_kept_by_hand():
    """x→u→y with weights 2, 3, x = 1, target 0: ẇ = −wv², v̇ = −w²v, so w² − v² rests."""
    graph = graphs.dense((1, 1, 1))
    w = dict(zip(graph.edges, (Fraction(2), Fraction(3)), strict=True))
    g = graphs.gradient(graph, w, [({"u0_0": Fraction(1)}, {})])
    assert [g[e] for e in graph.edges] == [18, 12]


def test_the_numbers_do_not_depend_on_how_a_graph_is_written():
    """Units in another order and identities in between leave the laws of the package as they are."""
    W, V = np.array([[1.0, 2], [3, -1], [1, 1]]), np.array([[1.0, 2, 1], [1, -1, 2]])
    plain = r_conservation.layered([W.tolist(), V.tolist()])
    order = [2, 0, 1]
    turned = r_conservation.layered([W[order].tolist(), V[:, order].tolist()])
    values = [
        sorted(conserved(n).at({t.name: n.numbers(t.name) for t in n.learned})) for n in (plain, turned)
    ]
    assert np.allclose(*values, rtol=1e-14)
    graph = graphs.random_dag(np.random.default_rng(1), 4)
    w = graphs.random_weights(graph, np.random.default_rng(2))
    assert infer(graphs.as_network(graph, w)).count == infer(graphs.as_network(graph, w, "identity")).count


# --- Noether ------------------------------------------------------------------------------------------


def test_the_counterexample_is_a_file_without_laws():
    network = counterexample("tied_autoencoder")
    assert infer(network).count == 0
    assert conserved(network).count.verdict == "none"


def test_nothing_is_kept_by_hand_either():
    """W = (1 2; 3 −1): four fields of y = W⊤Wx, as vectors, are independent (NumPy)."""
    W = np.array([[1.0, 2], [3, -1]])
    S = [np.diag([1.0, 0]), np.diag([0.0, 1]), np.array([[0.0, 1], [1, 0]])]
    fields = [W @ s for s in S] + [W @ (S[0] @ S[2] - S[2] @ S[0])]
    assert np.linalg.matrix_rank(np.array([f.ravel() for f in fields])) == 4


@pytest.mark.parametrize(
    "name, wrong, method",
    [
        ("_symmetric_of_any_size", lambda: False, "sympy"),
        ("symmetric_speeds", lambda D: [1, 0, 0], "exact"),
        ("mirrored", lambda second, time=0.4: (np.ones(3), np.array([2.0, 1, 1])), "sampled"),
    ],
)
def test_a_wrong_result_is_seen(name, wrong, method, monkeypatch):
    monkeypatch.setattr(r_noether, name, wrong)
    assert method in methods(r_noether.noether)


def test_a_potential_that_does_not_fit_is_seen(monkeypatch):
    name, _, slope, second = r_noether.POTENTIALS[1]
    monkeypatch.setattr(r_noether, "POTENTIALS", ((name, lambda w: w**2 / 2, slope, second),) * 2)
    assert methods(r_noether.noether) == {"sampled"}


def test_a_printed_claim_stands_where_its_counterexample_does_not(monkeypatch):
    monkeypatch.setattr(r_noether, "rotation_without_law", lambda: False)
    assert run_claim(r_noether.noether).findings.printed.verdict is Verdict.undecided
