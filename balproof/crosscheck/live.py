"""Run somebody's balancing function on hard cases, and audit what it makes of each: an acceptance test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from balproof.balance.existence import existence
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import is_large, solve
from balproof.crosscheck.audit import Audit, check
from balproof.crosscheck.battery import matrices, networks, plain
from balproof.crosscheck.extremes import Asked, Extremes, asked
from balproof.crosscheck.forms import Form, Misfit, form_of
from balproof.crosscheck.optimality import OPTIMALITY_TOLERANCE
from balproof.errors import BalproofError, RequestError, require_seed
from balproof.importers.files import first_line
from balproof.network.graph import Network
from balproof.verdict import Verdict

Takes = Literal["network", "module", "matrix", "arrays"]
TAKES: tuple[Takes, ...] = ("network", "module", "matrix", "arrays")


@dataclass(frozen=True, eq=False)
class Case:
    """What became of one case.

    ``same_function``, ``same_orbit``, ``balanced``, ``optimal`` and ``finite`` are None where nothing can
    be said: there was no result, or nothing to compare. ``input_kept``: the function made its result of a
    copy, or returned what it changed in place; a function that returns something else and has changed what
    it was given has not kept it. ``attained``: there is a balanced state, otherwise neither balance nor
    optimum is asked for. ``problem`` says what was raised or returned instead of a model. ``audit`` is the
    whole of what was found.
    """

    name: str
    same_function: bool | None
    same_orbit: bool | None
    balanced: bool | None
    optimal: bool | None
    finite: bool | None
    input_kept: bool
    attained: bool
    seconds: float
    problem: str
    audit: Audit | None

    @property
    def ok(self) -> bool:
        """Nothing that was asked for is missing. (No function of a bare matrix is seen, or compared.)"""
        asked = (self.finite, self.same_orbit, self.same_function is not False, self.input_kept)
        best = not self.attained or (self.balanced and self.optimal)
        return not self.problem and all(asked) and bool(best)

    def as_json(self) -> dict[str, object]:
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "audit"}
        return {**kept, "ok": self.ok, "audit": self.audit.as_json() if self.audit else None}


@dataclass(frozen=True, eq=False)
class LiveAudit:
    """The table of `audit`; ``ok`` if every case is."""

    function: str
    regularizer: str
    takes: Takes
    cases: tuple[Case, ...]

    @property
    def ok(self) -> bool:
        return all(case.ok for case in self.cases)

    def as_json(self) -> dict[str, object]:
        return {
            "function": self.function,
            "regularizer": self.regularizer,
            "takes": self.takes,
            "cases": [case.as_json() for case in self.cases],
            "ok": self.ok,
        }

    def as_text(self, *, seconds: bool = True) -> str:
        """A table, one line for each case; where something is out of balance or not optimal, by how much."""
        head = ["case", "same function", "same orbit", "balanced", "optimal", "finite", "input", "seconds"]
        rows = [head, *(_row(case) for case in self.cases)]
        shown = [row if seconds else [*row[:7], *row[8:]] for row in rows]
        widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)).rstrip() for row in shown
        ]
        for k, case in enumerate(self.cases, start=1):
            lines[k] += f"  {case.problem}" if case.problem else ""
        good = sum(case.ok for case in self.cases)
        return "\n".join([*lines, f"{good} of {len(self.cases)} cases pass under {self.regularizer}"])


def audit(
    function: Callable[[Any], Any],
    model: object = None,
    regularizer: Asked | str | Sequence[str] = "l2",
    *,
    takes: Takes = "network",
    example_inputs: object = None,
    battery: bool = True,
    seed: int = 0,
) -> LiveAudit:
    """Run ``function`` on a copy of ``model`` and on a battery of hard cases, and audit every result.

    ``function`` takes one argument and returns it balanced, or changes it in place and returns None or its
    argument. ``takes`` says what it is given: a ``"network"`` of ours; a ``"module"`` of PyTorch (then
    ``model`` needs ``example_inputs``); a ``"matrix"``, the array J of a recurrent network; or the
    ``"arrays"`` of a perceptron with ReLU by name, ``fc1.weight`` (out × in), ``fc1.bias``, …, in the order
    of its layers. ``model`` may be left out, and so may the cases, with ``battery=False`` (a regularizer for
    tensors by name needs that, if the cases have none of these names). What ``function`` raises is a result
    of its case.

    Raises RequestError for an unknown ``takes`` and nothing to run; what `check` raises for ``model``;
    MissingToolError if torch is needed and not installed.

    >>> from balproof.balance.solve import solve
    >>> audit(lambda network: solve(network).network).ok
    True
    >>> lazy = audit(lambda J: J, takes="matrix")
    >>> [case.name for case in lazy.cases if case.ok]  # that of the zero row has no balanced state
    ['zero row', 'already balanced']
    """
    if takes not in TAKES:
        raise RequestError(f"unknown form {takes!r}", "a function takes one of " + ", ".join(TAKES))
    if model is None and not battery:
        raise RequestError("there is nothing to run", "give a model, or leave battery=False out")
    require_seed(seed)
    costs = asked(regularizer)
    form = form_of(takes)
    makers: list[tuple[str, Callable[[], tuple[Any, Any]]]] = []
    if model is not None:
        makers.append(("the model", form.of_user(model, example_inputs)))
    if battery:
        cases = {"matrix": matrices, "arrays": plain}.get(takes, networks)(costs)
        makers += [(name, form.of_case(network)) for name, network in cases.items()]
    found = tuple(_case(name, make, function, form, costs, seed) for name, make in makers)
    return LiveAudit(getattr(function, "__name__", type(function).__name__), costs.name, takes, found)


def _case(
    name: str,
    make: Callable[[], tuple[Any, Any]],
    function: Callable[[Any], Any],
    form: Form,
    costs: Asked,
    seed: int,
) -> Case:
    given, example = make()
    before = form.read(given, example)
    pristine = {t.name: before.numbers(t.name).copy() for t in before.parameters}
    before = before.with_parameters(pristine)  # numbers of its own, whatever becomes of the given ones
    # (What has a balanced state under a sum has one under extremes, too.)
    some = Costs.parse("l2", bias_cost=costs.bias_cost) if isinstance(costs, Extremes) else costs
    attained = _attained(before, some)
    problem, result, found = "", None, None
    start = time.perf_counter()
    try:
        result = function(given)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises is the result of this case
        problem = f"raised: {type(error).__name__} {first_line(error)}"
    seconds = time.perf_counter() - start
    in_place = not problem and (result is None or result is given)
    kept = in_place or _unchanged(form, given, example, before)
    if not problem:
        try:
            after = form.read(given if in_place else result, example)
            found = check(before, after, costs, seed=seed)
        except Misfit as misfit:
            problem = f"returned {misfit}"
        except BalproofError as error:
            problem = f"returned what cannot be audited: {error.cause}"
    if found is None:
        return Case(name, None, None, None, None, None, kept, attained, seconds, problem, None)
    return _judged(name, found, kept, attained, seconds)


def _attained(network: Network, costs: Costs) -> bool:
    """Whether there is a balanced state to ask for."""
    if is_large(network):
        return solve(network, costs).existence.attained is not False
    return existence(BalanceProblem.build(network, costs)).attained is not False


def _judged(name: str, found: Audit, kept: bool, attained: bool, seconds: float) -> Case:
    kinds = {f.kind for f in found.faults}
    apart = bool(kinds & {"structure-differs", "tied-weights-split"})
    finite = None if apart else "not-finite" not in kinds
    same = None if found.function is Verdict.undecided else found.function is not Verdict.refuted
    judged = attained and found.imbalance is not None
    optimal = None
    if judged:
        if "not-optimal" in kinds:
            optimal = False
        elif found.optimality_gap is not None:
            optimal = found.ok or found.optimality_gap <= OPTIMALITY_TOLERANCE
        elif found.ok:
            optimal = True
    balanced = found.balanced if judged else None
    return Case(name, same, found.same_orbit, balanced, optimal, finite, kept, attained, seconds, "", found)


def _unchanged(form: Form, given: Any, example: Any, before: Network) -> bool:
    try:
        now = form.read(given, example)
    except (Misfit, BalproofError):
        return False
    old, new = ({t.name: n.numbers(t.name) for t in n.parameters} for n in (before, now))
    return list(old) == list(new) and all(np.array_equal(old[n], new[n], equal_nan=True) for n in old)


# --- the table ----------------------------------------------------------------------------------------


def _row(case: Case) -> list[str]:
    imbalance = case.audit.imbalance if case.audit else None
    gap = case.audit.optimality_gap if case.audit else None
    return [
        case.name,
        _say(case.same_function),
        _say(case.same_orbit),
        _say(case.balanced, imbalance),
        _say(case.optimal, gap),
        _say(case.finite),
        "kept" if case.input_kept else "CHANGED",
        f"{case.seconds:.3f}",
    ]


def _say(word: bool | None, size: float | None = None) -> str:
    if word is None:
        return "-"
    return "yes" if word else "NO" + (f" {size:.1e}" if size is not None else "")
