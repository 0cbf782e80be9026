"""The report page: whole, with one script and no address, honest about every verdict."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import UndefinedError

from balproof.report.claims import Origin, named_files, summary, view
from balproof.report.dependencies import dependency_svg
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
    why = change.pop("why", "at x = 2")
    return Record(statement, Findings(Printed(Verdict.refuted, why), evidence, twins), 0.3)


ROW = Solve(regularizer="l2", method="CVXPY", seed=None, cost=2.5, imbalance=0.0, gap=None, difference=1e-12)
NETWORK = NetworkReport(
    name="net.onnx", solves=[ROW], accuracy=0.9667, inspect={"parameters": 5018, "free_scales": 80},
    histories={0: [3.0, 2.0, 1.5], 1: [3.0, 1.6, 1.5]}, optimum=1.5, before=[0.5, 0.1], after=[0.0, 1e-16],
    check={"verdict": "refuted", "ok": False, "faults": [{"kind": "bias-not-scaled", "where": "fc1.bias[0]",
                                                            "size": 0.5}]}, function_difference=1e-7,
)  # fmt: skip


ORIGIN = Origin({"B.test": "balproof/x.py"}, {"B.test": "check_it"}, {"net.json": "nets/net.json"}, root="..")


def test_the_page_is_whole() -> None:
    text = render_report([record(why="see nets/net.json")], [NETWORK], origin=ORIGIN, date="2001-02-03")
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert text.count("<script") == 1
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    outside = {link for link in page.links if not link.startswith("#")}
    assert outside == {"../balproof/x.py", "../nets/net.json", "data:,"}
    for piece in ("check_it", "nets/net.json", "2001-02-03"):
        assert piece in page.text


def test_without_a_root_files_are_named_and_not_linked() -> None:
    origin = Origin(ORIGIN.files, ORIGIN.functions, ORIGIN.counterexamples)
    page = Page(render_report([record()], origin=origin))
    assert "balproof/x.py" in page.text
    assert {link for link in page.links if not link.startswith("#")} == {"data:,"}


def test_no_script_runs_but_the_one_that_was_written_here() -> None:
    """The policy names the script by its hash; a character more, and the browser would refuse it."""
    text = render_report([record()])
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script is not None
    named = re.search(r"script-src 'sha256-([^']*)'", text)
    assert named is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert named[1] == digest
    assert "default-src 'none'" in text


def test_who_uses_whom() -> None:
    """Both ends of a dependency say so, and the picture has an arrow and a link for it."""
    other = Record(Claim("B.other", "Other", "", "", ""), Findings(Printed(Verdict.undecided, "")), 0.0)
    claims = view([record(), other], Origin())
    assert [u["id"] for u in claims[0]["uses"]] == ["B.other"]
    assert [u["id"] for u in claims[1]["used_by"]] == ["B.test"]
    picture = dependency_svg(claims)
    assert picture.count("<a href") == 2
    assert picture.count('<path d="M') == 2  # the arrow, and the tip that all arrows share
    for piece in ("✓ proved, printed ✗", 'class="undecided"', "exact statement proved, as printed refuted"):
        assert piece in picture
    assert dependency_svg(view([record()], Origin())) == ""


def test_claims_that_texts_name_are_links() -> None:
    text = render_report([record(why="see (B.test), not B.tester, B.test-more or 1B.test")])
    assert 'see (<a href="#claim-B.test">B.test</a>), not B.tester, B.test-more or 1B.test' in text


def test_sentences_of_the_summary() -> None:
    text = " ".join(summary(view([record()], Origin())))
    assert "1 claims. 1 exact statements are proved" in text
    assert "1 of 1 twins" in text
    bad = " ".join(summary(view([record(evidence=())], Origin())))
    assert "Not as required: B.test." in bad
    assert "Not decided: B.test." in bad


def test_only_files_that_there_are_count_as_counterexamples() -> None:
    files = {"a.json": "x/a.json", "b.json": "x/b.json"}
    assert named_files({"why": ["b.json, c.json and", {"x": "y/a.json"}]}, files) == ["x/b.json", "x/a.json"]


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
    assert "<script>alert" not in text
    assert text.count("<script") == 1
    assert "<img" not in text
    assert "{{ 7*7 }}" in text
    assert re.search(r"<svg(?! )", text) is None
