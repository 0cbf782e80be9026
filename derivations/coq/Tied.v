(** * Scales tied over groups of units

    Claim [B.schedules] (Remark 5.7 of [B]): units of a group share one scale. That is the problem of
    [Balance] again, with one column for each group, the sum of the columns of its units; so all that is
    said of convergence holds of it. Its optimum costs at least as much as that of free scales, and as much
    only if some tied scaling balances every unit. *)

From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence.

Section Tied.
Context {E U G : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}) (group_dec : forall g g' : G, {g = g'} + {g <> g'}).
Variables (edges : list E) (units : list U) (groups : list G) (A : E -> U -> R) (phi psi : E -> R -> R).
Variable group : U -> G.

(** The scales of the units where those of the groups are [s]. *)
Definition spread (s : G -> R) (k : U) : R := s (group k).

(** The column of a group. *)
Definition tied (e : E) (g : G) : R := Σ k ∈ units, if group_dec (group k) g then A e k else 0.

Hypothesis groups_once : NoDup groups.
Hypothesis grouped : forall k, In k units -> In (group k) groups.

Lemma tied_scale (s : G -> R) e : log_scale groups tied s e = log_scale units A (spread s) e.
Proof.
  unfold log_scale, tied, spread.
  rewrite (sum_ext groups _ (fun g => Σ k ∈ units, if group_dec g (group k) then A e k * s g else 0)).
  - rewrite sum_swap. apply sum_ext. intros k Hk.
    apply (sum_pick group_dec groups (fun g => A e k * s g) (group k) groups_once (grouped k Hk)).
  - intros g _. rewrite <- sum_scal_r. apply sum_ext. intros k _.
    destruct (group_dec (group k) g) as [X|X], (group_dec g (group k)) as [Y|Y]; subst; try contradiction;
      try (exfalso; apply X; reflexivity); try (exfalso; apply Y; reflexivity); ring.
Qed.

Lemma tied_total (s : G -> R) : total_cost edges groups tied phi s = total_cost edges units A phi (spread s).
Proof. apply sum_ext. intros e _. f_equal. apply tied_scale. Qed.

(** The best of the tied scalings. *)
Definition best_tied (s : G -> R) : Prop :=
  forall s', total_cost edges units A phi (spread s) <= total_cost edges units A phi (spread s').

(** [B.schedules]: where z > 0 has A^T z = 0, the optimum and the tied optimum are attained; tied scales
    cost at least as much, and as much just if some tied scaling balances every unit. *)
Theorem tied_optimum :
  NoDup units -> strictly_convex_costs edges phi psi ->
  (forall e (t : R), In e edges -> continuous (psi e) t) -> coercive_costs edges phi ->
  circulation edges units A ->
  exists s h, best_tied s /\ optimal edges units A phi h /\
    total_cost edges units A phi h <= total_cost edges units A phi (spread s) /\
    (total_cost edges units A phi h = total_cost edges units A phi (spread s) <->
     exists s', balanced edges units A psi (spread s')).
