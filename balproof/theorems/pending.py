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
) -> ClaimFunction:
    def unchecked() -> Findings:
        return Findings(Printed(Verdict.undecided, "not checked yet"))

    return claim(Claim(name, title, source, printed, exact, assumptions, None, depends))(unchecked)


PAPER_B: tuple[ClaimFunction, ...] = (
    _pending(
        "B.architectures",
        "Balancing beyond layered networks",
        f"{PAPER}, Section 6; Alexos, Domingo, Baldi, AAAI 2025, on convolutions",
        "Balancing works in networks without layers, recurrent and convolutional networks, and networks "
        "with mixed activations; the AAAI paper excludes convolutions.",
        "For each architecture the rescalings that keep the function form a linear space of log-scales L = "
        "A h, whose dimension, basis and blocked units follow from the scaling rules of its operations. "
        "Shared weights are one tensor for which the equations of every use hold; so the channels of a "
        "convolution can scale.",
        ("every operation is known to the rules; whatever is not known pins its operands",),
        ("B.scaling-preserves",),
    ),
    _pending(
        "B.gd-does-not-balance",
        "Gradient descent on the error alone does not balance",
        f"{PAPER}, Section 4",
        "Gradient descent on E alone does not in general reach balance, not even from a balanced start.",
        "Along ẇ = −∇E each D_i = Σ_IN w² − Σ_OUT w² is constant, so what is unbalanced at first stays so. "
        "A step of size η gives exactly D_i′ = D_i + η²(‖∇_IN E‖² − ‖∇_OUT E‖²), so a balanced start "
        "leaves balance wherever the two gradient norms differ.",
        ("E is differentiable along the path", "activations of degree 1", "the regularizer is Σw²"),
        ("B.gradient-identity",),
    ),
    _pending(
        "B.gd-regularized-balances",
        "Gradient descent on error plus regularizer ends in balance",
        f"{PAPER}, Section 4",
        "Gradient descent on E + R must converge to a balanced state.",
        "Every critical point of E + R is balanced. With R = (μ/2)Σw², the flow has D_i(t) = "
        "D_i(0)e^{−2μt} and a step of size η gives D_i′ = (1−ημ)²D_i + η²(‖∇_IN E‖² − ‖∇_OUT E‖²).",
        (
            "E and R differentiable at the point",
            "full gradients: minibatch noise leaves a floor of order η/μ",
        ),
        ("B.gradient-identity", "B.balance-equation"),
    ),
    _pending(
        "B.progress",
        "Balance measures the progress of learning",
        f"{PAPER}, Section 4 and simulations",
        "How balanced a network is can be used to assess how far learning has come.",
        "Along the gradient flow of E + (μ/2)Σw² the deficit Σ_i D_i² falls at the rate 4μ exactly, "
        "whatever E is. That the deficit tells anything about E itself is an empirical question.",
        ("activations of degree 1",),
        ("B.gd-regularized-balances",),
    ),
    _pending(
        "B.self-consistency",
        "Which log-scales of weights come from scales of units",
        f"{PAPER}, Def 5.2 and Prop 5.4",
        "Log-scales L of the weights are self-consistent exactly if they sum to 0 along every directed "
        "path from input to output and around every directed cycle.",
        "L = A h for some h exactly if the signed sum of L vanishes around every cycle of the undirected "
        "graph in which the visible units are merged into one; for a connected graph with m edges and n "
        "hidden units these are m − n independent equations. Directed paths and cycles are enough where "
        "every unit lies on a walk from an input to an output.",
        ("activations of degree 1",),
        ("B.scaling-preserves",),
    ),
    _pending(
        "B.schedules",
        "Any schedule of balancing gives the same state",
        f"{PAPER}, Remark 5.7",
        "Deterministic, tied and partial schedules end in the same balanced state as the random one.",
        "Every schedule of exact single-unit balancings that returns to each unit infinitely often has the "
        "same limit. Scales tied over a group of units minimise over a smaller space: R_tied ≥ R*, and "
        "they are equal exactly if the balanced state itself can be reached with tied scales.",
        ("the minimum is attained",),
        ("B.stochastic-balancing", "B.existence"),
    ),
    _pending(
        "B.simultaneous",
        "Balancing several units at once",
        f"{PAPER}, Section 5 (implied)",
        "Several units may be balanced at the same time.",
        "Units without a common weight may be balanced at once, with the same result as one after the "
        "other. If all units of one common degree c > 0 are balanced at once, R does not rise, because s_i "
        "s_j^{−c} ≤ (s_i^{1+c} + c·s_j^{−1−c})/(1+c); but the iteration need not converge.",
        ("one exponent p", "dead units stay as they are"),
        ("B.optimal-scale-lp",),
    ),
    _pending(
        "B.tied-layers",
        "Layer-wise balancing has a closed form",
        f"{PAPER}, appendix",
        "If all units of a layer share one scale, the optimal scales have a closed form.",
        "In a chain of l layers with costs R_1, …, R_l > 0 the optimum gives every layer the cost "
        "(R_1·…·R_l)^{1/l}; the single step is λ_k = (R_{k+1}/R_k)^{1/2p}.",
        ("degree 1", "one exponent p", "no bias in the cost"),
        ("B.optimal-scale-lp",),
    ),
    _pending(
        "B.universality",
        "Networks of BiLU units approximate every continuous function",
        f"{PAPER}, Section 2",
        "A single hidden layer of BiLU units suffices to approximate any continuous function.",
        "If a² ≠ b², max(x, 0) = (b·f(x) + a·f(−x))/(b² − a²), so one hidden layer of BiLU units computes "
        "whatever one of ReLU units does and universality carries over. If a = −b ≠ 0, f is a multiple of "
        "|x| and the missing linear map is |x + T| − T on a bounded set. If a = b, f is linear and the "
        "network too: not universal.",
        ("a ≠ b, where f(x) = a·x for x < 0 and b·x for x ≥ 0", "universality of ReLU networks is cited"),
        ("B.homogeneous-iff-bilu",),
    ),
    _pending(
        "B.locality",
        "Balancing a unit is local",
        f"{PAPER}, Section 3",
        "To balance, a unit needs only its own incoming and outgoing weights.",
        "The exact coordinate step of scale k reads and changes only the weights e with A_ek ≠ 0.",
        (),
        ("B.optimal-scale-general",),
    ),
    _pending(
        "B.learning",
        "Balancing helps learning",
        f"{PAPER}, simulations; Alexos, Domingo, Baldi, AAAI 2025",
        "Balancing before or during training makes learning faster and the result more accurate.",
        "Empirical: to be replicated with paired runs over many seeds and reported as an effect with an "
        "interval; nothing about it can be proved.",
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

CLAIMS: tuple[ClaimFunction, ...] = (*PAPER_B, *PAPER_S)
