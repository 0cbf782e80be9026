"""The document of a network: its facts against counts by hand and against the network run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from balproof.errors import RequestError
from balproof.importers import load
from balproof.network.evaluate import evaluate
from balproof.report.architecture import blocks
from balproof.report.documents import markdown, page, tex
from tests.networks import mlp

FAMILIES = ("dense", "residual", "conv", "recurrent", "attention")
# By hand: weights, free scales; nonzero weights less scales; laws, of which the sentence says how many.
COUNTS = {
    "dense": (16, 4, 12, "Complete: 4 "),
    "residual": (18, 5, 13, "Complete: 6 "),  # and one of degree 2: the stream is linear
    "conv": (10, 2, 8, "Complete: 2 "),
    "recurrent": (15, 3, 8, "Complete: 3 "),
    "attention": (16, 4, 12, "Complete: 6 "),  # r(r + 1)/2 each for Q, K and for V, O
}


def document(root: Path, name: str) -> str:
    return markdown(blocks(load(root / "derivations" / "networks" / f"{name}.json"), name))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_counts_are_those_by_hand(name: str, root: Path) -> None:
    text = document(root, name)
    weights, scales, products, laws = COUNTS[name]
    assert f"{weights} weights, {scales} free scales." in text
    assert f"{products} independent products" in text
    assert laws in text
    assert len(re.findall(r"\((?:a weight|a path|a cycle|a product)", text)) == products


@pytest.mark.parametrize("name", FAMILIES)
def test_the_function_stays_as_the_document_says(name: str, root: Path) -> None:
    """The slices that the document names are multiplied as it says, and the network is run."""
    net = load(root / "derivations" / "networks" / f"{name}.json")
    rng = np.random.default_rng(3)
    inputs = {n: rng.standard_normal((5, *t.shape[1:])) for n, t in net.tensors.items()
              if t.role in ("input", "state")}  # fmt: skip
    before = evaluate(net, inputs)
    lines = [line for line in document(root, name).splitlines() if r"times $\lambda" in line]
    assert len(lines) == COUNTS[name][1]
    values = {t.name: net.numbers(t.name).copy() for t in net.learned}
    state = np.ones(3)
    for k, line in enumerate(lines):
        factor = float(np.exp(rng.standard_normal()))
        state[k % 3] = factor
        for part in line.split(": ", 1)[1].split(", `"):
            power = -1 if "{-1}" in part else 1
            for tensor, at in re.findall(r"`?([\w.]+)\[([^\]]*)\]", part):
                index = tuple(slice(None) if a == ":" else int(a) for a in at.split(","))
                values[tensor][index] *= factor**power
    if name == "recurrent":  # the state scales with its units
        inputs["h"] = inputs["h"] * state
    after = evaluate(net.with_parameters(values), inputs)
    for y in net.outputs:
        np.testing.assert_allclose(after[y], before[y], rtol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_other_formats_take_it(name: str, root: Path) -> None:
    found = blocks(load(root / "derivations" / "networks" / f"{name}.json"), name)
    assert "<li>" in page(found, name)
    text = tex(found)
    assert text.isascii()
    assert "?" not in text


def test_a_network_without_scales_says_so() -> None:
    text = markdown(blocks(mlp([2, 2, 1], activation="tanh"), "tanh"))
    assert "none of which can be rescaled" in text
    assert "None: nothing is conserved" in text


def test_long_lists_are_cut_and_large_networks_refused() -> None:
    assert "\n- and 22 more" in markdown(blocks(mlp([4, 6, 2]), "wide"))
    with pytest.raises(RequestError, match="too many"):
        blocks(mlp([20, 20, 2]), "large")


def test_powers_of_a_path_are_set_in_latex() -> None:
    """Degree 2: the weights of the first layer stand to the fourth power."""
    text = tex(blocks(mlp([1, 1, 1, 1], activation="Max(x,0)**2", bias=False), "squares"))
    assert text.isascii()
    assert r"fc1.weight[0,\allowbreak{}0]$^{4}$$\cdot$\allowbreak{}fc2" in text
    assert "?" not in text
