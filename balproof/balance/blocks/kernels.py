"""One read of a block of weights, in compiled loops: nothing of the size of the weights is made.

A block is an array (g, r, c, k) of weights in whatever type and place they are; its costs are
K_gij = Σ_k |w_gijk|^p, formed while a row is in the cache. With row factors e and column factors y one read
gives

    rows_gi = Σ_j K_gij·y_gj,      columns_gj = Σ_i e_gi·K_gij.

`sweep` balances row i between the two: its e_i is set from rows_i and from the sums that the caller knows,
and the columns see the new one. In a chain of layers that is an exact cyclic sweep in one read. All sums are
of terms ≥ 0, added in some order: γ_n bounds their relative rounding whatever the order and the fused
multiplications are (Higham, Accuracy and Stability, Section 3.1).
"""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import carray, njit  # pyright: ignore[reportPrivateImportUsage]
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

Array = np.ndarray

_FAST = {"reassoc", "contract", "nsz"}  # never nnan or ninf: infinities and NaN are looked for
_WIDE = 16_384
"""Wider rows are read one at a time: eight of them would leave the cache before they are read again."""

_KEPT = 1 << 19
"""So many bytes stay in a core's cache while twice twelve rows are summed before they are read again."""

_FEW = 16_384
"""So many zeros can be counted in the 16 bits of a weight."""

SQUARE, ABSOLUTE, ROOT, POWER, TABLE = range(5)


def mode_of(power: float, dtype: np.dtype) -> int:
    """How `kernels` forms |w|^power of weights of this type."""
    if dtype.kind == "u":
        return TABLE
    return {2.0: SQUARE, 1.0: ABSOLUTE, 0.5: ROOT}.get(power, POWER)


@cache
def table(kind: str, power: float) -> Array:
    """|value|^power for each of the 65,536 patterns of ``float16`` or ``bfloat16``.

    >>> float(table("float16", 2.0)[np.float16(-1.5).view(np.uint16)])
    2.25
    """
    bits = np.arange(1 << 16, dtype=np.uint32)
    narrow = (bits << 16).view(np.float32) if kind == "bfloat16" else bits.astype(np.uint16).view(np.float16)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaN are among them
        found = np.abs(narrow.astype(np.float64)) ** power
    found.flags.writeable = False
    return found


def _cost(w, mode, power, table):  # pragma: no cover - replaced when compiled
    raise NotImplementedError


@overload(_cost, inline="never")
def _compile_cost(w, mode, power, table):
    if isinstance(w, types.Integer):
        return lambda w, mode, power, table: table[w]

    def of_float(w, mode, power, table):
        value = abs(np.float64(w))
        if mode == SQUARE:
            return value * value
        if mode == ABSOLUTE:
            return value
        if mode == ROOT:
            return np.sqrt(value)
        return value**power

    return of_float


@njit(nogil=True, cache=True, fastmath=_FAST)
def fill(w, mode, power, table, row):
    """row_j = Σ_k |w_jk|^p."""
    for j in range(len(row)):
        total = 0.0
        for m in range(w.shape[1]):
            total += _cost(w[j, m], mode, power, table)
        row[j] = total


# Loops run wide only over rows that are arrays of their own: an offset into a longer one may be negative for
# all that the compiler knows, and is looked at in every step. Eight rows at once were the fastest by far.


@njit(nogil=True, cache=True, fastmath=_FAST)
def _dots(w, at, y):
    """Σ_j w_ij²·y_j of eight rows from ``at`` on."""
    w0, w1, w2, w3 = w[at], w[at + 1], w[at + 2], w[at + 3]
    w4, w5, w6, w7 = w[at + 4], w[at + 5], w[at + 6], w[at + 7]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for j in range(len(y)):
        x = y[j]
        v = np.float64(w0[j])
        s0 += v * v * x
        v = np.float64(w1[j])
        s1 += v * v * x
        v = np.float64(w2[j])
        s2 += v * v * x
        v = np.float64(w3[j])
        s3 += v * v * x
        v = np.float64(w4[j])
        s4 += v * v * x
        v = np.float64(w5[j])
        s5 += v * v * x
        v = np.float64(w6[j])
        s6 += v * v * x
        v = np.float64(w7[j])
        s7 += v * v * x
    return s0, s1, s2, s3, s4, s5, s6, s7


