"""Balancing programs that are wrong, each as published code is: one step of it, or the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.faults.nets import SIDES, Values, times

Array = np.ndarray
Side = Sequence[tuple[str, int]]
Step = Callable[[Values, Side, Side, Array, str], None]

BIASES = {"bias", "beta", "b"}


def is_bias(tensor: str) -> bool:
    return tensor.rsplit(".", 1)[-1] in BIASES


def put(v: Values, tensor: str, s: Array, axis: int) -> None:
    v[tensor] = times(v[tensor], s, axis)


def right(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    for tensor, axis in into:
        put(v, tensor, s, axis)
    for tensor, axis in out:
        put(v, tensor, 1 / s, axis)


def biases_forgotten(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, [(t, a) for t, a in into if not is_bias(t)], out, s, name)


def first_bias_forgotten(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    first = next(t for t, _ in SIDES[name][0][0] if is_bias(t))
    right(v, [(t, a) for t, a in into if t != first], out, s, name)


def statistics_forgotten(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, [(t, a) for t, a in into if not t.endswith("mean")], out, s, name)


def out_not_divided(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, (), s, name)


def in_not_multiplied(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, (), out, s, name)


def out_multiplied(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, (), s, name)
    for tensor, axis in out:
        put(v, tensor, s, axis)


def square_root_forgotten(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, (), s, name)
    for tensor, axis in out:
        put(v, tensor, s**-2.0, axis)


def half_of_it(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, (), s, name)
    for tensor, axis in out:
        put(v, tensor, s**-0.5, axis)


def off_by_one(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, (), s, name)
    for tensor, axis in out:
        put(v, tensor, 1 / np.roll(s, 1), axis)


def in_reverse(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, (), s, name)
    for tensor, axis in out:
        put(v, tensor, 1 / s[::-1], axis)


def last_layer_only_in(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    """Of the last group the way out is forgotten."""
    right(v, into, () if (into, out) == SIDES[name][-1] else out, s, name)


def first_in_alone(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    """One tensor in, with its bias: the other branch of the sum is forgotten."""
    kept = [(t, a) for t, a in into if t.split(".")[0] == into[0][0].split(".")[0]]
    right(v, kept, out, s, name)


def first_out_alone(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, out[:1], s, name)


def last_out_alone(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    right(v, into, out[-1:], s, name)


def one_call_only(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    """The pair (first layer, first call of the shared one), as if the others were other layers."""
    right(v, into[:2], out[:1], s, name)


def transposed(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    """Weights out × in taken for in × out, where they are square."""

    def axis_of(tensor: str, axis: int) -> int:
        w = v[tensor]
        return 1 - axis if w.ndim == 2 and w.shape[0] == w.shape[1] else axis

    right(v, [(t, axis_of(t, a)) for t, a in into], [(t, axis_of(t, a)) for t, a in out], s, name)


def in_against_in(v: Values, into: Side, out: Side, s: Array, name: str) -> None:
    """W_ih and W_hh of a recurrent layer, which both lead in."""
    put(v, into[0][0], s, 0)
    put(v, into[1][0], 1 / s, 0)


# --- the program around a step -----------------------------------------------------------------------------


def sizes(v: Values, side: Side) -> Array:
    """Σw² of each unit, over one side."""
    total = np.zeros(v[side[0][0]].shape[side[0][1]])
    for tensor, axis in side:
        if not tensor.endswith("mean"):
            w = v[tensor]
            total = total + (w**2).sum(tuple(a for a in range(w.ndim) if a != axis))
    return total


def balanced(name: str, v: Values, step: Step = right, sweeps: int = 2000, tolerance: float = 1e-9) -> Values:
    """Sweeps over the groups, λ = (out/in)^{1/4} for each unit, until none moves; self-loops do not count."""
    new = {n: w.copy() for n, w in v.items()}
    for _ in range(sweeps):
        most = 0.0
        for into, out in SIDES[name]:
            a, b = sizes(new, into), sizes(new, out)
            for tensor in {t for t, _ in into} & {t for t, _ in out}:
                a, b = a - np.diag(new[tensor]) ** 2, b - np.diag(new[tensor]) ** 2
            if name == "recurrent" or name == "tied":  # units feel each other: one at a time
                k = int(np.argmax(np.abs(np.log(b / a))))
                s = np.where(np.arange(len(a)) == k, (b / a) ** 0.25, 1.0)
            else:
                s = (b / a) ** 0.25
            step(new, into, out, s, name)
            most = max(most, float(np.max(np.abs(s - 1))))
        if name == "tied":  # the calls of the layer have one more scale in common
            t = float((2 * (new["out.weight"] ** 2).sum() / (new["loop.weight"] ** 2).sum()) ** (1 / 6))
            new["loop.weight"], new["out.weight"] = new["loop.weight"] * t, new["out.weight"] / t**2
            most = max(most, abs(t - 1))
        if most < tolerance:
            break
    return new
