"""Weights that lie in the file: mapped, checked, and written piece by piece.

What is read and written is compared with NumPy, with ONNX's own reader and runtime, and with the library of
safetensors.
"""

import json
import mmap
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file

import balproof.cli
from balproof.balance.solve import solve
from balproof.crosscheck import scales
from balproof.crosscheck.audit import check
from balproof.errors import MissingToolError, ModelError
from balproof.importers import arrays, files, load, outputs, rounding, save, save_rescaled, stored
from balproof.importers.files import replacing
from balproof.network import graph, manifold
from balproof.network.graph import Numbers, parts
from balproof.network.manifold import infer
from balproof.verdict import Verdict
from tests.importers.models import model, run, write
from tests.sweeps import slow_but

RNG = np.random.default_rng(11)
W1, B1, W2 = RNG.standard_normal((7, 5)), RNG.standard_normal(7), RNG.standard_normal((3, 7))
H = RNG.standard_normal(7)
TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
OPERATIONS = [
    {"kind": "linear", "inputs": ["x", "W1"], "output": "z"},
    {"kind": "bias", "inputs": ["z", "b1"], "output": "a"},
    {"kind": "activation", "function": "relu", "inputs": ["a"], "output": "h"},
    {"kind": "linear", "inputs": ["h", "W2"], "output": "y"},
]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is mapped, and taken four entries at a time."""
    monkeypatch.setattr(files, "MAPPED", 1)
    monkeypatch.setattr(graph, "PIECE", 4)
    monkeypatch.setattr(rounding, "PIECE", 4)
    monkeypatch.setattr(arrays, "PIECE", 4)
    monkeypatch.setattr(arrays, "CHUNK", 16)
    monkeypatch.setattr(stored, "CHUNK", 16)
    monkeypatch.setattr(manifold, "parts", lambda shape: parts(shape, 4))


def in_type(dtype: str) -> dict[str, np.ndarray]:
    return {name: w.astype(TYPES[dtype]) for name, w in {"W1": W1, "b1": B1, "W2": W2}.items()}


def rescaled(dtype: str) -> dict[str, np.ndarray]:
    """By the definition: what a unit receives times e^h, what it sends divided by that."""
    own = {name: w.astype(np.float64) for name, w in in_type(dtype).items()}
    factor = np.exp(H)
    new = {"W1": own["W1"] * factor[:, None], "b1": own["b1"] * factor, "W2": own["W2"] * np.exp(-H)}
    return {name: w.astype(TYPES[dtype]) for name, w in new.items()}


def document(path: Path, entries: dict[str, Any], **more: Any) -> Path:
    given = {"inputs": {"x": [5]}, "parameters": entries, "operations": OPERATIONS, "outputs": ["y"], **more}
    path.write_text(json.dumps(given))
    return path


def named(file: str, *names: str) -> dict[str, Any]:
    return {name: {"file": file, "tensor": f"net.{name}"} for name in names}


def safetensors(folder: Path, dtype: str = "float32") -> Path:
    held = {f"net.{name}": w for name, w in in_type(dtype).items()}
    save_file({**held, "steps": np.arange(3)}, folder / "w.safetensors", {"made": "here"})
    return document(folder / "m.json", named("w.safetensors", "W1", "b1", "W2"))


def external(folder: Path, dtype: str = "float32") -> Path:
    own = in_type(dtype)
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["z"]),
        helper.make_node("Add", ["z", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("MatMul", ["h", "W2"], ["y"]),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(TYPES[dtype]))
    turned = {"W1": own["W1"].T.copy(), "b1": own["b1"], "W2": own["W2"].T.copy()}
    proto = model(nodes, turned, x=("batch", 5), kind=kind)
    place = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save_model(proto, folder / "m.onnx", **place)
    return folder / "m.onnx"


def is_mapped(value: np.ndarray | None) -> bool:
    base: Any = value
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return isinstance(base, mmap.mmap)


def log_scales(network: manifold.Manifold) -> np.ndarray:
    """H, in the order in which the manifold has the units."""
    return H[[int(name.rsplit("[", 1)[1].rstrip("]")) for name in network.names]]


# --- read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("make", [safetensors, external], ids=["json", "onnx"])
def test_weights_stay_in_the_file_and_in_its_type(make: Any, dtype: str, tmp_path: Path) -> None:
    network = load(make(tmp_path, dtype))
    for name, expected in in_type(dtype).items():
        tensor = network.tensors[name]
        value = tensor.value
        assert value is not None
        assert tensor.dtype == value.dtype.name == dtype
        assert is_mapped(value)
        assert not value.flags.writeable
        whole = expected if make is safetensors or value.ndim == 1 else expected.T
        np.testing.assert_array_equal(network.numbers(name), whole.astype(np.float64))
        together = np.concatenate([numbers for _, numbers in network.pieces(name)])
        np.testing.assert_array_equal(together, whole.astype(np.float64).ravel())
        assert together.dtype == np.float64


def test_a_small_file_is_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAPPED", 2**26)
    path = safetensors(tmp_path)
    network = load(path)
    (tmp_path / "w.safetensors").write_bytes(b"")  # a mapped file must not shrink
    np.testing.assert_array_equal(network.numbers("W1"), W1.astype(np.float32))
    assert not is_mapped(network.tensors["W1"].value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_arrays_of_numpy(dtype: str, tmp_path: Path) -> None:
    j = RNG.standard_normal((6, 6)).astype(dtype)
    np.save(tmp_path / "j.npy", j)
    np.save(tmp_path / "turned.npy", np.asfortranarray(j))
    np.savez(tmp_path / "j.npz", J=j, b=j[0], activation="abs")
    np.savez_compressed(tmp_path / "small.npz", J=j, b=j[0], activation="abs")
    for name in ("j.npy", "turned.npy", "j.npz", "small.npz"):
        tensor = load(tmp_path / name).tensors["J"]
        assert tensor.value is not None
        np.testing.assert_array_equal(tensor.value, j)
        assert tensor.value.dtype == j.dtype.newbyteorder("=")
        assert tensor.dtype == j.dtype.name
        straight = name in ("j.npy", "j.npz") and dtype != ">f4"
        assert is_mapped(tensor.value) == straight, name


def test_an_entry_that_is_not_finite_is_named_whichever_piece_it_is_in(tmp_path: Path) -> None:
    j = RNG.standard_normal((6, 6)).astype(np.float16)
    j[2, 3], j[5, 5] = np.nan, -np.inf
    np.save(tmp_path / "j.npy", j)
    with pytest.raises(ModelError, match=r"^J\[2,3\] is nan \(and 1 more\): retrain"):
        load(tmp_path / "j.npy")


@given(st.lists(st.integers(1, 5), max_size=4).map(tuple), st.integers(1, 9))
def test_parts_cover_an_array_in_order(shape: tuple[int, ...], limit: int) -> None:
    numbers = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    found = list(parts(shape, limit))
    assert all(1 <= flat.stop - flat.start <= limit for flat, _ in found)
    for flat, part in found:
        np.testing.assert_array_equal(numbers[part].ravel(), numbers.ravel()[flat])
    np.testing.assert_array_equal(np.concatenate([numbers[p].ravel() for _, p in found]), numbers.ravel())


def chain(folder: Path, kind: str, dtype: str, n: int) -> Path:
    """Three layers of n units. Names are so long that what follows them in an archive is at odd places."""
    held = {f"net.{name}": RNG.standard_normal((n, n)).astype(TYPES[dtype]) for name in ("W1a", "W2a", "W3a")}
    if kind == "npz":
        np.savez(folder / "w.npz", **held)
    else:
        save_file(held, folder / "w.safetensors")
    operations = [
        {"kind": "linear", "inputs": ["x", "W1a"], "output": "z1"},
        {"kind": "linear", "inputs": ["z1", "W2a"], "output": "z2"},
        {"kind": "linear", "inputs": ["z2", "W3a"], "output": "y"},
    ]
    entries = named(f"w.{kind}", "W1a", "W2a", "W3a")
    return document(folder / "m.json", entries, inputs={"x": [n]}, operations=operations)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("safetensors", dtype) for dtype in TYPES] + [("npz", d) for d in TYPES if d != "bfloat16"],
)
def test_they_are_solved_where_they_are(
    kind: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load(chain(tmp_path, kind, dtype, 101))
    expected = solve(network.with_parameters(dict(Numbers(network)))).h
    value = network.tensors["W1a"].value
    assert value is not None
    assert value.flags.aligned == (kind == "safetensors")
    monkeypatch.setattr(graph.Network, "numbers", lambda *_: pytest.fail("a copy in doubles"))
    found = solve(network)
    assert (found.status, found.method) == ("balanced", "block sweeps")
    np.testing.assert_allclose(found.h, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", slow_but(TYPES, "float16"))
def test_they_are_audited_where_they_are(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large blocks are compared in their types; a block with a fault in it, in doubles."""
    monkeypatch.setattr(scales, "WHOLE_BLOCK", 100)
    before = load(chain(tmp_path, "safetensors", dtype, 24))
    found = solve(before)
    save_rescaled(found.manifold, found.h, tmp_path / "out.json")
    audit = check(before, tmp_path / "out.json")
    assert audit.ok, audit.faults
    assert audit.function is Verdict.certified
    doubles = check(
        before, load(tmp_path / "out.json").with_parameters(dict(Numbers(load(tmp_path / "out.json"))))
    )
    np.testing.assert_allclose(list(doubles.scales.values()), list(audit.scales.values()), atol=1e-13)
    held = load_file(tmp_path / "out.json.safetensors")
    wrong = {name: value.view(TYPES[dtype]).copy() for name, value in held.items()}
    wrong["net.W2a"][5, 7] *= -1
    save_file(wrong, tmp_path / "out.json.safetensors")
    (fault,) = check(before, tmp_path / "out.json").faults
    assert fault.kind == "sign-changed"
    assert fault.where.startswith("W2a[5,7]")


