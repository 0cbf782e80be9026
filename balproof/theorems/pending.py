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

PAPER_S: tuple[ClaimFunction, ...] = (
    _pending(
        "S.trajectories",
        "The map from input to output trajectories is kept",
        f"{STOCK}, Results and Methods",
        "Balancing keeps the entire map from input trajectories to output trajectories.",
        "In ẋ = −x + Jφ(x) + W_in u + b with read-out W_out x, the transform J_ij → e^{−h_i}J_ij e^{h_j}, "
        "W_in → e^{−h}W_in, b → e^{−h}b, W_out → W_out e^{h} keeps every output trajectory, if the initial "
        "state is transformed too: x(0) → e^{−h}x(0).",
        ("φ positively homogeneous of degree 1", "existence and uniqueness of solutions"),
        ("B.scaling-preserves",),
    ),
    _pending(
        "S.laplacian",
        "The cost is convex, its Hessian a graph Laplacian",
        f"{STOCK}, Methods",
        "The Hessian of the cost in the log-scales is a graph Laplacian.",
        "∂²C/∂h∂h = p²·Lap(c + cᵀ) with the costs c_ij of the transformed synapses as edge weights; it is "
        "positive semidefinite, with the functions that are constant on weak components as kernel.",
        ("p > 0", "costs positive on the synapses that are there"),
        ("S.gradient-flow",),
    ),
    _pending(
        "S.convergence",
        "The rule converges to a unique balanced state",
        f"{STOCK}, Methods",
        "From every start the rule converges to a unique balanced state.",
        "The flow of J converges to a balanced matrix with the same nonzero entries exactly if every "
        "synapse lies on a directed cycle; then ‖g‖ decays asymptotically at the rate pλ₂/τ, with λ₂ the "
        "least nonzero eigenvalue of Lap(c + cᵀ) at the limit. A single synapse decays only like c(t) = "
        "c(0)/(1 + 2p·c(0)·t/τ).",
        ("costs positive on the synapses that are there",),
        ("S.gradient-flow", "S.osborne", "S.laplacian"),
    ),
    _pending(
        "S.bounds",
        "Bounds on how far the cost can fall",
        f"{STOCK}, the authors' code",
        "‖g‖²/(2M) ≤ C(0) − C(∞) ≤ Σc_ij − Σ√(c_ij c_ji), with M twice the largest degree of c + cᵀ.",
        "Both bounds hold at every state: above, because the product c_ij c_ji of two opposite synapses is "
        "kept; below, because half a step at every unit at once lowers C by at least ½Σ_i(√a_i − √b_i)².",
        ("a_i and b_i are the incoming and outgoing costs of unit i, without self-loops",),
        ("S.gradient-flow",),
    ),
    _pending(
        "S.noise",
        "Balancing raises the robustness to noise",
        f"{STOCK}, Results and Methods",
        "Balancing provably makes the network more robust to noise.",
        "Isotropic noise of variance σ² in x disturbs ẋ by σ²·Σ r_j J_ij² in the mean square, r_j the mean "
        "of φ′(x_j)²; r is kept by the transform, so this is the cost with p = 2, α_ij = r_j, and it "
        "falls. The statement is about the hidden state, to first order in σ; the noise in the output may "
        "rise.",
        ("φ′ exists at the states visited", "isotropic noise, small"),
        ("S.gradient-flow", "S.trajectories"),
    ),
    _pending(
        "S.rank-one",
        "Closed form for rank one",
        f"{STOCK}, the authors' code",
        "For J and α of rank one the balanced state has a closed form.",
        "For J_ij = u_i v_j and α_ij = a_i b_j with nonzero entries, a, b > 0, the balanced scales are h_i "
        "= log(a_i/b_i)/2p + ½·log(|u_i|/|v_i|) up to a common constant, in the paper's sign (J_ij → "
        "e^{−h_i}J_ij e^{h_j}).",
        ("no entry of u, v, a, b is 0",),
        ("S.osborne",),
    ),
    _pending(
        "S.euler",
        "Euler steps of the rule",
        f"{STOCK}, the authors' code",
        "Euler steps on J approximate the flow and keep what it keeps.",
        "A step of size dt multiplies J_ij by 1 + dt·(g_j − g_i)/τ: cycle products drift by a term of "
        "order dt², and a factor below 0 turns signs. Steps on h, or factors exp(dt·(g_j − g_i)/τ), keep "
        "the invariants exactly.",
        (),
        ("S.conserved",),
    ),
    _pending(
        "S.heterosynaptic",
        "What the rule predicts for plasticity",
        f"{STOCK}, Discussion",
        "The rule predicts heterosynaptic changes: after one synapse is potentiated, the others of the two "
        "neurons change in definite directions.",
        "ΔJ_ij has the sign of (g_j − g_i)·J_ij. Raising c_ij at balance makes g_i > 0 > g_j: then |J_ij| "
        "itself falls, the other incoming synapses of i and outgoing synapses of j weaken, the outgoing "
        "synapses of i and incoming synapses of j strengthen, where the partner neuron is balanced.",
        ("the state before was balanced",),
        ("S.gradient-flow",),
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

CLAIMS: tuple[ClaimFunction, ...] = (*PAPER_B, *PAPER_S, *RELATED)
