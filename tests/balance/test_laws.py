"""Costs from tables against formulas derived by hand, in 600 bits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest

from balproof.balance.laws import Law
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.taylor import UNIT
from tests.balance.certificates.test_faces import HUBER, KINK, LAWS

TENTH = "abs(w) + Max(abs(w) - 1/10, 0)"


def law(text: str) -> Law:
    found = Law.of(Regularizer.parse(text))
    assert found is not None
    return found


@pytest.mark.parametrize("name", LAWS)
def test_values_and_their_bounds(name: str) -> None:
    rng = np.random.default_rng(0)
    top = 6 if name.startswith("exp") else 60
    w = np.exp(np.concatenate([rng.uniform(-60, min(top, 12), 500), rng.uniform(-1, 1, 500)]))
    own = law(name)
    found = own.values(w)
    assert own.certain(w)
    with mpmath.workprec(600):  # beside 1 the least w² takes 174
        sizes = [mpmath.mpf(x) for x in w.tolist()]
        cost, marginal, curvature = ([f(x) for x in sizes] for f in LAWS[name])
        off = [
            float(max(abs(mpmath.mpf(a) / b - 1) for a, b in zip(values.tolist(), true, strict=True)))
            for values, true in zip(found, (marginal, curvature, cost), strict=True)
        ]
    assert off[0] <= own.error < 100 * UNIT
    assert off[1] < 50 * UNIT
    assert off[2] <= own.cost_error < 100 * UNIT


def test_shapes_and_zeros() -> None:
    w = np.array([[0.0, 1.0], [2.0, 0.0]])[:, ::-1]
    m, kappa, cost = law("w**2").values(w)
    np.testing.assert_array_equal([m, kappa, cost], [2 * w**2, 4 * w**2, w**2])


@pytest.mark.parametrize(("text", "end"), [(KINK, 1.0), (TENTH, 0.1)])
def test_next_to_a_kink(text: str, end: float) -> None:
    """The one or the other piece within a double of its end, and for certain the right one beyond."""
    near = np.array(
        [end * (1 - 2.0**-48), np.nextafter(end, 0), end, np.nextafter(end, 1), end * (1 + 2.0**-48)]
    )
    m = law(text).values(near)[0] / near
    assert m[0] == pytest.approx(1, abs=1e-15) and m[-1] == pytest.approx(2, abs=1e-15)
    assert all(min(abs(x - 1), abs(x - 2)) < 1e-14 for x in m.tolist())


def test_beyond_doubles_it_says_so() -> None:
    own = law("exp(abs(w)) - 1")
    w = np.array([1.0, 800.0, 2.0**-1010, 1e308, np.inf])
    m = own.values(w)[0]
    assert np.isfinite(m[0]) and np.isinf(m[1])
    assert own.certain(w[:1]) and not any(own.certain(w[i : i + 1]) for i in range(1, 5))
    # The marginal cost of tiny weights is below doubles: 2·w².
    assert law("log(1+w**2)").values(np.array([1e-160]))[0] == 0.0
    assert not law("log(1+w**2)").certain(np.array([1e-160]))


def test_huge_weights_of_a_flat_cost() -> None:
    m, kappa, cost = law("log(1+w**2)").values(np.array([1e100]))
    assert m[0] == pytest.approx(2) and abs(kappa[0]) < 1e-15 and cost[0] == pytest.approx(200 * np.log(10))


def test_tables_grow_and_stay_right() -> None:
    own = law(HUBER)
    for w in (0.7, 1e-5, 300.0, 0.7):
        assert own.values(np.array([w]))[0][0] == pytest.approx(w * w if w < 1 else w, rel=1e-15)


def test_threads_share_tables() -> None:
    """Each asks for octaves that no other had asked for, while others read."""
    own = Law(law("log(1+w**2)")._costs, law("log(1+w**2)")._marginals)

    def off(seed: int) -> float:
        w = np.exp2(np.random.default_rng(seed).uniform(-200, 200, 200))
        m = own.values(w)[0]
        return float(np.max(np.abs(m * (1 / w + w) / (2 * w) - 1)))

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(off, range(40))) < 1e-14


@pytest.mark.parametrize("text", ["Max(w**2, exp(abs(w)) - 2)", "a*w**2", "log(1+w**2) - 5"])
def test_what_has_no_table(text: str) -> None:
    """Ends that are not known, parameters, and costs that are not positive."""
    found = Law.of(Regularizer.parse(text))
    assert found is None or not found.certain(np.array([1.0]))
