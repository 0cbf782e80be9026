"""PyTorch programs and modules: read through ``torch.export``, and written back with other weights.

A module is never asked for its name: ``torch.export`` makes a graph of ATen operations of it, and each of
them is translated (`balproof.importers.torch_nodes`) or becomes ``unknown``, which pins what it touches. A
``.pt2`` file is looked at before PyTorch may read it, since that would unpickle and evaluate what is in
it; `balproof.importers.torch_archive` says what is refused.

Roles. Parameters go by the names of the state dict; several names for the same numbers (tied weights, also
transposed) are one tensor, called by the first of its names that covers it. The running mean and variance
of a batch normalisation are buffers: they may have to scale and cost nothing. All other buffers and
constants are constants. Axis 0 of every input is the batch. A module is exported as it is: in eval mode,
unless it is training, where the statistics of a batch are unknown to us.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import io
import operator
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from balproof.errors import MissingToolError, ModelError
from balproof.importers import torch_archive
from balproof.importers.files import first_line, write_atomically
from balproof.importers.rounding import MAX_ACTIVATION, Weights, require_size, rounded, whole
from balproof.importers.torch_nodes import OPERATORS, VIEWS
from balproof.importers.torch_values import Active, Builder, Fixed, Held, Unsupported, Value, name_of
from balproof.network.graph import Network, Tensor

_EXPORT = "export the model anew with torch.export.save"
_DTYPES = ("float16", "bfloat16", "float32", "float64")
_TYPES = ", ".join(_DTYPES)
_FILLING = ("full", "ones", "zeros")
_STATISTICS = ("running_mean", "running_var")


def load(path: Path) -> Network:
    """Read an exported program, a ``.pt2`` file.

    Raises ModelError for damaged files, files that hold pickles or anything that would have to be
    evaluated, control flow, and models without parameters; MissingToolError if torch is not installed.
    """
    return dataclasses.replace(from_program(_read(path)), source=str(path.resolve()))


def from_module(module: Any, example_inputs: Any) -> Network:
    """A network from a ``torch.nn.Module``, exported with example inputs (a tensor or a tuple of them).

    Axis 0 of every example is the batch, of which one entry is used (all of it in training mode): what a
    module does with the length of the batch itself is not seen. To put other weights into the module, see
    `module_with`.

    Raises ModelError for a module that cannot be exported (its control flow depends on the data, say).
    """
    torch = _torch()
    given = example_inputs if isinstance(example_inputs, tuple | list) else (example_inputs,)
    examples = tuple(given) if module.training else _first_of_batch(tuple(given))
    with _quiet():
        try:
            program = torch.export.export(module, examples)
        except Exception as error:  # noqa: BLE001 - torch.export raises whatever the module's code raises
            raise ModelError(
                f"torch.export cannot make a graph of the module ({first_line(error)})",
                "give example inputs that fit, and rewrite control flow that depends on the data",
            ) from None
    return from_program(program)


def save(network: Network, path: Path, weights: Weights = MappingProxyType({})) -> None:
    """Write the program that the network was read from, with the parameters that it has now, and ``weights``
    in place of some.

    Raises ModelError if that file is gone or has other tensors now, or a weight does not fit its type.
    """
    torch = _torch()
    if network.source is None:
        raise ModelError(
            "the network was made from a module in memory",
            "use balproof.importers.torch_program.module_with(network, module)",
        )
    program = _read(Path(network.source))
    given = {name: whole(network.tensors[name], pieces, np.float64) for name, pieces in weights.items()}
    state = {**program.state_dict, **_tensors(program.constants)}
    _replace(network.with_parameters(given), state, network.source)
    content = io.BytesIO()
    with _quiet():
        torch.export.save(program, content)
    write_atomically(path, content.getvalue())


def module_with(network: Network, module: Any) -> Any:
    """A deep copy of the module that ``network`` was made from, with the weights that the network has now.

    Only parameters change, and running means and variances where they have to scale; each is rounded to
    its own type.

    Raises ModelError if the module has other tensors than the network, or a weight does not fit its type.
    """
    fresh = copy.deepcopy(module)
    state = dict(fresh.named_parameters(remove_duplicate=False))
    old = dict(module.named_parameters(remove_duplicate=False))
    for name, owner in _owners(old).items():  # a deep copy unties what is tied by a transpose
        if state[name].data_ptr() != state[owner].data_ptr():
            start = old[name].storage_offset() - old[owner].storage_offset()
            state[name].data = state[owner].data.as_strided(old[name].shape, old[name].stride(), start)
    state.update(fresh.named_buffers(remove_duplicate=False))
    _replace(network, state, "the module")
    return fresh


def _replace(network: Network, state: Mapping[str, Any], where: str) -> None:
    """Put the network's parameters into tensors of PyTorch; all are rounded before the first is changed."""
    torch = _torch()
    values: dict[str, Any] = {}
    for parameter in network.parameters:
        old = state.get(parameter.name)
        if old is None or tuple(old.shape) != parameter.shape or _dtype(old) != parameter.dtype:
            raise ModelError(
                f"{where} no longer has {parameter.name!r} of shape {parameter.shape}", "load the model again"
            )
        if np.array_equal(network.numbers(parameter.name), _array(old)):
            continue
        kind = np.dtype("float32" if parameter.dtype == "bfloat16" else parameter.dtype)
        values[parameter.name] = torch.from_numpy(rounded(network, parameter.name, kind)).to(old.dtype)
        if not bool(torch.isfinite(values[parameter.name]).all()):
            raise ModelError(
                f"an entry of {parameter.name} does not fit {parameter.dtype}",
                "convert the model to a wider type first",
            )
    with torch.no_grad():
        for name, value in values.items():
            state[name].copy_(value)


