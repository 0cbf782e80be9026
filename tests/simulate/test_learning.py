"""Training with and without balancing, against PyTorch's own optimiser and sums by hand."""

import copy
import math

import numpy as np
import pytest

from balproof.simulate import learning
from balproof.simulate.data import Data
from balproof.simulate.learning import ARMS, LEARNING, STUDIES, Balancer, Learned, few, run, train
from balproof.simulate.study import conclude
from balproof.simulate.training import minibatches, perceptron, seeded

torch = pytest.importorskip("torch", reason="needs PyTorch: make torch")
pytestmark = pytest.mark.torch

TINY = {**LEARNING.settings, "units": 6, "epochs": 2, "batch": 8}


@pytest.fixture(scope="module")
def data() -> Data:
    """Three classes of noisy points; the test points are others."""
    rng = np.random.default_rng(3)
    centres = rng.random((3, 5))

    def points(count: int):
        y = rng.integers(0, 3, count)
        return (centres[y] + 0.1 * rng.normal(size=(count, 5))).astype(np.float32), y

    (x, y), (x_test, y_test) = points(67), points(40)
    return Data("points", (1, 1, 5), x, y, x_test, y_test)


@pytest.fixture
def module():
    with seeded(7) as t:
        return perceptron(t, [5, 6, 4, 3])


