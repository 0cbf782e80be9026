(** * What is false: claims as printed, and claims with a hypothesis dropped *)

From Coq Require Import Arith.
From Balproof Require Import Sums Homogeneous OptimalScale Balance Convergence Graphs Gradient.

(** Graphs on units 0, 1, 2, ...; [None] is the visible node. *)
Definition graph : Type := list (option nat * option nat).

Definition matrix (e : option nat * option nat) (k : nat) : R := incidence Nat.eq_dec fst snd e k.

(** ** [B.path-cover] (Remark 5.6): paths that cover all units, or even all edges, do not suffice *)

Definition net_1221 : graph :=
  [(None, Some 0); (None, Some 1);
   (Some 0, Some 2); (Some 0, Some 3); (Some 1, Some 2); (Some 1, Some 3);
   (Some 2, None); (Some 3, None)]%nat.

Definition paths_1221 : list graph :=
  [[(None, Some 0); (Some 0, Some 2); (Some 2, None)];
   [(None, Some 1); (Some 1, Some 3); (Some 3, None)]]%nat.

Definition is_path (g p : graph) : Prop := walk g fst snd None None p.

Theorem path_cover_units_false : exists L : option nat * option nat -> R,
  (forall p, In p paths_1221 -> is_path net_1221 p /\ (Σ e ∈ p, L e) = 0) /\
  (forall k, In k [0; 1; 2; 3]%nat -> exists p e, In p paths_1221 /\ In e p /\ snd e = Some k) /\
  ~ exists h, forall e, In e net_1221 -> log_scale [0; 1; 2; 3]%nat matrix h e = L e.
Proof.
  exists (fun e => match e with (Some 0, Some 3)%nat => 1 | _ => 0 end). split; [|split].
  - intros p [<-|[<-|[]]]; (split; [|simpl; ring]).
    + apply (walk_cons net_1221 fst snd (None, Some 0%nat)); [simpl; tauto|].
      apply (walk_cons net_1221 fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|].
      apply (walk_cons net_1221 fst snd (Some 2%nat, None)); [simpl; tauto|]. apply walk_nil.
    + apply (walk_cons net_1221 fst snd (None, Some 1%nat)); [simpl; tauto|].
      apply (walk_cons net_1221 fst snd (Some 1%nat, Some 3%nat)); [simpl; tauto|].
      apply (walk_cons net_1221 fst snd (Some 3%nat, None)); [simpl; tauto|]. apply walk_nil.
  - intros k Hk.
    destruct Hk as [<-|[<-|[<-|[<-|[]]]]];
      [exists (nth 0 paths_1221 []), (None, Some 0%nat)|exists (nth 1 paths_1221 []), (None, Some 1%nat)
      |exists (nth 0 paths_1221 []), (Some 0%nat, Some 2%nat)|exists (nth 1 paths_1221 []), (Some 1%nat, Some 3%nat)];
      simpl; tauto.
  - intros [h H].
    pose proof (H (None, Some 0%nat) ltac:(simpl; tauto)) as H1.
    pose proof (H (Some 0%nat, Some 3%nat) ltac:(simpl; tauto)) as H2.
    pose proof (H (Some 3%nat, None) ltac:(simpl; tauto)) as H3.
    unfold log_scale, matrix, incidence, at_unit in *. simpl in *. lra.
Qed.

(** Layers a = 0, 1; b = 2, 3; c = 4, 5. *)
Definition net_12221 : graph :=
  [(None, Some 0); (None, Some 1);
   (Some 0, Some 2); (Some 0, Some 3); (Some 1, Some 2); (Some 1, Some 3);
   (Some 2, Some 4); (Some 2, Some 5); (Some 3, Some 4); (Some 3, Some 5);
   (Some 4, None); (Some 5, None)]%nat.

Definition through (i j k : nat) : graph :=
  [(None, Some i); (Some i, Some j); (Some j, Some k); (Some k, None)].

Definition paths_12221 : list graph := [through 0 2 4; through 0 3 5; through 1 2 5; through 1 3 4]%nat.

Theorem path_cover_edges_false : exists L : option nat * option nat -> R,
  (forall p, In p paths_12221 -> is_path net_12221 p /\ (Σ e ∈ p, L e) = 0) /\
  (forall e, In e net_12221 -> exists p, In p paths_12221 /\ In e p) /\
  ~ exists h, forall e, In e net_12221 -> log_scale [0; 1; 2; 3; 4; 5]%nat matrix h e = L e.
