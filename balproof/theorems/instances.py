"""Small networks on which claims are checked, and exact arithmetic on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

from balproof.balance.problem import BalanceProblem
from balproof.importers import load
from balproof.importers.json_file import from_document
from balproof.importers.matrix_file import from_arrays
from balproof.network.equations import Form
from balproof.network.graph import Network, Operation
from balproof.symbolic.activation import Activation

Weights = Sequence[Sequence[Any]]


def layered(
    matrices: Sequence[Weights], activation: str = "relu", biases: Mapping[int, Sequence[Any]] | None = None
) -> Network:
    """A feed-forward network: one weight matrix a layer (a row for each unit), ``activation`` between them.

    ``biases`` maps a layer (from 0) to its biases. Weights are numbers, or texts for exact numbers.

    >>> sorted(layered([[[1]], [[4]]]).tensors)[:2]
    ['W0', 'W1']
    """
    biases = biases or {}
    parameters: dict[str, Any] = {f"W{k}": [list(row) for row in m] for k, m in enumerate(matrices)}
    operations: list[dict[str, Any]] = []
    here = "x"
    for k in range(len(matrices)):
        operations.append({"kind": "linear", "inputs": [here, f"W{k}"], "output": f"z{k}"})
        here = f"z{k}"
        if k in biases:
            parameters[f"b{k}"] = list(biases[k])
            operations.append({"kind": "bias", "inputs": [here, f"b{k}"], "output": f"a{k}"})
            here = f"a{k}"
        if k < len(matrices) - 1:
            operations.append(
                {"kind": "activation", "function": activation, "inputs": [here], "output": f"h{k}"}
            )
            here = f"h{k}"
    return from_document(
        {
            "inputs": {"x": [len(matrices[0][0])]},
            "parameters": parameters,
            "operations": operations,
            "outputs": [here],
        }
    )


def chain(weights: Sequence[Any], activation: str = "relu") -> Network:
    """x → unit → … → unit → y with these weights along it."""
    return layered([[[w]] for w in weights], activation)


def recurrent(J: Sequence[Sequence[float]], **others: Any) -> Network:
    """A recurrent network; J alone has no visible unit. ``J[i][j]`` is the weight from unit j to unit i."""
    arrays = {name: np.array(value, dtype=float) for name, value in {"J": J, **others}.items()}
    return from_arrays(arrays)


def bridge() -> Network:
    """1⇄2→3⇄4: every unit has incoming and outgoing weights, and one weight lies on no cycle."""
    return recurrent([[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])


def counterexample(name: str) -> Network:
    """A network on which a printed claim fails, from the file that a reader can open with ``inspect``.

    >>> counterexample("single_synapse").numbers("J").tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    return load(Path(__file__).parent / "counterexamples" / f"{name}.json")


def random_layered(sizes: Sequence[int], seed: int, *, biased: bool = True) -> Network:
    """Standard normal weights in layers of these sizes; hidden layers with biases."""
    rng = np.random.default_rng(seed)
    matrices = [rng.standard_normal((m, n)).tolist() for n, m in zip(sizes[:-1], sizes[1:], strict=True)]
    biases = {k: rng.standard_normal(m).tolist() for k, m in enumerate(sizes[1:-1])} if biased else {}
    return layered(matrices, "relu", biases)


def random_recurrent(units: int, seed: int) -> Network:
    """A recurrent network with inputs, biases and outputs; about half of the recurrent weights are there."""
    rng = np.random.default_rng(seed)
    J = rng.standard_normal((units, units)) * (rng.random((units, units)) < 0.5)
    return recurrent(
        J.tolist(),
        W_in=rng.standard_normal((units, 2)),
        b=rng.standard_normal(units),
        W_out=rng.standard_normal((2, units)),
    )


