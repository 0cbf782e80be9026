"""The gate of the Coq theories. Each check is seen failing on small theories with the fault planted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from balproof.errors import MissingToolError
from balproof.formal import THEORIES, coq_version, kernel_recheck, run_gate
from balproof.formal.gate import PINNED
from balproof.formal.theories import forbidden_words, order_of, without_comments
from balproof.theorems.formal import registered

needs_coq = pytest.mark.skipif(coq_version() is None, reason="needs Coq: apt install coq libcoq-coquelicot")

ONE = """\
Definition double (n : nat) : nat := n + n.
Lemma double_zero : double 0 = 0.
Proof. reflexivity. Qed.
"""
TWO = """\
From Balproof Require Import One.
Theorem double_one : double 1 = 2.
Proof. reflexivity. Qed.
"""
NAMES = ["Two.double_one"]

Plant = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two small theories, pinned as they are."""
    folder = tmp_path_factory.mktemp("sound")
    for name, text in {"One.v": ONE, "Two.v": TWO, "_CoqProject": "One.v\nTwo.v\n"}.items():
        (folder / name).write_text(text)
    (folder / PINNED).write_text(run_gate(NAMES, folder=folder, check_pins=False).pins)
    return folder


@pytest.fixture
def plant(sound: Path, tmp_path: Path) -> Plant:
    """A copy of it, in which one file is written anew."""
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)

    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path

    return write


@needs_coq
def test_sound_theories_pass(plant: Plant) -> None:
    gate = run_gate(NAMES, folder=plant("Two.v", TWO))
    assert gate.faults == ()
    assert gate.passed
    assert gate.assumed == ()
    assert gate.theorems == {"Two.double_one": "double_one\n     : double 1 = 2%nat"}
    assert gate.names == 3


PLANTED = {
    "Lemma wrong : 0 = 1. Proof. Admitted.": "among the axioms allowed: wrong : 0%nat = 1%nat",
    "Lemma left : 0 = 2. Proof. admit. Admitted.": "Two.v: admit leaves a proof out",
    "Lemma given : 0 = 3. Proof. give_up. Admitted.": "Two.v: give_up leaves a proof out",
    "Axiom bare : 0 = 4.": "Two.v: bare is assumed",
    "Axiom used : 0 = 5. Lemma use : 0 = 5. Proof. exact used. Qed.": "allowed: used : 0%nat = 5%nat",
    "Parameter free : 0 = 6.": "Two.v: Parameter assumes",
    "Conjecture guess : 0 = 7.": "Two.v: Conjecture assumes",
    "Axiom classic : False. Lemma bad : False. Proof. exact classic. Qed.": "allowed: classic : False",
    "Lemma three : nat. Proof. exact 3. Defined.": "Two.v: Defined makes a proof part",
    "Unset Guard Checking. Fixpoint f (n : nat) : False := f n.": "not among the axioms allowed: f is",
    "Unset Guard Checking.": "Two.v: Unset may switch off",
}


@needs_coq
def test_planted_faults_are_found(plant: Plant) -> None:
    """All in one theory, which compiles: each is found beside the others."""
    gate = run_gate(NAMES, folder=plant("Two.v", TWO + "\n".join(PLANTED) + "\n"))
    assert not gate.passed
    assert [f for f in PLANTED.values() if not any(f in found for found in gate.faults)] == [], gate.faults


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize("line", PLANTED)
def test_each_planted_fault_is_enough(plant: Plant, line: str) -> None:
    gate = run_gate(NAMES, folder=plant("Two.v", f"{TWO}{line}\n"))
    assert any(PLANTED[line] in f for f in gate.faults), gate.faults


@needs_coq
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('Load "Elsewhere".', "Two.v: Load reaches outside"),
        ("Lemma wrong : 0 = 1. Proof. reflexivity. Qed.", "Two.v does not compile"),
    ],
)
def test_what_does_not_compile(plant: Plant, line: str, fault: str) -> None:
    gate = run_gate(NAMES, folder=plant("Two.v", f"{TWO}{line}\n"))
    assert any(fault in f for f in gate.faults), gate.faults


@needs_coq
@pytest.mark.slow
def test_a_variable_outside_sections_is_an_assumption(plant: Plant) -> None:
    gate = run_gate(NAMES, folder=plant("Two.v", TWO + "Hypothesis wrong : 0 = 1.\nCheck wrong.\n"))
    assert any("wrong" in f for f in gate.faults), gate.faults


@needs_coq
@pytest.mark.slow
def test_an_allowed_name_with_another_statement_is_not_allowed(plant: Plant) -> None:
    """The statements of the allowed axioms are compared too: here a theory takes the name of one."""
    plant("Classical_Prop.v", "Axiom classic : False.\nLemma use : False. Proof. exact classic. Qed.\n")
    folder = plant("_CoqProject", "Classical_Prop.v\nOne.v\nTwo.v\n")
    gate = run_gate(NAMES, folder=folder)
    assert any(f.endswith("classic : False") and "not among the axioms allowed" in f for f in gate.faults)


