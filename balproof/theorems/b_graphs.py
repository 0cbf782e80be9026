"""[B] Sections 3 and 5: which log-scales of weights are those of units, and what a unit must know to
balance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations

import numpy as np
import sympy
from scipy import sparse

from balproof.balance.problem import BalanceProblem
from balproof.balance.steps import columns_of, step
from balproof.network.graph import Network
from balproof.network.manifold import infer
from balproof.theorems.b_lemmas import PAPER, by_z3, near, printed_false, twin, undetermined
from balproof.theorems.b_paths import _degree_two_path, paths
from balproof.theorems.b_schedules import tied_minimum
from balproof.theorems.instances import (
    chain,
    counterexample,
    dense,
    layered,
    random_layered,
    random_recurrent,
    rank,
    skipping,
)
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

Array = np.ndarray
Arc = tuple[int, int]  # tail, head; node 0 is all visible units merged

_E = sympy.Symbol("e", integer=True)
_M = sympy.Symbol("m", integer=True, positive=True)


# --- graphs -------------------------------------------------------------------------------------------


def incidence(arcs: Sequence[Arc], n: int) -> list[list[int]]:
    """A of a network of degree 1: L = h_head − h_tail, with h = 0 at the visible node 0.

    >>> incidence([(0, 1), (1, 0)], 1)
    [[1], [-1]]
    """
    return [[int(k == head) - int(k == tail) for k in range(1, n + 1)] for tail, head in arcs]


def fundamental_cycles(arcs: Sequence[Arc]) -> list[list[int]]:
    """A cycle basis of the undirected graph, as signs over the arcs: one for each arc off a spanning forest.

    >>> fundamental_cycles([(0, 1), (0, 1)])
    [[-1, 1]]
    """
    parent: dict[int, tuple[int, int, int] | None] = {}  # node: (parent, arc, sign of arc towards node)
    tree: set[int] = set()
    for root in sorted({v for arc in arcs for v in arc}):
        if root in parent:
            continue
        parent[root] = None
        queue = [root]
        for here in queue:
            for e, (tail, head) in enumerate(arcs):
                for a, b, sign in ((tail, head, 1), (head, tail, -1)):
                    if a == here and b not in parent:
                        parent[b] = (here, e, sign)
                        tree.add(e)
                        queue.append(b)

    def from_root(node: int) -> list[int]:
        row = [0] * len(arcs)
        while (up := parent[node]) is not None:
            node, e, sign = up
            row[e] += sign
        return row

    found: list[list[int]] = []
    for e, (tail, head) in enumerate(arcs):
        if e not in tree:
            row = [a - b for a, b in zip(from_root(tail), from_root(head), strict=True)]
            row[e] += 1
            found.append(row)
    return found


def directed_cycles(arcs: Sequence[Arc]) -> list[list[int]]:
    """All directed cycles without a repeated node, as 0/1 over the arcs; those through 0 are the input–output
    paths. No arc may be there twice."""
    at = {arc: e for e, arc in enumerate(arcs)}
    nodes = sorted({v for arc in arcs for v in arc})
    found: list[list[int]] = []
    for size in range(1, len(nodes) + 1):
        for chosen in combinations(nodes, size):
            for rest in permutations(chosen[1:]):
                walk = (chosen[0], *rest)
                steps = list(zip(walk, (*walk[1:], walk[0]), strict=True))
                if all(s in at for s in steps):
                    row = [0] * len(arcs)
                    for s in steps:
                        row[at[s]] = 1
                    found.append(row)
    return found


def on_walks(arcs: Sequence[Arc], n: int) -> bool:
    """Whether each of the units 1 … n lies on a walk from an input to an output."""

    def reach(forward: bool) -> set[int]:
        seen, queue = {0}, [0]
        for here in queue:
            for tail, head in arcs:
                a, b = (tail, head) if forward else (head, tail)
                if a == here and b not in seen:
                    seen.add(b)
                    queue.append(b)
        return seen

    return reach(True) & reach(False) == set(range(n + 1))


def graphs(n: int) -> Iterable[list[Arc]]:
    """All digraphs on the visible node and n units without loops at units, at least one arc."""
    arcs = [(i, j) for i in range(n + 1) for j in range(n + 1) if i != j]
    for mask in range(1, 2 ** len(arcs)):
        yield [arc for e, arc in enumerate(arcs) if mask >> e & 1]


def components(arcs: Sequence[Arc], n: int) -> int:
    """Connected components of the undirected graph on the nodes 0 … n."""
    label = list(range(n + 1))
    for tail, head in arcs:
        old, new = label[tail], label[head]
        label = [new if x == old else x for x in label]
    return len(set(label))


def kills(rows: Sequence[Sequence[int]], A: Sequence[Sequence[int]]) -> bool:
    """Whether the signed sums of every L = A h vanish."""
    return not rows or not np.any(np.array(rows) @ np.array(A))


def _cycle_basis_decides() -> bool:
    """All digraphs with 1 or 2 units, and 500 with 3: the cycle basis sums kill A h and nothing else."""
    for arcs, n in _all_graphs():
        A, cycles = incidence(arcs, n), fundamental_cycles(arcs)
        m = len(arcs)
        if not (kills(cycles, A) and rank(cycles) == len(cycles) == m - rank(A)):
            return False
        if m - rank(A) != m - (n + 1 - components(arcs, n)):
            return False
    return True


def _all_graphs() -> list[tuple[list[Arc], int]]:
    three = list(graphs(3))
    chosen = np.random.default_rng(1).choice(len(three), 500, replace=False)
    return [(g, 1) for g in graphs(1)] + [(g, 2) for g in graphs(2)] + [(three[k], 3) for k in chosen]


def _directed_decide() -> bool:
    """The same graphs: directed paths and cycles suffice wherever each unit is on a walk from input to
    output."""
    checked = 0
    for arcs, n in _all_graphs():
        if on_walks(arcs, n):
            A, walks = incidence(arcs, n), directed_cycles(arcs)
            checked += 1
            if not (kills(walks, A) and rank(walks) == len(arcs) - rank(A)):
                return False
    return checked > 100


def _reversing() -> bool:
    """An arc u→v walked backwards may be replaced by a directed walk from v to u: if the closed walk of both
    sums
    to 0, the sum of the walk is −L. And along any walk L = h_head − h_tail telescopes."""
    L, walk = sympy.symbols("L walk", real=True)
    [value] = sympy.solve(sympy.Eq(walk + L, 0), walk)
    start, here, there = sympy.symbols("h0 h1 h2", real=True)
    return value == -L and sympy.expand((here - start) + (there - here) - (there - start)) == 0


def _networks_agree() -> bool:
    """A as inferred from three networks is that of their merged graph, entry by entry up to the order of
    weights."""
    for network in (layered([[[1, 2], [3, 4]], [[1, 1]]]), chain([1, 2, 3]), random_recurrent(3, 6)):
        rows, n = inferred(network)
        arcs = [_arc(row) for row in rows]
        # A weight without a scale runs between visible units, or is a self-loop: a cycle of its own.
        A, cycles = incidence(arcs, n), fundamental_cycles(arcs)
        if A != rows or rank(cycles) != len(arcs) - rank(A) or not kills(cycles, A):
            return False
    return True


def inferred(network: Network) -> tuple[list[list[int]], int]:
    """The rows of A for the nonzero weights, in whole numbers, and the number of scales."""
    manifold = infer(network)
    flat = {t.name: network.numbers(t.name).ravel() for t in network.parameters}
    rows = [form for name, e, form in manifold.rows() if flat[name][e]]
    return [[int(x) for x in row] for row in dense(rows, manifold.count)], manifold.count


def _arc(row: Sequence[int]) -> Arc:
    tail = next((k + 1 for k, x in enumerate(row) if x == -1), 0)
    head = next((k + 1 for k, x in enumerate(row) if x == 1), 0)
    return tail, head


def _consistent_queries() -> list[list[sympy.Basic]]:
    """1-2-2-1: with zero sums along all four paths, L = h_head − h_tail for the h that a spanning tree
    gives."""
    L = sympy.symbols("L0:8", real=True)
    sums = [
        sympy.Eq(sum((r * x for r, x in zip(row, L, strict=True)), sympy.S.Zero), 0)
        for row in paths((1, 2, 2, 1))
    ]
    # Weights: x→a (2), then (b₁,a₁), (b₁,a₂), (b₂,a₁), (b₂,a₂), then b→y (2).
    a1, a2, b1 = L[0], L[1], L[0] + L[2]
    b2 = a1 + L[4]
    claims = [(L[3], b1 - a2), (L[5], b2 - a2), (L[6], -b1), (L[7], -b2)]
    return [[*sums, sympy.Ne(x, value)] for x, value in claims]


def dead_end() -> tuple[int, int, int]:
    """dead_end.json, its two weights into u: the rank that single out A h, and the ranks of the directed
    walks and of
    the cycle basis there."""
    rows, n = inferred(counterexample("dead_end"))
    arcs = [_arc(row) for row in rows]
    into = [arc for arc in arcs if arc != (0, 0)]
    walks = directed_cycles(sorted(set(into)))
    return len(into) - rank(incidence(into, n)), rank(walks), rank(fundamental_cycles(into))


def unmerged() -> tuple[int, int]:
    """x→u→y with x and y two nodes: independent cycles, and constraints needed."""
    return len(fundamental_cycles([(0, 1), (1, 2)])), 2 - rank(incidence([(0, 1), (1, 0)], 1))


def drifting() -> tuple[int, bool]:
    """1⇄2: columns of A less its rank before a scale is dropped, and whether h = (1, 1) changes no weight."""
    A = incidence([(1, 2), (2, 1)], 2)
    return 2 - rank(A), not np.any(np.array(A) @ np.array([1, 1]))


@claim(
    Claim(
        "B.self-consistency",
        "Which log-scales of weights come from scales of units",
        f"{PAPER}, Def 5.2 and Prop 5.4",
        "Log-scales L of the weights are self-consistent exactly if they sum to 0 along every directed path "
        "from input to output and around every directed cycle.",
        "Let all units have degree 1, and merge the visible units into one node. $L=Ah$ for some $h$ if and "
        "only if the signed sum of $L$ vanishes around each cycle of a cycle basis of the undirected graph; "
        "for a connected graph with $m$ weights and $n$ hidden units that is $m-n$ independent equations. "
        "The directed paths from input to output and the directed cycles are enough if every hidden unit "
        "lies on a walk from an input to an output. With a visible unit in each component $h$ is unique.",
        (
            "degree 1",
            "the visible units are merged, inputs, outputs and the constant unit alike",
            "for directed paths and cycles: each hidden unit is on a walk from an input to an output",
            "without Coq, sufficiency in graphs of any size is pen and paper (a spanning tree gives h)",
        ),
        Verdict.certified,
        ("B.scaling-preserves",),
    )
)
def self_consistency() -> Findings:
    """A spanning tree gives h; each further arc closes one cycle; an arc walked backwards is replaced by a
    walk on."""
    needed, directed, basis = dead_end()
    fails = needed == basis > directed
    free, same = drifting()
    witness = (
        "u has weights from two inputs and none to go on (dead_end.json): no path or cycle holds L = (1, 0) "
        f"to 0, but scaling u makes both entries equal; needed {needed}, directed walks give {directed}"
    )
    return Findings(
        printed_false(fails, witness),
        (
            timed(
                "sympy",
                "lemmas proved: sums along walks of any length telescope; an arc walked backwards may be "
                "replaced by a directed walk that closes it",
                Verdict.certified,
                _reversing,
            ),
            timed(
                "exact",
                "all digraphs with a visible node and 1 or 2 units, 500 of those with 3: the cycle basis "
                "kills A h and has rank m − rank A = m − (nodes − components); directed paths and cycles do "
                "where all units are on walks; the A of layered, chain and recurrent networks is that of "
                "their graph",
                Verdict.certified,
                lambda: _cycle_basis_decides() and _directed_decide() and _networks_agree(),
            ),
            by_z3(
                "1-2-2-1: zero sums on the four paths imply L = h_head − h_tail on every weight",
                Verdict.certified,
                _consistent_queries(),
            ),
        ),
        (
            twin("each unit is on a walk from input to output", fails, witness),
            twin(
                "the visible units are merged",
                unmerged() == (0, 1),
                "x→u→y has no cycle, so that L = (1, 0) would pass; merged, the path is one, with sum 1",
            ),
            twin(
                "degree 1",
                _degree_two_path(),
                "x→u→y with u of degree 2: scaling u by e has L = (1, −2), self-consistent, with sum −1",
            ),
            twin(
                "a visible unit in each component (for one h)",
                free == 1 and same,
                "1⇄2: h = (1, 1) changes no weight",
            ),
        ),
    )


# --- locality -----------------------------------------------------------------------------------------


def own(entry: sympy.Expr, L: sympy.Expr, t: sympy.Expr) -> sympy.Expr:
    """The log of a weight after its unit has moved by t, with this entry of A in the unit's column."""
    return L + entry * t


