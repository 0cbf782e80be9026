"""What a picture of a network shows: a box for each operation, input and output, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from balproof.network.graph import Network, Operation
from balproof.network.groups import Groups

Style = Literal["name", "kind", "parameter", "scale", "blocks"]
Shape = Literal["operation", "moves", "end"]

LONGEST = 38
"""Characters of a line: longer names lose their middle."""

_MOVES = ("identity", "reshape", "transpose")


@dataclass(frozen=True)
class Line:
    """A line of text, and what it is."""

    text: str
    style: Style


@dataclass(frozen=True)
class Box:
    """A box of the picture, and the tensor that comes out of it (or goes into it, for an output)."""

    shape: Shape
    lines: tuple[Line, ...]
    tensor: str
    blocks: bool = False


def boxes(network: Network, groups: Groups) -> tuple[tuple[Box, ...], tuple[tuple[int, int], ...]]:
    """The boxes, and the edges from box to box: edge (u, v) carries the tensor of u.

    Operations in a row that only move entries about are one box.
    """
    dead = dead_columns(groups)
    blamed: dict[str, list[str]] = {}
    for reason, name in groups.blockers.items():
        blamed.setdefault(name, []).append(reason)
    found: list[Box] = []
    edges: list[tuple[int, int]] = []
    maker: dict[str, int] = {}
    given = [(name, "input") for name in network.inputs] + [(name, "state") for name, _ in network.states]
    for name, role in given:
        maker[name] = len(found)
        found.append(Box("end", _end(network, groups, dead, role, name), name))
    for chain in _chains(network, blamed):
        op = chain[-1]
        why = blamed.get(op.name, [])
        lines = _moves(chain) if op.kind in _MOVES and not why else _operation(network, op)
        lines += (Line(_scales(groups, dead, op.output), "scale"),)
        lines += tuple(Line(_short(f"pins: {_bare(reason, op)}", 60), "blocks") for reason in why)
        for name in chain[0].inputs:
            if name in maker:
                edges.append((maker[name], len(found)))
        maker[op.output] = len(found)
        found.append(Box("moves" if op.kind in _MOVES else "operation", lines, op.output, bool(why)))
    ends = [(name, "output", name) for name in network.outputs]
    ends += [(after, "next", before) for before, after in network.states]
    for name, role, called in ends:
        if name in maker:
            edges.append((maker[name], len(found)))
        found.append(Box("end", (Line(_short(f"{role} {called}"), "name"),), name))
    return tuple(found), tuple(edges)


def _chains(network: Network, blamed: Iterable[str]) -> list[tuple[Operation, ...]]:
    """The operations in their order; such as only move entries are put together where they follow one
    another, nothing else reads what is between them, and none is to blame for anything."""
    readers: dict[str, int] = dict.fromkeys(network.outputs, 1)
    for name in (
        *(x for op in network.operations for x in op.inputs),
        *(after for _, after in network.states),
    ):
        readers[name] = readers.get(name, 0) + 1
    plain, chains = set(blamed), list[list[Operation]]()
    ending: dict[str, list[Operation]] = {}  # result → the chain that ends there and may go on
    for op in network.operations:
        moves = op.kind in _MOVES and op.name not in plain
        before = ending.pop(op.inputs[0], None) if moves else None
        if before is not None and readers[op.inputs[0]] == 1:
            before.append(op)
            chain = before
        else:
            chain = [op]
            chains.append(chain)
        if moves:
            ending[op.output] = chain
    return [tuple(chain) for chain in chains]


def _operation(network: Network, op: Operation) -> tuple[Line, ...]:
    shape = sizes(network.tensors[op.output].shape[1:])
    lines = [Line(_short(op.name), "name"), Line(f"{_short(what(op))} → {shape}", "kind")]
    for name in dict.fromkeys(op.inputs):
        tensor = network.tensors[name]
        if tensor.role in ("parameter", "constant"):
            note = {"constant": " constant", "parameter": " buffer" if tensor.buffer else ""}[tensor.role]
            lines.append(Line(f"{_short(name)}  {sizes(tensor.shape)}{note}", "parameter"))
    return tuple(lines)


def _moves(chain: Sequence[Operation]) -> tuple[Line, ...]:
    return (Line(_short(" · ".join(op.kind for op in chain)), "kind"),)


def _end(network: Network, groups: Groups, dead: frozenset[int], role: str, name: str) -> tuple[Line, ...]:
    lines = (Line(f"{_short(f'{role} {name}')}  {sizes(network.tensors[name].shape[1:])}", "name"),)
    return lines if role == "input" else (*lines, Line(_scales(groups, dead, name), "scale"))


def what(op: Operation) -> str:
    """The kind of an operation in a few words.

    >>> what(Operation("conv", "c", ("x", "W"), "y", {"strides": (2, 2), "group": 3}))
    'conv, stride 2×2, 3 groups'
    """
    a = op.attributes
    if op.kind == "activation":
        return str(a["function"].text)
    if op.kind == "unknown":
        return str(a.get("op_type", "unknown"))
    words = [op.kind]
    if op.kind in ("pool", "reduce"):
        axes = ", ".join(map(str, a.get("axes", ())))
        words = [f"{a['mode']} " + (f"pool {sizes(a['kernel'])}" if op.kind == "pool" else f"over {axes}")]
    if op.kind == "extreme":
        words = ["maximum" if a.get("largest", True) else "minimum"]
    if a.get("transposed"):
        words = ["transposed conv"]
    if any(s != 1 for s in a.get("strides", ())):
        words.append(f"stride {sizes(a['strides'])}")
    groups = a.get("groups", a.get("group", 1))
    if groups != 1:
        words.append(f"{groups} groups")
    return ", ".join(words)


def dead_columns(groups: Groups) -> frozenset[int]:
    """The free scales of units whose weights in, or whose weights out, are all 0."""
    return frozenset(groups.manifold.dead(groups.manifold.support))


def _scales(groups: Groups, dead: frozenset[int], name: str) -> str:
    scale, parts = groups.tensors[name], groups.parts[name]
    if not scale.columns:
        return "pinned" if scale.pinned else "no weight feels its scale"
    shown = " + ".join(str(p + 1) for p in parts[:6]) + (" + …" if len(parts) > 6 else "")
    columns = set(scale.columns)
    counts = ((len(columns & dead), "dead"), (len(columns & groups.manifold.endless), "without optimum"))
    rest = "".join(f", {n} {word}" for n, word in (*counts, (scale.pinned, "pinned")) if n)
    return f"group {shown}: {len(columns)} free{rest}"


def _bare(reason: str, op: Operation) -> str:
    """A reason without the name of the operation at whose box it stands."""
    bare = reason.replace(f" (operation {op.name})", "")
    return f"{bare}: all operands share one scale" if bare == op.kind else bare


def sizes(shape: Sequence[int]) -> str:
    """``3×224×224``; a number alone is a 1.

    >>> sizes((3, 224, 224)), sizes(())
    ('3×224×224', '1')
    """
    return "×".join(str(n) for n in shape) or "1"


def _short(text: str, longest: int = LONGEST) -> str:
    """Without its middle, if it is long."""
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


# --- the legend -----------------------------------------------------------------------------------------


def members(groups: Groups, dead: frozenset[int], part: int) -> tuple[str, ...]:
    """The legend of one group: its units, how many free scales, and what is wrong with any of them."""
    manifold, columns = groups.manifold, groups.groups[part].columns
    names = [manifold.names[k] for k in columns]
    unused = [manifold.names[k] for k in columns if k in dead]
    endless = [manifold.names[k] for k in columns if k in manifold.endless]
    lines = [*_listed(ranges(names)), f"{len(columns)} free scale{'s' if len(columns) > 1 else ''}"]
    if not groups.groups[part].tensors:
        lines += dict.fromkeys(u.why.partition(",")[0] for u in manifold.units if u.column in columns)
    lines += [f"dead: {_some(ranges(unused))}"] if unused else []
    lines += [f"without finite optimum: {_some(ranges(endless))}"] if endless else []
    return tuple(lines)


def ranges(names: Sequence[str]) -> list[str]:
    """Units by layer, with the runs of their numbers.

    >>> ranges(["a[0]", "a[1]", "a[2]", "a[5]", "b", "c[1]"])
    ['a[0…2,5]', 'b', 'c[1]']
    """
    layers: dict[str, list[int]] = {}
    for name in names:
        stem, _, number = name.rpartition("[")
        if stem and number.endswith("]") and number[:-1].isdecimal():
            layers.setdefault(stem, []).append(int(number[:-1]))
        else:
            layers.setdefault(name, [])
    return [f"{stem}[{_runs(found)}]" if found else stem for stem, found in layers.items()]


def _runs(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    texts = [str(a) if a == b else f"{a}…{b}" for a, b in runs]
    return ",".join(texts[:4]) + (",…" if len(texts) > 4 else "")


def _listed(names: Sequence[str], most: int = 3) -> list[str]:
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return [_short(n) for n in names[:most]] + more


def _some(names: Sequence[str]) -> str:
    return _short(", ".join(names))


def pinned(groups: Groups, most: int = 12) -> tuple[tuple[str, bool], ...]:
    """Why tensors are pinned, each reason once, and whether an operation of the network is to blame."""
    blamed: dict[str, bool] = {}
    for scale in groups.tensors.values():
        for reason in scale.reasons:
            blamed[reason] = blamed.get(reason, False) or not scale.visible
    ordered = sorted(blamed.items(), key=lambda item: not item[1])
    lines = [(_short(reason, 64), blame) for reason, blame in ordered[:most]]
    more = len(ordered) - most
    return (*lines, (f"and {more} more reasons", False)) if more > 0 else tuple(lines)
