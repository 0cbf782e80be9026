"""How far two functions are apart, where the answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.crosscheck import function as module
from balproof.crosscheck.audit import check
from balproof.crosscheck.function import function_error
from balproof.errors import RequestError
from balproof.importers import load
from tests.networks import mlp


def line(w: float, b: float, activation: str = "relu") -> object:
    return load(
        {
            "inputs": {"x": [1]},
            "parameters": {"w": [[w]], "b": [b]},
            "operations": [
                {"kind": "linear", "inputs": ["x", "w"], "output": "1"},
                {"kind": "bias", "inputs": ["1", "b"], "output": "2"},
                {"kind": "activation", "function": activation, "inputs": ["2"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5, -1.0])
def test_outputs_that_are_multiples(factor: float) -> None:
    network = mlp([3, 4, 2])
    last = {n: factor * network.numbers(n) for n in ("fc2.weight", "fc2.bias")}
    expected = abs(1 - factor) / max(1, abs(factor))
    assert function_error(network, network.with_parameters(last)) == pytest.approx(expected)


def test_biases_are_seen_beside_large_weights() -> None:
    # At inputs of size 1 the weight 1e4 drowns a bias of 1 that is off by 1 in 1000.
    found = function_error(line(1e4, 1.0), line(1e4, 1.001))
    assert found is not None and found > 1e-6
    found = function_error(line(10.0, 1.0), line(10.0, 1.001))
    assert found is not None and found > 5e-4


def test_weights_are_seen_beside_large_biases() -> None:
    # Dead for |x| < 20: a hundred times the usual size wakes it.
    found = function_error(line(1.0, -20.0), line(1.5, -20.0))
    assert found is not None and found > 0.1


def test_outputs_near_zero_are_not_nothing() -> None:
    assert function_error(line(1e-30, 0.0), line(2e-30, 0.0)) == pytest.approx(0.5)
    assert function_error(line(0.0, 0.0), line(1e-30, 0.0)) == 1.0
    assert function_error(line(0.0, 0.0), line(0.0, 0.0)) == 0.0


def test_overflow() -> None:
    steep = "x**8"
    assert function_error(line(1.0, 0.0, steep), line(1e60, 0.0, steep)) == float("inf")
    assert function_error(line(1e60, 0.0, steep), line(1e60, 0.0, steep)) is None
    assert function_error(line(1e38, 0.0, steep), line(1e38, 0.0, steep)) == 0.0  # some do not overflow


def test_a_rescaling_may_overflow_a_little_earlier() -> None:
    """A state that is squared at each step reaches 1e153 and then 1e306; 64 times 1e153 has no square."""
    before = {"J": [[1.0]], "W_in": [[1.0]], "W_out": [[1.0]], "activation": "Max(x,0)**2"}
    after = {**before, "J": [[1 / 64]], "W_in": [[64.0]], "W_out": [[1 / 64]]}
    given = [np.array([10 ** (153 / 128), *[0.0] * 9]).reshape(10, 1, 1)]
    left, right = (module._run(load(n), given)[0] for n in (before, after))
    assert np.isfinite(left).sum() == np.isfinite(right).sum() + 1
    assert module._difference(left, right) == pytest.approx(0.0, abs=1e-12)
    assert module._difference(left[:5], np.full_like(left[:5], np.inf)) == float("inf")


def test_what_cannot_be_compared() -> None:
    assert function_error(mlp([3, 4, 2]), mlp([3, 4, 1])) is None
    assert function_error(mlp([3, 4, 2]), mlp([2, 4, 2])) is None
    assert function_error(load(np.eye(2)), load(np.eye(2))) is None
    assert function_error(mlp([3, 4, 2]), mlp([3, 5, 6, 2])) is not None


def test_the_seed_decides() -> None:
    a, b = mlp([3, 4, 2]), mlp([3, 4, 2], seed=1)
    assert function_error(a, b, 0) == function_error(a, b, 0) != function_error(a, b, 1)


def test_a_negative_seed_is_refused() -> None:
    network = load("tests/data/chain.json")
    for compare in (function_error, check):
        with pytest.raises(RequestError, match="seed -1 is negative"):
            compare(network, network, seed=-1)


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_all_sizes_together_are_all_sizes_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large network is run once for all inputs: the same inputs, and the same difference."""
    from balproof.crosscheck import function
    from tests.convnets import resnet

    network = mlp([4, 6, 5, 3]) if name == "mlp" else resnet(3, (1, 1), 16, 5)
    tensor = network.learned[-2].name
    after = network.with_parameters({tensor: 1.01 * network.numbers(tensor)})
    runs: list[int] = []
    run = function._run
    monkeypatch.setattr(function, "_run", lambda *x: (runs.append(1), run(*x))[1])
    weights = sum(t.size for t in network.parameters)
    monkeypatch.setattr(function, "WEIGHTS", 16 * weights)
    together = function_error(network, after)
    assert together and len(runs) == 2
    monkeypatch.setattr(function, "_mixes", lambda network: True)
    assert function_error(network, after) == pytest.approx(together, rel=1e-9)
    assert len(runs) == 2 + 6