Proof.
  exists (fun e => match e with (Some 0, Some 2)%nat => 1 | (Some 2, Some 4)%nat => -1 | _ => 0 end).
  split; [|split].
  - assert (W : forall i j k, In (None, Some i) net_12221 -> In (Some i, Some j) net_12221 ->
      In (Some j, Some k) net_12221 -> In (Some k, None) net_12221 -> is_path net_12221 (through i j k)).
    { intros i j k H1 H2 H3 H4.
      apply (walk_cons net_12221 fst snd (None, Some i) None); [exact H1|].
      apply (walk_cons net_12221 fst snd (Some i, Some j) None); [exact H2|].
      apply (walk_cons net_12221 fst snd (Some j, Some k) None); [exact H3|].
      apply (walk_cons net_12221 fst snd (Some k, None) None); [exact H4|]. apply walk_nil. }
    intros p Hp. destruct Hp as [<-|[<-|[<-|[<-|[]]]]]; (split; [apply W; simpl; tauto|simpl; ring]).
  - intros e He. simpl in He.
    repeat (destruct He as [<-|He];
      [first [exists (through 0 2 4); simpl; tauto | exists (through 0 3 5); simpl; tauto
             | exists (through 1 2 5); simpl; tauto | exists (through 1 3 4); simpl; tauto]|]).
    destruct He.
  - intros [h H].
    pose proof (H (None, Some 0%nat) ltac:(simpl; tauto)) as H1.
    pose proof (H (Some 0%nat, Some 2%nat) ltac:(simpl; tauto)) as H2.
    pose proof (H (Some 2%nat, Some 5%nat) ltac:(simpl; tauto)) as H3.
    pose proof (H (Some 5%nat, None) ltac:(simpl; tauto)) as H4.
    unfold log_scale, matrix, incidence, at_unit in *. simpl in *. lra.
Qed.

(** ** [B.self-consistency] (Proposition 5.4): directed paths and cycles see nothing of dead ends *)

(** 0 and 1 lead to 2 and 3, which lead nowhere. *)
Definition dead_ends : graph :=
  [(None, Some 0); (None, Some 1); (Some 0, Some 2); (Some 0, Some 3); (Some 1, Some 2); (Some 1, Some 3)]%nat.

Theorem directed_walks_false : exists L : option nat * option nat -> R,
  (forall n l, walk dead_ends fst snd n n l -> (Σ e ∈ l, L e) = 0) /\
  ~ exists h, forall e, In e dead_ends -> log_scale [0; 1; 2; 3]%nat matrix h e = L e.
Proof.
  exists (fun e => match e with (Some 0, Some 2)%nat => 1 | _ => 0 end). split.
  - set (level := fun n : option nat => match n with None => 0 | Some 0 | Some 1 => 1 | _ => 2 end%nat).
    assert (X : forall a b l, walk dead_ends fst snd a b l -> level b = (level a + length l)%nat).
    { intros a b l W. induction W as [n|e n l He _ IH]; [simpl; lia|]. rewrite IH. simpl in He |- *.
      repeat (destruct He as [<-|He]; [simpl; lia|]). destruct He. }
    intros n l W. apply X in W. destruct l; [reflexivity|simpl in W; lia].
  - intros [h H].
    pose proof (H (Some 0%nat, Some 2%nat) ltac:(simpl; tauto)) as H1.
    pose proof (H (Some 0%nat, Some 3%nat) ltac:(simpl; tauto)) as H2.
    pose proof (H (Some 1%nat, Some 2%nat) ltac:(simpl; tauto)) as H3.
    pose proof (H (Some 1%nat, Some 3%nat) ltac:(simpl; tauto)) as H4.
    unfold log_scale, matrix, incidence, at_unit in *. simpl in *. lra.
Qed.

(** ** [B.favorable] (Remark 5.8): steps that merely lower the regularizer need not lead to balance *)

