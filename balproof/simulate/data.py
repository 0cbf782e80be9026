"""Images with labels: the digits of scikit-learn, or MNIST, Fashion-MNIST and CIFAR-10 from a folder.

Nothing is downloaded and no pickle is opened: of CIFAR-10 the *binary* version is read. The formats are
described by LeCun, Cortes, Burges (idx) and Krizhevsky (binary CIFAR).
"""

from __future__ import annotations

import gzip
import importlib
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from balproof.errors import DataError, MissingToolError

Array = np.ndarray

IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CIFAR_SHAPE = (3, 32, 32)

MOST_BYTES = 2**30
"""Larger files of pixels are refused before they are unpacked."""

_FIRST: dict[tuple[int, ...], str] = {(5, 0, 4, 1, 9): "MNIST", (9, 0, 0, 3, 0): "Fashion-MNIST"}
"""Both have the same file names; the first labels tell them apart."""

_ANEW = "download the file again"


@dataclass(frozen=True, eq=False)
class Data:
    """Training and test images, flat, as float32 in [0, 1], with labels from 0.

    ``shape`` is that of one image: channels, rows, columns.
    """

    name: str
    shape: tuple[int, int, int]
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @property
    def classes(self) -> int:
        return int(max(self.y_train.max(initial=-1), self.y_test.max(initial=-1))) + 1

    @property
    def pixels(self) -> int:
        return self.x_train.shape[1]

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "shape": list(self.shape),
            "train": len(self.x_train),
            "test": len(self.x_test),
            "classes": self.classes,
        }


@lru_cache(maxsize=1)
def read(folder: Path | None = None) -> Data:
    """The data set that a folder holds; without a folder, the digits.

    Raises DataError where the folder holds none, two, a damaged one, or one in a form that is not read;
    MissingToolError for the digits without scikit-learn.

    >>> data = read()
    >>> data.name, data.x_train.shape, data.x_test.shape, data.classes
    ('digits', (1347, 64), (450, 64), 10)
    """
    if folder is None:
        return digits()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", "give the folder that holds the files of the data set")
    places = [p for p in (folder, folder / "raw", folder / "cifar-10-batches-bin") if p.is_dir()]
    found = [(p, kind) for p in places for kind, names in (("idx", IDX), ("cifar", CIFAR)) if _any(p, names)]
    if len(found) > 1:
        raise DataError(f"{folder} holds more than one data set", "give the folder of one of them")
    if not found:
        _refuse(folder)
    place, kind = found[0]
    return _idx(place) if kind == "idx" else _cifar(place)


def no_images() -> Data:
    """For a study that makes its own data."""
    images, labels = np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
    return Data("made by the study", (0, 0, 0), images, labels, images, labels)


