"""The cases are as hard as they are called. What they hold is counted here, without our own rules."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from balproof.balance.problem import Costs
from balproof.crosscheck.battery import BRIDGE, matrices, networks, plain
from balproof.importers.torch_cases import module_of
from balproof.network.evaluate import evaluate

L2 = Costs.parse("l2")


def components(J: np.ndarray) -> int:
    return int(connected_components(J != 0, directed=True, connection="strong")[0])


def test_the_matrices() -> None:
    found = {name: network.numbers("J") for name, network in matrices(L2).items()}
    assert components(found["dense"]) == components(found["sparse"]) == 1
    assert np.mean(found["sparse"] == 0) > 0.5
    bridge = found["one bridge"]
    assert components(bridge) == 1
    assert np.sum(bridge == BRIDGE) == 1
    assert components(np.where(bridge == BRIDGE, 0, bridge)) == 2
    assert not found["zero row"][2].any()
    assert np.count_nonzero(found["zero row"][:, 2]) == 7
    assert not found["zero row and column"][:, 2].any()
    size = np.abs(found["12 decades"])
    assert 10 < np.log10(size.max() / size.min()) <= 12
    square = found["already balanced"] ** 2
    np.testing.assert_allclose(square.sum(0), square.sum(1), rtol=1e-10)


def test_the_networks() -> None:
    found = networks(L2)
    dead = {t.name: found["dead units"].numbers(t.name) for t in found["dead units"].parameters}
    assert not dead["fc1.weight"][1].any() and dead["fc1.bias"][1] == 0
    assert dead["fc2.weight"][:, 1].any() and not dead["fc2.weight"][:, 2].any()
    assert not dead["fc3.weight"][:, 0].any()
    size = np.concatenate([np.abs(found["12 decades"].numbers(n)).ravel() for n in dead])
    assert 10 < np.log10(size.max() / size.min()) <= 12
    held = found["one weight from dead"].numbers("fc2.weight")[:, 0]
    assert held.tolist() == [BRIDGE, 0, 0]
    assert not found["without biases"].biases
    assert len(found["deep and thin"].parameters) == 24
    calls = [op.inputs[1] for op in found["layer called twice"].operations if op.kind == "linear"]
    assert calls == ["fc1.weight", "fc2.weight", "fc2.weight", "fc4.weight"]
    v = {t.name: found["already balanced"].numbers(t.name) ** 2 for t in found["already balanced"].parameters}
    for i in (1, 2):
        into = v[f"fc{i}.weight"].sum(1) + v[f"fc{i}.bias"]
        np.testing.assert_allclose(into, v[f"fc{i + 1}.weight"].sum(0), rtol=1e-10)
    assert list(plain(L2)) == list(found)[:7]


def test_what_is_balanced_already_is_so_under_the_cost_that_is_asked_for() -> None:
    J = np.abs(matrices(Costs.parse("l1"))["already balanced"].numbers("J"))
    np.testing.assert_allclose(J.sum(0), J.sum(1), rtol=1e-10)


@pytest.mark.torch
@pytest.mark.parametrize("name", list(networks(L2)))
def test_a_module_computes_what_its_network_does(name: str) -> None:
    torch = pytest.importorskip("torch")
    network = networks(L2)[name]
    module, example = module_of(network)
    assert example.shape == (1, network.tensors["x"].shape[1])
    assert {n for n, _ in module.named_parameters()} == {t.name for t in network.parameters}
    x = np.random.default_rng(0).standard_normal((20, example.shape[1]))
    expected = module(torch.from_numpy(x)).detach().numpy()
    got = evaluate(network, {"x": x})[network.outputs[0]]
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    assert np.abs(expected).max() > 0