def _only_the_column() -> bool:
    """F(t) = Σ φ_e(L_e + A_e t) has F′(t) = Σ A_e φ_e′(…), any number of weights: terms with A_e = 0 add
    nothing, and
    their weights do not move."""
    phi, slope = undetermined("phi")
    A, L = sympy.IndexedBase("A"), sympy.IndexedBase("L")
    t = sympy.Symbol("t", real=True)
    term = phi(own(A[_E], L[_E], t))
    derivative = sympy.diff(term, t)
    expected = A[_E] * slope(L[_E] + A[_E] * t)
    foreign = derivative.subs(A[_E], 0)
    stays = own(sympy.S.Zero, L[_E], t) == L[_E]
    return sympy.simplify(derivative - expected) == 0 and foreign == 0 and bool(stays)


def single_step(problem: BalanceProblem, k: int) -> float:
    """The step of one unit from h = 0."""
    columns = columns_of(problem, np.array([k]), sparse.csc_array(problem.A))
    return float(step(problem, np.zeros(len(problem.weights)), columns)[0])


def _cases() -> list[tuple[Network, str]]:
    return [
        (random_layered((3, 4, 3, 2), 41), "l2"),
        (random_recurrent(4, 42), "l1"),
        (skipping(), "abs(w) + w**2/10"),
        (layered([[[1, 2], [3, -1]], [[2, 1]]], "Max(x,0)**2"), "l2"),
    ]


