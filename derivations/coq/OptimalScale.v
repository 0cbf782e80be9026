(** * The best scale of one unit

    Claims [B.optimal-scale-lp] and [B.cost-reduction] (Theorem 3.1 of [B]), for activations of any degree
    c > 0 and the regularizer sum |w|^p, p > 0. *)

From Balproof Require Import Sums Homogeneous.

(** |w|^p, which is 0 at w = 0. *)
Definition apow (w p : R) : R := if Req_EM_T w 0 then 0 else Rpower (Rabs w) p.

Lemma apow_nonneg w p : 0 <= apow w p.
Proof. unfold apow. destruct (Req_EM_T w 0); [lra|apply Rlt_le, Rpower_pos]. Qed.

Lemma apow_pos w p : w <> 0 -> 0 < apow w p.
Proof. intros H. unfold apow. destruct (Req_EM_T w 0); [contradiction|apply Rpower_pos]. Qed.

Lemma apow_scale s w p : 0 < s -> apow (s * w) p = Rpower s p * apow w p.
Proof.
  intros Hs. unfold apow. destruct (Req_EM_T w 0) as [->|Hw].
  - destruct (Req_EM_T (s * 0) 0); [ring|exfalso; lra].
  - destruct (Req_EM_T (s * w) 0) as [E|_].
    + exfalso. destruct (Rmult_integral _ _ E); lra.
    + rewrite Rabs_mult, (Rabs_pos_eq s) by lra.
      symmetry. apply Rpower_mult_distr; [assumption|apply Rabs_pos_lt; assumption].
Qed.

(** ** The cost as a function of the scale *)

Section Scale.
(** A: cost of the incoming weights; B: of the outgoing ones; p, q: their exponents (q = p c). *)
Variables A B p q : R.
Hypotheses (HA : 0 < A) (HB : 0 < B) (Hp : 0 < p) (Hq : 0 < q).

Definition cost (s : R) : R := A * Rpower s p + B * Rpower s (- q).

Definition best : R := Rpower (q * B / (p * A)) (/ (p + q)).

Let M := q * B / (p * A).
Lemma M_pos : 0 < M.
Proof. unfold M. apply Rdiv_lt_0_compat; apply Rmult_lt_0_compat; assumption. Qed.

Lemma ln_best : ln best * (p + q) = ln M.
Proof. unfold best, Rpower. rewrite ln_exp. fold M. field. lra. Qed.

(** At the best scale the weighted costs agree. *)
Lemma balance_at_best : p * (A * Rpower best p) = q * (B * Rpower best (- q)).
Proof.
  unfold Rpower.
  assert (p * A * exp (p * ln best) = q * B * exp (- q * ln best)).
  { replace (q * B) with (p * A * exp (ln M)).
    - rewrite <- ln_best. rewrite (Rmult_assoc (p * A)), <- exp_plus. do 2 f_equal. ring.
    - rewrite exp_ln by apply M_pos. unfold M. field. split; lra. }
  lra.
Qed.

(** The excess over the best cost is a sum of two terms e^x - 1 - x, which are positive for x <> 0. *)
Lemma excess (s : R) : 0 < s ->
  cost s - cost best
  = A * Rpower best p * (exp (p * (ln s - ln best)) - 1 - p * (ln s - ln best))
  + B * Rpower best (- q) * (exp (- q * (ln s - ln best)) - 1 - - q * (ln s - ln best)).
Proof.
  intros Hs. unfold cost. pose proof balance_at_best as E.
  set (u := ln s - ln best).
  assert (P : forall r, Rpower s r = Rpower best r * exp (r * u)).
  { intros r. unfold Rpower, u. rewrite <- exp_plus. f_equal. ring. }
  rewrite !P.
  replace (A * Rpower best p * (exp (p * u) - 1 - p * u))
    with (A * Rpower best p * (exp (p * u) - 1) - p * (A * Rpower best p) * u) by ring.
  rewrite E. ring.
Qed.

(** [B.optimal-scale-lp]: the best scale is the only minimum. *)
Theorem best_is_strict_minimum (s : R) : 0 < s -> s <> best -> cost best < cost s.
Proof.
  intros Hs Hne.
  assert (Hu : ln s - ln best <> 0).
  { intros E. apply Hne. apply ln_inv; [assumption|apply Rpower_pos|lra]. }
  pose proof (excess s Hs) as X.
  pose proof (exp_ineq1 (p * (ln s - ln best)) ltac:(apply Rmult_integral_contrapositive; lra)).
  pose proof (exp_ineq1 (- q * (ln s - ln best)) ltac:(apply Rmult_integral_contrapositive; lra)).
  pose proof (Rmult_lt_0_compat _ _ HA (Rpower_pos best p)).
  pose proof (Rmult_lt_0_compat _ _ HB (Rpower_pos best (- q))).
  assert (0 < cost s - cost best); [|lra]. rewrite X.
  apply Rplus_lt_0_compat; apply Rmult_lt_0_compat; lra.
Qed.

