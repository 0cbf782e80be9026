"""The commands from outside: answers, fields, exit codes, and one line for everything that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import scipy.sparse

import balproof.cli
from balproof.balance.solve import METHODS
from balproof.importers import load
from balproof.importers.json_file import to_document
from balproof.symbolic.parser import parse
from tests.networks import mlp
from tests.sweeps import crossed


class Run:
    """What a command printed and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def balproof_(monkeypatch, capsys):
    def run(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["balproof", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            balproof.cli.main()
        out, err = capsys.readouterr()
        return Run(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def dead(tmp_path_factory) -> Path:
    """A network whose unit fc1[1] has no way out."""
    network = mlp([3, 4, 2], seed=8)
    value = network.numbers("fc2.weight").copy()
    value[:, 1] = 0.0
    path = tmp_path_factory.mktemp("dead") / "dead.json"
    path.write_text(json.dumps(to_document(network.with_parameters({"fc2.weight": value}))))
    return path


def test_a_sparse_matrix_from_file_to_file(balproof_, tmp_path) -> None:
    rng = np.random.default_rng(0)
    n, count = 200, 2_400
    places = np.concatenate([rng.integers(0, n, (2, count)), [np.arange(n), (np.arange(n) + 1) % n]], axis=1)
    J = scipy.sparse.coo_array((rng.standard_normal(count + n), tuple(places)), shape=(n, n))
    before, after = tmp_path / "a.npz", tmp_path / "b.npz"
    scipy.sparse.save_npz(before, J.tocsc())
    found = balproof_("solve", before, "--certify", "-o", after, "--json", "-")
    assert (found.code, found.err, found.json["status"]) == (0, "", "balanced")
    assert found.json["certificate"]["radius"] < 1e-8
    balanced = scipy.sparse.load_npz(after)
    assert balanced.format == "csc" and balanced.nnz == J.tocsr().nnz
    assert balproof_("inspect", after, "--json", "-").json["free_scales"] == n - 1
    assert balproof_("check", before, after, "--json", "-").json["verdict"] == "certified"
    balanced.data[0] *= -1
    scipy.sparse.save_npz(after, balanced)
    wrong = balproof_("check", before, after, "--json", "-")
    assert wrong.code == 1 and [f["kind"] for f in wrong.json["faults"]] == ["sign-changed"]


# --- solve and check on the digits network --------------------------------------------------------------


def test_solve_then_check(balproof_, digits, tmp_path) -> None:
    target = tmp_path / "b.onnx"
    found = balproof_("solve", digits, "--regularizer", "l2", "--certify", "-o", target, "--json", "-")
    assert (found.code, found.err) == (0, "")
    answer = found.json
    assert answer["status"] == "balanced"
    assert answer["imbalance"] <= 1e-12
    assert answer["certificate"]["gap"] <= 1e-12
    assert answer["certificate"]["radius"] <= 1e-12
    assert set(answer) >= {
        "status", "regularizer", "cost_before", "cost_after", "imbalance_before", "imbalance", "passes",
        "seconds", "method", "dead_units", "certificate", "witness",
    }  # fmt: skip
    assert set(answer["certificate"]) >= {"kind", "gap", "radius", "bits"}
    checked = balproof_("check", digits, target, "--regularizer", "l2")
    assert (checked.code, checked.err) == (0, "")
    assert checked.out.splitlines()[-1] == "ok"
    onnx.checker.check_model(onnx.load(target), full_check=True)


def test_a_bias_put_back_is_found_by_name(balproof_, digits, tmp_path) -> None:
    target = tmp_path / "b.onnx"
    assert balproof_("solve", digits, "-o", target).code == 0
    model, original = onnx.load(target), onnx.load(digits)
    by_name = {t.name: t for t in model.graph.initializer}
    old = {t.name: onnx.numpy_helper.to_array(t) for t in original.graph.initializer}
    bias = onnx.numpy_helper.to_array(by_name["fc2.bias"]).copy()
    bias[5] = old["fc2.bias"][5]
    by_name["fc2.bias"].CopyFrom(onnx.numpy_helper.from_array(bias, "fc2.bias"))
    onnx.save(model, target)
    found = balproof_("check", digits, target, "--regularizer", "l2", "--json", "-")
    assert found.code == 1
    answer = found.json
    assert not answer["ok"]
    assert not answer["same_orbit"]
    assert [f["kind"] for f in answer["faults"]] == ["bias-not-scaled"]
    assert "fc2[5]" in answer["faults"][0]["where"]
    assert answer["function_error"] > 1e-4
    assert set(answer) >= {
        "same_orbit", "function_error", "balanced", "imbalance", "optimality_gap", "faults", "verdict", "ok"
    }  # fmt: skip
    text = balproof_("check", digits, target)
    assert text.code == 1
    assert "bias-not-scaled: fc2.bias[5] (unit fc2[5])" in text.out


@pytest.mark.parametrize("method, cost", crossed(METHODS, ["l1", "lp:1.5", "abs(w) + w**2/10"]))
def test_every_method_under_every_cost(balproof_, tmp_path, cost: str, method: str) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(to_document(mlp([3, 4, 3, 2], seed=2))))
    found = balproof_("solve", path, "--regularizer", cost, "--method", method, "--certify", "--json", "-")
    assert (found.code, found.err) == (0, "")
    assert found.json["imbalance"] <= 1e-12
    assert found.json["certificate"]["gap"] <= 1e-12


def test_history_of_the_cost(balproof_, tmp_path) -> None:
    """From Python the same run has the same history; it falls, and ends at the cost of the answer."""
    network = mlp([3, 4, 3, 2], seed=2)
    path = tmp_path / "net.json"
    path.write_text(json.dumps(to_document(network)))
    options = ("--method", "stochastic", "--schedule", "reshuffled", "--seed", "3", "--json", "-")
    answer = balproof_("solve", path, *options, "--history").json
    run = balproof.solve(network, method="stochastic", schedule="reshuffled", seed=3)
    assert answer["history"] == list(run.history)
    assert answer["history"][0] == answer["cost_before"] > answer["history"][3] > answer["cost_after"] * 0.999
    assert answer["history"][-1] == pytest.approx(answer["cost_after"], rel=1e-13)
    assert "history" not in balproof_("solve", path, *options).json
    found = balproof_("solve", path, "--history")
    assert (found.code, found.err.count("\n")) == (2, 1) and "give --json F" in found.err


def test_unbalanced_cuts_are_said(balproof_, tmp_path) -> None:
    """Two pairs tied by 1e-12 and 1e-6: sweeps alone balance all units, and the pairs not at all."""
    path = tmp_path / "J.npy"
    np.save(path, np.array([[0, 1, 1e-12, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1e-6, 1, 0]]))
    found = balproof_("solve", path, "--method", "sweeps")
    assert found.code == 1 and found.out.startswith("unconverged") and "cuts       1:" in found.out
    found = balproof_("solve", path, "--certify")
    assert found.code == 0 and "cuts" not in found.out and "log-scales within" in found.out


def test_per_tensor_costs_and_biases_left_out(balproof_, tmp_path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(to_document(mlp([3, 4, 3, 2], seed=2))))
    options = ("--regularizer", "fc1.*=l1", "--regularizer", "fc2.*=lp:3", "--no-bias-cost", "--certify")
    found = balproof_("solve", path, *options, "--json", "-")
    assert found.code == 0
    assert found.json["regularizer"] == "fc1.*=l1, fc2.*=lp:3, biases without cost"
    assert found.json["certificate"]["gap"] <= 1e-12


def test_solve_in_words_and_pictures(balproof_, digits, tmp_path) -> None:
    picture = tmp_path / "p.svg"
    found = balproof_("solve", digits, "--certify", "-o", tmp_path / "b.onnx", "--plot", picture)
    assert found.code == 0
    assert "balanced under l2 by multilevel" in found.out
    assert "above the optimum, relatively (chi2-rational, exact rationals)" in found.out
    assert "rounded to float32" in found.out
    assert picture.read_text().lstrip().startswith("<?xml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.onnx", "p.svg"]


def test_powers_of_two_keep_the_function_bit_for_bit(balproof_, digits, tmp_path) -> None:
    import onnxruntime

    target = tmp_path / "b.onnx"
    found = balproof_("solve", digits, "--power-of-two", "-o", target, "--json", "-")
    assert found.code == 0
    written = found.json["written"]
    assert written["power_of_two"]
    assert 1e-3 < written["imbalance"] < 1  # each scale is off by up to √2
    assert found.json["cost_after"] < written["cost"] < found.json["cost_before"]
    x = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    runs = [onnxruntime.InferenceSession(p, providers=["CPUExecutionProvider"]) for p in (digits, target)]
    before, after = (run.run(None, {"x": x})[0] for run in runs)
    assert np.array_equal(before, after)
    weights = [
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(p).graph.initializer}
        for p in (digits, target)
    ]
    ratio = weights[1]["fc2.weight"] / weights[0]["fc2.weight"]
    assert set(np.frexp(ratio[np.isfinite(ratio)])[0].tolist()) == {0.5}
    assert "by powers of two" in balproof_("solve", digits, "--power-of-two", "-o", target).out


def test_json_to_a_file_leaves_the_words_on_the_terminal(balproof_, tmp_path) -> None:
    target = tmp_path / "answer.json"
    found = balproof_("solve", "tests/data/chain.json", "--json", target)
    assert json.loads(target.read_text())["status"] == "balanced"
    assert "balanced under l2" in found.out


def test_an_unattained_optimum_has_a_direction(balproof_, tmp_path) -> None:
    bridge = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0.0]])
    np.save(tmp_path / "bridge.npy", bridge)
    found = balproof_("solve", tmp_path / "bridge.npy", "--certify", "--json", "-")
    assert found.code == 1
    assert found.json["status"] == "unattained"
    assert found.json["certificate"] is None
    h = np.zeros(4)
    for name, value in found.json["witness"].items():
        h[int(name.split("[")[1].rstrip("]"))] = float(value)
    away = h[:, None] - h[None, :]  # J_ij takes the scale of i, and gives up that of j
    assert np.all(away[bridge != 0] <= 0)
    assert np.any(away[bridge != 0] < 0)
    assert "falls for ever along" in balproof_("solve", tmp_path / "bridge.npy").out


