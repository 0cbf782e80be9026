"""The assertions for other people's tests: what passes, and what the messages say."""

from pathlib import Path

import numpy as np
import pytest

from balproof.balance.solve import solve
from balproof.errors import ModelError, RequestError
from balproof.importers import load, save
from balproof.importers.json_file import to_document
from balproof.testing import assert_balanced, assert_optimal, assert_rescaling_of, assert_same_function
from tests.networks import mlp

# One unit with w, v: balanced for lp iff |w|^p = |v|^p.
PAIR = {"J": [[0.0]], "W_in": [[2.0]], "W_out": [[-2.0]]}


def test_balanced_and_not() -> None:
    assert_balanced(PAIR)
    assert_balanced(PAIR, ["l1", "J=l2"])
    with pytest.raises(AssertionError, match=r"^1 of 1 units unbalanced under l2: s\[0\] by 0\.6$"):
        assert_balanced({**PAIR, "W_in": [[4.0]]})  # (16 − 4)/(16 + 4)
    with pytest.raises(AssertionError, match=r"under l1: s\[0\] by 0\.33$"):
        assert_balanced({**PAIR, "W_in": [[4.0]]}, "l1")
    assert_balanced({**PAIR, "W_in": [[4.0]]}, tolerance=0.61)
    with pytest.raises(AssertionError):
        assert_balanced({**PAIR, "W_in": [[4.0]]}, tolerance=0.59)


def test_a_tolerance_that_is_no_number_lets_nothing_pass() -> None:
    with pytest.raises(AssertionError, match="1 of 1 units unbalanced"):
        assert_balanced({**PAIR, "W_in": [[4.0]]}, tolerance=float("nan"))
    with pytest.raises(AssertionError, match="differ by 0"):
        assert_same_function(PAIR, PAIR, tolerance=float("nan"))
    with pytest.raises(AssertionError, match="^2 of 2 units"):  # the dead one is not among them
        assert_balanced(mlp([2, 3, 1]).with_parameters({"fc2.weight": np.array([[1, 2, 0.0]])}), tolerance=-1)


def test_the_worst_units_come_first_and_the_others_are_counted() -> None:
    network = mlp([3, 9, 2])
    v = {t.name: network.numbers(t.name) for t in network.parameters}
    into = (v["fc1.weight"] ** 2).sum(1) + v["fc1.bias"] ** 2
    out = (v["fc2.weight"] ** 2).sum(0)
    ratio = np.abs(into - out) / (into + out)
    worst = int(np.argmax(ratio))
    with pytest.raises(AssertionError) as caught:
        assert_balanced(network)
    assert str(caught.value).startswith(
        f"9 of 9 units unbalanced under l2: fc1[{worst}] by {ratio[worst]:.2g}, "
    )
    assert str(caught.value).endswith(" and 4 more")