@njit(nogil=True, cache=True, fastmath=_FAST)
def _dots12(w, at, y):
    """The same of twelve rows: what is not in a cache arrives faster the more rows are waited for."""
    w0, w1, w2, w3 = w[at], w[at + 1], w[at + 2], w[at + 3]
    w4, w5, w6, w7 = w[at + 4], w[at + 5], w[at + 6], w[at + 7]
    w8, w9, w10, w11 = w[at + 8], w[at + 9], w[at + 10], w[at + 11]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = 0.0
    for j in range(len(y)):
        x = y[j]
        v = np.float64(w0[j])
        s0 += v * v * x
        v = np.float64(w1[j])
        s1 += v * v * x
        v = np.float64(w2[j])
        s2 += v * v * x
        v = np.float64(w3[j])
        s3 += v * v * x
        v = np.float64(w4[j])
        s4 += v * v * x
        v = np.float64(w5[j])
        s5 += v * v * x
        v = np.float64(w6[j])
        s6 += v * v * x
        v = np.float64(w7[j])
        s7 += v * v * x
        v = np.float64(w8[j])
        s8 += v * v * x
        v = np.float64(w9[j])
        s9 += v * v * x
        v = np.float64(w10[j])
        s10 += v * v * x
        v = np.float64(w11[j])
        s11 += v * v * x
    return s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11


@njit(nogil=True, cache=True, fastmath=_FAST)
def _adds(w, at, e, columns):
    """columns_j += Σ_i e_i·w_ij² of eight rows from ``at`` on."""
    w0, w1, w2, w3 = w[at], w[at + 1], w[at + 2], w[at + 3]
    w4, w5, w6, w7 = w[at + 4], w[at + 5], w[at + 6], w[at + 7]
    e0, e1, e2, e3, e4, e5, e6, e7 = e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]
    for j in range(len(columns)):
        v = np.float64(w0[j])
        x = e0 * (v * v)
        v = np.float64(w1[j])
        x += e1 * (v * v)
        v = np.float64(w2[j])
        x += e2 * (v * v)
        v = np.float64(w3[j])
        x += e3 * (v * v)
        v = np.float64(w4[j])
        x += e4 * (v * v)
        v = np.float64(w5[j])
        x += e5 * (v * v)
        v = np.float64(w6[j])
        x += e6 * (v * v)
        v = np.float64(w7[j])
        x += e7 * (v * v)
        columns[j] += x


@njit(nogil=True, cache=True, fastmath=_FAST)
def _both(w, at, e, y, columns):
    """`_dots` and `_adds` at once, where no row moves between them."""
    w0, w1, w2, w3 = w[at], w[at + 1], w[at + 2], w[at + 3]
    w4, w5, w6, w7 = w[at + 4], w[at + 5], w[at + 6], w[at + 7]
    e0, e1, e2, e3, e4, e5, e6, e7 = e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for j in range(len(y)):
        x = y[j]
        v = np.float64(w0[j])
        v *= v
        s0 += v * x
        t = e0 * v
        v = np.float64(w1[j])
        v *= v
        s1 += v * x
        t += e1 * v
        v = np.float64(w2[j])
        v *= v
        s2 += v * x
        t += e2 * v
        v = np.float64(w3[j])
        v *= v
        s3 += v * x
        t += e3 * v
        v = np.float64(w4[j])
        v *= v
        s4 += v * x
        t += e4 * v
        v = np.float64(w5[j])
        v *= v
        s5 += v * x
        t += e5 * v
        v = np.float64(w6[j])
        v *= v
        s6 += v * x
        t += e6 * v
        v = np.float64(w7[j])
        v *= v
        s7 += v * x
        t += e7 * v
        columns[j] += t
    return s0, s1, s2, s3, s4, s5, s6, s7


