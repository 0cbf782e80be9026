"""Sparse recurrent matrices on their way in and out. The expected values are SciPy's."""

import io
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from balproof.balance.solve import solve
from balproof.errors import ModelError
from balproof.importers import load, save, save_rescaled
from balproof.network.evaluate import evaluate
from balproof.network.graph import Network
from balproof.network.manifold import infer

ROWS, COLUMNS = np.array([0, 2, 1, 2, 0]), np.array([1, 0, 2, 2, 2])
VALUES = np.array([1.5, -2.0, 0.25, 3.0, 0.5])
J = sp.coo_array((VALUES, (ROWS, COLUMNS)), shape=(3, 3))


def matrix(network: Network) -> sp.csr_array:
    """J of a network as SciPy has it."""
    tensor = network.tensors["J"]
    assert tensor.places is not None and tensor.value is not None
    return tensor.places.matrix(tensor.value)


def random(n: int, degree: int, seed: int = 0) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    at = rng.integers(0, n, (2, n * degree))
    return sp.coo_array((np.exp(rng.standard_normal(n * degree)), tuple(at)), shape=(n, n)).tocsr()


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_file_of_scipy_is_written_back_in_its_form(form: str, dtype: type, tmp_path: Path) -> None:
    sp.save_npz(tmp_path / "r.npz", J.asformat(form).astype(dtype))
    network = load(tmp_path / "r.npz")
    np.testing.assert_array_equal(matrix(network).toarray(), J.toarray())
    assert [t.name for t in network.parameters] == ["J"]
    h = np.log([2.0, 4.0, 1.0])
    save_rescaled(infer(network), h, tmp_path / "b.npz")
    again = sp.load_npz(tmp_path / "b.npz")
    assert (again.format, again.dtype, again.nnz) == (form, dtype, 5)
    d = np.exp(h)
    np.testing.assert_allclose(again.toarray(), (J.toarray() * d[:, None] / d).astype(dtype), rtol=1e-6)


