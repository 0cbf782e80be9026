"""``balproof simulate`` from outside."""

import json
import sys

import pytest

import balproof.cli
from balproof.simulate import studies


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["balproof", "simulate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            balproof.cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_the_list(command) -> None:
    code, out, err = command("--list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[::2]] == list(studies())
    code, out, _ = command("--list", "--json", "-")
    said = json.loads(out)
    assert [s["name"] for s in said] == list(studies())
    assert said[0]["settings"]["rate"] == 3.0


@pytest.mark.torch
def test_an_answer_with_a_picture(command, tmp_path) -> None:
    files = ("--json", tmp_path / "a.json", "--plot", tmp_path / "a.png")
    code, out, err = command("ledger", "--seeds", 3, "--set", "steps=20", *files)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1] == "digits, 3 seeds, steps 20, batch 32, rate 0.1, decay 0.01"
    assert lines[3] == "SGD, gradient: Aᵀ(w∘g) against |A|ᵀ|w∘g|"
    assert lines[4].endswith("within 1e-09 in 3 of 3 seeds: reproduced")
    assert lines[-1].startswith("Reproduced on these data: At every step")
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["settings"]["steps"] == 20
    assert data["reproduced"] is True
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "start"), [("a.svg", b"<?xml"), pytest.param("a.pdf", b"%PDF", marks=pytest.mark.slow)]
)
def test_other_pictures(command, tmp_path, name, start) -> None:
    command("ledger", "--seeds", 2, "--set", "steps=2", "--plot", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.torch
def test_what_is_not_reproduced_exits_with_1(command) -> None:
    code, out, _ = command("unregularized-vs-l2", "--seeds", 2, "--set", "steps=3", "--json", "-")
    assert code == 1
    assert json.loads(out)["reproduced"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "one study is run at a time: give its NAME, or --list"),
        (("ledger", "--list"), "one study is run at a time"),
        (("sleep",), "unknown study 'sleep': take one of unregularized-vs-l2"),
        (("ledger", "--seeds", 1), "1 seeds give no interval: ask for at least 2"),
        (("ledger", "--set", "rate"), "the setting 'rate' has no number: write NAME=X"),
        (("ledger", "--set", "rate=fast"), "the setting 'rate=fast' has no number"),
        (("ledger", "--set", "speed=1"), "ledger has no setting 'speed'"),
        (("ledger", "--plot", "a.gif"), "a plot cannot be written as '.gif': end it in .svg, .png or .pdf"),
        (("ledger", "--json", "nowhere/a.json"), "lies in a folder that does not exist"),
    ],
)
def test_what_cannot_be_asked_for(command, arguments, said) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"balproof: {said}") or said in err
    assert err.count("\n") == 1


@pytest.mark.torch
def test_data_that_cannot_be_read(command, tmp_path) -> None:
    code, out, err = command("ledger", "--data", tmp_path)
    assert (code, out) == (2, "")
    assert "holds no data set that is known" in err
    code, out, err = command("ledger", "--jobs", 0)
    assert (code, err) == (2, "balproof: 0 jobs: ask for at least 1\n")


def test_without_pytorch(command, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, err = command("ledger")
    assert (code, out) == (2, "")
    assert err == (
        "balproof: simulations train networks with torch, which is not installed: "
        "say pip install 'balproof[torch]'\n"
    )


@pytest.mark.torch
def test_a_stopped_run_goes_on(command, tmp_path, monkeypatch) -> None:
    asked = ("ledger", "--seeds", 2, "--set", "steps=2", "--resume", tmp_path / "r")
    first = command(*asked)
    assert len(list((tmp_path / "r").glob("seed_*.json"))) == 2
    monkeypatch.setattr("balproof.simulate.one", lambda *_: 1 / 0)  # nothing is left to run
    assert command(*asked) == first
    code, _, err = command(*asked, "--set", "steps=3")
    assert code == 2
    assert "belongs to a run with settings" in err


@pytest.mark.torch
def test_a_study_that_makes_its_own_data(command, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("balproof.simulate.data.digits", None)
    small = ("--set", "iterations=3", "--set", "trials=4", "--set", "units=4", "--set", "steps=5")
    _, out, err = command("context", "--seeds", 2, *small)
    assert err == ""
    assert out.splitlines()[1].startswith("made by the study, 2 seeds, ")
    code, _, err = command("context", "--data", tmp_path)
    assert (code, err) == (2, "balproof: context makes its own data: leave --data out\n")