@njit(nogil=True, cache=True)
def _balance(at, count, rows, factor, into, out, inverse, coefficient, power, h, e):
    """The steps of some rows that balance them: their h, and their factors exp(power·coefficient·h).

    ``factor``·|coefficient|·e·rows is what the block adds to what comes in (coefficient > 0) or goes out.
    """
    for n in range(at, at + count):
        own = factor * abs(coefficient[n]) * e[n] * rows[n]
        a, b = (into[n] + own, out[n]) if coefficient[n] > 0 else (into[n], out[n] + own)
        if inverse[n] > 0 and a > 0 and b > 0:
            h[n] += (np.log(b) - np.log(a)) * inverse[n]
            e[n] = np.exp(power * coefficient[n] * h[n])


@njit(nogil=True, cache=True)
def _look(bits, lo, hi, seen):
    """Add to ``seen`` of weights as bits: the least that is not 0, less 1, the greatest, how many are 0.

    Without their signs the bits of floats are in the order of their sizes, infinities and NaN at the end.
    Everything stays in the type of the bits, so that the loop over integers runs as wide as it can.
    """
    kind = bits.dtype.type
    mask, one = kind(~kind(0)) >> kind(1), kind(1)
    least, most = kind(~kind(0)), kind(0)
    for i in range(lo, hi):
        for k in range(bits.shape[1]):
            whole = bits[i, k]
            for start in range(0, len(whole), _FEW):
                row, zeros = whole[start : start + _FEW], kind(0)
                for j in range(len(row)):
                    v = kind(row[j] & mask)
                    most = max(most, v)
                    least = min(least, kind(v - one))  # of 0 it is the greatest
                    zeros = kind(zeros + kind(v == 0))
                seen[2] += np.uint64(zeros)
    seen[0] = min(seen[0], np.uint64(least))
    seen[1] = max(seen[1], np.uint64(most))


@njit(nogil=True, cache=True, fastmath=_FAST)
def read_squares(
    w, bits, seen, r, e, y, lo, hi, step, power, factor, into, out, inverse, coefficient, h, rows, columns
):
    """Rows lo…hi of all g·r: their sums, their steps where ``step``, and their part of the columns' sums.

    Where ``seen`` has a length, `_look` at the ``bits`` of each row as well.
    """
    c = w.shape[1]
    many = step and 24 * c * w.itemsize <= _KEPT
    at = lo
    while at < hi:
        start = at // r * c
        x, total = y[start : start + c], columns[start : start + c]
        left = min(hi - at, r - at % r)
        count = 24 if many and left >= 24 else 8 if c <= _WIDE and left >= 8 else 1
        if count == 24:
            for i in range(at, at + 24, 12):
                t = _dots12(w, i, x)
                rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4], rows[i + 5] = t[:6]
                rows[i + 6], rows[i + 7], rows[i + 8], rows[i + 9], rows[i + 10], rows[i + 11] = t[6:]
        elif count == 8:
            s = _dots(w, at, x) if step else _both(w, at, e[at : at + 8], x, total)
            rows[at], rows[at + 1], rows[at + 2], rows[at + 3] = s[:4]
            rows[at + 4], rows[at + 5], rows[at + 6], rows[at + 7] = s[4:]
        else:
            own, dot = w[at], 0.0
            for j in range(c):
                v = np.float64(own[j])
                dot += v * v * x[j]
            rows[at] = dot
        if step:
            _balance(at, count, rows, factor, into, out, inverse, coefficient, power, h, e)
        if count == 1:
            own, scale = w[at], e[at]
            for j in range(c):
                v = np.float64(own[j])
                total[j] += scale * (v * v)
        elif step:
            for i in range(at, at + count, 8):
                _adds(w, i, e[i : i + 8], total)
        if len(seen):
            _look(bits, at, at + count, seen)
        at += count


