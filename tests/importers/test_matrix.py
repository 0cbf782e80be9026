"""Recurrent networks from matrices. The expected values are NumPy's, computed from the definition."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from balproof.errors import ModelError
from balproof.importers import load, save
from balproof.network.evaluate import evaluate

RNG = np.random.default_rng(5)
J, W_IN, B, W_OUT = (RNG.standard_normal(s) for s in ((4, 4), (4, 2), (4,), (3, 4)))


def test_one_time_step(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", J=J, W_in=W_IN, b=B, W_out=W_OUT, activation="abs")
    network = load(tmp_path / "r.npz")
    s, u = RNG.standard_normal((7, 4)), RNG.standard_normal((7, 2))
    values = evaluate(network, {"u": u}, {"s": s})
    ((before, after),) = network.states
    assert before == "s"
    np.testing.assert_allclose(values[after], np.abs(s) @ J.T + u @ W_IN.T + B, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values["y"], s @ W_OUT.T, rtol=1e-12, atol=1e-12)
    assert [t.name for t in network.parameters] == ["J", "W_in", "b", "W_out"]
    assert {op.name for op in network.operations} >= {"J", "W_in", "b", "W_out"}
    assert (network.inputs, network.outputs, network.format) == (("u",), ("y",), "npz")
    assert network.biases == {"b"}


@pytest.mark.parametrize("parts", [{}, {"b": B}, {"W_in": W_IN}, {"W_out": W_OUT}])
def test_parts_may_be_left_out(parts: dict[str, np.ndarray]) -> None:
    network = load({"J": J, **parts})
    s = RNG.standard_normal((1, 4))
    expected = np.maximum(s, 0) @ J.T + parts.get("b", 0)
    values = evaluate(network, {"u": np.zeros((1, 2))} if "W_in" in parts else {}, {"s": s})
    np.testing.assert_allclose(values[network.states[0][1]], expected, rtol=1e-12, atol=1e-12)
    assert bool(network.inputs) == ("W_in" in parts)
    assert bool(network.outputs) == ("W_out" in parts)


@pytest.mark.parametrize("kind", ["npz", "npy", "mtx"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_written_back(kind: str, dtype: type, tmp_path: Path) -> None:
    path = tmp_path / f"r.{kind}"
    given = np.round(J * 10).astype(dtype)
    given[0, 1] = 0
    if kind == "npz":
        np.savez(path, J=given, activation="leaky_relu:1/10")
    elif kind == "npy":
        np.save(path, given)
    else:
        scipy.io.mmwrite(path, scipy.sparse.coo_array(given))
    network = load(path)
    np.testing.assert_array_equal(network.tensors["J"].value, given.astype(np.float64))
    tripled = network.with_parameters({"J": network.tensors["J"].value / 3})
    save(tripled, tmp_path / f"b.{kind}")
    again = load(tmp_path / f"b.{kind}")
    exact = given.astype(np.float64) / 3
    expected = exact.astype(np.float32).astype(np.float64) if again.tensors["J"].dtype == "float32" else exact
    np.testing.assert_array_equal(again.tensors["J"].value, expected)
    if kind == "npz":
        assert str(np.load(tmp_path / "b.npz")["activation"]) == "leaky_relu:1/10"
    if kind == "mtx":
        assert scipy.io.mminfo(tmp_path / "b.mtx")[2] == np.count_nonzero(given)
    else:
        assert again.tensors["J"].dtype == ("float32" if dtype is np.float32 else "float64")


def test_the_form_of_a_matrix_market_file_is_kept(tmp_path: Path) -> None:
    symmetric = J + J.T
    scipy.io.mmwrite(
        tmp_path / "s.mtx", scipy.sparse.coo_array(symmetric), symmetry="symmetric", precision=17
    )
    scipy.io.mmwrite(tmp_path / "a.mtx", J, precision=17)
    network = load(tmp_path / "s.mtx")
    np.testing.assert_array_equal(network.tensors["J"].value, symmetric)
    save(network, tmp_path / "t.mtx")
    assert scipy.io.mminfo(tmp_path / "t.mtx")[3:] == ("coordinate", "real", "general")
    np.testing.assert_array_equal(load(tmp_path / "t.mtx").tensors["J"].value, symmetric)
    save(load(tmp_path / "a.mtx"), tmp_path / "a.mtx")
    assert scipy.io.mminfo(tmp_path / "a.mtx")[3] == "array"
    np.testing.assert_array_equal(load(tmp_path / "a.mtx").tensors["J"].value, J)


def test_an_activation_that_was_left_out_stays_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", J=J)
    save(load(tmp_path / "r.npz"), tmp_path / "b.npz")
    assert np.load(tmp_path / "b.npz").files == ["J"]


ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no J": ({"W": J}, "unknown array 'W'"),
    "nothing": ({}, "no array 'J'"),
    "not square": ({"J": J[:3]}, r"J has shape \(3, 4\)"),
    "a vector": ({"J": B}, r"J has shape \(4,\)"),
    "empty": ({"J": np.zeros((0, 0))}, "holds nothing"),
    "complex": ({"J": J + 1j}, "J holds complex128"),
    "texts": ({"J": np.array([["1"]])}, "J holds str"),
    "bool": ({"J": J > 0}, "J holds bool"),
    "long double": ({"J": J.astype(np.longdouble)}, "J holds"),
    "NaN": ({"J": np.where(J == J[2, 1], np.nan, J)}, r"J\[2,1\] is nan"),
    "infinite": ({"J": J, "b": np.array([0, 1, np.inf, 0])}, r"b\[2\] is inf"),
    "W_in": ({"J": J, "W_in": W_IN.T}, r"give W_in shape \(4, inputs\)"),
    "W_out": ({"J": J, "W_out": W_OUT.T}, r"give W_out shape \(outputs, 4\)"),
    "b": ({"J": J, "b": B[:3]}, r"give b shape \(4,\)"),
    "no inputs": ({"J": J, "W_in": np.zeros((4, 0))}, "W_in has shape"),
    "activation": ({"J": J, "activation": 3}, "activation is not one text"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_refused(name: str, tmp_path: Path) -> None:
    arrays, match = ARRAYS[name]
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(ModelError, match=match) as caught:
        load(tmp_path / "r.npz")
    assert "\n" not in str(caught.value)


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    bomb = np.array([[Bomb(mark)]], dtype=object)
    np.savez(tmp_path / "r.npz", J=bomb)
    np.save(tmp_path / "r.npy", bomb)
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Bomb(mark)))
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("r.npz", "r.npy", "p.npy", "p.npz"):
        with pytest.raises(ModelError):
            load(tmp_path / name)
    assert not mark.exists()
    np.load(tmp_path / "r.npy", allow_pickle=True)  # the bomb is live
    assert mark.exists()


@pytest.mark.parametrize("kind", ["npz", "npy", "mtx"])
def test_truncated_files_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"r.{kind}"
    save_as = {"npz": lambda: np.savez(path, J=J), "npy": lambda: np.save(path, J)}
    save_as.get(kind, lambda: scipy.io.mmwrite(path, scipy.sparse.coo_array(J)))()
    content = path.read_bytes()
    for end in [*range(0, len(content) - 20, 7)]:
        path.write_bytes(content[:end])
        with pytest.raises(ModelError) as caught:
            load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["npz", "npy", "mtx"])
def test_damaged_files_are_refused_or_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"r.{kind}"
    save_as = {"npz": lambda: np.savez(path, J=J, b=B), "npy": lambda: np.save(path, J)}
    save_as.get(kind, lambda: scipy.io.mmwrite(path, scipy.sparse.coo_array(J)))()
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(1)
    signs = np.frombuffer(b"0123456789(){}[]',: \n%-+.eEx", dtype=np.uint8)
    refused = 0
    for trial in range(400):
        damaged = content.copy()
        spots = rng.integers(0, len(content) if trial % 2 else 120, 2)
        damaged[spots] = rng.choice(signs, 2) if trial % 3 else rng.integers(0, 256, 2)
        path.write_bytes(damaged.tobytes())
        try:
            load(path)
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (40_000, 40_000)}
    )
    (tmp_path / "r.npy").write_bytes(stream.getvalue() + bytes(80))
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as archive:
        archive.writestr("J.npy", stream.getvalue() + bytes(80))
    (tmp_path / "r.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n1000000 1000000 1\n1 1 1.0\n"
    )
    for name in ("r.npy", "r.npz", "r.mtx"):
        with pytest.raises(ModelError, match=r"truncated|more than"):
            load(tmp_path / name)


def test_names_in_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", data=J, indices=B)
    with pytest.raises(ModelError, match="unknown array 'data': name the arrays J, W_in"):
        load(tmp_path / "r.npz")
    stream = io.BytesIO()
    np.save(stream, J)
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("J.npy", stream.getvalue())
        archive.writestr("J", stream.getvalue())
    with pytest.raises(ModelError, match="'J' twice"):
        load(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1.0 2.0\n", "complex general entries"),
        ("%%MatrixMarket matrix coordinate pattern general\n1 1 1\n1 1\n", "pattern general entries"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 1.0\n", "outside its 2×2"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1.5 1 1.0\n", "outside its 2×2"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 9\n1 1 1.0\n", "announces 9 entries and has 1"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 abc\n", "no intact"),
        ("%%MatrixMarket matrix array real symmetric\n2 2\n1 2\n", "announces 3 entries and has 2"),
        ("%%MatrixMarket matrix coordinate real general\n", "no size line"),
        ("%%MatrixMarket matrix coordinate real general\n-2 -2 0\n", "holds nothing"),
        ("%%MatrixMarket matrix array real general\n1 1\nnan\n", r"J\[0,0\] is nan"),
        ("%%MatrixMarket matrix array real general\n2 1\n1\n2\n", "square"),
        ("hello\n", "banner"),
    ],
)
def test_matrix_market_files_that_are_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "r.mtx").write_text(text)
    with pytest.raises(ModelError, match=match):
        load(tmp_path / "r.mtx")


@pytest.mark.parametrize("symmetry", ["general", "symmetric", "skew-symmetric"])
@pytest.mark.parametrize("listed", [True, False], ids=["coordinate", "array"])
def test_matrix_market_files_as_scipy_reads_them(symmetry: str, listed: bool, tmp_path: Path) -> None:
    matrix = {"general": J, "symmetric": J + J.T, "skew-symmetric": J - J.T}[symmetry]
    path = tmp_path / "r.mtx"
    given = scipy.sparse.coo_array(matrix) if listed else matrix
    scipy.io.mmwrite(path, given, comment="a comment", symmetry=symmetry, precision=17)
    read = scipy.io.mmread(path)
    expected = read.toarray() if listed else read
    np.testing.assert_array_equal(load(path).tensors["J"].value, expected)
    assert abs(expected - matrix).max() < 1e-14


def test_a_fortran_order_array_is_the_same_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.asfortranarray(J))
    np.testing.assert_array_equal(load(tmp_path / "r.npy").tensors["J"].value, J)


def test_big_endian_arrays_are_read_and_written(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", J.astype(">f8"))
    network = load(tmp_path / "r.npy")
    save(network, tmp_path / "b.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), J)