def skipping(activation: str = "relu") -> Network:
    """x → three units, whose result and a learned linear map of x are added, → two units → y; with biases."""
    return from_document(
        {
            "inputs": {"x": [2]},
            "parameters": {
                "U": [[2, -1], [1, 3], [-1, 2]],
                "a": [1, "-1/2", 2],
                "S": [[1, 1], [0, 2], ["1/3", -1]],
                "V": [[1, -2, 1], [3, 1, 1]],
                "b": ["1/2", 1],
                "W": [[2, -3]],
            },
            "operations": [
                {"kind": "linear", "inputs": ["x", "U"], "output": "u"},
                {"kind": "bias", "inputs": ["u", "a"], "output": "ua"},
                {"kind": "activation", "function": activation, "inputs": ["ua"], "output": "p"},
                {"kind": "linear", "inputs": ["x", "S"], "output": "s"},
                {"kind": "add", "inputs": ["p", "s"], "output": "r"},
                {"kind": "linear", "inputs": ["r", "V"], "output": "v"},
                {"kind": "bias", "inputs": ["v", "b"], "output": "vb"},
                {"kind": "activation", "function": "relu", "inputs": ["vb"], "output": "q"},
                {"kind": "linear", "inputs": ["q", "W"], "output": "y"},
            ],
            "outputs": ["y"],
        }
    )


# --- exact linear algebra -----------------------------------------------------------------------------


def rank(rows: Sequence[Sequence[int | Fraction]]) -> int:
    """The exact rank of a rational matrix.

    >>> rank([[1, 2], [2, 4]])
    1
    """
    if not rows or not rows[0]:
        return 0
    entries = [[fmpq(Fraction(x).numerator, Fraction(x).denominator) for x in row] for row in rows]
    return int(fmpq_mat(entries).rank())


def dense(rows: Sequence[Form], count: int) -> list[list[Fraction]]:
    """Rows of A written out."""
    matrix = [[Fraction(0)] * count for _ in rows]
    for i, row in enumerate(rows):
        for k, c in row:
            matrix[i][k] = c
    return matrix


# --- the balanced state, enclosed ---------------------------------------------------------------------


def enclose_balanced(problem: BalanceProblem, h: np.ndarray, radius: float = 1e-11, bits: int = 160) -> bool:
    """Whether F has exactly one balanced state with all log-scales within ``radius`` of h: Krawczyk's test.

    For costs |w|^p with one rational p, all scales moving, and A injective there; otherwise False, as where
    the test does not go through. K = h − Y∇F(h) +
    (1 − Y·H(box))(box − h) inside the box gives existence and uniqueness in the box; F is strictly convex,
    so there is no other anywhere.

    >>> enclose_balanced(BalanceProblem.build(chain([1, 4])), np.array([np.log(2)]))
    True
    """
    p = problem.single_power
    if p is None or not problem.active.all():
        return False
    rows, n = problem.rows, problem.count
    with ctx.workprec(bits):
        centre = [arb(float(x)) for x in h]
        box = [arb(float(x), radius) for x in h]
        weights = [arb(float(w)) ** arb(p) for w in problem.weights]

        def terms(at: Sequence[arb]) -> list[arb]:
            values: list[arb] = []
            for w, row in zip(weights, rows, strict=True):
                log = arb(0)
                for k, c in row:
                    log += arb(fmpq(c.numerator, c.denominator)) * at[k]
                values.append(w * (arb(p) * log).exp())
            return values

        gradient = [arb(0)] * n
        for value, row in zip(terms(centre), rows, strict=True):
            for k, c in row:
                gradient[k] += arb(p) * arb(fmpq(c.numerator, c.denominator)) * value
        hessian = [[arb(0)] * n for _ in range(n)]
        for value, row in zip(terms(box), rows, strict=True):
            for k, c in row:
                for j, d in row:
                    product = c * d
                    hessian[k][j] += arb(p) ** 2 * arb(fmpq(product.numerator, product.denominator)) * value
        midpoint = np.array([[float(hessian[i][j].mid()) for j in range(n)] for i in range(n)])
        inverse = arb_mat([[arb(float(x)) for x in row] for row in np.linalg.inv(midpoint)])
        one = arb_mat([[arb(1) if i == j else arb(0) for j in range(n)] for i in range(n)])
        spread = arb_mat([[b - c] for b, c in zip(box, centre, strict=True)])
        moved = (one - inverse * arb_mat(hessian)) * spread - inverse * arb_mat([[g] for g in gradient])
        return all(bool(abs(moved[i, 0]) < arb(radius)) for i in range(n))


