"""Claims that are stated here and not checked yet: verdict ``undecided``, nothing required.

Each will get a module with a function of its own; then its line here goes.
"""

from __future__ import annotations

from balproof.theorems.b_lemmas import PAPER
from balproof.theorems.registry import Claim, ClaimFunction, Findings, Printed, claim
from balproof.verdict import Verdict

STOCK = (
    "[S] Stock, Harvey, Ocko, Ganguli, Synaptic balancing: a biologically plausible local learning rule, "
    "PLoS Comput Biol 2022"
)


def _pending(
    name: str,
    title: str,
    source: str,
    printed: str,
    exact: str,
    assumptions: tuple[str, ...] = (),
    depends: tuple[str, ...] = (),
    why: str = "not checked yet",
) -> ClaimFunction:
    def unchecked() -> Findings:
        return Findings(Printed(Verdict.undecided, why))

    return claim(Claim(name, title, source, printed, exact, assumptions, None, depends))(unchecked)


PAPER_B: tuple[ClaimFunction, ...] = (
    _pending(
        "B.learning",
        "Balancing helps learning",
        f"{PAPER}, simulations; Alexos, Domingo, Baldi, AAAI 2025",
        "Balancing before or during training makes learning faster and the result more accurate.",
        "Empirical: to be replicated with paired runs over many seeds and reported as an effect with an "
        "interval; nothing about it can be proved.",
        why="about training runs, not about networks: no identity or certificate decides it, and no run is "
        "part of this check",
    ),
)

RELATED: tuple[ClaimFunction, ...] = (
    _pending(
        "R.du-hu-lee",
        "Gradient flow keeps layers balanced",
        "Du, Hu, Lee, NeurIPS 2018, Thm 2.1 and Cor 2.1",
        "Gradient flow keeps the differences between incoming and outgoing squared norms.",
        "Along ẇ = −∇E, ‖in‖² − ‖out‖² is constant for each unit of degree 1, ‖W_{l+1}‖² − ‖W_l‖² for each "
        "pair of layers; in linear networks the whole matrix W_l W_lᵀ − W_{l+1}ᵀW_{l+1} is.",
        ("E differentiable along the path; biases counted as incoming weights",),
        ("B.gradient-identity",),
    ),
    _pending(
        "R.noether",
        "Every linear symmetry has a conserved quantity",
        "Noether's theorem for gradient flows; Kunin et al., ICLR 2021",
        "Symmetries of the error give conservation laws of training.",
        "If E(e^{tM}w) = E(w) for all t and M is symmetric, ⟨w, M w⟩ is constant along ẇ = −∇E. Along the "
        "mirror flow of a potential ψ = Σψ(w_e), ΣA_ek(w ψ′(w) − ψ(w)) is constant for each scale k.",
        ("E differentiable", "M symmetric"),
        ("B.gradient-identity",),
    ),
    _pending(
        "R.broken",
        "How the laws break under decay, steps and momentum",
        "Kunin et al., ICLR 2021; Marcotte, Gribonval, Peyré 2024 for momentum",
        "Weight decay, finite steps and momentum change the conserved quantities in a predictable way.",
        "For each of them a closed equation says how the quantity decays or drifts.",
        (),
        ("R.noether",),
    ),
    _pending(
        "R.completeness",
        "There are no further laws",
        "Marcotte, Gribonval, Peyré, NeurIPS 2023; 2025 for attention",
        "The known conservation laws are all there are.",
        "At a generic point the number of independent laws is the number of parameters minus the dimension "
        "of the Lie algebra that the gradient fields generate: for two ReLU layers exactly ‖u_k‖² − "
        "‖v_k‖², for two linear layers UᵀU − VᵀV.",
        ("laws that hold for every data set and loss", "inputs of dimension above one, or with bias"),
        ("R.noether",),
    ),
    _pending(
        "R.graph-form",
        "The laws of any acyclic graph",
        "Nurisso et al. 2026",
        "On any acyclic network the incidence matrix B of the units gives the laws.",
        "B(θ∘∇E) = 0 at every point, and Bθ² is constant along ẇ = −∇E.",
        ("activations of degree 1", "E differentiable"),
        ("B.gradient-identity",),
    ),
    _pending(
        "R.path-norm",
        "Path norms and rescaling",
        "Neyshabur, Salakhutdinov, Srebro 2015",
        "Among all rescalings the least per-unit max norm is the path norm.",
        "Path norms are kept by every rescaling. In a layered network with one output and without biases, "
        "the path norm is the least per-unit max norm, to the power of the depth, over all rescalings.",
        ("activations of degree 1", "one output, no biases, for the second part"),
        ("B.scaling-preserves",),
    ),
    _pending(
        "R.osborne-rate",
        "How fast random balancing is",
        "Altschuler, Parrilo 2023",
        "Random Osborne iteration balances a matrix to relative ℓ₁ imbalance ε with O(m ε⁻² log κ) "
        "operations.",
        "As printed; to be measured on families of matrices, not proved here.",
        (),
        ("S.osborne",),
    ),
    _pending(
        "R.saul",
        "A parallel multiplicative update without step size",
        "Saul, ICLR 2023",
        "A multiplicative update of all units at once lowers the ℓ_{p,q} norm.",
        "With the exponent 1/(4·max(p, q)) the parallel update never raises the ℓ_{p,q} norm.",
        ("activations of degree 1",),
        ("B.simultaneous",),
    ),
    _pending(
        "R.enorm",
        "Cyclic balancing converges to the least ℓ_p norm",
        "Stock, Graham, Gribonval, Jégou, ICLR 2019",
        "Cyclic balancing of a feed-forward ReLU network converges to the equivalent network of least ℓ_p "
        "norm.",
        "It is block coordinate descent on a strictly convex problem; the limit is the unique minimum over "
        "the rescalings.",
        ("every unit has nonzero incoming and outgoing weights, and the network is feed-forward",),
        ("B.stochastic-balancing",),
    ),
)

CLAIMS: tuple[ClaimFunction, ...] = (*PAPER_B, *RELATED)
