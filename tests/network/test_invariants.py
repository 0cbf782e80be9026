"""Products that balancing keeps: by hand, by rescaling, and against SymPy's ranks and normal forms."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from sympy.matrices.normalforms import smith_normal_form

import balproof.cli
from balproof.errors import RequestError
from balproof.importers import load
from balproof.network import invariants as module
from balproof.network.graph import Network
from balproof.network.invariants import Invariant, invariants
from balproof.network.manifold import infer
from tests.network.test_groups import gate
from tests.networks import called_twice, mlp, weights

RNG = np.random.default_rng(5)


def recurrent() -> Network:
    shapes = {"J": (3, 3), "W_in": (3, 2), "W_out": (2, 3)}
    return load({name: RNG.standard_normal(shape) for name, shape in shapes.items()})


def sparse_mlp() -> Network:
    net = mlp([3, 4, 3, 2], seed=2)
    mask = RNG.random((4, 3)) < 0.5
    return net.with_parameters({"fc1.weight": net.numbers("fc1.weight") * mask})


def product_of_two() -> Network:
    """y = C·((A x)∘(B x)): each weight of C reads two units, so that the scales make no graph."""
    parameters = {n: weights(RNG, s).tolist() for n, s in {"A": (2, 2), "B": (2, 2), "C": (1, 2)}.items()}
    return load(
        {
            "inputs": {"x": [2]},
            "parameters": parameters,
            "operations": [
                {"kind": "linear", "inputs": ["x", "A"], "output": "a"},
                {"kind": "linear", "inputs": ["x", "B"], "output": "b"},
                {"kind": "mul", "inputs": ["a", "b"], "output": "m"},
                {"kind": "linear", "inputs": ["m", "C"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )


NETWORKS: dict[str, Callable[[], Network]] = {
    "dense": lambda: mlp([2, 3, 2, 2]),
    "degree 2": lambda: mlp([2, 2, 2, 1], activation="Max(x,0)**2"),
    "degree 1/3": lambda: mlp([2, 2, 1], activation="cbrt(x)"),
    "tanh": lambda: mlp([2, 2, 1], activation="tanh"),
    "sparse": sparse_mlp,
    "recurrent": recurrent,
    "J alone": lambda: load(RNG.standard_normal((4, 4))),
    "one way": lambda: load(np.triu(RNG.standard_normal((4, 4)), 1)),
    "shared": called_twice,
    "gate": gate,
    "product": product_of_two,
}


def exponents(found: tuple[Invariant, ...], net: Network) -> sympy.Matrix:
    """One row for each invariant, one column for each learned weight, zero or not."""
    start, total = {}, 0
    for t in net.learned:
        start[t.name], total = total, total + t.size
    rows = np.zeros((len(found), total), int)
    for i, invariant in enumerate(found):
        for name, place, n in invariant.factors:
            rows[i, start[name] + place] += n
    return sympy.Matrix(rows.tolist()) if found else sympy.zeros(0, total)


@pytest.mark.parametrize("name", NETWORKS)
def test_kept_independent_complete_and_a_basis_of_the_integers(name: str) -> None:
    net = NETWORKS[name]()
    manifold = infer(net)
    found = invariants(net)
    assert len(found) == manifold.invariants()
    n = exponents(found, net)
    matrix = manifold.matrix([t.name for t in net.learned]).toarray()
    assert np.max(np.abs(np.array(n, float) @ matrix), initial=0.0) < 1e-12
    normal = smith_normal_form(n)
    assert all(abs(normal[i, i]) == 1 for i in range(n.rows))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_values_stay_with_their_signs(name: str) -> None:
    net = NETWORKS[name]()
    manifold = infer(net)
    again = manifold.rescale(np.random.default_rng(1).normal(size=manifold.count))
    for invariant in invariants(net):
        assert invariant.value(again) == pytest.approx(invariant.value(net), rel=1e-9)


def formulas(net: Network, kind: str) -> list[str]:
    return [i.formula for i in invariants(net) if i.kind == kind]


def test_a_chain_by_hand() -> None:
    net = mlp([1, 1, 1], bias=False)
    assert formulas(net, "path") == ["fc1.weight[0,0]·fc2.weight[0,0]"]
    squared = mlp([1, 1, 1, 1], bias=False, activation="Max(x,0)**2")  # L = h₁, h₂ − 2h₁, −2h₂
    assert formulas(squared, "path") == ["fc1.weight[0,0]⁴·fc2.weight[0,0]²·fc3.weight[0,0]"]
    root = mlp([1, 1, 1], bias=False, activation="cbrt(x)")
    assert formulas(root, "path") == ["fc1.weight[0,0]·fc2.weight[0,0]³"]


def test_cycles_of_a_recurrent_network_by_hand() -> None:
    net = recurrent()
    assert formulas(net, "weight") == ["J[0,0]", "J[1,1]", "J[2,2]"]
    assert formulas(net, "cycle") == ["J[0,1]·J[1,0]", "J[0,2]·J[2,0]", "J[1,2]·J[2,1]"]
    alone = load(np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [5.0, 0.0, 0.0]]))
    (cycle,) = invariants(alone)
    assert (cycle.kind, cycle.value(alone)) == ("cycle", 30.0)
    assert "J[0,1]" in cycle.formula


def test_a_network_without_closed_walks_has_quotients() -> None:
    """J strictly upper triangular: what closes is J₀₁J₁₂/J₀₂ and the like."""
    found = invariants(NETWORKS["one way"]())
    assert {i.kind for i in found} == {"product"}
    assert all(" / " in i.formula for i in found)


def test_a_dense_network_has_paths_only() -> None:
    found = invariants(mlp([2, 3, 2, 2], bias=False))
    assert {i.kind for i in found} == {"path"}
    assert all(len(i.factors) == 3 and all(n == 1 for *_, n in i.factors) for i in found)


def test_what_is_wrong_drops_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of a network of degree 2 with exponents 1 are not kept: reduced products take their place."""
    net = mlp([2, 2, 1], activation="Max(x,0)**2")
    right = exponents(invariants(net), net)
    monkeypatch.setattr(module, "_exponents", lambda loop, edges: tuple((e, 1) for e in loop))
    found = invariants(net)
    assert all(i.kind != "path" for i in found)
    assert exponents(found, net).rank() == exponents(found, net).col_join(right).rank() == len(found)


def test_a_sublattice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares of the paths are independent and kept, but generate too little."""
    honest = module._exponents
    net = mlp([1, 2, 1], bias=False)
    monkeypatch.setattr(module, "_exponents", lambda *a: tuple((e, 2 * n) for e, n in honest(*a)))
    assert all(abs(n) == 1 for i in invariants(net) for *_, n in i.factors)


def test_a_large_network_is_refused() -> None:
    with pytest.raises(RequestError, match="too many to list"):
        invariants(mlp([20, 20, 2]))


def test_the_command_lists_them(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["balproof", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            balproof.cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    chain = root / "tests" / "data" / "chain.json"
    code, out, _ = run("inspect", chain, "--invariants")
    assert code == 0
    assert out.splitlines()[-1] == "  path    fc1.weight[0,0]·fc2.weight[0,0]·fc3.weight[0,0]"
    assert "products" not in json.loads(run("inspect", chain, "--json", "-")[1])
    assert len(json.loads(run("inspect", chain, "--invariants", "--json", "-")[1])["products"]) == 1
    code, out, err = run("inspect", root / "tests" / "data" / "digits.onnx", "--invariants")
    assert (code, out, err.count("\n")) == (2, "", 1)