@njit(nogil=True, cache=True, fastmath=_FAST)
def read_costs(
    w, bits, seen, r, e, y, lo, hi, step, mode, table, power, factor, into, out, inverse, coefficient, h,
    rows, columns
):  # fmt: skip
    """The same for (g·r, c, k) weights of any cost: each row of costs is formed first."""
    c = w.shape[1]
    row = np.empty(c)
    for at in range(lo, hi):
        start = at // r * c
        x, total = y[start : start + c], columns[start : start + c]
        fill(w[at], mode, power, table, row)
        dot = 0.0
        for j in range(c):
            dot += row[j] * x[j]
        rows[at] = dot
        if step:
            _balance(at, 1, rows, factor, into, out, inverse, coefficient, power, h, e)
        scale = e[at]
        for j in range(c):
            total[j] += scale * row[j]
        if len(seen):
            _look(bits, at, at + 1, seen)


@njit(nogil=True, cache=True)
def imbalance(into, out):
    """The largest |in − out|/(in + out)."""
    worst = 0.0
    for k in range(len(into)):
        total = into[k] + out[k]
        gap = abs(into[k] - out[k]) / total if total != 0 else 0.0
        if np.isnan(gap):
            return gap
        worst = max(worst, gap)
    return worst


@njit(nogil=True, cache=True)
def shift(cost, start, index, value, t):
    """Newton's method for the t that minimises Σ_b cost_b·exp⟨row_b, t⟩, rows as in a CSR matrix.

    The Hessian is normalised, since groups may differ by decades; 1e-13 on its diagonal keeps the step
    defined where a whole component can move freely. Rows of its Cholesky factor begin where its own do.
    """
    n = len(t)
    first = np.arange(n)
    for b in range(len(cost)):
        for i in range(start[b], start[b + 1]):
            for j in range(start[b], start[b + 1]):
                first[index[i]] = min(first[index[i]], index[j])
    factor, gradient, scale = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for _ in range(50):
        for i in range(n):
            gradient[i] = 0.0
            factor[i, first[i] : i + 1] = 0.0
        for b in range(len(cost)):
            own, most = 0.0, start[b + 1]
            for i in range(start[b], most):
                own += value[i] * t[index[i]]
            own = cost[b] * np.exp(own)
            for i in range(start[b], most):
                gradient[index[i]] += own * value[i]
                for j in range(start[b], most):
                    if index[j] <= index[i]:
                        factor[index[i], index[j]] += own * value[i] * value[j]
        for i in range(n):
            scale[i] = np.sqrt(factor[i, i]) if factor[i, i] > 0 else 1.0
        for i in range(n):
            total = -gradient[i] / scale[i]
            for j in range(first[i], i):
                entry = factor[i, j] / (scale[i] * scale[j])
                for k in range(max(first[i], first[j]), j):
                    entry -= factor[i, k] * factor[j, k]
                factor[i, j] = entry / factor[j, j]
                total -= factor[i, j] * gradient[j]
            pivot = factor[i, i] / (scale[i] * scale[i]) + 1e-13
            for k in range(first[i], i):
                pivot -= factor[i, k] * factor[i, k]
            factor[i, i] = np.sqrt(max(pivot, 1e-13))
            gradient[i] = total / factor[i, i]
        for i in range(n - 1, -1, -1):
            gradient[i] /= factor[i, i]
            for j in range(first[i], i):
                gradient[j] -= factor[i, j] * gradient[i]
        size = 0.0
        for b in range(len(cost)):
            own = 0.0
            for i in range(start[b], start[b + 1]):
                own += value[i] * gradient[index[i]] / scale[index[i]]
            size = max(size, abs(own))
        for i in range(n):
            t[i] += gradient[i] / scale[i] / max(1.0, size)  # exp changes by at most a factor e in a step
        if size < 1e-14:
            break


