"""SymPy expressions on NumPy arrays, by walking the expression: no code is generated or evaluated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

_FUNCTIONS: Mapping[type, Callable[[Array], Array]] = {
    sympy.Abs: np.abs,
    sympy.sign: np.sign,
    sympy.floor: np.floor,
    sympy.exp: np.exp,
    sympy.log: np.log,
    sympy.tanh: np.tanh,
    sympy.sinh: np.sinh,
    sympy.cosh: np.cosh,
    sympy.sin: np.sin,
    sympy.cos: np.cos,
    sympy.tan: np.tan,
    sympy.atan: np.arctan,
    sympy.erf: special.erf,
    sympy.erfc: special.erfc,
}

_RELATIONS: Mapping[type, Callable[[Array, Array], NDArray[np.bool_]]] = {
    sympy.Lt: np.less,
    sympy.Le: np.less_equal,
    sympy.Gt: np.greater,
    sympy.Ge: np.greater_equal,
    sympy.Eq: np.equal,
    sympy.Ne: np.not_equal,
}


def rational(expr: sympy.Expr | None) -> Fraction | None:
    """A rational number as a fraction; None for anything else.

    >>> rational(sympy.Rational(3, 4)), rational(sympy.sqrt(2))
    (Fraction(3, 4), None)
    """
    return Fraction(int(expr.p), int(expr.q)) if expr is not None and expr.is_Rational else None


def _condition(condition: sympy.Basic, values: Mapping[sympy.Symbol, Array]) -> NDArray[np.bool_]:
    if condition in (sympy.true, sympy.false):
        return np.asarray(condition == sympy.true)
    if isinstance(condition, sympy.And):
        return np.asarray(np.logical_and.reduce([_condition(a, values) for a in condition.args]))
    if isinstance(condition, sympy.Or):
        return np.asarray(np.logical_or.reduce([_condition(a, values) for a in condition.args]))
    if isinstance(condition, sympy.Not):
        return np.logical_not(_condition(condition.args[0], values))
    relation = _RELATIONS.get(type(condition))
    if relation is None:
        raise NotImplementedError(f"no numbers for the condition {type(condition).__name__}")
    left, right = (_walk(a, values) for a in condition.args)
    return relation(left, right)


def _sum(expr: sympy.Add, values: Mapping[sympy.Symbol, Array]) -> Array:
    args = list(expr.args)
    total = np.zeros(())
    if sympy.S.NegativeOne in args:
        for arg in args:
            if isinstance(arg, sympy.exp):
                args.remove(arg)
                args.remove(sympy.S.NegativeOne)
                total = np.expm1(_walk(arg.args[0], values))
                break
    for arg in args:
        total = total + _walk(arg, values)
    return total


def _log(argument: sympy.Expr, values: Mapping[sympy.Symbol, Array]) -> Array:
    if isinstance(argument, sympy.Add) and sympy.S.One in argument.args:
        return np.log1p(_walk(argument - 1, values))
    return np.log(_walk(argument, values))


@functools.lru_cache(maxsize=2048)
def _constant(expr: sympy.Basic) -> float | None:
    """The number that an expression without symbols is, NaN where that is not real; None for any other.

    Kept: SymPy takes longer for it than NumPy for all the rest.
    """
    if expr.free_symbols or isinstance(expr, sympy.Piecewise):
        return None
    value = complex(expr)
    return value.real if value.imag == 0 else np.nan


def _walk(expr: sympy.Basic, values: Mapping[sympy.Symbol, Array]) -> Array:
    if isinstance(expr, sympy.Symbol):
        return values[expr]
    constant = _constant(expr)
    if constant is not None:
        return np.asarray(constant)
    if isinstance(expr, sympy.Add):
        return _sum(expr, values)
    if isinstance(expr, sympy.log):
        return _log(expr.args[0], values)
    if isinstance(expr, sympy.Piecewise):
        conditions = [_condition(c, values) for _, c in expr.args]
        pieces = [_walk(e, values) for e, _ in expr.args]
        shape = np.broadcast_shapes(*(c.shape for c in conditions), *(p.shape for p in pieces))
        result = np.full(shape, np.nan)
        for condition, piece in reversed(list(zip(conditions, pieces, strict=True))):
            result = np.where(condition, piece, result)
        return result
    parts = [_walk(arg, values) for arg in expr.args]
    if isinstance(expr, sympy.Mul):
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        return product
    if isinstance(expr, sympy.Pow):
        return np.power(parts[0], parts[1])
    if isinstance(expr, sympy.Max | sympy.Min):
        join = np.maximum if isinstance(expr, sympy.Max) else np.minimum
        result = parts[0]
        for part in parts[1:]:
            result = join(result, part)
        return result
    function = _FUNCTIONS.get(type(expr))
    if function is None:
        raise NotImplementedError(f"no numbers for {type(expr).__name__}")
    return function(parts[0])


def evaluate(expr: sympy.Expr, values: Mapping[sympy.Symbol, Array]) -> Array:
    """The value at each point; NaN where there is none.  Raises NotImplementedError for other functions.

    >>> x = sympy.Symbol("x", real=True)
    >>> evaluate(sympy.Max(x, 0) ** 2, {x: np.array([-1.0, 2.0])})
    array([0., 4.])
    """
    with np.errstate(all="ignore"):
        result = _walk(expr, values)
    shape = np.broadcast_shapes(*(v.shape for v in values.values())) if values else ()
    return np.broadcast_to(np.asarray(result, dtype=np.float64), shape).copy()
