"""Recovering scales: the scales are chosen here, so the truth is known."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balproof.crosscheck.audit import check
from balproof.crosscheck.scales import recover_scales, roundings
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.networks import mlp

Values = dict[str, np.ndarray]


def rescaled(network: Network, scales: tuple[np.ndarray, ...]) -> Values:
    """Rescale the hidden layers by hand: unit i of layer l by scales[l][i]."""
    new = {t.name: network.numbers(t.name).copy() for t in network.parameters}
    for i, s in enumerate(scales, start=1):
        new[f"fc{i}.weight"] *= s[:, None]
        new[f"fc{i}.bias"] *= s
        new[f"fc{i + 1}.weight"] /= s
    return new


def recover(network: Network, new: Values) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    manifold = infer(network)
    old = {t.name: network.numbers(t.name) for t in network.parameters}
    found = recover_scales(manifold, old, new, roundings(network, network.with_parameters(new)))
    return dict(zip(manifold.names, found.h, strict=True)), dict(found.wrong)


def log_scales(scales: tuple[np.ndarray, ...]) -> dict[str, float]:
    return {f"fc{i}[{k}]": np.log(x) for i, s in enumerate(scales, start=1) for k, x in enumerate(s)}


@given(seed=st.integers(0, 10**6), part=st.floats(0, 0.25), spread=st.floats(0.1, 5), reach=st.floats(0, 20))
def test_a_minority_of_wrong_entries_does_no_harm(
    seed: int, part: float, spread: float, reach: float
) -> None:
    rng = np.random.default_rng(seed)
    network = mlp([9, 12, 11, 8], seed=seed, spread=spread)
    scales = (np.exp(rng.uniform(-reach, reach, 12)), np.exp(rng.uniform(-reach, reach, 11)))
    new = rescaled(network, scales)
    damaged = {name: rng.random(v.shape) < part for name, v in new.items()}
    for name, mask in damaged.items():
        new[name][mask] *= np.exp(rng.choice([-1.0, 1.0], mask.sum()) * rng.uniform(1e-6, 5, mask.sum()))
    found, wrong = recover(network, new)
    assert found == pytest.approx(log_scales(scales), abs=1e-12)
    for name, mask in damaged.items():
        np.testing.assert_array_equal(wrong[name], mask, err_msg=name)


def test_a_majority_around_one_unit_takes_it_over_but_no_other() -> None:
    network = mlp([9, 12, 11, 8])
    scales = (np.linspace(0.5, 2, 12), np.linspace(3, 0.2, 11))
    new = rescaled(network, scales)
    new["fc1.weight"][4] *= 1.5
    new["fc1.bias"][4] *= 1.5  # 10 of the 21 weights of fc1[4] say 1.5 times as much
    found, wrong = recover(network, new)
    assert found == pytest.approx(log_scales(scales), abs=1e-12)
    assert wrong["fc1.weight"].sum() == 9 and wrong["fc1.weight"][4].all()
    new["fc2.weight"][:2, 4] /= 1.5  # now 12 do
    found, wrong = recover(network, new)
    assert found == pytest.approx(log_scales(scales) | {"fc1[4]": np.log(1.5 * scales[0][4])}, abs=1e-12)
    assert wrong["fc2.weight"].sum() == 9 and wrong["fc2.weight"][2:, 4].all()


def test_zeros_on_both_sides_say_nothing() -> None:
    rng = np.random.default_rng(0)
    network = mlp([9, 12, 11, 8])
    thin = network.with_parameters(
        {t.name: network.numbers(t.name) * (rng.random(t.shape) < 0.4) for t in network.parameters}
    )
    scales = (np.exp(rng.standard_normal(12)), np.exp(rng.standard_normal(11)))
    found, wrong = recover(thin, rescaled(thin, scales))
    assert found == pytest.approx(log_scales(scales), abs=1e-12)
    assert not any(w.any() for w in wrong.values())


def test_what_no_weight_determines_stays_put() -> None:
    network = mlp([3, 4, 2])
    old = {t.name: network.numbers(t.name).copy() for t in network.parameters}
    old["fc1.weight"][1] = old["fc1.bias"][1] = old["fc2.weight"][:, 1] = 0.0
    dead = network.with_parameters(old)
    scales = (np.array([2.0, 7.0, 0.5, 3.0]),)
    found, wrong = recover(dead, rescaled(dead, scales))
    assert found == pytest.approx(log_scales(scales) | {"fc1[1]": 0.0}, abs=1e-12)
    assert not any(w.any() for w in wrong.values())


def test_without_visible_units_only_the_ratios_are_determined() -> None:
    j = np.exp(np.random.default_rng(0).standard_normal((5, 5)))
    d = np.array([1.0, 2.0, 0.5, 3.0, 1e6])
    found, wrong = recover(load(j), {"J": d[:, None] * j / d})
    h = np.array([found[f"s[{i}]"] for i in range(5)])
    np.testing.assert_allclose(h - h[0], np.log(d), atol=1e-11)
    assert not wrong["J"].any()


def test_quotients_beyond_the_range_of_doubles() -> None:
    network = mlp([2, 3, 1], bias=False)
    old = {t.name: network.numbers(t.name) for t in network.parameters}
    old["fc1.weight"] = old["fc1.weight"] * 1e-200
    old["fc2.weight"] = old["fc2.weight"] * 1e200
    new = {"fc1.weight": old["fc1.weight"] * 1e200 * 1e200, "fc2.weight": old["fc2.weight"] / 1e200 / 1e200}
    found, wrong = recover(network.with_parameters(old), new)
    assert list(found.values()) == pytest.approx([400 * np.log(10)] * 3)
    assert not any(w.any() for w in wrong.values())


@pytest.mark.parametrize("weight", ["fc1.weight", "fc2.weight", "fc3.weight"])
def test_where_the_blame_is_open_the_balanced_scales_decide(weight: str) -> None:
    # Three weights and two scales: only the product is kept, and any one of the three explains it.
    chain = load("tests/data/chain.json")
    v = {t.name: float(chain.numbers(t.name).item()) for t in chain.parameters}
    mean = abs(v["fc1.weight"] * v["fc2.weight"] * v["fc3.weight"]) ** (1 / 3)
    new = {name: np.full((1, 1), np.sign(x) * mean) for name, x in v.items()}
    assert check(chain, chain.with_parameters(new)).ok
    new[weight] = new[weight] * 1.3
    faults = check(chain, chain.with_parameters(new)).faults
    assert [(f.kind, f.where.split("[")[0]) for f in faults] == [("not-a-rescaling", weight)]


def test_a_large_network_is_audited_in_seconds() -> None:
    rng = np.random.default_rng(0)
    shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    parameters = {f"{n}.weight": rng.standard_normal(s) / s[1] ** 0.5 for n, s in shapes.items()}
    parameters |= {f"{n}.bias": rng.standard_normal(s[0]) for n, s in shapes.items()}
    small = mlp([2, 2, 2, 2])
    tensors = {
        name: type(t)(
            name, (1, width[name]) if name in width else parameters[name].shape, t.role, parameters.get(name)
        )
        for width in [
            {"x": 784, "r1": 300, "z1": 300, "a1": 300, "r2": 100, "z2": 100, "a2": 100, "r3": 10, "z3": 10}
        ]
        for name, t in small.tensors.items()
    }
    network = Network(tensors, small.operations, small.inputs, small.outputs)
    new = {name: v.copy() for name, v in parameters.items()}
    for _ in range(60):
        for i in (1, 2):
            w, b, v = new[f"fc{i}.weight"], new[f"fc{i}.bias"], new[f"fc{i + 1}.weight"]
            s = ((v**2).sum(0) / ((w**2).sum(1) + b**2)) ** 0.25
            w *= s[:, None]
            b *= s
            v /= s
    start = time.process_time()
    audit = check(network, network.with_parameters(new))
    assert audit.ok, audit.faults[:3]
    assert audit.optimality_gap is not None and audit.optimality_gap < 1e-9
    new["fc1.bias"] = parameters["fc1.bias"]
    audit = check(network, network.with_parameters(new))
    assert {f.kind for f in audit.faults} == {"bias-not-scaled"} and len(audit.faults) == 300
    assert time.process_time() - start < 20  # some 3 where nothing else runs


@pytest.mark.slow
def test_iteration_finds_what_factoring_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large networks: the same scales and the same wrong entries by conjugate gradients."""
    from balproof.balance.solve import solve
    from balproof.crosscheck import scales
    from balproof.crosscheck.audit import check
    from tests.convnets import resnet

    network = resnet(3, (1, 2), 16, 5)
    after = solve(network).network
    weight = after.numbers("stage1.1.conv2.weight").copy()
    weight[1, 2, 0, 1] *= 1.01
    beta = after.numbers("stage0.0.conv1.bn.beta").copy()
    beta[2] = network.numbers("stage0.0.conv1.bn.beta")[2]
    wrong = after.with_parameters({"stage1.1.conv2.weight": weight, "stage0.0.conv1.bn.beta": beta})
    factored = check(network, wrong)
    monkeypatch.setattr(scales, "FACTORED", 0)
    for name, expected in ((after, []), (wrong, ["bias-not-scaled", "not-a-rescaling"])):
        found = check(network, name)
        assert sorted(f.kind for f in found.faults) == expected
    assert [(f.kind, f.where) for f in found.faults] == [(f.kind, f.where) for f in factored.faults]
    assert max(abs(found.scales[k] - factored.scales[k]) for k in factored.scales) < 1e-9


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_a_large_block_is_judged_as_a_small_one(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part, with products for logarithms: one entry that is off by more than rounding is seen."""
    from balproof.crosscheck import scales
    from tests.convnets import resnet

    network = resnet(4, (1, 1), 16, 5)
    manifold = infer(network)
    h = np.random.default_rng(0).normal(size=manifold.count)
    old = {t.name: network.numbers(t.name) for t in network.parameters}
    new = {name: old[name] * np.exp(log) for name, log in manifold.apply(h).items()}
    kinds = roundings(network, network)
    name = "stage1.0.conv2.weight"
    new[name][1, 2, 0, 1] *= 1 + size * kinds[name].noise
    found = []
    for whole, part in ((10**9, 1 << 16), (0, 64), (0, 7)):
        monkeypatch.setattr(scales, "WHOLE_BLOCK", whole)
        monkeypatch.setattr(scales, "PART", part)
        found.append(scales.judge_entries(manifold, old, new, kinds, h))
    for other in found:
        assert other.missed == (size > 1)
        for n in old:
            np.testing.assert_array_equal(other.wrong[n], found[0].wrong[n])


def test_narrower_numbers_are_told() -> None:
    from balproof.crosscheck.scales import Rounding, coarser

    rng = np.random.default_rng(0)
    x = rng.standard_normal(400)
    single = Rounding(2.0**-24, 2.0**-149)
    torch_like = (x.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)
    half, grid = x.astype(np.float16).astype(np.float64), np.rint(x / np.abs(x).max() * 127) / 127
    found = [coarser(x, y, single) for y in (torch_like, half, grid, x.astype(np.float32).astype(float))]
    assert [f and f.unit for f in found] == [2.0**-8, 2.0**-11, single.unit, None]
    assert found[2] is not None and found[2].tiny == pytest.approx(1 / 127)
    assert coarser(half, half, single) is None and coarser(x, 0 * x, single) is None