def test_files_and_the_tolerance_of_their_type(digits: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.onnx"
    save(solve(load(digits)).network, target)
    assert_balanced(target)
    assert_same_function(digits, str(target), tolerance=1e-5)
    with pytest.raises(
        AssertionError, match=r"outputs differ by .*e-0. of the largest output \(tolerance 1e-09\)"
    ):
        assert_same_function(digits, target)


def test_dead_units_are_left_out() -> None:
    assert_balanced({**PAIR, "W_out": [[0.0]]})


def test_the_size_of_a_difference() -> None:
    assert_same_function(PAIR, {**PAIR, "W_in": [[4.0]], "W_out": [[-1.0]]})
    with pytest.raises(AssertionError, match=r"differ by 0\.333 of"):
        assert_same_function(PAIR, {**PAIR, "W_out": [[-3.0]]})  # 1 − 2/3
    assert_same_function(PAIR, {**PAIR, "W_out": [[-3.0]]}, tolerance=0.34)
    with pytest.raises(AssertionError):
        assert_same_function(PAIR, {**PAIR, "W_out": [[-3.0]]}, tolerance=0.33)


def test_what_cannot_be_compared() -> None:
    network = mlp([2, 3, 1])
    with pytest.raises(AssertionError, match="other inputs or outputs"):
        assert_same_function(network, mlp([3, 3, 1]))
    with pytest.raises(AssertionError, match="other inputs or outputs"):
        assert_same_function(network, mlp([2, 3, 2]))
    with pytest.raises(ModelError, match="no output"):
        assert_same_function(np.eye(2), np.eye(2))
    document = to_document(network)
    document["parameters"]["fc1.bias"] = ["a", 1, 2]
    with pytest.raises(ModelError, match="not known here"):
        assert_same_function(network, document)
    with pytest.raises(ModelError, match="symbols"):
        assert_balanced(document)
    bad = network.with_parameters({"fc1.bias": np.full(3, np.nan)})
    with pytest.raises(ModelError, match=r"fc1.bias\[0\] is nan"):
        assert_balanced(bad)
    with pytest.raises(ModelError, match=r"fc1.bias\[0\] is nan"):
        assert_same_function(network, bad)
    with pytest.raises(RequestError, match="no parameter is called"):
        assert_balanced(network, "fc7.*=l1")
    with pytest.raises(RequestError, match="seed -1 is negative"):
        assert_same_function(network, network, seed=-1)


def test_the_optimum_and_how_far_above_it() -> None:
    assert_optimal(PAIR)
    # w = 4, v = 2: 16 + 4 = 20, and 2·|w v| = 16 at the optimum. l1: 6, and 2·sqrt(8) at the optimum.
    wide = {**PAIR, "W_in": [[4.0]]}
    with pytest.raises(AssertionError) as caught:
        assert_optimal(wide)
    assert str(caught.value) == (
        "cost above the optimum under l2 by 0.25 of it (tolerance 1e-06), worst: s[0] by 0.6"
    )
    with pytest.raises(AssertionError, match=r"under l1 by 0\.0607 of it .* s\[0\] by 0\.33$"):
        assert_optimal(wide, "l1")
    assert_optimal(wide, tolerance=0.2501)
    with pytest.raises(AssertionError, match=r"by 0\.25 of it"):
        assert_optimal(wide, tolerance=0.2499)
    with pytest.raises(AssertionError, match="tolerance nan"):
        assert_optimal(PAIR, tolerance=float("nan"))


def test_a_cost_without_a_bound_is_compared_with_the_optimum_that_is_found() -> None:
    assert_optimal(PAIR, "cosh(w) - 1")
    # cosh 4 + cosh 2 against twice the cosh of their geometric mean, less 1 each.
    size = (np.cosh(4) + np.cosh(2) - 2) / (2 * np.cosh(8**0.5) - 2) - 1
    with pytest.raises(AssertionError, match=rf"by {size:.3g} of it"):
        assert_optimal({**PAIR, "W_in": [[4.0]]}, "cosh(w) - 1")


def test_an_optimum_that_is_not_attained_is_named() -> None:
    with pytest.raises(AssertionError, match=r"under l2: .* falls for ever along s\["):
        assert_optimal({"J": [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]})


def test_no_bound_and_no_optimum_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balproof.crosscheck.optimality.EXACT", 0)  # as if the network were larger
    with pytest.raises(AssertionError, match="not known to be optimal under l2: .*too far"):
        assert_optimal(mlp([3, 9, 2], spread=4.0))
    assert_optimal(solve(mlp([3, 9, 2])).network)


def test_a_rescaling_and_what_is_none() -> None:
    network = mlp([2, 3, 1])
    assert_rescaling_of(solve(network, "l1").network, network)
    bias = solve(network).network.with_parameters({"fc1.bias": network.numbers("fc1.bias")})
    old, new = network.numbers("fc1.bias"), solve(network).network.numbers("fc1.bias")
    with pytest.raises(AssertionError) as caught:
        assert_rescaling_of(bias, network)
    off = np.abs(new - old) / np.maximum(np.abs(new), np.abs(old))
    assert str(caught.value) == "not a rescaling: " + ", ".join(
        f"bias-not-scaled fc1.bias[{k}] (unit fc1[{k}]) by {off[k]:.2g}" for k in range(3)
    )
    with pytest.raises(AssertionError, match=r"^not a rescaling: not-finite fc1.bias\[1\]$"):
        assert_rescaling_of(
            network.with_parameters({"fc1.bias": np.array([1.0, np.nan, 1.0])}),
            network.with_parameters({"fc1.bias": np.ones(3)}),
        )
    with pytest.raises(AssertionError, match="structure-differs fc1.weight has shape"):
        assert_rescaling_of(mlp([2, 4, 1]), network)


def test_an_orbit_is_not_a_matter_of_balance_or_of_outputs() -> None:
    assert_rescaling_of({**PAIR, "W_in": [[4.0]], "W_out": [[-1.0]]}, PAIR)
    matrix = np.array([[0.0, 2.0], [0.5, 0.0]])
    assert_rescaling_of(np.array([[0.0, 1.0], [1.0, 0.0]]), matrix)  # no output sees it
    with pytest.raises(
        AssertionError, match=r"not-a-rescaling J\[.,.\] \(units s\[0\] and s\[1\]\) by 0\.29"
    ):
        assert_rescaling_of(np.array([[0.0, 1.0], [2.0, 0.0]]), matrix)
    off = solve(mlp([2, 3, 1])).network.with_parameters({"fc2.bias": np.array([7.0])})
    with pytest.raises(AssertionError) as caught:  # only what is off the orbit is named
        assert_rescaling_of(off, mlp([2, 3, 1]))
    assert "fc2.bias[0]" in str(caught.value)
    assert "unbalanced" not in str(caught.value)


def test_files_of_onnx(digits: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.onnx"
    save(solve(load(digits)).network, target)
    assert_rescaling_of(target, str(digits))
    assert_optimal(target)
    with pytest.raises(AssertionError, match=r"by 0\.302 of it"):  # 251.946264 against 193.5373364
        assert_optimal(digits)


@pytest.mark.torch
def test_modules_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from balproof.importers.torch_program import module_with

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    x = torch.zeros(2, 3, dtype=torch.float64)
    balanced = module_with(solve(load(module, x)).network, module)
    assert_balanced(balanced, example_inputs=x)
    assert_optimal(balanced, example_inputs=x)
    assert_same_function(module, balanced, example_inputs=x)
    assert_rescaling_of(balanced, module, example_inputs=x)
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(balanced, (x[:1],)), path)
    assert_balanced(path)
    assert_rescaling_of(path, module, example_inputs=x)
    with torch.no_grad():
        balanced[0].bias.mul_(2.0)
    for wrong in (
        lambda: assert_balanced(balanced, example_inputs=x),
        lambda: assert_optimal(balanced, example_inputs=x),
        lambda: assert_same_function(module, balanced, example_inputs=x),
        lambda: assert_rescaling_of(balanced, module, example_inputs=x),
    ):
        with pytest.raises(AssertionError):
            wrong()
    with pytest.raises(ModelError, match="example inputs"):
        assert_balanced(balanced)
