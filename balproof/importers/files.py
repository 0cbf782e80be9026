"""Files: read within limits, replaced whole or not at all, and errors in one line."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from balproof.errors import ModelError


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file of at most ``limit`` bytes.

    Raises ModelError if there is no such file, it cannot be read, or it is empty or larger.
    """
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise ModelError(f"{path} {what}", "check the path")
        size = path.stat().st_size
        if size > limit:
            raise ModelError(f"{path} has {size} bytes, more than {limit}", "give a smaller model")
        if size == 0:
            raise ModelError(f"{path} is empty", "write the model anew")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror})", "check the path and its rights"
        ) from None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, whole or not at all.

    The content goes to a new file in the same folder, which then takes the place of the old one. A link
    stays a link: the file that it points to is replaced.

    Raises ModelError if the folder does not exist or cannot be written to; nothing is left behind then.

    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "a.txt", b"whole")
    >>> [(p.name, p.read_bytes()) for p in folder.iterdir()]
    [('a.txt', b'whole')]
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise ModelError(f"{path} is a folder", "name a file")
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(_mode(target))
        Path(temporary).replace(target)
        temporary = None
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written ({error.strerror})", "check the folder and its rights"
        ) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


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
