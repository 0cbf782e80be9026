"""The command line: commands to calls below. No mathematics happens here.

Exit codes: 0 all as claimed; 1 the answer is no; 2 the request or the input is wrong (one line).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from balproof.errors import BalproofError, RequestError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Verify synaptic balance: derive it, solve it, certify it, and check other people's work.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
out = Console(soft_wrap=True, highlight=False)

_ROWS = 40

JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="F", help="write the answer as JSON; - for standard output")
]
Specs = Annotated[
    list[str] | None,
    typer.Option(
        "--regularizer",
        metavar="SPEC",
        help="l1, l2, lp:1.5, a formula in w, or 'NAME*=SPEC'; may be repeated",
    ),
]
NoBiasCost = Annotated[
    bool, typer.Option("--no-bias-cost", help="leave biases out of the cost (never out of the symmetry)")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help=".onnx, .json, .npz, .npy or .mtx")]


def main() -> None:
    """Run a command; every expected failure is one line on standard error and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except BalproofError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(_usage(error))
    except typer.Abort:
        _fail("stopped: nothing was written")
    except KeyboardInterrupt:
        _fail("stopped: nothing was written")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except RecursionError:
        _fail("the input is nested too deeply: simplify it")
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: Any) -> str:
    text = " ".join(str(getattr(error, "format_message", lambda: str(error))()).split()).rstrip(".")
    return f"{text}: see balproof --help"


def _fail(message: str) -> None:
    print(f"balproof: {message}", file=sys.stderr)
    sys.exit(2)


# --- output --------------------------------------------------------------------------------------------


def _write_text(path: Path, text: str) -> None:
    from balproof.importers.files import write_atomically

    write_atomically(path, text.encode())


def _emit(data: dict[str, Any], target: str | None) -> bool:
    """Write JSON where it was asked for; True if standard output is taken by it."""
    if target is None:
        return False
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return True
    _write_text(Path(target), text)
    return False


