"""Scales by tensor: what moves when one scale does, seen by running the network, and cases by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from balproof.importers import load
from balproof.network.evaluate import evaluate
from balproof.network.graph import Network
from balproof.network.groups import scale_groups
from balproof.symbolic.activation import Activation
from tests.convnets import resnet
from tests.networks import called_twice, mlp


def gate(weight_in: Any = None) -> Network:
    """Two branches, put together on one way and multiplied on another."""
    rng = np.random.default_rng(0)
    shapes = {
        "a.weight": (4, 3),
        "b.weight": (5, 3),
        "h.weight": (4, 9),
        "g.weight": (4, 4),
        "o.weight": (2, 4),
    }
    parameters = {name: rng.standard_normal(shape).tolist() for name, shape in shapes.items()}
    if weight_in is not None:
        parameters["a.weight"] = weight_in

    def op(kind: str, output: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
        return {"kind": kind, "inputs": list(inputs), "output": output, **attributes}

    return load(
        {
            "inputs": {"x": [3]},
            "parameters": parameters,
            "operations": [
                op("linear", "e", "x", "a.weight"),
                op("activation", "e1", "e", function="relu"),
                op("linear", "f", "x", "b.weight"),
                op("activation", "f1", "f", function="Max(x,0)**2"),
                op("concat", "c", "e1", "f1", axis=1),
                op("linear", "h", "c", "h.weight"),
                op("linear", "g", "e1", "g.weight"),
                op("mul", "m", "h", "g"),
                op("linear", "y", "m", "o.weight"),
            ],
            "outputs": ["y"],
        }
    )


NETWORKS = {
    "mlp": lambda: mlp([3, 4, 5, 2]),
    "tanh": lambda: mlp([3, 4, 5, 2], activation="tanh"),
    "gate": gate,
    "resnet": lambda: resnet(2, (1, 1), 8, 3),
    "called twice": called_twice,
}


def leaky(network: Network) -> Network:
    """With slopes below 0, where a ReLU that is never active would hide what moves."""
    function = Activation.parse("leaky_relu:1/2")
    return dataclasses.replace(
        network,
        operations=tuple(
            dataclasses.replace(op, attributes={"function": function})
            if op.kind == "activation" and op.attributes["function"].text == "relu"
            else op
            for op in network.operations
        ),
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tensors_of_a_scale_are_those_that_move_with_it(name: str) -> None:
    network = leaky(NETWORKS[name]())
    found = scale_groups(network)
    rng = np.random.default_rng(1)
    x = {n: rng.standard_normal((40, *network.tensors[n].shape[1:])) for n in network.inputs}
    before = evaluate(network, x)
    for k in range(found.manifold.count):
        after = evaluate(found.manifold.rescale(np.eye(found.manifold.count)[k]), x)
        for tensor, scale in found.tensors.items():
            moved = not np.allclose(after[tensor], before[tensor], rtol=1e-9, atol=1e-12)
            assert moved == (k in scale.columns), (k, tensor)


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_partition_the_scales(name: str) -> None:
    found = scale_groups(NETWORKS[name]())
    columns = [k for group in found.groups for k in group.columns]
    assert sorted(columns) == list(range(found.manifold.count))
    for tensor, scale in found.tensors.items():
        assert sorted(k for p in found.parts[tensor] for k in found.groups[p].columns) == list(scale.columns)
        assert all(
            (tensor in group.tensors) == (p in found.parts[tensor]) for p, group in enumerate(found.groups)
        )
    assert len({group.tensors for group in found.groups}) == len(found.groups)


def test_a_gate_by_hand() -> None:
    found = scale_groups(gate())
    assert {name: found.parts[name] for name in ("e1", "f1", "c", "h", "g", "m", "y")} == {
        "e1": (0,), "f1": (1,), "c": (0, 1), "h": (2,), "g": (3,), "m": (2, 3), "y": (),
    }  # fmt: skip
    assert [len(group.columns) for group in found.groups] == [4, 5, 4, 4]
    assert found.tensors["y"].reasons == ("y is an output",)
    assert found.tensors["y"].visible
    assert found.blockers == {}


def test_who_is_to_blame() -> None:
    found = scale_groups(mlp([3, 4, 2], activation="tanh"))
    assert found.blockers == {"tanh is not homogeneous (operation a1)": "a1"}
    assert not found.tensors["z1"].visible
    assert (found.tensors["z1"].columns, found.tensors["z1"].pinned) == ((), 4)


def test_a_parameter_that_is_used_twice_is_blamed_where_it_is_used_again() -> None:
    network = load(
        {
            "inputs": {"x": [2]},
            "parameters": {"W": [[1, 2], [3, 4]]},
            "operations": [
                {"kind": "linear", "inputs": ["x", "W"], "output": "z", "name": "first"},
                {"kind": "activation", "function": "relu", "inputs": ["z"], "output": "a"},
                {"kind": "linear", "inputs": ["a", "W"], "output": "y", "name": "second"},
            ],
            "outputs": ["y"],
        }
    )
    # z = W x and y = W relu(z) with x and y visible: s_z = s_W = 0 − s_z, so that nothing can move.
    found = scale_groups(network)
    assert found.manifold.free_scales == 0
    assert found.blockers == {"parameter W is used more than once": "second"}