def test_bfloat16_needs_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = safetensors(tmp_path, "bfloat16")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(
        MissingToolError, match=r"^ml_dtypes is not installed: say pip install 'balproof\[onnx\]'"
    ):
        load(path)


def test_numbers_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    network = load(safetensors(tmp_path, "float16"))
    numbers = Numbers(network)
    assert list(numbers) == ["W1", "b1", "W2"]
    assert len(numbers) == 3
    assert "x" not in numbers
    with pytest.raises(KeyError):
        numbers["x"]
    assert numbers["W1"].dtype == np.float64
    assert Numbers.held(numbers, "W1").dtype == np.float16
    assert is_mapped(Numbers.held(numbers, "W1"))
    assert Numbers.held({"W1": W1}, "W1") is W1


# --- written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
def test_tensors_of_safetensors_are_rescaled_and_all_else_is_kept(dtype: str, tmp_path: Path) -> None:
    network = infer(load(safetensors(tmp_path, dtype)))
    save_rescaled(network, log_scales(network), tmp_path / "out.json")
    written = tmp_path / "out.json.safetensors"
    found = load_file(written)  # the library takes bfloat16 for ml_dtypes as well
    for name, expected in rescaled(dtype).items():
        np.testing.assert_array_equal(found[f"net.{name}"].view(TYPES[dtype]), expected)
    np.testing.assert_array_equal(found["steps"], np.arange(3))
    header = (tmp_path / "w.safetensors").read_bytes()[8:].split(b"}}")[0]
    assert written.read_bytes()[8:].startswith(header)
    assert b'"made":"here"' in header
    again = load(tmp_path / "out.json")
    for name, expected in rescaled(dtype).items():
        np.testing.assert_array_equal(again.numbers(name), expected.astype(np.float64))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("m.json", "out.json", "out.json.safetensors", "w.safetensors")
    ]


