"""The gate: do all theories compile, assume nothing new, and say what they said?

Everything is compiled from the sources in a fresh folder. Then one file is put to Coq that uses every name
the theories declare and prints what all that rests on (``Print Assumptions``): no more than the four axioms
that Coq's real numbers have. The same file prints the definitions and the registered theorems, which must
be those that are pinned in ``statements.txt``: a theorem whose hypotheses or definitions have changed is
another theorem.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from balproof.errors import MissingToolError
from balproof.formal.theories import PREFIX, THEORIES, Declared, declared, forbidden_words, order_of

ALLOWED: dict[str, str] = {
    "ClassicalDedekindReals.sig_not_dec": "forall P : Prop, {~ ~ P} + {~ P}",
    "ClassicalDedekindReals.sig_forall_dec": "forall P : nat -> Prop, (forall n : nat, {P n} + {~ P n}) -> "
    "{n : nat | ~ P n} + {forall n : nat, P n}",
    "FunctionalExtensionality.functional_extensionality_dep": "forall (A : Type) (B : A -> Type) "
    "(f g : forall x : A, B x), (forall x : A, f x = g x) -> f = g",
    "Classical_Prop.classic": "forall P : Prop, P \\/ ~ P",
}
"""What a proof may assume: the axioms under Coq's real numbers, each with its statement."""

PINNED = "statements.txt"
CERTIFICATE = "Network"
LIMIT_S = 300
FLAGS = ("-q", "-w", "-ambiguous-paths", "-Q", ".", PREFIX)
_MARK = "@@balproof"


@dataclass(frozen=True)
class Gate:
    """What the gate found: no ``faults`` means that it is passed.

    ``theorems`` are the registered ones that Coq has checked, each with its statement; ``assumed`` the
    axioms that anything rests on; ``pins`` the text of ``statements.txt`` as it would have to be.
    """

    faults: tuple[str, ...]
    theorems: dict[str, str] = field(default_factory=dict[str, str])
    assumed: tuple[str, ...] = ()
    pins: str = ""
    version: str = ""
    names: int = 0
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.faults


def coq_version() -> str | None:
    """The version of the Coq that is installed, None if there is none."""
    if shutil.which("coqc") is None:
        return None
    done = subprocess.run(["coqc", "--print-version"], capture_output=True, text=True, check=False)
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout.strip() else None


def run_gate(theorems: Iterable[str], *, folder: Path = THEORIES, check_pins: bool = True) -> Gate:
    """Compile the theories of ``folder`` in a fresh folder and audit them.

    ``theorems`` are the registered names, such as ``Graphs.stochastic_balancing``. With ``check_pins``
    statements and definitions are compared with the pinned ones.

    Raises MissingToolError if Coq is not installed, or if the theories are not there.
    """
    start = time.perf_counter()
    version = coq_version()
    if version is None:
        raise MissingToolError("Coq is not installed", "apt install coq libcoq-coquelicot")
    if not folder.is_dir():
        raise MissingToolError(f"there are no theories in {folder}", "use a checkout of the project")
    modules, faults = order_of(folder)
    for module in modules:
        faults += forbidden_words(f"{module}.v", (folder / f"{module}.v").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="balproof-coq-") as name:
        build = Path(name)
        names: list[Declared] = []
        for module in modules:
            shutil.copy(folder / f"{module}.v", build)
            fault = _coqc(build, module)[1]
            if fault:
                return Gate((*faults, fault), version=version, seconds=time.perf_counter() - start)
            new, bad = declared(module, (build / f"{module}.glob").read_text(encoding="utf-8"))
            names += new
            faults += bad
        gate = _audit(build, modules, names, list(theorems), faults, version)
    if check_pins:
        path = folder / PINNED
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        faults = [*gate.faults, *_drift(found, gate.pins)]
    else:
        faults = list(gate.faults)
    return Gate(
        tuple(faults),
        gate.theorems,
        gate.assumed,
        gate.pins,
        version,
        len(names),
        time.perf_counter() - start,
    )


