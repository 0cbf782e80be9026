"""The operations on the tape compute what the network computes, and their derivatives are derivatives."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from balproof.conservation import modular
from balproof.conservation.passes import Regions, Unsupported
from balproof.conservation.program import _RULES, Run
from balproof.conservation.ring import Doubles, Modular
from balproof.conservation.tape import Node, Tape
from balproof.network.graph import Network, Operation, Tensor
from balproof.network.rules import RULES, run


def one(kind: str, seed: int) -> tuple[Network, dict[str, np.ndarray]]:
    """A network of one operation on a random instance, and values of its operands."""
    rng = np.random.default_rng(seed)
    op, tensors = RULES[kind].example(rng)
    values = {
        n: rng.standard_normal(t.shape) if t.value is None else t.value
        for n, t in tensors.items()
        if n != "y"
    }
    inputs = tuple(n for n, t in tensors.items() if t.role == "input")
    kept = dict(tensors)
    if "variance" in kept:
        kept["variance"] = Tensor(
            "variance", kept["variance"].shape, "parameter", kept["variance"].value, buffer=True
        )
    return Network(kept, (op,), inputs, ("y",)), values


def start(network: Network, values: dict[str, np.ndarray], ring: object) -> tuple[Run, dict[str, Node], Node]:
    run_ = Run(network, Tape(ring), Regions())
    weights = {t.name: run_.tape.put({0: ring.constant(values[t.name])[None]}, True) for t in network.learned}
    ((_, y),) = run_.forward(weights, [{n: values[n][None] for n in network.inputs}])
    return run_, weights, y


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", sorted(_RULES))
def test_an_operation_is_what_the_network_runs(kind: str, seed: int) -> None:
    network, values = one(kind, seed)
    op: Operation = network.operations[0]
    tanh = kind == "activation" and op.attributes["function"].text == "tanh"
    if tanh or op.attributes.get("training", False):
        with pytest.raises(Unsupported, match="tanh" if tanh else "batchnorm"):
            start(network, values, Doubles())
        return
    _, _, y = start(network, values, Doubles())
    np.testing.assert_allclose(y.jet[0][0], run(op, [values[n] for n in op.inputs]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["linear", "conv", "bias", "scale", "prelu", "batchnorm", "embedding"])
def test_gradients_are_differences(kind: str, seed: int) -> None:
    network, values = one(kind, seed)
    if network.operations[0].attributes.get("training", False):
        return  # refused, as the test above has it
    r, weights, y = start(network, values, Doubles())
    g = np.random.default_rng(seed).standard_normal(y.shape)
    found = r.tape.gradients([(y, g)], list(weights.values()))
    op = network.operations[0]
    for name, jet in zip(weights, found, strict=True):
        numeric = np.zeros(values[name].shape)
        for i in np.ndindex(values[name].shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = {**values, name: values[name].copy()}
                moved[name][i] += step
                ends.append(np.sum(g[0] * run(op, [moved[n] for n in op.inputs])))
            numeric[i] = (ends[0] - ends[1]) / 2e-6
        got = jet[0][0] if jet else np.zeros(values[name].shape)
        np.testing.assert_allclose(got, numeric, rtol=1e-6, atol=1e-8)


def test_product_modulo_a_prime_against_python_integers() -> None:
    rng = np.random.default_rng(0)
    p = modular.PRIME
    a, b = rng.integers(0, p, (3, 700)), rng.integers(0, p, (700, 2))
    a[0], b[:, 0] = p - 1, p // 2  # the largest there are
    expected = [[sum(int(x) * int(y) for x, y in zip(r, c, strict=True)) % p for c in b.T] for r in a]
    assert modular.product(a, b, p).tolist() == expected


def test_fractions_come_back() -> None:
    for f in (Fraction(0), Fraction(5), Fraction(-7, 3), Fraction(30001, 29999)):
        assert modular.fraction_of(modular.residue(f, modular.PRIME)) == f
    large = Fraction(2**20 + 1, 2**20 - 1)  # beyond √(p/2): another fraction has this residue
    assert modular.fraction_of(modular.residue(large, modular.PRIME)) != large


def test_second_derivatives_on_jets() -> None:
    """The ε₀ε₁-part of x³ at x + 2ε₀ + 5ε₁ is 6x·10, and the gradient's is 6·10."""
    ring = Modular()
    tape = Tape(ring)
    part = lambda v: np.array([[v]], dtype=np.int64)  # noqa: E731
    x = tape.put({0: part(7), 1: part(2), 2: part(5)}, True)
    falling = {0: 1, 1: 3, 2: 6, 3: 6}
    y = tape.unary(x, lambda k, b: falling.get(k, 0) * b ** max(3 - k, 0) % ring.p)
    assert y.jet[3].item() == 6 * 7 * 10
    (g,) = tape.gradients([(y, part(1))], [x])
    assert (g[0].item(), g[1].item(), g[3].item()) == (3 * 49, 6 * 7 * 2, 6 * 10)
    by_products = tape.multiply(x, tape.multiply(x, x))
    assert by_products.jet[3].item() == 6 * 7 * 10
    (h,) = tape.gradients([(by_products, part(1))], [x])
    assert {m: v.item() for m, v in h.items()} == {m: v.item() for m, v in g.items()}
