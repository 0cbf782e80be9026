"""The books of a training run agree with loops written by hand; each planted fault is named and measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from balproof.conservation.ledger import Momentum, after_step, squares
from balproof.crosscheck import sgd, training
from balproof.crosscheck.training import Sgd, TrainingReport, conserved_along
from balproof.errors import ModelError, RequestError
from balproof.network.manifold import infer
from tests.conservation.training import Perceptron, Weights
from tests.sweeps import crossed

Made = Callable[[int, Weights], Weights]


def identity(step: int, g: Weights) -> Weights:
    return g


def loop(
    rule: Sgd,
    *,
    used: Sgd | None = None,
    told: Made = identity,
    inside: Made = identity,
    still: tuple[str, ...] = (),
    dtype: str = "float64",
    activation: str = "relu",
    steps: int = 40,
    resumed: bool = False,
) -> TrainingReport:
    """Train a perceptron as ``used`` says, PyTorch's formulas by hand, and audit it by ``rule``.

    ``told`` changes the gradients that everybody gets, ``inside`` those that the optimizer uses in secret.
    """
    p = Perceptron([4, 6, 5, 2], activation, seed=7, cases=64)
    rng, used = np.random.default_rng(1), used or rule
    w = {n: v.astype(dtype) for n, v in p.start.items()}
    m: Weights = {}
    run: list[tuple[Weights, Weights | None]] = []
    scalar = np.dtype(dtype).type
    rate, beta, decay, fresh, apart = (
        scalar(x)
        for x in (used.rate, used.momentum, used.decay, 1 - used.dampening, used.rate * used.decoupled)
    )
    for t in range(steps):
        exact = p.gradient({n: v.astype(float) for n, v in w.items()}, rng.choice(64, 8, replace=False))
        g = told(t, {n: v.astype(dtype) for n, v in exact.items()})
        run.append(({n: v.copy() for n, v in w.items()}, {n: v.copy() for n, v in g.items()}))
        for n, v in inside(t, g).items():
            smooth = v + decay * w[n]
            u = smooth
            if used.momentum:
                m[n] = smooth.copy() if n not in m else beta * m[n] + fresh * smooth
                u = smooth + beta * m[n] if used.nesterov else m[n]
            if n not in still:
                w[n] = (w[n] * (scalar(1) - apart) - rate * u).astype(dtype)
    run.append((w, None))
    return conserved_along(run[5:] if resumed else run, p.network, rule, resumed=resumed)


RULES = {
    "plain": Sgd(0.02),
    "decay": Sgd(0.02, decay=0.1),
    "decoupled": Sgd(0.02, decoupled=0.1),
    "heavy ball": Sgd(0.01, momentum=0.8, decay=0.1),
    "dampened": Sgd(0.02, momentum=0.8, dampening=0.3, decay=0.05),
    "Nesterov": Sgd(0.01, momentum=0.8, decay=0.1, nesterov=True),
    "decoupled ball": Sgd(0.01, momentum=0.8, decoupled=0.2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_a_right_run_keeps_its_books(name: str, dtype: str) -> None:
    report = loop(RULES[name], dtype=dtype)
    assert report.ok and report.status == "holds", report.as_text()
    assert len(report.units) == 11 and all(u.law and u.ok for u in report.units)
    # The bound is near rounding, and far from how much z moves.
    moved = np.median([abs(u.after - u.before) for u in report.units])
    bound = np.median([u.tolerance for u in report.units])
    assert moved > {"float32": 1e2, "float64": 1e10}[dtype] * bound > 0


@pytest.mark.parametrize("rule", [Sgd(0.002), Sgd(0.001, momentum=0.8, decay=0.1)])
def test_other_degrees(rule: Sgd) -> None:
    report = loop(rule, activation="Max(x,0)**2")
    assert report.status == "holds" and report.ok and len(report.units) == 11


def test_a_run_that_goes_on_has_a_momentum() -> None:
    report = loop(RULES["Nesterov"], resumed=True)
    assert report.ok and "the momentum before them is not known" in report.notes[0]
    # Without saying so, the first step is not the one of a fresh start.
    p = Perceptron([4, 6, 5, 2], "relu", seed=7)
    w = {n: np.array(v) for n, v in p.start.items()}
    g = p.gradient(w)
    after = {n: w[n] - 0.1 * (g[n] + 1.0) for n in w}
    assert not conserved_along([(w, g), (after, None)], p.network, Sgd(0.1, momentum=0.9)).ok
    assert conserved_along([(w, g), (after, None)], p.network, Sgd(0.1, momentum=0.9), resumed=True).ok


def test_a_schedule_has_a_rule_for_each_step() -> None:
    p = Perceptron([3, 4, 2], "relu", seed=3)
    w, run = dict(p.start), []
    rules = [Sgd(0.02 / (1 + t), momentum=0.5) for t in range(10)]
    m = {n: np.zeros_like(v) for n, v in w.items()}
    for rule in rules:
        g = p.gradient(w)
        run.append((w, g))
        m = {n: rule.momentum * m[n] + g[n] for n in w}
        w = {n: w[n] - rule.rate * m[n] for n in w}
    run.append((w, None))
    assert conserved_along(run, p.network, rules).ok
    assert not conserved_along(run, p.network, rules[0]).ok
    with pytest.raises(RequestError, match="step 3 has no rule"):
        conserved_along(run, p.network, rules[:3])


# --- faults -------------------------------------------------------------------------------------------


def doubled(t: int, g: Weights) -> Weights:
    return {**g, "fc2.weight": 2 * g["fc2.weight"]}


def no_bias(t: int, g: Weights) -> Weights:
    return {**g, "fc1.bias": 0 * g["fc1.bias"]}


def clip_norm(t: int, g: Weights) -> Weights:
    norm = np.sqrt(sum(np.sum(v.astype(float) ** 2) for v in g.values()))
    return {n: v * v.dtype.type(min(1.0, 3.0 / norm)) for n, v in g.items()}


def clip_value(t: int, g: Weights) -> Weights:
    return {n: np.clip(v, -0.5, 0.5) for n, v in g.items()}


def noise(t: int, g: Weights) -> Weights:
    rng = np.random.default_rng(t)
    return {n: (v + 0.1 * rng.standard_normal(v.shape)).astype(v.dtype) for n, v in g.items()}


def missing(t: int, g: Weights) -> Weights:
    return {n: v for n, v in g.items() if n != "fc1.bias"}


BALL = Sgd(0.01, momentum=0.8)
NESTEROV = Sgd(0.01, momentum=0.8, nesterov=True)
FAULTS: dict[str, tuple[Sgd, dict[str, Any], str, str, float | None]] = {
    "rate": (Sgd(0.02), {"used": Sgd(0.025)}, "wrong-rate", "all tensors", 0.025),
    "rate of a ball": (BALL, {"used": Sgd(0.02, momentum=0.8)}, "wrong-rate", "all tensors", 0.02),
    "rate of Nesterov": (
        NESTEROV,
        {"used": Sgd(0.02, momentum=0.8, nesterov=True)},
        "wrong-rate",
        "all tensors",
        0.02,
    ),
    "decay": (Sgd(0.02), {"used": Sgd(0.02, decay=0.01)}, "hidden-decay", "all tensors", 0.01),
    "another decay": (
        Sgd(0.02, decay=0.02),
        {"used": Sgd(0.02, decay=0.05)},
        "wrong-decay",
        "all tensors",
        0.05,
    ),
    "decay of a ball": (
        BALL,
        {"used": Sgd(0.01, momentum=0.8, decay=0.03)},
        "hidden-decay",
        "all tensors",
        0.03,
    ),
    "decay beside a ball": (
        BALL,
        {"used": Sgd(0.01, momentum=0.8, decoupled=0.03)},
        "hidden-decay",
        "all tensors",
        0.03,
    ),
    "decay of Nesterov": (
        NESTEROV,
        {"used": Sgd(0.01, momentum=0.8, decay=0.03, nesterov=True)},
        "hidden-decay",
        "all tensors",
        0.03,
    ),
    "momentum": (Sgd(0.01), {"used": BALL}, "hidden-momentum", "all tensors", 0.8),
    "another momentum": (
        BALL,
        {"used": Sgd(0.01, momentum=0.7)},
        "wrong-momentum",
        "all tensors",
        0.7,
    ),
    "clipped inside": (Sgd(0.02), {"inside": clip_norm}, "clipped", "all tensors", 3.0),
    "clipped by entry": (Sgd(0.02), {"told": clip_value}, "clipped", "fc1[0]", 0.5),
    "gradient doubled": (Sgd(0.02), {"told": doubled}, "wrong-gradient", "fc2.weight", 2.0),
    "gradient 0": (Sgd(0.02), {"told": no_bias}, "wrong-gradient", "fc1.bias", 0.0),
    "gradient of nothing": (Sgd(0.02), {"told": noise}, "wrong-gradient", "fc1[0]", None),
    "no gradient": (Sgd(0.02), {"told": missing}, "no-gradient", "fc1.bias", None),
    "forgotten": (Sgd(0.02), {"still": ("fc2.weight",)}, "not-updated", "fc2.weight", None),
    "half secret": (Sgd(0.02), {"inside": doubled}, "wrong-rate", "fc2.weight", 0.04),
    "noise inside": (Sgd(0.02), {"inside": noise}, "unexplained-step", "fc1.weight", None),
}


@pytest.mark.parametrize("name, dtype", crossed(FAULTS, ["float64", "float32"]))
def test_each_fault_is_named_and_measured(name: str, dtype: str) -> None:
    rule, how, kind, where, size = FAULTS[name]
    report = loop(rule, dtype=dtype, **how)
    assert not report.ok
    assert report.faults[0].kind == kind, report.as_text()
    assert report.faults[0].where.startswith(where), report.as_text()
    if size is not None:
        assert report.faults[0].size == pytest.approx(size, rel=2e-3)
    if name not in ("noise inside", "no gradient"):
        assert len(report.faults) == 1, report.as_text()
    if name == "no gradient":  # the units of other layers keep their law
        assert report.status == "holds" and sum(u.law for u in report.units) == 5
    else:
        assert report.status == "broken"
    if dtype == "float64" and name != "no gradient":
        assert any(not u.ok for u in report.units), "z itself shows it"


def test_a_decay_in_the_loss_is_in_the_gradient() -> None:
    p = Perceptron([4, 6, 5, 2], "relu", seed=7)
    w, run = dict(p.start), []
    for _ in range(10):
        g = {n: v + 0.03 * w[n] for n, v in p.gradient(w).items()}
        run.append((w, g))
        w = {n: w[n] - 0.02 * g[n] for n in w}
    report = conserved_along([*run, (w, None)], p.network, Sgd(0.02))
    (fault,) = report.faults
    assert (
        fault.kind == "hidden-decay" and fault.size == pytest.approx(0.03) and "gradients hold" in fault.found
    )


def test_two_faults_are_both_named() -> None:
    report = loop(Sgd(0.02), used=Sgd(0.025, decay=0.05))
    assert {f.kind: f.size for f in report.faults} == {
        "wrong-rate": pytest.approx(0.025),
        "hidden-decay": pytest.approx(0.05),
    }


def test_decays_that_differ_have_an_identity_too() -> None:
    p = Perceptron([3, 4, 2], "relu", seed=3)
    run = training.Run(infer(p.network))
    rules = {n: Sgd(0.02, decay=0.0 if n.endswith("bias") else 0.1) for n in p.start}
    w = dict(p.start)
    for _ in range(10):
        g = p.gradient(w)
        v = {n: w[n] - 0.02 * (g[n] + rules[n].decay * w[n]) for n in w}
        run.step(w, g, v, rules)
        w = v
    assert run.report().ok and all(u.law for u in run.report().units)
    # With unlike rates there is none, but each weight is tested.
    run = training.Run(infer(p.network))
    rates = {n: Sgd(0.01 if n.endswith("bias") else 0.02) for n in p.start}
    g = p.gradient(w)
    run.step(w, g, {n: w[n] - rates[n].rate * g[n] for n in w}, rates)
    report = run.report()
    assert report.ok and not any(u.law for u in report.units) and "unlike settings" in report.notes[0]


def test_clipping_before_the_step_is_said_and_no_fault() -> None:
    report = loop(Sgd(0.02), told=clip_norm, dtype="float32")
    assert report.ok and "the norm of all gradients is 3 at" in report.notes[0]


def test_other_optimizers_have_no_law_but_their_gradients_are_tested() -> None:
    def signs(t: int, g: Weights) -> Weights:
        return {n: np.sign(v) for n, v in g.items()}

    p = Perceptron([4, 6, 5, 2], "relu", seed=7)
    w = dict(p.start)
    g = p.gradient(w)
    after = {n: w[n] - 0.1 * np.sign(v) for n, v in g.items()}
    report = conserved_along([(w, g), (after, None)], p.network, "signs")
    assert report.status == "no-law" and report.ok and "follows no identity" in report.notes[0]
    wrong = conserved_along([(w, doubled(0, g)), (after, None)], p.network, "signs")
    assert [f.kind for f in wrong.faults] == ["wrong-gradient"]
    forgotten = conserved_along([(w, g), ({**after, "fc1.bias": w["fc1.bias"]}, None)], p.network, "signs")
    assert [(f.kind, f.where) for f in forgotten.faults] == [("not-updated", "fc1.bias")]


# --- guards -------------------------------------------------------------------------------------------


def test_without_the_bound_of_rounding_a_right_run_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sgd.foretell

    def bare(*given: Any) -> Any:
        return right(*given[:4], 0.0, 0.0)

    monkeypatch.setattr(training, "foretell", bare)
    assert not loop(RULES["heavy ball"], dtype="float32").ok


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("heavy ball", lambda rule, first: (1.0, rule.momentum**2)),
        ("dampened", lambda rule, first: (1.0, 0.0 if first else rule.momentum)),
        ("Nesterov", lambda rule, first: (1.0, 0.0 if first else rule.momentum)),
    ],
)
def test_another_formula_of_the_step_is_no_pytorch(
    name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sgd, "mixture", lambda rule, *, first: wrong(rule, first))
    assert not loop(RULES[name]).ok


def test_the_identity_alone_sees_a_step_that_weights_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The books of z are kept apart from those of the weights: a term left out is seen there alone."""
    right = training.after_step

    def without(z: Any, across: Any, squares: Any, rate: float, decay: float) -> Any:
        return right(z, 0 * across, squares, rate, decay)

    monkeypatch.setattr(training, "after_step", without)
    report = loop(RULES["heavy ball"])
    assert report.status == "broken" and not report.faults and not report.ok
    assert not all(u.ok for u in report.units) and not report.as_text().endswith("ok")