# --- dead units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_unit_is_named_and_left_alone(balproof_, dead, tmp_path, method: str) -> None:
    target = tmp_path / "b.json"
    found = balproof_("solve", dead, "--method", method, "--certify", "-o", target, "--json", "-")
    assert found.code == 1  # its cost could fall for ever
    assert found.json["status"] == "unattained"
    assert found.json["dead_units"] == ["fc1[1]"]
    assert found.json["imbalance"] <= 1e-12
    assert found.json["witness"] == {"fc1[1]": "-1"}
    before, after = load(dead), load(target)
    assert np.array_equal(before.numbers("fc1.weight")[1], after.numbers("fc1.weight")[1])
    assert np.isfinite(after.numbers("fc1.weight")).all()
    told = balproof_("solve", dead, "--method", method, "--certify").out
    assert "dead units, left alone: fc1[1]\n" in told
    assert "above the optimum over the scales that move, relatively" in told
    assert "the only balanced state over the scales that move\n" in told
    assert (
        "the optimum over all scales is not attained: the cost falls for ever along h = (fc1[1]: -1)" in told
    )


def test_check_says_what_was_not_compared(balproof_, tmp_path) -> None:
    """A matrix alone has no outputs, and there is no bound for the largest weights."""
    for name, value in ("before", [[0.0, 1.0], [4.0, 0.0]]), ("after", [[0.0, 1e-9], [4e9, 0.0]]):
        np.save(tmp_path / f"{name}.npy", np.array(value))
    found = balproof_("check", tmp_path / "before.npy", tmp_path / "after.npy", "--regularizer", "max")
    assert (found.code, found.err) == (1, "")
    assert "outputs differ by      not compared\nbalanced " in found.out
    assert "\nabove the optimum by   no bound\n" in found.out


