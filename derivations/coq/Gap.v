(** * The certificate of the gap to the optimum

    From any y > 0 with A^T (p y) = 0, a lower bound on the cost of all rescalings: no solver need be
    trusted, as any such y will do. *)

From Balproof Require Import Sums Balance.

Section Gap.
Context {E U : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R) (a p : E -> R).
Hypothesis positive : forall e, In e edges -> 0 < a e /\ 0 < p e.

Let total := total_cost edges units A (fun e => power_cost (a e) (p e)).

(** The cost of weight e at h. *)
Definition omega (h : U -> R) (e : E) : R := power_cost (a e) (p e) (log_scale units A h e).

Lemma gap_of_one_weight (o y u : R) : 0 < o -> 0 < y -> o + y * u - (y - o) ^ 2 / o <= o * exp u.
Proof.
  intros Ho Hy.
  set (x := y / o). assert (Hx : 0 < x) by (apply Rdiv_lt_0_compat; assumption).
  assert (Exp : x * (1 + (u - ln x)) <= exp u).
  { replace (exp u) with (x * exp (u - ln x)).
    - apply Rmult_le_compat_l; [lra|apply exp_ineq1_le].
    - rewrite <- (exp_ln x Hx) at 1. rewrite <- exp_plus. f_equal. ring. }
  assert (Ln : ln x <= x - 1).
  { pose proof (exp_ineq1_le (ln x)) as X. rewrite exp_ln in X by exact Hx. lra. }
  assert (B : x * (2 + u - x) <= exp u).
  { eapply Rle_trans; [|exact Exp]. apply Rmult_le_compat_l; lra. }
  replace (o + y * u - (y - o) ^ 2 / o) with (o * (x * (2 + u - x))) by (unfold x; field; lra).
  apply Rmult_le_compat_l; lra.
Qed.

Theorem chi_square_gap (y : E -> R) (h h' : U -> R) :
  (forall e, In e edges -> 0 < y e) ->
  (forall k, In k units -> (Σ e ∈ edges, A e k * (p e * y e)) = 0) ->
  total h - (Σ e ∈ edges, (y e - omega h e) ^ 2 / omega h e) <= total h'.
Proof.
  intros Hy Hc.
  assert (Z : (Σ e ∈ edges, p e * y e * log_scale units A (fun k => h' k - h k) e) = 0).
  { rewrite (adjoint edges units A (fun e => p e * y e)). apply sum_zero.
    intros k Hk. rewrite Hc by exact Hk. ring. }
  assert (S : (Σ e ∈ edges, (omega h e + y e * (p e * log_scale units A (fun k => h' k - h k) e)
      - (y e - omega h e) ^ 2 / omega h e)) <= total h').
  { apply sum_le. intros e He. destruct (positive e He) as [Ha Hp].
    replace (power_cost (a e) (p e) (log_scale units A h' e))
      with (omega h e * exp (p e * log_scale units A (fun k => h' k - h k) e)).
    - apply gap_of_one_weight; [|apply Hy, He]. apply Rmult_lt_0_compat; [exact Ha|apply exp_pos].
    - unfold omega, power_cost. rewrite log_scale_minus, Rmult_assoc, <- exp_plus. do 2 f_equal. ring. }
  rewrite sum_minus, sum_plus in S.
  rewrite (sum_ext edges (fun e => y e * (p e * log_scale units A (fun k => h' k - h k) e))
    (fun e => p e * y e * log_scale units A (fun k => h' k - h k) e)) in S by (intros; ring).
  rewrite Z in S. unfold total, total_cost, omega in *. lra.
Qed.

End Gap.
