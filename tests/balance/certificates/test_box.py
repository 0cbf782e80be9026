"""Boxes around balanced states for coefficients of any signs, against slopes and solutions of 60 digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import mpmath
import numpy as np
import pytest

from balproof.balance import solve as solving
from balproof.balance.blocks import kernels
from balproof.balance.blocks.curvature import Curvature
from balproof.balance.blocks.cyclic import sweeps
from balproof.balance.blocks.pairs import Pair, Side
from balproof.balance.blocks.problem import Balance, BlockProblem
from balproof.balance.certificates import isotone
from balproof.balance.certificates.gap import GapCertificate, NoCertificate
from balproof.balance.certificates.isotone import certify_blocks, polished
from balproof.balance.existence import existence
from balproof.balance.problem import BalanceProblem, Costs
from balproof.balance.solve import solve
from balproof.importers import load
from balproof.network.manifold import infer
from benchmarks.inputs import mlp, transformer
from tests.balance.samples import BRIDGE

Array = np.ndarray
Term = tuple[mpmath.mpf, dict[int, mpmath.mpf]]
"""ω and the exponent of each scale: ω·exp(Σ a_k h_k)."""


def block(
    weights: object,
    rows: tuple[Sequence[int], Sequence[float]],
    columns: tuple[Sequence[int], Sequence[float]] | None = None,
    *,
    groups: int = 1,
    power: float = 2.0,
) -> Pair:
    """A block of weights (groups·rows, columns, kernel): units and coefficients of both sides."""
    values = np.array(weights, float, ndmin=3)
    sides = [Side(np.array(unit), np.array(c, float)) for unit, c in (rows, columns or ([-1], [0]))]
    mode = kernels.mode_of(power, values.dtype)
    return Pair("w", values, groups, power, 0.5, mode, np.zeros(1), *sides)


def problem_of(count: int, *pairs: Pair) -> BlockProblem:
    """These blocks over ``count`` scales, by the names of those of a ring."""
    manifold = infer(load({"J": np.roll(np.eye(count), 1, axis=0)}))
    assert manifold.count == count
    found = BlockProblem.build(manifold, Costs.parse("l2"))
    assert found is not None
    zero = np.zeros(count)
    start = tuple(pair.read(*pair.factors(zero)) for pair in pairs)
    return dataclasses.replace(
        found, pairs=pairs, zeros=(0,) * len(pairs), start=start, active=np.ones(count, bool), dead=()
    )


def random_problem(seed: int, count: int = 7) -> BlockProblem:
    """Signs and exponents at random, units that come several times, groups, a loop; all scales are held."""
    rng = np.random.default_rng(seed)

    def side(units: Array, size: int) -> tuple[list[int], list[float]]:
        own = rng.choice(np.append(units, -1), size)
        c = rng.choice([1, -1, 2, -0.5], size) * (own >= 0)
        return own.tolist(), c.tolist()

    def values(*shape: int) -> Array:
        return np.exp(rng.standard_normal(shape)) * rng.choice([-1, 1], shape)

    pairs = [
        block(values(count, 1, 1), (range(count), [sign] * count), power=power)
        for sign, power in ((1, 2.0), (-1, 1.0))
    ]
    for _ in range(3):
        order, cut = rng.permutation(count), int(rng.integers(2, count - 1))
        g, r, c, k = rng.integers(1, 3), rng.integers(1, 5), rng.integers(1, 5), rng.integers(1, 3)
        sides = side(order[:cut], g * r), side(order[cut:], g * c)
        pairs.append(
            block(values(g * r, c, k), *sides, groups=int(g), power=float(rng.choice([1.0, 2.0, 0.5])))
        )
    if seed % 2:
        own, c = rng.permutation(count)[:5].tolist(), float(rng.choice([1, -1, 2, -0.5]))
        pairs.append(block(values(5, 5, 1), (own, [c] * 5), (own, [-c] * 5)))
        assert pairs[-1].loop
    return problem_of(count, *pairs)


def terms_of(problem: BlockProblem) -> Iterator[Term]:
    """Weight by weight, by the definition."""
    for pair in problem.pairs:
        count, columns, _ = pair.weights.shape
        for i, j in np.ndindex(count, columns):
            across = i // (count // pair.groups) * columns + j
            if pair.loop and i == j:
                continue
            row: dict[int, mpmath.mpf] = {}
            for side, at in ((pair.rows, i), (pair.columns, across)):
                if side.unit[at] >= 0:
                    row[int(side.unit[at])] = mpmath.mpf(pair.power) * mpmath.mpf(float(side.coefficient[at]))
            for w in pair.weights[i, j]:
                yield mpmath.mpf(pair.factor) * mpmath.mpf(abs(float(w))) ** mpmath.mpf(pair.power), row


def value(terms: Sequence[Term], h: Sequence[mpmath.mpf]) -> mpmath.mpf:
    return mpmath.fsum(w * mpmath.exp(mpmath.fsum(a * h[k] for k, a in row.items())) for w, row in terms)


def optimum(terms: Sequence[Term], count: int, fixed: dict[int, float] | None = None) -> list[mpmath.mpf]:
    """By Newton's method, damped, with 60 digits."""
    mpmath.mp.dps = 60
    held = fixed or {}
    free = [k for k in range(count) if k not in held]
    h = [mpmath.mpf(held.get(k, 0.0)) for k in range(count)]
    for _ in range(60):
        gradient, hessian = mpmath.zeros(len(free), 1), mpmath.zeros(len(free), len(free))
        for w, row in terms:
            cost = w * mpmath.exp(mpmath.fsum(a * h[k] for k, a in row.items()))
            for i, k in enumerate(free):
                gradient[i] += row.get(k, 0) * cost
                for j, m in enumerate(free):
                    hessian[i, j] += row.get(k, 0) * row.get(m, 0) * cost
        step = mpmath.lu_solve(hessian, gradient)
        size = max(abs(x) for x in step)
        for i, k in enumerate(free):
            h[k] -= step[i] * min(1, 1 / size if size else 1)
        if size < mpmath.mpf(10) ** -45:
            return h
    raise AssertionError("no optimum")


