"""Running a network. The expected values are NumPy's, computed from the definition."""

import numpy as np
import pytest

from balproof.importers import load
from balproof.network import evaluate as module
from balproof.network.evaluate import evaluate

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_a_layer_of_many_weights_is_run_some_rows_at_a_time(
    transpose: bool, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = RNG.standard_normal((5, 3)).astype(dtype)
    wide = weight.astype(np.float64)
    layer = {"kind": "linear", "inputs": ["x", "w"], "output": "y", "transpose": transpose}
    network = load(
        {
            "inputs": {"x": [2, 3 if transpose else 5]},
            "parameters": {"w": wide.tolist()},
            "operations": [layer],
            "outputs": ["y"],
        }
    ).with_parameters({"w": weight})
    x = RNG.standard_normal((4, 2, 3 if transpose else 5))
    expected = x @ (wide.T if transpose else wide)
    np.testing.assert_allclose(evaluate(network, {"x": x})["y"], expected, rtol=1e-14, atol=1e-14)
    monkeypatch.setattr(module, "ROWS", 14)
    sizes: list[int] = []
    taken = module.parts
    monkeypatch.setattr(module, "parts", lambda shape, limit: sizes.append(limit) or taken(shape, limit))
    for piece in (1, 6, 100):
        monkeypatch.setattr(module, "PIECE", piece)
        np.testing.assert_allclose(evaluate(network, {"x": x})["y"], expected, rtol=1e-13, atol=1e-13)
    assert sizes == [3, 6, 100]


def test_a_stack_of_matrices_is_run_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = RNG.standard_normal((2, 3, 4))
    layer = {"kind": "linear", "inputs": ["x", "w"], "output": "y", "transpose": False}
    network = load(
        {
            "inputs": {"x": [2, 5, 3]},
            "parameters": {"w": weight.tolist()},
            "operations": [layer],
            "outputs": ["y"],
        }
    )
    monkeypatch.setattr(module, "ROWS", 1)
    x = RNG.standard_normal((1, 2, 5, 3))
    np.testing.assert_allclose(evaluate(network, {"x": x})["y"], x @ weight, rtol=1e-14)
