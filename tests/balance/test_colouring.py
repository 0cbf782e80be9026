"""Colours of nodes, none of which a neighbour has."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import shortest_path

from balproof.balance.colouring import breadth_first, coloured


def graph(n: int, share: float, seed: int) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < share, 1)
    return sparse.csr_array((upper | upper.T).astype(float))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_breadth_is_that_of_distances(share: float, seed: int) -> None:
    """From the first node of each part, by SciPy's shortest paths."""
    near = graph(40, share, seed)
    order = breadth_first(near.indptr.astype(np.int64), near.indices.astype(np.int64))
    assert sorted(order.tolist()) == list(range(40))
    distance = shortest_path(near, unweighted=True)
    ahead = np.full(40, np.inf)
    while order.size:
        first = order[0]
        assert first == min(order)  # of those in no part before
        part = np.flatnonzero(np.isfinite(distance[first]))
        own, order = order[: len(part)], order[len(part) :]
        assert set(own.tolist()) == set(part.tolist())
        ahead[own] = distance[first][own]
        assert (np.diff(ahead[own]) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_no_neighbour_has_the_same_colour(seed: int) -> None:
    near = graph(40, 0.1, seed)
    colour = coloured(near)
    i, j = near.nonzero()
    assert len(i) and (colour[i] != colour[j]).all()
    assert colour.max() <= np.diff(near.indptr).max()


def test_even_rings_take_two_colours() -> None:
    ring = sparse.csr_array(np.roll(np.eye(12), 1, axis=0) + np.roll(np.eye(12), -1, axis=0))
    assert coloured(ring).tolist() == [0, 1] * 6