Lemma cost_1_16 (s : R) : 0 < s -> unit_cost [(1, 1)] [(1, 16)] 1 1 s = s + 16 / s.
Proof.
  intros Hs. unfold unit_cost. simpl. rewrite Rpower_1 by exact Hs.
  assert (P : forall x, 0 < x -> apow x 1 = x).
  { intros x Hx. unfold apow. destruct (Req_EM_T x 0); [lra|].
    rewrite Rabs_pos_eq, Rpower_1 by lra. reflexivity. }
  rewrite !P; [ring| |lra]. apply Rdiv_lt_0_compat; lra.
Qed.

Lemma cost_1_16_falls (s t : R) : 0 < s < t -> t <= 4 -> t + 16 / t < s + 16 / s.
Proof.
  intros Hst Ht. assert (s * t < 16) by nra.
  assert (E : s + 16 / s - (t + 16 / t) = (t - s) * (16 - s * t) / (s * t)) by (field; lra).
  assert (0 < (t - s) * (16 - s * t) / (s * t)); [|lra].
  apply Rdiv_lt_0_compat; [apply Rmult_lt_0_compat; lra|nra].
Qed.

(** A unit with one incoming weight 1 and one outgoing weight 16 (p = 1) is scaled by
    exp (1/10), exp (1/20), exp (1/40), ... *)
Definition shrinking_step (t : nat) : R := exp (/ 10 * (/ 2) ^ t).
Definition total_scale (t : nat) : R := exp (/ 5 * (1 - (/ 2) ^ t)).

Lemma total_scale_steps : total_scale 0 = 1 /\ forall t, total_scale (S t) = shrinking_step t * total_scale t.
Proof.
  unfold total_scale, shrinking_step. split.
  - simpl. rewrite Rminus_eq_0, Rmult_0_r. apply exp_0.
  - intros t. rewrite <- exp_plus. f_equal. simpl. field.
Qed.

Lemma limit_scale : is_lim_seq total_scale (exp (/ 5)).
Proof.
  apply (is_lim_seq_continuous exp (fun t => / 5 * (1 - (/ 2) ^ t)) (/ 5)).
  { apply continuity_pt_filterlim, continuous_exp. }
  assert (L : is_lim_seq (fun t => / 5 * (1 - (/ 2) ^ t)) (/ 5 * (1 - 0))).
  { apply (is_lim_seq_scal_l _ (/ 5) (1 - 0)). apply is_lim_seq_minus'; [apply is_lim_seq_const|].
    apply is_lim_seq_geom. rewrite Rabs_pos_eq; lra. }
  rewrite Rminus_0_r, Rmult_1_r in L. exact L.
Qed.

Theorem favorable_steps_false :
  (forall t, unit_cost [(1, 1)] [(1, 16)] 1 1 (total_scale (S t)) < unit_cost [(1, 1)] [(1, 16)] 1 1 (total_scale t)) /\
  is_lim_seq (fun t => unit_cost [(1, 1)] [(1, 16)] 1 1 (total_scale t)) (unit_cost [(1, 1)] [(1, 16)] 1 1 (exp (/ 5))) /\
  unit_cost [(1, 1)] [(1, 16)] 1 1 4 < unit_cost [(1, 1)] [(1, 16)] 1 1 (exp (/ 5)).
Proof.
  assert (B : forall x, x <= / 5 -> 0 < exp x < 4).
  { intros x Hx. split; [apply exp_pos|]. apply Rle_lt_trans with (exp 1); [|pose proof exp_le_3; lra].
    destruct (Req_dec x 1) as [->|]; [lra|]. apply Rlt_le, exp_increasing. lra. }
  assert (P : forall t, 0 < (/ 2) ^ t) by (intros; apply pow_lt; lra).
  split; [|split].
  - intros t. pose proof (P t). unfold total_scale.
    assert (X : exp (/ 5 * (1 - (/ 2) ^ t)) < exp (/ 5 * (1 - (/ 2) ^ S t)))
      by (apply exp_increasing; simpl; lra).
    pose proof (B (/ 5 * (1 - (/ 2) ^ S t)) ltac:(simpl; lra)).
    pose proof (exp_pos (/ 5 * (1 - (/ 2) ^ t))).
    rewrite !cost_1_16 by lra. apply cost_1_16_falls; lra.
  - pose proof (B (/ 5) (Rle_refl _)). rewrite cost_1_16 by lra.
    apply is_lim_seq_ext with (fun t => total_scale t + 16 / total_scale t).
    { intros t. rewrite cost_1_16; [reflexivity|apply exp_pos]. }
    apply (is_lim_seq_continuous (fun s => s + 16 / s) total_scale); [|exact limit_scale].
    apply continuity_pt_filterlim, (ex_derive_continuous (fun s => s + 16 / s)). auto_derive. lra.
  - pose proof (B (/ 5) (Rle_refl _)). rewrite !cost_1_16 by lra. apply cost_1_16_falls; lra.
