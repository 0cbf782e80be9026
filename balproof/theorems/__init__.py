"""The claims of the papers and of related results, one function each.

`CLAIMS` is the registry, in the order of the papers: [B], [S], then related results. To add a claim, write
its function in a module here, name the module in ``_MODULES`` and the id in ``ORDER``.
"""

from __future__ import annotations

from pathlib import Path

from balproof.campaign import Progress
from balproof.theorems import (
    b_activations,
    b_convergence,
    b_convex,
    b_general_cost,
    b_graphs,
    b_learning,
    b_networks,
    b_optimal_scale,
    b_order,
    b_paths,
    b_progress,
    b_scaling,
    b_schedules,
    b_tied,
    b_training,
    r_broken,
    r_completeness,
    r_conservation,
    r_noether,
    r_norms,
    r_osborne,
    r_path_norm,
    s_bounds,
    s_convergence,
    s_euler,
    s_flow,
    s_heterosynaptic,
    s_laplacian,
    s_noise,
    s_osborne,
    s_rank_one,
    s_trajectories,
)
from balproof.theorems.registry import ClaimFunction, Record

ORDER: tuple[str, ...] = (
    "B.homogeneous-iff-bilu",
    "B.power-iff-bipu",
    "B.scaling-preserves",
    "B.balancings-do-not-commute",
    "B.optimal-scale-lp",
    "B.cost-reduction",
    "B.optimal-scale-general",
    "B.balance-equation",
    "B.architectures",
    "B.gradient-identity",
    "B.gd-does-not-balance",
    "B.gd-regularized-balances",
    "B.progress",
    "B.strictly-convex",
    "B.existence",
    "B.stochastic-balancing",
    "B.self-consistency",
    "B.path-cover",
    "B.schedules",
    "B.favorable",
    "B.simultaneous",
    "B.tied-layers",
    "B.universality",
    "B.locality",
    "B.learning",
    "S.trajectories",
    "S.gradient-flow",
    "S.conserved",
    "S.laplacian",
    "S.convergence",
    "S.bounds",
    "S.noise",
    "S.rank-one",
    "S.euler",
    "S.osborne",
    "S.heterosynaptic",
    "R.du-hu-lee",
    "R.noether",
    "R.broken",
    "R.completeness",
    "R.graph-form",
    "R.path-norm",
    "R.osborne-rate",
    "R.saul",
    "R.enorm",
)
"""The ids of all claims, in the order in which reports show them."""

_MODULES = (
    b_activations,
    b_convergence,
    b_convex,
    b_general_cost,
    b_optimal_scale,
    b_order,
    b_paths,
    b_progress,
    b_scaling,
    b_networks,
    b_graphs,
    b_learning,
    b_schedules,
    b_tied,
    b_training,
    r_conservation,
    r_noether,
    r_broken,
    r_completeness,
    r_path_norm,
    r_osborne,
    r_norms,
    s_bounds,
    s_convergence,
    s_euler,
    s_flow,
    s_heterosynaptic,
    s_laplacian,
    s_noise,
    s_osborne,
    s_rank_one,
    s_trajectories,
)

CLAIMS: tuple[ClaimFunction, ...] = tuple(
    sorted((c for module in _MODULES for c in module.CLAIMS), key=lambda c: ORDER.index(c.claim.id))
)


def verify(
    *ids: str,
    jobs: int = 1,
    samples: int = 0,
    dask: str | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """Check the claims with these ids, all of them for none, ``jobs`` at a time.

    Claims that have a campaign are tried on ``samples`` random instances of its family besides. The work can
    go to the cluster whose scheduler listens at ``dask``; what is finished is kept in the folder ``resume``
    and is not done again there. ``progress`` is told how much is finished, of how much, and what was last.

    Raises RequestError for an id that the registry does not have, ``jobs`` below 1, negative ``samples``, or
    what `balproof.campaign.run` refuses.

    >>> [(r.claim.id, str(r.verdict)) for r in verify("S.gradient-flow")]
    [('S.gradient-flow', 'proved')]
    """
    from balproof.theorems.running import run  # which needs the list above

    return run(ids, jobs=jobs, samples=samples, dask=dask, resume=resume, progress=progress)


def sources() -> dict[str, str]:
    """Where the function of each claim is written, by id.

    >>> sources()["S.gradient-flow"]
    'balproof/theorems/s_flow.py'
    """
    files = {
        c.claim.id: module.__name__.replace(".", "/") + ".py" for module in _MODULES for c in module.CLAIMS
    }
    return {c.claim.id: files[c.claim.id] for c in CLAIMS}


def functions() -> dict[str, str]:
    """The name of the function that checks a claim, by id; none where a claim is only stated.

    >>> functions()["S.gradient-flow"]
    'gradient_flow'
    """
    return {c.claim.id: c.name for c in CLAIMS if c.name.isidentifier()}


def counterexamples() -> dict[str, str]:
    """The files with networks on which a printed claim fails, by name, relative to the package's parent.

    >>> counterexamples()["two_cycle.json"]
    'balproof/theorems/counterexamples/two_cycle.json'
    """
    folder = Path(__file__).parent / "counterexamples"
    return {p.name: p.relative_to(folder.parents[2]).as_posix() for p in sorted(folder.glob("*.json"))}
