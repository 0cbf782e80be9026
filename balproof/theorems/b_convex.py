"""[B] Section 5: the problem over all scalings is strictly convex in the right variables; when it has a
minimum."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import networkx as nx
import numpy as np
import sympy
from scipy.optimize import linprog

from balproof.balance.descent import stochastic
from balproof.balance.direct import direct
from balproof.balance.existence import existence, is_circulation, is_direction
from balproof.balance.problem import BalanceProblem
from balproof.network.equations import Form
from balproof.theorems.b_general_cost import bounded, no_minimum_at_jump
from balproof.theorems.b_lemmas import PAPER, by_z3, near, positive_beyond, printed_false, twin, vanishes
from balproof.theorems.instances import (
    bridge,
    dense,
    enclose_balanced,
    layered,
    random_layered,
    random_recurrent,
    rank,
    recurrent,
)
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict, timed

_A, _P = sympy.symbols("a p", positive=True)
_X, _Y = sympy.symbols("x y", real=True)


# --- strict convexity ---------------------------------------------------------------------------------


def edge_cost(log_scale: sympy.Expr) -> sympy.Expr:
    """The cost of one nonzero weight, a = α|w|^p, as a function of its log-scale L."""
    return _A * sympy.exp(_P * log_scale)


def _midpoint_square() -> bool:
    """(φ(x) + φ(y))/2 − φ((x+y)/2) = (a/2)(e^{px/2} − e^{py/2})², which is 0 only at x = y; and φ″ > 0."""
    middle = (edge_cost(_X) + edge_cost(_Y)) / 2 - edge_cost((_X + _Y) / 2)
    square = _A / 2 * (sympy.exp(_P * _X / 2) - sympy.exp(_P * _Y / 2)) ** 2
    return vanishes(middle - square) and sympy.diff(edge_cost(_X), _X, 2).is_positive is True


def _any_fraction() -> bool:
    """(1−θ)φ(x) + θφ(y) > φ((1−θ)x + θy): by e^u > 1 + u at both ends, taken from the point between."""
    theta = sympy.Symbol("theta", positive=True)
    between = (1 - theta) * _X + theta * _Y
    value = edge_cost(between)
    # φ(x) = φ(z)e^{p(x−z)} > φ(z)(1 + p(x − z)), and the linear parts cancel.
    tangent = (1 - theta) * value * (1 + _P * (_X - between)) + theta * value * (1 + _P * (_Y - between))
    factors = vanishes(edge_cost(_X) - value * sympy.exp(_P * (_X - between)))
    v = sympy.Symbol("v", positive=True)
    above = positive_beyond(sympy.exp(v) - 1 - v, v, 2) and positive_beyond(sympy.exp(-v) - 1 + v, v, 2)
    return vanishes(tangent - value) and factors and above


def _midpoint_queries() -> list[list[sympy.Basic]]:
    """With X = e^{px/2}, Y = e^{py/2}: the middle of two unequal states costs less, alone and in a sum."""
    X, Y, a, b = sympy.symbols("X Y a b", positive=True)
    U, V = sympy.symbols("U V", positive=True)
    one = (a * X**2 + a * Y**2) / 2 - a * X * Y
    return [
        [sympy.Le(one, 0), sympy.Ne(X, Y)],
        [sympy.Le(one + (b * U**2 + b * V**2) / 2 - b * U * V, 0), sympy.Ne(X, Y)],
    ]


def _instances_unique() -> bool:
    """From three starting points Newton's method ends at one enclosed balanced state; a drifting scale leaves
    w* alone."""
    rng = np.random.default_rng(0)
    for network in (random_layered((3, 4, 3, 2), 1), random_recurrent(4, 2)):
        problem = BalanceProblem.build(network, "l2")
        ends = [direct(problem, rng.standard_normal(problem.count)).h for _ in range(3)]
        if not enclose_balanced(problem, ends[0]) or max(np.ptp(ends, axis=0)) > 1e-11:
            return False
    loop = BalanceProblem.build(recurrent([[0, 2], [8, 0]]), "l2")
    ends = [direct(loop, np.array(h)).h for h in ([0.0, 0.0], [3.0, 3.0])]
    same = np.allclose(loop.scaled(ends[0]), 4.0, rtol=1e-12) and np.allclose(
        loop.scaled(ends[1]), 4.0, rtol=1e-12
    )
    return bool(same and not np.allclose(ends[0], ends[1], atol=0.1))


def multipliers(first: Fraction, second: Fraction) -> Fraction:
    """x → u → v → y, |w| = 1: the cost in the multipliers Λ_u, Λ_v themselves."""
    return first + second / first + 1 / second


def _multipliers_not_convex() -> bool:
    """At (1, 4), in the middle of (17/16, 6) and (15/16, 2), it is larger than the mean of the ends."""
    ends = multipliers(Fraction(17, 16), Fraction(6)), multipliers(Fraction(15, 16), Fraction(2))
    return multipliers(Fraction(1), Fraction(4)) > sum(ends) / 2


def _ratios_not_convex() -> bool:
    """Feasible (M₁, M₂) = (2, 1/2) and (1/2, 2) on M₁M₂ = 1: their middle (5/4, 5/4) is not."""
    ends = ((Fraction(2), Fraction(1, 2)), (Fraction(1, 2), Fraction(2)))
    middle = [(x + y) / 2 for x, y in zip(*ends, strict=True)]
    return all(x * y == 1 for x, y in ends) and middle[0] * middle[1] == Fraction(25, 16)


def _one_unit_in_multiplier() -> tuple[bool, bool]:
    """A·λ^p + B·λ^{−p}: convex in λ for p ≥ 1 (second derivative); for p = 1/2, A = B = 1 concave at λ =
    4."""
    s, extra = sympy.symbols("s r", positive=True)
    B = sympy.Symbol("B", positive=True)
    p = 1 + extra
    convex = (
        sympy.diff(_A * s**p + B * s ** (-p), s, 2).is_positive
        or sympy.expand(sympy.simplify(sympy.diff(_A * s**p + B * s ** (-p), s, 2) * s**2)).is_positive
    )
    at_one = sympy.diff(_A * s + B / s, s, 2).is_positive
    half = sympy.diff(sympy.sqrt(s) + 1 / sympy.sqrt(s), s, 2).subs(s, 4)
    return bool(convex and at_one), bool(half < 0)


def _zero_weight_drifts() -> tuple[int, int]:
    """u⇄v with an input to u: the exact rank of A on the nonzero weights, with that weight 1 and with it
    0."""
    ranks = []
    for w in (1.0, 0.0):
        problem = BalanceProblem.build(recurrent([[0, 2], [8, 0]], W_in=[[w], [0]]), "l2")
        blocks = {block.name: block for block in problem.manifold.blocks}
        rows = [blocks[name].row(int(i)) for name, kept in problem.entries for i in kept]
        ranks.append(rank(dense(rows, problem.count)))
    return ranks[0], ranks[1]


@claim(
    Claim(
        "B.strictly-convex",
        "Why there is one balanced state: strict convexity",
        f"{PAPER}, Theorem 5.1, the reason given",
        "Written in the log-multipliers L of the weights, the regularizer Σ|w_e|^p·e^{p·L_e} is strictly "
        "convex on the linear manifold of those L that scalings reach, which the architecture decides.",
        "For any finite number of weights with $a_e=\\alpha_e|w_e|^p>0$, $p>0$: $\\Phi(L)=\\sum_e "
        "a_ee^{pL_e}$ is strictly convex in $L$, hence on the linear space $\\{Ah\\}$, and the weights of a "
        "minimum are unique. The scales $h$ of a minimum are unique exactly up to the null space of $A$ on "
        "the nonzero weights: unique if $A$ is injective there.",
        ("only the nonzero weights count (a zero weight adds a constant)", "p > 0"),
        Verdict.proved,
    )
)
def strictly_convex() -> Findings:
    """Edge by edge: the middle of two states saves (a/2)(e^{px/2} − e^{py/2})², 0 only where they agree."""
    convex_one, concave_half = _one_unit_in_multiplier()
    return Findings(
        Printed(
            Verdict.proved if convex_one else Verdict.undecided,
            "in L, a weight of 0 counting as absent; in the multiplier λ of a single unit it is convex as "
            "well for p ≥ 1, in the multipliers of several units it is not",
        ),
        (
            timed(
                "sympy",
                "each edge, all a, p > 0, x, y: (φ(x)+φ(y))/2 − φ((x+y)/2) = (a/2)(e^{px/2}−e^{py/2})² > 0 "
                "for x ≠ y, and for any fraction θ by e^u > 1+u; summed over edges the middle of two "
                "different L on the linear space lies in it and costs less, so minima agree in L = Ah, and "
                "h up to the null space",
                Verdict.proved,
                lambda: _midpoint_square() and _any_fraction(),
            ),
            by_z3(
                "the same midpoint inequality with X = e^{px/2}, Y = e^{py/2}, for one edge and for an edge "
                "beside any other; with continuity that is strict convexity, and uniqueness needs the "
                "middle alone",
                Verdict.proved,
                _midpoint_queries(),
            ),
            timed(
                "interval",
                "a 3-4-3-2 and a recurrent network, three starts each: one end, enclosed by Krawczyk's "
                "test; 1⇄2 without visible unit: two ends with different h, and weights (4, 4) to 1e-12",
                Verdict.certified,
                _instances_unique,
            ),
        ),
        (
            twin(
                "L, not the multipliers Λ of several units",
                _multipliers_not_convex(),
                "x→u→v→y, |w| = 1: Λ_u + Λ_v/Λ_u + 1/Λ_v at (1, 4) is 21/4, more than the mean of (17/16, "
                "6) and (15/16, 2)",
            ),
            twin(
                "L, not the ratios M_ij = Λ_i/Λ_j",
                _ratios_not_convex(),
                "one unit: (M₁, M₂) = (2, 1/2) and (1/2, 2) are feasible (M₁M₂ = 1), their middle (5/4, "
                "5/4) is not: at no p",
            ),
            twin(
                "p ≥ 1 in the multiplier of one unit",
                concave_half,
                "p = 1/2, A = B = 1: √λ + 1/√λ has a negative second derivative at λ = 4",
            ),
            twin(
                "A injective on the nonzero weights, for one h",
                _zero_weight_drifts() == (2, 1),
                "u⇄v with a weight from the input to u: A has rank 2, one h; with that weight 0 rank 1, and "
                "both scales drift together",
            ),
            twin(
                "p > 0",
                sympy.diff(edge_cost(_X).subs(_P, 0), _X) == 0,
                "p = 0: every term is constant in L",
            ),
        ),
    )


# --- existence ----------------------------------------------------------------------------------------

Arc = tuple[int, int]


def form(arc: Arc) -> Form:
    """The row of A of a weight of degree 1 from a node to a node; node 0 is all that is visible."""
    tail, head = arc
    entries: dict[int, Fraction] = {}
    if head:
        entries[head] = entries.get(head, Fraction(0)) + 1
    if tail:
        entries[tail] = entries.get(tail, Fraction(0)) - 1
    return tuple(sorted((k, c) for k, c in entries.items() if c))


def attained_by_components(arcs: Sequence[Arc]) -> bool:
    """Whether each weak component of the weights is strongly connected."""
    graph = nx.DiGraph(list(arcs))
    return all(nx.is_strongly_connected(graph.subgraph(c)) for c in nx.weakly_connected_components(graph))


def _reach(arcs: Sequence[Arc], start: int) -> set[int]:
    seen, todo = {start}, [start]
    while todo:
        node = todo.pop()
        new = {h for t, h in arcs if t == node} - seen
        seen |= new
        todo += new
    return seen


def _walk(arcs: Sequence[Arc], start: int, end: int) -> list[Arc]:
    graph = nx.DiGraph(list(arcs))
    nodes = nx.shortest_path(graph, start, end)
    return list(zip(nodes[:-1], nodes[1:], strict=True))


def certificate(arcs: Sequence[Arc]) -> tuple[list[Fraction] | None, dict[int, Fraction] | None]:
    """A circulation (a closed walk through each arc, added up) or a direction (all behind an arc without
    return)."""
    z = dict.fromkeys(arcs, Fraction(0))
    for tail, head in arcs:
        behind = _reach(arcs, head)
        if tail not in behind:
            if 0 not in behind:
                return None, dict.fromkeys(behind, Fraction(-1))
            nodes = {n for arc in arcs for n in arc}
            return None, dict.fromkeys(nodes - behind, Fraction(1))
        for arc in [(tail, head), *_walk(arcs, head, tail)]:
            z[arc] += 1
    return list(z.values()), None


def bound_query() -> list[sympy.Basic]:
    """Σ z_e x_e = 0, z > 0 and x ≤ U without x_e ≥ −UΣz/z_e: rest is Σ z·x over the other weights, at most
    U times others, the sum of their z."""
    z, others, U = sympy.symbols("z others U", positive=True)
    x, rest = sympy.symbols("x rest", real=True)
    return [sympy.Eq(z * x + rest, 0), rest <= U * others, sympy.Lt(x * z, -U * (others + z))]


def _exclude_queries() -> list[list[sympy.Basic]]:
    """One weight beside any others: z > 0, Σ z_e x_e = 0, x ≤ 0 leaves x = 0; where one cost falls and no
    other rises, so does F; and the bound."""
    z = sympy.Symbol("z", positive=True)
    x, others = sympy.symbols("x others", real=True)
    now, then, rest_now, rest_then = sympy.symbols("now then rest_now rest_then", real=True)
    return [
        [x < 0, others <= 0, sympy.Eq(z * x + others, 0)],
        [then < now, rest_then <= rest_now, then + rest_then >= now + rest_now],
        bound_query(),
    ]


def _all_small_graphs() -> bool:
    """All 4,095 networks with three units and one visible node, without self-loops: one certificate, the
    right one."""
    arcs = [(i, j) for i in range(4) for j in range(4) if i != j]
    for keep in product((False, True), repeat=len(arcs)):
        chosen = [arc for arc, k in zip(arcs, keep, strict=True) if k]
        if not chosen:
            continue
        rows = [form(arc) for arc in chosen]
        z, h = certificate(chosen)
        found = z is not None and is_circulation(rows, z), h is not None and is_direction(rows, h)
        attained = attained_by_components(chosen)
        if found != (attained, not attained):
            return False
    return True


def _sampled_by_programs() -> bool:
    """60 random networks of five units: a linear program for z > 0 is feasible exactly if the components say
    so."""
    rng = np.random.default_rng(4)
    nodes = range(6)
    for _ in range(60):
        density = rng.uniform(0.2, 0.6)
        arcs = [(i, j) for i in nodes for j in nodes if i != j and rng.random() < density]
        if not arcs:
            continue
        matrix = np.zeros((len(arcs), 6))
        for e, arc in enumerate(arcs):
            for k, c in form(arc):
                matrix[e, k] = float(c)
        found = linprog(np.ones(len(arcs)), A_eq=matrix.T, b_eq=np.zeros(6), bounds=(1, None), method="highs")
        if (found.status == 0) is not attained_by_components(arcs):
            return False
    return True


def _library_answers() -> bool:
    """The package's certificates on networks of degrees 1 and 2, and the minimum they promise, enclosed."""
    for network in (random_layered((2, 3, 3, 1), 0), layered([[[1, 2], [3, -1]], [[2, 1]]], "Max(x,0)**2")):
        problem = BalanceProblem.build(network, "l2")
        answer = existence(problem)
        if not (answer.attained and enclose_balanced(problem, direct(problem).h)):
            return False
    problem = BalanceProblem.build(bridge(), "l2")
    answer = existence(problem)
    return answer.attained is False and answer.falling == ("J[2,1]",)


