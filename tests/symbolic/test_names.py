"""The names of activations: that all of PyTorch's are there, their values, and their parameters."""

import numpy as np
import pytest

from balproof.errors import ExpressionError
from balproof.symbolic.activation import Activation, names
from balproof.symbolic.gate import Gate
from balproof.symbolic.names import GATES, expand

POINTS = np.array(
    [-30.0, -6.5, -3.0, -1.25, -0.5, -0.3, -1e-3, 0.0, 1e-3, 0.3, 0.5, 0.9, 2.5, 6.0, 7.25, 30.0]
)

TORCH = {
    "ReLU": ("relu", {}),
    "ReLU6": ("relu6", {}),
    "LeakyReLU": ("leaky_relu", {}),
    "leaky_relu:1/5": ("leaky_relu", {"negative_slope": 0.2}),
    "prelu:1/4": ("prelu", {"weight": 0.25}),
    "RReLU": ("rrelu", {}),
    "rrelu:1/10,1/2": ("rrelu", {"lower": 0.1, "upper": 0.5}),
    "ELU": ("elu", {}),
    "elu:2": ("elu", {"alpha": 2.0}),
    "SELU": ("selu", {}),
    "CELU": ("celu", {}),
    "celu:1/2": ("celu", {"alpha": 0.5}),
    "GELU": ("gelu", {}),
    "gelu_tanh": ("gelu", {"approximate": "tanh"}),
    "SiLU": ("silu", {}),
    "Mish": ("mish", {}),
    "Softplus": ("softplus", {}),
    "softplus:2": ("softplus", {"beta": 2.0}),
    "Softsign": ("softsign", {}),
    "Softshrink": ("softshrink", {}),
    "softshrink:1": ("softshrink", {"lambd": 1.0}),
    "Hardshrink": ("hardshrink", {}),
    "hardshrink:1/4": ("hardshrink", {"lambd": 0.25}),
    "Tanhshrink": ("tanhshrink", {}),
    "threshold:1/4,7": ("threshold", {"threshold": 0.25, "value": 7.0}),
    "Hardtanh": ("hardtanh", {}),
    "hardtanh:-2,1/2": ("hardtanh", {"min_val": -2.0, "max_val": 0.5}),
    "Hardsigmoid": ("hardsigmoid", {}),
    "Hardswish": ("hardswish", {}),
    "Sigmoid": ("sigmoid", {}),
    "LogSigmoid": ("logsigmoid", {}),
    "Tanh": ("tanh", {}),
}
"""A name of ours, PyTorch's function and its arguments."""
NOT_ELEMENTWISE = (
    "Softmin",
    "Softmax",
    "Softmax2d",
    "LogSoftmax",
    "AdaptiveLogSoftmaxWithLoss",
    "MultiheadAttention",
)


@pytest.mark.torch
@pytest.mark.parametrize("name", TORCH)
def test_values_against_pytorch(name):
    torch = pytest.importorskip("torch")
    function, arguments = TORCH[name]
    x = torch.tensor(POINTS, dtype=torch.float64)
    weight = {k: torch.tensor([v], dtype=torch.float64) for k, v in arguments.items() if k == "weight"}
    expected = getattr(torch.nn.functional, function)(x, **{**arguments, **weight})
    # PyTorch's softplus is x itself from 20/β on, and it adds 1 before the logarithm
    assert Activation.parse(name)(POINTS) == pytest.approx(expected.numpy(), rel=1e-8, abs=3e-9)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["abs", "sign", "square", "cos", "sin", "exp", "erf", "atan"])
def test_functions_of_tensors(name):
    torch = pytest.importorskip("torch")
    expected = getattr(torch, name)(torch.tensor(POINTS, dtype=torch.float64)).numpy()
    assert Activation.parse(name)(POINTS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.torch
def test_glu_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    from balproof.symbolic import numeric

    f = Gate.parse("GLU")
    both = torch.tensor(np.concatenate([POINTS, POINTS[::-1]]), dtype=torch.float64)
    ours = numeric.evaluate(f.expression, dict(zip(f.variables, (POINTS, POINTS[::-1]), strict=True)))
    assert ours == pytest.approx(torch.nn.functional.glu(both, dim=0).numpy(), rel=1e-12)


@pytest.mark.torch
def test_no_module_of_pytorch_is_missing():
    activation = pytest.importorskip("torch").nn.modules.activation
    for name in activation.__all__:
        if name in NOT_ELEMENTWISE:
            with pytest.raises(ExpressionError, match="is not elementwise"):
                Activation.parse(name)
        elif name == "GLU":
            assert Gate.parse(name).degree("x") == 1
        else:
            assert Activation.parse(name).kind != "undecided", name
    assert {"LeakyReLU", "Mish", "Hardswish"} <= set(activation.__all__)


@pytest.mark.parametrize("name", NOT_ELEMENTWISE)
def test_what_is_not_elementwise_is_refused_in_one_line(name):
    with pytest.raises(ExpressionError, match="is not elementwise, each output depends on") as refused:
        Activation.parse(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", GATES)
def test_a_gate_is_no_function_of_x_alone(name):
    with pytest.raises(ExpressionError, match="two arguments"):
        Activation.parse(name)


def test_each_name_is_spelled_as_anybody_likes():
    for name in names():
        assert expand(name.upper()) == expand(name.replace("_", "")) == expand(name)


def test_a_parameter_may_have_the_name_of_another():
    """One after the other, the second value would have gone into the first."""
    assert expand("threshold:v,1") == "Piecewise((x, x > (v)), ((1), True))"
    assert expand("hardtanh:-u,u/2") == "Min(Max(x, (-u)), (u/2))"
