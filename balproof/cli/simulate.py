"""``balproof simulate``: claims about training, replicated with paired runs over many seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from balproof.cli.output import DaskOption, JsonOption, ResumeOption, emit, out, progress_bar, require_outputs
from balproof.errors import RequestError

if TYPE_CHECKING:
    from balproof.simulate import Answer


def simulate(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="the study; --list names all")] = None,
    list_: Annotated[bool, typer.Option("--list", help="name the studies and their settings")] = False,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="runs, with the seeds 0 to N − 1; by itself 20 or more")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="MNIST or Fashion-MNIST (idx files, .gz or not) or CIFAR-10 (binary version); "
            "without it, the digits of scikit-learn",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=X", help="another value of a setting; may be repeated"),
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", help="runs at a time, each in a process of its own")] = 1,
    dask: DaskOption = None,
    resume: ResumeOption = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="F", help="draw mean and range of all runs (.svg, .png or .pdf)")
    ] = None,
    json_: JsonOption = None,
) -> int:
    """Replicate what a paper says of training: paired runs over many seeds, effects with 95 % intervals.

    Exits with 1 where the claim was not reproduced, or in part only.

    Example: balproof simulate large-steps --seeds 5 --plot steps.png
    """
    from balproof.simulate import simulate as run
    from balproof.simulate import studies, study, with_defaults

    if list_ == (name is not None):
        raise RequestError("one study is run at a time", "give its NAME, or --list")
    require_outputs((json_, plot))
    if name is None:
        known = list(studies().values())
        said = [{"name": s.name, "title": s.title, "source": s.source, "claim": s.claim, "seeds": s.seeds,
                 "settings": dict(s.settings)} for s in known]  # fmt: skip
        if not emit(said, json_):
            for s in known:
                values = " ".join(f"{k}={v:g}" for k, v in s.settings.items())
                out.print(f"{s.name}  {s.title}, {s.seeds} seeds\n    {values}", markup=False)
        return 0
    if plot is not None:
        from balproof.report.plots import check_plot_path

        check_plot_path(plot, "svg", "png", "pdf")
    given = dict(map(_setting, settings or ()))
    with_defaults(study(name), given)
    with progress_bar("simulating") as tell:
        answer = run(
            name, seeds=seeds, data=data, settings=given, jobs=jobs, dask=dask, resume=resume, progress=tell
        )
    if plot is not None:
        from balproof.report.plots import save_drawing
        from balproof.simulate import draw

        save_drawing(plot, lambda figure: draw(answer, figure), 12.0, 4.2)
    if not emit(answer.as_json(), json_):
        _print(answer)
    return 0 if answer.reproduced else 1


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise RequestError(f"the setting {text!r} has no number", "write NAME=X, as in rate=0.1") from None


def _print(answer: Answer) -> None:
    s = answer.study
    settings = ", ".join(f"{k} {v:g}" for k, v in answer.settings.items())
    out.print(
        f"{s.title}: {s.source}\n{answer.data['name']}, {len(answer.runs)} seeds, {settings}\n", markup=False
    )
    for effect in answer.effects:
        out.print(f"{effect.effect.name}\n  {effect.said}", markup=False)
    out.print(f"\n{answer.sentence}", markup=False)