def as_doubles(h: Sequence[mpmath.mpf]) -> Array:
    return np.array([float(x) for x in h])


@pytest.mark.parametrize("seed", range(12))
def test_faces_are_the_worst_that_weights_can_be(seed: int) -> None:
    """The least slope on an upper face and the greatest on a lower one, each weight at its worst corner."""
    mpmath.mp.dps = 60
    problem, rng = random_problem(seed), np.random.default_rng(seed)
    terms, n = list(terms_of(problem)), problem.manifold.count
    h, t = rng.standard_normal(n), 0.1 * rng.random(n)
    if seed % 3 == 0:  # one that stays where it is
        problem.active[0], t[0] = False, 0.0
    box, gamma = isotone._Box.of(problem, h), isotone._rounding(problem, h)
    for sign in (1, -1):
        found = box.face(t, sign)
        into, out = [mpmath.mpf(0)] * n, [mpmath.mpf(0)] * n
        for w, row in terms:
            for k, a in row.items():
                own = a * (h[k] + sign * mpmath.mpf(t[k]))
                others = [(b, h[j], mpmath.mpf(t[j])) for j, b in row.items() if j != k]
                corners = [mpmath.exp(own + sum(b * (x + s * y) for b, x, y in others)) for s in (1, -1)]
                worst = sign * min(sign * a * w * c for c in corners)
                (into if a > 0 else out)[k] += abs(worst)
        for k in np.flatnonzero(problem.active):
            assert abs(found.incoming[k] - into[k]) <= gamma * into[k]
            assert abs(found.outgoing[k] - out[k]) <= gamma * out[k]


@pytest.mark.parametrize("seed", range(12))
def test_bounds_hold_for_any_signs(seed: int) -> None:
    problem, rng = random_problem(seed), np.random.default_rng(seed)
    terms, n = list(terms_of(problem)), problem.manifold.count
    best = optimum(terms, n)
    least = value(terms, best)
    for size in (0.0, 1e-12, 1e-8, 1e-4):
        h = as_doubles(best) + size * rng.standard_normal(n)
        found = certify_blocks(problem, h)
        assert isinstance(found, GapCertificate), (size, found)
        true = max(abs(x - mpmath.mpf(y)) for x, y in zip(best, h.tolist(), strict=True))
        over = value(terms, [mpmath.mpf(x) for x in h.tolist()]) - least
        assert found.radius is not None
        assert true <= found.radius <= 300 * true + 1e-11
        assert over <= found.absolute
        assert over / least <= found.gap