def digits() -> Data:
    """The 1797 handwritten digits of scikit-learn, 8 × 8 pixels; always the same quarter is held out."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
        selection = importlib.import_module("sklearn.model_selection")
    except ImportError:
        raise MissingToolError(
            "the digits come with scikit-learn, which is not installed",
            "say pip install 'balproof[digits]', or give --data",
        ) from None
    pixels, labels = datasets.load_digits(return_X_y=True)
    x, x_test, y, y_test = selection.train_test_split(
        (pixels / 16.0).astype(np.float32), labels, test_size=0.25, random_state=0, stratify=labels
    )
    return Data("digits", (1, 8, 8), x, y.astype(np.int64), x_test, y_test.astype(np.int64))


def _any(folder: Path, names: tuple[str, ...]) -> bool:
    return any(_where(folder, name) is not None for name in names)


def _where(folder: Path, name: str) -> Path | None:
    """The file of this name, packed or not, or with the dot that some unpackers write."""
    dotted = name.replace("-idx", ".idx")
    return next((p for n in (name, dotted) for p in (folder / n, folder / f"{n}.gz") if p.is_file()), None)


def _path(folder: Path, name: str) -> Path:
    found = _where(folder, name)
    if found is None:
        raise DataError(f"{folder} lacks {name}", "put all files of the data set into one folder")
    return found


def _refuse(folder: Path) -> None:
    pickled = [p for p in (folder, folder / "cifar-10-batches-py") if (p / "data_batch_1").is_file()]
    if pickled:
        raise DataError(
            f"{pickled[0]} holds the Python version of CIFAR-10, pickled files, which are never opened",
            "download the binary version (cifar-10-binary.tar.gz)",
        )
    packed = next((p for p in sorted(folder.glob("*.tar*"))), None)
    if packed is not None:
        raise DataError(f"{folder} holds {packed.name}, which is packed", "unpack it")
    raise DataError(
        f"{folder} holds no data set that is known",
        f"give a folder with {IDX[0]} and so on (MNIST, Fashion-MNIST) or {CIFAR[0]} (CIFAR-10, binary)",
    )


# --- idx ----------------------------------------------------------------------------------------------


def _idx(folder: Path) -> Data:
    x, y, x_test, y_test = (_array(_path(folder, name), 3 if "images" in name else 1) for name in IDX)
    for images, labels, part in ((x, y, "training"), (x_test, y_test, "test")):
        if len(images) != len(labels) or not len(images):
            raise DataError(
                f"{folder} holds {len(images)} {part} images and {len(labels)} labels",
                "take files that match",
            )
    if x.shape[1:] != x_test.shape[1:]:
        raise DataError(f"{folder} holds images of two sizes", "take files that match")
    name = _FIRST.get(tuple(int(v) for v in y[:5]), f"images in {folder.name}")
    rows, columns = x.shape[1:]
    return Data(
        name, (1, rows, columns), _pixels(x), y.astype(np.int64), _pixels(x_test), y_test.astype(np.int64)
    )


def _pixels(values: Array) -> Array:
    return values.reshape(len(values), -1).astype(np.float32) / np.float32(255)


def _array(path: Path, axes: int) -> Array:
    """The unsigned bytes of an idx file with so many axes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _from(stream, path, axes)  # pyright: ignore[reportArgumentType]
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path} is damaged or cut off", _ANEW) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", "check its rights") from None


def _from(stream: BinaryIO, path: Path, axes: int) -> Array:
    head = stream.read(4 + 4 * axes)
    if len(head) < 4 + 4 * axes:
        raise DataError(f"{path} is cut off", _ANEW)
    if head[:4] != bytes((0, 0, 8, axes)):
        raise DataError(
            f"{path} begins with {head[:4].hex()}, not 0000080{axes}: no idx file of {axes} axes of bytes",
            _ANEW,
        )
    shape = tuple(int(n) for n in np.frombuffer(head[4:], ">u4"))
    size = int(np.prod(shape, dtype=object))
    if size > MOST_BYTES:
        raise DataError(f"{path} claims to hold {size} bytes", "give a data set of at most a gigabyte")
    body = stream.read(size + 1)
    if len(body) != size:
        what = "is cut off" if len(body) < size else "holds more than it says"
        raise DataError(f"{path} {what}", _ANEW)
    return np.frombuffer(body, np.uint8).reshape(shape)


# --- CIFAR-10, binary version ----------------------------------------------------------------------------


def _cifar(folder: Path) -> Data:
    *train, (x_test, y_test) = (_records(_path(folder, name)) for name in CIFAR)
    x, y = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Data("CIFAR-10", CIFAR_SHAPE, x, y, x_test, y_test)


def _records(path: Path) -> tuple[Array, Array]:
    """Pixels and labels of one file: records of a label and 3072 pixels."""
    length = 1 + int(np.prod(CIFAR_SHAPE))
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path} has {size} bytes", "give a data set of at most a gigabyte")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", "check its rights") from None
    if not content or len(content) % length:
        raise DataError(f"{path} does not consist of records of {length} bytes", _ANEW)
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    if records[:, 0].max() > 9:
        raise DataError(f"{path} has a label above 9: not CIFAR-10, or damaged", _ANEW)
    return _pixels(records[:, 1:]), records[:, 0].astype(np.int64)