(** A scale is the best one just if the weighted costs agree there. *)
Theorem best_iff_balanced (s : R) : 0 < s ->
  p * (A * Rpower s p) = q * (B * Rpower s (- q)) <-> s = best.
Proof.
  intros Hs; split; [|intros ->; apply balance_at_best].
  intros E. apply ln_inv; [assumption|apply Rpower_pos|].
  apply Rmult_eq_reg_r with (p + q); [|lra]. rewrite ln_best. unfold M.
  assert (q * B / (p * A) = Rpower s (p + q)).
  { rewrite Rpower_plus. rewrite Rpower_Ropp in E. pose proof (Rpower_pos s q).
    apply Rmult_eq_reg_r with (p * A); [|apply Rmult_integral_contrapositive; lra].
    transitivity (q * B); [field; split; lra|].
    apply Rmult_eq_reg_r with (/ Rpower s q); [|apply Rinv_neq_0_compat; lra].
    transitivity (q * (B * / Rpower s q)); [ring|]. rewrite <- E. field. lra. }
  rewrite H. unfold Rpower. rewrite ln_exp. ring.
Qed.

End Scale.

(** ** The claims, for lists of weights, each with a coefficient *)

Section Claims.
(** Pairs of coefficient and weight. *)
Variables (ins outs : list (R * R)) (p c : R).

