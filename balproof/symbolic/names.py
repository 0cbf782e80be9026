"""Names of activations beside formulas in x: all of PyTorch's, and a few more, with their parameters.

A name stands for a formula.  ``elu:1``, ``ELU(1)`` and ``elu(x, 1)`` are the same; capitals and underscores
do not matter.  Values: those of ``torch.nn.functional`` in evaluation mode, of which a test holds that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from balproof.errors import ExpressionError
from balproof.symbolic.parser import parse_formula

# name: (parameters with their defaults, formula in x).  A default of None leaves a symbol.
_NAMES: Mapping[str, tuple[tuple[tuple[str, str | None], ...], str]] = {
    "zero": ((), "0*x"),
    "linear": ((), "x"),
    "identity": ((), "x"),
    "relu": ((), "Max(x, 0)"),
    "leaky_relu": ((("s", "1/100"),), "Piecewise((s*x, x < 0), (x, True))"),
    "prelu": ((("a", None),), "Piecewise((a*x, x < 0), (x, True))"),
    "rrelu": ((("l", "1/8"), ("u", "1/3")), "Piecewise(((l + u)/2*x, x < 0), (x, True))"),
    "abs": ((), "abs(x)"),
    "square": ((), "x**2"),
    "relu2": ((), "Max(x, 0)**2"),
    "squared_relu": ((), "Max(x, 0)**2"),
    "cube": ((), "x**3"),
    "signed_square": ((), "x*abs(x)"),
    "sign": ((), "sign(x)"),
    "step": ((), "Heaviside(x)"),
    "tanh": ((), "tanh(x)"),
    "sigmoid": ((), "1/(1 + exp(-x))"),
    "logsigmoid": ((), "-log(1 + exp(-x))"),
    "gelu": ((), "x*(1 + erf(x/sqrt(2)))/2"),
    "gelu_tanh": ((), "x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))/2"),
    "silu": ((), "x/(1 + exp(-x))"),
    "swish": ((("beta", "1"),), "x/(1 + exp(-beta*x))"),
    "mish": ((), "x*tanh(log(1 + exp(x)))"),
    "elu": ((("alpha", "1"),), "Piecewise((x, x > 0), (alpha*(exp(x) - 1), True))"),
    "celu": ((("alpha", "1"),), "Piecewise((x, x > 0), (alpha*(exp(x/alpha) - 1), True))"),
    "selu": (
        (),
        "1.0507009873554805*Piecewise((x, x > 0), (1.6732632423543772*(exp(x) - 1), True))",
    ),
    "softplus": ((("beta", "1"),), "log(1 + exp(beta*x))/beta"),
    "softsign": ((), "x/(1 + abs(x))"),
    "relu6": ((), "Min(Max(x, 0), 6)"),
    "hardtanh": ((("l", "-1"), ("u", "1")), "Min(Max(x, l), u)"),
    "hardsigmoid": ((), "Min(Max(x/6 + 1/2, 0), 1)"),
    "hardswish": ((), "x*Min(Max(x + 3, 0), 6)/6"),
    "hardshrink": ((("l", "1/2"),), "Piecewise((x, abs(x) > l), (0, True))"),
    "softshrink": ((("l", "1/2"),), "Piecewise((x - l, x > l), (x + l, x < -l), (0, True))"),
    "tanhshrink": ((), "x - tanh(x)"),
    "threshold": ((("l", "1"), ("v", "0")), "Piecewise((x, x > l), (v, True))"),
    "crelu_negative": ((), "Max(-x, 0)"),
    "exp": ((), "exp(x)"),
    "sin": ((), "sin(x)"),
    "cos": ((), "cos(x)"),
    "atan": ((), "atan(x)"),
    "erf": ((), "erf(x)"),
    "squareplus": ((("b", "4"),), "(x + sqrt(x**2 + b))/2"),
}
GATES: Mapping[str, str] = {
    "glu": "x/(1 + exp(-y))",
    "reglu": "x*Max(y, 0)",
    "geglu": "x*gelu(y)",
    "swiglu": "x*silu(y)",
    "bilinear": "x*y",
    "maxout": "Max(x, y)",
}
"""Names of functions of several arguments: of PyTorch's there is GLU, x·sigmoid(y)."""
_NOT_ELEMENTWISE: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "softmax",
            "softmin",
            "log_softmax",
            "softmax2d",
            "gumbel_softmax",
            "adaptive_log_softmax_with_loss",
        ),
        "all the entries of a row",
    ),
    **dict.fromkeys(("multihead_attention", "scaled_dot_product_attention"), "queries, keys and values"),
    **dict.fromkeys(
        ("layer_norm", "rms_norm", "group_norm", "batch_norm", "normalize"), "the entries that it normalises"
    ),
}
_CALL = re.compile(r"\s*([A-Za-z_0-9]+)\s*(?:\((.*)\)|:(.*))?\s*", re.DOTALL)
_EVERY = {*_NAMES, *GATES, *_NOT_ELEMENTWISE}
_SPELLINGS = {name.replace("_", ""): name for name in _EVERY}  # LeakyReLU is leaky_relu


