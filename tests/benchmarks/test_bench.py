"""`make bench` on tiny inputs: every field is there, and the number of reads is that of another count."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balproof.balance import solve as solving
from balproof.balance.blocks import cyclic
from balproof.balance.blocks.pairs import Pair
from balproof.errors import ModelError
from balproof.network.manifold import infer
from benchmarks import compare, run
from benchmarks.inputs import CASES, Case, coupled, log_normal, mlp, narrow, recurrent, transformer
from benchmarks.measure import best, extra_memory, read
from benchmarks.peers import PEERS, Skip, Subject
from benchmarks.table import history_line, lines_of, record_history, target_lines, training_lines
from benchmarks.targets import targets
from benchmarks.training import training

TINY = (
    Case(
        "dense",
        "tiny",
        lambda: mlp([6] * 5),
        12,
        ("plain", "plain-numpy", "l-bfgs", "stochastic"),
        stream=True,
    ),
    Case("sizes", "program", lambda: mlp([3] * 3), None, ("clarabel", "scs")),
    Case("recurrent", "tiny", lambda: recurrent(12), None, ("matrix_balance", "osborne-numpy", "plain")),
)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return json.loads(json.dumps(run.measure(TINY, "quick", seconds=0.0)))


def test_every_field_is_there(found: dict[str, Any]) -> None:
    fields = {"date", "commit", "machine", "mode", "cases", "training", "targets", "seconds"}
    assert fields == set(found)
    assert {"cpu", "cores", "load", "numpy", "numba"} <= set(found["machine"])
    for case, made in zip(TINY, found["cases"], strict=True):
        assert (made["group"], made["name"]) == (case.group, case.name)
        assert (made["stream"] is not None) == case.stream
        ours = made["ours"]
        assert {"wall", "cpu", "build", "certify", "reads", "radius", "no_certificate"} <= set(ours)
        assert ours["imbalance"] <= 1e-10
        assert (ours["radius"] is None) != (ours["no_certificate"] is None)
        assert ours["extra_memory"] > 0
        assert ours["certifiable_reads"] > ours["reads"]
        assert [p["name"] for p in made["peers"]] == list(case.peers)
        for peer in made["peers"]:
            if peer["skipped"] is None:
                assert peer["ratio"] > 0
                assert peer["wall"] > 0
                assert peer["imbalance"] >= 0
    assert {t["what"] for t in found["targets"]} >= {
        "imbalance",
        "reads to 1e-10",
        "times faster than stochastic",
    }
    stream = found["cases"][0]["stream"]["threads"]
    assert all(own["read"] > 0 and own["solve_in_reads"] > 0 for own in stream)


def test_what_is_certified_is_what_solve_returns(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solving, "BLOCKS", 0)
    for case, made in zip(TINY[:2], found["cases"], strict=False):
        solved = solving.solve(case.make(), certify=True)
        assert solved.certificate is not None
        assert solved.certificate.radius == made["ours"]["radius"] < 1e-12
        assert solved.passes == pytest.approx(made["ours"]["certifiable_reads"])


def test_peers_that_say_so_reach_the_balance(found: dict[str, Any]) -> None:
    for made in found["cases"]:
        for peer in made["peers"]:
            wanted = PEERS[peer["name"]].tolerance
            if wanted is not None and peer["note"] is None and peer["skipped"] is None:
                assert peer["imbalance"] <= 10 * wanted, peer["name"]
            if peer["name"] in ("clarabel", "l-bfgs"):
                assert peer["imbalance"] < 1e-5
            if peer["name"] == "matrix_balance":
                assert 1e-3 < peer["imbalance"] < 1


@pytest.mark.parametrize("coarse", [True, False])
def test_reads_are_what_the_blocks_are_read(monkeypatch: pytest.MonkeyPatch, coarse: bool) -> None:
    """By the number of weights that the lowest function was given, block by block and in one call."""
    seen = 0
    inner = Pair._read

    def counting(pair: Pair, *given: Any, **more: Any) -> Any:
        nonlocal seen
        seen += pair.weights.size
        return inner(pair, *given, **more)

    monkeypatch.setattr(Pair, "_read", counting)
    monkeypatch.setattr(cyclic, "is_threaded", lambda size: True)
    manifold = infer(mlp([5, 7, 6, 4, 3]))
    problem = run.build(manifold)
    found = run.sweeps(problem, tolerance=1e-10, coarse=coarse, memory=8 if coarse else 0)
    assert seen / problem.size == pytest.approx(found.passes)
    assert found.passes > 2
    monkeypatch.undo()
    assert (
        run.sweeps(problem, tolerance=1e-10, coarse=coarse, memory=8 if coarse else 0).passes == found.passes
    )


def test_a_peer_that_is_missing_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    manifold = infer(mlp([2, 2, 2]))
    subject = Subject(manifold, run.build(manifold))
    with pytest.raises(Skip, match="scs is not installed"):
        PEERS["scs"].prepare(subject)
    skipped = run.run_peer("scs", subject, 0.0)
    assert (skipped["skipped"], skipped["cpu"]) == ("scs is not installed", None)


def test_inputs_are_what_their_names_say() -> None:
    w = mlp([8, 8, 8], coupled(2, 1e-3)).tensors["fc1.weight"].value
    assert w is not None
    assert np.abs(w[:4, 4:]).max() < 0.01 * np.abs(w[:4, :4]).max()
    heavy = mlp([40, 40, 40], log_normal(6.0)).tensors["fc1.weight"].value
    assert heavy is not None
    assert 5 < np.log(np.abs(heavy)).std() < 7
    assert len(narrow(200).parameters) == 200
    assert not np.diag(recurrent(5).numbers("J")).any()
    spread = np.log(np.abs(recurrent(200, 0.5, 3.0).numbers("J") + np.eye(200)))
    assert 2.5 < spread.mean(axis=1).std() < 3.5
    assert (spread + spread.T)[~np.eye(200, dtype=bool)].std() == pytest.approx(0.5 * np.sqrt(2), rel=0.05)
    attention = transformer(1, 4, 2, tokens=3, classes=2)
    names = {u.name.split("[")[0] for u in infer(attention).units if u.free}
    assert {"0.fc1", "0.v"} <= names
    assert len({(c.group, c.name) for c in CASES}) == len(CASES)
    assert {name for c in CASES for name in c.peers} == set(PEERS)


def test_measures() -> None:
    spent, result = best(lambda: sum(range(1000)), 0.01)
    assert result == 499_500
    assert 0 < spent.wall < 1
    assert extra_memory(lambda: np.ones(100_000)) == pytest.approx(800_000, rel=0.1)
    arrays = [np.arange(10.0).reshape(2, 5), np.ones(3)]
    assert read(arrays, 1) == read(arrays, 2) == 48


def test_targets_say_what_is_not_reached() -> None:
    ours = {"imbalance": 1e-11, "reads": 13.0, "extra_memory": 20, "radius": 2e-9}
    thread = {"threads": 1, "solve_in_reads": 41.0, "sweep_share": 0.6}
    names = ("plain", "matrix_balance", "stochastic")
    peers = [{"name": n, "skipped": None, "ratio": 4.0, "wall_ratio": 2.0} for n in names]
    case = {"group": "dense", "name": "n", "reads_wanted": 12, "weights": 10**8, "bytes": 100, "ours": ours,
            "peers": peers, "stream": {"threads": [thread]}}  # fmt: skip
    made = {t["what"]: (t["target"], t["reached"], t["ok"]) for t in targets([case])}
    assert made["imbalance"] == ("≤ 1e-10", 1e-11, True)
    assert made["reads to 1e-10"] == ("≤ 12", 13.0, False)
    assert made["certified radius"] == ("≤ 1e-09", 2e-9, False)
    for group, radius, ok in (("ResNet", 1e-9, [True]), ("transformer", None, [False]), ("narrow", 1.0, [])):
        other = {**case, "group": group, "ours": {**ours, "radius": radius}}
        assert [t["ok"] for t in targets([other]) if t["what"] == "certified radius"] == ok
    assert made["times faster than plain"] == ("≥ 5", 4.0, False)
    assert made["times faster than matrix_balance"] == ("≥ 3", 2.0, False)  # by the clock
    assert made["solve and certificate in streaming reads, 1 thread"] == ("≤ 40", 41.0, False)
    assert made["a sweep's share of the streaming speed, 1 thread"] == ("≥ 0.5", 0.6, True)
    assert made["extra memory / weights"] == ("≤ 0.1", 0.2, False)
    assert "4 of 9 targets reached" not in target_lines(targets([case]))[-1]
    assert (
        target_lines(targets([case]))[-1]
        == f"{sum(v[2] for v in made.values())} of {len(made)} targets reached"
    )


def test_the_run_is_a_line_of_the_table(found: dict[str, Any], root: Path, tmp_path: Path) -> None:
    text = (root / "benchmarks" / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(text, encoding="utf-8")
    record_history(found, copy)
    record_history(found, copy)
    line, head = history_line(found), next(x for x in text.splitlines() if x.startswith("| date"))
    assert copy.read_text(encoding="utf-8").count(line) == 2
    assert line.count("|") == head.count("|")
    copy.write_text("no table", encoding="utf-8")
    with pytest.raises(ValueError, match="put it under the last run"):
        record_history(found, copy)
    assert any("NOT REACHED" in x or "ours" in x for case in found["cases"] for x in lines_of(case))


def test_an_unknown_case_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", "no such"]) == 2
    assert capsys.readouterr().err == "no case has 'no such' in its name: see CASES in benchmarks/inputs.py\n"


def test_an_unknown_commit_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["no-such-commit"]) == 2
    said = capsys.readouterr().err
    assert said == "no commit 'no-such-commit' is here: name one of git log, or fetch it\n"


def test_a_worktree_is_removed_whatever_happens(root: Path) -> None:
    if not (root / ".git").exists():
        pytest.skip("no repository")
    commit = compare.known("HEAD")
    trees = []

    def broken_off() -> None:
        with compare.checked_out(commit) as tree:
            trees.append(tree)
            own, other = (folder / "benchmarks" / "run.py" for folder in (root, tree))
            assert own.read_text() == other.read_text()
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        broken_off()
    tree = trees[0]
    assert not tree.exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=root, capture_output=True, text=True, check=True)
    assert str(tree) not in listed.stdout


def test_a_comparison_marks_what_is_slower_in_every_pair() -> None:
    def runs(*seconds: float) -> list[compare.Run]:
        return [{"a": {"infer": 1.0, "solve": s, "certify": 2.0, "reads": 3.0}} for s in seconds]

    lines = compare.compared(runs(1.0, 2.0, 1.0), runs(3.0, 3.0, 3.0))
    assert "+ 3.00 (1.50–3.00)" in lines[1]
    assert "  1.00 (1.00–1.00)" in lines[1]
    assert "- 0.50 (0.50–0.50)" in compare.compared(runs(2.0), runs(1.0))[1]
    assert "  1.00 (0.50–2.00)" in compare.compared(runs(1.0, 2.0), runs(2.0, 1.0))[1]


@pytest.mark.slow
def test_two_trees_in_turns(root: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.compare", "HEAD", "--rounds", "1", "--only", "1.4e3"]
    done = subprocess.run([*command, "--seconds", "0"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sizes: 1.4e3 in 10 layers" in done.stdout


def test_balancing_within_a_training() -> None:
    pytest.importorskip("torch")
    found = training(0.0, (5, 7, 3))
    assert found is not None
    assert found["imbalance"] <= 1e-6 < found["imbalance_before"]
    assert found["ratio"] > 0
    assert "batch 64" in "".join(training_lines(found))
    for ratio, ok in ((0.5, True), (2.0, False)):
        assert [t["ok"] for t in targets([], {**found, "ratio": ratio})] == [ok]


def test_what_a_package_refuses_is_left_out_where_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> Any:
        raise ModelError("J holds object", "give numbers")

    cases = (Case("new", "kind", refused), TINY[1])
    with pytest.raises(ModelError):
        run.measure(cases, "quick", seconds=0.0, peers=False)
    found = run.measure(cases, "quick", seconds=0.0, peers=False, partly=True)
    assert [c["name"] for c in found["cases"]] == ["program"]
    assert "new: kind: left out: J holds object" in capsys.readouterr().out
    times = {"infer": 1.0, "solve": 1.0, "certify": 1.0, "reads": 2.0}
    assert any(
        "the base refuses it" in x for x in compare.compared([{"a": times}], [{"a": times, "b": times}])
    )
