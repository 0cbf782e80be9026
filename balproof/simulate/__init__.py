"""Simulations: claims about training, replicated with paired runs over many seeds.

Nothing here proves anything: an effect is reported with its interval, also where it is not what a paper says.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from balproof.campaign import Progress, version
from balproof.campaign import run as campaign
from balproof.errors import RequestError
from balproof.simulate.data import Data, no_images, read
from balproof.simulate.study import Measured, Run, Settings, Study, conclude
from balproof.simulate.training import pytorch

MODULES: tuple[str, ...] = ("autoencoders", "one_state", "books", "learning", "context")
"""Each has a tuple ``STUDIES``, listed in this order."""


def studies() -> dict[str, Study]:
    """All studies by name."""
    found = [s for m in MODULES for s in importlib.import_module(f"balproof.simulate.{m}").STUDIES]
    return {s.name: s for s in found}


def study(name: str) -> Study:
    """The study of this name.

    Raises RequestError for an unknown one.
    """
    known = studies()
    if name not in known:
        raise RequestError(f"unknown study {name!r}", "take one of " + ", ".join(known))
    return known[name]


@dataclass(frozen=True)
class Answer:
    """A study as it was run: all runs by seed, every effect, and one sentence on the claim."""

    study: Study
    settings: Settings
    data: Mapping[str, object]
    runs: Mapping[int, Run]
    effects: tuple[Measured, ...]
    sentence: str

    @property
    def reproduced(self) -> bool:
        return all(e.verdict == "reproduced" for e in self.effects)

    def as_json(self) -> dict[str, object]:
        s = self.study
        return {
            "name": s.name,
            "title": s.title,
            "source": s.source,
            "claim": s.claim,
            "data": dict(self.data),
            "seeds": list(self.runs),
            "settings": dict(self.settings),
            "effects": [e.as_json() for e in self.effects],
            "reproduced": self.reproduced,
            "sentence": self.sentence,
            "runs": {str(seed): run.as_json() for seed, run in self.runs.items()},
        }


def simulate(
    name: str,
    *,
    seeds: int | None = None,
    data: Path | None = None,
    settings: Settings | None = None,
    jobs: int = 1,
    dask: str | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Run a study with the seeds 0, 1, … (as many as it says by itself) and measure its effects.

    Every run is the same on each call, whatever runs beside it: PyTorch has one thread in it. ``jobs``,
    ``dask`` and ``resume`` are those of `balproof.campaign.run`.

    Raises RequestError for an unknown study or setting, for fewer than two seeds, and for data that the study
    would not look at, DataError for a folder
    without a data set that can be read, MissingToolError without PyTorch.
    """
    chosen = study(name)
    count = chosen.seeds if seeds is None else seeds
    if count < 2:
        raise RequestError(f"{count} seeds give no interval", "ask for at least 2")
    complete = with_defaults(chosen, settings or {})
    if chosen.own_data and data is not None:
        raise RequestError(f"{name} makes its own data", "leave --data out")
    pytorch()
    place = None if data is None else str(data.resolve())
    said = _data(chosen, place).as_json()
    found = campaign(
        partial(one, name, place, complete),
        {f"seed {n}": n for n in range(count)},
        jobs=jobs,
        dask=dask,
        resume=resume,
        stamp={"study": name, "data": said, "settings": complete, "balproof": version()},
        progress=progress,
    )
    runs = {n: Run.from_json(found[f"seed {n}"]) for n in range(count)}
    effects, sentence = conclude(chosen, list(runs.values()))
    return Answer(chosen, complete, said, runs, effects, sentence)


def one(name: str, data: str | None, settings: Settings, seed: int) -> dict[str, Any]:
    """One run, in a process of its own perhaps, which then reads the data once."""
    chosen = study(name)
    return chosen.run(seed, _data(chosen, data), settings).as_json()


def _data(chosen: Study, place: str | None) -> Data:
    return no_images() if chosen.own_data else read(None if place is None else Path(place))


def with_defaults(chosen: Study, settings: Settings) -> dict[str, float]:
    """The settings of a study with those that are given in place of its own.

    >>> with_defaults(study("large-steps"), {"rate": 1.0})["rate"]
    1.0

    Raises RequestError for an unknown name, a fraction in place of a whole number, and numbers not above 0.
    """
    found = dict(chosen.settings)
    for name, value in settings.items():
        if name not in found:
            raise RequestError(f"{chosen.name} has no setting {name!r}", "take one of " + ", ".join(found))
        whole = isinstance(found[name], int)
        if not 0 < value < float("inf") or (whole and value != int(value)):
            kind = "a whole number from 1" if whole else "a number above 0"
            raise RequestError(f"the setting {name} is {value:g}", f"give {kind}")
        found[name] = int(value) if whole else float(value)
    return found


def draw(answer: Answer, figure: Any) -> None:
    """All runs of a study in an empty figure of matplotlib."""
    answer.study.draw(figure, list(answer.runs.values()))
