"""Write the derivations in this folder; with --check, compare them and exit 1 where one differs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import sympy

from balproof import load, verify
from balproof.network.invariants import invariants
from balproof.report.architecture import blocks
from balproof.report.derivation import render
from balproof.report.documents import Block, code, markdown
from balproof.symbolic.derivation import Derivation, GateDerivation, derive, derive_gate
from balproof.symbolic.gate import is_gate

HERE = Path(__file__).resolve().parent
NETWORKS = HERE / "networks"
HUBER = "Piecewise((w**2/2, abs(w)<=d), (d*abs(w) - d**2/2, True))"
CASES = {
    "relu-l1": ("relu", "l1"),
    "relu-l2": ("relu", "l2"),
    "relu-lp": ("relu", "abs(w)**p"),
    "relu-elastic-net": ("relu", "a*abs(w) + b*w**2"),
    "relu-log": ("relu", "log(1 + w**2)"),
    "relu-huber": ("relu", HUBER),
    "relu-group": ("relu", "group:2,1"),
    "leaky-relu-l2": ("leaky_relu(a)", "l2"),
    "linear-l2": ("linear", "l2"),
    "abs-l1": ("abs(x)", "l1"),
    "relu-squared-lp": ("Max(x, 0)**2", "abs(w)**p"),
    "cube-l2": ("x**3", "l2"),
    "swiglu-l2": ("swiglu", "l2"),
    "tanh-l2": ("tanh", "l2"),
}
FAMILIES: Mapping[str, tuple[str, str]] = {
    "dense": ("A dense network", "Two layers of two ReLU units with biases."),
    "residual": (
        "A residual network",
        "A block of three ReLU units beside a stream of width two, which has scales of its own.",
    ),
    "conv": ("A convolutional network", "A unit is a channel: all taps of its kernel scale together."),
    "recurrent": ("A recurrent network", "Three ReLU units; the scale of a unit is the same at every time."),
    "attention": (
        "Attention",
        "One head of width two. Queries and keys scale against each other, values and outputs too.",
    ),
}
LINE = "Written by `generate.py`; `make derivations` derives them again and compares.\n"


def made(activation: str, regularizer: str) -> Derivation | GateDerivation:
    """The derivation of one case."""
    return (derive_gate if is_gate(activation) else derive)(activation, regularizer)


def family(name: str) -> str:
    """The document of an architecture, of the network in ``networks/``."""
    title, about = FAMILIES[name]
    found = blocks(load(NETWORKS / f"{name}.json"), title, f"{about} The network is `networks/{name}.json`.")
    return markdown((*found, *stock(NETWORKS / f"{name}.json")) if name == "recurrent" else found)


def stock(path: Path) -> tuple[Block, ...]:
    """What the local rule of Stock et al. keeps of J, in numbers, computed before and after a rescaling."""
    value = load(path).tensors["J"].value
    assert value is not None
    before = sympy.Matrix(value)
    scales = sympy.diag(2, sympy.Rational(1, 3), 5)
    t = sympy.Symbol("t")
    polynomials = [m.charpoly(t).as_expr() for m in (before, scales.inv() * before * scales)]
    assert polynomials[0] == polynomials[1], "similar matrices have one characteristic polynomial"
    alone = load(before.applyfunc(float).__array__(float))
    (claim,) = verify("S.conserved")
    assert claim.ok, "the claim is not as required"
    kept = [code(i.formula) for i in invariants(alone)]
    return (
        Block("heading", "Balancing J alone"),
        Block(
            "text",
            "The local rule of Stock, Harvey, Ocko and Ganguli balances J by g, what each unit receives less "
            "what it sends:",
        ),
        Block("formula", r"\tau\,\dot J_{ij} = (g_j - g_i)\,J_{ij}"),
        Block("text", f"It keeps ({code('balproof verify S.conserved')}: {claim.verdict})"),
        Block(
            "list",
            items=(
                f"the spectrum of J, here the zeros of ${sympy.latex(polynomials[0])}$",
                f"the determinant of J, here ${sympy.latex(before.det())}$",
                f"the products along cycles: {', '.join(kept)}",
                "the sum of the log-scales h of units that are connected, since the entries of g add up to 0",
            ),
        ),
    )


def summary(derivation: Derivation | GateDerivation) -> str:
    """The answer in a line."""
    where, d = "", derivation
    if isinstance(d, GateDerivation):
        d = d.parts[0]
        where = f"{d.activation.text.removeprefix(derivation.gate.text).strip()}, "
    scale = d.optimal_scale
    if scale.latex is None:
        return f"no optimal scale: {scale.reason}"
    return f"{where}{'' if scale.closed_form is not None else 'λ solves '}${scale.latex}$"


@functools.cache
def documents() -> dict[str, str]:
    """Every document by its name."""
    found: dict[str, str] = {}
    lines = ["# Derivations\n", LINE, "## Activation and regularizer\n"]
    for name, (activation, regularizer) in CASES.items():
        derivation = made(activation, regularizer)
        found[f"{name}.md"] = render(derivation, "md")
        lines.append(f"- [`{activation}` with `{regularizer}`]({name}.md): {summary(derivation)}")
    lines.append("\n## Architectures\n")
    for name, (title, about) in FAMILIES.items():
        found[f"{name}.md"] = family(name)
        lines.append(f"- [{title}]({name}.md): {about}")
    found["README.md"] = "\n".join(lines) + "\n"
    return found


def main(arguments: Sequence[str], folder: Path = HERE) -> int:
    """Generate, or compare with ``--check``; the exit code."""
    if list(arguments) not in ([], ["--check"]):
        print("usage: python derivations/generate.py [--check]", file=sys.stderr)
        return 2
    different: list[str] = []
    found = documents()
    for name, text in found.items():
        path = folder / name
        if not arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            different.append(name)
    different += sorted(path.name for path in folder.glob("*.md") if path.name not in found)
    for name in different:
        print(
            f"derivations/{name} is not what the program derives: run python derivations/generate.py",
            file=sys.stderr,
        )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