def bridge_direction() -> tuple[list[Form], dict[int, Fraction]]:
    """1⇄2→3⇄4, numbered 1 to 4: its rows and the direction that scales 3 and 4 down."""
    rows = [form(arc) for arc in ((1, 2), (2, 1), (2, 3), (3, 4), (4, 3))]
    return rows, {3: Fraction(-1), 4: Fraction(-1)}


def bridge_decay(sweeps: int = 400) -> tuple[float, float]:
    """Cyclic balancing of 1⇄2→3⇄4, |w|: t·cost of the bridge, and h₂ − h₃ over log t, after t sweeps."""
    problem = BalanceProblem.build(bridge(), "l1")
    h = stochastic(problem, [k for _ in range(sweeps) for k in range(4)]).h
    scaled = dict(
        zip([f"J[{i // 4},{i % 4}]" for i in problem.entries[0][1]], problem.scaled(h), strict=True)
    )
    half = stochastic(problem, [k for _ in range(sweeps // 2) for k in range(4)]).h
    spread = (h[1] - h[2]) - (half[1] - half[2])
    return float(sweeps * scaled["J[2,1]"]), float(abs(spread) / np.log(2))


def _bridge_fails() -> bool:
    rows, h = bridge_direction()
    every = all({1, -1} <= {c for row in rows for k, c in row if k == unit} for unit in (1, 2, 3, 4))
    return (
        every
        and is_direction(rows, h)
        and not attained_by_components(((1, 2), (2, 1), (2, 3), (3, 4), (4, 3)))
    )


def _cycle_of_degree_two() -> bool:
    """1⇄2 with units of degree 2: rows h₂ − 2h₁ and h₁ − 2h₂, and the direction (1, 1)."""
    rows: list[Form] = [((1, Fraction(-2)), (2, Fraction(1))), ((1, Fraction(1)), (2, Fraction(-2)))]
    return attained_by_components([(1, 2), (2, 1)]) and is_direction(rows, {1: Fraction(1), 2: Fraction(1)})


def _dead_zone() -> bool:
    """g(w) = max(|w| − 1, 0), one incoming weight 1/2, nothing out: h = −1 is a direction, yet λ = 1 attains
    0."""
    rows: list[Form] = [((1, Fraction(1)),)]
    return is_direction(rows, {1: Fraction(-1)}) and max(Fraction(1, 2) - 1, Fraction(0)) == 0


@claim(
    Claim(
        "B.existence",
        "When the minimum over all scalings is attained",
        f"{PAPER}, Theorem 5.1 (assumed there); Stiemke's alternative; Eaves, Hoffman, Rothblum, Schneider "
        f"1985 for one matrix",
        "The minimum of the regularizer over all scalings is attained (taken for granted).",
        "Let $A$ have a row for each nonzero weight with cost, and let each $g_e$ be strictly increasing on "
        "$w>0$, continuous and unbounded. Exactly one holds: some $z>0$ has $A^\\top z=0$, and $F$ attains "
        "its minimum; or some $h$ has $Ah\\le 0$, $Ah\\ne 0$, and $F$ does not. With all degrees 1, the "
        "first holds if and only if the graph of these weights, in which all visible units are one node, is "
        "a disjoint union of strongly connected ones.",
        (
            "g_e strictly increasing, continuous, unbounded",
            "the criterion on the graph: every scaled unit has degree 1",
            (
                "without Coq, that one of z and h exists for every A is Stiemke's theorem, cited; for degree "
                "1 they are constructed here, on all small graphs"
            ),
        ),
        Verdict.certified,
    )
)
def existence_of_minimum() -> Findings:
    """Both certificates contradict: 0 = zᵀ(Ah) < 0. A closed walk through each arc adds up to z; an arc
    without return gives h."""
    false = _bridge_fails()
    (earlier, _), (constant, slope) = bridge_decay(200), bridge_decay(400)
    witness = (
        "1⇄2→3⇄4, no visible unit: each unit has incoming and outgoing weights, but h = −1 on 3 and 4 lowers "
        "the weight 2→3 and no other; "
        f"there t = 200 and 400 cyclic sweeps leave it a cost of {earlier:.3f}/t and {constant:.3f}/t, and "
        f"from the one to the other the scales part by {slope:.2f}·log 2"
    )
    return Findings(
        printed_false(false, f"not where a weight lies on no cycle (visible units merged): {witness}"),
        (
            by_z3(
                "lemmas proved, any number of weights: z and h exclude each other (z > 0, Σz_e(Ah)_e = 0, Ah "
                "≤ 0 force every (Ah)_e = 0); adding h to any state lowers F, so that none is a minimum; "
                "with z, states with all (Ah)_e ≤ U have (Ah)_e ≥ −UΣz/z_e: level sets are bounded in Ah",
                Verdict.certified,
                _exclude_queries(),
            ),
            timed(
                "exact",
                "all 4,095 graphs of weights on three units and a merged visible node: z as a sum of closed "
                "walks, or h behind an arc without return, checked in fractions; z exists exactly where the "
                "components are strongly connected",
                Verdict.certified,
                _all_small_graphs,
            ),
            timed(
                "interval",
                "layered networks of degree 1 and 2: the package's z, and the minimum enclosed by "
                "Krawczyk's test; 1⇄2→3⇄4: its h",
                Verdict.certified,
                _library_answers,
            ),
            timed(
                "sampled",
                "60 random networks of five units: feasibility of z ≥ 1, Aᵀz = 0 by a linear program, "
                "against the components",
                Verdict.sampled,
                _sampled_by_programs,
            ),
        ),
        (
            twin(
                "a circulation z (only IN, OUT > 0 at each unit)",
                false and near(slope, 1.0, 0.02) and near(earlier, constant, 0.02),
                witness,
            ),
            twin(
                "degree 1 (for strongly connected components)",
                _cycle_of_degree_two(),
                "1⇄2, both of degree 2, |w| = 1: strongly connected, yet h = (1, 1) scales both weights by "
                "e^{1−2} = 1/e",
            ),
            twin(
                "visible units merged",
                not attained_by_components([(1, 2), (2, 3)]) and attained_by_components([(0, 1), (1, 0)]),
                "input → unit → output is a path while input and output are two nodes, and a cycle as one; "
                "with both weights 1 the minimum is attained at once, at λ = 1",
            ),
            twin(
                "g continuous",
                no_minimum_at_jump(),
                "g = |w|, and 1 more from |w| = 1 on, IN = OUT = 1: z = (1, 1) exists, yet R(λ) comes as "
                "close to 3 as you like and never reaches it",
            ),
            twin(
                "g unbounded",
                bounded()
                and is_circulation([((1, Fraction(1)),), ((1, Fraction(-1)),)], [Fraction(1), Fraction(1)]),
                "g = w²/(1+w²), IN {1}, OUT {2}: z = (1, 1) exists, yet R > 1 for every λ and R → 1",
            ),
            twin(
                "g strictly increasing (for 'does not attain')",
                _dead_zone(),
                "g = max(|w|−1, 0), one incoming weight 1/2: h = −1 has Ah < 0, yet λ = 1 attains the "
                "minimum 0",
            ),
        ),
    )


CLAIMS: tuple[ClaimFunction, ...] = (strictly_convex, existence_of_minimum)
