"""Brackets against SymPy, signs that are not certain, and ranks against the floating-point ones."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import sympy

from balproof.conservation import modular
from balproof.conservation.fields import Fields, Layout, point, regions
from balproof.conservation.ring import Doubles, Modular
from balproof.conservation.sampling import Data, bits
from tests.conservation.nets import attention, conv1d
from tests.networks import mlp


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("activation", ["linear", "square"])
def test_brackets_are_those_of_sympy(length: int, activation: str) -> None:
    network = mlp([2, 2, 1], activation=activation)
    data = Data(network, 3)
    theta = point(data, False)
    fields = Fields(data, theta, Modular())
    names = sympy.symbols(f"t0:{fields.layout.size}")
    w1 = sympy.Matrix(2, 2, names[:4])
    b1, w2, b2 = sympy.Matrix(names[4:6]), sympy.Matrix([names[6:8]]), names[8]

    def field(i: int) -> sympy.Matrix:
        index = np.array([(length * 16 + i) * 2**24])
        x = sympy.Matrix(data.inputs(index)[0]["x"].ravel().tolist())
        z = w1 * x + b1
        h = z if activation == "linear" else z.multiply_elementwise(z)
        y = (w2 * h)[0] + b2
        return int(data.covectors(0, (1, 1), index).item()) * sympy.Matrix([y]).jacobian(names).T

    bracket = field(length - 1)
    for i in range(length - 2, -1, -1):
        left = field(i)
        bracket = bracket.jacobian(names) * left - left.jacobian(names) * bracket
    at = dict(
        zip(names, Layout(network).join({n: v[None] for n, v in theta.items()})[0].tolist(), strict=True)
    )
    expected = [int(v) % modular.PRIME for v in bracket.subs(at)]
    assert fields.rows(length, 0, 1)[0].tolist() == expected
    assert any(expected)


def test_a_sign_that_is_not_certain_leaves_the_sample_out() -> None:
    network = mlp([2, 1, 1], bias=False)
    theta = {"fc1.weight": np.array([[3, -3]]), "fc2.weight": np.array([[2]])}
    data = Data(network, 0, given={"x": np.array([[0.1, 0.1], [0.1, 0.1 + 1e-12], [1.0, 2.0]])})
    found = regions(data, {n: v[None] for n, v in theta.items()}, np.arange(3))
    assert found.certain().tolist() == [False, False, True]
    assert len(Fields(data, theta, Modular()).rows(1, 0, 9)) == 3


def test_a_unit_at_rest_is_certain() -> None:
    """Behind units that are all off the sum is 0 near the point as well, and rounding has no part in it."""
    network = mlp([1, 1, 1, 1], bias=False)
    theta = {"fc1.weight": np.array([[-3]]), "fc2.weight": np.array([[2]]), "fc3.weight": np.array([[5]])}
    data = Data(network, 0, given={"x": np.array([[1.0], [-1.0]])})
    assert regions(data, {n: v[None] for n, v in theta.items()}, np.arange(2)).certain().all()


@pytest.mark.parametrize("network", [mlp([3, 4, 3]), conv1d([1, 2, 1], [3, 2]), attention(3, 2)])
def test_the_rank_modulo_a_prime_is_the_one_in_floating_point(network) -> None:
    data = Data(network, 1)
    theta = point(data, False)
    for length in (1, 2):
        exact = Fields(data, theta, Modular()).rows(length, 0, 60)
        rough = Fields(data, theta, Doubles()).rows(length, 0, 60)
        rough = rough / np.maximum(np.linalg.norm(rough, axis=1, keepdims=True), 1e-300)
        assert modular.rank(exact) == len(modular.echelon(exact)[1]) == np.linalg.matrix_rank(rough, tol=1e-9)


def test_echelon_agrees_with_flint_and_has_unit_columns() -> None:
    rng = np.random.default_rng(0)
    p = modular.PRIME
    rows = modular.product(rng.integers(0, p, (90, 31)), rng.integers(0, p, (31, 60)), p)
    rows[:, 5:9] = 0
    reduced, columns = modular.echelon(rows)
    assert len(columns) == modular.rank(rows) == 31
    np.testing.assert_array_equal(reduced[:, columns], np.eye(31, dtype=np.int64))
    assert modular.rank(np.concatenate([rows, reduced])) == 31
    basis = modular.null_space(rows)
    assert len(basis) == 60 - 31
    for vector in basis:
        v = np.zeros((60, 1), np.int64)
        v[list(vector), 0] = list(vector.values())
        assert not modular.product(rows, v, p).any() and vector[max(vector)] == 1


def mixed(counter: int) -> int:
    """Splitmix64 in whole numbers, as in Vigna's splitmix64.c, after ``counter`` steps from 0."""
    mask = 2**64 - 1
    z = counter * 0x9E3779B97F4A7C15 & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def test_the_generator_is_splitmix64() -> None:
    assert [mixed(i) for i in (1, 2, 3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    key = zlib.crc32(b"7:x") << 32
    assert bits(7, "x", 5, 3).tolist() == [mixed(key + i) for i in (5, 6, 7)]
