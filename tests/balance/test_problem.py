"""The convex problem: F and its derivatives against hand-made formulas; which weights and scales count."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balproof.balance.problem import BalanceProblem, Costs
from balproof.errors import BalproofError, ModelError, RegularizerError, RequestError
from balproof.importers import load
from balproof.network.evaluate import evaluate
from tests.balance.samples import COSTS, MARGINALS, dense, raw, raw_imbalance, recurrent, with_weights
from tests.networks import mlp

CHAIN = "tests/data/chain.json"  # weights 1/2, −3, 3


def test_chain_by_hand() -> None:
    """F(h) = e^{2a}/4 + 9 e^{2(b−a)} + 9 e^{−2b}, differentiated by hand."""
    problem = BalanceProblem.build(load(CHAIN))
    a, b = 0.3, -0.2
    u, v, w = 0.25 * np.exp(2 * a), 9 * np.exp(2 * (b - a)), 9 * np.exp(-2 * b)
    h = np.array([a, b])
    assert problem.cost(h) == pytest.approx(u + v + w, rel=1e-15)
    np.testing.assert_allclose(problem.gradient(h), [2 * u - 2 * v, 2 * v - 2 * w], rtol=1e-14)
    hessian = [[4 * u + 4 * v, -4 * v], [-4 * v, 4 * v + 4 * w]]
    np.testing.assert_allclose(problem.hessian(h).toarray(), hessian, rtol=1e-14)
    np.testing.assert_allclose(
        problem.imbalances(h), [abs(u - v) / (u + v), abs(v - w) / (v + w)], rtol=1e-14
    )


MP_COSTS = {
    "l1": lambda w: w,
    "lp:1.5": lambda w: w ** mpmath.mpf("1.5"),
    "abs(w) + w**2/10": lambda w: w + w**2 / 10,
    "log(1 + w**2)": lambda w: mpmath.log(1 + w**2),
}


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("spec", MP_COSTS)
def test_derivatives_agree_with_mpmath(spec: str, degree: int) -> None:
    """2-2-1 with biases, F written from the weights; differences in 40 digits."""
    network = mlp([2, 2, 1], activation=f"Max(x,0)**{degree}")
    problem = BalanceProblem.build(network, spec)
    w = raw(network)
    g = MP_COSTS[spec]

    def cost(*h: Any) -> Any:
        total = sum(
            g(mpmath.mpf(float(w["fc1.weight"][k, j])) * mpmath.exp(h[k])) for k in (0, 1) for j in (0, 1)
        )
        total += sum(g(mpmath.mpf(float(w["fc1.bias"][k])) * mpmath.exp(h[k])) for k in (0, 1))
        total += sum(g(mpmath.mpf(float(w["fc2.weight"][0, k])) * mpmath.exp(-degree * h[k])) for k in (0, 1))
        return total + g(mpmath.mpf(float(w["fc2.bias"][0])))

    h = np.array([0.4, -0.7])
    with mpmath.workdps(40):
        assert problem.cost(h) == pytest.approx(float(cost(*h)), rel=1e-14)
        gradient = [float(mpmath.diff(cost, tuple(h), n)) for n in ((1, 0), (0, 1))]
        hessian = [
            [float(mpmath.diff(cost, tuple(h), n)) for n in row]
            for row in (((2, 0), (1, 1)), ((1, 1), (0, 2)))
        ]
    np.testing.assert_allclose(problem.gradient(h), gradient, rtol=1e-12)
    np.testing.assert_allclose(problem.hessian(h).toarray(), hessian, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec", MARGINALS)
def test_imbalance_is_its_definition(spec: str) -> None:
    for network in (mlp([2, 3, 2]), dense(4), dense(3, visible=False)):
        problem = BalanceProblem.build(network, spec)
        zero = np.zeros(problem.count)
        assert problem.imbalance(zero) == pytest.approx(raw_imbalance(network, MARGINALS[spec]), rel=1e-13)
        total = sum(float(np.sum(COSTS[spec](w))) for w in raw(network).values())
        assert problem.cost(zero) == pytest.approx(total, rel=1e-13)


def test_imbalance_counts_the_degree() -> None:
    network = mlp([2, 3, 2], activation="Max(x,0)**2")
    problem = BalanceProblem.build(network, "l1")
    expected = raw_imbalance(network, MARGINALS["l1"], degree=2)
    assert problem.imbalance(np.zeros(3)) == pytest.approx(expected, rel=1e-14)
    assert expected != pytest.approx(raw_imbalance(network, MARGINALS["l1"]), rel=1e-3)


@given(st.integers(0, 10**6), st.sampled_from(sorted(COSTS)))
def test_cost_of_a_rescaling_is_that_of_the_rescaled_weights(seed: int, spec: str) -> None:
    rng = np.random.default_rng(seed)
    network = mlp([2, 3, 2, 2], seed=seed) if seed % 2 else dense(4, seed)
    problem = BalanceProblem.build(network, spec)
    h = rng.standard_normal(problem.count)
    after = problem.rescaled(h)
    total = sum(float(np.sum(COSTS[spec](w))) for w in raw(after.manifold.network).values())
    assert problem.cost(h) == pytest.approx(total, rel=1e-12)
    assert after.cost(np.zeros(problem.count)) == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose(problem.imbalances(h), after.imbalances(np.zeros(problem.count)), atol=1e-12)


def test_a_rescaling_to_nothing_or_beyond_the_range_of_doubles() -> None:
    network = mlp([2, 2, 1])
    first = np.array([[0.0, 1e-150], [1.0, 1.0]])
    problem = BalanceProblem.build(network.with_parameters({"fc1.weight": first}), "l1")
    after = problem.rescaled(np.array([-500.0, 0.0]))
    assert len(after.weights) == after.A.shape[0] == len(problem.weights) - 1
    with np.errstate(all="ignore"), pytest.raises(ModelError, match=r"fc1\.bias\[0\] is not finite"):
        problem.rescaled(np.array([720.0, 0.0]))


# --- which regularizer, which weights ---------------------------------------------------------------------


def test_the_last_match_wins_and_the_rest_keep_l2() -> None:
    costs = Costs.parse(["fc*=l1", "fc2.*=lp:3"])
    names = {n: costs.regularizer(n).name for n in ("fc1.weight", "fc2.weight", "fc2.bias", "other")}
    assert names == {"fc1.weight": "l1", "fc2.weight": "lp:3", "fc2.bias": "lp:3", "other": "l2"}
    assert Costs.parse(["fc2.*=lp:3", "l1"]).regularizer("fc2.weight").name == "l1"
    assert Costs.parse([]).name == "l2"


def test_mixed_regularizers_by_hand() -> None:
    network = load(CHAIN)
    problem = BalanceProblem.build(network, ["fc1.*=l1", "fc2.*=lp:3"])
    zero = np.zeros(2)
    assert problem.cost(zero) == pytest.approx(0.5 + 27 + 9, rel=1e-15)
    # marginals: |w| = 1/2, 3|w|³ = 81, 2w² = 18
    np.testing.assert_allclose(problem.imbalances(zero), [80.5 / 81.5, 63 / 99], rtol=1e-15)


def test_unknown_pattern_is_refused_in_one_line() -> None:
    with pytest.raises(RequestError, match=r"no parameter is called 'fc9\.\*'") as error:
        BalanceProblem.build(load(CHAIN), ["l2", "fc9.*=l1"])
    assert "fc1.weight" in error.value.remedy
    assert "\n" not in str(error.value)


def test_a_name_with_brackets_names_itself() -> None:
    """As a pattern alone, ``[0]`` would stand for the character 0."""
    network = load(
        {
            "inputs": {"x": [1]},
            "parameters": {"layers[0]": [[2.0]], "layers[1]": [[3.0]]},
            "operations": [
                {"kind": "linear", "inputs": ["x", "layers[0]"], "output": "z"},
                {"kind": "activation", "function": "relu", "inputs": ["z"], "output": "a"},
                {"kind": "linear", "inputs": ["a", "layers[1]"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )
    assert BalanceProblem.build(network, "layers[1]=l1").cost(np.zeros(1)) == 4 + 3


@pytest.mark.parametrize(
    "spec, error, what",
    [
        ("a*abs(w)", RegularizerError, "symbols"),
        ("w + w**2", RegularizerError, "not even"),
        ("sin(w)**2", RegularizerError, "not known to be strictly convex"),
        ("w**2/(1 + w**2)", RegularizerError, "not known to be strictly convex"),
        ("fc1.*=w**2/(1 + w**2)", RegularizerError, "not known to be strictly convex"),
    ],
)
def test_costs_without_a_convex_problem_are_refused(spec: str, error: type[BalproofError], what: str) -> None:
    with pytest.raises(error, match=what) as caught:
        BalanceProblem.build(load(CHAIN), spec)
    assert "\n" not in str(caught.value)


def test_bias_cost_can_be_left_out_but_not_the_symmetry() -> None:
    network = mlp([2, 3, 2])
    problem = BalanceProblem.build(network, Costs.parse("l2", bias_cost=False))
    matrices = sum(float(np.sum(w**2)) for name, w in raw(network).items() if name.endswith("weight"))
    assert problem.cost(np.zeros(3)) == pytest.approx(matrices, rel=1e-14)
    h = np.array([1.0, -0.5, 0.25])
    after = problem.manifold.rescale(h)
    np.testing.assert_allclose(raw(after)["fc1.bias"], raw(network)["fc1.bias"] * np.exp(h), rtol=1e-14)
    x = {"x": np.random.default_rng(0).standard_normal((9, 2))}
    y = network.outputs[0]
    np.testing.assert_allclose(evaluate(after, x)[y], evaluate(network, x)[y], rtol=1e-12, atol=1e-12)


def test_self_loop_of_degree_1_has_a_cost_and_no_say() -> None:
    quiet = recurrent([[0, 2], [3, 0]], W_in=[[1], [1]], W_out=[[1, 1]])
    loud = recurrent([[100, 2], [3, 0]], W_in=[[1], [1]], W_out=[[1, 1]])
    a, b = (BalanceProblem.build(n) for n in (quiet, loud))
    h = np.array([0.5, -1.0])
    assert b.cost(h) == pytest.approx(a.cost(h) + 1e4, rel=1e-14)
    np.testing.assert_allclose(b.imbalances(h), a.imbalances(h), rtol=1e-14)


def test_self_loop_of_degree_2_counts_once_as_outgoing() -> None:
    """Its log-scale is h − 2h = −h. By hand: in = 2·W_in², out = 2·J² + 2·W_out² (read before φ)."""
    problem = BalanceProblem.build(recurrent([[3]], W_in=[[5]], W_out=[[7]], activation="Max(x,0)**2"))
    into, out = 2 * 25, 2 * 9 + 2 * 49
    assert problem.imbalance(np.zeros(1)) == pytest.approx((out - into) / (out + into), rel=1e-15)


# --- which scales -----------------------------------------------------------------------------------------


def test_dead_units_are_listed_and_do_not_count() -> None:
    network = with_weights(
        mlp([2, 4, 2], bias=False),
        fc1__weight=[[1, 2], [0, 0], [3, 4], [0, 0]],
        fc2__weight=[[1, 2, 0, 0], [1, 2, 0, 0]],
    )
    problem = BalanceProblem.build(network)
    assert problem.names(problem.dead) == ["fc1[1]", "fc1[2]", "fc1[3]"]  # no input, no output, neither
    assert problem.left_out == ()
    zero = np.zeros(4)
    assert problem.imbalances(zero).tolist() == [pytest.approx((5 - 2) / (5 + 2)), 0, 0, 0]


def test_a_unit_that_only_bias_costs_keep_alive() -> None:
    network = with_weights(mlp([1, 1, 1]), fc1__weight=[[0]])
    assert BalanceProblem.build(network).dead == ()
    assert BalanceProblem.build(network, Costs.parse("l2", bias_cost=False)).dead == (0,)


def test_scales_of_degree_0_are_left_out() -> None:
    problem = BalanceProblem.build(mlp([2, 3, 2], activation="sign"))
    assert problem.left_out == (0, 1, 2) and problem.dead == ()
    assert problem.imbalance(np.zeros(3)) == 0


def test_a_unit_that_nothing_reads_is_dead_and_not_of_degree_0() -> None:
    """Found here: it has no weights on one side by architecture, as a scale of degree ≤ 0 has."""
    problem = BalanceProblem.build(recurrent([[0, 1], [1, 0]], W_in=[[1], [1]]))
    assert problem.dead == () and problem.active.all()
    alone = BalanceProblem.build(recurrent([[2]], W_in=[[1]]))
    assert alone.dead == (0,) and alone.left_out == ()


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    network = with_weights(mlp([1, 2, 1]), fc1__bias=[1, bad])
    for bias_cost in (True, False):
        with pytest.raises(ModelError, match=r"fc1\.bias\[1\] is not finite"):
            BalanceProblem.build(network, Costs.parse("l2", bias_cost=bias_cost))


def test_symbols_are_refused() -> None:
    text = {"fc1.weight": [["w1"]], "fc2.weight": [["2"]]}
    operations = [
        {"kind": "linear", "inputs": ["x", "fc1.weight"], "output": "z"},
        {"kind": "linear", "inputs": ["z", "fc2.weight"], "output": "y"},
    ]
    network = load({"inputs": {"x": [1]}, "parameters": text, "operations": operations, "outputs": ["y"]})
    with pytest.raises(ModelError, match="symbols"):
        BalanceProblem.build(network)


@pytest.mark.parametrize(
    "spec, weight", [*(("l2", w) for w in (1e-300, 1e-150, 1e150, 1e200)), ("log(1+w**2)", 1e200)]
)
def test_costs_out_of_range_are_refused_in_one_line(spec: str, weight: float) -> None:
    """1e200² overflows: no warning of NumPy's may escape (warnings are errors here)."""
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[weight]])
    with pytest.raises(RequestError, match="costs of single weights range from") as error:
        BalanceProblem.build(network, spec)
    assert "\n" not in str(error.value)


def test_tiny_weights_are_taken_where_their_costs_are_not() -> None:
    network = with_weights(mlp([1, 1, 1], bias=False), fc1__weight=[[1e-280]], fc2__weight=[[1.0]])
    assert BalanceProblem.build(network, "l1").cost(np.zeros(1)) == 1.0


@pytest.mark.parametrize("cost", ["w**2 + 1/w**2", "1/w**2", "w**2 - log(abs(w))"])
def test_a_cost_that_does_not_increase_is_refused(cost: str) -> None:
    """Its minimum for a dead unit is at a finite weight: `unattained` would be false."""
    with pytest.raises(RegularizerError, match="increase with"):
        Costs.parse(cost)


def test_any_name_of_a_tensor_can_be_given_a_cost() -> None:
    for name in ("W[1], ü", "b 1", "a/b:0", "layer.0.weight"):
        assert Costs.parse(f"{name}=l1").regularizer(name).name == "l1"
    assert Costs.parse("Piecewise((w**2, w <= 0), (w**2, True))").rules[0][0] == "*"