def test_a_dead_unit_in_inspect_and_check(balproof_, dead, tmp_path) -> None:
    assert balproof_("inspect", dead, "--json", "-").json["dead_units"] == ["fc1[1]"]
    assert "dead units, in or out all 0 or dead: fc1[1]" in balproof_("inspect", dead).out
    target = tmp_path / "b.json"
    balproof_("solve", dead, "-o", target)
    found = balproof_("check", dead, target, "--json", "-")
    assert any("fc1[1]" in note for note in found.json["notes"])
    assert "NaN" not in found.out


# --- inspect, derive, verify ------------------------------------------------------------------------------


def test_inspect(balproof_, digits) -> None:
    answer = balproof_("inspect", digits, "--json", "-").json
    assert (answer["parameters"], answer["free_scales"], answer["invariants"]) == (5018, 80, 4938)
    assert len(answer["units"]) == 80
    assert set(answer["units"][0]) >= {"name", "size", "degree", "free", "why"}
    text = balproof_("inspect", digits)
    assert text.code == 0
    assert "fc1[0] … fc1[47]" in text.out
    assert "5018 parameters, 80 free scales, 4938 invariants" in text.out


@pytest.mark.parametrize(("name", "start"), [("g.svg", b"<?xml"), ("g.png", b"\x89PNG"), ("g.PDF", b"%PDF")])
def test_inspect_draws(balproof_, digits, tmp_path, name: str, start: bytes) -> None:
    found = balproof_("inspect", digits, "--graph", tmp_path / name)
    assert (found.code, found.err) == (0, "")
    assert "80 free scales" in found.out
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_suffix_of_a_picture_comes_before_the_model(balproof_, tmp_path) -> None:
    found = balproof_("inspect", tmp_path / "none.onnx", "--graph", tmp_path / "p.gif")
    assert (found.code, found.err) == (
        2,
        "balproof: a picture cannot be written as '.gif': end it in .svg, .png or .pdf\n",
    )


def test_inspect_says_what_blocks(balproof_, tmp_path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(to_document(mlp([3, 4, 2], activation="tanh"))))
    answer = balproof_("inspect", path, "--json", "-").json
    assert answer["free_scales"] == 0
    assert all(not u["free"] and "tanh" in u["why"] for u in answer["units"])


def test_derive_degree_two_with_a_general_power(balproof_) -> None:
    found = balproof_("derive", "--activation", "Max(x,0)**2", "--regularizer", "abs(w)**p", "--format", "md")
    assert (found.code, found.err) == (0, "")
    assert "\\lambda^* = \\left(\\frac{2 B}{A}\\right)^{1/(3 p)}" in found.out
    assert "\\sum_{\\mathrm{IN}} |w|^{p} = 2 \\sum_{\\mathrm{OUT}} |w|^{p}" in found.out
    for word in ("Laws", "Checked by", "proved"):
        assert word in found.out


