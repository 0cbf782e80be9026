(** * Part of the step that balances, or more than that

    Claim [B.favorable] (Remark 5.8 of [B] with the hypotheses that it needs): a unit is scaled by the power
    theta of its best scale. The step brings a share of what the whole step would bring, and steps that
    bring a fixed share converge ([Convergence]). *)

From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence.

(** ** cosh (r x) - 1 <= r^2 (cosh x - 1) *)

Lemma cosh_increases u v : 0 <= u <= v -> cosh u <= cosh v.
Proof.
  intros H. unfold cosh.
  assert (exp u <= exp v) by (destruct (Req_dec u v) as [->|]; [lra|apply Rlt_le, exp_increasing; lra]).
  assert (E : exp (- u) - exp (- v) = (exp v - exp u) * exp (- (u + v))).
  { rewrite Rmult_minus_distr_r, <- !exp_plus. f_equal; [|f_equal]; f_equal; ring. }
  assert (exp (- (u + v)) <= 1).
  { rewrite <- exp_0. destruct (Req_dec (u + v) 0) as [->|]; [rewrite Ropp_0; lra|].
    apply Rlt_le, exp_increasing. lra. }
  assert ((exp v - exp u) * exp (- (u + v)) <= (exp v - exp u) * 1) by (apply Rmult_le_compat_l; lra). lra.
Qed.

Lemma sinh_share r y : 0 <= r <= 1 -> 0 <= y -> 0 <= sinh (r * y) <= r * sinh y.
Proof.
  intros Hr Hy.
  assert (Pos : forall x, 0 <= x -> 0 <= sinh x).
  { intros x Hx. unfold sinh. destruct (Req_dec x 0) as [->|]; [rewrite Ropp_0, exp_0; lra|].
    pose proof (exp_increasing (- x) x ltac:(lra)). lra. }
  split; [apply Pos, Rmult_le_pos; lra|].
  destruct (MVT_gen (fun y => r * sinh y - sinh (r * y)) 0 y (fun y => r * (cosh y - cosh (r * y))))
    as (c & Hc & E).
  - intros x _. unfold sinh, cosh. auto_derive; [exact I|field].
  - intros x _. apply continuity_pt_filterlim, (ex_derive_continuous (fun y => r * sinh y - sinh (r * y))).
    unfold sinh. auto_derive. exact I.
  - rewrite Rmin_left, Rmax_right in Hc by lra. rewrite Rmult_0_r, sinh_0 in E.
    assert (0 <= r * (cosh c - cosh (r * c))).
    { apply Rmult_le_pos; [lra|]. pose proof (cosh_increases (r * c) c ltac:(split; nra)). lra. }
    assert (0 <= r * (cosh c - cosh (r * c)) * (y - 0)) by (apply Rmult_le_pos; lra). lra.
Qed.

Lemma cosh_half x : cosh x - 1 = 2 * (sinh (x / 2) * sinh (x / 2)).
Proof.
  unfold cosh, sinh. replace (exp x) with (exp (x / 2) * exp (x / 2)) by (rewrite <- exp_plus; f_equal; field).
  replace (exp (- x)) with (exp (- (x / 2)) * exp (- (x / 2))) by (rewrite <- exp_plus; f_equal; field).
  assert (exp (x / 2) * exp (- (x / 2)) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0). nra.
Qed.

Lemma cosh_even x : cosh (Rabs x) = cosh x.
Proof. unfold Rabs. destruct (Rcase_abs x); [|reflexivity]. unfold cosh. rewrite Ropp_involutive. lra. Qed.

Lemma cosh_above_1 x : 0 <= cosh x - 1.
Proof. rewrite cosh_half. pose proof (Rle_0_sqr (sinh (x / 2))). unfold Rsqr in *. lra. Qed.

