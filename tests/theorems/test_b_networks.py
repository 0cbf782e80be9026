"""Claims on architectures and universality: numbers from elsewhere, each check seen failing."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy

from balproof.network import rules
from balproof.network.evaluate import evaluate
from balproof.network.manifold import infer
from balproof.symbolic import smt
from balproof.theorems import b_networks
from balproof.theorems.instances import chain, counterexample, layered
from balproof.theorems.registry import run_claim
from balproof.verdict import Verdict

ALL, DENSE = b_networks.other_architectures, b_networks.universality


@pytest.mark.torch
def test_the_convolution_is_balanced_in_pytorch():
    """Scaled channel by channel to equal costs in and out, by PyTorch's own convolutions."""
    torch = pytest.importorskip("torch")
    network = counterexample("convolution")
    K, b, L = (torch.tensor(network.numbers(n).astype(float)) for n in ("K", "b", "L"))
    incoming = (K**2).sum((1, 2)) + b**2
    outgoing = (L**2).sum((0, 2))
    scale = (outgoing / incoming) ** 0.25
    K2, b2, L2 = K * scale[:, None, None], b * scale, L / scale[None, :, None]
    x = torch.randn(5, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def run(K, b, L):
        return torch.conv1d(torch.relu(torch.conv1d(x, K, b)), L)

    assert torch.allclose(run(K, b, L), run(K2, b2, L2), rtol=1e-12, atol=1e-12)
    assert np.allclose(evaluate(network, {"x": x.numpy()})["y"], run(K, b, L).numpy())
    before, after, enclosed = b_networks.convolution_balances()
    assert enclosed
    assert before == pytest.approx(float((K**2).sum() + (b**2).sum() + (L**2).sum()))
    assert after == pytest.approx(float((K2**2).sum() + (b2**2).sum() + (L2**2).sum()))
    assert after == pytest.approx(float(2 * (incoming * outgoing).sqrt().sum()))


def test_identity_layers_add_a_scale_and_change_nothing_else():
    plain, deeper = (
        layered([[[1, 2], [3, -1]], [[1, 1]]]),
        layered([[[1, 2], [3, -1]], [[1, 0], [0, 1]], [[1, 1]]]),
    )
    x = {"x": np.random.default_rng(0).standard_normal((20, 2))}
    assert np.array_equal(*(evaluate(n, x)[n.outputs[0]] for n in (plain, deeper)))
    assert infer(plain).free_scales == 2
    assert infer(deeper).free_scales == 4
    assert b_networks.nullity(plain) == 2
    assert b_networks.nullity(deeper) == 4


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_renamed_and_permuted_units_have_the_same_scales(order):
    rows, out = [[1, 2], [3, -1], [1, 1]], [1, 2, -1]
    network = layered([[rows[i] for i in order], [[out[i] for i in order]]])
    assert b_networks.nullity(network) == infer(network).free_scales == 3


def test_nullity_knows_tanh():
    assert b_networks.nullity(chain([1, 2], "tanh")) == 0
    assert b_networks.nullity(chain([1, 2], "relu")) == 1


@pytest.mark.parametrize("a, b", [(Fraction(1, 5), 1), (-3, 1), (2, 0), (0, -1)])
def test_relu_from_bilu_at_points(a, b):
    for x in (Fraction(-7, 3), Fraction(0), Fraction(2, 5)):
        assert b_networks.relu_from(lambda z: b_networks.bilu(z, a, b), x, a, b) == max(x, 0)


def test_the_interpolant_goes_through_its_points():
    network = b_networks.interpolant(np.cos, 5, Fraction(1, 5), Fraction(1))
    x = np.linspace(0, 1, 6)
    assert np.allclose(evaluate(network, {"x": x[:, None]})[network.outputs[0]].ravel(), np.cos(x))
    middle = evaluate(network, {"x": np.array([[0.1]])})[network.outputs[0]]
    assert middle == pytest.approx((1 + np.cos(0.2)) / 2)


def test_an_affine_map_within_one_half_is_the_best_there_is():
    c, d = sympy.symbols("c d", real=True)
    query = b_networks._affine_query()
    assert smt.satisfiable(query).status == "unsat"
    assert smt.satisfiable(query[:-2]).status == "sat"
    assert [e.subs({c: 0, d: sympy.Rational(51, 100)}) for e in query[:4]] == [sympy.true] * 4


RIGHT = {name: getattr(b_networks, name) for name in ("architectures", "direct", "nullity")}


def miscounted():
    return [
        replace(case, scales=case.scales + (case.name == "convolutional"))
        for case in RIGHT["architectures"]()
    ]


FAULTS = {
    "a scale too many": (ALL, "exact", "architectures", miscounted),
    "the same, by derivatives": (ALL, "sampled", "architectures", miscounted),
    "a blocked unit overlooked": (
        ALL,
        "exact",
        "architectures",
        lambda: [replace(case, blocked=()) for case in RIGHT["architectures"]()],
    ),
    "outputs of other inputs": (
        ALL,
        "exact",
        "outputs",
        lambda network, *args: np.concatenate([network.numbers(t.name).ravel() for t in network.parameters]),
    ),
    "layers of scales miscounted": (ALL, "exact", "tied_layers_of_scales", lambda: 3),
    "a state beside the balanced one": (
        ALL,
        "interval",
        "direct",
        lambda problem: type("Off", (), {"h": RIGHT["direct"](problem).h + 1e-3}),
    ),
    "the other half": (
        DENSE,
        "sympy",
        "relu_from",
        lambda f, x, a, b: (a * f(x) + b * f(-x)) / (b**2 - a**2),
    ),
    "the shift forgotten": (
        DENSE,
        "sympy",
        "relu_from_modulus",
        lambda f, x, b, T: (f(x) / b + f(x + T) / b) / 2,
    ),
    "a query that holds": (DENSE, "z3", "_identity_queries", lambda: [[sympy.Symbol("a", real=True) > 0]]),
    "an interpolant of another function": (
        DENSE,
        "sampled",
        "interpolant",
        lambda target, n, a, b: layered([[[1]], [[1]]], "relu"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refuted(fault, monkeypatch):
    claim, method, attribute, wrong = FAULTS[fault]
    monkeypatch.setattr(b_networks, attribute, wrong)
    found = run_claim(claim)
    assert Verdict.refuted in [e.verdict for e in found.findings.evidence if e.method == method]
    assert not found.ok


@pytest.mark.slow
def test_a_rule_that_demands_nothing_is_refuted(monkeypatch):
    """Activations whose scales are those of no equation: tanh scales too, and the counts are wrong."""
    free = replace(rules.RULES["activation"], imply=rules.RULES["identity"].imply)
    monkeypatch.setattr(rules, "RULES", {**rules.RULES, "activation": free})
    found = run_claim(ALL)
    assert Verdict.refuted in [e.verdict for e in found.findings.evidence if e.method == "exact"]


HARMLESS = {
    "every use of a shared weight counts": (ALL, "used_once", lambda: (1.0, 1.0, 1.0)),
    "the bias scales with its channel": (ALL, "bias_left", lambda: False),
    "a ≠ b": (DENSE, "straight_line", lambda: False),
    "biases": (DENSE, "_homogeneous_query", lambda: [sympy.Symbol("y", real=True) > 0]),
    "on bounded sets (for a = −b)": (DENSE, "beyond_the_bound", lambda: (0, 0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("dropped", HARMLESS)
def test_a_witness_that_does_not_fail_is_none(dropped, monkeypatch):
    claim, attribute, harmless = HARMLESS[dropped]
    monkeypatch.setattr(b_networks, attribute, harmless)
    found = run_claim(claim)
    assert {t.dropped: t.verdict for t in found.findings.twins}[dropped] is Verdict.undecided
    assert not found.ok


@pytest.mark.parametrize("guards", [FAULTS, HARMLESS], ids=["evidence", "twins"])
def test_every_record_has_a_guard(guards):
    assert {claim.claim.id for claim, *_ in guards.values()} == {c.claim.id for c in b_networks.CLAIMS}
