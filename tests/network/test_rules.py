"""Every rule's law holds on random instances, and a wrong rule is caught."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from balproof.errors import ModelError
from balproof.network import rules
from balproof.network.graph import Network, Operation, Tensor
from balproof.network.manifold import infer
from balproof.network.rules_elementwise import exact_degree
from balproof.symbolic.activation import Activation


@pytest.mark.parametrize("kind", sorted(rules.RULES))
def test_law(kind: str) -> None:
    assert max(rules.witness(kind, seed) for seed in range(40)) < 1e-12


@pytest.mark.parametrize("kind", sorted(rules.RULES))
def test_a_rule_that_demands_nothing_is_caught(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(op: Operation, tensors: Any, scales: Any, new: Any) -> rules.Implication:
        return rules.Implication(new(tensors[op.output].shape))

    broken = dataclasses.replace(rules.RULES[kind], imply=nothing)
    monkeypatch.setattr(rules, "RULES", MappingProxyType({**rules.RULES, kind: broken}))
    assert max(rules.witness(kind, seed) for seed in range(40)) > 1e-3


def test_a_residual_sum_without_its_equations_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    one_sided = dataclasses.replace(
        rules.RULES["add"],
        imply=lambda op, tensors, scales, new: rules.Implication(scales[op.inputs[0]]),
    )
    monkeypatch.setattr(rules, "RULES", MappingProxyType({**rules.RULES, "add": one_sided}))
    assert max(rules.witness("add", seed) for seed in range(10)) > 1e-3


def test_unknown_operations_pin_all_their_operands() -> None:
    tensors = {
        "x": Tensor("x", (1, 2), "input"),
        "W": Tensor("W", (2, 2), "parameter", np.ones((2, 2))),
        "V": Tensor("V", (2, 2), "parameter", np.ones((2, 2))),
        "z": Tensor("z", (1, 2), "activation"),
        "s": Tensor("s", (1, 2), "activation"),
        "y": Tensor("y", (1, 2), "activation"),
    }
    network = Network(
        tensors,
        (
            Operation("linear", "fc1", ("x", "W"), "z", {"transpose": True}),
            Operation("unknown", "soft", ("z",), "s", {"op_type": "Softmax"}),
            Operation("linear", "fc2", ("s", "V"), "y", {"transpose": True}),
        ),
        ("x",),
        ("y",),
    )
    manifold = infer(network)
    assert manifold.free_scales == 0
    assert [u.name for u in manifold.units] == ["fc1[0]", "fc1[1]"]
    assert all("Softmax" in u.why and "soft" in u.why and not u.free for u in manifold.units)
    with pytest.raises(ModelError, match=r"soft \(Softmax\) cannot be run"):
        rules.run(network.operations[1], [np.zeros((1, 2))])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relu", Fraction(1)),
        ("Max(x,0)**2", Fraction(2)),
        ("sign", Fraction(0)),
        ("tanh", None),
        ("abs(x)**sqrt(2)", None),
    ],
)
def test_only_rational_degrees_scale(text: str, expected: Fraction | None) -> None:
    assert exact_degree(Activation.parse(text)) == expected
