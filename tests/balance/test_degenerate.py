"""Networks at the edges, through the commands and every method: one clear line, or an answer explained."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import balproof.cli
from balproof.balance import solve as solving
from balproof.balance import unattained
from balproof.balance.problem import BalanceProblem
from balproof.balance.solve import METHODS, Method, solve
from balproof.balance.unattained import falling
from balproof.errors import RequestError
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.balance.samples import BRIDGE, raw, recurrent
from tests.balance.test_solve import falls_along_the_witness
from tests.networks import mlp
from tests.sweeps import spread

Array = np.ndarray
Values = list[list[float]]


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str


Cli = Callable[..., Run]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["balproof", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            balproof.cli.main()
        out, err = capsys.readouterr()
        return Run(int(stop.value.code or 0), out, err)

    return run


def layers(*values: Values, activation: str = "relu") -> dict[str, Any]:
    """A multilayer perceptron with weights w1, w2, … and without biases, as a document."""
    operations: list[dict[str, Any]] = []
    x = "x"
    for i in range(1, len(values) + 1):
        operations.append({"kind": "linear", "inputs": [x, f"w{i}"], "output": f"z{i}"})
        if i < len(values):
            operations.append(
                {"kind": "activation", "function": activation, "inputs": [f"z{i}"], "output": f"a{i}"}
            )
        x = f"a{i}"
    return {
        "inputs": {"x": [len(values[0][0])]},
        "parameters": {f"w{i}": v for i, v in enumerate(values, start=1)},
        "operations": operations,
        "outputs": [f"z{len(values)}"],
    }


# --- what has an answer -----------------------------------------------------------------------------------

NO_PARAMETERS: dict[str, Any] = {
    "inputs": {"x": [1]},
    "operations": [{"kind": "activation", "function": "relu", "inputs": ["x"], "output": "y"}],
    "outputs": ["y"],
}

ANSWERED: dict[str, tuple[Any, str, list[str], dict[str, str] | None, float | None]] = {
    # network, status, dead units, witness, infimum: by hand
    "no parameters": (NO_PARAMETERS, "balanced", [], None, None),
    "one weight": (layers([[2.0]]), "balanced", [], None, None),
    "one weight, 0": (layers([[0.0]]), "balanced", [], None, None),
    "no free unit": (layers([[1.0], [2.0]], [[3.0, 4.0]], activation="tanh"), "balanced", [], None, None),
    "all weights 0": (layers([[0.0], [0.0]], [[0.0, 0.0]]), "balanced", ["w1[0]", "w1[1]"], None, None),
    "a layer of zeros": (
        layers([[1.0], [2.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0]]),
        *("unattained", ["w1[0]", "w1[1]", "w2[0]", "w2[1]"], {"w1[0]": "-1"}, 0.0),
    ),
    "one unit behind a dead one": (
        # Nothing reads w2[1], so w1[1] leads nowhere; the path that is left is balanced at 1 each.
        layers([[1.0], [1.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0]]),
        *("unattained", ["w1[1]", "w2[1]"], {"w2[1]": "-1"}, 3.0),
    ),
    "one unit before two dead ones": (
        layers([[1.0], [1.0]], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0, 0.0]]),
        *("unattained", ["w1[1]", "w2[1]", "w2[2]"], {"w2[1]": "-1"}, 3.0),
    ),
    "one unit after a dead one": (
        layers([[1.0], [0.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]]),
        *("unattained", ["w1[1]", "w2[1]"], {"w1[1]": "1"}, 3.0),
    ),
    "a chain of three that leads nowhere": (
        layers(*[[[4.0, 0.0], [0.0, 1.0]]] * 3, [[1.0, 0.0], [0.0, 0.0]]),
        # 4·4·4·1 on the path that is left: four weights of √8, squared, each
        *("unattained", ["w1[1]", "w2[1]", "w3[1]"], {"w3[1]": "-1"}, 32.0),
    ),
    "a state that nothing reads": (
        {"J": np.array([[2.0]]), "W_in": np.array([[1.0]])},
        *("unattained", ["s[0]"], {"s[0]": "-1"}, 4.0),
    ),
    "J alone, 0": ({"J": np.zeros((2, 2))}, "balanced", ["s[0]", "s[1]"], None, None),
    "J alone, one weight": ({"J": np.ones((1, 1))}, "balanced", ["s[0]"], None, None),
    "two cycles and a bridge": (
        {"J": np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0.0]])},
        *("unattained", [], {"s[2]": "-1", "s[3]": "-1"}, 4.0),
    ),
    "a way out and none in": (
        {"J": np.array([[0, 1], [4, 0.0]]), "W_out": np.array([[1.0, 1.0]])},
        *("unattained", [], {"s[0]": "1", "s[1]": "1"}, 8.0),
    ),
    "subnormal weights": (layers([[5e-324]], [[1e-3]]), "balanced", [], None, None),
    "the largest weights": (layers([[1.7e308]], [[1.7e308]]), "balanced", [], None, None),
}


def written(model: Any, folder: Path) -> Path:
    if "J" in model:
        path = folder / "net.npz"
        np.savez(path, **model)
    else:
        path = folder / "net.json"
        path.write_text(json.dumps(model))
    return path


# Each network with one or two of the methods in the fast stage, each method with two networks or three.
@pytest.mark.parametrize("name, method", spread(itertools.product(ANSWERED, METHODS), 7))
def test_solve_answers(name: str, method: Method, cli: Cli, tmp_path: Path) -> None:
    model, status, dead, witness, infimum = ANSWERED[name]
    path, after = written(model, tmp_path), tmp_path / f"after{'.npz' if 'J' in model else '.json'}"
    found = cli("solve", path, "--method", method, "--certify", "--json", "-", "-o", after)
    assert (found.code, found.err) == (int(status != "balanced"), "")
    answer = json.loads(found.out)
    assert (answer["status"], answer["dead_units"], answer["witness"]) == (status, dead, witness)
    assert (answer["infimum"] is None) == (infimum is None) == (answer["falling"] == [])
    if infimum is not None:
        assert answer["infimum"] == pytest.approx(infimum, rel=1e-12)
        assert answer["cost_after"] >= answer["infimum"]
        assert falls_along_the_witness(load(model), solve(load(model), method=method))
    else:
        assert answer["certificate"]["gap"] < 1e-14
    moved = load(after)
    for tensor in load(path).parameters:
        assert np.array_equal(moved.tensors[tensor.name].value != 0, tensor.value != 0)


@pytest.mark.parametrize("name", ANSWERED)
def test_people_are_told(name: str, cli: Cli, tmp_path: Path) -> None:
    model, status, dead, witness, infimum = ANSWERED[name]
    path = written(model, tmp_path)
    found = cli("solve", path)
    assert found.code == int(status != "balanced") and found.out.startswith(f"{status} under l2")
    assert ("dead units, left alone: " + ", ".join(dead) in found.out) == bool(dead)
    if witness is not None:
        direction = ", ".join(f"{k}: {v}" for k, v in witness.items())
        assert f"is not attained: the cost falls for ever along h = ({direction})" in found.out
        assert f"the infimum is {infimum:.10g}, without " in found.out
    moving = len(infer(load(model)).names) - len(dead)
    assert ("no unit can be balanced" in found.out) == (moving == 0)
    seen = cli("inspect", path)
    assert (seen.code, seen.err) == (0, "")
    assert ("dead units, in or out all 0 or dead: " + ", ".join(dead) in seen.out) == bool(dead)
    assert json.loads(cli("inspect", path, "--json", "-").out)["dead_units"] == dead


@pytest.mark.parametrize("name", ANSWERED)
def test_check_answers(name: str, cli: Cli, tmp_path: Path) -> None:
    """Of a network and what solve made of it: the same function; ok but where there is no best one."""
    model, status, dead, _, _ = ANSWERED[name]
    path, after = written(model, tmp_path), tmp_path / f"after{'.npz' if 'J' in model else '.json'}"
    cli("solve", path, "-o", after)
    found = cli("check", path, after, "--json", "-")
    assert found.err == ""
    answer = json.loads(found.out)
    assert answer["same_orbit"] and answer["function"]["verdict"] != "refuted"
    runs_away = status == "unattained" and not dead
    assert (found.code, answer["ok"]) == (int(runs_away), not runs_away)
    assert any("dead units, left out" in note for note in answer["notes"]) == bool(dead)
    falls = any("dead units could still fall" in note for note in answer["notes"])
    assert falls == (status == "unattained" and bool(dead))


# --- what is refused --------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": (layers([[1.0], [float("nan")]], [[1.0, 1.0]]), "contains NaN, as parameters.w1[1,0]: give"),
    "infinity": (layers([[1.0], [1.0]], [[1.0, -np.inf]]), "contains -Infinity, as parameters.w2[0,1]:"),
    "NaN in an array": ({"J": np.array([[0, np.nan], [1, 0]])}, "J[0,1] is nan: retrain or repair"),
    "infinity in an array": (
        {"J": np.eye(2), "W_in": np.array([[1, 1], [np.inf, -np.inf]])},
        "W_in[1,0] is inf (and 1 more): retrain or repair",
    ),
    "no operation": (
        {"inputs": {"x": [1]}, "operations": [], "outputs": ["x"]},
        "operations: [] should be non-empty",
    ),
    "nothing at all": ({}, "'operations' is a required property"),
    "an input of no width": (layers([[]]), "inputs.x[0]: 0 is less than the minimum of 1"),
    "J of no units": ({"J": np.zeros((0, 0))}, "has shape (0, 0), which holds nothing"),
    "no input, of no width": (
        {"J": np.eye(2), "W_in": np.zeros((2, 0))},
        "W_in has shape (2, 0), which holds nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str, cli: Cli, tmp_path: Path) -> None:
    model, words = REFUSED[name]
    path = written(model, tmp_path)
    for command in (["inspect", path], ["solve", path], ["check", path, path]):
        found = cli(*command)
        assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
        assert words in found.err
    for method in METHODS:
        assert cli("solve", path, "--method", method).err == cli("solve", path).err


UNSOLVED: dict[str, tuple[dict[str, Any], str]] = {
    # Read and inspected, but the balanced weights are no doubles.
    "a result below the doubles": (
        layers([[5e-324]], [[1e-300]]),
        "weight w1[0,0] would come to lie below the range of doubles",
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", UNSOLVED)
def test_what_no_double_holds_is_refused_by_name(name: str, method: Method, cli: Cli, tmp_path: Path) -> None:
    model, words = UNSOLVED[name]
    path = written(model, tmp_path)
    found = cli("solve", path, "--method", method, "--certify", "-o", tmp_path / "after.json")
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1) and words in found.err
    assert not (tmp_path / "after.json").exists()
    assert cli("inspect", path).code == 0


def test_a_pattern_for_a_network_without_parameters() -> None:
    with pytest.raises(RequestError, match=r"no parameter is called 'fc\*': this network has none"):
        solve(NO_PARAMETERS, "fc*=l1")


# --- bits, and pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERED)
def test_many_bits_of_them(name: str, cli: Cli, tmp_path: Path) -> None:
    model, status, dead, _, _ = ANSWERED[name]
    found = json.loads(cli("solve", written(model, tmp_path), "--certify", "--bits", 200, "--json", "-").out)
    if status == "unattained" and not dead:
        assert found["certificate"] is None and found["no_certificate"] == "the infimum is not attained"
    else:
        assert (found["certificate"]["bits"], found["no_certificate"]) == (200, None)
        assert found["certificate"]["radius"] < 1e-55 and found["certificate"]["distance"] < 1e-12


def test_pictures_of_what_no_double_holds(cli: Cli, tmp_path: Path) -> None:
    path = written(layers([[1e200]], [[1e220]]), tmp_path)
    found = cli("solve", path, "--plot", tmp_path / "p.svg")
    assert (found.code, found.out) == (2, "") and "costs beyond 1e308 cannot be drawn" in found.err
    assert "cost       10^440 → 10^420.30103" in cli("solve", path).out


# --- dead units to a fixpoint -----------------------------------------------------------------------------


def on_a_path(network: Network, widths: list[int]) -> set[str]:
    """The units on a path of nonzero weights from an input or a bias to an output: by NetworkX."""
    w = raw(network)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(["in", "out"])
    depth = len(widths) - 1
    for i in range(1, depth + 1):
        for to, of in np.argwhere(w[f"fc{i}.weight"]):
            source = "in" if i == 1 else f"fc{i - 1}[{of}]"
            graph.add_edge(source, "out" if i == depth else f"fc{i}[{to}]")
        for (to,) in np.argwhere(w.get(f"fc{i}.bias", np.zeros(0))):
            graph.add_edge("in", "out" if i == depth else f"fc{i}[{to}]")
    return nx.descendants(graph, "in") & nx.ancestors(graph, "out")


@given(st.integers(0, 10**6), st.floats(0.2, 0.9))
def test_dead_are_those_on_no_path(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    widths = [2, *rng.integers(1, 4, 3).tolist(), 2]
    full = mlp(widths, seed=seed, bias=bool(seed % 2))
    network = full.with_parameters(
        {t.name: full.numbers(t.name) * (rng.random(t.shape) < density) for t in full.parameters}
    )
    manifold = infer(network)
    assert set(manifold.names) - set(manifold.dead_units) == on_a_path(network, widths) - {"in", "out"}
    problem = BalanceProblem.build(network)
    # What goes to nothing is all that touches them, and nothing else: feed-forward networks have no bridges.
    dead = problem.absolute[:, list(problem.dead)].sum(axis=1) > 0
    gone = falling(problem)
    assert gone is not None and np.array_equal(gone, dead)


def test_a_convolution_of_dead_channels() -> None:
    """Kernels have axes without a scale; channel 1 of the first leads to channel 0 alone, a dead one."""
    first, second = np.ones((2, 1, 3, 3)), np.zeros((2, 2, 3, 3))
    second[0, 1], second[1, 0] = 1.0, 1.0
    last = np.zeros((1, 2, 1, 1))
    last[0, 1] = 1.0
    model = {
        "inputs": {"x": [1, 6, 6]},
        "parameters": {"c1": first.tolist(), "c2": second.tolist(), "c3": last.tolist()},
        "operations": [
            {"kind": "conv", "inputs": ["x", "c1"], "output": "z1"},
            {"kind": "activation", "function": "relu", "inputs": ["z1"], "output": "a1"},
            {"kind": "conv", "inputs": ["a1", "c2"], "output": "z2"},
            {"kind": "activation", "function": "relu", "inputs": ["z2"], "output": "a2"},
            {"kind": "conv", "inputs": ["a2", "c3"], "output": "y"},
        ],
        "outputs": ["y"],
    }
    found = solve(load(model))
    assert found.dead_units == ("c1[1]", "c2[0]") and found.witness == {"c2[0]": "-1"}


def test_large_networks_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ANSWERED["one unit behind a dead one"][0]
    small = solve(load(model))
    monkeypatch.setattr(solving, "LARGE", 0)
    large = solve(load(model))
    assert large.method == "block sweeps"
    assert (large.status, large.dead_units, large.witness) == (small.status, small.dead_units, small.witness)


# --- the infimum ------------------------------------------------------------------------------------------


def test_the_infimum_is_approached() -> None:
    """Along the witnesses of what is left, one after the other, the cost comes as near as one likes."""
    problem = BalanceProblem.build(BRIDGE)
    h = np.zeros(problem.count)
    for name, value in (solve(BRIDGE).witness or {}).items():
        h[problem.manifold.names.index(name)] = float(value)
    costs = [problem.cost(t * h) for t in (0, 1, 5, 20)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(solve(BRIDGE).infimum, rel=1e-12)


def test_two_bridges_one_after_the_other() -> None:
    """Three pairs in a row, by hand: both bridges go, and a pair a, b costs 2ab at its best."""
    J = np.zeros((6, 6))
    for i, (there, back) in enumerate(((1.0, 2.0), (2.0, 1.0), (3.0, 1.0))):
        J[2 * i, 2 * i + 1], J[2 * i + 1, 2 * i] = there, back
    J[2, 1], J[4, 3] = 0.5, 0.25
    found = solve(recurrent(J))
    assert found.falling == ("J[2,1]", "J[4,3]")
    assert found.infimum == pytest.approx(2 * (2 + 2 + 3), rel=1e-12)


def test_scales_of_degree_0_take_nothing_along() -> None:
    """Their incoming costs could fall for ever, too; they are left out of solve, and here."""
    problem = BalanceProblem.build(mlp([2, 3, 2], activation="sign"))
    gone = falling(problem)
    assert len(problem.left_out) == 3 and gone is not None and not gone.any()


def test_what_is_not_decided_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unattained, "LARGEST", 3)
    assert solve(BRIDGE).infimum == 4.0  # by strong components alone
    monkeypatch.setattr(unattained, "walks", lambda *_: None)
    found = solve(BRIDGE)
    assert (found.infimum, found.falling, found.status) == (None, (), "unattained")
    monkeypatch.setattr(unattained, "LARGEST", 100)
    monkeypatch.setattr(unattained, "_ROUNDS", 1)
    assert falling(BalanceProblem.build(BRIDGE)) is None
