"""Laws and counts against numbers worked out elsewhere: by hand, or from the theory of each architecture."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from balproof.conservation import conserved, quadratic, replay
from balproof.conservation.fields import Fields, Layout, point
from balproof.conservation.modular import rank
from balproof.conservation.ring import Modular
from balproof.conservation.sampling import Data
from balproof.conservation.symmetry import Proof
from balproof.errors import RequestError
from balproof.importers import load
from balproof.network.graph import Network
from balproof.symbolic.activation import Activation
from tests.conservation.nets import Builder, attention, conv1d, layer_norm, normalised, rnn
from tests.convnets import resnet
from tests.networks import mlp
from tests.sweeps import spread


def linear(*widths: int) -> Network:
    return mlp(widths, activation="linear", bias=False)


def pooled() -> Network:
    """Convolution, ReLU, max pooling, linear: ties of zeros are everywhere."""
    b = Builder()
    x = b.tensor("x", (1, 1, 6, 6), "input")
    x = b.op("conv", [x, b.tensor("c1", (3, 1, 3, 3))], "r", (1, 3, 4, 4))
    x = b.op("bias", [x, b.tensor("b1", (3,))], "z", (1, 3, 4, 4), axis=1)
    x = b.op("activation", [x], "a", (1, 3, 4, 4), function=Activation.parse("relu"))
    x = b.op("pool", [x], "p", (1, 3, 2, 2), mode="max", kernel=(2, 2), strides=(2, 2))
    x = b.op("reshape", [x], "f", (1, 12), shape=(1, 12))
    return b.network(["x"], [b.op("linear", [x, b.tensor("fc", (2, 12))], "y", (1, 2), transpose=True)])


def padded() -> Network:
    """A kernel of 3 × 3 with stride 2 on 2 × 2 places: 5 of its 9 columns read nothing but padding."""
    b = Builder()
    x = b.tensor("x", (1, 2, 2, 2), "input")
    x = b.op("conv", [x, b.tensor("c", (6, 2, 3, 3))], "r", (1, 6, 1, 1), strides=(2, 2), pads=(1,) * 4)
    x = b.op("activation", [x], "a", (1, 6, 1, 1), function=Activation.parse("relu"))
    x = b.op("reshape", [x], "f", (1, 6), shape=(1, 6))
    return b.network(["x"], [b.op("linear", [x, b.tensor("fc", (2, 6))], "y", (1, 2), transpose=True)])


def skip(around: str) -> Network:
    """x + Vσ(Ux) ("block"), or V(z + σ(z)) with z = Ux ("own"), or V(x + σ(Ux)) ("input")."""
    b = Builder()
    x = b.tensor("x", (1, 3), "input")
    z = b.op("linear", [x, b.tensor("U", (3, 3))], "z", (1, 3), transpose=True)
    a = b.op("activation", [z], "a", (1, 3), function=Activation.parse("relu"))
    if around != "block":
        a = b.op("add", [a, z if around == "own" else x], "s", (1, 3))
    y = b.op("linear", [a, b.tensor("V", (3, 3))], "y", (1, 3), transpose=True)
    if around == "block":
        y = b.op("add", [y, x], "out", (1, 3))
    return b.network(["x"], [y])


COMPLETE = {
    # One for each hidden unit, whatever the biases (Du, Hu, Lee 2018).
    "relu 3-3-3-3": (mlp([3, 3, 3, 3]), 6),
    "relu, no bias": (mlp([3, 4, 2], bias=False), 4),
    "degree 2": (mlp([3, 3, 2], activation="relu2"), 3),
    "leaky": (mlp([2, 3, 2], activation="leaky_relu:1/5"), 3),
    # Symmetric r × r matrices at each interface; of rank at most n_in + n_out where r is larger.
    "linear 2-3-4-3": (linear(2, 3, 4, 3), 3 * 4 // 2 + 4 * 5 // 2),
    "linear 1-3-1": (linear(1, 3, 1), 5),
    "linear 1-4-1": (linear(1, 4, 1), 7),
    "linear 2-5-1": (linear(2, 5, 1), 12),
    "linear 10-12-8": (linear(10, 12, 8), 78),
    # r² where the two kernels may change places, r(r + 1)/2 where not.
    "conv 1-2-1": (conv1d([1, 2, 1], [3, 3]), 4),
    "conv 1-3-1": (conv1d([1, 3, 1], [3, 3]), 9),
    "conv 1-2-1, kernels of 3 and 2": (conv1d([1, 2, 1], [3, 2]), 3),
    "conv 1-3-1, kernels of 5 and 3": (conv1d([1, 3, 1], [5, 3], 9), 6),
    "conv with relu": (conv1d([2, 3, 2], [3, 3], activation="relu"), 3),
    "max pooling": (pooled(), 3),
    # Each weight that no output sees is at rest.
    "weights that read padding": (padded(), 6 + 6 * 2 * 5),
    # r(r + 1)/2 for queries with keys, and for values with the output.
    "attention 3, 2": (attention(3, 2, softmax=True), 6),
    # Without softmax also one between the two pairs: scores and values are multiplied.
    "attention without softmax": (attention(3, 2), 7),
    "relu rnn": (rnn(2, 3, 2), 3),
    "linear rnn": (rnn(2, 3, 2, "linear"), 6),
    "skip around a block": (skip("block"), 3),
    "z + relu(z) is leaky": (skip("own"), 3),
    # A bias of the keys adds the same to all scores of a query: its r entries are at rest.
    "attention with a key bias": (attention(3, 2, tokens=2, softmax=True, key_bias=True), 3 + 3 + 2),
    # γ and the next layer; the columns of what is centred, and its bias; for ε = 0 also its size.
    "layer normalisation": (layer_norm(3, 4), 4 + 3 + 1),
    "layer normalisation, ε = 0": (layer_norm(3, 4, 0.0), 4 + 3 + 1 + 1),
    # γ and the next layer; the bias less the running mean and γ.
    "batch normalisation": (normalised(2, 3), 6),
}
NONE = {
    "tanh": mlp([3, 3, 2], activation="tanh"),
    "gelu": mlp([2, 3, 2], activation="gelu"),
    "silu": mlp([2, 3, 2], activation="silu", bias=False),
    "relu6": mlp([2, 3, 2], activation="relu6"),
    "tanh rnn": rnn(2, 3, 2, "tanh"),
    "x + relu(Ux), x seen": skip("input"),
}


@pytest.mark.parametrize("name", spread(COMPLETE, 2))
def test_complete(name: str) -> None:
    network, k = COMPLETE[name]
    found = conserved(network)
    assert (found.count.verdict, found.count.k, len(found.laws)) == ("complete", k, k)
    assert found.count.lie_dimension == found.count.parameters - k
    assert found.candidates == ()
    written = json.loads(json.dumps(found.as_json()))
    again = replay(network, written["count"]["certificate"])
    assert again.agrees and again.rank == found.count.lie_dimension


@pytest.mark.parametrize("name", NONE)
def test_none(name: str) -> None:
    found = conserved(NONE[name])
    assert (found.count.verdict, found.laws) == ("none", ())
    assert found.count.lie_dimension == found.count.parameters
    assert replay(NONE[name], found.as_json()["count"]["certificate"]).agrees


@pytest.mark.slow
def test_thousands_of_parameters() -> None:
    assert conserved(mlp([20, 30, 30, 15])).count.as_json()["lie_dimension"] == 2025 - 60
    linear_one = conserved(mlp([15, 20, 20, 10], activation="linear"))  # benchmarks/ has larger ones
    assert (linear_one.count.verdict, linear_one.count.k) == ("complete", 2 * 20 * 21 // 2)


@pytest.mark.slow
def test_a_small_resnet() -> None:
    """One for each of 38 channels that scale; of 24 pairs of biases that are added, the difference; and 80
    weights that read padding."""
    found = conserved(resnet(width=2, blocks=(1, 1), size=8, classes=3))
    assert (found.count.verdict, found.count.k) == ("complete", 38 + 24 + 80)
    assert [law.kind for law in found.laws] == ["scaling"] * 38 + ["linear"] * 104


def test_cross_entropy_keeps_column_sums_of_the_last_layer() -> None:
    found = conserved(mlp([3, 3, 3]), loss="cross-entropy")
    assert (found.count.verdict, found.count.k) == ("complete", 3 + 3 + 1)
    linear_ones = [law.formula for law in found.laws if law.kind == "linear"]
    assert linear_ones == [
        *(f"Σ fc2.weight[:,{j}]" for j in range(3)),
        "fc2.bias[0] + fc2.bias[1] + fc2.bias[2]",
    ]
    smooth = conserved(mlp([3, 4, 3], activation="tanh"), loss="cross-entropy")
    assert (smooth.count.verdict, smooth.count.k) == ("complete", 4 + 1)


def test_a_scalar_input_ties_units_of_one_sign() -> None:
    network = mlp([1, 2, 1], bias=False)
    plus = network.with_parameters({"fc1.weight": np.array([[1.5], [0.5]])})
    assert (conserved(plus).count.verdict, conserved(plus).count.k) == ("complete", 2)
    tied = conserved(plus, signs=True)
    assert (tied.count.verdict, tied.count.k) == ("complete", 3)
    minus = network.with_parameters({"fc1.weight": np.array([[1.5], [-0.5]])})
    assert conserved(minus, signs=True).count.k == 2


def test_fewer_inputs_leave_more() -> None:
    network = mlp([3, 3, 2])
    cases = np.random.default_rng(0).integers(-8, 9, (2, 3)) / 4
    found = conserved(network, data={"x": cases})
    assert found.data == "these 2 inputs" and found.count.verdict == "at-most"
    assert found.count.k == 3 and found.count.lie_dimension < conserved(network).count.lie_dimension
    assert replay(network, found.as_json()["count"]["certificate"], {"x": cases}).agrees


def test_a_running_mean_is_not_moved_by_the_flow() -> None:
    """fc1[i] scales only with its mean, a buffer: Σ w² + b² − γ² is no law, but with b − μ for b it is."""
    found = conserved(normalised(3, 2))
    mean = found.layout.network.numbers("mean")
    (first, second) = (law.formula for law in found.laws if law.kind == "quadratic")
    for i, text in enumerate((first, second)):
        sign, twice = "−" if mean[i] > 0 else "+", float(2 * abs(mean[i]))
        assert text == (f"Σ fc1.weight[{i},:]² {sign} {twice!r}·fc1.bias[{i}] + fc1.bias[{i}]² − gamma[{i}]²")
    resting = conserved(normalised(3, 2, mean=False))
    assert [law.kind for law in resting.laws] == ["scaling"] * 4


def test_unknown_operations_end_the_count_and_not_the_laws() -> None:
    b = Builder()
    x = b.tensor("x", (1, 3), "input")
    z = b.op("linear", [x, b.tensor("U", (3, 3))], "z", (1, 3), transpose=True)
    z = b.op("linear", [z, b.tensor("V", (3, 3))], "zz", (1, 3), transpose=True)
    y = b.op("unknown", [z], "y", (1, 3), op_type="Mystery")
    found = conserved(b.network(["x"], [y]))
    assert (found.count.verdict, found.count.k) == ("at-least", 6)
    assert "Mystery" in found.count.why and found.count.certificate is None


def test_without_inputs_there_is_no_count() -> None:
    found = conserved(load({"J": np.array([[0.0, 2.0], [0.5, 0.0]])}))
    assert [law.formula for law in found.laws] == ["Σ J[0,:]² − Σ J[:,0]²"]
    assert (found.count.verdict, found.count.why) == ("at-least", "the network has no inputs, or no outputs")


# --- each guard is seen failing ----------------------------------------------------------------------------


def _swap(network: Network, i: int, j: int, sign: int) -> dict:
    """Σ fc1[i,:]fc1[j,:] + b_i b_j + sign·Σ fc2[:,i]fc2[:,j] as a direction."""
    n, m = network.tensors["fc1.weight"].shape[1], network.tensors["fc2.weight"].shape
    found: dict = {
        "fc1.weight": {},
        "fc1.bias": {i: {(("fc1.bias", j),): 1}, j: {(("fc1.bias", i),): 1}},
        "fc2.weight": {},
    }
    for a, b in ((i, j), (j, i)):
        for k in range(n):
            found["fc1.weight"][a * n + k] = {(("fc1.weight", b * n + k),): 1}
        for k in range(m[0]):
            found["fc2.weight"][k * m[1] + a] = {(("fc2.weight", k * m[1] + b),): sign}
    return {
        t: {e: {f: Fraction(c) for f, c in row.items()} for e, row in d.items()} for t, d in found.items()
    }


def test_the_proof_refuses_what_is_no_law() -> None:
    straight, bent = mlp([2, 3, 2], activation="linear"), mlp([2, 3, 2])
    assert Proof(Data(straight, 0), [_swap(straight, 0, 1, -1), _swap(straight, 0, 1, 1)], False).holds() == [
        True,
        False,
    ]
    assert Proof(Data(bent, 0), [_swap(bent, 0, 1, -1), _swap(bent, 1, 1, -1)], False).holds() == [
        False,
        True,
    ]
    squared = mlp([2, 3, 2], activation="relu2")  # the output weights move twice as fast
    assert Proof(Data(squared, 0), [_swap(squared, 1, 1, -1), _swap(squared, 1, 1, -2)], False).holds() == [
        False,
        True,
    ]


def test_candidates_that_are_not_shown_are_not_counted(monkeypatch) -> None:
    monkeypatch.setattr(Proof, "holds", lambda self: [False] * len(self.directions))
    found = conserved(linear(2, 3, 2))
    assert (found.count.verdict, found.count.k, len(found.candidates)) == ("at-most", 3, 3)


def test_a_false_law_is_noticed_at_the_point(monkeypatch) -> None:
    monkeypatch.setattr(Proof, "holds", lambda self: [True] * len(self.directions))
    real = quadratic.candidates

    def wrong(data: Data, found: list, signs: bool) -> list:
        first = real(data, found, signs)[-1]
        key = next(k for k in first if k[0] != k[1])
        return [{**first, key: -first[key]}]

    monkeypatch.setattr(quadratic, "candidates", wrong)
    with pytest.raises(AssertionError, match="a law that is not one"):
        conserved(linear(2, 3, 2))


def test_a_certificate_that_was_tampered_with_does_not_agree() -> None:
    network = mlp([2, 3, 2])
    good = conserved(network).as_json()["count"]["certificate"]
    point = {**good["point"], "fc1.bias": ["1", "2", "3"]}
    for change in (
        {"rank": good["rank"] + 1},
        {"point": point},
        {"columns": [0] * good["rank"]},
        {"seed": 5},
    ):
        assert not replay(network, {**good, **change}).agrees, change
    smooth = conserved(mlp([2, 2, 2], activation="tanh")).as_json()["count"]["certificate"]
    for change in ({"rank": 3}, {"rows": smooth["rows"][:1] * len(smooth["rows"])}):
        assert not replay(mlp([2, 2, 2], activation="tanh"), {**smooth, **change}).agrees
    for broken in ({}, {**good, "point": {}}, {**good, "words": [{"length": 9, "first": 0, "count": 1}]}):
        with pytest.raises(RequestError, match="no certificate of the network"):
            replay(network, broken)


def test_a_dead_point_reaches_less() -> None:
    """Where a unit is at rest for all samples its weights seem to be conserved; such a point only bounds."""
    network = mlp([2, 3, 2])
    layout = Layout(network)
    alive = conserved(network).count.lie_dimension
    data = Data(network, 0)
    theta = point(data, False)
    theta["fc1.bias"] = np.array([-(10**6), *theta["fc1.bias"][1:]])
    dead = rank(Fields(data, theta, Modular()).rows(1, 0, 3 * layout.size))
    assert alive == layout.size - 3
    assert dead <= alive - 4  # of 2 + 1 + 2 weights of the unit one combination is a law anyway
