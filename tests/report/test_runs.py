"""The runs behind the figures: against differences, hand calculation and the laws that they show."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from balproof.report.pictures import bowl_picture, imbalance_picture, seeds_picture, training_picture
from balproof.report.runs import gradients, many_seeds, train, two_units


def test_gradients_against_differences() -> None:
    rng = np.random.default_rng(3)
    w, v = rng.standard_normal((5, 3)), rng.standard_normal((2, 5))
    x, y = rng.standard_normal((3, 7)), rng.standard_normal((2, 7))
    _, gw, gv = gradients(w, v, x, y)
    for which, (value, gradient) in enumerate(((w, gw), (v, gv))):
        for at in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[at] = 1e-6
            up, down = ([w, v], [w, v])
            up[which], down[which] = value + step, value - step
            slope = (gradients(*up, x, y)[0] - gradients(*down, x, y)[0]) / 2e-6
            assert slope == pytest.approx(gradient[at], abs=1e-7)


def test_the_loss_is_the_halved_mean_square() -> None:
    """By hand: outputs 6 and 0, targets 4 and 1: (4 + 1)/2/2."""
    loss, *_ = gradients(
        np.array([[2.0]]), np.array([[3.0]]), np.array([[1.0, -1.0]]), np.array([[4.0, 1.0]])
    )
    assert loss == pytest.approx(1.25)


def test_all_ways_end_at_the_minimum_by_hand() -> None:
    """Along a chain all |w| end equal, and their product is kept: 4, 1/4, 1/2 become the cube root of 1/2."""
    found = two_units()
    middle = 0.5 ** (1 / 3)
    assert found.least == pytest.approx(3 * middle**2)
    by_hand = (np.log(middle / 4), np.log(0.5 / middle))
    assert found.minimum == pytest.approx(by_hand)
    for way in found.ways.values():
        assert way[0].tolist() == [0.0, 0.0]
        assert way[-1] == pytest.approx(np.array(by_hand), abs=1e-5)
    assert found.ways["u first"][1][1] == 0.0  # one unit at a time: one coordinate moves
    assert found.ways["v first"][1][0] == 0.0
    at = np.unravel_index(np.argmin(found.values), found.values.shape)
    x, y = found.grid
    assert (x[at[1]], y[at[0]]) == pytest.approx(by_hand, abs=0.06)


def test_seeds_end_in_one_certified_state() -> None:
    found = many_seeds((3, 4, 3, 2), seeds=3)
    assert found.gap is not None
    assert found.gap < 1e-12
    assert found.spread < 1e-10
    for history in found.histories.values():
        assert history[-1] == pytest.approx(found.optimum, rel=1e-13)
        assert history[0] > found.optimum * 1.01
    assert max(found.after) < 1e-12 < min(found.before)


def test_training_follows_the_laws() -> None:
    """ΣD² is kept by the flow, falls as e^(−4μt) with L2, and larger steps are further from both."""
    found = train(duration=10.0)
    law = np.exp(-4 * found.mu * found.times["flow, L2"][-1])
    assert found.deficits["flow"][-1] == pytest.approx(1.0, abs=2e-3)
    assert found.deficits["flow, L2"][-1] == pytest.approx(law, rel=5e-3)
    assert abs(found.deficits["SGD"][-1] - 1) > abs(found.deficits["flow"][-1] - 1)
    assert found.deficits["SGD, L2"][-1] == pytest.approx(law, rel=0.05)
    assert all(after < before / 2 for before, after in found.loss.values())
    assert found.times["flow"][-1] == pytest.approx(10.0, rel=0.02)


def test_pictures_name_their_seeds_and_speak() -> None:
    seeds = many_seeds((2, 3, 2), seeds=2)
    made = (seeds_picture(seeds), bowl_picture(two_units(steps=6)), imbalance_picture(seeds))
    for picture in (*made, training_picture(train(duration=1.0))):
        assert "seed" in picture.caption or "No chance" in picture.caption
        root = ET.fromstring(picture.svg)
        assert root.get("role") == "img"
        assert len("".join(root.find("{http://www.w3.org/2000/svg}desc").itertext())) > 60
    assert "seeds 0 to 1" in made[0].caption