@pytest.mark.parametrize("form", ["md", "tex", "html", "ipynb", "json"])
def test_derive_in_every_format(balproof_, tmp_path, form: str) -> None:
    target = tmp_path / f"d.{form}"
    options = ("--activation", "relu", "--regularizer", "l2", "--network", "tests/data/chain.json")
    found = balproof_("derive", *options, "--format", form, "-o", target)
    assert (found.code, found.out, found.err) == (0, "", "")
    text = target.read_text()
    assert "fc1" in text
    if form == "json":
        answer = json.loads(text)
        assert set(answer) >= {
            "activation", "regularizer", "optimal_scale", "balance_equation", "laws", "steps"
        }  # fmt: skip
        assert set(answer["activation"]) >= {"kind", "degree", "parameters"}
        assert set(answer["regularizer"]) >= {"even", "increasing", "log_convex", "coercive"}
        assert set(answer["optimal_scale"]) >= {"closed_form", "equation", "latex"}
        assert all(set(s) >= {"claim", "checked_by", "verdict"} for s in answer["steps"])


def test_derive_tanh_has_a_witness_to_check_by_hand(balproof_) -> None:
    found = balproof_("derive", "--activation", "tanh(x)", "--regularizer", "l2", "--format", "json")
    assert found.code == 1
    witness = found.json["activation"]["witness"]
    x1, x2, scale = (float(witness[k]) for k in ("x1", "x2", "scale"))
    assert abs(np.tanh(scale * x1) * np.tanh(x2) - np.tanh(scale * x2) * np.tanh(x1)) > 1e-3
    said = balproof_("derive", "--activation", "tanh(x)", "--regularizer", "l2")
    assert said.code == 1
    assert "f(2·1)/f(1)" in said.out


def test_derive_with_assumptions_shows_the_quartic(balproof_) -> None:
    assumed = [part for name in ("a", "b", "alpha", "beta") for part in ("--assume", f"{name}>0")]
    bilu, net = "Piecewise((a*x, x<0), (b*x, True))", "alpha*abs(w)+beta*w**2"
    options = ("--activation", bilu, "--regularizer", net, *assumed, "--format", "json")
    answer = balproof_("derive", *options).json
    assert answer["activation"]["coefficients"] == ["b", "-a"]
    assert (answer["activation"]["kind"], answer["activation"]["degree"]) == ("bilu", "1")
    found = parse(answer["optimal_scale"]["polynomial"].removesuffix(" = 0").replace("lambda", "L"))
    quartic = parse("2*beta*A_2*L**4 + alpha*A_1*L**3 - alpha*B_1*L - 2*beta*B_2")
    assert (found - quartic).expand() == 0
    proved = [s["claim"] for s in answer["steps"] if s["verdict"] == "proved"]
    assert any("exactly one positive root" in claim for claim in proved)
    assert len(answer["laws"]) == 3
    assert {"a > 0", "alpha > 0"} <= set(answer["assumptions"])


def test_derive_with_another_cost_out(balproof_) -> None:
    options = ("--activation", "relu", "--regularizer", "l2", "--regularizer-out", "l1", "--format", "json")
    answer = balproof_("derive", *options).json
    assert answer["balance_equation"] == "2·Σ_IN |w|^2 = Σ_OUT |w|"
    assert answer["regularizer_out"]["text"] == "l1"


