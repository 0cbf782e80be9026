"""Pictures of networks: nothing overlaps, colours are the groups, the same bytes on every run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from balproof.errors import RequestError
from balproof.importers import load
from balproof.network.graph import Network
from balproof.network.groups import scale_groups
from balproof.report import graph, layout
from balproof.report.boxes import boxes, dead_columns, members, pinned
from balproof.report.graph import draw, save_graph
from balproof.report.layout import layered
from tests.convnets import resnet
from tests.network.test_groups import gate
from tests.networks import mlp

NAMESPACE = "{http://www.w3.org/2000/svg}"
RED = "#c21f1f"


def hostile() -> Network:
    """Names that a picture may trip over."""
    names = ["$x^2$ & <b>", "名前\x00\n", "n" * 900, "é\u202e"]
    return load(
        {
            "inputs": {names[0]: [3]},
            "parameters": {names[2]: np.ones((3, 3)).tolist()},
            "operations": [
                {"kind": "linear", "inputs": [names[0], names[2]], "output": names[1], "name": "a$b"},
                {"kind": "unknown", "op_type": "$\\frac{", "inputs": [names[1]], "output": names[3]},
            ],
            "outputs": [names[3]],
        }
    )


def moves() -> Network:
    """Reshapes and transposes in a row, and one that two operations read."""
    entries = [
        ("linear", "a", ["x", "W"], {}),
        ("reshape", "b", ["a"], {"shape": [2, 3]}),
        ("transpose", "c", ["b"], {"perm": [0, 2, 1]}),
        ("identity", "d", ["c"], {}),
        ("reshape", "e", ["d"], {"shape": [6]}),
        ("add", "f", ["e", "a"], {}),
        ("identity", "g", ["d"], {}),
    ]
    operations = [{"kind": k, "output": y, "inputs": x, **more} for k, y, x, more in entries]
    parameters = {"W": np.ones((6, 2)).tolist()}
    return load(
        {"inputs": {"x": [2]}, "parameters": parameters, "operations": operations, "outputs": ["f", "g"]}
    )


def picture(network: Network) -> Any:
    return draw(network, scale_groups(network))


def outlines(figure: Any) -> list[FancyBboxPatch]:
    """The boxes, in the order of `boxes`."""
    return [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]


# --- the layout -----------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    n = draw(st.integers(1, 12))
    sizes = [(draw(st.integers(5, 200)) * 1.0, draw(st.integers(5, 90)) * 1.0) for _ in range(n)]
    pairs = [(u, v) for v in range(n) for u in range(v)]
    return sizes, draw(st.lists(st.sampled_from(pairs), max_size=25)) if pairs else []


def overlapping(sizes: Any, centres: Any) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i in range(len(sizes))
        for j in range(i)
        if abs(centres[i][0] - centres[j][0]) < (sizes[i][0] + sizes[j][0]) / 2 - 1e-6
        and abs(centres[i][1] - centres[j][1]) < (sizes[i][1] + sizes[j][1]) / 2 - 1e-6
    ]


def crossed(sizes: Any, edges: Any, found: layout.Layout) -> list[tuple[int, int]]:
    """Boxes through which the straight pieces of a strange edge go."""
    return [
        (e, i)
        for e, way in enumerate(found.ways)
        for (x0, y0), (x1, y1) in zip(way, way[1:])
        for i, (x, y) in enumerate(found.centres)
        if i not in edges[e] and x0 == x1
        if abs(x0 - x) < sizes[i][0] / 2
        and y0 < y + sizes[i][1] / 2 - 1e-6
        and y1 > y - sizes[i][1] / 2 + 1e-6
    ]


@given(graphs())
def test_boxes_stand_apart_and_edges_go_down_between_them(drawn: Any) -> None:
    sizes, edges = drawn
    found = layered(sizes, edges)
    assert overlapping(sizes, found.centres) == []
    assert crossed(sizes, edges, found) == []
    for (u, v), way in zip(edges, found.ways, strict=True):
        assert way[0] == pytest.approx((found.centres[u][0], found.centres[u][1] + sizes[u][1] / 2))
        assert way[-1][1] == pytest.approx(found.centres[v][1] - sizes[v][1] / 2)
        assert abs(way[-1][0] - found.centres[v][0]) <= sizes[v][0] / 2
        assert all(y0 <= y1 + 1e-9 for (_, y0), (_, y1) in zip(way, way[1:]))
    for (x, y), (width, height) in zip(found.centres, sizes, strict=True):
        assert width / 2 - 1e-6 <= x <= found.width - width / 2 + 1e-6
        assert height / 2 - 1e-6 <= y <= found.height - height / 2 + 1e-6


def test_boxes_that_are_not_kept_apart_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, edges = [(10.0, 10.0)] * 4, [(0, 1), (0, 2), (0, 3)]
    assert overlapping(sizes, layered(sizes, edges).centres) == []
    monkeypatch.setattr(layout, "_APART", -30.0)
    assert overlapping(sizes, layered(sizes, edges).centres) != []


def test_branches_that_cross_are_put_in_order() -> None:
    # 0 and 1 lead to 3 and 2: in this order the two edges would cross.
    found = layered([(10.0, 10.0)] * 4, [(0, 3), (1, 2)])
    x = [c[0] for c in found.centres]
    assert (x[0] < x[1]) == (x[3] < x[2])


def test_what_follows_one_another_stands_in_line_and_the_skip_beside_it() -> None:
    sizes = [(30.0, 10.0), (80.0, 10.0), (50.0, 10.0), (30.0, 10.0)]
    found = layered(sizes, [(0, 1), (1, 2), (2, 3), (0, 3)])
    x = [c[0] for c in found.centres]
    assert max(x) - min(x) < 0.01
    lane = found.ways[3][2:6]
    assert max(p[0] for p in lane) - min(p[0] for p in lane) < 0.01
    assert abs(lane[0][0] - x[0]) > 40


def test_too_many_long_edges_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = [(i, i + 1) for i in range(20)] + [(i, 20) for i in range(18)]
    assert layered([(5.0, 5.0)] * 21, edges).height > 0
    monkeypatch.setattr(layout, "MAX_LANES", 50)
    with pytest.raises(RequestError, match="too many long connections"):
        layered([(5.0, 5.0)] * 21, edges)


# --- texts ----------------------------------------------------------------------------------------------


def text_faults(figure: Any) -> list[str]:
    """Texts that lie over one another or leave the picture, by the extents of the renderer."""
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    found = [(t.get_text(), t.get_window_extent(renderer)) for t in figure.axes[0].texts]
    faults = [s for s, b in found if b.x0 < 0 or b.y0 < 0 or b.x1 > width or b.y1 > height]
    found.sort(key=lambda item: item[1].y0)
    for i, (s, a) in enumerate(found):
        for t, b in found[i + 1 :]:
            if b.y0 > a.y1:
                break
            # Lines of one box stand as close as lines do: their boxes, with room for accents, may touch.
            if min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) - max(a.y0, b.y0) > 1.5:
                faults.append(f"{s} / {t}")
    return faults


NETWORKS = {
    "mlp": lambda: mlp([8, 16, 12, 4]),
    "tanh": lambda: mlp([8, 16, 4], activation="tanh"),
    "gate": gate,
    "moves": moves,
    "hostile": hostile,
    "recurrent": lambda: load(np.array([[0.0, 2.0], [0.5, 0.0]])),
    "resnet": lambda: resnet(2, (3, 4, 6, 3), 32, 3),
}


SHOWN = [pytest.param(name, marks=[pytest.mark.slow] if name == "resnet" else []) for name in NETWORKS]


@pytest.mark.parametrize("name", SHOWN)
def test_texts_never_overlap(name: str) -> None:
    assert text_faults(picture(NETWORKS[name]())) == []


def test_texts_that_overlap_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_LEAD", 0.6)
    assert text_faults(picture(mlp([8, 16, 4]))) != []


@pytest.mark.parametrize("name", SHOWN)
def test_texts_lie_in_their_boxes(name: str) -> None:
    network = NETWORKS[name]()
    figure = picture(network)
    renderer = figure.canvas.get_renderer()
    texts = iter(figure.axes[0].texts)
    for box, outline in zip(boxes(network, scale_groups(network))[0], outlines(figure), strict=True):
        frame = outline.get_window_extent(renderer)
        for _ in box.lines:
            extent = next(texts).get_window_extent(renderer)
            assert frame.x0 < extent.x0
            assert extent.x1 < frame.x1
            assert frame.y0 - 1 < extent.y0
            assert extent.y1 < frame.y1 + 1


def test_the_texts_of_an_svg_are_texts(digits: Path, tmp_path: Path) -> None:
    save_graph(tmp_path / "g.svg", load(digits))
    texts = {"".join(e.itertext()) for e in ET.parse(tmp_path / "g.svg").iter(f"{NAMESPACE}text")}
    assert {
        "input x  64",
        "fc1",
        "linear → 48",
        "fc1.weight  48×64",
        "fc1.bias  48",
        "group 1: 48 free",
    } <= texts
    assert {"output logits", "80 free scales", "1  fc1[0…47]", "2  fc2[0…31]", "logits is an output"} <= texts


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_same_network_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    written = []
    for name in ("a", "b"):
        save_graph(tmp_path / f"{name}.{kind}", gate())
        written.append((tmp_path / f"{name}.{kind}").read_bytes())
    assert written[0] == written[1]
    assert b"Date" not in written[0]
    assert b"date>" not in written[0]


def test_hostile_names_are_plain_text(tmp_path: Path) -> None:
    save_graph(tmp_path / "g.svg", hostile())
    texts = ["".join(e.itertext()) for e in ET.parse(tmp_path / "g.svg").iter(f"{NAMESPACE}text")]
    assert "input $x^2$ & <b>  3" in texts
    assert any(t.startswith("nnnnn") and "…" in t and len(t) < 60 for t in texts)
    assert all("\x00" not in t and "名" not in t for t in texts)


# --- what is shown --------------------------------------------------------------------------------------


def test_one_colour_for_the_same_free_scales(digits: Path) -> None:
    found = [to_hex(p.get_edgecolor()) for p in outlines(picture(load(digits)))]
    x, *hidden, last, bias, y = found
    assert x == last == bias == y  # pinned
    assert len(set(hidden[:3])) == len(set(hidden[3:])) == 1
    assert len({x, hidden[0], hidden[3]}) == 3
    assert RED not in found


def test_a_mixture_has_the_colours_of_its_parts() -> None:
    network = gate()
    found = scale_groups(network)
    parts = {name: graph._colours(found, name) for name in ("e1", "f1", "c", "h", "g", "m")}
    assert parts["c"] == parts["e1"] + parts["f1"]
    assert parts["m"] == parts["h"] + parts["g"]
    assert len({c for colours in parts.values() for c in colours}) == 4


def test_who_pins_is_outlined_in_red_and_named() -> None:
    network = mlp([8, 16, 12, 4], activation="tanh")
    shown, _ = boxes(network, scale_groups(network))
    red = [
        b for b, p in zip(shown, outlines(picture(network)), strict=True) if to_hex(p.get_edgecolor()) == RED
    ]
    assert [b.lines[0].text for b in red] == ["a1", "a2"]
    assert red[0].lines[-1].text == "pins: tanh is not homogeneous"
    assert ("tanh is not homogeneous (operation a1)", True) in pinned(scale_groups(network))
    assert ("x is an input", False) in pinned(scale_groups(network))


def test_dead_and_endless_scales_are_marked() -> None:
    weight = np.ones((4, 3))
    weight[1] = 0.0
    texts = [t.get_text() for t in picture(gate(weight.tolist())).axes[0].texts]
    assert "group 1: 4 free, 1 dead" in texts
    assert "dead: a[1]" in texts
    # The sign has degree 0: the weights before it may shrink for ever.
    texts = [t.get_text() for t in picture(mlp([3, 4, 2], activation="sign", bias=False)).axes[0].texts]
    assert "group 1: 4 free, 4 without optimum" in texts
    assert "without finite optimum: fc1[0…3]" in texts


def test_a_scale_that_no_result_has_is_in_the_legend() -> None:
    # Softmax does not see what is added alike to all that it compares.
    entries = [("linear", ["x", "W"], "z"), ("bias", ["z", "b"], "a"), ("softmax", ["a"], "y")]
    network = load(
        {
            "inputs": {"x": [2]},
            "parameters": {"W": np.ones((3, 2)).tolist(), "b": [2]},
            "operations": [{"kind": k, "inputs": x, "output": y} for k, x, y in entries],
            "outputs": ["y"],
        }
    )
    found = scale_groups(network)
    assert [g.tensors for g in found.groups] == [()]
    assert members(found, dead_columns(found), 0)[:3] == ("b[0]", "1 free scale", "no output sees this bias")


def test_moves_in_a_row_are_one_box() -> None:
    network = moves()
    shown, edges = boxes(network, scale_groups(network))
    texts = [b.lines[0].text for b in shown]
    assert texts == [
        "input x  2", "W", "reshape · transpose · identity", "reshape", "f", "identity",
        "output f", "output g",
    ]  # fmt: skip
    assert set(edges) == {(0, 1), (1, 2), (2, 3), (3, 4), (1, 4), (2, 5), (4, 6), (5, 7)}


def test_thicker_lines_for_more_scales(digits: Path) -> None:
    widths = [p.get_linewidth() for p in picture(load(digits)).axes[0].patches if p.get_facecolor()[3] == 0]
    assert widths[0] < widths[4] < widths[1]  # 0, 32 and 48 scales
    assert widths[1] == widths[2] == widths[3]


# --- limits ---------------------------------------------------------------------------------------------


def chain(count: int) -> Network:
    entries = [{"kind": "identity", "inputs": [f"t{i}"], "output": f"t{i + 1}"} for i in range(count)]
    return load({"inputs": {"t0": [1]}, "operations": entries, "outputs": [f"t{count}"]})


def test_too_many_operations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"1501 operations, and 1500 can be drawn: leave --graph out"):
        save_graph(tmp_path / "g.svg", chain(1501))
    assert list(tmp_path.iterdir()) == []
    assert len(outlines(picture(chain(1500)))) == 3  # they are one box


@pytest.mark.parametrize(("kind", "limit", "most"), [("png", "_PIXELS", 300), ("pdf", "_PAGE", 2)])
def test_what_nobody_could_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit: str, most: int
) -> None:
    monkeypatch.setattr(graph, limit, most)
    with pytest.raises(RequestError, match=f"too large for a .{kind}: write it as .svg"):
        save_graph(tmp_path / f"g.{kind}", mlp([3, 4, 2]))
    assert list(tmp_path.iterdir()) == []
    save_graph(tmp_path / "g.svg", mlp([3, 4, 2]))
