"""Exported PyTorch programs as files, read without unpickling objects and without evaluating text.

``torch.export.load`` by itself does both: tensors and objects that are marked so are unpickled, example
inputs too if they are anything but tensors, and the formulas of symbolic lengths are given to SymPy, which
evaluates them. So the archive is looked at first, with the standard library, and a program is refused if

- an entry is none that ``torch.export.save`` writes for a model alone (a compiled program is machine code),
- a weight or a constant is marked as pickled, or is an object instead of a tensor,
- the example inputs are not plain tensors, which ``torch.load(weights_only=True)`` decides,
- a node calls anything but an ATen operation or arithmetic on lengths,
- a formula of a length has anything in it but symbols, numbers and the functions that PyTorch writes.

What was looked at is what PyTorch then reads: the same bytes, in memory.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from balproof.errors import ModelError
from balproof.importers.files import first_line, read_bytes

MAX_BYTES = 2**36
_EXPORT = "export the model with torch.onnx.export, or anew with torch.export.save"

_ENTRIES = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(?:version|serialization_id|alignment)"
    r"|data/weights/(?:weight_\d+|model_weights_config\.json)"
    r"|data/constants/(?:tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|extra/.*"
)
_TARGET = re.compile(
    r"torch\.ops\.(?:aten|prims)\.(?!from_file)\w+(?:\.\w+)?"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(?:ceil|floor|trunc|sqrt)|torch\.sym_\w+|torch\._check\w*"
)
_CONTROL = re.compile(r"torch\.ops\.higher_order\.(\w+)")
_WORDS = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_FORMULA = re.compile(r"[A-Za-z0-9_ ,()+\-*/%.<>=']*")
_KNOWN = frozenset(
    [
        "Symbol",
        "Integer",
        "positive",
        "integer",
        "nonnegative",
        "negative",
        "True",
        "False",
        "Add",
        "Mul",
        "Pow",
        "Mod",
        "Max",
        "Min",
        "floor",
        "ceiling",
        "FloorDiv",
        "ModularIndexing",
        "Where",
        "PythonMod",
        "CleanDiv",
        "CeilDiv",
        "CeilToInt",
        "FloorToInt",
        "PowByNatural",
        "IntTrueDiv",
        "FloatTrueDiv",
        "oo",
        "int_oo",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
    ]
)


def read(path: Path) -> bytes:
    """The bytes of a program that ``torch.export.load`` may be given.

    Raises ModelError for anything else.
    """
    content = read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check(archive, path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"{path} is no intact exported PyTorch program ({first_line(error)})", _EXPORT
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} is an exported PyTorch program of an unknown layout ({first_line(error)})", _EXPORT
        ) from None
    return content


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    infos = archive.infolist()
    if not infos:
        raise zipfile.BadZipFile("it is empty")
    if "serialized_exported_program.json" in archive.namelist() or archive.namelist()[0].endswith("data.pkl"):
        raise ModelError(f"{path} holds its weights as a pickle, which is never opened", _EXPORT)
    top = infos[0].filename.split("/")[0] + "/"
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removeprefix(top)
        if name in entries or info.compress_type != zipfile.ZIP_STORED or not info.filename.startswith(top):
            raise zipfile.BadZipFile(f"entry {info.filename!r}")
        if not _ENTRIES.fullmatch(name):
            raise ModelError(
                f"{path} has an entry {name!r}, which a program saved by torch.export.save has not", _EXPORT
            )
        entries[name] = info
    bad = archive.testzip()
    if bad is not None:
        raise zipfile.BadZipFile(f"entry {bad!r} is damaged")
    for name in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
        for tensor, meta in json.loads(archive.read(entries[name]))["config"].items():
            if meta["use_pickle"] is not False or not re.fullmatch(
                r"(?:weight|tensor)_\d+", meta["path_name"]
            ):
                raise ModelError(f"{path} holds {tensor} as a pickle, which is never opened", _EXPORT)
    _check_program(json.loads(archive.read(entries["models/model.json"])), path)
    entries["data/sample_inputs/model.pt"]


def _check_program(program: Any, path: Path) -> None:
    for entry in _objects(program):
        if "target" in entry and "inputs" in entry:
            _check_target(str(entry["target"]), path)
        if any(entry.get(k) is not None for k in ("as_custom_obj", "as_opaque_obj", "as_operator")):
            raise ModelError(f"{path} has an object among its arguments", _EXPORT)
        lengths = [entry[k] for k in ("expr_str",) if k in entry]
        lengths += list(entry.get("range_constraints") or ())
        for text in lengths:
            if not harmless(text):
                raise ModelError(f"{path} has a length {text!r:.80} that is not read", _EXPORT)
        for text in entry.values():  # what PyTorch would import modules for
            if isinstance(text, str) and re.search(r"default_factory|__enum__|\\\\u", text):
                raise ModelError(f"{path} has inputs or outputs of an unknown type", _EXPORT)


def _check_target(target: str, path: Path) -> None:
    if found := _CONTROL.match(target):
        require_no_control_flow(found.group(1))
    if not _TARGET.fullmatch(target):
        raise ModelError(f"{path} calls {target!r:.80}, which is no ATen operation", _EXPORT)


def require_no_control_flow(name: str) -> None:
    """Raises ModelError for a node that holds graphs of its own."""
    raise ModelError(f"the program has control flow ({name})", "export it without loops and branches")


def harmless(text: Any) -> bool:
    """Whether a formula has nothing in it but symbols, numbers and known functions.

    >>> harmless("Symbol('s77', positive=True, integer=True)"), harmless("2*s77 + 1")
    (True, True)
    >>> harmless("__import__('os').getcwd()"), harmless("s77.__class__")
    (False, False)
    """
    if not isinstance(text, str) or not _FORMULA.fullmatch(text) or re.search(r"[A-Za-z_)']\s*\.", text):
        return False
    return all(w in _KNOWN or re.fullmatch(r"[suzf]\d+|[dD]im_?\w*", w) for w in _WORDS.findall(text))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document, all the way down."""
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            found: dict[str, Any] = node
            yield found
            stack.extend(found.values())
        elif isinstance(node, list):
            items: list[Any] = node
            stack.extend(items)


def check_example(content: bytes, path: Path) -> None:
    """Only plain tensors, so that nothing is left for PyTorch to unpickle in the free manner.

    Raises ModelError for anything else.
    """
    import pickle

    torch = importlib.import_module("torch")

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/data/sample_inputs/model.pt"))
        data = archive.read(name)
    if not data:
        return
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ModelError(
            f"the example inputs of {path} are not plain tensors ({first_line(error)})", _EXPORT
        ) from None
