"""The command conserved from outside."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import balproof.cli
from balproof.conservation import replay
from balproof.importers import load
from balproof.importers.json_file import to_document
from tests.networks import mlp


@pytest.fixture
def balproof_(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["balproof", "conserved", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            balproof.cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("conserved") / "net.json"
    path.write_text(json.dumps(to_document(mlp([3, 4, 2], activation="Max(x,0)**2"))))
    return path


def test_table_and_count(balproof_, model) -> None:
    code, out, _ = balproof_(model)
    assert code == 0
    assert "fc1[0] … fc1[3]" in out and "Σ_in w² − 2·Σ_out w²" in out
    assert "complete: 4 independent laws, and no more" in " ".join(out.split())
    assert "span 22 of 26 dimensions" in " ".join(out.split())


def test_json_has_the_fields_and_a_certificate_that_is_replayed(balproof_, model, tmp_path) -> None:
    target = tmp_path / "answer.json"
    code, out, _ = balproof_(model, "--json", target)
    assert code == 0 and "complete" in out
    answer: dict[str, Any] = json.loads(target.read_text())
    assert {"laws", "count", "flow", "data", "loss"} <= set(answer)
    assert {"verdict", "k", "lie_dimension", "parameters", "certificate"} <= set(answer["count"])
    assert answer["laws"][0]["formula"] == "Σ fc1.weight[0,:]² + fc1.bias[0]² − 2·Σ fc2.weight[:,0]²"
    assert all({"formula", "kind", "verified_by"} <= set(law) for law in answer["laws"])
    assert replay(load(model), answer["count"]["certificate"]).agrees
    assert balproof_(model, "--json", "-")[1] == target.read_text()


def test_data_and_loss_are_said(balproof_, model, tmp_path) -> None:
    np.savez(tmp_path / "data.npz", x=np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]]))
    _, out, _ = balproof_(model, "--data", tmp_path / "data.npz", "--loss", "cross-entropy")
    said = " ".join(out.split())
    assert "these 2 inputs" in said and "sum 0, as of cross-entropy" in said and "at most" in said


def test_a_degree_needs_no_search_where_the_count_is_complete(balproof_, model, tmp_path) -> None:
    _, out, _ = balproof_(model, "--degree", "4")
    assert "searched  scaling laws; the count shows that there are no others of any degree" in out
    np.savez(tmp_path / "one.npz", x=np.array([[1.0, 2.0, 3.0]]))
    code, out, err = balproof_(model, "--degree", "4", "--data", tmp_path / "one.npz")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "26 parameters have 27,404 monomials up to degree 4, more than 4,000: give degree 3" in err


WRONG = {
    "unknown flow": (("--flow", "river"), "the flow 'river' is not known"),
    "no rate": (("--flow", "decay:fast"), "is no rational number"),
    "negative rate": (("--flow", "momentum:-1"), "is no rational number"),
    "ψ that is not convex": (("--flow", "mirror:w**3"), "not strictly convex at w = -1/3"),
    "code": (("--flow", "mirror:__import__('os')"), ""),
    "ψ without w": (("--flow", "mirror:3"), "has no w in it"),
    "unknown loss": (("--loss", "hinge"), "the loss 'hinge' is not known"),
    "degree": (("--degree", "1"), "laws of degree 1 are not searched: give a degree from 2"),
    "degree of another flow": (("--degree", "3", "--flow", "decay"), "searched for gradient flow"),
    "seed": (("--seed", "-1"), "seed -1 is negative"),
    "data": (("--data", "nowhere.npz"), "nowhere.npz"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(balproof_, model, name: str) -> None:
    options, said = WRONG[name]
    code, out, err = balproof_(model, *options)
    assert code == 2 and out == "" and err.count("\n") == 1 and said in err
    assert "internal fault" not in err


def test_data_that_do_not_fit(balproof_, model, tmp_path) -> None:
    for name, arrays, said in (
        ("shape", {"x": np.ones((2, 4))}, "shape (2, 4)"),
        ("name", {"z": np.ones((2, 3))}, "lack the input 'x'"),
        ("nan", {"x": np.full((1, 3), np.nan)}, "give finite numbers"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        code, _, err = balproof_(model, "--data", tmp_path / f"{name}.npz")
        assert code == 2 and said in err