def test_other_arrays_beside_those_of_scipy(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    sp.save_npz(buffer, J.tocsc())
    buffer.seek(0)
    own = dict(np.load(buffer))
    np.savez(tmp_path / "r.npz", **own, W_out=np.ones((1, 3)), b=np.ones(3), activation="abs")
    network = load(tmp_path / "r.npz")
    s = np.array([[1.0, -2.0, 3.0]])
    values = evaluate(network, {}, {"s": s})
    np.testing.assert_allclose(values[network.states[0][1]], np.abs(s) @ J.toarray().T + 1, rtol=1e-15)
    save(network, tmp_path / "b.npz")
    files = set(np.load(tmp_path / "b.npz").files)
    assert files == {"data", "indices", "indptr", "format", "shape", "_is_array", "W_out", "b", "activation"}
    np.testing.assert_array_equal(sp.load_npz(tmp_path / "b.npz").toarray(), J.toarray())


def test_a_list_of_entries_in_matrix_market(tmp_path: Path) -> None:
    given = random(2000, 3)
    scipy.io.mmwrite(tmp_path / "r.mtx", given.tocoo(), precision=17)
    network = load(tmp_path / "r.mtx")
    assert abs(matrix(network) - given).max() == 0
    save(network, tmp_path / "b.mtx")
    assert scipy.io.mminfo(tmp_path / "b.mtx")[2:] == (given.nnz, "coordinate", "real", "general")
    assert abs(scipy.io.mmread(tmp_path / "b.mtx") - given).max() == 0


def test_a_symmetric_list_becomes_general(tmp_path: Path) -> None:
    half = sp.csr_array(sp.tril(random(1500, 2), format="csr"))
    scipy.io.mmwrite(tmp_path / "r.mtx", half + sp.triu(half.T, 1), symmetry="symmetric", precision=17)
    expected = scipy.io.mmread(tmp_path / "r.mtx")
    network = load(tmp_path / "r.mtx")
    assert abs(matrix(network) - expected).max() == 0
    save(network, tmp_path / "b.mtx")
    assert scipy.io.mminfo(tmp_path / "b.mtx")[3:] == ("coordinate", "real", "general")
    assert abs(scipy.io.mmread(tmp_path / "b.mtx") - expected).max() == 0


def test_entries_in_one_place_are_summed_and_zeros_stay() -> None:
    twice = sp.coo_array(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    network = load(twice)
    np.testing.assert_array_equal(matrix(network).toarray(), twice.toarray())
    assert matrix(network).nnz == 2
    assert infer(network).dead_units == ("s[0]", "s[1]")  # a zero is an absent synapse


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (sp.csr_array((3, 4)), "J has no entries"),
        (sp.csr_array(np.ones((3, 4))), r"J has shape \(3, 4\)"),
        (sp.csr_array((0, 0)), "holds nothing"),
        (sp.csr_array(np.ones((2, 2)) * 1j), "J holds complex128"),
        (sp.csr_array(np.ones((2, 2), bool)), "J holds bool"),
        (sp.coo_array(([1.0, np.nan], ([0, 1], [1, 0]))), r"J\[1,0\] is nan"),
        (sp.coo_array(([1.0, np.inf], ([0, 1], [1, 0]))), r"J\[1,0\] is inf"),
        (sp.coo_array(([1.0], ([0], [1])), shape=(10**6, 10**6)), "more than 100 lines"),
        ({"J": np.ones((2, 2)), "W_in": sp.csr_array(np.ones((2, 1)))}, "only J may be sparse"),
    ],
)
def test_matrices_that_are_refused(given: Any, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_a_file_without_entries_is_refused_as_what_it_is(form: str, tmp_path: Path) -> None:
    sp.save_npz(tmp_path / "J.npz", sp.csr_array((5, 5)).asformat(form))
    with pytest.raises(ModelError, match="J has no entries: give a matrix with at least one weight"):
        load(tmp_path / "J.npz")


def test_other_formats_of_scipy_are_taken_in_memory() -> None:
    for form in ("bsr", "dia", "lil", "dok"):
        np.testing.assert_array_equal(matrix(load(J.asformat(form))).toarray(), J.toarray())
    np.testing.assert_array_equal(matrix(load(sp.csr_matrix(J))).toarray(), J.toarray())


def parts(**changes: Any) -> dict[str, Any]:
    made = J.tocsr()
    own = {"format": np.array(b"csr"), "shape": np.array([3, 3]), "data": made.data}
    return {**own, "indices": made.indices, "indptr": made.indptr, **changes}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": np.array(b"bsr")}, "format 'bsr': write it with scipy.sparse.save_npz"),
        ({"format": np.array([1, 2])}, "format ''"),
        ({"indptr": np.array([0, 2, 3, 9])}, "starts of 3 lines"),
        ({"indptr": np.array([0, 4, 3, 5])}, "starts of 3 lines"),
        ({"indptr": np.array([0, 5])}, "starts of 3 lines"),
        ({"indices": np.array([1, 2, 2, 0, 3])}, "outside its 3×3"),
        ({"indices": np.array([1, 2, 2, 0, -1])}, "outside its 3×3"),
        ({"indices": np.array([1.0, 2, 2, 0, 1])}, "no whole numbers"),
        ({"data": np.ones(4)}, "4 entries and 5 places"),
        ({"shape": np.array([3])}, "no whole numbers as shape"),
        ({"shape": np.array([10**10, 10**10])}, "more than"),
        ({"J": np.ones((3, 3))}, "J twice"),
        ({"data": np.array(["a"] * 5)}, "entries of str"),
    ],
)
def test_files_that_are_refused(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", **parts(**changes))
    with pytest.raises(ModelError, match=match) as caught:
        load(tmp_path / "r.npz")
    assert "\n" not in str(caught.value)


def test_a_file_without_one_of_its_arrays_is_refused(tmp_path: Path) -> None:
    for name in ("shape", "data", "indices", "indptr"):
        np.savez(tmp_path / "r.npz", **{k: v for k, v in parts().items() if k != name})
        with pytest.raises(ModelError, match=f"no array '{name}'"):
            load(tmp_path / "r.npz")


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    np.savez(path, **parts())
    content, rng, refused = np.frombuffer(path.read_bytes(), dtype=np.uint8), np.random.default_rng(1), 0
    for _ in range(200):
        damaged = content.copy()
        damaged[rng.integers(0, len(content), 2)] = rng.integers(0, 256, 2)
        path.write_bytes(damaged.tobytes())
        try:
            load(path)
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


@pytest.mark.skipif(sys.platform != "linux", reason="sizes of memory are those of Linux")
def test_nothing_dense_is_made(tmp_path: Path) -> None:
    """30,000 units would take 7 GB as an array of doubles, 0.9 GB as one of bytes. What is done adds less."""
    given = random(30_000, 5)
    sp.save_npz(tmp_path / "r.npz", given)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = solve(tmp_path / "r.npz")
    save_rescaled(found.manifold, found.h, tmp_path / "b.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5e5
    after, d = sp.load_npz(tmp_path / "b.npz"), np.exp(found.h)
    expected = sp.diags_array(d) @ given @ sp.diags_array(1 / d)
    assert abs(after - expected).max() <= 1e-14 * abs(expected).max()
    squares = after.multiply(after).tocsr()
    into, out = squares.sum(axis=1), squares.sum(axis=0)  # the diagonal is in both
    active = ~np.isin(found.scales, found.dead_units)
    assert np.max(np.abs(into - out)[active] / (into + out)[active]) <= 1e-12
