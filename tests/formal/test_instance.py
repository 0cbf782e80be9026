"""Certificates of single networks that Coq's kernel checks, and rejects when a digit is changed."""

from __future__ import annotations

import json
import re
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import balproof.cli
from balproof.balance.certificates.gap import NoCertificate, certify_gap
from balproof.balance.certificates.kernel import KernelCertificate, kernel_certificate
from balproof.balance.multilevel import multilevel
from balproof.balance.problem import BalanceProblem
from balproof.errors import MissingToolError
from balproof.formal import check_certificate, check_certificates, coq_version
from balproof.importers import load
from balproof.network.graph import Network
from tests.balance.samples import two_degrees
from tests.networks import called_twice, mlp

needs_coq = pytest.mark.skipif(coq_version() is None, reason="needs Coq: apt install coq libcoq-coquelicot")


def balanced(network: Network, costs: str = "l2") -> BalanceProblem:
    problem = BalanceProblem.build(network, costs)
    return problem.rescaled(multilevel(problem).h)


def certificate(problem: BalanceProblem) -> KernelCertificate:
    found = kernel_certificate(problem)
    assert isinstance(found, KernelCertificate)
    return found


@pytest.fixture(scope="module")
def small() -> str:
    return certificate(balanced(mlp([3, 4, 2], seed=1))).text


def read(text: str) -> tuple[int, list[tuple[int, dict[int, int], int, int]]]:
    """The numbers of a certificate: D, and mantissa, row, shift and share of each weight."""
    found = re.findall(r"Weight (\d+) \[(.*?)\] \(?(-?\d+)\)? (\d+)", text)
    rows = [{int(k): int(c) for k, c in re.findall(r"r (\d+) \(?(-?\d+)", row)} for _, row, _, _ in found]
    weights = [(int(m), row, int(s), int(q)) for (m, _, s, q), row in zip(found, rows, strict=True)]
    unit = re.search(r"Definition D : Z := (\d+)", text)
    assert unit is not None
    return int(unit[1]), weights


NETWORKS = {
    "degree 1": mlp([4, 5, 3], seed=3),
    "degree 3": mlp([3, 4, 3, 2], seed=1, activation="Max(x,0)**3"),
    "degree 3/2": mlp([3, 4, 2], seed=1, activation="Max(x,0)**(3/2)"),
    "degrees 2 and 1/2 around a loop": two_degrees(),
    "weights with three scales": called_twice(),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("costs", "p"), [("l2", 2), ("l1", 1), ("lp:3", 3)])
def test_the_numbers_show_the_gap(name: str, costs: str, p: int) -> None:
    """What Coq computes, here in Python's integers, and that the weights are those of the network."""
    problem = balanced(NETWORKS[name], costs)
    found = certificate(problem)
    unit, weights = read(found.text)
    assert [Fraction(m, unit) for m, *_ in weights] == [Fraction(float(w)) for w in problem.weights]
    carried: dict[int, int] = {}
    for m, row, shift, share in weights:
        assert m**p + shift > 0
        assert shift**2 <= share * m**p
        for k, c in row.items():
            carried[k] = carried.get(k, 0) + c * (m**p + shift)
    assert set(carried.values()) == {0}
    assert Fraction(sum(w[3] for w in weights), unit**p) <= found.gap
    other = certify_gap(problem, "rational")
    assert not isinstance(other, NoCertificate)
    assert float(found.gap) == pytest.approx(other.absolute, rel=1e-6, abs=len(weights) / unit**p)
    dense = np.array(
        [[row.get(int(k) + 1, 0) for k in np.flatnonzero(problem.active)] for _, row, *_ in weights]
    )
    steps = {"degree 3/2": 2, "degrees 2 and 1/2 around a loop": (1, 1, 2)}.get(name, 1)
    assert np.array_equal(dense, problem.A.toarray()[:, problem.active] * steps)


def test_what_has_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(problem: BalanceProblem) -> str:
        found = kernel_certificate(problem)
        assert isinstance(found, NoCertificate)
        return found.reason

    network = mlp([3, 4, 2], seed=1)
    assert reason(balanced(network, "lp:1.5")).startswith("the certificate for Coq needs the regularizer l1")
    assert reason(balanced(network, "2*w**2")).startswith("the certificate for Coq needs the regularizer l1")
    monkeypatch.setattr("balproof.balance.certificates.kernel._LONGEST", 60)
    certificate(balanced(network))
    assert reason(balanced(called_twice())).startswith("the exact flow needs numbers too long")