def sums(module, power: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each hidden layer the sums over the weights in (biases among them) and over the weights out."""
    linear = [m for m in module if hasattr(m, "weight")]
    found = []
    for a, b in zip(linear, linear[1:], strict=False):
        into = a.weight.abs().double() ** power
        incoming = into.sum(1) + a.bias.abs().double() ** power
        found.append((incoming.detach().numpy(), (b.weight.abs().double() ** power).sum(0).detach().numpy()))
    return found


@pytest.mark.parametrize("regularizer, power", [("l1", 1), ("l2", 2)])
def test_fully_balances_every_unit_and_keeps_the_function(module, data, regularizer, power):
    x = torch.from_numpy(data.x_test)
    before, unbalanced = module(x).detach(), sums(module, power)
    balancer = Balancer.of(module, 5)["L1" if regularizer == "l1" else "plain"]
    balancer.fully(module)
    assert max(np.abs(np.log(i / o)).max() for i, o in unbalanced) > 0.1
    for incoming, outgoing in sums(module, power):
        np.testing.assert_allclose(incoming, outgoing, rtol=1e-5)
    torch.testing.assert_close(module(x).detach(), before, rtol=1e-4, atol=1e-6)
    assert balancer.imbalance(module) < 1e-5
    assert next(module.parameters()).dtype == torch.float32


@pytest.mark.parametrize("seed", range(4))
def test_a_layer_is_balanced_and_the_other_is_left_alone(module, data, seed):
    x = torch.from_numpy(data.x_test)
    before, biases = module(x).detach(), [module[0].bias.clone(), module[2].bias.clone()]
    Balancer.of(module, 5)["L2"].layer(module, np.random.default_rng(seed))
    off = [float(np.abs(np.log(i / o)).max()) for i, o in sums(module, 2)]
    same = [bool(torch.equal(b, m.bias)) for b, m in zip(biases, (module[0], module[2]), strict=True)]
    chosen = same.index(False)
    assert sorted(same) == [False, True]
    assert off[chosen] < 1e-5 < off[1 - chosen]
    torch.testing.assert_close(module(x).detach(), before, rtol=1e-4, atol=1e-6)


def test_both_layers_are_drawn(module, data):
    """The test above sees each of them."""
    drawn = set()
    for seed in range(4):
        one = copy.deepcopy(module)
        Balancer.of(one, 5)["plain"].layer(one, np.random.default_rng(seed))
        drawn.add(bool(torch.equal(one[0].bias, module[0].bias)))
    assert drawn == {False, True}


@pytest.mark.parametrize("penalty, decay", [("plain", 0.0), ("L2", 0.02)])
def test_training_is_that_of_pytorch(module, data, penalty, decay):
    """SGD of PyTorch over the same minibatches; μΣw² is a weight decay of 2μ."""
    theirs = copy.deepcopy(module)
    settings = {**TINY, "L2": 0.01, "rate": 0.2}
    found = train(torch, module, Balancer.of(module, 5), data, 5, "never", penalty, settings)
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.2, weight_decay=decay)
    draws = minibatches(np.random.default_rng(5), len(data.y_train), 8)
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    for _ in range(2 * (len(y) // 8)):
        at = next(draws)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(theirs(x[at]), y[at]).backward()
        optimiser.step()
    for mine, other in zip(module.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    loss = torch.nn.functional.cross_entropy(theirs(x), y).item()
    right = theirs(torch.from_numpy(data.x_test)).argmax(1).numpy() == data.y_test
    assert found.losses[-1] == pytest.approx(loss, rel=1e-4)
    assert found.accuracy == pytest.approx(100 * right.mean())


def test_l1_adds_the_signs(data):
    """One step over all the data, away from 0: w − η(g + μ sign w)."""
    settings = {**TINY, "epochs": 1, "batch": len(data.y_train), "L1": 0.01, "rate": 0.2}
    with seeded(1) as t:
        module = perceptron(t, [5, 6, 3])
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    before = [p.detach().clone() for p in module.parameters()]
    slopes = torch.autograd.grad(torch.nn.functional.cross_entropy(module(x), y), list(module.parameters()))
    train(torch, module, Balancer.of(module, 5), data, 0, "never", "L1", settings)
    for p, w, g in zip(module.parameters(), before, slopes, strict=True):
        torch.testing.assert_close(p.detach(), w - 0.2 * (g + 0.01 * w.sign()), rtol=1e-4, atol=1e-6)


def test_each_arm_is_balanced_when_it_says(data, monkeypatch):
    said = []
    monkeypatch.setattr(Balancer, "fully", lambda *_: said.append("fully"))
    monkeypatch.setattr(Balancer, "layer", lambda *_: said.append("layer"))
    counts = {}
    for arm in ARMS:
        said.clear()
        with seeded(0) as t:
            net = perceptron(t, [5, 6, 3])
            train(t, net, Balancer.of(net, 5), data, 0, arm, "plain", {**TINY, "epochs": 3})
        counts[arm] = list(said)
    assert counts == {"never": [], "once": ["fully"], "fully": ["fully"] * 3, "layer": ["layer"] * 3}


def test_arms_start_from_one_network_and_differ_by_balancing_alone(data, monkeypatch):
    settings = {**TINY, "rate": 0.2}
    found = run(2, data, settings, ("plain",), (2,))
    starts = {found.series[f"loss, 2 hidden layers, plain, {arm}"][0] for arm in ARMS}
    ends = {found.series[f"loss, 2 hidden layers, plain, {arm}"][-1] for arm in ARMS}
    assert len(starts) == 1
    assert len(ends) > 2
    monkeypatch.setattr(Balancer, "fully", lambda *_: None)
    monkeypatch.setattr(Balancer, "layer", lambda *_: None)
    idle = run(2, data, settings, ("plain",), (2,))
    assert len({tuple(idle.series[f"loss, 2 hidden layers, plain, {arm}"]) for arm in ARMS}) == 1


def test_a_run_that_diverges_counts_as_guessing(data):
    found = run(0, data, {**TINY, "epochs": 4, "rate": 1e30}, ("plain",), (2,), ("never",))
    losses = found.series["loss, 2 hidden layers, plain, never"]
    assert len(losses) == 5
    assert losses[-1] == pytest.approx(math.log(3))
    assert found.numbers["epochs, 2 hidden layers, plain, never"] == 4


def test_when_a_loss_is_reached():
    falling = Learned([2.0, 1.0, 1.2, 0.2], 0.0)
    assert falling.epochs_to(1.5) == pytest.approx(0.5)
    assert falling.epochs_to(0.7) == pytest.approx(2.5)
    assert falling.epochs_to(0.1) == 3.0
    assert falling.epochs_to(2.5) == 0.0


def test_few_images(data):
    assert few(data, 0, 1) is data
    one, other = few(data, 10, 1), few(data, 10, 2)
    assert len(one.y_train) == len(one.x_train) == 10
    assert not np.array_equal(one.x_train, other.x_train)
    rows = {tuple(v) for v in data.x_train.tolist()}
    assert all(tuple(v) in rows for v in one.x_train.tolist())
    assert np.array_equal(one.x_test, data.x_test)


@pytest.mark.parametrize(
    "study",
    [STUDIES[-1], *(pytest.param(s, marks=pytest.mark.slow) for s in STUDIES[:-1])],
    ids=lambda s: s.name,
)
def test_every_effect_is_measured_and_every_run_repeats(study, data):
    from matplotlib.figure import Figure

    settings = {**study.settings, "units": 5, "epochs": 2, "batch": 32}
    runs = [study.run(seed, data, settings) for seed in range(2)]
    effects, sentence = conclude(study, runs)
    assert all(e.mean is not None and e.left_out == 0 for e in effects)
    assert sentence
    assert study.run(0, data, settings) == runs[0]
    assert runs[0] != runs[1]
    figure = Figure()
    study.draw(figure, runs)
    assert all(len(axes.lines) == len(ARMS) for axes in figure.axes)


@pytest.mark.slow
def test_with_small_steps_a_balanced_start_is_faster():
    """In each of three seeds; whether it is on average is for the study to say."""
    from balproof.simulate.data import digits

    study = learning.SMALL_STEPS
    for seed in range(3):
        found = run(seed, digits(), study.settings, ("plain",), (2,), ("never", "once")).numbers
        assert found["epochs, 2 hidden layers, plain, once"] < found["epochs, 2 hidden layers, plain, never"]
