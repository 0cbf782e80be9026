"""Data sets: the bytes of each format written by hand, and one line for whatever is wrong with them."""

import gzip
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from balproof.errors import DataError, MissingToolError
from balproof.simulate import data
from balproof.simulate.data import read

RNG = np.random.default_rng(5)
TRAIN, TEST = RNG.integers(0, 256, (7, 4, 3), np.uint8), RNG.integers(0, 256, (3, 4, 3), np.uint8)
NAMES = {
    "train-images-idx3-ubyte": TRAIN,
    "train-labels-idx1-ubyte": np.array([5, 0, 4, 1, 9, 2, 1], np.uint8),
    "t10k-images-idx3-ubyte": TEST,
    "t10k-labels-idx1-ubyte": np.array([7, 2, 1], np.uint8),
}


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    for name, values in NAMES.items():
        (tmp_path / name).write_bytes(idx(values))
    return tmp_path


@pytest.fixture(autouse=True)
def _fresh():
    read.cache_clear()
    yield
    read.cache_clear()


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    found = read()
    pixels, labels = load_digits(return_X_y=True)
    x, y = np.concatenate([found.x_train, found.x_test]), np.concatenate([found.y_train, found.y_test])
    assert (found.x_train.dtype, found.y_train.dtype) == (np.float32, np.int64)
    assert sorted(map(bytes, np.column_stack([x * 16, y]).astype(np.uint8))) == sorted(
        map(bytes, np.column_stack([pixels, labels]).astype(np.uint8))
    )


def test_idx(mnist: Path) -> None:
    found = read(mnist)
    assert (found.name, found.shape, found.classes, found.pixels) == ("MNIST", (1, 4, 3), 10, 12)
    assert found.x_train.dtype == np.float32
    np.testing.assert_allclose(found.x_train * 255, TRAIN.reshape(7, 12), rtol=1e-6)
    np.testing.assert_allclose(found.x_test * 255, TEST.reshape(3, 12), rtol=1e-6)
    assert found.y_train.tolist() == [5, 0, 4, 1, 9, 2, 1]
    assert found.y_test.tolist() == [7, 2, 1]


def test_packed_idx_in_the_folder_that_torchvision_makes(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name, values in NAMES.items():
        changed = values if "train-labels" not in name else np.array([9, 0, 0, 3, 0, 2, 7], np.uint8)
        (tmp_path / "raw" / f"{name}.gz").write_bytes(gzip.compress(idx(changed)))
    found = read(tmp_path)
    assert found.name == "Fashion-MNIST"
    np.testing.assert_allclose(found.x_train * 255, TRAIN.reshape(7, 12), rtol=1e-6)


def test_idx_with_the_dot_of_some_unpackers(tmp_path: Path) -> None:
    for name, values in NAMES.items():
        changed = values if "train-labels" not in name else np.zeros(7, np.uint8)
        (tmp_path / name.replace("-idx", ".idx")).write_bytes(idx(changed))
    assert read(tmp_path).name == f"images in {tmp_path.name}"


def record(label: int, pixels: np.ndarray) -> bytes:
    return bytes([label]) + pixels.tobytes()


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        image = np.full((3, 32, 32), i * 40, np.uint8)
        image[2, 31, 31] = 255
        (folder / name).write_bytes(record(i, image) + record(9 - i, image))
    return tmp_path


def test_cifar(cifar: Path) -> None:
    found = read(cifar)
    assert (found.name, found.shape) == ("CIFAR-10", (3, 32, 32))
    assert found.x_train.shape == (10, 3072)
    assert found.y_train.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert found.y_test.tolist() == [5, 4]
    image = found.x_train[2].reshape(3, 32, 32)
    assert (image[0, 0, 0], image[2, 31, 31]) == (np.float32(40 / 255), 1.0)


def refused(folder: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as found:
        read(folder)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b[:-1], "is cut off"),
        (lambda b: b[:10], "is cut off"),
        (lambda b: b"", "is cut off"),
        (lambda b: b + b"\0", "holds more than it says"),
        (lambda b: b"\0\0\x0d\3" + b[4:], "begins with 00000d03, not 00000803"),
        (lambda b: b"\0\0\x08\1" + b[4:], "begins with 00000801"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "claims to hold"),
        (lambda b: idx(TRAIN[:6]), "6 training images and 7 labels"),
        (lambda b: idx(TRAIN[:, :, :2]), "two sizes"),
        (lambda b: idx(TRAIN[:0]), "0 training images"),
    ],
)
def test_damaged_idx(mnist: Path, change, match: str) -> None:
    path = mnist / "train-images-idx3-ubyte"
    path.write_bytes(change(path.read_bytes()))
    refused(mnist, match)


@pytest.mark.parametrize("keep", [12, 40, 60])
def test_damaged_gzip(mnist: Path, keep: int) -> None:
    path = mnist / "train-images-idx3-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(packed[:keep])
    refused(mnist, "is damaged or cut off")
    path.with_name(f"{path.name}.gz").write_bytes(b"no gzip at all")
    refused(mnist, "is damaged or cut off")


def test_a_file_that_is_missing(mnist: Path) -> None:
    (mnist / "t10k-labels-idx1-ubyte").unlink()
    refused(mnist, "lacks t10k-labels-idx1-ubyte")


def test_damaged_cifar(cifar: Path) -> None:
    path = cifar / "cifar-10-batches-bin" / "data_batch_3.bin"
    good = path.read_bytes()
    for bad, match in (
        (good[:-1], "records of 3073"),
        (b"", "records of 3073"),
        (b"\x0a" + good[1:], "label above 9"),
    ):
        path.write_bytes(bad)
        refused(cifar, match)
    path.unlink()
    refused(cifar, "lacks data_batch_3.bin")


class Bomb:
    def __reduce__(self):
        return (sys.exit, ("a pickle was opened",))


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-py"])
def test_the_python_version_of_cifar_is_not_opened(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / "data_batch_1").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path, "download the binary version")


def test_folders_without_a_data_set(tmp_path: Path, mnist: Path) -> None:
    refused(tmp_path / "nowhere", "is not a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no data set that is known: give a folder with train-images")
    (tmp_path / "empty" / "cifar-10-binary.tar.gz").write_bytes(b"")
    refused(tmp_path / "empty", "cifar-10-binary.tar.gz, which is packed: unpack it")
    (mnist / "test_batch.bin").write_bytes(b"")
    refused(mnist, "more than one data set")


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingToolError, match=r"balproof\[digits\]"):
        data.digits()
