"""Many instances of one piece of work: side by side, on a cluster, and again from where a run stopped.

Every finished instance is a file of its own under ``resume``, written whole or not at all: a killed run
loses no more than what was in hand.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from balproof.errors import MissingToolError, RequestError
from balproof.importers.files import write_atomically

T = TypeVar("T")
Result = dict[str, Any]
Progress = Callable[[int, int, str], None]

_PATIENCE = 10
"""Seconds within which a cluster must answer."""


def run(
    work: Callable[[T], Result],
    instances: Mapping[str, T],
    *,
    jobs: int = 1,
    dask: str | None = None,
    resume: Path | None = None,
    stamp: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> dict[str, Result]:
    """The results of ``work`` (JSON data) for all instances, by key, in their order.

    ``jobs`` instances run at a time in processes of their own, or on the cluster whose scheduler listens
    at ``dask``; ``work`` must be a function of a module, which travels by name. ``progress`` is told how
    many are finished, of how many, and which was last. Under the folder ``resume``, results that are there
    are not computed again; ``stamp`` says what they belong to (version, settings), and results with
    another stamp are refused.

    Raises RequestError for ``jobs`` below 1, a folder that cannot be used or belongs to something else,
    and a scheduler that does not answer; MissingToolError where dask.distributed is not installed.

    >>> run(json.loads, {"one": '{"value": 1}'})
    {'one': {'value': 1}}
    """
    if jobs < 1:
        raise RequestError(f"{jobs} jobs", "ask for at least 1")
    folder = None if resume is None else Folder(resume, dict(stamp or {}))
    results = {} if folder is None else {k: r for k in instances if (r := folder.read(k)) is not None}
    if progress:
        progress(len(results), len(instances), "")
    waiting = {k: v for k, v in instances.items() if k not in results}
    # Closed at once where something is raised: no worker goes on for nothing.
    with closing(_finished(work, waiting, jobs, dask)) as finished:
        for key, result in finished:
            results[key] = result
            if folder is not None:
                folder.write(key, result)
            if progress:
                progress(len(results), len(instances), key)
    return {k: results[k] for k in instances}


def version() -> str:
    """That of the package, for stamps."""
    return str(
        importlib.import_module("balproof").__version__
    )  # by name: the package stands above all floors


class Folder:
    """A folder of results, one file each.

    Raises RequestError where it cannot be made or holds results with another stamp.
    """

    def __init__(self, path: Path, stamp: Mapping[str, object]) -> None:
        self.path, self.stamp = path, json.loads(json.dumps(stamp))
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"{path} is no folder ({error.strerror})", "name another one") from None
        there = self._load(path / "campaign.json")
        if there is None:
            if any(path.glob("*")):
                raise RequestError(f"{path} has files, and no campaign.json", "name an empty folder")
            write_atomically(path / "campaign.json", _bytes(self.stamp))
        elif there != self.stamp:
            names = {*there, *self.stamp}
            other = next(k for k in sorted(names) if there.get(k) != self.stamp.get(k))
            raise RequestError(
                f"{path} belongs to a run with {other} {there.get(other)}, not {self.stamp.get(other)}",
                "name another folder",
            )

    def read(self, key: str) -> Result | None:
        """The result of an instance, if it is there.

        Raises RequestError for a file that is no result of this instance.
        """
        found = self._load(self._file(key))
        if found is None:
            return None
        if found.get("key") != key or not isinstance(found.get("result"), dict):
            raise RequestError(f"{self._file(key)} is no result of {key}", "delete it; it is computed again")
        return found["result"]

    def write(self, key: str, result: Result) -> None:
        write_atomically(self._file(key), _bytes({"key": key, "result": result}))

    def _file(self, key: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", key)[:80]
        return self.path / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"

    def _load(self, file: Path) -> Result | None:
        try:
            found = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no JSON"
            raise RequestError(
                f"{file} cannot be read ({why})", "delete it, or name another folder"
            ) from None
        if not isinstance(found, dict):
            raise RequestError(f"{file} is no result", "delete it, or name another folder")
        return found


def _bytes(data: object) -> bytes:
    return (json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def _finished(
    work: Callable[[T], Result], instances: Mapping[str, T], jobs: int, dask: str | None
) -> Generator[tuple[str, Result]]:
    """Keys and results, as they are finished."""
    if dask is not None:
        yield from _on_cluster(work, instances, dask)
    elif jobs == 1 or len(instances) < 2:
        yield from ((key, work(instance)) for key, instance in instances.items())
    else:
        from joblib import Parallel, delayed

        calls = (delayed(_keyed)(work, key, instance) for key, instance in instances.items())
        side_by_side = Parallel(n_jobs=min(jobs, len(instances)), return_as="generator_unordered")
        found: Iterable[tuple[str, Result]] = side_by_side(calls)
        with warnings.catch_warnings():
            # Said where a worker has grown and is replaced. As an error it would end the thread that waits
            # for all workers, and this one would wait for ever.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            yield from found


def _keyed(work: Callable[[T], Result], key: str, instance: T) -> tuple[str, Result]:
    return key, work(instance)


def _on_cluster(
    work: Callable[[T], Result], instances: Mapping[str, T], address: str
) -> Iterator[tuple[str, Result]]:
    """joblib's dask backend gives all results at the end, so that a killed run would lose them: the
    cluster is asked itself."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise MissingToolError("dask.distributed is not installed", "pip install 'balproof[dask]'") from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:  # an address that is none, or where nothing listens
        reason = " ".join(str(error).split())
        raise RequestError(f"no dask scheduler at {address} ({reason})", "see that it runs") from None
    with client:
        futures = [client.submit(_keyed, work, k, v, pure=False) for k, v in instances.items()]
        for _, pair in as_completed(futures, loop=client.loop, with_results=True):
            yield pair
