"""Every counterexample file opens, is inspected, and is the network that a record names."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from balproof.cli import app
from balproof.importers import load
from balproof.network.manifold import infer
from balproof.theorems import b_training

FILES = sorted((Path(b_training.__file__).parent / "counterexamples").glob("*.json"))


def test_there_are_some():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_counterexample_opens(path):
    found = CliRunner().invoke(app, ["inspect", str(path)], standalone_mode=False)
    assert found.return_value == 0
    assert "free scales" in found.output
    turns_only = path.stem == "tied_autoencoder"  # its symmetry is a rotation
    assert (infer(load(path)).free_scales > 0) is not turns_only


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_counterexample_is_named_by_a_record(path):
    texts = [p.read_text() for p in Path(b_training.__file__).parent.glob("*.py")]
    assert any(f"{path.stem}.json" in text for text in texts)
    assert any(f'("{path.stem}")' in text for text in texts)
