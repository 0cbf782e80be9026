(** * The hypotheses can be met

    A theorem whose hypotheses contradict each other says nothing. Here each set of them is met by an
    explicit network. (Homogeneity, rescaling, the best scale and gradient flow have their examples in
    [Homogeneous], [Rescaling], [OptimalScale] and [Counterexamples].) *)

From Coq Require Import Arith.
From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Existence
  Tied Relaxed Simultaneous Rank Cycles Gap Certificates Counterexamples.

(** ** Theorem 5.1: the network 1-2-2-1 and a recurrent pair without visible units *)

Lemma net_1221_well_formed : well_formed net_1221 [0; 1; 2; 3]%nat fst snd.
Proof.
  split; [|split].
  - repeat constructor; simpl; intuition congruence.
  - repeat constructor; simpl; intuition congruence.
  - intros e k He Hk. simpl in He.
    repeat (destruct He as [<-|He]; [simpl in *; destruct Hk as [Hk|Hk]; inversion Hk; subst; tauto|]).
    destruct He.
Qed.

Lemma net_1221_closed : every_edge_on_closed_walk net_1221 fst snd.
Proof.
  intros e He. simpl in He.
  destruct He as [<-|[<-|[<-|[<-|[<-|[<-|[<-|[<-|[]]]]]]]]]; simpl fst; simpl snd.
  - eexists. apply (walk_cons _ fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 1%nat, Some 2%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 3%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 1%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 3%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 1%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 0%nat, Some 3%nat)); [simpl; tauto|]. apply walk_nil.
Qed.

Lemma pair_dec : forall d e : option nat * option nat, {d = e} + {d <> e}.
Proof. repeat decide equality. Qed.

(** All weights 2 and p = 2: fair balancing exists, and it converges to the balanced weights. *)
Fact theorem_5_1_applies : exists order s w (W : option nat * option nat -> R),
  weight_balancing Nat.eq_dec net_1221 [0; 1; 2; 3]%nat fst snd 2 order s w /\ fair [0; 1; 2; 3]%nat order /\
  (forall e, In e net_1221 -> w 0%nat e = 2) /\
  weights_balanced Nat.eq_dec net_1221 [0; 1; 2; 3]%nat fst snd 2 W.
Proof.
  assert (Hnz : forall e, In e net_1221 -> (fun _ : option nat * option nat => 2) e <> 0) by (intros; lra).
  destruct (fair_order_exists [0; 1; 2; 3]%nat ltac:(discriminate)) as (order & Hin & Hfair).
  destruct (weight_runs_exist Nat.eq_dec pair_dec net_1221 _ fst snd net_1221_well_formed 2 ltac:(lra)
    (fun _ => 2) Hnz order net_1221_closed Hin) as (s & w & H0 & Hrun).
  destruct (stochastic_balancing Nat.eq_dec pair_dec net_1221 _ fst snd net_1221_well_formed 2 ltac:(lra)
    (fun _ => 2) Hnz net_1221_closed) as (W & _ & HW & _).
  exists order, s, w, W. auto.
Qed.

(** Two units that feed each other: no visible unit, and scales that are not unique. *)
Definition two_cycle : graph := [(Some 0, Some 1); (Some 1, Some 0)]%nat.

Fact recurrent_pair_attained :
  exists h, optimal two_cycle [0; 1]%nat matrix (fun e => power_cost 3 1) h.
Proof.
  assert (wf : well_formed two_cycle [0; 1]%nat fst snd).
  { split; [|split].
    - repeat constructor; simpl; intuition congruence.
    - repeat constructor; simpl; intuition congruence.
    - intros e k He Hk. simpl in He.
      repeat (destruct He as [<-|He]; [simpl in *; destruct Hk as [Hk|Hk]; inversion Hk; subst; tauto|]).
      destruct He. }
  apply (existence_on_graphs Nat.eq_dec pair_dec two_cycle _ fst snd wf _ (fun _ => power_marginal 3 1)).
  - apply (power_costs_convex two_cycle (fun _ => 3) (fun _ => 1)). intros; lra.
  - intros e t _. apply (ex_derive_continuous (power_marginal 3 1)). unfold power_marginal. auto_derive. exact I.
  - intros e _. split.
    + exists 0. intros t. unfold power_cost. pose proof (exp_pos (1 * t)). lra.
    + intros m. exists m. intros s Hs. unfold power_cost. pose proof (exp_pos (1 * s)).
      pose proof (exp_ineq1_le (1 * s)). lra.
  - intros e t _. unfold power_marginal. pose proof (exp_pos (1 * t)). lra.
  - intros e He. simpl in He. destruct He as [<-|[<-|[]]]; simpl fst; simpl snd; eexists.
    + apply (walk_cons _ fst snd (Some 1%nat, Some 0%nat)); [simpl; tauto|]. apply walk_nil.
    + apply (walk_cons _ fst snd (Some 0%nat, Some 1%nat)); [simpl; tauto|]. apply walk_nil.