def test_derive_for_given_weights(balproof_) -> None:
    """L1, 1 in and 16 out: λ = 4, and the cost falls from 17 to 8."""
    options = ("--activation", "relu", "--regularizer", "l1", "--weights-in", "1", "--weights-out", "-16,0")
    instance = balproof_("derive", *options, "--format", "json").json["instance"]
    low, high = (Fraction(bound) for bound in instance["scale_bounds"])
    assert low <= 4 <= high <= low + Fraction(1, 10**20)
    assert float(instance["gain"]) == pytest.approx(9, abs=1e-15)
    assert "λ = 4" in balproof_("derive", *options).out
    for missing in (options[:6], (*options[:5], "", *options[6:]), (*options[:5], "0", *options[6:])):
        refused = balproof_("derive", *missing)
        assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_derive_of_a_gate(balproof_) -> None:
    found = balproof_("derive", "--activation", "x*sigmoid(y)", "--regularizer", "l2", "--format", "json")
    assert found.code == 0
    assert [a["degree"] for a in found.json["activation"]["arguments"]] == ["1", None, None]
    assert balproof_("derive", "--activation", "x + y**2", "--regularizer", "l2").code == 1
    network = ("--network", "tests/data/chain.json")
    refused = balproof_("derive", "--activation", "x*y", "--regularizer", "l2", *network)
    assert (refused.code, refused.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("text", ["w**2/(1 + w**2)", "1 - exp(-w**2)", "w**3"])
def test_derive_says_no_where_the_scale_is_not_the_only_one(balproof_, text: str) -> None:
    assert balproof_("derive", "--activation", "relu", "--regularizer", text).code == 1


def test_nothing_is_run(balproof_, tmp_path) -> None:
    mark = tmp_path / "mark"
    text = f"__import__('os').system('touch {mark}')"
    for option, other in (("--activation", "--regularizer"), ("--regularizer", "--activation")):
        found = balproof_("derive", option, text, other, "l2" if option == "--activation" else "relu")
        assert found.code == 2
        assert found.err.count("\n") == 1
    assert not mark.exists()


def test_verify_one(balproof_, monkeypatch) -> None:
    found = balproof_("verify", "B.cost-reduction", "B.path-cover", "--json", "-")
    assert (found.code, found.err) == (0, "")
    answer = found.json
    assert answer["version"] == balproof.__version__
    assert answer["ok"]
    assert [c["id"] for c in answer["claims"]] == ["B.cost-reduction", "B.path-cover"]
    for c in answer["claims"]:
        assert set(c) >= {"id", "title", "source", "printed", "exact", "twins", "required", "ok"}
        assert set(c["printed"]) >= {"verdict", "why"}
        assert set(c["exact"]) >= {"statement", "verdict", "evidence", "assumptions"}
        assert all(set(e) == {"method", "what", "verdict", "seconds"} for e in c["exact"]["evidence"])
        assert all(set(t) == {"dropped", "verdict", "witness"} for t in c["twins"])
    words = balproof_("verify", "B.path-cover")
    assert words.code == 0
    assert "as required" in words.out
    assert "2 of 2 claims as required" in balproof_("verify", "B.path-cover", "B.locality").out
    monkeypatch.setattr("balproof.theorems.b_learning.replicate", list)  # no training runs
    table = balproof_("verify", "B.path-cover", "B.learning")
    assert "1 of 1 claims as required, nothing required of 1" in table.out


@pytest.mark.slow
def test_verify_side_by_side(balproof_) -> None:
    found = balproof_("verify", "B.cost-reduction", "B.locality", "--jobs", "2")
    assert "2 of 2 claims as required" in found.out


def test_a_claim_below_its_requirement_is_exit_code_one(balproof_, monkeypatch) -> None:
    """The guard is seen failing: a check that refutes makes verify say no."""
    from balproof import theorems
    from balproof.theorems.registry import Claim, Findings, Printed, claim
    from balproof.verdict import Evidence, Verdict

    @claim(Claim("B.planted", "planted", "", "", "", (), Verdict.proved))
    def planted() -> Findings:
        return Findings(Printed(Verdict.undecided, ""), (Evidence("exact", "1 = 2", Verdict.refuted),))

    monkeypatch.setattr(theorems, "CLAIMS", (*theorems.CLAIMS, planted))
    monkeypatch.setattr(theorems, "ORDER", (*theorems.ORDER, "B.planted"))
    found = balproof_("verify", "B.planted")
    assert found.code == 1
    assert "NOT as required" in found.out
    assert balproof_("verify", "B.planted", "S.euler").code == 1


def test_a_report_is_replayed(balproof_, tmp_path) -> None:
    report = tmp_path / "report.json"
    assert balproof_("verify", "S.bounds", "--samples", "2", "--json", report).code == 0
    same = balproof_("verify", "--replay", report)
    assert (same.code, same.out) == (0, f"1 claim checked anew: all is as {report} says\n")
    report.write_text(report.read_text().replace("9/5", "8/5"))
    other = balproof_("verify", "--replay", report)
    assert other.code == 1
    assert "S.bounds.twins[0].witness: the file says" in other.out


def test_verify_list_and_page(balproof_, tmp_path, monkeypatch) -> None:
    # Pictures take seconds, and other tests draw them.
    monkeypatch.setattr("balproof.report.pictures.pictures", tuple)
    listed = balproof_("verify", "--list")
    assert listed.code == 0
    assert len(listed.out.splitlines()) == 45
    page, source = tmp_path / "page.html", tmp_path / "page.tex"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "981173106")  # 3 February 2001
    assert balproof_("verify", "B.cost-reduction", "--html", page, "--tex", source).code == 0
    for text in (page.read_text(), source.read_text(encoding="ascii")):
        for piece in ("B.cost-reduction", "2001-02-03"):
            assert piece in text.replace(r"\allowbreak{}", "")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    wrong = balproof_("verify", "B.cost-reduction", "--tex", source)
    assert wrong.code == 2
    assert wrong.err.count("\n") == 1
    assert "'yesterday'" in wrong.err


def test_a_report_on_standard_output_is_alone_there(balproof_) -> None:
    found = balproof_("verify", "S.gradient-flow", "--tex", "-")
    assert found.code == 0
    assert found.out.startswith("\\documentclass")
    assert found.out.endswith("\\end{document}\n")


def test_a_page_in_the_tree_of_the_package_links_its_files(root, tmp_path) -> None:
    from balproof.cli.reports import _origin

    inside, outside = _origin(root / "build" / "report" / "page.html"), _origin(tmp_path / "page.html")
    assert (inside.root, outside.root, _origin(Path("-")).root) == ("../..", None, None)
    for path in (*inside.files.values(), *inside.counterexamples.values()):
        assert (root / path).is_file()


