"""The corpus: what a wrong program makes of a network, and what is to be said of it.

``python -m tests.faults.corpus`` prints the figures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from balproof.crosscheck.audit import Audit, check
from balproof.importers import load
from balproof.importers.json_file import to_document
from balproof.network.graph import Network
from tests.faults import wrong
from tests.faults.nets import ALL, SIDES, Values, in_type, rescaled, scales, times, values
from tests.faults.wrong import Step, balanced

Array = np.ndarray
Made = tuple[Network, Network]
Expected = list[tuple[str, tuple[str, ...]]]

BALANCE = {"unbalanced-unit", "frozen-layer", "not-optimal"}
"""What is said of weights that were rescaled at random, besides."""


@dataclass(frozen=True)
class Case:
    """``expected`` are kinds and tensors (or layers); ``units`` those of the first, where it matters."""

    name: str
    network: str
    make: Callable[[Network, np.random.Generator], Network]
    expected: Expected
    units: tuple[str, ...] | None = None
    costs: str = "l2"
    start: Callable[[Network], Network] = lambda network: network

    def pair(self, seed: int = 0, dtype: str = "float64") -> Made:
        before = in_type(self.start(ALL[self.network](seed)), dtype)
        return before, in_type(self.make(before, np.random.default_rng(100 + seed)), dtype)

    def audit(self, seed: int = 0, dtype: str = "float64") -> Audit:
        return check(*self.pair(seed, dtype), self.costs)

    def found(self, audit: Audit) -> Expected:
        """What the audit names, but for the lack of balance where that is not what it is about."""
        about = BALANCE & {kind for kind, _ in self.expected}
        causes = [c for c in audit.explanation if about or c.kind not in BALANCE]
        return sorted((c.kind, tuple(sorted(c.tensors))) for c in causes)

    def right(self, audit: Audit) -> bool:
        wanted = sorted((kind, tuple(sorted(tensors))) for kind, tensors in self.expected)
        units = next((c.units for c in audit.explanation if c.kind == self.expected[0][0]), ())
        return self.found(audit) == wanted and (self.units is None or set(units) == set(self.units))


# --- one wrong step in a program -------------------------------------------------------------------------


def by_step(step: Step) -> Callable[[Network, np.random.Generator], Network]:
    def make(before: Network, rng: np.random.Generator) -> Network:
        name = next(n for n, sides in SIDES.items() if sides[0][0][0][0] in before.tensors)
        v = values(before)
        for (into, out), s in zip(SIDES[name], scales(name, v, rng), strict=True):
            step(v, into, out, s, name)
        return before.with_parameters(v)

    return make


WEIGHTS = {
    "mlp": ("fc2.weight", "fc3.weight", "fc4.weight"),
    "conv": ("c1.bn.gamma", "c2.weight", "c2.bn.gamma", "fc.weight"),
    "residual": ("a.weight", "b.weight", "out.weight"),
    "recurrent": ("J", "W_out"),
    "tied": ("loop.weight", "out.weight"),
}
"""What leads out of some unit."""

BIASES = {
    "mlp": ("fc1.bias", "fc2.bias", "fc3.bias"),
    "conv": ("c1.bn.beta", "c2.bn.beta"),
    "residual": ("stem.bias", "a.bias", "b.bias"),
    "recurrent": ("b",),
    "tied": ("in.bias",),
}
INTO = {
    "mlp": ("fc1.weight", "fc2.weight", "fc3.weight"),
    "conv": ("c1.weight", "c1.bn.mean", "c1.bn.gamma", "c2.weight", "c2.bn.mean", "c2.bn.gamma"),
    "residual": ("stem.weight", "a.weight", "b.weight"),
    "recurrent": ("W_in", "J"),
    "tied": ("in.weight", "loop.weight"),
}
SHARED = "shared-layer-scaled-once"
ONE: dict[str, str] = {"tied": SHARED}
NETS = tuple(ALL)


def stepwise() -> Iterator[Case]:
    def case(step: Step, network: str, kind: str, tensors: tuple[str, ...]) -> Case:
        return Case(step.__name__, network, by_step(step), [(kind, tensors)])

    for n in NETS:
        yield case(wrong.biases_forgotten, n, "bias-not-scaled", BIASES[n])
        yield case(wrong.out_not_divided, n, ONE.get(n, "outgoing-not-scaled"), WEIGHTS[n])
        yield case(wrong.in_not_multiplied, n, ONE.get(n, "incoming-not-scaled"), (*INTO[n], *BIASES[n]))
        yield case(wrong.out_multiplied, n, "wrong-direction", WEIGHTS[n])
        yield case(wrong.square_root_forgotten, n, "wrong-exponent", WEIGHTS[n])
        yield case(wrong.half_of_it, n, "wrong-exponent", WEIGHTS[n])
        if n != "tied":  # (there, which side is misplaced is told from one more scale, and cannot be)
            yield case(wrong.in_reverse, n, "scales-misplaced", WEIGHTS[n])
            yield case(wrong.off_by_one, n, "scales-misplaced", WEIGHTS[n])
    for n in ("mlp", "conv", "residual"):
        yield case(wrong.first_bias_forgotten, n, "bias-not-scaled", BIASES[n][:1])
    last = {"mlp": "fc4.weight", "conv": "c1.bn.gamma", "residual": "b.weight"}
    for n, tensor in last.items():
        yield case(wrong.last_layer_only_in, n, "outgoing-not-scaled", (tensor,))
    yield case(wrong.statistics_forgotten, "conv", "statistics-not-scaled", ("c1.bn.mean", "c2.bn.mean"))
    yield case(wrong.first_in_alone, "residual", "branch-not-scaled", ("b.weight", "b.bias"))
    yield case(wrong.first_in_alone, "recurrent", "branch-not-scaled", ("J", "b"))
    yield case(wrong.first_out_alone, "residual", "reader-not-scaled", ("out.weight",))
    yield case(wrong.first_out_alone, "recurrent", "reader-not-scaled", ("W_out",))
    yield case(wrong.last_out_alone, "residual", "reader-not-scaled", ("a.weight",))
    yield case(wrong.last_out_alone, "recurrent", "reader-not-scaled", ("J",))
    yield case(wrong.one_call_only, "tied", SHARED, ("loop.weight", "out.weight"))
    yield case(wrong.transposed, "mlp", "transposed-scales", ("fc2.weight",))
    yield case(wrong.transposed, "recurrent", "transposed-scales", ("J",))
    yield case(wrong.in_against_in, "recurrent", "incoming-against-incoming", ("W_in", "J"))


# --- a program that is right, and something done to what it made -------------------------------------------


def after(change: Callable[[Values, Values], None]) -> Callable[[Network, np.random.Generator], Network]:
    """Balanced, then changed: change(new, old)."""

    def make(before: Network, rng: np.random.Generator) -> Network:
        name = next(n for n, sides in SIDES.items() if sides[0][0][0][0] in before.tensors)
        old = values(before)
        new = balanced(name, old)
        change(new, old)
        return before.with_parameters(new)

    return make


FIRST = {
    "mlp": "fc2.weight",
    "conv": "c2.weight",
    "residual": "a.weight",
    "recurrent": "W_out",
    "tied": "out.weight",
}


def _bfloat16(w: Array) -> Array:
    mantissa, exponent = np.frexp(w)
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent)


def _int8(w: Array) -> Array:
    step = np.abs(w).max() / 127
    return np.rint(w / step) * step


def _to_all(round_: Callable[[Array], Array]) -> Callable[[Values, Values], None]:
    def change(new: Values, old: Values) -> None:
        for n in new:
            new[n] = round_(new[n])

    return change


def _at(name: str, change: Callable[[Array, Array], Array]) -> Callable[[Values, Values], None]:
    return lambda new, old: new.update({name: change(new[name], old[name])})


def _negative(n: str) -> Callable[[Values, Values], None]:
    """A negative root: unit 1 of the first group has the scale −λ."""

    def change(new: Values, old: Values) -> None:
        into, out = SIDES[n][0]
        s = np.where(np.arange(new[into[0][0]].shape[into[0][1]]) == 1, -1.0, 1.0)
        for tensor, axis in (*into, *out):
            new[tensor] = times(new[tensor], s, axis)

    return change


def _row(w: Array, old: Array) -> Array:
    w = w.copy()
    w[2] *= 1.7
    return w


def _entry(w: Array, old: Array) -> Array:
    w = w.copy()
    w.flat[3] *= 1.1
    return w


def _column(w: Array, old: Array) -> Array:
    """Of one input, which no unit scales."""
    w = w.copy()
    w[:, 1] *= 1.7
    return w


def _flipped(w: Array, old: Array) -> Array:
    w = w.copy()
    w.flat[5] *= -1
    return w


def _nan(w: Array, old: Array) -> Array:
    w = w.copy()
    w.flat[5] = np.nan
    return w


def _clipped(w: Array, old: Array) -> Array:
    most = float(np.quantile(np.abs(w), 0.9))
    return np.clip(w, -most, most)


def _decayed(names: tuple[str, ...]) -> Callable[[Values, Values], None]:
    """A step of an optimizer with the rate times the decay 0.01, and no gradient."""
    return lambda new, old: new.update({n: new[n] * 0.99 for n in names})


def _in_order(n: str, units: list[int]) -> Callable[[Values, Values], None]:
    """The units of the first group in another order."""

    def change(new: Values, old: Values) -> None:
        for side in SIDES[n][0]:
            for tensor, axis in side:
                new[tensor] = np.take(new[tensor], units, axis)

    return change


def _squared(tensor: str) -> Callable[[Values, Values], None]:
    """Multiplied twice, on all sides: it was met once for each of its calls."""
    return lambda new, old: new.update({tensor: new[tensor] ** 2 / old[tensor]})


def afterwards() -> Iterator[Case]:
    for n in NETS:
        tensors = tuple(t.name for t in ALL[n](0).parameters)
        yield Case("bfloat16", n, after(_to_all(_bfloat16)), [("low-precision", tensors)])
        yield Case(
            "float16",
            n,
            after(_to_all(lambda w: w.astype(np.float16).astype(float))),
            [("low-precision", tensors)],
        )
        yield Case(
            "negative root",
            n,
            after(_negative(n)),
            [("sign-changed", tuple({t for s in SIDES[n][0] for t, _ in s}))],
        )
        yield Case("one weight", n, after(_at(FIRST[n], _entry)), [("not-a-rescaling", (FIRST[n],))])
        yield Case("one row", n, after(_at(FIRST[n], _row)), [("slice-multiplied", (FIRST[n],))])
        yield Case(
            "a factor", n, after(_at(FIRST[n], lambda w, _: w * 1.37)), [("constant-factor", (FIRST[n],))]
        )
        yield Case("clipped", n, after(_at(FIRST[n], _clipped)), [("clipped", (FIRST[n],))])
        left = "weight" if n in ("mlp", "conv", "residual") else "reader" if n == "recurrent" else "outgoing"
        yield Case("as it was", n, after(_at(FIRST[n], lambda _, old: old)),
                   [(f"{left}-not-scaled", (FIRST[n],))])  # fmt: skip
        learned = [t for t in ALL[n](0).parameters if not t.buffer]
        every = tuple(t.name for t in learned)
        large = tuple(t.name for t in learned if len(t.shape) > 1)
        yield Case("decay", n, after(_decayed(every)), [("constant-factor", every)])
        yield Case("decay of matrices", n, after(_decayed(large)), [("constant-factor", large)])
    for n, tensor in (("mlp", "fc2.weight"), ("recurrent", "J"), ("tied", "loop.weight")):
        yield Case("twice on all sides", n, after(_squared(tensor)), [("wrong-exponent", (tensor,))])
        yield Case("transposed weights", n, after(_at(tensor, lambda w, _: w.T.copy())),
                   [("weights-transposed", (tensor,))])  # fmt: skip
    yield Case("reversed on all sides", "mlp",
               after(lambda new, old: new.update({"fc2.weight": old["fc2.weight"] ** 2 / new["fc2.weight"]})),
               [("wrong-direction", ("fc2.weight",))])  # fmt: skip
    yield Case("another order", "mlp", after(_in_order("mlp", [1, 2, 0, 3, 4, 6, 5])),
               [("units-reordered", ("fc1.weight", "fc1.bias", "fc2.weight"))])  # fmt: skip
    yield Case("another order", "residual", after(_in_order("residual", [1, 2, 0, 3, 4, 5])),
               [("units-reordered", ("stem.weight", "stem.bias", "b.weight", "b.bias", "a.weight",
                                     "out.weight"))])  # fmt: skip
    yield Case(
        "int8", "conv", after(_at("c2.weight", lambda w, _: _int8(w))), [("low-precision", ("c2.weight",))]
    )


# --- whole programs -----------------------------------------------------------------------------------------


def _dead(before: Network) -> Network:
    """Nothing reads unit 3 of the first layer."""
    v = values(before)
    v["fc2.weight"][:, 3] = 0.0
    return before.with_parameters(v)


def _divides_by_zero(before: Network, rng: np.random.Generator) -> Network:
    """λ = (out/in)^{1/4} is 0 for that unit: what comes in is lost, and what goes out is 0/0."""
    v = values(before)
    factors = [(wrong.sizes(v, out) / wrong.sizes(v, into)) ** 0.25 for into, out in SIDES["mlp"]]
    with np.errstate(invalid="ignore", divide="ignore"):
        for (into, out), s in zip(SIDES["mlp"], factors, strict=True):
            wrong.right(v, into, out, s, "mlp")
    return before.with_parameters(v)


def _last_frozen(before: Network, rng: np.random.Generator) -> Network:
    """The loop over layers ends one too early."""

    def step(v: Values, into: wrong.Side, out: wrong.Side, s: Array, name: str) -> None:
        if (into, out) != SIDES[name][-1]:
            wrong.right(v, into, out, s, name)

    name = next(n for n, sides in SIDES.items() if sides[0][0][0][0] in before.tensors)
    return before.with_parameters(balanced(name, values(before), step, sweeps=300))


def _mean_rule(before: Network, rng: np.random.Generator) -> Network:
    """It stops as soon as the mean of the scales is close to 1, which it may be at once."""
    v = values(before)
    for _ in range(1):
        for into, out in SIDES["mlp"]:
            s = (wrong.sizes(v, out) / wrong.sizes(v, into)) ** 0.25
            wrong.right(v, into, out, s, "mlp")
    return before.with_parameters(v)


def _without_biases(before: Network, rng: np.random.Generator) -> Network:
    from balproof.balance.problem import Costs
    from balproof.balance.solve import solve

    return solve(before, Costs.parse("l2", bias_cost=False)).network


def _under(spec: str) -> Callable[[Network, np.random.Generator], Network]:
    from balproof.balance.solve import solve

    return lambda before, rng: solve(before, spec).network


def _split(before: Network, rng: np.random.Generator) -> Network:
    """Copies of the layer, one for each call, and every one balanced by itself."""
    document = json.loads(json.dumps(to_document(before)))
    document["parameters"]["loop2.weight"] = document["parameters"]["loop.weight"]
    second = [op for op in document["operations"] if "loop.weight" in op["inputs"]][1]
    second["inputs"] = [x.replace("loop.", "loop2.") for x in second["inputs"]]
    return _under("l2")(load(document), rng)


def _split_and_biases(before: Network, rng: np.random.Generator) -> Network:
    new = _split(before, rng)
    return new.with_parameters({"in.bias": before.numbers("in.bias")})


def programs() -> Iterator[Case]:
    yield Case("last layer frozen", "mlp", _last_frozen, [("frozen-layer", ("fc3",))])
    yield Case("mean of the scales", "mlp", _mean_rule, [("unbalanced-unit", ())])
    yield Case("nothing", "mlp", lambda before, rng: before, [("left-as-it-was", ())])
    yield Case("nothing", "conv", lambda before, rng: before, [("left-as-it-was", ())])
    for n in ("mlp", "residual", "recurrent", "conv", "tied"):
        yield Case("l1 for l2", n, _under("l1"), [("another-cost", ())])
    yield Case("biases without cost", "mlp", _without_biases, [("another-cost", ())])
    yield Case("0/0 in a dead unit", "mlp", _divides_by_zero,
               [("dead-unit-divided", ("fc1.weight", "fc1.bias", "fc2.weight"))],
               ("fc1[3]",), start=_dead)  # fmt: skip
    yield Case("copies", "tied", _split, [("tied-weights-split", ("loop.weight", "loop2.weight"))])


def two_at_once() -> Iterator[Case]:
    bias = wrong.biases_forgotten

    def with_bias(
        change: Callable[[Values, Values], None],
    ) -> Callable[[Network, np.random.Generator], Network]:
        def make(before: Network, rng: np.random.Generator) -> Network:
            new = values(by_step(bias)(before, rng))
            change(new, values(before))
            return before.with_parameters(new)

        return make

    for n in NETS:
        name = FIRST[n]
        biases = ("bias-not-scaled", BIASES[n])
        inputs = SIDES[n][-1 if n == "conv" else 0][0][0][0]
        yield Case(
            "biases, and a column",
            n,
            with_bias(_at(inputs, _column)),
            [biases, ("slice-multiplied", (inputs,))],
        )
        yield Case(
            "biases, and a weight", n, with_bias(_at(name, _entry)), [biases, ("not-a-rescaling", (name,))]
        )
        yield Case("biases, and clipped", n, with_bias(_at(name, _clipped)), [biases, ("clipped", (name,))])
        yield Case(
            "biases, and a sign", n, with_bias(_at(name, _flipped)), [biases, ("sign-changed", (name,))]
        )
        yield Case("biases, and NaN", n, with_bias(_at(name, _nan)), [biases, ("not-finite", (name,))])
    last = {"mlp": ("fc4.weight",), "conv": ("c1.bn.gamma",), "residual": ("b.weight",)}

    def both(v: Values, into: wrong.Side, out: wrong.Side, s: Array, name: str) -> None:
        wrong.right(
            v,
            [x for x in into if not wrong.is_bias(x[0])],
            () if (into, out) == SIDES[name][-1] else out,
            s,
            name,
        )

    for n, tensors in last.items():
        yield Case(
            "biases, and the last way out",
            n,
            by_step(both),
            [("bias-not-scaled", BIASES[n]), ("outgoing-not-scaled", tensors)],
        )

    def transposed_without_biases(v: Values, into: wrong.Side, out: wrong.Side, s: Array, name: str) -> None:
        wrong.transposed(v, [x for x in into if not wrong.is_bias(x[0])], out, s, name)

    for n, tensors in (("mlp", ("fc2.weight",)), ("recurrent", ("J",))):
        yield Case(
            "biases, and transposed",
            n,
            by_step(transposed_without_biases),
            [("bias-not-scaled", BIASES[n]), ("transposed-scales", tensors)],
        )
    yield Case("biases, and copies", "tied", _split_and_biases,
               [("tied-weights-split", ("loop.weight", "loop2.weight")),
                ("bias-not-scaled", ("in.bias",))])  # fmt: skip


ONE_FAULT = (*stepwise(), *afterwards(), *programs())
TWO_FAULTS = tuple(two_at_once())


# --- what is right ------------------------------------------------------------------------------------------


def correct(count: int = 200) -> Iterator[tuple[str, str, str, Audit]]:
    """Network, type, what was done, and the audit: rescalings at random and balancings, in turn."""
    for i in range(count):
        name, dtype = NETS[i % len(NETS)], ("float32", "float64")[i // len(NETS) % 2]
        rng = np.random.default_rng(i)
        before = in_type(ALL[name](i), dtype)
        if i // (2 * len(NETS)) % 2:
            what = "balanced"
            new = balanced(name, values(before))
        else:
            what = "rescaled"
            v = values(before)
            new = rescaled(name, v, scales(name, v, rng, spread=float(rng.choice([0.1, 1.0, 5.0]))))
        made = in_type(before.with_parameters(new), dtype)
        yield name, dtype, what, check(before, made)


def is_alarm(what: str, audit: Audit) -> bool:
    """Whether an audit finds fault: of what was only rescaled, other than that it is not in balance."""
    if what == "balanced":
        return not audit.ok
    return not audit.same_orbit or any(f.kind not in BALANCE for f in audit.faults)


def main() -> None:
    """Print the figures."""
    start = time.perf_counter()
    for title, cases in (("one fault", ONE_FAULT), ("two faults", TWO_FAULTS)):
        for dtype in ("float64", "float32"):
            audits = [(case, case.audit(dtype=dtype)) for case in cases]
            missed = [(c, a) for c, a in audits if not c.right(a)]
            kinds = {k for c in cases for k, _ in c.expected}
            print(
                f"{title}, {dtype}: {len(cases) - len(missed)}/{len(cases)} detected and placed, "
                f"{len(kinds)} kinds"
            )
            for case, audit in missed:
                print(f"  missed: {case.name} on {case.network}: {case.found(audit)}, not {case.expected}")
            sys.stdout.flush()
    found = list(correct())
    alarms = [f"{n} {t} {w}" for n, t, w, a in found if is_alarm(w, a)]
    print(f"false alarms: {len(alarms)}/{len(found)} {alarms or ''}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