def check_certificate(text: str, *, folder: Path = THEORIES) -> list[str]:
    """Have Coq check a certificate of `balproof.balance.certificates.kernel`: what is wrong with it.

    The theories that it needs are compiled afresh, too.

    Raises MissingToolError if Coq is not installed, or if the theories are not there.
    """
    return check_certificates([text], folder=folder)[0]


def check_certificates(texts: Sequence[str], *, folder: Path = THEORIES) -> list[list[str]]:
    """The same for several networks: what is wrong with each. The theories are compiled once."""
    if coq_version() is None:
        raise MissingToolError("Coq is not installed", "apt install coq libcoq-coquelicot")
    if not (folder / "Instance.v").exists():
        raise MissingToolError(f"there are no theories in {folder}", "use a checkout of the project")
    with tempfile.TemporaryDirectory(prefix="balproof-coq-") as name:
        build = Path(name)
        modules, _ = order_of(folder)
        for module in modules[: modules.index("Instance") + 1]:
            shutil.copy(folder / f"{module}.v", build)
            fault = _coqc(build, module)[1]
            if fault:
                return [[*forbidden_words(f"{CERTIFICATE}.v", text), fault] for text in texts]
        return [_certificate(build, text) for text in texts]


def _certificate(build: Path, text: str) -> list[str]:
    """What is wrong with one certificate, where the theories are compiled."""
    faults = forbidden_words(f"{CERTIFICATE}.v", text)
    (build / f"{CERTIFICATE}.v").write_text(text, encoding="utf-8")
    fault = _coqc(build, CERTIFICATE)[1]
    if fault:
        return [*faults, fault]
    audit = f"From {PREFIX} Require Import {CERTIFICATE}.\nPrint Assumptions no_rescaling_is_better.\n"
    (build / "Audit.v").write_text(audit, encoding="utf-8")
    output, fault = _coqc(build, "Audit")
    return [*faults, fault] if fault else faults + _assumptions(output.strip())[1]


