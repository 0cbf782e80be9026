"""One derivation in five formats."""

import importlib.util
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest

from balproof.errors import RequestError
from balproof.report.derivation import render
from balproof.symbolic.activation import Activation
from balproof.symbolic.derivation import derive
from balproof.symbolic.regularizer import Regularizer

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [
    ("Max(x,0)**2", "abs(w)**p"),
    ("tanh(x)", "l2"),
    ("relu", "log(1+w**2)"),
    ("prelu", "alpha*abs(w)+w**2"),
    ("sign", "l1"),
    ("relu", "log(1+log(1+abs(w)))"),
]


def derivation(f, g):
    return derive(Activation.parse(f), Regularizer.parse(g))


@pytest.mark.parametrize(("f", "g"), PAIRS)
def test_latex_is_plain_and_balanced(f, g):
    text = render(derivation(f, g), "tex")
    assert text.isascii()
    assert "?" not in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for name in ("itemize", "enumerate", "document", "cases"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    assert text.count("\\[\n") == text.count("\n\\]")
    packages = set(re.findall(r"\\usepackage\{(\w+)\}", text))
    assert packages == {"amsmath", "amssymb"}


@pytest.mark.parametrize(("f", "g"), PAIRS)
def test_html_is_well_formed(f, g):
    text = (
        render(derivation(f, g), "html").replace("<!doctype html>", "").replace('<meta charset="utf-8">', "")
    )
    text = text.replace("&InvisibleTimes;", "").replace("&ApplyFunction;", "")
    tree = ET.fromstring(text)
    if f != "tanh(x)" and f != "sign":
        assert tree.iter("{http://www.w3.org/1998/Math/MathML}math") is not None
        assert "MathML" in text


@pytest.mark.parametrize(("f", "g"), PAIRS)
def test_markdown_notebook_and_json(f, g):
    d = derivation(f, g)
    markdown = render(d, "md")
    assert markdown.count("$$") % 2 == 0
    assert f"{len(d.steps)}. **" in markdown
    notebook = nbformat.reads(render(d, "ipynb"), as_version=4)
    nbformat.validate(notebook)
    compile(notebook.cells[-1].source, "cell", "exec")
    answer = json.loads(render(d, "json"))
    assert {
        "activation",
        "regularizer",
        "optimal_scale",
        "balance_equation",
        "laws",
        "steps",
    } <= answer.keys()


def test_what_a_reader_looks_for():
    text = render(derivation("Max(x,0)**2", "abs(w)**p"), "md")
    assert r"\lambda^* = \left(\frac{2 B}{A}\right)^{1/(3 p)}" in text
    assert r"\sum_{\mathrm{IN}} |w|^{p} = 2 \sum_{\mathrm{OUT}} |w|^{p}" in text
    assert "1.26580" in render(derivation("tanh(x)", "l2"), "md")


def test_user_text_is_escaped():
    d = derivation("Piecewise((x, x<0), (2*x, True))", "l2")
    assert "x<0" not in render(d, "html")
    assert "x&lt;0" in render(d, "html")


def test_formulas_read_well():
    text = render(derivation("Max(x,0)**2", "abs(w)**p"), "md")
    assert text.startswith("# Balance of `Max(x,0)**2` with cost `abs(w)**p`\n")
    assert "A + B - \\frac{3 \\cdot 2^{1/3} A^{2/3} B^{1/3}}{2}" in text
    assert r"- $A = \sum_{\mathrm{IN}} |w|^{p}$" in text
    assert r"\*\*" not in text
    assert "\n10. **proved**" in text
    assert "\n    $$\n" in text  # two digits in the number, one blank more before what belongs to it
    refused = render(derivation("tanh(x)", "l2"), "md")
    assert "one factor would fit every x; but with f = `tanh(x)`" in refused
    assert "- \n" not in refused


@pytest.mark.parametrize(
    ("f", "g"), [*PAIRS[:4], ("relu", "Piecewise((w**2/2,abs(w)<=d),(d*abs(w)-d**2/2,True))")]
)
def test_html_has_formulas_not_code(f, g):
    text = render(derivation(f, g), "html")
    assert 'class="tex"' not in text
    assert "piecewise(" not in text


def test_the_cell_of_the_notebook_runs():
    cell = json.loads(render(derivation("Max(x,0)**2", "abs(w)**p"), "ipynb"))["cells"][-1]
    names = {}
    exec(compile("".join(cell["source"]), "cell", "exec"), names)
    assert names["derivation"].balance_equation == "Σ_IN |w|^p = 2·Σ_OUT |w|^p"


def test_degree_zero_has_no_power():
    text = render(derivation("sign", "l1"), "md")
    assert "^{0}" not in text
    assert "f(\\lambda x) = f(x)" in text


def test_unknown_format():
    with pytest.raises(RequestError, match="unknown format"):
        render(derivation("relu", "l2"), "pdf")


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "derivations" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_derivations_are_what_is_derived():
    assert generator().main(["--check"]) == 0


def test_the_comparison_is_seen_failing(tmp_path, capsys):
    module = generator()
    assert module.main([], tmp_path) == 0
    (tmp_path / "relu-l2.md").write_text("other", encoding="utf-8")
    (tmp_path / "dense.md").unlink()
    (tmp_path / "extra.md").write_text("a document that nobody makes", encoding="utf-8")
    assert module.main(["--check"], tmp_path) == 1
    err = capsys.readouterr().err
    assert all(f"derivations/{name} is not" in err for name in ("relu-l2.md", "dense.md", "extra.md"))
    assert err.count("\n") == 3
    assert module.main(["--wrong"], tmp_path) == 2


def test_the_index_has_a_line_for_each_document():
    folder = ROOT / "derivations"
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert linked == {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert len(linked) >= 17


def test_the_committed_documents_are_short():
    for path in (ROOT / "derivations").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 220, path.name
        shown = re.findall(r"\$\$\n(.*?)\n *\$\$", text) + re.findall(r"(?<!\$)\$([^$\n]+)\$", text)
        assert max(map(len, shown)) <= 350, path.name
