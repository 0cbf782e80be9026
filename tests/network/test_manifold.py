"""Manifolds of small networks: counts by hand and by a numerical null space, and the action itself."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from balproof.importers import load
from balproof.network import manifold as module
from balproof.network.evaluate import evaluate, trajectory
from balproof.network.graph import Network, Operation, Tensor, parts
from balproof.network.manifold import _tree, infer
from balproof.symbolic.activation import Activation
from tests.convnets import resnet
from tests.networks import called_twice, mlp, numerical_free_scales, weights


def residual(*, skip_from_input: bool = False) -> Network:
    """x → fc1 → relu → (a1 + fc3 relu(fc2 a1)) → fc4 → y; or with a skip that starts at the input."""
    rng = np.random.default_rng(1)
    n = 3
    parameters = {f"fc{i}.weight": weights(rng, (n, n)).tolist() for i in (1, 2, 3, 4)}
    operations: list[dict[str, Any]] = [
        {"kind": "linear", "inputs": ["x", "fc1.weight"], "output": "z1"},
        {"kind": "activation", "function": "relu", "inputs": ["z1"], "output": "a1"},
        {"kind": "linear", "inputs": ["a1", "fc2.weight"], "output": "z2"},
        {"kind": "activation", "function": "relu", "inputs": ["z2"], "output": "a2"},
        {"kind": "linear", "inputs": ["a2", "fc3.weight"], "output": "z3"},
        {"kind": "add", "inputs": ["x" if skip_from_input else "a1", "z3"], "output": "s"},
        {"kind": "linear", "inputs": ["s", "fc4.weight"], "output": "y"},
    ]
    return load({"inputs": {"x": [n]}, "parameters": parameters, "operations": operations, "outputs": ["y"]})


def tied_autoencoder() -> Network:
    rng = np.random.default_rng(2)
    return load(
        {
            "inputs": {"x": [4]},
            "parameters": {"W": weights(rng, (3, 4)).tolist(), "b": weights(rng, (3,)).tolist()},
            "operations": [
                {"kind": "linear", "inputs": ["x", "W"], "output": "r"},
                {"kind": "bias", "inputs": ["r", "b"], "output": "z"},
                {"kind": "activation", "function": "relu", "inputs": ["z"], "output": "a"},
                {"kind": "linear", "inputs": ["a", "W"], "transpose": False, "output": "y"},
            ],
            "outputs": ["y"],
        }
    )


CASES: dict[str, tuple[Network, int]] = {
    "mlp with biases": (mlp([3, 4, 2, 2]), 6),
    "mlp without biases": (mlp([2, 3, 3, 1], bias=False), 6),
    "degree 2": (mlp([2, 3, 2, 2], activation="Max(x,0)**2"), 5),
    "degree 3, odd": (mlp([2, 2, 2], activation="x**3"), 2),
    "leaky": (mlp([2, 3, 2], activation="leaky_relu:1/5"), 3),
    "abs": (mlp([2, 3, 2], activation="abs"), 3),
    "tanh": (mlp([2, 3, 2], activation="tanh"), 0),
    "residual stage": (residual(), 6),
    "skip from the input": (residual(skip_from_input=True), 6),
    "tied autoencoder": (tied_autoencoder(), 0),
    # the three states may each scale by a geometric progression with one common ratio: 1 + 3 − 1
    "layer called twice": (called_twice(), 4),
}


@pytest.mark.parametrize("name", CASES)
def test_count_agrees_with_hand_and_with_a_numerical_null_space(name: str) -> None:
    network, by_hand = CASES[name]
    assert infer(network).free_scales == by_hand
    assert numerical_free_scales(network) == by_hand


@pytest.mark.parametrize("name", CASES)
def test_rescaling_keeps_the_function(name: str) -> None:
    network, _ = CASES[name]
    manifold = infer(network)
    rng = np.random.default_rng(5)
    x = {"x": rng.standard_normal((20, network.tensors["x"].shape[1]))}
    after = manifold.rescale(rng.standard_normal(manifold.count))
    expected, got = evaluate(network, x)["y" if "y" in network.tensors else network.outputs[0]], None
    got = evaluate(after, x)[network.outputs[0]]
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_apply_adjoint_rows_and_matrix_say_the_same(name: str) -> None:
    manifold = infer(CASES[name][0])
    rng = np.random.default_rng(6)
    h = rng.standard_normal(manifold.count)
    logs = manifold.apply(h)
    m = {k: rng.standard_normal(v.shape) for k, v in logs.items()}
    flat = np.concatenate([logs[b.name].ravel() for b in manifold.blocks])
    np.testing.assert_allclose(manifold.matrix() @ h, flat, atol=1e-12)
    pairing = sum(float(np.sum(m[k] * logs[k])) for k in logs)
    assert np.dot(manifold.adjoint(m), h) == pytest.approx(pairing, rel=1e-12, abs=1e-12)
    rows = [sum(float(c) * h[k] for k, c in form) for _, _, form in manifold.rows()]
    np.testing.assert_allclose(rows, flat, atol=1e-12)
    assert manifold.free_scales == (
        np.linalg.matrix_rank(manifold.matrix().toarray()) if manifold.count else 0
    )


@pytest.mark.parametrize("name", ["residual stage", "two layers", "convolutions", "recurrent"])
@pytest.mark.parametrize("density", [0.3, 0.55, 0.7, 0.95])
def test_the_rank_on_nonzero_weights_agrees_with_that_of_the_matrix(name: str, density: float) -> None:
    """Both where few entries are left, and where so many are that they are not listed."""
    nets = {
        "two layers": lambda: mlp([4, 6, 5, 3]),
        "residual stage": residual,
        "convolutions": lambda: resnet(2, (1, 1), 16, 3),
        "recurrent": recurrent,
    }
    manifold = infer(nets[name]())
    rng = np.random.default_rng(3)
    for _ in range(4):
        kept = {t.name: rng.random(t.shape) < density for t in manifold.network.learned}
        rows = [manifold.matrix([n]).toarray()[k.ravel()] for n, k in kept.items()]
        assert manifold.rank(kept) == np.linalg.matrix_rank(np.concatenate(rows))


@pytest.mark.parametrize("density", [0.05, 0.2, 0.6, 1.0])
def test_a_spanning_forest_of_a_matrix(density: float) -> None:
    """It joins what is joined, by no edge more than that takes; SciPy counts the components."""
    rng = np.random.default_rng(4)
    for shape in ((1, 1), (5, 3), (9, 12), (30, 30)):
        joined = rng.random(shape) < density
        joined[0, 0] = True
        rows, columns = _tree(joined)
        assert joined[rows, columns].all()
        found = np.zeros(shape, bool)
        found[rows, columns] = True

        def components(edges: np.ndarray) -> tuple[int, list[int]]:
            graph = sparse.block_array([[None, edges.astype(int)], [edges.T.astype(int), None]])
            count, labels = connected_components(graph)
            return count, labels.tolist()

        assert components(found) == components(joined)
        assert len(rows) == sum(shape) - components(joined)[0]


@pytest.mark.parametrize("density", [0.05, 0.2, 0.6])
def test_what_is_alive_is_found_piece_by_piece(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "parts", lambda shape: parts(shape, 3))
    rng = np.random.default_rng(8)
    for network in (mlp([4, 6, 5, 3]), residual(), resnet(2, (1, 1), 16, 3)):
        kept = {t.name: rng.random(t.shape) < density for t in network.parameters}
        thin = network.with_parameters({n: np.where(k, network.numbers(n), 0.0) for n, k in kept.items()})
        manifold = infer(thin)
        rows = np.concatenate(
            [manifold.matrix([t.name]).toarray()[kept[t.name].ravel()] for t in network.learned]
        )
        expected = (rows > 0).any(0) & (rows < 0).any(0)
        np.testing.assert_array_equal(manifold.alive(manifold.support), expected)
        np.testing.assert_array_equal(
            manifold.alive({t.name: kept[t.name] for t in network.learned}), expected
        )
        assert manifold.support.count == sum(kept[t.name].sum() for t in network.learned)


def test_what_is_not_zero_is_asked_for_tensor_by_tensor() -> None:
    network = mlp([2, 3, 2])
    value = network.numbers("fc1.weight").copy()
    value[1, 0] = 0.0
    support = infer(network.with_parameters({"fc1.weight": value})).support
    assert list(support) == [t.name for t in network.learned]
    assert len(support) == len(network.learned)
    assert (~support["fc1.weight"]).nonzero() == (1, 0)
    assert "x" not in support
    assert all(whole.all() for name, whole in support.items() if name != "fc1.weight")


def recurrent(seed: int = 0, n: int = 4, **extra: Any) -> Network:
    rng = np.random.default_rng(seed)
    arrays = {"J": weights(rng, (n, n)), "W_in": weights(rng, (n, 2)), "W_out": weights(rng, (1, n))}
    return load({**arrays, "b": weights(rng, (n,)), **extra})


def test_recurrent_network_scales_with_its_state() -> None:
    network = recurrent()
    manifold = infer(network)
    assert manifold.free_scales == 4
    assert sum(u.size for u in manifold.units) == 4
    rng = np.random.default_rng(1)
    h = rng.standard_normal(4)
    inputs = {x: rng.standard_normal((6, 3, 2)) for x in network.inputs}
    state = network.states[0][0]
    start = rng.standard_normal((3, 4))
    before = trajectory(network, inputs, {state: start})
    after = manifold.rescale(h)
    names = [u.column for u in manifold.units]
    scaled = start * np.exp(h[names])
    moved = trajectory(after, inputs, {state: scaled})
    for y in network.outputs:
        np.testing.assert_allclose(moved[y], before[y], rtol=1e-10, atol=1e-10 * np.abs(before[y]).max())
    # the initial state has to scale with the rest
    left = trajectory(after, inputs, {state: start})
    assert max(np.abs(left[y] - before[y]).max() for y in network.outputs) > 1e-3


def test_matrix_without_visible_units_has_one_scale_less_than_neurons() -> None:
    manifold = infer(load({"J": np.array([[5.0, 2.0, 0.0], [1.0, 0.0, 3.0], [4.0, 0.0, 0.0]])}))
    assert (manifold.count, manifold.free_scales) == (3, 2)
    assert manifold.invariants() == 5 - 2  # five synapses, the self-loop among them
    assert manifold.blocks[0].row(0) == ()  # the self-loop does not scale


def test_two_weak_components_leave_one_more_invariant() -> None:
    joined = np.array([[0.0, 1.0], [1.0, 0.0]])
    apart = np.kron(np.eye(2), joined)
    assert infer(load({"J": apart})).invariants() == 4 - (4 - 2)


def test_tanh_blocks_the_recurrent_neurons() -> None:
    manifold = infer(recurrent(activation="tanh"))
    assert manifold.free_scales == 0
    assert len(manifold.units) == 4
    assert all("tanh" in u.why for u in manifold.units)


def test_a_constant_pins_where_it_is_not_zero() -> None:
    def network(factor: list[float]) -> Network:
        return load(
            {
                "inputs": {"x": [2]},
                "parameters": {"fc1.weight": [[1.0, 2.0], [3.0, 4.0]], "fc2.weight": [[1.0, 1.0]]},
                "constants": {"c": factor},
                "operations": [
                    {"kind": "linear", "inputs": ["x", "fc1.weight"], "output": "z"},
                    {"kind": "bias", "inputs": ["z", "c"], "output": "b"},
                    {"kind": "activation", "function": "relu", "inputs": ["b"], "output": "a"},
                    {"kind": "linear", "inputs": ["a", "fc2.weight"], "output": "y"},
                ],
                "outputs": ["y"],
            }
        )

    assert infer(network([0.0, 0.0])).free_scales == 2
    half = infer(network([1.0, 0.0]))
    assert half.free_scales == 1
    assert {u.name: u.free for u in half.units} == {"fc1[0]": False, "fc1[1]": True}


def test_degrees_follow_the_activation() -> None:
    manifold = infer(mlp([2, 3, 2], activation="Max(x,0)**2"))
    assert {u.degree for u in manifold.units} == {Fraction(2)}
    out = next(b for b in manifold.blocks if b.name == "fc2.weight")
    assert out.row(0) == ((0, Fraction(-2)),)


def test_a_scale_without_finite_optimum_is_reported() -> None:
    manifold = infer(mlp([2, 3, 2], activation="sign"))
    assert manifold.free_scales == 3
    assert all("degree 0" in u.why for u in manifold.units)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.booleans(), st.integers(0, 10**6))
def test_mlp_has_one_scale_for_each_hidden_unit(widths: list[int], bias: bool, seed: int) -> None:
    network = mlp(widths, bias=bias, seed=seed)
    manifold = infer(network)
    hidden = sum(widths[1:-1])
    parameters = sum(t.size for t in network.parameters)
    assert manifold.free_scales == hidden == len(manifold.units)
    assert manifold.invariants() == parameters - hidden


def test_digits() -> None:
    manifold = infer(load("tests/data/digits.onnx"))
    assert manifold.free_scales == 80
    assert manifold.invariants() == 5018 - 80
    assert manifold.names[0] == "fc1[0]"


@pytest.mark.parametrize("name", CASES)
def test_powers_of_two_are_exact(name: str) -> None:
    """Every weight changes by a whole exponent, and the function not by a bit."""
    network, _ = CASES[name]
    manifold = infer(network)
    rng = np.random.default_rng(7)
    after = manifold.rescale_by_powers_of_two(3 * rng.standard_normal(manifold.count))
    for t in network.parameters:
        old, new = network.numbers(t.name), after.numbers(t.name)
        assert np.array_equal(np.frexp(old)[0], np.frexp(new)[0])
    x = {"x": rng.standard_normal((20, network.tensors["x"].shape[1]))}
    y = network.outputs[0]
    assert np.array_equal(evaluate(network, x)[y], evaluate(after, x)[y])


def test_fractional_degrees_move_in_whole_exponents() -> None:
    network = mlp([2, 3, 2], activation="sqrt(Max(x,0))")
    manifold = infer(network)
    after = manifold.rescale_by_powers_of_two(np.array([1.0, -1.0, 2.5]))
    ratio = after.numbers("fc1.weight")[:, 0] / network.numbers("fc1.weight")[:, 0]
    assert ratio.tolist() == [4.0, 0.25, 16.0]  # the nearest even powers of two to e, 1/e and e^2.5


def test_powers_of_two_stay_in_the_range_of_the_type() -> None:
    network = mlp([2, 1, 2])
    after = infer(network).rescale_by_powers_of_two(np.array([800.0]))
    ratio = np.log2(after.numbers("fc1.weight") / network.numbers("fc1.weight"))
    assert np.unique(ratio).tolist() == [577.0]  # half of 1154, which overflows


@pytest.mark.parametrize(("dtype", "exponent"), [("float16", -9), ("float32", -9), ("float64", -9)])
def test_no_digit_is_lost_at_the_end_of_the_range(dtype: str, exponent: int) -> None:
    """The smallest weight has three digits, 11/8: as many fit at the end of float16's range."""
    low = {"float16": -24 + 3, "float32": -126, "float64": -1022}[dtype]
    network = mlp([1, 2, 1], bias=False)
    values = {"fc1.weight": np.array([[11 / 8 * 2.0 ** (low + 9)], [1.0]]), "fc2.weight": np.ones((1, 2))}
    network = network.with_parameters(values)
    tensors = {n: dataclasses.replace(t, dtype=dtype) for n, t in network.tensors.items()}
    manifold = infer(dataclasses.replace(network, tensors=tensors))
    for steps, kept in ((exponent, exponent), (exponent - 1, -5), (exponent - 11, -5)):
        h = np.log(2.0) * np.array([steps, 3.0])
        after = manifold.rescale_by_powers_of_two(h)
        for name, value in values.items():
            new = after.numbers(name)
            assert np.array_equal(new.astype(dtype).astype(float), new)
            moved = np.log2(new / value).ravel().tolist()
            assert moved == ([kept, 3.0] if name == "fc1.weight" else [-kept, -3.0])