CHANGES = {
    "a weight": (r"(?<=Weight )\d+", +1),
    "the unit": (r"(?<=Definition D : Z := )\d+", -1),
    "the flow": (r"(?<=\] \()-\d+", -1),
    "the gap in the statement, not in the proof": (r"(?<=weights scales h \+ IZR )\d+", -1),
}


@pytest.mark.slow
@needs_coq
@pytest.mark.parametrize("name", NETWORKS)
def test_coq_accepts_it(name: str) -> None:
    assert check_certificate(certificate(balanced(NETWORKS[name])).text) == []


def changed(text: str, pattern: str, change: int) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return text[: found.start()] + str(int(found[0]) + change) + text[found.end() :]


@pytest.fixture(scope="module")
def said(small: str) -> dict[str, list[str]]:
    """What Coq finds wrong with the certificate as it is, with a digit changed, and assumed: in one build."""
    statement = re.search(r"Theorem no_rescaling_is_better.*?\.\n", small, flags=re.DOTALL)
    assert statement is not None
    texts = {"as it is": small, **{name: changed(small, *how) for name, how in CHANGES.items()}}
    texts["assumed"] = f"{small[: statement.start()]}{statement[0].replace('Theorem', 'Axiom')}"
    return dict(zip(texts, check_certificates(list(texts.values())), strict=True))


@pytest.mark.slow
@needs_coq
def test_coq_accepts_the_small_one(said: dict[str, list[str]]) -> None:
    assert said["as it is"] == []


@pytest.mark.slow
@needs_coq
@pytest.mark.parametrize("change", CHANGES)
def test_coq_rejects_a_changed_digit(said: dict[str, list[str]], change: str) -> None:
    assert said[change]
    assert said[change][0].startswith("Network.v does not compile")


@pytest.mark.slow
@needs_coq
def test_a_certificate_that_assumes_is_rejected(said: dict[str, list[str]]) -> None:
    assert any("assumes what should be proved" in f for f in said["assumed"])
    assert any("assumed, and not among the axioms allowed" in f for f in said["assumed"])


def test_without_coq(small: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="Coq is not installed"):
        check_certificate(small)


def solve(
    *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, object]:
    monkeypatch.setattr(sys, "argv", ["balproof", "solve", *map(str, arguments), "--json", "-"])
    with pytest.raises(SystemExit) as stop:
        balproof.cli.main()
    assert stop.value.code == 0
    return json.loads(capsys.readouterr().out)["coq"]


def test_the_command_without_coq(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    target = tmp_path / "chain.v"
    found = solve(root / "tests/data/chain.json", "--coq", target, monkeypatch=monkeypatch, capsys=capsys)
    assert found["checked"] is False
    assert str(found["said"]).endswith("not checked: Coq is not installed")
    assert "Theorem no_rescaling_is_better" in target.read_text()


def test_certify_coq_writes_beside_out_or_here(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    chain, after = root / "tests/data/chain.json", tmp_path / "after.json"
    found = solve(chain, "--certify", "coq", "-o", after, monkeypatch=monkeypatch, capsys=capsys)
    assert found["path"] == str(tmp_path / "after.v")
    assert solve("--certify", "coq", chain, monkeypatch=monkeypatch, capsys=capsys)["path"] == "chain.v"
    assert [p.name for p in here.iterdir()] == ["chain.v"]
    assert "Theorem no_rescaling_is_better" in (here / "chain.v").read_text()


@needs_coq
@pytest.mark.slow
def test_the_command_on_the_digits_network(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than 2,000 weights: all of the network, biases included."""
    found = solve(digits, "--coq", tmp_path / "digits.v", monkeypatch=monkeypatch, capsys=capsys)
    assert found["checked"] is True
    assert found["weights"] == sum(
        w.size for w in (load(digits).numbers(t.name) for t in load(digits).parameters)
    )
    assert isinstance(found["gap"], float)
    assert found["gap"] < 1e-20
