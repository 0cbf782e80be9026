"""Compiled reads of large blocks, against NumPy in double precision; what is wrong anywhere is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from balproof.crosscheck import reading
from balproof.crosscheck.certified import FunctionProof, prove_function
from balproof.crosscheck.factors import Scale
from balproof.crosscheck.kernels import TOGETHER, compare, products
from balproof.crosscheck.reading import read
from balproof.importers import load
from balproof.network.forms import Form, Forms
from balproof.network.graph import Network
from balproof.network.manifold import infer
from tests.convnets import resnet
from tests.networks import mlp

Array = np.ndarray
LIMIT = 1e-5


def single(network: Network) -> Network:
    """The same with all parameters in single precision."""
    tensors = {
        n: dataclasses.replace(t, value=network.numbers(n).astype(np.float32), dtype="float32")
        if t.role == "parameter"
        else t
        for n, t in network.tensors.items()
    }
    return dataclasses.replace(network, tensors=tensors)


# --- kernels ------------------------------------------------------------------------------------------------


def blocks(shape: tuple[int, int, int]) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(0)
    old = rng.standard_normal(shape).astype(np.float32)
    rows, columns = np.exp(rng.standard_normal(shape[:2])), np.exp(rng.standard_normal((shape[0], shape[2])))
    new = (old * rows[..., None] * columns[:, None]).astype(np.float32)
    return old, new, rows, columns


def compared(
    old: Array, new: Array, rows: Array, columns: Array, power: float = 0.0
) -> tuple[float, Array, Array]:
    sums = np.zeros_like(rows), np.zeros_like(columns)
    return compare(old, new, rows, columns, power, LIMIT, *sums), *sums


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 33), (3, 4, 17), (2, 1, 64)])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_distance_and_sums(shape: tuple[int, int, int], power: float) -> None:
    old, new, rows, columns = blocks(shape)
    old[0, 0, 0] = new[0, 0, 0] = 0.0
    meant = old.astype(float) * rows[..., None] * columns[:, None]
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(new - meant) / np.abs(meant)).max()
    worst, over_rows, over_columns = compared(old, new, rows, columns, power)
    assert apart * (1 - 1e-8) - 1e-15 <= worst <= apart * (1 + 1e-8) + 1e-15
    cost = np.abs(new.astype(float)) ** power if power else np.zeros(shape)
    np.testing.assert_allclose(over_rows, cost.sum(axis=2), rtol=1e-13)
    np.testing.assert_allclose(over_columns, cost.sum(axis=1), rtol=1e-13)


WRONG: dict[str, Callable[[np.float32], float]] = {
    "off by more": lambda w: float(w) * (1 + 3 * LIMIT),
    "other sign": lambda w: -float(w),
    "zero": lambda w: 0.0,
    "NaN": lambda w: float("nan"),
    "infinite": lambda w: float("inf"),
    "−infinite": lambda w: -float("inf"),
}


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("wrong", WRONG)
def test_one_wrong_entry_anywhere_is_seen(wrong: str, power: float) -> None:
    shape = (2, 3, 19)
    old, new, rows, columns = blocks(shape)
    for flat in range(new.size):
        changed = new.copy()
        changed.flat[flat] = WRONG[wrong](new.flat[flat])
        assert compared(old, changed, rows, columns, power)[0] == np.inf, flat
    gone = old.copy()
    gone[1, 2, 18] = 0.0
    assert compared(gone, new, rows, columns, power)[0] == np.inf, "from zero to something"


def test_what_is_off_by_less_counts() -> None:
    old, new, rows, columns = blocks((2, 3, 19))
    for flat in (0, 57, new.size - 1):
        changed = new.copy()
        changed.flat[flat] *= np.float32(1 + LIMIT / 2)
        assert compared(old, changed, rows, columns)[0] == pytest.approx(LIMIT / 2, rel=0.1)


@pytest.mark.parametrize("shape", [(4, 5), (7, 33), (64, 16)])
def test_products(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    w, x = rng.standard_normal(shape).astype(np.float32), rng.standard_normal((2 * TOGETHER, shape[1]))
    y = np.zeros((len(x), len(w)))
    products(w, x, y)
    np.testing.assert_allclose(y, x @ w.astype(float).T, rtol=1e-12, atol=1e-12)


# --- factors ------------------------------------------------------------------------------------------------

FORMS: list[Form] = [
    (),
    ((0, Fraction(1)),),
    ((1, Fraction(-1)),),
    ((2, Fraction(2)),),
    ((0, Fraction(-2)),),
    ((1, Fraction(1, 2)),),
    ((0, Fraction(1)), (2, Fraction(-1, 3))),
]


@pytest.mark.parametrize("h", [[0.3, -1.0, 2.0], [900.0, -800.0, 700.0], [0.0, 1e-9, -500.5]])
def test_factors_have_two_roundings(h: list[float]) -> None:
    scale = Scale.of(np.array(h))
    mantissa, exponent = scale.split(Forms.of(FORMS))
    with ctx.workprec(300):
        logs = [
            arb(float(m)).log() + int(e) * arb.const_log2()
            for m, e in zip(scale.mantissa, scale.exponent, strict=True)
        ]
        for k, x in enumerate(h):
            assert abs(float(logs[k]) - x) <= 1e-15 * max(1.0, abs(x)), "close to exp(h)"
        for form, m, e in zip(FORMS, mantissa, exponent, strict=True):
            exact = sum((arb(fmpq(c.numerator, c.denominator)) * logs[k] for k, c in form), arb(0))
            ratio = (arb(float(m)).log() + int(e) * arb.const_log2() - exact).exp() - 1
            assert float(abs(ratio).upper()) <= 2 * 2.0**-53 * 1.0001
            assert 0.2 < m < 5


def test_powers_of_two_stay_such() -> None:
    scale = Scale(np.ones(3), np.array([2, -6, 3]))
    m, e = scale.split(Forms.of(FORMS))
    assert m.tolist() == [1.0] * 7 and e.tolist() == [0, 2, 6, 6, -4, -3, 1]


# --- blocks -------------------------------------------------------------------------------------------------


def embedding() -> Network:
    rng = np.random.default_rng(2)
    return load(
        {
            "inputs": {"x": [3, 20]},
            "parameters": {
                "W": rng.standard_normal((20, 24)).tolist(),
                "V": rng.standard_normal((18, 24)).tolist(),
            },
            "operations": [
                {"kind": "linear", "inputs": ["x", "W"], "output": "z", "transpose": False},
                {"kind": "activation", "function": "relu", "inputs": ["z"], "output": "a"},
                {"kind": "linear", "inputs": ["a", "V"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )


def groups() -> Network:
    rng = np.random.default_rng(5)
    shapes = {"a": (8, 4, 3, 3), "b": (6, 4, 3, 3), "c": (3, 6, 3, 3)}
    operations: list[dict[str, object]] = []
    for x, name, group in (("x", "a", 1), ("ra", "b", 2), ("rb", "c", 1)):
        pads = {"pads": [1, 1, 1, 1], "group": group}
        operations.append({"kind": "conv", "inputs": [x, name], "output": f"z{name}", **pads})
        operations.append(
            {"kind": "activation", "function": "relu", "inputs": [f"z{name}"], "output": f"r{name}"}
        )
    return load(
        {
            "inputs": {"x": [4, 5, 5]},
            "parameters": {n: rng.standard_normal(s).tolist() for n, s in shapes.items()},
            "operations": operations[:-1],
            "outputs": ["zc"],
        }
    )


NETWORKS = {
    "groups": groups,
    "dense": lambda: mlp((20, 24, 17, 20, 3), seed=1),
    "convolutional": lambda: resnet(4, (1, 1), 16, 5),
    "rows and columns": embedding,
    "degree two": lambda: mlp((20, 24, 17, 3), seed=1, activation="Max(x,0)**2"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The factors of each slice, the sums of each, and what is wrong anywhere."""
    network = single(NETWORKS[name]())
    manifold = infer(network)
    h = np.random.default_rng(3).normal(size=manifold.count)
    after = single(manifold.rescale(h))
    old, new = ({t.name: t.value for t in n.parameters if t.value is not None} for n in (network, after))
    seen = 0
    for block in manifold.blocks:
        found = read(block, old, new, Scale.of(h), LIMIT, 2.0)
        if found is None:
            assert reading._layout(block) is None
            continue
        seen += 1
        assert found.worst < 2.0**-23
        factor, whole = np.ones(block.shape), np.abs(new[block.name].astype(float)).reshape(block.shape) ** 2
        for term, own, sums in zip(block.terms, found.factors, found.sums, strict=True):
            factor = factor * own[term.index]
            index = np.broadcast_to(term.index, block.shape).ravel()
            np.testing.assert_allclose(sums, np.bincount(index, whole.ravel()), rtol=1e-12)
        np.testing.assert_allclose(factor, np.exp(manifold.logs(block, h)).reshape(block.shape), rtol=1e-13)
        assert found.total == pytest.approx(whole.sum(), rel=1e-12)
        for flat in (0, block.size // 2, block.size - 1):
            wrong = {**new, block.name: new[block.name].copy()}
            wrong[block.name].flat[flat] *= np.float32(1.001)
            assert read(block, old, wrong, Scale.of(h), LIMIT) is None
    assert seen >= 2


def test_what_is_left_to_numpy() -> None:
    network = single(mlp((20, 24, 17), seed=1))
    manifold = infer(network)
    block = next(b for b in manifold.blocks if b.name == "fc1.weight")
    h = np.zeros(manifold.count)
    same = {t.name: t.value for t in network.parameters if t.value is not None}
    assert read(block, same, same, Scale.of(h), LIMIT) is not None
    double = {**same, block.name: same[block.name].astype(float)}
    turned = {**same, block.name: np.asfortranarray(same[block.name])}
    for other in (double, turned):
        assert read(block, same, other, Scale.of(h), LIMIT) is None
    assert read(block, same, same, Scale.of(h + 300), LIMIT) is None, "products could leave the normal range"


def test_a_proof_from_reads_is_the_proof() -> None:
    """The bound holds in 200 bits, as for one without; factors of other scales are not taken for these."""
    from tests.crosscheck.test_certified import values, worst

    for make in (NETWORKS["dense"], NETWORKS["degree two"]):
        network = single(make())
        manifold = infer(network)
        h = np.random.default_rng(4).normal(size=manifold.count)
        after = single(manifold.rescale(h))
        old, new = ({t.name: t.value for t in n.parameters if t.value is not None} for n in (network, after))
        found = {b.name: read(b, old, new, Scale.of(h), 1e-6) for b in manifold.blocks}
        right = {n: r for n, r in found.items() if r is not None}
        assert right
        doubles = values(network), values(after)
        proof = prove_function(network, *doubles, h, right=right)
        plain = prove_function(network, *doubles, h)
        assert isinstance(proof, FunctionProof) and isinstance(plain, FunctionProof)
        true = worst(network, *doubles, h)
        assert true <= proof.weight_error <= true + 1e-14
        assert proof.weight_error == pytest.approx(plain.weight_error, abs=1e-14)
        none = {**doubles[1], "fc2.weight": 2 * doubles[1]["fc2.weight"]}
        assert isinstance(prove_function(network, doubles[0], none, h, right=right), FunctionProof), (
            "it was read"
        )
        assert isinstance(prove_function(network, doubles[0], none, h + 1e-9, right=right), str)