# --- networks run in exact arithmetic -----------------------------------------------------------------


def symbols_of(network: Network) -> dict[str, list[sympy.Symbol]]:
    """One real symbol for each entry of each parameter, row-major."""
    return {
        t.name: [sympy.Symbol(f"{t.name}_{i}", real=True) for i in range(t.size)] for t in network.parameters
    }


def exact_weights(network: Network) -> dict[sympy.Symbol, sympy.Rational]:
    """The parameters as rationals (doubles are rationals too), by the symbols of `symbols_of`."""
    names = symbols_of(network)
    return {
        symbol: sympy.Rational(entry) if isinstance(entry, float) else sympy.sympify(entry)
        for t in network.parameters
        for symbol, entry in zip(names[t.name], np.asarray(t.value).ravel().tolist(), strict=True)
    }


def formula(
    network: Network,
    inputs: Sequence[Mapping[str, Sequence[Any]]],
    start: Mapping[str, Sequence[Any]] | None = None,
) -> list[sympy.Expr]:
    """The outputs after one pass for each of ``inputs`` (time steps), as formulas in the weights that hold
    near the weights' own values: each activation is on the piece where its rational input lies.

    Raises ValueError where a pre-activation is 0: the pieces meet there.
    """
    names, point = symbols_of(network), exact_weights(network)
    fixed = {t.name: [sympy.sympify(x) for x in np.asarray(t.value).ravel().tolist()]
             for t in network.tensors.values() if t.role == "constant"}  # fmt: skip
    values: dict[str, list[sympy.Expr]] = {n: list(v) for n, v in names.items()} | fixed
    for state, _ in network.states:
        values[state] = [
            sympy.sympify(x) for x in (start or {}).get(state, [0] * network.tensors[state].size)
        ]
    outputs: list[sympy.Expr] = []
    for given in inputs:
        values |= {n: [sympy.sympify(x) for x in v] for n, v in given.items()}
        for op in network.operations:
            values[op.output] = _run_exactly(op, network, values, point)
        outputs += [x for name in network.outputs for x in values[name]]
        values |= {before: values[after] for before, after in network.states}
    return outputs


def _run_exactly(
    op: Operation, network: Network, values: Mapping[str, list[sympy.Expr]], point: Mapping[sympy.Symbol, Any]
) -> list[sympy.Expr]:
    x = values[op.inputs[0]]
    if op.kind == "linear":
        rows, columns = network.tensors[op.inputs[1]].shape
        w = values[op.inputs[1]]
        if op.attributes.get("transpose", False):
            return [
                sum((w[i * columns + j] * x[j] for j in range(columns)), sympy.S.Zero) for i in range(rows)
            ]
        return [sum((w[j * columns + i] * x[j] for j in range(rows)), sympy.S.Zero) for i in range(columns)]
    if op.kind in ("bias", "add"):
        return [sum(terms, sympy.S.Zero) for terms in zip(*(values[n] for n in op.inputs), strict=True)]
    if op.kind == "activation":
        return [_piece(op.attributes["function"], z, z.subs(point)) for z in x]
    raise ValueError(f"{op.kind} is not run exactly")


def _piece(function: Activation, z: sympy.Expr, at: sympy.Expr) -> sympy.Expr:
    """σ near a point off 0: C·z^c or D·(−z)^c; an activation that is linear through 0 may be at 0."""
    if at == 0 and function.kind != "linear":
        raise ValueError("a pre-activation is 0")
    assert function.coefficients is not None, "only homogeneous activations are run exactly"
    C, D = function.coefficients
    return C * z**function.degree if at > 0 else D * (-z) ** function.degree
