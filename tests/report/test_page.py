"""The report page in a browser: every claim is checked, the page is opened, looked at and used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.browser import Browser, executable
from tests.report.test_tex import compile_

pytestmark = pytest.mark.slow
PROGRAM = executable()
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium or Chrome")

CONTRAST = """
(() => {
  const numbers = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const under = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const rect = at.localName === "a" && at.querySelector(":scope > rect");
      const colour = numbers(rect ? getComputedStyle(rect).fill : getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = {seen: 0, low: []};
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const silent = ["script", "style", "title", "desc", "option"].includes(e.localName);
    if (!own || silent || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), svg = e.namespaceURI.endsWith("svg");
    const [a, b] = [light(numbers(svg ? style.fill : style.color)), light(under(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.seen += 1;
    if (ratio < 4.5) found.low.push(`${e.localName}.${e.getAttribute("class")} ${ratio.toFixed(2)}`);
  }
  return found;
})()
"""

WIDE = """
[...document.querySelectorAll("body *")]
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
  .filter((e) => !e.closest(".scroll") && !e.closest("math") && !e.closest(".skip"))
  .map((e) => e.localName + " " + e.className)
"""


class Made(NamedTuple):
    """What one run of the command wrote."""

    page: Path
    tex: Path
    claims: list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("report")
    found = Made(folder / "page.html", folder / "page.tex", [])
    program = Path(sys.executable).parent / "balproof"
    outputs = ["--html", found.page, "--tex", found.tex, "--json", folder / "verify.json"]
    subprocess.run([program, "verify", "--jobs", "2", *outputs], check=True, capture_output=True)
    found.claims.extend(json.loads((folder / "verify.json").read_text())["claims"])
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert PROGRAM is not None
    browser = Browser(PROGRAM)
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser, made: Made) -> Browser:
    """The page, freshly opened on a desktop."""
    chromium.scripts(allowed=True)
    chromium.media()
    chromium.window(1280)
    chromium.messages.clear()
    chromium.open(made.page)
    return chromium


def test_one_file_of_reasonable_size(made: Made) -> None:
    assert 200_000 < made.page.stat().st_size < 1_500_000
    assert len(made.claims) >= 45


@needs_browser
def test_it_opens_without_complaint_and_asks_for_nothing_else(browser: Browser) -> None:
    assert browser.messages == []
    assert browser.events.count("Network.requestWillBeSent") == 1
    browser.run("console.error('planted')")
    assert len(browser.messages) == 1  # the guard sees


@needs_browser
def test_links_lead_somewhere(browser: Browser, made: Made) -> None:
    links = browser.run("[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))")
    broken = """[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))
                .filter((h) => h[0] !== '#' || !document.getElementById(h.slice(1)))"""
    assert browser.run(broken) == []
    assert len(links) > 4 * len(made.claims)
    in_picture = browser.run(
        "[...document.querySelectorAll('svg.uses a')].map((a) => a.getAttribute('href'))"
    )
    used = {d for c in made.claims for d in c["depends"]} | {c["id"] for c in made.claims if c["depends"]}
    assert {h.removeprefix("#claim-") for h in in_picture} == used
    browser.run(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<a href=\"#nowhere\">x</a>')"
    )
    assert browser.run(broken) == ["#nowhere"]


def value(claim: dict[str, Any], field: str) -> set[str]:
    if field == "paper":
        return {claim["id"][0]}
    if field == "methods":
        return {e["method"] for e in claim["exact"]["evidence"]}
    return {claim[field]["verdict"]}


@needs_browser
def test_filters_show_what_the_records_say(browser: Browser, made: Made) -> None:
    """Every value of every filter, and pairs of the first filter with each other one."""

    def shown(**chosen: str) -> list[str]:
        choose = "".join(f"form.{k}.value = {json.dumps(v)};" for k, v in chosen.items())
        return browser.run(f"""(() => {{
          const form = document.getElementById("filters");
          form.querySelectorAll("select").forEach((s) => s.value = "");
          {choose} form.{next(iter(chosen))}.dispatchEvent(new Event("change", {{bubbles: true}}));
          return [...document.querySelectorAll("#claims tbody tr")].filter((r) => r.getClientRects().length)
            .map((r) => r.querySelector("th").innerText);
        }})()""")

    values = {
        name: browser.run(f"[...document.getElementById('filters').{name}.options].map((o) => o.value)")[1:]
        for name in ("paper", "printed", "exact", "methods")
    }
    for name, options in values.items():
        assert set(options) == set().union(*(value(c, name) for c in made.claims))
        for option in options:
            assert shown(**{name: option}) == [c["id"] for c in made.claims if option in value(c, name)]
            status = browser.run("document.getElementById('shown').textContent")
            expected = sum(option in value(c, name) for c in made.claims)
            assert status == f"{expected} of {len(made.claims)} claims shown"
    for paper in values["paper"]:
        for method in values["methods"]:
            both = [
                c["id"] for c in made.claims if paper in value(c, "paper") and method in value(c, "methods")
            ]
            assert shown(paper=paper, methods=method) == both
    browser.run("document.querySelector('#filters button').click()")
    all_rows = "[...document.querySelectorAll('#claims tbody tr')].filter((r) => !r.hidden).length"
    browser.run("new Promise((done) => setTimeout(done, 50))")
    assert browser.run(all_rows) == len(made.claims)


@needs_browser
@pytest.mark.parametrize("phone", [False, True])
def test_a_phone_scrolls_in_one_direction(browser: Browser, phone: bool, made: Made) -> None:
    browser.window(360, 780, phone=phone)
    browser.open(made.page)
    assert browser.run("innerWidth") == 360
    assert browser.run("document.documentElement.scrollWidth") <= 360
    assert browser.run(WIDE) == []
    boxes = "[...document.querySelectorAll('.scroll')].filter((b) => b.scrollWidth > b.clientWidth)"
    assert browser.run(f"{boxes}.length") > 50
    assert browser.run(f"{boxes}.every((b) => b.tabIndex === 0)")
    browser.run("document.querySelector('h1').style.width = '500px'")
    assert browser.run("document.documentElement.scrollWidth") > 360  # the guard sees
    assert browser.run("innerWidth > 360") is phone  # a phone zooms out, which is why 360 is asked for


@needs_browser
def test_paper(browser: Browser, tmp_path: Path) -> None:
    browser.window(718)  # A4 less Chromium's margins
    browser.media("print")
    assert browser.run("document.documentElement.scrollWidth") <= 718
    hidden = "[...document.querySelectorAll('nav, #filters, .skip')].every((e) => !e.getClientRects().length)"
    assert browser.run(hidden)
    assert browser.run("[...document.querySelectorAll('.scroll')].every((b) => b.scrollWidth <= 718)")
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@needs_browser
def test_without_scripts_everything_is_there(browser: Browser, made: Made) -> None:
    browser.scripts(allowed=False)
    browser.open(made.page)
    assert browser.run("document.getElementById('shown').textContent") == ""
    assert browser.run("document.getElementById('filters').getClientRects().length") == 0
    rows = (
        "[...document.querySelectorAll('#claims tbody tr')].filter((r) => r.getClientRects().length).length"
    )
    assert browser.run(rows) == len(made.claims)
    assert browser.run("document.querySelectorAll('article').length") == len(made.claims)
    assert browser.run("[...document.querySelectorAll('.scroll')].every((b) => b.tabIndex === 0)")
    assert browser.messages == []


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out(browser: Browser, dark: bool) -> None:
    """WCAG AA, 4.5 to 1, for all text, in formulas and figures as well."""
    browser.media(dark=dark)
    found = browser.run(CONTRAST)
    assert found["seen"] > 3000
    assert found["low"] == []
    browser.run("document.documentElement.style.setProperty('--soft', '#808080')")
    assert browser.run(CONTRAST)["low"]  # the guard sees


@needs_browser
def test_everything_has_a_name_and_a_place(browser: Browser) -> None:
    """What axe and its kind look at: names, labels, headings in order, landmarks, tables."""
    checks = {
        "pictures": """[...document.querySelectorAll('svg')]
          .filter((s) => s.role !== 'img' && s.role !== 'group'
            || s.getAttribute('aria-labelledby').split(' ')
              .some((i) => !document.getElementById(i).textContent))""",
        "images": "[...document.querySelectorAll('img')].filter((i) => !i.alt)",
        "controls": """[...document.querySelectorAll('select, button')]
          .filter((c) => ![...(c.labels[0] || c).childNodes]
            .some((n) => n.nodeType === 3 && n.data.trim()))""",
        "links": """[...document.querySelectorAll('a')]
          .filter((a) => !a.textContent.trim() && !a.getAttribute('aria-label'))""",
        "stops": "[...document.querySelectorAll('.scroll')].filter((b) => !b.getAttribute('aria-label'))",
        "tables": """[...document.querySelectorAll('table')]
          .filter((t) => !t.caption || !t.querySelector('th[scope]'))""",
        "labelled": """[...document.querySelectorAll('[aria-labelledby]')]
          .flatMap((e) => e.getAttribute('aria-labelledby').split(' '))
          .filter((i) => !document.getElementById(i)).map((i) => ({outerHTML: i}))""",
        "twice": """[...document.querySelectorAll('[id]')]
          .filter((e) => document.querySelectorAll(`[id="${e.id}"]`).length > 1)""",
    }
    for what, offenders in checks.items():
        assert browser.run(f"{offenders}.map((e) => e.outerHTML.slice(0, 200))") == [], what
    levels = browser.run(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((h) => Number(h.localName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:]))
    for landmark in ("main", "header", "nav", "footer"):
        assert browser.run(f"document.querySelectorAll('body > {landmark}').length") == 1
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run("document.title")
    assert browser.run("document.getElementById('shown').role") == "status"
    browser.run("document.querySelector('svg.figure title').textContent = ''")
    assert browser.run(f"{checks['pictures']}.length") == 1  # the guard sees


@needs_browser
def test_by_keyboard(browser: Browser) -> None:
    """The first stop skips the contents; each stop is seen; a picture's boxes can be reached and opened."""
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0
    browser.run("document.activeElement.click()")
    assert browser.run("document.activeElement.id") == "main"
    browser.run("document.querySelector('svg.uses a').focus()")
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.closest('svg').getAttribute('class')") == "uses"
    assert browser.run("getComputedStyle(document.activeElement.querySelector('rect')).strokeWidth") == "4px"
    for stop in ("nav a", "#filters select", "#filters button", "#claims tbody a"):
        browser.run(f"document.querySelector('{stop}').focus({{focusVisible: true}})")
        width = browser.run("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "3px", stop


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_of_every_claim(made: Made, tmp_path: Path) -> None:
    source = made.tex.read_text(encoding="ascii")
    assert "[U+" not in source
    assert all(source.count(f"\\label{{claim-{c['id']}}}") == 1 for c in made.claims)
    for _ in range(2):
        log = compile_(source, tmp_path)
    assert "undefined references" not in log
    assert "Overfull" not in log
