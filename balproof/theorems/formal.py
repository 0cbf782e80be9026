"""Which claims have theorems in Coq, and what these leave open.

The theorems are in ``derivations/coq``; its README says what each states, with its hypotheses in words.
``strengthened`` adds to the records of claims what the gate (`balproof.formal.run_gate`) found about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from balproof.errors import MissingToolError
from balproof.formal import Gate, run_gate
from balproof.theorems.registry import Record
from balproof.verdict import Evidence, Verdict


@dataclass(frozen=True)
class Formal:
    """The Coq theorems of a claim, as ``Module.name``.

    ``rest`` says what of the exact statement they leave to the other evidence; where it is empty they
    cover all of it, and the claim's verdict is ``formal`` once the gate is passed.
    """

    theorems: tuple[str, ...]
    rest: str = ""


def _in(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names)


FORMAL: dict[str, Formal] = {
    "B.homogeneous-iff-bilu": Formal(_in("Homogeneous", "homogeneous_iff_bilu", "bilu_slopes")),
    "B.power-iff-bipu": Formal(
        _in("Homogeneous", "power_iff_bipu", "bipu_continuous_at_zero", "only_powers"),
    ),
    "B.scaling-preserves": Formal(
        _in(
            "Rescaling",
            "rescaling_keeps_states",
            "scaling_preserves",
            "scaling_preserves_runs",
            "unit_scaling_preserves",
            "scalings_compose",
            "scalings_commute",
        ),
    ),
    "B.optimal-scale-lp": Formal(
        _in("OptimalScale", "optimal_scale_lp", "balance_lp", "optimal_scale_printed")
    ),
    "B.cost-reduction": Formal(
        _in("OptimalScale", "cost_reduction", "cost_reduction_degree", "cost_reduction_zero"),
    ),
    "B.optimal-scale-general": Formal(
        _in("OneUnit", "best_scale_exists", "best_scale_balances", "best_scale_unique")
        + _in("Balance", "general_costs_convex")
        + _in("Counterexamples", "balanced_not_optimal"),
    ),
    "B.balance-equation": Formal(
        _in("Balance", "balance_equation", "balance_of_two_powers")
        + _in("Counterexamples", "balance_is_not_equal_costs"),
    ),
    "B.gradient-identity": Formal(_in("Gradient", "gradient_identity", "unit_gradient_identity")),
    "B.gd-does-not-balance": Formal(
        _in(
            "Gradient", "deficit_conserved", "never_balances", "deficit_after_step", "step_leaves_balance_iff"
        )
        + _in(
            "Counterexamples",
            "step_leaves_balance",
            "square_error_invariant",
            "square_error_gradient",
            "descent_ends_unbalanced",
            "flow_never_balances",
        ),
    ),
    "B.gd-regularized-balances": Formal(
        _in("Gradient", "critical_balanced", "minimum_balanced", "deficit_decays", "deficit_after_step")
        + _in(
            "Critical",
            "critical_balanced_any",
            "clarke_identity",
            "clarke_critical_balanced",
            "clarke_sum_balanced",
            "descent_limit_balanced",
            "flow_limit_balanced",
            "minibatch_step",
            "stationary_deficit",
        )
        + _in("ExamplesOverTime", "minibatch_floor"),
    ),
    "B.progress": Formal(_in("Gradient", "deficit_decays", "progress_rate", "progress_blind")),
    "B.strictly-convex": Formal(
        _in(
            "Balance",
            "power_costs_convex",
            "strictly_convex_in_log_weights",
            "total_cost_strictly_convex",
            "optimal_set",
            "balanced_unique",
        ),
    ),
    "B.existence": Formal(
        _in("Existence", "existence", "stiemke", "regularizer_costs", "circulation_iff_strongly_connected")
        + _in("Graphs", "existence_on_graphs")
        + _in("Counterexamples", "bridge_not_attained"),
    ),
    "B.stochastic-balancing": Formal(
        _in("Convergence", "powers_converge", "same_limit_for_all_orders", "balancing_converges")
        + _in("Graphs", "stochastic_balancing", "steps_tend_to_one", "balancing_lowers")
        + _in("Rescaling", "scaling_preserves"),
    ),
    "B.self-consistency": Formal(
        _in(
            "Cycles",
            "cycle_basis_decides",
            "cycle_basis_exists",
            "cycle_basis_count",
            "cycle_basis_count_connected",
            "paths_and_cycles_decide",
            "scales_unique",
        )
        + _in("Invariants", "self_consistent_iff")
        + _in("Counterexamples", "directed_walks_false"),
    ),
    "B.path-cover": Formal(
        _in("Cycles", "path_criterion", "path_criterion_count")
        + _in("Counterexamples", "path_cover_units_false", "path_cover_edges_false"),
    ),
    "B.schedules": Formal(
        _in("Convergence", "same_limit_for_all_orders")
        + _in("Tied", "tied_optimum", "tied_balancing_converges", "tied_group"),
    ),
    "B.favorable": Formal(
        _in("Relaxed", "power_share", "convex_share", "relaxed_gain_lp", "relaxed_converges")
        + _in("Convergence", "sharing_converges")
        + _in("Counterexamples", "favorable_steps_false"),
    ),
    "B.simultaneous": Formal(
        _in(
            "Simultaneous",
            "at_once_is_in_turn",
            "factor_bound",
            "bounds_add_up",
            "together_does_not_raise",
            "together_keeps_iff",
            "together_keeps_only_at_balance",
        )
        + _in("Counterexamples", "simultaneous_cycles", "simultaneous_false"),
    ),
    "S.trajectories": Formal(
        _in("Rescaling", "trajectories_scale", "read_out_kept")
        + _in("Trajectories", "integral_continuous", "one_solution", "solutions_scale", "outputs_kept"),
    ),
    "S.gradient-flow": Formal(_in("Stock", "rule_transforms", "rule_descends", "cost_gradient")),
    "S.conserved": Formal(
        _in("Invariants", "null_vector_invariant", "cycle_product", "path_product", "sign_invariant")
        + _in("Stock", "rule_keeps_scale_sums")
        + _in(
            "Spectrum",
            "determinant_kept",
            "spectrum_kept",
            "eigenvectors_rescaled",
            "closed_chain_kept",
            "open_chain_kept",
            "rule_conserves",
            "lax_equation",
        )
        + _in("Count", "representatives_exist", "invariants_counted"),
    ),
    "S.convergence": Formal(
        _in(
            "Stock",
            "matrix_converges_iff",
            "matrix_converges_to",
            "balanced_transform",
            "unit_imbalance_derivative",
            "imbalance_decays",
            "single_synapse",
        )
        + _in("Flow", "rule_converges", "flow_converges")
        + _in("Solutions", "rule_solution_exists", "rule_solution_unique")
        + _in("Laplacian", "least_eigenvalue_exists")
        + _in(
            "Rate",
            "lambda_2_exists",
            "lambda_2_bounds",
            "costs_bounded_below",
            "imbalance_falls_exponentially",
            "rate_in_the_end",
        )
        + _in("Generic", "follows_exists", "no_faster", "at_most_one_faster")
        + _in("Dense", "slow_starts_dense", "slow_starts_generic"),
    ),
    "S.osborne": Formal(
        _in("OptimalScale", "optimal_scale_lp")
        + _in("Graphs", "existence_on_graphs", "balanced_weights_unique")
        + _in(
            "Osborne",
            "osborne_step",
            "osborne_step_balances",
            "balanceable_iff",
            "balanced_least",
            "balanced_scales_unique",
            "component_constants_free",
        ),
    ),
    "R.du-hu-lee": Formal(
        _in("Gradient", "deficit_conserved")
        + _in("Layers", "layer_conserved", "matrix_gradient_identity", "layer_matrix_conserved"),
    ),
    "R.noether": Formal(_in("Gradient", "noether", "mirror_conserved")),
    "R.broken": Formal(
        _in("Gradient", "deficit_decays", "deficit_after_step")
        + _in("Momentum", "momentum_law", "inertial_law", "angular_speed", "angular_conserved"),
    ),
    "R.graph-form": Formal(_in("Gradient", "gradient_identity", "deficit_conserved")),
}
"""The claims that have theorems in Coq."""

CERTIFICATES: tuple[str, ...] = (
    "Gap.chi_square_gap",
    "Certificates.box_certificate",
    "Instance.certified",
)
"""What the certificates of `balproof solve` rest on."""


def registered() -> list[str]:
    """All theorems that some claim or certificate names, each once.

    >>> "Graphs.stochastic_balancing" in registered()
    True
    """
    names = [name for f in FORMAL.values() for name in f.theorems]
    return list(dict.fromkeys([*names, *CERTIFICATES]))


def gate_of_claims() -> Gate:
    """Run the gate over the theorems of all claims.

    Raises MissingToolError if Coq is not installed, or if the theories are not there.
    """
    return run_gate(registered())


def gate_or_reason() -> Gate | MissingToolError:
    """The gate, or why it could not be run."""
    try:
        return gate_of_claims()
    except MissingToolError as missing:
        return missing


def evidence(name: str, gate: Gate | MissingToolError) -> Evidence | None:
    """What the gate says of the claim called ``name``; None where the claim has no theorems.

    A gate that could not be run, or that found a fault anywhere, shows nothing.

    >>> evidence("B.progress", MissingToolError("Coq is not installed", "install it")).verdict.name
    'undecided'
    """
    formal = FORMAL.get(name)
    if formal is None:
        return None
    if isinstance(gate, MissingToolError):
        return Evidence("coq", f"not checked: {gate.cause}", Verdict.undecided)
    if not gate.passed:
        return Evidence("coq", f"not passed: {gate.faults[0]}", Verdict.undecided, gate.seconds)
    missing = [t for t in formal.theorems if t not in gate.theorems]
    if missing:
        return Evidence("coq", f"not checked: {', '.join(missing)}", Verdict.undecided, gate.seconds)
    what = ", ".join(formal.theorems)
    if formal.rest:
        return Evidence("coq", f"in part: {what}; left: {formal.rest}", Verdict.undecided, gate.seconds)
    return Evidence("coq", what, Verdict.formal, gate.seconds)


def strengthened(records: Iterable[Record], gate: Gate | MissingToolError) -> list[Record]:
    """The records with what Coq says of their claims added to the evidence."""
    return [_with(record, evidence(record.claim.id, gate)) for record in records]


def formal_claims(gate: Gate | MissingToolError) -> Sequence[str]:
    """The claims that Coq has checked in full."""
    found = ((name, evidence(name, gate)) for name in FORMAL)
    return [name for name, e in found if e is not None and e.verdict is Verdict.formal]


def _with(record: Record, found: Evidence | None) -> Record:
    if found is None:
        return record
    return replace(record, findings=replace(record.findings, evidence=(*record.findings.evidence, found)))