# --- reading ------------------------------------------------------------------------------------------


def _torch() -> Any:
    try:
        importlib.import_module("torch.export")
        return importlib.import_module("torch")
    except ImportError:
        raise MissingToolError("torch is not installed", "say pip install 'balproof[torch]'") from None


@contextmanager
def _quiet() -> Generator[None]:
    """PyTorch's own warnings are about PyTorch's own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path: Path) -> Any:
    """A program whose file has been looked at."""
    content = torch_archive.read(path)
    torch = _torch()
    torch_archive.check_example(content, path)
    with _quiet():
        try:
            return torch.export.load(io.BytesIO(content))
        except Exception as error:  # noqa: BLE001 - whatever a damaged program makes PyTorch raise
            raise ModelError(
                f"{path} is no intact exported PyTorch program ({first_line(error)})", _EXPORT
            ) from None


def _first_of_batch(examples: Any) -> Any:
    """The examples with a batch of one."""
    tree = importlib.import_module("torch.utils._pytree")
    tensors = [v for v in tree.tree_leaves(examples) if isinstance(v, _torch().Tensor) and v.ndim]
    if len({len(v) for v in tensors}) > 1 or any(len(v) == 0 for v in tensors):
        shapes = ", ".join(str(tuple(v.shape)) for v in tensors)
        raise ModelError(
            f"the example inputs have shapes {shapes}", "give every one the same batch axis in front"
        )
    return tree.tree_map(lambda v: v[:1] if any(v is t for t in tensors) else v, examples)


def _tensors(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in values.items() if isinstance(v, _torch().Tensor)}


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _stored(tensor: Any) -> np.ndarray:
    """A copy of the numbers, no wider than they are where NumPy has their type."""
    narrow = str(tensor.dtype) in ("torch.float32", "torch.float16")
    return tensor.detach().cpu().clone().numpy() if narrow else _array(tensor).copy()


# --- the graph ----------------------------------------------------------------------------------------


def from_program(program: Any) -> Network:
    """A network from a ``torch.export.ExportedProgram``.

    Raises ModelError as `load`.
    """
    torch = _torch()
    operations = importlib.import_module("torch._ops")
    for node in program.graph.nodes:
        if isinstance(node.target, operations.HigherOrderOperator):
            torch_archive.require_no_control_flow(str(node.target))
    if not all(_is_known(node) for node in program.graph.nodes):
        with _quiet():
            try:
                program = program.run_decompositions(_decompositions(torch))
            except Exception as error:  # noqa: BLE001 - as in from_module
                raise ModelError(f"the program cannot be read ({first_line(error)})", _EXPORT) from None
    with torch.no_grad():
        network = _Translation(torch, program).network()
    if not any(not t.buffer for t in network.parameters):
        raise ModelError("the model has no parameters", "give a model with parameters that it uses")
    return network


def _is_known(node: Any) -> bool:
    """Whether taking a node apart tells nothing: it has a translation, and writes to none of its operands."""
    if node.op != "call_function" or node.target is operator.getitem:
        return True
    schema, name = getattr(node.target, "_schema", None), name_of(node.target)
    if schema is None or schema.is_mutable or name not in OPERATORS:
        return False
    return name != "batch_norm" or not _bound(node)["training"]  # its schema is silent on the statistics


def _decompositions(torch: Any) -> dict[Any, Any]:
    """How PyTorch takes apart what has no translation here."""
    table = torch.export.default_decompositions()
    return {op: how for op, how in table.items() if name_of(op) not in OPERATORS}


class _Translation:
    """One program on its way to a network."""

    def __init__(self, torch: Any, program: Any) -> None:
        self.torch = torch
        self.operations = importlib.import_module("torch._ops")
        self.program = program
        self.signature = program.graph_signature
        self.state = {**program.state_dict, **_tensors(program.constants)}
        self.values: dict[str, Value] = {}
        self.kept: set[str] = set()
        users = [s.arg.name for s in self.signature.input_specs if s.kind.name == "USER_INPUT"]
        self.inputs = [
            n for n in program.graph.nodes if n.op == "placeholder" and n.name in users and _is_tensor(n)
        ]
        if not self.inputs:
            raise ModelError("the program has no input that is a tensor", _EXPORT)
        taken = {n.name for n in self.inputs} | set(self.state)
        first = self.inputs[0].meta["val"]
        batch = first.shape[0] if first.ndim else 1
        self.build = Builder(int(batch) if isinstance(batch, int) else batch, {}, taken)
        self.build.source = self.inputs[0].name

    def network(self) -> Network:
        for node in self.inputs:
            self._input(node)
        self._stored()
        results = self._nodes()
        outputs: list[str] = []
        kinds = [s.kind.name for s in self.signature.output_specs]
        for kind, result in zip(kinds, results, strict=True):
            value = self._value(result)
            if kind != "USER_OUTPUT":
                self._written(value)
            if kind != "USER_OUTPUT" or value is None:
                continue
            if not isinstance(value, Active):
                raise ModelError(
                    "an output is a parameter or a constant", "give a model that computes its outputs"
                )
            outputs.append(value.name)
        return self._cut(tuple(dict.fromkeys(outputs)))

    def _written(self, value: Value) -> None:
        """What the program keeps for its next call must not change, if it does not follow by itself."""
        following = {op.output for op in self.build.operations if op.attributes.get("follows")}
        if isinstance(value, Active) and value.name not in following:
            name = f"{value.name} is kept for the next call"
            self.kept.add(
                self.build.emit("unknown", (value.name,), self.build.tensors[value.name].shape, op_type=name)
            )

    def _cut(self, outputs: tuple[str, ...]) -> Network:
        """Without the operations that no output needs, and the tensors that no operation does."""
        needed, kept = {*outputs, *self.kept}, []
        for op in reversed(self.build.operations):
            if op.output in needed:
                needed.update(op.inputs)
                kept.append(op)
        names = tuple(n.name for n in self.inputs)
        tensors = {
            name: t
            for name, t in self.build.tensors.items()
            if name in needed or name in names or (t.role == "parameter" and not t.buffer)
        }
        return Network(tensors, tuple(reversed(kept)), names, outputs, format="pt2")

    # --- inputs, parameters, constants ------------------------------------------------------------

    def _input(self, node: Any) -> None:
        build, dims = self.build, tuple(node.meta["val"].shape)
        if not dims or build.times(dims[0]) != 1:
            raise ModelError(
                f"input {node.name!r} has shape {tuple(dims)}", "give every input a batch axis in front"
            )
        if not all(isinstance(n, int) for n in dims[1:]):
            raise ModelError(
                f"input {node.name!r} has an axis of free length", "export it with fixed lengths"
            )
        shape = (1, *(int(n) for n in dims[1:]))
        require_size(node.name, shape, MAX_ACTIVATION)
        build.tensors[node.name] = Tensor(node.name, shape, "input")
        self.values[node.name] = Active(node.name)

    def _stored(self) -> None:
        """Parameters, buffers and constants of the program."""
        statistics = self._statistics()
        held: dict[str, str] = {}
        for spec in self.signature.input_specs:
            kind, name = spec.kind.name, spec.arg.name
            if kind == "USER_INPUT" or spec.target is None:
                continue
            value = self.state.get(spec.target)
            if value is None:
                raise ModelError(f"the program has no value for {spec.target!r}", _EXPORT)
            if value.is_floating_point() and (kind == "PARAMETER" or name in statistics):
                if _dtype(value) not in _DTYPES:
                    raise ModelError(f"{spec.target} is of the type {_dtype(value)}", f"give one of {_TYPES}")
                held[name] = spec.target
            else:
                self.values[name] = Fixed(value.detach())
        buffers = {spec.target for spec in self.signature.input_specs if spec.kind.name == "BUFFER"}
        owners = _owners({target: self.state[target] for target in held.values()})
        for name, target in held.items():
            owner = owners[target]
            value = self.state[owner]
            shape = tuple(value.shape)
            require_size(owner, shape)
            if owner not in self.build.tensors:
                self.build.tensors[owner] = Tensor(
                    owner, shape, "parameter", _stored(value), _dtype(value), owner in buffers
                )
            self.values[name] = Held(owner, self._view(value, self.state[target]), shape)

    def _view(self, owner: Any, tensor: Any) -> Any:
        """A tensor that shares the numbers of a parameter, as a view of it without numbers."""
        base = self.torch.empty(tuple(owner.shape), device="meta")
        if tensor is owner:
            return base
        start = tensor.storage_offset() - owner.storage_offset()
        return base.as_strided(tuple(tensor.shape), tensor.stride(), start)

    def _statistics(self) -> set[str]:
        """The placeholders that are running means and variances of batch normalisations."""
        found: set[str] = set()
        for node in self.program.graph.nodes:
            if node.op == "call_function" and "batch_norm" in name_of(node.target):
                arguments = _bound(node)
                found |= {n.name for k in _STATISTICS if (n := arguments.get(k)) is not None}
        return found

    # --- nodes ------------------------------------------------------------------------------------

    def _nodes(self) -> Sequence[Any]:
        for node in self.program.graph.nodes:
            if node.op == "output":
                return list(node.args[0])
            if node.op == "call_function":
                if node.users:  # nobody reads the positions of a maximum, say
                    self.values[node.name] = self._node(node)
            elif node.op != "placeholder":
                raise ModelError(f"the program has a node of the kind {node.op}", _EXPORT)
        return []

    def _value(self, argument: Any) -> Value:
        """An argument of a node with what its nodes stand for."""
        if isinstance(argument, self.torch.fx.Node):
            return self.values.get(argument.name)
        if isinstance(argument, list | tuple):
            items: Sequence[Any] = argument
            return [self._value(v) for v in items]
        return argument

    def _node(self, node: Any) -> Value:
        """Translate one node; what has no translation is unknown."""
        if not isinstance(node.target, self.operations.OpOverload) and node.target is not operator.getitem:
            return node.meta.get("val")  # arithmetic of lengths
        value = node.meta.get("val")
        if not _has_tensors(value):
            return value
        arguments = {k: self._value(v) for k, v in _bound(node).items()}
        reached = list(_leaves(list(arguments.values())))
        self.build.node = node
        if not any(isinstance(v, Active | Held) for v in reached):
            folded = self._folded(node, arguments, reached)
            if folded is not None:
                return folded
        name = name_of(node.target) if node.target is not operator.getitem else "getitem"
        if name in VIEWS and isinstance(arguments.get("self"), Held):
            seen = self._seen(node, arguments)
            if seen is not None:
                return seen
        try:
            with self.build.attempt():
                if name == "getitem":
                    return _item(arguments)
                translation = OPERATORS.get(name)
                if translation is None:
                    raise Unsupported
                if name in VIEWS | {"split", "chunk", "split_with_sizes", "unbind", "pow"}:
                    arguments["self"] = self.build.lift(arguments["self"])
                return translation(self.build, arguments)
        except Unsupported:
            return self._unknown(node, arguments, reached)

    def _folded(self, node: Any, arguments: Mapping[str, Any], reached: Sequence[Any]) -> Value:
        """A node of constants alone, computed by PyTorch; None if it cannot be."""
        positional = [self._raw(self._value(v)) for v in node.args]
        named = {k: self._raw(self._value(v)) for k, v in node.kwargs.items()}
        if name_of(node.target) in _FILLING:  # the same for all of the batch, of which we have one
            positional = self._single(positional)
        symbols = self.torch.SymInt | self.torch.SymFloat | self.torch.SymBool
        if any(isinstance(v, symbols) for v in _leaves([*positional, *named.values()])):
            return None
        if node.target is operator.getitem:
            return _item(arguments)
        tags = node.target.tags
        if self.torch.Tag.nondeterministic_seeded in tags or node.target.namespace != "aten":
            return None
        result = node.target(*positional, **named)
        if isinstance(result, tuple | list):
            items: Sequence[Any] = result
            return tuple(Fixed(v) for v in items)
        return Fixed(result)

    def _raw(self, value: Value) -> Any:
        if isinstance(value, Fixed):
            return value.value
        if isinstance(value, list):
            items: list[Any] = value
            return [self._raw(v) for v in items]
        return value

    def _single(self, value: Any) -> Any:
        """With a batch of one."""
        if isinstance(value, list):
            items: list[Any] = value
            return [self._single(v) for v in items]
        many = self.build.times(value) if isinstance(value, self.torch.SymInt) else None
        return value if many is None else many

    def _seen(self, node: Any, arguments: Mapping[str, Any]) -> Held | None:
        """A view of a parameter; None if it is a copy in another order."""
        held: Held = arguments["self"]
        name = name_of(node.target)
        if name in ("_to_copy", "alias", "clone", "contiguous", "detach", "lift_fresh_copy", "to"):
            dtype = arguments.get("dtype")
            return held if dtype is None or dtype.is_floating_point else None
        args = [held.view, *(self._value(v) for v in node.args[1:])]
        batch = self.build.batch

        if name == "expand" and isinstance(batch, int) and node.args[1] and node.args[1][0] == batch:
            first, *rest = args[1]
            del first
            args[1] = [1 if len(args[1]) > held.view.ndim or held.view.shape[0] == 1 else batch, *rest]
        args = self._single(args)
        if any(isinstance(v, self.torch.SymInt) for v in _leaves(args)):
            return None
        view = node.target(*args, **node.kwargs)
        root = _base(held.view)
        if _base(view) is not root:
            return None
        return Held(held.name, view, held.shape)

    def _unknown(self, node: Any, arguments: Mapping[str, Any], reached: Sequence[Any]) -> Value:
        """An operation that no rule covers: it pins all that it reads and writes."""
        build = self.build
        inputs = list(dict.fromkeys(v.name for v in reached if isinstance(v, Active | Held)))
        notes = tuple(f"{k}={_note(v)}" for k, v in arguments.items())
        attributes = {
            "op_type": f"aten::{name_of(node.target)}"
            if "::" not in name_of(node.target)
            else name_of(node.target)
        }
        value = node.meta["val"]
        many = isinstance(value, tuple | list)
        results: list[Value] = []
        for item in range(len(value)) if many else [None]:
            try:
                dims = build.dims(node, item)
            except Unsupported:
                results.append(None)
                continue
            like = self._like(dims, reached)
            shape = build.shape(
                [self._single(n) for n in dims] if like.at is None else dims, like.at, like.merged
            )
            name = build.emit("unknown", inputs, shape, **attributes, arguments=notes, result=item)
            results.append(dataclasses.replace(like, name=name))
        return tuple(results) if many else results[0]

    def _like(self, dims: Sequence[Any], reached: Sequence[Any]) -> Active:
        """Where the result of an unknown operation has its batch axis; any place will do."""
        build = self.build
        actives = [v for v in reached if isinstance(v, Active)]
        for x in actives:
            try:
                if build.shape(dims, x.at, x.merged) == build.tensors[x.name].shape:
                    return x
            except (Unsupported, IndexError):
                continue
        if dims and actives and build.times(dims[0]) is not None:
            return Active("", 0, build.times(dims[0]) != 1)
        return Active("", None)


def _base(view: Any) -> Any:
    """What a tensor is a view of; itself if of nothing."""
    base = getattr(view, "_base", None)
    return view if base is None else base


def _is_tensor(node: Any) -> bool:
    return hasattr(node.meta.get("val"), "shape")


def _has_tensors(value: Any) -> bool:
    return any(hasattr(v, "shape") for v in _leaves([value]))


def _leaves(values: Any) -> Iterator[Any]:
    if isinstance(values, list | tuple):
        items: Sequence[Any] = values
        for v in items:
            yield from _leaves(v)
    else:
        yield values


def _bound(node: Any) -> dict[str, Any]:
    """The arguments of a node by name, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(zip(("self", "other"), node.args, strict=False))
    names = [argument.name for argument in schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return {**defaults, **given}


def _item(arguments: Mapping[str, Any]) -> Value:
    """One of several results."""
    values, index = arguments["self"], arguments["other"]
    found: Sequence[Value] = values if isinstance(values, tuple | list) else ()
    if not isinstance(index, int) or index >= len(found) or found[index] is None:
        raise ModelError("the program reads a result that is not there", _EXPORT)
    return found[index]


def _note(value: Value) -> str:
    """An argument of an unknown operation, as something to compare by."""
    if isinstance(value, Active):
        return f"at {value.at}"
    if isinstance(value, Held):
        return f"{tuple(value.view.shape)}, {value.view.stride()}, {value.view.storage_offset()}"
    if isinstance(value, Fixed):
        return value.digest()
    if isinstance(value, list | tuple):
        items: Sequence[Any] = value
        return "[" + ", ".join(_note(v) for v in items) + "]"
    return str(value)


# --- tied weights -------------------------------------------------------------------------------------


def _owners(tensors: Mapping[str, Any]) -> dict[str, str]:
    """For each name the one that stands for all that share its numbers: the first that covers it.

    Raises ModelError where tensors overlap and none covers the others in row-major order.
    """
    groups: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
    owners: dict[str, str] = {}
    for names in groups.values():
        whole = [n for n in names if tensors[n].is_contiguous()]
        for name in names:
            inside = [n for n in whole if _covers(tensors[n], tensors[name])]
            owner = max(inside, key=lambda n: tensors[n].numel(), default=None)
            if owner is None and any(_overlap(tensors[n], tensors[name]) for n in names if n != name):
                raise ModelError(f"{name} shares a part of its numbers with another", "tie whole weights")
            owners[name] = owner or name
        chosen = {owners[n] for n in names}
        for a in chosen:
            if any(a != b and _overlap(tensors[a], tensors[b]) for b in chosen):
                raise ModelError(f"{a} shares a part of its numbers with another", "tie whole weights")
    return owners


def _extent(tensor: Any) -> tuple[int, int]:
    start = tensor.storage_offset()
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + reach


def _covers(whole: Any, part: Any) -> bool:
    (a, b), (c, d) = _extent(whole), _extent(part)
    return a <= c and d <= b and prod(whole.shape) > 0 and whole.dtype == part.dtype


def _overlap(left: Any, right: Any) -> bool:
    (a, b), (c, d) = _extent(left), _extent(right)
    return a <= d and c <= b