(** The cost of the unit's weights after a scaling by s. *)
Definition unit_cost (s : R) : R :=
  (Σ w ∈ ins, fst w * apow (s * snd w) p) + (Σ w ∈ outs, fst w * apow (snd w / Rpower s c) p).

Let A := Σ w ∈ ins, fst w * apow (snd w) p.
Let B := Σ w ∈ outs, fst w * apow (snd w) p.

Lemma unit_cost_is (s : R) : 0 < s -> unit_cost s = cost A B p (p * c) s.
Proof.
  intros Hs. unfold unit_cost, cost, A, B. f_equal.
  - rewrite Rmult_comm, <- sum_scal. apply sum_ext. intros w _.
    rewrite apow_scale by assumption. ring.
  - rewrite Rmult_comm, <- sum_scal. apply sum_ext. intros w _.
    unfold Rdiv. rewrite (Rmult_comm (snd w)), apow_scale by apply Rinv_0_lt_compat, Rpower_pos.
    rewrite <- Rpower_Ropp, Rpower_mult. replace (- c * p) with (- (p * c)) by ring. ring.
Qed.

Hypotheses (HA : 0 < A) (HB : 0 < B) (Hp : 0 < p) (Hc : 0 < c).

Definition optimal_scale : R := Rpower (c * B / A) (/ (p * (1 + c))).

Lemma optimal_scale_is : optimal_scale = best A B p (p * c).
Proof.
  unfold optimal_scale, best. f_equal; [field; split; lra|f_equal; ring].
Qed.

(** [B.optimal-scale-lp] at any degree: the minimum is at one scale only, given in closed form. *)
Theorem optimal_scale_lp (s : R) :
  0 < s -> s <> optimal_scale -> unit_cost optimal_scale < unit_cost s.
Proof.
  rewrite optimal_scale_is. intros Hs Hne.
  rewrite !unit_cost_is by (assumption || apply Rpower_pos).
  apply best_is_strict_minimum; auto; apply Rmult_lt_0_compat; assumption.
Qed.

(** There the incoming cost is c times the outgoing cost, and nowhere else. *)
Theorem balance_lp (s : R) : 0 < s ->
  (Σ w ∈ ins, fst w * apow (s * snd w) p) = c * (Σ w ∈ outs, fst w * apow (snd w / Rpower s c) p) <-> s = optimal_scale.
Proof.
  intros Hs. rewrite optimal_scale_is.
  rewrite <- (best_iff_balanced A B p (p * c)) by (auto; apply Rmult_lt_0_compat; assumption).
  assert (E1 : (Σ w ∈ ins, fst w * apow (s * snd w) p) = A * Rpower s p).
  { unfold A. rewrite Rmult_comm, <- sum_scal. apply sum_ext. intros.
    rewrite apow_scale by assumption. ring. }
  assert (E2 : (Σ w ∈ outs, fst w * apow (snd w / Rpower s c) p) = B * Rpower s (- (p * c))).
  { unfold B. rewrite Rmult_comm, <- sum_scal. apply sum_ext. intros w _.
    unfold Rdiv. rewrite (Rmult_comm (snd w)), apow_scale by apply Rinv_0_lt_compat, Rpower_pos.
    rewrite <- Rpower_Ropp, Rpower_mult. replace (- c * p) with (- (p * c)) by ring. ring. }
  rewrite E1, E2. split; intros E.
  - rewrite E. ring.
  - apply Rmult_eq_reg_l with p; [rewrite E; ring|lra].
Qed.

(** [B.cost-reduction] at any degree. *)
Theorem cost_reduction_degree :
  unit_cost 1 - unit_cost optimal_scale
  = A + B - (1 + c) * Rpower c (- (c / (1 + c))) * Rpower A (c / (1 + c)) * Rpower B (/ (1 + c)).
Proof.
  rewrite !unit_cost_is by (apply Rpower_pos || lra). unfold cost. rewrite !Rpower_1_base.
  unfold optimal_scale. rewrite !Rpower_mult.
  assert (E : forall r, Rpower (c * B / A) r = Rpower c r * Rpower B r * Rpower A (- r)).
  { intros r. unfold Rdiv, Rpower. rewrite !ln_mult, ln_Rinv by
      (auto; try apply Rmult_lt_0_compat; auto; apply Rinv_0_lt_compat; auto).
    rewrite <- !exp_plus. f_equal. ring. }
  rewrite !E.
  replace (/ (p * (1 + c)) * p) with (1 - c / (1 + c)) by (field; split; lra).
  replace (/ (p * (1 + c)) * - (p * c)) with (- (c / (1 + c))) by (field; split; lra).
  replace (/ (1 + c)) with (1 - c / (1 + c)) by (field; lra).
  set (r := c / (1 + c)).
  replace (- (1 - r)) with (r + - (1)) by ring. rewrite Ropp_involutive.
  replace (1 - r) with (- r + 1) by ring. rewrite !Rpower_plus.
  rewrite (Rpower_Ropp A 1), !Rpower_1 by assumption.
  assert (B * Rpower B (- r) = B * Rpower B (- r)) by reflexivity. field. lra.
Qed.

(** The gain is never negative, and 0 only for a unit that is balanced already. *)
Theorem cost_reduction_zero :
  0 <= unit_cost 1 - unit_cost optimal_scale /\
  (unit_cost 1 - unit_cost optimal_scale = 0 <-> A = c * B).
Proof.
  assert (E : 1 = optimal_scale <-> A = c * B).
  { rewrite <- balance_lp by lra. rewrite Rpower_1_base.
    rewrite (sum_ext ins _ (fun w => fst w * apow (snd w) p)) by (intros; rewrite Rmult_1_l; reflexivity).
    rewrite (sum_ext outs _ (fun w => fst w * apow (snd w) p)) by (intros; unfold Rdiv; rewrite Rinv_1, Rmult_1_r; reflexivity).
    fold A B. reflexivity. }
  destruct (Req_dec 1 optimal_scale) as [H|H].
  - rewrite <- H. split; [lra|]. split; [intros _; apply E, H|lra].
  - pose proof (optimal_scale_lp 1 Rlt_0_1 H). split; [lra|].
    split; [lra|]. intros X. exfalso. apply H, E, X.
Qed.

End Claims.

(** [B.cost-reduction] as printed, for degree 1: one balancing lowers the cost by (sqrt A - sqrt B)^2. *)
Theorem cost_reduction (ins outs : list (R * R)) (p : R) :
  let A := Σ w ∈ ins, fst w * apow (snd w) p in
  let B := Σ w ∈ outs, fst w * apow (snd w) p in
  0 < A -> 0 < B -> 0 < p ->
  unit_cost ins outs p 1 1 - unit_cost ins outs p 1 (optimal_scale ins outs p 1) = (sqrt A - sqrt B) ^ 2.
Proof.
  intros A B HA HB Hp. rewrite cost_reduction_degree by (assumption || lra). fold A B.
  replace (1 / (1 + 1)) with (/ 2) by field. replace (/ (1 + 1)) with (/ 2) by field.
  rewrite Rpower_1_base, !Rpower_sqrt by assumption.
  replace ((sqrt A - sqrt B) ^ 2) with (sqrt A * sqrt A + sqrt B * sqrt B - 2 * (sqrt A * sqrt B)) by ring.
  rewrite !sqrt_sqrt by lra. ring.
Qed.

(** The same number at degree 1 in the form that is printed. *)
Theorem optimal_scale_printed (ins outs : list (R * R)) (p : R) :
  let A := Σ w ∈ ins, fst w * apow (snd w) p in
  let B := Σ w ∈ outs, fst w * apow (snd w) p in
  optimal_scale ins outs p 1 = Rpower (B / A) (1 / (2 * p)).
Proof.
  intros A B. unfold optimal_scale, Rdiv. rewrite !Rmult_1_l.
  replace (p * (1 + 1)) with (2 * p) by ring. reflexivity.
Qed.

(** ** Example: the hypotheses can be met. Twin: without outgoing weights there is no best scale. *)

Fact one_weight_each : 0 < (Σ w ∈ [(1, 3)], fst w * apow (snd w) 2).
Proof. simpl. pose proof (apow_pos 3 2). lra. Qed.

Fact no_outgoing_weights (s : R) : 0 < s -> unit_cost [(1, 1)] [] 1 1 (s / 2) < unit_cost [(1, 1)] [] 1 1 s.
Proof.
  intros Hs. unfold unit_cost. simpl. rewrite !Rmult_1_r, !Rmult_1_l.
  rewrite <- (Rmult_1_r (s / 2)), <- (Rmult_1_r s), !apow_scale by lra.
  rewrite !Rpower_1 by lra. pose proof (apow_pos 1 1). nra.
Qed.
