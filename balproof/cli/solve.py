"""``balproof solve``: the balanced state of a model, written back and certified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import typer
from rich.markup import escape
from typer.core import TyperCommand

from balproof.cli.output import (
    JsonOption,
    Model,
    NoBiasCost,
    Specs,
    emit,
    out,
    progress,
    require_outputs,
    some,
    stoppable,
)
from balproof.errors import MissingToolError, RequestError

if TYPE_CHECKING:
    from balproof.balance.problem import Costs
    from balproof.balance.solve import Solution
    from balproof.network.graph import Network


_NARROW = frozenset({"float16", "bfloat16"})
"""Types of so few digits that rounding shows in the outputs."""


class SolveCommand(TyperCommand):
    """Takes ``--certify coq``, though ``--certify`` is a flag: a file for Coq beside OUT, or here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        for i in range(len(args) - 1):
            if args[i : i + 2] == ["--certify", "coq"]:
                args = [*args[: i + 1], "--certify-coq", *args[i + 2 :]]
        return super().parse_args(ctx, args)


def solve(
    model: Model,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="write the balanced model, in the form of MODEL"),
    ] = None,
    regularizer: Specs = None,
    no_bias_cost: NoBiasCost = False,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto, coarse (or multilevel), sweeps, newton, direct, stochastic, flow or cvxpy",
        ),
    ] = "auto",
    schedule: Annotated[
        str, typer.Option(metavar="NAME", help="for stochastic: random, cyclic, reshuffled or greedy")
    ] = "random",
    seed: Annotated[int, typer.Option(metavar="N", help="for stochastic")] = 0,
    certify: Annotated[
        bool,
        typer.Option(
            "--certify", help="bound the distance to the optimum rigorously; --certify coq: for Coq as well"
        ),
    ] = False,
    bits: Annotated[
        int | None,
        typer.Option(metavar="N", help="with --certify: the balanced state to N bits, enclosed by balls"),
    ] = None,
    power_of_two: Annotated[
        bool,
        typer.Option(
            "--power-of-two",
            help="write OUT with scales that are powers of two: the function stays bit for bit",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="F", help="draw cost and imbalance before and after (.svg or .png)"),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="with --json: the cost after every sweep or step as well")
    ] = False,
    coq: Annotated[
        Path | None,
        typer.Option(
            metavar="F", help="write a certificate for Coq (.v), and have Coq check it if installed"
        ),
    ] = None,
    beside: Annotated[bool, typer.Option("--certify-coq", hidden=True)] = False,
    json_: JsonOption = None,
) -> int:
    """Find the balanced state: the rescaling of least cost.

    Exits with 1 where the optimum is not attained or was not reached.

    Example: balproof solve tests/data/digits.onnx --regularizer l2 --certify -o balanced.onnx
    """
    from balproof.balance.problem import Costs
    from balproof.balance.solve import Method
    from balproof.balance.solve import solve as run
    from balproof.importers import load, outputs, save_rescaled
    from balproof.report.plots import check_plot_path

    if beside and coq is None:
        coq = (output or Path(model.name)).with_suffix(".v")
    require_outputs((output, json_, plot, coq), (model,))
    if history and json_ is None:
        raise RequestError("--history is about the answer in JSON", "give --json F")
    if plot is not None:
        check_plot_path(plot)
    if output is not None and output.suffix.lower() != model.suffix.lower():
        raise RequestError(f"{output} has another suffix than {model}", f"write to a file in {model.suffix}")
    if power_of_two and output is None:
        raise RequestError("--power-of-two is about the file that is written", "give -o OUT")
    costs = Costs.parse(regularizer or "l2", bias_cost=not no_bias_cost)
    network = load(model)
    if output is not None:
        require_outputs((*outputs(network, output), json_, plot, coq), (model,))
    with progress("solving") as tell, stoppable() as stopped:
        found = run(
            network,
            costs,
            method=cast("Method", method),
            schedule=cast("Any", schedule),
            seed=seed,
            certify=certify,
            bits=bits,
            progress=lambda text: (tell(text), stopped())[1],
        )
        data = {**found.as_json(), "stopped": stopped()}
    if history:
        data["history"] = [x if np.isfinite(x) else None for x in found.history]
    if plot is not None:
        _plot(found, network, costs, plot)
    after = None
    if output is not None:
        save_rescaled(found.manifold, found.h, output, power_of_two=power_of_two, factors=found.factors)
        after = load(output)
        data["written"] = {**_written(output, after, network, costs), "power_of_two": power_of_two}
    said: dict[str, Any] | None = None
    if coq is not None:
        with progress("Coq checks the certificate"):
            said = _coq(found.network if after is None else after, costs, coq)
        data["coq"] = said
    if not emit(data, json_):
        _print(found, data)
        if said is not None:
            out.print(f"coq        {escape(said['said'])}")
    return 0 if found.status == "balanced" else 1