def _refuse_overwriting(*pairs: tuple[Path | str | None, Path]) -> None:
    for target, source in pairs:
        if target is not None and str(target) != "-" and Path(target).resolve() == source.resolve():
            raise RequestError(f"{target} is also the input", "write to another file")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """A line that says what goes on, on a terminal; silent in a pipe."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status(what) as status:
        yield lambda text: status.update(f"{what}: {escape(text)}")


def _number(x: float | None, digits: int = 4) -> str:
    return "–" if x is None else f"{x:.{digits}g}"


# --- commands ------------------------------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        from balproof import __version__

        out.print(f"balproof {__version__}")
        raise typer.Exit


@app.command()
def verify(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="claims to check; default: all")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="list the claims and check nothing")] = False,
    json_: JsonOption = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="F", help="write a report page")] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="claims at a time")] = 1,
) -> int:
    """Check the claims of the registry.

    Example: balproof verify B.path-cover B.favorable
    """
    from balproof import __version__
    from balproof.report.html import render_report
    from balproof.theorems import CLAIMS
    from balproof.theorems.registry import Record, select
    from balproof.theorems.registry import verify as run

    chosen = select(CLAIMS, ids or [])
    if list_:
        data = [
            {"id": c.claim.id, "title": c.claim.title, "required": str(c.claim.required or "none")}
            for c in chosen
        ]
        if not _emit({"version": __version__, "claims": data}, json_):
            for row in data:
                out.print(f"{row['id']:<32} {row['required']:<10} {row['title']}", markup=False)
        return 0
    done: list[Record] = []

    def step(record: Record) -> None:
        done.append(record)
        tell(f"{len(done)} of {len(chosen)}, last {record.claim.id}")

    with _progress("checking claims") as tell:
        records = run(chosen, jobs=jobs, progress=step)
    ok = all(r.ok for r in records)
    data = {"version": __version__, "claims": [r.as_json() for r in records], "ok": ok}
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        _write_text(html, render_report(records))
    if not _emit(data, json_):
        _print_claims(records)
    return 0 if ok else 1


def _print_claims(records: list[Any]) -> None:
    if len(records) == 1:
        _explain(records[0])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("claim", "as printed", "exact", "required", "s", ""):
        table.add_column(heading, justify="right" if heading == "s" else "left", no_wrap=True)
    for r in records:
        required = "–" if r.claim.required is None else str(r.claim.required)
        table.add_row(
            r.claim.id,
            str(r.findings.printed.verdict),
            str(r.verdict),
            required,
            f"{r.seconds:.1f}",
            "ok" if r.ok else "NOT OK",
        )
    Console(highlight=False, width=max(out.width, 100)).print(table)
    checked = [r for r in records if r.claim.required is not None]
    failed = [r.claim.id for r in records if not r.ok]
    pending = len(records) - len(checked)
    out.print(
        f"\n{len(checked) - len(failed)} of {len(checked)} checked claims ok, {pending} not checked yet"
    )
    if failed:
        out.print("not ok: " + ", ".join(failed))


def _explain(r: Any) -> None:
    """One claim in a screenful."""
    c = r.claim
    out.print(f"[bold]{c.id}[/bold]  {escape(c.title)}\n[dim]{escape(c.source)}[/dim]\n")
    out.print(
        f"as printed: {escape(c.printed)}\n  {r.findings.printed.verdict}: {escape(r.findings.printed.why)}\n"
    )
    out.print(f"exact: {escape(c.exact)}\n  verdict {r.verdict}, required {c.required or 'none'}")
    for a in c.assumptions:
        out.print(f"  assuming {escape(a)}")
    for e in r.findings.evidence:
        out.print(f"  {e.verdict} by {e.method} in {e.seconds:.2f} s: {escape(e.what)}")
    for t in r.findings.twins:
        out.print(f"  without '{escape(t.dropped)}': {t.verdict}: {escape(t.witness)}")
    out.print("ok" if r.ok else "NOT OK")


@app.command()
def derive(
    activation: Annotated[str, typer.Option(metavar="EXPR", help="a name (relu, abs, …) or a formula in x")],
    regularizer: Annotated[str, typer.Option(metavar="EXPR", help="l1, l2, lp:P or a formula in w")],
    network: Annotated[
        Path | None, typer.Option(metavar="F", help="add the conserved quantities of this network")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="FORM", help="md, tex, html, ipynb or json")
    ] = "md",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="F", help="write to a file")
    ] = None,
) -> int:
    """Derive the optimal scale, the balance equation and the conserved quantities.

    Example: balproof derive --activation "Max(x,0)**2" --regularizer "abs(w)**p"
    """
    from balproof.importers import load
    from balproof.network.laws import conserved
    from balproof.report.derivation import FORMATS, render
    from balproof.symbolic.derivation import derive as make

    if format_ not in FORMATS:
        raise RequestError(f"unknown format {format_!r}", "take one of " + ", ".join(FORMATS))
    laws = [law.formula for law in conserved(load(network)).laws] if network else None
    with _progress("deriving"):
        derivation = make(activation, regularizer, laws)
    text = render(derivation, format_)
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    else:
        if network is not None:
            _refuse_overwriting((output, network))
        _write_text(output, text)
    return 0 if derivation.holds else 1


@app.command()
def inspect(model: Model, json_: JsonOption = None) -> int:
    """Say which units can scale, which cannot and why.

    Example: balproof inspect tests/data/digits.onnx
    """
    from balproof.importers import load
    from balproof.network.manifold import infer

    network = load(model)
    manifold = infer(network)
    parameters = sum(t.size for t in network.parameters)
    data = {
        "parameters": parameters,
        "free_scales": manifold.free_scales,
        "invariants": manifold.invariants(),
        "units": [u.as_json() for u in manifold.units],
    }
    _refuse_overwriting((json_, model))
    if _emit(data, json_):
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("units", "count", "degree", "free", "why"):
        table.add_column(heading, justify="right" if heading == "count" else "left", overflow="fold")
    rows = _runs(manifold.units)
    for row in rows[:_ROWS]:
        table.add_row(*map(escape, row))
    out.print(table)
    if len(rows) > _ROWS:
        out.print(f"… and {len(rows) - _ROWS} more rows (--json has all)")
    out.print(
        f"\n{parameters} parameters, {data['free_scales']} free scales, {data['invariants']} invariants"
    )
    return 0


def _runs(units: Any) -> list[tuple[str, str, str, str, str]]:
    """Consecutive units of one layer that agree in all else, as one row."""
    rows: list[tuple[list[str], tuple[str, str, str]]] = []
    for u in units:
        facts = ("–" if u.degree is None else str(u.degree), "yes" if u.free else "no", u.why)
        stem = u.name.rsplit("[", 1)[0]
        if rows and rows[-1][1] == facts and rows[-1][0][0].rsplit("[", 1)[0] == stem:
            rows[-1][0].append(u.name)
        else:
            rows.append(([u.name], facts))
    return [
        (names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}", str(len(names)), *facts)
        for names, facts in rows
    ]


@app.command()
def solve(
    model: Model,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="write the balanced model, in the form of MODEL"),
    ] = None,
    regularizer: Specs = None,
    no_bias_cost: NoBiasCost = False,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="auto, multilevel, newton, stochastic or cvxpy")
    ] = "auto",
    schedule: Annotated[
        str, typer.Option(metavar="NAME", help="for stochastic: random, cyclic, reshuffled or greedy")
    ] = "random",
    seed: Annotated[int, typer.Option(metavar="N", help="for stochastic")] = 0,
    certify: Annotated[
        bool, typer.Option("--certify", help="bound the distance to the optimum rigorously")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="F", help="draw the units' imbalance before and after (.svg, .png)")
    ] = None,
    json_: JsonOption = None,
) -> int:
    """Find the balanced state: the rescaling of least cost.

    Example: balproof solve tests/data/digits.onnx --regularizer l2 --certify -o balanced.onnx
    """
    from balproof.balance.problem import Costs
    from balproof.balance.solve import solve as run
    from balproof.importers import load, save

    _refuse_overwriting((output, model), (json_, model), (plot, model))
    if output is not None and output.suffix.lower() != model.suffix.lower():
        raise RequestError(f"{output} has another suffix than {model}", f"write to a file in {model.suffix}")
    if seed < 0:
        raise RequestError(f"seed {seed} is negative", "give a whole number from 0")
    network = load(model)
    costs = Costs.parse(regularizer or "l2", bias_cost=not no_bias_cost)
    with _progress("solving") as tell:
        found = run(
            network,
            costs,
            method=method,
            schedule=schedule,
            seed=seed,
            certify=certify,
            progress=tell,  # type: ignore[arg-type]
        )
    data = found.as_json()
    if output is not None:
        save(found.network, output)
        data["written"] = _written(output, costs)
    if plot is not None:
        from balproof.balance.problem import BalanceProblem
        from balproof.report.plots import imbalance_figure, save_plot

        problems = [BalanceProblem.build(n, costs) for n in (network, found.network)]
        zero = [0.0] * problems[0].count
        save_plot(plot, imbalance_figure, *(p.imbalances(zero) for p in problems))
    if not _emit(data, json_):
        _print_solution(found, data)
    return 0 if found.status == "balanced" else 1


def _written(path: Path, costs: Any) -> dict[str, Any]:
    """What the file holds: its weights are rounded to their type, and so is their balance."""
    import numpy as np

    from balproof.balance.problem import BalanceProblem
    from balproof.importers import load

    network = load(path)
    problem = BalanceProblem.build(network, costs)
    return {
        "path": str(path),
        "dtypes": sorted({t.dtype for t in network.parameters}),
        "imbalance": problem.imbalance(np.zeros(problem.count)),
    }


def _print_solution(found: Any, data: dict[str, Any]) -> None:
    out.print(f"{found.status} under {escape(found.regularizer)} by {escape(found.method)}")
    out.print(f"cost       {found.cost_before:.10g} → {found.cost_after:.10g}")
    out.print(f"imbalance  {found.imbalance_before:.3g} → {found.imbalance:.3g}")
    out.print(f"passes     {found.passes:.1f} in {found.seconds:.2f} s")
    if found.certificate is not None:
        c = found.certificate
        how = "exact rationals" if c.bits is None else f"{c.bits} bits"
        out.print(f"certified  at most {c.gap:.2g} above the optimum, relatively ({c.kind}, {how})")
    elif found.no_certificate != "not requested":
        out.print(f"no certificate: {escape(found.no_certificate)}")
    if found.dead_units:
        out.print("dead units, left alone: " + escape(_some(found.dead_units)))
    if found.left_out:
        out.print("scales of degree ≤ 0, left out: " + escape(_some(found.left_out)))
    if found.witness:
        moves = _some([f"{k}: {v}" for k, v in found.witness.items()])
        out.print(f"the optimum is not attained: the cost falls for ever along h = ({escape(moves)})")
    if "written" in data:
        w = data["written"]
        out.print(
            f"written    {escape(w['path'])}, rounded to {', '.join(w['dtypes'])}: imbalance {w['imbalance']:.3g}"
        )


def _some(names: Any, count: int = 8) -> str:
    shown = list(names)[:count]
    return ", ".join(shown) + (f" and {len(names) - count} more" if len(names) > count else "")


@app.command()
def check(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="the original model")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="what another program made of it")],
    regularizer: Specs = None,
    no_bias_cost: NoBiasCost = False,
    json_: JsonOption = None,
) -> int:
    """Audit AFTER: a rescaling of BEFORE, the same function, balanced, optimal, and if not, why?

    Example: balproof check tests/data/digits.onnx balanced.onnx --regularizer l2
    """
    from balproof.balance.problem import Costs
    from balproof.crosscheck.audit import check as run
    from balproof.importers import load

    _refuse_overwriting((json_, before), (json_, after))
    costs = Costs.parse(regularizer or "l2", bias_cost=not no_bias_cost)
    with _progress("checking"):
        audit = run(load(before), load(after, finite=False), costs)
    if not _emit(audit.as_json(), json_):
        _print_audit(audit)
    return 0 if audit.ok else 1


def _print_audit(audit: Any) -> None:
    def say(word: bool) -> str:
        return "yes" if word else "NO"

    out.print(f"a rescaling of BEFORE  {say(audit.same_orbit)}")
    out.print(f"difference of outputs  {_number(audit.function_error)} of the largest output")
    out.print(f"balanced               {say(audit.balanced)}, imbalance {_number(audit.imbalance)}")
    out.print(f"above the optimum      at most {_number(audit.optimality_gap)}, relatively")
    for fault in audit.faults[:_ROWS]:
        size = "" if fault.size is None else f"  ({fault.size:.3g})"
        out.print(f"  {fault.kind}: {fault.where}{size}", markup=False)
    if len(audit.faults) > _ROWS:
        out.print(f"  … and {len(audit.faults) - _ROWS} more (--json has all)")
    for note in audit.notes:
        out.print(note, markup=False)
    out.print("ok" if audit.ok else "not ok")
