"""Laws beyond degree 2: imaginary parts, by the Cauchy–Riemann equations; and none that is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod

import numpy as np
import pytest

from balproof.conservation import conserved, directions, higher, quadratic
from balproof.conservation.fields import Layout
from balproof.conservation.sampling import Data
from balproof.conservation.symmetry import Proof
from balproof.errors import RequestError
from balproof.network.graph import Network
from tests.conservation.nets import complex_product
from tests.conservation.training import integrate
from tests.networks import mlp
from tests.sweeps import spread

# A letter for each complex weight, degree, laws of lower degree, verdict, and how Im of the product reads.
IMAGINARY = [
    ("www", 3, 0, "complete", "3·w.re[0]²·w.im[0] − w.im[0]³"),
    ("www", 4, 0, "complete", "3·w.re[0]²·w.im[0] − w.im[0]³"),
    ("wwww", 4, 0, "complete", "w.re[0]³·w.im[0] − w.re[0]·w.im[0]³"),
    ("wwwww", 5, 0, "complete", "5·w.re[0]⁴·w.im[0] − 10·w.re[0]²·w.im[0]³ + w.im[0]⁵"),
    ("wwv", 3, 1, "at-most", ""),
    ("uvw", 3, 2, "at-most", ""),
]


def weights(network: Network, theta: Sequence[float]) -> Mapping[str, np.ndarray]:
    return {t.name: np.array([v]) for t, v in zip(network.learned, theta, strict=True)}


@pytest.mark.parametrize(("names", "degree", "lower", "verdict", "formula"), spread(IMAGINARY, 2))
def test_the_imaginary_part_is_kept(names: str, degree: int, lower: int, verdict: str, formula: str) -> None:
    network = complex_product(names)
    found = conserved(network, degree=degree)
    assert (found.count.verdict, found.count.k) == (verdict, lower + 1)
    assert found.laws[-1].kind == f"degree {len(names)}" and found.candidates == ()
    assert not formula or found.laws[-1].formula == formula
    letters = list(dict.fromkeys(names))
    rng = np.random.default_rng(0)
    ratios = []
    for theta in rng.standard_normal((5, 2 * len(letters))):
        z = dict(zip(letters, theta[::2] + 1j * theta[1::2], strict=True))
        ratios.append(found.at(weights(network, theta))[-1] / prod(z[n] for n in names).imag)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)


def test_it_is_kept_along_a_flow() -> None:
    network = complex_product("uvw")
    found = conserved(network, degree=3)

    def speed(_: float, s: np.ndarray) -> np.ndarray:
        """−∇ of half the squared error of Re(u·v·w) to 2, by the derivative of the product."""
        z = s[::2] + 1j * s[1::2]
        others = np.array([z[1] * z[2], z[0] * z[2], z[0] * z[1]]) * (prod(z).real - 2)
        return -np.stack([others.real, -others.imag], axis=1).ravel()

    states = integrate(speed, np.array([0.7, 0.4, -0.6, 0.9, 1.1, -0.3]), 1.0)
    values = np.array([found.at(weights(network, s)) for s in states])
    np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), atol=1e-9)
    assert np.ptp(np.prod(states[:, :3], axis=1)) > 0.1  # another cubic drifts


def test_below_its_degree_a_law_is_not_found() -> None:
    for names, degree in (("www", 2), ("wwww", 3)):
        found = conserved(complex_product(names), degree=degree)
        assert (found.count.verdict, found.count.k, found.laws) == ("at-most", 0, ())


def test_a_gate_after_the_real_part_changes_nothing() -> None:
    found = conserved(complex_product("www", "relu"), degree=3, flow="natural")
    assert (found.count.verdict, [law.kind for law in found.laws]) == ("complete", ["degree 3"])


def _pool(network: Network, degree: int) -> list[directions.Forms]:
    size = Layout(network).size
    return quadratic.candidates(Data(network, 0), [higher.Monomials(size, degree)], False)


def test_functions_of_known_laws_are_candidates_and_are_filtered() -> None:
    """Of two quadratic laws p and q, degree 4 has p, q, p², pq and q², and no more."""
    network = mlp([2, 2, 1], bias=False)
    pool = _pool(network, 4)
    known = conserved(network).forms
    assert len(known) == 2 and len(pool) == 5
    assert directions.independent([*known, *pool], 6) == [0, 1]
    rng = np.random.default_rng(1)
    points = rng.standard_normal((9, 6))
    p, q = (np.array([directions.potential(f, v) for v in points]) for f in known)
    for form in pool:
        found = np.array([directions.potential(form, v) for v in points])
        fit = np.stack([p, q, p * p, p * q, q * q], axis=1)
        rest = found - fit @ np.linalg.lstsq(fit, found, rcond=None)[0]
        assert np.max(np.abs(rest)) < 1e-9 * np.max(np.abs(found))
    assert len(_pool(complex_product("uvw"), 4)) == 5 + 1


def test_the_proof_refuses_a_wrong_sign() -> None:
    network = complex_product("www")

    def gradient(sign: int) -> dict:
        """∇(3u²v + sign·v³)."""
        u, v = ("w.re", 0), ("w.im", 0)
        return {
            "w.re": {0: {(u, v): Fraction(6)}},
            "w.im": {0: {(u, u): Fraction(3), (v, v): Fraction(3 * sign)}},
        }

    assert Proof(Data(network, 0), [gradient(-1), gradient(1)], False).holds() == [True, False]


def test_nothing_is_searched_where_the_count_leaves_nothing(monkeypatch) -> None:
    monkeypatch.setattr(higher, "Monomials", None)
    for network, said in (
        (mlp([2, 2, 1]), "scaling laws; the count shows that there are no others of any degree"),
        (
            mlp([2, 2, 1], activation="tanh"),
            "scaling laws; the count shows that there are no laws of any degree",
        ),
    ):
        assert conserved(network, degree=3).searched == said
    with pytest.raises(TypeError):
        conserved(complex_product("www"), degree=3)


@pytest.mark.parametrize(
    ("degree", "flow", "network", "said"),
    [
        (1, "euclidean", mlp([2, 2, 1]), "laws of degree 1 are not searched"),
        (9, "euclidean", mlp([2, 2, 1]), "give a degree from 2, where laws begin, to 8"),
        (3, "momentum:1", mlp([2, 2, 1]), "searched for gradient flow, not for momentum:1: give degree 2"),
        (3, "euclidean", mlp([20, 30, 30, 200]), "7,760 parameters have .* up to degree 3, more than 4,000"),
    ],
)
def test_what_is_not_searched_is_said(degree: int, flow: str, network: Network, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        conserved(network, degree=degree, flow=flow)
