"""The Coq theories as files: their order, what each declares, and words that none may contain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

THEORIES = Path(__file__).resolve().parents[2] / "derivations" / "coq"
"""Where the theories are in a checkout of the project; an installed package does not have them."""

PREFIX = "Balproof"

FORBIDDEN: dict[str, str] = {
    r"Admitted|admit|give_up": "leaves a proof out",
    r"Axioms?|Parameters?|Conjectures?|Primitive": "assumes what should be proved",
    r"Defined": "makes a proof part of a definition, which pinning a statement does not see",
    r"Unset|bypass_check": "may switch off a check of the kernel",
    r"Declare|Load|LoadPath|Redirect|Cd|Drop": "reaches outside the file",
}
"""Words that may not stand outside comments, as regular expressions, and why.

Coq itself finds what is left out or assumed, whatever the words; this finds the rest, and says where.
"""


@dataclass(frozen=True)
class Declared:
    """A name that a theory declares, ``Module.name``, and whether it is a theorem (or a definition)."""

    name: str
    theorem: bool


def without_comments(text: str) -> str:
    """Coq's comments nest; strings are kept.

    >>> without_comments("a (* b (* c *) d *) e")
    'a  e'
    """
    kept: list[str] = []
    depth = 0
    for part in re.split(r'(\(\*|\*\)|"(?:[^"]|"")*")', text):
        if part == "(*":
            depth += 1
        elif part == "*)" and depth:
            depth -= 1
        elif not depth:
            kept.append(part)
    return "".join(kept)


def forbidden_words(name: str, text: str) -> list[str]:
    """What is wrong with the words of a theory.

    >>> forbidden_words("Sums.v", "Lemma one : 1 = 1. Admitted.")
    ['Sums.v: Admitted leaves a proof out']
    """
    bare = without_comments(text)
    return [
        f"{name}: {word} {why}"
        for pattern, why in FORBIDDEN.items()
        for word in sorted(set(re.findall(rf"(?<![\w'])(?:{pattern})(?![\w'])", bare)))
    ]


def order_of(folder: Path) -> tuple[list[str], list[str]]:
    """The theories in the order of ``_CoqProject``, and where that list and the folder differ."""
    project = folder / "_CoqProject"
    listed = [s for s in project.read_text().split() if s.endswith(".v")] if project.exists() else []
    present = {p.name for p in folder.glob("*.v")}
    faults = [f"{n}: listed in _CoqProject and not there" for n in listed if n not in present]
    faults += [f"{n}: not listed in _CoqProject" for n in sorted(present - set(listed))]
    return [n.removesuffix(".v") for n in listed if n in present], faults


_DEFINITIONS = frozenset({"def", "ind", "rec", "coind", "corec", "class", "inst", "meth", "scheme"})
_THEOREMS = frozenset({"prf", "thm"})
_LOCAL = frozenset({"var", "sec", "binder", "not", "abbrev", "coe", "mod", "lib", "constr", "proj", "tac"})


def declared(module: str, glob: str) -> tuple[list[Declared], list[str]]:
    r"""What ``module`` declares, from the .glob file that the compiler wrote, and the faults in that.

    Constructors and projections are part of their type. A kind that is not known here is a fault, since
    it might be a way to assume something.

    >>> declared("M", "prf 1:3 <> one\nax 5:7 <> two\n")
    ([Declared(name='M.one', theorem=True)], ['M.v: two is assumed'])
    """
    names: list[Declared] = []
    faults: list[str] = []
    for line in glob.splitlines():
        found = re.fullmatch(r"([a-z]+) \d+:\d+ \S+ (\S+)", line)
        if found is None or found[1] in _LOCAL:
            continue
        kind, name = found.groups()
        if kind in _THEOREMS or kind in _DEFINITIONS:
            names.append(Declared(f"{module}.{name}", kind in _THEOREMS))
        elif kind == "ax":
            faults.append(f"{module}.v: {name} is assumed")
        else:
            faults.append(f"{module}.v: {name} is of an unknown kind ({kind})")
    return names, faults