def test_the_books_are_those_of_the_ledger() -> None:
    """`after_step` from the identity for heavy ball, beside the recursion that needs no weights."""
    p = Perceptron([3, 4, 2], "relu", seed=6)
    manifold = infer(p.network)
    w, rate, beta, decay = dict(p.start), 0.01, 0.8, 0.2
    m = {n: np.zeros_like(v) for n, v in w.items()}
    books = Momentum.start(squares(manifold, w))
    z = books.z
    for _ in range(20):
        g = p.gradient(w)
        across = manifold.adjoint({n: w[n] * m[n] for n in w})
        m = {n: beta * m[n] + g[n] + decay * w[n] for n in w}
        books = books.after(squares(manifold, m), rate, beta, decay)
        z = after_step(z, beta * across + decay * z, squares(manifold, m), rate)
        w = {n: w[n] - rate * m[n] for n in w}
        np.testing.assert_allclose(z, books.z, rtol=1e-10, atol=1e-12)


def test_wrong_requests() -> None:
    p = Perceptron([3, 4, 2], "relu", seed=3)
    w = dict(p.start)
    with pytest.raises(RequestError, match="two sets of weights"):
        conserved_along([(w, None)], p.network, Sgd(0.1))
    with pytest.raises(ModelError, match=r"'fc9' of shape \(1,\) is not of the model"):
        conserved_along([(w, {"fc9": np.zeros(1)}), (w, None)], p.network, Sgd(0.1))
    with pytest.raises(ModelError, match="not finite at step 0"):
        conserved_along([(w, {"fc1.bias": np.full(4, np.nan)}), (w, None)], p.network, Sgd(0.1))
    with pytest.raises(RequestError, match="out of range"):
        Sgd(-0.1)
    with pytest.raises(RequestError, match="needs momentum"):
        Sgd(0.1, nesterov=True)
    with pytest.raises(RequestError, match="no step was taken"):
        training.Run(infer(p.network)).report()


def test_the_answer_as_json_and_text() -> None:
    report = loop(Sgd(0.02), used=Sgd(0.025))
    assert report.as_json()["faults"] == [
        {
            "kind": "wrong-rate",
            "where": "all tensors",
            "size": report.faults[0].size,
            "found": "all tensors: the rate is 0.025, not 0.02",
        }
    ]
    lines = report.as_text().splitlines()
    assert lines[0] == "40 steps of SGD, rate 0.02: z = Aᵀw² of 11 of 11 units is not as foretold"
    assert lines[-1] == "wrong-rate: all tensors: the rate is 0.025, not 0.02"
    assert loop(Sgd(0.02)).as_text().endswith("ok")


def test_no_pytorch_is_needed() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; import numpy as np; import balproof; balproof.torch; "
        "w = {'J': np.zeros((1, 1)), 'W_in': np.ones((1, 1)), 'W_out': np.ones((1, 1))}; "
        "print(balproof.crosscheck.conserved_along([(w, w), (w, None)], w, balproof.Sgd(0.0)).status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "holds\n", done.stderr