def _foreign_weights_do_not_matter() -> bool:
    """Every unit of four networks: its step is the same to the last bit when all weights with A_ek = 0 are
    replaced,
    and another when one of its own is doubled."""
    rng = np.random.default_rng(3)
    for network, power in _cases():
        problem = BalanceProblem.build(network, power)
        for k in range(problem.count):
            mine, foreign = _split(problem, k)
            base = single_step(problem, k)
            others = _with(network, problem, foreign, rng.uniform(0.1, 5.0, len(foreign)))
            doubled = _with(network, problem, mine[:1], np.array([2.0]))
            if single_step(BalanceProblem.build(others, power), k) != base:
                return False
            if single_step(BalanceProblem.build(doubled, power), k) == base:
                return False
    return True


def _split(problem: BalanceProblem, k: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The nonzero weights with A_ek ≠ 0, and the others."""
    column = problem.A.tocsc()[:, [k]].toarray().ravel()
    places = [(name, int(flat)) for name, kept in problem.entries for flat in kept]
    mine = [place for place, a in zip(places, column, strict=True) if a]
    return mine, [place for place, a in zip(places, column, strict=True) if not a]


def _with(
    network: Network, problem: BalanceProblem, places: Sequence[tuple[str, int]], factors: Array
) -> Network:
    values = {name: network.numbers(name).copy() for name, _ in problem.entries}
    for (name, flat), factor in zip(places, factors, strict=True):
        values[name].flat[flat] *= factor
    return network.with_parameters(values)


def _in_and_out_alone() -> bool:
    """A layered network: the column of a unit is its row of one matrix, its bias, and its column of the
    next."""
    network = random_layered((3, 4, 3, 2), 41)
    problem = BalanceProblem.build(network, "l2")
    for k in range(problem.count):
        layer, unit = (0, k) if k < 4 else (1, k - 4)
        inputs, outputs = (3, 3) if layer == 0 else (4, 2)
        width = (4, 3)[layer]
        expected = {(f"W{layer}", unit * inputs + i) for i in range(inputs)} | {(f"b{layer}", unit)}
        expected |= {(f"W{layer + 1}", j * width + unit) for j in range(outputs)}
        if set(_split(problem, k)[0]) != expected:
            return False
    return True


def grouped() -> tuple[sympy.Expr, sympy.Expr]:
    """1-2-1, R = ‖W0‖ + ‖W1‖: dR/ds at λ = 2 of a unit with weights 1 in, 4 out, the other's being 0, 0 and
    0, 3."""
    s, other = sympy.symbols("s other", positive=True)
    slope = sympy.diff(s + sympy.sqrt(16 / s**2 + other**2), s)
    return sympy.simplify(slope.subs({other: 0, s: 2})), sympy.simplify(slope.subs({other: 3, s: 2}))


def tied_steps() -> tuple[float, float]:
    """1-2-1, one scale for both units, Σw²: λ*⁴ with a unit of 1 in and 4 out and another of 1 in and 1 or 3
    out, by
    SciPy."""
    found: list[float] = []
    for out in (1, 3):
        problem = BalanceProblem.build(layered([[[1], [1]], [[4, out]]]), "l2")
        found.append(float(np.exp(4 * tied_minimum(problem, [0, 0])[1][0])))
    return found[0], found[1]


@claim(
    Claim(
        "B.locality",
        "Balancing a unit is local",
        f"{PAPER}, Section 3",
        "To balance, a unit needs only its own incoming and outgoing weights.",
        "Let $R=\\sum_eg_e(w_e)$ be a sum over the weights. The exact step of scale $k$ minimises "
        "$\\sum_{A_{ek}\\ne0}g_e(w_ee^{A_{ek}t})$ plus a constant: it reads and changes only the weights "
        "with $A_{ek}\\ne0$. For a unit with a scale of its own in a network of weighted sums these are its "
        "incoming weights, its bias and its outgoing weights.",
        ("R is a sum over single weights", "the scale is the unit's own"),
        Verdict.proved,
        ("B.optimal-scale-general", "B.scaling-preserves"),
    )
)
def locality() -> Findings:
    """A term that the scale does not move has derivative 0."""
    alone, beside = grouped()
    one, other = tied_steps()
    return Findings(
        Printed(
            Verdict.proved,
            "for R a sum over the weights and a unit with its own scale; the bias is one of IN",
        ),
        (
            timed(
                "sympy",
                "any number of weights, any costs φ_e, any A: d/dt Σφ_e(L_e + A_e t) = ΣA_e φ_e′, in which a "
                "weight with A_e = 0 neither counts nor moves",
                Verdict.proved,
                _only_the_column,
            ),
            timed(
                "exact",
                "layered, recurrent, degree-2 and skip networks: every unit's step is the same to the last "
                "bit when all weights outside its column are replaced, and another when one inside is "
                "doubled; in a layered network the column is IN, bias and OUT",
                Verdict.certified,
                lambda: _foreign_weights_do_not_matter() and _in_and_out_alone(),
            ),
        ),
        (
            twin(
                "R is a sum over single weights",
                alone == 0 and beside.is_positive is True,
                "1-2-1, R = ‖W0‖ + ‖W1‖, a unit with 1 in and 4 out: λ = 2 is stationary beside a unit with "
                f"weights 0, 0, and dR/dλ = {sympy.sstr(beside)} beside one with 0, 3",
            ),
            twin(
                "the scale is the unit's own (one for a layer instead)",
                not near(one, other, 0.1),
                f"1-2-1, one scale for both units, a unit with 1 in and 4 out: λ*⁴ = {one:.4f} or "
                f"{other:.4f}, as the other unit has 1 out or 3",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (self_consistency, locality)