Qed.

(** ** General regularizers: the elastic net |w| + w^2 / 10 *)

Fact elastic_net_convex (w : nat -> R) : (forall e, w e <> 0) ->
  strictly_convex_costs [0; 1]%nat
    (fun e t => Rabs (w e) * exp t + (Rabs (w e) * exp t) ^ 2 / 10)
    (fun e t => Rabs (w e) * exp t * (1 + Rabs (w e) * exp t / 5)).
Proof.
  intros Hw.
  apply (general_costs_convex [0; 1]%nat w (fun _ x => x + x ^ 2 / 10) (fun _ x => 1 + x / 5)).
  intros e _. split; [apply Hw|split].
  - intros x _. auto_derive; [exact I|field].
  - intros x y Hxy. assert (x * x < y * y) by nra. lra.
Qed.

(** ** Certificates: one unit with incoming cost 1 and outgoing cost 1 *)

Definition one_hidden : graph := [(None, Some 0); (Some 0, None)]%nat.

Fact gap_is_zero_at_balance (h' : nat -> R) :
  total_cost one_hidden [0%nat] matrix (fun _ => power_cost 1 2) (fun _ => 0)
  <= total_cost one_hidden [0%nat] matrix (fun _ => power_cost 1 2) h'.
Proof.
  eapply Rle_trans; [|apply (chi_square_gap one_hidden [0%nat] matrix (fun _ => 1) (fun _ => 2)
    (fun _ _ => conj Rlt_0_1 Rlt_0_2) (fun _ => 1) (fun _ => 0) h')].
  - rewrite (sum_zero one_hidden); [lra|]. intros e _. unfold omega, power_cost, log_scale.
    rewrite (sum_zero [0%nat]) by (intros; ring). rewrite Rmult_0_r, exp_0. field.
  - intros; lra.
  - intros k [<-|[]]. unfold matrix, incidence, at_unit. simpl. ring.
Qed.

Fact box_applies : exists h', balanced one_hidden [0%nat] matrix (fun _ => power_marginal 1 1) h'
  /\ optimal one_hidden [0%nat] matrix (fun _ => power_cost 1 1) h'
  /\ forall k, In k [0%nat] -> Rabs (h' k - 0) <= 1 * 1.
Proof.
  apply (box_certificate Nat.eq_dec one_hidden [0%nat] matrix (fun _ => power_cost 1 1)
    (fun _ => power_marginal 1 1) (fun _ t => exp t) (fun _ => 0) (fun _ => 1) (fun _ => 0) 1).
  - apply incidence_opposite_signs.
  - apply (power_costs_convex one_hidden (fun _ => 1) (fun _ => 1)). intros; lra.
  - intros e t _. unfold power_marginal. auto_derive; [exact I|]. rewrite !Rmult_1_l. reflexivity.
  - lra.
  - intros; lra.
  - intros k t Hk Ht. unfold log_scale, matrix, incidence, at_unit. destruct Hk as [<-|[]]. simpl.
    match goal with |- context [exp ?x] => pose proof (exp_pos x) end.
    match goal with |- context [exp ?x] => pose proof (exp_pos x) end.
    apply Rle_trans with (0 + 0); [lra|].
    repeat match goal with |- context [exp ?x] => generalize (exp_pos x); generalize (exp x); intros end. lra.
  - intros k Hk. unfold imbalance, power_marginal, log_scale, matrix, incidence, at_unit.
    destruct Hk as [<-|[]]. simpl.
    match goal with |- Rabs ?x <= _ => replace x with 0; [rewrite Rabs_R0; lra|] end.
    rewrite !Rmult_0_r, !Rplus_0_r, Rmult_0_r, exp_0. ring.
Qed.

(** ** Existence without convexity, and Stiemke's other case *)

(** The cost ln (1 + ln (1 + w)) is not convex in log-weights ([balanced_not_optimal]); its optimum on one
    incoming and one outgoing weight is attained all the same. *)
Fact slow_attained :
  exists h, optimal one_hidden [0%nat] matrix (fun _ t => slow (Rabs 1 * exp t)) h.
Proof.
  assert (Hg : forall e, In e one_hidden -> 1 <> 0 /\ (forall x, 0 <= x -> continuous slow x)
    /\ (forall x y, 0 < x < y -> slow x < slow y) /\ (forall m, exists x, 0 < x /\ m <= slow x)).
  { intros e _. unfold slow. split; [lra|]. split; [|split].
    - intros x Hx. apply (ex_derive_continuous (fun w => ln (1 + ln (1 + w)))). auto_derive.
      assert (0 <= ln (1 + x)).
      { destruct (Req_dec x 0) as [->|]; [rewrite Rplus_0_r, ln_1; lra|].
        rewrite <- ln_1. apply Rlt_le, ln_increasing; lra. }
      repeat split; lra.
    - intros x y H. assert (0 < ln (1 + x)) by (rewrite <- ln_1; apply ln_increasing; lra).
      apply ln_increasing; [lra|]. apply Rplus_lt_compat_l, ln_increasing; lra.
    - intros m. exists (exp (exp m)). split; [apply exp_pos|].
      pose proof (exp_pos m). pose proof (exp_pos (exp m)).
      assert (exp m < ln (1 + exp (exp m))).
      { rewrite <- (ln_exp (exp m)) at 1. apply ln_increasing; lra. }
      rewrite <- (ln_exp m) at 1. apply Rlt_le, ln_increasing; lra. }
  destruct (regularizer_costs one_hidden (fun _ => 1) (fun _ => slow) Hg) as [rising coercive].
  apply (attained_of_circulation Nat.eq_dec).
  - repeat constructor; simpl; tauto.
  - intros e t He. apply (rising e He).
  - exact coercive.
  - exists (fun _ => 1). split; [intros; lra|]. intros k [<-|[]].
    unfold matrix, incidence, at_unit. simpl. ring.
Qed.

(** Two units of degree 2 that feed each other: raising both scales lowers both weights. *)
Fact degree_two_cycle_lowering :
  lowering [0; 1]%nat two_cycle (degree_incidence Nat.eq_dec fst snd 2) (fun _ => 1).
Proof.
  split; [|exists (Some 0%nat, Some 1%nat); split; [simpl; tauto|]];
    [intros e He; simpl in He; destruct He as [<-|[<-|[]]]|];
    unfold log_scale, degree_incidence, at_unit; simpl; lra.
Qed.

Fact net_1221_strongly_connected : components_strongly_connected net_1221 fst snd.
Proof. apply strongly_connected_iff, net_1221_closed. Qed.

(** ** Part of the step: theta = 3/2 on the network 1-2-2-1 *)

Fact relaxed_converges_applies : exists order theta best h,
  relaxed_run net_1221 [0; 1; 2; 3]%nat matrix (fun _ => 1) (fun _ => 2) (/ 2) order theta best h /\
  fair [0; 1; 2; 3]%nat order /\
  exists x, optimal net_1221 [0; 1; 2; 3]%nat matrix (fun _ => power_cost 1 2) x.
Proof.
  destruct (fair_order_exists [0; 1; 2; 3]%nat ltac:(discriminate)) as (order & Hin & Hfair).
  assert (Hu : NoDup [0; 1; 2; 3]%nat) by apply net_1221_well_formed.
  assert (Hpos : forall e, In e net_1221 -> 0 < 1 /\ 0 < 2) by (intros; lra).
  pose proof (closed_walks_circulation Nat.eq_dec pair_dec _ _ _ _ net_1221_well_formed net_1221_closed) as circ.
  destruct (relaxed_runs_exist Nat.eq_dec net_1221 _ matrix (fun _ => 1) (fun _ => 2) Hpos order
    (fun _ => 3 / 2) (fun _ => 0) Hu circ Hin) as (best & h & _ & Hparts).
  exists order, (fun _ => 3 / 2), best, h. split; [|split; [exact Hfair|]].
  - split; [lra|]. intros n. split; [apply Hin|]. split; [apply Hparts|]. right. split; [lra|].
    exists 2. intros e He. unfold matrix, incidence, at_unit. generalize (order n). intros k. simpl in He.
    repeat (destruct He as [<-|He];
      [destruct k as [|[|[|[|k]]]]; simpl;
       (left; lra) || (right; split; [reflexivity|]; (left; lra) || (right; lra))|]).
    destruct He.
  - apply (attained_of_circulation Nat.eq_dec _ _ matrix (fun _ => power_cost 1 2) Hu).
    + intros e t _. apply (ex_derive_continuous (power_cost 1 2)). unfold power_cost. auto_derive. exact I.
    + exact (power_costs_coercive net_1221 (fun _ => 1) (fun _ => 2) Hpos).
    + exact circ.
Qed.

(** ** Tied scales: incoming costs 1 and 4, outgoing costs 4 and 1 *)

Definition tied_ins (i : bool) : list (R * R) := [(if i then 1 else 4, 1)].
Definition tied_outs (i : bool) : list (R * R) := [(if i then 4 else 1, 1)].

(** One scale for both costs at least 10, one for each only 8. *)
Fact tied_costs_more :
  (forall s, 0 < s -> 10 <= group_cost [true; false] tied_ins tied_outs 1 (fun _ => s)) /\
  exists s, (forall i, 0 < s i) /\ group_cost [true; false] tied_ins tied_outs 1 s = 8.
Proof.
  assert (P : apow 1 1 = 1).
  { unfold apow. destruct (Req_EM_T 1 0); [lra|]. rewrite Rabs_R1. apply Rpower_1. lra. }
  assert (Hpos : forall i, In i [true; false] -> 0 < (Σ w ∈ tied_ins i, fst w * apow (snd w) 1)
    /\ 0 < (Σ w ∈ tied_outs i, fst w * apow (snd w) 1))
    by (intros [|] _; simpl; rewrite P; lra).
  destruct (tied_group [true; false] tied_ins tied_outs 1 ltac:(discriminate) Rlt_0_1 Hpos)
    as (H1 & _ & _ & (s & Hs & H2) & _).
  simpl in H1, H2. rewrite P in H1, H2. split.
  - intros r Hr. specialize (H1 r Hr). replace (sqrt _) with 5 in H1; [lra|].
    rewrite <- (sqrt_square 5) by lra. f_equal. ring.
  - exists s. split; [exact Hs|]. rewrite H2.
    replace (sqrt ((1 * 1 + 0) * (4 * 1 + 0))) with 2 by (rewrite <- (sqrt_square 2) by lra; f_equal; ring).
    replace (sqrt ((4 * 1 + 0) * (1 * 1 + 0))) with 2 by (rewrite <- (sqrt_square 2) by lra; f_equal; ring).
    ring.
Qed.

(** Layers of 1-2-2-1, each with one scale: the optimum and the tied optimum exist. *)
Fact tied_layers_attained : exists s : bool -> R,
  best_tied net_1221 [0; 1; 2; 3]%nat matrix (fun _ => power_cost 1 2) (fun k => Nat.leb k 1) s.
Proof.
  assert (Hpos : forall e, In e net_1221 -> 0 < 1 /\ 0 < 2) by (intros; lra).
  destruct (tied_optimum Nat.eq_dec Bool.bool_dec net_1221 [0; 1; 2; 3]%nat [true; false] matrix
    (fun _ => power_cost 1 2) (fun _ => power_marginal 1 2) (fun k => Nat.leb k 1)) as (s & _ & Hs & _).
  - repeat constructor; simpl; intuition congruence.
  - intros k _. destruct (Nat.leb k 1); simpl; tauto.
  - apply net_1221_well_formed.
  - exact (power_costs_convex net_1221 (fun _ => 1) (fun _ => 2) Hpos).
  - intros; apply power_marginal_continuous.
  - exact (power_costs_coercive net_1221 (fun _ => 1) (fun _ => 2) Hpos).
  - exact (closed_walks_circulation Nat.eq_dec pair_dec _ _ _ _ net_1221_well_formed net_1221_closed).
  - exists s. exact Hs.
Qed.

(** ** At once: a chain with costs 1, 1, 16, whose second unit moves by 4, and a layer of two units *)

Definition short_chain : graph := [(None, Some 0); (Some 0, Some 1); (Some 1, None)]%nat.
Definition chain_cost (e : option nat * option nat) : R := match e with (_, None) => 16 | _ => 1 end.

Lemma chain_well_formed : well_formed short_chain [0; 1]%nat fst snd.
Proof.
  split; [|split].
  - repeat constructor; simpl; intuition congruence.
  - repeat constructor; simpl; intuition congruence.
  - intros e k He Hk. simpl in He.
    repeat (destruct He as [<-|He]; [simpl in *; destruct Hk as [Hk|Hk]; inversion Hk; subst; tauto|]).
    destruct He.
Qed.

Fact chain_together :
  together Nat.eq_dec short_chain [0; 1]%nat fst snd chain_cost 1 1 (fun _ => 0)
    (fun k => match k with 1%nat => ln 4 | _ => 0 end).
Proof.
  intros k Hk. left. unfold imbalance, power_marginal, log_scale, degree_incidence, at_unit, put.
  destruct Hk as [<-|[<-|[]]]; simpl; rewrite ?Rmult_0_r, ?Rminus_0_r, ?Rplus_0_r, ?Rmult_1_l, ?Rmult_0_l.
  - rewrite ?Rmult_0_r, ?Rplus_0_r, ?exp_0. ring.
  - replace (0 - 1) with (-1) by ring. replace (-1 * ln 4) with (- ln 4) by ring.
    rewrite ?Rplus_0_l, exp_Ropp, exp_ln by lra. field.
Qed.

Fact chain_linked k : In k [0; 1]%nat -> linked short_chain fst snd None (Some k).
Proof.
  assert (H0 : linked short_chain fst snd None (Some 0%nat))
    by (apply (linked_with short_chain fst snd (None, Some 0%nat)); [simpl; tauto|apply linked_refl]).
  intros [<-|[<-|[]]]; [exact H0|].
  apply (linked_with short_chain fst snd (Some 0%nat, Some 1%nat)); [simpl; tauto|exact H0].
Qed.

(** The cost falls: it does not stay, as the second unit moves. *)
Fact chain_falls :
  let total := total_cost short_chain [0; 1]%nat (degree_incidence Nat.eq_dec fst snd 1)
    (fun e => power_cost (chain_cost e) 1) in
  total (fun k => match k with 1%nat => ln 4 | _ => 0 end) < total (fun _ => 0).
Proof.
  intros total.
  assert (Ha : forall e, In e short_chain -> 0 < chain_cost e)
    by (intros e He; simpl in He; destruct He as [<-|[<-|[<-|[]]]]; simpl; lra).
  assert (Hloops : forall e k, In e short_chain -> fst e = Some k -> snd e = Some k -> 1 = 1) by reflexivity.
  pose proof (together_does_not_raise Nat.eq_dec short_chain _ fst snd chain_cost 1 1 chain_well_formed Rlt_0_1 Rlt_0_1
    Ha Hloops _ _ chain_together) as H. fold total in H.
  destruct H as [H|H]; [exact H|exfalso].
  destruct (together_keeps_only_at_balance Nat.eq_dec short_chain _ fst snd chain_cost 1 1 chain_well_formed Rlt_0_1
    Rlt_0_1 Ha Hloops _ _ chain_together chain_linked H 1%nat ltac:(simpl; tauto)) as [Z _]. simpl in Z.
  pose proof (ln_increasing 1 4 ltac:(lra) ltac:(lra)). rewrite ln_1 in *. lra.
Qed.

Fact layer_in_common :
  no_weight_in_common [(None, Some 0); (None, Some 1); (Some 0, None); (Some 1, None)]%nat matrix [0; 1]%nat.
Proof.
  intros e j k He Hj Hk Hne. unfold matrix, incidence, at_unit. simpl in He, Hj, Hk.
  repeat (destruct He as [<-|He];
    [simpl; destruct Hj as [<-|[<-|[]]], Hk as [<-|[<-|[]]]; try contradiction; simpl; (left; lra) || (right; lra)|]).
  destruct He.
Qed.

(** ** Cycles and paths of 1-2-2-1 *)

Fact net_1221_on_walks : every_unit_on_walk net_1221 [0; 1; 2; 3]%nat fst snd.
Proof.
  intros k Hk. simpl in Hk.
  destruct Hk as [<-|[<-|[<-|[<-|[]]]]]; split; eexists.
  - apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|apply walk_nil].
  - apply (walk_cons _ fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|apply walk_nil].
  - apply (walk_cons _ fst snd (None, Some 1%nat)); [simpl; tauto|apply walk_nil].
  - apply (walk_cons _ fst snd (Some 1%nat, Some 2%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|apply walk_nil].
  - apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|apply walk_nil].
  - apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|apply walk_nil].
  - apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 0%nat, Some 3%nat)); [simpl; tauto|apply walk_nil].
  - apply (walk_cons _ fst snd (Some 3%nat, None)); [simpl; tauto|apply walk_nil].
Qed.

Fact net_1221_connected : visible_in_each_component net_1221 [0; 1; 2; 3]%nat fst snd.
Proof.
  intros k Hk. destruct (net_1221_on_walks k Hk) as [[l W] _]. apply (walk_linked _ _ _ _ _ _ W), linked_refl.
Qed.

(** Eight weights, four units: four independent equations. *)
Fact net_1221_cycles : exists C, cycle_basis pair_dec net_1221 fst snd C /\ length C = 4%nat.
Proof.
  destruct (cycle_basis_exists pair_dec net_1221 fst snd) as [C HC].
  exists C. split; [exact HC|].
  pose proof (cycle_basis_count_connected Nat.eq_dec pair_dec net_1221 _ fst snd net_1221_well_formed C HC
    net_1221_connected) as X. simpl in X. lia.
Qed.

Fact paths_1221_are_paths l : In l paths_1221 -> input_output_path net_1221 fst snd l.
Proof.
  intros [<-|[<-|[]]]; (split; [|repeat constructor; simpl; intuition congruence]).
  - apply (walk_cons net_1221 fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons net_1221 fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|].
    apply (walk_cons net_1221 fst snd (Some 2%nat, None)); [simpl; tauto|]. apply walk_nil.
  - apply (walk_cons net_1221 fst snd (None, Some 1%nat)); [simpl; tauto|].
    apply (walk_cons net_1221 fst snd (Some 1%nat, Some 3%nat)); [simpl; tauto|].
    apply (walk_cons net_1221 fst snd (Some 3%nat, None)); [simpl; tauto|]. apply walk_nil.
Qed.

(** Two of its paths cover all units and are too few: their rank is not 4. *)
Fact paths_1221_too_few : (rank net_1221 (map (uses pair_dec) paths_1221) + 4 <> 8)%nat.
Proof.
  intros C.
  pose proof (proj2 (path_criterion_count Nat.eq_dec pair_dec net_1221 [0; 1; 2; 3]%nat fst snd net_1221_well_formed
    paths_1221 paths_1221_are_paths net_1221_on_walks) C) as H.
  destruct path_cover_units_false as (L & HL & _ & Hno). apply Hno, H. intros l Hl. apply HL, Hl.
Qed.

(** With one hidden unit the one path is enough. *)
Fact one_hidden_path_enough : (rank one_hidden [uses pair_dec one_hidden] + 1 = 2)%nat.
Proof.
  assert (wf : well_formed one_hidden [0%nat] fst snd).
  { split; [|split].
    - repeat constructor; simpl; intuition congruence.
    - repeat constructor; simpl; intuition congruence.
    - intros e k He Hk. simpl in He.
      repeat (destruct He as [<-|He]; [simpl in *; destruct Hk as [Hk|Hk]; inversion Hk; subst; tauto|]).
      destruct He. }
  assert (W : walk one_hidden fst snd None None one_hidden).
  { apply (walk_cons one_hidden fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons one_hidden fst snd (Some 0%nat, None)); [simpl; tauto|]. apply walk_nil. }
  apply (path_criterion_count Nat.eq_dec pair_dec one_hidden [0%nat] fst snd wf [one_hidden]).
  - intros l [<-|[]]. split; [exact W|]. repeat constructor; simpl; intuition congruence.
  - intros k [<-|[]]. split.
    + exists [(None, Some 0%nat)]. apply (walk_cons one_hidden fst snd (None, Some 0%nat)); [simpl; tauto|].
      apply walk_nil.
    + exists [(Some 0%nat, None)]. apply (walk_cons one_hidden fst snd (Some 0%nat, None)); [simpl; tauto|].
      apply walk_nil.
  - intros L. split.
    + intros [h Hh] l [<-|[]].
      pose proof (Hh (None, Some 0%nat) ltac:(simpl; tauto)) as H1.
      pose proof (Hh (Some 0%nat, None) ltac:(simpl; tauto)) as H2.
      unfold path_sum, log_scale, incidence, at_unit in *. simpl in *. lra.
    + intros H. specialize (H one_hidden (or_introl eq_refl)). unfold path_sum in H. simpl in H.
      exists (fun _ => L (None, Some 0%nat)). intros e He.
      destruct He as [<-|[<-|[]]]; unfold log_scale, incidence, at_unit; simpl; lra.
Qed.