def names() -> tuple[str, ...]:
    """The names that ``Activation.parse`` knows beside formulas in x.

    >>> "gelu" in names()
    True
    """
    return tuple(_NAMES)


def _spelled(text: str) -> tuple[str, str | None, str | None]:
    """The name in a text such as LeakyReLU(0.2), or "", what stands in brackets and what behind a colon."""
    match = _CALL.fullmatch(text)
    if match is None:
        return "", None, None
    name, inside, after = match.groups()
    return _SPELLINGS.get(name.lower().replace("_", ""), ""), inside, after


def expand(text: str) -> str:
    """The formula in x that a name stands for; a formula stays as it is.

    >>> expand("LeakyReLU(0.2)"), expand("hardtanh:-2,2"), expand("x**2")
    ('Piecewise(((0.2)*x, x < 0), (x, True))', 'Min(Max(x, (-2)), (2))', 'x**2')

    Raises ExpressionError for too many parameters, and for what is not a function of one number.
    """
    name, inside, after = _spelled(text)
    if name in _NOT_ELEMENTWISE:
        raise ExpressionError(
            f"{name} is not elementwise, each output depends on {_NOT_ELEMENTWISE[name]}",
            "derive takes elementwise functions; inspect reads it in a network and pins what it must",
        )
    if name in GATES:
        raise ExpressionError(
            f"{name} is a function of two arguments, {GATES[name]}",
            "derive takes it, an activation of x is one",
        )
    if not name:
        return text
    parameters, formula = _NAMES[name]
    given = [part.strip() for part in (inside or after or "").split(",") if part.strip()]
    if given and given[0] == "x":
        given = given[1:]
    elif inside is not None and re.search(r"\bx\b", inside):
        return text
    if len(given) > len(parameters):
        raise ExpressionError(
            f"{name} has {len(given)} parameters, it takes {len(parameters)}",
            f"write {name} or a formula in x",
        )
    values: dict[str, str] = {}
    for i, (key, default) in enumerate(parameters):
        value = given[i] if i < len(given) else default
        if value is not None:
            parse_formula(value, "x")  # refuses what is no formula before it is put into another
            values[key] = value
    # all at once: the value of one parameter may have the name of another
    return re.sub(
        r"[A-Za-z_]\w*", lambda word: f"({values[word[0]]})" if word[0] in values else word[0], formula
    )


def expand_gate(text: str) -> str:
    """The formula in x and y that the name of a gate stands for; a formula stays as it is.

    >>> expand_gate("ReGLU"), expand_gate("x*y")
    ('x*Max(y, 0)', 'x*y')

    Raises ExpressionError for parameters, which none of them has.
    """
    name, inside, after = _spelled(text)
    if name not in GATES:
        return text
    if [part.strip() for part in (inside or after or "").split(",") if part.strip()] not in ([], ["x", "y"]):
        raise ExpressionError(f"{name} has no parameters", f"write {name} or a formula in x and y")
    return GATES[name]
