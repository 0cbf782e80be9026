"""Exported programs as files, modules written back, and what is refused."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balproof.errors import MissingToolError, ModelError
from balproof.importers import files, load, save, save_rescaled, torch_program
from balproof.importers.torch_archive import harmless
from balproof.network.evaluate import evaluate
from balproof.network.manifold import infer
from balproof.network.rules_norm import without_epsilon

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.torch

torch.set_num_threads(1)  # all of this is small


class Tied(nn.Module):
    """Tied and transposed weights, running statistics, constants of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.c.weight = nn.Parameter(self.a.weight.t())
        self.norm = nn.BatchNorm1d(4)
        self.norm.running_mean.fill_(0.5)
        self.register_buffer("factor", torch.tensor([1.0, 2.0, -3.0, 0.5]))
        self.register_buffer("hidden", torch.ones(4), persistent=False)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.a(x)))
        x = F.relu(self.c(F.relu(self.b(x)))) * self.factor * self.hidden
        return self.last(x.view(x.shape[0], 2, 2).flatten(1)) + torch.tensor([1.0, 2.0], dtype=x.dtype)


def tied() -> Any:
    """In float64; a change of type unties what is tied by a transpose."""
    module = Tied().double().eval()
    module.c.weight = nn.Parameter(module.a.weight.detach().t())
    return module


def mlp() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()


