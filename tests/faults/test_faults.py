"""Every fault of the corpus is named, with its place; what is right is left alone. Figures are printed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from balproof.crosscheck.audit import check
from balproof.crosscheck.battery import perceptron
from balproof.network.evaluate import evaluate
from balproof.network.manifold import infer
from tests.faults import wrong
from tests.faults.corpus import ONE_FAULT, TWO_FAULTS, Case, by_step, correct, is_alarm
from tests.faults.nets import ALL, rescaled, scales, values
from tests.sweeps import spread

QUICK = ("recurrent", "tied", "residual", "mlp", "conv")


def named(case: Case) -> str:
    return f"{case.name} on {case.network}".replace(" ", "_")


def one_of_each(cases: tuple[Case, ...]) -> list[Case]:
    """Each fault on the network where it is soonest found."""
    found: dict[str, Case] = {}
    for case in sorted(cases, key=lambda c: QUICK.index(c.network)):
        found.setdefault(case.name, case)
    return list(found.values())


def of_each_kind(cases: list[Case]) -> list[Any]:
    """All of them; but for one with each kind of explanation, they are marked slow."""
    seen: set[frozenset[str]] = set()
    marked: list[Any] = []
    for case in cases:
        kinds = frozenset(kind for kind, _ in case.expected)
        marked.append(pytest.param(case, marks=[pytest.mark.slow] if kinds in seen else []))
        seen.add(kinds)
    return marked


def require_all(cases: tuple[Case, ...], dtype: str, what: str) -> None:
    audits = [(case, case.audit(dtype=dtype)) for case in cases]
    missed = [f"{named(c)}: {c.found(a)}" for c, a in audits if not c.right(a)]
    print(f"{what}, {dtype}: {len(cases) - len(missed)}/{len(cases)} detected and placed")
    assert not missed


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    kinds = {kind for case in ONE_FAULT for kind, _ in case.expected}
    assert len(kinds) >= 14
    assert {case.network for case in ONE_FAULT} == {case.network for case in TWO_FAULTS} == set(ALL)
    assert sorted(QUICK) == sorted(ALL)
    assert all(len({kind for kind, _ in case.expected}) == 2 for case in TWO_FAULTS)


@pytest.mark.parametrize("case", of_each_kind(one_of_each(ONE_FAULT)), ids=named)
def test_a_fault_is_named(case: Case) -> None:
    audit = case.audit(seed=1)
    assert not audit.ok
    assert case.right(audit), (case.found(audit), case.expected)


@pytest.mark.parametrize("case", spread(one_of_each(TWO_FAULTS), 2), ids=named)
def test_two_faults_are_named(case: Case) -> None:
    audit = case.audit(seed=1)
    assert case.right(audit), (case.found(audit), case.expected)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_faults_are_named(dtype: str) -> None:
    """In float32 a third of them; ``python -m tests.faults.corpus`` has them all in both."""
    every = 1 if dtype == "float64" else 3
    require_all(ONE_FAULT[::every], dtype, "one fault")
    require_all(TWO_FAULTS[::every], dtype, "two faults")


def test_what_is_right_is_left_alone() -> None:
    assert [(n, t, w) for n, t, w, audit in correct(10) if is_alarm(w, audit)] == []


@pytest.mark.slow
def test_two_hundred_that_are_right() -> None:
    found = list(correct(200))
    alarms = [(n, t, w, audit.faults[:2]) for n, t, w, audit in found if is_alarm(w, audit)]
    print(f"false alarms: {len(alarms)}/{len(found)}")
    assert alarms == []
    assert {w for _, _, w, _ in found} == {"rescaled", "balanced"}


@pytest.mark.parametrize("name", ["mlp", "conv", "residual", "tied"])
def test_the_rescaling_by_hand_keeps_the_function(name: str) -> None:
    """It is no product of ours that the corpus calls right."""
    before = ALL[name](3)
    v = values(before)
    new = rescaled(name, v, scales(name, v, np.random.default_rng(3)))
    x = np.random.default_rng(0).standard_normal((9, *before.tensors["x"].shape[1:]))
    left, right = (evaluate(n, {"x": x})[n.outputs[0]] for n in (before, before.with_parameters(new)))
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9 * np.abs(left).max())
    assert max(np.abs(new[n] - v[n]).max() for n in v) > 0.1


def test_the_corpus_sees_a_wrong_place() -> None:
    """The guard: the right kind at another tensor, or with other units, is not right."""
    case = next(c for c in ONE_FAULT if c.name == "one_call_only")
    audit = case.audit()
    assert case.right(audit)
    assert not dataclasses.replace(case, expected=[(case.expected[0][0], ("loop.weight",))]).right(audit)
    assert not dataclasses.replace(case, expected=[("not-a-rescaling", case.expected[0][1])]).right(audit)
    assert not dataclasses.replace(case, units=("in[0]",)).right(audit)


# --- what each does to the outputs ------------------------------------------------------------------------


def test_each_of_two_faults_has_its_share() -> None:
    """Repaired by hand: the difference of the outputs with one fault alone is that of the network with it."""
    before = ALL["mlp"](0)
    case = next(c for c in TWO_FAULTS if c.name == "biases, and a weight" and c.network == "mlp")
    audit = case.audit()
    causes = {c.kind: c for c in audit.explanation}
    bias, entry = causes["bias-not-scaled"], causes["not-a-rescaling"]
    assert entry.weights == 1 and entry.tensors == ("fc2.weight",) and bias.weights == 20
    # The same scales with the biases forgotten, and nothing else.
    alone = by_step(wrong.biases_forgotten)(before, np.random.default_rng(100))
    error = check(before, alone).function_error
    assert bias.alone == pytest.approx(error, rel=1e-6) and bias.alone is not None and bias.alone > 0.01
    assert entry.repaired == pytest.approx(bias.alone, rel=1e-6)
    assert bias.repaired == pytest.approx(entry.alone, rel=1e-6)
    assert entry.alone is not None and 0 < entry.alone < bias.alone


def test_a_single_fault_makes_all_of_the_difference() -> None:
    audit = next(c for c in ONE_FAULT if c.name == "out_not_divided" and c.network == "residual").audit()
    (cause,) = [c for c in audit.explanation if c.kind == "outgoing-not-scaled"]
    assert (
        cause.alone == pytest.approx(audit.function_error)
        and cause.repaired is not None
        and cause.repaired < 1e-12
    )
    answer = audit.as_json()["explanation"]
    assert isinstance(answer, list)
    assert answer[0]["kind"] == "outgoing-not-scaled" and answer[0]["function_error_alone"] == cause.alone
    assert set(answer[0]) >= {"kind", "where", "tensors", "units", "weights", "size", "text"}


def test_scales_are_those_that_were_meant() -> None:
    """More weights lead out than in, and none of them was divided: most weights say that nothing was done."""
    before = ALL["mlp"](0)
    v = values(before)
    s = np.array([2.0, 0.5, 3.0, 1.5, 0.25, 4.0])
    v["fc3.weight"], v["fc3.bias"] = v["fc3.weight"] * s[:, None], v["fc3.bias"] * s
    audit = check(before, before.with_parameters(v))
    assert [audit.scales[f"fc3[{i}]"] for i in range(6)] == pytest.approx(np.log(s))
    assert {f.where.split("[")[0] for f in audit.faults if f.kind == "not-a-rescaling"} == {"fc4.weight"}


def test_no_explanation_is_made_up() -> None:
    """Weights of another network: no mistake explains them, so each weight is said to be another."""
    before, other = ALL["mlp"](0), ALL["mlp"](1)
    audit = check(before, before.with_parameters(values(other)))
    kinds = {c.kind for c in audit.explanation}
    assert kinds <= {"not-a-rescaling", "sign-changed"}
    assert (
        sum(c.weights for c in audit.explanation)
        > 0.9 * sum(t.size for t in before.parameters) - infer(before).count
    )


def test_a_shared_layer_taken_for_several() -> None:
    """As EqualizeGraph of Brevitas 0.13.4 does: each pair of calls is equalised, into the same weights."""
    before = perceptron([3, 4, 4, 4, 2], seed=6, shared=(2, 3))
    v = values(before)
    rng = np.random.default_rng(0)
    for into, out in (("fc1", "fc2"), ("fc2", "fc2"), ("fc2", "fc4")):
        s = np.exp(rng.normal(size=4))
        v[f"{into}.weight"], v[f"{into}.bias"] = v[f"{into}.weight"] * s[:, None], v[f"{into}.bias"] * s
        v[f"{out}.weight"] = v[f"{out}.weight"] / s
    audit = check(before, before.with_parameters(v))
    cause = audit.explanation[0]
    assert cause.kind == "shared-layer-scaled-once" and "fc2.weight" in cause.tensors
    assert cause.alone is not None and cause.alone > 0.01
    assert [c.kind for c in audit.explanation if c.kind not in ("unbalanced-unit", "frozen-layer")] == [
        cause.kind
    ]
    # One weight more, and it is no longer that alone.
    v["fc4.weight"][1, 2] *= 1.5
    found = check(before, before.with_parameters(v)).explanation
    assert "shared-layer-scaled-once" not in {c.kind for c in found}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_weights_are_there_is_an_answer(seed: int) -> None:
    """Slices, signs, sizes, zeros and NaN at random: no exception, and a cause for whatever is not right."""
    rng = np.random.default_rng(seed)
    for _ in range(12):
        before = ALL[str(rng.choice(list(ALL)))](int(rng.integers(9)))
        v = values(before)
        for _ in range(int(rng.integers(1, 4))):
            w = v[str(rng.choice(list(v)))]
            axis = int(rng.integers(w.ndim))
            at = (slice(None),) * axis + (int(rng.integers(w.shape[axis])),)
            change = int(rng.integers(6))
            if change < 3:
                w[at] = (np.nan, 0.0, np.inf)[change]
            else:
                w *= (-1.0, 10.0 ** int(rng.integers(-150, 150)), 1.3)[change - 3]
        audit = check(before, before.with_parameters(v), str(rng.choice(["l1", "l2", "max"])))
        json.dumps(audit.as_json(), allow_nan=False)
        assert audit.ok or audit.explanation
