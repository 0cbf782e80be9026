"""The function is the same: proved from the rules, the bound compared with 200-bit arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from balproof.crosscheck import certified
from balproof.crosscheck.audit import check
from balproof.crosscheck.certified import FunctionProof, prove_function
from balproof.network.evaluate import evaluate
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.verdict import Verdict
from tests.convnets import resnet
from tests.networks import called_twice, mlp

Array = np.ndarray


def degree_two() -> Network:
    return mlp((3, 4, 4, 2), activation="Max(x,0)**2", seed=5)


def half() -> Network:
    return mlp((3, 4, 4, 2), activation="sqrt(abs(x))", seed=6)


def tanh() -> Network:
    return mlp((3, 4, 2), activation="tanh", seed=7)


def convolutional() -> Network:
    return resnet(1, (2, 1), size=16, classes=3)


NETWORKS = [lambda: mlp((3, 5, 4, 2)), called_twice, degree_two, half, tanh, convolutional]


def values(network: Network) -> dict[str, Array]:
    return {t.name: network.numbers(t.name) for t in network.parameters}


def worst(network: Network, before: dict[str, Array], after: dict[str, Array], h: Array) -> float:
    """The largest |w'/(w·exp(A h)) − 1| in 200 bits, from the exact rows of A."""
    found = 0.0
    with ctx.workprec(200):
        logs = [arb(fmpq(*Fraction(float(x)).as_integer_ratio())) for x in h]
        for name, flat, form in infer(network).rows():
            log = sum((arb(fmpq(c.numerator, c.denominator)) * logs[k] for k, c in form), arb(0))
            old, new = float(before[name].flat[flat]), float(after[name].flat[flat])
            if old:
                found = max(found, float(abs(arb(new) / (arb(old) * log.exp()) - 1).upper()))
    return found


@pytest.mark.parametrize("make", NETWORKS)
def test_the_bound_is_one(make: Callable[[], Network]) -> None:
    network = make()
    manifold = infer(network)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        h = 3 * rng.standard_normal(manifold.count)
        old, new = values(network), values(manifold.rescale(h))
        name = max(new, key=lambda n: new[n].size)
        new[name].flat[0] *= 1 + rng.choice([0.0, 1e-15, 1e-9])
        proof = prove_function(network, old, new, h)
        assert isinstance(proof, FunctionProof), proof
        true = worst(network, old, new, h)
        assert true <= proof.weight_error <= true + 1e-14
        assert proof.exact == (manifold.count == 0 and true == 0)


@pytest.mark.parametrize("make", NETWORKS)
def test_powers_of_two_are_exact(make: Callable[[], Network]) -> None:
    network = make()
    manifold = infer(network)
    h = 3 * np.random.default_rng(0).standard_normal(manifold.count)
    after = manifold.rescale_by_powers_of_two(h)
    assert prove_function(network, values(network), values(after), h) == FunctionProof(
        True, 0.0, len(certified.solve_scales(network).equations)
    )
    x = {
        n: np.random.default_rng(1).standard_normal((3, *network.tensors[n].shape[1:]))
        for n in network.inputs
    }
    for y in network.outputs:  # the second way: bit for bit, where no root or square is rounded
        one, two = (evaluate(n, x)[y] for n in (network, after))
        np.testing.assert_allclose(one, two, rtol=1e-13)


def test_what_is_wrong_has_no_proof() -> None:
    network = mlp((3, 4, 2))
    manifold = infer(network)
    h = np.array([0.3, -1.0, 0.0, 2.0])
    old, new = values(network), values(manifold.rescale(h))
    bias = {**new, "fc1.bias": old["fc1.bias"]}
    assert prove_function(network, old, bias, h) == "fc1.bias is not rescaled by these scales"
    sign = {**new, "fc2.bias": -new["fc2.bias"]}
    assert prove_function(network, old, sign, h) == "fc2.bias is not rescaled by these scales"
    lost = {**new, "fc2.weight": np.where(np.arange(8).reshape(2, 4) == 3, 0.0, new["fc2.weight"])}
    assert prove_function(network, old, lost, h) == "fc2.weight is not rescaled by these scales"
    gained = prove_function(network, {**old, "fc2.weight": lost["fc2.weight"] * 0}, new, h)
    assert gained == "fc2.weight is not rescaled by these scales"
    one_bit = {**old, "fc2.bias": np.nextafter(old["fc2.bias"], np.inf)}
    proof = prove_function(network, old, one_bit, 0 * h)
    assert isinstance(proof, FunctionProof) and not proof.exact and 1e-16 < proof.weight_error < 2e-15


def test_scales_that_break_a_rule_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the solution of the equations were wrong."""
    network = mlp((3, 4, 2))
    h = np.array([0.3, -1.0, 0.0, 2.0])
    after = values(infer(network).rescale(h))
    right = certified.solve_scales(network)
    moved = right.solution.forms[0]  # the input
    assert moved == ()
    forms = (((0, Fraction(1)),), *right.solution.forms[1:])
    solution = dataclasses.replace(right.solution, forms=forms)
    wrong = dataclasses.replace(right, solution=solution)
    monkeypatch.setattr(certified, "solve_scales", lambda _: wrong)
    assert prove_function(network, values(network), after, h) == "the scales break a rule: x is an input"


def test_weights_at_the_ends_of_the_range() -> None:
    network = mlp((1, 1, 1), bias=False)
    tiny, huge = np.array([[5e-324 * 2**52]]), np.array([[1e300]])
    old = {"fc1.weight": tiny, "fc2.weight": huge}
    network = network.with_parameters(old)
    h = np.array([1000 * np.log(2.0)])
    new = {"fc1.weight": np.ldexp(tiny, 1000), "fc2.weight": np.ldexp(huge, -1000)}
    proof = prove_function(network, old, new, h)
    assert isinstance(proof, FunctionProof) and proof.exact
    new["fc1.weight"] = new["fc1.weight"] * 2
    assert isinstance(prove_function(network, old, new, h), str)


def test_the_audit_says_how_it_knows() -> None:
    network = mlp((3, 4, 2))
    manifold = infer(network)
    audit = check(network, manifold.rescale(np.array([0.3, -1.0, 0.0, 2.0])))
    assert (
        audit.function is Verdict.certified and audit.proof is not None and audit.proof.weight_error < 1e-14
    )
    assert audit.as_json()["function"] == {"verdict": "certified", **audit.proof.as_json()}
    wrong = manifold.rescale(np.array([0.3, -1.0, 0.0, 2.0])).with_parameters(
        {"fc1.bias": network.numbers("fc1.bias")}
    )
    audit = check(network, wrong)
    assert audit.function is Verdict.refuted and audit.proof is None
