"""Balance of extreme weights: programs by hand, with the formula of the paper, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from balproof.balance.problem import Costs
from balproof.balance.solve import solve
from balproof.crosscheck.audit import check
from balproof.crosscheck.extremes import Extremes, asked, equalized, feeds_back, sides
from balproof.crosscheck.live import audit
from balproof.errors import RegularizerError, RequestError
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.testing import assert_balanced
from balproof.verdict import Verdict
from tests.convnets import resnet
from tests.faults.nets import conv
from tests.networks import called_twice, mlp

Array = np.ndarray


def ranges(w: Array, axis: int, kind: str) -> Array:
    flat = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    return np.abs(flat).max(1) if kind == "max" else flat.max(1) - flat.min(1)


def equalise(network: Network, kind: str, sweeps: int = 300, bias: bool = False) -> Network:
    """s = √(r1·r2)/r2 of Nagel et al., (9): weights in divided by s, weights out multiplied."""
    v = {t.name: network.numbers(t.name).copy() for t in network.parameters}
    layers = len(v) // 2
    for _ in range(sweeps):
        for i in range(1, layers):
            first = ranges(v[f"fc{i}.weight"], 0, kind)
            if bias:
                first = np.maximum(first, np.abs(v[f"fc{i}.bias"]))
            second = ranges(v[f"fc{i + 1}.weight"], 1, kind)
            s = np.sqrt(first * second) / second
            v[f"fc{i}.weight"] /= s[:, None]
            v[f"fc{i}.bias"] /= s
            v[f"fc{i + 1}.weight"] *= s
    return network.with_parameters(v)


@pytest.mark.parametrize("kind", ["max", "range"])
def test_what_the_paper_equalises_is_balanced(kind: str) -> None:
    before = mlp([5, 8, 7, 4], seed=3)
    after = equalise(before, kind)
    found = check(before, after, asked(kind, bias_cost=False))
    assert found.ok and found.balanced and found.verdict is Verdict.sampled, found.faults
    assert found.function is Verdict.certified and found.optimality_gap is None
    assert any("no optimum under" in note for note in found.notes)
    assert not any("several states" in note for note in found.notes)
    other = "range" if kind == "max" else "max"
    assert not check(before, after, asked(other, bias_cost=False)).balanced
    assert not check(before, after, "l2").ok


def test_biases_count_where_they_are_said_to() -> None:
    before = mlp([5, 8, 7, 4], seed=3)
    before = before.with_parameters({"fc1.bias": 20 * before.numbers("fc1.bias")})
    with_, without = equalise(before, "max", bias=True), equalise(before, "max")
    assert check(before, with_, "max").balanced and not check(before, without, "max").balanced
    bare = Extremes("max", bias_cost=False)
    assert check(before, without, bare).balanced and not check(before, with_, bare).balanced
    told = [c.detail for c in check(before, without, "max").explanation]
    assert told == ["under max, biases without cost"]


def test_units_and_sizes_by_hand() -> None:
    before = mlp([3, 4, 2], seed=1)
    into = np.maximum(np.abs(before.numbers("fc1.weight")).max(1), np.abs(before.numbers("fc1.bias")))
    out = np.abs(before.numbers("fc2.weight")).max(0)
    found = check(before, before, "max")
    expected = {f"fc1[{i}]": abs(a - b) / (a + b) for i, (a, b) in enumerate(zip(into, out, strict=True))}
    assert {f.where: f.size for f in found.faults} == pytest.approx(expected)
    assert [c.kind for c in found.explanation] == ["left-as-it-was"]
    with pytest.raises(AssertionError, match=r"4 of 4 units unbalanced under max: fc1"):
        assert_balanced(before, "max")
    assert_balanced(equalise(before, "max"), Extremes("max", bias_cost=False))


def test_one_entry_at_a_time_and_axis_by_axis_agree() -> None:
    """The two ways of reading a block: where a unit may lead to itself, and where it cannot."""
    network = resnet(3, (1, 2), 16, 5)
    manifold = infer(network)
    for kind in ("max", "range"):
        into, out = sides(manifold, Extremes(kind))  # type: ignore[arg-type]
        expected = np.zeros((2, manifold.count))
        for block in manifold.blocks:
            if network.tensors[block.name].buffer:
                continue
            rows = manifold.entries(block, np.arange(block.size)).toarray()
            w = network.numbers(block.name).ravel()
            for k in range(manifold.count):
                for side, chosen in enumerate((rows[:, k] > 0, rows[:, k] < 0)):
                    if chosen.any():
                        own = w[chosen]
                        size = np.abs(own).max() if kind == "max" else own.max() - own.min()
                        expected[side, k] = max(expected[side, k], size)
        np.testing.assert_allclose((into, out), expected)


def test_recurrent_networks_are_warned_of() -> None:
    """The two pairs of units of which two states are balanced: the warning is right."""
    first = np.zeros((4, 4))
    first[1, 0] = first[0, 1] = first[3, 2] = first[2, 3] = 1.0
    first[2, 1] = first[0, 3] = 0.5
    s = np.array([1.0, 1.0, 1.5, 1.5])
    second = s[:, None] * first / s
    for state in (first, second):
        found = check(first, state, "max")
        assert found.ok and any("several states in balance" in note for note in found.notes), found.faults
    assert np.abs(first - second).max() > 0.1


def test_which_networks_feed_back() -> None:
    rng = np.random.default_rng(0)
    found = {
        "perceptron": feeds_back(infer(mlp([3, 4, 4, 2]))),
        "convolutions": feeds_back(infer(conv())),
        "recurrent": feeds_back(infer(load(rng.standard_normal((3, 3))))),
        "called twice": feeds_back(infer(called_twice())),
        "residual": feeds_back(infer(resnet(3, (2,), 16, 5))),
    }
    assert found == {
        "perceptron": False, "convolutions": False, "recurrent": True, "called twice": True, "residual": True,
    }  # fmt: skip


def test_dead_units_are_left_out() -> None:
    network = mlp([3, 5, 4, 2])
    w = network.numbers("fc2.weight").copy()
    w[:, 2] = 0.0
    network = network.with_parameters({"fc2.weight": w})
    found = check(network, equalized(network, Extremes("max")), "max")
    assert found.ok and found.notes[0] == "dead units, left out of the balance: fc1[2]"


def test_a_fault_under_max_is_explained() -> None:
    before = mlp([5, 8, 7, 4], seed=3)
    after = equalise(before, "max")
    wrong = after.with_parameters({"fc2.bias": before.numbers("fc2.bias")})
    found = check(before, wrong, asked("max", bias_cost=False))
    assert [(c.kind, c.tensors) for c in found.explanation] == [("bias-not-scaled", ("fc2.bias",))]
    assert found.explanation[0].alone == pytest.approx(found.function_error)


def test_what_was_done_instead() -> None:
    before = mlp([5, 8, 7, 4], seed=3)
    found = check(before, equalise(before, "max"), "l2")
    assert [(c.kind, c.detail) for c in found.explanation] == [
        ("another-cost", "under max, biases without cost")
    ]
    h = solve(before).h
    manifold = infer(before)
    for power in (2.0, 0.5, -1.0):
        found = check(before, manifold.rescale(power * h))
        assert [c.kind for c in found.explanation] == ["scales-to-a-power"]
        assert found.explanation[0].detail.split(" ")[0] == {2.0: "2", 0.5: "1/2", -1.0: "-1"}[power]
    two = manifold.rescale(np.log(2) * np.rint(h / np.log(2)))
    assert [(c.kind, c.detail) for c in check(before, two).explanation] == [
        ("scales-rounded", "to powers of two")
    ]
    low, high = np.quantile(h, (0.2, 0.8))
    for bounds, said in (
        ((low, high), f"to at least {np.exp(low):.4g} and at most {np.exp(high):.4g}"),
        ((None, high), f"to at most {np.exp(high):.4g}"),
    ):
        found = check(before, manifold.rescale(np.clip(h, *bounds)))
        assert [(c.kind, c.detail) for c in found.explanation] == [("scales-clipped", said)]
    half = solve(before, Costs.parse("l2", bias_cost=False)).network
    assert [c.detail for c in check(before, half).explanation] == ["under l2, biases without cost"]
    # None of these: one unit moved away from balance.
    moved = h.copy()
    moved[3] += 0.5
    found = check(before, manifold.rescale(moved))
    assert {c.kind for c in found.explanation} == {"unbalanced-unit"}
    # One unit on a bound shows no bound.
    found = check(before, manifold.rescale(np.clip(h, None, np.sort(h)[-2])))
    assert {c.kind for c in found.explanation} == {"unbalanced-unit"}


@pytest.mark.slow
def test_an_audit_of_a_function() -> None:
    def mine(network: Network) -> Network:
        return equalized(network, Extremes("max"))

    found = audit(mine, regularizer="max")
    assert found.ok, found.as_text()
    assert not audit(lambda network: network, mlp([2, 3, 1]), "max", battery=False).ok


def test_requests_are_read() -> None:
    assert asked(" MAX ") == Extremes("max") and asked(["range"]) == Extremes("range")
    assert asked(Extremes("max")) == Extremes("max")
    with pytest.raises(RegularizerError):
        asked(["l2", "fc1.*=max"])
    with pytest.raises(RequestError):
        check(mlp([2, 2, 1]), mlp([2, 2, 1]), "fc9.*=l1")
