"""Exact coordinate descent over many units, one after the other, in compiled code."""

# Compiled code: pyright sees neither the types that Numba infers nor its decorators.
# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit

Array = np.ndarray


@njit(nogil=True, cache=True)
def swept(order, starts, edges, coefficients, power, costs, h):
    """Balance the units in this order, where the balance of each is a two-term equation (`problem.straight`).

    Unit k touches the weights ``edges[starts[k]:starts[k + 1]]``, with entries ``coefficients`` of A; their
    ``costs`` and ``h`` change in place. It gives the number of weights that were touched.
    """
    touched = 0
    for k in order:
        into, out, a, b = 0.0, 0.0, 0.0, 0.0
        for i in range(starts[k], starts[k + 1]):
            c = coefficients[i]
            if c > 0:
                into += c * costs[edges[i]]
                a = c
            else:
                out -= c * costs[edges[i]]
                b = -c
        touched += starts[k + 1] - starts[k]
        if into > 0 and out > 0:
            s = (np.log(out) - np.log(into)) / (power * (a + b))
            h[k] += s
            up, down = np.exp(power * a * s), np.exp(-power * b * s)
            for i in range(starts[k], starts[k + 1]):
                costs[edges[i]] *= up if coefficients[i] > 0 else down
    return touched


@njit(nogil=True, cache=True)
def sides(starts, edges, coefficients, marginal):
    """What comes into every scale and what goes out of it, by the marginal costs of the weights."""
    n = len(starts) - 1
    into, out = np.zeros(n), np.zeros(n)
    for k in range(n):
        for i in range(starts[k], starts[k + 1]):
            c = coefficients[i] * marginal[edges[i]]
            if c > 0:
                into[k] += c
            else:
                out[k] -= c
    return into, out
