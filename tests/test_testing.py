"""The assertions for other people's tests: what passes, and what the messages say."""

from pathlib import Path

import numpy as np
import pytest

from balproof.balance.solve import solve
from balproof.errors import ModelError, RequestError
from balproof.importers import load, save
from balproof.importers.json_file import to_document
from balproof.testing import assert_balanced, assert_same_function
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
