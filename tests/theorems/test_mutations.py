"""A fault planted in the source turns a claim red: the claims test the package that checks them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import balproof

pytestmark = pytest.mark.slow  # each runs the command on a copy of the package

FAULTS = {
    "the sign of a log-scale, where weights are rescaled": (
        "network/manifold.py",
        "np.exp(factor, out=factor)",
        "np.exp(-factor, out=factor)",
        "B.stochastic-balancing",
    ),
    "the sign of a log-scale, in the rule of a linear map": (
        "network/rules_linear.py",
        "terms = [(Term(s_out), Term(s_in, -ONE)) for s_out, s_in in ends]",
        "terms = [(Term(s_out), Term(s_in)) for s_out, s_in in ends]",
        "B.scaling-preserves",
    ),
    "the degree in the balance equation": (
        "balance/steps.py",
        "outgoing = np.bincount(columns.owner, np.where(positive, 0.0, size * m), count)",
        "outgoing = np.bincount(columns.owner, np.where(positive, 0.0, m), count)",
        "B.optimal-scale-lp",
    ),
    "the degree in the rule of an activation": (
        "network/rules_elementwise.py",
        "equal(output, given, reason, degree)",
        "equal(output, given, reason)",
        "B.scaling-preserves",
    ),
    "the bias left out of IN": (
        "balance/problem.py",
        "biases = frozenset[str]() if costs.bias_cost else net.biases",
        "biases = net.biases",
        "B.stochastic-balancing",
    ),
    "the bias left out of the symmetry": (
        "network/rules_elementwise.py",
        "return Implication(given, tuple(equations), (ParameterScale(b, shape, (Term(given),)),))",
        "return Implication(given, tuple(equations))",
        "B.scaling-preserves",
    ),
    "the χ² gap, an edge's share forgotten": (
        "balance/certificates/gap.py",
        'if arithmetic != "rational" else c * c / term.value',
        'if arithmetic != "rational" else Fraction(0)',
        "B.stochastic-balancing",
    ),
    "a residual addition that demands nothing": (
        "network/rules_elementwise.py",
        "return Implication(output, tuple(e for v in parts for e in equal(v, output, reason)))",
        "return Implication(output)",
        "B.architectures",
    ),
    "a stopping rule on the mean": (
        "balance/descent.py",
        "(imbalance <= tolerance or",
        "(np.mean(problem.imbalances(h)) <= 1e-3 or",
        "B.stochastic-balancing",
    ),
    "a stopping rule on the cost": (
        "balance/multilevel.py",
        "if worst <= tolerance or not parts or (worst < 1e-11 and stagnant(recent)):",
        "if (len(history) > 1 and history[-1] > 0.999 * history[-2]) or not parts:",
        "S.osborne",
    ),
}


def verify(folder: Path, claim: str) -> tuple[int, dict]:
    """The command on the package that lies in ``folder``."""
    script = "import sys, balproof.cli as c; sys.argv = ['balproof', *sys.argv[1:]]; c.main()"
    command = [sys.executable, "-P", "-c", script, "verify", claim, "--samples", "12", "--json", "-"]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={"PYTHONPATH": str(folder)}
    )
    assert ran.returncode in (0, 1), ran.stderr
    return ran.returncode, json.loads(ran.stdout)["claims"][0]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutant")
    source = Path(balproof.__file__).parent
    shutil.copytree(source, folder / "balproof", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("claim", sorted({f[3] for f in FAULTS.values()}))
def test_the_claims_are_green_without_a_fault(copy, claim):
    code, found = verify(copy, claim)
    assert (code, found["ok"]) == (0, True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_turns_a_claim_red(copy, fault):
    file, old, new, claim = FAULTS[fault]
    path = copy / "balproof" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    try:
        code, found = verify(copy, claim)
    finally:
        path.write_text(text)
    assert code == 1
    red = [e for e in found["exact"]["evidence"] if e["verdict"] == "refuted"]
    assert red, found["exact"]
