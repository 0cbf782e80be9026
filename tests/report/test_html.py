"""The report page: whole, without scripts or addresses, honest about every verdict."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import UndefinedError

from balproof.report.html import NetworkReport, Solve, render_report
from balproof.theorems.registry import Claim, Findings, Printed, Record, Twin
from balproof.verdict import Evidence, Verdict

VOID = {"meta", "link", "br", "img", "hr", "input", "mspace", "path", "use", "rect", "circle", "line"}


class Page(HTMLParser):
    """Tags that are open, ids, links and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(str(value))
            if key in ("href", "src", "xlink:href"):
                self.links.append(str(value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, tag
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def record(**change: Any) -> Record:
    statement = Claim("B.test", "A test & more", "[B] Thm 0", "printed $x<1$", "exact $x_i$", ("a > 0",),
                      Verdict.proved, ("B.other",))  # fmt: skip
    evidence = change.pop("evidence", (Evidence("sympy", "identity <b>", Verdict.proved, 0.25),))
    twins = (Twin("a > 0", Verdict.refuted, "a = 0"),)
    return Record(statement, Findings(Printed(Verdict.refuted, "at x = 2"), evidence, twins), 0.3)


ROW = Solve(regularizer="l2", method="CVXPY", seed=None, cost=2.5, imbalance=0.0, gap=None, difference=1e-12)
NETWORK = NetworkReport(
    name="net.onnx", solves=[ROW], accuracy=0.9667, inspect={"parameters": 5018, "free_scales": 80},
    histories={0: [3.0, 2.0, 1.5], 1: [3.0, 1.6, 1.5]}, optimum=1.5, before=[0.5, 0.1], after=[0.0, 1e-16],
    check={"verdict": "refuted", "ok": False, "faults": [{"kind": "bias-not-scaled", "where": "fc1.bias[0]",
                                                            "size": 0.5}]}, function_difference=1e-7,
)  # fmt: skip


def test_the_page_is_whole() -> None:
    page = Page(render_report([record()], [NETWORK], sources={"B.test": "balproof/x.py"}, source_root=".."))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.tags
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    assert {link for link in page.links if not link.startswith("#")} == {"../balproof/x.py"}


def test_it_says_what_was_found() -> None:
    text = " ".join(Page(render_report([record()], [NETWORK])).text.split())
    for piece in ("A test & more", "identity <b>", "at x = 2", "a = 0", "1 of 1"):
        assert piece in text
    for piece in ("5,018", "96.7 %", "bias-not-scaled", "fc1.bias[0]", "1.0e−12"):
        assert piece in text


def test_a_claim_that_is_not_as_required_shows() -> None:
    """The guard is seen failing: evidence below the requirement turns the answer."""
    good = Page(render_report([record()])).text
    bad = Page(render_report([record(evidence=(Evidence("sampled", "some", Verdict.sampled),))])).text
    assert "1 of 1" in good
    assert "0 of 1" in bad


def test_no_claims_and_no_networks() -> None:
    page = Page(render_report([]))
    assert page.open == []
    assert "0 of 0" in page.text


def test_a_field_that_is_missing_is_an_error_not_a_blank() -> None:
    broken = {**record().as_json()}
    del broken["title"]

    class Broken:
        def as_json(self) -> dict[str, Any]:
            return broken

    with pytest.raises((TypeError, UndefinedError), match="Undefined|undefined"):
        render_report([Broken()])


def test_hostile_texts_are_escaped() -> None:
    statement = Claim("B.evil", "<script>alert(1)</script>", "\"'&", "$<img>$", "{{ 7*7 }}")
    text = render_report([Record(statement, Findings(Printed(Verdict.undecided, "<svg>")), 0.0)])
    assert "<script" not in text
    assert "<img" not in text
    assert "{{ 7*7 }}" in text
    assert re.search(r"<svg(?! )", text) is None
