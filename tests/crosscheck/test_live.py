"""The acceptance test: a right function passes, and each planted fault is seen in its own column."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import balproof
from balproof.balance.solve import solve
from balproof.crosscheck.live import Case, LiveAudit, audit
from balproof.errors import ModelError, RequestError
from balproof.importers import load
from balproof.importers.json_file import to_document
from balproof.network.graph import Network
from tests.networks import mlp
from tests.sweeps import slow_but

Arrays = dict[str, np.ndarray]


def by_hand(arrays: Arrays, *, frozen: int = 0, biases: bool = True, guard: bool = True) -> Arrays:
    """Balance of a perceptron under L2 by its definition: unit by unit, in = out, until nothing moves."""
    w = {name: array.copy() for name, array in arrays.items()}
    depth = sum(name.endswith("weight") for name in w)
    for _ in range(3_000):
        moved = 0.0
        for i in range(1, depth - frozen):
            into = (w[f"fc{i}.weight"] ** 2).sum(1) + w.get(f"fc{i}.bias", np.zeros(1)) ** 2
            out = (w[f"fc{i + 1}.weight"] ** 2).sum(0)
            alive = (into > 0) & (out > 0)
            with np.errstate(all="ignore"):
                scale = (out / into) ** 0.25
            if guard:
                scale = np.where(alive, scale, 1.0)
            w[f"fc{i}.weight"] *= scale[:, None]
            if biases and f"fc{i}.bias" in w:
                w[f"fc{i}.bias"] *= scale
            with np.errstate(all="ignore"):
                w[f"fc{i + 1}.weight"] /= scale
            moved = max(moved, float(np.abs(np.log(scale[alive])).max(initial=0.0)))
        if not moved > 1e-12:
            break
    return w


def cases(found: LiveAudit) -> dict[str, Case]:
    return {case.name: case for case in found.cases}


def failing(found: LiveAudit, column: str) -> set[str]:
    return {case.name for case in found.cases if getattr(case, column) is False}


@pytest.mark.parametrize("cost", slow_but(["l2", "l1", "lp:3/2"], "l2"))
def test_a_right_function_passes(cost: str) -> None:
    found = audit(lambda n: solve(n, cost).network, None, cost)
    assert found.ok, found.as_text()
    assert len(found.cases) == 10
    assert all(c.optimal and c.balanced and c.same_function and c.finite for c in found.cases)
    assert balproof.audit is audit


def test_one_that_is_written_by_hand_passes() -> None:
    found = audit(by_hand, takes="arrays")
    assert found.ok, found.as_text()
    assert len(found.cases) == 7


def test_matrices_with_and_without_a_balanced_state() -> None:
    found = audit(lambda J: solve(J).network.numbers("J"), takes="matrix")
    assert found.ok, found.as_text()
    assert {c.name for c in found.cases if not c.attained} == {"zero row"}
    assert cases(found)["zero row"].balanced is None
    broken = audit(lambda J: np.where(J.any(1).all(), solve(J).network.numbers("J"), J * 2), takes="matrix")
    assert failing(broken, "same_orbit") == {"zero row", "zero row and column"}  # that is asked for still
    assert failing(broken, "ok") == {"zero row", "zero row and column"}


def test_the_cost_is_the_one_that_is_asked_for() -> None:
    found = audit(lambda n: solve(n, "l1").network, mlp([3, 4, 2]), "l2", battery=False)
    assert failing(found, "balanced") == failing(found, "optimal") == {c.name for c in found.cases}
    assert not failing(found, "same_orbit")


def test_a_bias_that_is_not_scaled() -> None:
    found = audit(lambda w: by_hand(w, biases=False), takes="arrays")
    wrong = {"with biases", "dead units", "12 decades", "deep and thin", "one weight from dead"}
    assert failing(found, "same_function") == failing(found, "same_orbit")
    assert failing(found, "same_orbit") >= wrong
    assert cases(found)["without biases"].ok
    assert not failing(found, "finite")


def test_a_frozen_last_layer() -> None:
    found = audit(lambda w: by_hand(w, frozen=1), takes="arrays")
    assert failing(found, "balanced") == failing(found, "optimal")
    assert failing(found, "balanced") == {c.name for c in found.cases} - {"already balanced"}
    assert not failing(found, "same_orbit") and not failing(found, "same_function")
    assert not found.ok


def test_nan_on_dead_units() -> None:
    with np.errstate(all="ignore"):
        found = audit(lambda w: by_hand(w, guard=False), takes="arrays")
    assert failing(found, "finite") == failing(found, "ok") == {"dead units"}


def test_an_input_that_is_changed_although_something_else_is_returned() -> None:
    def careless(w: Arrays) -> Arrays:
        balanced = by_hand(w)
        w["fc1.weight"] *= 2.0
        return balanced

    found = audit(careless, takes="arrays")
    assert failing(found, "input_kept") == failing(found, "ok") == {c.name for c in found.cases}
    assert "CHANGED" in found.as_text()
    assert not failing(found, "same_orbit")


@pytest.mark.parametrize("returns", [True, False])
def test_a_function_that_works_in_place(returns: bool) -> None:
    def place(network: Network) -> Network | None:
        for name, value in solve(network).network.tensors.items():
            if value.role == "parameter":
                network.tensors[name].value[:] = value.value
        return network if returns else None

    def matrix(J: np.ndarray) -> np.ndarray | None:
        J[:] = solve(J).network.numbers("J")
        return J if returns else None

    def arrays(w: Arrays) -> Arrays | None:
        w.update(by_hand(w))
        return w if returns else None

    model = mlp([2, 3, 1])
    before = {t.name: model.numbers(t.name).copy() for t in model.parameters}
    assert audit(place, model, battery=False).ok
    assert audit(matrix, np.array([[0.0, 4.0], [1.0, 0.0]]), takes="matrix", battery=False).ok
    assert audit(arrays, model, takes="arrays", battery=False).ok
    assert all(np.array_equal(model.numbers(n), v) for n, v in before.items())  # it was given a copy
    idle = audit(lambda _: None, np.array([[0.0, 4.0], [1.0, 0.0]]), takes="matrix", battery=False)
    assert failing(idle, "balanced")


def test_in_place_it_is_compared_with_what_was_there_before() -> None:
    def matrix(J: np.ndarray) -> None:
        J[:] = solve(J).network.numbers("J")
        J[0, 1] *= -1.0

    def network(n: Network) -> None:
        n.tensors["fc1.weight"].value[0, 0] *= -1.0

    def arrays(w: Arrays) -> None:
        w["fc1.weight"][0, 0] *= -1.0

    assert failing(audit(matrix, np.ones((3, 3)), takes="matrix", battery=False), "same_orbit")
    assert failing(audit(network, mlp([2, 3, 1]), battery=False), "same_orbit")
    assert failing(audit(arrays, mlp([2, 3, 1]), takes="arrays", battery=False), "same_orbit")


def test_units_may_be_balanced_closely_and_the_whole_be_not_optimal() -> None:
    # A flow of 1 through 20 units from a to b, which each have 1.2e6 more to and from a partner, and hardly
    # a way back: a is out of balance by 1 in 2.4e6. At the optimum the 22 costs of that cycle are equal, to
    # their geometric mean.
    J = np.diag(np.ones(21), -1)  # 0 is a, 21 is b
    J = np.block([[J, np.zeros((22, 2))], [np.zeros((2, 24))]])
    for unit, partner in ((0, 22), (21, 23)):
        J[unit, partner] = J[partner, unit] = 1.2e6**0.5
    J[0, 21] = 1e-12
    (case,) = audit(lambda J: J, J, takes="matrix", battery=False).cases
    assert (case.same_orbit, case.balanced, case.optimal, case.ok) == (True, True, False, False)
    assert case.audit is not None
    assert case.audit.optimality_gap == pytest.approx((21 - 22 * 1e-24 ** (1 / 22)) / 4.8e6, rel=1e-4)


@pytest.mark.parametrize(
    ("takes", "function", "problem"),
    [
        ("network", lambda n: [n], "returned list, not a Network"),
        ("matrix", lambda J: J.tolist(), "returned list, not an array"),
        ("matrix", lambda J: J + 0j, "returned what cannot be audited: J holds complex128"),
        ("arrays", lambda w: list(w.values()), "returned list, not a dict of arrays"),
        ("arrays", lambda w: {**w, "x": 1}, "returned a dict of fc1.weight, "),
        ("arrays", lambda w: {n: v.tolist() for n, v in w.items()}, "returned list, not an array of floats"),
        (
            "arrays",
            lambda w: {n: v[1:] for n, v in w.items()},
            "returned what cannot be audited: 'fc1.weight'",
        ),
        ("arrays", lambda w: w["fc99.weight"], "raised: KeyError 'fc99.weight'"),
        ("matrix", lambda J: np.linalg.cholesky(J[:, :2]), "raised: LinAlgError Last 2 dimensions"),
    ],
)
def test_what_is_raised_or_of_a_wrong_type(takes: Any, function: Callable[[Any], Any], problem: str) -> None:
    found = audit(function, takes=takes)
    assert all(c.problem.startswith(problem) for c in found.cases), found.as_text()
    assert all((c.same_orbit, c.balanced, c.finite, c.ok) == (None, None, None, False) for c in found.cases)
    assert all(c.input_kept for c in found.cases)
    assert problem in found.as_text()


def test_one_case_that_raises_leaves_the_others() -> None:
    def picky(w: Arrays) -> Arrays:
        if "fc1.bias" not in w:
            raise ValueError("no biases\nat all")
        return by_hand(w)

    found = audit(picky, takes="arrays")
    assert failing(found, "ok") == {"without biases"}
    assert cases(found)["without biases"].problem == "raised: ValueError no biases"


def test_what_is_no_error_of_a_case_is_not_caught() -> None:
    def stop(J: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(stop, takes="matrix")


def test_a_result_of_another_shape() -> None:
    found = audit(lambda J: J[:-1, :-1], np.eye(3) + 1, takes="matrix", battery=False)
    assert [(c.name, c.same_orbit, c.finite, c.ok) for c in found.cases] == [
        ("the model", False, None, False)
    ]


@pytest.mark.slow
def test_single_precision_is_judged_as_such() -> None:
    found = audit(lambda w: {n: v.astype(np.float32) for n, v in by_hand(w).items()}, takes="arrays")
    assert cases(found)["with biases"].ok and cases(found)["deep and thin"].ok
    rng = np.random.default_rng(0)

    def rough(w: Arrays) -> Arrays:  # as far off, and in doubles
        return {n: v * (1 + 5e-8 * rng.standard_normal(v.shape)) for n, v in by_hand(w).items()}

    assert not cases(audit(rough, takes="arrays"))["with biases"].same_orbit


def test_the_table_and_its_json() -> None:
    J = np.array([[0.0, 4.0], [1.0, 0.0]])  # imbalance 15/17; the cost 17 against 2·4
    found = audit(lambda J: J, J, takes="matrix", battery=False)
    assert found.as_text(seconds=False).splitlines() == [
        "case       same function  same orbit  balanced    optimal     finite  input",
        "the model  yes            yes         NO 8.8e-01  NO 1.1e+00  yes     kept",
        "0 of 1 cases pass under l2",
    ]
    assert "seconds" in found.as_text()
    stored = json.loads(json.dumps(found.as_json()))
    assert stored["function"] == "<lambda>" and stored["regularizer"] == "l2" and stored["ok"] is False
    (case,) = stored["cases"]
    assert (case["same_orbit"], case["balanced"], case["audit"]["imbalance"]) == (True, False, 15 / 17)
    with pytest.raises(AttributeError):
        found.cases[0].balanced = True


def test_a_regularizer_by_name_is_for_the_model() -> None:
    model = mlp([2, 3, 1]), ["l2", "fc2.*=l1"]
    assert audit(lambda n: solve(n, model[1]).network, *model, battery=False).ok
    assert not audit(lambda n: solve(n).network, *model, battery=False).ok


def test_requests_that_cannot_be_met() -> None:
    with pytest.raises(RequestError, match="unknown form 'list'"):
        audit(lambda x: x, takes="list")
    with pytest.raises(RequestError, match="nothing to run"):
        audit(lambda x: x, battery=False)
    with pytest.raises(RequestError, match="more than a matrix"):
        audit(lambda x: x, {"J": [[1.0]], "b": [1.0]}, takes="matrix")
    with pytest.raises(RequestError, match="no module"):
        audit(lambda x: x, mlp([2, 3, 1]), takes="module")
    document = to_document(mlp([2, 3, 1]))
    document["parameters"]["fc1.bias"] = ["a", 1, 2]
    with pytest.raises(ModelError, match="symbols"):
        audit(lambda x: x, document)


@pytest.mark.slow
@pytest.mark.torch
def test_modules() -> None:
    torch = pytest.importorskip("torch")

    def right(module: Any) -> None:
        example = torch.zeros(1, next(module.parameters()).shape[1], dtype=torch.float64)
        network = solve(load(module, example)).network
        with torch.no_grad():
            for name, value in module.named_parameters():
                value.copy_(torch.from_numpy(network.numbers(name).copy()))

    def unscaled(module: Any) -> Any:
        kept = {n: v.detach().clone() for n, v in module.named_parameters() if n.endswith("bias")}
        right(module)
        with torch.no_grad():
            for name, value in kept.items():
                module.get_parameter(name).copy_(value)
        return module

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    weight = model[0].weight.detach().clone()
    example = torch.zeros(2, 3, dtype=torch.float64)
    found = audit(right, model, takes="module", example_inputs=example)
    assert found.ok, found.as_text()
    assert len(found.cases) == 11
    assert torch.equal(weight, model[0].weight)
    wrong = audit(unscaled, takes="module")
    assert cases(wrong)["without biases"].ok
    assert {"with biases", "residual", "layer called twice"} <= failing(wrong, "same_function")
    typed = audit(lambda m: m.state_dict(), model, takes="module", example_inputs=example, battery=False)
    assert typed.cases[0].problem == "returned OrderedDict, not a module"
