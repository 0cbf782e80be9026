"""The report of ``verify --tex``: one file that pdflatex compiles, with packages of every distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from balproof.report.claims import MEANINGS, Origin, Reported, counts, groups, summary, versions, view
from balproof.report.plain import as_plain
from balproof.report.tex import COMMANDS, as_tex, tex_code, tex_plain

_HEAD = rf"""\documentclass[a4paper,10pt]{{article}}
\usepackage[margin=25mm]{{geometry}}
\usepackage{{amsmath}}
\usepackage{{amssymb}}
\usepackage{{longtable}}
\usepackage[colorlinks,linkcolor=blue,urlcolor=blue]{{hyperref}}
{COMMANDS}\emergencystretch=4em
\parindent=0pt
\parskip=4pt plus 2pt
\setcounter{{secnumdepth}}{{0}}
"""


def render_tex(records: Sequence[Reported], *, origin: Origin | None = None, date: str = "") -> str:
    """The LaTeX source as a string of ASCII characters."""
    claims = view(records, origin or Origin())
    pieces = [_HEAD, "\\title{Balancing of neural networks: claims and what was shown}"]
    pieces += [
        f"\\author{{balproof {tex_plain(dict(versions())['balproof'])}}}",
        f"\\date{{{tex_plain(date)}}}",
    ]
    pieces += [
        "\\begin{document}",
        "\\maketitle",
        "\\section{Summary}",
        *_items(map(as_tex, summary(claims))),
    ]
    pieces += [
        "\\begin{tabular}{@{}lr@{}}",
        *(f"{tex_plain(label)} & {tex_plain(value)} \\\\" for label, value in counts(claims)),
        "\\end{tabular}",
        "",
        "Verdicts, from weak to strong:",
        *_items(f"\\textbf{{{v}}}: {tex_plain(meaning)}" for v, meaning in MEANINGS),
        "\\section{All claims}",
        *_table(claims),
    ]
    for group in groups(claims):
        pieces.append(_heading("section", group["title"], group["anchor"]))
        for claim in group["claims"]:
            pieces += _claim(claim)
    pieces += ["\\section{Versions}", ", ".join(tex_plain(f"{name} {v}") for name, v in versions()) + "."]
    return "\n".join([*pieces, "\\end{document}", ""])


def _heading(level: str, text: str, label: str) -> str:
    bookmark = tex_plain(as_plain(text).encode("ascii", "ignore").decode())
    return f"\\{level}{{\\texorpdfstring{{{as_tex(text)}}}{{{bookmark}}}}}\\label{{{label}}}"


def _items(texts: Any) -> list[str]:
    found = [f"\\item {text}" for text in texts]
    return ["\\begin{itemize}\\itemsep0pt", *found, "\\end{itemize}"] if found else []


def _table(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    titles = ("Claim", "Title", "Printed", "Exact", "Required")
    head = " & ".join(f"\\textbf{{{t}}}" for t in titles) + " \\\\ \\hline\\noalign{\\smallskip}"
    rows = [
        f"{_link(c)} & {as_tex(c['title'])} & {c['printed']['verdict']} & {c['exact']['verdict']} & "
        f"{_required(c)} \\\\"
        for c in claims
    ]
    columns = "@{}p{46mm}p{46mm}lll@{}"
    return [f"\\begin{{longtable}}{{{columns}}}", head, "\\endhead", *rows, "\\end{longtable}"]


def _required(claim: Mapping[str, Any]) -> str:
    if not claim["required"]:
        return "--"
    return f"{claim['required']}, " + ("yes" if claim["ok"] else r"\textbf{no}")


def _claim(c: Mapping[str, Any]) -> list[str]:
    printed, exact = c["printed"], c["exact"]
    found = [
        _heading("subsection", c["title"], c["anchor"]),
        f"{tex_code(c['id'])}. {as_tex(c['source'])}.",
        "",
        f"\\textbf{{As printed: {printed['verdict']}.}} {as_tex(printed['statement'])}",
        "",
        f"\\emph{{Why:}} {as_tex(printed['why'])}",
        "",
        f"\\textbf{{Exact statement: {exact['verdict']}.}} {as_tex(exact['statement'])}",
        "",
    ]
    evidence = (
        f"\\textbf{{{e['verdict']}}} ({e['method']}, {e['seconds']:.2f} s): {as_tex(e['what'])}"
        for e in exact["evidence"]
    )
    twins = (f"\\emph{{{as_tex(t['dropped'])}}}: {t['verdict']}. {as_tex(t['witness'])}" for t in c["twins"])
    sections = (
        ("Hypotheses", map(as_tex, exact["assumptions"])),
        ("Evidence", evidence),
        ("Without a hypothesis it fails", twins),
    )
    for title, texts in sections:
        if items := _items(texts):
            found += [f"\\textbf{{{title}}}\\nopagebreak", *items]
    found += _sentence("Networks of counterexamples", [tex_code(n["path"]) for n in c["networks"]])
    found += _sentence("Uses", [_link(u) for u in c["uses"]])
    found += _sentence("Used by", [_link(u) for u in c["used_by"]])
    if c["file"]:
        checked = f"Checked by {tex_code(c['function'])} in" if c["function"] else "Stated in"
        found += [f"{checked} {tex_code(c['file'])}.", ""]
    return found


def _sentence(title: str, parts: Sequence[str]) -> list[str]:
    return [f"{title}: {', '.join(parts)}.", ""] if parts else []


def _link(other: Mapping[str, Any]) -> str:
    shown = tex_code(other["id"])
    return f"\\hyperref[{other['anchor']}]{{{shown}}}" if other["anchor"] else shown