Lemma cosh_share r x : -1 <= r <= 1 -> cosh (r * x) - 1 <= r * r * (cosh x - 1).
Proof.
  intros Hr. rewrite <- (cosh_even (r * x)), <- (cosh_even x), Rabs_mult.
  assert (Hr' : 0 <= Rabs r <= 1) by (split; [apply Rabs_pos|apply Rabs_le; lra]).
  pose proof (Rabs_pos x). rewrite !cosh_half.
  pose proof (sinh_share (Rabs r) (Rabs x / 2) Hr' ltac:(lra)) as [S0 S1].
  replace (Rabs r * (Rabs x / 2)) with (Rabs r * Rabs x / 2) in * by field.
  set (s := sinh (Rabs r * Rabs x / 2)) in *. set (t := sinh (Rabs x / 2)) in *.
  replace (r * r) with (Rabs r * Rabs r) by (rewrite <- Rabs_mult; apply Rabs_pos_eq; nra).
  assert (s * s <= (Rabs r * t) * (Rabs r * t)) by (apply Rmult_le_compat; assumption). lra.
Qed.

(** ** The share of a step *)

Section Shares.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (units : list U) (A : E -> U -> R).

(** From h, unit k is scaled by the power theta of the scale that would balance it: [best] is where the whole
    step would lead, h' where this step leads. *)
Definition part_of_step (psi : E -> R -> R) (theta : R) (k : U) (h best h' : U -> R) : Prop :=
  (forall j, j <> k -> h' j = h j /\ best j = h j) /\ imbalance edges units A psi best k = 0 /\
  h' k = h k + theta * (best k - h k).

(** For all strictly convex costs, any degrees, and theta between 0 and 1, the share is theta. *)
Theorem convex_share (phi psi : E -> R -> R) theta k h best h' :
  strictly_convex_costs edges phi psi -> 0 <= theta <= 1 -> part_of_step psi theta k h best h' ->
  theta * (total_cost edges units A phi h - total_cost edges units A phi best)
  <= total_cost edges units A phi h - total_cost edges units A phi h'.
Proof.
  intros convex Ht (Hoff & _ & Hk). unfold total_cost. rewrite <- !sum_minus, <- sum_scal.
  apply sum_le. intros e He.
  assert (Z : log_scale units A h' e = (1 - theta) * log_scale units A h e + theta * log_scale units A best e).
  { rewrite <- log_scale_mix. apply sum_ext. intros j _. f_equal.
    destruct (eq_dec j k) as [->|Hne]; [rewrite Hk; ring|]. destruct (Hoff j Hne) as [-> ->]. ring. }
  rewrite Z. set (x := log_scale units A h e). set (y := log_scale units A best e).
  set (z := (1 - theta) * x + theta * y).
  pose proof (tangent edges phi psi convex e z x He) as T1. pose proof (tangent edges phi psi convex e z y He) as T2.
  apply (Rmult_le_compat_l (1 - theta)) in T1; [|lra]. apply (Rmult_le_compat_l theta) in T2; [|lra].
  assert (W : (1 - theta) * (psi e z * (x - z)) + theta * (psi e z * (y - z)) = 0).
  { transitivity (psi e z * ((1 - theta) * x + theta * y - z)); [ring|unfold z; ring]. }
  lra.
Qed.

Variables (a p : E -> R).
Hypothesis positive : forall e, In e edges -> 0 < a e /\ 0 < p e.

Notation phi := (fun e => power_cost (a e) (p e)).
Notation psi := (fun e => power_marginal (a e) (p e)).

(** Unit k has degree 1, and its weights have one power q. *)
Definition degree_one_one_power (k : U) (q : R) : Prop :=
  forall e, In e edges -> A e k = 0 \/ (p e = q /\ (A e k = 1 \/ A e k = -1)).

Lemma cost_from_balance k q best x : In k units -> NoDup units -> degree_one_one_power k q ->
  imbalance edges units A psi best k = 0 -> (forall j, j <> k -> x j = best j) ->
  total_cost edges units A phi x = total_cost edges units A phi best
    + (Σ e ∈ edges, A e k * A e k * power_cost (a e) (p e) (log_scale units A best e)) * (cosh (q * (x k - best k)) - 1).
Proof.
  intros Hk Hu Hone Hbal Hoff. set (w := fun e => power_cost (a e) (p e) (log_scale units A best e)).
  assert (S0 : q * (Σ e ∈ edges, A e k * w e) = 0).
  { rewrite <- Hbal, <- sum_scal. apply sum_ext. intros e He. unfold w, power_marginal, power_cost.
    destruct (Hone e He) as [->|[-> _]]; ring. }
  assert (S1 : sinh (q * (x k - best k)) * (Σ e ∈ edges, A e k * w e) = 0).
  { destruct (Rmult_integral _ _ S0) as [->| ->]; [rewrite Rmult_0_l, sinh_0|]; ring. }
  rewrite <- (Rplus_0_r (total_cost edges units A phi best)), <- S1, <- sum_scal_r, <- sum_scal.
  unfold total_cost. rewrite <- !sum_plus. apply sum_ext. intros e He.
  assert (Z : log_scale units A x e = log_scale units A best e + A e k * (x k - best k)).
  { assert (D : log_scale units A (fun j => x j - best j) e = A e k * (x k - best k)).
    { unfold log_scale. rewrite <- (sum_pick eq_dec units (fun j => A e j * (x k - best k)) k Hu Hk).
      apply sum_ext. intros j _. destruct (eq_dec j k) as [->|Hne]; [ring|]. rewrite Hoff by exact Hne. ring. }
    rewrite log_scale_minus in D. lra. }
  rewrite Z. unfold w, power_cost. set (t := x k - best k).
  rewrite Rmult_plus_distr_l, exp_plus. set (f := exp (p e * log_scale units A best e)).
  unfold sinh, cosh. destruct (Hone e He) as [->|[-> [->| ->]]].
  - rewrite Rmult_0_l, Rmult_0_r, exp_0. ring.
  - rewrite Rmult_1_l. field.
  - replace (q * (-1 * t)) with (- (q * t)) by ring. field.
Qed.

(** For degree 1 and one power, and theta between 0 and 2, it is theta (2 - theta). *)
Theorem power_share theta k q h best h' :
  In k units -> NoDup units -> degree_one_one_power k q -> 0 <= theta <= 2 -> part_of_step psi theta k h best h' ->
  theta * (2 - theta) * (total_cost edges units A phi h - total_cost edges units A phi best)
  <= total_cost edges units A phi h - total_cost edges units A phi h'.
Proof.
  intros Hk Hu Hone Ht (Hoff & Hbal & Hhk).
  rewrite (cost_from_balance k q best h Hk Hu Hone Hbal)
    by (intros j Hj; symmetry; apply Hoff, Hj).
  rewrite (cost_from_balance k q best h' Hk Hu Hone Hbal)
    by (intros j Hj; destruct (Hoff j Hj) as [-> ->]; reflexivity).
  rewrite Hhk. set (K := sum edges _). set (t := h k - best k).
  replace (q * (h k + theta * (best k - h k) - best k)) with ((1 - theta) * (q * t)) by (unfold t; ring).
  pose proof (cosh_share (1 - theta) (q * t) ltac:(lra)) as C.
  assert (HK : 0 <= K).
  { apply sum_nonneg. intros e He. apply Rmult_le_pos; [apply Rle_0_sqr|].
    unfold power_cost. apply Rmult_le_pos; [apply Rlt_le, positive, He|apply Rlt_le, exp_pos]. }
  apply (Rmult_le_compat_l K) in C; [|exact HK].
  replace ((1 - theta) * (1 - theta)) with (1 - theta * (2 - theta)) in C by ring. lra.
Qed.

(** ** Convergence *)

(** In each step some unit is scaled by the power theta of its best scale: theta in [delta, 2 - delta] where
    the unit has degree 1 and one power, and in [delta, 1] in any case. *)
Definition relaxed_run (delta : R) (order : nat -> U) (theta : nat -> R) (best h : nat -> U -> R) : Prop :=
  0 < delta /\ forall n, In (order n) units /\ part_of_step psi (theta n) (order n) (h n) (best n) (h (S n)) /\
    (delta <= theta n <= 1 \/ (delta <= theta n <= 2 - delta /\ exists q, degree_one_one_power (order n) q)).

Lemma relaxed_run_shares delta order theta best h : NoDup units ->
  relaxed_run delta order theta best h -> sharing_run edges units A phi psi order delta best h.
Proof.
  intros Hu [Hd run]. split; [exact Hd|]. intros n. destruct (run n) as (Hin & Hpart & Hcase).
  pose proof (power_costs_convex edges a p positive) as convex.
  pose proof Hpart as (Hoff & Hbal & _). split; [exact Hin|]. split; [exact Hoff|]. split; [exact Hbal|].
  assert (Hfall : 0 <= total_cost edges units A phi (h n) - total_cost edges units A phi (best n)).
  { assert (total_cost edges units A phi (best n) <= total_cost edges units A phi (h n)); [|lra].
    apply (step_descends edges units A phi psi convex). intros k _.
    destruct (eq_dec k (order n)) as [->|Hne]; [right; exact Hbal|left; apply Hoff, Hne]. }
  destruct Hcase as [Ht|[Ht [q Hq]]].
  - eapply Rle_trans; [|apply (convex_share phi psi (theta n) (order n)); [exact convex|lra|exact Hpart]].
    apply Rmult_le_compat_r; lra.
  - eapply Rle_trans; [|apply (power_share (theta n) (order n) q); [exact Hin|exact Hu|exact Hq|lra|exact Hpart]].
    apply Rmult_le_compat_r; [exact Hfall|]. nra.
Qed.

(** [B.favorable]: if the optimum is attained and every unit is visited again and again, the weights converge
    to the balanced ones. *)
Theorem relaxed_converges delta order theta best h :
  NoDup units -> (exists x, optimal edges units A phi x) -> relaxed_run delta order theta best h ->
  fair units order -> exists h', balanced edges units A psi h' /\ optimal edges units A phi h' /\
    forall e, In e edges -> is_lim_seq (fun n => log_scale units A (h n) e) (log_scale units A h' e).
Proof.
  intros Hu [x Hx] run visits. pose proof (power_costs_convex edges a p positive) as convex.
  assert (circ : circulation edges units A).
  { exists (fun e => psi e (log_scale units A x e)). split.
    - intros e He. destruct (positive e He). unfold power_marginal. repeat apply Rmult_lt_0_compat; auto using exp_pos.
    - apply (optimal_balanced edges units A phi psi convex x Hx). }
  destruct (sharing_converges eq_dec edges units A phi psi Hu convex
    (fun e t _ => power_marginal_continuous (a e) (p e) t) (power_costs_coercive edges a p positive) circ
    order delta best h (relaxed_run_shares delta order theta best h Hu run) visits) as (h' & Hb & Hlim).
  exists h'. split; [exact Hb|]. split; [|exact Hlim]. apply (balanced_optimal edges units A phi psi convex), Hb.
Qed.

(** Such runs exist, for all orders and all theta. *)
Theorem relaxed_runs_exist (order : nat -> U) (theta : nat -> R) (x : U -> R) :
  NoDup units -> circulation edges units A -> (forall n, In (order n) units) ->
  exists best h, h 0%nat = x /\ forall n, part_of_step psi (theta n) (order n) (h n) (best n) (h (S n)).
Proof.
  intros Hu circ Hin. pose proof (power_costs_convex edges a p positive) as convex.
  set (move := fun (y : U -> R) k (Hk : In k units) => proj1_sig (step_exists eq_dec edges units A phi psi Hu convex
    (fun e t _ => power_marginal_continuous (a e) (p e) t) (power_costs_coercive edges a p positive) circ y k Hk)).
  pose (h := fix h n := match n with
    | O => x
    | S m => put eq_dec (h m) (order m) (h m (order m) + theta m * move (h m) (order m) (Hin m))
    end).
  exists (fun n => put eq_dec (h n) (order n) (h n (order n) + move (h n) (order n) (Hin n))), h.
  split; [reflexivity|]. intros n. split; [|split].
  - intros j Hj. simpl. rewrite !put_other by exact Hj. auto.
  - unfold move. apply (proj2_sig (step_exists _ _ _ _ _ _ _ _ _ _ _ _ _ _)).
  - simpl. rewrite !put_same. ring.
Qed.

End Shares.

(** ** In closed form, for one unit of degree 1 *)

Theorem relaxed_gain_lp (ins outs : list (R * R)) (p theta : R) :
  0 < (Σ w ∈ ins, fst w * apow (snd w) p) -> 0 < (Σ w ∈ outs, fst w * apow (snd w) p) -> 0 < p -> 0 <= theta <= 2 ->
  theta * (2 - theta) * (unit_cost ins outs p 1 1 - unit_cost ins outs p 1 (optimal_scale ins outs p 1))
  <= unit_cost ins outs p 1 1 - unit_cost ins outs p 1 (Rpower (optimal_scale ins outs p 1) theta).
Proof.
  intros HA HB Hp Ht. rewrite !unit_cost_is by (apply Rpower_pos || lra).
  rewrite (optimal_scale_is ins outs p 1) by (assumption || lra). rewrite Rmult_1_r.
  set (A := sum ins _) in *. set (B := sum outs _) in *.
  pose proof (balance_at_best A B p p HA HB Hp Hp) as Bal. set (s := best A B p p) in *.
  assert (Bal' : A * exp (p * ln s) = B * exp (- (p * ln s))).
  { unfold Rpower in Bal. replace (- (p * ln s)) with (- p * ln s) by ring. apply Rmult_eq_reg_l with p; lra. }
  set (m := A * exp (p * ln s)) in *. set (x := p * ln s) in *.
  assert (C : forall r, cost A B p p (Rpower s r) = 2 * m * cosh ((1 - r) * x)).
  { intros r. unfold cost, Rpower, cosh. rewrite ln_exp.
    replace (p * (r * ln s)) with (x + - ((1 - r) * x)) by (unfold x; ring).
    replace (- p * (r * ln s)) with (- x + (1 - r) * x) by (unfold x; ring).
    rewrite !exp_plus, <- !Rmult_assoc, <- Bal'. fold m. field. }
  assert (Hm : 0 < m) by (apply Rmult_lt_0_compat; [exact HA|apply exp_pos]).
  replace (cost A B p p 1) with (cost A B p p (Rpower s 0)) by (rewrite Rpower_O by apply Rpower_pos; reflexivity).
  replace (cost A B p p s) with (cost A B p p (Rpower s 1)) by (rewrite Rpower_1 by apply Rpower_pos; reflexivity).
  rewrite !C, !Rminus_0_r, Rmult_1_l, Rminus_eq_0, Rmult_0_l, cosh_0.
  pose proof (cosh_share (1 - theta) x ltac:(lra)) as H. apply (Rmult_le_compat_l (2 * m)) in H; [|lra].
  replace ((1 - theta) * (1 - theta)) with (1 - theta * (2 - theta)) in H by ring. lra.
Qed.