Qed.

(** ** [B.simultaneous]: all units at once need not converge *)

(** Two units in a cycle, with weights [a] from the first to the second and [b] back (p = 1); both are
    scaled at once, each by what would balance it alone. *)
Definition both_at_once (ab : R * R) : R * R :=
  let (a, b) := ab in
  let s1 := optimal_scale [(1, b)] [(1, a)] 1 1 in
  let s2 := optimal_scale [(1, a)] [(1, b)] 1 1 in
  (a * s2 / s1, b * s1 / s2).

Lemma best_scale_of_two (a b : R) : 0 < a -> 0 < b -> optimal_scale [(1, a)] [(1, b)] 1 1 = sqrt (b / a).
Proof.
  intros Ha Hb. unfold optimal_scale. simpl.
  assert (P : forall x, 0 < x -> apow x 1 = x).
  { intros x Hx. unfold apow. destruct (Req_EM_T x 0); [lra|].
    rewrite Rabs_pos_eq, Rpower_1 by lra. reflexivity. }
  rewrite !P by assumption. replace (1 * (1 * b + 0) / (1 * a + 0)) with (b / a) by (field; lra).
  replace (/ (1 * (1 + 1))) with (/ 2) by field. apply Rpower_sqrt, Rdiv_lt_0_compat; assumption.
Qed.

Lemma sqrts : sqrt (4 / 1) = 2 /\ sqrt (1 / 4) = / 2.
Proof. split; [replace (4 / 1) with (2 * 2) by field|replace (1 / 4) with (/ 2 * / 2) by field]; apply sqrt_square; lra. Qed.

Theorem simultaneous_cycles : both_at_once (4, 1) = (1, 4) /\ both_at_once (1, 4) = (4, 1).
Proof.
  destruct sqrts as [S1 S2].
  unfold both_at_once. rewrite !best_scale_of_two by lra. rewrite S1, S2. split; f_equal; field.
Qed.

Theorem simultaneous_false : ~ exists l : R, is_lim_seq (fun n => fst (Nat.iter n both_at_once (4, 1))) l.
Proof.
  destruct simultaneous_cycles as [C1 C2]. intros [l Hl].
  assert (V : forall n, Nat.iter (2 * n) both_at_once (4, 1) = (4, 1)).
  { induction n as [|n IH]; [reflexivity|]. replace (2 * S n)%nat with (S (S (2 * n))) by lia.
    simpl Nat.iter at 1. simpl Nat.iter in IH |- *. rewrite IH, C1. exact C2. }
  apply is_lim_seq_spec in Hl. destruct (Hl (mkposreal 1 Rlt_0_1)) as [N HN]. simpl in HN.
  pose proof (HN (2 * N)%nat ltac:(lia)) as X1. pose proof (HN (S (2 * N)) ltac:(lia)) as X2.
  change (Nat.iter (S (2 * N)) both_at_once (4, 1)) with (both_at_once (Nat.iter (2 * N) both_at_once (4, 1))) in X2.
  rewrite V in X1. rewrite V, C1 in X2. simpl in X1, X2. apply Rabs_lt_between in X1, X2. lra.
Qed.