def test_one_claim_in_words(balproof_, root) -> None:
    """Everything in a pipe, at most 100 columns; the commands at the end do what they say."""
    found = balproof_("verify", "S.convergence")
    assert found.code == 0
    assert max(map(len, found.out.splitlines())) <= 100
    words = " ".join(found.out.split())
    for piece in (
        "as printed: From every start",
        "τJ̇_ij = (g_j − g_i)J_ij",  # no LaTeX is left
        "certified, required certified, as required",
        "if: costs positive",
        "without 'every synapse lies on a cycle': 1⇄2→3⇄4",
        "balproof inspect balproof/theorems/counterexamples/single_synapse.json",
        "python -c 'from balproof.theorems.s_convergence import convergence as f; print(f())'",
    ):
        assert piece in words
    assert not set("$\\") & set(words)
    commands = [line.split() for line in found.out.splitlines() if line.startswith("  balproof ")]
    assert len(commands) == 2
    codes = [balproof_(*command[1:]).code for command in commands]
    assert codes == [0, 1]  # a single synapse has no balanced state: solve says no


def test_a_screen_holds_one_claim() -> None:
    """Long checks and witnesses are cut on a terminal, where to read them is said, and nothing else goes."""
    from balproof.cli.explain import SCREEN, lines, screenful
    from balproof.theorems.registry import Claim, Findings, Printed, Record, Twin
    from balproof.verdict import Evidence, Verdict

    long = "word " * 100
    claim = Claim("B.long", "Long", "[B]", "printed", "exact", ("one", "two"), Verdict.proved)

    def record(count: int) -> Record:
        evidence = (Evidence("sympy", long, Verdict.proved, 0.1),) * count
        twins = (Twin("this", Verdict.refuted, long), Twin("that", Verdict.sampled, "short"))
        return Record(claim, Findings(Printed(Verdict.refuted, "why"), evidence, twins), 0.1)

    few, many = record(1), record(5)
    assert screenful(few) == lines(few)
    shown = [text for text, _ in screenful(many)]
    assert len(lines(many)) > SCREEN >= len(shown)
    assert max(map(len, shown)) <= 100
    assert sum(text.endswith(" …") for text in shown) == 6
    assert shown[-1] == "whole texts: balproof verify B.long | less"
    assert "NOT as required" in " ".join(shown)
    assert "  without 'that': sampled, should be refuted: short" in shown


# --- what is wrong gets one line and exit code 2 ----------------------------------------------------------

