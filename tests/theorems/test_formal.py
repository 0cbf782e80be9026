"""Which claims are formal: names that exist, verdicts that follow from the gate, and doing without Coq."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import balproof.cli
from balproof.errors import MissingToolError
from balproof.formal import THEORIES, Gate, coq_version
from balproof.formal.gate import PINNED
from balproof.theorems import ORDER
from balproof.theorems.formal import FORMAL, evidence, formal_claims, registered, strengthened
from balproof.theorems.registry import Claim, Findings, Printed, Record
from balproof.verdict import Evidence, Verdict

PASSED = Gate((), dict.fromkeys(registered(), "True"), version="8.16.1", names=len(registered()))
NO_COQ = MissingToolError("Coq is not installed", "apt install coq libcoq-coquelicot")


def missing(names: list[str]) -> list[str]:
    """Those of the names that stand as a theorem in no theory."""
    pattern = r"^(?:Theorem|Lemma|Corollary|Fact) (\w+)"
    stated = {
        f"{path.stem}.{name}"
        for path in THEORIES.glob("*.v")
        for name in re.findall(pattern, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    return [n for n in names if n not in stated]


@pytest.fixture
def in_part(monkeypatch: pytest.MonkeyPatch) -> str:
    """A claim whose theorems are made to leave something open."""
    name = "B.path-cover"
    monkeypatch.setitem(FORMAL, name, replace(FORMAL[name], rest="the criterion by ranks"))
    return name


def record(name: str) -> Record:
    shown = Findings(Printed(Verdict.refuted, ""), (Evidence("sympy", "steps", Verdict.proved),))
    return Record(Claim(name, "", "", "", "", (), Verdict.proved), shown, 0.0)


def test_every_named_theorem_exists() -> None:
    assert missing(registered()) == []
    assert missing(["Graphs.stochastic_balancing", "Graphs.no_such", "Balance.balanced"]) == [
        "Graphs.no_such",
        "Balance.balanced",
    ]


def test_every_named_theorem_is_pinned() -> None:
    pinned = re.findall(r"^== (\S+)", (THEORIES / PINNED).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(registered()) <= set(pinned)


def test_claims_are_in_the_registry_and_have_theorems() -> None:
    assert set(FORMAL) <= set(ORDER)
    assert list(FORMAL) == sorted(FORMAL, key=ORDER.index)
    for name, formal in FORMAL.items():
        assert formal.theorems, name
        assert len(set(formal.theorems)) == len(formal.theorems), name


def test_the_map_in_words_is_complete() -> None:
    text = (THEORIES / "README.md").read_text(encoding="utf-8")
    for name, formal in FORMAL.items():
        line = next((s for s in text.splitlines() if s.startswith(f"| `{name}` |")), None)
        assert line is not None, name
        for theorem in formal.theorems:
            assert f"`{theorem}`" in line, (name, theorem)
        assert ("in part" in line) == bool(formal.rest), name


def test_the_verdict_is_formal_where_theorems_cover_the_claim(in_part: str) -> None:
    whole, part = strengthened([record("B.strictly-convex"), record(in_part)], PASSED)
    assert whole.verdict is Verdict.formal
    assert whole.ok
    assert whole.findings.evidence[-1].method == "coq"
    assert part.verdict is Verdict.proved, "a part does not make a claim formal"
    assert "left: the criterion by ranks" in part.findings.evidence[-1].what
    assert set(formal_claims(PASSED)) == {n for n, f in FORMAL.items() if not f.rest}
    assert in_part not in formal_claims(PASSED)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (NO_COQ, "not checked: Coq is not installed"),
        (Gate(("Sums.v: oops is assumed",), PASSED.theorems), "not passed: Sums.v: oops is assumed"),
        (Gate(()), "not checked: Balance.power_costs_convex"),
    ],
)
def test_without_the_gate_the_verdict_is_the_best_other_one(gate: Gate | MissingToolError, said: str) -> None:
    (found,) = strengthened([record("B.strictly-convex")], gate)
    assert found.verdict is Verdict.proved
    assert found.ok
    last = found.findings.evidence[-1]
    assert last.verdict is Verdict.undecided
    assert last.what.startswith(said)
    assert formal_claims(gate) == []


def test_claims_without_theorems_stay_as_they_are() -> None:
    before = record("B.locality")
    assert evidence("B.locality", PASSED) is None
    assert strengthened([before], PASSED) == [before]


# --- the commands -------------------------------------------------------------------------------------


def test_verify_formal_without_coq(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["balproof", "verify", "B.strictly-convex", "--formal", "--json", "-"])
    with pytest.raises(SystemExit) as stop:
        balproof.cli.main()
    assert stop.value.code == 0
    (claim,) = json.loads(capsys.readouterr().out)["claims"]
    assert claim["exact"]["verdict"] == "proved"
    last = claim["exact"]["evidence"][-1]
    assert (last["method"], last["verdict"]) == ("coq", "undecided")
    assert last["what"] == "not checked: Coq is not installed"


@pytest.mark.slow
@pytest.mark.skipif(coq_version() is None, reason="needs Coq: apt install coq libcoq-coquelicot")
def test_verify_formal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["balproof", "verify", "B.strictly-convex", "--formal", "--json", "-"])
    with pytest.raises(SystemExit) as stop:
        balproof.cli.main()
    assert stop.value.code == 0
    (claim,) = json.loads(capsys.readouterr().out)["claims"]
    assert claim["exact"]["verdict"] == "formal"


@pytest.fixture
def tool(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("formal_tool", root / "tools" / "formal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "formal_tool", module)
    spec.loader.exec_module(module)
    return module


def test_make_formal(
    tool: ModuleType, in_part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "run_gate", lambda *_, **__: PASSED)
    assert tool.main([]) == 0
    said = capsys.readouterr().out
    assert "  B.stochastic-balancing\n" in said
    assert f"  {in_part}: left the criterion by ranks" in said
    monkeypatch.setattr(tool, "run_gate", lambda *_, **__: Gate(("drift: X",), PASSED.theorems))
    assert tool.main([]) == 1
    assert tool.main(["--pin"]) == 1, "what does not pass is not pinned"
    assert "fault: drift: X" in capsys.readouterr().err
    assert tool.main(["--pim"]) == 2
    monkeypatch.undo()


def test_make_formal_without_coq(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.main([]) == 2
    assert capsys.readouterr().err == "Coq is not installed: apt install coq libcoq-coquelicot\n"