def kernel_recheck(*, folder: Path = THEORIES, limit_s: int = 1800) -> list[str]:
    """Compile the theories and have ``coqchk`` check the compiled files again, with the libraries that
    they use: the kernel alone, without tactics and plugins. What is wrong, if anything.

    Raises MissingToolError if Coq is not installed.
    """
    if coq_version() is None or shutil.which("coqchk") is None:
        raise MissingToolError("coqchk is not installed", "apt install coq libcoq-coquelicot")
    modules, faults = order_of(folder)
    with tempfile.TemporaryDirectory(prefix="balproof-coq-") as name:
        build = Path(name)
        for module in modules:
            shutil.copy(folder / f"{module}.v", build)
            fault = _coqc(build, module)[1]
            if fault:
                return [*faults, fault]
        done = subprocess.run(
            ["coqchk", "-silent", "-Q", ".", PREFIX, *(f"{PREFIX}.{m}" for m in modules)],
            cwd=build,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
    if done.returncode != 0:
        faults.append(f"coqchk: {_first_lines(done.stdout + done.stderr)}")
    return faults


def _environment() -> dict[str, str]:
    """Without the variables by which libraries from elsewhere could come in."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("COQ", "ROCQ"))}


def _coqc(build: Path, module: str) -> tuple[str, str]:
    """Compile one file: its output, and what is wrong, if anything."""
    try:
        done = subprocess.run(
            ["coqc", *FLAGS, f"{module}.v"],
            cwd=build,
            env=_environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return "", f"{module}.v: not compiled within {LIMIT_S} s"
    if done.returncode != 0:
        return done.stdout, f"{module}.v does not compile: {_first_lines(done.stderr)}"
    return done.stdout, ""


def _first_lines(text: str, limit: int = 400) -> str:
    return " ".join(text.split())[:limit]


def _audit(
    build: Path,
    modules: Sequence[str],
    names: Sequence[Declared],
    registered: Sequence[str],
    faults: Sequence[str],
    version: str,
) -> Gate:
    theorems = {d.name for d in names if d.theorem}
    missing = [f"no theorem is called {n}" for n in registered if n not in theorems]
    registered = [n for n in dict.fromkeys(registered) if n in theorems]
    pinned = [d for d in names if not d.theorem] + [d for d in names if d.theorem and d.name in registered]
    uses = "\n".join(f"let _ := @{PREFIX}.{d.name} in" for d in names)
    lines = [
        "From Coq Require Import Reals. Open Scope R_scope.",
        f"From {PREFIX} Require Import {' '.join(modules)}.",
        "Set Printing Width 100. Set Printing Depth 10000.",
        f"Definition everything : True :=\n{uses}\nI.",
        *_section("assumptions", "Print Assumptions everything."),
    ]
    for d in pinned:
        lines += _section(d.name, _show(d))
    lines.append("Set Printing All.")
    for d in pinned:
        lines += _section(f"all {d.name}", _show(d))
    (build / "Audit.v").write_text("\n".join(lines) + "\n", encoding="utf-8")
    output, fault = _coqc(build, "Audit")
    if fault:
        return Gate((*faults, *missing, fault))
    parts: dict[str, str] = {}
    for piece in output.split(_MARK)[1:]:
        title, _, text = piece.partition("\n")
        parts[title.strip()] = text.strip()
    assumed, bad = _assumptions(parts["assumptions"])
    pins = [f"Definitions and registered theorems, as Coq {version} prints them; compared by make formal.\n"]
    for d in pinned:
        digest = hashlib.sha256(" ".join(parts[f"all {d.name}"].split()).encode()).hexdigest()[:16]
        pins.append(f"== {d.name} {digest}\n{parts[d.name]}\n")
    statements = {n: parts[n] for n in registered}
    return Gate((*faults, *missing, *bad), statements, tuple(assumed), "\n".join(pins))


def _section(title: str, command: str) -> list[str]:
    return [f'Goal True. idtac "{_MARK} {title}". Abort.', command]


def _show(d: Declared) -> str:
    return f"{'Check @' if d.theorem else 'Print '}{PREFIX}.{d.name}."


def _assumptions(text: str) -> tuple[list[str], list[str]]:
    r"""The axioms in the answer to ``Print Assumptions``, and those (or other lines) that may not be there.

    >>> _assumptions("Axioms:\nSums.oops : False")
    (['Sums.oops'], ['assumed, and not among the axioms allowed: Sums.oops : False'])
    >>> _assumptions("Closed under the global context")
    ([], [])
    """
    if text == "Closed under the global context":
        return [], []
    entries: list[str] = []
    for line in text.splitlines():
        if line[:1].isspace() and entries:
            entries[-1] += " " + line
        else:
            entries.append(line)
    names: list[str] = []
    bad: list[str] = []
    for entry in (" ".join(e.split()) for e in entries):
        if entry == "Axioms:":
            continue
        name, _, statement = entry.partition(" : ")
        names.append(name)
        if ALLOWED.get(name) != statement:
            bad.append(f"assumed, and not among the axioms allowed: {entry}")
    return names, bad


def _blocks(text: str) -> dict[str, str]:
    r"""The blocks of ``statements.txt``, by name.

    >>> _blocks("Head\n\n== A.b 12ab\nA.b : True\n\n== A.c 34cd\nA.c : False\n")
    {'A.b': '12ab A.b : True', 'A.c': '34cd A.c : False'}
    """
    found: dict[str, str] = {}
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition(" ")
        found[name] = " ".join(rest.split())
    return found


def _drift(pinned: str, now: str) -> list[str]:
    """How the statements differ from the pinned ones."""
    old, new = _blocks(pinned), _blocks(now)
    remedy = "if that is meant, say make formal-pin and review the change"
    changed = [
        f"drift: {n} does not say what is pinned: {remedy}" for n in new if n in old and old[n] != new[n]
    ]
    added = [f"drift: {n} is not pinned: {remedy}" for n in new if n not in old]
    gone = [f"drift: {n} is pinned and is not there: {remedy}" for n in old if n not in new]
    return changed + added + gone