Proof.
  intros Hu convex smooth coercive circ.
  destruct (balanced_exists eq_dec edges units A phi psi Hu convex smooth coercive circ) as (h & Hb).
  assert (circ' : circulation edges groups tied).
  { destruct circ as (z & Hz & Hc). exists z. split; [exact Hz|]. intros g _. unfold tied.
    rewrite (sum_ext edges _ (fun e => Σ k ∈ units, (if group_dec (group k) g then A e k else 0) * z e))
      by (intros; symmetry; apply sum_scal_r).
    rewrite sum_swap. apply sum_zero. intros k Hk. destruct (group_dec (group k) g); [apply Hc, Hk|].
    apply sum_zero. intros; ring. }
  destruct (balanced_exists group_dec edges groups tied phi psi groups_once convex smooth coercive circ')
    as (s & Hs).
  assert (Hopt : optimal edges units A phi h) by (apply (balanced_optimal _ _ _ _ psi convex), Hb).
  assert (Hbest : best_tied s).
  { intros s'. rewrite <- !tied_total. apply (balanced_optimal _ _ _ _ psi convex s Hs). }
  exists s, h. split; [exact Hbest|]. split; [exact Hopt|]. split; [apply Hopt|]. split.
  - intros E0. exists s. apply (optimal_balanced _ _ _ phi psi convex). intros x. rewrite <- E0. apply Hopt.
  - intros [s' Hs']. apply Rle_antisym; [apply Hopt|].
    eapply Rle_trans; [apply (Hbest s')|]. apply (balanced_optimal _ _ _ _ psi convex _ Hs').
Qed.

(** Balancing tied scales one group at a time converges, to the tied optimum. *)
Theorem tied_balancing_converges order s :
  strictly_convex_costs edges phi psi -> (forall e (t : R), In e edges -> continuous (psi e) t) ->
  coercive_costs edges phi -> circulation edges groups tied ->
  balancing_run edges groups tied psi order s -> fair groups order ->
  exists s', best_tied s' /\ forall e, In e edges ->
    is_lim_seq (fun n => log_scale units A (spread (s n)) e) (log_scale units A (spread s') e).
Proof.
  intros convex smooth coercive circ run visits.
  destruct (balancing_converges group_dec edges groups tied phi psi groups_once convex smooth coercive circ
    order s run visits) as (s' & Hb & Hlim).
  exists s'. split.
  - intros x. rewrite <- !tied_total. apply (balanced_optimal _ _ _ _ psi convex s' Hb).
  - intros e He. rewrite <- tied_scale.
    apply is_lim_seq_ext with (fun n => log_scale groups tied (s n) e); [|apply Hlim, He].
    intros n. apply tied_scale.
Qed.

End Tied.

(** ** A group of units with no weight in common, degree 1, one p

    Unit i has the weights [ins i] and [outs i], with incoming cost A_i and outgoing cost B_i. *)

Section Group.
Context {T : Type}.
Variables (units : list T) (ins outs : T -> list (R * R)) (p : R).

Let A (i : T) : R := Σ w ∈ ins i, fst w * apow (snd w) p.
Let B (i : T) : R := Σ w ∈ outs i, fst w * apow (snd w) p.

Definition group_cost (s : T -> R) : R := Σ i ∈ units, unit_cost (ins i) (outs i) p 1 (s i).

Hypotheses (some : units <> []) (p_pos : 0 < p).
Hypothesis costs_pos : forall i, In i units -> 0 < A i /\ 0 < B i.

Lemma two_terms (a b x : R) : 0 < a -> 0 < b -> 0 < x ->
  2 * sqrt (a * b) <= a * x + b / x /\ (a * x + b / x = 2 * sqrt (a * b) <-> a * x = b / x).
Proof.
  intros Ha Hb Hx.
  assert (H1 : 0 < a * x) by (apply Rmult_lt_0_compat; assumption).
  assert (H2 : 0 < b / x) by (apply Rdiv_lt_0_compat; assumption).
  assert (E : sqrt (a * b) = sqrt (a * x) * sqrt (b / x)).
  { rewrite <- sqrt_mult by lra. f_equal. field. lra. }
  pose proof (sqrt_sqrt (a * x) (Rlt_le _ _ H1)) as S1. pose proof (sqrt_sqrt (b / x) (Rlt_le _ _ H2)) as S2.
  rewrite E. set (u := sqrt (a * x)) in *. set (v := sqrt (b / x)) in *. rewrite <- S1, <- S2.
  pose proof (Rle_0_sqr (u - v)) as Q. unfold Rsqr in Q. split; [nra|]. split.
  - intros X. assert (Z : (u - v) * (u - v) = 0) by lra.
    assert (u = v) as -> by (destruct (Rmult_integral _ _ Z); lra). reflexivity.
  - intros X. assert (0 <= u /\ 0 <= v) by (split; apply sqrt_pos).
    assert (u = v) as -> by nra. ring.
Qed.

Lemma unit_cost_two_terms i s : 0 < s ->
  unit_cost (ins i) (outs i) p 1 s = A i * Rpower s p + B i / Rpower s p.
Proof.
  intros Hs. rewrite unit_cost_is by exact Hs. unfold cost. fold (A i) (B i). rewrite Rpower_Ropp, Rmult_1_r.
  reflexivity.
Qed.

Lemma attained_two_terms (a b : R) : 0 < a -> 0 < b -> exists s, 0 < s /\ a * Rpower s p = b / Rpower s p.
Proof.
  intros Ha Hb. exists (best a b p p). split; [apply Rpower_pos|].
  pose proof (balance_at_best a b p p Ha Hb p_pos p_pos) as X. rewrite Rpower_Ropp in X.
  apply Rmult_eq_reg_l with p; [exact X|lra].
Qed.

Let SA := sum units A.
Let SB := sum units B.

(** [B.schedules]: the least cost with one scale for all, with one for each, and when these agree. *)
Theorem tied_group :
  (forall s, 0 < s -> 2 * sqrt (SA * SB) <= group_cost (fun _ => s)) /\
  (exists s, 0 < s /\ group_cost (fun _ => s) = 2 * sqrt (SA * SB)) /\
  (forall s, (forall i, In i units -> 0 < s i) -> 2 * (Σ i ∈ units, sqrt (A i * B i)) <= group_cost s) /\
  (exists s, (forall i, 0 < s i) /\ group_cost s = 2 * (Σ i ∈ units, sqrt (A i * B i))) /\
  (2 * sqrt (SA * SB) = 2 * (Σ i ∈ units, sqrt (A i * B i)) <->
   forall i j, In i units -> In j units -> A i / B i = A j / B j).
Proof.
  assert (exists i0, In i0 units) as (i0 & I0)
    by (destruct units as [|i l]; [contradiction|exists i; left; reflexivity]).
  assert (HA : 0 < SA) by (apply sum_pos with i0; auto; intros; [apply Rlt_le|]; apply costs_pos; assumption).
  assert (HB : 0 < SB) by (apply sum_pos with i0; auto; intros; [apply Rlt_le|]; apply costs_pos; assumption).
  assert (Tied : forall s, 0 < s -> group_cost (fun _ => s) = SA * Rpower s p + SB / Rpower s p).
  { intros s Hs. unfold group_cost, SA, SB, Rdiv. rewrite <- !sum_scal_r, <- sum_plus.
    apply sum_ext. intros i _. apply unit_cost_two_terms, Hs. }
  assert (Free : forall s i, In i units -> 0 < s -> 2 * sqrt (A i * B i) <= unit_cost (ins i) (outs i) p 1 s
    /\ (unit_cost (ins i) (outs i) p 1 s = 2 * sqrt (A i * B i) <-> A i * Rpower s p = B i / Rpower s p)).
  { intros s i Hi Hs. rewrite unit_cost_two_terms by exact Hs. destruct (costs_pos i Hi).
    apply two_terms; auto. apply Rpower_pos. }
  destruct (attained_two_terms SA SB HA HB) as (s & Hs & Bal).
  assert (Hmin : group_cost (fun _ => s) = 2 * sqrt (SA * SB)).
  { rewrite Tied by exact Hs. apply two_terms; auto. apply Rpower_pos. }
  split; [|split; [|split; [|split]]].
  - intros r Hr. rewrite Tied by exact Hr. apply two_terms; auto. apply Rpower_pos.
  - exists s. split; [exact Hs|exact Hmin].
  - intros r Hr. rewrite <- sum_scal. apply sum_le. intros i Hi. apply Free; auto.
  - exists (fun i => best (A i) (B i) p p). split; [intros; apply Rpower_pos|].
    unfold group_cost. rewrite <- sum_scal. apply sum_ext. intros i Hi. apply Free; [exact Hi|apply Rpower_pos|].
    destruct (costs_pos i Hi) as [Ha Hb].
    pose proof (balance_at_best (A i) (B i) p p Ha Hb p_pos p_pos) as X. rewrite Rpower_Ropp in X.
    apply Rmult_eq_reg_l with p; [exact X|lra].
  - pose proof (Rpower_pos s p) as Hx. split.
    + intros Eq. rewrite <- Hmin in Eq.
      assert (Ratio : forall i, In i units -> A i / B i = / (Rpower s p * Rpower s p)).
      { intros i Hi. destruct (costs_pos i Hi) as [Ha Hb].
        assert (Z : unit_cost (ins i) (outs i) p 1 s - 2 * sqrt (A i * B i) = 0).
        { apply (sum_eq_zero units (fun i => unit_cost (ins i) (outs i) p 1 s - 2 * sqrt (A i * B i))); auto.
          - intros j Hj. pose proof (proj1 (Free s j Hj Hs)). lra.
          - rewrite sum_minus, sum_scal. unfold group_cost in Eq. lra. }
        assert (X : A i * Rpower s p = B i / Rpower s p) by (apply (Free s i Hi Hs); lra).
        replace (A i) with (A i * Rpower s p / Rpower s p) by (field; lra). rewrite X. field. lra. }
      intros i j Hi Hj. rewrite !Ratio by assumption. reflexivity.
    + intros Eq. set (r := A i0 / B i0).
      assert (Hr : 0 < r) by (apply Rdiv_lt_0_compat; apply costs_pos, I0).
      assert (Ai : forall i, In i units -> A i = r * B i).
      { intros i Hi. unfold r. rewrite (Eq i0 i I0 Hi). field. apply Rgt_not_eq, (costs_pos i Hi). }
      assert (Root : forall b, 0 < b -> sqrt (r * b * b) = sqrt r * b).
      { intros b Hb. rewrite Rmult_assoc, sqrt_mult, sqrt_square by nra. reflexivity. }
      f_equal. replace SA with (r * SB).
      * rewrite Root by exact HB. unfold SB. rewrite <- sum_scal. apply sum_ext. intros i Hi.
        rewrite (Ai i Hi) at 1. symmetry. apply Root, costs_pos, Hi.
      * unfold SA, SB. rewrite <- sum_scal. symmetry. apply sum_ext. exact Ai.
Qed.

End Group.