(** ** [B.optimal-scale-general]: balanced but not optimal, where w g'(w) does not increase *)

Definition slow (w : R) : R := ln (1 + ln (1 + w)).

(** One incoming and one outgoing weight, both e^3, at log-scale t. *)
Definition slow_cost (t : R) : R := slow (exp (3 + t)) + slow (exp (3 - t)).

Lemma ln_1_exp_pos x : 0 < ln (1 + exp x).
Proof. rewrite <- ln_1. apply ln_increasing; pose proof (exp_pos x); lra. Qed.

Theorem balanced_not_optimal : is_derive slow_cost 0 0 /\ slow_cost 5 < slow_cost 0.
Proof.
  split.
  - unfold slow_cost, slow. auto_derive.
    + pose proof (exp_pos (3 + 0)). pose proof (exp_pos (3 + - 0)).
      pose proof (ln_1_exp_pos (3 + 0)). pose proof (ln_1_exp_pos (3 + - 0)). repeat split; lra.
    + replace (3 + - 0) with (3 + 0) by ring. ring.
  - unfold slow_cost, slow. replace (3 + 5) with 8 by ring. replace (3 - 5) with (- 2) by ring.
    replace (3 + 0) with 3 by ring. replace (3 - 0) with 3 by ring.
    assert (H3 : 3 < ln (1 + exp 3)).
    { rewrite <- (ln_exp 3) at 1. apply ln_increasing; pose proof (exp_pos 3); lra. }
    assert (E8 : 1 < exp 8) by (pose proof (exp_ineq1 8); lra).
    assert (H8 : ln (1 + exp 8) < 9).
    { rewrite <- (ln_exp 9). apply ln_increasing; [lra|].
      replace 9 with (8 + 1) by ring. rewrite exp_plus. pose proof (exp_ineq1 1). nra. }
    assert (H2 : ln (1 + exp (- 2)) < / 2).
    { assert (X : ln (1 + exp (- 2)) <= exp (- 2)).
      { pose proof (exp_ineq1_le (ln (1 + exp (- 2)))) as Y. rewrite exp_ln in Y; [lra|].
        pose proof (exp_pos (- 2)); lra. }
      assert (Z : exp (- 2) < / 2).
      { replace (- 2) with (- (2)) by ring. rewrite exp_Ropp. apply Rinv_lt_contravar; [|pose proof (exp_ineq1 2); lra].
        pose proof (exp_pos 2); lra. }
      lra. }
    pose proof (ln_1_exp_pos 8). pose proof (ln_1_exp_pos (- 2)).
    rewrite <- !ln_mult by lra. apply ln_increasing; [apply Rmult_lt_0_compat; lra|].
    apply Rlt_trans with (10 * (3 / 2)); [apply Rmult_le_0_lt_compat; lra|].
    apply Rlt_le_trans with (4 * 4); [lra|]. apply Rmult_le_compat; lra.
Qed.

(** ** [B.balance-equation]: balance is not equality of costs when exponents differ *)

(** Incoming w^2 and outgoing |w|, both costs 1 at the start: at the optimum one is twice the other. *)
Theorem balance_is_not_equal_costs :
  2 * (1 * Rpower (best 1 1 2 1) 2) = 1 * (1 * Rpower (best 1 1 2 1) (- 1)) /\
  1 * Rpower (best 1 1 2 1) 2 <> 1 * Rpower (best 1 1 2 1) (- 1).
Proof.
  assert (B : 2 * (1 * Rpower (best 1 1 2 1) 2) = 1 * (1 * Rpower (best 1 1 2 1) (- 1)))
    by (apply (balance_at_best 1 1 2 1); lra).
  pose proof (Rpower_pos (best 1 1 2 1) 2). split; [exact B|].
  intros E. lra.
Qed.

(** ** [B.existence]: every unit has incoming and outgoing weights, and yet nothing is balanced *)

(** 0 <-> 1 -> 2 <-> 3, no visible unit. *)
Definition bridge : graph :=
  [(Some 0, Some 1); (Some 1, Some 0); (Some 1, Some 2); (Some 2, Some 3); (Some 3, Some 2)]%nat.

Theorem bridge_not_attained (a : option nat * option nat -> R) (p : R) :
  0 < p -> (forall e, In e bridge -> 0 < a e) ->
  forall h, ~ optimal bridge [0; 1; 2; 3]%nat matrix (fun e => power_cost (a e) p) h.
Proof.
  intros Hp Ha.
  apply (lowering_direction_not_attained bridge _ matrix _ (fun e => power_marginal (a e) p)
    (power_costs_convex bridge a (fun _ => p) (fun e He => conj (Ha e He) Hp))
    (fun k => match k with 2%nat | 3%nat => -1 | _ => 0 end)).
  - intros e t He. unfold power_marginal. repeat apply Rmult_lt_0_compat; auto using exp_pos.
  - intros e He. unfold log_scale, matrix, incidence, at_unit. simpl in He.
    repeat (destruct He as [<-|He]; [simpl; lra|]). destruct He.
  - exists (Some 1%nat, Some 2%nat). split; [simpl; tauto|].
    unfold log_scale, matrix, incidence, at_unit. simpl. lra.
Qed.

(** ** [B.gd-does-not-balance]: explicit networks *)

(** One linear unit with incoming weight w_0 and outgoing weights w_1 and w_2; the error is the
    output w_0 w_1 + 2 w_0 w_2. *)
Definition three : list nat := [0; 1; 2]%nat.
Definition one_unit (e : nat) (k : nat) : R := match e with O => 1 | _ => -1 end.
Definition linear_error (w : nat -> R) : R := w 0%nat * w 1%nat + 2 * (w 0%nat * w 2%nat).

Lemma linear_error_invariant : invariant [0%nat] one_unit linear_error.
Proof.
  intros h w. unfold linear_error, act, log_scale, one_unit. simpl.
  replace (1 * h 0%nat + 0) with (h 0%nat) by ring. replace (-1 * h 0%nat + 0) with (- h 0%nat) by ring.
  rewrite exp_Ropp. field. apply Rgt_not_eq, exp_pos.
Qed.

Definition linear_gradient (w : nat -> R) (e : nat) : R :=
  match e with 0%nat => w 1%nat + 2 * w 2%nat | 1%nat => w 0%nat | _ => 2 * w 0%nat end.

Lemma linear_error_gradient w : has_gradient three linear_error w (linear_gradient w).
Proof.
  intros eps Heps. exists (eps / 2). split; [lra|]. intros v Hv.
  pose proof (Hv 0%nat ltac:(simpl; tauto)) as H0.
  unfold linear_error, linear_gradient, three. simpl.
  set (x := v 0%nat - w 0%nat) in *. set (y := v 1%nat - w 1%nat). set (z := v 2%nat - w 2%nat).
  replace (v 0%nat * v 1%nat + 2 * (v 0%nat * v 2%nat) - (w 0%nat * w 1%nat + 2 * (w 0%nat * w 2%nat))
    - ((w 1%nat + 2 * w 2%nat) * x + (w 0%nat * y + (2 * w 0%nat * z + 0)))) with (x * y + 2 * (x * z))
    by (unfold x, y, z; ring).
  eapply Rle_trans; [apply Rabs_triang|]. rewrite !Rabs_mult, (Rabs_pos_eq 2) by lra.
  pose proof (Rabs_pos x). pose proof (Rabs_pos y). pose proof (Rabs_pos z).
  assert (Rabs x * Rabs y <= eps / 2 * Rabs y) by (apply Rmult_le_compat_r; lra).
  assert (Rabs x * Rabs z <= eps / 2 * Rabs z) by (apply Rmult_le_compat_r; lra).
  assert (0 <= eps * Rabs x) by (apply Rmult_le_pos; lra).
  assert (0 <= eps * Rabs y) by (apply Rmult_le_pos; lra). lra.
Qed.

(** A step of gradient descent leaves a balanced start. *)
Theorem step_leaves_balance (eta : R) : eta <> 0 ->
  let w e := match e with 2%nat => 0 | _ => 1 end in
  deficit three one_unit (squares w) 0%nat = 0 /\
  deficit three one_unit (squares (fun e => w e - eta * (linear_gradient w e + 0 * w e))) 0%nat <> 0.
Proof.
  intros Heta w. split; [unfold deficit, squares, one_unit, three, w; simpl; ring|].
  rewrite (deficit_after_step three [0%nat] one_unit linear_error 0 eta w (linear_gradient w)
    linear_error_invariant (linear_error_gradient w) 0%nat (or_introl eq_refl)).
  unfold deficit, squares, one_unit, three, linear_gradient, w. simpl.
  assert (0 < eta * eta) by nra. nra.
Qed.

(** Gradient descent from a balanced start may end, at a minimum of the error, out of balance: with the error
    (w_0 w_2 - 1)^2 / 2, one step of size 1 from (1, 1, 0) leads to (1, 1, 1), where the error is 0. *)
Definition square_error (w : nat -> R) : R := (w 0%nat * w 2%nat - 1) ^ 2 / 2.

Definition square_gradient (w : nat -> R) (e : nat) : R :=
  match e with
  | 0%nat => (w 0%nat * w 2%nat - 1) * w 2%nat
  | 1%nat => 0
  | _ => (w 0%nat * w 2%nat - 1) * w 0%nat
  end.

Lemma square_error_invariant : invariant [0%nat] one_unit square_error.
Proof.
  intros h w. unfold square_error, act, log_scale, one_unit. simpl.
  replace (1 * h 0%nat + 0) with (h 0%nat) by ring. replace (-1 * h 0%nat + 0) with (- h 0%nat) by ring.
  rewrite exp_Ropp. do 3 f_equal; field; apply Rgt_not_eq, exp_pos.
Qed.

Lemma square_error_gradient w : has_gradient three square_error w (square_gradient w).
Proof.
  intros eps Heps. unfold square_error, square_gradient, three.
  set (u := w 0%nat). set (v := w 2%nat). set (r := u * v - 1).
  (* |u|, |v| and |r| are at most K; increments x and z at most 1 change the product by at most
     (K + 1) (|x| + |z|) *)
  set (K := Rabs u + Rabs v + Rabs r + 1).
  pose proof (Rabs_pos u). pose proof (Rabs_pos v). pose proof (Rabs_pos r).
  assert (HK : 1 <= K) by (unfold K; lra).
  set (C := K + 2 * (K + 1) * (K + 1)). assert (HC : 0 < C) by (unfold C; nra).
  exists (Rmin 1 (eps / C)). split; [apply Rmin_pos; [lra|apply Rdiv_lt_0_compat; lra]|].
  intros w' Hw. pose proof (Hw 0%nat ltac:(simpl; tauto)) as Hx. pose proof (Hw 2%nat ltac:(simpl; tauto)) as Hz.
  simpl. fold u v in Hx, Hz |- *. fold r. set (x := w' 0%nat - u) in *. set (z := w' 2%nat - v) in *.
  replace (w' 0%nat) with (u + x) by (unfold x; ring). replace (w' 2%nat) with (v + z) by (unfold z; ring).
  set (d := u * z + v * x + x * z).
  replace (((u + x) * (v + z) - 1) * (((u + x) * (v + z) - 1) * 1) / 2 - r * (r * 1) / 2
    - (r * v * x + (0 * (w' 1%nat - w 1%nat) + (r * u * z + 0)))) with (r * (x * z) + d * d / 2)
    by (unfold d, r; field).
  pose proof (Rmin_l 1 (eps / C)). pose proof (Rmin_r 1 (eps / C)).
  set (S := Rabs x + Rabs z). pose proof (Rabs_pos x). pose proof (Rabs_pos z).
  assert (Hd : Rabs d <= (K + 1) * S).
  { unfold d. eapply Rle_trans; [apply Rabs_triang|].
    eapply Rle_trans; [apply Rplus_le_compat_r, Rabs_triang|]. rewrite !Rabs_mult.
    assert (Rabs u * Rabs z <= K * Rabs z) by (apply Rmult_le_compat_r; unfold K; lra).
    assert (Rabs v * Rabs x <= K * Rabs x) by (apply Rmult_le_compat_r; unfold K; lra).
    assert (Rabs x * Rabs z <= 1 * Rabs z) by (apply Rmult_le_compat_r; lra).
    unfold S. lra. }
  assert (HS : 0 <= S) by (unfold S; lra).
  assert (HS2 : S <= 2 * (eps / C)) by (unfold S; lra).
  assert (B : Rabs (r * (x * z) + d * d / 2) <= C * (S * S) / 2).
  { eapply Rle_trans; [apply Rabs_triang|]. unfold Rdiv. rewrite !Rabs_mult, (Rabs_pos_eq (/ 2)) by lra.
    assert (B1 : Rabs r * (Rabs x * Rabs z) <= K * (S * S / 2)).
    { apply Rmult_le_compat; [lra|nra|unfold K; lra|unfold S; nra]. }
    assert (B2 : Rabs d * Rabs d <= (K + 1) * S * ((K + 1) * S))
      by (apply Rmult_le_compat; try apply Rabs_pos; exact Hd).
    unfold C. nra. }
  eapply Rle_trans; [exact B|].
  apply Rle_trans with (eps * S).
  - assert (X : C * S <= 2 * eps).
    { apply Rmult_le_compat_l with (r := C) in HS2; [|lra].
      replace (C * (2 * (eps / C))) with (2 * eps) in HS2 by (field; lra). exact HS2. }
    nra.
  - apply Rmult_le_compat_l; [lra|]. unfold S. pose proof (Rabs_pos (w' 1%nat - w 1%nat)). lra.
Qed.

Fact descent_ends_unbalanced : exists w : nat -> nat -> R,
  (forall n e, In e three -> w (S n) e = w n e - 1 * square_gradient (w n) e) /\
  deficit three one_unit (squares (w 0%nat)) 0%nat = 0 /\
  (forall n e, (0 < n)%nat -> w n e = w 1%nat e) /\
  (forall v, square_error (w 1%nat) <= square_error v) /\
  deficit three one_unit (squares (w 1%nat)) 0%nat <> 0.
Proof.
  exists (fun n e => match n, e with O, 2%nat => 0 | _, _ => 1 end). repeat split.
  - intros n e He. simpl in He. destruct He as [<-|[<-|[<-|[]]]]; destruct n; unfold square_gradient; simpl; ring.
  - unfold deficit, squares, one_unit, three. simpl. ring.
  - intros [|n] e Hn; [lia|reflexivity].
  - intros v. unfold square_error. simpl. pose proof (Rle_0_sqr (v 0%nat * v 2%nat - 1)). unfold Rsqr in *. lra.
  - unfold deficit, squares, one_unit, three. simpl. lra.
Qed.

(** And a gradient flow on which the deficit is 8 for ever: one linear unit with error w_0 w_1. *)
Definition pair_error (w : nat -> R) : R := w 0%nat * w 1%nat.

Lemma pair_error_gradient w :
  has_gradient [0; 1]%nat pair_error w (fun e => match e with 0%nat => w 1%nat | _ => w 0%nat end).
Proof.
  intros eps Heps. exists eps. split; [lra|]. intros v Hv.
  pose proof (Hv 0%nat ltac:(simpl; tauto)) as H0. unfold pair_error. simpl.
  set (x := v 0%nat - w 0%nat) in *. set (y := v 1%nat - w 1%nat).
  replace (v 0%nat * v 1%nat - w 0%nat * w 1%nat - (w 1%nat * x + (w 0%nat * y + 0))) with (x * y)
    by (unfold x, y; ring).
  rewrite Rabs_mult. pose proof (Rabs_pos x). pose proof (Rabs_pos y).
  assert (Rabs x * Rabs y <= eps * Rabs y) by (apply Rmult_le_compat_r; lra).
  assert (0 <= eps * Rabs x) by (apply Rmult_le_pos; lra). lra.
Qed.

Definition pair_flow (t : R) (e : nat) : R :=
  match e with 0%nat => 2 * exp (- t) + exp t | _ => 2 * exp (- t) - exp t end.

Theorem flow_never_balances :
  invariant [0%nat] one_unit pair_error /\
  forall T, 0 < T -> flow [0; 1]%nat pair_error 0 (- T) T pair_flow /\
  forall t, - T < t < T -> deficit [0; 1]%nat one_unit (squares (pair_flow t)) 0%nat = 8.
Proof.
  assert (V : invariant [0%nat] one_unit pair_error).
  { intros h w. unfold pair_error, act, log_scale, one_unit. simpl.
    replace (1 * h 0%nat + 0) with (h 0%nat) by ring. replace (-1 * h 0%nat + 0) with (- h 0%nat) by ring.
    rewrite exp_Ropp. field. apply Rgt_not_eq, exp_pos. }
  split; [exact V|]. intros T HT.
  assert (F : flow [0; 1]%nat pair_error 0 (- T) T pair_flow).
  { intros t _. eexists. split; [apply pair_error_gradient|]. intros e He.
    destruct He as [<-|[<-|[]]]; unfold pair_flow; (auto_derive; [exact I|ring]). }
  split; [exact F|]. intros t Ht.
  rewrite (deficit_conserved _ [0%nat] _ _ _ _ _ V F 0%nat (or_introl eq_refl) 0 t ltac:(lra) Ht).
  unfold deficit, squares, one_unit, pair_flow. simpl. rewrite Ropp_0, exp_0. ring.
Qed.
