"""The numbers that the records on [B] quote, from other places: mpmath, NumPy, plain loops."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy

from balproof.theorems import b_convex, b_general_cost, b_optimal_scale, b_order, b_paths
from balproof.theorems.b_convergence import _no_limit


def test_the_slow_cost_has_its_maximum_and_minimum_where_it_says():
    def R(t):
        return sum(mpmath.log(1 + mpmath.log(1 + mpmath.exp(3 + s * t))) for s in (1, -1))

    with mpmath.workdps(30):
        at = mpmath.findroot(lambda t: mpmath.diff(R, t), 4.9)
        top, bottom = b_general_cost.slow_numbers()
        assert float(at) == pytest.approx(4.926, abs=5e-4)
        assert float(b_general_cost.BRACKET[0]) < at < float(b_general_cost.BRACKET[1])
        assert float(R(0)) == pytest.approx(2.797, abs=5e-4)
        assert float(R(at)) == pytest.approx(2.317, abs=5e-4)
        assert abs(float(top) - float(R(0))) < 1e-14
        assert float(bottom.lower()) <= float(R(at)) <= float(bottom.upper())
        assert R(0) > R(0.1) and R(0) > R(-0.1)


def test_mixed_powers_end_with_one_cost_twice_the_other():
    grid = np.exp(np.linspace(-1, 1, 2_000_001))
    best = grid[np.argmin(grid**2 + 1 / grid)]
    costs = [float(x) for x in b_general_cost.mixed_optimum()]
    assert costs == pytest.approx([best**2, 1 / best], rel=1e-5)
    assert costs == pytest.approx([0.63, 1.26], abs=5e-3)


def test_equal_costs_at_degree_two_with_another_power():
    # IN w², OUT |w|, c = 2: λ² + λ^{−2} has its minimum at λ = 1 with equal costs although c ≠ 1.
    grid = np.exp(np.linspace(-1, 1, 200_001))
    assert grid[np.argmin(grid**2 + grid**-2)] == pytest.approx(1.0, abs=1e-4)


def test_shrinking_steps_multiply_to_the_limit():
    incoming, outgoing = b_order.shrinking_limit()
    product = math.prod(math.exp(0.1 * 2.0**-t) for t in range(200))
    assert float(incoming) == pytest.approx(product, rel=1e-12)
    assert float(outgoing) == pytest.approx(16 / product, rel=1e-12)
    assert (float(incoming), float(outgoing)) == pytest.approx((1.22, 13.10), abs=5e-3)


def test_overshooting_at_degree_two():
    fails, after = b_order._overshoot_of_degree_two()
    scale = 0.5**1.9
    assert fails
    assert after == pytest.approx(16 * scale + 1 / scale**2, rel=1e-12)
    assert after > 17


def test_the_self_loop_counted_on_both_sides():
    _, right, wrong = b_optimal_scale._loop_counted()
    assert float(right) == 2
    assert float(wrong) == pytest.approx((116 / 101) ** 0.25, rel=1e-14)
    assert float(wrong) == pytest.approx(1.035, abs=5e-4)


def test_first_formula_at_degree_two():
    grid = np.exp(np.linspace(-2, 2, 1_000_001))
    assert float(b_optimal_scale._first_formula_at_degree_two()) == pytest.approx(
        2 - np.min(grid + grid**-2), rel=1e-6
    )
    assert float(b_optimal_scale._first_formula_for_mixed_powers()) == pytest.approx(
        2 - np.min(grid**2 + 1 / grid), rel=1e-6
    )


@pytest.mark.parametrize(
    ("sizes", "cover", "expected"), [((1, 2, 2, 1), 2, (2, 4)), ((1, 2, 2, 2, 1), 4, (4, 6))]
)
def test_ranks_of_covers(sizes, cover, expected):
    # Paths and A by plain loops, ranks in floating point.
    edges = [(k, i, j) for k in range(len(sizes) - 1) for i in range(sizes[k]) for j in range(sizes[k + 1])]
    hidden = [(k, i) for k in range(1, len(sizes) - 1) for i in range(sizes[k])]
    A = np.zeros((len(edges), len(hidden)))
    for e, (k, i, j) in enumerate(edges):
        if (k, i) in hidden:
            A[e, hidden.index((k, i))] -= 1
        if (k + 1, j) in hidden:
            A[e, hidden.index((k + 1, j))] += 1
    rows = []
    for nodes in itertools.product(*map(range, sizes)):
        row = np.zeros(len(edges))
        for k in range(len(sizes) - 1):
            row[edges.index((k, nodes[k], nodes[k + 1]))] = 1
        rows.append(row)
    assert np.allclose(np.array(rows) @ A, 0)
    needed = len(edges) - np.linalg.matrix_rank(A)
    assert needed == b_paths.needed(b_paths.scales(sizes)) == expected[1]
    assert np.linalg.matrix_rank(np.array(rows)) == needed
    found = b_paths.unit_cover() if cover == 2 else b_paths.edge_cover()
    assert found == expected


def bridge_costs(sweeps):
    """Cyclic balancing of 1⇄2→3⇄4 on the costs themselves."""
    w = dict.fromkeys(((1, 2), (2, 1), (2, 3), (3, 4), (4, 3)), 1.0)
    for _ in range(sweeps):
        for k in (1, 2, 3, 4):
            incoming = sum(v for (_, head), v in w.items() if head == k)
            outgoing = sum(v for (tail, _), v in w.items() if tail == k)
            scale = math.sqrt(outgoing / incoming)
            w = {(t, h): v * (scale if h == k else 1 / scale if t == k else 1) for (t, h), v in w.items()}
    return w


@pytest.mark.parametrize("sweeps", [200, 400])
def test_the_bridge_falls_like_one_over_t(sweeps):
    constant, slope = b_convex.bridge_decay(sweeps)
    costs = bridge_costs(sweeps)
    assert constant == pytest.approx(sweeps * costs[2, 3], rel=1e-9)
    assert slope == pytest.approx(1.0, abs=0.02)  # h₂ − h₃ grows like log t
    excess = dict(zip((200, 400), _no_limit()[1], strict=True))[sweeps]
    assert excess == pytest.approx(sweeps * (sum(costs.values()) - 4), rel=1e-8)


def test_multipliers_are_not_convex():
    # The Hessian of x + y/x + 1/y at (1, 4) has a negative eigenvalue.
    x, y = sympy.symbols("x y")
    hessian = sympy.hessian(x + y / x + 1 / y, (x, y)).subs({x: 1, y: 4})
    assert hessian.det() == sympy.Rational(-3, 4)
