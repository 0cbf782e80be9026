"""Files: read within limits or mapped, replaced whole or not at all, and errors in one line."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Collection, Generator, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from balproof.errors import ModelError

MAPPED = 2**26
"""A file of weights of so many bytes or more is not read, but mapped into memory.

Its pages are then read when they are needed and can be dropped again. It must not be written to as long as
its network is in use (a file that takes its place is no harm), so small files are read as a whole.
"""

Content = bytes | mmap.mmap


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file of at most ``limit`` bytes.

    Raises ModelError if there is no such file, it cannot be read, or it is empty or larger.
    """
    with _reading(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise ModelError(f"{path} has {size} bytes, more than {limit}", "give a smaller model")
        return stream.read()


def content_of(path: Path) -> Content:
    """The content of a file of any size, mapped if it is large: see `MAPPED`.

    Raises ModelError if there is no such file, it cannot be read, or it is empty.
    """
    with _reading(path) as stream:
        if os.fstat(stream.fileno()).st_size < MAPPED:
            return stream.read()
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


@contextlib.contextmanager
def _reading(path: Path) -> Generator[BinaryIO]:
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise ModelError(f"{path} {what}", "check the path")
        if path.stat().st_size == 0:
            raise ModelError(f"{path} is empty", "write the model anew")
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror})", "check the path and its rights"
        ) from None


def beside(model: Path, location: str, what: str) -> Path:
    """The file of weights that a model names: in its folder or below, also where links lead.

    Raises ModelError if it is elsewhere.
    """
    folder = os.path.realpath(model.parent)
    if location and "\0" not in location and not Path(location).is_absolute():
        target = os.path.realpath(Path(folder) / location)
        if target != folder and os.path.commonpath([folder, target]) == folder:
            return Path(target)
    raise ModelError(
        f"the data of {what} is said to be in {location!r}, outside the model's folder",
        "put the data beside the model",
    )


def require_apart(targets: Iterable[Path], source: Path, files: Collection[Path]) -> None:
    """Raise ModelError if what is written would take the place of weights of the model that was read.

    ``source`` itself may be written anew, together with them; the last target is the model.
    """
    *_, model = targets = list(targets)
    same = os.path.realpath(model) == os.path.realpath(source)
    for target in targets:
        if Path(os.path.realpath(target)) in files and not same:
            raise ModelError(f"{target} holds weights of {source}", "write to another file")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, whole or not at all.

    Raises ModelError as `replacing`.

    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "a.txt", b"whole")
    >>> [(p.name, p.read_bytes()) for p in folder.iterdir()]
    [('a.txt', b'whole')]
    """
    with replacing(path) as (stream,):
        stream.write(content)


@contextlib.contextmanager
def replacing(*paths: Path) -> Generator[tuple[BinaryIO, ...]]:
    """Replace files, all of them whole or none at all; the last is the one that names the others.

    What is written goes to new files in the same folders, which take the places of the old ones at the end.
    While several do, the last is not there: it never names another's data. A link stays a link: the file that
    it points to is replaced.

    Raises ModelError if a folder does not exist or cannot be written to; nothing is left behind then.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for path, target in zip(paths, targets, strict=True):
        if target.is_dir():
            raise ModelError(f"{path} is a folder", "name a file")
    with contextlib.ExitStack() as stack:
        at = paths[-1]
        try:
            streams: list[BinaryIO] = []
            temporary: list[Path] = []
            for path, target in zip(paths, targets, strict=True):
                at = path
                handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
                stack.callback(_remove, Path(name))
                temporary.append(Path(name))
                streams.append(stack.enter_context(os.fdopen(handle, "wb")))
            at = paths[-1]
            yield tuple(streams)
            for path, stream in zip(paths, streams, strict=True):
                at = path
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
            for new, target in zip(temporary, targets, strict=True):
                new.chmod(_mode(target))
            _exchange(temporary, targets)
        except OSError as error:
            raise ModelError(
                f"{at} cannot be written ({error.strerror})", "check the folder and its rights"
            ) from None


def _exchange(new: Sequence[Path], targets: Sequence[Path]) -> None:
    """Put finished files into their places; if that fails, all is as it was."""
    if len(new) == 1:
        new[0].replace(targets[0])
        return
    aside: list[tuple[Path, Path]] = []
    done: list[Path] = []
    try:
        for source, target in reversed(list(zip(new, targets, strict=True))):
            if target.exists():
                old = source.with_suffix(".old")
                target.rename(old)
                aside.append((old, target))
        for source, target in zip(new, targets, strict=True):
            source.rename(target)
            done.append(target)
    except BaseException:
        for target in done:
            _remove(target)
        for old, target in reversed(aside):
            old.rename(target)
        raise
    for old, _ in aside:
        _remove(old)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _mode(target: Path) -> int:
    """The rights of the file that is replaced, or those of a new file."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def first_line(error: BaseException, length: int = 200) -> str:
    """What another library said, in one line of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"
