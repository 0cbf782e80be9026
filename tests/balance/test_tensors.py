"""Balancing a module's own tensors in place."""

import copy

import numpy as np
import pytest

import balproof
from balproof.balance.problem import Costs
from balproof.errors import BalproofError, ModelError, RequestError
from tests.sweeps import crossed

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

nn = torch.nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner = nn.Linear(4, 6), nn.Linear(6, 5)
        self.back, self.last = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        stream = torch.relu(self.first(x))
        return self.last(stream + self.back(torch.relu(self.inner(stream))))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 4), nn.Linear(4, 6)
        self.decode.weight = nn.Parameter(torch.randn(6, 4))
        self.head = nn.Linear(6, 4, bias=False)
        self.head.weight = self.encode.weight

    def forward(self, x):
        return self.head(torch.relu(self.decode(torch.relu(self.encode(x)))))


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 7), nn.LeakyReLU(), nn.Linear(7, 3))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 4),
    ).eval()


MODULES = {
    "mlp": (mlp, (5, 4)),
    "residual": (Residual, (5, 4)),
    "convolutions": (convolutions, (2, 3, 8, 8)),
}


def made(name, dtype=torch.float64):
    torch.manual_seed(3)
    module, shape = MODULES[name]
    return module().to(dtype), torch.randn(shape, dtype=dtype)


@pytest.mark.parametrize("name, regularizer", crossed(MODULES, ["l2", "l1", "lp:1.5", "w**2+abs(w)"]))
def test_the_state_is_that_of_solve(name, regularizer):
    module, x = made(name)
    with torch.no_grad():
        before = module(x)
    expected = balproof.solve(balproof.load(module, (x,)), regularizer)
    found = balproof.balance_(module, regularizer, example_inputs=(x,), tolerance=1e-12, limit=500)
    assert found.converged
    assert found.cost_after == pytest.approx(expected.cost_after, rel=1e-12)
    assert found.cost_before == pytest.approx(expected.cost_before, rel=1e-12)
    after = balproof.load(module, (x,))
    for t in expected.network.parameters:
        assert after.numbers(t.name) == pytest.approx(expected.network.numbers(t.name), rel=1e-8)
    assert torch.allclose(module(x), before, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_weights_keep_their_type_and_function(name, dtype):
    module, x = made(name, dtype)
    if name == "convolutions" and dtype is torch.bfloat16:
        pytest.skip("its running statistics are float32 in mixed modules")
    before = module(x).double().detach()
    found = balproof.balance_(module, example_inputs=(x,), tolerance=1e-5)
    assert found.converged
    assert {p.dtype for p in module.parameters()} == {dtype}
    near = 1e-5 if dtype is torch.float32 else 0.1
    assert float((module(x).double().detach() - before).abs().max()) <= near * float(before.abs().max())


def test_a_balancer_is_used_while_training():
    module, x = made("mlp", torch.float32)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    balancer = balproof.Balancer(module, (x,))
    for _ in range(5):
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()
        assert balancer.balance_().imbalance <= 1e-6
    assert all(p.requires_grad and p.grad is not None for p in module.parameters())
    assert float(balproof.solve(balproof.load(module, (x,))).imbalance_before) < 1e-5


def test_biases_without_cost():
    module, x = made("mlp")
    expected = balproof.solve(balproof.load(module, (x,)), Costs.parse("l2", bias_cost=False))
    found = balproof.balance_(module, example_inputs=(x,), bias_cost=False, tolerance=1e-12)
    assert found.cost_after == pytest.approx(expected.cost_after, rel=1e-12)


def test_a_dead_unit_is_left_alone():
    module, x = made("mlp")
    with torch.no_grad():
        module[0].weight[2] = 0
        module[0].bias[2] = 0
    before, old = module(x), module[2].weight[:, 2].detach().clone()
    found = balproof.balance_(module, example_inputs=(x,), tolerance=1e-12)
    assert found.dead_units == ("0[2]",)
    assert found.converged
    ratio = (module[2].weight[:, 2] / old).detach().numpy()
    others = balproof.load(module, (x,)).numbers("2.bias") / balproof.load(made("mlp")[0], (x,)).numbers(
        "2.bias"
    )
    assert ratio == pytest.approx(others)  # scaled by the units that receive it, not by itself
    assert torch.allclose(module(x), before)


def test_a_module_with_other_tensors_is_refused():
    module, x = made("mlp")
    balancer = balproof.Balancer(module, (x,))
    module[2] = nn.Linear(8, 6).double()
    with pytest.raises(ModelError, match=r"no longer has '2.weight'.*: make a new Balancer"):
        balancer.balance_()


def test_weights_that_are_not_finite_change_nothing():
    module, x = made("mlp")
    balancer = balproof.Balancer(module, (x,))
    with torch.no_grad():
        module[2].weight[1, 1] = float("nan")
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ModelError, match="not finite"):
        balancer.balance_()
    assert all(torch.equal(v.nan_to_num(), before[k].nan_to_num()) for k, v in module.state_dict().items())


def test_a_weight_that_leaves_float16_changes_nothing():
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False)).half()
    with torch.no_grad():
        module[0].weight[:], module[2].weight[:] = 6e-8, 6e4
    x = torch.zeros(1, 1, dtype=torch.float16)
    found = balproof.balance_(module, example_inputs=(x,))
    assert found.converged
    assert np.isfinite(balproof.load(module, (x,)).numbers("0.weight")).all()


@pytest.mark.parametrize(
    ("make", "regularizer", "message"),
    [
        (mlp, "log(1+w**2)", "no sum of powers"),
        (mlp, "what", "what"),
        (mlp, "nothing*=l1", "no parameter is called"),
        (lambda: "a word", "l2", "is no torch.nn.Module"),
    ],
)
def test_what_is_refused(make, regularizer, message):
    with pytest.raises(BalproofError, match=message):
        balproof.balance_(make(), regularizer, example_inputs=(torch.zeros(1, 4),))


def test_weights_with_two_scales_on_a_side_are_refused():
    with pytest.raises(RequestError, match="two scales on one side: use balproof.solve"):
        balproof.balance_(Tied(), example_inputs=(torch.zeros(1, 6),))