@pytest.mark.parametrize("dtype", TYPES)
def test_external_data_of_onnx_is_rescaled(dtype: str, tmp_path: Path) -> None:
    path = external(tmp_path, dtype)
    network = infer(load(path))
    save_rescaled(network, log_scales(network), tmp_path / "out.onnx")
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
    proto = onnx.load(tmp_path / "out.onnx")
    for stored_ in proto.graph.initializer:
        expected = rescaled(dtype)[stored_.name]
        np.testing.assert_array_equal(numpy_helper.to_array(stored_), expected.T)
    bare = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    notes = [{e.key: e.value for e in t.external_data} for t in bare.graph.initializer]
    assert {n["location"] for n in notes} == {"out.onnx.data"}
    assert all(int(n["offset"]) % 4096 == 0 for n in notes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "out.onnx", "out.onnx.data", "w.bin"]
    if dtype == "float32":
        x = RNG.standard_normal((4, 5)).astype(np.float32)
        np.testing.assert_allclose(run(tmp_path / "out.onnx", x), run(path, x), rtol=1e-4, atol=1e-5)


def test_external_data_that_is_constant_goes_along(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Reshape", ["z", "to"], ["r"]),
        helper.make_node("Mul", ["r", "C"], ["y"]),
    ]
    weights = {"W": W1.T.astype(np.float32), "to": np.int64([-1, 7]), "C": B1.astype(np.float32)}
    place = {"save_as_external_data": True, "all_tensors_to_one_file": False, "size_threshold": 0}
    onnx.save_model(model(nodes, weights, x=("batch", 5)), tmp_path / "m.onnx", **place)
    network = load(tmp_path / "m.onnx")
    assert [t.name for t in network.parameters] == ["W"]
    save(network.with_parameters({"W": 2 * network.numbers("W")}), tmp_path / "out.onnx")
    (tmp_path / "W").unlink()
    after = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    np.testing.assert_array_equal(after["W"], 2 * weights["W"])
    np.testing.assert_array_equal(after["to"], weights["to"])
    np.testing.assert_array_equal(after["C"], weights["C"])


