"""The second half of ``make verify``, on the digits network; its requirements are seen failing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from balproof.theorems.registry import Claim, Findings, Printed, Record
from balproof.verdict import Evidence, Verdict


@pytest.fixture
def tool(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_digits", root / "tools" / "verify_digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "verify_digits", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REPORT", tmp_path)
    monkeypatch.setattr(module, "COSTS", ("l2",))
    return module


@pytest.mark.slow
def test_the_whole_way(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statement = Claim("B.x", "", "", "", "", (), Verdict.proved)
    shown = Findings(Printed(Verdict.undecided, ""), (Evidence("exact", "1 = 1", Verdict.proved),))
    claim = Record(statement, shown, 0.1).as_json()
    (tmp_path / "verify.json").write_text(json.dumps({"claims": [claim]}))
    assert tool.main() == 0
    printed = capsys.readouterr().out
    assert "claims: 1 of 1 as required" in printed
    assert printed.count("stochastic") == 5
    facts = json.loads((tmp_path / "digits.json").read_text())
    assert facts["faults"] == []
    assert len(facts["solves"]) == 8
    assert "B.x" in (tmp_path / "index.html").read_text()
    (tmp_path / "verify.json").write_text(json.dumps({"claims": [{**claim, "ok": False}]}))
    assert tool.main() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("WEIGHTS", "weights differ"),
        ("GAP", "certified gap"),
        ("IMBALANCE", "imbalance"),
        ("VALUE", "CVXPY's value"),
        ("OUTPUT", "outputs on the digits"),
    ],
)
def test_each_requirement_can_fail(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    monkeypatch.setattr(tool, name, -1.0)
    monkeypatch.setattr(tool, "SEEDS", range(1))
    _, outcome = tool.report()
    assert any(fault in f for f in outcome.faults)
