"""What `load` and `save` do for every form: suffixes, objects, and files that are replaced whole."""

import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest

from balproof.errors import ModelError
from balproof.importers import FORMS, files, load, save
from balproof.importers.files import read_bytes, write_atomically


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("m.pt2", r"exported PyTorch program.*: export the model with torch.onnx.export"),
        ("m.pt", r"pickled PyTorch file, which is never opened: export"),
        ("m.pth", "never opened"),
        ("m.pkl", r"pickled file, which is never opened: give a file in one of .onnx, .json"),
        ("m.h5", "unknown suffix .h5"),
        ("m", r"unknown suffix \(none\)"),
    ],
)
def test_suffixes_that_are_not_read(name: str, match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(ModelError, match=match):
        load(tmp_path / name)


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    with (tmp_path / "R.NPY").open("wb") as stream:
        np.save(stream, np.eye(2))
    network = load(str(tmp_path / "R.NPY"))
    assert network.format == "npy"
    save(network, tmp_path / "S.Npy")


def test_objects() -> None:
    network = load(np.eye(2))
    assert load(network) is network
    with pytest.raises(ModelError, match="cannot be made of a builtins.int"):
        load(3)


@pytest.mark.parametrize("suffix", FORMS)
def test_each_form_refuses_a_file_that_is_not_there(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load(tmp_path / f"none{suffix}")


def test_another_suffix_than_the_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"suffix .onnx, but the network is of the form .npz"):
        save(load(np.eye(2)), tmp_path / "b.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.npy"
    np.save(path, np.eye(2))
    before = path.read_bytes()
    network = load(path).with_parameters({"J": np.eye(2) * 3})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fail)
        with pytest.raises(ModelError, match="cannot be written .No space left"):
            save(network, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.npy"]

    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", interrupt)
        with pytest.raises(Interrupted):
            save(network, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.npy"]
    save(network, path)
    assert path.read_bytes() != before


def test_rights_and_links_are_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.bin", tmp_path / "link.bin"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    mask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "fresh.bin", b"x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "fresh.bin").stat().st_mode) == 0o640


def test_folders_that_are_not_there_or_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be written"):
        write_atomically(tmp_path / "none" / "a", b"")
    with pytest.raises(ModelError, match="is a folder"):
        write_atomically(tmp_path, b"")


def test_files_over_the_limit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ModelError, match="has 5 bytes, more than 4"):
        read_bytes(tmp_path / "a", 4)


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("suffix", FORMS)
def test_what_is_no_model_under_any_suffix(suffix: str, tmp_path: Path) -> None:
    path, mark = tmp_path / f"m{suffix}", tmp_path / "mark"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"m\.\w+ is empty: write the model anew$"):
        load(path)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match="is not a file: check the path$"):
        load(path)
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # the bomb is live
