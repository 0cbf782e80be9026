"""The convex problem: F(h) = Σ_e φ_e(log|w_e| + (A h)_e) over the weights that are regularised and not 0.

φ_e(t) = g_e(e^t). Balance is ∇F = Aᵀm = 0 with m_e = w_e g_e′(w_e), the marginal cost of weight e, and
the Hessian is Aᵀ diag(κ) A with κ_e = φ_e″. Source: [B] Theorem 5.1.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from balproof.errors import ModelError, RangeError, RegularizerError, RequestError
from balproof.network.equations import Form
from balproof.network.graph import Network
from balproof.network.manifold import Manifold, infer
from balproof.symbolic.regularizer import Regularizer

Array = np.ndarray


@dataclass(frozen=True)
class Costs:
    """Which regularizer each parameter tensor has.

    ``rules`` are (pattern, regularizer) pairs of which the last match wins; tensors without a match have
    l2. ``bias_cost=False`` leaves the biases out of the cost (never out of the symmetry).
    """

    rules: tuple[tuple[str, Regularizer], ...] = ()
    bias_cost: bool = True

    @staticmethod
    def parse(specs: str | Sequence[str] = "l2", *, bias_cost: bool = True) -> Costs:
        """Read ``l2``, ``lp:1.5``, a formula in w, or ``'fc1.*=l1'`` for the tensors of that name.

        Raises ExpressionError for a formula that cannot be read, RegularizerError if it is no regularizer.

        >>> Costs.parse(["l1", "fc2.*=l2"]).regularizer("fc2.weight").name
        'l2'
        """
        rules: list[tuple[str, Regularizer]] = []
        for spec in [specs] if isinstance(specs, str) else specs:
            # Whatever a tensor is called; in a formula an = stands beside <, > or =, and behind a bracket.
            match = re.fullmatch(r"([^()<>=]+)=(?!=)(.+)", spec, re.DOTALL)
            pattern, text = (match.group(1).strip(), match.group(2)) if match else ("*", spec)
            regularizer = Regularizer.parse(text.strip())
            _require_usable(regularizer)
            rules.append((pattern, regularizer))
        return Costs(tuple(rules), bias_cost)

    def regularizer(self, tensor: str) -> Regularizer:
        """The regularizer of a tensor."""
        found = [r for pattern, r in self.rules if _matches(tensor, pattern)]
        return found[-1] if found else Regularizer.parse("l2")

    def require_known(self, network: Network) -> None:
        """Raise RequestError for a pattern that matches no parameter."""
        names = [t.name for t in network.parameters]
        for pattern, _ in self.rules:
            if pattern != "*" and not any(_matches(n, pattern) for n in names):
                there = "parameters are " + ", ".join(names) if names else "this network has none"
                raise RequestError(f"no parameter is called {pattern!r}", there)

    @property
    def name(self) -> str:
        """As the user wrote it, less what a later rule replaces: ``l1, fc2.*=l2``.

        >>> Costs.parse(["l1", "l2", "fc1.*=l1"], bias_cost=False).name
        'l2, fc1.*=l1, biases without cost'
        """
        last = max((i for i, (p, _) in enumerate(self.rules) if p == "*"), default=0)
        said = [r.name if p == "*" else f"{p}={r.name}" for p, r in self.rules[last:]] or ["l2"]
        return ", ".join(said if self.bias_cost else [*said, "biases without cost"])


def _matches(tensor: str, pattern: str) -> bool:
    """Whether a pattern names a tensor; a name that holds brackets names itself."""
    return tensor == pattern or fnmatch.fnmatchcase(tensor, pattern)


def _require_usable(regularizer: Regularizer) -> None:
    if not regularizer.numeric:
        raise RegularizerError(f"{regularizer.name} has symbols", "give numbers for them")
    if not regularizer.even.holds:
        raise RegularizerError(f"{regularizer.name} is not even in w", "write it in abs(w) or even powers")
    if not regularizer.log_convex.holds:
        witness = f" ({regularizer.log_convex.witness})" if regularizer.log_convex.witness else ""
        raise RegularizerError(
            f"g(e^t) is not known to be strictly convex for {regularizer.name}{witness}",
            "balance then need not be optimal; choose a regularizer whose w·g'(w) strictly increases",
        )
    if not regularizer.increasing.holds:
        witness = f" ({regularizer.increasing.witness})" if regularizer.increasing.witness else ""
        raise RegularizerError(
            f"{regularizer.name} is not known to increase with |w|{witness}",
            "a dead unit's weights would not fall for ever; choose a cost that grows with |w|",
        )


@dataclass(frozen=True, eq=False)
class BalanceProblem:
    """F over the log-scales of a network that balancing may move.

    ``weights`` are the absolute values of the m weights that are regularised and not 0, ``entries`` says
    which (parameter, row-major position), ``A`` is their m×n matrix over the n scales of the manifold.
    ``active`` marks the scales that move. ``dead`` are units without incoming or without outgoing cost,
    ``left_out`` scales of degree ≤ 0: neither has a finite optimum, and both keep h = 0.
    """

    manifold: Manifold
    costs: Costs
    weights: Array
    entries: tuple[tuple[str, Array], ...]
    groups: tuple[tuple[Regularizer, slice], ...]
    A: sparse.csr_array
    active: Array
    dead: tuple[int, ...]
    left_out: tuple[int, ...]

    @staticmethod
    def build(network: Network | Manifold, costs: Costs | str | Sequence[str] = "l2") -> BalanceProblem:
        """State the problem for a network (or its manifold) with numeric weights.

        Raises ModelError for symbols, NaN or infinity among the weights, RequestError for a pattern
        that matches no parameter or for weights too far apart for double precision.

        >>> from balproof.importers import load
        >>> problem = BalanceProblem.build(load("tests/data/chain.json"))
        >>> float(problem.cost(np.zeros(2)))
        18.25
        """
        problem = BalanceProblem.stated(network, costs)
        problem.require_range()
        return problem

    @cached_property
    def in_range(self) -> bool:
        """Whether sums of doubles lose nothing of the costs."""
        low, high = self._extremes()[0]
        return low > LOWEST and high < HIGHEST

    def require_range(self) -> None:
        """Raise RequestError where sums of doubles would lose costs, or overflow; it names the weights."""
        if not self.in_range:
            (low, high), places = self._extremes()
            least, most = (f"{self.element(i)} = {self.weights[i]:.1e}" for i in places)
            raise RangeError(
                f"costs of single weights range from {low:.1e} ({least}) to {high:.1e} ({most})",
                "multiply the weights by a power of two that brings them near 1, or use a smaller exponent",
            )

    def _extremes(self) -> tuple[tuple[float, float], tuple[int, int]]:
        """The least and the largest marginal cost, and of which weights they are."""
        with np.errstate(over="ignore", invalid="ignore"):
            m = self.marginal_of(self.weights)
        m = np.where(np.isnan(m), np.inf, m)  # ∞/∞
        if not m.size:
            return (1.0, 1.0), (0, 0)
        places = int(np.argmin(m)), int(np.argmax(m))
        return (float(m[places[0]]), float(m[places[1]])), places

    def only(self, keep: Array, network: Network | None = None) -> BalanceProblem:
        """The problem of a network, by default of this one, with all other weights that have a cost 0."""
        network = network or self.manifold.network
        values, start = dict[str, Array](), 0
        for name, places in self.entries:
            new = network.numbers(name).copy()
            new.flat[places[~keep[start : start + len(places)]]] = 0.0
            values[name], start = new, start + len(places)
        changed = dataclasses.replace(self.manifold, network=network.with_parameters(values))
        return BalanceProblem.stated(changed, self.costs)

    def element(self, number: int) -> str:
        """The name of a weight, from its number in ``weights``."""
        for name, kept in self.entries:
            if number < len(kept):
                return self.manifold.network.tensors[name].element(int(kept[number]))
            number -= len(kept)
        raise IndexError(number)

    def rescaled(self, h: Array) -> BalanceProblem:
        """The problem of the network that the rescaling by h leaves, at h = 0.

        Its costs may be out of the range that `build` demands: on the way to an infimum that is not
        attained they fall without end.
        """
        return self.of(self.manifold.rescale(h))

    def of(self, network: Network) -> BalanceProblem:
        """The problem of the network with other weights, which may be out of range as well."""
        manifold = dataclasses.replace(self.manifold, network=network)
        values = [(network.numbers(name).ravel(), kept) for name, kept in self.entries]
        weights = np.concatenate([np.abs(v[kept]) for v, kept in values] or [np.zeros(0)])
        if not weights.all() or not all(np.isfinite(v).all() for v, _ in values):
            return BalanceProblem.stated(manifold, self.costs)
        return dataclasses.replace(self, manifold=manifold, weights=weights)  # the same of them are not 0

    @staticmethod
    def stated(network: Network | Manifold, costs: Costs | str | Sequence[str] = "l2") -> BalanceProblem:
        """As `build`, for weights whose costs may be out of range."""
        manifold = network if isinstance(network, Manifold) else infer(network)
        costs = costs if isinstance(costs, Costs) else Costs.parse(costs)
        net = manifold.network
        costs.require_known(net)
        entries: list[tuple[str, Array]] = []
        support: dict[str, Array] = {}
        groups: list[tuple[Regularizer, slice]] = []
        weights: list[Array] = []
        rows: list[sparse.csr_array] = []
        biases = frozenset[str]() if costs.bias_cost else net.biases
        blocks = {b.name: b for b in manifold.blocks}
        start = 0
        for tensor in net.parameters:
            values = net.numbers(tensor.name).ravel()
            if not np.isfinite(values).all():
                bad = tensor.element(int(np.flatnonzero(~np.isfinite(values))[0]))
                raise ModelError(f"weight {bad} is not finite", "repair the model")
            if tensor.buffer or tensor.name in biases:
                continue
            kept = np.flatnonzero(values)
            support[tensor.name] = values != 0
            entries.append((tensor.name, kept))
            weights.append(np.abs(values[kept]))
            rows.append(manifold.entries(blocks[tensor.name], kept))
            regularizer, first = costs.regularizer(tensor.name), start
            start += len(kept)
            if groups and groups[-1][0] is regularizer:
                first = groups.pop()[1].start
            groups.append((regularizer, slice(first, start)))
        a = (
            sparse.csr_array(sparse.vstack(rows, format="csr"))
            if rows
            else sparse.csr_array((0, manifold.count))
        )
        flat = np.concatenate(weights) if weights else np.zeros(0)
        dead, left_out = manifold.dead(support), tuple(sorted(manifold.endless))
        active = np.ones(manifold.count, dtype=bool)
        active[[*dead, *left_out]] = False
        return BalanceProblem(manifold, costs, flat, tuple(entries), tuple(groups), a, active, dead, left_out)

    # --- values -------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """The number of scales, moved or not: the length of h."""
        return self.manifold.count

    def scaled(self, h: Array) -> Array:
        """|w|·exp(A h) for the weights of the problem."""
        return self.weights * np.exp(self.A @ h)

    def cost(self, h: Array) -> float:
        """F(h)."""
        w = self.scaled(h)
        return float(sum(np.sum(r.cost(w[part])) for r, part in self.groups))

    def marginal(self, h: Array) -> Array:
        """m_e = w g′(w), one per weight."""
        return self.marginal_of(self.scaled(h))

    def marginal_of(self, w: Array) -> Array:
        """m for absolute weights w."""
        return self._by_group("marginal", w)

    def curvature_of(self, w: Array) -> Array:
        """κ = φ″ for absolute weights w; φ is convex, so what falls below 0 (or is ∞/∞) is rounding."""
        return np.fmax(self._by_group("curvature", w), 0.0)

    def _by_group(self, method: str, w: Array) -> Array:
        if not self.groups:
            return np.zeros(0)
        return np.concatenate([np.asarray(getattr(r, method)(w[part]), float) for r, part in self.groups])

    def gradient(self, h: Array) -> Array:
        """∇F(h) = Aᵀ m, over all scales."""
        return self.transposed[0] @ self.marginal(h)

    def hessian(self, h: Array) -> sparse.csr_array:
        """Aᵀ diag(κ) A, over all scales."""
        curvature = self.curvature_of(self.scaled(h))
        return sparse.csr_array(self.A.T @ sparse.diags_array(curvature) @ self.A)

    @cached_property
    def rows(self) -> list[Form]:
        """The rows of A exactly, over the scales that move."""
        blocks = {b.name: b for b in self.manifold.blocks}
        moving = set(np.flatnonzero(self.active).tolist())
        return [
            tuple(term for term in row if term[0] in moving)
            for name, kept in self.entries
            for row in blocks[name].rows(kept)
        ]

    @cached_property
    def absolute(self) -> sparse.csr_array:
        """|A|, for the denominators of the imbalance."""
        return sparse.csr_array(abs(self.A))

    @cached_property
    def transposed(self) -> tuple[sparse.csc_array, sparse.csc_array]:
        """Aᵀ and |A|ᵀ: SciPy makes them anew at each asking, which takes longer than the product."""
        return self.A.T, self.absolute.T

    def flows(self, m: Array) -> tuple[Array, Array]:
        """Aᵀ m and |A|ᵀ m: in − out of every scale, and in + out."""
        return self.transposed[0] @ m, self.transposed[1] @ m

    def imbalances(self, h: Array) -> Array:
        """|Σ_e A_ek m_e| / Σ_e |A_ek| m_e for every scale k; 0 for the scales that do not move.

        For a unit of degree c this is |in − c·out|/(in + c·out).
        """
        net, total = self.flows(self.marginal(h))
        ratio = np.abs(net) / np.where(total > 0, total, 1.0)
        return np.where(self.active, ratio, 0.0)

    def imbalance(self, h: Array) -> float:
        """The largest imbalance; 0 if nothing can move."""
        return float(np.max(self.imbalances(h), initial=0.0))

    @cached_property
    def exponents(self) -> tuple[tuple[slice, tuple[tuple[float, float], ...]], ...] | None:
        """Where every cost is a sum of powers Σ a·|w|^p: its (a, p) per group of weights; otherwise None."""
        found: list[tuple[slice, tuple[tuple[float, float], ...]]] = []
        for regularizer, part in self.groups:
            if regularizer.terms is None:
                return None
            found.append((part, tuple((float(a), float(p)) for a, p in regularizer.terms)))
        return tuple(found)

    @cached_property
    def single_power(self) -> float | None:
        """The exponent p where every cost is a multiple of the same |w|^p; otherwise None."""
        powers = {p for _, terms in self.exponents or () for _, p in terms}
        return powers.pop() if self.exponents is not None and len(powers) == 1 else None

    @cached_property
    def one_regularizer(self) -> bool:
        """Whether all groups have the same regularizer."""
        return len({r.expression for r, _ in self.groups}) <= 1

    @cached_property
    def straight(self) -> bool:
        """Whether the balance of a unit is a two-term equation: one power, and one degree a column."""
        if self.single_power is None:
            return False
        columns = sparse.csc_array(self.A[:, np.flatnonzero(self.active)])
        column = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
        order = np.lexsort((columns.data, column))
        column, value = column[order], columns.data[order]
        new = (column[1:] != column[:-1]) | (value[1:] != value[:-1])
        return bool(np.bincount(np.append(column[:1], column[1:][new])).max(initial=0) <= 2)

    def names(self, columns: Sequence[int]) -> list[str]:
        """The names of the scales in these columns."""
        return [self.manifold.names[k] for k in columns]


LOWEST, HIGHEST = 1e-290, 1e290
"""In the sums of a unit, costs outside would be lost or overflow."""


def require_range(m: Array, tensor: str) -> None:
    """Raise RequestError where marginal costs leave the range in which sums of doubles lose nothing."""
    m = np.where(np.isnan(m), np.inf, m)  # ∞/∞
    if m.size and not (m.min() > LOWEST and m.max() < HIGHEST):
        raise RangeError(
            f"costs of single weights range from {m.min():.1e} to {m.max():.1e} in {tensor}",
            "multiply the weights by a power of two that brings them near 1, or use a smaller exponent",
        )