def test_a_running_mean_is_scaled_and_not_counted() -> None:
    """A recurrent pair whose common drift only the mean feels: one scale for what is learned."""
    ones, zeros = np.ones(2), np.zeros(2)
    tensors = {
        "s": Tensor("s", (1, 2), "state"),
        "J": Tensor("J", (2, 2), "parameter", np.array([[0.0, 2.0], [3.0, 0.0]])),
        "gamma": Tensor("gamma", (2,), "constant", ones),
        "beta": Tensor("beta", (2,), "constant", zeros),
        "mean": Tensor("mean", (2,), "parameter", np.array([0.5, -1.0]), buffer=True),
        "variance": Tensor("variance", (2,), "parameter", ones, buffer=True),
        "r": Tensor("r", (1, 2), "activation"),
        "z": Tensor("z", (1, 2), "activation"),
        "y": Tensor("y", (1, 2), "activation"),
    }
    operations = (
        Operation("activation", "phi", ("s",), "r", {"function": Activation.parse("relu")}),
        Operation("linear", "J", ("r", "J"), "z", {"transpose": True}),
        Operation("batchnorm", "bn", ("z", "gamma", "beta", "mean", "variance"), "y", {"epsilon": 1e-5}),
    )
    manifold = infer(Network(tensors, operations, (), (), (("s", "y"),)))
    assert (manifold.count, manifold.free_scales, manifold.invariants()) == (2, 1, 1)
    logs = manifold.apply(np.array([0.3, -0.2]))
    assert logs["mean"].tolist() == [0.3, -0.2]
    assert logs["variance"].tolist() == [0.0, 0.0]