def test_far_from_balance_a_radius_is_right_or_not_given() -> None:
    given = 0
    for seed in range(12):
        problem, rng = random_problem(seed), np.random.default_rng(seed)
        best = as_doubles(optimum(list(terms_of(problem)), problem.manifold.count))
        for size in (1e-5, 1e-3, 1e-2, 0.1, 0.5, 2.0):
            off = size * rng.standard_normal(len(best))
            found = certify_blocks(problem, best + off)
            if isinstance(found, GapCertificate):
                given += 1
                assert np.abs(off).max() <= (found.radius or 0.0) + 1e-12
            else:
                assert size > 1e-5
    assert 12 < given < 60


def two_scales() -> BlockProblem:
    """F = e^{2(u + v)} + e^{−2u} + e^{−2v}, over 2: balanced at 0, with ∇²F = 2·[[2, 1], [1, 2]]."""
    return problem_of(2, block([[[1.0]]], ([0], [1]), ([1], [1])), block([[[1]], [[1]]], ([0, 1], [-1, -1])))


def test_a_comparison_as_if_signs_were_opposed_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by (ε, −ε) the slopes at h ± t of a box of width ε/3 have the signs that are asked for."""
    problem, off = two_scales(), 1e-4
    h = np.array([off, -off])
    found = certify_blocks(problem, h)
    assert isinstance(found, GapCertificate)
    assert off <= (found.radius or 0.0) <= 1.1 * off
    monkeypatch.setattr(Curvature, "compared", lambda self: self)
    found = certify_blocks(problem, h)  # the faces refuse that direction until it is long enough
    assert isinstance(found, GapCertificate) and (found.radius or 0.0) >= off

    def at_the_corner(self: isotone._Box, t: Array, sign: int) -> Balance:
        return self.problem.balance(h + sign * t)

    monkeypatch.setattr(isotone._Box, "face", at_the_corner)
    found = certify_blocks(problem, h)
    assert isinstance(found, GapCertificate) and (found.radius or 0.0) < 0.4 * off


def layers(*coefficients: tuple[int, int]) -> BlockProblem:
    """A layer of three and one of four, with nothing visible: a block for each pair of coefficients."""
    rng, (a, b) = np.random.default_rng(0), (range(3), range(3, 7))
    values = [np.exp(rng.standard_normal((3, 4, 1))) for _ in coefficients]
    made = [block(w, (a, [x] * 3), (b, [y] * 4)) for w, (x, y) in zip(values, coefficients, strict=True)]
    return problem_of(7, *made)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_nothing_holds_is_certified_up_to_its_drift(sign: int) -> None:
    problem = layers((1, -sign), (-1, sign))
    best = as_doubles(optimum(list(terms_of(problem)), 7, fixed={0: 0.0}))
    drift = np.array([1.0] * 3 + [sign] * 4)
    moved = best + 1e-6 * np.random.default_rng(1).standard_normal(7) + 0.7 * drift
    found = certify_blocks(problem, moved)
    assert isinstance(found, GapCertificate)
    apart = drift * (moved - best)
    held = min(np.abs(apart - apart[k]).max() for k in range(7))
    assert held <= (found.radius or 0.0) <= 100 * held
    assert found == certify_blocks(
        layers((1, -1), (-1, 1)), moved * drift
    )  # turned back, it is the same network


def test_signs_that_do_not_fit_around_a_cycle() -> None:
    """There is one optimum, and no box of this kind around it: it is not claimed."""
    problem = layers((1, -1), (-1, -1), (1, 1), (-1, 1))
    best = as_doubles(optimum(list(terms_of(problem)), 7))
    found = certify_blocks(problem, best)
    assert isinstance(found, NoCertificate)
    assert found.reason.startswith("scales that nothing holds have weights with two of them of one sign")


def test_only_what_can_drift_is_held() -> None:
    """Exponents 2 on one side and 1 on the other hold both layers, though nothing else does."""
    problem = layers((2, -1), (-2, 1), (1, -1), (-1, 1))
    terms = list(terms_of(problem))
    best = as_doubles(optimum(terms, 7))
    found = certify_blocks(problem, best)
    assert isinstance(found, GapCertificate)
    assert (found.radius or 1.0) < 1e-12
    for k in range(7):  # as if scale k were held where it is
        h = as_doubles(optimum(terms, 7, fixed={k: best[k] + 0.01}))
        found = certify_blocks(problem, h)
        assert isinstance(found, NoCertificate) or np.abs(h - best).max() <= (found.radius or 0.0)


@pytest.mark.parametrize("turned", [1, -1])
def test_both_faces_are_looked_at(monkeypatch: pytest.MonkeyPatch, turned: int) -> None:
    problem, inner = two_scales(), isotone._Box.face
    assert isinstance(certify_blocks(problem), GapCertificate)

    def wrong(self: isotone._Box, t: Array, sign: int) -> Balance:
        found = inner(self, t, sign)
        return Balance(found.outgoing, found.incoming) if sign == turned else found

    monkeypatch.setattr(isotone._Box, "face", wrong)
    assert isinstance(certify_blocks(problem), NoCertificate)


def test_slopes_below_the_rounding_have_no_sign() -> None:
    gamma, one = 1e-10, np.ones(1)
    for sign in (1, -1):
        for beyond, certain in ((0.9, False), (1.0, False), (1.1, True)):
            rest = sign * beyond * gamma
            found = Balance(one + rest, one - rest)
            assert isotone._beyond(found, sign, np.array([0]), gamma) is certain
            assert not isotone._beyond(found, -sign, np.array([0]), gamma)


def test_a_side_of_both_signs_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    inner = Pair.read

    def counting(pair: Pair, e: Array, y: Array) -> tuple[Array, Array]:
        nonlocal reads
        reads += 1
        return inner(pair, e, y)

    monkeypatch.setattr(Pair, "read", counting)
    for c, most in (([1.0, 1.0], 1), ([-1.0, -1.0], 1), ([1.0, -2.0], 2)):
        problem = problem_of(3, block(np.ones((2, 1, 1)), ([0, 1], c), ([2], [-1])))
        box = isotone._Box.of(problem, np.zeros(3))
        reads = 0
        box.face(np.ones(3), 1)
        assert reads == most


def test_polish(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a state that sweeps left early to one that is off by the rounding alone; reads are counted."""
    problem = BlockProblem.build(infer(mlp([6] * 41)), Costs.parse("l2"))
    assert problem is not None
    state = sweeps(problem, tolerance=1e-9)
    rough = certify_blocks(problem, state.h)
    seen, inner, sums = 0, Pair.read, problem.sums(state.h)

    def counting(pair: Pair, e: Array, y: Array) -> tuple[Array, Array]:
        nonlocal seen
        seen += pair.size
        return inner(pair, e, y)

    monkeypatch.setattr(Pair, "read", counting)
    h, after, reads = polished(problem, state.h, sums)
    assert seen == reads * problem.size > 0
    gamma = isotone._rounding(problem, h)
    assert problem.imbalance(h) <= gamma < 1e-13 < state.imbalance
    fine = certify_blocks(problem, h, after)
    assert fine == certify_blocks(problem, h)
    assert isinstance(fine, GapCertificate)
    assert isinstance(rough, GapCertificate)
    assert (fine.radius or 1.0) < 1e-11 < (rough.radius or 0.0)
    np.testing.assert_allclose(h, sweeps(problem).h, atol=1e-11)
    far = state.h + 1.0
    assert polished(problem, far, problem.sums(far))[0] is far


def test_transformers_are_solved_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    network = transformer(1, 4, 2, tokens=3, classes=2)
    other = solve(network, method="newton")
    monkeypatch.setattr(solving, "BLOCKS", 10)
    found, plain = solve(network, certify=True), solve(network)
    assert (found.method, found.status, found.existence.method) == (
        "block sweeps",
        "balanced",
        "a box of log-scales",
    )
    assert found.existence.attained is True
    assert found.certificate is not None and found.certificate.kind == "isotone"
    radius = found.certificate.radius or 1.0
    assert radius < 1e-12
    np.testing.assert_allclose(found.h, other.h, atol=1e-11)
    assert (plain.certificate, plain.no_certificate) == (None, "not requested")
    assert existence(BalanceProblem.build(infer(network))).attained is True


def test_without_a_certificate_blocks_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the minimum is not attained no box holds one, and the linear program decides."""
    monkeypatch.setattr(solving, "BLOCKS", 0)
    monkeypatch.setattr(solving, "strongly_connected", lambda problem: None)
    found = solve(BRIDGE, certify=True)
    assert (found.status, found.existence.attained) == ("unattained", False)
    assert found.method != "block sweeps"
