"""What all tests share: where the digits network is, and which tests need PyTorch."""

import functools
import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# The same examples everywhere and every time; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("fixed", deadline=None, derandomize=True, database=None, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests marked ``torch`` out where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        for item in items:
            if item.get_closest_marker("torch"):
                item.add_marker(pytest.mark.skip(reason="needs PyTorch: make torch"))


def pytest_configure() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported and collected, a million objects, is never looked through for garbage, and what
    the tests leave, half a million more, seldom: each look takes a fifth of a second."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(5_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def commands_are_built_once() -> Iterator[None]:
    """Typer would build every command anew at each call of ``main`` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def digits(root: Path) -> Path:
    """The committed network: 64-48-32-10, ReLU, trained on handwritten digits."""
    return root / "tests" / "data" / "digits.onnx"