@njit(nogil=True, cache=True)
def take_turn(i, row, column, power, factor, e, y, into, out, inverse, sign, h):
    """Balance unit i of a loop by the sums of its row and of its column: changes its e, y and h."""
    first, second = factor * e[i] * row, factor * y[i] * column
    a, b = (into[i] + first, out[i] + second) if sign > 0 else (into[i] + second, out[i] + first)
    if inverse[i] > 0 and a > 0 and b > 0:
        h[i] += (np.log(b) - np.log(a)) * inverse[i]
        e[i] = np.exp(power * sign * h[i])
        y[i] = 1 / e[i]


@njit(nogil=True, cache=True, fastmath=_FAST)
def loop(
    w, flat, bits, seen, lo, hi, step, mode, table, power, factor, e, y, into, out, inverse, sign, h, after,
    rows, before, columns
):  # fmt: skip
    """Rows lo…hi of a block whose units feed themselves: row i and column i are one, of opposite signs.

    A unit is balanced in its turn where ``step``, by ``after``: Σ e_k·K_ki over all rows k but those from lo
    to i, as the last sweep left them. It changes e, y and h of its units. It leaves that sum over the rows
    from lo to i, new, in ``before``, and in ``columns``, which begin as zeros, what these rows add to the
    next ``after``. ``flat`` is ``w`` without its last axis. The diagonal has no scale, and no sum has it.

    Eight rows are read at a time. Their sums over the units of the others are those of rows that do not move;
    the eight by eight costs among themselves are kept, and taken with each unit's new factors.
    """
    n = len(w)
    squares = mode == SQUARE and w.shape[2] == 1 and n <= _WIDE
    row = np.empty(n)
    tile, held, s = np.zeros((8, 8)), np.empty(8), np.empty(8)
    at = lo
    while at < hi:
        count = 8 if squares and at + 8 <= hi else 1
        for a in range(count):
            before[at + a] = columns[at + a]
        if count == 8:
            for a in range(8):
                for b in range(8):
                    v = np.float64(flat[at + a, at + b])
                    tile[a, b] = v * v
                held[a] = y[at + a]
                y[at + a] = 0.0
            t = _dots(flat, at, y) if step else _both(flat, at, e[at : at + 8], y, columns)
            s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7] = t
            for a in range(8):
                y[at + a] = held[a]
        else:
            fill(w[at], mode, power, table, row)
            row[at] = 0.0
            s[0] = 0.0
            for j in range(n):
                s[0] += row[j] * y[j]
        for a in range(count):
            i, total = at + a, s[a]
            for b in range(count):
                if b != a:
                    total += tile[a, b] * y[at + b]
            rows[i] = total
            if step:
                take_turn(i, total, after[i] + before[i], power, factor, e, y, into, out, inverse, sign, h)
            for b in range(a + 1, count):
                before[at + b] += e[i] * tile[a, b]
        if count == 1:
            for j in range(n):
                columns[j] += e[at] * row[j]
        elif step:
            _adds(flat, at, e[at : at + 8], columns)
        for b in range(count):
            total = 0.0
            for a in range(b + 1, count):
                total += e[at + a] * tile[a, b]
            columns[at + b] = total
        if len(seen):
            _look(bits, at, at + count, seen)
        at += count


@njit(nogil=True, cache=True)
def is_run(unit, coefficient):
    """Whether the entries of a side are consecutive units of one coefficient."""
    for i in range(len(unit)):
        if unit[i] != unit[0] + i or coefficient[i] != coefficient[0]:
            return False
    return len(unit) > 0 and unit[0] >= 0


