"""The house: floors, versions, files. Each guard is seen failing on a copy with the fault planted."""

import importlib
import importlib.metadata
import json
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

import balproof
from balproof.importers import FORMS, load
from balproof.network.evaluate import evaluate

LINTER = Path(sys.executable).with_name("lint-imports")
HEAVY = ("torch", "onnx", "onnxruntime", "cvxpy", "matplotlib", "jinja2", "typer", "sklearn")


def modules() -> list[str]:
    return sorted(m.name for m in pkgutil.walk_packages(balproof.__path__, "balproof."))


# --- floors -------------------------------------------------------------------------------------------


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINTER, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy of the package to plant faults in."""
    shutil.copytree(root / "balproof", tmp_path / "balproof", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


FLOORS, CONVEX = "each floor imports only what stands below it", "one room knows cvxpy"
TERMINAL, FILES = (
    "only the command line talks to a terminal",
    "only importers know the libraries of model files",
)
PLANTED = {
    "network/graph.py": [
        ("import balproof.balance.problem", FLOORS, "balproof.network.graph -> balproof.balance.problem"),
        ("def f():\n    import torch", FILES, "balproof.network.graph -> torch"),
    ],
    "symbolic/parser.py": [
        ("from balproof.network import graph", FLOORS, "balproof.symbolic.parser -> balproof.network.graph")
    ],
    "errors.py": [("import balproof.verdict", FLOORS, "balproof.errors -> balproof.verdict")],
    "simulate/drawing.py": [
        ("import balproof.report.plots", FLOORS, "balproof.simulate.drawing -> balproof.report.plots")
    ],
    "simulate/study.py": [("import onnx", FILES, "balproof.simulate.study -> onnx")],
    "balance/problem.py": [("import cvxpy", CONVEX, "balproof.balance.problem -> cvxpy")],
    "report/__init__.py": [("def f():\n    import rich", TERMINAL, "balproof.report -> rich")],
    "crosscheck/__init__.py": [("from onnx import helper", FILES, "balproof.crosscheck -> onnx")],
}


def test_planted_imports_break_their_contracts(copy: Path) -> None:
    """All at once: each contract names what is planted against it."""
    for module, planted in PLANTED.items():
        path = copy / "balproof" / module
        path.write_text("\n".join([path.read_text(), *(line for line, _, _ in planted)]) + "\n")
    done = lint(copy)
    assert done.returncode != 0
    _, *parts = re.split(r"^([a-z][^\n]*)\n-+$", done.stdout, flags=re.MULTILINE)
    said = {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}
    for _, contract, chain in (case for planted in PLANTED.values() for case in planted):
        (text,) = (text for name, text in said.items() if name.startswith(contract))
        assert f"{chain} (l." in text, done.stdout


def test_a_module_on_no_floor_is_refused(copy: Path) -> None:
    (copy / "balproof" / "basement.py").touch()
    done = lint(copy)
    assert done.returncode != 0
    assert "basement" in done.stdout + done.stderr


# --- modules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", modules())
def test_every_module_imports_and_says_what_it_is_for(name: str) -> None:
    if not name.endswith("__main__"):
        module = importlib.import_module(name)
        path = Path(str(module.__file__))
        assert module.__doc__ or not path.read_text().strip()


def heavy_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(HEAVY) & set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_balproof_loads_nothing_heavy() -> None:
    parts = ("balproof.importers", "balproof.network", "balproof.symbolic")
    names = [m for m in modules() if m.startswith(parts)]
    assert heavy_after(f"import balproof, balproof.theorems, {', '.join(names)}") == set()
    assert heavy_after("import onnx, balproof") == {"onnx"}  # the guard sees


# --- versions and files -------------------------------------------------------------------------------


def test_the_version_is_one(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == importlib.metadata.version("balproof") == balproof.__version__
    assert project["scripts"] == {"balproof": "balproof.cli:main"}


def test_every_dependency_has_an_exact_version(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = [x for x in (root / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    assert len(pinned) == len(lines)
    asked = [*project["dependencies"], *(x for xs in project["optional-dependencies"].values() for x in xs)]
    names = {re.split(r"[\[>=<]", x)[0].lower() for x in asked} - {"balproof"}
    assert names <= pinned
    assert "torch==2.13.0" in lines
    assert "torch==2.13.0" in project["optional-dependencies"]["torch"]


def tracked(root: Path) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    return [root / name for name in done.stdout.split("\0") if name and (root / name).is_file()]


# In pieces, so that this file does not contain them.
HOSTS = re.compile(
    r"py{}pi\.org|python{}hosted|npm{}js\.|deb{}ian\.org|ana{}conda\.org|index{}-url|find{}-links|file:{}//|/wo{}rk/".replace(
        "{}", ""
    )
)


def test_no_tracked_file_names_a_registry_or_a_machine(root: Path) -> None:
    assert HOSTS.search("--find" + "-links x")
    faults = [
        f"{path.relative_to(root)}: {found.group()}"
        for path in tracked(root)
        if (found := HOSTS.search(path.read_text("utf-8", errors="replace")))
    ]
    assert faults == []


def test_the_files_of_the_house_are_there(root: Path) -> None:
    assert "Apache License" in (root / "LICENSE").read_text()
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".ci/run"):
        assert (root / name).read_text().strip()
    assert (root / ".ci" / "run").stat().st_mode & 0o111
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]


def test_what_contributing_points_to_exists(root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:balproof|tests|derivations|notebooks|tools)/[\w./-]*)`", text)
    assert len(paths) > 5
    assert [p for p in paths if not (root / p).exists()] == []
    dotted = re.findall(r"`(balproof(?:\.\w+)+)`", text)
    for name in dotted:
        module, _, attribute = name.rpartition(".")
        if name not in modules():
            assert hasattr(importlib.import_module(module), attribute), name


def test_every_form_has_a_module_that_loads_and_saves() -> None:
    for name in FORMS.values():
        module = importlib.import_module(name)
        assert callable(module.load)
        assert callable(module.save)


# --- the digits network -------------------------------------------------------------------------------


def test_the_digits_network_is_as_recorded(
    root: Path, digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = root / "tests" / "data" / "train_digits.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--check"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert (stop.value.code, capsys.readouterr().out) == (0, "digits.onnx is as recorded\n")
    record = json.loads(digits.with_suffix(".json").read_text())
    assert record["test_accuracy"] > 0.95
    assert record["dead_units"] == []


def test_its_accuracy_by_our_own_evaluation(digits: Path) -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    record = json.loads(digits.with_suffix(".json").read_text())
    pixels, labels = load_digits(return_X_y=True)
    _, x, _, y = train_test_split(pixels / 16, labels, **{**record["split"], "stratify": labels})
    guess = evaluate(load(digits), {"x": x})["logits"].argmax(axis=1)
    assert round(float(np.mean(guess == y)), 6) == record["test_accuracy"]


@pytest.mark.slow
@pytest.mark.torch
def test_the_script_makes_a_network_as_good(root: Path, tmp_path: Path) -> None:
    script = root / "tests" / "data" / "train_digits.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], capture_output=True, check=True)
    made = json.loads((tmp_path / "digits.json").read_text())
    record = json.loads((root / "tests" / "data" / "digits.json").read_text())
    assert made["test_accuracy"] > 0.95
    assert made["dead_units"] == []
    assert {k: v for k, v in made.items() if "accuracy" not in k and k != "bytes"} == {
        k: v for k, v in record.items() if "accuracy" not in k and k != "bytes"
    }