def write(path: Path, module: Any, *examples: Any, **more: Any) -> Path:
    with quiet():
        torch.export.save(torch.export.export(module.eval(), examples, **more), path)
    return path


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """PyTorch warns of tied weights when it saves, and of its own code when it decomposes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No complete tensor found")
        warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec.` is deprecated")
        yield


def rescaled(network: Any, seed: int = 0, size: float = 1.0) -> Any:
    manifold = infer(network)
    return manifold.rescale(np.random.default_rng(seed).uniform(-size, size, manifold.count))


BATCH = {"dynamic_shapes": ({0: torch.export.Dim("batch", max=64)},)}


@pytest.mark.parametrize("more", [pytest.param({}, marks=pytest.mark.slow), BATCH], ids=["fixed", "dynamic"])
def test_a_program_is_read_and_written_back(tmp_path: Path, more: Any) -> None:
    module = tied()
    x = torch.randn(3, 4, dtype=torch.float64)
    path = write(tmp_path / "m.pt2", module, x, **more)
    network = load(path)
    assert (network.format, network.source) == ("pt2", str(path))
    assert [t.name for t in network.parameters if t.buffer] == ["norm.running_mean", "norm.running_var"]
    assert {t.name for t in network.parameters} >= {"a.weight", "a.bias", "b.bias", "c.bias", "norm.weight"}
    assert not {t.name for t in network.parameters} & {"b.weight", "c.weight"}
    expected = module(x).detach().numpy()
    assert np.allclose(evaluate(network, {"x": x.numpy()})[network.outputs[0]], expected, rtol=1e-12)

    other = rescaled(network)
    save(other, tmp_path / "n.pt2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.pt2", "n.pt2"]
    before, after = torch.export.load(path), torch.export.load(tmp_path / "n.pt2")
    assert str(before.graph) == str(after.graph)
    result = after.module()(x)
    assert torch.allclose(result, module(x), rtol=1e-10)
    for name, value in after.state_dict.items():
        assert value.dtype == before.state_dict[name].dtype
    assert torch.equal(after.state_dict["c.weight"].t(), after.state_dict["a.weight"])
    again = load(tmp_path / "n.pt2")
    for parameter in other.parameters:
        assert np.array_equal(again.numbers(parameter.name), other.numbers(parameter.name))


def test_a_module_and_its_program_are_the_same_network(tmp_path: Path) -> None:
    x = torch.randn(1, 4)
    module = Tied().eval()
    one, two = load(module, (x,)), load(write(tmp_path / "m.pt2", module, x))
    assert [op.name for op in one.operations] == [op.name for op in two.operations]
    assert list(one.tensors) == list(two.tensors)
    with pytest.raises(ModelError, match=r"in memory: use .*module_with"):
        save(one, tmp_path / "n.pt2")


def test_a_decomposed_program(tmp_path: Path) -> None:
    module = tied()
    x = torch.randn(1, 4, dtype=torch.float64)
    with quiet():
        program = torch.export.export(module, (x,)).run_decompositions()
        torch.export.save(program, tmp_path / "m.pt2")
    network = load(tmp_path / "m.pt2")
    assert infer(network).free_scales == infer(load(module, x)).free_scales
    found = evaluate(network, {"x": x.numpy()})[network.outputs[0]]
    assert np.allclose(found, module(x).detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_type_is_kept(dtype: str, tmp_path: Path) -> None:
    kind = getattr(torch, dtype)
    module = mlp().to(kind)
    x = torch.ones(1, 3, dtype=kind)
    network = load(module, x)
    assert {t.dtype for t in network.parameters} == {dtype}
    manifold = infer(network)
    doubled = manifold.rescale(np.log(2) * np.ones(manifold.count))
    exact = network.with_parameters(
        {n: np.round(v / network.numbers(n), 6) * network.numbers(n) for n, v in _numbers(doubled).items()}
    )
    other = torch_program.module_with(exact, module)
    assert torch.equal(other[0].weight, 2 * module[0].weight)
    assert torch.equal(other[2].weight, module[2].weight / 2)
    assert other[0].weight.dtype == kind
    assert torch.equal(other(x), module(x))
    path = write(tmp_path / "m.pt2", module, x)
    save(load(path).with_parameters(_numbers(exact)), path)
    assert torch.equal(torch.export.load(path).state_dict["0.weight"], 2 * module[0].weight)
    again = infer(load(path))
    save_rescaled(again, np.log(2) * np.ones(again.count), tmp_path / "n.pt2", power_of_two=True)
    assert torch.equal(torch.export.load(tmp_path / "n.pt2").state_dict["0.weight"], 4 * module[0].weight)


def _numbers(network: Any) -> dict[str, np.ndarray]:
    return {t.name: network.numbers(t.name) for t in network.parameters}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_weight_that_does_not_fit_changes_nothing(dtype: str, tmp_path: Path) -> None:
    module = mlp().to(getattr(torch, dtype))
    path = write(tmp_path / "m.pt2", module, torch.ones(1, 3, dtype=getattr(torch, dtype)))
    before = path.read_bytes()
    network = load(path)
    large = network.with_parameters({"2.bias": np.array([1.0, 1e39])})
    with pytest.raises(ModelError, match="does not fit"):
        save(large, path)
    with pytest.raises(ModelError, match="does not fit"):
        torch_program.module_with(large, module)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.pt2", mlp(), torch.ones(1, 3))
    before = path.read_bytes()
    network = rescaled(load(path))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(ModelError, match="No space left"):
        save(network, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]


def test_the_module_itself_is_left_alone() -> None:
    module = Tied().eval()
    before = {n: v.clone() for n, v in module.state_dict().items()}
    other = torch_program.module_with(rescaled(load(module, torch.ones(1, 4))), module)
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())
    assert other.b.weight is other.a.weight
    assert torch.equal(other.c.weight, other.a.weight.t())
    changed = {n for n, v in other.state_dict().items() if not torch.equal(v, before[n])}
    assert "norm.running_mean" in changed
    assert not changed & {"factor", "norm.running_var", "norm.num_batches_tracked"}
    with pytest.raises(ModelError, match="no longer has"):
        torch_program.module_with(load(module, torch.ones(1, 4)), mlp())


# --- what is not known pins -------------------------------------------------------------------------------


class Around(nn.Module):
    """Dense, something, dense."""

    def __init__(self, function: Callable[[Any], Any], width: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(2, 3), nn.Linear(width, 2)
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.two(self.function(self.one(x)))


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: torch.softmax(x, 0), "aten::softmax"),
        (lambda x: torch.cumsum(x, 1), "aten::cumsum"),
        (lambda x: torch.sort(x, 1).values, "aten::sort"),
        (lambda x: torch.where(x > 0, x, 2 * x), "aten::gt"),
        (lambda x: x.max(1).indices.double()[:, None].expand(-1, 3), "aten::max"),
        (lambda x: torch.floor(x), "aten::floor"),
        (lambda x: x + x.mean(0, keepdim=True), "aten::mean"),
        (lambda x: torch.remainder(x, 2.0), "aten::remainder"),
    ],
)
def test_what_has_no_rule_pins_and_says_so(function: Callable[[Any], Any], named: str) -> None:
    network = load(Around(function).double().eval(), torch.ones(1, 2).double())
    assert named in [op.attributes["op_type"] for op in network.operations if op.kind == "unknown"]
    manifold = infer(network)
    assert manifold.free_scales == 0
    assert all(not unit.free for unit in manifold.units)


def test_arguments_of_what_is_unknown_are_kept_to_compare_by() -> None:
    one, two = (load(Around(lambda x, d=d: torch.cumsum(x, d)).eval(), torch.ones(1, 2)) for d in (-1, 1))
    attributes = [next(op.attributes for op in n.operations if op.kind == "unknown") for n in (one, two)]
    assert attributes[0] != attributes[1]


class Kept(nn.Module):
    """Writes a result into a buffer, for its next call."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 3), nn.Linear(3, 2)
        self.register_buffer("state", torch.zeros(1, 3))

    def forward(self, x: Any) -> Any:
        h = F.relu(self.one(x) + self.state)
        self.state.copy_(h)
        return self.two(h)


