(** * What balancing keeps

    Claims [S.conserved] and [B.self-consistency] (Proposition 5.4 of [B], in its safe form). *)

From Balproof Require Import Sums Balance LinearAlgebra Convergence Graphs Gradient.

(** For every n with A^T n = 0 the product of |w_e|^(n_e) is kept by all rescalings; here, its logarithm. *)
Theorem null_vector_invariant {E U : Type} (edges : list E) (units : list U) (A : E -> U -> R) (n w : E -> R) h :
  (forall k, In k units -> (Σ e ∈ edges, A e k * n e) = 0) ->
  (forall e, In e edges -> w e <> 0) ->
  (Σ e ∈ edges, n e * ln (Rabs (act units A h w e))) = Σ e ∈ edges, n e * ln (Rabs (w e)).
Proof.
  intros Hn Hw.
  rewrite (sum_ext edges _ (fun e => n e * ln (Rabs (w e)) + n e * log_scale units A h e)).
  - rewrite sum_plus, adjoint, (sum_zero units); [ring|].
    intros k Hk. rewrite Hn by exact Hk. ring.
  - intros e He. unfold act. rewrite Rabs_mult, (Rabs_pos_eq (exp _)) by apply Rlt_le, exp_pos.
    rewrite ln_mult, ln_exp; [ring|apply Rabs_pos_lt, Hw, He|apply exp_pos].
Qed.

(** Signs are kept. *)
Theorem sign_invariant {E U : Type} (units : list U) (A : E -> U -> R) (w : E -> R) h e :
  w e <> 0 -> 0 < w e * act units A h w e.
Proof.
  intros Hw. unfold act. pose proof (exp_pos (log_scale units A h e)). assert (0 < w e * w e) by nra. nra.
Qed.

(** There are no other invariants of this kind: log-scales of weights are those of a rescaling just if all
    vectors n with A^T n = 0 vanish on them. *)
Theorem self_consistent_iff {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k})
    (edges : list E) (units : list U) (A : E -> U -> R) (L : E -> R) : NoDup units ->
  (exists h, forall e, In e edges -> log_scale units A h e = L e) <->
  (forall n, (forall k, In k units -> (Σ e ∈ edges, A e k * n e) = 0) -> (Σ e ∈ edges, n e * L e) = 0).
Proof.
  intros Hu. split.
  - intros [h Hh] n Hn. rewrite (sum_ext edges _ (fun e => n e * log_scale units A h e))
      by (intros; rewrite Hh by assumption; reflexivity).
    rewrite adjoint. apply sum_zero. intros k Hk. rewrite Hn by exact Hk. ring.
  - intros H. destruct (span_or_functional eq_dec edges A units Hu L) as [X|(b & Hb & Hb1)]; [exact X|].
    rewrite (H b Hb) in Hb1. lra.
Qed.

(** ** Products along walks *)

Section Walks.
Context {E U : Type}.
Variables (edges : list E) (source target : E -> option U).

Fixpoint product (w : E -> R) (l : list E) : R :=
  match l with [] => 1 | e :: r => w e * product w r end.

Theorem product_along_walk h w a b l : walk edges source target a b l ->
  product (rescaled source target h w) l = exp (node_scale h b) / exp (node_scale h a) * product w l.
Proof.
  intros W. induction W as [n|e n l He _ IH].
  - simpl. field. apply Rgt_not_eq, exp_pos.
  - simpl. rewrite IH. unfold rescaled. field. split; apply Rgt_not_eq, exp_pos.
Qed.

(** [S.conserved]: the product along every directed cycle is kept. *)
Corollary cycle_product h w a l : walk edges source target a a l ->
  product (rescaled source target h w) l = product w l.
Proof.
  intros W. rewrite (product_along_walk h w a a l W). field. apply Rgt_not_eq, exp_pos.
Qed.

(** [S.conserved], [B.self-consistency]: so is the product along every path from input to output. *)
Corollary path_product h w l : walk edges source target None None l ->
  product (rescaled source target h w) l = product w l.
Proof. apply cycle_product. Qed.

End Walks.