def test_arrays_in_several_files(tmp_path: Path) -> None:
    """Compressed or not, turned or not: written in the same type, beside what no parameter names."""
    (tmp_path / "sub").mkdir()
    np.savez_compressed(tmp_path / "w.npz", **{"net.W1": W1.astype(np.float32), "rest": np.arange(5)})
    np.savez(tmp_path / "sub" / "w.npz", **{"net.b1": B1.astype(">f4"), "scale": np.float16([2, 4, 8])})
    np.save(tmp_path / "w2.npy", np.asfortranarray(W2))
    entries = {**named("w.npz", "W1"), **named("sub/w.npz", "b1"), "W2": {"file": "w2.npy", "buffer": True}}
    scale = {"kind": "scale", "inputs": ["y", "c"], "output": "out"}
    path = document(
        tmp_path / "m.json",
        entries,
        constants={"c": {"file": "sub/w.npz", "tensor": "scale"}},
        operations=[*OPERATIONS, scale],
        outputs=["out"],
    )
    network = load(path)
    assert network.tensors["W2"].buffer
    np.testing.assert_array_equal(network.tensors["c"].value, [2.0, 4.0, 8.0])
    state = infer(network)
    save_rescaled(state, log_scales(state), tmp_path / "out.json")
    names = ("out.json.w.npz", "out.json.sub-w.npz", "out.json.w2.npy")
    first, second = (np.load(tmp_path / name) for name in names[:2])
    factor = np.exp(H)
    np.testing.assert_array_equal(
        first["net.W1"], (W1.astype(np.float32) * factor[:, None]).astype(np.float32)
    )
    np.testing.assert_array_equal(second["net.b1"], (B1.astype(np.float32) * factor).astype(np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / names[2]), W2 * np.exp(-H))
    np.testing.assert_array_equal(first["rest"], np.arange(5))
    np.testing.assert_array_equal(second["scale"], [2, 4, 8])
    with zipfile.ZipFile(tmp_path / names[0]) as archive:
        assert {m.compress_type for m in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    with zipfile.ZipFile(tmp_path / names[1]) as archive:
        assert archive.testzip() is None
        assert {m.compress_type for m in archive.infolist()} == {zipfile.ZIP_STORED}
    assert outputs(network, tmp_path / "out.json") == tuple(tmp_path / n for n in (*names, "out.json"))
    assert load(tmp_path / "out.json").tensors["W2"].buffer


def test_powers_of_two_are_written_piece_by_piece_too(tmp_path: Path) -> None:
    network = infer(load(safetensors(tmp_path)))
    save_rescaled(network, log_scales(network), tmp_path / "out.json", power_of_two=True)
    found = load_file(tmp_path / "out.json.safetensors")
    factor = 2.0 ** np.rint(H / np.log(2))
    np.testing.assert_array_equal(
        found["net.W1"], (W1.astype(np.float32) * factor[:, None]).astype(np.float32)
    )
    np.testing.assert_array_equal(found["net.W2"], (W2.astype(np.float32) / factor).astype(np.float32))


def test_exact_weights_that_do_not_move_stay_texts(tmp_path: Path) -> None:
    entries = {"W1": [["1/3"]], "W2": [[0.5]], "b": ["2/7"]}
    operations = [*(OPERATIONS[0], OPERATIONS[3] | {"inputs": ["z", "W2"]})]
    operations.append({"kind": "bias", "inputs": ["y", "b"], "output": "o"})
    path = document(tmp_path / "m.json", entries, inputs={"x": [1]}, operations=operations, outputs=["o"])
    network = infer(load(path))
    save_rescaled(network, np.log([2.0]), tmp_path / "out.json")
    after = json.loads((tmp_path / "out.json").read_text())["parameters"]
    assert after == {"W1": [[2 / 3]], "W2": [[0.25]], "b": ["2/7"]}


def test_a_weight_that_does_not_fit_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    network = infer(load(safetensors(tmp_path, "float16")))
    before = sorted(tmp_path.iterdir())
    place = np.argmax(np.abs(W1[:, 1:]), axis=None)
    row = int(place) // 4
    h = np.zeros(7)
    h[[int(n.rsplit("[", 1)[1][:-1]) for n in network.names].index(row)] = 14.0
    with pytest.raises(ModelError, match=rf"^W1\[{row},\d\] = \S+ does not fit float16: convert"):
        save_rescaled(network, h, tmp_path / "out.json")
    assert sorted(tmp_path.iterdir()) == before


# --- whole or not at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [safetensors, external], ids=["json", "onnx"])
@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_model_and_weights_are_both_replaced_or_neither(
    make: Any, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the four renamings fails: two put the old files aside, two put the new ones in place."""
    network = infer(load(make(tmp_path)))
    target = tmp_path / f"out.{network.network.format}"
    save_rescaled(network, np.zeros(7), target)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    seen: list[tuple[str, str]] = []
    rename = Path.rename

    def fail(self: Path, to: Path) -> Path:
        seen.append((self.name, to.name))
        if len(seen) == call + 1:
            raise OSError(5, "Input/output error")
        if to.name.startswith("out."):
            # The model is away as long as its weights are not those that belong to it.
            assert to == target or not target.exists() or len(seen) > call + 1
        return rename(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(ModelError, match=r"cannot be written \(Input/output error\)"):
            save_rescaled(network, log_scales(network), target)
    assert len(seen) > call
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    save_rescaled(network, log_scales(network), target)
    assert sorted(tmp_path.iterdir()) == sorted(before)
    changed = [path for path in before if path.read_bytes() != before[path]]
    assert [p for p in changed if p.name.startswith("out.")] == changed != []


@pytest.mark.parametrize("call", [0, 1])
def test_a_disk_that_is_full_leaves_what_was_there(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def full(_: int) -> None:
        calls[0] += 1
        if calls[0] == call + 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ModelError, match=rf"{'ab'[call]} cannot be written .No space left"):  # noqa: SIM117
        with replacing(tmp_path / "a", tmp_path / "b"):
            pass
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_a_network_may_be_written_over_its_own_files(tmp_path: Path) -> None:
    network = infer(load(external(tmp_path)))
    save_rescaled(network, np.zeros(7), tmp_path / "m.onnx")
    network = infer(load(tmp_path / "m.onnx"))
    save_rescaled(network, log_scales(network), tmp_path / "m.onnx")
    np.testing.assert_array_equal(network.network.numbers("W1"), W1.T.astype(np.float32))  # the old file
    after = load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(after.numbers("W1"), rescaled("float32")["W1"].T)


def test_weights_of_the_source_are_not_replaced_by_those_of_another_model(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "w.bin").rename(tmp_path / "out.onnx.data")
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = "out.onnx.data"
    write(path, proto)
    network = load(path)
    before = (tmp_path / "out.onnx.data").read_bytes()
    for act in (save, outputs):
        with pytest.raises(
            ModelError, match=r"out.onnx.data holds weights of .*m.onnx: write to another file"
        ):
            act(network, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").read_bytes() == before
    assert not (tmp_path / "out.onnx").exists()
    save_file({"net.W1": W1, "net.b1": B1, "net.W2": W2}, tmp_path / "b.json.safetensors")
    network = load(document(tmp_path / "a.json", named("b.json.safetensors", "W1", "b1", "W2")))
    with pytest.raises(ModelError, match=r"b.json.safetensors holds weights of"):
        save(network, tmp_path / "b.json")


# --- refused ------------------------------------------------------------------------------------------


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: Any, start: Any, stop: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


TWO = {"net.w": entry("F32", [2], 0, 8), "b": entry("F32", [1], 8, 12)}
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "a few bytes": (b"1234567", "header is not all there"),
    "a header longer than the file": (raw(TWO, bytes(12), 10**6), "header is not all there"),
    "a header of absurd length": (raw(TWO, bytes(12), 2**63), "header is not all there"),
    "no JSON": (raw(b"{'a': 1}"), "no intact JSON"),
    "not UTF-8": (raw(b"\xff\xfe{}"), "no intact JSON"),
    "no object": (raw([1]), "holds no object"),
    "a name twice": (raw(b'{"a": 1, "a": 2}'), "key 'a' twice"),
    "truncated": (raw(TWO, bytes(11)), "is truncated"),
    "bytes left over": (raw(TWO, bytes(13)), "has bytes left over"),
    "overlap": (raw({**TWO, "b": entry("F32", [1], 4, 8)}, bytes(8)), "b overlaps another"),
    "a gap": (raw({**TWO, "b": entry("F32", [1], 12, 16)}, bytes(16)), "b leaves a gap"),
    "out of range": (raw({**TWO, "b": entry("F32", [1], 8, 2**40)}, bytes(12)), r"b of F32 and shape \(1,\)"),
    "backwards": (raw({"net.w": entry("F32", [1], 8, 4)}, bytes(8)), "no proper shape and offsets"),
    "negative": (raw({"net.w": entry("F32", [1], -4, 0)}), "no proper shape and offsets"),
    "fractions": (raw({"net.w": entry("F32", [1.0], 0, 4)}, bytes(4)), "no proper shape and offsets"),
    "truth values": (raw({"net.w": entry("F32", [True], 0, 4)}, bytes(4)), "no proper shape and offsets"),
    "another size": (raw({"net.w": entry("F32", [3], 0, 8)}, bytes(8)), r"shape \(3,\) has 8 bytes"),
    "another type": (raw({"net.w": entry("F64", [2], 0, 8)}, bytes(8)), r"F64 and shape \(2,\) has 8 bytes"),
    "no type": (raw({"net.w": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)), "has no dtype, shape"),
    "integers": (raw({"net.w": entry("I32", [2], 0, 8)}, bytes(8)), "net.w holds I32"),
    "a type to come": (raw({"net.w": entry("F4", [16], 0, 8)}, bytes(8)), "net.w holds F4"),
    "not there": (raw({"w": entry("F32", [2], 0, 8)}, bytes(8)), "has no tensor 'net.w'"),
    "nothing in it": (raw({"net.w": entry("F32", [0], 0, 0)}), r"w has shape \(0,\)"),
    "NaN": (raw(TWO, struct.pack("<3f", 1, float("nan"), 1)), r"w\[1\] is nan"),
}


def vector(folder: Path, entry: Any) -> Path:
    """A network whose only parameter is a bias of two entries."""
    operations = [{"kind": "bias", "inputs": ["x", "w"], "output": "y"}]
    return document(folder / "m.json", {"w": entry}, inputs={"x": [2]}, operations=operations)


def refused(path: Path, match: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """By one line, and exit code 2."""
    with pytest.raises(ModelError, match=match):
        load(path)
    monkeypatch.setattr(sys, "argv", ["balproof", "inspect", str(path)])
    with pytest.raises(SystemExit) as stop:
        balproof.cli.main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_safetensors(name: str, mapped: bool, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(files, "MAPPED", 1 if mapped else 2**26)
    content, match = DAMAGED[name]
    (tmp_path / "w.safetensors").write_bytes(content)
    refused(vector(tmp_path, named("w.safetensors", "w")["w"]), match, monkeypatch, capsys)


def test_what_is_not_damaged_is_read(tmp_path: Path) -> None:
    """The guards above see what they are for; the library agrees with them."""
    path = vector(tmp_path, named("w.safetensors", "w")["w"])
    (tmp_path / "w.safetensors").write_bytes(raw(TWO, struct.pack("<3f", 1, 2, 3)))
    assert load(path).numbers("w").tolist() == [1.0, 2.0]
    ours_alone = {"integers", "a type to come", "not there", "nothing in it", "NaN", "truth values"}
    for name, (content, _) in DAMAGED.items():
        (tmp_path / "bad.safetensors").write_bytes(content)
        if name not in {*ours_alone, "a name twice"}:
            with pytest.raises(Exception):  # noqa: B017 - a type of its own
                load_file(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("stop", range(0, 400, 7))
def test_truncated_wherever_it_ends(stop: int, tmp_path: Path) -> None:
    path = safetensors(tmp_path)
    whole = (tmp_path / "w.safetensors").read_bytes()
    assert len(whole) > 400
    (tmp_path / "w.safetensors").write_bytes(whole[:stop])
    with pytest.raises(ModelError, match="w.safetensors"):
        load(path)


REFERENCES: dict[str, tuple[Any, str]] = {
    "above": ({"file": "../w.npy"}, "outside the model's folder"),
    "absolute": ({"file": "/etc/hostname"}, "outside the model's folder"),
    "a link out": ({"file": "link.npy"}, "outside the model's folder"),
    "the folder": ({"file": "."}, "outside the model's folder"),
    "a null": ({"file": "w\0.npy"}, "outside the model's folder"),
    "another form": ({"file": "m.json", "tensor": "w"}, "put them in one of .safetensors, .npz, .npy"),
    "not there": ({"file": "none.npy"}, "does not exist"),
    "a folder": ({"file": "sub.npy"}, "is not a file"),
    "which of them": ({"file": "w.npz"}, "name the tensor in it"),
    "there is one": ({"file": "v.npy", "tensor": "w"}, "leave tensor out"),
    "no such array": ({"file": "w.npz", "tensor": "v"}, "has no array 'v'"),
    "integers": ({"file": "w.npz", "tensor": "i"}, "w holds int64"),
    "truth values": ({"file": "w.npz", "tensor": "t"}, "w holds bool"),
    "complex": ({"file": "w.npz", "tensor": "c"}, "w holds complex64"),
    "records": ({"file": "w.npz", "tensor": "r"}, "w holds void"),
    "another shape": ({"file": "w.npz", "tensor": "m"}, r"w of shape \(3, 4\) differs"),
    "values too": ({"file": "v.npy", "values": [1, 2]}, "values: does not belong here"),
    "a type": ({"file": "v.npy", "dtype": "float32"}, "dtype: does not belong here"),
    "no text": ({"file": 3}, "is not of type 'string'"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_references_that_are_refused(name: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "sub.npy").mkdir()
    np.save(tmp_path / "w.npy", np.ones(2))
    np.save(folder / "v.npy", np.ones(2))
    (folder / "link.npy").symlink_to(tmp_path / "w.npy")
    records = np.zeros(2, dtype=[("a", "<f2")])
    others = {"i": np.arange(2), "t": np.ones(2) > 0, "c": np.ones(2, np.complex64), "m": np.ones((3, 4))}
    np.savez(folder / "w.npz", w=np.ones(2), r=records, **others)
    given, match = REFERENCES[name]
    load(vector(folder, {"file": "w.npz", "tensor": "w"}))
    load(vector(folder, {"file": "v.npy"}))
    refused(vector(folder, given), match, monkeypatch, capsys)


def test_one_tensor_for_two_parameters_is_refused(tmp_path: Path) -> None:
    """They would scale apart, and could not both be written to it."""
    (tmp_path / "again.npz").symlink_to("w.npz")
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    twice = {"a": {"file": "w.npz", "tensor": "w"}, "b": {"file": "again.npz", "tensor": "w"}}
    operations = [
        {"kind": "bias", "inputs": ["x", "a"], "output": "z"},
        {"kind": "bias", "inputs": ["z", "b"], "output": "y"},
    ]
    path = document(tmp_path / "m.json", twice, inputs={"x": [2]}, operations=operations)
    with pytest.raises(
        ModelError, match="a and b are one tensor of .*w.npz: use one parameter in both places"
    ):
        load(path)
    with pytest.raises(ModelError, match="a is in a file, and the document in memory"):
        load(json.loads(path.read_text()))


def test_damaged_archives(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    np.savez(tmp_path / "w.npz", w=np.arange(1.0, 3.0))
    path = vector(tmp_path, {"file": "w.npz", "tensor": "w"})
    load(path)
    whole = (tmp_path / "w.npz").read_bytes()
    at = whole.index(struct.pack("<d", 2.0))
    (tmp_path / "w.npz").write_bytes(whole[:at] + struct.pack("<d", 3.0) + whole[at + 8 :])
    refused(path, "does not have the checksum", monkeypatch, capsys)
    (tmp_path / "w.npz").write_bytes(b"junk" + whole[4:])
    refused(path, "no intact .npz file", monkeypatch, capsys)
    for stop in range(1, len(whole), 5):
        (tmp_path / "w.npz").write_bytes(whole[:stop])
        with pytest.raises(ModelError, match="w.npz"):
            load(path)


def test_external_data_that_is_not_there(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = external(tmp_path)
    whole = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(whole[:-1])
    refused(path, "the data of tensor W2 is not all in 'w.bin'", monkeypatch, capsys)
    (tmp_path / "w.bin").write_bytes(b"")
    refused(path, "'w.bin' is empty: put the data beside the model", monkeypatch, capsys)
    (tmp_path / "w.bin").unlink()
    refused(path, "'w.bin' does not exist: put the data beside the model", monkeypatch, capsys)
    (tmp_path / "w.bin").write_bytes(whole)
    load(path)
    spoiled = np.frombuffer(whole, "<f4").copy()
    spoiled[6] = np.inf
    (tmp_path / "w.bin").write_bytes(spoiled.tobytes())
    refused(path, r"W1\[0,6\] is inf", monkeypatch, capsys)
    proto = onnx.load(external(tmp_path), load_external_data=False)
    with pytest.raises(ModelError, match="in another file: give the path of the model"):
        load(proto)


def test_a_source_whose_weights_changed_is_refused(tmp_path: Path) -> None:
    path = safetensors(tmp_path)
    network = load(path)
    (tmp_path / "other").mkdir()
    safetensors(tmp_path / "other", "float16")
    (tmp_path / "other" / "w.safetensors").replace(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"no longer has 'W1' of shape \(7, 5\): load the network again"):
        save(network, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_command_refuses_such_files_before_it_solves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path, other = external(tmp_path), tmp_path / "out.onnx"
    monkeypatch.setattr("balproof.balance.solve.solve", lambda *_, **__: pytest.fail("solved"))

    def say(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["balproof", "solve", str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            balproof.cli.main()
        out, err = capsys.readouterr()
        assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
        return err

    assert "out.onnx.data is asked for twice" in say("-o", other, "--json", tmp_path / "out.onnx.data")
    save(load(path), other)
    path = other
    assert "out.onnx is also an input" in say("-o", other)
    (tmp_path / "link.onnx").symlink_to("out.onnx")
    (tmp_path / "new.onnx.data").symlink_to("out.onnx.data")
    assert "new.onnx.data holds weights of" in say("-o", tmp_path / "new.onnx")
    (tmp_path / "last.onnx.data").mkdir()
    assert "last.onnx.data is a folder" in say("-o", tmp_path / "last.onnx")


# --- memory -------------------------------------------------------------------------------------------

LARGE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from balproof.importers import load, save_rescaled
from balproof.network.manifold import infer

def limit(more):
    data = next(line for line in open("/proc/self/status") if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, ((int(data.split()[1]) << 10) + (more << 20),) * 2)

path, out, more, whole = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "whole"
infer(load("tests/data/chain.json"))  # so that all is imported
limit(more)
manifold = infer(load(path))
h = np.linspace(-1, 1, manifold.count)
network = manifold.rescale(h) if whole else save_rescaled(manifold, h, out)
again = infer(load(out))
assert again.dead_units == ()
print(json.dumps([again.invariants(), manifold.names.index("w0[7]")]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux does")
def test_a_model_of_some_hundred_megabytes_needs_little_memory(tmp_path: Path, root: Path) -> None:
    """216 MB of float16 weights, with 80 MiB for all that is not a page of a file."""
    n, layers = 6000, 3
    tile = (RNG.standard_normal(n) * 0.02).astype(np.float16)
    tile[tile == 0] = 0.01
    rows = np.stack([np.roll(tile, i) for i in range(50)])
    header = {f"w{i}": entry("F16", [n, n], i * 2 * n * n, (i + 1) * 2 * n * n) for i in range(layers)}
    with (tmp_path / "w.safetensors").open("wb") as stream:
        stream.write(raw(header))
        stream.writelines(rows.tobytes() for _ in range(layers * n // len(rows)))
    operations: list[dict[str, Any]] = []
    for i in range(layers):
        given = f"a{i - 1}" if i else "x"
        operations.append({"kind": "linear", "inputs": [given, f"w{i}"], "output": f"z{i}"})
        operations.append({"kind": "activation", "function": "relu", "inputs": [f"z{i}"], "output": f"a{i}"})
    operations[-1] = {"kind": "scale", "inputs": [f"z{layers - 1}", "c"], "output": "y"}
    path = document(
        tmp_path / "m.json",
        {f"w{i}": {"file": "w.safetensors", "tensor": f"w{i}"} for i in range(layers)},
        constants={"c": 1},
        inputs={"x": [n]},
        operations=operations,
    )

    def under(more: int, how: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", LARGE, path, tmp_path / "out.json", str(more), how]
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **threads, "PYTHONPATH": str(root)}
        return subprocess.run(
            arguments, capture_output=True, text=True, check=False, cwd=root, env=environment
        )

    done = under(80, "pieces")
    assert done.returncode == 0, done.stderr
    invariants, place = json.loads(done.stdout)
    assert invariants == layers * n * n - (layers - 1) * n
    # Unit 7 of the first layer, by the definition.
    h = np.linspace(-1, 1, (layers - 1) * n)[place]
    found = np.memmap(tmp_path / "out.json.safetensors", np.float16, "r", len(raw(header)), (n * layers, n))
    expected = (rows[7].astype(np.float64) * np.exp(h)).astype(np.float16)
    np.testing.assert_array_equal(found[7], expected)
    (tmp_path / "out.json.safetensors").unlink()
    assert "MemoryError" in under(80, "whole").stderr  # the limit is one
