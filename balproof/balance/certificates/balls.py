"""The balanced state to any number of bits, with a proof in ball arithmetic that it lies where it is said to.

Newton's method refines the state from h = 0 to some x, whose digits are exact numbers from here on. That a
balanced state lies near x, and no other exists, is then shown in one of two ways; every number in them is a
ball that holds the true one, A and the weights are exact, and a comparison of balls is true only if it holds
for all numbers in them. κ_e = φ_e″ ≥ 0, so H = ∇²F = Aᵀ diag(κ) A.

*The box test.* Take d > 0 and the box |u_k| ≤ s·d_k around x, and balls κ_e for all of the box. By the mean
value theorem, on the face u_k = s·d_k,

    ∂_kF  ≥  ∂_kF(x) + s·(H_kk d_k − Σ_{j≠k} |H_kj| d_j)  ≥  ∂_kF(x) + s·L_k,
    L_k = Σ_e |A_ek|·(|A_ek| d_k·(min κ_e + max κ_e) − max κ_e·(|A| d)_e),

and likewise below. Where s·L_k > |∂_kF(x)| for every k, ∂_kF points outward on every face, and the least
value on the box is taken inside. L > 0 also makes every H in the box positive definite. F is convex, so this
is the minimum of F, and there is no other.

*Krawczyk's test*, for few scales, where the signs in H leave no such d. For a matrix Y and radii r, with E
the ball matrix I − Y·H over the box |u_k| ≤ r_k,

    |Y ∇F(x)|_k + Σ_j |E_kj| r_j < r_k   for every k

makes u ↦ u − Y ∇F(x + u) map the box into its inside, so by Brouwer some u has Y ∇F(x + u) = 0; E has norm
below 1 in the norm max |v_k|/r_k, so that Y and every H in the box are regular: ∇F(x + u) = 0, and, F being
convex, x + u is its only minimum. (Krawczyk 1969; Neumaier, Interval Methods for Systems of Equations, 1990.)

The least cost lies in the ball of F over the box, which gives the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy
from flint import arb, arb_mat, ctx, fmpq
from scipy import sparse
from scipy.sparse.linalg import splu

from balproof.balance.certificates.enclosure import drifting
from balproof.balance.certificates.gap import GapCertificate, NoCertificate, float_up
from balproof.balance.problem import BalanceProblem
from balproof.errors import RequestError
from balproof.network.equations import Form
from balproof.symbolic import ball
from balproof.symbolic.convexity import W
from balproof.symbolic.positivity import smooth
from balproof.symbolic.regularizer import Regularizer

LARGEST = 20_000
"""Weights up to which balls are made of all of them: some seconds."""

TOO_MANY = f"more than {LARGEST} weights: too many for ball arithmetic"

FEWEST, MOST = 64, 8192
"""Bits that can be asked for."""

_DENSE = 150
"""Scales up to which systems of equations are solved in balls as well: a second or so."""

_STEPS = 80

_FAR = "the state is too far from balance to be refined"


def require_bits(bits: int) -> None:
    """Raises RequestError for a number of bits out of range."""
    if not FEWEST <= bits <= MOST:
        raise RequestError(f"{bits} bits cannot be certified", f"ask for {FEWEST} to {MOST}")


def certify_balls(problem: BalanceProblem, bits: int = 256) -> GapCertificate | NoCertificate:
    """Refine the state h = 0 of ``problem`` to ``bits`` bits, and prove where the balanced state is.

    ``state`` of the certificate are the refined log-scales in decimals, ``radius`` bounds how far each is
    from that of the only balanced state, and ``distance`` how far that is from h = 0, in any scale. Where a
    part of the network has no visible unit, one scale of it stays what it is. Costs are sums of powers of |w|
    with any real exponents, or anything smooth that balls can enclose.

    Raises RequestError for a number of bits out of range.

    >>> from balproof.importers import load
    >>> found = certify_balls(BalanceProblem.build(load("tests/data/chain.json")), 300)
    >>> found.radius < 1e-85, round(found.distance, 12)
    (True, 1.194506312819)
    >>> str(found.state["fc1[0]"])[:35]  # log(9/2)/3 + log(2)
    '1.194506312818703333874984905587134'
    """
    require_bits(bits)
    if len(problem.weights) > LARGEST:
        return NoCertificate(TOO_MANY)
    with ctx.workprec(bits):
        try:
            return _certify(problem, bits)
        except (ball.NotReal, ball.Unknown):
            return NoCertificate(f"{problem.costs.name} could not be enclosed in balls")


def _certify(problem: BalanceProblem, bits: int) -> GapCertificate | NoCertificate:
    moving = [int(k) for k in np.flatnonzero(problem.active)]
    pinned = drifting(problem.rows, moving)
    system = _System.of(problem, [k for k in moving if k not in pinned])
    if isinstance(system, NoCertificate):
        return system
    x = refine(system, bits)
    if x is None:
        return NoCertificate(_FAR)
    enclosed = enclose(system, x, bits)
    if isinstance(enclosed, NoCertificate):
        return enclosed
    kind, radii = enclosed
    now = sum(system.costs([arb(0)] * system.count), arb(0))
    least = sum(system.costs([_within(v, r) for v, r in zip(x, radii, strict=True)]), arb(0))
    above = (now - least).upper()
    floor = least.lower()
    if above <= 0 or not system.costly:
        gap = absolute = 0.0
    elif not floor > 0:
        return NoCertificate(f"{bits} bits are too few to bound the cost from below")
    else:
        absolute, gap = _up(above), _up((above / floor).upper())
    texts = [_decimal(v, bits) for v in x]
    state = dict.fromkeys(problem.names(moving), "0")
    state.update(zip(problem.names(system.scales), texts, strict=True))
    return GapCertificate(
        kind,
        gap,
        absolute,
        bits,
        radius=max(
            (_up((r + abs(v - arb(t))).upper()) for v, t, r in zip(x, texts, radii, strict=True)), default=0.0
        ),
        distance=max((_up((abs(v) + r).upper()) for v, r in zip(x, radii, strict=True)), default=0.0),
        state=state,
    )


def _decimal(value: arb, bits: int) -> str:
    """Decimals of an exact number; what is cut off of them is added to its radius."""
    with ctx.workprec(2 * bits):
        return "0" if value.is_zero() else value.str(int(bits * 0.30103) + 6, radius=False).removesuffix(".")


def _up(value: arb) -> float:
    """A double that is not smaller than an exact number."""
    mantissa, exponent = value.man_exp()
    return float_up(Fraction(int(mantissa)) * Fraction(2) ** int(exponent))


def _within(middle: arb, radius: arb) -> arb:
    return (middle - radius).union(middle + radius)


# --- the problem in balls ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Law:
    """Cost, φ′ and φ″ of one weight in terms of its logarithm."""

    terms: tuple[tuple[arb, arb], ...] | None
    expressions: tuple[sympy.Expr, sympy.Expr, sympy.Expr]
    bits: int

    @staticmethod
    def of(regularizer: Regularizer, bits: int) -> _Law | None:
        terms = None
        if regularizer.terms is not None:
            terms = tuple(
                (ball.enclose(a, {}, bits), ball.enclose(p, {}, bits)) for a, p in regularizer.terms
            )
        elif not smooth(regularizer.half):
            return None
        g = regularizer
        return _Law(terms, (g.half, g.marginal_expression, g.curvature_expression), bits)

    def value(self, log: arb, order: int) -> arb:
        """The cost (0), or its first or second derivative in the logarithm."""
        if self.terms is None:
            return ball.enclose(self.expressions[order], {W: log.exp()}, self.bits)
        total = arb(0)
        for a, p in self.terms:
            power = a * (p * log).exp()
            total += power if order == 0 else power * p if order == 1 else power * p * p
        return total


Row = tuple[tuple[int, arb], ...]
Matrix = dict[tuple[int, int], arb]


@dataclass(frozen=True, eq=False)
class _System:
    """∇F = 0 over the ``scales`` that neither stay nor drift: rows of A over positions, log|w|, laws."""

    scales: list[int]
    rows: list[Row]
    logs: list[arb]
    laws: list[_Law]

    @staticmethod
    def of(problem: BalanceProblem, scales: list[int]) -> _System | NoCertificate:
        laws: list[_Law] = []
        for regularizer, part in problem.groups:
            law = _Law.of(regularizer, ctx.prec)
            if law is None:
                return NoCertificate(f"{regularizer.name} is not shown to be smooth")
            laws += [law] * (part.stop - part.start)
        position = {k: i for i, k in enumerate(scales)}
        known: dict[Form, Row] = {}
        for form in problem.rows:
            if form not in known:
                known[form] = tuple(
                    (position[k], arb(fmpq(c.numerator, c.denominator))) for k, c in form if k in position
                )
        logs = [arb(float(w)).log() for w in problem.weights]
        return _System(scales, [known[form] for form in problem.rows], logs, laws)

    @property
    def count(self) -> int:
        return len(self.scales)

    @property
    def costly(self) -> bool:
        return bool(self.logs)

    def _values(self, x: Sequence[arb], order: int) -> list[arb]:
        """Of every weight at the state x, whose entries may be balls."""
        return [
            law.value(sum((c * x[k] for k, c in row), log), order)
            for row, log, law in zip(self.rows, self.logs, self.laws, strict=True)
        ]

    def costs(self, x: Sequence[arb]) -> list[arb]:
        return self._values(x, 0)

    def gradient(self, x: Sequence[arb]) -> tuple[list[arb], list[arb]]:
        """∇F, and Σ |A| m as its measure."""
        gradient, total = [arb(0)] * self.count, [arb(0)] * self.count
        for row, m in zip(self.rows, self._values(x, 1), strict=True):
            for k, c in row:
                gradient[k] += c * m
                total[k] += abs(c) * m
        return gradient, total

    def curvatures(self, x: Sequence[arb]) -> list[arb]:
        return self._values(x, 2)

    def hessian(self, curvatures: Sequence[arb]) -> Matrix:
        found: Matrix = {}
        for row, kappa in zip(self.rows, curvatures, strict=True):
            for i, a in row:
                for j, b in row:
                    found[i, j] = found.get((i, j), arb(0)) + a * b * kappa
        return found


def _solved(matrix: Matrix, right: Sequence[arb], measure: Sequence[arb]) -> list[arb] | None:
    """Exact numbers that roughly solve a system whose rows have the sizes ``measure``; None where none do.

    In balls where there are few unknowns. Otherwise in doubles: each of Newton's steps then gains at most
    their 16 digits, and none where weak ties hold strong groups together.
    """
    n = len(right)
    if n <= _DENSE:
        dense = arb_mat([[matrix.get((i, j), arb(0)) for j in range(n)] for i in range(n)])
        try:
            found = dense.solve(arb_mat([[v] for v in right]))
        except ZeroDivisionError:
            return None
        return [found[i, 0].mid() for i in range(n)]
    relative = [v / m for v, m in zip(right, measure, strict=True)]
    shift = max(_exponent(v) for v in relative)
    scaled = np.array([float((v * arb(2) ** -shift).mid()) for v in relative])
    places = list(matrix)
    values = np.array([float((matrix[at] / measure[at[0]]).mid()) for at in places])
    if not np.all(np.isfinite(values)):
        return None
    i, j = np.array(places).T
    try:
        solution = splu(sparse.csc_array((values, (i, j)), (n, n))).solve(scaled)
    except RuntimeError:  # exactly singular
        return None
    return [arb(float(v)) * arb(2) ** shift for v in solution] if np.all(np.isfinite(solution)) else None


def _exponent(value: arb) -> int:
    """e with |value| < 2^e, roughly; of 0 a very small one."""
    mantissa, exponent = value.mid().man_exp()
    return int(exponent) + int(abs(mantissa)).bit_length() if mantissa else -(10**6)


# --- refinement -------------------------------------------------------------------------------------------


def refine(system: _System, bits: int) -> list[arb] | None:
    """Newton's method from 0 until rounding alone is left of ∇F, as exact numbers; None if it fails.

    A step changes no weight by more than a factor e.
    """
    x = [arb(0)] * system.count
    best, size, idle = x, arb(1), 0
    for _ in range(_STEPS):
        gradient, total = system.gradient(x)
        if not all(m > 0 and m.is_finite() for m in total):
            return None
        now = max((abs(g / m).upper() for g, m in zip(gradient, total, strict=True)), default=arb(0))
        idle = 0 if now < size / 2 else idle + 1
        if now <= size:
            best, size = x, now
        if _exponent(now) < 8 - bits or idle > 8:
            break
        hessian = system.hessian(system.curvatures(x))
        step = _solved(hessian, [-g.mid() for g in gradient], total)
        if step is None:
            return None
        longest = max(abs(sum((c * step[k] for k, c in row), arb(0))).upper() for row in system.rows)
        if not longest.is_finite():
            return None
        factor = (1 / longest).mid() if longest > 1 else arb(1)
        x = [(v + factor * d).mid() for v, d in zip(x, step, strict=True)]
    return best if _exponent(size) < -bits // 2 else None


# --- the two proofs ---------------------------------------------------------------------------------------


def enclose(system: _System, x: list[arb], bits: int) -> tuple[str, list[arb]] | NoCertificate:
    """How it was shown, and for every scale an exact bound on |x_k − h*_k|."""
    if not system.count:
        return "ball-box", []
    gradient, total = system.gradient(x)
    hessian = system.hessian(system.curvatures(x))
    found = _box(system, x, gradient, total, hessian, bits)
    if found is not None:
        return "ball-box", found
    if system.count <= _DENSE:
        found = _krawczyk(system, x, gradient, hessian)
        if found is not None:
            return "ball-krawczyk", found
    return NoCertificate(f"{bits} bits are too few to separate the balanced state from others")


def _box(
    system: _System, x: list[arb], gradient: list[arb], total: list[arb], hessian: Matrix, bits: int
) -> list[arb] | None:
    comparison = {(i, j): v.mid() if i == j else -abs(v).mid() for (i, j), v in hessian.items()}
    d = _solved(comparison, total, total)
    if d is None or not all(v > 0 for v in d):
        return None
    s = 2 * max(abs(g / m).upper() for g, m in zip(gradient, total, strict=True)) + arb(2) ** (-bits)
    for _ in range(12):
        s = s.upper()
        rise = _rises(system, x, d, s)
        if all(s * least > abs(g) for least, g in zip(rise, gradient, strict=True)):
            return [(s * v).upper() for v in d]
        s = 2 * s
    return None


def _rises(system: _System, x: list[arb], d: list[arb], s: arb) -> list[arb]:
    """L: how fast ∂_kF rises at least, on all of the box |u_k| ≤ s·d_k around x, toward its faces."""
    box = [_within(v, s * w) for v, w in zip(x, d, strict=True)]
    rise = [arb(0)] * system.count
    for row, kappa in zip(system.rows, system.curvatures(box), strict=True):
        low, high = max(kappa.lower(), arb(0)), kappa.upper()
        reach = sum((abs(c) * d[k] for k, c in row), arb(0))
        for k, c in row:
            rise[k] += abs(c) * (abs(c) * d[k] * (low + high) - high * reach)
    return rise


def _krawczyk(system: _System, x: list[arb], gradient: list[arb], hessian: Matrix) -> list[arb] | None:
    n = system.count
    try:
        inverse = arb_mat([[hessian.get((i, j), arb(0)) for j in range(n)] for i in range(n)]).inv().mid()
    except ZeroDivisionError:
        return None
    first = inverse * arb_mat([[g] for g in gradient])
    moves = [abs(first[k, 0]).upper() for k in range(n)]
    radii = [2 * v + arb(2) ** -ctx.prec for v in moves]
    for _ in range(12):
        radii = [r.upper() for r in radii]
        near = system.hessian(system.curvatures([_within(v, r) for v, r in zip(x, radii, strict=True)]))
        product = inverse * arb_mat([[near.get((i, j), arb(0)) for j in range(n)] for i in range(n)])
        image = [
            moves[k] + sum((abs(arb(int(k == j)) - product[k, j]) * radii[j] for j in range(n)), arb(0))
            for k in range(n)
        ]
        if all(now < r for now, r in zip(image, radii, strict=True)):
            return radii
        radii = [2 * (now.upper() if now.is_finite() else r) for now, r in zip(image, radii, strict=True)]
    return None
