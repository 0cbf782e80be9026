"""A stored derivation is derived again: the same is found, and whatever was changed is named."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import balproof.cli
from balproof.errors import RequestError
from balproof.importers.json_file import as_json, load, to_document
from balproof.network.laws import scaling_laws
from balproof.report.derivation import render
from balproof.report.recheck import read, recheck
from balproof.symbolic import derivation as module
from balproof.symbolic.derivation import derive, derive_gate
from balproof.verdict import Verdict

REQUESTS = {
    "named": lambda: derive("relu", "l2"),
    "a symbol with an assumption": lambda: derive("Max(x, 0)**2", "abs(w)**p", assumptions=["p>1"]),
    "a symbol without one": lambda: derive("prelu", "alpha*abs(w) + w**2"),
    "two costs": lambda: derive("relu", "l2", regularizer_out="a*abs(w)"),
    "weights": lambda: derive("relu", "l1", weights=(["1", "-3/4"], [2, "1.5"])),
    "refused": lambda: derive("tanh", "l2"),
    "not only one": lambda: derive("relu", "w**4 - 2*abs(w)**3 + w**2"),
    "groups": lambda: derive("relu", "group:2,1"),
    "a gate": lambda: derive_gate("swiglu", "l2", regularizer_out="l1"),
    "a gate with a symbol": lambda: derive_gate("a*x*Max(y, 0)", "l2", assumptions=["a<0"]),
    "no part": lambda: derive_gate("x + y**2", "l2"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_stored_is_found_again(name: str, tmp_path: Path) -> None:
    derivation = REQUESTS[name]()
    path = tmp_path / "d.json"
    path.write_text(render(derivation, "json"))
    found = recheck(read(path))
    assert found.differences == ()
    assert found.derivation.steps == derivation.steps
    assert found.derivation is not derivation


def stored(**options: Any) -> dict[str, Any]:
    return json.loads(render(derive("Max(x, 0)**2", "abs(w)**p", **options), "json"))


def step(document: dict[str, Any], claim: str) -> dict[str, Any]:
    (found,) = (s for s in document["steps"] if claim in s["claim"])
    return found


def test_a_changed_formula_claim_or_hypothesis_is_named() -> None:
    document = stored()
    step(document, "closed form")["formula"] = r"\lambda^* = 1"
    step(document, "g is even")["claim"] = "g is odd"
    step(document, "strict global minimum")["hypotheses"] = ["A = 0"]
    document["optimal_scale"]["closed_form"] = "1"
    said = recheck(document).differences
    assert len(said) == 4
    assert any(".hypotheses" in d for d in said)
    assert any("the closed form solves the equation" in d and "stored '\\\\lambda^* = 1'" in d for d in said)
    assert any("stored 'g is odd', now 'g is even'" in d for d in said)
    assert any(d.startswith("optimal_scale.closed_form: stored '1'") for d in said)


def test_a_step_more_or_less_is_named() -> None:
    document = stored()
    document["steps"].append(copy.deepcopy(document["steps"][-1]))
    assert recheck(document).differences[-1].startswith("steps: ")
    del document["steps"][-2:]
    assert recheck(document).differences[-1].startswith("steps: ")


def test_a_field_that_is_gone_is_named() -> None:
    document = stored()
    del document["laws"][0]["latex"], document["balance_equation"]
    assert set(recheck(document).differences) == {
        "balance_equation: not in the file",
        "laws[0].latex: not in the file",
    }


def test_other_words_and_stronger_verdicts_pass() -> None:
    document = stored()
    step(document, "g is even")["checked_by"] = "a look at it"
    step(document, "g is coercive")["verdict"] = "sampled"
    document["made_by"] = "somebody"
    assert recheck(document).ok


def test_a_weaker_check_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    document = stored()
    monkeypatch.setattr(module, "_ledger", lambda c: Verdict.undecided)
    said = recheck(document).differences
    assert any(d.startswith("step ") and "verdict: stored 'proved', now 'undecided'" in d for d in said)


def test_the_laws_of_a_network_are_found_again(root: Path) -> None:
    network = load(root / "tests" / "data" / "chain.json")
    laws = [law.as_json() for law in scaling_laws(network)]
    derivation = derive("relu", "l2", laws, network=to_document(as_json(network)))
    document = json.loads(render(derivation, "json"))
    assert recheck(document).ok
    del document["request"]["network"]["operations"][3]
    document["request"]["network"]["operations"][3]["inputs"][0] = "z2"  # the second unit has degree 1 still
    assert recheck(document).ok
    document["request"]["network"]["operations"][1]["function"] = "tanh"
    assert any("stored, now" in d for d in recheck(document).differences)


BROKEN = {
    "no JSON": "{",
    "no object": "[1]",
    "another form": '{"format": "balproof-network", "version": 1}',
    "another version": None,
    "no request": None,
    "an unknown verdict": None,
    "a request with more": None,
    "nested": "[" * 100_000,
    "no text": "\ud800",
}


def broken(name: str) -> bytes:
    text = BROKEN[name]
    if text is not None:
        return text.encode("utf-8", "surrogatepass")
    document = stored()
    if name == "another version":
        document["version"] = 2
    elif name == "no request":
        del document["request"]
    elif name == "an unknown verdict":
        document["steps"][0]["verdict"] = "certain"
    else:
        document["request"]["file"] = "x"
    return json.dumps(document).encode()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_bytes(broken(name))
    with pytest.raises(RequestError) as said:
        read(path)
    assert "\n" not in str(said.value)
    assert str(path) in str(said.value)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["balproof", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        balproof.cli.main()
    return int(stop.value.code or 0)


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any, root: Path) -> None:
    path, network = tmp_path / "d.json", root / "tests" / "data" / "digits.onnx"
    options = ("--activation", "relu", "--regularizer", "l2", "--network", network, "--format", "json")
    assert run(monkeypatch, "derive", *options, "-o", path) == 0
    assert run(monkeypatch, "derive", "--recheck", path) == 0
    assert capsys.readouterr().out == "Balance of relu with cost l2: 20 steps run again, all as stored\n"
    document = json.loads(path.read_text())
    document["balance_equation"] = "0 = 0"
    path.write_text(json.dumps(document))
    assert run(monkeypatch, "derive", "--recheck", path) == 1
    assert capsys.readouterr().out.startswith("balance_equation: stored '0 = 0', now 'Σ_IN |w|^2 =")
    document["request"]["activation"]["text"] = "__import__('os').system('id')"
    path.write_text(json.dumps(document))
    for arguments in (("--recheck", path), ("--recheck", tmp_path / "none.json"), (),
                      ("--activation", "relu"), ("--recheck", path, "--assume", "a>0")):  # fmt: skip
        assert run(monkeypatch, "derive", *arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
