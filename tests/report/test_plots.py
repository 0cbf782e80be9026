"""Figures: SVG that is well formed and speaks, files that are whole, the same bytes on every run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balproof.errors import RequestError
from balproof.report.plots import (
    check_plot_path,
    convergence_figure,
    imbalance_figure,
    save_layers,
    save_plot,
)

HISTORY = {0: [3.0, 2.0, 1.5], 7: [3.0, 1.6, 1.5]}
NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("figure", "data"),
    [
        (convergence_figure, (HISTORY, 1.5)),
        (convergence_figure, ({}, 0.0)),
        (convergence_figure, ({0: [1.0]}, 1.0)),
        (imbalance_figure, ([0.5, 0.1], [0.0, 1e-16])),
        (imbalance_figure, ([], [])),
    ],
)
def test_inline_figures_have_a_title_a_description_and_ids_of_their_own(
    figure: Callable[..., str], data: tuple[Any, ...]
) -> None:
    svg = figure(*data, name="c")
    root = ET.fromstring(svg)
    assert root.find(f"{NAMESPACE}title") is not None
    assert (root.find(f"{NAMESPACE}desc").text or "").strip()
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(str(i).startswith("c") for i in ids)
    assert "<style" not in svg


def test_a_line_a_seed() -> None:
    root = ET.fromstring(convergence_figure(HISTORY, 1.5))
    texts = {"".join(e.itertext()) for e in root.iter(f"{NAMESPACE}text")}
    assert {"seed 0", "seed 7", "sweeps", "R − R*"} <= texts


def test_one_history_is_that_of_any_method() -> None:
    """Newton's method takes few steps, and none of them is half done."""
    root = ET.fromstring(convergence_figure({0: [5.0, 2.0, 1.6, 1.5001, 1.50001]}, 1.5))
    texts = {"".join(e.itertext()) for e in root.iter(f"{NAMESPACE}text")}
    assert "sweeps or steps" in texts and {"0", "1", "2", "3", "4"} <= texts and "0.5" not in texts


def test_figures_do_not_change_from_run_to_run() -> None:
    assert convergence_figure(HISTORY, 1.5) == convergence_figure(HISTORY, 1.5)


@pytest.mark.parametrize(("name", "start"), [("p.svg", b"<?xml"), ("p.PNG", b"\x89PNG")])
def test_files(tmp_path: Path, name: str, start: bytes) -> None:
    save_plot(tmp_path / name, [3.0, 2.0, 1.5], 1.5, [0.5], [1e-16])
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_other_suffixes_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="end it in .svg or .png"):
        check_plot_path(tmp_path / "p.gif")
    with pytest.raises(RequestError, match="without suffix"):
        save_plot(tmp_path / "p", [1.0], 1.0, [], [])
    assert list(tmp_path.iterdir()) == []


def test_layers_in_their_order_with_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "layers.svg"
    save_layers(path, ["fc1", "fc1", "head"], [0.5, 0.1, 0.3], [0.0, 1e-9, 1e-3], 1e-6)
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    texts = ["".join(e.itertext()) for e in root.iter(f"{NAMESPACE}text")]
    assert [t for t in texts if t in ("fc1", "head")] == ["fc1", "head"]
    assert {"before", "after", "balanced: at most 1e-06"} <= set(texts)
    save_layers(path, [], [], [], 1e-6)  # nothing that moves
    with pytest.raises(RequestError, match="end it in .svg or .png"):
        save_layers(tmp_path / "p.gif", [], [], [], 1e-6)
