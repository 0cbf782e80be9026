"""Model files to networks and back: ``load`` and ``save``.

A form is a suffix and two functions in a module of its own; `FORMS` is the list. To add one, write the
module and add its line.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.sparse import issparse

from balproof.errors import ModelError
from balproof.importers.rounding import require_finite
from balproof.network.graph import Network
from balproof.network.manifold import Manifold

FORMS: Mapping[str, str] = MappingProxyType(
    {
        ".onnx": "balproof.importers.onnx_file",
        ".json": "balproof.importers.json_file",
        ".npz": "balproof.importers.matrix_file",
        ".npy": "balproof.importers.matrix_file",
        ".mtx": "balproof.importers.matrix_file",
        ".pt2": "balproof.importers.torch_program",
    }
)
"""The module that reads and writes each suffix; it is imported when it is needed."""

_KNOWN = ", ".join(FORMS)
_EXPORT = "export the model with torch.onnx.export and give the .onnx file"


def load(model: object, example_inputs: object = None, *, finite: bool = True) -> Network:
    """Read a network from a file, or from an object in memory.

    ``model`` is a path (its suffix tells the form), a ``Network`` (returned as it is), a mapping (a JSON
    document of our own form, or the arrays of a recurrent network), a square array J (of NumPy, or sparse of
    SciPy), an ``onnx.ModelProto``, or a ``torch.nn.Module`` with example inputs (a tensor or a tuple of them,
    the batch in front); ``balproof.importers.torch_program.module_with(network, module)`` then makes a copy
    of the module with the network's weights. Pickled files are never opened. With ``finite=False`` parameters
    may be NaN or infinite, for an audit of what another program wrote; constants never may.

    >>> load(np.array([[0.0, 2.0], [0.5, 0.0]])).parameters[0].name
    'J'

    Raises ModelError for a form that is not known, and for every fault of the file, in one line;
    MissingToolError if the library that reads the form is not installed.
    """
    network = _read(model, example_inputs)
    for tensor in network.tensors.values():
        if finite or tensor.role == "constant":
            require_finite(tensor)
    return network


def _read(model: object, example_inputs: object = None) -> Network:
    if isinstance(model, str | Path):
        path = Path(model)
        return _module(path.suffix, str(path)).load(path)
    if isinstance(model, Network):
        return model
    if isinstance(model, np.ndarray) or issparse(model):
        return _module(".npz").from_arrays({"J": model})
    if isinstance(model, Mapping):
        document: Mapping[str, Any] = model
        if "J" in document:
            return _module(".npz").from_arrays(document)
        return _module(".json").from_document(document)
    if type(model).__name__ == "ModelProto":
        return _module(".onnx").from_proto(model)
    if is_module(model):
        if example_inputs is None:
            raise ModelError(
                "a module is read together with example inputs", "say load(module, example_inputs)"
            )
        return _module(".pt2").from_module(model, example_inputs)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise ModelError(f"a network cannot be made of a {kind}", f"{_EXPORT}, or one of {_KNOWN}")


def is_module(model: object) -> bool:
    """Whether an object is a module of PyTorch, which is loaded already if it is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def save(network: Network, path: str | Path) -> None:
    """Write a network in the form and structure of its source, with the weights that it has now.

    Each weight is rounded to the type that it had in the file. The file is replaced whole or not at all.
    Where weights lie in files of their own, so do those that are written (`outputs`).

    Raises ModelError if the suffix is not that of the network's form, a weight does not fit its type, the
    source has changed its structure meanwhile, or a file cannot be written.
    """
    _writer(network, Path(path)).save(network, Path(path))


def save_rescaled(
    manifold: Manifold,
    h: np.ndarray,
    path: str | Path,
    *,
    power_of_two: bool = False,
    factors: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Write the network of a manifold with its weights rescaled by h, as `save` would, but piece by piece.

    Memory is needed for a piece at a time, not for the weights, where these lie in ``.npz`` or ``.npy`` files
    or beside the model. ``power_of_two`` writes what `Manifold.rescale_by_powers_of_two` gives; ``factors``
    are powers of two and log-scales to be used in place of h, which is their sum.

    Raises ModelError as `save`.

    >>> from balproof.network.manifold import infer
    >>> import tempfile
    >>> manifold = infer(load("tests/data/chain.json"))
    >>> target = Path(tempfile.mkdtemp()) / "scaled.json"
    >>> save_rescaled(manifold, np.log([2.0, 1.0]), target)
    >>> [t.value.item() for t in load(target).parameters]
    [1.0, -1.5, 3.0]
    """
    n = manifold.powers_of_two(h) if power_of_two else None
    powers, rest = factors or (None, h)
    weights = {
        block.name: manifold.scaled(block, rest, powers) if n is None else manifold.times_powers(block, n)
        for block in manifold.blocks
        if block.terms
    }
    _writer(manifold.network, Path(path)).save(manifold.network, Path(path), weights)


def outputs(network: Network, path: str | Path) -> tuple[Path, ...]:
    """The files that `save` writes, the model last.

    Raises ModelError as `save` where that can be told beforehand.
    """
    writer = _writer(network, Path(path))
    return writer.outputs(network, Path(path)) if hasattr(writer, "outputs") else (Path(path),)


def _writer(network: Network, target: Path) -> Any:
    if target.suffix.lower() != f".{network.format}":
        suffix = target.suffix or "(none)"
        raise ModelError(
            f"{target} has the suffix {suffix}, but the network is of the form .{network.format}",
            f"write it to a file that ends in .{network.format}",
        )
    return _module(target.suffix, str(target))


def _module(suffix: str, what: str = "") -> Any:
    known = FORMS.get(suffix.lower())
    if known is None:
        reason = {
            ".pt": f"{what} is a pickled PyTorch file, which is never opened",
            ".pth": f"{what} is a pickled PyTorch file, which is never opened",
            ".pkl": f"{what} is a pickled file, which is never opened",
            ".pickle": f"{what} is a pickled file, which is never opened",
        }.get(suffix.lower(), f"{what} has the unknown suffix {suffix or '(none)'}")
        remedy = _EXPORT if suffix.lower() in (".pt", ".pth") else f"give a file in one of {_KNOWN}"
        raise ModelError(reason, remedy)
    return importlib.import_module(known)