def test_what_is_kept_for_the_next_call_pins() -> None:
    manifold = infer(load(Kept().eval(), torch.ones(1, 2)))
    assert manifold.free_scales == 0
    assert "kept for the next call" in manifold.units[0].why


def test_inputs_of_different_batches() -> None:
    module = nn.Bilinear(2, 2, 2).eval()
    with pytest.raises(ModelError, match="the same batch axis"):
        load(module, (torch.ones(2, 2), torch.ones(3, 2)))


def test_training_mode_is_not_inference() -> None:
    layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.ones(4, 2)
    assert infer(load(layers.eval(), x)).free_scales == 6
    network = load(layers.train(), x)
    assert "unknown" not in [op.kind for op in network.operations]
    assert infer(network).free_scales == 3 + 3  # behind the normalisation, and biases that it does not see
    known, assumptions = without_epsilon(network)
    assert assumptions == ("ε = 0 in 1 (it is 1e-05)",)
    assert infer(known).free_scales == 3 + 3 + 3
    assert layers.training


def test_dropout_in_training_is_no_identity() -> None:
    layers = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 2))
    assert infer(load(layers.eval(), torch.ones(4, 2))).free_scales == 3
    network = load(layers.train(), torch.ones(4, 2))
    assert [op.kind for op in network.operations] == ["linear", "bias", "unknown", "linear", "bias"]
    assert infer(network).free_scales == 0


class Statistics(nn.Module):
    """What a normalisation writes while it trains is read after it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("variance", torch.ones(3))

    def forward(self, x: Any) -> Any:
        return self.b(F.batch_norm(self.a(x), self.mean, self.variance, training=True) * self.variance)


def test_statistics_that_are_written_are_no_constants() -> None:
    network = load(Statistics().train(), torch.randn(4, 2))
    assert [op.kind for op in network.operations if op.output in network.operations[-3].inputs] == [
        "batchnorm",
        "unknown",
    ]


class Written(nn.Module):
    """The second layer reads what another operation has written in place of the first one's result."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        y = self.a(x)
        z = y.clone()
        torch.maximum(y, -y, out=z.view(z.shape))
        return self.b(z)


def test_what_is_written_in_place_is_read() -> None:
    torch.manual_seed(0)
    module, x = Written().double().requires_grad_(False), torch.randn(5, 3).double()
    network = load(module, x)
    found = evaluate(network, {network.inputs[0]: x.numpy()})[network.outputs[0]]
    assert np.allclose(found, module(x).numpy(), rtol=1e-12)


# --- what is refused --------------------------------------------------------------------------------------


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(x) if x.sum() > 0 else x


class Branch(Loop):
    def forward(self, x: Any) -> Any:
        return torch.cond(x.sum() > 0, lambda v: self.fc(v), lambda v: v.clone(), (x,))