@needs_coq
@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        pytest.param(
            "One.v", ONE.replace("n + n", "2 * n"), "drift: One.double does not say", marks=pytest.mark.slow
        ),
        (
            "Two.v",
            TWO.replace("double 1 = 2", "double 1 <= 2").replace("reflexivity", "apply le_n"),
            "Two.double_one does",
        ),
        pytest.param(
            "Two.v", TWO + "Definition new := 1.\n", "drift: Two.new is not pinned", marks=pytest.mark.slow
        ),
        pytest.param("One.v", ONE.replace("double_zero", "double_nought"), "", marks=pytest.mark.slow),
        pytest.param(
            "Two.v",
            TWO.replace("Theorem", 'Notation "1" := (S 0) : type_scope.\nTheorem'),
            "",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_drift(plant: Plant, name: str, text: str, fault: str) -> None:
    """A changed definition, a changed statement, a new definition; lemmas that no claim names are free."""
    gate = run_gate(NAMES, folder=plant(name, text))
    assert any(fault in f for f in gate.faults) if fault else gate.passed, gate.faults


@needs_coq
def test_a_notation_that_lies_is_drift(plant: Plant) -> None:
    """It reads the same and says something else: the form without notations is pinned as well."""
    said = "Theorem double_one : double 1 = 2.\nProof. reflexivity. Qed."
    lie = 'Definition any (A : Type) (a b : A) := a = a.\nNotation "a = b" := (any _ a b) : type_scope.\n'
    gate = run_gate(NAMES, folder=plant("Two.v", f"From Balproof Require Import One.\n{lie}{said}\n"))
    assert gate.theorems["Two.double_one"].split() == ["double_one", ":", "double", "1", "=", "2%nat"]
    assert any("drift: Two.double_one does not say" in f for f in gate.faults)


@needs_coq
@pytest.mark.slow
def test_a_pinned_name_that_is_gone(plant: Plant) -> None:
    gate = run_gate(["One.double_zero"], folder=plant("Two.v", TWO))
    assert any("drift: Two.double_one is pinned and is not there" in f for f in gate.faults)
    assert any("drift: One.double_zero is not pinned" in f for f in gate.faults)


@needs_coq
@pytest.mark.slow
def test_a_registered_name_that_no_theory_has(plant: Plant) -> None:
    gate = run_gate([*NAMES, "Two.double_two", "One.double"], folder=plant("Two.v", TWO))
    assert "no theorem is called Two.double_two" in gate.faults
    assert "no theorem is called One.double" in gate.faults, "a definition proves nothing"


def test_the_list_of_theories_is_complete(tmp_path: Path) -> None:
    (tmp_path / "_CoqProject").write_text("-Q . Balproof\nOne.v\nGone.v\n")
    for name in ("One.v", "Two.v"):
        (tmp_path / name).write_text(ONE)
    order, faults = order_of(tmp_path)
    assert order == ["One"]
    assert faults == ["Gone.v: listed in _CoqProject and not there", "Two.v: not listed in _CoqProject"]
    assert order_of(THEORIES)[1] == []


def test_words_in_comments_are_free() -> None:
    assert without_comments("a (* Admitted (* nested *) Axiom *) b") == "a  b"
    assert forbidden_words("A.v", '(* no Axiom *) Lemma Axiom_like : True. idtac "(*". Qed. (* *)') == []
    assert forbidden_words("A.v", 'idtac "(*". Axiom x : False. (* *)') == [
        "A.v: Axiom assumes what should be proved"
    ]


def test_without_coq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert coq_version() is None
    with pytest.raises(MissingToolError, match="Coq is not installed: apt install coq libcoq-coquelicot"):
        run_gate(NAMES)
    with pytest.raises(MissingToolError, match="coqchk is not installed"):
        kernel_recheck()


@needs_coq
def test_without_theories(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="use a checkout"):
        run_gate(NAMES, folder=tmp_path / "nowhere")


@needs_coq
@pytest.mark.slow
def test_variables_that_point_to_other_libraries_are_not_read(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "One.v").write_text("Definition double (n : nat) : nat := 2.\n")
    monkeypatch.setenv("COQPATH", str(elsewhere))
    assert run_gate(NAMES, folder=plant("Two.v", TWO)).passed


# --- the theories themselves (that they pass the gate is what make formal sees) --------------------------


@needs_coq
@pytest.mark.slow
def test_a_weakened_definition_in_the_theories_is_drift(tmp_path: Path) -> None:
    """`balanced` made trivial: nearly everything still compiles, and says nothing."""
    folder = tmp_path / "coq"
    shutil.copytree(THEORIES, folder, ignore=shutil.ignore_patterns("*.vo*", "*.glob"))
    path = folder / "Homogeneous.v"
    text = path.read_text()
    old = "forall l x, 0 < l -> f (l * x) = l * f x."
    assert old in text
    path.write_text(text.replace(old, "forall l x, 0 < l -> 0 < x \\/ x <= 0 -> f (l * x) = l * f x."))
    gate = run_gate(registered(), folder=folder)
    assert not gate.passed


@needs_coq
@pytest.mark.slow
def test_the_kernel_alone_agrees() -> None:
    assert kernel_recheck() == []