WRONG: dict[str, tuple[str, ...]] = {
    "no such file": ("solve", "nothing.onnx"),
    "a folder": ("inspect", "tests"),
    "no suffix": ("inspect", "Makefile"),
    "a pickle": ("solve", "model.pt"),
    "an exported program": ("solve", "model.pt2"),
    "not a model": ("inspect", "{tmp}/text.onnx"),
    "not JSON": ("solve", "{tmp}/text.json"),
    "empty file": ("solve", "{tmp}/empty.npz"),
    "not square": ("solve", "{tmp}/oblong.npy"),
    "NaN weights": ("solve", "{tmp}/nan.npy"),
    "NaN before": ("check", "{tmp}/nan.npy", "{tmp}/nan.npy"),
    "symbols to solve": ("solve", "{tmp}/symbols.json"),
    "unknown claim": ("verify", "B.nothing"),
    "negative samples": ("verify", "S.euler", "--samples", "-1"),
    "no folder to go on in": ("verify", "S.euler", "--resume", "Makefile"),
    "a folder of something else": ("verify", "S.euler", "--resume", "tests"),
    "no scheduler": ("verify", "S.euler", "--dask", "what://nowhere"),
    "no report to replay": ("verify", "--replay", "nothing.json"),
    "a model to replay": ("verify", "--replay", "tests/data/chain.json"),
    "a list as a page": ("verify", "--list", "--html", "{tmp}/page.html"),
    "a report and a claim": ("verify", "S.euler", "--replay", "nothing.json"),
    "a report and Coq": ("verify", "--formal", "--replay", "nothing.json"),
    "no jobs": ("verify", "--jobs", "0"),
    "jobs is a word": ("verify", "--jobs", "many"),
    "unknown command": ("balance", "x"),
    "unknown option": ("solve", "{digits}", "--fast"),
    "missing argument": ("check", "{digits}"),
    "unknown method": ("solve", "{digits}", "--method", "magic"),
    "unknown schedule": ("solve", "{digits}", "--method", "stochastic", "--schedule", "lucky"),
    "unknown schedule that is not used": ("solve", "{digits}", "--schedule", "lucky"),
    "negative seed": ("solve", "{digits}", "--seed", "-1"),
    "bad cost": ("solve", "{digits}", "--regularizer", "l7"),
    "exponent 0": ("solve", "{digits}", "--regularizer", "lp:0"),
    "cost with symbols": ("solve", "{digits}", "--regularizer", "abs(w)**p"),
    "cost not even": ("solve", "{digits}", "--regularizer", "exp(w)"),
    "cost not convex": ("solve", "{digits}", "--regularizer", "w**2/(1+w**2)"),
    "no such tensor": ("solve", "{digits}", "--regularizer", "conv*=l1"),
    "cvxpy cannot": ("solve", "{digits}", "--method", "cvxpy", "--regularizer", "log(1+w**2)"),
    "powers of two of nothing": ("solve", "{digits}", "--power-of-two"),
    "over the input": ("solve", "{digits}", "-o", "{digits}"),
    "other suffix": ("solve", "{digits}", "-o", "{tmp}/b.json"),
    "folder missing": ("solve", "{digits}", "-o", "{tmp}/none/b.onnx"),
    "json into nowhere": ("solve", "{digits}", "--json", "{tmp}/none/b.json"),
    "graph suffix": ("inspect", "{digits}", "--graph", "{tmp}/p.gif"),
    "graph over the answer": ("inspect", "{digits}", "--json", "{tmp}/p.svg", "--graph", "{same}/p.svg"),
    "plot suffix": ("solve", "{digits}", "--plot", "{tmp}/p.gif"),
    "too long a name": ("solve", "{digits}", "--json", "{tmp}/" + 250 * "a"),
    "two outputs in one file": ("solve", "{digits}", "--json", "{tmp}/p.svg", "--plot", "{same}/p.svg"),
    "two texts on standard output": ("verify", "--list", "--json", "-", "--html", "-"),
    "LaTeX into the page": ("verify", "B.cost-reduction", "--html", "{tmp}/p", "--tex", "{tmp}/p"),
    "page into nowhere": ("verify", "B.cost-reduction", "--html", "{tmp}/none/p.html"),
    "empty formula": ("derive", "--activation", "", "--regularizer", "l2"),
    "unbalanced parenthesis": ("derive", "--activation", "Max(x, 0", "--regularizer", "l2"),
    "unknown name": ("derive", "--activation", "foo(x)", "--regularizer", "l2"),
    "code": ("derive", "--activation", "__import__('os').system('id')", "--regularizer", "l2"),
    "attribute": ("derive", "--activation", "x.real", "--regularizer", "l2"),
    "huge power": ("derive", "--activation", "x**x**x**x", "--regularizer", "9**9**9**9"),
    "unknown format": ("derive", "--activation", "relu", "--regularizer", "l2", "--format", "pdf"),
    "assumption of nothing": ("derive", "--activation", "relu", "--regularizer", "l2", "--assume", "a>0"),
    "no assumption": ("derive", "--activation", "a*x", "--regularizer", "l2", "--assume", "a~0"),
    "not elementwise": ("derive", "--activation", "softmax", "--regularizer", "l2"),
    "no variable": ("derive", "--activation", "relu", "--regularizer", "3"),
    "null byte": ("solve", "a\0b.json"),
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "text.onnx").write_text("this is no model")
    (folder / "text.json").write_text("{not json")
    (folder / "empty.npz").write_bytes(b"")
    np.save(folder / "oblong.npy", np.ones((2, 3)))
    np.save(folder / "nan.npy", np.array([[0.0, np.nan], [1.0, 0.0]]))
    symbols = mlp([2, 2, 1])
    document = to_document(symbols)
    document["parameters"]["fc1.weight"][0][0] = "w"
    (folder / "symbols.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_one_line_and_exit_code_two(balproof_, wrong_files, digits, tmp_path, name: str) -> None:
    before = digits.read_bytes()
    places = {
        "{tmp}": str(wrong_files),
        "{digits}": str(digits),
        "{same}": f"{wrong_files}/../{wrong_files.name}",
    }
    arguments = list(WRONG[name])
    for place, path in places.items():
        arguments = [a.replace(place, path) for a in arguments]
    found = balproof_(*arguments)
    assert found.code == 2, found.out
    assert found.out == ""
    assert found.err.startswith("balproof: ")
    assert found.err.count("\n") == 1
    assert ": " in found.err.removeprefix("balproof: ")  # cause, then remedy
    assert "internal fault" not in found.err
    assert digits.read_bytes() == before
    assert not (wrong_files / "none").exists()


def test_a_fault_of_ours_is_not_an_answer(balproof_, monkeypatch) -> None:
    from balproof.network import manifold

    def broken(network: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(manifold, "infer", broken)
    found = balproof_("inspect", "tests/data/chain.json")
    assert found.code == 2
    assert found.err.startswith("balproof: internal fault (ZeroDivisionError: planted)")
    assert found.err.count("\n") == 1


def test_an_interrupt_is_no_answer(balproof_, monkeypatch, tmp_path) -> None:
    from balproof.network import manifold

    def interrupted(network: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifold, "infer", interrupted)
    found = balproof_("inspect", "tests/data/chain.json", "--json", tmp_path / "answer.json")
    assert (found.code, found.out, found.err) == (130, "", "balproof: stopped\n")
    assert not list(tmp_path.iterdir())


# --- as a program -----------------------------------------------------------------------------------------


def program(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("balproof")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **more)


def test_help_shows_an_example_of_every_command(balproof_) -> None:
    top = balproof_("--help")
    assert top.code == 0
    for command in ("verify", "derive", "inspect", "conserved", "solve", "check"):
        assert command in top.out
        told = balproof_(command, "--help")
        assert told.code == 0
        assert f"Example: balproof {command}" in " ".join(told.out.split())
    assert balproof_().out == top.out
    assert program("--version").stdout == f"balproof {balproof.__version__}\n"


def shell(arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{Path(sys.executable).with_name('balproof')} {arguments}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


SAYING = (
    "inspect tests/data/chain.json --json -",
    pytest.param("verify --list", marks=pytest.mark.slow),
    pytest.param("derive --activation relu --regularizer l2", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("command", SAYING)
def test_a_reader_that_goes_away_is_no_fault_and_no_answer(command: str) -> None:
    done = shell(f"{command} | true")
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


@pytest.mark.parametrize("command", SAYING)
def test_standard_output_that_is_closed_or_full(command: str) -> None:
    closed = shell(f"{command} >&-")
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, "", "")
    full = shell(f"{command} > /dev/full")
    assert full.returncode == 2
    assert full.stderr.startswith("balproof: standard output cannot be written (No space left on device)")
    assert full.stderr.count("\n") == 1


def test_standard_error_that_is_closed() -> None:
    assert shell("inspect nothing.onnx 2>&-").stdout == ""


def test_a_link_to_itself_is_replaced(balproof_, tmp_path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    assert balproof_("inspect", "tests/data/chain.json", "--json", link).code == 0
    assert json.loads(link.read_text())["parameters"] == 3


def test_devices_are_written_to_and_not_replaced(balproof_, tmp_path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    assert balproof_("inspect", "tests/data/chain.json", "--json", link).code == 0
    assert Path("/dev/null").is_char_device()
    full = balproof_("inspect", "tests/data/chain.json", "--json", "/dev/full")
    assert full.code == 2
    assert full.err == "balproof: /dev/full cannot be written (No space left on device): write to a file\n"


def test_a_log_is_added_to_and_output_in_a_narrow_one_is_whole(tmp_path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    done = shell(f"inspect tests/data/digits.onnx --json /dev/stdout >> {log}", COLUMNS="40")
    assert (done.returncode, done.stderr) == (0, "")
    text = log.read_text()
    assert text.startswith('before\n{\n  "parameters": 5018')
    assert "fc1[0] … fc1[47]" in text
    assert text.endswith("5018 parameters, 80 free scales, 4938 invariants\n")


def test_check_draws_the_layers(balproof_, digits, tmp_path) -> None:
    balanced, picture = tmp_path / "b.onnx", tmp_path / "c.svg"
    assert balproof_("solve", digits, "-o", balanced).code == 0
    assert balproof_("check", digits, balanced, "--plot", picture).code == 0
    text = picture.read_text(encoding="utf-8")
    assert "fc1" in text and "fc2" in text
    other = balproof_("check", digits, "tests/data/chain.json", "--plot", tmp_path / "d.svg")
    assert other.code == 2 and "no balance of AFTER to draw" in other.err
    assert not (tmp_path / "d.svg").exists()
    assert balproof_("check", digits, balanced, "--plot", tmp_path / "d.gif").code == 2


def test_check_under_extremes(balproof_, digits, tmp_path) -> None:
    picture = tmp_path / "p.svg"
    found = balproof_("check", digits, digits, "--regularizer", "max", "--json", "-", "--plot", picture)
    assert found.code == 1 and "<svg" in picture.read_text()
    answer = json.loads(found.out)
    assert answer["explanation"][0]["kind"] == "left-as-it-was" and answer["optimality_gap"] is None
    text = balproof_("check", digits, digits, "--regularizer", "range", "--no-bias-cost")
    assert "left-as-it-was" in text.out and "no optimum under range" in text.out


def test_check_says_what_happened(balproof_, tmp_path) -> None:
    """A layer whose way out was not divided: one line for the mistake, one for what it is and does."""
    network = mlp([3, 4, 5, 2], seed=8)
    s = np.array([2.0, 3.0, 0.25, 0.5])
    v = {n: network.numbers(n) for n in ("fc1.weight", "fc1.bias")}
    wrong = network.with_parameters({n: w * s.reshape(-1, *[1] * (w.ndim - 1)) for n, w in v.items()})
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps(to_document(network)))
    after.write_text(json.dumps(to_document(wrong)))
    lines = balproof_("check", before, after).out.splitlines()
    at = lines.index("outgoing-not-scaled  fc2.weight (units fc1[0], fc1[1], fc1[2], fc1[3])")
    assert lines[at + 1].startswith(
        "  the weights out of these units were not divided, those in were multiplied"
    )
    assert "20 weights; outputs differ by 0." in lines[at + 1] and "without it" in lines[at + 1]