# --- the layers of a sweep --------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What sweeps go over, as arrays. Layers, sides and blocks are numbered; all else is sliced by starts.

    Side 2b is that of the rows of block b, side 2b + 1 that of its columns, and entries are those of all
    sides, one after another. A *touch* is a side that has units of a layer. The *leads* of a layer are its
    touches whose block balances it while it is read, best first. A *kind* is how entries of a side move with
    whole layers: (layer, coefficient).
    """

    start: Array
    """Of the entries of side s: start[s]…start[s + 1]."""
    unit: Array
    """Of an entry, −1 for none; ``place`` is where the unit is in its layer."""
    place: Array
    coefficient: Array
    exponent: Array
    """power·coefficient, and ``weight`` power·factor·coefficient."""
    weight: Array
    units: Array
    """Of layer i: units[unit_start[i]]…"""
    unit_start: Array
    inverse: Array
    """Of a unit: 1/slope of log(in/out) along it."""
    layer: Array
    """Of a unit, −1 for none."""
    side: Array
    """Of a touch; those of layer i: touch_start[i]…"""
    touch_start: Array
    entry: Array
    """Of touch t: entry[entry_start[t]]…"""
    entry_start: Array
    lead: Array
    """Touches; those of layer i: lead_start[i]…"""
    lead_start: Array
    loop: Array
    """Of a block: whether its units feed themselves; and what `read_squares` and `read_costs` take."""
    power: Array
    factor: Array
    groups: Array
    mode: Array
    shape: Array
    address: Array
    table: Array
    """Where the weights of a block are in memory, and the costs of all its patterns of 16 bits."""
    kind: Array
    """Of an entry, among those of its side; those of side s: kind_start[s]…"""
    kind_start: Array
    kind_layer: Array
    kind_coefficient: Array


@intrinsic
def _pointer(context, address):  # pragma: no cover - compiled
    def generate(target, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@njit(nogil=True, cache=True)
def lead_of(plan, layer, fresh):
    """The touch whose block balances the layer: one that loops, or the first that must be read; else −1."""
    for k in range(plan.lead_start[layer], plan.lead_start[layer + 1]):
        t = plan.lead[k]
        if plan.loop[plan.side[t] // 2] or not fresh[plan.side[t]]:
            return t
    return -1


@njit(nogil=True, cache=True)
def reads(plan, order):
    """How many weights the second sweep in this order reads."""
    fresh = np.ones(len(plan.start) - 1, np.bool_)
    total = 0
    for sweep in range(2):
        for layer in order:
            lead = lead_of(plan, layer, fresh)
            for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
                s = plan.side[t]
                if t == lead or not fresh[s]:
                    b = s // 2
                    total += sweep * plan.shape[b, 0] * plan.shape[b, 1] * plan.shape[b, 2]
                    fresh[s], fresh[s ^ 1] = True, True
            for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
                if t != lead:
                    fresh[plan.side[t] ^ 1] = False
    return total


@njit(nogil=True, cache=True)
def gather(plan, layer, skip, factors, sums):
    """What comes into the units of a layer and goes out, by the sums of all blocks but ``skip``."""
    n = plan.unit_start[layer + 1] - plan.unit_start[layer]
    into, out = np.zeros(n), np.zeros(n)
    for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
        if plan.side[t] // 2 != skip:
            _gather(plan, t, factors, sums, into, out)
    return into, out


@njit(nogil=True, cache=True)
def _gather(plan, touch, factors, sums, into, out):
    for k in range(plan.entry_start[touch], plan.entry_start[touch + 1]):
        j = plan.entry[k]
        marginal = plan.weight[j] * factors[j] * sums[j]
        if marginal > 0:
            into[plan.place[j]] += marginal
        else:
            out[plan.place[j]] -= marginal


@njit(nogil=True, cache=True)
def spread(plan, lead, h, into, out):
    """``into``, ``out``, inverse slopes and h of every row of the block that leads; 0 for other rows."""
    s = plan.side[lead]
    first, n = plan.start[s], plan.start[s + 1] - plan.start[s]
    a, b, inverse, own = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    for k in range(plan.entry_start[lead], plan.entry_start[lead + 1]):
        j = plan.entry[k]
        a[j - first], b[j - first] = into[plan.place[j]], out[plan.place[j]]
        inverse[j - first], own[j - first] = plan.inverse[plan.unit[j]], h[plan.unit[j]]
    return a, b, inverse, own


@njit(nogil=True, cache=True)
def settle(plan, layer, lead, h, factors, sums, fresh, into, out, was, own):
    """After the read of the block that leads: move the other units, and say how far from balance all were.

    ``was`` are the factors of its rows before, ``own`` its rows' h. Other sums at the units are out of date.
    """
    first = plan.unit_start[layer]
    moved = np.zeros(len(into), np.bool_)
    block = -1
    if lead >= 0:
        s = plan.side[lead]
        block = s // 2
        for k in range(plan.entry_start[lead], plan.entry_start[lead + 1]):
            moved[plan.place[plan.entry[k]]] = True
    for i in range(len(into)):
        unit = plan.units[first + i]
        if not moved[i] and plan.inverse[unit] > 0 and into[i] > 0 and out[i] > 0:
            h[unit] += np.log(out[i] / into[i]) * plan.inverse[unit]
    if lead >= 0:
        for k in range(plan.entry_start[lead], plan.entry_start[lead + 1]):
            j = plan.entry[k]
            row = j - plan.start[s]
            h[plan.unit[j]] = own[row]
            marginal = plan.weight[j] * was[row] * sums[j]
            if marginal > 0:
                into[plan.place[j]] += marginal
            else:
                out[plan.place[j]] -= marginal
    for t in range(plan.touch_start[layer], plan.touch_start[layer + 1]):
        if plan.side[t] // 2 != block:
            for k in range(plan.entry_start[t], plan.entry_start[t + 1]):
                j = plan.entry[k]
                factors[j] = np.exp(plan.exponent[j] * h[plan.unit[j]])
            fresh[plan.side[t] ^ 1] = False
    return imbalance(into, out)


@njit(nogil=True, cache=True)
def visit_all(plan, like, bits, order, move, enough, h, factors, sums, fresh):
    """Balance layers in this order: how far from balance they were, and how many weights were read.

    Their blocks are contiguous, of the types of ``like`` and ``bits``, and none loops. Without ``move`` only
    what is out of date is read. Once the imbalance is more than ``enough`` that ends.
    """
    worst, read, seen = 0.0, 0, np.zeros(0, np.uint64)
    a = b = inverse = own = was = into = out = np.zeros(0)
    for layer in order:
        lead = lead_of(plan, layer, fresh) if move else -1
        block = plan.side[lead] // 2 if lead >= 0 else -1
        for t in range(plan.touch_start[layer], plan.touch_start[layer + 1] + 1):
            step = t == plan.touch_start[layer + 1]
            if step:
                into, out = gather(plan, layer, block, factors, sums)
                if lead < 0:
                    break
                a, b, inverse, own = spread(plan, lead, h, into, out)
                was = factors[plan.start[2 * block] : plan.start[2 * block + 1]].copy()
            elif plan.side[t] // 2 == block or fresh[plan.side[t]]:
                continue
            # Here alone blocks are read: every call of it is compiled anew.
            n = block if step else plan.side[t] // 2
            start, middle, end = plan.start[2 * n], plan.start[2 * n + 1], plan.start[2 * n + 2]
            e, y, total, across = (
                factors[start:middle],
                factors[middle:end],
                sums[start:middle],
                sums[middle:end],
            )
            across[:] = 0.0
            rows, columns, kernel = plan.shape[n]
            r, power, factor = rows // plan.groups[n], plan.power[n], plan.power[n] * plan.factor[n]
            coefficient, mode = plan.coefficient[start:middle], plan.mode[n]
            data = _pointer(plan.address[n])  # pyright: ignore[reportCallIssue]
            if mode == SQUARE and kernel == 1:
                flat = carray(data, (rows, columns), like.dtype)
                read_squares(
                    flat,
                    bits,
                    seen,
                    r,
                    e,
                    y,
                    0,
                    rows,
                    step,
                    power,
                    factor,
                    a,
                    b,
                    inverse,
                    coefficient,
                    own,
                    total,
                    across,
                )
            else:
                whole = carray(data, (rows, columns, kernel), like.dtype)
                costs = _pointer(plan.table[n])  # pyright: ignore[reportCallIssue]
                table = carray(costs, (1 << 16,), np.float64)
                read_costs(
                    whole, bits, seen, r, e, y, 0, rows, step, mode, table, power, factor, a, b, inverse,
                    coefficient, own, total, across,
                )  # fmt: skip
            read += rows * columns * kernel
            fresh[2 * n], fresh[2 * n + 1] = True, True
        if move:
            lag = settle(plan, layer, lead, h, factors, sums, fresh, into, out, was, own)
        else:
            lag = imbalance(into, out)
        worst = lag if np.isnan(lag) else max(worst, lag)
        if worst > enough:
            break
    return worst, read


@njit(nogil=True, cache=True)
def cost(plan, factors, sums, fresh):
    """Σ over the blocks of their costs, by the sums of either side."""
    total = 0.0
    for b in range(len(plan.power)):
        s = 2 * b if fresh[2 * b] else 2 * b + 1
        own = 0.0
        for j in range(plan.start[s], plan.start[s + 1]):
            own += factors[j] * sums[j]
        total += plan.factor[b] * own
    return total


@njit(nogil=True, cache=True)
def layer_terms(plan, factors, sums, fresh):
    """F with t on the layers added to h is Σ_i costs_i·exp⟨row_i, t⟩: costs and rows, as in a CSR matrix.

    No costs where both sides of a block move with several layers: its sums tell too little.
    """
    most = len(plan.kind_layer)
    costs, start = np.zeros(most), np.zeros(most + 1, np.int64)
    index, value = np.zeros(2 * most, np.int64), np.zeros(2 * most)
    n, at = 0, 0
    for b in range(len(plan.power)):
        kinds = plan.kind_start[2 * b + 1] - plan.kind_start[2 * b]
        across = plan.kind_start[2 * b + 2] - plan.kind_start[2 * b + 1]
        s = 2 * b if fresh[2 * b] and across == 1 else 2 * b + 1
        if not fresh[s] or (kinds if s % 2 else across) > 1:
            return costs[:0], start[:1], index[:0], value[:0]
        first, other = plan.kind_start[s], plan.kind_start[s ^ 1]
        own = np.zeros(plan.kind_start[s + 1] - first)
        for j in range(plan.start[s], plan.start[s + 1]):
            own[plan.kind[j]] += plan.factor[b] * factors[j] * sums[j]
        for k in range(len(own)):
            if own[k] > 0:
                for kind in (first + k, other):
                    if plan.kind_coefficient[kind] != 0:
                        index[at] = plan.kind_layer[kind]
                        value[at] = plan.power[b] * plan.kind_coefficient[kind]
                        at += 1
                costs[n] = own[k]
                n += 1
                start[n] = at
    return costs[:n], start[: n + 1], index[:at], value[:at]


@njit(nogil=True, cache=True)
def shift_layers(plan, t, h, factors, sums, fresh):
    """Add t on the layers to h; factors and sums follow, but where a side moves with several layers."""
    for k in range(len(h)):
        if plan.layer[k] >= 0:
            h[k] += t[plan.layer[k]]
    for s in range(len(plan.start) - 1):
        first = plan.kind_start[s]
        if plan.kind_start[s + 1] - first > 1:
            for j in range(plan.start[s], plan.start[s + 1]):
                if plan.unit[j] >= 0:
                    factors[j] = np.exp(plan.exponent[j] * h[plan.unit[j]])
            fresh[s ^ 1] = False
        elif plan.kind_coefficient[first] != 0:
            by = np.exp(plan.power[s // 2] * plan.kind_coefficient[first] * t[plan.kind_layer[first]])
            for j in range(plan.start[s], plan.start[s + 1]):
                factors[j] *= by
            for j in range(plan.start[s ^ 1], plan.start[(s ^ 1) + 1]):
                sums[j] *= by


@njit(nogil=True, cache=True)
def settle_layers(plan, h, factors, sums, fresh):
    """Move whole layers to where F is least, and say by how much."""
    t = np.zeros(len(plan.unit_start) - 1)
    rows = layer_terms(plan, factors, sums, fresh)
    if len(rows[0]):
        shift(*rows, t)
        shift_layers(plan, t, h, factors, sums, fresh)
    return t