@pytest.mark.parametrize(
    ("module", "example", "match"),
    [
        (Loop, torch.ones(1, 2), "cannot make a graph of the module"),
        (Branch, torch.ones(1, 2), "control flow"),
        (mlp, torch.ones(1, 5), "cannot make a graph of the module"),
        (mlp, torch.ones(3), "batch axis|cannot make"),
        (nn.ReLU, torch.ones(1, 3), "the model has no parameters"),
    ],
)
def test_modules_that_are_refused(module: Any, example: Any, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load(module().eval(), example)
    assert "\n" not in str(caught.value)


def test_a_module_needs_example_inputs() -> None:
    with pytest.raises(ModelError, match=r"say load\(module, example_inputs\)"):
        load(mlp())


def test_nan_weights() -> None:
    module = mlp()
    with torch.no_grad():
        module[0].weight[1, 2] = float("nan")
    with pytest.raises(ModelError, match=r"0\.weight\[1,2\] is nan"):
        load(module, torch.ones(1, 3))
    assert np.isnan(load(module, torch.ones(1, 3), finite=False).numbers("0.weight")[1, 2])


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.pt2", mlp(), torch.ones(1, 3))
    monkeypatch.setitem(sys.modules, "torch.export", None)
    with pytest.raises(MissingToolError, match="torch is not installed"):
        load(path)


def changed(
    path: Path, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes] | None = None
) -> Path:
    """The archive with entries changed, left out (None) or added."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
        top = old.namelist()[0].split("/")[0]
        for name in old.namelist():
            data = change(name.removeprefix(f"{top}/"), old.read(name))
            if data is not None:
                new.writestr(name, data)
        for name, data in (more or {}).items():
            new.writestr(f"{top}/{name}", data)
    path.write_bytes(content.getvalue())
    return path


def pickled_weights(name: str, data: bytes) -> bytes:
    if not name.endswith("weights_config.json"):
        return data
    config = json.loads(data)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config).encode()


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("unpickled",))


def evil_example(name: str, data: bytes) -> bytes:
    if "sample_inputs" not in name:
        return data
    content = io.BytesIO()
    torch.save((Evil(),), content)
    return content.getvalue()


def replaced(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("model.json"):
            return data
        assert old.encode() in data
        return data.replace(old.encode(), new.encode())

    return change


def as_it_is(name: str, data: bytes) -> bytes:
    return data


@pytest.mark.parametrize(
    ("change", "more", "match"),
    [
        (pickled_weights, {}, "as a pickle, which is never opened"),
        (evil_example, {}, "not plain tensors"),
        (as_it_is, {"data/aotinductor/model/a.so": b"x"}, "has an entry"),
        (as_it_is, {"data/constants/custom_obj_0": b"x"}, "has an entry"),
        (replaced("torch.ops.aten.relu.default", "torch.hub.load"), {}, "no ATen operation"),
        (replaced("torch.ops.aten.relu.default", "_operator.methodcaller"), {}, "no ATen operation"),
        (replaced("torch.ops.aten.relu.default", "#ns:op"), {}, "no ATen operation"),
        (replaced("Symbol('", "print('"), {}, "a length"),
        (replaced("builtins.tuple", "collections.defaultdict default_factory"), {}, "unknown type"),
        (replaced('"nodes": [', '"nodes": [1, '), {}, "exported PyTorch program"),
        (lambda name, data: None if "models" in name else data, {}, "unknown layout"),
        (lambda name, data: data[:-8] if name.endswith("weight_0") else data, {}, "exported PyTorch program"),
    ],
)
def test_archives_that_are_refused(
    change: Any, more: Any, match: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "m.pt2", mlp(), torch.ones(3, 3), dynamic_shapes=({0: torch.export.Dim("b")},))
    assert load(path).parameters
    with pytest.raises(ModelError, match=match) as caught:
        load(changed(path, change, more))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_files_that_are_no_programs(tmp_path: Path) -> None:
    path = write(tmp_path / "m.pt2", mlp(), torch.ones(1, 3))
    whole = path.read_bytes()
    for content in (b"anything", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="no intact exported PyTorch program"):
            load(path)
    damaged = bytearray(whole)
    damaged[whole.index(b"torch.ops.aten.relu") + 3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="no intact"):
        load(path)
    torch.save(mlp().state_dict(), path)
    with pytest.raises(ModelError, match="which is never opened"):
        load(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s0*s1 + Max(1, s2)", True),
        ("Symbol('u0', integer=True)", True),
        ("(s0).real", False),
        ("exec('1')", False),
        ("lambda: 0", False),
        ("[s0]", False),
        (3, False),
    ],
)
def test_formulas_of_lengths(text: Any, expected: bool) -> None:
    assert harmless(text) is expected
