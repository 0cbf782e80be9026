"""[B] Section 5: which sets of input–output paths decide that scalings are self-consistent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import sympy

from balproof.network.manifold import infer
from balproof.symbolic import smt
from balproof.theorems.b_lemmas import PAPER, printed_false, twin
from balproof.theorems.instances import chain, dense, layered, rank
from balproof.theorems.registry import Claim, ClaimFunction, Findings, claim
from balproof.verdict import Evidence, Verdict, timed

Row = tuple[int, ...]


def paths(sizes: Sequence[int]) -> list[Row]:
    """Every input–output path of a fully connected layered network, as 0/1 over its weights.

    Weights are numbered layer by layer, each matrix row-major with a row for each unit it enters.

    >>> [sum(row) for row in paths((1, 2, 2, 1))]
    [3, 3, 3, 3]
    """
    starts = np.cumsum([0, *(m * n for m, n in zip(sizes[:-1], sizes[1:], strict=True))]).tolist()
    found: list[Row] = []
    for nodes in product(*(range(n) for n in sizes)):
        row = [0] * starts[-1]
        for k, (tail, head) in enumerate(zip(nodes[:-1], nodes[1:], strict=True)):
            row[starts[k] + head * sizes[k] + tail] = 1
        found.append(tuple(row))
    return found


def scales(sizes: Sequence[int]) -> list[list[Fraction]]:
    """A of that network, inferred."""
    matrices = [[[1.0] * m for _ in range(n)] for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    manifold = infer(layered(matrices))
    return dense([form for _, _, form in manifold.rows()], manifold.count)


def needed(A: Sequence[Sequence[Fraction]]) -> int:
    """Independent constraints that single out the self-consistent L: the weights minus the rank of A."""
    return len(A) - rank(A)


def suffices(chosen: Sequence[Row], A: Sequence[Sequence[Fraction]]) -> bool:
    """Whether every L with zero sums on these paths is A h for some h: decided on a basis of those L."""
    m = len(A)
    system = sympy.Matrix([list(row) for row in chosen]) if chosen else sympy.zeros(1, m)
    free = [[Fraction(int(x.p), int(x.q)) for x in vector] for vector in system.nullspace()]
    columns = [list(column) for column in zip(*A, strict=True)]
    return rank([*columns, *free]) == rank(columns)


def _annihilates(rows: Sequence[Row], A: Sequence[Sequence[Fraction]]) -> bool:
    return all(
        sum(r * a for r, a in zip(row, column, strict=True)) == 0
        for row in rows
        for column in zip(*A, strict=True)
    )


def _telescopes() -> bool:
    """Along a walk of units of degree 1 the log-scales L = h_head − h_tail add up to h_end − h_start; between
    visible units that is 0."""
    start, here, there = sympy.symbols("h0 h1 h2", real=True)
    longer = (here - start) + (there - here)
    return sympy.simplify(longer - (there - start)) == 0 and longer.subs({start: 0, there: 0}) == 0


def _degree_two_path() -> bool:
    """x → u → y, u of degree 2: its scaling has the log-scales (1, −2), up to sign, which add up to −1."""
    rows = dense([form for _, _, form in infer(chain([1, 1], "Max(x,0)**2")).rows()], 1)
    return abs(rows[0][0] + rows[1][0]) == 1


def _unit_off_the_paths() -> tuple[int, int]:
    """x → y beside 1⇄2: three weights, two hidden units; the rank of A, and the rank of the only path."""
    return rank([[0, 0], [1, -1], [-1, 1]]), rank([[1, 0, 0]])


def _criterion() -> bool:
    """A set of paths suffices exactly if its rank is what is needed: all sets, but of 1-2-2-2-1 those of 4
    and 8."""
    for sizes in ((1, 2, 1), (2, 2, 1), (1, 2, 2, 1), (1, 2, 2, 2, 1)):
        A, every = scales(sizes), paths(sizes)
        counts = range(len(every) + 1) if len(every) < 8 else (4, 8)
        sets = [chosen for count in counts for chosen in combinations(every, count)]
        if not _annihilates(every, A):
            return False
        if any(suffices(chosen, A) is not (rank(chosen) == needed(A)) for chosen in sets):
            return False
    return True


def covers_units(chosen: Sequence[Row], sizes: Sequence[int]) -> bool:
    """Whether each unit has a chosen path through one of its incoming weights."""
    total = np.sum(chosen, axis=0)
    starts = np.cumsum([0, *(m * n for m, n in zip(sizes[:-1], sizes[1:], strict=True))])
    return all(
        total[starts[k] + head * m : starts[k] + (head + 1) * m].any()
        for k, (m, n) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        for head in range(n)
    )


def unit_cover() -> tuple[int, int]:
    """1-2-2-1: the largest rank of two paths that cover all units, and the rank that is needed."""
    sizes = (1, 2, 2, 1)
    covers = [c for c in combinations(paths(sizes), 2) if covers_units(c, sizes)]
    return max(rank(c) for c in covers), needed(scales(sizes))


def edge_cover() -> tuple[int, int]:
    """1-2-2-2-1: the largest rank of four paths that cover all weights, and the rank that is needed."""
    sizes = (1, 2, 2, 2, 1)
    covers = [c for c in combinations(paths(sizes), 4) if np.sum(c, axis=0).all()]
    return max(rank(c) for c in covers), needed(scales(sizes))


def _witness() -> tuple[bool, str]:
    """1-2-2-1 with paths x a₁ b₁ y and x a₂ b₂ y: L = 1 on a₁→b₂ alone has zero sums there and 1 on x a₁ b₂
    y."""
    every = paths((1, 2, 2, 1))  # (b, a) runs with the last index fastest: (a₁,b₁), (a₁,b₂), (a₂,b₁), (a₂,b₂)
    L = [0] * 8
    L[4] = 1  # W1[1,0], from a₁ to b₂
    sums = [sum(r * x for r, x in zip(row, L, strict=True)) for row in every]
    inside = rank([*map(list, zip(*scales((1, 2, 2, 1)), strict=True)), L]) == 4
    return sums == [
        0,
        1,
        0,
        0,
    ] and not inside, f"L = 1 on the weight from a1 to b2, 0 elsewhere: path sums {sums}"


def _by_z3() -> Evidence:
    """z3 finds L with zero sums on the two covering paths and not on a third; all four close the cycle
    a₁b₁a₂b₂."""
    start = time.perf_counter()
    L = sympy.symbols("L0:8", real=True)
    every = paths((1, 2, 2, 1))
    sums = [sum((r * x for r, x in zip(row, L, strict=True)), sympy.S.Zero) for row in every]
    cycle = L[2] - L[3] - L[4] + L[5]
    found = smt.satisfiable(
        [sympy.Eq(sums[0], 0), sympy.Eq(sums[3], 0), sympy.Eq(sums[1], 1), sympy.Ne(cycle, 0)]
    )
    four = smt.satisfiable([*(sympy.Eq(s, 0) for s in sums), sympy.Ne(cycle, 0)])
    what = (
        "1-2-2-1: two covering paths with zero sums leave a third path and the cycle a1 b1 a2 b2 free; all "
        "four paths make the signed sum around that cycle 0"
    )
    if "undecided" in (found.status, four.status):
        return Evidence(
            "z3", f"{what} ({found.why} {four.why})", Verdict.undecided, time.perf_counter() - start
        )
    good = (found.status, four.status) == ("sat", "unsat")
    verdict = Verdict.certified if good else Verdict.refuted
    return Evidence("z3", what, verdict, time.perf_counter() - start)


@claim(
    Claim(
        "B.path-cover",
        "Which paths decide self-consistency",
        f"{PAPER}, Remark 5.6",
        "To test that log-multipliers L of the weights are self-consistent it is enough that ΣL = 0 on a "
        "set of input–output paths that covers every unit.",
        "Let $m$ weights have $L=Ah$ for the scalings of the units. For a set $P$ of input–output paths "
        "(rows: which weights a path uses), $PL=0$ singles out the self-consistent $L$ if and only if "
        "$\\operatorname{rank}P=m-\\operatorname{rank}A$; with every unit on an input–output path and "
        "degree 1 that is $m$ minus the number of hidden units. Covering every unit, or even every weight, "
        "is not enough.",
        ("every unit has degree 1", "for the count: every hidden unit is on an input–output path"),
        Verdict.certified,
    )
)
def path_cover() -> Findings:
    """PA = 0, so range(A) lies in the null space of P; they are equal exactly if their dimensions are."""
    units, edges = unit_cover(), edge_cover()
    outside, witness = _witness()
    first = f"1-2-2-1: two paths cover every unit; their rank is {units[0]}, needed {units[1]}. {witness}"
    second = f"1-2-2-2-1: four paths cover every weight; their rank is {edges[0]}, needed {edges[1]}"
    return Findings(
        printed_false(units[0] < units[1] and outside, first),
        (
            timed(
                "sympy",
                "lemma proved: sums along walks of any length telescope, so that PA = 0 in any network of "
                "degree 1, and range A lies in the null space of P",
                Verdict.certified,
                _telescopes,
            ),
            timed(
                "exact",
                "all sets of paths of 1-2-1, 2-2-1 and 1-2-2-1, and all sets of four paths and the set of "
                "all eight of 1-2-2-2-1: PA = 0, and P suffices (its null space lies in range A) exactly if "
                "rank P = m − rank A; fractions",
                Verdict.certified,
                _criterion,
            ),
            _by_z3(),
        ),
        (
            twin("the rank (cover every unit instead)", units[0] < units[1] and outside, first),
            twin("the rank (cover every weight instead)", edges[0] < edges[1], second),
            twin(
                "degree 1",
                _degree_two_path(),
                "x→u→y with u of degree 2: scaling u by e has L = (1, −2), self-consistent, with the sum −1 "
                "on the path",
            ),
            twin(
                "every hidden unit on a path, for the count",
                _unit_off_the_paths() == (1, 1),
                "x→y beside 1⇄2: m − rank A = 3 − 1 = 2, but m less two hidden units is 1, the rank of the "
                "only path",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (path_cover,)