def _written(path: Path, network: Network, before: Network, costs: Costs) -> dict[str, Any]:
    """What the file holds: its weights are rounded to their type, and with them balance and function."""
    from balproof.balance.solve import measure
    from balproof.crosscheck.function import function_error

    cost, imbalances = measure(network, costs)
    dtypes = sorted({t.dtype for t in network.parameters})
    worst = float(np.max(imbalances, initial=0.0))
    held = cost if np.isfinite(cost) else None
    written: dict[str, Any] = {"path": str(path), "dtypes": dtypes, "cost": held, "imbalance": worst}
    if not _NARROW.isdisjoint(dtypes):
        written["function_error"] = function_error(before, network)
    return written


def _coq(network: Network, costs: Costs, path: Path) -> dict[str, Any]:
    """The certificate that Coq can check, of the weights as they are now, and what Coq said of it."""
    from balproof.balance.certificates.gap import NoCertificate
    from balproof.balance.certificates.kernel import kernel_certificate
    from balproof.balance.problem import BalanceProblem
    from balproof.cli.output import write_text
    from balproof.formal import check_certificate

    found = kernel_certificate(BalanceProblem.stated(network, costs))
    if isinstance(found, NoCertificate):
        return {"path": None, "checked": False, "said": f"no certificate: {found.reason}"}
    write_text(path, found.text)
    about: dict[str, Any] = {"path": str(path), "weights": found.weights, "gap": float(found.gap)}
    stated = f"at most {float(found.gap):.2g} above the optimum, {found.weights} weights"
    try:
        faults = check_certificate(found.text)
    except MissingToolError as missing:
        return {**about, "checked": False, "said": f"{stated}; not checked: {missing.cause}"}
    said = f"rejected: {faults[0]}" if faults else f"{stated}, checked by Coq"
    return {**about, "checked": not faults, "said": said}


def _plot(found: Solution, before: Network, costs: Costs, path: Path) -> None:
    from balproof.balance.solve import measure
    from balproof.report.plots import save_plot

    if not np.isfinite(found.history).all():
        raise RequestError("costs beyond 1e308 cannot be drawn", "leave --plot out")
    imbalances = [measure(network, costs)[1].tolist() for network in (before, found.network)]
    save_plot(path, found.history, min(found.cost_after, *found.history), *imbalances)


def _print(found: Solution, data: dict[str, Any]) -> None:
    from balproof.balance.solve import BALANCED

    out.print(f"{found.status} under {escape(found.regularizer)} by {escape(found.method)}")
    costs = [f"{found.cost_before:.10g}", f"{found.cost_after:.10g}"]
    if found.log10_costs is not None:
        costs = [f"10^{x:.10g}" for x in found.log10_costs]
    if data["stopped"]:
        out.print(
            "stopped on request: the state so far is a rescaling like any other, and may be solved further"
        )
    out.print(f"cost       {' → '.join(costs)}")
    out.print(f"imbalance  {found.imbalance_before:.3g} → {found.imbalance:.3g}")
    if found.cut_imbalance is not None and found.cut_imbalance > BALANCED:
        out.print(f"cuts       {found.cut_imbalance:.3g}: between groups of units that only weak weights tie")
    out.print(f"passes     {found.passes:.1f} in {found.seconds:.2f} s")
    if len(found.scales) == len(found.dead_units) + len(found.left_out):
        out.print("no unit can be balanced: the weights stay as they are; balproof inspect says why")
    if found.certificate is not None:
        c = found.certificate
        how = "exact rationals" if c.bits is None else f"{c.bits} bits"
        whose = "" if found.witness is None else " over the scales that move"
        out.print(f"certified  at most {c.gap:.2g} above the optimum{whose}, relatively ({c.kind}, {how})")
        if c.radius:
            distance = c.radius if c.distance is None else c.distance
            out.print(f"           log-scales within {distance:.2g} of the only balanced state{whose}")
        elif c.no_radius:
            out.print(f"           no bound on the log-scales: {escape(c.no_radius)}")
        if c.state is not None:
            out.print(f"           which is known to {c.radius:.2g} (--json has its log-scales)")
    elif found.no_certificate != "not requested":
        out.print(f"no certificate: {escape(str(found.no_certificate))}")
    if found.dead_units:
        out.print("dead units, left alone: " + escape(some(found.dead_units)))
    if found.left_out:
        out.print("scales of degree ≤ 0, left out: " + escape(some(found.left_out)))
    if found.witness:
        moves = some([f"{k}: {v}" for k, v in found.witness.items()])
        what = "the optimum" if found.certificate is None else "the optimum over all scales"
        out.print(f"{what} is not attained: the cost falls for ever along h = ({escape(moves)})")
        if found.infimum is not None and found.falling:
            out.print(f"the infimum is {found.infimum:.10g}, without {escape(some(found.falling))}")
    if "written" in data:
        w = data["written"]
        how = "by powers of two" if w["power_of_two"] else f"rounded to {', '.join(w['dtypes'])}"
        rounded = f"{how}: imbalance {w['imbalance']:.3g}"
        out.print(f"written    {escape(w['path'])}, {rounded}")
        if w.get("function_error") is not None:
            hint = "" if w["power_of_two"] else "; --power-of-two keeps them bit for bit"
            out.print(f"           outputs differ by {w['function_error']:.2g} of the largest{hint}")
